"""The machine: its device, memory and arithmetic, and the state of the whole process."""

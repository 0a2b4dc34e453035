"""The machine: its device, its threads, its memory, and the arithmetic that it is fast at."""

"""Pictures of what a fitted network has learnt and sees, one Display a file."""

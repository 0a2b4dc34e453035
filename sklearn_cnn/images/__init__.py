"""Pixels in: whatever holds the images becomes one array, channels last."""

"""Pixels to outputs: layer descriptions, the design that lists them, the module built of it."""

"""Logits to weights: the skorch net, its batches, and the recipe that trains it."""

"""Features of images, by a network that was trained on other images."""

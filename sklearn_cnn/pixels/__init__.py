"""Any array of images becomes one array (n, height, width, channels), and one ImageSpec."""

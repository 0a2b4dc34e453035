"""Files of images become arrays: folders and tables, decoding, the cache."""

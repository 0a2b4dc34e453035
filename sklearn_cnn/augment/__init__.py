"""Training images change from epoch to epoch: descriptions, and what is drawn from them."""

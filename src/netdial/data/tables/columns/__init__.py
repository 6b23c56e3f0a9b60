"""From a column of a frame to inputs: what its cells are, and numbers, categories or dates made of them."""

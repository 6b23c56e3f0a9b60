"""Networks without some of their channels, in files: what is kept of how they were cut, and the network made again from it."""

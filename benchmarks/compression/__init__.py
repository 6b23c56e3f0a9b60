"""Compressed networks: their size at what loss, and their file."""

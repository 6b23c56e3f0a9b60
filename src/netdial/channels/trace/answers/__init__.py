"""What code asks of numbers while it is followed (``if mask.any():``), and what its graph goes by."""

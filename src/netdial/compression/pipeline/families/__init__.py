"""A family as one small file: all members share positions and codes, and the few values move along λ."""

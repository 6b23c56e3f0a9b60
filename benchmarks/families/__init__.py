"""Families of networks along λ: how near they are to directly trained networks, and what they cost."""

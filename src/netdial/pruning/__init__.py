"""Pruning a trained network: ``weights`` (masks) and ``channels`` (whole channels, cut exactly)."""

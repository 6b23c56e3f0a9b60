"""Folding switches and normalisation into neighbouring layers, and removing residual additions."""

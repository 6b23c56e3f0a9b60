"""From a trained network to a small file."""

from netdial.compression.codebook import Codebook

__all__ = ["Codebook"]

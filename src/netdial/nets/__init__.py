"""Networks to start from, as ordinary torch modules; nothing here knows of λ."""

from netdial.nets.named import build, names

__all__ = ["build", "names"]

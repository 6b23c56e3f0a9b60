"""Networks to start from, as ordinary torch modules; nothing here knows of λ."""

from netdial.nets.build import build, names

__all__ = ["build", "names"]

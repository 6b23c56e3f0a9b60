"""Networks to start from, as ordinary torch modules; nothing here knows of λ."""

from netdial.nets.named import build, built_as, names

__all__ = ["build", "built_as", "names"]

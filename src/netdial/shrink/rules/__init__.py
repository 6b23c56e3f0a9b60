"""How channels pass through operations: one small rule for each, in a table by module class, function and method name."""

from netdial.shrink.rules import (
    elementwise,
    joining,
    layers,
    mixing,
    normalising,
    shaping,
    shifting,
)
from netdial.shrink.rules.layers import attribute
from netdial.shrink.rules.table import FUNCTIONS, METHODS, MODULES, Inner, Reader, Scene

__all__ = [
    "FUNCTIONS",
    "METHODS",
    "MODULES",
    "Inner",
    "Reader",
    "Scene",
    "attribute",
    "elementwise",
    "joining",
    "layers",
    "mixing",
    "normalising",
    "shaping",
    "shifting",
]

"""How channels pass through operations: one small rule for each, in a table by module class, function and method name."""

from netdial.shrinking.rules import (
    elementwise,
    joining,
    layers,
    mixing,
    normalising,
    picking,
    shaping,
    shifting,
)
from netdial.shrinking.rules.layers import attribute
from netdial.shrinking.rules.table import FUNCTIONS, METHODS, MODULES, Inner, Reader, Scene

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
    "picking",
    "shaping",
    "shifting",
]

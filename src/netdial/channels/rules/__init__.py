"""How channels pass through operations: one small rule for each, in a table by module class, function and method name."""

from netdial.channels.rules import (
    elementwise,
    joining,
    layers,
    mixing,
    normalising,
    places,
    reducing,
    reshaping,
    shaping,
)
from netdial.channels.rules.layers import attribute
from netdial.channels.rules.table import FUNCTIONS, METHODS, MODULES, Heads, Inner, Reader, Scene

__all__ = [
    "FUNCTIONS",
    "METHODS",
    "MODULES",
    "Heads",
    "Inner",
    "Reader",
    "Scene",
    "attribute",
    "elementwise",
    "joining",
    "layers",
    "mixing",
    "normalising",
    "places",
    "reducing",
    "reshaping",
    "shaping",
]

"""Rules of layers with weights: linear and embedding, convolutions, recurrence; switches, shifts and picks."""

from netdial.channels.rules.layers import convolutions, linear, pooling, recurrent
from netdial.channels.rules.layers.parameters import attribute, is_parameter, parameter

__all__ = [
    "attribute",
    "convolutions",
    "is_parameter",
    "linear",
    "parameter",
    "pooling",
    "recurrent",
]

"""Fully connected networks: ``linear`` and ``mlp:50``, ``mlp:300-100``.

Inputs of any shape are flattened.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def dense(input_shape: Sequence[int], n_outputs: int, widths: Sequence[int] = ()) -> nn.Sequential:
    """Returns a network of fully connected layers with ReLU between them.

    Args:
        input_shape: Shape of one input; flattened to D features.
        n_outputs: Number of outputs K.
        widths: Widths of the hidden layers, from input to output; none gives a linear model.

    Returns:
        A module from [B, ...] to [B, K] whose layers are called ``fc1``, ``fc2``, ...
    """
    sizes = [math.prod(input_shape), *widths, n_outputs]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, (size, width) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{i}"] = nn.Linear(size, width)
        if i < len(sizes) - 1:
            layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)

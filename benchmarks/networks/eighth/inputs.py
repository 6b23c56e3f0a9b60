"""Inputs of the networks of the zoo, eighth sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(88)
INPUTS = drawn(_G)
PAIR = (INPUTS.images, torch.randn(2, 3, 32, 32, generator=_G))
CAPTIONED = (INPUTS.images, INPUTS.tokens)
TIMES = torch.tensor([3, 7])
LABELS = torch.tensor([1, 4])
SEEN = (
    torch.randn(2, 10, 5, generator=_G),
    (torch.rand(2, 10, 5, generator=_G) > 0.3).float(),
    torch.rand(2, 10, 5, generator=_G),
)
GRAPH = (INPUTS.nodes, INPUTS.edges)
BOXES = torch.tensor([[1.0, 1.0, 6.0, 6.0], [2.0, 0.0, 8.0, 5.0], [0.0, 3.0, 4.0, 8.0]])

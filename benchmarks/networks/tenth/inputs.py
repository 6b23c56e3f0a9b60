"""Inputs of the networks of the zoo, tenth sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(1010)
INPUTS = drawn(_G)
COLOURED = (INPUTS.images, torch.tensor([1, 3]))
MASKED = (INPUTS.images, (torch.rand(2, 1, 32, 32, generator=_G) > 0.2).float())
TRIPLES = tuple(torch.randn(2, 3, 16, 16, generator=_G) for _ in range(3))
SPATIAL = torch.rand(4, 3, generator=_G)
GRAPH = (INPUTS.nodes, INPUTS.edges)
BASKETS = (torch.randint(0, 30, (4, 7), generator=_G), torch.randint(1, 40, (4,), generator=_G))
GOALS = (torch.randn(4, 6, generator=_G), torch.randn(4, 3, generator=_G))
AGENTS = torch.randn(4, 3, 6, generator=_G)

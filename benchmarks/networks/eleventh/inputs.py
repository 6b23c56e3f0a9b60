"""Inputs of the networks of the zoo, eleventh sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(1111)
INPUTS = drawn(_G)
PROMPTED = (INPUTS.images, torch.rand(2, 3, 2, generator=_G))
TIMED = (INPUTS.images, torch.tensor([3, 41]))
HINTED = (INPUTS.images, torch.tensor([3, 41]), torch.randn(2, 3, 32, 32, generator=_G))
STYLED = (INPUTS.images, torch.randn(2, 8, generator=_G), torch.tensor([0, 2]))
PAIRS = (torch.randint(0, 20, (4,), generator=_G), torch.randint(0, 25, (4,), generator=_G))
TWO_TEXTS = (INPUTS.tokens, INPUTS.other_tokens)
CAPTIONED = (INPUTS.images, INPUTS.tokens)
PLANES = torch.rand(4, 5, 3, generator=_G) * 2 - 1
ACTIONS = (
    torch.randn(2, 8, 4, generator=_G),
    torch.tensor([5, 60]),
    torch.randn(2, 6, generator=_G),
)
STATES = (torch.randn(4, 6, generator=_G), torch.randn(4, 2, generator=_G))
CONTEXT = (
    torch.randn(3, 9, 4, generator=_G),
    torch.randint(0, 3, (3, 6), generator=_G),
)
EDGES = (
    torch.randn(7, 5, generator=_G),
    torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0], [1, 2, 3, 4, 5, 6, 0, 3]]),
    torch.randn(8, 3, generator=_G),
)
HISTORY = (INPUTS.tokens, torch.arange(8).flip(0).repeat(2, 1) * 3)
MIXED = {
    "dense": torch.randn(4, 5, generator=_G),
    "sparse": torch.randint(0, 10, (4, 3), generator=_G),
}
CYCLED = (INPUTS.series, torch.tensor([2, 5]))
EXOGENOUS = (INPUTS.series[..., :1], INPUTS.series[..., 1:])
EQUATION = torch.rand(6, 2, generator=_G)

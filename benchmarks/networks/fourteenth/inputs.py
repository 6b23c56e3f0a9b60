"""Inputs of the networks of the zoo, fourteenth sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(1414)
INPUTS = drawn(_G)
SMALL_IMAGES = torch.randn(2, 3, 24, 24, generator=_G)
LONG_SERIES = torch.randn(2, 32, 3, generator=_G)
CYCLED = (torch.randn(2, 24, 3, generator=_G), torch.tensor([3, 5]))
MEL_FRAMES = torch.randn(2, 20, 24, generator=_G)
SOUND = torch.randn(2, 400, generator=_G)
PHONEMES = {"x": torch.randint(1, 20, (2, 9), generator=_G), "x_lengths": torch.tensor([9, 6])}
MIXED_ROWS = {
    "x_num": torch.randn(4, 5, generator=_G),
    "x_cat": torch.randint(0, 3, (4, 2), generator=_G),
}
DOMAINS = (torch.randint(0, 6, (4, 5), generator=_G), torch.randint(0, 3, (4,), generator=_G))
HISTORY = (torch.randint(1, 12, (2, 7), generator=_G), torch.rand(2, 7, generator=_G).cumsum(1))
NODE_ROWS = torch.randn(2, 8, 5, generator=_G)
PARTIES = {
    "user": torch.randn(2, 5, 4, generator=_G),
    "item": torch.randn(2, 6, 3, generator=_G),
}
TRIPLES = torch.randint(0, 5, (4, 3), generator=_G)
CLOUD = torch.randn(2, 20, 3, generator=_G)
NOISY = (torch.randn(2, 3, 16, 16, generator=_G), torch.rand(2, generator=_G))
ACTION_MASKS = (
    torch.randn(4, 6, generator=_G),
    torch.tensor([[1, 1, 0, 1, 1, 0, 1]] * 2 + [[0, 1, 1, 1, 1, 1, 0]] * 2).bool(),
)
STATE_ACTIONS = (torch.randn(4, 6, generator=_G), torch.rand(4, 2, generator=_G) * 2 - 1)
CODES = (torch.randn(4, 8, generator=_G), torch.tensor([0, 2, 1, 3]))
QUESTION = (
    torch.randint(1, 30, (2, 9), generator=_G),
    torch.randint(1, 30, (2, 5), generator=_G),
)
CHARACTERS = torch.randint(1, 26, (2, 5, 6), generator=_G)

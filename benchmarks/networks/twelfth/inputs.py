"""Inputs of the networks of the zoo, twelfth sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(1212)
INPUTS = drawn(_G)
SMALL_IMAGES = torch.randn(2, 3, 24, 24, generator=_G)
POSES = torch.randn(2, 27, 5, 2, generator=_G)
ECG = torch.randn(2, 1, 250, generator=_G)
STEREO = torch.randn(2, 2, 512, generator=_G)
FRAMES = torch.randn(3, 9, 12, generator=_G)
STATIC = (INPUTS.series, torch.randn(2, 3, generator=_G))
SERIES_STAMPED = (
    torch.randn(2, 12, 6, generator=_G),
    torch.randint(0, 24, (2, 12), generator=_G),
    torch.randint(0, 7, (2, 12), generator=_G),
)
BATCH = {
    "input_ids": INPUTS.tokens,
    "token_type_ids": torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 1]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0, 0]]),
}
TWO_TEXTS = (INPUTS.tokens, INPUTS.other_tokens)
MEL_TEXT = (torch.randn(2, 12, 20, generator=_G), INPUTS.other_tokens)
CHARACTERS = torch.randint(1, 40, (2, 6, 7), generator=_G)
SESSION = (
    torch.randint(0, 20, (2, 5), generator=_G),
    torch.rand(2, 5, 10, generator=_G),
    torch.ones(2, 5),
)
CLICKS = (torch.rand(4, 30, generator=_G) > 0.7).float()
HISTORY = {
    "item_seq": torch.randint(1, 20, (3, 6), generator=_G),
    "target_item": torch.randint(1, 20, (3,), generator=_G),
    "profile": torch.randn(3, 4, generator=_G),
}
OBSERVED = {
    "image": torch.rand(2, 3, 36, 36, generator=_G) * 255,
    "vector": torch.randn(2, 5, generator=_G),
}
PIXELS = torch.randint(0, 256, (2, 3, 35, 35), generator=_G).float()
ACTED = (torch.randn(4, 6, generator=_G), torch.randn(4, 2, generator=_G))
TIMED = (torch.randn(2, 3, 16, 16, generator=_G), torch.tensor([3.0, 41.0]))
LATENT = torch.randn(2, 8, 1, 1, generator=_G)
EDGE_LIST = (
    torch.randn(7, 5, generator=_G),
    torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0], [1, 2, 3, 4, 5, 6, 0, 3]]),
    torch.randn(8, 3, generator=_G),
)
SPECTRUM = (torch.randn(2, 6, 4, generator=_G), torch.randn(2, 6, 5, generator=_G))
COORDINATES = torch.rand(6, 2, generator=_G)
RAYS = (torch.randn(4, 3, generator=_G), torch.randn(4, 3, generator=_G))

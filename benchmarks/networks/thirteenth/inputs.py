"""Inputs of the networks of the zoo, thirteenth sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(1313)
INPUTS = drawn(_G)
SMALL_IMAGES = torch.randn(2, 3, 24, 24, generator=_G)
MASKED_TEXT = {
    "input_ids": INPUTS.tokens,
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0]]),
}
LABELLED = (INPUTS.images, torch.tensor([1, 4]))
NOISED = (torch.randn(2, 3, 16, 16, generator=_G), torch.tensor([0.3, 0.8]), torch.tensor([1, 3]))
GAPPED = torch.where(torch.rand(2, 24, generator=_G) > 0.2, INPUTS.series[..., 0], torch.nan)
ROLLOUT = (
    torch.randn(2, 5, 6, generator=_G),
    (torch.rand(2, 5, generator=_G) > 0.8).float(),
)
STATES = torch.randn(4, 6, generator=_G)
ACTIONS = torch.rand(4, 2, generator=_G) * 2 - 1
RANKED = {
    "users": torch.randint(0, 6, (4,), generator=_G),
    "items": torch.randint(0, 8, (4,), generator=_G),
}
COLUMNS = (torch.rand(4, 4, generator=_G), torch.randint(0, 3, (4, 2), generator=_G))
KEYPOINTS = {
    "kpts0": torch.rand(2, 5, 2, generator=_G) * 2 - 1,
    "kpts1": torch.rand(2, 6, 2, generator=_G) * 2 - 1,
    "desc0": torch.randn(2, 5, 12, generator=_G),
    "desc1": torch.randn(2, 6, 12, generator=_G),
}
BAGS = torch.randn(2, 9, 14, generator=_G)
RAYS = torch.rand(5, 3, generator=_G) * 1.8 - 0.9
PLACES = torch.rand(5, 2, generator=_G) * 2 - 1

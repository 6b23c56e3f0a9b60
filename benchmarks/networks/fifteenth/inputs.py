"""Inputs of the networks of the zoo, fifteenth sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(1515)
INPUTS = drawn(_G)
LABELLED = (torch.randn(2, 3, 16, 16, generator=_G), torch.tensor([0, 3]))
ODD_IMAGES = torch.randn(2, 3, 20, 20, generator=_G)
ATOMS = (torch.randn(2, 5, 4, generator=_G), torch.randn(2, 5, 3, generator=_G))
MASKED_WAVE = (torch.randn(2, 160, generator=_G), torch.rand(2, 7, generator=_G) > 0.7)

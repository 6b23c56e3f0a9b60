"""Inputs of the networks of the zoo, sixth sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(66)
INPUTS = drawn(_G)

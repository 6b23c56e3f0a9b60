"""Inputs of the networks of the zoo, sixth sample."""

from __future__ import annotations

import torch

from benchmarks._zoo_inputs import drawn

_G = torch.Generator().manual_seed(66)
(
    IMAGES,
    GREY,
    VOLUMES,
    CLIPS,
    SERIES,
    WAVES,
    MELS,
    TOKENS,
    OTHER_TOKENS,
    NUMBERS,
    FIELDS,
    NODES,
    EDGES,
    POINTS,
    TRAFFIC,
) = drawn(_G)

"""Inputs of the networks of the zoo, eighth sample."""

from __future__ import annotations

import torch

from benchmarks._zoo_inputs import drawn

_G = torch.Generator().manual_seed(88)
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
PAIR = (IMAGES, torch.randn(2, 3, 32, 32, generator=_G))
CAPTIONED = (IMAGES, TOKENS)
TIMES = torch.tensor([3, 7])
LABELS = torch.tensor([1, 4])
SEEN = (
    torch.randn(2, 10, 5, generator=_G),
    (torch.rand(2, 10, 5, generator=_G) > 0.3).float(),
    torch.rand(2, 10, 5, generator=_G),
)
GRAPH = (NODES, EDGES)
BOXES = torch.tensor([[1.0, 1.0, 6.0, 6.0], [2.0, 0.0, 8.0, 5.0], [0.0, 3.0, 4.0, 8.0]])

"""Inputs of the networks of the zoo, seventh sample."""

from __future__ import annotations

import torch

_G = torch.Generator().manual_seed(77)
IMAGES = torch.randn(2, 3, 32, 32, generator=_G)
GREY = torch.randn(2, 1, 16, 16, generator=_G)
VOLUMES = torch.randn(2, 1, 8, 16, 16, generator=_G)
CLIPS = torch.randn(2, 3, 8, 16, 16, generator=_G)
SERIES = torch.randn(2, 24, 4, generator=_G)
WAVES = torch.randn(2, 1, 320, generator=_G)
MELS = torch.randn(2, 10, 30, generator=_G)
TOKENS = torch.randint(1, 30, (2, 8), generator=_G)
OTHER_TOKENS = torch.randint(1, 30, (2, 6), generator=_G)
NUMBERS = torch.randn(4, 6, generator=_G)
FIELDS = torch.randint(0, 10, (4, 5), generator=_G)
NODES = torch.randn(2, 6, 5, generator=_G)
EDGES = (torch.rand(2, 6, 6, generator=_G) > 0.5).float()
POINTS = torch.randn(2, 16, 3, generator=_G)
TRAFFIC = torch.randn(2, 2, 12, 6, generator=_G)
SKELETONS = torch.randn(2, 3, 8, 5, 2, generator=_G)
SPECTRA = torch.randn(2, 1, 24, 10, generator=_G)
CUBES = torch.randn(2, 1, 8, 11, 11, generator=_G)
MATCHES = tuple(torch.randn(2, *size, generator=_G) for size in ((6, 3), (5, 3), (8, 6), (8, 5)))
WORDS_SEEN = (IMAGES, TOKENS)
ATOMS = (
    torch.randn(6, 5, generator=_G),
    torch.randn(6, 4, 4, generator=_G),
    torch.randint(0, 6, (6, 4), generator=_G),
)

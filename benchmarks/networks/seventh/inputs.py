"""Inputs of the networks of the zoo, seventh sample."""

from __future__ import annotations

import torch

from benchmarks.networks.inputs import drawn

_G = torch.Generator().manual_seed(77)
INPUTS = drawn(_G)
SKELETONS = torch.randn(2, 3, 8, 5, 2, generator=_G)
SPECTRA = torch.randn(2, 1, 24, 10, generator=_G)
CUBES = torch.randn(2, 1, 8, 11, 11, generator=_G)
MATCHES = tuple(torch.randn(2, *size, generator=_G) for size in ((6, 3), (5, 3), (8, 6), (8, 5)))
WORDS_SEEN = (INPUTS.images, INPUTS.tokens)
ATOMS = (
    torch.randn(6, 5, generator=_G),
    torch.randn(6, 4, 4, generator=_G),
    torch.randint(0, 6, (6, 4), generator=_G),
)

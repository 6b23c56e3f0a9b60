"""Size of a compressed LeNet-5 on MNIST against its 246,824 dense bytes, beside a dense control of the same recipe.

As ``ndz-lenet300``, with the network of 61,706 parameters, on 5,000 training images. The limit is 1/150 of the dense bytes.
"""

from __future__ import annotations

from benchmarks.ndz_lenet300 import CompressedImages, judged
from benchmarks.result import Result

PAPER = 39.0
"""Han et al. 2016, Table 1, for LeNet-5 of 431,000 parameters."""

_SEEDS = range(10, 15)
_MOST = 1_645


def measure(*, quick: bool) -> Result:
    """Returns how many times smaller the file is."""
    seeds = _SEEDS[:1] if quick else _SEEDS
    epochs, tuning, examples = (2, 1, 2_000) if quick else (16, 6, 5_000)
    cells = [
        CompressedImages("lenet5", seed, epochs, tuning, _MOST, examples=examples) for seed in seeds
    ]
    return judged("ndz-lenet5", cells, quick=quick, paper=PAPER)

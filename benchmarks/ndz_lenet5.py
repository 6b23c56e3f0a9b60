"""Size of a compressed LeNet-5 on MNIST against its 1,724,320 dense bytes, beside a dense control of the same recipe.

As ``ndz-lenet300``, with batches of 128. The network is that of Han et al. 2016, of 431,080 parameters; the limit is 1/150 of
the dense bytes. Tests on 5,000 training images had failed, by .15 to .25 points; this one trains on all of them, half again as
long as one trial did on training images that were held out, with seed 100. Two tests of five seeds had gaps of .066 and .062
points, which twelve seeds could have shown to be no loss; seeds and their number were fixed before any of them ran.
"""

from __future__ import annotations

from benchmarks._compressed import PAPERS_LENET5
from benchmarks.ndz_lenet300 import CompressedImages, judged
from benchmarks.result import Result

PAPER = 39.0
"""Han et al. 2016, Table 1."""

_SEEDS = range(80, 92)
_MOST = 11_495


def measure(*, quick: bool) -> Result:
    """Returns how many times smaller the file is."""
    seeds = _SEEDS[:1] if quick else _SEEDS
    epochs, tuning, examples = (2, 1, 2_000) if quick else (12, 5, 0)
    cells = [
        CompressedImages(
            PAPERS_LENET5, seed, epochs, tuning, _MOST, examples=examples, batch_size=128
        )
        for seed in seeds
    ]
    return judged("ndz-lenet5", cells, quick=quick, paper=PAPER)

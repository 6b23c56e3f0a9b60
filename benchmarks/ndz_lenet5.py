"""Size of a compressed LeNet-5 on MNIST against its 1,724,320 dense bytes, beside a dense control of the same recipe.

As ``ndz-lenet300``, on 5,000 training images. The network is that of Han et al. 2016, of 431,080 parameters; the limit is
1/150 of the dense bytes. Rows with a ratio to 246,824 bytes are of the LeNet-5 of 1998, 61,706 parameters, by the same recipe.
Batches are of 64, for 5,000 images make few steps of larger ones. The dense network is trained once on the targets and once
more with its own outputs as part of them, before it is compressed and the control goes on: otherwise the control gains from
that what the compressed network needs for coming back. Compression and control last twice as long as one of these. This was
chosen on training images that were held out, with seeds 100 and 101, after tests with shorter trainings had failed.
"""

from __future__ import annotations

from benchmarks._compressed import PAPERS_LENET5
from benchmarks.ndz_lenet300 import CompressedImages, judged
from benchmarks.result import Result

PAPER = 39.0
"""Han et al. 2016, Table 1."""

_SEEDS = range(46, 54)
_MOST = {PAPERS_LENET5: 11_495, "lenet5": 1_645}
"""Network -> bytes that its file may have."""


def measure(*, quick: bool) -> Result:
    """Returns how many times smaller the files are."""
    seeds = _SEEDS[:1] if quick else _SEEDS
    epochs, tuning, dense, examples = (2, 1, 2, 2_000) if quick else (48, 18, 24, 5_000)
    found = {}
    for spec, most in _MOST.items():
        cells = [
            CompressedImages(
                spec,
                seed,
                epochs,
                tuning,
                most,
                examples=examples,
                batch_size=64,
                dense=dense,
                rounds=2,
            )
            for seed in seeds
        ]
        found[spec] = judged("ndz-lenet5", cells, quick=quick, paper=PAPER)
    result, values = (
        found[PAPERS_LENET5],
        {spec: float(str(one.value)) for spec, one in found.items()},
    )
    result.value, result.spread = (
        values,
        {spec: one.spread["ndz-lenet5"] for spec, one in found.items()},
    )
    result.rows = [{"network": spec, **row} for spec, one in found.items() for row in one.rows]
    result.floor = "; ".join(f"{spec}: {one.floor}" for spec, one in found.items())
    return result

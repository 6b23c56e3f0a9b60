"""Megabytes of float32 for each second of one core at which a compressed file is written and read: profiles fast and max."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common.result import Result
from netdial.compression import Codebook, read, write
from netdial.compression.coding.encoder import encoded


def measure(*, quick: bool) -> Result:
    """Encodes in memory and reads from disk 4 million weights, 8 % of them not 0, of 16 values; the quick one 1 million."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    source = np.random.default_rng(0)
    side = 1000 if quick else 2000
    codes = source.binomial(15, 0.5, (side, side)) + 1
    codes[source.random((side, side)) > 0.08] = 0
    book = Codebook(codes, np.concatenate([[0], np.sort(source.normal(size=16))]))
    size, value, spread, rows = book.codes.size * 4 / 1e6, {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        for profile in ("fast", "max"):
            path = Path(folder, profile)
            told = write(path, {"w": book}, profile=profile)
            work: dict[str, Callable[[], object]] = {
                f"{profile}, encode": partial(encoded, book, profile),
                f"{profile}, decode": partial(read, path),
            }
            turns = 3 if quick or profile == "max" else 9
            found = [[_seconds(part) for part in work.values()] for _ in range(turns + 1)][1:]
            for label, seconds in zip(work, zip(*found, strict=True), strict=True):
                value[label] = size / statistics.median(seconds)
                spread[label] = (size / max(seconds), size / min(seconds))
                rows.append({"what": label, "MB/s": value[label], "bytes": told.size})
    floor = "reach: 500 encode and 200 decode, fast"
    return Result("ndz-speed", value, "MB/s", "higher", [0], quick, "", floor, spread, rows)


def _seconds(part: Callable[[], object]) -> float:
    """Returns the processor time of a call: all of it is on one core, which others may want, too."""
    start = time.process_time()
    part()
    return time.process_time() - start

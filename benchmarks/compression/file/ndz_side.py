"""Share of side information (tables of values, biases) in a compressed LeNet-300-100: exact, and with float16 values and int8 biases."""  # noqa: E501

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.result import Result
from benchmarks.compression.file._indices import NET, lenet
from netdial.compression import Codebook, write


def measure(*, quick: bool) -> Result:
    """Writes the network twice; the quick version is of a network that was trained less."""
    exact = lenet(quick=quick)
    small = {name: _small(tensor) for name, tensor in exact.items()}
    rows, value = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for label, tensors in (("exact", exact), ("float16 values, int8 biases", small)):
            told = write(Path(folder, "a.ndz"), tensors, recipe={"net": NET})
            value[label] = told.side
            rows.append({"what": label, "bytes": told.size, "side": told.side, **told.split})
    error = max(float(np.abs(_dense(exact[name]) - _dense(small[name])).max()) for name in exact)
    floor = f"reach: 0.04; largest difference of a number {error:.2g}"
    return Result("ndz-side", value, "share", "lower", [0], quick, "", floor, rows=rows)


def _small(tensor: Codebook | np.ndarray[Any, Any]) -> Codebook:
    if isinstance(tensor, Codebook):
        return Codebook(tensor.codes, tensor.values.astype(np.float16).astype(np.float32))
    step = np.float32(np.abs(tensor).max() / 127)
    places = np.rint(tensor / step).astype(np.int64)
    return Codebook(places + 127, np.arange(-127, 128) * step)


def _dense(tensor: Codebook | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return tensor.dense() if isinstance(tensor, Codebook) else tensor

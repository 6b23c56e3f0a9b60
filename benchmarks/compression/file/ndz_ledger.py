"""Size of a compressed file against the code length of its own models, -log2 p of every bit that they code."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common.result import Result
from benchmarks.compression.file._indices import NET, lenet
from netdial.compression import Codebook, read, write
from netdial.compression.coding import adaptive
from netdial.compression.coding.decoder import ADAPTIVE
from netdial.compression.coding.static import Bytes, value_table
from netdial.compression.file import unpack


class Counter:
    """Adds up what bits cost."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code(self, p: int, bit: int) -> int:
        """Counts a bit."""
        self.bits -= math.log2((p if bit else 65536 - p) / 65536)
        return bit


def measure(*, quick: bool) -> Result:
    """Counts with the models in Python; the quick version is of a network that was trained less."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "a.ndz")
        told = write(path, lenet(quick=quick), recipe={"net": NET})
        tensors = read(path).tensors
        _, entries, bodies = unpack(path.read_bytes())
    bytes_, coded, rows = 0.0, 0, []
    for entry, body in zip(entries, bodies, strict=True):
        tensor, counter = tensors[entry.name], Counter()
        if entry.coder != ADAPTIVE:
            continue
        if isinstance(tensor, Codebook):
            _count(counter, tensor, body[: entry.lengths[0]])
            size = sum(entry.lengths[1:])
        else:
            adaptive.numbers(counter, bytearray(tensor.tobytes()), tensor.itemsize)
            size = sum(entry.lengths)
        bytes_, coded = bytes_ + counter.bits / 8, coded + size
        rows.append({"tensor": entry.name, "bytes": size, "code length": counter.bits / 8})
    excess = coded - bytes_
    value = {
        "excess over the code length": excess,
        "the same beyond 0.05 %": excess - 0.0005 * told.size,
        "size - ledger": float(told.size - sum(told.split.values())),
    }
    floor = "reach: 0.05 % and 64 bytes; the ledger adds up"
    return Result(
        "ndz-ledger", value, "bytes", "lower", [0], quick, f"{told.size} bytes", floor, rows=rows
    )


def _count(counter: Counter, book: Codebook, tables: bytes) -> None:
    told = Bytes(tables)
    values, zero = value_table(told)
    size = book.codes.size
    ones = told.whole() if zero and values.size else size
    period = told.whole()
    rows = book.codes.shape[0]
    mask = bytearray((book.codes.reshape(-1) >= zero).astype(np.uint8).tobytes())
    if zero:
        adaptive.positions(counter, mask, rows, size // rows, period, ones)
    if values.size > 1:
        codes, low = (book.codes.reshape(-1) - zero).tolist(), int((values < 0).sum())
        adaptive.symbols(counter, bytes(mask), codes, rows, size // rows, period, values.size, low)

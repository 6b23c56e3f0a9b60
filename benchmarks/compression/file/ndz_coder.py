"""Bytes of a pruned LeNet-300-100 of 16 values, the same indices for every coder: adaptive, static, Huffman as in the paper, xz, zstd."""  # noqa: E501

from __future__ import annotations

import lzma
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.result import Result
from benchmarks.compression.file._indices import NET, lenet
from netdial.compression import Codebook, Ledger, write


def measure(*, quick: bool) -> Result:
    """Writes the network by every profile; the quick version is of a network that was trained less."""
    tensors = lenet(quick=quick)
    biases = sum(a.nbytes for a in tensors.values() if not isinstance(a, Codebook))
    with tempfile.TemporaryDirectory() as place:
        made = {
            profile: write(Path(place, "a.ndz"), tensors, recipe={"net": NET}, profile=profile)
            for profile in ("max", "fast", "huffman")
        }
    books = [book for book in tensors.values() if isinstance(book, Codebook)]
    side = biases + sum(4 * (book.values.size - 1) for book in books)
    dense = b"".join(
        (a.dense() if isinstance(a, Codebook) else a).tobytes() for a in tensors.values()
    )
    sizes = {f"ndz, {profile}": told.size for profile, told in made.items()}
    sizes["order-0 bound of gaps and codes, float32 beside"] = round(sum(map(_bound, books))) + side
    sizes["xz -9e of float32"] = len(lzma.compress(dense, preset=9 | lzma.PRESET_EXTREME))
    if (zstd := _zstd(dense)) is not None:
        sizes["zstd -19 of float32"] = zstd
    huffman = made["huffman"].size
    value = {
        "adaptive / Huffman": made["max"].size / huffman,
        "the same, biases as they are in both": (made["max"].size + _saved(made["max"], biases))
        / huffman,
    }
    rows = [
        {
            "coder": name,
            "bytes": size,
            "of Huffman": size / huffman,
            "smaller than dense": len(dense) / size,
        }
        for name, size in sorted(sizes.items(), key=lambda item: item[1])
    ]
    count = sum(int((book.codes > 0).sum()) for book in books)
    baseline = f"Huffman, {huffman} bytes for {count} of {len(dense) // 4} numbers"
    return Result("ndz-coder", value, "ratio", "lower", [0], quick, baseline, rows=rows)


def _saved(told: Ledger, biases: int) -> int:
    return biases - sum(row.exact for row in told.rows)


def _bound(book: Codebook) -> float:
    """Returns bytes of the entropies of gaps and of codes, in no context."""
    flat = book.codes.reshape(-1)
    return _entropy(np.diff(np.flatnonzero(flat), prepend=-1)) + _entropy(flat[flat > 0])


def _entropy(symbols: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    return float((counts * np.log2(counts.sum() / counts)).sum()) / 8


def _zstd(data: bytes) -> int | None:
    """Returns the size by zstd, where its package is installed."""
    try:
        zstandard: Any = import_module("zstandard")
    except ImportError:
        return None
    return len(zstandard.ZstdCompressor(level=19).compress(data))

"""Writes the files of ``golden``, which have to be read for ever: run once for each version of the format, never again;
the first line made `1.0-shared.ndz`, whose small tensors share a chunk, and before that `1.0-words.ndz`, whose head has type 3;
the others made those with a head of type 1 before there was another."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from netdial.compression import Codebook, write

PLACE = Path(__file__).parent / "golden"


def tensors() -> dict[str, Codebook | np.ndarray]:
    """Tensors made by a hash, the same everywhere."""
    seed = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(64))
    source = np.frombuffer(seed, np.uint8).astype(np.int64)
    values = np.array([0, -0.5, -0.25, -0.1, 0.1, 0.2, 0.3, 0.7], np.float32)
    codes = np.where(source[:960] < 60, source[960:1920] % 7 + 1, 0)
    return {
        "0.weight": Codebook(codes[:768].reshape(12, 64), values),
        "conv": Codebook(codes[768:948].reshape(4, 5, 3, 3), values),
        "full": Codebook(source[:40].reshape(8, 5) % 4, np.array([-1.5, -0.5, 0.5, 1.5])),
        "bias": (source[:12] / np.float64(64) - 2).astype(np.float32),
        "grid": Codebook(source[:30] % 50, (np.arange(50) - 25) * np.float32(0.01)),
        "half": (source[:6].reshape(2, 3) / 16).astype(np.float16),
        "steps": np.array(1234567890123),
        "empty": np.zeros((0, 3), np.int8),
    }


if __name__ == "__main__":
    write(PLACE / "1.0-shared.ndz", tensors(), recipe={"net": "λ"}, meta={"version": 1})
    for profile in ("max", "fast", "huffman"):
        write(PLACE / f"1.0-{profile}.ndz", tensors(), recipe={"net": "λ"}, meta={"version": 1}, profile=profile)  # fmt: skip

"""Compressed files turned into files that other programs read."""

from __future__ import annotations

import json
from pathlib import Path

from netdial.compression.file import read
from netdial.core.storage.files import write_atomic


def to_safetensors(path: str | Path, out: str | Path, max_bytes: int | None = None) -> int:
    """Writes the dense tensors of a compressed file as safetensors, atomically; returns the bytes written.

    Tensors keep their names, so that ``net.load_state_dict(safetensors.torch.load_file(out))`` fills a network. Recipe and
    plain values stand in the metadata as JSON, under ``recipe`` and ``meta``.

    Args:
        path: the compressed file.
        out: file to write.
        max_bytes: as for ``read``.

    Raises:
        CheckpointError: the file is damaged, or the disk refused the new one.
    """
    from safetensors.numpy import save_file

    found = read(path, max_bytes=max_bytes)
    said = {"format": "pt", "recipe": json.dumps(found.recipe), "meta": json.dumps(found.meta)}
    write_atomic(Path(out), lambda made: save_file(found.dense(), made, metadata=said))
    return Path(out).stat().st_size

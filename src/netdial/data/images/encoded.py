"""Images stored as PNG or JPEG in Parquet files, in the layout of the ``datasets`` library: columns image (or img) and label.

Shape legend: N images, C channels, S rows and columns.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.data._optional import require


@dataclass(frozen=True, eq=False)
class Images:
    """Images uint8 [N, C, S, S], labels int64 [N], their files and encodings (JPEG, PNG)."""

    x: Tensor
    y: Tensor
    files: Sequence[Path]
    formats: frozenset[str] = field(default_factory=frozenset)


def join(parts: Sequence[Images]) -> Images:
    """Returns several files as one, in order."""
    if len(parts) == 1:
        return parts[0]
    return Images(
        torch.cat([part.x for part in parts]),
        torch.cat([part.y for part in parts]),
        [path for part in parts for path in part.files],
        frozenset().union(*(part.formats for part in parts)),
    )


def parquet_files(folder: Path, part: str, name: str) -> list[Path]:
    """Returns the Parquet file of a part (train, test), or its shards.

    Args:
        folder: where to look.
        part: what its name holds.
        name: the data set, preferred in names (``cifar10`` also as ``cifar``).

    Raises:
        DataError: several files may be meant.
    """
    exact = folder / f"{name}_jpeg_{part}.parquet"
    if exact.is_file():
        return [exact]
    word = name.rstrip("0123456789")
    others = {"mnist", "cifar"} - {word}
    files = [p for p in sorted(folder.glob(f"*{part}*.parquet")) if p.is_file()]
    files = [p for p in files if not any(other in p.name.lower() for other in others)]
    with_images = [p for p in files if image_column(p)]
    named = [p for p in with_images if word in p.name.lower()] or with_images
    if len({re.sub(r"-\d+-of-\d+", "", p.name) for p in named}) > 1:
        names = ", ".join(p.name for p in named)
        raise DataError(
            f"data {name!r}: which of these holds the {part} images: {names}? Leave one in {folder}"
        )
    return named


def image_column(path: Path) -> str | None:
    """Returns the column of encoded images, or None if the file is no set of labelled images."""
    columns = _open(path).schema_arrow.names
    if "label" not in columns:
        return None
    return next((name for name in ("image", "img") if name in columns), None)


def _open(path: Path) -> Any:
    """Returns the opened Parquet file."""
    parquet = require("pyarrow.parquet", "reading Parquet")
    try:
        return parquet.ParquetFile(path)
    except Exception as error:  # a damaged file can fail in any way
        raise DataError(f"{path} is damaged or no Parquet file ({error})") from error


def read_parquet(path: Path, shape: tuple[int, int, int]) -> Images:
    """Returns the decoded images of a Parquet file; those of two files are kept, as every trial of a sweep asks for them.

    The tensors are shared with whoever asks again: not to be written to.

    Args:
        path: the file.
        shape: channels, rows and columns of an image; grey images have one channel.

    Raises:
        DataError: it is damaged, or holds images of another size.
    """
    stat = path.stat()
    return _decoded(path, shape, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=2)
def _decoded(path: Path, shape: tuple[int, int, int], _written: tuple[int, int]) -> Images:
    """Returns what ``read_parquet`` does; decoding takes a fifth of a millisecond for each image."""
    image_module = require("PIL.Image", "decoding images")
    column = image_column(path)
    if column is None:
        raise DataError(f"{path}: no columns image (or img) and label")
    images: list[np.ndarray[Any, Any]] = []
    labels: list[int] = []
    formats: set[str] = set()
    try:
        with _open(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=[column, "label"]):
                labels += [int(label) for label in batch.column("label").to_pylist()]
                for cell in batch.column(column).to_pylist():
                    encoded = cell["bytes"] if isinstance(cell, dict) else cell
                    where = f"{path.name}, row {len(images)}"
                    image, kind = _decode(image_module, encoded, shape, where)
                    images.append(image)
                    formats.add(kind)
    except DataError:
        raise
    except Exception as error:  # neither Parquet nor image decoders say what they raise
        raise DataError(
            f"{path} is damaged near row {len(images)} ({type(error).__name__}: {error})"
        ) from error
    x = torch.from_numpy(np.stack(images)) if images else torch.empty(0, *shape, dtype=torch.uint8)
    return Images(x, torch.tensor(labels, dtype=torch.int64), [path], frozenset(formats))


def _decode(
    image_module: Any, encoded: object, shape: tuple[int, int, int], where: str
) -> tuple[np.ndarray[Any, Any], str]:
    """Returns one image [C, S, S] and its encoding; only PNG and JPEG are decoded."""
    channels, rows, columns = shape
    if not isinstance(encoded, bytes):
        raise DataError(f"{where}: no image bytes, got {type(encoded).__name__}")
    with image_module.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
        if image.size != (columns, rows):
            raise DataError(
                f"{where}: wrong image size: {image.width} x {image.height}, expected {columns} x {rows}"
            )
        pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
        return pixels.reshape(rows, columns, channels).transpose(2, 0, 1), str(image.format)

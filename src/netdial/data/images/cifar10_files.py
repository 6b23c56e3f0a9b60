"""Reads the three forms of CIFAR-10: Python batches, binary batches, Parquet with encoded images.

The Python batches are pickles. They are read by an unpickler that knows two names, numpy's array
and its dtype, and gives both to inert stand-ins; every other name is refused, so a file can run no
code here. When several forms are there, the lossless batches are preferred.
Source of the layouts: https://www.cs.toronto.edu/~kriz/cifar.html

Shape legend: N images, 3 x 32 x 32 bytes each, channel first.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.data._optional import require
from netdial.data.folder import not_found

SHAPE = (3, 32, 32)
SIZE = 3 * 32 * 32
PYTHON_FOLDER, BINARY_FOLDER = "cifar-10-batches-py", "cifar-10-batches-bin"
LOOKED_FOR = (
    f"{PYTHON_FOLDER}/, {BINARY_FOLDER}/, cifar10_jpeg_train.parquet with"
    " cifar10_jpeg_test.parquet, or any *train*.parquet with *test*.parquet that have the columns"
    " image (or img) and label"
)


@dataclass(frozen=True, eq=False)
class Images:
    """Images uint8 [N, 3, 32, 32], labels int64 [N], their files and encodings (JPEG, PNG)."""

    x: Tensor
    y: Tensor
    files: Sequence[Path]
    formats: frozenset[str] = field(default_factory=frozenset)


def read_cifar10(folder: Path) -> tuple[Images, Images]:
    """Returns the training and the test images found in ``folder``.

    Raises:
        DataError: if there are none, or a file is damaged or holds images of another size.
    """
    for name, suffix, read in (
        (PYTHON_FOLDER, "", _read_python),
        (BINARY_FOLDER, ".bin", _read_binary),
    ):
        place = folder / name if (folder / name).is_dir() else folder
        train = sorted(p for p in place.glob(f"data_batch_*{suffix}") if p.suffix == suffix)
        test = place / f"test_batch{suffix}"
        if train and test.is_file():
            return _join([read(path) for path in train]), _join([read(test)])
    train_files, test_files = _parquet_files(folder, "train"), _parquet_files(folder, "test")
    if not train_files or not test_files:
        part = "train" if not train_files else "test"
        raise not_found("cifar10", LOOKED_FOR, f"no file of {part} images in {folder}")
    return _join([_read_parquet(p) for p in train_files]), _join(
        [_read_parquet(p) for p in test_files]
    )


def _join(parts: Sequence[Images]) -> Images:
    """Returns several files as one, in order."""
    if len(parts) == 1:
        return parts[0]
    return Images(
        torch.cat([part.x for part in parts]),
        torch.cat([part.y for part in parts]),
        [path for part in parts for path in part.files],
        frozenset().union(*(part.formats for part in parts)),
    )


class _InertDtype:
    """Stands in for ``numpy.dtype``: keeps the type code and does nothing."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: object) -> None:
        """Ignores byte order and flags: only single bytes are accepted in the end."""


class _InertArray:
    """Stands in for ``numpy.ndarray``: keeps the pickled state for the reader to check."""

    state: tuple[Any, ...] = ()

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


def _reconstruct(kind: object, *_: object) -> object:
    """Stands in for numpy's ``_reconstruct``: an empty stand-in array, whatever was asked for."""
    if kind is not _InertArray:
        raise pickle.UnpicklingError("only plain arrays are read")
    return _InertArray()


class _ArraysOnly(pickle.Unpickler):
    """An unpickler for dictionaries of numbers, bytes and numpy arrays; it imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns a stand-in for the three names a pickled array needs; refuses all others."""
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): _InertArray,
            ("numpy", "dtype"): _InertDtype,
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return known[module, name]


def _read_python(path: Path) -> Images:
    """Returns the images of one Python batch: ``data`` [N, 3072] and ``labels``."""
    try:
        with path.open("rb") as stream:
            batch = _ArraysOnly(stream, encoding="bytes").load()
        entries = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()}
        _, shape, dtype, by_column, payload = entries["data"].state
        labels = torch.tensor([int(label) for label in entries["labels"]], dtype=torch.int64)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: refused to read this pickle: {error}; use the original CIFAR-10 batches"
        ) from None
    except Exception as error:  # a hostile or damaged pickle can fail in any way
        raise DataError(
            f"{path} is damaged or no CIFAR-10 batch ({type(error).__name__}: {error})"
        ) from error
    if dtype.code != "u1" or len(shape) != 2 or shape[1] != SIZE:
        raise DataError(f"{path}: wrong image size: {dtype.code} {shape}, expected u1 (N, {SIZE})")
    if len(payload) != shape[0] * SIZE or len(labels) != shape[0]:
        raise DataError(
            f"{path} is damaged: {shape[0]} images, {len(payload)} bytes, {len(labels)} labels"
        )
    rows = np.frombuffer(payload, dtype=np.uint8).reshape(shape, order="F" if by_column else "C")
    return Images(torch.tensor(rows.reshape(-1, *SHAPE)), labels, [path])


def _read_binary(path: Path) -> Images:
    """Returns the images of one binary batch: records of one label byte and 3072 pixel bytes."""
    content = np.fromfile(path, dtype=np.uint8)
    if len(content) == 0 or len(content) % (SIZE + 1):
        raise DataError(
            f"{path}: {len(content)} bytes are no whole number of records of {SIZE + 1} bytes;"
            " damaged, or a wrong image size"
        )
    records = torch.tensor(content).view(-1, SIZE + 1)
    return Images(records[:, 1:].reshape(-1, *SHAPE), records[:, 0].long(), [path])


def _parquet_files(folder: Path, part: str) -> list[Path]:
    """Returns the Parquet file of that part, or its shards, by name and columns."""
    exact = folder / f"cifar10_jpeg_{part}.parquet"
    if exact.is_file():
        return [exact]
    with_images = [p for p in sorted(folder.glob(f"*{part}*.parquet")) if _image_column(p)]
    named = [p for p in with_images if "cifar" in p.name.lower()] or with_images
    if len({re.sub(r"-\d+-of-\d+", "", p.name) for p in named}) > 1:
        names = ", ".join(p.name for p in named)
        raise DataError(
            f"data 'cifar10': which of these holds the {part} images: {names}? Leave one in"
            f" {folder}"
        )
    return named


def _image_column(path: Path) -> str | None:
    """Returns the column of encoded images, or None if the file is no set of labelled images."""
    columns = _open(path).schema_arrow
    if "label" not in columns.names:
        return None
    return next((name for name in ("image", "img") if name in columns.names), None)


def _open(path: Path) -> Any:
    """Returns the opened Parquet file."""
    parquet = require("pyarrow.parquet", "reading Parquet")
    arrow = require("pyarrow", "reading Parquet")
    try:
        return parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged or no Parquet file ({error})") from error


def _read_parquet(path: Path) -> Images:
    """Returns the decoded images of a Parquet file in the layout of the ``datasets`` library."""
    image_module = require("PIL.Image", "decoding images")
    arrow = require("pyarrow", "reading Parquet")
    column = _image_column(path)
    if column is None:
        raise DataError(f"{path}: no columns image (or img) and label")
    with _open(path) as file:
        images = np.empty((file.metadata.num_rows, *SHAPE), dtype=np.uint8)
        labels = np.empty(len(images), dtype=np.int64)
        formats: set[str] = set()
        row = 0
        try:
            for batch in file.iter_batches(batch_size=1024, columns=[column, "label"]):
                labels[row : row + len(batch)] = batch.column("label").to_numpy(
                    zero_copy_only=False
                )
                for cell in batch.column(column).to_pylist():
                    encoded = cell["bytes"] if isinstance(cell, dict) else cell
                    images[row], kind = _decode(image_module, encoded, f"{path.name}, row {row}")
                    formats.add(kind)
                    row += 1
        except (arrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{path} is damaged near row {row} ({type(error).__name__}: {error})"
            ) from error
    return Images(torch.from_numpy(images), torch.from_numpy(labels), [path], frozenset(formats))


def _decode(image_module: Any, encoded: object, where: str) -> tuple[np.ndarray[Any, Any], str]:
    """Returns one image [3, 32, 32] and its encoding; only PNG and JPEG are decoded."""
    if not isinstance(encoded, bytes):
        raise DataError(f"{where}: no image bytes, got {type(encoded).__name__}")
    with image_module.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
        if image.size != (32, 32):
            raise DataError(
                f"{where}: wrong image size: {image.width} x {image.height}, expected 32 x 32"
            )
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        return pixels.transpose(2, 0, 1), str(image.format)

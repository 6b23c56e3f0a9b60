"""Finds and reads MNIST: ``mnist.npz``, the original IDX files, plain or gzipped, or Parquet with encoded images.

Nothing is unpickled, and the size that a header promises is compared with the file before memory is taken.
IDX: Y. LeCun, C. Cortes, C. Burges, the MNIST database (two zero bytes, type, number of dimensions,
sizes, payload).

Shape legend: N images, 28 x 28 pixels.
"""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netdial.core.errors import DataError
from netdial.data.folder import not_found
from netdial.data.images.encoded import join, parquet_files, read_parquet

SIDE = 28
IDX_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
LOOKED_FOR = (
    "mnist.npz, or train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and"
    " t10k-labels-idx1-ubyte (each plain or .gz), or *train*.parquet with *test*.parquet, there or in the subfolders mnist/,"
    " MNIST/, raw/ and MNIST/raw/"
)
SUBFOLDERS = ("", "mnist", "MNIST", "raw", "MNIST/raw", "mnist/raw", "mnist/MNIST/raw")
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_CHUNK = 1 << 20

Arrays = Sequence[np.ndarray[Any, Any]]


def read_mnist(folder: Path) -> tuple[Arrays, list[Path]]:
    """Returns training images, training labels, test images, test labels, and the files that hold them.

    Raises:
        DataError: there are none, or a file is damaged.
    """
    for place in (folder / sub for sub in SUBFOLDERS):
        if (place / "mnist.npz").is_file():
            return _read_npz(place / "mnist.npz"), [place / "mnist.npz"]
        found = [_idx_path(place, stem) for stem in IDX_STEMS]
        present = [path for path in found if path is not None]
        if len(present) == len(IDX_STEMS):
            return [_read_idx(path) for path in present], present
        if present:
            absent = ", ".join(
                stem for stem, path in zip(IDX_STEMS, found, strict=True) if path is None
            )
            raise not_found(
                "mnist", LOOKED_FOR, f"{place} holds only some of the IDX files (missing: {absent})"
            )
    for place in (folder / sub for sub in SUBFOLDERS):
        train, test = (parquet_files(place, part, "mnist") for part in ("train", "test"))
        if train and test:
            parts = [
                join([read_parquet(path, (1, SIDE, SIDE)) for path in paths])
                for paths in (train, test)
            ]
            arrays = [a for part in parts for a in (part.x[:, 0].numpy(), part.y.numpy())]
            return arrays, [*train, *test]
    raise not_found("mnist", LOOKED_FOR, f"no such file in {folder}")


def _idx_path(folder: Path, stem: str) -> Path | None:
    """Returns the IDX file of that stem, plain or gzipped, with either spelling; also inside a folder of its own name."""
    rank = 3 if stem.endswith("images") else 1
    names = [f"{stem}{joint}idx{rank}-ubyte{end}" for joint in "-." for end in ("", ".gz")]
    places = [folder / name for name in names]
    places += [place / name for place in places if place.is_dir() for name in names]
    return next((place for place in places if place.is_file()), None)


def _read_npz(path: Path) -> Arrays:
    """Returns x_train, y_train, x_test, y_test of an npz file, refusing pickled objects."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            absent = [name for name in _ARRAYS if f"{name}.npy" not in names]
            if absent:
                raise DataError(
                    f"{path}: no {absent[0]}; expected x_train, y_train, x_test and y_test"
                )
            return [_read_npy(archive, f"{name}.npy") for name in _ARRAYS]
    except DataError:
        raise
    except Exception as error:  # zip, zlib and the parser of numpy's header raise many kinds
        raise DataError(f"{path} is damaged or no npz file ({error}); fetch it again") from error


def _read_npy(archive: zipfile.ZipFile, name: str) -> np.ndarray[Any, Any]:
    """Returns one array of an npz file; its header must promise what the member holds."""
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in read:
            raise ValueError(f"{name}: unknown version {version}")
        shape, by_column, dtype = read[version](stream)
        if dtype.hasobject:
            raise ValueError(f"{name}: holds Python objects")
        needed = math.prod(shape) * dtype.itemsize
        left = archive.getinfo(name).file_size - stream.tell()
        if needed != left:
            raise ValueError(f"{name}: its header promises {needed} bytes, there are {left}")
        payload = _read_exactly(stream, needed)
    return np.frombuffer(payload, dtype=dtype).reshape(shape, order="F" if by_column else "C")


def _read_idx(path: Path) -> np.ndarray[Any, Any]:
    """Returns the uint8 array of an IDX file."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            zeros, code, rank = struct.unpack(">HBB", stream.read(4))
            if zeros or code != 8 or rank not in (1, 3):
                raise DataError(
                    f"{path}: not an IDX file of unsigned bytes (header {zeros}, {code}, {rank})"
                )
            shape = struct.unpack(f">{rank}I", stream.read(4 * rank))
            payload = _read_exactly(stream, math.prod(shape) + 1)
    except DataError:
        raise
    except Exception as error:  # gzip and zlib raise many kinds on damaged files
        raise DataError(f"{path} is damaged ({error}); fetch it again") from error
    if len(payload) != math.prod(shape):
        raise DataError(
            f"{path} is damaged: its header promises {math.prod(shape)} bytes (shape"
            f" {list(shape)}), the file holds"
            f" {'more' if len(payload) > math.prod(shape) else len(payload)}; fetch it again"
        )
    return np.frombuffer(payload, dtype=np.uint8).reshape(shape)


def _read_exactly(stream: Any, count: int) -> bytes:
    """Returns up to ``count`` bytes; memory is taken for what is there, not for what was promised."""
    pieces, left = [], count
    while left > 0 and (piece := stream.read(min(left, _CHUNK))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)

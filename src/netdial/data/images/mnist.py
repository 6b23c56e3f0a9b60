"""MNIST from ``mnist.npz`` or from the original IDX files, plain or gzipped; nothing is unpickled.

Pixels become (x / 255 - 0.5) / 0.5, so they lie in [-1, 1]. The original 10 000 test images stay
the test part; validation is drawn from the training images by seed, class by class.
IDX: Y. LeCun, C. Cortes, C. Burges, the MNIST database (two zero bytes, type, number of dimensions,
sizes, payload).

Shape legend: N images, 28 x 28 pixels.
"""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from netdial.core.errors import DataError
from netdial.data.assemble import assemble
from netdial.data.dataset import Dataset, Splits
from netdial.data.folder import fingerprints, not_found, require_folder
from netdial.data.split import split_rows

CLASSES = tuple(str(digit) for digit in range(10))
VALID = 0.1
SIDE = 28
IDX_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
LOOKED_FOR = (
    "mnist.npz, or train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and"
    " t10k-labels-idx1-ubyte (each plain or .gz), there or in the subfolders mnist/ and MNIST/raw/"
)
SUBFOLDERS = ("", "mnist", "MNIST/raw")


def load_mnist(
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    valid: float | None = None,
    flat: bool = False,
) -> Splits:
    """Returns MNIST as a task of ten classes.

    Args:
        data_dir: Folder of the files; default: the environment variable NETDIAL_DATA.
        seed: Decides which training images become the validation part.
        valid: Fraction of the training images for validation (0.1, that is 6 000).
        flat: True gives inputs [N, 784], False [N, 1, 28, 28]; float32 both.

    Raises:
        DataError: if the files are missing, damaged or hold images of another size.
    """
    folder = require_folder(data_dir, "mnist", LOOKED_FOR)
    files = _find(folder)
    arrays = _read_npz(files[0]) if len(files) == 1 else [_read_idx(path) for path in files]
    x_train, y_train = _part(arrays[0], arrays[1], "train")
    x_test, y_test = _part(arrays[2], arrays[3], "test")
    valid = VALID if valid is None else valid
    splits = split_rows(
        len(x_train),
        valid=valid,
        test=0.0,
        seed=seed,
        labels=y_train,
        classes=CLASSES,
        where="data 'mnist'",
    )
    splits["test"] = torch.arange(len(x_test))
    train, fresh = splits["train"], splits["valid"]
    source: dict[str, Any] = {
        "origin": "MNIST",
        "files": fingerprints(files),
        "rows": "train and valid number the original training images, test the original test"
        " images",
        "split": {"seed": seed, "valid": valid, "test": "original", "stratified": True},
        "encoding": {"pixels": "(x / 255 - 0.5) / 0.5"},
        "notes": [],
    }
    parts = {
        "train": Dataset(_pixels(x_train[train], flat), y_train[train]),
        "valid": Dataset(_pixels(x_train[fresh], flat), y_train[fresh]),
        "test": Dataset(_pixels(x_test, flat), y_test),
    }
    return assemble(
        "mnist", "classification", parts=parts, splits=splits, source=source, classes=CLASSES
    )


def _find(folder: Path) -> list[Path]:
    """Returns the npz file, or the four IDX files in the order of ``IDX_STEMS``."""
    for place in (folder / sub for sub in SUBFOLDERS):
        if (place / "mnist.npz").is_file():
            return [place / "mnist.npz"]
        found = [_idx_path(place, stem) for stem in IDX_STEMS]
        present = [path for path in found if path is not None]
        if len(present) == len(IDX_STEMS):
            return present
        if present:
            absent = ", ".join(
                stem for stem, path in zip(IDX_STEMS, found, strict=True) if path is None
            )
            raise not_found(
                "mnist", LOOKED_FOR, f"{place} holds only some of the IDX files (missing: {absent})"
            )
    raise not_found("mnist", LOOKED_FOR, f"no such file in {folder}")


def _idx_path(folder: Path, stem: str) -> Path | None:
    """Returns the IDX file of that stem, plain or gzipped, with either spelling of its name."""
    rank = 3 if stem.endswith("images") else 1
    names = [f"{stem}{joint}idx{rank}-ubyte{end}" for joint in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_npz(path: Path) -> Sequence[np.ndarray[Any, Any]]:
    """Returns x_train, y_train, x_test, y_test of an npz file, refusing pickled objects."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return [archive[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    except KeyError as error:
        raise DataError(
            f"{path}: {error.args[0]}; expected x_train, y_train, x_test and y_test"
        ) from None
    except (
        ValueError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise DataError(f"{path} is damaged or no npz file ({error}); fetch it again") from error


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
            payload = stream.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} is damaged ({error}); fetch it again") from error
    if len(payload) != math.prod(shape):
        raise DataError(
            f"{path} is damaged: its header promises {math.prod(shape)} bytes (shape"
            f" {list(shape)}), the file holds"
            f" {'more' if len(payload) > math.prod(shape) else len(payload)}; fetch it again"
        )
    return np.frombuffer(payload, dtype=np.uint8).reshape(shape)


def _part(
    images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns checked images uint8 [N, 28, 28] and labels int64 [N]."""
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8:
        raise DataError(
            f"data 'mnist', {name} images: wrong image size: got {images.dtype}"
            f" {list(images.shape)}, expected uint8 [N, {SIDE}, {SIDE}]"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"data 'mnist', {name} labels: got {labels.dtype} {list(labels.shape)}, expected one"
            f" whole number for each of {len(images)} images"
        )
    return torch.tensor(images), torch.tensor(labels.astype(np.int64))


def _pixels(images: torch.Tensor, flat: bool) -> torch.Tensor:
    """Returns float32 pixels in [-1, 1], [N, 784] or [N, 1, 28, 28]."""
    scaled = images.to(torch.float32).div_(255).sub_(0.5).div_(0.5)
    return scaled.flatten(1) if flat else scaled[:, None]

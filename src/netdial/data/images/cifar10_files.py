"""Finds and reads the three forms of CIFAR-10: Python batches, binary batches, Parquet with encoded images.

When several forms are there, the lossless batches are preferred.
Source of the layouts: https://www.cs.toronto.edu/~kriz/cifar.html

Shape legend: N images, 3 x 32 x 32 bytes each, channel first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from netdial.core.errors import DataError
from netdial.data.folder import not_found
from netdial.data.images.encoded import Images, join, parquet_files, read_parquet
from netdial.data.images.pickles import read_pickle

SHAPE = (3, 32, 32)
SIZE = 3 * 32 * 32
PYTHON_FOLDER, BINARY_FOLDER = "cifar-10-batches-py", "cifar-10-batches-bin"
LOOKED_FOR = (
    f"{PYTHON_FOLDER}/, {BINARY_FOLDER}/, cifar10_jpeg_train.parquet with"
    " cifar10_jpeg_test.parquet, or any *train*.parquet with *test*.parquet that have the columns"
    " image (or img) and label, there or in the subfolders plain_text/, data/ and cifar10/ (also CIFAR10, cifar-10)"
)
_FOLDERS = ("", "cifar10", "CIFAR10", "cifar-10", "CIFAR-10")
_INNER = ("", PYTHON_FOLDER, BINARY_FOLDER, "plain_text", "data")


def read_cifar10(folder: Path) -> tuple[Images, Images]:
    """Returns the training and the test images found in ``folder``.

    Raises:
        DataError: if there are none, or a file is damaged or holds images of another size.
    """
    places = [folder / outer / inner for outer in _FOLDERS for inner in _INNER]
    places = [place for place in places if place.is_dir()]
    for suffix, read in (("", _read_python), (".bin", _read_binary)):
        for place in places:
            found = sorted(place.glob(f"data_batch_*{suffix}"))
            train = [p for p in found if p.suffix == suffix and p.is_file()]
            test = place / f"test_batch{suffix}"
            if train and test.is_file():
                return join([read(path) for path in train]), join([read(test)])
    absent = "train"
    for place in places:
        files = {part: parquet_files(place, part, "cifar10") for part in ("train", "test")}
        if all(files.values()):
            train_images, test_images = (
                join([read_parquet(path, SHAPE) for path in paths]) for paths in files.values()
            )
            return train_images, test_images
        absent = "test" if files["train"] else absent
    why = f"no file of {absent} images in {folder}"
    packed = [p for place in places for p in sorted(place.glob("cifar-10-*.tar.gz"))]
    if packed:
        why += f"; {packed[0]} is there but not unpacked (tar -xzf {packed[0].name})"
    raise not_found("cifar10", LOOKED_FOR, why)


def _read_python(path: Path) -> Images:
    """Returns the images of one Python batch: ``data`` [N, 3072] and ``labels``."""
    rows, labels = read_pickle(path, ("data", "labels"), "CIFAR-10 batch")
    try:
        y = torch.tensor([int(label) for label in labels], dtype=torch.int64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise DataError(f"{path} is damaged or no CIFAR-10 batch (its labels: {error})") from None
    if not isinstance(rows, np.ndarray):
        raise DataError(
            f"{path} is damaged or no CIFAR-10 batch: data is {type(rows).__name__}, no array"
        )
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != SIZE:
        raise DataError(
            f"{path}: wrong image size: {rows.dtype} {list(rows.shape)}, expected uint8 [N, {SIZE}]"
        )
    if len(y) != len(rows):
        raise DataError(f"{path} is damaged: {len(rows)} images, {len(y)} labels")
    return Images(torch.tensor(rows.reshape(-1, *SHAPE)), y, [path])


def _read_binary(path: Path) -> Images:
    """Returns the images of one binary batch: records of one label byte and 3072 pixel bytes."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None
    if len(content) == 0 or len(content) % (SIZE + 1):
        raise DataError(
            f"{path}: {len(content)} bytes are no whole number of records of {SIZE + 1} bytes;"
            " damaged, or a wrong image size"
        )
    records = torch.tensor(content).view(-1, SIZE + 1)
    return Images(records[:, 1:].reshape(-1, *SHAPE), records[:, 0].long(), [path])

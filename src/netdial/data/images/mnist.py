"""MNIST as a task of ten classes; the files are read by ``mnist_files``.

Pixels become (x / 255 - 0.5) / 0.5, so they lie in [-1, 1]. The original 10 000 test images stay
the test part; validation is drawn from the training images by seed, class by class.

Shape legend: N images, 28 x 28 pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from netdial.core.errors import DataError
from netdial.data.assemble import assemble
from netdial.data.dataset import Dataset, Splits
from netdial.data.folder import fingerprints, require_folder
from netdial.data.images.mnist_files import LOOKED_FOR, SIDE, read_mnist
from netdial.data.split import split_rows

CLASSES = tuple(str(digit) for digit in range(10))
VALID = 0.1


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
    arrays, files = read_mnist(folder)
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
        "pixels": {"image": [1, SIDE, SIDE], "shift": [127.5], "scale": [1 / 127.5]},
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


def _part(
    images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns checked images uint8 [N, 28, 28] (flat ones are unfolded) and labels int64 [N]."""
    if images.ndim == 2 and images.shape[1] == SIDE * SIDE:
        images = images.reshape(-1, SIDE, SIDE)
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

"""CIFAR-10 as a task: 32 x 32 colour images of ten classes, kept as uint8 and normalised when used.

The files are read by ``cifar10_files``; here the validation part is drawn from the training images,
and mean and standard deviation of each channel are taken over the images that remain for training.
Source of the data: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.

Shape legend: N images, C = 3 channels, H = W = 32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.data.assemble import assemble
from netdial.data.dataset import Dataset, Splits
from netdial.data.folder import fingerprints, require_folder
from netdial.data.images.cifar10_files import LOOKED_FOR, read_cifar10
from netdial.data.images.encoded import Images
from netdial.data.split import split_rows

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VALID = 0.1
CHUNK = 4096  # images turned to float64 at a time when statistics are taken: 100 MB


def load_cifar10(
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    valid: float | None = None,
    flat: bool = False,
) -> Splits:
    """Returns CIFAR-10 as a task of ten classes.

    Args:
        data_dir: Folder of the files; default: the environment variable NETDIAL_DATA.
        seed: Decides which training images become the validation part.
        valid: Fraction of the training images for validation (0.1, that is 5 000).
        flat: True gives inputs [N, 3072] (and no augmentation), False [N, 3, 32, 32]; uint8 both.

    Raises:
        DataError: if the files are missing, damaged or hold images of another size.
        MissingExtra: for Parquet files, if pyarrow or pillow is not installed.
    """
    folder = require_folder(data_dir, "cifar10", LOOKED_FOR)
    train, test = read_cifar10(folder)
    for part, name in ((train, "train"), (test, "test")):
        if len(part.y) == 0 or int(part.y.min()) < 0 or int(part.y.max()) > 9:
            raise DataError(f"data 'cifar10', {name} part: labels must be 0 to 9 and at least one")
    valid = VALID if valid is None else valid
    splits = split_rows(
        len(train.y),
        valid=valid,
        test=0.0,
        seed=seed,
        labels=train.y,
        classes=CLASSES,
        where="data 'cifar10'",
    )
    splits["test"] = torch.arange(len(test.y))
    x_train, x_valid = train.x[splits["train"]], train.x[splits["valid"]]
    shift, scale = _normalisation(x_train)
    parts = {
        "train": Dataset(x_train, train.y[splits["train"]], shift, scale),
        "valid": Dataset(x_valid, train.y[splits["valid"]], shift, scale),
        "test": Dataset(test.x, test.y, shift, scale),
    }
    return assemble(
        "cifar10",
        "classification",
        parts={name: _flat(part) for name, part in parts.items()} if flat else parts,
        splits=splits,
        source=_source(train, test, {"seed": seed, "valid": valid}, shift, scale),
        classes=CLASSES,
        augment=None if flat else "crop-flip",
    )


def _flat(part: Dataset) -> Dataset:
    """Returns a part with images as vectors, and shift and scale for each of their entries."""
    assert part.shift is not None and part.scale is not None
    shape = part.x.shape[1:]
    shift, scale = (values.expand(shape).flatten() for values in (part.shift, part.scale))
    return Dataset(part.x.flatten(1), part.y, shift, scale)


def _normalisation(images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns channel means and inverse deviations [C, 1, 1] of uint8 images [N, C, H, W]."""
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for start in range(0, len(images), CHUNK):
        values = images[start : start + CHUNK].to(torch.float64)
        total += values.sum((0, 2, 3))
        squares += values.square_().sum((0, 2, 3))
    count = images.numel() / images.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt().clamp_min(1.0)
    return mean.float()[:, None, None], std.reciprocal().float()[:, None, None]


def _source(
    train: Images,
    test: Images,
    split: dict[str, Any],
    shift: Tensor,
    scale: Tensor,
) -> dict[str, Any]:
    """Returns the provenance; images that were stored as JPEG are named so."""
    jpeg = "JPEG" in train.formats | test.formats
    notes = [
        "images were re-compressed as JPEG: accuracies are not exactly comparable with lossless"
        " CIFAR-10"
    ]
    return {
        "pixels": {
            "image": list(train.x.shape[1:]),
            "shift": shift.flatten().tolist(),
            "scale": scale.flatten().tolist(),
        },
        "origin": "CIFAR-10 (JPEG)" if jpeg else "CIFAR-10",
        "files": fingerprints(list(train.files) + list(test.files)),
        "rows": "train and valid number the training images in file order, test the test images",
        "split": {**split, "test": "original", "stratified": True},
        "encoding": {
            "pixels": "(x - shift) * scale per channel, from the training part",
            "shift": shift.flatten().tolist(),
            "scale": scale.flatten().tolist(),
        },
        "notes": notes if jpeg else [],
    }

"""Small files in the layouts that the loaders read, and the folder of real data."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]


@pytest.fixture
def real_data() -> Path:
    """The folder with the real data sets."""
    folder = os.environ.get("NETDIAL_DATA")
    if not folder:
        pytest.skip("NETDIAL_DATA is not set: real data are not here")
    return Path(folder)


@pytest.fixture
def digits() -> dict[str, Array]:
    """Arrays as in mnist.npz: 60 training and 20 test images of noise, balanced labels."""
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (60, 28, 28), dtype=np.uint8),
        "y_train": np.arange(60, dtype=np.uint8) % 10,
        "x_test": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    }


@pytest.fixture
def colours() -> tuple[Array, Array]:
    """Sixty smooth images uint8 [60, 3, 32, 32] (JPEG keeps them nearly) and their labels."""
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 255, (60, 3, 1, 1))
    slope = np.linspace(0, 1, 32)[None, None, :, None]
    images = corners + slope * (128 - corners)
    return np.broadcast_to(images, (60, 3, 32, 32)).astype(np.uint8), np.arange(60) % 10


@pytest.fixture
def write_parquet() -> Callable[..., None]:
    """A function that writes images as Parquet in the layout of the ``datasets`` library."""

    def write(path: Path, images: Array, labels: Array, **options: Any) -> None:
        pa = pytest.importorskip("pyarrow")
        image_module = pytest.importorskip("PIL.Image")
        column = options.get("column", "image")
        cells = []
        for image in images:
            buffer = io.BytesIO()
            picture = image_module.fromarray(image.transpose(1, 2, 0))
            picture.save(buffer, format=options.get("kind", "PNG"))
            cells.append({"bytes": buffer.getvalue(), "path": None})
        pq = pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({column: cells, "label": [int(y) for y in labels]}), path)

    return write

"""Image files where people keep them: one folder off, in the layouts of other libraries, pickled again; damaged ones."""

from __future__ import annotations

import collections
import contextlib
import gzip
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netdial.core.errors import DataError
from netdial.data import load_data

Array = np.ndarray[Any, Any]
STEMS = {
    "x_train": "train-images",
    "y_train": "train-labels",
    "x_test": "t10k-images",
    "y_test": "t10k-labels",
}


def idx(array: Array) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(
    folder: Path, digits: dict[str, Array], joint: str = "-", *, inside: bool = False
) -> None:
    for key, stem in STEMS.items():
        name = f"{stem}{joint}idx{digits[key].ndim}-ubyte"
        place = folder / name if inside else folder
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(idx(digits[key]))


def write_images(folder: Path, parts: dict[str, tuple[Array, Array]], column: str) -> None:
    pd, image = pytest.importorskip("pandas"), pytest.importorskip("PIL.Image")
    pytest.importorskip("pyarrow")
    folder.mkdir(parents=True, exist_ok=True)
    for part, (x, y) in parts.items():
        cells = []
        for picture in x:
            buffer = io.BytesIO()
            image.fromarray(picture).save(buffer, "PNG")
            cells.append({"bytes": buffer.getvalue(), "path": None})
        frame = pd.DataFrame({column: cells, "label": y.astype("int64")})
        frame.to_parquet(folder / f"{part}-00000-of-00001.parquet")


@pytest.fixture
def usual(tmp_path: Path, digits: dict[str, Array]) -> torch.Tensor:
    """The test images as they come from the plain layout."""
    np.savez(tmp_path / "mnist.npz", **digits)
    return load_data("mnist", data_dir=tmp_path).test.x


@pytest.mark.parametrize(
    ("below", "root"),
    [
        ("", ""),
        ("mnist", ""),
        ("MNIST", ""),
        ("MNIST/raw", ""),
        ("MNIST/raw", "MNIST"),
        ("MNIST/raw", "MNIST/raw"),
        ("mnist/MNIST/raw", ""),
    ],
)
@pytest.mark.parametrize("joint", ["-", "."])
def test_idx_one_folder_off(
    tmp_path: Path, digits: dict[str, Array], usual: torch.Tensor, below: str, root: str, joint: str
) -> None:
    write_idx(tmp_path / "idx" / below, digits, joint)
    assert torch.equal(load_data("mnist", data_dir=tmp_path / "idx" / root).test.x, usual)


def test_idx_files_in_folders_of_their_name(
    tmp_path: Path, digits: dict[str, Array], usual: torch.Tensor
) -> None:
    write_idx(tmp_path / "idx", digits, inside=True)
    assert torch.equal(load_data("mnist", data_dir=tmp_path / "idx").test.x, usual)


def test_mnist_as_encoded_images_and_flat(
    tmp_path: Path, digits: dict[str, Array], usual: torch.Tensor
) -> None:
    parts = {part: (digits[f"x_{part}"], digits[f"y_{part}"]) for part in ("train", "test")}
    write_images(tmp_path / "hf" / "mnist", parts, "image")
    assert torch.equal(load_data("mnist", data_dir=tmp_path / "hf").test.x, usual)
    flat = {k: v.reshape(len(v), -1) if v.ndim == 3 else v for k, v in digits.items()}
    (tmp_path / "flat").mkdir()
    np.savez(tmp_path / "flat" / "mnist.npz", **flat)
    assert torch.equal(load_data("mnist", data_dir=tmp_path / "flat").test.x, usual)


def batch(colours: tuple[Array, Array], *, protocol: int = 4, labels: str = "list") -> bytes:
    images, y = colours
    made = {
        "list": [int(v) for v in y],
        "numbers": list(y.astype(np.int64)),
        "array": y.astype(np.int16),
    }
    rows = np.ascontiguousarray(images.reshape(len(images), -1))
    return pickle.dumps({b"data": rows, b"labels": made[labels]}, protocol=protocol)


def write_batches(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("labels", ["list", "numbers", "array"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_batches_pickled_again(
    tmp_path: Path, colours: tuple[Array, Array], protocol: int, labels: str
) -> None:
    write_batches(tmp_path, batch(colours, protocol=protocol, labels=labels))
    task = load_data("cifar10", data_dir=tmp_path)
    assert torch.equal(task.test.x, torch.tensor(colours[0]))
    assert torch.equal(task.test.y, torch.tensor(colours[1]))


@pytest.mark.parametrize(
    ("below", "root"),
    [
        ("cifar-10-batches-py", ""),
        ("cifar-10-batches-py", "cifar-10-batches-py"),
        ("cifar10/cifar-10-batches-py", ""),
        ("CIFAR10", ""),
    ],
)
def test_cifar_one_folder_off(
    tmp_path: Path, colours: tuple[Array, Array], below: str, root: str
) -> None:
    write_batches(tmp_path / below, batch(colours))
    assert len(load_data("cifar10", data_dir=tmp_path / root).test) == 60


@pytest.mark.parametrize("below", ["", "plain_text", "cifar10/plain_text", "data"])
def test_cifar_as_encoded_images(tmp_path: Path, colours: tuple[Array, Array], below: str) -> None:
    images = np.ascontiguousarray(colours[0].transpose(0, 2, 3, 1))
    write_images(tmp_path / below, dict.fromkeys(("train", "test"), (images, colours[1])), "img")
    assert torch.equal(load_data("cifar10", data_dir=tmp_path).test.x, torch.tensor(colours[0]))


def test_packed_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"not unpacked \(tar -xzf cifar-10-python\.tar\.gz\)"):
        load_data("cifar10", data_dir=tmp_path)


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, ("echo > ran",)),
        Calls(eval, ("open('ran', 'w')",)),
        collections.OrderedDict(a=1),
        np.array([{"a": 1}], dtype=object),
        np.array(["a", "b"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        3,
        None,
    ],
    ids=["system", "eval", "ordered", "objects", "texts", "records", "number", "none"],
)
@pytest.mark.parametrize("entry", [b"data", b"labels"])
def test_nothing_else_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, entry: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = {b"data": np.zeros((1, 3072), np.uint8), b"labels": [0]}
    write_batches(tmp_path, pickle.dumps({**whole, entry: value}))
    with pytest.raises(DataError, match=r"data_batch_1"):
        load_data("cifar10", data_dir=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_headers_that_promise_too_much_take_no_memory(
    tmp_path: Path, digits: dict[str, Array]
) -> None:
    huge = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**31, 28)
    write_idx(tmp_path / "idx", digits)
    (tmp_path / "idx" / "train-images-idx3-ubyte").unlink()
    (tmp_path / "idx" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(huge + bytes(100)))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)}
    )
    np.savez(tmp_path / "mnist.npz", **digits)
    with zipfile.ZipFile(tmp_path / "npz.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + bytes(100))
        for key in ("y_train", "x_test", "y_test"):
            archive.writestr(f"{key}.npy", b"")
    (tmp_path / "npz.npz").replace(tmp_path / "mnist.npz")
    tracemalloc.start()
    for folder in (tmp_path / "idx", tmp_path):
        with pytest.raises(DataError, match="promises"):
            load_data("mnist", data_dir=folder)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


@pytest.mark.parametrize(
    "place", ["mnist.npz", "train-images-idx3-ubyte", "data_batch_1.bin", "data_batch_1"]
)
def test_folders_in_place_of_files(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir()
    for name in ("test_batch.bin", "test_batch"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError):
        load_data("cifar10" if "batch" in place else "mnist", data_dir=tmp_path)


Make = Callable[[Path, dict[str, Array], tuple[Array, Array]], tuple[str, Path]]


def _npz(folder: Path, digits: dict[str, Array], colours: tuple[Array, Array]) -> tuple[str, Path]:
    np.savez(folder / "mnist.npz", **digits)
    return "mnist", folder / "mnist.npz"


def _idx(folder: Path, digits: dict[str, Array], colours: tuple[Array, Array]) -> tuple[str, Path]:
    write_idx(folder, digits)
    path = folder / "train-images-idx3-ubyte"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return "mnist", path.with_name(path.name + ".gz")


def _pickle(
    folder: Path, digits: dict[str, Array], colours: tuple[Array, Array]
) -> tuple[str, Path]:
    write_batches(folder, batch((colours[0][:20], colours[1][:20])))
    return "cifar10", folder / "test_batch"


@pytest.mark.parametrize("make", [_npz, _idx, _pickle])
def test_mutated_files_raise_only_our_errors(
    tmp_path: Path, digits: dict[str, Array], colours: tuple[Array, Array], make: Make
) -> None:
    name, path = make(tmp_path, digits, colours)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    ends = [*range(0, 250), *range(max(0, len(whole) - 400), len(whole))]
    for _ in range(60):
        content = bytearray(whole)
        for place in random.choice(ends, int(random.integers(1, 4))):
            content[place] = int(random.integers(0, 256))
        path.write_bytes(
            content[: len(content) - int(random.integers(0, 2)) * int(random.integers(0, 99))]
        )
        with contextlib.suppress(DataError):
            load_data(name, data_dir=tmp_path, valid=0.4)

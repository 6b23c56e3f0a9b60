"""Folders of MNIST and CIFAR-10 as they lie on people's disks."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

import netdial as nd

from .situations import refused, right

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (60, 28, 28), dtype=np.uint8)
C = RANDOM.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
Y = (np.arange(60) % 10).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(">HBB" + "I" * array.ndim, 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist(folder: Path, joint: str = "-", packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = {"train-images": X, "train-labels": Y, "t10k-images": X, "t10k-labels": Y}
    for stem, array in files.items():
        name = f"{stem}{joint}idx{array.ndim}-ubyte" + (".gz" if packed else "")
        (folder / name).write_bytes(gzip.compress(idx(array)) if packed else idx(array))


def check_mnist(root: Path) -> None:
    splits = nd.load_data("mnist", data_dir=root)
    assert len(splits.test) == 60 and torch.equal(splits.test.y, torch.as_tensor(Y).long())
    pixels = (splits.test.x.view(60, 28, 28) + 1) * 127.5  # stored from -1 to 1
    torch.testing.assert_close(pixels, torch.as_tensor(X).float(), rtol=0, atol=1e-3)


@right
def test_mnist_in_the_folder_itself(tmp_path: Path) -> None:
    """The four files in the folder given."""
    mnist(tmp_path)
    check_mnist(tmp_path)


@right
def test_mnist_packed_and_with_dots(tmp_path: Path) -> None:
    """``train-images.idx3-ubyte.gz``."""
    mnist(tmp_path, ".", packed=True)
    check_mnist(tmp_path)


@right
def test_mnist_as_torchvision_keeps_it(tmp_path: Path) -> None:
    """``MNIST/raw`` below the folder given, or below the folder MNIST itself."""
    mnist(tmp_path / "MNIST" / "raw")
    check_mnist(tmp_path)
    check_mnist(tmp_path / "MNIST")
    check_mnist(tmp_path / "MNIST" / "raw")


@right
def test_mnist_as_keras_keeps_it(tmp_path: Path) -> None:
    """``mnist.npz``."""
    np.savez(tmp_path / "mnist.npz", x_train=X, y_train=Y, x_test=X, y_test=Y)
    check_mnist(tmp_path)


def batches(folder: Path, protocol: int = 4, numpy_labels: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    labels = list(Y.astype(int)) if numpy_labels else [int(y) for y in Y]
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        held = {b"data": C.reshape(60, -1).copy(), b"labels": labels}
        (folder / name).write_bytes(pickle.dumps(held, protocol=protocol))


def check_cifar(root: Path) -> None:
    splits = nd.load_data("cifar10", data_dir=root)
    assert torch.equal(splits.test.x, torch.as_tensor(C))
    assert torch.equal(splits.test.y, torch.as_tensor(Y).long())


@right
def test_cifar_one_folder_off(tmp_path: Path) -> None:
    """The folder above the batches, or the folder of the batches itself."""
    batches(tmp_path / "cifar-10-batches-py")
    check_cifar(tmp_path)
    check_cifar(tmp_path / "cifar-10-batches-py")


@right
def test_cifar_pickled_again(tmp_path: Path) -> None:
    """Batches saved again with protocol 2 or 5, or with labels as numpy integers."""
    for number, how in enumerate(((2, False), (5, False), (4, True))):
        batches(tmp_path / str(number) / "cifar-10-batches-py", *how)
        check_cifar(tmp_path / str(number))


@right
def test_cifar_as_parquet(tmp_path: Path) -> None:
    """``plain_text/train-00000-of-00001.parquet`` with encoded images."""

    def png(array: np.ndarray) -> bytes:
        out = io.BytesIO()
        Image.fromarray(array.transpose(1, 2, 0)).save(out, "PNG")
        return out.getvalue()

    (tmp_path / "plain_text").mkdir()
    frame = pd.DataFrame(
        {"img": [{"bytes": png(v), "path": None} for v in C], "label": Y.astype("int64")}
    )
    for part in ("train", "test"):
        frame.to_parquet(tmp_path / "plain_text" / f"{part}-00000-of-00001.parquet")
    check_cifar(tmp_path)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("touched-by-a-batch", "w")


@refused("test_batch")
def test_a_batch_with_code_in_it(tmp_path: Path) -> None:
    """A pickled batch that would call a function: refused, and nothing is called."""
    batches(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Payload(), b"labels": [1]}))
    try:
        nd.load_data("cifar10", data_dir=tmp_path)
    finally:
        assert not Path("touched-by-a-batch").exists()


@refused("cifar-10-python.tar.gz")
def test_cifar_not_unpacked(tmp_path: Path) -> None:
    """The archive is there, but not unpacked."""
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"x")
    nd.load_data("cifar10", data_dir=tmp_path)


@refused("train-images-idx3-ubyte")
def test_a_header_that_asks_for_too_much(tmp_path: Path) -> None:
    """An IDX header of 2³² images: refused before memory is taken; the file is named."""
    mnist(tmp_path)
    head = struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 28, 28)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + X.tobytes())
    nd.load_data("mnist", data_dir=tmp_path)

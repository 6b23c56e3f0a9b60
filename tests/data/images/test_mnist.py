"""MNIST from npz and IDX files: the same numbers from each, and clear words when damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netdial.core.errors import ConfigError, DataError
from netdial.data import load_data

NAMES = {
    "x_train": "train-images",
    "y_train": "train-labels",
    "x_test": "t10k-images",
    "y_test": "t10k-labels",
}


def idx_bytes(array: np.ndarray[Any, Any]) -> bytes:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_idx(folder: Path, arrays: dict[str, Any], *, zipped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for key, stem in NAMES.items():
        path = folder / f"{stem}-idx{arrays[key].ndim}-ubyte"
        content = idx_bytes(arrays[key])
        if zipped:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
        else:
            path.write_bytes(content)


def test_npz(tmp_path: Path, digits: dict[str, Any]) -> None:
    np.savez(tmp_path / "mnist.npz", **digits)
    task = load_data("mnist", data_dir=tmp_path)
    assert task.train.x.shape == (50, 1, 28, 28) and task.train.x.dtype == torch.float32
    assert (len(task.valid), len(task.test), task.n_outputs) == (10, 20, 10)
    want = (torch.tensor(digits["x_test"]) / 255 - 0.5) / 0.5
    assert torch.allclose(task.test.x[:, 0], want, atol=1e-6)
    raw = torch.tensor(digits["x_train"])[task.rows["valid"]]
    assert torch.allclose(task.valid.x[:, 0], (raw / 255 - 0.5) / 0.5, atol=1e-6)
    assert task.source["files"][0]["name"] == "mnist.npz"
    flat = load_data("mnist", data_dir=tmp_path, flat=True)
    assert torch.equal(flat.train.x, task.train.x.flatten(1))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("sub", ["", "MNIST/raw"])
def test_idx_equals_npz(tmp_path: Path, digits: dict[str, Any], zipped: bool, sub: str) -> None:
    np.savez(tmp_path / "mnist.npz", **digits)
    write_idx(tmp_path / "idx" / sub, digits, zipped=zipped)
    one, two = load_data("mnist", data_dir=tmp_path), load_data("mnist", data_dir=tmp_path / "idx")
    assert torch.equal(one.train.x, two.train.x) and torch.equal(one.test.y, two.test.y)


def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"looked for mnist\.npz.*NETDIAL_DATA=.*--data-dir"):
        load_data("mnist", data_dir=tmp_path)
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_data("mnist", data_dir=tmp_path / "nowhere")
    monkeypatch.delenv("NETDIAL_DATA", raising=False)
    with pytest.raises(DataError, match="no data folder is set"):
        load_data("mnist")


def test_half_of_the_idx_files(tmp_path: Path, digits: dict[str, Any]) -> None:
    write_idx(tmp_path, digits, zipped=False)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="missing: t10k-labels"):
        load_data("mnist", data_dir=tmp_path)


def test_corrupt_npz(tmp_path: Path, digits: dict[str, Any]) -> None:
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"no zip file at all")
    with pytest.raises(DataError, match="damaged or no npz file"):
        load_data("mnist", data_dir=tmp_path)
    np.savez(path, **digits)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DataError, match="damaged or no npz file"):
        load_data("mnist", data_dir=tmp_path)
    content = bytearray()
    np.savez(path, **digits)
    content[:] = path.read_bytes()
    content[5000:5010] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged or no npz file"):
        load_data("mnist", data_dir=tmp_path)


def test_npz_with_objects_or_other_arrays(tmp_path: Path, digits: dict[str, Any]) -> None:
    np.savez(tmp_path / "mnist.npz", **{**digits, "x_train": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(DataError, match="damaged or no npz file"):
        load_data("mnist", data_dir=tmp_path)
    np.savez(tmp_path / "mnist.npz", images=digits["x_train"])
    with pytest.raises(DataError, match="expected x_train, y_train, x_test and y_test"):
        load_data("mnist", data_dir=tmp_path)


def test_wrong_image_size_and_labels(tmp_path: Path, digits: dict[str, Any]) -> None:
    small = {**digits, "x_test": digits["x_test"][:, :20]}
    np.savez(tmp_path / "mnist.npz", **small)
    with pytest.raises(DataError, match=r"wrong image size: got uint8 \[20, 20, 28\]"):
        load_data("mnist", data_dir=tmp_path)
    np.savez(tmp_path / "mnist.npz", **{**digits, "y_test": digits["y_test"][:5]})
    with pytest.raises(DataError, match="test labels"):
        load_data("mnist", data_dir=tmp_path)
    np.savez(tmp_path / "mnist.npz", **{**digits, "y_train": digits["y_train"] * 0})
    with pytest.raises(DataError, match="one class only"):
        load_data("mnist", data_dir=tmp_path)
    np.savez(tmp_path / "mnist.npz", **{**digits, "y_test": digits["y_test"] + 1})
    with pytest.raises(DataError, match="labels run from 1 to 10; allowed are 0 to 9"):
        load_data("mnist", data_dir=tmp_path)


def test_corrupt_idx(tmp_path: Path, digits: dict[str, Any]) -> None:
    write_idx(tmp_path, digits, zipped=False)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(DataError, match="its header promises 47040 bytes"):
        load_data("mnist", data_dir=tmp_path)
    path.write_bytes(whole + b"x")
    with pytest.raises(DataError, match="the file holds more"):
        load_data("mnist", data_dir=tmp_path)
    path.write_bytes(b"\x00\x00\x0d\x03" + whole[4:])
    with pytest.raises(DataError, match="not an IDX file of unsigned bytes"):
        load_data("mnist", data_dir=tmp_path)
    path.unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-30])
    with pytest.raises(DataError, match="is damaged"):
        load_data("mnist", data_dir=tmp_path)


def test_options_that_do_not_apply(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no test"):
        load_data("mnist", data_dir=tmp_path, test=0.3)


@pytest.mark.slow
def test_real(real_data: Path) -> None:
    if not (real_data / "mnist.npz").is_file():
        pytest.skip("no mnist.npz in NETDIAL_DATA")
    task = load_data("mnist", data_dir=real_data, flat=True)
    assert task.train.x.shape == (54000, 784)
    assert (len(task.valid), len(task.test)) == (6000, 10000)
    assert (task.train.x.min().item(), task.train.x.max().item()) == (-1.0, 1.0)
    assert task.test.y[:5].tolist() == [7, 2, 1, 0, 4]

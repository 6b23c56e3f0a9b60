"""CIFAR-10 from each of its forms: equal images, honest naming, no foreign code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netdial.core.errors import DataError
from netdial.data import load_data
from netdial.data.images.encoded import read_parquet

Writer = Callable[..., None]
Colours = tuple[Any, Any]


def pickled_batch(images: Any, labels: Any) -> bytes:
    """A batch as in cifar-10-batches-py."""
    batch = {"data": images.reshape(len(images), -1), "labels": [int(y) for y in labels]}
    return pickle.dumps({k.encode(): v for k, v in batch.items()}, protocol=4)


def write_both(folder: Path, colours: Colours, write: Writer, **options: Any) -> None:
    images, labels = colours
    write(folder / "cifar10_jpeg_train.parquet", images[:40], labels[:40], **options)
    write(folder / "cifar10_jpeg_test.parquet", images[40:], labels[40:], **options)


def write_python(folder: Path, colours: Colours) -> Path:
    images, labels = colours
    place = folder / "cifar-10-batches-py"
    place.mkdir()
    (place / "data_batch_1").write_bytes(pickled_batch(images[:20], labels[:20]))
    (place / "data_batch_2").write_bytes(pickled_batch(images[20:40], labels[20:40]))
    (place / "test_batch").write_bytes(pickled_batch(images[40:], labels[40:]))
    return place


def write_binary(folder: Path, colours: Colours) -> Path:
    images, labels = colours
    place = folder / "cifar-10-batches-bin"
    place.mkdir()
    rows = np.concatenate([labels[:, None].astype(np.uint8), images.reshape(60, -1)], axis=1)
    rows[:40].tofile(place / "data_batch_1.bin")
    rows[40:].tofile(place / "test_batch.bin")
    return place


def test_all_forms_agree(tmp_path: Path, colours: Colours, write_parquet: Writer) -> None:
    folders = [tmp_path / name for name in ("png", "python", "binary", "shards")]
    for folder in folders:
        folder.mkdir()
    write_both(folders[0], colours, write_parquet)
    write_python(folders[1], colours)
    write_binary(folders[2], colours)
    images, labels = colours
    for i, rows in enumerate((slice(0, 25), slice(25, 40))):
        shard = folders[3] / f"train-{i:05d}-of-00002.parquet"
        write_parquet(shard, images[rows], labels[rows], column="img")
    write_parquet(
        folders[3] / "test-00000-of-00001.parquet", images[40:], labels[40:], column="img"
    )
    tasks = [load_data("cifar10", data_dir=folder, valid=0.25) for folder in folders]
    for task in tasks:
        assert torch.equal(task.train.x, torch.tensor(images[:40])[task.rows["train"]])
        assert torch.equal(task.valid.y, torch.tensor(labels[:40])[task.rows["valid"]])
        assert torch.equal(task.test.x, torch.tensor(images[40:]))
        assert task.train.x.dtype == torch.uint8 and task.augment == "crop-flip"
        assert task.source["origin"] == "CIFAR-10" and task.source["notes"] == []
        assert task.classes[3] == "cat"


def test_normalised_by_the_training_part(tmp_path: Path, colours: Colours) -> None:
    write_binary(tmp_path, colours)
    task = load_data("cifar10", data_dir=tmp_path, valid=0.25)
    x = task.train.inputs()
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(x.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    flat = load_data("cifar10", data_dir=tmp_path, valid=0.25, flat=True)
    assert flat.input_shape == (3072,) and flat.augment is None
    assert torch.allclose(flat.test.inputs(), task.test.inputs().flatten(1))


def python2_batch(images: Any, labels: Any) -> bytes:
    """A batch as Python 2 wrote the original files: byte strings, protocol 2, opcode by opcode."""

    def text(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    def whole(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    array = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n"
    array += whole(0) + b"\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + whole(0) + whole(1) + b"\x87R"
    dtype += b"(" + whole(3) + text(b"|") + b"NNN" + whole(-1) + whole(-1) + whole(0) + b"tb"
    shape = whole(len(images)) + whole(3072) + b"\x86"
    state = b"(" + whole(1) + shape + dtype + b"\x89" + text(images.tobytes()) + b"tb"
    listed = b"](" + b"".join(whole(int(y)) for y in labels) + b"e"
    entries = text(b"data") + array + state + text(b"labels") + listed
    return b"\x80\x02}(" + entries + b"u."


def test_batches_as_python_2_wrote_them(tmp_path: Path, colours: Colours) -> None:
    images, labels = colours
    content = python2_batch(images[40:], labels[40:])
    original = pickle.loads(content, encoding="bytes")  # the bytes are what numpy takes for a batch
    assert np.array_equal(original[b"data"].reshape(-1, 3, 32, 32), images[40:])
    place = write_python(tmp_path, colours)
    by_python3 = load_data("cifar10", data_dir=tmp_path, valid=0.25)
    (place / "test_batch").write_bytes(content)
    task = load_data("cifar10", data_dir=tmp_path, valid=0.25)
    assert torch.equal(task.test.x, by_python3.test.x) and torch.equal(
        task.test.y, by_python3.test.y
    )


def test_images_are_decoded_once_until_the_file_changes(
    tmp_path: Path, colours: Colours, write_parquet: Writer
) -> None:
    images, labels = colours
    path = tmp_path / "cifar10_jpeg_train.parquet"
    write_parquet(path, images[:8], labels[:8])
    first = read_parquet(path, (3, 32, 32))
    assert read_parquet(path, (3, 32, 32)) is first
    write_parquet(path, images[8:20], labels[8:20])
    again = read_parquet(path, (3, 32, 32))
    assert torch.equal(again.x, torch.from_numpy(images[8:20]))
    assert again.y.tolist() == [int(y) for y in labels[8:20]]


def test_jpeg_is_named(tmp_path: Path, colours: Colours, write_parquet: Writer) -> None:
    write_both(tmp_path, colours, write_parquet, kind="JPEG")
    task = load_data("cifar10", data_dir=tmp_path, valid=0.25)
    assert task.source["origin"] == "CIFAR-10 (JPEG)"
    assert "not exactly comparable" in task.source["notes"][0]
    difference = task.test.x.int() - torch.tensor(colours[0][40:]).int()
    assert difference.abs().max() < 16


class Hostile:
    """Pickles to a call of ``os.system``."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo hostile > ran",)


def test_pickle_runs_no_code(
    tmp_path: Path, colours: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = write_python(tmp_path, colours)
    (place / "test_batch").write_bytes(pickle.dumps({b"data": Hostile(), b"labels": [0]}))
    with pytest.raises(DataError, match=r"refused to read this pickle.*system"):
        load_data("cifar10", data_dir=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_damaged_batches(tmp_path: Path, colours: Colours) -> None:
    images, labels = colours
    place = write_python(tmp_path, colours)
    for content in (b"", b"junk", pickle.dumps([1, 2]), pickle.dumps({b"data": 3, b"labels": [1]})):
        (place / "test_batch").write_bytes(content)
        with pytest.raises(DataError, match=r"damaged or no CIFAR-10 batch|refused to read"):
            load_data("cifar10", data_dir=tmp_path)
    (place / "test_batch").write_bytes(pickled_batch(images[:5], labels[:4]))
    with pytest.raises(DataError, match="5 images, 4 labels"):
        load_data("cifar10", data_dir=tmp_path)
    (place / "test_batch").write_bytes(pickled_batch(images[:5, :, :20], labels[:5]))
    with pytest.raises(DataError, match="wrong image size"):
        load_data("cifar10", data_dir=tmp_path)
    (place / "test_batch").write_bytes(pickled_batch(images[:5], labels[:5] + 10))
    with pytest.raises(DataError, match="labels must be 0 to 9"):
        load_data("cifar10", data_dir=tmp_path)


def test_damaged_binary(tmp_path: Path, colours: Colours) -> None:
    place = write_binary(tmp_path, colours)
    content = (place / "test_batch.bin").read_bytes()
    (place / "test_batch.bin").write_bytes(content[:-1])
    with pytest.raises(DataError, match="no whole number of records of 3073 bytes"):
        load_data("cifar10", data_dir=tmp_path)


def test_damaged_parquet(tmp_path: Path, colours: Colours, write_parquet: Writer) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    write_both(tmp_path, colours, write_parquet)
    path = tmp_path / "cifar10_jpeg_test.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged or no Parquet file"):
        load_data("cifar10", data_dir=tmp_path)
    write_parquet(path, colours[0][40:, :, :16, :16], colours[1][40:])
    with pytest.raises(DataError, match="row 0: wrong image size: 16 x 16, expected 32 x 32"):
        load_data("cifar10", data_dir=tmp_path)
    cells = [{"bytes": b"no picture", "path": None}]
    pq.write_table(pa.table({"image": cells, "label": [1]}), path)
    with pytest.raises(DataError, match="damaged near row 0"):
        load_data("cifar10", data_dir=tmp_path)
    pq.write_table(pa.table({"picture": [1], "label": [1]}), path)
    with pytest.raises(DataError, match=r"no columns image \(or img\) and label"):
        load_data("cifar10", data_dir=tmp_path)


def test_missing_and_ambiguous(tmp_path: Path, colours: Colours, write_parquet: Writer) -> None:
    with pytest.raises(DataError, match=r"no file of train images.*cifar-10-batches-py/"):
        load_data("cifar10", data_dir=tmp_path)
    images, labels = colours
    for name in ("a_train", "b_train", "a_test"):
        write_parquet(tmp_path / f"{name}.parquet", images, labels)
    with pytest.raises(DataError, match=r"which of these.*a_train\.parquet, b_train\.parquet"):
        load_data("cifar10", data_dir=tmp_path)


@pytest.mark.slow
def test_real_test_part(real_data: Path) -> None:
    path = real_data / "cifar10_jpeg_test.parquet"
    if not path.is_file():
        pytest.skip("no cifar10_jpeg_test.parquet in NETDIAL_DATA")
    images = read_parquet(path, (3, 32, 32))
    assert images.x.shape == (10000, 3, 32, 32) and images.formats == {"JPEG"}
    assert images.y.bincount().tolist() == [1000] * 10

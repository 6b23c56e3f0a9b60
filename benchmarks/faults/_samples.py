"""Small valid files of every kind that netdial reads, and what reading each gives."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import netdial as nd
from netdial.core.storage.container import load_tree, save_tree
from netdial.models.use import use_of

NET = {"spec": "mlp:6", "input_shape": [13], "n_outputs": 3}


@dataclass(frozen=True)
class Sample:
    """One kind of file.

    Attributes:
        make: writes a valid one into a folder.
        read: reads it and returns what tells it from another.
        sealed: whether it carries digests, so that other content must be noticed.
        reseal: whether mutated JSON gets the digests that belong to it.
        share: of all mutations, relative to the others.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], str]
    sealed: bool = False
    reseal: bool = False
    share: float = 1.0


def print_of(value: Any) -> str:
    """Returns a digest of tensors, arrays and plain values."""
    found = hashlib.sha256()
    _feed(value, found)
    return found.hexdigest()


def _feed(value: Any, found: Any) -> None:
    if isinstance(value, nn.Module):
        value = dict(value.state_dict())
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    if isinstance(value, np.ndarray):
        found.update(value.tobytes())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            found.update(repr(key).encode())
            _feed(item, found)
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(item, found)
    else:
        found.update(repr(value).encode())


def _about() -> dict[str, Any]:
    return {"net": NET, **use_of(nd.load_data("wine"), lam=1.0).to_json()}


def _net() -> nn.Module:
    return nd.build("mlp:6", input_shape=(13,), n_outputs=3)


def _family(folder: Path) -> None:
    nd.save(nd.Family(_net()), folder / "family.safetensors", about=_about())


def _member(folder: Path) -> None:
    nd.save(nd.Family(_net()), folder / "member", lam=1.0, about=_about())


def _packed(folder: Path) -> None:
    wide = nd.build("mlp:60", input_shape=(13,), n_outputs=3)
    about = {**_about(), "net": {**NET, "spec": "mlp:60"}}
    nd.save(nd.prune(nd.Family(wide), 1.0, 0.9), folder / "member", lam=1.0, about=about)


def _pruned(folder: Path) -> None:
    pruned = nd.slim(_net(), share=0.5, example=torch.randn(2, 13))
    nd.save(pruned, folder / "pruned.safetensors", about=_about())


def _shrunken(folder: Path) -> None:
    data = nd.load_data("wine")
    shrunk = nd.shrink(_net(), data.train, epochs=1, batch_size=32, lam=0.05)
    nd.save(shrunk, folder / "shrunken.safetensors", about=_about())


def _checkpoint(folder: Path) -> None:
    state = {"step": 3, "rates": [0.1, 0.2], "best": float("inf"), "weights": torch.randn(40)}
    save_tree(folder / "last.safetensors", {"state": state, "identity": {}}, "checkpoint")


def _run(folder: Path) -> None:
    from netdial.cli import main

    small = ["--model", "mlp:6", "--epochs", "1", "--points", "2", "--samples", "0", "--quiet"]
    assert main(["fit", "wine", *small, "--runs-dir", str(folder), "--name", "run"]) == 0


def _model_of(name: str) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        path = folder / name
        model, told = nd.load_model(path), nd.inspect(path)
        settings = repr(model.config) if isinstance(model, nd.Family) else ""
        known = getattr(model, "use", None)
        use = "" if known is None else known.model_dump_json()
        return print_of([model, settings, use, told.summary, dict(told.about)])

    return read


def _open_run(folder: Path) -> str:
    from netdial.jobs.opening import open_family
    from netdial.runs.run import Run

    run = Run.open(folder / "run")
    return print_of(open_family(run))


def _report(folder: Path) -> str:
    from netdial.jobs.reports import list_runs, write_report

    rows = list_runs(folder)
    write_report(folder / "run")
    return print_of([repr(row) for row in rows])


def _table_of(suffix: str) -> Sample:
    def make(folder: Path) -> None:
        import pandas as pd

        source = np.random.default_rng(0)
        frame = pd.DataFrame({"a": source.normal(size=40), "b": source.choice(["x", "y"], 40)})
        frame["y"] = np.where(frame["a"] > 0, "yes", "no")
        path = folder / f"table.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)

    def read(folder: Path) -> str:
        return _data(nd.load_data(str(folder / f"table.{suffix}"), target="y"))

    return Sample(make, read)


def _data(data: Any) -> str:
    return print_of([data.train.x, data.train.y, data.test.x, data.test.y])


def _digits() -> dict[str, np.ndarray[Any, Any]]:
    source = np.random.default_rng(0)
    sizes = {"train": 60, "test": 20}
    arrays = {
        f"x_{k}": source.integers(0, 256, (n, 28, 28), dtype=np.uint8) for k, n in sizes.items()
    }
    return arrays | {f"y_{k}": np.arange(n, dtype=np.uint8) % 10 for k, n in sizes.items()}


def _npz(folder: Path) -> None:
    arrays: dict[str, Any] = _digits()
    np.savez(folder / "mnist.npz", **arrays)


def _idx(folder: Path, *, zipped: bool) -> None:
    names = {
        "x_train": "train-images",
        "y_train": "train-labels",
        "x_test": "t10k-images",
        "y_test": "t10k-labels",
    }
    for key, array in _digits().items():
        content = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(
            f">{array.ndim}I", *array.shape
        )
        content += array.tobytes()
        path = folder / f"{names[key]}-idx{array.ndim}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(content) if zipped else content)


def _colours() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    source = np.random.default_rng(1)
    return source.integers(0, 256, (50, 3072), dtype=np.uint8), np.arange(50) % 10


def _cifar_python(folder: Path) -> None:
    images, labels = _colours()
    place = folder / "cifar-10-batches-py"
    place.mkdir()
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        batch = {b"data": images, b"labels": labels.tolist()}
        (place / name).write_bytes(pickle.dumps(batch, protocol=2))


def _cifar_binary(folder: Path) -> None:
    images, labels = _colours()
    place = folder / "cifar-10-batches-bin"
    place.mkdir()
    rows = np.concatenate([labels.astype(np.uint8)[:, None], images], axis=1)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        (place / f"{name}.bin").write_bytes(rows.tobytes())


def _cifar_parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    images, labels = _colours()
    for part in ("train", "test"):
        cells = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image.reshape(3, 32, 32).transpose(1, 2, 0)).save(buffer, format="PNG")
            cells.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"img": cells, "label": [int(y) for y in labels]})
        pq.write_table(table, folder / f"{part}-00000.parquet")


def _images(name: str) -> Callable[[Path], str]:
    return lambda folder: _data(nd.load_data(name, data_dir=folder))


SAMPLES: dict[str, Sample] = {
    "family": Sample(_family, _model_of("family.safetensors"), sealed=True, share=2),
    "family, resealed": Sample(_family, _model_of("family.safetensors"), reseal=True, share=2),
    "member": Sample(_member, _model_of("member"), sealed=True),
    "member, resealed": Sample(_member, _model_of("member"), reseal=True),
    "packed member": Sample(_packed, _model_of("member"), sealed=True),
    "packed member, resealed": Sample(_packed, _model_of("member"), reseal=True),
    "pruned": Sample(_pruned, _model_of("pruned.safetensors"), sealed=True),
    "pruned, resealed": Sample(_pruned, _model_of("pruned.safetensors"), reseal=True, share=2),
    "shrunken": Sample(_shrunken, _model_of("shrunken.safetensors"), sealed=True),
    "shrunken, resealed": Sample(
        _shrunken, _model_of("shrunken.safetensors"), reseal=True, share=2
    ),
    "checkpoint": Sample(
        _checkpoint,
        lambda folder: print_of(load_tree(folder / "last.safetensors", "checkpoint")),
        sealed=True,
    ),
    "run folder": Sample(_run, _open_run),
    "records to report": Sample(_run, _report, share=0.2),
    "mnist.npz": Sample(_npz, _images("mnist"), share=0.5),
    "idx": Sample(lambda folder: _idx(folder, zipped=False), _images("mnist"), share=0.5),
    "idx.gz": Sample(lambda folder: _idx(folder, zipped=True), _images("mnist"), share=0.5),
    "cifar pickle": Sample(_cifar_python, _images("cifar10"), share=0.5),
    "cifar binary": Sample(_cifar_binary, _images("cifar10"), share=0.5),
    "cifar parquet": Sample(_cifar_parquet, _images("cifar10"), share=0.3),
    "csv": _table_of("csv"),
    "parquet": _table_of("parquet"),
}

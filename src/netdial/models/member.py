"""A member as a file: an ordinary network at one λ, which needs nothing of netdial to be used.

``safetensors``   the state dict and a JSON description; ``load_member`` reads them back and runs no foreign code.
                  Written as a folder with a card it has the layout of the Hugging Face hub: ``README.md``,
                  ``config.json``, ``model.safetensors``
``torch-export``  a ``torch.export`` program (``.pt2``) with a dynamic batch, for ``torch.export.load``
``onnx``          an ONNX graph with a dynamic batch, for any runtime

Of a pruned member, ``safetensors`` holds a tensor as the numbers that are left and a bitmap of their places wherever that
is smaller (``core.bitmap``); a member that was not pruned can be read by any program. The description holds the SHA-256
digests of the weights and of itself, which loading checks.

To add a format, write one function and name it in ``FORMATS``. Related: ``programs`` (the other two formats).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save as dump_tensors
from torch import Tensor, fx, nn

from netdial.core.cutting import noted_cut
from netdial.core.errors import CheckpointError, ConfigError, unknown
from netdial.core.storage.bitmap import pack, stored_bytes, unpack
from netdial.core.storage.boundary import (
    DIGEST,
    file_digest,
    read_json,
    reading,
    regular,
    seal,
    unseal,
    validated,
)
from netdial.core.storage.container import check_finite, check_held, say_unchecked
from netdial.core.storage.files import write_together
from netdial.family.family import Family
from netdial.models.described import (
    check_meta,
    fresh,
    other_layers,
    other_tensors,
    take_later,
    tell_other_buffers,
)
from netdial.models.programs.job import ExportJob
from netdial.models.programs.writing import onnx, torch_export
from netdial.nets.layers import Shapes, in_type, layers_of, marks_of

FORMAT = 3
"""Version of the description that is written; 1 and 2 (with packed tensors) had no digests."""

_UNCHECKED = (1, 2)

KIND = "netdial-member"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: folder or file.
        format: name of the format.
        size_bytes: size of all files written.
        max_difference: largest absolute difference between outputs of the export and of the network; 0 for
            safetensors, where tensors are stored bit for bit.
    """

    path: Path
    format: str
    size_bytes: int
    max_difference: float


class Description(BaseModel):
    """What lies beside the weights.

    Attributes:
        format: its version.
        kind: what it describes, ``netdial-member``.
        lam: complexity value of the member.
        n_params: numbers in all parameters.
        size_bytes: size of the weights file.
        meta: plain values of whoever wrote it.
        packed: shapes of the tensors that are stored as values and a bitmap.
        weights: SHA-256 digest of the weights file; None in earlier formats.
        layers: kinds of the layers without tensors, by name.
        marks: what tells the values of buffers that are not in the weights file, as ``marks_of`` gives it.
        cut: what the network lost since it was built, as ``Plan.to_json`` gives it.
        graph: whether the network is a graph of ``torch.fx``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    format: int
    kind: str
    lam: float
    n_params: int
    size_bytes: int
    meta: dict[str, Any]
    packed: dict[str, list[int]] = {}
    weights: str | None = None
    layers: dict[str, str] = {}
    marks: dict[str, tuple[float, float]] = {}
    cut: dict[str, Any] | None = None
    graph: bool = False


def save_member(
    family: Family,
    lam: float,
    path: str | Path,
    format: str = "safetensors",
    example: Any = None,
    *,
    meta: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> Exported:
    """Writes the member at λ as an ordinary network.

    Args:
        family: the family.
        lam: complexity value, inside the trained range.
        path: file to write; for ``safetensors`` a folder, or a file ``NAME.safetensors`` with ``NAME.json`` beside it.
        format: ``safetensors``, ``torch-export`` or ``onnx``.
        example: inputs ``[B, ...]`` as the network takes them; programs and graphs are traced and compared on it. One
            of zeros tells the shape alone: normal numbers take its place, as they do if there is none and
            ``meta["net"]`` gives the input shape.
        meta: stored in the description by ``safetensors``; see ``described`` for its key ``net``.
        card: text of ``README.md`` in the folder that ``safetensors`` writes; ``choice.card`` makes one.

    Raises:
        ConfigError: λ outside the trained range, an unknown format, no example to trace on, or a card for a single file.
        ShapeError: the network does not take the example.
        TraceError: the network cannot be turned into a program or graph, or its outputs differ too much.
        MissingExtra: ONNX is asked for and its packages are not installed.
        CheckpointError: the member holds NaN or infinity, or the disk refused it; what was there before is intact.
    """
    if format not in FORMATS:
        raise unknown("export format", format, FORMATS)
    plain = check_meta(meta)
    if card is not None and (format != "safetensors" or Path(path).suffix == ".safetensors"):
        raise ConfigError(
            f"{path}: a card lies in a folder beside the weights; give a folder and format='safetensors', or no card"
        )
    net = family.export(lam)
    check_finite(Path(path), net.named_parameters())
    job = ExportJob(net, float(lam), Path(path), example, plain, family.kept is not None, card)
    size, difference = FORMATS[format](job)
    return Exported(Path(path), format, size, difference)


def load_member(path: str | Path, net: nn.Module | None = None) -> nn.Module:
    """Returns a member that was saved as ``safetensors``, in evaluation mode.

    Only tensors and JSON are read. The network is the one given, or one of ``netdial.nets`` by its description.

    Args:
        path: folder or file that ``save_member`` wrote.
        net: a network of the same architecture, whose weights are replaced; needed unless the description names one.

    Raises:
        CheckpointError: files are missing, damaged, changed or of another format, or do not fit the network.
    """
    weights, beside = files_of(Path(path))
    config, state = read_description(Path(path)), read_weights(Path(path))
    shape = fresh(beside, config.meta, net, config.cut, numbers=False)
    difference = other_tensors(shape, shape.state_dict(), state)
    difference = difference or other_layers(shape, config.layers)
    if difference:
        raise CheckpointError(
            f"{weights}: does not fit the {type(shape).__name__} ({difference}); "
            "give a network of the architecture that was exported"
        )
    net = fresh(beside, config.meta, net, config.cut)
    with reading(weights, "does not fit the network"):
        numbers = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
        if len(numbers) == 1:
            in_type(net, numbers.pop())
        take_later(net, state)
        net.load_state_dict(state)
    check_finite(weights, net.named_parameters())
    tell_other_buffers(weights, net, config.marks)
    return net.eval()


def files_of(path: Path) -> tuple[Path, Path]:
    """Returns the weights file of a member and the description beside it."""
    if path.suffix == ".safetensors" and not path.is_dir():
        return path, path.with_suffix(".json")
    return path / "model.safetensors", path / "config.json"


def check_place(path: Path, files: Iterable[Path] = ()) -> None:
    """Refuses to write a member where files of something else have the names of its own.

    Args:
        path: folder or file to write.
        files: what will be written, if there is more than weights and description.

    Raises:
        ConfigError: the description beside the weights is that of something else, such as a run, or other files are there
            without one.
    """
    weights, beside = files_of(path)
    if beside.is_file():
        try:
            found = read_json(beside)
        except CheckpointError:
            found = None
        if isinstance(found, dict) and found.get("kind") == KIND:
            return
        raise ConfigError(
            f"{path}: the description of the weights would replace {beside}, which is something else; give another name"
        )
    if path == weights:
        return
    taken = next((file for file in files if file.exists()), None)
    if taken is not None:
        raise ConfigError(f"{path}: {taken} is there and would be replaced; give another folder")


def read_description(path: Path) -> Description:
    """Returns the description of a member; its weights are not read.

    Raises:
        CheckpointError: it is missing, damaged, changed, of another kind or of a newer format.
    """
    _, beside = files_of(path)
    if not beside.exists():
        raise CheckpointError(f"{beside}: is missing or damaged; give what export wrote")
    config = read_json(beside, "it is missing or damaged; give what export wrote")
    if not isinstance(config, dict) or config.get("kind") != KIND:
        raise CheckpointError(
            f"{beside}: does not describe an exported member; give what export wrote"
        )
    version = config.get("format")
    if type(version) is not int or version not in (*_UNCHECKED, FORMAT):
        raise CheckpointError(
            f"{beside}: has format {version!r:.40}, this netdial reads formats 1 to {FORMAT}; "
            "install the netdial that wrote it"
        )
    if version != FORMAT and (DIGEST in config or "weights" in config):
        raise CheckpointError(
            f"{beside}: was changed after it was written (format {version} has no digests, this file has); "
            "restore it from a copy"
        )
    content = unseal(config, beside) if version == FORMAT else config
    found: Description = validated(Description, content, beside, "give what export wrote")
    return found


def read_weights(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a member by name, if they are those that were written.

    Raises:
        CheckpointError: they are missing, damaged or were changed.
    """
    weights, beside = files_of(path)
    config = read_description(path)
    said = "is missing or damaged"
    with reading(weights, said, "restore it from a copy"):
        regular(weights)
        if config.format == FORMAT and file_digest(weights) != config.weights:
            raise CheckpointError(
                f"{weights}: {said}: its SHA-256 digest is not the one in {beside.name}; "
                "restore both from a copy, or export again"
            )
        if config.format != FORMAT:
            say_unchecked(beside)
        if weights.stat().st_size != config.size_bytes:
            raise CheckpointError(
                f"{weights}: {said}: it has {weights.stat().st_size} bytes, {beside.name} says {config.size_bytes}; "
                "restore both from a copy, or export again"
            )
        with safe_open(weights, framework="pt", device="cpu") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _unpacked(stored, config.packed)


def _safetensors(job: ExportJob) -> tuple[int, float]:
    weights, beside = files_of(job.path)
    state = {name: tensor.contiguous().clone() for name, tensor in job.net.state_dict().items()}
    state, packed = _packed(state) if job.pruned else (state, {})
    cut = noted_cut(job.net)
    check_held(state)
    content = dump_tensors(state, metadata={"format": "pt"})
    config = {
        "format": FORMAT,
        "kind": KIND,
        "lam": job.lam,
        "n_params": sum(p.numel() for p in job.net.parameters()),
        "size_bytes": len(content),
        "meta": job.meta,
        **({"packed": packed} if packed else {}),
        "layers": layers_of(job.net),
        **({"marks": marks} if (marks := marks_of(job.net)) else {}),
        **({} if cut is None else {"cut": cut.to_json()}),
        **({"graph": True} if isinstance(job.net, fx.GraphModule) else {}),
        "weights": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(seal(config), indent=2) + "\n"
    files = {weights: content, beside: text.encode()}
    if job.card is not None:
        files[job.path / "README.md"] = job.card.encode()
    check_place(job.path, files)
    write_together(files)
    return sum(len(written) for written in files.values()), 0.0


def _packed(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Shapes]:
    """Returns the tensors to store, and the shapes of those that became values and a bitmap."""
    stored: dict[str, Tensor] = {}
    shapes: Shapes = {}
    for name, tensor in state.items():
        values, bitmap = pack(tensor)
        plain, item = tensor.numel() * tensor.element_size(), tensor.element_size()
        if stored_bytes(tensor.numel(), values.numel(), item) < plain:
            stored |= {f"{name}.values": values, f"{name}.bitmap": bitmap}
            shapes[name] = list(tensor.shape)
        else:
            stored[name] = tensor
    return stored, shapes


def _unpacked(stored: dict[str, Tensor], shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """Returns the tensors that ``_packed`` was given."""
    parts = {f"{name}.{part}" for name in shapes for part in ("values", "bitmap")}
    plain = {name: tensor for name, tensor in stored.items() if name not in parts}
    packed = {
        name: unpack(stored[f"{name}.values"], stored[f"{name}.bitmap"], shape)
        for name, shape in shapes.items()
    }
    return {**plain, **packed}


FORMATS: dict[str, Callable[[ExportJob], tuple[int, float]]] = {
    "safetensors": _safetensors,
    "torch-export": torch_export,
    "onnx": onnx,
}

"""What a file is: recognised by what lies in it, in words for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from netdial.compression import ledger, read
from netdial.compression.file import is_compressed
from netdial.core.errors import CheckpointError
from netdial.core.storage.boundary import read_json, reading, regular
from netdial.core.storage.container import read_header, read_plain
from netdial.models.compressed import FAMILY as RANGE
from netdial.models.compressed import KIND as COMPRESSED
from netdial.models.compressed import (
    about_of,
    leaves_at_knots,
    load_compressed,
    opens_alone,
    read_about,
)
from netdial.models.cut.recipe import PRUNED, SHRUNKEN, read_recipe
from netdial.models.cut.restoring import load_network
from netdial.models.derived import KIND as DERIVED
from netdial.models.derived import STRUCTURE, load_derived, read_derived
from netdial.models.family import (
    AS_BUILT,
    AS_GRAPH,
    load_family,
    network_words,
    read_family,
    settings_of,
)
from netdial.models.family import KIND as FAMILY
from netdial.models.member import FORMAT as MEMBER_FORMAT
from netdial.models.member import KIND as MEMBER
from netdial.models.member import files_of, load_member, read_description, read_weights

CHECKPOINT, RUN = "checkpoint", "run"
_STATE = "the state of a run in training"

_RUN_MODELS = (
    "model/family.safetensors",
    "model/shrunken.safetensors",
    "model/found.safetensors",
)
"""Where a run folder keeps its model."""

Plain = Mapping[str, Any]


@dataclass(frozen=True)
class FileFacts:
    """What the file of a model says of itself.

    Attributes:
        about: what its writer added.
        facts: numbers and names, for programs.
        more: the same in words, to follow those of the kind.
        net: what has to be given besides to open it, as a piece of code; empty if nothing.
    """

    about: Plain
    facts: Plain
    more: str
    net: str = ""


@dataclass(frozen=True)
class FileKind:
    """One kind of file that holds a model.

    Attributes:
        words: what it is.
        load: (file, network as it was built for training or None) -> the model.
        about: file -> plain values that its writer added; tensors are not read.
        facts: file -> what it says of itself, after everything in it was checked.
    """

    words: str
    load: Callable[[Path, nn.Module | None], Any]
    about: Callable[[Path], Plain]
    facts: Callable[[Path], FileFacts]


_GIVEN = f"net={AS_BUILT}"


def _needs(about: Plain) -> str:
    return "" if about.get("net") or about.get(STRUCTURE) else _GIVEN


def _family_facts(path: Path) -> FileFacts:
    tree = read_family(path)
    config = settings_of(path, tree["config"])
    count = sum(tensor.numel() for tensor in tree["state"].values())
    facts = {"lo": config.lo, "hi": config.hi, "map": config.map, "n_stored": count}
    more = f", λ from {config.lo:g} to {config.hi:g}"
    opens = tree["meta"].get("net") and not tree.get("graph")
    net = "" if opens else f"net={network_words(tree)}"
    return FileFacts(tree["meta"], facts, more, net)


def _member_facts(path: Path) -> FileFacts:
    read_weights(path)
    config = read_description(path)
    facts = {"lam": config.lam, "n_params": config.n_params}
    more = f", λ = {config.lam:g}, {config.n_params} parameters"
    net = f"net={AS_GRAPH}" if config.graph else _needs(config.meta)
    return FileFacts(config.meta, facts, more, net)


def _network_facts(path: Path) -> FileFacts:
    told = read_recipe(path)
    facts = {"n_stored": sum(t.numel() for t in told.tensors.values()), "widths": dict(told.widths)}
    layers = ", ".join(f"{name}: {width}" for name, width in told.widths.items())
    return FileFacts(told.about, facts, f", channels left {layers}", _needs(told.about))


def _derived_facts(path: Path) -> FileFacts:
    tree = read_derived(path)
    genotype = json.loads(tree["genotype"])["chosen"]
    count = sum(tensor.numel() for tensor in tree["state"].values())
    space = tree["recipe"].get("space")
    facts = {"genotype": genotype, "space": space, "n_stored": count}
    more = f", of {f'the space {space}' if space else 'a space of its own'}, {count} numbers"
    net = "" if space else "net=derive(space, genotype) of the space that it was made from"
    return FileFacts(tree["meta"], facts, more, net)


def _compressed_facts(path: Path) -> FileFacts:
    found, told = read(path), ledger(path)
    about = about_of(found)
    told_range, arrays = None, found.dense()
    if about.get(RANGE) is not None:
        told_range, arrays = leaves_at_knots(path, found)
    dense = sum(array.nbytes for array in arrays.values())
    facts = {
        **({} if told_range is None else told_range.model_dump()),
        "n_stored": sum(array.size for array in arrays.values()),
        "dense_bytes": dense,
        "ledger": told.split,
        "layers": [
            {**asdict(row), "shape": list(row.shape), "total": row.total} for row in told.rows
        ],
    }
    ratio = dense / max(told.size, 1)
    times = (
        f"{ratio:.1f} times smaller" if ratio >= 1 else f"{1 / max(ratio, 1e-9):.1f} times larger"
    )
    more = f", {times} than its {dense} bytes of numbers"
    if told_range is not None:
        more = f": a family, λ from {told_range.lo:g} to {told_range.hi:g}, told at {told_range.knots} values{more}"
    net = "" if opens_alone(found) else f"{_GIVEN}; its tensors by name without"
    return FileFacts(about, facts, more, net)


def _recipe_about(path: Path) -> Plain:
    about: Plain = json.loads(read_plain(path)["recipe"])["about"]
    return about


def _meta_about(path: Path) -> Plain:
    about: Plain = read_plain(path)["meta"]
    return about


KINDS: dict[str, FileKind] = {
    FAMILY: FileKind("a family of networks", load_family, _meta_about, _family_facts),
    MEMBER: FileKind(
        "an exported member", load_member, lambda path: read_description(path).meta, _member_facts
    ),
    SHRUNKEN: FileKind(
        "a network that was shrunk while it was trained",
        load_network,
        _recipe_about,
        _network_facts,
    ),
    PRUNED: FileKind(
        "a network without some of its channels", load_network, _recipe_about, _network_facts
    ),
    DERIVED: FileKind(
        "a network derived from a search space", load_derived, _meta_about, _derived_facts
    ),
    COMPRESSED: FileKind("a compressed network", load_compressed, read_about, _compressed_facts),
}
"""The kinds of files that hold a model: another one is one more line."""


@dataclass(frozen=True)
class Found:
    """What a file is.

    Attributes:
        path: the file, or the folder of a member.
        kind: one of the kinds of models, or what else it is.
        summary: the same in words.
        opens: how it is opened, for what is no model.
        digests: whether it carries digests.
    """

    path: Path
    kind: str
    summary: str
    opens: str = ""
    digests: bool = False


def is_model(path: Path) -> bool:
    """Returns whether a path is that of a model and not of a run: a file, or the folder of an exported member."""
    return path.is_file() or ((path / "config.json").is_file() and _is_member(path / "config.json"))


def may_replace(format: str) -> Callable[[Path], bool]:
    """Returns a check whether what is in a place is of a format, and may be replaced by another of it.

    Args:
        format: ``safetensors`` (one network, no family), ``torch-export``, ``onnx``, or the kind of a file.
    """
    one_network = (MEMBER, SHRUNKEN, PRUNED, DERIVED, "safetensors")
    kinds = {"safetensors": one_network, "torch-export": ("zip",)}.get(format, (format,))

    def check(path: Path) -> bool:
        if path.is_dir():  # names of files in a folder are looked at where they are written
            return format == "safetensors"
        try:
            return path.stat().st_size == 0 or recognise(path).kind in kinds
        except CheckpointError:
            return False

    return check


def stem_of(model: Path) -> str:
    """Returns the name of a model's file or folder without its ending; of a folder, ``.safetensors`` alone is one."""
    ends = model.is_file() or model.suffix == ".safetensors"
    return model.stem if ends else model.name


def recognise(path: Path) -> Found:
    """Returns what a file or folder is; of a run folder that is done, its model.

    Raises:
        CheckpointError: there is nothing, or what is there cannot be read.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file")
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".json" and _is_member(path):
        return _member(
            path.with_suffix(".safetensors") if path.name != "config.json" else path.parent
        )
    with reading(path, "cannot be read"), regular(path).open("rb") as file:
        start = file.read(4096)
    if not start:
        raise CheckpointError(f"{path}: the file is empty; restore it from a copy")
    if is_compressed(start):
        return Found(path, COMPRESSED, KINDS[COMPRESSED].words, "", digests=True)
    if path.suffix == ".onnx":
        return Found(path, "onnx", "an ONNX graph", "run it with onnxruntime.InferenceSession")
    if start[8:9] == b"{":  # the size of a header comes first, which may be any eight bytes
        return _container(path)
    if start.startswith(b"PK\x03\x04"):
        what = "a program of torch.export, or what torch.save wrote"
        return Found(path, "zip", what, "open a program with torch.export.load")
    if start.startswith(b"\x80"):
        return Found(
            path, "pickle", "a pickle", "netdial opens none, since that runs what is in it"
        )
    return _container(path)


def _folder(path: Path) -> Found:
    if (path / "model.safetensors").is_file() or _is_member(path / "config.json"):
        return _member(path)
    for inner in (*_RUN_MODELS, *(Path(place).name for place in _RUN_MODELS)):
        if (path / inner).is_file():
            return recognise(path / inner)
    if (path / "config.json").is_file() and any(
        (path / name).exists() for name in ("records.jsonl", "DONE")
    ):
        if (path / "DONE").exists():
            how = "restore the model from a copy, or run again with --overwrite"
            return Found(path, RUN, "a run folder whose model is gone", how)
        how = f"finish it first (netdial {_command(path / 'config.json')} … --resume)"
        return Found(path, RUN, "a run folder without a finished model", how)
    opens = "give the file of a model, or the folder that netdial export or a choice wrote"
    return Found(path, "folder", "a folder without a model", opens)


def _command(config: Path) -> str:
    """Returns the command that made a run, which is what finishes it."""
    way = _described(config).get("way")
    return way if isinstance(way, str) and way.isidentifier() else "fit"


def _container(path: Path) -> Found:
    """Returns what a safetensors file is."""
    beside = path.parent / "config.json" if path.name == "model.safetensors" else None
    for description in (path.with_suffix(".json"), beside):
        if description is not None and _is_member(description):
            return _member(path.parent if description == beside else path)
    with reading(path), safe_open(path, framework="pt", device="cpu") as file:
        ours = "netdial" in (file.metadata() or {})
    if not ours:
        how = "its description (.json, or config.json beside model.safetensors) is missing, or another program wrote it"
        return Found(path, "safetensors", "tensors without a description", how)
    header = read_header(path)
    opens = (
        "go on with it by --resume" if header.kind == CHECKPOINT else "it is read by what wrote it"
    )
    words = {CHECKPOINT: _STATE, **{name: kind.words for name, kind in KINDS.items()}}
    summary = words.get(header.kind, f"a file of kind {header.kind!r:.60}")
    return Found(path, header.kind, summary, opens, header.digests is not None)


def _member(path: Path) -> Found:
    _, beside = files_of(path)
    return Found(
        path, MEMBER, KINDS[MEMBER].words, "", _described(beside).get("format") == MEMBER_FORMAT
    )


def _is_member(description: Path) -> bool:
    """Returns whether a JSON file describes a member."""
    return _described(description).get("kind") == MEMBER


def _described(description: Path) -> dict[str, Any]:
    """Returns what a JSON file says; nothing if it is missing or damaged, which is said when it is opened."""
    try:
        config: Any = read_json(description)
    except CheckpointError:
        return {}
    return config if isinstance(config, dict) else {}

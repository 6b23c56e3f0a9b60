"""What a file is: recognised by what lies in it, in words for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from netdial.core.errors import CheckpointError
from netdial.core.storage.boundary import read_json, reading, regular
from netdial.core.storage.container import read_header
from netdial.models.derived import KIND as DERIVED
from netdial.models.family import KIND as FAMILY
from netdial.models.member import FORMAT as MEMBER_FORMAT
from netdial.models.member import KIND as MEMBER
from netdial.models.member import files_of
from netdial.models.recipe import PRUNED, SHRUNKEN

CHECKPOINT, RUN = "checkpoint", "run"

_RUN_MODELS = (
    "model/family.safetensors",
    "model/shrunken.safetensors",
    "model/found.safetensors",
)
"""Where a run folder keeps its model."""

_SUMMARIES = {
    FAMILY: "a family of networks",
    MEMBER: "an exported member",
    SHRUNKEN: "a network that was shrunk while it was trained",
    PRUNED: "a network without some of its channels",
    DERIVED: "a network derived from a search space",
    CHECKPOINT: "the state of a run in training",
}


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
    if (path / "config.json").is_file() and (path / "records.jsonl").exists():
        how = "finish it first (netdial fit … --resume)"
        return Found(path, RUN, "a run folder without a finished model", how)
    opens = "give the file of a model, or the folder that netdial export or a choice wrote"
    return Found(path, "folder", "a folder without a model", opens)


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
    summary = _SUMMARIES.get(header.kind, f"a file of kind {header.kind!r:.60}")
    return Found(path, header.kind, summary, opens, header.digests is not None)


def _member(path: Path) -> Found:
    _, beside = files_of(path)
    return Found(
        path, MEMBER, _SUMMARIES[MEMBER], "", _described(beside).get("format") == MEMBER_FORMAT
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

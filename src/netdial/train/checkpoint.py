"""Checkpoints: everything a run needs to go on, in one safetensors file written atomically.

Tensors lie in the file under their paths; everything else (step counters, learning rates) is JSON in the file's header.
Nothing is pickled, and nothing in a file is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from netdial.core.errors import CheckpointError
from netdial.core.files import write_atomic

FORMAT = 1


def save_tree(path: Path, tree: Any, kind: str) -> None:
    """Writes nested dicts and lists of tensors and plain values, atomically.

    Args:
        path: file to write.
        tree: dicts (keys are text or integers), lists, tensors, numbers, text, None.
        kind: what the file is, checked when it is read.

    Raises:
        CheckpointError: the disk refused it; a file that was there before is intact.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _detach(tree, "", tensors)
    header = {"netdial": json.dumps({"format": FORMAT, "kind": kind, "tree": skeleton})}
    try:
        write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata=header))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: could not be written ({error}); the file that was there before is intact; free some space and resume"
        ) from None


def load_tree(path: Path, kind: str, device: str = "cpu") -> Any:
    """Returns what ``save_tree`` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or of a newer format.
    """
    try:
        with safe_open(path, framework="pt", device=device) as file:
            header = json.loads((file.metadata() or {})["netdial"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = header["format"], header["kind"]
        tree = _attach(header["tree"], tensors) if found == (FORMAT, kind) else None
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a netdial file, or damaged ({type(error).__name__}: {error})"
        ) from None
    if found != (FORMAT, kind):
        raise CheckpointError(
            f"{path}: holds {found[1]!r} of format {found[0]}; expected {kind!r} of format {FORMAT}"
        )
    return tree


def _detach(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        tensors[path] = tree.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(tree, dict):
        items = [[key, _detach(value, f"{path}/{key}", tensors)] for key, value in tree.items()]
        return {"dict": items}
    if isinstance(tree, list | tuple):
        return {"list": [_detach(value, f"{path}/{i}", tensors) for i, value in enumerate(tree)]}
    return {"value": tree}


def _attach(skeleton: Any, tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _attach(value, tensors) for key, value in content}
    if kind == "list":
        return [_attach(value, tensors) for value in content]
    return content

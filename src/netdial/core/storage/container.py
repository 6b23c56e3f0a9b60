"""The file format of everything netdial saves: tensors and plain values in one safetensors file with digests.

Tensors lie in the file under their paths; everything else (step counters, learning rates, settings) is JSON in the file's
header, together with the SHA-256 digest of every tensor and of the header itself, which reading checks: a file in which one
bit differs is refused. Nothing is pickled, nothing in a file is run, and files are written atomically.

Format 1, written by earlier versions, has no digests; it is read, and that is said once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from netdial.core.errors import CheckpointError, ConfigError, warn
from netdial.core.storage.boundary import (
    DIGEST,
    UncheckedFile,
    parse_json,
    reading,
    regular,
    seal,
    unseal,
)
from netdial.core.storage.files import unwritable, write_atomic

FORMAT = 2
"""Version that is written."""

UNCHECKED = 1
"""The version without digests, which is still read."""

_KEY = "netdial"


@dataclass(frozen=True)
class Header:
    """What a file says about itself.

    Attributes:
        format: version of the container.
        kind: what the file is, for example ``family``.
        tree: nested values with references to tensors in place of tensors.
        digests: SHA-256 of every tensor by name; None for a file of format 1.
    """

    format: int
    kind: str
    tree: Any
    digests: Mapping[str, str] | None


def save_tree(path: Path, tree: Any, kind: str) -> None:
    """Writes nested dicts and lists of tensors and plain values, atomically.

    Args:
        path: file to write.
        tree: dicts (keys are text or integers), lists, tensors, numbers, text, None.
        kind: what the file is, checked when it is read.

    Raises:
        CheckpointError: the disk refused it; a file that was there before is intact.
        ConfigError: a tensor is of a number type that files cannot hold.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _detach(tree, "", tensors)
    check_held(tensors)
    digests = {name: tensor_digest(tensor) for name, tensor in tensors.items()}
    content = {"format": FORMAT, "kind": kind, "tree": skeleton, "tensors": digests}
    header = {_KEY: json.dumps(seal(content))}
    try:
        write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata=header))
    except SafetensorError as error:  # how it reports what the disk says
        raise unwritable(path, _os_error(error)) from None


def check_held(tensors: Mapping[str, Tensor]) -> None:
    """Refuses tensors of a number type that files cannot hold."""
    for name, tensor in tensors.items():
        if tensor.dtype is torch.complex128:
            raise ConfigError(
                f"tensor {name} is {tensor.dtype}, which files of tensors cannot hold; make it torch.complex64"
            )


def load_tree(path: Path, kind: str | tuple[str, ...], device: str = "cpu") -> Any:
    """Returns what ``save_tree`` wrote.

    Args:
        path: the file.
        kind: what it has to be; of several any one.
        device: where its tensors go.

    Raises:
        CheckpointError: the file is missing, damaged, changed, of another kind or of a newer format.
    """
    with reading(path), safe_open(regular(path), framework="pt", device="cpu") as file:
        header = _header(path, file.metadata())
        kinds = (kind,) if isinstance(kind, str) else kind
        if header.kind not in kinds:
            wanted = " or ".join(map(repr, kinds))
            raise CheckpointError(f"{path}: holds {header.kind!r}; expected {wanted}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        check_digests(path, tensors, header.digests)
        tree = _attach(header.tree, tensors)
        return tree if device == "cpu" else _moved(tree, device)


def read_header(path: Path) -> Header:
    """Returns what a file says about itself; its tensors are not read.

    Raises:
        CheckpointError: the file is missing, damaged, changed, no file of netdial or of a newer format.
    """
    with reading(path), safe_open(regular(path), framework="pt", device="cpu") as file:
        return _header(path, file.metadata(), said=False)


def read_plain(path: Path) -> Any:
    """Returns what ``save_tree`` wrote with None in place of tensors, which are not read.

    Raises:
        CheckpointError: as for ``read_header``.
    """
    with reading(path):
        return _attach(read_header(path).tree, defaultdict(lambda: None))


def tensor_digest(tensor: Tensor) -> str:
    """Returns the SHA-256 digest of a tensor's type, shape and numbers, in hexadecimal."""
    plain = tensor.detach().cpu().contiguous()
    head = f"{str(plain.dtype).removeprefix('torch.')} {list(plain.shape)} "
    found = hashlib.sha256(head.encode())
    if plain.numel():
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def check_digests(path: Path, tensors: Mapping[str, Tensor], digests: Any) -> None:
    """Compares tensors with the digests that their file gives; None says that it gives none.

    Raises:
        CheckpointError: one is missing, too many, or was changed; the message names the first.
    """
    if digests is None:
        return
    if not isinstance(digests, Mapping) or digests.keys() != tensors.keys():
        raise CheckpointError(
            f"{path}: was changed after it was written (its tensors are not those it lists); restore it from a copy"
        )
    for name, tensor in tensors.items():
        if digests[name] != tensor_digest(tensor):
            raise CheckpointError(
                f"{path}: was changed after it was written (the SHA-256 digest of tensor {name!r} differs); "
                "restore it from a copy"
            )


def check_finite(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Refuses numbers that are not finite.

    Raises:
        CheckpointError: a floating-point tensor holds NaN or infinity; the message names it.
    """
    for name, tensor in tensors:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise CheckpointError(
                f"{path}: {name} has {count} of {tensor.numel()} numbers that are NaN or infinite; "
                "such a network is of no use, restore it from a copy or train again"
            )


def say_unchecked(path: Path) -> None:
    """Warns, once for a file, that it carries no digests."""
    warn(
        f"{path}: was written by an earlier netdial and carries no digests, so changes to it cannot be noticed; "
        "load it and save it again to add them",
        UncheckedFile,
    )


def _header(path: Path, metadata: Mapping[str, str] | None, *, said: bool = True) -> Header:
    text = (metadata or {}).get(_KEY)
    if text is None:
        raise CheckpointError(
            f"{path}: not a netdial file, or damaged (a safetensors file without netdial's header)"
        )
    content = parse_json(text, path)
    version = content.get("format") if isinstance(content, dict) else None
    if type(version) is not int:
        raise CheckpointError(
            f"{path}: not a netdial file, or damaged (its header names no format)"
        )
    if version not in (UNCHECKED, FORMAT):
        raise CheckpointError(
            f"{path}: has format {version}, this netdial reads formats {UNCHECKED} and {FORMAT}; "
            "install the netdial that wrote it"
        )
    if version == FORMAT:
        content = unseal(content, path)
    elif DIGEST in content:
        raise CheckpointError(
            f"{path}: was changed after it was written (format {UNCHECKED} has no digest, this file has); "
            "restore it from a copy"
        )
    elif said:
        say_unchecked(path)
    kind = content.get("kind")
    if not isinstance(kind, str) or "tree" not in content:
        raise CheckpointError(f"{path}: not a netdial file, or damaged (its header is incomplete)")
    digests = content.get("tensors", {}) if version == FORMAT else None
    return Header(version, kind, content["tree"], digests)


def _detach(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor) and tree.layout is torch.sparse_coo:
        whole = tree.detach().coalesce()
        parts = [whole.indices(), whole.values(), list(whole.shape)]
        return {"sparse": _detach(parts, path, tensors)}
    if isinstance(tree, Tensor):
        while path in tensors:  # keys such as 1 and "1", or "a/b", give one path twice
            path += "+"
        tensors[path] = tree.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(tree, dict):
        items = [[key, _detach(value, f"{path}/{key}", tensors)] for key, value in tree.items()]
        return {"dict": items}
    if isinstance(tree, list | tuple):
        return {"list": [_detach(value, f"{path}/{i}", tensors) for i, value in enumerate(tree)]}
    return {"value": tree}


def _attach(skeleton: Any, tensors: Mapping[str, Tensor | None]) -> Any:
    """Returns the tree that a skeleton describes; what it may hold is said in ``_detach``."""
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "sparse":
        at, values, shape = _attach(content, tensors)
        if values is None:  # tensors are not read
            return None
        return torch.sparse_coo_tensor(at, values, shape, check_invariants=True).coalesce()
    if kind == "dict":
        return {_key(key): _attach(value, tensors) for key, value in content}
    if kind == "list":
        return [_attach(value, tensors) for value in content]
    if kind != "value" or isinstance(content, list | dict):
        raise ValueError(f"unknown node {kind!r}")
    return content


def _key(key: Any) -> str | int:
    if type(key) not in (str, int):
        raise ValueError(f"key {key!r}")
    plain: str | int = key
    return plain


def _moved(tree: Any, device: str) -> Any:
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, dict):
        return {key: _moved(value, device) for key, value in tree.items()}
    return [_moved(value, device) for value in tree] if isinstance(tree, list) else tree


def _os_error(error: SafetensorError) -> OSError:
    """Returns the operating system's error that a safetensors error tells of."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number.group(1)) if number else 0, str(error))

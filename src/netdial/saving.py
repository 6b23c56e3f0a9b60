"""Saving a family: one file with everything needed to read members off it again.

The file is a checkpoint of kind ``family``: the configuration, the names and shapes of the network's tensors, the maps'
state, and what the caller adds (``meta``) as JSON in the header of a safetensors file. It is written atomically,
nothing is pickled, and reading it runs no foreign code: the network is the caller's or one of ``netdial.nets``.

Meta is free, but for the key ``net``: ``{"spec": "mlp:50", "input_shape": [13], "n_outputs": 3}`` says which built-in
network the family stands on, so that it can be built again without being given.

Related: ``core.container`` (the container), ``export`` (one member as an ordinary network).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from netdial.core.container import load_tree, save_tree
from netdial.core.errors import CheckpointError, ConfigError, NetdialError
from netdial.family.family import Family, FamilyConfig
from netdial.nets import build

KIND = "family"
_SHOWN = 3

Shapes = dict[str, list[int]]


def save_family(family: Family, path: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Writes a family to one safetensors file, atomically.

    Args:
        family: the family.
        path: file to write; its folder is made when missing.
        meta: anything that JSON can hold, given back by ``read_meta``; the key ``net`` describes a built-in network.

    Raises:
        ConfigError: ``meta`` is not plain JSON.
        CheckpointError: the disk refused it; a file that was there before is intact.
    """
    varying = set(family.statistics.names)
    constants = {n: buffer for n, buffer in family.net.named_buffers() if n not in varying}
    tree = {
        "config": asdict(family.config),
        "net": shapes_of(family.net),
        "constants": constants,
        "state": dict(family.state_dict()),
        "meta": check_meta(meta),
    }
    save_tree(Path(path), tree, KIND)


def load_family(path: str | Path, net: nn.Module | None = None) -> Family:
    """Returns a saved family, in evaluation mode on the CPU.

    Args:
        path: file that ``save_family`` wrote.
        net: a network of the same architecture; its own weights do not matter. Needed unless the file describes a
            built-in network.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or of a newer format, or the network has other
            parameters than the one that was saved; the message names them.
    """
    path = Path(path)
    tree = _read(path)
    net = rebuild(path, tree["meta"]) if net is None else net
    difference = mismatch(shapes_of(net), tree["net"])
    if difference:
        raise CheckpointError(
            f"{path}: was made with another network than the {type(net).__name__} given ({difference}); "
            "give a network of the architecture that was trained"
        )
    try:
        family = Family(_thawed(net), _config(tree["config"]))
        kept = tree["state"].get("kept")
        if kept is not None:
            family.restrict(kept)
        _take_types(family, tree)
        family.load_state_dict(tree["state"])
    except (
        AttributeError,
        KeyError,
        RuntimeError,
        StopIteration,
        TypeError,
        NetdialError,
    ) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: cannot be turned into a family ({reason})") from None
    for name, buffer in family.net.named_buffers():
        if name in tree["constants"]:
            buffer.copy_(tree["constants"][name])
    return family.eval()


def read_meta(path: str | Path) -> dict[str, Any]:
    """Returns what was saved as ``meta``.

    Raises:
        CheckpointError: as for ``load_family``.
    """
    meta: dict[str, Any] = _read(Path(path))["meta"]
    return meta


def rebuild(path: Path, meta: Mapping[str, Any]) -> nn.Module:
    """Returns the built-in network that ``meta["net"]`` describes, freshly initialised.

    Args:
        path: the file that the description comes from, for messages.
        meta: as given to ``save_family``.

    Raises:
        CheckpointError: there is no description, or it is not one of ``netdial.nets``.
    """
    described = meta.get("net")
    if described is None:
        raise CheckpointError(
            f"{path}: does not say which network it belongs to; give the network (net=), built as it was for training"
        )
    try:
        spec, shape, count = described["spec"], described["input_shape"], described["n_outputs"]
        if not isinstance(spec, str):
            raise TypeError(f"spec is {spec!r}")
        return build(spec, input_shape=[int(size) for size in shape], n_outputs=int(count))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: describes a network that netdial cannot build ({type(error).__name__}: {error}); "
            "give the network (net=), built as it was for training"
        ) from None


def shapes_of(net: nn.Module) -> Shapes:
    """Returns the shape of every parameter and buffer of a network, by name."""
    tensors: list[tuple[str, Tensor]] = [*net.named_parameters(), *net.named_buffers()]
    return {name: list(tensor.shape) for name, tensor in tensors}


def mismatch(given: Shapes, saved: Shapes) -> str:
    """Returns how two sets of named shapes differ, in words; empty if they do not.

    >>> mismatch({"w": [2, 3]}, {"w": [2, 4], "b": [2]})
    'w is [2, 3], saved as [2, 4]; b is missing'
    """
    lines = [
        f"{name} is {given[name]}, saved as {shape}"
        for name, shape in saved.items()
        if name in given and given[name] != shape
    ]
    lines += [f"{name} is missing" for name in saved if name not in given]
    lines += [f"{name} is not in the file" for name in given if name not in saved]
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "; ".join(lines[:_SHOWN] + more)


def check_meta(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns ``meta`` as plain JSON values.

    Raises:
        ConfigError: JSON cannot hold it.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(meta or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"meta: {error}; use finite numbers, text, booleans, None, lists and dicts with text keys"
        ) from None
    return plain


def _read(path: Path) -> dict[str, Any]:
    tree = load_tree(path, KIND)
    parts = ("config", "net", "constants", "state", "meta")
    if not isinstance(tree, dict) or not all(isinstance(tree.get(part), dict) for part in parts):
        raise CheckpointError(
            f"{path}: is damaged (a part of the family is missing); restore it from a copy"
        )
    return tree


def _take_types(family: Family, tree: dict[str, Any]) -> None:
    """Gives all tensors of a family and of its network the number types of those that were saved."""
    saved: dict[str, Tensor] = tree["state"]
    for name, tensor in family.state_dict(keep_vars=True).items():
        tensor.data = tensor.data.to(saved[name].dtype)
    lam = family.lams(1)[0]
    types = {**family.buffers_at(lam), **tree["constants"], **family.at(lam)}
    for name, tensor in [*family.net.named_parameters(), *family.net.named_buffers()]:
        tensor.data = tensor.data.to(types[name].dtype)


def _thawed(net: nn.Module) -> nn.Module:
    """Returns a copy with nothing frozen: what the family had frozen is written in its configuration."""
    net = copy.deepcopy(net)
    for parameter in net.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return net


def _config(saved: dict[str, Any]) -> FamilyConfig:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    if "exclude" in fields:  # as it was called before parameters could be frozen
        fields["shared"] = fields.pop("exclude")
    return FamilyConfig(**fields)

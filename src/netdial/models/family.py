"""A family as a file: everything needed to read members off it again.

The file is one of ``core.container`` of kind ``family``: the configuration, the names and shapes of the network's tensors, the
maps' state, and what the caller adds (``meta``, see ``described``). Reading it runs no foreign code: the network is the
caller's or one of ``netdial.nets``.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model
from torch import Tensor, fx, nn

from netdial.core.cutting import noted_cut
from netdial.core.errors import CheckpointError, NetdialError
from netdial.core.inputs import OneTensor, Packing, gives_all, one_tensor, scoring
from netdial.core.storage.boundary import reading, validated
from netdial.core.storage.container import check_finite, load_tree, save_tree
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.models.described import (
    check_meta,
    fresh,
    made_later,
    mismatch,
    other_layers,
    take_later,
    tensor_shapes,
)
from netdial.nets.foreign import copy_network
from netdial.nets.layers import layers_of, shapes_of
from netdial.task import restore

KIND = "family"
AS_BUILT = "the network as it was built for training"
AS_GRAPH = "the network that the family had when it was saved, a copy of family.net (it is a graph of torch.fx)"
_SAID = "cannot be turned into a family"


def save_family(family: Family, path: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Writes a family to one safetensors file, atomically.

    Args:
        family: the family.
        path: file to write; its folder is made when missing.
        meta: anything that JSON can hold, given back by ``read_family``; the key ``net`` describes a built-in network.

    Raises:
        ConfigError: ``meta`` is not plain JSON.
        CheckpointError: the family holds NaN or infinity, or the disk refused it; a file that was there before is intact.
    """
    path = Path(path)
    check_finite(path, family.state_dict().items())
    varying = set(family.statistics.names)
    constants = {n: buffer for n, buffer in family.net.named_buffers() if n not in varying}
    tree: dict[str, Any] = {
        "config": check_meta(_plain(family.config), "settings"),
        "net": shapes_of(family.net),
        "layers": layers_of(family.net),
        "constants": constants,
        "state": dict(family.state_dict()),
        "meta": check_meta(meta),
    }
    if (cut := noted_cut(family.net)) is not None:
        tree["cut"] = cut.to_json()
    if isinstance(family.net, fx.GraphModule):
        tree["graph"] = True
    if isinstance(family.net, OneTensor):
        tree["inputs"] = [] if family.net.packing is None else [asdict(family.net.packing)]
        tree["outputs"] = "all" if gives_all(family.net) else "scored"
    save_tree(path, tree, KIND)


def load_family(path: str | Path, net: nn.Module | None = None) -> Family:
    """Returns a saved family, in evaluation mode on the CPU.

    Args:
        path: file that ``save_family`` wrote.
        net: a network of the same architecture; its own weights do not matter. Needed unless the file describes a
            built-in network. A family that lost channels (``prune_family``) takes it as it was built, or as it was cut.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or of a newer format, or the network has other
            parameters than the one that was saved; the message names them.
    """
    path = Path(path)
    tree = read_family(path)
    cut = validated(dict[str, Any] | None, tree.get("cut"), path)
    shape = fresh(path, tree["meta"], net, cut, numbers=False)
    layers = validated(dict[str, str], tree.get("layers", {}), path)
    made = tensor_shapes(made_later(shape, tree["constants"]))
    difference = mismatch(shapes_of(shape) | made, tree["net"]) or other_layers(shape, layers)
    if difference:
        given = "it describes" if net is None else f"the {type(net).__name__} given"
        raise CheckpointError(
            f"{path}: was made with another network than {given} ({difference}); "
            f"give {network_words(tree)}"
        )
    with reading(path, _SAID), _in_words(path):
        config = settings_of(path, tree["config"])
        _check_sizes(path, config, shape, tree["state"])
        net = fresh(path, tree["meta"], net, cut)
        net = _thawed(net)
        take_later(net, tree["constants"])
        family = Family(_adapted(net, tree), config)
        kept = tree["state"].get("kept")
        if kept is not None:
            family.restrict(kept)
        _take_types(family, tree)
        family.load_state_dict(tree["state"])
        for name, buffer in family.net.named_buffers():
            if name in tree["constants"]:
                buffer.copy_(tree["constants"][name])
    return family.eval()


def network_words(tree: Mapping[str, Any]) -> str:
    """Returns which network has to be given to open a family's file."""
    return AS_GRAPH if tree.get("graph") else AS_BUILT


def read_family(path: str | Path) -> dict[str, Any]:
    """Returns the parts of a family's file: ``config``, ``net`` (shapes), ``constants``, ``state`` (tensors) and ``meta``.

    Raises:
        CheckpointError: as for ``load_family``.
    """
    path = Path(path)
    tree = load_tree(path, KIND)
    parts = ("config", "net", "constants", "state", "meta")
    if not isinstance(tree, dict) or not all(isinstance(tree.get(part), dict) for part in parts):
        raise CheckpointError(
            f"{path}: is damaged (a part of the family is missing); restore it from a copy"
        )
    tensors = [*tree["state"].values(), *tree["constants"].values()]
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise CheckpointError(
            f"{path}: is damaged (a tensor of the family is missing); restore it from a copy"
        )
    validated(dict[str, list[int]], tree["net"], path)
    check_finite(path, tree["state"].items())
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


def _adapted(net: nn.Module, tree: Mapping[str, Any]) -> nn.Module:
    """Returns a network from one tensor to one tensor, if that is what was saved."""
    if "inputs" not in tree:
        return net
    packings = validated(list[Packing], tree["inputs"], "inputs")
    net = one_tensor(net, packings[0] if packings else None)
    return scoring(net, every=tree.get("outputs") == "all")


def _thawed(net: nn.Module) -> nn.Module:
    """Returns a copy with nothing frozen: what the family had frozen is written in its configuration."""
    net = copy_network(net)
    for parameter in net.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return net


def _plain(config: FamilyConfig) -> dict[str, Any]:
    task = config.task
    return {**asdict(replace(config, task=None)), "task": task and task.settings()}


def settings_of(path: Path, saved: Mapping[str, Any]) -> FamilyConfig:
    """Returns the settings of a family, whose types are checked; those that a file of before lacks have their defaults.

    Raises:
        CheckpointError: one is unknown or of another type.
    """
    settings = dict(saved)
    if "exclude" in settings:  # as it was called before parameters could be frozen
        settings["shared"] = settings.pop("exclude")
    where = f"{path}: {_SAID} by its settings"
    described = settings.pop("task", None)
    with reading(where):
        task = described and restore(validated(dict[str, Any], described, where))
    return FamilyConfig(**dict(validated(_schema(), settings, where)), task=task)


def _check_sizes(
    path: Path, config: FamilyConfig, net: nn.Module, state: Mapping[str, Tensor]
) -> None:
    """Refuses settings that ask for more numbers than the file holds: no memory is taken for them."""
    shapes = Counter(tuple(leaf.shape) for leaf in net.parameters())
    shapes -= Counter(tuple(t.shape) for name, t in state.items() if name.startswith("shared."))
    size = sum(math.prod(shape) for shape in shapes.elements())
    factors = 2  # of a low-rank map: what one unit of its hidden layer adds
    for shape in shapes.elements():
        factors += math.prod(shape[1:]) + shape[0] if len(shape) > 1 else math.prod(shape)
    wanted = {
        "linear": 2 * size,
        "piecewise": (config.regions + 1) * size,
        "centred": (config.regions + 2) * size,
        "table": len(config.lams) * size,
        "lowrank": size + config.hidden * factors,
    }.get(config.map, size)
    maps = ("mean.", "groups.")
    found = sum(tensor.numel() for name, tensor in state.items() if name.startswith(maps))
    if wanted > found:
        raise CheckpointError(
            f"{path}: describes a {config.map} map of {wanted} numbers and holds {found}; restore it from a copy"
        )


@functools.cache
def _schema() -> type[BaseModel]:
    """Returns the types of all settings of a family; a file may lack some, which then have their defaults."""
    hints = get_type_hints(FamilyConfig)
    fields: dict[str, Any] = {
        f.name: (hints[f.name], f.default)
        for f in dataclass_fields(FamilyConfig)
        if f.name != "task"
    }
    strict = ConfigDict(extra="forbid", allow_inf_nan=False)
    return create_model("Settings", __config__=strict, **fields)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Says of every error in making a family which file it comes from."""
    try:
        yield
    except NetdialError as error:
        said = " ".join(str(error).split())
        raise CheckpointError(
            said if said.startswith(str(path)) else f"{path}: {_SAID} ({said})"
        ) from None

"""Descriptions of networks in files: the plain values beside the tensors, and built-in networks made again from them.

What a caller adds (``meta``) is free, but for the key ``net``: ``{"spec": "mlp:50", "input_shape": [13], "n_outputs": 3}`` says
which built-in network the tensors belong to, so that it can be built again without being given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from netdial.core.cutting import cut_module, note_cut, noted_cut
from netdial.core.errors import CheckpointError, ConfigError, NetdialError, warn
from netdial.core.layout import take_buffers
from netdial.core.plan import Plan
from netdial.core.storage.boundary import validated
from netdial.nets import build, built_as
from netdial.nets.foreign import copy_network
from netdial.nets.layers import Shapes, layers_of, marks_of, shapes_of

_SHOWN = 3
_CURE = "give the network (net=), built as it was for training"


class Described(BaseModel):
    """A built-in network, in bounds that building it can take.

    Attributes:
        spec: as ``nets.build`` takes it.
        input_shape: shape of one input without the batch.
        n_outputs: classes, or regression targets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    spec: str = Field(max_length=200)
    input_shape: tuple[Annotated[int, Field(ge=1, lt=1 << 31)], ...] = Field(
        min_length=1, max_length=8
    )
    n_outputs: int = Field(ge=1, lt=1 << 31)

    def build(self) -> nn.Module:
        """Returns the network, freshly initialised."""
        return build(self.spec, input_shape=self.input_shape, n_outputs=self.n_outputs)


def described(path: Path, meta: Mapping[str, Any]) -> Described:
    """Returns the built-in network that ``meta["net"]`` describes.

    Args:
        path: the file that the description comes from, for messages.
        meta: plain values of the file.

    Raises:
        CheckpointError: there is no description, or it is not one.
    """
    if meta.get("net") is None:
        model = path.parent if path.name == "config.json" else path  # an exported folder
        raise CheckpointError(
            f"{path}: does not say which network it belongs to; give the network (net=), built as it was for training, in "
            f"Python: nd.load_model({str(model)!r}, net=net), which predicts, and which nd.slim and nd.shrink take. The "
            "command line reads models of networks that are known by name, such as those of netdial fit"
        )
    where = f"{path}: describes a network that netdial cannot build"
    found: Described = validated(Described, meta["net"], where, _CURE)
    return found


def description(net: nn.Module) -> dict[str, Any]:
    """Returns ``{"net": …}`` for a network of ``nets.build``, or one that was cut from it; nothing for any other.

    It is compared with what it was built as: layers that were put in since make it another one.
    """
    if (built := built_as(net)) is None:
        return {}
    cut = noted_cut(net)
    with torch.device("meta"):
        fresh = Described(**built).build()
    again = cut_like(fresh, None if cut is None else cut.to_json())
    known = not mismatch(shapes_of(again), shapes_of(net)) and layers_of(again) == layers_of(net)
    return {"net": built} if known else {}


def outline(path: Path, meta: Mapping[str, Any]) -> nn.Module:
    """Returns the built-in network that ``meta["net"]`` describes, on the device ``meta``: shapes without numbers.

    Raises:
        CheckpointError: there is no description, or it is not one of ``netdial.nets``.
    """
    found = described(path, meta)
    try:
        with torch.device("meta"):
            return found.build()
    except (NetdialError, RuntimeError, OverflowError) as error:  # sizes beyond what torch counts
        raise CheckpointError(
            f"{path}: describes a network that netdial cannot build ({error}); {_CURE}"
        ) from None


def cut_like(net: nn.Module, cut: Mapping[str, Any] | None) -> nn.Module:
    """Returns a smaller copy of a network as it was built, or the network itself if nothing was cut or it does not fit.

    Args:
        net: the network.
        cut: what was cut, as JSON; None if nothing was.
    """
    if cut is None or noted_cut(net) is not None:
        return net
    plan, small = Plan.from_json(cut), copy_network(net)
    try:
        cut_module(plan, small)
    except NetdialError:  # of another architecture, which the caller says
        return net
    note_cut(plan, small)
    return small


def fresh(
    path: Path,
    meta: Mapping[str, Any],
    net: nn.Module | None,
    cut: Mapping[str, Any] | None,
    *,
    numbers: bool = True,
) -> nn.Module:
    """Returns the network given, or else the one that ``meta["net"]`` describes, cut as a file says.

    Args:
        path: the file, for messages.
        meta: its plain values.
        net: a network as it was built, or cut already; None for that of the description.
        cut: what was cut, as JSON; None if nothing was.
        numbers: whether that of the description has numbers, or shapes alone.

    Raises:
        CheckpointError: there is no description, or it or the cut is none.
    """
    if net is None:
        net = described(path, meta).build() if numbers else outline(path, meta)
    try:
        return cut_like(net, cut)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: describes no cut ({error}); restore it from a copy"
        ) from None


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
    return _joined(lines)


def tensor_shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    """Returns the shapes of tensors by name."""
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def other_tensors(net: nn.Module, held: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> str:
    """Returns how the tensors of a network ``held`` differ from those of a file, in words; empty if it can take them."""
    return mismatch(tensor_shapes({**held, **made_later(net, saved)}), tensor_shapes(saved))


def made_later(net: nn.Module, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the buffers of a file that a network as it was built has not, or not in that shape, as its code makes them later.

    So are tables of positions for the lengths that come, which are in no file of weights, caches that begin empty, and what
    code registers under a name that is not there before.
    """
    found = {}
    parts = dict(net.named_modules())
    for name, tensor in saved.items():
        path, _, last = name.rpartition(".")
        if path in parts and not hasattr(parts[path], last) and _registers(type(parts[path]), last):
            found[name] = tensor
    for path, part in parts.items():
        for last, held in part._buffers.items():
            name = f"{path}.{last}" if path else last
            loose = held is None or not held.numel() or last in part._non_persistent_buffers_set
            if loose and name in saved and (held is None or held.shape != saved[name].shape):
                found[name] = saved[name]
    return found


def _registers(kind: type[nn.Module], name: str) -> bool:
    """Returns whether code of a class registers a buffer of a name elsewhere than where a network is built."""
    methods = [
        method
        for base in kind.__mro__
        for key, method in vars(base).items()
        if isinstance(method, FunctionType) and key != "__init__"
    ]
    codes = [method.__code__ for method in methods]
    return any("register_buffer" in code.co_names and name in code.co_consts for code in codes)


def take_later(net: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Gives a network the buffers of a file that its code makes later."""
    take_buffers(net, made_later(net, saved))


def other_layers(given: nn.Module, saved: Mapping[str, str]) -> str:
    """Returns which layers of a network are of another kind than those that were saved, in words; empty if none is.

    >>> other_layers(nn.Sequential(nn.Tanh()), {"0": "ReLU", "1": "GELU"})
    '0 is Tanh, saved as ReLU'
    """
    here = layers_of(given)
    return _joined(
        [
            f"{name} is {here[name]}, saved as {kind}"
            for name, kind in saved.items()
            if here.get(name, kind) != kind
        ]
    )


def tell_other_buffers(
    where: Path, given: nn.Module, saved: Mapping[str, tuple[float, float]]
) -> None:
    """Warns of buffers that are in no file and have other values in the network given than in the one that was saved.

    Args:
        where: the file, for messages.
        given: the network.
        saved: what ``marks_of`` gave of the network that was saved.
    """
    other = [
        name
        for name, (norm, total) in marks_of(given).items()
        if name in saved and math.hypot(norm - saved[name][0], total - saved[name][1]) > 1e-4 * norm
    ]
    if other:
        warn(
            f"{where}: buffer {other[0]!r} of the {type(given).__name__} given has other values than when this was saved, and "
            "is no part of the network's state (persistent=False), so the file does not hold it and outputs differ; give the "
            "network with it set as for training, or register it with persistent=True"
        )


def _joined(lines: list[str]) -> str:
    """Returns the first lines as one, and how many more there are."""
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "; ".join(lines[:_SHOWN] + more)


def check_meta(meta: Mapping[str, Any] | None, name: str = "meta") -> dict[str, Any]:
    """Returns ``meta`` as plain JSON values; ``name`` is what the caller calls it, for messages.

    Raises:
        ConfigError: JSON cannot hold it.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(meta or {}), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{name}: {error}; use finite numbers, text, booleans, None, lists and dicts with text keys"
        ) from None
    return plain

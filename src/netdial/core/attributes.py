"""What a layer says about its own sizes, and what it has to say once its leaves are cut.

``nn.Linear`` has ``in_features`` beside a weight that shows it already, a convolution ``groups``, a recurrent layer
``hidden_size``. A *form* says for each leaf of a layer which attribute each dimension shows. One form serves two ends: the new
attributes follow from the positions that survive, and leaves of one layer that a plan cuts differently are found before
anything is changed. Classes without a form have no such attributes, or none that is known here.

Shapes: a dimension may hold several runs of positions one after another (the gates of an LSTM); each run has a *key*,
(attribute, which), and runs with the same key have to lose the same positions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from netdial.core.errors import ConfigError, ShapeError
from netdial.core.plan import Positions

Key = tuple[str, int]
Run = tuple[Key, ...]
Form = dict[str, tuple[Run, ...]]
Cut = tuple[tuple[int, ...], tuple[Positions, ...]]
"""Of one leaf: its shape, and for each dimension the positions that survive."""

_PER_GROUP = "per_group"
_SIMPLE: tuple[tuple[Any, dict[str, str]], ...] = (
    (nn.Linear, {"weight": "out_features in_features", "bias": "out_features"}),
    (
        nn.Bilinear,
        {"weight": "out_features in1_features in2_features", "bias": "out_features"},
    ),
    ((nn.Embedding, nn.EmbeddingBag), {"weight": "num_embeddings embedding_dim"}),
    (_ConvNd, {"weight": f"out_channels {_PER_GROUP}", "bias": "out_channels"}),
    (_NormBase, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), "num_features")),
    (nn.GroupNorm, dict.fromkeys(("weight", "bias"), "num_channels")),
    (nn.PReLU, {"weight": "num_parameters"}),
)
_BARE: tuple[tuple[Any, str], ...] = (
    (nn.LayerNorm, "normalized_shape"),
    (nn.RMSNorm, "normalized_shape"),
    (_NormBase, "num_features"),
    (nn.GroupNorm, "num_channels"),
)


def bare_leaf(part: nn.Module) -> tuple[str, tuple[int, ...]] | None:
    """Returns the attribute that stands for the leaves of a normalisation layer that has none, and its shape.

    A plan names such a layer by it, ``norm.normalized_shape``, because there is nothing else to name.
    """
    held = itertools.chain(part._parameters.values(), part._buffers.values())
    if any(tensor is not None for tensor in held):
        return None
    for kind, attribute in _BARE:
        if isinstance(part, kind):
            value = getattr(part, attribute)
            return attribute, value if isinstance(value, tuple) else (value,)
    return None


def attributes_after(part: nn.Module, cuts: Mapping[str, Cut]) -> dict[str, Any]:
    """Returns the attributes that a layer has to have once its leaves are cut.

    Args:
        part: one layer, not its children.
        cuts: for each of its own leaves, by the layer's own name, the shape and the survivors.

    Raises:
        ConfigError: positions that cannot be cut: rows of an embedding, taps of a kernel, unequal parts of channel groups.
        ShapeError: leaves of the layer would not fit each other, or do not fit its attributes now.
    """
    form = _form(part)
    kept: dict[Key, Positions] = {}
    for name, (shape, survivors) in cuts.items():
        if name in form:
            for key, positions in _runs(part, name, form[name], shape, survivors):
                if kept.setdefault(key, positions) != positions:
                    raise ShapeError(
                        f"{name}: keeps other positions of {key[0]} than the rest of its layer; "
                        "cut all leaves of a layer alike"
                    )
    _refuse_lookup(part, kept)
    return _settle(part, kept) if kept else {}


def _form(part: Any) -> Form:
    if isinstance(part, nn.RNNBase):
        return _recurrent(part)
    if isinstance(part, nn.RNNCellBase):
        gates = part.weight_ih.shape[0] // part.hidden_size
        return _gated("", gates, (("input_size", 0),), (("hidden_size", 0),))
    if isinstance(part, nn.LayerNorm | nn.RMSNorm):
        dims = tuple((("normalized_shape", i),) for i in range(len(part.normalized_shape)))
        return {"weight": dims, "bias": dims, "normalized_shape": dims}
    for kind, words in _SIMPLE:
        if isinstance(part, kind):
            if "weight" not in part._parameters:  # a hook makes it, of a shape that it finds
                return {}
            form = {leaf: tuple(((w, 0),) for w in dims.split()) for leaf, dims in words.items()}
            if isinstance(part, _ConvNd) and part.transposed:
                form["weight"] = ((("in_channels", 0),), ((_PER_GROUP, 0),))
            return {**form, **{a: (((a, 0),),) for k, a in _BARE if isinstance(part, k)}}
    return {}


def _recurrent(part: nn.RNNBase) -> Form:
    gates = {"LSTM": 4, "GRU": 3}.get(part.mode, 1)
    form: Form = {}
    below: Run = (("input_size", 0),)
    for layer in range(part.num_layers):
        above: Run = ()
        for direction, suffix in enumerate(("", "_reverse")[: 1 + part.bidirectional]):
            which = 2 * layer + direction
            hidden: Run = (("hidden_size", which),)
            out: Run = (("proj_size", which),) if part.proj_size else hidden
            form |= _gated(f"_l{layer}{suffix}", gates, below, hidden, out)
            above += out
        below = above
    return form


def _gated(suffix: str, gates: int, below: Run, hidden: Run, out: Run | None = None) -> Form:
    out = out or hidden
    return {
        f"weight_ih{suffix}": (hidden * gates, below),
        f"weight_hh{suffix}": (hidden * gates, out),
        f"weight_hr{suffix}": (out, hidden),
        f"bias_ih{suffix}": (hidden * gates,),
        f"bias_hh{suffix}": (hidden * gates,),
    }


def _runs(
    part: nn.Module,
    name: str,
    dims: tuple[Run, ...],
    shape: tuple[int, ...],
    survivors: tuple[Positions, ...],
) -> list[tuple[Key, Positions]]:
    """Returns for each run of each dimension of a leaf which positions survive, counted from the start of the run."""
    found: list[tuple[Key, Positions]] = []
    for dim, positions in enumerate(survivors):
        if dim >= len(dims):
            if len(positions) != shape[dim]:
                raise ConfigError(f"{name}: dimension {dim} holds no channels and cannot be cut")
            continue
        first = 0
        for key in dims[dim]:
            end = first + _size(part, key)
            found.append((key, tuple(p - first for p in positions if first <= p < end)))
            first = end
        if first != shape[dim]:
            raise ShapeError(
                f"{name}: dimension {dim} is {shape[dim]}, but {dims[dim][0][0]} asks for {first}; "
                "the layer was changed without its attributes"
            )
    return found


def _size(part: Any, key: Key) -> int:
    attribute, which = key
    if attribute == _PER_GROUP:
        return int(part.weight.shape[1])
    value = getattr(part, attribute)
    return int(value[which] if isinstance(value, tuple) else value)


def _refuse_lookup(part: Any, kept: Mapping[Key, Positions]) -> None:
    rows = kept.get(("num_embeddings", 0))
    if rows is not None and len(rows) != part.num_embeddings:
        raise ConfigError(
            "weight: rows of an embedding are looked up by number and cannot be cut; cut its columns (dimension 1)"
        )


def _settle(part: Any, kept: Mapping[Key, Positions]) -> dict[str, Any]:
    counts: dict[str, list[int]] = {}
    for (attribute, _), positions in sorted(kept.items()):
        counts.setdefault(attribute, []).append(len(positions))
    if isinstance(part, nn.LayerNorm | nn.RMSNorm):
        shape = {name: tuple(sizes) for name, sizes in counts.items()}
        return {**shape, **_epsilon(part, shape)}
    for attribute, sizes in counts.items():
        if len(set(sizes)) > 1:
            raise ShapeError(
                f"{attribute}: would be {', '.join(map(str, sizes))} in parts of one layer; "
                "remove equally many from each"
            )
    found: dict[str, Any] = {attribute: sizes[0] for attribute, sizes in counts.items()}
    extra: Callable[[Any, Mapping[Key, Positions], dict[str, Any]], dict[str, Any]]
    extra = _convolution if isinstance(part, _ConvNd) else _normal
    return extra(part, kept, found)


def _epsilon(part: Any, shape: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """Returns ε of an RMSNorm that adds it to a mean over fewer numbers: as much to their sum as before.

    So without numbers that are 0 it gives what it gave, but for a factor √(numbers before / numbers now).
    """
    if not isinstance(part, nn.RMSNorm) or "normalized_shape" not in shape:
        return {}
    eps = part.eps
    if eps is None:
        eps = torch.finfo(torch.float32 if part.weight is None else part.weight.dtype).eps
    before, after = math.prod(part.normalized_shape), math.prod(shape["normalized_shape"])
    return {} if before == after else {"eps": eps * before / after}


def _normal(part: Any, kept: Mapping[Key, Positions], found: dict[str, Any]) -> dict[str, Any]:
    if isinstance(part, nn.GroupNorm) and kept:
        channels = kept["num_channels", 0]
        found["num_groups"] = len(_groups_left(channels, part.num_channels, part.num_groups))
    return found


def _convolution(part: Any, kept: Mapping[Key, Positions], found: dict[str, Any]) -> dict[str, Any]:
    """Adds ``groups`` and the channels of the other side, of which the weight shows those of one group only."""
    this, other = ("in_channels", "out_channels")[:: 1 if part.transposed else -1]
    inside = kept[_PER_GROUP, 0]
    groups = _groups_left(kept[this, 0], getattr(part, this), part.groups)
    if part.transposed and part.bias is not None:
        size = _size(part, (_PER_GROUP, 0))
        if kept[other, 0] != tuple(g * size + p for g in groups for p in inside):
            raise ShapeError(
                f"bias: keeps other positions of {other} than the rest of its layer; cut all leaves of a layer alike"
            )
    del found[_PER_GROUP]
    return {**found, other: len(inside) * len(groups), "groups": len(groups)}


def _groups_left(channels: Positions, size: int, groups: int) -> list[int]:
    """Returns which groups of channels are left; each of them has to be left with equally many."""
    each = size // groups
    left = [sum(g * each <= c < (g + 1) * each for c in channels) for g in range(groups)]
    if len({count for count in left if count}) > 1:
        raise ConfigError(
            f"{groups} groups of {each} channels would be left with {', '.join(map(str, left))}; "
            "remove whole groups, or equally many channels from each"
        )
    return [group for group, count in enumerate(left) if count]

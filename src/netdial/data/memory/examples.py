"""Examples in parts: one batch, or all of the data, as inputs, targets and perhaps weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.core.inputs import Packing, as_packed, is_several
from netdial.data.memory.arrays import as_tensor, check_finite, column_names
from netdial.data.memory.targets import Targets, as_targets

INPUTS = (
    "x", "input", "inputs", "image", "images", "img", "pixel_values", "input_ids", "features", "data",
)  # fmt: skip
TARGETS = ("y", "target", "targets", "label", "labels")
WEIGHTS = ("w", "weight", "weights", "sample_weight")
"""Names by which the parts of a mapping are known when nobody says which they are."""

MODEL_INPUTS = (
    "input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds", "decoder_input_ids", "pixel_mask",
    "decoder_attention_mask", "pixel_values", "input_values", "input_features", "bool_masked_pos", "visual_embeds",
)  # fmt: skip
"""Names of inputs of models of the transformers library, of which a mapping may have several."""

Names = tuple[str | tuple[str, ...], str, str | None]


class Examples(NamedTuple):
    """Inputs ``[B, ...]``, targets ``[B]`` or ``[B, T]``, weights ``[B]`` or None, and how inputs lie in it.

    That is for several inputs, or for one that has a name; else None.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None
    packing: Packing | None = None


def as_examples(
    parts: Any, where: str, *, targets: Targets | None = None, names: Names | None = None
) -> Examples:
    """Returns a pair ``(x, y)``, a triple ``(x, y, weight)`` or a mapping as checked examples.

    Args:
        parts: the arrays.
        where: whose they are, for messages.
        targets: what targets are, ``classes`` or ``numbers``; None leaves them as they are.
        names: keys of inputs, targets and weights in a mapping; by default the usual names.

    Raises:
        DataError: the parts are others, differ in length, or hold what cannot be used (see ``as_tensor``, ``as_targets``);
            a number is not finite; a weight is negative.
    """
    x, y, weight = _take(parts, where, names)
    for what, part in (("targets", y), ("weights", weight)):
        _refuse_other_order(x, part, where, what)
    found = as_tensor(y, f"{where}: targets", labels=True)
    inputs, packing = _inputs(x, where, len(found) if found.ndim else None)
    if inputs.ndim < 2 or found.ndim < 1:
        raise DataError(
            f"{where}: needs inputs [N, ...] and targets [N] or [N, T]; got inputs {list(inputs.shape)} and targets "
            f"{list(found.shape)}" + ("; give x[:, None]" if inputs.ndim == 1 else "")
        )
    if len(inputs) != len(found):
        raise DataError(
            f"{where}: inputs and targets differ in length: {len(inputs)} against {len(found)}; give one target per row"
        )
    check_finite(inputs, f"{where}: inputs", column_names(x))
    check_finite(found, f"{where}: targets", column_names(y))
    if targets is not None:
        found = as_targets(found, targets, f"{where}: targets")
    weights = None if weight is None else as_weights(weight, len(inputs), where)
    return Examples(inputs, found, weights, packing)


def _inputs(x: Any, where: str, count: int | None) -> tuple[Tensor, Packing | None]:
    """Returns inputs as one tensor, and how they lie in it if they are several or have names."""
    if not is_several(x, count):
        return as_tensor(x, f"{where}: inputs"), None
    named = x if isinstance(x, Mapping) else dict(enumerate(x))
    parts = []
    for name, part in named.items():
        mask = isinstance(part, Tensor) and part.dtype == torch.bool
        parts.append(part.detach() if mask else _part(part, f"{where}: input {name}"))
    return as_packed(parts, [n if isinstance(n, str) else "" for n in named], where)


def _part(part: Any, where: str) -> Tensor:
    if part is None:
        raise DataError(f"{where}: is None; leave out what the network is to have by default")
    return as_tensor(part, where)


def as_inputs(example: Any) -> Any:
    """Returns inputs to run a network on: tensors, as they are; arrays, frames and lists of numbers as tensors.

    Args:
        example: inputs ``[b, …]``; a tuple or a mapping of several; None if there are none.

    Raises:
        DataError: they are nothing that a network runs on.
    """
    if example is None or isinstance(example, Tensor):
        return example
    if not is_several(example):
        return as_tensor(example, "example")
    named = example if isinstance(example, Mapping) else dict(enumerate(example))
    parts = {
        name: part if isinstance(part, Tensor) else _part(part, f"example: input {name}")
        for name, part in named.items()
    }
    return parts if isinstance(example, Mapping) else tuple(parts.values())


def _refuse_other_order(x: Any, other: Any, where: str, what: str) -> None:
    """Refuses a frame and a series whose rows have the same labels in another order: rows are paired as they come."""
    if not all(hasattr(part, "to_numpy") and hasattr(part, "index") for part in (x, other)):
        return
    one, two = x.index, other.index
    if len(one) != len(two) or not (one.is_unique and two.is_unique) or one.equals(two):
        return
    if bool((two.get_indexer(one) >= 0).all()):
        raise DataError(
            f"{where}: inputs and {what} have the same index in another order, so their rows would not belong together; bring "
            f"the {what} into that order, y.loc[x.index], or give .to_numpy() of both to pair them as they stand"
        )


def as_weights(weight: Any, count: int, where: str) -> Tensor:
    """Returns the weights of ``count`` examples as floating point ``[N]``, checked to be finite and not negative."""
    found = as_tensor(weight, f"{where}: weights", labels=True)
    if not found.is_floating_point():
        raise DataError(
            f"{where}: the third part is {found.dtype}; taken for weights it has to be floating point (w.float())"
        )
    found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    if found.shape != (count,):
        raise DataError(
            f"{where}: weights of shape {list(found.shape)} for {count} examples; give one weight per example [N]"
        )
    check_finite(found, f"{where}: weights")
    if len(found) and float(found.min()) < 0:
        row = int(found.argmin())
        raise DataError(
            f"{where}: weight {float(found[row]):g} in row {row} (counted from 0) is negative; weights are 0 or more"
        )
    return found


def describe(value: Any) -> str:
    """Returns the type of a value, with its length and the types inside for a tuple or list."""
    if isinstance(value, tuple | list):
        inside = ", ".join(type(item).__name__ for item in value[:4])
        return f"{type(value).__name__}({inside}{', …' if len(value) > 4 else ''})"
    if isinstance(value, Tensor):
        return f"one tensor {list(value.shape)}"
    return type(value).__name__


def _take(parts: Any, where: str, names: Names | None) -> tuple[Any, Any, Any]:
    """Returns inputs, targets and weights, None if there are none."""
    if isinstance(parts, Mapping):
        return _by_name(parts, where, names)
    if names is not None:
        raise DataError(
            f"{where}: Named says {names[0]!r} and {names[1]!r}, but the data come as {describe(parts)} without names"
        )
    if (
        not isinstance(parts, Sequence)
        or isinstance(parts, str | bytes)
        or len(parts) not in (2, 3)
    ):
        raise DataError(f"{where}: got {describe(parts)}; expected (x, y) or (x, y, weight)")
    x, y = parts[0], parts[1]
    return x, y, parts[2] if len(parts) == 3 else None


def _by_name(parts: Mapping[Any, Any], where: str, names: Names | None) -> tuple[Any, Any, Any]:
    keys = [str(key) for key in parts]
    if names is None:
        names = _guess(keys, where)
    asked = [*([names[0]] if isinstance(names[0], str) else names[0]), *names[1:]]
    for name in asked:
        if name is not None and name not in parts:
            raise DataError(f"{where}: no part is called {name!r}; there are {', '.join(keys)}")
    x, y, weight = names
    inputs = {name: parts[name] for name in ((x,) if isinstance(x, str) else x)}
    return inputs, parts[y], None if weight is None else parts[weight]


def _guess(keys: Sequence[str], where: str) -> Names:
    """Returns which parts of a mapping are inputs, targets and weights if their names leave no doubt."""
    found = [[key for key in keys if key in known] for known in (INPUTS, TARGETS, WEIGHTS)]
    x, y, weight = found
    if len(x) == len(y) == 1 and len(weight) <= 1 and len(x) + len(y) + len(weight) == len(keys):
        return x[0], y[0], weight[0] if weight else None
    several = [key for key in keys if key not in (*y, *weight)]
    if len(y) == 1 and len(weight) <= 1 and set(several) <= set(MODEL_INPUTS):
        return tuple(several), y[0], weight[0] if weight else None
    raise DataError(
        f"{where}: the parts are called {', '.join(keys)}; say which to use: "
        f"nd.Named(data, inputs={x[0] if x else keys[0]!r}, targets={y[0] if y else keys[-1]!r})"
    )


def joined(batches: Sequence[Examples], where: str) -> Examples:
    """Returns batches as one.

    Raises:
        DataError: there are none, their shapes differ, or only some have weights.
    """
    if not batches:
        raise DataError(f"{where}: is empty; give at least one example")
    shapes = {tuple(batch.x.shape[1:]) for batch in batches}
    if len(shapes) > 1:
        some = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
        raise DataError(
            f"{where}: batches differ in the shape of their inputs ({some}); to be held in memory they need one shape"
        )
    weights = [batch.weight for batch in batches if batch.weight is not None]
    if 0 < len(weights) < len(batches):
        raise DataError(
            f"{where}: {len(weights)} of {len(batches)} batches have weights; give a weight with every example, or with none"
        )
    return Examples(
        torch.cat([batch.x for batch in batches]),
        torch.cat([batch.y for batch in batches]),
        torch.cat(weights) if weights else None,
        batches[0].packing,
    )

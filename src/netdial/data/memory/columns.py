"""Names of the columns of frames: two frames that a network meets one after the other have the same, in the same order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netdial.core.errors import DataError
from netdial.data.memory.containers import Data, Named
from netdial.data.memory.examples import INPUTS


def columns_of(data: Data) -> tuple[str, ...]:
    """Returns the names of the columns of inputs that are given as a frame; nothing for other data, or columns without names.

    >>> import torch
    >>> columns_of((torch.zeros(2, 3), torch.zeros(2, 1)))
    ()
    """
    names = getattr(_inputs(data), "columns", None)
    if names is None or callable(names) or not all(isinstance(name, str) for name in names):
        return ()
    return tuple(names)


def _inputs(data: Data) -> Any:
    """Returns the inputs of a pair, a triple or a mapping."""
    if isinstance(data, Named):
        held, name = data.data, data.inputs
        return held.get(name) if isinstance(held, Mapping) and isinstance(name, str) else None
    if isinstance(data, Mapping):
        return next((data[name] for name in INPUTS if name in data), None)
    return data[0] if isinstance(data, tuple | list) and len(data) in (2, 3) else None


def check_columns(trained: tuple[str, ...], data: Data | None, part: str) -> None:
    """Refuses a frame whose columns are others than those of the training part, or stand in another order.

    Args:
        trained: names of the columns of the training part; empty if it had none.
        data: what the network is to meet.
        part: what it is, for the message.

    Raises:
        DataError: columns would be taken for others.
    """
    given = columns_of(data)
    if not trained or not given or given == trained:
        return
    if sorted(given) == sorted(trained):
        raise DataError(
            f"{part}: the inputs have the columns of the training part in another order; give x[list(x_train.columns)]"
        )
    gone, new = [n for n in trained if n not in given], [n for n in given if n not in trained]
    told = [
        f"{what} {', '.join(map(repr, names[:5]))}"
        for what, names in (("without", gone), ("with", new))
        if names
    ]
    raise DataError(
        f"{part}: the inputs have other columns than the training part ({'; '.join(told)}); give the same ones, or .to_numpy() "
        "if they are the same under other names"
    )

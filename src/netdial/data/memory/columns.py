"""What is known of the inputs that a network was trained on: it is to meet the same columns, in the same order and scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import DataError, warn
from netdial.core.inputs.columns import InputColumns
from netdial.data.dataset import Dataset
from netdial.data.memory.arrays import as_tensor
from netdial.data.memory.containers import Data, Named
from netdial.data.memory.examples import INPUTS

_LOOKED_AT = 1000


def columns_of(data: Data) -> InputColumns:
    """Returns what the columns of inputs are called, where they are a frame's, and how they are scaled.

    >>> import torch
    >>> columns_of((torch.zeros(2, 3), torch.zeros(2, 1))).mean.tolist()
    [0.0, 0.0, 0.0]
    """
    if isinstance(data, Dataset):
        rows = torch.arange(0, len(data), max(1, len(data) // _LOOKED_AT), device=data.x.device)
        return InputColumns(
            (),
            *_scale(
                data.inputs(rows) if data.packing is None or not data.packing.is_several else None
            ),
        )
    given = _inputs(data)
    names = getattr(given, "columns", None)
    if names is None or callable(names) or not all(isinstance(name, str) for name in names):
        names = ()
    return InputColumns(tuple(names), *_scale(given))


def _scale(given: Any) -> tuple[Tensor | None, Tensor | None, int]:
    """Returns means, standard deviations and number of the rows that were looked at of an array; None for anything else."""
    try:
        x = as_tensor(given, "")
        x = x[:: max(1, len(x) // _LOOKED_AT)]
    except (DataError, TypeError):  # no array, or one that is refused elsewhere
        return None, None, 0
    if not x.is_floating_point() or x.ndim < 2 or not x.numel():
        return None, None, 0
    lines = x.double().cpu()
    lines = lines if x.ndim == 2 else lines.reshape(-1, 1)
    return lines.mean(0), lines.std(0, correction=0), len(x)


def _inputs(data: Data) -> Any:
    """Returns the inputs of a pair, a triple or a mapping."""
    if isinstance(data, Named):
        held, name = data.data, data.inputs
        return held.get(name) if isinstance(held, Mapping) and isinstance(name, str) else None
    if isinstance(data, Mapping):
        return next((data[name] for name in INPUTS if name in data), None)
    return data[0] if isinstance(data, tuple | list) and len(data) in (2, 3) else None


def check_columns(trained: InputColumns | None, data: Data | None, part: str) -> None:
    """Refuses a frame whose columns are others than those of the training part; warns of inputs that are scaled otherwise.

    Args:
        trained: the columns of the training part, where they are known.
        data: what the network is to meet.
        part: what it is, for the message.

    Raises:
        DataError: columns would be taken for others.
    """
    if trained is None or data is None:
        return
    found = columns_of(data)
    if unlike := trained.unlike(found):
        warn(
            f"{part}: {unlike}; give them as the training part has them (of a table that load_data read: its parts, or "
            "schema.encode of new rows)"
        )
    _check_names(trained.names, found.names, part)


def _check_names(trained: tuple[str, ...], given: tuple[str, ...], part: str) -> None:
    """Refuses names of columns that are others than those of the training part, or in another order; errors as above."""
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

"""Arrays of any library as tensors, and the checks that every array has to pass.

Shapes: N examples, T regression targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import DataError

_ROWS = 4096  # rows searched together for a number that is not finite: keeps memory modest


def as_tensor(value: Any, where: str, *, labels: bool = False) -> Tensor:
    """Returns an array, a frame, a list of numbers or a tensor as a dense tensor, cut off from any graph.

    Integers of all sizes become int64, but for uint8 inputs, which may be images; truth values become int64 as labels and
    floating point as inputs. Floating-point numbers keep their type. The memory is shared where it can be.

    Args:
        value: the array.
        where: what it is, for messages: ``"training part: inputs"``.
        labels: the array holds targets; whole numbers stay whole.

    Raises:
        DataError: it holds texts, dates, complex or masked numbers, is sparse or ragged, or is no array at all.
    """
    if hasattr(value, "to_numpy") and (hasattr(value, "columns") or hasattr(value, "dtype")):
        value = _of_frame(value, where, labels=labels)
    tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(_array(value, where))
    if tensor.is_meta:
        raise DataError(f"{where}: a tensor on the device meta, which holds no numbers")
    if tensor.layout != torch.strided:
        raise DataError(f"{where}: a sparse tensor; give a dense one (x.to_dense())")
    if tensor.is_complex():
        raise DataError(
            f"{where}: complex numbers ({tensor.dtype}); give real ones, for example torch.view_as_real(x).flatten(1)"
        )
    if tensor.dtype == torch.bool:
        return tensor.to(torch.int64 if labels else torch.get_default_dtype())
    keeps = tensor.is_floating_point() or (tensor.dtype == torch.uint8 and not labels)
    return tensor if keeps else tensor.to(torch.int64)


def check_finite(values: Tensor, where: str, names: Sequence[str] = ()) -> None:
    """Refuses NaN and infinity in ``values`` ``[N, ...]``; the message names the first row and column.

    Args:
        values: inputs or targets.
        where: what they are, for the message.
        names: names of the columns, if they have any.

    Raises:
        DataError: a number is not finite.
    """
    if not values.is_floating_point() or not values.numel():
        return
    if math.isfinite(
        float(values.sum())
    ):  # one pass without memory; a sum may overflow, so it only acquits
        return
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS]
        bad = ~torch.isfinite(rows)
        if bool(bad.any()):
            row, *place = bad.nonzero()[0].tolist()
            number = float(rows[(row, *place)])
            raise DataError(
                f"{where}: {number} in row {start + row}{_column(place, names)} (counted from 0); NaN and infinity cannot "
                "be used: remove the row, or replace the number"
            )


def _column(place: Sequence[int], names: Sequence[str]) -> str:
    if not place:
        return ""
    if len(place) > 1:
        return f", position {list(place)}"
    return f", column {place[0]}" + (f" ({names[place[0]]!r})" if names else "")


def column_names(value: Any) -> tuple[str, ...]:
    """Returns the names of a frame's columns; nothing for anything else."""
    columns = getattr(value, "columns", None)
    return () if columns is None or callable(columns) else tuple(str(name) for name in columns)


def _of_frame(frame: Any, where: str, *, labels: bool) -> np.ndarray[Any, Any]:
    """Returns a frame ``[N, F]`` or a series ``[N]`` of numbers as an array."""
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):  # names may occur twice
        columns = [frame.iloc[:, place] for place in range(len(frame.columns))]
    else:
        columns = [frame[name] for name in frame.columns] if hasattr(frame, "columns") else [frame]
    parts = [np.asarray(column.to_numpy()) for column in columns]
    parts = [_numbers(part) for part in parts]
    texts = [
        repr(str(getattr(column, "name", "")))
        for column, part in zip(columns, parts, strict=True)
        if part.dtype.kind not in "biuf"
    ]
    if texts:
        cure = _LABELS if labels else "encode them as numbers, or let nd.load_data read the table"
        which = f" in column {', '.join(texts[:8])}" if hasattr(frame, "columns") else ""
        raise DataError(f"{where}: no numbers{which}; {cure}")
    joined = np.stack(parts, axis=1) if hasattr(frame, "columns") else parts[0]
    return joined if labels else joined.astype(np.float64)


def _numbers(column: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns a column of objects as numbers if that is what it holds (pandas' own missing value becomes NaN)."""
    if column.dtype.kind != "O" or any(isinstance(item, str) for item in column):
        return column
    try:
        plain = [math.nan if type(item).__name__ == "NAType" else item for item in column]
        return np.asarray(plain, dtype=np.float64)
    except (TypeError, ValueError):
        return column


_LOOKED_AT = 1000
"""Objects of an array that are looked at to say what they are."""
_LABELS = "classes are whole numbers from 0: classes, y = numpy.unique(labels, return_inverse=True)"


def _array(value: Any, where: str) -> np.ndarray[Any, Any]:
    """Returns a value as an array of numbers that torch can take over."""
    if isinstance(value, dict) or (
        isinstance(value, tuple) and value and not isinstance(value[0], (int, float, np.number))
    ):
        if value and isinstance(next(iter(value)), str) and not isinstance(value, dict):
            raise DataError(f"{where}: texts where numbers are needed; {_LABELS}")
        raise DataError(
            f"{where}: a {type(value).__name__} of {len(value)} parts; networks of several inputs are not supported, "
            "give one array"
        )
    if hasattr(value, "toarray"):
        raise DataError(f"{where}: a sparse {type(value).__name__}; give x.toarray()")
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        value = [item.detach().cpu().numpy() for item in value]
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise DataError(
                f"{where}: a masked array in which {int(value.mask.sum())} numbers are masked; fill them in first"
            )
        value = value.data
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: {type(value).__name__} is no array of numbers ({error}); all rows need the same shape"
        ) from None
    if array.dtype.kind in "OUSMm" or array.dtype.names:
        what = {"U": "texts", "S": "texts", "M": "dates", "m": "times"}.get(
            array.dtype.kind, f"a {type(value).__name__} of objects"
        )
        targets = where.endswith("targets")
        cure = _LABELS if targets else "give numbers"
        if array.dtype.names:
            what = f"a structured array ({', '.join(array.dtype.names)})"
            cure = "give numpy.lib.recfunctions.structured_to_unstructured(x)"
        if array.dtype.kind == "O" and _are_numbers(array):
            cure = f"they are numbers: give array.astype({'int' if targets else 'numpy.float32'})"
        raise DataError(f"{where}: {what} where numbers are needed; {cure}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # long double, which torch lacks
        array = array.astype(np.float64)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        too_large = array.size and int(array.max()) > np.iinfo(np.int64).max
        array = array.astype(np.float64 if too_large else np.int64)
    if isinstance(value, list) and array.dtype == np.float64:
        array = array.astype(str(torch.get_default_dtype()).removeprefix("torch."))
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    plain = array.flags.writeable and all(step >= 0 for step in array.strides)
    return array if plain else array.copy()


def _are_numbers(array: np.ndarray[Any, Any]) -> bool:
    """Returns whether the first objects of an array are numbers."""
    some = array.reshape(-1)[:_LOOKED_AT]
    return len(some) > 0 and all(isinstance(one, int | float | np.number) for one in some)

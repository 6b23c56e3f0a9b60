"""Requests as people send them, checked before anything runs: JSON of bounded size, rows by column or as arrays of numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json
from torch import Tensor

from netdial.core.errors import DataError, ShapeError, some_of
from netdial.data.tables.columns.inputs import Input
from netdial.models.use import Pixels, Use
from netdial.serve.repeats import repeated_key

_LONGEST = 60
"""Characters of a value that a message shows."""

Cell = float | int | str | bool | None


class PredictRequest(BaseModel):
    """What a request for predictions asks.

    Attributes:
        rows: for a table one object for each row, column -> number, text, true, false or null (missing); else one nested list
            of numbers for each row.
        lam: complexity value of the member; the run's best on validation data if it is left out.
        level: probability of the intervals of a regression.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    rows: Annotated[list[Any], Field(min_length=1)]
    lam: Annotated[float | None, Field(gt=0)] = None
    level: Annotated[float, Field(gt=0, lt=1)] = 0.9


def asked(body: bytes, most_rows: int) -> PredictRequest:
    """Returns what a body asks.

    Raises:
        DataError: it is not JSON, has NaN or infinity, is nested too deeply, gives a key twice, or is no request; says what is
            expected.
        ShapeError: it has too many rows.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise DataError(_unreadable(body, str(error))) from None
    if not isinstance(value, dict):
        raise DataError(
            f'the body is a JSON {_kind(value)}; send an object such as {{"lam": 0.1, "rows": [...]}}'
        )
    if (name := repeated_key(body, value)) is not None:
        raise DataError(f"{_brief(name)} is given twice in one object of the body; give it once")
    rows = value.get("rows")
    if rows == []:
        raise DataError("rows: [] has no row; send at least one")
    if isinstance(rows, list) and len(rows) > most_rows:
        raise ShapeError(
            f"rows: {len(rows)} are too many for one request; send at most {most_rows}"
        )
    try:
        return PredictRequest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        given = (
            "" if first["type"] in ("missing", "extra_forbidden") else f"={_brief(first['input'])}"
        )
        raise DataError(
            f"{place}{given}: {first['msg'].lower()}; a request has rows, and may have lam and level"
        ) from None


def columns_of(rows: list[Any], inputs: Sequence[Input]) -> dict[str, list[Cell]]:
    """Returns the columns of a table from one object for each row; columns that no input needs are not looked at.

    Raises:
        DataError: a row is no object, lacks a column, or a cell is a list, an object, too large a number, or a truth value
            where training saw numbers other than 0 and 1.
    """
    columns = tuple(one.column for one in inputs)
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(
                f"rows[{index}] is a JSON {_kind(row)}; each row is an object with the columns {some_of(columns)}"
            )
        if absent := [name for name in columns if name not in row]:
            raise DataError(
                f"rows[{index}] has no column {absent[0]!r}; the model needs {some_of(columns)} (null is a missing value)"
            )
    found = {name: [row[name] for row in rows] for name in columns}
    for one in inputs:
        for index, cell in enumerate(found[one.column]):
            if said := _unfit(cell, one):
                raise DataError(f"rows[{index}], column {one.column!r}: {said}")
    return found


def _unfit(cell: Any, read: Input) -> str:
    """Returns why a cell cannot be what a column is read as; nothing if it may be."""
    if isinstance(cell, list | dict):
        return f"a cell is a number, text, true, false or null, not a JSON {_kind(cell)}"
    if isinstance(cell, bool) and read.kind == "number" and not read.is_binary:
        return f"{str(cell).lower()} is no number; give one, or null if the value is missing"
    if isinstance(cell, int | float) and abs(cell) > sys.float_info.max:
        return "the number is too large; give a finite one, or null if the value is missing"
    return ""


def inputs_of(
    rows: list[Any], use: Use, shape: tuple[int, ...] | None, dtype: torch.dtype
) -> Tensor | np.ndarray[Any, Any]:
    """Returns rows as a network takes them ``[B, ...]``, from nested lists of numbers; of images an array uint8 of 0 to 255.

    Raises:
        DataError: something is no number, or out of range.
        ShapeError: rows differ in shape, or are not of the shape of training.
    """
    if use.pixels is not None and (quickly := _bytes_of(rows)) is not None:
        return _images(quickly, use.pixels)
    try:
        array = np.asarray(rows)
    except ValueError:
        raise ShapeError(
            "rows differ in shape; give each the same nested lists of numbers"
        ) from None
    if array.dtype.kind not in "iufb" or array.dtype.kind == "b":
        raise DataError("rows: each is a nested list of numbers, without text, null or objects")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("rows: a number is too large; give finite numbers")
    if use.pixels is not None:
        return _images(array, use.pixels)
    if shape is not None and array.shape[1:] != shape:
        raise ShapeError(
            f"rows of shape {list(array.shape[1:])}; expected {list(shape)}, as in training"
        )
    if array.dtype.kind == "f" and not dtype.is_floating_point and (array != np.round(array)).any():
        raise DataError(
            "rows: a number has a fraction, and the network takes whole ones, as in training"
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        wide = np.float64 if dtype.is_floating_point else np.int64
        found = torch.from_numpy(array.astype(wide)).to(dtype if dtype.is_floating_point else None)
    if not bool(found.isfinite().all()):
        raise DataError(f"rows: a number is too large for {str(dtype)[6:]}; give smaller ones")
    return found


def _bytes_of(rows: list[Any]) -> np.ndarray[Any, Any] | None:
    """Returns rows of bytes as an array uint8; None if they are anything else, which the slower way then reads or refuses."""
    shape, level = [len(rows)], rows
    try:
        while isinstance(level[0], list):
            shape.append(len(level[0]))
            if len(set(map(len, level))) > 1:
                return None
            level = list(chain.from_iterable(level))
        if isinstance(level[0], bool):
            return None
        return np.frombuffer(bytearray(level), np.uint8).reshape(shape)
    except (TypeError, ValueError, IndexError):
        return None


def _pixels(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns numbers as uint8.

    Raises:
        DataError: they are not whole numbers from 0 to 255.
    """
    with np.errstate(invalid="ignore"):  # what no byte holds differs afterwards
        found = array.astype(np.uint8)
    if not (found == array).all():
        raise DataError("rows: pixels are whole numbers from 0 to 255")
    return found


def _images(array: np.ndarray[Any, Any], pixels: Pixels) -> np.ndarray[Any, Any]:
    """Returns images ``[B, C, H, W]``, given as such, flat, or without their only channel."""
    channels, height, width = pixels.image
    shapes = [(channels, height, width), (channels * height * width,)]
    shapes += [(height, width)] if channels == 1 else []
    if array.shape[1:] not in shapes:
        raise ShapeError(
            f"images of shape {list(array.shape[1:])}; expected {' or '.join(str(list(s)) for s in shapes)}, pixels 0 to 255"
        )
    found = array if array.dtype == np.uint8 else _pixels(array)
    return found.reshape(-1, channels, height, width)


def _unreadable(body: bytes, why: str) -> str:
    """Returns why a body cannot be read, in the words of Python's slower and more talkative parser."""
    try:
        json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except RecursionError:
        return "the body is nested too deeply; rows are one list of objects or of numbers"
    except UnicodeDecodeError:
        return "the body is not UTF-8; send JSON as UTF-8"
    except ValueError as error:
        why = str(error)
    if "recursion" in why:
        return "the body is nested too deeply; rows are one list of objects or of numbers"
    return f"the body is not JSON ({why}); send an object with rows and lam"


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not a number that JSON has; null is a missing value")


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _brief(value: object) -> str:
    text = (
        repr(value)
        if isinstance(value, int | float | str | bool | None)
        else f"a JSON {_kind(value)}"
    )
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

"""The text of a head written: names, recipe and plain values as JSON, in few bytes."""

from __future__ import annotations

import json
import zlib
from typing import Any

from netdial.compression.coding import decoder
from netdial.compression.coding.packing import whole
from netdial.core.errors import ConfigError
from netdial.core.storage.boundary import parse_json

_ROWS = 3
"""Objects of the same keys that a list must have to be written as columns."""


def packed_text(said: dict[str, Any]) -> tuple[int, bytes]:
    """Returns type of the head and how it begins: lengths and packed text.

    Lists of objects of the same keys stand as columns, so that what is alike is together.

    Raises:
        ConfigError: the values are not plain JSON, or too many.
    """
    try:
        plain = _dumped(said)
        parse_json(plain, "recipe and meta")
        kind, dictionary = decoder.OLD_HEAD, decoder.TEXT
        if not _has_lone_empty_key(said):
            plain, kind, dictionary = _dumped(_columns(said)), decoder.HEAD, decoder.WORDS
        if len(plain) > decoder.MAX_TEXT:
            raise ValueError(f"{len(plain)} bytes of text, at most {decoder.MAX_TEXT} fit")
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"recipe and meta: {error}; use finite numbers, text, booleans, None, lists and dicts with text keys"
        ) from None
    packing = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)
    text = packing.compress(plain) + packing.flush()
    return kind, whole(len(plain)) + whole(len(text)) + text


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _columns(value: Any) -> Any:
    """Returns plain values with lists of objects of the same keys as columns, ``{"": {key: list}}``."""
    if isinstance(value, dict):
        return {key: _columns(one) for key, one in value.items()}
    if not isinstance(value, list | tuple):
        return value
    rows = list(value)
    alike = len(rows) >= _ROWS and all(isinstance(row, dict) and row for row in rows)
    if alike and all(list(row) == list(rows[0]) for row in rows):
        return {"": {key: _columns([row[key] for row in rows]) for key in rows[0]}}
    return [_columns(one) for one in rows]


def _has_lone_empty_key(value: Any) -> bool:
    """Returns whether an object has the empty key alone, which stands for columns in a head of type 3."""
    if isinstance(value, dict):
        return list(value) == [""] or any(map(_has_lone_empty_key, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_lone_empty_key, value))

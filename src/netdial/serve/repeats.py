"""Keys that a body gives twice: parsers of JSON take the last and say nothing, so a part of what was asked would be lost."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

_APART = (b" :", b"\t:", b"\n:", b"\r:")
"""Colons that do not follow the quote which ends a key at once; such may stand in texts, too."""


def repeated_key(body: bytes, value: dict[str, Any]) -> str | None:
    """Returns a key that an object of a body gives more than once; None if there is none.

    Every key has a colon behind it. Where there are as many colons as keys that came out of the parser, which costs next to
    nothing to see, none was lost; only texts with colons behind quotes or spaces, or a key given twice, lead to a second look.

    Args:
        body: JSON.
        value: what was read from it.
    """
    keys = len(value)
    rows = value.get("rows")
    if isinstance(rows, list):
        keys += sum(len(row) for row in rows if type(row) is dict)
    if body.count(b":") == keys:
        return None
    if body.count(b'":') == keys and not any(apart in body for apart in _APART):
        return None
    found: list[str] = []

    def pairs(given: list[tuple[str, Any]]) -> None:
        names: set[str] = set()
        for name, _ in given:
            if name in names:
                found.append(name)
            names.add(name)

    with suppress(ValueError, RecursionError):  # what only this parser refuses was read already
        json.loads(body.decode(), object_pairs_hook=pairs)
    return found[-1] if found else None

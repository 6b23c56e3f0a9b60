"""Mutations of files, drawn from a seed: bytes, JSON values, headers of safetensors, folders in place of files."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netdial.core.storage.boundary import DIGEST, seal

DEEP = 100_000
"""Levels of lists that a mutation writes."""


def mutate(folder: Path, draw: random.Random, *, reseal: bool = False) -> str:
    """Changes one file of a folder and returns what was done.

    Args:
        folder: files to choose from.
        draw: source of all choices.
        reseal: edit JSON alone and give it the digests that belong to it, as one who wants to mislead would.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = draw.choice(files)
    content = path.read_bytes()
    if reseal or draw.random() < 0.45:
        changed = _edit(path, content, draw, reseal)
        if changed is not None:
            path.write_bytes(changed)
            return f"{path.name}: edited"
    if draw.random() < 0.04:
        path.unlink()
        path.mkdir()
        return f"{path.name}: a folder"
    if draw.random() < 0.04 and len(files) > 1:
        other = draw.choice([one for one in files if one != path])
        shutil.copyfile(other, path)
        return f"{path.name}: holds {other.name}"
    name, change = draw.choice(list(BYTES.items()))
    path.write_bytes(change(bytearray(content), draw))
    return f"{path.name}: {name}"


def _flip(content: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice([1, 1, 1, 4, 40])):
        if content:
            content[_place(content, draw)] ^= 1 << draw.randrange(8)
    return content


def _set(content: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice([1, 8, 100])):
        if content:
            content[_place(content, draw)] = draw.choice([0, 255, 127, 128, draw.randrange(256)])
    return content


def _place(content: bytearray, draw: random.Random) -> int:
    """Returns a position, near the beginning half of the time: headers are there."""
    return draw.randrange(len(content) if draw.random() < 0.5 else min(len(content), 200))


def _cut(content: bytearray, draw: random.Random) -> bytearray:
    return content[: draw.randrange(len(content) + 1)]


def _swap(content: bytearray, draw: random.Random) -> bytearray:
    size = draw.choice([1, 4, 16, 256])
    a, b = (draw.randrange(max(1, len(content) - size)) for _ in range(2))
    content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]
    return content


BYTES: dict[str, Callable[[bytearray, random.Random], bytearray]] = {
    "bits flipped": _flip,
    "bytes set": _set,
    "cut off": _cut,
    "chunks swapped": _swap,
    "more at the end": lambda content, draw: content + draw.randbytes(draw.choice([1, 8, 1000])),
    "a piece twice": lambda content, draw: content + content[draw.randrange(len(content) + 1) :],
    "emptied": lambda content, draw: bytearray(),
    "noise": lambda content, draw: bytearray(draw.randbytes(draw.choice([1, 100, len(content)]))),
}


def _edit(path: Path, content: bytes, draw: random.Random, reseal: bool) -> bytes | None:
    """Returns a file with a JSON value in it changed; None if it holds none."""
    try:
        if path.suffix == ".json":
            return _dumped(_changed(json.loads(content), draw, reseal), draw)
        if path.suffix == ".jsonl":
            lines = content.splitlines()
            place = draw.randrange(len(lines))
            lines[place] = _dumped(_changed(json.loads(lines[place]), draw, reseal), draw)
            return b"\n".join(lines) + b"\n"
        if len(content) > 9 and content[8:9] == b"{":
            return _header_changed(content, draw, reseal)
    except (ValueError, IndexError):
        return None
    return None


def _header_changed(content: bytes, draw: random.Random, reseal: bool) -> bytes:
    """Returns a safetensors file with its own header or netdial's inside it changed."""
    (size,) = struct.unpack("<Q", content[:8])
    outer = json.loads(content[8 : 8 + size])
    inner = outer.get("__metadata__", {}).get("netdial")
    if inner is not None and (reseal or draw.random() < 0.8):
        changed = _inner_changed(json.loads(inner), draw, reseal)
        outer["__metadata__"]["netdial"] = _dumped(changed, draw).decode()
        text = json.dumps(outer).encode()
    else:
        text = _dumped(_changed(outer, draw, False), draw)
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def _inner_changed(header: Any, draw: random.Random, reseal: bool) -> Any:
    """Returns netdial's header changed: anywhere in it, or in the JSON text of a recipe inside it."""
    for item in header["tree"].get("dict", ()):
        if item[0] == "recipe" and draw.random() < 0.8:
            text = _changed(json.loads(item[1]["value"]), draw, False)
            item[1]["value"] = _dumped(text, draw).decode()
            return _resealed(header) if reseal else header
    return _changed(header, draw, reseal)


def _changed(value: Any, draw: random.Random, reseal: bool) -> Any:
    """Returns a JSON value with one place in it changed."""
    places = list(_places(value, []))
    where = draw.choice(places)
    if not where:
        return _odd(value, draw)
    inner = value
    for key in where[:-1]:
        inner = inner[key]
    last = where[-1]
    kind = draw.randrange(6)
    if kind == 0:
        del inner[last]
    elif kind == 1 and isinstance(inner, dict):
        inner[draw.choice(["", "format", "extra", "λ"])] = inner[last]
    else:
        inner[last] = _odd(inner[last], draw)
    return _resealed(value) if reseal and isinstance(value, dict) else value


def _resealed(value: dict[str, Any]) -> Any:
    plain = {key: item for key, item in value.items() if key != DIGEST}
    try:
        return seal(plain) if DIGEST in value else plain
    except (ValueError, RecursionError):
        return value


def _places(value: Any, where: list[Any]) -> Any:
    yield where
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from _places(item, [*where, key])


def _odd(value: Any, draw: random.Random) -> Any:
    """Returns something else than a value, often of its own type."""
    if isinstance(value, int | float) and not isinstance(value, bool) and draw.random() < 0.5:
        return draw.choice([value + 1, -value, value * 1000 + 7, value / 3, 0, 2**31, 2**63, 2**64])
    if isinstance(value, str) and draw.random() < 0.4:
        return draw.choice(
            [value[::-1], value + "x", value[:1], "mlp:1000000000", "mlp:50000-50000-50000"]
        )
    return draw.choice(
        [
            *(
                None,
                True,
                -1,
                0,
                1.5,
                10**400,
                10**18,
                -(10**18),
                1e308,
                float("nan"),
                float("inf"),
            ),
            *("", "x" * 10_000, "\ud800", "../../x", [], {}, [[]], [None], {"a": []}),
            *([value], {"value": value}, [10**9, 10**9], "@deep"),
        ]
    )


def _dumped(value: Any, draw: random.Random) -> bytes:
    """Returns JSON; the mark ``@deep`` becomes lists in lists."""
    depth = draw.choice([150, 900, DEEP])
    return json.dumps(value).replace('"@deep"', "[" * depth + "]" * depth).encode()

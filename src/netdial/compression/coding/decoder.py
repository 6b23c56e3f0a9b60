"""The decoder of record of ``.ndz`` files, in Python and numpy alone; ``adaptive`` and ``static`` are its parts.

The format is described in docs/ndz.md. Nothing in a file is run, and every length is checked before memory is taken for it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np

from netdial.compression.coding import adaptive
from netdial.compression.coding.static import (
    KERNELS,
    Array,
    Bytes,
    Damaged,
    Newer,
    check,
    unhuffed,
    unranked,
    value_table,
)

MAGIC = b"\x89NDZ\r\n\x1a\n"
MAJOR, MINOR = 1, 0
END, OLD_HEAD, TENSOR, HEAD, TENSORS, ANCILLARY = 0, 1, 2, 3, 4, 128
NUMBERS = {1: "<f4", 2: "<f8", 3: "<f2", 4: "|i1", 5: "|u1", 6: "<i2", 7: "<i4", 8: "<i8", 9: "|b1"}
HEADS = (OLD_HEAD, HEAD)
CODEBOOK, GRID = 0, 10
RAW, ADAPTIVE, HUFFMAN, ANS = range(4)
MAX_TEXT, MAX_SPAN = 1 << 24, 255
TEXT = b'"recipe":{"kind":"net","net":{"spec":"mlp:300,100","input_shape":[784],"n_outputs":10}},"meta":{},"names":["0.weight","0.bias","2.weight","2.bias","4.weight","4.bias","conv1.weight","fc1.weight","running_mean","running_var","num_batches_tracked"]'  # fmt: skip  # noqa: E501
"""Where the text of a head of type 1 may point back to (the preset dictionary of its Deflate stream)."""
WORDS = b'"std":[],"missing":[false,false,true,true,false,false,false,"decimal":",","thousands":null},"options":{"sep":";","na":["?"],"drop":[]},"left_out":[{"column":"id","why":"constant"}],"kind":["category","number","date"],"values":["no","yes"],"columns":["target"]}"name":"regression","noise":[{"lam":1.0,"variance":[0.0],"tails":0.0,"reach":[[0.67],[1.28],[1.96]]}],"pixels":{"image":[3,32,32],"inputs":[1,28,28],"shift":[0.13],"scale":[3.2]}"conv1.weight","conv1.bias","conv2.weight","bn1.weight","running_mean","running_var","num_batches_tracked","lstm.weight_ih_l0","in_proj_weight","family":{"lo":0.01,"hi":100.0,"knots":7}"recipe":{"cut":{"about":{"net":{"spec":"lenet5","n_outputs":10,"input_shape":[1,28,28]}},"widths":{}}},"0.weight","0.bias","2.weight","2.bias"]{"recipe":{"net":{"spec":"mlp:100,50","input_shape":[784],"n_outputs":10}},"meta":{"run":"mnist","data":"digits","kind":"regression","lam":0.1,"use":{"task":{"name":"classification"},"classes":["0","1","2","3","4","5","6","7","8","9"],"table":{"inputs":{"":{"column":["alcohol","fill":[0.0,"mean":[0.0,"std":[1.0,"missing":[false,false,false,false,false,false,false,false,false]}},"target":{"kind":"classification","columns":["class"],"classes":["class_0","class_1"]}},"lam":0.01}},"names":["fc1.weight","fc1.bias","fc2.weight","fc2.bias","fc3.weight","fc3.bias"]}'  # fmt: skip  # noqa: E501
"""The same for a head of type 3."""


@dataclass
class Entry:
    """A tensor in the head: its name, kind of numbers, coder, shape, digest and lengths of its sections (tables, positions, symbols)."""  # noqa: E501

    name: str
    kind: int
    coder: int
    shape: tuple[int, ...]
    digest: bytes
    lengths: tuple[int, ...]


def chunks(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yields type, body and size of the chunks of a whole file, after checking that it is whole and unchanged."""
    check(data[:8] == MAGIC, "it does not begin as such a file does")
    file = Bytes(data)
    file.take(8)
    major, _minor = file.take(2)
    check(major == MAJOR, f"has version {major}, and this netdial reads version {MAJOR}", Newer)
    kind = -1
    while kind != END:
        start = file.place
        kind = file.take(1)[0]
        body = file.take(file.whole(len(data)))
        known = kind in (END, TENSOR, TENSORS, *HEADS) or kind & ANCILLARY
        check(known, f"has a part of type {kind} that this netdial does not know", Newer)
        own = sha256(data[:start]).digest()[:8] if kind == END else zlib.crc32(data[start : file.place]).to_bytes(4, "little")  # fmt: skip  # noqa: E501
        check(
            (body if kind == END else file.take(4)) == own,
            "it was changed after it was written (a checksum differs)",
        )
        yield kind, body, file.place - start
    check(file.place == len(data), f"{len(data) - file.place} bytes follow its end")


def head(kind: int, body: bytes) -> tuple[dict[str, Any], list[Entry]]:
    """Returns the text of a file and its tensors, from type and body of its first chunk."""
    check(kind in HEADS, "it does not begin with its head")
    file = Bytes(body)
    size = file.whole(MAX_TEXT)
    unpacking = zlib.decompressobj(-15, zdict=WORDS if kind == HEAD else TEXT)
    packed = file.take(file.whole(len(body)))
    try:
        text = unpacking.decompress(packed, size + 1)
    except zlib.error as error:
        raise Damaged(f"its text cannot be unpacked ({error})") from None
    check(
        len(text) == size and unpacking.eof and not unpacking.unused_data,
        "its text has another length",
    )
    try:
        found = json.loads(text, object_pairs_hook=_rows if kind == HEAD else None)
    except Damaged:
        raise
    except (ValueError, RecursionError):
        raise Damaged("its text is not JSON") from None
    names: Any = found.pop("names", None) if isinstance(found, dict) else None
    check(
        isinstance(names, list) and all(isinstance(name, str) for name in names),
        "it does not name its tensors",
    )
    check(len(set(names)) == len(names), "two tensors have one name")
    entries = []
    for name in names:
        kind = file.take(1)[0]
        shape = tuple(file.whole(1 << 48) for _ in range(file.whole(32)))
        digest = file.take(4)
        lengths = tuple(
            file.whole(1 << 48) for _ in range(3 if kind & 15 in (CODEBOOK, GRID) else 1)
        )
        entries.append(Entry(name, kind & 15, kind >> 4, shape, digest, lengths))
    check(file.place == len(body), "its head is longer than it says")
    return found, entries


def bodies(entries: list[Entry], parts: list[tuple[int, bytes]]) -> list[bytes]:
    """Returns the sections of each tensor, from type and body of the chunks between head and end."""
    found: list[bytes] = []
    sizes = [sum(entry.lengths) for entry in entries]
    for kind, body in parts:
        check(
            kind in (TENSOR, TENSORS) and len(found) < len(entries),
            "it has another number of tensors than it says",
        )
        place = 0
        while True:
            size = sizes[len(found)]
            found.append(body[place : place + size])
            place += size
            at = len(found)
            if kind == TENSOR or at == len(sizes) or place + sizes[at] > len(body):
                break
        check(place == len(body), f"tensor {entries[at - 1].name!r} has another length")
    check(len(found) == len(entries), "it has another number of tensors than it says")
    return found


def _rows(pairs: list[tuple[str, Any]]) -> Any:
    """Returns a JSON object; what stands in one as columns, under an empty name alone, as a list of objects."""
    if len(pairs) != 1 or pairs[0][0]:
        return dict(pairs)
    columns = pairs[0][1]
    check(
        isinstance(columns, dict)
        and columns
        and all(isinstance(c, list) for c in columns.values()),
        "its text has a table without columns",
    )
    check(len({len(c) for c in columns.values()}) == 1, "its text has columns of several lengths")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@np.errstate(all="ignore")  # what overflows is found and refused
def decoded(entry: Entry, body: bytes) -> tuple[Array, Array | None]:
    """Returns a tensor: its numbers and None, or of a codebook codes and values. The caller has bounded its size."""
    check(sum(entry.lengths) == len(body), "a tensor has another length than the head says")
    parts, place = [], 0
    for length in entry.lengths:
        parts.append(body[place : place + length])
        place += length
    size, values = prod(entry.shape), None
    if entry.kind == CODEBOOK:
        codes, values = _codebook(entry, size, *parts)
        found = codes.reshape(entry.shape)
    elif entry.kind == GRID:
        check(len(parts[0]) == 4 and not parts[1], "a grid has one step")
        step = np.frombuffer(parts[0], "<f4").astype(np.float64)
        plain = _exact(parts[2], entry.coder, size, 1).view(np.int8)
        grid = np.unique(plain)
        grid = np.concatenate([grid[grid == 0], grid[grid != 0]])
        to = np.zeros(256, np.int32)
        to[grid.astype(np.int64) + 128] = np.arange(grid.size)
        found, values = (
            to[plain.astype(np.int64) + 128].reshape(entry.shape),
            (grid * step).astype("<f4"),
        )
        rest = values[grid != 0]
        check((np.diff(rest) > 0).all() and (rest != 0).all(), "the values of a grid do not ascend")
    else:
        check(entry.kind in NUMBERS, f"numbers of type {entry.kind} are not known")
        form = np.dtype(NUMBERS[entry.kind])
        found = _exact(parts[0], entry.coder, size, form.itemsize).view(form).reshape(entry.shape)
    if values is not None:
        check(np.isfinite(values).all(), "a codebook holds NaN or infinity")
    elif found.dtype.kind == "f":
        check(not np.isnan(found).any(), "a tensor holds NaN")
    check(
        digest(found, values) == entry.digest,
        "a tensor was decoded to something else than was encoded",
    )
    return found, values


def digest(found: Array, values: Array | None) -> bytes:
    """Returns the digest of a decoded tensor: of its numbers, or of its codes (in 1 or 2 bytes each) and values."""
    if values is not None:
        found = found.astype("<u1" if values.size <= 256 else "<u2")
    seen = sha256(np.ascontiguousarray(found).data)
    if values is not None:
        seen.update(values.astype("<f4").data)
    return seen.digest()[:4]


def _exact(body: bytes, coder: int, size: int, width: int) -> Array:
    """Returns the bytes of numbers."""
    if coder == RAW:
        check(len(body) == size * width, "a tensor has another length than its shape")
        return np.frombuffer(body, np.uint8).copy()
    check(coder == ADAPTIVE, f"a coder {coder} of numbers is not known")
    return np.frombuffer(_modelled("numbers", body, bytearray(size * width), width), np.uint8)


def _modelled(model: str, body: bytes, into: Any, *rest: Any) -> Any:
    """Runs a model of ``adaptive`` on a stream, and returns what it filled in; the stream has to end with it."""
    if f"decode_{model}" in KERNELS:
        check(KERNELS[f"decode_{model}"](body, into, *rest) >= len(body), "a stream is too long")
        return into
    coder = adaptive.BitReader(body)
    getattr(adaptive, model)(
        coder, *([rest[0], into, *rest[1:]] if model == "symbols" else [into, *rest])
    )
    check(coder.ended(), "a stream is too long")
    return into


def _codebook(
    entry: Entry, size: int, tables: bytes, where: bytes, what: bytes
) -> tuple[Array, Array]:
    told = Bytes(tables)
    values, zero = value_table(told)
    k = values.size
    ones = told.whole(size) if zero and k else size if k else 0
    check(k or not size or zero, "a tensor has numbers and no values")
    rows = entry.shape[0] if entry.shape else 1
    cols = size // rows if rows else 0
    some, low = bool(zero and k), int((values < 0).sum())
    if entry.coder == ADAPTIVE:
        period = told.whole(max(cols - 1, 0))
        check(period == 0 or period > 2, "a period is shorter than 3")
        mask = bytearray(b"\1" * size) if k and not zero else bytearray(size)
        if some:
            mask = _modelled("positions", where, mask, rows, cols, period, ones)
        at = np.flatnonzero(np.frombuffer(mask, np.bool_))
        codes = [0] * size if "decode_symbols" not in KERNELS else np.zeros(size, np.int32)
        if k > 1:
            codes = _modelled("symbols", what, codes, bytes(mask), rows, cols, period, k, low)
        symbols = np.asarray(codes, np.int32)[at]
    else:
        check(entry.coder in (HUFFMAN, ANS), f"a coder {entry.coder} of codebooks is not known")
        unpack = unhuffed if entry.coder == HUFFMAN else unranked
        at = np.arange(ones)
        if some:
            span, items = told.whole(MAX_SPAN), told.whole(2 * size)
            gaps = unpack(told, where, span + 1, items)
            at = np.cumsum(gaps + (gaps != span), dtype=np.int64)[gaps != span] - 1
            check(not at.size or at[-1] < size, "a tensor has more positions than numbers")
        symbols = (
            unpack(told, what, k, ones).astype(np.int32) if k > 1 else np.zeros(ones, np.int32)
        )
    check(told.place == len(tables), "the tables of a tensor are longer than they say")
    check((some or not where) and (k > 1 or not what), "a stream is there that is not needed")
    check(at.size == ones, "a tensor has another number of values than it says")
    found = np.zeros(size, np.int32)
    found[at] = symbols + zero
    return found, np.concatenate([np.zeros(zero, "<f4"), values]) if zero else values

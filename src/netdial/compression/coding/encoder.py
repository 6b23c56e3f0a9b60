"""From tensors to the sections of an ``.ndz`` file: the counterpart of ``decoder``, with the choices that a writer makes.

What the writer chooses (period, span of gaps, form of the table of values, number of states) stands in the file, so readers
do not depend on how it was chosen.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from netdial.compression.codebook import Codebook
from netdial.compression.coding import adaptive, native
from netdial.compression.coding.decoder import (
    ADAPTIVE,
    ANS,
    CODEBOOK,
    GRID,
    HUFFMAN,
    NUMBERS,
    RAW,
    digest,
)
from netdial.compression.coding.packing import gaps_of, huffed, pack_values, ranked, step_of, whole
from netdial.compression.coding.static import MAX_VALUES, Array
from netdial.core.errors import ConfigError

PROFILES = {"max": ADAPTIVE, "fast": ANS, "huffman": HUFFMAN}
_MODELLED = 1 << 20
"""Most bytes of exact numbers that the adaptive model is tried on."""


class Packed(NamedTuple):
    """A tensor in its bytes: kind of numbers, coder, digest of what it decodes to, sections (tables, positions, symbols)."""

    kind: int
    coder: int
    digest: bytes
    sections: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes of all sections."""
        return sum(map(len, self.sections))


class BitWriter:
    """Writes the bits of an arithmetic code that ``adaptive.BitReader`` reads."""

    def __init__(self) -> None:
        self._low, self._range, self._out = 0, 0xFFFFFFFF, bytearray()

    def code(self, p: int, bit: int) -> int:
        """Adds a bit of probability ``p`` of being 1."""
        bound = (self._range >> 16) * p
        if bit:
            self._range = bound
        else:
            self._low, self._range = self._low + bound, self._range - bound
        self._carry(self._low)
        self._low &= 0xFFFFFFFF
        while self._range < 1 << 24:
            self._out.append(self._low >> 24)
            self._low, self._range = self._low << 8 & 0xFFFFFFFF, self._range << 8
        return bit

    def finish(self) -> bytes:
        """Returns the shortest bytes that stand for the bits."""
        last = self._low + self._range - 1
        for bits in (24, 16, 8, 0):
            found = last >> bits << bits
            if found >= self._low:
                self._carry(found)
                self._out += (found & 0xFFFFFFFF).to_bytes(4, "big")[: 4 - bits // 8]
                break
        return bytes(self._out).rstrip(b"\0")

    def _carry(self, found: int) -> None:
        at = len(self._out) - 1
        if found >> 32:
            while self._out[at] == 255:
                self._out[at] = 0
                at -= 1
            self._out[at] += 1


def encoded(tensor: Codebook | Array, profile: str) -> Packed:
    """Returns a tensor in its bytes."""
    native.ready()
    if not isinstance(tensor, Codebook):
        return _exact(tensor, profile)
    book = tensor.canonical()
    zero = int(book.values.size > 0 and book.values[0] == 0)
    values = book.values[zero:]
    if values.size > MAX_VALUES:
        raise ConfigError(
            f"a codebook of {values.size} values, at most {MAX_VALUES} are coded; give the tensor as an array"
        )
    flat = book.codes.reshape(-1)
    places = np.flatnonzero(flat != 0) if zero else np.arange(flat.size)
    symbols = flat[places] - zero
    table = pack_values(values, zero) + (whole(places.size) if zero and values.size else b"")
    coder = PROFILES[profile]
    pack = _adaptive if coder == ADAPTIVE else _static
    sections = pack(book.codes.shape, places, symbols, values, zero, coder)
    found = Packed(
        CODEBOOK, coder, digest(book.codes, book.values), (table + sections[0], *sections[1:])
    )
    other = _grid(book) if coder == ADAPTIVE else None
    return other if other is not None and other.size < found.size else found


def _exact(tensor: Array, profile: str) -> Packed:
    kind = {form: kind for kind, form in NUMBERS.items()}[tensor.dtype.newbyteorder("<").str]
    plain = np.ascontiguousarray(tensor, NUMBERS[kind])
    data = np.frombuffer(plain.tobytes(), np.uint8)
    coder, body = RAW, data.tobytes()
    if profile == "max" and 0 < data.size <= _MODELLED:
        found = _modelled("numbers", data, plain.itemsize)
        coder, body = (ADAPTIVE, found) if len(found) < len(body) else (coder, body)
    return Packed(kind, coder, digest(plain, None), (body,))


def _grid(book: Codebook) -> Packed | None:
    """Returns a codebook as multiples -128 … 127 of one step, in a byte each; None if it is not on such a grid."""
    found = step_of(book.values)
    if found is None:
        return None
    step, places = found
    data = places.astype(np.int8)[book.codes.reshape(-1)].view(np.uint8)
    body = _modelled("numbers", data, 1)
    coder, body = (ADAPTIVE, body) if len(body) < data.size else (RAW, data.tobytes())
    return Packed(GRID, coder, digest(book.codes, book.values), (step.tobytes(), b"", body))


def _modelled(model: str, *given: Array | int) -> bytes:
    """Returns the stream of a model of ``adaptive``."""
    if model in native.ENCODERS:
        return native.ENCODERS[model](*given)
    coder = BitWriter()
    plain: list[Any] = [
        part
        if isinstance(part, int)
        else part.tolist()
        if part.dtype == np.int32
        else part.tobytes()
        for part in given
    ]
    if model == "symbols":
        adaptive.symbols(coder, *plain)
    else:
        getattr(adaptive, model)(coder, bytearray(plain[0]), *plain[1:])
    return coder.finish()


def _adaptive(
    shape: tuple[int, ...], places: Array, symbols: Array, values: Array, zero: int, coder: int
) -> tuple[bytes, bytes, bytes]:
    size = prod(shape)
    rows = shape[0] if shape else 1
    cols = size // rows if rows else 0
    there, codes = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    there[places], codes[places] = 1, symbols
    best: tuple[bytes, bytes, bytes] | None = None
    for period in _periods(shape, there, rows, cols):
        where = what = b""
        if zero and values.size:
            where = _modelled("positions", there, rows, cols, period, places.size)
        if values.size > 1:
            low = int((values < 0).sum())
            what = _modelled("symbols", there, codes, rows, cols, period, values.size, low)
        found = whole(period), where, what
        if best is None or sum(map(len, found)) < sum(map(len, best)):
            best = found
    assert best is not None
    return best


def _periods(shape: tuple[int, ...], mask: Array, rows: int, cols: int) -> list[int]:
    """Returns after how many columns a row may repeat itself: by the shape of kernels and images, and by correlation."""
    tried = [0]
    if len(shape) > 2:
        tried += [int(np.prod(shape[2:])), shape[-1]]
    else:
        tried += [round((cols / channels) ** 0.5) for channels in (1, 3)]
        tried = [p for p in tried if p == 0 or cols % p == 0]
    if cols >= 16 and mask.any() and not mask.all():
        part = mask.reshape(rows, cols)[: max(1, (1 << 20) // cols)].astype(np.float64)
        spectrum = np.fft.rfft(part - part.mean(), 2 * cols, axis=1)
        seen = np.fft.irfft((np.abs(spectrum) ** 2).sum(0))[: cols // 2]
        tried.append(3 + int(np.argmax(seen[3:])))
    return list(dict.fromkeys(p for p in tried if p == 0 or 2 < p < cols))


def _static(
    shape: tuple[int, ...], places: Array, symbols: Array, values: Array, zero: int, coder: int
) -> tuple[bytes, bytes, bytes]:
    pack = huffed if coder == HUFFMAN else ranked
    tables = where = what = b""
    if zero and values.size:
        span, gaps = gaps_of(places)
        table, where = pack(gaps, span + 1)
        tables = whole(span) + whole(gaps.size) + table
    if values.size > 1:
        table, what = pack(symbols, values.size)
        tables += table
    return tables, where, what

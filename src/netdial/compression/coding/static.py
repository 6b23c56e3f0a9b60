"""Static codes of ``.ndz`` files and their tables: exponential Golomb, canonical Huffman, asymmetric numeral systems.

A part of the decoder of record; see ``decoder`` and docs/ndz.md. ``KERNELS`` are faster functions of the same outcome, if any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

MAX_VALUES, MAX_BITS = 1 << 14, 24
"""Most values of a codebook, and bits of a word of a Huffman code."""

Array = np.ndarray[Any, Any]
KERNELS: dict[str, Callable[..., Any]] = {}


class Damaged(ValueError):
    """A file is not what its format says."""


class Newer(Damaged):
    """A file has something that a later version of the format may have, unless it is damaged."""


def check(holds: object, said: str, error: type[Damaged] = Damaged) -> None:
    """Raises ``Damaged``, or a kind of it, unless something holds."""
    if not holds:
        raise error(said)


class Bytes:
    """Bytes that are read from front to back, never past their end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, size: int) -> bytes:
        """Returns the next bytes."""
        check(size <= len(self.data) - self.place, "it ends too early")
        self.place += size
        return self.data[self.place - size : self.place]

    def whole(self, most: int = 1 << 62) -> int:
        """Returns a whole number, seven bits to a byte, the lowest first."""
        found = shift = 0
        while True:
            byte = self.take(1)[0]
            found, shift = found | (byte & 127) << shift, shift + 7
            check(
                found <= most and shift <= 70,
                f"it ends too early, or a size in it is wrong (above {most})",
            )
            if byte < 128:
                return found


def value_table(told: Bytes) -> tuple[Array, int]:
    """Returns the ascending values other than 0 of a codebook, and whether 0 is one more."""
    flags, k = told.take(1)[0], told.whole(MAX_VALUES)
    zero, form = flags & 1, flags >> 1
    check(form < 3, f"a table of values has the unknown form {form}")
    if not k:
        return np.zeros(0, "<f4"), zero
    step = np.frombuffer(told.take(4), "<f4").astype(np.float64) if form == 2 else None
    width = 16 if form == 1 else 32
    first = int.from_bytes(told.take(width // 8), "little")
    places = np.cumsum([first, *(gap + 1 for gap in golomb(told, k - 1))])
    check(places[-1] < 1 << width, "a table of values runs past its end")
    half = 1 << (width - 1)
    if step is not None:
        values = ((places - half) * step).astype("<f4")
    else:  # in the order of their values: negative numbers from the largest size down, then the others
        plain = np.where(places < half, (1 << width) - 1 - places, places - half).astype(
            f"<u{width // 8}"
        )
        values = plain.view("<f2" if form == 1 else "<f4").astype("<f4")
    check(
        np.isfinite(values).all() and (values != 0).all(),
        "a table of values holds 0, NaN or infinity",
    )
    check((np.diff(values) > 0).all(), "the values of a table do not ascend")
    return values, zero


def golomb(told: Bytes, count: int) -> list[int]:
    """Returns whole numbers in an exponential Golomb code, whose order stands in front."""
    if not count:
        return []
    order = told.take(1)[0]
    check(order <= 32 and count <= 8 * len(told.data), "a table is longer than it can be")
    place, found = 8 * told.place, []
    whole = int.from_bytes(told.data, "big")
    end = 8 * len(told.data)
    bits = f"{whole:0{end}b}"
    for _ in range(count):
        one = bits.find("1", place)
        check(one >= 0 and one - place <= 40, "a table ends too early")
        stop = 2 * one - place + 1 + order
        check(stop <= end, "a table ends too early")
        found.append(int(bits[one:stop], 2) - (1 << order))
        place = stop
    told.place = -(-place // 8)
    return found


def unhuffed(told: Bytes, stream: bytes, alphabet: int, count: int) -> Array:
    """Returns symbols in a canonical Huffman code, whose lengths of words are the table."""
    lengths = golomb(told, alphabet)
    check(max(lengths) <= MAX_BITS, "a word of a Huffman code is too long")
    words, word, before = {}, 0, 0
    for length, symbol in sorted(
        (length, symbol) for symbol, length in enumerate(lengths) if length
    ):
        word, before = word << (length - before), length
        check(word < 1 << length, "a Huffman code has too many words")
        words[length, word] = symbol
        word += 1
    bits = iter(np.unpackbits(np.frombuffer(stream, np.uint8)).tolist())
    found = np.zeros(min(count, 8 * len(stream)), np.uint16)
    check(found.size == count, "a stream ends too early")
    for i in range(count):
        word = length = 0
        while (length, word) not in words:
            bit = next(bits, None)
            check(bit is not None and length < MAX_BITS, "a stream ends too early")
            word, length = word << 1 | int(bit or 0), length + 1
        found[i] = words[length, word]
    check(sum(1 for _ in bits) < 8, "a stream is too long")
    return found


def unranked(told: Bytes, stream: bytes, alphabet: int, count: int) -> Array:
    """Returns symbols in an asymmetric numeral system of many states in turn, whose frequencies are the table."""
    bits = told.take(1)[0]
    check(8 <= bits <= 16, "frequencies have too few or too many bits")
    freq = np.array(golomb(told, alphabet), np.int64)
    check(int(freq.sum()) == 1 << bits, "frequencies do not add up")
    if count == 0:
        check(not stream, "a stream is too long")
        return np.zeros(0, np.uint16)
    lanes: int = 1 << min(stream[0] if stream else 0, 16)
    check(
        len(stream) >= 1 + 4 * lanes and len(stream) % 2 and lanes <= count,
        "a stream ends too early",
    )
    x = np.frombuffer(stream, "<u4", lanes, 1).astype(np.int64)
    words = np.frombuffer(stream, "<u2", offset=1 + 4 * lanes)
    start, symbol = np.cumsum(freq) - freq, np.repeat(np.arange(alphabet, dtype=np.uint16), freq)
    check((x >= 65536).all(), "a state is too small")
    if "decode_ans" in KERNELS:
        found, x, place = KERNELS["decode_ans"](words, x, bits, symbol, freq, start, count)
    else:
        found, place = np.empty(count, np.uint16), 0
        low = (1 << bits) - 1
        gain, offset = freq[symbol], np.arange(1 << bits) - start[symbol]
        for i in range(0, count, lanes):
            if count - i < lanes:
                rest, x = x[count - i :], x[: count - i]
            at = x & low
            found[i : i + lanes] = symbol[at]
            x = gain[at] * (x >> bits) + offset[at]
            short = np.flatnonzero(x < 65536)
            check(place + short.size <= words.size, "a stream ends too early")
            x[short] = x[short] << 16 | words[place : place + short.size]
            place += short.size
        x = np.concatenate([x, rest]) if count % lanes else x
    check(place == words.size and (x == 65536).all(), "a stream does not end where it should")
    symbols: Array = found
    return symbols

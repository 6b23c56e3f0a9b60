"""Static codes and tables written: the counterpart of ``static``."""

from __future__ import annotations

import heapq
from itertools import count

import numpy as np

from netdial.compression.coding.native import ENCODERS
from netdial.compression.coding.static import MAX_BITS, Array

SPANS = (7, 15, 31, 63, 127, 255)
"""Gaps that are tried as the longest."""


def whole(number: int) -> bytes:
    """Returns a whole number in bytes of seven bits, the lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def step_of(values: Array) -> tuple[Array, Array] | None:
    """Returns the step and the multiples of it that values are exactly, within -128 … 127; None if there is none."""
    sizes = np.abs(values[values != 0]).astype(np.float64)
    for part in range(1, 17) if sizes.size else ():
        step = np.asarray(sizes.min() / part, "<f4")
        if step > 0 and sizes.max() / step < 128.5:
            places = np.rint(values / float(step))
            exact = (places * float(step)).astype(np.float32)
            if (exact == values).all() and places.min() >= -128 and places.max() <= 127:
                return step, places
    return None


def gaps_of(places: Array) -> tuple[int, Array]:
    """Returns the best span S and positions as gaps: 0 … S-1 zeros before the next value, or S for a leap over S zeros."""
    gaps = np.diff(places, prepend=-1) - 1
    sizes = np.bincount(gaps)
    lengths = np.flatnonzero(sizes)
    best, span = float("inf"), SPANS[0]
    for tried in SPANS:
        counts = np.bincount(lengths % tried, sizes[lengths], tried + 1)
        counts[tried] = (lengths // tried * sizes[lengths]).sum()
        kept = counts[counts > 0]
        cost = float((kept * np.log2(kept.sum() / kept)).sum()) + 4 * tried
        if cost < best:
            best, span = cost, tried
    ends = np.arange(1, gaps.size + 1) + np.cumsum(gaps // span)
    found = np.full(int(ends[-1]) if ends.size else 0, span, np.uint16)
    found[ends - 1] = gaps % span
    return span, found


def _golomb(numbers: Array) -> bytes:
    """Returns whole numbers in an exponential Golomb code of the order that is shortest."""
    if not numbers.size:
        return b""
    plain = numbers.astype(np.int64)
    sizes = [
        int((2 * np.log2((plain >> order) + 1).astype(np.int64) + 1 + order).sum())
        for order in range(33)
    ]
    order = int(np.argmin(sizes))
    bits = "".join(
        "0" * ((n + (1 << order)).bit_length() - 1 - order) + f"{n + (1 << order):b}"
        for n in plain.tolist()
    )
    bits += "0" * (-len(bits) % 8)
    return bytes([order]) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def pack_values(values: Array, zero: int) -> bytes:
    """Returns the shortest table of ascending values other than 0: exact as float32, as float16, or as multiples of a step."""
    tables = []
    with np.errstate(over="ignore"):
        half = values.astype("<f2")
    forms = [(0, values.astype("<f4").view("<u4"), 32)]
    if (half.astype(np.float32) == values).all():
        forms.append((1, half.view("<u2"), 16))
    for form, plain, width in forms:
        plain = plain.astype(np.int64)
        middle = 1 << (width - 1)
        tables.append(
            (form, np.where(plain >= middle, 2 * middle - 1 - plain, plain + middle), width, b"")
        )
    if (found := step_of(values)) is not None:
        tables.append((2, found[1].astype(np.int64) + (1 << 31), 32, found[0].tobytes()))
    if not values.size:
        return bytes([zero]) + whole(0)
    packed = [
        bytes([zero | form << 1])
        + whole(values.size)
        + step
        + int(places[0]).to_bytes(width // 8, "little")
        + _golomb(np.diff(places) - 1)
        for form, places, width, step in tables
    ]
    return min(packed, key=len)


def huffed(symbols: Array, alphabet: int) -> tuple[bytes, bytes]:
    """Returns the lengths of a canonical Huffman code and symbols in it."""
    counts = np.bincount(symbols, minlength=alphabet)
    lengths = _word_lengths(counts.tolist())
    words, word, before = np.zeros(alphabet, np.int64), 0, 0
    for length, symbol in sorted(
        (length, symbol) for symbol, length in enumerate(lengths) if length
    ):
        word, before = word << (length - before), length
        words[symbol] = word
        word += 1
    sizes = np.array(lengths)[symbols]
    offset = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    bits = np.repeat(words[symbols], sizes) >> (np.repeat(sizes, sizes) - 1 - offset) & 1
    return _golomb(np.array(lengths)), np.packbits(bits.astype(np.uint8)).tobytes()


def _word_lengths(counts: list[int]) -> list[int]:
    """Returns the lengths of the words of a Huffman code, none longer than ``MAX_BITS``."""
    order = count()
    heap = [(n, next(order), [symbol]) for symbol, n in enumerate(counts) if n]
    lengths = [0] * len(counts)
    if len(heap) == 1:
        lengths[heap[0][2][0]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, _, left), (b, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in left + right:
            lengths[symbol] += 1
        heapq.heappush(heap, (a + b, next(order), left + right))
    return lengths if max(lengths) <= MAX_BITS else _word_lengths([(n + 1) // 2 for n in counts])


def ranked(symbols: Array, alphabet: int) -> tuple[bytes, bytes]:
    """Returns frequencies and symbols in an asymmetric numeral system of many states that take turns."""
    bits = min(16, max(12, alphabet.bit_length() + 2))
    freq = _frequencies(np.bincount(symbols, minlength=alphabet), bits)
    table = bytes([bits]) + _golomb(freq)
    if not symbols.size:
        return table, b""
    power = max(0, min(10, (symbols.size // 512).bit_length() - 1))
    lanes = 1 << power
    start = np.cumsum(freq) - freq
    if "ans" in ENCODERS:
        return table, bytes([power]) + ENCODERS["ans"](symbols, freq, start, lanes, bits)
    x = np.full(lanes, 65536, np.int64)
    words: list[Array] = []
    f, s = freq[symbols], start[symbols]
    limit = f << (32 - bits)
    for i in range((symbols.size - 1) // lanes * lanes, -1, -lanes):
        here = slice(i, min(i + lanes, symbols.size))
        turn = x[: here.stop - i]
        out = np.flatnonzero(turn >= limit[here])
        words.append((turn[out] & 65535).astype("<u2"))
        turn[out] >>= 16
        quotient, rest = np.divmod(turn, f[here])
        turn[:] = (quotient << bits) + rest + s[here]
    return table, bytes([power]) + x.astype("<u4").tobytes() + b"".join(
        w.tobytes() for w in reversed(words)
    )


def _frequencies(counts: Array, bits: int) -> Array:
    """Returns frequencies that add up to a power of two; whatever occurs has at least 1."""
    all_ = 1 << bits
    total = max(int(counts.sum()), 1)
    freq = np.where(counts > 0, np.maximum(1, counts * all_ // total), 0)
    if not counts.any():
        freq[0] = all_
    for at in np.argsort(-freq, kind="stable"):
        short = all_ - int(freq.sum())
        freq[at] = max(1, freq[at] + short) if freq[at] else 0
        if int(freq.sum()) == all_:
            break
    return freq

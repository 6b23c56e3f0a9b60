"""The adaptive binary models of profile ``max``, in whole numbers alone: the law that ``kernel.cpp`` repeats for speed.

A model visits the numbers of a tensor in order and asks a coder for one bit after another, each with its probability. The same
function encodes, decodes and counts: the coder decides. Probabilities of a bit being 1 have 16 bits; logits are whole 256ths
of a nat. Described in docs/ndz.md. Shapes: R rows (the first dimension), C columns (all the others).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

END = 2880
"""Largest logit."""

# fmt: off
_ANCHORS = (
    1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342, 439, 562, 720, 922, 1179,
    1506, 1921, 2446, 3108, 3938, 4971, 6249, 7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693, 32768,
)
# fmt: on
"""The logistic function at -2880, -2816, … 0, times 65,536; the other half mirrors it."""


def _tables() -> tuple[list[int], list[int], list[int]]:
    ends = [*_ANCHORS, *(65536 - low for low in reversed(_ANCHORS[:-1]))]
    squash = []
    for place in range(2 * END + 1):
        i, r = divmod(place, 64)
        squash.append((ends[i] * (64 - r) + ends[min(i + 1, len(ends) - 1)] * r + 32) >> 6)
    stretch, at = [], 0
    for p in range(8, 65536, 16):
        while squash[at] < p:
            at += 1
        stretch.append(at - END)
    return squash, stretch, [131072 // (2 * n + 3) for n in range(256)]


SQUASH, STRETCH, RATE = _tables()
"""Logit + 2880 -> probability; probability / 16 -> logit; visits -> rate of learning, in 65,536ths."""

_HALF, _UNITY, _MOST = 32768 << 6, 12451, 1 << 20

Slot = list[int]
"""A probability that learns: 22 bits, and how often it was visited (at most 255)."""


class Coder(Protocol):
    """What a model talks to."""

    def code(self, p: int, bit: int) -> int:
        """Encodes ``bit``, or decodes and returns it; ``p`` is the probability of 1."""


class BitReader:
    """Reads the bits of an arithmetic code; zeros follow its bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place, self._range = data, 4, 0xFFFFFFFF
        self._value = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def code(self, p: int, bit: int = 0) -> int:
        """Returns the next bit."""
        bound = (self._range >> 16) * p
        bit = int(self._value < bound)
        if bit:
            self._range = bound
        else:
            self._value -= bound
            self._range -= bound
        while self._range < 1 << 24:
            more = self._data[self._place] if self._place < len(self._data) else 0
            self._value, self._range = self._value << 8 | more, self._range << 8
            self._place += 1
        return bit

    def ended(self) -> bool:
        """Returns whether no byte is left."""
        return self._place >= len(self._data)


class Slots(dict[int, Slot]):
    """Slots by context; those not visited before start where ``start`` says."""

    def __init__(self, start: Callable[[int], int], visits: int = 0) -> None:
        super().__init__()
        self._start, self._visits = start, visits

    def __missing__(self, key: int) -> Slot:
        self[key] = [self._start(key), self._visits]
        return self[key]


class Mixer:
    """Weighs opinions on a bit, in the domain of logits, and learns from it what each is worth."""

    def __init__(self, inputs: int, sets: int, rate: int) -> None:
        self._weights = [[_UNITY] * inputs for _ in range(sets)]
        self._rate = rate

    def code(
        self, coder: Coder, which: int, slots: Iterable[Slot], direct: Iterable[int], bit: int
    ) -> int:
        """Returns the next bit; ``direct`` are opinions of 16 bits, and a constant is the last input."""
        slots = list(slots)
        into = [*(STRETCH[s[0] >> 10] for s in slots), *(STRETCH[p >> 4] for p in direct), 256]
        weights = self._weights[which]
        logit = sum(w * x for w, x in zip(weights, into, strict=True)) >> 16
        p = SQUASH[min(max(logit, -END), END) + END]
        bit = coder.code(p, bit)
        error = ((bit << 16) - p) * self._rate
        for i, x in enumerate(into):
            weights[i] = min(max(weights[i] + ((x * error + (1 << 19)) >> 20), -_MOST), _MOST)
        for slot in slots:
            slot[0] += (((bit << 22) - slot[0]) * RATE[slot[1]]) >> 16
            slot[1] = min(slot[1] + 1, 255)
        return bit


def shrunk(ones: int, of: int, prior: int, strength: int) -> int:
    """Returns a share with 16 bits, drawn to ``prior`` as by ``strength`` further cases."""
    return min(max(((ones << 16) + prior * strength) // (of + strength), 16), 65519)


def level(p: int) -> int:
    """Returns the logit of a probability in steps of half a nat, 0 to 23."""
    return min(max((STRETCH[p >> 4] + 2048) // 128, 0), 23)


def _around(logit: int) -> int:
    return SQUASH[min(max(logit, -2600), 2600) + END] << 6


def positions(coder: Coder, mask: bytearray, rows: int, cols: int, period: int, ones: int) -> None:
    """Codes which numbers are not 0 ``[R C]``; ``period`` is how far back a row repeats itself (0, or 3 and more)."""
    p0 = shrunk(ones, rows * cols, 0, 0) if rows * cols else 32768
    middle = STRETCH[p0 >> 4]
    near, wide = Slots(lambda key: p0 << 6, 2), Slots(lambda key: p0 << 6, 2)
    column = Slots(lambda key: _around((key // 24 - 16) * 128 + 64), 2)
    both = Slots(lambda key: _around((key // 24 + key % 24 - 32) * 128 + 128 - middle), 2)
    mixer, pad = Mixer(7, 9, 12), period + 1
    down = [0] * (cols + 2 * pad)
    for i in range(rows):
        across = recent = 0
        when, row = min(i.bit_length(), 8), i * cols
        for j in range(cols):
            at, c = row + j, pad + j
            around, of = down[c - 1] + down[c + 1], 2 * i
            back = far = 0
            if period:
                around, of = around + down[c - period] + down[c + period], 4 * i
                past = mask[max(at - period - 2, row) : max(at - period + 3, row)]
                far = sum(past)
                back = sum(mask[at - k] << b for b, k in enumerate((period, period - 1, period + 1)) if j >= k)  # fmt: skip
            smooth = shrunk(around, of, p0, 8)
            own, line = shrunk(down[c], i, smooth, 6), shrunk(across, j, p0, 8)
            up = (mask[at - cols] if i else 0) | (mask[at - 2 * cols] if i > 1 else 0) << 1
            few = min((recent & 255).bit_count(), 5)
            slots = (
                near[recent & 3 | back << 2 | up << 5],
                column[level(own) * 24 + when],
                both[level(own) * 24 + level(line)],
                wide[few * 128 + min(far, 5) * 16 + level(smooth) // 2],
            )
            bit = mixer.code(coder, when, slots, (own, line), mask[at])
            mask[at] = bit
            recent = recent << 1 | bit
            across += bit
            down[c] += bit


def symbols(
    coder: Coder, mask: bytes, codes: list[int], rows: int, cols: int, period: int, k: int, low: int
) -> None:
    """Codes the values where the mask is 1: places 0 … k-1 in the ascending list of values, ``low`` of which are negative."""
    most = max(low, k - low)
    bits = (most - 1).bit_length()
    signs, ranks = [0] * (rows * cols), [0] * (rows * cols)
    plus, count, height = [0] * cols, [0] * cols, [0] * cols
    of_sign, by_sign = Slots(lambda key: _HALF), Slots(lambda key: _HALF, 2)
    tables = [Slots(lambda key: _HALF) for _ in range(5)]
    mix_sign, mix_rank = Mixer(5, 1, 16), Mixer(6, 1 << bits, 20)
    for i in range(rows):
        row_plus = row_count = row_height = 0
        for j in range(cols):
            at = i * cols + j
            if not mask[at]:
                continue
            left, up, past = int(j > 0), int(i > 0), int(0 < period <= j)
            over = int(period > 0 and j + 1 >= period)
            code, positive = codes[at], int(low == 0)
            if 0 < low < k:
                key = (signs[at - 1] * left + 1) * 81 + (signs[at - 2] * (j > 1) + 1) * 27
                key += (signs[at - period] * past + 1) * 9
                key += (signs[at - period + 1] + 1 if over else 1) * 3
                key += signs[at - cols] * up + 1
                of_col, of_row = (
                    shrunk(plus[j], count[j], 32768, 4),
                    shrunk(row_plus, row_count, 32768, 4),
                )
                slots = (of_sign[key], by_sign[level(of_col) * 24 + level(of_row)])
                positive = mix_sign.code(coder, 0, slots, (of_col, of_row), int(code >= low))
            side = k - low if positive else low
            want = code - low if positive else low - 1 - code
            before, above = ranks[at - 1] * left, ranks[at - period] * past
            busy = (before > 0) + (above > 0) + (ranks[at - cols] * up > 0)
            busy += (j + 1 < cols and mask[at + 1]) + (j > 1 and mask[at - 2])
            busy += (j + 2 < cols and mask[at + 2]) + (0 < period < cols - j and mask[at + period])
            contexts = (
                (1, 0),
                (64, min(before, 7) * 8 + min(above, 7)),
                (16, min((height[j] * 2 + 12) // (count[j] + 2), 15)),
                (16, min((row_height * 2 + 12) // (row_count + 2), 15)),
                (16, busy),
            )
            node, value = 1, 0
            for b in reversed(range(bits)):
                bit = 0
                if value + (1 << b) < side:
                    here = positive << bits | node
                    seen = [t[here * n + c] for t, (n, c) in zip(tables, contexts, strict=True)]
                    bit = mix_rank.code(coder, node, seen, (), want >> b & 1)
                value, node = value | bit << b, node << 1 | bit
            codes[at] = low + value if positive else low - 1 - value
            signs[at] = 1 if positive else -1
            ranks[at] = 1 + 14 * value // most
            plus[j], row_plus = plus[j] + positive, row_plus + positive
            count[j], row_count = count[j] + 1, row_count + 1
            height[j], row_height = height[j] + ranks[at], row_height + ranks[at]


def numbers(coder: Coder, data: bytearray, width: int) -> None:
    """Codes numbers of ``width`` bytes each, the last byte of a number first."""
    alone, across, along = (Slots(lambda key: _HALF) for _ in range(3))
    mixer = Mixer(4, width, 10)
    for start in range(0, len(data), width):
        for plane in reversed(range(width)):
            at, node = start + plane, 1
            before = data[at - width] if start else 0
            above = data[at + 1] if plane + 1 < width else 0
            for b in reversed(range(8)):
                key = plane << 8 | node
                slots = (alone[key], across[key << 8 | before], along[key << 8 | above])
                node = node << 1 | mixer.code(coder, plane, slots, (), data[at] >> b & 1)
            data[at] = node & 255

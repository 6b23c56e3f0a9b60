"""Bitmaps: a tensor with many zeros held as the numbers that are not zero and one bit for every place.

With n numbers of s bytes each, k of them not zero, that is ``k s + ⌈n/8⌉`` bytes against ``n s``: smaller as soon as more
than one number in 8 s is zero. Restoring is exact; only the sign of a zero, which no sum or product of weights shows, is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

ENTRY_BYTES = 128
"""What one more tensor adds to the header of a file, at most: its name, type, shape and place."""


def pack(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the numbers that are not zero ``[k]`` in reading order, and the bitmap uint8 ``[⌈n/8⌉]`` of their places.

    >>> values, bitmap = pack(torch.tensor([[0.0, 2.0], [0.0, 3.0]]))
    >>> values.tolist(), bitmap.tolist()
    ([2.0, 3.0], [80])
    """
    flat = tensor.detach().cpu().reshape(-1)
    there = flat != 0
    return flat[there], torch.from_numpy(np.packbits(there.numpy()))


def unpack(values: Tensor, bitmap: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns the tensor of the given shape that ``pack`` was given.

    Raises:
        ValueError: the bitmap is not of that size, or does not have as many places as there are values.
    """
    size = math.prod(shape)
    if bitmap.dtype != torch.uint8 or bitmap.numel() != math.ceil(size / 8):
        raise ValueError(f"a bitmap of {bitmap.numel()} bytes for {size} numbers")
    there = torch.from_numpy(np.unpackbits(bitmap.numpy(), count=size).astype(bool))
    if int(there.sum()) != values.numel():
        raise ValueError(f"{values.numel()} values for {int(there.sum())} places")
    flat = values.new_zeros(size)
    flat[there] = values
    return flat.reshape(tuple(shape))


def stored_bytes(size: int, kept: int, itemsize: int) -> int:
    """Returns the bytes of n numbers, k of them not zero, in the smaller of the two forms.

    The bitmap counts as smaller if it saves more than a further entry in a file's header takes.

    >>> stored_bytes(1000, 100, 4), stored_bytes(1000, 1000, 4)
    (525, 4000)
    """
    packed, plain = kept * itemsize + math.ceil(size / 8), size * itemsize
    return packed if packed + ENTRY_BYTES < plain else plain

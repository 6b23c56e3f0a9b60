"""Tensors that a file keeps exactly, in the number types that the format has, and back.

Other types are told in one that holds the same numbers: ``bfloat16`` and floats of 8 bits as ``float32``, whole numbers without
a sign as longer ones with it, complex numbers as pairs of their parts, one dimension more at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import ConfigError, NonFiniteError

Array = np.ndarray[Any, Any]

_HELD = {
    torch.float32, torch.float64, torch.float16, torch.bool,
    torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64,
}  # fmt: skip
_LONGER = {torch.uint16: torch.int32, torch.uint32: torch.int64}


def array_of(tensor: Tensor) -> Array:
    """Returns a copy of a tensor as an array of a type that files have, with the same numbers.

    >>> array_of(torch.tensor([1 + 2j])).tolist()
    [[1.0, 2.0]]
    """
    plain = tensor.detach().cpu()
    if plain.is_complex():
        plain = torch.view_as_real(plain.resolve_conj())
    if plain.dtype not in _HELD:
        plain = plain.to(_LONGER.get(plain.dtype, torch.float32))
    found: Array = plain.numpy().copy()
    return found


def as_held(arrays: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors of a file as a network holds them: pairs are complex numbers where it has such."""
    return {
        name: torch.view_as_complex(one)
        if name in held and held[name].is_complex() and one.ndim and one.shape[-1] == 2
        else one
        for name, one in arrays.items()
    }


def check_kept(name: str, tensor: Tensor) -> None:
    """Refuses what no file can keep; infinity is kept, such as that of a mask.

    Raises:
        ConfigError: a number type without one in the format that holds the same numbers, or a tensor that is not dense
            or has no values.
        NonFiniteError: it holds NaN.
    """
    kind = tensor.dtype
    if tensor.is_meta:
        raise ConfigError(f"{name}: has no values (device meta); load the network's weights first")
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise ConfigError(
            f"{name}: is a tensor of the layout {tensor.layout}, type {kind}; make it dense (to_dense, dequantize)"
        )
    floats = tensor.is_floating_point() or tensor.is_complex()
    if kind not in _HELD and kind not in _LONGER and not floats:
        raise ConfigError(f"{name}: holds {kind}, which no file has; make it int64")
    wide = tensor.float() if tensor.is_floating_point() and kind not in _HELD else tensor
    if bad := int(wide.isnan().sum()) if floats else 0:
        raise NonFiniteError(
            f"{name}: {bad} of {tensor.numel()} numbers are NaN; such a network cannot be compressed, train it again"
        )

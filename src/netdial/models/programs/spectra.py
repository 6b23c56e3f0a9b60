"""Functions of complex tensors by their real and imaginary parts, as ONNX has no complex numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


def _einsum(equation: str, *parts: Any) -> Any:
    """Returns sums of products of two complex tensors by their real and imaginary parts."""
    if len(parts) != 2 or not all(isinstance(part, Tensor) and part.is_complex() for part in parts):
        return NotImplemented
    (a, c), (b, d) = map(_real, parts), map(_imaginary, parts)

    def product(x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum(equation, x, y)

    return torch.complex(product(a, c) - product(b, d), product(a, d) + product(b, c))


def _zeros(*size: Any, dtype: torch.dtype | None = None, **named: Any) -> Any:
    if dtype is None or not dtype.is_complex:
        return NotImplemented
    size = tuple(size[0]) if isinstance(size[0], (tuple, list)) else size
    return torch.view_as_complex(torch.zeros(*size, 2, dtype=dtype.to_real(), **named))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    if not x.is_complex():
        return NotImplemented
    found: Tensor = _einsum("...i,oi->...o", x, weight)
    return found if bias is None else _by_parts(torch.add)(found, bias)


def _by_parts(func: Callable[..., Tensor]) -> Callable[..., Any]:
    """Returns a function that moves numbers about, of complex ones by their real and imaginary parts."""

    def both(*args: Any, **kwargs: Any) -> Any:
        given = tree_leaves((args, kwargs))
        if not any(isinstance(part, Tensor) and part.is_complex() for part in given):
            return NotImplemented
        real, imaginary = (
            func(*tree_map(part, args), **tree_map(part, kwargs)) for part in (_real, _imaginary)
        )
        return torch.complex(real, imaginary)

    return both


def _real(part: Any) -> Any:
    if isinstance(part, Tensor):
        return torch.view_as_real(part)[..., 0] if part.is_complex() else part
    return part.real if isinstance(part, complex) else part


def _imaginary(part: Any) -> Any:
    if isinstance(part, Tensor) and part.is_complex():
        return torch.view_as_real(part)[..., 1]
    if isinstance(part, Tensor) and part.is_floating_point():
        return torch.zeros_like(part)
    return part.imag if isinstance(part, (float, complex)) else part


def _scaled(x: Any, y: Any) -> Any:
    """Returns a tensor times a number, of which one is complex."""
    if not isinstance(x, Tensor):
        x, y = y, x
    if not isinstance(y, (int, float, complex)) or not (x.is_complex() or isinstance(y, complex)):
        return NotImplemented
    if not x.is_complex():
        return torch.complex(x * float(y.real), x * float(y.imag))
    a, b, c, d = _real(x), _imaginary(x), y.real, y.imag
    return torch.complex(a * c - b * d, a * d + b * c)


def _exp(x: Tensor) -> Any:
    if not x.is_complex():
        return NotImplemented
    size, angle = _real(x).exp(), _imaginary(x)
    return torch.complex(size * angle.cos(), size * angle.sin())


def _setitem(x: Tensor, at: Any, value: Any) -> Any:
    """Writes a part of a complex tensor by its real and imaginary parts."""
    if not x.is_complex() or not (isinstance(value, Tensor) or value == 0):
        return NotImplemented
    index = at if isinstance(at, tuple) else (at,)
    if any(part is Ellipsis for part in index):
        index = (*index, slice(None))
    torch.view_as_real(x)[index] = (
        torch.view_as_real(value.to(x.dtype)) if isinstance(value, Tensor) else 0
    )
    return None


OF_COMPLEX: dict[Any, Callable[..., Any]] = {
    **{
        name: _by_parts(getattr(Tensor, name))
        for name in (
            "__getitem__",
            "gather",
            "index_select",
            "masked_fill",
            "scatter",
            "select",
            "unsqueeze",
        )
    },
    "where": _by_parts(torch.where),
    "zeros_like": _by_parts(torch.zeros_like),
    "pad": _by_parts(F.pad),
    "zeros": _zeros,
    "__setitem__": _setitem,
    "einsum": _einsum,
    "linear": _linear,
    "exp": _exp,
    **dict.fromkeys(("mul", "__mul__", "__rmul__"), _scaled),
}
"""Name of a function -> the same of complex tensors; it returns NotImplemented for others."""

"""Functions that go by the order of numbers, in others that give the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netdial.models.programs.grouped import Ways


def _cummax(x: Tensor, dim: int) -> Any:
    if not isinstance(x.shape[dim], int):
        return NotImplemented
    values = _running_maximum(x, dim)
    sizes = [-1 if at == dim % x.dim() else 1 for at in range(x.dim())]
    places = torch.arange(x.shape[dim]).reshape(sizes)
    found = values, _running_maximum(torch.where(x == values, places, 0), dim)
    return torch.return_types.cummax(found)


def _running_maximum(x: Tensor, dim: int) -> Tensor:
    n, step = x.shape[dim], 1
    while step < n:
        later = torch.maximum(x.narrow(dim, step, n - step), x.narrow(dim, 0, n - step))
        x, step = torch.cat([x.narrow(dim, 0, step), later], dim), 2 * step
    return x


def _kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    return torch.return_types.kthvalue(_in_order(x, k - 1, dim, keepdim))


def _median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        flat = x.flatten()
        return _in_order(flat, (flat.shape[0] - 1) // 2, 0, False)[0]
    middle = (x.shape[dim] - 1) // 2
    return torch.return_types.median(_in_order(x, middle, dim, keepdim))


def _in_order(x: Tensor, at: int, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """Returns the value at a place of the sorted ones, and where it stood."""
    values, places = x.sort(dim)
    found = values.narrow(dim, at, 1), places.narrow(dim, at, 1)
    return found if keepdim else (found[0].squeeze(dim), found[1].squeeze(dim))


def _searchsorted(
    sequence: Tensor, values: Any, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Any:  # fmt: skip
    if sorter is not None or not isinstance(values, Tensor):
        return NotImplemented
    values = values.unsqueeze(-1)
    among = sequence if sequence.dim() == 1 else sequence.unsqueeze(-2)
    below = among <= values if right or side == "right" else among < values
    return below.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def _adaptive_max_pool(dims: int) -> Callable[..., Any]:
    """Returns adaptive pooling over the last dimensions as the largest numbers of slices."""

    def pooled(x: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * dims
        if return_indices:
            return NotImplemented
        for dim, bins in zip(range(-dims, 0), sizes, strict=True):
            n = x.shape[dim]
            if bins is None or bins == n:
                continue
            ends = [(at * n // bins, -((at + 1) * n // -bins)) for at in range(bins)]
            x = torch.cat([x.narrow(dim, a, b - a).amax(dim, keepdim=True) for a, b in ends], dim)
        return x

    return pooled


def _with_places(dims: int) -> Callable[..., Any]:
    """Returns the same, and where the largest numbers stand, by torch."""
    pool: Callable[..., Any] = getattr(F, f"adaptive_max_pool{dims}d_with_indices")

    def pooled(x: Tensor, output_size: Any, *others: Any, **named: Any) -> Any:
        return _adaptive_max_pool(dims)(x, output_size), pool(x, output_size)[1]

    return pooled


BY_ORDER: Ways = {
    "cummax": _cummax,
    "kthvalue": _kthvalue,
    "median": _median,
    "searchsorted": _searchsorted,
    **{f"adaptive_max_pool{dims}d": _adaptive_max_pool(dims) for dims in (1, 2, 3)},
    **{f"adaptive_max_pool{dims}d_with_indices": _with_places(dims) for dims in (1, 2, 3)},
}
"""What the converter to ONNX has no way for, or a wrong one."""

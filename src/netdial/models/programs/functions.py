"""Functions of torch that converters have no way for, or a wrong one, in others that give the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from netdial.models.programs.grouped import IN_GROUPS, IN_PARTS, Ways
from netdial.models.programs.ordered import BY_ORDER
from netdial.models.programs.recurrent import RECURRENT, RECURRENT_IN_ONNX


def _view(x: Tensor, *size: Any, **named: Any) -> Any:
    """Returns a view, or a copy where attention by hand lies otherwise in memory than that of a fused kernel."""
    return NotImplemented if named or isinstance(size[0], torch.dtype) else x.reshape(*size)


def _view_as(x: Tensor, other: Tensor) -> Tensor:
    return x.reshape(other.shape)


def _batch_norm(
    x: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Returns ``F.batch_norm`` by the statistics of the batch, which the converter takes for those that are kept."""
    if not training:
        return NotImplemented
    rest = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    var, mean = torch.var_mean(x, rest, correction=0, keepdim=True)
    found = (x - mean) * (var + eps).rsqrt()
    found = found if weight is None else found * weight.reshape(shape)
    return found if bias is None else found + bias.reshape(shape)


def _batch_norm_of_torch(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, var: Tensor | None, training: bool,
    momentum: float, eps: float, *others: Any,
) -> Any:  # fmt: skip
    """Returns the same as ``torch.batch_norm``, whose arguments stand in another order."""
    return _batch_norm(x, mean, var, weight, bias, training, momentum, eps)


def _embedding_bag(
    places: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Any:  # fmt: skip
    """Returns what bags of equal size give; the converter leaves weights out, and has means of none."""
    if places.dim() != 2 or padding_idx is not None or max_norm:
        return NotImplemented
    rows = F.embedding(places, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    return rows.sum(1) if mode == "sum" else rows.mean(1) if mode == "mean" else rows.amax(1)


def _attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *others: Any, **named: Any
) -> Any:
    """Returns attention that is 0 where a mask leaves nothing to attend to; the converter gives a mean of all there."""
    if attn_mask is None:
        return NotImplemented
    left = attn_mask if attn_mask.dtype == torch.bool else attn_mask > float("-inf")
    found = F.scaled_dot_product_attention(q, k, v, attn_mask, *others, **named)
    return torch.where(left.any(-1, keepdim=True), found, 0)


def _erfinv(x: Tensor) -> Tensor:
    """Returns the inverse of the error function: a rough one (Winitzki, 2008), and steps of Newton's method."""
    part, rest = 2 / (math.pi * 0.147), torch.log1p(-x * x)
    half = part + rest / 2
    y = x.sign() * ((half * half - rest / 0.147).sqrt() - half).sqrt()
    for _ in range(3):
        y = y - (torch.erf(y) - x) * torch.exp(y * y) * (math.sqrt(math.pi) / 2)
    return y


def _hypot(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt()


def _cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    if not isinstance(x.shape[dim], int):
        return NotImplemented
    parts = list((x if dtype is None else x.to(dtype)).unbind(dim))
    for at in range(1, len(parts)):
        parts[at] = parts[at - 1] * parts[at]
    return torch.stack(parts, dim)


def _clamp(x: Tensor, min: Any = None, max: Any = None) -> Any:
    """Returns numbers within bounds of one kind; the converter makes tensors of those that are not."""
    ends = [end for end in (min, max) if end is not None]
    if not x.is_floating_point() or not any(type(end) is int for end in ends):
        return NotImplemented
    return x.clamp(*(float(end) if type(end) is int else end for end in (min, max)))


def _squeeze(x: Tensor, *dim: Any, **named: Any) -> Any:
    """Returns a tensor without dimensions of 1 that are known to be so, where the converter asks for them in a batch."""
    if named or len(dim) > 1 or (dim and not isinstance(dim[0], int)):
        return NotImplemented
    dims = range(x.dim()) if not dim else [dim[0] % max(x.dim(), 1)]
    ones = [at for at in dims if isinstance(x.shape[at], int) and x.shape[at] == 1]
    sizes = [size for at, size in enumerate(x.shape) if at not in ones]
    return x.reshape(sizes) if ones else x


def _slogdet(x: Tensor) -> Any:
    found = torch.linalg.det(x)
    return torch.return_types.linalg_slogdet((found.sign(), found.abs().log()))  # type: ignore[attr-defined]


def _inverse(x: Tensor) -> Tensor:
    """Returns the inverse of matrices, an operation of ONNX Runtime: ONNX has none."""
    operation: Callable[..., Tensor] = torch.onnx.ops.symbolic
    return operation("com.microsoft::Inverse", [x], dtype=x.dtype, shape=x.shape, version=1)


def _solve(a: Tensor, b: Tensor, *, left: bool = True) -> Any:
    vector = b.dim() == 1 or b.dim() == a.dim() - 1
    if not left:
        return NotImplemented
    found = _inverse(a) @ (b.unsqueeze(-1) if vector else b)
    return found.squeeze(-1) if vector else found


def _grouped_mm(x: Tensor, weight: Tensor, offs: Tensor, **others: Any) -> Any:
    """Returns rows times the matrix of the group that they stand in: each group's product, of its rows alone."""
    if others or x.dim() != 2 or weight.dim() != 3:
        return NotImplemented
    row = torch.arange(x.shape[0], device=x.device)
    group = (row[:, None] >= offs).sum(-1, keepdim=True)
    parts = [torch.where(group == at, x, 0) @ each for at, each in enumerate(weight.unbind())]
    return torch.stack(parts).sum(0)


def _istft(
    x: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Tensor | None = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
    return_complex: bool = False,
) -> Any:  # fmt: skip
    """Returns the signals of spectrograms ``[b, n, t]``: their windows added up, over the sum of the windows' squares."""
    if return_complex or onesided is False or not center or x.dim() != 3:
        return NotImplemented
    hop, size, frames = hop_length or n_fft // 4, win_length or n_fft, x.shape[-1]
    weights = torch.ones(size, device=x.device) if window is None else window
    left = (n_fft - size) // 2
    weights = F.pad(weights, (left, n_fft - size - left))
    parts = torch.fft.irfft(x.transpose(1, 2), n=n_fft, norm="ortho" if normalized else "backward")
    total = n_fft + hop * (frames - 1)

    def added(each: Tensor) -> Tensor:
        return F.fold(each.transpose(1, 2), (1, total), (1, n_fft), stride=(1, hop)).flatten(1)

    squares = weights.square().expand(1, frames, -1)
    end = total - n_fft // 2 if length is None else n_fft // 2 + length
    found = (added(parts * weights) / added(squares).clamp(min=1e-11))[:, n_fft // 2 : end]
    return F.pad(found, (0, max(0, end - total))) if length is not None else found


def _cdist(x: Tensor, y: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """Returns distances by differences; torch chooses between these and products by the number of rows."""
    return torch.cdist(x, y, p, "donot_use_mm_for_euclid_dist")


def _take_along_dim(x: Tensor, indices: Tensor, dim: int | None = None) -> Any:
    if dim is None:
        return NotImplemented
    sizes = [-1 if at == dim % x.dim() else size for at, size in enumerate(x.shape)]
    return x.gather(dim, indices.expand(sizes))


def _scatter_reduce(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Any:
    """Returns means of what comes to a place, of which the converter makes others where it leaves out what was there."""
    if reduce != "mean" or include_self:
        return NotImplemented
    total = torch.zeros_like(x).scatter_add(dim, index, src)
    times = torch.zeros_like(x).scatter_add(dim, index, torch.ones_like(src))
    return torch.where(times > 0, total / times.clamp(min=1), x)


def _setitem(x: Tensor, at: Any, value: Any) -> Any:
    """Writes where a mask holds, behind dimensions that are taken whole: ``x[:, mask] = value``."""
    *whole, mask = at if isinstance(at, tuple) else (at,)
    if not whole or any(part != slice(None) for part in whole):
        return NotImplemented
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        return NotImplemented
    dim, behind = len(whole), x.dim() - len(whole) - mask.dim()
    if isinstance(value, Tensor) and value.dim():
        if value.dim() != dim + 1 + behind:
            return NotImplemented
        before, count, after = value.shape[:dim], value.shape[dim], value.shape[dim + 1 :]
        if isinstance(count, int) and count == 1:  # the same everywhere
            value = value.reshape(*before, *[1] * mask.dim(), *after)
        else:
            rows = torch.cat([value, value.new_zeros(*before, 1, *after)], dim)
            places = (mask.flatten().cumsum(0) - 1).clamp(min=0)
            value = rows.index_select(dim, places).unflatten(dim, mask.shape)
        value = value.to(x.dtype)
    x.copy_(torch.where(mask.reshape(*mask.shape, *[1] * behind), value, x))
    return None


def _conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
) -> Any:
    """Returns a convolution with a bias of 0 where it has none, for which the converter takes an empty one."""
    if bias is not None:
        return NotImplemented
    return F.conv3d(x, weight, weight.new_zeros(len(weight)), *args, **kwargs)


def _avg_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """Returns sums over another number than that of their parts, which the converter leaves out."""
    if divisor_override is None or ceil_mode:
        return NotImplemented
    high, wide = kernel_size if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * 2
    found = F.avg_pool2d(x, kernel_size, stride or kernel_size, padding)
    return found * (high * wide / divisor_override)


def _rrelu(
    x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *others: Any, **inplace: Any
) -> Any:  # fmt: skip
    return NotImplemented if training else F.leaky_relu(x, (lower + upper) / 2)


def _cov(x: Tensor, *, correction: int = 1, **weights: Any) -> Any:
    if weights or x.dim() != 2:
        return NotImplemented
    apart = x - x.mean(1, keepdim=True)
    return apart @ apart.t() / (x.shape[1] - correction)


def _fake_quantize(x: Tensor, scale: Any, zero: Any, low: int, high: int) -> Any:
    """Returns numbers rounded to the places of whole ones."""
    return ((x * (1 / scale) + zero).round().clamp(low, high) - zero) * scale


def _fake_quantize_channels(
    x: Tensor, scale: Tensor, zero: Tensor, axis: int, low: int, high: int
) -> Any:
    sizes = [-1 if at == axis % x.dim() else 1 for at in range(x.dim())]
    return _fake_quantize(x, scale.reshape(sizes), zero.reshape(sizes), low, high)


def _sparse_mm(x: Tensor, y: Tensor, *reduced: Any) -> Any:
    if reduced or torch.strided not in (x.layout, y.layout):
        return NotImplemented
    return x @ y


def _sparse_addmm(z: Tensor, x: Tensor, y: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return torch.addmm(z, x, y, beta=beta, alpha=alpha)


def _coalesce(x: Tensor) -> Any:
    return x if x.layout is torch.strided else NotImplemented


def _in_single(name: str) -> Callable[..., Any]:
    """Returns arithmetic that numbers of 16 bits do in single precision, rounded once as torch does."""

    def run(*args: Any, **kwargs: Any) -> Any:
        short = [isinstance(part, Tensor) and part.dtype == torch.bfloat16 for part in args]
        if not any(short):
            return NotImplemented
        single = (
            part.float() if is_short else part for part, is_short in zip(args, short, strict=True)
        )
        return getattr(Tensor, name)(*single, **kwargs).to(torch.bfloat16)

    return run


def _rsub(x: Tensor, number: Any, **named: Any) -> Any:
    """Returns a fraction less whole numbers, which the converter cannot promote."""
    if named or not isinstance(number, float) or x.is_floating_point() or x.is_complex():
        return _in_single("__rsub__")(x, number, **named)
    return number - x.to(torch.get_default_dtype())


_ARITHMETIC = (
    "add", "sub", "mul", "div", "__radd__", "__rmul__", "__rtruediv__", "__add__", "__sub__", "__mul__",
    "__truediv__",
)  # fmt: skip

_OF_PROGRAMS: Ways = {
    "_sparse_mm": _sparse_mm,
    "_sparse_addmm": _sparse_addmm,
    "coalesce": _coalesce,
    **IN_PARTS,
    "take_along_dim": _take_along_dim,
    "cov": _cov,
    "fake_quantize_per_tensor_affine": _fake_quantize,
    "fake_quantize_per_channel_affine": _fake_quantize_channels,
}
"""What no program holds, and what goes one way for batches of any size."""

KNOWN_TO_EXPORT: Ways = {**_OF_PROGRAMS, **RECURRENT, "cdist": _cdist}
"""What programs of ``torch.export`` need."""

KNOWN_TO_ONNX: Ways = {
    **{name: _in_single(name) for name in _ARITHMETIC},
    "__rsub__": _rsub,
    **_OF_PROGRAMS,
    **RECURRENT_IN_ONNX,
    F.batch_norm: _batch_norm,
    F.embedding_bag: _embedding_bag,
    "batch_norm": _batch_norm_of_torch,
    **IN_GROUPS,
    **BY_ORDER,
    "conv3d": _conv3d,
    "avg_pool2d": _avg_pool2d,
    "rrelu": _rrelu,
    "scatter_reduce": _scatter_reduce,
    "__setitem__": _setitem,
    "view": _view,
    "view_as": _view_as,
    "scaled_dot_product_attention": _attention,
    "erfinv": _erfinv,
    "_is_all_true": torch.all,
    "_is_any_true": torch.any,
    "hypot": _hypot,
    "cumprod": _cumprod,
    **dict.fromkeys(("clamp", "clip"), _clamp),
    "squeeze": _squeeze,
    **dict.fromkeys(("slogdet", "linalg_slogdet"), _slogdet),
    **dict.fromkeys(("inverse", "linalg_inv"), _inverse),
    **dict.fromkeys(("grouped_mm_fallback", "_grouped_mm"), _grouped_mm),
    "linalg_solve": _solve,
    "istft": _istft,
}
"""What the converter has no way for, or a wrong one."""

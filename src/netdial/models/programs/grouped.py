"""Functions whose parts are as many as the batch has examples, in others that go one way for batches of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Ways = dict[Any, Callable[..., Any]]
"""A function or its name -> the same in others; it returns NotImplemented for what can be left as it is."""


def split(x: Tensor, split_size_or_sections: Any = None, dim: int = 0, **named: Any) -> Any:
    """Returns parts of as many rows as the batch has, as many as there are in the example."""
    size = named.pop("split_size", split_size_or_sections)
    total: Any = x.shape[dim]
    if named or not isinstance(size, torch.SymInt) or not isinstance(total, torch.SymInt):
        return NotImplemented
    parts, rest = divmod(total.node.hint, size.node.hint)
    return NotImplemented if rest else [x.narrow(dim, at * size, size) for at in range(parts)]


def chunk(x: Tensor, chunks: int, dim: int = 0) -> Any:
    """Returns equal parts of a batch that was joined of as many."""
    total: Any = x.shape[dim]
    if not isinstance(total, torch.SymInt) or total.node.hint % chunks:
        return NotImplemented
    size = total // chunks
    return [x.narrow(dim, at * size, size) for at in range(chunks)]


def repeat_interleave(x: Tensor, repeats: Any = None, dim: int | None = None, **named: Any) -> Any:
    """Returns entries as often as there are examples."""
    if named or dim is None or not isinstance(repeats, torch.SymInt):
        return NotImplemented
    dim %= x.dim()
    sizes = [*x.shape[: dim + 1], repeats, *x.shape[dim + 1 :]]
    return x.unsqueeze(dim + 1).expand(sizes).flatten(dim, dim + 1)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: Any = 1,
) -> Any:  # fmt: skip
    """Returns a convolution with a group for each example, whose weights are its own: products with patches."""
    if isinstance(groups, int) or isinstance(padding, str):
        return NotImplemented
    high, wide = weight.shape[2:]
    each = x.reshape(-1, weight.shape[1], *x.shape[2:])
    patches = F.unfold(each, (high, wide), dilation, padding, stride)
    patches = patches.reshape(-1, groups, patches.shape[1], patches.shape[2])
    found = weight.reshape(groups, -1, patches.shape[2]) @ patches
    lines, columns = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            x.shape[2:], _pair(padding), _pair(dilation), (high, wide), _pair(stride), strict=True
        )
    )
    found = found.reshape(-1, weight.shape[0], lines, columns)
    return found if bias is None else found + bias[:, None, None]


def conv_transpose2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: Any = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """Returns a transposed convolution with a group for each example: patches, added up where they lie."""
    if isinstance(groups, int):
        return NotImplemented
    out, high, wide = weight.shape[1:]
    size = [
        (n - 1) * s - 2 * p + d * (k - 1) + o + 1
        for n, s, p, d, k, o in zip(
            x.shape[2:], _pair(stride), _pair(padding), _pair(dilation), (high, wide), _pair(output_padding),
            strict=True,
        )
    ]  # fmt: skip
    each = x.reshape(x.shape[0], groups, -1, x.shape[2] * x.shape[3])
    patches = weight.reshape(groups, -1, out * high * wide).transpose(1, 2) @ each
    found = F.fold(
        patches.flatten(0, 1), (size[0], size[1]), (high, wide), dilation, padding, stride
    )
    found = found.reshape(x.shape[0], -1, *size)
    return found if bias is None else found + bias[:, None, None]


def conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: Any = 1,
) -> Any:  # fmt: skip
    """Returns the same for series: images of one line."""
    if isinstance(groups, int) or isinstance(padding, str):
        return NotImplemented
    steps, margin, apart = (
        (none, *_numbers(n)) for none, n in ((1, stride), (0, padding), (1, dilation))
    )
    found = conv2d(x.unsqueeze(2), weight.unsqueeze(2), bias, steps, margin, apart, groups)
    return found.squeeze(2)


def _pair(number: Any) -> tuple[Any, Any]:
    found = _numbers(number)
    return (found[0], found[-1])


def _numbers(number: Any) -> tuple[Any, ...]:
    return tuple(number) if isinstance(number, Sequence) else (number,)


IN_PARTS: Ways = {"split": split, "chunk": chunk}
"""What goes one way for batches of any size in no program without."""

IN_GROUPS: Ways = {
    "repeat_interleave": repeat_interleave,
    "conv1d": conv1d,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
}
"""What the converter to ONNX takes numbers for alone."""

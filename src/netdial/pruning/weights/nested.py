"""The first layer of nested members, in one product.

Members that differ only in how much was removed see the same inputs, and each weight of theirs stays from level 0 up to some
level. So the pre-activations of all levels are partial sums of one sum over weights,

    z[s] = Σ_{j survives more than s levels} W_j x_j = z[s + 1] + Σ_{j survives exactly s + 1 levels} W_j x_j,

which costs one sparse product with every weight once, instead of S products. It is stated as a bag of embeddings (weighted
sums of chosen rows of x transposed), the fastest sparse product that torch has on processors.

Shapes: K members, S levels, o outputs, i inputs, b examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SPARSE_COST = 3
"""Time of a multiplication in the sparse product over that of one in a dense product."""

Product = Callable[[Tensor, Tensor | None], Tensor]


class NestedLinear:
    """A linear layer of K members at S nested levels.

    Args:
        weight: weights before anything is removed ``[K, o, i]``, single precision on a processor.
        levels: how many levels each survives ``[K, o, i]``, 0 to S.
        count: S.
    """

    def __init__(self, weight: Tensor, levels: Tensor, count: int) -> None:
        members, outputs, inputs = weight.shape
        self._shape = (outputs, members, count)
        bags = torch.arange(outputs * members, dtype=torch.int32).view(outputs, members, 1) * count
        bag = (bags + levels.transpose(0, 1) - 1).flatten()
        stays = (levels.transpose(0, 1) > 0).flatten().nonzero().flatten()
        bag, order = bag[stays].sort(stable=True)
        places = stays[order]
        self._inputs = (places % inputs).int()
        self._weights = weight.transpose(0, 1).reshape(-1)[places]
        sizes = bag.bincount(minlength=outputs * members * count)
        self._offsets = F.pad(sizes.cumsum(0), (1, 0)).int()

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Returns pre-activations ``[K S b, o]`` of inputs ``[b, i]``, given biases ``[K S, o]`` or ``[o]``."""
        sums = F.embedding_bag(
            self._inputs,
            x.t().contiguous(),
            self._offsets,
            mode="sum",
            per_sample_weights=self._weights,
            include_last_offset=True,
        ).view(*self._shape, len(x))
        steps = sums.unbind(dim=2)
        for level in range(len(steps) - 2, -1, -1):
            steps[level].add_(steps[level + 1])
        if bias is not None:
            whole = bias.expand(self._shape[1] * self._shape[2], -1).t()
            sums.flatten(1, 2).add_(whole[..., None])
        return sums.flatten(1).t()


def is_worthwhile(weight: Tensor, levels: Tensor, count: int) -> bool:
    """Returns whether the product of ``NestedLinear`` beats S dense ones."""
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return False
    return _SPARSE_COST * int((levels > 0).sum()) < levels.numel() * count


class FirstLayer(TorchFunctionMode):
    """Linear layers of many members: those that meet the data itself take other products, the rest go to another mode.

    It is for networks whose leaves turn up in linear layers alone, so every other operation runs as it is.

    Args:
        inner: the mode that linear layers go to; it need not be entered.
        products: what to compute instead, by the ``id`` of the weight that the layer is given.
        examples: b; only inputs ``[b, i]``, which all members share, are taken.
    """

    def __init__(
        self, inner: TorchFunctionMode, products: Mapping[int, Product], examples: int
    ) -> None:
        super().__init__()
        self._inner, self._products, self._examples = inner, products, examples

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is not F.linear:
            return func(*args, **(kwargs or {}))
        if len(args) == 3 and id(args[1]) in self._products:
            x, weight, bias = args
            if x.ndim == 2 and len(x) == self._examples:
                return self._products[id(weight)](x, bias)
        return self._inner.__torch_function__(func, types, args, kwargs)

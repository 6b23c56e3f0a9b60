"""Runs a network under a posterior, without rewriting the network.

A ``TorchFunctionMode`` watches the operations of an ordinary ``nn.Module``. When a leaf of the family reaches
``F.linear`` or ``F.conv*d`` it puts a sampled pre-activation in place of the product (local reparametrisation, Kingma et
al. 2015); wherever else a leaf turns up (normalisation, embedding, attention, recurrence) it puts a sampled weight.
The same mode runs K members side by side: the batch is K equal groups of examples, one after another, and member k
sees group k. Only linear and convolution layers can run side by side; see ``Family.side_by_side``.

Local reparametrisation is exact for a linear layer used once for each example (along a sequence, every position has noise
of its own). For a convolution it would draw independent noise at every position,
which the posterior does not have, and cost a second convolution; where a weight is used at more than ``_REUSE``
positions and examples a weight sample is both exact and cheaper, so it is used there.

Shapes: K members, b examples of each, B = K b; x may come with fewer blocks than members (n blocks, K / n members share
each), o outputs, i inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from netdial.core.errors import TraceError
from netdial.core.noise import Noise

_REUSE = 100
_TINY = 1e-20
_CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
_WHOLE_CHANNELS: dict[Callable[..., Tensor], bool] = {
    F.dropout: False,
    F.dropout1d: True,
    F.dropout2d: True,
    F.dropout3d: True,
}
_LOOKUPS: dict[Callable[..., Tensor], int] = {F.embedding: 6, F.embedding_bag: 7}
"""Functions that look up rows, and which of their arguments asks for a sparse gradient."""
_PLAIN = (bool, int, float, str, type(None))
_VIEWS = tuple(getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH", "data"))


class Leaf(NamedTuple):
    """One leaf of K members: mean and variance ``[K, *shape]``; no variance for a point."""

    mean: Tensor
    var: Tensor | None


class MemberMode(TorchFunctionMode):
    """Interprets a network for K members.

    Args:
        leaves: ``placeholder -> Leaf``; placeholders are the tensors put into the network, recognised by identity.
        examples: b, examples of each member.
        shared: n, blocks of examples in the batch; n divides K, and member k sees block ``k n // K``.
        noise: source of the random numbers; None runs the means.
    """

    def __init__(
        self,
        leaves: Mapping[str, tuple[Tensor, Leaf]],
        *,
        examples: int,
        shared: int,
        noise: Noise | None,
    ) -> None:
        super().__init__()
        self._leaf = {id(placeholder): leaf for placeholder, leaf in leaves.values()}
        self._name = {id(placeholder): name for name, (placeholder, _) in leaves.items()}
        self._members = next(iter(leaves.values()))[1].mean.shape[0]
        self._examples = examples
        self._shared = shared
        self._noise = noise
        self._sampled: dict[int, Tensor] = {}
        self._learns = torch.is_grad_enabled()
        self.ran_again = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear:
            return self._linear(*args, **kwargs)
        if func in _CONVOLUTIONS:
            return self._convolution(func, *args, **kwargs)
        if func in _WHOLE_CHANNELS:
            return self._dropout(func, *args, **kwargs)
        if getattr(func, "__name__", "") == "__get__" and func not in _VIEWS:
            return func(*args, **kwargs)
        args = [self._put(value) for value in args]
        kwargs = {name: self._put(value) for name, value in kwargs.items()}
        if func in _LOOKUPS:
            args, kwargs = _densely(_LOOKUPS[func], args, kwargs)
        return func(*args, **kwargs)

    def repeatable(
        self,
        part: Callable[..., Any],
        *,
        ran: bool,
        inside: Callable[[], AbstractContextManager[None]],
    ) -> Callable[..., Any]:
        """Returns a part of the network that draws, whenever it runs again, what it draws now.

        Args:
            part: what runs.
            ran: whether the first run is not this function's; else its first call is.
            inside: context that it runs in when it runs again.
        """
        states, sampled = self._noise.states() if self._noise else [], dict(self._sampled)
        first = not ran

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal first
            if first:
                first = False
                return part(*args, **kwargs)
            before, self._sampled, self.ran_again = self._sampled, dict(sampled), True
            if self._noise is not None:
                self._noise.go_back(states)
            try:
                with inside():
                    return part(*args, **kwargs)
            finally:
                self._sampled = before

        return run

    def _put(self, value: Any) -> Any:
        """Returns an argument with samples in place of the placeholders in it."""
        if isinstance(value, Tensor):
            return self._sample(value)
        return value if isinstance(value, _PLAIN) else tree_map(self._sample, value)

    def _sample(self, value: Any) -> Any:
        """Returns a weight sample where ``value`` is a placeholder, and ``value`` itself otherwise."""
        leaf = self._leaf.get(id(value)) if isinstance(value, Tensor) else None
        if leaf is None:
            return value
        if self._members > 1:
            raise TraceError(
                f"leaf {self._name[id(value)]!r} is used outside linear and convolution layers"
            )
        if id(value) not in self._sampled:
            # a sample outlives a part of the network that runs without gradients and is used elsewhere, too
            with torch.set_grad_enabled(self._learns):
                self._sampled[id(value)] = self._draw(leaf)[0]
        return self._sampled[id(value)]

    def _draw(self, leaf: Leaf) -> Tensor:
        if leaf.var is None or self._noise is None:
            return leaf.mean
        noise = self._noise.normal(*leaf.mean.shape[1:], dtype=leaf.mean.dtype)
        return torch.addcmul(leaf.mean, leaf.var.sqrt(), noise)

    def _fields(self, value: Tensor | None) -> Leaf:
        """Returns the leaf behind a weight or bias; a tensor that is no leaf is the same for all members."""
        assert value is not None
        leaf = self._leaf.get(id(value))
        if leaf is None:
            return Leaf(value.expand(self._members, *value.shape), None)
        return leaf if self._noise is not None else Leaf(leaf.mean, None)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x = self._sample(x)
        if id(weight) not in self._leaf and id(bias) not in self._leaf:
            return F.linear(x, weight, bias)
        mean, var = self._fields(weight)
        bias_leaf = self._fields(bias) if bias is not None else Leaf(mean.new_zeros(()), None)
        blocks, lead = self._blocks(x), x.shape[1:-1]
        examples = x.shape[0] // blocks
        x = x.reshape(blocks, -1, x.shape[-1])
        if var is None and bias_leaf.var is None:
            out = _product(x, mean)
            out = out + bias_leaf.mean[:, None] if bias is not None else out
        else:
            assert self._noise is not None
            var = torch.zeros_like(mean) if var is None else var
            eps = self._noise.normal(x.shape[1], mean.shape[1], dtype=x.dtype)
            offset = bias_leaf.mean[:, None] if bias is not None else None
            spread = bias_leaf.var[:, None] if bias_leaf.var is not None else None
            out = local_linear(x, mean, var, offset, spread, eps)
        return out.reshape(self._members * examples, *lead, -1)

    def _convolution(
        self,
        conv: Callable[..., Tensor],
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        x = self._sample(x)
        if id(weight) not in self._leaf and id(bias) not in self._leaf:
            return conv(x, weight, bias, *args, **kwargs)
        leaf = self._fields(weight)
        offset = self._fields(bias) if bias is not None else None
        blocks = self._blocks(x)
        repeat = self._members // blocks
        pieces = [piece for piece in x.chunk(blocks) for _ in range(repeat)]
        rest = (args, kwargs)
        if leaf.var is None or pieces[0][:, 0].numel() > _REUSE:
            weights = self._draw(leaf)
            biases = self._draw(offset) if offset is not None else [None] * self._members
            rows = zip(pieces, weights, biases, strict=True)
            return torch.cat([conv(*row, *args, **kwargs) for row in rows])
        return self._local_convolution(conv, pieces, leaf, offset, rest)

    def _dropout(
        self,
        func: Callable[..., Tensor],
        input: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        """Drops numbers, or whole channels, by each member's own noise, so that it does not matter who runs beside it."""
        x: Tensor = self._sample(input)
        if self._noise is None or not training or not 0 < p < 1:
            return func(x, p, training, inplace)
        blocks = self._blocks(x)
        if blocks < self._members:  # members that share a block drop different numbers of it
            pieces = x.unflatten(0, (blocks, -1)).repeat_interleave(self._members // blocks, dim=0)
            x = pieces.flatten(0, 1)
        tail = x.shape[1:]
        if _WHOLE_CHANNELS[func]:
            tail = torch.Size([tail[0], *[1] * (len(tail) - 1)])
        kept = self._noise.uniform(x.shape[0] // self._members, *tail) >= p
        return x * (kept.flatten(0, 1) / (1 - p)).to(x.dtype)

    def _local_convolution(
        self,
        conv: Callable[..., Tensor],
        pieces: list[Tensor],
        leaf: Leaf,
        offset: Leaf | None,
        rest: tuple[Any, Any],
    ) -> Tensor:
        """Samples pre-activations: mean convolved, variance convolved with squared input."""
        assert self._noise is not None and leaf.var is not None
        args, kwargs = rest
        means, variances = [], []
        for k, piece in enumerate(pieces):
            bias = offset.mean[k] if offset is not None else None
            bias_var = offset.var[k] if offset is not None and offset.var is not None else None
            means.append(conv(piece, leaf.mean[k], bias, *args, **kwargs))
            variances.append(conv(piece.square(), leaf.var[k], bias_var, *args, **kwargs))
        eps = self._noise.normal(*means[0].shape, dtype=means[0].dtype)
        std = (torch.cat(variances) + _TINY).sqrt()
        return torch.addcmul(torch.cat(means), std, eps.flatten(0, 1))

    def _blocks(self, x: Tensor) -> int:
        """Returns how many blocks of examples x holds: fewer than K only before the first leaf is met."""
        return self._shared if x.shape[0] == self._shared * self._examples else self._members


def _densely(
    place: int, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments of a look-up that asks for a dense gradient: a sample is dense, and so is what it is made of."""
    if len(args) > place:
        return [*args[:place], False, *args[place + 1 :]], kwargs
    return args, {**kwargs, "sparse": False}


def local_linear(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    bias: Tensor | None,
    bias_var: Tensor | None,
    eps: Tensor,
) -> Tensor:
    """Returns sampled pre-activations of a linear layer for K members.

    With weights and biases independent normal, the pre-activation of one example is normal with mean ``x W + b`` and
    variance ``x² var(W) + var(b)`` (Kingma, Salimans, Welling 2015, eq. 6).

    Args:
        x: inputs ``[n, b, i]``; block j is shared by members ``j K/n … (j + 1) K/n - 1``.
        mean: weight means ``[K, o, i]``.
        var: weight variances ``[K, o, i]``.
        bias: bias means ``[K, 1, o]`` or None.
        bias_var: bias variances ``[K, 1, o]`` or None.
        eps: standard normal numbers ``[K, b, o]``.
    """
    if torch.is_autocast_enabled(x.device.type):
        out = _product(x, mean)
        spread = _product(x.square(), var)
        out = out if bias is None else out + bias
        spread = spread if bias_var is None else spread + bias_var
        return torch.addcmul(out.float(), (spread.float() + _TINY).sqrt(), eps)
    return cast(Tensor, _LocalLinear.apply(x, mean, var, bias, bias_var, eps))  # type: ignore[no-untyped-call]


class _LocalLinear(torch.autograd.Function):
    """``local_linear`` with a hand-written backward: four products and few passes over memory.

    Inside, examples come last (``[K, o, b]``): that is the faster product, and members that share a block lie in it one
    after another with nothing to rearrange.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        bias: Tensor | None,
        bias_var: Tensor | None,
        eps: Tensor,
    ) -> Tensor:
        offset = bias.mT if bias is not None else None
        spread = bias_var.mT if bias_var is not None else None
        out, squares, slope = sampled_across(x.mT, mean, var, offset, spread, eps)
        ctx.save_for_backward(x, squares, mean, var, slope)
        return out.mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, squares, mean, var, slope = ctx.saved_tensors
        blocks, examples = x.shape[:2]
        grad = grad.mT.contiguous()
        grad_spread = grad * slope
        side = grad.view(blocks, -1, examples)
        side_spread = grad_spread.view(blocks, -1, examples)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = side_spread.mT @ stack(var, blocks)
            grad_x = (side.mT @ stack(mean, blocks)).addcmul_(grad_x, x, value=2)
        return (
            grad_x,
            torch.bmm(side, x).view(mean.shape),
            torch.bmm(side_spread, squares.mT).view(var.shape),
            grad.sum(dim=2).unsqueeze(1) if ctx.needs_input_grad[3] else None,
            grad_spread.sum(dim=2).unsqueeze(1) if ctx.needs_input_grad[4] else None,
            None,
        )


def sampled_across(
    inside: Tensor,
    mean: Tensor,
    var: Tensor,
    bias: Tensor | None,
    bias_var: Tensor | None,
    eps: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns sampled pre-activations ``[K, o, b]``, squared inputs, and the derivative of the noise by the variance.

    Args:
        inside: inputs ``[n, i, b]``, examples last.
        mean: weight means ``[K, o, i]``.
        var: weight variances ``[K, o, i]``.
        bias: bias means ``[K, o, 1]`` or None.
        bias_var: bias variances ``[K, o, 1]`` or None.
        eps: standard normal numbers ``[K, b, o]``.
    """
    squares = inside * inside
    out, std = across(inside.mT, mean), across(squares.mT, var)
    if bias is not None:
        out += bias
    if bias_var is not None:
        std += bias_var
    std.add_(_TINY).sqrt_()
    eps = eps.mT.contiguous()
    out.addcmul_(std, eps)
    return out, squares, eps.div_(std).mul_(0.5)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """Returns ``[K, b, o]``: each member's inputs ``[n, b, i]`` times its weights ``[K, o, i]``."""
    return across(x, weight).mT


def across(x: Tensor, weight: Tensor) -> Tensor:
    """Returns ``[K, o, b]``: each member's weights ``[K, o, i]`` times its inputs ``[n, b, i]``, which members may share."""
    stacked = torch.bmm(stack(weight, x.shape[0]), x.mT)
    return stacked.view(*weight.shape[:2], x.shape[1])


def stack(weight: Tensor, blocks: int) -> Tensor:
    """Returns ``[n, K/n o, i]``: the weights ``[K, o, i]`` of the members that share a block, on top of one another."""
    return weight.reshape(blocks, -1, weight.shape[-1])

"""Runs a network under a posterior, without rewriting the network.

A ``TorchFunctionMode`` watches the operations of an ordinary ``nn.Module``. When a leaf of the family reaches
``F.linear`` or ``F.conv*d`` it puts a sampled pre-activation in place of the product (local reparametrisation, see ``local``);
wherever else a leaf turns up (normalisation, embedding, attention, recurrence) it puts a sampled weight.
The same mode runs K members side by side: the batch is K equal groups of examples, one after another, and member k
sees group k. Only linear and convolution layers can run side by side; see ``Family.side_by_side``.

Local reparametrisation is exact for a linear layer used once for each example. Along a sequence every position has noise of its
own, which the posterior does not have; weight samples there are exact and cheaper, and trained a transformer worse (see
docs/experiments.md). A convolution would cost a second convolution; where a weight is used at more than ``_REUSE`` positions
and examples a weight sample is used.

Shapes: K members, b examples of each, B = K b; x may come with fewer blocks than members (n blocks, K / n members
share each), o outputs, i inputs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from netdial.core.errors import TraceError
from netdial.core.noise import Noise
from netdial.family.running.local import TINY, local_linear, product, weights

_REUSE = 100
_CONVOLUTIONS: frozenset[Callable[..., Tensor]] = frozenset({F.conv1d, F.conv2d, F.conv3d})
_WHOLE_CHANNELS: dict[Callable[..., Tensor], bool] = {
    F.dropout: False,
    F.dropout1d: True,
    F.dropout2d: True,
    F.dropout3d: True,
}
_LOOKUPS: dict[Callable[..., Tensor], int] = {F.embedding: 6, F.embedding_bag: 7}
"""Functions that look up rows, and which of their arguments asks for a sparse gradient."""
_PLAIN = (bool, int, float, str, torch.dtype, torch.device)
_WANTS_GRADIENT = Tensor.requires_grad.__set__  # type: ignore[attr-defined]
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

    A leaf of one member without a variance needs no interpretation where its placeholder is its value.

    Attributes:
        drawn: names of leaves of which a weight was drawn.
        local: how often a leaf was drawn by way of pre-activations.
        ran_again: whether a part of the network ran again.
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
        self._members = next(iter(leaves.values()))[1].mean.shape[0]
        self._leaf = {
            id(placeholder): leaf
            for placeholder, leaf in leaves.values()
            if leaf.var is not None or placeholder.ndim == leaf.mean.ndim
        }
        self._name = {id(placeholder): name for name, (placeholder, _) in leaves.items()}
        self._examples = examples
        self._shared = shared
        self._noise = noise
        self._sampled: dict[int, Tensor] = {}
        self._learns = torch.is_grad_enabled()
        self.drawn: set[str] = set()
        self.local: Counter[str] = Counter()
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
        look_up, name = _LOOKUPS.get(func), getattr(func, "__name__", "")
        if name == "__set__" and func == _WANTS_GRADIENT and args[1] and args[0].requires_grad:
            return None  # it has: torch would refuse to set that of inputs which are a copy (``rerun``)
        if self._leaf and not (name == "__get__" and func not in _VIEWS):
            args = [self._put(value) for value in args]
            if kwargs:
                kwargs = {name: self._put(value) for name, value in kwargs.items()}
        if look_up is not None:
            args, kwargs = _densely(look_up, _apart(list(args), kwargs), kwargs)
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
            return self._sample(value) if id(value) in self._leaf else value
        if value is None or isinstance(value, _PLAIN):
            return value
        if type(value) in (
            list,
            tuple,
        ):  # what most arguments are that are packed, in a tenth of the time of a tree
            return type(value)([self._put(part) for part in value])
        return tree_map(self._sample, value)

    def _sample(self, value: Any) -> Any:
        """Returns a weight sample where ``value`` is a placeholder, and ``value`` itself otherwise."""
        leaf = self._leaf.get(id(value)) if isinstance(value, Tensor) else None
        if leaf is None:
            return value
        if self._members > 1:
            raise TraceError(
                f"leaf {self._name[id(value)]!r} is used outside linear and convolution layers"
            )
        return self._weights(value)[0]

    def _weights(self, value: Tensor) -> Tensor:
        """Returns the sample ``[K, *shape]`` of a leaf's weights, the same wherever it is used in a pass."""
        leaf = self._leaf.get(id(value))
        if leaf is None:
            return value.expand(self._members, *value.shape)
        if leaf.var is None or self._noise is None:
            return leaf.mean
        if id(value) not in self._sampled:
            self.drawn.add(self._name[id(value)])
            # a sample outlives a part of the network that runs without gradients and is used elsewhere, too
            with torch.set_grad_enabled(self._learns):
                noise = self._noise.normal(*leaf.mean.shape[1:], dtype=leaf.mean.dtype)
                self._sampled[id(value)] = weights(leaf.mean, leaf.var, noise)
        return self._sampled[id(value)]

    def _fields(self, value: Tensor) -> Leaf:
        """Returns mean and variance of a leaf whose pre-activations are drawn, or of what all members have in common."""
        leaf = self._leaf.get(id(value))
        if leaf is None:
            return Leaf(value.expand(self._members, *value.shape), None)
        self.local[self._name[id(value)]] += 1
        return leaf

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x: Tensor = self._sample(input)
        if id(weight) not in self._leaf and id(bias) not in self._leaf:
            return F.linear(x, weight, bias)
        if not self._is_layer(x, weight, bias):
            return F.linear(x, self._sample(weight), self._sample(bias))
        blocks, lead = self._blocks(x), x.shape[1:-1]
        if self._members == 1 and self._noise is None:
            return F.linear(x, self._sample(weight), self._sample(bias))
        examples = x.shape[0] // blocks
        x = x.reshape(blocks, math.prod((examples, *lead)), x.shape[-1])
        if self._noise is not None:
            out = self._local_linear(x, weight, bias, self._noise)
        else:
            out = product(x, self._weights(weight))
            out = out if bias is None else out + self._weights(bias)[:, None]
        return out.reshape(self._members * examples, *lead, out.shape[-1])

    def _is_layer(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
        """Returns whether a product is that of a linear layer: of rows, by weights ``[o, i]``, and with a bias ``[o]``."""
        shape = self._shape(weight)
        return x.ndim > 1 and len(shape) == 2 and (bias is None or self._shape(bias) == shape[:1])

    def _shape(self, value: Tensor) -> torch.Size:
        """Returns the shape of a leaf, or of what all members have in common."""
        leaf = self._leaf.get(id(value))
        return value.shape if leaf is None else leaf.mean.shape[1:]

    def _local_linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, noise: Noise) -> Tensor:
        """Returns sampled pre-activations ``[K, b, o]`` of inputs ``[n, b, i]``."""
        mean, var = self._fields(weight)
        bias_leaf = self._fields(bias) if bias is not None else Leaf(mean.new_zeros(()), None)
        offset = bias_leaf.mean[:, None] if bias is not None else None
        if var is None and bias_leaf.var is None:
            out = product(x, mean)
            return out if offset is None else out + offset
        var = torch.zeros_like(mean) if var is None else var
        eps = noise.normal(x.shape[1], mean.shape[1], dtype=x.dtype)
        spread = bias_leaf.var[:, None] if bias_leaf.var is not None else None
        return local_linear(x, mean, var, offset, spread, eps)

    def _convolution(
        self,
        conv: Callable[..., Tensor],
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        x: Tensor = self._sample(input)
        if id(weight) not in self._leaf and id(bias) not in self._leaf:
            return conv(x, weight, bias, *args, **kwargs)
        blocks = self._blocks(x)
        repeat = self._members // blocks
        pieces = [piece for piece in x.chunk(blocks) for _ in range(repeat)]
        leaf = self._leaf.get(id(weight))
        certain = self._noise is None or leaf is None or leaf.var is None
        if certain or pieces[0][:, 0].numel() > _REUSE:
            biases = [None] * self._members if bias is None else self._weights(bias)
            rows = zip(pieces, self._weights(weight), biases, strict=True)
            found = [conv(*row, *args, **kwargs) for row in rows]
            return found[0] if len(found) == 1 else torch.cat(found)
        offset = self._fields(bias) if bias is not None else None
        return self._local_convolution(conv, pieces, self._fields(weight), offset, (args, kwargs))

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
        if self._members > 1 and 0 < p < 1 and not self._holds_batch(x):
            raise TraceError(
                "dropout of what is no batch of examples: members draw one after another"
            )
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
        std = (torch.cat(variances) + TINY).sqrt()
        return torch.addcmul(torch.cat(means), std, eps.flatten(0, 1))

    def _holds_batch(self, x: Tensor) -> bool:
        """Returns whether x holds the examples of all members, or of the blocks that they share."""
        return x.shape[:1] in ((self._shared * self._examples,), (self._members * self._examples,))

    def _blocks(self, x: Tensor) -> int:
        """Returns how many blocks of examples x holds: fewer than K only before the first leaf is met."""
        return self._shared if x.shape[0] == self._shared * self._examples else self._members


def _apart(args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
    """Returns the arguments of a look-up with a copy of the rows if it shortens them in place (``max_norm``)."""
    if (args[3] if len(args) > 3 else kwargs.get("max_norm")) is None:
        return args
    if "weight" in kwargs:
        kwargs["weight"] = kwargs["weight"].clone()
        return args
    return [args[0], args[1].clone(), *args[2:]]


def _densely(
    place: int, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments of a look-up that asks for a dense gradient: a sample is dense, and so is what it is made of."""
    if len(args) > place:
        return [*args[:place], False, *args[place + 1 :]], kwargs
    return args, {**kwargs, "sparse": False}

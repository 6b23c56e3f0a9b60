"""What a network costs: parameters, multiplications and bytes stored. Time is measured (``measure.latency``).

``params``          numbers of all parameters; ``nonzero`` counts those that are not exactly zero
``macs``            multiply-accumulates for one example, counted while the network runs (1 MAC = 2 FLOPs)
``effective_macs``  the same less those that multiply a zero of a parameter
``bytes``           what an export stores for its tensors: zeros of a pruned member as a bitmap, where that is smaller

Zeros scattered over a weight do not make a dense product faster: ``effective_macs`` is what a kernel for sparse weights
would do, and the latency of a pruned member is that of the network it was cut from. Only whole rows and channels that are
physically removed change it.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from netdial.core.arguments import checked
from netdial.core.layout import Layout
from netdial.core.outputs import evaluating, failing_in_words, without_fast_path
from netdial.core.storage.bitmap import stored_bytes

_ATEN = torch.ops.aten


def _of_vector(matrix: Sequence[int], *_: object, out_shape: object = None) -> int:
    return 2 * math.prod(matrix)


def _of_sum(added: object, first: Sequence[int], second: Sequence[int], **_: object) -> int:
    return 2 * math.prod(first) * (second[-1] if len(second) > 1 else 1)


def _of_bilinear(first: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    return 2 * first[0] * math.prod(weight)


_PRODUCTS: dict[Any, Callable[..., int]] = {
    _ATEN.mv: _of_vector,
    _ATEN.dot: _of_vector,
    _ATEN.vdot: _of_vector,
    _ATEN.addmv: _of_sum,
    _ATEN.addbmm: _of_sum,
    _ATEN._trilinear: _of_bilinear,
}
"""Products that torch's counter does not know -> their floating-point operations, from shapes."""
_ADDED = {
    **dict.fromkeys((_ATEN.addmm, _ATEN.addmv, _ATEN.addbmm, _ATEN.baddbmm), 0),
    **dict.fromkeys((_ATEN.convolution, _ATEN._convolution), 2),
}
"""Place among the arguments of what is added to a product, and not multiplied."""
_COPIES = (_ATEN._to_copy, _ATEN.clone)


@dataclass(frozen=True)
class Cost:
    """What a network costs; the terms are explained at the top of this file.

    Attributes:
        params: numbers of all parameters.
        nonzero: those that are not zero.
        macs: multiply-accumulates for one example.
        effective_macs: those whose weight is not zero.
        bytes: size of the stored tensors, without the file's header.
    """

    params: int
    nonzero: int
    macs: int
    effective_macs: int
    bytes: int


@checked
def cost(net: nn.Module, x: Tensor, *, packed: bool = True) -> Cost:
    """Returns what a network costs, all but its latency.

    Args:
        net: the network.
        x: inputs ``[B, ...]`` as it takes them.
        packed: whether zeros are stored as a bitmap, as they are for pruned members.
    """
    dense, uses = count_macs(net, x)
    leaves = dict(net.named_parameters())
    return Cost(
        params=sum(leaf.numel() for leaf in leaves.values()),
        nonzero=sum(_nonzero(leaf) for leaf in leaves.values()),
        macs=dense,
        effective_macs=dense
        - round(
            sum(
                count * (leaves[name].numel() - _nonzero(leaves[name]))
                for name, count in uses.items()
            )
        ),
        bytes=size_bytes(net.state_dict(), packed=packed),
    )


@checked
def count_macs(net: nn.Module, x: Tensor) -> tuple[int, dict[str, float]]:
    """Returns multiply-accumulates for one example, and in how many of them each number of a parameter is.

    The total comes from torch's FLOP counter, which knows products, convolutions and attention in every layer, and from
    ``_PRODUCTS``. A zero in a parameter saves as many as it is in: one for each position of the output of a convolution (of the
    input, if transposed), for each step of a recurrent layer, for each token of attention.

    Args:
        net: the network; it runs once, in evaluation mode.
        x: inputs ``[B, ...]``.

    Returns:
        The total, and name of a parameter that is multiplied -> uses of each of its numbers, on average over them.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_PRODUCTS)
    counter.mod_tracker = _AtOnce()  # type: ignore[assignment]
    uses = _Uses(dict(net.named_parameters()), counter.flop_registry)
    steps: dict[str, float] = {}

    def recur(held: list[str], given: Tensor | PackedSequence) -> None:
        inputs = given.data if isinstance(given, PackedSequence) else given
        for name in held:
            steps[name] = steps.get(name, 0) + inputs.numel() / inputs.shape[-1] / len(x)

    names = {id(leaf): name for name, leaf in net.named_parameters()}
    with contextlib.ExitStack() as stack:
        for module in net.modules():
            if isinstance(module, nn.RNNBase | nn.RNNCellBase):
                held = [names[id(w)] for w in module.parameters(recurse=False) if w.ndim == 2]
                hook = module.register_forward_hook(
                    lambda module, args, named, out, held=held: recur(
                        held, args[0] if args else named["input"]
                    ),
                    with_kwargs=True,
                )
                stack.callback(hook.remove)
        stack.enter_context(evaluating(net))
        stack.enter_context(_spelled_out())
        stack.enter_context(uses)  # before the counter, which takes operations apart
        stack.enter_context(counter)
        stack.enter_context(failing_in_words(net, x))
        net(x.clone())
    # a recurrent layer with a switch multiplies by weights that it computes from its own
    return counter.get_total_flops() // (2 * len(x)), steps | uses.per_example(len(x))


class _AtOnce(contextlib.nullcontext[None]):
    """In place of the counter's tracker of modules, whose hooks stop ``torch.autograd.grad`` in a network: the total."""

    parents = ("Global",)

    def __exit__(self, *_: object) -> None:
        """Ends the count."""


class _Uses(TorchDispatchMode):
    """Notes how many multiply-accumulates read each parameter, whole or a part of it, as it is stored or copied.

    Args:
        leaves: parameters by name.
        flops: operation -> its floating-point operations, from its arguments and what came out.
    """

    def __init__(
        self, leaves: Mapping[str, Tensor], flops: Mapping[Any, Callable[..., int]]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._leaves, self._flops = leaves, flops
        self._macs = dict.fromkeys(leaves, 0)
        self._stored: dict[int, list[tuple[str, int]]] = {}
        self._kept: list[Tensor] = []  # copies, whose place in memory is that of nothing else
        for name, leaf in leaves.items():
            self._note(name, leaf)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs an operation; notes what it multiplies, or copies, as autocast does."""
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in _COPIES and (name := self._name(args[0])):
            self._note(name, out)
        flops = self._flops.get(func.overloadpacket)
        if flops is not None:
            added = _ADDED.get(func.overloadpacket)
            read = [
                name
                for place, each in enumerate(args)
                if isinstance(each, Tensor) and place != added and (name := self._name(each))
            ]
            if len(read) == 1:  # a product of two parameters is none of an example
                self._macs[read[0]] += flops(*args, **(kwargs or {}), out_val=out) // 2
        return out

    def per_example(self, batch: int) -> dict[str, float]:
        """Returns how often each number of a parameter is multiplied for one example of a batch, on average over it."""
        return {
            name: macs / (batch * self._leaves[name].numel())
            for name, macs in self._macs.items()
            if macs
        }

    def _note(self, name: str, tensor: Tensor) -> None:
        """Notes where the numbers of a parameter lie in memory."""
        if tensor.layout is torch.strided:
            place = tensor.untyped_storage().data_ptr()
            self._stored.setdefault(place, []).append((name, int(tensor.storage_offset())))
            self._kept.append(tensor)

    def _name(self, tensor: Tensor) -> str:
        """Returns the parameter that a tensor is a view of; empty if it is of none."""
        if tensor.layout is not torch.strided:
            return ""
        for name, start in self._stored.get(tensor.untyped_storage().data_ptr(), ()):
            if 0 <= tensor.storage_offset() - start < self._leaves[name].numel():
                return name
        return ""


@dataclass(frozen=True)
class StoredLeaves:
    """What members of a family store, from the numbers that are left in each of its leaves.

    Attributes:
        layout: the leaves.
        copies: how often each leaf is stored: twice if two layers share it.
        fixed: (nonzero numbers, bytes) of what is the same for every member.
    """

    layout: Layout
    copies: Mapping[str, int]
    fixed: tuple[int, int]

    @classmethod
    def of(cls, net: nn.Module, layout: Layout) -> StoredLeaves:
        """Returns what is found on one member, as an ordinary network."""
        state, leaves = net.state_dict(), dict(net.named_parameters())
        places = {leaves[name].data_ptr(): name for name in layout.names if name in leaves}
        shared = [leaf for name, leaf in leaves.items() if name not in layout.names]
        of = {name: places.get(t.data_ptr()) for name, t in state.items() if not t.is_sparse}
        alike = {name: t for name, t in state.items() if of.get(name) is None}
        return cls(
            layout,
            Counter(leaf for leaf in of.values() if leaf is not None),
            (sum(map(_nonzero, shared)), size_bytes(alike)),
        )

    def left(self, weights: Tensor) -> dict[str, int]:
        """Returns how many numbers of each leaf are not zero in the weights of a member ``[P]``."""
        return {name: _nonzero(leaf) for name, leaf in self.layout.split(weights).items()}

    def costs(self, left: Mapping[str, int], item: int) -> tuple[int, int]:
        """Returns nonzero numbers and bytes of a member with so many numbers left in each leaf, of ``item`` bytes each."""
        params, size = self.fixed
        for name, whole in zip(self.layout.names, self.layout.sizes, strict=True):
            params += left[name]
            size += self.copies[name] * stored_bytes(whole, left[name], item)
        return params, size


def size_bytes(state: Mapping[str, Tensor], *, packed: bool = True) -> int:
    """Returns the bytes that an export stores for these tensors, without the file's header.

    Args:
        state: tensors by name, as ``state_dict`` gives them.
        packed: whether zeros are stored as a bitmap where that is smaller.
    """
    return sum(
        stored_bytes(t.numel(), _nonzero(t) if packed else t.numel(), t.element_size())
        for whole in state.values()
        for t in _parts(whole)
    )


@contextlib.contextmanager
def _spelled_out() -> Iterator[None]:
    """Runs attention and recurrent layers as the products they consist of: the counter does not see into fused kernels."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(without_fast_path())
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def _parts(tensor: Tensor) -> list[Tensor]:
    """Returns the tensors that hold one: itself, or values and indices of a sparse one."""
    if not tensor.is_sparse:
        return [tensor]
    tensor = tensor.coalesce()
    return [tensor.values(), tensor.indices()]


def _nonzero(tensor: Tensor) -> int:
    return int(_parts(tensor)[0].count_nonzero())

"""What a network costs: parameters, multiplications and bytes stored. Time is measured (``measure.latency``).

``params``          numbers of all parameters; ``nonzero`` counts those that are not exactly zero
``macs``            multiply-accumulates for one example, counted while the network runs (1 MAC = 2 FLOPs)
``effective_macs``  the same less those that multiply a zero weight of a linear or convolutional layer
``bytes``           what an export stores for its tensors: zeros of a pruned member as a bitmap, where that is smaller

Zeros scattered over a weight do not make a dense product faster: ``effective_macs`` is what a kernel for sparse weights
would do, and the latency of a pruned member is that of the network it was cut from. Only whole rows and channels that are
physically removed change it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from netdial.core.arguments import checked
from netdial.core.outputs import evaluating, failing_in_words, without_fast_path
from netdial.core.storage.bitmap import stored_bytes

_DENSE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


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
        - sum(
            count * (leaves[name].numel() - _nonzero(leaves[name])) for name, count in uses.items()
        ),
        bytes=size_bytes(net.state_dict(), packed=packed),
    )


@checked
def count_macs(net: nn.Module, x: Tensor) -> tuple[int, dict[str, int]]:
    """Returns multiply-accumulates for one example, and how often each weight of a layer is used in them.

    The total comes from torch's FLOP counter, which knows products, convolutions and attention in every layer. The uses
    are those of linear, convolutional and recurrent layers: one for each position of the output (of the input, if
    transposed), so that a zero in the weight saves as many.

    Args:
        net: the network; it runs once, in evaluation mode.
        x: inputs ``[B, ...]``.

    Returns:
        The total, and name of a weight -> uses of each of its numbers.
    """
    uses: dict[str, int] = {}

    def note(name: str, module: nn.Module, inputs: Tensor, out: Tensor) -> None:
        if isinstance(module, nn.Linear):
            seen = out.numel() // module.out_features
        elif isinstance(module, _TRANSPOSED):
            seen = inputs.numel() // module.in_channels
        else:
            assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
            seen = out.numel() // module.out_channels
        uses[name] = uses.get(name, 0) + seen

    def recur(held: list[str], inputs: Tensor) -> None:
        for name in held:
            uses[name] = uses.get(name, 0) + inputs.numel() // inputs.shape[-1]

    names = {id(leaf): name for name, leaf in net.named_parameters()}
    counter = FlopCounterMode(display=False)
    with contextlib.ExitStack() as stack:
        for module in net.modules():
            if isinstance(module, nn.RNNBase | nn.RNNCellBase):
                held = [names[id(w)] for w in module.parameters(recurse=False) if w.ndim == 2]
                hook = module.register_forward_hook(
                    lambda module, args, out, held=held: recur(held, args[0])
                )
                stack.callback(hook.remove)
            if isinstance(module, (*_DENSE, *_TRANSPOSED)) and id(module.weight) in names:
                name = names[id(module.weight)]
                hook = module.register_forward_hook(
                    lambda module, args, out, name=name: note(name, module, args[0], out)
                )
                stack.callback(hook.remove)
        stack.enter_context(evaluating(net))
        stack.enter_context(_spelled_out())
        stack.enter_context(counter)
        stack.enter_context(failing_in_words(net, x))
        net(x)
    return counter.get_total_flops() // (2 * len(x)), {
        name: count // len(x) for name, count in uses.items()
    }


def size_bytes(state: Mapping[str, Tensor], *, packed: bool = True) -> int:
    """Returns the bytes that an export stores for these tensors, without the file's header.

    Args:
        state: tensors by name, as ``state_dict`` gives them.
        packed: whether zeros are stored as a bitmap where that is smaller.
    """
    return sum(
        stored_bytes(t.numel(), _nonzero(t) if packed else t.numel(), t.element_size())
        for t in state.values()
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


def _nonzero(tensor: Tensor) -> int:
    return int(tensor.count_nonzero())

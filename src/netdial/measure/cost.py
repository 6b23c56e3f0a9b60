"""What a network costs: parameters, multiplications, bytes stored, and time, which is measured and never derived.

``params``          numbers of all parameters; ``nonzero`` counts those that are not exactly zero
``macs``            multiply-accumulates for one example, counted while the network runs (1 MAC = 2 FLOPs)
``effective_macs``  the same less those that multiply a zero weight of a linear or convolutional layer
``bytes``           what an export stores for its tensors: zeros of a pruned member as a bitmap, where that is smaller
``latency``         median time of one call; ``quiet_ms`` the time on a machine that does nothing else

Zeros scattered over a weight do not make a dense product faster: ``effective_macs`` is what a kernel for sparse weights
would do, and the latency of a pruned member is that of the network it was cut from. Only whole rows and channels that are
physically removed change it.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from netdial.core.bitmap import stored_bytes
from netdial.core.errors import ConfigError
from netdial.core.outputs import evaluating

_WINDOW_S, _LEAST_WINDOWS, _MOST_WINDOWS, _SAME = 0.05, 5, 40, 0.02
"""Seconds of a window and of a pause, windows at least and at most, and how near two readings are the same."""

_DENSE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Latency:
    """Time of one call.

    Attributes:
        median_ms: median over blocks of calls, in milliseconds.
        iqr_ms: distance between the quartiles of the blocks.
        batch_size: examples in a call.
        threads: threads that torch used.
    """

    median_ms: float
    iqr_ms: float
    batch_size: int
    threads: int


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


def count_macs(net: nn.Module, x: Tensor) -> tuple[int, dict[str, int]]:
    """Returns multiply-accumulates for one example, and how often each weight of a layer is used in them.

    The total comes from torch's FLOP counter, which knows products, convolutions and attention in every layer. The uses
    are those of linear and convolutional layers: one for each position of the output (of the input, if transposed), so
    that a zero in the weight saves as many.

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

    names = {id(leaf): name for name, leaf in net.named_parameters()}
    counter = FlopCounterMode(display=False)
    with contextlib.ExitStack() as stack:
        for module in net.modules():
            if isinstance(module, (*_DENSE, *_TRANSPOSED)) and id(module.weight) in names:
                name = names[id(module.weight)]
                hook = module.register_forward_hook(
                    lambda module, args, out, name=name: note(name, module, args[0], out)
                )
                stack.callback(hook.remove)
        stack.enter_context(evaluating(net))
        stack.enter_context(_spelled_out())
        stack.enter_context(counter)
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


def measure_latency(net: nn.Module, x: Tensor, *, seconds: float = 0.3) -> Latency:
    """Returns the time of one call, measured here and now.

    Calls run in blocks after a warm-up, until ``seconds`` have passed; the median over blocks is not moved by the few
    that something else on the machine slowed down.

    Args:
        net: the network; it is run in evaluation mode without gradients.
        x: inputs ``[B, ...]``; their number is the batch size, and their device is where it runs.
        seconds: time to measure for.

    Raises:
        ConfigError: ``seconds`` is not positive, or there are no inputs.
    """
    if not seconds > 0 or len(x) < 1:
        raise ConfigError(
            f"measure_latency: seconds={seconds}, {len(x)} inputs; expected a positive time and at least one input"
        )
    threads = torch.get_num_threads()
    timer = Timer("net(x)", globals={"net": net, "x": x}, num_threads=threads)
    with evaluating(net):
        found = timer.blocked_autorange(min_run_time=seconds)
    return Latency(1e3 * found.median, 1e3 * found.iqr, len(x), threads)


def quiet_ms(nets: Sequence[nn.Module], x: Tensor) -> list[float]:
    """Returns for each network the time of one call while nothing else keeps the machine busy, in milliseconds.

    What else runs only ever adds, for seconds at a time and by half or more. So calls are timed one by one in short windows
    with pauses between them; the fastest tenth of a window is its reading, and the lowest reading counts once a second
    window confirms it. On a busy machine it repeats to a few hundredths where medians differ by half. Networks take turns.

    Args:
        nets: the networks; they are run in evaluation mode without gradients.
        x: inputs ``[B, ...]``.
    """
    readings: list[list[float]] = [[] for _ in nets]
    with contextlib.ExitStack() as stack:
        for net in nets:
            stack.enter_context(evaluating(net))
        for _ in range(_MOST_WINDOWS):
            for net, found in zip(nets, readings, strict=True):
                found.append(_window(net, x))
            if all(_confirmed(sorted(found)) for found in readings):
                break
            time.sleep(_WINDOW_S)
    return [1e3 * min(found) for found in readings]


def _confirmed(readings: Sequence[float]) -> bool:
    return len(readings) >= _LEAST_WINDOWS and readings[1] <= (1 + _SAME) * readings[0]


def _window(net: nn.Module, x: Tensor) -> float:
    """Returns the seconds that a call takes at most in the fastest tenth; the first one, on a cold cache, does not count."""
    taken: list[float] = []
    end = time.perf_counter() + _WINDOW_S
    while len(taken) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        net(x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        taken.append(time.perf_counter() - start)
    return sorted(taken[1:])[len(taken) // 10]


@contextlib.contextmanager
def _spelled_out() -> Iterator[None]:
    """Runs attention and recurrent layers as the products they consist of: the counter does not see into fused kernels."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings(action="ignore"))
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _nonzero(tensor: Tensor) -> int:
    return int(tensor.count_nonzero())

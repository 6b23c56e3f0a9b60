"""Recurrent layers step by step: over packed sequences, and with projected outputs, which converters have no way for.

Packed sequences are kept padded, in the order of ``pack_padded_sequence`` (longest first), beside the numbers of sequences that
go on at each step; those that have ended keep their states and give zeros.

Shapes: T steps, B batch, F inputs, H units, P outputs (H, or the size of a projection).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from netdial.channels.layers.packed import PACKABLE, over, start

State = tuple[Tensor, ...]


def pack(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Returns sequences ``[T, B, F]``, and how many go on at each step ``[T]``."""
    x = x.transpose(0, 1) if batch_first else x
    steps = torch.arange(x.shape[0])
    return x, (lengths.cpu() > steps[:, None]).sum(1)


def pad(
    data: Tensor, sizes: Tensor, batch_first: bool, padding_value: float, total_length: int
) -> tuple[Tensor, Tensor]:
    """Returns padded sequences, all steps of them, and their lengths."""
    on = _going_on(sizes, data)
    data = torch.where(on[:, :, None], data, padding_value)
    return data.transpose(0, 1) if batch_first else data, on.sum(0)


def _going_on(sizes: Tensor, data: Tensor) -> Tensor:
    """Returns which sequences go on at which step ``[T, B]``."""
    return torch.arange(data.shape[1]) < sizes[:, None]


def _lstm_step(gates: Tensor, state: State, weight: Tensor, bias: Any, project: Any) -> State:
    i, f, g, o = (gates + _affine(state[0], weight, bias)).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if project is None else h @ project.t()), c


def _gru_step(gates: Tensor, state: State, weight: Tensor, bias: Any, project: Any) -> State:
    (r, z, n), (hr, hz, hn) = (
        part.chunk(3, -1) for part in (gates, _affine(state[0], weight, bias))
    )
    z = (z + hz).sigmoid()
    return ((1 - z) * (n + (r + hr).sigmoid() * hn).tanh() + z * state[0],)


def _plain_step(unit: Callable[[Tensor], Tensor]) -> Callable[..., State]:
    def step(gates: Tensor, state: State, weight: Tensor, bias: Any, project: Any) -> State:
        return (unit(gates + _affine(state[0], weight, bias)),)

    return step


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x @ weight.t() if bias is None else x @ weight.t() + bias


@dataclass(frozen=True)
class _Layer:
    """A recurrent layer as torch has it, for what converters cannot take.

    Attributes:
        step: from what inputs give to gates, the last state, and weights to the next state.
        pair: whether a state is two tensors.
    """

    step: Callable[..., State]
    pair: bool = False

    def __call__(self, x: Tensor, second: Any, third: Any, *rest: Any) -> Any:
        """Returns outputs and last states; NotImplemented for a layer that can be left as it is."""
        packed = isinstance(second, Tensor) and not second.is_floating_point()
        if packed:
            given, (weights, biased, layers, _, _, both), first = third, rest, False
        else:
            given, weights, (biased, layers, _, _, both, first) = second, third, rest
        state = tuple(given) if self.pair else (given,)
        if not packed and state[0].shape[-1] == state[-1].shape[-1]:
            return NotImplemented
        x = x.transpose(0, 1) if first else x
        on = _going_on(second, x)[:, :, None] if packed else None
        sides = 1 + bool(both)
        each = len(weights) // (layers * sides)
        last: list[State] = []
        for at in range(0, layers * sides, sides):
            outs = []
            for side in range(sides):
                own = weights[(at + side) * each : (at + side + 1) * each]
                start = tuple(part[at + side] for part in state)
                out, end = self._one_way(x, start, own, biased, on, bool(side))
                outs.append(out)
                last.append(end)
            x = torch.cat(outs, -1)
        ends = [torch.stack(parts) for parts in zip(*last, strict=True)]
        return (x.transpose(0, 1) if first else x, *ends)

    def _one_way(
        self, x: Tensor, state: State, own: list[Tensor], biased: bool, on: Tensor | None, back: bool
    ) -> tuple[Tensor, State]:  # fmt: skip
        """Returns outputs ``[T, B, P]`` of one layer in one direction, and its last states."""
        inward, weight = own[:2]
        bias, second = own[2:4] if biased else (None, None)
        project = own[-1] if len(own) % 2 else None
        gates = _affine(x, inward, bias)
        outs = []
        for t in reversed(range(len(x))) if back else range(len(x)):
            new = self.step(gates[t], state, weight, second, project)
            if on is not None:
                new = tuple(torch.where(on[t], *parts) for parts in zip(new, state, strict=True))
            outs.append(new[0])
            state = new
        out = torch.stack(outs[::-1] if back else outs)
        return (out if on is None else torch.where(on, out, 0)), state


RECURRENT: dict[Any, Callable[..., Any]] = {
    "_pack_padded_sequence": pack,
    "_pad_packed_sequence": pad,
    "lstm": _Layer(_lstm_step, pair=True),
    "gru": _Layer(_gru_step),
    "rnn_tanh": _Layer(_plain_step(torch.tanh)),
    "rnn_relu": _Layer(_plain_step(torch.relu)),
}
"""Name of a function -> the same step by step; it returns NotImplemented for layers that can be left as they are."""


@contextmanager
def packed_alike(net: nn.Module) -> Iterator[None]:
    """Lets recurrent layers of a network take what ``pack`` gives, until the block ends; torch counts it as it is called."""
    layers: list[Any] = [layer for layer in net.modules() if type(layer) in PACKABLE]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: nn.RNNBase, otherwise: Callable[..., Any], x: Any, state: Any = None) -> Any:
    """Returns what a recurrent layer gives."""
    if not isinstance(x, PackedSequence):
        return otherwise(x, state)
    weights = [getattr(layer, name) for names in layer._all_weights for name in names]
    if state is None:
        state = start(layer, x.data, x.data.shape[1])
    return over(layer, weights, x, state)

"""Recurrent layers over packed sequences, and with projected outputs, which converters have no way for.

Packed sequences are kept padded, in the order of ``pack_padded_sequence`` (longest first), beside the numbers of sequences that
go on at each step. A layer runs over all steps; backwards, each sequence is turned about its own middle first.

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
from netdial.models.programs.grouped import Ways

State = tuple[Tensor, ...]

_SHUT = 40.0
"""A gate is 1, or 0, within the rounding of single and double precision at this number, or minus it."""


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


def _at(x: Tensor, steps: Tensor) -> Tensor:
    """Returns ``x[steps[t, b], b]``."""
    return x.gather(0, steps[:, :, None].expand(-1, -1, x.shape[2]))


@dataclass(frozen=True)
class _Packed:
    """A recurrent layer of torch that is given packed sequences, by one that is given whole ones.

    Attributes:
        run: the layer of whole sequences.
        pair: whether a state is two tensors.
    """

    run: Callable[..., Any]
    pair: bool = False

    def __call__(self, x: Tensor, sizes: Any, *given: Any) -> Any:
        """Returns outputs and last states; NotImplemented for whole sequences."""
        if not isinstance(sizes, Tensor) or sizes.is_floating_point():
            return NotImplemented
        state, weights, biased, layers, _, _, both = given
        state = tuple(state) if self.pair else (state,)
        on, sides = _going_on(sizes, x), 1 + bool(both)
        each = len(weights) // (layers * sides)
        last: list[State] = []
        for layer in range(layers):
            outs = []
            for at in range(layer * sides, (layer + 1) * sides):
                own = list(weights[at * each : (at + 1) * each])
                first = tuple(part[at : at + 1] for part in state)
                out, end = self._one_way(x, first, own, biased, on, back=bool(at % sides))
                outs.append(out)
                last.append(end)
            x = torch.cat(outs, -1)
        return (x, *(torch.cat(parts) for parts in zip(*last, strict=True)))

    def _one_way(
        self, x: Tensor, state: State, own: list[Tensor], biased: bool, on: Tensor, *, back: bool
    ) -> tuple[Tensor, State]:
        """Returns outputs ``[T, B, P]`` of one layer in one direction, and its last states ``[1, B, ...]``."""
        ends = on.sum(0, keepdim=True) - 1
        turned = (ends - torch.arange(len(x))[:, None]).clamp(min=0)
        x = _at(x, turned) if back else x
        if self.pair:  # the cell of a sequence that has ended stays
            x = torch.cat([x, (~on).to(x.dtype).unsqueeze(-1)], -1)
            gates = own[0].new_tensor([-_SHUT, _SHUT, 0, 0]).repeat_interleave(len(own[0]) // 4)
            own = [torch.cat([own[0], gates[:, None]], 1), *own[1:]]
        first = state if self.pair else state[0]
        out, *end = self.run(x, first, own, biased, 1, 0.0, False, False, False)
        last = _at(out, ends), *end[1:]
        return torch.where(on[:, :, None], _at(out, turned) if back else out, 0), last


def _projected(
    x: Tensor, state: Any, weights: Any, biased: bool, layers: int, dropout: float, train: bool, both: bool, first: bool
) -> Any:  # fmt: skip
    """Returns an LSTM with projected outputs step by step; NotImplemented for one without."""
    if state[0].shape[-1] == state[1].shape[-1]:
        return NotImplemented
    x = x.transpose(0, 1) if first else x
    sides = 1 + bool(both)
    each = len(weights) // (layers * sides)
    ends: list[tuple[Tensor, Tensor]] = []
    for layer in range(layers):
        outs = []
        for at in range(layer * sides, (layer + 1) * sides):
            inward, weight, *biases, project = weights[at * each : (at + 1) * each]
            gates = x @ inward.t() + sum(biases)
            h, c = (part[at] for part in state)
            out = []
            for step in reversed(range(len(x))) if at % sides else range(len(x)):
                i, f, g, o = (gates[step] + h @ weight.t()).chunk(4, -1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh() @ project.t()
                out.append(h)
            ends.append((h, c))
            outs.append(torch.stack(out[::-1] if at % sides else out))
        x = torch.cat(outs, -1)
    return (x.transpose(0, 1) if first else x, *map(torch.stack, zip(*ends, strict=True)))


def _lstm(x: Tensor, state: Any, *others: Any) -> Any:
    """Returns an LSTM of whole sequences, as ONNX has it."""
    found = _projected(x, state, *others)
    return torch._VF.lstm(x, state, *others) if found is NotImplemented else found


def _lstm_in_onnx(x: Tensor, second: Any, *others: Any) -> Any:
    found = _Packed(_lstm, pair=True)(x, second, *others)
    return _projected(x, second, *others) if found is NotImplemented else found


RECURRENT: Ways = {
    "_pack_padded_sequence": pack,
    "_pad_packed_sequence": pad,
    "lstm": _Packed(torch._VF.lstm, pair=True),
    "gru": _Packed(torch._VF.gru),
    "rnn_tanh": _Packed(torch._VF.rnn_tanh),
    "rnn_relu": _Packed(torch._VF.rnn_relu),
}
"""What is made of packed sequences in all programs."""

RECURRENT_IN_ONNX: Ways = {**RECURRENT, "lstm": _lstm_in_onnx}
"""The same where there are no projections."""


@contextmanager
def packed_alike(net: nn.Module) -> Iterator[None]:
    """Lets recurrent layers of a network take what ``pack`` gives, until the block ends; torch counts it as it is called."""
    layers: list[Any] = [layer for layer in net.modules() if type(layer) in PACKABLE]
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            del layer.forward
            if own is not None:
                layer.forward = own


def _forward(layer: nn.RNNBase, otherwise: Callable[..., Any], x: Any, state: Any = None) -> Any:
    """Returns what a recurrent layer gives."""
    if not isinstance(x, PackedSequence):
        return otherwise(x, state)
    weights = [getattr(layer, name) for names in layer._all_weights for name in names]
    if state is None:
        state = start(layer, x.data, x.data.shape[1])
    return over(layer, weights, x, state)

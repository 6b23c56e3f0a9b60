"""Recurrent layers over packed sequences: each runs up to its own length.

``torch.nn.utils.rnn.PackedSequence`` holds the steps of all sequences in one dimension, which a graph of tensors cannot
follow. So a graph has the padded sequences and their lengths in its place, and the layer packs them for itself. What it gives
is padded again, with zeros, as ``pad_packed_sequence`` does.

Shapes: B batch, T steps, F inputs, H units.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from netdial.core.errors import ShapeError, TraceError

PACKABLE: tuple[type[nn.Module], ...] = (nn.LSTM, nn.GRU, nn.RNN)
_LAYERS: dict[str, Any] = {
    "LSTM": torch._VF.lstm,
    "GRU": torch._VF.gru,
    "RNN_TANH": torch._VF.rnn_tanh,
    "RNN_RELU": torch._VF.rnn_relu,
}


class PackedLayer(nn.RNNBase):
    """``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` that can be given lengths; leaves are those of the layer."""

    def forward(self, x: Tensor, *given: Any) -> Any:
        """Returns what the layer gives (``recurred``)."""
        weights = [getattr(self, name) for names in self._all_weights for name in names]
        return recurred(self, weights, x, *given)


def recurred(
    layer: nn.RNNBase,
    weights: list[Tensor],
    x: Tensor,
    state: Any = None,
    lengths: Any = None,
    batch_first: bool = False,
    ordered: bool = True,
) -> Any:
    """Returns what a recurrent layer gives with some weights; of sequences with lengths padded outputs, and their last states.

    Args:
        layer: the layer.
        weights: its weights and biases in torch's order.
        x: ``[B, T, F]`` or ``[T, B, F]``, as ``batch_first`` says, of the layer where there are no lengths.
        state: start state, as the layer takes it; zeros by default.
        lengths: ``[B]``, or a list; None for whole sequences.
        batch_first: of ``pack_padded_sequence``.
        ordered: its ``enforce_sorted``.

    Raises:
        ShapeError: a sequence without a batch dimension.
    """
    if x.dim() != 3:
        raise ShapeError(
            f"{layer.mode}: x is {list(x.shape)}, expected three dimensions; give a batch of one sequence"
        )
    pair, first = layer.mode == "LSTM", layer.batch_first if lengths is None else batch_first
    state = start(layer, x, x.shape[0 if first else 1]) if state is None else state
    if lengths is None:
        out, *last = _LAYERS[layer.mode](x, state, weights, *_settings(layer), first)
        return out, tuple(last) if pair else last[0]
    sequence, last = over(layer, weights, packed(x, lengths, first, ordered), state)
    padded, _ = pad_packed_sequence(sequence, first)
    return padded, last


def start(layer: nn.RNNBase, x: Tensor, batch: int) -> Any:
    """Returns the state that a recurrent layer starts from where none is given: zeros."""
    sides = layer.num_layers * (1 + layer.bidirectional)
    state = x.new_zeros(sides, batch, layer.proj_size or layer.hidden_size)
    return (state, x.new_zeros(sides, batch, layer.hidden_size)) if layer.mode == "LSTM" else state


def over(
    layer: nn.RNNBase, weights: list[Tensor], sequence: PackedSequence, state: Any
) -> tuple[PackedSequence, Any]:
    """Returns what a recurrent layer gives of packed sequences, and its last states."""
    pair = layer.mode == "LSTM"
    steps, sizes, order, back = sequence
    parts = [_at(part, order) for part in (state if pair else (state,))]
    out, *last = _LAYERS[layer.mode](
        steps, sizes, tuple(parts) if pair else parts[0], weights, *_settings(layer)
    )
    last = [_at(part, back) for part in last]
    return PackedSequence(out, sizes, order, back), tuple(last) if pair else last[0]


def _settings(layer: nn.RNNBase) -> tuple[Any, ...]:
    return layer.bias, layer.num_layers, layer.dropout, layer.training, layer.bidirectional


def _at(state: Tensor, order: Tensor | None) -> Tensor:
    """Returns states ``[L, B, H]`` of sequences in another order."""
    return state if order is None else state.index_select(1, order)


def packed(x: Tensor, lengths: Any, batch_first: bool, ordered: bool) -> PackedSequence:
    """Returns padded sequences packed, as ``pack_padded_sequence`` does."""
    at = torch.as_tensor(lengths).cpu()
    return pack_padded_sequence(x, at, batch_first, ordered)


class Padded(PackedSequence):
    """Stands for packed sequences while a network is traced: padded ones and their lengths.

    Attributes:
        given: what ``packed`` is given.
        run: whether a recurrent layer gave it, so that it is 0 behind the end of each sequence.
    """

    given: tuple[Any, Any, bool, bool]
    run: bool

    def __new__(cls, *given: Any, run: bool = False) -> Padded:
        """Returns a stand-in for ``packed(*given)``."""
        made: Padded = tuple.__new__(cls, (None,) * 4)
        made.given, made.run = given, run
        return made

    def __getattribute__(self, name: str) -> Any:
        """Returns an attribute, but for those of the packed form."""
        if name in ("data", "batch_sizes", "sorted_indices", "unsorted_indices"):
            raise TraceError(
                f"asks packed sequences for their {name}, which has no rule; take it of padded ones (pad_packed_sequence)"
            )
        return super().__getattribute__(name)


def pack(input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> Any:
    """Returns what stands for the result of ``pack_padded_sequence`` while a network is traced."""
    if not isinstance(input, fx.Proxy):
        return pack_padded_sequence(input, lengths, batch_first, enforce_sorted)
    return Padded(input, lengths, batch_first, enforce_sorted)


def pad(
    sequence: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> Any:
    """Returns what ``pad_packed_sequence`` does, of what stands for packed sequences, too.

    Raises:
        TraceError: no layer ran over them, or padding with numbers other than zero.
    """
    if not isinstance(sequence, Padded):
        return pad_packed_sequence(sequence, batch_first, padding_value, total_length)
    x, lengths, first, _ = sequence.given
    if padding_value or not sequence.run:
        raise TraceError(
            "pads sequences with numbers other than 0, or over which no recurrent layer ran; mask the padded ones (masked_fill)"
        )
    if first != batch_first:
        x = x.transpose(0, 1)
    if total_length is not None:
        steps = x.size(1 if batch_first else 0)
        x = nn.functional.pad(x, (0, 0) * (1 if batch_first else 2) + (0, total_length - steps))
    if isinstance(lengths, fx.Proxy):
        lengths = lengths.tracer.create_proxy("call_function", torch.as_tensor, (lengths,), {})
    return x, lengths


def run_packed(tracer: fx.Tracer, name: str, sequence: Padded, state: Any = None) -> Any:
    """Returns what a recurrent layer gives of what stands for packed sequences: an operation with their lengths."""
    x, *rest = sequence.given
    made: Any = tracer.create_proxy("call_module", name, (x, state, *rest), {})
    last = made[1]
    pair = getattr(tracer.root.get_submodule(name), "mode", "") == "LSTM"
    return Padded(made[0], *rest, run=True), (last[0], last[1]) if pair else last


def put_packed(traced: fx.GraphModule) -> None:
    """Puts layers that take lengths in the places of those which are given some, with the same leaves."""
    for node in traced.graph.nodes:
        layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        if type(layer) in PACKABLE and len(node.args) > 2:
            made = PackedLayer.__new__(PackedLayer)
            made.__dict__ = dict(vars(layer))
            traced.set_submodule(str(node.target), made)


@contextmanager
def packing_padded(net: nn.Module) -> Iterator[None]:
    """Lets packed sequences be padded ones and their lengths, wherever code of the network packs them."""
    stands: dict[Any, Any] = {rnn.pack_padded_sequence: pack, rnn.pad_packed_sequence: pad}
    kinds = {kind for module in net.modules() for kind in type(module).__mro__}
    functions = [f for kind in kinds for f in vars(kind).values() if isinstance(f, FunctionType)]
    places = {id(found): found for found in [vars(rnn), *(f.__globals__ for f in functions)]}
    before = [
        (names, name, value)
        for names in places.values()
        for name, value in names.items()
        if isinstance(value, FunctionType) and value in stands
    ]
    for names, name, value in before:
        names[name] = stands[value]
    try:
        yield
    finally:
        for names, name, value in before:
            names[name] = value


__all__ = [
    "PACKABLE",
    "PackedLayer",
    "Padded",
    "over",
    "pack",
    "packing_padded",
    "pad",
    "put_packed",
    "recurred",
    "run_packed",
    "start",
]

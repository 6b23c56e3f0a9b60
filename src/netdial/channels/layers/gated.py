"""Recurrent layers whose hidden units have switches.

A unit's state is read by all units at the next step (columns of ``weight_hh``), by the layer above (``weight_ih``) and by
whoever reads what the layer gives: all of them read θ times the state. The unit's own gates read the state as it is (the cell
of an LSTM, the update gate of a GRU), and states pass from call to call as they are. So a unit with θ = 0 is read by nobody
but itself and can go without a trace, and a θ other than 0 merges into the columns that read the unit. Scaling the state
itself would do neither: a GRU's update gate would apply θ once more at every step.

All layers and directions of one module have one ``hidden_size``, so a unit is the same number in each, with one switch. In an
LSTM with projections (``proj_size``) they are the state, and have the switch; the units behind them stay, because torch tells
a layer with projections by having more units.

Shapes: B batch, T steps, F inputs, H units (or projections).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from netdial.channels.layers.packed import PackedLayer, recurred
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import module_of, only_asks
from netdial.core.errors import ShapeError

RECURRENT: tuple[type[nn.Module], ...] = (
    *(nn.LSTM, nn.GRU, nn.RNN, PackedLayer),
    *(nn.LSTMCell, nn.GRUCell, nn.RNNCell),
)
"""Layers whose units can have switches, none of their subclasses."""

SWITCH = "switch"
"""Name of the switch in its layer."""

_CELLS: dict[Any, Any] = {
    nn.LSTMCell: torch._VF.lstm_cell,
    nn.GRUCell: torch._VF.gru_cell,
    "tanh": torch._VF.rnn_tanh_cell,
    "relu": torch._VF.rnn_relu_cell,
}


class GatedLayer(nn.RNNBase):
    """``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` with a switch on its units; leaves and results are those of the layer.

    Attributes:
        switch: θ ``[H]``.
        kind: class of the layer.
    """

    switch: Switch
    kind: type[nn.RNNBase]

    def forward(self, x: Tensor, *given: Any) -> Any:
        """Returns what the layer gives (``recurred``), its states not scaled."""
        return recurred(self, self.scaled(), x, *given)

    def scaled(self) -> list[Tensor]:
        """Returns the weights and biases in torch's order, with columns that read units times θ."""
        theta = self.switch.theta
        both = theta.repeat(1 + self.bidirectional)
        made = []
        for name in (name for names in self._all_weights for name in names):
            weight = getattr(self, name)
            if name.startswith("weight_hh"):
                weight = weight * theta
            elif name.startswith("weight_ih") and not name.startswith("weight_ih_l0"):
                weight = weight * both
            made.append(weight)
        return made


class GatedCell(nn.RNNCellBase):
    """``nn.LSTMCell``, ``nn.GRUCell`` or ``nn.RNNCell`` with a switch on its units.

    Attributes:
        switch: θ ``[H]``.
        kind: class of the cell.
    """

    switch: Switch
    kind: type[nn.RNNCellBase]

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """Returns the next state ``[B, H]`` (two of them for an LSTM), not scaled.

        Args:
            x: ``[B, F]``.
            state: the state before, as the cell takes it; zeros by default.

        Raises:
            ShapeError: an input without a batch dimension.
        """
        if x.dim() != 2:
            raise ShapeError(
                f"{self.kind.__name__} with switches: x is {list(x.shape)}, expected [B, {self.input_size}]"
            )
        pair = self.kind is nn.LSTMCell
        if state is None:
            state = x.new_zeros(len(x), self.hidden_size)
            state = (state, state) if pair else state
        step = _CELLS[getattr(self, "nonlinearity", self.kind)]
        return step(x, state, *self.scaled())

    def scaled(self) -> list[Tensor | None]:
        """Returns weights and biases in torch's order, with columns that read units times θ."""
        hidden = self.weight_hh * self.switch.theta
        return [self.weight_ih, hidden, self.bias_ih, self.bias_hh]


Gated = GatedLayer | GatedCell


def gated(layer: nn.RNNBase | nn.RNNCellBase, switch: Switch) -> Gated:
    """Returns a recurrent layer with a switch on its units: the same parameter objects, hooks and mode."""
    kind: Any = GatedLayer if isinstance(layer, nn.RNNBase) else GatedCell
    new: Any = _copied(layer, kind)
    new.kind = type(layer)
    new._modules[SWITCH] = switch
    found: Gated = new
    return found


@torch.no_grad()
def plain(layer: Gated) -> nn.RNNBase | nn.RNNCellBase:
    """Returns the layer without its switch, which is merged into the columns that read units, in place."""
    weights = layer.scaled()
    if isinstance(layer, GatedLayer):
        names = [name for names in layer._all_weights for name in names]
    else:
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    new: Any = _copied(layer, layer.kind)
    new.__dict__.pop("kind", None)
    del new._modules[SWITCH]
    for name, weight in zip(names, weights, strict=True):
        if weight is not None:
            getattr(new, name).data = weight
    found: nn.RNNBase | nn.RNNCellBase = new
    return found


def _copied(layer: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Returns a shallow copy of a layer as one of another class."""
    new = kind.__new__(kind)
    new.__dict__ = dict(vars(layer))
    new._parameters, new._buffers = dict(layer._parameters), dict(layer._buffers)
    new._modules = dict(layer._modules)
    return new


def unread(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Returns whether what a recurrent layer gives is used as a whole, so that no switch can stand behind its parts."""
    module = module_of(traced, node)
    packs = _packed(traced, node, module)
    return any(
        not _picks(user) and not _is_state(traced, user, pack)
        for pack in packs
        for user in pack.users
    )


def gate_units(traced: fx.GraphModule, node: fx.Node, name: str, others: set[str]) -> None:
    """Puts a call of a switch between what a recurrent layer gives and all who read it, but for states of layers with switches.

    Args:
        traced: the network.
        node: the call of the layer.
        name: the switch.
        others: names of the recurrent layers that have switches, or will.
    """
    for given in list(_given(traced, node)):
        readers = [user for user in given.users if not only_asks(user)]
        deep = [
            user
            for user in readers
            if str(user.target) in others and _is_state(traced, user, given)
        ]
        readers = [user for user in readers if user not in deep or user.args[0] is given]
        if not readers:
            continue
        with traced.graph.inserting_after(given):
            gate = traced.graph.call_module(name, (given,))
        for user in readers:
            if user in deep:
                user.args = (gate, *user.args[1:])
            else:
                user.replace_input_with(given, gate)


def _is_state(traced: fx.GraphModule, user: fx.Node, node: fx.Node) -> bool:
    """Returns whether a node is given to a recurrent layer as its state, or as a part of it."""
    recurrent = isinstance(module_of(traced, user), nn.RNNBase | nn.RNNCellBase)
    return recurrent and any(part is node for part in tree_leaves(user.args[1:]))


def _picks(user: fx.Node) -> bool:
    return getattr(user.target, "__name__", "") == "getitem" and isinstance(user.args[1], int)


def _packed(traced: fx.GraphModule, node: fx.Node, module: Any) -> Iterator[fx.Node]:
    """Yields the nodes that hold several tensors: what a layer gives, and the two states of an LSTM."""
    if isinstance(module, nn.GRUCell | nn.RNNCell) or (
        isinstance(module, GatedCell) and module.kind is not nn.LSTMCell
    ):
        return
    yield node
    if getattr(module, "mode", "") == "LSTM":
        yield from (user for user in node.users if _picks(user) and user.args[1] in (1, -1))


def _given(traced: fx.GraphModule, node: fx.Node) -> Iterator[fx.Node]:
    """Yields the nodes of single tensors that hold units: with projections not the cells."""
    module = module_of(traced, node)
    packs = list(_packed(traced, node, module))
    if not packs:
        yield node
    for pack in packs:
        parts = [user for user in pack.users if _picks(user) and user not in packs]
        if getattr(module, "proj_size", 0) and pack is not node:
            parts = [user for user in parts if user.args[1] in (0, -2)]
        yield from parts

"""Recurrent layers and cells: a unit is one row of every gate, and a column wherever it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from torch import Tensor, fx, nn

from netdial.channels.labels import FIXED, Labels, Value
from netdial.channels.layers.gated import GatedCell, GatedLayer
from netdial.channels.layers.packed import PackedLayer
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import place
from netdial.channels.rules.table import Inner, Scene, on


@on(modules=[nn.LSTMCell, nn.GRUCell, nn.RNNCell, GatedCell])
def cell(scene: Scene, node: fx.Node, x: Value, state: Any = None) -> Any:
    """One step of a recurrence: a unit is one row of every gate, and a column wherever it is read."""
    module: Any = scene.traced.get_submodule(str(node.target))
    scene.join(x.labels[-1], scene.leaf(module.weight_ih)[1])
    scene.reads(node, node.args[0], x, -1)
    units = scene.makes(module.weight_hh, 1)
    held = [module.weight_ih, module.weight_hh]
    held += [module.bias_ih, module.bias_hh] if module.bias else []
    at = _rows(scene, held, units)
    _silent(scene, module, units, {scene.name(tensor): at for tensor in held})
    parts = state if isinstance(state, tuple | list) else [state]
    for part in parts:
        if isinstance(part, Value):
            scene.join(part.labels[-1], units)
    found = Value((*x.labels[:-1], units))
    return (found, found) if getattr(module, "kind", type(module)) is nn.LSTMCell else found


@on(modules=[nn.LSTM, nn.GRU, nn.RNN, GatedLayer, PackedLayer])
def recurrent(scene: Scene, node: fx.Node, x: Value, state: Any = None, *lengths: Any) -> Any:
    """LSTM, GRU, RNN: a unit is one row of every gate, and a column wherever it is read, by the next step too.

    With projections a unit is read by the projection alone, and what that makes by everything else.
    """
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, nn.RNNBase)
    read, cells, ends = x.labels[-1], list[Labels](), list[Labels]()
    scene.keep(node, x.labels[:-1])
    scene.reads(node, node.args[0], x, -1)
    for number in range(module.num_layers * (1 + module.bidirectional)):
        layer, backwards = divmod(number, 1 + module.bidirectional)
        suffix = f"_l{layer}" + ("_reverse" if backwards else "")
        kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if module.bias else ()))
        held = [cast(Tensor, getattr(module, kind + suffix)) for kind in kinds]
        if module.proj_size:
            projection = cast(Tensor, getattr(module, "weight_hr" + suffix))
            made, units = scene.makes(projection, 0), scene.leaf(projection)[1]
            scene.join(scene.leaf(held[1])[1], made)
            scene.fix(
                units, f"{place(node)} has projections, and torch wants more units than those"
            )
            _silent(scene, module, made, {scene.name(projection): np.arange(len(made))[:, None]})
        else:
            units = made = scene.makes(held[1], 1)
        scene.join(read if not layer else _below(ends, module), scene.leaf(held[0])[1])
        at = _rows(scene, held, units)
        if not module.proj_size:
            _silent(scene, module, made, {scene.name(tensor): at for tensor in held})
        cells.append(units)
        ends.append(made)
    for one, other in zip((cells, ends), (cells[1:], ends[1:]), strict=True):
        for units in other:  # the last states of all layers and directions lie in one tensor
            scene.join(one[0], units)
    parts = state if isinstance(state, tuple | list) else [state]
    for part, units in zip(parts, (ends[0], cells[0]), strict=False):
        if isinstance(part, Value):
            scene.join(part.labels[-1], units)
    return _states(
        scene.results[node], np.concatenate(ends[-1 - module.bidirectional :]), ends[0], cells[0]
    )


def _below(ends: list[Labels], module: nn.RNNBase) -> Labels:
    """Returns the labels of what the layer below gives, of which all directions are known."""
    sides = 1 + module.bidirectional
    first = (len(ends) // sides - 1) * sides
    return np.concatenate(ends[first : first + sides])


def _rows(scene: Scene, held: Sequence[Tensor], units: Labels) -> Labels:
    """Joins the rows of every gate that make a unit; returns them ``[H, gates]``."""
    for tensor in held:
        scene.join(scene.leaf(tensor)[0].reshape(-1, len(units)), units[None, :])
    rows: Labels = np.arange(held[0].shape[0]).reshape(-1, len(units)).T
    return rows


def _silent(scene: Scene, module: nn.Module, units: Labels, rows: dict[str, Labels]) -> None:
    """Notes when nobody reads a unit: where its switch is 0, or where all rows that make it are."""
    for switch in module.children():
        assert isinstance(switch, Switch)
        scene.join(units, scene.leaf(switch.theta)[0])
        rows = {scene.name(switch.theta): np.arange(len(units))[:, None]}
    scene.inner.append(Inner(units, rows))


def _states(result: Any, read: Labels, units: Labels, cells: Labels) -> Any:
    """Returns what is known of a recurrence's outputs and last states."""

    def like(tensor: Tensor, labels: Labels) -> Value:
        return Value((*(np.full(size, FIXED) for size in tensor.shape[:-1]), labels))

    out, last = result
    if isinstance(last, tuple):
        hidden, cell = last
        return like(out, read), (like(hidden, units), like(cell, cells))
    return like(out, read), like(last, units)

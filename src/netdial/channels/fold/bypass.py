"""Removes dead residual branches from the graph: ``x + constant`` in place of ``x + branch(x)``.

A group keeps at least one channel, so of a branch whose inner channels are all dead a skeleton would remain. Where one side
of an addition is the same for every input and position, a ``Shift`` takes the addition's place (nothing does if the constant
is 0), and the branch, its layers and their optimizer states go. Outputs before and after are compared, as in ``collect``.

A branch has died if dead channels are what makes it constant: a switch with all at 0, or a layer that reads nothing but
constants. One that merely starts at 0 (last BatchNorm with weight 0, embeddings of zeros) still has a gradient and stays. So
does a plain chain: without a way around it, nothing would be left of the input.

What was done is kept on the graph module, for files and for going on: ``bypassed`` gives it, ``redo`` repeats it.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from netdial.channels.constants import known
from netdial.channels.graph import Graph
from netdial.channels.layers.shift import Shift
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import changes_in_place, is_even, module_of
from netdial.core.cutting import leaves
from netdial.core.errors import TraceError
from netdial.core.outputs import evaluated, same_outputs

_ADDITIONS: set[Any] = {operator.add, operator.iadd, torch.add, "add", "add_"}
_RECORD = "netdial.bypassed"
_COPY = "clone"


@dataclass(frozen=True)
class Bypassed:
    """A residual addition that was removed from the graph.

    Attributes:
        node: its name in the graph.
        kept: which of its two operands goes on, 0 or 1.
        instead: what stands there: name of a ``Shift``, ``clone`` for a copy (a tensor may be changed in place), or empty.
        dim: dimension of the channels of the shift, negative.
    """

    node: str
    kept: int
    instead: str = ""
    dim: int = -1


def bypass(
    graph: Graph,
    *,
    continues: bool = True,
    lenient: bool = False,
    optimizers: Sequence[Optimizer] = (),
) -> tuple[Graph, list[str]]:
    """Removes dead residual branches in place; returns the new graph and the node names of the removed additions.

    Groups may change their names, since one is named after the first layer that makes it; ``origins`` tells which is which.
    In optimizers a shift joins the parameters that it stands for.

    Args:
        graph: the network.
        continues: training goes on, so constants have to hold in training mode, too.
        lenient: as the graph was made.
        optimizers: lose the parameters that go, and gain the shifts.

    Raises:
        TraceError: the outputs would change; nothing has been changed.
    """
    steps = _Branches(graph, known(graph.traced, graph.example, continues=continues)).dead()
    if not steps:
        return graph, []
    trial = copy.deepcopy(graph.traced)
    _take_out(trial, steps, ())
    _check_outputs(graph, trial)
    Graph.of(trial, graph.example, lenient=lenient)
    _take_out(graph.traced, steps, optimizers)
    after = Graph.of(graph.traced, graph.example, lenient=lenient)
    return after, [step.node for step, _ in steps]


def bypassed(traced: fx.GraphModule) -> tuple[Bypassed, ...]:
    """Returns what has been bypassed in a network or in the one that it is a copy of, in order."""
    return tuple(Bypassed(**plain) for plain in traced.meta.get(_RECORD, ()))


def redo(
    traced: fx.GraphModule,
    steps: Sequence[Bypassed],
    tensors: Mapping[str, Tensor],
    *,
    optimizers: Sequence[Optimizer] = (),
) -> None:
    """Repeats on a fresh trace what was done to a network, in place; its parameters come in the same order.

    Args:
        traced: the network as it was traced at first, with or without switches, cut or not.
        steps: what ``bypassed`` gave.
        tensors: leaf -> its numbers, those of the shifts at least.
        optimizers: as for ``bypass``.

    Raises:
        TraceError: the network has no such addition, or the numbers of a shift are missing.
    """
    nodes = {node.name: node for node in traced.graph.nodes}
    for step in steps:
        node = nodes.get(step.node)
        if node is None or not _is_addition(node):
            raise TraceError(
                f"bypass: there is no addition {step.node!r} in the network; it is another one"
            )
        if step.instead not in ("", _COPY) and f"{step.instead}.shift" not in tensors:
            raise TraceError(f"bypass: the numbers of {step.instead}.shift are missing")
    constants = [tensors.get(f"{step.instead}.shift") for step in steps]
    _take_out(traced, list(zip(steps, constants, strict=True)), optimizers)


def origins(before: Graph, after: Graph) -> dict[str, tuple[tuple[str, int], ...]]:
    """Returns for each group of a bypassed network the group and channel that each of its channels was before."""
    was = {
        (slot.leaf, slot.dim, position): (group.name, channel)
        for group in before.groups
        for slot in group.slots
        for channel, positions in enumerate(slot.positions)
        for position in positions
    }
    return {
        group.name: tuple(
            next(
                was[slot.leaf, slot.dim, slot.positions[channel][0]]
                for slot in group.slots
                if (slot.leaf, slot.dim, slot.positions[channel][0]) in was
            )
            for channel in range(group.size)
        )
        for group in after.groups
    }


Steps = list[tuple[Bypassed, Tensor | None]]
"""What goes, and the constant ``[C]`` of a shift."""


class _Branches:
    """Looks for dead branches in a graph of which it is known what is constant."""

    def __init__(self, graph: Graph, found: Mapping[fx.Node, Any]) -> None:
        self.traced, self.found = graph.traced, found
        self.readers: dict[fx.Node, list[fx.Node]] = {}
        for reader, _ in graph.reads:
            self.readers.setdefault(reader.node, []).append(reader.source)
        self.in_place = any(changes_in_place(self.traced, n) for n in self.traced.graph.nodes)

    def dead(self) -> Steps:
        """Returns the additions to take out, the last in the graph first; none that goes with the branch of another."""
        steps: Steps = []
        needed: set[fx.Node] = set()
        for node in reversed(self.traced.graph.nodes):
            if node.op != "output" and node not in needed:
                continue
            step = self._step(node) if _is_addition(node) else None
            if step is None:
                needed.update(node.all_input_nodes)
            else:
                steps.append(step)
                needed.update([node.args[step[0].kept]])
        return steps

    def _step(self, node: fx.Node) -> tuple[Bypassed, Tensor | None] | None:
        """Returns how an addition can be taken out, if it can."""
        for kept in (0, 1):
            source, branch = node.args[kept], node.args[1 - kept]
            assert isinstance(source, fx.Node) and isinstance(branch, fx.Node)
            if not self._is_known(branch) or self._is_known(source) or not self._has_died(branch):
                continue
            value, whole = self.found[branch], self.found[source]
            result = self.found[node]
            if (whole.shape, whole.dtype) != (result.shape, result.dtype) or whole.ndim < 2:
                continue
            if not value.any():
                return Bypassed(node.name, kept, _COPY if self.in_place else ""), None
            value = value.expand(whole.shape)
            for dim in self._dims(branch, whole.ndim):
                lines = value.movedim(dim, 0).flatten(1)
                if is_even(lines):
                    name = f"shift_{node.name}"
                    return Bypassed(node.name, kept, name, dim), lines[:, 0].clone()
        return None

    def _is_known(self, node: fx.Node) -> bool:
        return all(not bool(part.isnan().any()) for part in self._tensors(node))

    def _tensors(self, node: fx.Node) -> list[Tensor]:
        return [part for part in tree_leaves(self.found[node]) if isinstance(part, Tensor)]

    def _has_died(self, branch: fx.Node) -> bool:
        """Whether dead channels are what makes a branch constant, on all ways back to the input."""
        waiting, seen, dead = [(branch, False)], set(), False
        while waiting:
            node, behind = waiting.pop()
            if (node, behind) in seen:
                continue
            seen.add((node, behind))
            if not self._is_known(node):
                if not behind:
                    return False
                dead = True
            elif _is_off(module_of(self.traced, node)):
                dead = True
            else:
                here = behind or any(self._is_known(s) for s in self.readers.get(node, ()))
                waiting += [(source, here) for source in node.all_input_nodes]
        return dead

    def _dims(self, branch: fx.Node, ndim: int) -> list[int]:
        """Returns dimensions in which channels may lie, negative; first that of the layer which made the branch."""
        node, first = branch, list[int]()
        while not first and node.all_input_nodes:
            module = module_of(self.traced, node)
            if isinstance(module, nn.Linear | nn.LayerNorm | nn.RMSNorm):
                first = [-1]
            elif isinstance(module, _ConvNd | _NormBase | nn.GroupNorm):
                first = [1 - ndim]
            elif isinstance(module, Switch):
                first = [module.dim % ndim - ndim]
            node = node.all_input_nodes[0]
        return list(dict.fromkeys([*first, 1 - ndim, -1]))


def _take_out(traced: fx.GraphModule, steps: Steps, optimizers: Sequence[Optimizer]) -> None:
    """Removes additions from a network, one after the other."""
    for step, constant in steps:
        held = list(traced.parameters())
        read = {str(node.target) for node in traced.graph.nodes if node.op == "get_attr"}
        made = _reroute(traced, step, constant)
        _clean(traced, read)
        traced.meta[_RECORD] = [*traced.meta.get(_RECORD, ()), asdict(step)]
        left = {id(parameter) for parameter in traced.parameters()}
        gone = {id(parameter) for parameter in held} - left
        for optimizer in optimizers:
            _exchange(optimizer, gone, made)


def _reroute(traced: fx.GraphModule, step: Bypassed, constant: Tensor | None) -> list[nn.Parameter]:
    """Replaces an addition for all its readers; returns new parameters."""
    node = next(node for node in traced.graph.nodes if node.name == step.node)
    source, made = node.args[step.kept], list[nn.Parameter]()
    with traced.graph.inserting_after(node):
        if step.instead == _COPY:
            source = traced.graph.create_node(
                "call_method", _COPY, (source,), name=f"past_{node.name}"
            )
        elif step.instead:
            assert constant is not None
            shift = Shift(constant, dim=step.dim).train(traced.training)
            shift.to(next(traced.parameters()).device)
            traced.add_submodule(step.instead, shift)
            source = traced.graph.call_module(step.instead, (source,))
            made.append(shift.shift)
    node.replace_all_uses_with(source)
    traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    return made


def _clean(traced: fx.GraphModule, read: set[str]) -> None:
    """Deletes submodules, and leaves read by the graph itself, that nothing uses any longer."""
    named = _names_of_used(traced)  # a tied leaf may be read by another of its names
    with traced.graph.inserting_before():
        readers = [traced.graph.get_attr(name) for name in named]
    traced.delete_all_unused_submodules()
    for reader in readers:
        traced.graph.erase_node(reader)
    used = {str(node.target) for node in traced.graph.nodes if node.op == "get_attr"}
    for path in (read | traced._parameters.keys()) - used - named:
        owner_path, _, name = path.rpartition(".")
        try:
            owner = traced.get_submodule(owner_path)
        except AttributeError:
            continue
        if type(owner) is nn.Module or owner is traced:
            delattr(owner, name)
    traced.graph.lint()
    traced.recompile()


def _names_of_used(traced: fx.GraphModule) -> set[str]:
    """Returns the names of the leaves that nodes read, or layers that they call."""
    used: set[int] = set()
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            used.add(id(operator.attrgetter(str(node.target))(traced)))
        elif (module := module_of(traced, node)) is not None:
            used |= {id(leaf) for leaf in leaves(module).values()}
    return {name for name, leaf in leaves(traced).items() if id(leaf) in used}


def _exchange(optimizer: Optimizer, gone: set[int], made: Sequence[nn.Parameter]) -> None:
    """Removes parameters from an optimizer; new ones go where vectors were removed, or else anything was."""
    lost: list[tuple[bool, int]] = []
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            if id(parameter) in gone:
                lost.append((parameter.ndim != 1, number))
                optimizer.state.pop(parameter, None)
        group["params"] = [p for p in group["params"] if id(p) not in gone]
    if lost:
        optimizer.param_groups[min(lost)[1]]["params"].extend(made)


def _check_outputs(graph: Graph, trial: fx.GraphModule) -> None:
    """Raises if the outputs have changed."""
    found = same_outputs(evaluated(graph.traced, graph.example), evaluated(trial, graph.example))
    if not found:
        raise TraceError(
            f"bypass: without its dead branches the network's outputs would change by {found.difference:.1e} of the largest, "
            f"allowed are {found.tolerance:.0e}; nothing was changed; this is a bug in netdial's rule for one "
            "of the operations: please report it with the network"
        )


def _is_addition(node: fx.Node) -> bool:
    """Returns whether a node adds two results, as they are."""
    plain = len(node.args) == 2 and all(isinstance(part, fx.Node) for part in node.args)
    called = node.op in ("call_function", "call_method")
    return called and node.target in _ADDITIONS and plain and not node.kwargs


def _is_off(module: nn.Module | None) -> bool:
    """Returns whether a module is a switch of which all θ are 0."""
    return isinstance(module, Switch) and not bool(module.theta.any())

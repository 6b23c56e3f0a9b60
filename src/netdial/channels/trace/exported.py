"""From a module to its graph of operations by ``torch.export``, for networks that ``torch.fx`` cannot trace.

``torch.export`` runs the forward pass on tensors without numbers, so that code may ask for shapes, types, devices and
dimensions; only what depends on values is out of reach. Its graph, however, has neither layers nor names. So every layer runs
as one opaque operation while it is exported (``opaque.py``), and the graph is *raised*: these become calls of the user's own
layers again, lifted parameters become attributes, and operations of ``aten`` the torch functions that the rules know
(``aten.py``).

The size of the batch stays a symbol. Whatever else the code asks about shapes is answered for the example, once: the graph is
that of the way which the example takes. Code that asks for the size of the batch is refused if the answer matters.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, OutputKind
from torch.utils._pytree import SequenceKey, tree_map, tree_unflatten

from netdial.channels.nodes import WITHOUT_GRADIENTS, line_of, place
from netdial.channels.trace.answers.batches import note_sizes
from netdial.channels.trace.answers.draws import BY_OTHERS, drawn
from netdial.channels.trace.answers.example import (
    ASKS_NUMBERS,
    asks_numbers,
    by_example,
    settle_checks,
)
from netdial.channels.trace.answers.questions import Guarded, Place
from netdial.channels.trace.answers.rows import rows_as_one
from netdial.channels.trace.answers.sizes import sizes_kept
from netdial.channels.trace.answers.whole import made_by_hook
from netdial.channels.trace.aten.ctc import ctc_named
from netdial.channels.trace.aten.plain import plainly
from netdial.channels.trace.aten.restating import restate, shape_of
from netdial.channels.trace.inplace import keep_changes
from netdial.channels.trace.opaque import INSIDE, Call, OneInput, filled, opaque, weights_set
from netdial.channels.trace.ready import (
    DataDetached,
    hooks_kept,
    other_weights,
    quiet,
    unchecked,
)
from netdial.channels.trace.state import StateChanged, alone, set_aside, settled
from netdial.channels.trace.symbolic import BY_GENERATOR, Cured, Taken, detach
from netdial.core.errors import TraceError
from netdial.core.outputs import contents_kept

wrap_with_set_grad_enabled = torch.ops.higher_order.wrap_with_set_grad_enabled
wrap_with_autocast = torch.ops.higher_order.wrap_with_autocast


class Aside(Cured):
    """A part of a forward pass runs under ``autocast`` or the like.

    Attributes:
        owner: name of the module whose forward pass it is.
    """

    def __init__(self, node: fx.Node, line: str) -> None:
        super().__init__(f"a part runs under autocast{line}; put it around net(x) instead")
        places = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        self.owner = _own_name(places[-1] if places else "")


def export(
    net: nn.Module,
    example: Tensor,
    whole: Collection[type[nn.Module]] = (),
    asked: Collection[Place] = (),
    weights: Collection[str] = (),
) -> Taken:
    """Returns the graph of a network in its present mode, and the constants that its forward pass makes, by name.

    Args:
        net: the network.
        example: inputs ``[b, ...]``; one is taken twice, for a size of 1 is no symbol.
        whole: classes of the user's own modules that are one operation each.
        asked: where code goes the example's way.
        weights: names of parameters that its forward pass sets.

    Raises:
        TraceError: it cannot be exported, depends on the size of the batch, runs partly under ``autocast`` (``Aside``) or
            changes buffers (``StateChanged``).
    """
    example = example if len(example) > 1 else torch.cat([example, example])
    sizes = {name: tensor.shape for name, tensor in net.named_buffers()}
    with (
        warnings.catch_warnings(),
        quiet(),
        sizes_kept(net),
        contents_kept(net),
        hooks_kept(net),
        settled(net, example),
        other_weights() as others,
        opaque(net, whole, others) as calls,
        unchecked(),
        DataDetached(),
        ctc_named(),
        rows_as_one(),
        Guarded(),
    ):
        warnings.simplefilter("ignore")
        inside = OneInput(net, weights, others)
        shapes = {"x": {0: Dim.DYNAMIC}}
        program, by_chance = drawn(
            lambda: torch.export.export(inside, (example,), dynamic_shapes=shapes, strict=False),
            net,
            by_torch=False,  # its own draws are operations of the graph
        )
        program = plainly(program)
        if by_chance:
            raise Cured(BY_OTHERS)
    settle_checks(program, asked, [call.layer for call in calls])
    for name in sorted(inside.counted):
        raise StateChanged.read(net, name)
    graph, constants = _Raising(net, program, calls, sizes).run(weights)
    note_sizes(program, graph)
    return graph, constants


def export_modes(net: nn.Module, example: Tensor, asked: set[Place]) -> tuple[Taken, Taken]:
    """Returns the graphs in training and in evaluation; files and lines are added where they go the example's way."""
    try:
        return _both_modes(net, example, ())
    except Exception as error:
        if not asks_numbers(error):
            raise
    with by_example(asked):
        return _both_modes(net, example, asked)


def _both_modes(net: nn.Module, example: Tensor, asked: Collection[Place]) -> tuple[Taken, Taken]:
    """Returns the graphs in training and in evaluation; the network is left in evaluation.

    Modules of the user's own without parameters that change buffers, or run under ``autocast``, are one operation in both.
    """
    whole: set[type[nn.Module]] = set()
    with contents_kept(net):
        weights = weights_set(net, example)
    while True:
        try:
            trained = export(net.train(), example, whole, asked, weights)
            return trained, export(net.eval(), example, whole, asked, weights)
        except (StateChanged, Aside) as error:
            kind = alone(net, error.owner)
            if kind is None or kind in whole:
                raise
            whole.add(kind)


class _Raising:
    """Makes the graph of calls from an exported one."""

    def __init__(
        self,
        net: nn.Module,
        program: ExportedProgram,
        calls: Sequence[Call],
        sizes: Mapping[str, torch.Size],
    ) -> None:
        self.net, self.program, self.calls, self.sizes = net, program, calls, sizes
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Any] = {}
        self.lifted: dict[fx.Node, str] = {}
        self.constants: dict[str, Tensor] = {}
        self.held: set[str] = set()
        self.x: fx.Node | None = None
        self.gradients = True

    def run(self, weights: Collection[str] = ()) -> tuple[fx.Graph, dict[str, Tensor]]:
        """Returns the graph and the constants it reads that are no attributes of the network."""
        replaced: dict[str, fx.Node] = {}
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self._input(node, specs[node.name])
            elif node.op == "output":
                made, replaced = self._output(node)
                self.graph.output(made)
            elif node.op == "call_function":
                self._call(node)
            else:
                self._block(node, self.program.graph_module)
        reads = {str(node.target): node for node in self.graph.nodes if node.op == "get_attr"}
        copies = {name: next(iter(reads[name].users)) for name in weights if name in reads}
        set_aside(self.net, self.graph, copies)
        detach(self.graph)
        if not self.net.training:  # they would be set to the same again
            replaced = {name: node for name, node in replaced.items() if name not in weights}
        keep_changes(self.net, self.graph, self.constants, self._remembered(replaced))
        return self.graph, self.constants

    def _remembered(self, replaced: dict[str, fx.Node]) -> dict[str, fx.Node]:
        """Returns what the network's own tensors are set to, without attributes that are there to be looked at alone.

        Such a one (``self.weights = softmax(…)``) is no tensor before the first call, and no operation reads what it held.
        """
        return {
            leaf: node
            for leaf, node in replaced.items()
            if (_has(self.net, leaf) or leaf in self.held) and not made_by_hook(self.net, leaf)
        }

    def _block(self, node: fx.Node, holder: nn.Module) -> None:
        """Notes a part of the graph that runs under a setting of torch; that of gradients can be followed."""
        part: Any = getattr(holder, str(node.target))
        if not all(
            user.target is wrap_with_set_grad_enabled or _is_off(user) for user in node.users
        ):
            raise Aside(node, self._line_inside(part))
        self.values[node] = part

    def _inside(self, enabled: bool, part: fx.GraphModule, *given: Any) -> Any:
        """Returns what a block makes of what it is given, with gradients or without; its operations become the graph's own."""
        before, self.gradients = self.gradients, enabled
        values, made = iter(given), None
        for node in part.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = next(values)
            elif node.op == "output":
                made = fx.node.map_arg(node.args[0], self._value)
            elif node.op == "call_function":
                self._call(node)
            else:
                self._block(node, part)
        self.gradients = before
        return list(made) if isinstance(made, tuple | list) else made

    def _line_inside(self, part: Any) -> str:
        """Returns where the first operation of a part of the graph comes from, for messages; empty if that is not known."""
        for found in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            found.stack_trace = line_of(found.stack_trace)
            if found.op == "call_function" and found.stack_trace:
                return f", at {place(found)}"
        return ""

    def _input(self, node: fx.Node, spec: InputSpec) -> None:
        if spec.kind is InputKind.USER_INPUT:
            self.x = self.values[node] = self.graph.placeholder(node.name)
            return
        name = _own_name(str(spec.target))
        self.held.add(name)
        kept = {**self.program.state_dict, **self.program.constants}
        if not isinstance(value := kept[str(spec.target)], Tensor):
            raise Cured(BY_GENERATOR)
        made = name in self.sizes and self.sizes[name] != value.shape  # of another size before
        if spec.kind is not InputKind.PARAMETER and (made or not _has(self.net, name)):
            name = f"_tensor_constant{len(self.constants)}"
            self.constants[name] = value  # a buffer that the first call makes
        self.lifted[node] = name

    def _value(self, node: fx.Node) -> Any:
        """Returns what stands for a node; attributes are read where they are first used."""
        if node not in self.values:
            self.values[node] = self.graph.get_attr(self.lifted[node])
        return self.values[node]

    def _call(self, node: fx.Node) -> None:
        last = next(iter(reversed(self.graph.nodes)), None)
        args: Any = fx.node.map_arg(node.args, self._value)
        kwargs: Any = fx.node.map_arg(node.kwargs, self._value)
        if node.target is torch.ops.netdial.layer.default:
            self.values[node] = self._layer_call(self.calls[args[1]], args[0])
        elif node.target is wrap_with_set_grad_enabled:
            self.values[node] = self._inside(*args)
        elif node.target is wrap_with_autocast:
            self.values[node] = self._inside(self.gradients, *args[4:])
        elif node.target is operator.getitem and isinstance(args[0], list):
            self.values[node] = args[0][args[1]]  # a part of what a layer makes
        elif isinstance(node.target, torch._ops.OpOverload):
            self.values[node] = self._operation(node, node.target, args, kwargs)
        else:
            self.values[node] = self.graph.create_node(node.op, node.target, args, kwargs)
        for made in takewhile(lambda made: made is not last, reversed(self.graph.nodes)):
            made.stack_trace = made.stack_trace or line_of(node.stack_trace)
            made.meta.setdefault(WITHOUT_GRADIENTS, not self.gradients)

    def _operation(
        self, node: fx.Node, op: torch._ops.OpOverload, args: Any, kwargs: Mapping[str, Any]
    ) -> Any:
        args, kwargs = tree_map(self._where, (args, kwargs))
        shapes = shape_of(node.args[0] if node.args else None), shape_of(node)
        try:
            return restate(self.graph, op, args, kwargs, shapes)
        except TypeError as error:
            why = ASKS_NUMBERS if None in (*shapes[0], *shapes[1]) else error
            raise TraceError(f"{op} is used in a way that has no rule ({why})") from error

    def _where(self, part: Any) -> Any:
        """Returns the device of the inputs in place of one that was theirs in the example, so that the graph can move."""
        if not isinstance(part, torch.device):
            return part
        assert self.x is not None
        return self.graph.call_function(getattr, (self.x, "device"))

    def _layer_call(self, call: Call, tensors: Sequence[fx.Node]) -> list[Any]:
        """Returns the parts that a call of a layer makes, in order; those that nobody reads are removed later."""
        if any(isinstance(part, torch.SymInt) for part in call.given):
            raise TraceError(f"layer {call.name} is given the size of the batch")
        args, kwargs = filled(call.given, tensors, call.spec)
        made = self.graph.call_module(call.name, args, kwargs)
        parts = []
        for path, part in call.made:
            value = made
            for step in path if isinstance(part, Tensor) else ():
                at = step.idx if isinstance(step, SequenceKey) else step.key
                value = self.graph.call_function(operator.getitem, (value, at))
            if isinstance(part, Tensor):
                parts.append(value)
        return parts

    def _output(self, node: fx.Node) -> tuple[Any, dict[str, fx.Node]]:
        """Returns what the network makes, and the nodes that make what its own tensors are set to."""
        kinds = {spec.kind for spec in self.program.graph_signature.output_specs}
        if kinds - {OutputKind.USER_OUTPUT}:
            raise TraceError("changes inputs or attributes while it runs")
        flat: Any = fx.node.map_arg(node.args[0], self._value)
        packed = self.program.call_spec.out_spec
        assert packed is not None
        made, replaced = tree_unflatten(list(flat), packed)
        return made, replaced


def _is_off(node: fx.Node) -> bool:
    """Whether a node runs a part of the graph where ``autocast`` is switched off."""
    return node.target is wrap_with_autocast and not node.args[2]


def _own_name(name: str) -> str:
    """Returns a name in what is exported as it is in the network."""
    return name.removeprefix(INSIDE).removeprefix(".")


def _has(net: nn.Module, name: str) -> bool:
    """Whether a dotted name is that of a tensor in the network."""
    owner, _, last = name.rpartition(".")
    try:
        return isinstance(getattr(net.get_submodule(owner), last, None), Tensor)
    except AttributeError:
        return False

"""The loss that a network computes by itself from its own argument ``labels``, as models of the transformers library do.

Training runs the network without labels, so its loss is taken out of its code: the network is exported with labels, and what
leads from its outputs and the labels to the loss is a function of its own, checked against the network on batches of two sizes.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from netdial.core.errors import ConfigError, TraceError, first_line, some_of
from netdial.core.inputs import Packing, PartedInputs, ScoredOutput, own_class, structured
from netdial.core.outputs import contents_kept, evaluating, same_outputs
from netdial.data.dataset import Dataset, match
from netdial.data.memory import Loader
from netdial.task.base import Task
from netdial.task.loss import Loss, LossFunction

_ROWS = 3
_TOLERANCE = 1e-4
_LABELS = "labels"
_SHIFTED, _SHIFT = "decoder_input_ids", "prepare_decoder_input_ids_from_labels"
_SIZE: Any = torch.ops.aten.sym_size.int


def by_loss(kind: str | Task | None, loss: LossFunction | None) -> str | Task | None:
    """Returns the task of a loss function, or else the kind that was given.

    Raises:
        ConfigError: both were given, or the function has parameters, which nothing would train.
    """
    if loss is None:
        return kind
    if kind is not None:
        raise ConfigError(
            f"kind={kind if isinstance(kind, str) else kind.name!r} and loss: give one of them; a loss function is a task"
        )
    if not callable(loss):
        raise ConfigError(
            f"loss={loss!r}: expected a function of (outputs, targets), for example torch.nn.BCEWithLogitsLoss()"
        )
    if isinstance(loss, type):
        raise ConfigError(
            f"loss={loss.__name__}: is a class, which would be made of outputs and targets; give loss={loss.__name__}()"
        )
    leaves = loss.named_parameters() if isinstance(loss, nn.Module) else ()
    if own := [name for name, leaf in leaves if leaf.requires_grad]:
        raise ConfigError(
            f"loss {type(loss).__name__}: has parameters of its own ({some_of(own)}), and those of the network alone are "
            "trained; put them into the network, or freeze them if they are to stay (loss.requires_grad_(False))"
        )
    return Loss.of(loss)


def asked(
    net: nn.Module,
    data: Dataset | Loader,
    kind: str | Task | None,
    loss: LossFunction | None,
    known: Task | None = None,
) -> str | Task | None:
    """Returns the task that is asked for: by its kind, by a loss function, or by a network that computes its own loss.

    Args:
        net: the network, as its class is.
        data: what it is trained or measured on.
        kind: the task, by name or as a value.
        loss: a loss function, (outputs, targets) -> one number, or one for each example.
        known: the task that a family was trained for.

    Raises:
        ConfigError: as of ``by_loss``; or the network's own loss needs more than its outputs and labels.
    """
    kind = by_loss(kind, loss)
    lost = isinstance(known, Loss) and known.function is None
    if kind is not None or (known is not None and not lost) or _LABELS not in _arguments(net):
        return kind
    return _own(net, data)


def _arguments(net: nn.Module) -> Collection[str]:
    """Returns the names of the arguments that a network's class takes."""
    forward = getattr(own_class(net), "forward", None)  # that of a scripted network has none
    return () if forward is None else inspect.signature(forward).parameters.keys()


def few_rows(
    net: nn.Module, data: Dataset | Loader
) -> tuple[Tensor, Tensor, Packing | None] | None:
    """Returns inputs and targets of a few examples as a network takes them, and how several inputs lie in one tensor."""
    first = (
        data.select(torch.arange(min(_ROWS, len(data))))
        if isinstance(data, Dataset)
        else data.first()
    )
    like = next((p for p in net.parameters() if p.is_floating_point()), None)
    x = first.inputs() if isinstance(first, Dataset) else first.x
    if like is None or not len(x):
        return None
    given = first.packing
    if given is not None and not given.is_several:
        given = given.taken_by(net.forward)
    return match(x[:_ROWS], like), match(first.y[:_ROWS], like), given


def _own(net: nn.Module, data: Dataset | Loader) -> Loss | None:
    """Returns a network's own loss, if it is another than that of the task which the targets suggest."""
    rows = few_rows(net, data)
    if rows is None or len(rows[0]) < 2:
        return None
    x, labels, packing = rows
    labelled = _Labelled(net, packing)
    try:
        with contents_kept(net), evaluating(net):
            found, outputs = labelled(x, labels)
    except Exception:  # whatever is wrong is said by the rehearsal
        return None
    if found is None:
        return None
    _check_inputs(labelled, x, labels, outputs)
    if _usual(found, outputs, labels):
        return None
    name = type(net).__name__
    try:
        function = _taken_out(labelled, x, labels)
        _check(function, labelled, x, labels)
    except Exception as error:
        why = (
            str(error)
            if isinstance(error, TraceError)
            else f"{type(error).__name__}: {first_line(error)}"
        )
        raise ConfigError(
            f"network {name}: its own loss of labels {list(labels.shape)} cannot be taken out of its code ({why}); give "
            "a loss of (outputs, targets), loss=, or say what the targets are, kind="
        ) from error
    return Loss(f"own loss of {name}", function=function)


def _usual(found: Tensor, outputs: Tensor, labels: Tensor) -> bool:
    """Returns whether a loss is cross-entropy of one class for each example, or squared error of numbers."""
    try:
        if not labels.is_floating_point():
            usual = F.cross_entropy(outputs, labels) if labels.ndim == 1 else None
        else:
            usual = F.mse_loss(outputs.squeeze(), labels.squeeze())
    except (RuntimeError, IndexError, ValueError):
        return False
    return usual is not None and bool(torch.allclose(usual, found.to(usual), rtol=_TOLERANCE))


class _Labelled(nn.Module):
    """A network as one from a packed input and labels to its loss and the output that is scored."""

    def __init__(self, net: nn.Module, packing: Packing | None) -> None:
        super().__init__()
        self.net, self.packing = net, packing
        self.apart, self.pick = PartedInputs(packing), ScoredOutput()

    def forward(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor | None, Tensor]:
        parts = self.apart(x)
        args, kwargs = (parts, {}) if self.packing is None else self.packing.call(parts)
        found = structured(self.net(*args, **kwargs, labels=labels))
        if not isinstance(found, dict):
            return None, self.pick(found)
        return found.pop("loss", None), self.pick(found)


def _check_inputs(labelled: _Labelled, x: Tensor, labels: Tensor, outputs: Tensor) -> None:
    """Refuses a network that makes inputs of its labels: training calls it without them.

    Args:
        labelled: the network.
        x: packed inputs.
        labels: their labels.
        outputs: what it gives for both; one that draws numbers, and gives something else each time, is not compared.
    """
    with contents_kept(labelled), evaluating(labelled):
        if not same_outputs(labelled(x, labels)[1], outputs):
            return
        with contextlib.suppress(
            Exception
        ):  # of whatever kind a network raises that lacks an input
            if same_outputs(labelled(x, None)[1], outputs, tolerance=_TOLERANCE, equal_nan=True):
                return
    net, given = labelled.net, labelled.packing.names if labelled.packing else ()
    is_missing = _SHIFTED in _arguments(net) and _SHIFTED not in given
    missing = _SHIFTED if is_missing else "what it makes of them"
    how = f", net.{_SHIFT}(labels)" if is_missing and hasattr(net, _SHIFT) else ""
    raise ConfigError(
        f"network {type(net).__name__}: makes inputs of its labels, and in training it is called without them; add "
        f"{missing} to its inputs{how}"
    )


def _check(function: LossFunction, labelled: _Labelled, x: Tensor, labels: Tensor) -> None:
    """Refuses a function that does not give the network's loss, on as many rows as it was taken out with and on fewer."""
    for rows in (len(x), len(x) - 1):
        with contents_kept(labelled), evaluating(labelled):
            due, outputs = labelled(x[:rows], labels[:rows])
            found = function(outputs, labels[:rows])
        if due is None or not same_outputs(due, found, tolerance=_TOLERANCE, equal_nan=True):
            raise TraceError(f"on {rows} examples it gives another number")


def _taken_out(
    labelled: _Labelled, x: Tensor, labels: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the function of outputs and labels that a network's loss is.

    Raises:
        TraceError: the loss needs something else.
    """
    rows = {0: Dim.AUTO}
    with evaluating(labelled), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            labelled, (x, labels), dynamic_shapes=(rows, rows), strict=False
        )
    graph = exported.graph
    nodes = {node.name: node for node in graph.nodes}
    loss, outputs = (nodes[str(name)] for name in exported.graph_signature.user_outputs)
    inputs = [nodes[str(name)] for name in exported.graph_signature.user_inputs]
    part = fx.Graph()
    known = {outputs: part.placeholder("outputs"), inputs[1]: part.placeholder("targets")}
    constants: dict[str, Tensor] = {}
    needed = _before(loss, known)
    for node in graph.nodes:
        if node in known or node not in needed:
            continue
        if node.op == "call_function" and node.target is _SIZE and node.args == (inputs[0], 0):
            known[node] = part.call_function(_SIZE, (known[outputs], 0))
        elif node.op == "placeholder":
            constants[node.name] = _constant(exported, node)
            known[node] = part.get_attr(node.name)
        else:
            known[node] = part.node_copy(node, known.__getitem__)
    part.output(known[loss])
    return _OwnLoss(fx.GraphModule(constants, part))


def _before(loss: fx.Node, known: Mapping[fx.Node, fx.Node]) -> set[fx.Node]:
    """Returns all nodes that a loss is computed from, up to those that are known."""
    found: set[fx.Node] = set()
    waiting = [loss]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            of_size = node.op == "call_function" and node.target is _SIZE and node.args[1] == 0
            waiting += [] if node in known or of_size else node.all_input_nodes
    return found


def _constant(exported: ExportedProgram, node: fx.Node) -> Tensor:
    """Returns the numbers of a placeholder that is a constant or a buffer."""
    signature = exported.graph_signature
    places = {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    if node.name not in places:
        parameter = signature.inputs_to_parameters.get(node.name)
        what = f"its parameter {parameter.removeprefix('net.')}" if parameter else "its inputs"
        raise TraceError(f"it is computed from {what}, not from outputs and labels alone")
    name = places[node.name]
    found: Tensor = {**exported.constants, **exported.state_dict}[name]
    return found.detach().clone()


class _OwnLoss:
    """A loss that was taken out of a network."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self._graph = graph

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        found: Tensor = self._graph.to(outputs.device)(outputs, targets)
        return found

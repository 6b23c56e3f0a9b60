"""From a module to its graph of operations.

It keeps the user's submodules and parameters, the same objects and names. Composite modules that cannot be traced are
lowered first (``lower.py``). ``torch.fx`` traces (``symbolic.py``); where it cannot, as code asks for shapes or the like,
``torch.export`` does (``exported.py``). One graph is made of those in both modes (``modes.py``).
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, fx, nn

from netdial.channels.layers.packed import put_packed
from netdial.channels.nodes import name_first, place
from netdial.channels.trace.answers.batches import other_sizes
from netdial.channels.trace.answers.chance import by_chance, standing_still, tell_still
from netdial.channels.trace.answers.draws import DRAWS, drawn, stopped_at_draws
from netdial.channels.trace.answers.questions import Place, guards_told
from netdial.channels.trace.answers.rows import rows_kept
from netdial.channels.trace.answers.tried import check_answers
from netdial.channels.trace.answers.ways import tell_ways
from netdial.channels.trace.inplace import make_explicit
from netdial.channels.trace.lower import InEvaluation, lower
from netdial.channels.trace.modes import apart, settle_modes
from netdial.channels.trace.positional import by_position, spelled_out
from netdial.channels.trace.ready import answered, check_parts, copy_made, name_any
from netdial.channels.trace.running import execute
from netdial.channels.trace.state import (
    Remembered,
    StateChanged,
    Touched,
    alone,
    failing,
    put_keeping,
    tensors_held,
)
from netdial.channels.trace.symbolic import (
    ADVICE,
    ASKED,
    Taken,
    Unanswered,
    answering,
    neither,
    symbolic,
)
from netdial.channels.trace.training import (
    Differs,
    call_first,
    check_batches,
    check_same,
    check_training,
    failure_of,
)
from netdial.core.cutting import note_unread
from netdial.core.errors import ConfigError, TraceError
from netdial.core.inputs import OneTensor, OneTensorGraph
from netdial.core.outputs import keep_freed_memory, modes_kept

_EXPORTED = "taken by torch.export"
_STILL = "modules that go as in evaluation"
_OWN_FAILURES = (TypeError, AttributeError, ValueError, IndexError, KeyError, RuntimeError)
"""Errors of code that fails by itself where it is compiled, which says nothing of how it runs."""


def trace(net: nn.Module, example: Tensor | None = None) -> fx.GraphModule:
    """Returns the network as a graph module that shares its parameters, buffers and layers.

    Args:
        net: any module, or a graph module, which comes back as it is.
        example: inputs ``[b, ...]``, two or more. With them a network that ``torch.fx`` cannot trace is tried with
            ``torch.export``, modules that go by random numbers in training go as in evaluation (with a warning), and what
            comes back has been checked to compute what the network does.

    Raises:
        TraceError: the network cannot be traced; the message names the line.
        ConfigError: it has no parameters.
    """
    if next(net.parameters(), None) is None:
        raise ConfigError(f"network {type(net).__name__}: has no parameters, so nothing can be cut")
    if isinstance(net, fx.GraphModule):
        return net
    check_parts(net)
    keep_freed_memory()
    failure = None if example is None else call_first(net, example)
    with guards_told(type(net).__name__):
        try:
            return _followed(net, example)
        except StateChanged:
            raise
        except TraceError as error:
            if example is not None and (said := failure_of(net, example, failure)):
                raise said from error
            still = {} if example is None else by_chance(net, example)
            if not still:
                raise
        traced = _followed(net, example, still)
    traced.meta[_STILL] = tuple(still)
    tell_still(net, still)
    return traced


def _followed(
    net: nn.Module, example: Tensor | None, still: Collection[str] = ()
) -> fx.GraphModule:
    """Returns the graph of a network that has none yet.

    Args:
        net: the network.
        example: inputs.
        still: names of modules that go as in evaluation.
    """
    try:
        return _answered(net, lower(net), example, still)
    except InEvaluation as error:
        return _answered(net, lower(net, error.names), example, still)


def _answered(
    net: nn.Module, lowered: nn.Module, example: Tensor | None, still: Collection[str]
) -> fx.GraphModule:
    """Returns the graph of a network; where its code asks whether there are any, there are, if it can go by that."""
    with standing_still(lowered, still):
        if example is not None:
            try:
                with answering():
                    return _trace(net, lowered, example)
            except Unanswered:
                pass
        return _trace(net, lowered, example)


def _trace(net: nn.Module, lowered: nn.Module, example: Tensor | None) -> fx.GraphModule:
    """Returns the graph of a network.

    Raises:
        Unanswered: code asks whether there are any, and cannot go by what is answered.
    """
    try:
        taken = _by_fx(net, lowered)
    except TraceError as error:
        if example is None or (
            isinstance(error, StateChanged) and not isinstance(error, Remembered)
        ):
            raise
        try:
            return _exported(net, lowered, example, error)
        except TraceError:
            if isinstance(error, Remembered):
                raise error from None
            raise
    asked = frozenset[tuple[str, int]]().union(*(g.output_node().meta[ASKED] for g, _ in taken))
    try:
        traced = _joined(net, lowered, *taken)
    except TraceError as error:  # written in place where others see it
        if example is None:
            raise
        try:
            return _exported(net, lowered, example, error)
        except TraceError:
            raise error from None
    if example is not None:
        try:
            check_same(net, traced, example)
            check_answers(net, traced, example, asked)
            check_training(lowered, traced, (example,))
        except Differs as error:  # something changed in place, or isinstance(x, Tensor) went wrong
            if asked:
                raise Unanswered(str(error)) from None
            return _exported(net, lowered, example, error)
    return traced


def _by_fx(net: nn.Module, lowered: nn.Module) -> tuple[Taken, Taken]:
    """Returns the graphs in training and in evaluation by ``torch.fx``.

    Code may take a piece of a tensor that the network holds, as long as the inputs are: ``self.table[:, : x.size(1)]``. That
    fails, as tensors take no proxies for numbers, and then the tensors themselves are proxies.
    """
    try:
        return _both_modes(net, lowered, ())
    except StateChanged:
        raise
    except TraceError as error:
        held = tensors_held(lowered)
        if not held:
            raise
        try:
            return _both_modes(net, lowered, held)
        except TraceError:
            raise error from None


def _both_modes(net: nn.Module, lowered: nn.Module, held: Collection[str]) -> tuple[Taken, Taken]:
    """Returns the graphs in both modes, where what has one of some names is read by nodes.

    Modules without parameters that one mode cannot trace are one operation in both; what changes in one is followed in both.
    """
    whole: set[type[nn.Module]] = set()
    changing = set(held)
    while True:
        taken: list[Taken] = []
        failures: list[TraceError] = []
        for training in (True, False):
            try:
                with modes_kept(net, lowered):
                    taken.append(_recorded(lowered.train(training), whole, changing))
            except TraceError as error:
                failures.append(error)
        if not failures:
            return taken[0], taken[1]
        found = {n for error in failures if isinstance(error, Touched) for n in error.names}
        ours = {n for n in found if alone(lowered, n.rpartition(".")[0]) is None}
        if ours - changing:
            changing |= ours
            continue
        if len(failures) == 2 and not isinstance(failures[0], StateChanged):
            raise failures[0]
        kind = failing(lowered, failures[0])
        if kind is None or kind in whole:
            raise failures[0]
        whole.add(kind)


def _recorded(net: nn.Module, whole: set[type[nn.Module]], changing: set[str]) -> Taken:
    """Returns the graph of a network in its present mode by ``torch.fx``; code must not draw numbers while it is recorded."""
    taken, by_chance = drawn(lambda: symbolic(net, whole, changing), net)
    if by_chance:
        with stopped_at_draws(net):
            symbolic(net, whole, changing)
        raise TraceError(f"network {type(net).__name__}: {DRAWS}{ADVICE}")
    return taken


def is_exported(traced: fx.GraphModule) -> bool:
    """Returns whether a graph was taken by ``torch.export``; code that asks about shapes was followed for one example."""
    return bool(traced.meta.get(_EXPORTED))


def stands_still(traced: fx.GraphModule) -> tuple[str, ...]:
    """Returns the names of the modules whose code a graph has as in evaluation, for it goes by random numbers in training."""
    found: tuple[str, ...] = traced.meta.get(_STILL, ())
    return found


def _exported(
    net: nn.Module, lowered: nn.Module, example: Tensor, error: TraceError
) -> fx.GraphModule:
    """Returns the graph that ``torch.export`` finds, where ``torch.fx`` failed with an error."""
    with answered(compiled=True) as asked:
        try:
            return _by_export(net, lowered, example, error)
        except TraceError as first:
            if not asked or isinstance(first, StateChanged):
                raise
            found = first
    try:  # as it runs where nothing is compiled
        with answered(compiled=False):
            return _by_export(net, lowered, example, error)
    except TraceError as second:
        raise (second if type(found.__cause__) in _OWN_FAILURES else found) from None


def _by_export(
    net: nn.Module, lowered: nn.Module, example: Tensor, error: TraceError
) -> fx.GraphModule:
    """Returns the graph that ``torch.export`` finds under its own answers to code that asks whether it is compiled."""
    from netdial.channels.trace.exported import export_modes  # slow to load, and rarely needed

    asked: set[Place] = set()
    try:
        with modes_kept(net, lowered):
            taken = export_modes(lowered, example, asked)
            sizes = other_sizes(
                lambda batch: [graph for graph, _ in export_modes(lowered, batch, set())],
                example,
                [graph for graph, _ in taken],
            )
    except StateChanged:
        raise
    except Exception as other:
        raise TraceError(neither(error, other)) from other
    if asked and by_chance(lowered, example):  # a check of what was drawn would hold by chance
        raise error
    traced = _joined(net, lowered, *taken)
    check_same(net, traced, example)
    check_training(lowered, traced, (example,))
    try:
        check_batches(net, traced, example, sizes)
    except TraceError:
        if not rows_kept(traced, execute(traced, example)):
            raise
        check_same(net, traced, example)
        check_batches(net, traced, example, sizes)
    traced.meta[_EXPORTED] = True
    tell_ways(traced, type(net).__name__, asked)
    return traced


def _joined(
    net: nn.Module, lowered: nn.Module, training: Taken, evaluating: Taken
) -> fx.GraphModule:
    """Returns one graph module of the graphs in both modes."""
    (graph, constants), (other, others) = training, evaluating
    others = apart(constants, others, other)
    traced = _module(net, lowered, graph, constants, training=True)
    settle_modes(traced, _module(net, lowered, other, others, training=False), place)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    name_first(traced, lowered)
    note_unread(net, traced)
    return traced


def _module(
    net: nn.Module,
    lowered: nn.Module,
    graph: fx.Graph,
    constants: dict[str, Tensor],
    *,
    training: bool,
) -> fx.GraphModule:
    """Returns a graph module without calls by keyword and changes in place that others see, of a graph of one mode."""
    vars(lowered).update({name: value.detach() for name, value in constants.items()})
    name_any(graph)
    try:
        kind = OneTensorGraph if isinstance(net, OneTensor) else fx.GraphModule
        traced = kind(lowered, graph, class_name=type(net).__name__)
    finally:
        for name in constants:
            delattr(lowered, name)
    traced.training = net.training
    put_keeping(traced, training=training)
    put_packed(traced)
    by_position(traced)
    spelled_out(traced)
    copy_made(traced, constants)
    make_explicit(traced, place)
    traced.graph.eliminate_dead_code()
    return traced

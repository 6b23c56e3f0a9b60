"""``shrink``: trains a network and removes channels that it does not need while it trains.

It uses the same feed and loop as ``fit``, with another training method.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor, fx, nn

from netdial.channels.fold.exactness import as_double
from netdial.channels.fold.fold import fold
from netdial.channels.fold.outcome import FoldReport
from netdial.channels.graph import Graph, as_example
from netdial.channels.layers.insertion import insert_switches, sums_ahead, without_switch
from netdial.channels.layers.pick import insert_picks
from netdial.channels.sizes import strip, total
from netdial.channels.trace.answers.ways import cure_of
from netdial.channels.trace.lower import lower
from netdial.channels.trace.ready import check_parts
from netdial.channels.trace.trace import is_exported, trace
from netdial.channels.trace.training import check_training
from netdial.core.arguments import checked
from netdial.core.cutting import carry_cut, note_cut
from netdial.core.errors import ConfigError, NonFiniteError, TraceError
from netdial.core.layout import unsaved
from netdial.core.noise import generator
from netdial.core.outputs import evaluated, in_usual_modes
from netdial.core.plan import Plan
from netdial.core.records import Event
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, Loader
from netdial.data.memory.columns import check_columns, columns_of
from netdial.data.memory.weights import weighted, weighted_both
from netdial.family.family import Family
from netdial.family.leaves import IN_SINGLE, matching
from netdial.measure.forward import outputs
from netdial.measure.path import mean_fit
from netdial.nets.foreign import check_initialised, with_plain_weights
from netdial.nets.named import note_built
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.method import ShrinkMethod
from netdial.shrinking.state import ShrinkState
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.rehearsal import admit, admit_training, advise, hold
from netdial.task.several import taken_up
from netdial.train.config import make
from netdial.train.loop import Epoch, Session, going_on, train
from netdial.train.session import (
    agreement,
    batch_of,
    begin_alike,
    handing_over,
    launch,
    least_examples,
    make_feed,
    with_lengths,
)


@dataclass(frozen=True)
class Shrunk:
    """A shrunken network, with what was removed and how training went.

    Attributes:
        graph: the network with its switches, and its groups.
        plan: all that was cut, in terms of the network at the start.
        alive: group -> the channels that are left, as they were numbered at the start.
        events: the removals of channels, in order.
        epoch: the epoch whose weights these are, from 1; 0 if nothing was trained.
    """

    graph: Graph
    plan: Plan
    alive: Mapping[str, tuple[int, ...]]
    events: tuple[Event, ...] = ()
    epoch: int = 0

    @property
    def net(self) -> fx.GraphModule:
        """The network with its switches."""
        return self.graph.traced

    @property
    def widths(self) -> dict[str, int]:
        """Channels in each group."""
        return self.graph.widths

    @property
    def kept(self) -> Mapping[str, str]:
        """Leaf -> why the channels that it makes stay: outputs, sums with others, weights that are computed, written sizes."""
        return self.graph.kept

    @property
    def n_params(self) -> int:
        """Numbers in all parameters, without the switches."""
        return total(strip(self.net))

    def _repr_html_(self) -> str:
        """Returns what is left of each group as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table(
            [{"group": name, "channels": width} for name, width in self.widths.items()],
            f"{self.n_params} parameters are left",
        )

    def __repr__(self) -> str:
        """Returns what is left."""
        return f"Shrunk(n_params={self.n_params}, widths={self.widths})"

    def fold(self, *, tolerance: float | None = None) -> tuple[fx.GraphModule, FoldReport]:
        """Returns the network for inference: switches and BatchNorm merged into their neighbours, checked.

        Args:
            tolerance: largest difference of outputs, relative to the largest, in the network's own number type; by default
                what rounding may cost a network of its depth.
        """
        return fold(self.net, self.graph.example, tolerance=tolerance)


@checked
@in_usual_modes
def shrink(
    net: nn.Module,
    data: Data,
    valid: Data | None = None,
    *,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    config: ShrinkConfig | None = None,
    report: Callable[[Epoch, ShrinkState], None] | None = None,
    **settings: Any,
) -> Shrunk:
    """Trains a network and removes channels that it does not need while it trains.

    Args:
        net: any module that ``torch.fx`` or ``torch.export`` can trace; it is copied.
        data: training part, in any of the forms of ``netdial.data.memory``: a pair of tensors, arrays or frames, a
            ``Dataset``, a torch data set, a ``DataLoader``, …
        valid: validation part, measured after every epoch; the best of those since a channel last went is gone back to
            (``restore_best``). A ``DataLoader`` is read into memory.
        kind: ``classification``, ``regression``, another name in ``task.TASKS``, or a ``Task``; by default what the
            targets suggest; targets may be images, or classes of pixels and words.
        loss: or a loss function of (outputs, targets), see ``fit``.
        config: all settings at once; or give them by name (see ``ShrinkConfig``).
        report: told of every finished epoch.
        **settings: fields of ``ShrinkConfig``, for example ``lam=1e-3`` or ``size="50k params"``.

    Raises:
        ConfigError: a setting is unknown or out of range, or the network has no place for a switch.
        TraceError: the network cannot be traced, or an operation has no rule.
        NonFiniteError: training met a number that is not finite.
    """
    if config is not None and settings:
        raise ConfigError(
            f"give either config or settings by name, not both ({', '.join(settings)})"
        )
    config = config or make(ShrinkConfig, settings)
    if isinstance(net, Family):
        raise ConfigError(
            "net is a Family; nd.slim(family, lam, …) cuts a member, and family.export(lam) returns one, which can be shrunk"
        )
    check_initialised(net)
    check_parts(net)
    check_columns(columns_of(data), valid, "validation part")
    held = hold(data)
    kind, net = taken_up(net, held, kind, loss)
    admitted, task = admit_training(net, held, kind)
    rows = (
        held if isinstance(held, Loader) else weighted(admitted, config.class_weight, task.targets)
    )
    config = with_lengths(config, rows)
    batch = batch_of(admitted, config)
    graph = prepare(net, as_example(batch), config, batch)
    return run(graph, held, valid, kind=kind, config=config, report=report)


def example_of(data: Dataset | Loader) -> Tensor:
    """Returns two inputs of the training part."""
    if isinstance(data, Dataset):
        return as_example(data.inputs(torch.arange(min(2, len(data)))))
    return as_example(data.first().x)


def prepare(
    net: nn.Module, example: Tensor, config: ShrinkConfig, batch: Tensor | None = None
) -> Graph:
    """Returns a copy of a network with switches, as a graph of what can be cut.

    Args:
        net: the network.
        example: two inputs, or more.
        config: settings.
        batch: inputs of a batch as large as those of training, on which the graph has to train as the network does.

    Raises:
        ConfigError: it has no layer that can shrink.
        TraceError: it cannot be traced, or trains otherwise on such a batch.
    """
    check_initialised(net)
    _check_types(net)
    net = with_plain_weights(net)
    for layer in net.modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            layer.sparse = (
                False  # a switch reads all channels, and few optimisers take sparse gradients
            )
    for name in matching(net, "freeze", config.freeze):
        net.get_parameter(name).requires_grad_(False)
    if config.precision == "64-true":
        net, example = net.double(), as_double(example)
    traced = trace(net, example)
    if batch is not None and is_exported(traced):
        check_batch(net, traced, example, batch)
    note_built(net, traced)
    carry_cut(net, traced)
    source = generator(config.seed, "switches")
    summed = None
    if sums_ahead(traced):
        summed = Graph.of(copy.deepcopy(traced), example, lenient=config.lenient).summed()
    stay = without_switch(traced, streams=config.streams, summed=summed)
    insert_switches(
        traced, start=config.begin, generator=source, streams=config.streams, summed=summed
    )
    if config.inputs:
        insert_picks(traced, start=config.begin, generator=source)
    graph = Graph.of(traced, example, lenient=config.lenient)
    kept = {**stay, **graph.kept}
    if not graph.groups:
        reasons = "; ".join(f"{leaf} {why}" for leaf, why in kept.items())
        raise ConfigError(f"the network has no layer that can shrink: {reasons}")
    return replace(graph, kept=kept)


def _check_types(net: nn.Module) -> None:
    """Refuses parameters that would be trained in float16, in which training overflows."""
    for name, leaf in net.named_parameters():
        if leaf.requires_grad and leaf.dtype == torch.float16:
            raise ConfigError(
                f"parameter {name!r} is {leaf.dtype}, in which training overflows; {IN_SINGLE}"
            )


def check_batch(net: nn.Module, traced: fx.GraphModule, example: Tensor, batch: Tensor) -> None:
    """Refuses a graph, taken on a few inputs, that trains otherwise than its network on a batch, as by parts of the batch."""
    try:
        check_training(lower(net), traced, (batch.to(example),))
    except TraceError as error:
        raise TraceError(
            f"network {type(net).__name__}: its graph, taken on {len(example)} inputs, trains otherwise than the network on a "
            f"batch of {len(batch)}; {cure_of(error)}"
        ) from error


def run(
    graph: Graph,
    data: Data,
    valid: Data | None,
    *,
    kind: str | Task | None = None,
    config: ShrinkConfig,
    report: Callable[[Epoch, ShrinkState], None] | None = None,
    augment: str | None = None,
    **session: Unpack[Session],
) -> Shrunk:
    """Trains a network that is prepared already; ``shrink`` and the command line end here.

    The settings have lengths and ``lam2`` set for the training part (``ShrinkConfig.for_rows``).
    """
    net = graph.traced
    like = next(net.parameters())
    admitted, task = admit_training(net, data, kind)
    advise(task, admitted)
    part = None if valid is None else admit(net, valid, task, part="validation part")[0]
    admitted, part = weighted_both(admitted, part, config.class_weight, task.targets)
    workers, device = launch(config)
    graph = graph.to(device)
    held = [*graph.traced.parameters(), *graph.traced.buffers()]
    begin_alike(workers, held, {"training part": admitted, "validation part": part})
    sound = _gives_numbers(graph)
    feed = make_feed(
        admitted,
        config,
        augment=augment,
        device=device,
        dtype=like.dtype.to_real(),
        least=config.devices * least_examples(graph.traced),
    )
    method = ShrinkMethod(config, task=task, steps=feed.steps, workers=workers)
    state = method.init(graph)

    def tell(epoch: Epoch) -> None:
        if report is not None:
            report(epoch, state)
        state.past += state.events
        state.events = []

    best = config.restore_best and part is not None

    def reached(epoch: int) -> Shrunk:
        state.module.eval()
        note_cut(state.plan, state.graph.traced)
        events = (*state.past, *state.events)
        return Shrunk(state.graph, state.plan, state.alive, events, epoch)

    with handing_over(lambda: reached(state.step // feed.steps)):
        progress = train(
            method,
            state,
            feed,
            epochs=config.known_epochs,
            progress=going_on(state, session),
            report=tell,
            advance=session.get("advance"),
            validate=None if part is None else _validator(part, task),
            best=best,
            buffers=lambda: unsaved(state.module),
            checkpoint=session.get("checkpoint") if workers.rank == 0 else None,
            saved=session.get("saved"),
            identity=session.get("identity"),
            agree=agreement(workers),
        )
    if sound and not _gives_numbers(state.graph):  # a step's loss is looked at before it alone
        raise NonFiniteError(
            f"step {state.step}: after the last step outputs are no numbers (nan); lower lr or switch_rate, set clip to 1, or "
            "check the data for huge values"
        )
    return reached(config.known_epochs - (progress.waited if best else 0))


def _gives_numbers(graph: Graph) -> bool:
    """Whether a network gives no nan for its example."""
    return not any(bool(part.isnan().any()) for part in evaluated(graph.traced, graph.example))


def _validator(part: Dataset, task: Task) -> Callable[[nn.Module], float]:
    """Returns the validation loss in nats per example."""

    def validate(net: nn.Module) -> float:
        return float(mean_fit(task.nll(outputs(net, part), part.y.cpu()), part))

    return validate

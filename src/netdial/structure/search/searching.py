"""Search over structures: from a search space and data to one trained network, beside random search at equal cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.core.outputs import in_usual_modes
from netdial.core.size import parse_target
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.data.memory.columns import columns_of
from netdial.data.memory.weights import weighted_both
from netdial.structure.derived import DerivedNetwork, derive
from netdial.structure.graph.checking import check_batch
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import SearchSpace
from netdial.structure.latency import LatencyLookup, measure_table
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.job import SearchJob
from netdial.structure.search.limits import SizeLimit, latency_limit
from netdial.structure.search.outcome import SearchOutcome
from netdial.structure.search.running import precision_of
from netdial.structure.search.strategy import GradientStrategy, strategy_of
from netdial.structure.unlike import check_unlike
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.own_loss import by_loss
from netdial.task.rehearsal import admit, admit_training, advise
from netdial.train.config import make
from netdial.train.session import with_lengths


@checked
@in_usual_modes
def search(
    space: SearchSpace,
    train: Data,
    valid: Data,
    *,
    strategy: str = "darts",
    size: str | None = None,
    test: Data | None = None,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    unlike: Mapping[Genotype, float] | None = None,
    config: SearchConfig | None = None,
    **settings: Any,
) -> SearchOutcome:
    """Returns the best network of a search space that a strategy finds, trained, beside random search at equal cost.

    Args:
        space: the search space; ``netdial.structure.spaces.ready_space`` makes ready ones.
        train: training part, in any of the forms of ``netdial.data.memory``.
        valid: validation part, by which structures are compared.
        strategy: name in ``netdial.structure.search.SEARCHES``.
        size: largest size of the network: ``"20k params"``, ``"1M macs"``, ``"80 KB"``; or ``"0.4 ms"`` for one example, for
            which operations are timed first, on this machine.
        test: part on which the network is compared with random search; by default the validation part.
        kind: ``classification``, ``regression``, another task or its name; by default what the targets suggest.
        loss: or a loss function of (outputs, targets), see ``fit``.
        unlike: structures that were found before -> λ_i from 0 on: a search by gradient gains Σ λ_i KL(Γ | Γ_i) by being
            unlike them.
        config: all settings at once; or give them by name (see ``SearchConfig``).
        **settings: fields of ``SearchConfig``, for example ``epochs=10, options={"structure_lr": 0.01}``.

    Raises:
        ConfigError: an option is unknown or out of range, the space is not sound, or no structure is within the limit of size.
        DataError, ShapeError: the data cannot be used, or do not fit the space.
    """
    if config is not None and (settings or strategy != "darts" or size is not None):
        raise ConfigError("search: give either config or settings by name, not both")
    config = config or make(SearchConfig, {"strategy": strategy, "size": size, **settings})
    job = prepare(space, train, valid, config, kind=by_loss(kind, loss))
    by_gradient = isinstance(job.strategy, GradientStrategy)
    check_unlike(space, unlike or {}, by_gradient=by_gradient)
    job.unlike = dict(unlike or {})
    part = None
    if test is not None:
        columns = columns_of(train)
        part = admit(_probe(space), test, job.task, part="test part", columns=columns)[0]
    return job.run(part)


def prepare(
    space: SearchSpace,
    data: Data,
    valid: Data,
    config: SearchConfig,
    *,
    kind: str | Task | None = None,
    augment: str | None = None,
) -> SearchJob:
    """Returns a search that is set up; data, space, limit and options of the strategy are checked."""
    strategy_of(config.strategy, config.options)
    net = _probe(space)
    admitted, task = admit_training(net, data, kind)
    advise(task, admitted)
    part, _ = admit(net, valid, task, part="validation part", columns=columns_of(data))
    admitted, judged = weighted_both(admitted, part, config.class_weight, task.targets)
    if config.size is not None and parse_target(config.size).kind == "ms":
        limit = latency_limit(space, config.size, measure_table(space))
    else:
        limit = SizeLimit(space, config.size, dtype=precision_of(config))
    config = with_lengths(config, admitted)
    batch = config.known_batch_size
    check_batch(space.wiring, min(batch, len(admitted)) if isinstance(admitted, Dataset) else batch)
    job = SearchJob(space, admitted, part, judged, task.in_training(), config, limit, augment)
    job.times = lambda: measured_times(space)
    return job


def measured_times(space: SearchSpace) -> LatencyLookup:
    """Returns times of the operations of a space, measured here and now for one example.

    Raises:
        ConfigError: they do not predict the times of networks.
    """
    table = measure_table(space)
    table.check(space, 1)
    return table


def _probe(space: SearchSpace) -> DerivedNetwork:
    """Returns a network of a space with as much in it as there is, to try data on."""
    chosen = {}
    for key, choice in space.choices.items():
        able = [name for i, name in enumerate(choice.operations) if i not in choice.zeros]
        chosen[key] = (able or list(choice.operations))[0]
    return derive(space, chosen)

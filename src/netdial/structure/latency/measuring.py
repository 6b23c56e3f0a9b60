"""Measuring a latency table: each operation alone, then whole networks that the table is fitted to and held against.

All times come from the one clock (``measure.latency``): a call that does not count before each window, calls that take turns,
and of the readings the lowest that a second one confirms, which is the time on a quiet machine.
"""

from __future__ import annotations

import itertools
import math
import statistics
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from netdial.core.arguments import Count, Several, checked
from netdial.core.errors import ConfigError
from netdial.core.noise import generator
from netdial.core.outputs import evaluating
from netdial.measure.latency import Machine, quiet_readings
from netdial.structure.cost import StructureCosts
from netdial.structure.derived import derive
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live_operations
from netdial.structure.graph.operations import ZeroOperation
from netdial.structure.graph.space import SearchSpace
from netdial.structure.latency.table import LatencyAgreement, LatencyLookup, OperationTime
from netdial.structure.supernet import fresh

FIT_NETWORKS, HELD_NETWORKS = 12, 20
"""Networks that a table is fitted to, and that it is held against."""

_OPERATION_S, _NETWORK_S, _TRIES = 0.01, 0.05, 50
"""Seconds of a window of an operation, short because there are many, and of a network; draws of a structure that is new."""


def time_modules(
    cases: Mapping[str, tuple[nn.Module, Tensor]], *, window_s: float = _OPERATION_S
) -> dict[str, OperationTime]:
    """Returns the time of modules on inputs, each case by its name.

    Args:
        cases: name -> (module, its inputs ``[B, ...]``); modules are run in evaluation mode without gradients.
        window_s: seconds for which a module is run in a turn.
    """
    if not cases:
        return {}
    with evaluating(*(module for module, _ in cases.values())):
        calls = [partial(module, x) for module, x in cases.values()]
        readings = quiet_readings(calls, window_s=window_s)
    return dict(zip(cases, map(_time, readings), strict=True))


def _time(readings: Sequence[float]) -> OperationTime:
    low, _, high = statistics.quantiles(readings, n=4)
    return OperationTime(1e3 * min(readings), 1e3 * (high - low), len(readings))


@checked
def measure_table(
    space: SearchSpace,
    *,
    batch_size: Count = 1,
    device: torch.device | str = "cpu",
    n_fit: Several = FIT_NETWORKS,
    n_held: Several = HELD_NETWORKS,
    seed: int = 0,
) -> LatencyLookup:
    """Returns the latency table of a space on this machine, held against networks that it was not fitted to.

    Args:
        space: the search space.
        batch_size: examples in a call.
        device: where networks run.
        n_fit: random structures that the table is fitted to.
        n_held: further ones that it is held against.
        seed: decides which they are.

    Raises:
        ConfigError: the space has fewer than two structures that connect input and output.
    """
    times = _operations(space, batch_size, torch.device(device))
    table = LatencyLookup(space.fingerprint, Machine.here(device), batch_size, times)
    chosen = _random(space, n_fit + n_held, seed)
    if len(chosen) < n_fit + n_held:
        n_fit = len(chosen) // 2
    measured, noise = _networks(space, chosen, batch_size, torch.device(device))
    costs = StructureCosts(space)
    fitted = _fitted(table, costs, chosen[:n_fit], measured[:n_fit])
    predicted = [fitted.of(costs, genotype) for genotype in chosen[n_fit:]]
    return replace(fitted, agreement=agreement(predicted, measured[n_fit:], noise))


def measure_network(
    net: nn.Module, shape: Sequence[int], batch_size: int, device: torch.device | str = "cpu"
) -> float:
    """Returns the time of a network in milliseconds on a quiet machine, as the times of a table are measured."""
    x = torch.randn(batch_size, *shape, generator=generator("latency")).to(device)
    return time_modules({"network": (net.to(device), x)}, window_s=_NETWORK_S)["network"].ms


def agreement(
    predicted: Sequence[float], measured: Sequence[float], noise: float = 0.0
) -> LatencyAgreement:
    """Returns how predictions compare with measured times, which repeat to a relative ``noise``."""
    told, seen = np.asarray(predicted, dtype=float), np.asarray(measured, dtype=float)
    errors = np.abs(told / seen - 1)
    spread = float(((seen - seen.mean()) ** 2).sum())
    r2 = 1 - float(((seen - told) ** 2).sum()) / spread if spread else 0.0
    return LatencyAgreement(
        tuple(map(float, told)),
        tuple(map(float, seen)),
        float(np.median(errors)),
        float(errors.max()),
        r2,
        rank_correlation(told, seen),
        noise,
    )


def rank_correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Returns Spearman's rank correlation, equal values sharing their mean rank; 0 where all are equal.

    >>> rank_correlation(np.array([1.0, 2.0, 2.0, 5.0]), np.array([10.0, 30.0, 30.0, 90.0]))
    1.0
    """
    first, second = (_ranks(values) for values in (one, two))
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return round(float(np.corrcoef(first, second)[0, 1]), 12)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    below = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    return np.asarray(below + (equal - 1) / 2, dtype=float)


def _operations(
    space: SearchSpace, batch_size: int, device: torch.device
) -> dict[str, dict[str, OperationTime]]:
    """Returns the time of every operation on every edge; those that are alike on inputs alike are measured once."""
    cases: dict[str, tuple[nn.Module, Tensor]] = {}
    places: dict[tuple[str, str], str] = {}
    for name, edge in space.wiring.edges.items():
        shape = space.wiring.shapes[edge.source]
        x = torch.randn(batch_size, *shape, generator=generator("latency")).to(device)
        for operation in edge.operations:
            module = fresh(space, edge, operation, 0).to(device)
            if not isinstance(module, ZeroOperation):
                alike = _about(module, shape)
                cases.setdefault(alike, (module, x))
                places[name, operation] = alike
    found = time_modules(cases)
    nothing = OperationTime(0.0, 0.0, 0)
    return {
        name: {
            operation: found[places[name, operation]] if (name, operation) in places else nothing
            for operation in edge.operations
        }
        for name, edge in space.wiring.edges.items()
    }


def _about(module: nn.Module, shape: Sequence[int]) -> str:
    """Returns what decides how long a module takes on inputs of a shape: its layers, their settings and their tensors.

    A setting of which its text does not tell everything, such as a function, makes the module one of its own.
    """
    usual = vars(nn.Module())
    layers = [
        (
            name,
            id(type(part)),
            [
                (at, repr(value) if _is_plain(value) else str(uuid.uuid4()))
                for at, value in vars(part).items()
                if at not in usual
            ],
        )
        for name, part in module.named_modules()
    ]
    tensors = itertools.chain(module.named_parameters(), module.named_buffers())
    return repr(
        (list(shape), layers, [(name, list(one.shape), str(one.dtype)) for name, one in tensors])
    )


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(part) for part in itertools.chain(value, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool | torch.dtype)


def _random(space: SearchSpace, count: int, seed: int) -> list[Genotype]:
    """Returns different random structures that connect input and output, fewer where there are not that many."""
    source = generator(seed, "latency")
    found: dict[Genotype, None] = {}
    for _ in range(_TRIES * count):
        if len(found) == count:
            break
        genotype = space.sample(source)
        if live_operations(space.wiring, genotype)[0].nodes:
            found[genotype] = None
    if len(found) < 2:
        raise ConfigError(
            f"space {space.name}: {len(found)} of its structures connect input and output; a latency table is fitted to one "
            "and held against another"
        )
    return list(found)


def _networks(
    space: SearchSpace, chosen: Sequence[Genotype], batch_size: int, device: torch.device
) -> tuple[list[float], float]:
    """Returns the measured times of whole networks in milliseconds, and how far two times of one network are apart.

    The second is the standard deviation of the logarithm of a time, from every network's times in even and in odd turns.
    """
    shape = space.wiring.shapes[space.wiring.input]
    x = torch.randn(batch_size, *shape, generator=generator("latency")).to(device)
    nets = [derive(space, genotype).to(device) for genotype in chosen]
    with evaluating(*nets):
        readings = quiet_readings([partial(net, x) for net in nets], window_s=_NETWORK_S)
    apart = [math.log(min(found[::2]) / min(found[1::2])) for found in readings]
    noise = math.sqrt(statistics.fmean(each**2 for each in apart) / 2)
    return [1e3 * min(found) for found in readings], noise


def _fitted(
    table: LatencyLookup,
    costs: StructureCosts,
    chosen: Sequence[Genotype],
    measured: Sequence[float],
) -> LatencyLookup:
    """Returns the table with constant, time of an edge and scale, none below 0, of the least squares of relative errors."""
    seen = np.asarray(measured)
    plain = {
        edge: {name: time.ms for name, time in operations.items()}
        for edge, operations in table.times.items()
    }
    alone = [costs.of_table(genotype, plain) for genotype in chosen]
    edges = [costs.of(genotype).edges for genotype in chosen]
    design = np.stack([np.ones(len(seen)), np.array(edges), np.array(alone)], axis=1)
    design = design / seen[:, None]
    best, lowest = np.array([0.0, 0.0, 1.0]), np.inf
    for used in itertools.chain.from_iterable(
        itertools.combinations(range(3), size) for size in range(1, min(len(seen), 3) + 1)
    ):
        if 2 not in used:
            continue
        part = design[:, list(used)]
        solved = np.linalg.lstsq(part, np.ones(len(seen)), rcond=None)[0]
        error = float(((part @ solved - 1) ** 2).sum())
        if (solved >= 0).all() and error < lowest:
            best, lowest = np.zeros(3), error
            best[list(used)] = solved
    constant, per_edge, scale = map(float, best)
    return replace(table, constant_ms=constant, per_edge_ms=per_edge, scale=scale)

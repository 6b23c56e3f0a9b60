"""Structures within a limit of size: the most probable one that meets it, and the smallest where none does.

A size is a sum over operations: parameters, multiplications, bytes, milliseconds.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.structure.cost import StructureCosts, Table
from netdial.structure.graph.domain import on_simplex, vertices
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live_operations
from netdial.structure.graph.space import SearchSpace

MOST_ENUMERATED = 20_000
"""Structures of a space at which all are still looked at."""

_HALVINGS = 60
"""Steps of the bisection over the price of a unit."""

_LIKELIEST = 16
"""Options of a choice that are looked at when two are changed at once."""

Option = tuple[tuple[str, ...], float, float]
"""Names of the operations of a choice, log probability, size."""

Move = tuple[float, str, Option]
"""Gain of log probability, key, and what is chosen instead."""


class SizeTable(Protocol):
    """Sizes of the operations of a space, whose sum is that of a structure."""

    @property
    def unit(self) -> str:
        """What is counted."""

    @property
    def costs(self) -> Table:
        """Edge -> operation -> what it adds."""

    def of(self, costs: StructureCosts, genotype: Genotype) -> float:
        """Returns the size of a genotype."""

    def expected(self, costs: StructureCosts, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the expected size under probabilities of the operations, differentiable."""


@dataclass(frozen=True)
class CountedSizes:
    """Sizes that are counted and not measured.

    Attributes:
        unit: what is counted.
        costs: edge -> operation -> what it adds.
    """

    unit: str
    costs: Table

    def of(self, costs: StructureCosts, genotype: Genotype) -> float:
        """Returns the size of a genotype."""
        return costs.of_table(genotype, self.costs)

    def expected(self, costs: StructureCosts, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the expected size under probabilities of the operations, differentiable."""
        return costs.expected_of_table(self.costs, probabilities)


class NoStructureMeets(ConfigError):
    """No structure of a space meets a limit.

    Attributes:
        nearest: the smallest structure that was found.
        nearest_size: its size.
    """

    def __init__(self, limit: float, unit: str, nearest: Genotype, nearest_size: float) -> None:
        self.nearest, self.nearest_size = nearest, nearest_size
        super().__init__(
            f"no structure meets {limit:.6g} {unit}; the nearest has {nearest_size:.6g} {unit} ({nearest})"
        )


def best_within(
    space: SearchSpace,
    table: SizeTable,
    limit: float,
    probabilities: Mapping[str, Tensor],
    *,
    costs: StructureCosts | None = None,
) -> Genotype:
    """Returns the most probable structure that is within a limit.

    Exact up to 20,000 structures. Beyond, of those that are most probable at some price of a unit (which is best for the size
    that it has), with one choice, or two into one node, then made more probable while the limit allows.

    Args:
        space: the search space.
        table: sizes of its operations.
        limit: the limit, in the unit of the table.
        probabilities: key -> ``[K]``: of a choice on a simplex the probability of each operation, on a cube of each gate.
        costs: costs of the space, where they are there already.

    Raises:
        NoStructureMeets: there is none; the nearest is named.
        ConfigError: the limit is not above 0.
    """
    if not (limit > 0 and math.isfinite(limit)):
        raise ConfigError(f"limit={limit}; expected a finite number above 0")
    costs = StructureCosts(space) if costs is None else costs
    options = {key: _options(space, table, key, probabilities[key]) for key in space.choices}
    if space.count <= MOST_ENUMERATED:
        return _enumerated(space, table, costs, limit, options)
    return _priced(space, table, costs, limit, options)


def _options(space: SearchSpace, table: SizeTable, key: str, probabilities: Tensor) -> list[Option]:
    choice = space.choices[key]
    chances = probabilities.detach().double().clamp(1e-30, 1 - 1e-15)
    log_on, log_off = chances.log().tolist(), torch.log1p(-chances).tolist()
    each = [sum(table.costs[edge][name] for edge in choice.edges) for name in choice.operations]
    found: list[Option] = []
    for vertex in vertices(len(choice.operations), choice.domain):
        names = tuple(choice.operations[i] for i in vertex)
        log_prob = sum(log_on[i] for i in vertex)
        if not on_simplex(choice.domain):
            log_prob += sum(log_off[i] for i in range(len(each)) if i not in vertex)
        found.append((names, log_prob, sum(each[i] for i in vertex)))
    return found


def _enumerated(
    space: SearchSpace,
    table: SizeTable,
    costs: StructureCosts,
    limit: float,
    options: Mapping[str, list[Option]],
) -> Genotype:
    scores = {key: {names: log for names, log, _ in found} for key, found in options.items()}
    best: tuple[float, float] | None = None
    nearest: tuple[float, Genotype] | None = None
    chosen = None
    for genotype in space.enumerate():
        if not live_operations(space.wiring, genotype)[0].nodes:
            continue
        size = table.of(costs, genotype)
        if nearest is None or size < nearest[0]:
            nearest = (size, genotype)
        rank = (sum(scores[key][genotype[key]] for key in genotype), -size)
        if size <= limit and (best is None or rank > best):
            best, chosen = rank, genotype
    if chosen is not None:
        return chosen
    if nearest is None:
        raise ConfigError(f"space {space.name}: no structure connects input and output")
    raise NoStructureMeets(limit, table.unit, nearest[1], nearest[0])


def _priced(
    space: SearchSpace,
    table: SizeTable,
    costs: StructureCosts,
    limit: float,
    options: Mapping[str, list[Option]],
) -> Genotype:
    def at(price: float) -> Genotype:
        return _made(
            space, {key: max(o, key=lambda x: x[1] - price * x[2]) for key, o in options.items()}
        )

    def fits(genotype: Genotype) -> bool:
        there = bool(live_operations(space.wiring, genotype)[0].nodes)
        return there and table.of(costs, genotype) <= limit

    if fits(free := at(0.0)):
        return free
    low, high, found = 0.0, 1e6, _smallest(space, table, costs, options)
    if not fits(found):
        raise NoStructureMeets(limit, table.unit, found, table.of(costs, found))
    for _ in range(_HALVINGS):
        price = math.sqrt(max(low, 1e-9) * high)
        if fits(genotype := at(price)):
            high, found = price, genotype
        else:
            low = price
    return _improved(space, found, options, fits)


def _smallest(
    space: SearchSpace,
    table: SizeTable,
    costs: StructureCosts,
    options: Mapping[str, list[Option]],
) -> Genotype:
    """Returns a structure that no change of a single choice makes smaller, from the cheapest path and the cheapest rest on."""
    cheapest = {key: min(found, key=lambda x: x[2]) for key, found in options.items()}
    some = {key: _present(space, key, found) for key, found in options.items()}
    path = _shortest_path(space, {key: option[2] for key, option in some.items()})
    now = _made(space, {**cheapest, **{key: some[key] for key in path}})
    if not live_operations(space.wiring, now)[0].nodes:
        now = _made(space, some)
    best = table.of(costs, now)
    moved = True
    while moved:
        moved = False
        for key, found in options.items():
            for option in found:
                new = space.genotype(_with(now, key, option))
                if live_operations(space.wiring, new)[0].nodes and table.of(costs, new) < best:
                    now, best, moved = new, table.of(costs, new), True
    return now


def _present(space: SearchSpace, key: str, found: list[Option]) -> Option:
    """Returns the cheapest option that brings something."""
    choice = space.choices[key]
    zeros = {choice.operations[i] for i in choice.zeros}
    return min((o for o in found if set(o[0]) - zeros), key=lambda x: x[2])


def _shortest_path(space: SearchSpace, prices: Mapping[str, float]) -> list[str]:
    """Returns the keys of the cheapest path from the input to the output; edges without a choice are free."""
    wiring = space.wiring
    reached: dict[str, tuple[float, list[str]]] = {wiring.input: (0.0, [])}
    for node in wiring.order:
        ways = [
            (reached[e.source][0] + prices.get(e.key, 0.0), [*reached[e.source][1], e.key])
            for e in wiring.incoming[node]
        ]
        if ways:
            reached[node] = min(ways, key=lambda way: way[0])
    return [key for key in reached[wiring.output][1] if key in prices]


def _with(genotype: Genotype, key: str, option: Option) -> dict[str, list[str]]:
    return {**{k: list(genotype[k]) for k in genotype}, key: list(option[0])}


def _improved(
    space: SearchSpace,
    genotype: Genotype,
    options: Mapping[str, list[Option]],
    fits: Callable[[Genotype], bool],
) -> Genotype:
    """Returns a structure that becomes no more probable within the limit by a change of one choice, or of two into one node.

    The second lets one way into a node take the place of another, where the node would have none in between.
    """
    log = {key: {o[0]: o[1] for o in found} for key, found in options.items()}
    pairs = _into_one_node(space)
    moved = True
    while moved:
        moved = False
        better = {
            key: [(o[1] - log[key][genotype[key]], key, o) for o in found if o[0] != genotype[key]]
            for key, found in options.items()
        }
        few = {key: heapq.nlargest(_LIKELIEST, moves) for key, moves in better.items()}
        single: Iterable[tuple[Move, ...]] = (
            (move,) for moves in better.values() for move in moves
        )
        double = (move for pair in pairs for move in itertools.product(*(few[k] for k in pair)))
        for moves in (single, double):
            for changes in _gaining(moves):
                new = genotype
                for _, key, option in changes:
                    new = space.genotype(_with(new, key, option))
                if fits(new):
                    genotype, moved = new, True
                    break
            if moved:
                break
    return genotype


def _gaining(moves: Iterable[tuple[Move, ...]]) -> list[tuple[Move, ...]]:
    """Returns the moves that make a structure more probable, those that do most first."""
    gains = [(sum(each[0] for each in move), move) for move in moves]
    return [move for gain, move in sorted(gains, key=lambda x: -x[0]) if gain > 1e-12]


def _into_one_node(space: SearchSpace) -> list[tuple[str, str]]:
    """Returns the pairs of choices that have edges into one node."""
    found: dict[tuple[str, str], None] = {}
    for edges in space.wiring.incoming.values():
        keys = [key for key in dict.fromkeys(edge.key for edge in edges) if key in space.choices]
        found |= dict.fromkeys(itertools.combinations(keys, 2))
    return list(found)


def _made(space: SearchSpace, chosen: Mapping[str, Option]) -> Genotype:
    return space.genotype({key: list(option[0]) for key, option in chosen.items()})

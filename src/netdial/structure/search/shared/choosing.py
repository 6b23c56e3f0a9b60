"""Structures as lists of numbers: for each choice the place of its vertex among all that it has."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

import torch

from netdial.core.errors import ConfigError
from netdial.structure.graph.domain import on_simplex, vertices
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import Gamma, SearchSpace

_MOST = 4096
"""Vertices of one choice that are numbered: twelve gates."""


class VertexCode:
    """The vertices of every choice of a space, numbered.

    Raises:
        ConfigError: a choice has too many.

    Attributes:
        space: the space.
        counts: vertices of each choice.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        for key, choice in space.choices.items():
            if choice.count > _MOST:
                raise ConfigError(
                    f"edge {key}: {len(choice.operations)} gates have {choice.count} vertices, of which this strategy takes "
                    f"{_MOST} at most; give the edge fewer operations, or choose a strategy by gradient"
                )
        self._keys = list(space.choices)
        self._options = [
            [tuple(choice.operations[at] for at in vertex) for vertex in found]
            for choice in space.choices.values()
            for found in [vertices(len(choice.operations), choice.domain)]
        ]
        self.counts = [len(options) for options in self._options]

    def genotype(self, code: Sequence[int]) -> Genotype:
        """Returns the structure with these numbers."""
        chosen = (options[at] for options, at in zip(self._options, code, strict=True))
        return Genotype(self.space.fingerprint, tuple(zip(self._keys, chosen, strict=True)))

    def code(self, genotype: Genotype) -> list[int]:
        """Returns the numbers of a structure."""
        return [
            options.index(genotype[key])
            for key, options in zip(self._keys, self._options, strict=True)
        ]

    def mutated(self, genotype: Genotype, source: torch.Generator) -> Genotype:
        """Returns a structure with one choice, drawn evenly, changed to another vertex, drawn evenly."""
        code = self.code(genotype)
        at = int(torch.randint(len(code), (), generator=source))
        step = 1 + int(torch.randint(self.counts[at] - 1, (), generator=source))
        code[at] = (code[at] + step) % self.counts[at]
        return self.genotype(code)


def likeliest_first(space: SearchSpace, probabilities: Gamma) -> Iterator[Genotype]:
    """Yields all structures from the likeliest on, choices independent: the best of every choice, then one change at a time.

    Args:
        space: the search space.
        probabilities: of operations (of a gate to be open), by key.
    """
    options: list[
        list[tuple[float, str, int]]
    ] = []  # of each part: (what it costs, key, operation or gate)
    for key, choice in space.choices.items():
        chances = probabilities[key].detach().double().cpu().clamp(1e-12, 1)
        if on_simplex(choice.domain):
            options.append(sorted((-math.log(p), key, at) for at, p in enumerate(chances.tolist())))
            continue
        for at, p in enumerate(chances.tolist()):
            shut = max(1 - p, 1e-12)
            options.append(sorted([(-math.log(p), key, at), (-math.log(shut), key, -1)]))
    first = (0,) * len(options)
    waiting, seen = [(sum(row[0][0] for row in options), first)], {first}
    while waiting:
        _, places = heapq.heappop(waiting)
        picked = [row[place] for row, place in zip(options, places, strict=True)]
        rows = {key: torch.zeros(len(choice.operations)) for key, choice in space.choices.items()}
        for _, key, at in picked:
            if at >= 0:
                rows[key][at] = 1.0
        yield space.discretise(rows)
        for part, place in enumerate(places):
            after = (*places[:part], place + 1, *places[part + 1 :])
            if place + 1 < len(options[part]) and after not in seen:
                seen.add(after)
                cost = sum(row[at][0] for row, at in zip(options, after, strict=True))
                heapq.heappush(waiting, (cost, after))

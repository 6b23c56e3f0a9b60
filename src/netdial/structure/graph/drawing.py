"""Drawings of a space or a structure: DOT text for Graphviz, and SVG without any other program.

Edges are as thick as their structure parameters are large; those of a genotype are drawn, the others are left out.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from netdial.core.arguments import checked
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live_operations
from netdial.structure.graph.parts import Wiring
from netdial.structure.graph.space import SearchSpace

_WIDE, _HIGH, _SIDE, _BOW = 150, 72, 44, 26
"""Distance between columns and between rows, the margin, and how far an edge bows out for each column it passes, in pixels."""
_HALO = 'paint-order="stroke" stroke="white" stroke-width="3"'
_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")


@dataclass(frozen=True)
class _Line:
    """One operation on an edge as it is drawn."""

    source: str
    target: str
    operation: str
    weight: float
    number: int


@checked
def to_dot(space: SearchSpace, shown: Genotype | Mapping[str, Tensor] | None = None) -> str:
    """Returns a drawing in the language of Graphviz.

    Args:
        space: the search space.
        shown: a genotype, or structure parameters ``[K]`` by key; None draws all operations alike.
    """
    lines, nodes = _lines(space, shown)
    rows = ["digraph {", "  rankdir=LR; node [shape=box, style=rounded];"]
    rows += [f'  "{node}" [label="{_label(space.wiring, node)}"];' for node in nodes]
    rows += [
        f'  "{line.source}" -> "{line.target}" [label="{line.operation}", penwidth={0.5 + 3 * line.weight:.2f}];'
        for line in lines
    ]
    return "\n".join([*rows, "}"]) + "\n"


@checked
def to_svg(space: SearchSpace, shown: Genotype | Mapping[str, Tensor] | None = None) -> str:
    """Returns a drawing as an SVG picture; nodes stand in columns by the longest path from the input.

    Args:
        space: the search space.
        shown: a genotype, or structure parameters ``[K]`` by key; None draws all operations alike.
    """
    lines, nodes = _lines(space, shown)
    place = _places(space.wiring, nodes)
    between: dict[tuple[str, str], list[_Line]] = {}
    for line in lines:
        between.setdefault((line.source, line.target), []).append(line)
    wide = 2 * _SIDE + max((x for x, _ in place.values()), default=0)
    longest = max((abs(place[a][0] - place[b][0]) / _WIDE for a, b in between), default=1)
    bow = _BOW * (longest - 1)
    high = 2 * _SIDE + max((y for _, y in place.values()), default=0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {-bow:g} {wide + 2 * _SIDE} {high + 2 * bow:g}" '
        'font-family="sans-serif" font-size="11">'
    ]
    for (source, target), several in between.items():
        for index, line in enumerate(several):
            bend = 14.0 * (index - (len(several) - 1) / 2)
            parts.append(_curve(place[source], place[target], line, bend))
    for node, (x, y) in place.items():
        text = html.escape(_label(space.wiring, node))
        width = max(40, 7 * len(text))
        x, y = x + 2 * _SIDE, y + _SIDE
        parts.append(
            f'<rect x="{x - width / 2:g}" y="{y - 12:g}" width="{width}" height="24" rx="6" fill="white" stroke="#334155"/>'
            f'<text x="{x:g}" y="{y + 4:g}" text-anchor="middle">{text}</text>'
        )
    return "".join([*parts, "</svg>"])


def _lines(
    space: SearchSpace, shown: Genotype | Mapping[str, Tensor] | None
) -> tuple[list[_Line], list[str]]:
    """Returns the operations that are drawn with their weights, and the nodes."""
    wiring = space.wiring
    if isinstance(shown, Genotype):
        parts, chosen = live_operations(wiring, space.genotype(shown))
        weights = {edge: dict.fromkeys(names, 1.0) for edge, names in chosen.items()}
        nodes = list(parts.nodes) or [wiring.input, wiring.output]
    else:
        given = {key: gamma.detach().tolist() for key, gamma in (shown or {}).items()}
        weights, nodes = {}, list(wiring.order)
        for name, edge in wiring.edges.items():
            choice = wiring.choices[edge.key]
            even = [1.0 if edge.key not in wiring.free else 1 / len(choice.operations)] * len(
                choice.operations
            )
            values = zip(choice.operations, given.get(edge.key, even), strict=True)
            weights[name] = {
                o: v for i, (o, v) in enumerate(values) if i not in choice.zeros and v >= 0.005
            }
    lines = [
        _Line(edge.source, edge.target, operation, weight, list(edge.operations).index(operation))
        for name, edge in wiring.edges.items()
        for operation, weight in weights.get(name, {}).items()
    ]
    return lines, nodes


def _label(wiring: Wiring, node: str) -> str:
    how = "" if node == wiring.input else wiring.aggregators[node].name
    return node if how in ("", "sum") else f"{node} ({how})"


def _places(wiring: Wiring, nodes: list[str]) -> dict[str, tuple[float, float]]:
    """Returns where nodes stand: columns by the longest path from the input, rows by turns below each other."""
    column: dict[str, int] = {}
    for node in wiring.order:
        before = [column[e.source] for e in wiring.incoming[node] if e.source in column]
        if node in nodes:
            column[node] = max(before, default=-1) + 1
    rows: dict[int, int] = {}
    found = {}
    for node in nodes:
        row = rows.get(column[node], 0)
        rows[column[node]] = row + 1
        shift = _HIGH / 2 if column[node] % 2 else 0  # so that long edges do not hide short ones
        found[node] = (float(_WIDE * column[node]), _HIGH * row + shift)
    return found


def _curve(start: tuple[float, float], end: tuple[float, float], line: _Line, bend: float) -> str:
    """Returns one operation as a curve with its name."""
    (x1, y1), (x2, y2) = ((x + 2 * _SIDE, y + _SIDE) for x, y in (start, end))
    column, far = round(start[0] / _WIDE), abs(x2 - x1) / _WIDE
    away = 1 if column % 2 else -1  # the side on which no nodes stand between
    middle = ((x1 + x2) / 2, (y1 + y2) / 2 + bend + away * _BOW * (far - 1))
    control = (middle[0], 2 * middle[1] - (y1 + y2) / 2)
    colour = _COLOURS[line.number % len(_COLOURS)]
    share = "" if line.weight in (0.0, 1.0) else f" {line.weight:.2f}"
    return (
        f'<path d="M{x1:g} {y1:g} Q{control[0]:g} {control[1]:g} {x2:g} {y2:g}" fill="none" stroke="{colour}" '
        f'stroke-width="{0.5 + 3.5 * line.weight:.2f}" stroke-opacity="{0.25 + 0.75 * line.weight:.2f}"/>'
        f'<text x="{middle[0]:g}" y="{middle[1] - 3:g}" text-anchor="middle" fill="{colour}" {_HALO}>'
        f"{html.escape(line.operation)}{share}</text>"
    )

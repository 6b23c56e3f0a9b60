"""Draws of the Gumbel-Softmax and the Dirichlet distribution on a triangle, at three temperatures: docs/_static/simplex.svg.

Run from the folder of the project: ``python examples/simplex_pictures.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from netdial.core.noise import Noise
from netdial.structure.distributions import Dirichlet, GumbelSoftmax

OUT = Path("docs/_static/simplex.svg")
TEMPERATURES = ((5.0, "τ = 5"), (0.995, "τ = 0.995"), (0.05, "τ → 0"))
DRAWS, SIDE, MARGIN = 200, 180.0, 34.0
CORNERS = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.5, 0.134]])

Drawn = GumbelSoftmax | Dirichlet


def draws(posterior: Drawn, temperature: float) -> Tensor:
    """Returns points of the simplex ``[DRAWS, 3]`` of a distribution with equal parameters."""
    (field,) = posterior.fields
    equal = {field: torch.zeros(DRAWS, 3)}
    return posterior.sample(equal, Noise(0, 0, range(DRAWS)), temperature)


def triangle(points: Tensor, left: float, top: float, title: str) -> Iterable[str]:
    """Yields the lines of one picture."""
    corners = " ".join(f"{left + SIDE * x:.1f},{top + SIDE * y:.1f}" for x, y in CORNERS.tolist())
    yield f'<polygon points="{corners}" fill="none" stroke="#888"/>'
    yield f'<text x="{left + SIDE / 2:.0f}" y="{top + SIDE + 20:.0f}" text-anchor="middle">{title}</text>'
    for x, y in (points @ CORNERS).tolist():
        yield f'<circle cx="{left + SIDE * x:.1f}" cy="{top + SIDE * y:.1f}" r="2"/>'


def main() -> None:
    """Writes the picture."""
    kinds: tuple[tuple[str, Drawn], ...] = (
        ("Gumbel-Softmax", GumbelSoftmax()),
        ("Dirichlet", Dirichlet()),
    )
    width, height = 3 * (SIDE + MARGIN) + MARGIN, 2 * (SIDE + 2 * MARGIN)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"',
        ' font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/><g fill="#333" fill-opacity="0.75">',
    ]
    for row, (name, posterior) in enumerate(kinds):
        for column, (temperature, title) in enumerate(TEMPERATURES):
            left, top = MARGIN + column * (SIDE + MARGIN), row * (SIDE + 2 * MARGIN)
            lines += triangle(draws(posterior, temperature), left, top, f"{name}, {title}")
    text = "\n".join([*lines, "</g></svg>", ""])
    OUT.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{OUT}: {len(text)} characters\n")


if __name__ == "__main__":
    main()

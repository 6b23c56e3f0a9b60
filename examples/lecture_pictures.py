"""Pictures of the examples of the lecture on structures: docs/_static/lecture-*.svg.

Run from the folder of the project: ``python examples/lecture_pictures.py``, or with another folder as an argument.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import netdial as nd
from netdial.structure import Genotype, SearchSpace, to_svg
from netdial.structure.dags import BlockPrior, FamilyScores, dag_posterior
from netdial.structure.evidence import weigh_structures
from netdial.structure.formulas import fit_formula
from netdial.structure.nbtiny import PROBLEMS
from netdial.structure.nbtiny.space import tiny_space
from netdial.structure.spaces import ready_space
from netdial.train.config import TrainConfig, make

OUT = Path("docs/_static")
SPACES: dict[str, dict[str, Any]] = {
    "one-layer": {"input_shape": (3,), "n_outputs": 3},
    "two-layer": {"input_shape": (3,), "n_outputs": 1},
    "convolution-or-pooling": {"input_shape": (1, 8, 8), "n_outputs": 10},
}


def enumerated(space: SearchSpace) -> list[tuple[str, Genotype]]:
    """Returns the structures that three searches find, λ_struct = [0; 0; 0], [1; 0; 0] and [1; 1; 0]."""
    problem, found = PROBLEMS["spirals"], list[Genotype]()
    parts = problem.part("train"), problem.part("valid")
    titles = ("0;0;0", "1;0;0", "1;1;0")
    for _ in titles:
        unlike = dict.fromkeys(found, 1.0)
        settings: dict[str, Any] = {
            "epochs": 15,
            "network_epochs": 1,
            "batch_size": 200,
            "lr": 0.01,
        }
        one = nd.search(
            space, *parts, strategy="dnas", unlike=unlike, candidates=1, compare=False, **settings
        )
        found.append(one.genotype)
    return list(zip(titles, found, strict=True))


def degrees() -> str:
    """Returns the posterior probability of each degree of a polynomial, as a bar chart."""
    source = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(50, 1, generator=source) - 1
    y = 4 * x**3 - 2 * x + 0.3 * torch.randn(50, 1, generator=source)
    space = ready_space("polynomial", input_shape=(1,), n_outputs=1, degree=6)
    config = make(TrainConfig, {"epochs": 20, "lr": 0.05})
    weighed = weigh_structures(space, list(space.enumerate()), (x, y), config)
    return bars(
        [str(n) for n in range(1, 7)], weighed.posterior, "p(degree | data); the truth is 3"
    )


def bars(names: list[str], values: list[float], title: str) -> str:
    """Returns a bar chart of shares."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {60 * len(names) + 40} 200"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="100%" height="100%" fill="white"/><text x="20" y="20">{title}</text>',
    ]
    for at, (name, value) in enumerate(zip(names, values, strict=True)):
        left, high = 30 + 60 * at, 120 * value
        lines.append(
            f'<rect x="{left}" y="{160 - high:.1f}" width="36" height="{high:.1f}" fill="#2563eb"/>'
        )
        lines.append(f'<text x="{left + 18}" y="178" text-anchor="middle">{name}</text>')
        lines.append(
            f'<text x="{left + 18}" y="{155 - high:.1f}" text-anchor="middle">{value:.2f}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def said() -> list[str]:
    """Returns the formula that ranks some rows, and the most probable Bayesian network of three variables."""
    source = torch.Generator().manual_seed(0)
    x: Tensor = 3 * torch.rand(60, 2, generator=source)
    ranked = fit_formula(
        x,
        (2 * torch.sin(x[:, 0]) + x[:, 1]).exp(),
        names=["angle", "weight"],
        functions=["id", "sin"],
        trials=12,
        goal="ranks",
    )
    rain = [i % 3 == 0 for i in range(60)]
    columns = {
        "rain": rain,
        "wet": [r or i % 10 == 0 for i, r in enumerate(rain)],
        "sunday": [i % 7 == 0 for i in range(60)],
    }
    return [
        f"ranking: {ranked.text}",
        f"Bayesian network: {dag_posterior(FamilyScores(columns), BlockPrior()).formula()}",
    ]


def main(folder: Path = OUT) -> None:
    """Writes the pictures, and prints what is text."""
    pictures = {name: to_svg(ready_space(name, **options)) for name, options in SPACES.items()}
    space = tiny_space(2)
    for title, genotype in enumerated(space):
        pictures[f"struct-{title.replace(';', '')}"] = to_svg(space, genotype)
    pictures["degrees"] = degrees()
    for name, text in pictures.items():
        (folder / f"lecture-{name}.svg").write_text(text, encoding="utf-8")
    sys.stdout.write("\n".join([f"{len(pictures)} pictures in {folder}", *said(), ""]))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

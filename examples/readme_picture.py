"""Draws the picture of the README: one family against networks trained directly, on the digits data.

One run trains the family, one batched run trains a network for each of a few complexity values; both are evaluated on
the test part, and the two tables become an SVG written by hand (no drawing library). It takes well under a minute:

    python examples/readme_picture.py docs/_static/family.svg
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import netdial as nd

Row = dict[str, float]
LO, HI = 1e-3, 1e2
WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP, BOTTOM = 760, 430, 78, 24, 58, 34, 62
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #57606a }
  .title { font-size: 16px; font-weight: 600; fill: #24292f }
  .axis, .grid { stroke: #8c959f; stroke-width: 1 } .grid { opacity: .25 }
  .family { fill: none; stroke: #2f7fd6; stroke-width: 3; stroke-linejoin: round; stroke-linecap: round }
  .direct { fill: #e07b39 } .key-family { stroke: #2f7fd6; stroke-width: 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9aa4ae } .title { fill: #e6edf3 } .family, .key-family { stroke: #58a6ff } .direct { fill: #f0954f }
  }
"""


def train(epochs: int) -> tuple[list[Row], list[Row]]:
    """Returns the path of a family and the rows of directly trained networks, on the test part of digits."""
    task = nd.load_data("digits")
    shape, outputs = tuple(task.train.x.shape[1:]), task.n_outputs
    net = nd.build("mlp:50", input_shape=shape, n_outputs=outputs)
    settings: dict[str, Any] = {
        "objective": "scaled-kl",
        "lam": (LO, HI),
        "epochs": epochs,
        "batch_size": 128,
    }
    family = nd.fit(net, task.train, regions=5, **settings)
    lams = family.domain.grid(6)
    (direct,) = nd.fit_direct(net, task.train, lams=lams, **settings)
    curve = nd.evaluate(family, task.test, lams=41).table()
    dots = nd.evaluate(direct, task.test, lams=lams).table()
    return curve, dots


def draw(curve: Sequence[Row], dots: Sequence[Row]) -> str:
    """Returns the SVG of two panels over log λ: test accuracy above, KL in bits below."""
    panel = (HEIGHT - TOP - GAP - BOTTOM) / 2
    worst = min(row["accuracy"] for row in [*curve, *dots])
    low = math.floor(worst * 10 - 0.1) / 10
    accuracy = _scale(low, 1.0, TOP + panel, TOP)
    most = max(row["kl_bits"] for row in [*curve, *dots])
    least = min(row["kl_bits"] for row in [*curve, *dots])
    bottom, top = math.floor(math.log10(least)), math.log10(most) + 0.1
    bits = _scale(bottom, top, HEIGHT - BOTTOM, HEIGHT - BOTTOM - panel)
    steps = round((1 - low) * 10)
    above = [(accuracy(low + i / 10), f"{low + i / 10:.1f}") for i in range(steps + 1)]
    below = [
        (bits(d), f"{10**d:,}" if d >= 0 else f"{10.0**d:g}")
        for d in range(bottom, math.floor(top) + 1)
    ]
    body = [
        f'<text class="title" x="{LEFT}" y="26">One training run, a network for every complexity λ</text>',
        *_key(),
        *_panel(above, "test accuracy", curve, dots, lambda row: accuracy(row["accuracy"])),
        *_panel(below, "KL, bits", curve, dots, lambda row: bits(math.log10(row["kl_bits"]))),
        *_axis(),
    ]
    label = "Test accuracy and KL divergence of a family over complexity, with directly trained networks"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *body, "</svg>"]) + "\n"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _x(lam: float) -> float:
    return _scale(math.log10(LO), math.log10(HI), LEFT, WIDTH - RIGHT)(math.log10(lam))


def _panel(
    ticks: Sequence[tuple[float, str]],
    title: str,
    curve: Sequence[Row],
    dots: Sequence[Row],
    y: Callable[[Row], float],
) -> list[str]:
    lines = []
    for place, text in ticks:
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
        )
        lines.append(f'<text x="{LEFT - 10}" y="{place + 4:.1f}" text-anchor="end">{text}</text>')
    middle = (ticks[0][0] + ticks[-1][0]) / 2
    lines.append(
        f'<text transform="translate(18 {middle:.1f}) rotate(-90)" text-anchor="middle">{title}</text>'
    )
    points = " ".join(f"{_x(row['lam']):.1f},{y(row):.1f}" for row in curve)
    lines.append(f'<polyline class="family" points="{points}"/>')
    lines += [
        f'<circle class="direct" cx="{_x(row["lam"]):.1f}" cy="{y(row):.1f}" r="5"/>'
        for row in dots
    ]
    return lines


def _axis() -> list[str]:
    base = HEIGHT - BOTTOM
    lines = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    for power in range(round(math.log10(LO)), round(math.log10(HI)) + 1):
        place = _x(10.0**power)
        lines.append(
            f'<text x="{place:.1f}" y="{base + 20}" text-anchor="middle">{10.0**power:g}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(
        f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">complexity λ (log scale): '
        "more complex on the left, simpler on the right</text>"
    )
    return lines


def _key() -> list[str]:
    left = WIDTH - RIGHT - 268
    return [
        f'<line class="key-family" x1="{left}" x2="{left + 24}" y1="44" y2="44"/>',
        f'<text x="{left + 32}" y="48">the family</text>',
        f'<circle class="direct" cx="{left + 124}" cy="44" r="5"/>',
        f'<text x="{left + 136}" y="48">trained directly at λ</text>',
    ]


def main() -> None:
    """Reads the arguments, trains, writes the picture."""
    parser = argparse.ArgumentParser(description="Draw the picture of the README.")
    parser.add_argument("path", type=Path, nargs="?", default=Path("docs/_static/family.svg"))
    parser.add_argument("--epochs", type=int, default=150)
    arguments = parser.parse_args()
    picture = draw(*train(arguments.epochs))
    arguments.path.parent.mkdir(parents=True, exist_ok=True)
    arguments.path.write_text(picture, encoding="utf-8")
    print(arguments.path)


if __name__ == "__main__":
    main()

"""The nine implementations of the 2022 paper and what its Tables 1 and 2 and Figures 4 to 7 show of them.

Shapes: L complexity values, R starts, S shares of weights removed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netdial.papers.lab.outcome import Figure, TextTable
from netdial.papers.lab.pruned import Accuracy, PrunedFamily
from netdial.papers.lab.reference import COLUMNS
from netdial.papers.lab.rules import honest_rule, paper_rule
from netdial.runs.store import Store


@dataclass(frozen=True)
class Implementation:
    """One of the ways compared in the 2022 paper, §4.2.

    Attributes:
        letter: its letter there.
        words: its name there, shortened.
        map: λ -> parameters; ``table`` trains directly.
        objective: L1 ``scaled-kl``, L2 ``scaled-prior`` or L3 ``l2``.
    """

    letter: str
    words: str
    map: str
    objective: str


IMPLEMENTATIONS = tuple(
    Implementation(letter, f"{way}{suffix}", kind, objective)
    for letter, (kind, suffix), (way, objective) in zip(
        "abcdefghi",
        [pair for pair in (("table", ""), ("linear", ", linear"), ("piecewise", ", piecewise")) for _ in range(3)],
        [("variational", "scaled-kl"), ("reparametrised", "scaled-prior"), ("base", "l2")] * 3,
        strict=True,
    )
)  # fmt: skip


def gather(cells: Sequence[PrunedFamily], store: Store) -> Accuracy:
    """Returns the accuracies of several starts ``[L, R, S]``."""
    found = [cell.read(store) for cell in cells]
    return Accuracy(*(torch.stack(parts, dim=1) for parts in zip(*found, strict=True)))


def columns_of(accuracy: Accuracy, shares: Sequence[float]) -> Accuracy:
    """Returns the shares of the paper's tables out of all that were measured."""
    index = [list(shares).index(share) for share in COLUMNS]
    return Accuracy(*(part[..., index] for part in accuracy))


def paper_table(
    found: Mapping[str, Accuracy],
    words: Mapping[str, str],
    published: Mapping[str, Sequence[float]],
) -> TextTable:
    """Returns the table under the paper's rule, each row over the published one.

    Args:
        found: accuracies ``[L, R, 6]`` by label.
        words: what each label stands for.
        published: the paper's row, for labels that have one.
    """
    rows = []
    for label, accuracy in found.items():
        rows.append((label, words[label], *map(digits, paper_rule(accuracy.test).tolist())))
        if label in published:
            rows.append(("", "in the paper", *map(digits, published[label])))
    return TextTable(
        "Under the paper's rule",
        _headings(),
        tuple(rows),
        "Every column is the maximum over all λ and all starts of test accuracy. It compares like with like and says "
        "nothing about what a choice without test data would give.",
    )


def honest_table(found: Mapping[str, Accuracy], lams: Sequence[float]) -> TextTable:
    """Returns test accuracy at the λ that validation data choose, mean ± standard deviation over starts."""
    rows = []
    for label, accuracy in found.items():
        mean, std, chosen = honest_rule(accuracy.valid, accuracy.test)
        rows.append((label, *map(_percent, mean.tolist(), std.tolist())))
        rows.append(("λ", *(_range(lams, chosen[:, s]) for s in range(len(mean)))))
    return TextTable(
        "Honestly",
        ("", *_headings()[2:]),
        tuple(rows),
        "For each start and each share λ is chosen by validation accuracy; shown is test accuracy in %, mean ± standard "
        "deviation over starts, and below it the λ that were chosen.",
    )


def values(found: Mapping[str, Accuracy], lams: Sequence[float]) -> dict[str, Any]:
    """Returns both tables as plain numbers, by label."""
    rows: dict[str, Any] = {}
    for label, accuracy in found.items():
        honest = honest_rule(accuracy.valid, accuracy.test)
        rows[label] = {
            "paper_rule": paper_rule(accuracy.test).tolist(),
            "mean": honest.mean.tolist(),
            "std": honest.std.tolist(),
            "lams": [[lams[i] for i in start] for start in honest.chosen.tolist()],
        }
    return {"shares": list(COLUMNS), "rows": rows}


def curves(found: Mapping[str, Accuracy], lams: Sequence[float], shares: Sequence[float]) -> Any:
    """Returns accuracies over the share removed, by label: mean and deviation over starts for every λ."""
    return {
        label: {
            "lams": list(lams),
            "shares": list(shares),
            "mean": accuracy.test.mean(dim=1).tolist(),
            "std": accuracy.test.std(dim=1, correction=0).tolist(),
        }
        for label, accuracy in found.items()
    }


def panels_figure(
    found: Mapping[str, Accuracy],
    words: Mapping[str, str],
    lams: Sequence[float],
    shares: Sequence[float],
    across: int = 3,
) -> Figure:
    """Returns accuracy against share removed, a panel for each implementation and a line for each λ (Figs. 4, 6, 8)."""
    import plotly.graph_objects as go  # type: ignore[import-untyped]
    from plotly.colors import sample_colorscale  # type: ignore[import-untyped]
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]

    from netdial.report.panels import COMPLEXITY_SCALE

    down = -(-len(found) // across)
    plot = make_subplots(
        down,
        across,
        shared_xaxes=True,
        shared_yaxes=True,
        subplot_titles=[f"{label}  {words[label]}" for label in found],
        horizontal_spacing=0.03,
        vertical_spacing=0.09 if down > 1 else 0.0,
    )
    colours = sample_colorscale(
        COMPLEXITY_SCALE, [i / max(len(lams) - 1, 1) for i in range(len(lams))]
    )
    for place, (label, accuracy) in enumerate(found.items()):
        for lam, colour, runs in zip(lams, colours, accuracy.test, strict=True):
            line = go.Scatter(
                x=list(shares),
                y=runs.mean(dim=0).tolist(),
                error_y={"array": _deviation(runs), "thickness": 1, "width": 2},
                name=f"λ = {lam:g}",
                legendgroup=f"{lam:g}",
                showlegend=place == 0,
                mode="lines",
                line={"color": colour, "width": 2},
                hovertemplate=f"{label}, λ = {lam:g}: %{{y:.2%}} at %{{x:.0%}}<extra></extra>",
            )
            plot.add_trace(line, place // across + 1, place % across + 1)
    plot.update_layout(height=90 + 240 * down)
    plot.update_xaxes(tickformat=".0%")
    plot.update_xaxes(title_text="share of weights removed", row=down)
    plot.update_yaxes(tickformat=".0%")
    return Figure(
        "Accuracy against share removed, by λ",
        plot,
        "Test accuracy of mean weights, mean over starts; bars are one standard deviation.",
    )


def averaged_figure(
    found: Mapping[str, Accuracy], words: Mapping[str, str], shares: Sequence[float]
) -> Figure:
    """Returns accuracy against share removed, averaged over λ, a line for each implementation (Figs. 5 and 7)."""
    import plotly.graph_objects as go

    from netdial.report.panels import COLOURS

    dashes = ("solid", "dash", "dot")
    plot = go.Figure()
    for place, (label, accuracy) in enumerate(found.items()):
        plot.add_scatter(
            x=list(shares),
            y=accuracy.test.mean(dim=(0, 1)).tolist(),
            name=f"{label}  {words[label]}",
            mode="lines",
            line={
                "color": list(COLOURS.values())[place % 3],
                "dash": dashes[place // 3 % 3],
                "width": 2,
            },
            hovertemplate="%{y:.2%} at %{x:.0%}",
        )
    plot.update_layout(
        height=420,
        xaxis={"title": {"text": "share of weights removed"}, "tickformat": ".0%"},
        yaxis={"tickformat": ".0%"},
    )
    return Figure("All implementations, averaged over λ", plot)


def digits(value: float) -> str:
    """Returns an accuracy as the papers print it."""
    return f"{value:.4f}"


def _percent(mean: float, std: float) -> str:
    return f"{100 * mean:.2f}" if math.isnan(std) else f"{100 * mean:.2f} ± {100 * std:.2f}"


def _headings() -> tuple[str, ...]:
    return ("", "implementation", *(f"{share:.0%}" for share in COLUMNS))


def _range(lams: Sequence[float], chosen: Tensor) -> str:
    lowest, highest = lams[int(chosen.min())], lams[int(chosen.max())]
    return f"{lowest:g}" if lowest == highest else f"{lowest:g} … {highest:g}"


def _deviation(runs: Tensor) -> list[float] | None:
    return runs.std(dim=0).tolist() if len(runs) > 1 else None

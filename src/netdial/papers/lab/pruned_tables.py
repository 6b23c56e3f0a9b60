"""The nine implementations of the 2022 paper and what its Tables 1 and 2 and Figures 4 to 7 show of them.

Shapes: L complexity values, R starts, S shares of weights removed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from netdial.papers.lab.outcome import Figure, TextTable
from netdial.papers.lab.pruned import Accuracy, PrunedFamily
from netdial.papers.lab.reference import COLUMNS
from netdial.papers.lab.rules import honest_rule, paper_rule
from netdial.runs.store import Store

_AVERAGED_PIXELS = 340
T = TypeVar("T")


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
        [pair for pair in (("table", ", direct"), ("linear", ", linear"), ("piecewise", ", piecewise")) for _ in range(3)],
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
        rows.append((words[label], *map(digits, paper_rule(accuracy.test).tolist())))
        if label in published:
            rows.append(("", *map(digits, published[label])))
    return TextTable(
        "Under the paper's rule",
        _headings(),
        tuple(rows),
        "Every column is the maximum over all λ and all starts of test accuracy. It compares like with like and says "
        "nothing about what a choice without test data would give. In grey: the same in the paper.",
    )


def honest_table(found: Mapping[str, Accuracy], words: Mapping[str, str]) -> TextTable:
    """Returns test accuracy at the λ that validation data choose, mean ± standard deviation over starts."""
    rows = []
    for label, accuracy in found.items():
        mean, std, _ = honest_rule(accuracy.valid, accuracy.test)
        rows.append((words[label], *map(_percent, mean.tolist(), std.tolist())))
    return TextTable(
        "With λ chosen on validation data",
        _headings(),
        tuple(rows),
        "For each start and each share λ is chosen by validation accuracy; shown is test accuracy in %, mean ± standard "
        "deviation over starts.",
    )


def chosen_table(
    found: Mapping[str, Accuracy], words: Mapping[str, str], lams: Sequence[float]
) -> TextTable:
    """Returns the λ that validation data choose for each share removed: least and largest over starts."""
    rows = []
    for label, accuracy in found.items():
        chosen = honest_rule(accuracy.valid, accuracy.test).chosen
        rows.append((words[label], *(_range(lams, chosen[:, s]) for s in range(chosen.shape[1]))))
    return TextTable("The λ that were chosen", _headings(), tuple(rows), "Over the starts.")


def in_words(found: Mapping[str, T], words: Mapping[str, str]) -> dict[str, T]:
    """Returns what is known by label by what each label stands for, as files have it."""
    return {words[label]: one for label, one in found.items()}


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
) -> Figure:
    """Returns accuracy against share removed, a panel for each implementation and a line for each λ (Figs. 4, 6, 8)."""
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    from netdial.report.panels import LEGEND_PIXELS, axis_name, complexity_colours, stacked

    plot = stacked(len(found), LEGEND_PIXELS)
    for index, (label, accuracy) in enumerate(found.items(), 1):
        for lam, colour, runs in zip(
            lams, complexity_colours(len(lams)), accuracy.test, strict=True
        ):
            plot.add_trace(
                go.Scatter(
                    x=list(shares),
                    y=runs.mean(dim=0).tolist(),
                    error_y={"array": _deviation(runs)},
                    name=f"λ = {lam:g}",
                    legendgroup=f"{lam:g}",
                    showlegend=index == 1,
                    mode="lines",
                    line={"color": colour, "width": 2},
                    yaxis=axis_name("y", index),
                    hovertemplate=f"{words[label]}, λ = {lam:g}: %{{y:.2%}}<extra></extra>",
                )
            )
        panel(plot, index, words[label], "~%")
    share_axis(plot, len(found))
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

    from netdial.report.panels import COLOURS, LEGEND_PIXELS
    from netdial.report.sections.size_figures import single

    dashes = ("solid", "dash", "dot")
    plot = single(_AVERAGED_PIXELS, "test accuracy", LEGEND_PIXELS)
    for place, (label, accuracy) in enumerate(found.items()):
        line = {"color": list(COLOURS.values())[place % 3], "dash": dashes[place // 3 % 3]}
        plot.add_trace(
            go.Scatter(
                x=list(shares),
                y=accuracy.test.mean(dim=(0, 1)).tolist(),
                name=words[label],
                mode="lines",
                line={**line, "width": 2},
                hovertemplate=f"{words[label]}: %{{y:.2%}}<extra></extra>",
            )
        )
    plot.update_layout(yaxis={"tickformat": "~%"})
    share_axis(plot, 1)
    return Figure("All implementations, averaged over λ", plot)


def share_axis(plot: Any, panels: int) -> None:
    """Sets the axis of the share of weights removed, under so many panels."""
    from netdial.report.panels import axis_name

    plot.update_xaxes(
        title_text="share of weights removed",
        tickformat="~%",
        unifiedhovertitle_text="<b>%{x:.4~%} removed</b>",
        anchor=axis_name("y", panels),
    )


def panel(plot: Any, index: int, title: str, tick_format: str) -> None:
    """Gives a panel its heading and the format of its values."""
    from netdial.report.panels import axis_name, title_panel

    title_panel(plot, index, title)
    plot.update_layout({axis_name("yaxis", index): {"tickformat": tick_format, "automargin": True}})


def digits(value: float) -> str:
    """Returns an accuracy as the papers print it."""
    return f"{value:.4f}"


def _percent(mean: float, std: float) -> str:
    return f"{100 * mean:.2f}" if math.isnan(std) else f"{100 * mean:.2f} ± {100 * std:.2f}"


def _headings() -> tuple[str, ...]:
    return ("implementation", *(f"{share:.0%} removed" for share in COLUMNS))


def _range(lams: Sequence[float], chosen: Tensor) -> str:
    lowest, highest = lams[int(chosen.min())], lams[int(chosen.max())]
    return f"{lowest:g}" if lowest == highest else f"{lowest:g} … {highest:g}"


def _deviation(runs: Tensor) -> list[float] | None:
    return runs.std(dim=0).tolist() if len(runs) > 1 else None

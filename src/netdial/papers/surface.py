"""Figure 1 of the 2022 paper: accuracy of one family over complexity and share removed, with the line of best members.

A piecewise family, pruned by relative density, the same share of every layer. The paper draws the surface without numbers or
protocol; here it is test accuracy of mean weights, averaged over starts, coloured as there by its standing among members
with equally many weights. The line is chosen on validation data.

Shapes: L complexity values, S shares.
"""

from __future__ import annotations

from torch import Tensor

from netdial.family import Domain
from netdial.papers.lab.lab import Lab
from netdial.papers.lab.outcome import Figure, Outcome, TextTable, lost_words
from netdial.papers.lab.pruned import PrunedFamily
from netdial.papers.lab.pruned_tables import digits, gather
from netdial.papers.lab.training import classification
from netdial.papers.mnist_table1 import LAMS, our_training

POINTS, QUICK_POINTS = 21, 9
SHARES = (*(i / 20 for i in range(20)), 0.97)
"""Shares removed, those of the paper's figure; finer than the default ones."""
_SHOWN = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


def experiment(lab: Lab) -> Outcome:
    """Returns the surface and its line of best members."""
    classification(lab.data or "mnist", lab.store.data_dir)
    grid = Domain(LAMS[0], LAMS[-1]).grid(QUICK_POINTS if lab.quick else POINTS)
    lams = tuple(grid)
    cells = [PrunedFamily(our_training(lab, seed), lams, SHARES) for seed in lab.seed_list(1)]
    lab.make(cells)
    valid, test = (part.mean(dim=1) for part in gather(cells, lab.store))
    best = len(lams) - 1 - valid.flip(0).argmax(dim=0)
    line = test.gather(0, best[None])[0]
    rows = []
    for place, share in enumerate(SHARES):
        if share in _SHOWN:
            shown = [line[place], *test[_ends(lams), place]]
            chosen = f"{lams[int(best[place])]:.3g}"
            rows.append((f"{share:.0%}", chosen, *(digits(float(value)) for value in shown)))
    return Outcome(
        lab.name,
        "Accuracy over complexity and share removed",
        f"With all weights the best member stands at λ = {lams[int(best[0])]:.3g} ({line[0]:.2%}); with 90 % of them removed, "
        f"at λ = {lams[int(best[SHARES.index(0.9)])]:.3g} ({line[SHARES.index(0.9)]:.2%}).",
        (
            TextTable(
                "The line of best members",
                ("removed", "best λ", "accuracy", *(f"at λ = {lams[i]:.3g}" for i in _ends(lams))),
                tuple(rows),
                "Test accuracy; the best λ is that of the highest validation accuracy.",
            ),
        ),
        (_figure(lams, test, best, line),),
        {
            "lams": list(lams),
            "shares": list(SHARES),
            "accuracy": test.tolist(),
            "valid": valid.tolist(),
            "best_lams": [lams[i] for i in best.tolist()],
            "best_accuracy": line.tolist(),
        },
        {
            "data": lab.data or "mnist",
            "network": "inputs-50-classes",
            "starts": len(cells),
            "training": cells[0].training.label,
        },
        facts={
            "chosen": (
                f"λ = {lams[int(best[0])]:.3g}",
                f"the best member with all weights, by validation data: {line[0]:.2%} of test images right",
            ),
            "lost": (
                lost_words(float(line[0] - line[SHARES.index(0.9)])),
                "of test accuracy, by removing 90 % of the weights, each time at the best λ",
            ),
            "rival": (
                f"λ = {lams[int(best[SHARES.index(0.9)])]:.3g}",
                "the member that is best with 90 % removed",
            ),
        },
    )


def _figure(lams: tuple[float, ...], test: Tensor, best: Tensor, line: Tensor) -> Figure:
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    from netdial.report.panels import COMPLEXITY_SCALE, MUTED
    from netdial.report.sections.size_figures import single
    from netdial.report.text import number

    standing = (test - test.amin(dim=0)) / (test.amax(dim=0) - test.amin(dim=0)).clamp_min(1e-12)
    plot = single(26 * len(SHARES), "standing among equally many weights · line: the best")
    plot.add_trace(
        go.Heatmap(
            x=list(range(len(lams))),
            y=list(range(len(SHARES))),
            z=standing.T.tolist(),
            zmin=0,
            zmax=1,
            colorscale=[[i / 4, colour] for i, colour in enumerate(COMPLEXITY_SCALE)],
            xgap=1,
            ygap=1,
            colorbar={"tickformat": "~%"},
            text=[
                [f"λ = {number(lam)}, {share:.0%} removed: <b>{value:.2%}</b>" for lam, value in zip(lams, row, strict=True)]
                for share, row in zip(SHARES, test.T.tolist(), strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    plot.add_trace(
        go.Scatter(
            x=best.tolist(),
            y=list(range(len(SHARES))),
            mode="lines+markers",
            line={"color": MUTED, "width": 3},
            marker={"color": "#ffffff", "size": 8, "line": {"color": MUTED, "width": 2}},
            showlegend=False,
            hovertemplate="%{text}<extra></extra>",
            text=[f"best: {value:.2%}" for value in line.tolist()],
        )
    )
    step = -(-len(lams) // 8)
    plot.update_layout(
        hovermode="closest",
        xaxis={
            "title": {"text": "complexity λ"},
            "tickvals": list(range(0, len(lams), step)),
            "ticktext": [number(lam) for lam in lams[::step]],
            "range": [-0.5, len(lams) - 0.5],
            "showgrid": False,
        },
        yaxis={
            "title": {"text": "share removed"},
            "tickvals": list(range(len(SHARES))),
            "ticktext": [f"{share:.0%}" for share in SHARES],
            "range": [-0.5, len(SHARES) - 0.5],
            "showgrid": False,
        },
    )
    return Figure("The surface", plot, "Point at a cell for its test accuracy.")


def _ends(lams: tuple[float, ...]) -> list[int]:
    """Returns the lowest, the middle and the highest complexity value, by index."""
    return [0, len(lams) // 2, len(lams) - 1]

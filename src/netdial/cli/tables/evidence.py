"""What ``netdial evidence`` prints: estimates along λ, the state of the family, and what they mean in sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netdial.evidence import chosen, lowest
from netdial.report.tables import table_of
from netdial.report.text import count, fixed, number, percent

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.evidence import Estimate, Health


def estimates_table(found: list[Estimate], best: dict[str, float]) -> Table:
    """Returns λ × estimators in bits per example (error rates for pac-bayes), the chosen member of each marked by a star."""
    along = [e for e in found if e.name in lowest(found)]
    columns = {e.name: e.unit for e in along}
    cells = {(e.name, e.lam): e for e in along}
    units = (", bits/ex." if unit != "error rate" else "" for unit in columns.values())
    table = table_of("λ", *(f"{name}{unit}" for name, unit in zip(columns, units, strict=True)))
    for lam in sorted({lam for _, lam in cells}):
        row = [cells.get((name, lam)) for name in columns]
        shown = ["" if e is None else _cell(e, starred=best.get(e.name) == lam) for e in row]
        table.add_row(number(lam), *shown)
    return table


def health_table(checks: Health) -> Table:
    """Returns the state of the family along λ: slope against the due one, movement of σ, signal-to-noise, collapse."""
    slopes = {slope.lam: slope for slope in checks.slopes}
    spreads = {spread.lam: spread for spread in checks.spreads}
    headings = ("λ", "slope ÷ due", "log σ moved", "|μ|/σ median", "back at prior", "eff. params")
    table = table_of(*headings)
    for lam in sorted(slopes.keys() | spreads.keys()):
        slope, spread = slopes.get(lam), spreads.get(lam)
        table.add_row(
            number(lam),
            "–" if slope is None else f"{fixed(slope.ratio, 2)} ± {fixed(slope.error, 2)}",
            *(
                ("–",) * 4
                if spread is None
                else (
                    fixed(spread.movement[2], 2),
                    fixed(spread.snr[2], 2),
                    percent(spread.collapsed),
                    count(spread.effective_parameters),
                )
            ),
        )
    return table


def _cell(estimate: Estimate, *, starred: bool) -> str:
    error = "" if estimate.error == 0 else f" ± {fixed(estimate.error)}"
    return f"{fixed(estimate.value)}{error}{' *' if starred else '  '}"


def family_lines(found: list[Estimate]) -> list[str]:
    """Returns one line for each estimate of the family as a whole, and for each estimator that may not choose."""
    lines = [
        f"{name} is least at λ = {number(lam)}; {next(e.why for e in found if e.name == name)}"
        for name, lam in lowest(found).items()
        if name not in chosen(found)
    ]
    for e in (e for e in found if not e.legal and e.name not in lowest(found)):
        where = "" if math.isnan(e.lam) else f" (member λ = {number(e.lam)})"
        lines.append(f"{e.name}{where}: {fixed(e.value)} ± {fixed(e.error)} {e.unit}; {e.why}")
    return lines


def choice_lines(found: list[Estimate]) -> list[str]:
    """Returns one line for each estimator: the λ that it chooses, and what its number is."""
    why = {estimate.name: estimate.why for estimate in found}
    return [f"{name} chooses λ = {number(lam)}; {why[name]}" for name, lam in chosen(found).items()]

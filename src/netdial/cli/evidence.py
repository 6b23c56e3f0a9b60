"""``netdial evidence``: the members of a run weighed by its training data, and the λ that each estimator chooses."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.options import (
    DataDirOption,
    JsonOption,
    LamsOption,
    RunArgument,
    RunsDirOption,
    TrustOption,
    numbers,
    run_folder,
)

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.evidence import Estimate, Health


def evidence(
    run: RunArgument,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Estimators: {netdial.evidence:ESTIMATORS}, or all that apply; else a few that suit the objective.",
            show_default=False,
        ),
    ] = None,
    lams: LamsOption = None,
    samples: Annotated[int, typer.Option(min=2, help="Draws of the weights.")] = 32,
    examples: Annotated[
        int | None,
        typer.Option(min=2, help="Look at so many training examples only.", show_default=False),
    ] = None,
    health: Annotated[
        bool, typer.Option("--health", help="Check the family itself: slopes, movement of σ.")
    ] = False,
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Weigh members by training data alone: evidence, description length, bounds."""
    values = numbers(lams, "--lams")
    from netdial.cli.output import console, print_json, print_table
    from netdial.evidence import chosen, doubts
    from netdial.jobs.opening import open_run
    from netdial.jobs.weighed import examine_run, weigh_run
    from netdial.objective import OBJECTIVES
    from netdial.runs.run import Run

    folder = Run.open(run_folder(run, runs_dir))
    with folder.alone():
        family, task = open_run(folder, data_dir, values, trust=trust)
        objective = folder.config["objective"]
        names = None if by is None else [name.strip() for name in by.split(",")]
        if names == ["all"]:
            names = [name for name in OBJECTIVES[objective].estimators if name != "laplace-full"]
        options: dict[str, Any] = {"lams": values, "n_samples": samples, "n_examples": examples}
        found = weigh_run(folder, family, task, by=names, **options)
        checks = examine_run(folder, family, task, **options) if health else None
    if as_json:
        answer = {
            "run": str(folder.path),
            "objective": objective,
            "estimates": [asdict(estimate) for estimate in found],
            "chosen": chosen(found),
            "legal": OBJECTIVES[objective].why,
            "doubts": doubts(found),
        }
        if checks is not None:
            answer["health"] = {**asdict(checks), "findings": checks.findings()}
        print_json(answer)
        return
    out = console()
    if any(not math.isnan(estimate.lam) and estimate.legal for estimate in found):
        print_table(out, estimates_table(found, chosen(found)))
    for line in [
        *_whole_family(found),
        *_choices(found),
        f"{objective}: {OBJECTIVES[objective].why}",
    ]:
        out.print(line)
    for line in doubts(found):
        out.print(f"caution: {line}")
    if checks is not None:
        print_table(out, health_table(checks))
        for line in checks.findings() or ["nothing out of order"]:
            out.print(f"health: {line}")


def estimates_table(found: list[Estimate], best: dict[str, float]) -> Table:
    """Returns λ × estimators in bits per example (error rates for pac-bayes), the chosen member of each marked by a star."""
    from rich.table import Table

    from netdial.report.text import number

    columns = {e.name: e.unit for e in found if e.legal}
    cells = {(e.name, e.lam): e for e in found if e.legal}
    table = Table(header_style="bold")
    table.add_column("λ", justify="right")
    for name, unit in columns.items():
        heading = name if unit == "error rate" else f"{name}, bits/ex."
        table.add_column(heading, justify="right")
    for lam in sorted({lam for _, lam in cells}):
        row = [cells.get((name, lam)) for name in columns]
        shown = ["" if e is None else _cell(e, starred=best.get(e.name) == lam) for e in row]
        table.add_row(number(lam), *shown)
    return table


def health_table(checks: Health) -> Table:
    """Returns the state of the family along λ: slope against the due one, movement of σ, signal-to-noise, collapse."""
    from rich.table import Table

    from netdial.report.text import count, fixed, number, percent

    slopes = {slope.lam: slope for slope in checks.slopes}
    spreads = {spread.lam: spread for spread in checks.spreads}
    table = Table(header_style="bold")
    headings = ("λ", "slope ÷ due", "log σ moved", "|μ|/σ median", "back at prior", "eff. params")
    for heading in headings:
        table.add_column(heading, justify="right")
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
    from netdial.report.text import fixed

    error = "" if estimate.error == 0 else f" ± {fixed(estimate.error)}"
    return f"{fixed(estimate.value)}{error}{' *' if starred else '  '}"


def _whole_family(found: list[Estimate]) -> list[str]:
    """Returns one line for each estimate that chooses no λ."""
    from netdial.report.text import fixed, number

    lines = []
    for e in (e for e in found if not e.legal):
        where = "" if math.isnan(e.lam) else f" (member λ = {number(e.lam)})"
        lines.append(f"{e.name}{where}: {fixed(e.value)} ± {fixed(e.error)} {e.unit}; {e.why}")
    return lines


def _choices(found: list[Estimate]) -> list[str]:
    """Returns one line for each estimator: the λ that it chooses, and what its number is."""
    from netdial.evidence import chosen
    from netdial.report.text import number

    why = {estimate.name: estimate.why for estimate in found}
    return [f"{name} chooses λ = {number(lam)}; {why[name]}" for name, lam in chosen(found).items()]

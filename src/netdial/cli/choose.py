"""``netdial choose``: chooses a member of a run's family by a rule, an estimator or a budget."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.options import (
    DataDirOption,
    JsonOption,
    RunArgument,
    RunsDirOption,
    TrustOption,
    complexities,
    numbers,
    run_folder,
)
from netdial.core.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from netdial.choice import Choice, Verdict
    from netdial.runs.run import Run

_BUDGETS = "Budgets (any together)"
_WHERE = "Where to look"
_FILES = {"README.md", "config.json", "model.safetensors"}


def choose(
    run: RunArgument,
    by: Annotated[
        str | None,
        typer.Option(
            help="A rule: {netdial.choice.rules:RULES}; or an estimator: {netdial.evidence:ESTIMATORS}; else one-se, or "
            "best within budgets.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What rules compare members by: {netdial.task:metric_names}; else the log loss (nll), or rmse for regression.",
            show_default=False,
        ),
    ] = None,
    max_params: Annotated[
        float | None,
        typer.Option(help="Most parameters left.", show_default=False, rich_help_panel=_BUDGETS),
    ] = None,
    max_bytes: Annotated[
        float | None,
        typer.Option(help="Most bytes stored.", show_default=False, rich_help_panel=_BUDGETS),
    ] = None,
    max_macs: Annotated[
        float | None,
        typer.Option(
            help="Most multiplications for one example, by weights that are left.",
            show_default=False,
            rich_help_panel=_BUDGETS,
        ),
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(
            help="Most milliseconds for one example, measured here.",
            show_default=False,
            rich_help_panel=_BUDGETS,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            help="Least accuracy on validation data; alone, the sparsest that has it.",
            show_default=False,
            rich_help_panel=_BUDGETS,
        ),
    ] = None,
    lams: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Complexity values.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Or how many, evenly over the range.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    shares: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Shares to remove, in [0, 1).",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="What is removed first; else density, or magnitude for points.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None,
    finetune: Annotated[
        int,
        typer.Option(min=0, metavar="EPOCHS", help="Train further after every step of pruning."),
    ] = 0,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Show what other criteria would have chosen.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Look at the test data, once everything is decided.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder to write; else choice in the run folder.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose one member by a rule or a budget, and write it with a card that gives the reason."""
    values, removed = complexities(lams, points), numbers(shares, "--shares")
    from netdial.choice import agreement as compare
    from netdial.choice import choose as take
    from netdial.cli.output import console, print_json, print_table
    from netdial.jobs.opening import open_run
    from netdial.jobs.problem import describe_net
    from netdial.models.use import use_of
    from netdial.pruning.weights import SHARES
    from netdial.runs.run import Run

    folder = Run.open(run_folder(run, runs_dir))
    with folder.alone(), _unwarned():
        family, task = open_run(folder, data_dir, values, trust=trust)
        place = out or folder.path / "choice"
        _check_place(place)
        choice = take(
            family,
            task.valid,
            by=by,
            metric=metric,
            train=task.train,
            max_params=max_params,
            max_bytes=max_bytes,
            max_macs=max_macs,
            max_latency_ms=max_latency_ms,
            min_accuracy=min_accuracy,
            lams=values or points or folder.config["points"],
            shares=removed or SHARES,
            criterion=criterion,
            kind=task.kind,
            objective=folder.config["objective"],
            n_samples=folder.config["samples"],
            seed=folder.config["seed"],
            data_name=folder.config["data"],
            finetune_epochs=finetune,
            **({"batch_size": folder.config["batch_size"]} if finetune else {}),
        )
        if test:
            choice = choice.tested(task.test)
        verdicts = compare(family, choice) if agreement else []
        meta = {"run": folder.name, "data": folder.config["data"], **describe_net(folder)}
        meta |= use_of(task, choice.module, lam=choice.lam).to_json()
        _write(choice, place, meta)
        _record(folder, choice)
    if as_json:
        print_json({"run": str(folder.path), "path": str(place), **_answer(choice, verdicts)})
        return
    screen = console()
    if verdicts:
        print_table(screen, _table(verdicts, choice))
    for line in _lines(choice, place):
        screen.print(line, markup=False, soft_wrap=True)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Leaves out warnings that are among the remarks, which are printed."""
    from netdial.core.errors import MemberWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemberWarning)
        yield


def _check_place(place: Path) -> None:
    """Refuses to write over anything but an earlier choice.

    Raises:
        ConfigError: something else lies there.
    """
    taken = [path.name for path in place.iterdir()] if place.is_dir() else [place.name]
    if place.exists() and not set(taken) <= _FILES:
        raise ConfigError(
            f"{place}: exists and is no earlier choice; choose another folder (--out)"
        )


def _write(choice: Choice, place: Path, meta: dict[str, Any]) -> None:
    """Writes the member and its card into a neighbouring folder first, which then takes the place of an earlier one."""
    fresh = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    try:
        choice.export(fresh, meta=meta)
        if place.exists():
            place.rename(old)
        fresh.rename(place)
    except OSError as error:
        if old.exists() and not place.exists():
            old.rename(place)
        raise CheckpointError(
            f"{place}: could not be written ({error.strerror or error}); what was there before is intact"
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _record(folder: Run, choice: Choice) -> None:
    """Records the member that was chosen, its costs and values."""
    from netdial.core.records import Record

    step = folder.last_step
    row = choice.row
    found = {
        **{f"valid/{name}": (value, "") for name, value in row.metrics.items()},
        "choice/params": (row.params, "parameters"),
        "choice/bytes": (row.bytes, "bytes"),
        "choice/macs": (row.macs, "MACs/example"),
        "choice/latency": (row.latency_ms, "ms"),
        **{f"test/{name}": (choice.test[name], "") for name in row.metrics if name in choice.test},
    }
    folder.replace(
        Record(
            folder.name,
            "choose",
            row.lam,
            folder.config["seed"],
            step,
            name,
            float(value),
            unit,
            row.share,
        )
        for name, (value, unit) in found.items()
        if value == value
    )


def _answer(choice: Choice, verdicts: list[Verdict]) -> dict[str, Any]:
    """Returns the choice as plain values."""
    row, metric, valid = choice.row, choice.table.metric, choice.problem.valid
    n_valid = 0 if valid is None else len(valid)
    answer: dict[str, Any] = {
        "by": choice.by,
        "lam": row.lam,
        "share": row.share,
        "why": choice.why,
        "steps": list(choice.steps),
        "remarks": list(choice.remarks),
        "metric": metric,
        "valid": {metric: row.value, **row.metrics, "error": choice.error, "n": n_valid},
        "constant": choice.constant,
        "using": choice.using,
        "predictive": choice.average,
        "costs": {
            "params": row.params,
            "bytes": row.bytes,
            "macs": row.macs,
            "latency_ms": row.latency_ms,
        },
    }
    if choice.test:
        answer["test"] = choice.test
    if verdicts:
        answer["agreement"] = [
            {
                "by": v.by,
                "lam": v.cell.lam,
                "share": v.cell.share,
                "params": v.cell.params,
                metric: v.cell.value,
                **v.cell.metrics,
                "lost": v.lost,
                "error": v.error,
            }
            for v in verdicts
        ]
    return answer


def _table(verdicts: list[Verdict], choice: Choice) -> Table:
    from rich.table import Table

    from netdial.report.text import count, fixed, number, percent

    metric = choice.table.metric
    show = percent if metric in ("accuracy", "balanced_accuracy") else fixed
    others = [name for name in ("accuracy",) if name != metric and name in choice.row.metrics]
    table = Table(header_style="bold")
    table.add_column("by")
    headings = ["λ", "removed", "parameters", f"valid {metric}", "lost", *others]
    for heading in headings:
        table.add_column(heading, justify="right")
    for v in verdicts:
        cell = v.cell
        table.add_row(
            v.by,
            number(cell.lam),
            percent(cell.share),
            count(cell.params),
            show(cell.value),
            show(v.lost),
            *(percent(cell.metrics[name]) for name in others),
        )
    if metric in choice.constant:
        table.add_section()
        values = [percent(choice.constant[name]) for name in others]
        table.add_row("a constant", "–", "–", "–", show(choice.constant[metric]), "–", *values)
    return table


def _beside(choice: Choice) -> list[str]:
    """Returns what a constant is worth, and whether averaging over the posterior predicts better."""
    from netdial.core.best import PREDICTIVE

    names = [name for name in (choice.table.metric, "accuracy") if name in choice.constant]
    names = list(dict.fromkeys(names))
    lines = []
    if names:
        values = ", ".join(f"{name} {choice.constant[name]:.4f}" for name in names)
        lines.append(f"A constant has {values}.")
    if choice.using == PREDICTIVE:
        metric = choice.table.metric
        lines.append(
            f"Averaged over its posterior (predictive) the member has {metric} {choice.average[metric]:.4f}; what is written "
            "is the network of mean weights."
        )
    return lines


def _lines(choice: Choice, place: Path) -> list[str]:
    """Returns the answer for people."""
    from netdial.choice.budget import costs

    metric = choice.table.metric
    worth = costs(choice.row, metric)
    if choice.problem.valid is not None:
        worth += f" on validation data (standard error of {metric} {choice.error:.4f})"
    lines = [
        f"λ = {choice.lam:.4g}, {choice.share:.4g} removed: {worth}",
        choice.why,
        *choice.remarks,
        *_beside(choice),
        *(f"Afterwards {step}." for step in choice.steps),
    ]
    if choice.test:
        also = f", test accuracy {choice.test['accuracy']:.4f}" if "accuracy" in choice.test else ""
        lines.append(f"test {metric} {choice.test[metric]:.4f} ± {choice.test['error']:.4f}{also}")
    return [*lines, f"{place}: network and card"]

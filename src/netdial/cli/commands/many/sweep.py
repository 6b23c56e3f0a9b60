"""``netdial sweep``: many trials of a way of training over ranges of its settings."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.options import DataDirOption, JsonOption, QuietOption
from netdial.core.errors import ConfigError

if TYPE_CHECKING:
    from netdial.sweeps.estimate import SweepPlan
    from netdial.sweeps.result import Sweep, SweepTrial

ACTIONS = ("status", "resume", "best", "front")


def _asked(flag: str, text: str, **more: Any) -> Any:
    return typer.Option(flag, help=text, show_default=False, **more)


def sweep(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SPEC|ACTION",
            show_default=False,
            help="YAML file that says what is varied; or status, resume, best or front, and then the sweep.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(metavar="SWEEP", show_default=False, help="Name of a sweep, or its folder."),
    ] = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only say which trials there are, and what they may take."),
    ] = False,
    trials: Annotated[int | None, _asked("--trials", "How many trials.", min=1)] = None,
    engine: Annotated[
        str | None, _asked("--engine", "Where trials are made: {netdial.sweeps.engines:ENGINES}.")
    ] = None,
    workers: Annotated[
        int | None, _asked("--workers", "Trials at a time; 0 for one on every core.", min=0)
    ] = None,
    max_seconds: Annotated[
        float | None, _asked("--max-seconds", "No trial is begun after so many seconds.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try trials again that failed.")] = False,
    by: Annotated[
        str | None,
        _asked(
            "--by", "Measures for best and front, such as valid/accuracy,params.", metavar="A,B,…"
        ),
    ] = None,
    storage: Annotated[
        str | None, _asked("--storage", "Folder of sweeps; else that of the spec, or runs/sweeps.")
    ] = None,
    data_dir: DataDirOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make many runs over ranges of settings, on one machine or many, and compare them: the best, and the front."""
    from netdial.sweeps import open_sweep, read_spec
    from netdial.sweeps.estimate import plan
    from netdial.sweeps.run import folder_of

    place = storage or "runs/sweeps"
    measures = None if by is None else [one.strip() for one in by.split(",")]
    if what in ACTIONS:
        if name is None:
            raise ConfigError(f"netdial sweep {what}: of which sweep? give its name or folder")
        if what != "resume":
            _show(open_sweep(name, place), what, measures, as_json=as_json)
            return
        start: Any = folder_of(name, place).spec
    elif name is not None:
        raise ConfigError(
            f"netdial sweep {what} {name}: give one YAML file, or {', '.join(ACTIONS)} and a sweep"
        )
    else:
        start = what
    changes = {"trials": trials, "engine": engine, "workers": workers, "max_seconds": max_seconds}
    where = {"data_dir": data_dir} | ({} if what in ACTIONS else {"storage": storage})
    spec = read_spec(start, **changes, **where)
    if dry_run:
        if spec.remark:
            print(f"netdial: {spec.remark}", file=sys.stderr)
        _show_plan(plan(spec), as_json=as_json)
        return
    found = _made(spec, retry=retry, quiet=quiet)
    _show(found, "sweep", measures, as_json=as_json)
    if found.counts["failed"] and not found.done and not found.counts["stopped"]:
        raise typer.Exit(1)


def _made(spec: Any, *, retry: bool, quiet: bool) -> Sweep:
    """Runs a sweep with progress on stderr; on Ctrl-C says how to go on, and exits with 130."""
    from netdial.cli.tables.sweep import telling
    from netdial.sweeps import sweep

    try:
        with telling(quiet=quiet) as report:
            return sweep(spec, retry=retry, report=report)
    except KeyboardInterrupt:
        print(
            f"netdial: interrupted, what is done is kept; go on with: netdial sweep resume {spec.path}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


def _show(found: Sweep, what: str, by: list[str] | None, *, as_json: bool) -> None:
    """Prints a sweep: its trials, or those that were chosen, with what they are worth on test data."""
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.sweep import trials_table

    chosen: list[SweepTrial] = []
    if what == "best":
        chosen = [found.best(by[0] if by else None)]
    elif what == "front" or (what == "sweep" and found.done):
        chosen = found.front(by)
    if as_json:
        print_json(_answer(found, chosen))
        return
    screen = console()
    measures = list(dict.fromkeys([*(by or ()), *found.spec.optimised]))
    if what in ("status", "sweep"):
        print_table(screen, trials_table(found, found.trials, measures))
        for trial in found.trials:
            if trial.error:
                screen.print(
                    f"trial {trial.number} {trial.state}: {trial.error}",
                    markup=False,
                    soft_wrap=True,
                )
    if chosen:
        title = "the best trial" if what == "best" else "the front, chosen on validation data"
        screen.print(f"{title}:", markup=False)
        weighed = [] if what == "best" or by else found.weighed()
        shown = list(dict.fromkeys([*measures, *weighed]))
        print_table(screen, trials_table(found, chosen, shown, test=True))
        for trial in chosen:
            screen.print(f"trial {trial.number}: {trial.run}", markup=False, soft_wrap=True)
    if what == "sweep":
        from netdial.sweeps.page import write_sweep_page

        screen.print(f"report: {write_sweep_page(found)}", markup=False, soft_wrap=True)
    said = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count)
    screen.print(f"{found.path}: {said}", markup=False, soft_wrap=True)


def _answer(found: Sweep, chosen: list[SweepTrial]) -> dict[str, Any]:
    """Returns a sweep as plain values."""
    return {
        "sweep": str(found.path),
        "spec": found.spec.model_dump(mode="json"),
        "counts": found.counts,
        "trials": [trial.to_json() for trial in found.trials],
        "chosen": [trial.to_json(with_test=True) for trial in chosen],
    }


def _show_plan(found: SweepPlan, *, as_json: bool) -> None:
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.sweep import clock, plan_table

    if as_json:
        rows = [{**vars(trial), "params": dict(trial.params)} for trial in found.trials]
        print_json({**vars(found), "path": str(found.path), "trials": rows})
        return
    screen = console()
    print_table(screen, plan_table(found))
    later = found.count - len(found.trials)
    rest = f"; {later} more depend on results" if later else ""
    cost = f", about {clock(found.seconds)} of training left"
    screen.print(
        f"{found.path}: {found.count} trials{rest}; {found.workers} at a time ({found.engine}){cost}",
        markup=False,
        soft_wrap=True,
    )

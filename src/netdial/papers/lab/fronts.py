"""Fronts of size and accuracy: the arms of a comparison as sweeps, and how two fronts are compared.

Trials are compared by accuracy on validation data and parameters. A front is what is best so far as size grows; of two fronts
the ratio of sizes is taken where both reach the same validation accuracy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netdial.jobs.pool import Made
from netdial.papers.lab.lab import Lab
from netdial.runs.folder import FOUND
from netdial.runs.run import Run
from netdial.runs.shrinkage import shrinkage
from netdial.sweeps import Sweep, sweep
from netdial.sweeps.conductor import Told

ACCURACY, SIZE = "valid/accuracy", "params"

_INPUTS = "pick_"
"""How the groups of inputs begin."""


@dataclass(frozen=True)
class FrontNetwork:
    """One network of a front.

    Attributes:
        params: its parameters.
        valid, test: accuracy on validation and on test data.
        widths: channels of its layers, in their order; empty where they were not recorded.
        params_of: values of what was varied.
        seconds: processor time of its training, which other work on the machine does not change.
        inputs: inputs that are left; None where all are.
        run: its run folder.
    """

    params: float
    valid: float
    test: float
    widths: tuple[int, ...]
    params_of: dict[str, Any]
    seconds: float
    inputs: int | None = None
    run: str = ""


def run_arm(lab: Lab, name: str, spec: dict[str, Any]) -> Sweep:
    """Makes the trials of one arm that are missing or failed, and returns all."""
    return sweep(
        spec | {"name": name},
        retry=True,
        storage=str(lab.store.folder / "sweeps"),
        data_dir=lab.store.data_dir,
        workers=lab.workers,
        report=None if lab.report is None else _told(lab.report, name),
    )


def _told(report: Callable[[Made], None], arm: str) -> Callable[[Told], None]:
    """Returns what tells the lab of trials as of cells."""
    spent = 0.0

    def tell(told: Told) -> None:
        nonlocal spent
        if told.state == "running":
            return
        spent += told.seconds
        left = spent / max(told.done, 1) * (told.total - told.done)
        report(Made(f"{arm} trial {told.number}", told.seconds, told.done, told.total, left))

    return tell


def networks(found: Sweep) -> list[FrontNetwork]:
    """Returns the networks of an arm, in the order of proposals; failed trials are left out."""
    return [
        FrontNetwork(
            trial.measures[SIZE],
            trial.measures[ACCURACY],
            trial.test["test/accuracy"],
            widths_of(trial.run),
            dict(trial.params),
            cpu_seconds_of(trial.run),
            inputs_of(trial.run),
            str(trial.run),
        )
        for trial in found.trials
        if trial.state == "done" and ACCURACY in trial.measures
    ]


def ladder(found: Sweep) -> list[FrontNetwork]:
    """Returns the networks of several sizes that trials made each, the largest first; the first has the time of its trial."""
    made = list[FrontNetwork]()
    for trial in (one for one in found.trials if one.state == "done"):
        content = json.loads((trial.run / FOUND).read_text(encoding="utf-8"))
        for number, one in enumerate(content["networks"]):
            measures, widths = one["measures"], one["widths"]
            made.append(
                FrontNetwork(
                    measures[SIZE],
                    measures[ACCURACY],
                    measures["test/accuracy"],
                    _hidden(widths),
                    dict(trial.params),
                    0.0 if number else cpu_seconds_of(trial.run),
                    inputs=_inputs(widths),
                    run=str(trial.run / one["path"]),
                )
            )
    return made


def widths_of(path: Any) -> tuple[int, ...]:
    """Returns the widths of the hidden layers of a network that a run left, in their order; nothing for a family."""
    return _hidden(_last_widths(path))


def inputs_of(path: Any) -> int | None:
    """Returns how many inputs the first layer of a network still reads; None where no inputs were taken away."""
    return _inputs(_last_widths(path))


def _last_widths(path: Any) -> dict[str, int]:
    found = shrinkage(Run.open(path).records()).widths
    return {group: int(line[-1]) for group, line in found.items()}


def _hidden(widths: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(width for group, width in widths.items() if not group.startswith(_INPUTS))


def _inputs(widths: Mapping[str, int]) -> int | None:
    return next((width for group, width in widths.items() if group.startswith(_INPUTS)), None)


def front_of(found: Sequence[FrontNetwork]) -> list[FrontNetwork]:
    """Returns the networks that no smaller one is as good as, the smallest first."""
    kept: list[FrontNetwork] = []
    for one in sorted(found, key=lambda network: (network.params, -network.valid)):
        if not kept or one.valid > kept[-1].valid:
            kept.append(one)
    return kept


def smallest(found: Sequence[FrontNetwork], accuracy: float) -> FrontNetwork | None:
    """Returns the smallest network that reaches an accuracy on validation data, None if there is none."""
    reaching = [one for one in found if one.valid >= accuracy]
    return min(reaching, key=lambda one: one.params, default=None)


def cpu_seconds_of(run: Path) -> float:
    """Returns the processor time that a finished run took; of older runs, which do not say it, the time by the clock."""
    done = json.loads((run / "DONE").read_text(encoding="utf-8"))
    return float(done.get("cpu_seconds", done["seconds"]))


def time_of(found: Sequence[FrontNetwork]) -> float:
    """Returns the seconds of processor time of all trainings."""
    return sum(one.seconds for one in found)


def affordable(found: Sequence[FrontNetwork], seconds: float) -> list[FrontNetwork]:
    """Returns as many networks as were trained within so much time, in their order."""
    kept, spent = [], 0.0
    for one in found:
        spent += one.seconds
        if spent > seconds:
            break
        kept.append(one)
    return kept


def hypervolume(found: Sequence[FrontNetwork], largest: float, least: float) -> float:
    """Returns the area that a front covers: decades of parameters below ``largest``, times accuracy above ``least``.

    >>> small = FrontNetwork(10.0, 0.5, 0.5, (), {}, 1.0)
    >>> hypervolume([small, FrontNetwork(100.0, 0.7, 0.7, (), {}, 1.0)], 1000.0, 0.4)
    0.4
    """
    area, best = 0.0, least
    for one in front_of(found):
        if one.params < largest and one.valid > best:
            area += (one.valid - best) * math.log10(largest / one.params)
            best = one.valid
    return round(area, 12)


def geometric_mean(values: Sequence[float]) -> float:
    """Returns the geometric mean; NaN of nothing.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    known = [math.log(value) for value in values]
    return round(math.exp(sum(known) / len(known)), 12) if known else math.nan

"""Chooses a member of a run, tests it if asked to, writes it with its card, and records it as method ``choose``."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from netdial.choice import Budget, Choice, choose
from netdial.choice.rules import RULES
from netdial.core.arguments import checked_fields
from netdial.core.errors import CheckpointError, ConfigError, unknown
from netdial.core.records import Place
from netdial.core.storage.files import check_writable
from netdial.data import Splits
from netdial.evidence import ESTIMATORS
from netdial.family import Family
from netdial.jobs.analyses.fields import Criterion, Refit
from netdial.jobs.opening import as_trained
from netdial.jobs.problem import describe_net, origin_of
from netdial.models.use import use_of
from netdial.pruning.weights import SHARES
from netdial.pruning.weights.mask import check_shares
from netdial.runs.run import Run

_FILES = {"README.md", "config.json", "model.safetensors"}


@checked_fields
@dataclass(frozen=True)
class ChoiceOptions:
    """Settings of the choice of a member.

    Raises:
        ConfigError: an unknown rule, or a share outside [0, 1).
    """

    by: Annotated[
        str | None,
        Field(
            description="a rule: {netdial.choice.rules:RULES}; or an estimator: {netdial.evidence:ESTIMATORS}; else one-se, "
            "or best within budgets"
        ),
    ] = None
    metric: Annotated[
        str | None,
        Field(
            description="what rules compare members by, by default the log loss (nll), or rmse for regression",
            json_schema_extra={"names": "netdial.task:metric_names"},
        ),
    ] = None
    shares: Annotated[
        tuple[float, ...],
        Field(description="shares of the weights removed to look at, in [0, 1)"),
    ] = SHARES
    criterion: Criterion = None
    refit: Refit = False
    finetune: Annotated[
        int, Field(ge=0, description="epochs of training after every step of pruning")
    ] = 0

    def __post_init__(self) -> None:
        """Refuses an unknown rule, and shares that cannot be removed."""
        if self.by is not None and self.by not in (*RULES, *ESTIMATORS):
            raise unknown("rule", self.by, [*RULES, *ESTIMATORS])
        check_shares(self.shares)


def choose_run(
    run: Run,
    family: Family,
    task: Splits,
    options: ChoiceOptions | None = None,
    budget: Budget | None = None,
    *,
    lams: Sequence[float] | int | None = None,
    test: bool = False,
) -> Choice:
    """Returns the chosen member of a run's family; nothing is written.

    Args:
        run: the run; its configuration gives what is not given here.
        family: its family.
        task: its data.
        options: how to choose.
        budget: limits that it has to meet.
        lams: complexity values to look at, or how many.
        test: look at the test data, once everything is decided.

    Raises:
        BudgetError: nothing meets the budgets.
        ConfigError: what was asked does not fit the family or its task.
    """
    options, config = options or ChoiceOptions(), run.config
    tuning = as_trained(run, task) if options.finetune else {}
    choice = choose(
        family,
        task.valid,
        by=options.by,
        metric=options.metric,
        train=task.train,
        **vars(budget or Budget()),
        lams=lams or config["points"],
        shares=options.shares,
        criterion=options.criterion,
        refit=options.refit,
        kind=task.kind,
        objective=config["objective"],
        n_samples=config["samples"],
        seed=config["seed"],
        data_name=config["data"],
        finetune_epochs=options.finetune,
        **tuning,
    )
    return choice.tested(task.test) if test else choice


def check_place(place: Path) -> None:
    """Refuses to write over anything but an earlier choice, and where nothing can be written.

    Raises:
        ConfigError: something else lies there.
        WriteError: nothing can be written there.
    """
    taken = [path.name for path in place.iterdir()] if place.is_dir() else [place.name]
    if place.exists() and not set(taken) <= _FILES:
        raise ConfigError(
            f"{place}: exists and is no earlier choice; choose another folder (--out)"
        )
    check_writable(place, is_folder=True)


def write_choice(run: Run, task: Splits, choice: Choice, place: Path) -> None:
    """Writes the member and its card, and records what it is worth.

    Raises:
        CheckpointError: the disk refused the files; what was there before is intact.
    """
    meta = {"run": run.name, **origin_of(run), **describe_net(run)}
    meta |= use_of(task, choice.module, lam=choice.lam).to_json()
    _write(choice, place, meta)
    _record(run, choice)


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
    step, row = folder.last_step, choice.row
    where: dict[str, Place] = {"method": "choose", "lam": row.lam, "sparsity": row.share}
    costs = {
        "params": (row.params, "parameters"),
        "bytes": (row.bytes, "bytes"),
        "macs": (row.macs, "MACs/example"),
        "latency": (row.latency_ms, "ms"),
    }
    rows = [
        folder.row(step, name, value, part=part, **where)
        for part, values in (("valid", row.metrics), ("test", choice.test))
        for name, value in values.items()
        if name in row.metrics
    ]
    rows += [folder.row(step, name, value, unit, **where) for name, (value, unit) in costs.items()]
    folder.replace(row for row in rows if not math.isnan(row.value))

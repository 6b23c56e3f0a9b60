"""Trains a member of a run further at its own λ, prunes it in rounds if asked to, and measures it after each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from netdial.core.arguments import checked_fields
from netdial.core.errors import ConfigError
from netdial.data import Splits
from netdial.family import Family
from netdial.jobs.analyses.fields import Criterion
from netdial.jobs.opening import as_trained
from netdial.measure import evaluate
from netdial.pruning.weights import Policy, retrain
from netdial.runs.run import Run
from netdial.train.finetune import finetune
from netdial.train.fit import learn_noise


@checked_fields
@dataclass(frozen=True)
class TuningOptions:
    """How a member is trained further."""

    epochs: Annotated[int, Field(ge=1, description="passes over the data, in every round")] = 1
    lr: Annotated[float, Field(gt=0, description="peak learning rate")] = 1e-3
    objective: Annotated[
        str | None,
        Field(
            description="objective, by default that of the run",
            json_schema_extra={"names": "netdial.objective:OBJECTIVES"},
        ),
    ] = None


@checked_fields
@dataclass(frozen=True)
class RoundOptions:
    """How a member is pruned in rounds.

    Raises:
        ConfigError: the share is outside [0, 1).
    """

    share: Annotated[
        float | None, Field(description="share of the weights to remove, in [0, 1)")
    ] = None
    rounds: Annotated[int, Field(ge=1, description="times to prune and train")] = 3
    schedule: Annotated[
        str,
        Field(
            description="how the share rises",
            json_schema_extra={"names": "netdial.pruning.weights.rounds:RISES"},
        ),
    ] = "cubic"
    start: Annotated[Literal["previous", "random"], Field(description="weights to go on from")] = (
        "previous"
    )
    criterion: Criterion = None

    def __post_init__(self) -> None:
        """Refuses a share that cannot be removed."""
        if self.share is not None and not 0 <= self.share < 1:
            raise ConfigError(f"--share {self.share:g}: expected a share in [0, 1)")


def tune_run(
    run: Run,
    family: Family,
    task: Splits,
    lam: float,
    tuning: TuningOptions,
    rounds: RoundOptions,
    policy: Policy,
) -> tuple[Family, list[dict[str, float]]]:
    """Returns a member trained further, and what it was worth before and after each round on validation data.

    Args:
        run: the run; its configuration gives objective, seed, size of batches and weights of classes.
        family: its family; it is left as it is.
        task: its data.
        lam: complexity value of the member.
        tuning: how it is trained.
        rounds: how it is pruned, if it is.
        policy: what may be removed.

    Raises:
        ConfigError: λ is outside the trained range, or an option does not fit the family.
    """
    settings: dict[str, Any] = {
        "epochs": tuning.epochs,
        "lr": tuning.lr,
        "kind": task.kind,
        "seed": run.config["seed"],
        "objective": tuning.objective or run.config["objective"],
        **as_trained(run, task),
    }
    if rounds.share is None:
        stages = [(0.0, family), (0.0, finetune(family, lam, task.train, **settings))]
    else:
        done = retrain(
            family,
            lam,
            task.train,
            share=rounds.share,
            rounds=rounds.rounds,
            schedule=rounds.schedule,
            start=rounds.start,
            criterion=rounds.criterion,
            policy=policy,
            **settings,
        )
        stages = [(0.0, family), *((stage.share, stage.family) for stage in done)]
    for _, member in stages[1:]:
        learn_noise(member, task.valid)
    rows = []
    for removed, member in stages:
        gone = 0 if member.kept is None else int((~member.kept).sum())
        (found,) = evaluate(member, task.valid, lams=[lam], kind=task.kind, n_samples=0).members
        rows.append({"share": removed, "parameters": member.n_params - gone, **found.metrics})
    return stages[-1][1], rows

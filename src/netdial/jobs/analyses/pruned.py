"""What the members of a run are worth without a share of their weights, and the records of it.

Pruned members stand among a run's records as method ``prune`` with their share: ``valid/accuracy`` and the like, ``removed``
(how many numbers went). Another criterion or policy than the default is named in the method, ``prune: magnitude, per layer``,
so that several can be compared and none replaces another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from netdial.core.records import Record
from netdial.data import Splits
from netdial.family import Family
from netdial.jobs.analyses.fields import Criterion
from netdial.jobs.recorder import comparison_records, constant_records
from netdial.pruning.weights import SHARES, Policy, Surface, surface
from netdial.pruning.weights.criteria import default_criterion
from netdial.pruning.weights.mask import check_shares
from netdial.runs.run import Run

METHOD = "prune"


@dataclass(frozen=True)
class SurfaceOptions:
    """What is removed of the members of a run, and how they are looked at then.

    Attributes:
        shares: shares of the weights to remove, in [0, 1).
        criterion: a name in ``CRITERIA``; None for ``density``, or ``magnitude`` where there is no posterior.
        fold: whether weights of constant inputs go first, into biases.
        samples: draws of the posterior predictive; None for as many as in training.

    Raises:
        ConfigError: a share is outside [0, 1).
    """

    shares: Annotated[
        tuple[float, ...],
        Field(description="shares of the weights to remove, in [0, 1)"),
    ] = SHARES
    criterion: Criterion = None
    fold: Annotated[bool, Field(description="fold weights of constant inputs into biases")] = True
    samples: Annotated[
        int | None, Field(ge=0, description="posterior draws; else as in training")
    ] = None

    def __post_init__(self) -> None:
        """Refuses shares that cannot be removed."""
        check_shares(self.shares)


def prune_run(
    run: Run,
    family: Family,
    task: Splits,
    part: str,
    *,
    lams: Sequence[float] | int | None = None,
    shares: Sequence[float] = SHARES,
    criterion: str | None = None,
    policy: Policy | None = None,
    fold: bool = True,
    n_samples: int | None = None,
) -> Surface:
    """Returns the surface of a run's family on one part of its data, and writes it into the run's records.

    Args:
        run: the run; its configuration gives what is not given here.
        family: its family.
        task: its data; criteria and constant inputs are taken from the training part.
        part: ``valid`` or ``test``.
        lams: complexity values, or how many.
        shares: shares to remove, in [0, 1).
        criterion: what goes first.
        policy: what may go.
        fold: whether weights of constant inputs go first, into biases.
        n_samples: draws of the posterior predictive.

    Raises:
        ConfigError: a share, a complexity value or the criterion is not allowed.
    """
    criterion = criterion or default_criterion(family)
    policy = policy or Policy()
    found = surface(
        family,
        task.part(part),
        lams=run.config["points"] if lams is None else lams,
        shares=shares,
        criterion=criterion,
        policy=policy,
        train=task.train,
        fold=fold,
        kind=task.kind,
        n_samples=run.config["samples"] if n_samples is None else n_samples,
        seed=run.config["seed"],
    )
    run.replace(surface_records(run, found, part, method_name(criterion, policy, fold=fold)))
    return found


def method_name(criterion: str, policy: Policy, *, fold: bool = True) -> str:
    """Returns the method that stands in the records: ``prune``, and what differs from the default.

    >>> method_name("density", Policy())
    'prune'
    >>> method_name("density", Policy(scope="layer"), fold=False)
    'prune: density, per layer, nothing folded'
    """
    words = [
        *(["per layer"] if policy.scope == "layer" else []),
        *(["biases too"] if policy.biases else []),
        *(["whole rows"] if policy.rows else []),
        *(["nothing folded"] if not fold and not policy.rows else []),
    ]
    if criterion == "density" and not words:
        return METHOD
    return f"{METHOD}: {', '.join([criterion, *words])}"


def surface_records(run: Run, found: Surface, part: str, method: str) -> list[Record]:
    """Returns the records of a surface, at the last step that the run has recorded."""
    step = run.last_step
    records = []
    for row in found.table():
        lam, share = row.pop("lam"), row.pop("share")
        for name, value in row.items():
            counts = name in ("removed", "params")
            full, unit = (name, "parameters") if counts else (f"{part}/{name}", "")
            unit = "nats/example" if name.startswith("nll") else unit
            records.append(
                Record(run.name, method, lam, run.config["seed"], step, full, value, unit, share)
            )
    if part == "valid":
        shares = [share for _ in found.lams for share in found.shares]
        records += comparison_records(run, step, method, found.rows(), shares)
    return records + constant_records(run, step, {part: found.constant})

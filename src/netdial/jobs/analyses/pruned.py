"""Measures the members of a run with a fraction of their weights removed, and records it.

Pruned members stand among a run's records as method ``prune`` with their λ and sparsity: ``accuracy`` and the like, ``removed``
(how many numbers went). The criterion is an axis of each record, and so is what differs from the default policy, so that
several can be compared and none replaces another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from netdial.core.arguments import checked_fields
from netdial.core.best import PREDICTIVE
from netdial.core.records import Place, Record
from netdial.data import Splits
from netdial.family import Family
from netdial.jobs.analyses.fields import Criterion, Refit
from netdial.jobs.records.recorder import comparison_records, constant_records
from netdial.pruning.weights import SHARES, Policy, Surface, surface
from netdial.pruning.weights.criteria import default_criterion
from netdial.pruning.weights.mask import check_shares
from netdial.runs.curves import EXCESS, EXCESS_ERROR
from netdial.runs.run import Run

METHOD = "prune"
_UNITS = {
    "removed": "parameters",
    "params": "parameters",
    "bytes": "bytes",
    "nll": "nats/example",
}


@checked_fields
@dataclass(frozen=True)
class SurfaceOptions:
    """Settings of the pruning and evaluation of all members of a run.

    Raises:
        ConfigError: a share is outside [0, 1).
    """

    shares: Annotated[
        tuple[float, ...],
        Field(description="shares of the weights to remove, in [0, 1)"),
    ] = SHARES
    criterion: Criterion = None
    fold: Annotated[bool, Field(description="fold weights of constant inputs into biases")] = True
    refit: Refit = False
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
    refit: bool = False,
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
        refit: whether what is left makes up for what went, by least squares over the training part.
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
        refit=refit,
        kind=task.kind,
        n_samples=run.config["samples"] if n_samples is None else n_samples,
        seed=run.config["seed"],
    )
    done_so = how(criterion, policy, fold=fold, refit=refit)
    place = {"method": METHOD, "part": part, **done_so}

    def compared_before(record: Record) -> bool:
        """Returns whether a record compares members of an earlier pruning of this kind with the best of that."""
        where = {axis: at for axis, at in record.where.items() if axis not in ("lam", "sparsity")}
        return record.column in (EXCESS, EXCESS_ERROR) and where == place

    run.replace(surface_records(run, found, part, done_so), compared_before)
    return found


def how(
    criterion: str, policy: Policy, *, fold: bool = True, refit: bool = False
) -> dict[str, Place]:
    """Returns how members are pruned, as axes of records: the criterion, and what differs from the default.

    >>> how("density", Policy())
    {'criterion': 'density'}
    >>> how("density", Policy(scope="layer"), fold=False)
    {'criterion': 'density', 'scope': 'layer', 'fold': False}
    """
    found: dict[str, Place] = {"criterion": criterion}
    found |= {"scope": "layer"} if policy.scope == "layer" else {}
    found |= {"biases": True} if policy.biases else {}
    found |= {"rows": True} if policy.rows else {}
    found |= {"fold": False} if not fold and not policy.rows else {}
    return found | ({"refit": True} if refit else {})


def surface_records(run: Run, found: Surface, part: str, how: Mapping[str, Place]) -> list[Record]:
    """Returns the records of a surface, at the last step that the run has recorded."""
    step, where = run.last_step, {"method": METHOD, **how}
    here: dict[str, Place] = {"part": part}
    averaged: dict[str, Place] = {"part": part, "using": PREDICTIVE}
    columns: list[tuple[str, Tensor, dict[str, Place]]] = [
        ("removed", found.removed, {}),
        *((name, grid, {}) for name, grid in found.costs.items()),
        *((name, grid, here) for name, grid in found.metrics.items()),
        *((name, grid, averaged) for name, grid in found.predictive.items()),
    ]
    records = [
        run.row(
            step,
            name,
            float(grid[k, s]),
            _UNITS.get(name, ""),
            lam=lam,
            sparsity=share,
            **where,
            **at,
        )
        for k, lam in enumerate(found.lams)
        for s, share in enumerate(found.shares)
        for name, grid, at in columns
    ]
    if part == "valid":
        shares = [share for _ in found.lams for share in found.shares]
        records += comparison_records(run, step, where, found.rows(), shares)
    return records + constant_records(run, step, {part: found.constant})

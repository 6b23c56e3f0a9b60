"""Settings of a family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netdial.core.arguments import checked_fields
from netdial.task import Task


@checked_fields
@dataclass(frozen=True)
class FamilyConfig:
    """Settings of a family: map, posterior, prior and range of λ.

    Attributes:
        lo, hi: range of complexity values.
        map: name of the map: linear, piecewise, lowrank, gated, table.
        regions: regions of the piecewise-linear map.
        hidden: hidden width of the low-rank map.
        posterior: ``normal`` (diagonal) or ``point``; or names by pattern of parameters, as in ``{"gate": "name"}``, where
            ``*`` stands for all that no other pattern names. See ``posteriors``.
        prior_var: α, the variance of the prior N(0, α I); the papers use 1.
        anchor: centre of the prior: ``zero``, or ``start``, the weights that the family starts from.
        log_std: starting log standard deviation; the papers use -3.
        freeze: patterns of parameters that are not trained, beside those with ``requires_grad=False``; see ``leaves``.
        shared: patterns of parameters that are trained, and the same for every λ. In ``Family.config`` both are names, so
            that a family made again from it, on any network of the architecture, divides its parameters alike.
        lams: complexity values of the rows of a table map.
        seed: seed of any random start of a map.
        objective: what the family is trained under, so that what reads it later knows what its members mean; see
            ``Family.objective``.
        task: what the family predicts and how it is scored; None before it is trained.
        n_data: N, examples that the family was trained on; None before it is trained.
    """

    lo: float = 1e-3
    hi: float = 1e2
    map: str = "piecewise"
    regions: int = 3
    hidden: int = 50
    posterior: str | Mapping[str, str] = "normal"
    prior_var: float = 1.0
    anchor: str = "zero"
    log_std: float = -3.0
    freeze: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    lams: tuple[float, ...] = ()
    seed: int = 0
    objective: str | None = None
    task: Task | None = None
    n_data: int | None = None

    def in_words(self) -> dict[str, str]:
        """Returns range, objective, map and task, for people."""
        return {
            "λ": f"{self.lo:g} to {self.hi:g}",
            "objective": self.objective or "–",
            "map": self.map,
            "predicts": "–" if self.task is None else self.task.name,
        }

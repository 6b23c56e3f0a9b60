"""Budgets: what a member may cost and must be worth; if nothing meets them, how near one can come.

Any limits may be given together. The nearest member breaks them by the least in all: the sum of the relative excess over
each limit, where falling short of an accuracy counts by the shortfall relative to the error that it allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from netdial.choice.table import Candidate, CandidateTable
from netdial.core.arguments import checked_fields
from netdial.core.best import four_places
from netdial.core.errors import ConfigError

_SHOWN = {"params": "parameters", "bytes": "bytes", "macs": "MACs", "latency_ms": "ms"}


class BudgetError(ConfigError):
    """No member meets the budgets; ``nearest`` is the one that breaks them by the least.

    Attributes:
        nearest: that member.
    """

    def __init__(self, message: str, nearest: Candidate) -> None:
        super().__init__(message)
        self.nearest = nearest


@checked_fields
@dataclass(frozen=True)
class Budget:
    """Limits; None where there is none.

    Attributes:
        max_params: numbers left.
        max_bytes: bytes of the stored tensors.
        max_macs: multiply-accumulates for one example whose weight is left.
        max_latency_ms: milliseconds for one example, measured.
        min_accuracy: accuracy on validation data, in [0, 1].

    Raises:
        ConfigError: a limit is not positive, or the accuracy is outside [0, 1].
    """

    max_params: Annotated[float | None, Field(description="most parameters left")] = None
    max_bytes: Annotated[float | None, Field(description="most bytes stored")] = None
    max_macs: Annotated[
        float | None,
        Field(description="most multiplications for one example, by weights that are left"),
    ] = None
    max_latency_ms: Annotated[
        float | None, Field(description="most milliseconds for one example, measured here")
    ] = None
    min_accuracy: Annotated[
        float | None,
        Field(description="least accuracy on validation data; alone, the sparsest that has it"),
    ] = None

    def __post_init__(self) -> None:
        """Refuses limits that make no sense."""
        for name, limit, _ in self._limits():
            if not limit > 0:
                raise ConfigError(f"{name}={limit:g}; expected a positive limit")
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise ConfigError(
                f"min_accuracy={self.min_accuracy:g}; expected a share of examples in [0, 1], for example 0.95"
            )

    @property
    def limits_cost(self) -> bool:
        """Whether anything but the accuracy is limited."""
        return any(True for _ in self._limits())

    def excess(self, cell: Candidate) -> float:
        """Returns by how much a member breaks the budgets in all, 0 if it meets them."""
        over = 0.0
        for _, limit, of in self._limits():
            over += max(float(getattr(cell, of)) / limit - 1, 0.0)
        if self.min_accuracy is None or cell.accuracy >= self.min_accuracy:
            return over
        short = self.min_accuracy - cell.accuracy if cell.accuracy == cell.accuracy else 1.0
        return over + short / max(1 - self.min_accuracy, 1e-2)

    def __str__(self) -> str:
        """Returns the limits as they were given."""
        given = [f"{name}={limit:.10g}" for name, limit, _ in self._limits()]
        if self.min_accuracy is not None:
            given.append(f"min_accuracy={self.min_accuracy:g}")
        return ", ".join(given)

    def _limits(self) -> Iterator[tuple[str, float, str]]:
        """Yields (name, limit, attribute of a cell) of the costs that are limited."""
        for of in _SHOWN:
            limit = getattr(self, f"max_{of}")
            if limit is not None:
                yield f"max_{of}", limit, of


def feasible(table: CandidateTable, budget: Budget) -> list[int]:
    """Returns the members that meet all budgets.

    Raises:
        BudgetError: there are none; the message gives the nearest one and what it costs.
    """
    excess = [budget.excess(cell) for cell in table.cells]
    found = [index for index, over in enumerate(excess) if over == 0]
    if found:
        return found
    means = [row.loss if row.is_measured else math.inf for row in table.rows()]
    index = min(range(len(excess)), key=lambda i: (excess[i], means[i]))
    nearest = table.cells[index]
    lams, shares = ({getattr(cell, of) for cell in table.cells} for of in ("lam", "share"))
    raise BudgetError(
        f"no member meets {budget} ({len(lams)} values of lam, {len(shares)} shares removed up to {max(shares):g}); "
        f"nearest: lam={nearest.lam:g} with share={nearest.share:g} removed, {costs(nearest, table.metric)}; "
        "allow that, or give more lams or higher shares",
        nearest,
    )


def costs(cell: Candidate, metric: str) -> str:
    """Returns what a member costs and is worth, in words."""
    known = {of: getattr(cell, of) for of in _SHOWN if not math.isnan(getattr(cell, of))}
    text = ", ".join(f"{value:.6g} {_SHOWN[of]}" for of, value in known.items())
    worths = {metric: cell.value, "accuracy": cell.accuracy}
    return ", ".join(
        [
            text,
            *(f"{name} {four_places(v)}" for name, v in worths.items() if not math.isnan(v)),
        ]
    )

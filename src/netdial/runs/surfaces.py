"""What ``netdial prune`` measured of pruned members, in the form that reports want it. Loads no torch.

Pruned members stand among a run's records as method ``prune``, placed by ``lam``, ``sparsity`` and how they were pruned
(``criterion``, and ``scope``, ``biases``, ``rows``, ``fold`` and ``refit`` where they differ from the default). They are
compared by the rules of ``core.best``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netdial.core.best import Row, best, one_se
from netdial.core.records import Place, Record
from netdial.runs.curves import EXCESS, EXCESS_ERROR, finite, shown_metric

METHOD, DEFAULT = "prune", "density"
"""Method of the records, and the criterion that goes without saying."""


@dataclass(frozen=True)
class PrunedSurface:
    """What was recorded of pruned members under one criterion and policy.

    Attributes:
        name: what differs from the default, for example ``magnitude, per layer``; ``density`` for the default.
        metric: record that is shown, for example ``valid/accuracy``.
        decides: record that members are compared by, for example ``valid/nll``.
        lams: complexity values, rising.
        shares: shares removed, rising.
        values: ``(lam, share) -> record name -> value``.
    """

    name: str
    metric: str
    decides: str
    lams: tuple[float, ...]
    shares: tuple[float, ...]
    values: dict[tuple[float, float], dict[str, float]]

    @property
    def split(self) -> str:
        """Part of the data that members are compared on."""
        return self.metric.split("/")[0]

    @property
    def is_error(self) -> bool:
        """Whether lower is better."""
        return self.metric.endswith("/rmse")

    def get(self, lam: float, share: float, name: str | None = None) -> float | None:
        """Returns a value, or None when it was not recorded or is not finite."""
        return finite(self.values.get((lam, share), {}).get(name or self.metric))

    def best(self) -> list[tuple[float, float, float]]:
        """Returns (share, λ, value) of the best member at each share; of equals the simplest."""
        found = []
        for share in self.shares:
            rows = [self._row(lam, share) for lam in self.lams]
            if any(row.is_measured for row in rows):
                lam = rows[best(rows)].lam
                found.append((share, lam, self.get(lam, share) or 0.0))
        return found

    def choice(self) -> tuple[tuple[float, Row], tuple[float, Row]] | None:
        """Returns the best of all members and the sparsest within one standard error of it, each (share, row).

        They are those that were compared with each other, in the last pruning; None if no standard errors were recorded.
        """
        cells = [(lam, share) for lam in self.lams for share in self.shares]
        rows = [self._compared(lam, share) for lam, share in cells]
        if not any(row.error > 0 for row in rows if row.is_measured):
            return None
        top, sparsest = best(rows), one_se(rows)
        return (cells[top][1], rows[top]), (cells[sparsest][1], rows[sparsest])

    def _row(self, lam: float, share: float) -> Row:
        """Returns a member by its value, which can be set beside those of other prunings."""
        value = self.get(lam, share, self.decides)
        if value is None or self.get(lam, share) is None:
            return Row(lam, math.nan)
        loss = -value if self.decides.endswith("/accuracy") else value
        return Row(lam, loss, size=self._size(lam, share))

    def _compared(self, lam: float, share: float) -> Row:
        """Returns a member by how much worse it is than the best of its pruning, and the standard error of that."""
        loss, error = (self.get(lam, share, name) for name in (EXCESS, EXCESS_ERROR))
        if loss is None or error is None or not self._row(lam, share).is_measured:
            return Row(lam, math.nan)
        return Row(lam, loss, error, self._size(lam, share))

    def _size(self, lam: float, share: float) -> float:
        """Returns the numbers left, or where these were not recorded less those that are gone."""
        size = self.get(lam, share, "params")
        return size if size is not None else -(self.get(lam, share, "removed") or 0.0)


def pruned(records: Iterable[Record]) -> list[PrunedSurface]:
    """Returns what the records of the last step say of pruned members, by criterion and policy."""
    rows = [r for r in records if r.method == METHOD and r.lam is not None]
    last = max((row.step for row in rows), default=0)
    found: dict[str, dict[tuple[float, float], dict[str, float]]] = {}
    for row in rows:
        if row.step == last and row.lam is not None and row.sparsity is not None:
            grid = found.setdefault(how_words(row.where), {})
            grid.setdefault((row.lam, row.sparsity), {})[row.column] = row.value
    return [
        PrunedSurface(
            name,
            metric,
            _decides(grid.values(), metric),
            tuple(sorted({lam for lam, _ in grid})),
            tuple(sorted({share for _, share in grid})),
            grid,
        )
        for name, grid in found.items()
        if (metric := shown_metric({n for cell in grid.values() for n in cell})) is not None
    ]


def how_words(where: Mapping[str, Place]) -> str:
    """Returns how members were pruned, in words.

    >>> how_words({"criterion": "magnitude", "scope": "layer", "fold": False})
    'magnitude, per layer, nothing folded'
    """
    words = {
        "per layer": where.get("scope") == "layer",
        "biases too": where.get("biases", False),
        "whole rows": where.get("rows", False),
        "nothing folded": not where.get("fold", True),
        "layers refit": where.get("refit", False),
    }
    criterion = str(where.get("criterion", DEFAULT))
    return ", ".join([criterion, *(word for word, holds in words.items() if holds)])


def _decides(cells: Iterable[dict[str, float]], metric: str) -> str:
    """Returns the record that members are compared by: the log loss where there is an accuracy."""
    proper = metric.replace("/accuracy", "/nll")
    return proper if any(proper in cell for cell in cells) else metric

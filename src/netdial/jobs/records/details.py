"""Makes ``details.json`` of a run while its members are evaluated: layers, weights, errors by class or target, inputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import NetdialError
from netdial.core.layout import carrying, owners
from netdial.data import Splits
from netdial.data.dataset import Dataset
from netdial.data.memory.targets import NOT_COUNTED
from netdial.data.tables.schema import TableSchema
from netdial.family import Family
from netdial.family.leaves import effective_by_layer
from netdial.measure import portrait
from netdial.measure.cost import count_macs, size_bytes
from netdial.measure.forward import outputs
from netdial.measure.noise import FEWEST
from netdial.models.use import error_law
from netdial.runs.schemas.details import (
    Bins,
    ClassDetails,
    ColumnRead,
    Details,
    LayerSize,
    MemberDetails,
    NumberDetails,
    PartDetails,
    TargetDetails,
)
from netdial.task import Classification, DenseClassification, named

WEIGHTS, SNR = Bins(low=-6.0, high=1.0, count=42), Bins(low=-3.0, high=3.0, count=36)
"""Bins of log10 |w| and of log10 |mean| / standard deviation."""
_RESIDUALS, _SAMPLE, _SPREADS = 41, 150, 3.0
"""Bins of residuals, examples of a scatter plot, and standard deviations of the target that residuals are shown up to."""
_LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities of the intervals whose coverage is counted."""
_PLACES = 200_000
"""Places of images and texts that figures by class look at, at most."""
_SHUFFLES, _MOST_COLUMNS, _MOST_ROWS, _ROWS_IN_ALL = 5, 100, 5000, 300_000
"""Shuffles of a column, columns and rows at most, and rows at most over all columns and shuffles, for importance."""


class _Fitted:
    """What scikit-learn takes for an estimator; the score does the work."""

    def fit(self, x: object, y: object) -> _Fitted:
        """Returns itself."""
        return self


class Sketcher:
    """Collects what there is to see of members while they are evaluated.

    Args:
        family: the family.
        data: its data.
    """

    def __init__(self, family: Family, data: Splits) -> None:
        self._family, self._data = family, data
        task = named(data.kind) if family.task is None else family.task
        self._task = task.in_units(data.train.target)
        self._parts: dict[float, dict[str, PartDetails]] = defaultdict(dict)
        self._intervals_at: dict[float, list[tuple[float, list[float]]]] = {}
        self._owners = owners(family.net)

    def of(self, part: str) -> Any:
        """Returns what `measure.evaluate` calls with λ and the outputs ``[B, O]`` of a member on a part of the data."""

        def look(lam: float, found: Tensor) -> None:
            self._parts[lam][part] = self._part(lam, found, self._data.part(part).y.cpu())

        return look

    def details(self, step: int, chosen: float | None) -> Details:
        """Returns all of it.

        Args:
            step: optimiser step of the family.
            chosen: λ of the member by which the importance of inputs is measured; None leaves it out.
        """
        schema = self._data.schema
        return Details(
            step=step,
            **self._costs(),
            weights=WEIGHTS,
            snr=SNR,
            members=[self._member(lam) for lam in sorted(self._parts)],
            classes=[str(name) for name in self._data.classes],
            counted="places" if self._task.targets == "class maps" else "examples",
            targets=self._targets(),
            columns=[] if schema is None else self._columns(schema, chosen),
            importance_lam=None if schema is None else chosen,
        )

    def _part(self, lam: float, found: Tensor, truth: Tensor) -> PartDetails:
        """Returns what a member does on a part of the data; nothing for outputs of an unusual form."""
        task = self._task
        if isinstance(task, DenseClassification):
            found, truth = _places(found.movedim(task.axis, -1), truth)
            task = Classification()
        if found.ndim != 2 or not bool(found.isfinite().all()):
            return PartDetails()
        if task.targets == "classes":
            probs = task.to_mean(found.double())
            if probs.ndim != 2 or truth.ndim != 1 or int(truth.max()) >= probs.shape[1]:
                return PartDetails()
            return PartDetails(
                classes=ClassDetails(**portrait.classes(probs, truth)),
                calibration=portrait.calibration(probs, truth),
            )
        if found.shape != truth.shape:
            return PartDetails()
        half, (_, std) = self._intervals(lam, found.shape[1]), self._scale(found.shape[1])
        return PartDetails(
            targets=[
                NumberDetails(
                    **portrait.numbers(*self._both(found, truth, t), self._bins(t), _SAMPLE),
                    coverage=portrait.coverage(
                        (found - truth)[:, t] * std[t], [(level, row[t]) for level, row in half]
                    ),
                )
                for t in range(found.shape[1])
            ]
        )

    def _both(self, found: Tensor, truth: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Returns predictions and true values of a target in its own units."""
        mean, std = self._scale(found.shape[1])
        return found[:, t].double() * std[t] + mean[t], truth[:, t].double() * std[t] + mean[t]

    def _scale(self, count: int) -> tuple[Sequence[float], Sequence[float]]:
        scale = self._data.train.target
        return ([0.0] * count, [1.0] * count) if scale is None else (scale.mean, scale.std)

    def _bins(self, t: int) -> tuple[float, float, int]:
        std = float(self._data.train.y[:, t].double().std()) * self._scale(t + 1)[1][t]
        far = portrait.known(_SPREADS * std) or 1.0
        return -far, far, _RESIDUALS

    def _intervals(self, lam: float, count: int) -> list[tuple[float, list[float]]]:
        """Returns (level, half-widths in the units of each target): those of the intervals of predictions, if any."""
        if len(self._data.valid) < FEWEST:
            return []
        if lam not in self._intervals_at:
            law = error_law(lam, self._family.export(lam), self._data.valid)
            std = self._scale(count)[1]
            self._intervals_at[lam] = [
                (level, (law.half_width(level) * std).tolist()) for level in _LEVELS
            ]
        return self._intervals_at[lam]

    def _targets(self) -> list[TargetDetails]:
        if self._task.targets in ("classes", "class maps") or self._data.train.y.ndim != 2:
            return []
        scale, count = self._data.train.target, self._data.train.y.shape[1]
        names = [f"target {t}" for t in range(count)] if scale is None else scale.names
        parts = {part: self._data.part(part).y.cpu() for part in ("valid", "test")}
        found = []
        for t, name in enumerate(names):
            low, high, bins = self._bins(t)
            truth = {
                part: portrait.all_known(self._both(y[:_SAMPLE], y[:_SAMPLE], t)[1])
                for part, y in parts.items()
            }
            residuals = Bins(low=low, high=high, count=bins)
            found.append(TargetDetails(name=str(name), residuals=residuals, truth=truth))
        return found

    def _costs(self) -> dict[str, Any]:
        """Returns layers and what the network costs; multiplications are 0 where they cannot be counted."""
        net = self._family.export(self._family.lams(1)[0])
        macs, uses = 0, dict[str, float]()
        try:
            like = next(iter(net.parameters()))
            macs, uses = count_macs(net, self._data.valid.inputs(torch.arange(2), like))
        except (NetdialError, RuntimeError):
            pass
        leaves = dict(net.named_parameters())
        layers = [
            LayerSize(
                name=layer,
                params=sum(leaves[name].numel() for name in names),
                macs=round(sum(uses.get(name, 0) * leaves[name].numel() for name in names)),
                bytes=sum(leaves[name].numel() * leaves[name].element_size() for name in names),
            )
            for layer, names in self._owners.items()
        ]
        return {"layers": layers, "macs": macs, "bytes": size_bytes(net.state_dict(), packed=False)}

    def _member(self, lam: float) -> MemberDetails:
        leaves = dict(self._family.export(lam).named_parameters())
        flats = [
            torch.cat([leaves[name].detach().flatten().cpu() for name in names])
            for names in self._owners.values()
        ]
        weights = torch.cat(flats).abs().double().log10()
        effective, snr = self._certainty(lam)
        return MemberDetails(
            lam=lam,
            kept=[carrying(flat) for flat in flats],
            norm=[portrait.known(float(flat.double().square().mean().sqrt())) for flat in flats],
            weights=portrait.histogram(weights, WEIGHTS.low, WEIGHTS.high, WEIGHTS.count),
            effective=effective,
            snr=snr,
            parts=self._parts[lam],
        )

    def _certainty(self, lam: float) -> tuple[list[float | None], list[int]]:
        """Returns effective parameters by layer and the histogram of signal to noise; nothing for points."""
        family = self._family
        fields = family.fields_at([lam])
        if fields.log_std is None:
            return [], []
        effective = effective_by_layer(family, lam)
        by_layer = [portrait.known(effective[layer]) for layer in self._owners]
        ratio = (fields.mean.abs() * torch.exp(-fields.log_std)).detach().double().log10()
        return by_layer, portrait.histogram(ratio, SNR.low, SNR.high, SNR.count)

    def _columns(self, schema: TableSchema, chosen: float | None) -> list[ColumnRead]:
        """Returns how columns were read, and how much the loss on validation rows rises when each is shuffled."""
        rises = {} if chosen is None else self._importance(schema, self._family.export(chosen))
        return [
            ColumnRead(
                column=column.column,
                kind=column.kind,
                words=column.describe(),
                **rises.get(column.column, {}),
            )
            for column in schema.inputs
        ] + [
            ColumnRead(column=gone.column, kind="left out", words=gone.why)
            for gone in schema.left_out
        ]

    def _importance(
        self, schema: TableSchema, net: nn.Module
    ) -> dict[str, dict[str, float | None]]:
        """Returns the permutation importance of columns (Breiman 2001): mean rise of the loss and its standard error.

        scikit-learn shuffles numbers of rows, a column of them for each column of the table, so that what one column became
        in the encoding moves together. Without scikit-learn there is none.
        """
        most = min(_MOST_ROWS, _ROWS_IN_ALL // (_SHUFFLES * max(1, len(schema.inputs))))
        part = self._data.valid.select(torch.arange(min(len(self._data.valid), most)))
        if len(schema.inputs) > _MOST_COLUMNS or part.x.ndim != 2 or find_spec("sklearn") is None:
            return {}
        from sklearn.inspection import permutation_importance

        widths = [len(column.names) for column in schema.inputs]
        blocks = part.x.split([*widths, part.x.shape[1] - sum(widths)], dim=1)

        def score(_: object, rows: Any, y: object) -> float:
            taken = [block[torch.from_numpy(rows[:, k])] for k, block in enumerate(blocks[:-1])]
            return -self._loss(net, Dataset(torch.cat([*taken, blocks[-1]], dim=1), part.y))

        rows = torch.arange(len(part.x))[:, None].repeat(1, len(widths)).numpy()
        found = permutation_importance(
            _Fitted(), rows, None, scoring=score, n_repeats=_SHUFFLES, random_state=0
        )
        errors = found.importances.std(axis=1, ddof=1) / _SHUFFLES**0.5
        return {
            column.column: {
                "importance": portrait.known(float(mean)),
                "error": portrait.known(float(error)),
            }
            for column, mean, error in zip(
                schema.inputs, found.importances_mean, errors, strict=True
            )
        }

    def _loss(self, net: nn.Module, part: Dataset) -> float:
        return float(self._task.loss(outputs(net, part), part.y.cpu()).mean())


def _places(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Returns outputs ``[P, C]`` and classes ``[P]`` of the places that count, evenly chosen where they are many."""
    counted = (truth.flatten() != NOT_COUNTED).nonzero()[:, 0]
    chosen = counted[:: max(1, -(-len(counted) // _PLACES))]
    return found.reshape(-1, found.shape[-1])[chosen], truth.flatten()[chosen]

"""The last step of every loader: three parts and their provenance become checked ``Splits``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from netdial.data.checks import check_splits
from netdial.data.dataset import Dataset, Splits
from netdial.data.scale import TargetScale
from netdial.data.tables.schema import TableSchema


def assemble(
    name: str,
    kind: str,
    *,
    parts: dict[str, Dataset],
    splits: dict[str, Tensor],
    source: dict[str, Any],
    classes: Sequence[str] = (),
    augment: str | None = None,
    schema: TableSchema | None = None,
) -> Splits:
    """Returns the checked task; the sizes of its parts are written into its provenance.

    Args:
        name: Name of the task.
        kind: ``"classification"`` or ``"regression"``, or the same with places (``DENSE``).
        parts: The parts ``train``, ``valid`` and ``test``.
        splits: Their rows in the source.
        source: Provenance, JSON-able.
        classes: Names of the classes; none for regression.
        augment: How training images may be varied.
        schema: How the columns of a table were read.

    Raises:
        DataError: if the data cannot be learnt from.
    """
    n_targets = 0 if classes else parts["train"].y[:1].numel()
    if "target_std" in source:
        units = (tuple(source[key]) for key in ("targets", "target_mean", "target_std"))
        target = TargetScale(*units)
        parts = {part: replace(data, target=target) for part, data in parts.items()}
    parts = {part: data.in_units(parts["train"].target) for part, data in parts.items()}
    return check_splits(
        Splits(
            name=name,
            kind=kind,
            train=parts["train"],
            valid=parts["valid"],
            test=parts["test"],
            n_outputs=len(classes) or n_targets,
            classes=tuple(classes),
            source={**source, "sizes": {part: len(data) for part, data in parts.items()}},
            rows=splits,
            augment=augment,
            schema=schema,
        )
    )

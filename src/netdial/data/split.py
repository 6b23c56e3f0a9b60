"""Rows to train on, rows to choose on, rows to report on: drawn once from a seed and stored.

Classes are split one by one, so each part holds every class in the proportion of the whole;
regression rows are drawn from all alike. Row numbers come back sorted, hence a part keeps the order
of its source.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError


def split_rows(
    n_rows: int,
    *,
    valid: float,
    test: float,
    seed: int,
    labels: Tensor | None = None,
    classes: Sequence[str] = (),
    where: str = "data",
) -> dict[str, Tensor]:
    """Returns sorted int64 row numbers of the parts ``train``, ``valid`` and ``test``.

    Args:
        n_rows: Number of rows N in the source.
        valid: Fraction of rows for validation, 0 <= valid < 1; 0 leaves the part empty.
        test: Fraction of rows for the test part, likewise; valid + test < 1.
        seed: Decides the draw; the same seed gives the same parts.
        labels: Class indices [N]; when given, every class is split in the same proportion.
        classes: Names of the classes, for messages.
        where: What is being split, for messages.

    Raises:
        ConfigError: if the fractions leave nothing to train on.
        DataError: if there are fewer than two rows, or a class has too few rows to be in every
            part.

    >>> parts = split_rows(10, valid=0.2, test=0.2, seed=0)
    >>> {name: len(rows) for name, rows in parts.items()}
    {'train': 6, 'valid': 2, 'test': 2}
    """
    if min(valid, test) < 0 or not valid + test < 1:
        raise ConfigError(
            f"{where}: valid={valid}, test={test} leave no training rows; give fractions >= 0 whose"
            " sum is below 1"
        )
    if n_rows < 2:
        raise DataError(
            f"{where}: {n_rows} row(s) of data; at least two are needed to learn anything"
        )
    generator = torch.Generator().manual_seed(seed)
    groups = _groups(n_rows, labels)
    sizes = [len(rows) for _, rows in groups]
    parts: dict[str, list[Tensor]] = {"train": [], "valid": [], "test": []}
    quotas = zip(_quotas(sizes, valid), _quotas(sizes, test), strict=True)
    for (group, rows), (n_valid, n_test) in zip(groups, quotas, strict=True):
        if n_valid + n_test >= len(rows):
            name = classes[group] if group < len(classes) else str(group)
            every = labels is None
            what = f"all {n_rows} rows" if every else f"class {name!r} with {len(rows)} row(s)"
            raise DataError(
                f"{where}: {what} cannot be split into train, validation and test (valid={valid},"
                f" test={test}); add rows, merge or drop rare classes, or make these fractions"
                " smaller"
            )
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        parts["valid"].append(shuffled[:n_valid])
        parts["test"].append(shuffled[n_valid : n_valid + n_test])
        parts["train"].append(shuffled[n_valid + n_test :])
    return {name: torch.cat(rows).sort().values for name, rows in parts.items()}


def _groups(n_rows: int, labels: Tensor | None) -> list[tuple[int, Tensor]]:
    """Returns the rows to be split together: each class that occurs, or all rows as one group."""
    if labels is None:
        return [(0, torch.arange(n_rows))]
    present = [int(label) for label in labels.bincount().nonzero()]
    return [(label, (labels == label).nonzero().flatten()) for label in present]


def _quotas(sizes: Sequence[int], fraction: float) -> list[int]:
    """Returns how many rows of each group a part takes: the fraction, at least one each.

    Whole numbers come by largest remainder, so all groups together give the fraction of all rows.
    """
    if fraction == 0:
        return [0] * len(sizes)
    exact = [size * fraction for size in sizes]
    quotas = [int(value) for value in exact]
    missing = round(sum(exact)) - sum(quotas)
    by_remainder = sorted(range(len(sizes)), key=lambda i: quotas[i] - exact[i])
    for i in by_remainder[:missing]:
        quotas[i] += 1
    return [max(1, quota) for quota in quotas]

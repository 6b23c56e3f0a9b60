"""Small data sets that come with scikit-learn: wine, digits, breast-cancer and diabetes.

No file and no network is needed. All are split by seed; inputs, and the regression target, are
standardised by the training part alone.
"""

from __future__ import annotations

from typing import Any

import torch

from netdial.data._optional import require
from netdial.data.assemble import assemble
from netdial.data.dataset import Dataset, Kind, Splits
from netdial.data.scale import standard_targets, standardise
from netdial.data.split import split_rows
from netdial.data.tables.columns.number import Number
from netdial.data.tables.columns.target import TargetColumns
from netdial.data.tables.schema import TableSchema

LOADERS = {
    "wine": "load_wine",
    "digits": "load_digits",
    "breast-cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
}
VALID, TEST = 0.2, 0.2


def load_embedded(
    name: str, *, seed: int = 0, valid: float | None = None, test: float | None = None
) -> Splits:
    """Returns one of scikit-learn's own data sets as a task.

    Args:
        name: ``"wine"`` [178, 13], ``"digits"`` [1797, 64], ``"breast-cancer"`` [569, 30] or
            ``"diabetes"`` [442, 10].
        seed: Decides the split.
        valid: Fraction of rows for validation (0.2).
        test: Fraction of rows for the test part (0.2).

    Raises:
        MissingExtra: if scikit-learn is not installed.
    """
    datasets = require("sklearn.datasets", f"data {name!r}")
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, LOADERS[name])(**options)
    x = torch.as_tensor(bunch.data, dtype=torch.float64)
    valid, test = VALID if valid is None else valid, TEST if test is None else test
    if name == "diabetes":
        classes: tuple[str, ...] = ()
        labels = None
    else:
        classes = tuple(str(c) for c in bunch.target_names)
        labels = torch.as_tensor(bunch.target, dtype=torch.int64)
    splits = split_rows(
        len(x),
        valid=valid,
        test=test,
        seed=seed,
        labels=labels,
        classes=classes,
        where=f"data {name!r}",
    )
    inputs, mean, std = standardise(x, splits["train"])
    encoding: dict[str, Any] = {
        "features": [str(f) for f in bunch.feature_names],
        "feature_mean": mean.tolist(),
        "feature_std": std.tolist(),
    }
    source: dict[str, Any] = {
        "origin": f"scikit-learn {LOADERS[name]}",
        "files": [],
        "rows": "row numbers in the order of scikit-learn",
        "split": {"seed": seed, "valid": valid, "test": test, "stratified": labels is not None},
        "encoding": encoding,
        "notes": ["inputs standardised by mean and standard deviation of the training part"],
    }
    y = (
        labels
        if labels is not None
        else standard_targets(bunch.target, ["progression"], splits["train"], source)
    )
    kind: Kind = "regression" if labels is None else "classification"
    schema = TableSchema(
        inputs=tuple(
            Number(column=str(f), fill=middle, mean=m, std=s, missing=False)
            for f, middle, m, s in zip(
                bunch.feature_names,
                x[splits["train"]].quantile(0.5, dim=0).tolist(),
                mean.tolist(),
                std.tolist(),
                strict=True,
            )
        ),
        target=TargetColumns(
            kind=kind,
            columns=("progression" if labels is None else "class",),
            classes=classes,
            mean=tuple(source.get("target_mean", ())),
            std=tuple(source.get("target_std", ())),
        ),
    )
    return assemble(
        name,
        kind,
        parts={part: Dataset(inputs[rows], y[rows]) for part, rows in splits.items()},
        splits=splits,
        source=source,
        classes=classes,
        schema=schema,
    )

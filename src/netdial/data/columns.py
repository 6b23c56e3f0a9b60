"""Turns the columns of a table into numbers; every statistic comes from the training part.

Numeric columns: missing values become the median, then mean 0 and standard deviation 1. Text
columns: missing values become the most frequent text, then one column of 0 and 1 per text; a text
never seen in training gives zeros only. The work is done by scikit-learn's transformers; what they
learnt is written down as plain JSON.
"""

from __future__ import annotations

import datetime
import decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import DataError
from netdial.data._optional import require

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = (bool, int, float, decimal.Decimal)
NESTED = (list, tuple, dict, bytes, np.ndarray)
MAX_TEXTS = 50  # different texts a column may always have; above, at most half of the rows


def encode_columns(
    features: pd.DataFrame, rows: Tensor, where: str
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Returns inputs float32 [N, F] and, for each column of the table, how it was encoded.

    Args:
        features: The table without its targets, N rows.
        rows: int64 row numbers of the training part.
        where: Which table, for messages.

    Raises:
        DataError: if a column holds infinity, dates, nested values, nothing in the training part,
            or a different text in almost every row.
    """
    compose = require("sklearn.compose", "encoding a table")
    impute = require("sklearn.impute", "encoding a table")
    pipeline = require("sklearn.pipeline", "encoding a table")
    preprocessing = require("sklearn.preprocessing", "encoding a table")
    frame = features.copy(deep=False)
    train = rows.numpy()
    numeric: list[str] = []
    texts: list[str] = []
    for name in features.columns:
        column = _plain(features[name], f"{where}: column {name!r}")
        _check_train(column, train, f"{where}: column {name!r}")
        frame[name] = column
        (texts if column.dtype == object else numeric).append(name)
    transformer = compose.ColumnTransformer(
        [
            (
                "numeric",
                pipeline.make_pipeline(
                    impute.SimpleImputer(strategy="median"), preprocessing.StandardScaler()
                ),
                numeric,
            ),
            (
                "text",
                pipeline.make_pipeline(
                    impute.SimpleImputer(strategy="most_frequent"),
                    preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                ),
                texts,
            ),
        ]
    )
    transformer.fit(frame.iloc[train])
    values = np.asarray(transformer.transform(frame), dtype=np.float32)
    return torch.from_numpy(values), _learnt(transformer, numeric, texts)


def _plain(column: pd.Series[Any], where: str) -> pd.Series[Any]:
    """Returns a column as float64 numbers (missing: NaN) or as object texts (missing: NaN)."""
    pandas = require("pandas", "reading a table")
    types = pandas.api.types
    if column.dtype == object:
        known = column.dropna()
        if any(isinstance(value, NESTED) for value in known.head(20)):
            raise DataError(
                f"{where} holds nested values or bytes; a table needs numbers or texts: drop the"
                " column"
            )
        if any(isinstance(value, datetime.date | datetime.time) for value in known.head(20)):
            raise DataError(f"{where} holds dates; turn them into numbers, or drop the column")
        if len(known) and all(isinstance(value, NUMBERS) for value in known):
            column = column.astype(float)
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        raise DataError(f"{where} holds dates; turn them into numbers, or drop the column")
    if types.is_bool_dtype(column) or types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=float, na_value=np.nan)
        if np.isinf(numbers).any():
            row = int(np.isinf(numbers).argmax())
            raise DataError(
                f"{where} holds infinity in {int(np.isinf(numbers).sum())} row(s), first in row"
                f" {row} (counted from 0); leave the cell empty if the value is missing"
            )
        plain: pd.Series[Any] = pandas.Series(numbers, index=column.index)
        return plain
    texts = [
        np.nan if missing else str(value)
        for value, missing in zip(column, column.isna(), strict=True)
    ]
    as_text: pd.Series[Any] = pandas.Series(texts, index=column.index, dtype=object)
    return as_text


def _check_train(column: pd.Series[Any], train: np.ndarray[Any, Any], where: str) -> None:
    """Refuses columns that hold nothing in training, or a different text in almost every row."""
    seen = column.iloc[train]
    if seen.isna().all():
        raise DataError(f"{where} is empty in the training part; drop the column")
    distinct = seen.nunique()
    if column.dtype == object and distinct > max(MAX_TEXTS, len(seen) // 2):
        raise DataError(
            f"{where} has {distinct} different texts in {len(seen)} training rows, so it names rows"
            " more than it describes them; drop the column or turn it into numbers"
        )


def _learnt(transformer: Any, numeric: list[str], texts: list[str]) -> list[dict[str, Any]]:
    """Returns the statistics of a fitted transformer, in the order of the inputs."""
    encoding: list[dict[str, Any]] = []
    if numeric:
        fill, scaler = (step for _, step in transformer.named_transformers_["numeric"].steps)
        for i, name in enumerate(numeric):
            statistics = {
                "fill": fill.statistics_[i],
                "mean": scaler.mean_[i],
                "std": scaler.scale_[i],
            }
            encoding.append(
                {"column": name, "kind": "numeric", **{k: float(v) for k, v in statistics.items()}}
            )
    if texts:
        fill, encoder = (step for _, step in transformer.named_transformers_["text"].steps)
        for i, name in enumerate(texts):
            values = [str(value) for value in encoder.categories_[i]]
            encoding.append(
                {"column": name, "kind": "text", "fill": str(fill.statistics_[i]), "values": values}
            )
    return encoding

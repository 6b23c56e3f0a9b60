"""Any table as splits: one column (or several) is the target, the others are inputs, and all that was decided is said.

The parts are drawn by seed, or given by a column, by groups, by time, or by files of their own. What was learned of the
columns is the ``TableSchema`` of the splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError, nearest
from netdial.data.assemble import assemble
from netdial.data.dataset import Dataset, Kind, Splits
from netdial.data.scale import standard_targets
from netdial.data.split import split_rows
from netdial.data.tables.columns.cells import read_cells
from netdial.data.tables.columns.stored import Cells, texts_of
from netdial.data.tables.files.frame import Frame, Table
from netdial.data.tables.learn import Learned, learn_columns
from netdial.data.tables.options import (
    TableFault,
    TableOptions,
    as_list,
    flag,
    refuse,
    table_name,
)
from netdial.data.tables.parts import (
    absent_classes,
    alike_groups,
    copied_rows,
    row_weights,
    split_by_column,
    split_by_group,
    split_by_time,
    times_of,
)
from netdial.data.tables.schema import TableSchema
from netdial.data.tables.source import Share, check_apart, own_part, rows_text, source_of
from netdial.data.tables.target import (
    Goal,
    missing_target,
    rare_classes,
    read_goal,
    target_json,
    target_names,
)
from netdial.data.tables.words.texts import Array

VALID, TEST = 0.2, 0.2

_ROLES = {
    "split_column": "says which part each row is in",
    "group_column": "names the groups that are kept together",
    "time_column": "orders the rows in time",
    "weight_column": "weighs the rows",
}


def load_table(
    given: str | Path | Frame,
    *,
    target: str | None,
    data_dir: str | Path | None = None,
    kind: Kind | None = None,
    seed: int = 0,
    valid: Share | None = None,
    test: Share | None = None,
    options: TableOptions | None = None,
) -> Splits:
    """Returns a table as splits.

    Args:
        given: A ``.csv``, ``.tsv`` (also ``.gz``), ``.parquet`` or ``.xlsx`` file, also looked for in the data folder; or a
            frame.
        target: Column to predict; several regression targets are separated by commas.
        data_dir: The data folder; default: the environment variable NETDIAL_DATA.
        kind: ``"classification"`` or ``"regression"``; default: what the target looks like.
        seed: Decides the split.
        valid: Fraction of rows for validation (0.2), or a file or frame that holds them.
        test: Fraction of rows for the test part (0.2), or a file or frame that holds them.
        options: How the file is read and divided.

    Raises:
        ConfigError: if an option names a column that is not there, or options do not go together.
        DataError: if the file is missing or damaged, or cannot be used as it is; one message names all problems and the
            options that mend them.
        MissingExtra: if pandas, pyarrow or openpyxl is needed and not installed.
    """
    options = options or TableOptions()
    whole = source_of(given, data_dir)
    where, table = whole.where, whole.read(options)
    if len(table.frame) < 2:
        raise DataError(
            f"{where}: {len(table.frame)} row(s) of data; at least two are needed to learn anything"
        )
    names = target_names(table.frame, target, table, where, options.drop)
    roles = _roles(table, names, options, where)
    goal, problems = read_goal(table, names, kind, options, where)
    asked = {"valid": VALID if valid is None else valid, "test": TEST if test is None else test}
    own = {p: source_of(s, data_dir) for p, s in asked.items() if not isinstance(s, float | int)}
    shares = {p: float(s) if isinstance(s, float | int) else 0.0 for p, s in asked.items()}
    by_rows = not (options.split_column or options.group_column or options.time_column)
    problems += missing_target(goal, options)
    problems += rare_classes(goal, shares) if by_rows else []
    cells, more = _read_columns(table, names, roles, options)
    refuse(where, [*problems, *more])
    rows = np.flatnonzero(~goal.missing)
    splits = _divide(table, goal, rows, shares, seed, options, where)
    learned = learn_columns(
        cells,
        goal,
        splits["train"].numpy(),
        rows,
        unnamed=table.unnamed,
        options=options,
        roles=roles,
    )
    source: dict[str, Any] = {
        "origin": "table",
        "files": [one.fingerprint() for one in (whole, *own.values())],
        "rows": rows_text(whole, own),
        "split": {
            "seed": seed,
            **{part: own[part].said if part in own else shares[part] for part in shares},
            "stratified": by_rows and goal.labels is not None,
            **{
                name: getattr(options, name)
                for name in ("split_column", "group_column", "time_column")
                if getattr(options, name)
            },
        },
        "targets": names,
        "notes": [],
    }
    schema, y = _schema(goal, learned, splits["train"], source, options, where)
    x, unseen = _encode(schema, cells, len(table.frame))
    weight = row_weights(table.frame, rows, options, where)
    parts = {
        part: Dataset(x[index], y[index], weight=None if weight is None else weight[index])
        for part, index in splits.items()
    }
    for part, other in own.items():
        if named := len(splits[part]):
            raise DataError(
                f"{where}: the split column {options.split_column!r} puts {named} row(s) into the part {part!r}, and "
                f"{other.name} is to be that part, too; leave out one of the two"
            )
        parts[part], splits[part], said = own_part(other, schema, where)
        unseen += [f"{other.name}: {remark}" for remark in said]
    check_apart(table, splits, own, schema)
    gone = len(table.frame) - len(rows)
    source["encoding"] = [column.model_dump(mode="json") for column in schema.inputs]
    source["left_out"] = {column.column: column.why for column in schema.left_out}
    source["columns"] = [
        {"column": name, "read as": use, "how": how} for name, use, how in schema.describe()
    ]
    source["notes"] = [
        *table.remarks,
        *([f"{gone} row(s) without a target are left out"] if gone else []),
        *(
            [f"the target {', '.join(map(repr, names))} is read as {goal.kind}: {goal.remark}"]
            if goal.remark
            else []
        ),
        *_target_remarks(goal),
        *learned.remarks,
        *alike_groups(table.frame, options),
        *unseen,
        *copied_rows(parts),
        *absent_classes(parts, goal.classes),
        "numeric inputs standardised by mean and standard deviation of the training part",
        *source["notes"],
    ]
    return assemble(
        table_name(whole.name),
        goal.kind,
        parts=parts,
        splits=splits,
        source=source,
        classes=goal.classes,
        schema=schema,
    )


def _target_remarks(goal: Goal) -> list[str]:
    """Returns how the cells of targets were read, where that may surprise."""
    named = zip(goal.names, goal.cells, strict=True)
    read = goal.labels is None  # numbers that are classes are read as they are written
    return [
        f"{name}: {c.remark}" for name, c in named if c.remark and (read or c.kind == "category")
    ]


def _roles(table: Table, names: list[str], options: TableOptions, where: str) -> dict[str, str]:
    """Returns the columns that are no inputs because an option says so, and why; all columns named are there."""
    columns = list(table.frame.columns)
    single = {name: getattr(options, name) for name in _ROLES}
    given = [(option, name) for option, name in single.items() if name]
    given += [
        (option, name)
        for option in ("drop", "keep", "categorical")
        for name in getattr(options, option)
    ]
    for option, name in given:
        if name not in columns:
            close = nearest(name, columns)
            hint = f"; did you mean {as_list([close])!r}?" if close else ""
            raise ConfigError(f"{where}: {flag(option)}: no column {name!r}{hint}")
        if name in names:
            raise ConfigError(f"{where}: {flag(option)}: {name!r} is the target")
    roles = {
        name: _ROLES[option] for option, name in single.items() if name and name not in options.keep
    }
    return roles | {name: f"as asked ({flag('drop')})" for name in options.drop}


def _read_columns(
    table: Table, names: list[str], roles: Mapping[str, str], options: TableOptions
) -> tuple[dict[str, Cells], list[TableFault]]:
    """Returns the cells of all columns but the target, and problems of those that may be inputs."""
    cells, problems = {}, []
    for name in table.frame.columns:
        if name in names:
            continue
        if name in roles:
            cells[name] = Cells("nothing", np.empty(0, dtype=object), roles[name])
            continue
        cells[name], wrong = read_cells(table.frame[name], name, table, options)
        problems += wrong
    return cells, problems


def _divide(
    table: Table,
    goal: Goal,
    rows: Array,
    shares: Mapping[str, float],
    seed: int,
    options: TableOptions,
    where: str,
) -> dict[str, Tensor]:
    """Returns the row numbers of each part, counted in the whole file."""
    frame = table.frame.iloc[rows]
    labels = None if goal.labels is None else goal.labels[torch.from_numpy(rows)]
    common: dict[str, Any] = {**shares, "where": where}
    if name := options.time_column:
        times = times_of(table.frame[name], name, table, options, where)
        found = split_by_time(times[rows], name, **common)
    elif name := options.group_column:
        groups = texts_of(frame[name], options.na)
        found = split_by_group(groups, name, seed=seed, labels=labels, **common)
    else:
        common |= {"seed": seed, "labels": labels, "classes": goal.classes}
        if name := options.split_column:
            found = split_by_column(texts_of(frame[name], options.na), name, **common)
        else:
            found = split_rows(len(rows), **common)
    return {part: torch.from_numpy(rows)[index] for part, index in found.items()}


def _schema(
    goal: Goal,
    learned: Learned,
    train: Tensor,
    source: dict[str, Any],
    options: TableOptions,
    where: str,
) -> tuple[TableSchema, Tensor]:
    """Returns the schema, and the targets of all rows."""
    if not learned.inputs:
        reasons = "; ".join(f"column {c.column!r} {c.why}" for c in learned.left_out)
        raise DataError(
            f"{where}: no column is left to predict {', '.join(goal.names)!r} from"
            + (f" ({reasons})" if reasons else "")
        )
    scale: dict[str, Any] = {}
    y = goal.labels
    if y is None:
        y = standard_targets(np.nan_to_num(goal.numbers), goal.names, train, source)
        scale = {"mean": source["target_mean"], "std": source["target_std"]}
    schema = TableSchema.from_json(
        {
            "inputs": [column.model_dump(mode="json") for column in learned.inputs],
            "target": target_json(goal, scale),
            "left_out": [column.model_dump(mode="json") for column in learned.left_out],
            "options": options.model_dump(mode="json"),
        }
    )
    return schema, y


def _encode(
    schema: TableSchema, cells: Mapping[str, Cells], n_rows: int
) -> tuple[Tensor, list[str]]:
    """Returns the inputs of all rows, float32 [N, D], and what some rows hold that training rows do not."""
    x = np.empty((n_rows, len(schema.names)), dtype=np.float32)
    remarks, start = [], 0
    for column in schema.inputs:
        encoded, remark = column.inputs(cells[column.column].values)
        x[:, start : start + encoded.shape[1]] = encoded
        start += encoded.shape[1]
        remarks += [remark] if remark else []
    return torch.from_numpy(x), remarks

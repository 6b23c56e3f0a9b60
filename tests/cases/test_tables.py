"""Tables as people have them: read with the obvious default, which is said, or refused with the options that mend it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import netdial as nd
from netdial.core.errors import NetdialError
from netdial.data import Splits

from .situations import refused, right

N = 90
RANDOM = np.random.default_rng(0)
NUMBER = RANDOM.normal(size=N).round(3)
LABEL = np.array(["a", "b", "c"])[np.arange(N) % 3]


def read(
    folder: Path,
    columns: dict[str, Any],
    *,
    name: str = "t.csv",
    load: dict[str, Any] | None = None,
    **how: Any,
) -> Splits:
    """Writes a table with the columns given beside a number x and a label y, and loads it."""
    frame = pd.DataFrame({"x": NUMBER, "y": LABEL, **columns})
    frame.to_csv(folder / name, **{"index": False, **how})
    return nd.load_data(str(folder / name), **{"target": "y", **(load or {})})


def names(splits: Splits) -> tuple[str, ...]:
    assert splits.schema is not None
    return splits.schema.names


@right
def test_words_for_nothing_are_categories(tmp_path: Path) -> None:
    """ "NA" (Namibia), "None" and "null" among texts are three categories of their own; nothing is missing."""
    words = np.array(["NA", "None", "null", "DE"])[np.arange(N) % 4]
    found = names(read(tmp_path, {"country": words}))
    assert found == ("x", "country = DE", "country = NA", "country = None", "country = null")


@right
def test_missing_categories_are_one_of_their_own(tmp_path: Path) -> None:
    """Blanks in a column of texts: a column of their own, not the most frequent category."""
    words = np.array(["red", "", "blue"])[np.arange(N) % 3]
    splits = read(tmp_path, {"colour": words})
    assert len(names(splits)) == 4
    assert float(splits.train.x[:, 1:].sum(1).min()) > float("-inf")
    rows = splits.train.x[:, 1:]
    assert len({tuple(row.tolist()) for row in rows}) == 3


@right
def test_missing_numbers_are_marked(tmp_path: Path) -> None:
    """Blanks in a column of numbers: the class follows from the indicator column."""
    gone = np.arange(N) % 2 == 0
    splits = read(
        tmp_path, {"v": np.where(gone, np.nan, NUMBER), "y": np.where(gone, "gone", "there")}
    )
    assert splits.train.x.shape[1] == 3
    indicator = splits.train.x[:, 2]
    classes = splits.train.y
    assert len(indicator[classes == 0].unique()) == 1 == len(indicator[classes == 1].unique())
    assert float(indicator[classes == 0][0]) != float(indicator[classes == 1][0])


@right
def test_question_marks_among_numbers_are_missing(tmp_path: Path) -> None:
    """A column of ages with "?": one number and its indicator, not 30 texts."""
    age = (20 + RANDOM.integers(0, 40, N)).astype(object)
    age[::7] = "?"
    assert len(names(read(tmp_path, {"age": age}))) == 3


@right
def test_a_list_of_ones_own_for_missing_values(tmp_path: Path) -> None:
    """``na=("-999",)``: those are missing, and the mean is that of the others."""
    values = np.where(np.arange(N) % 5 == 0, -999, NUMBER)
    splits = read(tmp_path, {"v": values}, load={"na": ("-999",)})
    assert len(names(splits)) == 3 and float(splits.train.x.abs().max()) < 10


@right
def test_a_copy_of_the_target_is_left_out(tmp_path: Path) -> None:
    """A second column y (``y.1`` in pandas) or one equal to the target is no input, and it is said."""
    splits = read(tmp_path, {"again": LABEL})
    assert names(splits) == ("x",) and "again" in splits.source["left_out"]
    path = tmp_path / "twice.csv"
    path.write_text(
        "x,y,y\n" + "".join(f"{v},{c},{c}\n" for v, c in zip(NUMBER, LABEL, strict=True))
    )
    assert names(nd.load_data(str(path), target="y")) == ("x",)


@right
def test_saved_row_numbers_are_left_out(tmp_path: Path) -> None:
    """The ``Unnamed: 0`` of a saved index, which gives the class away in a sorted table, is no input."""
    splits = read(tmp_path, {"y": np.sort(LABEL)}, index=True)
    assert names(splits) == ("x",) and "Unnamed: 0" in splits.source["left_out"]


@right
def test_ids_and_unique_texts_are_left_out(tmp_path: Path) -> None:
    """An id, a unique name and a constant: left out and said; ``keep`` brings one back."""
    columns = {"id": 1000 + np.arange(N), "name": [f"Mr {i}" for i in range(N)], "same": [7] * N}
    splits = read(tmp_path, columns)
    assert names(splits) == ("x",) and set(splits.source["left_out"]) == set(columns)
    assert names(read(tmp_path, columns, load={"keep": ("id",)})) == ("x", "id")


@right
def test_separators_and_decimal_commas(tmp_path: Path) -> None:
    """Semicolons with decimal commas, tabs, pipes: the numbers are those of the ordinary file."""
    plain = read(tmp_path, {}).train.x
    for how in ({"sep": ";", "decimal": ","}, {"sep": "\t"}, {"sep": "|"}, {"sep": ";"}):
        torch.testing.assert_close(read(tmp_path, {}, **how).train.x, plain)
    torch.testing.assert_close(read(tmp_path, {}, name="t.tsv", sep="\t").train.x, plain)


@right
def test_encodings(tmp_path: Path) -> None:
    """Latin-1, UTF-16 and UTF-8 with a mark: the name of the column is read as it was written."""
    for encoding in ("cp1252", "utf-16", "utf-8-sig", "utf-8"):
        assert names(read(tmp_path, {"größe": NUMBER[::-1]}, encoding=encoding)) == ("x", "größe")


@right
def test_packed_files_and_parquet_and_excel(tmp_path: Path) -> None:
    """``.csv.gz``, ``.parquet`` and ``.xlsx`` of one table: the same inputs."""
    plain = read(tmp_path, {}).train.x
    frame = pd.DataFrame({"x": NUMBER, "y": LABEL})
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    frame.to_parquet(tmp_path / "t.parquet")
    kinds = ["t.csv.gz", "t.parquet"]
    try:
        frame.to_excel(tmp_path / "t.xlsx", index=False)
        kinds.append("t.xlsx")
    except ModuleNotFoundError:  # an extra
        pass
    for name in kinds:
        torch.testing.assert_close(nd.load_data(str(tmp_path / name), target="y").train.x, plain)


@right
def test_dates_are_numbers_or_parts(tmp_path: Path) -> None:
    """Dates as texts: days in order by default, five parts with ``parse_dates="parts"``."""
    days = pd.date_range("2020-01-01", periods=N).astype(str)
    assert names(read(tmp_path, {"when": days})) == ("x", "when")
    parts = names(read(tmp_path, {"when": days}, load={"parse_dates": "parts"}))
    assert len(parts) > 2 and all("when" in part for part in parts[1:])


@right
def test_zero_and_one_as_decimals_are_classes(tmp_path: Path) -> None:
    """A target of 0.0 and 1.0 is two classes; 0 to 49 over 500 rows are fifty."""
    assert read(tmp_path, {"y": (np.arange(N) % 2).astype(float)}).kind == "classification"
    frame = pd.DataFrame({"x": RANDOM.normal(size=500), "y": np.arange(500) % 50})
    frame.to_csv(tmp_path / "s.csv", index=False)
    found = nd.load_data(str(tmp_path / "s.csv"), target="y", kind="classification")
    assert found.n_outputs == 50


@right
def test_a_few_whole_numbers_are_classes(tmp_path: Path) -> None:
    """A target of 1, 2, 3 is three classes; as numbers on request."""
    y = 1 + np.arange(N) % 3
    assert read(tmp_path, {"y": y}).kind == "classification"
    assert read(tmp_path, {"y": y}, load={"kind": "regression"}).kind == "regression"


@right
def test_measured_numbers_are_a_regression(tmp_path: Path) -> None:
    """A target of 90 decimals is a regression, standardised to mean 0 and deviation 1 by its training rows."""
    splits = read(tmp_path, {"y": 1e5 + 1e3 * NUMBER, "x": NUMBER[::-1]})
    assert splits.kind == "regression"
    y = splits.train.y.double()
    assert abs(float(y.mean())) < 1e-4 and abs(float(y.std(correction=0)) - 1) < 1e-3


@refused("--drop-missing-target", "1 row")
def test_a_row_without_a_target(tmp_path: Path) -> None:
    """One blank target: the message names the option that leaves the row out."""
    y = LABEL.astype(object)
    y[4] = None
    read(tmp_path, {"y": y})


@right
def test_rows_without_a_target_are_left_out_on_request(tmp_path: Path) -> None:
    """``drop_missing_target``: 89 of 90 rows."""
    y = LABEL.astype(object)
    y[4] = None
    splits = read(tmp_path, {"y": y}, load={"drop_missing_target": True})
    assert sum(len(part) for part in (splits.train, splits.valid, splits.test)) == N - 1


@refused("2 problems", "row", "--")
def test_all_problems_in_one_message(tmp_path: Path) -> None:
    """Infinite numbers and a blank target: one message with both, and the command that goes on where there is one."""
    y = LABEL.astype(object)
    y[4] = None
    read(tmp_path, {"y": y, "v": np.where(np.arange(N) == 5, np.inf, NUMBER)})


@refused("'prise'", "did you mean 'price'")
def test_a_mistyped_target(tmp_path: Path) -> None:
    """A column that is not there; the nearest one is offered."""
    read(tmp_path, {"price": NUMBER}, load={"target": "prise"})


@refused("no such file")
def test_a_table_that_is_not_there() -> None:
    """A path that leads nowhere."""
    nd.load_data("nowhere.csv", target="y")


@refused("class", "1 row")
def test_a_class_with_one_row(tmp_path: Path) -> None:
    """A class that cannot be in all parts."""
    y = LABEL.astype(object)
    y[0] = "only"
    read(tmp_path, {"y": y})


@right
def test_groups_are_not_divided(tmp_path: Path) -> None:
    """``group_column``: no patient is in two parts."""
    patient = np.array([f"p{i // 3}" for i in range(N)])
    splits = read(
        tmp_path, {"patient": patient, "y": np.arange(N) % 2}, load={"group_column": "patient"}
    )
    parts = [set(patient[np.asarray(splits.rows[p])]) for p in ("train", "valid", "test")]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert "patient" not in names(splits)


@right
def test_time_goes_forward(tmp_path: Path) -> None:
    """``time_column``: training rows come before validation rows, those before test rows."""
    when = pd.date_range("2020-01-01", periods=N).astype(str)
    order = np.random.default_rng(1).permutation(N)
    splits = read(tmp_path, {"when": np.array(when)[order]}, load={"time_column": "when"})
    train, valid, test = (order[np.asarray(splits.rows[p])] for p in ("train", "valid", "test"))
    assert train.max() < valid.min() and valid.max() < test.min()


@right
def test_a_split_of_ones_own(tmp_path: Path) -> None:
    """``split_column``: the parts are those that the column says."""
    part = np.array(["train", "train", "train", "valid", "test"])[np.arange(N) % 5]
    splits = read(tmp_path, {"part": part}, load={"split_column": "part"})
    assert [len(splits.train), len(splits.valid), len(splits.test)] == [54, 18, 18]
    assert set(part[np.asarray(splits.rows["test"])]) == {"test"}


@right
def test_new_rows_are_read_as_the_training_rows(tmp_path: Path) -> None:
    """The schema reads rows of the file again, in another order of columns and without the target, to the same inputs."""
    words = np.array(["red", "", "blue"])[np.arange(N) % 3]
    splits = read(tmp_path, {"colour": words, "v": NUMBER[::-1]})
    assert splits.schema is not None
    frame = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)[["v", "colour", "x"]]
    again = splits.schema.encode(frame)
    torch.testing.assert_close(
        again[torch.as_tensor(np.asarray(splits.rows["train"]))], splits.train.x
    )


def rows_csv(folder: Path, cell: Callable[[int], str], target: Callable[[int], str]) -> str:
    """Writes 60 rows of a column as it is given, a column of noise and the target."""
    noise = np.random.default_rng(3).normal(size=60).round(3)
    lines = [f"{cell(i)},{noise[i]},{target(i)}" for i in range(60)]
    (folder / "rows.csv").write_text("\n".join(["x,z,y", *lines]) + "\n")
    return str(folder / "rows.csv")


def two(i: int) -> str:
    return "ab"[i * 7 % 5 % 2]


@pytest.mark.parametrize(
    ("mark", "name"), [("{}%", "%"), ("{} %", "%"), ("${}", "$"), ("{}€", "€")]
)
@right
def test_numbers_with_a_mark_are_numbers(tmp_path: Path, mark: str, name: str) -> None:
    """``12.5%``, ``$12.5``: a column of numbers, said, and read alike in new rows."""
    plain = nd.load_data(rows_csv(tmp_path, lambda i: str(i * 37 % 60 / 4), two), target="y")
    marked = nd.load_data(
        rows_csv(tmp_path, lambda i: mark.format(i * 37 % 60 / 4), two), target="y"
    )
    torch.testing.assert_close(plain.train.x, marked.train.x)  # % is hundredths, standardised away
    assert any(name in note for note in marked.source["notes"])
    assert marked.schema is not None
    again = marked.schema.encode_rows(marked.schema.read_file(tmp_path / "rows.csv"))
    assert torch.equal(again.x[marked.rows["train"]], marked.train.x)
    other = pd.DataFrame({"x": ["£7"], "z": [1.0]})
    assert any(name in remark for remark in marked.schema.encode_rows(other).remarks)


@right
def test_a_percent_is_a_hundredth_as_excel_stores_it(tmp_path: Path) -> None:
    """``12.5%`` in CSV and .125 under a format of percent in Excel are one number, in training and in new rows."""
    pytest.importorskip("openpyxl")
    numbers = [i * 37 % 60 / 1000 for i in range(60)]
    text = rows_csv(tmp_path, lambda i: f"{100 * numbers[i]:.1f}%", two)
    frame = pd.read_csv(text).assign(x=numbers)
    frame.to_excel(tmp_path / "rows.xlsx", index=False)
    csv, excel = (nd.load_data(p, target="y") for p in (text, tmp_path / "rows.xlsx"))
    assert csv.schema is not None and excel.schema is not None
    assert torch.equal(csv.train.x, excel.train.x)
    texts = csv.schema.read_file(text)
    mine, theirs = csv.schema.encode_rows(texts), excel.schema.encode_rows(texts)
    assert torch.equal(mine.x, theirs.x) and not mine.remarks and "hundredths" in theirs.remarks[0]
    bare = csv.schema.encode_rows(frame)
    assert torch.equal(mine.x, bare.x) and "0.125 for 12.5%" in bare.remarks[0]


@pytest.mark.parametrize(
    "text", ["x;z\n12,5%;0,5\n1.203,25 %;NA\n", 'x,z\n"12,5%",0.5\n"1203,25%",NA\n']
)
@right
def test_marks_of_a_file_with_decimal_commas(tmp_path: Path, text: str) -> None:
    """``12,5%`` in a new file is ``12.5%`` of training, as 12,5 is 12.5."""
    data = rows_csv(tmp_path, lambda i: f"{i * 37 % 60 / 4}%", lambda i: f"{i * 7 % 13 + 0.5}%")
    schema = nd.load_data(data, target="y").schema
    assert schema is not None
    (tmp_path / "new.csv").write_text(text)
    plain = schema.encode_rows(pd.DataFrame({"x": ["12.5%", "1203.25%"], "z": [0.5, None]}))
    found = schema.encode_rows(schema.read_file(tmp_path / "new.csv"))
    assert torch.equal(found.x, plain.x) and found.remarks == plain.remarks
    (tmp_path / "new.csv").write_text(text.replace("z", "y").replace("0,5", "7,5%"))
    assert schema.encode_target(schema.read_file(tmp_path / "new.csv")[:1]).isfinite().all()


@right
def test_a_percent_in_runs_made_before_it_was_a_hundredth(tmp_path: Path) -> None:
    """A schema that does not say how % is read leaves it out, as the network was trained."""
    text = rows_csv(tmp_path, lambda i: f"{i * 37 % 60 / 4}%", lambda i: f"{i * 7 % 13 + 0.5}%")
    now = nd.load_data(text, target="y").schema
    assert now is not None and now.target.mark == "%"
    stored = json.loads(json.dumps(now.to_json()))
    for part in (*stored["inputs"], stored["target"]):
        del part["mark"]
    (x,) = (part for part in stored["inputs"] if part["column"] == "x")
    x |= {name: 100 * x[name] for name in ("mean", "std", "fill")}
    for name in ("mean", "std"):
        stored["target"][name] = [100 * value for value in stored["target"][name]]
    old, rows = type(now).from_json(stored), now.read_file(text)
    torch.testing.assert_close(old.encode(rows), now.encode(rows))
    torch.testing.assert_close(old.encode_target(rows), now.encode_target(rows))


@right
def test_a_decimal_comma_before_three_digits(tmp_path: Path) -> None:
    """Quoted ``"0,126"`` begins with 0, so it is no thousand: the column has a decimal comma."""
    comma = rows_csv(tmp_path, lambda i: f'"{i * 37 % 60 / 41:.3f}"'.replace(".", ","), two)
    point = nd.load_data(comma, target="y").train.x[:, 0]
    plain = rows_csv(tmp_path, lambda i: f"{i * 37 % 60 / 41:.3f}", two)
    torch.testing.assert_close(point, nd.load_data(plain, target="y").train.x[:, 0])


@right
def test_a_word_among_numbers_is_named_with_its_cure(tmp_path: Path) -> None:
    """59 numbers and ``high``: texts, and the note says that ``--na high`` makes them numbers."""
    path = rows_csv(tmp_path, lambda i: "high" if i == 5 else str(i / 7), two)
    notes = nd.load_data(path, target="y", keep="x").source["notes"]
    assert any("'high'" in note and "--na high" in note for note in notes)
    assert nd.load_data(path, target="y", na="high").train.x.shape[1] in (2, 3)


@refused("'y'", "5.5")
def test_a_regression_target_that_never_changes(tmp_path: Path) -> None:
    """The same number in every row: nothing to learn."""
    nd.load_data(rows_csv(tmp_path, str, lambda _: "5.5"), target="y")


@refused("'y'", "--drop y.1")
def test_two_columns_called_like_the_target(tmp_path: Path) -> None:
    """Two columns ``y`` with different values: which one is meant is not guessed."""
    path = tmp_path / "rows.csv"
    path.write_text("x,y,y\n" + "".join(f"{i / 7},{two(i)},{two(i + 1)}\n" for i in range(60)))
    nd.load_data(str(path), target="y")


@right
def test_too_few_rows_have_no_cure_that_removes_them_all(tmp_path: Path) -> None:
    """Three rows of two classes: more rows are asked for, not ``--na a,b``."""
    (tmp_path / "rows.csv").write_text("x,y\n1.5,a\n2.5,b\n3.5,a\n")
    with pytest.raises(NetdialError) as found:
        nd.load_data(str(tmp_path / "rows.csv"), target="y")
    assert "rows" in str(found.value) and "--na" not in str(found.value)

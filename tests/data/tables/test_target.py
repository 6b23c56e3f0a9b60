"""What a target is taken for: classes or numbers, what is said where the guess is open, rows that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netdial.core.errors import DataError
from netdial.data import Splits, load_data

pytest.importorskip("pandas")


def read(tmp_path: Path, values: list[Any], **options: Any) -> Splits:
    rows = "".join(f"{i * 37 % 101},{value}\n" for i, value in enumerate(values))
    (tmp_path / "t.csv").write_text(f"a,y\n{rows}")
    return load_data(str(tmp_path / "t.csv"), target="y", **options)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["0.0", "1.0"], ("0", "1")),
        ([0, 1], ("0", "1")),
        (["True", "False"], ("False", "True")),
        (["1.0", "2.0", "10.0"], ("1", "2", "10")),
        (["no", "NA", "None"], ("NA", "None", "no")),
        (["b ", " a"], ("a", "b")),
        (["2020-01-01", "2021-01-01"], ("2020-01-01", "2021-01-01")),
    ],
)
def test_classes(tmp_path: Path, values: list[Any], classes: tuple[str, ...]) -> None:
    splits = read(tmp_path, values * 30)
    assert splits.kind == "classification" and splits.classes == classes


def test_numbers(tmp_path: Path) -> None:
    assert read(tmp_path, [0.5 * i for i in range(40)]).kind == "regression"
    splits = read(tmp_path, [1000 * i for i in range(40)])
    assert splits.kind == "regression"
    assert any(
        "40 different whole numbers; --kind classification" in n for n in splits.source["notes"]
    )
    few = read(tmp_path, list(range(15)) * 6)
    assert few.kind == "classification"
    assert any("15 different whole numbers; --kind regression" in n for n in few.source["notes"])
    assert read(tmp_path, list(range(15)) * 6, kind="regression").n_outputs == 1


def test_an_open_guess_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"15 different whole numbers.*--kind regression"):
        read(tmp_path, list(range(15)))
    thousands = [f'"1,{i:03d}"' for i in range(100)]
    with pytest.raises(DataError, match="--kind regression"):
        read(tmp_path, thousands)
    assert read(tmp_path, [f'"$1,{i:03d}"' for i in range(100)]).kind == "regression"
    splits = read(tmp_path, thousands, kind="regression")
    assert splits.source["target_mean"][0] == pytest.approx(1049.5, abs=10)


def test_rows_without_a_target(tmp_path: Path) -> None:
    values = ["yes", "no", "", "no"] * 20
    with pytest.raises(
        DataError, match=r"missing in 20 row\(s\), first in row 2 .*--drop-missing-target"
    ):
        read(tmp_path, values)
    splits = read(tmp_path, values, drop_missing_target=True)
    rows = sorted(int(row) for part in splits.rows.values() for row in part)
    assert rows == [i for i in range(80) if i % 4 != 2]
    for part in ("train", "valid", "test"):
        want = [splits.classes.index(values[row]) for row in splits.rows[part].tolist()]
        assert splits.part(part).y.tolist() == want
    salary = [str(10.5 * i) if i % 5 else "NA" for i in range(60)]
    with pytest.raises(DataError, match=r"missing in 12 row\(s\), first in row 0"):
        read(tmp_path, salary)
    assert read(tmp_path, salary, drop_missing_target=True).kind == "regression"


def test_rare_classes(tmp_path: Path) -> None:
    values = ["yes", "no"] * 20 + ["may,be", "perhaps"]
    values = [f'"{value}"' for value in values]
    with pytest.raises(
        DataError, match=r"class 'may,be' with 1 row\(s\), class 'perhaps' with 1 row"
    ):
        read(tmp_path, values)
    splits = read(tmp_path, values, na=("may,be", "perhaps"), drop_missing_target=True)
    assert splits.classes == ("no", "yes")
    assert read(tmp_path, values[:-2], valid=0.5, test=0.0 + 0.2).classes == ("no", "yes")


def test_classes_that_may_be_one_or_none_are_said(tmp_path: Path) -> None:
    notes = read(tmp_path, ["no", "NO", "NA"] * 30).source["notes"]
    assert any("'NO' and 'no' are different classes" in note for note in notes)
    assert any("'NA' is a class; --na NA --drop-missing-target if" in note for note in notes)
    assert not any("the target" in n for n in read(tmp_path, ["no", "yes"] * 30).source["notes"])


@pytest.mark.parametrize("rows", ["0.5,0\n", "5,3\n"])
def test_a_table_without_headings_is_told_of(tmp_path: Path, rows: str) -> None:
    (tmp_path / "t.csv").write_text(rows + "".join(f"{i},{i % 2}\n" for i in range(40)))
    said = f"read as headings, but '{rows.partition(',')[0]}' looks like a number"
    with pytest.raises(DataError, match=r"no column .y. for the target.*looks like a number"):
        load_data(str(tmp_path / "t.csv"), target="y")
    last = rows.strip().rpartition(",")[2]
    notes = load_data(str(tmp_path / "t.csv"), target=last).source["notes"]
    assert any(said in note for note in notes)


def test_a_separator_that_is_no_comma_is_hinted_at(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a^y\n1^0\n2^1\n" * 5)
    with pytest.raises(DataError, match=r"only one column.*--sep"):
        load_data(str(tmp_path / "t.csv"), target="y")

"""Which columns become inputs, what numbers and dates written as texts are, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netdial.core.errors import ConfigError, DataError
from netdial.data import Splits, load_data
from netdial.data.tables.columns.cells import read_cells
from netdial.data.tables.files.frame import Table
from netdial.data.tables.options import TableOptions

pd = pytest.importorskip("pandas")

N = 90
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=N).round(4)
Y = np.array(["a", "b", "c"])[np.arange(N) // 30]


def read(tmp_path: Path, columns: dict[str, Any], *, index: bool = False, **options: Any) -> Splits:
    """A table with the columns given beside an ordinary number x and a target y."""
    options.setdefault("target", "y")
    frame = pd.DataFrame({"x": X, **columns, "y": columns.get("y", Y)})
    frame.to_csv(tmp_path / "t.csv", index=index)
    return load_data(str(tmp_path / "t.csv"), **options)


def used(splits: Splits) -> list[str]:
    assert splits.schema is not None
    return [column.column for column in splits.schema.inputs]


IDS = {
    "id": np.arange(N) * 3 + 1000,
    "huge_id": 10**18 + np.arange(N) * 10,
    "PassengerId": RANDOM.permutation(N),
    "uuid": [f"{i * 7919:08x}" for i in range(N)],
    "index": RANDOM.permutation(N),
    "row": np.arange(N) + 1,
    "step": np.arange(N),
    "name": [f"Mr {i}" for i in range(N)],
    "copy": Y,
    "empty": [None] * N,
    "constant": [7] * N,
    "one_text": ["same"] * N,
}
KEPT = {
    "year": 2000 + np.arange(N) // 10,
    "rank": RANDOM.permutation(N),
    "humid": RANDOM.normal(size=N),
    "valid": RANDOM.integers(0, 2, N),
    "gone": [7 if i % 2 else None for i in range(N)],
    "day": pd.date_range("2020-01-01", periods=N).astype(str),
}


@pytest.mark.parametrize("name", IDS)
def test_left_out_and_said(tmp_path: Path, name: str) -> None:
    splits = read(tmp_path, {name: IDS[name]})
    assert used(splits) == ["x"] and list(splits.source["left_out"]) == [name]
    assert splits.source["left_out"][name]


@pytest.mark.parametrize("name", KEPT)
def test_ordinary_columns_stay(tmp_path: Path, name: str) -> None:
    splits = read(tmp_path, {name: KEPT[name]})
    assert used(splits) == ["x", name] and splits.source["left_out"] == {}


def test_saved_row_numbers_and_second_targets(tmp_path: Path) -> None:
    assert list(read(tmp_path, {}, index=True).source["left_out"]) == ["Unnamed: 0"]
    path = tmp_path / "t.csv"
    path.write_text("x,y,y\n" + "".join(f"{v},{c},{c}\n" for v, c in zip(X, Y, strict=True)))
    splits = load_data(str(path), target="y")
    assert used(splits) == ["x"]
    assert "copy of the target 'y'" in splits.source["left_out"]["y.1"]


def test_copy_of_a_number(tmp_path: Path) -> None:
    target = RANDOM.normal(size=N)
    splits = read(tmp_path, {"y": target, "again": target, "cents": 100 * target})
    assert list(splits.source["left_out"]) == ["again"]
    assert any(
        note.startswith("cents: is the target 'y' in another") for note in splits.source["notes"]
    )
    assert used(read(tmp_path, {"y": target, "again": target}, keep="again")) == ["x", "again"]


def test_a_code_of_the_classes_is_said(tmp_path: Path) -> None:
    splits = read(tmp_path, {"code": np.arange(N) // 30})
    assert used(splits) == ["x", "code"]
    assert any("--drop code" in note for note in splits.source["notes"])


def test_options_for_columns(tmp_path: Path) -> None:
    columns = {"id": IDS["id"], "b": KEPT["humid"]}
    assert used(read(tmp_path, columns, keep=("id",), drop=("b",))) == ["x", "id"]
    with pytest.raises(ConfigError, match="--drop: no column 'bb'; did you mean 'b'"):
        read(tmp_path, columns, drop="bb")
    with pytest.raises(ConfigError, match="--drop: 'y' is the target"):
        read(tmp_path, columns, drop="y")
    with pytest.raises(ConfigError, match=r"unknown option of a table 'separator'.*'sep'"):
        read(tmp_path, columns, separator=";")


def test_codes_as_texts(tmp_path: Path) -> None:
    codes = (["01", "1", "7"] * N)[:N]
    assert read(tmp_path, {"zip": codes}).schema.inputs[1].kind == "number"
    splits = read(tmp_path, {"zip": codes}, categorical="zip")
    assert splits.schema.names == ("x", "zip = 01", "zip = 1", "zip = 7")
    frame = splits.schema.read_file(tmp_path / "t.csv")
    assert torch.equal(splits.schema.encode(frame)[splits.rows["test"]], splits.test.x)
    with pytest.raises(ConfigError, match="--categorical: no column 'zap'; did you mean 'zip'"):
        read(tmp_path, {"zip": codes}, categorical="zap")


def test_a_counter_is_better_than_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("t,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    assert used(load_data(str(tmp_path / "t.csv"), target="y")) == ["t"]


NUMBERS = [
    (["1", "NA", "2.5", "?", "3"], {}, [1, None, 2.5, None, 3]),
    (["1", "nan", "2", "null", "None"], {}, [1, None, 2, None, None]),
    (["1,234", "12", "1,234,567.5"], {}, [1234, 12, 1234567.5]),
    (["1,5", "2", "-0,25"], {}, [1.5, 2, -0.25]),
    (["1.234,5", "7", "1.000.000"], {}, [1234.5, 7, 1e6]),
    (["1 234", "12", "3\u00a0000"], {}, [1234, 12, 3000]),
    (["1'234", "12"], {}, [1234, 12]),
    (["1,234", "2,345"], {"decimal": ","}, [1.234, 2.345]),
    (["1.234", "2.345"], {"thousands": "."}, [1234, 2345]),
    (["1e-3", "2E5", "+4"], {}, [0.001, 2e5, 4]),
    (["5", "-999", "6"], {"na": "-999"}, [5, None, 6]),
    (["True", "False", ""], {}, [1, 0, None]),
    (["\u22121.5", "2", "\u2013", "\u20133"], {}, [-1.5, 2, None, -3]),
    (["(12.50)", "3", "(1,200)"], {}, [-12.5, 3, -1200]),
    (["-$5", "$1,250.5", "($2)", "$-3"], {}, [-5, 1250.5, -2, -3]),
]


@pytest.mark.parametrize(("words", "options", "numbers"), NUMBERS)
def test_numbers_written_as_texts(
    tmp_path: Path, words: list[str], options: dict[str, Any], numbers: list[float | None]
) -> None:
    column = (words * N)[: N // len(words) * len(words)]
    y, x = Y[: len(column)], X[: len(column)]
    frame = pd.DataFrame({"x": x, "a": column, "y": y})
    frame.to_csv(tmp_path / "t.csv", index=False)
    schema = load_data(str(tmp_path / "t.csv"), target="y", drop="x", **options).schema
    assert schema is not None
    number = schema.inputs[0]
    assert number.kind == "number" and number.missing == (None in numbers)
    values = number.read(pd.Series(words), schema.options.na)
    want = np.array([np.nan if value is None else value for value in numbers])
    np.testing.assert_allclose(values, want)


@pytest.mark.parametrize(
    "words",
    [
        ["1", "2", "x"],
        ["12 m", "13 m"],
        ["1,23", "4,567,8"],
        ["NA", "None", "null"],
        ["3-4", "5-6"],
        ["(1)", "(2)"],
        ["\u2212", "none", "a"],
    ],
)
def test_other_words_are_categories(tmp_path: Path, words: list[str]) -> None:
    schema = read(tmp_path, {"a": (words * N)[:N]}).schema
    assert schema is not None
    column = schema.inputs[1]
    assert (
        column.kind == "category" and column.values == tuple(sorted(words)) and not column.missing
    )


def test_a_negative_number_in_another_notation_is_said(tmp_path: Path) -> None:
    """Minus signs of print and parentheses of accounts made texts of the whole column, which was left out."""
    for word in ("\u22121.5", "(1.5)"):
        splits = read(tmp_path, {"a": [f"{abs(x)}" for x in X[1:]] + [word]})
        assert f"a: {word!r} is read as a negative number" in splits.source["notes"]
        assert splits.schema is not None and splits.schema.inputs[1].kind == "number"


def test_exponents_of_fortran_are_numbers(tmp_path: Path) -> None:
    """A column of 1.5D+03 was read as texts, and left out; codes such as 1D3 stay texts."""
    plain = read(tmp_path, {"a": [f"{x * 1000:.6e}" for x in X]})
    fortran = read(tmp_path, {"a": [f"{x * 1000:.6e}".replace("e", "D") for x in X]})
    assert fortran.schema is not None and fortran.schema.inputs[1].kind == "number"
    assert torch.equal(fortran.train.x, plain.train.x)
    codes = read(tmp_path, {"a": [f"{1 + i % 3}D{i % 4}" for i in range(N)]})
    assert codes.schema is not None and codes.schema.inputs[1].kind == "category"


def test_one_date_that_is_none_is_named(tmp_path: Path) -> None:
    days = [f"2020-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(N - 2)]
    splits = read(tmp_path, {"d": [*days, "2020-02-31", "soon"]})
    why = splits.source["left_out"]["d"]
    assert "only 'soon', '2020-02-31' are no date; --na soon,2020-02-31 reads it as" in why
    assert used(read(tmp_path, {"d": [*days, "2020-02-31", "soon"]}, na="soon,2020-02-31")) == [
        "x",
        "d",
    ]


def test_a_comma_that_may_be_two_things_is_asked_for(tmp_path: Path) -> None:
    rows = "".join(f"{i % 7},{100 + i};{i % 3}\n" for i in range(1, N))
    (tmp_path / "t.csv").write_text("a;y\n" + rows.replace("0,", "8,"))
    with pytest.raises(DataError, match=r"'a': '1,101' may be 1101 \(--thousands ,\) or 1.101"):
        load_data(str(tmp_path / "t.csv"), target="y")
    for options, value in (({"thousands": ","}, 1101.0), ({"decimal": ","}, 1.101)):
        schema = load_data(str(tmp_path / "t.csv"), target="y", **options).schema
        assert schema is not None
        assert schema.inputs[0].read(pd.Series(["1,101"]), ()).tolist() == [value]


DATES = [
    (["2020-01-31", "1970-01-02"], [18292, 1]),
    (["2020-01-31 12:00", "2020-01-31T18:00:00Z"], [18292.5, 18292.75]),
    (["31.1.2020", "02.01.1970"], [18292, 1]),
    (["31/01/2020", "02/01/1970"], [18292, 1]),
    (["01/31/2020", "01/02/1970"], [18292, 1]),
    (["2020/1/31", "NA"], [18292, None]),
    (["1970-01-01T00:00:00+02:00", "1970-01-02 00:00:00.5"], [-1 / 12, 1 + 0.5 / 86400]),
    (["3 Jan 2020", "2. January 1970"], [18264, 1]),
    (["Jan 3, 2020", "Sept. 2nd, 1970", "Fri, January 03 2020"], [18264, 244, 18264]),
    (["03JAN2020", "02-Jan-1970", "02jan1970:18:00:00"], [18264, 1, 1.75]),
    (["2020-Jan-03", "1970 january 2"], [18264, 1]),
    (["2020-01-03 4:05 PM", "1970-01-02 12:00 a.m."], [18264 + 965 / 1440, 1]),
    (["1/13/2020, 12:30:00 PM", "1/2/1970, 6:00 am"], [18274 + 12.5 / 24, 1.25]),
    (["Fri, 03 Jan 2020 06:00:00 GMT", "02 Jan 1970 00:00:00 +0000"], [18264.25, 1]),
    (["20200103", "1970-01-02"], [18264, 1]),
]


@pytest.mark.parametrize(("words", "days"), DATES)
def test_dates(tmp_path: Path, words: list[str], days: list[float | None]) -> None:
    schema = read(tmp_path, {"d": (words * N)[:N]}).schema
    assert schema is not None
    column = schema.inputs[1]
    assert column.kind == "date" and column.missing == (None in days)
    want = np.array([np.nan if value is None else value for value in days])
    np.testing.assert_allclose(column.read(pd.Series(words), ()), want, atol=1e-9)


@pytest.mark.parametrize("word", ["31 Feb 2020", "2020-01-03 13:05 PM"])
def test_what_is_no_date_stays_a_text(tmp_path: Path, word: str) -> None:
    schema = read(tmp_path, {"d": [word, "1 Mar 2020"] * (N // 2)}).schema
    assert schema is not None and schema.inputs[1].kind == "category"


@pytest.mark.parametrize("name", ["date", "When", "order_date", "Date of birth", "orderDate"])
def test_dates_without_marks_are_dates_under_a_name_that_says_so(tmp_path: Path, name: str) -> None:
    """As numbers, the last day of a month would lie 70 before the first of the next, and 8870 at the end of a year."""
    days = pd.date_range("2019-12-01", periods=N)
    plain = read(tmp_path, {name: days.astype(str)})
    whole = days.strftime("%Y%m%d").astype(int).to_numpy()
    splits = read(tmp_path, {name: whole})
    assert torch.equal(splits.train.x, plain.train.x)
    said = (
        f"{name}: 20191201 and the like are read as dates; --parse-dates off reads them as numbers"
    )
    assert said in splits.source["notes"]
    assert splits.schema is not None and plain.schema is not None
    new = pd.DataFrame({"x": [0.0, 0.0], name: [20200105, None]})
    day = pd.DataFrame({"x": [0.0, 0.0], name: ["2020-01-05", None]})
    assert torch.equal(splits.schema.encode_rows(new).x, plain.schema.encode_rows(day).x)
    off = read(tmp_path, {name: whole}, parse_dates="off").schema
    assert off is not None and off.inputs[1].kind == "number"


@pytest.mark.parametrize(
    ("name", "last"),
    [("amount", 20200229), ("update", 20200229), ("date", 20200231), ("date", 21000101)],
)
def test_other_whole_numbers_stay_numbers(tmp_path: Path, name: str, last: int) -> None:
    schema = read(tmp_path, {name: [*([20200101, 20200102] * N)[: N - 1], last]}).schema
    assert schema is not None and schema.inputs[1].kind == "number"


def test_dates_in_other_ways(tmp_path: Path) -> None:
    words = ["03/04/2020", "05/06/2020"]
    column = {"d": (words * N)[:N]}
    with pytest.raises(
        DataError, match=r"'03/04/2020' the day or the month.*--date-order day-first"
    ):
        read(tmp_path, column)
    for order, day in (("day-first", 18355), ("month-first", 18325)):
        schema = read(tmp_path, column, date_order=order).schema
        assert schema is not None
        assert schema.inputs[1].read(pd.Series(words[:1]), ()).tolist() == [day]
    off = read(tmp_path, column, parse_dates="off").schema
    assert off is not None and off.inputs[1].kind == "category"
    parts = read(
        tmp_path, {"d": (["2020-03-04 06:00", "2021-05-06"] * N)[:N]}, parse_dates="parts"
    ).schema
    assert parts is not None
    assert parts.names[1:] == ("d year", "d month", "d day", "d weekday", "d hour")


def test_stored_types_are_taken_at_their_word(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None, 3] * 30, dtype="Int64"),
            "truth": pd.array([True, None, False] * 30, dtype="boolean"),
            "small": X.astype("float16"),
            "text": pd.array(["one"] * 40 + [pd.NA] * 50, dtype="string"),
            "coded": pd.Categorical(["10", "20", "30"] * 30),
            "number": pd.Categorical([10, 20, 30] * 30),
            "when": pd.date_range("2020", periods=N, tz="UTC"),
            "span": pd.to_timedelta(np.arange(N) % 5, unit="s"),
            "lists": [[1]] * N,
            "y": Y,
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    splits = load_data(str(tmp_path / "t.parquet"), target="y")
    assert splits.schema is not None
    kinds = {column.column: (column.kind, column.missing) for column in splits.schema.inputs}
    assert kinds == {
        "whole": ("number", True),
        "truth": ("number", True),
        "small": ("number", False),
        "text": ("category", True),
        "coded": ("category", False),
        "number": ("category", False),
        "when": ("date", False),
        "span": ("number", False),
    }
    assert splits.source["left_out"] == {"lists": "holds nested values or bytes"}


def test_all_problems_in_one_message_with_what_mends_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": X, "a": X, "d": (["03/04/2020", "05/06/2020"] * N)[:N], "y": Y})
    frame.loc[4::5, "a"] = np.inf
    frame.loc[[8, 9], "y"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError) as caught:
        load_data(str(tmp_path / "t.csv"), target="y")
    said = str(caught.value)
    assert "3 problems" in said and "\n" not in said
    for fact in (
        "'y' is missing in 2 row(s), first in row 8",
        "'a' holds infinity in 18 row(s), first in row 4",
    ):
        assert fact in said
    mend, _, keywords = said.rpartition(", in Python ")
    assert mend.endswith("--drop-missing-target --na inf --date-order day-first")
    given = eval(f"dict({keywords})")  # the keywords are Python
    splits = load_data(str(tmp_path / "t.csv"), target="y", **given)
    assert used(splits) == ["x", "a", "d"] and splits.schema.inputs[1].missing
    assert sum(len(splits.part(part)) for part in ("train", "valid", "test")) == N - 2
    assert not {8, 9} & {int(row) for rows in splits.rows.values() for row in rows}


def test_values_too_large_for_a_standard_deviation_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{(-1) ** k * 10.0**300},{['no', 'yes'][k % 2]}\n" for k in range(20))
    (tmp_path / "huge.csv").write_text("a,y\n" + rows)
    with pytest.raises(DataError, match=r"column 'a'.*1e\+300"):
        load_data(str(tmp_path / "huge.csv"), target="y")


def test_truth_values_as_texts_are_numbers_as_in_a_file() -> None:
    frame = pd.DataFrame({"flag": ["True", "false ", "TRUE"], "word": ["True", "no", "False"]})
    read = [read_cells(frame[n], n, Table(frame), TableOptions())[0] for n in frame]
    assert [cells.kind for cells in read] == ["number", "category"]
    assert read[0].values.tolist() == [1, 0, 1]


@pytest.mark.parametrize("far", [-999.0, 99999.0, 1e9])
@pytest.mark.parametrize("rows", [1, 20])
def test_a_number_that_squeezes_all_others_is_told_of(far: float, rows: int) -> None:
    """A code for "missing" among numbers leaves nothing of them where they are standardised, and --na mends it."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.normal(20, 3, 200), "b": rng.lognormal(0, 2, 200), "y": rng.normal(5, 1, 200)}
    )
    frame["two"] = np.where(rng.random(200) < 0.5, -0.044641636506989144, 0.05068011873981862)
    assert not any("far from" in note for note in load_data(frame, target="y").source["notes"])
    train = load_data(frame, target="y").rows["train"][:rows].tolist()
    for column in ("a", "y"):
        frame.loc[train, column] = far
    text = f"{far:.0f} in {rows} training row(s) is far from all others"
    notes = load_data(frame, target="y").source["notes"]
    assert sum(text in note for note in notes) == 2
    options: Any = {"na": f"{far:.0f}", "drop_missing_target": True}
    assert not any(
        "far from" in note for note in load_data(frame, target="y", **options).source["notes"]
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((name, True) for name in ("store_id", "zip", "Zip Code", "code_postal", "customerId")),
        *((name, False) for name in ("rooms", "lines_of_code", "zip_count", "code_length")),
    ],
)
def test_whole_numbers_that_are_named_as_codes_are_told_of(name: str, told: bool) -> None:
    """Numbers of shops or places are no quantities, and nothing but the name says so."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.choice([10115, 20095, 80331], 90), "x": rng.normal(size=90)})
    frame["y"] = rng.choice(["no", "yes"], 90)
    notes = load_data(frame, target="y").source["notes"]
    assert any("if they are codes, --categorical" in note for note in notes) == told
    again = load_data(frame, target="y", categorical=name).source["notes"]
    assert not any("codes" in note for note in again)

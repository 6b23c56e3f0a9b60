"""The schema: reads new rows as the training rows were read, says what is new, survives JSON, refuses what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netdial.core.errors import CheckpointError, DataError, ShapeError
from netdial.data import TableSchema, load_data
from netdial.data.tables.columns.category import Category
from netdial.data.tables.columns.date import Date, date_parts
from netdial.data.tables.columns.number import Number

pd = pytest.importorskip("pandas")


def table(n: int = 60) -> Any:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(10, 3, n).round(3),
            "price": [f"{1000 + 7 * i:,}" for i in range(n)],
            "town": rng.choice(["Kazan", "NA", "None"], n),
            "when": pd.date_range("2020-01-01", periods=n // 10).repeat(10).astype(str),
            "code": rng.choice([1.0, 2.0, 3.0], n),
            "y": np.array(["no", "yes", "maybe"])[np.arange(n) % 3],
            "z": rng.normal(100, 20, n),
        }
    )
    frame.loc[[3, 7, 20, 41], "size"] = np.nan
    frame.loc[[5, 6, 30, 44], "town"] = None
    frame.loc[0:9, "when"] = None
    return frame


@pytest.fixture
def splits(tmp_path: Path) -> Any:
    table().to_csv(tmp_path / "t.csv", index=False)
    return load_data(str(tmp_path / "t.csv"), target="y", drop=("z",))


@pytest.mark.parametrize("target", ["y", "z"])
@pytest.mark.parametrize("parse_dates", ["number", "parts"])
def test_new_rows_are_read_as_the_training_rows(
    tmp_path: Path, target: str, parse_dates: str
) -> None:
    path = tmp_path / "t.csv"
    table().to_csv(path, index=False)
    splits = load_data(str(path), target=target, parse_dates=parse_dates)
    schema = TableSchema.from_json(json.loads(json.dumps(splits.schema.to_json())))
    assert schema == splits.schema
    frame = schema.read_file(path)
    for part in ("train", "valid", "test"):
        rows = frame.iloc[splits.rows[part].numpy()]
        assert torch.equal(schema.encode(rows), splits.part(part).x)
        assert torch.equal(schema.encode_target(rows), splits.part(part).y)
    in_memory = table().iloc[splits.rows["test"].numpy()]
    assert torch.equal(schema.encode(in_memory), splits.test.x)
    one = schema.encode(frame.iloc[[12]].to_dict("list"))
    assert one.shape == (1, len(schema.names)) and one.dtype == torch.float32


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table().to_csv(tmp_path / "t.csv", index=False, sep=";")
    splits = load_data(str(tmp_path / "t.csv"), target="y", sep=";", encoding="utf-8", drop="price")
    table().to_parquet(tmp_path / "t.parquet")
    frame = splits.schema.read_file("t.parquet", tmp_path)
    assert torch.equal(splits.schema.encode(frame)[splits.rows["valid"]], splits.valid.x)


@pytest.mark.parametrize(("sep", "suffix"), [(";", "csv"), (",", "csv"), ("\t", "tsv")])
def test_a_file_of_one_row_is_read_as_the_row_of_the_whole_file(
    tmp_path: Path, sep: str, suffix: str
) -> None:
    rng = np.random.default_rng(0)
    grouped = [f"{v:,}".replace(",", ".") for v in rng.integers(100, 3_000_000, 60)]
    price = [f"{v:,}".replace(",", ".") for v in rng.integers(1_000, 9_000_000, 60)]
    rows = pd.DataFrame({"area": grouped, "flag": ["yes", "no", ""] * 20, "price": price})
    rows.to_csv(tmp_path / "t.csv", index=False, sep=";")
    schema = load_data(tmp_path / "t.csv", target="price", kind="regression").schema
    whole = schema.read_file(tmp_path / "t.csv")
    x, y = schema.encode(whole), schema.encode_target(whole)
    for row in range(20):
        rows.iloc[[row]].to_csv(tmp_path / f"one.{suffix}", index=False, sep=sep)
        one = schema.read_file(tmp_path / f"one.{suffix}")
        assert torch.equal(schema.encode(one)[0], x[row]), rows.iloc[row].to_dict()
        assert torch.equal(schema.encode_target(one)[0], y[row])


def test_numbers_among_texts_are_the_numbers_that_they_are(tmp_path: Path) -> None:
    grouped = [f"{1000 * i + 500:,}".replace(",", ".") for i in range(1, 61)]
    frame = pd.DataFrame({"area": [*grouped, "1.500.000"], "y": [*["no", "yes"] * 30, "no"]})
    schema = load_data(frame, target="y").schema
    both = schema.encode({"area": [68.057, "68.057", "2.000"]})
    alone = [schema.encode({"area": [one]}) for one in (68.057, "68.057", 2000)]
    assert torch.equal(both, torch.cat(alone)) and both[0] != both[1]


@pytest.mark.parametrize("words", [("TRUE", "FALSE"), ("true", "false"), ("1.0", "0.0")])
def test_classes_in_another_spelling_are_those_of_training(
    tmp_path: Path, words: tuple[str, str]
) -> None:
    frame = pd.DataFrame({"a": range(40), "b": np.arange(40.0) ** 2, "y": words * 20})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame[:9].to_csv(tmp_path / "v.csv", index=False)
    splits = load_data(tmp_path / "t.csv", target="y", valid=tmp_path / "v.csv", keep=("a",))
    assert splits.valid.y.tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1]
    with pytest.raises(DataError, match=r"is '01' in row 0"):
        splits.schema.encode_target({"y": ["01"]})


def test_categories_in_another_spelling_are_those_of_training() -> None:
    def inputs(values: tuple[str, ...], word: str) -> list[float]:
        column = Category(column="c", values=values, missing=False)
        found, said = column.inputs(np.array([word], dtype=object))
        assert bool(said) == (not found.any())
        return list(found[0])

    assert inputs(("1.0", "1.5"), "1") == inputs(("1", "1.5"), "1.0") == [1, 0]
    assert inputs(("NA", "false", "true"), "True") == [0, 0, 1]
    assert inputs(("TRUE", "true"), "true") == [0, 1]
    assert inputs(("TRUE", "true"), "True") == inputs(("1", "1.0"), "1.00") == [0, 0]  # which one?
    assert inputs(("1.1", "2"), "1.10") == inputs(("1", "2"), "01") == [0, 0]  # versions, codes


def test_days_and_months_that_training_does_not_order_are_no_guess() -> None:
    def days(*words: str, order: Any = None) -> list[float]:
        column = Date(column="d", parts=("days",), mean=(0,), std=(1,), missing=False, order=order)
        return list(column.read(pd.Series(words), ()))

    april = days("2020-04-03")
    assert days("03.04.2020") == days("03/04/2020", order="day-first") == april  # points: the day
    assert days("03/04/2020", "13/04/2020")[:1] == days("04/03/2020", "04/13/2020")[:1] == april
    with pytest.raises(DataError, match="'d': in '03/04/2020' the day or the month may come first"):
        days("2020-01-01", "03/04/2020")


def test_words_for_missing_are_categories_among_texts(splits: Any) -> None:
    town = next(column for column in splits.schema.inputs if column.column == "town")
    assert town == Category(column="town", values=("Kazan", "NA", "None"), missing=True)
    x = splits.schema.encode_rows({**_row(), "town": ["NA"]}).x
    place = splits.schema.names.index("town = NA")
    assert x[0, place] == 1 and x[0, place - 1 : place + 3].sum() == 1


def _row() -> dict[str, list[Any]]:
    return {
        "size": [10.0],
        "price": ["1,007"],
        "town": ["Kazan"],
        "when": ["2020-01-03"],
        "code": [2],
    }


def test_what_training_did_not_hold_is_counted(splits: Any) -> None:
    schema = splits.schema
    rows = {key: value * 3 for key, value in _row().items()}
    rows |= {"town": ["Omsk", "Kazan", "Perm"], "code": [1, None, 9]}
    encoded = schema.encode_rows(rows)
    assert len(encoded.remarks) == 2
    assert "'Omsk', 'Perm' in 2 row(s)" in encoded.remarks[0]
    assert "'code': missing in 1 row(s)" in encoded.remarks[1]
    start = schema.names.index("town = Kazan")
    assert encoded.x[:, start : start + 4].tolist() == [[0.0] * 4, [1.0, 0, 0, 0], [0.0] * 4]
    code = next(column for column in schema.inputs if column.column == "code")
    place = schema.names.index("code")
    want = [
        (1 - code.mean) / code.std,
        (code.fill - code.mean) / code.std,
        (9 - code.mean) / code.std,
    ]
    assert encoded.x[:, place].tolist() == pytest.approx(want)
    with pytest.warns(UserWarning, match="'Omsk', 'Perm'"):
        schema.encode(rows)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"town": None}, "column 'town' is not in the table"),
        ({"size": ["ten"]}, r"column 'size', row 0 .*'ten' is not a number"),
        ({"size": [float("inf")]}, "column 'size' holds infinity"),
        ({"when": ["yesterday"]}, "column 'when', row 0 .*'yesterday' is not a date"),
    ],
)
def test_rows_that_do_not_fit(splits: Any, change: dict[str, Any], words: str) -> None:
    rows = {key: value for key, value in (_row() | change).items() if value is not None}
    with pytest.raises(DataError, match=words):
        splits.schema.encode(rows)


def test_headings_in_other_letters_are_named_and_long_lists_cut_short(splits: Any) -> None:
    rows = {name.upper(): cells for name, cells in _row().items()}
    with pytest.raises(DataError, match=r"'[A-Z]+' is there: write headings as in training"):
        splits.schema.encode(rows)
    many = {f"other_{number}": [1] for number in range(500)}
    with pytest.raises(DataError, match="other_11 and 488 more"):
        splits.schema.encode(many)


def test_a_number_beyond_float32_is_refused_with_its_row_and_column(splits: Any) -> None:
    rows = pd.concat([pd.DataFrame(_row())] * 3, ignore_index=True)
    rows.loc[1, "size"] = -1e300
    with pytest.raises(DataError, match="'size', row 1"):
        splits.schema.encode_rows(rows)


def test_further_columns_and_other_types_are_fine(splits: Any) -> None:
    plain = splits.schema.encode(_row())
    rows = _row() | {
        "price": [1007],
        "code": ["2"],
        "when": [pd.Timestamp("2020-01-03")],
        "size": [np.float32(10)],
        "extra": [object()],
    }
    assert torch.allclose(splits.schema.encode(rows), plain)


def test_targets_come_back(tmp_path: Path, splits: Any) -> None:
    outputs = torch.eye(3)[splits.test.y]
    rows = table().iloc[splits.rows["test"].numpy()]
    assert splits.schema.decode(outputs) == rows["y"].tolist()
    table().to_csv(tmp_path / "t.csv", index=False)
    numbers = load_data(str(tmp_path / "t.csv"), target="z", drop="y")
    back = numbers.schema.decode(numbers.test.y.double())[:, 0]
    want = torch.tensor(table()["z"].to_numpy()[numbers.rows["test"].numpy()])
    assert torch.allclose(back, want, atol=1e-4)
    with pytest.raises(ShapeError, match=r"\[2, 2\]; expected \[B, 3\].*maybe, no, yes"):
        splits.schema.decode(torch.zeros(2, 2))
    with pytest.raises(DataError, match=r"'perhaps' in row 1 .*maybe, no, yes"):
        splits.schema.encode_target({"y": ["no", "perhaps"]})
    with pytest.raises(DataError, match=r"missing in 1 row.*row 1"):
        numbers.schema.encode_target({"z": [1.0, None]})


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": [{"kind": "number", "column": "a"}]},
        {"inputs": [{"kind": "sound", "column": "a"}]},
        {"target": {"kind": "classification", "columns": ["y"], "classes": ["one"]}},
        {"target": {"kind": "regression", "columns": ["y"], "mean": [0.0], "std": [0.0]}},
        {"target": {"kind": "regression", "columns": ["y"], "mean": [float("inf")], "std": [1.0]}},
        {"options": {"seperator": ";"}},
        {"more": 1},
    ],
)
def test_damaged_schemas_are_refused(splits: Any, change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="schema of a table"):
        TableSchema.from_json(splits.schema.to_json() | change)
    with pytest.raises(CheckpointError):
        TableSchema.from_json([1, 2])


def test_columns_by_hand() -> None:
    number = Number(column="a", fill=2.0, mean=1.0, std=2.0, missing=True)
    x, remark = number.inputs(np.array([3.0, np.nan]))
    assert x.tolist() == [[1.0, 0.0], [0.5, 1.0]] and remark == ""
    date = Date(
        column="d", parts=("year", "month"), mean=(2020.0, 6.0), std=(1.0, 2.0), missing=True
    )
    days = date.read(pd.Series(["2021-08-31", None]), ())
    x, _ = date.inputs(days)
    assert x.tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert date.names == ("d year", "d month", "d is missing")


def test_embedded_data_have_a_schema_too() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    wine = load_data("wine")
    raw = datasets.load_wine(as_frame=True).data
    assert torch.allclose(wine.schema.encode(raw)[wine.rows["test"]], wine.test.x, atol=1e-6)
    assert wine.schema.decode(torch.eye(3)) == list(wine.classes)
    diabetes = load_data("diabetes")
    target = datasets.load_diabetes().target[diabetes.rows["test"].numpy()]
    assert torch.allclose(
        diabetes.schema.decode(diabetes.test.y)[:, 0].double(), torch.tensor(target), atol=1e-3
    )


def test_numbers_with_a_unit_behind_them_are_said_to_be_read_as_texts(tmp_path: Path) -> None:
    few, many = tmp_path / "few.csv", tmp_path / "many.csv"
    for file, kinds in ((few, 9), (many, 400)):
        rows = (f"{k % kinds}.5 kg,{k % 5},{'a' if k % 3 else 'b'}" for k in range(400))
        file.write_text("\n".join(["w,n,y", *rows]))
    (kind, how), *_ = [
        row[1:] for row in load_data(str(few), target="y").schema.describe() if row[0] == "w"
    ]
    assert kind == "category"
    assert "all are numbers with 'kg' behind them, read as texts; write the numbers alone" in how
    (kind, how), *_ = [
        row[1:] for row in load_data(str(many), target="y").schema.describe() if row[0] == "w"
    ]
    assert kind == "left out" and "all are numbers with 'kg' behind them" in how


@pytest.mark.parametrize("parts", [("days",), ("year", "month", "day", "weekday")])
def test_every_column_has_an_example_that_it_reads(parts: tuple[str, ...]) -> None:
    days = np.array([18262.0, 18321.0])  # 2020-01-01 and 2020-02-29
    raw = date_parts(days, parts)
    date = Date(
        column="d",
        parts=parts,
        mean=tuple(raw.mean(0)),
        std=(1.0,) * len(parts),
        missing=False,
        order="day-first",
    )
    (day,) = date.read(pd.Series([date.example]), ())
    assert days[0] <= day <= days[1]
    number = Number(column="n", fill=2.5, mean=2.0, std=1.0, missing=False)
    assert number.read(pd.Series([number.example]), ()).tolist() == [2.5]
    category = Category(column="c", values=("x", "y"), missing=False)
    assert category.example in category.values


def test_description_names_every_column_once(splits: Any) -> None:
    rows = splits.schema.describe()
    assert sorted(name for name, _, _ in rows) == sorted(table().columns)
    said = {name: (what, how) for name, what, how in rows}
    assert said["y"] == ("target", "classification: maybe, no, yes")
    assert said["town"] == ("category", "3 texts: Kazan, NA, None; missing values are marked")
    assert said["z"] == ("left out", "as asked (--drop)")


def test_texts_that_could_be_read_as_two_are_in_quotes() -> None:
    category = Category(column="c", values=("north", "harbour, old"), missing=False)
    assert category.describe() == '2 texts: north, "harbour, old"'


def test_each_target_is_read_as_it_was_written(tmp_path: Path) -> None:
    x = np.arange(60) * 37 % 101
    frame = pd.DataFrame(
        {
            "x": x,
            "share": [f"{v / 4:.2f}".replace(".", ",") + "%" for v in x],
            "sum": [f"{1000.5 + v:,.1f}" for v in x],
        }
    )
    splits = load_data(frame, target="share,sum")
    schema = TableSchema.from_json(json.loads(json.dumps(splits.schema.to_json())))
    assert schema.target.hundredths == ("share",)
    truth = torch.as_tensor(np.stack([x / 400, 1000.5 + x], axis=1))
    whole = schema.decode(schema.encode_target(frame).double())
    assert isinstance(whole, torch.Tensor) and torch.allclose(whole, truth, rtol=1e-6)
    notes = splits.source["notes"]
    assert "share: with a decimal comma; with %, read as hundredths: 12.5% is 0.125" in notes
    assert ("share", "target", "regression; hundredths, with % in the table") in schema.describe()


def test_a_target_with_another_mark_in_a_part_of_its_own_is_told_of(tmp_path: Path) -> None:
    marked = pd.DataFrame({"x": range(60), "y": [f"{i * 37 % 101 / 4}%" for i in range(60)]})
    plain = pd.DataFrame({"x": range(20), "y": [i * 37 % 101 / 400 for i in range(20)]})
    marked.to_csv(tmp_path / "t.csv", index=False)
    plain.to_csv(tmp_path / "v.csv", index=False)
    keep: Any = {"target": "y", "keep": ("x",)}
    notes = load_data(str(tmp_path / "t.csv"), **keep, valid=str(tmp_path / "v.csv")).source[
        "notes"
    ]
    assert (
        "v.csv: the target 'y': has no %, which training had; read as it is, 0.125 for 12.5%"
        in notes
    )
    notes = load_data(plain, **keep, valid=marked).source["notes"]
    assert any(
        "the target 'y': has %, which training had not; read as hundredths" in n for n in notes
    )


def _area(tmp_path: Path, decimal: str) -> TableSchema:
    """A schema of a file of Europe's or of America's numbers, none of which has a mark between thousands."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=60).round(2), "area": rng.uniform(9, 900, 60)})
    frame["area"] = frame["area"].round(1)
    frame["y"] = np.array(["no", "yes"])[np.arange(60) % 2]
    frame.to_csv(
        tmp_path / "t.csv", index=False, sep=";" if decimal == "," else ",", decimal=decimal
    )
    schema = load_data(str(tmp_path / "t.csv"), target="y").schema
    assert schema is not None
    return schema


@pytest.mark.parametrize(
    ("decimal", "text", "numbers"),
    [
        (",", "a;area\n0,5;1.234,5\n", [1234.5]),
        (",", "a;area\n0,5;1.234\n", [1234]),
        (",", "a;area\n0;1.234\n", [1234]),  # nothing decides but what training had
        (",", "a;area\n0;1.234\n0;85,5\n", [1234, 85.5]),
        (",", "a;area\n0;1.234.567\n", [1234567]),
        (",", "a;area\n0.5;1.234\n", [1.234]),  # the point of 0.5 is a decimal mark
        (",", "a,area\n0.5,1.234\n", [1.234]),
        (",", 'a,area\n0,"1,5"\n', [1.5]),
        (".", "a;area\n0,5;1.234\n", [1234]),  # the comma of 0,5 is a decimal mark
        (".", "a;area\n0,5;1,234\n", [1.234]),
        (".", 'a,area\n0.5,"1,234.5"\n', [1234.5]),
        (".", 'a,area\n0.5,"1,234"\n', [1234]),
    ],
)
def test_numbers_of_new_files_are_read_as_those_of_files_for_training(
    tmp_path: Path, decimal: str, text: str, numbers: list[float]
) -> None:
    schema = _area(tmp_path, decimal)
    (tmp_path / "new.csv").write_text(text)
    encoded = schema.encode_rows(schema.read_file(tmp_path / "new.csv"))
    column = schema.inputs[1]
    assert isinstance(column, Number)
    np.testing.assert_allclose(encoded.x[:, 1] * column.std + column.mean, numbers, rtol=1e-4)


def test_texts_that_may_be_thousands_are_refused_where_no_file_decides(tmp_path: Path) -> None:
    schema = _area(tmp_path, ",")
    with pytest.raises(DataError, match=r"'1.234' may be 1234 or 1,234"):
        schema.encode_rows({"a": ["0,5"], "area": ["1.234"]})
    column = schema.inputs[1]
    assert isinstance(column, Number)
    mixed = {"a": [0.5] * 4, "area": ["1.234,5", "85.5", 1.234, "1.234.567"]}
    found = schema.encode_rows(mixed).x[:, 1] * column.std + column.mean
    np.testing.assert_allclose(found, [1234.5, 85.5, 1.234, 1234567], rtol=1e-4)


def test_a_file_of_one_column_with_decimal_commas_is_not_taken_for_two(tmp_path: Path) -> None:
    frame = table()[["size", "y"]].dropna()
    schema = load_data(frame, target="y").schema
    assert schema is not None
    (tmp_path / "one.csv").write_text("size\n1,5\n2,5\n")
    with pytest.raises(DataError, match="more fields"):
        schema.read_file(tmp_path / "one.csv")


def test_a_frame_is_read_again_as_it_was_read_for_training() -> None:
    """Its named index stands as a column, headings that occur twice are numbered, and blanks around them go."""
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(size=(60, 3)), np.arange(60) % 2 == 0])
    days = pd.date_range("2020-01-01", periods=60, name="day")
    frame = pd.DataFrame(values, columns=["a", "a", " b ", "y"], index=days)
    splits = load_data(frame, target="y")
    assert splits.schema is not None
    assert splits.schema.columns == ("a", "a.1", "b", "day")
    rows = splits.rows["valid"].numpy()
    again = splits.schema.encode_rows(frame.iloc[rows])
    assert torch.equal(again.x, splits.valid.x)
    assert torch.equal(splits.schema.encode_target(frame.iloc[rows]), splits.valid.y)
    single = load_data(frame.iloc[:, [0, 3]].reset_index(drop=True), target="y").schema
    assert single is not None
    with pytest.raises(DataError, match="heading 'a' occurs more than once, with other values"):
        single.encode_rows(frame)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_codes_of_nineteen_digits_stay_apart_beside_a_gap(tmp_path: Path, name: str) -> None:
    """As floats, which hold 53 bits, all of them would be one."""
    codes = 1234567890123456000 + np.arange(60) % 3
    frame = pd.DataFrame({"x": np.arange(60) * 0.5, "code": pd.array(codes, "Int64")})
    frame["y"] = frame["code"]
    frame.loc[7, ["code", "y"]] = pd.NA
    frame.to_csv(tmp_path / name, index=False) if name == "t.csv" else frame.to_parquet(
        tmp_path / name
    )
    options: Any = {"kind": "classification", "categorical": "code", "drop_missing_target": True}
    splits = load_data(str(tmp_path / name), target="y", **options)
    assert splits.schema is not None
    texts = tuple(str(code) for code in sorted(set(codes)))
    assert splits.classes == texts
    column = next(one for one in splits.schema.inputs if one.column == "code")
    assert isinstance(column, Category)
    assert column.values == texts
    assert splits.schema.encode_rows(splits.schema.read_file(tmp_path / name)).remarks in (
        (),
        ("column 'code': missing in 1 row(s), never in training; read as none",),
    )


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("%d-%b-%y", "date in a form that is not read"),
        ("%b %Y", "date in a form that is not read"),
        ("%d.%m.%y", "date in a form that is not read"),
        ("%Y-%m", "date in a form that is not read"),
        ("%H:%M:%S", "looks like a time"),
        ("%d.%m.%Y %H:%M", ""),
        ("%B %d, %Y", ""),
        ("%Y-%m-%d", ""),
        ("2016-%d", ""),  # a season, 2016-17, is no month
        ("Marble %d", ""),
        ("0.%m.%d", ""),
    ],
)
@pytest.mark.parametrize("different", [5, 60])
def test_dates_that_are_not_read_as_such_are_told_of(form: str, words: str, different: int) -> None:
    """Few of them are categories, many are left out; nothing but this says that a date was meant."""
    days = pd.date_range("2020-01-28", periods=60, freq="31h")[np.arange(60) % different]
    frame = pd.DataFrame({"day": days.strftime(form), "x": np.arange(60) * 0.1})
    frame["y"] = np.array(["no", "yes"])[np.arange(60) % 2]
    source = load_data(frame, target="y").source
    said = " ".join([*source["notes"], *source["left_out"].values()])
    assert words in said
    assert bool(words) == ("looks like" in said)


@pytest.mark.parametrize("cell", [[1.0], {"a": 1}])
@pytest.mark.parametrize("column", ["size", "town", "when"])
def test_nested_cells_of_new_rows_are_refused(splits: Any, column: str, cell: Any) -> None:
    frame = table().head(2).astype(object)
    frame.at[0, column] = cell
    with pytest.raises(DataError, match=f"column '{column}' holds nested values"):
        splits.schema.encode_rows(frame)


def test_numbers_far_from_those_of_training_are_told_of(splits: Any) -> None:
    """Grams for kilograms are a number like any other; only its distance tells."""
    frame = table().head(3)
    assert splits.schema.encode_rows(frame).remarks == ()
    frame.loc[1:, "size"] *= [1000, 2000]
    found = splits.schema.encode_rows(frame).remarks
    assert len(found) == 1
    far = f"numbers in 2 row(s), such as {frame.loc[1, 'size']:g}, are over 100 standard deviations"
    assert far in found[0]

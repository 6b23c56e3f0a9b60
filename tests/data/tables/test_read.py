"""Table files as they lie on disk: encodings, separators, decimal marks, endings, odd rows and headings."""

from __future__ import annotations

import contextlib
import gzip
import re
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import ConfigError, DataError, MissingExtra
from netdial.data import TableOptions, load_data
from netdial.data.tables.columns.cells import read_cells
from netdial.data.tables.columns.number import Number
from netdial.data.tables.files.dialect import find_dialect
from netdial.data.tables.files.frame import Table
from netdial.data.tables.files.headings import unique_names
from netdial.data.tables.files.read import read_table
from netdial.data.tables.source import kept_as_file

pd = pytest.importorskip("pandas")

TEXT = "größe,farbe,y\n" + "".join(
    f"{i}.5,{'röt' if i % 3 else 'grün'},{'ja' if i % 2 else 'nein'}\n" for i in range(60)
)
SEMICOLONS = TEXT.replace(",", ";").replace(".5", ",5")
FORMS = {
    "utf8.csv": TEXT.encode(),
    "bom.csv": TEXT.encode("utf-8-sig"),
    "latin1.csv": TEXT.encode("latin-1"),
    "utf16.csv": TEXT.encode("utf-16"),
    "utf16be.csv": TEXT.encode("utf-16-be"),
    "semicolons.csv": SEMICOLONS.encode(),
    "semicolons1252.csv": SEMICOLONS.encode("cp1252"),
    "tabs.tsv": TEXT.replace(",", "\t").encode(),
    "tabs.csv": TEXT.replace(",", "\t").encode(),
    "bars.csv": TEXT.replace(",", "|").encode(),
    "spaces.csv": TEXT.replace(",", " ").encode(),
    "blanks.csv": TEXT.replace(",", ", ").encode(),
    "crlf.csv": TEXT.replace("\n", "\r\n").encode(),
    "zipped.csv.gz": gzip.compress(TEXT.encode()),
    "zipped.tsv.gz": gzip.compress(TEXT.replace(",", "\t").encode()),
    "UPPER.CSV": TEXT.encode(),
    "ends.csv": "\n".join(
        line + "," if i else line for i, line in enumerate(TEXT.splitlines())
    ).encode(),
    "quotes.csv": re.sub(r"([^,\n]+)", r'"\1"', TEXT).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_all_forms_give_the_same_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FORMS[name])
    frame = read_table(tmp_path / name, TableOptions()).frame
    frame = frame.dropna(axis=1, how="all")
    assert list(frame.columns) == ["größe", "farbe", "y"]
    assert frame["größe"].to_numpy(dtype=float).tolist() == [i + 0.5 for i in range(60)]
    assert frame["farbe"].tolist() == ["röt" if i % 3 else "grün" for i in range(60)]


@pytest.mark.parametrize(
    ("content", "options", "columns"),
    [
        (b"a^b\n1^2\n3^4\n", {"sep": "^"}, ["a", "b"]),
        (b"a;b\n1,5;2\n", {"sep": "tab"}, ["a;b"]),
        ("ä,b\n1,2\n".encode("utf-16-le"), {"encoding": "utf-16-le"}, ["ä", "b"]),
    ],
)
def test_options_overrule(
    tmp_path: Path, content: bytes, options: dict, columns: list[str]
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert list(read_table(tmp_path / "t.csv", TableOptions(**options)).frame.columns) == columns


def test_row_names_as_r_writes_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"a","b"\n"r1",1,2\n"r2",3,4\n')
    table = read_table(tmp_path / "t.csv", TableOptions())
    assert table.frame["a"].tolist() == [1, 3] and table.frame["b"].tolist() == [2, 4]
    assert table.unnamed == {"Unnamed: 0"}


def test_rows_of_odd_length(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,2,3\n4,5\n6,7,8\n9\n")
    table = read_table(path, TableOptions())
    assert table.frame["c"].isna().tolist() == [False, True, False, True]
    assert any(remark.startswith("2 row(s) have fewer fields") for remark in table.remarks)
    path.write_text("a,b\n1,2\n1,2,3,4\n5,6\n5,6,7\n")
    with pytest.raises(DataError, match=r"comma: 2 row\(s\) have more fields than the 2.*row 1 "):
        read_table(path, TableOptions())


def test_headings(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(" x ,y,y,,y.1\n1,2,3,4,5\n6,7,8,9,10\n")
    table = read_table(path, TableOptions())
    assert list(table.frame.columns) == ["x", "y", "y.2", "Unnamed: 3", "y.1"]
    assert table.remarks == ("headings occur twice: 'y' is called 'y.2'",)


def test_headings_and_cells_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"size\n (cm)",y\n1,"a\n\nb"\n2,c\n')
    table = read_table(tmp_path / "t.csv", TableOptions())
    assert list(table.frame.columns) == ["size (cm)", "y"] and table.remarks == ()
    assert table.frame["y"].tolist() == ["a\n\nb", "c"]


@given(st.lists(st.sampled_from(["x", "y", "y.1", "", "Unnamed: 1"]), max_size=8))
def test_names_differ_and_new_ones_are_kept(given: list[str]) -> None:
    names = unique_names(given)
    assert len(set(names)) == len(given)
    assert all(not old or new.startswith(old) for old, new in zip(given, names, strict=True))
    first = {old: i for i, old in reversed(list(enumerate(given))) if old}
    assert all(names[i] == old for old, i in first.items() if not old.startswith("Unnamed"))


@pytest.mark.parametrize(
    ("rows", "decimal"),
    [
        ("1,5;2,5", ","),
        ("1.234,5;x", ","),
        ("1,234;5,678", "."),
        ("1.5;2.5", "."),
        ("1,5;2.5\n2,5;3.5\n0,5;1", ","),
        ("1,5;2.345", ","),  # 2.345 may be a thousand, 1,5 is none
        ("0,5 %;2.345", ","),
        ("2.345;764", "."),
    ],
)
def test_decimal_mark(rows: str, decimal: str) -> None:
    assert find_dialect(f"a;b\n{rows}\n", "t.csv", TableOptions()).decimal == decimal


@pytest.mark.parametrize(
    ("b", "how", "least"),
    [
        ('"2,563"', {}, 764),  # quoted, as English thousands are
        ('"2,563"', {"a": '"1,5"'}, 1.563),  # beside a decimal comma
        ("2.563", {"sep": ";"}, "may be 2563 .* or 2.563"),
        ("2.563", {"sep": ";", "thousands": "."}, 764),
        ("2.563", {"sep": ";", "decimal": "."}, 1.563),
        ("2.563 €", {"sep": ";"}, "may be 2563 .* or 2.563"),
        ("2,563 €", {"sep": ";"}, "may be 2563 .* or 2.563"),
        ("2.563", {"sep": ";", "a": "0,5"}, 764),
        ("2.563", {}, 1.563),
    ],
)
def test_thousands_beside_small_numbers_are_no_guess(
    tmp_path: Path, b: str, how: dict[str, str], least: float | str
) -> None:
    """In 2.563, 3.563, 1.563 and 764, all from a thousand on have a mark, and no other has: they are no fractions."""
    a, sep = how.pop("a", "5"), how.pop("sep", ",")
    small = "764 €" if "€" in b else "764"
    cells = [b, b.replace("2", "3", 1), b.replace("2", "1", 1), small] * 10
    lines = [f"{a}{sep}{cell}{sep}{'uv'[i % 2]}" for i, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text(f"a{sep}b{sep}y\n" + "\n".join(lines), encoding="utf-8")
    options: Any = {**how, "keep": "a"}
    if isinstance(least, str):
        with pytest.raises(DataError, match=least):
            load_data(str(tmp_path / "t.csv"), target="y", **options)
        return
    splits = load_data(str(tmp_path / "t.csv"), target="y", **options)
    assert splits.schema is not None
    column = splits.schema.inputs[-1]
    assert isinstance(column, Number)
    found = splits.train.x[:, -1] * column.std + column.mean
    assert found.min().item() == pytest.approx(least, rel=1e-3)


def test_fractions_below_one_are_no_thousands_and_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most numbers of three places are no thousands: a second reading of them would take twice as long."""
    read, often = pd.read_csv, []
    monkeypatch.setattr(pd, "read_csv", lambda *a, **k: often.append(1) or read(*a, **k))
    rows = "".join(f"{k};{k / 8:.3f};no\n" for k in range(9))
    (tmp_path / "t.csv").write_text("n;a;y\n" + rows)
    frame = read_table(tmp_path / "t.csv", TableOptions()).frame
    assert frame["a"].tolist() == [k / 8 for k in range(9)] and len(often) == 1


def test_only_empty_cells_and_the_own_list_are_missing(tmp_path: Path) -> None:
    words = ["NA", "None", "null", "nan", "", "N/A", "-"]
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{word},x\n" for word in words))
    frame = read_table(tmp_path / "t.csv", TableOptions()).frame
    assert frame["a"].isna().tolist() == [word == "" for word in words]
    frame = read_table(tmp_path / "t.csv", TableOptions(na=("-", "NA"))).frame
    assert frame["a"].isna().tolist() == [word in ("", "-", "NA") for word in words]


def test_excel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openpyxl")
    path = tmp_path / "t.xlsx"
    first = pd.DataFrame({"a": [1, 2, 3], "b": ["NA", None, "x"]})
    with pd.ExcelWriter(path) as book:
        first.to_excel(book, sheet_name="one", index=False)
        (first * 2).to_excel(book, sheet_name="two")
    frame = read_table(path, TableOptions()).frame
    assert frame["a"].tolist() == [1, 2, 3] and frame["b"].isna().tolist() == [False, True, False]
    said = "sheet 'one' is read (--sheet); others are 'two'"
    assert read_table(path, TableOptions()).remarks == (said,)
    table = read_table(path, TableOptions(sheet="two"))
    assert not table.remarks
    assert table.frame["a"].tolist() == [2, 4, 6] and table.unnamed == {"Unnamed: 0"}
    with pytest.raises(ConfigError, match=r"unknown sheet of t\.xlsx 'tow'; did you mean 'two'"):
        read_table(path, TableOptions(sheet="tow"))
    with pytest.raises(ConfigError, match="no sep to choose"):
        read_table(path, TableOptions(sep=";"))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="damaged, or not a table"):
        read_table(path, TableOptions())
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(MissingExtra, match=r"pip install 'netdial\[excel\]'"):
        read_table(path, TableOptions())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"\n\n", "is empty"),
        ("t.csv", b"a,b\n\0\0\0\1\2", "binary data"),
        ("t.csv.gz", b"no gzip", "damaged"),
        ("t.csv.gz", gzip.compress(TEXT.encode())[:-20], "damaged"),
        ("t.csv", b'a,b\n1,"2\n', "damaged"),
        ("t.parquet", b"PAR1" + bytes(50) + b"PAR1", "damaged"),
        ("t.xlsx", b"PK\3\4", "damaged"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / name, TableOptions())


def test_wrong_encoding_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(DataError, match=r"not in the encoding utf-8 .*--encoding"):
        read_table(tmp_path / "t.csv", TableOptions(encoding="utf-8"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sep": ";;"}, "one character"),
        ({"encoding": "utf-9"}, "no such text encoding"),
        ({"encoding": "zip"}, "no such text encoding"),
        ({"decimal": ",", "thousands": ","}, "both"),
        ({"group_column": "a", "time_column": "b"}, "exclude each other"),
        ({"drop": ("a",), "keep": ("a", "b")}, "'a'"),
    ],
)
def test_options_that_cannot_be(options: dict, words: str) -> None:
    from netdial.data.tables.options import table_options

    with pytest.raises(ConfigError, match=words):
        table_options(options)


def test_mutated_parquet_raises_only_our_errors(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("pyarrow")
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": random.normal(size=30), "b": ["x", "y", None] * 10})
    frame.to_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            content[place] ^= 1 << int(random.integers(0, 8))
        (tmp_path / "t.parquet").write_bytes(content)
        with contextlib.suppress(DataError):
            read_table(tmp_path / "t.parquet", TableOptions())


def test_excel_with_empty_rows_above_and_spans_of_time(tmp_path: Path) -> None:
    openpyxl, path = pytest.importorskip("openpyxl"), tmp_path / "t.xlsx"
    book = openpyxl.Workbook()
    for row in ([], [], ["a", "span"], [1, timedelta(hours=30)], [2, time(1, 0, 5)]):
        book.active.append(row)
    book.active["B4"].number_format = "[h]:mm:ss"
    book.save(path)
    frame = read_table(path, TableOptions()).frame
    assert frame["a"].tolist() == [1, 2]
    cells, _ = read_cells(frame["span"], "span", Table(frame), TableOptions())
    assert cells.kind == "number" and cells.values.tolist() == [108_000, 3605]


def test_texts_of_a_workbook_stay_texts(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    given = pd.DataFrame({"code": ["01", "10", "007"], "n": [1, 2, 3], "x": [0.5, None, 2.0]})
    given.to_excel(tmp_path / "t.xlsx", index=False)
    frame = read_table(tmp_path / "t.xlsx", TableOptions()).frame
    assert frame["code"].tolist() == ["01", "10", "007"] and frame["n"].tolist() == [1, 2, 3]
    cells, _ = read_cells(frame["x"], "x", Table(frame), TableOptions())
    assert cells.kind == "number" and cells.missing.tolist() == [False, True, False]


def test_parquet_with_an_index_and_a_name_twice(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "who": ["a", "b", "c"]})
    frame[::-1].to_parquet(tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet", TableOptions()).frame.columns) == ["x", "who"]
    frame.set_index("who").to_parquet(tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet", TableOptions()).frame.columns) == ["x", "who"]
    pq.write_table(
        pa.table([[1, 2], [3, 4], [5, 6]], names=["x", "x", "y"]), tmp_path / "t.parquet"
    )
    table = read_table(tmp_path / "t.parquet", TableOptions())
    assert table.frame["x.1"].tolist() == [3, 4]
    assert table.remarks == ("headings occur twice: 'x' is called 'x.1'",)


def test_a_frame_whose_columns_are_of_another_type_is_kept_as_another_file(tmp_path: Path) -> None:
    """Codes as categories hash as numbers do, and are read as texts."""
    codes = pd.DataFrame({"code": [1, 2, 1, 2], "y": [0, 1, 0, 1]})
    names = {
        kept_as_file(frame, tmp_path)
        for frame in (codes, codes.astype({"code": "category"}), codes.astype({"y": bool}))
    }
    assert len(names) == 3
    assert kept_as_file(codes.copy(), tmp_path) in names

"""Tables as other programs export them: what is read of each, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from netdial.core.errors import DataError
from netdial.data import Splits, load_data

pd = pytest.importorskip("pandas")

N = 90
RANDOM = np.random.default_rng(0)
AGE = RANDOM.integers(18, 90, N)
PAY = RANDOM.normal(3000, 800, N).round(2)
TOWN = np.array(["Ulm", "Bad Ems", "Lima"])[np.arange(N) % 3]
Y = np.array(["no", "yes"])[np.arange(N) % 2]
SHUFFLED = RANDOM.permutation(N)


def written(
    folder: Path, head: str, row: Callable[[int], str], order: Sequence[int] = range(N)
) -> Path:
    path = folder / "t.csv"
    path.write_text("\n".join([head, *map(row, order)]) + "\n", encoding="utf-8")
    return path


def plain_row(i: int) -> str:
    return f"{AGE[i]},{PAY[i]},{TOWN[i]},{Y[i]}"


def plain(folder: Path) -> Splits:
    return load_data(written(folder, "age,pay,town,y", plain_row), target="y")


def said(splits: Splits) -> str:
    return " ".join([*splits.source["notes"], *splits.source["left_out"].values()])


@pytest.mark.parametrize("hint", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_separator_that_excel_writes_above_the_headings(tmp_path: Path, hint: str) -> None:
    path = written(tmp_path, f"{hint}\nage;pay;town;y", lambda i: plain_row(i).replace(",", ";"))
    splits = load_data(path, target="y")
    assert torch.equal(splits.train.x, plain(tmp_path).train.x)


def test_row_numbers_that_were_saved_twice(tmp_path: Path) -> None:
    """A shuffled frame, written with its index, read and written again: both are row numbers, and none is an input."""
    head = ",Unnamed: 0,age,pay,town,y"
    path = written(tmp_path, head, lambda i: f"{i},{SHUFFLED[i]},{plain_row(i)}")
    splits = load_data(path, target="y")
    assert torch.equal(splits.train.x, plain(tmp_path).train.x)
    assert set(splits.source["left_out"]) == {"Unnamed: 0.1", "Unnamed: 0"}


def test_merged_cells_are_told_of(tmp_path: Path) -> None:
    """Only the first row of a block of merged cells holds its text."""
    order = sorted(range(N), key=lambda i: TOWN[i])
    first = {order[0], *(j for i, j in pairwise(order) if TOWN[i] != TOWN[j])}
    head = "town,age,y"
    path = written(
        tmp_path, head, lambda i: f"{TOWN[i] if i in first else ''},{AGE[i]},{Y[i]}", order
    )
    assert "town: each of its values stands once, before" in said(load_data(path, target="y"))
    path = written(tmp_path, head, lambda i: f"{'' if i % 9 else TOWN[i]},{AGE[i]},{Y[i]}")
    assert "each of its values stands once" not in said(load_data(path, target="y"))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (("0", "5%", "12.5%"), "such as '0' and '5%'"),
        (("$5", "€5", "$7.5"), "such as '$5' and '€5'"),
        (("5.5", '"5,5"', "7.5"), "such as '5.5' and '5,5'"),
        (("5 °C", "7 °C", "7.5 °C"), "'°C' behind them"),
        (("5%", "7%", "high"), ""),
    ],
)
def test_numbers_that_stay_texts_are_told_of(
    tmp_path: Path, cells: tuple[str, ...], words: str
) -> None:
    path = written(tmp_path, "a,age,y", lambda i: f"{cells[i % 3]},{AGE[i]},{Y[i]}")
    found = said(load_data(path, target="y"))
    assert words in found and bool(words) == ("read as texts" in found)


def test_texts_among_numbers_of_excel_are_read_by_themselves() -> None:
    """Where some cells of a column were typed as texts, those that are numbers say nothing of the decimal mark."""
    frame = pd.DataFrame({"age": AGE, "pay": PAY.astype(object), "y": Y})
    plain = load_data(frame, target="y")
    frame.loc[::4, "pay"] = [f"{pay:.2f}".replace(".", ",") for pay in PAY[::4]]
    frame.loc[1::4, "pay"] = [f"{pay:.2f}".replace(".", ",") + " €" for pay in PAY[1::4]]
    assert "pay" in load_data(frame, target="y").source["left_out"]  # with a mark and without
    frame.loc[1::4, "pay"] = PAY[1::4]
    splits = load_data(frame, target="y")
    assert torch.equal(splits.train.x, plain.train.x)
    assert splits.schema is not None
    assert torch.equal(splits.schema.encode_rows(frame).x[splits.rows["train"]], plain.train.x)


def test_texts_of_a_frame_may_need_a_word_on_how_they_are_written(tmp_path: Path) -> None:
    """The message names an option, which frames and Parquet take, too: their texts are as those of a file."""
    frame = pd.DataFrame({"age": AGE, "pay": [f"{pay // 1:,.0f}" for pay in PAY], "y": Y})
    frame = frame[PAY > 1000]
    frame.to_parquet(tmp_path / "t.parquet")
    for given in (frame, tmp_path / "t.parquet"):
        with pytest.raises(DataError, match=r"go on with.*in Python thousands=','"):
            load_data(given, target="y")
        splits = load_data(given, target="y", thousands=",")
        assert splits.schema is not None
        assert splits.schema.inputs[1].read(frame["pay"], ()).min() > 1000


@pytest.mark.parametrize("stored", [True, False])
def test_a_date_that_means_none_is_told_of(tmp_path: Path, stored: bool) -> None:
    """Data bases write 9999-12-31 for "never"; beside it, all other days are alike."""
    days = pd.Series(pd.date_range("2019-12-01", periods=N)).astype("datetime64[s]")
    days[::7] = pd.Timestamp("9999-12-31 23:59:59").as_unit("s")
    frame = pd.DataFrame({"age": AGE, "until": days if stored else days.astype(str), "y": Y})
    whole = load_data(frame, target="y")
    assert "until: 9999-12-31 in " in said(whole) and "--na=9999-12-31 reads it so" in said(whole)
    splits = load_data(frame, target="y", na="9999-12-31")
    gone = load_data(frame.assign(until=days.where(days.dt.year < 9999)), target="y")
    assert torch.equal(splits.train.x, gone.train.x) and "9999" not in said(splits)
    assert splits.schema is not None
    assert torch.equal(splits.schema.encode_rows(frame).x[splits.rows["train"]], gone.train.x)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (("5 kg", "6 kg", "7 kg"), "all are numbers with 'kg' behind them"),
        (("5%", "6", "7"), "numbers written in different ways"),
        (("2020-01-01", "2020-01-02", "2020-01-03"), "dates are read as classes"),
    ],
)
def test_classes_that_look_like_numbers_are_told_of(cells: tuple[str, ...], words: str) -> None:
    frame = pd.DataFrame({"age": AGE, "y": np.array(cells)[np.arange(N) % 3]})
    assert f"y: {words}" in said(load_data(frame, target="y"))
    assert words not in said(load_data(frame, target="y", kind="classification"))


def test_targets_that_look_like_numbers_are_named_where_classes_are_rare() -> None:
    frame = pd.DataFrame({"age": AGE, "y": [f"{i} kg" for i in range(N)]})
    with pytest.raises(DataError, match=r"all are numbers with 'kg' behind.*; as classes, class"):
        load_data(frame, target="y")


def test_units_below_the_headings(tmp_path: Path) -> None:
    """One text makes classes of the numbers of a target: that text is named, not the classes."""
    path = written(tmp_path, "age,pay\nyears,EUR", lambda i: f"{AGE[i]},{PAY[i]}")
    with pytest.raises(DataError, match=r"only 'EUR' is no number.*--na EUR --drop-missing-target"):
        load_data(path, target="pay")
    with pytest.raises(DataError, match=r"pay, which holds 'EUR'; --na EUR --drop-missing-target"):
        load_data(path, target="pay", kind="regression")
    splits = load_data(path, target="pay", na=("EUR", "years"), drop_missing_target=True)
    assert splits.kind == "regression" and sum(len(part) for part in splits.rows.values()) == N


def test_a_line_of_blanks_is_no_row(tmp_path: Path) -> None:
    path = written(tmp_path, "age,pay,town,y", plain_row)
    path.write_text(path.read_text() + "\n   \n")
    splits = load_data(path, target="y")
    assert torch.equal(splits.train.x, plain(tmp_path).train.x)
    assert "fewer fields" not in said(splits)


@pytest.mark.parametrize("other", ["Bad\u00a0Ems", "Bad  Ems", "Lïma", "Li\u0308ma"])
def test_texts_that_look_alike_are_one(other: str) -> None:
    """A blank that does not break, and an accent that is a character of its own, as macOS writes it."""
    town = np.where(TOWN == "Lima", "Lïma", TOWN)
    frame = pd.DataFrame({"age": AGE, "town": town, "y": town})
    schema = load_data(frame, target="y", keep=("town",)).schema
    assert schema is not None
    known = "Bad Ems" if other[0] == "B" else "Lïma"
    new, old = (pd.DataFrame({"age": [30], "town": [name], "y": [name]}) for name in (other, known))
    assert torch.equal(schema.encode_rows(new).x, schema.encode_rows(old).x)
    assert torch.equal(schema.encode_target(new), schema.encode_target(old))
    assert not schema.encode_rows(new).remarks
    both = frame.assign(
        y=np.where(np.arange(N) % 6 < 3, town, np.where(town == known, other, town))
    )
    if other != known:
        assert "are different classes; write them alike" in said(load_data(both, target="y"))


def test_names_that_differ_in_capital_letters_are_told_of(tmp_path: Path) -> None:
    town = np.where(np.arange(N) % 4 == 0, np.char.upper(TOWN), TOWN)
    path = written(tmp_path, "age,town,y", lambda i: f"{AGE[i]},{town[i]},{Y[i]}")
    assert "town: 'BAD EMS' and 'Bad Ems', 'LIMA' and 'Lima'" in said(load_data(path, target="y"))
    grouped = said(load_data(path, target="y", group_column="town"))
    assert "are different groups; write them alike if they are one" in grouped
    assert "are different" not in said(plain(tmp_path))


def test_a_target_in_other_letters_is_offered(tmp_path: Path) -> None:
    path = written(tmp_path, "age,Y", lambda i: f"{AGE[i]},{Y[i]}")
    with pytest.raises(DataError, match="no column 'y' for the target; did you mean 'Y'"):
        load_data(path, target="y")


def test_the_time_that_is_none_is_named(tmp_path: Path) -> None:
    times = ["soon", *pd.date_range("2020-01-01", periods=N - 1).astype(str)]
    path = written(
        tmp_path, "age,t,y", lambda i: f"{AGE[i]},{times[i]},{Y[i]}", range(N - 1, -1, -1)
    )
    with pytest.raises(DataError, match="time column 't' holds 'soon', which is not a date"):
        load_data(path, target="y", time_column="t")


def test_a_thousand_texts_are_no_inputs() -> None:
    """Each text is an input: a column of 1,100 towns would be most of a network, and of 30,000 fill the memory."""
    town = np.array([f"town {i}" for i in range(1100)])[np.arange(6000) % 1100]
    frame = pd.DataFrame(
        {"town": town, "age": RANDOM.normal(size=6000), "y": RANDOM.normal(size=6000)}
    )
    splits = load_data(frame, target="y")
    assert splits.train.x.shape[1] == 1
    assert "different texts, each of which would be an input (--keep town" in said(splits)
    assert load_data(frame, target="y", keep=("town",)).train.x.shape[1] > 1000


@pytest.mark.parametrize("gaps", [False, True])
def test_codes_of_more_digits_than_a_number_keeps_are_told_of(tmp_path: Path, gaps: bool) -> None:
    """As floats, neighbours among them are one number; measured numbers of that size are written with an exponent."""
    account = [2**60 + i // 2 for i in range(N)]
    row = lambda i: f"{'' if gaps and i % 9 == 0 else account[i]},{AGE[i]},{Y[i]}"  # noqa: E731
    splits = load_data(written(tmp_path, "account,age,y", row), target="y")
    first = account[1] if gaps else account[0]
    assert ("account" in splits.source["left_out"]) != gaps  # a constant, but for the gaps
    assert f"{first} has more digits than a number keeps; if such are" in said(splits)
    path = written(tmp_path, "mass,age,y", lambda i: f"{PAY[i]}e27,{AGE[i]},{Y[i]}")
    assert "more digits" not in said(load_data(path, target="y"))


def test_new_rows_with_a_heading_twice_are_refused_where_it_matters(tmp_path: Path) -> None:
    """Which of two columns called age is meant, nothing tells; the same one twice is no matter."""
    schema = plain(tmp_path).schema
    assert schema is not None
    frame = pd.DataFrame({"age": AGE, "pay": PAY, "town": TOWN})
    path = written(tmp_path, "age,age,pay,town,y", lambda i: f"9,{plain_row(i)}")
    with pytest.raises(DataError, match="heading 'age' occurs more than once, with other"):
        schema.read_file(path)
    with pytest.raises(DataError, match="heading 'age' occurs more than once, with other"):
        schema.encode_rows(pd.concat([frame, frame[["age"]] + 1], axis=1))
    copy = pd.concat([frame, frame[["age"]]], axis=1)
    assert torch.equal(schema.encode_rows(copy).x, schema.encode_rows(frame).x)
    unused = pd.concat([frame, frame.set_axis(["z"] * 3, axis=1)], axis=1)
    assert torch.equal(schema.encode_rows(unused).x, schema.encode_rows(frame).x)


def test_dates_that_seem_to_have_the_day_first_are_told_of_where_training_had_the_month() -> None:
    days = pd.Series(pd.date_range("2020-01-01", periods=N))
    frame = pd.DataFrame({"when": days.dt.strftime("%m/%d/%Y"), "age": AGE, "y": Y})
    schema = load_data(frame, target="y").schema
    assert schema is not None
    assert not schema.encode_rows(frame).remarks
    german = pd.DataFrame({"when": ["01.12.2020"], "age": [30]})
    (told,) = schema.encode_rows(german).remarks
    assert "'01.12.2020' is read month-first, as dates of training; write it as" in told

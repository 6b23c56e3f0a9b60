"""Parts of a table by a column, by groups, by time and from files: nothing leaks from one to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import ConfigError, DataError
from netdial.data import Splits, load_data
from netdial.data.tables.parts import split_by_group, split_by_time

pd = pytest.importorskip("pandas")
SHARES = {"valid": 0.2, "test": 0.2, "where": "data"}


@given(
    sizes=st.lists(st.integers(1, 12), min_size=5, max_size=40),
    seed=st.integers(0, 1000),
    shares=st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4)),
)
def test_groups_stay_together(sizes: list[int], seed: int, shares: tuple[float, float]) -> None:
    groups = np.repeat([f"g{i}" for i in range(len(sizes))], sizes).astype(object)
    valid, test = shares
    parts = split_by_group(
        groups, "g", valid=valid, test=test, seed=seed, labels=None, where="data"
    )
    rows = torch.cat(list(parts.values())).sort().values
    assert torch.equal(rows, torch.arange(len(groups)))
    found = {part: set(groups[index.numpy()]) for part, index in parts.items()}
    assert all(found.values())
    assert not (
        found["train"] & found["valid"]
        or found["train"] & found["test"]
        or found["valid"] & found["test"]
    )
    again = split_by_group(
        groups, "g", valid=valid, test=test, seed=seed, labels=None, where="data"
    )
    assert all(torch.equal(parts[part], again[part]) for part in parts)


def test_groups_keep_sizes_and_classes() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat([f"g{i}" for i in range(60)], 10).astype(object)
    labels = torch.from_numpy(np.repeat(random.integers(0, 3, 60), 10))
    parts = split_by_group(groups, "g", seed=0, labels=labels, **SHARES)
    assert [len(parts[p]) for p in ("train", "valid", "test")] == [360, 120, 120]
    whole = torch.bincount(labels) / len(labels)
    for rows in parts.values():
        share = torch.bincount(labels[rows], minlength=3) / len(rows)
        assert (share - whole).abs().max() < 0.12


@given(
    times=st.lists(st.integers(0, 30), min_size=8, max_size=80).filter(lambda t: len(set(t)) > 2),
    shares=st.tuples(st.floats(0.15, 0.35), st.floats(0.15, 0.35)),
)
def test_training_comes_before_validation_before_test(
    times: list[int], shares: tuple[float, float]
) -> None:
    values = np.asarray(times, dtype=float)
    valid, test = shares
    parts = split_by_time(values, "t", valid=valid, test=test, where="data")
    rows = torch.cat(list(parts.values())).sort().values
    assert torch.equal(rows, torch.arange(len(times)))
    train, after, last = (values[parts[p].numpy()] for p in ("train", "valid", "test"))
    assert train.max() < after.min() and after.max() < last.min()


def test_time_in_the_proportions_asked_for() -> None:
    values = np.random.default_rng(0).permutation(100).astype(float)
    parts = split_by_time(values, "t", **SHARES)
    assert [len(parts[p]) for p in ("train", "valid", "test")] == [60, 20, 20]
    assert sorted(values[parts["test"].numpy()]) == list(range(80, 100))
    parts = split_by_time(values, "t", valid=0.3, test=0.0, where="data")
    assert [len(parts[p]) for p in ("train", "valid", "test")] == [70, 30, 0]


def test_too_few_times() -> None:
    with pytest.raises(DataError, match=r"2 different time\(s\) in 't' cannot be divided into 3"):
        split_by_time(np.array([1.0, 1.0, 2.0, 2.0]), "t", **SHARES)
    with pytest.raises(DataError, match="'t' is empty in row 1"):
        split_by_time(np.array([1.0, np.nan, 2.0, 2.0]), "t", **SHARES)


def frame(n: int = 60) -> Any:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "x": random.normal(size=n).round(4),
            "town": random.choice(["Perm", "Tula"], n),
            "who": [f"p{i % 12}" for i in range(n)],
            "day": pd.date_range("2020-01-01", periods=n).astype(str)[random.permutation(n)],
            "part": random.choice(["train", "Training", "val", "test"], n, p=[0.4, 0.2, 0.2, 0.2]),
            "y": np.array(["no", "yes"])[np.arange(n) % 2],
        }
    )


def read(tmp_path: Path, table: Any = None, **options: Any) -> Splits:
    (frame() if table is None else table).to_csv(tmp_path / "t.csv", index=False)
    return load_data(str(tmp_path / "t.csv"), target="y", **options)


def test_a_column_of_parts(tmp_path: Path) -> None:
    splits = read(tmp_path, split_column="part")
    meaning = {"train": ("train", "Training"), "valid": ("val",), "test": ("test",)}
    for part, words in meaning.items():
        want = np.flatnonzero(frame()["part"].isin(words))
        assert splits.rows[part].tolist() == want.tolist()
    assert "part" in splits.source["left_out"]
    table = frame().replace({"val": "train"})
    splits = read(tmp_path, table, split_column="part", valid=0.25)
    test = np.flatnonzero(table["part"] == "test")
    assert splits.rows["test"].tolist() == test.tolist()
    assert len(splits.valid) == round(0.25 * (60 - len(test)))
    with pytest.raises(DataError, match="'part' holds 'later' in row"):
        read(tmp_path, frame().replace({"val": "later"}), split_column="part")


def test_a_part_named_twice(tmp_path: Path) -> None:
    frame().iloc[40:50].to_csv(tmp_path / "v.csv", index=False)
    own = {"split_column": "part", "valid": str(tmp_path / "v.csv")}
    with pytest.raises(DataError, match=r"puts \d+ row\(s\) into the part 'valid', and v.csv is"):
        read(tmp_path, **own)
    splits = read(tmp_path, frame().replace({"val": "train"}), **own)
    assert len(splits.valid) == 10 and len(splits.train) + len(splits.test) == 60


def test_groups_and_times_of_a_table(tmp_path: Path) -> None:
    who = frame()["who"].to_numpy()
    splits = read(tmp_path, group_column="who")
    parts = [set(who[rows.numpy()]) for rows in splits.rows.values()]
    assert sum(map(len, parts)) == 12 and len(set.union(*parts)) == 12
    assert "who" in splits.source["left_out"] and splits.source["split"]["group_column"] == "who"
    splits = read(tmp_path, time_column="day")
    day = frame()["day"].to_numpy()
    assert max(day[splits.rows["train"].numpy()]) < min(day[splits.rows["valid"].numpy()])
    assert max(day[splits.rows["valid"].numpy()]) < min(day[splits.rows["test"].numpy()])
    assert splits.schema is not None and "day" not in splits.schema.columns
    kept = read(tmp_path, time_column="day", keep="day").schema
    assert kept is not None and "day" in kept.columns


def test_files_of_their_own(tmp_path: Path) -> None:
    table = frame()
    table[40:50].to_csv(tmp_path / "v.csv", index=False)
    test = table[50:].copy()
    test.loc[55, "town"] = "Omsk"
    test.to_csv(tmp_path / "te.csv", index=False)
    options = {
        "valid": str(tmp_path / "v.csv"),
        "test": str(tmp_path / "te.csv"),
        "drop": ("who", "part"),
    }
    splits = read(tmp_path, table[:40], **options)
    assert [len(splits.part(p)) for p in ("train", "valid", "test")] == [40, 10, 10]
    x = table["x"].to_numpy()
    mean, std = x[:40].mean(), x[:40].std()
    assert splits.test.x[:, 0].tolist() == pytest.approx(((x[50:] - mean) / std).tolist(), abs=1e-5)
    assert [file["name"] for file in splits.source["files"]] == ["t.csv", "v.csv", "te.csv"]
    assert any(note.startswith("te.csv: column 'town': 'Omsk'") for note in splits.source["notes"])
    only_test = read(tmp_path, table[:40], **{**options, "valid": 0.25})
    assert [len(only_test.part(p)) for p in ("train", "valid", "test")] == [30, 10, 10]
    (tmp_path / "te.csv").write_text("x,town,day,y\n1,Perm,2020-01-01,perhaps\n")
    with pytest.raises(DataError, match=r"te\.csv.*'perhaps' in row 0"):
        read(tmp_path, table[:40], **options)
    (tmp_path / "te.csv").write_text("x,day,y\n1,2020-01-01,yes\n")
    with pytest.raises(DataError, match=r"te\.csv.*column 'town' is not in the table"):
        read(tmp_path, table[:40], **options)


def test_files_that_share_a_group_or_lie_before(tmp_path: Path) -> None:
    table = frame()
    table[50:].to_csv(tmp_path / "te.csv", index=False)
    with pytest.raises(DataError, match=r"group 'p.*' of 'who' is in both"):
        read(tmp_path, table[:50], test=str(tmp_path / "te.csv"), group_column="who")
    ordered = table.sort_values("day")
    ordered[:10].to_csv(tmp_path / "te.csv", index=False)
    with pytest.raises(DataError, match="rows of the test part lie before rows of the train part"):
        read(tmp_path, ordered[10:], test=str(tmp_path / "te.csv"), time_column="day")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"group_column": "whom"},
            ConfigError,
            "--group-column: no column 'whom'; did you mean 'who'",
        ),
        ({"group_column": "y"}, ConfigError, "'y' is the target"),
        ({"group_column": "who", "time_column": "day"}, ConfigError, "exclude each other"),
        ({"group_column": "town"}, DataError, r"2 group\(s\) in 'town' cannot be divided into 3"),
        ({"time_column": "town"}, DataError, "is not a date"),
        ({"time_column": "day", "valid": 0.6, "test": 0.6}, ConfigError, "valid=0.6"),
        ({"valid": "nowhere.csv"}, DataError, "nowhere.csv.*no such file"),
    ],
)
def test_what_cannot_be_divided(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read(tmp_path, **options)


def test_files_are_for_tables_only() -> None:
    with pytest.raises(ConfigError, match=r"part of its own .* is for tables"):
        load_data("wine", valid="v.csv")
    with pytest.raises(ConfigError, match="takes no sep"):
        load_data("wine", sep=";")


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d"])
def test_times_are_read_as_dates_of_inputs_are(tmp_path: Path, form: str) -> None:
    """Dates with the day first were refused, or put in the order of their days."""
    table = frame()
    table["day"] = pd.to_datetime(table["day"]).dt.strftime(form)
    splits = read(tmp_path, table, time_column="day")
    day = pd.to_datetime(frame()["day"]).to_numpy()
    assert max(day[splits.rows["train"].numpy()]) < min(day[splits.rows["valid"].numpy()])
    assert max(day[splits.rows["valid"].numpy()]) < min(day[splits.rows["test"].numpy()])


def test_times_of_which_day_and_month_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    table = frame()
    table["day"] = [f"{1 + i % 12:02}/{1 + i // 12:02}/2020" for i in range(60)]
    with pytest.raises(DataError, match=r"'day'.*--date-order"):
        read(tmp_path, table, time_column="day")
    splits = read(tmp_path, table, time_column="day", date_order="day-first")
    assert splits.rows["train"].tolist() == list(range(36))


def test_a_part_without_rows_says_how_to_get_some(tmp_path: Path) -> None:
    """It ended in a traceback."""
    for part in ("valid", "test"):
        with pytest.raises(DataError, match=f"{part} part: 0 row.*give {part} a share above 0"):
            read(tmp_path, **{part: 0})


def test_classes_that_a_part_lacks_are_told_of() -> None:
    """By time, the last class is in the test part alone: no network can learn it."""
    frame = pd.DataFrame(
        {"t": range(100), "x": np.arange(100) % 7, "y": ["a"] * 55 + ["b"] * 20 + ["c"] * 25}
    )
    notes = load_data(frame, target="y", time_column="t").source["notes"]
    assert "the train part has no row of class 'c': training says nothing of it" in notes
    assert any(note.startswith("the valid part has no row of class 'a'") for note in notes)
    assert any(note.startswith("the test part has no row of classes 'a', 'b'") for note in notes)
    assert not any("no row of class" in n for n in load_data(frame, target="y").source["notes"])

"""CSV and Parquet tables: encoding by the training part, kinds of targets, bad tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netdial.core.errors import ConfigError, DataError
from netdial.data import load_data
from netdial.train.class_weights import weights_by_class

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")


def frame(n: int = 60) -> Any:
    """A table with numbers, gaps, texts, truth values and three sorts of targets."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "size": rng.normal(10, 3, n),
            "age": rng.integers(1, 90, n).astype(float),
            "town": rng.choice(["Kazan", "Perm", "Tula"], n),
            "member": rng.integers(0, 2, n).astype(bool),
            "label": np.arange(n) % 3 + 1,
            "word": np.array(["no", "yes"])[np.arange(n) % 2],
            "price": rng.normal(100, 20, n),
        }
    )
    table.loc[[3, 7, 20], "age"] = np.nan
    table.loc[[5, 6], "town"] = None
    return table


def save(table: Any, path: Path) -> Path:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    return path


def columns(table: Any, target: str) -> Any:
    return table[["size", "age", "town", "member", target]]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_encoded_by_the_training_part_only(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    table = columns(frame(), "label")
    task = load_data(str(save(table, tmp_path / f"t{suffix}")), target="label")
    assert task.name == "t" and task.kind == "classification"
    assert task.classes == ("1", "2", "3") and task.train.x.shape == (36, 8)
    assert task.schema is not None
    assert task.schema.names == (
        *("size", "age", "age is missing", "town = Kazan", "town = Perm", "town = Tula"),
        *("town is missing", "member"),
    )
    train = table.iloc[task.rows["train"].numpy()]
    ages = train["age"].fillna(train["age"].median())
    for part in ("train", "valid", "test"):
        rows = table.iloc[task.rows[part].numpy()]
        x = task.part(part).x
        filled = rows["age"].fillna(train["age"].median())
        want = torch.tensor(((filled - ages.mean()) / ages.std(ddof=0)).to_numpy())
        assert torch.allclose(x[:, 1].double(), want, atol=1e-5)
        assert torch.equal(x[:, 2], torch.tensor(rows["age"].isna().to_numpy()).float())
        towns = rows["town"].to_numpy()
        onehot = torch.tensor([[float(t == v) for v in ("Kazan", "Perm", "Tula")] for t in towns])
        assert torch.equal(x[:, 3:6], onehot)
        assert torch.equal(x[:, 6], torch.tensor(rows["town"].isna().to_numpy()).float())
        assert torch.equal(task.part(part).y, torch.tensor(rows["label"].to_numpy()) - 1)
    encoding = {entry["column"]: entry for entry in task.source["encoding"]}
    assert math.isclose(encoding["age"]["fill"], train["age"].median())
    assert encoding["town"]["values"] == ["Kazan", "Perm", "Tula"]
    assert json.loads(json.dumps(task.source)) == task.source


def test_unseen_text_gives_zeros(tmp_path: Path) -> None:
    path = save(columns(frame(), "label"), tmp_path / "t.csv")
    rows = load_data(str(path), target="label").rows["test"].numpy()
    table = columns(frame(), "label")
    table.loc[rows, "town"] = "Omsk"
    task = load_data(str(save(table, path)), target="label")
    assert task.test.x.shape[1] == 8 and torch.equal(task.test.x[:, 3:7], torch.zeros(12, 4))
    assert any("'Omsk' in 12 row(s)" in note for note in task.source["notes"])


def test_kind_follows_the_target(tmp_path: Path) -> None:
    table = frame()
    table["many"] = np.arange(60)
    path = str(save(table, tmp_path / "t.csv"))
    assert load_data(path, target="word").classes == ("no", "yes")
    assert load_data(path, target="member").classes == ("False", "True")
    assert load_data(path, target="price").kind == "regression"
    assert load_data(path, target="many").kind == "regression"
    assert load_data(path, target="label").kind == "classification"
    assert load_data(path, target="label", kind="regression").n_outputs == 1


def test_regression_target_is_standardised(tmp_path: Path) -> None:
    table = columns(frame(), "price")
    task = load_data(str(save(table, tmp_path / "t.csv")), target="price")
    raw = torch.tensor(table["price"].to_numpy())
    train = raw[task.rows["train"]]
    assert math.isclose(task.source["target_mean"][0], train.mean().item(), rel_tol=1e-9)
    want = (raw[task.rows["test"]] - train.mean()) / train.std(correction=0)
    assert task.test.y.shape == (12, 1)
    assert torch.allclose(task.test.y[:, 0].double(), want, atol=1e-5)


def test_several_targets(tmp_path: Path) -> None:
    path = str(save(frame(), tmp_path / "t.csv"))
    task = load_data(path, target="price,size")
    assert task.kind == "regression" and task.n_outputs == 2
    assert task.source["targets"] == ["price", "size"]
    with pytest.raises(ConfigError, match=r"classification has one target column.*--drop"):
        load_data(path, target="price,size", kind="classification")
    with pytest.raises(DataError, match="named twice"):
        load_data(path, target="price,price")
    with pytest.raises(DataError, match=r"needs numbers in word.*one run for each.*--drop"):
        load_data(path, target="price,word")


def test_several_targets_of_0_and_1_are_said_to_be_numbers(tmp_path: Path) -> None:
    """They are labels as other libraries write them; that no probabilities come out was said nowhere."""
    table = frame()
    middle = table["price"].median()
    table["a"], table["b"] = table["price"] > middle, (table["price"] < middle).astype(int)
    found = load_data(str(save(table, tmp_path / "t.csv")), target="a,b").source["notes"]
    assert any("'a', 'b'" in note and "not as probabilities" in note for note in found)
    found = load_data(str(tmp_path / "t.csv"), target=["price", "b"]).source["notes"]
    assert not any("probabilities" in note for note in found)


def test_relative_path_in_the_data_folder(tmp_path: Path) -> None:
    save(frame(), tmp_path / "t.csv")
    assert load_data("t.csv", target="word", data_dir=tmp_path).n_outputs == 2


def test_unknown_target_offers_the_nearest(tmp_path: Path) -> None:
    path = str(save(frame(), tmp_path / "t.csv"))
    with pytest.raises(DataError, match="no column 'prize' for the target; did you mean 'price'"):
        load_data(path, target="prize")
    with pytest.raises(
        DataError, match=r"Give --target COLUMN, in Python target='COLUMN' \(columns: size, age"
    ):
        load_data(path)


def test_file_that_is_not_there_or_damaged(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="no such file"):
        load_data(str(tmp_path / "none.csv"), target="y")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 broken PAR1")
    with pytest.raises(DataError, match="damaged, or not a table"):
        load_data(str(tmp_path / "t.parquet"), target="y")
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n1,2,3,4\n")
    with pytest.raises(DataError, match="damaged, or not a table"):
        load_data(str(tmp_path / "t.csv"), target="b")
    (tmp_path / "t.csv").write_bytes(b"a,b\n\0\0\0\1\0\2\3,1\n")
    with pytest.raises(DataError, match="damaged, or not a table"):
        load_data(str(tmp_path / "t.csv"), target="b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("a,y\n", r"0 row\(s\) of data"),
        ("a,y\n1,2\n", r"1 row\(s\) of data"),
        ("a,y\n" + "1,no\n" * 9, "one class only"),
        ("y\n" + "no\nyes\n" * 9, "no column is left"),
        ("a,y\n" + "1,no\n2,yes\n" * 9 + "3,\n", r"target 'y' is missing in 1 row\(s\).*row 18"),
        (
            "a,y\n" + "1,2.5\n2,3.5\n" * 9 + "3,inf\n",
            r"target 'y' holds infinity in 1 row\(s\), first in row 18",
        ),
        ("a,y\n" + "1,no\n2,yes\n" * 9 + "inf,no\n", "column 'a' holds infinity"),
        ("a,y\n" + ",no\n,yes\n" * 9, "no column is left.*column 'a' is empty"),
        ("a,y\n" + "1,no\n2,yes\n" * 9 + "3,maybe\n", "class 'maybe' with 1 row"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_data(str(tmp_path / "t.csv"), target="y")


def test_columns_that_describe_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"who": [f"row {i}" for i in range(200)], "y": np.arange(200) % 2})
    with pytest.raises(DataError, match="column 'who' has 120 different texts in 120 training row"):
        load_data(str(save(table, tmp_path / "t.csv")), target="y")
    table["who"] = [[1, 2]] * 200
    with pytest.raises(DataError, match="column 'who' holds nested values"):
        load_data(str(save(table, tmp_path / "t.parquet")), target="y")


def test_regression_of_texts(tmp_path: Path) -> None:
    path = str(save(frame(), tmp_path / "t.csv"))
    with pytest.raises(DataError, match="regression needs numbers in word"):
        load_data(path, target="word", kind="regression")


def test_real_table(real_data: Path) -> None:
    if not (real_data / "covertype_15120.parquet").is_file():
        pytest.skip("no covertype_15120.parquet in NETDIAL_DATA")
    task = load_data("covertype_15120.parquet", target="Cover_Type", data_dir=real_data)
    assert task.train.x.shape == (9072, 51) and task.n_outputs == 7
    assert len(task.source["left_out"]) == 3  # rare soil types, absent from the training part
    assert task.test.y.bincount().tolist() == [432] * 7


def test_codes_that_begin_with_0_are_told(tmp_path: Path) -> None:
    """Read as numbers, postcodes say that one town is more than another."""
    (tmp_path / "t.csv").write_text("zip,y\n" + "01067,a\n80331,b\n20095,a\n10115,b\n" * 10)
    found = load_data(str(tmp_path / "t.csv"), target="y")
    assert any("'01067' begins with 0" in note for note in found.source["notes"])
    read = load_data(str(tmp_path / "t.csv"), target="y", categorical=("zip",))
    assert read.input_shape == (4,) and not any("begins" in n for n in read.source["notes"])
    classes = load_data(
        str(
            save(
                pd.DataFrame({"x": range(40), "y": ["01", "02", "10", "2"] * 10}),
                tmp_path / "c.csv",
            )
        ),
        target="y",
    )
    assert classes.schema is not None and classes.schema.target.classes == ("01", "02", "2", "10")
    (tmp_path / "u.csv").write_text("x,y\n" + "0,a\n0.5,b\n10,a\n-0.1,b\n" * 10)
    plain = load_data(str(tmp_path / "u.csv"), target="y")
    assert not any("begins" in note for note in plain.source["notes"])


def test_a_frame_is_read_as_the_parquet_file_of_it(tmp_path: Path) -> None:
    table = frame().astype({"word": "string", "town": "category"}).set_index("size")
    before = table.copy()
    held = load_data(table, target="label")
    pd.testing.assert_frame_equal(table, before)
    table.to_parquet(tmp_path / "people.parquet")
    read = load_data(tmp_path / "people.parquet", target="label")
    for part in ("train", "valid", "test"):
        one, two = getattr(held, part), getattr(read, part)
        assert torch.equal(one.x, two.x) and torch.equal(one.y, two.y)
    assert held.schema is not None and read.schema is not None
    assert held.schema.names == read.schema.names and held.classes == read.classes
    again = load_data(table, target="label").source["files"]
    changed = load_data(table.assign(age=1.0), target="label").source["files"]
    assert held.source["files"] == again != changed


def test_parts_of_a_frame_may_be_frames_and_pyarrow_tables_are_frames() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = frame()
    held = load_data(
        arrow.Table.from_pandas(table[:40]), target="price", valid=table[40:50], test=table[50:]
    )
    assert held.train.x.shape[0] == 40 and held.valid.x.shape[0] == held.test.x.shape[0] == 10
    mean, std = held.source["target_mean"][0], held.source["target_std"][0]
    wanted = torch.tensor(table.price[40:50].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(held.valid.y[:, 0] * std + mean, wanted)


def test_what_a_frame_cannot_be_is_said() -> None:
    with pytest.raises(ConfigError, match="sep"):
        load_data(frame(), target="label", sep=";")
    with pytest.raises(ConfigError, match=r"wine.*frame"):
        load_data("wine", valid=frame())
    with pytest.raises(ConfigError, match="Series"):
        load_data(frame()["age"], target="age")
    with pytest.raises(DataError, match="labell"):
        load_data(frame(), target="labell")


def test_names_with_a_comma_stand_in_double_quotes() -> None:
    """The message that a name is not there says so, and what it says works."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"service, quality": rng.normal(size=60), "b": rng.normal(size=60)})
    frame["t, 1"], frame["t2"] = rng.normal(size=60), rng.normal(size=60)
    with pytest.raises(ConfigError, match=r"""did you mean '"service, quality"'"""):
        load_data(frame, target="b", drop="service, quality")
    splits = load_data(frame, target='"t, 1",t2', drop='"service, quality"')
    assert splits.schema is not None
    assert splits.schema.target.columns == ("t, 1", "t2")
    assert splits.schema.columns == ("b",)
    assert weights_by_class('"c, d"=2,e=1') == {"c, d": 2.0, "e": 1.0}


def test_what_mends_a_class_with_a_comma_mends_it() -> None:
    frame = pd.DataFrame({"x": np.arange(60) * 0.1, "y": ["a", "b"] * 29 + ["c, d", "c, d"]})
    with pytest.raises(DataError, match="""go on with --na '"c, d"' --drop-missing-target"""):
        load_data(frame, target="y")
    assert load_data(frame, target="y", na='"c, d"', drop_missing_target=True).classes == ("a", "b")

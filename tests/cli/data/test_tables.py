"""Tables on the command line: what is said of each column, what is stored, and that later commands read them alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ..conftest import Call

pd = pytest.importorskip("pandas")
QUICK = ("--model", "linear", "--epochs", "1", "--points", "2", "--samples", "0")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table as a spreadsheet of a country with decimal commas saves it."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.arange(80) + 17,
            "größe": random.normal(10, 3, 80).round(2),
            "farbe": random.choice(["rot", "grün", "NA", ""], 80),
            "alter": random.choice(["NA", "12", "40"], 80),
            "tag": pd.date_range("2020-01-01", periods=80).strftime("%d.%m.%Y"),
            "ziel": np.array(["ja", "nein"])[np.arange(80) % 2],
        }
    )
    frame.loc[7, "ziel"] = None
    path = tmp_path / "liste.csv"
    frame.to_csv(path, sep=";", decimal=",", index=False, encoding="cp1252")
    return path


def test_what_is_said_and_stored(call: Call, table: Path) -> None:
    said = call("fit", "liste.csv", "--target", "ziel", *QUICK)
    assert said.code == 2 and said.line.endswith(
        "go on with --drop-missing-target, in Python drop_missing_target=True"
    )
    said = call("fit", "liste.csv", "--target", "ziel", "--drop-missing-target", *QUICK)
    assert said.code == 0
    lines = {
        words[0]: words[1:] for words in map(str.split, said.err.splitlines()) if len(words) > 1
    }
    assert lines["größe"][0] == "number" and lines["farbe"][:6] == [
        "category",
        "3",
        "texts:",
        "NA,",
        "grün,",
        "rot;",
    ]
    assert (
        lines["tag"][0] == "date"
        and lines["ziel"][0] == "target"
        and lines["id"][:2] == ["left", "out"]
    )
    for fact in ("semicolon", "decimal comma", "cp1252", "'NA' in", "1 row(s) without a target"):
        assert fact in said.err
    assert "columns left out: id" in said.out
    stored = json.loads(Path("runs/liste/config.json").read_text())["load"]
    assert stored == {"target": "ziel", "drop_missing_target": True}
    source = json.loads(Path("runs/liste/splits.json").read_text())["source"]
    assert {c["column"]: c["read as"] for c in source["columns"]} == {
        **{
            "ziel": "target",
            "größe": "number",
            "farbe": "category",
            "alter": "number",
            "tag": "date",
        },
        "id": "left out",
    }
    said = call("fit", "liste.csv", "--resume", "--json", "-q")
    assert json.loads(said.out)["columns"] == source["columns"]
    assert call("evaluate", "liste").code == 0
    assert call("export", "liste", "--lam", "1").code == 0


def test_options_are_stored_and_used_again(call: Call, table: Path) -> None:
    frame = pd.read_csv(table, sep=";", decimal=",", encoding="cp1252", keep_default_na=False)
    frame[60:].to_csv("test.csv", sep=";", decimal=",", index=False)
    frame[:60][frame["ziel"][:60] != ""].to_csv("train.csv", sep=";", decimal=",", index=False)
    args = [
        "--target",
        "ziel",
        "--drop",
        "tag,farbe",
        "--na",
        "NA,12",
        "--keep",
        "id",
        "--sep",
        ";",
        "--decimal",
        ",",
    ]
    args += ["--test", "test.csv", "--valid", "0.25", "--name", "own"]
    said = call("fit", "train.csv", *args, *QUICK)
    assert said.code == 0, said.err
    config = json.loads(Path("runs/own/config.json").read_text())
    assert config["load"] == {
        **{"target": "ziel", "drop": ["tag", "farbe"], "na": ["NA", "12"], "keep": ["id"]},
        **{"sep": ";", "decimal": ",", "test": "test.csv", "valid": 0.25},
    }
    assert (config["n_test"], config["input_shape"]) == (20, [4])
    assert set(config["files"]) == {"train.csv", "test.csv"}
    assert call("evaluate", "own", "--split", "test").code == 0
    said = call("fit", "train.csv", *args, "--resume", *QUICK)
    assert said.code == 0 and "done already" in said.err
    said = call("fit", "train.csv", "--name", "own", "--drop", "tag", "--resume")
    assert said.code == 2 and 'load.drop: ["tag", "farbe"] -> ["tag"]' in said.line
    Path("test.csv").write_text(Path("test.csv").read_text().replace("nein", "ja", 1))
    said = call("evaluate", "own")
    assert said.code == 2 and "test.csv" in said.line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--sep", ";;"], ["sep=';;'", "one character"]),
        (["--encoding", "utf-9"], ["utf-9", "cp1252"]),
        (["--decimal", "x"], ["decimal='x'", "'.' or ','"]),
        (["--drop", "farb"], ["--drop", "'farb'", "did you mean 'farbe'?"]),
        (["--group-column", "a", "--time-column", "b"], ["exclude each other"]),
        (["--encoding", "utf-8"], ["utf-8", "--encoding"]),
        (["--test", "gone.csv"], ["gone.csv", "no such file"]),
        (["--sheet", "one"], ["sheet"]),
    ],
)
def test_wrong_options(call: Call, table: Path, args: list[str], words: list[str]) -> None:
    said = call("fit", "liste.csv", "--target", "ziel", *args, "-q")
    assert said.code == 2 and len(said.err.strip().splitlines()) == 1
    for word in words:
        assert word in said.line
    assert not Path("runs").exists()


def test_options_of_tables_go_with_tables(call: Call) -> None:
    said = call("fit", "wine", "--na", "?", "-q")
    assert said.code == 2 and "takes no na" in said.line
    said = call("shrink", "wine", "--valid", "v.csv", "-q")
    assert said.code == 2 and "v.csv" in said.line


@pytest.mark.slow
def test_two_targets_in_other_units_are_told_apart(call: Call) -> None:
    """What is said of a member beside a constant, and of each target in its own unit, holds in whatever unit they are."""
    random = np.random.default_rng(0)
    x = random.normal(size=200)
    small = 0.001 * x + 0.0001 * random.normal(size=200)
    pd.DataFrame({"x": x, "noise": 1e6 * random.normal(size=200), "small": small}).to_csv(
        "t.csv", index=False
    )
    short = (
        "--model",
        "linear",
        "--epochs",
        "40",
        "--lr",
        "0.05",
        "--points",
        "3",
        "--samples",
        "0",
        "--quiet",
    )
    told = json.loads(call("fit", "t.csv", "--target", "noise,small", *short, "--json").out)
    first = told["members"][0]
    assert first["valid/rmse"] < 0.85 * told["constant"]["valid/rmse"] < 1.0
    each = {one.pop("name"): one for one in told["targets"]}
    assert each["noise"]["valid/rmse"] > 5e5 and each["small"]["valid/rmse"] < 5e-4
    assert each["small"]["valid/r2"] > 0.8 > 0.2 > each["noise"]["valid/r2"]
    said = call("fit", "t.csv", "--target", "noise,small", *short, "--name", "again").out
    assert "standard deviations" in said and "small 0.000" in said
    said = call(
        "shrink", "t.csv", "--target", "noise,small", "--epochs", "1", "--lam", "1", "--quiet"
    ).out
    assert "each in its standard deviations" in said


@pytest.mark.slow
def test_a_column_that_stands_there_twice_is_read_once(call: Call) -> None:
    """Tables that were joined have some; new rows had to have the second one, too."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=60), "y": random.normal(size=60)})
    frame.insert(1, "other", frame["x"] + 1)
    frame["town"] = random.choice(["a", "b"], 60)
    both = pd.concat([frame, frame[["x", "town"]]], axis=1)
    both.columns = ["x", "other", "y", "town", "x", "town"]
    both.to_csv("t.csv", index=False)
    said = call("fit", "t.csv", "--target", "y", *QUICK)
    assert "x.1     left out  is a copy of 'x' (--keep x.1 to use it)" in said.err
    assert "town.1  left out  is a copy of 'town'" in said.err
    frame.to_csv("new.csv", index=False)
    assert call("predict", "t", "new.csv").code == 0
    kept = call("fit", "t.csv", "--target", "y", "--keep", "x.1", "--name", "k", *QUICK)
    assert "x.1     number" in kept.err

"""``netdial predict``: whatever a run on a table leaves behind predicts for new rows of such a table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ..conftest import Call

pd = pytest.importorskip("pandas")
QUICK = ("--model", "mlp:6", "--epochs", "2", "--points", "3", "--samples", "0", "--quiet")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows with decimal commas and semicolons, and two targets that follow from them."""
    random = np.random.default_rng(0)
    size = random.normal(10, 3, 90)
    frame = pd.DataFrame(
        {
            "size": size.round(3),
            "colour": random.choice(["red", "NA", "blue"], 90),
            "price": (50 + 4 * size + random.normal(0, 1, 90)).round(3),
        }
    )
    frame["kind"] = np.where(frame["size"] > 10, "big", "small")
    path = tmp_path / "rows.csv"
    frame.to_csv(path, sep=";", decimal=",", index=False)
    return path


def test_everything_that_is_written_predicts(call: Call, table: Path) -> None:
    assert call("fit", "rows.csv", "--target", "kind", "--name", "r", *QUICK).code == 0
    by_run = call("predict", "r", "rows.csv", "--lam", "0.1")
    assert by_run.code == 0, by_run.err
    lines = by_run.out.splitlines()
    assert lines[0] == "kind,probability of big,probability of small" and len(lines) == 91
    assert call("export", "r", "--lam", "0.1", "--out", "member.safetensors").code == 0
    assert call("predict", "member.safetensors", "rows.csv").out == by_run.out
    best = call("predict", "r", "rows.csv", "--json")
    told = json.loads(best.out)
    assert (
        told["rows"] == 90
        and told["lam"] > 0
        and set(told["predictions"][0]) == set(lines[0].split(","))
    )
    commands = {
        "choice": ("choose", "r", "--lams", "0.1,1", "--shares", "0,0.5", "--out", "choice"),
        "tuned.safetensors": ("finetune", "r", "--lam", "0.1", "--out", "tuned.safetensors"),
    }
    for path, command in commands.items():
        done = call(*command)
        assert done.code == 0, done.err
        assert len(call("predict", path, "rows.csv").out.splitlines()) == 91


def test_draws_are_those_of_the_evaluation_whatever_the_seed(call: Call, table: Path) -> None:
    settings = ("--target", "kind", "--objective", "ard", "--seed", "3", *QUICK)
    assert call("fit", "rows.csv", "--name", "r", *settings).code == 0
    evaluated = call("evaluate", "r", "--lams", "0.1", "--samples", "4", "--json")
    told = json.loads(evaluated.out)["members"][0]
    predicted = call("predict", "r", "rows.csv", "--lam", "0.1", "--samples", "4", "--json")
    rows = json.loads(Path("runs/r/splits.json").read_text())["parts"]["valid"]
    found = pd.DataFrame(json.loads(predicted.out)["predictions"]).iloc[rows]
    truth = pd.read_csv(table, sep=";", decimal=",", keep_default_na=False)["kind"].iloc[rows]
    shares = [
        row[f"probability of {name}"]
        for (_, row), name in zip(found.iterrows(), truth, strict=True)
    ]
    assert told["nll_predictive"] == pytest.approx(-np.log(shares).mean(), rel=1e-5)


@pytest.mark.slow
def test_regression_predicts_in_its_own_units_and_writes_a_file(call: Call, table: Path) -> None:
    assert call("shrink", "rows.csv", "--target", "price", "--model", "mlp:12", "--lam", "0.001",
                "--epochs", "30", "--batch-size", "9", "--lr", "0.02", "--name", "s", "--quiet").code == 0  # fmt: skip
    done = call("predict", "s", "rows.csv", "--out", "p.csv", "--level", "0.95")
    assert done.code == 0, done.err
    assert "90 predictions" in done.out
    found, truth = pd.read_csv("p.csv"), pd.read_csv(table, sep=";", decimal=",")["price"]
    assert list(found) == ["price", "price low", "price high"]
    assert np.sqrt(((found["price"] - truth) ** 2).mean()) < truth.std()
    assert ((found["price low"] < truth) & (truth < found["price high"])).mean() > 0.8


@pytest.mark.slow
def test_members_of_a_family_carry_units_and_noise(call: Call, table: Path) -> None:
    """A run, its exported member and its choice give one interval, in units of the target and as wide as errors ask for."""
    assert call("fit", "rows.csv", "--target", "price", "--model", "linear", "--epochs", "40", "--batch-size", "9", "--lr",
                "0.05", "--points", "3", "--samples", "4", "--name", "r", "--quiet").code == 0  # fmt: skip
    assert call("export", "r", "--lam", "0.01", "--out", "m.safetensors").code == 0
    choosing = call("choose", "r", "--lams", "0.01", "--shares", "0", "--out", "choice")
    assert choosing.code == 0, choosing.err
    truth = pd.read_csv(table, sep=";", decimal=",")["price"]
    found = {}
    for path, member in (("r", ("--lam", "0.01")), ("m.safetensors", ()), ("choice", ())):
        done = call("predict", path, "rows.csv", *member, "--out", "p.csv")
        assert done.code == 0, done.err
        found[path] = pd.read_csv("p.csv")
        assert list(found[path]) == ["price", "price low", "price high"]
    for path in ("m.safetensors", "choice"):
        np.testing.assert_allclose(found[path], found["r"], rtol=0.02)
    one = found["choice"]
    inside = (one["price low"] <= truth) & (truth <= one["price high"])
    assert inside.mean() > 0.75
    width = (one["price high"] - one["price low"]).to_numpy()
    assert np.ptp(width) < 1e-6 * width.mean() and 2 < width.mean() < 8, "2 × 1.645 × 1 is exact"


def test_what_cannot_be_predicted_is_said(call: Call, table: Path, tmp_path: Path) -> None:
    assert call("fit", "rows.csv", "--target", "kind", "--name", "r", *QUICK).code == 0
    frame = pd.read_csv(table, sep=";", decimal=",", keep_default_na=False)
    frame.drop(columns="size").to_csv("less.csv", sep=";", decimal=",", index=False)
    missing = call("predict", "r", "less.csv")
    assert missing.code == 2 and "'size'" in missing.line
    frame.loc[0, "colour"] = "mauve"
    frame.to_csv("other.csv", sep=";", decimal=",", index=False)
    other = call("predict", "r", "other.csv")
    assert other.code == 0 and "mauve" in other.err
    for args, message in (
        (("nowhere", "rows.csv"), "no such file"),
        (("rows.csv", "rows.csv"), "not a netdial file"),
        (("r", "nowhere.csv"), "no such file"),
        (("r", "rows.csv", "--lam", "1e9"), "outside the trained range"),
        (("r", "rows.csv", "--level", "2"), "level=2"),
    ):
        said = call("predict", *args)
        assert said.code == 2 and message in said.line, said.err


def test_predictions_replace_such_predictions_and_no_table(call: Call, table: Path) -> None:
    assert call("fit", "rows.csv", "--target", "kind", "--name", "r", *QUICK).code == 0
    assert call("predict", "r", "rows.csv", "--out", "found.csv").code == 0
    for _ in range(2):
        assert call("predict", "r", "rows.csv", "--out", "found.csv").code == 0
    rows = table.read_bytes()
    shutil.copy(table, "other.csv")
    for name, words in (("rows.csv", "what this command reads"), ("other.csv", "is there and is")):
        told = call("predict", "r", "rows.csv", "--out", name)
        assert told.code == 2 and words in told.line
        assert Path(name).read_bytes() == rows


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "xlsx"])
def test_predictions_are_written_as_the_ending_says(call: Call, table: Path, ending: str) -> None:
    """Whatever it was, the file held text with commas, which no spreadsheet opens as .xlsx."""
    assert call("fit", "rows.csv", "--target", "kind", "--name", "r", *QUICK).code == 0
    told = json.loads(call("predict", "r", "rows.csv", "--json").out)["predictions"]
    read = {
        "csv": pd.read_csv,
        "tsv": lambda path: pd.read_csv(path, sep="\t"),
        "parquet": pd.read_parquet,
        "xlsx": pd.read_excel,
    }[ending]
    for _ in range(2):  # its own kind is replaced
        assert call("predict", "r", "rows.csv", "--out", f"found.{ending}").code == 0
        found = read(f"found.{ending}")
        assert list(found) == list(told[0]) and found["kind"].tolist() == [
            one["kind"] for one in told
        ]
        np.testing.assert_allclose(
            found["probability of big"], [one["probability of big"] for one in told]
        )
    frame = pd.DataFrame({"mine": [1]})
    if ending == "parquet":
        frame.to_parquet("other.parquet")
    elif ending == "xlsx":
        frame.to_excel("other.xlsx", index=False)
    else:
        frame.to_csv(f"other.{ending}", index=False)
    told = call("predict", "r", "rows.csv", "--out", f"other.{ending}")
    assert told.code == 2 and "is there and is not" in told.line
    assert list(read(f"other.{ending}")) == ["mine"]


def test_an_ending_that_is_not_written_is_refused_before_the_work(call: Call) -> None:
    said = call("predict", "nowhere", "rows.csv", "--out", "found.json")
    assert said.code == 2
    Path("model").touch()
    said = call("predict", "model", "rows.csv", "--out", "found.json")
    assert said.code == 2 and ".parquet" in said.line

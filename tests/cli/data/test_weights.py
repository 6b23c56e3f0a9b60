"""Weights from the command line: by class name, and by a column of the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from netdial.cli import main

from ...marks import may_be_useless

pytest.importorskip("pandas")

SETTINGS = ("--epochs", "2", "--model", "mlp:4", "--target", "label", "--points", "2", "--quiet")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of 60 rows of two classes, with a column of weights."""
    monkeypatch.chdir(tmp_path)
    source = np.random.default_rng(0)
    lines = ["a,b,w,label"]
    for row in range(60):
        a, b = source.normal(size=2)
        lines.append(f"{a:.3f},{b:.3f},{row % 3 + 1},{'yes' if row % 5 == 0 else 'no'}")
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_weights_by_name_and_by_column(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ("--class-weight", "yes=4,no=1", "--weight-column", "w")
    assert main(["fit", str(table), *SETTINGS, *weights, "--name", "r", "--json"]) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    assert config["class_weight"] == {"yes": 4.0, "no": 1.0}
    assert config["load"]["weight_column"] == "w" and config["input_shape"] == [2]
    assert main(["fit", str(table), *SETTINGS, *weights, "--name", "r", "--resume"]) == 0
    assert main(["shrink", str(table), *SETTINGS[:6], "--quiet", "--lam", "0.01",
                 "--class-weight", "balanced", "--name", "s"]) == 0  # fmt: skip


@pytest.mark.slow
def test_rows_of_weight_0_change_nothing(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mirrored training rows leave means and standard deviations of the inputs as they are."""
    frame = pd.read_csv(table).assign(w=1.0, part=["train"] * 40 + ["valid"] * 10 + ["test"] * 10)
    mirrored = {name: 2 * frame[name][:40].mean() - frame[name][:40] for name in "ab"}
    copies = frame[:40].assign(w=0.0, label=frame["label"][:40].to_numpy()[::-1], **mirrored)
    found = []
    for name, rows in {"r": frame, "s": pd.concat([frame, copies])}.items():
        rows.to_csv(table, index=False)
        options = ("--weight-column", "w", "--split-column", "part", "--precision", "64-true")
        assert main(["fit", str(table), *SETTINGS, *options, "--name", name, "--json"]) == 0
        told = [json.loads(capsys.readouterr().out)["members"]]
        for words in (
            ("prune", name, "--refit", "--shares", "0,0.3,0.6"),
            ("slim", name, "--share", "0.5", "--lam", "1"),
        ):
            assert main([*words, "--json", "--quiet"]) == 0
            answer = json.loads(capsys.readouterr().out)
            told.append(answer["surface"] if words[0] == "prune" else answer["stages"])
        found.append(told)
    assert found[0][0][0]["objective"] > 0
    assert _numbers(found[1]) == pytest.approx(_numbers(found[0]), rel=1e-9, nan_ok=True)


@pytest.mark.slow
def test_usual_batch_sizes_count_rows_that_weigh(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it is the class that weighs nothing."""
    frame = pd.read_csv(table).assign(w=1.0)
    ignored = pd.concat([frame.assign(w=0.0)] * 100 + [frame])
    third = pd.concat([frame.assign(label="none")] * 100 + [frame])
    for rows, weights in (
        (frame, ("--weight-column", "w")),
        (ignored, ("--weight-column", "w")),
        (third, ("--weight-column", "w", "--class-weight", "yes=1,no=1,none=0")),
    ):
        rows.to_csv(table, index=False)
        options = ("--epochs", "1", *SETTINGS[2:], "--overwrite", "--name", "r", "--json")
        assert main(["fit", str(table), *options, *weights]) == 0
        assert json.loads(capsys.readouterr().out)["config"]["batch_size"] == 32


def _numbers(told: Any) -> list[float]:
    """Returns all numbers of an answer in order, but times."""
    if isinstance(told, dict):
        told = [value for name, value in told.items() if not name.startswith("ms")]
    if isinstance(told, list):
        return [number for part in told for number in _numbers(part)]
    return [float(told)] if isinstance(told, int | float) else []


@pytest.mark.slow
@may_be_useless
def test_runs_with_weights_are_chosen_from_pruned_and_compressed(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = ("--weight-column", "w", "--name", "r")
    assert main(["fit", str(table), *SETTINGS, *weights]) == 0
    brief = ("--epochs", "1", "--tuning", "0", "--max-bytes", "9000")
    for words in (
        ("choose", "r", "--max-params", "20", "--finetune", "1"),
        ("choose", "r", "--test"),
        ("prune", "r"),
        ("slim", "r", "--share", "0.5"),
        ("finetune", "r", "--lam", "0.1", "--epochs", "1"),
        ("evaluate", "r", "--rivals"),
        ("compress", "r", "--lam", "0.1", "-q", *brief, "--out", "one.ndz"),
        ("compress", "one.ndz", "-q", *brief, "--out", "two.ndz"),
        ("compress", "r", "--family", "-q", *brief, "--out", "all.ndz"),
    ):
        assert main(list(words)) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (("--class-weight", "yse=4"), "did you mean 'yes'"),
        (("--class-weight", "balance"), "class_weight='balance'; allowed: balanced"),
        (("--weight-column", "v"), "no column 'v'"),
        (("--weight-column", "label"), "'label' is the target"),
        (("--weight-column", "a"), "the weight column 'a' holds -"),
    ],
)
def test_weights_that_mean_nothing_leave_no_run(
    weights: tuple[str, str], words: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(table), *SETTINGS, *weights, "--name", "r"]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not Path("runs/r").exists()


def share_of_yes(model: str, table: Path, tmp_path: Path) -> float:
    """Returns the mean probability of the rare class that a model predicts for the rows of the table."""
    out = tmp_path / "predicted.csv"
    assert main(["predict", model, str(table), "--out", str(out)]) == 0
    return float(pd.read_csv(out)["probability of yes"].mean())


@pytest.mark.slow
@may_be_useless
def test_what_is_trained_further_keeps_the_weights_of_the_classes(
    table: Path, tmp_path: Path
) -> None:
    """Twelve rows of sixty: their mean probability is 20 % without weights, and half when classes weigh the same."""
    fit = ["fit", str(table), "--target", "label", "--drop", "w", "--model", "linear", "--quiet"]
    more = ["--epochs", "40", "--lr", "0.05", "--class-weight", "balanced", "--points", "2"]
    assert main([*fit, *more, "--name", "r"]) == 0
    assert main([*fit, *more[:4], "--points", "2", "--name", "plain"]) == 0
    tuned = ["--lam", "0.01", "--epochs", "40", "--lr", "0.05", "--out"]
    assert main(["finetune", "plain", *tuned, "plain.safetensors"]) == 0
    assert main(["finetune", "r", *tuned, "tuned.safetensors"]) == 0
    assert main(["compress", "r", "--lam", "0.01", "--max-bytes", "1000", "--distil", "0",
                 "--epochs", "40", "--lr", "0.05", "--out", "r.ndz"]) == 0  # fmt: skip
    assert share_of_yes("plain.safetensors", table, tmp_path) == pytest.approx(0.2, abs=0.05)
    for model in ("tuned.safetensors", "r.ndz"):
        assert share_of_yes(model, table, tmp_path) == pytest.approx(0.5, abs=0.08)


def test_a_search_takes_weights_by_name(table: Path, tmp_path: Path) -> None:
    """Classes are named as in the table, and the network is trained with their weights."""
    space = "depth=1,width=4,widths=4"
    settings = [
        "--target",
        "label",
        "--strategy",
        "random",
        "--options",
        "trials=1",
        "--space-options",
        space,
    ]
    weights = ["--class-weight", "yes=4,no=1", "--no-compare", "--epochs", "40", "--quiet"]
    assert main(["search", str(table), *settings, *weights, "--drop", "w", "--name", "s"]) == 0
    assert share_of_yes("s", table, tmp_path) == pytest.approx(0.5, abs=0.12)

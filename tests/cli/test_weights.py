"""Weights from the command line: by class name, and by a column of the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netdial.cli import main

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

"""Posteriors of some parameters from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netdial.cli import main

pytest.importorskip("sklearn")

SETTINGS = ("fit", "wine", "--epochs", "1", "--model", "mlp:4", "--points", "2", "--quiet")


def test_points_among_normal_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    normal = ("--objective", "scaled-kl", "--posterior", "*.bias=point")
    asked = (*SETTINGS, *normal, "--name", "r")
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["posterior"] == {"*.bias": "point"}
    assert main([*asked, "--resume"]) == 0
    assert main(["evaluate", "runs/r"]) == 0
    assert main(["prune", "runs/r"]) == 2
    assert "posterior 'point'" in " ".join(capsys.readouterr().err.split())


def test_run_from_before_there_were_posteriors_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SETTINGS, "--name", "r"]) == 0
    path = Path("runs/r/config.json")
    config = json.loads(path.read_text())
    assert config.pop("posterior") == {}
    del config["sha256"]  # nor were there digests
    path.write_text(json.dumps(config))
    assert main([*SETTINGS, "--name", "r", "--resume"]) == 0


@pytest.mark.parametrize(
    ("given", "word"), [("bias", "bias=point"), ("zzz=point", "zzz"), ("bias=piont", "point")]
)
def test_posteriors_that_mean_nothing_leave_no_run(
    given: str,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SETTINGS, "--posterior", given, "--name", "r"]) == 2
    assert word in capsys.readouterr().err
    assert not Path("runs/r").exists()

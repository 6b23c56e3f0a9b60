"""``netdial latency``: the table of a space on this machine, and a search that takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netdial.cli import main
from netdial.structure.latency import LatencyLookup

SPACE = ["--space-options", "depth=1,width=8,widths=4+32,norms=plain+batch"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main(list(words)) == code
    out = capsys.readouterr()
    return out.out if code == 0 else out.err


@pytest.mark.slow
def test_a_table_is_measured_written_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(said(capsys, "latency", "wine", *SPACE, "--batch-size", "3", "--json"))
    table = LatencyLookup.load(Path("mlp-latency.json"))
    assert told["path"] == "mlp-latency.json"
    assert told["batch_size"] == table.batch_size == 3
    assert table.agreement is not None
    assert told["agreement"]["rank_correlation"] == table.agreement.rank_correlation
    assert told["fingerprint"] == table.machine.fingerprint
    layers = {"relu", "tanh", "relu4", "relu32", "tanh4", "tanh32", "none"}
    assert set(told["times"]["n1->h1"]) == layers
    text = said(capsys, "latency", "wine", *SPACE, "--threads", "1", "--out", "t.json")
    assert "relu32" in text and "median error" in text and "t.json" in text


@pytest.mark.slow
def test_a_search_refuses_a_table_that_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "latency", "wine", *SPACE, "--batch-size", "2", "--json")
    search = ["search", "wine", *SPACE, "--quiet", "--latency-table", "mlp-latency.json"]
    assert "max_latency_ms" in said(capsys, *search, code=2)
    words = [*search, "--max-latency-ms", "50"]
    assert "batch of 2" in said(capsys, *words, code=2)


def test_unknown_spaces_and_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'mlp'" in said(capsys, "latency", "wine", "--space", "mpl", code=2)
    assert "depht" in said(capsys, "latency", "wine", "--space-options", "depht=2", code=2)

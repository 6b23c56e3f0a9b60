"""``netdial sweep``: a spec in, trials as run folders out, and questions about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..conftest import Call
from ..test_json_page import check

SPEC = """
data: wine
way: shrink
settings: {model: "mlp:{w}", epochs: 1}
space:
  lam: {low: 1e-4, high: 1e-1, log: true}
  w: [4, 6]
trials: 2
sampler: random
engine: here
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(SPEC)
    return "small.yaml"


@pytest.mark.slow
def test_a_sweep_is_planned_made_and_asked(call: Call, spec: str, tmp_path: Path) -> None:
    planned = json.loads(call("sweep", spec, "--dry-run", "--json").out)
    check("netdial sweep --dry-run", planned)
    assert planned["count"] == len(planned["trials"]) == 2 and planned["seconds"] > 0
    assert not (tmp_path / "runs").exists()
    told = call("sweep", spec, "--json")
    assert told.code == 0 and "[2/2] trial 1 done" in told.err
    made = json.loads(told.out)
    check("netdial sweep", made)
    assert [t["params"] for t in made["trials"]] == [t["params"] for t in planned["trials"]]
    assert all("test" not in trial for trial in made["trials"])
    for action in ("status", "best", "front"):
        answer = json.loads(call("sweep", action, "small", "--json").out)
        check("netdial sweep", answer)
        assert len(answer["chosen"]) == {"status": 0, "best": 1}.get(action, len(answer["chosen"]))
    told = call("sweep", "front", "small", "--by", "valid/accuracy,params")
    assert "test/accuracy" in told.out and told.code == 0
    assert planned["workers"] == 1
    front = " ".join(call("sweep", "front", "small").out.split())
    assert "valid/loss" in front and "params" in front, "what it weighs is shown"
    more = json.loads(call("sweep", "resume", "small", "--trials", "3", "-q", "--json").out)
    assert more["counts"]["done"] == 3 and more["trials"][:2] == made["trials"]
    run = made["chosen"][0]["run"]
    assert call("report", run).code == call("inspect", run).code == 0
    listed = json.loads(call("list", "--runs-dir", str(Path(run).parent), "--json").out)
    assert len(listed["runs"]) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sweep nothing.yaml", "cannot be read"),
        ("sweep status", "of which sweep"),
        ("sweep small.yaml other", "give one YAML file"),
        ("sweep best nowhere", "no such sweep"),
        ("sweep small.yaml --trials 0", "--trials"),
        ("sweep small.yaml --engine rya", "unknown engine"),
        ("sweep small.yaml --max-seconds 0", "max_seconds"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(call: Call, spec: str, line: str, words: str) -> None:
    told = call(*line.split())
    assert told.code == 2 and words in told.line and not told.out


@pytest.mark.slow
def test_a_sweep_in_which_nothing_came_to_be_done_is_a_failure(call: Call, spec: str) -> None:
    Path(spec).write_text(SPEC + "objectives: [weight]\n")
    told = call("sweep", spec)
    assert told.code == 1
    assert "trial 0 failed: measured no weight; there are" in told.out
    assert "1 failed, 1 waiting" in told.out

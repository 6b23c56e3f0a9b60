"""``netdial finetune``: one member trained further, pruned in rounds if asked to, written as an ordinary network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from netdial.jobs.opening import open_family, open_task
from netdial.models.member import load_member
from netdial.runs.run import Run

from ..conftest import Call


def test_a_member_is_trained_on_and_written(call: Call, wine: Path, tmp_path: Path) -> None:
    said = call("finetune", wine, "--lam", "1", "--epochs", "2")
    assert said.code == 0, said.err
    assert "as it is" in said.out
    assert "round 1" in said.out
    assert "wine-lam1-tuned.safetensors" in said.out
    family = open_family(Run.open(wine))
    tuned = load_member(tmp_path / "wine-lam1-tuned.safetensors")
    before = dict(family.export(1.0).named_parameters())
    assert any(not torch.equal(p, before[n]) for n, p in tuned.named_parameters())


def test_rounds_of_pruning_leave_what_was_asked(call: Call, wine: Path, tmp_path: Path) -> None:
    args = ("--lam", "0.5", "--share", "0.8", "--rounds", "2", "--schedule", "linear")
    said = call("finetune", wine, *args, "--out", "small.safetensors", "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert [stage["share"] for stage in found["stages"]] == [0.0, 0.4, 0.8]
    net = load_member(tmp_path / "small.safetensors")
    weights = 13 * 8 + 8 * 3
    kept = sum(int((p != 0).sum()) for p in net.parameters())
    assert found["stages"][-1]["parameters"] == kept == weights - round(0.8 * weights) + 8 + 3
    valid = open_task(Run.open(wine)).valid
    with torch.no_grad():
        right = (net(valid.inputs()).argmax(dim=1) == valid.y).float().mean()
    assert found["stages"][-1]["accuracy"] == pytest.approx(float(right))


@pytest.mark.slow
def test_frozen_parameters_count_before_and_after(call: Call, tmp_path: Path) -> None:
    words = ("--model", "mlp:8", "--freeze", "fc1", "--epochs", "1", "--points", "2", "--quiet")
    assert call("fit", "wine", "--name", "frozen", *words).code == 0
    args = ("--lam", "0.5", "--share", "0.5", "--rounds", "1", "--out", "small.safetensors")
    said = call("finetune", "frozen", *args, "--json")
    assert said.code == 0, said.err
    found = [stage["parameters"] for stage in json.loads(said.out)["stages"]]
    net = load_member(tmp_path / "small.safetensors")
    assert found == [139, 139 - 12] == [139, sum(int((p != 0).sum()) for p in net.parameters())]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--lam", "1", "--share", "1.2"), "--share 1.2: expected a share in [0, 1)"),
        (("--lam", "1e5"), "outside the trained range"),
        (("--lam", "1", "--format", "onx"), "did you mean 'onnx'"),
        (("--lam", "1", "--share", "0.5", "--start", "prevous"), "did you mean 'previous'"),
        (("--lam", "1", "--share", "0.5", "--schedule", "cubical"), "did you mean 'cubic'"),
        (("--lam", "1", "--objective", "l3"), "unknown objective 'l3'"),
    ],
)
def test_wrong_input_ends_with_one_line(
    args: tuple[str, ...], message: str, call: Call, wine: Path, tmp_path: Path
) -> None:
    said = call("finetune", wine, *args)
    assert said.code == 2
    assert message in said.line
    assert len(said.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())

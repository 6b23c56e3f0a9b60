"""``netdial slim`` of what is one network already: shrunken, searched, slimmed, exported or compressed; by run and by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_wine

import netdial as nd
from netdial.cli import main
from netdial.runs.run import Run

from ..conftest import Call

pytestmark = pytest.mark.slow
MADE = {
    "shrink": ("--size", "300 params", "--model", "mlp:16-8"),
    "search": ("--no-compare", "--network-epochs", "1", "--space-options", "depth=1,width=8"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a run of each way that leaves one network."""
    runs = tmp_path_factory.mktemp("made")
    for way, settings in MADE.items():
        told = (*settings, "--epochs", "2", "--name", way, "--runs-dir", str(runs), "--quiet")
        assert main([way, "wine", *told]) == 0
    return runs


def numbers(call: Call, *args: str) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads(call("predict", *args, "--json").out)["predictions"]
    return rows


@pytest.mark.parametrize("way", list(MADE))
def test_the_network_of_a_run_is_slimmed_further(call: Call, made: Path, way: str) -> None:
    run, table = made / way, "rows.csv"
    load_wine(as_frame=True).frame.iloc[:4].to_csv(table, index=False)
    before = Run.open(run).records()
    said = json.loads(call("slim", str(run), "--share", "0.3", "-o", "a.safetensors", "--json").out)
    assert said["model"] == str(run) and said["lam"] is None and "report" not in said
    metrics = json.loads(call("evaluate", str(run), "--json").out)["metrics"]
    for name, value in said["stages"][0]["metrics"].items():
        assert value == pytest.approx(metrics[name], rel=1e-5)
    assert said["stages"][-1]["costs"]["params"] < said["stages"][0]["costs"]["params"]
    data = nd.load_data("wine")
    small = nd.load_model("a.safetensors")  # in words of the file alone
    right = (small(data.valid.x).argmax(1) == data.valid.y).float().mean()
    assert said["stages"][-1]["metrics"]["accuracy"] == pytest.approx(float(right))
    again = call("slim", "a.safetensors", "--share", "0.2", "-o", "b.safetensors")
    assert again.code == 0 and "λ" not in again.out.splitlines()[-1]
    assert call("export", "b.safetensors", "-o", "b.onnx").code == 0
    found = nd.load_model("b.safetensors")(data.test.x[:1]).softmax(1)[0]
    assert len(numbers(call, "b.safetensors", table)) == 4
    assert torch.isfinite(found).all()
    assert Run.open(run).records() == before


def test_an_exported_member_and_a_compressed_one_are_slimmed(call: Call, points: Path) -> None:
    assert call("export", str(points), "--lam", "0.1", "-o", "one.safetensors").code == 0
    less = ("--epochs", "1", "--tuning", "0", "--max-bytes", "2500")
    assert call("compress", "one.safetensors", *less, "-o", "one.ndz").code == 0
    family = str(points / "model" / "family.safetensors")
    for model, lam in (("one.safetensors", ()), ("one.ndz", ()), (family, ("--lam", "0.1"))):
        said = call("slim", model, *lam, "--epochs", "1", "-o", "small.safetensors")
        assert said.code == 0, said.err
        assert nd.load_model("small.safetensors").predict(nd.load_data("wine").test.x).shape == (
            36,
            4,
        )
    assert call("compress", "small.safetensors", *less, "-o", "small.ndz").code == 0


def test_wrong_use_is_one_line(call: Call, made: Path, points: Path) -> None:
    assert (
        "has one network and no complexity values"
        in call("slim", str(made / "shrink"), "--lam", "1").line
    )
    assert call("slim", str(made / "shrink"), "-o", "a.safetensors").code == 0
    assert "is what this command reads" in call("slim", "a.safetensors", "-o", "a.safetensors").line
    said = call("slim", str(points / "model" / "family.safetensors"))
    assert said.code == 2 and said.line.endswith("give --lam, the complexity value of a member")

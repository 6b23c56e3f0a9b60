"""``netdial export`` of a model in a file; what a file says of the classes' weights goes with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import netdial as nd
from netdial.cli import main
from netdial.jobs.analyses.subjects import from_file

from ..conftest import Call

SHORT = ("--epochs", "2", "--points", "2", "--samples", "1", "--quiet")


LESS = ("--epochs", "1", "--tuning", "0", "--max-bytes", "2500")


@pytest.fixture(scope="module")
def compressed(wine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compressed member of wine."""
    path = tmp_path_factory.mktemp("compressed") / "small.ndz"
    family = str(wine / "model" / "family.safetensors")
    assert main(["compress", family, "--lam", "0.1", *LESS, "--out", str(path)]) == 0
    return path


@pytest.fixture
def small(call: Call, compressed: Path) -> Path:
    """The same in the folder of a test."""
    return Path(shutil.copy(compressed, "small.ndz"))


@pytest.mark.slow
def test_a_compressed_network_in_every_format(call: Call, small: Path) -> None:
    net, x = nd.load_model(small), torch.randn(4, 13)
    told = json.loads(call("export", str(small), "--json").out)
    assert (told["model"], told["format"], told["path"]) == (
        "small.ndz",
        "safetensors",
        "small.safetensors",
    )
    assert load_file("small.safetensors").keys() == net.state_dict().keys()
    assert call("export", str(small), "-o", "small.pt2").code == 0
    program = torch.export.load("small.pt2").module()
    torch.testing.assert_close(program(x), net(x))


def test_a_family_in_a_file_gives_a_member(call: Call, wine: Path) -> None:
    file = wine / "model" / "family.safetensors"
    said = call("export", str(file))
    assert said.code == 2 and "--lam" in said.line
    assert call("export", str(file), "--lam", "0.5", "-o", "one.safetensors").code == 0
    assert call("export", str(wine), "--lam", "0.5", "-o", "other.safetensors").code == 0
    x = torch.randn(4, 13)
    one, other = nd.load_model("one.safetensors"), nd.load_model("other.safetensors")
    torch.testing.assert_close(one(x), other(x))
    assert one.use.lam == other.use.lam == 0.5


def test_what_a_file_cannot_give_is_refused(call: Call, small: Path) -> None:
    said = call("export", str(small), "--lam", "1")
    assert said.code == 2 and "one network" in said.line
    nd.compression.write("bare.ndz", {"0.weight": torch.ones(2, 3).numpy()})
    said = call("export", "bare.ndz", "-o", "x.pt2")
    assert said.code == 2 and "bare.ndz" in said.line
    assert not Path("x.pt2").exists()


@pytest.mark.slow
def test_weights_of_classes_go_with_the_file(call: Call) -> None:
    weights = ("--class-weight", "class_0=1,class_1=24,class_2=3")
    assert call("fit", "wine", "--name", "w", "--model", "mlp:4", *SHORT, *weights).code == 0
    assert call("export", "w", "--lam", "0.1", "-o", "member.safetensors").code == 0
    assert call("compress", "w", *LESS, "--out", "small.ndz").code == 0
    for file in ("runs/w/model/family.safetensors", "member.safetensors", "small.ndz"):
        asked = from_file(Path(file), None, 0.1 if "family" in file else None)
        assert asked.class_weight == {"0": 1.0, "1": 24.0, "2": 3.0}, file
        given = asked.train.weight
        assert given is not None
        each = [float(given[asked.data.train.y == label][0]) for label in range(3)]
        assert each[1] / each[0] == pytest.approx(24) and each[2] / each[0] == pytest.approx(3)


@pytest.mark.parametrize("command", ["prune", "finetune", "evaluate"])
def test_a_command_about_runs_says_what_takes_a_file(call: Call, command: str) -> None:
    Path("m.ndz").write_bytes(b"anything")
    said = call(command, "m.ndz")
    assert said.code == 2 and "m.ndz: is a file" in said.line and "export" in said.line


@pytest.mark.slow
def test_the_folder_of_a_member_is_a_model_and_no_run(call: Call, wine: Path) -> None:
    """It was taken for a run of a newer netdial by every command but predict."""
    assert call("export", str(wine), "--lam", "0.5", "--out", "one").code == 0
    assert call("export", "one", "-o", "one.pt2").code == 0
    x, net = torch.randn(4, 13), nd.load_model("one")
    torch.testing.assert_close(torch.export.load("one.pt2").module()(x), net(x))
    assert call("compress", "one", *LESS, "--out", "one.ndz").code == 0
    assert nd.load_model("one.ndz")(x).shape == (4, 3)
    Path("one").rename("one-0.5")
    assert call("export", "one-0.5", "--format", "torch-export").code == 0
    assert Path("one-0.5.pt2").exists()
    assert call("compress", "one-0.5", *LESS).code == 0 and Path("one-0.5.ndz").exists()
    Path("one-0.5").rename("one")
    for command in (("evaluate",), ("report",), ("finetune", "--lam", "1")):
        said = call(command[0], "one", *command[1:])
        assert said.code == 2 and "one: is one network (an exported member), no run" in said.line

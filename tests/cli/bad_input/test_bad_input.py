"""Bad input: one clear line, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import netdial as nd

from ..conftest import SMALL, Call

HEAD = "import torch\nfrom torch import nn\n"
HEAD += "x = torch.linspace(-1, 1, 40)[:, None] * torch.ones(3)\ny = (x[:, 0] > 0).long()\n"

FUNCTIONS = {
    "raises": ("    raise ValueError('no such sensor')", ["ValueError: no such sensor", "line 7"]),
    "returns_nothing": (
        "    class Two(nn.Linear):\n        def forward(self, x): self.seen = x\n"
        "    return Two(3, 2), (x, y), (x, y), (x, y)",
        ["returned a NoneType"],
    ),
    "no_parameters": (
        "    return nn.Flatten(), (x, y), (x, y), (x, y)",
        ["Flatten: has no parameters"],
    ),
    "one_class": (
        "    return nn.Linear(3, 2), (x, y * 0), (x, y * 0), (x, y * 0)",
        ["one class only"],
    ),
    "nan": (
        "    bad = x.clone()\n    bad[5, 1] = float('nan')\n    return nn.Linear(3, 2), (bad, y), (x, y), (x, y)",
        ["inputs", "nan in row 5, column 1"],
    ),
    "one_row": (
        "    return nn.Linear(3, 2), (x[:1], y[:1]), (x, y), (x, y)",
        ["train part: 1 row(s); at least 2 needed"],
    ),
    "wrong_width": (
        "    return nn.Linear(4, 2), (x, y), (x, y), (x, y)",
        ["network Linear: fails on inputs of shape [2, 3]"],
    ),
    "few_outputs": (
        "    return nn.Linear(3, 1), (x, y), (x, y), (x, y)",
        ["outputs of shape [2, 1]", "expected [2, 2] (2 classes)"],
    ),
    "three_things": (
        "    return nn.Linear(3, 2), (x, y), (x, y)",
        ["must return (module, train, valid, test)"],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_the_users(call: Call, tmp_path: Path, name: str) -> None:
    body, words = FUNCTIONS[name]
    (tmp_path / f"bad_{name}.py").write_text(f"{HEAD}\ndef make():\n{body}\n")
    said = call("fit", f"bad_{name}:make", "-q")
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    for word in words:
        assert word in said.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["wne"], ["unknown data 'wne'", "did you mean 'wine'?"]),
        (["wine", "--model", "mpl:16"], ["unknown network 'mpl'", "did you mean 'mlp'?"]),
        (["wine", "--model", "mlp:wide"], ["mlp:wide", "whole numbers"]),
        (["wine", "--model", "lenet5"], ["wrong image size", "[13]"]),
        (
            ["wine", "--objective", "scaled-lk"],
            ["unknown objective 'scaled-lk'", "did you mean 'scaled-kl'?"],
        ),
        (["wine", "--map", "picewise"], ["unknown map 'picewise'", "did you mean 'piecewise'?"]),
        (["wine", "--optimizer", "Adm"], ["unknown optimizer 'Adm'"]),
        (
            ["wine", "--sampling", "both"],
            ["sampling='both'", "'stratified', 'whole' or 'independent'"],
        ),
        (["wine", "--lo", "10", "--hi", "1"], ["lo=10, hi=1", "0 < lo < hi"]),
        (["wine", "--epochs", "0"], ["--epochs", "greater than or equal to 1"]),
        (["wine", "--lams", "1,two"], ["--lams '1,two'", "0.01,1,100"]),
        (["wine", "--map", "table"], ["give lams"]),
        (["wine", "--target", "y"], ["takes no target"]),
        (["wine", "--valid", "0.6", "--test", "0.6"], ["valid=0.6", "sum is below 1"]),
        (["wine", "--name", "a/b"], ["'a/b'", "--name"]),
        (
            ["wine", "--model", "linear", "--devices", "2", "--groups", "3"],
            ["groups=3", "devices=2"],
        ),
        (["no.csv", "--target", "y"], ["no.csv", "no such file"]),
        (["nomodule:make"], ["no module 'nomodule'"]),
        (
            ["mnist", "--data-dir", "nowhere"],
            ["the data folder nowhere does not exist", "NETDIAL_DATA"],
        ),
    ],
)
def test_fit(call: Call, tmp_path: Path, args: list[str], words: list[str]) -> None:
    said = call("fit", *args, "-q")
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    for word in words:
        assert word in said.err
    assert not list(tmp_path.glob("runs/*/config.json"))


@pytest.mark.parametrize(
    ("table", "args", "words"),
    [
        ("a,y\n1,0\n2,1\n", [], ["which column is to be predicted?", "--target"]),
        (
            "a,label\n1,0\n2,1\n",
            ["--target", "labl"],
            ["no column 'labl'", "did you mean 'label'?"],
        ),
        ("a,y\n" + "1,0\n" * 20, ["--target", "y"], ["one class only"]),
        ("a,y\n" + "1,0\ninf,1\n" * 10, ["--target", "y"], ["column 'a' holds infinity"]),
        ("a,y\n" + "1,0\n2,\n" * 10, ["--target", "y"], ["'y' is missing in 10 row(s)"]),
        ("a,y\n1,0\n", ["--target", "y"], ["1 row(s) of data"]),
        ("", ["--target", "y"], ["the file is empty"]),
        (
            "a,y\n" + "1,0\n2,1\n" * 10,
            ["--target", "y", "--kind", "clasification"],
            ["did you mean 'classification'?"],
        ),
    ],
)
def test_tables(call: Call, tmp_path: Path, table: str, args: list[str], words: list[str]) -> None:
    (tmp_path / "t.csv").write_text(table)
    said = call("fit", "t.csv", *args, "-q")
    assert said.code == 2
    for word in words:
        assert word in said.line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("evaluate", "--lams", "0.0001,1"),
        ("evaluate", "--lams", "1000"),
        ("export", "--lam", "101"),
    ],
)
def test_a_value_outside_the_trained_range(call: Call, wine: Path, args: tuple[str, ...]) -> None:
    said = call(args[0], str(wine), *args[1:])
    assert said.code == 2
    assert "outside the trained range [0.001, 100]" in said.line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["evaluate", "--split", "tset"], ["unknown split 'tset'", "did you mean 'test'?"]),
        (["evaluate", "--lams", "1;2"], ["--lams '1;2'"]),
        (["evaluate", "--lams", "1", "--points", "3"], ["exclude each other"]),
        (
            ["export", "--lam", "1", "--format", "onx"],
            ["unknown export format 'onx'", "did you mean 'onnx'?"],
        ),
    ],
)
def test_options_of_the_other_commands(
    call: Call, wine: Path, args: list[str], words: list[str]
) -> None:
    said = call(args[0], str(wine), *args[1:])
    assert said.code == 2
    for word in words:
        assert word in said.line


@pytest.mark.parametrize("command", ["evaluate", "report", "export"])
def test_a_run_that_is_not_there(call: Call, wine: Path, command: str) -> None:
    extra = ["--lam", "1"] if command == "export" else []
    said = call(command, "wien", "--runs-dir", str(wine.parent), *extra)
    assert said.code == 2
    assert f"did you mean {wine}?" in said.line


@pytest.fixture
def copy(wine: Path, tmp_path: Path) -> Path:
    """A run of one's own to damage."""
    shutil.copytree(wine, tmp_path / "runs" / "wine")
    return tmp_path / "runs" / "wine"


def test_a_corrupt_run_folder(call: Call, copy: Path) -> None:
    (copy / "config.json").write_text('{"format": 1, "data": "wi')
    for args in (["evaluate", "wine"], ["report", "wine"], ["fit", "wine", "--resume"]):
        said = call(*args)
        assert said.code == 2
        assert "config.json: cannot be read" in said.line


def test_corrupt_records(call: Call, copy: Path) -> None:
    lines = (copy / "records.jsonl").read_text().splitlines()
    (copy / "records.jsonl").write_text("\n".join([lines[0], "garbage", *lines[2:]]) + "\n")
    said = call("report", "wine")
    assert said.code == 2
    assert "line 2 is not a record" in said.line


def test_a_corrupt_model(call: Call, copy: Path) -> None:
    file = copy / "model" / "family.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    said = call("evaluate", "wine")
    assert said.code == 2
    assert "family.safetensors" in said.line and "damaged" in said.line


@pytest.mark.parametrize("content", [b"", b"garbage of some length", None])
def test_a_corrupt_checkpoint(call: Call, copy: Path, content: bytes | None) -> None:
    (copy / "DONE").unlink()
    file = copy / "checkpoint" / "last.safetensors"
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    before = (copy / "records.jsonl").read_bytes()
    said = call("fit", "wine", "--resume")
    assert said.code == 2
    assert "last.safetensors" in said.line and "damaged" in said.line
    assert (copy / "records.jsonl").read_bytes() == before


def test_an_unfinished_run_is_not_evaluated(call: Call, copy: Path) -> None:
    (copy / "DONE").unlink()
    said = call("evaluate", "wine")
    assert said.code == 2
    assert "has not finished" in said.line


def test_resuming_with_other_settings(call: Call, copy: Path) -> None:
    before = (copy / "config.json").read_bytes()
    said = call("fit", "wine", "--resume", "--epochs", "9", "--lr", "0.5", "--split-seed", "3")
    assert said.code == 2
    for difference in ("epochs: 3 -> 9", "lr: 0.01 -> 0.5", "load.split_seed: (absent) -> 3"):
        assert difference in said.line
    assert (copy / "config.json").read_bytes() == before
    said = call("fit", "digits", "--resume", "--name", "wine")
    assert said.code == 2
    assert 'data: "wine" -> "digits"' in said.line


def test_nothing_is_overwritten_silently(call: Call, copy: Path) -> None:
    said = call("fit", "wine", *SMALL)
    assert said.code == 2
    assert "exists already" in said.line
    assert "--resume" in said.line and "--overwrite" in said.line
    assert (copy / "DONE").exists()


def test_overwrite_leaves_other_folders_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "runs" / "wine").mkdir(parents=True)
    (tmp_path / "runs" / "wine" / "thesis.txt").write_text("all of it")
    said = call("fit", "wine", *SMALL, "--overwrite", "-q")
    assert said.code == 2
    assert "thesis.txt" in said.line
    assert (tmp_path / "runs" / "wine" / "thesis.txt").exists()


def test_a_loss_that_is_not_finite_ends_the_run(call: Call, tmp_path: Path) -> None:
    said = call("fit", "wine", *SMALL, "--lr", "1e30", "--clip", "0", "--optimizer", "SGD", "-q")
    assert said.code == 2
    assert "step " in said.line and "lam=" in said.line
    assert not list(tmp_path.glob("runs/*/DONE"))


def test_a_run_that_is_done_is_only_shown(call: Call, copy: Path) -> None:
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    said = call("fit", "wine", "--resume", "--json")
    assert said.code == 0
    assert "done already" in said.err
    assert len(json.loads(said.out)["members"]) == 5
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("given", "meant"),
    [("--learning-rate", "--lr"), ("--device", "--accelerator"), ("--epoch", "--epochs")],
)
def test_an_option_by_the_name_that_others_give_it(call: Call, given: str, meant: str) -> None:
    said = call("fit", "wine", given, "1")
    assert said.code == 2 and f"did you mean {meant}?" in said.line


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("fit wine --target y1 --target y2", "--target"),
        ("fit wine --lo .1 --epochs 1 --lo .2", "--lo"),
        ("shrink wine --size 1k --size 2k", "--size"),
        ("evaluate there --lams 1 --lams 2", "--lams"),
        ("sweep there.yaml --by loss --by params", "--by"),
        ("benchmark wine --target a --target b", "--target"),
    ],
)
def test_an_option_given_twice_does_not_drop_the_first_untold(
    call: Call, line: str, option: str
) -> None:
    said = call(*line.split())
    assert said.code == 2
    assert f"{option} is given 2 times" in said.err and "joined by commas" in said.err
    assert not Path("runs").exists()


def test_options_that_collect_and_switches_may_be_given_twice(call: Call) -> None:
    said = call("list", "-q", "-q", "--json")
    assert "is given" not in said.err
    said = call("fit", "wine", "--log", "no-such", "--log", "no-such", "-q", "-q")
    assert said.code == 2 and "is given" not in said.err


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "net.safetensors"])
@pytest.mark.parametrize("command", ["slim", "compress"])
def test_files_that_no_data_would_open_do_not_ask_for_data(
    call: Call, tmp_path: Path, name: str, command: str
) -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    nd.save(nd.slim(net, share=0.5, example=torch.randn(4, 3)), tmp_path / name)
    said = call(command, name)
    assert said.code == 2
    assert "--data" not in said.err
    why = "which network it belongs to" if name.endswith("safetensors") else "no model to load"
    assert why in said.err

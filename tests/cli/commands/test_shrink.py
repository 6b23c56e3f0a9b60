"""``netdial shrink``: a run folder, tables for people, one JSON object for programs, resuming, wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import netdial as nd
from netdial.nets import build
from netdial.runs.run import Run
from netdial.runs.schemas.done import SHRUNKEN_FILE
from netdial.runs.shrinkage import KILLS, shrinkage

from ..conftest import Call

SMALL = ("--model", "mlp:16-12", "--epochs", "6", "--quiet")


def test_a_run_shrinks_and_says_what_is_left(call: Call) -> None:
    said = call("shrink", "wine", *SMALL, "--size", "200 params")
    assert said.code == 0, said.err
    assert "Channels" in said.out
    assert "Cost" in said.out
    assert "right on validation data" in said.out
    run = Run.open(Path("runs/wine-shrink"))
    assert run.is_done
    assert run.config["way"] == "shrink"
    records = run.records()
    widths = {r.layer: r.value for r in records if r.name == "width" and r.step == 0}
    assert widths == {"fc1": 16.0, "fc2": 12.0}
    params = {
        r.where["stage"]: r.value for r in records if r.method == "cost" and r.name == "params"
    }
    assert params["end"] == pytest.approx(200, rel=0.1)
    assert params["end"] < params["start"] == 467
    assert {"valid/accuracy", "test/accuracy"} <= {
        r.column for r in records if r.method == "evaluate"
    }
    assert run.report_path.exists()


@pytest.mark.slow
def test_double_precision(call: Call) -> None:
    """What is left is evaluated, measured, saved and exported in the type that it was trained in."""
    said = call(
        "shrink", "wine", *SMALL, "--size", "200 params", "--precision", "64-true", "--json"
    )
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    assert answer["start"]["bytes"] == 8 * answer["start"]["params"]
    net = nd.load_model(Path(answer["model"]))
    assert next(net.parameters()).dtype == torch.float64
    assert call("export", "wine-shrink", "-o", "small.pt2").code == 0
    x = torch.randn(4, 13, dtype=torch.float64)
    program = torch.export.load("small.pt2").module()
    torch.testing.assert_close(program(x), net.double()(x), rtol=0, atol=1e-12)


def test_the_log_of_collections_accounts_for_every_channel(call: Call) -> None:
    assert call("shrink", "wine", *SMALL, "--size", "200 params").code == 0
    folder = Path("runs/wine-shrink")
    lines = [json.loads(line) for line in (folder / KILLS).read_text().splitlines()]
    assert lines
    gone: dict[str, list[int]] = {"fc1": [], "fc2": []}
    for line in lines:
        assert line["rule"] == "size"
        assert line["difference"] <= 1e-5
        for group, channels in line["gone"].items():
            gone[group] += channels
    left = lines[-1]["widths"]
    for group, start in (("fc1", 16), ("fc2", 12)):
        assert len(set(gone[group])) == len(gone[group]) == start - left[group]


def test_json_and_the_saved_network_agree(call: Call) -> None:
    from netdial.models.cut.restoring import load_network

    said = call("shrink", "wine", *SMALL, "--size", "200 params", "--json")
    answer = json.loads(said.out)
    net = build("mlp:16-12", input_shape=(13,), n_outputs=3)
    small = load_network(Path(answer["model"]), net)
    assert Path(answer["model"]).name == SHRUNKEN_FILE
    assert sum(p.numel() for p in small.parameters()) == answer["end"]["params"]
    assert answer["widths"]["fc1"][0] == 16
    assert small(torch.zeros(2, 13)).shape == (2, 3)


def test_resume_of_a_finished_run_does_nothing_and_another_way_is_refused(call: Call) -> None:
    line = ("shrink", "wine", *SMALL, "--lam", "0.05", "--name", "a")
    assert call(*line).code == 0
    before = Path("runs/a/records.jsonl").read_text()
    assert call("shrink", "wine", "--name", "a", "--resume", "--quiet").code == 0
    assert Path("runs/a/records.jsonl").read_text() == before
    said = call("fit", "wine", "--name", "a", "--resume", "--quiet")
    assert said.code == 2
    assert "is a run of netdial shrink" in said.line


def test_commands_on_families_refuse_a_shrunken_network(call: Call) -> None:
    assert call("shrink", "wine", *SMALL, "--name", "a").code == 0
    for command in ("prune", "evidence", "choose"):
        said = call(command, "a")
        assert said.code == 2, command
        assert "is a run of netdial shrink, which has one network and no family" in said.line, (
            command
        )
        file = said.line.split("its network is ")[1].split(" ")[0]
        assert nd.inspect(file).kind == nd.inspect("runs/a").kind == "shrunken network"
    assert '"nll"' in call("evaluate", "a", "--json").out
    assert call("report", "a").code == 0
    assert "a" in call("list").out


@pytest.mark.slow
def test_the_network_that_is_left_is_exported(call: Call) -> None:
    assert call("shrink", "wine", *SMALL, "--name", "a").code == 0
    x = torch.randn(3, 13)
    wanted = nd.load_model("runs/a").eval()(x)
    said = json.loads(call("export", "a", "--out", "a.pt2", "--json").out)
    program = torch.export.load("a.pt2").module()
    torch.testing.assert_close(program(x), wanted, rtol=1e-4, atol=1e-5)
    assert said["path"] == "a.pt2" and said["size_bytes"] == Path("a.pt2").stat().st_size
    assert call("export", "a").code == 0
    torch.testing.assert_close(nd.load_model("a.safetensors").eval()(x), wanted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--size", "200"), "unit"),
        (("--size", "200 parsnips"), "unknown unit"),
        (("--size", "1M params"), "there is nothing to shrink; lower the target"),
        (("--size", "20 params"), "raise the target"),
        (("--size", "200 params", "--penalty", "subgradient"), "leave out penalty and kill"),
        (("--penalty", "subgradient", "--kill", "zero"), "never makes a switch exactly 0"),
        (("--kill", "boredom"), "unknown"),
        (("--lam", "-1"), "lam"),
        (("--model", "linear"), "no layer that can shrink"),
        (("--optimizer", "LBFGS"), "LBFGS"),
    ],
)
def test_wrong_input_ends_with_one_line(call: Call, args: tuple[str, ...], words: str) -> None:
    said = call("shrink", "wine", *(SMALL[2:] if "--model" in args else SMALL), *args)
    assert said.code == 2, said.err
    assert words in said.line
    assert not Path("runs/wine-shrink").exists()


RECURRENT = """
import torch
from torch import nn

x = torch.randn(64, 5, 3, generator=torch.Generator().manual_seed(0))
y = (x[:, 0, 0] + x[:, 3, 1] > 0).long()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 8, bidirectional=True, batch_first=True), nn.Linear(16, 2)
    def forward(self, x):
        _, (h, _) = self.rnn(x)
        return self.head(torch.cat([h[-2], h[-1]], 1))

def problem():
    return Net(), (x, y), (x, y), (x, y)
"""


def test_recurrent_networks_shrink_by_their_units(call: Call) -> None:
    Path("sequences.py").write_text(RECURRENT, "utf-8")
    said = call(
        "shrink", "sequences:problem", "--size", "500 params", "--epochs", "3", "--name", "r", "-q", "--json"
    )  # fmt: skip
    assert said.code == 0, said.err
    ((before, width),) = json.loads(said.out)["widths"].values()
    assert 1 <= width < before == 8
    again = call("evaluate", "r", "--trust", "--json")
    assert again.code == 0, again.err


@pytest.mark.slow
def test_whose_weights_these_are_is_said_and_on_the_page(call: Call) -> None:
    words = ("--size", "300 params", "--epochs", "20", "--batch-size", "64", "--lr", "0.02", "-q")
    said = call("shrink", "breast-cancer", "--name", "b", *words)
    course = shrinkage(Run.open(Path("runs/b")).records()).course
    losses, sizes = course["valid/nll"][1:], course["params"][1:]
    last = sizes.index(sizes[-1])
    best = losses.index(min(losses[last:])) + 1
    assert last <= best - 1 < 19
    line = f"epoch {best} of 20"
    assert line in said.out
    assert line in (Path("runs/b") / "report.html").read_text(encoding="utf-8")
    words = (*words, "--no-restore-best")
    assert "of 20" not in call("shrink", "breast-cancer", "--name", "c", *words).out

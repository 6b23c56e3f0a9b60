"""Networks and options that shrinking cannot work with, as a user meets them: one line that says where, and exit code 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ..conftest import Call

NETWORKS = """
import torch
from torch import nn

x = torch.linspace(-1, 1, 60)[:, None] * torch.tensor([1.0, -0.5, 0.25, 2.0, 1.0, -1.0])
y = (x[:, 0] > 0).long()


class Two(nn.Module):
    between = staticmethod(lambda h: h.relu())

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.two(self.between(self.one(x)))


def choose(h):
    if h.sum() > 0:
        return h.relu()
    return h


def made(between):
    net = Two()
    net.between = between
    return net, (x, y), (x, y), (x, y)


def plain():
    return made(torch.relu)


def branches():
    return made(choose)


def renormed():
    return made(lambda h: torch.renorm(h, 2, 0, 1.0))


def written():
    return made(lambda h: h.relu().view(-1, 2, 4).flatten(1))


def root():
    return made(lambda h: (h.relu() * 0).sqrt())
"""
QUICK = ("--epochs", "4", "--quiet")


def line(code: str) -> str:
    """Returns file and line of some code of the user's."""
    (found,) = (i for i, text in enumerate(NETWORKS.splitlines(), 1) if code in text)
    return f"networks_of_mine.py:{found}"


WHERE = {
    "branches": f"network Two: cannot be traced at {line('if h.sum')} in choose",
    "renormed": f"node 'renorm' (renorm, {line('torch.renorm')}): has no rule",
}


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of the user's in the working folder; nothing compiled is kept, for it is edited more than once in a second."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "networks_of_mine.py"
    file.write_text(NETWORKS)
    sys.modules.pop(file.stem, None)
    yield file
    sys.modules.pop(file.stem, None)


class Unheard(torch.optim.Optimizer):
    """An optimiser of which the surgery knows nothing."""

    def __init__(self, params: object, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("branches", (), (WHERE["branches"], "move what depends on values")),
        ("renormed", (), (WHERE["renormed"], "write a rule", "lenient=True")),
        ("root", (), ("step 0: switch switch_one: theta or its gradient is not finite", "lower")),
        ("plain", ("--size", "9 params"), ("there are still 11; raise the target",)),
        (
            "plain",
            ("--size", "0.0001 ms"),
            ("a call still takes 0.0", "what calling its operations costs", "raise the target"),
        ),
        ("plain", ("--size", "9000 ms"), ("the network begins with 0.0", "nothing to shrink")),
        (
            "plain",
            ("--optimizer", "Unheard"),
            (
                "optimizer Unheard is unknown to the surgery; known: ASGD, ",
                "optimizers.register_optimizer",
            ),
        ),
    ],
)
def test_one_line_says_where(
    call: Call,
    networks: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    args: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setattr(torch.optim, "Unheard", Unheard, raising=False)
    said = call("shrink", f"{networks.stem}:{name}", *QUICK, *args)
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    for word in words:
        assert word in said.line
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


@pytest.mark.slow
def test_sizes_written_in_the_code_follow(call: Call, networks: Path) -> None:
    """The network of the user's class cannot be cut as it stands; its graph can, whichever command asks."""
    data = f"{networks.stem}:written"
    assert call("shrink", data, *QUICK).code == 0
    assert call("fit", data, "--epochs", "1", "--points", "2", "-q", "--name", "r").code == 0
    said = call("slim", "r", "--trust", "--lam", "1", "--share", "0.5", "--json")
    assert said.code == 0, said.err
    (group,) = json.loads(said.out)["groups"]
    assert group["after"] < group["before"]


@pytest.mark.parametrize("name", ["branches", "renormed"])
def test_one_shot_pruning_says_the_same(call: Call, networks: Path, name: str) -> None:
    """A family can be trained of any of these networks; that its channels cannot be followed turns up later."""
    data = f"{networks.stem}:{name}"
    fitted = call(
        "fit", data, "--epochs", "1", "--points", "2", "--samples", "2", "-q", "--name", "r"
    )
    assert fitted.code == 0, fitted.err
    before = Path("runs/r/records.jsonl").read_bytes()
    said = call("slim", "r", "--trust")
    assert (said.code, said.out) == (2, "")
    assert WHERE[name] in said.line
    assert Path("runs/r/records.jsonl").read_bytes() == before


def test_a_penalty_that_kills_every_channel_leaves_the_fewest_and_says_so(
    call: Call, networks: Path
) -> None:
    args = (f"{networks.stem}:plain", *QUICK, "--lam", "100", "--lam-schedule", "constant")
    said = call("shrink", *args, "--json")
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    assert answer["widths"] == {"one": [8.0, 1.0]}
    assert answer["end"]["params"] == 7 + 4
    assert answer["warning"].startswith("All channels died but the last 1 of every layer: lam=100")
    assert "All channels died" in Path(answer["report"]).read_text(encoding="utf-8")
    assert "Lower lam" in call("shrink", *args, "--overwrite").out


def test_a_target_at_the_fewest_channels_is_no_warning(call: Call, networks: Path) -> None:
    said = call("shrink", f"{networks.stem}:plain", *QUICK, "--size", "11 params", "--json")
    answer = json.loads(said.out)
    assert (answer["widths"], answer["warning"]) == ({"one": [8.0, 1.0]}, "")


def test_going_on_with_other_code_is_refused(call: Call, networks: Path) -> None:
    """Even where all shapes are the same: what was learned for one activation is not worth much under another."""
    data, folder = f"{networks.stem}:plain", Path("runs/r")
    assert call("shrink", data, *QUICK, "--lam", "0.05", "--name", "r").code == 0
    (folder / "DONE").unlink()
    before = (folder / "records.jsonl").read_bytes()
    for old, new, words in (
        (
            "made(torch.relu)",
            "made(torch.tanh)",
            "the code has the operation tanh = tanh(switch_one), the saved run began with relu = relu(",
        ),
        ("6, 8), nn.Linear(8, 2)", "6, 9), nn.Linear(9, 2)", "n_params: 74 -> 83"),
    ):
        networks.write_text(NETWORKS.replace(old, new))
        sys.modules.pop(networks.stem)
        said = call("shrink", data, "--name", "r", "--resume", "--quiet")
        assert said.code == 2, said.out
        assert words in said.line
        assert (folder / "records.jsonl").read_bytes() == before
    networks.write_text(NETWORKS)
    sys.modules.pop(networks.stem)
    assert call("shrink", data, "--name", "r", "--resume", "--quiet").code == 0


@pytest.mark.slow
@pytest.mark.parametrize(("size", "end"), [("36 params", 38), ("38 params", 38), ("33 params", 29)])
def test_a_size_that_half_a_channel_goes_beyond_is_said(
    call: Call, networks: Path, size: str, end: int
) -> None:
    said = call("shrink", f"{networks.stem}:plain", *QUICK, "--size", size, "--json")
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    assert answer["end"]["params"] == end
    words = f"{end} params where {size.split()[0]} were asked for"
    assert (words in Path(answer["report"]).read_text(encoding="utf-8")) == (size == "36 params")

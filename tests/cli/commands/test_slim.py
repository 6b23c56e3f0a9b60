"""``netdial slim``: tables, JSON, a file that loads into the class, records; wrong use is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import netdial as nd
from netdial.family import Family
from netdial.family.running.compiled import library
from netdial.jobs.analyses.subjects import from_file
from netdial.jobs.opening import open_task
from netdial.jobs.problem import load_net
from netdial.measure.forward import outputs
from netdial.models.cut.recipe import read_recipe
from netdial.models.cut.restoring import load_network
from netdial.runs.prunings import prunings
from netdial.runs.run import Run
from netdial.train.method import FamilyMethod, FamilyState

from ...early import early
from ..conftest import Call


@pytest.fixture
def copy(wine: Path, tmp_path: Path) -> Path:
    shutil.copytree(wine, tmp_path / "runs" / "wine")
    return tmp_path / "runs" / "wine"


def test_tables_file_and_records(call: Call, copy: Path) -> None:
    said = call("slim", "wine", "--lam", "0.1", "--out", "small.safetensors")
    assert said.code == 0, said.err
    for words in ("Channels by density", "fc1", "Before and after", "ms, batch 64", "λ = 0.1"):
        assert words in said.out
    run = Run.open(copy)
    recipe = read_recipe("small.safetensors")
    assert recipe.widths == {"fc1": 4}
    assert recipe.about["lam"] == 0.1
    net = load_network("small.safetensors", load_net(run.config))
    part = open_task(run).valid
    right = float((outputs(net, part).argmax(1) == part.y).float().mean())
    rows = {
        (r.sparsity, r.layer or r.column): r.value
        for r in run.records()
        if r.method == "slim" and r.where["share"] == 0.5 and r.lam == 0.1
    }
    params = {share: value for (share, name), value in rows.items() if name == "params"}
    assert params == {0.0: 14 * 8 + 9 * 3, 1 - 71 / 139: 14 * 4 + 5 * 3}
    assert rows[max(params), "valid/accuracy"] == pytest.approx(right)
    assert {"macs", "bytes", "ms_1", "ms_64", "valid/nll"} <= {name for _, name in rows}
    assert (rows[0.0, "fc1"], rows[max(params), "fc1"]) == (8, 4)
    assert "1 · density, 50% of the channels, global, λ = 0.1" in run.report_path.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.skipif(not library.built_file().exists(), reason="the operation is not built here")
@pytest.mark.parametrize("compiled", [True, False])
def test_a_run_of_compiled_steps_is_trained_on_by_compiled_steps(
    call: Call, monkeypatch: pytest.MonkeyPatch, *, compiled: bool
) -> None:
    asked = ["--compiled"] if compiled else []
    size = ["--model", "mlp:8", "--epochs", "2", "--objective", "l2"]
    assert call("fit", "wine", "--name", "made", *size, *asked).code == 0
    made = list[bool]()

    def init(method: FamilyMethod, family: Family) -> FamilyState:
        state = usual(method, family)
        made.append(state.compiled is not None)
        return state

    usual = FamilyMethod.init
    monkeypatch.setattr(FamilyMethod, "init", init)
    said = call("slim", "made", "--size", "90 params, 50 params", "--epochs", "1", "--inputs")
    assert said.code == 0, said.err
    assert made == [compiled] * 2


@pytest.mark.slow
def test_a_target_by_rounds_and_by_the_clock_as_json(call: Call, copy: Path) -> None:
    said = call(
        "slim", "wine", "--size", "90 params", "--criterion", "taylor", "--by-time",
        "--rounds", "2", "--epochs", "2", "--scope", "layer", "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    assert answer["criterion"] == "taylor"
    assert [stage["label"] for stage in answer["stages"]] == [
        "before",
        "pruned",
        "round 1",
        "round 2",
    ]
    (group,) = answer["groups"]
    (table,) = answer["latency"]
    assert (group["before"], table["group"], len(table["ms"])) == (8, "fc1", len(table["widths"]))
    assert group["after"] in table["widths"]
    assert answer["stages"][-1]["costs"]["params"] == 14 * group["after"] + 3 * (group["after"] + 1)
    assert Path(answer["path"]).exists()
    best = min(
        (r for r in Run.open(copy).records() if r.method == "evaluate" and r.column == "valid/nll"),
        key=lambda row: row.value,
    )
    assert answer["lam"] == best.lam, "the best member on validation data"
    (one,) = prunings(Run.open(copy).records())
    assert one.how == (
        "taylor",
        "90 params",
        "per layer",
        "rounded by time",
        "2 rounds of 2 epochs",
        "lr 0.01",
    )
    for stage, reading in zip(answer["stages"], one.readings, strict=True):
        assert reading.stage == stage["label"]
        assert reading.get("valid/accuracy") == stage["metrics"]["accuracy"]
        assert reading.get("params") == stage["costs"]["params"]
    assert one.widths == {"fc1": (8, group["after"])}
    assert "round 1" in Path(answer["report"]).read_text("utf-8")


@pytest.mark.slow
def test_several_sizes_are_files_and_prunings_of_their_own(call: Call, copy: Path) -> None:
    said = call(
        "slim", "wine", "--lam", "0.1", "--size", "70 params, 105 params", "--epochs", "1",
        "--out", "small.safetensors", "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    kept = {stage["path"]: stage for stage in answer["stages"] if stage["path"]}
    assert list(kept) == ["small-105-params.safetensors", "small.safetensors"]
    assert answer["path"] == "small.safetensors"
    assert [stage["label"] for stage in answer["stages"]] == [
        *("before", "pruned", "round 1", "round 2")
    ]
    run = Run.open(copy)
    part = open_task(run).valid
    for path, stage in kept.items():
        net = load_network(path, load_net(run.config))
        assert sum(p.numel() for p in net.parameters()) == stage["costs"]["params"]
        assert {"params", "macs", "bytes", "ms_1", "ms_64"} <= stage["costs"].keys()
        right = float((outputs(net, part).argmax(1) == part.y).float().mean())
        assert right == pytest.approx(stage["metrics"]["accuracy"])
    found = {one.how[1]: one for one in prunings(run.records())}
    assert list(found) == ["105 params", "70 params"]
    assert [one.how[-2] for one in found.values()] == ["1 round of 1 epoch", "2 rounds of 1 epoch"]
    sizes = [stage["costs"]["params"] for stage in kept.values()]
    assert [one.after.get("params") for one in found.values()] == sizes == [105, 71]


@pytest.mark.slow
def test_prunings_stand_side_by_side_and_the_report_is_made_again(call: Call, copy: Path) -> None:
    for args in (
        ["--share", ".3"],
        ["--share", ".6", "--criterion", "magnitude"],
        ["--share", ".3"],
    ):
        assert call("slim", "wine", "--lam", "1", *args).code == 0
    report = copy / "report.html"
    first = report.read_text("utf-8")
    report.unlink()
    assert call("report", "wine").code == 0
    assert report.read_text("utf-8") == first
    assert "1 · density, 30% of the channels" in first and "2 · magnitude, 60% of" in first
    assert "3 · " not in first, "the same again takes the place of what it repeats"


def test_records_of_an_older_netdial_are_shown_as_far_as_they_go(call: Call, copy: Path) -> None:
    run = Run.open(copy)
    run.record(
        early("wine", "structured", 0.1, 0, run.last_step, name, value, "", share)
        for share, values in ((0.0, (0.9, 139.0)), (0.5, (0.8, 71.0)))
        for name, value in zip(("valid/accuracy", "params"), values, strict=True)
    )
    assert call("report", "wine").code == 0
    page = (copy / "report.html").read_text("utf-8")
    assert "a criterion that was not recorded" in page and "Prune again to see it" in page


@pytest.mark.slow
def test_the_same_again_is_the_same_network(call: Call, copy: Path) -> None:
    for name in ("a", "b"):
        assert call("slim", "wine", "--share", ".3", "--out", name).code == 0
    one, other = (read_recipe(name) for name in ("a", "b"))
    assert one.plan == other.plan
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


ATTENDING = """
import torch
import torch.nn.functional as F
from torch import nn

x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.head = nn.Linear(1, 24), nn.Linear(8, 3)
    def forward(self, x):
        q, k, v = (part.view(len(x), -1, 2, 4).transpose(1, 2) for part in self.qkv(x[..., None]).chunk(3, -1))
        return self.head(F.scaled_dot_product_attention(q, k, v, scale=0.5).transpose(1, 2).flatten(2).mean(1))

def problem():
    return Net(), (x, y), (x, y), (x, y)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("heads", "widths"), [("whole", (2, 1)), ("inside", (4, 2))])
def test_heads_lose_channels_or_go_as_a_whole(
    call: Call, tmp_path: Path, heads: str, widths: tuple[int, int]
) -> None:
    Path("attending.py").write_text(ATTENDING, "utf-8")
    made = call(
        "fit", "attending:problem", "--name", "heads", "--epochs", "1", "--points", "2", "-q"
    )  # fmt: skip
    assert made.code == 0, made.err
    said = call("slim", "heads", "--heads", heads, "--no-exact", "--lenient", "--trust")
    assert said.code == 0, said.err
    (one,) = prunings(Run.open(tmp_path / "runs" / "heads").records())
    assert one.widths == {"qkv": widths}
    assert ("inside of heads" in one.how) == (heads == "inside")
    assert {"normalised channels, too", "whole around unknown operations"} <= set(one.how)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--heads", "half"], "unknown heads 'half' (allowed: inside, whole)"),
        (["--share", "1"], "share=1: outside (0, 1)"),
        (["--share", ".5", "--size", "9 params"], "either a share"),
        (["--size", "1M params"], "there is nothing to remove"),
        (["--size", "2 params"], "there are still 20"),
        (["--size", "20"], "the unit is missing"),
        (["--criterion", "densty"], "did you mean 'density'?"),
        (["--per", "mac"], "unknown per 'mac'"),
        (["--minimum", "8", "--size", "90 params"], "there are still 139"),
        (["--lam", "1e9"], "outside the trained range"),
        (["--lr", "0.1"], "--lr is about training"),
        (["--size", "99 params, 50 params"], "add --epochs"),
        (["--size", "99 params, 50 macs", "--epochs", "1"], "in different units"),
        (["--lr", "0", "--epochs", "1"], "--lr 0.0: input should be greater than 0"),
        (["--minimum", "0"], "--minimum"),
        (["--scope", "lyer"], "did you mean 'layer'?"),
        (["--shares", "0.5"], "--shares; did you mean --share?"),
        (["--rows"], "--rows"),
    ],
)
def test_wrong_use_is_one_line_and_leaves_the_run_as_it_was(
    call: Call, copy: Path, args: list[str], words: str
) -> None:
    before = (copy / "records.jsonl").read_bytes()
    said = call("slim", "wine", *args)
    assert said.code == 2
    assert said.out == ""
    assert words in said.line
    assert before == (copy / "records.jsonl").read_bytes()
    assert not list(Path().glob("*.safetensors"))


def test_points_have_no_density_and_linear_networks_no_channels(call: Call) -> None:
    args = ("--objective", "l2", "--model", "linear", "--epochs", "1", "--points", "2", "-q")
    assert call("fit", "wine", *args).code == 0
    said = call("slim", "wine")
    assert (said.code, "no channel can go" in said.line) == (2, True)
    said = call("slim", "wine", "--criterion", "density")
    assert (said.code, "a point posterior has none" in said.line) == (2, True)


@pytest.mark.slow
def test_inputs_that_go_are_told_by_their_names(call: Call, copy: Path) -> None:
    args = (
        "slim",
        "wine",
        "--lam",
        "0.1",
        "--share",
        "0.6",
        "--criterion",
        "magnitude",
        "--inputs",
    )
    said = call(*args, "--out", "small.safetensors")
    assert said.code == 0, said.err
    answer = json.loads(call(*args, "--out", "again.safetensors", "--json").out)
    left = answer["inputs"]
    assert 0 < len(left) < 13
    schema = open_task(Run.open(copy)).schema
    assert schema is not None
    assert answer["columns"] == [schema.names[at] for at in left]
    assert f"reads {len(left)} of 13 inputs: {', '.join(answer['columns'])}" in " ".join(
        said.out.split()
    )
    run = Run.open(copy)
    net = load_network("small.safetensors", load_net(run.config))
    assert answer["stages"][-1]["costs"]["params"] == sum(p.numel() for p in net.parameters())
    assert answer["stages"][0]["costs"]["bytes"] == (14 * 8 + 9 * 3) * 4, (
        "a pick is none of the member's"
    )


@pytest.mark.slow
def test_a_second_network_does_not_replace_the_first(call: Call, copy: Path) -> None:
    """The file of one share was overwritten by that of another one."""
    assert call("slim", "wine", "--lam", "0.1", "--share", "0.5").code == 0
    first = Path("wine-lam0.1-small.safetensors").read_bytes()
    said = call("slim", "wine", "--lam", "0.1", "--share", "0.25")
    assert "wine-lam0.1-small-2.safetensors" in said.out
    assert Path("wine-lam0.1-small.safetensors").read_bytes() == first
    assert read_recipe("wine-lam0.1-small-2.safetensors").widths == {"fc1": 6}


@pytest.mark.slow
def test_a_file_is_slimmed_on_the_rows_of_its_run_whatever_their_split(call: Call) -> None:
    words = ("--split-seed", "3", "--valid", "0.3", "--epochs", "1", "--points", "2", "--quiet")
    assert call("fit", "wine", "--name", "other", *words).code == 0
    assert call("export", "other", "--lam", "1", "--out", "one.safetensors").code == 0
    rows = open_task(Run.open(Path("runs/other"))).rows
    for file in ("one.safetensors", "small.safetensors"):
        found = from_file(Path(file), None, None).data
        assert all(torch.equal(found.rows[part], rows[part]) for part in rows)
        if file.startswith("one"):
            said = call("slim", file, "--share", "0.5", "--out", "small.safetensors")
            assert said.code == 0, said.err
    data = nd.load_data("wine", seed=3)
    net = nd.build("mlp:4", input_shape=(13,), n_outputs=3)
    nd.save(nd.slim(net, share=0.5, data=data.train), "untold.safetensors", data=data)
    refused = call("slim", "untold.safetensors", "--data", "wine")
    assert refused.code == 2 and "wine is not read and split as it was" in refused.err

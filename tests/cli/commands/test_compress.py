"""``netdial compress``: a file that holds the network, records and report; a model file; wrong use is one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import netdial as nd
from netdial.compression import ledger, read, write
from netdial.jobs.opening import open_run
from netdial.measure.forward import outputs
from netdial.report.sections.compress import waterfall_figure
from netdial.report.text import count
from netdial.runs.curves import members
from netdial.runs.results.compressions import TRAINED_ON, compressions
from netdial.runs.run import Run

from ...marks import may_be_useless
from ..conftest import Call

SHORT = ("--epochs", "2", "--tuning", "1", "--values", "8")


@pytest.fixture
def copy(wine: Path, tmp_path: Path) -> Path:
    shutil.copytree(wine, tmp_path / "runs" / "wine")
    return tmp_path / "runs" / "wine"


@pytest.mark.slow
def test_a_regression_is_compressed_and_its_losses_have_units(call: Call) -> None:
    few = ("--epochs", "2", "--points", "2", "--samples", "1", "--quiet")
    assert call("fit", "diabetes", "--name", "d", *few).code == 0
    said = call("compress", "d", "--lam", "0.1", "--max-loss", "0.3", "--out", "d.ndz", *SHORT)
    assert said.code == 0, said.err
    assert "the loss is the squared error in variances of the target" in " ".join(said.out.split())
    assert "whose loss (squared error in variances of the target) rises" in said.out
    assert "of the file are no weights" in said.out and "times larger" in said.out
    (one,) = compressions(Run.open(Path("runs/d")).records())
    before, after = (one.stages[stage] for stage in ("dense", "coded"))
    assert before["valid/rmse"] > 40, "in units of the target, whose standard deviation is 77"
    assert before["valid/rmse"] < after["valid/rmse"] < 100
    refused = call("compress", "d", "--lam", "0.1", "--lengths", "--out", "e.ndz", *SHORT)
    assert refused.code == 2 and "has numbers as targets" in refused.err
    assert not Path("e.ndz").exists(), "refused before the work"
    page = Path("runs/d/report.html").read_text("utf-8")
    assert '<th scope="col">squared error in variances of the target</th>' in page


@pytest.mark.slow
def test_tables_file_records_and_report(call: Call, copy: Path) -> None:
    said = call(
        "compress", "wine", "--lam", "0.1", "--max-bytes", "1600", "--out", "small.ndz", *SHORT
    )
    assert said.code == 0, said.err
    for words in (
        "Tensors",
        "fc1.weight",
        "Sizes on validation rows",
        "dense",
        "coded",
        "times smaller",
    ):
        assert words in said.out
    assert "no loss" not in said.out, "nothing was judged"
    assert Path("small.ndz").stat().st_size <= 1600
    run = Run.open(copy)
    assert not (copy / "compress").exists(), "work that is done leaves nothing"
    (one,) = compressions(run.records())
    assert one.lam == 0.1 and one.how["max_bytes"] == 1600
    assert 0 < one.bounds["no context"] < one.stages["dense"]["bytes"]
    assert one.bounds["neighbours, rows, columns"] == pytest.approx(
        sum(row["bits"] for row in one.layers.values()) / 8
    )
    assert sum(one.split.values()) == ledger("small.ndz").size == Path("small.ndz").stat().st_size
    empty = {name: {**row, "bytes": 0.0} for name, row in one.stages.items() if name != "coded"}
    none_left = replace(one, stages={**one.stages, **empty}, bounds={"no context": 0.0})
    assert waterfall_figure(none_left).layout.yaxis.type == "log"
    page = run.report_path.read_text("utf-8")
    assert "Compressed to a file" in page and "max-bytes 1600" in page
    assert "code length, no context" in page
    assert one.ratio == pytest.approx(
        one.stages["dense"]["bytes"] / Path("small.ndz").stat().st_size
    )
    held = read("small.ndz")
    assert held.recipe["net"]["spec"] == run.config["model"]
    assert held.meta["lam"] == 0.1
    _, task = open_run(run)
    net = nd.load_model("small.ndz")
    assert all(
        torch.equal(net.get_parameter(n), torch.from_numpy(t)) for n, t in held.dense().items()
    )
    right = float((outputs(net, task.valid).argmax(1) == task.valid.y).float().mean())
    assert one.stages["coded"]["valid/accuracy"] == pytest.approx(right)


@pytest.mark.slow
def test_a_slimmed_network_comes_back_with_its_smaller_layers(call: Call, copy: Path) -> None:
    said = call("slim", "wine", "--lam", "0.1", "--out", "slim.safetensors")
    assert said.code == 0, said.err
    said = call("compress", "slim.safetensors", "--max-bytes", "2400", "--out", "slim.ndz", *SHORT)
    assert said.code == 0, said.err
    small = nd.load_model("slim.ndz")
    assert small.get_parameter("fc1.weight").shape == (4, 13)
    held = read("slim.ndz").dense()
    assert all(torch.equal(p, torch.from_numpy(held[n])) for n, p in small.named_parameters())
    assert len(small.predict(nd.load_data("wine").valid.x)) == len(nd.load_data("wine").valid)


@pytest.mark.slow
@may_be_useless
def test_dense_is_the_member_that_was_evaluated(call: Call, copy: Path) -> None:
    said = call("compress", "wine", "--max-loss", "9", *SHORT)
    assert said.code == 0, said.err
    records = Run.open(copy).records()
    (one,) = compressions(records)
    own = next(row for row in members(records) if row.lam == one.lam).values["valid/nll"]
    dense = one.stages["dense"]
    assert dense["valid/loss"] == pytest.approx(own, rel=1e-5)
    assert dense["valid/nll"] == pytest.approx(own, rel=1e-5)
    reference = one.stages[TRAINED_ON]["valid/loss"]  # two more epochs make this member better
    assert reference < own
    assert "trained on" in said.out


@pytest.mark.slow
def test_seeds_beside_controls_as_json(call: Call, copy: Path) -> None:
    said = call("compress", "wine", "--max-bytes", "1700", "--seeds", "2", "--json", *SHORT)
    assert said.code == 0, said.err
    answer = json.loads(said.out)
    assert answer["bytes"] == Path(answer["path"]).stat().st_size == sum(answer["ledger"].values())
    assert answer["verdict"]["seeds"] == 2 and answer["verdict"]["no_loss"] is False
    assert [stage["label"] for stage in answer["stages"]] == ["dense", "pruned", "shared", "coded"]
    (one,) = compressions(Run.open(copy).records())
    assert one.verdict["seeds"] == 2


@pytest.mark.slow
def test_a_model_in_a_file(call: Call, copy: Path) -> None:
    family, _ = open_run(Run.open(copy))
    config = Run.open(copy).config
    net = {"spec": config["model"], "input_shape": config["input_shape"], "n_outputs": 3}
    nd.save(family, "member", lam=0.1, about={"data": "wine", "net": net})
    said = call(
        "compress", "member/model.safetensors", "--data", "wine", "--max-bytes", "700", *SHORT
    )
    assert said.code == 0, said.err
    assert Path("model.ndz").stat().st_size <= 700
    assert read("model.ndz").recipe["net"] == net


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-bytes", "900", "--price", "1"), "exclude each other"),
        (("--margin", "0.1"), "--seeds"),
        (("--max-bytes", "10"), "greater than or equal to 64"),
        (("--criterion", "magnitud"), "magnitude"),
        (("--lam", "1e9"), "outside the trained range"),
    ],
)
def test_wrong_use_is_one_line(call: Call, copy: Path, words: tuple[str, ...], told: str) -> None:
    said = call("compress", "wine", *words)
    assert said.code == 2
    assert told in said.err and "Traceback" not in said.err
    assert not compressions(Run.open(copy).records())


@pytest.mark.slow
def test_a_whole_family_in_one_file(call: Call, copy: Path) -> None:
    said = call("compress", "wine", "--family", "--max-bytes", "1500", *SHORT)
    assert said.code == 0, said.err
    family = nd.load_model("wine.ndz")
    assert isinstance(family, nd.Family)
    data = nd.load_data("wine")
    Path("rows.csv").write_text(
        ",".join(data.schema.columns) + "\n" + ",".join(["1.5"] * 13) + "\n", encoding="utf-8"
    )
    for lam in ((), ("--lam", "0.37")):
        assert call("predict", "wine.ndz", "rows.csv", *lam).out.startswith("class,")
    assert "λ from" in call("inspect", "wine.ndz").out
    (one,) = compressions(Run.open(copy).records())
    assert one.how["members"] == "all" and one.ratio > 1
    assert "members all" in Run.open(copy).report_path.read_text("utf-8")
    for words in (("--seeds", "5"), ("--lengths",)):
        refused = call("compress", "wine", "--family", *words)
        assert refused.code == 2 and "--family" in refused.line
    refused = call("compress", "wine.ndz", "--lam", "0.37", "--family", "--price", "1")
    assert refused.code == 2 and "price" in refused.line


@pytest.mark.slow
def test_a_model_of_a_table_is_compressed_from_its_file(call: Call, tmp_path: Path) -> None:
    """The file says which column is the target and how the table is read; other rows or another split are refused."""
    source = torch.Generator().manual_seed(0)
    numbers = torch.randn(60, 2, generator=source).tolist()
    lines = [f"{a:.3f};{b:.3f};{'yes' if a > 0 else 'no'}" for a, b in numbers]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["a;b;answer", *lines]) + "\n")
    fit = (
        "fit",
        "t.csv",
        "--target",
        "answer",
        "--model",
        "mlp:8",
        "--epochs",
        "2",
        "--points",
        "2",
    )
    assert call(*fit, "--quiet", "--name", "t").code == 0
    assert call("export", "t", "--lam", "1", "--out", "one.safetensors").code == 0
    words = ("compress", "one.safetensors", "--max-bytes", "1500", *SHORT, "--out", "t.ndz")
    told = call(*words)
    assert told.code == 0, told.err
    assert Path("t.ndz").stat().st_size <= 1500
    told = call("compress", "t.ndz", "--max-bytes", "1400", *SHORT, "--out", "again.ndz")
    assert told.code == 0, told.err  # a small file tells how the table is read with fewer digits
    table.write_text("\n".join(["a;b;answer", *lines[:50]]) + "\n")
    told = call(*words)
    assert told.code == 2
    assert "t.csv is not read and split as it was when the model was trained" in told.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        ("search", "--strategy", "random", "--options", "trials=1", "--no-compare"),
        ("shrink", "--model", "mlp:8", "--size", "20 params"),
    ],
    ids=["searched", "shrunk"],
)
def test_a_compressed_network_of_any_way_opens_predicts_and_is_compressed_again(
    call: Call, tmp_path: Path, way: tuple[str, ...]
) -> None:
    lines = [f"{i % 7},{(i * 5) % 11},{'yes' if i % 7 > 3 else 'no'}" for i in range(60)]
    Path("rows.csv").write_text("a,b,y\n" + "\n".join(lines), "utf-8")
    said = call(way[0], "rows.csv", "--target", "y", "--epochs", "2", "-q", *way[1:])
    assert said.code == 0, said.err
    report = Path("runs", f"rows-{way[0]}", "report.html")
    assert 'id="compressed"' not in report.read_text("utf-8")
    for source, out in ((f"rows-{way[0]}", "one.ndz"), ("one.ndz", "two.ndz")):
        said = call("compress", source, "--max-bytes", "9000", "--out", out, *SHORT)
        assert said.code == 0, said.err
        said = call("predict", out, "rows.csv", "--out", "guess.csv")
        assert said.code == 0, said.err
        lines = Path("guess.csv").read_text("utf-8").splitlines()
        assert lines[0].startswith("y,probability of no") and len(lines) == 61
    page = report.read_text("utf-8")
    assert 'id="compressed"' in page and count(Path("one.ndz").stat().st_size) in page


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_intervals_are_those_of_the_errors_of_the_compressed_network(
    call: Call, tmp_path: Path, whole: bool
) -> None:
    source = np.random.default_rng(0)
    x = source.normal(size=(300, 3))
    y = x @ [3.0, -2.0, 1.0] + 0.1 * source.normal(size=300)
    rows = [",".join(f"{v:.4f}" for v in (*one, t)) for one, t in zip(x, y, strict=True)]
    Path("line.csv").write_text("a,b,c,y\n" + "\n".join(rows), "utf-8")
    fit = ("--model", "mlp:16", "--epochs", "40", "--points", "2", "--samples", "0", "-q")
    assert call("fit", "line.csv", "--target", "y", *fit).code == 0
    small = ("--max-bytes", "1700" if whole else "1300", "--out", "small.ndz", *SHORT)
    which = ("--family",) if whole else ("--lam", "0.1")
    said = call("compress", "line", *which, *small)
    assert said.code == 0, said.err
    assert Path("small.ndz").stat().st_size == read_size(said.out) <= int(small[1])
    model = nd.load_model("small.ndz")
    valid = nd.load_data("line.csv", target="y").rows["valid"]
    truth = pd.Series(y).round(4).to_numpy()[valid]
    at = {"lam": 0.1} if whole else {}
    guess = model.predict(pd.DataFrame(x, columns=list("abc")).iloc[valid], level=0.9, **at)
    inside = (guess["y low"] <= truth) & (truth <= guess["y high"])
    assert (guess["y"] - truth).abs().mean() > 0.2, "the file is too small for small errors"
    assert 0.85 <= inside.mean() <= 0.97


def read_size(out: str) -> int:
    """What the command says of the size of the file."""
    return int(out.split("small.ndz: ")[1].split(" bytes")[0])


def test_tensors_without_a_network_are_said_to_be(call: Call, tmp_path: Path) -> None:
    write("bare.ndz", {"w": np.zeros((2, 2), "float32")}, meta={"data": "wine"})
    for words in (("compress", "bare.ndz"), ("predict", "bare.ndz", "rows.csv")):
        said = call(*words)
        assert said.code == 2 and "does not say which network it belongs to" in said.err

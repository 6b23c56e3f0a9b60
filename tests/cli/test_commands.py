"""What each command gives: tables for people, one JSON object for programs, files in their places."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from netdial.models.member import load_member
from netdial.runs.curves import members
from netdial.runs.run import Run

from .conftest import Call

LAMS = [0.01, 1.0, 50.0]


def test_fit_leaves_a_complete_run(wine: Path) -> None:
    for name in (
        "config.json",
        "env.json",
        "splits.json",
        "records.jsonl",
        "log.txt",
        "report.html",
        "DONE",
    ):
        assert (wine / name).is_file(), name
    assert (wine / "checkpoint" / "last.safetensors").is_file()
    assert (wine / "model" / "family.safetensors").is_file()
    config = json.loads((wine / "config.json").read_text())
    assert config["data"] == "wine"
    assert config["model"] == "mlp:8"
    assert config["epochs"] == 3
    assert config["batch_size"] == 16  # of the preset
    assert (config["n_train"], config["n_valid"], config["n_test"]) == (106, 36, 36)
    parts = json.loads((wine / "splits.json").read_text())["parts"]
    assert sorted(row for rows in parts.values() for row in rows) == list(range(178))


def test_fit_prints_a_table_and_the_report(call: Call) -> None:
    said = call(
        "fit", "wine", "--model", "linear", "--epochs", "2", "--points", "9", "--samples", "2"
    )
    assert said.code == 0
    rows = [line for line in said.out.splitlines() if line.startswith("│")]
    assert 7 <= len(rows) <= 9
    assert "best on validation data: λ = " in said.out
    assert "report: runs/wine/report.html" in said.out
    assert "epoch 2/2" in said.err


def test_quiet_says_nothing_but_the_result(call: Call) -> None:
    said = call(
        "fit", "wine", "--model", "linear", "--epochs", "1", "--points", "2", "--samples", "0", "-q"
    )
    assert said.code == 0
    assert said.err == ""
    assert "report:" in said.out


def test_fit_json_is_one_object(call: Call) -> None:
    said = call("fit", "diabetes", "--model", "linear", "--epochs", "2", "--points", "3", "--json")
    answer = json.loads(said.out)
    assert said.code == 0
    assert answer["run"] == "runs/diabetes"
    assert answer["config"]["kind"] == "regression"
    assert answer["headline"]["metric"] == "valid/rmse"
    assert answer["headline"]["loss"] == "squared error in variances of the target"
    said = call("choose", "diabetes", "--agreement")
    assert "rmse above the best" in " ".join(said.out.split()) and " lost " not in said.out
    told = json.loads(call("choose", "diabetes", "--json").out)
    assert told["loss"] == "squared error in variances of the target"
    assert answer["config"]["objective"] == "l1" and answer["config"]["regions"] == 3
    assert [row["lam"] for row in answer["members"]] == [0.01, 0.316227766017, 10.0]
    assert {"valid/rmse", "test/rmse", "norm", "objective"} <= set(answer["members"][0])
    assert not {"kl_bits", "test/rmse_predictive"} & set(answer["members"][0])


def test_members_with_a_posterior_have_its_divergence(wine: Path) -> None:
    rows = members(Run.open(wine).records())
    assert [row.lam for row in rows] == pytest.approx([0.001, 0.0178, 0.316, 5.62, 100], rel=1e-2)
    names = {"valid/nll", "test/nll_predictive", "kl_bits", "effective_parameters", "objective"}
    assert names <= set(rows[0].values) and "norm" not in rows[0].values


def test_networks_trained_directly_are_evaluated_at_their_own_values(call: Call) -> None:
    args = (
        "--map",
        "table",
        "--lams",
        "0.01,1,100",
        "--model",
        "linear",
        "--epochs",
        "2",
        "--samples",
        "0",
    )
    answer = json.loads(call("fit", "wine", *args, "--json").out)
    assert [row["lam"] for row in answer["members"]] == [0.01, 1.0, 100.0]


def test_a_point_family_has_no_divergence(call: Call) -> None:
    args = ("--objective", "l2", "--model", "linear", "--epochs", "1", "--points", "2")
    answer = json.loads(call("fit", "wine", *args, "--json").out)
    assert "kl_bits" not in answer["members"][0]
    assert "objective" in answer["members"][0]


def test_fit_of_a_table(call: Call, tmp_path: Path) -> None:
    rows = [
        f"{i},{'red' if i % 3 else 'blue'},{i * 0.5 if i % 7 else ''},{i % 2}" for i in range(60)
    ]
    (tmp_path / "my.csv").write_text("\n".join(["a,colour,b,y", *rows]))
    args = ("--target", "y", "--epochs", "2", "--points", "2", "--samples", "0")
    answer = json.loads(call("fit", "my.csv", *args, "--json").out)
    assert answer["run"] == "runs/my"
    assert answer["config"]["model"] == "mlp:64-64"
    assert answer["config"]["load"] == {"target": "y"}
    assert list(answer["config"]["files"]) == ["my.csv"]
    assert call("evaluate", "my", "--lams", "1").code == 0


def test_a_table_that_has_changed_is_noticed(call: Call, tmp_path: Path) -> None:
    rows = [f"{i},{i % 2}" for i in range(40)]
    (tmp_path / "my.csv").write_text("\n".join(["a,y", *rows]))
    assert (
        call(
            "fit", "my.csv", "--target", "y", "--epochs", "1", "--points", "2", "--samples", "0"
        ).code
        == 0
    )
    (tmp_path / "my.csv").write_text("\n".join(["a,y", *rows, "40,0"]))
    said = call("evaluate", "my")
    assert said.code == 2
    assert "the data have changed since the run was made (my.csv: other contents)" in said.line
    assert "leave these options out" not in said.line


FUNCTION = """
import torch
from torch import nn

def make():
    x = torch.linspace(-1, 1, 40)[:, None] * torch.ones(3)
    y = (x[:, 0] > 0).long()
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (x, y), (x, y), (x, y)
"""


def test_fit_of_a_function_of_the_users(call: Call, tmp_path: Path) -> None:
    (tmp_path / "usermake.py").write_text(FUNCTION)
    args = ("--epochs", "2", "--points", "2", "--samples", "0")
    answer = json.loads(call("fit", "usermake:make", *args, "--json").out)
    assert answer["run"] == "runs/usermake-make"
    assert answer["config"]["model"] == "Sequential"
    assert call("evaluate", "usermake-make", "--lams", "1").code == 2
    assert call("evaluate", "usermake-make", "--lams", "1", "--trust").code == 0
    exported = call(
        "export", "usermake-make", "--lam", "1", "--format", "torch-export", "--trust", "--json"
    )
    assert json.loads(exported.out)["path"] == "usermake-make-lam1.pt2"


def test_evaluate_agrees_with_the_run(call: Call, wine: Path) -> None:
    answer = json.loads(call("evaluate", str(wine), "--split", "test", "--json").out)
    recorded = [json.loads(line) for line in (wine / "records.jsonl").read_text().splitlines()]
    wanted = {
        (where["lam"], where.get("using"), r["name"]): r["value"]
        for r in recorded
        if (where := r["where"])["method"] == "evaluate" and where.get("part") == "test"
    }
    assert len(answer["members"]) == 5
    for row in answer["members"]:
        for name in ("accuracy", "nll"):
            assert row[name] == pytest.approx(wanted[row["lam"], None, name], abs=1e-6)
        averaged = wanted[row["lam"], "predictive", "nll"]
        assert row["nll_predictive"] == pytest.approx(averaged, abs=1e-6)


def test_evaluate_at_given_values(call: Call, wine: Path) -> None:
    answer = json.loads(
        call("evaluate", str(wine), "--lams", "0.01,1,50", "--samples", "0", "--json").out
    )
    assert [row["lam"] for row in answer["members"]] == LAMS
    assert answer["split"] == "valid"
    table = call("evaluate", "wine", "--runs-dir", str(wine.parent), "--points", "11")
    assert table.code == 0
    assert len([line for line in table.out.splitlines() if line.startswith("│")]) == 12
    assert "a constant" in table.out


@pytest.mark.slow
def test_export_gives_an_ordinary_network(call: Call, wine: Path, tmp_path: Path) -> None:
    answer = json.loads(
        call("export", str(wine), "--lam", "1", "--out", "out/m.safetensors", "--json").out
    )
    net = load_member(tmp_path / "out" / "m.safetensors")
    assert net(torch.zeros(4, 13)).shape == (4, 3)
    assert answer["path"] == "out/m.safetensors"
    assert answer["format"] == "safetensors"
    assert answer["size_bytes"] > 0


def test_export_to_another_ending_is_refused(call: Call, wine: Path, tmp_path: Path) -> None:
    said = call("export", str(wine), "--lam", "1", "--out", "net.pth")
    assert said.code == 2
    assert "'.pth'" in said.err and "none (a folder)" in said.err
    assert not (tmp_path / "net.pth").exists()


@pytest.mark.slow
def test_export_to_onnx(call: Call, wine: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    said = call("export", str(wine), "--lam", "0.5", "--format", "onnx")
    assert said.code == 0
    assert "wine-lam0.5.onnx: onnx" in said.out
    runtime.InferenceSession(str(tmp_path / "wine-lam0.5.onnx"), providers=["CPUExecutionProvider"])


def test_report_writes_the_page_again(call: Call, wine: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(wine, copy)
    (copy / "report.html").unlink()
    answer = json.loads(call("report", str(copy), "--json").out)
    assert answer["report"] == str(copy / "report.html")
    assert (copy / "report.html").read_text().startswith("<!doctype html>") or (
        copy / "report.html"
    ).stat().st_size
    assert call("report", str(copy)).out.startswith("report: ")


def test_list_shows_runs_and_what_is_wrong_with_them(
    call: Call, wine: Path, tmp_path: Path
) -> None:
    shutil.copytree(wine, tmp_path / "runs" / "good")
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "config.json").write_text("{")
    answer = json.loads(call("list", "--json").out)
    found = {row["name"]: row for row in answer["runs"]}
    assert found["good"]["status"] == "done"
    assert found["good"]["metric"] == "valid/nll"
    assert 0 <= found["good"]["accuracy"] <= 1
    assert found["bad"]["status"] == "damaged"
    table = call("list")
    assert table.code == 0
    assert "good" in table.out and "log loss" in table.out


def test_list_of_nothing_says_how_to_start(call: Call) -> None:
    assert "netdial fit wine" in call("list").out
    assert json.loads(call("list", "--json").out) == {"runs_dir": "runs", "runs": []}


def test_doctor(call: Call, tmp_path: Path) -> None:
    answer = json.loads(call("doctor", "--data-dir", str(tmp_path), "--json").out)
    assert answer["ok"] is True
    assert answer["torch"]["version"] == torch.__version__
    assert answer["data"] == {"folder": str(tmp_path), "mnist": False, "cifar10": False}
    said = call("doctor")
    assert said.code == 0
    assert said.out.strip().endswith("ready")


def test_doctor_names_missing_extras_and_the_trap(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netdial.cli.commands import doctor

    monkeypatch.setitem(doctor.EXTRAS, "export", ("onnx-of-another-world",))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
    said = call("doctor")
    assert "extra export: missing onnx-of-another-world (pip install 'netdial[export]')" in said.out
    assert "warning: torchvision is installed" in said.out
    monkeypatch.setattr(doctor, "CORE", ("numpy-of-another-world",))
    said = call("doctor")
    assert said.code == 1
    assert "problem: numpy-of-another-world is missing" in said.out

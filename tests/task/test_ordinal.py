"""A third task is one file: fit, evaluate, choose, weigh, predict, save and the command line take it by its name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.cli import main
from netdial.core.errors import ConfigError, DataError, ShapeError

from .toy_task import Ordinal, registered

pandas = pytest.importorskip("pandas")


@pytest.fixture(autouse=True, scope="module")
def _known() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture(scope="module")
def graded() -> tuple[Tensor, Tensor]:
    """Grades 0 to 3 by a score of three inputs."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(160, 3, generator=source)
    score = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.2 * torch.randn(160, generator=source)
    return x, (score > -1.5).long() + (score > 0).long() + (score > 1.5).long()


@pytest.fixture(scope="module")
def family(graded: tuple[Tensor, Tensor]) -> nd.Family:
    settings: dict[str, Any] = {"objective": "scaled-kl", "epochs": 60, "batch_size": 40, "lr": 0.1}
    return nd.fit(nn.Linear(3, 3), graded, kind="ordinal", **settings)


def test_the_likelihood_is_a_law_over_classes_and_means_come_back() -> None:
    outputs = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    task, probs = Ordinal(), Ordinal().to_mean(outputs)
    assert probs.shape == (50, 4) and bool((probs > 0).all())
    assert torch.allclose(probs.sum(dim=1), torch.ones(50).double())
    assert torch.allclose(task.of_mean(probs), outputs, atol=1e-6)
    y = torch.arange(50) % 4
    assert torch.allclose(task.nll(outputs, y), -probs[torch.arange(50), y].log())
    assert torch.equal(task.member_nll(outputs[None], y)[0], task.nll(outputs, y))


@pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")
def test_a_family_is_trained_measured_and_chosen_from(
    family: nd.Family, graded: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    assert family.task == Ordinal() and family.n_data == 160
    found = nd.evaluate(family, graded, lams=[1e-3], n_samples=2).members[0]
    assert found.metrics["distance"] < 0.3 and found.predictive["nll"] < 0.6 * math.log(4)
    choice = nd.choose(family, graded, train=graded, lams=3, shares=(0.0, 0.5))
    assert choice.table.metric == "nll" and choice.row.value < math.log(4)
    assert nd.assess(family, graded, lams=[1.0], by=["elbo", "waic"])[0].value > 0
    assert list(nd.surface(family, graded, lams=[1.0]).metrics) == ["distance", "nll"]
    with pytest.raises(ConfigError, match="'ordinal' has no curvature"):
        nd.assess(family, graded, lams=[1.0], by=["laplace-kronecker"])
    nd.finetune(family, 1.0, graded, epochs=1)
    nd.save(family, tmp_path / "f.safetensors")
    assert nd.load_model(tmp_path / "f.safetensors", nn.Linear(3, 3)).task == Ordinal()


def test_classes_that_the_network_has_no_outputs_for_are_refused(
    graded: tuple[Tensor, Tensor],
) -> None:
    with pytest.raises(ShapeError, match=r"\[2, 2\] .* expected \[2, 3\]"):
        nd.fit(nn.Linear(3, 2), graded, kind="ordinal", epochs=1)
    with pytest.raises(DataError, match="no classes"):
        nd.fit(nn.Linear(3, 3), (graded[0], graded[1][:, None] + 0.5), kind="ordinal", epochs=1)


@pytest.mark.slow
def test_the_command_line_takes_it_by_name(
    graded: tuple[Tensor, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = pandas.DataFrame(graded[0].numpy(), columns=["a", "b", "c"])
    rows["grade"] = [f"grade {k}" for k in graded[1].tolist()]
    rows.to_csv("grades.csv", index=False)
    rows.drop(columns="grade").to_csv("new.csv", index=False)
    assert main(["fit", "--help"]) == 0
    assert "ordinal" in capsys.readouterr().out
    words = ["--target", "grade", "--kind", "ordinal", "--model", "linear", "--epochs", "30"]
    words += ["--lr", "0.1", "--batch-size", "16"]
    assert (
        main(["fit", "grades.csv", *words, "--points", "3", "--samples", "2", "--json", "-q"]) == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert said["config"]["kind"] == "ordinal" and said["config"]["n_outputs"] == 3
    assert main(["evaluate", "grades", "--json"]) == 0
    assert "distance" in capsys.readouterr().out
    assert main(["choose", "grades", "--shares", "0", "--json"]) == 0
    capsys.readouterr()
    assert main(["predict", "grades", "new.csv", "--out", "told.csv"]) == 0
    told = pandas.read_csv("told.csv")
    probabilities = told[[f"probability of grade {k}" for k in range(4)]].to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert (told["grade"] == rows["grade"]).mean() > 0.7

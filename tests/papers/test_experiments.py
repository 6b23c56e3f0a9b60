"""Each experiment at a tiny size: shapes, identities with what the library gives by hand, and what the page must say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from netdial.jobs.pool import make_all
from netdial.measure import evaluate
from netdial.papers import mnist_2021, perform, theory
from netdial.papers.cifar_table2 import ROWS
from netdial.papers.lab.pruned_tables import IMPLEMENTATIONS
from netdial.papers.lab.training import Training
from netdial.runs.store import Store
from netdial.train.config import make_config
from netdial.train.fit import fit


def small(name: str, folder: Path, **options):
    return perform(name, folder=folder, quick=True, workers=1, **options)


@pytest.mark.slow
def test_table1_on_digits(tmp_path: Path) -> None:
    found = small("mnist-table1", tmp_path, data="digits", seeds=2)
    paper, honest, chosen = found.tables
    names = [row[0] for row in paper.rows]
    assert len(names) == len(set(names)) == 9 + 3
    assert {row.words for row in IMPLEMENTATIONS} < set(names)
    assert len(honest.rows) == len(chosen.rows) == len(paper.rows)
    assert set(found.values["rows"]) == set(found.values["curves"]) == set(names)
    for label, row in found.values["rows"].items():
        curve = torch.tensor(found.values["curves"][label]["mean"])
        assert curve.shape == (6, 10)
        assert row["paper_rule"][0] >= float(curve[:, 0].max()) - 1e-9
        assert all(
            best >= mean - 1e-9 for best, mean in zip(row["paper_rule"], row["mean"], strict=True)
        )
    assert found.values["published"] == {}
    assert len(found.figures[0].plot.data) == 9 * 6
    assert found.settings["starts"] == 2


def test_surface_on_digits(tmp_path: Path) -> None:
    found = small("surface", tmp_path, data="digits")
    accuracy, valid = (torch.tensor(found.values[what]) for what in ("accuracy", "valid"))
    assert accuracy.shape == (9, 21)
    for place, lam in enumerate(found.values["best_lams"]):
        row = found.values["lams"].index(lam)
        assert valid[row, place] == valid[:, place].max()
        assert found.values["best_accuracy"][place] == pytest.approx(float(accuracy[row, place]))


@pytest.mark.slow
def test_2021_on_digits(tmp_path: Path) -> None:
    found = small("mnist-2021", tmp_path, data="digits")
    assert len(found.tables) == 3
    for method in found.values["methods"].values():
        assert set(method) == {"as in the paper", "tuned"}
        for row in method.values():
            assert all(0 <= value <= 1 for value in row["accuracy"])
            assert all(math.isfinite(value) for value in row["evidence"])
            assert all(value > 0 for value in row["stability"])
    updates = {m: row["tuned"]["updates"] for m, row in found.values["methods"].items()}
    assert updates["direct"] == mnist_2021.QUICK_EPOCHS * updates["direct, 1 epoch"]
    assert updates["linear map + 1 epoch"] > updates["linear map"]


def test_2021_counts_updates_as_training_does_and_measures_as_evaluate_does(tmp_path: Path) -> None:
    store = Store(tmp_path)
    settings: dict[str, Any] = {"objective": "scaled-kl", "lo": 0.1, "hi": 100.0}
    config = make_config(map="linear", epochs=2, batch_size=64, **settings)
    training = Training("digits", "linear", config, with_valid=True)
    cell = mnist_2021.Measured(training)
    make_all([cell], store, workers=1)
    updates, rows = cell.read(store)
    task, counted = training.task(store), []
    part = training.part(task)
    family = fit(
        training.net(task),
        part,
        config=config,
        report=lambda epoch: counted.append(epoch.n_updates),
    )
    assert updates == counted[-1]
    path = evaluate(family, part, lams=mnist_2021.LAMS, n_samples=8)
    assert [row.evidence for row in rows] == [m.generalised_evidence for m in path.members]
    on_test = evaluate(family, task.test, lams=mnist_2021.LAMS).column("accuracy")
    assert [row.accuracy for row in rows] == pytest.approx(on_test)


def test_2021_protocol_is_the_papers_where_the_paper_says_it() -> None:
    config = mnist_2021.PAPER | mnist_2021.COMMON
    assert config["optimizer"] == "SGD"
    assert (config["lo"], config["hi"], config["hidden"], mnist_2021.EPOCHS) == (0.1, 100.0, 50, 25)


@pytest.mark.slow
def test_theorem_2_on_a_model_with_one_optimum(tmp_path: Path) -> None:
    found = small("theory", tmp_path, data="wine")
    agreement = found.values["agreement"]["wine"]
    assert len(agreement) == len(theory.LAMS)
    assert min(agreement) > 0.5
    for family in found.values["photographs"]:
        first, last = family["taken"][0], family["taken"][-1]
        assert first["epoch"] == 1
        assert sum(last["excess"]) < sum(first["excess"])


def test_rank_correlation_by_hand() -> None:
    a = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    b = torch.tensor([[1.0, 10.0, 100.0, 1000.0], [4.0, 3.0, 1.0, 2.0]])
    assert theory._spearman(a, b).tolist() == pytest.approx([1.0, -0.8])


def test_photographs_are_spread_over_the_epochs() -> None:
    config = make_config(epochs=300)
    training = Training("wine", "linear", config)
    epochs = theory.Photographs(training, training).epochs
    assert epochs[0] == 1
    assert epochs[-1] == 300
    assert len(epochs) == 12


IMAGES = """
import torch
from sklearn.datasets import load_digits

def load():
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).repeat_interleave(4, 1).repeat_interleave(4, 2)
    x, y = (x[:, None].expand(-1, 3, -1, -1).contiguous() / 8 - 1)[:360], torch.tensor(digits.target)[:360]
    return torch.nn.Flatten(), (x[:240], y[:240]), (x[240:300], y[240:300]), (x[300:], y[300:])
"""


@pytest.mark.slow
def test_cifar_table_on_other_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "enlarged_digits.py").write_text(IMAGES)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = small("cifar-table2", tmp_path / "x", data="enlarged_digits:load")
    assert [row[0] for row in found.tables[0].rows] == [row.words for row in ROWS]
    assert [row.letter for row in ROWS] == list("acdfgi")
    assert len(found.figures[0].plot.data) == 6 * 3
    assert "146 times" in found.notes[0]

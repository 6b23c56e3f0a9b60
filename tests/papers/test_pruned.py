"""Cells that train and measure: what they keep is what the library gives when it is called by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import netdial as nd
from netdial.jobs.pool import make_all
from netdial.measure import evaluate
from netdial.papers.lab.pruned import Accuracy, PrunedFamily
from netdial.papers.lab.pruned_tables import (
    chosen_table,
    columns_of,
    gather,
    honest_table,
    paper_table,
)
from netdial.papers.lab.training import Training, both, classification
from netdial.runs.store import Store
from netdial.train.config import make_config

LAMS = (0.01, 1.0, 100.0)


def training(**settings) -> Training:
    config = make_config(epochs=2, batch_size=64, **{"lo": 0.01, "hi": 100.0, **settings})
    return Training("digits", "mlp:8", config, examples=500)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize("objective", ["scaled-kl", "l2", "l1"])
def test_nothing_removed_is_the_accuracy_of_the_family(store: Store, objective: str) -> None:
    cell = PrunedFamily(training(objective=objective), LAMS, (0.0, 0.9))
    make_all([cell], store, workers=1)
    found = cell.read(store)
    assert found.test.shape == (3, 2)
    family, task = cell.training.family(store), cell.training.task(store)
    assert found.test[:, 0].tolist() == pytest.approx(
        evaluate(family, task.test, lams=LAMS).column("accuracy")
    )
    assert found.valid[:, 0].tolist() == pytest.approx(
        evaluate(family, task.valid, lams=LAMS).column("accuracy")
    )


def test_a_training_cell_is_fit(store: Store) -> None:
    cell = training(map="linear", seed=3)
    make_all([cell], store, workers=1)
    task = nd.load_data("digits")
    net = nd.build("mlp:8", input_shape=(64,), n_outputs=10, seed=3)
    by_hand = nd.fit(net, task.train.select(torch.arange(500)), config=cell.config)
    kept = nd.load_model(store.path(cell))
    assert torch.equal(kept.fields_at(LAMS).mean, by_hand.fields_at(LAMS).mean)


def test_a_direct_cell_is_fit_direct(store: Store) -> None:
    cell = training(map="table", lams=LAMS)
    make_all([cell], store, workers=1)
    part = cell.part(cell.task(store))
    net = nd.build("mlp:8", input_shape=(64,), n_outputs=10)
    (by_hand,) = nd.fit_direct(net, part, lams=LAMS, config=cell.config)
    assert torch.equal(cell.family(store).fields_at(LAMS).mean, by_hand.fields_at(LAMS).mean)


def test_training_on_both_parts() -> None:
    task = classification("digits")
    whole = both(task.train, task.valid)
    assert len(whole) == len(task.train) + len(task.valid)
    assert torch.equal(whole.x[-1], task.valid.x[-1])


def test_gathered_starts_lie_in_the_middle(store: Store) -> None:
    cells = [PrunedFamily(training(seed=seed), LAMS, (0.0, 0.5)) for seed in (0, 1)]
    make_all(cells, store, workers=1)
    found = gather(cells, store)
    assert found.test.shape == (3, 2, 2)
    assert torch.equal(found.test[:, 1], cells[1].read(store).test)


def test_tables_read_as_they_are_meant() -> None:
    test = torch.tensor([[[0.9], [0.8]], [[0.7], [0.95]]]).expand(2, 2, 6)
    valid = torch.tensor([[[0.9], [0.8]], [[0.7], [0.70]]]).expand(2, 2, 6)
    found = {"a": Accuracy(valid, test)}
    paper = paper_table(found, {"a": "direct"}, {"a": [0.9676] * 6})
    assert paper.rows[0] == ("direct", *["0.9500"] * 6)
    assert paper.rows[1] == ("", *["0.9676"] * 6)
    honest = honest_table(found, {"a": "direct"})
    assert honest.rows[0][1] == "85.00 ± 7.07"
    chosen = chosen_table(found, {"a": "direct"}, (0.1, 10.0))
    assert chosen.rows == (("direct", *["0.1"] * 6),)


def test_columns_are_those_of_the_paper() -> None:
    shares = tuple(i / 10 for i in range(10))
    accuracy = torch.arange(10.0).expand(2, 3, 10)
    found = columns_of(Accuracy(accuracy, accuracy), shares)
    assert found.test[0, 0].tolist() == [0, 1, 3, 5, 7, 9]

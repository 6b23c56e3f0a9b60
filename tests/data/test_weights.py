"""Weights: whole-number weights are repeated rows, classes balance, and N stays the number of examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netdial as nd
from netdial.core.errors import ConfigError, DataError
from netdial.data.memory import Loader
from netdial.data.memory.rows import arranged
from netdial.data.memory.weights import weighted
from netdial.train.config import make_config
from netdial.train.feed import TensorFeed
from netdial.train.method import FamilyMethod

COUNTS = torch.tensor([1, 2, 3, 1, 4, 1])


def data(weight: Tensor | None = None) -> nd.Dataset:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, generator=source)
    return nd.Dataset(x, torch.tensor([0, 1, 2, 0, 1, 1]), weight=weight)


def repeated() -> nd.Dataset:
    return data().select(torch.arange(6).repeat_interleave(COUNTS))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def gradients(part: nd.Dataset, n_data: int, **settings: Any) -> tuple[Tensor, list[Tensor]]:
    """Returns the fit of a family of points on a whole batch, and the gradients of the step."""
    config = make_config(
        epochs=1, objective="l2", sampling="whole", groups=4, batch_size=64, **settings
    )
    family = nd.Family(net(), config.family())
    method = FamilyMethod(config, task=nd.task.Classification(), n_data=n_data, steps=1)
    state = method.init(family)
    (batch,) = TensorFeed(part, batch_size=64, seed=0).epoch(0)
    measured = method.step(state, batch)
    return measured["fit"], [p.grad for p in family.parameters() if p.grad is not None]


def test_whole_weights_are_repeated_rows_in_the_objective_and_its_gradient() -> None:
    one = weighted(data(COUNTS.float()), None, "classes")
    assert isinstance(one, nd.Dataset) and one.weight is not None
    assert float(one.weight.mean()) == pytest.approx(1)
    fit, grads = gradients(one, 12)
    same, others = gradients(repeated(), 12)
    assert torch.allclose(fit, same, atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(grads, others, strict=True))


def test_evaluate_states_the_objective_of_weighted_data() -> None:
    family = nd.Family(net(), make_config(objective="l2").family())
    one = nd.evaluate(family, data(10 * COUNTS.float()), lams=[1.0], n_data=12).members[0]
    other = nd.evaluate(family, repeated(), lams=[1.0], n_data=12).members[0]
    assert one.objective == pytest.approx(other.objective, rel=1e-6)
    plain = nd.evaluate(family, data(), lams=[1.0]).members[0]
    assert one.metrics == plain.metrics, "metrics count every example once"


def test_balanced_gives_all_classes_the_same_weight() -> None:
    found = weighted(data(COUNTS.float()), "balanced", "classes")
    assert isinstance(found, nd.Dataset) and found.weight is not None
    totals = torch.bincount(found.y, weights=found.weight.double())
    assert torch.allclose(totals, torch.full((3,), 2.0, dtype=torch.float64))
    alone = weighted(data(), {"1": 3.0}, "classes")
    assert isinstance(alone, nd.Dataset) and alone.weight is not None
    assert torch.allclose(alone.weight, torch.tensor([1.0, 3, 1, 1, 3, 3]) / 2)


def test_examples_of_weight_zero_are_left_out() -> None:
    found = weighted(data(torch.tensor([0.0, 1, 0, 2, 1, 0])), None, "classes")
    assert len(found.y) == 3 and found.weight is not None  # type: ignore[union-attr]
    assert torch.allclose(found.weight, torch.tensor([0.75, 1.5, 0.75]))  # type: ignore[union-attr]


@pytest.mark.parametrize("class_weight", [None, "balanced", {"1": 3.0}])
def test_weights_of_a_loader_are_those_of_the_same_data_in_memory(class_weight: Any) -> None:
    part = data(COUNTS.float())
    assert part.weight is not None
    made: DataLoader[Any] = DataLoader(TensorDataset(part.x, part.y, part.weight), batch_size=4)
    loader = Loader(made, "classes").suited("classes", torch.float32, 3)
    found = weighted(loader, class_weight, "classes")
    held = weighted(part, class_weight, "classes")
    assert isinstance(found, Loader) and isinstance(held, nd.Dataset) and held.weight is not None
    weights = torch.cat([b.weight for b in found.batches(0, 0) if b.weight is not None])
    assert torch.allclose(weights.float(), held.weight)


@pytest.mark.parametrize("class_weight", [None, {"0": 0.0}])
def test_examples_of_weight_zero_are_none_of_the_examples_of_a_loader(class_weight: Any) -> None:
    """A family of half of them is the same from a loader and from memory, N included."""
    weight = torch.tensor([2.0, 2.0, 0.0, 0.0]).repeat(6)
    part = torch.randn(24, 4), torch.arange(24) % 3, weight
    loader = DataLoader(TensorDataset(*part), batch_size=24)
    settings = {"epochs": 2, "batch_size": 24, "class_weight": class_weight, "groups": 1}
    one, other = (nd.fit(net(), data, **settings) for data in (part, loader))
    assert one.n_data == other.n_data == (12 if class_weight is None else 8)


def test_fit_takes_weights_of_classes_in_every_form() -> None:
    part = data()
    fits = [
        nd.fit(net(), (part.x, part.y), epochs=2, class_weight=given)
        for given in ({1: 3.0}, [1.0, 3.0, 1.0], {"1": 3.0}, "0=1,1=3,2=1")
    ]
    states = [family.state_dict() for family in fits]
    for state in states[1:]:
        assert all(torch.equal(state[name], states[0][name]) for name in state)
    plain = nd.fit(net(), (part.x, part.y), epochs=2).state_dict()
    assert not all(torch.equal(plain[name], states[0][name]) for name in plain)


def test_the_scale_of_weights_plays_no_part() -> None:
    families = [
        nd.fit(net(), data(scale * COUNTS.float()), epochs=2).state_dict() for scale in (1, 4)
    ]
    assert all(torch.allclose(families[0][n], families[1][n], atol=1e-5) for n in families[0])
    assert nd.fit(net(), data(COUNTS.float()), epochs=1).n_data == 6


def test_shrink_takes_weights() -> None:
    mlp = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    settings: dict[str, Any] = {"lam": 1e-3, "epochs": 2, "batch_size": 12, "optimizer": "SGD"}
    one = nd.shrink(mlp, data(COUNTS.float()), **settings).net
    other = nd.shrink(mlp, repeated(), **settings).net
    for name, value in one.state_dict().items():
        assert torch.allclose(value, other.state_dict()[name], atol=1e-5), name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("balance", "class_weight='balance'"),
        ({3: 1.0}, "no class '3' in the training part; its classes are 0 to 2"),
        ({1: -1.0}, "class_weight: -1 for class 1"),
        ({1: float("nan")}, "class_weight"),
    ],
)
def test_weights_of_classes_that_mean_nothing_are_refused(given: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        nd.fit(net(), data(), epochs=1, class_weight=given)


def test_other_uses_of_weights_are_refused_in_words() -> None:
    x = torch.randn(6, 4)
    with pytest.raises(ConfigError, match="weights of classes need targets that are classes"):
        nd.fit(nn.Linear(4, 1), (x, x[:, :1]), epochs=1, class_weight="balanced")
    pixels = (x[:, None], torch.tensor([[0, 1, 1, 0]] * 6))
    with pytest.raises(ConfigError, match=r"CrossEntropyLoss\(weight="):
        nd.fit(nn.Conv1d(1, 2, 1), pixels, epochs=1, class_weight="balanced")
    with pytest.raises(DataError, match="all weights are 0"):
        nd.fit(net(), data(torch.zeros(6)), epochs=1)
    family = nd.fit(net(), data(), epochs=1)
    with pytest.raises(DataError, match="assess: the data have weights"):
        nd.assess(family, data(COUNTS.float()), lams=2)


@given(st.integers(1, 12), st.integers(0, 5), st.randoms())
def test_rows_are_arranged_by_what_is_in_them(count: int, most: int, random: Any) -> None:
    source = np.random.default_rng(count)
    x = source.integers(0, 3, (count, 2)).astype(float)
    y = source.integers(0, 2, count)
    weight = np.append(source.integers(0, most + 1, count - 1), 1).astype(float)
    order = list(range(count))
    random.shuffle(order)
    rows, left = arranged(x, y, weight)
    again, _ = arranged(x[order], y[order], weight[order])
    times = weight.astype(int)
    repeats, _ = arranged(x.repeat(times, axis=0), y.repeat(times), None)
    assert left is None
    assert np.array_equal(x[rows], x[order][again]) and np.array_equal(y[rows], y[order][again])
    assert np.array_equal(x[rows], x.repeat(times, axis=0)[repeats])


def test_weights_that_are_no_counts_weigh_rows() -> None:
    x, y = np.arange(8.0).reshape(4, 2), np.arange(4)
    rows, weight = arranged(x, y, np.array([0.5, 0.0, 1.5, 2.0]))
    assert sorted(rows.tolist()) == [0, 2, 3]
    assert weight is not None and weight.tolist() == [[0.5, 0, 1.5, 2.0][row] for row in rows]
    with pytest.raises(DataError, match="all weights are zero"):
        arranged(x, y, np.zeros(4))
    with pytest.raises(DataError, match="add up to 4000000000000000000"):
        arranged(x, y, np.full(4, 1e18))

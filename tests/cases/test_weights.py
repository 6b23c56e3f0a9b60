"""Weights of examples and of classes: what they must be worth, by closed forms."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.data.memory.weights import weighted_both
from netdial.structure.spaces import ready_space

from .situations import command, refused, right


class Bias(nn.Module):
    """A network whose outputs are two free logits."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x[:, :1] + self.logits


X = torch.zeros(40, 1)
RARE = (torch.arange(40) % 10 == 0).long()
"""Four of forty."""


def probability(data: Any, **settings: Any) -> float:
    """Returns the probability of class 1 that a network of free logits learns: the weighted share of class 1."""
    family = nd.fit_direct(
        Bias(),
        data,
        lams=[1e-3],
        objective="l2",
        prior_var=100.0,
        lr=0.05,
        epochs=60,
        batch_size=20,
        groups=1,
        **settings,
    )[0]
    return float(family.export(1e-3)(X[:1]).detach().softmax(-1)[0, 1])


@right
def test_without_weights_a_class_counts_by_its_rows() -> None:
    """Four of forty: 10 %."""
    assert abs(probability((X, RARE)) - 0.1) < 0.02


@right
def test_balanced_classes_count_alike() -> None:
    """``class_weight="balanced"``: 50 %."""
    assert abs(probability((X, RARE), class_weight="balanced") - 0.5) < 0.05


@right
def test_weights_of_classes_by_hand() -> None:
    """Weights 1 and 3: 12 / (36 + 12) = 25 %."""
    assert abs(probability((X, RARE), class_weight=[1.0, 3.0]) - 0.25) < 0.04


@right
def test_weights_of_examples() -> None:
    """Weight 6 for the rare rows: 24 / (36 + 24) = 40 %, from tensors and from a loader."""
    weight = torch.where(RARE == 1, 6.0, 1.0)
    assert abs(probability((X, RARE, weight)) - 0.4) < 0.05
    loader = DataLoader(TensorDataset(X, RARE, weight), batch_size=20)
    assert abs(probability(loader) - 0.4) < 0.05


@right
def test_weights_do_not_change_n() -> None:
    """Weights of 1000 for everybody: N and the family are those without weights."""
    found = [
        nd.fit(nn.Linear(1, 2), d, epochs=1, seed=1)
        for d in ((X, RARE), (X, RARE, torch.full((40,), 1000.0)))
    ]
    assert [f.n_data for f in found] == [40, 40]


@refused("-1", "row 3")
def test_a_negative_weight() -> None:
    """A weight of -1 in row 3."""
    weight = torch.ones(40)
    weight[3] = -1
    nd.fit(nn.Linear(1, 2), (X, RARE, weight), epochs=1)


@refused("1 weight", "2 classes")
def test_fewer_weights_than_classes() -> None:
    """``class_weight=[1.0]`` for two classes."""
    nd.fit(nn.Linear(1, 2), (X, RARE), class_weight=[1.0], epochs=1)


@pytest.mark.parametrize("train", [nd.fit, nd.shrink, functools.partial(nd.fit_direct, lams=[1.0])])
@pytest.mark.parametrize(
    ("weight", "facts"),
    [
        ([1.0], "1 weight"),
        ([1.0, 2.0, 3.0], "3 weight"),
        ({"0": float("nan")}, "nan for class 0"),
        ({0: -1}, "-1 for class 0"),
        ({0: "x"}, "'x' for class 0"),
        ({"cat": 1.0}, "'cat'"),
        ({7: 1.0}, "'7'"),
        ("0=1,1", "0=1,1"),
        (5, "class_weight=5"),
    ],
)
@refused()
def test_class_weights_that_are_none(train: Any, weight: Any, facts: str) -> None:
    """Wherever networks are trained, what is wrong with the weight of a class is said."""
    net = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ConfigError, match=facts) as found:
        train(net, (X, RARE), class_weight=weight, epochs=1)
    raise found.value


@refused("class_weight", "balanced")
def test_a_mistyped_class_weight() -> None:
    """``class_weight="balance"``."""
    nd.fit(nn.Linear(1, 2), (X, RARE), class_weight="balance", epochs=1)


@right
def test_the_estimator_finds_the_rare_class_with_balanced_weights() -> None:
    """4 % positives that overlap: recall of the rare class above .5 with ``class_weight="balanced"``, below without."""
    random = np.random.default_rng(0)
    y = (random.random(600) < 0.06).astype(int)
    x = random.normal(size=(600, 4)) + 0.9 * y[:, None]
    recall = {}
    for weight in (None, "balanced"):
        model = nd.FamilyClassifier(random_state=0, epochs=12, class_weight=weight).fit(x, y)
        recall[weight] = (model.predict(x)[y == 1] == 1).mean()
    assert recall["balanced"] > 0.5 > recall[None]


@right
def test_whole_sample_weights_of_the_estimator_are_counts() -> None:
    """A weight of 2 is the row twice: the same predictions."""
    random = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = random.normal(size=(60, 3)) + y[:, None]
    weight = 1 + (np.arange(60) % 3 == 0)
    by_weight = nd.FamilyClassifier(random_state=0, epochs=5).fit(x, y, sample_weight=weight)
    by_rows = nd.FamilyClassifier(random_state=0, epochs=5).fit(
        np.repeat(x, weight, 0), np.repeat(y, weight)
    )
    np.testing.assert_allclose(by_weight.predict_proba(x), by_rows.predict_proba(x), atol=1e-6)


@right
def test_a_column_of_weights_is_no_input(tmp_path: Path) -> None:
    """``weight_column``: the column weighs rows and is not among the inputs, from Python and on the command line."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"x": random.normal(size=60), "w": random.uniform(0.5, 2, 60), "y": np.arange(60) % 2}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    splits = nd.load_data(str(tmp_path / "t.csv"), target="y", weight_column="w")
    assert splits.schema is not None and splits.schema.names == ("x",)
    assert splits.train.weight is not None
    command(
        tmp_path,
        "fit",
        "t.csv",
        "--target",
        "y",
        "--weight-column",
        "w",
        "--class-weight",
        "balanced",
        "--model",
        "linear",
        "--epochs",
        1,
        "--points",
        2,
        "--samples",
        0,
        "--quiet",
    )


def two_ways() -> nd.SearchSpace:
    """A space whose networks give two free logits, written in two ways."""
    space = nd.SearchSpace("biases")
    x, y = space.input("x", (1,)), space.node("y")
    space.edge(x, y, {"plain": Bias, "wide": lambda: nn.Sequential(Bias(), nn.Identity())})
    space.output(y)
    return space


def searched(data: Any, **settings: Any) -> Any:
    """Returns the network that a search trains on data whose validation part has no weights."""
    found = nd.search(
        two_ways(), data, (X, RARE), epochs=60, batch_size=20, lr=0.05, compare=False, **settings
    )
    return found.network


@pytest.mark.parametrize("strategy", ["random", "darts"])
@right
def test_weights_of_classes_count_in_a_search(strategy: str) -> None:
    """The network found was trained with ``class_weight="balanced"``: 50 % for four rows of forty; 10 % without."""
    for weight, share in ((None, 0.1), ("balanced", 0.5)):
        net = searched((X, RARE), strategy=strategy, class_weight=weight, candidates=1)
        assert abs(float(net(X[:1]).detach().softmax(-1)[0, 1]) - share) < 0.05


class Says(nn.Module):
    """A network whose logit of class 1 is the same for all; the other is a free number."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.free, self.logit = nn.Parameter(torch.zeros(1)), logit

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.free.expand(len(x), 1), self.free + 0 * x + self.logit], dim=1)


@pytest.mark.parametrize("given", ["tensors", "loader"])
@right
def test_weights_of_classes_count_in_the_loss_that_moves_a_structure(given: str) -> None:
    """Four of forty weigh 100 times: the operation that says class 1 becomes likelier; without weights the other does."""
    space = nd.SearchSpace("says")
    x, y = space.input("x", (1,)), space.node("y")
    space.edge(x, y, {"often": lambda: Says(-2.0), "rare": lambda: Says(2.0)})
    space.output(y)
    data = DataLoader(TensorDataset(X, RARE), batch_size=20) if given == "loader" else (X, RARE)
    settings = {"epochs": 10, "batch_size": 20, "candidates": 1, "compare": False}
    for weight, rare in ((None, False), ({1: 100.0}, True)):
        found = nd.search(space, data, (X, RARE), class_weight=weight, **settings)
        assert found.probabilities is not None
        assert bool(found.probabilities["x->y"][1] > 0.5) is rare


@right
def test_classes_of_a_validation_part_have_the_weights_of_training() -> None:
    """Half of the rows are of class 1 in validation and a tenth in training: balanced there is 5 to 5/9."""
    seen = []
    half = torch.arange(20) % 2
    rows = torch.where(half == 1, 3.0, 1.0)  # weights of rows count beside
    found = weighted_both(
        Dataset(X, RARE), Dataset(X[:20], half, weight=rows), "balanced", "classes"
    )
    for part in found:
        assert isinstance(part, Dataset) and part.weight is not None
        assert float(part.weight.mean()) == pytest.approx(1)
        seen.append(float(part.weight[part.y == 1][0] / part.weight[part.y == 0][0]))
    assert seen == [pytest.approx(9), pytest.approx(27)]
    new = weighted_both(Dataset(X, RARE), Dataset(X[:3], torch.arange(3)), [1.0, 3.0], "classes")[1]
    assert new.weight is not None
    assert new.weight.tolist() == [
        pytest.approx(v) for v in (0.6, 1.8, 0.6)
    ]  # one is not in training


@pytest.mark.slow
@right
def test_the_unit_of_weights_is_nothing_to_a_search() -> None:
    """Weights of 1000 for everybody, with gradients clipped: the same network as without weights."""
    settings = {"strategy": "darts", "clip": 0.1, "candidates": 1}
    nets = [searched(d, **settings) for d in ((X, RARE), (X, RARE, torch.full((40,), 1000.0)))]
    torch.testing.assert_close(nets[0](X[:1]), nets[1](X[:1]))


@pytest.mark.slow
@right
def test_the_unit_of_weights_is_nothing_to_a_compression() -> None:
    """Weights of 1000 for everybody: the same file as without weights, though part of its loss has no weights."""
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    both = [
        nd.compress(net, d, (x, y), max_bytes=400, epochs=2).net(x).detach()
        for d in ((x, y), (x, y, torch.full((80,), 1000.0)))
    ]
    torch.testing.assert_close(*both)


@right
def test_weights_of_classes_need_classes_in_a_search() -> None:
    """A regression has no classes to weigh."""
    space = ready_space("mlp", input_shape=(1,), n_outputs=1, depth=1)
    with pytest.raises(ConfigError, match="weights of classes need targets that are classes"):
        nd.search(space, (X, X), (X, X), class_weight="balanced", epochs=1)


@right
def test_choices_and_surfaces_count_every_row_once() -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    net = nd.build("mlp:4", input_shape=(3,), n_outputs=2)
    family = nd.fit(net, (x, y), epochs=2, batch_size=8)
    plain, weighed = (x, y), (x, y, torch.linspace(0, 3, 40))
    for part in (0, 1):
        one, other = (
            nd.choose(family, data, train=data, lams=3, shares=(0, 0.5))
            if part
            else nd.surface(family, data, train=data, lams=3, shares=(0, 0.5))
            for data in (plain, weighed)
        )
        assert str(one) == str(other)

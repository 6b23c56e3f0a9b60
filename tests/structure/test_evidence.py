"""Evidence over structures: against the closed form of linear models, posteriors, choices, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize  # type: ignore[import-untyped]
from torch import Tensor, nn

from netdial.core.errors import ConfigError, DataError
from netdial.data.dataset import Dataset
from netdial.evidence.estimators import linear
from netdial.evidence.estimators.laplace import laplace
from netdial.structure import SearchSpace, ZeroOperation, derive
from netdial.structure.evidence import EVIDENCE_WAYS, weigh_network, weigh_structures
from netdial.structure.spaces import ready_space
from netdial.task import TASKS
from netdial.train.config import TrainConfig, make

CONFIG = make(TrainConfig, {"epochs": 30, "batch_size": 20, "lr": 0.05})


def cubic(count: int = 60) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(count, 1, generator=source) - 1
    y = 4 * x**3 - 2 * x + 0.1 * torch.randn(count, 1, generator=source)
    return x, y / y.std()


def test_laplace_is_exact_for_a_model_linear_in_its_weights() -> None:
    x, y = cubic()
    space = ready_space("polynomial", input_shape=(1,), n_outputs=1, degree=3)
    net = derive(space, {"x->y": "degree3"}, seed=1)  # not even trained
    found = weigh_network(net, Dataset(x, y), TASKS["regression"]())
    features = torch.cat([x, x**2, x**3, torch.ones_like(x)], dim=1).double()

    def negative(logs: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        weight, bias, noise = np.exp(logs)
        prior = torch.tensor([weight] * 3 + [bias])
        return -linear.log_evidence(features, y.double(), prior_var=prior, noise_var=float(noise))

    best = minimize(
        negative,
        np.zeros(3),
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-8, "maxiter": 2000},
    )
    assert found == pytest.approx(-best.fun, abs=1e-3)


@pytest.mark.slow
def test_evidence_finds_the_degree_without_validation_data() -> None:
    space = ready_space("polynomial", input_shape=(1,), n_outputs=1, degree=5)
    genotypes = list(space.enumerate())
    weighed = weigh_structures(space, genotypes, cubic(), CONFIG)
    assert weighed.best.genotype["x->y"] == ("degree3",)
    assert sum(weighed.posterior) == pytest.approx(1)
    logs = [row.log_evidence for row in weighed.rows]
    ratio = weighed.posterior[3] / weighed.posterior[2]
    assert ratio == pytest.approx(math.exp(logs[3] - logs[2]))
    prior = {genotypes[4]: 100.0}
    preferred = weigh_structures(space, genotypes[2:], cubic(), CONFIG, log_prior=prior)
    assert preferred.best.genotype == genotypes[4]


def small() -> SearchSpace:
    space = SearchSpace("small")
    x, y = space.input("x", (2,)), space.node("y")
    space.edge(
        x, y, {"none": ZeroOperation, "skip": nn.Identity, "linear": lambda: nn.Linear(2, 2)}
    )
    space.output(y)
    return space


@pytest.mark.parametrize("way", EVIDENCE_WAYS)
def test_networks_with_and_without_parameters_are_weighed(way: str) -> None:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] < x[:, 1]).long()
    space = small()
    names = ("none", "skip", "linear")
    genotypes = [space.genotype({"x->y": name}) for name in names]
    weighed = weigh_structures(space, genotypes, (x, y), CONFIG, way=way)  # type: ignore[arg-type]
    values = dict(zip(names, (row.log_evidence for row in weighed.rows), strict=True))
    assert values["none"] == pytest.approx(-40 * math.log(2), abs=1e-3)
    assert values["skip"] > values["none"]
    assert all(math.isfinite(value) for value in values.values())


def test_a_network_without_parameters_has_the_noise_of_its_errors() -> None:
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    y = x + 0.1 * torch.randn(50, 2, generator=torch.Generator().manual_seed(2))
    space = small()
    genotypes = [space.genotype({"x->y": name}) for name in ("skip", "linear")]
    found = weigh_structures(space, genotypes, (x, y), CONFIG).rows[0]
    errors = (y - x).double()
    noise = torch.distributions.Normal(0.0, float(errors.square().mean().sqrt()))
    assert found.log_evidence == pytest.approx(float(noise.log_prob(errors).sum()), rel=1e-5)


def test_a_network_without_parameters_is_weighed_in_evaluation_mode() -> None:
    space = SearchSpace("drops")
    x, y = space.input("x", (3,)), space.node("y")
    drop = lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5))  # noqa: E731
    space.edge(x, y, {"skip": nn.Identity, "drop": drop, "linear": lambda: nn.Linear(3, 3)})
    space.output(y)
    images = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    data = (images, images.argmax(dim=1))
    weighed = weigh_structures(space, list(space.enumerate()), data, CONFIG)
    skip, drop_, _ = (row.log_evidence for row in weighed.rows)
    assert drop_ == pytest.approx(skip)


def test_what_is_weighed_in_double_precision_is_trained_in_it() -> None:
    seen: list[torch.dtype] = []

    def made(shape: tuple[int, ...]) -> nn.Module:
        layer = nn.Linear(1, 1)
        layer.register_forward_hook(
            lambda module, args, out: seen.append(out.dtype) if out.requires_grad else None
        )
        return layer

    space = SearchSpace("seen")
    x, y = space.input("x", (1,)), space.node("y")
    space.edge(x, y, {"a": made, "none": ZeroOperation})
    space.output(y)
    config = CONFIG.changed(precision="64-true", epochs=1)
    genotype = space.genotype({"x->y": "a"})
    weigh_structures(space, [genotype], cubic(), config)
    assert set(seen) == {torch.float64}


@pytest.mark.parametrize("way", EVIDENCE_WAYS)
def test_weights_of_examples_and_classes_are_refused(way: str) -> None:
    space = small()
    genotypes = [space.genotype({"x->y": "linear"})]
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    y, weight = (x[:, 0] < x[:, 1]).long(), torch.rand(40)
    with pytest.raises(DataError, match="leave the weights out"):
        weigh_structures(space, genotypes, (x, y, weight), CONFIG, way=way)  # type: ignore[arg-type]
    balanced = CONFIG.changed(class_weight="balanced")
    with pytest.raises(ConfigError, match="class_weight"):
        weigh_structures(space, genotypes, (x, y), balanced, way=way)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="laplace: the data have weights"):
        laplace(nn.Linear(2, 2), Dataset(x, y, weight=weight))


def test_bad_input_is_refused() -> None:
    space = ready_space("polynomial", input_shape=(1,), n_outputs=1, degree=2)
    genotypes = list(space.enumerate())
    with pytest.raises(ConfigError, match="elbo, laplace"):
        weigh_structures(space, genotypes, cubic(), CONFIG, way="guess")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="empty"):
        weigh_structures(space, [], cubic(), CONFIG)
    wild = CONFIG.changed(lr=1e30, optimizer="SGD", epochs=5)
    with pytest.raises(ConfigError, match="diverged"):
        weigh_structures(space, genotypes, cubic(), wild)

"""The surface: every value is that of a member pruned, exported and evaluated on its own."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.measure import outputs, predictive
from netdial.measure.cost import cost
from netdial.pruning.weights import CRITERIA, Policy, Surface, prune, surface
from netdial.pruning.weights import members as running
from netdial.pruning.weights.surfaces import Best
from netdial.task import named

from .problems import LAMS, family_of, mlp, with_dead_input

SHARES = (0.9, 0.0, 0.1, 0.5, 0.3, 0.7)


class Skip(nn.Module):
    """Meets the data in two layers, one of them without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 4, bias=False), nn.Linear(4, 3)
        self.direct = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).tanh()) + self.direct(x)


class Linked(nn.Module):
    """Mixes its inputs by a sparse matrix that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("links", torch.eye(5).to_sparse())
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.sparse.mm(self.links, x.T).T)


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, 3),
    "mlp": mlp,
    "skip": Skip,
    "sequence": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Linear(5, 4), nn.Flatten(), nn.Linear(4, 3)
    ),
    "normalised": lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    ),
}


def one_at_a_time(
    family: Family, data: Dataset, lam: float, share: float
) -> tuple[dict[str, float], dict[str, float]]:
    pruned = prune(family, lam, share, data=data)
    out = outputs(pruned.export(lam), data)
    draws = predictive(pruned, lam, data, n_samples=3, seed=5)
    return named("classification").predictive(out[None], data.y), named(
        "classification"
    ).predictive(draws, data.y)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_every_value_is_that_of_the_member_on_its_own(
    name: str, blobs: tuple[Tensor, Tensor]
) -> None:
    family = family_of(NETS[name]())
    data = Dataset(*with_dead_input(blobs))
    metrics = ("accuracy", "nll", "brier")
    found = surface(
        family, data, lams=LAMS, shares=SHARES, train=data, metrics=metrics, n_samples=3, seed=5
    )
    for row in found.table():
        means, averages = one_at_a_time(family, data, row["lam"], row["share"])
        for metric in metrics:
            assert row[metric] == pytest.approx(means[metric], abs=2e-5)
            assert row[f"{metric}_predictive"] == pytest.approx(averages[metric], abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy",
    [
        Policy(scope="layer"),
        Policy(biases=True),
        Policy(rows=True),
        Policy(scope="layer", biases=True, rows=True),
    ],
)
def test_policies(policy: Policy, blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    data = Dataset(*with_dead_input(blobs))
    found = surface(family, data, lams=LAMS, shares=SHARES, policy=policy, train=data)
    for k, lam in enumerate(LAMS):
        for s, share in enumerate(SHARES):
            alone = prune(family, lam, share, policy=policy, data=data)
            assert alone.kept is not None
            assert int(found.removed[k, s]) == int((~alone.kept).sum())
            nll = named("classification").predictive(
                outputs(alone.export(lam), data)[None], data.y
            )["nll"]
            assert float(found.metrics["nll"][k, s]) == pytest.approx(nll, abs=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("criterion", [name for name in CRITERIA if name != "density"])
def test_criteria(criterion: str, blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    data = Dataset(*blobs)
    options = {"criterion": criterion, "seed": 2}
    found = surface(family, data, lams=LAMS, shares=(0.4,), train=data, **options)  # type: ignore[arg-type]
    for row in found.table():
        pruned = prune(family, row["lam"], 0.4, data=data, **options)  # type: ignore[arg-type]
        alone = named("classification").predictive(
            outputs(pruned.export(row["lam"]), data)[None], data.y
        )
        assert row["nll"] == pytest.approx(alone["nll"], abs=2e-5)


@pytest.mark.parametrize("posterior", ["normal", "point"])
def test_regression(posterior: str, blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(
        nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)), posterior=posterior
    )
    data = Dataset(blobs[0], blobs[0][:, :2] * 2)
    found = surface(family, data, lams=LAMS, shares=SHARES, kind="regression", n_samples=3, seed=5)
    assert set(found.metrics) == {"rmse", "nll"}
    assert set(found.predictive) == ({"rmse", "nll"} if posterior == "normal" else set())
    for row in found.table():
        pruned = prune(family, row["lam"], row["share"])
        alone = named("regression").predictive(
            outputs(pruned.export(row["lam"]), data)[None], data.y
        )
        assert row["rmse"] == pytest.approx(alone["rmse"], rel=1e-5)
        assert row["nll"] == pytest.approx(alone["nll"], rel=1e-5)
        if posterior == "normal":
            draws = predictive(pruned, row["lam"], data, n_samples=3, seed=5)
            averaged = named("regression").predictive(draws, data.y)
            assert row["rmse_predictive"] == pytest.approx(averaged["rmse"], rel=1e-5)
            assert row["nll_predictive"] == pytest.approx(averaged["nll"], rel=1e-5)


def test_small_memory_and_small_batches_change_nothing(
    blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    family, data = family_of(), Dataset(*blobs)
    options = {"lams": LAMS, "shares": SHARES, "n_samples": 2, "metrics": ("nll", "accuracy")}
    whole = surface(family, data, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(running, "_SMALLEST", 7)
    monkeypatch.setattr(running, "_CACHEFUL", 0)
    monkeypatch.setattr(running, "_ALONE", 0)
    all_shares = 6 * family.layout.size
    for leaves, outs, fields in ((2 * all_shares, 10**9, 200), (10**9, 0, 0), (0, 0, 10**9)):
        monkeypatch.setattr(running, "_NUMBERS", leaves)
        monkeypatch.setattr(running, "_OUTPUTS", outs)
        monkeypatch.setattr(sys.modules["netdial.pruning.weights.surfaces"], "_FIELDS", fields)
        parts = surface(family, data, **options)  # type: ignore[arg-type]
        for first, second in zip(whole.table(), parts.table(), strict=True):
            assert first == pytest.approx(second, abs=2e-5)


@pytest.mark.slow
def test_double_precision_bytes_and_excluded_layers(blobs: tuple[Tensor, Tensor]) -> None:
    x = (torch.rand(60, 5, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    data = Dataset(x, blobs[1], torch.full((5,), 127.5), torch.full((5,), 1 / 127.5))
    for options in ({"double": True}, {"shared": ("0.bias",)}, {"shared": ("2.*",)}):
        family = family_of(**options)  # type: ignore[arg-type]
        found = surface(family, data, lams=LAMS, shares=SHARES, train=data)
        for row in found.table():
            pruned = prune(family, row["lam"], row["share"], data=data)
            alone = named("classification").predictive(
                outputs(pruned.export(row["lam"]), data)[None], data.y
            )
            assert row["nll"] == pytest.approx(alone["nll"], abs=2e-5)


def test_parameters_and_bytes_are_those_of_the_export(blobs: tuple[Tensor, Tensor]) -> None:
    data = Dataset(torch.cat([blobs[0]] * 16, dim=1), blobs[1])
    count = data.x.shape[1]
    family = family_of(nn.Sequential(nn.Linear(count, 9), nn.Tanh(), nn.Linear(9, 3)))
    found = surface(family, data, lams=LAMS, shares=SHARES)
    for k, lam in enumerate(LAMS):
        for s, share in enumerate(SHARES):
            net = prune(family, lam, share, data=data).export(lam)
            due = cost(net, data.x[:2])
            assert (found.params[k, s], found.bytes[k, s]) == (due.nonzero, due.bytes)
    assert found.bytes.min() < found.bytes.max() == 4 * sum(p.numel() for p in net.parameters())


def test_bytes_of_a_network_with_a_sparse_buffer(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(Linked())
    found = surface(family, blobs, lams=[1.0], shares=[0.0, 0.9])
    for share, size in zip((0.0, 0.9), found.bytes[0].tolist(), strict=True):
        net = prune(family, 1.0, share, data=blobs).export(1.0)
        assert size == cost(net, blobs[0][:2]).bytes


def test_a_pruned_family_can_be_pruned_further(blobs: tuple[Tensor, Tensor]) -> None:
    data = Dataset(*with_dead_input(blobs))
    half = prune(family_of(), 1.0, 0.5, data=data)
    found = surface(half, data, shares=(0.0, 0.5, 0.8), train=data)
    assert found.lams == (1.0,)
    nll = found.metrics["nll"][0]
    assert float(nll[0]) == pytest.approx(float(nll[1]))
    alone = named("classification").predictive(
        outputs(prune(half, 1.0, 0.8, data=data).export(1.0), data)[None], data.y
    )
    assert float(nll[2]) == pytest.approx(alone["nll"], abs=2e-5)


def test_complexity_values_are_those_of_the_family(blobs: tuple[Tensor, Tensor]) -> None:
    assert len(surface(family_of(), blobs, lams=4, shares=(0.5,)).lams) == 4
    found = surface(family_of(), blobs, shares=(0.5,), metrics=("accuracy",))
    assert found.lams == tuple(family_of().domain.grid(9))
    assert set(found.metrics) == {"accuracy"}


def test_a_family_stays_in_its_mode(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of(nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.9), nn.Linear(6, 3))).train()
    first, second = (surface(family, blobs, lams=LAMS).metrics["nll"] for _ in range(2))
    assert torch.equal(first, second), "dropout is off"
    assert family.training and family.net.training
    assert torch.is_grad_enabled()


def surface_of(values: list[list[float]], metric: str = "accuracy") -> Surface:
    return Surface((0.1, 1.0), (0.0, 0.9), {metric: torch.tensor(values, dtype=torch.float64)})


def test_best_members_and_stability() -> None:
    found = surface_of([[0.9, 0.3], [0.9, 0.6]])
    assert found.best() == [Best(0.0, 1.0, 0.9), Best(0.9, 1.0, 0.6)]
    assert found.stability().tolist() == pytest.approx([3.0, 1.5])
    errors = surface_of([[2.0, 3.0], [1.0, 5.0]], "rmse")
    assert [best.lam for best in errors.best()] == [1.0, 0.1]
    with pytest.raises(ConfigError, match=r"holds no 'accuracy' \(it has rmse\)"):
        errors.stability()
    with pytest.raises(ConfigError, match=r"shares 0 and 0.7; the surface has 0, 0.9"):
        found.stability(0.7)


def test_wrong_questions_are_refused(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    with pytest.raises(ConfigError, match=r"share=1: outside \[0, 1\)"):
        surface(family, blobs, shares=(0.5, 1.0))
    with pytest.raises(ConfigError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        surface(family, blobs, metrics=("acuracy",))
    with pytest.raises(ConfigError, match="the list of complexity values is empty"):
        surface(family, blobs, lams=[])
    with pytest.raises(ConfigError, match="outside the trained range"):
        surface(family, blobs, lams=[1e7])
    with pytest.raises(ConfigError, match="measures the loss on training data"):
        surface(family, blobs, criterion="taylor")

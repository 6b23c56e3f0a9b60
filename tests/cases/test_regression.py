"""Regression: units, noise, intervals, and a family that knows its task."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import netdial as nd

from .situations import command, refused, right

SOURCE = torch.Generator().manual_seed(0)
X = torch.randn(200, 3, generator=SOURCE)
CLEAN = X @ torch.tensor([[2.0], [-1.0], [0.5]])
NOISE = torch.randn(200, 1, generator=SOURCE)


def fitted(y: Tensor, **settings: Any) -> nd.Family:
    torch.manual_seed(0)
    options = {"epochs": 50, "batch_size": 25, "lr": 0.05, "kind": "regression", **settings}
    return nd.fit(nn.Linear(3, 1), (X, y), **options)


def best_r2(scale: float, shift: float) -> float:
    y = CLEAN * scale + shift
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may say that targets are far from unit scale
        return max(nd.evaluate(fitted(y), (X, y), lams=3).column("r2"))


def fits_or_says(scale: float, shift: float) -> None:
    y, said = CLEAN * scale + shift, []
    with warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        r2 = max(nd.evaluate(fitted(y), (X, y), lams=3).column("r2"))
    said = [
        str(each.message)
        for each in log
        if "scale" in str(each.message).lower() or "standard" in str(each.message).lower()
    ]
    assert r2 > 0.8 or said, f"R² {r2:.3f} without a word"


@right
def test_targets_of_unit_scale() -> None:
    """Linear data without noise: R² above .95."""
    assert best_r2(1.0, 0.0) > 0.95


@right
def test_targets_in_the_hundred_thousands() -> None:
    """Targets of 300,000 ± 100,000 (prices): they are fitted, or it is said that their scale is far from 1."""
    fits_or_says(1e5, 3e5)


@right
def test_targets_in_millionths() -> None:
    """Targets of size 1e-6: they are fitted, or it is said."""
    fits_or_says(1e-6, 0.0)


@right
def test_the_family_knows_its_task() -> None:
    """After ``fit(kind="regression")`` nothing has to be told again: six functions work, with metrics of a regression."""
    family, data = fitted(CLEAN + NOISE, epochs=1), (X, CLEAN + NOISE)
    assert "rmse" in nd.evaluate(family, data, lams=[1.0]).members[0].metrics
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nd.core.errors.MemberWarning)
        assert nd.choose(family, data, lams=2, shares=(0,)).row.lam > 0
    assert nd.surface(family, data, lams=2, shares=(0,)).metric == "rmse"
    posterior = fitted(CLEAN + NOISE, epochs=1, objective="scaled-kl")
    assert nd.assess(posterior, data, lams=2, by=("elbo",))
    nd.health(family, data, lams=2, n_samples=2)
    nd.prune(family, 1.0, 0.5, data=data, criterion="taylor")


@refused("classification", "regression")
def test_a_family_of_another_task() -> None:
    """A regression that is evaluated as a classification."""
    nd.evaluate(fitted(CLEAN, epochs=1), (X, CLEAN), kind="classification", lams=[1.0])


@right
def test_the_constant_of_a_regression_is_the_mean() -> None:
    """The baseline predicts the mean: RMSE is the standard deviation of the targets, R² is 0."""
    y = CLEAN + NOISE
    constant = nd.evaluate(fitted(y, epochs=1), (X, y), lams=[1.0]).constant
    assert abs(constant["rmse"] - float(y.std(correction=0))) < 1e-4
    assert abs(constant["r2"]) < 1e-5


@right
def test_the_constant_has_the_noise_of_its_own_errors() -> None:
    """A tiny noise variance in training: once noise is estimated, the constant's NLL is that of a normal of its own spread."""
    y = CLEAN + NOISE
    family = nd.fit(
        nn.Linear(3, 1),
        (X[:100], y[:100]),
        (X[100:], y[100:]),
        epochs=2,
        kind="regression",
        noise_var=1e-4,
    )
    path = nd.evaluate(family, (X, y), lams=[1.0])
    var = y.var(correction=0)
    assert abs(path.constant["nll"] - 0.5 * float((2 * torch.pi * torch.e * var).log())) < 1e-3


@right
def test_rmse_and_r2_are_those_of_the_exported_network() -> None:
    """RMSE² = mean of squares of residuals, R² = 1 - RMSE² / variance."""
    y = CLEAN + NOISE
    family = fitted(y, epochs=5)
    found = nd.evaluate(family, (X, y), lams=[0.01]).members[0].metrics
    mse = float((family.export(0.01)(X).detach() - y).square().mean())
    assert abs(found["rmse"] - math.sqrt(mse)) < 1e-4
    assert abs(found["r2"] - (1 - mse / float(y.var(correction=0)))) < 1e-4


@pytest.mark.slow
@right
def test_evidence_of_small_noise_is_not_that_of_noise_one() -> None:
    """Targets with noise of σ = .05: by evidence a member is chosen that predicts to within .2, not one with RMSE .6."""
    y = CLEAN / 2.3 + 0.05 * NOISE
    family = fitted(y, epochs=80, objective="scaled-kl")
    path = nd.evaluate(family, (X, y), lams=7)
    for by in ("elbo", "eb-elbo"):
        chosen = nd.choose(family, train=(X, y), by=by, lams=7, shares=(0,))
        rmse = path.column("rmse")[
            path.column("lam").index(
                min(path.column("lam"), key=lambda lam: abs(math.log(lam / chosen.lam)))
            )
        ]
        assert rmse < 0.2, (by, chosen.lam, rmse)


def table_of(folder: Path) -> Path:
    """A table of 300 rows whose price is 200,000 + 50,000 size with noise of σ = 10,000."""
    random = np.random.default_rng(0)
    size = random.normal(size=300)
    price = 2e5 + 5e4 * size + 1e4 * random.normal(size=300)
    frame = pd.DataFrame(
        {"size": size.round(4), "other": random.normal(size=300).round(4), "price": price.round(1)}
    )
    frame.to_csv(folder / "prices.csv", index=False)
    return folder / "prices.csv"


@pytest.mark.slow
@right
def test_a_table_in_its_own_units(tmp_path: Path) -> None:
    """Prices with noise of 10,000: the RMSE is stated in prices (8,000 to 20,000), R² beside it; predictions are prices,
    and 90 % intervals hold 80 to 97 % of the rows."""
    path = table_of(tmp_path)
    said, _ = command(
        tmp_path,
        "fit",
        path.name,
        "--target",
        "price",
        "--model",
        "mlp:8",
        "--epochs",
        60,
        "--points",
        4,
        "--samples",
        4,
        "--batch-size",
        32,
        "--lr",
        "0.02",
        "--name",
        "r",
        "--json",
        "--quiet",
    )
    text = json.loads(said)
    members = text["members"]
    best = min(member["test/rmse"] for member in members)
    assert 8_000 < best < 20_000 and max(member["test/r2"] for member in members) > 0.8
    out, _ = command(tmp_path, "predict", "r", path.name)
    (tmp_path / "p.csv").write_text(out)
    found, truth = pd.read_csv(tmp_path / "p.csv"), pd.read_csv(path)["price"]
    assert np.sqrt(((found["price"] - truth) ** 2).mean()) < 20_000
    inside = ((found["price low"] < truth) & (truth < found["price high"])).mean()
    assert 0.80 <= inside <= 0.97, inside


@pytest.mark.slow
@right
def test_a_member_whose_weights_changed_has_the_intervals_of_its_own_errors_or_none() -> None:
    """A linear member that lost its largest weights has errors far above those of its family: intervals of the family would
    cover few of the rows. Without held-out rows they are refused; with them, they hold 82 to 98 % of the rows."""
    y = (CLEAN + 0.05 * NOISE).float()
    train, valid, new = (X[:100], y[:100]), (X[100:150], y[100:150]), (X[150:], y[150:])
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    family = nd.fit(net, train, valid, epochs=60, batch_size=25, lr=0.05)

    def covered(member: nd.Family) -> float:
        return float(nd.measure.intervals(member, new[0], 0.1).covered(new[1]).double().mean())

    assert 0.82 <= covered(family) <= 0.98
    pruned = nd.prune(family, 0.1, 0.9, data=train)
    slimmed = nd.slim(family, 0.1, share=0.8, data=train).family
    for changed in (pruned, slimmed, nd.finetune(family, 0.1, train)):
        with pytest.raises(nd.core.errors.ConfigError, match="noise of this family is not known"):
            covered(changed)
    for changed in (pruned, slimmed):
        nd.measure.calibrate(changed, valid)
        assert 0.82 <= covered(changed) <= 0.98
        tuned = nd.finetune(changed, 0.1, train, valid=valid, epochs=3, lr=1e-2)
        assert 0.82 <= covered(tuned) <= 0.98
    sparse = nd.choose(family, valid, train=train, max_params=12, lams=[0.1])
    assert sparse.share >= 0.8
    assert 0.82 <= covered_at(sparse, new) <= 0.98
    assert 0.82 <= covered_at(sparse.finetune(epochs=2), new) <= 0.98


def covered_at(choice: nd.Choice, new: tuple[Tensor, Tensor]) -> float:
    found = nd.measure.intervals(choice.family, new[0], choice.lam)
    return float(found.covered(new[1]).double().mean())


@pytest.mark.slow
@right
def test_a_choice_says_how_small_errors_are(tmp_path: Path) -> None:
    """Targets in units of 1e-9: the reason and the card name an RMSE such as 1.3e-10, and never 0.0000."""
    x, y = X.numpy(), ((CLEAN + NOISE) * 1e-9).numpy()
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(current=y)
    data = nd.load_data(frame, target="current")
    net = nd.build("mlp:8", input_shape=data.input_shape, n_outputs=data.n_outputs)
    family = nd.fit(net, data.train, data.valid, epochs=2, lr=0.01)
    found = nd.choose(family, data.valid, train=data.train, lams=3).tested(data.test)
    found.export(tmp_path / "member")
    card = (tmp_path / "member" / "README.md").read_text(encoding="utf-8")
    assert f"rmse {found.constant['rmse']:.4g}" in card
    assert f"{found.row.value:.4g} ± {found.error:.4g}" in card
    assert f"rmse {found.test['rmse']:.4g} ± {found.test['error']:.4g}" in card
    assert "rmse 0.0000" not in card + found.why

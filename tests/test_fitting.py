"""Training from Python: families reach closed forms, direct networks are independent, fine-tuning goes on from a member."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netdial as nd
from netdial.core.errors import ConfigError, DataError, NonFiniteError, ShapeError
from netdial.data.dataset import Dataset
from netdial.family import Family, FamilyConfig
from netdial.measure import evaluate, recalibrate
from netdial.models.family import load_family, save_family
from netdial.objective import OBJECTIVES
from netdial.task import named
from netdial.train.config import make_config
from netdial.train.direct import fit_direct
from netdial.train.finetune import finetune, specialise
from netdial.train.fit import fit, run
from netdial.train.loop import Epoch


def mlp(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))


def normalised(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def objective(
    family: nd.Family, lam: float, data: tuple[Tensor, Tensor], *, draws: int = 64
) -> float:
    """Objective of a member on some data: nats per example, its expectation over fixed weight samples."""
    source = torch.Generator().manual_seed(0)
    samples = [
        family.sample(lam, source) for _ in range(draws if family.log_std is not None else 1)
    ]
    family.eval()
    with torch.no_grad():
        fits = [
            named("classification").nll(family.outputs(w, data[0], lam), data[1]).mean()
            for w in samples
        ]
        fields = family.fields_at([lam])
        penalty = OBJECTIVES[family.objective](
            fields, fields.mean.new_tensor([lam]), family.config.prior_var
        )
    return float(torch.stack(fits).mean() + penalty[0] / len(data[1]))


def rows_of(family: nd.Family) -> Tensor:
    pivots: Tensor = family.mean.pivots.detach()
    return pivots


SETTINGS: dict[str, dict[str, Any]] = {
    "l1": {},
    "log-sum": {"objective": "log-sum", "map": "centred"},
    "scaled-kl": {"objective": "scaled-kl"},
    "scaled-prior": {"objective": "scaled-prior", "map": "linear"},
    "l2": {"objective": "l2", "map": "lowrank"},
    "gated": {"map": "gated", "objective": "scaled-kl"},
    "centred": {"map": "centred", "objective": "l2"},
    "papers-way": {
        "objective": "scaled-kl",
        "sampling": "independent",
        "groups": 5,
        "weighting": "uniform",
        "ends": False,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETTINGS))
def test_training_lowers_the_objective_along_the_whole_range(
    name: str, blobs: tuple[Tensor, Tensor]
) -> None:
    config = make_config(
        **{
            "epochs": 30,
            "batch_size": 20,
            "groups": 4,
            "lo": 1e-2,
            "hi": 10.0,
            "lr": 2e-2,
            **SETTINGS[name],
        }
    )
    start = nd.Family(mlp(), config.family())
    family = fit(mlp(), blobs, config=config)
    assert not family.training
    for lam in (0.01, 0.3, 10.0):
        assert objective(family, lam, blobs) < objective(start, lam, blobs) - 0.05, lam
    strength = family.fields_at([0.01, 10.0]).square_norm().detach()
    assert name == "gated" or strength[1] < strength[0], (
        "more complexity control leaves smaller weights"
    )


@pytest.mark.slow
def test_fit_is_the_function_whatever_was_imported_first() -> None:
    code = "import netdial.jobs.opening, netdial as nd; assert callable(nd.fit) and callable(nd.evaluate)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["piecewise", "table"])
def test_members_reach_the_posterior_of_linear_regression_in_closed_form(name: str) -> None:
    """Columns of the design are orthogonal, so the optimum of L1(λ) is N(Xᵀy/λ / (d/λ + 1/α), 1 / (d/λ + 1/α))."""
    source = torch.Generator().manual_seed(5)
    basis, _ = torch.linalg.qr(torch.randn(64, 3, dtype=torch.float64, generator=source))
    d = torch.tensor([100.0, 9.0, 1.0], dtype=torch.float64)
    x = basis * d.sqrt()
    y = (x @ torch.tensor([[0.5], [-1.0], [2.0]], dtype=torch.float64)) + torch.randn(
        64, 1, generator=source
    )
    settings: dict[str, Any] = {
        "kind": "regression", "objective": "scaled-kl", "lo": 0.3, "hi": 30.0, "epochs": 3000, "batch_size": 64,
        "prior_var": 2.0,
        "sampling": "independent", "precision": "64-true", "lr": 2e-2, "std_rate": 1.0, "log_std": -1.0,
        "schedule": "cosine",
    }  # fmt: skip
    lams = (0.3, 3.0, 30.0)
    net = nn.Linear(3, 1, bias=False)
    if name == "table":
        (family,) = fit_direct(net, (x, y), lams=lams, **settings)
    else:
        family = fit(net, (x, y), map="piecewise", regions=8, groups=6, **settings)
    fields = family.fields_at(lams)
    for k, lam in enumerate(lams):
        precision = d / lam + 0.5
        assert fields.log_std is not None
        std = fields.log_std[k].detach().exp()
        gap = (fields.mean[k].detach() - (x.T @ y)[:, 0] / lam / precision) * precision.sqrt()
        assert float(gap.abs().max()) < 0.1, "a tenth of a posterior standard deviation"
        assert torch.allclose(std, precision.rsqrt(), rtol=0.05)


def test_same_seed_gives_the_same_family_and_another_seed_another(
    blobs: tuple[Tensor, Tensor],
) -> None:
    fits = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed + 10)  # global random numbers play no part
        net = nn.Linear(5, 3)
        nn.init.ones_(net.weight), nn.init.zeros_(net.bias)
        fits.append(rows_of(fit(net, blobs, epochs=2, batch_size=16, groups=4, seed=seed)))
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


def test_loader_gives_what_tensors_give(blobs: tuple[Tensor, Tensor]) -> None:
    """Whole batches, so that order plays no part but for rounding."""
    settings: dict[str, Any] = {
        "epochs": 8,
        "sampling": "independent",
        "groups": 3,
        "objective": "l2",
        "batch_size": 60,
    }
    tensors = fit(mlp(), blobs, **settings)
    loader = DataLoader(TensorDataset(*blobs), batch_size=60, shuffle=True)
    assert torch.allclose(rows_of(fit(mlp(), loader, **settings)), rows_of(tensors), atol=1e-5)


def test_loader_feeds_every_network_trained_directly(blobs: tuple[Tensor, Tensor]) -> None:
    settings: dict[str, Any] = {
        "lams": (0.1, 1.0),
        "epochs": 4,
        "objective": "l2",
        "optimizer": "SGD",
        "lr": 0.1,
    }
    settings["batch_size"] = 60
    loader = DataLoader(TensorDataset(*blobs), batch_size=60)
    for first, second in zip(
        fit_direct([mlp(0), mlp(1)], loader, **settings),
        fit_direct([mlp(0), mlp(1)], blobs, **settings),
        strict=True,
    ):
        assert torch.allclose(rows_of(first), rows_of(second), atol=1e-5)


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
@pytest.mark.parametrize("net", [mlp, normalised])
def test_direct_networks_are_those_trained_alone(
    optimizer: str, net: Any, blobs: tuple[Tensor, Tensor]
) -> None:
    """Two starts × three values in one run, against one run for each; l2, so that no noise depends on the company."""
    lams = (0.01, 0.1, 1.0)
    settings: dict[str, Any] = {
        "objective": "l2", "optimizer": optimizer, "epochs": 4, "batch_size": 25, "lr": 0.02, "precision": "64-true",
    }  # fmt: skip
    together = fit_direct([net(0), net(1)], blobs, lams=lams, **settings)
    (first,) = fit_direct(net(0), blobs, lams=lams, **settings)
    assert torch.allclose(rows_of(together[0]), rows_of(first), atol=1e-5)
    for row, lam in enumerate(lams):
        (alone,) = fit_direct(net(0), blobs, lams=(lam,), **settings)
        assert torch.allclose(rows_of(together[0])[row], rows_of(alone)[0], atol=1e-5), lam
        x = blobs[0].double()
        together[0].eval(), alone.eval()
        one, two = (f.outputs(f.at(lam), x, lam) for f in (together[0], alone))
        assert torch.allclose(one, two, atol=1e-4)
    assert not torch.allclose(rows_of(together[0]), rows_of(together[1]), atol=1e-2)


def test_direct_training_of_networks_that_run_one_by_one(blobs: tuple[Tensor, Tensor]) -> None:
    def layered(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))

    settings: dict[str, Any] = {
        "lams": (0.01, 1.0),
        "objective": "l2",
        "epochs": 3,
        "batch_size": 20,
        "lr": 0.02,
    }
    together = fit_direct([layered(0), layered(1)], blobs, **settings)
    starts = [nd.Family(layered(seed), together[seed].config).mean.pivots for seed in (0, 1)]
    assert all(
        bool((rows_of(f) - s).abs().sum(dim=1).gt(0.01).all())
        for f, s in zip(together, starts, strict=True)
    )
    (alone,) = fit_direct(layered(0), blobs, **settings)
    assert torch.allclose(rows_of(together[0]), rows_of(alone), atol=1e-4)


def test_directly_trained_families_hold_only_their_values(blobs: tuple[Tensor, Tensor]) -> None:
    (family,) = fit_direct(mlp(), blobs, lams=(0.1, 1.0), epochs=1, batch_size=30)
    assert family.config.lams == (0.1, 1.0)
    family.export(1.0)
    with pytest.raises(
        ConfigError,
        match="directly trained networks exist only at the values they were trained for",
    ):
        family.export(0.5)


def test_direct_networks_cannot_share_parameters(blobs: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(
        ConfigError,
        match=r"shared=LayerNorm: a parameter that is the same for every lam would tie",
    ):
        fit_direct(mlp(), blobs, lams=(0.1, 1.0), shared=("LayerNorm",))
    families = fit_direct(
        [mlp(0), mlp(1)], blobs, lams=(0.1,), shared=("2.bias",), epochs=2, batch_size=30
    )
    biases = [family.at(0.1)["2.bias"] for family in families]
    assert not torch.equal(*biases) and not torch.equal(biases[0], mlp(0)[2].bias)  # type: ignore[index]


def test_specialise_keeps_the_members_posterior_exactly(blobs: tuple[Tensor, Tensor]) -> None:
    normal = {"objective": "scaled-kl"}
    for settings in (
        {},
        normal,
        {"precision": "64-true", **normal},
        {"shared": ("3.*",), **normal},
    ):
        family = fit(normalised(), blobs, epochs=2, batch_size=20, groups=4, **settings)
        member = specialise(family, 0.37)
        before, after = family.fields_at([0.37]), member.fields_at([0.37])
        assert torch.equal(before.mean, after.mean)
        assert (before.log_std is None) == (after.log_std is None)
        if before.log_std is not None and after.log_std is not None:
            assert torch.equal(before.log_std, after.log_std)
        assert all(torch.equal(v, member.at(0.37)[n]) for n, v in family.at(0.37).items())
        assert all(
            torch.equal(v, member.buffers_at(0.37)[n]) for n, v in family.buffers_at(0.37).items()
        )
        with pytest.raises(ConfigError):
            member.at(0.5)


@pytest.mark.parametrize("settings", [{}, {"objective": "l2"}])
def test_fine_tuning_lowers_the_objective_at_its_value(
    settings: dict[str, Any], blobs: tuple[Tensor, Tensor]
) -> None:
    family = fit(
        mlp(), blobs, epochs=4, batch_size=20, groups=4, map="linear", lo=1e-2, hi=10, **settings
    )
    kept = {k: v.clone() for k, v in family.state_dict().items()}
    for lam in (0.05, 3.0):
        tuned = finetune(family, lam, blobs, epochs=20, lr=1e-2, batch_size=20, **settings)
        assert objective(tuned, lam, blobs) < objective(family, lam, blobs)
        assert tuned.config.lams == (lam,)
    assert all(torch.equal(v, kept[k]) for k, v in family.state_dict().items()), (
        "the family is left as it is"
    )


def test_fine_tuning_by_a_full_configuration_keeps_the_familys_range(
    blobs: tuple[Tensor, Tensor],
) -> None:
    family = fit(mlp(), blobs, epochs=1, batch_size=20, groups=4, lo=0.5, hi=500.0)
    tuned = finetune(family, 400.0, blobs, config=make_config(epochs=1, batch_size=20))
    assert (tuned.config.lo, tuned.config.hi) == (0.5, 500.0)
    with pytest.raises(ConfigError, match="outside the trained range"):
        finetune(family, 600.0, blobs)


def test_normalised_networks_are_usable_at_every_value(blobs: tuple[Tensor, Tensor]) -> None:
    """Statistics of every cell are trained, and interpolation between them does no harm."""
    family = fit(normalised(), blobs, epochs=40, batch_size=20, groups=4, lo=1e-2, hi=1.0, lr=1e-2)
    counts = [
        int(family.statistics.cell(c)["1.num_batches_tracked"]) for c in family.statistics.centres
    ]
    assert min(counts) >= 20
    for lam in family.domain.grid(7):
        net = family.export(lam)
        accuracy = float((net(blobs[0]).argmax(dim=1) == blobs[1]).float().mean())
        again = recalibrate(family, family.export(lam), Dataset(*blobs))
        fresh = float((again(blobs[0]).argmax(dim=1) == blobs[1]).float().mean())
        assert accuracy > 0.6 and abs(accuracy - fresh) < 0.12, lam


@pytest.mark.slow
def test_directly_trained_normalised_networks_have_statistics_of_their_own(
    blobs: tuple[Tensor, Tensor],
) -> None:
    lams = (0.01, 0.1, 0.101, 1.0)
    settings: dict[str, Any] = {"objective": "l2", "epochs": 40, "batch_size": 20, "lr": 1e-2}
    for family in fit_direct([normalised(0), normalised(1)], blobs, lams=lams, **settings):
        for lam in lams:
            net = family.export(lam)
            fresh = recalibrate(family, family.export(lam), Dataset(*blobs), batch_size=60)
            assert int(net[1].num_batches_tracked) == 120
            assert torch.allclose(net[1].running_mean, fresh[1].running_mean, atol=0.2)
            assert torch.allclose(net[1].running_var, fresh[1].running_var, rtol=0.2)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_other_precisions_learn(precision: str, kind: str, blobs: Any, pictures: Any) -> None:
    net = (
        mlp()
        if kind == "mlp"
        else nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    )
    data = blobs if kind == "mlp" else pictures
    family = fit(
        net, data, epochs=25, batch_size=24, groups=4, precision=precision, hi=1.0, lr=1e-2
    )
    assert family.dtype == (torch.float64 if precision == "64-true" else torch.float32)
    (member,) = evaluate(family, data, lams=[0.01]).members
    assert member.metrics["accuracy"] > 0.7


def test_double_precision_takes_images_in_bytes() -> None:
    x = torch.randint(0, 256, (24, 1, 4, 4), dtype=torch.uint8)
    data = Dataset(x, torch.arange(24) % 2, torch.tensor(127.5), torch.tensor(1 / 127.5))
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    family = fit(net, data, epochs=1, batch_size=12, groups=2, precision="64-true")
    assert family.dtype == torch.float64
    evaluate(family, data, lams=2)


def test_early_stopping_stops_on_the_validation_objective(blobs: tuple[Tensor, Tensor]) -> None:
    epochs: list[Epoch] = []
    x, y = blobs
    nonsense = (x, (y + 1) % 3)
    settings: dict[str, Any] = {"epochs": 40, "batch_size": 20, "groups": 4, "lr": 2e-2, "hi": 0.1}
    settings["schedule"] = "constant"
    stopped = fit(mlp(), blobs, nonsense, patience=3, report=epochs.append, **settings)
    assert 4 <= len(epochs) < 40
    values = [epoch.valid for epoch in epochs]
    best = values.index(min(v for v in values if v is not None))
    assert len(values) == best + 4
    again = fit(mlp(), blobs, **{**settings, "epochs": best + 1})
    for name, value in stopped.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), "the best epoch is gone back to"


def test_divergence_stops_with_its_place(blobs: tuple[Tensor, Tensor]) -> None:
    settings: dict[str, Any] = {
        "optimizer": "SGD",
        "lr": 1e38,
        "schedule": "constant",
        "epochs": 5,
        "batch_size": 20,
    }
    with pytest.raises(
        NonFiniteError,
        match=r"step [0-9]+: (fit|complexity) is .* at lam=.*lower lr, set clip to 1",
    ):
        fit(mlp(), blobs, groups=4, **settings)
    with pytest.raises(
        NonFiniteError,
        match=r"step [0-9]+: (fit|complexity) is .* at lam=0.1;.*lower lr, set clip to 1",
    ):
        fit_direct(mlp(), blobs, lams=(0.1,), **settings)


def test_tokens_are_trained_as_they_are() -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(6, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.embed(x).mean(dim=1))
            return out

    x = torch.randint(0, 6, (40, 3), generator=torch.Generator().manual_seed(0))
    data = (x, (x == 1).any(dim=1).long())
    family = fit(Bag(), data, epochs=60, batch_size=20, groups=2, hi=0.1, lr=2e-2)
    (member,) = evaluate(family, data, lams=[0.01]).members
    assert member.metrics["accuracy"] > 0.85


def test_regression_is_trained_in_nats(blobs: tuple[Tensor, Tensor]) -> None:
    x = blobs[0]
    y = x[:, :2] * 0.5 + 0.1
    family = fit(
        nn.Linear(5, 2),
        (x, y),
        kind="regression",
        epochs=150,
        batch_size=20,
        groups=4,
        lr=2e-2,
        hi=1.0,
    )
    (member,) = evaluate(family, (x, y), lams=[0.01], kind="regression").members
    assert member.metrics["r2"] > 0.9
    assert member.metrics["nll"] == pytest.approx(
        math.log(2 * math.pi), abs=0.1
    )  # two unit normals, nearly exact


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "clustering"}, "unknown task 'clustering'"),
        ({"patience": 2}, "patience=2 needs validation data"),
        ({"optimizer": "Adm"}, "unknown optimizer 'Adm'; did you mean 'Adam'"),
        ({"epoch": 2}, "unknown setting 'epoch'; did you mean 'epochs'"),
        ({"map": "piecewize"}, "unknown map 'piecewize'; did you mean 'piecewise'"),
        ({"lam": (1.0, 0.1)}, "expected 0 < lo < hi"),
        (
            {"config": make_config(), "epochs": 2},
            r"give either config or settings by name, not both \(epochs\)",
        ),
    ],
)
def test_bad_settings_are_refused(
    settings: dict[str, Any], message: str, blobs: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(mlp(), blobs, **settings)


def test_of_several_outputs_the_first_is_scored(blobs: tuple[Tensor, Tensor]) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), x

    family = fit(Pair(), blobs, epochs=1)
    scored = family(blobs[0], lam=1.0)
    assert scored.shape == (len(blobs[0]), 3)
    assert torch.allclose(family.export(1.0)(blobs[0]), scored)


def test_bad_networks_are_refused(blobs: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match="ReLU has no parameters to make a family of"):
        fit(nn.ReLU(), blobs, epochs=1)


def test_bad_data_are_refused(blobs: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(DataError, match="differ in length"):
        fit(mlp(), (blobs[0], blobs[1][:5]), epochs=1)
    with pytest.raises(DataError, match=r"give floating point \[N, T\], for example y\[:, None\]"):
        fit(nn.Linear(5, 1), (blobs[0], blobs[0][:, 0]), kind="regression", epochs=1)


def test_values_outside_the_range_cannot_be_trained_directly(blobs: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match=r"lam=1000: outside the trained range \[0.001, 100\]"):
        fit_direct(mlp(), blobs, lams=(0.1, 1000.0), lam=(1e-3, 1e2))
    with pytest.raises(ConfigError, match=r"lam=1000: outside the trained range \[0.01, 10\]"):
        fit_direct(mlp(), blobs, lams=(0.1, 1000.0), config=make_config())


def test_the_range_of_networks_that_are_trained_directly_reaches_their_values(
    blobs: tuple[Tensor, Tensor],
) -> None:
    (family,) = fit_direct(mlp(), blobs, lams=(0.1, 1000.0), epochs=1, batch_size=30)
    assert (family.domain.lo, family.domain.hi) == (0.01, 1000)
    assert family.export(1000.0)(blobs[0]).shape == (60, 3)


def test_more_devices_than_directly_trained_networks_are_refused(
    blobs: tuple[Tensor, Tensor],
) -> None:
    config = make_config(map="table", lams=(0.1,), devices=2)
    with pytest.raises(ConfigError, match="devices=2, but only 1 networks to train directly"):
        run(nd.Family(mlp(), config.family()), blobs, None, kind="classification", config=config)


def test_range_may_be_given_as_a_pair(blobs: tuple[Tensor, Tensor]) -> None:
    family = fit(mlp(), blobs, lam=(0.1, 10.0), epochs=1, batch_size=30, groups=2)
    assert (family.domain.lo, family.domain.hi) == (0.1, 10.0)


def test_finetuning_with_l2_keeps_the_means_alone(blobs: tuple[Tensor, Tensor]) -> None:
    family = fit(mlp(), blobs, objective="scaled-kl", epochs=2, batch_size=20, lam=(1e-2, 1e2))
    tuned = finetune(family, 1.0, blobs, objective="l2", batch_size=20)
    assert tuned.log_std is None
    assert tuned.config.posterior == "point"


def test_a_point_is_not_finetuned_under_a_normal_posterior(blobs: tuple[Tensor, Tensor]) -> None:
    family = fit(mlp(), blobs, epochs=1, batch_size=20, objective="l2")
    with pytest.raises(ConfigError, match="needs a normal posterior, the family has points"):
        finetune(family, 1.0, blobs, objective="scaled-kl")
    assert finetune(family, 1.0, blobs, batch_size=20).log_std is None


@pytest.mark.parametrize(("objective", "fields"), [("l1", 1), ("scaled-kl", 2)])
def test_updates_are_steps_times_trainable_numbers(
    objective: str, fields: int, blobs: tuple[Tensor, Tensor]
) -> None:
    seen: list[int] = []
    settings: dict[str, Any] = {"objective": objective, "epochs": 3, "batch_size": 20}
    family = fit(mlp(), blobs, report=lambda e: seen.append(e.n_updates), **settings)
    steps = -(-len(blobs[0]) // 20)
    size = fields * 4 * family.layout.size  # mean and log_std, four pivots each
    assert seen == [steps * size, 2 * steps * size, 3 * steps * size]


def test_generalised_evidence_is_minus_n_times_the_objective(blobs: tuple[Tensor, Tensor]) -> None:
    family = fit(mlp(), blobs, epochs=1, batch_size=20)
    (member,) = evaluate(family, blobs, lams=[1.0], n_samples=4).members
    assert member.generalised_evidence == pytest.approx(-len(blobs[0]) * member.objective)


@pytest.mark.parametrize("objective", ["scaled-kl", "scaled-prior", "ard", "l2", "l1", "log-sum"])
def test_pruned_numbers_stay_zero_through_finetuning_saving_and_export(
    objective: str, blobs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    family = fit(mlp(), blobs, epochs=2, batch_size=20, objective=objective)
    member = specialise(family, 0.1)
    kept = torch.arange(member.layout.size) % 3 != 0
    member.restrict(kept)
    tuned = finetune(member, 0.1, blobs, epochs=3, batch_size=20, objective=objective)
    save_family(tuned, tmp_path / "pruned.safetensors")
    again = load_family(tmp_path / "pruned.safetensors", mlp())
    for each in (member, tuned, again):
        flat = each.layout.join(each.at(0.1))
        assert not bool(flat[~kept].any())
        assert bool((flat[kept] != 0).all())
        drawn = each.layout.join(each.sample(0.1, torch.Generator().manual_seed(0)))
        assert not bool(drawn[~kept].any())
        exported = dict(each.export(0.1).named_parameters())
        assert torch.equal(each.layout.join(exported), flat)
    assert not torch.equal(member.layout.join(member.at(0.1)), tuned.layout.join(tuned.at(0.1)))
    assert torch.equal(again.layout.join(again.at(0.1)), tuned.layout.join(tuned.at(0.1)))
    tuned.restrict(torch.arange(member.layout.size) % 5 != 0)
    assert tuned.kept is not None
    assert not bool(tuned.kept[~kept].any())


def test_restrict_says_what_it_takes() -> None:
    with pytest.raises(ShapeError, match=r"kept is torch.float32 \[3\], expected torch.bool \["):
        Family(mlp(), make_config().family()).restrict(torch.ones(3))


def test_a_buffer_that_training_changes_and_no_file_holds_is_told_of(
    blobs: tuple[Tensor, Tensor],
) -> None:
    class Moving(nn.Module):
        def __init__(self, *, persistent: bool) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)
            self.mean: Tensor
            self.register_buffer("mean", torch.zeros(5), persistent=persistent)

        def forward(self, x: Tensor) -> Any:
            if self.training:
                self.mean.lerp_(x.detach().mean(0), 0.1)
            return self.layer(x - self.mean)

    x, y = blobs
    with pytest.warns(UserWarning, match=r"'mean' changed in training .* persistent=True"):
        fit(Moving(persistent=False), (x[:, :5], y), epochs=1)
    fit(Moving(persistent=True), (x[:, :5], y), epochs=1)


def test_recalibration_of_a_network_with_dropout_draws_from_no_global_generator() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    data, found = Dataset(torch.randn(40, 5), torch.arange(40) % 2), []
    family = Family(net, FamilyConfig())
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(recalibrate(family, family.export(1.0), data).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(part, found[1][name]) for name, part in found[0].items())

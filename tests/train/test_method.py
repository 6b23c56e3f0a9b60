"""One step: an unbiased gradient, the terms it reports, clipping, warm-up, and numbers that are not finite."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import DataError, NonFiniteError
from netdial.data.dataset import Dataset
from netdial.family.config import FamilyConfig
from netdial.family.family import Family
from netdial.objective import WEIGHTINGS, Terms
from netdial.task import Classification, categorical_nll
from netdial.train.config import make_config
from netdial.train.feed import Batch, TensorFeed
from netdial.train.method import FamilyMethod, FamilyState
from netdial.train.session import Workers

RATE = 1e-6


def started(
    net: nn.Module, n_data: int, workers: Workers | None = None, **settings: Any
) -> tuple[FamilyMethod, FamilyState]:
    """A method in double precision under plain gradient steps of a tiny rate, from which gradients can be read."""
    options = {
        "optimizer": "SGD",
        "lr": RATE,
        "schedule": "constant",
        "std_rate": 1.0,
        "groups": 4,
        "epochs": 25,
        "joint": 0.0,
        **settings,
    }
    config = make_config(**options)
    method = FamilyMethod(config, task=Classification(), n_data=n_data, steps=10, workers=workers)
    torch.manual_seed(0)
    return method, method.init(Family(net, config.family()).double())


def gradient(
    method: FamilyMethod, state: FamilyState, batch: tuple[Tensor, Tensor], at: int = 0
) -> Tensor:
    """Gradient of a step, read off how far it moves; the family is put back."""
    before = [p.detach().clone() for p in state.family.parameters()]
    state.step = at
    method.step(state, batch)
    moved = [
        (b - p.detach()) / RATE for p, b in zip(state.family.parameters(), before, strict=True)
    ]
    with torch.no_grad():
        for parameter, value in zip(state.family.parameters(), before, strict=True):
            parameter.copy_(value)
    return torch.cat([part.flatten() for part in moved])


def doubled(data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return data[0].double(), data[1]


def exact_gradient(
    method: FamilyMethod, state: FamilyState, data: tuple[Tensor, Tensor], ends: float
) -> Tensor:
    """Gradient of E w(λ) [fit(λ) + complexity(λ)] over the whole data, by the midpoint rule; point posterior, l2.

    The law is uniform in the unit coordinate, but for a share ``ends`` of it that lies at both ends.
    """
    family, points = state.family, 400
    unit = torch.cat(
        [(torch.arange(points, dtype=torch.float64) + 0.5) / points, torch.tensor([0.0, 1.0])]
    )
    shares = torch.cat([torch.full((points,), (1 - ends) / points), torch.full((2,), ends / 2)])
    lam = family.domain.lam(unit)
    total = torch.zeros((), dtype=torch.float64)
    for u, value, weight in zip(
        unit, lam, shares * WEIGHTINGS[method.config.weighting](lam), strict=True
    ):
        mean = family.mean(u[None])
        outputs = torch.func.functional_call(family.net, family.layout.split(mean[0]), (data[0],))
        penalty = value * mean.square().sum() / len(data[1])
        total = total + weight * (categorical_nll(outputs, data[1]).mean() + penalty)
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(family.parameters()))])


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["stratified", "whole", "independent"])
@pytest.mark.parametrize("weighting", ["uniform", "balanced"])
@pytest.mark.parametrize("ends", [False, True])
def test_gradient_is_unbiased(
    sampling: str, weighting: str, ends: bool, blobs: tuple[Tensor, Tensor], seed: int
) -> None:
    data = doubled(blobs)
    settings = {
        "objective": "l2",
        "lo": 1e-2,
        "hi": 1e1,
        "map": "linear",
        "seed": seed,
        "ends": ends,
    }
    method, state = started(
        nn.Linear(5, 3).double(), 60, sampling=sampling, weighting=weighting, **settings
    )
    feed = TensorFeed(Dataset(*data), batch_size=20, seed=seed)
    draws = torch.stack(
        [
            gradient(method, state, batch, at=3 * number + step)
            for number in range(100)
            for step, batch in enumerate(feed.epoch(number))
        ]
    )
    # the three batches of an epoch share one permutation, so whole epochs are the independent draws
    epochs = draws.view(100, 3, -1).mean(dim=1)
    stderr = epochs.std(dim=0) / math.sqrt(len(epochs))
    # two of four values stand at the ends
    share = 0.5 if ends and sampling != "independent" else 0.0
    expected = exact_gradient(method, state, data, ends=share)
    assert bool(((epochs.mean(dim=0) - expected).abs() < 5 * stderr + 1e-4).all())


def test_warmup_scales_the_complexity_term_alone(blobs: tuple[Tensor, Tensor]) -> None:
    data = doubled(blobs)
    settings: dict[str, Any] = {
        "objective": "l2",
        "sampling": "independent",
        "groups": 1,
        "map": "linear",
    }
    cold, state = started(
        nn.Linear(5, 3).double(), 60, warmup=0.4, **settings
    )  # four of ten steps an epoch
    warm, same = started(nn.Linear(5, 3).double(), 60, **settings)
    same.family.load_state_dict(state.family.state_dict())
    for step, share in [(0, 0.25), (1, 0.5), (3, 1.0), (7, 1.0)]:
        full = gradient(warm, same, data, at=step)
        partly = gradient(cold, state, data, at=step)
        unit = same.draws.at(step, 60).unit  # type: ignore[union-attr]
        lam = state.family.domain.lam(unit)
        weight = WEIGHTINGS["balanced"](lam)
        penalty = (weight * lam * state.family.mean(unit).square().sum(dim=1)).sum() / 60
        (pull,) = torch.autograd.grad(penalty, list(state.family.parameters()))
        assert torch.allclose(full - partly, (1 - share) * pull.flatten(), atol=1e-5)


def test_reported_terms_are_fit_and_complexity_in_nats_per_example(
    blobs: tuple[Tensor, Tensor],
) -> None:
    data = doubled(blobs)
    method, state = started(nn.Linear(5, 3), 1000, objective="l2", map="linear")
    family = state.family
    before = family.mean.pivots.detach().clone()
    found = method.step(state, data)
    unit, terms = found["unit"], Terms(found["fit"], found["complexity"])
    assert unit.shape == terms.fit.shape == terms.complexity.shape == (4,)
    with torch.no_grad():
        family.mean.pivots.copy_(before)
        for k, (u, lam) in enumerate(zip(unit, family.domain.lam(unit), strict=True)):
            leaves = family.layout.split(family.mean(u[None])[0])
            x, y = (part[15 * k : 15 * k + 15] for part in data)
            fit = categorical_nll(
                torch.func.functional_call(family.net.double(), leaves, (x,)), y
            ).mean()
            assert terms.fit[k] == pytest.approx(float(fit))
            penalty = lam * family.mean(u[None]).square().sum() / 1000
            assert terms.complexity[k] == pytest.approx(float(penalty))


@pytest.mark.parametrize("sampling", ["whole", "independent"])
def test_values_each_see_the_whole_batch(sampling: str, blobs: tuple[Tensor, Tensor]) -> None:
    """At the start all members are the same network, so all fits are that of the whole batch."""
    data = doubled(blobs)
    net = nn.Linear(5, 3)
    method, state = started(net, 60, objective="l2", map="linear", sampling=sampling, groups=5)
    found = method.step(state, data)
    fit = float(categorical_nll(net.double()(data[0]), data[1]).mean().detach())
    assert found["fit"].tolist() == pytest.approx([fit] * 5)


def test_clipping_bounds_the_step(blobs: tuple[Tensor, Tensor]) -> None:
    data = doubled(blobs)
    net = nn.Linear(5, 3)
    free, state = started(copy.deepcopy(net), 60)
    tight, same = started(net, 60, clip=0.01)
    whole, cut = gradient(free, state, data), gradient(tight, same, data)
    assert float(whole.norm()) > 0.01
    assert float(cut.norm()) == pytest.approx(0.01, rel=1e-3)
    assert torch.allclose(cut / cut.norm(), whole / whole.norm(), atol=1e-4)


def test_a_step_depends_on_its_seed_and_number_alone(blobs: tuple[Tensor, Tensor]) -> None:
    data = doubled(blobs)
    method, state = started(nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 3)), 60)
    state.family.train()
    first = gradient(method, state, data, at=3)
    torch.manual_seed(123)
    assert torch.equal(gradient(method, state, data, at=3), first)
    assert not torch.allclose(gradient(method, state, data, at=4), first)


def test_dropout_of_every_form_is_reproducible(blobs: tuple[Tensor, Tensor]) -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(nn.functional.dropout(x, 0.5, self.training))
            return out

    data = doubled(blobs)
    method, state = started(Functional(), 60)
    state.family.train()
    torch.manual_seed(0)
    first = gradient(method, state, data)
    torch.manual_seed(1)
    assert torch.equal(gradient(method, state, data), first)


def test_steps_leave_the_global_generator_alone(blobs: tuple[Tensor, Tensor]) -> None:
    method, state = started(nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 3)), 60)
    state.family.train()
    before = torch.get_rng_state()
    method.step(state, doubled(blobs))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [1, 3, 9, 13])
@pytest.mark.parametrize("net", [nn.Linear(5, 3), nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3))])
def test_batches_of_any_size_are_divided(
    size: int, net: nn.Module, blobs: tuple[Tensor, Tensor]
) -> None:
    method, state = started(net, 60)
    x, y = doubled(blobs)
    found = method.step(state, (x[:size], y[:size]))
    unit, terms = found["unit"], Terms(found["fit"], found["complexity"])
    assert len(unit) == min(size, 4)
    assert bool(terms.total.isfinite().all())


@given(st.integers(1, 40), st.integers(1, 12))
def test_groups_are_of_one_size_and_leave_no_example_out(size: int, blocks: int) -> None:
    blocks = min(blocks, size)
    y = torch.arange(size)
    found = Batch(y[:, None].float(), y, y.float(), 0.5).divisible(blocks)
    assert len(found.y) == blocks * math.ceil(size / blocks) and found.share == 0.5
    assert set(found.y.tolist()) == set(range(size))
    assert all(len(set(part.tolist())) == len(part) for part in found.y.chunk(blocks))
    assert torch.equal(found.x[:, 0].long(), found.y) and torch.equal(found.weight.long(), found.y)  # type: ignore[union-attr]
    if size % blocks == 0:
        assert found.y is y


def test_groups_of_a_normalised_network_have_two_examples_at_least(
    blobs: tuple[Tensor, Tensor],
) -> None:
    """One example has no variance: torch refuses it in training mode."""
    method, state = started(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), 60)
    state.family.train()
    x, y = doubled(blobs)
    for size, groups in [(2, 1), (5, 2), (7, 3), (60, 4)]:
        unit = method.step(state, (x[:size], y[:size]))["unit"]
        assert len(unit) == groups


def test_a_batch_that_does_not_reach_all_processes_is_refused(blobs: tuple[Tensor, Tensor]) -> None:
    method, state = started(nn.Linear(5, 3), 60, Workers(rank=0, count=4))
    with pytest.raises(
        DataError, match="a batch of 3 examples cannot be divided among 4 processes"
    ):
        method.step(state, (blobs[0][:3].double(), blobs[1][:3]))


@pytest.mark.parametrize("map_name", ["piecewise", "table", "lowrank"])
def test_not_finite_parameter_is_named(map_name: str, blobs: tuple[Tensor, Tensor]) -> None:
    lams = (0.02, 0.3) if map_name == "table" else ()
    method, state = started(
        nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), 60, map=map_name, lams=lams
    )
    mapped = state.family.mean
    flat = mapped.base if map_name == "lowrank" else mapped.pivots
    with torch.no_grad():
        for row in flat.view(-1, state.family.layout.size):
            state.family.layout.split(row)["1.weight"].fill_(math.nan)
    state.step = 17
    with pytest.raises(
        NonFiniteError,
        match=r"step 17: (fit|complexity) is nan at lam=[0-9.e-]+; not finite: 1.weight;",
    ):
        method.step(state, doubled(blobs))


def test_not_finite_data_name_step_term_and_complexity(blobs: tuple[Tensor, Tensor]) -> None:
    method, state = started(nn.Linear(5, 3), 60, lo=0.5, hi=0.50001)
    x, y = doubled(blobs)
    x[0, 0] = math.inf
    before = [p.detach().clone() for p in state.family.parameters()]
    with pytest.raises(
        NonFiniteError, match=r"step 0: fit is (nan|inf) at lam=0.5; all parameters are finite"
    ):
        method.step(state, (x, y))
    assert all(torch.equal(p, b) for p, b in zip(state.family.parameters(), before, strict=True))
    assert state.step == 0


@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("layers", ["side by side", "one by one"])
@pytest.mark.parametrize("objective", ["l1", "l2", "scaled-kl"])
def test_rows_of_a_table_are_trained_as_if_alone(
    layers: str, objective: str, clip: float, blobs: tuple[Tensor, Tensor]
) -> None:
    """Under plain gradient steps, so that a factor on the gradient of a row would show."""
    net = nn.Sequential(
        nn.Linear(5, 4), nn.LayerNorm(4) if layers == "one by one" else nn.ReLU(), nn.Linear(4, 3)
    )
    lams = (0.01, 1.0, 50.0)
    data = doubled(blobs)
    span = {"lo": 0.01, "hi": 50.0}  # rows hold their place in the range
    settings = {"map": "table", "objective": objective, "log_std": -30.0, "clip": clip, **span}
    method, state = started(net, 60, lams=lams, **settings)
    together = gradient(method, state, data).view(-1, 3, state.family.layout.size)
    for row, lam in enumerate(lams):
        alone, single = started(net, 60, lams=(lam,), **settings)
        single.family.load_state_dict(
            {k: v[row : row + 1] for k, v in state.family.state_dict().items()}
        )
        expected = gradient(alone, single, data).view(-1, state.family.layout.size)
        assert torch.allclose(together[:, row], expected, atol=1e-4), lam


@pytest.mark.parametrize("layers", ["side by side", "one by one"])
def test_rows_of_several_seeds_at_one_value_are_all_trained(
    layers: str, blobs: tuple[Tensor, Tensor]
) -> None:
    from netdial.family.stacking import stack

    net = nn.Sequential(
        nn.Linear(5, 4), nn.LayerNorm(4) if layers == "one by one" else nn.ReLU(), nn.Linear(4, 3)
    )
    config = make_config(map="table", lams=(0.1, 10.0), optimizer="SGD", objective="l2", epochs=1)
    family = stack([Family(net, config.family()), Family(net, config.family())]).double()
    method = FamilyMethod(config, task=Classification(), n_data=60, steps=1)
    state = method.init(family)
    before = family.mean.pivots.detach().clone()
    x, y = doubled(blobs)
    method.step(state, (torch.cat([x, x]), torch.cat([y, y])))
    moved = (family.mean.pivots - before).detach()
    assert bool((moved.norm(dim=1) > 0).all())
    assert torch.allclose(moved[:2], moved[2:], atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "epochs", "published"),
    [
        ({"map": "table", "lams": (0.1, 1.0, 10.0, 100.0)}, 25, 7_458_976_000),
        ({"map": "table", "lams": (0.1, 1.0, 10.0, 100.0)}, 1, 298_359_040),
        ({"map": "linear", "sampling": "independent", "groups": 5}, 25, 3_729_488_000),
        ({"map": "table", "lams": (0.1,)}, 1, 3_804_077_760 - 3_729_488_000),
    ],
)
def test_updates_are_counted_as_in_the_2021_paper(
    settings: dict[str, Any], epochs: int, published: int
) -> None:
    """Table 1 of Grebenkova et al. 2021, rows (a), (b), (e) and the fine-tuning of (f): MNIST 784-100-10, batch 128.

    The published counts suppose 159040 numbers to a network; 784-100-10 has 159020 (means and spreads).
    """
    net = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    _, state = started(net, 60_000, objective="scaled-kl", **settings)
    state.step = epochs * math.ceil(60_000 / 128)
    assert state.n_updates * 159_040 // 159_020 == published


def test_two_families_through_one_method_train_each_at_its_own_range() -> None:
    """A method remembers nothing: what two families were given in turn is what each is given alone."""

    def pieces() -> tuple[FamilyMethod, FamilyState, FamilyState]:
        method = FamilyMethod(
            make_config(groups=4, epochs=1), task=Classification(), n_data=24, steps=1
        )
        ranges = (FamilyConfig(1e-3, 1e2), FamilyConfig(1e-6, 1e-5))
        torch.manual_seed(0)
        first, second = (method.init(Family(nn.Linear(5, 3), config)) for config in ranges)
        return method, first, second

    torch.manual_seed(1)
    data = torch.randn(24, 5), torch.arange(24) % 3
    method, first, second = pieces()
    for _ in range(2):
        method.step(first, data), method.step(second, data)
    alone, one, two = pieces()
    for _ in range(2):
        alone.step(two, data)
    for _ in range(2):
        alone.step(one, data)
    for mixed, apart in ((first, one), (second, two)):
        assert torch.equal(mixed.draws.at(0, 24).lam, apart.draws.at(0, 24).lam)  # type: ignore[union-attr]
        pairs = zip(mixed.family.parameters(), apart.family.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert float(second.draws.at(0, 24).lam.max()) <= 1.001e-5  # type: ignore[union-attr]
    assert float(first.draws.at(0, 24).lam.max()) > 1  # type: ignore[union-attr]


class _Jittered(nn.Module):
    """Draws random numbers by its own code, which no attribute tells."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        hidden = hidden + 0.5 * torch.randn_like(hidden) if self.training else hidden
        found: Tensor = self.last(hidden)
        return found


@pytest.mark.parametrize(
    "make",
    [
        _Jittered,
        lambda: nn.Sequential(nn.Linear(5, 3), nn.RReLU()),
        lambda: nn.Sequential(nn.Linear(5, 3), nn.AlphaDropout(0.5)),
    ],
)
def test_whatever_a_network_draws_follows_from_the_seed(make: Callable[[], nn.Module]) -> None:
    """Global generators neither have a say in training nor move."""
    torch.manual_seed(0)
    net, x, y, found = make(), torch.randn(24, 5), torch.arange(24) % 3, []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(nd.fit(net, (x, y), epochs=2, batch_size=12).at(1.0))
        assert torch.equal(torch.get_rng_state(), before)
    for name, leaf in found[0].items():
        assert torch.equal(leaf, found[1][name]), name

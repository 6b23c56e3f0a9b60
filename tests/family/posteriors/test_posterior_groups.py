"""Leaves under posteriors of their own: gates under a Bernoulli posterior beside weights under a normal one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import CheckpointError, ConfigError, ShapeError
from netdial.core.noise import Noise
from netdial.core.plan import Plan
from netdial.evidence import health
from netdial.family.config import FamilyConfig
from netdial.family.cutting import cut_family
from netdial.family.family import Family
from netdial.family.fields import Fields
from netdial.family.posteriors import POSTERIORS
from netdial.family.stacking import stack, unstack
from netdial.objective import OBJECTIVES
from netdial.pruning.weights.criteria import importance
from netdial.train.config import make_config
from netdial.train.direct import fit_direct
from netdial.train.finetune import specialise

from .gates import PRIOR, Gated, registered

GATES = {"gate": "bernoulli-toy"}
LAMS = [0.01, 0.3, 10.0]
SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 20, "lr": 0.02, "groups": 4}


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with registered():
        yield


def problem(examples: int = 80) -> tuple[Tensor, Tensor]:
    """Two classes that the first two of six channels tell apart; the others are noise."""
    x = torch.randn(examples, 6, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] + x[:, 1] > 0).long()


def family_of(posterior: Any = GATES, net: nn.Module | None = None, **options: Any) -> Family:
    """A family whose maps have been moved at random, as after training."""
    torch.manual_seed(0)
    made = Family(net or Gated(), FamilyConfig(lo=0.01, hi=10, posterior=posterior, **options))
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=source))
    return made.eval()


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))


def bernoulli(logits: Tensor) -> list[float]:
    """KL(Bernoulli(sigmoid(logit)) || Bernoulli(PRIOR)) of each member, in plain arithmetic."""
    found = []
    for row in logits.double().tolist():
        probabilities = [1 / (1 + math.exp(-logit)) for logit in row]
        found.append(
            sum(
                p * math.log(p / PRIOR) + (1 - p) * math.log((1 - p) / (1 - PRIOR))
                for p in probabilities
            )
        )
    return found


@pytest.fixture(scope="module")
def trained() -> Iterator[Family]:
    settings: dict[str, Any] = {"epochs": 60, "batch_size": 200, "lr": 0.1, "regions": 3}
    settings |= {"objective": "scaled-kl", "posterior": GATES, "lam": (0.01, 1000)}
    with registered():
        yield nd.fit(seeded(), problem(400), **settings)


@pytest.mark.slow
def test_gates_close_as_complexity_grows(trained: Family) -> None:
    gates = {lam: trained.at(lam)["gate"] for lam in (0.01, 1.0, 10.0, 100.0, 1000.0)}
    useful, useless = (
        {lam: gate[here] for lam, gate in gates.items()} for here in (slice(2), slice(2, 6))
    )
    assert float(useful[1.0].min()) > 0.8 and float(useless[1.0].max()) < 0.4
    assert float(useless[0.01].sum()) > float(useless[1.0].sum()) > float(useless[10.0].sum())
    assert float(useful[10.0].min()) > float(useless[10.0].max()) + 0.3
    assert float(useful[1.0].sum()) > float(useful[100.0].sum()) > float(useful[1000.0].sum())
    assert float(gates[1000.0].max()) < 2 * PRIOR


@pytest.mark.slow
def test_trained_gates_are_evaluated_by_draws_and_by_their_mean(trained: Family) -> None:
    path = nd.evaluate(trained, problem(), lams=[0.01, 1000.0], n_samples=8)
    simple, complex_ = path.members[1], path.members[0]
    assert complex_.metrics["accuracy"] > 0.9
    assert set(complex_.predictive) and math.isfinite(complex_.objective)
    assert simple.kl_bits < complex_.kl_bits
    assert complex_.kl_bits == pytest.approx(float(trained.kl([0.01]).detach()) / math.log(2))
    assert complex_.n_params == 6 + 6 * 2 + 2


@pytest.mark.parametrize("objective", ["l1", "l2"])
def test_norm_of_points_beside_gates_is_that_of_the_weights(objective: str) -> None:
    family = nd.fit(Gated(), problem(), objective=objective, posterior=GATES, **SHORT)
    (member,) = nd.evaluate(family, problem(), lams=[0.3], n_samples=2).members
    weights = family.fields_at([0.3]).mean.detach()
    power = {"l1": 1, "l2": 2}[objective]
    assert member.norm == pytest.approx(float(weights.abs().pow(power).sum()), rel=1e-5)
    assert math.isnan(member.kl_bits) and member.predictive


@pytest.mark.parametrize("objective", ["scaled-kl", "scaled-prior", "ard", "l2", "l1", "log-sum"])
def test_objective_adds_the_closed_form_by_the_rule_of_lambda(objective: str) -> None:
    family = family_of({"*": OBJECTIVES[objective].posterior, **GATES})
    fields, lam = family.fields_at(LAMS), torch.tensor(LAMS)
    weights = Fields(fields.layout, fields.mean, fields.log_std)
    added = OBJECTIVES[objective](fields, lam, 2.0) - OBJECTIVES[objective](weights, lam, 2.0)
    exact = torch.tensor(bernoulli(fields.groups[0].values["logit"]))
    factor = torch.ones(3) if objective == "scaled-prior" else lam
    assert torch.allclose(added, factor * exact, rtol=1e-3, atol=1e-3)


def test_divergence_of_a_family_is_the_sum_over_groups() -> None:
    family = family_of()
    fields = family.fields_at(LAMS)
    exact = fields.kl(torch.ones(3)) + torch.tensor(bernoulli(fields.groups[0].values["logit"]))
    assert torch.allclose(family.kl(LAMS), exact, rtol=1e-5)
    assert family.divergence(LAMS).error is None


def test_normal_group_beside_points_and_points_beside_normal() -> None:
    """A group of weights has the formulas of its posterior under the prior that λ gives it."""
    fields = family_of({"*": "point", "gate": "normal"}).fields_at(LAMS)
    lam, values = torch.tensor(LAMS), fields.groups[0].values
    added = OBJECTIVES["l2"](fields, lam, 2.0) - lam * fields.square_norm()
    alone = Fields(fields.groups[0].layout, values["mean"], values["log_std"])
    assert torch.allclose(added, lam * alone.kl(torch.full((3,), 2.0)), rtol=1e-3)
    fields = family_of({"*": "normal", "gate": "point"}).fields_at(LAMS)
    norm = fields.groups[0].values["mean"].square().sum(dim=1)
    added = OBJECTIVES["scaled-prior"](fields, lam, 2.0) - fields.kl(2.0 / lam)
    assert torch.allclose(added, norm * lam / 4, rtol=1e-3, atol=1e-4)


def test_gradient_of_the_objective_agrees_with_finite_differences() -> None:
    family = family_of().double()
    maps = family.maps["groups.bernoulli-toy.maps.logit"]
    lam = torch.tensor(LAMS).double()

    def objective(pivots: Tensor) -> Tensor:
        fields = torch.func.functional_call(maps, {"pivots": pivots}, (family.domain.unit(lam),))
        group = family.fields_at(LAMS).groups[0]._replace(values={"logit": fields})
        weights = family.fields_at(LAMS)
        given = Fields(weights.layout, weights.mean, weights.log_std, groups=[group])
        return OBJECTIVES["scaled-kl"](given, lam, 1.0)

    pivots = maps.pivots.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(objective, (pivots,))


def test_estimated_divergence_has_a_standard_error_and_trains() -> None:
    options = {"objective": "scaled-kl", "posterior": {"gate": "drawn-toy"}, **SHORT}
    family = nd.fit(Gated(), problem(), **options)
    with torch.no_grad():
        found = family.divergence([0.1])
    assert found.error is not None and float(found.error) > 0
    exact = family_of({"gate": "drawn-toy"})
    rough, group = exact.divergence(LAMS), exact.fields_at(LAMS).groups[0]
    alone = Fields(group.layout, group.values["mean"], group.values["log_std"])
    truth = exact.fields_at(LAMS).kl(torch.ones(3)) + alone.kl(torch.ones(3))
    assert rough.error is not None
    assert bool(((rough.nats - truth).abs() <= 5 * rough.error).all())


def test_export_gives_probabilities_and_draws_are_gates() -> None:
    family = family_of()
    net, logits = family.export(0.3), family.fields_at([0.3]).groups[0].values["logit"][0]
    assert torch.equal(net.get_parameter("gate"), logits.sigmoid())
    source = torch.Generator().manual_seed(0)
    draws = torch.stack([family.sample(0.3, source)["gate"] for _ in range(400)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(draws.mean(dim=0), logits.sigmoid(), atol=0.13)
    x = problem()[0]
    with torch.no_grad():
        assert torch.allclose(family(x, 0.3), net(x), atol=1e-6)
        both = family(x, [0.3, 1.0])
        assert torch.allclose(both[1], family.export(1.0)(x), atol=1e-6)


def test_training_runs_the_relaxation_and_repeats() -> None:
    first, second = (nd.fit(seeded(), problem(), posterior=GATES, **SHORT) for _ in range(2))
    state = first.state_dict()
    assert all(torch.equal(state[key], value) for key, value in second.state_dict().items())
    family = family_of()
    fields, noise = family.fields_at([0.3]), Noise(0, 0, [0])
    out = family.run(problem()[0], fields, torch.tensor([0.5]), noise)
    drawn = fields.groups[0].sample(Noise(0, 0, [0]))["gate"]
    assert bool(((drawn > 0) & (drawn < 1)).all())
    assert out.shape == (80, 2)
    out.square().sum().backward()  # type: ignore[no-untyped-call]
    grads = [made.pivots.grad for made in family.maps.values()]
    assert all(grad is not None and bool((grad != 0).any()) for grad in grads)


def seeded() -> Gated:
    torch.manual_seed(3)
    return Gated()


@pytest.mark.parametrize("name", ["linear", "piecewise", "lowrank", "gated"])
def test_every_map_carries_groups_through_a_file(name: str, tmp_path: Path) -> None:
    family = family_of(map=name, hidden=3, objective="scaled-kl")
    nd.save(family, tmp_path / "family.safetensors")
    found = nd.load_model(tmp_path / "family.safetensors", net=Gated())
    assert isinstance(found, Family)
    assert found.config.posterior == {"*": "normal", "gate": "bernoulli-toy"}
    mine, theirs = family.fields_at(LAMS), found.fields_at(LAMS)
    assert torch.equal(mine.mean, theirs.mean)
    assert torch.equal(mine.groups[0].values["logit"], theirs.groups[0].values["logit"])


def test_file_names_a_posterior_that_is_not_known_here(tmp_path: Path) -> None:
    nd.save(family_of(), tmp_path / "family.safetensors")
    inner = POSTERIORS._parts.pop("bernoulli-toy")
    try:
        with pytest.raises(CheckpointError, match=r"family\.safetensors.*bernoulli-toy"):
            nd.load_model(tmp_path / "family.safetensors", net=Gated())
    finally:
        POSTERIORS._parts["bernoulli-toy"] = inner


def test_one_posterior_is_stored_as_before(tmp_path: Path) -> None:
    for given in ("normal", {"read.bias": "normal"}, {"*": "normal"}):
        family = family_of(given)
        assert family.config.posterior == "normal"
        assert set(family.maps) == {"mean", "log_std"}
    assert not any("groups" in name for name in family.state_dict())


def test_points_among_normal_weights_run_side_by_side() -> None:
    family = family_of({"*.bias": "point"}, mlp())
    x = problem()[0]
    assert family.side_by_side(x, 4, 4)
    fields, noise = family.fields_at([0.01, 0.1, 1.0, 10.0]), Noise(0, 0, range(4))
    unit = family.domain.unit(torch.tensor([0.01, 0.1, 1.0, 10.0]).double())
    whole = family.run(x, fields, unit, noise)
    assert whole.shape == (80, 2)
    means = family.run(x, fields, unit).view(4, 20, 2)
    for k, lam in enumerate((0.01, 0.1, 1.0, 10.0)):
        assert torch.allclose(means[k], family.export(lam)(x[k * 20 : k * 20 + 20]), atol=1e-5)
    family = nd.fit(mlp(), problem(), posterior={"*.bias": "point"}, **SHORT)
    assert math.isfinite(nd.evaluate(family, problem(), lams=2, n_samples=2).members[0].objective)


def test_fields_without_the_groups_are_refused() -> None:
    family = family_of()
    fields = family.fields_at([0.3])
    with pytest.raises(ShapeError, match="0 groups"):
        family.run(problem()[0], Fields(fields.layout, fields.mean), torch.tensor([0.5]), None)


def test_member_is_trained_further_with_its_gates() -> None:
    family = family_of(objective="scaled-kl")
    member = specialise(family, 0.3)
    here, there = member.fields_at([0.3]), family.fields_at([0.3])
    assert torch.equal(here.groups[0].values["logit"], there.groups[0].values["logit"])
    assert torch.equal(here.mean, there.mean)
    tuned = nd.finetune(family, 0.3, problem(), epochs=1)
    assert set(tuned.maps) == set(family.maps)
    assert not torch.equal(tuned.at(0.3)["gate"], family.at(0.3)["gate"])
    still = specialise(family, 0.3, freeze=["gate"])
    assert set(still.maps) == {"mean", "log_std"}
    assert torch.equal(still.at(0.3)["gate"], family.at(0.3)["gate"])


def test_points_of_a_group_join_the_weights_that_become_points() -> None:
    family = family_of({"gate": "point"}, objective="scaled-kl")
    family.restrict(torch.arange(family.layout.size) % 2 == 0)
    member = specialise(family, 0.3, objective="l2")
    assert set(member.maps) == {"mean"}
    assert all(torch.equal(leaf, family.at(0.3)[name]) for name, leaf in member.at(0.3).items())
    assert member.kept is not None
    assert int((~member.kept).sum()) == family.layout.size // 2


def test_direct_training_stacks_groups() -> None:
    settings: dict[str, Any] = {"lo": 0.01, "hi": 10, "map": "table", "lams": (0.1, 1.0)}
    families = [Family(Gated(), FamilyConfig(posterior=GATES, **settings)) for _ in range(2)]
    with torch.no_grad():
        for family in families:
            for table in family.maps.values():
                table.pivots.normal_()
    for before, after in zip(families, unstack(stack(families), 2), strict=True):
        for lam in (0.1, 1.0):
            assert torch.equal(before.at(lam)["gate"], after.at(lam)["gate"])
    trained = fit_direct(
        [Gated(), Gated()], problem(), lams=[0.1, 1.0], posterior=GATES, clip=1.0, **SHORT
    )
    assert all(family.at(1.0)["gate"].shape == (6,) for family in trained)


def test_cutting_cuts_gates() -> None:
    family = family_of()
    plan = Plan({"gate": {0: (0, 3, 4)}, "read.weight": {1: (0, 3, 4)}})
    cut = cut_family(family, plan)
    for lam in LAMS:
        for name, leaf in family.at(lam).items():
            assert torch.allclose(cut.at(lam)[name], plan.cut(name, leaf))


def test_text_of_the_command_line_is_a_mapping() -> None:
    assert make_config(posterior="gate=bernoulli-toy,*.bias=point").posterior == {
        "gate": "bernoulli-toy",
        "*.bias": "point",
    }
    family = Family(Gated(), make_config(posterior=GATES, objective="l2").family())
    assert (family.config.posterior, family.log_std) == ({"*": "point", **GATES}, None)
    assert family.is_random


def unruled(fields: Any, lam: Tensor, prior_var: float) -> Tensor:
    nats: Tensor = fields.kl(torch.full_like(lam, prior_var))
    return lam * nats


@pytest.mark.parametrize(
    ("posterior", "facts"),
    [
        ("bernoulli-toy", "posterior='bernoulli-toy'; allowed: normal, point"),
        ({"*": "bernoulli-toy"}, "allowed: normal, point"),
        ({"gate": "bernuli-toy"}, "bernoulli-toy"),
        ({"gates": "bernoulli-toy"}, "gates.*gate"),
        ({"gate": "bernoulli-toy", "g*": "point"}, "'gate'.*bernoulli-toy.*point"),
        ({"gate": "bernoulli-toy", "read": "drawn-toy"}, "all 3 parameters"),
    ],
)
def test_posteriors_that_cannot_be_are_refused(posterior: Any, facts: str) -> None:
    with pytest.raises(ConfigError, match=facts):
        Family(Gated(), FamilyConfig(posterior=posterior))


def test_settings_that_cannot_be_are_refused_before_work() -> None:
    with pytest.raises(ConfigError, match=r"gate.*frozen or shared"):
        Family(Gated(), FamilyConfig(posterior=GATES, freeze=("gate",)))
    for given, facts in (
        ("bernoulli-toy", r"gate|bias=point"),
        ({"*": "point"}, r"objective"),
        ({"gate": "nothing"}, r"nothing"),
        (7, r"posterior"),
    ):
        with pytest.raises(ConfigError, match=facts):
            nd.fit(Gated(), problem(), posterior=given)
    with pytest.raises(ConfigError, match="posterior"):
        nd.finetune(family_of(), 0.3, problem(), posterior=GATES)
    OBJECTIVES.add("unruled")(unruled)
    try:
        with pytest.raises(ConfigError, match=r"unruled.*scales=True"):
            nd.fit(Gated(), problem(), objective="unruled", posterior=GATES)
    finally:
        OBJECTIVES._registry._parts.pop("unruled")


@pytest.mark.parametrize(
    "use",
    [
        lambda family, data: nd.prune(family, 0.3, 0.5),
        lambda family, data: nd.surface(family, data),
        lambda family, data: nd.retrain(family, 0.3, data, share=0.5),
        lambda family, data: nd.slim(family, 0.3, share=0.5, example=data[0]),
        lambda family, data: nd.assess(family, data),
        lambda family, data: health(family, data),
        lambda family, data: nd.choose(family, data),
        lambda family, data: importance(family, [0.3], "density"),
    ],
)
def test_what_understands_weights_alone_refuses_gates_in_words(use: Any) -> None:
    with pytest.raises(ConfigError, match=r"posterior 'bernoulli-toy' \('gate'\).*export\(lam\)"):
        use(family_of(objective="scaled-kl"), problem())

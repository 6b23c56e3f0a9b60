"""Laplace evidence: exact on linear-Gaussian models, close where it must be, and honest about priors and modes."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError
from netdial.evidence.estimators import linear
from netdial.evidence.estimators.laplace import LaplaceEvidence, laplace, prior_of
from netdial.family.config import FamilyConfig
from netdial.family.family import Family

F64 = torch.float64
EXACT = ["full", "kronecker"]
variances = st.floats(0.05, 20)


def regression(seed: int, n: int = 20, d: int = 4, t: int = 1) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=F64, generator=source)
    w = torch.randn(d, t, dtype=F64, generator=source)
    return x, x @ w + 0.4 * torch.randn(n, t, dtype=F64, generator=source)


def linear_net(weights: Tensor) -> nn.Linear:
    """Returns a network without biases with weights ``[T, D]``."""
    net = nn.Linear(weights.shape[1], weights.shape[0], bias=False).double()
    with torch.no_grad():
        net.weight.copy_(weights)
    return net


def ridge(x: Tensor, y: Tensor, prior: float, noise: float) -> nn.Linear:
    """Returns the network at the mode of each target's posterior."""
    columns = [linear.posterior(x, c, prior_var=prior, noise_var=noise)[0] for c in y.T]
    return linear_net(torch.stack(columns))


def of(net: nn.Module, data: tuple[Tensor, Tensor], **options: Any) -> LaplaceEvidence:
    return laplace(net, data, **{"kind": "regression", "structure": "full", **options})


@settings(max_examples=15)
@given(st.integers(0, 100), variances, variances, st.integers(1, 30), st.integers(1, 2))
def test_exact_at_the_mode_of_a_linear_model(
    seed: int, prior: float, noise: float, d: int, t: int
) -> None:
    x, y = regression(seed, d=d, t=t)
    exact = sum(linear.log_evidence(x, c, prior_var=prior, noise_var=noise) for c in y.T)
    net = ridge(x, y, prior, noise)
    for structure in EXACT:
        found = of(net, (x, y), structure=structure, prior_var=prior, noise_var=noise)
        assert found.log_evidence == pytest.approx(exact, rel=1e-10)
        assert found.correction == pytest.approx(0, abs=1e-15 * abs(exact) + 1e-15)
        assert found.log_evidence == -found.fit - found.complexity
        assert float(found.losses.sum()) == pytest.approx(found.fit)


@settings(max_examples=10)
@given(st.integers(0, 100), variances, variances)
def test_exact_anywhere_with_the_first_order_term(seed: int, prior: float, noise: float) -> None:
    x, y = regression(seed)
    exact = linear.log_evidence(x, y, prior_var=prior, noise_var=noise)
    net = linear_net(torch.full((1, 4), -0.7, dtype=F64))
    for structure in EXACT:
        options = {"structure": structure, "prior_var": prior, "noise_var": noise}
        found = of(net, (x, y), **options, first_order=True)
        assert found.log_evidence == pytest.approx(exact, rel=1e-10)
        assert found.correction > 0
        without = of(net, (x, y), **options)
        assert found.log_evidence == pytest.approx(without.log_evidence + found.correction)


@pytest.mark.parametrize("structure", EXACT)
def test_weight_and_bias_may_have_priors_of_their_own(structure: str) -> None:
    x, y = regression(2)
    phi = torch.cat([x, torch.ones(20, 1, dtype=F64)], dim=1)
    prior = torch.tensor([0.3, 0.3, 0.3, 0.3, 5.0], dtype=F64)
    net = nn.Linear(4, 1).double()
    found = of(
        net,
        (x, y),
        structure=structure,
        prior_var={"weight": 0.3, "bias": 5.0},
        noise_var=0.2,
        first_order=True,
    )
    exact = linear.log_evidence(phi, y, prior_var=prior, noise_var=0.2)
    assert found.log_evidence == pytest.approx(exact, rel=1e-10)
    assert found.prior_var == pytest.approx({"weight": 0.3, "bias": 5.0})


def mean_field(phi: Tensor, y: Tensor, **variances: Any) -> tuple[Tensor, Tensor]:
    """Mean and variances of the best diagonal normal: one over the diagonal of the precision (Bishop 2006, §10.1.2)."""
    mean, precision = linear.posterior(phi, y, **variances)
    return mean, 1 / precision.diagonal()


@settings(max_examples=10)
@given(st.integers(0, 100), variances, variances)
def test_the_diagonal_gives_the_best_mean_field_bound(
    seed: int, prior: float, noise: float
) -> None:
    """On linear models ½ log det of the diagonal is the entropy of the mean-field optimum."""
    x, y = regression(seed)
    found = of(
        ridge(x, y, prior, noise), (x, y), structure="diagonal", prior_var=prior, noise_var=noise
    )
    best = mean_field(x, y, prior_var=prior, noise_var=noise)
    bound = linear.bound(*best, x, y, prior_var=prior, noise_var=noise)
    assert found.log_evidence == pytest.approx(bound, rel=1e-10)


@pytest.mark.parametrize("structure", EXACT)
@pytest.mark.parametrize("optimise_noise", [False, True])
def test_optimised_variances_are_where_the_exact_evidence_is_largest(
    structure: str, optimise_noise: bool
) -> None:
    x, y = regression(5)
    found = of(
        linear_net(torch.zeros(1, 4)),
        (x, y),
        structure=structure,
        optimise_prior="shared",
        noise_var=0.3,
        optimise_noise=optimise_noise,
        first_order=True,
    )
    prior, noise = found.prior_var["weight"], found.noise_var
    best = linear.log_evidence(x, y, prior_var=prior, noise_var=noise)
    assert found.converged
    assert found.log_evidence == pytest.approx(best, rel=1e-10)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert best > linear.log_evidence(x, y, prior_var=prior * factor, noise_var=noise)
        if optimise_noise:
            assert best > linear.log_evidence(x, y, prior_var=prior, noise_var=noise * factor)
    mean, _ = linear.posterior(x, y, prior_var=prior, noise_var=noise)
    gamma = found.effective_parameters
    assert prior == pytest.approx(float(mean.square().sum()) / gamma, rel=1e-6)
    if optimise_noise:
        error = float((y[:, 0] - x @ mean).square().sum())
        assert noise == pytest.approx(error / (20 - gamma), rel=1e-6)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A small network of three classes, trained by weight decay to near a mode."""
    source = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = 2 * torch.randn(3, 4, dtype=F64, generator=source)[y]
    x += torch.randn(90, 4, dtype=F64, generator=source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3)).double()
    optimiser = torch.optim.LBFGS(
        net.parameters(), max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = nn.functional.cross_entropy(net(x), y, reduction="sum")
        value = value + 0.5 * sum(leaf.square().sum() for leaf in net.parameters())
        value.backward()
        return value

    optimiser.step(loss)
    return net.requires_grad_(False), (x, y)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["diagonal", "kronecker", "full"])
@pytest.mark.parametrize("first_order", [False, True])
def test_every_leaf_is_stationary_and_the_evidence_never_falls(
    trained: tuple[nn.Module, tuple[Tensor, Tensor]], structure: str, first_order: bool
) -> None:
    net, data = trained
    options: dict[str, Any] = {"structure": structure, "first_order": first_order}
    given = laplace(net, data, **options)
    found = laplace(net, data, **options, optimise_prior="per-leaf")
    assert given.history == (given.log_evidence,)
    assert found.converged
    assert found.history[0] == pytest.approx(given.log_evidence)
    assert found.history[-1] == pytest.approx(found.log_evidence)
    assert list(found.history) == sorted(found.history)
    assert len(found.history) > 2
    assert list(found.prior_var) == [name for name, _ in net.named_parameters()]
    inside = [name for name, variance in found.prior_var.items() if 1e-7 < variance < 1e7]
    assert len(inside) == 6 if not first_order else len(inside) >= 3
    for name in inside:
        for factor in (0.8, 1.25):
            moved = {**found.prior_var, name: found.prior_var[name] * factor}
            assert laplace(net, data, **options, prior_var=moved).log_evidence < found.log_evidence


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["diagonal", "kronecker", "full"])
def test_the_optimum_does_not_depend_on_the_start(
    trained: tuple[nn.Module, tuple[Tensor, Tensor]], structure: str
) -> None:
    net, data = trained
    ends = [
        laplace(net, data, structure=structure, optimise_prior="per-leaf", prior_var=start)
        for start in (1e-6, 1.0, 1e6)
    ]
    for end in ends:
        assert end.converged
        assert end.log_evidence == pytest.approx(ends[0].log_evidence, rel=1e-9)
        assert end.prior_var == pytest.approx(ends[0].prior_var, rel=1e-3)


def test_one_shared_variance_is_at_most_as_good_as_one_for_each_leaf(
    trained: tuple[nn.Module, tuple[Tensor, Tensor]],
) -> None:
    net, data = trained
    values = [
        laplace(net, data, structure="full", optimise_prior=way).log_evidence
        for way in ("none", "shared", "per-leaf")
    ]
    assert values == sorted(values)
    shared = laplace(net, data, structure="full", optimise_prior="shared").prior_var
    assert len(set(shared.values())) == 1


def test_near_a_mode_the_correction_is_small_and_structures_agree(
    trained: tuple[nn.Module, tuple[Tensor, Tensor]],
) -> None:
    net, data = trained
    found = {s: laplace(net, data, structure=s) for s in ("diagonal", "kronecker", "full")}
    assert all(one.correction < 0.1 for one in found.values())
    assert len({round(one.fit, 9) for one in found.values()}) == 1
    size = sum(leaf.numel() for leaf in net.parameters())
    assert all(0 < one.effective_parameters < size for one in found.values())
    # Hadamard: a determinant is at most that of its diagonal
    assert found["full"].complexity < found["diagonal"].complexity


def test_close_to_the_integral_of_a_logistic_model() -> None:
    """One weight, 200 examples: the evidence by quadrature."""
    source = torch.Generator().manual_seed(1)
    x = torch.randn(200, 1, dtype=F64, generator=source)
    y = (torch.rand(200, dtype=F64, generator=source) < torch.sigmoid(2 * x[:, 0])).long()
    grid = torch.linspace(-6, 6, 4001, dtype=F64)

    def log_joint(w: Tensor) -> Tensor:
        logits = torch.stack([torch.zeros(200, len(w), dtype=F64), x * w], dim=-1)
        log_lik = logits.log_softmax(dim=-1).gather(2, y[:, None, None].expand(-1, len(w), 1))
        prior = torch.distributions.Normal(0.0, math.sqrt(3.0)).log_prob(w)
        return log_lik.sum(dim=(0, 2)) + prior

    class Logistic(nn.Module):
        def __init__(self, weight: Tensor) -> None:
            super().__init__()
            self.weight = nn.Parameter(weight.clone())

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.zeros_like(x), x * self.weight], dim=1)

    exact = float(torch.logsumexp(log_joint(grid), 0) + math.log(12 / 4000))
    mode = grid[log_joint(grid).argmax()]
    for structure in ("diagonal", "kronecker", "full"):
        found = laplace(Logistic(mode), (x, y), structure=structure, prior_var=3.0)
        assert found.log_evidence == pytest.approx(exact, abs=0.02)


def test_what_is_not_kept_has_no_part_in_it() -> None:
    """A linear model whose first input was pruned is the model without that input."""
    x, y = regression(3)
    net = ridge(x[:, 1:], y, 0.5, 0.2)
    whole = linear_net(torch.cat([torch.zeros(1, 1, dtype=F64), net.weight], dim=1))
    kept = {"weight": torch.tensor([[False, True, True, True]])}
    options = {"prior_var": 0.5, "noise_var": 0.2}
    for structure in ("diagonal", "full"):
        found = of(whole, (x, y), structure=structure, kept=kept, **options)
        alone = of(net, (x[:, 1:], y), structure=structure, **options)
        assert found.log_evidence == pytest.approx(alone.log_evidence, rel=1e-12)
        assert found.correction == pytest.approx(alone.correction, abs=1e-12)
    with pytest.raises(ConfigError, match=r"'weight' is kept in part.*structure='diagonal'"):
        of(whole, (x, y), structure="kronecker", kept=kept)


def test_a_leaf_that_is_not_kept_has_no_prior(
    trained: tuple[nn.Module, tuple[Tensor, Tensor]],
) -> None:
    net, data = trained
    kept = {"0.bias": torch.zeros(5, dtype=torch.bool)}
    for structure in ("diagonal", "kronecker", "full"):
        found = laplace(
            net,
            data,
            structure=structure,
            kept=kept,
            prior_var=dict.fromkeys(["0.weight", "2.weight", "2.bias", "3.weight", "3.bias"], 1.0),
        )
        assert "0.bias" not in found.prior_var
        assert len(found.prior_var) == 5


def test_leaves_without_information_end_at_the_ends_of_the_range() -> None:
    """Zeros want no prior variance at all; what no output depends on does not mind any."""
    net = nn.Linear(2, 1).double()
    net.spare = nn.Parameter(torch.ones(3, dtype=F64))
    with torch.no_grad():
        net.bias.zero_()
    x, y = regression(4, d=2)
    for structure in ("diagonal", "kronecker", "full"):
        found = of(net, (x, y), structure=structure, optimise_prior="per-leaf")
        assert found.converged
        assert found.prior_var["bias"] == pytest.approx(1e-8)
        assert found.prior_var["spare"] == pytest.approx(1e8)


def test_complexity_of_l2_is_a_prior_of_twice_the_precision() -> None:
    """The mode of NLL + λ‖w‖² leaves no first-order term under N(0, 1/(2λ)), and does under N(0, 1/λ)."""
    family = Family(nn.Linear(4, 1, bias=False), FamilyConfig(prior_var=0.7))
    x, y = regression(6)
    lam = 3.0
    w = torch.linalg.solve(x.T @ x + 2 * lam * torch.eye(4, dtype=F64), x.T @ y)
    net = linear_net(w.T)
    assert prior_of(family, lam, "l2") == pytest.approx(1 / 6)
    right, wrong = (of(net, (x, y), prior_var=s) for s in (prior_of(family, lam, "l2"), 1 / lam))
    assert right.correction == pytest.approx(0, abs=1e-12)
    assert wrong.correction > 1e-3
    exact = linear.log_evidence(x, y, prior_var=1 / 6, noise_var=1.0)
    assert right.log_evidence == pytest.approx(exact, rel=1e-10)


def test_priors_of_the_other_objectives() -> None:
    family = Family(nn.Linear(4, 1), FamilyConfig(prior_var=0.7))
    assert prior_of(family, 2.0, "scaled-prior") == pytest.approx(0.35)
    assert prior_of(family, 2.0, "scaled-kl") == pytest.approx(0.7)
    with pytest.raises(ConfigError, match=r"'l1' has no normal prior.*allowed: .*scaled-prior, l2"):
        prior_of(family, 2.0, "l1")


def test_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).train()
    before = copy.deepcopy(net.state_dict())
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    for structure in ("diagonal", "kronecker", "full"):
        laplace(net, (x, torch.arange(9) % 2), structure=structure, optimise_prior="per-leaf")
    assert net.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": "kroneker"}, "unknown structure 'kroneker'; did you mean 'kronecker'"),
        ({"optimise_prior": "per-layer"}, "did you mean 'per-leaf'"),
        ({"prior_var": 0.0}, "prior_var=0.0; expected positive"),
        ({"prior_var": {"weight": 1.0}}, "no variance for bias"),
        ({"noise_var": -1.0, "kind": "regression"}, "noise_var=-1; expected a positive"),
        ({"noise_var": 2.0}, "noise_var=2, optimise_noise=False with a classification"),
        ({"optimise_noise": True}, "only a regression has noise"),
        ({"kept": {"wieght": torch.ones(1)}}, "unknown parameter 'wieght'; did you mean 'weight'"),
        (
            {"kept": {n: torch.zeros(s).bool() for n, s in (("weight", (2, 2)), ("bias", 2))}},
            "keep at least one number",
        ),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    y = torch.zeros(3, 2) if options.get("kind") == "regression" else torch.zeros(3).long()
    data = torch.zeros(3, 2), y
    with pytest.raises(ConfigError, match=message):
        laplace(nn.Linear(2, 2), data, **options)


def test_masks_that_do_not_fit_are_refused() -> None:
    data = torch.zeros(3, 2), torch.zeros(3).long()
    with pytest.raises(
        ShapeError, match=r"kept\['bias'\] is torch.bool \[3\], expected torch.bool"
    ):
        laplace(nn.Linear(2, 2), data, kept={"bias": torch.ones(3).bool()})

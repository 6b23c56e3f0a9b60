"""ShrinkNets' regression problem: its penalty in closed form, its descent, and Propositions A.1 to A.4 of the draft."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.papers.lasso.group_lasso import lam_max, refit, solve
from netdial.papers.lasso.problem import LinearProblem
from netdial.papers.lasso.regression import (
    Power,
    Switched,
    lower_bound,
    objective,
    random_start,
    shrink,
)

factors = st.floats(1e-3, 10)
powers = st.sampled_from([1, 2])


def problem(kind: str = "linear", *, seed: int = 0, intercept: bool = True) -> LinearProblem:
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 8, generator=source, dtype=torch.float64)
    scores = 2 * x[:, :3] + torch.randn(40, 3, generator=source, dtype=torch.float64)
    y = scores if kind == "linear" else scores.argmax(dim=1)
    return LinearProblem(x, y, kind, intercept)  # type: ignore[arg-type]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(lam=factors, lam2=factors, p=powers, seed=st.integers(0, 99), scale=st.floats(0.1, 10))
def test_penalty_is_that_of_the_factors_at_their_best_scale(
    lam: float, lam2: float, p: Power, seed: int, scale: float
) -> None:
    penalty, product = Switched(lam, lam2, p), draw(3, 8, seed=seed)
    a, beta = penalty.factors(product)
    torch.testing.assert_close(a * beta, product)

    def paid(a: Tensor, beta: Tensor) -> float:
        return lam * float(beta.abs().sum()) + lam2 * float(a.abs().pow(p).sum())

    assert paid(a, beta) == pytest.approx(penalty.value(product))
    assert paid(a / scale, scale * beta) >= penalty.value(product) * (1 - 1e-12)


@pytest.mark.parametrize(("p", "power"), [(2, 2 / 3), (1, 1 / 2)])
def test_penalty_grows_as_a_power_and_lam2_only_scales_it(p: Power, power: float) -> None:
    product = draw(3, 1)
    penalty = Switched(0.3, 0.7, p)
    assert penalty.value(8 * product) == pytest.approx(8**power * penalty.value(product))
    other = Switched(0.3 / 2, 0.7 * (4 if p == 2 else 2), p)
    assert other.kappa == pytest.approx(penalty.kappa)


def test_penalty_against_a_search_over_the_scale() -> None:
    # one column of length 2 under p=2: λ β + λ2 4 / β² over a fine grid of β
    beta = torch.linspace(0.01, 10, 1_000_000, dtype=torch.float64)
    least = float((0.3 * beta + 0.7 * 4 / beta.square()).min())
    assert Switched(0.3, 0.7).value(torch.tensor([[2.0]]).double()) == pytest.approx(
        least, rel=1e-9
    )


@given(
    lam=factors, p=powers, seed=st.integers(0, 99), bend=st.floats(0.1, 10), size=st.floats(0, 5)
)
def test_a_step_never_raises_what_it_lowers(
    lam: float, p: Power, seed: int, bend: float, size: float
) -> None:
    penalty = Switched(lam, lam, p)
    target, now = size * draw(3, 8, seed=seed), draw(3, 8, seed=seed + 1)
    now[:, 0] = 0

    def height(weights: Tensor) -> float:
        return bend / 2 * float((weights - target).square().sum()) + penalty.value(weights)

    new = penalty.step(target, bend, now)
    assert height(new) <= height(now) * (1 + 1e-12)
    assert not new[:, 0].any()


@pytest.mark.parametrize("kind", ["linear", "logistic"])
@pytest.mark.parametrize("p", [1, 2])
def test_descent_ends_where_no_factor_wants_to_move(kind: str, p: Power) -> None:
    data = problem(kind)
    lam = 0.05 * lam_max(data)
    end = shrink(data, Switched(lam, lam, p), random_start(data, torch.Generator()), tolerance=1e-9)
    a, beta, bias = (t.clone().requires_grad_() for t in (end.weights, end.switches, end.bias))
    outputs = data.x @ (a * beta).T + bias
    loss = (
        (outputs - data.y).square().sum() / 40
        if kind == "linear"
        else torch.nn.functional.cross_entropy(outputs, data.y)
    )
    whole = loss + lam * beta.abs().sum() + lam * a.abs().pow(p).sum()
    assert whole.item() == pytest.approx(end.objective)
    whole.backward()
    there = (end.weights != 0) & (end.switches != 0)
    assert bool(there.any())
    assert float(a.grad[there].abs().max()) < 1e-6
    assert float(beta.grad[end.switches != 0].abs().max()) < 1e-6
    assert float(bias.grad.abs().max()) < 1e-6
    assert objective(
        data, end.weights, end.switches, end.bias, lam=lam, lam2=lam, p=p
    ) == pytest.approx(end.objective)


def test_descent_finds_the_columns_that_matter_and_a_large_lam_leaves_none() -> None:
    data = problem()
    lam = 0.05 * lam_max(data)
    end = shrink(data, Switched(lam, lam), random_start(data, torch.Generator()))
    assert end.switches.nonzero().flatten().tolist() == [0, 1, 2]
    assert (end.switches >= 0).all()
    gone = shrink(data, Switched(1e3, 1e3), random_start(data, torch.Generator()))
    assert not gone.product.any()
    assert gone.fit == pytest.approx(data.null[1])


def test_columns_kept_are_shortened_less_than_by_the_group_lasso() -> None:
    """At the same columns kept, the loss is closer to the one without any penalty."""
    data = problem()
    convex = solve(data, 0.2 * lam_max(data))
    lam = 0.05 * lam_max(data)
    end = shrink(data, Switched(lam, lam), random_start(data, torch.Generator()))
    kept = end.switches > 0
    assert bool((kept == convex.weights.any(dim=0)).all())
    free = refit(data, kept, ridge=1e-12).fit
    assert end.fit - free < 0.5 * (convex.fit - free)


@pytest.mark.parametrize("p", [1, 2])
def test_one_number_against_a_grid(p: Power) -> None:
    x, y = torch.full((1, 1), 1.5), torch.full((1, 1), 2.0)
    data = LinearProblem(x, y, "linear", intercept=False)
    penalty = Switched(0.4, 0.2, p)
    grid = torch.linspace(-1, 3, 400_001, dtype=torch.float64)
    curve = (2 - 1.5 * grid).square() + penalty.kappa * grid.abs().pow(penalty.power)
    end = shrink(
        data, penalty, (torch.ones(1, 1).double(), torch.zeros(1).double()), tolerance=1e-10
    )
    assert end.objective == pytest.approx(float(curve.min()), rel=1e-8)
    assert float(end.product) == pytest.approx(float(grid[curve.argmin()]), abs=1e-4)


@pytest.mark.parametrize("kind", ["linear", "logistic"])
@given(seed=st.integers(0, 200), size=st.floats(0, 2), share=st.floats(0.02, 0.6), p=powers)
def test_nothing_is_below_the_bound(
    kind: str, seed: int, size: float, share: float, p: Power
) -> None:
    data = problem(kind)
    penalty = Switched(share * lam_max(data), share * lam_max(data), p)
    source = torch.Generator().manual_seed(seed)
    end = shrink(data, penalty, random_start(data, source), max_steps=200)
    least, _ = lower_bound(data, penalty, end.objective, max_steps=60)
    assert least <= end.objective + 1e-12
    product = size * draw(3, 8, seed=seed) * (draw(8, seed=seed + 7) > 0)
    fit = data.fit(data.outputs(product, end.bias))
    assert least <= fit + penalty.value(product) + 1e-12


def test_the_bound_is_close_where_one_column_decides() -> None:
    x, y = torch.full((1, 1), 1.0), torch.full((1, 1), 2.0)
    data = LinearProblem(x, y, "linear", intercept=False)
    zero = (torch.zeros(1, 1).double(), torch.zeros(1).double())
    penalty = Switched(30.0, 30.0)
    end = shrink(data, penalty, zero)
    assert lower_bound(data, penalty, end.objective)[0] == pytest.approx(end.objective)


@pytest.mark.parametrize("draws", range(3))
def test_proposition_a1_constrained_to_unit_columns_the_minima_are_equal(draws: int) -> None:
    """β_j is the length of the column; the draft's proof has its square, which gives another value."""
    data = problem(seed=draws, intercept=False)
    lam = 0.2 * lam_max(data)
    convex = solve(data, lam, tolerance=1e-12)
    beta = convex.weights.norm(dim=0)
    unit = torch.where(beta > 0, convex.weights / beta.clamp_min(1e-300), 3**-0.5)
    torch.testing.assert_close(unit.norm(dim=0), torch.ones(8, dtype=torch.float64))
    zero = torch.zeros(3, dtype=torch.float64)
    same = objective(data, unit, beta, zero, lam=lam, lam2=0.0, p=2)
    assert same == pytest.approx(convex.objective, rel=1e-10)
    squared = beta.square()
    assert lam * float(squared.sum()) != pytest.approx(lam * float(beta.sum()), rel=1e-2)
    for seed in range(20):
        other = torch.nn.functional.normalize(unit + 0.3 * draw(3, 8, seed=seed), dim=0)
        moved = beta + 0.1 * draw(8, seed=seed + 100)
        value = objective(data, other, moved, zero, lam=lam, lam2=0.0, p=2)
        assert value >= convex.objective - convex.gap


@pytest.mark.parametrize("x", [0.5, 1.0, 3.0])
def test_proposition_a2_not_convex_with_the_right_candidates(x: float) -> None:
    """(y - a β x)²: the draft's (0, 2) and (2, 0) give y² = 1 and not 0, and their middle (1 - x)² and not x.

    For 0 < x < 2 that is no counterexample. (1, 1/x) and (-1, -1/x) are one for every x: both fit, (0, 0) does not.
    """

    def f(a: float, beta: float, y: float = 1.0) -> float:
        return (y - a * beta * x) ** 2

    assert f(0, 2) == f(2, 0) == 1.0
    assert f(1, 1) == pytest.approx((1 - x) ** 2)
    assert (f(1, 1) > 0.5 * f(0, 2) + 0.5 * f(2, 0)) == (x > 2)
    assert f(1, 1 / x) == f(-1, -1 / x) == pytest.approx(0)
    assert f(0, 0) == 1.0
    assert f(0, 2, y=0) == f(2, 0, y=0) == 0.0
    assert f(1, 1, y=0) == x**2 > 0


def test_proposition_a3_without_lam2_the_objective_falls_for_ever() -> None:
    """Along c A, β / c it falls to the loss alone; so the infimum is the loss without any penalty and is not attained."""
    data = problem()
    a, beta, bias = draw(3, 8), draw(8, seed=1), torch.zeros(3, dtype=torch.float64)
    values = [
        objective(data, 2.0**k * a, beta / 2.0**k, bias, lam=0.5, lam2=0.0, p=2) for k in range(30)
    ]
    assert all(later < earlier for earlier, later in itertools.pairwise(values))
    assert values[-1] == pytest.approx(data.fit(data.outputs(a * beta, bias)), rel=1e-6)


def test_proposition_a3_needs_a_loss_that_zero_weights_do_not_minimise() -> None:
    """The draft's proof takes β* ≠ 0 for granted: with nothing to explain, β = 0 is a minimum."""
    data = LinearProblem(draw(10, 4), torch.zeros(10, 2), "linear")
    zero = torch.zeros(2, dtype=torch.float64)
    assert objective(data, draw(2, 4), torch.zeros(4).double(), zero, lam=0.5, lam2=0.0, p=2) == 0
    with pytest.raises(ConfigError, match="falls for ever"):
        Switched(0.5, 0.0)


def test_proposition_a4_every_switch_that_is_there_may_change_its_sign() -> None:
    """2^k distinct points with the same objective, k = the switches that are not 0.

    The draft counts all of them; a switch at 0, with its column, is its own mirror image, and most are at 0.
    """
    data = problem()
    lam = 0.05 * lam_max(data)
    end = shrink(data, Switched(lam, lam), random_start(data, torch.Generator()))
    seen = set()
    for pattern in itertools.product((1.0, -1.0), repeat=8):
        signs = torch.tensor(pattern, dtype=torch.float64)
        a, beta = end.weights * signs, end.switches * signs
        value = objective(data, a, beta, end.bias, lam=lam, lam2=lam, p=2)
        assert value == pytest.approx(end.objective, rel=1e-12)
        seen.add(tuple((beta + 0.0).tolist()))
    assert len(seen) == 2 ** int((end.switches != 0).sum()) < 2**8


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh, torch.nn.functional.gelu])
def test_proposition_a4_through_layers_needs_the_column_and_not_the_row(activation) -> None:
    """a(A diag(β) x + b): sign and column change together before any a; a row of the layer before needs an odd one."""
    first, second = (draw(5, 4), draw(4), draw(5)), (draw(3, 5, seed=1), draw(5), draw(3))
    x = draw(20, 4, seed=2)

    def net(*layers: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        out = x
        for a, beta, bias in layers:
            out = activation(out @ (a * beta).T + bias)
        return out

    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    a, beta, bias = second
    torch.testing.assert_close(net(first, (a * signs, beta * signs, bias)), net(first, second))
    rows = (first[0] * signs[:, None], first[1], first[2] * signs)
    same = torch.allclose(net(rows, (a, beta * signs, bias)), net(first, second))
    assert same == (activation is torch.tanh)


def test_factors_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"p=3.*allowed: 1, 2"):
        Switched(1.0, 1.0, 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lam=-1"):
        Switched(-1.0, 1.0)

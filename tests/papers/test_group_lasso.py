"""The group lasso: equal to closed forms and to scikit-learn, certified by its duality gap, refused with a reason."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import MultiTaskLasso, Ridge
from torch import Tensor

from netdial.core.errors import ConfigError, DataError, NonFiniteError, ShapeError
from netdial.papers.lasso import group_lasso as gl
from netdial.papers.lasso.descent import GroupNorm
from netdial.papers.lasso.group_lasso import lam_max, refit, solve, sparsity
from netdial.papers.lasso.problem import LinearProblem

CASES = [(kind, bias) for kind in ("linear", "logistic") for bias in (True, False)]


def problem(kind: str, intercept: bool = True, *, n: int = 40, p: int = 12, seed: int = 0):
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=source, dtype=torch.float64) + 0.5
    scores = 2 * x[:, :3] + torch.randn(n, 3, generator=source, dtype=torch.float64)
    return LinearProblem(x, scores if kind == "linear" else scores.argmax(dim=1), kind, intercept)


def objective(data: LinearProblem, lam: float, weights: Tensor, bias: Tensor) -> float:
    return data.fit(data.outputs(weights, bias)) + lam * float(weights.norm(dim=0).sum())


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("shape", [(40, 12), (15, 30)])
def test_linear_is_scikit_learns_multi_task_lasso(shape: tuple[int, int], intercept: bool) -> None:
    data = problem("linear", intercept, n=shape[0], p=shape[1])
    lam = 0.2 * lam_max(data)
    ours = solve(data, lam, tolerance=1e-11)
    # theirs is (1/2N) ||Y - X W||² + α ||W||_21: half of ours, λ = 2 α
    theirs = MultiTaskLasso(alpha=lam / 2, fit_intercept=intercept, tol=1e-12, max_iter=100_000)
    theirs.fit(data.x.numpy(), data.y.numpy())
    torch.testing.assert_close(ours.weights, torch.tensor(theirs.coef_), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        ours.bias, torch.as_tensor(theirs.intercept_).expand(3).double(), atol=1e-5, rtol=0
    )
    assert ours.objective <= objective(data, lam, torch.tensor(theirs.coef_), ours.bias) + 1e-9


@pytest.mark.parametrize("lam", [0.1, 1.0, 5.0])
def test_orthogonal_inputs_have_a_closed_form(lam: float) -> None:
    x = torch.linalg.qr(torch.randn(20, 6, dtype=torch.float64)).Q * 20**0.5
    y = torch.randn(20, 4, dtype=torch.float64) * 3
    plain = y.T @ x / 20
    expected = plain * (1 - lam / (2 * plain.norm(dim=0))).clamp_min(0)
    found = solve(LinearProblem(x, y, "linear", intercept=False), lam, tolerance=1e-13)
    torch.testing.assert_close(found.weights, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kind", "intercept"), CASES)
def test_solution_is_certified(kind: str, intercept: bool) -> None:
    data = problem(kind, intercept)
    for share in (0.7, 0.2, 0.05):
        found = solve(data, share * lam_max(data), tolerance=1e-9)
        assert found.gap <= 1e-9 * data.null[1]
        assert found.kkt < 1e-2
        assert found.objective == pytest.approx(
            objective(data, found.lam, found.weights, found.bias), rel=1e-12
        )
        assert intercept or not found.bias.any()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "intercept"), CASES)
@given(seed=st.integers(0, 1000), size=st.floats(0, 3), share=st.floats(0.02, 1.5))
def test_gap_bounds_the_distance_from_the_minimum(
    kind: str, intercept: bool, seed: int, size: float, share: float
) -> None:
    data = problem(kind, intercept)
    lam = share * lam_max(data)
    source = torch.Generator().manual_seed(seed)
    weights = size * torch.randn(3, 12, generator=source, dtype=torch.float64)
    anywhere = gl.certified(data, lam, weights, data.null[0])
    least = solve(data, lam, tolerance=1e-6)
    assert anywhere.objective - anywhere.gap <= least.objective + 1e-9
    assert least.objective <= anywhere.objective + least.gap + 1e-9


@pytest.mark.parametrize(("kind", "intercept"), CASES)
def test_largest_lam_is_where_the_last_column_goes(kind: str, intercept: bool) -> None:
    data = problem(kind, intercept)
    largest = lam_max(data)
    assert sparsity(solve(data, largest * 1.001, tolerance=1e-10).weights, 0) == 1
    assert sparsity(solve(data, largest * 0.99, tolerance=1e-10).weights, 0) == pytest.approx(
        11 / 12
    )


@pytest.mark.parametrize("kind", ["linear", "logistic"])
def test_start_does_not_matter_and_loss_rises_with_lam(kind: str) -> None:
    data = problem(kind)
    lams = [share * lam_max(data) for share in (0.05, 0.1, 0.3, 0.9)]
    start, warm = None, []
    for lam in reversed(lams):
        found = solve(data, lam, start=start, tolerance=1e-9)
        start = (found.weights, found.bias)
        warm.insert(0, found)
    for lam, found in zip(lams, warm, strict=True):
        cold = solve(data, lam, tolerance=1e-9)
        assert cold.objective == pytest.approx(found.objective, abs=2e-9 * data.null[1])
    assert [found.fit for found in warm] == sorted(found.fit for found in warm)


def test_steps_run_out_and_the_gap_says_so() -> None:
    data = problem("logistic")
    lam = 0.02 * lam_max(data)
    found = solve(data, lam, tolerance=1e-12, max_steps=20)
    assert found.n_steps == 20
    assert found.gap > 1e-12 * data.null[1]
    assert found.objective - found.gap <= solve(data, lam).objective


def test_objective_never_rises() -> None:
    data = problem("logistic", seed=3)
    penalty, seen = GroupNorm(0.01), [float("inf")]
    start = 3 * torch.ones(3, 12, dtype=torch.float64), data.null[0]
    for steps in range(1, 30):
        seen.append(
            gl.minimise(data, penalty, start, stop=lambda at: False, max_steps=steps).objective
        )
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize("scale", [0.1, 4.0, 30.0])
def test_best_bias_has_no_slope(scale: float) -> None:
    data = problem("logistic")
    source = torch.Generator().manual_seed(1)
    weights = scale * torch.randn(3, 12, generator=source, dtype=torch.float64)
    bias = gl.best_bias(data, weights, data.null[0])
    slope = data.slopes(data.outputs(weights, bias)).mean(dim=0)
    assert float(slope.abs().max()) < 1e-10


def test_refit_is_ridge_on_the_columns_kept() -> None:
    data, keep = problem("linear"), torch.arange(12) < 4
    found = refit(data, keep, ridge=0.1)
    theirs = Ridge(alpha=0.1 * 40).fit(data.x[:, keep].numpy(), data.y.numpy())
    torch.testing.assert_close(found.weights[:, keep], torch.tensor(theirs.coef_))
    assert not found.weights[:, ~keep].any()


def test_refit_of_classes_is_stationary_and_fits_closer_than_the_group_lasso() -> None:
    data = problem("logistic")
    convex = solve(data, 0.3 * lam_max(data))
    keep = convex.weights.any(dim=0)
    found = refit(data, keep, ridge=1e-2, start=(convex.weights, convex.bias))
    pull, slope = data.gradient(data.slopes(found.outputs))
    assert float((pull + 2e-2 * found.weights)[:, keep].abs().max()) < 1e-6
    assert float(slope.abs().max()) < 1e-6
    assert found.fit < convex.fit
    none = refit(data, torch.zeros(12, dtype=torch.bool), ridge=1e-2)
    assert none.fit == pytest.approx(data.null[1])


def test_sparsity_counts_columns_below_the_threshold_of_the_draft() -> None:
    weights = torch.tensor([[0.0, 9e-4, 2.0, 0.0], [0.0, -9e-4, 0.0, 1e-3]])
    assert sparsity(weights) == 0.5
    assert sparsity(weights, 0) == 0.25


X, Y = torch.randn(5, 2), torch.randn(5, 3)
BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: LinearProblem(X, Y, "ridge"), ConfigError, "allowed: linear, logistic"),  # type: ignore[arg-type]
    (lambda: LinearProblem(X, Y, "logistic"), ShapeError, r"y \[5, 3\]; expected .* \[N\]"),
    (lambda: LinearProblem(X[:4], Y, "linear"), ShapeError, r"x is \[4, 2\]"),
    (lambda: LinearProblem(X / 0, Y, "linear"), DataError, "not finite"),
    (
        lambda: LinearProblem(X, torch.arange(5), "logistic", n_outputs=3),
        DataError,
        r"classes must lie in 0 \.\.\. 2",
    ),
    (lambda: solve(LinearProblem(X, Y, "linear"), 0.0), ConfigError, r"lam=0, .* must be positive"),
    (
        lambda: solve(LinearProblem(X, 1e160 * Y.double(), "linear"), 1.0),
        NonFiniteError,
        "scale the data",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_refused_with_a_reason(
    call: Callable[[], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()

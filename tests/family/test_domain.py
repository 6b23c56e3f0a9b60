"""Domain: unit coordinates and back, refusal outside the range, and sampling that covers every stratum without bias."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import ConfigError
from netdial.family.domain import Domain

Z = 5.0
ranges = st.tuples(st.floats(1e-6, 1e3), st.floats(1.5, 1e6)).map(
    lambda p: Domain(p[0], p[0] * p[1])
)


@given(ranges, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_unit_and_lam_are_inverse(domain: Domain, unit: list[float]) -> None:
    place = torch.tensor(unit, dtype=torch.float64)
    lam = domain.lam(place)
    assert torch.allclose(domain.unit(lam), place, atol=1e-12)
    assert bool((lam >= domain.lo * (1 - 1e-12)).all()) and bool(
        (lam <= domain.hi * (1 + 1e-12)).all()
    )


def test_law_is_uniform_in_the_logarithm() -> None:
    domain = Domain(1e-3, 1e3)
    lam = torch.tensor([1e-3, 1e-2, 1.0, 1e3])
    assert domain.unit(lam).tolist() == pytest.approx([0, 1 / 6, 0.5, 1], abs=1e-7)


@pytest.mark.parametrize("lam", [0.0, -1.0, 0.0099, 1.01, math.inf, math.nan])
def test_nothing_outside_the_range_is_given(lam: float) -> None:
    with pytest.raises(
        ConfigError,
        match=r"outside the trained range \[0.01, 1\] \(log scale\); choose a value inside",
    ):
        Domain(0.01, 1.0).unit(torch.tensor([0.1, lam]))


def test_message_names_only_the_values_outside() -> None:
    with pytest.raises(ConfigError, match=r"^lam=2, 0.001: outside"):
        Domain(0.01, 1.0).unit(torch.tensor([0.1, 2.0, 1.0, 0.001]))


def test_ends_given_in_single_precision_are_inside() -> None:
    for lo, hi in [(0.3, 0.7), (1e-3, 0.1), (0.6, 0.9)]:
        domain = Domain(lo, hi)
        found = domain.unit(torch.tensor([lo, hi], dtype=torch.float32)).tolist()
        assert found == pytest.approx([0, 1], abs=1e-6)
        assert min(found) >= 0 and max(found) <= 1


@pytest.mark.parametrize(
    ("lo", "hi"), [(0, 1), (1, 1), (2, 1), (-1, 1), (1, math.inf), (math.nan, 1)]
)
def test_impossible_ranges_are_refused(lo: float, hi: float) -> None:
    with pytest.raises(ConfigError, match="expected 0 < lo < hi < inf"):
        Domain(lo, hi)


def test_grid_is_even_on_the_log_scale_and_inside() -> None:
    domain = Domain(1e-3, 1e2)
    assert domain.grid(6) == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10, 100])
    assert domain.grid(1) == pytest.approx([math.sqrt(0.1)])
    domain.unit(torch.tensor(domain.grid(101), dtype=torch.float64))
    with pytest.raises(ConfigError, match="count=0; expected at least 1"):
        domain.grid(0)


@given(ranges, st.integers(2, 40))
def test_grid_is_never_refused(domain: Domain, count: int) -> None:
    grid = domain.grid(count)
    assert grid == sorted(grid)
    domain.unit(torch.tensor(grid, dtype=torch.float64))


@given(st.integers(1, 40), st.integers(0, 1000))
def test_stratified_draw_has_one_value_in_each_stratum(count: int, number: int) -> None:
    unit = Domain(1, 2).stratified(count, torch.Generator().manual_seed(number))
    assert (unit * count).floor().tolist() == list(range(count))


@pytest.mark.parametrize("way", ["sample", "stratified"])
def test_mean_over_a_draw_is_unbiased(way: str, source: torch.Generator) -> None:
    """E over the law of a function that is far from linear, against its integral ∫ exp(3u) du."""
    domain, repeats = Domain(1e-2, 1e2), 4000
    means = torch.stack(
        [(3 * getattr(domain, way)(4, source)).exp().mean() for _ in range(repeats)]
    )
    stderr = float(means.std()) / math.sqrt(repeats)
    assert abs(float(means.mean()) - (math.exp(3) - 1) / 3) < Z * stderr


def test_strata_lower_the_variance(source: torch.Generator) -> None:
    domain = Domain(1e-2, 1e2)
    spread = {
        way: torch.stack(
            [(3 * getattr(domain, way)(8, source)).exp().mean() for _ in range(500)]
        ).var()
        for way in ("sample", "stratified")
    }
    assert spread["stratified"] < spread["sample"] / 10

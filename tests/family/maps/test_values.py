"""Maps against independent slow implementations, written as loops over λ, regions, hidden units and entries."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.layout import Layout
from netdial.family.maps import (
    CentredMap,
    GatedMap,
    LinearMap,
    LowRankMap,
    MapOptions,
    PiecewiseMap,
    TableMap,
)

F64 = torch.float64
LAYOUT = Layout(("weight", "bias", "kernel"), ((3, 2), (3,), (2, 3, 2)))
places = st.floats(0, 1)


def initial() -> Tensor:
    return torch.randn(LAYOUT.size, dtype=F64, generator=torch.Generator().manual_seed(0))


def shaken(made: torch.nn.Module) -> None:
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, dtype=F64, generator=source))


def slow_piecewise(pivots: list[list[float]], place: float) -> list[float]:
    """Equation (13) of the 2022 paper, region by region.

    As printed, both neighbours of an inner pivot give their full value there; here each region is closed on the left
    (and the last one on both sides), so that exactly one counts.
    """
    regions = len(pivots) - 1
    t = [i / regions for i in range(regions + 1)]
    total = [0.0] * len(pivots[0])
    for i in range(regions):
        last = i == regions - 1
        if t[i] <= place and (place < t[i + 1] or (last and place <= t[i + 1])):
            for p in range(len(total)):
                slope = (pivots[i + 1][p] - pivots[i][p]) / (t[i + 1] - t[i])
                total[p] += pivots[i][p] + slope * (place - t[i])
    return total


@given(place=places, regions=st.integers(1, 10))
def test_piecewise_map_is_equation_13(place: float, regions: int) -> None:
    made = PiecewiseMap.start(LAYOUT, initial(), MapOptions(regions=regions))
    shaken(made)
    found = made(torch.tensor([place], dtype=F64))[0]
    expected = slow_piecewise(made.pivots.tolist(), place)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_piecewise_map_goes_through_its_pivots_and_is_continuous() -> None:
    made = PiecewiseMap.start(LAYOUT, initial(), MapOptions(regions=4))
    shaken(made)
    unit = torch.linspace(0, 1, 5, dtype=F64)
    assert torch.allclose(made(unit), made.pivots, rtol=0, atol=1e-12)
    assert torch.allclose(made((unit - 1e-9).clamp(0, 1)), made(unit), rtol=0, atol=1e-6)


@given(first=places, second=places, share=places)
def test_linear_map_is_affine(first: float, second: float, share: float) -> None:
    """Equation (12): G(λ) = λ b₁ + b₂."""
    made = LinearMap.start(LAYOUT, initial(), MapOptions())
    shaken(made)
    between = first + share * (second - first)
    a, b, c = made(torch.tensor([first, second, between], dtype=F64))
    assert torch.allclose(c, torch.lerp(a, b, share), rtol=0, atol=1e-12)
    slope, offset = (made.pivots[1] - made.pivots[0]).detach(), made.pivots[0].detach()
    assert torch.allclose(a, first * slope + offset, rtol=0, atol=1e-12)


@given(place=places, regions=st.integers(1, 10))
def test_coefficients_are_a_share_of_at_most_two_pivots(place: float, regions: int) -> None:
    made = PiecewiseMap.start(LAYOUT, initial(), MapOptions(regions=regions))
    (row,) = made.coefficients(torch.tensor([place], dtype=F64)).tolist()
    assert sum(row) == pytest.approx(1)
    assert min(row) >= 0
    assert sum(value > 0 for value in row) <= 2


def slow_lowrank(made: LowRankMap, place: float) -> list[float]:
    """Equation (5) of the 2021 paper: (f(λ) U₁)ᵀ (f(λ) U₂) + B, entry by entry."""
    slope, offset = made.slope.tolist(), made.offset.tolist()
    f = [max(a * place + b, 0.0) for a, b in zip(slope, offset, strict=True)]
    out: list[float] = []
    lefts = iter(made.left)
    for shape, right in zip(made.layout.shapes, made.right, strict=True):
        u1, u2 = next(lefts).tolist() if len(shape) >= 2 else None, right.tolist()
        rows = shape[0] if len(shape) >= 2 else 1
        for m in range(rows):
            left = sum(f[h] * u1[h][m] for h in range(len(f))) if u1 is not None else 1.0
            for n in range(math.prod(shape) // rows):
                out.append(left * sum(f[h] * u2[h][n] for h in range(len(f))))
    return [move + base for move, base in zip(out, made.base.tolist(), strict=True)]


@given(place=places)
def test_lowrank_map_is_equation_5(place: float) -> None:
    made = LowRankMap.start(LAYOUT, initial(), MapOptions(hidden=7))
    shaken(made)
    found = made(torch.tensor([place], dtype=F64))[0]
    assert found.tolist() == pytest.approx(slow_lowrank(made, place), abs=1e-11)


@given(place=places)
def test_centred_map_is_the_piecewise_map_of_base_and_deviations(place: float) -> None:
    made = CentredMap.start(LAYOUT, initial(), MapOptions(regions=3))
    shaken(made)
    *deviations, base = made.pivots.detach()
    same = PiecewiseMap(LAYOUT, torch.stack(deviations) + base)
    unit = torch.tensor([place], dtype=F64)
    assert torch.allclose(made(unit), same(unit), atol=1e-12)


def test_a_step_at_one_end_moves_the_other_end_of_a_centred_map_half_as_far() -> None:
    made = CentredMap.start(LAYOUT, initial(), MapOptions(regions=3))
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    ends = torch.tensor([0.0, 1.0], dtype=F64)
    before = made(ends).detach()
    made(ends[:1]).sum().backward()
    optimizer.step()
    near, far = (made(ends).detach() - before).mean(dim=1).tolist()
    assert (near, far) == pytest.approx((-0.02, -0.01), rel=1e-5)


def test_lowrank_move_of_a_matrix_has_rank_one() -> None:
    made = LowRankMap.start(LAYOUT, initial(), MapOptions(hidden=7))
    shaken(made)
    move = LAYOUT.split((made(torch.tensor([0.7], dtype=F64))[0] - made.base).detach())
    assert int(torch.linalg.matrix_rank(move["weight"])) == 1
    assert int(torch.linalg.matrix_rank(move["kernel"].flatten(1))) == 1


def slow_gated(made: GatedMap, place: float) -> list[float]:
    """One gate for each index of a leaf's first dimension, row by row."""
    out, row, position = [], 0, 0
    for shape in made.layout.shapes:
        for _ in range(shape[0]):
            gate = made.slope.tolist()[row] * place + made.offset.tolist()[row]
            for _ in range(math.prod(shape[1:])):
                base = made.base.tolist()[position]
                out.append(base + gate if made.additive else base * 2 / (1 + math.exp(-gate)))
                position += 1
            row += 1
    return out


@given(place=places, additive=st.booleans())
def test_gated_map_gates_rows(place: float, additive: bool) -> None:
    made = GatedMap.start(LAYOUT, initial(), MapOptions(additive=additive))
    shaken(made)
    found = made(torch.tensor([place], dtype=F64))[0]
    assert found.tolist() == pytest.approx(slow_gated(made, place), abs=1e-12)


def test_gate_on_a_pre_activation_is_a_gate_on_rows() -> None:
    """With tied gates, W and b gated row by row give the gated pre-activation of Multi-Rate VAE (2023)."""
    layout = Layout(("weight", "bias"), ((3, 2), (3,)))
    start = torch.randn(layout.size, dtype=F64, generator=torch.Generator().manual_seed(1))
    made = GatedMap.start(layout, start, MapOptions())
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=F64)
    with torch.no_grad():
        made.slope.copy_(torch.cat([slope, slope]))
    leaves = layout.split(made(torch.tensor([0.3], dtype=F64))[0])
    plain = layout.split(start)
    x = torch.randn(4, 2, dtype=F64)
    expected = 2 * (0.3 * slope).sigmoid() * (x @ plain["weight"].T + plain["bias"])
    assert torch.allclose(x @ leaves["weight"].T + leaves["bias"], expected)


def test_table_map_exists_only_at_its_rows() -> None:
    made = TableMap.start(LAYOUT, initial(), MapOptions(rows=(0.0, 0.5, 1.0)))
    shaken(made)
    assert torch.equal(made(made.rows), made.pivots)
    assert torch.equal(made(torch.tensor([1.0, 0.0], dtype=F64)), made.pivots[[2, 0]])
    for place in (0.49, 0.51, 0.25):
        with pytest.raises(
            ConfigError,
            match="directly trained networks exist only at the values they were trained for",
        ):
            made(torch.tensor([place], dtype=F64))


def test_rows_of_several_seeds_at_one_value_are_told_apart_by_their_order() -> None:
    made = TableMap.start(LAYOUT, initial(), MapOptions(rows=(0.5, 0.5)))
    shaken(made)
    assert torch.equal(made(made.rows), made.pivots)
    assert torch.equal(made(torch.tensor([0.5], dtype=F64))[0], made.pivots[0])


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="piecewise map: regions=0; expected at least 1"):
        PiecewiseMap.start(LAYOUT, initial(), MapOptions(regions=0))
    with pytest.raises(ConfigError, match="table map: give the unit coordinates of its rows"):
        TableMap.start(LAYOUT, initial(), MapOptions())

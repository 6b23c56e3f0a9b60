"""Masks: exact counts, nested over shares, ties by position, in the pools that a policy says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.core.errors import ConfigError, ShapeError
from netdial.core.layout import Layout
from netdial.pruning.weights.mask import Policy, masks, places, removable, share_below, survival

LAYOUT = Layout(
    ("conv.weight", "conv.bias", "norm.weight", "hidden.weight", "hidden.bias", "out.weight"),
    ((4, 3, 2, 2), (4,), (4,), (5, 4), (5,), (3, 5)),
)
WEIGHTS = 48 + 20 + 15
VECTORS = 4 + 4 + 5
POLICIES = [
    Policy(scope=scope, biases=biases, rows=rows)  # type: ignore[arg-type]
    for scope in ("global", "layer")
    for biases in (False, True)
    for rows in (False, True)
]
policies = st.sampled_from(POLICIES)
some_shares = st.lists(st.floats(0, 0.999), min_size=1, max_size=5)


def importances(seed: int, *, ties: bool, dtype: torch.dtype = torch.float32) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    if ties:
        return torch.randint(-2, 3, (2, LAYOUT.size), generator=source).to(dtype)
    return torch.randn(2, LAYOUT.size, generator=source).to(dtype)


@given(seed=st.integers(0, 50), shares=some_shares, ties=st.booleans(), biases=st.booleans())
def test_global_counts_are_exact(seed: int, shares: list[float], ties: bool, biases: bool) -> None:
    policy = Policy(biases=biases)
    kept = masks(importances(seed, ties=ties), LAYOUT, shares, policy)
    n = WEIGHTS + VECTORS * biases
    assert int(removable(LAYOUT, policy).sum()) == n
    for place, share in enumerate(shares):
        assert ((~kept[:, place]).sum(dim=1) == round(share * n)).all()


@given(seed=st.integers(0, 50), shares=some_shares, ties=st.booleans(), biases=st.booleans())
def test_layer_counts_are_exact(seed: int, shares: list[float], ties: bool, biases: bool) -> None:
    kept = masks(importances(seed, ties=ties), LAYOUT, shares, Policy(scope="layer", biases=biases))
    layers = {"conv": 48 + 4 * biases, "norm": 4 * biases, "hidden": 20 + 5 * biases, "out": 15}
    for place, share in enumerate(shares):
        gone: dict[str, int] = dict.fromkeys(layers, 0)
        for name, part in LAYOUT.split(~kept[:, place]).items():
            gone[name.split(".")[0]] += int(part[0].sum())
        assert gone == {name: round(share * n) for name, n in layers.items()}


@given(seed=st.integers(0, 50), policy=policies, ties=st.booleans(), shares=some_shares)
def test_larger_shares_remove_what_smaller_ones_do(
    seed: int, policy: Policy, ties: bool, shares: list[float]
) -> None:
    ranked = sorted(shares)
    kept = masks(importances(seed, ties=ties), LAYOUT, ranked, policy)
    for smaller, larger in zip(kept.unbind(1), kept.unbind(1)[1:], strict=False):
        assert bool((larger <= smaller).all())
    assert bool(kept[:, :, ~removable(LAYOUT, policy)].all())


@given(seed=st.integers(0, 50), policy=policies, shares=some_shares, data=st.data())
def test_the_order_of_shares_and_members_plays_no_part(
    seed: int, policy: Policy, shares: list[float], data: st.DataObject
) -> None:
    scores = importances(seed, ties=True)
    order = data.draw(st.permutations(range(len(shares))))
    whole = masks(scores, LAYOUT, shares, policy)
    assert torch.equal(masks(scores, LAYOUT, [shares[i] for i in order], policy), whole[:, order])
    assert torch.equal(masks(scores[1:], LAYOUT, shares, policy), whole[1:])


@given(seed=st.integers(0, 50), ties=st.booleans(), share=st.floats(0, 0.99))
def test_what_goes_is_never_above_what_stays(seed: int, ties: bool, share: float) -> None:
    scores = importances(seed, ties=ties)
    kept = masks(scores, LAYOUT, [share])[:, 0]
    which = removable(LAYOUT, Policy())
    for row, stays in zip(scores[:, which], kept[:, which], strict=True):
        if stays.all() or not stays.any():
            continue
        assert row[~stays].max() <= row[stays].min()
        tied = (row == row[stays].min()).nonzero().flatten()
        assert (stays[tied].int().diff() >= 0).all(), "equal ones go in the order of positions"


@given(seed=st.integers(0, 50), policy=policies, ties=st.booleans())
def test_single_and_double_precision_agree(seed: int, policy: Policy, ties: bool) -> None:
    shares = [0.1, 0.5, 0.9]
    single = masks(importances(seed, ties=ties), LAYOUT, shares, policy)
    double = masks(importances(seed, ties=ties, dtype=torch.float64), LAYOUT, shares, policy)
    if not policy.rows:
        assert torch.equal(single, double)
    assert single.shape == double.shape == (2, 3, LAYOUT.size)


def test_signed_zeros_and_infinities_are_ordered_by_value() -> None:
    layout = Layout(("w",), ((1, 6),))
    scores = torch.tensor([[0.0, -0.0, torch.inf, -1.0, 1e-40, -torch.inf]])
    gone = [
        (~masks(scores, layout, [k / 6])[0, 0]).nonzero().flatten().tolist() for k in range(1, 6)
    ]
    assert gone == [[5], [3, 5], [0, 3, 5], [0, 1, 3, 5], [0, 1, 3, 4, 5]]


def test_first_goes_first() -> None:
    scores = importances(0, ties=False)
    first = torch.zeros(2, LAYOUT.size, dtype=torch.bool)
    first[0, [3, 60]] = True
    kept = masks(scores, LAYOUT, [2 / WEIGHTS], first=first)[:, 0]
    assert (~kept[0]).nonzero().flatten().tolist() == [3, 60]
    assert torch.equal(kept[1], masks(scores, LAYOUT, [2 / WEIGHTS])[1, 0])


@pytest.mark.parametrize("biases", [False, True])
def test_rows_go_whole(biases: bool) -> None:
    scores = torch.ones(1, LAYOUT.size)
    tree = LAYOUT.split(scores)
    tree["conv.weight"][0, 2] = 0.1
    tree["hidden.weight"][0, 4] = 0.0
    tree["hidden.bias"][0, 1] = -10.0
    policy = Policy(rows=True, biases=biases)
    kept = LAYOUT.split(masks(scores, LAYOUT, [2 / 9], policy)[0, 0])
    gone = {
        name: (~part).flatten(1).any(1).nonzero().flatten().tolist()
        for name, part in kept.items()
        if part.ndim > 1
    }
    assert gone["out.weight"] == []
    if biases:  # the worst bias drags its row along; the next row is the one without weights
        assert gone["hidden.weight"] == [1, 4]
        assert (~kept["hidden.bias"]).nonzero().flatten().tolist() == [1, 4]
        assert gone["conv.weight"] == []
    else:
        assert gone["hidden.weight"] == [4]
        assert gone["conv.weight"] == [2]
        assert bool(kept["hidden.bias"].all())
    assert not kept["hidden.weight"][4].any(), "a row is removed as a whole"


def test_rows_by_layer_take_the_share_of_every_layer() -> None:
    kept = LAYOUT.split(
        masks(importances(3, ties=False), LAYOUT, [0.5], Policy(scope="layer", rows=True))[0, 0]
    )
    assert int((~kept["conv.weight"]).flatten(1).all(1).sum()) == 2
    assert int((~kept["hidden.weight"]).all(1).sum()) == round(0.5 * 5)
    assert bool(kept["out.weight"].all())


def test_a_network_of_one_layer_has_no_rows_to_lose() -> None:
    layout = Layout(("weight", "bias"), ((3, 4), (3,)))
    policy = Policy(rows=True)
    assert not removable(layout, policy).any()
    assert bool(masks(torch.rand(2, 15), layout, [0.9], policy).all())


def test_survival_counts_the_shares_that_a_number_survives() -> None:
    scores = importances(4, ties=False)
    shares = [0.9, 0.0, 0.5]
    levels = survival(scores, LAYOUT, shares)
    assert levels.min() == 1, "share 0 removes nothing"
    assert levels.max() == 3
    kept = masks(scores, LAYOUT, shares)
    assert torch.equal(levels, kept.sum(dim=1).to(levels))
    assert places(shares) == [2, 0, 1]


def test_share_below_a_threshold_removes_just_that() -> None:
    scores = importances(5, ties=False)
    shares = share_below(scores, LAYOUT, 0.3)
    which = removable(LAYOUT, Policy())
    for row, share in zip(scores, shares, strict=True):
        kept = masks(row[None], LAYOUT, [share])[0, 0]
        assert torch.equal(kept[which], row[which] >= 0.3)
    with pytest.raises(ConfigError, match="single numbers"):
        share_below(scores, LAYOUT, 0.3, Policy(rows=True))


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
def test_shares_outside_the_range_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"outside \[0, 1\)"):
        masks(importances(0, ties=False), LAYOUT, [0.5, share])


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ConfigError, match="the list is empty"):
        masks(importances(0, ties=False), LAYOUT, [])
    with pytest.raises(ShapeError, match=rf"expected \[K, {LAYOUT.size}\]"):
        masks(torch.zeros(2, 3), LAYOUT, [0.5])
    with pytest.raises(ConfigError, match=r"scope='rows'.*global, layer"):
        Policy(scope="rows")  # type: ignore[arg-type]

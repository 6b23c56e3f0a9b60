"""Which channels go: counts, minima, nesting, ties, sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.pruning.channels.choosing import Limits, blocks, by_share, gather

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def scores_of(sizes: list[int], seed: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {f"g{i}": torch.rand(size, generator=source) for i, size in enumerate(sizes)}


def gone(chosen: dict[str, tuple[int, ...]]) -> int:
    return sum(map(len, chosen.values()))


@given(sizes=SIZES, share=st.floats(0.01, 0.99), minimum=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_global_share_is_hit_to_half_a_channel_as_far_as_the_minimum_allows(
    sizes: list[int], share: float, minimum: int, seed: int
) -> None:
    scores = scores_of(sizes, seed)
    now = {name: len(score) for name, score in scores.items()}
    chosen = by_share(blocks(scores, Limits(minimum=minimum)), share, scope="global", now=now)
    spare = sum(max(size - minimum, 0) for size in sizes)
    assert abs(gone(chosen) - min(share * sum(sizes), spare)) <= 0.5 + 1e-6
    for name, score in scores.items():
        lost = list(chosen.get(name, ()))
        left = [c for c in range(len(score)) if c not in lost]
        assert len(left) >= min(minimum, len(score))
        assert not lost or float(score[lost].max()) <= float(score[left].min())


@given(sizes=SIZES, share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_one_threshold_divides_what_goes_from_what_stays(
    sizes: list[int], share: float, seed: int
) -> None:
    scores = scores_of(sizes, seed)
    now = {name: len(score) for name, score in scores.items()}
    chosen = by_share(blocks(scores, Limits()), share, scope="global", now=now)
    highest = max((float(scores[n][list(c)].max()) for n, c in chosen.items()), default=0.0)
    for name, score in scores.items():
        left = [c for c in range(len(score)) if c not in chosen.get(name, ())]
        if len(left) > 1:  # the last one of a group stays whatever it is worth
            assert float(score[left].min()) >= highest


@given(sizes=SIZES, share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_a_share_of_each_layer(sizes: list[int], share: float, seed: int) -> None:
    scores = scores_of(sizes, seed)
    now = {name: len(score) for name, score in scores.items()}
    chosen = by_share(blocks(scores, Limits("layer")), share, scope="layer", now=now)
    for name, size in now.items():
        assert abs(len(chosen.get(name, ())) - min(share * size, size - 1)) <= 0.5 + 1e-6


@given(
    sizes=SIZES,
    shares=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
    scope=st.sampled_from(["global", "layer"]),
    step=st.sampled_from([1, 2, 4]),
)
def test_larger_shares_take_what_smaller_ones_take(
    sizes: list[int], shares: tuple[float, float], scope: str, step: int
) -> None:
    scores = scores_of(sizes, 0)
    now = {name: len(score) for name, score in scores.items()}
    order = blocks(scores, Limits(scope, round_to=step))  # type: ignore[arg-type]
    less, more = (by_share(order, share, scope=scope, now=now) for share in sorted(shares))  # type: ignore[arg-type]
    assert all(set(channels) <= set(more.get(name, ())) for name, channels in less.items())


@given(sizes=SIZES, step=st.integers(1, 5), count=st.integers(0, 40), seed=st.integers(0, 9))
def test_widths_are_multiples_or_what_they_were(
    sizes: list[int], step: int, count: int, seed: int
) -> None:
    scores = scores_of(sizes, seed)
    chosen = gather(blocks(scores, Limits(round_to=step))[:count])
    for name, score in scores.items():
        width = len(score) - len(chosen.get(name, ()))
        assert width >= 1
        assert width % step == 0 or width == len(score)


def test_equal_scores_go_in_order() -> None:
    scores = {"b": torch.zeros(3), "a": torch.zeros(3)}
    order = blocks(scores, Limits())
    assert [(block.group, block.channels) for block in order] == [
        ("b", (0,)), ("b", (1,)), ("a", (0,)), ("a", (1,)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scope": "glob"}, "scope='glob'; did you mean 'global'"),
        ({"minimum": 0}, "minimum=0; .*1"),
        ({"round_to": 0}, "round_to=0; .*1"),
    ],
)
def test_wrong_limits(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Limits(**options)  # type: ignore[arg-type]

"""Seeded randomness: the same words give the same numbers, however the work is split."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from netdial.core.noise import Noise, derive_seed, generator, seeded


def test_each_group_has_numbers_of_its_own_that_do_not_depend_on_its_company() -> None:
    together, alone = Noise(3, 7, [0, 5, 2]), Noise(3, 7, [5])
    for shape in [(4,), (2, 3)]:
        assert torch.equal(together.normal(*shape)[1], alone.normal(*shape)[0])


def test_numbers_differ_by_seed_step_and_group() -> None:
    draws = [
        Noise(*words, [group]).normal(8)
        for *words, group in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]
    for i, first in enumerate(draws):
        for second in draws[i + 1 :]:
            assert not torch.equal(first, second)


def test_calls_go_on_where_the_last_one_stopped() -> None:
    noise = Noise(0, 0, [0])
    assert not torch.equal(noise.normal(5), noise.normal(5))


def test_numbers_are_standard_normal(seed: int) -> None:
    draws = Noise(seed, 0, range(10)).normal(4000, dtype=torch.float64).flatten()
    z = 5 / len(draws) ** 0.5
    assert abs(float(draws.mean())) < z
    assert abs(float(draws.square().mean()) - 1) < z * 2**0.5  # a squared normal has variance 2


def test_seeds_are_63_bits_and_depend_on_the_kind_of_each_word() -> None:
    seeds = {derive_seed(*words) for words in [(1,), ("1",), (1, 1), ("1", 1), (11,)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    first, second = (torch.rand(3, generator=generator("a", 1)) for _ in range(2))
    assert torch.equal(first, second)


def test_seeded_draws_depend_on_the_words_and_leave_the_global_generator_alone() -> None:
    def drawn(*words: int) -> Tensor:
        with seeded(*words):
            return torch.rand(3)

    before = torch.random.get_rng_state()
    assert torch.equal(drawn(0, 1), drawn(0, 1))
    assert not torch.equal(drawn(0, 1), drawn(0, 2))
    with pytest.raises(ZeroDivisionError), seeded(0):
        torch.rand(3) / (1 // 0)
    assert torch.equal(torch.random.get_rng_state(), before)

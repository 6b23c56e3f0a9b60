"""The paper's rule gives the paper's table; the honest rule looks at validation data alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netdial.papers.lab import reference
from netdial.papers.lab.rules import honest_rule, paper_rule

TABLE1 = {
    "a": (0.9676, 0.9678, 0.9661, 0.9602, 0.9350, 0.8280),
    "b": (0.9667, 0.9668, 0.9665, 0.9605, 0.9388, 0.6208),
    "c": (0.9662, 0.9659, 0.9630, 0.9563, 0.8613, 0.4917),
    "d": (0.9703, 0.9700, 0.9699, 0.9652, 0.9182, 0.8393),
    "e": (0.9752, 0.9749, 0.9743, 0.9698, 0.9198, 0.7039),
    "f": (0.9723, 0.9719, 0.9687, 0.9527, 0.8119, 0.3470),
    "g": (0.9736, 0.9733, 0.9712, 0.9621, 0.9280, 0.8229),
    "h": (0.9706, 0.9707, 0.9701, 0.9630, 0.9186, 0.6545),
    "i": (0.9710, 0.9699, 0.9656, 0.9474, 0.8774, 0.3807),
}
"""As printed: Grebenkova et al. 2022, Table 1."""


@pytest.mark.parametrize("letter", TABLE1)
def test_the_authors_result_files_give_the_printed_table_exactly(letter: str) -> None:
    found = reference.mnist_table1()[letter]
    assert found.max.shape == (6, 10)
    by_start = found.max[:, None, :]  # the maximum over starts is all that the rule needs of them
    row = reference.mnist_columns(paper_rule(by_start)).tolist()
    assert row == pytest.approx(TABLE1[letter], abs=1e-12)


def test_the_reference_is_consistent() -> None:
    assert reference.mnist_shares()[-1] == 0.9
    for found in reference.mnist_table1().values():
        assert bool((found.max >= found.mean).all())
        assert bool(
            (found.max <= found.mean + 2.0 * found.std + 1e-4).all()
        )  # five starts: ≤ 1.79 s
    assert set(reference.CIFAR_TABLE2) == set("acdfgi")


def test_updates_of_the_2021_paper_are_those_of_batches_of_128() -> None:
    steps = 469
    direct, short = reference.TABLES_2021["a"].updates, reference.TABLES_2021["b"].updates
    assert direct == 25 * short == 25 * steps * 4 * 159_040
    assert reference.TABLES_2021["e"].updates == 25 * steps * 2 * 159_040
    for before, after in ("cd", "ef"):
        more = reference.TABLES_2021[after].updates - reference.TABLES_2021[before].updates
        assert more == steps * 159_040


def test_honest_rule_by_hand() -> None:
    valid = torch.tensor([[[0.9], [0.5]], [[0.8], [0.7]], [[0.9], [0.6]]])  # 3 λ, 2 starts, 1 share
    test = torch.tensor([[[0.1], [0.2]], [[0.3], [0.4]], [[0.5], [0.6]]])
    found = honest_rule(valid, test)
    assert found.chosen.tolist() == [[2], [1]]  # of equals the largest λ
    assert found.mean.tolist() == pytest.approx([0.45])
    assert found.std.tolist() == pytest.approx([0.05 * 2**0.5])


def test_a_single_start_has_no_spread() -> None:
    accuracy = torch.rand(3, 1, 2)
    assert bool(honest_rule(accuracy, accuracy).std.isnan().all())


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4), st.integers(1, 6))
def test_honesty_never_pays(seed: int, lams: int, starts: int, shares: int) -> None:
    source = torch.Generator().manual_seed(seed)
    valid, test = torch.rand(2, lams, starts, shares, generator=source)
    honest = honest_rule(valid, test)
    assert bool((honest.mean <= paper_rule(test) + 1e-6).all())
    again = honest_rule(valid.square(), test)  # only the order of validation accuracies counts
    assert torch.equal(honest.chosen, again.chosen)

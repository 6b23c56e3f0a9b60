"""What every aggregator of a search space keeps: the shape and order of parts, and what an absent part is."""

from __future__ import annotations

import pytest
import torch

from netdial.structure.graph.aggregate import AGGREGATORS


@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_parts_in_another_order_give_the_same_unless_it_says_otherwise(name: str) -> None:
    one = AGGREGATORS[name]
    parts = [torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    same = torch.allclose(one.join(parts, 3), one.join(parts[::-1], 3))
    assert same != one.ordered


@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_one_part_alone_comes_out_as_it_went_in(name: str) -> None:
    one, part = AGGREGATORS[name], torch.randn(3, 4)
    assert not one.alone or torch.equal(one.join([part], 1), part)

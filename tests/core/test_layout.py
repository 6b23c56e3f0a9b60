"""Layout: flat vectors and trees are two views of the same numbers; cuts keep exactly the right ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netdial.core.errors import ConfigError, ShapeError
from netdial.core.layout import Layout

shapes = st.lists(
    st.lists(st.integers(1, 4), min_size=0, max_size=4).map(tuple), min_size=1, max_size=4
)


def layout_of(found: list[tuple[int, ...]]) -> Layout:
    return Layout(tuple(f"leaf{i}" for i in range(len(found))), tuple(found))


@given(shapes)
def test_split_and_join_are_inverse(found: list[tuple[int, ...]]) -> None:
    layout = layout_of(found)
    flat = torch.randn(layout.size, dtype=torch.float64)
    tree = layout.split(flat)
    assert Layout.of(tree) == layout
    assert torch.equal(layout.join(tree), flat)


@given(shapes, st.integers(1, 3))
def test_leading_dimensions_stay(found: list[tuple[int, ...]], lead: int) -> None:
    layout = layout_of(found)
    flat = torch.randn(lead, 2, layout.size)
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        assert layout.split(flat)[name].shape == (lead, 2, *shape)
        assert torch.equal(layout.split(flat)[name][0, 1], layout.split(flat[0, 1])[name])


@given(shapes, st.data())
def test_cut_keeps_the_chosen_indices_in_order(
    found: list[tuple[int, ...]], data: st.DataObject
) -> None:
    layout = layout_of(found)
    candidates = [i for i, shape in enumerate(found) if shape]
    if not candidates:
        return
    leaf = data.draw(st.sampled_from(candidates))
    dim = data.draw(st.integers(0, len(found[leaf]) - 1))
    keep = torch.tensor(
        data.draw(st.permutations(range(found[leaf][dim])).map(lambda p: p[: max(1, len(p) - 1)]))
    )
    new, positions = layout.cut(layout.names[leaf], dim, keep)
    flat = torch.randn(layout.size)
    before, after = layout.split(flat), new.split(flat[positions])
    for index, name in enumerate(layout.names):
        expected = before[name].index_select(dim, keep) if index == leaf else before[name]
        assert torch.equal(after[name], expected)


def test_wrong_size_and_unknown_leaf_are_refused() -> None:
    layout = layout_of([(2, 3)])
    with pytest.raises(ShapeError, match="last dimension is 5, the layout has 6 numbers"):
        layout.split(torch.zeros(5))
    with pytest.raises(ConfigError, match="unknown leaf 'leaf'; did you mean 'leaf0'"):
        layout.cut("leaf", 0, torch.tensor([0]))

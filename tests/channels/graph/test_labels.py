"""Labels: classes of atoms are those of a plain union, the smallest member names them, and 0 stays fixed."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdial.channels.labels import FIXED, Atoms, SizeNumber, fixed

pairs = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60)


def plain(count: int, joined: list[tuple[int, int]]) -> list[int]:
    """Returns the smallest member of each atom's class, by sets, one pair at a time."""
    classes = [{atom} for atom in range(count)]
    for one, other in joined:
        both = classes[one] | classes[other]
        for atom in both:
            classes[atom] = both
    return [min(members) for members in classes]


@pytest.mark.slow
@given(joined=pairs, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_classes_are_those_of_a_plain_union(joined: list[tuple[int, int]], cuts: list[int]) -> None:
    atoms = Atoms()
    everything = np.concatenate([[0], atoms.fresh(20), atoms.fresh(10)])
    bounds = [0, *sorted(min(cut, len(joined)) for cut in cuts), len(joined)]
    for start, end in itertools.pairwise(bounds):  # in batches of any size
        part = np.array(joined[start:end], dtype=np.int64).reshape(-1, 2)
        atoms.join(part[:, 0], part[:, 1])
    assert atoms.find(everything).tolist() == plain(31, joined)


def test_a_join_broadcasts_and_0_stays_fixed() -> None:
    atoms = Atoms()
    block = atoms.fresh(6).reshape(2, 3)
    atoms.join(block, block[:1])
    assert atoms.find(block).tolist() == [[1, 2, 3], [1, 2, 3]]
    atoms.join(block[1, :1], np.asarray(FIXED))
    assert atoms.find(block).tolist() == [[0, 2, 3], [0, 2, 3]]
    assert atoms.is_free(block)
    assert not atoms.is_free(block[:, 0])
    assert fixed((2, 3)).shape == (2, 3)
    assert SizeNumber(4).sources == ()


def test_long_chains_in_the_worst_order_are_quick() -> None:
    atoms, n = Atoms(), 50_000
    chain = np.concatenate([[0], atoms.fresh(n)])
    start = time.perf_counter()
    atoms.join(chain[:0:-1], chain[-2::-1])
    assert time.perf_counter() - start < 2
    assert not atoms.is_free(chain)

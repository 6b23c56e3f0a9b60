"""What every pool must keep to: results and errors of what it is given, as many workers as asked, and an end."""

from __future__ import annotations

import inspect
import math
import multiprocessing

import pytest

from netdial.core.errors import ConfigError
from netdial.jobs.pool import POOLS


@pytest.mark.slow
@pytest.mark.parametrize("name", list(POOLS))
def test_a_pool_does_what_it_is_given_passes_errors_on_and_ends(name: str) -> None:
    others = set(multiprocessing.active_children())
    with POOLS[name](1) as executor:
        assert [f.result() for f in [executor.submit(math.sqrt, n) for n in (4, 9)]] == [2, 3]
        with pytest.raises(ValueError, match=r"domain|nonnegative"):
            executor.submit(math.sqrt, -1).result()
    assert set(multiprocessing.active_children()) == others


@pytest.mark.parametrize("name", list(POOLS))
def test_a_pool_ends_when_its_block_is_left_by_an_error(name: str) -> None:
    others = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt), POOLS[name](1):
        raise KeyboardInterrupt
    assert set(multiprocessing.active_children()) == others
    assert (inspect.getdoc(POOLS[name]) or "").startswith("Yields")


def test_an_unknown_pool_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown pool 'ray' \(allowed: here, processes\)"):
        POOLS["ray"]

"""Checks of arguments against annotations; what they refuse is in ``tests/cases``."""

from __future__ import annotations

import sys
import typing
from collections.abc import Sequence

import pytest

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.train.config import FitConfig


def test_annotations_of_checked_functions_can_be_read() -> None:
    import netdial.cli  # noqa: F401

    found = 0
    for module in [m for n, m in list(sys.modules.items()) if n.startswith("netdial.")]:
        for function in vars(module).values():
            place = getattr(getattr(function, "__code__", None), "co_filename", "")
            if place.endswith("core/arguments.py") and hasattr(function, "__wrapped__"):
                typing.get_type_hints(function, include_extras=True)
                found += 1
    assert found > 10


def test_numbers_beyond_those_of_machines_and_numbers_as_text_are_refused_in_words() -> None:
    @checked
    def take(lam: float, count: int = 1, lams: Sequence[float] = ()) -> None:
        """Takes numbers."""

    for given, words in (
        ({"lam": "1"}, r"take: lam='1'; expected a number, not text: lam=1$"),
        ({"lam": "a"}, r"take: lam='a'; expected a number$"),
        ({"lam": 10**5000}, r"lam is a whole number of 5001 digits, too large; expected a number$"),
        ({"lam": 1, "count": 10**30}, r"count is a whole number of 31 digits, too large"),
        ({"lam": 1, "lams": [1, 10**400]}, r"lams is a list in which one is a whole number of 401"),
    ):
        with pytest.raises(ConfigError, match=words):
            take(**given)
    with pytest.raises(ConfigError, match=r"epochs is a whole number of 5001 digits, too large"):
        FitConfig(epochs=10**5000)
    with pytest.raises(ConfigError, match=r"epochs=10000000000000000000: give at most 1e\+18"):
        FitConfig(epochs=10**19)

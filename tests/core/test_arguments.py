"""Checks of arguments against annotations; what they refuse is in ``tests/cases``."""

from __future__ import annotations

import sys
import typing


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

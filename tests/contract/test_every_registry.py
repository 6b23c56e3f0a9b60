"""Every registry has a contract: some test takes all its names from it, so that a new part is tested when it is registered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "netdial"
TABLES = ("NETWORKS", "FORMATS", "RULES")
"""Registries that are plain dictionaries."""


def registries() -> list[str]:
    """Returns the names of all registries in the source."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    return sorted(
        {
            *re.findall(r"^([A-Z_]+)(?:: Registry\[.*)? = (?:Registry|Objectives)\(", text, re.M),
            *TABLES,
        }
    )


WORDS = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", registries())
def test_names_of_a_registry_are_taken_from_it(name: str) -> None:
    assert re.search(rf"list\({name}\)|\bin {name}\b", WORDS), f"no test goes over all of {name}"


def test_registries_are_found() -> None:
    assert {"MAPS", "TASKS", "WAYS", "KILLING", "OBJECTIVES", "ESTIMATORS"} <= set(registries())

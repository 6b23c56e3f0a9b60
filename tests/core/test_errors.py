"""Messages of errors: the nearest name is offered, and every error is the caller's to catch."""

from __future__ import annotations

import pytest

from netdial.core import errors
from netdial.core.registry import Registry


def test_nearest_name_is_offered() -> None:
    with pytest.raises(errors.ConfigError, match=r"unknown map 'tabel'; did you mean 'table'\?"):
        raise errors.unknown("map", "tabel", ["linear", "table"])


def test_all_allowed_names_are_listed_when_none_is_near() -> None:
    error = errors.unknown("map", "zzz", ["b", "a"])
    assert str(error) == "unknown map 'zzz' (allowed: a, b)"


@pytest.mark.parametrize(
    "name", ["ConfigError", "DataError", "ShapeError", "TraceError", "CheckpointError"]
)
def test_users_errors_are_value_errors(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.NetdialError)
    assert issubclass(kind, ValueError)


def test_missing_extra_says_what_to_install() -> None:
    error = errors.missing_extra("reading Parquet", "data")
    assert isinstance(error, ImportError)
    assert "pip install 'netdial[data]'" in str(error)


def test_registry_finds_what_was_added_and_refuses_the_rest() -> None:
    shapes: Registry[type] = Registry("shape")
    shapes.add("round")(int)
    assert shapes["round"] is int
    assert list(shapes) == ["round"]
    with pytest.raises(errors.ConfigError, match="unknown shape 'rund'; did you mean 'round'"):
        shapes["rund"]

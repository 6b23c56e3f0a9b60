"""Sweeps of the toy way, which trains in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netdial.jobs.ways import WAYS
from netdial.sweeps.spec import SweepSpec, read_spec

from ..jobs import toy_way

Make = Callable[..., SweepSpec]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A function that returns a sweep of the toy way in a folder of its own; keys are changed by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(toy_way, "STOP_AFTER", 0)
    toy_way.register()

    def make(**changes: Any) -> SweepSpec:
        given: dict[str, Any] = {
            "name": "toy",
            "data": "diabetes",
            "way": "toy",
            "settings": {"epochs": 3},
            "space": {"pull": {"low": 0.1, "high": 0.9}},
            "trials": 4,
            "sampler": "random",
            "engine": "here",
        }
        return read_spec(given | changes)

    yield make
    WAYS._parts.pop("toy")

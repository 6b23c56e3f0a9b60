"""Trials of one sweep are made from the same function, and a benchmark measures the one that stands there now."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import netdial as nd
from netdial.core.errors import DataError
from netdial.sweeps.run import open_sweep, sweep
from netdial.sweeps.spec import SweepSpec

Make = Callable[..., SweepSpec]
CODE = """
import torch
from torch import nn

def problem():
    x = torch.arange(60.0)[:, None] / 60
    y = {slope} * x
    return nn.Linear(1, 1), (x[:40], y[:40]), (x[40:50], y[40:50]), (x[50:], y[50:])
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that writes the user's module, as another process then finds it, and returns the name of its function."""
    package = tmp_path / "own_package"
    package.mkdir()
    monkeypatch.chdir(tmp_path)

    def write(slope: float, *, loaded: bool = False) -> str:
        (package / "own_module.py").write_text(CODE.format(slope=slope))
        for name in () if loaded else ("own_package.own_module", "own_package"):
            sys.modules.pop(name, None)
        return "own_package.own_module:problem"

    return write


def test_a_function_that_was_changed_is_not_mixed_with_what_it_was(
    toy: Make, own: Callable[..., str]
) -> None:
    how = {"data": own(2.0), "settings": {"epochs": 2}}
    assert sweep(toy(**how, trials=1)).counts["done"] == 1
    own(5.0, loaded=True)  # this process goes on with the code that it has
    assert sweep(toy(**how, trials=2)).counts["done"] == 2
    own(5.0)
    with pytest.raises(DataError, match=r"own_module:problem.*was changed since.*another name"):
        sweep(toy(**how, trials=3))
    assert open_sweep("toy").counts["done"] == 2
    own(2.0)
    assert sweep(toy(**how, trials=3)).counts["done"] == 3


def test_a_benchmark_measures_a_function_that_was_changed_anew(own: Callable[..., str]) -> None:
    losses = [
        nd.benchmark(own(slope), seconds=0.01, seeds=1, contenders=["constant"]).first.loss
        for slope in (2.0, 5.25, 2.0)  # of other lengths, by which Python tells that a file is new
    ]
    assert losses[1] == pytest.approx(2.625 * losses[0])
    assert losses[2] == losses[0]

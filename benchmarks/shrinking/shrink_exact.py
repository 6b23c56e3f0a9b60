"""Random networks, cut: outputs against the same network masked, at once and after 20 steps, and with dead channels collected.

Cut and masked are the same function, so any difference is an error or rounding. Networks are those of the tests of
shrinking (``tests/channels/networks.py``): all operations, tied weights, attention, recurrence; float64. Half train by
SGD with momentum, half by AdamW; both optimisers have taken 3 steps before the cut. For the collection, channels of
all kinds are made constant (switches, rows, scales of BatchNorm), many of them not 0, and what may go is collected.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.result import Result

_LIMIT = 1e-10


def measure(*, quick: bool = False) -> Result:
    """Returns the largest differences of outputs, and the share of networks for which all are within 1e-10."""
    torch.set_num_threads(1)
    networks = _networks()
    count = 30 if quick else 250
    found = [_measured(networks, seed) for seed in range(count)]
    labels = ("outputs", "steps", "collect")
    value = {label: max(row[label] for row in found) for label in labels}
    far = [max(row[label] for label in labels) for row in found]
    value["share exact"] = sum(apart <= _LIMIT for apart in far) / count
    value["share cut"] = sum(row["share cut"] > 0 for row in found) / count
    value["share collected"] = sum(row["collected"] > 0 for row in found) / count
    order = sorted(range(count), key=lambda seed: -far[seed])
    return Result(
        "shrink-exact",
        value,
        "largest absolute difference of outputs; shares of networks",
        "lower",
        seeds=tuple(range(count)),
        quick=quick,
        baseline="the same network masked; other libraries move outputs by 0.1 to 1.2 when a constant channel goes",
        floor="rounding in float64: 1e-16 at once, and what 20 steps make of it",
        rows=[found[seed] for seed in order[:10]],
    )


def _networks() -> Any:
    """Returns the module of random networks, which lives with the tests."""
    path = Path(__file__).parents[2] / "tests" / "channels" / "networks.py"
    spec = importlib.util.spec_from_file_location("networks_of_tests", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _measured(networks: Any, seed: int) -> dict[str, float]:
    outputs, steps, share = networks.cut_and_masked(seed)
    difference, collected = networks.collected(seed)
    found = {"seed": seed, "outputs": outputs, "steps": steps, "collect": difference}
    return {**found, "share cut": share, "collected": collected}

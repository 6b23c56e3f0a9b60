"""What every strategy by gradient keeps to, whoever adds it: resuming, domains, precision, limits of size."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.structure import SearchSpace, StructureCosts, ZeroOperation
from netdial.structure.search import SEARCHES, GradientStrategy
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.outcome import SearchOutcome
from netdial.structure.search.searching import prepare
from netdial.train.session import Interrupted

NAMES = [name for name in SEARCHES if issubclass(SEARCHES[name], GradientStrategy)]
CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in NAMES] + [
    ("darts", {"order": "exact"})
]


def space(domain: Any = "simplex") -> SearchSpace:
    """Two nodes, three choices; normalisation and dropout, whose states and draws have to be kept."""
    made = SearchSpace("contract")
    x, h, y = made.input("x", (3,)), made.node("h"), made.node("y")
    operations = {
        "none": ZeroOperation,
        "skip": nn.Identity,
        "norm": lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU()),
        "drop": lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.2)),
    }
    made.edge(x, h, operations, domain=domain)
    made.edge(x, y, operations, domain=domain)
    made.edge(h, y, operations, domain=domain)
    made.node("out")
    made.edge(y, "out", {"head": lambda: nn.Linear(3, 2)})
    made.output("out")
    return made


def parts() -> list[tuple[Tensor, Tensor]]:
    x = torch.randn(96, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    return [(x[:48], y[:48]), (x[48:], y[48:])]


_INSIDE = {"darts", "snas", "dnas", "drnas", "family"}
"""Strategies whose γ lies inside the simplex."""

SETTINGS: dict[str, Any] = {"epochs": 2, "network_epochs": 1, "batch_size": 16, "compare": False}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_it_goes_on_bit_for_bit(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    config = SearchConfig(strategy=name, options=options, **SETTINGS)

    def run(**session: Any) -> SearchOutcome:
        return prepare(space(), *parts(), config).run(**session)

    def interrupt(step: int, total: int) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    whole = run()
    with pytest.raises(Interrupted):
        run(checkpoint=tmp_path / "state", advance=interrupt)
    again = run(checkpoint=tmp_path / "state", resuming=True)
    assert whole.probabilities is not None
    assert again.probabilities is not None
    for key, row in whole.probabilities.items():
        assert torch.equal(row, again.probabilities[key]), key
    assert whole.gap == again.gap
    assert whole.examples == again.examples
    assert whole.genotype == again.genotype


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_those_of_operations(name: str) -> None:
    for domain in ("simplex", "cube"):
        if (name, domain) == ("drnas", "cube"):
            continue
        found = nd.search(space(domain), *parts(), strategy=name, **SETTINGS)
        assert found.probabilities is not None
        assert list(found.probabilities) == list(space(domain).choices)
        for row in found.probabilities.values():
            assert row.shape == (4,)
            assert (row >= 0).all() and (row <= 1).all()
            if domain == "simplex" and name != "fair":
                assert row.sum().item() == pytest.approx(1, abs=1e-5)
        assert found.gap is not None
        assert torch.isfinite(torch.tensor([found.gap.mixture, found.gap.inherited])).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_double_precision_and_limits_of_size(name: str) -> None:
    costs = StructureCosts(space())
    found = nd.search(
        space(), *parts(), strategy=name, size="20 params", precision="64-true", **SETTINGS
    )
    assert costs.of(found.genotype).params <= 20
    assert next(found.network.parameters()).dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_a_domain_of_vertices_is_searched_or_refused_in_words(name: str) -> None:
    if name in _INSIDE:
        with pytest.raises(ConfigError, match="simplex_vertices"):
            nd.search(space("simplex_vertices"), *parts(), strategy=name, **SETTINGS)
    else:
        assert nd.search(space("simplex_vertices"), *parts(), strategy=name, **SETTINGS).genotype

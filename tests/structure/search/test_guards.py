"""Guards of a search by gradient: identities, curvature, discretisation."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import netdial as nd
from netdial.core.records import Record
from netdial.runs.searched import searched
from netdial.structure.nbtiny import CELLS, cell_code
from netdial.structure.nbtiny.space import genotype_of, index_of, tiny_space
from netdial.structure.search import guards
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.guards import (
    GuardReport,
    before_rise,
    count_skips,
    epoch_before_rise,
    largest_eigenvalue,
    most_skips,
    with_few_skips,
)
from netdial.structure.search.job import SearchJob
from netdial.structure.search.limits import SizeLimit
from netdial.structure.search.outcome import Gap, SearchOutcome
from netdial.structure.search.searching import prepare
from netdial.structure.search.shared.varying import VaryingStructure
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategies.family import FamilySearch
from netdial.structure.spaces.registry import SPACES
from netdial.train.session import Interrupted

SPACE = tiny_space()


def cell(code: str) -> tuple[int, ...]:
    return tuple("nsr".index(letter) for letter in code)


def test_identities_are_counted_in_the_network_that_is_left() -> None:
    for code, skips in (("ssssss", 6), ("rrrrrr", 0), ("snnnsn", 2), ("snnrnn", 0), ("nnnsnn", 1)):
        assert count_skips(SPACE, genotype_of(SPACE, cell(code))) == skips, code
    assert most_skips(SPACE) == 2


def rows(*chances: tuple[float, float, float]) -> dict[str, Tensor]:
    return {key: torch.tensor(row) for key, row in zip(SPACE.choices, chances, strict=True)}


def test_identities_that_are_least_sure_give_way() -> None:
    given = rows(
        (0.0, 0.9, 0.1),
        (0.0, 0.6, 0.4),
        (0.0, 0.8, 0.2),
        (0.1, 0.5, 0.4),
        (0.3, 0.45, 0.25),
        (0.0, 0.2, 0.8),
    )
    found = with_few_skips(SPACE, given, 2, SPACE.discretise)
    # edges in the order of the space: 0->1, 0->2, 1->2, 0->3, 1->3, 2->3
    assert cell_code(CELLS[index_of(found)]) == "srsrnr"
    assert with_few_skips(SPACE, given, 6, SPACE.discretise) == SPACE.discretise(given)
    none = with_few_skips(SPACE, given, 0, SPACE.discretise)
    assert count_skips(SPACE, none) == 0
    assert given["0->1"][1].item() == pytest.approx(0.9), "what is given stays as it is"


def test_identities_that_lead_nowhere_do_not_give_way() -> None:
    """Two of three identities in the network may stay; the fourth, which nothing reads, is least sure."""
    given = rows(
        (0.0, 0.9, 0.1),
        (0.0, 0.5, 0.4),  # 0->2: node 2 is not read
        (0.6, 0.0, 0.4),
        (0.0, 0.8, 0.2),
        (0.0, 0.6, 0.4),
        (0.6, 0.0, 0.4),
    )
    assert cell_code(CELLS[index_of(SPACE.discretise(given))]) == "ssnssn"
    found = with_few_skips(SPACE, given, 2, SPACE.discretise)
    assert dict(found.chosen)["0->2"] == dict(SPACE.discretise(given).chosen)["0->2"]
    assert cell_code(CELLS[index_of(found)]) == "ssnsrn"


def test_the_largest_eigenvalue_is_that_of_the_whole_hessian() -> None:
    source = torch.Generator().manual_seed(0)
    root = torch.randn(7, 7, generator=source, dtype=torch.float64)
    for matrix in (root @ root.T, -root @ root.T, torch.zeros(7, 7, dtype=torch.float64)):
        x = [torch.randn(n, generator=source, dtype=torch.float64).requires_grad_() for n in (3, 4)]

        def loss(matrix: Tensor = matrix, x: list[Tensor] = x) -> Tensor:
            flat = torch.cat(x)
            return flat @ matrix @ flat / 2 + flat.sum()

        eigen = torch.linalg.eigvalsh(matrix)
        largest = eigen[eigen.abs().argmax()].item()
        assert largest_eigenvalue(loss, x) == pytest.approx(largest, rel=1e-3, abs=1e-9)
    flat = torch.zeros(2, requires_grad=True)
    assert largest_eigenvalue(lambda: flat.sum(), [flat]) == 0


def test_the_structure_before_the_rise_is_taken() -> None:
    assert epoch_before_rise([2.0]) == 1
    assert epoch_before_rise([5.0, 4.0, 3.0] * 4) == 12
    assert epoch_before_rise([0.1] * 6 + [0.1, 0.2, 0.5] + [9.0] * 5) == 4


def problem() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    y = (x.prod(dim=1) > 0).long()
    return (x[:100], y[:100]), (x[100:], y[100:])


def test_a_search_says_what_its_guards_saw() -> None:
    options = {"epochs": 3, "network_epochs": 1, "batch_size": 50, "compare": False}
    found = nd.search(SPACE, *problem(), curvature=True, max_skips=1, **options)
    assert found.guards is not None
    assert found.guards.skips == count_skips(SPACE, found.genotype) <= 1
    assert len(found.guards.curvature) == 3
    assert 1 <= found.guards.epoch <= 3
    plain = nd.search(SPACE, *problem(), max_skips=6, **options)
    assert plain.guards is not None
    assert plain.guards.curvature == ()
    assert plain.guards.skips == plain.guards.skips_before
    by_trials = nd.search(SPACE, *problem(), strategy="random", options={"trials": 2}, **options)
    assert by_trials.guards is None
    assert by_trials.remarks == []


def along(**settings: Any) -> tuple[SearchJob, FamilySearch, SearchState]:
    options: dict[str, Any] = {
        "network_epochs": 1,
        "batch_size": 25,
        "starts": 1,
        "compare": False,
        "curvature": True,
    }
    job = prepare(SPACE, *problem(), SearchConfig(strategy="family", **options, **settings))
    assert isinstance(job.strategy, FamilySearch)
    return job, job.strategy, job.searched(job.strategy, {})[0]


def test_the_curvature_of_a_search_along_prices_is_that_at_its_weights() -> None:
    job, strategy, state = along(epochs=6)
    noted, _ = before_rise(state)
    strategy.settle(state, float(strategy.domain.lam(torch.tensor(0.5))))

    def loss() -> Tensor:
        outputs = state.supernet(job.judged.x, strategy.mixture(state), sparse=False)
        return torch.nn.functional.cross_entropy(outputs, job.judged.y)

    assert epoch_before_rise(noted) == 6
    assert noted[-1] == pytest.approx(
        largest_eigenvalue(loss, list(state.module.structure)), rel=1e-3
    )


def test_a_search_along_prices_takes_the_structures_before_the_rise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "epoch_before_rise", lambda curvature: 1)
    job, strategy, state = along(epochs=3)
    before = (state.memory or {})["guard: structures"][0]
    found = job._along(strategy, state, 0.0)
    assert found.guards is not None
    assert found.guards.epoch == 1
    assert found.probabilities is not None
    (pivots,) = strategy.structure(SPACE).values()
    lam = min(found.front, key=lambda point: point.tried.loss).lam
    unit = float(strategy.domain.unit(torch.tensor([lam], dtype=torch.float64)))
    names = list(strategy.structure(SPACE))
    rows = VaryingStructure(SPACE, strategy.regions).means({names[0]: before.view_as(pivots)}, unit)
    for key, row in found.probabilities.items():
        torch.testing.assert_close(row, rows[key])


def test_remarks_are_made_where_something_was_done() -> None:
    quiet = GuardReport(1, 2, 1, 1, (1.0, 1.0), 2)
    assert quiet.remarks == []
    loud = GuardReport(2, 2, 5, 2, (1.0, 8.0), 1)
    assert len(loud.remarks) == 2
    assert "the likeliest with 2 or fewer entered the final" in loud.remarks[0]
    (usual,) = GuardReport(3, 2, 1, 1, (), 0).remarks
    assert usual.startswith("The network has 3 identities: 2 is the most of structures that enter")
    (one,) = GuardReport(0, 0, 1, 0, (), 0).remarks
    assert one.startswith("The likeliest structure had 1 identity; the likeliest with 0")
    (none,) = GuardReport(3, 2, 3, 3, (), 0).remarks
    assert none.endswith("the one that was taken has 3 (max_skips).")
    assert "5 identities" in loud.remarks[0]
    assert Gap(0.5, 0.52, 0.3).remark is None
    lost = Gap(0.5, 3.0, 0.3).remark
    assert lost is not None
    assert "2.5" in lost


SPARE = ("none", "plain", "linear")
"""The least of what there is to choose on an edge of the space ``mlp``."""


def test_identities_give_way_where_only_another_way_into_the_node_is_left() -> None:
    space = SPACES["mlp"]((13,), 3)
    given = {}
    for key, choice in space.choices.items():
        row = torch.full((len(choice.operations),), 0.1)
        row[next(at for at, name in enumerate(choice.operations) if name in SPARE)] = 0.6
        if "skip" in choice.operations:  # likelier than any layer, and the smallest
            row = torch.tensor([0.55, 0.45])
        given[key] = row / row.sum()
    limit = SizeLimit(space, "5k params")
    likeliest = limit.choose(given)
    assert count_skips(space, likeliest) == 3 > most_skips(space)
    found = with_few_skips(space, given, most_skips(space), limit.choose)
    assert count_skips(space, found) <= most_skips(space)
    assert limit.allows(found)


@pytest.mark.slow
def test_what_guards_keep_is_part_of_the_checkpoint(tmp_path: Path) -> None:
    config = SearchConfig(
        epochs=2, network_epochs=1, batch_size=50, compare=False, curvature=True, strategy="enas"
    )

    def run(**session: object) -> SearchOutcome:
        return prepare(SPACE, *problem(), config).run(**session)  # type: ignore[arg-type]

    def interrupt(step: int, total: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    whole = run()
    with pytest.raises(Interrupted):
        run(checkpoint=tmp_path / "state", advance=interrupt)
    again = run(checkpoint=tmp_path / "state", resuming=True)
    assert whole.guards is not None
    assert again.guards == whole.guards
    assert again.genotype == whole.genotype


def test_the_page_says_what_guards_did() -> None:
    rows = [
        Record("r", 0, 9, name, value, "", where)
        for name, value, where in (
            ("skips", 2.0, {"method": "guards"}),
            ("most_skips", 2.0, {"method": "guards"}),
            ("skips_before", 5.0, {"method": "guards"}),
            ("skips_entered", 2.0, {"method": "guards"}),
            ("epoch", 1.0, {"method": "guards"}),
            ("curvature", 1.0, {"method": "guards", "epoch": 1}),
            ("curvature", 8.0, {"method": "guards", "epoch": 2}),
        )
    ]
    found = searched(rows)
    assert found.curvature == [1.0, 8.0]
    assert found.remarks == GuardReport(2, 2, 5, 2, (1.0, 8.0), 1).remarks

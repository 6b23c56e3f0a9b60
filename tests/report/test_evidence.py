"""The evidence part of a report, from records alone: curves with errors, the chosen λ marked, a table and sentences."""

from __future__ import annotations

import pytest

from netdial.core.records import Record
from netdial.report.sections.evidence import evidence_figure, evidence_lines, evidence_table

from ..early import early

BITS = "bits/example"


def rows(
    name: str, values: dict[float | None, float], unit: str = BITS, step: int = 5
) -> list[Record]:
    found = []
    for lam, value in values.items():
        found.append(early("r", "evidence", lam, 0, step, f"evidence/{name}", value, unit))
        found.append(early("r", "evidence", lam, 0, step, f"evidence/{name}/error", 0.02, unit))
        found.append(early("r", "evidence", lam, 0, step, f"evidence/{name}/data", 0.5, unit))
    return found


RECORDS = [
    *rows("elbo", {0.01: 3.0, 0.1: 2.0, 1.0: 1.2, 10.0: 1.6}),
    *rows("eb-elbo", {0.01: 1.4, 0.1: 1.1, 1.0: 1.1, 10.0: 1.5}),
    *rows("pac-bayes", {1.0: 0.4, 10.0: 0.3}, unit="error rate"),
    *rows("wbic", {10.9: 1.3}),
    *rows("thermodynamic", {None: 1.25}),
    early("r", "evaluate", 1.0, 0, 5, "valid/accuracy", 0.9),
]


def test_each_estimator_has_a_curve_with_errors_and_a_star_where_it_chooses() -> None:
    figure = evidence_figure(RECORDS)
    assert figure is not None
    curves = {trace.name: trace for trace in figure.data}
    assert list(curves) == ["elbo", "eb-elbo"], (
        "an error rate and what chooses no λ are not drawn in bits"
    )
    elbo = curves["elbo"]
    assert list(elbo.x) == [0.01, 0.1, 1.0, 10.0] and list(elbo.y) == [3.0, 2.0, 1.2, 1.6]
    assert set(elbo.error_y.array) == {0.02}
    assert list(elbo.marker.symbol) == ["circle", "circle", "star", "circle"]
    assert list(curves["eb-elbo"].marker.symbol).index("star") == 2, "of equals the simplest"
    assert elbo.line.color != curves["eb-elbo"].line.color
    assert figure.layout.xaxis.type == "log"


def test_the_table_has_all_that_chooses() -> None:
    table = evidence_table(RECORDS)
    assert table is not None
    assert table["headings"] == [
        "λ",
        "elbo, bits per example",
        "eb-elbo, bits per example",
        "pac-bayes",
    ]
    assert table["rows"][2] == ["1", "1.200 ± 0.020 *", "1.100 ± 0.020 *", "0.400 ± 0.020"]
    assert table["rows"][0][3] == "–"


def test_sentences_say_what_is_chosen() -> None:
    assert evidence_lines(RECORDS) == [
        "elbo chooses λ = 1.",
        "eb-elbo chooses λ = 1.",
        "pac-bayes chooses λ = 10.",
        "wbic: 1.300 ± 0.020 bits/example, for the family as a whole.",
        "thermodynamic: 1.250 ± 0.020 bits/example, for the family as a whole.",
    ]


@pytest.mark.parametrize("records", [[], RECORDS[-1:], rows("wbic", {5.0: 1.0})])
def test_without_evidence_there_is_nothing_to_draw(records: list[Record]) -> None:
    assert evidence_figure(records) is None
    assert evidence_table(records) is None


def test_a_single_member_can_be_drawn() -> None:
    assert evidence_figure(rows("elbo", {1.0: 1.0})) is not None


def test_only_the_latest_step_counts() -> None:
    table = evidence_table([*rows("elbo", {1.0: 9.0}, step=1), *rows("elbo", {2.0: 1.0})])
    assert table is not None
    assert [row[0] for row in table["rows"]] == ["2"]

"""Estimates become records of the run, and can be read back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from netdial.evidence import Estimate
from netdial.jobs.analyses.weighed import evidence_records
from netdial.report.sections.evidence import choices, weighings
from netdial.runs.run import Run

ESTIMATES = [
    Estimate("elbo", 0.1, 1.5, 0.01, {"data": 1.0, "model": 0.5, "gap": 0.3}),
    Estimate("elbo", 1.0, 1.2, 0.02, {"data": 1.1, "model": 0.1, "gap": 0.0}),
    Estimate("pac-bayes", 1.0, 0.4, 0.0, unit="error rate"),
    Estimate("thermodynamic", math.nan, 1.1, 0.03, legal=False),
    Estimate("waic", 1.0, math.inf, 0.0),
]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "mine", {"seed": 3})


def test_records_hold_value_error_and_terms(run: Run) -> None:
    records = {(r.where["estimator"], r.name, r.lam): r for r in evidence_records(run, ESTIMATES)}
    assert records["elbo", "evidence", 0.1].value == 1.5
    assert records["elbo", "evidence", 0.1].unit == "bits/example"
    assert records["elbo", "error", 1.0].value == 0.02
    assert records["elbo", "model", 1.0].value == 0.1
    assert records["thermodynamic", "evidence", None].value == 1.1
    assert records["pac-bayes", "evidence", 1.0].unit == "error rate"
    assert ("waic", "evidence", 1.0) not in records
    assert not any("gap" in name for _, name, _ in records)
    assert {r.method for r in records.values()} == {"evidence"}
    assert {r.seed for r in records.values()} == {3}


def test_weighing_again_replaces(run: Run) -> None:
    run.record(evidence_records(run, ESTIMATES))
    run.record(evidence_records(run, [Estimate("elbo", 0.1, 0.9, 0.01)]))
    rows = weighings(run.records())
    assert [(row.name, row.lam, row.value, row.error) for row in rows] == [
        ("elbo", 0.1, 0.9, 0.01),
        ("elbo", 1.0, 1.2, 0.02),
        ("pac-bayes", 1.0, 0.4, 0.0),
        ("thermodynamic", None, 1.1, 0.03),
    ]
    assert choices(rows) == {"elbo": 0.1, "pac-bayes": 1.0}

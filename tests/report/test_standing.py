"""The six things that stand first: differences with their errors, rivals in order, and nothing claimed that is not known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from netdial.jobs.ways import way_of
from netdial.report.sections.slim import lead
from netdial.report.standing.of_shrunk import shrunk_standing
from netdial.report.standing.of_smaller import compress_standing, slim_standing
from netdial.report.standing.told import (
    TITLES,
    UNKNOWN,
    constant_told,
    cost_told,
    lost_told,
    rival_rows,
    rival_told,
    sure_told,
)
from netdial.runs.curves import WHOLE
from netdial.runs.prunings import NetworkReading, Pruning
from netdial.runs.results.compressions import Compression
from netdial.runs.run import Run
from netdial.runs.shrinkage import Shrinkage

OWN = {"valid/nll": 0.3, "valid/accuracy": 0.9}


def test_a_rival_is_named_only_if_it_is_further_off_than_two_standard_errors() -> None:
    def told(gap: float) -> str:
        rival = {"valid/nll": 0.3 + gap, "valid/excess": gap, "valid/excess_error": 0.01}
        return rival_told({"trees": rival}, "valid/nll", OWN, "", {}).note

    assert "better by 0.03 ± 0.01 log loss" in told(0.03)
    assert "worse by 0.03 ± 0.01" in told(-0.03)
    assert "no difference can be seen (+0.019 ± 0.01" in told(0.019)
    rival = {"valid/nll": 0.3, "valid/excess": 0.0, "valid/excess_error": 0.01}
    rival |= {"test/excess": -0.05, "test/excess_error": 0.01}
    said = rival_told({"trees": rival}, "valid/nll", OWN, "", {}).note
    assert "no difference" in said and "worse by 0.05 ± 0.01 log loss on test data" in said


@pytest.mark.parametrize("way", ["fit", "shrink", "search"])
def test_a_run_under_way_has_the_parts_that_exist(tmp_path: Path, way: str) -> None:
    config = {"way": way, "data": "wine", "kind": "classification", "seed": 0}
    run = Run.create(tmp_path, "r", {**config, "n_valid": 36, "n_params": 275, "model": "mlp:16"})
    tiles = {tile.part: tile for tile in way_of(run).section().tell(run, run.records())["tiles"]}
    assert list(tiles) == list(TITLES)
    assert tiles["cost"].value == "275"
    assert "36 validation rows" in tiles["sure"].note
    for part in ("chosen", "lost", "constant", "rival"):
        assert tiles[part].value == UNKNOWN
        assert "once training has finished" in tiles[part].note


def test_without_a_rival_it_is_said_how_one_is_run() -> None:
    told = rival_told({}, "valid/nll", OWN, "netdial evaluate r --rivals", {})
    assert (told.value, told.note) == (UNKNOWN, "netdial evaluate r --rivals")


def test_rivals_are_in_order_with_their_differences() -> None:
    found = {
        "b": {"valid/nll": 0.4, "test/nll": 0.5, "valid/excess": 0.1, "valid/excess_error": 0.02},
        "a": {"valid/nll": 0.2, "valid/accuracy": 0.95},
    }
    table = rival_rows(found, "valid/nll", {})
    assert table is not None
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert table.rows[1][-1] == "+0.1 ± 0.02"
    assert len({len(row) for row in [table.headings, *table.rows]}) == 1
    assert rival_rows({}, "valid/nll", {}) is None


def test_what_is_no_better_than_a_constant_says_so() -> None:
    for value, ends in {0.2: "worse", 0.3: "no better", 0.4: "inputs"}.items():
        assert constant_told({"valid/nll": value}, "valid/nll", OWN).note.endswith(ends)
    higher = constant_told({"valid/accuracy": 0.95}, "valid/accuracy", OWN)
    assert higher.note.endswith("worse") and higher.value == "95.0%"


def test_how_sure_is_the_error_that_was_recorded_or_that_of_a_share() -> None:
    assert sure_told({**OWN, "valid/nll_error": 0.012}, "valid/nll", 400).value == "± 0.012"
    assert sure_told(OWN, "valid/nll", 400).value == "± 1.5 points"
    assert sure_told({"valid/rmse": 3.0}, "valid/rmse", None).value == UNKNOWN


def test_a_mean_over_places_is_no_share_of_examples() -> None:
    # 41 images of some 51 places each: √(p (1 - p) / 41) would be 7.3 points, some fifteen times too large
    of_places = {"valid/nll": 1.09, "valid/nll_error": 0.0018, "valid/accuracy": 0.32969}
    told = sure_told(of_places, "valid/nll", 41)
    assert "accuracy" not in told.note and told.value == "± 0.0018"
    assert (
        "± 7.4 points" in sure_told({**of_places, "valid/accuracy": 14 / 41}, "valid/nll", 41).note
    )


def test_a_loss_of_the_size_of_rounding_is_none() -> None:
    assert lost_told(9e-9, 0.13, "").value == "nothing"
    assert lost_told(-0.1, 0.13, "").value == "nothing"
    assert lost_told(-0.1, 0.13, "nats, against x").note == "nats, against x: better by 0.1"
    assert lost_told(0.012, 0.13, "").value == "+0.012"


def test_cost_is_beside_what_it_was() -> None:
    told = cost_told({"params": 50.0, "bytes": 200.0}, {"params": 100.0})
    assert told.value == "50" and "of 100, 2 times fewer" in told.note
    assert cost_told({}).value == UNKNOWN


@pytest.mark.parametrize("whole", [True, False])
def test_what_shrinking_lost_is_against_the_whole_network_or_its_own_best(whole: bool) -> None:
    course: dict[str, tuple[float, ...]] = {
        "valid/nll": (0.9, 0.2, 0.3),
        "params": (100.0, 80.0, 40.0),
    }
    cost = {"params": 40.0}
    found = Shrinkage((0, 5, 10), {"a": (8.0, 6.0, 4.0)}, course, {"params": 100.0}, cost, OWN)
    beside = {WHOLE: {"valid/nll": 0.26, "valid/excess": -0.04, "valid/excess_error": 0.01}}
    stands = shrunk_standing(found, {}, beside if whole else {}, "r")
    assert stands is not None
    assert stands.chosen.value == "4 of 8 channels"
    assert stands.lost.value == ("+0.04" if whole else "+0.1")
    assert ("left whole" if whole else "step 5, with 80 parameters") in stands.lost.note
    timed = replace(found, course={**course, "train/epoch_seconds": (math.nan, 1.0, 1.0)})
    stands = shrunk_standing(timed, {}, {}, "r")
    assert stands is not None and "its best moment, epoch 1, with 80" in stands.lost.note
    best = replace(found, course={**course, "valid/nll": (0.9, 0.4, 0.3)})
    if not whole and (stands := shrunk_standing(best, {}, {}, "r")) is not None:
        assert stands.lost.value == "not measured", (
            "its own best moment is no measure of what shrinking lost"
        )
        assert "netdial evaluate r --rivals" in stands.lost.note


def test_a_slimmed_member_stands_beside_the_whole_one_and_others_of_its_size() -> None:
    def pruning(how: str, nll: float, params: float) -> Pruning:
        before = NetworkReading("before", {"valid/nll": 0.3, "params": 100.0}, {})
        values = {
            "valid/nll": nll,
            "params": params,
            "valid/excess": nll - 0.3,
            "valid/excess_error": 0.01,
        }
        return Pruning((how,), 0.1, (before, NetworkReading("pruned", values, {})))

    chosen, other, large = (pruning(*a) for a in (("a", 0.36, 50), ("b", 0.2, 51), ("c", 0.1, 90)))
    told = slim_standing(
        [chosen, other, large], chosen, "λ", {"valid/nll": 1.0}, {}, {"n_valid": 100}
    )
    assert told is not None
    assert told.lost.value == "+0.06" and told.sure.value == "± 0.01"
    assert told.rival.value == "0.2" and "another pruning (b)" in told.rival.note
    alone = slim_standing([chosen, large], chosen, "λ", {}, {}, {"n_valid": 100})
    assert alone is not None
    assert "the whole network" in alone.rival.note and "worse by 0.06 ± 0.01" in alone.rival.note


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e5])
def test_what_a_slimmed_regression_lost_does_not_depend_on_the_unit_of_its_target(
    unit: float,
) -> None:
    before = NetworkReading("before", {"valid/rmse": 0.5 * unit, "params": 100.0}, {})
    values = {"valid/rmse": 0.7 * unit, "params": 50.0}
    values |= {"valid/excess": 0.24, "valid/excess_error": 0.01}
    one = Pruning(("a",), 0.1, (before, NetworkReading("pruned", values, {})))
    told = slim_standing([one], one, "λ", {}, {}, {"n_valid": 100, "units": "price"})
    assert told is not None
    assert told.lost.value == "+0.24"
    assert told.lost.note == "squared error in variances of the target against the whole network"


def test_a_pruned_network_that_is_better_is_called_so() -> None:
    before = NetworkReading("before", {"valid/accuracy": 0.8, "params": 100.0}, {})
    values = {"valid/accuracy": 0.9, "params": 50.0, "valid/excess": -0.1}
    values |= {"valid/excess_error": 0.01}
    one = Pruning(("a",), 0.1, (before, NetworkReading("pruned", values, {})))
    assert "90.00%, better than the whole member’s 80.00%." in lead([one], "valid/accuracy")
    nearly = NetworkReading("pruned", {**values, "valid/accuracy": 0.800001}, {})
    same = Pruning(("a",), 0.1, (before, nearly))
    assert lead([same], "valid/accuracy").endswith("is 80.00%, as that of the whole member.")


@pytest.mark.parametrize(("metric", "unit"), [(None, "log loss"), ("accuracy", "error rate")])
def test_the_verdict_on_a_file_is_in_units_of_the_metric_that_it_was_judged_by(
    metric: str | None, unit: str
) -> None:
    stages = {name: {"bytes": 100.0, "valid/nll": 0.3} for name in ("dense", "coded")}
    verdict = {"excess": 0.01, "bound": 0.03, "seeds": 5.0}
    how = {} if metric is None else {"metric": metric}
    told = compress_standing(
        Compression(how, 0.1, stages, verdict=verdict), "λ", {}, {}, {"n_valid": 100}
    )
    assert told is not None and told.sure.value == "≤ +0.03"
    assert told.sure.note.startswith(f"{unit} above dense networks")


@pytest.mark.parametrize("units", ["price", ""])
def test_squared_errors_are_in_variances_where_targets_were_standardised(units: str) -> None:
    rival = {"valid/rmse": 2.0, "valid/excess": 0.5, "valid/excess_error": 0.1}
    said = rival_told(
        {"trees": rival}, "valid/rmse", {"valid/rmse": 1.0}, "", {"units": units}
    ).note
    assert "squared error" in said
    assert ("in variances of the target" in said) == bool(units)

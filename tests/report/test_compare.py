"""Several runs on one page: the better one is named only where figures compare, and settings that differ are listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from netdial.cli import main
from netdial.report.sections.compare import compare_page, differences
from netdial.report.sections.family import family_page
from netdial.report.standing.of_compared import compared
from netdial.report.standing.told import TITLES
from netdial.runs.run import Run
from netdial.runs.schemas.details import Bins, Details, LayerSize, MemberDetails, write_details

MakeRun = Callable[..., Run]


def test_the_better_of_two_is_named_with_what_it_is_better_by(make_run: MakeRun) -> None:
    one, other = make_run("one"), make_run("other", objective="l1", epochs=7)
    worse = [r for r in other.records() if r.column != "valid/nll"]
    raised = [r for r in other.records() if r.column == "valid/nll"]
    other.replace([*worse, *(type(r)(**{**vars(r), "value": r.value + 1}) for r in raised)])
    told = compare_page([compared(other), compared(one)])
    assert told["lead"].startswith("one predicts best: validation log loss 0.122 at λ")
    assert "other comes next with 1.12" in told["lead"]
    assert set(told["figures"]) == {"compare-curves"}  # sizes do not differ
    everywhere, of_some = differences([compared(one), compared(other)])
    assert [row[0] for row in everywhere] == ["epochs", "objective"]
    assert of_some == []
    chosen = [tile for tile in told["tiles"] if tile.part in ("chosen", "rival")]
    assert chosen[0].value == "one" and chosen[1].value == "1.12"
    assert "other" in chosen[1].note and "± 0" not in chosen[1].note


def test_settings_of_some_runs_stand_apart(make_run: MakeRun) -> None:
    everywhere, of_some = differences(
        [compared(make_run("a", epochs=3)), compared(make_run("b", lam=1))]
    )
    assert [row[0] for row in everywhere] == ["epochs"]
    assert of_some == [["lam", "–", "1"]]


@pytest.mark.parametrize("change", [{"data": "cifar10"}, {"n_valid": 10}, {"kind": "regression"}])
def test_runs_that_do_not_compare_have_no_best(
    make_run: MakeRun, change: dict[str, object]
) -> None:
    told = compare_page([compared(make_run("a")), compared(make_run("b", **change))])
    assert "no best one is named" in told["lead"]
    assert told["figures"] == {}
    assert len(told["table"]) == 2
    tiles = {tile.part: tile for tile in told["tiles"]}
    assert list(tiles) == list(TITLES)
    assert all(f"{name} at λ" in tiles["chosen"].note for name in "ab")
    assert tiles["cost"].value == "39\u202f760"
    assert "do not compare" in tiles["lost"].note


def test_parameters_are_those_of_the_runs_own_pages(make_run: MakeRun) -> None:
    one, other = make_run("a"), make_run("b", epochs=7)
    sizes = Bins(low=-1, high=1, count=1)
    layer = LayerSize(name="fc", params=39_760, macs=39_700, bytes=159_040)
    lams = sorted({row.lam for row in one.records() if row.method == "evaluate" and row.lam})
    seen = [MemberDetails(lam=lam, kept=[1234], norm=[1.0], weights=[39_760]) for lam in lams]
    write_details(
        one.details_path, Details(step=1, layers=[layer], weights=sizes, snr=sizes, members=seen)
    )
    told = compare_page([compared(one), compared(other)])
    of = {name: told["columns"].index(name) for name in ("parameters", "weights that carry")}
    assert [row[of["parameters"]] for row in told["table"]] == ["39\u202f760"] * 2
    assert [row[of["weights that carry"]] for row in told["table"]] == ["1\u202f234", "–"]
    [cost] = [tile for tile in told["tiles"] if tile.part == "cost"]
    page = family_page(one, one.records())
    [own] = [tile for tile in page["tiles"] if tile.part == "cost"]
    assert cost.value == own.value == "39\u202f760"


def test_runs_without_records(make_run: MakeRun) -> None:
    runs = [make_run(name, records=[], done=False) for name in "ab"]
    told = compare_page([compared(run) for run in runs])
    assert "None of these runs has been measured" in told["lead"]
    assert len(told["notes"]) == 2
    assert [tile.part for tile in told["tiles"]] == list(TITLES)
    assert all("no run has been measured" in t.note for t in told["tiles"] if t.part != "cost")


def test_the_command_writes_one_page(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a", "b <script>alert(1)"]
    runs = [make_run(name) for name in names]
    out = tmp_path / "c.html"
    paths = [str(run.path) for run in runs]
    assert main(["report", *paths, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": paths, "report": str(out)}
    text = out.read_text("utf-8")
    assert "<script>alert" not in text
    assert "b &lt;script&gt;alert(1)" in text
    assert main(["report", paths[0], "nowhere", "--out", str(out)]) == 2


def test_every_figure_of_the_table_has_its_metric_and_unlike_settings_have_rows_of_their_own(
    make_run: MakeRun,
) -> None:
    one = make_run("one", strategy="auto", way="fit")
    found = make_run("found", strategy="darts", way="search", space="mlp", model="linear")
    told = compare_page([compared(one), compared(found)])
    rows = [dict(zip(told["columns"], row, strict=True)) for row in told["table"]]
    assert told["sentence"].startswith("2 runs on mnist side by side")
    assert "data" not in told["columns"]
    assert [row["model"] for row in rows] == ["mlp:50", "found in space mlp"]
    assert {"validation log loss", "test log loss", "validation accuracy"} <= set(told["columns"])
    everywhere, of_some = differences([compared(one), compared(found)])
    assert "strategy" not in [row[0] for row in everywhere]
    assert ["strategy", "auto", "–"] in of_some
    assert ["strategy (of the search)", "–", "darts"] in of_some
    assert all(row[2] != "linear" for row in [*everywhere, *of_some])
    apart = compare_page([compared(one), compared(make_run("numbers", kind="regression"))])
    rows = [dict(zip(apart["columns"], row, strict=True)) for row in apart["table"]]
    assert rows[0]["validation"] == "log loss 0.122" and rows[1]["validation"].startswith("RMSE 5")


def test_the_best_of_several_loses_nothing_beside_the_others(make_run: MakeRun) -> None:
    one, other = make_run("one"), make_run("other", epochs=7)
    raised = [r for r in other.records() if r.column == "valid/nll"]
    other.replace([type(r)(**{**vars(r), "value": r.value + 1}) for r in raised])
    tiles = {tile.part: tile for tile in compare_page([compared(other), compared(one)])["tiles"]}
    assert tiles["lost"].value == "nothing beside the others"
    assert (
        tiles["chosen"].note.startswith("λ\u00a0=\u00a0")
        and ": validation log loss" in tiles["chosen"].note
    )
    assert tiles["lost"].note.startswith("it has the best validation log loss of 2 runs")
    assert "other, the next, is 1 behind" in tiles["lost"].note


def test_accuracies_are_points_apart_and_seeds_change_no_split(make_run: MakeRun) -> None:
    one, other = make_run("one", seed=1), make_run("other", seed=2)
    lower = [r for r in other.records() if r.column == "valid/accuracy"]
    other.replace([type(r)(**{**vars(r), "value": r.value - 0.025}) for r in lower])
    for run in (one, other):  # as records that hold no other metric
        run.replace([], lambda r: r.name in ("nll", "nll_error", "excess", "excess_error"))
    told = compare_page([compared(one), compared(other)])
    tiles = {tile.part: tile for tile in told["tiles"]}
    assert "other, the next, is 2.5 points behind" in tiles["lost"].note
    assert not any("split" in note for note in told["notes"])
    assert any("Seeds differ" in note for note in told["notes"])

"""The leaderboard: order, errors over seeds, and ``netdial benchmark`` from the command line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import netdial as nd
from netdial.cli import main
from netdial.contest.board import ranked
from netdial.contest.match import CONTENDERS, Guess, Match
from netdial.core.errors import ConfigError, NetdialError, NonFiniteError

QUICK = ["--only", "constant,linear model", "--seconds", "0.05", "--seeds", "2", "--quiet"]


def _one(loss: float, **more: Any) -> dict[str, Any]:
    return {
        "loss": loss,
        "valid": 1.0,
        "metrics": {"accuracy": 0.5},
        "seconds": 1.0,
        "params": 3,
        "chosen": {},
        **more,
    }


def test_places_follow_the_mean_and_differences_are_paired() -> None:
    first, second, third = ranked(
        {
            "b": [_one(2.0), _one(4.0), _one(6.0)],
            "c": [_one(1.0), {"failed": "no"}, _one(1.0)],
            "a": [_one(1.0, params=None), _one(3.0, params=None), _one(2.0, params=None)],
        }
    )
    assert (first.name, second.name, third.name, third.failed) == ("a", "b", "c", "no")
    assert second.loss == 4 and second.error == pytest.approx(2 / math.sqrt(3))
    assert second.behind == 2 and second.behind_error == pytest.approx(math.sqrt(3) / math.sqrt(3))
    assert first.behind == 0 and first.level and not second.level and math.isnan(first.params)
    (alone, other) = ranked({"a": [_one(1.0)], "b": [_one(2.0)]})
    assert alone.level and alone.behind_error == 0 and math.isnan(other.behind_error)


def test_it_compares_from_the_command_line_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "wine", *QUICK]) == 0
    told = capsys.readouterr().out
    assert told.index("linear model") < told.index("constant") and "2 splits and starts" in told
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("DONE")}
    assert len(made) == 4
    assert main(["benchmark", "wine", *QUICK, "--json"]) == 0
    board = json.loads(capsys.readouterr().out)
    assert [place["name"] for place in board["places"]] == ["linear model", "constant"]
    assert board["places"][1]["metrics"]["accuracy"] == pytest.approx(14 / 36, abs=0.03)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("DONE")} == made


def test_a_table_that_changes_is_measured_anew(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{i % 7},{(i % 7) * 2.5 + 1}" for i in range(60)]
    table.write_text("\n".join(["a,y", *rows]))
    how: dict[str, Any] = {
        "target": "y", "seconds": 0.05, "seeds": 1, "contenders": ["linear model"], "folder": tmp_path / "out",
    }  # fmt: skip
    assert nd.benchmark(str(table), **how).first.loss < 0.1
    noisy = [f"{i % 7},{(i * 37 % 11) * 2.5}" for i in range(60)]
    table.write_text("\n".join(["a,y", *noisy]))
    assert nd.benchmark(str(table), **how).first.loss > 1


def test_rows_of_another_file_that_change_are_measured_anew(tmp_path: Path) -> None:
    """Results on the validation and test rows of before were shown for the new ones."""
    train, test = tmp_path / "t.csv", tmp_path / "test.csv"
    rows = [f"{i % 7 + i / 100},{(i % 7) * 2.5 + 1}" for i in range(60)]
    train.write_text("\n".join(["a,y", *rows]))
    test.write_text("\n".join(["a,y", *rows[:20]]))
    how: dict[str, Any] = {
        "target": "y", "test": str(test), "seconds": 0.05, "seeds": 1, "contenders": ["constant"], "folder": tmp_path / "out",
    }  # fmt: skip
    before = nd.benchmark(str(train), **how).first.loss
    test.write_text("\n".join(["a,y", *[f"{i % 7},{1000 + i}" for i in range(20)]]))
    assert nd.benchmark(str(train), **how).first.loss > 50 * before


def test_a_table_that_changes_while_it_is_benchmarked_ends_it(tmp_path: Path) -> None:
    """Contenders on different rows would stand on one board."""
    table = tmp_path / "t.csv"
    rows = [f"{i % 7 + i / 100},{(i % 7) * 2.5 + 1}" for i in range(60)]
    table.write_text("\n".join(["a,y", *rows]))

    def report(_: object) -> None:
        table.write_text("\n".join(["a,y", *rows[:40]]))

    how: dict[str, Any] = {"target": "y", "seconds": 0.05, "seeds": 1, "folder": tmp_path / "out"}
    with pytest.raises(NetdialError, match="was changed since"):
        nd.benchmark(str(table), contenders=["constant", "linear model"], report=report, **how)


def test_it_says_how_a_table_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns that are left out, and rows that stand in two parts, were not told."""
    table = tmp_path / "t.csv"
    rows = [f"{i},{i % 9},k{i % 3},5" for i in range(40)]
    table.write_text("\n".join(["a,b,y,c", *rows, *rows]))
    how = [str(table), "--target", "y", "--only", "constant", "--seconds", "0.05", "--seeds", "1"]
    assert main(["benchmark", *how, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert re.search(r"^  c +left out +is constant \(5\)$", told.err, re.MULTILINE)
    assert "test rows have the inputs and the target of a training row" in told.err
    assert main(["benchmark", *how, "--out", str(tmp_path / "out"), "--json", "-q"]) == 0
    board = json.loads(capsys.readouterr().out)
    assert {one["column"]: one["read as"] for one in board["columns"]}["c"] == "left out"
    assert any("have the inputs and the target" in one for one in board["remarks"])


def test_a_wide_board_has_the_names_beside_every_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second half of the columns stood beside numbers of places alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "70")
    assert main(["benchmark", "wine", *QUICK]) == 0
    blocks = capsys.readouterr().out.split("contender")[1:]
    assert len(blocks) > 1 and all("linear model" in block for block in blocks)


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"seconds": 0.0}, "0"),
        ({"seconds": math.inf}, "inf"),
        ({"contenders": ["boosted tree"]}, "boosted trees"),
        ({"split_seed": 3}, "seeds"),
        ({"target": "no"}, "target"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, given: dict[str, Any], fact: str
) -> None:
    with pytest.raises(NetdialError, match=fact):
        nd.benchmark("wine", folder=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_one_that_fails_comes_last_and_alone_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hopeless(match: Match) -> Guess:
        raise NonFiniteError("step 3: the loss is nan")

    monkeypatch.setitem(CONTENDERS._parts, "hopeless", hopeless)
    how: dict[str, Any] = {"seconds": 0.05, "seeds": 1, "folder": tmp_path}
    board = nd.benchmark("wine", contenders=["hopeless", "constant"], **how)
    assert [place.name for place in board.places] == ["constant", "hopeless"]
    assert "step 3" in board.places[1].failed and "step 3" in str(board)
    with pytest.raises(ConfigError, match="step 3"):
        nd.benchmark("wine", contenders=["hopeless"], **how)


def test_one_that_predicts_no_numbers_for_test_rows_has_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is no number, beside which the order of all others would be anything."""

    def overflowing(match: Match) -> Guess:
        return Guess(lambda part: torch.full((len(part), match.n_outputs), math.inf), 0.1)

    monkeypatch.setitem(CONTENDERS._parts, "overflowing", overflowing)
    names = ["overflowing", "constant", "linear model"]
    board = nd.benchmark("wine", contenders=names, seconds=0.05, seeds=1, folder=tmp_path)
    assert [place.name for place in board.places] == ["linear model", "constant", "overflowing"]
    assert "not finite" in board.places[-1].failed


def test_a_price_is_shown_in_its_own_units(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i % 17},{200_000 + 9_000 * (i % 17) + 31_000 * (i % 5)}" for i in range(120)]
    table = tmp_path / "houses.csv"
    table.write_text("\n".join(["rooms,price", *rows]))
    out = ["--target", "price", "--out", str(tmp_path / "b")]
    assert main(["benchmark", str(table), *out, *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "e+0" not in shown, "powers of ten"
    assert "nll" not in shown, "a likelihood under a noise that nobody estimated"


@pytest.mark.slow
def test_a_frame_is_compared_as_the_file_of_it(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = range(120)
    frame = pandas.DataFrame(
        {"size": [i % 17 for i in rows], "kind": [f"k{i % 3}" for i in rows]}, index=[9] * 120
    )
    frame["price"] = 2.0 * frame["size"] + (frame["kind"] == "k1")
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    asked: dict[str, Any] = {"target": "price", "seconds": 0.05, "seeds": 2}
    asked |= {"contenders": ["linear model", "constant"]}
    of_file, of_frame, again = (
        nd.benchmark(data, folder=tmp_path / "out", **asked)
        for data in (tmp_path / "rows.parquet", frame, frame.copy())
    )
    losses = [[place.loss for place in board.places] for board in (of_file, of_frame, again)]
    assert losses[0] == losses[1] == losses[2] and of_frame.data == again.data
    assert len(list((tmp_path / "out").rglob("DONE"))) == 8, "the second time nothing is made"
    own = nd.benchmark(frame, valid=frame[:30], test=frame[30:60], folder=tmp_path / "own", **asked)
    assert own.rows == {"train": 120, "valid": 30, "test": 30}
    frame["kind"] = [1, "a"] * 60
    with pytest.raises(NetdialError, match=r"kind|one kind"):
        nd.benchmark(frame, folder=tmp_path / "out", **asked)
    with pytest.raises(NetdialError, match=r"data=3; expected .* Frame"):
        nd.benchmark(cast(Any, 3), folder=tmp_path / "out", **asked)


@pytest.mark.slow
def test_parts_that_no_seed_changes_are_no_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i},{i * 7 % 11},{i * 7 % 11 + i % 3 / 4}" for i in range(40)]
    Path("rows.csv").write_text("\n".join(["day,a,y", *rows]), "utf-8")
    words = ["benchmark", "rows.csv", "--target", "y", *QUICK]
    assert main([*words, "--time-column", "day"]) == 0
    told = capsys.readouterr().out
    assert "2 starts on one split" in told and "splits and starts" not in told
    assert main([*words, "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["one_split"]

"""Run folders of format 1 are read as they were: what tables and reports make of them has not changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from netdial.core.errors import CheckpointError
from netdial.core.records import Record
from netdial.core.storage.boundary import seal, unseal_line
from netdial.jobs.reports import report_of
from netdial.report.sections.evidence import weighings
from netdial.runs.curves import constants, learning, members
from netdial.runs.earlier import converted
from netdial.runs.prunings import prunings
from netdial.runs.run import Run
from netdial.runs.settings import FORMAT
from netdial.runs.shrinkage import shrinkage
from netdial.runs.surfaces import pruned

EARLIER = Path(__file__).parent / "earlier"
"""Two folders of format 1: a family that was pruned, weighed and chosen from, and a network that shrank. ``read.json`` is what
the readers of that time made of them."""
READ: dict[str, Any] = json.loads((EARLIER / "read.json").read_text())


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_readers_make_of_earlier_records_what_they_made_then() -> None:
    family = Run.open(EARLIER / "wine").records()
    shrunk = asdict(shrinkage(Run.open(EARLIER / "wine-shrink").records()))
    assert shrunk.pop("batches") == (1,) and shrunk.pop("constant") == {}
    assert shrunk.pop("epoch") is None
    found = {
        "members": [asdict(row) for row in members(family)],
        "constants": constants(family),
        "learning": [
            [name, lam, points]
            for name, lines in learning(family).items()
            for lam, points in lines.items()
        ],
        "pruned": [
            {
                "name": one.name,
                "metric": one.metric,
                "decides": one.decides,
                "cells": [[*place, values] for place, values in one.values.items()],
            }
            for one in pruned(family)
        ],
        "prunings": [asdict(one) for one in prunings(family)],
        "weighings": [asdict(one) for one in weighings(family)],
        "shrinkage": shrunk,
    }
    assert len(READ["prunings"]) == 2 and len(READ["pruned"]) == 2
    for name, value in found.items():
        assert plain(value) == READ[name], name


def test_an_earlier_run_has_its_report() -> None:
    for name in ("wine", "wine-shrink"):
        assert "wine" in report_of(Run.open(EARLIER / name))


def test_no_name_holds_what_an_axis_says() -> None:
    for name, lines in (("wine", 158), ("wine-shrink", 36)):
        rows = Run.open(EARLIER / name).records()
        assert not [row.name for row in rows if "/" in row.name or ":" in row.method]
        assert len(rows) == lines, "no two quantities became one"


def test_an_earlier_folder_goes_on_in_the_format_of_today(tmp_path: Path) -> None:
    shutil.copytree(EARLIER / "wine", tmp_path / "wine")
    run = Run.open(tmp_path / "wine")
    before = run.records()
    again = before[0]
    run.replace([Record(**{**asdict(again), "value": 9.0})])
    assert run.records()[0].value == 9.0
    assert len(run.records()) == len(before)
    lines = [unseal_line(line, 1) for line in run.records_path.read_text().splitlines()]
    assert all(converted(line) == line for line in lines), "of today's format, and left as it is"
    assert [Record(**line) for line in lines] == run.records()
    assert json.loads(run.config_path.read_text()) == seal({"format": FORMAT, **run.config})


@pytest.mark.parametrize("line", ["[]", "7", '{"method": 3}', '{"method": "train", "name": 1}'])
def test_what_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    run = Run.create(tmp_path, "r", {"seed": 0})
    run.records_path.write_text(line + "\n")
    with pytest.raises(CheckpointError, match=r"line 1 is not a record"):
        run.records()


def test_folders_say_their_format(tmp_path: Path) -> None:
    assert json.loads(Run.create(tmp_path, "r", {}).config_path.read_text())["format"] == FORMAT

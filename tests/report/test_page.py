"""The page: complete, self-contained, honest about what is missing, and safe whatever the run is called."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

import pytest

from netdial.core.errors import CheckpointError
from netdial.core.records import Record
from netdial.jobs.reports import write_report
from netdial.report.page import series
from netdial.report.template import CHARTS, script
from netdial.runs.curves import headline, members
from netdial.runs.run import Run

from ..early import early
from .conftest import STEPS, evaluation_records, training_records

MakeRun = Callable[..., Run]
HOSTILE = "<script>alert('x')\"&amp;{{ 7 * 7 }}"


class Page(HTMLParser):
    """The page taken apart: tags with attributes, text by element id, table rows, and all text that is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.shown = ""
        self._script: str | None = None
        self._hidden = self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._hidden = tag in ("script", "style")
        self._script = (attributes.get("id") or "main") if tag == "script" else None
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._script, self._hidden = None, False
        elif tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif not self._hidden:
            self.shown += data.replace("\u00a0", " ").replace("\u202f", " ")
            if self._in_cell:
                self.rows[-1][-1] += data.strip()

    def json(self, name: str) -> Any:
        return json.loads(self.scripts[name], parse_constant=pytest.fail)

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.tags}


def page_of(run: Run) -> Page:
    path = write_report(run.path)
    assert path == run.report_path
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_says_what_was_done_and_what_came_out(make_run: MakeRun) -> None:
    run = make_run()
    answer = headline(members(run.records()), run.config)
    assert answer is not None
    assert answer.simplest is not None
    page = page_of(run)
    assert "<title>mnist-mlp50 · netdial</title>" in page.html
    assert (
        "a family of mlp:50 networks on mnist (54 000 training, 6 000 validation, 10 000 test"
        " examples) with the scaled-kl objective and a piecewise map" in page.shown
    )
    assert f"log loss {answer.value:.3f}" in page.shown
    assert f"{answer.simplest.values['valid/accuracy']:.1%}" in page.shown
    assert "± 0.2 points" in page.shown
    assert f"{answer.excess:.3f}, within one standard error" in page.shown
    assert f"λ = {answer.best.lam:.3g}" in page.shown
    assert f"λ = {answer.simplest.lam:.3g}" in page.shown
    assert f"{answer.simplest.values['effective_parameters']:,.0f}".replace(",", " ") in page.shown
    assert {"curves", "training"} <= page.ids()
    assert "notes" not in [attributes.get("class") for _, attributes in page.tags]


def test_the_page_says_where_members_part(make_run: MakeRun) -> None:
    whole = training_records("whole") + evaluation_records("whole")
    half = [
        r
        for r in whole
        if r.method != "train" or r.lam in (None, lam_of(whole)) or r.step > STEPS / 2
    ]
    assert len(half) < len(whole)
    pages = [
        page_of(make_run(name, records)) for name, records in (("whole", whole), ("half", half))
    ]
    assert ["one network had been trained" in " ".join(p.shown.split()) for p in pages] == [
        False,
        True,
    ]


def lam_of(records: list[Record]) -> float:
    """Returns the largest complexity value of training."""
    return max(record.lam for record in records if record.method == "train" and record.lam)


def test_what_draws_is_there_exactly_once_and_nothing_is_fetched(make_run: MakeRun) -> None:
    page = page_of(make_run())
    charts = script(*CHARTS)
    assert page.html.count(charts) == 1
    assert page.scripts["charts"] == charts
    assert len(page.html) < 500_000
    links = [
        value or ""
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert [link.split(",")[0] for link in links] == ["data:text/csv;charset=utf-8;base64"]
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in (policy or "")
    style = page.html[page.html.index("<style>") : page.html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_table_holds_the_members(make_run: MakeRun) -> None:
    page = page_of(make_run())
    header = next(row for row in page.rows if "NLL" in row)
    assert header == ["accuracy", "predictive", "NLL"] * 2 + [
        "KL, bits",
        "eff. parameters",
        "objective",
    ]
    body = [row for row in page.rows if len(row) == 10]
    assert len(body) == 16
    assert body[0][:4] == ["0.001", "97.20%", "97.20%", "0.140"]
    assert [row[0] for row in body if "best" in row[0]] == ["0.01best"]
    assert [row[0] for row in body if "s.e." in row[0]] == ["0.04641 s.e."]
    said = page.shown.replace("\u00a0", " ")
    assert "Where no λ is given, netdial predict and serve take the best, λ = 0.01." in said


def plain(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)


def test_the_data_travels_with_the_page(make_run: MakeRun) -> None:
    run = make_run()
    page = page_of(run)
    rows = members(run.records())
    data = page.json("data")
    assert data["config"] == run.config
    assert data["environment"] == run.environment()
    told = [
        {**one, "step": step, "value": value}
        for one in data["series"]
        for step, value in zip(one["step"], one["value"], strict=True)
    ]
    assert sorted(map(plain, told)) == sorted(plain(asdict(one)) for one in run.records())
    assert len(data["series"]) <= len(told)
    assert [member["lam"] for member in data["members"]] == [row.lam for row in rows]
    uri = next(a["href"] for t, a in page.tags if t == "a" and a.get("download") == "members.csv")
    text = base64.b64decode((uri or "").split(",", 1)[1]).decode()
    table = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["lam"]) for row in table] == [row.lam for row in rows]
    assert [float(row["test/brier"]) for row in table] == [row.values["test/brier"] for row in rows]


def test_regression(make_run: MakeRun) -> None:
    page = page_of(make_run(kind="regression", units="price"))
    assert "RMSE 56.02" in page.shown
    assert "the simplest within one standard error of the best" in page.shown
    assert "the squared error in variances of the target rises by" in page.shown
    assert "squared error in variances of the target above the best, λ" in page.shown
    header = next(row for row in page.rows if "NLL" in row)
    assert header[:4] == ["RMSE", "predictive", "R²", "NLL"]


def test_everything_from_the_run_is_escaped(make_run: MakeRun) -> None:
    plain = page_of(make_run("plain"))
    page = page_of(
        make_run(
            HOSTILE,
            data="</script><script>alert(1)</script>",
            model="<img src=x onerror=alert(1)>",
            extra={"<b>": ["</script>", "<!--", {"k": "\u2028</style>"}]},
        )
    )
    assert HOSTILE in page.shown
    assert [tag for tag, _ in page.tags].count("script") == [t for t, _ in plain.tags].count(
        "script"
    )
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert page.json("data")["config"]["data"] == "</script><script>alert(1)</script>"
    assert "</script><script>alert(1)</script>" in page.shown
    assert "<img src=x onerror=alert(1)>" in page.shown


def test_a_run_still_in_training(make_run: MakeRun) -> None:
    rows = [early("r", "train", None, 0, 40, "train/loss", 0.5)]
    page = page_of(make_run(records=rows, done=False))
    assert "Training has not finished: the records reach step 40" in page.shown
    assert "has not been evaluated" in page.shown
    assert "No member of the family has been measured" in page.shown
    assert "training" in page.ids()
    assert "curves" not in page.ids()
    assert page.json("figures").keys() == {"training"}


def test_a_run_without_any_record(make_run: MakeRun) -> None:
    page = page_of(make_run(records=[], done=False))
    assert "the records reach step 0" in page.shown
    assert page.json("figures") == {}


def test_what_was_not_recorded_is_named(make_run: MakeRun) -> None:
    rows = [
        early("r", "evaluate", 0.1, 0, 9, "valid/accuracy", 0.5),
        early("r", "evaluate", 1.0, 0, 9, "valid/accuracy", math.nan),
    ]
    page = page_of(make_run(records=rows, n_valid=None))
    assert "posterior predictive was not evaluated" in page.shown
    assert "Not recorded: KL in bits and effective parameters." in page.shown
    assert "standard errors were not recorded" in page.shown
    assert "Some values are not finite" in page.shown
    assert ["1", "not finite"] in page.rows
    assert [one["value"] for one in page.json("data")["series"]] == [[0.5], [None]]


def test_test_data_alone_gives_curves_but_no_choice(make_run: MakeRun) -> None:
    rows = [early("r", "evaluate", 0.1, 0, 9, "test/accuracy", 0.5)]
    page = page_of(make_run(records=rows))
    assert "test data never decides" in page.shown
    assert "curves" in page.ids()


def test_no_simpler_member(make_run: MakeRun) -> None:
    rows = [
        early("r", "evaluate", lam, 0, 9, f"valid/{name}", value)
        for lam, values in ((0.1, (0.3, 0.0, 0.0)), (1.0, (0.9, 0.6, 0.1)))
        for name, value in zip(("nll", "excess", "excess_error"), values, strict=True)
    ]
    assert (
        "No simpler member comes within one standard error" in page_of(make_run(records=rows)).shown
    )


def test_an_unknown_environment(make_run: MakeRun) -> None:
    run = make_run(records=[])
    run.env_path.unlink()
    assert "environment of this run is not known" in page_of(run).shown


def test_a_damaged_run_leaves_the_old_report(make_run: MakeRun) -> None:
    run = make_run()
    run.report_path.write_text("the old report")
    run.records_path.write_text("{}\n")
    with pytest.raises(CheckpointError, match="line 1 is not a record"):
        write_report(run.path)
    assert run.report_path.read_text() == "the old report"


def test_a_full_disk_leaves_the_old_report(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    run.report_path.write_text("the old report")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(run.path)
    assert run.report_path.read_text() == "the old report"


def test_records_of_one_quantity_stand_in_one_row() -> None:
    rows = [
        early("r", "train", lam, 0, step, "train/fit", step + lam)
        for step in (1, 2, 3)
        for lam in (0.1, 1.0)
    ]
    found = series([*rows, early("r", "train", 0.1, 0, 3, "train/fit", 9.0)])
    assert [one["where"]["lam"] for one in found] == [0.1, 1.0]
    assert (found[0]["step"], found[0]["value"]) == ([1, 2, 3, 3], [1.1, 2.1, 3.1, 9.0])

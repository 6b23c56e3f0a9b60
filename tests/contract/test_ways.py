"""What every way of training must keep to: settings with help, a command, a run that goes on and is read. Enrolled by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import netdial.jobs  # noqa: F401 (registers the ways)
from netdial.cli import main
from netdial.core.errors import NetdialError
from netdial.jobs.reports import list_runs, write_report
from netdial.jobs.request import Job, resumable
from netdial.jobs.trial import Trial
from netdial.jobs.ways import WAYS, Way, way_of
from netdial.report.page import Section
from netdial.report.standing.told import TITLES, UNKNOWN
from netdial.runs.curves import rivals, strongest
from netdial.runs.run import Run
from netdial.train.config import TrainConfig

names = pytest.mark.parametrize("name", list(WAYS))


def short(name: str) -> tuple[str, ...]:
    """Returns the words of a short run."""
    model = ("--model", "mlp:4") if WAYS[name].takes_model else ()
    return ("wine", *model, "--epochs", "2", "--quiet")


def few(name: str) -> tuple[str, ...]:
    """Returns options that keep the final evaluation short, if the way has one."""
    extra = WAYS[name].extra
    known = extra().model_fields if extra is not None else {}
    return tuple(
        w for option in ("points", "samples") if option in known for w in (f"--{option}", "2")
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of every way."""
    runs = tmp_path_factory.mktemp("ways")
    for name in WAYS:
        assert main([name, *short(name), *few(name), "--name", name, "--runs-dir", str(runs)]) == 0
    return {name: runs / name for name in WAYS}


@names
def test_settings_have_help_and_bounds(name: str) -> None:
    way = WAYS[name]
    assert isinstance(way, Way) and way.name == name and way.help.endswith(".")
    assert issubclass(way.config(), TrainConfig)
    for settings in way.settings:
        for field, info in settings.model_fields.items():
            assert info.description, f"{name}: {field} has no description"
    with pytest.raises(NetdialError, match="epochs"):
        way.config()(epochs=0)
    assert set(way.not_training) >= {"name", "data_dir"}


@names
def test_every_setting_is_an_option_that_help_shows(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    told = capsys.readouterr().out
    assert "--resume" in told and "--epochs" in told and "--seed" in told
    assert main(["--help"]) == 0
    assert name in capsys.readouterr().out


@names
def test_a_network_is_asked_for_where_the_way_takes_one(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    assert ("--model" in capsys.readouterr().out) == WAYS[name].takes_model
    if not WAYS[name].takes_model:
        with pytest.raises(NetdialError, match="mlp:4"):
            Trial("wine", {"model": "mlp:4"}, name)
        with pytest.raises(NetdialError, match="mlp:4"):
            resumable(Job("wine", {"model": "mlp:4"}, name_of_way=name))


@pytest.mark.slow
@names
def test_a_run_is_listed_reported_and_read_from_its_records_alone(
    name: str, trained: dict[str, Path]
) -> None:
    run, way = Run.open(trained[name]), WAYS[name]
    assert run.is_done and way_of(run) is way
    answer = way.headline(run)
    json.dumps(dict(answer.json))
    assert answer.json and answer.row
    assert [row.way for row in list_runs(trained[name].parent) if row.name == name] == [name]
    section = way.section()
    assert isinstance(section, Section)
    page = write_report(trained[name]).read_text(encoding="utf-8")
    assert name in page and "</html>" in page


@pytest.mark.slow
@names
def test_a_name_that_is_taken_is_refused_and_the_run_stays(
    name: str, trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained[name] / "records.jsonl").read_bytes()
    words = [name, *short(name), "--name", name, "--runs-dir", str(trained[name].parent)]
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (trained[name] / "records.jsonl").read_bytes() == before


@names
def test_settings_that_cannot_be_are_refused_before_a_folder_is_made(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [name, *short(name), "--runs-dir", str(tmp_path / "runs")]
    assert main([*words, "--epochs", "0"]) == 2
    assert "epochs" in capsys.readouterr().err
    assert main([*words, "--batch-size", "-1"]) == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@names
def test_its_page_says_first_what_was_chosen_and_beside_what(
    name: str, trained: dict[str, Path]
) -> None:
    page = write_report(trained[name]).read_text(encoding="utf-8")
    box = page[page.index('aria-label="Answer"') : page.index("</section>")]
    parts = re.findall(
        r'data-answer="(\w+)"><dt>([^<]+)</dt><dd><span class="value[^>]*>([^<]+)<', box
    )
    assert [part for part, _, _ in parts] == list(TITLES)
    told = {part: value for part, _, value in parts}
    assert all(told[part] != UNKNOWN for part in ("chosen", "cost", "lost", "sure", "constant"))
    assert told["rival"] != UNKNOWN or "netdial evaluate" in box


@pytest.mark.slow
@names
def test_its_network_is_evaluated_and_held_against_rivals(
    name: str, trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(trained[name]), "--rivals", "--seconds", "0.2", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["rivals"]) >= 4
    run = Run.open(trained[name])
    recorded = rivals(run.records())
    for rival, worth in told["rivals"].items():
        assert recorded[rival] == pytest.approx(worth)
        assert worth["valid/excess_error"] >= 0
    first = strongest(recorded, "valid/nll")
    assert first is not None
    page = run.report_path.read_text(encoding="utf-8")
    assert f"validation log loss, {first[0]}" in page or "random search" in page
    if not WAYS[name].makes_family:
        assert told["metrics"]["nll"] == pytest.approx(
            way_of(run).headline(run).measures["valid/nll"]
        )
        gap = recorded[first[0]]["valid/nll"] - told["metrics"]["nll"]
        assert recorded[first[0]]["valid/excess"] == pytest.approx(gap, abs=1e-5)

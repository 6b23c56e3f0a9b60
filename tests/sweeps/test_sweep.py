"""Trials are made once, compared on validation data, and a sweep that is stopped or fails in part goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import netdial as nd
from netdial.core.errors import BusyError, CheckpointError, ConfigError, NetdialError
from netdial.runs.run import Run
from netdial.runs.store import key
from netdial.sweeps import folder as folder_module
from netdial.sweeps.conductor import Told
from netdial.sweeps.engines import ENGINES
from netdial.sweeps.folder import SweepFolder
from netdial.sweeps.page import render_sweep
from netdial.sweeps.result import Sweep, SweepTrial
from netdial.sweeps.run import engine_of, folder_of, open_sweep
from netdial.sweeps.spec import EarlyStop, SweepSpec
from netdial.sweeps.trials.halving import Rungs, StoppedEarly

from ..jobs import toy_way

Make = Callable[..., SweepSpec]


def test_trials_are_run_folders_that_are_made_once(toy: Make) -> None:
    told: list[Told] = []
    found = nd.sweep(toy(), report=told.append)
    assert [trial.state for trial in found.trials] == ["done"] * 4
    assert [one.state for one in told] == ["running", "done"] * 4
    best = found.best()
    assert best.measures["valid/loss"] == min(t.measures["valid/loss"] for t in found.trials)
    assert told[-1].best == (best.number, best.measures["valid/loss"])
    run = Run.open(best.run)
    assert run.is_done and run.config["pull"] == best.params["pull"]
    told.clear()
    more = nd.sweep(toy(trials=6), report=told.append)
    assert [one.number for one in told if one.state == "done"] == [4, 5]
    assert [dict(t.params) for t in more.trials[:4]] == [dict(t.params) for t in found.trials]
    assert open_sweep("toy") == more == open_sweep(more.path)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_an_interrupted_sweep_goes_on_to_the_same_trials(
    toy: Make, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    whole = nd.sweep(toy(name="whole", sampler=sampler, trials=6, ahead=2))

    def stop(told: Told) -> None:
        if told.state == "running" and told.number == 3:
            monkeypatch.setattr(toy_way, "STOP_AFTER", 2)

    with pytest.raises(KeyboardInterrupt):
        nd.sweep(toy(sampler=sampler, trials=6, ahead=2), report=stop)
    half = open_sweep("toy")
    assert half.counts == {"done": 3, "stopped": 0, "failed": 0, "unfinished": 1, "waiting": 2}
    monkeypatch.setattr(toy_way, "STOP_AFTER", 0)
    again = nd.sweep(toy(sampler=sampler, trials=6, ahead=2))
    pairs = zip(again.trials, whole.trials, strict=True)
    assert all(a.params == b.params and a.measures == b.measures for a, b in pairs)


@pytest.mark.slow
def test_what_a_sampler_learns_does_not_depend_on_who_ends_first(toy: Make, tmp_path: Path) -> None:
    from netdial.sweeps.conductor import Conductor, Piece
    from netdial.sweeps.trials.making import make_trial

    def made(name: str, last_first: bool) -> list[dict[str, Any]]:
        folder = SweepFolder.of(toy(name=name, sampler="tpe", trials=16, ahead=3))
        with folder.working():
            conductor, running = Conductor(folder), list[Piece]()
            while not conductor.is_over:
                while (piece := conductor.next()) is not None:
                    running.append(piece)
                piece = running.pop(-1 if last_first else 0)
                conductor.ended(piece, make_trial(piece.cell, folder.store))
        return folder.proposed()

    assert made("first", last_first=False) == made("last", last_first=True)


def test_a_trial_that_raises_fails_alone_and_is_tried_again_only_if_asked(
    toy: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, tries = toy_way.TOY.train, list[float]()

    def fail(work: Any) -> float:
        tries.append(work.config.pull)
        if work.config.pull > 0.5:
            raise RuntimeError("too much")
        return train(work)

    object.__setattr__(toy_way.TOY, "train", fail)
    monkeypatch.setattr(toy_way, "STOP_AFTER", 0)
    try:
        found = nd.sweep(toy(trials=6))
        failed = [trial for trial in found.trials if trial.state == "failed"]
        assert failed and all(trial.params["pull"] > 0.5 for trial in failed)
        assert failed[0].error == "RuntimeError: too much"
        assert len(tries) == 6
        assert nd.sweep(toy(trials=6)).counts == found.counts and len(tries) == 6
        object.__setattr__(toy_way.TOY, "train", train)
        assert nd.sweep(toy(trials=6), retry=True).counts["done"] == 6
    finally:
        object.__setattr__(toy_way.TOY, "train", train)


@pytest.mark.parametrize("objective", ["parmas", "valid/f1"])
def test_an_objective_that_no_trial_can_have_ends_the_sweep_after_one(
    toy: Make, objective: str
) -> None:
    found = nd.sweep(toy(objectives=[objective]))
    assert (found.counts["failed"], found.counts["waiting"]) == (1, 3)
    assert found.trials[0].error.startswith(f"measured no {objective}; there are ")
    assert "valid/loss" in found.trials[0].error


def test_a_disk_that_is_full_once_costs_nothing_and_for_good_one_trial(
    toy: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    conclude, refused = toy_way.TOY.conclude, {"left": 1}

    def full(work: Any, made: float) -> None:
        if work.config.pull > 0.5 and refused["left"]:
            refused["left"] -= 1
            raise OSError(28, "No space left on device")
        conclude(work, made)

    object.__setattr__(toy_way.TOY, "conclude", full)
    try:
        told: list[Told] = []
        assert nd.sweep(toy(), report=told.append).counts["done"] == 4
        assert [one.state for one in told].count("again") == 1
        refused["left"] = 10**6
        found = nd.sweep(toy(name="full", retries=1))
        failed = [trial for trial in found.trials if trial.state == "failed"]
        assert found.counts["done"] + len(failed) == 4 and failed
        assert "No space left" in failed[0].error and "2 times" in failed[0].error
    finally:
        object.__setattr__(toy_way.TOY, "conclude", conclude)


@pytest.mark.parametrize("space", [{}, {"pull": [0.25, 0.5]}])
def test_a_space_has_no_more_trials_than_settings_and_says_so(
    toy: Make, space: dict[str, Any]
) -> None:
    """Further ones repeated those before, and nobody was told."""
    told: list[Told] = []
    count = 2 if space else 1
    with pytest.warns(UserWarning, match=rf"space has {count} (different )?setting.*and not 6"):
        found = nd.sweep(toy(space=space, trials=6), report=told.append)
    assert found.counts["done"] == len(found.trials) == found.spec.count == count
    assert [one.state for one in told].count("running") == count
    assert not toy(space=space, trials=count).remark


def test_trials_on_rows_of_their_own_are_told(toy: Make) -> None:
    """The best of several splits is the easiest one as much as the best setting."""
    with pytest.warns(UserWarning, match=r"space varies split_seed, so trials are judged on diff"):
        nd.sweep(toy(space={"split_seed": [0, 1]}, trials=2))


def test_equal_trials_of_an_earlier_version_are_made_once(toy: Make) -> None:
    spec = toy(space={"pull": [0.25, 0.5, 0.75]}, trials=3)
    folder = SweepFolder.of(spec)
    with folder.working():
        for number in range(2):
            folder.note_proposed(number, {"pull": 0.25})
    told: list[Told] = []
    found = nd.sweep(spec, report=told.append)
    assert [trial.params["pull"] for trial in found.trials][:2] == [0.25, 0.25]
    assert found.trials[2].params["pull"] != 0.25 and found.counts["done"] == 3
    assert [one.state for one in told].count("running") == 2


def test_two_sweeps_of_one_name_are_told_apart(toy: Make) -> None:
    nd.sweep(toy())
    with pytest.raises(ConfigError, match=r"another one.*seed: 0 -> 1"):
        nd.sweep(toy(seed=1))
    folder = SweepFolder.of(toy())
    with folder.working(), pytest.raises(BusyError):
        nd.sweep(toy(trials=5))


def test_trials_of_another_version_are_refused(toy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    nd.sweep(toy())
    now = folder_module.ENGINE
    monkeypatch.setattr(folder_module, "ENGINE", "other")
    with pytest.raises(ConfigError, match=rf"version {now} of the engine.*version other"):
        nd.sweep(toy())


def test_a_folder_that_is_no_sweep_or_is_newer_is_refused(toy: Make) -> None:
    nd.sweep(toy())
    with pytest.raises(CheckpointError, match=r"no such sweep.*there are toy"):
        folder_of("tooy")
    about = json.loads(Path("runs/sweeps/toy/sweep.json").read_text())
    Path("runs/sweeps/toy/sweep.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        open_sweep("toy")


def test_storage_that_cannot_be_written_is_refused_before_work(toy: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        nd.sweep(toy(storage=str(tmp_path / "file" / "sweeps")))


def test_no_trial_is_begun_after_the_time_is_over(toy: Make) -> None:
    found = nd.sweep(toy(max_seconds=1e-9))
    assert found.counts == {"done": 0, "stopped": 0, "failed": 0, "unfinished": 0, "waiting": 4}
    assert nd.sweep(toy()).counts["done"] == 4
    with pytest.raises(ConfigError, match="no trial is done"):
        Sweep(found.path, found.spec, found.trials).best()


def test_more_workers_than_a_sampler_lets_work_are_refused(toy: Make) -> None:
    with pytest.raises(ConfigError, match="set ahead to 9"):
        engine_of(toy(sampler="tpe", workers=9, engine="processes"))
    assert engine_of(toy(workers=9, engine="processes")) == ("processes", 4)
    assert engine_of(toy(workers=4, engine="here")) == ("here", 1), "the plan's time is that of one"


def test_the_front_is_what_nothing_beats_and_never_by_test_data(toy: Make) -> None:
    points = [(0.3, 10.0), (0.2, 20.0), (0.2, 25.0), (0.1, 30.0), (0.3, 10.0), (float("nan"), 1.0)]
    trials = tuple(
        SweepTrial(
            n, {}, "done", Path("x"), {"valid/loss": a, "params": b, "valid/accuracy": 1 - a}
        )
        for n, (a, b) in enumerate(points)
    )
    found = Sweep(Path("s"), toy(objectives=["valid/loss", "params"]), trials)
    assert [trial.number for trial in found.front()] == [0, 1, 3]
    assert [t.number for t in found.front(["valid/accuracy", "params"])] == [0, 1, 3]
    assert found.best("valid/accuracy").number == found.best().number == 3
    with pytest.raises(ConfigError, match="valid/nll"):
        found.front(["test/nll"])
    with pytest.raises(ConfigError, match="did you mean 'params'"):
        found.best("parms")


def test_halving_stops_what_is_worse_and_lets_the_best_go_on(tmp_path: Path) -> None:
    from netdial.jobs.records.watch import FinishedEpoch

    halving, ended = EarlyStop(first=1, factor=2), dict[int, int]()
    for number, value in enumerate([0.9, 0.5, 0.7, 0.1]):
        rungs = Rungs(tmp_path, f"trial{number}", halving)
        try:
            for epoch in range(1, 5):
                ended[number] = epoch
                rungs.epoch(FinishedEpoch(epoch, 4, (), value))
        except StoppedEarly:
            pass
    assert ended == {0: 4, 1: 4, 2: 1, 3: 4}
    told = json.loads((tmp_path / "stopped" / "trial2.json").read_text())
    assert told == {"epoch": 1, "valid": 0.7, "of": 3}


def test_a_trial_that_was_stopped_early_stays_so(toy: Make) -> None:
    spec = toy()
    found = nd.sweep(spec)
    name = key(spec.cell(found.trials[2].params))
    path = found.path / "stopped" / f"{name}.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"epoch": 1, "valid": 0.5, "of": 3}))
    (found.trials[2].run / "DONE").unlink()
    again = nd.sweep(spec)
    assert again.trials[2].state == "stopped" and "after 1 epochs" in again.trials[2].error


def test_a_trial_whose_records_were_cut_short_is_said(toy: Make) -> None:
    found = nd.sweep(toy())
    file = found.trials[1].run / "records.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    again = Sweep.read(SweepFolder.open(found.path))
    assert [trial.state for trial in again.trials].count("failed") == 1
    assert f"{len(lines) - 1} of the {len(lines)} rows" in again.trials[1].error
    assert "was cut short" in render_sweep(again)


def test_a_cluster_that_is_not_there_is_said_to_be_at_once() -> None:
    pytest.importorskip("ray")
    from netdial.sweeps.engines.on_ray import _knock

    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(OSError, match="refused"):
            _knock(address)
    _knock("auto")


def test_ray_is_started_again_where_a_busy_machine_was_too_slow() -> None:
    from netdial.sweeps.engines.on_ray import _STARTS, _started

    class Ray:
        """Starts at the n-th try, and would leave processes behind."""

        def __init__(self, n: int) -> None:
            self.left, self.ended = n, 0

        def kill_all_processes(self, check_alive: bool) -> None:
            self.ended += 1

        def init(self, **options: object) -> object:
            self.left -= 1
            if self.left:
                raise Exception("The current node timed out during startup.")
            return options

    late = Ray(_STARTS)
    assert _started(late, {"address": "local"}) == {"address": "local"}
    assert late.ended == _STARTS - 1
    with pytest.raises(NetdialError, match=rf"tried {_STARTS} times \(The current node timed out"):
        _started(Ray(_STARTS + 1), {})


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_sweep_on_a_cluster_that_is_not_there_makes_no_trial(toy: Make, address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=rf"cluster='{address}': there is no Ray cluster"):
        nd.sweep(toy(engine="ray", cluster=address))
    assert open_sweep("toy").counts["waiting"] == 4


def test_every_engine_says_what_it_does() -> None:
    assert all((ENGINES[name].__doc__ or "").startswith("Makes") for name in list(ENGINES))


@pytest.mark.parametrize(
    ("name", "values"), [("objective", ["l1", "l2"]), ("hi", [1.0, 10.0]), ("split_seed", [0, 1])]
)
def test_trials_whose_validation_objectives_do_not_compare_are_not_stopped_by_them(
    tmp_path: Path, name: str, values: list[Any]
) -> None:
    given = {"name": "one", "data": "wine", "space": {name: values}, "trials": 2}
    spec = SweepSpec(**given, storage=str(tmp_path), halving={})
    with pytest.raises(ConfigError, match=f"halving with {name} in space.*do not compare"):
        nd.sweep(spec)
    assert not spec.path.exists()
    assert SweepFolder.of(spec.changed(halving=None)).spec.halving is None

"""The fit job from Python: choices over stored settings over presets, records, clean failures, checks beforehand."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from netdial.core.errors import (
    BusyError,
    CheckpointError,
    ConfigError,
    DataError,
    NetdialError,
    NonFiniteError,
)
from netdial.core.storage.files import writing
from netdial.data import names
from netdial.jobs import failure, request
from netdial.jobs.job import do_job
from netdial.jobs.opening import check_lams, evaluate_run, example_input, open_family, open_task
from netdial.jobs.presets import PRESETS, default_model, default_samples
from netdial.jobs.problem import is_function, load_net, load_problem
from netdial.jobs.records.recorder import Recorder, member_records
from netdial.jobs.records.watch import FinishedEpoch
from netdial.jobs.request import Job, process_rank, settle
from netdial.measure import Member as PathMember
from netdial.measure import Path as LambdaPath
from netdial.runs.curves import members
from netdial.runs.run import Run
from netdial.train.config import FitConfig
from netdial.train.loop import Epoch

SMALL = {"model": "linear", "epochs": 2, "points": 3, "samples": 2}


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.epochs: list[FinishedEpoch] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def advance(self, step: int, steps: int) -> None:
        self.steps.append((step, steps))

    def epoch(self, progress: FinishedEpoch) -> None:
        self.epochs.append(progress)


def job(tmp_path: Path, data: str = "wine", **choices: Any) -> Job:
    """Returns a small job."""
    return Job(data, {**SMALL, **choices}, runs_dir=tmp_path / "runs")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Listener]:
    """A job that is done, and what was said."""
    listener = Listener()
    run = do_job(job(tmp_path_factory.mktemp("job")), listener)
    assert run is not None
    return run, listener


def test_the_watch_is_told_everything(done: tuple[Run, Listener]) -> None:
    _, listener = done
    assert listener.said[0] == "reading wine"
    assert "training linear (42 parameters, 106 training examples)" in listener.said
    assert listener.steps == [(step, 14) for step in range(1, 15)]
    assert [p.epoch for p in listener.epochs] == [1, 2]
    assert "epoch 2/2  fit " in listener.epochs[-1].line()


def test_records_are_those_of_the_vocabulary(done: tuple[Run, Listener]) -> None:
    run, _ = done
    records = run.records()
    assert {r.column for r in records if r.method == "train"} == {
        "train/loss",
        "train/fit",
        "train/complexity",
        "train/lr",
        "train/epoch_seconds",
        "train/n_updates",
        "valid/objective",
    }
    metrics = ("accuracy", "nll", "brier", "ece")
    alike = {"norm", "n_params", "objective"}
    assert {r.column for r in records if r.method == "evaluate"} == alike | {
        f"{part}/{metric}" for part in ("valid", "test") for metric in metrics
    } | {"valid/excess", "valid/excess_error", "valid/nll_error", "test/nll_error"}
    assert {r.column for r in records if r.method == "constant"} == {
        f"{part}/{metric}"
        for part in ("valid", "test")
        for metric in ("accuracy", "nll", "brier", "ece")
    }
    assert {r.step for r in records if r.method == "evaluate"} == {14}
    assert len(members(records)) == 3
    units = {r.column: r.unit for r in records}
    assert units["valid/nll"] == units["train/loss"] == "nats/example"


def test_members_with_a_posterior_have_a_divergence_and_draws(tmp_path: Path) -> None:
    run = do_job(job(tmp_path, objective="scaled-kl"), Listener())
    assert run is not None
    units = {r.column: r.unit for r in run.records() if r.method == "evaluate"}
    metrics = {f"{m}{s}" for m in ("accuracy", "nll", "brier", "ece") for s in ("", "_predictive")}
    alike = {"kl_bits", "effective_parameters", "n_params", "objective"}
    assert set(units) == alike | {
        f"{part}/{metric}" for part in ("valid", "test") for metric in metrics
    } | {"valid/excess", "valid/excess_error", "valid/nll_error", "test/nll_error"}
    assert (units["kl_bits"], units["valid/nll_predictive"]) == ("bits", "nats/example")


def test_a_run_can_be_opened_again(done: tuple[Run, Listener]) -> None:
    run, _ = done
    again = Run.open(run.path)
    family, task = open_family(again), open_task(again)
    path = evaluate_run(again, family, "valid", task)
    recorded = {m.lam: m.values["valid/nll"] for m in members(run.records())}
    assert {m.lam: pytest.approx(m.metrics["nll"], abs=1e-6) for m in path.members} == recorded
    assert load_net(again.config)(example_input(again)).shape == (2, 3)
    with pytest.raises(ConfigError, match=r"lam=1000: outside the trained range \[0.01, 10\]"):
        check_lams(again, [1.0, 1000.0])


def test_an_unfinished_run_gives_no_family(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "wine", {"data": "wine"})
    with pytest.raises(CheckpointError, match="has not finished"):
        open_family(run)


def test_choices_go_before_stored_settings_and_presets(tmp_path: Path) -> None:
    run = do_job(job(tmp_path, lr=0.5), Listener())
    assert run is not None
    assert (run.config["lr"], run.config["batch_size"]) == (0.5, PRESETS["wine"]["batch_size"])
    run.done_path.unlink()
    resumed = replace(job(tmp_path), choices={}, resume=True)
    again = do_job(resumed, Listener())
    assert again is not None and again.config["lr"] == 0.5
    with pytest.raises(ConfigError, match=r"lr: 0.5 -> 0.1"):
        do_job(replace(resumed, choices={"lr": 0.1}), Listener())


def test_resuming_what_is_not_there_starts_it(tmp_path: Path) -> None:
    run = do_job(replace(job(tmp_path), resume=True), Listener())
    assert run is not None and run.is_done


def test_an_unknown_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        do_job(job(tmp_path, epoch=3), Listener())


def test_a_job_that_fails_at_once_leaves_no_folder(tmp_path: Path) -> None:
    def broken(epoch: FinishedEpoch) -> None:
        raise RuntimeError("watch fell")

    listener = Listener()
    listener.epoch = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError, match="watch fell"):
        do_job(job(tmp_path), listener)
    assert not (tmp_path / "runs" / "wine").exists()


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    listener = Listener()

    def full(epoch: FinishedEpoch) -> None:
        raise OSError(28, "No space left on device")

    listener.epoch = full  # type: ignore[method-assign,assignment]
    with pytest.raises(CheckpointError, match=r"No space left on device.*start again"):
        do_job(job(tmp_path), listener)


def test_a_full_disk_is_told_what_to_do_once(tmp_path: Path) -> None:
    listener = Listener()

    def full(epoch: FinishedEpoch) -> None:
        with writing(tmp_path / "x"):
            raise OSError(28, "No space left on device")

    listener.epoch = full  # type: ignore[method-assign,assignment]
    with pytest.raises(CheckpointError, match=r"No space left on device") as found:
        do_job(job(tmp_path), listener)
    assert str(found.value).count("free some space") == 1


def files(path: Path) -> dict[str, bytes]:
    """Returns what lies in a folder."""
    return {
        str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()
    }


@pytest.fixture
def taken(done: tuple[Run, Listener], tmp_path: Path) -> Run:
    """A copy of a run that is done, with a file of the user's."""
    run = done[0]
    copy = tmp_path / "runs" / "wine"
    shutil.copytree(run.path, copy)
    (copy / "notes.txt").write_text("mine")
    return Run.open(copy)


def test_a_run_that_fails_leaves_the_one_that_it_was_to_replace(taken: Run, tmp_path: Path) -> None:
    before = files(taken.path)
    again = replace(job(tmp_path, lr=1e38), overwrite=True)
    with pytest.raises(NonFiniteError, match="wine is as it was"):
        do_job(again, Listener())
    assert files(taken.path) == before
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["wine"]


def test_a_run_replaces_another_with_its_first_state(taken: Run, tmp_path: Path) -> None:
    listener = Listener()
    seen: list[int] = []
    listener.epoch = lambda _: seen.append(Run.open(taken.path).config["seed"])  # type: ignore[method-assign]
    run = do_job(replace(job(tmp_path, seed=5), overwrite=True), listener)
    assert seen == [0, 5]  # of the old run while the first epoch ends, then of the new
    assert run is not None and run.path == taken.path and run.is_done
    assert Run.open(run.path).config["seed"] == 5
    assert {row.seed for row in run.records()} == {5}
    assert len(run.log_path.read_text().splitlines()) == 2
    assert (run.path / "notes.txt").read_text() == "mine"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["wine"]


def test_a_second_job_in_the_same_folder_is_refused(taken: Run, tmp_path: Path) -> None:
    before = files(taken.path)
    taken.done_path.unlink()

    def second() -> int:
        for options in ({"resume": True}, {"overwrite": True}):
            try:
                do_job(replace(job(tmp_path), **options), Listener())
            except BusyError:
                continue
            return 1
        return 0

    with taken.alone():
        child = os.fork()
        if child == 0:
            code = 2
            try:
                code = second()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    taken.done_path.write_bytes(before["DONE"])
    assert files(taken.path) == before


def test_going_on_with_a_done_run_writes_a_report_that_is_missing(
    taken: Run, tmp_path: Path
) -> None:
    before = files(taken.path)
    taken.report_path.unlink()
    assert do_job(replace(job(tmp_path), resume=True), Listener()) is not None
    assert files(taken.path).keys() == before.keys()


def test_stopped_at_any_point_of_the_end_nothing_is_recorded_twice(
    taken: Run, tmp_path: Path
) -> None:
    whole, log = taken.records_path.read_text(), taken.log_path.read_text()
    taken.done_path.unlink()  # killed between the last records and the marker
    assert do_job(replace(job(tmp_path), resume=True), Listener()) is not None
    assert taken.records_path.read_text() == whole
    assert taken.log_path.read_text() == log


def test_a_second_interrupt_leaves_the_run_that_was_to_be_replaced(
    taken: Run, tmp_path: Path
) -> None:
    before = files(taken.path)
    listener = Listener()

    def stop(step: int, steps: int) -> None:
        raise KeyboardInterrupt

    listener.advance = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt, match="wine is as it was"):
        do_job(replace(job(tmp_path), overwrite=True), listener)
    assert files(taken.path) == before


def test_a_group_that_loses_a_process_is_told_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure, "_in_group", lambda: True)
    listener = Listener()

    def broken(epoch: FinishedEpoch) -> None:
        if epoch.epoch == 2:
            raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")

    listener.epoch = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(NetdialError, match=r"a process of the group .* died.*--resume"):
        do_job(job(tmp_path), listener)
    assert (tmp_path / "runs" / "wine" / "checkpoint" / "last.safetensors").exists()


def test_names_of_runs() -> None:
    assert Job("wine").path == Path("runs/wine")
    assert Job("data/my.csv").run_name == "my"
    assert Job("pack.mod:make").run_name == "pack.mod-make"
    assert Job("wine", name="mine", runs_dir=Path("r")).path == Path("r/mine")


def test_only_the_first_process_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert process_rank() == 0
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert process_rank() == 1
    monkeypatch.setenv("RANK", "0")
    assert process_rank() == 0


def test_every_data_set_has_a_preset_that_is_valid() -> None:
    assert set(PRESETS) == set(names())
    for settings in PRESETS.values():
        fields = {k: v for k, v in settings.items() if k in FitConfig.model_fields}
        assert set(settings) - set(fields) <= {"model", "samples", "points"}
        FitConfig(**fields)


@pytest.mark.parametrize(
    ("choices", "batch_size", "epochs"),
    [({}, 32, 211), ({"batch_size": 8}, 8, 53), ({"epochs": 3}, 32, 3)],
)
def test_a_table_has_epochs_for_its_rows_and_batches(
    tmp_path: Path, choices: dict[str, int], batch_size: int, epochs: int
) -> None:
    """600 training rows are 19 batches of 32, 211 times for 4,000 steps; or 75 batches of 8, 53 times."""
    table = tmp_path / "my.csv"
    table.write_text("\n".join(["x,y", *(f"{i / 7},{'ab'[i % 2]}" for i in range(1000))]))
    config, problem = settle(Job(str(table), {"target": "y", **choices}), None)
    assert len(problem.task.train) == 600
    assert (config.batch_size, config.epochs) == (batch_size, epochs)
    assert default_model("my.csv") == "mlp:64-64"


def test_many_rows_are_drawn_for_less_often() -> None:
    assert default_samples(100) > default_samples(100_000) > 0


def test_what_names_a_function() -> None:
    assert is_function("pack.mod:make")
    assert not is_function("wine")
    assert not is_function("C:/data/my.csv")


@contextmanager
def user_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[str]:
    """Yields the name of a function that gives a small network and data."""
    (tmp_path / f"{name}.py").write_text(
        "import torch\nfrom torch import nn\n\ndef make():\n"
        "    x = torch.randn(30, 2)\n    part = (x, x.sum(1, keepdim=True))\n"
        "    return nn.Linear(2, 1), part, part, part\n"
    )
    monkeypatch.chdir(tmp_path)
    yield f"{name}:make"


def test_a_function_of_the_users_gives_the_same_data_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with user_function(tmp_path, monkeypatch, "job_user_a") as data:
        choices = {"epochs": 1, "points": 2, "samples": 0}
        run = do_job(Job(data, choices, runs_dir=tmp_path / "runs"), Listener())
        assert run is not None
        assert (run.config["model"], run.config["kind"], run.config["n_outputs"]) == (
            "Linear",
            "regression",
            1,
        )
        with pytest.raises(ConfigError, match=r"job_user_a:make.*--trust"):
            open_task(run)
        with pytest.raises(ConfigError, match=r"job_user_a:make.*--trust"):
            open_family(run)
        family, task = open_family(run, trust=True), open_task(run, trust=True)
        assert len(evaluate_run(run, family, "test", task, lams=[1.0]).members) == 1


_SEVERAL_INPUTS = """
import torch
from torch import nn

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, left, right):
        return self.a(left) + self.b(right)

def make():
    left, right = torch.randn(30, 3), torch.randn(30, 2)
    y = (left[:, 0] > 0).long()
    return Two(), ({"left": left, "right": right}, y), *[({"right": right, "left": left}, y)] * 2
"""


def test_a_function_of_the_users_may_give_several_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order each part names them."""
    (tmp_path / "job_user_c.py").write_text(_SEVERAL_INPUTS)
    monkeypatch.chdir(tmp_path)
    choices = {"epochs": 1, "points": 2, "samples": 0}
    run = do_job(Job("job_user_c:make", choices, runs_dir=tmp_path / "runs"), Listener())
    assert run is not None
    family, task = open_family(run, trust=True), open_task(run, trust=True)
    first, again = (
        evaluate_run(run, family, part, task, lams=[1.0]).members[0].metrics["nll"]
        for part in ("train", "test")
    )
    assert first == pytest.approx(again)


_OWN_LOSS = """
import torch
from torch import nn

class Labelled(nn.Linear):
    def forward(self, x, labels=None):
        logits = super().forward(x)
        if labels is None:
            return {"logits": logits}
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        return {"loss": loss, "logits": logits}

def part():
    x = torch.randn(30, 2)
    return x, nn.functional.one_hot((x[:, 0] > 0).long()).float()

def own():
    return Labelled(2, 2), part(), part(), part()

def plain():
    return nn.Linear(2, 2), part(), part(), part()
"""


@pytest.mark.parametrize(
    ("function", "said"),
    [("own", "a loss of its own"), ("plain", "one-hot rows.*--kind regression")],
)
def test_classes_written_as_numbers_are_no_regression_unless_it_is_said(
    function: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job_user_e.py").write_text(_OWN_LOSS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, DataError), match=said):
        settle(Job(f"job_user_e:{function}"), None)
    _, problem = settle(Job(f"job_user_e:{function}", {"kind": "regression"}), None)
    assert problem.task.kind == "regression"


def test_a_function_of_the_users_takes_no_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with user_function(tmp_path, monkeypatch, "job_user_b") as data:
        with pytest.raises(ConfigError, match="takes no valid and no model"):
            load_problem(data, options={"valid": 0.1}, model="linear")
        with pytest.raises(ConfigError, match="did you mean 'regression'"):
            load_problem(data, options={"kind": "regresion"})


def recorder(tmp_path: Path, **config: Any) -> tuple[Recorder, Run]:
    """Returns a recorder and its run."""
    settings = {
        "lo": 1e-2,
        "hi": 1e2,
        "groups": 2,
        "epochs": 1,
        "seed": 3,
        "map": "linear",
        "lams": [],
        **config,
    }
    run = Run.create(tmp_path, "run", settings)
    return Recorder(run, settings, Listener(), step=0, write=True), run


def epoch(unit: list[float], valid: float | None = None) -> Epoch:
    """Returns an epoch whose fit is ten times the unit coordinate and whose complexity is 1."""
    u = torch.tensor(unit, dtype=torch.float64)
    measured = {"unit": u, "fit": 10 * u, "complexity": torch.ones_like(u)}
    return Epoch(1, 7, measured, valid, 0.1, 2.0, 21)


def test_means_over_strata(tmp_path: Path) -> None:
    record, run = recorder(tmp_path)
    record(epoch([0.1, 0.3, 0.6, 1.0], valid=4.5))
    found = {(r.column, r.lam): r.value for r in run.records()}
    assert found["train/fit", None] == pytest.approx(5.0)
    assert found["train/fit", 0.1] == pytest.approx(2.0)
    assert found["train/fit", 10.0] == pytest.approx(8.0)
    assert found["train/loss", 10.0] == pytest.approx(9.0)
    assert found["valid/objective", None] == 4.5
    assert found["train/epoch_seconds", None] == 2.0
    assert found["train/n_updates", None] == 21
    assert record.step == 7


def test_means_over_the_rows_of_a_table(tmp_path: Path) -> None:
    record, run = recorder(tmp_path, map="table", lams=[0.01, 1.0, 100.0])
    record(epoch([0.0, 0.5, 1.0, 0.0, 0.5, 1.0]))
    found = {r.lam: r.value for r in run.records() if r.column == "train/fit"}
    assert found == pytest.approx({None: 5.0, 0.01: 0.0, 1.0: 5.0, 100.0: 10.0})


def test_a_process_that_helps_writes_nothing(tmp_path: Path) -> None:
    record, run = recorder(tmp_path)
    record._write = False
    record(epoch([0.5]))
    assert record.step == 7
    assert run.records() == []


def test_values_that_do_not_exist_are_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "run", {"seed": 0})
    point = PathMember(1.0, {"accuracy": 0.5}, n_params=4)
    rows = member_records(run, 9, {"valid": LambdaPath((point,)), "test": LambdaPath((point,))})
    assert [(r.column, r.value) for r in rows] == [
        ("valid/accuracy", 0.5),
        ("n_params", 4),
        ("test/accuracy", 0.5),
    ]


def test_changed_data_are_noticed(done: tuple[Run, Listener], tmp_path: Path) -> None:
    run, _ = done
    other = Run(run.path, {**run.config, "n_train": 105})
    with pytest.raises((ConfigError, DataError), match="n_train: 105 -> 106"):
        open_task(other)


def test_splits_are_stored(done: tuple[Run, Listener]) -> None:
    run, _ = done
    stored = json.loads(run.splits_path.read_text())
    assert {part: len(rows) for part, rows in stored["parts"].items()} == {
        "train": 106,
        "valid": 36,
        "test": 36,
    }
    assert stored["source"]["origin"] == "scikit-learn load_wine"


def test_earlier_runs_that_do_not_hold_their_metrics_are_opened(
    done: tuple[Run, Listener],
) -> None:
    run, _ = done
    assert (run.config["metric"], run.config["proper"]) == ("accuracy", "nll")
    facts = {k: v for k, v in run.config.items() if k not in ("metric", "proper")}
    request.refuse_difference(Run(run.path, facts), run.config)
    with pytest.raises(ConfigError, match="n_outputs"):
        request.refuse_difference(Run(run.path, {**facts, "n_outputs": 7}), run.config)


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    """A training table that changes is noticed, though that of validation is called the same."""
    for name, count in (("train", 30), ("held", 10)):
        (tmp_path / name).mkdir()
        rows = "".join(f"{i},{i * i % 7}.5\n" for i in range(count))
        (tmp_path / name / "data.csv").write_text(f"a,y\n{rows}")
    options = {"target": "y", "valid": str(tmp_path / "held" / "data.csv")}
    table = str(tmp_path / "train" / "data.csv")
    files = load_problem(table, options=options).facts()["files"]
    assert list(files) == ["data.csv", "data.csv (2)"]
    assert len(set(files.values())) == 2

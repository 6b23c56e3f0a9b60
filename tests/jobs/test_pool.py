"""Cells are made once, whole or not at all, and work that was stopped goes on."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from netdial.core.errors import ConfigError, DataError
from netdial.jobs.pool import Made, make_all
from netdial.jobs.reports import list_runs
from netdial.papers.lab import training as training_module
from netdial.papers.lab.fronts import cpu_seconds_of
from netdial.papers.lab.training import Training
from netdial.runs import store as store_module
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store, key
from netdial.train.config import make_config
from netdial.train.fit import run as train
from netdial.train.loop import Epoch

FAILURES = {"interrupt": KeyboardInterrupt, "defect": RuntimeError, "user": ConfigError}


@dataclasses.dataclass(frozen=True)
class Square(Cell):
    """Writes the square of a number, or of the square of another cell; may fail."""

    number: int
    of: Square | None = None
    fails: str = ""
    words: str = dataclasses.field(default="", compare=False)

    @property
    def label(self) -> str:
        return f"Square of {self.number}"

    @property
    def needs(self) -> tuple[Square, ...]:
        return (self.of,) if self.of else ()

    def make(self, run: Run, store: Store) -> int:
        base = self.of.read(store) if self.of else self.number
        if self.fails:
            (run.path / "half.txt").touch()
            raise FAILURES[self.fails]("it went wrong")
        return base**2

    def read(self, store: Store) -> int:
        return store.read(self)


@dataclasses.dataclass(frozen=True)
class Idle(Square):
    """Waits a tenth of a second before it writes its square."""

    def make(self, run: Run, store: Store) -> int:
        time.sleep(0.1)
        return super().make(run, store)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "here")


def inode(store: Store, cell: Square) -> int:
    return (store.path(cell) / "found.json").stat().st_ino


def test_cells_are_made_once(store: Store) -> None:
    told: list[Made] = []
    cells = [Square(2), Square(3), Square(2)]
    assert make_all(cells, store, workers=1, report=told.append) == 2
    assert [(made.label, made.done, made.total) for made in told] == [
        ("Square of 2", 1, 2),
        ("Square of 3", 2, 2),
    ]
    before = [inode(store, cell) for cell in cells]
    assert make_all(cells, store, workers=1, report=told.append) == 0
    assert [inode(store, cell) for cell in cells] == before
    assert len(told) == 2
    assert [cell.read(store) for cell in cells] == [4, 9, 4]
    assert store.seconds(cells[0]) >= 0


def test_processor_time_leaves_out_what_a_cell_waited_for(store: Store) -> None:
    cell = Idle(2)
    make_all([cell], store, workers=1)
    assert cpu_seconds_of(store.path(cell)) <= store.seconds(cell) - 0.09
    done = store.path(cell) / "DONE"
    older = {k: v for k, v in json.loads(done.read_text()).items() if k != "cpu_seconds"}
    done.write_text(json.dumps(older))
    assert cpu_seconds_of(store.path(cell)) == store.seconds(cell)


def test_what_a_cell_needs_is_made_before_it(store: Store) -> None:
    cell = Square(0, of=Square(1, of=Square(3)))
    assert make_all([cell], store, workers=1) == 3
    assert cell.read(store) == 3**8


def test_key_depends_on_settings_kind_and_engine_and_on_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = key(Square(2))
    assert first == key(Square(2, words="other words"))
    assert len({first, key(Square(3)), key(Square(2, of=Square(1)))}) == 3
    config = make_config(epochs=1)
    trainings = [
        Training("wine", "linear", c) for c in (config, config.model_copy(update={"lr": 1e-4}))
    ]
    assert key(trainings[0]) != key(trainings[1])
    monkeypatch.setattr(store_module, "ENGINE", "of another version")
    assert key(Square(2)) != first


@pytest.mark.slow
def test_key_is_the_same_in_every_process() -> None:
    line = (
        "from netdial.train.config import make_config; from netdial.runs.store import key;"
        "from netdial.papers.lab.training import Training;"
        "print(key(Training('wine', 'linear', make_config(lams=(1.0, 2.0), map='table'))))"
    )
    mine = key(Training("wine", "linear", make_config(lams=(1.0, 2.0), map="table")))
    done = subprocess.run(
        [sys.executable, "-c", line],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == mine


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest"])
def test_a_damaged_cell_is_made_again(store: Store, damage: str) -> None:
    cell = Square(12)
    make_all([cell], store, workers=1)
    if damage == "cut":
        (store.path(cell) / "found.json").write_text("14")
    elif damage == "gone":
        (store.path(cell) / "found.json").unlink()
    else:
        (store.path(cell) / "DONE").write_text("{")
    assert not store.is_made(cell)
    assert make_all([cell], store, workers=1) == 1
    assert cell.read(store) == 144


@pytest.mark.parametrize("stopped_by", ["interrupt", "defect"])
def test_a_cell_that_is_stopped_leaves_nothing_and_the_others_stay(
    store: Store, stopped_by: str
) -> None:
    with pytest.raises(FAILURES[stopped_by]):
        make_all([Square(2), Square(3, fails=stopped_by)], store, workers=1)
    assert store.is_made(Square(2))
    assert [path.name for path in (store.folder / "cells").iterdir()] == [
        store.path(Square(2)).name
    ]


def test_an_error_says_which_cell_it_was(store: Store) -> None:
    with pytest.raises(ConfigError, match="Square of 3: it went wrong"):
        make_all([Square(3, fails="user")], store, workers=1)


def test_what_a_killed_process_left_is_swept_up(store: Store) -> None:
    cell = Square(3)
    make_all([cell], store, workers=1)
    (store.path(cell) / "DONE").unlink()
    left = store.folder / "cells" / ".half-made-cell.new"
    left.mkdir()
    (left / "found.json").touch()
    make_all([Square(2)], store, workers=1)
    assert [path.name for path in (store.folder / "cells").iterdir()] == [
        store.path(Square(2)).name
    ]


def test_the_lock_of_who_works_on_a_cell_stays(store: Store) -> None:
    cell = Square(2)
    make_all([cell], store, workers=1)
    with Run.open(store.path(cell)).alone():
        make_all([Square(3)], store, workers=1)
        assert len(list((store.folder / "cells").glob(".*.lock"))) == 1


def test_two_at_once_in_one_folder_are_refused(store: Store) -> None:
    def second(made: Made) -> None:
        with pytest.raises(ConfigError, match="is in use by process"):
            make_all([Square(3)], store, workers=1)

    assert make_all([Square(2)], store, workers=1, report=second) == 1
    assert make_all([Square(3)], store, workers=1) == 1


def test_a_cell_is_a_run_folder(store: Store) -> None:
    training = small(0)
    make_all([training, Square(2)], store, workers=1)
    run = Run.open(store.path(training))
    assert run.is_done
    assert (run.config["way"], run.config["data"], run.config["epochs"]) == ("fit", "wine", 1)
    files = json.loads(run.done_path.read_text())["files"]
    assert {"config.json", "env.json", "model/family.safetensors"} <= files.keys()
    square = Run.open(store.path(Square(2))).config
    assert square["way"] == "Square" and square["cell"]["number"] == 2
    rows = {row.name: row for row in list_runs(store.folder / "cells")}
    assert rows[run.name].status == "done" and rows[run.name].model == "linear"
    assert rows[store.path(Square(2)).name].status == "done"


def test_a_training_that_is_stopped_goes_on_from_its_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, other = small(0, epochs=6), Store(store.folder.with_name("there"))

    def stop(epoch: Epoch) -> None:
        if epoch.number == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training_module, "train", functools.partial(train, report=stop))
    with pytest.raises(KeyboardInterrupt):
        make_all([cell], store, workers=1)
    assert list(store.path(cell).glob("checkpoint/*")) and not store.is_made(cell)
    seen: list[int] = []
    monkeypatch.setattr(
        training_module, "train", functools.partial(train, report=lambda e: seen.append(e.number))
    )
    assert make_all([cell], store, workers=1) == 1
    assert seen == [4, 5, 6]
    make_all([cell], other, workers=1)
    first, second = (cell.family(place).state_dict() for place in (store, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_threads_are_as_they_were(store: Store) -> None:
    torch.set_num_threads(2)
    try:
        make_all([Square(5)], store, workers=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_missing_data_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    store = Store(tmp_path, data_dir=str(tmp_path))
    cell = Training("mnist", "mlp:5", make_config(epochs=1))
    with pytest.raises(DataError, match="mnist"):
        make_all([cell], store, workers=1)


def small(seed: int, epochs: int = 1) -> Training:
    return Training("wine", "linear", make_config(epochs=epochs, batch_size=64, seed=seed))


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    cells = [small(seed) for seed in range(3)]
    assert make_all(cells, here, workers=2) == make_all(cells, there, workers=1) == 3
    for cell in cells:
        first, second = (cell.family(store).state_dict() for store in (here, there))
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [False, True])
def test_a_script_is_run_by_workers_where_it_tells_that_from_a_run_of_its_own(
    tmp_path: Path, guarded: bool
) -> None:
    """A plain script would call for its workers again in each of them; with a guard, what it registers is there."""
    call = "make_all([small(e) for e in (1, 2)], Store(folder), workers=2)"
    script = tmp_path / "script.py"
    script.write_text(
        "import os; from pathlib import Path; from netdial.train.config import make_config;"
        "from netdial.jobs.pool import make_all; from netdial.runs.store import Store;"
        "from netdial.papers.lab.training import Training\n"
        "folder = Path(__file__).parent; (folder / f'run by {os.getpid()}').touch()\n"
        "def small(epochs): return Training('wine', 'linear', make_config(epochs=epochs))\n"
        + (f"if __name__ == '__main__':\n    {call}\n" if guarded else f"{call}\nassert __file__\n")
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=300)
    assert len(list(tmp_path.glob("cells/wine*/DONE"))) == 2
    assert len(list(tmp_path.glob("run by *"))) == (3 if guarded else 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed_in_the_middle_with_processes_of_its_own(
    tmp_path: Path, number: signal.Signals
) -> None:
    line = (
        "from pathlib import Path; from netdial.train.config import make_config;"
        "from netdial.jobs.pool import make_all; from netdial.runs.store import Store;"
        "from netdial.papers.lab.training import Training\n"
        "if __name__ == '__main__':\n"
        "    cells = [Training('wine', 'linear', make_config(epochs=e, batch_size=16)) for e in (1, 90_000, 90_001)]\n"
        f"    make_all(cells, Store(Path({str(tmp_path)!r})), workers=2)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(line)
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL) as process:
        children: list[int] = []
        try:
            assert waited(lambda: len(list(tmp_path.glob("cells/wine*/DONE"))) == 1)
            assert waited(lambda: len(list(tmp_path.glob("cells/wine*/config.json"))) == 3)
            children = children_of(process.pid)
            assert len(children) >= 2
            process.send_signal(number)
            process.wait(timeout=120)
            assert waited(lambda: not any(map(is_running, children)))
        finally:  # nothing goes on where a check fails
            process.kill()
            for child in filter(is_running, children):
                os.kill(child, signal.SIGKILL)
    assert len(list(tmp_path.glob("cells/wine*/DONE"))) == 1
    store = Store(tmp_path)
    make_all([Square(1)], store, workers=1)
    unfinished = [path for path in tmp_path.glob("cells/*") if not (path / "DONE").exists()]
    assert all(list(path.glob("checkpoint/*")) for path in unfinished)  # to go on from
    assert len(list(tmp_path.glob("cells/*"))) == 2 + len(unfinished)


def waited(what) -> bool:
    end = time.monotonic() + 120
    while not (found := what()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(found)


def children_of(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False

"""Run folders appear whole, one takes another's place without a loss, and what a killed process left is put right."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netdial.core.errors import BusyError, CheckpointError, ConfigError, WriteError
from netdial.core.records import Record
from netdial.core.storage import files
from netdial.jobs.reports import list_runs
from netdial.runs import folder
from netdial.runs.folder import discard, foreign, hold, is_half_made, is_own
from netdial.runs.run import Run
from netdial.runs.shrinkage import KILLS

from ..early import early

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
"""Children here do little before they end."""


def record(step: int, value: float = 1.0, method: str = "train") -> Record:
    return early("wine", method, None, 0, step, "train/loss", value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(root: Path) -> Run:
    """A run that is done, with two files of the user's."""
    run = Run.create(root, "wine", {"data": "wine"})
    for inner in ("checkpoint/last.safetensors", "model/family.safetensors", "log.txt"):
        (run.path / inner).parent.mkdir(exist_ok=True)
        (run.path / inner).write_text("old")
    run.record([record(1)])
    run.finish()
    (run.path / "notes.txt").write_text("mine")
    (run.path / "model" / "plot.png").write_text("mine, too")
    return run


def hidden(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name.startswith("."))


def killed(action: Callable[[], object], at: int) -> bool:
    """Does something in a child that is killed at its ``at``-th change of a name; returns whether it came that far."""
    child = os.fork()
    if child == 0:
        left = [at]

        def counted(change: Callable[..., object]) -> Callable[..., object]:
            def one(*args: object, **options: object) -> object:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*args, **options)

            return one

        for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        for name in ("mkdir", "rename", "unlink", "rmdir"):
            setattr(Path, name, counted(getattr(Path, name)))
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def test_a_run_that_replaces_another_leaves_it_until_it_is_put_in_place(run: Run) -> None:
    root = run.path.parent
    with hold(run.path):
        new = Run.create(root, "wine", {"data": "digits"}, overwrite=True)
        new.record([record(7)])
        assert new.name == "wine"
        assert Run.open(run.path).config["data"] == "wine" and run.is_done
        new.put_in_place()
        new.record([record(8)])
    assert new.path == run.path and Run.open(run.path) == new
    assert new.records() == [record(7), record(8)] and not new.is_done
    assert foreign(run.path) == ["model/plot.png", "notes.txt"]
    assert (run.path / "notes.txt").read_text() == "mine"
    assert not (run.path / "model" / "family.safetensors").exists()
    assert hidden(root) == []


def test_a_run_that_fails_before_it_is_put_in_place_changes_nothing(run: Run) -> None:
    root = run.path.parent
    before = sorted(run.path.rglob("*"))
    with hold(run.path):
        Run.create(root, "wine", {"data": "digits"}, overwrite=True).discard()
    assert sorted(run.path.rglob("*")) == before
    assert hidden(root) == []


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 40, 2))
def test_killed_anywhere_while_replacing_one_run_is_there_whole(run: Run, at: int) -> None:
    root = run.path.parent

    def replace() -> None:
        with hold(run.path):
            new = Run.create(root, "wine", {"data": "digits"}, overwrite=True)
            new.record([record(7)])
            new.put_in_place()

    came = killed(replace, at)
    assert [row.status for row in list_runs(root)] in (["done"], ["unfinished"])
    opened = Run.open(root / "wine")
    with hold(opened.path):
        pass
    opened = Run.open(root / "wine")
    if opened.config["data"] == "wine":
        assert came and opened.is_done and opened.records() == [record(1)]
    else:
        assert opened.records() == [record(7)] and not opened.is_done
    assert (opened.path / "notes.txt").read_text() == "mine"
    assert (opened.path / "model" / "plot.png").read_text() == "mine, too"
    assert hidden(root) == []


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 16))
def test_killed_anywhere_while_it_is_made_there_is_a_run_or_none(root: Path, at: int) -> None:
    def make() -> None:
        Run.create(root, "wine", {"a": 1}, fill=lambda run: (run.path / "splits.json").touch())

    killed(make, at)
    if (root / "wine").exists():
        assert Run.open(root / "wine").config == {"a": 1, "name": "wine"}
        assert (root / "wine" / "splits.json").exists()
    else:
        Run.create(root, "wine", {"a": 2})
    assert hidden(root) == [] or not (root / "wine" / ".lock").exists()
    with hold(root / "wine"):
        pass
    assert hidden(root) == []


def test_half_made_folders_of_earlier_versions_are_no_runs(root: Path) -> None:
    half = root / "wine"
    half.mkdir(parents=True)
    (half / "records.jsonl").touch()
    (half / ".config.json.77.tmp").write_text("{")
    assert is_half_made(half)
    assert Run.create(root, "wine", {"a": 1}).path == half
    assert Run.open(half).config["a"] == 1
    assert not list(half.glob(".*"))
    (half / "DONE").touch()
    (half / "config.json").unlink()
    assert not is_half_made(
        half
    )  # a run that lost its settings, whose model nobody asked to replace
    with pytest.raises(ConfigError, match="exists already"):
        Run.create(root, "wine", {})
    (root / "mine").mkdir()
    (root / "mine" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="exists already"):
        Run.create(root, "mine", {})


def test_two_at_once(run: Run) -> None:
    def second() -> int:
        try:
            for change in (
                lambda: Run.create(run.path.parent, "wine", {}, overwrite=True),
                lambda: run.record([record(2)]),
                lambda: run.replace([record(2)]),
                lambda: run.truncate(0),
                run.finish,
                run.discard,
            ):
                with pytest.raises(BusyError):
                    change()
        except BaseException:
            return 1
        return 0

    with hold(run.path):
        child = os.fork()
        if child == 0:
            os._exit(second())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run.records() == [record(1)] and run.is_done


@pytest.mark.parametrize(
    "name", ["records.jsonl", "checkpoint", "checkpoint/last.safetensors", "DONE", "config.json"]
)
def test_symbolic_links_in_a_run_are_refused(run: Run, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (run.path / name).rename(elsewhere)
    (run.path / name).symlink_to(elsewhere)
    before = elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir())
    for use in (
        lambda: Run.open(run.path),
        lambda: run.record([record(2)]),
        lambda: Run.create(run.path.parent, "wine", {}, overwrite=True),
    ):
        with pytest.raises(CheckpointError, match=rf"{name}: is a symbolic link"):
            use()
    assert before == (
        elsewhere.read_bytes() if elsewhere.is_file() else sorted(elsewhere.iterdir())
    )


def test_a_run_folder_that_is_a_symbolic_link_is_refused(run: Run) -> None:
    link = run.path.parent / "latest"
    link.symlink_to(run.path)
    with pytest.raises(CheckpointError, match="latest: is a symbolic link"):
        Run.open(link)
    with pytest.raises(CheckpointError, match="latest: is a symbolic link"):
        Run.create(run.path.parent, "latest", {}, overwrite=True)
    (run.path.parent / "dangling").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        Run.create(run.path.parent, "dangling", {})


def test_links_of_the_users_are_carried_over_as_links(run: Run, tmp_path: Path) -> None:
    (run.path / "data").symlink_to(tmp_path)
    with hold(run.path):
        Run.create(run.path.parent, "wine", {}, overwrite=True).put_in_place()
    assert (run.path / "data").is_symlink() and tmp_path.exists()


def test_what_killed_processes_left_goes_when_somebody_works_there(run: Run) -> None:
    for name in (".config.json.9.tmp", "checkpoint/.last.safetensors.0a-9.tmp", ".choice.9.tmp/x"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).touch()
    (run.path / ".mine").touch()
    with run.alone():
        pass
    assert foreign(run.path) == [".mine", "model/plot.png", "notes.txt"]
    assert not list(run.path.rglob(".*.tmp"))


def test_a_choice_that_was_being_replaced_comes_back(run: Run) -> None:
    (run.path / ".choice.9.old").mkdir()
    (run.path / ".choice.9.old" / "README.md").touch()
    with run.alone():
        pass
    assert (run.path / "choice" / "README.md").exists()


def test_a_folder_that_was_made_for_the_lock_alone_goes(root: Path) -> None:
    with hold(root / "a" / "wine"):
        assert (root / "a" / ".wine.lock").exists()
    assert not (root / "a").exists()


@settings(max_examples=40)
@given(
    parts=st.lists(
        st.sampled_from(
            [
                "checkpoint",
                "model",
                "structure",
                "notes",
                "last.safetensors",
                "found.svg",
                "config.json",
                "x",
            ]
        ),
        min_size=1,
        max_size=3,
    )
)
def test_only_the_files_that_netdial_writes_are_its_own(parts: list[str]) -> None:
    known = {Path(name) for name in folder.FILES}
    known |= {Path(place, name) for place, names in folder.FOLDERS.items() for name in names}
    assert is_own(Path(*parts)) == (Path(*parts) in known)


def test_discarding_leaves_what_is_not_ours(run: Run) -> None:
    discard(run.path)
    left = sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*"))
    assert left == ["model", "model/plot.png", "notes.txt"]


def test_going_back_cuts_log_and_collections_too(run: Run) -> None:
    run.truncate(-1)
    run.log_path.unlink()
    for step in (4, 8, 12):
        run.record([record(step)])
        run.append(run.log_path, [f"epoch {step // 4}"])
        run.append(run.kills_path, [json.dumps({"step": step}), json.dumps({"step": step - 1})])
    run.record([record(12, method="evaluate")])
    run.truncate(8)
    assert [(row.step, row.method) for row in run.records()] == [(4, "train"), (8, "train")]
    assert run.log_path.read_text() == "epoch 1\nepoch 2\n"
    assert [json.loads(line)["step"] for line in (run.path / KILLS).read_text().splitlines()] == [
        *(4, 3, 8, 7)
    ]
    run.truncate(-1)
    assert run.records() == [] and run.log_path.read_text() == run.kills_path.read_text() == ""


def test_a_measurement_that_is_repeated_stands_once(run: Run) -> None:
    run.replace([record(3, 1.0, "prune"), record(3, 2.0, "evidence")])
    run.replace([record(3, 4.0, "prune")])
    assert run.records_path.read_text().count("\n") == 3
    assert [row.value for row in run.records()] == [1.0, 4.0, 2.0]


def test_lines_that_do_not_fit_on_the_disk_leave_the_file_as_it_was(
    run: Run, no_file_above: Callable[[int], AbstractContextManager[None]]
) -> None:
    before = run.records_path.read_bytes()
    full = pytest.raises(CheckpointError, match=r"records.jsonl: could not be written.*intact")
    with no_file_above(len(before) + 50), full:
        run.record(record(step) for step in range(2, 9))
    assert run.records_path.read_bytes() == before


def test_a_disk_that_refuses_the_lock_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CheckpointError, match=r"Read-only file system.*choose another"):
        run.record([record(2)])


def test_half_written_files_of_processes_that_are_gone_go_with_the_next_write(
    tmp_path: Path,
) -> None:
    gone, machine = 2**22 + 1, files._machine()
    mine = tmp_path / f".a.json.{machine}-{gone}.tmp"
    kept = [
        tmp_path / f".a.json.{machine}-{os.getppid()}.tmp",  # at work
        tmp_path / f".a.json.00000000-{gone}.tmp",  # on another machine, perhaps at work
        tmp_path / f".b.json.{machine}-{gone}.tmp",
    ]
    for path in (mine, *kept):
        path.touch()
    files.write_text(tmp_path / "a.json", "{}")
    assert not mine.exists() and all(path.exists() for path in kept)


@pytest.mark.parametrize("name", ["..", ".. ", "a\x07b", "\u202eevil", "a\ud800", "a\tb"])
def test_names_that_deceive_are_refused(root: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"run name .*--name"):
        folder.check_name(name)


def test_a_copy_of_a_run_is_a_run(run: Run, root: Path) -> None:
    with run.alone():
        shutil.copytree(run.path, root / "copy")
    Run.open(root / "copy").record([record(5)])
    assert [row.name for row in list_runs(root)] == ["copy", "wine"]


def test_a_run_that_is_not_ours_to_write_to_says_how_to_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(WriteError, match=r"keeps what it finds in the run.*cp -r"):
        run.record([record(2)])
    assert run.records() == [record(1)]

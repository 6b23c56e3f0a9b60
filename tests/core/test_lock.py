"""A lock is one process's, says whose it is, and is taken over only from a process that is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from netdial.core.errors import BusyError, ConfigError, WriteError
from netdial.core.storage import lock as lock_module
from netdial.core.storage.lock import Holder, holding, start_of

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
"""Children here do little before they end."""
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
HOLD = """
import sys, time
from pathlib import Path
from netdial.core.storage.lock import holding
with holding(Path(sys.argv[1]), "the run"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".wine.lock"


def other(path: Path) -> subprocess.Popen[str]:
    """Returns another process, which holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_it_says_who_holds_it_and_goes_with_the_block(path: Path) -> None:
    with holding(path, "it") as first:
        assert first
        said = json.loads(path.read_text())
        assert (said["pid"], said["host"]) == (os.getpid(), socket.gethostname())
        assert said["started"] == start_of(os.getpid())
        assert said["since"].endswith("+00:00")
    assert not path.exists()


def test_it_is_let_go_when_the_block_fails(path: Path) -> None:
    with pytest.raises(RuntimeError), holding(path, "it"):
        raise RuntimeError
    assert not path.exists()


def test_the_thread_that_holds_it_may_ask_again_if_that_is_meant(path: Path) -> None:
    with holding(path, "it"), holding(path, "it", nested=True) as first:
        assert not first
        with pytest.raises(BusyError, match=str(os.getpid())), holding(path, "it"):
            pass
    assert not path.exists()


def test_another_thread_is_refused(path: Path) -> None:
    said: list[str] = []

    def try_it() -> None:
        try:
            with holding(path, "it", nested=True):
                said.append("held")
        except BusyError as error:
            said.append(str(error))

    with holding(path, "it"):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert len(said) == 1 and f"process {os.getpid()}" in said[0]


def test_another_process_is_refused_until_it_ends_however_it_ends(path: Path) -> None:
    process = other(path)
    with (
        pytest.raises(ConfigError, match=rf"run x: is in use by process {process.pid} on this"),
        holding(path, "run x"),
    ):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.exists()
    with holding(path, "it"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_forked_child_does_not_let_go_of_its_parents_lock(path: Path) -> None:
    with holding(path, "it"):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with holding(path, "it", nested=True):
                    pass
            except BusyError:
                code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert path.exists()


def left(path: Path, **changes: object) -> None:
    """Leaves a lock file as a process that was killed would, with changes to who it names."""
    path.write_text(json.dumps(asdict(replace(Holder.me(), **changes))))  # type: ignore[arg-type]


@linux
@pytest.mark.parametrize(
    "changes",
    [
        {"pid": 2**22 + 1},
        {"started": "1"},  # the number was given to another process since
        {"boot": "another", "pid": 1},  # the machine was started again
        {"space": "pid:[1]", "pid": 1},  # a container that is gone: the kernel let go of the lock
    ],
)
def test_a_lock_of_a_process_that_is_gone_is_taken_over(
    path: Path, changes: dict[str, object]
) -> None:
    left(path, **changes)
    with holding(path, "it"):
        assert json.loads(path.read_text())["started"] == start_of(os.getpid())
    assert not path.exists()


@linux
@pytest.mark.parametrize("changes", [{}, {"host": "elsewhere", "boot": "another"}])
def test_a_lock_of_a_process_that_may_live_is_not(path: Path, changes: dict[str, object]) -> None:
    left(path, **changes)
    before = path.read_bytes()
    with pytest.raises(BusyError, match=r"in use by process \d+ on"), holding(path, "it"):
        pass
    assert path.read_bytes() == before


def test_a_machine_elsewhere_can_only_be_asked_about(path: Path) -> None:
    left(path, host="elsewhere", boot="another", pid=7)
    with (
        pytest.raises(BusyError, match=rf"process 7 on elsewhere.*delete {path}"),
        holding(path, "it"),
    ):
        pass


@linux
def test_without_flock_the_file_and_the_process_decide(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "_flock", lambda file: None)
    with holding(path, "it"), pytest.raises(BusyError), holding(path, "it"):
        pass
    path.write_text("")  # made, but who made it is not written yet
    with pytest.raises(BusyError, match="another process"), holding(path, "it"):
        pass
    left(path, pid=2**22 + 1)
    with holding(path, "it"):
        pass
    assert not path.exists()


def test_a_damaged_lock_that_nobody_holds_is_taken_over(path: Path) -> None:
    path.write_text('{"pid": "me"')
    with holding(path, "it"):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lock_that_was_removed_by_hand_and_taken_again_is_left_to_its_new_holder(
    path: Path,
) -> None:
    with holding(path, "it"):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WriteError), holding(tmp_path / "nowhere" / ".lock", "it"):
        pass


@linux
def test_when_a_process_started() -> None:
    assert start_of(os.getpid()) == start_of(os.getpid()) != ""
    assert start_of(2**22 + 1) is None
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert start_of(child) is None  # it has ended, though nobody has asked after it yet
    os.waitpid(child, 0)

"""Kills: commands are killed at any moment and go on; dead ends and results that differ from an undisturbed run, of 50.

A process does every command once, which imports all there is, and forks a child for each command after that. The child is
killed either at a random time or at a chosen change of the disk (a folder made, a file flushed, renamed or removed; half of
the file is lost when it dies in the middle of one), by SIGKILL, SIGINT (also twice) or SIGTERM. Then the command is given
again, with ``--resume`` where there is such a thing. A dead end is a second command that fails; a result is unequal if a
tensor, a record (times aside), a line of the log or a choice of channels differs in one bit from that of the command that
nobody disturbed. Temporary files that stay are counted, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.result import Result

_FIT = "fit wine --model mlp:6 --epochs 5 --points 3 --samples 2 -q"
_SHRINK = "shrink wine --model mlp:12 --epochs 5 -q"
_TIMED = ("seconds", "ms_", "latency")
_NEVER = ("env.json", "report.html", "DONE", "outcome.html", "index.html")
_LIMIT_S = 300


@dataclass(frozen=True)
class Scene:
    """A command that is to survive.

    Attributes:
        name: what it is.
        command: its words.
        again: words that go on with it.
        before: a command that is done first, undisturbed.
        dear: whether it takes so long that it comes only once in 25 turns.
    """

    name: str
    command: str
    again: str
    before: str = ""
    dear: bool = False


SCENES = (
    Scene("fit", _FIT, f"{_FIT} --resume"),
    Scene("shrink", _SHRINK, f"{_SHRINK} --resume"),
    Scene("fit --overwrite", f"{_FIT} --seed 1 --overwrite", "", _FIT),
    Scene(
        "slim",
        "slim wine --lam 1 --epochs 1 --out small.safetensors",
        "slim wine --lam 1 --epochs 1 --out small.safetensors",
        _FIT,
    ),
    Scene(
        "finetune",
        "finetune wine --lam 1 --share 0.5 --rounds 1 --out tuned.safetensors",
        "finetune wine --lam 1 --share 0.5 --rounds 1 --out tuned.safetensors",
        _FIT,
    ),
    Scene(
        "reproduce",
        "reproduce wine-fig3 --quick --workers 1 -q --out out",
        "reproduce wine-fig3 --quick --workers 1 -q --out out",
        dear=True,
    ),
)


@dataclass(frozen=True)
class Kill:
    """How a command is killed.

    Attributes:
        number: signal.
        at: number of the change of the disk at which it dies; 0 for a time.
        part: or the part of its usual time.
        twice: whether the signal comes twice.
    """

    number: signal.Signals
    at: int = 0
    part: float = 0.0
    twice: bool = False

    def __str__(self) -> str:
        when = f"change {self.at}" if self.at else f"{self.part:.0%} of the time"
        return f"{self.number.name}{' twice' if self.twice else ''} at {when}"


@dataclass(frozen=True)
class Fate:
    """What became of a killed command.

    Attributes:
        died: whether it was stopped at all; it may have been done before.
        dead_end: what the second command said if it failed.
        unequal: first thing that differs from the undisturbed result.
        left: temporary files that stayed.
    """

    died: bool
    dead_end: str = ""
    unequal: str = ""
    left: tuple[str, ...] = ()


def measure(*, quick: bool = False) -> Result:
    """Returns how many of the kills ended in a dead end, an unequal result, or left temporary files."""
    total, fates, rows = (10 if quick else 50), [], []
    scenes = [scene for scene in SCENES if not (quick and scene.dear)]
    for scene, kill, fate in kills(scenes, total, seed=0):
        fates.append(fate)
        said = fate.dead_end or fate.unequal or ", ".join(fate.left)
        rows.append({"command": scene.name, "kill": str(kill), "died": fate.died, "fault": said})
    return Result(
        "kills",
        {
            "dead ends": float(sum(bool(fate.dead_end) for fate in fates)),
            "unequal results": float(sum(bool(fate.unequal) for fate in fates)),
            "temporary files left": float(sum(len(fate.left) for fate in fates)),
        },
        f"of {total} kills, {sum(fate.died for fate in fates)} of which met a running command",
        "lower",
        seeds=(0,),
        quick=quick,
        baseline="the same commands, undisturbed",
        rows=rows,
    )


def kills(scenes: Sequence[Scene], total: int, *, seed: int) -> Iterator[tuple[Scene, Kill, Fate]]:
    """Kills the commands in turn, ``total`` times, and yields what became of each."""
    _warm(scenes)
    source = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        stages = [Stage(scene, Path(folder) / str(number)) for number, scene in enumerate(scenes)]
        cheap = [stage for stage in stages if not stage.scene.dear]
        dear = [stage for stage in stages if stage.scene.dear]
        for turn in range(total):
            rare = dear and turn % 25 == 10
            stage = dear[turn // 25 % len(dear)] if rare else cheap[turn % len(cheap)]
            number = source.choice([signal.SIGKILL] * 3 + [signal.SIGINT, signal.SIGTERM])
            if turn // len(cheap) % 2:
                kill = Kill(number, part=source.uniform(0.02, 0.98), twice=source.random() < 0.3)
            else:
                kill = Kill(number, at=source.randint(1, stage.changes))
            yield stage.scene, kill, stage.fate(kill)


class Stage:
    """A command with its undisturbed result, in a folder of its own."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene, self._folder = scene, folder
        self._start, self._place = folder / "start", folder / "place"
        self._start.mkdir(parents=True)
        if scene.before:
            _must(_run(scene.before, self._start))
        self._reset()
        started = time.perf_counter()
        _must(_run(scene.command, self._place))
        self._seconds = time.perf_counter() - started
        self._whole = result(self._place)
        self._reset()
        counted = folder / "changes"
        _must(_run(scene.command, self._place, lambda: _count_changes(counted)))
        self.changes = int(counted.read_text())
        if problem := difference(self._whole, result(self._place)):
            raise RuntimeError(f"{scene.name} is not the same twice: {problem}")

    def _reset(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.copytree(self._start, self._place)

    def fate(self, kill: Kill) -> Fate:
        """Kills the command, gives it again and compares."""
        self._reset()
        if kill.at:
            code, _ = _run(self.scene.command, self._place, lambda: _die_at(kill))
        else:
            code, _ = _run(
                self.scene.command, self._place, kill=kill, after=kill.part * self._seconds
            )
        again, said = _run(self._again(), self._place)
        if again:
            return Fate(code != 0, dead_end=f"exit code {again}: {said}")
        left = [path.name for path in self._place.rglob(".*") if path.name != ".lock"]
        return Fate(code != 0, "", difference(self._whole, result(self._place)), tuple(left))

    def _again(self) -> str:
        """Returns the command that goes on; a run that was not replaced yet is replaced again."""
        if self.scene.again:
            return self.scene.again
        config = json.loads((self._place / "runs" / "wine" / "config.json").read_text())
        return self.scene.command if config["seed"] == 0 else f"{_FIT} --seed 1 --resume"


def result(place: Path) -> dict[str, Any]:
    """Returns what commands left behind, without times: tensors by their bytes, records, logs, plain values."""
    from safetensors.torch import load_file

    from netdial.core.storage.boundary import unseal_line

    found: dict[str, Any] = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if not path.is_file() or path.name in _NEVER or path.name.startswith("."):
            continue
        if path.suffix == ".safetensors":
            for key, tensor in load_file(path).items():
                found[f"{name}: {key}"] = (str(tensor.dtype), tensor.numpy().tobytes())
        elif path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            values = [_timeless(unseal_line(line, path)) for line in lines]
            found[name] = [value for value in values if value is not None]
        elif path.name == "log.txt":
            found[name] = re.sub(r"[0-9.]+ s\b", "", path.read_text())
    return found


def difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    """Returns where two results differ first, nothing if they are equal."""
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found or name not in wanted:
            return f"{name} is {'missing' if name in wanted else 'too much'}"
        if wanted[name] != found[name]:
            return f"{name} differs"
    return ""


def _timeless(value: Any) -> Any:
    """Returns plain values without times and records of times."""
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if not isinstance(value, dict):
        return value
    name = str(value.get("name", ""))
    if name == "ms" or any(word in name for word in _TIMED):
        return None
    return {
        key: _timeless(item)
        for key, item in value.items()
        if not any(word in key for word in _TIMED)
    }


def _run(
    command: str,
    place: Path,
    prepare: Callable[[], object] | None = None,
    *,
    kill: Kill | None = None,
    after: float = 0.0,
) -> tuple[int, str]:
    """Runs a command in a forked child; returns its exit code, negative for a signal, and what it said last."""
    said = place.parent / "said"
    child = os.fork()
    if child == 0:
        _be(command, place, said, prepare)
    started, sent = time.monotonic(), 0
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        passed = time.monotonic() - started
        if kill is not None and passed > after and sent < 1 + kill.twice:
            os.kill(child, kill.number)
            sent += 1
        if passed > _LIMIT_S:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    lines = said.read_text(errors="replace").strip().splitlines() or [""]
    return os.waitstatus_to_exitcode(status), lines[-1]


def _must(outcome: tuple[int, str]) -> None:
    """Raises RuntimeError if a command failed that nobody disturbed."""
    if outcome[0]:
        raise RuntimeError(f"exit code {outcome[0]}: {outcome[1]}")


def _be(command: str, place: Path, said: Path, prepare: Callable[[], object] | None) -> None:
    """Turns this forked child into the command; never returns."""
    code = 70
    try:
        with said.open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(place)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(
                number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler
            )
        from netdial.cli import main

        if prepare is not None:
            prepare()
        code = main(command.split())
    except KeyboardInterrupt:
        code = 130
    finally:
        with contextlib.suppress(Exception):
            import sys

            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _warm(scenes: Sequence[Scene]) -> None:
    """Does every command once in this process, so that its children find everything imported."""
    import torch

    from netdial.cli import main

    torch.set_num_threads(1)
    commands = dict.fromkeys(c for scene in scenes for c in (scene.before, scene.command) if c)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        for command in commands:
            main(command.split())


def _count_changes(path: Path) -> None:
    """Counts the changes of the disk until the process ends, and writes their number."""
    count = [0]

    def note(_: object) -> None:
        count[0] += 1
        with open(path, "w") as file:
            file.write(str(count[0]))

    _watch_changes(note)


def _die_at(kill: Kill) -> None:
    """Lets this process die right before the change of the disk that a kill names."""
    count = [0]

    def note(file: object) -> None:
        count[0] += 1
        if count[0] == kill.at:
            if isinstance(file, int) and kill.number == signal.SIGKILL and os.fstat(file).st_size:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, os.fstat(file).st_size // 2)
            for _ in range(1 + kill.twice):
                os.kill(os.getpid(), kill.number)

    _watch_changes(note)


def _watch_changes(note: Callable[[object], None]) -> None:
    """Calls ``note`` before every change of a name and every flush of a file, with what is flushed."""

    def watched(change: Callable[..., Any]) -> Callable[..., Any]:
        def one(*args: Any, **options: Any) -> Any:
            note(args[0])
            return change(*args, **options)

        return one

    for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync"):
        setattr(os, name, watched(getattr(os, name)))

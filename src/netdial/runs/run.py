"""The run folder: everything that one training run leaves behind, under fixed names.

``config.json`` (what was asked, with the format number), ``env.json`` (where it ran), ``splits.json`` (which rows went to
which part), ``records.jsonl`` (what was measured), ``log.txt``, ``checkpoint/`` (to resume from), ``model/`` (the family),
``report.html``, and ``DONE`` once training has ended. The folder is the only thing that passes from training to reports;
reading one needs no torch. A folder is never overwritten unless that is asked for, and only one process writes to it at a time
(``runs.folder``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.records import Place, Record, read_records
from netdial.core.storage.boundary import parse_json, read_json
from netdial.core.storage.files import write_json, write_text, writing
from netdial.runs import folder
from netdial.runs.earlier import converted
from netdial.runs.environment import environment
from netdial.runs.schemas.done import (
    DONE,
    MODEL_FOLDER,
    check_whole,
    expect_rows,
    models,
    write_done,
)
from netdial.runs.settings import (
    FORMAT,
    Split,
    StoredSettings,
    check_config,
    read_config,
    read_split,
    write_config,
    write_split,
)
from netdial.runs.shrinkage import KILLS, events


@dataclass(frozen=True)
class _Inside:
    """Attribute of a run that is the path of a file or folder inside it."""

    name: str

    def __get__(self, run: Run, owner: type[Run] | None = None) -> Path:
        return run.path / self.name


@dataclass
class Run:
    """A run folder.

    Make one with `Run.create` or `Run.open`.

    Attributes:
        path: the folder. That of a run which is to replace another one is hidden until `put_in_place`.
        config: the resolved configuration, plain JSON values only; ``config["name"]`` is the name the run was given.
        replaces: the folder of the run that it is to replace; None once it has, and for all others.
        listeners: called with records once they are written.
    """

    path: Path
    config: dict[str, Any]
    replaces: Path | None = field(default=None, compare=False)
    listeners: list[Callable[[list[Record]], object]] = field(default_factory=list, compare=False)

    config_path = _Inside("config.json")
    """The resolved configuration and the format number."""
    env_path = _Inside("env.json")
    """Where and with what the run was started."""
    splits_path = _Inside("splits.json")
    """Row indices of the training, validation and test parts."""
    records_path = _Inside("records.jsonl")
    """The measured numbers, one JSON object per line."""
    log_path = _Inside("log.txt")
    """What the run said while it worked."""
    details_path = _Inside(folder.DETAILS)
    """What there is to see of each member beyond its records."""
    kills_path = _Inside(KILLS)
    """What a network that shrinks lost, one JSON object per collection."""
    checkpoint_path = _Inside("checkpoint")
    """Folder of the state to resume from."""
    model_path = _Inside(MODEL_FOLDER)
    """Folder of the trained family."""
    report_path = _Inside("report.html")
    """The report for people."""
    done_path = _Inside(DONE)
    """Marker that training has ended as planned, with what the folder held then."""

    @classmethod
    def create(
        cls,
        root: Path,
        name: str,
        config: dict[str, Any],
        *,
        overwrite: bool = False,
        fill: Callable[[Run], object] | None = None,
    ) -> Run:
        """Makes the folder ``root/name``, which appears with all that a run starts with.

        Args:
            root: folder that holds the runs; made when missing.
            name: name of the run, used as the folder's name.
            config: the resolved configuration; ``name`` is added to it.
            overwrite: replace an earlier run of that name. It stays until `put_in_place` is called, which also hands the
                user's own files on to the new run; hold the folder (`folder.hold`) from here to there.
            fill: writes what else belongs to the run from its start.

        Raises:
            BusyError: another process works there.
            ConfigError: the name cannot be a folder's name, the configuration is not plain JSON, the folder exists and
                ``overwrite`` is not set or it is not a run folder, or it cannot be written.
        """
        folder.check_name(name)
        config = {**config, "name": name}
        check_config(config)
        path = root / name
        try:
            with folder.hold(path):
                there = os.path.lexists(path) and not folder.is_half_made(path)
                if there:
                    folder.check_replaceable(path, overwrite=overwrite)
                with folder.fresh_folder(path) as fresh:
                    run = cls(fresh, config, path)
                    run.records_path.touch()
                    write_json(run.env_path, environment())
                    write_config(run.config_path, config)
                    if fill is not None:
                        fill(run)
                    if not there:
                        run.put_in_place()
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot make the run folder ({error.strerror}); choose another place for runs"
            ) from None
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """Opens an existing run folder.

        Raises:
            CheckpointError: there is no such folder, it is not a run folder, it or something of netdial's in it is a symbolic
                link, its configuration is damaged, or a newer netdial wrote it.
        """
        folder.recover(path)
        if not path.is_dir():
            raise CheckpointError(f"{path}: no such run folder{folder.nearest(path)}")
        folder.refuse_links(path)
        return cls(path, read_config(path / "config.json"))

    def alone(self) -> AbstractContextManager[None]:
        """Holds the folder against other processes for as long as the block lasts.

        Raises:
            BusyError: another process works there.
        """
        return folder.hold(self.replaces or self.path)

    def put_in_place(self) -> None:
        """Lets the run appear under its name; one that was there goes, but for files that netdial did not write."""
        if self.replaces is not None:
            with self.alone(), writing(self.replaces):
                folder.put_in_place(self.replaces)
            self.path, self.replaces = self.replaces, None

    def discard(self) -> None:
        """Removes the run; one that it was to replace stays."""
        with self.alone():
            folder.discard(self.path)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return (self.replaces or self.path).name

    @property
    def is_done(self) -> bool:
        """Whether training has ended as planned."""
        return self.done_path.exists()

    def environment(self) -> dict[str, Any]:
        """Returns what ``env.json`` holds, or an empty dict when it is missing or damaged (nothing depends on it)."""
        try:
            found = read_json(self.env_path)
        except CheckpointError:
            return {}
        return found if isinstance(found, dict) else {}

    def data_source(self) -> dict[str, Any]:
        """Returns where the data came from and how they were read, see `parts`."""
        return read_split(self.splits_path).source

    def parts(self) -> dict[str, list[int]]:
        """Returns the rows of the source that went to each part of the data; empty if the run did not say.

        Raises:
            CheckpointError: ``splits.json`` is damaged or was changed.
        """
        return read_split(self.splits_path).parts

    def write_splits(self, source: dict[str, Any], parts: dict[str, list[int]]) -> None:
        """Writes where the data came from, and which of its rows went to which part."""
        write_split(self.splits_path, Split(source, parts))

    def row(
        self, step: int, name: str, value: float, unit: str = "", /, **where: Place | None
    ) -> Record:
        """Returns a record of this run.

        Args:
            step: optimiser step.
            name: what was measured.
            value: the number.
            unit: its unit.
            where: axis -> value; axes that are None do not apply.
        """
        places = {axis: place for axis, place in where.items() if place is not None}
        return Record(self.name, self.config["seed"], step, name, float(value), unit, places)

    def record(self, records: Iterable[Record]) -> None:
        """Appends records, all or none of them; half a line left by an interruption is removed first."""
        made = list(records)
        self.append(self.records_path, (record.to_json() for record in made))
        self._wrote(made)

    def _wrote(self, records: list[Record]) -> None:
        if self.is_done:
            self._count()
        for listener in self.listeners:
            listener(records)

    def replace(
        self, records: Iterable[Record], stale: Callable[[Record], bool] | None = None
    ) -> None:
        """Writes records in place of earlier ones for the same quantities, so that repeating a measurement doubles nothing.

        Earlier ones that are ``stale`` beside the new ones go, too.
        """
        with self.alone():
            self._renew()
            made = list(records)
            kept = [row for row in self.records() if stale is None or not stale(row)]
            rows = {row.quantity: row for row in [*kept, *made]}
            if self.is_done:
                expect_rows(self.records_path, len(rows))
            write_text(self.records_path, "".join(row.to_json() + "\n" for row in rows.values()))
        self._wrote(made)

    def append(self, path: Path, lines: Iterable[str]) -> None:
        """Appends lines to a file of the run, all or none of them.

        Raises:
            BusyError: another process works there.
            WriteError: the disk refused it; the file is as it was.
        """
        folder.refuse_links(self.path)
        self._renew()
        text = memoryview("".join(f"{line}\n" for line in lines).encode())
        with self.alone(), writing(path), path.open("ab+", buffering=0) as file:
            whole = folder.whole_lines(file)
            try:
                while text:
                    text = text[file.write(text) :]
            except OSError:
                os.truncate(path, whole)
                raise

    def records(self) -> list[Record]:
        """Returns the records in the order of writing; of several for the same quantity the last one counts.

        Raises:
            CheckpointError: a line other than a last, unfinished one is damaged; or, once training has ended, some are gone.
        """
        rows = read_records(self.records_path, converted) if self.records_path.exists() else ()
        found = list({row.quantity: row for row in rows}.values())
        check_whole(self.records_path, len(found))
        return found

    @property
    def last_step(self) -> int:
        """The last optimiser step that was recorded, 0 without records."""
        return max((record.step for record in self.records()), default=0)

    def truncate(self, step: int) -> None:
        """Goes back to ``step`` of training: drops what was recorded later, and all that follows training.

        A resumed run calls this with the step of the restored checkpoint, or -1 if there is none, so that nothing is recorded
        twice: not in the records, not in the log, not among the collections of a network that shrinks. Every file is replaced
        at once: an interruption leaves either the old one or the new one.
        """
        with self.alone():
            self._renew()
            with writing(self.done_path):
                self.done_path.unlink(missing_ok=True)
                self.details_path.unlink(missing_ok=True)
            kept = [row for row in self.records() if row.step <= step and row.method == "train"]
            write_text(self.records_path, "".join(row.to_json() + "\n" for row in kept))
            epochs = len({row.step for row in kept if row.step > 0})
            folder.keep_lines(self.log_path, lambda number, _: number < epochs)
            folder.keep_lines(
                self.kills_path, lambda _, line: parse_json(line, KILLS)["step"] <= step
            )

    def _renew(self) -> None:
        """Brings the folder of an earlier format up to today's, before something of today's is written into it."""
        if not isinstance(self.config, StoredSettings) or self.config.format == FORMAT:
            return
        with self.alone():
            write_text(self.records_path, "".join(f"{row.to_json()}\n" for row in self.records()))
            write_config(self.config_path, self.config)
            self.config.format = FORMAT

    def finish(self, **facts: Any) -> None:
        """Marks the run as done, with the time, what its files hold and what else is to be known of it."""
        self._count(finished=datetime.now(UTC).isoformat(timespec="seconds"), **facts)

    def _count(self, **facts: Any) -> None:
        """Writes ``DONE``, with what the files hold."""
        with self.alone():
            rows = {self.records_path: len(self.records()), self.kills_path: len(events(self.path))}
            rows |= {path: int(path.exists()) for path in (self.details_path, self.splits_path)}
            held = {path.name: n for path, n in rows.items() if n} | models(self.path)
            write_done(self.path, **facts, holds=held)

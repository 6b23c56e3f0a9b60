"""The folder of a sweep: what it is, which trials were proposed, what failed, and the store of its trials.

``sweep.json`` holds the spec and the version of the engine that makes trials, ``trials.jsonl`` the settings of each trial as
they were proposed, ``failed.jsonl`` what went wrong, ``stopped/`` the trials that were stopped early, ``cells/`` the run
folders. Whatever happens to the process, the folder says what is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdial import __version__
from netdial.core.errors import CheckpointError, ConfigError, NetdialError
from netdial.core.storage.boundary import (
    read_json,
    reading,
    regular,
    seal_line,
    sealed_lines,
    unseal_line,
)
from netdial.core.storage.files import write_json, writing
from netdial.data.tables.files.read import locate_table
from netdial.data.tables.options import is_table
from netdial.jobs.trial import digests_of, refuse_changed
from netdial.runs.folder import whole_lines
from netdial.runs.settings import config_difference
from netdial.runs.store import ENGINE, Cell, Store
from netdial.sweeps.remote import Remote, RemoteStore
from netdial.sweeps.spec import RUNNING, SweepSpec
from netdial.sweeps.trials.kinds import check_alike

FORMAT = 1
"""Version of the layout of the folder."""

_CURE = "restore it from a copy, or choose another name"


@dataclass(frozen=True)
class SweepFolder:
    """The folder of a sweep.

    Attributes:
        path: the folder.
        spec: the sweep.
        digests: name of a table that trials read, or of the function -> SHA-256 of its bytes when the sweep began; earlier
            versions had none of functions.
    """

    path: Path
    spec: SweepSpec
    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: SweepSpec) -> SweepFolder:
        """Returns the folder of a sweep, there or not.

        Raises:
            ConfigError: a sweep of that name is another one, its trials were made by another version, or trials that are
                stopped early would not compare.
            DataError: a table is not there, or is no longer what trials were made from.
        """
        path, digests = spec.path, _digests(spec)
        if spec.address:
            fetch_about(spec.address, path)
        if (path / "sweep.json").exists():
            old = cls.open(path)
            _refuse_another(path, old.spec, spec)
            refuse_changed(old.digests, old.digests, spec.data_dir)
            digests = {n: d for n, d in digests.items() if is_table(n) or n in old.digests}
            digests |= {name: digest for name, digest in old.digests.items() if digest}
        elif spec.halving is not None:  # one that was begun by an earlier version goes on
            check_alike(spec.space)
        return cls(path, spec, digests)

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """Opens a folder that is there.

        Raises:
            CheckpointError: it is no sweep, is damaged, or a newer netdial wrote it.
            ConfigError: its trials were made by another version of the engine.
        """
        file = path / "sweep.json"
        if not file.exists():
            raise CheckpointError(
                f"{path}: is no sweep (no sweep.json in it); begin one with netdial sweep SPEC.yaml"
            )
        found = read_json(file, _CURE)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            version = found.get("format") if isinstance(found, dict) else None
            raise CheckpointError(
                f"{file}: has format {version}, this netdial reads format {FORMAT}; install the netdial that wrote it"
            )
        if found.get("engine") != ENGINE:
            raise ConfigError(
                f"{path}: its trials were made by version {found.get('engine')} of the engine "
                f"(netdial {found.get('netdial')}), and this is version {ENGINE} (netdial {__version__}), which gives other "
                "numbers: choose another name, or install that version"
            )
        spec = SweepSpec(**found["spec"])
        if not spec.address:  # a folder may have been moved
            spec = spec.changed(storage=str(path.parent), name=path.name)
        digests = found.get("digests")  # earlier versions wrote none
        return cls(path, spec, _digests(spec, need=False) if digests is None else digests)

    @property
    def store(self) -> Store:
        """Where its trials are kept."""
        if self.spec.address:
            return RemoteStore(self.path.resolve(), self.spec.data_dir, self.spec.address)
        return Store(self.path.resolve(), self.spec.data_dir)

    def cell_of(self, params: Mapping[str, Any]) -> Cell | NetdialError:
        """Returns the piece of work of a trial, or what is wrong with these values together."""
        try:
            return self.spec.cell(params, self.digests)
        except NetdialError as error:
            return error

    @contextmanager
    def working(self) -> Iterator[None]:
        """Holds the folder against other processes, and writes what the sweep is.

        Raises:
            BusyError: another process makes trials of it.
            WriteError: the disk refused it.
        """
        with writing(self.path), self.store.alone():
            plain = self.spec.model_dump(mode="json")
            about = {
                "format": FORMAT,
                "engine": ENGINE,
                "netdial": __version__,
                "spec": plain,
                "digests": dict(self.digests),
            }
            write_json(self.path / "sweep.json", about)
            self._send("sweep.json")
            yield

    def proposed(self) -> list[dict[str, Any]]:
        """Returns the settings of the trials that were proposed, by number."""
        return [line["params"] for line in self._lines("trials.jsonl")]

    def note_proposed(self, number: int, params: Mapping[str, Any]) -> None:
        """Writes down a trial that was proposed."""
        self._append("trials.jsonl", {"number": number, "params": dict(params)})

    def failures(self) -> dict[str, str]:
        """Returns key of a piece of work -> what went wrong with it."""
        return {line["key"]: line["error"] for line in self._lines("failed.jsonl")}

    def note_failure(self, name: str, error: str) -> None:
        """Writes down what failed for good."""
        self._append("failed.jsonl", {"key": name, "error": error})

    def forget_failures(self) -> None:
        """Lets what failed be tried again."""
        with writing(self.path):
            (self.path / "failed.jsonl").unlink(missing_ok=True)

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.path / name
        if not path.exists():
            return []
        with reading(path, "is not text that can be read", _CURE):
            lines = sealed_lines(regular(path).read_bytes().decode(), path, _CURE)
        return [unseal_line(line, f"{path}: line {n}", _CURE) for n, line in enumerate(lines, 1)]

    def _append(self, name: str, value: Mapping[str, Any]) -> None:
        path = self.path / name
        with writing(path), path.open("ab+", buffering=0) as file:
            whole_lines(file)
            file.write(f"{seal_line(json.dumps(value))}\n".encode())
        self._send(name)

    def _send(self, name: str) -> None:
        if self.spec.address:
            Remote(self.spec.address, self.path).send(name)


def fetch_about(address: str, path: Path) -> None:
    """Fetches what a sweep at an address is, and which trials were proposed and failed, into a folder here."""
    remote = Remote(address, path)
    for name in ("sweep.json", "trials.jsonl", "failed.jsonl"):
        if remote.exists(name):
            remote.fetch(name)


def _digests(spec: SweepSpec, *, need: bool = True) -> dict[str, str]:
    """Returns the SHA-256 of all that trials read; empty for what this machine does not see.

    Raises:
        DataError: ``need``, and a table is not there, where trials are made on this machine.
    """
    if need and not spec.cluster:
        for name in filter(is_table, spec.sources()):
            locate_table(name, spec.data_dir)
    return digests_of(spec.sources(), spec.data_dir)


def _refuse_another(path: Path, old: SweepSpec, new: SweepSpec) -> None:
    """Refuses a sweep whose name is taken by one that is not the same.

    Raises:
        ConfigError: it is; what differs is named.
    """
    lines = config_difference(old.identity, new.identity)
    if lines:
        raise ConfigError(
            f"{path}: a sweep of this name is there already, and it is another one ({'; '.join(lines)}); choose another name, "
            f"or leave that as it was (only {', '.join(RUNNING)} may change)"
        )

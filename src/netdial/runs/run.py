"""The run folder: everything that one training run leaves behind, under fixed names.

``config.json`` (what was asked, with the format number), ``env.json`` (where it ran), ``splits.json`` (which rows went to
which part), ``records.jsonl`` (what was measured), ``log.txt``, ``checkpoint/`` (to resume from), ``model/`` (the family),
``report.html``, and ``DONE`` once training has ended. The folder is the only thing that passes from training to reports;
reading one needs no torch. A folder is never overwritten unless that is asked for.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netdial.core.boundary import read_json
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.files import write_json, write_text, writing
from netdial.core.records import Record, read_records, write_records
from netdial.runs.environment import environment

FORMAT = 1
"""Version of the layout of a run folder; an older netdial refuses a newer folder."""


@dataclass(frozen=True)
class Run:
    """A run folder.

    Make one with `Run.create` or `Run.open`.

    Attributes:
        path: the folder.
        config: the resolved configuration, plain JSON values only; ``config["name"]`` is the name the run was given.
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def create(
        cls, root: Path, name: str, config: dict[str, Any], *, overwrite: bool = False
    ) -> Run:
        """Makes the folder ``root/name`` and writes the configuration and the environment into it.

        Args:
            root: folder that holds the runs; made when missing.
            name: name of the run, used as the folder's name.
            config: the resolved configuration; ``name`` is added to it.
            overwrite: delete an earlier run of that name, with all it holds.

        Raises:
            ConfigError: the name cannot be a folder's name, the configuration is not plain JSON, the folder exists and
                ``overwrite`` is not set or it is not a run folder, or it cannot be written.
        """
        _check_name(name)
        config = {**config, "name": name}
        _check_config(config)
        run = cls(root / name, config)
        try:
            if overwrite and run.path.exists():
                _delete(run.path)
            run.path.mkdir(parents=True)
            run.records_path.touch()
            write_json(run.env_path, environment())
            write_json(run.config_path, {"format": FORMAT, **config})
        except FileExistsError:
            raise ConfigError(_taken(run.path)) from None
        except OSError as error:
            raise ConfigError(
                f"{run.path}: cannot make the run folder ({error.strerror}); choose another place for runs"
            ) from None
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """Opens an existing run folder.

        Raises:
            CheckpointError: there is no such folder, it is not a run folder, its configuration is damaged, or a newer
                netdial wrote it.
        """
        if not path.is_dir():
            raise CheckpointError(f"{path}: no such run folder{_nearest(path)}")
        return cls(path, _read_config(path / "config.json"))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def config_path(self) -> Path:
        """The resolved configuration and the format number."""
        return self.path / "config.json"

    @property
    def env_path(self) -> Path:
        """Where and with what the run was started."""
        return self.path / "env.json"

    @property
    def splits_path(self) -> Path:
        """Row indices of the training, validation and test parts."""
        return self.path / "splits.json"

    @property
    def records_path(self) -> Path:
        """The measured numbers, one JSON object per line."""
        return self.path / "records.jsonl"

    @property
    def log_path(self) -> Path:
        """What the run said while it worked."""
        return self.path / "log.txt"

    @property
    def checkpoint_path(self) -> Path:
        """Folder of the state to resume from."""
        return self.path / "checkpoint"

    @property
    def model_path(self) -> Path:
        """Folder of the trained family."""
        return self.path / "model"

    @property
    def report_path(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    @property
    def done_path(self) -> Path:
        """Marker that training has ended as planned."""
        return self.path / "DONE"

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
        """Returns where the data came from and how they were read, or an empty dict when that is missing or damaged."""
        try:
            found = read_json(self.splits_path)
        except CheckpointError:
            return {}
        source = found.get("source") if isinstance(found, dict) else None
        return source if isinstance(source, dict) else {}

    def record(self, records: Iterable[Record]) -> None:
        """Appends records; half a line left by an interruption is removed first."""
        _drop_torn_line(self.records_path)
        write_records(self.records_path, records)

    def records(self) -> list[Record]:
        """Returns the records in the order of writing; of several for the same quantity the last one counts.

        Raises:
            CheckpointError: a line other than a last, unfinished one is damaged.
        """
        if not self.records_path.exists():
            return []
        rows = list(read_records(self.records_path))
        return list({(r.method, r.lam, r.share, r.seed, r.step, r.name): r for r in rows}.values())

    @property
    def last_step(self) -> int:
        """The last optimiser step that was recorded, 0 without records."""
        return max((record.step for record in self.records()), default=0)

    def truncate(self, step: int) -> None:
        """Goes back to ``step``: drops all later records, and the marker that the run is done.

        A resumed run calls this with the step of the restored checkpoint, so that nothing is recorded twice. The file
        is replaced at once: an interruption leaves either the old one or the new one.
        """
        kept = [record for record in self.records() if record.step <= step]
        with writing(self.done_path):
            self.done_path.unlink(missing_ok=True)
        write_text(self.records_path, "".join(record.to_json() + "\n" for record in kept))

    def finish(self) -> None:
        """Marks the run as done."""
        write_text(self.done_path, datetime.now(UTC).isoformat(timespec="seconds") + "\n")


def config_difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Returns the differences between two configurations, one line for people each.

    >>> config_difference({"epochs": 20, "seed": 0}, {"epochs": 40, "seed": 0})
    ['epochs: 20 -> 40']
    """
    lines: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += [f"{key}.{line}" for line in config_difference(before, after)]
        elif before != after:
            lines.append(f"{key}: {_shown(before)} -> {_shown(after)}")
    return lines


_ABSENT = object()


def _shown(value: object) -> str:
    return "(absent)" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def _check_name(name: str) -> None:
    bad = (
        not name
        or name != name.strip()
        or name[0] in ".-"
        or len(name.encode(errors="replace")) > 200
        or any(c in "/\\" or not c.isprintable() for c in name)
    )
    if bad:
        raise ConfigError(
            f"run name {name!r}: cannot be a folder's name; use at most 200 letters, digits and -_. "
            "without slashes, not beginning with a dot or a dash (--name)"
        )


def _check_config(config: dict[str, Any]) -> None:
    if "format" in config:
        raise ConfigError("config: the key 'format' is taken by the run folder; rename it")
    for key, value in config.items():
        _check_plain(value, key)


def _check_plain(value: object, where: str) -> None:
    """Refuses what JSON would not give back unchanged: tuples, keys that are not strings, non-finite numbers, objects."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"config: {where} has the key {key!r}; keys must be strings")
            _check_plain(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif type(value) not in (str, int, float, bool, type(None)) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ConfigError(
            f"config: {where} is {value!r} ({type(value).__name__}), which JSON cannot hold; "
            "use a finite number, string, boolean, None, list or dict"
        )


def _read_config(path: Path) -> dict[str, Any]:
    """Reads and checks ``config.json``; returns the configuration without the format number."""
    if not path.exists():
        raise CheckpointError(
            f"{path.parent}: is not a run folder (no config.json in it); give a folder made by netdial fit"
        )
    config = read_json(path, "restore it from a copy, or run again with --overwrite")
    if not isinstance(config, dict) or type(config.get("format")) is not int:
        raise CheckpointError(
            f"{path}: carries no format number, so this is not a run folder; give a folder made by netdial fit"
        )
    version = config.pop("format")
    if version != FORMAT:
        raise CheckpointError(
            f"{path}: has format {version}, this netdial reads format {FORMAT}; install the netdial that wrote it"
        )
    if "exclude" in config:  # a run from before parameters could be frozen
        config |= {"shared": config.pop("exclude"), "freeze": []}
    return config


def _delete(path: Path) -> None:
    """Deletes a run folder and refuses to delete anything else.

    A damaged or half-made run counts as a run when nothing but the files of a run lies in it.
    """
    run = Run(path, {})
    own = {run.config_path, run.env_path, run.splits_path, run.records_path, run.log_path}
    own |= {run.checkpoint_path, run.model_path, run.report_path, run.done_path}
    own |= {path / "choice", path / "kills.jsonl"}
    foreign = sorted(p.name for p in path.iterdir() if p not in own and p.suffix != ".tmp")
    try:
        _read_config(run.config_path)
    except CheckpointError:
        if foreign:
            raise ConfigError(
                f"{path}: holds {foreign[0]!r} and is not a run folder, so --overwrite leaves it alone; "
                "choose another --name"
            ) from None
    shutil.rmtree(path)


def _taken(path: Path) -> str:
    return (
        f"{path}: exists already; go on with it (--resume), replace it (--overwrite), "
        "or choose another name (--name)"
    )


def _nearest(path: Path) -> str:
    """Returns a hint naming the nearest run beside ``path``."""
    try:
        siblings = [p.parent.name for p in path.parent.glob("*/config.json")]
    except OSError:
        siblings = []
    close = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {path.parent / close[0]}?"
    return "; netdial list shows the runs there are"


def _drop_torn_line(path: Path) -> None:
    """Cuts off a last line without a newline; only the last byte is read when there is none."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with writing(path), path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)

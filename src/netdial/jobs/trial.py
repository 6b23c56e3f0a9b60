"""Trials: jobs of any way of training as cells of a store, so that many can be made by a pool, and each only once."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from netdial.core.errors import DataError
from netdial.data.tables.files.read import table_digest
from netdial.data.tables.options import is_table
from netdial.jobs.job import do_job
from netdial.jobs.problem import is_function
from netdial.jobs.records.watch import Watch
from netdial.jobs.request import Job
from netdial.jobs.ways import WAYS
from netdial.runs import FIRST_WAY
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store, file_digest
from netdial.train.config import make

_CODE: dict[str, tuple[object, str]] = {}
"""Module -> what it was loaded by, None before that, and the digest of its file: one that changes later is not what runs."""


@dataclass(frozen=True)
class Trial(Cell):
    """One job of a way of training; its folder is the run folder that ``netdial`` commands take.

    Its key depends on the way, the data (on the bytes of tables, too, those of further parts included, and of the file that a
    user's function stands in) and on all settings, those left to their defaults included.

    Attributes:
        data: name of a data set, a table, or a user's function ``package.module:function``.
        choices: settings of the way, options on the data, ``model``, by name; all else has its default.
        way: name of the way of training.
        data_dir: folder that a table is looked for in, beside this one and that of NETDIAL_DATA.
        watch: told how it goes.
        digests: name of a table or function -> SHA-256 of its bytes; None has them read now.
        settings: all settings with the choices.
        content: digest of them, empty for other data.

    Raises:
        ConfigError: a setting is not allowed, or the way is not known.
    """

    data: str
    choices: Mapping[str, Any] = field(default_factory=dict, compare=False)
    way: str = FIRST_WAY
    data_dir: str | None = field(default=None, compare=False)
    watch: Watch = field(default_factory=Watch, compare=False, repr=False)
    digests: Mapping[str, str] | None = field(default=None, compare=False, repr=False)
    settings: Mapping[str, Any] = field(init=False)
    content: str = field(init=False)

    def __post_init__(self) -> None:
        """Resolves the settings, and reads the table."""
        settled = dict(self.choices)
        WAYS[self.way].check_model(self.choices.get("model"))
        for settings in WAYS[self.way].settings:
            own = {k: v for k, v in self.choices.items() if k in settings.model_fields}
            settled |= make(settings, own).model_dump(mode="json")
        object.__setattr__(self, "settings", settled)
        if self.digests is None:
            found = digests_of(sources_of(self.data, self.choices), self.data_dir)
            object.__setattr__(self, "digests", found)
        object.__setattr__(self, "content", content_of(self.data, self.choices, self.digests or {}))

    @property
    def label(self) -> str:
        """Way and data."""
        return f"{self.way} {Path(self.data).stem}"

    def run(self, store: Store) -> Run:
        """Returns the run of a trial that is made."""
        return Run.open(store.path(self))

    def fill(self, store: Store) -> None:
        """Does the job, or goes on with it.

        Raises:
            DataError: a table is no longer what it was when the trial was planned.
        """
        refuse_changed(sources_of(self.data, self.choices), self.digests or {}, store.data_dir)
        path = store.path(self)
        job = Job(
            self.data,
            self.choices,
            data_dir=store.data_dir,
            name=path.name,
            runs_dir=path.parent,
            resume=True,
            name_of_way=self.way,
            report=False,
        )
        do_job(job, self.watch)


def sources_of(data: str, choices: Mapping[str, Any]) -> list[str]:
    """Returns the names of what may change that data come from: tables, further parts included, or a user's function."""
    parts = [choices.get(part) for part in ("valid", "test")]
    tables = [name for name in parts if isinstance(name, str) and is_table(name)]
    return [data, *tables] if is_table(data) or is_function(data) else tables


def digests_of(sources: Iterable[str], data_dir: str | None) -> dict[str, str]:
    """Returns the SHA-256 of tables, and of the files that functions stand in, by name; empty for one that is not there."""
    return {n: _code_digest(n) if is_function(n) else table_digest(n, data_dir) for n in sources}


def _code_digest(data: str) -> str:
    """Returns the SHA-256 of the file of a function's module, as it was when that was loaded; empty where there is none."""
    module = data.partition(":")[0]
    loaded = getattr(sys.modules.get(module), "__spec__", None)
    before, digest = _CODE.get(module, ("", ""))
    if loaded is None or (before is not None and before is not loaded):
        digest = _file_digest(module)
    _CODE[module] = loaded, digest
    return digest


def _file_digest(module: str) -> str:
    """Returns the SHA-256 of a module's file, which is found but not run; empty where there is none."""
    PathFinder.invalidate_caches()
    places: Sequence[str] = (os.getcwd(), *sys.path)
    origin = None
    for name in module.split("."):
        found = PathFinder.find_spec(name, places)
        if found is None:
            return ""
        places, origin = found.submodule_search_locations or (), found.origin
    try:
        return file_digest(Path(origin or ""))
    except OSError:
        return ""


def content_of(data: str, choices: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Returns one digest of all that data come from, of a single table its own; empty where there is none."""
    found = [digests.get(name, "") for name in sources_of(data, choices)]
    if len(found) < 2:
        return "".join(found)
    return hashlib.sha256(" ".join(found).encode()).hexdigest()


def refuse_changed(sources: Iterable[str], before: Mapping[str, str], data_dir: str | None) -> None:
    """Refuses tables and functions whose bytes are others than they were; one that is not there is told by whoever reads it.

    Raises:
        DataError: one was changed.
    """
    for name, now in digests_of(sources, data_dir).items():
        old = before.get(name)
        if old and now and old != now:
            raise DataError(
                f"data {name!r}: was changed since (its SHA-256 began with {old[:12]}, and now with {now[:12]}), and results "
                "from different data are not put side by side: bring it back as it was, or begin anew under another name"
            )

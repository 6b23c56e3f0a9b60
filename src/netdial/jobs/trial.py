"""Trials: jobs of any way of training as cells of a store, so that many can be made by a pool, and each only once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdial.data.tables.read import table_digest
from netdial.jobs.job import do_job
from netdial.jobs.records.watch import Watch
from netdial.jobs.request import Job
from netdial.jobs.ways import WAYS
from netdial.runs import FIRST_WAY
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.train.config import make


@dataclass(frozen=True)
class Trial(Cell):
    """One job of a way of training; its folder is the run folder that ``netdial`` commands take.

    Its key depends on the way, the data (on the bytes of a table, too) and on all settings, those left to their defaults
    included.

    Attributes:
        data: name of a data set, a table, or a user's function ``package.module:function``.
        choices: settings of the way, options on the data, ``model``, by name; all else has its default.
        way: name of the way of training.
        data_dir: folder that a table is looked for in, beside this one and that of NETDIAL_DATA.
        watch: told how it goes.
        settings: all settings with the choices.
        content: digest of a table, empty for other data.

    Raises:
        ConfigError: a setting is not allowed, or the way is not known.
    """

    data: str
    choices: Mapping[str, Any] = field(default_factory=dict, compare=False)
    way: str = FIRST_WAY
    data_dir: str | None = field(default=None, compare=False)
    watch: Watch = field(default_factory=Watch, compare=False, repr=False)
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
        object.__setattr__(self, "content", table_digest(self.data, self.data_dir))

    @property
    def label(self) -> str:
        """Way and data."""
        return f"{self.way} {Path(self.data).stem}"

    def run(self, store: Store) -> Run:
        """Returns the run of a trial that is made."""
        return Run.open(store.path(self))

    def fill(self, store: Store) -> None:
        """Does the job, or goes on with it."""
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

"""Ways of training: what ``netdial NAME DATA`` does, as one value in one registry.

``jobs.job`` runs any way in a run folder that can be resumed; the command line, run folders, ``netdial list`` and reports find
a way by its name. To add one, write a file with a `Way` and register it: ``WAYS.add("name")(Way(...))``. Modules of ways load
nothing heavy: their functions import what they need when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from netdial.core.errors import ConfigError
from netdial.core.registry import Registry
from netdial.jobs.presets import default_model
from netdial.runs import FIRST_WAY

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.table import Table

    from netdial.jobs.problem import Problem
    from netdial.jobs.records.watch import Watch
    from netdial.report.page import Section
    from netdial.runs.run import Run
    from netdial.train.config import TrainConfig
    from netdial.train.loop import Session


@dataclass(frozen=True)
class Work:
    """One job under way.

    Attributes:
        run: its run folder.
        config: its settings.
        problem: network and data.
        start: what ``prepare`` made, ready to train.
        watch: told how it goes.
        writes: whether this process writes to the run folder; others only help to train.
        step: optimiser steps made before, 0 for a new run.
        session: how it is watched, saved and resumed.
    """

    run: Run
    config: TrainConfig
    problem: Problem
    start: Any
    watch: Watch
    writes: bool
    step: int
    session: Session

    @property
    def going_on(self) -> str:
        """Where a resumed run goes on, for a line of progress."""
        return f", going on at step {self.step}" if self.step else ""


@dataclass(frozen=True)
class Answer:
    """The answer of a run.

    Attributes:
        json: for programs, plain values by name.
        tables: for people, in order.
        lines: sentences below the tables.
        row: for lists of runs, fields of `netdial.runs.listing.RunRow`.
        measures: for sweeps, numbers by the name of a column: metrics with the part of the data before them, and costs.
    """

    json: Mapping[str, Any]
    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()
    row: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)


def _no_defaults(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nothing: a way without settings of its own."""
    return {}


@dataclass(frozen=True)
class Way:
    """A way of training.

    Attributes:
        name: what it is called on the command line and in run folders.
        help: one line on what it does.
        config: returns the class of its settings.
        prepare: network, data and settings -> (what is trained, count of its parameters).
        train: trains what was prepared; returns what came out of it.
        conclude: evaluates what came out, records and saves it.
        headline: returns what came out of a run, from its records alone.
        section: returns what the page of a run tells, from its records alone.
        extra: returns a class of further settings that do not change what is trained, or None.
        defaults: facts of the problem -> values of the further settings.
        model: name of the data -> network, where none is asked for.
        takes_model: whether a network may be asked for; a way that finds one by itself takes none.
        makes_family: whether it leaves a family over λ, which can be evaluated, pruned, weighed and chosen from.
    """

    name: str
    help: str
    config: Callable[[], type[TrainConfig]]
    prepare: Callable[[Problem, Any], tuple[Any, int]]
    train: Callable[[Work], Any]
    conclude: Callable[[Work, Any], None]
    headline: Callable[[Run], Answer]
    section: Callable[[], Section]
    extra: Callable[[], type[BaseModel]] | None = None
    defaults: Callable[[Mapping[str, Any]], dict[str, Any]] = _no_defaults
    model: Callable[[str], str] = default_model
    takes_model: bool = True
    makes_family: bool = False

    @property
    def settings(self) -> tuple[type[BaseModel], ...]:
        """Classes of all its settings."""
        return (self.config(), *((self.extra(),) if self.extra is not None else ()))

    def check_model(self, model: str | None) -> None:
        """Refuses a network where the way finds one by itself.

        Raises:
            ConfigError: one was asked for.
        """
        if model is not None and not self.takes_model:
            raise ConfigError(
                f"model={model!r}: netdial {self.name} finds a network by itself, in a space (space, space_options); "
                "leave it out"
            )

    @property
    def not_training(self) -> tuple[str, ...]:
        """Settings under which the same network comes out, but for rounding."""
        extra = tuple(self.extra().model_fields) if self.extra is not None else ()
        return ("name", "data_dir", "compiled", *extra)


WAYS: Registry[Way] = Registry("way of training")
"""Ways of training by name; those of netdial are registered when ``netdial.jobs`` is loaded."""


def way_of(run: Run) -> Way:
    """Returns the way of training of a run.

    Raises:
        ConfigError: it is not registered.
    """
    return WAYS[str(run.config.get("way", FIRST_WAY))]

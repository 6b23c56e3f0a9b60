"""Kinds of trial: every way of training, and what is done to a trained family, slim and compress.

A kind says which settings there are and makes the cell of a store. What is done to a family needs the family: its settings
begin with ``base.``, and families that are asked for twice are trained once.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from netdial.core.errors import ConfigError, unknown
from netdial.core.registry import Registry
from netdial.data.tables.options import TableOptions
from netdial.jobs.trial import Trial
from netdial.jobs.ways import WAYS, way_of
from netdial.runs import FIRST_WAY
from netdial.runs.folder import FOUND
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store
from netdial.sweeps.trials.refining import Compressing, Slimmed

BASE = "base."
"""What the settings of the run begin with that a family is taken from."""

Digests = Mapping[str, str] | None
"""Name of a table -> SHA-256 of its bytes."""

_ABOUT_DATA = ("model", "target", "kind", "valid", "test", "split_seed", *TableOptions.model_fields)


@dataclass(frozen=True)
class TrialKind:
    """A kind of trial.

    Attributes:
        classes: returns the classes of its settings, pydantic models or dataclasses.
        cell: (data, settings, digests of tables or None) -> the piece of work.
        objectives: what is made small where nobody says what, names of measures.
        refines: whether it starts from a trained family.
        more: settings that no class holds.
    """

    classes: Callable[[], tuple[type, ...]]
    cell: Callable[[str, Mapping[str, Any], Digests], Cell]
    objectives: tuple[str, ...]
    refines: bool = False
    more: tuple[str, ...] = ()

    def names(self) -> dict[str, type | None]:
        """Returns the names of all settings, with their class; None for those that concern data and network."""
        own: dict[str, type | None] = {
            name: kind for kind in self.classes() for name in _fields_of(kind)
        }
        if not self.refines:
            return {**dict.fromkeys(_ABOUT_DATA), **own}
        inner = {f"{BASE}{name}": kind for name, kind in trial_kind(FIRST_WAY).names().items()}
        return {**dict.fromkeys(self.more), **own, **inner}

    def is_whole(self, name: str) -> bool:
        """Returns whether a setting takes whole numbers alone."""
        kind = self.names()[name]
        return kind is not None and _annotation(kind, name.removeprefix(BASE)) is int


REFINEMENTS: Registry[TrialKind] = Registry("refinement")
"""What can be done to a trained family as a trial."""


def trial_names() -> list[str]:
    """Returns the names of all kinds of trial."""
    return [*WAYS, *REFINEMENTS]


def trial_kind(way: str) -> TrialKind:
    """Returns a kind of trial.

    Raises:
        ConfigError: there is none of that name; the nearest is named.
    """
    if way in REFINEMENTS:
        return REFINEMENTS[way]
    if way not in WAYS:
        raise unknown("way", way, trial_names())
    second = ("params",) if way == "shrink" else ()
    return TrialKind(
        lambda: WAYS[way].settings,
        lambda data, choices, digests: Trial(data, choices, way, digests=digests),
        ("valid/loss", *second),
    )


def measures_of(cell: Cell, store: Store) -> dict[str, float]:
    """Returns what a trial that is done measured: metrics with the part of the data before them, and costs."""
    path = store.path(cell)
    if (path / FOUND).exists():
        found = dict(store.read(cell)["measures"])
    else:
        answer = way_of(Run.open(path)).headline(Run.open(path))
        found = dict(answer.measures)
        if not found and answer.row.get("best") is not None:
            found = {str(answer.row["metric"]): answer.row["best"]}
    for part in ("valid", "test"):
        proper = next((name for name in ("rmse", "nll") if f"{part}/{name}" in found), None)
        if proper is not None:
            found[f"{part}/loss"] = found[f"{part}/{proper}"]
    return {name: float(value) for name, value in found.items() if value is not None}


def _split(choices: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns settings of the run that a family is taken from, and those of what is done to it."""
    base = {n.removeprefix(BASE): v for n, v in choices.items() if n.startswith(BASE)}
    return base, {n: v for n, v in choices.items() if not n.startswith(BASE)}


def _slimmed(data: str, choices: Mapping[str, Any], digests: Digests) -> Cell:
    base, own = _split(choices)
    return Slimmed(Trial(data, base, digests=digests), own)


def _compressed(data: str, choices: Mapping[str, Any], digests: Digests) -> Cell:
    base, own = _split(choices)
    return Compressing(Trial(data, base, digests=digests), own)


def _slim_classes() -> tuple[type, ...]:
    from netdial.jobs.analyses.slimming import Slimming
    from netdial.pruning.channels import Limits, Options

    return Slimming, Options, Limits


def _compress_classes() -> tuple[type, ...]:
    from netdial.compression.pipeline.config import CompressConfig

    return (CompressConfig,)


REFINEMENTS.add("slim")(TrialKind(_slim_classes, _slimmed, ("valid/loss", "params"), refines=True))
REFINEMENTS.add("compress")(
    TrialKind(_compress_classes, _compressed, ("valid/loss", "bytes"), refines=True, more=("lam",))
)


def _fields_of(kind: type) -> list[str]:
    """Returns the settings of a class: all fields of a pydantic model, those of a dataclass that are described."""
    if not dataclasses.is_dataclass(kind):
        return list(kind.model_fields)  # type: ignore[attr-defined]
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        f.name for f in dataclasses.fields(kind) if get_origin(hints[f.name]) is typing.Annotated
    ]


def _annotation(kind: type, name: str) -> Any:
    """Returns the type of a setting, without None."""
    found = typing.get_type_hints(kind)[name]
    if isinstance(found, types.UnionType) or get_origin(found) is typing.Union:
        return next(one for one in get_args(found) if one is not type(None))
    return found


def check_settings(kind: TrialKind, names: Mapping[str, Any], where: str) -> None:
    """Refuses settings that a kind of trial does not have.

    Raises:
        ConfigError: there is one; the nearest is named.
    """
    known = kind.names()
    for name in names:
        if name not in known:
            raise unknown(f"setting in {where}", name, known)
        if name == "devices":
            raise ConfigError(
                f"{where}: devices is not for sweeps, where every trial has one; leave it out"
            )


_JUDGED_ON = (
    "target", "kind", "valid", "test", "split_seed", "split_column", "group_column", "time_column",
)  # fmt: skip
"""Settings that say which rows trials are judged on, and by what of them."""
_JUDGING = (
    "objective", "lo", "hi", "lams", "prior_var", "noise_var", "anchor", "posterior", "weighting", "class_weight",
    *_JUDGED_ON, "weight_column",
)  # fmt: skip
"""Settings that the validation objective itself depends on, or the rows that it is of."""


def judged_apart(space: Mapping[str, Any]) -> str:
    """Returns what to know where trials are judged on rows of their own, for what is varied; empty if they are not."""
    names = [name for name in space if name.removeprefix(BASE) in _JUDGED_ON]
    if not names:
        return ""
    return (
        f"space varies {', '.join(names)}, so trials are judged on different rows, and the best may be the one whose rows are "
        "the easiest: compare settings by their means over it"
    )


def check_alike(space: Mapping[str, Any]) -> None:
    """Refuses to stop trials early by a validation objective that is another one in each.

    Raises:
        ConfigError: a setting that it depends on is varied.
    """
    for name in space:
        if name.removeprefix(BASE) in _JUDGING:
            raise ConfigError(
                f"halving with {name} in space: trials are stopped by their validation objective, which changes with {name}, "
                "so that they do not compare before their end; leave halving out, or give one value in settings"
            )

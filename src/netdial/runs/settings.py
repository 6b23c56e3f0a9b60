"""The configuration and the split of a run as its folder holds them: plain JSON, checked on the way in and out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.storage.boundary import DIGEST, read_json, seal, unseal, validated
from netdial.core.storage.files import write_json, write_text
from netdial.runs.schemas.done import check_whole

FORMAT, READS = 2, (1, 2)
"""Version of the layout of a run folder, and those that are read; an older netdial refuses a newer folder.

Folders of format 1 have records without axes, which `runs.earlier` converts.
"""

_EDITED = (
    "put back what stood there, from a copy; a run keeps the settings that it was trained with, so for other settings train "
    "another run (--name)"
)
_ABSENT = object()


def check_config(config: dict[str, Any]) -> None:
    """Refuses what JSON would not give back unchanged.

    Raises:
        ConfigError: a value is no plain JSON, or the key ``format`` is used; the message names the place.
    """
    if "format" in config:
        raise ConfigError("config: the key 'format' is taken by the run folder; rename it")
    for key, value in config.items():
        _check_plain(value, key)


class StoredSettings(dict[str, Any]):
    """The settings of a run; one that is missing is said to be, with the file that lacks it.

    Attributes:
        format: version of the folder's layout.
    """

    def __init__(self, path: Path, settings: dict[str, Any], format: int) -> None:
        super().__init__(settings)
        self._path, self.format = path, format

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(
            f"{self._path}: {key!r} is missing; restore it from a copy, or run again with --overwrite"
        )


def read_config(path: Path) -> dict[str, Any]:
    """Returns the configuration in a ``config.json``, without the format number.

    Raises:
        CheckpointError: it is missing or damaged, or a newer netdial wrote it.
    """
    if not path.exists():
        raise CheckpointError(
            f"{path.parent}: is not a run folder (no config.json in it); give a folder made by netdial fit"
        )
    config = read_json(path, "restore it from a copy, or run again with --overwrite")
    if not isinstance(config, dict) or type(config.get("format")) not in (int, float, str):
        raise CheckpointError(
            f"{path}: carries no format number, so this is not a run folder; give a folder made by netdial fit"
        )
    if config.get("kind") == "netdial-member":
        raise CheckpointError(
            f"{path.parent}: is one network (an exported member), no run; predict, inspect, export and compress take it, other "
            "commands the run that it came from"
        )
    version = config["format"]
    if type(version) is not int or version not in READS:
        known = " or ".join(map(str, READS))
        raise CheckpointError(
            f"{path}: has format {_shown(version)[:60]}, this netdial reads format {known}; install the netdial that wrote it"
        )
    if DIGEST in config:  # earlier runs have none
        config = unseal(config, path, _EDITED)
    del config["format"]
    from netdial.runs.schemas.known import Known

    validated(Known, config, path, "restore it from a copy, or run again with --overwrite")
    if "exclude" in config:  # a run from before parameters could be frozen
        config |= {"shared": config.pop("exclude"), "freeze": []}
    return StoredSettings(path, config, version)


@dataclass(frozen=True)
class Split:
    """Where the data of a run came from, and which of its rows went to which part."""

    source: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, list[int]] = field(default_factory=dict)


def read_split(path: Path) -> Split:
    """Returns what a ``splits.json`` holds, nothing if there is none.

    Raises:
        CheckpointError: it is damaged, was changed, or is gone from a run that is done.
    """
    if not os.path.lexists(path):
        check_whole(path, 0)
        return Split()
    found = read_json(path)
    if isinstance(found, dict) and DIGEST in found:  # earlier runs have none
        found = unseal(found, path)
    known: Split = validated(Split, found, path)
    return known


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Writes a ``config.json`` with the format number and its digest."""
    write_json(path, seal({"format": FORMAT, **config}))


def write_split(path: Path, split: Split) -> None:
    """Writes a ``splits.json`` with its digest."""
    write_text(path, json.dumps(seal(asdict(split))) + "\n")


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


def _shown(value: object) -> str:
    return "(absent)" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


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

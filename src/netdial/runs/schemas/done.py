"""``DONE``: that training has ended as planned, when, and how much the files of the run held then. Loads no torch.

Files that grow by lines, each sealed by itself, do not show that their end is gone, and a file that is gone shows nothing.
``DONE`` therefore counts them: rows of the records and of the log of removals, and which sealed files and models there are.
It is brought up to date after something was written, so that a process which is killed between the two leaves a count that is
too low, and never one that is too high. Runs of earlier versions have no counts, and nothing is missed in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from netdial.core.errors import CheckpointError
from netdial.core.storage.boundary import read_json, validated
from netdial.core.storage.files import write_json

DONE = "DONE"
MODEL_FOLDER = "model"
"""Folder of the trained models of a run."""
FAMILY_FILE, SHRUNKEN_FILE, FOUND_FILE = MODELS = (
    "family.safetensors",
    "shrunken.safetensors",
    "found.safetensors",
)
"""Their names: a family, a network that shrank, one that a search found."""

_CURE = "restore it from a copy, or run again with --overwrite"


class Done(BaseModel):
    """What ``DONE`` says.

    Attributes:
        finished: time of the end, ISO 8601, UTC.
        holds: name of a file -> rows that it holds; 1 for one that is there or not.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    finished: str | None = None
    holds: dict[str, int] = Field(default_factory=dict)


def read_done(folder: Path) -> Done:
    """Returns what ``DONE`` of a run folder says; nothing of a run that has not ended.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / DONE
    if not path.exists():
        return Done()
    cure = "restore it from a copy; without that file the run counts as unfinished"
    found: Done = validated(Done, read_json(path, cure), path, cure)
    return found


def write_done(folder: Path, **facts: Any) -> None:
    """Writes ``DONE``; facts are added to those that it has."""
    write_json(folder / DONE, read_done(folder).model_dump(exclude_defaults=True) | facts)


def expect_rows(path: Path, count: int) -> None:
    """Notes in ``DONE`` that a file of a run that is done will hold no more than so many rows, before the others go."""
    holds = read_done(path.parent).holds
    if holds.get(path.name, 0) > count:
        write_done(path.parent, holds={**holds, path.name: count})


def models(folder: Path) -> dict[str, int]:
    """Returns the trained models of a run, as ``DONE`` counts them."""
    return {
        f"{MODEL_FOLDER}/{name}": 1 for name in MODELS if (folder / MODEL_FOLDER / name).exists()
    }


def check_models(folder: Path) -> None:
    """Refuses a run whose trained model was there when it ended, and is gone.

    Raises:
        CheckpointError: it is.
    """
    for name in read_done(folder).holds:
        if name.startswith(f"{MODEL_FOLDER}/") and not (folder / name).exists():
            raise _missing(folder / name)


def _missing(path: Path) -> CheckpointError:
    return CheckpointError(f"{path}: is missing, and was there when the run ended; {_CURE}")


def check_whole(path: Path, rows: int) -> None:
    """Refuses a file of a run that holds less than it did when it was written.

    Args:
        path: the file; it may be missing.
        rows: what it holds now.

    Raises:
        CheckpointError: something is missing; says how much.
    """
    wanted = read_done(path.parent).holds.get(path.name, 0)
    if rows >= wanted:
        return
    if not path.exists():
        raise _missing(path)
    raise CheckpointError(
        f"{path}: was cut short: it holds {rows} of the {wanted} rows that were written; {_CURE}"
    )

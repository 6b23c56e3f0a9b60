"""Runs the situations of one file of ``tests/cases``; a process of its own, so that one that hangs or crashes can be ended.

``python -m benchmarks.faults._situations FILE [--quick] [--after NAME]`` prints one JSON object when a situation begins and one
when it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import inspect
import io
import itertools
import json
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import netdial
from netdial.core.errors import NetdialError

_SOURCE = str(Path(netdial.__file__).parent)


def situations(file: Path) -> dict[str, Callable[..., None]]:
    """Returns the situations of a file by name, in the order in which they stand there."""
    package = types.ModuleType("cases")
    package.__path__ = [str(file.parent)]
    sys.modules.setdefault("cases", package)
    module = importlib.import_module(f"cases.{file.stem}")
    return {
        f"{name}{label}": given
        for name, found in vars(module).items()
        if hasattr(found, "expects")
        for label, given in _each(found)
    }


def _each(situation: Callable[..., None]) -> Iterator[tuple[str, Callable[..., None]]]:
    """Yields a situation for every choice of its parameters, with what tells them apart; one without parameters as it is."""
    marks = [m for m in getattr(situation, "pytestmark", ()) if m.name == "parametrize"]
    if not marks:
        yield "", situation
        return
    for number, row in enumerate(itertools.product(*(mark.args[1] for mark in marks)), 1):
        given: dict[str, Any] = {}
        for mark, value in zip(marks, row, strict=True):
            if isinstance(mark.args[0], str):
                given[mark.args[0]] = value
            else:
                given |= zip(mark.args[0], value, strict=True)
        one = functools.partial(situation, **given)
        one.__dict__.update(situation.__dict__)
        yield f"[{number}]", one


def is_slow(situation: Callable[..., None]) -> bool:
    """Returns whether a situation is marked as slow."""
    return any(mark.name == "slow" for mark in getattr(situation, "pytestmark", ()))


def outcome(situation: Callable[..., Any]) -> tuple[str, str]:
    """Returns ``right``, ``refused``, ``wrong`` or ``raw``, and what was said of the last two.

    Warnings are errors, as they are in the tests. An assertion of the source that fails is as raw as any other exception.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        given = (
            {"tmp_path": Path(folder)}
            if "tmp_path" in inspect.signature(situation).parameters
            else {}
        )
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                situation(**given)
        except (AssertionError, NetdialError) as error:
            place = traceback.extract_tb(error.__traceback__)[-1].filename
            inside = isinstance(error, AssertionError) and place.startswith(_SOURCE)
            return "raw" if inside else "wrong", _line(error)
        except BaseException as error:
            return "raw", _line(error)
    return str(situation.expects), ""  # type: ignore[attr-defined]


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def main() -> None:
    """Runs the situations of a file and tells of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--after", default="")
    options = parser.parse_args()
    told = sys.stdout
    found = situations(options.file)
    names = list(found)
    if options.after:
        names = names[names.index(options.after) + 1 :]
    for name in names:
        if options.quick and is_slow(found[name]):
            continue
        print(json.dumps({"begins": name}), file=told, flush=True)
        start = time.perf_counter()
        what, said = outcome(found[name])
        row = {"name": name, "outcome": what, "said": said, "seconds": time.perf_counter() - start}
        print(json.dumps(row), file=told, flush=True)


if __name__ == "__main__":
    main()

"""How a situation says what is right: ``@right`` and ``@refused``, and commands that are refused like functions."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netdial.cli import main
from netdial.core.errors import NetdialError

Situation = Callable[..., None]


def right(function: Situation) -> Situation:
    """Marks a situation that has a right value, which it asserts."""
    function.expects = "right"  # type: ignore[attr-defined]
    return function


def refused(*facts: str) -> Callable[[Situation], Situation]:
    """Marks a situation that is refused by a ``NetdialError`` whose message names the facts."""

    def mark(function: Situation) -> Situation:
        @functools.wraps(function)
        def check(*args: Any, **options: Any) -> None:
            try:
                function(*args, **options)
            except NetdialError as error:
                said = str(error)
            else:
                raise AssertionError("it was accepted")
            missing = [fact for fact in facts if fact not in said]
            assert not missing, f"{missing} not in: {said}"

        check.expects = "refused"  # type: ignore[attr-defined]
        return check

    return mark


def command(folder: Path, *words: object, columns: int = 120) -> tuple[str, str]:
    """Returns what a command prints to stdout and stderr when it is given in a folder.

    Raises:
        NetdialError: it ended with exit code 2 and one line of words.
        RuntimeError: it ended in another way.
    """
    out, err = io.StringIO(), io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(columns)
    try:
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main([str(word) for word in words])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    said = err.getvalue().strip()
    if code == 2:
        raise NetdialError(said.splitlines()[-1])
    if code:
        raise RuntimeError(f"exit code {code}: {said}")
    return out.getvalue(), err.getvalue()

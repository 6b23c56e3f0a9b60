"""Follows a value through calls: which functions of netdial are given it or hand it on, seen in a real run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import netdial

_SOURCE = str(Path(netdial.__file__).parent)
_INLINED = ("<listcomp>", "<dictcomp>", "<setcomp>")
"""Parts of a function that are calls of their own in Python 3.11 and none from 3.12 on (PEP 709)."""


@dataclass
class Visit:
    """One call of a function of netdial.

    Attributes:
        file: its file, relative to the package.
        function: its name.
        given: whether the value was among its arguments.
        handed: calls made in it that gave the value back.
    """

    file: str
    function: str
    given: bool
    handed: list[Visit] = field(default_factory=list)

    def files(self) -> Iterator[str]:
        """Yields the files that the value came through to be here, this one first."""
        yield self.file
        for visit in self.handed:
            yield from visit.files()


class Follower:
    """Notes every call of netdial that is given a value or gives it back, while it is used as a context.

    Args:
        carries: whether a thing is, or holds, the value.
        until: called with each visit when it begins; True ends following.
    """

    def __init__(
        self, carries: Callable[[Any], bool], until: Callable[[Visit], bool] = lambda visit: False
    ) -> None:
        self._carries, self._until = carries, until
        self._stack: list[tuple[FrameType, Visit]] = []
        self.visits: list[Visit] = []
        self.way: list[Visit] = []
        """Calls under way when ``until`` was met, outermost first."""

    def __enter__(self) -> Follower:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *failure: object) -> None:
        sys.setprofile(None)

    def files(self) -> list[str]:
        """Returns the files that the value passed on its way, in order of the calls."""
        given = [visit for visit in self.way if visit.given or visit.handed]
        return list(dict.fromkeys(file for visit in given for file in visit.files()))

    def _event(self, frame: FrameType, event: str, value: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(_SOURCE) or code.co_name in _INLINED:
            return
        if event == "call":
            self._enter(frame)
        elif event == "return" and self._stack and self._stack[-1][0] is frame:
            _, visit = self._stack.pop()
            if self._quietly(value):
                self.visits.append(visit)
                if self._stack:
                    self._stack[-1][1].handed.append(visit)

    def _enter(self, frame: FrameType) -> None:
        code = frame.f_code
        count = (
            code.co_argcount
            + code.co_kwonlyargcount
            + bool(code.co_flags & 4)
            + bool(code.co_flags & 8)
        )
        arguments = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
        given = any(map(self._quietly, arguments))
        file = str(Path(code.co_filename).relative_to(_SOURCE))
        visit = Visit(file, code.co_name, given)
        self._stack.append((frame, visit))
        if given:
            self.visits.append(visit)
            if self._until(visit):
                self.way = [visit for _, visit in self._stack]
                sys.setprofile(None)

    def _quietly(self, thing: Any) -> bool:
        """Returns whether a thing carries the value, without following what looking at it calls."""
        sys.setprofile(None)
        try:
            return self._carries(thing)
        finally:
            sys.setprofile(self._event)

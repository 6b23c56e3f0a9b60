"""How far a value travels: files that λ passes from the command line to the loss, and a dead channel from penalty to file.

A short ``netdial shrink`` is run and its calls are followed. λ has a value that nothing else has; its way are the calls that
are open when the penalty on switches is first applied, with the calls that handed it to them. The channels that die first
have a set of numbers that nothing else has; their way are all calls that are given it or give it back until it is first
written to a file. A form of an event is a class, or a dictionary of certain keys, that holds this set together with the step.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch

from benchmarks.common.result import Result
from benchmarks.house._following import Follower
from netdial.cli import main
from netdial.core.records import Event

_LAM, _WIDTH = 0.1234567, 16
_CLOSED = (str, bytes, torch.Tensor, type, ModuleType)
"""What holds nothing that is looked for; modules have attributes that warn when they are read."""
_REACH = {"lam": 6, "dead channel": 10, "forms of one event": 2}


def measure(*, quick: bool) -> Result:
    """Follows one run each; the quick version is the same."""
    lam = _way_of_lam()
    event = _first_event()
    channel, forms = _way_of_channel(event)
    rows = [
        {"what": "lam", "count": len(lam), "reach": _REACH["lam"], "which": " -> ".join(lam)},
        {
            "what": "dead channel",
            "count": len(channel),
            "reach": _REACH["dead channel"],
            "which": " -> ".join(channel),
        },
        {
            "what": "forms of one event",
            "count": len(forms),
            "reach": _REACH["forms of one event"],
            "which": ", ".join(forms),
        },
    ]
    values = {str(row["what"]): float(str(row["count"])) for row in rows}
    return Result("hops", values, "count", "lower", quick=quick, rows=rows)


def _shrink(folder: str) -> None:
    """Trains a small network that loses channels, by the command line."""
    words = ["shrink", "wine", "--model", f"mlp:{_WIDTH}", "--epochs", "3", "--quiet"]
    words += ["--lam", str(_LAM), "--switch-rate", "0.5", "--runs-dir", folder]
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    if code:
        raise RuntimeError(f"netdial shrink ended with {code}")


def _way_of_lam() -> list[str]:
    """Returns the files from the command line to the penalty."""
    follower = Follower(_is_lam, lambda visit: visit.file == "shrinking/penalty.py")
    with tempfile.TemporaryDirectory() as folder, follower:
        _shrink(folder)
    return follower.files()


def _is_lam(thing: Any) -> bool:
    """Returns whether a thing is λ, as a number or text, or holds it directly."""
    return _equals_lam(thing) or any(map(_equals_lam, _parts(thing)))


def _equals_lam(thing: Any) -> bool:
    return (
        thing == str(_LAM) if isinstance(thing, str) else isinstance(thing, float) and thing == _LAM
    )


def _parts(thing: Any) -> Iterator[Any]:
    """Yields what a collection or an object holds directly."""
    if isinstance(thing, Mapping):
        yield from thing.values()
    elif isinstance(thing, list | tuple):
        yield from thing
    elif not isinstance(thing, _CLOSED) and hasattr(thing, "__dict__"):
        yield from vars(thing).values()


def _first_event() -> Event:
    """Returns the first collection that leaves some channels of its group and takes more than one."""
    found: list[Event] = []

    def note(thing: Any) -> bool:
        if isinstance(thing, Event) and thing not in found:
            found.append(thing)
        return False

    with tempfile.TemporaryDirectory() as folder, Follower(note):
        _shrink(folder)
    return next(e for e in found if any(1 < len(gone) < _WIDTH for gone in e.gone.values()))


def _way_of_channel(event: Event) -> tuple[list[str], list[str]]:
    """Returns the files that the channels of an event pass, and the forms that the event takes."""
    gone = next(set(channels) for channels in event.gone.values() if 1 < len(channels) < _WIDTH)
    forms: dict[str, None] = {}

    def carries(thing: Any) -> bool:
        return _holds(thing, gone, event.step, forms, depth=3)

    with tempfile.TemporaryDirectory() as folder, Follower(carries) as follower:
        _shrink(folder)
    files = list(dict.fromkeys(visit.file for visit in follower.visits))
    end = next(place for place, file in enumerate(files) if file.startswith("core/storage/"))
    return files[: end + 1], list(forms)


def _holds(thing: Any, gone: set[int], step: int, forms: dict[str, None], depth: int) -> bool:
    """Returns whether a thing is the set of channels, or holds it so deep; notes the forms of the event in it."""
    if isinstance(thing, torch.Tensor):
        return (
            thing.dtype == torch.bool
            and thing.ndim == 1
            and set(thing.nonzero()[:, 0].tolist()) == gone
        )
    if isinstance(thing, Sequence | set | frozenset) and not isinstance(thing, str | bytes | range):
        numbers = [part for part in thing if type(part) is int]
        if numbers and len(numbers) == len(thing):
            return set(numbers) == gone
    if not depth:
        return False
    held = [_holds(part, gone, step, forms, depth - 1) for part in _parts(thing)]
    if any(held):
        _note(thing, step, forms)
    return any(held)


def _note(thing: Any, step: int, forms: dict[str, None]) -> None:
    """Notes the form of a thing that holds the channels and the step."""
    values = (
        thing if isinstance(thing, Mapping) else vars(thing) if hasattr(thing, "__dict__") else {}
    )
    if values.get("step") == step and "optimizer" not in values:
        keys = [str(key) for key in values if key != "crc"]  # of the line that it stands in
        forms["{" + ", ".join(keys) + "}" if type(thing) is dict else type(thing).__name__] = None

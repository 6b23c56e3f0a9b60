"""Makes one trial, wherever that is, and says how it ended: a value, never an error, so that a sweep goes on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from netdial.core.errors import BusyError, NetdialError, first_line
from netdial.jobs.trial import Trial
from netdial.runs.folder import hold
from netdial.runs.store import Cell, Store, key
from netdial.sweeps.remote import RemoteStore
from netdial.sweeps.spec import EarlyStop
from netdial.sweeps.trials.halving import Rungs, StoppedEarly

End = Literal["done", "stopped", "failed", "lost"]


_PATIENCE_S = 30.0
"""How long a run folder that is in use is waited for."""


@dataclass(frozen=True)
class TrialEnd:
    """How a piece of work ended.

    Attributes:
        state: ``done``; ``stopped`` early, by halving; ``failed``, it would fail again; ``lost``, its process, machine or
            disk failed, and it goes on from its checkpoint when it is tried again.
        seconds: time that it took.
        error: what went wrong.
    """

    state: End
    seconds: float = 0.0
    error: str = ""


def make_trial(cell: Cell, store: Store, halving: EarlyStop | None = None) -> TrialEnd:
    """Makes a cell, or goes on with it from its checkpoint, unless it is made already.

    Args:
        cell: the piece of work; what it needs is made already.
        store: where it is kept.
        halving: when it is stopped early; None never stops it.

    Returns:
        How it ended.
    """
    started = time.perf_counter()
    if isinstance(cell, Trial):
        if isinstance(store, RemoteStore):
            cell = dataclasses.replace(cell, watch=store.watch(cell))
        elif halving is not None:
            cell = dataclasses.replace(cell, watch=Rungs(store.folder, key(cell), halving))
    try:
        store.path(cell).parent.mkdir(parents=True, exist_ok=True)
        with _held(store.path(cell)):
            if not store.is_made(cell):
                store.make(cell)
        return TrialEnd("done", time.perf_counter() - started)
    except StoppedEarly:
        return TrialEnd("stopped", time.perf_counter() - started)
    except (BusyError, OSError, MemoryError) as error:
        return TrialEnd("lost", time.perf_counter() - started, _said(error))
    except NetdialError as error:
        state: End = "lost" if isinstance(error.__cause__, OSError) else "failed"
        return TrialEnd(state, time.perf_counter() - started, _said(error))
    except Exception as error:
        return TrialEnd("failed", time.perf_counter() - started, _said(error))


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Holds a run folder; who works there on behalf of a sweep that was killed is given a while to notice.

    Raises:
        BusyError: it is still in use.
    """
    end = time.monotonic() + _PATIENCE_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold(path))
                break
            except BusyError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        yield


def _said(error: BaseException) -> str:
    """Returns what went wrong, in one line."""
    line = first_line(error)
    return line if isinstance(error, NetdialError) else f"{type(error).__name__}: {line}"

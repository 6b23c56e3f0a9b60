"""Trials in this process, or in processes of this machine."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack

from netdial.jobs.pool import POOLS
from netdial.sweeps.conductor import Conductor, Piece
from netdial.sweeps.engines.registry import ENGINES, Make
from netdial.sweeps.trials.making import TrialEnd


@ENGINES.add("here")
def here(conductor: Conductor, make: Make, workers: int) -> None:
    """Makes trials one after another in this process."""
    with POOLS["here"](1) as executor:
        while (piece := conductor.next()) is not None:
            conductor.ended(piece, executor.submit(make, piece.cell).result())


@ENGINES.add("processes")
def processes(conductor: Conductor, make: Make, workers: int) -> None:
    """Makes trials in processes of this machine, each of which makes one at a time and stays for the next.

    Every process is a pool of its own: one that dies takes only its own trial with it, and is replaced.
    """
    with ExitStack() as stack:
        slots = [_Slot(stack) for _ in range(workers)]
        running: dict[Future[TrialEnd], tuple[_Slot, Piece]] = {}
        while True:
            busy = {slot for slot, _ in running.values()}
            for slot in (one for one in slots if one not in busy):
                piece = conductor.next()
                if piece is None:
                    break
                running[slot.submit(make, piece)] = slot, piece
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                slot, piece = running.pop(future)
                end = slot.result(future)
                if end is None:
                    conductor.died(piece, "its process died, perhaps for want of memory")
                else:
                    conductor.ended(piece, end)


class _Slot:
    """One process, started when it is needed and replaced when it dies.

    Args:
        stack: ends it.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._executor: Executor | None = None

    def submit(self, make: Make, piece: Piece) -> Future[TrialEnd]:
        """Begins a piece of work."""
        if self._executor is None:
            self._executor = self._stack.enter_context(POOLS["processes"](1))
        return self._executor.submit(make, piece.cell)

    def result(self, future: Future[TrialEnd]) -> TrialEnd | None:
        """Returns how a piece of work ended; None if the process died, which is replaced."""
        try:
            return future.result()
        except BrokenProcessPool:
            if self._executor is not None:
                self._executor.shutdown(wait=False)
            self._executor = None
            return None

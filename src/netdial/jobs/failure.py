"""Failed runs: a new one without a saved state is removed, and the error message says how to go on."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from netdial.core.errors import (
    CheckpointError,
    NetdialError,
    WriteError,
)
from netdial.jobs.request import LAST, Job
from netdial.runs.run import Run

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

_REFUSED = (*_FULL, errno.EIO, errno.EROFS, errno.EACCES)

_GROUP_BROKE = re.compile(r"gloo|nccl|\bpeer\b|process ?group|connection|socket", re.IGNORECASE)


@contextmanager
def tidy(job: Job, run: Run, *, writes: bool, fresh: bool) -> Iterator[None]:
    """Removes a new run that failed before it saved anything; the error message says how to go on.

    Raises:
        NetdialError: the disk refused something, or a process of the group died.
    """
    try:
        yield
    except BaseException as error:
        kept = (run.checkpoint_path / LAST).exists()
        stopped = isinstance(error, KeyboardInterrupt)
        replacing = run.replaces is not None
        if writes and fresh and not kept and (replacing or not stopped):
            run.discard()
        if replacing and stopped:
            raise KeyboardInterrupt(f"interrupted; {job.path} is as it was") from None
        plain = _in_words(error, job, run, kept=kept)
        if plain is error:
            raise
        raise plain from error


def _in_words(error: BaseException, job: Job, run: Run, *, kept: bool) -> BaseException:
    """Returns the error to raise: one that says what is left of the run, for errors of the disk and of other processes."""
    again = f"go on with: {job.again}" if kept else "start again"
    if isinstance(error, OSError) and error.errno in _REFUSED:
        what = f"{run.name}: the run could not be written"
        first = str(error) if isinstance(error, WriteError) else f"{what} ({error.strerror})"
        first = first.removesuffix("; free some space and try again")  # the cure below says it
        cure = "free some space, then " if error.errno in _FULL else "then "
        state = "its last state is kept" if kept else "nothing of it was saved"
        return CheckpointError(f"{first}; {state}; {cure}{again}")
    if isinstance(error, RuntimeError) and _in_group() and _GROUP_BROKE.search(str(error)):
        state = "the last state is kept" if kept else "nothing was saved yet"
        return NetdialError(
            f"a process of the group that trains {job.path} died, perhaps for want of memory, or cannot be reached any more; "
            f"{state}; {again}"
        )
    if (
        isinstance(error, NetdialError)
        and run.replaces is not None
        and not isinstance(error, OSError)
    ):
        return type(error)(f"{error}; {job.path} is as it was")
    return error


def _in_group() -> bool:
    """Returns whether several processes train together."""
    from torch import distributed

    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )

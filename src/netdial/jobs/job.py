"""A job: one run from data to report, whatever the way of training. On several processes only the first one writes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from netdial.jobs.failure import tidy
from netdial.jobs.problem import by_index, reading_lines
from netdial.jobs.records.sinks import check_sinks, sending
from netdial.jobs.records.watch import Watch
from netdial.jobs.reports import write_report
from netdial.jobs.request import (
    LAST,
    Job,
    done_already,
    folder,
    resumable,
    saved,
    saved_step,
    settle,
    working,
)
from netdial.jobs.ways import Work
from netdial.runs.run import Run

if TYPE_CHECKING:
    from netdial.train.loop import Session


def do_job(job: Job, watch: Watch) -> Run | None:
    """Does a job and returns its run, or returns a run that is done already when resuming.

    Args:
        job: what to do.
        watch: told how it goes.

    Returns:
        The run; None on a process that only helped another one to train.

    Raises:
        NetdialError: something the caller can mend; a run that has not saved any state yet leaves no folder.
        Interrupted: a signal asked for it; the state is saved.
    """
    check_sinks(job.log)
    if (done := done_already(job, watch)) is not None:
        return done
    with working(job):
        if (done := done_already(job, watch, write_report)) is not None:
            return done
        old = resumable(job)
        watch.say(f"reading {job.data}")
        config, problem = settle(job, old)
        for line in reading_lines(problem.task):
            watch.say(line)
        start, n_params = job.way.prepare(problem, config)
        run, writes = folder(job, old, config, problem, n_params)
        with tidy(job, run, writes=writes, fresh=old is None):
            work = _begin(
                job, run, writes=writes, config=config, problem=problem, start=start, watch=watch
            )
            with sending(run, job.log if writes else (), job.runs_dir, work.step):
                made = job.way.train(work)
                if not writes:
                    return None
                job.way.conclude(work, made)
            run.finish()
            if job.report:
                write_report(run.path)
    return run


def _begin(job: Job, run: Run, *, writes: bool, **more: Any) -> Work:
    """Returns the work of a job: from its last checkpoint when resuming, with all later records cut off.

    They are cut off when training goes on, so that a checkpoint which is refused leaves the folder as it is.
    """
    checkpoint, watch, data = run.checkpoint_path / LAST, more["watch"], more["problem"].task
    step = saved_step(checkpoint) if job.resume else 0
    stale = writes
    if writes and not step:
        run.truncate(-1)
        stale = False

    def advance(now: int, steps: int) -> None:
        nonlocal stale
        if stale:
            run.truncate(step)
            stale = False
        watch.advance(now, steps)

    more["config"] = by_index(more["config"], data)
    session: Session = {
        "advance": advance,
        "checkpoint": checkpoint,
        "saved": partial(saved, run),
        "resuming": job.resume,
        "identity": {k: v for k, v in run.config.items() if k not in job.way.not_training},
    }
    return Work(run=run, writes=writes, step=step, session=session, **more)

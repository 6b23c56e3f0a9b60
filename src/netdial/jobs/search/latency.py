"""Times of operations for a search, for a limit or a price of latency: measured once for a run."""

from __future__ import annotations

from pathlib import Path

from netdial.data import Splits
from netdial.jobs.records.watch import Watch
from netdial.structure.latency import LatencyLookup, measure_table
from netdial.structure.search.config import SpaceSearchConfig
from netdial.structure.search.job import SearchJob
from netdial.structure.spaces import ready_space
from netdial.train.config import make


def timed(job: SearchJob, path: Path, watch: Watch, given: str | None = None) -> LatencyLookup:
    """Returns times of the operations of a search on this machine, measured once for a run.

    Args:
        job: the search.
        path: file of the table; it is measured if there is none.
        watch: told how it goes.
        given: file of a table that was measured before; None to measure it now.

    Raises:
        ConfigError: the table is of another machine or space, or does not predict.
    """
    if given is not None and not path.exists():
        before = LatencyLookup.load(Path(given))
        before.check(job.space, 1)
        before.save(path)
    if not path.exists():
        watch.say("measuring how long operations take on this machine")
        measure_table(job.space).save(path)
    table = LatencyLookup.load(path)
    watch.say(f"latency table: {table.agreement}")
    table.check(job.space, 1)
    return table


def measured(
    data: Splits, space: str, options: str, batch_size: int, networks: int
) -> LatencyLookup:
    """Returns the latency table of a ready space for data, measured on this machine.

    Args:
        data: what the networks are for.
        space: name of the space.
        options: its options, as text.
        batch_size: examples in a call.
        networks: random networks that it is held against.

    Raises:
        ConfigError: the space or an option is unknown.
    """
    asked = make(SpaceSearchConfig, {"space": space, "space_options": options or {}})
    made = ready_space(
        space, input_shape=data.input_shape, n_outputs=data.n_outputs, **asked.space_options
    )
    return measure_table(made, batch_size=batch_size, n_held=networks)

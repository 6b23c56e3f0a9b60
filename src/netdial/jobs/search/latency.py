"""A limit of latency for a search: its table is measured once for a run, and what is chosen is measured again."""

from __future__ import annotations

from pathlib import Path

from netdial.jobs.records.watch import Watch
from netdial.structure.latency import LatencyLookup, measure_table
from netdial.structure.search.limits import latency_limit
from netdial.structure.search.searching import SearchJob


def limited(job: SearchJob, most_ms: float, path: Path, watch: Watch) -> None:
    """Gives a search a limit in milliseconds for one example.

    Args:
        job: the search.
        most_ms: the limit.
        path: file of the table; it is measured if there is none.
        watch: told how it goes.

    Raises:
        ConfigError: the table is of another machine or space or does not predict, or no structure meets the limit.
    """
    if not path.exists():
        watch.say("measuring how long operations take on this machine")
        measure_table(job.space).save(path)
    table = LatencyLookup.load(path)
    watch.say(f"latency table: {table.agreement}")
    job.limit = latency_limit(job.space, f"{most_ms!r} ms", table)

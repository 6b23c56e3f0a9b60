"""A run of which nothing was chosen yet: what is known of it, and when the rest will be."""

from __future__ import annotations

from collections.abc import Sequence

from netdial.core.records import Record
from netdial.report.standing.told import (
    UNKNOWN,
    Fact,
    Standing,
    Worth,
    constant_told,
    cost_told,
    rival_told,
    rivals_command,
)
from netdial.report.text import count
from netdial.runs.curves import constants, metrics_of, rivals
from netdial.runs.run import Run

LATER = "known once training has finished"


def unfinished_standing(
    run: Run, records: Sequence[Record], now: Worth | None = None, before: Worth | None = None
) -> Standing:
    """Returns what is known of a run before anything was chosen.

    Args:
        run: the run.
        records: what was recorded.
        now: what its network costs, ``params`` and more; else that of its settings.
        before: what it cost at the start.
    """
    config = run.config
    metric = f"valid/{metrics_of(config)[1]}"
    whole, rows = config.get("n_params"), config.get("n_valid")
    cost = now or ({"params": float(whole)} if isinstance(whole, int) else {})
    later = "no member was measured on validation data" if run.is_done else LATER
    constant, beside = constants(records), rivals(records)
    judged = f"; judged on {count(rows)} validation rows" if isinstance(rows, int) else ""
    return Standing(
        chosen=Fact(UNKNOWN, f"nothing yet: {later}"),
        cost=cost_told(cost, before),
        lost=Fact(UNKNOWN, later),
        sure=Fact(UNKNOWN, f"{later}{judged}"),
        constant=constant_told(constant, metric, {}) if constant else Fact(UNKNOWN, later),
        rival=rival_told(
            beside, metric, {}, rivals_command(run.name) if run.is_done else LATER, config
        ),
    )

"""Records as an earlier format wrote them, for tests that say much in few words."""

from __future__ import annotations

from netdial.core.records import Record
from netdial.runs.earlier import converted


def early(
    run: str,
    method: str,
    lam: float | None,
    seed: int,
    step: int,
    name: str,
    value: float,
    unit: str = "",
    share: float | None = None,
) -> Record:
    """Returns a record as format 1 wrote it, converted."""
    row = {"run": run, "method": method, "lam": lam, "seed": seed, "step": step, "name": name}
    return Record(**converted({**row, "value": value, "unit": unit, "share": share}))

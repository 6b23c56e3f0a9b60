"""Records as an earlier format wrote them, and settings that somebody changed, for tests that say much in few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from netdial.core.records import Record
from netdial.core.storage.boundary import DIGEST, seal
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


def resealed(path: Path, **changes: Any) -> None:
    """Changes settings in a ``config.json`` and its digest with them, as somebody would who knows how."""
    config = json.loads(path.read_text(encoding="utf-8"))
    del config[DIGEST]
    path.write_text(json.dumps(seal({**config, **changes})), encoding="utf-8")

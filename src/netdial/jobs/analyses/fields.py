"""Options that several analyses have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Criterion = Annotated[
    str | None,
    Field(
        description="what goes first, by default density, or magnitude for points",
        json_schema_extra={"names": "netdial.pruning.weights:CRITERIA"},
    ),
]
"""A name in ``CRITERIA``; None for ``density``, or ``magnitude`` where there is no posterior."""

Refit = Annotated[
    bool,
    Field(
        description="let what is left make up for what went: layers are fit to what they made before, by least squares over "
        "training inputs"
    ),
]
"""Whether the layers of pruned members are refit."""

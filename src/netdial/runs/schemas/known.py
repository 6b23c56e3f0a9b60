"""What a run's configuration may hold: types and ranges of the settings that commands and reports read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Size = Annotated[int, Field(ge=1, lt=1 << 31)]
Positive = Annotated[float, Field(gt=0)]


class Known(BaseModel):
    """The settings that are read from a configuration; one that is there has its type, others are passed on as they are."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    name: str | None = None
    data: str | None = None
    data_dir: str | None = None
    model: Annotated[str, Field(max_length=1000)] | None = None
    way: str | None = None
    kind: str | None = None
    metric: str | None = None
    proper: str | None = None
    objective: str | None = None
    map: str | None = None
    size: str | None = None
    lo: Positive | None = None
    hi: Positive | None = None
    lam: Annotated[float, Field(ge=0)] | None = None
    epochs: Count | None = None
    batch_size: Size | None = None
    points: Annotated[int, Field(ge=1, le=100_000)] | None = None
    samples: Annotated[int, Field(ge=0, le=100_000)] | None = None
    minimum: Count | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    input_shape: Annotated[list[Size], Field(min_length=1, max_length=8)] | None = None
    input_type: str | None = None
    n_outputs: Size | None = None
    n_params: Count | None = None
    n_train: Count | None = None
    n_valid: Count | None = None
    n_test: Count | None = None
    files: dict[str, str] | None = None
    load: dict[str, Any] | None = None

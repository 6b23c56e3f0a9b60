"""Settings of a compression: what it is to arrive at, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from netdial.core.arguments import checked_fields
from netdial.core.errors import ConfigError

_GOALS = ("max_bytes", "max_loss", "price")


@checked_fields
@dataclass(frozen=True)
class CompressConfig:
    """Settings of a compression.

    Raises:
        ConfigError: two goals, or a value out of range.
    """

    max_bytes: Annotated[
        int | None,
        Field(ge=64, description="bytes that the file may have; the least loss among those"),
    ] = None
    max_loss: Annotated[
        float | None,
        Field(
            ge=0,
            description="how much the loss on validation rows may rise, else one paired standard error; then the smallest file",
        ),
    ] = None
    price: Annotated[
        float | None,
        Field(
            gt=0,
            description="bits of loss over all training rows that a bit of the file is worth; 1 is minimum description length",
        ),
    ] = None
    metric: Annotated[
        str | None, Field(description="metric of the task that is the loss; else the proper loss")
    ] = None
    epochs: Annotated[
        int, Field(ge=1, description="passes over the data while weights go, at every size tried")
    ] = 8
    tuning: Annotated[
        int,
        Field(ge=0, description="passes over the data with shared values; 0 does not train them"),
    ] = 3
    lr: Annotated[float, Field(gt=0, description="peak learning rate")] = 1e-3
    batch_size: Annotated[int, Field(ge=1, description="examples in a batch")] = 256
    criterion: Annotated[
        str,
        Field(
            description="what goes first, per bit",
            json_schema_extra={"names": "netdial.compression.pipeline.sparsify:criteria"},
        ),
    ] = "gradient"
    schedule: Annotated[
        str,
        Field(
            description="how the bits fall",
            json_schema_extra={"names": "netdial.pruning.weights.rounds:RISES"},
        ),
    ] = "cubic"
    share: Annotated[
        Literal["entropy", "kmeans", "uniform", "posterior"],
        Field(
            description="entropy: values and codes at the least loss + price of bits; kmeans: --values of them in each layer; "
            "uniform: multiples of a step; posterior: entropy, with the variances of the posterior in place of curvature"
        ),
    ] = "entropy"
    values: Annotated[int, Field(ge=1, description="values in a layer at most, beside 0")] = 32
    start: Annotated[
        str,
        Field(
            description="where k-means begins",
            json_schema_extra={"names": "netdial.compression.pipeline.sharing:STARTS"},
        ),
    ] = "linear"
    distil: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="part of the training loss that asks for the outputs of the network given in place of the targets",
        ),
    ] = 0.0
    biases: Annotated[bool, Field(description="biases share values, too")] = True
    free: Annotated[
        bool,
        Field(
            description="bits that cost nothing: dead inputs and units, order and scale of units"
        ),
    ] = True
    profile: Annotated[
        Literal["max", "fast", "huffman"], Field(description="coder of the file")
    ] = "max"
    seed: Annotated[int, Field(ge=0, description="seed of everything random")] = 0

    def __post_init__(self) -> None:
        """Refuses goals that exclude each other."""
        given = [name for name in _GOALS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(
                f"{' and '.join(given)} exclude each other; give one: the size, the loss, or the price of a bit"
            )

"""Settings of a compression: what it is to arrive at, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from netdial.core.arguments import checked_fields
from netdial.core.errors import ConfigError

_EPOCHS, _STEPS, _TUNED = 8, 300, 3 / 8
"""Passes over the data and optimiser steps that a training has at least, and the part of it with shared values."""

_VALUES, _MOST_VALUES = 32, 128
"""Values in a layer at most, and where more precision is asked for."""

_BITS = 3.0
"""Bits of value of a weight that goals are counted with where none are given."""

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
            description="how much the loss on validation rows may rise against a dense control, else one paired standard error "
            "(of a regression: squared error in variances of the target)",
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
        int | None,
        Field(
            ge=1,
            description="passes over the data while weights go, at every size; else 8, or more of few data",
        ),
    ] = None
    tuning: Annotated[
        int | None,
        Field(
            ge=0,
            description="passes over the data with shared values, 0 for none; else 3/8 of the epochs",
        ),
    ] = None
    steps: Annotated[
        int,
        Field(
            ge=1,
            description="networks on the way to max_bytes, each 1.6 times as large as the next; 1 goes straight to it",
        ),
    ] = 1
    lr: Annotated[float, Field(gt=0, description="peak learning rate")] = 1e-3
    batch_size: Annotated[
        int | None, Field(ge=1, description="examples in a batch; else 256, or 1/8 of few data")
    ] = None
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
    values: Annotated[
        int | None,
        Field(
            ge=1,
            description="values in a layer at most, beside 0; else 32, up to 128 where bytes are left or a loss is not met",
        ),
    ] = None
    bits: Annotated[
        float | None,
        Field(
            gt=0,
            le=math.log2(_MOST_VALUES) - 1,
            description="bits of value of a weight on average; else 2 and 3, more where bytes are left or a loss is not met",
        ),
    ] = None
    start: Annotated[
        str,
        Field(
            description="where k-means begins",
            json_schema_extra={"names": "netdial.compression.pipeline.sharing:STARTS"},
        ),
    ] = "linear"
    distil: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="part of the training loss that asks for the outputs of the network given in place of the targets; "
            "else 0.7, and 1 for a whole family, whose members are to stay what they are",
        ),
    ] = None
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
        if self.bits is not None and self.share == "kmeans":
            raise ConfigError(
                f"bits={self.bits:g} with share='kmeans': k-means has --values of them in each layer; give those"
            )
        if self.bits is not None and self.values and self.bits > math.log2(self.values):
            raise ConfigError(
                f"bits={self.bits:g} with values={self.values}: so many values have {math.log2(self.values):.3g} bits at most; "
                "allow more values, or fewer bits"
            )

    def most_values(self, bits: float = 0.0) -> int:
        """Returns how many values a layer has at most, where a value takes so many bits on average.

        >>> CompressConfig().most_values(3.0), CompressConfig().most_values(6.0), CompressConfig(values=9).most_values(6.0)
        (32, 128, 9)
        """
        return self.values or min(max(_VALUES, 2 ** math.ceil(bits + 1)), _MOST_VALUES)

    def precisions(self, usual: tuple[float, ...]) -> tuple[float, ...]:
        """Returns the bits of value that every size is tried with: those given, else the usual ones."""
        return usual if self.bits is None else (self.bits,)

    @property
    def value_bits(self) -> float:
        """Bits of value of a weight that a goal in bits is counted with."""
        return self.bits or _BITS

    @property
    def finest(self) -> float:
        """Bits of value that are tried at most; 0 where values are not told by bits."""
        if self.share == "kmeans":
            return 0.0
        if self.bits is not None:
            return self.bits
        return math.log2(self.values + 1) if self.values else math.log2(_MOST_VALUES) - 1

    def resolved(self, n_data: int) -> ResolvedConfig:
        """Returns the settings of the trainings on so many examples."""
        batch = self.batch_size or min(256, max(8, n_data // 8))
        steps = -(-n_data // min(batch, n_data))
        epochs = self.epochs or max(_EPOCHS, -(-_STEPS // steps))
        tuning = math.ceil(_TUNED * epochs) if self.tuning is None else self.tuning
        return ResolvedConfig(epochs, tuning, batch)


class ResolvedConfig(NamedTuple):
    """Lengths of the trainings.

    Attributes:
        epochs: passes over the data while weights go.
        tuning: passes over the data with shared values.
        batch_size: examples in a batch.
    """

    epochs: int
    tuning: int
    batch_size: int

"""Latency table of a search space: the time of each operation on each edge, measured on the machine that will run the network.

A structure is predicted to take  constant + Σ over the operations that are there (scale · time + per_edge).  The three numbers
are fitted to whole networks; others are held back to say how well the table predicts (``agreement``).
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.storage.boundary import read_json, seal, unseal, validated
from netdial.core.storage.files import write_atomic
from netdial.measure.latency import Machine
from netdial.structure.cost import StructureCosts
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import SearchSpace

MOST_ERROR, LEAST_RANK, LEAST_SPREAD, LEAST_RELIABLE = 0.15, 0.9, 1.1, 0.9
"""A table may be used if the median error is at most the first, and the rank correlation at least the second. The order is not
looked at where the slowest network takes less than the third times the fastest, or where less than the fourth of the variance
between measured times would be there if they were measured again: then it is noise."""

_FORMAT = 1


@dataclass(frozen=True)
class OperationTime:
    """Time of an operation on its own.

    Attributes:
        ms: milliseconds on a quiet machine.
        spread_ms: distance between the quartiles of the readings.
        readings: how many there were.
    """

    ms: float
    spread_ms: float
    readings: int


@dataclass(frozen=True)
class LatencyAgreement:
    """How predictions of a table compare with measured times of whole networks that it was not fitted to.

    Attributes:
        predicted_ms: predictions.
        measured_ms: times of the same networks.
        median_error: median of |predicted / measured - 1|.
        worst_error: the largest.
        r2: share of the variance of measured times that predictions explain.
        rank_correlation: Spearman's.
        noise: standard deviation of a measured time over itself, from times of the same network.
    """

    predicted_ms: tuple[float, ...]
    measured_ms: tuple[float, ...]
    median_error: float
    worst_error: float
    r2: float
    rank_correlation: float
    noise: float = 0.0

    @property
    def reliability(self) -> float:
        """Share of the variance of measured times, as logarithms, that is not noise of measuring; 0 where all is."""
        logs = [math.log(each) for each in self.measured_ms]
        variance = statistics.pvariance(logs)
        return max(1 - self.noise**2 / variance, 0.0) if variance else 0.0

    @property
    def ordered(self) -> bool:
        """Whether networks differ in time by more than noise, so that their order can be asked for."""
        spread = max(self.measured_ms) / min(self.measured_ms)
        return spread >= LEAST_SPREAD and self.reliability >= LEAST_RELIABLE

    @property
    def good(self) -> bool:
        """Whether a search may use the table."""
        right = not self.ordered or self.rank_correlation >= LEAST_RANK
        return self.median_error <= MOST_ERROR and right

    def __str__(self) -> str:
        count = len(self.measured_ms)
        errors = (
            f"median error {100 * self.median_error:.1f} %, largest {100 * self.worst_error:.0f} %"
        )
        if not self.ordered:
            return f"{errors}, {count} network{'s' * (count > 1)} whose times differ by little more than noise"
        return f"{errors}, R² {self.r2:.3f}, rank correlation {self.rank_correlation:.3f}, {count} networks"


@dataclass(frozen=True)
class LatencyLookup:
    """Times of the operations of a search space on one machine.

    Attributes:
        space: fingerprint of the space.
        machine: what the times were measured on.
        batch_size: examples in a call.
        times: edge -> operation -> its time.
        constant_ms: time of a network beside its operations.
        per_edge_ms: time of an edge beside its operation.
        scale: time of an operation in a network over its time alone.
        agreement: how well it predicts; None before it was held against networks.
    """

    space: str
    machine: Machine
    batch_size: int
    times: Mapping[str, Mapping[str, OperationTime]]
    constant_ms: float = 0.0
    per_edge_ms: float = 0.0
    scale: float = 1.0
    agreement: LatencyAgreement | None = None

    @property
    def unit(self) -> str:
        """Milliseconds."""
        return "ms"

    @cached_property
    def costs(self) -> dict[str, dict[str, float]]:
        """Edge -> operation -> what it adds to a network, in milliseconds; 0 for operations that are no edge."""
        return {
            edge: {
                name: self.scale * time.ms + self.per_edge_ms if time.readings else 0.0
                for name, time in operations.items()
            }
            for edge, operations in self.times.items()
        }

    def of(self, costs: StructureCosts, genotype: Genotype) -> float:
        """Returns the predicted time of a genotype in milliseconds."""
        return self.constant_ms + costs.of_table(genotype, self.costs)

    def expected(self, costs: StructureCosts, probabilities: Mapping[str, Tensor]) -> Tensor:
        """Returns the expected time in milliseconds under probabilities of the operations, differentiable."""
        return self.constant_ms + costs.expected_of_table(self.costs, probabilities)

    def check(
        self, space: SearchSpace, batch_size: int, device: torch.device | str = "cpu"
    ) -> None:
        """Refuses the table where it does not hold: for another space, machine or batch, or where it does not predict.

        Raises:
            ConfigError: it says what differs, or how far predictions were off.
        """
        if self.space != space.fingerprint:
            raise ConfigError(
                f"latency table: is of the space {self.space}, this one ({space.name}) is {space.fingerprint}; measure it anew"
            )
        here = Machine.here(device)
        differ = [
            f"{field.name} was {getattr(self.machine, field.name)!r}, is {getattr(here, field.name)!r}"
            for field in fields(Machine)
            if getattr(self.machine, field.name) != getattr(here, field.name)
        ]
        if differ:
            raise ConfigError(
                f"latency table: was measured elsewhere ({'; '.join(differ)}); measure it anew on this machine"
            )
        if self.batch_size != batch_size:
            raise ConfigError(
                f"latency table: was measured with a batch of {self.batch_size}, asked for {batch_size}; measure it anew"
            )
        if self.agreement is None:
            raise ConfigError(
                "latency table: was not held against whole networks; measure_table does so"
            )
        if not self.agreement.good:
            raise ConfigError(
                f"latency table: does not predict ({self.agreement}); a median error of at most {100 * MOST_ERROR:.0f} % and a "
                f"rank correlation of at least {LEAST_RANK} are wanted. Measure again when the machine is idle, or with a "
                "larger batch"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the table as plain values."""
        return {"kind": "latency table", "format": _FORMAT, **asdict(self)}

    def save(self, path: str | Path) -> None:
        """Writes the table as JSON, with a digest.

        Raises:
            WriteError: the disk refused it.
        """
        text = json.dumps(seal(json.loads(json.dumps(self.to_json()))), indent=1)

        def write(to: Path) -> None:
            to.write_text(text, encoding="utf-8")

        write_atomic(Path(path), write)

    @classmethod
    def load(cls, path: str | Path) -> LatencyLookup:
        """Returns a table that ``save`` wrote.

        Raises:
            CheckpointError: there is none, it was changed, or it is something else.
        """
        path = Path(path)
        found = read_json(path, "measure the table anew")
        if not isinstance(found, dict) or found.get("kind") != "latency table":
            raise CheckpointError(f"{path}: no latency table; netdial latency writes one")
        if found.get("format") != _FORMAT:
            raise CheckpointError(
                f"{path}: has format {found.get('format')!r}, this version reads {_FORMAT}; measure the table anew"
            )
        plain = unseal(found, path)
        del plain["kind"], plain["format"]
        table: LatencyLookup = validated(cls, plain, path, "measure the table anew")
        return table

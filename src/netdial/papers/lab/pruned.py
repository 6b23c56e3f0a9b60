"""Cells that measure: accuracy of a family's members against the share of weights removed.

Shapes: L complexity values, S shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from netdial.papers.lab.training import Training
from netdial.pruning.weights.mask import Policy
from netdial.pruning.weights.surfaces import surface
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store


class Accuracy(NamedTuple):
    """Accuracy of mean weights on validation and test data ``[L, S]``."""

    valid: Tensor
    test: Tensor


@dataclass(frozen=True)
class PrunedFamily(Cell):
    """A trained family, pruned by relative density (2022 paper, eq. 17), or by magnitude (eq. 18) if its posterior is a point.

    Attributes:
        training: the family.
        lams: complexity values of the members.
        shares: shares of the weights removed; biases are never removed.
        scope: ``layer`` removes the share from every layer, as the papers do; ``global`` orders all weights together.
        fold: fold the weights of inputs that never change into biases, and count them as removed first.
    """

    training: Training
    lams: tuple[float, ...]
    shares: tuple[float, ...]
    scope: Literal["layer", "global"] = "layer"
    fold: bool = False

    @property
    def label(self) -> str:
        """Words for people."""
        return f"pruned {self.scope} {self.training.label}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """The training."""
        return (self.training,)

    @property
    def cost(self) -> float:
        """About that of one epoch for each member."""
        return 0.05 * len(self.lams) * len(self.shares)

    def make(self, run: Run, store: Store) -> dict[str, Any]:
        """Returns what all members are worth at all shares, on validation and test data."""
        family = self.training.family(store)
        task = self.training.task(store)
        found = {
            part: surface(
                family,
                task.part(part),
                lams=self.lams,
                shares=self.shares,
                policy=Policy(scope=self.scope),
                train=self.training.part(task),
                fold=self.fold,
                metrics=("accuracy",),
            )
            for part in Accuracy._fields
        }
        return {part: s.metrics["accuracy"].tolist() for part, s in found.items()}

    def read(self, store: Store) -> Accuracy:
        """Returns what was measured."""
        found = store.read(self)
        return Accuracy(
            *(torch.tensor(found[part], dtype=torch.float64) for part in Accuracy._fields)
        )

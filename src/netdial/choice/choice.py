"""What a choice gives: the member ready for use, the record of why, and the ways to go on with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from netdial.choice.card import card_of
from netdial.choice.member import measured, restricted
from netdial.choice.search import Problem
from netdial.choice.table import Cell, Table, error_of, losses_of, value_of
from netdial.choice.tune import Tuning
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset, Splits
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.measure.path import outputs
from netdial.models.member import Exported, save_member
from netdial.models.use import use_of
from netdial.pruning.weights.criteria import default_criterion
from netdial.task.rehearsal import admit

_SUFFIXES = {".onnx": "onnx", ".pt2": "torch-export"}


@dataclass(frozen=True, eq=False)
class Choice:
    """The member that was chosen, ready for use.

    Attributes:
        family: the member as a family of one; what was removed stays removed in whatever is done with it.
        row: its λ, share removed, costs, and value on validation data.
        losses: its loss on every validation example ``[N]``.
        by: rule or estimator.
        why: what was compared, in one sentence.
        table: everything there was to choose from.
        problem: data, and how members are pruned.
        tuning: how members are trained further.
        steps: what was done with the member after it was chosen.
        test: metrics on test data, if they were looked at (``tested``).
    """

    family: Family
    row: Cell
    losses: Tensor
    by: str
    why: str
    table: Table
    problem: Problem
    tuning: Tuning
    steps: tuple[str, ...] = ()
    test: dict[str, float] = field(default_factory=dict)

    @property
    def lam(self) -> float:
        """Complexity value."""
        return self.row.lam

    @property
    def share(self) -> float:
        """Share of the removable numbers that is gone."""
        return self.row.share

    @property
    def module(self) -> nn.Module:
        """The member as an ordinary network in evaluation mode; a fresh copy every time."""
        return self.family.export(self.lam)

    @property
    def error(self) -> float:
        """Standard error of ``row.value``."""
        return error_of(self.losses, self.problem.task)

    @property
    def card(self) -> str:
        """The model card: a page in Markdown with metadata in its head, as the Hugging Face hub has them."""
        return card_of(self)

    def prune(self, *, fraction: float, criterion: str | None = None) -> Choice:
        """Returns the member with more removed.

        Args:
            fraction: share of its removable numbers to remove in all; what is gone already counts.
            criterion: what goes first; by default that of the choice.

        Raises:
            ConfigError: the share is outside [0, 1), or less than is gone already.
        """
        if fraction < self.share:
            raise ConfigError(
                f"fraction={fraction:g}: a share of {self.share:g} is removed already and does not come back; "
                "give a larger one, or choose again with shares="
            )
        pruning = self.problem.pruning
        name = criterion or pruning.criterion or default_criterion(self.family)
        problem = replace(self.problem, pruning=replace(pruning, criterion=name))
        family = restricted(self.family, self.lam, fraction, problem)
        changed = replace(self, problem=problem)
        return changed._become(family, fraction, f"pruned to {fraction:.4g} removed by {name}")

    def finetune(self, train: Data | None = None, *, epochs: int = 1, **settings: Any) -> Choice:
        """Returns the member trained further at its own λ; what was removed stays removed.

        Args:
            train: training data; by default those that the choice was given.
            epochs: passes over them.
            **settings: fields of ``FitConfig``, for example ``lr=1e-4``.

        Raises:
            ConfigError: there are no training data, or a setting is wrong.
        """
        problem = replace(
            self.problem, train=self._part(train, "training part") or self.problem.train
        )
        settings = {**self.tuning.settings, **settings}
        tuning = replace(self.tuning, epochs=epochs, settings=settings)
        family = tuning.train(self.family, self.lam, problem)
        changed = replace(self, problem=problem)
        return changed._become(family, self.share, f"fine-tuned for {epochs} epoch(s)")

    def tested(self, test: Data) -> Choice:
        """Returns the choice with its value on test data: to be looked at once, when everything has been decided."""
        data = self._part(test, "test part")
        assert data is not None
        losses = losses_of(outputs(self.module, data), data.y.cpu(), self.problem.task)
        value = value_of(losses, self.problem.task)
        error = error_of(losses, self.problem.task)
        return replace(self, test={self.table.metric: value, "error": error, "n": float(len(data))})

    def export(
        self, path: str | Path, *, data: Splits | None = None, meta: dict[str, Any] | None = None
    ) -> Exported:
        """Writes the member: ``NAME.onnx``, ``NAME.pt2`` (torch.export), ``NAME.safetensors``, or a folder with its card.

        Args:
            path: file or folder; the suffix says which.
            data: what the family was trained on, as ``nd.load`` returned it, so that what is written predicts from rows as
                people have them (``nd.load_model(path).predict(rows)``).
            meta: stored in the description of the last two; see ``netdial.models.family`` for its key ``net``.

        Raises:
            NetdialError: as for ``save_member``.
        """
        path = Path(path)
        if data is not None:
            meta = {**(meta or {}), **use_of(data, self.module, lam=self.lam).to_json()}
        format = _SUFFIXES.get(path.suffix, "safetensors")
        folder = format == "safetensors" and path.suffix != ".safetensors"
        return save_member(
            self.family,
            self.lam,
            path,
            format,
            None if format == "safetensors" else self.problem.example(self.family),
            meta={"share": self.share, "by": self.by, **(meta or {})},
            card=self.card if folder else None,
        )

    def _part(self, data: Data | None, part: str) -> Dataset | None:
        """Returns data in memory, None if there are none."""
        return (
            None if data is None else admit(self.family.net, data, self.problem.task, part=part)[0]
        )

    def _become(self, family: Family, share: float, step: str) -> Choice:
        timed = not math.isnan(self.row.latency_ms)
        row, losses = measured(family, self.lam, share, self.problem, timed=timed)
        return replace(
            self,
            family=family,
            row=replace(row, epochs=self.row.epochs),
            losses=losses,
            steps=(*self.steps, step),
            test={},
        )

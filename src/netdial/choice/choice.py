"""What a choice gives: the member ready for use, the record of why, and the ways to go on with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netdial.choice.card import Facts, card_of
from netdial.choice.member import averaged, better_way, measured, restricted
from netdial.choice.search import ChoiceProblem
from netdial.choice.table import Candidate, CandidateTable, score
from netdial.choice.tune import Tuning
from netdial.core.arguments import Count, checked
from netdial.core.best import MEAN, PREDICTIVE
from netdial.core.errors import ConfigError, MemberWarning, unknown, warn
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset, Splits
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.measure.compare import spread_of
from netdial.measure.cost import cost
from netdial.measure.forward import outputs, predictive
from netdial.models.member import Exported, save_member
from netdial.models.use import use_of
from netdial.pruning.weights.criteria import default_criterion
from netdial.task.rehearsal import admit

_SUFFIXES = {".onnx": "onnx", ".pt2": "torch-export"}


@dataclass(frozen=True, eq=False, repr=False)
class Choice:
    """A chosen member: the network, its λ and fraction removed, and the reason for the choice.

    Attributes:
        family: the member as a family of one; what was removed stays removed in whatever is done with it.
        row: its λ, share removed, costs, and value on validation data.
        losses: what each validation example adds to the metric that decided, lower is better ``[N]``.
        by: rule or estimator.
        why: what was compared, in one sentence.
        table: everything there was to choose from.
        problem: data, and how members are pruned.
        tuning: how members are trained further.
        steps: what was done with the member after it was chosen.
        test: metrics on test data, if they were looked at (``tested``).
        constant: metrics on validation data of a prediction that looks at no input: class frequencies, or the mean of the
            targets.
        using: what predicts better on validation data: ``mean weights``, the network that ``module`` and ``export`` give,
            or ``predictive``, the average over the member's posterior, as ``predict`` gives it.
        average: metrics of the predictive on validation data; empty if there is none.
        remarks: what should be known about the choice, one sentence each.
    """

    family: Family
    row: Candidate
    losses: Tensor
    by: str
    why: str
    table: CandidateTable
    problem: ChoiceProblem
    tuning: Tuning
    steps: tuple[str, ...] = ()
    test: dict[str, float] = field(default_factory=dict)
    constant: dict[str, float] = field(default_factory=dict)
    using: str = MEAN
    average: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

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
        problem = self.problem
        return spread_of(self.losses, problem.task, problem.metric, self.row.value)

    @property
    def is_worse_than_constant(self) -> bool:
        """Whether the member's network predicts validation data worse than a constant, by the task's proper loss."""
        task = self.problem.task
        value, limit = (m.get(task.proper, math.nan) for m in (self.row.metrics, self.constant))
        return (limit - value) * task.better(task.proper) > 0

    @property
    def caution(self) -> tuple[str, ...]:
        """A sentence where the member's network does worse than a constant on validation data."""
        if not self.is_worse_than_constant:
            return ()
        words = worse_than_constant(self.lam, self.share)
        return (f"{words[0].upper()}{words[1:]}.",)

    def _repr_html_(self) -> str:
        """Returns what was chosen as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table([self._summary], self.why)

    def __repr__(self) -> str:
        """Returns which member it is."""
        return f"Choice(lam={self.lam:.4g}, share={self.share:g}, by={self.by!r})"

    def __str__(self) -> str:
        """Returns what was chosen, and why, as text."""
        from netdial.report.plots import text_table

        return "\n".join([text_table([self._summary], self.why), *self.remarks])

    @property
    def _summary(self) -> dict[str, float]:
        """What was chosen, in one row."""
        return {
            "λ": self.lam,
            "share removed": self.share,
            "parameters": self.row.params,
            self.table.metric: self.row.value,
            "standard error": self.error,
        }

    @property
    def card(self) -> str:
        """The model card: a page in Markdown with metadata in its head, as the Hugging Face hub has them."""
        problem, x = self.problem, self.problem.example(self.family)
        return card_of(
            Facts(
                data=problem.data_name or "unnamed",
                task=problem.task.name,
                ndim=x.ndim,
                metric=self.table.metric,
                row=self.row,
                whole=cost(self.module, x, packed=False),
                criterion=problem.pruning.criterion or default_criterion(self.family),
                refit=problem.pruning.refit,
                why=self.why,
                steps=self.steps,
                error=self.error,
                n=0 if problem.valid is None else len(problem.valid),
                constant=self.constant,
                using=self.using,
                average=self.average,
                remarks=self.remarks,
                test=self.test,
            )
        )

    @checked
    def predict(self, x: Tensor, *, using: str | None = None, n_samples: Count = 32) -> Tensor:
        """Returns probabilities ``[B, C]``, or predicted targets ``[B, T]``, of inputs ``[B, ...]``.

        Args:
            x: the inputs, as the network takes them.
            using: ``mean weights``, or ``predictive`` for the average over the posterior; by default what did better on
                validation data (``using``).
            n_samples: draws of the posterior.

        Raises:
            ConfigError: ``using`` is neither, or the member has no posterior to average over.
        """
        way, task = using or self.using, self.problem.task
        part = Dataset(x, torch.zeros(len(x), 1))
        if way == MEAN:
            return task.to_mean(outputs(self.module, part))
        if way != PREDICTIVE:
            raise unknown("way to predict", way, (MEAN, PREDICTIVE))
        seed = self.problem.pruning.seed
        draws = predictive(self.family, self.lam, part, n_samples=n_samples, seed=seed)
        return task.to_mean(draws).mean(dim=0)

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

    @in_usual_modes
    def tested(self, test: Data) -> Choice:
        """Returns the choice with its value on test data: to be looked at once, when everything has been decided."""
        data = self._part(test, "test part")
        assert data is not None
        task, metric = self.problem.task.at(self.lam).plugged_in(), self.problem.metric
        scored = score(outputs(self.module, data)[None], data.y.cpu(), task, metric)
        value = scored.row(0)[metric or task.proper]
        error = spread_of(scored.losses[0], task, metric, value)
        return replace(self, test={**scored.row(0), "error": error, "n": float(len(data))})

    def export(
        self, path: str | Path, *, data: Splits | None = None, meta: dict[str, Any] | None = None
    ) -> Exported:
        """Writes the member: ``NAME.onnx``, ``NAME.pt2`` (torch.export), ``NAME.safetensors``, or a folder with its card.

        Args:
            path: file or folder; the suffix says which.
            data: what the family was trained on, as ``nd.load_data`` returned it, so that what is written predicts from rows as
                people have them (``nd.load_model(path).predict(rows)``).
            meta: stored in the description of the last two; see ``netdial.models.family`` for its key ``net``.

        Warns:
            MemberWarning: the network does worse than a constant on validation data.

        Raises:
            NetdialError: as for ``save_member``.
        """
        self.warn()
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
            meta={"share": self.share, "by": self.by, "using": self.using, **(meta or {})},
            card=self.card if folder else None,
        )

    def _part(self, data: Data | None, part: str) -> Dataset | None:
        """Returns data in memory, None if there are none."""
        return (
            None
            if data is None
            else admit(self.family.net, data, self.problem.task, None, part, self.family.columns)[0]
        )

    def warn(self) -> None:
        """Warns (``MemberWarning``) if the member's network does worse than a constant on validation data."""
        if self.is_worse_than_constant:
            warn(worse_than_constant(self.lam, self.share), MemberWarning)

    def _become(self, family: Family, share: float, step: str) -> Choice:
        timed = not math.isnan(self.row.latency_ms)
        row, scored = measured(family, self.lam, share, self.problem, timed=timed)
        average = averaged(family, self.lam, self.problem)
        changed = replace(
            self,
            family=family,
            row=replace(row, epochs=self.row.epochs),
            losses=scored.losses[0],
            average=average,
            using=better_way(row.metrics, average, self.problem),
            steps=(*self.steps, step),
            test={},
        )
        kept = [one for one in self.remarks if one not in self.caution]
        return replace(changed, remarks=(*kept, *changed.caution))


def worse_than_constant(lam: float, share: float) -> str:
    """Returns what is said of a member that is worse than a constant."""
    return (
        f"the network at λ = {lam:.4g} with {share:.4g} removed predicts validation data worse than a constant "
        "(class frequencies, or the mean of the targets); take a smaller λ, remove less, or predict with the average over "
        "its posterior"
    )

"""The path of a family: what each member is worth, λ by λ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from netdial.core.best import MEAN, RULES, Row
from netdial.core.errors import unknown
from netdial.data.dataset import Dataset
from netdial.measure.compare import Scores


@dataclass(frozen=True)
class Member:
    """What is known of the family at one λ.

    Attributes:
        lam: complexity value.
        metrics: of the mean weights.
        predictive: of the posterior predictive; empty for a point posterior or without draws.
        objective: fit + complexity in nats per example on this data, fit with mean weights for a point and averaged
            over the posterior's draws otherwise; nan without draws. Of a regression it is that of training, with a noise
            variance of 1.
        kl_bits: KL(posterior || prior) in bits; nan for a point.
        effective_parameters: as ``Family.effective_parameters``; nan for a point.
        norm: of points, what their objective multiplies λ with: ‖w‖₁ under ``l1``, ‖w‖² under ``l2``,
            ``ε Σ log(1 + |w|/ε)`` under ``log-sum``; nan for a posterior.
            Leaves under posteriors of their own are not among the weights w.
        n_params: parameters of the member.
        n_data: N that the complexity term was divided by.
    """

    lam: float
    metrics: dict[str, float]
    predictive: dict[str, float] = field(default_factory=dict)
    objective: float = math.nan
    kl_bits: float = math.nan
    effective_parameters: float = math.nan
    norm: float = math.nan
    n_params: int = 0
    n_data: int = 0

    @property
    def generalised_evidence(self) -> float:
        """L(λ) in nats: the objective of the 2021 paper (eqs. 4 and 7) and of the 2022 paper (eqs. 4-6), higher is better.

        It is ``-N objective``; on data other than the training set the fit is scaled up to N examples.
        """
        return -self.n_data * self.objective

    def row(self) -> dict[str, float]:
        """Returns everything that applies in one flat dict; predictive metrics end in ``_predictive``."""
        return {"lam": self.lam, **self.on_part(), **self.of_family()}

    def on_part(self) -> dict[str, float]:
        """Returns the metrics on the data, which belong to one part of them."""
        averaged = {f"{name}_predictive": value for name, value in self.predictive.items()}
        return {**self.metrics, **averaged}

    def curve_values(self, split: str) -> dict[str, float]:
        """Returns everything as the curves of a report name it: metrics by the part of the data they belong to."""
        on_part = {f"{split}/{name}": value for name, value in self.on_part().items()}
        return {**on_part, **self.of_family()}

    def of_family(self) -> dict[str, float]:
        """Returns what is known of the member itself, and the objective."""
        point = math.isnan(self.kl_bits)
        complexity = ("norm",) if point else ("kl_bits", "effective_parameters")
        names = ("objective", *complexity, "n_params")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Path:
    """Members along λ, in the order asked for.

    Attributes:
        members: the members. ``Member.metrics`` are those of the network of mean weights, which is what is exported;
            ``Member.predictive`` those of the average over the posterior.
        metric: metric of the task's proper loss.
        constant: metrics of a prediction that looks at no input: class frequencies, or the mean of the targets.
        scores: what members are compared by, of their ``mean weights`` and, if it was asked for, ``predictive``.
    """

    members: tuple[Member, ...]
    metric: str = "nll"
    constant: dict[str, float] = field(default_factory=dict)
    scores: dict[str, Scores] = field(default_factory=dict, repr=False, compare=False)

    def rows(self) -> list[Row]:
        """Returns the members' mean weights as the rules of ``core.best`` see them; nothing if they were not compared."""
        if MEAN not in self.scores:
            return []
        return self.scores[MEAN].rows([member.lam for member in self.members])

    def best(self, rule: str = "best") -> Member:
        """Returns the ``best`` member by its mean weights, or by ``one-se`` the simplest one that is as good.

        Raises:
            ConfigError: the rule is unknown, or no member has a finite loss.
        """
        return self.choose(rule, [MEAN])[0]

    def choose(self, rule: str = "best", using: Sequence[str] | None = None) -> tuple[Member, str]:
        """Returns a member and what it should predict with, ``mean weights`` or ``predictive``.

        Args:
            rule: ``best``, or ``one-se`` for the simplest within one standard error of the best.
            using: what may be chosen; by default all that was measured.

        Raises:
            ConfigError: the rule is unknown, or no member has a finite loss.
        """
        if rule not in RULES:
            raise unknown("rule", rule, RULES)
        ways = list(self.scores if using is None else using)
        lams = [member.lam for member in self.members] * len(ways)
        rows = Scores.join([self.scores[way] for way in ways]).rows(lams)
        way, place = divmod(RULES[rule](rows, None), len(self.members))
        return self.members[place], ways[way]

    def is_worse_than_constant(self, member: Member) -> bool:
        """Returns whether a member's mean weights predict these data worse than a constant, by the proper loss."""
        limit = self.constant.get(self.metric, math.inf)
        return not member.metrics[self.metric] <= limit

    def table(self) -> list[dict[str, float]]:
        """Returns one flat row for each member."""
        return [member.row() for member in self.members]

    def column(self, name: str) -> list[float]:
        """Returns one quantity along the path."""
        return [member.row()[name] for member in self.members]

    def plot(self, split: str | None = None) -> object:
        """Returns the curves over λ as a plotly figure; with ``split``, ``valid`` or ``test``, labelled as its curves."""
        from netdial.report.figures import curves_figure
        from netdial.report.plots import path_plot
        from netdial.runs.curves import MemberRow

        rows = [
            MemberRow(member.lam, member.curve_values(split or "test")) for member in self.members
        ]
        kind = "classification" if "accuracy" in self.members[0].metrics else "regression"
        config = {"kind": kind, "units": ""}
        return path_plot(rows, config) if split is None else curves_figure(rows, None, config)

    def _repr_html_(self) -> str:
        """Returns the members as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table(self.table(), self._caption)

    def __repr__(self) -> str:
        """Returns how many members there are."""
        return f"Path({self._caption}; print it for the table)"

    def __str__(self) -> str:
        """Returns the members as a table of text."""
        from netdial.report.plots import text_table

        return text_table(self.table(), self._caption)

    @property
    def _caption(self) -> str:
        return f"{len(self.members)} members along λ"


def mean_fit(nll: Tensor, data: Dataset) -> Tensor:
    """Returns the mean of negative log-likelihoods ``[N]``, each with the weight of its example."""
    if data.weight is None:
        return nll.mean()
    weight = data.weight.to(nll)
    return (nll * weight).sum() / weight.sum()

"""The path of a family: what each member is worth, λ by λ.

Every member is evaluated as it would be exported: an ordinary network with the member's parameters and buffers. The
posterior predictive averages over S draws of the weights; draws use the same random numbers at every λ, so that
differences along the path are not noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from netdial.core.arguments import Count, Whole, checked
from netdial.core.best import MEAN, PREDICTIVE, RULES, Row
from netdial.core.errors import NonFiniteError, unknown
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, as_dataset
from netdial.family.family import Family
from netdial.family.running.pieces import at_once, pieces
from netdial.measure.compare import Scores, constant_of
from netdial.measure.forward import outputs, predictive
from netdial.objective import OBJECTIVES
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.own_loss import asked
from netdial.task.rehearsal import admit

_DRAWS = 8
"""Draws of the posterior predictive that go without saying."""


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
        norm: of points, what their objective multiplies λ with: ‖w‖₁ under ``l1``, ‖w‖² under ``l2``; nan for a posterior.
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

    def plot(self, split: str = "test") -> object:
        """Returns the curves over λ as a plotly figure, labelled as those of ``split`` (``valid`` or ``test``)."""
        from netdial.report.figures import curves_figure
        from netdial.runs.curves import MemberRow

        rows = [MemberRow(member.lam, member.curve_values(split)) for member in self.members]
        kind = "classification" if "accuracy" in self.members[0].metrics else "regression"
        return curves_figure(rows, None, {"kind": kind, "units": ""})

    def _repr_html_(self) -> str:
        """Returns the members as a table, for notebooks."""
        from netdial.report.plots import html_table

        return html_table(self.table(), self._caption)

    def __str__(self) -> str:
        """Returns the members as a table of text."""
        from netdial.report.plots import text_table

        return text_table(self.table(), self._caption)

    @property
    def _caption(self) -> str:
        return f"{len(self.members)} members along λ"


@checked
def evaluate(
    family: Family,
    data: Data,
    *,
    lams: int | Sequence[float] = 9,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    objective: str | None = None,
    n_data: Count | None = None,
    n_samples: Whole | None = None,
    batch_size: Count = 2048,
    seed: int = 0,
    metric: str | None = None,
    train: Tensor | None = None,
    on_member: Callable[[float, Tensor], object] | None = None,
) -> Path:
    """Returns metrics of members along λ on some data.

    Every member is measured by the network of its mean weights, and by its posterior predictive if it has one to draw from.

    Args:
        family: the family.
        data: in any of the forms of ``netdial.data.memory``; a ``DataLoader`` is read into memory. Weights of examples
            act on ``objective`` alone; metrics count every example once.
        lams: complexity values, or how many to space evenly over the trained range.
        kind: the task: a name, or a ``Task``; by default that of the family.
        loss: or a loss function of (outputs, targets), for a family that was trained on one and comes from a file.
        objective: under which objective to state ``Member.objective``; by default the family's own.
        n_data: N of the complexity term, the size of the training set; by default that of the family, else of ``data``.
        n_samples: S, draws of the posterior predictive, by default 8; 0 leaves it out, and ``Member.objective`` of a family
            with a posterior is then nan. A family of points has nothing to draw.
        batch_size: examples run at once.
        seed: seed of the draws.
        metric: metric that ``Path.best`` and ``Path.choose`` compare by; by default that of the task's proper loss.
        train: targets of the training data, to which the constant baseline is fitted; by default those of ``data``, which
            favours the constant a little.
        on_member: called with λ and the outputs ``[B, ...]`` of each member's mean weights, for whoever wants to see more.

    The ``nll`` of a regression is under the law of its errors on held-out rows; where the noise is not known, under the
    variance that training assumed.

    Raises:
        ConfigError: a λ outside the trained range.
        NonFiniteError: no member gives numbers; one that does not, among others, has metrics that are nan.
    """
    values = family.lams(lams)
    held = as_dataset(data)
    part, task = admit(
        family.net, held, asked(family.net, held, kind, loss, family.task), family.task
    )
    count = n_data or family.n_data or len(part)
    n_samples = (_DRAWS if n_samples is None else n_samples) if family.is_random else 0
    members, scores, numbers = [], dict[str, list[Scores]](), False
    names = list(dict.fromkeys([*task.reported, metric or task.proper]))
    targets, width = part.y.cpu(), 0
    with torch.no_grad():
        for lam, complexity in zip(
            values, _complexities(family, values, objective or family.objective), strict=True
        ):
            net = family.export(lam)
            draws = outputs(net, part, batch_size)[None]
            numbers = numbers or not bool(draws.isnan().any())
            if on_member is not None:
                on_member(lam, draws[0])
            sampled = None
            if n_samples:
                sampled = predictive(
                    family, lam, part, n_samples=n_samples, batch_size=batch_size, seed=seed
                )
            members.append(
                _member(
                    family,
                    lam,
                    part,
                    draws,
                    sampled,
                    task=task,
                    names=names,
                    complexity=complexity,
                    n_data=count,
                )
            )
            width = draws[0].flatten(1).shape[1]
            found = {MEAN: draws}
            if sampled is not None:
                found[PREDICTIVE] = task.of_mean(task.to_mean(sampled).mean(dim=0))[None]
            for way, out in found.items():
                scores.setdefault(way, []).append(Scores.of(out, targets, task, metric))
    if not numbers:
        where = ", ".join(f"{lam:.4g}" for lam in values)
        raise NonFiniteError(
            f"network {type(family.net).__name__}: an output is not a number at every lam ({where}); parameters are not finite "
            "or far too large: train again with a lower lr or clip=1"
        )
    return Path(
        tuple(members),
        task.proper,
        constant_of(task, targets if train is None else train, targets, width),
        {way: Scores.join(found) for way, found in scores.items()},
    )


def mean_fit(nll: Tensor, data: Dataset) -> Tensor:
    """Returns the mean of negative log-likelihoods ``[N]``, each with the weight of its example."""
    if data.weight is None:
        return nll.mean()
    weight = data.weight.to(nll)
    return (nll * weight).sum() / weight.sum()


class _Complexity(NamedTuple):
    """What is known of a member without data: penalty and divergence in nats, effective parameters, norm of a point."""

    penalty: float
    kl: float
    effective: float
    norm: float


def _complexities(family: Family, lams: Sequence[float], objective: str) -> Iterator[_Complexity]:
    """Yields them for each λ, nan where a point has none; the fields of as many λ are made at once as memory should hold."""
    penalty_of, alpha = OBJECTIVES[objective], family.config.prior_var
    for piece in pieces([0] * len(lams), at_once(family.layout.size, 1)):
        here = list(lams[piece.start : piece.stop])
        fields = family.fields_at(here)
        nothing = [math.nan] * len(here)
        penalty, kl, effective, norm = nothing, nothing, nothing, nothing
        if fields.log_std is not None or penalty_of.is_point:
            penalty = penalty_of(fields, fields.mean.new_tensor(here), alpha).tolist()
        if fields.log_std is None and penalty_of.is_point:
            norm = penalty_of.penalty(fields, fields.mean.new_ones(len(here)), alpha).tolist()
        if fields.log_std is not None:
            kl = family.kl(here).tolist()
            effective = family.effective_parameters(here).tolist()
        yield from map(_Complexity, penalty, kl, effective, norm)


def _member(
    family: Family,
    lam: float,
    data: Dataset,
    draws: Tensor,
    sampled: Tensor | None,
    *,
    task: Task,
    names: Sequence[str],
    complexity: _Complexity,
    n_data: int,
) -> Member:
    here = task.at(lam)
    trained = task.trained_as(family.task).in_training()
    targets = data.y.cpu()
    fits = [
        float(mean_fit(trained.nll(draw, targets), data))
        for draw in (draws if sampled is None else sampled)
    ]
    comparable = not family.is_random or sampled is not None
    penalty = complexity.penalty / n_data if comparable else math.nan
    return Member(
        lam=lam,
        metrics=here.plugged_in().metrics(draws[0], targets, names),
        predictive=here.predictive(sampled, targets, names) if sampled is not None else {},
        objective=sum(fits) / len(fits) + penalty,
        kl_bits=complexity.kl / math.log(2),
        effective_parameters=complexity.effective,
        norm=complexity.norm,
        n_params=family.n_params,
        n_data=n_data,
    )

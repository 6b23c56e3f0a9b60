"""What is judged, and what an estimator says of it.

An estimator is a function from a `Subject` (a family at some complexity values, and its training data) to one `Reading` for
each value. Everything it measures is in nats of the whole data set, lower is better. What is dear is computed once and
shared: ``expected`` and ``pointwise`` (see ``draws``).

Shapes: K complexity values, S draws, P numbers of the layout, M examples used out of N.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from netdial.core.registry import Registry
from netdial.data.dataset import Dataset
from netdial.evidence.draws import Expected, PointwiseLikelihood, expected, pointwise
from netdial.family.family import Family
from netdial.family.fields import Fields
from netdial.objective import OBJECTIVES, Objective
from netdial.objective.base import constant
from netdial.task import Classification, Task


@dataclass(frozen=True)
class EvidenceSubject:
    """A family at K complexity values, and the data it was trained on.

    Attributes:
        family: the family.
        data: training data, N examples.
        lams: complexity values.
        objective: what the family was trained under; it says which prior and which temperature a member has.
        task: what the family predicts.
        n_samples: S, draws of the weights.
        n_examples: M, examples that are looked at; sums are scaled up by N / M.
        seed: seed of the draws and of the choice of examples.
        delta: probability with which the PAC-Bayes bound may fail.
        integrated: whether the noise variance of a regression is integrated out unless the task knows it; otherwise it is
            that of training.
    """

    family: Family
    data: Dataset
    lams: tuple[float, ...]
    objective: str = "scaled-kl"
    task: Task = field(default_factory=Classification)
    n_samples: int = 32
    n_examples: int | None = None
    seed: int = 0
    delta: float = 0.05
    integrated: bool = False

    def along(self, lams: Sequence[float]) -> EvidenceSubject:
        """Returns the same family and data at other complexity values."""
        return replace(self, lams=tuple(lams))

    @property
    def traits(self) -> Objective:
        """The objective that the family was trained under."""
        return OBJECTIVES[self.objective]

    @property
    def n_data(self) -> int:
        """N, the examples that the family was trained on."""
        return len(self.data)

    @functools.cached_property
    def part(self) -> Dataset:
        """The M examples that are looked at."""
        if self.n_examples is None or self.n_examples >= self.n_data:
            return self.data
        source = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(self.n_data, generator=source)[: self.n_examples].sort().values
        return self.data.select(chosen.to(self.data.x.device))

    @property
    def scale(self) -> float:
        """N / M, what a sum over the examples looked at is multiplied by."""
        return self.n_data / len(self.part)

    @functools.cached_property
    def fields(self) -> Fields:
        """Fields of the members in double precision, ``[K, P]``."""
        with torch.no_grad():
            fields = self.family.fields_at(self.lams)
        log_std = None if fields.log_std is None else fields.log_std.detach().double()
        return Fields(fields.layout, fields.mean.detach().double(), log_std, fields.kept)

    @property
    def prior_var(self) -> Tensor:
        """Variance of each member's prior ``[K]``: α, α/λ under ``scaled-prior``, 1/(2λ) under ``l2``.

        α where the objective has no normal prior of one variance: what an estimator then says is under that prior.
        """
        lam = self.fields.mean.new_tensor(self.lams)
        of_lam = self.traits.prior_var or constant
        return of_lam(lam, self.family.config.prior_var)

    @property
    def inverse_temperature(self) -> list[float]:
        """β of each member: under ``scaled-kl`` and ``ard`` it approximates p(w) p(D | w)^β, β = 1/λ; else β = 1."""
        return [self.traits.inverse_temperature(lam) for lam in self.lams]

    @functools.cached_property
    def kl(self) -> Tensor:
        """KL(posterior || prior) of each member in nats ``[K]``."""
        return self.fields.kl(self.prior_var)

    @functools.cached_property
    def expected(self) -> Expected:
        """E_q log p(D | w), by fresh noise for every batch."""
        return expected(
            self.family,
            self.part,
            self.lams,
            task=self.task,
            n_samples=self.n_samples,
            seed=self.seed,
            n_data=self.n_data,
            integrated=self.integrated,
        )

    @functools.cached_property
    def pointwise(self) -> PointwiseLikelihood:
        """Log-likelihood log p(y | x, w) of every example under every one of S draws of the weights."""
        return pointwise(
            self.family,
            self.part,
            self.lams,
            task=self.task,
            n_samples=self.n_samples,
            seed=self.seed,
            integrated=self.integrated,
        )


@dataclass(frozen=True)
class Trace:
    """What an estimate was averaged from, so that its error and that of a difference can be told.

    Attributes:
        draws: estimates in nats from S draws, in J independent terms of a sum, ``[S, J]``; empty if there are none.
        examples: N times what each example adds ``[M]``; empty if there is nothing to say.
        share: part of the variance over examples that counts: 1 - M/N for a sum over these N, 1 for a population.
    """

    draws: Tensor
    examples: Tensor
    share: float = 0.0

    def error(self) -> float:
        """Returns the standard error in nats."""
        variance = self.share * _variance_of_mean(self.examples)
        if len(self.draws):
            variance += float(self.draws.var(dim=0).sum()) / len(self.draws)
        return math.sqrt(variance)

    @property
    def value(self) -> float:
        """The mean over draws in nats."""
        return float(self.draws.sum()) / len(self.draws)

    def minus(self, other: Trace) -> Trace:
        """Returns the trace of the difference; common random numbers make it the quieter one."""
        return Trace(self.draws - other.draws, self.examples - other.examples, self.share)


@dataclass(frozen=True)
class Reading:
    """What an estimator says of one member.

    Attributes:
        lam: complexity value; nan if it is said of the family as a whole.
        value: nats of the whole data set, lower is better.
        error: standard error of ``value``.
        parts: terms of ``value`` in nats.
        notes: anything else worth knowing, in its own unit.
        trace: where the error comes from, if differences between members are to be judged.
        plain: whether ``value``, ``error`` and ``parts`` are plain numbers rather than nats.
    """

    lam: float
    value: float
    error: float
    parts: dict[str, float] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    trace: Trace | None = None
    plain: bool = False


Estimator = Callable[[EvidenceSubject], list[Reading]]
ESTIMATORS: Registry[Estimator] = Registry("estimator")


def _variance_of_mean(values: Tensor) -> float:
    if len(values) < 2:
        return 0.0
    return float(values.double().var()) / len(values)

"""Regression: columns of numbers under independent normal or Student's laws, with a noise for each target along λ.

Targets are standardised, and so are variances; ``scale`` brings errors back into the units of the data. The noise variance is
not learned by gradient: at small λ a network that can fit every row would drive it to 0. Training assumes one, τ²
(``train_var``, 1 unless it is set), so a member under ``scaled-kl`` at λ approximates p(w) p(D | w, σ² = τ²)^(1/λ), which is
the posterior p(w) p(D | w, σ² = λτ²): λ times τ² plays the part of the noise variance. So τ² is a unit for λ, and no more,
wherever the penalty is λ times something (``scaled-kl``, ``ard``, ``l2``, ``l1``) and all targets share it:

    E S/(2τ²) + λ penalty  =  (E S/2 + λτ² penalty) / τ²

A member at λ is the one that training under a variance of 1 has at λτ². Only under ``scaled-prior``, whose divergence
KL(q || N(0, α/λ)) is not in proportion to λ, is it a second setting.

After training two laws of errors are estimated from rows that were held out (``measure.noise``): that of the noise around the
posterior's draws, and that of the errors of the mean weights, which holds what is unknown of the weights as well. They are
normal, or Student's where held-out errors have heavy tails (``task.noise``). Without such rows the noise is not known:
residuals of training rows do not tell it where the effective parameters of a network are as many as its rows.

Evidence from training data needs neither. It integrates the noise variance out under an inverse gamma prior, IG(a, b) with
a = ½, b = 1/20 (worth one observation with a variance of 0.1): of N rows with squared errors S

    p(D | w) = ∫ IG(σ²; a, b) N(D | w, σ²) dσ² = (2π)^(-N/2) bᵃ Γ(a + N/2) / (Γ(a) (b + S/2)^(a + N/2))

and E_q log p(D | w, σ²) with the best posterior of σ² is the same formula at E_q S (Bishop 2006, §10.3; exact conjugacy).

Shapes: B examples, T targets, M members.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from netdial.core.best import STANDARDISED
from netdial.core.errors import ConfigError, DataError, ShapeError
from netdial.data.memory.targets import Targets
from netdial.data.scale import TargetScale
from netdial.task.base import Task
from netdial.task.metric import NLL, Metric
from netdial.task.noise import NoiseCurve, Rows, log_density
from netdial.task.registry import TASKS

PRIOR = (0.5, 0.05)
"""a and b of the inverse gamma prior of the noise variance, in units of standardised targets."""

_FAR = 30.0
"""Standard deviation of a target from which on, or its inverse below which, it is said to be far from unit scale."""
_UNIT = (1.0,)
_LEAST = 1e-12
"""Least variance of the errors of a constant, in units of standardised targets."""
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns -log p(y|x) in nats ``[B]`` of targets ``[B, T]`` under unit-variance normals around ``[B, T]``."""
    _check_shapes(outputs, targets)
    return (0.5 * (outputs - targets).square() + HALF_LOG_2PI).flatten(1).sum(dim=1)


def _check_shapes(outputs: Tensor, targets: Tensor) -> None:
    if outputs.shape != targets.shape:
        raise ShapeError(
            f"gaussian_nll: outputs are {list(outputs.shape)}, targets {list(targets.shape)}; "
            "give targets [N, T] with one column for each output of the network"
        )


def _square_error(task: Regression, outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns squared errors in the unit of the target, or of several in their variances, averaged over them.

    In units of their own the target with the largest numbers would be the only one that counts.
    """
    error = (outputs - targets).double()  # float32 has no room for squares in any unit
    if task.scale is not None and len(task.scale.std) == 1:
        error = error * task.scale.std[0]
    return error.square().mean(dim=-1)


def _r2(task: Task, outputs: Tensor, targets: Tensor) -> float:
    """Returns 1 - Σ(error²) / Σ(deviation²), averaged over the targets; nan where a target is constant.

    Of deviations from the mean and in double precision: a difference of sums of squares is all rounding far from 0.
    """
    error, truth = (outputs - targets).double(), targets.double()
    spread = (truth - truth.mean(dim=0)).square().sum(dim=0)
    shares = 1 - error.square().sum(dim=0) / spread
    return float(torch.where(spread > 0, shares, math.nan).mean())


@TASKS.add("regression")
@dataclass(frozen=True)
class Regression(Task):
    """T numbers: targets float ``[N, T]``, outputs their means ``[N, T]``; choices are made by squared error.

    Attributes:
        scale: units of the targets; ``rmse`` is in that of one target, and in standard deviations (over training rows) of
            several. None: targets are as they are given.
        curve: laws of the errors along λ; None before they were estimated.
        noise_var: squared scales of the noise ``[T]``, or of M members ``[M, T]``, which are variances if ``tails`` is 0;
            empty if it is not known. If it is given, training uses it, and nothing is estimated.
        train_var: τ², noise variances that training assumes ``[T]``, or one for all; empty for ``noise_var``, or 1.
        error_var: squared scales of the errors of the mean weights, likewise.
        tails: 1/ν of a Student's law with ν degrees of freedom, or of M members ``[M]``; 0 for the normal law.
        reach: half-widths of intervals, see ``NoiseCurve``; ``[Q, T]``.
        error_reach: the same around the mean weights.
    """

    scale: TargetScale | None = None
    curve: NoiseCurve | None = None
    noise_var: tuple[float, ...] | tuple[tuple[float, ...], ...] = ()
    error_var: tuple[float, ...] | tuple[tuple[float, ...], ...] = ()
    tails: float | tuple[float, ...] = 0.0
    reach: Rows = ()
    error_reach: Rows = ()
    train_var: tuple[float, ...] = ()

    name: ClassVar[str] = "regression"
    targets: ClassVar[Targets] = "numbers"
    reported: ClassVar[tuple[str, ...]] = ("rmse", "r2", "nll")
    loss_name: ClassVar[str] = "squared error"
    proper: ClassVar[str] = "rmse"
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "rmse": Metric(each=_square_error, finish=torch.sqrt, unit="units of the target"),
        "r2": Metric(whole=_r2, higher=True),
        "nll": NLL,
    }

    def __post_init__(self) -> None:
        """Makes tuples of variances; refuses those of training that are none."""
        for name in ("noise_var", "error_var", "train_var"):
            object.__setattr__(self, name, _row(name, getattr(self, name)))
        if not all(0 < var < math.inf for var in self.train_var):
            raise ConfigError(f"train_var={self.train_var}; expected positive noise variances")

    def assuming(self, noise_var: float) -> Regression:
        """Returns the task whose training assumes a noise variance, the same for all targets.

        Raises:
            ConfigError: the noise is known, and another.
        """
        if self.noise_var and set(self.noise_var) != {noise_var}:
            raise ConfigError(
                f"noise_var={noise_var:g}, but the task has a known noise of {self.noise_var}, which training uses; give one"
            )
        return replace(self, train_var=(noise_var,))

    def unit(self, metric: str) -> str:
        """Returns the unit of a metric, in words."""
        if metric == "rmse" and self.scale is not None and len(self.scale.std) > 1:
            return STANDARDISED
        return super().unit(metric)

    def in_training(self) -> Regression:
        """Returns the task with the likelihood that training maximises: normal laws of the variance that it assumes."""
        known = () if self.curve is not None else self.noise_var
        var = self.train_var or tuple(v for v in known if isinstance(v, float | int))
        return Regression(scale=self.scale, train_var=var)

    def trained_as(self, other: Task | None) -> Regression:
        """Returns the task with the likelihood of training of a family's task."""
        if not isinstance(other, Regression):
            return self
        return replace(self, train_var=other.in_training().train_var or _UNIT)

    def at(self, lam: float) -> Regression:
        """Returns the task of the member at λ, with the noise that it has there."""
        if self.curve is None:
            return self
        law: dict[str, Any] = self.curve.at(lam)
        return replace(self, curve=None, train_var=self.train_var or _UNIT, **law)

    def along(self, lams: Sequence[float]) -> Regression:
        """Returns the task of M members at M complexity values, for ``member_nll``."""
        if self.curve is None:
            return self
        laws = [self.curve.at(lam) for lam in lams]
        parts: dict[str, Any] = {
            name: tuple(law[name] for law in laws) for name in ("noise_var", "error_var", "tails")
        }
        return replace(self, curve=None, train_var=self.train_var or _UNIT, **parts)

    def in_units(self, scale: TargetScale | None) -> Regression:
        """Returns the task with the units of its targets, if it did not know them."""
        return replace(self, scale=scale) if self.scale is None and scale is not None else self

    def advice(self, targets: Tensor) -> str:
        """Returns what to mend about targets that are constant, or far from the unit scale of prior and noise."""
        if len(targets) < 2:
            return ""
        equal = (targets == targets[0]).all(dim=0) & (targets[0] != 0)  # standardised ones are 0
        if bool(equal.any()):
            which = int(equal.int().argmax())
            return (
                f"target {which} is {float(targets[0, which]):.6g} in all {len(targets)} examples, so there is nothing to "
                "learn of it; is it the column that is meant?"
            )
        mean, std = targets.double().mean(dim=0), targets.double().std(dim=0)
        far = (std > 0) & ((std > _FAR) | (std < 1 / _FAR) | (mean.abs() > _FAR * std))
        if not bool(far.any()):
            return ""
        which = int(far.int().argmax())
        return (
            f"target {which} has mean {float(mean[which]):.3g} and standard deviation {float(std[which]):.3g}; learning "
            "rates, penalties and priors are of unit scale, so standardise targets ((y - mean) / std), or use FamilyRegressor, "
            "a table or Dataset(target=TargetScale(...)), which bring results back into the units of the data"
        )

    def of_constant(self, targets: Tensor, constant: Tensor) -> Regression:
        """Returns the task of a constant: its noise is estimated, from its errors, where that of members is."""
        if self.curve is None:
            return self
        var = (targets.double() - constant).square().mean(dim=0).clamp_min(_LEAST)
        return Regression(scale=self.scale, noise_var=tuple(var.tolist()))

    def plugged_in(self) -> Regression:
        """Returns the task of mean weights: their errors are the noise."""
        if not self.error_var:
            return self
        return replace(self, noise_var=self.error_var, reach=self.error_reach)

    def nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) in nats ``[B]`` of standardised targets ``[B, T]`` around means ``[B, T]``."""
        if not (self.noise_var or self.train_var):
            return gaussian_nll(outputs, targets)
        _check_shapes(outputs, targets)
        return self._each(outputs, targets).flatten(1).sum(dim=1)

    def member_nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) in nats ``[M, B]`` of targets ``[B, T]`` around means ``[M, B, T]``."""
        return self._each(outputs, targets).flatten(2).sum(dim=2)

    def _each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p of each target ``[..., B, T]``."""
        error = (outputs - targets).square()
        if not (self.noise_var or self.train_var):
            return 0.5 * error + HALF_LOG_2PI
        var = error.new_tensor(self.noise_var or self.train_var)
        return -log_density(error, var[:, None] if var.ndim == 2 else var, self.tails)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the squared error ``[..., B]`` of standardised targets, averaged over them."""
        return (outputs - targets).square().mean(dim=-1)

    def count(self, targets: Tensor) -> int:
        """Returns the number of targets T.

        Raises:
            DataError: the targets are not columns of numbers ``[N, T]``.
        """
        if targets.ndim != 2 or not targets.is_floating_point():
            raise DataError(
                f"targets {list(targets.shape)} of {targets.dtype} are no columns of numbers; give floating point [N, T], "
                "for example y[:, None], or kind='classification'"
            )
        return targets.shape[1]

    def constant(self, targets: Tensor, n_outputs: int) -> Tensor:
        """Returns the mean of the targets ``[T]``."""
        return targets.double().mean(dim=0)

    def root(self, outputs: Tensor) -> Tensor:
        """Returns a_t e_t ``[B, T, T]``: the Fisher information is diag(a²), a² = (1 + 1/ν) / (1 + 3/ν) / s²."""
        unit = torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
        if self.noise_var or self.train_var:
            assert isinstance(self.tails, float | int), "the task of one member"
            scale = math.sqrt((1 + self.tails) / (1 + 3 * self.tails))
            var = outputs.new_tensor(self.noise_var or self.train_var)
            unit = unit * var.rsqrt() * scale
        return unit.expand(*outputs.shape, -1)

    @property
    def precision(self) -> Tensor | None:
        """1/variance ``[T]`` in float64, if the noise is known; the variance of a Student's law is s²/(1 - 2/ν)."""
        if not self.noise_var:
            return None
        tails = torch.tensor(self.tails).double()
        return (1 - 2 * tails) / torch.tensor(self.noise_var).double()

    def training_var(self, count: int) -> Tensor:
        """Returns τ² ``[T]`` in float64, the noise variances under which a family was trained."""
        var = self.in_training().train_var or _UNIT
        return torch.tensor(var, dtype=torch.float64).expand(count)

    @property
    def wants_held_out(self) -> bool:
        """Whether the noise variance is unknown."""
        return not self.noise_var

    def held_out_loss(self, lam: float) -> float | None:
        """Returns the mean squared error of the mean weights at λ on held-out rows, in standardised units, if it is known."""
        if self.curve is None:
            return None
        here = self.at(lam)
        assert isinstance(here.tails, float | int)
        return statistics.fmean(v for v in here.error_var if isinstance(v, float)) / (
            1 - 2 * here.tails
        )

    def moments(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Returns the squared errors ``[M, B, T]``; None if the noise variance was given."""
        return None if self.noise_var else (outputs - targets).square()

    def marginal(self, sums: Tensor, count: int) -> tuple[float, Tensor]:
        """Returns -log p(D | w) in nats with the noise variance of each target integrated out, and 1/(2σ²) ``[T]``.

        At expected sums of squares ``[T]`` it is the bound of variational Bayes, and σ² what q(σ²) amounts to.
        """
        a, b = PRIOR
        shape, rate = a + count / 2, b + sums.double() / 2
        constant = math.lgamma(a) - a * math.log(b) - math.lgamma(shape) + count * HALF_LOG_2PI
        return float((constant + shape * rate.log()).sum()), 0.5 * shape / rate


def _row(name: str, values: Any) -> Any:
    """Returns variances given as a sequence, an array or a tensor as a tuple, which files can hold.

    Raises:
        ConfigError: they are no numbers.
    """
    if type(values) is tuple and all(type(value) in (float, tuple) for value in values):
        return values
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{name}={values!r}; expected a variance for each target, such as (0.1,)"
        ) from None

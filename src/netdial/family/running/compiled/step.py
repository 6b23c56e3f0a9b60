"""A training step of a chain at once: terms, and gradients of the pivots, by one compiled operation.

It comes to what the family, the objective and the task do one after another, but for rounding, and leaves no autograd graph.
It serves chains (``running.chain``) on the processor, linear, piecewise and centred maps and tables of one member, and the
objectives and likelihoods below; random numbers are drawn outside of it, as everywhere.

Shapes: K members, n blocks of b examples, each shared by K / n members; J pivots, P numbers of a member.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from netdial.core.errors import warn
from netdial.core.noise import Noise
from netdial.family.family import Family
from netdial.family.maps import CentredMap, LinearMap, Map, PiecewiseMap, StackedMap, TableMap
from netdial.family.maps.basis import BasisMap
from netdial.family.running.chain import Chain
from netdial.family.running.compiled.library import VARIABLE, is_off, load
from netdial.objective import Objective, Terms, ard, l1, l2, log_sum, scaled_kl, scaled_prior
from netdial.objective.objectives import scale_of_logs
from netdial.task import Classification, Regression, Task

_AFTER: dict[type[nn.Module] | None, int] = {None: 0, nn.ReLU: 1, nn.Tanh: 2, nn.Sigmoid: 3}
_MAPS = (PiecewiseMap, LinearMap, CentredMap, StackedMap)
_L1, _L2, _KL, _ARD, _LOG_SUM = range(5)
_POINTS = (_L1, _L2, _LOG_SUM)
_CATEGORICAL, _GAUSSIAN = range(2)


class _Penalty(NamedTuple):
    """How the operation computes a penalty: its kind, (λ, α) -> factor ``[K]``, and -> prior variance, or scale, ``[K]``."""

    kind: int
    factor: Callable[[Tensor, float], Tensor]
    prior: Callable[[Tensor, float], Tensor]


def _lam(lam: Tensor, alpha: float) -> Tensor:
    return lam


def _one(lam: Tensor, alpha: float) -> Tensor:
    return torch.ones_like(lam)


def _alpha(lam: Tensor, alpha: float) -> Tensor:
    return torch.full_like(lam, alpha)


def _alpha_over_lam(lam: Tensor, alpha: float) -> Tensor:
    return alpha / lam


def _lam_scale(lam: Tensor, alpha: float) -> Tensor:
    return lam * scale_of_logs(alpha)


def _scale(lam: Tensor, alpha: float) -> Tensor:
    return torch.full_like(lam, scale_of_logs(alpha))


_PENALTIES: dict[Any, _Penalty] = {
    l1: _Penalty(_L1, _lam, _one),
    l2: _Penalty(_L2, _lam, _one),
    scaled_kl: _Penalty(_KL, _lam, _alpha),
    scaled_prior: _Penalty(_KL, _one, _alpha_over_lam),
    ard: _Penalty(_ARD, _lam, _one),
    log_sum: _Penalty(_LOG_SUM, _lam_scale, _scale),
}


class Weights(NamedTuple):
    """How much each of K members counts in a step ``[K]``: its mean fit by ``fit``, its penalty in nats by ``penalty``."""

    fit: Tensor
    penalty: Tensor


def unsuited(family: Family, objective: Objective, task: Task) -> str:
    """Returns why a family cannot be trained by the compiled step, in words; empty if it can."""
    if len(family.groups) or family.kept is not None:
        return "some parameters have a posterior of their own, or were pruned"
    if family.anchor is not None:
        return "the prior is not centred on zero"
    if family.chain is None:
        return (
            "the network is no chain of linear layers with ReLU, Tanh or Sigmoid between them, or its code does not show it "
            "(an nn.Sequential does)"
        )
    if not all(_is_known(m) for m in (family.mean, family.log_std) if m is not None):
        return f"the map {family.config.map!r} is neither linear, piecewise nor centred, nor a table of one member"
    if objective.penalty not in _PENALTIES:
        return f"the objective is none of {', '.join(made.__name__ for made in _PENALTIES)}"
    if (family.log_std is None) != (_PENALTIES[objective.penalty].kind in _POINTS):
        return "the posterior is not that of the objective"
    known = isinstance(task, Regression) and bool(task.noise_var)
    if type(task) not in (Classification, Regression) or known:
        return "the likelihood is neither that of classes nor a normal one"
    if family.device.type != "cpu" or family.dtype not in (torch.float32, torch.float64):
        return "it runs on the processor in single or double precision"
    return ""


def _is_known(made: Map) -> bool:
    """Returns whether a map is linear between pivots, or has one member."""
    return type(made) in _MAPS or (isinstance(made, TableMap) and len(made.pivots) == 1)


class _Ends:
    """Values between which a map is linear ``[J, P]``, and where their gradients go.

    Those of a centred map are its deviations plus the base, which gets the sum of their gradients; those of a table of one
    member are twice its row.

    Attributes:
        values: the values.
        grad: their gradients, written by the operation.
        adds: whether it adds to what is there.
    """

    def __init__(self, map_: BasisMap) -> None:
        self._pivots, self._is_centred = map_.pivots, isinstance(map_, CentredMap)
        self._is_row = isinstance(map_, TableMap)
        self.adds = self._pivots.grad is not None
        if self._pivots.grad is None:
            self._pivots.grad = torch.empty_like(self._pivots)
        self.values: Tensor = self._pivots
        self.grad = self._pivots.grad
        if self._is_centred:
            self.values = self._pivots[:-1] + self._pivots[-1]
            self.grad = torch.zeros_like(self.values)
        elif self._is_row:
            self.values = self._pivots.expand(2, -1).contiguous()
            self.grad = torch.zeros_like(self.values)

    def hand_back(self) -> None:
        """Gives the gradients to the map's own numbers."""
        if not self._is_centred and not self._is_row:
            return
        assert self._pivots.grad is not None
        own = self.grad.sum(0, keepdim=True)
        if self._is_centred:
            own = torch.cat([self.grad, own])
        if self.adds:
            self._pivots.grad += own
        else:
            self._pivots.grad.copy_(own)


class CompiledStep:
    """The step of one family under one objective and likelihood; ask ``unsuited`` first.

    Args:
        family: the family; gradients are left in its parameters.
        objective: what is minimised beside the fit.
        task: its likelihood is the fit.
        prior_var: α.

    Raises:
        ConfigError: the operation cannot be built here.
    """

    def __init__(self, family: Family, objective: Objective, task: Task, prior_var: float) -> None:
        assert isinstance(family.chain, Chain)
        self._family = family
        self._chain = family.chain
        self._links = _numbers(family.chain)
        self._penalty = _PENALTIES[objective.penalty]
        self._alpha = prior_var
        self._classes = isinstance(task, Classification)
        self._variance = self._variances(task)
        self._operation = load()

    def takes(self, x: Tensor, y: Tensor, weight: Tensor | None) -> bool:
        """Returns whether a batch can be run: flat inputs and targets of the right types and shapes."""
        links, like = self._chain.links, self._family.like
        if not self._chain.takes(x) or x.dtype != like.dtype or not x.numel():
            return False
        if weight is not None and weight.shape != y.shape[:1]:
            return False
        if self._classes:
            return y.ndim == 1 and not y.is_floating_point()
        return y.shape == (len(x), links[-1].shape[0]) and y.dtype == like.dtype

    @torch.no_grad()
    def run(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        blocks: int,
        unit: Tensor,
        lam: Tensor,
        weights: Weights,
        noise: Callable[[], Noise],
    ) -> Terms:
        """Adds the gradients of the weighted objectives to the pivots'; returns fits in nats per example, penalties in nats.

        Args:
            x: inputs ``[n b, ...]``.
            y: targets ``[n b, ...]``.
            weight: weights of the examples ``[n b]``, or None.
            blocks: n.
            unit: unit coordinates of the members ``[K]``.
            lam: their complexity values ``[K]``.
            weights: how much each counts.
            noise: gives the source of the random numbers, asked only if there is something to draw.
        """
        examples = x.shape[0] // blocks
        maps = [self._family.mean, self._family.log_std]
        ends = [None if m is None else _Ends(cast(BasisMap, m)) for m in maps]
        mean, spread = ends
        assert mean is not None
        normal: list[Tensor] = []
        if spread is not None:
            source = noise()
            normal = [
                source.normal(examples, link.shape[0], dtype=x.dtype) for link in self._chain.links
            ]
        factor, prior = (part(lam, self._alpha) for part in self._penalty[1:])
        fit, penalty = self._operation(
            self._chain.inputs(x, blocks).contiguous(),
            y.long().contiguous() if self._classes else y.contiguous(),
            None if weight is None else weight.to(x).contiguous(),
            mean.values,
            None if spread is None else spread.values,
            mean.grad,
            None if spread is None else spread.grad,
            mean.adds,
            unit.double().contiguous(),
            normal,
            self._links,
            _CATEGORICAL if self._classes else _GAUSSIAN,
            self._variance,
            self._penalty.kind,
            torch.stack([factor, prior, weights.fit / examples, weights.penalty]),
        )
        for one in ends:
            if one is not None:
                one.hand_back()
        return Terms(fit, penalty)

    def _variances(self, task: Task) -> Tensor | None:
        if not isinstance(task, Regression):
            return None
        var = self._family.like.new_tensor(task.train_var or (1.0,))
        return var.expand(self._chain.links[-1].shape[0]).contiguous()


def _numbers(found: Chain) -> list[int]:
    """Returns shape, places and function of each layer, one after another; a bias at -1 is none."""
    return list(
        chain.from_iterable(
            (
                *link.shape,
                link.weight.start,
                -1 if link.bias is None else link.bias.start,
                _AFTER[link.after],
            )
            for link in found.links
        )
    )


def compiled_step(
    family: Family, objective: Objective, task: Task, prior_var: float, *, mixed: bool = False
) -> CompiledStep | None:
    """Returns the compiled step; where it does not apply, says why and returns None.

    Args:
        family: the family.
        objective: what is minimised beside the fit.
        task: its likelihood is the fit.
        prior_var: α.
        mixed: whether the network runs in half precision.

    Raises:
        ConfigError: the operation cannot be built here.
    """
    why = f"{VARIABLE} is 0" if is_off() else "precision is bf16-mixed" if mixed else ""
    if why := why or unsuited(family, objective, task):
        warn(f"compiled=True: torch's own operations are used, for {why}")
        return None
    return CompiledStep(family, objective, task, prior_var)


def say_other(*, was_compiled: bool) -> None:
    """Says that a training goes on with the other kind of step than it began with."""
    kinds = ("steps by torch's own operations", "compiled steps")
    was, now = kinds[was_compiled], kinds[not was_compiled]
    warn(
        f"training began with {was} and goes on with {now}: the outcome is the same but for rounding"
    )

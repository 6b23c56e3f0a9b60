"""Penalties on switches, which bring them to 0, and on weights, which keep them from growing in return.

Source: ShrinkNets (draft), eq. 9: ``L + λ ‖θ‖₁ + λ₂ ‖W‖_p^p`` (eq. 2 prints the norm without the power).
The second term is needed: without it a layer can halve its θ and double its weights, and the first term has no minimum.

Two ways to apply λ ‖θ‖₁:

``subgradient``    the draft's: λ sign(θ) joins the gradient and goes through the user's optimiser. Two faults come with it. θ
                   steps over 0 and never rests there; and an optimiser that divides by the size of its gradients, as Adam
                   does, divides λ away: a switch that nothing else moves falls by the learning rate in every step,
                   whatever λ is.
``step_switches``  proximal (Parikh & Boyd 2014, section 4.2): ``θ <- prox(θ - rate dL/dθ)`` with the soft threshold ``prox`` at
                   rate λ. A θ that rests satisfies θ = prox(θ - rate dL/dθ), which says |dL/dθ| = λ where θ ≠ 0, opposed to
                   its sign, and |dL/dθ| <= λ where θ = 0: the rate has dropped out, and the weights' optimiser never
                   came in. So λ means the same under all of them: the least gain in loss that a channel has to be worth.
                   Zeros are exact. There is no momentum: a step needs nothing from the one before, so nothing has to
                   be cut when channels go.

Shapes: C channels of a switch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, NonFiniteError, ShapeError, unknown

Weights = Mapping[str, float | Tensor]
Power = Literal[1, 2]


def subgradient(
    thetas: Mapping[str, Tensor], lam: float, *, weights: Weights | None = None
) -> None:
    """Adds λ sign(θ) to the gradients of switches, before the step of the user's optimiser.

    Args:
        thetas: name of a switch -> its θ ``[C]``; a missing gradient counts as 0.
        lam: λ, at least 0.
        weights: name of a switch -> factor of λ, one number or ``[C]``; 1 where none is given.

    Raises:
        ConfigError: λ or a weight is negative or not finite, or a weight is for no switch.
        NonFiniteError: a θ or its gradient is not finite; the message names the switch.
    """
    strengths = _strengths(thetas, lam, weights)
    with torch.no_grad():
        pulls = {name: strengths[name] * theta.sign() for name, theta in thetas.items()}
        gradients = {name: theta.grad for name, theta in thetas.items() if theta.grad is not None}
        _refuse_non_finite(thetas)
        _refuse_non_finite(gradients)
        for name, theta in thetas.items():
            if theta.grad is None:
                theta.grad = torch.zeros_like(theta)
            theta.grad.add_(pulls[name])


def proximal(theta: Tensor, lam: float | Tensor, *, rate: float) -> None:
    """Moves θ towards 0 by rate λ in place, and onto exactly 0 where it is nearer: sign(θ) max(|θ| - rate λ, 0).

    Args:
        theta: θ, any shape.
        lam: λ, at least 0, one number or of the shape of θ.
        rate: size of the step, at least 0.
    """
    reach = rate * lam
    with torch.no_grad():
        theta.sub_(theta.clamp(-reach, reach))  # type: ignore[arg-type]  # both are numbers, or both tensors


def step_switches(
    thetas: Mapping[str, Tensor], lam: float, *, rate: float, weights: Weights | None = None
) -> None:
    """Makes one proximal gradient step of the switches in place: θ <- prox(θ - rate dL/dθ).

    The switches must not be among the parameters of the user's optimiser as well. Gradients are read and left as they are.

    Args:
        thetas: name of a switch -> its θ ``[C]``; a missing gradient counts as 0.
        lam: λ, at least 0: loss per unit of θ.
        rate: size of the step, above 0; the learning rate of plain gradient descent.
        weights: name of a switch -> factor of λ, one number or ``[C]``, for example what a channel costs; 1 where none is
            given.

    Raises:
        ConfigError: λ, the rate or a weight is out of range, or a weight is for no switch.
        NonFiniteError: a θ or its gradient is not finite; the message names the switch, and no switch has moved.
    """
    if not 0 < rate < math.inf:
        raise ConfigError(f"step_switches(rate={rate:g}): expected a positive step")
    strengths = _strengths(thetas, lam, weights)
    with torch.no_grad():
        moved = {
            name: theta.clone() if theta.grad is None else theta - rate * theta.grad
            for name, theta in thetas.items()
        }
        _refuse_non_finite(moved)
        for name, theta in thetas.items():
            proximal(moved[name], strengths[name], rate=rate)
            theta.copy_(moved[name])


def decay(params: Iterable[Tensor], lam2: float, *, rate: float, p: Power = 2) -> None:
    """Applies the weight penalty in place and apart from the optimiser, as AdamW does (Loshchilov & Hutter 2019).

    For p = 2 weights are multiplied by 1 - 2 rate λ₂ (AdamW's coefficient is 2 λ₂); for p = 1 they are moved towards 0 by
    rate λ₂ and onto exactly 0 where they are nearer.

    Args:
        params: the weights.
        lam2: λ₂, at least 0.
        rate: learning rate of the step, at least 0.
        p: 1 or 2.

    Raises:
        ConfigError: p is neither 1 nor 2, λ₂ or the rate is negative or not finite, or a step would pass 0.
    """
    _check_power(p)
    _check_strength("lam2", lam2)
    _check_strength("rate", rate)
    if p == 2 and 2 * rate * lam2 > 1:
        raise ConfigError(
            f"decay(lam2={lam2:g}, rate={rate:g}): 2 rate lam2 = {2 * rate * lam2:g} is above 1 and would turn weights "
            "round; lower one of them"
        )
    with torch.no_grad():
        for w in params:
            if p == 2:
                w.mul_(1 - 2 * rate * lam2)
            else:
                proximal(w, lam2, rate=rate)


def _strengths(
    thetas: Mapping[str, Tensor], lam: float, weights: Weights | None
) -> dict[str, float | Tensor]:
    """Returns λ of each switch, a number or ``[C]``."""
    _check_strength("lam", lam)
    for name, weight in (weights or {}).items():
        if name not in thetas:
            raise unknown("switch", name, thetas)
        if isinstance(weight, Tensor) and weight.shape not in ((), thetas[name].shape):
            raise ShapeError(
                f"weight of {name} is {list(weight.shape)}, expected one number or {list(thetas[name].shape)}"
            )
        lowest = float(weight.min()) if isinstance(weight, Tensor) else weight
        if not lowest >= 0:
            raise ConfigError(f"weight of {name}: {lowest:g} among them; expected 0 or more")
    return {name: lam * (weights or {}).get(name, 1.0) for name in thetas}


def _check_strength(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name}={value:g}; expected a finite number, 0 or more")


def _check_power(p: int) -> None:
    if p not in (1, 2):
        raise ConfigError(f"p={p}; allowed: 1, 2")


def _refuse_non_finite(values: Mapping[str, Tensor]) -> None:
    """Raises for the first switch with a number that is not finite; waits for a device once."""
    if not values or bool(torch.stack([v.isfinite().all() for v in values.values()]).all()):
        return
    name = next(name for name, v in values.items() if not bool(v.isfinite().all()))
    channels = (~values[name].isfinite()).nonzero().flatten().tolist()
    raise NonFiniteError(
        f"switch {name}: theta or its gradient is not finite in {len(channels)} of {values[name].numel()} channels, first "
        f"in {channels[0]}; lower the learning rate, or check the data for huge values"
    )

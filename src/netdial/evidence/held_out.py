"""Whether a regression's estimators may choose λ: what they would choose is looked up among held-out errors.

A regression's evidence rests on its noise variance, which training data do not tell where the network can fit them: bounds of
mean-field posteriors take errors of an over-regularised member for noise. Held-out rows do tell. The family notes errors of its
members along λ when it is given some (``measure.calibrate``); an estimator that would take a member whose errors are larger
than those of the best by more than ``MARGIN``, or no smaller than those of a constant on the training data, may not choose.
Without held-out rows it may choose, unchecked, unless the member does no better than a constant on the training data themselves
and others do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.measure.forward import outputs
from netdial.task import Task
from netdial.task.noise import UNKNOWN

MARGIN = 1.15
"""Root mean squared error of a chosen member over that of the best member, up to which an estimator may choose."""
_USEFUL = 0.95
"""Mean squared error on training data over that of a constant from which on a member has learned nothing."""

UNCHECKED = f"unchecked, and λ may be far too large: {UNKNOWN}"
USELESS = "no member that was judged does noticeably better than a constant on the training data"


def errors_along(task: Task, lams: Sequence[float]) -> dict[float, float]:
    """Returns the mean squared held-out error of the member at each λ; empty if the task does not know them."""
    found = {lam: task.held_out_loss(lam) for lam in lams}
    return {lam: value for lam, value in found.items() if value is not None}


def training_objection(family: Family, lam: float, data: Dataset) -> str:
    """Returns why an estimator that takes λ may not choose, from training data alone; empty if nothing speaks against it."""
    targets = data.y.cpu()
    loss = (outputs(family.export(lam), data).cpu().double() - targets).square().mean()
    spread = _spread(targets)
    if len(targets) < 2 or float(loss) < _USEFUL * spread:
        return ""
    return (
        f"not for choosing: it takes λ = {lam:.3g}, which does hardly better than a constant on the training data themselves "
        f"(RMSE {math.sqrt(float(loss)):.3g} against {math.sqrt(spread):.3g}); choose on validation data"
    )


def objection(lam: float, errors: Mapping[float, float], targets: Tensor | None = None) -> str:
    """Returns why an estimator that takes λ may not choose; empty if it may.

    Args:
        lam: what it takes.
        errors: mean squared held-out errors by λ, those of ``lam`` among them.
        targets: training targets ``[N, T]`` in the same units, whose spread is what a constant errs by.
    """
    best = min(errors, key=errors.__getitem__)
    ratio = math.sqrt(errors[lam] / errors[best])
    advice = "choose on validation data"
    if ratio > MARGIN:
        return (
            f"not for choosing: it takes λ = {lam:.3g}, whose RMSE on held-out rows is {ratio:.2f} times that at "
            f"λ = {best:.3g}; {advice}"
        )
    if targets is not None and len(targets) > 1:
        spread = _spread(targets)
        if errors[lam] >= spread:
            return (
                f"not for choosing: it takes λ = {lam:.3g}, whose RMSE on held-out rows, {math.sqrt(errors[lam]):.3g}, is no "
                f"smaller than the standard deviation of training targets, {math.sqrt(spread):.3g}; {advice}"
            )
    return ""


def _spread(targets: Tensor) -> float:
    """Returns the mean squared error of the constant that suits the targets ``[N, T]`` best, their mean."""
    return float(targets.double().var(dim=0, correction=0).mean())

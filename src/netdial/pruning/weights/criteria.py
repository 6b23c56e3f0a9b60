"""Criteria: importance of each weight of a member; the least important are removed first.

A criterion is one function, ``Subject -> importance [K, P]``, higher = keep; only the order counts. To add one, write the
function and name it in ``CRITERIA``; masks, ``prune``, ``surface`` and the command line know it from then on.

    density     -log of the relative density exp(-μ²/2σ²)                 (Grebenkova et al. 2022, eq. 17)
    graves      the relative density itself, q(0) / q(μ), negative        (Graves 2011, §5: a threshold on it)
    snr         |μ| / σ; the same order once more, on the usual scale
    magnitude   |μ|                                                       (Han et al. 2015; 2022 paper, eq. 18)
    taylor      |θ · dL/dθ|, first-order change of the mean loss          (Molchanov et al. 2017, eq. 5)
    random      the same random order at every λ, to compare with

``second_order`` adds those of Optimal Brain Damage.

Shapes: K members, P numbers of the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError, NonFiniteError
from netdial.core.noise import generator
from netdial.core.outputs import in_usual_modes
from netdial.core.registry import Registry
from netdial.curvature import gradient
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.family.fields import Fields
from netdial.task import Task, settle
from netdial.task.rehearsal import admit


@dataclass(frozen=True)
class Subject:
    """Input of a criterion: members, their fields and the training data.

    Attributes:
        family: the family.
        lams: complexity values of the K members.
        fields: their fields ``[K, P]``, without gradients.
        data: training data, or None.
        task: what the family predicts; None only without data.
        seed: seed of whatever is drawn.
    """

    family: Family
    lams: tuple[float, ...]
    fields: Fields
    data: Dataset | None
    task: Task | None
    seed: int

    def training_data(self, criterion: str) -> Dataset:
        """Returns the data.

        Raises:
            ConfigError: there are none, and the criterion needs them.
        """
        if self.data is None:
            raise ConfigError(
                f"criterion {criterion!r} measures the loss on training data; give data=, "
                f"or choose one that needs none ({', '.join(WITHOUT_DATA)})"
            )
        return self.data


Criterion = Callable[[Subject], Tensor]

CRITERIA: Registry[Criterion] = Registry("criterion")
WITHOUT_DATA = ("density", "graves", "snr", "magnitude", "random")
"""Criteria that read the posterior alone."""
OF_A_NORMAL = ("density", "graves", "snr")
"""Criteria that compare a mean with its standard deviation."""


@checked
@in_usual_modes
def importance(
    family: Family,
    lams: Sequence[float],
    criterion: str = "density",
    *,
    data: Data | None = None,
    kind: str | Task | None = None,
    seed: int = 0,
) -> Tensor:
    """Returns how much each number of some members matters ``[K, P]``; higher = keep.

    Args:
        family: the family.
        lams: complexity values of the K members.
        criterion: a name in ``CRITERIA``.
        data: training data, for the criteria that need them.
        kind: the task: a name, or a ``Task``; by default that of the family.
        seed: seed of whatever the criterion draws.

    Raises:
        ConfigError: the criterion is unknown, needs data that were not given, or needs a normal posterior and the family
            has points.
        NonFiniteError: an importance is not a number.
    """
    family.weights_alone("importance")
    part, task = None, settle(kind, family.task)
    if data is not None:
        part, task = admit(family.net, data, kind, family.task, "training part", family.columns)
    with torch.no_grad():
        fields = family.fields_at(lams)
    return measure(Subject(family, tuple(map(float, lams)), fields, part, task, seed), criterion)


def measure(subject: Subject, criterion: str) -> Tensor:
    """Returns the importances ``[K, P]`` of a subject; errors are those of ``importance``."""
    with torch.no_grad():
        found = CRITERIA[criterion](subject)
    bad = found.isnan().any(dim=1).tolist()
    if any(bad):
        where = ", ".join(f"{lam:g}" for lam, flag in zip(subject.lams, bad, strict=True) if flag)
        raise NonFiniteError(
            f"criterion {criterion!r}: the importance of some numbers is not a number at lam={where}; "
            "look at the member's loss there, or choose another criterion"
        )
    return found


def default_criterion(family: Family) -> str:
    """Returns ``density``, or ``magnitude`` for a family of points."""
    return "magnitude" if family.log_std is None else "density"


@CRITERIA.add("density")
def density(subject: Subject) -> Tensor:
    """Returns μ²/2σ² in nats: how far the posterior density falls from its peak to 0 (2022 paper, -log of eq. 17)."""
    return 0.5 * _z(subject, "density").square()


@CRITERIA.add("graves")
def graves(subject: Subject) -> Tensor:
    """Returns -exp(-μ²/2σ²) = -q(0)/q(μ), between -1 and 0: Graves removes what lies below minus his threshold."""
    return -(-0.5 * _z(subject, "graves").double().square()).exp()


@CRITERIA.add("snr")
def snr(subject: Subject) -> Tensor:
    """Returns the signal-to-noise ratio ``|μ|/σ`` (Blundell et al. 2015, §5.1)."""
    return _z(subject, "snr")


@CRITERIA.add("magnitude")
def magnitude(subject: Subject) -> Tensor:
    """Returns ``|μ|``, whose order is that of -exp(-μ²) (2022 paper, eq. 18; Han et al. 2015)."""
    return subject.fields.mean.abs()


@CRITERIA.add("taylor")
def taylor(subject: Subject) -> Tensor:
    """Returns ``|θ · dL/dθ|`` in nats, L the mean loss of all data at the mean weights (Molchanov et al. 2017, eq. 5)."""
    data = subject.training_data("taylor")
    join, rows = subject.family.layout.join, []
    for lam, flat in zip(subject.lams, subject.fields.mean, strict=True):
        _, slope = gradient(subject.family.export(lam), data, kind=subject.task)
        rows.append((flat * join(slope)).abs() / len(data))
    return torch.stack(rows)


@CRITERIA.add("random")
def random(subject: Subject) -> Tensor:
    """Returns uniform random numbers, the same at every λ, so that differences between members are not luck."""
    size = subject.family.layout.size
    drawn = torch.rand(size, generator=generator(subject.seed, "random"), dtype=torch.float64)
    return drawn.to(subject.fields.mean.device).expand(len(subject.lams), -1)


def _z(subject: Subject, criterion: str) -> Tensor:
    """Returns |μ|/σ, 0 for a number that was pruned before."""
    fields = subject.fields
    if fields.log_std is None:
        others = [name for name in CRITERIA if name not in OF_A_NORMAL]
        raise ConfigError(
            f"criterion {criterion!r} divides by the posterior's standard deviations, and a point posterior has none; "
            f"choose {', '.join(others)}, or train with an objective that has a posterior, such as 'ard'"
        )
    return fields.mean.abs() * (-fields.log_std).exp()

"""Averages along λ: several members, of one family or of several, as one network.

With two levels of inference the prediction is an average, p(y | x) = Σ p(λ | D) p(y | x, λ). Weights of the evidence are far
too sure of themselves (they cost 14 to 45 % of loss where they were tried) and equal weights count members that are of no use;
so weights come from validation rows:

- ``pseudo_bma``: pseudo-BMA+ (Yao, Vehtari, Simpson, Gelman 2018): how likely each member is to be the best one of these rows,
  the mean over Bayesian bootstraps of softmax(-loss of all rows). There is nothing to tune.
- ``greedy``: members are added one by one, with replacement, each the one that helps most; at most so many different ones
  (Caruana et al. 2004).

It costs as many forward passes as there are members.

Shapes: M members, N validation examples, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netdial.core.arguments import Count, checked
from netdial.core.errors import ConfigError, NonFiniteError
from netdial.core.noise import generator
from netdial.core.outputs import doubled, in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.data.memory.columns import check_columns
from netdial.family.family import Family
from netdial.measure.forward import outputs
from netdial.task import DenseRegression, Task
from netdial.task.rehearsal import admit

_DRAWS, _ROUNDS, _LEAST = 1000, 50, 1e-3
"""Bayesian bootstraps; members added at most; weight below which a member is left out."""


class Average(nn.Module):
    """A weighted average of the means that networks predict: probabilities of classes, or numbers.

    Attributes:
        members: networks ``[B, ...] -> [B, O]``.
        weights: of the members ``[M]``, summing to 1.
        lams: complexity value of each.
        family: index of the family that each comes from.
    """

    weights: Tensor

    def __init__(
        self,
        members: Sequence[nn.Module],
        weights: Tensor,
        task: Task,
        lams: Sequence[float],
        family: Sequence[int],
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("weights", weights)
        self.task, self.lams, self.family = task, tuple(lams), tuple(family)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs ``[B, O]`` that stand for the average; of classes the logarithms of their probabilities."""
        means = torch.stack([self.task.to_mean(member(x)) for member in self.members])
        weights = self.weights.to(means).view(-1, *[1] * (means.ndim - 1))
        return self.task.of_mean((weights * means).sum(dim=0))


@checked
@in_usual_modes
def average(
    family: Family | Sequence[Family],
    valid: Data,
    *,
    lams: int | Sequence[float] = 5,
    members: Count | None = None,
    kind: str | Task | None = None,
    seed: int = 0,
) -> Average:
    """Returns the average of members, with weights that validation rows give them, as an ordinary network.

    Args:
        family: a family, or several (from several starts: ``fit_starts`` makes them in one run).
        valid: validation rows, in any of the forms of ``netdial.data.memory``. If they have weights, these count here; what
            ``evaluate`` and ``choose`` measure counts every row alike.
        lams: complexity values of the members of each family, or how many to space evenly over its range.
        members: take at most so many different members, chosen one by one; by default weights by pseudo-BMA+, and members of
            next to no weight are left out.
        kind: the task; by default that of the family.
        seed: seed of the Bayesian bootstrap.

    Raises:
        ConfigError: there is no family, a λ lies outside the range of one, or families are of different tasks or units.
        NonFiniteError: no member predicts finite numbers.
    """
    families = [family] if isinstance(family, Family) else list(family)
    if not families:
        raise ConfigError("average: the list of families is empty; give at least one")
    _check_alike(families)
    for one in families:
        check_columns(one.columns, valid, "validation rows")
    part, task = admit(families[0].net, valid, kind, families[0].task)
    task = task.plugged_in()
    found = [(which, lam) for which, one in enumerate(families) for lam in one.lams(lams)]
    nets = [families[which].export(lam) for which, lam in found]
    with torch.no_grad():
        found_outputs = [doubled(outputs(net, part)) for net in nets]
    shapes = {
        tuple(each.shape[1:]): which for each, (which, _) in zip(found_outputs, found, strict=True)
    }
    if len(shapes) > 1:
        some = " and ".join(f"{list(shape)} (family {which})" for shape, which in shapes.items())
        raise ConfigError(
            f"average: the families give outputs of different shapes, {some}; average those of one task"
        )
    each = torch.stack(found_outputs)
    finite = each.flatten(1).isfinite().all(dim=1)
    if not bool(finite.any()):
        raise NonFiniteError("average: no member's outputs are finite; train again with a lower lr")
    chosen = torch.arange(len(found))[finite]
    if members is None:
        weights = pseudo_bma(_nats(each[chosen], part, task), seed)
    else:
        weights = greedy(each[chosen], part, task, members)
    kept = weights >= _LEAST
    weights, chosen = weights[kept] / weights[kept].sum(), chosen[kept]
    return Average(
        [nets[i] for i in chosen.tolist()],
        weights.float(),
        task,
        [found[i][1] for i in chosen.tolist()],
        [found[i][0] for i in chosen.tolist()],
    )


def _check_alike(families: Sequence[Family]) -> None:
    """Refuses families whose outputs mean different things: of different tasks, or of targets in different units.

    Raises:
        ConfigError: they do.
    """
    tasks = [family.task for family in families]
    first = tasks[0]
    for which, task in enumerate(tasks):
        if first is None or task is None:
            continue
        if task.name != first.name:
            raise ConfigError(
                f"average: family 0 was trained for {first.name} and family {which} for {task.name}; average those of one task"
            )
        if getattr(task, "scale", None) != getattr(first, "scale", None):
            raise ConfigError(
                f"average: families 0 and {which} were trained on targets in different units (means and standard deviations); "
                "train them on the same standardised targets"
            )


def pseudo_bma(nats: Tensor, seed: int = 0) -> Tensor:
    """Returns weights ``[M]`` of members by pseudo-BMA+ from what each row costs them ``[M, N]`` in nats."""
    count = nats.shape[1]
    source = generator(seed, "pseudo-bma")
    rows = torch.rand(_DRAWS, count, generator=source, dtype=torch.float64).log().neg()
    rows = count * rows / rows.sum(dim=1, keepdim=True)  # Dirichlet(1, ..., 1), times N
    return torch.softmax(-(rows @ nats.double().mT), dim=1).mean(dim=0)


def greedy(each: Tensor, part: Dataset, task: Task, members: int) -> Tensor:
    """Returns weights ``[M]`` of at most ``members`` different members, added one by one with replacement.

    Args:
        each: outputs of the members ``[M, N, O]``.
        part: the rows.
        task: what they predict.
        members: different ones at most.
    """
    means, counts = task.to_mean(each), torch.zeros(len(each), dtype=torch.float64)
    best, kept = torch.inf, counts
    for added in range(_ROUNDS):
        open_ = counts > 0 if int((counts > 0).sum()) == members else counts >= 0
        total = (counts.to(means).view(-1, 1, 1) * means.flatten(2)).sum(dim=0)
        mixed = (total + means.flatten(2)) / (added + 1)
        losses = _loss(task.of_mean(mixed.view_as(means)), part, task)
        losses = losses.masked_fill(~open_, torch.inf)
        counts = counts.clone()
        counts[losses.argmin()] += 1
        if float(losses.min()) < best:
            best, kept = float(losses.min()), counts
    return kept / kept.sum()


def _loss(each: Tensor, part: Dataset, task: Task) -> Tensor:
    """Returns the mean proper loss ``[M]`` of outputs ``[M, N, O]``."""
    return (task.loss(each, part.y.cpu()).double() * _weights(part)).mean(dim=1)


def _nats(each: Tensor, part: Dataset, task: Task) -> Tensor:
    """Returns what each row costs in nats ``[M, N]``; squared errors are over twice the best member's mean.

    A loss of one's own is in nats, as it is in training, and may be negative.
    """
    losses = task.loss(each, part.y.cpu()).double() * _weights(part)
    if task.proper != "rmse":
        return losses
    targets = 1 if isinstance(task, DenseRegression) else each[0, 0].numel()
    return targets * losses / (2 * losses.mean(dim=1).min().clamp_min(1e-30))


def _weights(part: Dataset) -> Tensor:
    """Returns the weights of the rows ``[N]``, 1 on average."""
    if part.weight is None:
        return torch.ones(len(part), dtype=torch.float64)
    weight = part.weight.double().cpu()
    return weight / weight.mean()

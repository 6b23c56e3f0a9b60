"""``evaluate``: metrics of the members of a family along λ, on some data.

Every member is evaluated as it would be exported: an ordinary network with the member's parameters and buffers. The
posterior predictive averages over S draws of the weights; draws use the same random numbers at every λ, so that
differences along the path are not noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from netdial.core.arguments import Count, Whole, checked
from netdial.core.best import MEAN, PREDICTIVE
from netdial.core.errors import NonFiniteError
from netdial.core.outputs import ROWS, in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, as_dataset
from netdial.data.memory.columns import check_columns
from netdial.family.family import Family
from netdial.family.running.pieces import at_once, pieces
from netdial.measure.compare import Scores, constant_of
from netdial.measure.forward import FamilyForward, Forward
from netdial.measure.path import Member, Path, mean_fit
from netdial.objective import OBJECTIVES
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.rehearsal import admit
from netdial.task.several import asked_of

_DRAWS = 8
"""Draws of the posterior predictive that go without saying."""


@checked
@in_usual_modes
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
    batch_size: Count = ROWS,
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
    check_columns(family.columns, data, "data")
    held = as_dataset(data)
    part, task = admit(
        family.net, held, asked_of(family.net, held, kind, loss, family.task), family.task
    )
    return path_of(
        family,
        part,
        task,
        FamilyForward(family, part, batch_size),
        lams=family.lams(lams),
        objective=objective,
        n_data=n_data,
        n_samples=n_samples,
        seed=seed,
        metric=metric,
        train=train,
        on_member=on_member,
    )


def path_of(
    family: Family,
    part: Dataset,
    task: Task,
    forward: Forward,
    *,
    lams: Sequence[float],
    objective: str | None = None,
    n_data: int | None = None,
    n_samples: int | None = None,
    seed: int = 0,
    metric: str | None = None,
    train: Tensor | None = None,
    on_member: Callable[[float, Tensor], object] | None = None,
) -> Path:
    """Returns the path of a family whose outputs on a part of the data ``forward`` gives; see ``evaluate``."""
    count = n_data or family.n_data or len(part)
    n_samples = (_DRAWS if n_samples is None else n_samples) if family.is_random else 0
    members, scores, numbers = [], dict[str, list[Scores]](), False
    names = list(dict.fromkeys([*task.reported, metric or task.proper]))
    targets, width = part.y.cpu(), 0
    with torch.no_grad():
        for lam, complexity in zip(
            lams, _complexities(family, lams, objective or family.objective), strict=True
        ):
            draws = forward.means(lam)[None]
            numbers = numbers or not bool(draws.isnan().any())
            if on_member is not None:
                on_member(lam, draws[0])
            sampled = forward.draws(lam, n_samples, seed) if n_samples else None
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
            width = draws.shape[2:].numel()
            here = task.at(lam)
            found = {MEAN: Scores.of(draws, targets, here.plugged_in(), metric)}
            if sampled is not None:
                found[PREDICTIVE] = Scores.of_draws(sampled, targets, here, metric)
            for way, one in found.items():
                scores.setdefault(way, []).append(one)
    if not numbers:
        where = ", ".join(f"{lam:.4g}" for lam in lams)
        raise NonFiniteError(
            f"network {type(family.net).__name__}: an output is not a number at every lam ({where}); parameters are not finite "
            "or far too large: train again with a lower lr, or clip set to 1"
        )
    return Path(
        tuple(members),
        task.proper,
        constant_of(task, targets if train is None else train, targets, width),
        {way: Scores.join(found) for way, found in scores.items()},
    )


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

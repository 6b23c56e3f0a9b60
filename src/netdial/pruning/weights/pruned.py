"""Pruning a member: Algorithm 2 of Grebenkova et al. 2022, on the family's own terms.

``prune`` gives one member at one share as a family of its own, which can be evaluated, trained further, pruned further, saved
and exported; ``surface`` measures all complexity values and shares without making any of them.

Shapes: K members, S shares, P numbers of the leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch

from netdial.core.arguments import checked, checked_fields
from netdial.core.errors import ConfigError
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.data.memory.weights import weighing
from netdial.family.family import Family
from netdial.family.fields import Fields
from netdial.family.maps import TableMap
from netdial.measure.noise import forget_noise
from netdial.nets.foreign import check_plain_weights
from netdial.pruning.weights.constants import Constants, find_constants
from netdial.pruning.weights.criteria import Subject, default_criterion, measure
from netdial.pruning.weights.mask import Policy, check_shares, survival
from netdial.pruning.weights.members import Levels
from netdial.pruning.weights.output_leaves import output_leaves
from netdial.pruning.weights.refit import Refit
from netdial.task import Task, settle
from netdial.task.rehearsal import admit
from netdial.train.finetune import specialise

_INSTEAD = (
    " and train that network; or prune nothing (share 0), or give family.export(lam) to nd.slim, or the family and lam to "
    "nd.compress, which make it plain themselves"
)


@checked_fields
@dataclass(frozen=True)
class Rule:
    """How it is decided what goes.

    Attributes:
        criterion: a name in ``CRITERIA``; None for ``density``, or ``magnitude`` where the family has points.
        policy: what may be removed, and where shares are counted.
        fold: whether weights of constant inputs go first, into biases; only where there are data and no whole rows.
        kind: the task: a name, or a ``Task``; by default that of the family.
        seed: seed of criteria that draw.
        refit: whether what is left makes up for what went, by least squares over training inputs (``refit.py``).
    """

    criterion: str | None = None
    policy: Policy = field(default_factory=Policy)
    fold: bool = True
    kind: str | Task | None = None
    seed: int = 0
    refit: bool = False


@checked
@in_usual_modes
def prune(
    family: Family,
    lam: float,
    share: float,
    *,
    criterion: str | None = None,
    policy: Policy | None = None,
    data: Data | None = None,
    fold: bool = True,
    refit: bool = False,
    kind: str | Task | None = None,
    seed: int = 0,
) -> Family:
    """Returns the member at λ with a fraction of its weights set to 0, as a family of that one member.

    What was removed is 0 for good: in ``at``, ``export`` and ``nd.save``, and through ``finetune``. A family that is
    pruned already counts what it lacks as removed, so shares are always of the whole network. Pruning changes the errors of
    a regression, so its noise is not known afterwards: ``netdial.measure.calibrate(member, held_out)``.

    Args:
        family: the family; it is left as it is.
        lam: complexity value.
        share: part of the removable weights to remove, in [0, 1).
        criterion: a name in ``CRITERIA``; ``density``, or ``magnitude`` for a family of points, if None.
        policy: what may be removed; all weights ranked together and no biases, by default.
        data: training data, for criteria that need them and to find constant inputs.
        fold: fold weights of inputs that are constant over ``data`` into biases and remove them first. Nothing is folded
            without data, or when whole rows are removed.
        refit: let the weights that are left make up for those that went: each layer is fit to what it made before, by least
            squares over ``data``, without labels. Much better where much goes and nothing is trained afterwards.
        kind: the task: a name, or a ``Task``; by default that of the family.
        seed: seed of criteria that draw, and of the inputs that ``refit`` looks at.

    Raises:
        ConfigError: a share outside [0, 1), a λ outside the trained range, an unknown criterion, or one that lacks what
            it needs; ``refit`` without data; or a weight is computed from others (weight norm, an orthogonal weight).
    """
    rule = Rule(criterion, policy or Policy(), fold, kind, seed, refit)
    return prune_by(rule, family, lam, share, data)


def prune_by(
    rule: Rule,
    family: Family,
    lam: float,
    share: float,
    data: Data | None,
) -> Family:
    """Returns what ``prune`` does, its options given as a rule; errors are those of ``prune``."""
    levels = decide(family, [lam], [share], rule, data).select(slice(None))
    member = specialise(family, lam)
    with torch.no_grad():
        cast(TableMap, member.mean).pivots.copy_(levels.weights()[0])
    member.restrict(levels.kept()[0, 0])
    if share > 0:
        forget_noise(member)
    return member


def decide(
    family: Family,
    lams: Sequence[float],
    shares: Sequence[float],
    rule: Rule,
    data: Data | None,
) -> Levels:
    """Returns the members at some complexity values with what each loses at each share, shares in rising order.

    Arguments and errors are those of ``prune``.
    """
    return next(decide_in_turn(family, [lams], shares, rule, data))


def decide_in_turn(
    family: Family,
    groups: Sequence[Sequence[float]],
    shares: Sequence[float],
    rule: Rule,
    data: Data | None,
) -> Iterator[Levels]:
    """Yields what ``decide`` gives for each group of complexity values; what they share is found once."""
    check_shares(shares)
    if rule.refit and data is None:
        raise ConfigError(
            "refit=True fits layers to what they make of training inputs: give training data (data of prune, train of surface "
            "and choose), or leave refit out"
        )
    part = None
    if data is not None:
        part, _ = admit(family.net, data, rule.kind, family.task, "training part", family.columns)
    family.weights_alone("pruning")
    if max(shares) > 0:
        check_plain_weights(family.net, masks=False, instead=_INSTEAD)
    constants = None
    if rule.fold and part is not None and not rule.policy.rows:
        constants = find_constants(family, part)
    refit = Refit(weighing(part), rule.seed) if rule.refit and part is not None else None
    outputs = None
    if rule.policy.rows:
        few = None if part is None else part.inputs(torch.arange(min(2, len(part))), family.like)
        outputs = output_leaves(family.net, few)
    for lams in groups:
        found = _decide(family, lams, shares, rule, part, constants, outputs)
        yield replace(found, refit=refit)


def _decide(
    family: Family,
    lams: Sequence[float],
    shares: Sequence[float],
    rule: Rule,
    data: Dataset | None,
    constants: Constants | None,
    outputs: Collection[str] | None,
) -> Levels:
    with torch.no_grad():
        fields = family.fields_at(lams)
    values = tuple(float(lam) for lam in lams)
    task = settle(rule.kind, family.task, None if data is None else data.y)
    subject = Subject(family, values, _folded(fields, constants), data, task, rule.seed)
    scores = measure(subject, rule.criterion or default_criterion(family))
    if constants is not None:
        scores = scores.masked_fill(constants.folded(), torch.finfo(scores.dtype).min)
    gone = None if fields.kept is None else (~fields.kept).expand_as(scores)
    levels = survival(scores, family.layout, shares, rule.policy, gone, outputs)
    return Levels(family, values, fields.mean, levels, len(shares), constants)


def _folded(fields: Fields, constants: Constants | None) -> Fields:
    """Returns the fields as they are once all constants are folded: biases are judged by what they are going to be."""
    if constants is None:
        return fields
    mean = constants.fold(fields.mean, ~constants.folded())
    return Fields(fields.layout, mean, fields.log_std, fields.kept)

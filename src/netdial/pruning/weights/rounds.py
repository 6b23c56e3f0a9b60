"""Prune, train what is left, repeat: iterative magnitude pruning and its kin (Han et al. 2015, §3).

Every round prunes the member further, by a schedule of shares, and trains what is kept; pruned numbers stay 0. Training goes
on from the previous optimum, or from fresh random weights to compare with. Under which objective is the caller's choice:
the member's own, or one of points (``l2``, ``l1``, ``log-sum``).

Shapes: P numbers of the leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError, unknown
from netdial.core.layout import fill
from netdial.core.noise import derive_seed, seed_everywhere
from netdial.core.outputs import in_usual_modes
from netdial.core.registry import Registry
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.pruning.weights.mask import Policy
from netdial.pruning.weights.pruned import prune
from netdial.task import Task
from netdial.task.rehearsal import admit
from netdial.train.finetune import finetune, specialise

STARTS = ("previous", "random")

RISES: Registry[Callable[[float], float]] = Registry("schedule")
"""How the share removed rises with the part of the rounds that is done, from 0 to 1."""


@RISES.add("one-shot")
def one_shot(done: float) -> float:
    """Returns 1: everything goes in the first round, the others only train."""
    return 1.0


@RISES.add("linear")
def linear(done: float) -> float:
    """Returns the part of the rounds that is done."""
    return done


@RISES.add("cubic")
def cubic(done: float) -> float:
    """Returns 1 - (1 - done)³: fast while there is much to remove (Zhu & Gupta 2017, eq. 1)."""
    return 1 - (1 - done) ** 3


@dataclass(frozen=True, eq=False)
class Round:
    """One round.

    Attributes:
        share: share of what may be pruned that is gone.
        kept: numbers that are left.
        family: the member after training.
    """

    share: float
    kept: int
    family: Family


@checked
def shares(share: float, rounds: int, schedule: str = "cubic") -> list[float]:
    """Returns the share removed after each round; the last is ``share``.

    >>> shares(0.8, 4, "linear")
    [0.2, 0.4, 0.6000000000000001, 0.8]

    Raises:
        ConfigError: fewer than one round, or an unknown schedule.
    """
    if rounds < 1:
        raise ConfigError(f"rounds={rounds}; expected at least 1")
    rise = RISES[schedule]
    return [share * rise(number / rounds) for number in range(1, rounds + 1)]


@checked
@in_usual_modes
def retrain(
    family: Family,
    lam: float,
    data: Data,
    *,
    share: float,
    rounds: int = 3,
    schedule: str = "cubic",
    start: Literal["previous", "random"] = "previous",
    criterion: str | None = None,
    policy: Policy | None = None,
    fold: bool = True,
    kind: str | Task | None = None,
    seed: int = 0,
    **settings: Any,
) -> list[Round]:
    """Prunes a member in rounds and trains it after each.

    Args:
        family: the family; it is left as it is.
        lam: complexity value of the member, and strength of the penalty while training.
        data: training part.
        share: share to remove in the end, in [0, 1).
        rounds: how many times to prune and train.
        schedule: ``one-shot``, ``linear`` or ``cubic``.
        start: ``previous`` trains on from the weights that were kept, ``random`` from fresh ones.
        criterion: what goes first; by default that of ``prune``.
        policy: which numbers may go, and whether layer by layer.
        fold: let biases take over from weights of constant inputs.
        kind: the task: a name, or a ``Task``; by default that of the family.
        seed: seed of fresh weights and of whatever the criterion draws.
        **settings: of the training after each round (``epochs``, ``lr``, ``objective``, …), as for ``finetune``.

    Returns:
        The rounds; the family of the last is the result.

    Raises:
        ConfigError: an option is unknown or out of range, or ``random`` meets a layer that cannot draw fresh weights.
    """
    if start not in STARTS:
        raise unknown("start", start, STARTS)
    data, kind = admit(family.net, data, kind, family.task, "training part", family.columns)
    member, done = specialise(family, lam), []
    for number, target in enumerate(shares(share, rounds, schedule)):
        member = prune(
            member, lam, target, criterion=criterion, policy=policy or Policy(), data=data, fold=fold, kind=kind, seed=seed
        )  # fmt: skip
        if start == "random":
            member = _afresh(member, derive_seed(seed, "afresh", number))
        member = finetune(member, lam, data, kind=kind, seed=seed, **settings)
        assert member.kept is not None
        done.append(Round(target, int(member.kept.sum()), member))
    return done


def _afresh(member: Family, seed: int) -> Family:
    """Returns the member with weights as a new network has them; what was pruned, or is frozen, stays so."""
    lam = member.config.lams[0]
    net = member.export(lam)
    with torch.random.fork_rng(devices=[]):
        seed_everywhere(seed)
        before = {name: leaf.detach().clone() for name, leaf in net.named_parameters()}
        for name, module in net.named_modules():
            if any(p.requires_grad for p in module.parameters(recurse=False)):
                _reset(name, module)
        fill(net, {name: before[name] for name in member.frozen})
    fresh = Family(net, member.config).to(member.device)
    fresh.columns = member.columns
    assert member.kept is not None
    fresh.restrict(member.kept)
    return fresh


def _reset(name: str, module: nn.Module) -> None:
    if not list(module.parameters(recurse=False)):
        return
    reset = getattr(module, "reset_parameters", None)
    if reset is None:
        raise ConfigError(
            f"start='random': {type(module).__name__} {name!r} has no reset_parameters() to draw fresh weights; "
            "use start='previous'"
        )
    reset()

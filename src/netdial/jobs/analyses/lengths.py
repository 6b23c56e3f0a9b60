"""Description lengths side by side: in how many bits the labels of the training data can be told, by three codes.

- two-part: the file, then the labels by the network in it (Rissanen 1978). For every size on the front.
- variational: KL of the member's posterior, then the labels by draws of it (Hinton & van Camp 1993; bits back). For every λ.
- prequential: nothing of a model is told. Labels come block after block, each twice what came before; each is coded by a
  network trained on the blocks before, which the receiver can train as well (Dawid 1984; Blier & Ollivier 2018). It judges the
  network's shape, its start and its training, whatever size the trained numbers have.

Receiver and sender share the inputs. What each code chooses stands beside what validation rows choose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.leaves import divide
from netdial.compression.pipeline.result import Compressed, FrontPoint
from netdial.compression.pipeline.steps import Context, recipe_alone
from netdial.core.errors import ConfigError
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.evidence import assess
from netdial.family import Family
from netdial.measure.forward import outputs
from netdial.nets.foreign import copy_network, with_plain_weights
from netdial.task import Task

_FIRST = 64
"""Labels of the first block of the prequential code, which are coded by a constant."""

LN2 = math.log(2)


@dataclass(frozen=True)
class DescriptionLength:
    """One code of the labels.

    Attributes:
        code: ``uniform``, ``two-part``, ``variational`` or ``prequential``.
        of: what it is the code of: a size, a λ, or the training.
        model: bits of the model.
        data: bits of the labels, given it.
        chosen: whether it is the shortest of its code.
        by_validation: whether validation rows choose it among these.
    """

    code: str
    of: str
    model: float
    data: float
    chosen: bool = False
    by_validation: bool = False

    @property
    def total(self) -> float:
        """Bits in all."""
        return self.model + self.data


def check_codes(task: Task) -> None:
    """Refuses targets that have no code.

    Raises:
        ConfigError: targets are numbers.
    """
    if task.targets != "classes":
        raise ConfigError(
            f"description lengths: a {task.name} has numbers as targets, whose codes depend on a precision that nobody gave; "
            "they are told for classes"
        )


def description_lengths(
    given: nn.Module,
    found: Compressed,
    train: Dataset,
    valid: Dataset,
    task: Task,
    config: CompressConfig,
    *,
    lams: Sequence[float] = (),
    start: nn.Module | None = None,
) -> list[DescriptionLength]:
    """Returns the codes of the training labels.

    Args:
        given: the family or the network that was compressed.
        found: what came of it.
        train: training rows.
        valid: validation rows, for what they choose.
        task: what is predicted; its targets have to be classes, for a density of numbers is no code without a precision.
        config: how networks are trained on the blocks of the prequential code.
        lams: complexity values of the variational code, for a family of normal posteriors.
        start: a network that was not trained, from which the prequential code trains; none leaves that code out.

    Raises:
        ConfigError: targets are numbers.
    """
    check_codes(task)
    rows = [
        DescriptionLength("uniform", "labels alone", 0.0, len(train) * math.log2(_kinds(train)))
    ]
    rows += _two_part(found.front, train, task)
    if isinstance(given, Family) and given.log_std is not None and lams:
        rows += _variational(given, train, valid, task, lams, config.seed)
    return rows if start is None else [*rows, prequential(start, train, task, config)]


def prequential(
    net: nn.Module, train: Dataset, task: Task, config: CompressConfig
) -> DescriptionLength:
    """Returns the prequential code by networks of the shape of ``net``, each trained afresh from the same weights.

    The start is the network as it is built: give one that has not been trained, or its training is told for nothing.
    """
    net = with_plain_weights(net)
    order = torch.randperm(len(train), generator=generator(config.seed, "prequential"))
    mixed = train.select(order.to(train.x.device))
    ends = [min(_FIRST, len(train))]
    while ends[-1] < len(train):
        ends.append(min(2 * ends[-1], len(train)))
    bits = ends[0] * math.log2(_kinds(train))
    for begin, end in pairwise(ends):
        start = copy_network(net)
        part = mixed.select(torch.arange(begin, device=mixed.x.device))
        own = replace(config, distil=0.0, tuning=0)
        context = Context(part, task, own, divide(start), start)
        made = recipe_alone(context, start, "prequential")
        block = mixed.select(torch.arange(begin, end, device=mixed.x.device))
        bits += _bits(made, block, task)
    return DescriptionLength("prequential", f"training, {len(ends)} blocks", 0.0, bits, chosen=True)


def _two_part(front: Sequence[FrontPoint], train: Dataset, task: Task) -> list[DescriptionLength]:
    rows = [
        DescriptionLength(
            "two-part",
            f"{p.n_weights} weights, {p.n_bytes} bytes",
            8.0 * p.n_bytes,
            _bits(p.net, train, task),
        )
        for p in front
    ]
    return _marked(rows, [p.loss for p in front])


def _variational(
    family: Family, train: Dataset, valid: Dataset, task: Task, lams: Sequence[float], seed: int
) -> list[DescriptionLength]:
    found = assess(family, train, lams=lams, by=["mdl"], kind=task, seed=seed)
    rows = [
        DescriptionLength(
            "variational",
            f"λ = {one.lam:g}",
            len(train) * one.parts["model"],  # parts are in bits per example
            len(train) * one.parts["data"],
        )
        for one in found
    ]
    return _marked(rows, [_bits(family.export(one.lam), valid, task) for one in found])


def _marked(rows: list[DescriptionLength], losses: Sequence[float]) -> list[DescriptionLength]:
    """Returns the codes with the shortest, and the one of least loss on validation rows, marked."""
    shortest = min(range(len(rows)), key=lambda i: rows[i].total)
    best = min(range(len(rows)), key=lambda i: losses[i])
    return [
        replace(row, chosen=i == shortest, by_validation=i == best) for i, row in enumerate(rows)
    ]


def _bits(net: nn.Module, data: Dataset, task: Task) -> float:
    nll: Tensor = task.nll(outputs(net, data), data.y.cpu())
    return float(nll.double().sum()) / LN2


def _kinds(data: Dataset) -> int:
    return max(int(data.y.max()) + 1, 2)

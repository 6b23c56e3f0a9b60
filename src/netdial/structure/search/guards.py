"""Guards of a search by gradient: what goes wrong in such searches is looked at in every one of them.

*Identities*: supernets learn through identities first, so searches end with little else (Liang et al. 2019). They are
counted in the genotype, not in the supernet, and the likeliest structure with few enough is taken. *Discretisation*:
a structure is not the mixture that it was chosen from; the loss on the way is reported (``outcome.Gap``).
*Curvature*: where the largest eigenvalue of the Hessian of the validation loss with respect to the structure
parameters rises, structures generalise worse (Zela et al. 2020); it may be watched, and the structure is then that of
some epochs before the rise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netdial.core.best import guard_remarks
from netdial.core.outputs import modes_kept
from netdial.data.dataset import Dataset
from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.live import live_operations
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import GradientStrategy, StepContext
from netdial.train.feed import Batch

_NEVER = 1e-9
"""Probability of an identity that is not to be chosen."""

_WINDOW, _BACK, _RISE = 3, 5, 1 / 0.75
"""Epochs over which curvature is averaged, epochs that are gone back, and how much it may rise over them."""

_ROWS = 512
"""Examples on which curvature is measured."""

_ROUNDS, _NEAR = 100, 1e-4
"""Of the power iteration: rounds at most, and relative change of the eigenvalue at which it ends."""

_CURVATURE, _STRUCTURES = "guard: curvature", "guard: structures"
"""Names in the memory of a search: of the eigenvalues ``[E]``, and of the structure parameters after each epoch ``[E, P]``."""


@dataclass(frozen=True)
class GuardReport:
    """What the guards saw.

    Attributes:
        skips: identities in the network.
        most_skips: how many it may have.
        skips_before: identities in the likeliest structure, before the guard.
        skips_entered: identities in the likeliest structure that entered the final, after the guard.
        curvature: largest eigenvalue after each epoch; empty if it was not watched.
        epoch: the epoch whose structure was taken: the last one unless curvature rose; 0 if it was not watched.
    """

    skips: int
    most_skips: int
    skips_before: int
    skips_entered: int
    curvature: tuple[float, ...]
    epoch: int

    @property
    def remarks(self) -> list[str]:
        """What was done, in sentences for people; empty if nothing was."""
        return guard_remarks(
            self.skips_before,
            self.most_skips,
            self.curvature,
            self.epoch,
            self.skips,
            self.skips_entered,
        )


def count_skips(space: SearchSpace, genotype: Genotype) -> int:
    """Returns how many edges of a network are nothing but an identity."""
    return len(_skips(space, genotype))


def _skips(space: SearchSpace, genotype: Genotype) -> list[str]:
    """Returns the edges of a network that are nothing but an identity; those that are not in the network are none."""
    wiring, (_, chosen) = space.wiring, live_operations(space.wiring, genotype)
    found = []
    for edge, names in chosen.items():
        if edge in _free_edges(space) and names and set(names) <= wiring.identities[edge]:
            found.append(edge)
    return found


def most_skips(space: SearchSpace) -> int:
    """Returns how many identities a network may have by default: a third of the edges that can be one, one at least."""
    able = sum(bool(space.wiring.identities[edge]) for edge in _free_edges(space))
    return max(1, able // 3)


def with_few_skips(
    space: SearchSpace, probabilities: Gamma, most: int, choose: Callable[[Gamma], Genotype]
) -> Genotype:
    """Returns the likeliest structure with few identities: those that are least sure give way first.

    Args:
        space: the search space.
        probabilities: of the operations.
        most: identities at most; where every structure has more, one with as few as there can be.
        choose: the likeliest structure under given probabilities.
    """
    rows = {key: row.detach().clone() for key, row in probabilities.items()}
    found = choose(rows)
    while len(skips := _skips(space, found)) > most:
        sure = []
        for key in dict.fromkeys(space.wiring.edges[edge].key for edge in skips):
            choice = space.choices[key]
            others = [i for i in range(len(choice.operations)) if i not in choice.identities]
            if others:
                now = max(float(rows[key][at]) for at in choice.identities)
                if now > _NEVER:
                    sure.append((now / max(float(rows[key][others].max()), 1e-30), key))
        if not sure:
            return found
        key = min(sure)[1]
        rows[key][list(space.choices[key].identities)] = _NEVER
        found = choose(rows)
    return found


def largest_eigenvalue(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> float:
    """Returns the eigenvalue of largest size of the Hessian of a loss, by power iteration on products with vectors."""
    slopes = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True)
    used = [(p, s) for p, s in zip(parameters, slopes, strict=True) if s is not None]
    if not any(slope.requires_grad for _, slope in used):
        return 0.0
    parts = [p for p, _ in used]
    flat = torch.cat([slope.reshape(-1) for _, slope in used])
    source = torch.Generator().manual_seed(0)
    way = torch.randn(len(flat), generator=source).to(flat)
    found = 0.0
    for _ in range(_ROUNDS):
        way = way / way.norm().clamp_min(1e-30)
        along = torch.autograd.grad(flat @ way, parts, retain_graph=True, allow_unused=True)
        product = torch.cat(
            [
                torch.zeros_like(p).reshape(-1) if a is None else a.reshape(-1)
                for p, a in zip(parts, along, strict=True)
            ]
        )
        before, found = found, float(way @ product)
        if abs(found - before) <= _NEAR * abs(found):
            break
        way = product
    return found


def note_curvature(
    state: SearchState, strategy: GradientStrategy, context: StepContext, judged: Dataset
) -> None:
    """Keeps the curvature of the mixture's loss on some of a part, and the structure parameters, at the end of an epoch."""
    parameters = list(state.module.structure)
    device, dtype = parameters[0].device, next(state.supernet.parameters(), parameters[0]).dtype
    x = judged.inputs(torch.arange(min(_ROWS, len(judged)))).to(device)
    y = judged.y[: len(x)].to(device)
    weight = None if judged.weight is None else judged.weight[: len(x)].to(device)
    x, y = (part.to(dtype) if part.is_floating_point() else part for part in (x, y))
    rows = Batch(x, y, weight)
    with modes_kept(state.supernet):
        state.supernet.eval()
        value = largest_eigenvalue(
            lambda: context.loss(
                state, strategy.mixture(state), rows, sparse=False, weights=strategy.weights(state)
            ),
            parameters,
        )
    now = {
        _CURVATURE: torch.tensor([value], dtype=torch.float64),
        _STRUCTURES: torch.cat([p.detach().reshape(-1) for p in parameters])[None],
    }
    kept = state.memory or {}
    state.memory = kept | {n: torch.cat([kept[n], v]) if n in kept else v for n, v in now.items()}


def before_rise(state: SearchState) -> tuple[tuple[float, ...], int]:
    """Puts structure parameters back to before their curvature rose; returns it after each epoch, and the epoch taken."""
    kept = state.memory or {}
    if _CURVATURE not in kept:
        return (), 0
    curvature = tuple(kept[_CURVATURE].tolist())
    epoch = epoch_before_rise(curvature)
    parameters = list(state.module.structure)
    rows = kept[_STRUCTURES][epoch - 1].split([p.numel() for p in parameters])
    with torch.no_grad():
        for parameter, row in zip(parameters, rows, strict=True):
            parameter.copy_(row.view_as(parameter))
    return curvature, epoch


def epoch_before_rise(curvature: Sequence[float]) -> int:
    """Returns the epoch, from 1, whose structure is taken: the last one, or one some epochs before curvature rose.

    >>> epoch_before_rise([1.0] * 12)
    12
    >>> epoch_before_rise([1.0] * 8 + [1.1, 2.0, 4.0])
    5
    """
    means = [
        math.fsum(curvature[max(0, at - _WINDOW + 1) : at + 1]) / min(at + 1, _WINDOW)
        for at in range(len(curvature))
    ]
    for at in range(_BACK, len(means)):
        if means[at] > _RISE * means[at - _BACK] > 0:
            return at - _BACK + 1
    return len(means)


def _free_edges(space: SearchSpace) -> set[str]:
    return {edge for choice in space.choices.values() for edge in choice.edges}

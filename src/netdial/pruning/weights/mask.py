"""Masks: which numbers of a member stay when a share of them is removed, least important first.

Counts are exact, ``round(share * n)`` of the n numbers that may go (halves to even, as Python rounds); equal importances go
in the order of their positions. Masks of growing shares are nested, so all of them follow from one sort: ``survival`` holds
for every number how many of the shares it survives.

Shapes: K members, S shares, P numbers of the leaves, U units (numbers, or whole rows) of a pool.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from netdial.core.arguments import checked, checked_fields
from netdial.core.errors import ConfigError, ShapeError
from netdial.core.layout import Layout


@checked_fields
@dataclass(frozen=True)
class Policy:
    """Which weights may be pruned, and whether a fraction is of the whole network or of every layer.

    Attributes:
        scope: ``global`` ranks the numbers of all layers together; ``layer`` removes the share from each layer (the
            papers' code does so).
        biases: whether vectors (biases, scales of normalisation) may go too; the papers keep them.
        rows: remove whole rows of linear layers and output channels of convolutions, ranked by the sum of their
            importances; shares then count rows. With ``biases`` the bias of a row goes along and counts in its
            importance. Rows of the layers that make the outputs of the network stay.
    """

    scope: Annotated[
        Literal["global", "layer"],
        Field(
            description="rank the weights of all layers together, or take the same share of each"
        ),
    ] = "global"
    biases: Annotated[bool, Field(description="biases may go too")] = False
    rows: Annotated[bool, Field(description="whole rows and channels, set to zero")] = False

    def __post_init__(self) -> None:
        """Refuses an unknown scope."""
        if self.scope not in ("global", "layer"):
            raise ConfigError(f"Policy(scope={self.scope!r}); allowed: global, layer")


def check_shares(shares: Sequence[float]) -> None:
    """Refuses shares that cannot be removed.

    Raises:
        ConfigError: there are none, or one is outside [0, 1).
    """
    if not shares:
        raise ConfigError("shares: the list is empty; give at least one share to remove")
    bad = ", ".join(f"{share:g}" for share in shares if not 0 <= share < 1)
    if bad:
        raise ConfigError(
            f"share={bad}: outside [0, 1); it is the part of the weights to remove, 0.9 for 90 %, "
            "and a network without any weight is none"
        )


@checked
def removable(layout: Layout, policy: Policy, outputs: Collection[str] | None = None) -> Tensor:
    """Returns which numbers may be removed at all, bool ``[P]``; ``outputs`` as of ``masks``."""
    found = torch.zeros(layout.size, dtype=torch.bool)
    for pool in _pools(layout, policy, outputs):
        found[pool.positions] = True
    return found


@checked
def masks(
    importance: Tensor,
    layout: Layout,
    shares: Sequence[float],
    policy: Policy | None = None,
    first: Tensor | None = None,
    outputs: Collection[str] | None = None,
) -> Tensor:
    """Returns what stays, bool ``[K, S, P]``, for members with these importances and for each share removed.

    Args:
        importance: ``[K, P]``, higher = keep.
        layout: layout of the P numbers.
        shares: S shares in [0, 1), in any order.
        policy: what may be removed.
        first: bool ``[K, P]``, numbers that go before all others.
        outputs: leaves whose rows stay where whole rows go, since they make the outputs of the network (``output_leaves``);
            by default the last one of two or more dimensions.

    Raises:
        ConfigError: a share is outside [0, 1).
        ShapeError: importances do not fit the layout.
    """
    levels = survival(importance, layout, shares, policy, first, outputs)
    return torch.stack([levels > place for place in places(shares)], dim=1)


def survival(
    importance: Tensor,
    layout: Layout,
    shares: Sequence[float],
    policy: Policy | None = None,
    first: Tensor | None = None,
    outputs: Collection[str] | None = None,
) -> Tensor:
    """Returns how many of the shares, from the smallest on, every number survives: int16 ``[K, P]`` from 0 to S.

    The number stays under share s just when this exceeds the place of s among the sorted shares (``places``).
    Arguments and errors are those of ``masks``.
    """
    check_shares(shares)
    if importance.ndim != 2 or importance.shape[1] != layout.size:
        raise ShapeError(
            f"importance is {list(importance.shape)}, expected [K, {layout.size}] for a layout of {layout.size} numbers"
        )
    found = torch.full_like(importance, len(shares), dtype=torch.int16)
    for pool in _pools(layout, policy or Policy(), outputs):
        pool = pool.to(importance.device)
        levels = _survival_of_units(pool.scores(importance, first), sorted(shares))
        found[:, pool.positions] = levels if pool.unit is None else levels[:, pool.unit]
    return found


def places(shares: Sequence[float]) -> list[int]:
    """Returns the place of each share among the sorted ones.

    >>> places((0.9, 0.0, 0.5))
    [2, 0, 1]
    """
    ranked = sorted(shares)
    return [ranked.index(share) for share in shares]


@checked
def share_below(
    importance: Tensor, layout: Layout, threshold: float, policy: Policy | None = None
) -> list[float]:
    """Returns for each member the share of its removable numbers whose importance is below a threshold.

    The form in which Graves (2011, §5) prunes: with the criterion ``graves`` and the threshold ``-t``, the share of weights
    whose relative density q(0)/q(μ) exceeds t.
    """
    policy = policy or Policy()
    if policy.rows:
        raise ConfigError("share_below counts single numbers; use a policy without rows")
    which = removable(layout, policy).to(importance.device)
    below: list[float] = (importance[:, which] < threshold).double().mean(dim=1).tolist()
    return below


@dataclass(frozen=True)
class _Pool:
    """Numbers that are ranked together.

    Attributes:
        positions: flat positions ``[n]``, rising.
        unit: unit that each belongs to ``[n]``; None when every number is a unit.
    """

    positions: Tensor
    unit: Tensor | None = None

    def to(self, device: torch.device) -> _Pool:
        """Returns the pool on a device."""
        return _Pool(self.positions.to(device), None if self.unit is None else self.unit.to(device))

    def scores(self, importance: Tensor, first: Tensor | None) -> Tensor:
        """Returns the importances of the units ``[K, U]``, -inf where all of a unit goes first."""
        scores = importance[:, self.positions]
        goes = None if first is None else first[:, self.positions]
        if self.unit is not None:
            count = int(self.unit.max()) + 1
            where = self.unit.expand_as(scores)
            blank = scores.new_zeros(len(scores), count)
            stays = None if goes is None else blank.scatter_add(1, where, (~goes).to(scores))
            scores = blank.scatter_add(1, where, scores)
            goes = None if stays is None else stays == 0
        return scores if goes is None else scores.masked_fill(goes, -torch.inf)


def _pools(
    layout: Layout, policy: Policy, outputs: Collection[str] | None = None
) -> Iterator[_Pool]:
    """Yields the pools of a policy: one, or one for each layer; nothing for layers that may not be touched."""
    layers = _row_layers(layout, policy, outputs) if policy.rows else _layers(layout, policy)
    if policy.scope == "layer":
        yield from layers
        return
    found = list(layers)
    if not found:
        return
    positions = torch.cat([pool.positions for pool in found])
    if not policy.rows:
        yield _Pool(positions.sort().values)
        return
    units, offset = [], 0
    for pool in found:
        assert pool.unit is not None
        units.append(pool.unit + offset)
        offset += int(pool.unit.max()) + 1
    yield _Pool(positions, torch.cat(units))


def _layers(layout: Layout, policy: Policy) -> Iterator[_Pool]:
    """Yields the removable numbers of each layer (leaves whose names agree up to the last dot)."""
    places = layout.split(torch.arange(layout.size))
    for names in _by_layer(layout).values():
        chosen = [places[name] for name in names if policy.biases or places[name].ndim > 1]
        if chosen:
            yield _Pool(torch.cat([place.flatten() for place in chosen]))


def _row_layers(layout: Layout, policy: Policy, outputs: Collection[str] | None) -> Iterator[_Pool]:
    """Yields the rows of each leaf of two or more dimensions that makes no outputs, with the bias of its layer if it may go."""
    places = layout.split(torch.arange(layout.size))
    matrices = [name for name in layout.names if places[name].ndim > 1]
    stay = matrices[-1:] if outputs is None else outputs
    for names in _by_layer(layout).values():
        for name in names:
            if name not in matrices or name in stay:
                continue
            rows = places[name].flatten(1)
            along = [
                places[other][:, None]
                for other in names
                if policy.biases and places[other].shape == rows.shape[:1]
            ]
            whole = torch.cat([rows, *along], dim=1)
            unit = torch.arange(len(whole))[:, None].expand_as(whole)
            yield _Pool(whole.flatten(), unit.flatten())


def _by_layer(layout: Layout) -> dict[str, list[str]]:
    """Returns the names of leaves by the layer that holds them, in the order of the layout."""
    found: dict[str, list[str]] = {}
    for name in layout.names:
        found.setdefault(name.rpartition(".")[0], []).append(name)
    return found


def _survival_of_units(scores: Tensor, shares: Sequence[float]) -> Tensor:
    """Returns how many of the sorted shares each unit survives, int16 ``[K, U]``."""
    units = scores.shape[1]
    counts = torch.tensor([round(share * units) for share in shares])
    by_rank = torch.searchsorted(counts, torch.arange(units), right=True).to(torch.int16)
    order = _order(scores)
    by_rank = by_rank.to(scores.device).expand(len(scores), -1)
    return torch.empty_like(by_rank).scatter_(1, order, by_rank)


def _order(scores: Tensor) -> Tensor:
    """Returns the positions of ``[K, U]`` scores from the least to the largest, equal ones by position.

    For single precision on a processor, score and position are joined into one whole number, so that any sort keeps the
    order of positions, and numpy's vectorised one can be taken: eight times faster than torch's stable sort.
    """
    if scores.dtype != torch.float32 or scores.device.type != "cpu":
        return scores.argsort(dim=1, stable=True)
    bits = (scores + 0.0).view(torch.int32)  # adding 0 turns -0 into 0
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = ((rising.long() << 32) | torch.arange(scores.shape[1])).numpy()
    keys.sort(axis=1)
    return torch.from_numpy(keys & 0xFFFFFFFF)

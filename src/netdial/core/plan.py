"""Plan: which channels survive, as a value.

A *group* is a set of channels of which each can live or die by itself; a channel lives in several tensors at once (the row that
makes it, its bias, the columns that read it), and each such place is a *slot*. A *plan* says for every leaf which positions
survive. It is applied alike to parameters, gradients, buffers, optimiser states and the maps of a family; it can be logged,
replayed, composed and written as JSON.

Shapes: C channels of a group. Leaves are named as in ``named_parameters`` and ``named_buffers``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, ShapeError, unknown

Positions = tuple[int, ...]
Cuts = dict[str, dict[int, Positions]]


@dataclass(frozen=True)
class Slot:
    """One dimension of one leaf in which the channels of a group lie.

    Attributes:
        leaf: name of the parameter or buffer.
        dim: its dimension.
        positions: for each channel the positions along the dimension that go with it, one or more.
    """

    leaf: str
    dim: int
    positions: tuple[Positions, ...]


@dataclass(frozen=True)
class Group:
    """Channels that are alike: each of them touches the same leaves in the same number of places.

    Attributes:
        name: of the leaf that makes the channels, without ``.weight``.
        slots: the places, the maker first.
        mixed: names of operations that normalise over these channels or mix them, so that the outputs change when a
            channel goes, even one that is always 0; empty if there are none.
    """

    name: str
    slots: tuple[Slot, ...]
    mixed: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """C, the count of channels."""
        return len(self.slots[0].positions)

    def left_by(self, plan: Plan) -> Positions:
        """Returns the channels that a plan leaves, ascending.

        Raises:
            ConfigError: the plan cuts a channel in one leaf and leaves it, or a part of it, in another.
        """
        found: Positions | None = None
        for slot in self.slots:
            survivors = plan.cuts.get(slot.leaf, {}).get(slot.dim)
            alive = None if survivors is None else set(survivors)
            left = []
            for channel, positions in enumerate(slot.positions):
                kept = len(positions) if alive is None else len(alive.intersection(positions))
                if kept not in (0, len(positions)):
                    raise ConfigError(
                        f"plan: cuts a part of channel {channel} of group {self.name} in leaf {slot.leaf}, dimension "
                        f"{slot.dim}; a channel goes as a whole or stays"
                    )
                if kept:
                    left.append(channel)
            if found is not None and found != tuple(left):
                (channel, *_) = sorted(set(found).symmetric_difference(left))
                raise ConfigError(
                    f"plan: channel {channel} of group {self.name} is cut in one of leaves {self.slots[0].leaf} and "
                    f"{slot.leaf} and left in the other; make plans by Graph.plan, of the network as it is now"
                )
            found = tuple(left)
        return found or ()


@dataclass(frozen=True)
class Plan:
    """What survives.

    Attributes:
        cuts: for each leaf and dimension that is cut the positions that survive, ascending. What is not named is whole.
        removed: for each group the channels that go, as they are numbered before the plan: what ``cuts`` say of leaves, said of
            groups, for logs. What is done to a network goes by ``cuts`` alone.
    """

    cuts: Cuts = field(default_factory=dict)
    removed: dict[str, Positions] = field(default_factory=dict)

    @classmethod
    def remove(
        cls,
        groups: Iterable[Group],
        removed: Mapping[str, Iterable[int]],
        shapes: Mapping[str, Iterable[int]],
    ) -> Plan:
        """Returns the plan that removes channels.

        Args:
            groups: all groups of a network.
            removed: group -> channels that go.
            shapes: leaf -> its shape now.

        Raises:
            ConfigError: a group is unknown, a channel is outside it, or a group would lose every channel.
        """
        known = {group.name: group for group in groups}
        gone: dict[str, dict[int, set[int]]] = {}
        for name, wanted in removed.items():
            if name not in known:
                raise unknown("group", name, known)
            group, chosen = known[name], sorted(set(wanted))
            if chosen and not (chosen[0] >= 0 and chosen[-1] < group.size):
                raise ConfigError(
                    f"group {name}: channels {chosen[0]}…{chosen[-1]} asked for, it has 0…{group.size - 1}"
                )
            if len(chosen) == group.size:
                raise ConfigError(
                    f"group {name}: all {group.size} channels would go; keep at least one"
                )
            for slot in group.slots:
                here = gone.setdefault(slot.leaf, {}).setdefault(slot.dim, set())
                here.update(position for channel in chosen for position in slot.positions[channel])
        cuts: Cuts = {}
        for leaf, dims in gone.items():
            shape = tuple(shapes[leaf])
            for dim, lost in dims.items():
                if lost:
                    survivors = tuple(p for p in range(shape[dim]) if p not in lost)
                    cuts.setdefault(leaf, {})[dim] = survivors
        return cls(cuts, {name: tuple(sorted(set(c))) for name, c in removed.items() if set(c)})

    def __bool__(self) -> bool:
        """Whether anything is cut."""
        return bool(self.cuts)

    def cut(self, leaf: str, tensor: Tensor) -> Tensor:
        """Returns what survives of a leaf (or of anything of its shape), a copy if anything is cut.

        Raises:
            ShapeError: the tensor is too small for the plan.
        """
        for dim, survivors in self.cuts.get(leaf, {}).items():
            if dim >= tensor.ndim or (survivors and survivors[-1] >= tensor.shape[dim]):
                raise ShapeError(
                    f"plan: leaf {leaf} of shape {list(tensor.shape)} has no position {survivors[-1]} along dimension {dim}"
                )
            tensor = tensor.index_select(dim, torch.tensor(survivors, device=tensor.device))
        return tensor

    def mask(self, leaf: str, shape: Iterable[int]) -> Tensor:
        """Returns which numbers of a leaf survive, bool ``[*shape]``."""
        kept = torch.ones(*shape, dtype=torch.bool)
        for dim, survivors in self.cuts.get(leaf, {}).items():
            alive = torch.zeros(kept.shape[dim], dtype=torch.bool)
            alive[list(survivors)] = True
            kept &= alive.view([-1 if d == dim else 1 for d in range(kept.ndim)])
        return kept

    def then(self, later: Plan) -> Plan:
        """Returns the plan that does what this one and then ``later`` do.

        Groups have to keep their names in between, as they do in ``Graph.after``.
        """
        cuts: Cuts = {leaf: dict(dims) for leaf, dims in self.cuts.items()}
        for leaf, dims in later.cuts.items():
            mine = cuts.setdefault(leaf, {})
            for dim, survivors in dims.items():
                before = mine.get(dim)
                mine[dim] = survivors if before is None else tuple(before[p] for p in survivors)
        removed = dict(self.removed)
        for name, channels in later.removed.items():
            gone = removed.get(name, ())
            removed[name] = tuple(sorted((*gone, *(_before(gone, c) for c in channels))))
        return Plan(cuts, removed)

    def to_json(self) -> dict[str, Any]:
        """Returns plain lists and dicts."""
        return {
            "cuts": {
                leaf: {str(dim): list(kept) for dim, kept in dims.items()}
                for leaf, dims in self.cuts.items()
            },
            "removed": {name: list(channels) for name, channels in self.removed.items()},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Plan:
        """Returns the plan that ``to_json`` gave.

        Raises:
            ConfigError: it is not one.
        """
        try:
            cuts = {
                str(leaf): {int(dim): tuple(map(int, kept)) for dim, kept in dims.items()}
                for leaf, dims in plain["cuts"].items()
            }
            removed = {str(n): tuple(map(int, c)) for n, c in plain["removed"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"plan: not a plan ({type(error).__name__}: {error})") from None
        for leaf, dims in cuts.items():
            for dim, kept in dims.items():
                if dim < 0 or list(kept) != sorted(set(kept)) or (kept and kept[0] < 0):
                    raise ConfigError(
                        f"plan: leaf {leaf}, dimension {dim}: survivors have to be ascending positions from 0"
                    )
        return cls(cuts, removed)


def _before(gone: Positions, channel: int) -> int:
    """Returns the number that a channel had before others went, which are given in ascending order."""
    for lost in gone:
        channel += lost <= channel
    return channel

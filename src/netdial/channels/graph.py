"""The dependency graph: which slices of which leaves have to be cut together, for any traced network.

Labels are followed through all operations (``labels.py``, ``rules/``); what belongs together at the end is a channel, and
channels that touch the same leaves are a group. Shapes are taken from one run on an example; they are checked, not guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from netdial.channels.labels import FIXED, Labels
from netdial.channels.layers.flow.reaching import Summed
from netdial.channels.nodes import place
from netdial.channels.rules import Heads, Inner, Reader, Scene
from netdial.channels.rules.reading import read
from netdial.channels.trace.running import execute
from netdial.channels.trace.trace import trace
from netdial.channels.trial import Batches, broken
from netdial.core.cutting import leaf_shapes
from netdial.core.errors import ConfigError
from netdial.core.outputs import failing_in_words
from netdial.core.plan import Group, Plan, Slot

Channels = tuple[tuple[str, int], ...]
"""Group and channel at each index, ``("", -1)`` where nothing can go."""


@dataclass(frozen=True)
class Graph:
    """A network and its groups.

    Attributes:
        traced: the network as a graph module; cutting changes it in place.
        example: inputs ``[b, ...]`` that it was run on.
        groups: all groups, in the order of execution.
        shapes: shape of everything that a plan can name.
        kept: leaf -> why none of the channels that it makes can go (outputs, sizes written in the code).
        reads: nodes that sum over channels, and which.
        inner: layers that sum over channels by themselves, and which.
    """

    traced: fx.GraphModule
    example: Tensor
    groups: tuple[Group, ...]
    shapes: Mapping[str, tuple[int, ...]]
    kept: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[tuple[Reader, Channels], ...] = ()
    inner: tuple[tuple[Inner, Channels], ...] = ()

    @classmethod
    def of(
        cls,
        net: nn.Module,
        example: Tensor,
        *,
        lenient: bool = False,
        heads: Heads = "whole",
    ) -> Graph:
        """Returns the dependency graph of a network.

        Args:
            net: any module that ``torch.fx`` or ``torch.export`` can trace, or a graph module.
            example: at least one input ``[b, ...]``; two or more keep the batch apart from dimensions of size 1.
            lenient: channels that an unknown operation touches, or whose count is written in the code, stay whole, in
                place of being refused.
            heads: of channels that are split into heads, or normalised in groups, ``whole`` ones go, or channels ``inside`` of
                them, the same of each.

        Raises:
            TraceError: the network cannot be traced, or an operation has no rule; the message names the node.
        """
        traced = trace(net, example)
        with failing_in_words(traced, example):
            batches = Batches(traced, example)  # before numbers in it are made to follow
        scene = read(
            traced,
            lambda: execute(traced, example),
            lambda: batches.same(traced),
            lenient=lenient,
            heads=heads,
        )
        graph = _graph(scene, example)
        tables = _tables(scene, graph)
        if tables:
            _keep_whole(scene, graph, tables)
            graph = _graph(scene, example)
        unsound = broken(traced, batches, graph.groups, graph.shapes)
        if unsound:
            _keep_whole(scene, graph, unsound)
            graph = _graph(scene, example)
        return graph

    def summed(self) -> dict[tuple[str, int], Summed]:
        """Returns who sums over the channels of a leaf's dimension, where all of these can go."""
        groups: dict[tuple[str, int], set[str]] = {}
        free: Counter[tuple[str, int]] = Counter()
        for group in self.groups:
            for slot in group.slots:
                groups.setdefault((slot.leaf, slot.dim), set()).add(group.name)
                free[slot.leaf, slot.dim] += sum(map(len, slot.positions))
        read = [(reader, {name for name, _ in channels}) for reader, channels in self.reads]
        found = {}
        for (leaf, dim), names in groups.items():
            if free[leaf, dim] == self.shapes[leaf][dim]:
                readers = [reader for reader, of in read if of & names]
                without_0 = {place(reader.node) for reader in readers if reader.together}
                mixed = [one for g in self.groups if g.name in names for one in g.mixed]
                found[leaf, dim] = Summed(
                    frozenset((reader.node.name, reader.source.name) for reader in readers),
                    tuple(one for one in mixed if one not in without_0),
                )
        return found

    @property
    def widths(self) -> dict[str, int]:
        """Channels in each group now."""
        return {group.name: group.size for group in self.groups}

    def plan(self, removed: Mapping[str, Iterable[int]]) -> Plan:
        """Returns the plan that removes channels.

        Args:
            removed: group -> channels that go.

        Raises:
            ConfigError: a group is unknown, a channel is outside it, or a group would lose every channel.
        """
        return Plan.remove(self.groups, removed, self.shapes)

    def to(self, device: torch.device | str) -> Graph:
        """Returns the graph with network and example on a device; the network is moved in place."""
        return replace(self, traced=self.traced.to(device), example=self.example.to(device))

    def after(self, plan: Plan) -> Graph:
        """Returns the graph of the network when the plan has been applied to it; what goes is read off its cuts.

        Raises:
            ConfigError: the plan cuts a channel in one leaf and leaves it in another, or cuts what belongs to no group.
        """
        number = {
            group.name: {old: new for new, old in enumerate(group.left_by(plan))}
            for group in self.groups
        }
        self._check_cuts(plan, number)

        def renumbered(channels: Channels) -> Channels:
            return tuple(
                (name, number[name][channel]) if name else (name, channel)
                for name, channel in channels
                if not name or channel in number[name]
            )

        reads = tuple((reader, renumbered(channels)) for reader, channels in self.reads)
        inner = tuple(
            (_cut_inner(part, channels, number, plan), renumbered(channels))
            for part, channels in self.inner
        )
        groups = tuple(_cut_group(group, number[group.name], plan) for group in self.groups)
        shapes = {
            leaf: tuple(
                len(plan.cuts.get(leaf, {}).get(dim, range(size))) for dim, size in enumerate(shape)
            )
            for leaf, shape in self.shapes.items()
        }
        return replace(self, groups=groups, shapes=shapes, reads=reads, inner=inner)

    def _check_cuts(self, plan: Plan, number: Mapping[str, Mapping[int, int]]) -> None:
        """Refuses a plan that cuts what belongs to no group."""
        lost: dict[tuple[str, int], set[int]] = {}
        for group in self.groups:
            gone = [c for c in range(group.size) if c not in number[group.name]]
            for slot in group.slots:
                lost.setdefault((slot.leaf, slot.dim), set()).update(
                    p for channel in gone for p in slot.positions[channel]
                )
        for leaf, shape in self.shapes.items():
            for dim, survivors in plan.cuts.get(leaf, {}).items():
                size = shape[dim] if dim < len(shape) else 0
                stray = set(range(size)) - set(survivors) - lost.get((leaf, dim), set())
                if stray or any(p >= size for p in survivors):
                    raise ConfigError(
                        f"plan: leaf {leaf} of shape {list(shape)}, dimension {dim}: "
                        + (
                            f"position {min(stray)} is cut and belongs to no group"
                            if stray
                            else f"has no position {max(survivors)}"
                        )
                        + "; make plans by Graph.plan, of the network as it is now"
                    )


def _cut_group(group: Group, number: Mapping[int, int], plan: Plan) -> Group:
    """Returns a group with the channels that are left, at their new positions."""
    slots = []
    for slot in group.slots:
        survivors = plan.cuts.get(slot.leaf, {}).get(slot.dim)
        at = None if survivors is None else {old: new for new, old in enumerate(survivors)}
        kept = [slot.positions[channel] for channel in number]
        moved = kept if at is None else [tuple(at[p] for p in positions) for positions in kept]
        slots.append(Slot(slot.leaf, slot.dim, tuple(moved)))
    return replace(group, slots=tuple(slots))


def _cut_inner(
    part: Inner, channels: Channels, number: Mapping[str, Mapping[int, int]], plan: Plan
) -> Inner:
    """Returns the rows of what is left, at their new positions."""
    alive = [i for i, (name, channel) in enumerate(channels) if not name or channel in number[name]]
    rows = {}
    for leaf, at in part.rows.items():
        survivors = plan.cuts.get(leaf, {}).get(0)
        rows[leaf] = at[alive] if survivors is None else np.searchsorted(survivors, at[alive])
    return Inner(part.labels[alive], rows)


def _graph(scene: Scene, example: Tensor) -> Graph:
    """Returns groups of channels from classes of atoms."""
    roots = {leaf: [scene.atoms.find(axis) for axis in axes] for leaf, axes in scene.leaves.items()}
    order = [*scene.makers, *((leaf, d) for leaf, axes in roots.items() for d in range(len(axes)))]
    where: dict[int, dict[tuple[str, int], list[int]]] = {}
    for leaf, dim in dict.fromkeys(order):
        for position, root in enumerate(roots[leaf][dim].tolist()):
            if root != FIXED:
                where.setdefault(root, {}).setdefault((leaf, dim), []).append(position)
    alike: dict[tuple[tuple[str, int, int], ...], list[int]] = {}
    for root, slots in where.items():
        signature = tuple((leaf, dim, len(positions)) for (leaf, dim), positions in slots.items())
        alike.setdefault(signature, []).append(root)
    groups: list[Group] = []
    channel: dict[int, tuple[str, int]] = {}
    taken: set[str] = set()
    mixed = [(set(scene.atoms.find(labels).tolist()), name) for labels, name in scene.mixed]
    for signature, members in alike.items():
        name = _name(signature[0][0], taken)
        places = tuple(
            Slot(leaf, dim, tuple(tuple(where[root][leaf, dim]) for root in members))
            for leaf, dim, _ in signature
        )
        inside = set(members)
        groups.append(Group(name, places, tuple(n for roots_, n in mixed if roots_ & inside)))
        channel.update({root: (name, index) for index, root in enumerate(members)})

    def channels(labels: Labels) -> Channels:
        return tuple(channel.get(root, ("", -1)) for root in scene.atoms.find(labels).tolist())

    reads = tuple((_settled(scene, reader), channels(reader.labels)) for reader in scene.readers)
    inner = tuple((part, channels(part.labels)) for part in scene.inner)
    return Graph(
        scene.traced, example, tuple(groups), leaf_shapes(scene.traced), _kept(scene), reads, inner
    )


def _tables(scene: Scene, graph: Graph) -> dict[str, str]:
    """Returns the groups that no layer makes or reads: places of a table or a mask, which other inputs may ask for; and why."""
    buffers = {name for name, _ in scene.traced.named_buffers()}
    found = {}
    for group in graph.groups:
        held = {slot.leaf for slot in group.slots}
        direct = all(user.op == "get_attr" for leaf in held for user in scene.users.get(leaf, ()))
        if direct and (len(held) == 1 or held <= buffers):
            found[group.name] = "are places of a table, which other inputs may ask for"
    return found


def _keep_whole(scene: Scene, graph: Graph, unsound: Mapping[str, str]) -> None:
    """Fixes the channels of groups."""
    for group in graph.groups:
        if group.name in unsound:
            for slot in group.slots:
                if slot.leaf in scene.leaves:
                    scene.fix(scene.leaves[slot.leaf][slot.dim], unsound[group.name])


def _settled(scene: Scene, reader: Reader) -> Reader:
    """Returns a reader that cannot take up constants if others use its bias, too."""
    if reader.bias is None or scene.own(reader.bias, reader.node):
        return reader
    return replace(reader, foldable=False)


def _name(leaf: str, taken: set[str]) -> str:
    """Returns a name for the group whose channels a leaf makes, not taken yet."""
    base = leaf.removesuffix(".weight").removesuffix(".index")
    name = next(
        n for n in (base, *(f"{base}#{i}" for i in range(2, len(taken) + 3))) if n not in taken
    )
    taken.add(name)
    return name


def _kept(scene: Scene) -> dict[str, str]:
    """Returns why the channels that a leaf makes cannot go, for leaves of which none can."""
    reasons = {
        leaf: "makes the network's outputs, or meets what cannot be cut"
        for leaf, dim in scene.makers
        if not scene.atoms.is_free(scene.leaves[leaf][dim])
    }
    for labels, why in scene.fixes:
        ids = set(labels.tolist())
        for leaf, dim in scene.makers:
            if leaf in reasons and ids & set(scene.leaves[leaf][dim].tolist()):
                reasons[leaf] = why
    return reasons


def as_example(x: Tensor) -> Tensor:
    """Returns two examples of a batch of inputs, for tracing."""
    return x[:2] if len(x) > 1 else torch.cat([x, x])

"""A network without some of its channels as a file: what survives of the user's own class, and the numbers.

The file is one of ``core.container``: tensors and JSON, nothing pickled, nothing run. It does not hold the network but how to
make it from a fresh one of the same class: which positions of which leaf survive. Switches are merged into the layers beside
them first, so that what comes back is the class itself with smaller layers, ready for inference or for more training. Where
that is not possible, since a switch stays or a residual branch was bypassed, a graph module of the same names comes back.

The graph of operations is in the file as text and has to be that of the network given: a file is not loaded into another
architecture because its shapes happen to fit. Related: ``restoring`` (the network made again).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, fx

from netdial.channels.fold.bypass import Bypassed, bypassed
from netdial.channels.fold.fold import fold
from netdial.channels.graph import Graph
from netdial.channels.layers.pick import Pick
from netdial.channels.layers.shift import Shift
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import constants_of, operations
from netdial.channels.trace.answers.ways import checked
from netdial.core.cutting import cut_since_built, leaf_shapes, leaves, unread
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.inputs import SCORED, Packing, PartedInputs
from netdial.core.plan import Plan
from netdial.core.storage.boundary import parse_json, reading, validated
from netdial.core.storage.container import check_finite, load_tree, save_tree
from netdial.models.described import check_meta

SHRUNKEN, PRUNED = "shrunken network", "pruned network"
"""Kinds of files: made by training that shrinks, or by removing channels afterwards."""

FORMAT = 1
"""Version of the recipe; a file says by which it was written."""


class Cut(Protocol):
    """A network without some of its channels, as ``shrink`` and ``slim`` return it."""

    @property
    def graph(self) -> Graph:
        """The network, and its groups."""

    @property
    def plan(self) -> Plan:
        """All that was cut, in terms of the network at the start."""


@dataclass(frozen=True)
class KeptSwitch:
    """A switch that could not be merged.

    Attributes:
        name: its name in the network.
        sources: nodes behind which it stands.
        dim: dimension of the channels.
        copies: how often the channels may stand one behind another.
        readers: for each source the nodes that read the switch, where others go on reading the source itself.
    """

    name: str
    sources: tuple[str, ...]
    dim: int
    copies: int = 1
    readers: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class KeptPick:
    """Inputs that are left, by number.

    Attributes:
        name: its name in the network.
        readers: nodes before which it stands.
    """

    name: str
    readers: tuple[str, ...]


@dataclass(frozen=True)
class InputOutline:
    """What one input of a network looked like when its graph was taken; not what was in it, unless code goes by that.

    Attributes:
        shape: ``[b, ...]``.
        dtype: number type, as torch calls it.
        high: largest number, where all are whole and none is below 0 (classes of an embedding, edges of a graph).
        numbers: those of integers, in order, where the graph checks what they have to be (ends of sentences in each row).
    """

    shape: tuple[int, ...]
    dtype: str
    high: int = 0
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Recipe:
    """What a file holds.

    Attributes:
        about: plain values of whoever saved it.
        plan: what survives of each leaf, in terms of the network at the start.
        widths: channels of each group.
        switches: those that stay; empty if all are merged.
        picks: inputs that are left, where some are not.
        bypassed: additions whose dead branch is gone.
        inputs: what the inputs looked like that the graph was taken on; empty in files of before that ``torch.fx`` traced.
        names: names of several inputs, empty for those by position; no name at all for a network of one input that gives
            more than a tensor; None for all others.
        followed: whether numbers in the graph were made to follow before it was written down; not in files of before.
        graph: the operations, as text.
        constants: what layers say about themselves: module -> attribute -> value.
        tensors: leaf -> its numbers.
        whole: what survives in terms of the network as it was built, where it had been cut before; else None.
        unread: buffers of the network that its graph lacks, by name: code may make numbers of them.
    """

    about: Mapping[str, Any]
    plan: Plan
    widths: Mapping[str, int]
    switches: tuple[KeptSwitch, ...]
    picks: tuple[KeptPick, ...]
    bypassed: tuple[Bypassed, ...]
    inputs: tuple[InputOutline, ...]
    names: tuple[str, ...] | None
    followed: bool
    graph: Sequence[str]
    constants: Mapping[str, Mapping[str, Any]]
    tensors: Mapping[str, Tensor]
    whole: Plan | None = None
    unread: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def packing(self) -> Packing | None:
        """How several inputs lie in one tensor."""
        if not self.names:
            return None
        shapes = tuple(one.shape[1:] for one in self.inputs)
        return Packing(self.names, shapes, tuple(one.dtype for one in self.inputs))

    @property
    def gives_all(self) -> bool:
        """Whether the network gave all its outputs in one tensor."""
        return bool(self.constants.get(SCORED, {}).get("every", False))

    @property
    def merged(self) -> bool:
        """Whether all switches were merged into layers."""
        return not self.switches


def save_network(
    network: Cut,
    path: str | Path,
    about: Mapping[str, Any] | None = None,
    kind: str = SHRUNKEN,
    *,
    tolerance: float | None = None,
) -> Recipe:
    """Writes a network without some of its channels, atomically, and returns what was written; it is not changed.

    Args:
        network: what ``shrink`` or ``slim`` returned.
        path: file to write.
        about: plain values to keep with it, for example which network to build; ``read_recipe`` gives them back.
        kind: ``SHRUNKEN`` or ``PRUNED``.
        tolerance: how far outputs may differ once the switches are merged (``fold``).

    Raises:
        ConfigError: ``about`` does not fit into JSON, or the plan is not that of the network.
        TraceError: merging the switches would change the outputs.
        CheckpointError: a parameter is NaN or infinite, or the disk refused it; a file that was there before is intact.
    """
    graph, plan = network.graph, network.plan
    net, _ = fold(graph.traced, graph.example, norms=False, tolerance=tolerance)
    check_finite(Path(path), net.named_parameters())
    tensors, own = leaves(net), _of_class(net, plan)
    since = cut_since_built(graph.traced)
    whole = own if since is None else _of_class(net, since)
    recipe = Recipe(
        check_meta(about, "about"),
        own,
        graph.widths,
        tuple(_kept_switches(net)),
        tuple(_kept_picks(net)),
        bypassed(net),
        *_inputs(graph),
        True,
        operations(net),
        constants_of(net),
        tensors,
        whole if whole.cuts != own.cuts else None,
        unread(graph.traced),
    )
    text = {
        "about": recipe.about,
        "plan": recipe.plan.to_json(),
        **({} if recipe.whole is None else {"whole": recipe.whole.to_json()}),
        "widths": recipe.widths,
        "merged": recipe.merged,
        "switches": [asdict(kept) for kept in recipe.switches],
        "picks": [asdict(kept) for kept in recipe.picks],
        "bypassed": [asdict(step) for step in recipe.bypassed],
        "examples": [asdict(one) for one in recipe.inputs],
        "names": recipe.names,
        "graph": recipe.graph,
        "constants": recipe.constants,
    }
    plain = json.dumps(text, separators=(",", ":"))
    tree = {"format": FORMAT, "recipe": plain, "tensors": tensors, "unread": dict(recipe.unread)}
    save_tree(Path(path), tree, kind)
    return recipe


def read_recipe(path: str | Path) -> Recipe:
    """Returns what ``save_network`` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, changed, of another kind or of a newer format.
    """
    path = Path(path)
    tree = load_tree(path, (SHRUNKEN, PRUNED))
    found = tree.get("format") if isinstance(tree, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise CheckpointError(
            f"{path}: was written by a newer netdial (format {found}; this one reads up to {FORMAT}); update netdial"
        )
    with reading(path, "is damaged", "restore it from a copy"):
        tensors, beside = tree["tensors"], tree.get("unread", {})
        if not all(isinstance(tensor, Tensor) for tensor in [*tensors.values(), *beside.values()]):
            raise TypeError("tensors are missing")
        recipe = recipe_of(path, parse_json(tree["recipe"], f"{path}: is damaged"), tensors)
        return replace(recipe, unread=beside)


def recipe_of(path: Path, plain: Any, tensors: Mapping[str, Tensor]) -> Recipe:
    """Returns a recipe from its plain JSON values and the tensors beside them.

    Raises:
        CheckpointError: it is damaged.
    """
    with reading(path, "is damaged", "restore it from a copy"):
        text: _Text = validated(_Text, plain, f"{path}: is damaged")
        inputs = text.examples or tuple(InputOutline(*one) for one in (text.inputs,) if one)
        for one in inputs:
            if not isinstance(getattr(torch, one.dtype, None), torch.dtype):
                raise ValueError(f"unknown number type {one.dtype!r}")
        return Recipe(
            text.about,
            Plan.from_json(text.plan),
            text.widths,
            text.switches,
            text.picks,
            text.bypassed,
            inputs,
            text.names,
            bool(text.examples),
            text.graph,
            text.constants,
            tensors,
            None if text.whole is None else Plan.from_json(text.whole),
        )


class _Text(BaseModel):
    """The part of a recipe that is written as JSON."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    about: dict[str, Any]
    plan: dict[str, Any]
    whole: dict[str, Any] | None = None
    widths: dict[str, int]
    switches: tuple[KeptSwitch, ...]
    picks: tuple[KeptPick, ...]
    bypassed: tuple[Bypassed, ...]
    examples: tuple[InputOutline, ...] = ()
    names: tuple[str, ...] | None = None
    inputs: tuple[tuple[int, ...], str] | None = None  # of one exported network, in files of before
    graph: list[str]
    constants: dict[str, dict[str, Any]]


def _inputs(graph: Graph) -> tuple[tuple[InputOutline, ...], tuple[str, ...] | None]:
    """Returns what the inputs look like that a graph was taken on, and their names."""
    apart = next((m for m in graph.traced.modules() if isinstance(m, PartedInputs)), None)
    parts = (graph.example,) if apart is None else apart(graph.example)
    names = None if apart is None else () if apart.packing is None else apart.packing.names
    by_numbers = any(node.target is checked for node in graph.traced.graph.nodes)
    return tuple(_outline(part, by_numbers=by_numbers) for part in parts), names


def _outline(x: Tensor, *, by_numbers: bool) -> InputOutline:
    """Returns what inputs look like."""
    floating, some = x.is_floating_point(), x.numel() > 0
    integers = some and not (floating or x.is_complex())
    coded = some and floating and bool(((x == x.trunc()) & (x >= 0) & x.isfinite()).all())
    high = int(x.max()) if integers or coded else 0
    numbers = tuple(map(int, x.flatten().tolist())) if integers and by_numbers else None
    return InputOutline(tuple(x.shape), str(x.dtype).removeprefix("torch."), high, numbers)


def _of_class(net: fx.GraphModule, plan: Plan) -> Plan:
    """Returns the part of a plan that is about the user's own leaves still there; picks, shifts and switches are ours."""
    ours = tuple(f"{n}." for n, m in net.named_modules() if isinstance(m, Pick | Shift | Switch))
    shapes = leaf_shapes(net)
    cuts = {
        leaf: dims
        for leaf, dims in plan.cuts.items()
        if leaf in shapes and not (ours and leaf.startswith(ours))
    }
    for leaf, dims in cuts.items():
        for dim, kept in dims.items():
            if dim >= len(shapes[leaf]) or shapes[leaf][dim] != len(kept):
                raise ConfigError(
                    f"plan: leaf {leaf} of shape {list(shapes[leaf])} should have {len(kept)} positions along dimension "
                    f"{dim}; save the network together with the plan by which it was cut"
                )
    return Plan(cuts)


def _kept_switches(net: fx.GraphModule) -> Iterator[KeptSwitch]:
    """Yields the switches in a network."""
    for name, module in net.named_modules():
        if isinstance(module, Switch):
            calls = [n for n in net.graph.nodes if n.op == "call_module" and n.target == name]
            sources = [call.all_input_nodes[0] for call in calls]
            shared = any(len(node.users) > 1 for node in sources)
            readers = [tuple(user.name for user in call.users) for call in calls] if shared else ()
            names = tuple(node.name for node in sources)
            yield KeptSwitch(name, names, module.dim, module.copies, tuple(readers))


def _kept_picks(net: fx.GraphModule) -> Iterator[KeptPick]:
    """Yields the picks in a network."""
    for name, module in net.named_modules():
        if isinstance(module, Pick):
            calls = [n for n in net.graph.nodes if n.op == "call_module" and n.target == name]
            yield KeptPick(name, tuple(user.name for call in calls for user in call.users))

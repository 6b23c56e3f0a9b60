"""A shrunken network as a file: what survives of the user's own class, and the numbers.

The file is one of ``core.container``: tensors and JSON, nothing pickled, nothing run. It does not hold the network but how to
make it from a fresh one of the same class: which positions of which leaf survive. Switches are merged into the layers beside
them first, so that what comes back is the class itself with smaller layers, ready for inference or for more training. Where
that is not possible, since a switch stays or a residual branch was bypassed, a graph module of the same names comes back.

The graph of operations is in the file as text and has to be that of the network given: a file is not loaded into another
architecture because its shapes happen to fit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from netdial.channels.fold.bypass import Bypassed, bypassed, redo
from netdial.channels.fold.fold import fold
from netdial.channels.layers.pick import Pick, put_pick
from netdial.channels.layers.shift import Shift
from netdial.channels.layers.switch import Switch
from netdial.channels.trace.lower import lower
from netdial.channels.trace.trace import is_exported, operations, trace
from netdial.core.container import load_tree, save_tree
from netdial.core.cutting import cut_module, leaf_shapes, leaves
from netdial.core.errors import CheckpointError, ConfigError, NetdialError
from netdial.core.plan import Plan

if TYPE_CHECKING:
    from netdial.shrinking.shrink import Shrunk

KIND = "shrunken network"
FORMAT = 1
"""Version of the recipe; a file says by which it was written."""

_FREE = ("training", "inplace", "p", "dropout", "momentum")
"""Attributes of layers that may differ: they do not change what the network computes once it is trained."""

_PLAIN = (bool, int, float, str, tuple)


@dataclass(frozen=True)
class KeptSwitch:
    """A switch that could not be merged.

    Attributes:
        name: its name in the network.
        sources: nodes behind which it stands.
        dim: dimension of the channels.
    """

    name: str
    sources: tuple[str, ...]
    dim: int


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
class Recipe:
    """What a file holds.

    Attributes:
        about: what was given to ``save_shrunk``.
        plan: what survives of each leaf, in terms of the network at the start.
        widths: channels of each group.
        switches: those that stay; empty if all are merged.
        picks: inputs that are left, where some are not.
        bypassed: additions whose dead branch is gone.
        inputs: shape ``[b, ...]`` and number type of the inputs that the graph was exported for (``shrink.exported``); None if
            it was traced by ``torch.fx``, which needs none.
        graph: the operations, as text.
        constants: what layers say about themselves: module -> attribute -> value.
        tensors: leaf -> its numbers.
    """

    about: Mapping[str, Any]
    plan: Plan
    widths: Mapping[str, int]
    switches: tuple[KeptSwitch, ...]
    picks: tuple[KeptPick, ...]
    bypassed: tuple[Bypassed, ...]
    inputs: tuple[tuple[int, ...], str] | None
    graph: Sequence[str]
    constants: Mapping[str, Mapping[str, Any]]
    tensors: Mapping[str, Tensor]

    @property
    def merged(self) -> bool:
        """Whether all switches were merged into layers."""
        return not self.switches


def save_shrunk(shrunk: Shrunk, path: str | Path, about: Mapping[str, Any] | None = None) -> Recipe:
    """Writes a shrunken network, atomically, and returns what was written; the network is not changed.

    Args:
        shrunk: what ``shrink`` gave.
        path: file to write.
        about: plain values to keep with it, for example which network to build; ``read_recipe`` gives them back.

    Raises:
        ConfigError: ``about`` does not fit into JSON, or the plan is not that of the network.
        TraceError: merging the switches would change the outputs.
        CheckpointError: the disk refused it; a file that was there before is intact.
    """
    net, _ = fold(shrunk.net, shrunk.graph.example, norms=False)
    tensors = leaves(net)
    recipe = Recipe(
        _plain(about),
        _of_class(net, shrunk.plan),
        shrunk.widths,
        tuple(_kept_switches(net)),
        tuple(_kept_picks(net)),
        bypassed(net),
        _inputs(shrunk),
        operations(net),
        _constants(net),
        tensors,
    )
    text = {
        "about": recipe.about,
        "plan": recipe.plan.to_json(),
        "widths": recipe.widths,
        "merged": recipe.merged,
        "switches": [asdict(kept) for kept in recipe.switches],
        "picks": [asdict(kept) for kept in recipe.picks],
        "bypassed": [asdict(step) for step in recipe.bypassed],
        "inputs": recipe.inputs,
        "graph": recipe.graph,
        "constants": recipe.constants,
    }
    tree = {"format": FORMAT, "recipe": json.dumps(text, separators=(",", ":")), "tensors": tensors}
    save_tree(Path(path), tree, KIND)
    return recipe


def read_recipe(path: str | Path) -> Recipe:
    """Returns what ``save_shrunk`` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or of a newer format.
    """
    tree = load_tree(Path(path), KIND)
    found = tree.get("format") if isinstance(tree, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise CheckpointError(
            f"{path}: was written by a newer netdial (format {found}; this one reads up to {FORMAT}); update netdial"
        )
    try:
        recipe = _recipe(json.loads(tree["recipe"]), tree["tensors"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: is damaged ({type(error).__name__}: {error}); restore it from a copy"
        ) from None
    return recipe


def load_shrunk(path: str | Path, net: nn.Module) -> nn.Module:
    """Returns a shrunken network in evaluation mode, made from a fresh one.

    Args:
        path: file that ``save_shrunk`` wrote.
        net: network of the class that was shrunk, as large as it was at the start, with any weights. It is cut in place
            and takes the number types of the file; parts that its forward pass does not use stay as they are.

    Returns:
        The network given; a shallow copy of it where composite modules of torch had to be replaced (``shrink.lower``); a graph
        module of the same leaves where switches stay, inputs are picked, branches were bypassed, or the network was traced
        by ``torch.export`` and its code does something else now that layers are smaller.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or of a newer format, or the network is of another
            architecture; the message names the first difference.
    """
    recipe = read_recipe(path)
    try:
        lowered = lower(net)
        traced = trace(lowered, _example(recipe, lowered))
        for pick in recipe.picks:
            _pick_again(traced, pick, recipe.tensors)
        for kept in recipe.switches:
            _put_back(traced, kept, recipe.tensors)
        redo(traced, recipe.bypassed, recipe.tensors)
        difference = _other_leaf(traced, recipe) or _other_graph(traced, recipe)
        if not difference:
            cut_module(recipe.plan, traced)
            difference = _other_constant(traced, recipe)
    except NetdialError as error:
        difference = str(error)
    if difference:
        raise CheckpointError(
            f"{path}: does not fit the {type(net).__name__}: {difference}; give a fresh network, built as the one that was "
            "shrunk was at the start"
        )
    for name, leaf in leaves(traced).items():
        leaf.data = recipe.tensors[name].to(leaf.device)
    ours = recipe.switches or recipe.picks or recipe.bypassed
    return (traced if ours or not _follows(lowered, recipe) else lowered).eval()


def _inputs(shrunk: Shrunk) -> tuple[tuple[int, ...], str] | None:
    """Returns what a network was exported for, None if ``torch.fx`` traced it."""
    example = shrunk.graph.example
    exported = is_exported(shrunk.net)
    return (tuple(example.shape), str(example.dtype).removeprefix("torch.")) if exported else None


def _example(recipe: Recipe, net: nn.Module) -> Tensor | None:
    """Returns inputs to export a network for, if it needs any."""
    if recipe.inputs is None:
        return None
    (shape, kind), like = recipe.inputs, next(net.parameters())
    dtype = getattr(torch, kind)
    return torch.zeros(shape, dtype=like.dtype if dtype.is_floating_point else dtype).to(
        like.device
    )


def _follows(net: nn.Module, recipe: Recipe) -> bool:
    """Returns whether a network's own code, now that it is cut, still does what the graph does.

    That is certain if ``torch.fx`` traced it: such code does not know its sizes. Code that asks for shapes may go another way
    when they are smaller, and sizes written in it are those of before.
    """
    if recipe.inputs is None:
        return True
    try:
        traced = trace(net, _example(recipe, net))
    except NetdialError:
        return False
    held = leaves(traced)  # constants that the code makes among them
    same = all(torch.equal(leaf, recipe.tensors[n].to(leaf.device)) for n, leaf in held.items())
    return same and not _other_graph(traced, recipe)


def _recipe(text: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Recipe:
    """Returns the recipe that was written as JSON, with its tensors."""
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise TypeError("tensors are missing")
    inputs = text.get("inputs")  # files of before had none
    if inputs is not None and not isinstance(getattr(torch, inputs[1], None), torch.dtype):
        raise ValueError(f"unknown number type {inputs[1]!r}")
    return Recipe(
        text["about"],
        Plan.from_json(text["plan"]),
        text["widths"],
        tuple(KeptSwitch(k["name"], tuple(k["sources"]), k["dim"]) for k in text["switches"]),
        tuple(KeptPick(k["name"], tuple(k["readers"])) for k in text["picks"]),
        tuple(Bypassed(**step) for step in text["bypassed"]),
        None if inputs is None else (tuple(map(int, inputs[0])), inputs[1]),
        text["graph"],
        text["constants"],
        tensors,
    )


def _plain(about: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns plain JSON values."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(about or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"about: {error}; use finite numbers, text, booleans, None, lists and dicts with text keys"
        ) from None
    return plain


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
            yield KeptSwitch(name, tuple(n.all_input_nodes[0].name for n in calls), module.dim)


def _kept_picks(net: fx.GraphModule) -> Iterator[KeptPick]:
    """Yields the picks in a network."""
    for name, module in net.named_modules():
        if isinstance(module, Pick):
            calls = [n for n in net.graph.nodes if n.op == "call_module" and n.target == name]
            yield KeptPick(name, tuple(user.name for call in calls for user in call.users))


def _pick_again(traced: fx.GraphModule, kept: KeptPick, tensors: Mapping[str, Tensor]) -> None:
    """Puts a pick before the nodes where it stood."""
    index = tensors.get(f"{kept.name}.index")
    nodes = {node.name: node for node in traced.graph.nodes}
    if index is None or not set(kept.readers) <= set(nodes):
        raise CheckpointError(f"{kept.name}: its numbers or the nodes that read it are missing")
    traced.add_submodule(kept.name, Pick(index))
    for reader in kept.readers:
        put_pick(traced, nodes[reader], kept.name)
    traced.recompile()


def _put_back(traced: fx.GraphModule, kept: KeptSwitch, tensors: Mapping[str, Tensor]) -> None:
    """Puts a switch behind the nodes where it stood, as ``insert_switches`` did."""
    theta = tensors.get(f"{kept.name}.theta")
    if theta is None:
        raise CheckpointError(f"{kept.name}.theta is missing")
    nodes = {node.name: node for node in traced.graph.nodes}
    device = next(traced.parameters()).device
    traced.add_submodule(kept.name, Switch(len(theta), dim=kept.dim, device=device))
    for source in kept.sources:
        if source not in nodes:
            raise CheckpointError(f"there is no node {source!r} for the switch {kept.name}")
        with traced.graph.inserting_after(nodes[source]):
            gate = traced.graph.call_module(kept.name, (nodes[source],))
        nodes[source].replace_all_uses_with(
            gate, delete_user_cb=lambda user, gate=gate: user is not gate
        )
    traced.recompile()


def _constants(net: fx.GraphModule) -> dict[str, dict[str, Any]]:
    """Returns strides, numbers of heads and the like: plain attributes of all modules that are called."""
    called = dict.fromkeys(str(n.target) for n in net.graph.nodes if n.op == "call_module")
    found = {
        name: {
            key: value
            for key, value in vars(net.get_submodule(name)).items()
            if not (key.startswith("_") or key in _FREE) and isinstance(value, _PLAIN)
        }
        for name in called
    }
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(found, default=str))
    return plain


def _other_graph(traced: fx.GraphModule, recipe: Recipe) -> str:
    """Returns the first operation that differs, in words."""
    found = operations(traced)
    for wanted, line in zip(recipe.graph, found, strict=False):
        if wanted != line:
            return f"expected the operation {wanted}, found {line}"
    missing, extra = recipe.graph[len(found) :], found[len(recipe.graph) :]
    if missing:
        return f"expected the operation {missing[0]}, found none"
    return f"found the operation {extra[0]}, expected none" if extra else ""


def _other_leaf(traced: fx.GraphModule, recipe: Recipe) -> str:
    """Returns the first leaf that differs, in words."""
    found, cuts = leaf_shapes(traced), recipe.plan.cuts
    for leaf, tensor in recipe.tensors.items():
        if leaf not in found:
            return f"expected a leaf {leaf} of shape {list(tensor.shape)}, found none"
        shape, dims = list(found[leaf]), cuts.get(leaf, {})
        if len(shape) != tensor.ndim:
            return f"leaf {leaf} is {shape}, expected {tensor.ndim} dimensions"
        for dim, size in enumerate(tensor.shape):
            least = 1 + dims[dim][-1] if dim in dims else size
            if shape[dim] < least or (dim not in dims and shape[dim] != size):
                more = " or more" if dim in dims else ""
                return f"leaf {leaf} is {shape}, expected {least}{more} along dimension {dim}"
    extra = [leaf for leaf in leaves(traced) if leaf not in recipe.tensors]
    return (
        f"found a leaf {extra[0]} of shape {list(found[extra[0]])}, expected none" if extra else ""
    )


def _other_constant(traced: fx.GraphModule, recipe: Recipe) -> str:
    """Returns the first attribute of a layer that differs, in words; those that one version of torch lacks do not count."""
    found = _constants(traced)
    for name, wanted in recipe.constants.items():
        for key, value in wanted.items():
            if key in found[name] and found[name][key] != value:
                return f"module {name} has {key}={found[name][key]}, expected {value}"
    return ""

"""A network without some of its channels, made again from its file and a fresh network of the same class.

What is done to the fresh network is what was done to the one that was saved: switches and picks are put where they stood,
dead branches taken out, leaves cut by the plan. Before that, its operations and leaves are compared with the file's.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from netdial.channels.fold.bypass import redo
from netdial.channels.graph import Graph
from netdial.channels.layers.pick import Pick, put_pick
from netdial.channels.layers.switch import Switch
from netdial.channels.nodes import constants_of, operations
from netdial.channels.trace.lower import lower
from netdial.channels.trace.trace import trace
from netdial.core.cutting import (
    attributes_alone,
    carry_cut,
    commit,
    cut_module,
    cut_since_built,
    leaf_shapes,
    leaves,
    note_cut,
)
from netdial.core.errors import (
    CheckpointError,
    NetdialError,
    TraceError,
    TraceWarning,
    some_of,
    warn,
)
from netdial.core.inputs import as_packed, one_tensor, scoring
from netdial.core.storage.boundary import reading
from netdial.core.storage.container import check_finite
from netdial.models.cut.own_code import other_code
from netdial.models.cut.recipe import (
    InputOutline,
    KeptPick,
    KeptSwitch,
    Recipe,
    read_recipe,
)
from netdial.models.derived import STRUCTURE, made_again
from netdial.models.described import outline
from netdial.nets.foreign import make_plain

_MOST_INPUTS = 1 << 27
"""Numbers in an example that a file may ask for."""
_SEED = 1705


def load_network(path: str | Path, net: nn.Module | None = None) -> nn.Module:
    """Returns a network without some of its channels, in evaluation mode, made from a fresh one.

    Args:
        path: file that ``save_network`` wrote.
        net: network of the class that was saved, as large as it was at the start, with any weights. It is cut in place
            and takes the number types of the file; parts that its forward pass does not use stay as they are. Needed unless
            the file describes a built-in network.

    Returns:
        The network given; a shallow copy of it where composite modules of torch had to be replaced (``trace.lower``); a graph
        module of the same leaves where switches stay, inputs are picked, branches were bypassed, or the code of the class does
        something else now that layers are smaller, as when it reads their sizes; then a warning says so. The class is
        run beside the graph to find out, in evaluation and in training mode (``own_code``).

    Raises:
        CheckpointError: the file is missing, damaged, changed, of another kind or of a newer format, or the network is of
            another architecture; the message names the first difference.
    """
    return rebuilt(Path(path), read_recipe(path), net)


def rebuilt(path: Path, recipe: Recipe, net: nn.Module | None) -> nn.Module:
    """Returns the network of a recipe; ``load_network`` says how.

    Raises:
        CheckpointError: the network is of another architecture.
    """
    fresh = _outline(path, recipe.about) if net is None else net
    if recipe.whole is not None and cut_since_built(fresh) is None:
        recipe = replace(recipe, plan=recipe.whole)
    with reading(path, "cannot be turned into a network", "restore it from a copy"):
        before, lowered, traced, difference = _tried(fresh, recipe)
        # code may make numbers of buffers
        if difference and _set_buffers(_as_one(fresh, recipe), recipe):
            before, lowered, traced, difference = _tried(fresh, recipe)
        if traced is None or difference:
            given = "network that it describes" if net is None else type(net).__name__
            raise CheckpointError(
                f"{path}: does not fit the {given}: {difference}; give a fresh network, built as the one that was "
                "saved was at the start"
            )
        if net is None:
            lowered.to_empty(device="cpu")  # of a built-in network, which knows no sizes
        for name, leaf in leaves(traced).items():
            leaf.data = recipe.tensors[name].to(leaf.device)
        _set_buffers(lowered, recipe)
        ours = _beyond_class(recipe)
        why = "" if ours else other_code(lowered, traced, before, _examples(recipe, lowered))
        found = (traced if ours or why else lowered).eval()
        if found is traced:
            carry_cut(lowered, traced)
        note_cut(recipe.plan, found)
        if net is None and leaves(found).keys() != recipe.tensors.keys():
            raise CheckpointError(f"{path}: describes a network with parts that it does not hold")
    check_finite(path, found.named_parameters())
    if why:
        warn(
            f"{path}: {type(fresh).__name__} does something else now that its layers are smaller ({why}); what comes back is "
            "its graph, of the same leaves, which computes what was saved"
        )
    elif ours and net is not None and not recipe.picks:  # picked inputs were asked for
        warn(f"{path}: what comes back is a graph and no {type(fresh).__name__}: {ours}")
    return found


def _beyond_class(recipe: Recipe) -> str:
    """Returns what no code of a class does, in words; empty if a file holds nothing of the kind."""
    if recipe.switches:
        names = some_of([switch.name for switch in recipe.switches])
        return f"switches stay that no layer could take up ({names})"
    if recipe.bypassed:
        return "residual branches that had died are gone from it"
    return "it picks its inputs" if recipe.picks else ""


def _outline(path: Path, about: Mapping[str, Any]) -> nn.Module:
    """Returns the network that a file describes: a built-in one without memory, or one of a ready search space."""
    return made_again(path, about[STRUCTURE]) if STRUCTURE in about else outline(path, about)


def _tried(
    net: nn.Module, recipe: Recipe
) -> tuple[dict[str, tuple[int, ...]], nn.Module, fx.GraphModule | None, str]:
    """Returns the shapes of a network's leaves, and what ``_again`` does; no graph, and why, where that is refused."""
    try:
        return leaf_shapes(net), *_again(net, recipe)
    except NetdialError as error:
        return {}, net, None, str(error)


def _as_one(net: nn.Module, recipe: Recipe) -> nn.Module:
    """Returns a network as it was traced: of one tensor, where it has several inputs."""
    if recipe.names is None:
        return net
    return scoring(one_tensor(net, recipe.packing), every=recipe.gives_all)


def _set_buffers(net: nn.Module, recipe: Recipe) -> bool:
    """Gives buffers that are not cut the numbers that were saved; returns whether any had others."""
    changed = False
    for name, buffer in net.named_buffers():
        saved = recipe.unread.get(name, recipe.tensors.get(name, buffer)).to(buffer.device)
        alike = name in recipe.unread or saved.shape == buffer.shape
        if not alike or name in recipe.plan.cuts or buffer.is_meta:
            continue
        if not torch.equal(saved.to(buffer.dtype).to_dense(), buffer.to_dense()):
            buffer.data = saved
            changed = True
    return changed


def _again(net: nn.Module, recipe: Recipe) -> tuple[nn.Module, fx.GraphModule, str]:
    """Returns a fresh network lowered, traced and cut as a file says, and how it differs from the file's, in words."""
    net = _as_one(net, recipe)
    make_plain(net)
    lowered = lower(net)
    with warnings.catch_warnings():  # it was told when the network was cut
        warnings.simplefilter("ignore", TraceWarning)
        traced = _traced(lowered, recipe)
    for pick in recipe.picks:
        _pick_again(traced, pick, recipe.tensors)
    for kept in recipe.switches:
        _put_back(traced, kept, recipe.tensors)
    redo(traced, recipe.bypassed, recipe.tensors)
    difference = _other_leaf(traced, recipe) or _other_graph(traced, recipe)
    if not difference:
        follow = attributes_alone(recipe.plan, lowered)  # of layers that the graph took apart
        cut_module(recipe.plan, traced)
        commit(follow)
        difference = _other_numbers(traced, recipe) or _other_constant(traced, recipe)
    return lowered, traced, difference


def _traced(net: nn.Module, recipe: Recipe) -> fx.GraphModule:
    """Returns the graph of a network; on made-up inputs if it takes them, else without a run if it needs none."""
    examples = _examples(recipe, net)
    if not recipe.followed and (example := next(examples, None)) is not None:
        return trace(net, example)
    for example in examples:
        try:  # numbers in the graph are made to follow, as they were in the one that was saved
            return Graph.of(net, example, lenient=True).traced
        except TraceError:  # the inputs are made up
            continue
    return trace(net)


def _examples(recipe: Recipe, net: nn.Module) -> Iterator[Tensor]:
    """Yields inputs like those that the graph was taken on; none for a network without memory, or if none were noted.

    Whole numbers are drawn, then 0: corners of a box, for one, have an order that drawn ones may lack.
    """
    like = next(net.parameters())
    if not recipe.inputs or like.is_meta:
        return
    zeros = [one if one.numbers is not None else replace(one, high=0) for one in recipe.inputs]
    for outlines in (recipe.inputs, zeros):
        parts = [_like_outline(outline, like) for outline in outlines]
        yield as_packed(parts, recipe.names, "its example")[0] if recipe.names else parts[0]


def _like_outline(outline: InputOutline, like: Tensor) -> Tensor:
    """Returns made-up inputs, or those that a file holds."""
    shape, dtype = outline.shape, getattr(torch, outline.dtype)
    if not (shape and min(shape) >= 1 and math.prod(shape) <= _MOST_INPUTS):
        raise CheckpointError(f"its example of inputs {list(shape)!s:.80} is out of bounds")
    if outline.numbers is not None:
        return torch.tensor(outline.numbers).reshape(shape).to(dtype).to(like.device)
    source = torch.Generator().manual_seed(_SEED)
    kind = like.dtype.to_real() if dtype.is_floating_point else dtype
    if dtype.is_complex or (dtype.is_floating_point and outline.high < 1):
        return torch.randn(shape, generator=source).to(kind).to(like.device)
    whole = torch.int64 if dtype.is_floating_point else dtype
    most = min(max(outline.high, 0), 1 if whole == torch.bool else torch.iinfo(whole).max - 1)
    return torch.randint(most + 1, shape, generator=source).to(kind).to(like.device)


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
    switch = Switch(len(theta), dim=kept.dim, copies=kept.copies, device=device)
    traced.add_submodule(kept.name, switch)
    for number, source in enumerate(kept.sources):
        if source not in nodes:
            raise CheckpointError(f"there is no node {source!r} for the switch {kept.name}")
        with traced.graph.inserting_after(nodes[source]):
            gate = traced.graph.call_module(kept.name, (nodes[source],))
        theirs = kept.readers[number] if kept.readers else [u.name for u in nodes[source].users]
        for user in [u for u in nodes[source].users if u is not gate and u.name in theirs]:
            if user.op == "call_module" and user.args[0] is nodes[source]:
                user.args = (gate, *user.args[1:])
            else:
                user.replace_input_with(nodes[source], gate)
    traced.recompile()


def _other_graph(traced: fx.GraphModule, recipe: Recipe) -> str:
    """Returns the first operation that differs, in words."""
    found = operations(traced)
    pairs = zip(numbered(recipe.graph), numbered(found), strict=False)
    for number, (wanted, line) in enumerate(pairs):
        if wanted != line:
            return f"expected the operation {recipe.graph[number]}, found {found[number]}"
    missing, extra = recipe.graph[len(found) :], found[len(recipe.graph) :]
    if missing:
        return f"expected the operation {missing[0]}, found none"
    return f"found the operation {extra[0]}, expected none" if extra else ""


def numbered(lines: Sequence[str]) -> list[str]:
    """Returns operations with nodes named by their order: torch.fx adds numbers to names by what it named before."""
    names: dict[str, str] = {}
    out = []
    for number, line in enumerate(lines):
        name, _, rest = line.partition(" = ")
        what, bracket, given = rest.partition("(")
        given = re.sub(r"\b\w+\b", lambda word: names.get(word[0], word[0]), given)
        names[name] = f"%{number}"
        out.append(f"%{number} = {what}{bracket}{given}")
    return out


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


def _other_numbers(traced: fx.GraphModule, recipe: Recipe) -> str:
    """Returns the first leaf whose tensor has another shape than is left of it, or is of another sort of numbers, in words."""
    for name, leaf in leaves(traced).items():
        tensor = recipe.tensors[name]
        if leaf.shape != tensor.shape:
            return (
                f"leaf {name} is {list(leaf.shape)} once it is cut, its tensor {list(tensor.shape)}"
            )
        if leaf.is_floating_point() != tensor.is_floating_point():
            return f"leaf {name} is {leaf.dtype}, its tensor {tensor.dtype}"
    return ""


def _equal(one: object, other: object) -> bool:
    """Returns whether two attributes are equal; those that follow from the size of a layer are so up to rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def _other_constant(traced: fx.GraphModule, recipe: Recipe) -> str:
    """Returns the first attribute of a layer that differs, in words; those that one version of torch lacks do not count."""
    found = constants_of(traced)
    for name, wanted in recipe.constants.items():
        for key, value in wanted.items():
            if key in found[name] and not _equal(found[name][key], value):
                return f"module {name} has {key}={found[name][key]}, expected {value}"
    return ""

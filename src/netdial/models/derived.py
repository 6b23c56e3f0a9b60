"""A derived network as a file: the genotype, the recipe of its search space, and the numbers.

The file is one of ``core.container`` of kind ``derived network``. A network of a ready space is made again from the recipe;
that of a user's own space needs a network of the same space and genotype, built by ``derive(space, genotype)``. Nothing is
pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import CheckpointError, ConfigError, NetdialError
from netdial.core.storage.boundary import reading
from netdial.core.storage.container import check_finite, load_tree, save_tree
from netdial.models.described import check_meta, mismatch
from netdial.models.programs.writing import write_program
from netdial.nets.layers import shapes_of
from netdial.structure.derived import DerivedNetwork, derive
from netdial.structure.graph.space import SearchSpace
from netdial.structure.spaces import from_recipe

KIND = "derived network"

STRUCTURE = "derived"
"""Key under which other files say which structure of a ready search space they hold: what ``how_derived`` returns."""

FORMAT = 1
"""Version of the file; a file says by which it was written."""


def save_derived(
    net: DerivedNetwork, path: str | Path, meta: Mapping[str, Any] | None = None
) -> None:
    """Writes a derived network to one safetensors file, atomically.

    Args:
        net: the network.
        path: file to write.
        meta: plain values to keep with it.

    Raises:
        ConfigError: ``meta`` is not plain JSON.
        CheckpointError: the network holds NaN or infinity, or the disk refused it.
    """
    path = Path(path)
    check_finite(path, net.state_dict().items())
    tree = {
        "format": FORMAT,
        "recipe": check_meta(net.space.recipe, "recipe") if net.space.recipe else {},
        "genotype": net.genotype.dumps(),
        "state": dict(net.state_dict()),
        "meta": check_meta(meta),
    }
    save_tree(path, tree, KIND)


def export_derived(
    net: DerivedNetwork, path: str | Path, format: str, example: Tensor | None
) -> None:
    """Writes a derived network as a program: ``onnx`` or ``torch-export``.

    Raises:
        ShapeError, TraceError, MissingExtra: it cannot be made, is not the network, or needs an extra.
    """
    write_program(net, path, format, example_of(net) if example is None else example)


def example_of(net: DerivedNetwork) -> Tensor:
    """Returns two inputs, all zeros, of the shape that a derived network takes."""
    wiring = net.space.wiring
    return torch.zeros(2, *wiring.shapes[wiring.input])


def read_derived(path: str | Path) -> dict[str, Any]:
    """Returns the parts of a file: ``recipe``, ``genotype`` (text), ``state`` (tensors) and ``meta``.

    Raises:
        CheckpointError: it is missing, damaged, changed, of another kind or of a newer format.
    """
    path = Path(path)
    tree = load_tree(path, KIND)
    found = tree.get("format") if isinstance(tree, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise CheckpointError(
            f"{path}: was written by a newer netdial (format {found}; this one reads up to {FORMAT}); update netdial"
        )
    kinds = {"recipe": dict, "genotype": str, "state": dict, "meta": dict}
    if found is None or not all(isinstance(tree.get(k), kind) for k, kind in kinds.items()):
        raise CheckpointError(f"{path}: is damaged (a part is missing); restore it from a copy")
    if not all(isinstance(tensor, Tensor) for tensor in tree["state"].values()):
        raise CheckpointError(f"{path}: is damaged (a tensor is missing); restore it from a copy")
    check_finite(path, tree["state"].items())
    return dict(tree)


def load_derived(path: str | Path, net: nn.Module | None = None) -> DerivedNetwork:
    """Returns a derived network that was saved, in evaluation mode on the CPU.

    Args:
        path: file that ``save_derived`` wrote.
        net: for a space of the user's own, a network of the same space and genotype; its weights are replaced.

    Raises:
        CheckpointError: the file is missing, damaged or of a newer format; or the network given is of another space or
            genotype.
    """
    path = Path(path)
    tree = read_derived(path)
    made = made_again(path, tree) if net is None else _given(path, tree, net)
    difference = mismatch(
        shapes_of(made), {name: list(tensor.shape) for name, tensor in tree["state"].items()}
    )
    if difference:
        raise CheckpointError(
            f"{path}: does not fit the network of its genotype ({difference}); use the space that it was made for"
        )
    with reading(path, "does not fit the network"):
        numbers = {tensor.dtype for tensor in tree["state"].values() if tensor.is_floating_point()}
        if len(numbers) == 1:
            made.to(numbers.pop())
        made.load_state_dict(tree["state"])
    return made.eval()


def how_derived(path: str | Path) -> dict[str, Any]:
    """Returns what ``made_again`` needs of a file that ``save_derived`` wrote; nothing for a space of the user's own.

    Raises:
        CheckpointError: as for ``read_derived``.
    """
    tree = read_derived(path)
    return {key: tree[key] for key in ("recipe", "genotype")} if tree["recipe"] else {}


def made_again(path: Path, told: Any) -> DerivedNetwork:
    """Returns a fresh network of a ready space, from its ``recipe`` and its ``genotype``.

    Raises:
        CheckpointError: they describe none that can be built.
    """
    if not isinstance(told, Mapping) or not told.get("recipe"):
        raise CheckpointError(
            f"{path}: is of a search space of your own; give net=derive(space, genotype), made from that space"
        )
    try:
        space: SearchSpace = from_recipe(told["recipe"])
        return derive(space, told.get("genotype", ""))
    except NetdialError as error:
        raise CheckpointError(
            f"{path}: describes a network that this netdial cannot build ({error}); give net=derive(space, genotype)"
        ) from None


def _given(path: Path, tree: Mapping[str, Any], net: nn.Module) -> DerivedNetwork:
    """Returns the network given, if it is of the space and genotype that were saved."""
    if not isinstance(net, DerivedNetwork):
        raise CheckpointError(
            f"{path}: holds a derived network, net= is a {type(net).__name__}; give derive(space, genotype)"
        )
    try:
        wanted = net.space.genotype(tree["genotype"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if net.genotype != wanted:
        raise CheckpointError(
            f"{path}: holds the genotype {wanted}, net= has {net.genotype}; give derive(space, genotype) of the one saved"
        )
    return net

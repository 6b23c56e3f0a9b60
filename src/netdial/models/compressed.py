"""A compressed network (``.ndz``) as a model: the network that its file describes, or its tensors by name.

The file says how the network is built in its recipe, ``{"net": {"spec": …, "input_shape": …, "n_outputs": …}}`` for a built-in
one; for one without some of its channels, ``{"cut": …}`` with what ``recipe`` would have written. Related: ``compression``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netdial.compression import Contents, read
from netdial.compression.file import read_text
from netdial.core.errors import CheckpointError
from netdial.core.storage.boundary import reading
from netdial.models.described import described, mismatch, outline
from netdial.models.recipe import recipe_of
from netdial.models.restoring import rebuilt

KIND = "compressed network"


def load_compressed(
    path: str | Path, net: nn.Module | None = None
) -> nn.Module | dict[str, Tensor]:
    """Returns the network in a compressed file, in evaluation mode; its tensors by name if no network is given or described.

    Args:
        path: what ``netdial compress`` or ``compression.write`` wrote.
        net: a network of the same architecture, whose weights are replaced.

    Raises:
        CheckpointError: the file is missing, damaged, changed, or does not fit the network.
    """
    path = Path(path)
    found = read(path)
    about, state = about_of(found), tensors_of(found)
    if isinstance(found.recipe, Mapping) and "cut" in found.recipe:
        return rebuilt(path, recipe_of(path, found.recipe["cut"], state), net)
    if net is None and about.get("net") is None:
        return state
    shape = outline(path, about) if net is None else net
    if difference := mismatch(_shapes(shape.state_dict()), _shapes(state)):
        raise CheckpointError(
            f"{path}: does not fit the {type(shape).__name__} ({difference}); give a network of the architecture that was "
            "compressed"
        )
    net = described(path, about).build() if net is None else net
    with reading(path, "does not fit the network"):
        net.load_state_dict(state)
    return net.eval()


def about_of(found: Contents) -> dict[str, Any]:
    """Returns the plain values of a compressed file, with what its recipe says of the network under ``net``."""
    recipe = found.recipe if isinstance(found.recipe, Mapping) else {}
    return {**found.meta, **({"net": recipe["net"]} if "net" in recipe else {})}


def read_about(path: Path) -> dict[str, Any]:
    """Returns the same from a file, whose tensors are not decoded.

    Raises:
        CheckpointError: the file is missing, damaged or changed.
    """
    return about_of(read_text(path))


def tensors_of(found: Contents) -> dict[str, Tensor]:
    """Returns the tensors of a compressed file."""
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in found.dense().items()}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in state.items()}

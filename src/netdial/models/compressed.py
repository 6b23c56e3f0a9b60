"""A compressed network (``.ndz``) as a model: the network that its file describes, or its tensors by name.

The file says how the network is built in its recipe, ``{"net": {"spec": …, "input_shape": …, "n_outputs": …}}`` for a built-in
one; for one without some of its channels, ``{"cut": …}`` with what ``recipe`` would have written; for one that a search found,
``{"derived": {"recipe": …, "genotype": …}}``, see ``derived``; for a family besides
``{"family": {"lo": …, "hi": …, "knots": …}}``, see ``compression.tracks``, with ``cut`` in it if it lost channels.
Related: ``compression``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from netdial.compression import Codebook, Contents, read
from netdial.compression.exact import as_held
from netdial.compression.file import MAX_BYTES, MAX_RATIO, read_text
from netdial.compression.tracks import at_knots
from netdial.core.errors import CheckpointError, ConfigError, ShapeError
from netdial.core.storage.boundary import reading, validated
from netdial.family.family import Family
from netdial.family.knots import family_at_knots
from netdial.models.cut.recipe import recipe_of
from netdial.models.cut.restoring import rebuilt
from netdial.models.derived import STRUCTURE, made_again
from netdial.models.described import (
    described,
    fresh,
    mismatch,
    other_tensors,
    outline,
    take_later,
)
from netdial.models.use import read_use
from netdial.nets.foreign import check_initialised, make_plain

Array = np.ndarray[Any, Any]

KIND = "compressed network"
CUT = "cut"
"""Key of a recipe that says which channels a network is without."""
FAMILY = "family"
"""Key of a recipe that says how members lie along λ."""


def load_compressed(
    path: str | Path, net: nn.Module | None = None
) -> nn.Module | dict[str, Tensor]:
    """Returns the network or family in a compressed file, in evaluation mode; its tensors by name if nothing says more.

    Args:
        path: what ``netdial compress`` or ``compression.write`` wrote.
        net: a network of the same architecture, whose weights are replaced.

    Raises:
        CheckpointError: the file is missing, damaged, changed, or does not fit the network.
        ConfigError: the network has lazy layers, which have no shape yet.
    """
    path = Path(path)
    if net is not None:
        check_initialised(net)
    found = read(path)
    about, state = about_of(found), tensors_of(found)
    if isinstance(found.recipe, Mapping) and CUT in found.recipe:
        return rebuilt(path, recipe_of(path, found.recipe[CUT], state), net)
    if net is None and isinstance(found.recipe, Mapping) and STRUCTURE in found.recipe:
        net = made_again(path, found.recipe[STRUCTURE])
    if net is None and about.get("net") is None:
        return state
    if about.get(FAMILY) is not None:
        return _family(path, found, about, net)
    shape = outline(path, about) if net is None else net
    if net is not None and other_tensors(net, _held(net), as_held(state, _held(net))):
        make_plain(net)  # weights that a norm computes are plain in the file
    state = as_held(state, _held(shape))
    if difference := other_tensors(shape, _held(shape), state):
        raise CheckpointError(
            f"{path}: does not fit the {type(shape).__name__} ({difference}); give a network of the architecture that was "
            "compressed"
        )
    net = described(path, about).build() if net is None else net
    with reading(path, "does not fit the network"), torch.no_grad():
        take_later(net, state)
        for name, tensor in _held(net).items():
            tensor.copy_(state[name])
    return net.eval()


def _held(net: nn.Module) -> dict[str, Tensor]:
    """Returns what a file holds of a network: parameters and buffers, tied ones once, and buffers of no state, too."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


class TrackRange(BaseModel):
    """What the recipe of a file says of a family."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    lo: Annotated[float, Field(gt=0)]
    hi: float
    knots: Annotated[int, Field(ge=2, le=64)]
    cut: dict[str, Any] | None = None


def leaves_at_knots(path: Path, found: Contents) -> tuple[TrackRange, dict[str, Array]]:
    """Returns the range of the family in a file, and its leaves at the knots.

    Raises:
        CheckpointError: the range is none, the leaves would take more memory than is allowed, or do not go together.
    """
    told = validated(TrackRange, about_of(found).get(FAMILY), f"{path}: its complexity values")
    books = [t.codes.size for t in found.tensors.values() if isinstance(t, Codebook)]
    size, limit = 4 * told.knots * sum(books), max(MAX_BYTES, MAX_RATIO * path.stat().st_size)
    if size > limit:
        raise CheckpointError(
            f"{path}: says that its members take {size} bytes, more than the {limit} allowed for such a file"
        )
    return told, at_knots(found.tensors, told.knots)


def _family(path: Path, found: Contents, about: Mapping[str, Any], net: nn.Module | None) -> Family:
    """Returns the family in a file of shared tracks."""
    told, arrays = leaves_at_knots(path, found)
    shape = fresh(path, about, net, told.cut, numbers=False)
    leaves = as_held(_as_tensors(arrays), dict(shape.named_buffers()))
    wanted = {n: list(p.shape) for n, p in shape.named_parameters() if p.is_floating_point()}
    held = {n: list(leaves[n].shape[1:]) for n in wanted.keys() & leaves.keys()}
    if difference := mismatch(wanted, held):
        raise CheckpointError(
            f"{path}: does not fit the {type(shape).__name__} ({difference}); give a network of the architecture that was "
            "compressed"
        )
    net = fresh(path, about, net, told.cut)
    use = read_use(path, about)
    try:
        return family_at_knots(
            net, told.lo, told.hi, told.knots, leaves, None if use is None else use.what()
        )
    except (ShapeError, ConfigError) as error:
        raise CheckpointError(f"{path}: does not fit the {type(net).__name__} ({error})") from None


def about_of(found: Contents) -> dict[str, Any]:
    """Returns the plain values of a compressed file, with what its recipe says of the network and its family."""
    recipe = found.recipe if isinstance(found.recipe, Mapping) else {}
    return {**found.meta, **{key: recipe[key] for key in ("net", FAMILY) if key in recipe}}


def opens_alone(found: Contents) -> bool:
    """Returns whether a file says how its network is built, so that none has to be given."""
    recipe = found.recipe if isinstance(found.recipe, Mapping) else {}
    cut = recipe.get(CUT)
    told = (cut.get("about") or {}) if isinstance(cut, Mapping) else {}
    return bool(
        STRUCTURE in recipe or about_of(found).get("net") or told.get("net") or told.get(STRUCTURE)
    )


def read_about(path: Path) -> dict[str, Any]:
    """Returns the same from a file, whose tensors are not decoded.

    Raises:
        CheckpointError: the file is missing, damaged or changed.
    """
    return about_of(read_text(path))


def tensors_of(found: Contents) -> dict[str, Tensor]:
    """Returns the tensors of a compressed file."""
    return _as_tensors(found.dense())


def _as_tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Returns arrays as tensors, numbers in the order of rows."""
    return {name: torch.from_numpy(np.asarray(a, order="C")) for name, a in arrays.items()}

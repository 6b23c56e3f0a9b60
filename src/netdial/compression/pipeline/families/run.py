"""A whole family as one small file; ``nd.compress`` comes here when no λ is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.families.moving import Dial, Teacher, WholeMoving, pivots_of
from netdial.compression.pipeline.families.search import TrackSearch, member_losses, prefixed
from netdial.compression.pipeline.leaves import dense_bytes, divide
from netdial.compression.pipeline.result import Compressed, Sizer
from netdial.compression.pipeline.search import finished
from netdial.compression.pipeline.steps import Context
from netdial.core.cutting import noted_cut
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.family.maps import TableMap
from netdial.pruning.weights.constants import find_constants

KNOTS = 7
"""Complexity values at which members are told, evenly apart in log λ, both ends included."""


def compress_family(context: Context, family: Family, valid: Dataset, size_of: Sizer) -> Compressed:
    """Returns a family of shared tracks.

    Args:
        context: data and settings.
        family: the family.
        valid: validation rows.
        size_of: bytes of the file of stored tensors.

    Raises:
        ConfigError: a setting is for one network, the family has members at a few λ alone, or no file is as small, or as
            good, as was asked for.
    """
    config = context.config
    _check(config, family)
    if config.distil is None:
        context = replace(context, config=replace(config, distil=1.0))
    plain = divide(family.net, biases=context.config.biases)
    dial = Dial()
    pivots = pivots_of(family, KNOTS)
    free = dict[str, int]()
    if context.config.free:
        pivots, free["weights of constant inputs"] = _folded(family, pivots, context.data)
    net = WholeMoving.of(family, pivots, plain.weights, dial)
    context = replace(
        context, teacher=Teacher(family, dial).eval(), division=prefixed(plain), spread=None
    )
    search = TrackSearch(context, net, valid, size_of, torch.empty(0), None, family, plain)
    start = member_losses(family, search)
    return finished(replace(search, start=start), KNOTS * dense_bytes(family.net), free)


def family_recipe(family: Family) -> dict[str, Any]:
    """Returns what the recipe of a file says of a family, and of the channels that its network is without."""
    cut = noted_cut(family.net)
    told = {"lo": family.config.lo, "hi": family.config.hi, "knots": KNOTS}
    return {"family": told if cut is None else {**told, "cut": cut.to_json()}}


def _check(config: CompressConfig, family: Family) -> None:
    if isinstance(family.mean, TableMap):
        raise ConfigError(
            "compress: which member? The family has members at a few complexity values alone; give lam, one of them"
        )
    if config.price is not None:
        raise ConfigError("price: is for one network; give lam, or max_bytes or max_loss")
    if config.criterion != "gradient" or config.share not in ("entropy", "kmeans"):
        raise ConfigError(
            f"criterion={config.criterion!r}, share={config.share!r}: a whole family is compressed by criterion 'gradient' and "
            "share 'entropy' or 'kmeans'; for others give lam"
        )


def _folded(family: Family, pivots: torch.Tensor, data: Dataset) -> tuple[torch.Tensor, int]:
    """Returns pivots in which biases do the work of inputs that are the same in all rows, and how many weights that ended."""
    layout = family.layout
    found = find_constants(family, data)
    if not len(found.positions) or layout.size != pivots.shape[1]:
        return pivots, 0
    count = int((pivots[:, found.positions] != 0).any(dim=0).sum())
    return found.fold(pivots, ~found.folded()), count

"""``compress``: any network, or a member of a family, as a small file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netdial.compression.codebook import Tensors
from netdial.compression.coding.encoder import encoded as coded
from netdial.compression.file import pack
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.families.run import compress_family, family_recipe
from netdial.compression.pipeline.free import fold_inputs
from netdial.compression.pipeline.leaves import dense_bytes, divide
from netdial.compression.pipeline.result import Compressed, Sizer
from netdial.compression.pipeline.search import Search, finished
from netdial.compression.pipeline.steps import Context, losses_of, recipe_alone
from netdial.core.arguments import checked
from netdial.core.best import SQUARED_ERROR
from netdial.core.errors import ConfigError, MemberWarning, warn
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, as_dataset
from netdial.data.memory.columns import check_columns
from netdial.data.memory.weights import weighted
from netdial.family.family import Family
from netdial.measure.compare import constant_of, values_of
from netdial.measure.forward import outputs
from netdial.nets.foreign import copy_network, with_plain_weights
from netdial.objective import OBJECTIVES
from netdial.pruning.channels.reducing import Pruned
from netdial.shrinking.shrink import Shrunk
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.own_loss import by_loss
from netdial.task.rehearsal import admit
from netdial.task.several import taken_up
from netdial.train.loop import Epoch

_NORMAL_PRIOR = ("l2", "scaled-kl", "scaled-prior")
"""Objectives whose pull on the weights is that of a normal prior."""

Report = Callable[[str, Epoch, int], None]
Meta = Mapping[str, Any] | Callable[[nn.Module], Mapping[str, Any]]


@checked
@in_usual_modes
def compress(
    net: nn.Module | Shrunk | Pruned,
    data: Data,
    valid: Data,
    *,
    lam: float | None = None,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    config: CompressConfig | None = None,
    augment: str | None = None,
    folder: str | Path | None = None,
    report: Report | None = None,
    recipe: Mapping[str, Any] | None = None,
    meta: Meta | None = None,
    **settings: Any,
) -> Compressed:
    """Returns a small version of a trained network: weights removed, values shared, what is left trained and coded.

    Args:
        net: any trained network; a family, or its member at ``lam``; or what ``shrink`` or ``slim`` returned. It is left as it
            is.
        data: training part, as for ``fit``.
        valid: validation part, on which the network is chosen among those of other sizes.
        lam: complexity value of the member of a family. Without it the whole family is compressed: the network returned is a
            ``Family`` again, whose members share positions and codes.
        kind: the task; by default that of the family, or what the targets suggest.
        loss: or a loss function of (outputs, targets), see ``fit``.
        config: all settings at once; or give them by name (see ``CompressConfig``).
        augment: how training images are varied, ``crop-flip`` or ``shift``; see ``train.feed``.
        folder: where the work is kept while it is under way, so that it goes on after an interruption.
        report: told of every finished epoch: the name of the training, the epoch, how many epochs it has.
        recipe: plain values that the file is going to hold beside the tensors, whose bytes count.
        meta: the same; or a function that gives them for the network that was made, such as how large its errors are.
        **settings: fields of ``CompressConfig``, for example ``max_bytes=8000``.

    Raises:
        ConfigError: an option is unknown or out of range; or no network is as small, or as good, as was asked for.
        NonFiniteError: a weight is NaN or infinite, or training met such a number.
    """
    if config is not None and settings:
        raise ConfigError(
            f"give either config or settings by name, not both ({', '.join(settings)})"
        )
    config, kind = config or CompressConfig(**settings), by_loss(kind, loss)
    if isinstance(net, Family):
        for rows, name in ((data, "training part"), (valid, "validation part")):
            check_columns(net.columns, rows, name)
    folder = None if folder is None else Path(folder)
    if isinstance(net, Family) and lam is None:
        recipe = {**(recipe or {}), **family_recipe(net)}
        found = _whole(
            net,
            data,
            valid,
            kind,
            config,
            augment,
            folder,
            report,
            sizer(config, recipe, meta, net),
        )
        return replace(found, recipe=recipe)
    context = context_of(
        net, data, lam=lam, kind=kind, config=config, augment=augment, folder=folder, report=report
    )
    given, train = context.teacher, context.data
    held, _ = admit(given, valid, context.task, part="validation part")
    begin, free = copy_network(given), dict[str, int]()
    if config.free:
        few = train.inputs(torch.arange(min(64, len(train))), like=next(begin.parameters()))
        free["weights of constant inputs"] = fold_inputs(begin, train, few)
    size_of = sizer(config, recipe, meta, given)
    own = losses_of(given, held, context)
    search = Search(
        context, begin, held, size_of, _reference(context, held, own), float(own.mean())
    )
    found = replace(finished(search, dense_bytes(given), free), recipe=recipe)
    if _is_useless(found.net, context, held):
        warn(
            "the compressed network predicts validation data no better than a constant (class frequencies, or the mean of the "
            "targets); allow more bytes, a smaller loss or a lower price",
            MemberWarning,
        )
    return found


def _is_useless(net: nn.Module, context: Context, valid: Dataset) -> bool:
    """Returns whether a constant predicts validation data as well as a network, by the proper loss."""
    task, targets, out = context.task, valid.y.cpu(), outputs(net, valid)
    name = task.proper
    constant = constant_of(task, context.data.y, targets, out[0].numel(), [name])
    return float(values_of(out[None], targets, task, name)[0]) >= constant.get(name, math.inf)


def _whole(
    family: Family,
    data: Data,
    valid: Data,
    kind: str | Task | None,
    config: CompressConfig,
    augment: str | None,
    folder: Path | None,
    report: Report | None,
    size_of: Sizer,
) -> Compressed:
    """Returns a whole family compressed."""
    family.weights_alone("compress")
    train, task = _admitted(family.net, data, kind, family.task)
    held, _ = admit(family.net, valid, task, part="validation part")
    division = divide(family.net, biases=config.biases)
    context = Context(train, task, config, division, family, augment, 0.0, None, folder, report)
    _check_bound(context)
    return compress_family(context, family, held, size_of)


def _reference(context: Context, valid: Dataset, start: Tensor) -> Tensor:
    """Returns what rows add to the metric with the network that the loss is compared with ``[G]``; ``start`` is that given.

    It is the network given; or the same trained on for as long as the compressed one, where that is better and a loss was asked
    for: else what more training gains would pay for what compression loses.
    """
    config = context.config
    if config.max_bytes is not None or config.price is not None:
        return start
    longer = losses_of(recipe_alone(context, context.teacher, "control"), valid, context)
    return longer if float(longer.mean()) < float(start.mean()) else start


def context_of(
    net: nn.Module | Shrunk | Pruned,
    data: Data,
    *,
    config: CompressConfig,
    lam: float | None = None,
    kind: str | Task | None = None,
    augment: str | None = None,
    folder: Path | None = None,
    report: Report | None = None,
) -> Context:
    """Returns what the trainings of a compression and of a control work on; arguments and errors are those of ``compress``."""
    plain, spread, pull, known = _opened(net, lam)
    rows = as_dataset(data, part="training part")
    kind, plain = taken_up(plain, rows, kind, None, known)
    train, task = _admitted(plain, rows, kind, known)
    given = with_plain_weights(plain).eval()
    division = divide(given, biases=config.biases)
    if spread is not None and not spread.keys() <= dict(given.named_parameters()).keys():
        spread = None  # it is that of what a weight was computed from
    _check_spread(config, spread)
    decay = pull / len(train)
    context = Context(train, task, config, division, given, augment, decay, spread, folder, report)
    _check_bound(context)
    return context


def _check_spread(config: CompressConfig, spread: Mapping[str, Tensor] | None) -> None:
    """Refuses to share values by a posterior that there is none of.

    Raises:
        ConfigError: it was asked for.
    """
    if config.share == "posterior" and not spread:
        raise ConfigError(
            "share='posterior' goes by the posterior's standard deviations, and there are none; give lam and a family with a "
            "normal posterior (objective ard has one), or choose another way (entropy, kmeans, uniform)"
        )


def _check_bound(context: Context) -> None:
    """Refuses a loss in the target's own units, or another one that allows any network.

    Raises:
        ConfigError: it is as much as a constant prediction has.
    """
    most = context.config.max_loss
    if most is not None and most >= 1 and context.loss_words == SQUARED_ERROR:
        raise ConfigError(
            f"max_loss={most:g}: it is a {SQUARED_ERROR}, of which a constant prediction has 1, so any network would do; "
            "give a smaller one, such as 0.01"
        )


def _admitted(
    net: nn.Module, data: Data, kind: str | Task | None, known: Task | None
) -> tuple[Dataset, Task]:
    """Returns the training part, its weights with mean 1, and its task."""
    part, task = admit(net, data, kind, known, "training part")
    return weighted(part, None, task.targets), task


def _opened(
    net: nn.Module | Shrunk | Pruned, lam: float | None
) -> tuple[nn.Module, dict[str, Tensor] | None, float, Task | None]:
    """Returns the network, log standard deviations of its posterior, the decay of its objective times N, and its task."""
    if isinstance(net, Shrunk | Pruned):
        return _opened(net.net, lam)
    if not isinstance(net, Family):
        if lam is not None:
            raise ConfigError(
                f"compress(lam={lam:g}): a network has no complexity values; leave lam out, or give a family"
            )
        return net, None, 0.0, None
    if lam is None:
        raise ConfigError("compress: which member? give lam, a complexity value")
    net.weights_alone("compress")
    fields = net.fields_at([lam])
    spread = None
    if fields.log_std is not None:
        spread = {n: v[0].detach() for n, v in net.layout.split(fields.log_std).items()}
    return net.export(lam), spread, _pull(net, lam), net.task


def _pull(family: Family, lam: float) -> float:
    """Returns the precision of the prior that a member was trained under, times its temperature; 0 unless it is normal.

    Where λ is in the prior (``l2``, ``scaled-prior``), there is no other temperature.
    """
    objective = OBJECTIVES[family.objective]
    if family.objective not in _NORMAL_PRIOR or objective.prior_var is None:
        return 0.0
    variance = float(objective.prior_var(torch.tensor([lam]), family.config.prior_var))
    return (1.0 if objective.prior_moves else objective.factor(lam)) / variance


def sizer(
    config: CompressConfig,
    recipe: Mapping[str, Any] | None,
    meta: Meta | None,
    given: nn.Module,
) -> Sizer:
    """Returns what counts the bytes of the file that stored tensors make, names and framing included."""

    def size(tensors: Tensors, net: nn.Module | None) -> int:
        parts = {name: coded(tensor, config.profile) for name, tensor in tensors.items()}
        told = meta(given if net is None else net) if callable(meta) else meta
        return len(pack(parts, tensors, recipe, told or {}))

    return size

"""Training a family from Python, ``fit``; and ``run``, in which all training of families ends.

``direct`` and ``finetune`` put together the same pieces (family, method, feed, loop); what differs is the map they start from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from netdial.core.arguments import checked, expect
from netdial.core.errors import ConfigError, unknown, warn
from netdial.core.layout import unsaved
from netdial.core.outputs import in_usual_modes
from netdial.curvature import own_fisher
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.data.memory.columns import check_columns, columns_of
from netdial.data.memory.weights import weighted_both
from netdial.family.family import Family
from netdial.family.maps import StackedMap, TableMap
from netdial.family.stacking import can_stack, stack, unstack
from netdial.measure.forward import outputs
from netdial.measure.noise import calibrate, lacks_noise
from netdial.measure.path import mean_fit
from netdial.objective import OBJECTIVES, WEIGHTINGS
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.rehearsal import admit, admit_training, advise, hold
from netdial.task.several import taken_up
from netdial.train.config import FitConfig, make_config
from netdial.train.loop import Epoch, Session, going_on, train
from netdial.train.method import FamilyMethod
from netdial.train.optimiser import moves_numbers_apart
from netdial.train.session import (
    agreement,
    begin_alike,
    handing_over,
    launch,
    make_feed,
    with_lengths,
)


@checked
@in_usual_modes
def fit(
    net: nn.Module,
    data: Data,
    valid: Data | None = None,
    *,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    old_inputs: Tensor | None = None,
    config: FitConfig | None = None,
    report: Callable[[Epoch], None] | None = None,
    **settings: Any,
) -> Family:
    """Trains a family in one run and returns it: a network for every λ in [lo, hi].

    Args:
        net: any module; it is copied. Of outputs in a dict, a tuple or a data class the one called ``logits`` or ``out``, else
            the first, is scored.
        data: training part, in any of the forms of ``netdial.data.memory``: a pair of tensors, arrays or frames, a
            ``Dataset``, a torch data set, a ``DataLoader``, …
        valid: validation part, needed for ``patience``; tells the noise variance of a regression
            (``measure.calibrate``). A ``DataLoader`` is read into memory.
        kind: ``classification``, ``regression``, another name in ``task.TASKS``, or a ``Task``; by default what the
            targets suggest: columns of floating-point numbers are a regression. Targets may be images, or classes of
            pixels and words.
        loss: or a loss function of (outputs, targets) that gives one number for a batch, or one for each example. Outputs
            are what the network gives, in its tuple, dict or data class, if the function takes that, else the scored
            one. A network that computes a loss from an argument ``labels`` of its own, as those of the transformers
            library do, is trained on that one, where it is another than cross-entropy or squared error.
        old_inputs: inputs ``[N, ...]`` whose predictions are to be kept when a trained network is adapted
            (``anchor="start"``); weights that these depend on stay closer to where they start. No targets are needed.
        config: all settings at once; or give them by name (see ``FitConfig``).
        report: told of every finished epoch.
        **settings: fields of ``FitConfig``, for example ``objective="l2", epochs=10``; ``lam=(lo, hi)`` sets the range.

    Returns:
        The trained family, in evaluation mode.

    Raises:
        ConfigError: an option is unknown or out of range.
        DataError: the data cannot be used; the message names rows and columns.
        NonFiniteError: training met a number that is not finite.
    """
    config = settings_of(config, settings)
    held = hold(data)
    kind, start = taken_up(net, held, kind, loss)
    family = Family(start, config.family())
    family.columns = columns_of(data)
    if old_inputs is not None:
        if config.anchor != "start":
            raise ConfigError(
                f"old_inputs: given with anchor={config.anchor!r}; they say how far weights may go from the start, so give "
                "anchor='start'"
            )
        task = admit_training(family.net, held, kind)[1]
        family.weigh_anchor(own_fisher(start, old_inputs, task))
    return run(family, held, valid, kind=kind, config=config, report=report)


def run(
    family: Family,
    data: Data,
    valid: Data | None,
    *,
    kind: str | Task | None = None,
    config: FitConfig,
    report: Callable[[Epoch], None] | None = None,
    augment: str | None = None,
    rows: Sequence[Tensor] | None = None,
    **session: Unpack[Session],
) -> Family:
    """Trains a family that is already built; ``fit`` and the command line end here.

    ``rows`` are those of the data that each of several families in a row (``family.stacking``) is trained on.
    """
    if config.patience and valid is None:
        raise ConfigError(
            f"patience={config.patience} needs validation data; give valid, or leave patience out"
        )
    for given, name in ((data, "training part"), (valid, "validation part")):
        check_columns(family.columns, given, name)
    blocks = _blocks(family, config)
    started = {name: buffer.clone() for name, buffer in unsaved(family.net).items()}
    if config.precision == "64-true":
        family = family.double()
    admitted, task = admit_training(family.net, data, kind, family.task)
    if config.noise_var is not None:
        task = task.assuming(config.noise_var)
    part = None if valid is None else admit(family.net, valid, task, part="validation part")[0]
    admitted, judged = weighted_both(admitted, part, config.class_weight, task.targets)
    advise(task, admitted)
    config = with_lengths(config, admitted)
    workers, device = launch(config)
    family.to(device)
    held = [t for one in (family, family.net) for t in (*one.parameters(), *one.buffers())]
    begin_alike(workers, held, {"training part": admitted, "validation part": judged})
    feed = make_feed(
        admitted,
        config,
        blocks=blocks,
        rows=rows,
        augment=augment,
        device=device,
        dtype=family.dtype,
        least=config.devices * _least(family),
    )
    family.learns(task, feed.n_data)
    trained = task.in_training()
    n_data = feed.n_data if rows is None else torch.tensor([len(part) for part in rows])
    method = FamilyMethod(config, task=trained, n_data=n_data, steps=feed.steps, workers=workers)
    state = method.init(family)
    with handing_over(family.eval):
        train(
            method,
            state,
            feed,
            epochs=config.known_epochs,
            progress=going_on(state, session),
            report=report or _silent,
            advance=session.get("advance"),
            validate=None if judged is None else _validator(judged, trained, config, feed.n_data),
            patience=config.patience,
            buffers=state.buffers,
            checkpoint=session.get("checkpoint") if workers.rank == 0 else None,
            saved=session.get("saved"),
            identity=session.get("identity"),
            agree=agreement(workers),
        )
    family.eval()
    _tell_unsaved(family.net, started)
    if part is not None:
        learn_noise(family, part)
    return family


def _tell_unsaved(net: nn.Module, started: Mapping[str, Tensor]) -> None:
    """Warns of buffers that training changed, and that files of members do not hold; a cache that grew is none."""
    changed = [
        name
        for name, buffer in unsaved(net).items()
        if name in started
        and started[name].shape == buffer.shape
        and not torch.equal(started[name].to(buffer), buffer)
    ]
    if changed:
        warn(
            f"buffer {changed[0]!r} changed in training and is no part of the network's state (persistent=False), so files of "
            "members do not hold it, and what is loaded from them may predict otherwise; register it with persistent=True"
        )


def learn_noise(family: Family, valid: Dataset) -> None:
    """Notes the noise of a regression whose noise is not known, if there are rows enough to tell it."""
    if lacks_noise(family.task, len(valid)):
        calibrate(family, valid)


def side_by_side(families: Sequence[Family], config: FitConfig) -> bool:
    """Returns whether families can train in one run, each as it would by itself."""
    return config.devices == 1 and moves_numbers_apart(config) and can_stack(families)


def run_side_by_side(
    families: Sequence[Family],
    data: Dataset,
    *,
    kind: str | Task | None,
    config: FitConfig,
    report: Callable[[Epoch], None] | None = None,
    rows: Sequence[Tensor] | None = None,
) -> list[Family]:
    """Trains families that are already built in one run, each on its own rows if ``rows`` are given; see ``side_by_side``.

    A batch is no larger than the fewest rows, and divides among the groups, so that none takes an example of the next family.
    """
    config = config.for_rows(len(data))
    size = min([config.known_batch_size, len(data), *map(len, rows or [])])
    groups = min(config.groups, size) if config.sampling == "stratified" else 1
    config = config.changed(batch_size=size // groups * groups)
    whole = run(stack(families), data, None, kind=kind, config=config, report=report, rows=rows)
    return unstack(whole, len(families))


def _validator(
    part: Dataset, task: Task, config: FitConfig, n_data: int
) -> Callable[[Family], float]:
    """Returns the validation objective: the weighted mean over a grid of λ of fit (mean weights) + complexity."""
    penalty, weight = OBJECTIVES[config.objective], WEIGHTINGS[config.weighting]

    def validate(family: Family) -> float:
        lams = list(family.config.lams) or family.domain.grid(5)
        grid = torch.tensor(lams, dtype=family.dtype)
        weights = weight(grid)
        device = family.device
        complexity = (
            penalty(family.fields_at(lams), grid.to(device), config.prior_var).cpu() / n_data
        )
        fits = [
            float(mean_fit(task.nll(outputs(family.export(lam), part), part.y.cpu()), part))
            for lam in lams
        ]
        return float((weights * (torch.tensor(fits) + complexity)).sum() / weights.sum())

    return validate


def settings_of(config: FitConfig | None, settings: dict[str, Any]) -> FitConfig:
    """Returns the settings of a training run, given whole or by name; ``lam=(lo, hi)`` sets the range."""
    if config is not None:
        if settings:
            raise ConfigError(
                f"give either config or settings by name, not both ({', '.join(settings)})"
            )
        return config
    allowed = ("lam", *FitConfig.model_fields)
    for name in settings:
        if name not in allowed:
            raise unknown("setting", name, allowed)
    if "lam" in settings:
        try:
            ends = expect("settings", "lam", settings["lam"], Sequence[float])
        except ConfigError as error:
            raise ConfigError(f"{error}: the two ends of the range, lam=(lo, hi)") from None
        if len(ends) != 2:
            raise ConfigError(f"lam={ends!r}: expected the two ends of the range, lam=(lo, hi)")
        rest = {name: value for name, value in settings.items() if name != "lam"}
        settings = {**rest, "lo": float(ends[0]), "hi": float(ends[1])}
    return make_config(**settings)


def fixed(settings: Mapping[str, Any], names: Sequence[str], function: str) -> None:
    """Refuses settings that a function sets itself, so that none is passed over without a word."""
    for name in names:
        if name in settings:
            raise ConfigError(
                f"{function}: {name}={settings[name]!r} cannot be chosen, {function} sets it itself; leave it out"
            )


def _blocks(family: Family, config: FitConfig) -> int:
    """Returns how many blocks of examples a batch must hold: one for each family, or seed of directly trained networks."""
    if isinstance(family.mean, StackedMap):
        return family.mean.count
    if not isinstance(family.mean, TableMap):
        return 1
    rows = len(family.mean.rows)
    if rows < config.devices:
        raise ConfigError(
            f"devices={config.devices}, but only {rows} networks to train directly; use at most one device for each"
        )
    return rows // len(config.lams)


def _least(family: Family) -> int:
    """Returns how many examples a group must have: BatchNorm needs two to have a variance."""
    return 2 if family.statistics.names else 1


def _silent(epoch: Epoch) -> None:
    """Reports nothing."""

"""Training a family from Python: ``fit`` for a new one, ``fit_direct`` for networks at given λ, ``finetune`` for a member.

All three put together the same pieces (family, method, feed, loop); what differs is the map they start from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netdial.config import FitConfig, TrainConfig, make_config
from netdial.core.errors import ConfigError, DataError, first_line
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, Loader
from netdial.data.memory.weights import weighted
from netdial.family.family import Family
from netdial.family.maps import TableMap
from netdial.measure.noise import FEWEST, calibrate
from netdial.measure.path import mean_fit, outputs
from netdial.objective import OBJECTIVES, WEIGHTINGS
from netdial.task import Regression, Task
from netdial.task.rehearsal import admit, admit_training
from netdial.train.feed import Batch, Feed, LoaderFeed, TensorFeed
from netdial.train.loop import Epoch, resume, train
from netdial.train.method import FamilyMethod, State, Workers


def fit(
    net: nn.Module,
    data: Data,
    valid: Data | None = None,
    *,
    kind: str | Task | None = None,
    config: FitConfig | None = None,
    report: Callable[[Epoch], None] | None = None,
    **settings: Any,
) -> Family:
    """Trains a family in one run and returns it: a network for every λ in [lo, hi].

    Args:
        net: any module that returns one tensor of outputs; it is copied.
        data: training part, in any of the forms of ``netdial.data.memory``: a pair of tensors, arrays or frames, a
            ``Dataset``, a torch data set, a ``DataLoader``, …
        valid: validation part, needed for ``patience``; tells the noise variance of a regression
            (``measure.calibrate``). A ``DataLoader`` is read into memory.
        kind: ``classification``, ``regression``, another name in ``task.TASKS``, or a ``Task``; by default what the
            targets suggest: columns of floating-point numbers are a regression.
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
    config = _config(config, settings)
    family = Family(net, config.family())
    return run(family, data, valid, kind=kind, config=config, report=report)


def fit_direct(
    nets: nn.Module | Sequence[nn.Module],
    data: Data,
    *,
    lams: Sequence[float],
    kind: str | Task | None = None,
    config: FitConfig | None = None,
    report: Callable[[Epoch], None] | None = None,
    **settings: Any,
) -> list[Family]:
    """Trains networks directly at given λ, many at once, each independent of the others.

    Every network (one for each seed) is trained at every λ; the networks of one seed see batches in the same order.
    Networks with running statistics (BatchNorm), or with frozen parameters or buffers that differ, cannot run side by side,
    so their seeds are trained one after another.

    Args:
        nets: one module, or one for each seed, all of the same architecture.
        data: training part, as for ``fit``.
        lams: complexity values.
        kind: as for ``fit``.
        config: settings; ``map`` and ``lams`` are set here.
        report: told of every finished epoch.
        **settings: fields of ``FitConfig``.

    Returns:
        For each network given, a family whose members are its directly trained networks.

    Raises:
        ConfigError: an option is unknown or out of range, or ``shared`` ties networks together.
    """
    starts = [nets] if isinstance(nets, nn.Module) else list(nets)
    if config is None:
        config = _config(None, {**settings, "map": "table", "lams": tuple(lams)})
    else:
        config = config.model_copy(update={"map": "table", "lams": tuple(lams)})
    if config.shared and len(config.lams) > 1:
        raise ConfigError(
            f"shared={', '.join(config.shared)}: a parameter that is the same for every lam would tie the directly "
            "trained networks together; leave shared empty, or train at one lam at a time"
        )
    families = [Family(net, config.family()) for net in starts]
    if not _can_stack(families):
        return [
            run(
                family,
                data,
                None,
                kind=kind,
                config=config.model_copy(update={"seed": config.seed + index}),
                report=report,
            )
            for index, family in enumerate(families)
        ]
    family = run(stack(families), data, None, kind=kind, config=config, report=report)
    return unstack(family, len(starts))


def finetune(
    family: Family,
    lam: float,
    data: Data,
    *,
    kind: str | Task | None = None,
    config: FitConfig | None = None,
    **settings: Any,
) -> Family:
    """Trains one member further at its own λ, starting from what the family gives.

    Args:
        family: the family; it is left as it is.
        lam: complexity value of the member.
        data: training part, as for ``fit``.
        kind: the task; by default that of the family.
        config: settings (``epochs``, ``lr``, ``objective``, …); objective and prior are the family's own by default.
        **settings: fields of ``FitConfig``.

    Returns:
        A family with the single member λ. Its posterior is that of ``family``, or a point if the objective is ``l2`` or
        ``l1``. What was pruned stays so.

    Raises:
        ConfigError: the objective needs a normal posterior and ``family`` has points.
    """
    if config is None:
        config = _config(
            None,
            {
                "epochs": 1,
                "lr": 1e-3,
                "objective": family.objective,
                "prior_var": family.config.prior_var,
                **settings,
            },
        )
    if not OBJECTIVES[config.objective].is_point and family.log_std is None:
        raise ConfigError(
            f"finetune: objective={config.objective!r} needs a normal posterior, the family has points; use objective='l2'"
        )
    config = config.model_copy(
        update={"map": "table", "lams": (lam,), "lo": family.config.lo, "hi": family.config.hi}
    )
    member = specialise(
        family, lam, objective=config.objective, freeze=config.freeze, shared=config.shared
    )
    return run(member, data, None, kind=kind, config=config)


def specialise(
    family: Family,
    lam: float,
    *,
    objective: str | None = None,
    freeze: Sequence[str] = (),
    shared: Sequence[str] = (),
) -> Family:
    """Returns a family that has the member at λ alone, with weights of its own in place of the maps.

    Args:
        family: the family.
        lam: complexity value of the member.
        objective: what it will be trained under; ``l2`` and ``l1`` keep the means alone. By default that of ``family``.
        freeze: patterns of parameters to freeze at their values, beside those that are frozen already.
        shared: patterns of parameters that lose their posterior, beside those that have none.
    """
    point = family.log_std is None or (objective is not None and OBJECTIVES[objective].is_point)
    config = replace(
        family.config,
        map="table",
        lams=(float(lam),),
        posterior="point" if point else "normal",
        objective=objective or family.objective,
        freeze=(*family.config.freeze, *freeze),
        shared=(*family.config.shared, *shared),
    )
    member = Family(family.export(lam), config).to(family.device)
    with torch.no_grad():
        fields = family.fields_at([lam])
        _pivots(member.mean).copy_(_those_of(member, fields.mean, family))
        if member.log_std is not None:
            assert fields.log_std is not None
            _pivots(member.log_std).copy_(_those_of(member, fields.log_std, family))
        if family.kept is not None:
            member.restrict(_those_of(member, family.kept, family))
    return member


def _those_of(member: Family, flat: Tensor, family: Family) -> Tensor:
    """Returns the numbers ``[..., P]`` of a family's leaves that belong to leaves of the member, too."""
    pieces = family.layout.split(flat)
    return torch.cat([pieces[name].flatten(flat.ndim - 1) for name in member.layout.names], dim=-1)


def run(
    family: Family,
    data: Data,
    valid: Data | None,
    *,
    kind: str | Task | None = None,
    config: FitConfig,
    report: Callable[[Epoch], None] | None = None,
    advance: Callable[[int, int], None] | None = None,
    augment: str | None = None,
    checkpoint: Path | None = None,
    saved: Callable[[], Path] | None = None,
    resuming: bool = False,
    identity: dict[str, Any] | None = None,
) -> Family:
    """Trains a family that is already built; ``fit`` and the command line end here."""
    if config.patience and valid is None:
        raise ConfigError(
            f"patience={config.patience} needs validation data; give valid, or patience=0"
        )
    blocks = _blocks(family, config)
    if config.precision == "64-true":
        family = family.double()
    admitted, task = admit_training(family.net, data, kind, family.task)
    admitted = weighted(admitted, config.class_weight, task.targets)
    part = None if valid is None else admit(family.net, valid, task, part="validation part")[0]
    if isinstance(admitted, Dataset) and (advice := task.advice(admitted.y)):
        warnings.warn(advice, UserWarning, stacklevel=3)
    workers, device = launch(config)
    family.to(device)
    feed = make_feed(
        admitted,
        config,
        blocks=blocks,
        augment=augment,
        device=device,
        dtype=family.dtype,
        least=config.devices * _least(family),
    )
    family.learns(task, feed.n_data)
    method = FamilyMethod(config, task=task, n_data=feed.n_data, steps=feed.steps, workers=workers)
    state, progress = method.init(family), None
    if resuming and checkpoint is not None and checkpoint.exists():
        progress = resume(state, checkpoint, identity or {})
    train(
        method,
        state,
        feed,
        epochs=config.epochs,
        progress=progress,
        report=report or _silent,
        advance=advance,
        validate=None if part is None else _validator(part, task, config, feed.n_data),
        patience=config.patience,
        checkpoint=checkpoint if workers.rank == 0 else None,
        saved=saved,
        identity=identity,
        agree=agreement(workers),
    )
    family.eval()
    if (
        isinstance(task, Regression)
        and not task.noise_var
        and part is not None
        and len(part) >= FEWEST
    ):
        calibrate(family, part)
    return family


def make_feed(
    data: Dataset | Loader,
    config: TrainConfig,
    *,
    blocks: int = 1,
    augment: str | None = None,
    device: Any = "cpu",
    dtype: torch.dtype | None = None,
    least: int = 1,
) -> Feed[Batch]:
    """Returns the feed for training data.

    Args:
        data: as ``admit_training`` gave them.
        config: settings.
        blocks: blocks of examples in a batch.
        augment: how images are varied.
        device: where batches are wanted.
        dtype: floating-point type wanted.
        least: examples that a batch must have.

    Raises:
        DataError: a batch has fewer.
    """
    if isinstance(data, Loader):
        return LoaderFeed(
            data, seed=config.seed, blocks=blocks, device=device, dtype=dtype, least=least
        )
    if min(config.batch_size, len(data)) < least:
        raise DataError(
            f"training part: {len(data)} example(s) in batches of {config.batch_size}; this training needs {least} or more "
            "in a batch (BatchNorm has no variance of one); give more examples, or raise batch_size"
        )
    return TensorFeed(
        data,
        batch_size=config.batch_size,
        seed=config.seed,
        blocks=blocks,
        augment=augment,
        device=device,
        dtype=dtype,
    )


def launch(config: TrainConfig) -> tuple[Workers, Any]:
    """Returns this process among its peers, and its device; starts the peers when several devices are asked for.

    Raises:
        ConfigError: this machine has no such device.
    """
    plain = (
        config.devices == 1
        and config.accelerator in ("auto", "cpu")
        and config.precision != "bf16-mixed"
    )
    if plain and not torch.cuda.is_available():
        return Workers(), torch.device("cpu")
    from lightning_fabric import Fabric

    strategy = "ddp" if config.devices > 1 else config.strategy
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            strategy=strategy,
            precision=config.precision,
        )
    except (RuntimeError, ValueError) as error:  # what Fabric raises for devices that are not there
        raise ConfigError(
            f"accelerator={config.accelerator!r}, devices={config.devices}: not on this machine ({first_line(error)}); "
            "use accelerator='auto' or 'cpu'"
        ) from None
    fabric.launch()
    return Workers(fabric.global_rank, fabric.world_size, fabric), fabric.device


def stack(families: Sequence[Family]) -> Family:
    """Returns one table family with the rows of all, so that they train in one batched run."""
    first = families[0]
    if len(families) == 1:
        return first
    joined = Family(first.net, first.config)
    for name in ("mean", "log_std"):
        tables = [getattr(family, name) for family in families]
        if tables[0] is not None:
            pivots = torch.cat([_pivots(table).detach() for table in tables])
            rows = torch.cat([table.rows for table in tables])
            setattr(joined, name, TableMap(first.layout, pivots, rows))
    return joined


def _can_stack(families: Sequence[Family]) -> bool:
    """Returns whether networks differ in nothing but the leaves that vary, so that one network can stand for all."""
    first = families[0]
    if first.config.shared or first.statistics.names:
        return False
    held = [[*family.shared, *family.net.buffers()] for family in families]
    return all(torch.equal(a, b) for other in held[1:] for a, b in zip(held[0], other, strict=True))


def unstack(family: Family, count: int) -> list[Family]:
    """Returns the families that ``stack`` joined."""
    if count == 1:
        return [family]
    parts = []
    for index in range(count):
        part = Family(family.net, family.config)
        for name in ("mean", "log_std"):
            table = getattr(family, name)
            if table is not None:
                _pivots(getattr(part, name)).data.copy_(_pivots(table).detach().chunk(count)[index])
        parts.append(part.eval())
    return parts


def _validator(
    part: Dataset, task: Task, config: FitConfig, n_data: int
) -> Callable[[State], float]:
    """Returns the validation objective: the weighted mean over a grid of λ of fit (mean weights) + complexity."""
    penalty, weight = OBJECTIVES[config.objective], WEIGHTINGS[config.weighting]

    def validate(state: State) -> float:
        family = state.family
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


def _config(config: FitConfig | None, settings: dict[str, Any]) -> FitConfig:
    if config is not None:
        if settings:
            raise ConfigError(
                f"give either config or settings by name, not both ({', '.join(settings)})"
            )
        return config
    if "lam" in settings:
        lo, hi = settings.pop("lam")
        settings = {**settings, "lo": lo, "hi": hi}
    return make_config(**settings)


def _pivots(table: Any) -> Tensor:
    pivots: Tensor = table.pivots
    return pivots


def _blocks(family: Family, config: FitConfig) -> int:
    """Returns how many blocks of examples a batch must hold: one for each seed of directly trained networks."""
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


def agreement(workers: Workers) -> Callable[[bool], bool]:
    """Returns the question whether any process says yes, asked of all of them at once."""
    if workers.count == 1:
        return bool

    def agree(answer: bool) -> bool:
        votes = torch.tensor(float(answer), device=workers.fabric.device)
        workers.sum_([votes])
        return bool(votes > 0)

    return agree


def _silent(epoch: Epoch) -> None:
    """Reports nothing."""

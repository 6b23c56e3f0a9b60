"""Many at once: networks trained directly at given λ, which a family is compared with; and families from several starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.core.outputs import in_usual_modes
from netdial.data.memory import Data, Loader
from netdial.data.memory.columns import check_columns, columns_of
from netdial.family.family import Family
from netdial.family.stacking import can_stack, stack, unstack
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.rehearsal import admit, hold, suited
from netdial.task.several import counted, taken_up
from netdial.train.config import FitConfig
from netdial.train.fit import (
    fixed,
    learn_noise,
    run,
    run_side_by_side,
    settings_of,
    side_by_side,
)
from netdial.train.loop import Epoch


@checked
@in_usual_modes
def fit_direct(
    nets: nn.Module | Sequence[nn.Module],
    data: Data,
    *,
    lams: Sequence[float],
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    config: FitConfig | None = None,
    report: Callable[[Epoch], None] | None = None,
    **settings: Any,
) -> list[Family]:
    """Trains networks directly at given λ, many at once, each independent of the others.

    Every network (one for each seed) is trained at every λ; the networks of one seed see batches in the same order.
    Networks with running statistics (BatchNorm), of different architecture, or with frozen parameters or buffers that differ,
    cannot run side by side, so they are trained one after another.

    Args:
        nets: one module, or one for each seed, usually of the same architecture.
        data: training part, as for ``fit``.
        lams: complexity values.
        kind: as for ``fit``.
        loss: as for ``fit``.
        config: settings; ``map`` and ``lams`` are set here.
        report: told of every finished epoch.
        **settings: fields of ``FitConfig``.

    Returns:
        For each network given, a family whose members are its directly trained networks.

    Raises:
        ConfigError: an option is unknown or out of range, or ``shared`` ties networks together.
    """
    starts = [nets] if isinstance(nets, nn.Module) else list(nets)
    fixed(settings, ("map",), "fit_direct")
    if config is None:
        config = settings_of(None, {**settings, "map": "table", "lams": tuple(lams)})
    else:
        config = config.changed(map="table", lams=tuple(lams))
    if config.shared and len(config.lams) > 1:
        raise ConfigError(
            f"shared={', '.join(config.shared)}: a parameter that is the same for every lam would tie the directly "
            "trained networks together; leave shared empty, or train at one lam at a time"
        )
    if not starts:
        raise ConfigError("nets: the list is empty; give at least one network")
    held = hold(data)
    kind, _ = taken_up(starts[0], held, kind, loss)
    families = [Family(counted(kind, suited(net, held)), config.family()) for net in starts]
    if can_stack(families):
        family = run(stack(families), held, None, kind=kind, config=config, report=report)
        return _named(unstack(family, len(starts)), data)
    found = [
        run(
            family,
            held,
            None,
            kind=kind,
            config=config.changed(seed=config.seed + index),
            report=report,
        )
        for index, family in enumerate(families)
    ]
    return _named(found, data)


@checked
@in_usual_modes
def fit_starts(
    nets: Sequence[nn.Module],
    data: Data,
    valid: Data | None = None,
    *,
    kind: str | Task | None = None,
    loss: LossFunction | None = None,
    config: FitConfig | None = None,
    report: Callable[[Epoch], None] | None = None,
    **settings: Any,
) -> list[Family]:
    """Trains a family from each of several starts, side by side in one run where that is possible.

    Starts differ more than members along λ do, so an average over them (``average(families, valid)``) predicts better than
    any one of them. Small networks train side by side for far less than one after another. What cannot run side by side (see
    ``family.stacking``) trains one after another.

    Args:
        nets: the starts, usually of one architecture: for example ``[nd.build("mlp:50", …, seed=s) for s in range(3)]``.
        data: training part, as for ``fit``.
        valid: validation part; tells the noise variance of a regression.
        kind: as for ``fit``.
        loss: as for ``fit``.
        config: all settings at once; or give them by name (see ``FitConfig``).
        report: told of every finished epoch.
        **settings: fields of ``FitConfig``.

    Returns:
        The families in the order of the starts, in evaluation mode.

    Raises:
        ConfigError: there is no start, an option is unknown or out of range, or ``patience`` was given: families side by side
            stop together.
    """
    if not nets:
        raise ConfigError("nets: the list is empty; give at least one network")
    check_columns(columns_of(data), valid, "validation part")
    config, held = settings_of(config, settings), hold(data)
    if config.patience:
        raise ConfigError(
            f"patience={config.patience}: families that train side by side stop together; leave it out"
        )
    task, _ = taken_up(nets[0], held, kind, loss)
    families = [Family(counted(task, suited(net, held)), config.family()) for net in nets]
    common: dict[str, Any] = {"kind": task, "report": report}
    if isinstance(held, Loader) or not side_by_side(families, config):
        found = [
            run(family, held, valid, config=config.changed(seed=config.seed + index), **common)
            for index, family in enumerate(families)
        ]
        return _named(found, data)
    found = run_side_by_side(families, held, config=config, **common)
    if valid is not None:
        part = admit(found[0].net, valid, found[0].task, part="validation part")[0]
        for family in found:
            learn_noise(family, part)
    return _named(found, data)


def _named(families: list[Family], data: Data) -> list[Family]:
    """Returns families that know the columns of the frame that they were trained on."""
    for family in families:
        family.columns = columns_of(data)
    return families

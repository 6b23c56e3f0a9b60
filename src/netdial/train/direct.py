"""Networks trained directly at given λ, many at once; what a family is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.family.stacking import can_stack, stack, unstack
from netdial.task import Task
from netdial.task.rehearsal import hold, suited
from netdial.train.config import FitConfig
from netdial.train.fit import fixed, run, settings_of
from netdial.train.loop import Epoch


@checked
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
    data = hold(data)
    families = [Family(suited(net, data), config.family()) for net in starts]
    if not can_stack(families):
        return [
            run(
                family,
                data,
                None,
                kind=kind,
                config=config.changed(seed=config.seed + index),
                report=report,
            )
            for index, family in enumerate(families)
        ]
    family = run(stack(families), data, None, kind=kind, config=config, report=report)
    return unstack(family, len(starts))

"""One member of a family, trained further at its own λ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.family.maps import TableMap
from netdial.objective import OBJECTIVES
from netdial.task import Task
from netdial.train.config import FitConfig
from netdial.train.fit import fixed, run, settings_of


@checked
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
    fixed(settings, ("map", "lams", "lo", "hi"), "finetune")
    if config is None:
        config = settings_of(
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
    config = config.changed(map="table", lams=(lam,), lo=family.config.lo, hi=family.config.hi)
    member = specialise(
        family, lam, objective=config.objective, freeze=config.freeze, shared=config.shared
    )
    return run(member, data, None, kind=kind, config=config)


@checked
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
        cast(TableMap, member.mean).pivots.copy_(_those_of(member, fields.mean, family))
        if member.log_std is not None:
            assert fields.log_std is not None
            cast(TableMap, member.log_std).pivots.copy_(_those_of(member, fields.log_std, family))
        if family.kept is not None:
            member.restrict(_those_of(member, family.kept, family))
    return member


def _those_of(member: Family, flat: Tensor, family: Family) -> Tensor:
    """Returns the numbers ``[..., P]`` of a family's leaves that belong to leaves of the member, too."""
    pieces = family.layout.split(flat)
    return torch.cat([pieces[name].flatten(flat.ndim - 1) for name in member.layout.names], dim=-1)

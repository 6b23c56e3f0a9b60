"""One member of a family, trained further at its own λ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.core.outputs import in_usual_modes
from netdial.data.memory import Data
from netdial.family.family import Family
from netdial.family.groups import by_name
from netdial.family.leaves import matching
from netdial.measure.noise import forget_noise
from netdial.objective import OBJECTIVES
from netdial.task import Regression, Task
from netdial.train.config import FitConfig
from netdial.train.fit import fixed, run, settings_of


@checked
@in_usual_modes
def finetune(
    family: Family,
    lam: float,
    data: Data,
    *,
    valid: Data | None = None,
    kind: str | Task | None = None,
    config: FitConfig | None = None,
    **settings: Any,
) -> Family:
    """Trains one member further at its own λ, starting from what the family gives.

    Args:
        family: the family; it is left as it is.
        lam: complexity value of the member.
        data: training part, as for ``fit``.
        valid: validation part, as for ``fit``. The noise of a regression is estimated on it anew, and not known without
            it, since training changes the errors.
        kind: the task; by default that of the family.
        config: settings (``epochs``, ``lr``, ``objective``, …); objective and prior are the family's own by default.
        **settings: fields of ``FitConfig``.

    Returns:
        A family with the single member λ. Its posterior is that of ``family``, or a point if the objective is that of
        points. What was pruned stays so.

    Raises:
        ConfigError: the objective needs a normal posterior and ``family`` has points.
    """
    fixed(settings, ("map", "lams", "lo", "hi", "posterior"), "finetune")
    if family.anchor is not None:
        family.weights_alone("finetune")
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
            f"finetune: objective={config.objective!r} needs a normal posterior, the family has points; choose from "
            f"{', '.join(OBJECTIVES.of('point'))}"
        )
    config = config.changed(map="table", lams=(lam,), lo=family.config.lo, hi=family.config.hi)
    member = specialise(
        family, lam, objective=config.objective, freeze=config.freeze, shared=config.shared
    )
    forget_noise(member)
    kind = replace(kind, curve=None) if isinstance(kind, Regression) else kind
    return run(member, data, valid, kind=kind, config=config)


@checked
@in_usual_modes
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
        objective: what it will be trained under; those of points keep the means alone. By default that of ``family``.
        freeze: patterns of parameters to freeze at their values, beside those that are frozen already.
        shared: patterns of parameters that lose their posterior, beside those that have none.

    Raises:
        ConfigError: a pattern of ``shared`` matches what was pruned in part, which nothing would hold at 0.
    """
    _check_pruned(family, freeze, shared)
    point = family.log_std is None or (objective is not None and OBJECTIVES[objective].is_point)
    config = replace(
        family.config,
        map="table",
        lams=(float(lam),),
        posterior=by_name("point" if point else "normal", _others(family, freeze, shared)),
        objective=objective or family.objective,
        freeze=(*family.config.freeze, *freeze),
        shared=(*family.config.shared, *shared),
    )
    member = Family(family.export(lam), config).to(family.device)
    member.columns = family.columns
    with torch.no_grad():
        known = family.fields_at([lam]).by_leaf()
        for path, table in member.maps.items():
            values = known[path.rpartition(".")[2]]
            flat = [values[name].reshape(len(values[name]), -1) for name in table.layout.names]
            table.pivots.copy_(torch.cat(flat, dim=1))
        if family.anchor is not None:
            rows = [family.layout.split(row) for row in family.anchor]
            names = member.layout.names
            member.anchor = torch.stack(
                [torch.cat([row[name].flatten() for name in names]) for row in rows]
            )
        if family.kept is not None:
            kept = family.layout.split(family.kept)
            flat = [
                kept[name].flatten() if name in kept else torch.ones(size, dtype=torch.bool)
                for name, size in zip(member.layout.names, member.layout.sizes, strict=True)
            ]
            member.restrict(torch.cat([part.to(family.device) for part in flat]))
    return member


def _check_pruned(family: Family, freeze: Sequence[str], shared: Sequence[str]) -> None:
    """Refuses parameters that were pruned in part and would be trained without what holds the rest at 0."""
    if family.kept is None:
        return
    loose = matching(family.net, "shared", shared) - matching(family.net, "freeze", freeze)
    kept = family.layout.split(family.kept)
    for name in kept:
        if name in loose and not bool(kept[name].all()):
            raise ConfigError(
                f"shared: {name} has weights that were pruned, and parameters without a posterior are not held at 0; leave it "
                "out, or freeze it"
            )


def _others(family: Family, freeze: Sequence[str], shared: Sequence[str]) -> dict[str, list[str]]:
    """Returns the leaves under other posteriors than that of the weights which keep it, by the posterior's name."""
    still = matching(family.net, "freeze", freeze) | matching(family.net, "shared", shared)
    return {
        name: [leaf for leaf in group.layout.names if leaf not in still]
        for name, group in family.groups.items()
    }

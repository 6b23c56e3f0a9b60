"""What structure parameters of a search by gradient minimise beside the loss: penalties, limits, structures found before.

Source of the forms in which latency enters: Wu et al. 2019 (the product), and the usual sum, hinge and Lagrangian beside it
(``structure.terms``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from netdial.structure.graph.genotype import Genotype
from netdial.structure.graph.space import SearchSpace
from netdial.structure.penalty import SizeKind, SizeShare, parse_penalty
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.limits import Constraint, SizeLimit
from netdial.structure.search.strategy import Objective
from netdial.structure.unlike import Unlike


def objective_of(
    space: SearchSpace,
    config: SearchConfig,
    limit: SizeLimit,
    unlike: Mapping[Genotype, float],
    share: Callable[[SizeKind], SizeShare],
) -> tuple[Objective, Constraint | None]:
    """Returns what is minimised, and the limit by itself where it enters by a multiplier.

    Args:
        space: the search space.
        config: settings.
        limit: limit of size.
        unlike: structures that were found before -> λ_i.
        share: kind of size -> sizes of structures, for a penalty.
    """
    apart = Unlike(space, unlike)
    constrained = config.limit_term == "constrained" and limit.target is not None
    penalty = None if config.penalty is None else parse_penalty(config.penalty)
    sizes = None if penalty is None else share(penalty.kind)
    if penalty is not None and sizes is not None:
        penalty.check(sizes)

    def objective(loss: Tensor, rows: Mapping[str, Tensor], progress: float) -> Tensor:
        if penalty is not None and sizes is not None:
            loss = penalty(loss, sizes, rows, progress)
        if unlike:
            loss = apart(loss, rows)
        return loss if constrained else limit.objective(loss, rows)

    return objective, Constraint(limit) if constrained else None

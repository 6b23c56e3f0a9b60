"""Varying: the leaves of a family as functions of λ; what is known of them, and how far that is from the prior.

A leaf is under the posterior of the weights, or in a group of its own (see ``groups``). Nothing here runs a network.

Shapes: K members, L complexity values, P numbers of the leaves under the posterior of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.arguments import checked
from netdial.core.errors import ConfigError, DataError, ShapeError, unknown
from netdial.core.inputs import InputColumns
from netdial.core.layout import Layout, Params
from netdial.core.outputs import without_casting
from netdial.family.blend import Blend
from netdial.family.config import FamilyConfig
from netdial.family.domain import Domain
from netdial.family.fields import Anchor, Fields
from netdial.family.groups import GroupFields, LeafGroup, started
from netdial.family.maps import MAPS, CentredMap, Map, MapOptions, PiecewiseMap, TableMap
from netdial.family.posteriors import POSTERIORS, Divergence
from netdial.objective import OBJECTIVES

ANCHORS = ("zero", "start")
"""What the prior can be centred on."""

_LEAST_PRECISION = 0.01
"""Of a weight that nothing is known of, in units of the mean: it may go ten times as far as the average."""


class Varying(nn.Module):
    """Maps from λ to the fields of all leaves that vary with it.

    Attributes:
        config: settings.
        domain: the range of λ.
        layout: leaves under the posterior of the weights.
        mean, log_std: maps of their fields; no ``log_std`` for points.
        groups: leaves under other posteriors, by the posterior's name.
        kept: bool ``[P]``, what was not pruned (``restrict``); None keeps all.
        anchor: centre of the prior, and the unit of distances from it, ``[2, P]``; None for zero.
        columns: those of the inputs that it was trained on; nothing is known of them once it comes from a file.
    """

    config: FamilyConfig
    domain: Domain
    layout: Layout
    mean: Map
    log_std: Map | None
    groups: Mapping[str, LeafGroup]
    kept: Tensor | None
    anchor: Tensor | None
    columns: InputColumns = InputColumns()

    def _start(
        self,
        posterior: str,
        weights: Mapping[str, Tensor],
        others: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """Starts all maps at the network's leaves.

        Args:
            posterior: that of the weights.
            weights: leaves under it.
            others: leaves under other posteriors, by its name.
        """
        log_std = self.config.log_std
        self.layout = Layout.of(weights)
        maps: dict[str, Any] = started(POSTERIORS[posterior], weights, self._map, log_std)
        self.mean, self.log_std = maps["mean"], maps.get("log_std")
        groups: Any = nn.ModuleDict(
            {name: LeafGroup(name, leaves, self._map, log_std) for name, leaves in others.items()}
        )
        self.groups = groups
        self.register_buffer("kept", None)
        self.register_buffer("anchor", self._centre(weights))

    @property
    def objective(self) -> str:
        """What the family is trained under; if nobody said, ``scaled-kl``, or ``l2`` for points."""
        return self.config.objective or ("scaled-kl" if self.log_std is not None else "l2")

    @property
    def maps(self) -> dict[str, Any]:
        """The maps of all fields, by where they stand (``get_submodule``)."""
        found: dict[str, Any] = {"mean": self.mean}
        if self.log_std is not None:
            found["log_std"] = self.log_std
        for name, group in self.groups.items():
            found |= {f"groups.{name}.maps.{field}": made for field, made in group.maps.items()}
        return found

    @property
    def spreads(self) -> list[Any]:
        """The maps of fields that are spreads."""
        of_groups = [
            group.maps[name]
            for group in self.groups.values()
            for name, field in group.posterior.fields.items()
            if field.spread
        ]
        return [self.log_std, *of_groups] if self.log_std is not None else of_groups

    @property
    def is_random(self) -> bool:
        """Whether there is something to draw: some leaf has a posterior that is no point."""
        of_groups = (g.posterior.random for g in self.groups.values())
        return self.log_std is not None or any(of_groups)

    @checked
    def lams(self, asked: int | Sequence[float]) -> list[float]:
        """Returns complexity values: those given, or so many evenly over the range, or those of a table.

        Raises:
            ConfigError: none are given, or one lies outside the trained range.
        """
        if isinstance(asked, int):
            return list(self.config.lams) or self.domain.grid(asked)
        values = [float(lam) for lam in asked]
        if not values:
            raise ConfigError("lams: the list of complexity values is empty; give at least one")
        self.domain.unit(torch.tensor(values, dtype=torch.float64))
        return values

    def fields(self, unit: Tensor) -> Fields:
        """Returns the posterior's fields of all leaves at unit coordinates ``[L]``."""
        groups = self.groups_at(unit)
        if isinstance(self.mean, PiecewiseMap | CentredMap):
            shares = self.mean.coefficients(unit).to(self.mean.pivots)
            mean, spread = Blend(shares, self.mean.pivots), None
            if isinstance(self.log_std, PiecewiseMap | CentredMap):
                spread = Blend(shares, self.log_std.pivots)
            return self._fields(mean, spread, groups)
        log_std = self.log_std(unit) if self.log_std is not None else None
        return self._fields(self.mean(unit), log_std, groups)

    def groups_at(self, unit: Tensor) -> tuple[GroupFields, ...]:
        """Returns the fields of leaves under other posteriors at unit coordinates ``[L]``."""
        return tuple(group.at(unit) for group in self.groups.values())

    def rows(self, here: slice) -> Fields:
        """Returns the fields of some rows of a table map, several of which may stand at one complexity value."""
        tables = [table for table in (self.mean, self.log_std) if isinstance(table, TableMap)]
        pivots = [table.pivots for table in tables]
        whole = here == slice(0, len(pivots[0]))
        mean, *spread = (part if whole else part[here] for part in pivots)
        groups = (group.rows(here) for group in self.groups.values())
        return self._fields(mean, spread[0] if spread else None, tuple(groups))

    @checked
    def fields_at(self, lams: Sequence[float] | Tensor) -> Fields:
        """Returns the posterior's fields at complexity values, refusing those outside the trained range."""
        return self.fields(
            self.domain.unit(torch.as_tensor(lams, dtype=torch.float64)).to(self.device)
        )

    @checked
    def restrict(self, kept: Tensor) -> None:
        """Prunes every member, for good: what is not kept is 0, without variance, divergence or gradient.

        Args:
            kept: bool ``[P]`` in the order of the layout. What was pruned before stays so.

        Raises:
            ShapeError: ``kept`` is not bool ``[P]``.
        """
        if kept.dtype != torch.bool or kept.shape != (self.layout.size,):
            raise ShapeError(
                f"restrict: kept is {kept.dtype} {list(kept.shape)}, expected torch.bool [{self.layout.size}]"
            )
        kept = kept.to(self.device)
        self.kept = kept.clone() if self.kept is None else self.kept & kept

    @checked
    def kl(self, lams: Sequence[float] | Tensor, prior_var: Tensor | None = None) -> Tensor:
        """Returns KL(posterior || prior) in nats ``[L]``.

        The prior is that of the objective unless variances ``[L]`` are given: N(0, α I), under ``scaled-prior`` N(0, α/λ I),
        under ``ard`` the one that was fitted. Leaves under other posteriors have priors of their own.
        """
        return self.divergence(lams, prior_var).nats

    def divergence(
        self, lams: Sequence[float] | Tensor, prior_var: Tensor | None = None
    ) -> Divergence:
        """Returns ``kl`` with its standard error, where the divergence of a posterior is estimated."""
        with without_casting():
            return self._divergence(lams, prior_var)

    def _divergence(self, lams: Sequence[float] | Tensor, prior_var: Tensor | None) -> Divergence:
        fields = self.fields_at(lams)
        fitted = prior_var is None and OBJECTIVES[self.objective].fitted_prior
        prior = self.prior_at(lams).to(fields.mean) if prior_var is None else prior_var
        found = Divergence(fields.relevance() if fitted else fields.kl(prior))
        lam = torch.as_tensor(lams).to(fields.mean)
        for group in fields.groups:
            found = found.plus(group.divergence(lam, prior))
        return found

    @checked
    def effective_parameters(self, lams: Sequence[float] | Tensor) -> Tensor:
        """Returns how many parameters the data determine ``[L]``, Σ (1 - σ²/s²) over the weights (MacKay 1992).

        s² is the prior's variance: α, under ``scaled-prior`` α/λ; under ``ard`` it is each number's own, μ² + σ².
        """
        with without_casting():
            fields = self.fields_at(lams)
            if OBJECTIVES[self.objective].fitted_prior:
                return fields.effective_parameters(fields.fitted_prior())
            return fields.effective_parameters(self.prior_at(lams).to(fields.mean))

    def prior_at(self, lams: Sequence[float] | Tensor) -> Tensor:
        """Returns the variance of the normal prior that members were trained under ``[L]``; α where the objective has none."""
        objective, alpha = OBJECTIVES[self.objective], self.config.prior_var
        lam = torch.as_tensor(lams, dtype=torch.float64)
        if objective.prior_var is None or objective.is_point:
            return torch.full_like(lam, alpha)
        return objective.prior_var(lam, alpha)

    def weigh_anchor(self, fisher: Params) -> None:
        """Gives each weight of an anchored family a unit of distance of its own, 1 / √precision.

        The precision is the Fisher information at the start (Kirkpatrick et al. 2017), divided by its mean over the weights, so
        that λ means on average what it means without; where it is next to nothing, a hundredth of the mean.

        Args:
            fisher: its diagonal by parameter.

        Raises:
            DataError: it is 0 everywhere.
        """
        assert self.anchor is not None
        flat = self.layout.join({name: fisher[name] for name in self.layout.names})
        mean = float(flat.mean())
        if not mean > 0:
            raise DataError(
                "old_inputs: the network's outputs depend on no weight there (the Fisher information is 0); give other inputs"
            )
        precision = _LEAST_PRECISION + (1 - _LEAST_PRECISION) * flat / mean
        self.anchor[1] = precision.rsqrt().to(self.anchor)

    def cut(self, name: str, dim: int, keep: Tensor) -> tuple[Map, Map | None]:
        """Returns the maps of the weights with one dimension of a leaf cut to the indices that survive."""
        log_std = self.log_std.cut(name, dim, keep) if self.log_std is not None else None
        return self.mean.cut(name, dim, keep), log_std

    def weights_alone(self, what: str) -> None:
        """Refuses a family that has leaves under other posteriors, for what understands weights alone.

        A prior that is centred on other weights than zero is refused alike.

        Raises:
            ConfigError: there are such leaves, or such a prior; ``what`` is who refuses them.
        """
        if self.anchor is not None:
            raise ConfigError(
                f"{what}: the prior is centred on the weights at the start (anchor='start'), and only one centred on zero "
                "is understood here; choose lam by nd.evaluate(family, valid), take family.export(lam), and go on with it"
            )
        for name, group in self.groups.items():
            names = ", ".join(map(repr, group.layout.names[:3]))
            more = ", …" if len(group.layout.names) > 3 else ""
            raise ConfigError(
                f"{what}: there are parameters with the posterior {name!r} ({names}{more}), and only weights under one "
                "posterior, normal or point, are understood here; choose lam by nd.evaluate(family, valid), take "
                "family.export(lam), and go on with that network"
            )

    @property
    def like(self) -> Tensor:
        """A tensor of the number type and on the device of the leaves."""
        mean: Any = self.mean
        found: Tensor = next(mean.parameters()).detach()
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the leaves."""
        return self.like.dtype

    @property
    def device(self) -> torch.device:
        """Where the leaves are."""
        return self.like.device

    def _fields(
        self,
        mean: Tensor | Blend,
        log_std: Tensor | Blend | None,
        groups: tuple[GroupFields, ...],
    ) -> Fields:
        anchor = None if self.anchor is None else Anchor(*self.anchor)
        return Fields(self.layout, mean, log_std, self.kept, anchor=anchor, groups=groups)

    def _centre(self, weights: Mapping[str, Tensor]) -> Tensor | None:
        """Returns the first value of ``anchor``: the weights at the start, all in units of 1."""
        if self.config.anchor not in ANCHORS:
            raise unknown("anchor", self.config.anchor, ANCHORS)
        if self.config.anchor == "zero":
            return None
        start = self.layout.join({name: leaf.detach().clone() for name, leaf in weights.items()})
        return torch.stack([start, torch.ones_like(start)])

    def _map(self, layout: Layout, start: Tensor, additive: bool) -> Any:
        config = self.config
        options = MapOptions(
            regions=config.regions,
            hidden=config.hidden,
            rows=self._rows,
            additive=additive,
            seed=config.seed,
        )
        return MAPS[config.map].start(layout, start, options)

    @property
    def _rows(self) -> tuple[float, ...]:
        """Unit coordinates of directly trained networks; none unless the map is a table."""
        lams = self.config.lams if self.config.map == "table" else ()
        return tuple(self.domain.unit(torch.tensor(lams, dtype=torch.float64)).tolist())

"""Groups of leaves: leaves under a posterior of their own, beside the weights.

All leaves that no pattern names have the posterior of the family, and their fields are one flat piece (``posterior.Fields``).
Leaves that a pattern puts under another posterior make a group, with maps of their own for each field over the same λ.

Shapes: K members, L complexity values, P numbers of the leaves of a group.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.core.layout import Layout, Params
from netdial.core.noise import Noise
from netdial.family.leaves import exactly, matching
from netdial.family.maps import TableMap
from netdial.family.posteriors import POSTERIORS, WEIGHTS, Divergence, Posterior, Values

MakeMap = Callable[[Layout, Tensor, bool], nn.Module]
"""(layout, start ``[P]``, additive) -> map."""

DEFAULT = "*"
"""The pattern of all leaves that no other pattern names."""


class GroupFields(NamedTuple):
    """Fields of K members of one group: by name, ``[K, P]`` each."""

    posterior: Posterior
    layout: Layout
    values: Values

    @property
    def members(self) -> int:
        """K."""
        return next(iter(self.values.values())).shape[0]

    def member(self, row: int) -> GroupFields:
        """Returns the fields of one member."""
        return self._replace(
            values={name: field[row : row + 1] for name, field in self.values.items()}
        )

    def means(self) -> Params:
        """Returns the values that exported members have, ``name -> [K, *shape]``."""
        return {name: self.posterior.mean(fields) for name, fields in self._leaves().items()}

    def sample(self, noise: Noise, temperature: float | None = None) -> Params:
        """Returns one draw for each member, ``name -> [K, *shape]``; by default at the temperature of training."""
        at = self.posterior.temperature if temperature is None else temperature
        found = self._leaves().items()
        return {name: self.posterior.sample(fields, noise, at) for name, fields in found}

    def divergence(self, lam: Tensor, prior_var: Tensor, noise: Noise | None = None) -> Divergence:
        """Returns KL(posterior || prior), summed over leaves.

        Args:
            lam: complexity values ``[K]``.
            prior_var: variances of the prior of weights ``[K]``.
            noise: random numbers, where it is an estimate; by default the same at every call and for every member.
        """
        noise = noise or Noise(0, 0, [0] * self.members, device=lam.device)
        parts = [
            self.posterior.kl(fields, lam, prior_var, noise) for fields in self._leaves().values()
        ]
        return functools.reduce(Divergence.plus, parts)

    def _leaves(self) -> dict[str, dict[str, Tensor]]:
        """Returns the fields of each leaf, ``name -> field -> [K, *shape]``."""
        split = {field: self.layout.split(flat) for field, flat in self.values.items()}
        return {
            name: {field: leaves[name] for field, leaves in split.items()}
            for name in self.layout.names
        }


class LeafGroup(nn.Module):
    """Leaves under one posterior: a map for each of its fields.

    Args:
        name: name of the posterior.
        leaves: the network's leaves, where members start.
        make: makes a map.
        log_std: the setting of that name.
    """

    def __init__(
        self, name: str, leaves: Mapping[str, Tensor], make: MakeMap, log_std: float
    ) -> None:
        super().__init__()
        self.posterior = POSTERIORS[name]
        self.layout = Layout.of(leaves)
        self.maps = nn.ModuleDict(started(self.posterior, leaves, make, log_std))

    def at(self, unit: Tensor) -> GroupFields:
        """Returns the fields at unit coordinates ``[L]``."""
        values = {field: here(unit) for field, here in self.maps.items()}
        return GroupFields(self.posterior, self.layout, values)

    def rows(self, here: slice) -> GroupFields:
        """Returns the fields of some rows of a table."""
        values = {
            field: table.pivots[here]
            for field, table in self.maps.items()
            if isinstance(table, TableMap)
        }
        return GroupFields(self.posterior, self.layout, values)


def started(
    posterior: Posterior, leaves: Mapping[str, Tensor], make: MakeMap, log_std: float
) -> dict[str, nn.Module]:
    """Returns the maps of a posterior's fields, each at its start for every λ."""
    layout, found = Layout.of(leaves), {}
    for name, field in posterior.fields.items():
        start = layout.join(
            {leaf: field.start(value.detach(), log_std) for leaf, value in leaves.items()}
        )
        found[name] = make(layout, start, field.additive)
    return found


def grouped(
    net: nn.Module,
    leaves: Mapping[str, Tensor],
    posterior: str | Mapping[str, str],
    default: str,
) -> tuple[str, dict[str, dict[str, Tensor]]]:
    """Returns the posterior of the weights, and the leaves of every other posterior by its name.

    Args:
        net: the network.
        leaves: leaves that vary with λ.
        posterior: a name, or names by pattern (see ``leaves``); ``*`` stands for all that no other pattern names.
        default: posterior of the weights where ``posterior`` does not say.

    Raises:
        ConfigError: a name is unknown, a pattern means nothing or only leaves that do not vary, two patterns differ about a
            leaf, or no weights are left.
    """
    by_pattern = {DEFAULT: posterior} if isinstance(posterior, str) else dict(posterior)
    default = by_pattern.pop(DEFAULT, default)
    if default not in WEIGHTS:
        raise ConfigError(
            f"posterior={default!r}; allowed: {', '.join(WEIGHTS)}, and for some of the parameters others by pattern, for "
            f"example posterior={{'gate': {default!r}}}"
        )
    named: dict[str, str] = {}
    for pattern, name in by_pattern.items():
        POSTERIORS[name]
        meant = matching(net, "posterior", [pattern]) & leaves.keys()
        if not meant:
            raise ConfigError(
                f"posterior: {pattern!r} means parameters that are frozen or shared, which have no posterior; leave it out"
            )
        for leaf in sorted(meant):
            if named.setdefault(leaf, name) != name:
                raise ConfigError(
                    f"posterior: parameter {leaf!r} is meant by patterns of {named[leaf]!r} and of {name!r}; give it one"
                )
    found: dict[str, dict[str, Tensor]] = {}
    for leaf, value in leaves.items():
        if named.get(leaf, default) != default:
            found.setdefault(named[leaf], {})[leaf] = value
    if sum(map(len, found.values())) == len(leaves):
        raise ConfigError(
            f"posterior: all {len(leaves)} parameters are under {', '.join(found)}; leave some weights under "
            f"{' or '.join(WEIGHTS)}"
        )
    return default, found


def by_name(posterior: str, others: Mapping[str, Iterable[str]]) -> str | dict[str, str]:
    """Returns the posteriors of leaves as a setting that means the same leaves in any network of the architecture.

    Args:
        posterior: that of the weights.
        others: names of the leaves under other posteriors, by its name.
    """
    named = {pattern: name for name, leaves in others.items() for pattern in exactly(leaves)}
    return {DEFAULT: posterior, **named} if named else posterior


def random_points(
    layouts: Sequence[Layout], members: int, source: torch.Generator, like: Tensor
) -> list[GroupFields]:
    """Returns groups whose members have random values, to compare ways of running a network."""
    return [
        GroupFields(
            POSTERIORS["point"],
            layout,
            {"mean": torch.randn(members, layout.size, generator=source).to(like) * 0.3},
        )
        for layout in layouts
    ]

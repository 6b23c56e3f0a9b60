"""Networks in training whose weights move along λ: whole ones, and those of shared tracks; and the family as their teacher.

A module here runs as one member at a time. In training mode every call takes the next λ of a sequence that covers the range
evenly (multiples of the golden ratio, every third one at a knot), and the teacher follows: both look at the same dial.

Shapes: J knots, P numbers of the leaves, k tracks of a leaf, N examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from netdial.compression.tracks import Track
from netdial.core.layout import Layout, Params
from netdial.family.family import Family
from netdial.family.maps.basis import hats
from netdial.nets.foreign import copy_network, refresh

_GOLDEN = (math.sqrt(5) - 1) / 2
_AT_KNOT = 3
"""One call in so many is at a knot."""

INNER = "inner."
"""What comes before the names of leaves."""


class Dial:
    """Where in the range of log λ the members are that run now: a coordinate 0 … 1, the same for a network and its teacher."""

    def __init__(self) -> None:
        self.unit = 0.0

    def __deepcopy__(self, memo: Any) -> Dial:
        return self


class Teacher(nn.Module):
    """A family as a network: its member at the dial."""

    def __init__(self, family: Family, dial: Dial) -> None:
        super().__init__()
        self.family, self.dial = family, dial

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs of the member."""
        lam = lam_at(self.family, self.dial.unit)
        return self.family.outputs(self.family.at(lam), x, lam)


class Moving(nn.Module):
    """A network whose weights move along λ."""

    def __init__(self, inner: nn.Module, knots: int, dial: Dial) -> None:
        super().__init__()
        self.inner, self.knots, self.dial = inner, knots, dial
        self.turn: Tensor
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the outputs of the member at the dial, which moves on in training."""
        if self.training:
            self.turn += 1
            self.dial.unit = self.unit_of(int(self.turn))
        return cast(Tensor, functional_call(self.inner, self.weights(self.dial.unit), (x,)))

    def unit_of(self, turn: int) -> float:
        """Returns the coordinate of a call, counted from 1."""
        unit = turn * _GOLDEN % 1.0
        return unit if turn % _AT_KNOT else round(unit * (self.knots - 1)) / (self.knots - 1)

    def share(self, unit: float) -> Tensor:
        """Returns the weights of the knots ``[J]`` at a coordinate."""
        like = next(self.parameters())
        return hats(torch.tensor([unit], dtype=torch.float64), self.knots - 1)[0].to(like)

    def weights(self, unit: float) -> Params:
        """Returns the leaves at a coordinate."""
        raise NotImplementedError

    def member(self, unit: float) -> nn.Module:
        """Returns the member at a coordinate as an ordinary network."""
        net = copy_network(self.inner)
        with torch.no_grad():
            for name, tensor in self.weights(unit).items():
                net.get_parameter(name).copy_(tensor)
        return refresh(net.eval())


class WholeMoving(Moving):
    """Every weight has a mean over the knots, which is the parameter of ``inner``, and moves ``[J, P]``; 0 where the mean is 0.

    Args:
        inner: network that holds the means.
        moves: how far each number is from its mean.
        sparse: names of the leaves that may become sparse.
        dial: where it runs.
    """

    def __init__(
        self, inner: nn.Module, moves: Tensor, sparse: tuple[str, ...], dial: Dial
    ) -> None:
        super().__init__(inner, len(moves), dial)
        self.layout, self.sparse = layout_of(inner), sparse
        self.moves = nn.Parameter(moves)

    @classmethod
    def of(cls, family: Family, pivots: Tensor, sparse: tuple[str, ...], dial: Dial) -> WholeMoving:
        """Returns the network of a family whose leaves at the knots are ``[J, P]``."""
        inner = copy_network(family.net)
        for leaf in inner.parameters():
            leaf.requires_grad_(leaf.is_floating_point())
        layout, means = layout_of(inner), pivots.mean(dim=0)
        with torch.no_grad():
            for name, mean in layout.split(means).items():
                inner.get_parameter(name).copy_(mean)
        return cls(inner, pivots - means, sparse, dial)

    def weights(self, unit: float) -> Params:
        """Returns the leaves at a coordinate."""
        found = {}
        for name, move in self.layout.split(self.share(unit) @ self.moves).items():
            mean: Tensor = self.inner.get_parameter(name)
            found[name] = mean + (move * (mean.detach() != 0) if name in self.sparse else move)
        return found

    def tracks(self) -> Params:
        """Returns the leaves at the knots ``[J, ...]``."""
        knots = [self.weights(j / (self.knots - 1)) for j in range(self.knots)]
        return {name: torch.stack([one[name] for one in knots]).detach() for name in knots[0]}


class SharedMoving(Moving):
    """Weights share tracks, of a mean ``[k]`` and moves ``[k, J]``; other leaves move by themselves."""

    def __init__(
        self, inner: nn.Module, shared: Mapping[str, Track], whole: Params, knots: int, dial: Dial
    ) -> None:
        super().__init__(inner, knots, dial)
        like = next(inner.parameters())
        for leaf in inner.parameters():
            leaf.requires_grad_(False)
        self._names, self._whole = tuple(shared), tuple(whole)
        values = [torch.from_numpy(one.values).to(like) for one in shared.values()]
        means = [v.mean(dim=1) for v in values] + [leaf.mean(dim=0) for leaf in whole.values()]
        off = [v - v.mean(dim=1, keepdim=True) for v in values]
        off += [leaf - leaf.mean(dim=0) for leaf in whole.values()]
        self.means = nn.ParameterList([nn.Parameter(m.clone()) for m in means])
        self.moves = nn.ParameterList([nn.Parameter(m.clone()) for m in off])
        for number, one in enumerate(shared.values()):
            self.register_buffer(
                f"codes{number}", torch.from_numpy(one.codes).long().to(like.device)
            )

    def weights(self, unit: float) -> Params:
        """Returns the leaves at a coordinate."""
        share, found = self.share(unit), dict[str, Tensor]()
        for number, name in enumerate((*self._names, *self._whole)):
            mean, moves = self.means[number], self.moves[number]
            if number < len(self._names):
                values = torch.cat([mean.new_zeros(1), mean + moves @ share])
                found[name] = values[self.get_buffer(f"codes{number}")]
            else:
                found[name] = mean + torch.tensordot(share, moves, dims=1)
        return found

    def tracks(self) -> dict[str, Track | Tensor]:
        """Returns the leaves: codes and tracks, or what others are at the knots ``[J, ...]``."""
        found: dict[str, Track | Tensor] = {}
        for number, name in enumerate((*self._names, *self._whole)):
            mean, moves = self.means[number].detach(), self.moves[number].detach()
            if number < len(self._names):
                codes = self.get_buffer(f"codes{number}").cpu().numpy().astype("int32")
                found[name] = Track(codes, (mean[:, None] + moves).double().cpu().numpy())
            else:
                found[name] = mean + moves
        return found


def layout_of(net: nn.Module) -> Layout:
    """Returns the layout of the numbers of a network that can move."""
    return Layout.of({n: p for n, p in net.named_parameters() if p.is_floating_point()})


def lam_at(family: Family, unit: float) -> float:
    """Returns the complexity value of a coordinate."""
    lam = float(family.domain.lam(torch.tensor(unit)))
    return min(max(lam, family.config.lo), family.config.hi)


def pivots_of(family: Family, knots: int) -> Tensor:
    """Returns the leaves of members at knots evenly apart, flat ``[J, P]``."""
    layout = layout_of(family.net)
    rows = [family.at(lam_at(family, j / (knots - 1))) for j in range(knots)]
    return torch.stack([layout.join({n: row[n] for n in layout.names}) for row in rows])

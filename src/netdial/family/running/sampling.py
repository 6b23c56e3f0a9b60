"""Weight samples of all members at once, drawn before the network runs.

How a leaf is used decides how it is drawn. A linear layer that a network uses once draws pre-activations (``local``);
everything else draws a weight. ``DrawPlan`` says which leaves are which, and the
weights are drawn in one piece: one call for each group's generator, one pass over means and variances, however many leaves
there are.

Shapes: K members, P numbers of the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from netdial.core.layout import Layout, Params
from netdial.core.noise import Noise
from netdial.family.running.local import weights
from netdial.family.running.mode import Leaf, MemberMode


class Stretch(NamedTuple):
    """Neighbouring leaves that are drawn in the same way: as weights, or where the network uses them."""

    layout: Layout
    drawn: bool


class DrawPlan:
    """How the leaves of a layout are drawn.

    Args:
        layout: the leaves.
        local: names of leaves that are drawn where the network uses them.
        numbers: numbers that a run of the network makes for an example.
    """

    def __init__(self, layout: Layout, local: Collection[str], numbers: int = 0) -> None:
        self.numbers = numbers
        shapes = dict(zip(layout.names, layout.shapes, strict=True))
        self.stretches = []
        for is_local, found in groupby(layout.names, key=lambda name: name in local):
            names = tuple(found)
            part = Layout(names, tuple(shapes[name] for name in names))
            self.stretches.append(Stretch(part, not is_local))

    def drawn(self, means: Tensor, variances: Tensor, noise: Noise) -> list[Tensor]:
        """Returns, for each stretch, weights ``[K, p]``, or means and variances ``[K, p]``, one after another."""
        sizes = [stretch.layout.size for stretch in self.stretches]
        wanted = [
            size for size, stretch in zip(sizes, self.stretches, strict=True) if stretch.drawn
        ]
        eps: list[Tensor] = []
        if wanted:
            eps = list(noise.normal(sum(wanted), dtype=means.dtype).split(wanted, dim=1))
        found: list[Tensor] = []
        parts = zip(means.split(sizes, dim=1), variances.split(sizes, dim=1), strict=True)
        for stretch, (mean, var) in zip(self.stretches, parts, strict=True):
            found += [weights(mean, var, eps.pop(0))] if stretch.drawn else [mean, var]
        return found

    def leaves(self, tensors: Sequence[Tensor]) -> dict[str, Leaf]:
        """Returns the leaves in tensors as ``drawn`` gave them, of all K members or of some."""
        rest, found = iter(tensors), dict[str, Leaf]()
        for stretch in self.stretches:
            first = stretch.layout.split(next(rest))
            second: Params = {} if stretch.drawn else stretch.layout.split(next(rest))
            found |= {name: Leaf(value, second.get(name)) for name, value in first.items()}
        return found


class Prepared(NamedTuple):
    """What members put in place of the network's leaves.

    Attributes:
        tensors: everything that gradients go to, ``[K, ...]`` each.
        plan: how the leaves lie in the first of them; None if these are means alone.
        layout: the leaves.
        others: names of leaves under other posteriors, whose values are the last of the tensors.
    """

    tensors: list[Tensor]
    plan: DrawPlan | None
    layout: Layout
    others: tuple[str, ...]

    @classmethod
    def of(
        cls,
        layout: Layout,
        flats: tuple[Tensor, Tensor | None],
        plan: DrawPlan | None,
        noise: Noise | None,
        others: Mapping[str, Tensor],
    ) -> Prepared:
        """Returns what is drawn now of means and variances ``[K, P]``; ``others`` are drawn already."""
        means, variances = flats
        if noise is None or variances is None or plan is None:
            tensors, plan = [means], None
        else:
            tensors = plan.drawn(means, variances, noise)
        return cls([*tensors, *others.values()], plan, layout, tuple(others))

    def leaves(self, tensors: Sequence[Tensor]) -> dict[str, Leaf]:
        """Returns the leaves in ``tensors``, or in others that stand for them."""
        count = len(tensors) - len(self.others)
        if self.plan is None:
            split = self.layout.split(tensors[0])
            found = {name: Leaf(value, None) for name, value in split.items()}
        else:
            found = self.plan.leaves(tensors[:count])
        rest = zip(self.others, tensors[count:], strict=True)
        return found | {name: Leaf(value, None) for name, value in rest}


class Rehearsal(MemberMode):
    """Watches a run of one member, whose values do not matter, for how its leaves are used.

    Args:
        leaves: placeholders by name.
        examples: b.
        device: where they are.
    """

    def __init__(self, leaves: Params, examples: int, device: torch.device) -> None:
        values = {n: (p, Leaf(p[None], torch.zeros_like(p[None]))) for n, p in leaves.items()}
        super().__init__(values, examples=examples, shared=1, noise=Noise(0, 0, [0], device))
        self._examples_seen = max(examples, 1)
        self._numbers = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = super().__torch_function__(func, types, args, kwargs)
        if isinstance(made, Tensor):
            self._numbers += made.numel()
        return made

    def plan(self, layout: Layout) -> DrawPlan:
        """Returns how the leaves of a layout are drawn: where they are used, if that is one linear layer once an example."""
        local = {name for name, times in self.local.items() if times == 1} - self.drawn
        return DrawPlan(layout, local, self._numbers // self._examples_seen)

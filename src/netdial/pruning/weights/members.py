"""Running pruned members: all complexity values and shares on the same data, in as few products as possible.

Members run side by side where the network allows it (see ``family.running.mode``), as many at once as memory should hold, on
batches so small that what a layer writes is still in the cache when the next one reads it. In the first layer all levels of
a member share their products (``nested``). Other networks run one member after another, as they would be exported.

Shapes: K members, S levels (shares in rising order), P numbers of the leaves, b examples of a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from netdial.core.layout import Params
from netdial.core.outputs import without_gradients
from netdial.data.dataset import Dataset
from netdial.family.family import Family
from netdial.family.running.mode import Leaf, MemberMode
from netdial.measure.members import Members
from netdial.pruning.weights.constants import Constants
from netdial.pruning.weights.nested import FirstLayer, NestedLinear, Product, is_worthwhile
from netdial.pruning.weights.refit import Refit

_NUMBERS = 4_000_000
"""Most leaves that are held at once, over members and levels."""
_OUTPUTS = 40_000_000
"""Most outputs that are held at once, over members, levels and data."""
_CACHEFUL = 600_000
"""Numbers that a layer should write for one batch of members side by side."""
_ALONE = 16_000_000
"""Numbers that a layer may write for one batch of a single member."""
_SMALLEST, _LARGEST = 64, 2048
"""Examples of a batch."""


@dataclass(frozen=True, eq=False)
class Levels:
    """K members of a family at S levels of pruning.

    Attributes:
        family: the family.
        lams: complexity values of the members.
        mean: their mean weights before anything is removed ``[K, P]``.
        survival: how many levels each number survives ``[K, P]``.
        count: S.
        constants: weights that leave something to a bias when they are removed.
        refit: makes what is left up for what is not, in the members that are selected; None to leave it as it is.
        refitted: the weights after that ``[K, S, P]``.
    """

    family: Family
    lams: tuple[float, ...]
    mean: Tensor
    survival: Tensor
    count: int
    constants: Constants | None = None
    refit: Refit | None = None
    refitted: Tensor | None = None

    def select(self, members: slice) -> Levels:
        """Returns some of the members, refit if they are to be."""
        found = replace(
            self,
            lams=self.lams[members],
            mean=self.mean[members],
            survival=self.survival[members],
        )
        return found if self.refit is None else replace(found, refitted=found._refit(self.refit))

    def groups(self, numbers: int = 0) -> list[slice]:
        """Returns groups of members that fit into memory, when ``numbers`` are kept of each member at each level."""
        of_leaves = _NUMBERS // (self.count * self.family.layout.size)
        of_outputs = _OUTPUTS // (self.count * max(numbers, 1))
        step = max(1, min(of_leaves, of_outputs))
        return [slice(start, start + step) for start in range(0, len(self.lams), step)]

    def kept(self) -> Tensor:
        """Returns what stays, bool ``[K, S, P]``."""
        steps = torch.arange(self.count, device=self.survival.device, dtype=self.survival.dtype)
        return self.survival[:, None] > steps[:, None]

    def weights(self, noise: Tensor | None = None) -> Tensor:
        """Returns the weights of all levels ``[K, S, P]``: means, plus noise ``[K, P]`` where weights stay."""
        kept, noise = self.kept(), noise if noise is None else noise[:, None]
        if self.refitted is not None:
            return self.refitted if noise is None else self.refitted + noise * kept
        return self._weights(self.mean[:, None], noise, kept)

    def weights_of(self, member: int, level: int, noise: Tensor | None = None) -> Tensor:
        """Returns the weights of one member at one level ``[P]``."""
        of_member, kept = noise if noise is None else noise[member], self.survival[member] > level
        if self.refitted is not None:
            found = self.refitted[member, level]
            return found if of_member is None else found + of_member * kept
        return self._weights(self.mean[member], of_member, kept)

    def _weights(self, mean: Tensor, noise: Tensor | None, kept: Tensor) -> Tensor:
        found = mean * kept if self.constants is None else self.constants.fold(mean, kept)
        return found if noise is None else found + noise * kept

    @torch.no_grad()
    def _refit(self, refit: Refit) -> Tensor:
        """Returns the weights ``[K, S, P]``, refit at each level that took something away."""
        found, kept, layout = self.weights().clone(), self.kept(), self.family.layout
        for k, lam in enumerate(self.lams):
            whole, pruned = self.family.export(lam), self.family.export(lam)
            leaves = {name: pruned.get_parameter(name) for name in layout.names}
            for level in range(self.count):
                if bool((found[k, level] == self.mean[k]).all()):
                    continue
                for name, weight in layout.split(found[k, level]).items():
                    leaves[name].copy_(weight)
                refit(whole, pruned, layout.split(kept[k, level]))
                found[k, level] = layout.join(leaves)
        return found


def pieces(levels: Levels, data: Dataset) -> list[Dataset]:
    """Returns the data as batches of a size that suits the members."""
    family = levels.family
    widest = _widest(family, levels.lams[0], _inputs(_slice(data, 0, 2), family))
    if _side_by_side(levels, data):
        together = len(levels.lams) * levels.count
        size = _CACHEFUL // (together * widest) // _SMALLEST * _SMALLEST
        size = min(max(size, _SMALLEST), _LARGEST)
    else:
        size = min(max(_ALONE // widest, _SMALLEST), _LARGEST)
    return [_slice(data, start, start + size) for start in range(0, len(data), size)]


@torch.no_grad()
def run(levels: Levels, data: Sequence[Dataset], noise: Tensor | None = None) -> Iterator[Tensor]:
    """Yields the outputs ``[K S, b, ...]`` of all members and levels, batch by batch.

    Args:
        levels: the members.
        data: batches.
        noise: what a draw adds to the mean weights ``[K, P]``.
    """
    family = levels.family
    with family.evaluating():
        if _side_by_side(levels, data[0]):
            yield from _run_together(levels, data, noise)
            return
        members = Members(family)
        for part in data:
            x = _inputs(part, family)
            with without_gradients():
                found = [
                    members.alone(x.clone(), levels.weights_of(k, level, noise), lam)
                    for k, lam in enumerate(levels.lams)
                    for level in range(levels.count)
                ]
            yield torch.stack(found)


def n_outputs(levels: Levels, data: Dataset) -> int:
    """Returns how many numbers a member puts out for one example."""
    x = _inputs(_slice(data, 0, 2), levels.family)
    with without_gradients():
        return int(levels.family.export(levels.lams[0])(x).numel()) // len(x)


def _run_together(
    levels: Levels, data: Sequence[Dataset], noise: Tensor | None
) -> Iterator[Tensor]:
    """Runs all members at once; the template network sees leaves ``[K S, *shape]`` and ``MemberMode`` interprets them."""
    family, together = levels.family, len(levels.lams) * levels.count
    weights = family.layout.split(levels.weights(noise).flatten(0, 1))
    leaves = {name: Leaf(leaf.contiguous(), None) for name, leaf in weights.items()}
    tree = {**_shared(family, levels.lams[0]), **{name: leaf.mean for name, leaf in leaves.items()}}
    products = {} if levels.refitted is not None else _products(levels, noise, tree)
    placed = {name: (leaf.mean, leaf) for name, leaf in leaves.items()}
    for part in data:
        mode = MemberMode(placed, examples=len(part), shared=1, noise=None)
        with without_gradients(), FirstLayer(mode, products, len(part)):
            out = functional_call(family.net, tree, (_inputs(part, family),))
        yield out.unflatten(0, (together, -1))


def _products(levels: Levels, noise: Tensor | None, tree: Params) -> dict[int, Product]:
    """Returns the nested product of every matrix that it pays for, by the id of its placeholder; made when first used."""
    layout = levels.family.layout
    flat = levels.mean if noise is None else levels.mean + noise
    weights, survival = layout.split(flat), layout.split(levels.survival)
    return {
        id(tree[name]): _Late(weights[name], survival[name], levels.count)
        for name in layout.names
        if weights[name].ndim == 3 and is_worthwhile(weights[name], survival[name], levels.count)
    }


class _Late:
    """A ``NestedLinear`` that is made when it is first used: which layer meets the data is seen only then."""

    def __init__(self, weight: Tensor, levels: Tensor, count: int) -> None:
        self._weight, self._levels, self._count = weight, levels, count

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return self._layer(x, bias)

    @functools.cached_property
    def _layer(self) -> NestedLinear:
        return NestedLinear(self._weight, self._levels, self._count)


def _side_by_side(levels: Levels, data: Dataset) -> bool:
    """Returns whether all members can run at once, and gain by it: convolutions do not share anything."""
    family = levels.family
    numbers = len(levels.lams) * levels.count * family.layout.size
    small = numbers <= _NUMBERS and all(len(shape) <= 2 for shape in family.layout.shapes)
    return small and family.side_by_side(_inputs(_slice(data, 0, 2), family), 1, 2)


def _widest(family: Family, lam: float, x: Tensor) -> int:
    """Returns the most numbers that a layer with leaves writes for one example."""
    net, sizes = family.export(lam), [1]
    owners = {name.rpartition(".")[0] for name in family.layout.names}

    def look(module: nn.Module, args: object, out: object) -> None:
        if isinstance(out, Tensor):
            sizes.append(out.numel() // len(x))

    for name, module in net.named_modules():
        if name in owners:
            module.register_forward_hook(look)
    with without_gradients():
        net(x)
    return max(sizes)


def _shared(family: Family, lam: float) -> Params:
    """Returns the parameters that are the same for every λ."""
    return {name: leaf for name, leaf in family.at(lam).items() if name not in family.layout.names}


def _slice(data: Dataset, start: int, stop: int) -> Dataset:
    weight = None if data.weight is None else data.weight[start:stop]
    return replace(data, x=data.x[start:stop], y=data.y[start:stop], weight=weight)


def _inputs(data: Dataset, family: Family) -> Tensor:
    """Returns inputs on the family's device and, unless they are integers, of its type; memory of their own, to be changed."""
    return data.inputs(like=family.like).clone()

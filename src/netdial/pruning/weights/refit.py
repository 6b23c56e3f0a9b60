"""Lets the weights that are left make up for those that went: least squares, one layer after the other, without labels.

With y what a layer makes in the network before, W x + b, and x' what it reads now that layers before it were pruned and refit,
the weights W' that are left and the bias b' are

    argmin Σ ‖y - W' x' - b'‖² + ε N Σ_i v_i ‖W'_i - W_i‖²        over W' that are 0 where weights went

with v the variances of x' and ε small; every row of W' is a system of its own (Dong, Chen, Pan 2017, §3, there with what the
layer read before). All rows are solved at once by conjugate gradients: the products of x' are the same for all, and only the
places that are left differ. A row whose bias went stays as it is; a bias that is no leaf of the family (frozen, shared) stays,
and weights give what it does not. Linear layers and convolutions of one group that run once are refit, and nothing else.

Shapes: O outputs, I inputs of a layer (of a patch, for a convolution).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.core.layout import holders
from netdial.core.noise import generator
from netdial.core.outputs import evaluating
from netdial.data.dataset import Dataset
from netdial.pruning.moments import BATCH, LINES, WIDEST, Moments, held_by

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NUMBERS = 1 << 22
"""Numbers of patches that are held at once."""
_SPARE = 4
"""Lines of a batch, for each that it takes in all: positions of one image are alike."""
_STEPS, _ENOUGH = 300, 1e-10
"""Steps of conjugate gradients at most; part of the first error at which they end."""


class Refit:
    """Refits pruned networks to what they were, on some training inputs.

    Args:
        data: training inputs.
        seed: which of them.
    """

    def __init__(self, data: Dataset, seed: int = 0) -> None:
        self._data = data
        self._rows = torch.randperm(len(data), generator=generator(seed, "refit"))
        self._first: tuple[Tensor, Moments] | None = None

    def __call__(self, whole: nn.Module, pruned: nn.Module, kept: Mapping[str, Tensor]) -> None:
        """Changes what is left of a network in place.

        Args:
            whole: the network before.
            pruned: the same with zeros where weights went.
            kept: what is left of each parameter that may be changed.
        """
        with evaluating(whole, pruned):
            for place, name in enumerate(self._layers(whole, kept)):
                self._refit(whole, pruned, name, kept, is_first=not place)

    def _layers(self, net: nn.Module, kept: Mapping[str, Tensor]) -> list[str]:
        """Returns the layers that can be refit, in the order in which they run."""
        held, calls = holders(net), list[str]()
        with ExitStack() as hooks:
            for name, layer in net.named_modules():
                if (
                    type(layer) in _LAYERS
                    and f"{name}.weight" in kept
                    and held[id(layer.weight)] == 1
                    and getattr(layer, "groups", 1) == 1
                    and 0 < layer.weight.numel() <= WIDEST * len(layer.weight)
                ):
                    note = _noting(calls, name)
                    hooks.callback(layer.register_forward_pre_hook(note).remove)
            net(self._inputs(net, self._rows[:2]))
        return [name for name in dict.fromkeys(calls) if calls.count(name) == 1]

    def _inputs(self, net: nn.Module, rows: Tensor) -> Tensor:
        return self._data.inputs(rows.to(self._data.x.device), like=next(net.parameters()))

    def _refit(
        self,
        whole: nn.Module,
        pruned: nn.Module,
        name: str,
        kept: Mapping[str, Tensor],
        *,
        is_first: bool,
    ) -> None:
        layer: Any = pruned.get_submodule(name)
        left = kept[f"{name}.weight"].flatten(1).cpu()
        start = layer.weight.detach().flatten(1).cpu().double()
        width = start.shape[1] if is_first else int(left.sum(1).max())
        moments = self._moments(whole, pruned, name, width, is_first=is_first)
        if moments is None:
            return
        bias = kept.get(f"{name}.bias")
        if bias is not None:
            left = left & bias.cpu()[:, None]
        inner, cross = moments.products(centred=bias is not None)
        if bias is None and layer.bias is not None:  # it stays, so weights give what it does not
            held = layer.bias.detach().cpu().double()
            cross = cross - torch.outer(held, moments.means(centred=True)[0])
        found = solve(inner, cross, start, left)
        if not found.isfinite().all():
            return
        layer.weight.copy_(found.view_as(layer.weight))
        if bias is not None:
            read, wanted = moments.means(centred=True)
            layer.bias.copy_(torch.where(bias.cpu(), wanted - found @ read, layer.bias.cpu()))

    def _moments(
        self, whole: nn.Module, pruned: nn.Module, name: str, width: int, *, is_first: bool
    ) -> Moments | None:
        """Returns the sums of what a layer reads now and made before; None if the pruned network does not come to it.

        Inputs are as many as it takes to fit ``width`` weights of a row. The first layer reads the data in every network,
        so its sums are made once, and of inputs that are enough for all of its weights.
        """
        layer, found = whole.get_submodule(name), Moments()
        for index in self._rows.split(BATCH):
            was, now = (
                _read(net, name, self._inputs(net, index).clone()) for net in (whole, pruned)
            )
            if was is None or now is None or _is_other(layer, now):
                return None
            if is_first and not found.count and torch.equal(was, now):
                if self._first is not None and torch.equal(self._first[0], now):
                    return _made_by(layer, self._first[1])
                self._first = now, found
            for x, y in _pairs(layer, now, was, most=_SPARE * LINES * width):
                found.add(y, x)
            found.rows += len(index)
            if found.are_enough(width):
                break
        return found


def solve(inner: Tensor, cross: Tensor, start: Tensor, left: Tensor) -> Tensor:
    """Returns the W ``[O, I]`` that differs from ``start`` where weights are left, and gives what is wanted best.

    It minimises ``tr(W inner Wᵀ) - 2 tr(W crossᵀ) + Σ_i h_i ‖W_i - start_i‖²`` with ``h = held_by(inner)``.

    Args:
        inner: products of what is read ``[I, I]``.
        cross: of what is wanted with that ``[O, I]``.
        start: weights to begin with ``[O, I]``.
        left: which may change ``[O, I]``.
    """
    may, hold = left.to(inner), held_by(inner)
    scale = may / (inner.diagonal() + hold).clamp_min(torch.finfo(inner.dtype).tiny)
    weights, error = start.clone(), (cross - start @ inner) * may
    step = scaled = error * scale
    size = (error * scaled).sum(1)
    enough = _ENOUGH * size
    for _ in range(_STEPS):
        if bool((size <= enough).all()):
            break
        pull = (step @ inner + hold * step) * may
        by = size / (step * pull).sum(1)
        by = by.masked_fill(size <= enough, 0)[:, None]
        weights, error = weights + by * step, error - by * pull
        scaled = error * scale
        before, size = size, torch.where(size <= enough, size, (error * scaled).sum(1))
        step = scaled + (size / before.clamp_min(1e-300))[:, None] * step
    return weights


def _noting(calls: list[str], name: str) -> Any:
    def note(module: nn.Module, args: object) -> None:
        calls.append(name)

    return note


class _Reached(Exception):
    """Carries what a layer reads."""


def _read(net: nn.Module, name: str, x: Tensor) -> Tensor | None:
    """Returns what a layer of a network reads; None if it does not run."""

    def stop(module: nn.Module, args: tuple[Any, ...]) -> None:
        raise _Reached(args[0])

    hook = net.get_submodule(name).register_forward_pre_hook(stop)
    try:
        net(x)
    except _Reached as reached:
        found: Tensor = reached.args[0]
        return found
    finally:
        hook.remove()
    return None


def _is_other(layer: nn.Module, x: Tensor) -> bool:
    """Returns whether a layer reads a single input of a convolution, without a dimension of inputs."""
    return not isinstance(layer, nn.Linear) and x.ndim != layer.weight.ndim


def _pairs(layer: Any, now: Tensor, was: Tensor, *, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields lines ``[n, I]`` of what a layer reads now, and ``[n, O]`` of what it made: some positions of all inputs.

    Positions of one image say much the same, so of a convolution's only so many are looked at that there are ``most`` lines,
    and one of each input at least.
    """
    patch, spots = layer.weight[0].numel(), layer.forward(now[:1])[0].numel() // len(layer.weight)
    size = max(1, _NUMBERS // max(patch * spots, 1))
    source = torch.Generator().manual_seed(len(now))
    for x, made in zip(now.split(size), was.split(size), strict=True):
        patches, wanted = _patches(layer, x), layer.forward(made)
        wanted = wanted if isinstance(layer, nn.Linear) else wanted.movedim(1, -1)
        places = wanted.shape[:-1]
        here, count = torch.arange(places.numel()), len(x) * max(1, most // len(now))
        if len(here) > count:
            here = torch.randperm(len(here), generator=source)[:count]
        at = torch.unravel_index(here.to(x.device), places)
        yield patches[at].flatten(1).cpu().double(), wanted[at].cpu().double()


def _patches(layer: Any, x: Tensor) -> Tensor:
    """Returns what the weights of one output meet at each position ``[n, ..., *patch]``, without a copy of it."""
    if isinstance(layer, nn.Linear):
        return x
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode)
    for dim, width in enumerate(layer.kernel_size):
        gap, stride = layer.dilation[dim], layer.stride[dim]
        x = x.unfold(2 + dim, gap * (width - 1) + 1, stride)[..., ::gap]
    return x.movedim(1, 1 + len(layer.kernel_size))


def _made_by(layer: Any, read: Moments) -> Moments:
    """Returns the sums of a layer whose inputs have sums already."""
    weight = layer.weight.detach().flatten(1).cpu().double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.cpu().double()
    return read.given_by(weight, bias)

"""Chains: networks of linear layers and pointwise functions, one after another, run and differentiated in one operation.

The handler of ``local`` runs any network layer by layer, and autograd writes the graph. On a small network both take longer
than the products. A chain (every multilayer perceptron is one) is a single operation from inputs and flat leaves
``[K, P]`` to outputs, and its backward gives flat gradients, as the maps want them. It draws the same random numbers as the
handler; the law it is tested against is the handler itself.

Shapes: K members; n blocks of b examples, each shared by K / n members; P numbers of the tree. Inside, examples come last,
``[K, width, b]``: that is the faster product, and nothing is rearranged from one layer to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from netdial.core.layout import Layout
from netdial.core.noise import Noise
from netdial.family.running.local import across, sampled_across, stack
from netdial.family.running.steps import hooks_of, steps_of

_aten = torch.ops.aten


class Pointwise(NamedTuple):
    """A pointwise function in place, and its gradient from (gradient of outputs, outputs)."""

    function: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]


POINTWISE: dict[type[nn.Module], Pointwise] = {
    nn.ReLU: Pointwise(torch.relu_, lambda grad, out: _aten.threshold_backward(grad, out, 0)),
    nn.Tanh: Pointwise(torch.tanh_, _aten.tanh_backward),
    nn.Sigmoid: Pointwise(torch.sigmoid_, _aten.sigmoid_backward),
}


class Link(NamedTuple):
    """A linear layer and what follows it.

    Attributes:
        shape: (outputs, inputs).
        weight, bias: where they lie among the P numbers.
        after: the kind of pointwise layer that follows, if any.
    """

    shape: tuple[int, ...]
    weight: slice
    bias: slice | None
    after: type[nn.Module] | None = None

    def weights(self, flat: Tensor) -> Tensor:
        """Returns the view ``[K, o, i]`` of the weights in ``[K, P]``."""
        return flat[:, self.weight].view(-1, *self.shape)

    def biases(self, flat: Tensor) -> Tensor | None:
        """Returns the view ``[K, o, 1]`` of the biases in ``[K, P]``."""
        return None if self.bias is None else flat[:, self.bias].unsqueeze(2)


class Chain:
    """A network that is a chain; see ``Chain.of``.

    Attributes:
        links: its linear layers, first to last.
    """

    def __init__(
        self, net: nn.Module, links: Sequence[Link], flattens: bool, picked: str | None
    ) -> None:
        self._hooks = [hooks for module in net.modules() for hooks in hooks_of(module)]
        self.links = links
        self._flattens = flattens
        self._net = net
        self._picked = picked

    @classmethod
    def of(cls, net: nn.Module, layout: Layout) -> Chain | None:
        """Returns the network as a chain, or None if it is none: other code, tied, shared or unused parameters."""
        found = steps_of(net)
        if found is None:
            return None
        offsets = dict(zip(layout.names, accumulate(layout.sizes, initial=0), strict=False))
        shapes = dict(zip(layout.names, layout.shapes, strict=True))
        read = [n for step in found.steps for n in (step.weight, step.bias) if n is not None]
        if sorted(read) != sorted(layout.names):
            return None
        links: list[Link] = []
        for step in found.steps:
            if step.weight is not None:
                if not _is_layer(step.weight, step.bias, shapes):
                    return None
                links.append(_link(step.weight, step.bias, shapes, offsets))
            elif links and links[-1].after is None:
                links[-1] = links[-1]._replace(after=step.after)
            else:
                return None
        return cls(net, links, found.flattens, found.picked) if links else None

    def takes(self, x: Tensor) -> bool:
        """Returns whether inputs ``[B, ...]`` can run here: flat, in full precision, with nobody looking on."""
        flat = x.ndim == 2 or (self._flattens and x.ndim > 2)
        if self._picked is None:
            flat = flat and x[:1].numel() in (0, self.links[0].shape[1])
        watched = x.requires_grad or any(self._hooks)
        return flat and not watched and not torch.is_autocast_enabled(x.device.type)

    def inputs(self, x: Tensor, blocks: int) -> Tensor:
        """Returns what the first layer reads ``[n, b, i]`` of inputs ``[n b, ...]``."""
        lines = x.reshape(blocks, x.shape[0] // blocks, -1)
        if self._picked is None:
            return lines
        return lines.index_select(-1, self._net.get_buffer(self._picked))

    def run(
        self, x: Tensor, means: Tensor, variances: Tensor | None, noise: Noise, blocks: int
    ) -> Tensor:
        """Returns outputs ``[K b, o]`` of K members, member after member.

        Args:
            x: inputs ``[n b, ...]``.
            means: means of the leaves ``[K, P]``.
            variances: their variances ``[K, P]``, or None for points.
            noise: source of the random numbers.
            blocks: n.
        """
        return cast(
            Tensor,
            _Run.apply(self.inputs(x, blocks), means, variances, self.links, noise),  # type: ignore[no-untyped-call]
        )


class _Run(torch.autograd.Function):
    """(inputs ``[n, b, i]``, means, variances) -> outputs ``[K b, o]``, forward and backward by hand."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        means: Tensor,
        variances: Tensor | None,
        links: Sequence[Link],
        noise: Noise,
    ) -> Tensor:
        inside = x.mT
        saved: list[Tensor | None] = [inside]
        for link in links:
            weights, biases = link.weights(means), link.biases(means)
            squares = slope = None
            if variances is None:
                out = across(inside.mT, weights)
                out = out if biases is None else out.add_(biases)
            else:
                out, squares, slope = sampled_across(
                    inside,
                    weights,
                    link.weights(variances),
                    biases,
                    link.biases(variances),
                    noise.normal(x.shape[1], link.shape[0], dtype=x.dtype),
                )
            inside = POINTWISE[link.after].function(out) if link.after else out
            saved += [squares, slope, inside]
        ctx.links = links
        ctx.save_for_backward(means, variances, *saved)
        return inside.mT.reshape(-1, inside.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        means, variances, *saved = ctx.saved_tensors
        grad_means = torch.empty_like(means)
        grad_variances = None if variances is None else torch.empty_like(means)
        grad = grad.view(len(means), -1, grad.shape[1]).mT.contiguous()
        for place, link in reversed(list(enumerate(ctx.links))):
            inside, squares, slope, out = saved[3 * place : 3 * place + 4]
            if link.after:
                grad = POINTWISE[link.after].gradient(grad, out)
            _outer(grad, inside, link, grad_means)
            side = None
            if grad_variances is not None:
                side = grad * slope
                _outer(side, squares, link, grad_variances)
            if place:
                grad = torch.bmm(link.weights(means).mT, grad)
                if side is not None:
                    side = torch.bmm(link.weights(variances).mT, side)
                    grad.addcmul_(side, inside, value=2)
        return None, grad_means, grad_variances, None, None


def _outer(grad: Tensor, inside: Tensor, link: Link, flat: Tensor) -> None:
    """Puts the gradients of a layer's weights and biases, summed over examples, into their places in ``[K, P]``.

    Args:
        grad: gradient of the layer's outputs ``[K, o, b]``.
        inside: what the weights were multiplied with ``[n, i, b]``.
        link: the layer.
        flat: gets the gradients.
    """
    weights, blocks = link.weights(flat), len(inside)
    if blocks == len(grad):
        torch.bmm(grad, inside.mT, out=weights)
    else:
        weights.copy_(torch.bmm(stack(grad, blocks), inside.mT).view(weights.shape))
    if link.bias is not None:
        torch.sum(grad, dim=2, out=flat[:, link.bias])


def _is_layer(weight: str, bias: str | None, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Returns whether leaves are those of a linear layer: weights ``[o, i]``, and a bias ``[o]``."""
    shape = shapes[weight]
    return len(shape) == 2 and (bias is None or shapes[bias] == shape[:1])


def _link(
    weight: str, bias: str | None, shapes: dict[str, tuple[int, ...]], offsets: dict[str, int]
) -> Link:
    outputs, inputs = shapes[weight]
    start = offsets[weight]
    held = None if bias is None else slice(offsets[bias], offsets[bias] + outputs)
    return Link((outputs, inputs), slice(start, start + outputs * inputs), held)

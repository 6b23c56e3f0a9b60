"""Diagonals of the curvature: one number for each parameter, in nats per squared unit of it.

    ggn          diag Σ_i J_iᵀ Λ_i J_i, the generalised Gauss-Newton matrix, exact: K gradients for each example
    hessian      diag of the Hessian, exact: P products with it, each about three gradients, so for small networks only (40,000
                 parameters and 256 examples: a minute on one core)
    fisher       Σ_i g_i², the empirical Fisher: squared gradients of single examples (not of their sum, which is 0 at a mode)
    hutchinson   E v ⊙ Hv over random signs v: unbiased, its error falls as 1/√n_samples (Bekas et al. 2007)

A network of linear and convolutional layers with piecewise linear activations is linear in each layer, so there the diagonals
of Hessian and Gauss-Newton matrix are the same (Botev et al. 2017). Elsewhere the Hessian's may be negative; the other's
never is.

Shapes: B examples, T positions, I in, U out, K vectors for each example, O outputs, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from netdial.core.arguments import Count, checked
from netdial.core.errors import ConfigError
from netdial.core.layout import Params
from netdial.core.noise import generator
from netdial.core.registry import Registry
from netdial.curvature.gradients import NUMBERS, rows
from netdial.curvature.hessian import products, vectors_at_once
from netdial.curvature.layers import (
    Layer,
    LayerCall,
    gradients_of,
    inputs_of,
    known_layers,
    pulled,
    run,
)
from netdial.curvature.model import Model, prepare, twice_differentiable
from netdial.data.memory.containers import Data
from netdial.task import Task

LARGEST_HESSIAN = 50_000
"""Parameters of the largest network whose exact Hessian diagonal is computed."""

DIAGONALS: Registry[Callable[[Model, int, int], Params]] = Registry("kind of curvature")


@twice_differentiable()
@checked
def diagonal(
    net: nn.Module,
    data: Data,
    *,
    kind: str | Task | None = None,
    how: str = "ggn",
    n_samples: Count = 32,
    seed: int = 0,
    batch_size: Count = 256,
) -> Params:
    """Returns the diagonal of the curvature of the loss, summed over the examples, by parameter.

    Args:
        net: any module that returns outputs ``[B, O]``, or with places, and keeps examples apart; it is run in evaluation
            mode and left as it is. The diagonal is taken at its parameters.
        data: a ``Dataset`` or a pair of tensors.
        kind: the task: a name, or a ``Task``; by default what the targets suggest.
        how: ``ggn``, ``hessian``, ``fisher`` or ``hutchinson``, see the top of this file.
        n_samples: vectors of signs for ``hutchinson``. The variance of an entry is Σ_{k≠j} H_jk² / n_samples.
        seed: seed of the signs.
        batch_size: examples run at once. Memory grows with it, and where layers other than linear and convolutional ones have
            parameters, fewer examples than this are differentiated at once.

    Returns:
        Name of a parameter -> second derivatives, shaped like it.

    Raises:
        ConfigError: an option is unknown or out of range, or the network is too large for ``hessian``.
        TraceError: the network does something that ``torch.func`` cannot follow.

    >>> x, y = torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1)
    >>> found = diagonal(nn.Linear(1, 1), (x, y), kind="regression")
    >>> found["weight"].item(), found["bias"].item()
    (5.0, 2.0)
    """
    compute = DIAGONALS[how]
    return compute(prepare(net, data, kind, batch_size), n_samples, seed)


@DIAGONALS.add("ggn")
def _ggn(model: Model, n_samples: int, seed: int) -> Params:
    return _squares(model, model.information)


@DIAGONALS.add("fisher")
def _fisher(model: Model, n_samples: int, seed: int) -> Params:
    return _squares(model, model.slope)


@DIAGONALS.add("hessian")
def _hessian(model: Model, n_samples: int, seed: int) -> Params:
    layout = model.layout
    if layout.size > LARGEST_HESSIAN:
        raise ConfigError(
            f"curvature: the exact diagonal of a Hessian takes one product with it for each parameter; {layout.size:,} "
            f"parameters, allowed up to {LARGEST_HESSIAN:,}; use how='ggn' or how='hutchinson'"
        )
    found = model.zeros(layout.size)
    index = torch.arange(layout.size, device=found.device)
    most = vectors_at_once(model)
    for multiply in products(model):
        for part in index.split(most):
            vectors = found.new_zeros(len(part), layout.size)
            vectors.scatter_(1, part[:, None], 1.0)
            found[part] += multiply(vectors).gather(1, part[:, None])[:, 0]
    return layout.split(found)


@DIAGONALS.add("hutchinson")
def _hutchinson(model: Model, n_samples: int, seed: int) -> Params:
    layout = model.layout
    found = model.zeros(layout.size)
    most = vectors_at_once(model)
    for multiply in products(model):
        source = generator(seed, "hutchinson")
        for count in _portions(n_samples, most):
            coins = torch.randint(0, 2, (count, layout.size), generator=source)
            signs = (2 * coins - 1).to(found)
            found += (signs * multiply(signs)).sum(dim=0)
    return layout.split(found / n_samples)


def _portions(total: int, most: int) -> list[int]:
    return [min(most, total - start) for start in range(0, total, most)]


def _squares(model: Model, vectors_of: Callable[[Tensor, Tensor], Tensor]) -> Params:
    """Returns Σ_i Σ_k (J_iᵀ v_ik)² of every parameter, for vectors made from outputs and targets.

    Linear and convolutional layers take the short way; what is left is differentiated example by example.
    """
    layers = known_layers(model)
    covered = {name for layer in layers.values() for name in (layer.weight, layer.bias)}
    rest = [name for name in model.params if name not in covered]
    total = {name: torch.zeros_like(leaf) for name, leaf in model.params.items()}
    for x, y in model.batches():
        out, uses = run(model, layers, x)
        vectors = vectors_of(out.detach(), y)
        if layers:
            _add_layers(total, layers, out, vectors, uses)
        if rest:
            for part in rows(model, x, vectors, rest):
                for name, grads in part.items():
                    total[name] += grads.square().sum(dim=(0, 1))
    return total


def _add_layers(
    total: Params,
    layers: dict[str, Layer],
    out: Tensor,
    vectors: Tensor,
    uses: dict[str, list[LayerCall]],
) -> None:
    """Adds the squared gradients of the layers' parameters in one batch."""
    spread: dict[str, Tensor] = {}
    for grads in pulled(out, vectors, uses):
        for name, layer in layers.items():
            g = gradients_of(layer, grads[name])
            if layer.bias is not None:
                total[layer.bias] += g.sum(dim=1).square().sum(dim=0)
            if g.shape[1] == 1:
                square = g[:, 0].square()
                spread[name] = spread[name] + square if name in spread else square
            else:
                _add_positions(total[layer.weight], g, inputs_of(layer, uses[name]))
    for name, square in spread.items():
        a = inputs_of(layers[name], uses[name])[:, 0]
        weight = total[layers[name].weight]
        weight += (square.T @ a.square()).view_as(weight)


def _add_positions(total: Tensor, g: Tensor, a: Tensor) -> None:
    """Adds Σ_i (Σ_t g_it a_itᵀ)²: a weight used at several positions has their sum for its gradient."""
    count = max(1, NUMBERS // total.numel())
    for g_part, a_part in zip(g.split(count), a.split(count), strict=True):
        grads = g_part.transpose(1, 2) @ a_part
        total += grads.square().sum(dim=0).view_as(total)

"""First derivatives: the loss of every example, the gradient of their sum, and gradients example by example.

Shapes: B examples, K vectors for each, O outputs, P parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from netdial.core.layout import Params
from netdial.core.outputs import same_outputs
from netdial.curvature.model import Model, one_tensor_of, prepare, twice_differentiable
from netdial.data.memory.containers import Data
from netdial.task import Task

NUMBERS = 1 << 24
"""Numbers that gradients of single examples may take up at once."""


@twice_differentiable()
def gradient(
    net: nn.Module, data: Data, *, kind: str | Task | None = None, batch_size: int = 1024
) -> tuple[Tensor, Params]:
    """Returns the loss of every example ``[N]`` and the gradient of their sum, by parameter.

    Args:
        net: the network; it is run in evaluation mode and left as it is.
        data: a ``Dataset`` or a pair of tensors.
        kind: the task: a name, or a ``Task``; by default what the targets suggest.
        batch_size: examples run at once.

    Returns:
        Negative log-likelihoods in nats, and name of a parameter -> derivative.
    """
    model = prepare(net, data, kind, batch_size)
    leaves = dict(model.net.named_parameters())
    losses = []
    total = {name: torch.zeros_like(leaf) for name, leaf in model.params.items()}
    for x, y in model.batches():
        found = model.losses(one_tensor_of(model.net(x.clone())), y)
        losses.append(found.detach())
        grads = torch.autograd.grad(found.sum(), list(leaves.values()), materialize_grads=True)
        for name, grad in zip(leaves, grads, strict=True):
            total[name] += grad
    return torch.cat(losses), total


def rows(model: Model, x: Tensor, vectors: Tensor, names: Sequence[str]) -> Iterator[Params]:
    """Yields J_iᵀ v_ik of some parameters, ``name -> [b, K, *shape]``, for as many examples at a time as fit.

    J_i is the Jacobian of the outputs of example i, which runs alone, in a batch of one. A network that ``torch.func.vmap``
    cannot run (recurrent layers, control flow that depends on the data), or runs wrongly (PReLU, where it takes vectors for
    examples), is differentiated one example after another.

    Args:
        model: network and data.
        x: inputs ``[B, ...]``.
        vectors: v ``[B, K, O]``.
        names: parameters wanted.
    """
    wanted = {name: model.params[name] for name in names}

    def single(inputs: Tensor, v: Tensor) -> Params:
        _, pull = vjp(lambda params: model.outputs(params, inputs[None])[0], wanted)[:2]
        return dict(vmap(pull)(v)[0])

    each = sum(leaf.numel() for leaf in wanted.values()) * vectors.shape[1]
    count = max(1, NUMBERS // max(each, 1))
    for inputs, v in zip(x.split(count), vectors.split(count), strict=True):
        try:
            found = vmap(single)(inputs, v)
        except RuntimeError:
            found = {}
        first = _alone(model, inputs[:1], v[0], wanted)
        if found and same_outputs(first, {n: g[:1] for n, g in found.items()}, equal_nan=True):
            yield found
            continue
        yield first
        yield from (_alone(model, inputs[i : i + 1], v[i], wanted) for i in range(1, len(v)))


def _alone(model: Model, x: Tensor, vectors: Tensor, wanted: Params) -> Params:
    """Returns J_iᵀ v_ik ``name -> [1, K, *shape]`` of one example ``[1, ...]`` and its vectors ``[K, O]``."""
    leaves = {name: leaf.detach().requires_grad_() for name, leaf in wanted.items()}
    out = model.outputs(leaves, x)[0]
    if not out.requires_grad:  # none of them is read
        return {n: leaf.new_zeros(1, len(vectors), *leaf.shape) for n, leaf in wanted.items()}
    found = [
        torch.autograd.grad(
            out, list(leaves.values()), v, retain_graph=True, materialize_grads=True
        )
        for v in vectors
    ]
    return {
        name: torch.stack(grads)[None]
        for name, grads in zip(leaves, zip(*found, strict=True), strict=True)
    }

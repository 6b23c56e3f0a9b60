"""Kronecker factors of the Gauss-Newton matrix, layer by layer.

The block of a linear layer, over weight and bias together, is approximated by (Martens & Grosse 2015; Botev et al. 2017)

    Σ_i Σ_k (g_ik g_ikᵀ) ⊗ (a_i a_iᵀ)  ≈  G ⊗ A,     G = Σ_i Σ_k g_ik g_ikᵀ,     A = (1/N) Σ_i a_i a_iᵀ

a the input with a 1 for the bias, g the gradient of the output. Where a weight is used at T positions (convolutions, tokens)
every position counts as an example of its own, and A is divided by N T ("expand": Grosse & Martens 2016; Eschenhagen et al.
2023). Exact for one example without positions, and whenever g does not depend on the example: linear regression.

Shapes: T positions, I numbers in (+1 with a bias), U numbers out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.curvature.layers import Layer, gradients_of, inputs_of, known_layers, pulled, run
from netdial.curvature.model import prepare, twice_differentiable
from netdial.data.memory.containers import Data
from netdial.task import Task


@dataclass(frozen=True, eq=False)
class Factors:
    """Curvature of one layer.

    Attributes:
        weight: name of its weight, whose rows are outputs.
        bias: name of its bias, or None.
        inputs: A ``[I, I]``; the last row and column belong to the bias.
        outputs: G ``[U, U]``.
    """

    weight: str
    bias: str | None
    inputs: Tensor
    outputs: Tensor

    def dense(self) -> Tensor:
        """Returns the block as a matrix over the weight, row by row, followed by the bias."""
        block = torch.kron(self.outputs, self.inputs)
        if self.bias is None:
            return block
        size, out = len(self.inputs), len(self.outputs)
        order = torch.arange(size * out, device=block.device).view(out, size)
        order = torch.cat([order[:, :-1].flatten(), order[:, -1]])
        return block[order][:, order]


@twice_differentiable()
def kronecker(
    net: nn.Module, data: Data, *, kind: str | Task | None = None, batch_size: int = 256
) -> dict[str, Factors]:
    """Returns the factors of every linear and two-dimensional convolutional layer, by the layer's name.

    Left out are layers whose weight is also used elsewhere, is computed from other parameters, or is not called as a module,
    and convolutions in groups or with padding other than zeros; the parameters of these and of all other layers have no
    factors. A layer with I inputs takes I² numbers.

    Args:
        net: as for ``diagonal``.
        data: a ``Dataset`` or a pair of tensors.
        kind: the task: a name, or a ``Task``; by default what the targets suggest.
        batch_size: examples run at once.
    """
    model = prepare(net, data, kind, batch_size)
    layers = known_layers(model)
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    positions: dict[str, int] = {}
    for x, _ in model.batches() if layers else ():
        out, uses = run(model, layers, x)
        for name, layer in layers.items():
            a = _with_bias(layer, inputs_of(layer, uses[name]).flatten(0, 1))
            inputs[name] = inputs.get(name, 0) + a.T @ a
            positions[name] = positions.get(name, 0) + len(a)
        for grads in pulled(out, model.root(out.detach()), uses):
            for name, layer in layers.items():
                g = gradients_of(layer, grads[name]).flatten(0, 1)
                outputs[name] = outputs.get(name, 0) + g.T @ g
    return {
        name: Factors(layer.weight, layer.bias, inputs[name] / positions[name], outputs[name])
        for name, layer in layers.items()
    }


def _with_bias(layer: Layer, a: Tensor) -> Tensor:
    return a if layer.bias is None else torch.cat([a, a.new_ones(len(a), 1)], dim=1)

"""Leaves: which tensors of a network are shared, which of those may become sparse, and which are kept as they are.

Weights of linear, convolution, embedding, recurrent and attention layers, and any other parameter of two dimensions or more,
are sparse and shared. Vectors beside them (biases) are shared and stay whole, as few as they are. Kept exactly are buffers and
normalisation layers, which are few numbers that everything is multiplied with. A tensor that lies in several places is one
leaf, by its first name, and stays tied.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.compression.exact import check_kept
from netdial.core.errors import ConfigError, NonFiniteError
from netdial.nets.foreign import check_exchangeable, check_initialised, check_plain_weights

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.PReLU,
)


@dataclass(frozen=True)
class Division:
    """Names of a network's tensors by what is done to them.

    Attributes:
        weights: parameters that become sparse and shared.
        biases: parameters that are shared.
        exact: everything else, buffers included.
    """

    weights: tuple[str, ...]
    biases: tuple[str, ...]
    exact: tuple[str, ...]

    @property
    def shared(self) -> tuple[str, ...]:
        """All that is shared."""
        return self.weights + self.biases


def divide(net: nn.Module, *, biases: bool = True) -> Division:
    """Returns what is done to each tensor of a network.

    Args:
        net: any module.
        biases: whether biases are shared; they are kept exactly otherwise.

    Raises:
        ConfigError: it is no module, has lazy layers or computed weights, or nothing that can be shared.
        NonFiniteError: a parameter holds NaN or infinity, or a buffer NaN.
    """
    check_exchangeable(net)
    check_initialised(net)
    check_plain_weights(net)
    kept = {
        id(leaf)
        for layer in net.modules()
        if isinstance(layer, _NORMS)
        for leaf in layer.parameters(recurse=False)
    }
    found: dict[str, list[str]] = {"weights": [], "biases": [], "exact": []}
    for name, leaf in net.named_parameters():
        _check(name, leaf)
        if id(leaf) in kept or not leaf.is_floating_point() or leaf.ndim == 0:
            found["exact"].append(name)
        elif leaf.ndim == 1:
            found["biases" if biases else "exact"].append(name)
        else:
            found["weights"].append(name)
    for name, buffer in net.named_buffers():
        check_kept(name, buffer)
        found["exact"].append(name)
    if not found["weights"]:
        raise ConfigError(
            f"network {type(net).__name__}: has no weights to compress (parameters of two dimensions or more)"
        )
    return Division(*(tuple(names) for names in found.values()))


def tensors_of(net: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and buffers by name, each once."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers())}


def dense_bytes(net: nn.Module) -> int:
    """Returns what the numbers of a network take as they lie in memory."""
    return sum(leaf.numel() * leaf.element_size() for leaf in tensors_of(net).values())


def _check(name: str, leaf: Tensor) -> None:
    check_kept(name, leaf)
    floats = leaf.is_floating_point() or leaf.is_complex()
    bad = int((~torch.isfinite(leaf)).sum()) if floats else 0
    if bad:
        raise NonFiniteError(
            f"{name}: {bad} of {leaf.numel()} numbers are NaN or infinite; such a network cannot be compressed, train it again"
        )

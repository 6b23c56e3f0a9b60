"""``mlp``: networks for tables. Depth, widths, activations, skips and normalisation are chosen.

A stem takes the inputs to ``width`` numbers, with or without an activation; blocks change these, a head reads the outputs from
them. A block is one of

    normalisation -> linear -> activation,                                                 beside a skip or alone,
    normalisation -> linear to a hidden width -> activation -> linear back to ``width``,   beside a skip or alone.

A block without layers that keeps its skip is not there, so depth is chosen from 0 to ``depth`` blocks. A stem with an
activation and blocks of the first kind without skip are a plain perceptron. All widths meet at the same interface, so what is
derived holds no number that is not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import nn

from netdial.core.errors import ConfigError
from netdial.structure.graph.operations import Shape, ZeroOperation
from netdial.structure.graph.space import SearchSpace
from netdial.structure.spaces.registry import counted, names_checked, ready

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMS: dict[str, Callable[[Shape], nn.Module]] = {
    "plain": lambda shape: nn.Identity(),
    "batch": lambda shape: nn.BatchNorm1d(shape[0]),
    "layer": lambda shape: nn.LayerNorm(shape[0]),
}


@ready("mlp")
def mlp(
    input_shape: Shape,
    n_outputs: int,
    *,
    depth: int = 3,
    width: int = 64,
    widths: Sequence[int] = (16, 64),
    activations: Sequence[str] = ("relu", "tanh"),
    norms: Sequence[str] = ("plain", "batch", "layer"),
) -> SearchSpace:
    """Returns the space; its usual structure is a perceptron of two hidden layers with the first activation.

    Args:
        input_shape: shape of one input, which is flattened.
        n_outputs: outputs.
        depth: blocks.
        width: numbers between blocks.
        widths: hidden widths of a block.
        activations: of ``relu``, ``gelu``, ``silu``, ``tanh``.
        norms: of ``plain``, ``batch``, ``layer``.
    """
    counted("depth", depth)
    counted("width", width)
    hidden = [counted("widths", each) for each in widths]
    if not hidden:
        raise ConfigError("widths: is empty; give one hidden width at least")
    acts = names_checked("activations", activations, ACTIVATIONS)
    normed = names_checked("norms", norms, NORMS)
    layers = {act: _layer(ACTIVATIONS[act], width) for act in acts}
    layers |= {f"{act}{each}": _hidden(ACTIVATIONS[act], each) for each in hidden for act in acts}
    stems = {"linear": nn.Identity, **{act: ACTIVATIONS[act] for act in acts}}
    space = SearchSpace("mlp")
    x, last = space.input("x", input_shape), space.node("h0")
    stem = space.edge(x, last, {name: _stem(act, width) for name, act in stems.items()})
    usual = {stem: acts[0]}
    for number in range(1, depth + 1):
        inside, end = space.node(f"n{number}"), space.node(f"h{number}")
        norm = space.edge(last, inside, {name: NORMS[name] for name in normed})
        layer = space.edge(inside, end, {**layers, "none": ZeroOperation})
        skip = space.edge(last, end, {"skip": nn.Identity, "none": ZeroOperation})
        if len(normed) > 1:
            usual[norm] = "plain" if "plain" in normed else normed[0]
        usual[layer], usual[skip] = (acts[0], "none") if number == 1 else ("none", "skip")
        last = end
    y = space.node("y")
    space.edge(last, y, {"head": lambda shape: nn.Linear(shape[0], n_outputs)})
    space.output(y)
    space.usual = usual
    return space


def _stem(activation: Callable[[], nn.Module], width: int) -> Callable[[Shape], nn.Module]:
    """Returns the factory of the first layer, of flattened inputs."""
    return lambda shape: nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(shape), width), activation()
    )


def _layer(activation: Callable[[], nn.Module], width: int) -> Callable[[Shape], nn.Module]:
    """Returns the factory of a plain layer."""
    return lambda shape: nn.Sequential(nn.Linear(shape[0], width), activation())


def _hidden(activation: Callable[[], nn.Module], width: int) -> Callable[[Shape], nn.Module]:
    """Returns the factory of a hidden layer."""
    return lambda shape: nn.Sequential(
        nn.Linear(shape[0], width), activation(), nn.Linear(width, shape[0])
    )

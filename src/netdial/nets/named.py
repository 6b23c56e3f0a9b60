"""From a short text such as ``mlp:300-100`` to a network that fits the data.

A network is a function of input shape, number of outputs and hidden widths; to add one, write it
and name it in ``NETWORKS``. Initial weights depend on the seed alone, and torch's global generator
is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn

from netdial.core import errors
from netdial.core.arguments import checked
from netdial.core.errors import ConfigError, ShapeError
from netdial.nets.dense import dense
from netdial.nets.layers import layers_of, shapes_of
from netdial.nets.plain import conv_blocks, lenet5, paper_cnn, vgg16_bn
from netdial.nets.resnet import ResNet

Shape = tuple[int, ...]

_NOTE = "_netdial_built"
"""Attribute of a network, or entry of a graph's ``meta``, that says how it was built."""

_WITH_WIDTHS = ("mlp", "conv")
"""Networks whose name is followed by widths."""


@checked
def build(spec: str, *, input_shape: Sequence[int], n_outputs: int, seed: int = 0) -> nn.Module:
    """Returns a freshly initialised network on the CPU.

    Args:
        spec: ``linear``, ``mlp:WIDTHS`` (``mlp:50``, ``mlp:300-100`` or ``mlp:300,100``),
            ``conv:WIDTHS`` (blocks of convolutions, ``conv:32-64``), ``lenet5``, ``cnn``, ``vgg16-bn`` or ``resnet20``.
        input_shape: Shape of one input without the batch, for example (13,) or (3, 32, 32).
        n_outputs: Number of classes or of regression targets K, at least 1.
        seed: Decides the initial weights.

    Returns:
        A module from ``[B, *input_shape]`` to [B, K], in training mode.

    Raises:
        ConfigError: if the network is unknown, its widths are malformed or ``n_outputs`` is below
            1.
        ShapeError: if the network does not take inputs of this shape.

    >>> build("mlp:50", input_shape=(784,), n_outputs=10).fc1
    Linear(in_features=784, out_features=50, bias=True)
    """
    name, colon, rest = spec.partition(":")
    if name not in NETWORKS:
        raise errors.unknown("network", name, names())
    shape = tuple(input_shape)
    if not shape or min(shape) < 1:
        raise ShapeError(
            f"network {spec!r}: inputs of shape {list(shape)}; every size must be at least 1"
        )
    if n_outputs < 1:
        raise ConfigError(f"network {spec!r}: n_outputs={n_outputs}; at least 1 output is needed")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"network {spec!r}: seed={seed}; expected 0 <= seed < 2**63")
    if name not in _WITH_WIDTHS and colon:
        raise ConfigError(f"network {spec!r}: {name} takes no widths; write {name!r}")
    widths = _widths(spec, rest) if name in _WITH_WIDTHS else ()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = NETWORKS[name](spec, shape, n_outputs, widths)
    net.__dict__[_NOTE] = {"spec": spec, "input_shape": list(shape), "n_outputs": n_outputs}
    return net


def built_as(net: nn.Module) -> dict[str, Any] | None:
    """Returns what ``build`` was given for a network, or one that it is a copy or a graph of; None for others.

    It may have changed since.

    >>> built_as(build("mlp:50", input_shape=(784,), n_outputs=10))
    {'spec': 'mlp:50', 'input_shape': [784], 'n_outputs': 10}
    """
    notes = net.meta if isinstance(net, fx.GraphModule) else net.__dict__
    found: dict[str, Any] | None = notes.get(_NOTE)
    return found


def note_built(net: nn.Module, traced: fx.GraphModule) -> None:
    """Notes on the graph of a network what ``build`` was given for it, unless channels or layers are others since.

    Args:
        net: the network, or a graph of it, which may have leaves of its own beside (switches, picked inputs).
        traced: its graph.
    """
    built = built_as(net)
    traced.meta.pop(_NOTE, None)  # it may be the network itself
    if built is None:
        return
    with torch.device("meta"):
        fresh = build(**built)
    held, first = shapes_of(net), shapes_of(fresh)
    whole = all(held.get(name) == shape for name, shape in first.items())
    if whole and (isinstance(net, fx.GraphModule) or layers_of(net) == layers_of(fresh)):
        traced.meta[_NOTE] = built


def names() -> tuple[str, ...]:
    """Returns the names of the networks; widths follow ``mlp`` and ``conv``, as in ``mlp:300-100``."""
    return tuple(NETWORKS)


def _widths(spec: str, text: str) -> tuple[int, ...]:
    """Returns hidden widths from ``300-100`` or ``300,100``."""
    pieces = text.replace(",", "-").split("-")
    if not all(piece.isascii() and piece.isdigit() and int(piece) > 0 for piece in pieces):
        raise ConfigError(
            f"network {spec!r}: widths {text!r} are not whole numbers above 0 joined by '-'; write"
            " for example mlp:50 or mlp:300-100"
        )
    return tuple(int(piece) for piece in pieces)


def _image(spec: str, shape: Shape, allowed: Callable[[int, int], bool], wanted: str) -> int:
    """Returns the channels of an image shape [C, H, W] whose sides are allowed."""
    if len(shape) != 3 or not allowed(shape[1], shape[2]):
        raise ShapeError(
            f"network {spec!r}: wrong image size: inputs are {list(shape)}, it takes images"
            f" {wanted}; use linear or mlp:WIDTHS for other inputs"
        )
    return shape[0]


def _dense(spec: str, shape: Shape, n_outputs: int, widths: Shape) -> nn.Module:
    """Returns ``linear`` or ``mlp``."""
    return dense(shape, n_outputs, widths)


def _conv(spec: str, shape: Shape, n_outputs: int, widths: Shape) -> nn.Module:
    """Returns ``conv``."""
    least = 2 ** (len(widths) - 1)
    channels = _image(
        spec, shape, lambda h, w: min(h, w) >= least, f"[C, H, W] of at least {least} x {least}"
    )
    return conv_blocks(channels, widths, n_outputs)


def _lenet5(spec: str, shape: Shape, n_outputs: int, widths: Shape) -> nn.Module:
    """Returns ``lenet5``."""
    channels = _image(
        spec, shape, lambda h, w: h == w and h in (28, 32), "[C, 28, 28] or [C, 32, 32]"
    )
    return lenet5(channels, shape[1], n_outputs)


def _cnn(spec: str, shape: Shape, n_outputs: int, widths: Shape) -> nn.Module:
    """Returns ``cnn``."""
    return paper_cnn(_image(spec, shape, lambda h, w: h == w == 32, "[C, 32, 32]"), n_outputs)


def _vgg16_bn(spec: str, shape: Shape, n_outputs: int, widths: Shape) -> nn.Module:
    """Returns ``vgg16-bn``."""
    return vgg16_bn(_image(spec, shape, lambda h, w: h == w == 32, "[C, 32, 32]"), n_outputs)


def _resnet20(spec: str, shape: Shape, n_outputs: int, widths: Shape) -> nn.Module:
    """Returns ``resnet20``."""
    return ResNet(
        _image(spec, shape, lambda h, w: min(h, w) >= 8, "[C, H, W] of at least 8 x 8"), n_outputs
    )


NETWORKS: dict[str, Callable[[str, Shape, int, Shape], nn.Module]] = {
    "linear": _dense,
    "mlp": _dense,
    "conv": _conv,
    "lenet5": _lenet5,
    "cnn": _cnn,
    "vgg16-bn": _vgg16_bn,
    "resnet20": _resnet20,
}

"""What every named network must keep to: shapes, seeds, refusals, a family around it. A new one is enrolled by its name."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from netdial.core.errors import ConfigError, NetdialError, ShapeError
from netdial.nets import build
from netdial.nets.named import NETWORKS

SHAPES = ((3,), (1, 8, 8), (1, 28, 28), (3, 32, 32))
names = pytest.mark.parametrize("name", list(NETWORKS))


def spec_of(name: str) -> str:
    """Returns a network's name, with widths where it wants them."""
    try:
        build(name, input_shape=SHAPES[0], n_outputs=2)
    except ShapeError:
        return name
    except ConfigError:
        return f"{name}:4"
    return name


@functools.cache
def made(name: str) -> tuple[str, tuple[int, ...], nn.Module]:
    """Returns name, the smallest of some shapes that it takes, and the network."""
    spec = spec_of(name)
    for shape in SHAPES:
        try:
            return spec, shape, build(spec, input_shape=shape, n_outputs=3, seed=1)
        except ShapeError:
            continue
    raise AssertionError(f"{name} takes none of {SHAPES}")


@names
def test_one_row_of_finite_outputs_for_each_example(name: str) -> None:
    _, shape, net = made(name)
    with torch.no_grad():
        outputs = net.train()(torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)))
    assert outputs.shape == (2, 3) and bool(outputs.isfinite().all())


@names
def test_initial_weights_are_finite_trainable_and_of_the_seed_alone(name: str) -> None:
    spec, shape, net = made(name)
    state = torch.get_rng_state()
    other = build(spec, input_shape=shape, n_outputs=3, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    parameters = dict(net.named_parameters())
    assert parameters and all(
        p.requires_grad and bool(p.isfinite().all()) for p in parameters.values()
    )
    differ = [n for n, p in other.named_parameters() if not torch.equal(p, parameters[n])]
    assert differ
    if sum(p.numel() for p in parameters.values()) < 1_000_000:  # large ones cost a second each
        again = build(spec, input_shape=shape, n_outputs=3, seed=1)
        assert all(torch.equal(p, parameters[n]) for n, p in again.named_parameters())


@names
def test_sizes_that_cannot_be_are_refused_by_name(name: str) -> None:
    spec, shape, _ = made(name)
    for wrong in ({"input_shape": ()}, {"input_shape": (0,)}, {"n_outputs": 0}, {"seed": -1}):
        with pytest.raises(NetdialError) as refused:
            build(spec, **{"input_shape": shape, "n_outputs": 3, **wrong})  # type: ignore[arg-type]
        assert repr(spec) in str(refused.value)
    with pytest.raises(ConfigError, match=rf"unknown network '{name}x'"):
        build(name + "x", input_shape=shape, n_outputs=3)
    with pytest.raises(ConfigError, match="widths"):
        build(f"{name}:wide", input_shape=shape, n_outputs=3)

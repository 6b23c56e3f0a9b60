"""Networks: shapes, numbers of parameters, seeds, and refusals."""

from __future__ import annotations

import pytest
import torch

from netdial.core.errors import ConfigError, NetdialError, ShapeError
from netdial.nets import build, names

SMALL = [
    ("linear", (13,), 3, 13 * 3 + 3),
    ("linear", (1, 28, 28), 10, 7850),
    ("mlp:50", (784,), 10, 784 * 50 + 50 + 510),
    ("mlp:300-100", (1, 28, 28), 10, 266_610),
    ("mlp:64,64", (13,), 1, 13 * 64 + 64 + 64 * 64 + 64 + 65),
    ("conv:4-6", (3, 32, 32), 10, 3 * 4 * 9 + 8 + 4 * 6 * 9 + 12 + 70),
    ("lenet5", (1, 28, 28), 10, 61_706),
    ("lenet5", (3, 32, 32), 10, 62_006),
    ("cnn", (3, 32, 32), 10, 9_074_218),
    ("vgg16-bn", (3, 32, 32), 10, 14_724_042),
    ("resnet20", (3, 32, 32), 10, 272_474),
    ("resnet20", (1, 28, 28), 10, 272_186),
]


@pytest.mark.parametrize(("spec", "shape", "n_outputs", "n_params"), SMALL)
def test_shape_and_size(spec: str, shape: tuple[int, ...], n_outputs: int, n_params: int) -> None:
    net = build(spec, input_shape=shape, n_outputs=n_outputs)
    assert sum(p.numel() for p in net.parameters()) == n_params
    assert net(torch.randn(2, *shape)).shape == (2, n_outputs)


def test_every_name_is_built() -> None:
    built = {spec.partition(":")[0] for spec, *_ in SMALL}
    assert built == set(names())


@pytest.mark.parametrize("spec", ["linear", "mlp:8", "lenet5", "resnet20"])
def test_seed_decides_and_global_generator_rests(spec: str) -> None:
    torch.manual_seed(123)
    state = torch.get_rng_state()
    nets = [build(spec, input_shape=(3, 32, 32), n_outputs=4, seed=s) for s in (7, 7, 8)]
    assert torch.equal(torch.get_rng_state(), state)
    one, same, other = (torch.cat([p.flatten() for p in net.parameters()]) for net in nets)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_mlp_by_hand() -> None:
    net = build("mlp:5-4", input_shape=(3,), n_outputs=2)
    x = torch.randn(6, 3)
    p = dict(net.named_parameters())
    hidden = x
    for i in (1, 2):
        hidden = (hidden @ p[f"fc{i}.weight"].T + p[f"fc{i}.bias"]).clamp_min(0)
    assert torch.allclose(net(x), hidden @ p["fc3.weight"].T + p["fc3.bias"], atol=1e-6)


@pytest.mark.parametrize("spec", ["lenet5", "cnn", "vgg16-bn", "resnet20"])
@pytest.mark.parametrize("shape", [(13,), (3, 30, 32), (3, 4, 4)])
def test_wrong_image_size(spec: str, shape: tuple[int, ...]) -> None:
    if spec == "resnet20" and shape == (3, 30, 32):
        assert build(spec, input_shape=shape, n_outputs=2)(torch.randn(2, *shape)).shape == (2, 2)
        return
    with pytest.raises(ShapeError, match="wrong image size: inputs are"):
        build(spec, input_shape=shape, n_outputs=10)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet2", "unknown network 'resnet2'; did you mean 'resnet20'"),
        ("vgg16", "did you mean 'vgg16-bn'"),
        ("", "unknown network ''"),
        ("mlp", r"network 'mlp': widths '' are not whole numbers.*mlp:300-100"),
        ("mlp:", "widths '' are not"),
        ("mlp:0", "widths '0' are not"),
        ("mlp:-5", "widths '-5' are not"),
        ("mlp:50--10", "widths '50--10' are not"),
        ("mlp:5x", "widths '5x' are not"),
        ("mlp:5.5", "widths '5.5' are not"),
        ("mlp:²", "are not whole numbers"),
        ("cnn:3", "cnn takes no widths; write 'cnn'"),
    ],
)
def test_bad_specs(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec, input_shape=(3, 32, 32), n_outputs=10)


def test_bad_sizes() -> None:
    with pytest.raises(NetdialError, match="n_outputs=0"):
        build("linear", input_shape=(3,), n_outputs=0)
    for shape in ((), (0,)):
        with pytest.raises(ShapeError, match="every size must be at least 1"):
            build("linear", input_shape=shape, n_outputs=2)

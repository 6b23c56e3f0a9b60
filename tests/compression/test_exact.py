"""Tensors that are kept exactly: every number type of torch comes back, what no file keeps is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial import compression
from netdial.compression.exact import array_of, as_held
from netdial.core.errors import ConfigError, NonFiniteError

from ..marks import may_be_useless

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")

TYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.bool,
    torch.complex32, torch.complex64, torch.complex128,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_a_tensor_of_any_type_comes_back_with_the_same_numbers(kind: torch.dtype) -> None:
    if kind.is_complex:
        given = torch.tensor([[1.5 - 2j, 0.25j], [-3.0, 1e-3]], dtype=torch.complex128).to(kind)
    else:
        given = torch.tensor([[0, 1, 1], [3, 5, 100]]).to(kind)
    back = as_held({"a": torch.from_numpy(array_of(given))}, {"a": given})["a"]
    held = torch.zeros_like(given)
    held.copy_(back)
    assert back.shape == given.shape
    assert bytes(held.untyped_storage()) == bytes(given.untyped_storage())


@pytest.mark.parametrize(
    ("tensor", "error", "said"),
    [
        (torch.tensor([1.0, torch.nan]), NonFiniteError, "kept: 1 of 2 numbers are NaN"),
        (torch.tensor([1j * torch.nan]), NonFiniteError, "kept: 1 of 1 numbers are NaN"),
        (torch.ones(2, dtype=torch.bfloat16) / 0 * 0, NonFiniteError, "2 of 2"),
        (torch.ones(2, dtype=torch.uint64), ConfigError, "kept: holds torch.uint64.*int64"),
        (torch.ones(2, device="meta"), ConfigError, "kept: has no values"),
        (torch.eye(2).to_sparse(), ConfigError, "kept: .*sparse.*to_dense"),
    ],
)
def test_what_no_file_keeps_is_refused_before_any_training(
    tensor: Tensor, error: type[Exception], said: str
) -> None:
    net, told = Masked(), list[str]()
    net.register_buffer("kept", tensor)
    with pytest.raises(error, match=said):
        nd.compress(net, *rows(), max_bytes=400, report=lambda name, *_: told.append(name))
    assert not told


class Masked(nn.Module):
    """Buffers as networks have them: a mask of infinities, a phase, a scale in half the bits; and a layer without units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.none = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 0)
        self.mask: Tensor
        self.phase: Tensor
        self.scale: Tensor
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
        self.register_buffer("phase", torch.polar(torch.ones(8), torch.linspace(0.1, 0.5, 8)))
        self.register_buffer("scale", torch.linspace(0.5, 2, 8).bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        hidden = (self.first(x).relu() * self.phase).real * self.scale.float()
        scores: Tensor = (self.last(hidden)[:, None] + self.mask).softmax(-1)[:, 2].log()
        return scores.add(self.none(hidden).sum(-1, keepdim=True))


def rows() -> Any:
    x = torch.randn(90, 6, generator=torch.Generator().manual_seed(0))
    y = x[:, :3].argmax(1)
    return (x[:60], y[:60]), (x[60:], y[60:])


@pytest.mark.slow
@may_be_useless
def test_buffers_of_all_kinds_are_in_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, path = Masked(), tmp_path / "a.ndz"
    found = nd.compress(net, *rows(), max_bytes=600, epochs=1, tuning=1)
    compression.write(path, found.chosen.tensors)
    fresh = Masked()
    for buffer in fresh.buffers():
        buffer.zero_()
    again = nd.load_model(path, fresh)
    x = rows()[1][0]
    torch.testing.assert_close(again(x), found.net(x), rtol=0, atol=0)
    for name, buffer in found.net.named_buffers():
        assert torch.equal(again.get_buffer(name), buffer)
    assert torch.equal(again.get_buffer("mask"), net.mask)
    assert nd.load_model(path)["phase"].shape == (8, 2)

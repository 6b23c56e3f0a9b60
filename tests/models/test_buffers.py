"""Cut networks whose code makes numbers of buffers come back with these, whatever the fresh network holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
Before = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """Three layers and a buffer that is drawn, of which a function makes numbers."""

    drawn: Tensor

    def __init__(self, before: Before, drawn: Tensor) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(8, 10), nn.Linear(10, 10), nn.Linear(10, 3)
        self.register_buffer("drawn", drawn)
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.three(F.relu(self.two(F.relu(self.one(self.before(self, x))))))
        return made


def listed(net: Net, x: Tensor) -> Tensor:
    return x[:, net.drawn.tolist()]


def scaled(net: Net, x: Tensor) -> Tensor:
    return x / (1 + float(net.drawn[0]))


def asked(net: Net, x: Tensor) -> Tensor:
    return 2 * x if net.drawn[0] > 3 else x


def edges(net: Net, x: Tensor) -> Tensor:
    source, target = net.drawn.view(2, 4)
    return x.index_add(1, target, x[:, source])


def unread(net: Net, x: Tensor) -> Tensor:
    return x


FIRST, OTHER = torch.tensor([4, 7, 2, 0, 1, 3, 6, 5]), torch.tensor([0, 5, 2, 7, 3, 1, 6, 4])


@pytest.mark.parametrize("before", [listed, scaled, asked, edges, unread], ids=lambda f: f.__name__)
def test_numbers_of_buffers_stand_in_files(before: Before, tmp_path: Path) -> None:
    small: Any = nd.slim(Net(before, FIRST.clone()), share=0.4, example=X)
    nd.save(small, tmp_path / "small.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again: Any = nd.load_model(tmp_path / "small.safetensors", Net(before, OTHER.clone()))
    assert type(again) is Net
    assert torch.equal(again.drawn, FIRST)
    assert torch.allclose(again(X), small.net.eval()(X), atol=1e-6)


def test_buffers_of_another_length_stand_in_files(tmp_path: Path) -> None:
    small: Any = nd.slim(Net(listed, FIRST.clone()), share=0.4, example=X)
    nd.save(small, tmp_path / "small.safetensors")
    again: Any = nd.load_model(tmp_path / "small.safetensors", Net(listed, OTHER[:5].clone()))
    assert type(again) is Net
    assert torch.allclose(again(X), small.net.eval()(X), atol=1e-6)

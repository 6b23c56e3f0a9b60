"""Networks of several inputs, or of outputs in a structure, as networks from one tensor to one tensor."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.errors import ConfigError, DataError, TraceError
from netdial.core.inputs import (
    PartedInputs,
    as_packed,
    is_several,
    one_tensor,
    packing_of,
    structured,
)
from netdial.core.inputs.modules import scored

X, IDS = torch.randn(5, 3), torch.randint(0, 9, (5, 4))
MASK = torch.rand(5, 4) < 0.5


class Net(nn.Module):
    """Reads numbers, tokens by name, and a mask; gives two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Embedding(9, 2)

    def forward(self, x: Tensor, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        found = self.b(ids)
        if mask is not None:
            found = found * mask[..., None]
        return {"hidden": found, "logits": self.a(x) + found.mean(1)}


@given(
    shapes=st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=2, max_size=4),
    kinds=st.lists(
        st.sampled_from(["float32", "float64", "int64", "bool"]), min_size=4, max_size=4
    ),
)
def test_what_is_packed_comes_out_again(shapes: list[list[int]], kinds: list[str]) -> None:
    parts = [
        (100 * torch.randn(3, *shape)).to(getattr(torch, kind), copy=True)
        for shape, kind in zip(shapes, kinds, strict=False)
    ]
    x, packing = as_packed(parts, [""] * len(parts), "data")
    assert x.shape == (3, packing.width)
    for one, other in zip(parts, PartedInputs(packing)(x), strict=True):
        assert torch.equal(one.double(), other.double()) and one.shape == other.shape
        assert one.is_floating_point() == other.is_floating_point()


def test_a_network_takes_one_tensor_and_stays_what_it_was() -> None:
    net = Net()
    x, packing = as_packed([IDS, X, MASK], ["ids", "", "mask"], "data")
    assert packing.names == ("", "ids", "mask")
    made = one_tensor(net, packing)
    wanted = net(X, ids=IDS, mask=MASK)
    assert torch.equal(made(x), wanted["logits"])
    assert torch.equal(made(X, IDS, MASK)["hidden"], wanted["hidden"])
    assert isinstance(made, Net) and type(made).__name__ == "Net"
    assert list(made.state_dict()) == list(net.state_dict()) and made.a is net.a
    assert packing_of(made) is packing and one_tensor(made, packing) is made


def test_other_inputs_are_refused() -> None:
    _, packing = as_packed([X, IDS], ["", "ids"], "data")
    _, other = as_packed([X, IDS[:, :2]], ["", "ids"], "data")
    with pytest.raises(
        ConfigError, match=r"by position \[3\], ids \[4\]; got by position \[3\], ids \[2\]"
    ):
        one_tensor(one_tensor(Net(), packing), other)
    with pytest.raises(ConfigError, match="half precision"):
        one_tensor(Net().half(), packing)
    with pytest.raises(
        DataError,
        match="1 inputs by position and none by name; this network takes 1 by position and ids",
    ):
        packing.arranged((X,), {})
    with pytest.raises(DataError, match="this network takes"):
        packing.arranged((X,), {"ids": IDS, "more": X})


@pytest.mark.parametrize(
    ("inputs", "several"),
    [
        ((X, IDS), True),
        ({"a": X}, True),
        ([X, X], True),
        ([X[0]] * 5, False),
        (X, False),
        ([[1.0], [2.0]], False),
        ((1.0, 2.0), False),
    ],
)
def test_several_inputs_are_told_from_rows(inputs: Any, several: bool) -> None:
    assert is_several(inputs, 5) is several


@dataclass
class Data:
    """An output of named parts."""

    loss: Tensor | None
    pred: Tensor


def test_the_output_that_is_scored() -> None:
    pair = namedtuple("pair", "out aux")
    assert scored(structured(Data(None, X))) is X
    assert scored(structured({"hidden": IDS, "logits": X})) is X
    assert scored(structured({"first": X, "second": IDS})) is X
    assert scored(structured(pair(X, IDS))) is X
    assert scored(structured((None, (X, IDS)))) is X
    assert structured({"cache": object(), "x": [X, 3]}) == {"x": (X, None)}
    with pytest.raises(TraceError, match="no tensor can be scored"):
        scored(structured({"cache": object()}))

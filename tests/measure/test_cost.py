"""Costs: counts by hand against what is counted while a network runs, bytes against what is stored, times that are measured."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from netdial.core.errors import TraceError
from netdial.core.storage.bitmap import pack, stored_bytes, unpack
from netdial.measure.cost import cost, count_macs, size_bytes


class Reads(nn.Module):
    """A recurrent layer that returns its outputs alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)[0]
        return out


class Pools(nn.Module):
    """Attention over steps by one query, then a weight that is no layer's, by a function or by a sum over indices."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.query, self.weight = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        shares = (x @ self.query).softmax(dim=1)
        mean = torch.bmm(shares[:, None], x)[:, 0]
        if self.how == "einsum":
            return torch.einsum("bi,oi->bo", mean, self.weight)
        return nn.functional.linear(mean, self.weight)


class Casts(nn.Module):
    """A layer in half precision, whose weight is copied for it, and a matrix of links."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.register_buffer("links", torch.eye(6).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        linked = torch.sparse.mm(self.links, x.T).T
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layer(linked).float()


class Meets(nn.Module):
    """A bilinear layer of the two halves of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(4, 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x[:, :4], x[:, 4:])
        return out


class Packs(nn.Module):
    """A recurrent layer over the steps that each sequence has, called by the names of its arguments."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layer, self.length = nn.GRU(3, 4, batch_first=True), length

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.full((len(x),), self.length)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        out: Tensor = self.layer(input=packed, hx=None)[1][-1]
        return out


class Derives(nn.Module):
    """A function and its derivative with respect to the input, as a network for a differential equation has them."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            u = self.f(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return torch.cat([u, slope], dim=1)


@pytest.mark.parametrize(
    ("net", "shape", "macs"),
    [
        (nn.Linear(5, 3), (5,), 15),
        (Packs(4), (7, 3), 4 * 3 * 4 * (3 + 4)),
        (Derives(), (1,), 2 * (6 + 6)),
        (nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2)), (4, 5), 4 * (15 + 6)),
        (nn.Conv2d(2, 4, 3, padding=1, groups=2), (2, 6, 5), 30 * 4 * 9),
        (nn.Conv1d(2, 4, 3, stride=2), (2, 9), 4 * 4 * 2 * 3),
        (nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2), (2, 5, 5), 25 * 2 * 2 * 9),
        (Reads(nn.LSTM(8, 16, batch_first=True)), (5, 8), 5 * 4 * 16 * (8 + 16)),
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            (5, 8),
            5 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 5 * 5 * 8,
        ),
        (Pools("linear"), (7, 4), 7 * 4 + 7 * 4 + 3 * 4),
        (Pools("einsum"), (7, 4), 7 * 4 + 7 * 4 + 3 * 4),
        (Meets(), (7,), 4 * 3 * 5),
    ],
    ids=[
        "linear",
        "packed",
        "derivative",
        "mlp",
        "grouped",
        "conv1d",
        "transposed",
        "lstm",
        "transformer",
        "functional",
        "einsum",
        "bilinear",
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_macs_are_those_of_the_textbook(
    net: nn.Module, shape: tuple[int, ...], macs: int, batch: int
) -> None:
    net.train()
    assert count_macs(net, torch.randn(batch, *shape))[0] == macs
    assert net.training


def test_zeros_save_what_they_multiply() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3))
    with torch.no_grad():
        net[0].weight.view(-1)[:5] = 0
        net[2].weight.view(-1)[:7] = 0
        net[2].bias.zero_()
    found = cost(net, torch.randn(2, 1, 6, 6))
    assert found.params == 18 + 2 + 96 + 3
    assert found.nonzero == found.params - 5 - 7 - 3
    assert found.macs == 16 * 18 + 96
    assert found.effective_macs == 16 * (18 - 5) + 96 - 7


def test_a_weight_used_twice_saves_twice() -> None:
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
    found = cost(nn.Sequential(layer, nn.Tanh(), layer), torch.randn(1, 4))
    assert (found.params, found.macs, found.effective_macs) == (16, 32, 0)


def test_a_zero_of_a_layer_that_reads_packed_sequences_saves_its_steps() -> None:
    net = Packs(4)
    with torch.no_grad():
        net.layer.weight_ih_l0[0, 0] = 0
    found = cost(net, torch.randn(2, 7, 3))
    assert found.effective_macs == found.macs - 4


@pytest.mark.parametrize("how", ["linear", "einsum"])
def test_a_zero_of_a_weight_that_no_layer_applies_saves_what_it_multiplies(how: str) -> None:
    net = Pools(how)
    with torch.no_grad():
        net.query[0] = 0
        net.weight[:, 1] = 0
    found = cost(net, torch.randn(2, 7, 4))
    assert (found.macs, found.effective_macs) == (68, 68 - 7 - 3)


def test_zeros_of_a_copy_save_what_they_multiply_and_sparse_buffers_have_a_size() -> None:
    net = Casts()
    with torch.no_grad():
        net.layer.weight.view(-1)[:5] = 0
    found = cost(net, torch.randn(3, 6))
    assert (found.macs, found.effective_macs) == (24, 19)
    links = 6 * 4 + size_bytes({"at": net.links.coalesce().indices()})
    assert found.bytes == size_bytes(net.layer.state_dict()) + links


def test_a_zero_of_attention_saves_one_product_for_each_token() -> None:
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with torch.no_grad():
        net.self_attn.in_proj_weight[:8] = 0  # of queries
        net.self_attn.out_proj.weight[:, 0] = 0
        net.self_attn.in_proj_bias.zero_()  # added, not multiplied
    found = cost(net, torch.randn(2, 5, 8))
    assert found.macs - found.effective_macs == 5 * (8 * 8 + 8)
    macs, uses = count_macs(net, torch.randn(2, 5, 8))
    of_weights = sum(uses.get(name, 0) * leaf.numel() for name, leaf in net.named_parameters())
    assert of_weights == macs - 2 * 5 * 5 * 8  # the rest multiplies activations by each other


@given(
    shape=st.lists(st.integers(1, 7), max_size=3),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64]),
)
def test_a_bitmap_restores_every_bit(
    shape: list[int], share: float, seed: int, dtype: torch.dtype
) -> None:
    source = torch.Generator().manual_seed(seed)
    whole = (3 * torch.randn(shape, generator=source)).to(dtype)
    whole = torch.where(torch.rand(shape, generator=source) < share, torch.zeros_like(whole), whole)
    values, bitmap = pack(whole)
    again = unpack(values, bitmap, shape)
    assert again.dtype == dtype and torch.equal(again, whole)
    assert values.numel() == int(whole.count_nonzero())
    packed = values.numel() * values.element_size() + bitmap.numel()
    assert stored_bytes(whole.numel(), values.numel(), whole.element_size()) in (
        packed,
        whole.numel() * whole.element_size(),
    )


def test_what_is_not_a_number_survives_and_zeros_lose_their_sign() -> None:
    odd = torch.tensor([0.0, -0.0, float("nan"), float("inf"), -float("inf")])
    again = unpack(*pack(odd), [5])
    whole = odd.where(odd != 0, torch.zeros(()))
    assert torch.equal(again.view(torch.int32), whole.view(torch.int32))


def test_a_bitmap_that_does_not_fit_is_refused() -> None:
    values, bitmap = pack(torch.tensor([1.0, 0.0, 2.0]))
    with pytest.raises(ValueError, match="a bitmap of 1 bytes for 9 numbers"):
        unpack(values, bitmap, [9])
    with pytest.raises(ValueError, match="1 values for 2 places"):
        unpack(values[:1], bitmap, [3])


def test_bytes_follow_the_zeros_only_where_that_is_smaller() -> None:
    net = nn.Linear(100, 10)
    dense = 4 * (1000 + 10)
    assert size_bytes(net.state_dict()) == dense
    with torch.no_grad():
        net.weight.view(-1)[:900] = 0
        net.bias[0] = 0  # one zero in ten: a bitmap would not pay
    assert size_bytes(net.state_dict()) == 4 * 100 + 125 + 40
    assert size_bytes(net.state_dict(), packed=False) == dense


def test_inputs_that_the_network_does_not_take_are_refused_in_words() -> None:
    with pytest.raises(TraceError, match=r"network Linear: fails on inputs of shape \[1, 5\]"):
        cost(nn.Linear(3, 2), torch.randn(1, 5))

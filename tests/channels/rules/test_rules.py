"""Rules, one operation at a time: which channels go together, which are mixed, which stay; cut equals masked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.core.errors import TraceError

from ..networks import Call, mask, stirred

P = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
T = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
V = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

AT = torch.tensor([2, 0, 2])
ROWS = torch.tensor([[[True], [False], [True], [False], [False]]])


def picture(*middle: nn.Module, read: int = 8) -> nn.Module:
    """A convolution that makes 8 channels, something, and a reader."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), *middle, nn.Conv2d(read, 2, 1))


def vector(function: Callable[..., Tensor], read: int = 6, **parts: Any) -> nn.Module:
    """A linear layer that makes 6 channels, a function, and a reader."""
    return nn.Sequential(nn.Linear(4, 6), Call(function, **parts), nn.Linear(read, 2))


def tokens(function: Callable[..., Tensor], **parts: Any) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), Call(function, **parts), nn.Linear(6, 2))


CASES: dict[str, tuple[nn.Module, Tensor, list[int], list[bool]]] = {
    "conv of 2 groups": (picture(nn.Conv2d(8, 8, 3, groups=2)), P, [4, 4], [False] * 2),
    "depthwise": (picture(nn.Conv2d(8, 8, 3, groups=8)), P, [8], [False]),
    "depthwise, twice as many": (picture(nn.Conv2d(8, 16, 3, groups=8), read=16), P, [8], [False]),
    "transposed": (picture(nn.ConvTranspose2d(8, 5, 3), read=5), P, [8, 5], [False] * 2),
    "transposed, 2 groups": (picture(nn.ConvTranspose2d(8, 6, 3, groups=2), read=6), P, [4, 3], [False] * 2),
    "transposed, depthwise": (picture(nn.ConvTranspose2d(8, 16, 3, groups=8), read=16), P, [8], [False]),
    "group norm": (picture(nn.GroupNorm(4, 8)), P, [4], [False]),
    "group norm of one group": (picture(nn.GroupNorm(1, 8)), P, [8], [True]),
    "group norms of other groups": (picture(nn.GroupNorm(8, 8), nn.GroupNorm(4, 8)), P, [4], [False]),
    "group norm by function": (
        picture(Call(lambda s, x: F.group_norm(x, 4, s.w, s.b), w=torch.randn(8), b=torch.randn(8))), P, [4], [False],
    ),
    "group norm of single channels by function": (picture(Call(lambda s, x: F.group_norm(x, 8))), P, [8], [False]),
    "group norm by hand": (
        picture(Call(lambda s, x: (lambda g: (g - g.mean(-1, keepdim=True)) / (g.var(-1, keepdim=True) + 1e-5).sqrt())(
            x.view(x.shape[0], 4, -1)).view(x.shape))),
        P, [4], [False],
    ),
    "spread of groups, sizes computed": (
        picture(Call(lambda s, x: (lambda g: x / g.var((2, 3, 4), keepdim=True).add(1).expand(g.shape).reshape(x.shape))(
            x.reshape(x.shape[0], 2, x.shape[1] // 2, 4, 4)))),
        P, [2], [False],
    ),
    "means of groups": (
        picture(Call(lambda s, x: x.float().view(x.shape[0], 4, 2, *x.shape[2:]).mean(2).to(x.dtype)), read=4), P, [4], [False],
    ),
    "group norm of one group by function": (picture(Call(lambda s, x: F.group_norm(x, 1))), P, [8], [True]),
    "group norm of single channels": (picture(nn.GroupNorm(8, 8)), P, [8], [False]),
    "bare group norm": (picture(nn.GroupNorm(8, 8, affine=False)), P, [8], [False]),
    "instance norm": (picture(nn.InstanceNorm2d(8)), P, [8], [False]),
    "instance norm with statistics": (picture(nn.InstanceNorm2d(8, track_running_stats=True)), P, [8], [False]),
    "bare batch norm": (picture(nn.BatchNorm2d(8, affine=False, track_running_stats=False)), P, [8], [False]),
    "slopes": (picture(nn.PReLU(8)), P, [8], [False]),
    "one slope": (picture(nn.PReLU()), P, [8], [False]),
    "pad": (picture(nn.ZeroPad2d(1), nn.ReflectionPad2d((1, 0, 1, 0))), P, [8], [False]),
    "pad, wrapped around": (picture(nn.CircularPad2d((1, 0, 2, 0))), P, [8], [False]),
    "padded channels": (picture(Call(lambda s, x: F.pad(x, (0, 0, 0, 0, 1, 3), value=0.5)), read=12), P, [8], [False]),
    "padded channels, last": (vector(lambda s, x: nn.ConstantPad1d((2, 1), 0.5)(x[:, None])[:, 0], 9), V, [6], [False]),
    "padded channels, and round": (
        picture(Call(lambda s, x: F.pad(x, [0, 0, 0, 0, 2, 2]) + s.conv(x), conv=nn.Conv2d(8, 12, 1)), read=12),
        P, [8], [False],
    ),
    "channels padded with their own": (vector(lambda s, x: F.pad(x[:, None], (1, 1), mode="reflect")[:, 0], 8), V, [], []),
    "channels cropped": (vector(lambda s, x: F.pad(x, (-1, 0)), 5), V, [], []),
    "upsample": (picture(nn.Upsample(scale_factor=2)), P, [8], [False]),
    "channels beside places of a grid": (
        vector(lambda s, x: torch.exp(-((x[..., None] - s.g) ** 2)).flatten(1), 18, g=torch.linspace(-1, 1, 3)),
        V, [6], [False],
    ),
    "unflatten": (picture(nn.Unflatten(1, (-1, 2)), nn.Flatten(1, 2)), P, [4], [False]),
    "softmax over channels": (picture(nn.Softmax(1)), P, [8], [True]),
    "softmax over positions": (picture(nn.Softmax(-1)), P, [8], [False]),
    "layer norm": (tokens(lambda s, x: s.norm(x), norm=nn.LayerNorm(6)), T, [6], [True]),
    "bare layer norm": (tokens(lambda s, x: s.norm(x), norm=nn.LayerNorm(6, elementwise_affine=False)), T, [6], [True]),
    "bare RMS norm": (tokens(lambda s, x: s.norm(x), norm=nn.RMSNorm(6, elementwise_affine=False)), T, [6], [True]),
    "normalize": (tokens(lambda s, x: F.normalize(x, dim=-1)), T, [6], [True]),
    "norm over positions": (tokens(lambda s, x: x / (1 + x.norm(2, 1, True))), T, [6], [False]),
    "mean over channels": (vector(lambda s, x: x - x.mean(1, keepdim=True)), V, [6], [True]),
    "chunk": (vector(lambda s, x: x.chunk(3, 1)[0] * x.chunk(3, 1)[2], 2), V, [2], [False]),
    "uneven chunk": (vector(lambda s, x: torch.cat(x.chunk(4, 1)[:2], 1), 4), V, [], []),
    "heads by size": (vector(lambda s, x: x.view(x.shape[0], -1, 2).relu().flatten(1)), V, [3], [False]),
    "heads by count": (vector(lambda s, x: x.view(x.shape[0], 3, -1).relu().flatten(1)), V, [2], [False]),
    "size computed": (vector(lambda s, x: x.view(x.shape[0], x.shape[1] // 2, 2).flatten(1)), V, [3], [False]),
    "expand": (vector(lambda s, x: x.unsqueeze(1).expand(-1, 3, -1).sum(1)), V, [6], [False]),
    "expand to a number": (vector(lambda s, x: x.expand(3, 6)), V, [6], [False]),
    "by keyword": (vector(lambda s, x: torch.softmax(input=x, dim=1)), V, [6], [True]),
    "einsum with dots": (
        tokens(lambda s, x: torch.einsum("...i,oi->...o", x, s.w), w=torch.randn(6, 6)), T, [6, 6], [False] * 2,
    ),
    "einsum in capitals with dots": (
        tokens(lambda s, x: torch.einsum("...F,GF->...G", x, s.w), w=torch.randn(6, 6)), T, [6, 6], [False] * 2,
    ),
    "listed einsum": (vector(lambda s, x: torch.einsum("bi,oi", x, s.w), 5, w=torch.randn(5, 6)), V, [6, 5], [False] * 2),
    "computed weight": (vector(lambda s, x: F.linear(x, s.w * 2), w=torch.randn(6, 6)), V, [6, 6], [False] * 2),
    "tensor split": (vector(lambda s, x: x.tensor_split(3, 1)[0] * x.tensor_split(3, 1)[2], 2), V, [2], [False]),
    "tensor split at places": (vector(lambda s, x: x.tensor_split((2,), 1)[1], 4), V, [], []),
    "index select": (tokens(lambda s, x: x.index_select(1, torch.tensor([2, 0]))), T, [6], [False]),
    "index select of channels": (vector(lambda s, x: x.index_select(1, torch.tensor([2, 0])), 2), V, [], []),
    "narrow": (tokens(lambda s, x: torch.narrow(x, 1, 1, 2)), T, [6], [False]),
    "index add": (vector(lambda s, x: x.new_zeros(3, 6).index_add_(0, AT, x)), V, [6], [False]),
    "index add of zeros": (vector(lambda s, x: torch.index_add(torch.zeros(3, 6, dtype=x.dtype), 0, AT, x)), V, [6], [False]),
    "index add to channels": (vector(lambda s, x: x.new_zeros(3, 3).index_add(1, AT.repeat(2), x), 3), V, [], []),
    "index copy": (vector(lambda s, x: torch.zeros_like(x).index_copy(0, AT.sort()[0], x)), V, [6], [False]),
    "masked scatter of rows": (tokens(lambda s, x: x.masked_scatter(ROWS, x[:, 1:].flatten(0, 1))), T, [6], [False]),
    "masked scatter of numbers": (tokens(lambda s, x: x.masked_scatter(ROWS.expand(1, -1, 6).clone(), x[:, 1:])), T, [], []),
    "scatter add": (
        vector(lambda s, x: torch.zeros(3, 6, dtype=x.dtype).scatter_add(0, (x[:, :1] > 0).long().expand(3, 6), x)),
        V, [5], [False],
    ),
    "scatter to part of the channels": (
        vector(lambda s, x: x.scatter(1, torch.tensor([[0, 2]] * 3), x[:, :2])), V, [], [],
    ),
    "scatter reduce": (
        vector(lambda s, x: torch.zeros_like(x).scatter_reduce(0, AT[:, None].expand_as(x), x, "amax")), V, [6], [False],
    ),
    "parts side by side": (vector(lambda s, x: torch.hsplit(x, 3)[1] * x.hsplit(3)[0], 2), V, [2], [False]),
    "parts one below the other": (vector(lambda s, x: torch.cat(x.vsplit([1]), 0)), V, [6], [False]),
    "running sums over channels": (vector(lambda s, x: x.cumsum(1)), V, [], []),
    "running sums over positions": (tokens(lambda s, x: torch.cumsum(x, dim=1)), T, [6], [False]),
    "distance": (vector(lambda s, x: x * F.pairwise_distance(x, x.relu())[:, None]), V, [6], [True]),
    "distance, kept": (vector(lambda s, x: x * F.pairwise_distance(x, x.relu(), keepdim=True)), V, [6], [True]),
    "bilinear function": (
        vector(lambda s, x: F.bilinear(x, x.relu(), s.w, s.b), 5, w=torch.randn(5, 6, 6), b=torch.randn(5)),
        V, [6, 5], [False] * 2,
    ),
    "patches put together": (
        picture(nn.Unfold(2), nn.ReLU(), Call(lambda s, x: F.fold(x, (4, 4), 2))), P, [8], [False],
    ),
    "computed kernel": (
        picture(Call(lambda s, x: F.conv2d(x, s.w * 2, s.b, padding=1), w=torch.randn(5, 8, 3, 3), b=torch.randn(5)),
                nn.Conv2d(5, 8, 1)), P, [8, 8, 5], [False] * 3,
    ),
    "computed kernel, in groups": (
        picture(Call(lambda s, x: F.conv2d(x, s.w * 2, groups=2), w=torch.randn(8, 4, 1, 1))), P, [], [],
    ),
    "transposed kernel": (
        picture(Call(lambda s, x: F.conv_transpose2d(x, s.w, s.b, 2), w=torch.randn(8, 5, 2, 2), b=torch.randn(5)),
                nn.Conv2d(5, 8, 1)), P, [8, 5, 8], [False] * 3,
    ),
    "transposed kernel, computed": (
        picture(Call(lambda s, x: F.conv_transpose2d(x, s.w * 2, bias=s.b), w=torch.randn(8, 5, 2, 2), b=torch.randn(5)),
                nn.Conv2d(5, 8, 1)), P, [8, 8, 5], [False] * 3,
    ),
    "transposed kernel, in groups": (
        picture(Call(lambda s, x: F.conv_transpose2d(x, s.w, s.b, groups=2), w=torch.randn(8, 4, 1, 1), b=torch.randn(8))),
        P, [4, 4], [False] * 2,
    ),
    "transposed kernel, one to a channel": (
        picture(Call(lambda s, x: F.conv_transpose2d(x, s.w, groups=8), w=torch.randn(8, 1, 1, 1))), P, [8], [False],
    ),
    "transposed kernel, computed, in groups": (
        picture(Call(lambda s, x: F.conv_transpose2d(x, s.w * 2, s.b, groups=2), w=torch.randn(8, 4, 1, 1), b=torch.randn(8))),
        P, [], [],
    ),
    "kernel, one to a channel": (
        picture(Call(lambda s, x: F.conv2d(x, s.w, groups=8), w=torch.randn(16, 1, 1, 1)), read=16), P, [8], [False],
    ),
    "kernel, computed, one to a channel": (
        picture(Call(lambda s, x: F.conv2d(x, s.w * 2, s.b, 1, 0, 1, x.shape[1]), w=torch.randn(8, 1, 3, 3), b=torch.randn(8))),
        P, [8], [False],
    ),
    "places of maxima": (picture(nn.MaxPool2d(2, return_indices=True), Call(lambda s, x: x[0])), P, [8], [False]),
    "put back at their places": (
        picture(Call(lambda s, x: (lambda d: s.up(d[0], d[1], output_size=x.shape))(s.down(x)),
                     down=nn.MaxPool2d(2, return_indices=True), up=nn.MaxUnpool2d(2))),
        P, [8], [False],
    ),
    "put back by functions": (
        picture(Call(lambda s, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True)[:2], 2))), P, [8], [False],
    ),
    "adaptive maxima": (picture(Call(lambda s, x: F.adaptive_max_pool2d(x, 2, return_indices=True)[0])), P, [8], [False]),
    "spectrum of positions": (
        picture(Call(lambda s, x: torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho") * s.w, s=x.shape[2:]),
                     w=torch.randn(8, 4, 3))),
        P, [8], [False],
    ),
    "spectrum of channels": (vector(lambda s, x: torch.fft.fft(x).abs()), V, [], []),
    "dots": (vector(lambda s, x: (x.tanh() * s.w).sum(1, keepdim=True), 1, w=torch.randn(6)), V, [6], [False]),
    "dots of what is never 0": (vector(lambda s, x: torch.sum(x.exp() * x.exp(), 1, True), 1), V, [], []),
    "noise of Gumbel over positions": (tokens(lambda s, x: F.gumbel_softmax(x, dim=1) * 0 + x), T, [6], [False]),
    "sizes of the inputs": (vector(lambda s, x: torch.cat([x, torch.ones(x.size(0), 2)], 1), 8), V, [6], [False]),
    "repeat": (vector(lambda s, x: x.repeat(1, 2), 12), V, [], []),
    "squeeze a dimension": (vector(lambda s, x: x[:, None, :].squeeze(1)), V, [6], [False]),
    "squeeze all": (vector(lambda s, x: x[:, None].squeeze()), V, [6], [False]),
    "groups in the code": (
        picture(Call(lambda s, x: F.conv2d(x, s.w, groups=2), w=torch.randn(8, 4, 1, 1))), P, [4, 4], [False] * 2,
    ),
    "double transposition": (vector(lambda s, x: x.t().relu().T), V, [6], [False]),
    "unbind": (vector(lambda s, x: torch.stack([x, x.relu()]).unbind(0)[1]), V, [6], [False]),
    "movedim": (tokens(lambda s, x: x.movedim(2, 0).relu().movedim(0, -1)), T, [6], [False]),
    "swapped": (tokens(lambda s, x: x.mT.swapaxes(1, 2)), T, [6], [False]),
    "zeros like": (vector(lambda s, x: torch.cat([x, torch.zeros_like(x)], 1), 12), V, [6], [False]),
    "zeros of a size": (vector(lambda s, x: x + x.new_zeros(x.shape[0], 6)), V, [6], [False]),
    "product with a parameter": (vector(lambda s, x: x @ s.w, 5, w=torch.randn(6, 5)), V, [6, 5], [False] * 2),
    "einsum": (vector(lambda s, x: torch.einsum("bi,oi->bo", x, s.w), 5, w=torch.randn(5, 6)), V, [6, 5], [False] * 2),
    "linear by name": (
        vector(lambda s, x: F.linear(x, bias=s.b, weight=s.w), 5, w=torch.randn(5, 6), b=torch.randn(5)),
        V, [6, 5], [False] * 2,
    ),
    "channels by channels": (tokens(lambda s, x: x @ (x.mT @ x)), T, [6], [False]),
    "attention over channels": (
        tokens(lambda s, x: F.scaled_dot_product_attention(x.mT, x.mT, x.mT).mT), T, [6], [True],
    ),
    "scale by a size": (tokens(lambda s, x: (x @ x.mT * x.size(-1) ** -0.5) @ x), T, [6], [True]),
    "type": (vector(lambda s, x: x.float().to(x.dtype).type_as(x)), V, [6], [False]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_groups_and_what_is_left_when_they_are_cut(name: str) -> None:
    torch.manual_seed(0)
    net, x, sizes, mixed = CASES[name]
    graph = Graph.of(stirred(copy.deepcopy(net).double()), x)
    assert [group.size for group in graph.groups] == sizes
    assert [bool(group.mixed) for group in graph.groups] == mixed
    plan = graph.plan({g.name: range(0, g.size, 2) for g in graph.groups if g.size > 1})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    assert graph.traced(x).shape == net.double()(x).shape
    if not any(mixed):
        torch.testing.assert_close(graph.traced(x), masked(x), rtol=1e-10, atol=1e-10)
    assert Graph.of(graph.traced, x).widths == graph.after(plan).widths


REFUSED: dict[str, tuple[nn.Module, Tensor, str]] = {
    "no batch": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(0), nn.Linear(144, 2)), P[0], "its input has 3 dimensions"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    net, x, message = REFUSED[name]
    with pytest.raises(TraceError, match=message) as caught:
        Graph.of(net.double(), x)
    assert "node '" in str(caught.value)


def test_t4_channels_of_a_grouped_convolution_go_in_equal_numbers_from_every_group() -> None:
    graph = Graph.of(CASES["conv of 2 groups"][0].double(), P)
    first = graph.groups[0]
    assert first.slots[0].positions == ((0, 4), (1, 5), (2, 6), (3, 7))


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 8), Call(lambda s, x: F.group_norm(x, 2))])
def test_group_norm_loses_whole_groups_or_as_many_channels_of_each(norm: nn.Module) -> None:
    net = picture(norm).double()
    whole, inside = (Graph.of(copy.deepcopy(net), P, heads=heads) for heads in ("whole", "inside"))
    assert whole.groups[0].slots[0].positions == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert inside.groups[0].slots[0].positions == ((0, 4), (1, 5), (2, 6), (3, 7))
    assert not whole.groups[0].mixed and inside.groups[0].mixed
    for graph, left in ((whole, 4), (inside, 6)):
        apply(graph.plan({graph.groups[0].name: [0]}), graph.traced)
        assert graph.traced.get_submodule("0").weight.shape[0] == left
        assert graph.traced(P).shape == net(P).shape


def test_attention_loses_whole_heads() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True).double()
    graph = Graph.of(nn.Sequential(layer, nn.Linear(4, 2).double()), T)
    heads, hidden = graph.groups
    assert (heads.size, hidden.size, heads.mixed, hidden.mixed) == (2, 6, (), ())
    assert heads.slots[0].positions[1] == (2, 3, 6, 7, 10, 11)
    apply(graph.plan({heads.name: [0], hidden.name: [1, 4]}), graph.traced)
    assert graph.traced(T).shape == (2, 5, 2)

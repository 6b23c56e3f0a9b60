"""What goes of channels that are split into heads: whole heads, or the same channels inside of each."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.pruning.channels import Limits, Options, retrain_structured

from ..networks import mask, stirred

D, H = 12, 3
X = torch.randn(4, 5, D, generator=torch.Generator().manual_seed(0)).double()


class Attending(nn.Module):
    """Attention of three heads of four, in one of the usual spellings."""

    def __init__(self, how: str, scale: float | None = 0.5) -> None:
        super().__init__()
        self.how, self.scale = how, scale
        if how == "apart":
            self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))
        else:
            self.qkv = nn.Linear(D, 3 * D)
        self.proj, self.head = nn.Linear(D, 6), nn.Linear(6, 2)

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        b, n, _ = x.shape
        if self.how == "reshape":
            each = self.qkv.out_features // (3 * H)
            return self.qkv(x).reshape(b, n, 3, H, each).permute(2, 0, 3, 1, 4).unbind(0)
        parts = (
            (self.q(x), self.k(x), self.v(x)) if self.how == "apart" else self.qkv(x).chunk(3, -1)
        )
        return tuple(part.view(b, n, H, -1).transpose(1, 2) for part in parts)

    def forward(self, x: Tensor) -> Tensor:
        y = F.scaled_dot_product_attention(*self.heads(x), scale=self.scale)
        return self.head(F.relu(self.proj(y.transpose(1, 2).flatten(2)).mean(1)))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reshape", pytest.param("chunk", marks=pytest.mark.slow), "apart"])
def test_whole_heads_go_or_channels_inside_of_all_of_them(how: str) -> None:
    net = Attending(how).double().eval()
    maker = "q" if how == "apart" else "qkv"
    assert Graph.of(copy.deepcopy(net), X).widths == {maker: H, "proj": 6}
    graph = Graph.of(copy.deepcopy(net), X, heads="inside")
    inside = {"q": D // H, "v": D // H} if how == "apart" else {"qkv": D // H}
    assert graph.widths == {**inside, "proj": 6}
    assert not any(group.mixed for group in graph.groups)


@pytest.mark.parametrize("how", ["reshape", pytest.param("chunk", marks=pytest.mark.slow), "apart"])
def test_without_channels_inside_of_heads_a_network_is_the_one_with_zeros(how: str) -> None:
    graph = Graph.of(Attending(how).double().eval(), X, heads="inside")
    plan = graph.plan(dict.fromkeys(graph.widths, (1, 2)))
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    rows = graph.traced.get_submodule("proj").in_features
    assert rows == H * 2
    assert torch.allclose(graph.traced(X), masked(X), rtol=0, atol=1e-12)


def test_a_scale_that_follows_the_size_of_a_head_keeps_queries_and_keys_whole() -> None:
    net = Attending("apart", scale=None).double().eval()
    graph = Graph.of(net, X, heads="inside")
    mixed = {group.name: bool(group.mixed) for group in graph.groups}
    assert mixed == {"q": True, "v": False, "proj": False}
    kept = nd.slim(net, share=0.5, scope="layer", example=X, heads="inside")
    assert kept.widths == {"q": 4, "v": 2, "proj": 3}
    small = nd.slim(net, share=0.5, scope="layer", example=X, heads="inside", exact=False)
    assert small.widths == {"q": 2, "v": 2, "proj": 3}
    assert isinstance(small.family.export(small.family.config.lams[0]), Attending)


@pytest.mark.slow
def test_rounds_go_on_where_one_head_is_left() -> None:
    torch.manual_seed(0)
    net = Attending("reshape").eval()
    data = (X.float(), torch.tensor([0, 1, 0, 1]))
    options = Options(limits=Limits("layer"))
    done = retrain_structured(
        net, None, data, share=0.9, rounds=2, options=options, epochs=1, batch_size=4
    )
    assert done[0].trained.widths == {"proj": 2}
    assert [row.group for row in done[-1].trained.rows] == ["qkv", "proj"]
    assert [row.before for row in done[-1].trained.rows] == [H, 6]
    assert [row.after for row in done[-1].trained.rows] == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reshape", pytest.param("chunk", marks=pytest.mark.slow), "apart"])
def test_whole_heads_fade_while_a_network_trains(how: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(48, 5, D)
    y = (x[:, 0, 0] > 0).long()
    size = "330 params"  # 554 with three heads of 52 weights for each of q, k, v, and as many again behind
    shrunk = nd.shrink(Attending(how), (x, y), size=size, epochs=4, batch_size=12)
    assert shrunk.widths["q" if how == "apart" else "qkv"] < H
    assert abs(shrunk.n_params - 330) < 110, "to within a head"


class Shared(nn.Module):
    """Attention in which two heads of queries read one of keys and values, repeated by ``expand``."""

    def __init__(self, *, sizes: bool) -> None:
        super().__init__()
        self.first, self.last, self.sizes = nn.Linear(5, 16), nn.Linear(16, 3), sizes
        self.q, self.k, self.v, self.o = (nn.Linear(16, n) for n in (16, 8, 8, 16))

    def repeated(self, x: Tensor) -> Tensor:
        b, heads, n, each = x.shape
        if self.sizes:
            return x[:, :, None].expand(b, heads, 2, n, each).reshape(b, heads * 2, n, each)
        return x.unsqueeze(2).expand(-1, -1, 2, -1, -1).reshape(b, heads * 2, n, -1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        b, n, _ = x.shape
        q, k, v = (f(x).view(b, n, -1, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q @ self.repeated(k).transpose(2, 3) / 2, -1)
        y = (weights @ self.repeated(v)).transpose(1, 2).reshape(b, n, -1)
        found: Tensor = self.last(x + self.o(y))
        return found


@pytest.mark.parametrize("sizes", [True, False])
def test_heads_that_share_keys_and_values_go_together(sizes: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 7, 5).double()
    graph = Graph.of(stirred(Shared(sizes=sizes).double()), x)
    assert graph.widths == {"first": 16, "q": 2}
    plan = graph.plan({"q": [0]})
    masked = copy.deepcopy(graph.traced)
    mask(masked, plan)
    apply(plan, graph.traced)
    torch.testing.assert_close(graph.traced(x), masked(x), rtol=1e-10, atol=1e-10)
    shapes = {name: tuple(leaf.shape) for name, leaf in graph.traced.named_parameters()}
    assert [shapes[f"{name}.weight"] for name in "qkvo"] == [(8, 16), (4, 16), (4, 16), (16, 8)]

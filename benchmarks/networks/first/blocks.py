"""Small networks as people write them, with inputs and the groups that can lose channels: for the figure ``zoo`` and tests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.inputs import Maker

T = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
V = torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
P = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
TOKENS = torch.arange(10).reshape(2, 5)


class Made(nn.Module):
    """Parts by name, and a forward pass."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            if isinstance(part, Tensor) and (
                name in ("mean", "var") or not part.is_floating_point()
            ):
                self.register_buffer(name, part)
            else:
                setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class DropPath(nn.Module):
    """Drops a branch for some examples in training."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (torch.rand(x.shape[0], *[1] * (x.ndim - 1), dtype=x.dtype) > 0.3) / 0.7


def transformer(attend: Callable[[Any, Tensor], Any], **parts: Any) -> nn.Module:
    """A block over tokens with attention of 4 heads of 4, and a multilayer perceptron."""

    def run(s: Any, x: Tensor) -> Any:
        x = s.i(x)
        x = x + attend(s, s.norm(x))
        x = x + s.f2(F.gelu(s.f1(x)))
        return s.head(x.mean(1))

    standard = {"i": nn.Linear(8, 16), "norm": nn.LayerNorm(16), "o": nn.Linear(16, 16)}
    standard |= {"f1": nn.Linear(16, 24), "f2": nn.Linear(24, 16), "head": nn.Linear(16, 3)}
    return Made(run, **standard, **parts)


def fused_by_reshape(s: Any, x: Tensor) -> Any:
    b, n, c = x.shape
    q, k, v = s.qkv(x).reshape(b, n, 3, 4, c // 4).permute(2, 0, 3, 1, 4).unbind(0)
    y = ((q * 0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
    return s.o(y.transpose(1, 2).reshape(b, n, c))


def fused_by_chunk(s: Any, x: Tensor) -> Any:
    b, n, c = x.shape
    q, k, v = (part.view(b, n, 4, c // 4).transpose(1, 2) for part in s.qkv(x).chunk(3, dim=-1))
    return s.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous().view(b, n, c))


def fused_by_split(s: Any, x: Tensor) -> Any:
    b, n, c = x.size()
    q, k, v = (part.view(b, n, 4, c // 4).transpose(1, 2) for part in s.qkv(x).split(16, dim=2))
    return s.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).contiguous().view(b, n, c))


def apart(s: Any, x: Tensor) -> Any:
    b, n, _ = x.shape
    q, k, v = (layer(x).view(b, n, 4, 4).transpose(1, 2) for layer in (s.q, s.k, s.v))
    y = F.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=s.bias)
    return s.o(y.transpose(1, 2).reshape(b, n, 16))


def grouped_queries(s: Any, x: Tensor) -> Any:
    b, n, _ = x.shape
    q = s.q(x).view(b, n, 4, 4).transpose(1, 2)
    k, v = (
        layer(x).view(b, n, 2, 4).transpose(1, 2).repeat_interleave(2, dim=1)
        for layer in (s.k2, s.v2)
    )
    return s.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1))


def class_token(s: Any, x: Tensor) -> Any:
    x = s.i(x)
    x = torch.cat([s.cls.expand(x.shape[0], -1, -1), x], dim=1)
    x = x + s.pos[:, : x.shape[1]]
    x = x + s.drop(s.f2(F.gelu(s.f1(x))))
    return s.head(x[:, 0])


def squeeze_and_excite(s: Any, x: Tensor) -> Any:
    x = s.c(x)
    b, c, _, _ = x.shape
    w = x.mean((2, 3)).view(b, c)
    return s.d(x * torch.sigmoid(s.b(F.relu(s.a(w)))).view(b, c, 1, 1))


def ghost(s: Any, x: Tensor) -> Any:
    one = F.relu(s.c(x))
    return s.d(torch.cat([one, F.relu(s.cheap(one))], 1)[:, :12])


def cells(s: Any, x: Tensor) -> Any:
    h = x.new_zeros(x.shape[0], 6)
    for step in range(3):
        h = s.cell(x[:, step], h)
    return s.head(h)


def long_cells(s: Any, x: Tensor) -> Any:
    state = (x.new_zeros(x.shape[0], 6), x.new_zeros(x.shape[0], 6))
    for step in range(3):
        state = s.cell(x[:, step], state)
    return s.head(state[0])


def started(s: Any, x: Tensor) -> Any:
    out, _ = s.rnn(x, torch.zeros(1, x.size(0), 6, dtype=x.dtype))
    return s.head(out[:, -1])


def positions(s: Any, x: Tensor) -> Any:
    seen = torch.cumsum((x[..., 0] > 0).long(), 1)
    weight = torch.gather(s.table.expand(x.shape[0], -1), 1, seen).softmax(1)
    return s.head((F.relu(s.a(x)) * weight[..., None]).sum(1))


def pointnet(s: Any, x: Tensor) -> Any:
    return s.head(
        torch.max(F.relu(s.a(x)), 1, keepdim=False)[0] + F.relu(s.a(x)).topk(2, dim=1).values.sum(1)
    )


def tied(s: Any, x: Tensor) -> Any:
    return F.linear(F.relu(s.a(x)), s.a.weight.t())


def cosine_head(s: Any, x: Tensor) -> Any:
    return F.linear(F.normalize(s.b(F.relu(s.a(x))), dim=-1), F.normalize(s.w, dim=-1))


def conv1d(s: Any, x: Tensor) -> Any:
    h = torch.addmm(s.bias, x.view(-1, x.size(-1)), s.w).view(*x.shape[:-1], 12)
    return s.head(F.relu(h)).mean(1)


def last_token(s: Any, x: Tensor) -> Any:
    h = F.relu(s.a(x))
    return s.head(h[torch.arange(h.shape[0]), s.which])


A, B, H = nn.Linear(8, 12), nn.Linear(12, 6), nn.Linear(12, 3)
QKV = {"qkv": nn.Linear(16, 48)}
EACH = {"q": nn.Linear(16, 16), "k": nn.Linear(16, 16), "v": nn.Linear(16, 16)}
VIT = {
    "i": nn.Linear(8, 16),
    "cls": torch.randn(1, 1, 16),
    "pos": torch.randn(1, 9, 16),
    "drop": DropPath(),
}
VIT |= {"f1": nn.Linear(16, 24), "f2": nn.Linear(24, 16), "head": nn.Linear(16, 3)}
SE = {"c": nn.Conv2d(3, 8, 3), "a": nn.Linear(8, 4), "b": nn.Linear(4, 8), "d": nn.Conv2d(8, 2, 1)}
GHOST = {
    "c": nn.Conv2d(3, 6, 1),
    "cheap": nn.Conv2d(6, 6, 3, padding=1, groups=6),
    "d": nn.Conv2d(12, 2, 1),
}

BLOCKS: dict[str, tuple[nn.Module, Tensor, dict[str, int]]] = {
    "fused qkv by reshape": (transformer(fused_by_reshape, **QKV), T, {"qkv": 4, "f1": 24}),
    "fused qkv by chunk": (transformer(fused_by_chunk, **QKV), T, {"qkv": 4, "f1": 24}),
    "fused qkv by split": (transformer(fused_by_split, **QKV), T, {"qkv": 4, "f1": 24}),
    "a mask for each head": (transformer(apart, **EACH, bias=torch.randn(1, 4, 5, 5)), T, {"q": 4, "f1": 24}),
    "grouped queries": (
        transformer(grouped_queries, q=nn.Linear(16, 16), k2=nn.Linear(16, 8), v2=nn.Linear(16, 8)), T, {"q": 2, "f1": 24},
    ),
    "class token and DropPath": (Made(class_token, **VIT), T, {"i": 16, "f1": 24}),
    "squeeze and excite": (Made(squeeze_and_excite, **SE), P, {"c": 8, "a": 4}),
    "ghost": (Made(ghost, **GHOST), P, {"c": 6}),
    "GRU cells": (Made(cells, cell=nn.GRUCell(8, 6), head=nn.Linear(6, 3)), T, {"cell.weight_hh": 6}),
    "LSTM cells": (Made(long_cells, cell=nn.LSTMCell(8, 6), head=nn.Linear(6, 3)), T, {"cell.weight_hh": 6}),
    "start state": (
        Made(started, rnn=nn.GRU(8, 6, batch_first=True), head=nn.Linear(6, 3)), T, {"rnn.weight_hh_l0": 6},
    ),
    "gather and cumsum of positions": (Made(positions, table=torch.randn(1, 9), a=A, head=H), T, {"a": 12}),
    "max and topk over points": (Made(pointnet, a=A, head=H), T, {"a": 12}),
    "tied": (Made(tied, a=A), V, {"a": 12}),
    "cosine head": (Made(cosine_head, a=A, b=B, w=torch.randn(3, 6)), V, {"a": 12}),
    "Conv1D": (Made(conv1d, w=torch.randn(8, 12), bias=torch.randn(12), head=H), T, {"w": 12}),
    "last token": (Made(last_token, a=A, head=H, which=torch.tensor([1, 3])), T, {"a": 12}),
    "GLU": (nn.Sequential(nn.Linear(8, 12), nn.GLU(), nn.Linear(6, 3)), V, {"0": 6}),
    "SwiGLU by chunk": (
        Made(lambda s, x: s.head((lambda a, b: F.silu(a) * b)(*s.a(x).chunk(2, -1))), a=A, head=nn.Linear(6, 3)), V, {"a": 6},
    ),
    "pixel shuffle": (nn.Sequential(nn.Conv2d(3, 12, 1), nn.PixelShuffle(2), nn.Conv2d(3, 2, 1)), P, {"0": 3}),
    "pixel unshuffle": (nn.Sequential(nn.Conv2d(3, 4, 1), nn.PixelUnshuffle(2), nn.Conv2d(16, 2, 1)), P, {"0": 4}),
    "channel shuffle": (nn.Sequential(nn.Conv2d(3, 8, 1), nn.ChannelShuffle(2), nn.Conv2d(8, 2, 1)), P, {"0": 4}),
    "functional batch norm": (
        Made(lambda s, x: s.d(F.batch_norm(s.c(x), s.mean, s.var, s.w, s.z)), c=nn.Conv2d(3, 8, 1), d=nn.Conv2d(8, 2, 1),
             mean=torch.randn(8), var=torch.rand(8) + 1, w=torch.randn(8), z=torch.randn(8)), P, {"c": 8},
    ),
    "functional layer norm": (
        Made(lambda s, x: s.head(F.layer_norm(F.relu(s.b(F.relu(s.a(x)))), (6,), s.w, s.z)), a=A, b=B, head=nn.Linear(6, 3),
             w=torch.randn(6), z=torch.randn(6)), V, {"a": 12},
    ),
    "a view of one layer's width": (Made(lambda s, x: s.head(F.relu(s.a(x)).view(-1, 12)), a=A, head=H), V, {"a": 12}),
    "split into readers": (
        Made(lambda s, x: (lambda a, b: s.b(a) + s.c(b))(*s.a(x).split([8, 4], 1)), a=A, b=nn.Linear(8, 3), c=nn.Linear(4, 3)),
        V, {"a": 8, "a#2": 4},
    ),
    "flip of positions": (Made(lambda s, x: s.head(F.relu(s.a(x)).flip(1).roll(1, 1).mean(1)), a=A, head=H), T, {"a": 12}),
    "embedding bag": (nn.Sequential(nn.EmbeddingBag(10, 8), nn.Linear(8, 3)), TOKENS, {"0": 8}),
    "patches by unfold": (
        Made(lambda s, x: s.d(F.unfold(F.relu(s.c(x)), 3).transpose(1, 2)).mean(1), c=nn.Conv2d(3, 6, 3), d=nn.Linear(54, 5)),
        P, {"c": 6},
    ),
    "keywords": (Made(lambda s, x: s.head(input=torch.cat(tensors=[s.a(input=x)], dim=1)), a=A, head=H), V, {"a": 12}),
}  # fmt: skip


def networks() -> dict[str, Maker]:
    """Returns what makes a copy of each block, and its inputs."""

    def make(net: nn.Module, x: Tensor) -> Maker:
        return lambda: (copy.deepcopy(net), x)

    return {name: make(net, x) for name, (net, x, _) in BLOCKS.items()}

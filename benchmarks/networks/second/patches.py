"""Networks of the zoo over patches of images and latent arrays."""

# ruff: noqa: N806 - names as in the papers
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.second.backbones import IMAGES
from benchmarks.networks.second.tokens import FRAMES


class MlpMixer(nn.Module):
    def __init__(self, p: int = 4, d: int = 8) -> None:
        super().__init__()
        self.p, n = p, (16 // p) ** 2
        self.embed = nn.Linear(3 * p * p, d)
        self.token = nn.ModuleList(
            [nn.Sequential(nn.Conv1d(n, 12, 1), nn.GELU(), nn.Conv1d(12, n, 1)) for _ in range(2)]
        )
        self.channel = nn.ModuleList(
            [nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d)) for _ in range(2)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(d) for _ in range(4)])
        self.head = nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        p = self.p
        x = (
            x.reshape(b, c, h // p, p, w // p, p)
            .permute(0, 2, 4, 3, 5, 1)
            .reshape(b, (h // p) * (w // p), p * p * c)
        )
        x = self.embed(x)
        for i in range(2):
            x = self.token[i](self.norms[2 * i](x)) + x
            x = self.channel[i](self.norms[2 * i + 1](x)) + x
        return self.head(x.mean(dim=1))


class SwinBlock(nn.Module):
    def __init__(self, dim: int, heads: int, ws: int, shift: int) -> None:
        super().__init__()
        self.heads, self.ws, self.shift, self.scale = heads, ws, shift, (dim // heads) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.table = nn.Parameter(torch.randn((2 * ws - 1) ** 2, heads))
        coords = torch.stack(
            torch.meshgrid(torch.arange(ws), torch.arange(ws), indexing="ij")
        ).flatten(1)
        rel = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0).contiguous() + ws - 1
        rel[:, :, 0] *= 2 * ws - 1
        self.register_buffer("index", rel.sum(-1))

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        shortcut, ws = x, self.ws
        x = self.norm1(x)
        if self.shift > 0:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        x = (
            x.view(B, H // ws, ws, W // ws, ws, C)
            .permute(0, 1, 3, 2, 4, 5)
            .contiguous()
            .view(-1, ws * ws, C)
        )
        B_, N, _ = x.shape
        qkv = self.qkv(x).reshape(B_, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.table[self.index.view(-1)].view(N, N, -1).permute(2, 0, 1).contiguous()
        attn = (attn + bias.unsqueeze(0)).softmax(dim=-1)
        x = self.proj((attn @ v).transpose(1, 2).reshape(B_, N, C))
        x = (
            x.view(B, H // ws, W // ws, ws, ws, -1)
            .permute(0, 1, 3, 2, 4, 5)
            .contiguous()
            .view(B, H, W, -1)
        )
        if self.shift > 0:
            x = torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2))
        x = shortcut + x
        return x + self.mlp(self.norm2(x))


class Swin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.blocks = nn.ModuleList([SwinBlock(8, 2, 4, s) for s in (0, 2)])
        self.reduction, self.norm = nn.Linear(4 * 8, 12, bias=False), nn.LayerNorm(32)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.head(self.reduction(self.norm(x)).flatten(1, 2).mean(1))


class DistilledVit(nn.Module):
    """Class and distillation tokens; two heads whose mean is given in evaluation. Spatial reduction as in PVT."""

    def __init__(self, d: int = 8, heads: int = 2, sr: int = 2) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, d, 4, 4)
        self.cls, self.dist = nn.Parameter(torch.zeros(1, 1, d)), nn.Parameter(torch.randn(1, 1, d))
        self.pos = nn.Parameter(torch.randn(1, 18, d) * 0.02)
        self.h, self.q, self.kv, self.proj = (
            heads,
            nn.Linear(d, d),
            nn.Linear(d, 2 * d),
            nn.Linear(d, d),
        )
        self.sr, self.norm = nn.Conv2d(d, d, sr, sr), nn.LayerNorm(d)
        self.ls = nn.Parameter(1e-1 * torch.ones(d))
        self.head, self.head_dist = nn.Linear(d, 5), nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Any:
        B = x.shape[0]
        x = self.patch(x).flatten(2).transpose(1, 2)
        B, N, C = x.shape
        q = self.q(x).reshape(B, N, self.h, C // self.h).permute(0, 2, 1, 3)
        side = int(math.sqrt(N))
        x_ = self.norm(
            self.sr(x.permute(0, 2, 1).reshape(B, C, side, side)).reshape(B, C, -1).permute(0, 2, 1)
        )
        kv = self.kv(x_).reshape(B, -1, 2, self.h, C // self.h).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, kv[0], kv[1])
        x = x + self.ls * self.proj(a.transpose(1, 2).reshape(B, N, C))
        x = (
            torch.cat((self.cls.expand(B, -1, -1), self.dist.expand(B, -1, -1), x), dim=1)
            + self.pos
        )
        x, x_dist = self.head(x[:, 0]), self.head_dist(x[:, 1])
        if self.training:
            return x, x_dist
        return (x + x_dist) / 2


class Perceiver(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(4, 8))
        self.to_q, self.to_kv, self.out = (
            nn.Linear(8, 8, bias=False),
            nn.Linear(10, 16, bias=False),
            nn.Linear(8, 8),
        )
        self.norm, self.ctx = nn.LayerNorm(8), nn.LayerNorm(10)
        self.ff = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
        self.logits = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3))

    def forward(self, data: Tensor) -> Tensor:
        b, h = data.shape[0], 2
        x = self.latents[None].repeat(b, 1, 1)
        q, (k, v) = self.to_q(self.norm(x)), self.to_kv(self.ctx(data)).chunk(2, dim=-1)
        split = lambda t: t.reshape(b, t.shape[1], h, -1).transpose(1, 2).flatten(0, 1)  # noqa: E731
        q, k, v = map(split, (q, k, v))
        sim = torch.einsum("b i d, b j d -> b i j", q, k) * (8 // h) ** -0.5
        out = torch.einsum("b i j, b j d -> b i d", sim.softmax(dim=-1), v)
        x = self.out(out.reshape(b, h, 4, -1).transpose(1, 2).flatten(2)) + x
        return self.logits((self.ff(x) + x).mean(dim=-2))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "mlp_mixer_patches": lambda: (MlpMixer(), IMAGES),
    "swin_roll_merge": lambda: (Swin(), IMAGES),
    "deit_distilled_pvt": lambda: (DistilledVit(), IMAGES),
    "perceiver_latents": lambda: (Perceiver(), FRAMES),
}

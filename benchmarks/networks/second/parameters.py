"""Networks of the zoo whose weights are computed, or that carry a state along."""

# ruff: noqa: N806 - names as in the papers
from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.second.backbones import IMAGES
from benchmarks.networks.second.tabular import LONG, ROWS


class LoraLinear(nn.Module):
    def __init__(self, linear: nn.Linear, r: int = 2, alpha: float = 4.0) -> None:
        super().__init__()
        self.linear, self.scaling = linear, alpha / r
        self.linear.weight.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.randn(r, linear.in_features) * 0.1)
        self.lora_B = nn.Parameter(torch.randn(linear.out_features, r) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scaling


class FiLMNet(nn.Module):
    """Conditioning on a vector by kwargs; LoRA layers; a running mean that training moves."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = LoraLinear(nn.Linear(8, 12)), LoraLinear(nn.Linear(12, 10))
        self.film, self.out = nn.Linear(6, 24), nn.Linear(10, 2)
        self.register_buffer("ema", torch.zeros(12))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        h = self.a(x)
        if self.training:
            self.ema.mul_(0.9).add_(h.detach().mean(0), alpha=0.1)
        h = h - self.ema
        if cond is not None:
            gamma, beta = self.film(cond).chunk(2, -1)
            h = (1 + gamma) * h + beta
        return self.out(torch.relu(self.b(torch.relu(h))))


class QuantLinear(nn.Linear):
    """A layer with fake quantised weights and a straight-through gradient."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 7
        q = torch.clamp(torch.round(self.weight / scale), -8, 7) * scale
        return F.linear(x, self.weight + (q - self.weight).detach(), self.bias)


class Bits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l1, self.l2, self.l3 = QuantLinear(8, 16), QuantLinear(16, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.l3(F.relu6(self.l2(F.relu6(self.l1(x)))))


class Kan(nn.Module):
    """Efficient KAN: B-splines on a grid buffer beside a base weight."""

    def __init__(self, sizes: tuple[int, ...] = (8, 6, 2), grid: int = 3, k: int = 2) -> None:
        super().__init__()
        self.k = k
        self.register_buffer("grid", torch.arange(-k, grid + k + 1) * (2 / grid) - 1)
        pairs = list(pairwise(sizes))
        self.base = nn.ParameterList([nn.Parameter(torch.randn(o, i) * 0.3) for i, o in pairs])
        self.spline = nn.ParameterList(
            [nn.Parameter(torch.randn(o, i, grid + k) * 0.1) for i, o in pairs]
        )

    def bases(self, x: Tensor) -> Tensor:
        g, x = self.grid, x.unsqueeze(-1)
        b = ((x >= g[:-1]) & (x < g[1:])).to(x.dtype)
        for k in range(1, self.k + 1):
            left = (x - g[: -(k + 1)]) / (g[k:-1] - g[: -(k + 1)])
            b = left * b[..., :-1] + (g[k + 1 :] - x) / (g[k + 1 :] - g[1:-k]) * b[..., 1:]
        return b

    def forward(self, x: Tensor) -> Tensor:
        for base, spline in zip(self.base, self.spline, strict=True):
            out = F.linear(F.silu(x), base)
            x = out + F.linear(self.bases(x).view(x.size(0), -1), spline.view(spline.size(0), -1))
        return x


class HyperNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.z, self.gen1, self.gen2 = (
            nn.Parameter(torch.randn(4)),
            nn.Linear(4, 10),
            nn.Linear(10, 8 * 6),
        )
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        w = self.gen2(torch.relu(self.gen1(self.z))).view(6, 8)
        return self.out(torch.relu(F.linear(x, w)))


class Maxout(nn.Module):
    """A maxout layer, a highway layer and complex numbers as two channels."""

    def __init__(self, pool: int = 2) -> None:
        super().__init__()
        self.pool, self.lin = pool, nn.Linear(8, 10 * pool)
        self.t, self.h = nn.Linear(10, 10), nn.Linear(10, 10)
        self.re, self.im = nn.Linear(5, 6), nn.Linear(5, 6)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        m, _ = self.lin(x).view(*x.shape[:-1], 10, self.pool).max(-1)
        gate = torch.sigmoid(self.t(m))
        m = gate * F.relu(self.h(m)) + (1 - gate) * m
        a, b = m[:, :5], m[:, 5:]
        re, im = self.re(a) - self.im(b), self.re(b) + self.im(a)
        return self.out(torch.sqrt(re**2 + im**2 + 1e-8))


class SelectiveScan(nn.Module):
    """Mamba as in the minimal implementations: a causal depthwise convolution and a loop over time."""

    def __init__(self, d: int = 6, inner: int = 8, n: int = 3, rank: int = 2) -> None:
        super().__init__()
        self.n, self.rank, self.inner = n, rank, inner
        self.in_proj, self.conv1d = (
            nn.Linear(d, inner * 2, bias=False),
            nn.Conv1d(inner, inner, 3, groups=inner, padding=2),
        )
        self.x_proj, self.dt_proj = (
            nn.Linear(inner, rank + n * 2, bias=False),
            nn.Linear(rank, inner),
        )
        self.A_log = nn.Parameter(torch.log(torch.arange(1, n + 1).float().repeat(inner, 1)))
        self.D, self.out_proj = nn.Parameter(torch.ones(inner)), nn.Linear(inner, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        u, res = self.in_proj(x).split(split_size=[self.inner, self.inner], dim=-1)
        u = F.silu(self.conv1d(u.transpose(1, 2))[:, :, :length].transpose(1, 2))
        delta, B, C = self.x_proj(u).split([self.rank, self.n, self.n], dim=-1)
        delta, A = F.softplus(self.dt_proj(delta)), -torch.exp(self.A_log)
        dA = torch.exp(torch.einsum("bld,dn->bldn", delta, A))
        dBu = torch.einsum("bld,bln,bld->bldn", delta, B, u)
        h, ys = torch.zeros((b, self.inner, self.n)).to(x), []
        for i in range(length):
            h = dA[:, i] * h + dBu[:, i]
            ys.append(torch.einsum("bdn,bn->bd", h, C[:, i]))
        return self.out_proj((torch.stack(ys, dim=1) + u * self.D) * F.silu(res))


class Rwkv(nn.Module):
    """Time mixing by a shifted pad and channel mixing."""

    def __init__(self, d: int = 6) -> None:
        super().__init__()
        self.shift, self.mix = nn.ZeroPad2d((0, 0, 1, -1)), nn.Parameter(torch.rand(1, 1, d))
        self.key, self.value, self.receptance = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.decay, self.output = nn.Parameter(torch.rand(d)), nn.Linear(d, d, bias=False)
        self.ck, self.cv = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln1(x)
        y = y * self.mix + self.shift(y) * (1 - self.mix)
        k, v, r = torch.exp(self.key(y)), self.value(y), torch.sigmoid(self.receptance(y))
        num = den = torch.zeros_like(k[:, 0])
        outs, w = [], torch.exp(-torch.exp(self.decay))
        for t in range(x.shape[1]):
            num, den = w * num + k[:, t] * v[:, t], w * den + k[:, t]
            outs.append(num / (den + 1e-6))
        x = x + self.output(r * torch.stack(outs, 1))
        return x + self.cv(torch.square(torch.relu(self.ck(self.ln2(x)))))


class Inception(nn.Module):
    """Branches by a dict of lists; pooled in one line; DropBlock in training."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {
                "1x1": nn.ModuleList([nn.Conv2d(3, 4, 1)]),
                "3x3": nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, (1, 3), padding=(0, 1))]),
                "pool": nn.ModuleList([nn.MaxPool2d(3, 1, 1), nn.Conv2d(3, 2, 1)]),
            }
        )
        self.fc = nn.Linear(12, 5)

    def _forward(self, x: Tensor) -> list[Tensor]:
        outs = []
        for layers in self.branches.values():
            y = x
            for layer in layers:
                y = layer(y)
            outs.append(torch.relu_(y))
        return outs

    def forward(self, x: Tensor) -> Tensor:
        h = torch.cat(self._forward(x), 1)
        if self.training:
            mask = (torch.rand(h.shape[0], *h.shape[2:]) < 0.1 / 9).to(h)
            block = 1 - F.max_pool2d(mask[:, None], 3, 1, 1).squeeze(1)
            h = h * block[:, None, :, :] * block.numel() / block.sum()
        return self.fc(h.flatten(2).mean(-1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "film_lora_ema": lambda: (FiLMNet(), {"x": ROWS, "cond": ROWS[:, :6]}),
    "quant_straight_through": lambda: (Bits(), ROWS),
    "kan_splines": lambda: (Kan(), ROWS / 3),
    "hypernetwork_of_a_code": lambda: (HyperNet(), ROWS),
    "maxout_highway_complex": lambda: (Maxout(), ROWS),
    "mamba_minimal": lambda: (SelectiveScan(), LONG),
    "rwkv_shift": lambda: (Rwkv(), LONG),
    "inception_dict": lambda: (Inception(), IMAGES),
}

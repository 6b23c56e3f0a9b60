"""Networks of the zoo over series, eleventh sample: cycles, spectra, periods, outside series, cores, solved heads."""

# ruff: noqa: N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eleventh.inputs import CYCLED, EXOGENOUS, INPUTS


class Reversible(nn.Module):
    """Normalises a series by its own mean and spread, and undoes it behind."""

    def __init__(self, n: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps, self.affine_weight, self.affine_bias = (
            eps,
            nn.Parameter(torch.ones(n)),
            nn.Parameter(torch.zeros(n)),
        )

    def forward(self, x: Tensor, mode: str) -> Tensor:
        if mode == "norm":
            dim2reduce = tuple(range(1, x.ndim - 1))
            self.mean = torch.mean(x, dim=dim2reduce, keepdim=True).detach()
            self.stdev = torch.sqrt(
                torch.var(x, dim=dim2reduce, keepdim=True, unbiased=False) + self.eps
            ).detach()
            return (x - self.mean) / self.stdev * self.affine_weight + self.affine_bias
        if mode == "denorm":
            return (x - self.affine_bias) / (
                self.affine_weight + self.eps**2
            ) * self.stdev + self.mean
        raise NotImplementedError


class Cycle(nn.Module):
    """A learnt cycle is taken off, the rest is forecast by a perceptron, and the cycle put on again."""

    def __init__(self, t: int = 24, out: int = 6, c: int = 4, cycle: int = 8, d: int = 16) -> None:
        super().__init__()
        self.pred_len, self.cycle_len, self.seq_len = out, cycle, t
        self.data = nn.Parameter(torch.randn(cycle, c) * 0.1)
        self.revin = Reversible(c)
        self.model = nn.Sequential(nn.Linear(t, d), nn.ReLU(), nn.Linear(d, out))

    def queue(self, index: Tensor, length: int) -> Tensor:
        gather = (
            index.view(-1, 1) + torch.arange(length, device=index.device).view(1, -1)
        ) % self.cycle_len
        return self.data[gather]

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        x = self.revin(x, "norm")
        x = x - self.queue(index, self.seq_len)
        y = self.model(x.permute(0, 2, 1)).permute(0, 2, 1)
        y = y + self.queue((index + self.seq_len) % self.cycle_len, self.pred_len)
        return self.revin(y, "denorm")


class LowPass(nn.Module):
    """Spectra cut low and stretched by a complex linear layer, then turned back into a longer series."""

    def __init__(self, t: int = 24, out: int = 6, cut: int = 6) -> None:
        super().__init__()
        self.seq_len, self.pred_len, self.dominance_freq = t, out, cut
        self.length_ratio = (t + out) / t
        self.freq_upsampler = nn.Linear(cut, int(cut * self.length_ratio)).to(torch.cfloat)
        self.mix = nn.Sequential(nn.Linear(4, 10), nn.GELU(), nn.Linear(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        x_mean = torch.mean(x, dim=1, keepdim=True)
        x = x - x_mean
        x_var = torch.var(x, dim=1, keepdim=True) + 1e-5
        x = self.mix(x / torch.sqrt(x_var))
        low = torch.fft.rfft(x.float(), dim=1)[:, : self.dominance_freq, :]
        up = self.freq_upsampler(low.permute(0, 2, 1)).permute(0, 2, 1)
        total = self.seq_len + self.pred_len
        full = torch.zeros(
            [up.size(0), total // 2 + 1, up.size(2)], dtype=up.dtype, device=x.device
        )
        full[:, : up.size(1), :] = up
        y = torch.fft.irfft(full, n=total, dim=1) * self.length_ratio
        return y.to(x.dtype) * torch.sqrt(x_var) + x_mean


class SparseForecast(nn.Module):
    """A series folded by its period: neighbours are summed, then one layer for all phases forecasts."""

    def __init__(self, t: int = 24, out: int = 8, period: int = 4, d: int = 12) -> None:
        super().__init__()
        self.period_len, self.seg_x, self.seg_y, self.pred_len = (
            period,
            t // period,
            out // period,
            out,
        )
        self.conv1d = nn.Conv1d(
            1, 1, 1 + 2 * (period // 2), padding=period // 2, padding_mode="zeros", bias=False
        )
        self.mlp = nn.Sequential(nn.Linear(self.seg_x, d), nn.ReLU(), nn.Linear(d, self.seg_y))

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        mean = torch.mean(x, dim=1).unsqueeze(1)
        x = (x - mean).permute(0, 2, 1)
        x = self.conv1d(x.reshape(-1, 1, t)).reshape(-1, c, t) + x
        x = x.reshape(-1, self.seg_x, self.period_len).permute(0, 2, 1)
        y = self.mlp(x).permute(0, 2, 1).reshape(b, c, self.pred_len)
        return y.permute(0, 2, 1) + mean


class Outside(nn.Module):
    """A series in patches with a token for all of it, which alone attends to series from outside."""

    class Layer(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            self.self_attention = nn.MultiheadAttention(d, 2, batch_first=True)
            self.cross_attention = nn.MultiheadAttention(d, 2, batch_first=True)
            self.conv1, self.conv2 = nn.Conv1d(d, 20, 1), nn.Conv1d(20, d, 1)
            self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(d) for _ in range(3))

        def forward(self, x: Tensor, cross: Tensor) -> Tensor:
            x = self.norm1(x + self.self_attention(x, x, x)[0])
            glb = x[:, -1, :].unsqueeze(1)
            glb = self.norm2(glb + self.cross_attention(glb, cross, cross)[0])
            y = x = torch.cat([x[:, :-1, :], glb], dim=1)
            y = F.gelu(self.conv1(y.transpose(-1, 1)))
            return self.norm3(x + self.conv2(y).transpose(-1, 1))

    def __init__(self, t: int = 24, patch: int = 6, d: int = 12, out: int = 6) -> None:
        super().__init__()
        self.patch_len, self.n = patch, t // patch
        self.value, self.glb_token = (
            nn.Linear(patch, d, bias=False),
            nn.Parameter(torch.randn(1, 1, 1, d)),
        )
        pe = torch.zeros(self.n, d)
        position, div = (
            torch.arange(0, self.n).float().unsqueeze(1),
            torch.exp(torch.arange(0, d, 2).float() * -(math.log(10000.0) / d)),
        )
        pe[:, 0::2], pe[:, 1::2] = torch.sin(position * div), torch.cos(position * div)
        self.register_buffer("pe", pe.unsqueeze(0))
        self.ex_embed = nn.Linear(t, d)
        self.layers = nn.ModuleList([self.Layer(d) for _ in range(2)])
        self.head = nn.Sequential(
            nn.Flatten(start_dim=-2), nn.Linear(d * (self.n + 1), out), nn.Dropout(0.1)
        )

    def forward(self, target: Tensor, outside: Tensor) -> Tensor:
        x = target.permute(0, 2, 1)
        n_vars = x.shape[1]
        glb = self.glb_token.repeat((x.shape[0], n_vars, 1, 1))
        x = x.unfold(dimension=-1, size=self.patch_len, step=self.patch_len)
        x = torch.reshape(x, (x.shape[0] * x.shape[1], x.shape[2], x.shape[3]))
        x = self.value(x) + self.pe
        x = torch.cat([x.reshape(-1, n_vars, x.shape[-2], x.shape[-1]), glb], dim=2)
        x = torch.reshape(x, (x.shape[0] * x.shape[1], x.shape[2], x.shape[3]))
        cross = self.ex_embed(outside.permute(0, 2, 1))
        for layer in self.layers:
            x = layer(x, cross)
        x = torch.reshape(x, (-1, n_vars, x.shape[-2], x.shape[-1])).permute(0, 1, 3, 2)
        return self.head(x).permute(0, 2, 1)


class StarAggregate(nn.Module):
    """Series meet in a core: summed by weights of a softmax in evaluation, drawn by them in training."""

    class Star(nn.Module):
        def __init__(self, d: int, core: int) -> None:
            super().__init__()
            self.gen1, self.gen2 = nn.Linear(d, d), nn.Linear(d, core)
            self.gen3, self.gen4 = nn.Linear(d + core, d), nn.Linear(d, d)

        def forward(self, x: Tensor) -> Tensor:
            b, channels, _ = x.shape
            combined = self.gen2(F.gelu(self.gen1(x)))
            if self.training:
                ratio = F.softmax(combined, dim=1).permute(0, 2, 1).reshape(-1, channels)
                at = torch.multinomial(ratio, 1).view(b, -1, 1).permute(0, 2, 1)
                combined = torch.gather(combined, 1, at).repeat(1, channels, 1)
            else:
                weight = F.softmax(combined, dim=1)
                combined = torch.sum(combined * weight, dim=1, keepdim=True).repeat(1, channels, 1)
            return self.gen4(F.gelu(self.gen3(torch.cat([x, combined], -1))))

    def __init__(self, t: int = 24, d: int = 12, core: int = 6, out: int = 6) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Linear(t, d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.star, self.proj = self.Star(d, core), nn.Linear(d, out)
        self.ffn = nn.Sequential(nn.Conv1d(d, 20, 1), nn.GELU(), nn.Conv1d(20, d, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True).detach()
        std = torch.sqrt(torch.var(x - mean, dim=1, keepdim=True, unbiased=False) + 1e-5)
        h = self.embed(((x - mean) / std).permute(0, 2, 1))
        h = self.norm1(h + self.star(h))
        h = self.norm2(h + self.ffn(h.transpose(-1, 1)).transpose(-1, 1))
        y = self.proj(h).permute(0, 2, 1)
        return y * std[:, 0, :].unsqueeze(1).repeat(1, 6, 1) + mean[:, 0, :].unsqueeze(1)


class RidgeHead(nn.Module):
    """Features of time by sines, and a ridge regression on what was seen, solved inside; then the future is read off."""

    def __init__(self, d: int = 12, ahead: int = 6) -> None:
        super().__init__()
        self.register_buffer("B", torch.randn(1, 6) * 3)
        self.layers = nn.ModuleList([nn.Linear(12, d), nn.Linear(d, d)])
        self.norm, self._lambda, self.ahead = (
            nn.LayerNorm(d),
            nn.Parameter(torch.as_tensor(0.0)),
            ahead,
        )

    def forward(self, x: Tensor) -> Tensor:
        t, b = x.shape[1], x.shape[0]
        coords = torch.linspace(0, 1, t + self.ahead, device=x.device).to(x.dtype)[None, :, None]
        z = torch.cat(
            [torch.sin(2 * math.pi * coords @ self.B), torch.cos(2 * math.pi * coords @ self.B)], -1
        )
        for layer in self.layers:
            z = torch.relu(layer(z))
        z = self.norm(z).expand(b, -1, -1)
        X = torch.cat([z[:, :t], torch.ones(b, t, 1, device=x.device, dtype=x.dtype)], dim=-1)
        A = torch.bmm(X.mT, X)
        A.diagonal(dim1=-2, dim2=-1).add_(F.softplus(self._lambda))
        w = torch.linalg.solve(A, torch.bmm(X.mT, x))
        return torch.bmm(z[:, t:], w[:, :-1]) + w[:, -1:]


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "learnt_cycle": lambda: (Cycle(), CYCLED),
    "low_pass_interpolation": lambda: (LowPass(), INPUTS.series),
    "sparse_periods": lambda: (SparseForecast(), INPUTS.series),
    "outside_series": lambda: (Outside(), EXOGENOUS),
    "star_aggregate": lambda: (StarAggregate(), INPUTS.series),
    "ridge_head": lambda: (RidgeHead(), INPUTS.series),
}

"""Networks of the zoo over series, fifth sample."""

# ruff: noqa: E501, N803, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fifth.sound import SERIES


class ClosedFormCell(nn.Module):
    """A liquid network in closed form: two states mixed by a gate of the time that passed."""

    def __init__(self, units: int = 9) -> None:
        super().__init__()
        self.units, self.backbone = units, nn.Sequential(nn.Linear(2 + units, 14), nn.SiLU())
        self.ff1, self.ff2, self.time_a, self.time_b = (nn.Linear(14, units) for _ in range(4))
        self.fc = nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros((x.size(0), self.units), device=x.device, dtype=x.dtype)
        out = []
        for t in range(5):
            inputs, ts = x[:, t, :2], x[:, t, 2].view(-1, 1).abs()
            z = self.backbone(torch.cat([inputs, h], 1))
            ff1, ff2 = torch.tanh(self.ff1(z)), torch.tanh(self.ff2(z))
            gate = torch.sigmoid(self.time_a(z) * ts + self.time_b(z))
            h = ff1 * (1.0 - gate) + gate * ff2
            out.append(self.fc(h))
        return torch.stack(out, dim=1)


class EegNet(nn.Module):
    """Depthwise over electrodes with a bounded norm of weights, and a size for the last layer found by trying."""

    def __init__(self, chans: int = 3, samples: int = 24, F1: int = 4, D: int = 2) -> None:
        super().__init__()
        self.block1 = nn.Sequential(
            nn.Conv2d(1, F1, (1, 8), padding=(0, 4), bias=False), nn.BatchNorm2d(F1)
        )
        self.spatial = nn.Conv2d(F1, F1 * D, (chans, 1), groups=F1, bias=False)
        self.block2 = nn.Sequential(nn.BatchNorm2d(F1 * D), nn.ELU(), nn.AvgPool2d((1, 2)), nn.Dropout(0.25),
                                    nn.Conv2d(F1 * D, F1 * D, (1, 5), padding=(0, 2), groups=F1 * D, bias=False),
                                    nn.Conv2d(F1 * D, 10, 1, bias=False), nn.BatchNorm2d(10), nn.ELU(), nn.AvgPool2d((1, 2)))  # fmt: skip
        with torch.no_grad():
            n = self.block2(self.spatial(self.block1(torch.zeros(1, 1, chans, samples)))).numel()
        self.classify = nn.Linear(n, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block1(x.transpose(1, 2).unsqueeze(1))
        w = torch.renorm(self.spatial.weight, p=2, dim=0, maxnorm=1.0)
        x = self.block2(F.conv2d(x, w, groups=self.spatial.groups))
        return self.classify(x.flatten(start_dim=1))


class SciNet(nn.Module):
    """Even and odd steps change each other through four small networks, and are woven together again."""

    def __init__(self, c: int = 3, h: int = 8) -> None:
        super().__init__()
        self.phi, self.psi, self.U, self.P = (
            nn.Sequential(nn.ReplicationPad1d(1), nn.Conv1d(c, h, 3), nn.LeakyReLU(0.01), nn.Dropout(0.1), nn.Conv1d(h, c, 1), nn.Tanh())
            for _ in range(4)
        )  # fmt: skip
        self.projection = nn.Conv1d(24, 6, 1, bias=False)

    def zip_up_the_pants(self, even: Tensor, odd: Tensor) -> Tensor:
        even, odd = even.permute(1, 0, 2), odd.permute(1, 0, 2)
        woven = []
        for i in range(odd.shape[0]):
            woven.append(even[i].unsqueeze(0))
            woven.append(odd[i].unsqueeze(0))
        return torch.cat(woven, 0).permute(1, 0, 2)

    def forward(self, x: Tensor) -> Tensor:
        even, odd = x[:, ::2, :].permute(0, 2, 1), x[:, 1::2, :].permute(0, 2, 1)
        d, c = odd.mul(torch.exp(self.phi(even))), even.mul(torch.exp(self.psi(odd)))
        even_update, odd_update = c + self.U(d), d - self.P(c)
        out = self.zip_up_the_pants(even_update.permute(0, 2, 1), odd_update.permute(0, 2, 1))
        return self.projection(out + x)


class InvertedTransformer(nn.Module):
    """iTransformer: each series is a token, behind a reversible normalisation."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.affine_weight, self.affine_bias = (
            nn.Parameter(torch.ones(3)),
            nn.Parameter(torch.zeros(3)),
        )
        self.embed, self.q, self.k, self.v, self.o = (
            nn.Linear(24, d),
            *(nn.Linear(d, d) for _ in range(4)),
        )
        self.conv1, self.conv2, self.n1, self.n2 = (
            nn.Conv1d(d, 16, 1),
            nn.Conv1d(16, d, 1),
            nn.LayerNorm(d),
            nn.LayerNorm(d),
        )
        self.projector = nn.Linear(d, 6)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(1, keepdim=True).detach()
        stdev = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + 1e-5).detach()
        x = (x - means) / stdev * self.affine_weight + self.affine_bias
        h = self.embed(x.permute(0, 2, 1))
        B, L, _ = h.shape
        q, k, v = (
            self.q(h).view(B, L, 3, -1),
            self.k(h).view(B, L, 3, -1),
            self.v(h).view(B, L, 3, -1),
        )
        A = torch.softmax(torch.einsum("blhe,bshe->bhls", q, k) / math.sqrt(q.shape[-1]), dim=-1)
        new = torch.einsum("bhls,bshd->blhd", A, v).contiguous().view(B, L, -1)
        h = self.n1(h + self.o(new))
        y = self.conv2(F.gelu(self.conv1(h.transpose(-1, 1)))).transpose(-1, 1)
        out = self.projector(self.n2(h + y)).permute(0, 2, 1)
        out = (out - self.affine_bias) / (self.affine_weight + 1e-10)
        return out * stdev[:, 0, :].unsqueeze(1).repeat(1, 6, 1) + means[:, 0, :].unsqueeze(
            1
        ).repeat(1, 6, 1)


class TimesNet(nn.Module):
    """A series folded into pictures by its strongest periods, which are read from the data."""

    def __init__(self, d: int = 8, k: int = 2) -> None:
        super().__init__()
        self.k, self.emb, self.out = k, nn.Linear(3, d), nn.Linear(d, 3)
        self.conv = nn.Sequential(
            nn.Conv2d(d, 12, 3, padding=1), nn.GELU(), nn.Conv2d(12, d, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.emb(x)
        B, T, N = x.size()
        xf = torch.fft.rfft(x, dim=1)
        frequency = abs(xf).mean(0).mean(-1)
        frequency[0] = 0
        _, top = torch.topk(frequency, self.k)
        period = T // top.detach().cpu().numpy()
        weight, res = abs(xf).mean(-1)[:, top], []
        for i in range(self.k):
            p = int(period[i])
            length = T if T % p == 0 else (T // p + 1) * p
            out = torch.cat([x, x.new_zeros(B, length - T, N)], dim=1) if length != T else x
            out = self.conv(out.reshape(B, length // p, p, N).permute(0, 3, 1, 2).contiguous())
            res.append(out.permute(0, 2, 3, 1).reshape(B, -1, N)[:, :T, :])
        w = F.softmax(weight, dim=1).unsqueeze(1).unsqueeze(1).repeat(1, T, N, 1)
        return self.out(torch.sum(torch.stack(res, dim=-1) * w, -1) + x)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "eegnet_renormed": lambda: (EegNet(), SERIES),
    "scinet_woven": lambda: (SciNet(), SERIES),
    "inverted_transformer": lambda: (InvertedTransformer(), SERIES),
    "closed_form_cell": lambda: (ClosedFormCell(), SERIES[:, :5]),
    "timesnet_periods": lambda: (TimesNet(), SERIES),
}

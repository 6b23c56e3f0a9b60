"""Networks of the zoo over tokens and time, as papers' code and tutorials write them."""

# ruff: noqa: N806 - names as in the papers
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.second.backbones import IMAGES

_G = torch.Generator().manual_seed(19)
TOKENS = torch.randint(0, 20, (4, 8), generator=_G)
SERIES = torch.randn(4, 6, 16, generator=_G)
FRAMES = torch.randn(4, 8, 10, generator=_G)


class Chomp1d(nn.Module):
    def __init__(self, chomp_size: int) -> None:
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int, dilation: int) -> None:
        super().__init__()
        pad = 2 * dilation
        self.conv1 = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(n_inputs, n_outputs, 3, padding=pad, dilation=dilation)
        )
        self.conv2 = nn.Conv1d(n_outputs, n_outputs, 3, padding=pad, dilation=dilation)
        self.net = nn.Sequential(
            self.conv1,
            Chomp1d(pad),
            nn.ReLU(),
            nn.Dropout(0.1),
            self.conv2,
            Chomp1d(pad),
            nn.ReLU(),
        )
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        res = x if self.downsample is None else self.downsample(x)
        return F.relu(out + res)


class Tcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tcn = nn.Sequential(TemporalBlock(6, 8, 1), TemporalBlock(8, 8, 2))
        self.linear = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.tcn(x)[:, :, -1])


class WaveNet(nn.Module):
    """Gated dilated convolutions; skips are cut to the last length and added."""

    def __init__(self, res: int = 6, skip: int = 8) -> None:
        super().__init__()
        self.start = nn.Conv1d(6, res, 1)
        self.filters = nn.ModuleList([nn.Conv1d(res, res, 2, dilation=2**i) for i in range(3)])
        self.gates = nn.ModuleList([nn.Conv1d(res, res, 2, dilation=2**i) for i in range(3)])
        self.residual = nn.ModuleList([nn.Conv1d(res, res, 1) for _ in range(3)])
        self.skips = nn.ModuleList([nn.Conv1d(res, skip, 1) for _ in range(3)])
        self.end1, self.end2 = nn.Conv1d(skip, skip, 1), nn.Conv1d(skip, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skip = self.start(x), 0
        for f, g, r, s in zip(self.filters, self.gates, self.residual, self.skips, strict=True):
            h = torch.tanh(f(x)) * torch.sigmoid(g(x))
            out = s(h)
            try:
                skip = skip[:, :, -out.size(2) :]
            except TypeError:
                skip = 0
            skip = out + skip
            x = r(h) + x[:, :, -h.size(2) :]
        return self.end2(F.relu(self.end1(F.relu(skip))))


class ConformerBlock(nn.Module):
    def __init__(self, d: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.ff1, self.ff2 = self.feed_forward(d), self.feed_forward(d)
        self.norm_att, self.att = nn.LayerNorm(d), nn.MultiheadAttention(d, heads, batch_first=True)
        self.norm_conv, self.pw1 = nn.LayerNorm(d), nn.Conv1d(d, 2 * d, 1)
        self.dw, self.bn, self.pw2 = (
            nn.Conv1d(d, d, 3, padding=1, groups=d),
            nn.BatchNorm1d(d),
            nn.Conv1d(d, d, 1),
        )
        self.norm = nn.LayerNorm(d)

    @staticmethod
    def feed_forward(d: int) -> nn.Sequential:
        return nn.Sequential(
            nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.SiLU(), nn.Dropout(0.1), nn.Linear(4 * d, d)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.ff1(x)
        y = self.norm_att(x)
        x = x + self.att(y, y, y, need_weights=False)[0]
        y = F.glu(self.pw1(self.norm_conv(x).transpose(1, 2)), dim=1)
        y = self.pw2(F.silu(self.bn(self.dw(y)))).transpose(1, 2)
        return self.norm(x + y + 0.5 * self.ff2(x + y))


class Conformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.blocks, self.out = (
            nn.Linear(10, 8),
            nn.ModuleList([ConformerBlock()]),
            nn.Linear(8, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        for block in self.blocks:
            x = block(x)
        return self.out(x).log_softmax(-1)


class RelativeAttention(nn.Module):
    """Transformer-XL: content and position scores with the shift by padding and view."""

    def __init__(self, d: int = 8, h: int = 2) -> None:
        super().__init__()
        self.h, self.dh = h, d // h
        self.qkv, self.r, self.o = (
            nn.Linear(d, 3 * d, bias=False),
            nn.Linear(d, d, bias=False),
            nn.Linear(d, d, bias=False),
        )
        self.u, self.v = nn.Parameter(torch.randn(h, d // h)), nn.Parameter(torch.randn(h, d // h))
        self.emb, self.head = nn.Embedding(20, d), nn.Linear(d, 20)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        b, n, _ = x.size()
        q, k, v = torch.chunk(self.qkv(x), 3, dim=-1)
        q, k, v = (t.view(b, n, self.h, self.dh) for t in (q, k, v))
        pos = torch.arange(n - 1, -1, -1.0, dtype=x.dtype)
        inv = 1 / (
            10000 ** (torch.arange(0.0, self.h * self.dh, 2.0, dtype=x.dtype) / (self.h * self.dh))
        )
        sin = torch.outer(pos, inv)
        r = self.r(torch.cat([sin.sin(), sin.cos()], dim=-1)).view(n, self.h, self.dh)
        ac = torch.einsum("bihd,bjhd->bhij", q + self.u, k)
        bd = torch.einsum("bihd,jhd->bhij", q + self.v, r)
        bd = (
            torch.cat([torch.zeros_like(bd[..., :1]), bd], -1)
            .view(b, self.h, n + 1, n)[:, :, 1:]
            .view_as(bd)
        )
        score = (ac + bd) / self.dh**0.5
        mask = torch.triu(torch.ones(n, n, dtype=torch.bool), diagonal=1)
        p = score.masked_fill(mask[None, None], float("-inf")).softmax(-1)
        out = torch.einsum("bhij,bjhd->bihd", p, v).contiguous().view(b, n, self.h * self.dh)
        return self.head(x + self.o(out))


class SpatialGatingUnit(nn.Module):
    def __init__(self, d_ffn: int, seq: int) -> None:
        super().__init__()
        self.norm, self.proj = nn.LayerNorm(d_ffn // 2), nn.Conv1d(seq, seq, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        u, v = x.chunk(2, dim=-1)
        return u * self.proj(self.norm(v))


class Gmlp(nn.Module):
    def __init__(self, d: int = 8, ffn: int = 16) -> None:
        super().__init__()
        self.emb, self.norm = nn.Embedding(20, d), nn.LayerNorm(d)
        self.fc1, self.fc2, self.sgu = (
            nn.Linear(d, ffn),
            nn.Linear(ffn // 2, d),
            SpatialGatingUnit(ffn, 8),
        )
        self.out = nn.Linear(d, 20)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        return self.out(x + self.fc2(self.sgu(F.gelu(self.fc1(self.norm(x))))))


class Seq2Seq(nn.Module):
    """Bahdanau attention over an encoder, decoded step by step."""

    def __init__(self, hid: int = 8) -> None:
        super().__init__()
        self.emb, self.enc = nn.Embedding(20, 6), nn.GRU(6, hid, batch_first=True)
        self.Wa, self.Ua, self.Va = nn.Linear(hid, hid), nn.Linear(hid, hid), nn.Linear(hid, 1)
        self.cell, self.out = nn.GRUCell(6 + hid, hid), nn.Linear(hid, 20)

    def forward(self, src: Tensor) -> Tensor:
        keys, hidden = self.enc(self.emb(src))
        hidden, outs = hidden.squeeze(0), []
        for t in range(3):
            scores = (
                self.Va(torch.tanh(self.Wa(hidden).unsqueeze(1) + self.Ua(keys)))
                .squeeze(2)
                .unsqueeze(1)
            )
            weights = F.softmax(scores, dim=-1)
            context = torch.bmm(weights, keys).squeeze(1)
            hidden = self.cell(torch.cat((self.emb(src[:, t]), context), dim=1), hidden)
            outs.append(self.out(hidden))
        return torch.stack(outs, dim=1)


class Crnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 6, 3, 1, 1),
            nn.ReLU(True),
            nn.MaxPool2d((4, 2)),
            nn.Conv2d(6, 10, (4, 3), padding=(0, 1)),
            nn.BatchNorm2d(10),
            nn.ReLU(True),
        )
        self.rnn, self.fc = nn.LSTM(10, 6, bidirectional=True), nn.Linear(12, 7)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.cnn(x)
        b, _c, h, _w = conv.size()
        assert h == 1, "the height of conv must be 1"
        conv = conv.squeeze(2).permute(2, 0, 1)
        recurrent, _ = self.rnn(conv)
        T, b, h = recurrent.size()
        return self.fc(recurrent.view(T * b, h)).view(T, b, -1).transpose(0, 1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "tcn_chomp": lambda: (Tcn(), SERIES),
    "wavenet_skip_try": lambda: (WaveNet(), SERIES),
    "conformer_block": lambda: (Conformer(), FRAMES),
    "transformer_xl": lambda: (RelativeAttention(), TOKENS),
    "gmlp_gating": lambda: (Gmlp(), TOKENS),
    "seq2seq_bahdanau": lambda: (Seq2Seq(), TOKENS),
    "crnn_ocr": lambda: (Crnn(), IMAGES),
}

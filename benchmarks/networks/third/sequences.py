"""Networks of the zoo over sequences, tables and sets, third sample: as repositories of single papers have them."""

# ruff: noqa: N803, N806 - names as in the papers
from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(31)
SERIES = torch.randn(3, 24, 4, generator=_G)
WORDS = torch.randint(1, 20, (3, 9), generator=_G)
MELS = torch.randn(3, 1, 16, 24, generator=_G)
ROWS = torch.randn(5, 6, generator=_G)
CODES = torch.randint(0, 7, (5, 3), generator=_G)
SETS = torch.randn(3, 7, 5, generator=_G)


class TemporalBlock(nn.Module):
    """Causal by padding on the left alone, a residual that is projected if it must be."""

    def __init__(self, i: int, o: int, dilation: int) -> None:
        super().__init__()
        self.left = 2 * dilation
        self.conv1, self.conv2 = (
            nn.Conv1d(i, o, 3, dilation=dilation),
            nn.Conv1d(o, o, 3, dilation=dilation),
        )
        self.match = nn.Conv1d(i, o, 1) if i != o else None

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.conv1(F.pad(x, (self.left, 0))))
        out = F.dropout(F.relu(self.conv2(F.pad(out, (self.left, 0)))), 0.1, self.training)
        res = x if self.match is None else self.match(x)
        return F.relu(out + res)


class CausalTcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [4, 8, 8, 12]
        self.blocks = nn.ModuleList(
            [TemporalBlock(a, b, 2**i) for i, (a, b) in enumerate(pairwise(sizes))]
        )
        self.linear = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 1)
        for block in self.blocks:
            y = block(y)
        return self.linear(y[:, :, -1])


class GatedWaveNet(nn.Module):
    """One convolution for filter and gate, split in two; skips are summed from a list."""

    def __init__(self, layers: int = 3, c: int = 8) -> None:
        super().__init__()
        self.input = nn.Conv1d(4, c, 1)
        self.dil = nn.ModuleList(
            [nn.Conv1d(c, 2 * c, 2, dilation=2**i, padding=2**i) for i in range(layers)]
        )
        self.res = nn.ModuleList([nn.Conv1d(c, c, 1) for _ in range(layers - 1)])
        self.skip = nn.ModuleList([nn.Conv1d(c, 6, 1) for _ in range(layers)])
        self.end1, self.end2 = nn.Conv1d(6, 10, 1), nn.Conv1d(10, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.input(x.transpose(1, 2))
        skips = []
        for i, conv in enumerate(self.dil):
            z = conv(h)[..., : h.shape[-1]]
            f, g = torch.split(z, z.shape[1] // 2, dim=1)
            z = torch.tanh(f) * torch.sigmoid(g)
            skips.append(self.skip[i](z))
            if i < len(self.res):
                h = h + self.res[i](z)
        return self.end2(F.relu(self.end1(F.relu(sum(skips)))))


class Seq2Seq(nn.Module):
    """A GRU that reads and a GRU cell that writes, with attention by bmm and teacher forcing."""

    def __init__(self, vocab: int = 20, d: int = 8, h: int = 10) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, d, padding_idx=0)
        self.encoder = nn.GRU(d, h, batch_first=True, bidirectional=True)
        self.bridge, self.attn = nn.Linear(2 * h, h), nn.Linear(2 * h, h, bias=False)
        self.cell, self.out = nn.GRUCell(d + 2 * h, h), nn.Linear(3 * h, vocab)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        memory, hidden = self.encoder(self.embedding(src))
        s = torch.tanh(self.bridge(torch.cat((hidden[-2], hidden[-1]), dim=1)))
        keys, embedded = self.attn(memory), self.embedding(tgt)
        outputs = []
        for t in range(5):
            score = torch.bmm(keys, s.unsqueeze(2)).squeeze(2)
            score = score.masked_fill(src == 0, -1e9)
            context = torch.bmm(F.softmax(score, dim=1).unsqueeze(1), memory).squeeze(1)
            s = self.cell(torch.cat([embedded[:, t], context], 1), s)
            outputs.append(self.out(torch.cat([s, context], -1)))
        return torch.stack(outputs, 1)


class TabTransformer(nn.Module):
    """Columns of codes share one table by offsets; numbers go around the transformer."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor([0, 7, 14]))
        self.embeds, self.norm = nn.Embedding(21, d), nn.LayerNorm(6)
        layer = nn.TransformerEncoderLayer(d, 2, 16, 0.1, F.gelu, batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.mlp = nn.Sequential(nn.Linear(3 * d + 6, 24), nn.SELU(), nn.Linear(24, 1))

    def forward(self, x_categ: Tensor, x_cont: Tensor) -> Tensor:
        x = self.transformer(self.embeds(x_categ + self.offset))
        return self.mlp(torch.cat((x.flatten(1), self.norm(x_cont)), dim=-1)).squeeze(-1)


class FeatureTokens(nn.Module):
    """An FT-Transformer: a weight for each column, a token for the class at the end, ReGLU."""

    def __init__(self, n: int = 6, d: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(n + 1, d)),
            nn.Parameter(torch.zeros(n, d)),
        )
        self.heads = heads
        self.layers = nn.ModuleList()
        for _ in range(2):
            self.layers.append(nn.ModuleDict({
                "q": nn.Linear(d, d), "k": nn.Linear(d, d), "v": nn.Linear(d, d), "o": nn.Linear(d, d),
                "n0": nn.LayerNorm(d), "n1": nn.LayerNorm(d), "up": nn.Linear(d, 24), "down": nn.Linear(12, d),
            }))  # fmt: skip
        self.last, self.head = nn.LayerNorm(d), nn.Linear(d, 1)

    def _heads(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        return (
            x.reshape(b, n, self.heads, d // self.heads)
            .transpose(1, 2)
            .reshape(b * self.heads, n, d // self.heads)
        )

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
        h = self.weight[None] * torch.cat([ones, x], dim=1)[:, :, None]
        h = h + torch.cat([torch.zeros(1, h.shape[-1], dtype=x.dtype), self.bias])[None]
        for layer in self.layers:
            z = layer["n0"](h)
            q, k, v = (
                self._heads(layer["q"](z)),
                self._heads(layer["k"](z)),
                self._heads(layer["v"](z)),
            )
            a = F.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), dim=-1) @ v
            a = (
                a.reshape(len(x), self.heads, h.shape[1], -1)
                .transpose(1, 2)
                .reshape(len(x), h.shape[1], -1)
            )
            h = h + layer["o"](a)
            a, b = layer["up"](layer["n1"](h)).chunk(2, dim=-1)
            h = h + layer["down"](a * F.relu(b))
        return self.head(F.relu(self.last(h[:, 0]))).squeeze(-1)


class SpatialGate(nn.Module):
    def __init__(self, d: int, seq: int) -> None:
        super().__init__()
        self.norm, self.proj = nn.LayerNorm(d), nn.Conv1d(seq, seq, kernel_size=1)
        nn.init.constant_(self.proj.bias, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        u, v = x.chunk(2, dim=-1)
        return u * self.proj(self.norm(v))


class Gmlp(nn.Module):
    """gMLP over words, a gate over places by a convolution of size 1, with a tiny attention."""

    def __init__(self, d: int = 8, seq: int = 9) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, d)
        self.norm, self.inp, self.gate, self.out = (
            nn.LayerNorm(d),
            nn.Linear(d, 24),
            SpatialGate(12, seq),
            nn.Linear(12, d),
        )
        self.qkv, self.tiny = nn.Linear(d, 12), nn.Linear(4, d)
        self.head = nn.Linear(d, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        shortcut, x = x, self.norm(x)
        q, k, v = self.qkv(x).split(4, dim=-1)
        a = torch.einsum("bnd,bmd->bnm", q, k).mul(0.5).softmax(-1)
        tiny = self.tiny(torch.einsum("bnm,bmd->bnd", a, v))
        x = self.out(self.gate(F.gelu(self.inp(x)))) + tiny + shortcut
        return self.head(x.mean(dim=1))


class Perceiver(nn.Module):
    """Latents that ask the inputs by a torch attention, several times with the same weights."""

    def __init__(self, d: int = 8, n: int = 4) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, n, d))
        self.to_kv = nn.Linear(5, d)
        self.cross = nn.MultiheadAttention(d, 2, batch_first=True)
        self.ff = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 16), nn.GELU(), nn.Linear(16, d))
        self.head = nn.Linear(d, 3)

    def forward(self, x: Tensor) -> Tensor:
        kv = self.to_kv(x)
        h = self.latents.repeat(x.shape[0], 1, 1)
        for _ in range(2):
            h = h + self.cross(h, kv, kv, need_weights=False)[0]
            h = h + self.ff(h)
        return self.head(h.mean(1))


class ConvModule(nn.Module):
    def __init__(self, d: int, kernel: int = 5) -> None:
        super().__init__()
        self.ln, self.pw1, self.act = nn.LayerNorm(d), nn.Conv1d(d, 2 * d, 1), nn.GLU(dim=1)
        self.dw = nn.Conv1d(d, d, kernel, padding="same", groups=d)
        self.bn, self.pw2 = nn.BatchNorm1d(d), nn.Conv1d(d, d, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.pw1(self.ln(x).transpose(1, 2)))
        return self.pw2(F.silu(self.bn(self.dw(x)))).transpose(1, 2)


class Conformer(nn.Module):
    """Half steps of feed-forward around attention with relative shifts of positions and a convolution."""

    def __init__(self, d: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.d, self.h, self.dk = d, heads, d // heads
        self.sub = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.lin = nn.Linear(4 * 8, d)
        self.ff1, self.ff2 = (
            nn.Sequential(
                nn.LayerNorm(d), nn.Linear(d, 20), nn.SiLU(), nn.Dropout(0.1), nn.Linear(20, d)
            )
            for _ in range(2)
        )
        self.ln, self.q, self.k, self.v, self.o = (
            nn.LayerNorm(d),
            *(nn.Linear(d, d) for _ in range(4)),
        )
        self.conv, self.norm, self.ctc = ConvModule(d), nn.LayerNorm(d), nn.Linear(d, 11)

    def attend(self, x: Tensor) -> Tensor:
        n = x.size(0)
        q, k, v = (
            lin(x).view(n, -1, self.h, self.dk).transpose(1, 2) for lin in (self.q, self.k, self.v)
        )
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(self.dk)
        x = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.o(x.transpose(1, 2).contiguous().view(n, -1, self.h * self.dk))

    def forward(self, mels: Tensor) -> Tensor:
        x = F.relu(self.sub(mels))
        b, c, f, t = x.size()
        x = self.lin(x.permute(0, 3, 1, 2).contiguous().view(b, t, c * f))
        x = x + 0.5 * self.ff1(x)
        x = x + self.attend(self.ln(x))
        x = x + self.conv(x)
        x = self.norm(x + 0.5 * self.ff2(x))
        return F.log_softmax(self.ctc(x), dim=-1)


class Crnn(nn.Module):
    """Convolutions that squeeze the height, two bidirectional LSTMs with linear layers, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential()
        for i, (a, b, pool) in enumerate([(1, 6, (2, 2)), (6, 8, (2, 1)), (8, 10, (4, 1))]):
            self.cnn.add_module(f"conv{i}", nn.Conv2d(a, b, 3, 1, 1))
            self.cnn.add_module(f"relu{i}", nn.ReLU(True))
            self.cnn.add_module(f"pool{i}", nn.MaxPool2d(pool))
        self.rnn1, self.emb1 = nn.LSTM(10, 6, bidirectional=True), nn.Linear(12, 6)
        self.rnn2, self.emb2 = nn.LSTM(6, 6, bidirectional=True), nn.Linear(12, 5)

    def step(self, rnn: nn.LSTM, emb: nn.Linear, x: Tensor) -> Tensor:
        x, _ = rnn(x)
        T, b, h = x.size()
        return emb(x.view(T * b, h)).view(T, b, -1)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.cnn(x)
        conv = conv.squeeze(2).permute(2, 0, 1)
        out = self.step(self.rnn2, self.emb2, self.step(self.rnn1, self.emb1, conv))
        return out.transpose(0, 1)


class FilmGenerator(nn.Module):
    """Questions steer a picture network: all gammas and betas from one linear layer, sliced by block."""

    def __init__(self, blocks: int = 2, c: int = 8) -> None:
        super().__init__()
        self.rnn, self.embed = nn.GRU(6, 10, batch_first=True), nn.Embedding(20, 6)
        self.film = nn.Linear(10, blocks * 2 * c)
        self.stem, self.c = nn.Conv2d(1, c, 3, padding=1), c
        self.proj = nn.ModuleList([nn.Conv2d(c, c, 1) for _ in range(blocks)])
        self.conv = nn.ModuleList([nn.Conv2d(c, c, 3, padding=1) for _ in range(blocks)])
        self.bn = nn.ModuleList([nn.BatchNorm2d(c, affine=False) for _ in range(blocks)])
        self.head = nn.Linear(c, 4)

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        _, h = self.rnn(self.embed(question))
        params = self.film(h.squeeze(0)).view(-1, len(self.proj), 2, self.c)
        x = F.relu(self.stem(image))
        for i in range(len(self.proj)):
            res = F.relu(self.proj[i](x))
            out = self.bn[i](self.conv[i](res))
            gamma, beta = params[:, i, 0], params[:, i, 1]
            x = F.relu((1 + gamma)[:, :, None, None] * out + beta[:, :, None, None]) + res
        return self.head(F.adaptive_max_pool2d(x, 1).flatten(1))


class Mab(nn.Module):
    """A block of the set transformer: heads by split on channels and cat on the batch."""

    def __init__(self, dq: int, dk: int, dv: int, heads: int = 2) -> None:
        super().__init__()
        self.dv, self.heads = dv, heads
        self.fc_q, self.fc_k, self.fc_v, self.fc_o = (
            nn.Linear(dq, dv),
            nn.Linear(dk, dv),
            nn.Linear(dk, dv),
            nn.Linear(dv, dv),
        )

    def forward(self, Q: Tensor, K: Tensor) -> Tensor:
        Q = self.fc_q(Q)
        K, V = self.fc_k(K), self.fc_v(K)
        split = self.dv // self.heads
        Q_, K_, V_ = (torch.cat(t.split(split, 2), 0) for t in (Q, K, V))
        A = torch.softmax(Q_.bmm(K_.transpose(1, 2)) / math.sqrt(self.dv), 2)
        O = torch.cat((Q_ + A.bmm(V_)).split(Q.size(0), 0), 2)  # noqa: E741
        return O + F.relu(self.fc_o(O))


class SetTransformerMab(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inducing = nn.Parameter(torch.randn(1, 3, 8))
        self.mab0, self.mab1 = Mab(8, 5, 8), Mab(5, 8, 8)
        self.seed, self.pma, self.head = (
            nn.Parameter(torch.randn(1, 1, 8)),
            Mab(8, 8, 8),
            nn.Linear(8, 2),
        )

    def forward(self, X: Tensor) -> Tensor:
        H = self.mab0(self.inducing.repeat(X.size(0), 1, 1), X)
        X = self.mab1(X, H)
        return self.head(self.pma(self.seed.repeat(X.size(0), 1, 1), X)).squeeze(1)


class Grn(nn.Module):
    """The gated residual network of the temporal fusion transformer."""

    def __init__(self, i: int, h: int, o: int, context: int | None = None) -> None:
        super().__init__()
        self.skip = nn.Linear(i, o) if i != o else nn.Identity()
        self.fc1, self.fc2 = nn.Linear(i, h), nn.Linear(h, h)
        self.context = nn.Linear(context, h, bias=False) if context is not None else None
        self.gate, self.norm = nn.Linear(h, 2 * o), nn.LayerNorm(o)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        h = self.fc1(x)
        if self.context is not None and c is not None:
            h = h + self.context(c)
        h = self.fc2(F.elu(h))
        return self.norm(F.glu(self.gate(h), dim=-1) + self.skip(x))


class Fusion(nn.Module):
    """Variable selection: one network for each variable, weights by a softmax over them, then an LSTM."""

    def __init__(self, n: int = 4, d: int = 6) -> None:
        super().__init__()
        self.static = nn.Linear(6, d)
        self.each = nn.ModuleList([Grn(1, d, d) for _ in range(n)])
        self.weigh = Grn(n, d, n, context=d)
        self.lstm, self.out = nn.LSTM(d, d, batch_first=True), nn.Linear(d, 3)

    def forward(self, series: Tensor, static: Tensor) -> Tensor:
        c = self.static(static).unsqueeze(1)
        weights = torch.softmax(self.weigh(series, c), dim=-1).unsqueeze(-2)
        each = torch.stack([g(series[..., i : i + 1]) for i, g in enumerate(self.each)], dim=-1)
        x = (each * weights).sum(-1)
        h, _ = self.lstm(x)
        return self.out((h + x)[:, -1])


class NBeatsBlock(nn.Module):
    def __init__(self, back: int, ahead: int, kind: str) -> None:
        super().__init__()
        self.kind, self.back, self.ahead = kind, back, ahead
        self.fc1, self.fc2 = nn.Linear(back, 16), nn.Linear(16, 12)
        thetas = 3 if kind == "trend" else 8
        self.theta_b, self.theta_f = nn.Linear(12, thetas, bias=False), nn.Linear(12, thetas)
        if kind == "trend":
            grid = torch.arange(back + ahead) / (back + ahead)
            self.register_buffer("powers", torch.stack([grid**p for p in range(3)]))
        else:
            self.out_b, self.out_f = nn.Linear(8, back), nn.Linear(8, ahead)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.fc2(F.relu(self.fc1(x))))
        b, f = self.theta_b(h), self.theta_f(h)
        if self.kind == "trend":
            return b.mm(self.powers[:, : self.back]), f.mm(self.powers[:, self.back :])
        return self.out_b(b), self.out_f(f)


class NBeatsStacks(nn.Module):
    def __init__(self, back: int = 24, ahead: int = 5) -> None:
        super().__init__()
        self.stacks = nn.ModuleList()
        for kind in ("trend", "generic"):
            self.stacks.append(nn.ModuleList([NBeatsBlock(back, ahead, kind) for _ in range(2)]))
        self.ahead = ahead

    def forward(self, x: Tensor) -> Tensor:
        backcast = x[:, :, 0]
        forecast = torch.zeros(x.size(0), self.ahead, dtype=x.dtype, device=x.device)
        for stack in self.stacks:
            for block in stack:
                b, f = block(backcast)
                backcast, forecast = backcast - b, forecast + f
        return forecast


class LstNet(nn.Module):
    """Convolution over time, a GRU, a GRU that skips, and a linear model beside all of it."""

    def __init__(
        self, m: int = 4, p: int = 24, hidc: int = 8, hidr: int = 6, hids: int = 3, skip: int = 4
    ) -> None:
        super().__init__()
        self.m, self.hidc, self.hids, self.skip = m, hidc, hids, skip
        self.pt = (p - 5) // skip
        self.conv1, self.dropout = nn.Conv2d(1, hidc, (6, m)), nn.Dropout(0.2)
        self.gru1, self.gruskip = nn.GRU(hidc, hidr), nn.GRU(hidc, hids)
        self.linear1, self.highway = nn.Linear(hidr + skip * hids, m), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.size(0)
        c = self.dropout(F.relu(self.conv1(x.unsqueeze(1)))).squeeze(3)
        r = c.permute(2, 0, 1).contiguous()
        _, r = self.gru1(r)
        r = self.dropout(torch.squeeze(r, 0))
        s = c[:, :, int(-self.pt * self.skip) :].contiguous()
        s = s.view(batch, self.hidc, self.pt, self.skip)
        s = s.permute(2, 0, 3, 1).contiguous()
        s = s.view(self.pt, batch * self.skip, self.hidc)
        _, s = self.gruskip(s)
        s = self.dropout(s.view(batch, self.skip * self.hids))
        res = self.linear1(torch.cat((r, s), 1))
        z = x[:, -8:, :].permute(0, 2, 1).contiguous().view(-1, 8)
        return torch.sigmoid(res + self.highway(z).view(-1, self.m))


class Autoformerish(nn.Module):
    """Series decomposed by a moving average; the trend goes straight, the rest through attention by frequencies."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.value, self.mark = nn.Linear(4, d), nn.Parameter(torch.randn(24, d) * 0.02)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.ff = nn.Sequential(nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, d))
        self.season, self.trend = nn.Linear(d, 4), nn.Linear(24, 6)

    @staticmethod
    def moving(x: Tensor, kernel: int = 5) -> Tensor:
        front, end = x[:, 0:1, :].repeat(1, kernel // 2, 1), x[:, -1:, :].repeat(1, kernel // 2, 1)
        return F.avg_pool1d(torch.cat([front, x, end], dim=1).permute(0, 2, 1), kernel, 1).permute(
            0, 2, 1
        )

    def forward(self, x: Tensor) -> Tensor:
        trend = self.moving(x)
        h = self.value(x - trend) + self.mark
        q, k, v = self.q(h), self.k(h), self.v(h)
        qf, kf = torch.fft.rfft(q, dim=1), torch.fft.rfft(k, dim=1)
        corr = torch.fft.irfft(qf * torch.conj(kf), n=h.shape[1], dim=1)
        h = h + self.o(torch.softmax(corr, dim=1) * v)
        h = h + self.ff(h)
        return self.season(h)[:, -6:] + self.trend(trend.transpose(1, 2)).transpose(1, 2)


class Found(NamedTuple):
    tags: Tensor
    chars: Tensor


class CharCnnTagger(nn.Module):
    """Characters of each word through a convolution, words through a BiLSTM; a named tuple comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.chars, self.words = nn.Embedding(20, 6), nn.Embedding(20, 8)
        self.conv, self.rnn = (
            nn.Conv1d(6, 10, 3, padding=1),
            nn.LSTM(18, 7, 2, batch_first=True, bidirectional=True),
        )
        self.hidden2tag, self.extra = nn.Linear(14, 5), nn.Linear(10, 2)

    def forward(self, words: Tensor, chars: Tensor) -> Found:
        b, n, m = chars.shape
        c = self.chars(chars.reshape(b * n, m)).transpose(1, 2)
        c = torch.max(F.relu(self.conv(c)), dim=-1)[0].view(b, n, -1)
        h, _ = self.rnn(torch.cat([self.words(words), c], dim=-1))
        return Found(self.hidden2tag(torch.tanh(h)), self.extra(c))


class GraphSage(nn.Module):
    """Neighbours averaged by a normalised matrix, jumping knowledge by cat, a mask for nodes that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.self_fc = nn.ModuleList([nn.Linear(5, 8), nn.Linear(8, 8)])
        self.neigh_fc = nn.ModuleList([nn.Linear(5, 8, bias=False), nn.Linear(8, 8, bias=False)])
        self.norms, self.out = (
            nn.ModuleList([nn.BatchNorm1d(8), nn.BatchNorm1d(8)]),
            nn.Linear(16, 3),
        )
        self.register_buffer(
            "adj", (torch.rand(7, 7, generator=torch.Generator().manual_seed(5)) > 0.5).float()
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        adj = self.adj.to(x.dtype) + torch.eye(7, dtype=x.dtype, device=x.device)
        adj = adj / adj.sum(-1, keepdim=True)
        seen = []
        for fc, nfc, bn in zip(self.self_fc, self.neigh_fc, self.norms, strict=True):
            x = fc(x) + nfc(torch.matmul(adj, x))
            x = F.relu(bn(x.flatten(0, 1)).view(x.shape))
            x = F.normalize(x, p=2.0, dim=-1)
            seen.append(x)
        h = torch.cat(seen, dim=-1) * mask.unsqueeze(-1)
        return self.out(h.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))


class Tft(nn.Module):
    """A decoder-only language model with rotary positions made of pairs, SwiGLU by two layers and a tied head."""

    def __init__(self, vocab: int = 20, d: int = 8, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.tok, self.heads = nn.Embedding(vocab, d), heads
        self.layers = nn.ModuleList([
            nn.ModuleDict({
                "ln1": nn.RMSNorm(d), "ln2": nn.RMSNorm(d),
                "wqkv": nn.Linear(d, 3 * d, bias=False), "wo": nn.Linear(d, d, bias=False),
                "w1": nn.Linear(d, 14, bias=False), "w2": nn.Linear(14, d, bias=False), "w3": nn.Linear(d, 14, bias=False),
            })
            for _ in range(layers)
        ])  # fmt: skip
        freqs = torch.outer(
            torch.arange(16).float(),
            1.0 / 10000 ** (torch.arange(0, d // heads, 2).float() / (d // heads)),
        )
        self.register_buffer("cos", freqs.cos(), persistent=False)
        self.register_buffer("sin", freqs.sin(), persistent=False)
        self.ln, self.head = nn.RMSNorm(d), nn.Linear(d, vocab, bias=False)
        self.head.weight = self.tok.weight

    def rotate(self, x: Tensor) -> Tensor:
        T = x.size(2)
        x1, x2 = x[..., ::2], x[..., 1::2]
        cos, sin = self.cos[:T], self.sin[:T]
        return torch.stack([x1 * cos - x2 * sin, x1 * sin + x2 * cos], dim=-1).flatten(-2)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Tensor:
        B, T = idx.size()
        x = self.tok(idx)
        for layer in self.layers:
            q, k, v = (
                layer["wqkv"](layer["ln1"](x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            )
            y = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
            x = x + layer["wo"](y.transpose(1, 2).reshape(B, T, -1))
            z = layer["ln2"](x)
            x = x + layer["w2"](F.silu(layer["w1"](z)) * layer["w3"](z))
        return self.head(self.ln(x))


CHARACTERS = torch.randint(1, 20, (3, 9, 4), generator=_G)
THERE = (torch.rand(3, 7, generator=_G) > 0.3).float()

NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "tcn_left_padded": lambda: (CausalTcn(), SERIES),
    "wavenet_one_gate": lambda: (GatedWaveNet(), SERIES),
    "seq2seq_teacher_forced": lambda: (Seq2Seq(), (WORDS, WORDS.flip(1))),
    "tab_transformer": lambda: (TabTransformer(), (CODES, ROWS)),
    "feature_tokens_reglu": lambda: (FeatureTokens(), ROWS),
    "gmlp_tiny_attention": lambda: (Gmlp(), WORDS),
    "perceiver_shared_cross": lambda: (Perceiver(), SETS),
    "conformer_ctc": lambda: (Conformer(), MELS),
    "crnn_time_first": lambda: (Crnn(), MELS),
    "film_sliced_params": lambda: (FilmGenerator(), (MELS, WORDS)),
    "set_transformer_mab": lambda: (SetTransformerMab(), SETS),
    "fusion_variable_selection": lambda: (Fusion(), (SERIES, ROWS[:3])),
    "nbeats_trend_stacks": lambda: (NBeatsStacks(), SERIES),
    "lstnet_skip": lambda: (LstNet(), SERIES),
    "autoformer_fft": lambda: (Autoformerish(), SERIES),
    "char_cnn_tagger": lambda: (CharCnnTagger(), (WORDS, CHARACTERS)),
    "graphsage_jumping": lambda: (GraphSage(), (SETS, THERE)),
    "rotary_pairs_tied": lambda: (Tft(), WORDS),
}

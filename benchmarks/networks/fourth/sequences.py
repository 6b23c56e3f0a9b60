"""Networks of the zoo over sequences, fourth sample: kinds that none of the earlier samples has."""

# ruff: noqa: N806 - names as in the papers
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(41)
WORDS = torch.randint(1, 20, (2, 8), generator=_G)
SERIES = torch.randn(2, 24, 3, generator=_G)
ROWS = torch.randn(4, 6, generator=_G)
FIELDS = torch.randint(0, 10, (4, 5), generator=_G)
NODES = torch.randn(2, 7, 5, generator=_G)
EDGES = (torch.rand(2, 7, 7, generator=_G) > 0.5).float()


class NHits(nn.Module):
    """Blocks that pool their input and interpolate their forecast, each taking its backcast away."""

    def __init__(self, inputs: int = 24, horizon: int = 6) -> None:
        super().__init__()
        self.h, self.pools = (
            horizon,
            nn.ModuleList(nn.MaxPool1d(k, k, ceil_mode=True) for k in (4, 2)),
        )
        self.mlps = nn.ModuleList(
            nn.Sequential(
                nn.Linear(n, 14), nn.ReLU(), nn.Linear(14, 12), nn.ReLU(), nn.Linear(12, inputs + k)
            )
            for n, k in ((6, 2), (12, 3))
        )

    def forward(self, x: Tensor) -> Tensor:
        residual, forecast = x[..., 0].flip(dims=(-1,)), x[:, -1:, 0]
        for pool, mlp in zip(self.pools, self.mlps, strict=True):
            theta = mlp(pool(residual.unsqueeze(1)).squeeze(1))
            backcast, knots = theta[:, : x.size(1)], theta[:, x.size(1) :]
            up = F.interpolate(knots[:, None, :], size=self.h, mode="linear")[:, 0, :]
            residual, forecast = residual - backcast, forecast + up
        return forecast


class DeepAR(nn.Module):
    """A recurrent network step by step, its parameters of a distribution written into tensors."""

    def __init__(self, hidden: int = 10) -> None:
        super().__init__()
        self.embedding, self.hidden = nn.Linear(3, 6), hidden
        self.lstm, self.relu = nn.LSTM(6, hidden, 2, dropout=0.1), nn.ReLU()
        self.mu, self.sigma = (
            nn.Linear(hidden * 2, 1),
            nn.Sequential(nn.Linear(hidden * 2, 1), nn.Softplus()),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        b = x.shape[0]
        h = torch.zeros(2, b, self.hidden, dtype=x.dtype, device=x.device)
        c = torch.zeros(2, b, self.hidden, dtype=x.dtype, device=x.device)
        mus = torch.zeros(b, 4, dtype=x.dtype, device=x.device)
        sigmas = torch.zeros(b, 4, dtype=x.dtype, device=x.device)
        for t in range(4):
            _, (h, c) = self.lstm(self.embedding(x[:, t]).unsqueeze(0), (h, c))
            state = h.permute(1, 2, 0).contiguous().view(b, -1)
            mus[:, t], sigmas[:, t] = self.mu(state).squeeze(), self.sigma(state).squeeze()
        return mus, sigmas


class InformerLayer(nn.Module):
    """Tokens by a circular convolution, attention, and a convolution that halves the length."""

    def __init__(self, d: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.token = nn.Conv1d(3, d, 3, padding=1, padding_mode="circular", bias=False)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.conv1, self.conv2 = nn.Conv1d(d, 14, 1), nn.Conv1d(14, d, 1)
        self.norm1, self.norm2, self.heads = nn.LayerNorm(d), nn.LayerNorm(d), heads
        self.distil = nn.Sequential(
            nn.Conv1d(d, 10, 3, padding=1, padding_mode="circular"),
            nn.BatchNorm1d(10),
            nn.ELU(),
            nn.MaxPool1d(3, 2, 1),
        )
        self.out = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token(x.permute(0, 2, 1)).transpose(1, 2)
        B, L, _ = x.shape
        q, k, v = (f(x).view(B, L, self.heads, -1) for f in (self.q, self.k, self.v))
        scores = torch.einsum("blhe,bshe->bhls", q, k)
        A = torch.softmax(1.0 / math.sqrt(q.shape[-1]) * scores, dim=-1)
        x = x + self.o(torch.einsum("bhls,bshd->blhd", A, v).reshape(B, L, -1))
        y = x = self.norm1(x)
        y = self.conv2(F.gelu(self.conv1(y.transpose(-1, 1)))).transpose(-1, 1)
        return self.out(self.distil(self.norm2(x + y).permute(0, 2, 1)).transpose(1, 2))


class PatchSeries(nn.Module):
    """Every series by itself, normalised, cut into patches by ``unfold``, and denormalised at the end."""

    def __init__(self, patch: int = 6, stride: int = 3, d: int = 10) -> None:
        super().__init__()
        self.patch, self.stride = patch, stride
        self.value, self.pos = nn.Linear(patch, d, bias=False), nn.Parameter(torch.randn(1, 8, d))
        self.enc = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d, 2, 16, batch_first=True, activation="gelu"), 1
        )
        self.head = nn.Sequential(nn.Flatten(start_dim=-2), nn.Linear(d * 8, 4), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(1, keepdim=True).detach()
        stdev = torch.sqrt(
            torch.var(x - means, dim=1, keepdim=True, unbiased=False) + 1e-5
        ).detach()
        x = ((x - means) / stdev).permute(0, 2, 1)
        n_vars = x.shape[1]
        x = F.pad(x, (0, self.stride), mode="replicate").unfold(-1, self.patch, self.stride)
        x = (
            self.value(torch.reshape(x, (x.shape[0] * x.shape[1], x.shape[2], x.shape[3])))
            + self.pos
        )
        x = self.enc(x)
        x = torch.reshape(x, (-1, n_vars, x.shape[-2], x.shape[-1]))
        out = self.head(x).permute(0, 2, 1)
        return out * stdev[:, 0, :].unsqueeze(1) + means[:, 0, :].unsqueeze(1)


class DLinear(nn.Module):
    """Trend and season, and a layer for each series, written into a tensor."""

    def __init__(self, length: int = 24, horizon: int = 4, channels: int = 3) -> None:
        super().__init__()
        self.avg, self.horizon = nn.AvgPool1d(5, 1), horizon
        self.season = nn.ModuleList(
            nn.Sequential(nn.Linear(length, 8), nn.ReLU(), nn.Linear(8, horizon))
            for _ in range(channels)
        )
        self.trend = nn.ModuleList(nn.Linear(length, horizon) for _ in range(channels))

    def forward(self, x: Tensor) -> Tensor:
        front, end = x[:, 0:1, :].repeat(1, 2, 1), x[:, -1:, :].repeat(1, 2, 1)
        trend = self.avg(torch.cat([front, x, end], dim=1).permute(0, 2, 1))
        season = x.permute(0, 2, 1) - trend
        out = torch.zeros([x.size(0), season.size(1), self.horizon], dtype=x.dtype).to(x.device)
        for i in range(len(self.season)):
            out[:, i, :] = self.season[i](season[:, i, :]) + self.trend[i](trend[:, i, :])
        return out.permute(0, 2, 1)


class TsMixer(nn.Module):
    """Perceptrons along time and along features in turn, with a two-dimensional normalisation."""

    def __init__(self, length: int = 24, c: int = 3) -> None:
        super().__init__()
        self.norm, self.time = nn.BatchNorm1d(length * c), nn.Linear(length, length)
        self.fc1, self.fc2, self.out = nn.Linear(c, 9), nn.Linear(9, c), nn.Linear(length, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.reshape(x.size(0), -1)).reshape(x.shape)
        x = x + F.relu(self.time(y.transpose(1, 2))).transpose(1, 2)
        x = x + self.fc2(F.dropout(F.relu(self.fc1(x)), 0.1, self.training))
        return self.out(x.transpose(1, 2)).transpose(1, 2)


class Linformer(nn.Module):
    """Keys and values projected along positions."""

    def __init__(self, d: int = 12, heads: int = 3, k: int = 4) -> None:
        super().__init__()
        self.emb, self.pos, self.heads = nn.Embedding(20, d), nn.Embedding(8, d), heads
        self.to_q, self.to_kv, self.to_out = (
            nn.Linear(d, d, bias=False),
            nn.Linear(d, 2 * d, bias=False),
            nn.Linear(d, d),
        )
        self.proj_k, self.proj_v = (
            nn.Parameter(0.3 * torch.randn(8, k)),
            nn.Parameter(0.3 * torch.randn(8, k)),
        )
        self.ff, self.out = (
            nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d)),
            nn.Linear(d, 3),
        )

    def forward(self, idx: Tensor) -> Tensor:
        b, n = idx.shape
        x = self.emb(idx) + self.pos(torch.arange(n, device=idx.device))
        d_h = x.shape[-1] // self.heads
        q, (k, v) = self.to_q(x), self.to_kv(x).chunk(2, dim=-1)
        k, v = (torch.einsum("bnd,nk->bkd", t, p) for t, p in ((k, self.proj_k), (v, self.proj_v)))
        q = q.reshape(b, n, self.heads, -1).transpose(1, 2)
        k, v = (t.reshape(b, -1, self.heads, d_h).transpose(1, 2) for t in (k, v))
        attn = (torch.einsum("bhnd,bhkd->bhnk", q, k) * d_h**-0.5).softmax(dim=-1)
        x = x + self.to_out(
            torch.einsum("bhnk,bhkd->bhnd", attn, v).transpose(1, 2).reshape(b, n, -1)
        )
        return self.out((x + self.ff(x)).mean(1))


class Performer(nn.Module):
    """Attention by random features, linear in the length."""

    def __init__(self, d: int = 12, heads: int = 2, m: int = 8) -> None:
        super().__init__()
        self.emb, self.heads, self.qkv, self.o = (
            nn.Embedding(20, d),
            heads,
            nn.Linear(d, 3 * d),
            nn.Linear(d, d),
        )
        self.register_buffer(
            "projection", torch.randn(m, d // heads, generator=torch.Generator().manual_seed(1))
        )
        self.norm, self.ff, self.head = (
            nn.LayerNorm(d),
            nn.Sequential(nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, d)),
            nn.Linear(d, 4),
        )

    def feature(self, x: Tensor, eps: float = 1e-4) -> Tensor:
        ratio = self.projection.shape[0] ** -0.5
        dash = torch.einsum("...id,jd->...ij", x * x.shape[-1] ** -0.25, self.projection.type_as(x))
        diag = (x**2).sum(dim=-1, keepdim=True) / 2.0 * x.shape[-1] ** -0.5
        return ratio * (
            torch.exp(dash - diag - torch.amax(dash, dim=(-1, -2), keepdim=True).detach()) + eps
        )

    def forward(self, idx: Tensor) -> Tensor:
        x = self.emb(idx)
        b, n, d = x.shape
        q, k, v = (
            t.view(b, n, self.heads, -1).transpose(1, 2)
            for t in self.qkv(self.norm(x)).chunk(3, -1)
        )
        q, k = self.feature(q), self.feature(k)
        inverse = 1.0 / torch.einsum("...nd,...d->...n", q, k.sum(dim=-2))
        out = torch.einsum(
            "...de,...nd,...n->...ne", torch.einsum("...nd,...ne->...de", k, v), q, inverse
        )
        x = x + self.o(out.transpose(1, 2).reshape(b, n, d))
        return self.head(x + self.ff(x))


class ChunkedAttention(nn.Module):
    """Attention inside chunks of four, the chunk before seen too (as the local layers of Reformer)."""

    def __init__(self, d: int = 12, heads: int = 3, chunk: int = 4) -> None:
        super().__init__()
        self.emb, self.heads, self.chunk = nn.Embedding(20, d), heads, chunk
        self.query, self.key, self.value, self.dense = (
            nn.Linear(d, d, bias=False) for _ in range(4)
        )
        self.fc1, self.fc2, self.lm = nn.Linear(d, 18), nn.Linear(18, d), nn.Linear(d, 20)

    def split(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        x = x.view(b, n, self.heads, d // self.heads).transpose(1, 2)
        return x.reshape(b, self.heads, n // self.chunk, self.chunk, -1)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.emb(idx)
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        k, v = (torch.cat([torch.roll(t, 1, dims=2), t], dim=3) for t in (k, v))
        dots = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        out = torch.matmul(torch.exp(dots - torch.logsumexp(dots, dim=-1, keepdim=True)), v)
        out = out.flatten(start_dim=2, end_dim=3).permute(0, 2, 1, 3)
        x = x + self.dense(out.reshape(*out.shape[:2], -1))
        return self.lm(x + self.fc2(F.relu(self.fc1(x))))


class GatedAttentionUnit(nn.Module):
    """FLASH: one small head of scaled and shifted queries and keys, squared ReLU, a gate."""

    def __init__(self, d: int = 8, s: int = 6, e: int = 14) -> None:
        super().__init__()
        self.emb, self.norm, self.e, self.s = nn.Embedding(20, d), nn.LayerNorm(d), e, s
        self.uv, self.o, self.out = nn.Linear(d, 2 * e + s), nn.Linear(e, d), nn.Linear(d, 3)
        self.gamma, self.beta = (
            nn.Parameter(0.5 + torch.rand(2, s)),
            nn.Parameter(torch.zeros(2, s)),
        )

    def forward(self, idx: Tensor) -> Tensor:
        x = self.emb(idx)
        u, v, base = torch.split(F.silu(self.uv(self.norm(x))), [self.e, self.e, self.s], dim=-1)
        base = torch.einsum("...r,hr->...hr", base, self.gamma) + self.beta
        q, k = torch.unbind(base, dim=-2)
        kernel = torch.square(F.relu(torch.einsum("bnd,bmd->bnm", q, k) / x.shape[1]))
        return self.out(x + self.o(u * torch.einsum("bnm,bme->bne", kernel, v)))


class S4D(nn.Module):
    """Diagonal state spaces as one long convolution by FFT."""

    def __init__(self, h: int = 8, n: int = 4) -> None:
        super().__init__()
        self.encoder, self.D = nn.Linear(3, h), nn.Parameter(torch.randn(h))
        self.log_dt, self.C = nn.Parameter(torch.randn(h) - 3), nn.Parameter(torch.randn(h, n, 2))
        self.log_A_real, self.A_imag = (
            nn.Parameter(torch.log(0.5 * torch.ones(h, n))),
            nn.Parameter(math.pi * torch.arange(n).repeat(h, 1).float()),
        )
        self.output_linear, self.decoder = (
            nn.Sequential(nn.Conv1d(h, 2 * h, 1), nn.GLU(dim=-2)),
            nn.Linear(h, 2),
        )

    def kernel(self, length: int) -> Tensor:
        dt, C = torch.exp(self.log_dt), torch.view_as_complex(self.C)
        A = -torch.exp(self.log_A_real) + 1j * self.A_imag
        dtA = A * dt.unsqueeze(-1)
        K = dtA.unsqueeze(-1) * torch.arange(length, device=A.device)
        C = C * (torch.exp(dtA) - 1.0) / A
        return 2 * torch.einsum("hn,hnl->hl", C, torch.exp(K)).real

    def forward(self, x: Tensor) -> Tensor:
        u = self.encoder(x).transpose(-1, -2)
        L = u.size(-1)
        k = self.kernel(L)
        y = torch.fft.irfft(torch.fft.rfft(u, n=2 * L) * torch.fft.rfft(k, n=2 * L), n=2 * L)[
            ..., :L
        ]
        y = self.output_linear(F.gelu(y + u * self.D.unsqueeze(-1)))
        return self.decoder(y.transpose(-1, -2).mean(dim=1))


class MinGru(nn.Module):
    """A gated recurrence of which all steps are computed at once, by logarithms."""

    def __init__(self, d: int = 6, h: int = 10) -> None:
        super().__init__()
        self.emb, self.z, self.h, self.out = (
            nn.Embedding(20, d),
            nn.Linear(d, h),
            nn.Linear(d, h),
            nn.Linear(h, 20),
        )

    def forward(self, idx: Tensor) -> Tensor:
        x = self.emb(idx)
        k, g = self.z(x), self.h(x)
        log_z, log_c = -F.softplus(-k), -F.softplus(k)
        log_g = torch.where(g >= 0, (F.relu(g) + 0.5).log(), -F.softplus(-g))
        a = F.pad(torch.cumsum(log_c, dim=1), (0, 0, 1, 0))
        values = F.pad(log_z + log_g, (0, 0, 1, 0), value=-1.0)
        return self.out((a + torch.logcumsumexp(values - a, dim=1)).exp()[:, 1:])


class Retention(nn.Module):
    """A decay of each head in place of softmax, a norm of each head, and a gate."""

    def __init__(self, d: int = 12, heads: int = 2) -> None:
        super().__init__()
        self.emb, self.heads = nn.Embedding(20, d), heads
        self.q, self.k, self.v, self.g, self.o = (nn.Linear(d, d, bias=False) for _ in range(5))
        self.gn, self.head = nn.GroupNorm(heads, d), nn.Linear(d, 5)
        self.register_buffer("gammas", 1 - 2.0 ** (-5 - torch.arange(heads).float()))

    def forward(self, idx: Tensor) -> Tensor:
        x = self.emb(idx)
        b, n, d = x.shape
        q, k, v = (
            f(x).view(b, n, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        i = torch.arange(n, device=x.device)
        gap = (i[:, None] - i[None, :]).to(x.dtype)
        D = torch.where(gap >= 0, self.gammas.view(-1, 1, 1) ** gap.clamp(min=0), 0.0)
        y = ((q @ k.transpose(-1, -2)) * D) @ v
        y = self.gn(y.transpose(1, 2).reshape(b * n, d)).view(b, n, d)
        return self.head(x + self.o(F.silu(self.g(x)) * y))


class SLstm(nn.Module):
    """A cell with exponential gates and a stabiliser, in a loop, its outputs in a list."""

    def __init__(self, i: int = 3, h: int = 8) -> None:
        super().__init__()
        self.W, self.R, self.h = nn.Linear(i, 4 * h), nn.Linear(h, 4 * h, bias=False), h
        self.proj, self.out = nn.Linear(h, 10), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(x.shape[0], self.h)
        h, c, n, m = zeros, zeros, zeros + 1e-6, zeros
        outs = []
        for t in range(5):
            i, f, z, o = (self.W(x[:, t]) + self.R(h)).chunk(4, dim=-1)
            logf = F.logsigmoid(f)
            m_new = torch.maximum(logf + m, i)
            i, f = torch.exp(i - m_new), torch.exp(logf + m - m_new)
            c, n, m = f * c + i * torch.tanh(z), f * n + i, m_new
            h = torch.sigmoid(o) * (c / n)
            outs.append(h)
        return self.out(F.gelu(self.proj(torch.stack(outs, dim=1))))


class SimpleRecurrentUnit(nn.Module):
    """All products first, then a loop of products of elements (SRU), with a highway."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.emb, self.w, self.b = (
            nn.Embedding(20, d),
            nn.Linear(d, 3 * d, bias=False),
            nn.Parameter(torch.zeros(2, d)),
        )
        self.v, self.out = nn.Parameter(torch.ones(2, d)), nn.Linear(d, 4)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.emb(idx)
        u0, u1, u2 = self.w(x).chunk(3, dim=-1)
        c = torch.zeros_like(x[:, 0])
        hs = []
        for t in range(8):
            f = torch.sigmoid(u1[:, t] + self.v[0] * c + self.b[0])
            r = torch.sigmoid(u2[:, t] + self.v[1] * c + self.b[1])
            c = f * c + (1 - f) * u0[:, t]
            hs.append(r * torch.tanh(c) + (1 - r) * x[:, t])
        return self.out(torch.stack(hs, 1).amax(dim=1))


class Seq2SeqTutorial(nn.Module):
    """Encoder and decoder of a tutorial: outputs written into zeros, the best word fed back."""

    def __init__(self, vocab: int = 20, e: int = 6, h: int = 9) -> None:
        super().__init__()
        self.embedding, self.dec_embedding = nn.Embedding(vocab, e), nn.Embedding(vocab, e)
        self.rnn, self.cell, self.fc_out, self.vocab = (
            nn.GRU(e, h, batch_first=True),
            nn.GRU(e + h, h),
            nn.Linear(e + 2 * h, vocab),
            vocab,
        )

    def forward(self, src: Tensor) -> Tensor:
        _, context = self.rnn(self.embedding(src))
        hidden, token = context, src[:, 0]
        outputs = torch.zeros(4, src.shape[0], self.vocab, dtype=context.dtype)
        for t in range(1, 4):
            embedded = self.dec_embedding(token.unsqueeze(0))
            output, hidden = self.cell(torch.cat((embedded, context), dim=2), hidden)
            output = torch.cat((embedded.squeeze(0), hidden.squeeze(0), context.squeeze(0)), dim=1)
            prediction = self.fc_out(output)
            outputs[t] = prediction
            token = prediction.argmax(1)
        return outputs.transpose(0, 1)


class Esim(nn.Module):
    """Two sentences aligned with each other, compared by difference and product."""

    def __init__(self, d: int = 8, h: int = 6) -> None:
        super().__init__()
        self.emb, self.enc = (
            nn.Embedding(20, d),
            nn.LSTM(d, h, batch_first=True, bidirectional=True),
        )
        self.proj, self.comp = (
            nn.Sequential(nn.Linear(8 * h, h), nn.ReLU()),
            nn.LSTM(h, h, batch_first=True, bidirectional=True),
        )
        self.fc = nn.Sequential(
            nn.BatchNorm1d(8 * h),
            nn.Linear(8 * h, 10),
            nn.ELU(),
            nn.BatchNorm1d(10),
            nn.Linear(10, 3),
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        x, y = self.enc(self.emb(a))[0], self.enc(self.emb(b))[0]
        e = torch.matmul(x, y.transpose(1, 2)).masked_fill((b == 0).unsqueeze(1), -1e4)
        x_t, y_t = e.softmax(-1) @ y, e.transpose(1, 2).softmax(-1) @ x
        pooled = []
        for one, other in ((x, x_t), (y, y_t)):
            m = self.comp(self.proj(torch.cat([one, other, one - other, one * other], -1)))[0]
            p1 = F.avg_pool1d(m.transpose(1, 2), m.size(1)).squeeze(-1)
            pooled += [p1, F.max_pool1d(m.transpose(1, 2), m.size(1)).squeeze(-1)]
        return self.fc(torch.cat(pooled, -1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "nhits_pooled": lambda: (NHits(), SERIES),
    "deepar_written": lambda: (DeepAR(), SERIES),
    "informer_distil": lambda: (InformerLayer(), SERIES),
    "patch_series": lambda: (PatchSeries(), SERIES),
    "dlinear_individual": lambda: (DLinear(), SERIES),
    "ts_mixer": lambda: (TsMixer(), SERIES),
    "linformer": lambda: (Linformer(), WORDS),
    "performer": lambda: (Performer(), WORDS),
    "chunked_attention": lambda: (ChunkedAttention(), WORDS),
    "gated_attention_unit": lambda: (GatedAttentionUnit(), WORDS),
    "s4d": lambda: (S4D(), SERIES),
    "min_gru": lambda: (MinGru(), WORDS),
    "retention": lambda: (Retention(), WORDS),
    "slstm": lambda: (SLstm(), SERIES),
    "sru": lambda: (SimpleRecurrentUnit(), WORDS),
    "seq2seq_written": lambda: (Seq2SeqTutorial(), WORDS),
    "esim_pair": lambda: (Esim(), (WORDS, WORDS.flip(1))),
}

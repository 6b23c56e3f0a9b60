"""Networks of the zoo over time series and videos, sixth sample."""

# ruff: noqa: B905, E501, N802, N803, N806, RUF046, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.sixth.inputs import INPUTS


@dataclass
class SeriesConfig:
    seq_len: int = 24
    pred_len: int = 8
    enc_in: int = 4
    d_model: int = 12
    d_ff: int = 20
    n_heads: int = 3
    dropout: float = 0.1


class FourierBlock(nn.Module):
    """Some frequencies of each head times complex weights."""

    def __init__(self, heads: int, dim: int, modes: list[int]) -> None:
        super().__init__()
        self.index, e = modes, dim // heads
        scale = 1 / (dim * dim)
        self.weights1 = nn.Parameter(scale * torch.rand(heads, e, e, len(modes), 2))

    def forward(self, q: Tensor) -> Tensor:
        B, L, H, E = q.shape
        x = q.permute(0, 2, 3, 1)
        x_ft = torch.fft.rfft(x, dim=-1)
        out_ft = torch.zeros(B, H, E, L // 2 + 1, device=x.device, dtype=x_ft.dtype)
        w = torch.view_as_complex(self.weights1)
        for wi, i in enumerate(self.index):
            out_ft[:, :, :, wi] = torch.einsum("bhi,hio->bho", x_ft[:, :, :, i], w[:, :, :, wi])
        return torch.fft.irfft(out_ft, n=x.size(-1))


class MovingAverage(nn.Module):
    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.avg = nn.AvgPool1d(kernel_size=kernel_size, stride=1, padding=0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        front = x[:, 0:1, :].repeat(1, (self.kernel_size - 1) // 2, 1)
        end = x[:, -1:, :].repeat(1, (self.kernel_size - 1) // 2, 1)
        mean = self.avg(torch.cat([front, x, end], dim=1).permute(0, 2, 1)).permute(0, 2, 1)
        return x - mean, mean


class Fedformer(nn.Module):
    """Decomposition blocks around attention in the frequency domain."""

    def __init__(self, configs: SeriesConfig) -> None:
        super().__init__()
        self.configs = configs
        self.decomp1, self.decomp2 = MovingAverage(5), MovingAverage(3)
        self.embed = nn.Conv1d(
            configs.enc_in, configs.d_model, 3, padding=1, padding_mode="circular", bias=False
        )
        self.query_projection = nn.Linear(configs.d_model, configs.d_model)
        self.out_projection = nn.Linear(configs.d_model, configs.d_model)
        self.filter = FourierBlock(configs.n_heads, configs.d_model, [0, 2, 3, 7])
        self.conv1 = nn.Conv1d(configs.d_model, configs.d_ff, 1, bias=False)
        self.conv2 = nn.Conv1d(configs.d_ff, configs.d_model, 1, bias=False)
        self.norm = nn.LayerNorm(configs.d_model)
        self.projection = nn.Linear(configs.d_model, configs.enc_in)
        self.predict = nn.Linear(configs.seq_len, configs.pred_len)

    def forward(self, x_enc: Tensor) -> Tensor:
        x = self.embed(x_enc.permute(0, 2, 1)).transpose(1, 2)
        B, L, _ = x.shape
        q = self.query_projection(x).view(B, L, self.configs.n_heads, -1)
        new_x = self.filter(q).permute(0, 3, 1, 2).contiguous().view(B, L, -1)
        x, trend = self.decomp1(x + self.out_projection(new_x))
        y = F.gelu(self.conv1(x.transpose(-1, 1)))
        y = self.conv2(y).transpose(-1, 1)
        res, trend2 = self.decomp2(x + y)
        x_hat = self.norm(res)
        bias = torch.mean(x_hat, dim=1).unsqueeze(1).repeat(1, x.shape[1], 1)
        out = self.projection(x_hat - bias + trend + trend2)
        return self.predict(out.permute(0, 2, 1)).permute(0, 2, 1)


class RevIN(nn.Module):
    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.affine_weight = nn.Parameter(torch.ones(num_features))
        self.affine_bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x: Tensor, mode: str) -> Tensor:
        if mode == "norm":
            self.mean = torch.mean(x, dim=1, keepdim=True).detach()
            self.stdev = torch.sqrt(
                torch.var(x, dim=1, keepdim=True, unbiased=False) + self.eps
            ).detach()
            return (x - self.mean) / self.stdev * self.affine_weight + self.affine_bias
        x = (x - self.affine_bias) / (self.affine_weight + self.eps * self.eps)
        return x * self.stdev + self.mean


class SegRnn(nn.Module):
    """Segments of each channel through a GRU, all that follow decoded at once from positions and channels."""

    def __init__(self, configs: SeriesConfig, seg: int = 4) -> None:
        super().__init__()
        self.seg_len, self.enc_in, self.d_model = seg, configs.enc_in, configs.d_model
        self.seg_num_x, self.seg_num_y = configs.seq_len // seg, configs.pred_len // seg
        self.revin = RevIN(configs.enc_in)
        self.valueEmbedding = nn.Sequential(nn.Linear(seg, self.d_model), nn.ReLU())
        self.rnn = nn.GRU(self.d_model, self.d_model, batch_first=True)
        self.pos_emb = nn.Parameter(torch.randn(self.seg_num_y, self.d_model // 2))
        self.channel_emb = nn.Parameter(torch.randn(self.enc_in, self.d_model // 2))
        self.predict = nn.Sequential(nn.Dropout(0.1), nn.Linear(self.d_model, seg))

    def forward(self, x: Tensor) -> Tensor:
        batch_size = x.size(0)
        x = self.revin(x, "norm").permute(0, 2, 1)
        x = self.valueEmbedding(x.reshape(-1, self.seg_num_x, self.seg_len))
        _, hn = self.rnn(x)
        pos_emb = torch.cat(
            [
                self.pos_emb.unsqueeze(0).repeat(self.enc_in, 1, 1),
                self.channel_emb.unsqueeze(1).repeat(1, self.seg_num_y, 1),
            ],
            dim=-1,
        )
        pos_emb = pos_emb.view(-1, 1, self.d_model).repeat(batch_size, 1, 1)
        hidden = hn.repeat(1, 1, self.seg_num_y).view(1, -1, self.d_model)
        _, hy = self.rnn(pos_emb, hidden)
        y = self.predict(hy).view(-1, self.enc_in, self.seg_num_y * self.seg_len)
        return self.revin(y.permute(0, 2, 1), "denorm")


class FreTs(nn.Module):
    """Multilayer perceptrons over the real and imaginary parts of frequencies, soft-shrunk."""

    def __init__(self, configs: SeriesConfig, embed_size: int = 6) -> None:
        super().__init__()
        self.embed_size, self.pre_length = embed_size, configs.pred_len
        self.seq_length, self.feature_size = configs.seq_len, configs.enc_in
        self.embeddings = nn.Parameter(torch.randn(1, embed_size))
        self.r, self.i = (nn.Parameter(0.02 * torch.randn(embed_size, embed_size)) for _ in "ri")
        self.rb, self.ib = (nn.Parameter(0.02 * torch.randn(embed_size)) for _ in "ri")
        self.fc = nn.Sequential(
            nn.Linear(self.seq_length * embed_size, 16),
            nn.LeakyReLU(),
            nn.Linear(16, self.pre_length),
        )

    def FreMLP(self, x: Tensor) -> Tensor:
        o_real = F.relu(
            torch.einsum("bijd,dd->bijd", x.real, self.r)
            - torch.einsum("bijd,dd->bijd", x.imag, self.i)
            + self.rb
        )
        o_imag = F.relu(
            torch.einsum("bijd,dd->bijd", x.imag, self.r)
            + torch.einsum("bijd,dd->bijd", x.real, self.i)
            + self.ib
        )
        y = F.softshrink(torch.stack([o_real, o_imag], dim=-1), lambd=0.01)
        return torch.view_as_complex(y)

    def forward(self, x: Tensor) -> Tensor:
        B, T, N = x.shape
        x = x.permute(0, 2, 1).unsqueeze(3) * self.embeddings
        bias = x
        x = torch.fft.rfft(x, dim=2, norm="ortho")
        x = torch.fft.irfft(self.FreMLP(x), n=self.seq_length, dim=2, norm="ortho")
        x = self.fc((x + bias).reshape(B, N, -1))
        return x.permute(0, 2, 1)


class TideBlock(nn.Module):
    def __init__(self, i: int, h: int, o: int, bias: bool = True) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = (
            nn.Linear(i, h, bias=bias), nn.Linear(h, o, bias=bias), nn.Linear(i, o, bias=bias))  # fmt: skip
        self.dropout, self.relu, self.ln = nn.Dropout(0.1), nn.ReLU(), nn.LayerNorm(o, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(self.fc2(self.relu(self.fc1(x))))
        out = out + self.fc3(x)
        return self.ln(out)


class Tide(nn.Module):
    """Dense residual encoder and decoder of the past and of covariates of each step."""

    def __init__(self, configs: SeriesConfig) -> None:
        super().__init__()
        self.seq_len, self.pred_len = configs.seq_len, configs.pred_len
        self.feature_encoder = TideBlock(3, 8, 2)
        flat = (configs.seq_len + configs.pred_len) * 2 + configs.seq_len
        self.encoders = nn.Sequential(TideBlock(flat, 14, 12), TideBlock(12, 14, 12))
        self.decoders = nn.Sequential(TideBlock(12, 14, 5 * configs.pred_len))
        self.final_temporal_decoder = TideBlock(5 + 2, 9, 1)
        self.residual_proj = nn.Linear(configs.seq_len, configs.pred_len)

    def imputation(self, x: Tensor, mark: Tensor) -> Tensor:
        feature = self.feature_encoder(mark)
        hidden = self.encoders(torch.cat([x, feature.reshape(feature.shape[0], -1)], dim=-1))
        decoded = self.decoders(hidden).reshape(hidden.shape[0], self.pred_len, 5)
        dec_out = self.final_temporal_decoder(
            torch.cat([feature[:, self.seq_len :], decoded], dim=-1)
        ).squeeze(-1)
        return dec_out + self.residual_proj(x)

    def forward(self, x: Tensor) -> Tensor:
        t = torch.arange(self.seq_len + self.pred_len, device=x.device, dtype=x.dtype) / 10
        mark = torch.stack([t.sin(), t.cos(), t], -1).unsqueeze(0).expand(x.size(0), -1, -1)
        return torch.stack([self.imputation(x[:, :, f], mark) for f in range(x.shape[-1])], dim=-1)


class InceptionTimeModule(nn.Module):
    def __init__(self, ni: int, nf: int, ks: int = 9, bottleneck: bool = True) -> None:
        super().__init__()
        ks = [ks // (2**i) for i in range(3)]
        ks = [k if k % 2 != 0 else k - 1 for k in ks]
        bottleneck = bottleneck if ni > 1 else False
        self.bottleneck = nn.Conv1d(ni, nf, 1, bias=False) if bottleneck else (lambda x: x)
        self.convs = nn.ModuleList(
            [nn.Conv1d(nf if bottleneck else ni, nf, k, padding="same", bias=False) for k in ks]
        )
        self.maxconvpool = nn.Sequential(
            nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(ni, nf, 1, bias=False)
        )
        self.bn, self.act = nn.BatchNorm1d(nf * 4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        input_tensor = x
        x = self.bottleneck(input_tensor)
        x = torch.cat([conv(x) for conv in self.convs] + [self.maxconvpool(input_tensor)], 1)
        return self.act(self.bn(x))


class InceptionTime(nn.Module):
    """Kernels of several lengths over a bottleneck, and a residual every third block."""

    def __init__(self, c_in: int = 4, nf: int = 5, depth: int = 3) -> None:
        super().__init__()
        self.inception, self.shortcut = nn.ModuleList(), nn.ModuleList()
        for d in range(depth):
            self.inception.append(InceptionTimeModule(c_in if d == 0 else nf * 4, nf))
            if d % 3 == 2:
                self.shortcut.append(
                    nn.Sequential(nn.Conv1d(c_in, nf * 4, 1), nn.BatchNorm1d(nf * 4))
                )
        self.head = nn.Linear(nf * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        res = x = x.transpose(1, 2)
        for d, module in enumerate(self.inception):
            x = module(x)
            if d % 3 == 2:
                res = x = F.relu(x + self.shortcut[d // 3](res))
        return self.head(x.mean(-1))


class Nonstationary(nn.Module):
    """Attention of series that were made stationary, given their scale and shift again by two projectors."""

    def __init__(self, configs: SeriesConfig) -> None:
        super().__init__()
        self.c = configs
        d, s = configs.d_model, configs.seq_len
        self.enc_embedding = nn.Linear(configs.enc_in, d)
        self.register_buffer("pe", self._table(s, d), persistent=False)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.tau_conv = nn.Conv1d(s, 1, 3, padding=1, padding_mode="circular", bias=False)
        self.tau_learner = nn.Sequential(nn.Linear(2 * configs.enc_in, 9), nn.ReLU(), nn.Linear(9, 1, bias=False))  # fmt: skip
        self.delta_learner = nn.Sequential(nn.Linear(2 * configs.enc_in, 9), nn.ReLU(), nn.Linear(9, s, bias=False))  # fmt: skip
        self.norm = nn.LayerNorm(d)
        self.ff = nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d))
        self.head = nn.Linear(d, configs.enc_in)

    @staticmethod
    def _table(length: int, dim: int) -> Tensor:
        pe = torch.zeros(length, dim)
        position = torch.arange(0, length).float().unsqueeze(1)
        div_term = (torch.arange(0, dim, 2).float() * -(math.log(10000.0) / dim)).exp()
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        return pe.unsqueeze(0)

    def forward(self, x_enc: Tensor) -> Tensor:
        x_raw = x_enc.clone().detach()
        mean_enc = x_enc.mean(1, keepdim=True).detach()
        x_enc = x_enc - mean_enc
        std_enc = torch.sqrt(torch.var(x_enc, dim=1, keepdim=True, unbiased=False) + 1e-5).detach()
        x_enc = x_enc / std_enc
        tau = self.tau_learner(torch.cat([self.tau_conv(x_raw), std_enc], 1).flatten(1)).exp()
        delta = self.delta_learner(torch.cat([self.tau_conv(x_raw), mean_enc], 1).flatten(1))
        x = self.enc_embedding(x_enc) + self.pe[:, : x_enc.size(1)]
        B, L, D = x.shape
        H = self.c.n_heads
        queries, keys, values = self.q(x).view(B, L, H, -1), self.k(x).view(B, L, H, -1), self.v(x).view(B, L, H, -1)  # fmt: skip
        scale = 1.0 / math.sqrt(D // H)
        scores = torch.einsum("blhe,bshe->bhls", queries, keys) * tau.unsqueeze(1).unsqueeze(1)
        scores = scores + delta.unsqueeze(1).unsqueeze(1)
        A = torch.softmax(scale * scores, dim=-1)
        V = torch.einsum("bhls,bshd->blhd", A, values).contiguous().view(B, L, -1)
        x = x + self.o(V)
        x = self.norm(x + self.ff(x))
        return self.head(x)[:, -self.c.pred_len :] * std_enc + mean_enc


class StGcnBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, n: int, K: int = 3) -> None:
        super().__init__()
        self.c_out = c_out
        self.tconv1 = nn.Conv2d(c_in, 2 * c_out, (3, 1))
        self.theta = nn.Parameter(torch.randn(K, c_out, c_out) * 0.2)
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.tconv2 = nn.Conv2d(c_out, c_out, (3, 1))
        self.ln = nn.LayerNorm([n, c_out])

    def forward(self, x: Tensor, lk: Tensor) -> Tensor:
        p, q = torch.split(self.tconv1(x), self.c_out, dim=1)
        x = p * torch.sigmoid(q)
        x_c = torch.einsum("knm,bitm->bitkn", lk, x)
        x_gc = torch.einsum("iok,bitkn->botn", self.theta.permute(1, 2, 0), x_c)
        x = torch.relu(x_gc + self.bias.view(1, -1, 1, 1) + x)
        x = torch.relu(self.tconv2(x))
        return self.ln(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class StGcn(nn.Module):
    """Traffic: gated convolutions in time around Chebyshev polynomials of a road graph."""

    def __init__(self, n: int = 6) -> None:
        super().__init__()
        a = INPUTS.edges[0] + INPUTS.edges[0].T
        lap = torch.eye(n) - a / a.sum(1, keepdim=True).clamp(min=1)
        self.register_buffer("lk", torch.stack([torch.eye(n), lap, 2 * lap @ lap - torch.eye(n)]))
        self.st1, self.st2 = StGcnBlock(2, 6, n), StGcnBlock(6, 8, n)
        self.out = nn.Conv2d(8, 1, (4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), 2, 12, -1)
        return self.out(self.st2(self.st1(x, self.lk), self.lk)).squeeze(2)


class GraphWaveNet(nn.Module):
    """Gated dilated convolutions, diffusion over an adaptive adjacency of node embeddings, skips cut to length."""

    def __init__(self, num_nodes: int = 4, residual: int = 6, skip: int = 9) -> None:
        super().__init__()
        self.nodevec1 = nn.Parameter(torch.randn(num_nodes, 5))
        self.nodevec2 = nn.Parameter(torch.randn(5, num_nodes))
        self.start_conv = nn.Conv2d(1, residual, (1, 1))
        self.filter_convs, self.gate_convs, self.skip_convs, self.gconvs, self.bn = (nn.ModuleList() for _ in range(5))  # fmt: skip
        self.dilations = [1, 2, 4]
        for d in self.dilations:
            self.filter_convs.append(nn.Conv2d(residual, residual, (1, 2), dilation=d))
            self.gate_convs.append(nn.Conv2d(residual, residual, (1, 2), dilation=d))
            self.skip_convs.append(nn.Conv2d(residual, skip, (1, 1)))
            self.gconvs.append(nn.Conv2d(3 * residual, residual, (1, 1)))
            self.bn.append(nn.BatchNorm2d(residual))
        self.end_conv_1, self.end_conv_2 = nn.Conv2d(skip, 10, 1), nn.Conv2d(10, 5, 1)

    def forward(self, input: Tensor) -> Tensor:
        x = self.start_conv(input.transpose(1, 2).unsqueeze(1))
        skip: Any = 0
        adp = F.softmax(F.relu(torch.mm(self.nodevec1, self.nodevec2)), dim=1)
        for i in range(len(self.dilations)):
            residual = x
            x = torch.tanh(self.filter_convs[i](residual)) * torch.sigmoid(
                self.gate_convs[i](residual)
            )
            s = self.skip_convs[i](x)
            try:
                skip = skip[:, :, :, -s.size(3) :]
            except TypeError:
                skip = 0
            skip = s + skip
            out = [x]
            for _ in range(2):
                out.append(torch.einsum("ncvl,vw->ncwl", (out[-1], adp)).contiguous())
            x = self.gconvs[i](torch.cat(out, dim=1))
            x = x + residual[:, :, :, -x.size(3) :]
            x = self.bn[i](x)
        x = F.relu(self.end_conv_1(F.relu(skip)))
        return self.end_conv_2(x)[..., -1]


class SlowFast(nn.Module):
    """Two pathways over few and all frames, joined sideways by convolutions with a stride in time."""

    def __init__(self, alpha: int = 4) -> None:
        super().__init__()
        self.alpha = alpha
        self.fast1 = nn.Sequential(nn.Conv3d(3, 4, (5, 3, 3), (1, 2, 2), (2, 1, 1), bias=False), nn.BatchNorm3d(4), nn.ReLU(inplace=True))  # fmt: skip
        self.slow1 = nn.Sequential(nn.Conv3d(3, 10, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False), nn.BatchNorm3d(10), nn.ReLU(inplace=True))  # fmt: skip
        self.lateral = nn.Conv3d(4, 8, (5, 1, 1), (alpha, 1, 1), (2, 0, 0), bias=False)
        self.fast2 = nn.Conv3d(4, 6, 3, padding=1)
        self.slow2 = nn.Conv3d(18, 12, (1, 3, 3), padding=(0, 1, 1))
        self.dp, self.fc = nn.Dropout(0.5), nn.Linear(18, 5, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        fast = self.fast1(input)
        slow = self.slow1(input[:, :, :: self.alpha, :, :])
        lateral = self.lateral(fast)
        slow = F.relu(self.slow2(torch.cat([slow, lateral], dim=1)))
        fast = F.relu(self.fast2(fast))
        fast = F.adaptive_avg_pool3d(fast, 1).view(-1, fast.size(1))
        slow = F.adaptive_avg_pool3d(slow, 1).view(-1, slow.size(1))
        return self.fc(self.dp(torch.cat([slow, fast], dim=1)))


class FactorisedClip(nn.Module):
    """R(2+1)D: a middle width that keeps the number of parameters, in space and then in time."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(self.factor(i, o) for i, o in ((3, 6), (6, 6), (6, 9)))
        self.bns = nn.ModuleList(nn.BatchNorm3d(c) for c in (6, 6, 9))
        self.linear = nn.Linear(9, 4)

    @staticmethod
    def factor(i: int, o: int, t: int = 3, d: int = 3) -> nn.Sequential:
        mid = int(math.floor((t * d * d * i * o) / (d * d * i + t * o)))
        return nn.Sequential(
            nn.Conv3d(i, mid, (1, d, d), padding=(0, 1, 1)), nn.BatchNorm3d(mid), nn.ReLU(),
            nn.Conv3d(mid, o, (t, 1, 1), padding=(1, 0, 0)))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        for n, (conv, bn) in enumerate(zip(self.blocks, self.bns)):
            out = bn(conv(x))
            x = F.relu(out + x) if out.shape == x.shape else F.relu(out)
            if n == 0:
                x = F.max_pool3d(x, (1, 2, 2))
        return self.linear(x.mean(dim=[2, 3, 4]))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "fedformer_modes": lambda: (Fedformer(SeriesConfig()), INPUTS.series),
    "segrnn_reversible": lambda: (SegRnn(SeriesConfig()), INPUTS.series),
    "frets_frequencies": lambda: (FreTs(SeriesConfig()), INPUTS.series),
    "tide_dense": lambda: (Tide(SeriesConfig()), INPUTS.series),
    "inception_time": lambda: (InceptionTime(), INPUTS.series),
    "nonstationary_attention": lambda: (Nonstationary(SeriesConfig()), INPUTS.series),
    "stgcn_chebyshev": lambda: (StGcn(), INPUTS.traffic),
    "graph_wavenet": lambda: (GraphWaveNet(), INPUTS.series),
    "slow_fast": lambda: (SlowFast(), INPUTS.clips),
    "clip_factorised": lambda: (FactorisedClip(), INPUTS.clips),
}

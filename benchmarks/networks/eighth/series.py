"""Networks of the zoo over series and sound, eighth sample."""

# ruff: noqa: B905, N801, N802, N803, N806 - names and lines as people write them
from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eighth.inputs import INPUTS, SEEN


class ProbAttention(nn.Module):
    """Sparse attention: a sample of keys measures each query, the top ones attend, the others take the mean of values."""

    def __init__(self, mask_flag: bool = False, factor: int = 1) -> None:
        super().__init__()
        self.factor, self.mask_flag = factor, mask_flag

    def _prob_QK(self, Q: Tensor, K: Tensor, sample_k: int, n_top: int) -> tuple[Tensor, Tensor]:
        B, H, L_K, E = K.shape
        _, _, L_Q, _ = Q.shape
        K_expand = K.unsqueeze(-3).expand(B, H, L_Q, L_K, E)
        index_sample = (torch.arange(L_Q).unsqueeze(1) * 7 + torch.arange(sample_k) * 5) % L_K
        K_sample = K_expand[:, :, torch.arange(L_Q).unsqueeze(1), index_sample, :]
        Q_K_sample = torch.matmul(Q.unsqueeze(-2), K_sample.transpose(-2, -1)).squeeze(-2)
        M = Q_K_sample.max(-1)[0] - torch.div(Q_K_sample.sum(-1), L_K)
        M_top = M.topk(n_top, sorted=False)[1]
        Q_reduce = Q[torch.arange(B)[:, None, None], torch.arange(H)[None, :, None], M_top, :]
        return torch.matmul(Q_reduce, K.transpose(-2, -1)), M_top

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        B, L_Q, H, D = queries.shape
        _, L_K, _, _ = keys.shape
        queries, keys, values = (
            queries.transpose(2, 1),
            keys.transpose(2, 1),
            values.transpose(2, 1),
        )
        U_part = min(self.factor * math.ceil(math.log(L_K)), L_K)
        u = min(self.factor * math.ceil(math.log(L_Q)), L_Q)
        scores_top, index = self._prob_QK(queries, keys, sample_k=U_part, n_top=u)
        scores_top = scores_top * (1.0 / math.sqrt(D))
        if not self.mask_flag:
            context = values.mean(dim=-2).unsqueeze(-2).expand(B, H, L_Q, values.shape[-1]).clone()
        else:
            context = values.cumsum(dim=-2)
        attn = torch.softmax(scores_top, dim=-1)
        context[torch.arange(B)[:, None, None], torch.arange(H)[None, :, None], index, :] = (
            torch.matmul(attn, values).type_as(context)
        )
        return context.transpose(2, 1).contiguous()


class Informer(nn.Module):
    """Encoder and decoder with sparse attention, circular convolutions of values, and fixed embeddings of places."""

    class Block(nn.Module):
        def __init__(self, d: int, heads: int, mask: bool = False) -> None:
            super().__init__()
            self.query_projection, self.key_projection, self.value_projection = (
                nn.Linear(d, d) for _ in range(3)
            )
            self.out_projection, self.inner, self.n_heads = (
                nn.Linear(d, d),
                ProbAttention(mask),
                heads,
            )

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            B, L, _ = q.shape
            _, S, _ = k.shape
            H = self.n_heads
            out = self.inner(
                self.query_projection(q).view(B, L, H, -1),
                self.key_projection(k).view(B, S, H, -1),
                self.value_projection(v).view(B, S, H, -1),
            )
            return self.out_projection(out.view(B, L, -1))

    def __init__(self, c: int = 4, d: int = 12, pred_len: int = 6, label_len: int = 8) -> None:
        super().__init__()
        pe = torch.zeros(40, d).float()
        position = torch.arange(0, 40).float().unsqueeze(1)
        div_term = (torch.arange(0, d, 2).float() * -(math.log(10000.0) / d)).exp()
        pe[:, 0::2], pe[:, 1::2] = torch.sin(position * div_term), torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0))
        self.tokenConv = nn.Conv1d(c, d, kernel_size=3, padding=1, padding_mode="circular")
        self.enc_attn, self.dec_attn, self.cross_attn = (
            self.Block(d, 2),
            self.Block(d, 2, True),
            self.Block(d, 2),
        )
        self.conv1, self.conv2 = nn.Conv1d(d, 20, 1), nn.Conv1d(20, d, 1)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(d) for _ in range(4))
        self.dropout, self.projection = nn.Dropout(0.05), nn.Linear(d, c)
        self.pred_len, self.label_len = pred_len, label_len

    def embed(self, x: Tensor) -> Tensor:
        return self.dropout(
            self.tokenConv(x.permute(0, 2, 1)).transpose(1, 2) + self.pe[:, : x.size(1)]
        )

    def forward(self, x_enc: Tensor) -> Tensor:
        dec = torch.zeros_like(x_enc[:, -self.pred_len :, :]).float()
        x_dec = torch.cat([x_enc[:, -self.label_len :, :], dec.to(x_enc)], dim=1)
        enc = self.embed(x_enc)
        enc = enc + self.dropout(self.enc_attn(enc, enc, enc))
        y = enc = self.norm1(enc)
        y = self.dropout(F.gelu(self.conv1(y.transpose(-1, 1))))
        y = self.dropout(self.conv2(y).transpose(-1, 1))
        enc = self.norm2(enc + y)
        x = self.embed(x_dec)
        x = self.norm3(x + self.dropout(self.dec_attn(x, x, x)))
        x = self.norm4(x + self.dropout(self.cross_attn(x, enc, enc)))
        return self.projection(x)[:, -self.pred_len :, :]


class TemporalFusion(nn.Module):
    """Gated residual networks, a selection of variables, an LSTM and attention with one head of values; quantiles."""

    class GRN(nn.Module):
        def __init__(self, i: int, h: int, o: int, context: int | None = None) -> None:
            super().__init__()
            self.skip_layer = nn.Linear(i, o) if i != o else None
            self.fc1, self.elu1 = nn.Linear(i, h), nn.ELU()
            self.context = nn.Linear(context, h, bias=False) if context is not None else None
            self.fc2, self.gate, self.norm = nn.Linear(h, h), nn.Linear(h, 2 * o), nn.LayerNorm(o)

        def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            residual = x if self.skip_layer is None else self.skip_layer(x)
            x = self.fc1(x)
            if context is not None:
                x = x + self.context(context)
            x = self.fc2(self.elu1(x))
            return self.norm(F.glu(self.gate(x), dim=-1) + residual)

    def __init__(self, variables: int = 4, d: int = 8, quantiles: int = 3) -> None:
        super().__init__()
        self.prescalers = nn.ModuleDict({f"v{i}": nn.Linear(1, d) for i in range(variables)})
        self.single = nn.ModuleDict({f"v{i}": self.GRN(d, d, d) for i in range(variables)})
        self.flattened = self.GRN(d * variables, d, variables, context=d)
        self.static = nn.Parameter(torch.randn(1, 1, d))
        self.lstm, self.post_gate, self.post_norm = (
            nn.LSTM(d, d, batch_first=True),
            nn.Linear(d, 2 * d),
            nn.LayerNorm(d),
        )
        self.q_layers, self.k_layers = (
            nn.ModuleList([nn.Linear(d, 4) for _ in range(2)]),
            nn.ModuleList([nn.Linear(d, 4) for _ in range(2)]),
        )
        self.v_layer, self.w_h = nn.Linear(d, 4), nn.Linear(4, d, bias=False)
        self.pos_wise, self.output_layer = self.GRN(d, d, d), nn.Linear(d, quantiles)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        inputs = {f"v{i}": self.prescalers[f"v{i}"](x[..., i : i + 1]) for i in range(x.size(-1))}
        var_outputs = torch.stack(
            [self.single[name](value) for name, value in inputs.items()], dim=-1
        )
        flat = torch.cat(list(inputs.values()), dim=-1)
        sparse_weights = F.softmax(self.flattened(flat, self.static), dim=-1).unsqueeze(-2)
        outputs = (var_outputs * sparse_weights).sum(dim=-1)
        lstm_output, _ = self.lstm(outputs)
        lstm_output = self.post_norm(F.glu(self.post_gate(lstm_output), dim=-1) + outputs)
        q, v = lstm_output[:, -6:], self.v_layer(lstm_output)
        heads, attns = [], []
        for ql, kl in zip(self.q_layers, self.k_layers):
            attn = torch.bmm(ql(q), kl(lstm_output).permute(0, 2, 1)) / 2.0
            attn = F.softmax(attn, dim=2)
            heads.append(torch.bmm(attn, v))
            attns.append(attn)
        head = torch.stack(heads, dim=2)
        out = self.w_h(torch.mean(head, dim=2)) + q
        return {
            "prediction": self.output_layer(self.pos_wise(out)),
            "attention": torch.stack(attns, dim=2),
            "weights": sparse_weights,
        }


class TimeMixer(nn.Module):
    """Seasons and trends at several scales, mixed downwards and upwards, one predictor for each scale."""

    def __init__(
        self, seq_len: int = 24, pred_len: int = 6, c: int = 4, d: int = 8, layers: int = 2
    ) -> None:
        super().__init__()
        self.pred_len, self.down_sampling_layers, self.c = pred_len, layers, c
        sizes = [seq_len // 2**i for i in range(layers + 1)]
        self.enc_embedding = nn.Conv1d(1, d, 3, padding=1, padding_mode="circular", bias=False)
        self.down = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(i, o), nn.GELU(), nn.Linear(o, o))
                for i, o in itertools.pairwise(sizes)
            ]
        )
        back = sizes[::-1]
        self.up = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(i, o), nn.GELU(), nn.Linear(o, o))
                for i, o in itertools.pairwise(back)
            ]
        )
        self.moving, self.cross_layer = (
            nn.AvgPool1d(5, 1, 0),
            nn.Sequential(nn.Linear(d, 16), nn.GELU(), nn.Linear(16, d)),
        )
        self.predict_layers = nn.ModuleList([nn.Linear(s, pred_len) for s in sizes])
        self.projection_layer = nn.Linear(d, 1, bias=True)

    def decompose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        padded = torch.cat([x[:, :1, :].repeat(1, 2, 1), x, x[:, -1:, :].repeat(1, 2, 1)], dim=1)
        trend = self.moving(padded.permute(0, 2, 1)).permute(0, 2, 1)
        return x - trend, trend

    def forward(self, x_enc: Tensor) -> Tensor:
        x = x_enc.permute(0, 2, 1)
        scales = [x_enc]
        for _ in range(self.down_sampling_layers):
            x = F.avg_pool1d(x, 2)
            scales.append(x.permute(0, 2, 1))
        x_list = []
        for x in scales:
            B, T, N = x.size()
            x = x.permute(0, 2, 1).contiguous().reshape(B * N, T, 1)
            x_list.append(self.enc_embedding(x.permute(0, 2, 1)).transpose(1, 2))
        season_list, trend_list = [], []
        for x in x_list:
            season, trend = self.decompose(x)
            season_list.append(season.permute(0, 2, 1))
            trend_list.append(trend.permute(0, 2, 1))
        out_season = [season_list[0].permute(0, 2, 1)]
        high = season_list[0]
        for i in range(len(season_list) - 1):
            high = season_list[i + 1] + self.down[i](high)
            out_season.append(high.permute(0, 2, 1))
        trend_list.reverse()
        low = trend_list[0]
        out_trend = [low.permute(0, 2, 1)]
        for i in range(len(trend_list) - 1):
            low = trend_list[i + 1] + self.up[i](low)
            out_trend.append(low.permute(0, 2, 1))
        out_trend.reverse()
        dec = []
        for i, (ori, s, t) in enumerate(zip(x_list, out_season, out_trend)):
            out = ori + self.cross_layer(s + t)
            y = self.predict_layers[i](out.permute(0, 2, 1)).permute(0, 2, 1)
            dec.append(
                self.projection_layer(y)
                .reshape(-1, self.c, self.pred_len)
                .permute(0, 2, 1)
                .contiguous()
            )
        return torch.stack(dec, dim=-1).sum(-1)


class GRUDecay(nn.Module):
    """A GRU for missing numbers: inputs and states decay with the time since the last one was seen."""

    def __init__(self, i: int = 5, h: int = 9) -> None:
        super().__init__()
        self.hidden_size = h
        self.register_buffer("x_mean", torch.randn(i, generator=torch.Generator().manual_seed(3)))
        self.w_dg_x, self.w_dg_h = nn.Linear(i, i), nn.Linear(i, h)
        self.w_xz, self.w_hz, self.w_mz = (
            nn.Linear(i, h, bias=False),
            nn.Linear(h, h),
            nn.Linear(i, h, bias=False),
        )
        self.w_xr, self.w_hr, self.w_mr = (
            nn.Linear(i, h, bias=False),
            nn.Linear(h, h),
            nn.Linear(i, h, bias=False),
        )
        self.w_xh, self.w_hh, self.w_mh = (
            nn.Linear(i, h, bias=False),
            nn.Linear(h, h),
            nn.Linear(i, h, bias=False),
        )
        self.fc, self.bn, self.drop = nn.Linear(h, 2), nn.BatchNorm1d(h), nn.Dropout(0.2)

    def forward(self, X: Tensor, Mask: Tensor, Delta: Tensor) -> Tensor:
        step_size = X.size(1)
        h = torch.zeros(X.size(0), self.hidden_size).to(X)
        x_last = torch.zeros_like(X[:, 0, :])
        for t in range(step_size):
            x, m, d = X[:, t, :], Mask[:, t, :], Delta[:, t, :]
            gamma_x = torch.exp(-torch.maximum(torch.zeros_like(d), self.w_dg_x(d)))
            gamma_h = torch.exp(-torch.max(torch.zeros_like(h), self.w_dg_h(d)))
            x_last = m * x + (1 - m) * x_last
            x = m * x + (1 - m) * (gamma_x * x_last + (1 - gamma_x) * self.x_mean)
            h = gamma_h * h
            z = torch.sigmoid(self.w_xz(x) + self.w_hz(h) + self.w_mz(m))
            r = torch.sigmoid(self.w_xr(x) + self.w_hr(h) + self.w_mr(m))
            h_tilde = torch.tanh(self.w_xh(x) + self.w_hh(r * h) + self.w_mh(m))
            h = (1 - z) * h + z * h_tilde
        return self.fc(self.drop(self.bn(h)))


class LSTMAutoencoder(nn.Module):
    """A recurrent autoencoder: the last state is repeated over time and decoded; sizes are attributes of the parts."""

    class Encoder(nn.Module):
        def __init__(self, seq_len: int, n_features: int, embedding_dim: int) -> None:
            super().__init__()
            self.seq_len, self.n_features = seq_len, n_features
            self.embedding_dim, self.hidden_dim = embedding_dim, 2 * embedding_dim
            self.rnn1 = nn.LSTM(
                input_size=n_features, hidden_size=self.hidden_dim, num_layers=1, batch_first=True
            )
            self.rnn2 = nn.LSTM(
                input_size=self.hidden_dim,
                hidden_size=embedding_dim,
                num_layers=1,
                batch_first=True,
            )

        def forward(self, x: Tensor) -> Tensor:
            x, (_, _) = self.rnn1(x)
            x, (hidden_n, _) = self.rnn2(x)
            return hidden_n.reshape((-1, self.embedding_dim))

    class Decoder(nn.Module):
        def __init__(self, seq_len: int, input_dim: int, n_features: int) -> None:
            super().__init__()
            self.seq_len, self.input_dim, self.hidden_dim = seq_len, input_dim, 2 * input_dim
            self.rnn1 = nn.LSTM(input_dim, input_dim, batch_first=True)
            self.rnn2 = nn.LSTM(input_dim, self.hidden_dim, batch_first=True)
            self.output_layer = nn.Linear(self.hidden_dim, n_features)

        def forward(self, x: Tensor) -> Tensor:
            x = x.repeat(1, self.seq_len).reshape((-1, self.seq_len, self.input_dim))
            x, (_, _) = self.rnn1(x)
            x, (_, _) = self.rnn2(x)
            return self.output_layer(x)

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = self.Encoder(24, 4, 6), self.Decoder(24, 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class SmoothingFormer(nn.Module):
    """Exponential smoothing as attention: growth and seasons taken off a series by Fourier and by weights of a parameter."""

    def __init__(self, c: int = 4, d: int = 8, heads: int = 2, pred: int = 6) -> None:
        super().__init__()
        self.embed, self.h, self.pred = nn.Conv1d(c, d, 3, padding=2), heads, pred
        self.in_proj, self.z0, self.growth_out = (
            nn.Linear(d, d),
            nn.Parameter(torch.randn(heads, d // heads)),
            nn.Linear(d, d),
        )
        self.smoothing, self.v0 = (
            nn.Parameter(torch.randn(heads, 1)),
            nn.Parameter(torch.randn(1, 1, heads, d // heads)),
        )
        self.damping, self.ff = (
            nn.Parameter(torch.randn(heads)),
            nn.Sequential(nn.Linear(d, 16), nn.Sigmoid(), nn.Linear(16, d)),
        )
        self.norm1, self.norm2, self.out = nn.LayerNorm(d), nn.LayerNorm(d), nn.Linear(d, c)

    def weights(self, T: int) -> tuple[Tensor, Tensor]:
        alpha = torch.sigmoid(self.smoothing)
        powers = torch.arange(T, device=alpha.device)
        weight = alpha * (1 - alpha) ** torch.flip(powers, dims=(0,))
        init = (1 - alpha) ** (powers + 1)
        return weight, init

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        res = self.embed(x.permute(0, 2, 1))[..., :-2].transpose(1, 2)
        freq = torch.fft.rfft(res, dim=1)
        idx = freq.abs().mean(-1).topk(3, dim=1).indices
        kept = torch.zeros_like(freq).scatter(
            1,
            idx[..., None].expand(-1, -1, freq.size(-1)),
            freq.gather(1, idx[..., None].expand(-1, -1, freq.size(-1))),
        )
        season = torch.fft.irfft(kept, n=t, dim=1)
        res = res - season
        values = self.in_proj(res).view(b, t, self.h, -1)
        values = torch.cat([self.z0[None, None].expand(b, -1, -1, -1), values], dim=1)
        values = values[:, 1:] - values[:, :-1]
        weight, init = self.weights(t)
        f = torch.fft.rfft(values.permute(0, 2, 3, 1), n=2 * t) * torch.fft.rfft(
            weight[None, :, None, :].flip(-1), n=2 * t
        )
        smooth = (
            torch.fft.irfft(f, n=2 * t)[..., :t].permute(0, 3, 1, 2)
            + init.t()[None, :, :, None] * self.v0
        )
        growth = self.growth_out(smooth.reshape(b, t, -1))
        res = self.norm1(res - growth)
        res = self.norm2(res + self.ff(res))
        factors = torch.cumsum(
            torch.sigmoid(self.damping)[None] ** torch.arange(1, self.pred + 1)[:, None], dim=0
        )
        last = growth[:, -1:].view(b, 1, self.h, -1) * factors[None, :, :, None]
        return self.out(
            last.reshape(b, self.pred, -1) + season[:, -self.pred :] + res[:, -self.pred :]
        )


class PyramidSeries(nn.Module):
    """Attention over a pyramid of scales with a mask that is made in the constructor and nodes gathered at the end."""

    def __init__(self, c: int = 4, d: int = 12, size: int = 24, window: int = 4) -> None:
        super().__init__()
        sizes = [size, size // window, size // window // 2]
        total = sum(sizes)
        mask = torch.zeros(total, total)
        starts = [0, sizes[0], sizes[0] + sizes[1]]
        for start, n in zip(starts, sizes):
            for i in range(start, start + n):
                mask[i, max(i - 1, start) : min(i + 2, start + n)] = 1
        for level, w in ((1, window), (2, 2)):
            for i in range(sizes[level]):
                left = starts[level - 1] + i * w
                mask[starts[level] + i, left : left + w] = 1
                mask[left : left + w, starts[level] + i] = 1
        self.mask = (1 - mask).bool()
        index = torch.stack(
            [
                torch.tensor([i, starts[1] + i // window, starts[2] + i // window // 2])
                for i in range(size)
            ]
        )
        self.register_buffer("indexes", index.view(1, size, 3, 1))
        self.enc, self.down = nn.Linear(c, d), nn.Linear(d, 6)
        self.conv_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv1d(6, 6, w, w), nn.BatchNorm1d(6), nn.ELU()) for w in (window, 2)]
        )
        self.up, self.norm = nn.Linear(6, d), nn.LayerNorm(d)
        self.w_qs, self.w_ks, self.w_vs, self.fc = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.layer_norm, self.predictor = nn.LayerNorm(d, eps=1e-6), nn.Linear(3 * d, 6 * c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enc(x)
        temp, all_inputs = self.down(x).permute(0, 2, 1), []
        for layer in self.conv_layers:
            temp = layer(temp)
            all_inputs.append(temp)
        coarse = self.up(torch.cat(all_inputs, dim=2).transpose(1, 2))
        x = self.norm(torch.cat([x, coarse], dim=1))
        B, T, _ = x.size()
        q, k, v = (
            w(x).view(B, T, 3, -1).transpose(1, 2) for w in (self.w_qs, self.w_ks, self.w_vs)
        )
        attn = torch.matmul(q / 2.0, k.transpose(2, 3))
        attn = attn.masked_fill(self.mask.unsqueeze(0).unsqueeze(1).to(x.device), -1e9)
        out = torch.matmul(F.softmax(attn, dim=-1), v).transpose(1, 2).contiguous().view(B, T, -1)
        x = self.layer_norm(self.fc(out) + x)
        d = x.size(-1)
        indexes = self.indexes.repeat(x.size(0), 1, 1, x.size(2)).view(x.size(0), -1, x.size(2))
        gathered = torch.gather(x, 1, indexes).view(x.size(0), -1, 3 * d)
        return self.predictor(gathered[:, -1, :]).view(x.size(0), 6, -1)


class PyramidListener(nn.Module):
    """Listen, attend and spell: a pyramid of LSTMs that joins pairs of frames, and a speller of cells."""

    class pBLSTM(nn.Module):
        def __init__(self, i: int, h: int) -> None:
            super().__init__()
            self.BLSTM = nn.LSTM(i * 2, h, 1, bidirectional=True, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            batch_size, timestep, feature_dim = x.size()
            x = x.contiguous().view(batch_size, int(timestep / 2), feature_dim * 2)
            return self.BLSTM(x)[0]

    def __init__(self) -> None:
        super().__init__()
        self.listener = nn.Sequential(self.pBLSTM(10, 6))
        self.top = nn.LSTM(12, 6, bidirectional=True, batch_first=True)
        self.phi, self.psi = nn.Linear(9, 8), nn.Linear(12, 8)
        self.embed, self.cell, self.cell2 = (
            nn.Embedding(12, 7),
            nn.LSTMCell(7 + 12, 9),
            nn.LSTMCell(9, 9),
        )
        self.character = nn.Linear(9 + 12, 12)

    def forward(self, mels: Tensor) -> Tensor:
        h, _ = self.top(self.listener(mels.transpose(1, 2)))
        keys = F.relu(self.psi(h))
        word = self.embed(torch.zeros(h.size(0), dtype=torch.long))
        context, state, state2, raw = h[:, 0], None, None, []
        for _ in range(4):
            state = self.cell(torch.cat([word, context], dim=-1), state)
            state2 = self.cell2(state[0], state2)
            query = F.relu(self.phi(state2[0]))
            energy = torch.bmm(query.unsqueeze(1), keys.transpose(1, 2)).squeeze(1)
            score = energy.softmax(-1)
            context = torch.sum(h * score.unsqueeze(2).repeat(1, 1, h.size(2)), dim=1)
            pred = F.log_softmax(self.character(torch.cat([state2[0], context], dim=-1)), dim=-1)
            raw.append(pred)
            word = pred.exp() @ self.embed.weight
        return torch.stack(raw, 1)


class StreamCodec(nn.Module):
    """A codec of sound: strided weight-normed convolutions with an LSTM between, residual codes, and back."""

    class Res(nn.Module):
        def __init__(self, dim: int, dilation: int) -> None:
            super().__init__()
            wn = nn.utils.parametrizations.weight_norm
            self.block = nn.Sequential(
                nn.ELU(),
                wn(nn.Conv1d(dim, dim // 2, 3, dilation=dilation, padding=dilation)),
                nn.ELU(),
                wn(nn.Conv1d(dim // 2, dim, 1)),
            )
            self.shortcut = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.shortcut(x) + self.block(x)

    class SLSTM(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            self.skip, self.lstm = True, nn.LSTM(d, d, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = x.permute(2, 0, 1)
            y, _ = self.lstm(x)
            if self.skip:
                y = y + x
            return y.permute(1, 2, 0)

    def __init__(self, n_q: int = 2, bins: int = 12, d: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(1, 6, 7, padding=3),
            self.Res(6, 1),
            nn.ELU(),
            nn.Conv1d(6, 10, 4, 4),
            self.Res(10, 2),
            nn.ELU(),
            nn.Conv1d(10, d, 4, 4),
            self.SLSTM(d),
        )
        self.register_buffer(
            "embed", torch.randn(n_q, bins, d, generator=torch.Generator().manual_seed(5))
        )
        self.decoder = nn.Sequential(
            self.SLSTM(d),
            nn.ConvTranspose1d(d, 10, 4, 4),
            self.Res(10, 1),
            nn.ELU(),
            nn.ConvTranspose1d(10, 6, 4, 4),
            nn.ELU(),
            nn.Conv1d(6, 1, 7, padding=3),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self.encoder(x).transpose(1, 2)
        residual, quantized, codes, losses = z, 0.0, [], []
        for embed in self.embed:
            flat = residual.reshape(-1, residual.shape[-1])
            dist = -(
                flat.pow(2).sum(1, keepdim=True)
                - 2 * flat @ embed.t()
                + embed.t().pow(2).sum(0, keepdim=True)
            )
            ind = dist.max(dim=-1).indices.view(*residual.shape[:-1])
            q = F.embedding(ind, embed)
            losses.append(F.mse_loss(q.detach(), residual))
            q = residual + (q - residual).detach()
            residual = residual - q.detach()
            quantized = quantized + q
            codes.append(ind)
        return (
            self.decoder(quantized.transpose(1, 2)),
            torch.stack(codes),
            torch.stack(losses).mean(),
        )


class DiffusionWave(nn.Module):
    """A noise predictor over waves: steps by a table and two layers, gates with dilations, skips summed and scaled."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        steps = torch.arange(20).unsqueeze(1)
        dims = torch.arange(6).unsqueeze(0)
        table = steps * 10.0 ** (dims * 4.0 / 5.0)
        self.register_buffer(
            "embedding", torch.cat([torch.sin(table), torch.cos(table)], dim=1), persistent=False
        )
        self.projection1, self.projection2 = nn.Linear(12, 14), nn.Linear(14, 14)
        self.input_projection = nn.Conv1d(1, c, 1)
        self.dilated = nn.ModuleList(
            [nn.Conv1d(c, 2 * c, 3, padding=2**i, dilation=2**i) for i in range(3)]
        )
        self.diffusion = nn.ModuleList([nn.Linear(14, c) for _ in range(3)])
        self.outs = nn.ModuleList([nn.Conv1d(c, 2 * c, 1) for _ in range(3)])
        self.skip_projection, self.output_projection = nn.Conv1d(c, c, 1), nn.Conv1d(c, 1, 1)

    def forward(self, audio: Tensor, step: Tensor) -> Tensor:
        x = F.relu(self.input_projection(audio))
        t = self.embedding[step]
        t = F.silu(self.projection2(F.silu(self.projection1(t))))
        skip = None
        for conv, proj, out in zip(self.dilated, self.diffusion, self.outs):
            y = conv(x + proj(t).unsqueeze(-1))
            gate, filter = torch.chunk(y, 2, dim=1)
            residual, skip_connection = torch.chunk(
                out(torch.sigmoid(gate) * torch.tanh(filter)), 2, dim=1
            )
            x = (x + residual) / math.sqrt(2.0)
            skip = skip_connection if skip is None else skip_connection + skip
        x = skip / math.sqrt(len(self.dilated))
        return self.output_projection(F.relu(self.skip_projection(x)))


class WaveUNet(nn.Module):
    """A U-Net over waves whose samples are thinned by slices and woven again by interpolation."""

    def __init__(self, n_layers: int = 3, interval: int = 4) -> None:
        super().__init__()
        ins = [1] + [i * interval for i in range(1, n_layers)]
        outs = [i * interval for i in range(1, n_layers + 1)]
        self.encoder = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv1d(i, o, 15, padding=7),
                    nn.BatchNorm1d(o),
                    nn.LeakyReLU(0.1, inplace=True),
                )
                for i, o in zip(ins, outs)
            ]
        )
        self.middle = nn.Sequential(
            nn.Conv1d(outs[-1], outs[-1], 15, padding=7),
            nn.BatchNorm1d(outs[-1]),
            nn.LeakyReLU(0.1, inplace=True),
        )
        dec_in = [outs[-1] * 2] + [outs[i + 1] + outs[i] for i in reversed(range(n_layers - 1))]
        self.decoder = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv1d(i, o, 5, padding=2),
                    nn.BatchNorm1d(o),
                    nn.LeakyReLU(0.1, inplace=True),
                )
                for i, o in zip(dec_in, outs[::-1])
            ]
        )
        self.out = nn.Sequential(nn.Conv1d(1 + interval, 1, kernel_size=1), nn.Tanh())
        self.n_layers = n_layers

    def forward(self, input: Tensor) -> Tensor:
        tmp, o = [], input
        for i in range(self.n_layers):
            o = self.encoder[i](o)
            tmp.append(o)
            o = o[:, :, ::2]
        o = self.middle(o)
        for i in range(self.n_layers):
            o = F.interpolate(o, scale_factor=2, mode="linear", align_corners=True)
            o = torch.cat([o, tmp[self.n_layers - i - 1]], dim=1)
            o = self.decoder[i](o)
        o = torch.cat([o, input], dim=1)
        return self.out(o)


class SpeakerEncoder(nn.Module):
    """Frames to a unit vector by three LSTMs, windows unfolded and averaged; one long utterance at a time or many."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear, self.relu = (
            nn.LSTM(10, 12, num_layers=3, batch_first=True),
            nn.Linear(12, 8),
            nn.ReLU(),
        )
        self.similarity_weight = nn.Parameter(torch.tensor([10.0]))
        self.similarity_bias = nn.Parameter(torch.tensor([-5.0]))

    def forward(self, mels: Tensor) -> tuple[Tensor, Tensor]:
        frames = mels.transpose(1, 2).unfold(1, 10, 5).transpose(2, 3)
        B, windows = frames.shape[:2]
        _, (hidden, _) = self.lstm(frames.reshape(B * windows, 10, 10))
        raw = self.relu(self.linear(hidden[-1]))
        embeds = raw / (torch.norm(raw, dim=1, keepdim=True) + 1e-5)
        embeds = embeds.view(B, windows, -1)
        centroids = embeds.mean(1, keepdim=True).clone()
        centroids = centroids / (torch.norm(centroids, dim=2, keepdim=True) + 1e-5)
        sim = (
            torch.einsum("swd,ted->swt", embeds, centroids) * self.similarity_weight
            + self.similarity_bias
        )
        return embeds, sim


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "informer_sparse": lambda: (Informer(), INPUTS.series),
    "temporal_fusion": lambda: (TemporalFusion(), INPUTS.series),
    "time_mixer": lambda: (TimeMixer(), INPUTS.series),
    "gru_decay": lambda: (GRUDecay(), SEEN),
    "lstm_autoencoder": lambda: (LSTMAutoencoder(), INPUTS.series),
    "smoothing_former": lambda: (SmoothingFormer(), INPUTS.series),
    "pyraformer": lambda: (PyramidSeries(), INPUTS.series),
    "listen_attend_spell": lambda: (PyramidListener(), INPUTS.mels),
    "stream_codec": lambda: (StreamCodec(), INPUTS.waves),
    "diffusion_wave": lambda: (DiffusionWave(), (INPUTS.waves, torch.tensor([3, 11]))),
    "wave_u_net": lambda: (WaveUNet(), INPUTS.waves),
    "speaker_windows": lambda: (SpeakerEncoder(), INPUTS.mels),
}

"""Networks of the zoo over time series, traffic and sensors, seventh sample."""

# ruff: noqa: B023, B905, E501, E731, N803, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.seventh.inputs import INPUTS, SKELETONS


class ModernTcnBlock(nn.Module):
    """Depthwise in time, then pointwise in groups: over features of a variable, and over variables of a feature."""

    def __init__(self, M: int, D: int, r: int = 2, kernel: int = 5) -> None:
        super().__init__()
        self.dw = nn.Conv1d(M * D, M * D, kernel, padding="same", groups=M * D)
        self.bn = nn.BatchNorm1d(M * D)
        self.ffn1 = nn.Sequential(
            nn.Conv1d(M * D, r * M * D, 1, groups=M),
            nn.GELU(),
            nn.Conv1d(r * M * D, M * D, 1, groups=M),
        )
        self.ffn2 = nn.Sequential(
            nn.Conv1d(M * D, r * M * D, 1, groups=D),
            nn.GELU(),
            nn.Conv1d(r * M * D, M * D, 1, groups=D),
        )

    def forward(self, x_emb: Tensor) -> Tensor:
        B, M, D, N = x_emb.shape
        x = self.bn(self.dw(x_emb.reshape(B, M * D, N)))
        x = self.ffn1(x).reshape(B, M, D, N).permute(0, 2, 1, 3).reshape(B, D * M, N)
        x = self.ffn2(x).reshape(B, D, M, N).permute(0, 2, 1, 3)
        return x + x_emb


class ModernTcn(nn.Module):
    def __init__(
        self, M: int = 4, T: int = 24, L: int = 12, D: int = 6, P: int = 4, S: int = 2
    ) -> None:
        super().__init__()
        self.P, self.S = P, S
        self.stem = nn.Sequential(nn.Conv1d(1, D, P, stride=S), nn.BatchNorm1d(D))
        self.blocks = nn.ModuleList([ModernTcnBlock(M, D) for _ in range(2)])
        self.head = nn.Linear(D * (T // S), L)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 1)
        B, M, L = x.shape
        x = F.pad(x.unsqueeze(2).reshape(B * M, 1, L), (0, self.P - self.S), mode="replicate")
        x = self.stem(x)
        x = x.reshape(B, M, *x.shape[1:])
        for blk in self.blocks:
            x = blk(x)
        return self.head(x.flatten(2, 3))


class ScaledAttention(nn.Module):
    def __init__(self, d: int, n_heads: int) -> None:
        super().__init__()
        self.query_projection, self.key_projection = nn.Linear(d, d), nn.Linear(d, d)
        self.value_projection, self.out_projection = nn.Linear(d, d), nn.Linear(d, d)
        self.n_heads, self.dropout = n_heads, nn.Dropout(0.1)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        B, L, _ = queries.shape
        _, S, _ = keys.shape
        H = self.n_heads
        q = self.query_projection(queries).view(B, L, H, -1)
        k = self.key_projection(keys).view(B, S, H, -1)
        v = self.value_projection(values).view(B, S, H, -1)
        scale = 1.0 / math.sqrt(q.shape[-1])
        scores = torch.einsum("blhe,bshe->bhls", q, k)
        A = self.dropout(torch.softmax(scale * scores, dim=-1))
        V = torch.einsum("bhls,bshd->blhd", A, v)
        return self.out_projection(V.contiguous().view(B, L, -1))


class Crossformer(nn.Module):
    """Segments of each dimension, attention over time, then over dimensions by way of a few routers."""

    def __init__(
        self, dims: int = 4, length: int = 24, seg: int = 6, d: int = 12, factor: int = 3
    ) -> None:
        super().__init__()
        self.seg_len, self.linear = seg, nn.Linear(seg, d)
        self.pos = nn.Parameter(torch.randn(1, dims, length // seg, d))
        self.router = nn.Parameter(torch.randn(length // seg, factor, d))
        self.time, self.sender, self.receiver = (ScaledAttention(d, 3) for _ in range(3))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(d) for _ in range(3))
        self.MLP1 = nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d))
        self.merge, self.mnorm = nn.Linear(2 * d, d), nn.LayerNorm(2 * d)
        self.head = nn.Linear(d, seg)

    def forward(self, x: Tensor) -> Tensor:
        b, ts_len, ts_dim = x.shape
        x = x.permute(0, 2, 1).reshape(b, ts_dim, ts_len // self.seg_len, self.seg_len)
        x = self.linear(x) + self.pos
        time_in = x.reshape(b * ts_dim, -1, x.shape[-1])
        dim_in = self.norm1(time_in + self.time(time_in, time_in, time_in))
        dim_in = dim_in + self.MLP1(dim_in)
        seg_num = dim_in.shape[1]
        dim_send = (
            dim_in.reshape(b, ts_dim, seg_num, -1).transpose(1, 2).reshape(b * seg_num, ts_dim, -1)
        )
        batch_router = (
            self.router.unsqueeze(0)
            .expand(b, -1, -1, -1)
            .reshape(b * seg_num, self.router.shape[1], -1)
        )
        dim_buffer = self.sender(batch_router, dim_send, dim_send)
        dim_receive = self.receiver(dim_send, dim_buffer, dim_buffer)
        out = self.norm2(dim_send + dim_receive).reshape(b, seg_num, ts_dim, -1).transpose(1, 2)
        pairs = [out[:, :, i::2, :] for i in range(2)]
        merged = self.merge(self.mnorm(torch.cat(pairs, -1)))
        return self.head(merged).flatten(2).transpose(1, 2)


class BatchNormEncoderLayer(nn.modules.Module):
    """An encoder's layer that normalises over the batch, time first."""

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 20, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d_model, nhead, dropout=dropout)
        self.linear1, self.dropout = nn.Linear(d_model, dim_feedforward), nn.Dropout(dropout)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1, self.norm2 = (
            nn.BatchNorm1d(d_model, eps=1e-5),
            nn.BatchNorm1d(d_model, eps=1e-5),
        )
        self.dropout1, self.dropout2, self.activation = (
            nn.Dropout(dropout),
            nn.Dropout(dropout),
            F.gelu,
        )

    def forward(self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
                is_causal: bool = False) -> Tensor:  # fmt: skip
        src2 = self.self_attn(
            src, src, src, attn_mask=src_mask, key_padding_mask=src_key_padding_mask
        )[0]
        src = src + self.dropout1(src2)
        src = self.norm1(src.permute(1, 2, 0)).permute(2, 0, 1)
        src2 = self.linear2(self.dropout(self.activation(self.linear1(src))))
        src = src + self.dropout2(src2)
        return self.norm2(src.permute(1, 2, 0)).permute(2, 0, 1)


class TimeSeriesTransformer(nn.Module):
    def __init__(
        self, feat_dim: int = 4, max_len: int = 24, d: int = 12, n_heads: int = 3, classes: int = 5
    ) -> None:
        super().__init__()
        self.project_inp, self.d_model = nn.Linear(feat_dim, d), d
        self.pe = nn.Parameter(torch.empty(max_len, 1, d))
        nn.init.uniform_(self.pe, -0.02, 0.02)
        self.transformer_encoder = nn.TransformerEncoder(BatchNormEncoderLayer(d, n_heads), 2)
        self.act, self.output_layer = F.gelu, nn.Linear(d * max_len, classes)

    def forward(self, X: Tensor) -> Tensor:
        padding_masks = X.abs().sum(-1) > 0
        inp = self.project_inp(X.permute(1, 0, 2)) * math.sqrt(self.d_model)
        inp = inp + self.pe[: inp.size(0), :]
        output = self.act(
            self.transformer_encoder(inp, src_key_padding_mask=~padding_masks)
        ).permute(1, 0, 2)
        output = output * padding_masks.unsqueeze(-1)
        return self.output_layer(output.reshape(output.shape[0], -1))


class SqueezeExcite1d(nn.Module):
    def __init__(self, channel: int, reduction: int = 4) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Sequential(nn.Linear(channel, channel // reduction, bias=False), nn.ReLU(inplace=True),
                                nn.Linear(channel // reduction, channel, bias=False), nn.Sigmoid())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        b, c, _ = x.size()
        return x * self.fc(self.avg_pool(x).view(b, c)).view(b, c, 1).expand_as(x)


class MlstmFcn(nn.Module):
    """Convolutions with squeezes beside an LSTM over the shuffled dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 9, num_layers=2, batch_first=True, dropout=0.2)
        chans, ks = [4, 8, 16, 8], [8, 5, 3]
        for i in range(3):
            setattr(self, f"conv{i + 1}", nn.Conv1d(chans[i], chans[i + 1], ks[i]))
            setattr(self, f"bn{i + 1}", nn.BatchNorm1d(chans[i + 1], eps=1e-3, momentum=0.99))
        self.se1, self.se2 = SqueezeExcite1d(8), SqueezeExcite1d(16)
        self.relu, self.drop, self.fc = nn.ReLU(), nn.Dropout(0.3), nn.Linear(8 + 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x1, (ht, ct) = self.lstm(x)
        x1 = x1[:, -1, :]
        x2 = x.transpose(2, 1)
        x2 = self.se1(self.relu(self.bn1(self.conv1(x2))))
        x2 = self.se2(self.relu(self.bn2(self.conv2(x2))))
        x2 = torch.mean(self.relu(self.bn3(self.conv3(x2))), 2)
        return F.log_softmax(self.fc(self.drop(torch.cat((x1, x2), dim=1))), dim=1)


class TemporalPattern(nn.Module):
    """Attention over filters of the hidden states, one value to a hidden unit."""

    def __init__(self, hidden: int = 10, window: int = 24, filters: int = 6) -> None:
        super().__init__()
        self.hidden, self.filter_num, self.attn_length = hidden, filters, window - 1
        self.in_proj, self.lstm = nn.Linear(4, hidden), nn.LSTM(hidden, hidden, 1, batch_first=True)
        self.conv, self.W = (
            nn.Conv2d(1, filters, (self.attn_length, 1)),
            nn.Linear(hidden, filters, bias=False),
        )
        self.out, self.final = nn.Linear(hidden + filters, hidden), nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch_size, obs_len, _ = x.size()
        xconcat = F.relu(self.in_proj(x))
        H = torch.zeros(batch_size, obs_len - 1, self.hidden, dtype=x.dtype).to(x.device)
        ht = torch.zeros(1, batch_size, self.hidden, dtype=x.dtype)
        ct = ht.clone()
        for t in range(obs_len):
            xt = xconcat[:, t, :].view(batch_size, 1, -1)
            out, (ht, ct) = self.lstm(xt, (ht, ct))
            htt = ht[-1]
            if t != obs_len - 1:
                H[:, t, :] = htt
        H = F.relu(H).view(-1, 1, self.attn_length, self.hidden)
        conv_vecs = F.relu(self.conv(H)).view(-1, self.filter_num, self.hidden).permute(0, 2, 1)
        s = torch.bmm(conv_vecs, self.W(htt).unsqueeze(2))
        v = torch.sum(torch.sigmoid(s) * conv_vecs, dim=1)
        return self.final(self.out(torch.cat([htt, v], dim=1)))


class NodeAdaptiveConv(nn.Module):
    def __init__(self, dim_in: int, dim_out: int, cheb_k: int, embed_dim: int) -> None:
        super().__init__()
        self.cheb_k = cheb_k
        self.weights_pool = nn.Parameter(torch.randn(embed_dim, cheb_k, dim_in, dim_out) * 0.3)
        self.bias_pool = nn.Parameter(torch.randn(embed_dim, dim_out) * 0.3)

    def forward(self, x: Tensor, node_embeddings: Tensor) -> Tensor:
        node_num = node_embeddings.shape[0]
        supports = F.softmax(
            F.relu(torch.mm(node_embeddings, node_embeddings.transpose(0, 1))), dim=1
        )
        support_set = [torch.eye(node_num).to(supports), supports]
        for _ in range(2, self.cheb_k):
            support_set.append(torch.matmul(2 * supports, support_set[-1]) - support_set[-2])
        weights = torch.einsum("nd,dkio->nkio", node_embeddings, self.weights_pool)
        bias = torch.matmul(node_embeddings, self.bias_pool)
        x_g = torch.einsum("knm,bmc->bknc", torch.stack(support_set, dim=0), x).permute(0, 2, 1, 3)
        return torch.einsum("bnki,nkio->bno", x_g, weights) + bias


class AdaptiveGraphGru(nn.Module):
    """A gated recurrent cell whose weights are drawn from pools by the nodes' embeddings."""

    def __init__(
        self, nodes: int = 6, dim_in: int = 2, hidden: int = 7, embed: int = 4, horizon: int = 3
    ) -> None:
        super().__init__()
        self.node_embeddings, self.hidden, self.horizon = (
            nn.Parameter(torch.randn(nodes, embed)),
            hidden,
            horizon,
        )
        self.gate = NodeAdaptiveConv(dim_in + hidden, 2 * hidden, 3, embed)
        self.update = NodeAdaptiveConv(dim_in + hidden, hidden, 3, embed)
        self.end_conv = nn.Conv2d(1, horizon, kernel_size=(1, hidden))

    def forward(self, source: Tensor) -> Tensor:
        source = source.permute(0, 2, 3, 1)
        state = torch.zeros(source.shape[0], source.shape[2], self.hidden, dtype=source.dtype)
        for t in range(source.shape[1]):
            x = source[:, t]
            z_r = torch.sigmoid(self.gate(torch.cat((x, state), dim=-1), self.node_embeddings))
            z, r = torch.split(z_r, self.hidden, dim=-1)
            hc = torch.tanh(self.update(torch.cat((x, z * state), dim=-1), self.node_embeddings))
            state = r * state + (1 - r) * hc
        return self.end_conv(state.unsqueeze(1)).squeeze(-1)


class MixProp(nn.Module):
    def __init__(self, c_in: int, c_out: int, gdep: int, alpha: float) -> None:
        super().__init__()
        self.mlp = nn.Conv2d((gdep + 1) * c_in, c_out, kernel_size=(1, 1))
        self.gdep, self.alpha = gdep, alpha

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        adj = adj + torch.eye(adj.size(0)).to(adj)
        d = adj.sum(1)
        h, out = x, [x]
        a = adj / d.view(-1, 1)
        for _ in range(self.gdep):
            h = self.alpha * x + (1 - self.alpha) * torch.einsum("ncwl,vw->ncvl", (h, a))
            out.append(h)
        return self.mlp(torch.cat(out, dim=1))


class Mtgnn(nn.Module):
    """A learnt graph of the greatest links, dilated inception, propagation both ways, skips of all times."""

    def __init__(
        self, nodes: int = 6, dim: int = 5, k: int = 3, c: int = 8, skip: int = 10, seq: int = 12
    ) -> None:
        super().__init__()
        self.idx = torch.arange(nodes)
        self.emb1, self.emb2 = nn.Embedding(nodes, dim), nn.Embedding(nodes, dim)
        self.lin1, self.lin2, self.k, self.alpha = nn.Linear(dim, dim), nn.Linear(dim, dim), k, 3
        self.start_conv, self.kernel_set = nn.Conv2d(2, c, (1, 1)), [2, 3]
        self.filter_convs, self.gate_convs = nn.ModuleList(), nn.ModuleList()
        self.skip_convs, self.gconv1, self.gconv2, self.norm = (nn.ModuleList() for _ in range(4))
        rf = seq
        for dilation in (1, 2):
            mk = lambda: nn.ModuleList(
                [
                    nn.Conv2d(c, c // 2, (1, kern), dilation=(1, dilation))
                    for kern in self.kernel_set
                ]
            )
            self.filter_convs.append(mk())
            self.gate_convs.append(mk())
            rf = rf - dilation * (self.kernel_set[-1] - 1)
            self.skip_convs.append(nn.Conv2d(c, skip, (1, rf)))
            self.gconv1.append(MixProp(c, c, 2, 0.05))
            self.gconv2.append(MixProp(c, c, 2, 0.05))
            self.norm.append(nn.LayerNorm([c, nodes, rf]))
        self.skip0, self.end_conv_1, self.end_conv_2 = (
            nn.Conv2d(2, skip, (1, seq)),
            nn.Conv2d(skip, 9, (1, 1)),
            nn.Conv2d(9, 3, (1, 1)),
        )

    def graph(self) -> Tensor:
        nodevec1 = torch.tanh(self.alpha * self.lin1(self.emb1(self.idx)))
        nodevec2 = torch.tanh(self.alpha * self.lin2(self.emb2(self.idx)))
        a = torch.mm(nodevec1, nodevec2.transpose(1, 0)) - torch.mm(
            nodevec2, nodevec1.transpose(1, 0)
        )
        adj = F.relu(torch.tanh(self.alpha * a))
        mask = torch.zeros(self.idx.size(0), self.idx.size(0)).to(adj)
        s1, t1 = adj.topk(self.k, 1)
        mask.scatter_(1, t1, s1.fill_(1))
        return adj * mask

    def inception(self, convs: nn.ModuleList, x: Tensor) -> Tensor:
        out = [conv(x) for conv in convs]
        out = [one[..., -out[-1].size(3) :] for one in out]
        return torch.cat(out, dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.transpose(3, 2)
        adp = self.graph()
        x, skip = (
            self.start_conv(inputs),
            self.skip0(F.dropout(inputs, 0.3, training=self.training)),
        )
        for i in range(2):
            residual = x
            x = torch.tanh(self.inception(self.filter_convs[i], x)) * torch.sigmoid(
                self.inception(self.gate_convs[i], x)
            )
            x = F.dropout(x, 0.3, training=self.training)
            skip = self.skip_convs[i](x) + skip
            x = self.gconv1[i](x, adp) + self.gconv2[i](x, adp.transpose(1, 0))
            x = self.norm[i](x + residual[:, :, :, -x.size(3) :])
        x = F.relu(self.end_conv_1(F.relu(skip)))
        return self.end_conv_2(x)


class AnomalyAttention(nn.Module):
    def __init__(self, win: int, d: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.sigma_projection, self.n_heads, self.window = nn.Linear(d, heads), heads, win
        self.distances = torch.zeros((win, win))
        for i in range(win):
            for j in range(win):
                self.distances[i][j] = abs(i - j)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        B, L, _ = x.shape
        H = self.n_heads
        q, k, v = (f(x).view(B, L, H, -1) for f in (self.q, self.k, self.v))
        sigma = self.sigma_projection(x).view(B, L, H).transpose(1, 2)
        attn = torch.einsum("blhe,bshe->bhls", q, k) / math.sqrt(q.shape[-1])
        sigma = torch.pow(3, torch.sigmoid(sigma * 5) + 1e-5) - 1
        sigma = sigma.unsqueeze(-1).repeat(1, 1, 1, self.window)
        prior = (
            self.distances.unsqueeze(0)
            .unsqueeze(0)
            .repeat(sigma.shape[0], sigma.shape[1], 1, 1)
            .to(sigma)
        )
        prior = 1.0 / (math.sqrt(2 * math.pi) * sigma) * torch.exp(-(prior**2) / 2 / (sigma**2))
        series = torch.softmax(attn, dim=-1)
        V = torch.einsum("bhls,bshd->blhd", series, v).contiguous().view(B, L, -1)
        return self.o(V), series, prior, sigma


class AnomalyTransformer(nn.Module):
    """Associations of the series beside those of a Gaussian, all of them given back in lists."""

    def __init__(self, win: int = 24, c: int = 4, d: int = 12) -> None:
        super().__init__()
        self.token = nn.Conv1d(c, d, 3, padding=1, padding_mode="circular", bias=False)
        self.attn = nn.ModuleList([AnomalyAttention(win, d) for _ in range(2)])
        self.conv1 = nn.ModuleList([nn.Conv1d(d, 16, 1) for _ in range(2)])
        self.conv2 = nn.ModuleList([nn.Conv1d(16, d, 1) for _ in range(2)])
        self.norm1, self.norm2 = (
            nn.ModuleList([nn.LayerNorm(d) for _ in range(2)]) for _ in range(2)
        )
        self.projection = nn.Linear(d, c, bias=True)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        x = self.token(x.permute(0, 2, 1)).transpose(1, 2)
        series_list, prior_list = [], []
        for attn, c1, c2, n1, n2 in zip(self.attn, self.conv1, self.conv2, self.norm1, self.norm2):
            new_x, series, prior, _ = attn(x)
            y = x = n1(x + new_x)
            y = c2(F.gelu(c1(y.transpose(-1, 1)))).transpose(-1, 1)
            x = n2(x + y)
            series_list.append(series)
            prior_list.append(prior)
        return self.projection(x), series_list, prior_list


class TranAd(nn.Module):
    """An encoder that sees the error of a first decoder's answer, and a second decoder after it."""

    def __init__(self, feats: int = 4, window: int = 24) -> None:
        super().__init__()
        d = 2 * feats
        pe, position = (
            torch.zeros(window, d),
            torch.arange(0, window, dtype=torch.float).unsqueeze(1),
        )
        div_term = torch.exp(torch.arange(0, d).float() * (-math.log(10000.0) / d))
        pe += torch.sin(position * div_term)
        pe += torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0).transpose(0, 1))
        self.n_feats = feats
        self.transformer_encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d, feats, 16, 0.1), 1
        )
        self.transformer_decoder1 = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(d, feats, 16, 0.1), 1
        )
        self.transformer_decoder2 = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(d, feats, 16, 0.1), 1
        )
        self.fcn = nn.Sequential(nn.Linear(d, feats), nn.Sigmoid())

    def encode(self, src: Tensor, c: Tensor, tgt: Tensor) -> tuple[Tensor, Tensor]:
        src = torch.cat((src, c), dim=2) * math.sqrt(self.n_feats)
        src = src + self.pe[0 : src.size(0), :]
        return tgt.repeat(1, 1, 2), self.transformer_encoder(src)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        src = x.permute(1, 0, 2)
        tgt = src[-1:]
        c = torch.zeros_like(src)
        x1 = self.fcn(self.transformer_decoder1(*self.encode(src, c, tgt)))
        c = (x1 - src) ** 2
        x2 = self.fcn(self.transformer_decoder2(*self.encode(src, c, tgt)))
        return x1, x2


class SkeletonUnit(nn.Module):
    def __init__(self, cin: int, cout: int, K: int, stride: int = 1, residual: bool = True) -> None:
        super().__init__()
        self.kernel_size, self.gcn = K, nn.Conv2d(cin, cout * K, kernel_size=(1, 1))
        self.tcn = nn.Sequential(nn.BatchNorm2d(cout), nn.ReLU(inplace=True),
                                 nn.Conv2d(cout, cout, (3, 1), (stride, 1), (1, 0)), nn.BatchNorm2d(cout), nn.Dropout(0.1))  # fmt: skip
        if not residual:
            self.residual: Any = lambda x: 0
        elif (cin == cout) and (stride == 1):
            self.residual = lambda x: x
        else:
            self.residual = nn.Sequential(
                nn.Conv2d(cin, cout, 1, stride=(stride, 1)), nn.BatchNorm2d(cout)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
        res = self.residual(x)
        x = self.gcn(x)
        n, kc, t, v = x.size()
        x = x.view(n, self.kernel_size, kc // self.kernel_size, t, v)
        x = torch.einsum("nkctv,kvw->nctw", (x, A)).contiguous()
        return self.relu(self.tcn(x) + res), A


class SkeletonNet(nn.Module):
    """Convolutions over joints and time whose edges have learnt importance."""

    def __init__(self, cin: int = 3, joints: int = 5, K: int = 3, classes: int = 6) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(1)
        self.register_buffer("A", torch.rand(K, joints, joints, generator=g))
        self.data_bn = nn.BatchNorm1d(cin * joints)
        self.st_gcn_networks = nn.ModuleList(
            (
                SkeletonUnit(cin, 8, K, residual=False),
                SkeletonUnit(8, 8, K),
                SkeletonUnit(8, 12, K, 2),
            )
        )
        self.edge_importance = nn.ParameterList(
            [nn.Parameter(torch.ones(self.A.size())) for _ in self.st_gcn_networks]
        )
        self.fcn = nn.Conv2d(12, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        N, C, T, V, M = x.size()
        x = x.permute(0, 4, 3, 1, 2).contiguous()
        x = x.view(N * M, V * C, T)
        x = self.data_bn(x)
        x = x.view(N, M, V, C, T).permute(0, 1, 3, 4, 2).contiguous().view(N * M, C, T, V)
        for gcn, importance in zip(self.st_gcn_networks, self.edge_importance):
            x, _ = gcn(x, self.A * importance)
        x = F.avg_pool2d(x, x.size()[2:])
        x = x.view(N, M, -1, 1, 1).mean(dim=1)
        x = self.fcn(x)
        return x.view(x.size(0), -1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "modern_tcn": lambda: (ModernTcn(), INPUTS.series),
    "crossformer_routers": lambda: (Crossformer(), INPUTS.series),
    "batch_norm_encoder": lambda: (TimeSeriesTransformer(), INPUTS.series),
    "mlstm_fcn": lambda: (MlstmFcn(), INPUTS.series),
    "temporal_pattern_lstm": lambda: (TemporalPattern(), INPUTS.series),
    "adaptive_graph_gru": lambda: (AdaptiveGraphGru(), INPUTS.traffic),
    "mtgnn": lambda: (Mtgnn(), INPUTS.traffic),
    "anomaly_transformer": lambda: (AnomalyTransformer(), INPUTS.series),
    "tran_ad": lambda: (TranAd(), INPUTS.series),
    "skeleton_st_gcn": lambda: (SkeletonNet(), SKELETONS),
}

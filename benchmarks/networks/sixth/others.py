"""Networks of the zoo over tables, graphs, points and games, and those that make pictures, sixth sample."""

# ruff: noqa: B905, E501, E731, N803, N806, RUF007 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from benchmarks.networks.sixth.inputs import INPUTS


class Mlp(nn.Module):
    def __init__(
        self, sizes: list[int], act: Callable[[], nn.Module] = nn.ReLU, bn: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n, (i, o) in enumerate(zip(sizes[:-1], sizes[1:])):
            layers.append(nn.Linear(i, o))
            if n < len(sizes) - 2:
                layers += ([nn.BatchNorm1d(o)] if bn else []) + [act()]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ProgressiveExtraction(nn.Module):
    """Experts of each task and shared ones, mixed by gates, level after level."""

    def __init__(
        self, d: int = 6, expert: int = 9, tasks: int = 2, levels: int = 2, each: int = 2
    ) -> None:
        super().__init__()
        self.tasks, self.levels, self.each = tasks, levels, each
        mk = lambda i: nn.ModuleList(
            [nn.ModuleList([Mlp([i, 12, expert]) for _ in range(each)]) for _ in range(tasks + 1)]
        )
        self.experts = nn.ModuleList([mk(d if n == 0 else expert) for n in range(levels)])
        self.gates = nn.ModuleList([
            nn.ModuleList([nn.Linear(d if n == 0 else expert, each * 2 if t < tasks else each * (tasks + 1)) for t in range(tasks + 1)])
            for n in range(levels)])  # fmt: skip
        self.towers = nn.ModuleList([Mlp([expert, 7, 1]) for _ in range(tasks)])

    def forward(self, x: Tensor) -> list[Tensor]:
        inputs = [x] * (self.tasks + 1)
        for n in range(self.levels):
            outs = [[e(inputs[t]) for e in self.experts[n][t]] for t in range(self.tasks + 1)]
            nxt = []
            for t in range(self.tasks + 1):
                pool = outs[t] + outs[-1] if t < self.tasks else [o for one in outs for o in one]
                gate = self.gates[n][t](inputs[t]).softmax(-1).unsqueeze(1)
                nxt.append(torch.matmul(gate, torch.stack(pool, dim=1)).squeeze(1))
            inputs = nxt
        return [torch.sigmoid(tower(inputs[t])).squeeze(-1) for t, tower in enumerate(self.towers)]


class AttentionalFm(nn.Module):
    """Products of all pairs of embedded fields, weighed by attention, with offsets into one table."""

    def __init__(self, field_dims: tuple[int, ...] = (10,) * 5, d: int = 7, attn: int = 6) -> None:
        super().__init__()
        self.embedding, self.linear = (
            nn.Embedding(sum(field_dims), d),
            nn.Embedding(sum(field_dims), 1),
        )
        self.register_buffer(
            "offsets", torch.tensor([0, *torch.tensor(field_dims).cumsum(0)[:-1].tolist()])
        )
        self.attention, self.projection, self.fc = (
            nn.Linear(d, attn),
            nn.Linear(attn, 1),
            nn.Linear(d, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.offsets.unsqueeze(0)
        e = self.embedding(x)
        num_fields = e.shape[1]
        row, col = [], []
        for i in range(num_fields - 1):
            for j in range(i + 1, num_fields):
                row.append(i), col.append(j)
        inner = e[:, row] * e[:, col]
        scores = F.softmax(self.projection(F.relu(self.attention(inner))), dim=1)
        out = F.dropout(torch.sum(scores * inner, dim=1), p=0.2, training=self.training)
        return torch.sigmoid((self.linear(x).sum(1) + self.fc(out)).squeeze(1))


class Caser(nn.Module):
    """Horizontal and vertical convolutions over the last items, beside the user's embedding."""

    def __init__(self, L: int = 8, d: int = 8, n_h: int = 4, n_v: int = 2) -> None:
        super().__init__()
        self.n_v, self.item, self.user = n_v, nn.Embedding(30, d), nn.Embedding(30, 5)
        self.conv_v = nn.Conv2d(1, n_v, (L, 1))
        self.conv_h = nn.ModuleList([nn.Conv2d(1, n_h, (i, d)) for i in (2, 3, 4)])
        self.fc1 = nn.Linear(n_v * d + n_h * 3, 10)
        self.W2, self.b2 = nn.Embedding(30, 15), nn.Embedding(30, 1)

    def forward(self, seq: Tensor) -> Tensor:
        item_embs, user_emb = self.item(seq).unsqueeze(1), self.user(seq[:, 0])
        out_v = self.conv_v(item_embs).view(-1, self.n_v * item_embs.size(-1))
        out_hs = []
        for conv in self.conv_h:
            conv_out = F.relu(conv(item_embs).squeeze(3))
            out_hs.append(F.max_pool1d(conv_out, conv_out.size(2)).squeeze(2))
        z = F.relu(self.fc1(torch.cat([out_v, torch.cat(out_hs, 1)], 1)))
        x = torch.cat([z, user_emb], 1)
        w2, b2 = self.W2(seq[:, -3:]), self.b2(seq[:, -3:])
        return torch.baddbmm(b2, w2, x.unsqueeze(2)).squeeze()


class LightGcn(nn.Module):
    """Embeddings of users and items spread over their graph and averaged over layers."""

    def __init__(self, users: int = 12, items: int = 20, d: int = 8) -> None:
        super().__init__()
        self.users = users
        self.embedding_user, self.embedding_item = nn.Embedding(users, d), nn.Embedding(items, d)
        g = torch.Generator().manual_seed(3)
        a = torch.zeros(users + items, users + items)
        a[:users, users:] = (torch.rand(users, items, generator=g) > 0.6).float()
        a = a + a.T
        deg = a.sum(1).clamp(min=1).rsqrt()
        self.register_buffer("graph", deg[:, None] * a * deg[None])

    def computer(self) -> tuple[Tensor, Tensor]:
        all_emb = torch.cat([self.embedding_user.weight, self.embedding_item.weight])
        embs = [all_emb]
        for _ in range(2):
            all_emb = torch.mm(self.graph, all_emb)
            embs.append(all_emb)
        light_out = torch.mean(torch.stack(embs, dim=1), dim=1)
        users, items = torch.split(light_out, [self.users, light_out.shape[0] - self.users])
        return users, items

    def forward(self, pairs: Tensor) -> Tensor:
        all_users, all_items = self.computer()
        return torch.sum(torch.mul(all_users[pairs[:, 0]], all_items[pairs[:, 1]]), dim=1)


class MaskNet(nn.Module):
    """Masks of the embedding multiply hidden layers, in parallel, each normalised per field first."""

    def __init__(self, d: int = 4, fields: int = 5, block: int = 9) -> None:
        super().__init__()
        self.emb = nn.Embedding(10, d)
        self.emb_norm = nn.ModuleList(nn.LayerNorm(d) for _ in range(fields))
        self.masks = nn.ModuleList(
            nn.Sequential(nn.Linear(fields * d, 14), nn.ReLU(), nn.Linear(14, fields * d))
            for _ in range(2)
        )
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Linear(fields * d, block, bias=False), nn.LayerNorm(block), nn.ReLU())
            for _ in range(2)
        )
        self.dnn = Mlp([2 * block, 8, 1])

    def forward(self, x: Tensor) -> Tensor:
        feature_emb = self.emb(x)
        feat_list = feature_emb.chunk(len(self.emb_norm), dim=1)
        v_hidden = torch.cat([self.emb_norm[i](feat) for i, feat in enumerate(feat_list)], dim=1)
        flat = feature_emb.flatten(start_dim=1)
        outs = [h(m(flat) * v_hidden.flatten(start_dim=1)) for h, m in zip(self.hidden, self.masks)]
        return self.dnn(torch.cat(outs, dim=-1))


class GatedFeatures(nn.Module):
    """Learnt sparse choices of features before gated stages that remember."""

    def __init__(self, n_features: int = 6, n_stages: int = 2) -> None:
        super().__init__()
        self.n_features, self.num_features = n_features, n_stages
        self.W_in = nn.ModuleList(
            [nn.Linear(2 * n_features, 2 * n_features) for _ in range(n_stages)]
        )
        self.W_out = nn.ModuleList([nn.Linear(2 * n_features, n_features) for _ in range(n_stages)])
        self.feature_masks = nn.Parameter(torch.rand(n_stages, n_features))
        self.t, self.head = (
            nn.Parameter(torch.full((n_stages, 1), 0.1)),
            Mlp([n_features, 11, 2], nn.SiLU),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = x
        t = torch.relu(self.t)
        weights = torch.relu(torch.softmax(self.feature_masks, dim=-1) - 0.3 * t)
        for d in range(self.num_features):
            feature = weights[d] * x
            h_in = self.W_in[d](torch.cat([feature, h], dim=-1))
            z = torch.sigmoid(h_in[:, : self.n_features])
            r = torch.sigmoid(h_in[:, self.n_features :])
            h_out = torch.tanh(self.W_out[d](torch.cat([r * h, x], dim=-1)))
            h = F.leaky_relu((1 - z) * h + z * h_out)
        return self.head(h)


class Pna(nn.Module):
    """Mean, greatest, smallest and deviation of neighbours, each scaled by degree."""

    def __init__(self, d: int = 7) -> None:
        super().__init__()
        self.pre, self.M, self.U = nn.Linear(5, d), nn.Linear(2 * d, d), nn.Linear(13 * d, d)
        self.bn, self.readout, self.avg_d = nn.BatchNorm1d(d), Mlp([d, 9, 3]), 1.3

    def forward(self, X: Tensor, adj: Tensor) -> Tensor:
        X = self.pre(X)
        B, N, _ = X.shape
        h = torch.cat([X.unsqueeze(2).repeat(1, 1, N, 1), X.unsqueeze(1).repeat(1, N, 1, 1)], dim=3)
        m = self.M(h)
        D = adj.sum(-1, keepdim=True).clamp(min=1)
        a = adj.unsqueeze(-1)
        mean = (m * a).sum(2) / D
        std = torch.sqrt(torch.relu((m**2 * a).sum(2) / D - mean**2) + 1e-5)
        mx = (m - 1e3 * (1 - a)).max(2)[0]
        mn = torch.min(m + 1e3 * (1 - a), dim=2)[0]
        agg = torch.cat([mean, mx, mn, std], dim=2)
        scale = torch.log(D + 1)
        agg = torch.cat([agg, agg * (scale / self.avg_d), agg * (self.avg_d / scale)], dim=2)
        out = self.U(torch.cat([X, agg], dim=2))
        out = self.bn(out.view(B * N, -1)).view(B, N, -1)
        return self.readout(F.relu(out).mean(dim=1))


class Graphormer(nn.Module):
    """Degrees embedded into nodes, distances into the attention of each head, a virtual node in front."""

    def __init__(self, d: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.num_heads, self.node = heads, nn.Linear(5, d)
        self.degree_encoder, self.spatial_pos_encoder = nn.Embedding(8, d), nn.Embedding(5, heads)
        self.graph_token, self.virtual = nn.Embedding(1, d), nn.Embedding(1, heads)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.ln1, self.ln2, self.ffn, self.out = (
            nn.LayerNorm(d),
            nn.LayerNorm(d),
            Mlp([d, 20, d], nn.GELU),
            nn.Linear(d, 2),
        )

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        n_graph, n_node = x.size()[:2]
        spatial = (adj + 2 * ((adj @ adj) > 0).to(adj.dtype)).long().clamp(max=4)
        attn_bias = x.new_zeros(n_graph, self.num_heads, n_node + 1, n_node + 1)
        attn_bias[:, :, 1:, 1:] = attn_bias[:, :, 1:, 1:] + self.spatial_pos_encoder(
            spatial
        ).permute(0, 3, 1, 2)
        t = self.virtual.weight.view(1, self.num_heads, 1)
        attn_bias[:, :, 1:, 0] = attn_bias[:, :, 1:, 0] + t
        attn_bias[:, :, 0, :] = attn_bias[:, :, 0, :] + t
        h = self.node(x) + self.degree_encoder(adj.sum(-1).long())
        h = torch.cat([self.graph_token.weight.unsqueeze(0).repeat(n_graph, 1, 1), h], dim=1)
        y = self.ln1(h)
        q, k, v = (
            f(y).view(n_graph, -1, self.num_heads, y.size(-1) // self.num_heads).transpose(1, 2)
            for f in (self.q, self.k, self.v)
        )
        a = torch.softmax(q @ k.transpose(2, 3) * q.size(-1) ** -0.5 + attn_bias, dim=3)
        h = h + self.o((a @ v).transpose(1, 2).contiguous().view(n_graph, n_node + 1, -1))
        h = h + self.ffn(self.ln2(h))
        return self.out(h[:, 0, :])


class GatedGraph(nn.Module):
    """GGNN: messages into a GRU cell, read out by set2set, an LSTM that attends to nodes."""

    def __init__(self, d: int = 8, steps: int = 2) -> None:
        super().__init__()
        self.d, self.steps = d, steps
        self.fc_in, self.msg, self.gru = (
            nn.Linear(5, d),
            nn.Parameter(torch.randn(d, d) * 0.3),
            nn.GRUCell(d, d),
        )
        self.lstm, self.out = nn.LSTM(2 * d, d), Mlp([2 * d, 10, 1])

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        B, N, _ = x.shape
        h = torch.tanh(self.fc_in(x))
        for _ in range(self.steps):
            m = torch.bmm(adj, h @ self.msg)
            h = self.gru(m.view(-1, self.d), h.view(-1, self.d)).view(B, N, self.d)
        state = (h.new_zeros((1, B, self.d)), h.new_zeros((1, B, self.d)))
        q_star = h.new_zeros(B, self.d * 2)
        for _ in range(3):
            q, state = self.lstm(q_star.unsqueeze(0), state)
            q = q.view(B, self.d)
            e = torch.softmax((h * q[:, None]).sum(-1, keepdim=True), dim=1)
            q_star = torch.cat([q, (e * h).sum(1)], dim=-1)
        return self.out(q_star)


class GraphUNet(nn.Module):
    """Nodes pooled by their best scores and put back into place."""

    def __init__(self, d: int = 8, k: int = 3) -> None:
        super().__init__()
        self.k, self.start, self.down, self.bottom, self.up = (
            k,
            nn.Linear(5, d),
            nn.Linear(d, d),
            nn.Linear(d, d),
            nn.Linear(d, d),
        )
        self.proj, self.sigmoid, self.head = nn.Linear(d, 1), nn.Sigmoid(), nn.Linear(2 * d, 2)

    @staticmethod
    def norm_g(g: Tensor) -> Tensor:
        return g / g.sum(-1, keepdim=True).clamp(min=1)

    def forward(self, h: Tensor, g: Tensor) -> Tensor:
        g = self.norm_g(g)
        org = F.elu(self.start(torch.matmul(g, h)))
        d = F.elu(self.down(torch.matmul(g, org)))
        scores = self.sigmoid(self.proj(d).squeeze(-1))
        values, idx = torch.topk(scores, self.k, dim=1)
        new_h = torch.gather(d, 1, idx.unsqueeze(-1).expand(-1, -1, d.size(-1))) * values.unsqueeze(
            -1
        )
        g2 = torch.gather(
            torch.gather(g, 1, idx.unsqueeze(-1).expand(-1, -1, g.size(-1))),
            2,
            idx.unsqueeze(1).expand(-1, self.k, -1),
        )
        b = F.elu(self.bottom(torch.matmul(g2, new_h)))
        restored = torch.zeros_like(d).scatter(1, idx.unsqueeze(-1).expand(-1, -1, b.size(-1)), b)
        up = F.elu(self.up(torch.matmul(g, restored))) + d
        return self.head(torch.cat([up, org], -1))


class PointTransformer(nn.Module):
    """Attention of vectors over nearest neighbours, positions by a small network of differences."""

    def __init__(self, d: int = 8, k: int = 4) -> None:
        super().__init__()
        self.k, self.fc1, self.fc2 = k, nn.Linear(3, d), nn.Linear(d, d)
        self.fc_delta = nn.Sequential(nn.Linear(3, d), nn.ReLU(), nn.Linear(d, d))
        self.fc_gamma = nn.Sequential(nn.Linear(d, 11), nn.ReLU(), nn.Linear(11, d))
        self.w_qs, self.w_ks, self.w_vs = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.head = Mlp([d, 10, 4])

    @staticmethod
    def index_points(points: Tensor, idx: Tensor) -> Tensor:
        raw_size = idx.size()
        idx = idx.reshape(raw_size[0], -1)
        res = torch.gather(points, 1, idx[..., None].expand(-1, -1, points.size(-1)))
        return res.reshape(*raw_size, -1)

    def forward(self, xyz: Tensor) -> Tensor:
        dists = torch.sum((xyz[:, :, None] - xyz[:, None]) ** 2, dim=-1)
        knn_idx = dists.argsort()[:, :, : self.k]
        knn_xyz = self.index_points(xyz, knn_idx)
        pre = self.fc1(xyz)
        q, k, v = (
            self.w_qs(pre),
            self.index_points(self.w_ks(pre), knn_idx),
            self.index_points(self.w_vs(pre), knn_idx),
        )
        pos_enc = self.fc_delta(xyz[:, :, None] - knn_xyz)
        attn = self.fc_gamma(q[:, :, None] - k + pos_enc)
        attn = F.softmax(attn / math.sqrt(k.size(-1)), dim=-2)
        res = torch.einsum("bmnf,bmnf->bmf", attn, v + pos_enc)
        res = self.fc2(res) + pre
        return self.head(res.mean(1))


class Pillars(nn.Module):
    """Points put on a grid by scatter of the greatest, then seen as a picture."""

    def __init__(self, d: int = 8, grid: int = 4) -> None:
        super().__init__()
        self.grid, self.pfn = (
            grid,
            nn.Sequential(nn.Linear(5, d, bias=False), nn.LayerNorm(d), nn.ReLU()),
        )
        self.backbone = nn.Sequential(nn.Conv2d(d, 10, 3, padding=1), nn.BatchNorm2d(10), nn.ReLU())
        self.conv_cls, self.conv_box = nn.Conv2d(10, 2, 1), nn.Conv2d(10, 7, 1)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        cell = ((points[..., :2].clamp(-1.99, 1.99) + 2) / 4 * self.grid).long()
        center = (cell.to(points.dtype) + 0.5) * 4 / self.grid - 2
        x = self.pfn(torch.cat([points, points[..., :2] - center], dim=-1))
        flat = (cell[..., 1] * self.grid + cell[..., 0]).unsqueeze(-1).expand_as(x)
        canvas = x.new_zeros(x.size(0), self.grid * self.grid, x.size(-1))
        canvas = canvas.scatter_reduce(1, flat, x, reduce="amax")
        canvas = canvas.permute(0, 2, 1).contiguous().view(x.size(0), -1, self.grid, self.grid)
        f = self.backbone(canvas)
        return self.conv_cls(f), self.conv_box(f)


class ImplicitQuantile(nn.Module):
    """Quantiles embedded by cosines multiply the features of a state; a duelling head of noisy copies."""

    def __init__(self, state: int = 6, actions: int = 3, n_cos: int = 8, layer: int = 12) -> None:
        super().__init__()
        self.N, self.n_cos, self.layer_size, self.action_size = 5, n_cos, layer, actions
        self.register_buffer(
            "pis", torch.tensor([math.pi * i for i in range(1, n_cos + 1)]).view(1, 1, n_cos)
        )
        self.head, self.cos_embedding, self.ff_1 = (
            nn.Linear(state, layer),
            nn.Linear(n_cos, layer),
            nn.Linear(layer, 10),
        )
        self.advantage, self.value = nn.Linear(10, actions), nn.Linear(10, 1)

    def calc_cos(self, batch_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            taus = torch.rand(batch_size, self.N, device=like.device).to(like.dtype).unsqueeze(-1)
        else:
            taus = (
                torch.linspace(0.1, 0.9, self.N, dtype=like.dtype)
                .expand(batch_size, -1)
                .unsqueeze(-1)
            )
        return torch.cos(taus * self.pis), taus

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        batch_size = input.shape[0]
        x = torch.relu(self.head(input))
        cos, taus = self.calc_cos(batch_size, x)
        cos = cos.view(batch_size * self.N, self.n_cos)
        cos_x = torch.relu(self.cos_embedding(cos)).view(batch_size, self.N, self.layer_size)
        x = (x.unsqueeze(1) * cos_x).view(batch_size * self.N, self.layer_size)
        x = torch.relu(self.ff_1(x))
        value, advantage = self.value(x), self.advantage(x)
        out = value + advantage - advantage.mean(dim=1, keepdim=True)
        return out.view(batch_size, self.N, self.action_size), taus


class AlphaZero(nn.Module):
    """A board, residual blocks, a policy masked by legal moves and a value."""

    def __init__(self, hidden: int = 9, board: int = 16) -> None:
        super().__init__()
        self.start = nn.Sequential(
            nn.Conv2d(3, hidden, 3, padding=1), nn.BatchNorm2d(hidden), nn.ReLU()
        )
        self.backBone = nn.ModuleList(
            [
                nn.ModuleList(
                    [
                        nn.Conv2d(hidden, hidden, 3, padding=1),
                        nn.BatchNorm2d(hidden),
                        nn.Conv2d(hidden, hidden, 3, padding=1),
                        nn.BatchNorm2d(hidden),
                    ]
                )
                for _ in range(2)
            ]
        )
        self.policyHead = nn.Sequential(
            nn.Conv2d(hidden, 4, 1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * board * board, 10),
        )
        self.valueHead = nn.Sequential(
            nn.Conv2d(hidden, 3, 1),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(3 * board * board, 8),
            nn.ReLU(),
            nn.Linear(8, 1),
            nn.Tanh(),
        )

    def forward(self, board: Tensor) -> tuple[Tensor, Tensor]:
        planes = (
            torch.stack([(board < -0.3), (board.abs() <= 0.3), (board > 0.3)], dim=1)
            .squeeze(2)
            .to(board.dtype)
        )
        x = self.start(planes)
        for conv1, bn1, conv2, bn2 in self.backBone:
            residual = x
            x = F.relu(bn1(conv1(x)))
            x = bn2(conv2(x))
            x += residual
            x = F.relu(x)
        legal = board[:, 0, 0, :10] < 1.0
        logits = torch.where(legal, self.policyHead(x), torch.tensor(-1e8, dtype=x.dtype))
        return logits, self.valueHead(x)


class ValueIteration(nn.Module):
    """Values iterated by a convolution over reward and value, its weight joined of two."""

    def __init__(self, l_h: int = 8, l_q: int = 5, k: int = 4) -> None:
        super().__init__()
        self.k = k
        self.h, self.r = nn.Conv2d(1, l_h, 3, padding=1), nn.Conv2d(l_h, 1, 1, bias=False)
        self.q, self.fc = nn.Conv2d(1, l_q, 3, padding=1, bias=False), nn.Linear(l_q, 4, bias=False)
        self.w = nn.Parameter(torch.zeros(l_q, 1, 3, 3), requires_grad=True)

    def forward(self, input_view: Tensor) -> Tensor:
        r = self.r(self.h(input_view))
        q = self.q(r)
        v, _ = torch.max(q, dim=1, keepdim=True)
        for _ in range(self.k - 1):
            q = F.conv2d(
                torch.cat([r, v], 1), torch.cat([self.q.weight, self.w], 1), stride=1, padding=1
            )
            v, _ = torch.max(q, dim=1, keepdim=True)
        q = F.conv2d(
            torch.cat([r, v], 1), torch.cat([self.q.weight, self.w], 1), stride=1, padding=1
        )
        q_out = q[:, :, 7, 5]
        return self.fc(q_out)


class Curiosity(nn.Module):
    """Encoder, inverse and forward model of two states and an action; residual layers from a list of pairs."""

    def __init__(self, d: int = 9, actions: int = 3) -> None:
        super().__init__()
        self.actions = actions
        self.feature = nn.Sequential(nn.Linear(6, 14), nn.LeakyReLU(), nn.Linear(14, d))
        self.inverse_net = nn.Sequential(nn.Linear(2 * d, 12), nn.ReLU(), nn.Linear(12, actions))
        self.residual = [
            nn.Sequential(nn.Linear(actions + d, 10), nn.LeakyReLU(), nn.Linear(10, d))
            for _ in range(2)
        ]
        self.res_list = nn.ModuleList(self.residual)
        self.forward_net_1, self.forward_net_2 = (
            nn.Sequential(nn.Linear(actions + d, d), nn.LeakyReLU()),
            nn.Linear(actions + d, d),
        )

    def forward(self, state: Tensor, next_state: Tensor) -> tuple[Tensor, ...]:
        encode_state, encode_next = self.feature(state), self.feature(next_state)
        pred_action = self.inverse_net(torch.cat((encode_state, encode_next), 1))
        action = F.one_hot(pred_action.argmax(-1), self.actions).to(state.dtype)
        x = self.forward_net_1(torch.cat((encode_state, action), 1))
        for res in self.residual:
            x = res(torch.cat((x, action), 1)) + x
        pred_next = self.forward_net_2(torch.cat((x, action), 1))
        return encode_next, pred_next, pred_action


class DiffusionTransformer(nn.Module):
    """Patches, conditioned by time and label through scales, shifts and gates that start at zero; unpatchified."""

    def __init__(self, hidden: int = 12, heads: int = 3, patch: int = 4, c: int = 1) -> None:
        super().__init__()
        self.p, self.out_channels, self.num_heads = patch, 2 * c, heads
        self.x_embedder = nn.Conv2d(c, hidden, patch, patch)
        self.t_mlp, self.y_embedder = (
            nn.Sequential(nn.Linear(10, hidden), nn.SiLU(), nn.Linear(hidden, hidden)),
            nn.Embedding(5, hidden),
        )
        self.register_buffer("pos_embed", torch.randn(1, 16, hidden))
        self.norm1, self.norm2, self.norm_final = (
            nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6) for _ in range(3)
        )
        self.qkv, self.proj, self.mlp = (
            nn.Linear(hidden, 3 * hidden),
            nn.Linear(hidden, hidden),
            Mlp([hidden, 20, hidden], lambda: nn.GELU(approximate="tanh")),
        )
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 6 * hidden, bias=True))
        self.final_modulation, self.linear = (
            nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden)),
            nn.Linear(hidden, patch * patch * self.out_channels),
        )

    @staticmethod
    def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        freqs = torch.exp(
            -math.log(10000) * torch.arange(start=0, end=5, dtype=torch.float32) / 5
        ).to(x.dtype)
        args = t[:, None].to(x.dtype) * freqs[None]
        c = self.t_mlp(torch.cat([torch.cos(args), torch.sin(args)], dim=-1)) + self.y_embedder(y)
        x = self.x_embedder(x).flatten(2).transpose(1, 2) + self.pos_embed
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(
            c
        ).chunk(6, dim=1)
        h = self.modulate(self.norm1(x), shift_msa, scale_msa)
        B, N, C = h.shape
        q, k, v = (
            self.qkv(h)
            .reshape(B, N, 3, self.num_heads, C // self.num_heads)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, C)
        x = x + gate_msa.unsqueeze(1) * self.proj(h)
        x = x + gate_mlp.unsqueeze(1) * self.mlp(self.modulate(self.norm2(x), shift_mlp, scale_mlp))
        shift, scale = self.final_modulation(c).chunk(2, dim=1)
        x = self.linear(self.modulate(self.norm_final(x), shift, scale))
        h = w = int(x.shape[1] ** 0.5)
        x = x.reshape(shape=(x.shape[0], h, w, self.p, self.p, self.out_channels))
        x = torch.einsum("nhwpqc->nchpwq", x)
        return x.reshape(shape=(x.shape[0], self.out_channels, h * self.p, h * self.p))


class SelfAttentionGan(nn.Module):
    """A critic with spectral norm and a learnt share of attention, and a projection of the label."""

    def __init__(self, ch: int = 8) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            spectral_norm(nn.Conv2d(3, ch, 4, 2, 1)),
            spectral_norm(nn.Conv2d(ch, 2 * ch, 4, 2, 1)),
        )
        self.theta, self.phi, self.g, self.o = (
            spectral_norm(nn.Conv2d(2 * ch, k, 1, bias=False)) for k in (2, 2, ch, 2 * ch))  # fmt: skip
        self.o = spectral_norm(nn.Conv2d(ch, 2 * ch, 1, bias=False))
        self.gamma, self.linear, self.embed = (
            nn.Parameter(torch.tensor(0.5)),
            spectral_norm(nn.Linear(2 * ch, 1)),
            spectral_norm(nn.Embedding(5, 2 * ch)),
        )
        self.ch = ch

    def attend(self, x: Tensor) -> Tensor:
        theta, phi, g = (
            self.theta(x),
            F.max_pool2d(self.phi(x), [2, 2]),
            F.max_pool2d(self.g(x), [2, 2]),
        )
        theta, phi = (
            theta.view(-1, 2, x.shape[2] * x.shape[3]),
            phi.view(-1, 2, x.shape[2] * x.shape[3] // 4),
        )
        g = g.view(-1, self.ch, x.shape[2] * x.shape[3] // 4)
        beta = F.softmax(torch.bmm(theta.transpose(1, 2), phi), -1)
        o = self.o(torch.bmm(g, beta.transpose(1, 2)).view(-1, self.ch, x.shape[2], x.shape[3]))
        return self.gamma * o + x

    def forward(self, x: Tensor) -> Tensor:
        y = (x.mean((1, 2, 3)) > 0).long()
        x = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2)
        x = torch.sum(F.relu(self.attend(x)), dim=[2, 3])
        return self.linear(x) + torch.sum(self.embed(y) * x, 1, keepdim=True)


class MaskedConv2d(nn.Conv2d):
    def __init__(self, mask_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("mask", self.weight.data.clone())
        _, _, kH, kW = self.weight.size()
        self.mask.fill_(1)
        self.mask[:, :, kH // 2, kW // 2 + (mask_type == "B") :] = 0
        self.mask[:, :, kH // 2 + 1 :] = 0

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data *= self.mask
        return super().forward(x)


class PixelCnn(nn.Module):
    """Convolutions whose weights are masked in place each time, gated by halves, as one distribution a pixel."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.net = nn.Sequential(
            MaskedConv2d("A", 1, f, 7, 1, 3, bias=False), nn.BatchNorm2d(f), nn.ReLU(True),
            MaskedConv2d("B", f, 2 * f, 5, 1, 2, bias=False), nn.GLU(dim=1),
            MaskedConv2d("B", f, f, 3, 1, 1, bias=False), nn.BatchNorm2d(f), nn.ReLU(True), nn.Conv2d(f, 6, 1))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ResidualQuantiser(nn.Module):
    """A sound or picture coded by a stack of codebooks, each for what the others left, straight through."""

    def __init__(self, dim: int = 6, n_codes: int = 9, depth: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, dim, 4, 2, 1)
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(dim, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1)
        )
        self.codebooks = nn.ParameterList(
            [nn.Parameter(torch.randn(n_codes, dim)) for _ in range(depth)]
        )
        self.commitment = 0.25

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x)
        b, c, h, w = z.shape
        flat = z.permute(0, 2, 3, 1).reshape(-1, c)
        residual, quantized, losses = flat, torch.zeros_like(flat), []
        for book in self.codebooks:
            ids = torch.cdist(residual, book).argmin(dim=1)
            q = F.embedding(ids, book)
            losses.append(
                F.mse_loss(q, residual.detach())
                + self.commitment * F.mse_loss(q.detach(), residual)
            )
            residual, quantized = residual - q.detach(), quantized + q
        quantized = flat + (quantized - flat).detach()
        return self.decoder(quantized.view(b, h, w, c).permute(0, 3, 1, 2)), torch.stack(
            losses
        ).mean()


class ImplicitImage(nn.Module):
    """LIIF: features of the nearest place and the offset to it through one multilayer perceptron."""

    def __init__(self, d: int = 7) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, d, 3, padding=1), nn.ReLU(), nn.Conv2d(d, d, 3, padding=1)
        )
        self.imnet = Mlp([d + 2, 14, 12, 1])

    def forward(self, x: Tensor) -> Tensor:
        feat = self.encoder(x)
        n = 5
        axis = torch.linspace(-0.9, 0.9, n, dtype=x.dtype)
        coord = (
            torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
            .view(1, -1, 2)
            .expand(x.size(0), -1, -1)
        )
        q_feat = F.grid_sample(
            feat, coord.flip(-1).unsqueeze(1), mode="nearest", align_corners=False
        )[:, :, 0, :].permute(0, 2, 1)
        rel = coord - torch.round(coord * feat.shape[-1] / 2) * 2 / feat.shape[-1]
        bs, q = coord.shape[:2]
        inp = torch.cat([q_feat, rel * feat.shape[-2]], dim=-1)
        return self.imnet(inp.view(bs * q, -1)).view(bs, q, -1)


class HashGrid(nn.Module):
    """Tables of hashed corners at several resolutions, interpolated between eight corners."""

    def __init__(self, levels: int = 2, size: int = 32, f: int = 3) -> None:
        super().__init__()
        self.levels, self.size = levels, size
        self.embeddings = nn.ModuleList([nn.Embedding(size, f) for _ in range(levels)])
        self.register_buffer(
            "corners", torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        )
        self.sigma, self.color = Mlp([levels * f, 13, 6]), Mlp([5 + 3, 11, 3])

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        p, feats = (x.reshape(-1, 3).clamp(-2, 2) + 2) / 4, []
        for level, table in enumerate(self.embeddings):
            scaled = p * 4 * 2**level
            low = torch.floor(scaled)
            w = scaled - low
            corner = low.long().unsqueeze(1) + self.corners
            ids = (
                (corner[..., 0] * 1) ^ (corner[..., 1] * 2654435761) ^ (corner[..., 2] * 805459861)
            )
            e = table(ids % self.size)
            weight = torch.where(
                self.corners.bool().unsqueeze(0), w.unsqueeze(1), 1 - w.unsqueeze(1)
            ).prod(-1, keepdim=True)
            feats.append((e * weight).sum(1))
        h = self.sigma(torch.cat(feats, dim=-1))
        sigma = F.softplus(h[..., 0])
        color = torch.sigmoid(self.color(torch.cat([h[..., 1:], p], -1)))
        return torch.cat([color, sigma.unsqueeze(-1)], -1).view(b, n, 4)


class NeuralProcess(nn.Module):
    """Context points encoded and attended to by targets; a mean and a spread."""

    def __init__(self, r: int = 10) -> None:
        super().__init__()
        self.latent, self.deter = Mlp([3, 12, r]), Mlp([3, 12, r])
        self.mu, self.log_sigma = nn.Linear(r, 6), nn.Linear(r, 6)
        self.cross_attention, self.decoder = (
            nn.MultiheadAttention(r, 2, batch_first=True, kdim=2, vdim=r),
            Mlp([r + 6 + 2, 13, 2]),
        )
        self.embed_q = nn.Linear(2, r)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        x, context = points[..., :2], points[:, :6]
        s = self.latent(context).mean(dim=1)
        mu, sigma = self.mu(s), 0.1 + 0.9 * torch.sigmoid(self.log_sigma(s))
        z = mu + sigma * torch.randn_like(sigma) if self.training else mu
        rep, _ = self.cross_attention(
            self.embed_q(x), context[..., :2], self.deter(context), need_weights=False
        )
        z = z.unsqueeze(1).repeat(1, x.size(1), 1)
        out = self.decoder(torch.cat([rep, z, x], dim=-1))
        mean, log_var = torch.split(out, 1, dim=-1)
        return mean, 0.1 + 0.9 * F.softplus(log_var)


class Transformed(nn.Module):
    """A picture straightened by thin-plate-like control points and read by a two-way LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(True), nn.AdaptiveAvgPool2d(1)
        )
        self.fc = nn.Linear(6, 8)
        nn.init.zeros_(self.fc.weight)
        self.fc.bias.data.copy_(torch.tensor([-1.0, -1.0, 1.0, -1.0, -1.0, 1.0, 1.0, 1.0]))
        self.cnn, self.rnn, self.out = (
            nn.Conv2d(3, 7, 3, 2, 1),
            nn.LSTM(7, 9, bidirectional=True),
            nn.Linear(18, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        corners = (
            self.fc(self.loc(x).view(x.size(0), -1)).view(x.size(0), 2, 2, 2).permute(0, 3, 1, 2)
        )
        grid = F.interpolate(
            corners, size=x.shape[-2:], mode="bilinear", align_corners=True
        ).permute(0, 2, 3, 1)
        conv = F.relu(self.cnn(F.grid_sample(x, grid, padding_mode="border", align_corners=True)))
        conv = conv.mean(2).permute(2, 0, 1)
        recurrent, _ = self.rnn(conv)
        T, b, h = recurrent.size()
        return self.out(recurrent.view(T * b, h)).view(T, b, -1).permute(1, 0, 2)


class Hamiltonian(nn.Module):
    """Dynamics as the rotated gradient of a learnt energy, taken in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = Mlp([6, 14, 14, 1], nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.clone().requires_grad_(True)
            H = self.energy(x).sum()
            grad = torch.autograd.grad(H, x, create_graph=True)[0]
        dq, dp = grad.chunk(2, dim=-1)
        return torch.cat([dp, -dq], dim=-1)


class FourierPlane(nn.Module):
    """A Fourier operator in two dimensions: low modes of both corners times complex weights, coordinates beside."""

    def __init__(self, modes: int = 3, width: int = 6) -> None:
        super().__init__()
        self.modes, self.fc0 = modes, nn.Linear(3, width)
        self.weights1, self.weights2 = (
            nn.Parameter(torch.rand(width, width, modes, modes, 2) / width**2) for _ in range(2)
        )
        self.w0, self.fc1, self.fc2 = (
            nn.Conv2d(width, width, 1),
            nn.Linear(width, 12),
            nn.Linear(12, 1),
        )

    def forward(self, u: Tensor) -> Tensor:
        x = u.permute(0, 2, 3, 1)
        b, sx, sy = x.shape[:3]
        gx = torch.linspace(0, 1, sx, dtype=x.dtype).reshape(1, sx, 1, 1).repeat([b, 1, sy, 1])
        gy = torch.linspace(0, 1, sy, dtype=x.dtype).reshape(1, 1, sy, 1).repeat([b, sx, 1, 1])
        x = self.fc0(torch.cat((x, gx, gy), dim=-1)).permute(0, 3, 1, 2)
        x_ft = torch.fft.rfft2(x)
        out_ft = torch.zeros(b, x.size(1), sx, sy // 2 + 1, dtype=x_ft.dtype, device=x.device)
        m = self.modes
        out_ft[:, :, :m, :m] = torch.einsum(
            "bixy,ioxy->boxy", x_ft[:, :, :m, :m], torch.view_as_complex(self.weights1)
        )
        out_ft[:, :, -m:, :m] = torch.einsum(
            "bixy,ioxy->boxy", x_ft[:, :, -m:, :m], torch.view_as_complex(self.weights2)
        )
        x = F.gelu(torch.fft.irfft2(out_ft, s=(sx, sy)) + self.w0(x)).permute(0, 2, 3, 1)
        return self.fc2(F.gelu(self.fc1(x)))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "progressive_extraction": lambda: (ProgressiveExtraction(), INPUTS.numbers),
    "attentional_fm": lambda: (AttentionalFm(), INPUTS.fields),
    "caser": lambda: (Caser(), INPUTS.tokens),
    "light_gcn": lambda: (LightGcn(), INPUTS.fields),
    "mask_net": lambda: (MaskNet(), INPUTS.fields),
    "gated_features": lambda: (GatedFeatures(), INPUTS.numbers),
    "pna_aggregators": lambda: (Pna(), (INPUTS.nodes, INPUTS.edges)),
    "graphormer_bias": lambda: (Graphormer(), (INPUTS.nodes, INPUTS.edges)),
    "ggnn_set2set": lambda: (GatedGraph(), (INPUTS.nodes, INPUTS.edges)),
    "graph_u_net": lambda: (GraphUNet(), (INPUTS.nodes, INPUTS.edges)),
    "point_transformer": lambda: (PointTransformer(), INPUTS.points),
    "pillars_scatter": lambda: (Pillars(), INPUTS.points),
    "implicit_quantiles": lambda: (ImplicitQuantile(), INPUTS.numbers),
    "alpha_zero": lambda: (AlphaZero(), INPUTS.grey),
    "value_iteration": lambda: (ValueIteration(), INPUTS.grey),
    "curiosity": lambda: (Curiosity(), (INPUTS.numbers, INPUTS.numbers.flip(0))),
    "dit_adaln": lambda: (
        DiffusionTransformer(),
        (INPUTS.grey, torch.tensor([3, 70]), torch.tensor([1, 4])),
    ),
    "sagan_projection": lambda: (SelfAttentionGan(), INPUTS.images),
    "pixel_cnn_masked": lambda: (PixelCnn(), INPUTS.grey),
    "residual_quantiser": lambda: (ResidualQuantiser(), INPUTS.grey),
    "implicit_image": lambda: (ImplicitImage(), INPUTS.grey),
    "hash_grid": lambda: (HashGrid(), INPUTS.points),
    "neural_process": lambda: (NeuralProcess(), INPUTS.points),
    "straightened_text": lambda: (Transformed(), INPUTS.images),
    "hamiltonian": lambda: (Hamiltonian(), INPUTS.numbers),
    "fourier_plane": lambda: (FourierPlane(), INPUTS.grey),
}

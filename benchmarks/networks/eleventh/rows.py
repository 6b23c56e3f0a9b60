"""Networks of the zoo over rows and recommendations, eleventh sample: factors, towers, blocks that cross, neighbours."""

# ruff: noqa: B905, N806, RUF007 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.networks.eleventh.inputs import CONTEXT, INPUTS, MIXED, PAIRS, TWO_TEXTS


class MatrixFactors(nn.Module):
    """Users and items as vectors whose products are summed, with biases of both and of all."""

    def __init__(self, users: int = 20, items: int = 25, k: int = 8) -> None:
        super().__init__()
        self.P, self.Q = nn.Embedding(users, k), nn.Embedding(items, k)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        self.register_buffer("global_mean", torch.tensor(3.5))

    def forward(self, user_id: Tensor, item_id: Tensor) -> Tensor:
        P_u, Q_i = self.P(user_id), self.Q(item_id)
        b_u, b_i = self.user_bias(user_id), self.item_bias(item_id)
        return (P_u * Q_i).sum(axis=1) + b_u.squeeze() + b_i.squeeze() + self.global_mean


class DeepTowers(nn.Module):
    """A tower for users and one for items, of embeddings and layers; scores of all pairs in the batch's order."""

    class Tower(nn.Sequential):
        def __init__(self, n: int, d: int, *sizes: int) -> None:
            layers: list[nn.Module] = [nn.Embedding(n, d)]
            for a, b in zip((d, *sizes), sizes):
                layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.Dropout(0.1), nn.ReLU()]
            super().__init__(*layers[:-3])

        def forward(self, ids: Tensor) -> Tensor:
            return F.normalize(super().forward(ids), dim=1)

    def __init__(self) -> None:
        super().__init__()
        self.query_tower = self.Tower(20, 12, 16, 8)
        self.candidate_tower = self.Tower(25, 12, 20, 8)
        self.temperature = 0.05

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        q, c = self.query_tower(user), self.candidate_tower(item)
        return torch.mul(q, c).sum(dim=1) / self.temperature


class TextTwins(nn.Module):
    """One encoder for two texts: mean of words, cosine, and a head on both, their difference and product."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(30, d, mode="mean")
        self.encoder = nn.Sequential(nn.Linear(d, 16), nn.Tanh(), nn.Linear(16, 10))
        self.head = nn.Linear(40, 2)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        u, v = self.encoder(self.bag(a)), self.encoder(self.bag(b))
        logits = self.head(torch.cat([u, v, torch.abs(u - v), u * v], dim=-1))
        return torch.cosine_similarity(u, v, dim=-1), logits


class FinalTwoStreams(nn.Module):
    """Two perceptrons that gate their inputs by a learnt vector, and meet in a bilinear product of heads."""

    def __init__(self, d: int = 6, heads: int = 2) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({f"c{n}": nn.Embedding(10, d) for n in range(5)})
        w = 5 * d
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, w), nn.Sigmoid()) for _ in "ab"
        )
        self.ctx = nn.ParameterList(nn.Parameter(torch.randn(1, d)) for _ in "ab")
        self.mlp1 = nn.Sequential(nn.Linear(w, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())
        self.mlp2 = nn.Sequential(nn.Linear(w, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU())
        self.num_heads, self.head_dim = heads, 8 // heads
        self.w_x, self.w_y = nn.Linear(8, 1), nn.Linear(8, 1)
        self.w_xy = nn.Parameter(torch.randn(heads * self.head_dim * self.head_dim, 1) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.cat([t(x[:, i]) for i, t in enumerate(self.tables.values())], dim=1)
        one, two = (
            flat * gate(ctx.repeat(flat.size(0), 1)) * 2 for gate, ctx in zip(self.gates, self.ctx)
        )
        y1, y2 = self.mlp1(one), self.mlp2(two)
        out = self.w_x(y1) + self.w_y(y2)
        hx = y1.view(-1, self.num_heads, self.head_dim)
        hy = y2.view(-1, self.num_heads, self.head_dim)
        w = self.w_xy.view(self.num_heads, self.head_dim, -1)
        xy = torch.matmul(
            torch.matmul(hx.unsqueeze(2), w).view(-1, self.num_heads, 1, self.head_dim),
            hy.unsqueeze(-1),
        )
        return (out + xy.sum(dim=1).squeeze(-1)).sigmoid()


class Stacked(nn.Module):
    """Layers that join a linear compression of fields with a product of them, each normalised, with a residual."""

    class Layer(nn.Module):
        def __init__(self, n: int, d: int, lcb: int, fmb: int, rank: int) -> None:
            super().__init__()
            self.lcb, self.rank_w = nn.Linear(n, lcb, bias=False), nn.Linear(n, rank, bias=False)
            self.norm, self.fmb, self.d = nn.LayerNorm(n * rank), fmb, d
            self.mlp = nn.Sequential(nn.Linear(n * rank, 16), nn.ReLU(), nn.Linear(16, fmb * d))
            self.out_norm = nn.LayerNorm(d)
            self.res = nn.Linear(n, lcb + fmb, bias=False) if n != lcb + fmb else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            lcb = self.lcb(x.permute(0, 2, 1)).permute(0, 2, 1)
            low = self.rank_w(x.permute(0, 2, 1))
            fm = torch.bmm(x, low).flatten(1)
            fmb = self.mlp(self.norm(fm)).view(-1, self.fmb, self.d)
            skip = self.res(x.permute(0, 2, 1)).permute(0, 2, 1)
            return self.out_norm(torch.cat([fmb, lcb], dim=1) + skip)

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.sparse, self.dense = nn.Embedding(30, d), nn.Linear(5, d)
        self.register_buffer("offsets", torch.tensor([0, 10, 20]))
        self.layers = nn.Sequential(self.Layer(4, d, 3, 3, 2), self.Layer(6, d, 3, 3, 2))
        self.top = nn.Linear(6 * d, 1)

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        x = torch.cat([self.sparse(sparse + self.offsets), self.dense(dense).unsqueeze(1)], dim=1)
        return self.top(self.layers(x).flatten(1)).squeeze(-1)


class PackedEnsemble(nn.Module):
    """Many small networks as one: vectors for each member scale what goes in and out of shared layers."""

    class Linear(nn.Module):
        def __init__(self, i: int, o: int, k: int) -> None:
            super().__init__()
            self.weight, self.bias = (
                nn.Parameter(torch.randn(o, i) * i**-0.5),
                nn.Parameter(torch.zeros(k, o)),
            )
            self.r = nn.Parameter(torch.randint(0, 2, (k, i)).float() * 2 - 1)
            self.s = nn.Parameter(torch.ones(k, o))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.r) @ self.weight.T * self.s + self.bias

    def __init__(self, i: int = 6, h: int = 14, k: int = 4, o: int = 3) -> None:
        super().__init__()
        self.k = k
        self.register_buffer("bins", torch.linspace(-2, 2, 5).repeat(i, 1))
        self.blocks = nn.ModuleList(
            nn.Sequential(self.Linear(a, h, k), nn.ReLU(), nn.Dropout(0.1)) for a in (i * 4, h)
        )
        self.out_w = nn.Parameter(torch.randn(k, h, o) * h**-0.5)
        self.out_b = nn.Parameter(torch.zeros(k, o))

    def forward(self, x: Tensor) -> Tensor:
        left, width = self.bins[:, :-1], self.bins.diff(dim=-1)
        enc = (x[..., None] - left) / width
        enc = torch.cat(
            [
                enc[..., :1].clamp_max(1.0),
                enc[..., 1:-1].clamp(0.0, 1.0),
                enc[..., -1:].clamp_min(0.0),
            ],
            -1,
        )
        x = enc.flatten(1)[:, None].expand(-1, self.k, -1)
        for block in self.blocks:
            x = block(x)
        x = (x.transpose(0, 1) @ self.out_w).transpose(0, 1) + self.out_b
        return x.mean(1)


class RealRows(nn.Module):
    """A perceptron of plain practice: scaled inputs, periodic embeddings of numbers, weights divided by √n, Mish."""

    class NTPLinear(nn.Module):
        def __init__(self, i: int, o: int, zero: bool = False) -> None:
            super().__init__()
            f = 0.0 if zero else 1.0
            self.weight, self.bias = (
                nn.Parameter(f * torch.randn(i, o)),
                nn.Parameter(f * torch.randn(1, o)),
            )

        def forward(self, x: Tensor) -> Tensor:
            return (1.0 / self.weight.shape[0] ** 0.5) * (x @ self.weight) + self.bias

    def __init__(self, i: int = 6, h: int = 16, o: int = 3) -> None:
        super().__init__()
        self.w1, self.b1 = (
            nn.Parameter(torch.randn(i, 1, 8) * 0.3),
            nn.Parameter(torch.rand(i, 1, 8)),
        )
        self.w2, self.b2 = (
            nn.Parameter(torch.randn(i, 8, 3) * 0.3),
            nn.Parameter(torch.zeros(i, 1, 3)),
        )
        self.scale = nn.Parameter(torch.ones(i * 4))
        dims = [i * 4, h, h]
        self.hidden = nn.Sequential()
        for n, (a, b) in enumerate(zip(dims, dims[1:])):
            self.hidden.add_module(f"lin{n}", self.NTPLinear(a, b))
            self.hidden.add_module(f"act{n}", nn.Mish())
        self.last = self.NTPLinear(h, o, zero=False)

    def forward(self, x: Tensor) -> Tensor:
        orig = x
        z = x.transpose(-1, -2).unsqueeze(-1)
        z = torch.cos(2 * torch.pi * (z.matmul(self.w1) + self.b1))
        z = (z.matmul(self.w2) + self.b2).transpose(0, 1)
        x = torch.cat([orig.unsqueeze(-1), z], dim=-1).flatten(1)
        return self.last(self.hidden(x * self.scale))


class Neighbours(nn.Module):
    """Labels of rows that are held, weighed by distances to them in a space that is learnt."""

    def __init__(self, i: int = 6, h: int = 10, n: int = 12, classes: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Linear(i, h)
        block = [nn.BatchNorm1d(h), nn.Linear(h, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, h)]
        self.post_encoder = nn.Sequential(*block, nn.BatchNorm1d(h))
        g = torch.Generator().manual_seed(7)
        self.register_buffer("candidate_x", torch.randn(n, i, generator=g))
        self.register_buffer("candidate_y", torch.randint(0, classes, (n,), generator=g))
        self.num_classes, self.T = classes, 1.0

    def forward(self, x: Tensor) -> Tensor:
        x, cand = (
            self.post_encoder(self.encoder(x)),
            self.post_encoder(self.encoder(self.candidate_x)),
        )
        y = F.one_hot(self.candidate_y, self.num_classes).to(x.dtype)
        distances = F.softmax(-torch.cdist(x, cand, p=2) / self.T, dim=-1)
        return torch.log(torch.mm(distances, y) + 1e-7)


class InContext(nn.Module):
    """A table with labels of its first rows: attention between features, then between rows; the rest are predicted."""

    class Layer(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            self.between_features = nn.MultiheadAttention(d, 2, batch_first=True)
            self.between_rows = nn.MultiheadAttention(d, 2, batch_first=True)
            self.linear1, self.linear2 = nn.Linear(d, 20), nn.Linear(20, d)
            self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(d) for _ in range(3))

        def forward(self, src: Tensor, split: int) -> Tensor:
            b, rows, cols, d = src.shape
            src = src.reshape(b * rows, cols, d)
            src = self.norm1(self.between_features(src, src, src, need_weights=False)[0] + src)
            src = src.reshape(b, rows, cols, d).transpose(1, 2).reshape(b * cols, rows, d)
            train = src[:, :split]
            left = self.between_rows(train, train, train, need_weights=False)[0]
            right = self.between_rows(src[:, split:], train, train, need_weights=False)[0]
            src = self.norm2(torch.cat([left, right], dim=1) + src)
            src = src.reshape(b, cols, rows, d).transpose(2, 1)
            return self.norm3(self.linear2(F.gelu(self.linear1(src))) + src)

    def __init__(self, d: int = 12, classes: int = 3) -> None:
        super().__init__()
        self.feature, self.target = nn.Linear(1, d), nn.Linear(1, d)
        self.layers = nn.ModuleList(self.Layer(d) for _ in range(2))
        self.decoder = nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, classes))

    def forward(self, x: Tensor, y_train: Tensor) -> Tensor:
        split = y_train.shape[1]
        mean, std = x[:, :split].mean(1, keepdim=True), x[:, :split].std(1, keepdim=True) + 1e-6
        src = self.feature(((x - mean) / std).clamp(-100, 100).unsqueeze(-1))
        y = y_train.to(x.dtype).unsqueeze(-1)
        pad = y.mean(1, keepdim=True).expand(-1, x.shape[1] - split, -1)
        y = self.target(torch.cat([y, pad], dim=1).unsqueeze(-1))
        src = torch.cat([src, y], dim=2)
        for layer in self.layers:
            src = (
                checkpoint(layer, src, split, use_reentrant=False)
                if self.training
                else layer(src, split)
            )
        return self.decoder(src[:, split:, -1, :])


class Prompts(nn.Module):
    """Learnt prompts ask each cell for columns by their importance, are expanded and summed; one head for all cycles."""

    class Cell(nn.Module):
        def __init__(self, cols: int, p: int, d: int) -> None:
            super().__init__()
            self.weight, self.bias = (
                nn.Parameter(torch.randn(cols, d) * 0.3),
                nn.Parameter(torch.zeros(cols, d)),
            )
            self.ln, self.dense = nn.LayerNorm(d), nn.Linear(2 * d, d)
            self.ln_col, self.ln_prompt = nn.LayerNorm(d), nn.LayerNorm(d)
            self.emb_column = nn.Parameter(torch.randn(cols, d) * 0.3)
            self.emb_prompt = nn.Parameter(torch.randn(p, d) * 0.3)
            self.expand = nn.Parameter(torch.randn(p) * 0.3)
            self.gn = nn.GroupNorm(2, p)

        def forward(self, x: Tensor, prev: Tensor) -> Tensor:
            cells = self.ln(F.relu(x.unsqueeze(-1) * self.weight + self.bias))
            prompts = self.ln_prompt(self.emb_prompt).unsqueeze(0).repeat(x.shape[0], 1, 1)
            prompts = self.dense(torch.cat([prompts, prev], dim=-1)) + prompts + prev
            importance = torch.einsum("npd,cd->npc", prompts, self.ln_col(self.emb_column))
            importance = F.softmax(importance, dim=-1).unsqueeze(-1)
            expanded = cells.unsqueeze(1) + self.gn(
                F.relu(cells.unsqueeze(1) * self.expand[None, :, None, None])
            )
            return (expanded * importance).sum(dim=2)

    def __init__(self, cols: int = 6, p: int = 4, d: int = 10, cycles: int = 2) -> None:
        super().__init__()
        self.prompt = nn.Parameter(torch.randn(p, d) * 0.3)
        self.cells = nn.ModuleList(self.Cell(cols, p, d) for _ in range(cycles))
        self.pool, self.head = (
            nn.Linear(d, 1),
            nn.Sequential(nn.Linear(d, 14), nn.ReLU(), nn.LayerNorm(14), nn.Linear(14, 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        O, outputs = self.prompt.unsqueeze(0).repeat(x.shape[0], 1, 1), []  # noqa: E741
        for cell in self.cells:
            O = cell(x, O)  # noqa: E741
            w = torch.softmax(self.pool(O), dim=1)
            outputs.append(self.head((w * O).sum(1)))
        return torch.stack(outputs, dim=1).mean(dim=1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "matrix_factors": lambda: (MatrixFactors(), PAIRS),
    "deep_towers": lambda: (DeepTowers(), PAIRS),
    "text_twins": lambda: (TextTwins(), TWO_TEXTS),
    "final_two_streams": lambda: (FinalTwoStreams(), INPUTS.fields),
    "stacked_factorisation": lambda: (Stacked(), MIXED),
    "packed_ensemble": lambda: (PackedEnsemble(), INPUTS.numbers),
    "real_rows": lambda: (RealRows(), INPUTS.numbers),
    "learnt_neighbours": lambda: (Neighbours(), INPUTS.numbers),
    "in_context_rows": lambda: (InContext(), CONTEXT),
    "prompted_rows": lambda: (Prompts(), INPUTS.numbers),
}

"""Networks of the zoo over tables and pairs, fourth sample: kinds that none of the earlier samples has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourth.sequences import FIELDS, ROWS, WORDS


class DeepInterest(nn.Module):
    """A candidate's weight on each thing of the history, with Dice activations."""

    def __init__(self, d: int = 6) -> None:
        super().__init__()
        self.item, self.alpha = nn.Embedding(20, d), nn.Parameter(torch.zeros(12))
        self.att, self.bn = (
            nn.Sequential(nn.Linear(4 * d, 10), nn.PReLU(), nn.Linear(10, 1)),
            nn.BatchNorm1d(12, affine=False),
        )
        self.fc1, self.fc2 = nn.Linear(3 * d, 12), nn.Linear(12, 1)

    def forward(self, hist: Tensor, target: Tensor) -> Tensor:
        keys, q = self.item(hist), self.item(target).unsqueeze(1)
        queries = q.expand(-1, keys.size(1), -1)
        w = self.att(torch.cat([queries, keys, queries - keys, queries * keys], dim=-1)).transpose(
            1, 2
        )
        w = torch.where((hist > 2).unsqueeze(1), w, torch.zeros_like(w))
        user = torch.bmm(w, keys).squeeze(1)
        x = self.fc1(torch.cat([user, q.squeeze(1), user * q.squeeze(1)], -1))
        p = torch.sigmoid(self.bn(x))
        return torch.sigmoid(self.fc2(p * x + (1 - p) * self.alpha * x)).squeeze(-1)


class DcnV2(nn.Module):
    """Crosses of low rank with experts, beside a deep network."""

    def __init__(self, fields: int = 5, d: int = 4, rank: int = 3, experts: int = 2) -> None:
        super().__init__()
        n = fields * d
        self.emb = nn.ModuleList(nn.Embedding(10, d) for _ in range(fields))
        self.U, self.V, self.C = (
            nn.Parameter(0.3 * torch.randn(2, experts, *s))
            for s in ((n, rank), (n, rank), (rank, rank))
        )
        self.gate, self.bias = (
            nn.ModuleList(nn.Linear(n, 1) for _ in range(experts)),
            nn.Parameter(torch.zeros(2, n)),
        )
        self.deep, self.out = (
            nn.Sequential(nn.Linear(n, 14), nn.ReLU(), nn.Linear(14, 9), nn.ReLU()),
            nn.Linear(n + 9, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x0 = xl = torch.cat([emb(x[:, i]) for i, emb in enumerate(self.emb)], dim=1)
        for layer in range(2):
            outs, gates = [], []
            for e in range(len(self.gate)):
                gates.append(self.gate[e](xl))
                v = torch.tanh(xl @ self.V[layer, e])
                v = torch.tanh(v @ self.C[layer, e].t())
                outs.append(x0 * (v @ self.U[layer, e].t() + self.bias[layer]))
            mixed = torch.matmul(torch.stack(outs, 2), torch.stack(gates, 1).softmax(1))
            xl = mixed.squeeze(2) + xl
        return self.out(torch.cat([xl, self.deep(x0)], 1))


class AutoInt(nn.Module):
    """Self-attention between fields, with a layer around it."""

    def __init__(self, d: int = 6, heads: int = 2) -> None:
        super().__init__()
        self.emb, self.att, self.res = (
            nn.Embedding(50, d),
            nn.MultiheadAttention(8, heads),
            nn.Linear(d, 8),
        )
        self.register_buffer("offsets", torch.arange(5) * 10)
        self.atten, self.fc = nn.Linear(d, 8), nn.Linear(5 * 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        e = self.emb(x + self.offsets.unsqueeze(0))
        cross = self.atten(e).transpose(0, 1)
        cross, _ = self.att(cross, cross, cross)
        return self.fc(
            F.relu(cross.transpose(0, 1) + self.res(e)).contiguous().view(-1, 40)
        ).squeeze(1)


class CompressedInteraction(nn.Module):
    """xDeepFM: products of all pairs of rows, compressed by a convolution, half of them going on."""

    def __init__(self, fields: int = 5, d: int = 4) -> None:
        super().__init__()
        self.emb, self.linear = nn.Embedding(10, d), nn.EmbeddingBag(10, 1, mode="sum")
        self.convs, self.fc = (
            nn.ModuleList([nn.Conv1d(fields * fields, 8, 1), nn.Conv1d(fields * 4, 6, 1)]),
            nn.Linear(10, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x0 = h = self.emb(x)
        xs = []
        for i, conv in enumerate(self.convs):
            z = (x0.unsqueeze(2) * h.unsqueeze(1)).view(x.size(0), -1, x0.size(-1))
            z = F.relu(conv(z))
            if i == 0:
                z, h = torch.split(z, z.shape[1] // 2, dim=1)
            xs.append(z)
        return self.fc(torch.sum(torch.cat(xs, dim=1), 2)) + self.linear(x)


class NeuMf(nn.Module):
    """Matrix factorisation with biases, beside a perceptron of its own embeddings."""

    def __init__(self, d: int = 6) -> None:
        super().__init__()
        self.u_mf, self.i_mf, self.u_mlp, self.i_mlp = (nn.Embedding(20, d) for _ in range(4))
        self.u_bias, self.i_bias, self.mu = (
            nn.Embedding(20, 1),
            nn.Embedding(20, 1),
            nn.Parameter(torch.zeros(1)),
        )
        self.mlp, self.out = (
            nn.Sequential(
                nn.Linear(2 * d, 12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 8), nn.ReLU()
            ),
            nn.Linear(d + 8, 1),
        )

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        mf = torch.mul(self.u_mf(users), self.i_mf(items))
        dot = mf.sum(-1, keepdim=True) + self.u_bias(users) + self.i_bias(items) + self.mu
        h = self.mlp(torch.cat([self.u_mlp(users), self.i_mlp(items)], dim=-1))
        return (self.out(torch.cat([mf, h], dim=-1)) + dot).view(-1)


class Saint(nn.Module):
    """Attention between columns, then between the rows of a batch."""

    def __init__(self, n: int = 6, d: int = 4) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(n, d)), nn.Parameter(torch.randn(n, d))
        self.cols, self.rows = (
            nn.MultiheadAttention(d, 2, batch_first=True),
            nn.MultiheadAttention(n * d, 3, batch_first=True),
        )
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(n * d)
        self.ff, self.head = (
            nn.Sequential(nn.Linear(n * d, 15), nn.GELU(), nn.Linear(15, n * d)),
            nn.Linear(d, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        e = x.unsqueeze(-1) * self.w + self.b
        z = self.norm1(e)
        e = e + self.cols(z, z, z, need_weights=False)[0]
        b, n, d = e.shape
        r = e.reshape(1, b, n * d)
        z = self.norm2(r)
        r = r + self.rows(z, z, z, need_weights=False)[0]
        r = r + self.ff(r)
        return self.head(r.reshape(b, n, d)[:, 0])


class ObliviousTrees(nn.Module):
    """NODE: soft choices of columns, soft bits, and a product of bits for each leaf."""

    def __init__(self, n: int = 6, trees: int = 5, depth: int = 2) -> None:
        super().__init__()
        self.logits, self.depth = nn.Parameter(torch.randn(n, trees, depth)), depth
        self.thresholds, self.log_t = (
            nn.Parameter(torch.randn(trees, depth)),
            nn.Parameter(torch.zeros(trees, depth)),
        )
        self.response, self.first, self.out = (
            nn.Parameter(torch.randn(trees, 3, 2**depth)),
            nn.Linear(6, 6),
            nn.Linear(3, 1),
        )
        codes = torch.stack([torch.arange(2**depth) // 2**i % 2 for i in range(depth)])
        self.register_buffer("bin_codes_1hot", torch.stack([codes, 1.0 - codes], dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        values = torch.einsum("bi,ind->bnd", x, F.softmax(self.logits, dim=0))
        logit = (values - self.thresholds) * torch.exp(-self.log_t)
        bins = torch.clamp(0.5 * torch.stack([-logit, logit], dim=-1) + 0.5, 0, 1)
        match = torch.einsum("btds,dcs->btdc", bins, self.bin_codes_1hot.to(x.dtype))
        return self.out(
            torch.einsum("bnd,ncd->bnc", torch.prod(match, dim=-2), self.response).mean(1)
        )


class PeriodicEmbeddings(nn.Module):
    """Numbers as sines of learned frequencies, a linear layer for each column (PLR), then a residual network."""

    def __init__(self, n: int = 6, k: int = 3, d: int = 4) -> None:
        super().__init__()
        self.freq, self.weight, self.bias = (
            nn.Parameter(torch.randn(n, k)),
            nn.Parameter(torch.randn(n, 2 * k, d)),
            nn.Parameter(torch.randn(n, d)),
        )
        self.first, self.l0, self.l1, self.norm = (
            nn.Linear(n * d, 12),
            nn.Linear(12, 16),
            nn.Linear(16, 12),
            nn.BatchNorm1d(12),
        )
        self.head = nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * math.pi * self.freq * x[..., None]
        x = torch.cat([torch.cos(x), torch.sin(x)], -1)
        x = F.relu((x[..., None, :] @ self.weight).squeeze(-2) + self.bias).flatten(1, -1)
        x = self.first(x)
        x = x + F.dropout(self.l1(F.relu(self.l0(self.norm(x)))), 0.1, self.training)
        return self.head(F.relu(x)).squeeze(-1)


class MaskedLinear(nn.Linear):
    def __init__(self, i: int, o: int, mask: Tensor) -> None:
        super().__init__(i, o)
        self.register_buffer("mask", mask)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.mask.to(self.weight.dtype) * self.weight, self.bias)


class Made(nn.Module):
    """A masked autoencoder: each output sees the inputs before it."""

    def __init__(self, n: int = 6, hidden: int = 12) -> None:
        super().__init__()
        m0, m1 = torch.arange(n), torch.arange(hidden) % (n - 1)
        self.l1 = MaskedLinear(n, hidden, (m1[:, None] >= m0[None, :]).float())
        self.l2 = MaskedLinear(hidden, 2 * n, (m0.repeat(2)[:, None] > m1[None, :]).float())

    def forward(self, x: Tensor) -> Tensor:
        mu, alpha = self.l2(F.relu(self.l1(x))).chunk(2, dim=1)
        u = (x - mu) * torch.exp(-alpha)
        return -0.5 * (u**2).sum(1) - alpha.sum(1)


class PairwiseCox(nn.Module):
    """A survival network: risks of the rows of a batch beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 14, bias=False),
            nn.BatchNorm1d(14),
            nn.SELU(),
            nn.AlphaDropout(0.1),
            nn.Linear(14, 9),
            nn.SELU(),
            nn.Linear(9, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        risk = self.net(x).squeeze(-1)
        later = (x[:, 0].unsqueeze(0) >= x[:, 0].unsqueeze(1)).to(x.dtype)
        return risk - torch.log((later * torch.exp(risk).unsqueeze(0)).sum(1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "deep_interest": lambda: (DeepInterest(), (WORDS, WORDS[:, 0])),
    "dcn_v2": lambda: (DcnV2(), FIELDS),
    "autoint": lambda: (AutoInt(), FIELDS),
    "xdeepfm": lambda: (CompressedInteraction(), FIELDS),
    "neumf": lambda: (NeuMf(), (WORDS[:, 0], WORDS[:, 1])),
    "saint_rows": lambda: (Saint(), ROWS),
    "oblivious_trees": lambda: (ObliviousTrees(), ROWS),
    "periodic_embeddings": lambda: (PeriodicEmbeddings(), ROWS),
    "made": lambda: (Made(), ROWS),
    "pairwise_cox": lambda: (PairwiseCox(), ROWS),
}

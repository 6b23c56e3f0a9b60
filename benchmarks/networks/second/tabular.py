"""Networks of the zoo over rows, graphs, sets and states: recommenders, flows, experts, hypernetworks."""

# ruff: noqa: N803, N806 - names as in the papers
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(20)
ROWS = torch.randn(6, 8, generator=_G)
SETS = torch.randn(4, 5, 6, generator=_G)
IDS = torch.randint(0, 10, (6, 3), generator=_G)
ADJACENCY = (torch.rand(5, 5, generator=_G) > 0.4).float()
LONG = torch.randn(4, 12, 6, generator=_G)


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6)
        )
        self.out = nn.Linear(6, 1)

    def forward_once(self, x: Tensor) -> Tensor:
        return F.normalize(self.tower(x), p=2, dim=1)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return torch.sigmoid(
            self.out(torch.abs(self.forward_once(input1) - self.forward_once(input2)))
        )


class MultiTask(nn.Module):
    """A shared trunk with two towers (MMoE): experts stacked, gates by softmax, outputs in a dict."""

    def __init__(self, experts: int = 3, tasks: tuple[str, ...] = ("click", "buy")) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            [nn.Sequential(nn.Linear(8, 10), nn.ReLU()) for _ in range(experts)]
        )
        self.gates = nn.ModuleDict({t: nn.Linear(8, experts, bias=False) for t in tasks})
        self.towers = nn.ModuleDict(
            {
                t: nn.Sequential(nn.Linear(10, 6), nn.Dropout(), nn.ReLU(), nn.Linear(6, 1))
                for t in tasks
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        experts = torch.stack([e(x) for e in self.experts])
        out = {}
        for name, tower in self.towers.items():
            g = F.softmax(self.gates[name](x), dim=1)
            mixed = torch.sum(g.t().unsqueeze(2).expand(-1, -1, 10) * experts, dim=0)
            out[name] = tower(mixed)
        return out


class RealNvp(nn.Module):
    """Affine couplings with masks; gives the image and the log determinant."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([[0.0, 1] * 4, [1.0, 0] * 4]))
        self.s = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(8, 12), nn.LeakyReLU(), nn.Linear(12, 8), nn.Tanh())
                for _ in range(2)
            ]
        )
        self.t = nn.ModuleList(
            [nn.Sequential(nn.Linear(8, 12), nn.LeakyReLU(), nn.Linear(12, 8)) for _ in range(2)]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det, z = x.new_zeros(x.shape[0]), x
        for i in reversed(range(len(self.t))):
            z_ = self.mask[i] * z
            s, t = self.s[i](z_) * (1 - self.mask[i]), self.t[i](z_) * (1 - self.mask[i])
            z = (1 - self.mask[i]) * (z - t) * torch.exp(-s) + z_
            log_det -= s.sum(dim=1)
        return z, log_det


class EulerOde(nn.Module):
    def __init__(self, steps: int = 4) -> None:
        super().__init__()
        self.steps, self.lift, self.head = steps, nn.Linear(8, 6), nn.Linear(6, 2)
        self.f = nn.Sequential(nn.Linear(7, 12), nn.Tanh(), nn.Linear(12, 6))

    def forward(self, x: Tensor) -> Tensor:
        h, dt = self.lift(x), 1.0 / self.steps
        for k in range(self.steps):
            t = torch.ones_like(h[:, :1]) * (k * dt)
            h = h + dt * self.f(torch.cat([t, h], 1))
        return self.head(h)


class SetTransformer(nn.Module):
    """MAB with heads split by width and joined along the batch, pooled by seeds."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.inp, self.seed = nn.Linear(6, dim), nn.Parameter(torch.randn(1, 2, dim))
        self.fc_q, self.fc_k, self.fc_v, self.fc_o = (nn.Linear(dim, dim) for _ in range(4))
        self.dec = nn.Linear(dim * 2, 3)

    def forward(self, X: Tensor) -> Tensor:
        K = self.inp(X)
        Q = self.fc_q(self.seed.repeat(X.size(0), 1, 1))
        K, V = self.fc_k(K), self.fc_v(K)
        w = self.dim // self.heads
        Q_, K_, V_ = (torch.cat(t.split(w, 2), 0) for t in (Q, K, V))
        A = torch.softmax(Q_.bmm(K_.transpose(1, 2)) / math.sqrt(self.dim), 2)
        out = torch.cat((Q_ + A.bmm(V_)).split(Q.size(0), 0), 2)
        out = out + F.relu(self.fc_o(out))
        return self.dec(out.flatten(1))


class Gat(nn.Module):
    """Graph attention with a dense adjacency, as in the papers' code (pyGAT) after a GCN layer."""

    def __init__(self, nfeat: int = 6, nhid: int = 5, nheads: int = 2) -> None:
        super().__init__()
        self.register_buffer("adj", ADJACENCY.clone())
        self.gc_weight, self.gc_bias = (
            nn.Parameter(torch.randn(nfeat, nhid)),
            nn.Parameter(torch.zeros(nhid)),
        )
        self.W = nn.ParameterList([nn.Parameter(torch.randn(nhid, 4)) for _ in range(nheads)])
        self.a = nn.ParameterList([nn.Parameter(torch.randn(8, 1)) for _ in range(nheads)])
        self.out = nn.Linear(4 * nheads, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = F.elu(torch.matmul(self.adj, torch.matmul(x, self.gc_weight)) + self.gc_bias)
        heads = []
        for W, a in zip(self.W, self.a, strict=True):
            Wh = torch.matmul(h, W)
            e = F.leaky_relu(torch.matmul(Wh, a[:4]) + torch.matmul(Wh, a[4:]).transpose(1, 2), 0.2)
            attention = F.softmax(torch.where(self.adj > 0, e, -9e15 * torch.ones_like(e)), dim=2)
            heads.append(F.elu(torch.matmul(attention, Wh)))
        return F.log_softmax(self.out(torch.cat(heads, dim=2)), dim=2)


class TabNet(nn.Module):
    """Two decision steps: a prior over features, GLU halves by numbers, sums of decisions."""

    def __init__(self, n_d: int = 4, n_a: int = 3) -> None:
        super().__init__()
        self.n_d, self.bn = n_d, nn.BatchNorm1d(8)
        self.first = nn.Linear(8, 2 * (n_d + n_a))
        self.steps = nn.ModuleList([nn.Linear(8, 2 * (n_d + n_a)) for _ in range(2)])
        self.att = nn.ModuleList([nn.Linear(n_a, 8) for _ in range(2)])
        self.final = nn.Linear(n_d, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(x)
        prior = torch.ones_like(x)
        h = self.first(x)
        h = h[:, : h.shape[1] // 2] * torch.sigmoid(h[:, h.shape[1] // 2 :])
        att, total = h[:, self.n_d :], 0
        for step, fc in zip(self.steps, self.att, strict=True):
            m = F.softmax(fc(att) * prior, dim=-1)
            prior = torch.mul(1.3 - m, prior)
            out = F.glu(step(m * x))
            total = total + F.relu(out[:, : self.n_d])
            att = out[:, self.n_d :]
        return self.final(total)


class FtTransformer(nn.Module):
    def __init__(self, n: int = 8, d: int = 8) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(n, d)), nn.Parameter(torch.randn(n, d))
        self.cls = nn.Parameter(torch.randn(d))
        layer = nn.TransformerEncoderLayer(
            d, 2, 16, 0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(d), nn.ReLU(), nn.Linear(d, 2))

    def forward(self, x_num: Tensor) -> Tensor:
        x = self.weight[None] * x_num[..., None] + self.bias[None]
        x = torch.cat([self.cls.view(1, 1, -1).expand(len(x), -1, -1), x], dim=1)
        return self.head(self.encoder(x)[:, 0])


class DeepFm(nn.Module):
    """First order, factorisation machine, a deep part and DCN's cross layers on one embedding with offsets."""

    def __init__(self, dims: tuple[int, ...] = (4, 3, 3), k: int = 4) -> None:
        super().__init__()
        self.register_buffer(
            "offsets", torch.tensor([0, *torch.tensor(dims).cumsum(0)[:-1].tolist()])
        )
        self.embedding, self.linear = nn.Embedding(sum(dims), k), nn.Embedding(sum(dims), 1)
        self.bias, width = nn.Parameter(torch.zeros((1,))), len(dims) * k
        self.mlp = nn.Sequential(
            nn.Linear(width, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Dropout(0.2), nn.Linear(10, 1)
        )
        self.w = nn.ModuleList([nn.Linear(width, 1, bias=False) for _ in range(2)])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros((width,))) for _ in range(2)])
        self.cross = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x % torch.tensor([4, 3, 3]) + self.offsets.unsqueeze(0)
        e = self.embedding(x)
        fm = 0.5 * (torch.sum(e, dim=1) ** 2 - torch.sum(e**2, dim=1)).sum(dim=1, keepdim=True)
        flat = e.view(-1, e.size(1) * e.size(2))
        xl = flat
        for w, b in zip(self.w, self.b, strict=True):
            xl = flat * w(xl) + b + xl
        y = torch.sum(self.linear(x), dim=1) + self.bias + fm + self.mlp(flat) + self.cross(xl)
        return torch.sigmoid(y.squeeze(1))


class TwoTower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(10, 6), nn.EmbeddingBag(10, 8, mode="mean")
        self.user_fc = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 5))
        self.item_fc = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 5))
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def forward(self, **batch: Tensor) -> Tensor:
        u = F.normalize(self.user_fc(self.user(batch["user"][:, 0])), dim=-1)
        v = F.normalize(self.item_fc(self.item(batch["items"])), dim=-1)
        return (u * v).sum(-1) / self.temperature.exp()


class SparseMoe(nn.Module):
    """Top-2 experts: kept as weights [E, in, out], all computed, weighted by a scattered gate."""

    def __init__(self, e: int = 4, d: int = 8, f: int = 10) -> None:
        super().__init__()
        self.e, self.gate = e, nn.Linear(d, e, bias=False)
        self.w1, self.w2 = (
            nn.Parameter(torch.randn(e, d, f) * 0.2),
            nn.Parameter(torch.randn(e, f, d) * 0.2),
        )
        self.head = nn.Linear(d, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.gate(x)
        top, idx = scores.topk(2, dim=-1)
        weights = torch.zeros_like(scores).scatter(-1, idx, top.softmax(-1))
        h = F.gelu(torch.einsum("bd,edf->ebf", x, self.w1))
        out = torch.einsum("ebf,efd->ebd", h, self.w2)
        return self.head(x + torch.einsum("be,ebd->bd", weights, out))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "siamese_abs": lambda: (Siamese(), (ROWS, ROWS.flip(0))),
    "mmoe_towers": lambda: (MultiTask(), ROWS),
    "realnvp_masks": lambda: (RealNvp(), ROWS),
    "euler_ode": lambda: (EulerOde(), ROWS),
    "set_transformer": lambda: (SetTransformer(), SETS),
    "gcn_gat_dense": lambda: (Gat(), SETS),
    "tabnet_two_steps": lambda: (TabNet(), ROWS),
    "ft_transformer": lambda: (FtTransformer(), ROWS),
    "deepfm_cross": lambda: (DeepFm(), IDS),
    "two_tower_bag": lambda: (TwoTower(), {"user": IDS, "items": IDS}),
    "moe_scatter_gate": lambda: (SparseMoe(), ROWS),
}

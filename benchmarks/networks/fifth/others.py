"""Networks of the zoo over graphs, fields, spikes and codes, fifth sample."""

# ruff: noqa: N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from benchmarks.networks.fifth.rows import DST, NODES, POINTS, ROWS, SRC


class GinConv(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(
            nn.Linear(i, 2 * o), nn.BatchNorm1d(2 * o), nn.ReLU(), nn.Linear(2 * o, o)
        )

    def forward(self, x: Tensor, src: Tensor, dst: Tensor) -> Tensor:
        agg = torch.zeros_like(x)
        agg.index_add_(0, dst, x[src])
        return self.mlp((1 + self.eps) * x + agg)


class Gin(nn.Module):
    """Messages along a list of edges added up by index, states of all layers read together."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.fc = GinConv(5, 8), GinConv(8, 8), nn.Linear(16, 3)
        self.register_buffer("src", SRC)
        self.register_buffer("dst", DST)

    def forward(self, x: Tensor) -> Tensor:
        b, n, f = x.shape
        shift = (torch.arange(b) * n).view(-1, 1)
        src, dst = (self.src + shift).view(-1), (self.dst + shift).view(-1)
        h1 = F.relu(self.conv1(x.reshape(-1, f), src, dst))
        h2 = F.relu(self.conv2(h1, src, dst))
        return self.fc(torch.cat([h1, h2], 1).view(b, n, -1).sum(1))


def knn(x: Tensor, k: int) -> Tensor:
    inner = -2 * torch.matmul(x.transpose(2, 1), x)
    xx = torch.sum(x**2, dim=1, keepdim=True)
    return (-xx - inner - xx.transpose(2, 1)).topk(k=k, dim=-1)[1]


class Dgcnn(nn.Module):
    """EdgeConv: neighbours found anew among features, differences beside the point itself, the greatest kept."""

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.k = k
        self.conv1 = nn.Sequential(
            nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2)
        )
        self.conv2 = nn.Sequential(
            nn.Conv2d(16, 10, 1, bias=False), nn.BatchNorm2d(10), nn.LeakyReLU(0.2)
        )
        self.conv3, self.linear = (
            nn.Sequential(nn.Conv1d(18, 14, 1, bias=False), nn.BatchNorm1d(14), nn.LeakyReLU(0.2)),
            nn.Linear(28, 4),
        )

    def graph_feature(self, x: Tensor) -> Tensor:
        batch_size, num_points = x.size(0), x.size(2)
        x = x.view(batch_size, -1, num_points)
        idx = knn(x, self.k)
        idx_base = torch.arange(0, batch_size, device=x.device).view(-1, 1, 1) * num_points
        idx = (idx + idx_base).view(-1)
        num_dims = x.size(1)
        x = x.transpose(2, 1).contiguous()
        feature = x.view(batch_size * num_points, -1)[idx, :].view(
            batch_size, num_points, self.k, num_dims
        )
        x = x.view(batch_size, num_points, 1, num_dims).repeat(1, 1, self.k, 1)
        return torch.cat((feature - x, x), dim=3).permute(0, 3, 1, 2).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        batch_size = x.size(0)
        x1 = self.conv1(self.graph_feature(x)).max(dim=-1, keepdim=False)[0]
        x2 = self.conv2(self.graph_feature(x1)).max(dim=-1, keepdim=False)[0]
        x = self.conv3(torch.cat((x1, x2), dim=1))
        p1 = F.adaptive_max_pool1d(x, 1).view(batch_size, -1)
        p2 = F.adaptive_avg_pool1d(x, 1).view(batch_size, -1)
        return self.linear(torch.cat((p1, p2), 1))


class Mpnn(nn.Module):
    """Messages through a matrix that a network makes of each edge; a GRU keeps the states."""

    def __init__(self, d: int = 6) -> None:
        super().__init__()
        self.d, self.lin0, self.edge_nn, self.gru = (
            d,
            nn.Linear(5, d),
            nn.Sequential(nn.Linear(1, 9), nn.ReLU(), nn.Linear(9, d * d)),
            nn.GRU(d, d),
        )
        self.out = nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        dist = torch.cdist(x, x).unsqueeze(-1)
        out = F.relu(self.lin0(x))
        h = out.reshape(1, b * n, self.d)
        w = self.edge_nn(dist).view(b, n, n, self.d, self.d)
        for _ in range(2):
            m = F.relu(torch.einsum("bjd,bijde->bie", out, w) / n)
            o, h = self.gru(m.reshape(1, b * n, self.d), h)
            out = o.squeeze(0).view(b, n, self.d)
        return self.out(out.sum(1)).view(-1)


class RelationalGcn(nn.Module):
    """Weights of relations from few bases, as in the paper."""

    def __init__(self, i: int = 5, o: int = 8, rel: int = 3, bases: int = 2) -> None:
        super().__init__()
        self.weight, self.comp, self.root = (
            nn.Parameter(torch.randn(bases, i, o)),
            nn.Parameter(torch.randn(rel, bases)),
            nn.Linear(i, o),
        )
        self.register_buffer(
            "adj", (torch.rand(rel, 6, 6, generator=torch.Generator().manual_seed(6)) > 0.6).float()
        )
        self.fc = nn.Linear(o, 3)

    def forward(self, x: Tensor) -> Tensor:
        w = torch.einsum("rb,bio->rio", self.comp, self.weight)
        out = self.root(x)
        for r in range(self.adj.size(0)):
            out += self.adj[r] @ x @ w[r]
        return self.fc(F.relu(out))


class SplineFlow(nn.Module):
    """A coupling layer of a rational-quadratic spline: bins by softmax and running sums, found by comparing."""

    def __init__(self, bins: int = 4, hidden: int = 12) -> None:
        super().__init__()
        self.bins = bins
        self.net = nn.Sequential(
            nn.Linear(3, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, 3 * (3 * bins + 1)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x1, x2 = x[:, :3], x[:, 3:]
        W, H, D = torch.split(
            self.net(x1).reshape(-1, 3, 3 * self.bins + 1),
            [self.bins, self.bins, self.bins + 1],
            dim=2,
        )
        W, H, D = 6 * torch.softmax(W, dim=2), 6 * torch.softmax(H, dim=2), 1e-2 + F.softplus(D)
        cw, ch = F.pad(torch.cumsum(W, -1), (1, 0)) - 3, F.pad(torch.cumsum(H, -1), (1, 0)) - 3
        z = x2.clamp(-2.999, 2.999)
        idx = (torch.sum(z[..., None] >= cw, dim=-1) - 1)[..., None]
        at = lambda t: t.gather(-1, idx)[..., 0]  # noqa: E731
        xk, yk, wk, hk, d0, d1 = at(cw), at(ch), at(W), at(H), at(D), at(D[..., 1:])
        theta, s = (z - xk) / wk, at(H / W)
        tt = theta * (1 - theta)
        den = s + (d0 + d1 - 2 * s) * tt
        out = yk + hk * (s * theta.pow(2) + d0 * tt) / den
        logdet = (
            2 * torch.log(s)
            + torch.log(d1 * theta.pow(2) + 2 * s * tt + d0 * (1 - theta).pow(2))
            - 2 * torch.log(den)
        ).sum(-1)
        return torch.cat([x1, torch.where(z == x2, out, x2)], 1), logdet


class Sine(nn.Module):
    def __init__(self, w0: float = 30.0) -> None:
        super().__init__()
        self.w0 = w0

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.w0 * x)


class SirenModulated(nn.Module):
    """SIREN on a grid of its own, shifted by codes at each layer."""

    def __init__(self, h: int = 12) -> None:
        super().__init__()
        self.l0, self.l1, self.last = nn.Linear(2, h), nn.Linear(h, h), nn.Linear(h, 3)
        self.m0, self.m1, self.a0, self.a1 = nn.Linear(6, h), nn.Linear(h + 6, h), Sine(), Sine(1.0)
        with torch.no_grad():
            self.l0.weight.uniform_(-1 / 2, 1 / 2)
            self.l1.weight.uniform_(-math.sqrt(6 / h) / 30, math.sqrt(6 / h) / 30)
        mgrid = torch.stack(
            torch.meshgrid(torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 5), indexing="ij"),
            dim=-1,
        )
        self.register_buffer("grid", mgrid.view(-1, 2))

    def forward(self, z: Tensor) -> Tensor:
        h0 = F.relu(self.m0(z))
        h1 = F.relu(self.m1(torch.cat((h0, z), dim=1)))
        coords = self.grid.clone().detach().requires_grad_()
        x = self.a0(self.l0(coords)) * h0.unsqueeze(1)
        x = self.a1(self.l1(x)) * h1.unsqueeze(1)
        return self.last(x).view(z.size(0), 5, 5, 3).permute(0, 3, 1, 2)


class ConvE(nn.Module):
    """Links of a knowledge graph: two embeddings reshaped to a picture, convolved, compared with all entities."""

    def __init__(self, entities: int = 10, d: int = 12) -> None:
        super().__init__()
        self.emb_e, self.emb_rel = nn.Embedding(entities, d), nn.Embedding(4, d)
        self.bn0, self.conv1, self.bn1, self.bn2 = (
            nn.BatchNorm2d(1),
            nn.Conv2d(1, 8, 3),
            nn.BatchNorm2d(8),
            nn.BatchNorm1d(d),
        )
        self.inp_drop, self.feature_map_drop = nn.Dropout(0.2), nn.Dropout2d(0.2)
        self.register_parameter("b", nn.Parameter(torch.zeros(entities)))
        self.fc = nn.Linear(8 * 6 * 2, d)

    def forward(self, e1: Tensor, rel: Tensor) -> Tensor:
        stacked = torch.cat(
            [self.emb_e(e1).view(-1, 1, 4, 3), self.emb_rel(rel).view(-1, 1, 4, 3)], 2
        )
        stacked = F.pad(stacked, (0, 1))
        x = self.feature_map_drop(F.relu(self.bn1(self.conv1(self.inp_drop(self.bn0(stacked))))))
        x = F.relu(self.bn2(self.fc(x.view(x.shape[0], -1))))
        x = torch.mm(x, self.emb_e.weight.transpose(1, 0))
        x += self.b.expand_as(x)
        return torch.sigmoid(x)


class TriangleUpdate(nn.Module):
    """Pairs updated by the two other sides of all triangles, between gates, as in AlphaFold."""

    def __init__(self, c: int = 7, hidden: int = 9) -> None:
        super().__init__()
        self.left, self.right, self.bins = nn.Linear(5, c), nn.Linear(5, c), nn.Linear(c, 4)
        self.norm, self.center = nn.LayerNorm(c), nn.LayerNorm(hidden)
        self.a, self.b, self.ag, self.bg = (nn.Linear(c, hidden) for _ in range(4))
        self.g, self.z = nn.Linear(c, c), nn.Linear(hidden, c)

    def forward(self, s: Tensor) -> Tensor:
        pair = self.left(s)[:, :, None] + self.right(s)[:, None]
        x = self.norm(pair)
        a, b = self.a(x) * torch.sigmoid(self.ag(x)), self.b(x) * torch.sigmoid(self.bg(x))
        o = torch.einsum("bikc,bjkc->bijc", a, b)
        pair = pair + torch.sigmoid(self.g(x)) * self.z(self.center(o))
        logits = self.bins(pair)
        return 0.5 * (logits + logits.transpose(1, 2))


class Equilibrium(nn.Module):
    """A fixed point found without gradients, and one step more with them."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.inp, self.w1, self.w2, self.n, self.fc = (
            nn.Linear(6, d),
            nn.Linear(d, 14),
            nn.Linear(14, d),
            nn.LayerNorm(d),
            nn.Linear(d, 3),
        )

    def f(self, z: Tensor, x: Tensor) -> Tensor:
        return self.n(torch.tanh(x + 0.3 * self.w2(F.relu(self.w1(z)))))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        with torch.no_grad():
            z = torch.zeros_like(x)
            for _ in range(6):
                z = self.f(z, x)
        return self.fc(self.f(z, x))


class FastSigmoid(Function):
    @staticmethod
    def forward(ctx: Any, mem: Tensor) -> Tensor:
        ctx.save_for_backward(mem)
        return (mem > 0).to(mem.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (mem,) = ctx.saved_tensors
        return grad / (10.0 * torch.abs(mem) + 1.0) ** 2


class Spiking(nn.Module):
    """Leaky neurons over steps of time; spikes have a gradient of their own."""

    def __init__(self, h: int = 12) -> None:
        super().__init__()
        self.fc1, self.fc2, self.h = nn.Linear(6, h), nn.Linear(h, 3), h
        self.beta = nn.Parameter(torch.tensor(0.9))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = (
            torch.zeros(x.size(0), self.h, dtype=x.dtype),
            torch.zeros(x.size(0), 3, dtype=x.dtype),
        )
        spikes, mems = [], []
        for _ in range(4):
            reset = (mem1 - 1.0 > 0).to(x.dtype).detach()
            mem1 = self.beta.clamp(0, 1) * mem1 + self.fc1(x) - reset
            spk1 = FastSigmoid.apply(mem1 - 1.0)
            mem2 = self.beta.clamp(0, 1) * mem2 + self.fc2(spk1)
            spikes.append(FastSigmoid.apply(mem2 - 1.0))
            mems.append(mem2)
        return torch.stack(spikes), torch.stack(mems)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "gin_index_add": lambda: (Gin(), NODES),
    "dgcnn_edges": lambda: (Dgcnn(), POINTS),
    "mpnn_edge_matrices": lambda: (Mpnn(), NODES),
    "relational_bases": lambda: (RelationalGcn(), NODES),
    "spline_flow": lambda: (SplineFlow(), ROWS),
    "siren_modulated": lambda: (SirenModulated(), ROWS),
    "conv_e": lambda: (ConvE(), (torch.tensor([1, 5, 9]), torch.tensor([0, 3, 2]))),
    "triangle_update": lambda: (TriangleUpdate(), NODES),
    "deep_equilibrium": lambda: (Equilibrium(), ROWS),
    "spiking_leaky": lambda: (Spiking(), ROWS),
}

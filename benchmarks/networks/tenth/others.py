"""Networks of the zoo over fields, graphs, points and ensembles, tenth sample: vmap, edges, complex layers, draws."""

# ruff: noqa: N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential

from benchmarks.networks.tenth.inputs import GRAPH, INPUTS, SPATIAL


class GatedField(nn.Module):
    """A solution of an equation: Fourier features with two gates that mix every layer, and hard boundary values."""

    def __init__(self, i: int = 3, m: int = 8, h: int = 16, layers: int = 3) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(2)
        self.register_buffer("B", torch.randn(i, m, generator=g))
        self.U, self.V, self.first = (nn.Linear(2 * m, h) for _ in range(3))
        self.hidden = nn.ModuleList([nn.Linear(h, h) for _ in range(layers - 1)])
        self.a = nn.Parameter(torch.tensor([0.1] * layers))
        self.last = nn.Linear(h, 1, bias=False)
        self.scale, self.shift = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        proj = 2 * math.pi * torch.matmul(x, self.B)
        feats = torch.column_stack([torch.cos(proj), torch.sin(proj)])
        u, v = torch.tanh(self.U(feats)), torch.tanh(self.V(feats))
        h = torch.tanh(10 * self.a[0] * self.first(feats))
        h = (1 - h) * u + h * v
        for i, layer in enumerate(self.hidden, 1):
            z = torch.tanh(10 * self.a[i] * layer(h))
            h = torch.mul(1 - z, u) + torch.mul(z, v)
        inside = torch.prod(x * (1 - x), dim=1, keepdim=True)
        return self.scale * self.last(h) * inside + self.shift


class FilterNetwork(nn.Module):
    """Products of Gabor filters of the place with linear maps of what came before; an outcome at each depth."""

    class Gabor(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.linear = nn.Linear(i, o)
            self.mu = nn.Parameter(2 * torch.rand(o, i) - 1)
            self.gamma = nn.Parameter(torch.distributions.Gamma(6.0, 1.0).sample((o,)))
            self.linear.weight.data *= 4 * torch.sqrt(self.gamma[:, None]).detach()

        def forward(self, x: Tensor) -> Tensor:
            D = (x**2).sum(-1)[..., None] + (self.mu**2).sum(-1)[None, :] - 2 * x @ self.mu.T
            return torch.sin(self.linear(x)) * torch.exp(-0.5 * D * self.gamma[None, :] / 6)

    def __init__(self, i: int = 3, h: int = 14, layers: int = 3) -> None:
        super().__init__()
        self.filters = nn.ModuleList([self.Gabor(i, h) for _ in range(layers + 1)])
        self.linear = nn.ModuleList([nn.Linear(h, h) for _ in range(layers)])
        self.outs = nn.ModuleList([nn.Linear(h, 2) for _ in range(layers + 1)])

    def forward(self, x: Tensor) -> list[Tensor]:
        out = self.filters[0](x)
        outputs = [self.outs[0](out)]
        for i in range(1, len(self.filters)):
            out = self.filters[i](x) * self.linear[i - 1](out)
            outputs.append(outputs[-1] + self.outs[i](out))
        return outputs


class SignedDistance(nn.Module):
    """A shape's distance with the place joined again in the middle; layers found by name, weights normed by hand."""

    def __init__(
        self, dims: tuple[int, ...] = (16, 16, 16, 16), skip: tuple[int, ...] = (2,)
    ) -> None:
        super().__init__()
        sizes = [3, *dims, 1]
        self.num_layers, self.skip_in = len(sizes), skip
        for layer in range(self.num_layers - 1):
            out = sizes[layer + 1] - 3 if layer + 1 in skip else sizes[layer + 1]
            lin = nn.Linear(sizes[layer], out)
            if layer == self.num_layers - 2:
                nn.init.normal_(lin.weight, mean=math.sqrt(math.pi) / math.sqrt(16), std=1e-4)
                nn.init.constant_(lin.bias, -0.5)
            setattr(self, "lin" + str(layer), nn.utils.parametrizations.weight_norm(lin))
        self.activation = nn.Softplus(beta=100)

    def forward(self, points: Tensor) -> Tensor:
        x = points
        for layer in range(self.num_layers - 1):
            lin = getattr(self, "lin" + str(layer))
            if layer in self.skip_in:
                x = torch.cat([x, points], 1) / math.sqrt(2)
            x = lin(x)
            if layer < self.num_layers - 2:
                x = self.activation(x)
        return x


class EdgeAttention(nn.Module):
    """Attention over a list of edges: sums and maxima for each node by scattering; the mesh is known."""

    def __init__(self, i: int = 5, o: int = 4, heads: int = 3, nodes: int = 6) -> None:
        super().__init__()
        self.heads, self.o = heads, o
        src = [*range(nodes), *range(nodes), 0, 2]
        dst = [*range(nodes), *[(k + 1) % nodes for k in range(nodes)], 3, 5]
        self.register_buffer("edge_index", torch.tensor([src, dst]))
        self.lin = nn.Linear(i, heads * o, bias=False)
        self.att_src = nn.Parameter(torch.randn(1, heads, o) * 0.3)
        self.att_dst = nn.Parameter(torch.randn(1, heads, o) * 0.3)
        self.bias = nn.Parameter(torch.zeros(heads * o))
        self.lin2, self.virtual = nn.Linear(heads * o, 12), nn.Linear(12, 12)
        self.out = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        B, N, _ = x.shape
        src, dst = self.edge_index
        h = self.lin(x).view(B, N, self.heads, self.o)
        alpha = (h * self.att_src).sum(-1)[:, src] + (h * self.att_dst).sum(-1)[:, dst]
        alpha = F.leaky_relu(alpha, 0.2)
        at = dst.view(1, -1, 1).expand_as(alpha)
        top = torch.full((B, N, self.heads), float("-inf")).to(x)
        top = top.scatter_reduce(1, at, alpha, reduce="amax", include_self=True)
        alpha = (alpha - top[:, dst]).exp()
        total = torch.zeros(B, N, self.heads).to(x).scatter_add_(1, at, alpha)
        alpha = alpha / (total[:, dst] + 1e-16)
        messages = h[:, src] * alpha.unsqueeze(-1)
        out = torch.zeros_like(h).index_add_(1, dst, messages)
        out = F.elu(out.reshape(B, N, -1) + self.bias)
        out = F.relu(self.lin2(out))
        out = out + self.virtual(out.sum(1, keepdim=True))
        return self.out(out)


class Relations(nn.Module):
    """Layers for each kind of edge, by a name of three parts; results for a kind of node are added, and kinds attend."""

    RELATIONS = (("user", "buys", "item"), ("item", "rev_buys", "user"), ("user", "knows", "user"))

    def __init__(self, i: int = 5, h: int = 12) -> None:
        super().__init__()
        self.inputs = nn.ModuleDict({t: nn.Linear(i, h) for t in ("user", "item")})
        self.convs = nn.ModuleDict(
            {"__".join(r): nn.Linear(h, h, bias=False) for r in self.RELATIONS}
        )
        self.own = nn.ModuleDict({t: nn.Linear(h, h) for t in ("user", "item")})
        self.prior = nn.ParameterDict(
            {"__".join(r): nn.Parameter(torch.ones(1)) for r in self.RELATIONS}
        )
        self.outs = nn.ModuleDict({"user": nn.Linear(h, 2), "item": nn.Linear(h, 3)})

    def forward(self, x: Tensor, adj: Tensor) -> dict[str, Tensor]:
        h = {"user": self.inputs["user"](x[:, :3]), "item": self.inputs["item"](x[:, 3:])}
        span = {"user": slice(0, 3), "item": slice(3, 6)}
        for _ in range(2):
            new = {t: self.own[t](v) for t, v in h.items()}
            for rel in self.RELATIONS:
                src, _, dst = rel
                name = "__".join(rel)
                a = adj[:, span[dst], span[src]]
                a = a / a.sum(-1, keepdim=True).clamp(min=1.0)
                new[dst] = new[dst] + self.prior[name] * (a @ self.convs[name](h[src]))
            h = {t: F.dropout(F.relu(v), 0.1, self.training) for t, v in new.items()}
        return {t: self.outs[t](v) for t, v in h.items()}


class GraphInfo(nn.Module):
    """Codes of nodes, a summary of all, and a bilinear judge between them; the initial features stay in every layer."""

    def __init__(self, i: int = 5, h: int = 12, layers: int = 3) -> None:
        super().__init__()
        self.fc0 = nn.Linear(i, h)
        self.weights = nn.ParameterList([nn.Parameter(torch.eye(h) + 0.1 * torch.randn(h, h))] * 1)
        self.weights.extend(nn.Parameter(0.3 * torch.randn(h, h)) for _ in range(layers - 1))
        self.judge = nn.Bilinear(h, h, 1)
        self.prelu = nn.PReLU(h)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        adj = adj + torch.eye(adj.size(-1)).to(adj)
        norm = adj.sum(-1).rsqrt()
        adj = norm[:, :, None] * adj * norm[:, None, :]
        h = h0 = F.relu(self.fc0(x))
        for i, w in enumerate(self.weights):
            theta = math.log(0.5 / (i + 1) + 1)
            support = 0.9 * torch.bmm(adj, h) + 0.1 * h0
            h = F.relu(theta * torch.matmul(support, w) + (1 - theta) * support)
        h = self.prelu(h.transpose(1, 2)).transpose(1, 2)
        c = torch.sigmoid(h.mean(1, keepdim=True)).expand_as(h).contiguous()
        shuffled = h.flip(1)
        return torch.cat((self.judge(h, c), self.judge(shuffled, c)), 1).squeeze(-1)


class ComplexLayers(nn.Module):
    """Real and imaginary parts through pairs of layers, with an activation of the modulus; a complex matrix at the end."""

    class Linear(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.fc_r, self.fc_i = nn.Linear(i, o), nn.Linear(i, o)

        def forward(self, z: Tensor) -> Tensor:
            re = self.fc_r(z.real) - self.fc_i(z.imag)
            im = self.fc_r(z.imag) + self.fc_i(z.real)
            return torch.complex(re, im)

    def __init__(self, n: int = 13, h: int = 12) -> None:
        super().__init__()
        self.l1, self.l2 = self.Linear(n, h), self.Linear(h, 10)
        self.b = nn.Parameter(torch.full((h,), -0.1))
        self.u_r, self.u_i = (
            nn.Parameter(torch.randn(10, 6) / 3),
            nn.Parameter(torch.randn(10, 6) / 3),
        )
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.fft.rfft(x.mean(-1), dim=1)
        z = self.l1(z)
        r = z.abs()
        z = F.relu(r + self.b) * z / (r + 1e-5)
        z = torch.polar(torch.tanh(self.l2(z).abs()), self.l2(z).angle())
        return self.fc(torch.view_as_real(z @ torch.complex(self.u_r, self.u_i)).norm(dim=-1))


class MappedCells(nn.Module):
    """One network for each field, mapped over fields and over their stacked weights."""

    def __init__(self, fields: int = 6, h: int = 8) -> None:
        super().__init__()
        self.w1, self.b1 = (
            nn.Parameter(torch.randn(fields, h)),
            nn.Parameter(torch.zeros(fields, h)),
        )
        self.w2 = nn.Parameter(torch.randn(fields, h, 4) / 3)
        self.shared = nn.Sequential(nn.Linear(4, 10), nn.Tanh(), nn.Linear(10, 2))

    def one(self, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor) -> Tensor:
        return F.relu(x.unsqueeze(-1) * w1 + b1) @ w2

    def forward(self, x: Tensor) -> Tensor:
        e = torch.func.vmap(self.one, in_dims=(1, 0, 0, 0), out_dims=1)(
            x, self.w1, self.b1, self.w2
        )
        return torch.vmap(self.shared, in_dims=1, out_dims=1)(e).sum(1)


class ManyInputsOutputs(nn.Module):
    """One network with several members inside: the input is repeated by channels, a head tells a class for each."""

    def __init__(self, members: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.members, self.classes = members, classes
        self.body = nn.Sequential(
            nn.Sequential(nn.Conv2d(3 * members, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()),
            nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6()),
            nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 20, 1), nn.ReLU()),
        )
        self.head = nn.Linear(20, members * classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat(1, self.members, 1, 1)
        x = checkpoint_sequential(self.body, 2, x, use_reentrant=False)
        x = F.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], x.shape[1])
        out = self.head(x).view(-1, self.members, self.classes)
        return out.softmax(-1).mean(1) if not self.training else out.mean(1)


class PointSurfaces(nn.Module):
    """Groups of near points by farthest sampling, relative places, and attention that tells nothing of their order."""

    def __init__(self, n: int = 6, k: int = 4, h: int = 12) -> None:
        super().__init__()
        self.n, self.k = n, k
        self.lift = nn.Sequential(nn.Conv2d(6, h, 1, bias=False), nn.BatchNorm2d(h), nn.ReLU())
        self.alpha, self.beta = (
            nn.Parameter(torch.ones(1, 1, 1, 3)),
            nn.Parameter(torch.zeros(1, 1, 1, 3)),
        )
        self.q, self.kv = nn.Linear(h, 10), nn.Linear(h, 20)
        self.query = nn.Parameter(torch.randn(2, 1, 10) * 0.3)
        self.mha = nn.MultiheadAttention(10, 2, kdim=10, vdim=10)
        self.fc = nn.Linear(20, 3)

    def sample(self, xyz: Tensor) -> Tensor:
        B, N, _ = xyz.shape
        at = torch.zeros(B, dtype=torch.long, device=xyz.device)
        distance = xyz.new_full((B, N), 1e10)
        chosen, batch = [], torch.arange(B, device=xyz.device)
        for _ in range(self.n):
            chosen.append(at)
            distance = torch.minimum(
                distance, (xyz - xyz[batch, at, :].unsqueeze(1)).pow(2).sum(-1)
            )
            at = distance.max(-1)[1]
        return torch.stack(chosen, 1)

    def forward(self, xyz: Tensor) -> Tensor:
        B = xyz.shape[0]
        rows = torch.arange(B, device=xyz.device)[:, None]
        centre = xyz[rows, self.sample(xyz)]
        idx = torch.cdist(centre, xyz).topk(self.k, dim=-1, largest=False, sorted=False)[1]
        grouped = xyz[rows[:, :, None], idx]
        std = torch.std((grouped - centre.unsqueeze(2)).reshape(B, -1), dim=-1)[:, None, None, None]
        grouped = self.alpha * (grouped - centre.unsqueeze(2)) / (std + 1e-5) + self.beta
        feats = torch.cat([grouped, centre.unsqueeze(2).expand(-1, -1, self.k, -1)], dim=-1)
        f = self.lift(feats.permute(0, 3, 1, 2)).max(-1)[0].transpose(1, 2)
        q = self.q(f)
        k, v = self.kv(f).chunk(2, -1)
        k = k + q
        out, _ = self.mha(self.query.expand(-1, B, -1), k.transpose(0, 1), v.transpose(0, 1))
        return self.fc(out.transpose(0, 1).reshape(B, -1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "gated_field": lambda: (GatedField(), SPATIAL),
    "filter_network": lambda: (FilterNetwork(), SPATIAL),
    "signed_distance": lambda: (SignedDistance(), SPATIAL),
    "edge_attention": lambda: (EdgeAttention(), INPUTS.nodes),
    "relations_by_name": lambda: (Relations(), GRAPH),
    "graph_information": lambda: (GraphInfo(), GRAPH),
    "complex_pairs": lambda: (ComplexLayers(), INPUTS.series),
    "mapped_cells": lambda: (MappedCells(), INPUTS.numbers),
    "many_inputs_outputs": lambda: (ManyInputsOutputs(), INPUTS.images),
    "point_surfaces": lambda: (PointSurfaces(), INPUTS.points),
}

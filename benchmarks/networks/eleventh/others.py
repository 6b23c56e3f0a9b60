"""Networks of the zoo of science and of styles, eleventh sample: meshes, equations, lazy layers, weights that are made."""

# ruff: noqa: B905 - names and lines as people write them
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.networks.eleventh.inputs import EDGES, EQUATION, INPUTS


class MeshGraph(nn.Module):
    """Nodes and edges encoded, updated in turns with residuals, and decoded; sums over neighbours by index."""

    @staticmethod
    def mlp(i: int, h: int, o: int, norm: bool = True) -> nn.Sequential:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["l1"], layers["a1"], layers["l2"] = nn.Linear(i, h), nn.ReLU(), nn.Linear(h, o)
        if norm:
            layers["ln"] = nn.LayerNorm(o)
        return nn.Sequential(layers)

    def __init__(self, d: int = 10, steps: int = 2) -> None:
        super().__init__()
        self.node_encoder, self.edge_encoder = self.mlp(5, 14, d), self.mlp(3, 14, d)
        self.processor = nn.ModuleList(
            nn.ModuleDict({"edge": self.mlp(3 * d, 16, d), "node": self.mlp(2 * d, 18, d)})
            for _ in range(steps)
        )
        self.decoder = self.mlp(d, 12, 2, norm=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        senders, receivers = edge_index
        h, e = self.node_encoder(x), self.edge_encoder(edge_attr)
        for block in self.processor:
            new_e = block["edge"](torch.cat([h[senders], h[receivers], e], dim=-1))
            agg = torch.zeros_like(h).scatter_add_(
                0, receivers.unsqueeze(-1).expand_as(new_e), new_e
            )
            h, e = h + block["node"](torch.cat([h, agg], dim=-1)), e + new_e
        return self.decoder(h)


class GatedEquation(nn.Module):
    """A network for an equation: Fourier features, two gates for all layers, weights as scale times direction."""

    class Factorised(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            w = torch.randn(i, o) * math.sqrt(2 / (i + o))
            g = torch.exp(1.0 + 0.1 * torch.randn(o))
            self.g, self.v, self.b = (
                nn.Parameter(g),
                nn.Parameter(w / g),
                nn.Parameter(torch.zeros(o)),
            )

        def forward(self, x: Tensor) -> Tensor:
            return torch.addmm(self.b, x, self.g * self.v)

    def __init__(self, h: int = 12, layers: int = 3) -> None:
        super().__init__()
        self.register_buffer("period", torch.tensor([1.0, math.pi]))
        self.kernel = nn.Parameter(torch.randn(4, h // 2), requires_grad=False)
        self.u, self.v = self.Factorised(h, h), self.Factorised(h, h)
        self.layers = nn.ModuleList(self.Factorised(h, h) for _ in range(layers))
        self.alphas = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(layers)])
        self.out = nn.Linear(h, 1)

    def forward(self, xt: Tensor) -> Tensor:
        p = xt * self.period
        x = torch.hstack([torch.cos(p), torch.sin(p)]) @ self.kernel
        x = torch.cat([torch.cos(x), torch.sin(x)], dim=-1)
        u, v = torch.tanh(self.u(x)), torch.tanh(self.v(x))
        for layer, alpha in zip(self.layers, self.alphas):
            y = torch.tanh(layer(x))
            y = y * u + (1 - y) * v
            x = alpha * y + (1 - alpha) * x
        return self.out(x)


class Lazily(nn.Module):
    """Layers whose inputs are found at the first call, which is made where the network is built."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.LazyConv2d(8, 3, 2, 1), nn.LazyBatchNorm2d(), nn.ReLU()),
            *(nn.LazyConv2d(12, 3, 2, 1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten()),
        )
        self.classifier = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(5))
        with torch.no_grad():
            self.eval()(torch.zeros(1, 3, 32, 32))
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class HyperAdapted(nn.Module):
    """A base network called with weights that are its own plus products of low rank from a task's vector."""

    def __init__(self, i: int = 6, h: int = 12, o: int = 3, rank: int = 2) -> None:
        super().__init__()
        self.base = nn.Sequential(
            OrderedDict(fc1=nn.Linear(i, h), act=nn.GELU(), fc2=nn.Linear(h, o))
        )
        self.task, self.rank = nn.Parameter(torch.randn(4)), rank
        self.make = nn.ModuleDict()
        for name, p in self.base.named_parameters():
            if p.ndim == 2:
                self.make[name.replace(".", "_")] = nn.Linear(4, rank * sum(p.shape))

    def forward(self, x: Tensor) -> Tensor:
        params = dict(self.base.named_parameters())
        for name, p in list(params.items()):
            key = name.replace(".", "_")
            if key in self.make:
                a, b = self.make[key](self.task).split(
                    [self.rank * p.shape[0], self.rank * p.shape[1]]
                )
                params[name] = p + 0.1 * a.view(p.shape[0], self.rank) @ b.view(
                    self.rank, p.shape[1]
                )
        return functional_call(self.base, params, (x,))


class SharpAdapters(nn.Module):
    """A frozen layer turned by low-rank weights of normalised columns, and bottlenecks beside frozen blocks."""

    class Dora(nn.Module):
        def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
            super().__init__()
            self.linear, self.alpha = linear, alpha
            self.A = nn.Parameter(torch.randn(linear.in_features, rank) / rank**0.5)
            self.B = nn.Parameter(torch.zeros(rank, linear.out_features))
            self.m = nn.Parameter(linear.weight.norm(p=2, dim=0, keepdim=True))

        def forward(self, x: Tensor) -> Tensor:
            combined = self.linear.weight + self.alpha * (self.A @ self.B).T
            norm = combined.norm(p=2, dim=0, keepdim=True) + 1e-6
            return F.linear(x, self.m * combined / norm, self.linear.bias)

    class Bottleneck(nn.Module):
        def __init__(self, d: int, r: int) -> None:
            super().__init__()
            self.down, self.up, self.scale = (
                nn.Linear(d, r),
                nn.Linear(r, d),
                nn.Parameter(torch.ones(1)),
            )

        def forward(self, x: Tensor, residual: Tensor) -> Tensor:
            return residual + self.up(F.relu(self.down(x))) * self.scale

    def __init__(self, i: int = 6, h: int = 14) -> None:
        super().__init__()
        self.first, self.mid, self.out = nn.Linear(i, h), nn.Linear(h, h), nn.Linear(h, 3)
        for p in self.parameters():
            p.requires_grad_(False)
        self.mid, self.adapter = self.Dora(self.mid, 2, 2.0), self.Bottleneck(h, 4)
        self.out.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.first(x))
        return self.out(self.adapter(F.gelu(self.mid(h)), h))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "mesh_graph": lambda: (MeshGraph(), EDGES),
    "gated_equation": lambda: (GatedEquation(), EQUATION),
    "lazy_layers": lambda: (Lazily(), INPUTS.images),
    "weights_by_task": lambda: (HyperAdapted(), INPUTS.numbers),
    "sharp_adapters": lambda: (SharpAdapters(), INPUTS.numbers),
}

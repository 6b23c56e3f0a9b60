"""Networks of the zoo over graphs and points, fourteenth sample: edges held as buffers, kinds of nodes, folded grids."""

# ruff: noqa: B007, B905, C416, N806 - names and lines as people write them
from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import CLOUD, NODE_ROWS, PARTIES

RING = torch.tensor([[i for i in range(8)] + [(i + 1) % 8 for i in range(8)],
                     [(i + 1) % 8 for i in range(8)] + [i for i in range(8)]])  # fmt: skip


class EdgeGCN(nn.Module):
    """Convolutions of a graph whose edges are a buffer: gathered, weighed by degrees, added up with index_add_."""

    class GCNConv(nn.Module):
        def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
            super().__init__()
            self.lin = nn.Linear(in_channels, out_channels, bias=False)
            if bias:
                self.bias = nn.Parameter(torch.zeros(out_channels))
            else:
                self.register_parameter("bias", None)

        def forward(self, x: Tensor, edge_index: Tensor, norm: Tensor) -> Tensor:
            x = self.lin(x)
            out = torch.zeros_like(x)
            out.index_add_(1, edge_index[1], x[:, edge_index[0]] * norm.view(1, -1, 1))
            return out if self.bias is None else out + self.bias

    def __init__(self, edge_index: Tensor, hidden: int = 14) -> None:
        super().__init__()
        loops = torch.arange(8).repeat(2, 1)
        edge_index = torch.cat([edge_index, loops], dim=1)
        deg = torch.bincount(edge_index[1], minlength=8).float()
        self.register_buffer("edge_index", edge_index)
        self.register_buffer("norm", deg[edge_index[0]].pow(-0.5) * deg[edge_index[1]].pow(-0.5))
        self.convs = nn.ModuleList([self.GCNConv(5, hidden), self.GCNConv(hidden, hidden)])
        self.classifier = nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = conv(x, self.edge_index, self.norm)
            x = F.dropout(F.relu(x), p=0.5, training=self.training)
        return F.log_softmax(self.classifier(x), dim=-1)


class EdgeGAT(nn.Module):
    """Attention over edges with a softmax by scattered sums, several heads side by side, and a jump over all layers."""

    def __init__(self, edge_index: Tensor, d: int = 4, heads: int = 3) -> None:
        super().__init__()
        self.heads, self.d = heads, d
        self.register_buffer("src", edge_index[0])
        self.register_buffer("dst", edge_index[1])
        self.lins = nn.ModuleList(
            [nn.Linear(5, heads * d, bias=False), nn.Linear(heads * d, heads * d, bias=False)]
        )
        self.att_src = nn.ParameterList(
            [nn.Parameter(torch.empty(1, 1, heads, d)) for _ in range(2)]
        )
        self.att_dst = nn.ParameterList(
            [nn.Parameter(torch.empty(1, 1, heads, d)) for _ in range(2)]
        )
        for p in itertools.chain(self.att_src, self.att_dst):
            nn.init.xavier_uniform_(p)
        self.out = nn.Linear(2 * heads * d, 3)

    def softmax(self, e: Tensor, n: int) -> Tensor:
        e = (e - e.max()).exp()
        index = self.dst.view(1, -1, 1).expand_as(e)
        total = torch.zeros(e.size(0), n, e.size(2), dtype=e.dtype, device=e.device).scatter_add_(
            1, index, e
        )
        return e / (total.gather(1, index) + 1e-16)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        xs = []
        for lin, a_src, a_dst in zip(self.lins, self.att_src, self.att_dst):
            h = lin(x).view(b, n, self.heads, self.d)
            alpha_src, alpha_dst = (h * a_src).sum(dim=-1), (h * a_dst).sum(-1)
            alpha = F.leaky_relu(alpha_src[:, self.src] + alpha_dst[:, self.dst], 0.2)
            alpha = self.softmax(alpha, n)
            msg = h[:, self.src] * alpha.unsqueeze(-1)
            out = h.new_zeros(b, n, self.heads, self.d)
            out = out.scatter_add(1, self.dst.view(1, -1, 1, 1).expand_as(msg), msg)
            x = F.elu(out.flatten(2))
            xs += [x]
        return self.out(torch.cat(xs, dim=-1).mean(dim=1))


class PartiesGraph(nn.Module):
    """Kinds of nodes and of edges in dictionaries, whose names have both ends; messages are summed by kind."""

    def __init__(self, hidden: int = 10) -> None:
        super().__init__()
        self.node_dims = {"user": 4, "item": 3}
        self.edge_types = [
            ("user", "rates", "item"),
            ("item", "rated_by", "user"),
            ("user", "trusts", "user"),
        ]
        self.lin_in = nn.ModuleDict({t: nn.Linear(d, hidden) for t, d in self.node_dims.items()})
        self.convs = nn.ModuleList()
        for _ in range(2):
            self.convs.append(
                nn.ModuleDict({"__".join(e): nn.Linear(hidden, hidden) for e in self.edge_types})
            )
        sizes = {"user": 5, "item": 6}
        for s, r, t in self.edge_types:
            adj = (torch.arange(sizes[t])[:, None] + torch.arange(sizes[s])[None, :]) % 2 == 0
            self.register_buffer(
                f"adj_{s}__{r}__{t}", adj.float() / adj.float().sum(1, keepdim=True)
            )
        self.head = nn.Linear(hidden, 2)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        x_dict = {"user": user, "item": item}
        x_dict = {t: self.lin_in[t](x).relu_() for t, x in x_dict.items()}
        for conv in self.convs:
            out_dict = defaultdict(list)
            for key, lin in conv.items():
                src, rel, dst = key.split("__")
                adj = getattr(self, f"adj_{src}__{rel}__{dst}")
                out_dict[dst].append(torch.einsum("ts,bsd->btd", adj, lin(x_dict[src])))
            x_dict = {t: F.relu(sum(outs) + x_dict[t]) for t, outs in out_dict.items()}
        return self.head(x_dict["item"])


def index_points(points: Tensor, idx: Tensor) -> Tensor:
    """Returns points by indices of each cloud."""
    B = points.shape[0]
    view_shape = list(idx.shape)
    view_shape[1:] = [1] * (len(view_shape) - 1)
    repeat_shape = list(idx.shape)
    repeat_shape[0] = 1
    batch = (
        torch.arange(B, dtype=torch.long).to(points.device).view(view_shape).repeat(repeat_shape)
    )
    return points[batch, idx, :]


class PointMLP(nn.Module):
    """Groups of nearest points, normalised by a geometric affine, then residual perceptrons as convolutions."""

    class ConvBNReLURes1D(nn.Module):
        def __init__(self, channel: int, kernel_size: int = 1, res_expansion: float = 1.0) -> None:
            super().__init__()
            self.act = nn.ReLU(inplace=True)
            mid = int(channel * res_expansion)
            self.net1 = nn.Sequential(
                nn.Conv1d(channel, mid, kernel_size), nn.BatchNorm1d(mid), self.act
            )
            self.net2 = nn.Sequential(nn.Conv1d(mid, channel, kernel_size), nn.BatchNorm1d(channel))

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.net2(self.net1(x)) + x)

    def __init__(self, groups: int = 8, kneighbors: int = 4, d: int = 8) -> None:
        super().__init__()
        self.groups, self.kneighbors = groups, kneighbors
        self.embedding = nn.Sequential(nn.Conv1d(3, d, 1), nn.BatchNorm1d(d), nn.ReLU())
        self.affine_alpha = nn.Parameter(torch.ones([1, 1, 1, d + 3]))
        self.affine_beta = nn.Parameter(torch.zeros([1, 1, 1, d + 3]))
        self.transfer = nn.Sequential(nn.Conv1d(2 * d + 3, 16, 1), nn.BatchNorm1d(16), nn.ReLU())
        self.pre, self.pos = self.ConvBNReLURes1D(16, res_expansion=1.5), self.ConvBNReLURes1D(16)
        self.classifier = nn.Sequential(
            nn.Linear(16, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 4)
        )

    def forward(self, xyz: Tensor) -> Tensor:
        x = self.embedding(xyz.permute(0, 2, 1)).permute(0, 2, 1)
        new_xyz, new_points = xyz[:, : self.groups], x[:, : self.groups]
        _, idx = torch.topk(torch.cdist(new_xyz, xyz), self.kneighbors, dim=-1, largest=False)
        grouped = torch.cat([index_points(x, idx), index_points(xyz, idx)], dim=-1)
        mean = torch.mean(grouped, dim=2, keepdim=True)
        std = torch.std((grouped - mean).reshape(xyz.shape[0], -1), dim=-1, keepdim=True)
        std = std.unsqueeze(dim=-1).unsqueeze(dim=-1)
        grouped = self.affine_alpha * ((grouped - mean) / (std + 1e-5)) + self.affine_beta
        y = torch.cat([grouped, new_points.unsqueeze(2).repeat(1, 1, self.kneighbors, 1)], dim=-1)
        b, n, s, d = y.size()
        y = self.transfer(y.permute(0, 1, 3, 2).reshape(-1, d, s))
        y = F.adaptive_max_pool1d(self.pre(y), 1).view(b * n, -1).reshape(b, n, -1).permute(0, 2, 1)
        y = F.adaptive_max_pool1d(self.pos(y), 1).squeeze(dim=-1)
        return self.classifier(y)


class FoldedGrid(nn.Module):
    """A code of a cloud, and a grid that is folded twice into points."""

    def __init__(self, side: int = 4, code: int = 10) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv1d(3, 12, 1), nn.BatchNorm1d(12), nn.ReLU(True), nn.Conv1d(12, 16, 1)
        )
        self.fc = nn.Sequential(nn.Linear(16, 14), nn.ReLU(inplace=True), nn.Linear(14, code))
        mesh = [[-0.3, 0.3, side], [-0.3, 0.3, side]]
        x, y = np.linspace(*mesh[0]), np.linspace(*mesh[1])
        self.points = np.array(list(itertools.product(x, y)))
        self.m = side * side
        self.fold1 = nn.Sequential(nn.Conv1d(code + 2, 15, 1), nn.ReLU(), nn.Conv1d(15, 3, 1))
        self.fold2 = nn.Sequential(nn.Conv1d(code + 3, 13, 1), nn.ReLU(), nn.Conv1d(13, 3, 1))

    def build_grid(self, like: Tensor) -> Tensor:
        points = np.repeat(self.points[np.newaxis, ...], repeats=like.shape[0], axis=0)
        return torch.tensor(points).to(like).transpose(1, 2)

    def forward(self, pts: Tensor) -> Tensor:
        code = self.fc(self.mlp(pts.transpose(1, 2)).max(dim=-1)[0])
        code = code.unsqueeze(-1).expand(-1, -1, self.m)
        folding1 = self.fold1(torch.cat((code, self.build_grid(pts)), dim=1))
        return self.fold2(torch.cat((code, folding1), dim=1)).transpose(1, 2)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "edge_gcn": lambda: (EdgeGCN(RING), NODE_ROWS),
    "edge_gat": lambda: (EdgeGAT(RING), NODE_ROWS),
    "parties_graph": lambda: (PartiesGraph(), PARTIES),
    "point_mlp": lambda: (PointMLP(), CLOUD),
    "folded_grid": lambda: (FoldedGrid(), CLOUD),
}

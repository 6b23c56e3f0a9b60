"""Networks of the zoo over rows, graphs and recommendations, thirteenth sample: bins, neighbours, messages, layers of tasks."""

# ruff: noqa: B905, N806 - names and lines as people write them
from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import COLUMNS, INPUTS, RANKED


class BinnedRows(nn.Module):
    """Numbers in bins of their own, piecewise linear, categories one-hot; members of an ensemble by scales."""

    class PiecewiseLinear(nn.Module):
        def __init__(self, bins: list[Tensor], d: int) -> None:
            super().__init__()
            n_features, n_bins = len(bins), [len(x) - 1 for x in bins]
            max_n_bins = max(n_bins)
            self.register_buffer("weight", torch.zeros(n_features, max_n_bins))
            self.register_buffer("bias", torch.zeros(n_features, max_n_bins))
            mask = torch.row_stack(
                [
                    torch.cat(
                        [
                            torch.ones((n - 1) if n > 1 else 0, dtype=torch.bool),
                            torch.zeros(max_n_bins - n, dtype=torch.bool),
                            torch.ones(1, dtype=torch.bool),
                        ]
                    )
                    for n in n_bins
                ]
            )
            self.register_buffer("mask", mask)
            for i, bin_edges in enumerate(bins):
                bin_width = bin_edges.diff()
                w, b = 1.0 / bin_width, -bin_edges[:-1] / bin_width
                self.weight[i, -1], self.bias[i, -1] = w[-1], b[-1]
                self.weight[i, : n_bins[i] - 1] = w[:-1]
                self.bias[i, : n_bins[i] - 1] = b[:-1]
            self.linear = nn.Parameter(torch.randn(n_features, max_n_bins, d) * 0.3)
            self.shift = nn.Parameter(torch.zeros(n_features, d))

        def forward(self, x: Tensor) -> Tensor:
            x = torch.addcmul(self.bias, self.weight, x[..., None])
            x = torch.cat(
                [
                    x[..., :1].clamp_max(1.0),
                    x[..., 1:-1].clamp(0.0, 1.0),
                    x[..., -1:].clamp_min(0.0),
                ],
                dim=-1,
            )
            x = x * self.mask
            x = (x[..., None, :] @ self.linear).squeeze(-2)
            return F.relu(x + self.shift)

    class ScaleEnsemble(nn.Module):
        def __init__(self, k: int, d: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(k, d))
            with torch.inference_mode():
                self.weight.bernoulli_(0.5).mul_(2).add_(-1)

        def forward(self, x: Tensor) -> Tensor:
            assert x.ndim >= 2
            return x * self.weight

    class LinearEnsemble(nn.Module):
        def __init__(self, n: int, i: int, o: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(n, i, o) * i**-0.5)
            self.bias = nn.Parameter(torch.zeros(n, o))

        def forward(self, x: Tensor) -> Tensor:
            assert x.ndim == 3
            x = x.transpose(0, 1)
            x = x @ self.weight
            x = x.transpose(0, 1)
            return x + self.bias

    def __init__(self, cardinalities: list[int], k: int = 3, d_block: int = 18) -> None:
        super().__init__()
        bins = [torch.linspace(0, 1, n + 2) ** (1 + n / 3) for n in range(4)]
        self.num_module, self.cardinalities, self.k = (
            self.PiecewiseLinear(bins, 4),
            cardinalities,
            k,
        )
        d_in = 4 * 4 + sum(c + 1 for c in cardinalities)
        self.minimal_ensemble_adapter = self.ScaleEnsemble(k, d_in)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Linear(d_in if i == 0 else d_block, d_block), nn.ReLU(), nn.Dropout(0.1)
                )
                for i in range(2)
            ]
        )
        self.output = self.LinearEnsemble(k, d_block, 2)

    @classmethod
    def make(cls, **kwargs: Any) -> BinnedRows:
        params = inspect.signature(cls.__init__).parameters
        return cls(**{key: value for key, value in kwargs.items() if key in params})

    def forward(self, x_num: Tensor, x_cat: Tensor | None = None) -> Tensor:
        x = [] if x_num is None else [self.num_module(x_num)]
        if x_cat is not None:
            for column, c in zip(x_cat.T, self.cardinalities):
                x.append(F.one_hot(column, c + 1)[..., :].to(x_num.dtype))
        x = torch.column_stack([x_.flatten(1, -1) for x_ in x])
        x = self.minimal_ensemble_adapter(x[:, None].expand(-1, self.k, -1))
        for block in self.blocks:
            x = block(x)
        return self.output(x)


class RetrievedRows(nn.Module):
    """Rows ask held ones for their labels: keys by distance, the nearest few, values of labels and of differences of keys."""

    def __init__(self, d: int = 12, context: int = 4, classes: int = 3) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.register_buffer("candidate_x", torch.randn(16, 6, generator=g))
        self.register_buffer("candidate_y", torch.randint(0, classes, (16,), generator=g))
        self.linear, self.context_size = nn.Linear(6, d), context
        self.block0 = nn.Sequential(nn.Linear(d, 24), nn.ReLU(), nn.Linear(24, d), nn.Dropout(0.1))
        self.normalization, self.K = nn.LayerNorm(d), nn.Linear(d, d)
        self.label_encoder = nn.Embedding(classes, d)
        self.T = nn.Sequential(nn.Linear(d, 20), nn.ReLU(), nn.Linear(20, d, bias=False))
        self.head = nn.Sequential(nn.LayerNorm(d), nn.ReLU(), nn.Linear(d, classes))

    def _encode(self, x_: Tensor) -> tuple[Tensor, Tensor]:
        x = self.linear(x_)
        x = x + self.block0(x)
        return x, self.K(self.normalization(x))

    def forward(self, x_: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not False):
            candidate_k = self._encode(self.candidate_x)[1]
        x, k = self._encode(x_)
        with torch.no_grad():
            distances = torch.cdist(k, candidate_k)
            if self.training:
                distances = distances + 1e-3 * torch.rand_like(distances)
            context_idx = distances.topk(self.context_size, largest=False).indices
        context_k = candidate_k[context_idx]
        similarities = (
            -k.square().sum(-1, keepdim=True)
            + (2 * (k[..., None, :] @ context_k.transpose(-1, -2))).squeeze(-2)
            - context_k.square().sum(-1)
        )
        probs = F.dropout(F.softmax(similarities, dim=-1), 0.1, training=self.training)
        values = self.label_encoder(self.candidate_y[context_idx]) + self.T(k[:, None] - context_k)
        x = x + (probs[:, None] @ values).squeeze(1)
        return self.head(x)


class MessagePassing(nn.Module):
    """A base class that finds out which arguments a message takes, gathers them along edges, and adds messages up."""

    def __init__(self, aggr: str = "add", node_dim: int = -2) -> None:
        super().__init__()
        self.aggr, self.node_dim = aggr, node_dim
        self._user_args = list(inspect.signature(self.message).parameters)

    def propagate(self, edge_index: Tensor, size: int, **kwargs: Any) -> Tensor:
        coll = {}
        for arg in self._user_args:
            if arg[-2:] not in ("_i", "_j"):
                coll[arg] = kwargs.get(arg)
            else:
                index = edge_index[1 if arg[-2:] == "_i" else 0]
                coll[arg] = kwargs[arg[:-2]].index_select(self.node_dim, index)
        out = self.message(**coll)
        index = edge_index[1]
        shape = [1] * out.dim()
        shape[self.node_dim] = -1
        zeros = out.new_zeros(*out.shape[: self.node_dim], size, *out.shape[self.node_dim + 1 :])
        index = index.view(shape).expand_as(out)
        if self.aggr == "max":
            return zeros.scatter_reduce(out.dim() - 2, index, out, "amax", include_self=False)
        return self.update(zeros.scatter_add_(self.node_dim, index, out))

    def message(self, x_j: Tensor) -> Tensor:
        return x_j

    def update(self, out: Tensor) -> Tensor:
        return out


class NormedConv(MessagePassing):
    """Sums over neighbours by the roots of degrees, loops added, a bias behind."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__(aggr="add")
        self.lin, self.bias = nn.Linear(i, o, bias=False), nn.Parameter(torch.zeros(o))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        n = x.size(-2)
        loops = torch.arange(0, n, dtype=torch.long, device=x.device).unsqueeze(0).repeat(2, 1)
        edge_index = torch.cat([edge_index, loops], dim=1)
        row, col = edge_index
        deg = torch.zeros(n, dtype=x.dtype).scatter_add_(
            0, col, torch.ones_like(col, dtype=x.dtype)
        )
        deg_inv_sqrt = deg.pow(-0.5)
        deg_inv_sqrt[deg_inv_sqrt == float("inf")] = 0
        norm = deg_inv_sqrt[row] * deg_inv_sqrt[col]
        return self.propagate(edge_index, size=n, x=self.lin(x), norm=norm) + self.bias

    def message(self, x_j: Tensor, norm: Tensor) -> Tensor:
        return norm.view(-1, 1) * x_j


class EdgedConv(MessagePassing):
    """Maxima over neighbours of a perceptron on both ends and the edge."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__(aggr="max")
        self.mlp = nn.Sequential(nn.Linear(2 * i + 2, o), nn.ReLU(), nn.Linear(o, o))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.propagate(edge_index, size=x.size(-2), x=x, edge_attr=edge_attr)

    def message(self, x_i: Tensor, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        edge_attr = edge_attr.expand(*x_j.shape[:-1], -1)
        return self.mlp(torch.cat([x_i, x_j - x_i, edge_attr], dim=-1))


class RoadMessages(nn.Module):
    """Nodes of one known road map pass messages by a base class; a virtual node hears all and tells all."""

    def __init__(self, hidden: int = 14) -> None:
        super().__init__()
        self.register_buffer(
            "edge_index", torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])
        )
        self.register_buffer("edge_attr", torch.linspace(-1, 1, 16).view(8, 2))
        self.conv1, self.conv2 = NormedConv(5, hidden), EdgedConv(hidden, 12)
        self.virtualnode_embedding = nn.Embedding(1, hidden)
        self.virtual = nn.Sequential(
            nn.Linear(hidden, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, hidden)
        )
        self.lin = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        vn = self.virtualnode_embedding(torch.zeros(x.size(0), dtype=torch.long, device=x.device))
        h = F.elu(self.conv1(x, self.edge_index)) + vn[:, None]
        h = h + self.virtual(h.sum(1) + vn).unsqueeze(1)
        return self.lin(F.relu(self.conv2(h, self.edge_index, self.edge_attr)))


class LightGraph(nn.Module):
    """Users and items smoothed over a sparse graph of what was bought, layers averaged, a small network on the products."""

    def __init__(self, users: int = 6, items: int = 8, dim: int = 10, layers: int = 2) -> None:
        super().__init__()
        self.num_users, self.num_items, self.n_layers = users, items, layers
        self.embedding_user, self.embedding_item = (
            nn.Embedding(users, dim),
            nn.Embedding(items, dim),
        )
        g = torch.Generator().manual_seed(5)
        R = (torch.rand(users, items, generator=g) > 0.5).float()
        A = torch.zeros(users + items, users + items)
        A[:users, users:], A[users:, :users] = R, R.T
        d = A.sum(1).clamp(min=1).pow(-0.5)
        self.register_buffer("Graph", (d[:, None] * A * d[None]).to_sparse().coalesce())
        self.affine = nn.Sequential(nn.Linear(dim, 16), nn.ReLU(), nn.Linear(16, 1))

    def computer(self) -> tuple[Tensor, Tensor]:
        all_emb = torch.cat([self.embedding_user.weight, self.embedding_item.weight])
        embs = [all_emb]
        for _ in range(self.n_layers):
            all_emb = torch.sparse.mm(self.Graph.to(all_emb.dtype), all_emb)
            embs.append(all_emb)
        light_out = torch.mean(torch.stack(embs, dim=1), dim=1)
        return torch.split(light_out, [self.num_users, self.num_items])

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        all_users, all_items = self.computer()
        return self.affine(torch.mul(all_users[users.long()], all_items[items.long()])).squeeze(-1)


class LayeredTasks(nn.Module):
    """Experts of each task and shared ones in layers of gates, then a tower for each task; losses weighed by learnt doubts."""

    def __init__(self, tasks: tuple[str, ...] = ("ctr", "cvr"), d: int = 6, h: int = 12) -> None:
        super().__init__()
        self.tasks, self.levels = tasks, 2
        names = [*tasks, "shared"]
        self.experts, self.gates = nn.ModuleDict(), nn.ModuleDict()
        for level in range(self.levels):
            i = d if level == 0 else h
            for name in names:
                self.experts[f"{name}_{level}"] = nn.ModuleList(
                    nn.Sequential(nn.Linear(i, h), nn.ReLU()) for _ in range(2)
                )
                n = 2 * len(names) if name == "shared" else 4
                self.gates[f"{name}_{level}"] = nn.Sequential(
                    nn.Linear(i, n, bias=False), nn.Softmax(-1)
                )
        self.towers = nn.ModuleDict(
            {t: nn.Sequential(nn.Linear(h, 9), nn.ReLU(), nn.Linear(9, 1)) for t in tasks}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        state = dict.fromkeys([*self.tasks, "shared"], x)
        for level in range(self.levels):
            seen = {n: [e(v) for e in self.experts[f"{n}_{level}"]] for n, v in state.items()}
            fresh = {}
            for n, v in state.items():
                if level == self.levels - 1 and n == "shared":
                    continue
                pool = (
                    reduce(lambda a, b: a + b, seen.values())
                    if n == "shared"
                    else seen[n] + seen["shared"]
                )
                gate = self.gates[f"{n}_{level}"](v).unsqueeze(dim=1)
                fresh[n] = torch.bmm(gate, torch.stack(pool, dim=1)).squeeze(dim=1)
            state = fresh
        return {t: torch.sigmoid(self.towers[t](state[t])) for t in self.tasks}


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "binned_rows": lambda: (BinnedRows.make(cardinalities=[3, 3], k=3, lr=1e-3), COLUMNS),
    "retrieved_rows": lambda: (RetrievedRows(), INPUTS.numbers),
    "road_messages": lambda: (RoadMessages(), INPUTS.nodes),
    "light_graph": lambda: (LightGraph(), RANKED),
    "layered_tasks": lambda: (LayeredTasks(), INPUTS.numbers),
}

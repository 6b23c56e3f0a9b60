"""Networks of the zoo over tables, clicks and graphs, eighth sample."""

# ruff: noqa: N803, N806 - names and lines as people write them
from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eighth.inputs import GRAPH, INPUTS


class FeaturesEmbedding(nn.Module):
    """One table for all fields, whose numbers start where the field before ends."""

    def __init__(self, field_dims: list[int], embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sum(field_dims), embed_dim)
        self.offsets = np.array((0, *np.cumsum(field_dims)[:-1]), dtype=np.int64)

    def forward(self, x: Tensor) -> Tensor:
        x = x + x.new_tensor(self.offsets).unsqueeze(0)
        return self.embedding(x)


class FeaturesLinear(nn.Module):
    def __init__(self, field_dims: list[int]) -> None:
        super().__init__()
        self.fc, self.bias = nn.Embedding(sum(field_dims), 1), nn.Parameter(torch.zeros((1,)))
        self.offsets = np.array((0, *np.cumsum(field_dims)[:-1]), dtype=np.int64)

    def forward(self, x: Tensor) -> Tensor:
        x = x + x.new_tensor(self.offsets).unsqueeze(0)
        return torch.sum(self.fc(x), dim=1) + self.bias


def mlp(
    input_dim: int, embed_dims: list[int], dropout: float, output_layer: bool = True
) -> nn.Sequential:
    layers = []
    for embed_dim in embed_dims:
        layers += [
            nn.Linear(input_dim, embed_dim),
            nn.BatchNorm1d(embed_dim),
            nn.ReLU(),
            nn.Dropout(p=dropout),
        ]
        input_dim = embed_dim
    if output_layer:
        layers.append(nn.Linear(input_dim, 1))
    return nn.Sequential(*layers)


class NeuralFactorisation(nn.Module):
    """Sums of squares and squares of sums of fields, normalised, through a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        dims = [10] * 5
        self.embedding, self.linear = FeaturesEmbedding(dims, 8), FeaturesLinear(dims)
        self.bn, self.mlp = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.1)), mlp(8, [14, 10], 0.2)

    def forward(self, x: Tensor) -> Tensor:
        e = self.embedding(x)
        square_of_sum = torch.sum(e, dim=1) ** 2
        sum_of_square = torch.sum(e**2, dim=1)
        cross_term = self.bn(0.5 * (square_of_sum - sum_of_square))
        out = self.linear(x) + self.mlp(cross_term)
        return torch.sigmoid(out.squeeze(1))


class ProductNetwork(nn.Module):
    """Inner and outer products of pairs of fields: kernels as one parameter, pairs by lists of rows and columns."""

    def __init__(self, fields: int = 5, d: int = 6) -> None:
        super().__init__()
        self.num_fields, dims = fields, [10] * fields
        self.embedding, self.linear = FeaturesEmbedding(dims, d), FeaturesLinear(dims)
        num_ix = fields * (fields - 1) // 2
        self.kernel = nn.Parameter(torch.zeros((d, num_ix, d)))
        nn.init.xavier_uniform_(self.kernel.data)
        self.embed_output_dim = fields * d
        self.mlp = mlp(num_ix * 2 + self.embed_output_dim, [12], 0.1)

    def forward(self, x: Tensor) -> Tensor:
        embed_x = self.embedding(x)
        row, col = [], []
        for i in range(self.num_fields - 1):
            for j in range(i + 1, self.num_fields):
                row.append(i)
                col.append(j)
        p, q = embed_x[:, row], embed_x[:, col]
        inner = torch.sum(p * q, dim=2)
        kp = torch.sum(p.unsqueeze(1) * self.kernel, dim=-1).permute(0, 2, 1)
        outer = torch.sum(kp * q, -1)
        y = torch.cat([embed_x.view(-1, self.embed_output_dim), inner, outer], dim=1)
        return torch.sigmoid(self.mlp(y).squeeze(1))


class LogarithmicNet(nn.Module):
    """Crosses of adaptive order: logarithms of fields mixed linearly, exponentiated again."""

    def __init__(self, fields: int = 5, d: int = 6, LNN_dim: int = 4) -> None:
        super().__init__()
        self.embedding, self.LNN_dim, self.d = FeaturesEmbedding([10] * fields, d), LNN_dim, d
        self.weight, self.bias = (
            nn.Parameter(torch.rand(LNN_dim, fields)),
            nn.Parameter(torch.zeros(LNN_dim, 1)),
        )
        self.bn0, self.bn1 = nn.BatchNorm1d(fields), nn.BatchNorm1d(LNN_dim)
        self.mlp = mlp(LNN_dim * d, [12, 8], 0.1)

    def forward(self, x: Tensor) -> Tensor:
        embed_x = torch.clamp(torch.abs(self.embedding(x)), min=1e-7)
        log = self.bn0(torch.log1p(embed_x))
        out = torch.matmul(self.weight, log) + self.bias
        out = self.bn1(torch.expm1(F.relu(out)))
        return self.mlp(F.relu(out).contiguous().view(-1, self.LNN_dim * self.d))


class SessionGRU(nn.Module):
    """Next items of a session: a GRU whose last state is scored against the table of items, dot products or a layer."""

    def __init__(self, n_items: int = 30, h: int = 12) -> None:
        super().__init__()
        self.hidden_size, self.item_embedding = h, nn.Embedding(n_items, h, padding_idx=0)
        self.emb_dropout = nn.Dropout(0.2)
        self.gru_layers, self.dense = (
            nn.GRU(h, 16, num_layers=2, bias=False, batch_first=True),
            nn.Linear(16, h),
        )

    def gather_indexes(self, output: Tensor, gather_index: Tensor) -> Tensor:
        gather_index = gather_index.view(-1, 1, 1).expand(-1, -1, output.shape[-1])
        return output.gather(dim=1, index=gather_index).squeeze(1)

    def forward(self, item_seq: Tensor) -> Tensor:
        item_seq_len = (item_seq > 0).sum(1)
        emb = self.emb_dropout(self.item_embedding(item_seq))
        out, _ = self.gru_layers(emb)
        seq_output = self.gather_indexes(self.dense(out), item_seq_len - 1)
        return torch.matmul(seq_output, self.item_embedding.weight.transpose(0, 1))


class EntireSpace(nn.Module):
    """Clicks and sales after clicks by two towers over shared tables; probabilities are multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({f"f{i}": nn.Embedding(10, 4) for i in range(5)})
        self.ctr, self.cvr = mlp(20, [14, 8], 0.1), mlp(20, [12, 8], 0.1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        feats = torch.cat(
            [table(x[:, int(name[1:])]) for name, table in self.tables.items()], dim=-1
        )
        ctr, cvr = torch.sigmoid(self.ctr(feats)), torch.sigmoid(self.cvr(feats))
        return {"ctr": ctr, "cvr": cvr, "ctcvr": torch.mul(ctr, cvr)}


class InterestCapsules(nn.Module):
    """Several interests of a user by dynamic routing with a shared bilinear map, asked by the item."""

    def __init__(self, d: int = 8, k: int = 3, length: int = 8) -> None:
        super().__init__()
        self.items, self.S, self.k = nn.Embedding(30, d), nn.Parameter(torch.randn(d, d) * 0.4), k
        self.register_buffer(
            "B", torch.randn(1, k, length, generator=torch.Generator().manual_seed(6))
        )
        self.fc, self.out = (
            nn.Sequential(nn.Linear(d, 14), nn.ReLU(), nn.Linear(14, d)),
            nn.Linear(1, 1),
        )

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        n = x.norm(dim=-1, keepdim=True)
        return (n**2 / (1 + n**2)) * x / (n + 1e-9)

    def forward(self, history: Tensor) -> Tensor:
        mask = (history != 0).unsqueeze(1).tile(1, self.k, 1)
        e = self.items(history)
        h = torch.matmul(e, self.S)
        b = self.B.expand(h.shape[0], -1, -1).clone()
        for i in range(3):
            w = F.softmax(torch.where(mask, b, torch.ones_like(b) * (-(2**16) + 1.0)), dim=-1)
            u = self.squash(torch.matmul(w, h if i == 2 else h.detach()))
            if i < 2:
                b = b + torch.matmul(u, h.detach().transpose(1, 2))
        interests = self.fc(u)
        target = e[:, -1]
        atten = F.softmax(
            torch.pow(torch.matmul(interests, target.unsqueeze(-1)).squeeze(-1), 2), dim=-1
        )
        best = interests[torch.arange(e.shape[0]), atten.argmax(-1)]
        return torch.sigmoid(self.out((best * target).sum(-1, keepdim=True)))


class TableConvolutions(nn.Module):
    """Columns spread into a long vector, folded into channels of a signal and convolved; skips and two pools multiplied."""

    def __init__(self, num_features: int = 6, num_targets: int = 3, hidden: int = 48) -> None:
        super().__init__()
        cha_1, cha_2, cha_3 = 6, 12, 12
        self.cha_1, self.cha_1_reshape = cha_1, int(hidden / cha_1)
        cha_po_2 = int(hidden / cha_1 / 2 / 2) * cha_3
        wn = nn.utils.weight_norm
        self.batch_norm1, self.dropout1, self.dense1 = (
            nn.BatchNorm1d(num_features),
            nn.Dropout(0.1),
            wn(nn.Linear(num_features, hidden)),
        )
        self.batch_norm_c1, self.dropout_c1 = nn.BatchNorm1d(cha_1), nn.Dropout(0.1)
        self.conv1 = wn(
            nn.Conv1d(cha_1, cha_2, kernel_size=5, stride=1, padding=2, bias=False), dim=None
        )
        self.ave_po_c1 = nn.AdaptiveAvgPool1d(output_size=int(hidden / cha_1 / 2))
        self.batch_norm_c2, self.conv2 = (
            nn.BatchNorm1d(cha_2),
            wn(nn.Conv1d(cha_2, cha_2, 3, padding=1, bias=True), dim=None),
        )
        self.batch_norm_c2_1, self.conv2_1 = (
            nn.BatchNorm1d(cha_2),
            wn(nn.Conv1d(cha_2, cha_2, 3, padding=1, bias=True), dim=None),
        )
        self.max_po_c2, self.flt = nn.MaxPool1d(kernel_size=4, stride=2, padding=1), nn.Flatten()
        self.batch_norm3, self.dropout3, self.dense3 = (
            nn.BatchNorm1d(cha_po_2),
            nn.Dropout(0.2),
            wn(nn.Linear(cha_po_2, num_targets)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout1(self.batch_norm1(x))
        x = F.celu(self.dense1(x), alpha=0.06)
        x = x.reshape(x.shape[0], self.cha_1, self.cha_1_reshape)
        x = self.dropout_c1(self.batch_norm_c1(x))
        x = F.relu(self.conv1(x))
        x = self.ave_po_c1(x)
        x = F.relu(self.conv2(self.batch_norm_c2(x)))
        x_s = x
        x = F.relu(self.conv2_1(self.batch_norm_c2_1(x)))
        x = x * x_s
        x = self.flt(self.max_po_c2(x))
        return self.dense3(self.dropout3(self.batch_norm3(x)))


class AbstractLayers(nn.Module):
    """Groups of columns chosen by sparse masks learned as parameters, with normalisation over small batches and gates."""

    def __init__(self, i: int = 6, k: int = 3, d: int = 8) -> None:
        super().__init__()
        self.k, self.base = k, d
        self.weight = nn.Parameter(torch.randn(k, i))
        self.conv = nn.Conv1d(i * k, 2 * k * d, kernel_size=1, groups=k)
        self.bn, self.fc = nn.BatchNorm1d(2 * k * d), nn.Linear(i, d)
        self.lin = nn.Sequential(
            nn.BatchNorm1d(d),
            nn.LeakyReLU(),
            nn.Linear(d, 12),
            nn.Dropout(0.1),
            nn.LeakyReLU(),
            nn.Linear(12, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        b = x.size(0)
        mask = F.softmax(self.weight * 2, dim=-1)
        y = torch.einsum("nf,bf->bnf", mask, x).reshape(b, -1, 1)
        y = self.bn(self.conv(y))
        chunks = y.chunk(self.k, 1)
        y = sum(
            [F.relu(torch.sigmoid(c[:, : self.base, :]) * c[:, self.base :, :]) for c in chunks]
        )
        return self.lin(y.squeeze(-1) + self.fc(x))


class GraphConvolution(nn.Module):
    """One graph convolution with its weight as [in, out]."""

    def __init__(self, i: int, o: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = i, o
        self.weight = nn.Parameter(torch.empty(i, o))
        self.bias = nn.Parameter(torch.empty(o)) if bias else None
        stdv = 1.0 / math.sqrt(self.weight.size(1))
        self.weight.data.uniform_(-stdv, stdv)
        if self.bias is not None:
            self.bias.data.uniform_(-stdv, stdv)

    def forward(self, input: Tensor, adj: Tensor) -> Tensor:
        support = torch.matmul(input, self.weight)
        output = torch.matmul(adj, support)
        return output + self.bias if self.bias is not None else output


class DeepGraph(nn.Module):
    """Convolutions with a share of the first features and of the identity, weights alone as parameters, by depth."""

    def __init__(self, i: int = 5, h: int = 10, o: int = 3, layers: int = 3) -> None:
        super().__init__()
        self.gc1, self.act_fn = GraphConvolution(i, h), nn.ReLU()
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.randn(h, h) / 3) for _ in range(layers)]
        )
        self.fcs = nn.ModuleList([nn.Linear(h, h), nn.Linear(h, o)])
        self.params1 = list(self.weights)
        self.lamda, self.alpha, self.dropout = 0.5, 0.1, 0.3

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        adj = adj + torch.eye(adj.size(-1)).to(adj)
        deg = adj.sum(-1).clamp(min=1).pow(-0.5)
        adj = deg.unsqueeze(-1) * adj * deg.unsqueeze(-2)
        _layers = []
        h = self.act_fn(self.gc1(x, adj))
        h = F.dropout(self.act_fn(self.fcs[0](h)), self.dropout, training=self.training)
        _layers.append(h)
        for i, weight in enumerate(self.weights):
            h = F.dropout(h, self.dropout, training=self.training)
            theta = math.log(self.lamda / (i + 1) + 1)
            hi = torch.matmul(adj, h)
            support = (1 - self.alpha) * hi + self.alpha * _layers[0]
            h = self.act_fn(theta * torch.matmul(support, weight) + (1 - theta) * support)
        return F.log_softmax(self.fcs[-1](h), dim=-1)


class Propagation(nn.Module):
    """Predict first, then propagate the predictions with a chance to return; attention over hops at the end."""

    def __init__(self, K: int = 3, alpha: float = 0.1) -> None:
        super().__init__()
        self.lin1, self.lin2, self.K, self.alpha = nn.Linear(5, 14), nn.Linear(14, 6), K, alpha
        self.proj = nn.Linear(6, 1)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        adj = adj / adj.sum(-1, keepdim=True).clamp(min=1.0)
        h = self.lin2(F.dropout(F.relu(self.lin1(x)), training=self.training))
        preds, z = [h], h
        for _ in range(self.K):
            z = (1 - self.alpha) * (adj @ z) + self.alpha * h
            preds.append(z)
        pps = torch.stack(preds, dim=2)
        retain = torch.sigmoid(self.proj(pps)).squeeze(-1).unsqueeze(2)
        return torch.matmul(retain, pps).squeeze(2)


class FingerprintAttention(nn.Module):
    """Attention over neighbours by pairs, gathered by a GRU cell; then a readout by a second one over the whole molecule."""

    def __init__(self, i: int = 5, d: int = 10) -> None:
        super().__init__()
        self.fc, self.align, self.attend = nn.Linear(i, d), nn.Linear(2 * d, 1), nn.Linear(d, d)
        self.cell, self.mol_align, self.mol_attend, self.mol_cell = (
            nn.GRUCell(d, d),
            nn.Linear(2 * d, 1),
            nn.Linear(d, d),
            nn.GRUCell(d, d),
        )
        self.output = nn.Linear(d, 1)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        B, N, _ = x.shape
        h = F.leaky_relu(self.fc(x))
        for _ in range(2):
            pairs = torch.cat(
                [
                    h.unsqueeze(2).expand(B, N, N, h.size(-1)),
                    h.unsqueeze(1).expand(B, N, N, h.size(-1)),
                ],
                dim=-1,
            )
            score = F.leaky_relu(self.align(pairs)).squeeze(-1)
            score = score.masked_fill(adj == 0, -9e8)
            weight = F.softmax(score, -1) * adj
            context = F.elu(torch.bmm(weight, self.attend(h)))
            h = self.cell(context.view(B * N, -1), h.view(B * N, -1)).view(B, N, -1)
            h = F.relu(h)
        mol = h.sum(dim=-2)
        for _ in range(2):
            expand = mol.unsqueeze(-2).expand(B, N, mol.size(-1))
            score = F.leaky_relu(self.mol_align(torch.cat([expand, h], dim=-1)))
            context = F.elu(torch.sum(torch.mul(F.softmax(score, -2), self.mol_attend(h)), -2))
            mol = self.mol_cell(context, mol)
        return self.output(mol)


class PointVoxels(nn.Module):
    """Points beside a grid that their features are scattered to and read from by corners; the grid is convolved."""

    def __init__(self, r: int = 4) -> None:
        super().__init__()
        self.r, self.lift = r, nn.Linear(3, 8)
        self.conv3d = nn.Sequential(
            nn.Conv3d(8, 10, 3, padding=1), nn.BatchNorm3d(10), nn.LeakyReLU(0.1)
        )
        self.point = nn.Sequential(nn.Conv1d(8, 10, 1), nn.BatchNorm1d(10), nn.ReLU())
        self.head = nn.Sequential(nn.Conv1d(20, 12, 1), nn.ReLU(), nn.Conv1d(12, 4, 1))

    def forward(self, pts: Tensor) -> Tensor:
        f = self.lift(pts).transpose(1, 2)
        coords = pts - pts.mean(1, keepdim=True)
        coords = (
            coords / (coords.norm(dim=2, keepdim=True).max(dim=1, keepdim=True).values * 2.0 + 1e-6)
            + 0.5
        )
        vox = torch.clamp(coords * self.r, 0, self.r - 1).round().long()
        flat = vox[..., 0] * self.r * self.r + vox[..., 1] * self.r + vox[..., 2]
        B, C, N = f.shape
        grid = torch.zeros(B, C, self.r**3, dtype=f.dtype, device=f.device)
        count = torch.zeros(B, 1, self.r**3, dtype=f.dtype, device=f.device)
        grid = grid.scatter_add(2, flat.unsqueeze(1).expand(B, C, N), f)
        count = count.scatter_add(2, flat.unsqueeze(1), torch.ones(B, 1, N, dtype=f.dtype))
        grid = (grid / count.clamp(min=1)).view(B, C, self.r, self.r, self.r)
        grid = self.conv3d(grid).flatten(2)
        back = grid.gather(2, flat.unsqueeze(1).expand(-1, grid.size(1), -1))
        return self.head(torch.cat([back, self.point(f)], dim=1))


class DeepSurvival(nn.Module):
    """Mixtures of Weibull distributions: shapes and scales are shifts of parameters of their own; log survival by hand."""

    def __init__(self, i: int = 6, k: int = 3, layers: tuple = (14, 10)) -> None:
        super().__init__()
        self.shape, self.scale, self.act = (
            nn.ParameterDict({"1": nn.Parameter(-torch.ones(k))}),
            nn.ParameterDict({"1": nn.Parameter(-torch.ones(k))}),
            nn.SELU(),
        )
        modules, prev = [], i
        for h in layers:
            modules += [nn.Linear(prev, h, bias=False), nn.ReLU6()]
            prev = h
        self.embedding = nn.Sequential(*modules)
        self.gate = nn.ModuleDict({"1": nn.Sequential(nn.Linear(prev, k, bias=False))})
        self.scaleg, self.shapeg = (
            nn.ModuleDict({"1": nn.Linear(prev, k)}),
            nn.ModuleDict({"1": nn.Linear(prev, k)}),
        )
        self.register_buffer("times", torch.tensor([0.5, 1.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        xrep = self.embedding(x)
        dim = x.shape[0]
        shape = self.act(self.shapeg["1"](xrep)) + self.shape["1"].expand(dim, -1)
        scale = self.act(self.scaleg["1"](xrep)) + self.scale["1"].expand(dim, -1)
        logits = torch.log_softmax(self.gate["1"](xrep) / 1000.0, dim=1)
        out = []
        for t in self.times:
            s = -torch.pow(torch.exp(scale) * t, torch.exp(shape))
            out.append(torch.logsumexp(s + logits, dim=1))
        return torch.stack(out, dim=1).exp()


class PairwiseRanker(nn.Module):
    """Scores of a list by attention over documents, all pairs of them compared by itertools."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.fc = nn.Embedding(30, 8), nn.Linear(8, 12)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(12, 2, 20, 0.1, batch_first=True),
            1,
            enable_nested_tensor=False,
        )
        self.score = nn.Linear(12, 1)

    def forward(self, docs: Tensor) -> tuple[Tensor, Tensor]:
        x = self.encoder(F.relu(self.fc(self.words(docs))), src_key_padding_mask=docs == 0)
        s = self.score(x).squeeze(-1)
        pairs = list(itertools.combinations(range(docs.shape[1]), 2))
        diff = s[:, [i for i, _ in pairs]] - s[:, [j for _, j in pairs]]
        return s, torch.sigmoid(diff)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "neural_factorisation": lambda: (NeuralFactorisation(), INPUTS.fields),
    "product_network": lambda: (ProductNetwork(), INPUTS.fields),
    "logarithmic_net": lambda: (LogarithmicNet(), INPUTS.fields),
    "session_gru": lambda: (SessionGRU(), INPUTS.tokens),
    "entire_space": lambda: (EntireSpace(), INPUTS.fields),
    "interest_capsules": lambda: (InterestCapsules(), INPUTS.tokens),
    "table_convolutions": lambda: (TableConvolutions(), INPUTS.numbers),
    "abstract_layers": lambda: (AbstractLayers(), INPUTS.numbers),
    "deep_graph": lambda: (DeepGraph(), GRAPH),
    "propagation": lambda: (Propagation(), GRAPH),
    "fingerprint_attention": lambda: (FingerprintAttention(), GRAPH),
    "point_voxels": lambda: (PointVoxels(), INPUTS.points),
    "deep_survival": lambda: (DeepSurvival(), INPUTS.numbers),
    "pairwise_ranker": lambda: (PairwiseRanker(), INPUTS.tokens),
}

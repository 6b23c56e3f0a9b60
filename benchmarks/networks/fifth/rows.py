"""Networks of the zoo over tables, graphs and games, fifth sample."""

# ruff: noqa: N806 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(54)
ROWS = torch.randn(4, 6, generator=_G)
FIELDS = torch.randint(0, 10, (4, 5), generator=_G)
SCREENS = torch.randint(0, 255, (2, 3, 16, 16), generator=_G).float()
POINTS = torch.randn(2, 3, 9, generator=_G)
NODES = torch.randn(2, 6, 5, generator=_G)
STEPS = torch.randint(1, 20, (3, 7), generator=_G)
SRC, DST = torch.tensor([0, 1, 2, 3, 4, 5, 0, 2, 4]), torch.tensor([1, 2, 3, 4, 5, 0, 3, 5, 1])


class Dlrm(nn.Module):
    """Numbers and embeddings of categories, and the products of all pairs of them below the diagonal."""

    def __init__(self, d: int = 6) -> None:
        super().__init__()
        self.emb_l = nn.ModuleList(nn.EmbeddingBag(10, d, mode="sum") for _ in range(5))
        self.bot_l = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, d), nn.ReLU())
        self.top_l = nn.Sequential(nn.Linear(d + 15, 11), nn.ReLU(), nn.Linear(11, 1), nn.Sigmoid())

    def forward(self, dense: Tensor, cats: Tensor) -> Tensor:
        x = self.bot_l(dense)
        ly = [E(cats[:, k].unsqueeze(1)) for k, E in enumerate(self.emb_l)]
        batch_size, d = x.shape
        T = torch.cat([x, *ly], dim=1).view((batch_size, -1, d))
        Z = torch.bmm(T, torch.transpose(T, 1, 2))
        _, ni, nj = Z.shape
        li = torch.tensor([i for i in range(ni) for j in range(i)])
        lj = torch.tensor([j for i in range(nj) for j in range(i)])
        return self.top_l(torch.cat([x, Z[:, li, lj]], dim=1))


class FiBiNet(nn.Module):
    """Fields weighed by squeeze and excitation, products of pairs through a matrix, beside a linear part."""

    def __init__(self, d: int = 6, fields: int = 5) -> None:
        super().__init__()
        self.embedding_dict = nn.ModuleDict({f"C{i}": nn.Embedding(10, d) for i in range(fields)})
        self.excitation = nn.Sequential(
            nn.Linear(fields, 3, bias=False), nn.ReLU(), nn.Linear(3, fields, bias=False), nn.ReLU()
        )
        self.bilinear, self.linear = nn.Linear(d, d, bias=False), nn.Linear(6, 1, bias=False)
        self.dnn = nn.Sequential(
            nn.Linear(2 * 10 * d + 6, 14), nn.ReLU(), nn.Linear(14, 1, bias=False)
        )

    def cross(self, x: Tensor) -> Tensor:
        v = torch.split(x, 1, dim=1)
        n = len(v)
        p = [torch.mul(self.bilinear(v[i]), v[j]) for i in range(n) for j in range(i + 1, n)]
        return torch.cat(p, dim=1)

    def forward(self, dense: Tensor, cats: Tensor) -> Tensor:
        emb = torch.stack(
            [self.embedding_dict[f"C{i}"](cats[:, i]) for i in range(cats.size(1))], 1
        )
        A = self.excitation(torch.mean(emb, dim=-1))
        V = torch.mul(emb, torch.unsqueeze(A, dim=2))
        both = torch.flatten(torch.cat((self.cross(V), self.cross(emb)), dim=1), start_dim=1)
        return torch.sigmoid(self.linear(dense) + self.dnn(torch.cat([both, dense], -1)))


class SasRec(nn.Module):
    """Self-attention over what was bought, with nothing where there is padding; scores by products with items."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.item_emb, self.pos_emb = nn.Embedding(20, d, padding_idx=0), nn.Embedding(7, d)
        self.ln1, self.ln2, self.last = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = nn.MultiheadAttention(d, 2, 0.2)
        self.conv1, self.conv2, self.drop = (
            nn.Conv1d(d, 12, 1),
            nn.Conv1d(12, d, 1),
            nn.Dropout(0.2),
        )

    def forward(self, log_seqs: Tensor, pos_seqs: Tensor) -> Tensor:
        seqs = self.item_emb(log_seqs)
        seqs *= self.item_emb.embedding_dim**0.5
        poss = torch.arange(log_seqs.shape[1]).unsqueeze(0).expand(log_seqs.shape[0], -1)
        seqs = self.drop(seqs + self.pos_emb(poss))
        keep = ~(log_seqs == 0).unsqueeze(-1)
        seqs = seqs * keep
        mask = ~torch.tril(torch.ones((seqs.shape[1], seqs.shape[1]), dtype=torch.bool))
        seqs = torch.transpose(seqs, 0, 1)
        Q = self.ln1(seqs)
        out, _ = self.attn(Q, seqs, seqs, attn_mask=mask)
        seqs = torch.transpose(Q + out, 0, 1)
        seqs = self.ln2(seqs)
        y = self.drop(self.conv2(F.relu(self.conv1(seqs.transpose(-1, -2))))).transpose(-1, -2)
        seqs = (seqs + y) * keep
        return (self.last(seqs) * self.item_emb(pos_seqs)).sum(dim=-1)


class EntityEmbeddings(nn.Module):
    """A tabular learner: an embedding for each category, norms of numbers, layers from a list of sizes."""

    def __init__(
        self,
        szs: tuple[tuple[int, int], ...] = ((10, 3), (10, 4), (10, 5)),
        layers: tuple[int, ...] = (14, 10),
    ) -> None:
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(ni, nf) for ni, nf in szs])
        self.emb_drop, self.bn_cont = nn.Dropout(0.1), nn.BatchNorm1d(6)
        n_emb = sum(e.embedding_dim for e in self.embeds)
        sizes = [n_emb + 6, *layers, 3]
        _layers: list[nn.Module] = []
        for i in range(len(sizes) - 1):
            if i:
                _layers += [nn.BatchNorm1d(sizes[i]), nn.Dropout(0.2)]
            _layers.append(nn.Linear(sizes[i], sizes[i + 1], bias=i == len(sizes) - 2))
            if i < len(sizes) - 2:
                _layers.append(nn.ReLU(inplace=True))
        self.layers = nn.Sequential(*_layers)

    def forward(self, x_cat: Tensor, x_cont: Tensor) -> Tensor:
        x = torch.cat([e(x_cat[:, i]) for i, e in enumerate(self.embeds)], 1)
        return self.layers(torch.cat([self.emb_drop(x), self.bn_cont(x_cont)], 1))


class AdditiveModel(nn.Module):
    """NAM: a network for each column, exponential units, and the sum of what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.exu_w, self.exu_b = (
            nn.Parameter(torch.randn(6, 1, 10) * 0.3),
            nn.Parameter(torch.randn(6, 1) * 0.3),
        )
        self.feature_nns = nn.ModuleList(
            nn.Sequential(nn.Linear(10, 7), nn.ReLU(), nn.Linear(7, 1, bias=False))
            for _ in range(6)
        )
        self._bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        outs = []
        for i, nn_ in enumerate(self.feature_nns):
            h = (x[:, i].unsqueeze(1) - self.exu_b[i]).matmul(torch.exp(self.exu_w[i]))
            outs.append(nn_(torch.clip(h, 0, 1)))
        conc = torch.cat(outs, dim=-1)
        return torch.sum(conc, dim=-1, keepdim=True) + self._bias, conc


class RadialBasis(nn.Module):
    """Distances to learned centres, a width of each."""

    def __init__(self, n: int = 12) -> None:
        super().__init__()
        self.centres, self.log_sigmas = (
            nn.Parameter(torch.randn(n, 8)),
            nn.Parameter(torch.zeros(n)),
        )
        self.inp, self.fc = nn.Linear(6, 8), nn.Linear(n, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.inp(x))
        size = (x.size(0), self.centres.size(0), x.size(1))
        d = (
            (x.unsqueeze(1).expand(size) - self.centres.unsqueeze(0).expand(size))
            .pow(2)
            .sum(-1)
            .pow(0.5)
        )
        phi = torch.exp(-(d / torch.exp(self.log_sigmas).unsqueeze(0)).pow(2))
        return self.fc(phi)


class BatchEnsemble(nn.Module):
    """Members that share a matrix and have vectors of their own; the batch is repeated for them."""

    def __init__(self, i: int, o: int, members: int = 2) -> None:
        super().__init__()
        self.linear, self.members = nn.Linear(i, o, bias=False), members
        self.alpha, self.gamma = (
            nn.Parameter(torch.randn(members, i)),
            nn.Parameter(torch.randn(members, o)),
        )
        self.bias = nn.Parameter(torch.zeros(members, o))

    def forward(self, x: Tensor) -> Tensor:
        each = x.size(0) // self.members
        alpha = self.alpha.repeat_interleave(each, dim=0)
        gamma, bias = (
            self.gamma.repeat_interleave(each, dim=0),
            self.bias.repeat_interleave(each, dim=0),
        )
        return self.linear(x * alpha) * gamma + bias


class EnsembleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = BatchEnsemble(6, 12), BatchEnsemble(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat(2, 1)
        return torch.stack(self.fc2(F.relu(self.fc1(x))).chunk(2)).mean(0)


class CrossStitch(nn.Module):
    """Two networks for two tasks; after each layer a small matrix mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (
            nn.ModuleList([nn.Linear(6, 10), nn.Linear(10, 8)]),
            nn.ModuleList([nn.Linear(6, 10), nn.Linear(10, 8)]),
        )
        self.stitch = nn.ParameterList(
            [nn.Parameter(torch.tensor([[0.9, 0.1], [0.1, 0.9]])) for _ in range(2)]
        )
        self.heads = nn.ModuleDict({"sex": nn.Linear(8, 2), "age": nn.Linear(8, 1)})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        xa = xb = x
        for fa, fb, s in zip(self.a, self.b, self.stitch, strict=True):
            ya, yb = F.relu(fa(xa)), F.relu(fb(xb))
            xa, xb = s[0][0] * ya + s[0][1] * yb, s[1][0] * ya + s[1][1] * yb
        return {"sex": self.heads["sex"](xa), "age": self.heads["age"](xb).squeeze(-1)}


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "dlrm": lambda: (Dlrm(), (ROWS, FIELDS)),
    "fibinet": lambda: (FiBiNet(), (ROWS, FIELDS)),
    "sasrec": lambda: (SasRec(), (STEPS, STEPS.flip(1))),
    "entity_embeddings": lambda: (EntityEmbeddings(), (FIELDS[:, :3], ROWS)),
    "additive_model": lambda: (AdditiveModel(), ROWS),
    "radial_basis": lambda: (RadialBasis(), ROWS),
    "batch_ensemble": lambda: (EnsembleNet(), ROWS),
    "cross_stitch": lambda: (CrossStitch(), ROWS),
}

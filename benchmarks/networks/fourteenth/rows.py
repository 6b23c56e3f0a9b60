"""Networks of the zoo over rows and recommendation, fourteenth sample: gates of domains, compressed products, actions."""

# ruff: noqa: B905, N806, RUF007, UP045 - names and lines as people write them
from __future__ import annotations

import typing as ty
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import DOMAINS, HISTORY, INPUTS, MIXED_ROWS, TRIPLES

ACTIVATIONS: dict[str, ty.Callable[..., nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class TableResNet(nn.Module):
    """Residual blocks over numbers and categories that offsets lay into one table."""

    class Block(nn.Module):
        def __init__(self, d_main: int, d_hidden: int, activation: str) -> None:
            super().__init__()
            self.normalization = nn.BatchNorm1d(d_main)
            self.linear_first, self.linear_second = (
                nn.Linear(d_main, d_hidden),
                nn.Linear(d_hidden, d_main),
            )
            self.activation = ACTIVATIONS[activation]()
            self.dropout_first, self.dropout_second = nn.Dropout(0.1), nn.Dropout(0.0)

        def forward(self, x: Tensor) -> Tensor:
            x_input = x
            x = self.dropout_first(self.activation(self.linear_first(self.normalization(x))))
            return x_input + self.dropout_second(self.linear_second(x))

    category_offsets: ty.Optional[Tensor]

    def __init__(
        self,
        d_numerical: int = 5,
        categories: ty.Optional[list[int]] = None,
        d: int = 12,
    ) -> None:
        super().__init__()
        categories = [3, 3] if categories is None else categories
        d_in = d_numerical
        if categories is not None:
            d_in += len(categories) * 4
            category_offsets = torch.tensor([0, *categories[:-1]]).cumsum(0)
            self.register_buffer("category_offsets", category_offsets)
            self.category_embeddings = nn.Embedding(sum(categories), 4)
            nn.init.kaiming_uniform_(self.category_embeddings.weight, a=5**0.5)
        self.first_layer = nn.Linear(d_in, d)
        self.blocks = nn.ModuleList([self.Block(d, 22, "relu") for _ in range(2)])
        self.head = nn.Sequential(
            OrderedDict(norm=nn.BatchNorm1d(d), act=nn.ReLU(), out=nn.Linear(d, 1))
        )

    def forward(self, x_num: ty.Optional[Tensor], x_cat: ty.Optional[Tensor]) -> Tensor:
        x = []
        if x_num is not None:
            x.append(x_num)
        if x_cat is not None:
            x.append(
                self.category_embeddings(x_cat + self.category_offsets[None]).view(
                    x_cat.size(0), -1
                )
            )
        x = torch.cat(x, dim=-1)
        x = self.first_layer(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x).squeeze(-1)


class GateNU(nn.Module):
    """Gates between 0 and 2."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int) -> None:
        super().__init__()
        self.dense_layers = nn.Sequential(
            nn.Linear(input_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, output_dim),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_layers(x) * 2


class PersonalisedGates(nn.Module):
    """Two tasks' perceptrons over gated embeddings; gates of each layer know the domain, without its gradient."""

    def __init__(self, field_dims: int = 6, fields: int = 5, e: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(field_dims * fields, e)
        self.register_buffer("offsets", torch.arange(fields) * field_dims)
        self.domain_embedding = nn.Embedding(3, 6)
        dims = [fields * e, 16, 12]
        self.epnet = GateNU(dims[0] + 6, 14, dims[0])
        self.gates = nn.ModuleList([GateNU(dims[0] + 6, 10, sum(dims[1:])) for _ in range(2)])
        self.towers = nn.ModuleList(
            [nn.ModuleList([nn.Linear(i, o) for i, o in zip(dims, dims[1:])]) for _ in range(2)]
        )
        self.outs = nn.ModuleList([nn.Linear(dims[-1], 1) for _ in range(2)])
        self.splits = dims[1:]

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        e = self.embedding(x + self.offsets).flatten(1)
        d = self.domain_embedding(domain)
        e = e * self.epnet(torch.cat([d, e.detach()], dim=1))
        result = []
        for tower, gate, out in zip(self.towers, self.gates, self.outs):
            h = e
            scales = gate(torch.cat([d, e.detach()], dim=1)).split(self.splits, dim=1)
            for layer, scale in zip(tower, scales):
                h = F.relu(layer(h)) * scale
            result.append(torch.sigmoid(out(h)))
        return torch.cat(result, dim=1)


class CompressedProducts(nn.Module):
    """Layers of products between fields, compressed by learnt weights, beside linear mixes of the fields."""

    class Layer(nn.Module):
        def __init__(self, n: int, dim: int, n_lcb: int, n_fmb: int, k: int) -> None:
            super().__init__()
            self.n_fmb, self.dim_emb = n_fmb, dim
            self.lcb = nn.Parameter(torch.empty((n, n_lcb)))
            self.y = nn.Parameter(torch.empty((n, k)))
            self.mlp = nn.Sequential(
                nn.LayerNorm(n * k), nn.Linear(n * k, 24), nn.ReLU(), nn.Linear(24, n_fmb * dim)
            )
            self.norm = nn.LayerNorm(dim)
            self.residual = nn.Identity() if n == n_lcb + n_fmb else nn.Linear(n, n_lcb + n_fmb)
            nn.init.kaiming_uniform_(self.lcb)
            nn.init.xavier_uniform_(self.y)

        def forward(self, inputs: Tensor) -> Tensor:
            outputs = inputs.permute(0, 2, 1)
            projected = outputs @ self.y
            fm = torch.bmm(inputs, projected)
            fmb = self.mlp(fm.reshape(fm.shape[0], -1)).view(-1, self.n_fmb, self.dim_emb)
            lcb = (outputs @ self.lcb).permute(0, 2, 1)
            res = self.residual(outputs).permute(0, 2, 1)
            return self.norm(torch.concat((fmb, lcb), dim=1) + res)

    def __init__(self, d: int = 6) -> None:
        super().__init__()
        self.embedding = nn.ModuleDict({f"f{i}": nn.Embedding(10, d) for i in range(5)})
        self.interaction_layers = nn.Sequential(
            self.Layer(5, d, 2, 3, 3), self.Layer(5, d, 2, 2, 3)
        )
        self.projection_head = nn.Sequential(nn.Linear(4 * d, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        cols = {name: emb(x[:, i]) for i, (name, emb) in enumerate(self.embedding.items())}
        outputs = torch.stack(list(cols.values()), dim=1)
        outputs = self.interaction_layers(outputs)
        return self.projection_head(outputs.view(outputs.size(0), -1))


class ActionTransducer(nn.Module):
    """Pointwise attention by SiLU, with biases of places and of bucketed times, gated by a fourth part."""

    def __init__(self, n_items: int = 12, d: int = 12, heads: int = 2, max_len: int = 7) -> None:
        super().__init__()
        self.d, self.heads, self.dqk, self.dv = d, heads, 4, 5
        self.item_emb = nn.Embedding(n_items, d, padding_idx=0)
        self.pos_emb = nn.Embedding(max_len, d)
        self._uvqk = nn.ParameterList(
            [
                nn.Parameter(torch.empty(d, 2 * heads * (self.dqk + self.dv)).normal_(std=0.2))
                for _ in range(2)
            ]
        )
        self._o = nn.ModuleList([nn.Linear(heads * self.dv, d) for _ in range(2)])
        self.ts_w = nn.Parameter(torch.empty(9).normal_(mean=0, std=0.02))
        self.pos_w = nn.Parameter(torch.empty(2 * max_len - 1).normal_(mean=0, std=0.02))
        self.register_buffer("attn_mask", torch.tril(torch.ones(max_len, max_len)))
        for m in self._o:
            nn.init.xavier_uniform_(m.weight)

    def bias(self, ts: Tensor) -> Tensor:
        B, N = ts.shape
        t = F.pad(self.pos_w[: 2 * N - 1], [0, N]).repeat(N)
        t = t[..., :-N].reshape(1, N, 3 * N - 2)
        r = (2 * N - 1) // 2
        rel_pos = t[:, :, r:-r]
        diff = (ts.unsqueeze(2) - ts.unsqueeze(1)).abs().clamp(min=1e-3)
        bucket = torch.clamp((torch.log(diff * 100) / 0.7).long(), min=0, max=8).detach()
        return rel_pos + self.ts_w.index_select(0, bucket.view(-1)).view(B, N, N)

    def forward(self, items: Tensor, timestamps: Tensor) -> Tensor:
        B, N = items.size()
        x = self.item_emb(items) * (self.d**0.5) + self.pos_emb.weight[:N].unsqueeze(0)
        valid = (items != 0).unsqueeze(-1).to(x.dtype)
        bias, sizes = self.bias(timestamps), [self.heads * self.dv, self.heads * self.dv]
        sizes += [self.heads * self.dqk, self.heads * self.dqk]
        for uvqk, o in zip(self._uvqk, self._o):
            normed = F.layer_norm(x, normalized_shape=[self.d], eps=1e-6)
            u, v, q, k = torch.split(F.silu(torch.mm(normed.view(-1, self.d), uvqk)), sizes, dim=1)
            qk = torch.einsum(
                "bnhd,bmhd->bhnm",
                q.view(B, N, self.heads, self.dqk),
                k.view(B, N, self.heads, self.dqk),
            )
            attn = (
                F.silu(qk + bias.unsqueeze(1))
                / N
                * self.attn_mask[:N, :N].unsqueeze(0).unsqueeze(0)
            )
            out = torch.einsum("bhnm,bmhd->bnhd", attn, v.reshape(B, N, self.heads, self.dv))
            out = F.layer_norm(out.reshape(B, N, -1), [self.heads * self.dv])
            x = (o(u.view(B, N, -1) * out) + x) * valid
        return (x / torch.clamp(torch.linalg.norm(x, dim=-1, keepdim=True), min=1e-6))[:, -1]


class RotatedTriples(nn.Module):
    """Relations as rotations of complex embeddings; the score of a triple is a distance."""

    def __init__(
        self, nentity: int = 5, nrelation: int = 5, hidden_dim: int = 8, gamma: float = 6.0
    ) -> None:
        super().__init__()
        self.epsilon, self.hidden_dim = 2.0, hidden_dim
        self.gamma = nn.Parameter(torch.Tensor([gamma]), requires_grad=False)
        self.embedding_range = nn.Parameter(
            torch.Tensor([(self.gamma.item() + self.epsilon) / hidden_dim]), requires_grad=False
        )
        self.entity_embedding = nn.Parameter(torch.zeros(nentity, hidden_dim * 2))
        nn.init.uniform_(
            self.entity_embedding, -self.embedding_range.item(), self.embedding_range.item()
        )
        self.relation_embedding = nn.Parameter(torch.zeros(nrelation, hidden_dim))
        nn.init.uniform_(
            self.relation_embedding, -self.embedding_range.item(), self.embedding_range.item()
        )

    def forward(self, sample: Tensor) -> Tensor:
        head = torch.index_select(self.entity_embedding, dim=0, index=sample[:, 0]).unsqueeze(1)
        relation = torch.index_select(self.relation_embedding, dim=0, index=sample[:, 1]).unsqueeze(
            1
        )
        tail = torch.index_select(self.entity_embedding, dim=0, index=sample[:, 2]).unsqueeze(1)
        pi = 3.14159265358979323846
        re_head, im_head = torch.chunk(head, 2, dim=2)
        re_tail, im_tail = torch.chunk(tail, 2, dim=2)
        phase_relation = relation / (self.embedding_range.item() / pi)
        re_relation, im_relation = torch.cos(phase_relation), torch.sin(phase_relation)
        re_score = re_head * re_relation - im_head * im_relation - re_tail
        im_score = re_head * im_relation + im_head * re_relation - im_tail
        score = torch.stack([re_score, im_score], dim=0).norm(dim=0)
        return self.gamma.item() - score.sum(dim=2)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "table_resnet": lambda: (TableResNet(), MIXED_ROWS),
    "personalised_gates": lambda: (PersonalisedGates(), DOMAINS),
    "compressed_products": lambda: (CompressedProducts(), INPUTS.fields),
    "action_transducer": lambda: (ActionTransducer(), HISTORY),
    "rotated_triples": lambda: (RotatedTriples(), TRIPLES),
}

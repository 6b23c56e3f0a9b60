"""Networks of the zoo over tables, graphs, molecules, fields and games, seventh sample."""

# ruff: noqa: B905, N803, N806, RUF005, RUF059 - names and lines as people write them
from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from benchmarks.networks.seventh.inputs import ATOMS, INPUTS


class TabR(nn.Module):
    """Nearest rows of a stored table, their labels and differences, added to the row."""

    def __init__(self, d_in: int = 6, d: int = 10, context: int = 5, candidates: int = 12) -> None:
        super().__init__()
        self.linear, self.context_size = nn.Linear(d_in, d), context
        self.blocks0 = nn.ModuleList(
            [nn.Sequential(nn.Linear(d, 14), nn.ReLU(), nn.Linear(14, d)) for _ in range(1)]
        )
        self.normalization, self.label_encoder, self.K = (
            nn.LayerNorm(d),
            nn.Sequential(nn.Linear(1, d)),
            nn.Linear(d, d),
        )
        self.T = nn.Sequential(
            nn.Linear(d, 14), nn.ReLU(), nn.Dropout(0.1), nn.Linear(14, d, bias=False)
        )
        self.blocks1 = nn.ModuleList(
            [nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 14), nn.ReLU(), nn.Linear(14, d))]
        )
        self.head = nn.Sequential(nn.LayerNorm(d), nn.ReLU(), nn.Linear(d, 2))
        g = torch.Generator().manual_seed(4)
        self.register_buffer("candidate_x", torch.randn(candidates, d_in, generator=g))
        self.register_buffer("candidate_y", torch.randn(candidates, generator=g))

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.linear(x)
        for block in self.blocks0:
            x = x + block(x)
        return x, self.K(self.normalization(x))

    def forward(self, x: Tensor) -> Tensor:
        _, candidate_k = self._encode(self.candidate_x)
        x, k = self._encode(x)
        batch_size, d_main = k.shape
        with torch.no_grad():
            context_idx = torch.cdist(k, candidate_k).topk(self.context_size, largest=False).indices
        context_k = candidate_k[context_idx]
        similarities = (
            -k.square().sum(-1, keepdim=True)
            + (2 * (k[..., None, :] @ context_k.transpose(-1, -2))).squeeze(-2)
            - context_k.square().sum(-1)
        )
        probs = F.dropout(F.softmax(similarities, dim=-1), 0.1, self.training)
        context_y_emb = self.label_encoder(self.candidate_y[context_idx][..., None])
        values = context_y_emb + self.T(k[:, None] - context_k)
        x = x + (probs[:, None] @ values).squeeze(1)
        for block in self.blocks1:
            x = x + block(x)
        return self.head(x)


class PiecewiseLinear(nn.Module):
    """Numbers as how far they have filled bins of their own, with a linear layer to each."""

    def __init__(self, features: int = 6, bins: int = 4, d: int = 5) -> None:
        super().__init__()
        edges = torch.linspace(-2, 2, bins + 1)
        weight = torch.zeros(features, bins)
        bias = torch.zeros(features, bins)
        for i in range(features):
            width = edges.diff()
            weight[i], bias[i] = 1.0 / width, -edges[:-1] / width
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.linear = nn.Parameter(torch.randn(features, bins, d) * 0.3)
        self.backbone = nn.Sequential(
            nn.Flatten(), nn.Linear(features * d, 16), nn.ReLU(), nn.Linear(16, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.addcmul(self.bias, self.weight, x[..., None])
        x = torch.cat(
            [
                x[..., :1].clamp_max(1.0),
                *(
                    []
                    if x.shape[-1] == 1
                    else [x[..., 1:-1].clamp(0.0, 1.0), x[..., -1:].clamp_min(0.0)]
                ),
            ],
            dim=-1,
        )
        x = (x[..., None, :] @ self.linear).squeeze(-2)
        return self.backbone(F.relu(x))


class FieldAware(nn.Module):
    """A table of embeddings for each field, crossed by pairs, beside products in a tower."""

    def __init__(self, field_dims: tuple[int, ...] = (10,) * 5, d: int = 4) -> None:
        super().__init__()
        self.num_fields = len(field_dims)
        self.embeddings = torch.nn.ModuleList(
            [torch.nn.Embedding(sum(field_dims), d) for _ in range(self.num_fields)]
        )
        self.offsets = torch.tensor((0, *itertools.accumulate(field_dims))[:-1], dtype=torch.long)
        for embedding in self.embeddings:
            torch.nn.init.xavier_uniform_(embedding.weight.data)
        pairs = self.num_fields * (self.num_fields - 1) // 2
        self.bn, self.mlp, self.bias = (
            nn.BatchNorm1d(pairs),
            nn.Sequential(nn.Linear(pairs * d + pairs, 14), nn.ReLU(), nn.Linear(14, 1)),
            nn.Parameter(torch.zeros((1,))),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + x.new_tensor(self.offsets.tolist()).unsqueeze(0)
        xs = [self.embeddings[i](x) for i in range(self.num_fields)]
        ix = []
        for i in range(self.num_fields - 1):
            for j in range(i + 1, self.num_fields):
                ix.append(xs[j][:, i] * xs[i][:, j])
        cross = torch.stack(ix, dim=1)
        inner = self.bn(cross.sum(2))
        out = self.mlp(torch.cat([cross.view(cross.size(0), -1), inner], 1)) + self.bias
        return torch.sigmoid(out.squeeze(1))


class AttentionGruCell(nn.Module):
    """A gated cell whose update gate is scaled by attention."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih, self.weight_hh = (
            nn.Parameter(torch.randn(3 * hidden_size, input_size) * 0.3),
            nn.Parameter(torch.randn(3 * hidden_size, hidden_size) * 0.3),
        )
        self.register_parameter("bias_ih", nn.Parameter(torch.zeros(3 * hidden_size)))
        self.register_parameter("bias_hh", nn.Parameter(torch.zeros(3 * hidden_size)))

    def forward(self, input: Tensor, hx: Tensor, att_score: Tensor) -> Tensor:
        gi, gh = (
            F.linear(input, self.weight_ih, self.bias_ih),
            F.linear(hx, self.weight_hh, self.bias_hh),
        )
        i_r, i_z, i_n = gi.chunk(3, 1)
        h_r, h_z, h_n = gh.chunk(3, 1)
        reset_gate, update_gate = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
        new_state = torch.tanh(i_n + reset_gate * h_n)
        att_score = att_score.view(-1, 1)
        update_gate = att_score * update_gate
        return (1.0 - update_gate) * hx + update_gate * new_state


class InterestEvolution(nn.Module):
    """Interests pulled out of a history, evolved towards the item asked for."""

    def __init__(self, vocab: int = 30, d: int = 7) -> None:
        super().__init__()
        self.item, self.extractor, self.cell = (
            nn.Embedding(vocab, d),
            nn.GRU(d, d, batch_first=True),
            AttentionGruCell(d, d),
        )
        self.attn, self.aux = (
            nn.Sequential(nn.Linear(4 * d, 9), nn.PReLU(), nn.Linear(9, 1)),
            nn.Sequential(nn.Linear(2 * d, 8), nn.Sigmoid(), nn.Linear(8, 1)),
        )
        self.dnn = nn.Sequential(
            nn.BatchNorm1d(2 * d), nn.Linear(2 * d, 12), nn.PReLU(12), nn.Linear(12, 1)
        )

    def forward(self, seq: Tensor) -> tuple[Tensor, Tensor]:
        target, history = self.item(seq[:, -1]), self.item(seq[:, :-1])
        interests, _ = self.extractor(history)
        q = target.unsqueeze(1).expand(-1, interests.size(1), -1)
        att = self.attn(torch.cat([q, interests, q - interests, q * interests], dim=-1)).squeeze(-1)
        mask = seq[:, :-1] != 0
        att = torch.softmax(torch.where(mask, att, torch.full_like(att, -(2**32) + 1)), -1)
        hx = torch.zeros_like(target)
        for t in range(interests.size(1)):
            hx = self.cell(interests[:, t], hx, att[:, t])
        aux = self.aux(torch.cat([interests[:, :-1], history[:, 1:]], -1)).squeeze(-1)
        return torch.sigmoid(self.dnn(torch.cat([hx, target], 1))).squeeze(1), aux


class StarLinear(nn.Module):
    """Weights shared by all domains times weights of the domain, biases added."""

    def __init__(self, i: int, o: int, domains: int) -> None:
        super().__init__()
        self.shared_weight, self.shared_bias = (
            nn.Parameter(torch.empty(i, o)),
            nn.Parameter(torch.zeros(o)),
        )
        self.slot_weight = nn.ParameterList(
            [nn.Parameter(torch.ones(i, o) + 0.1 * torch.randn(i, o)) for _ in range(domains)]
        )
        self.slot_bias = nn.ParameterDict(
            {str(n): nn.Parameter(torch.zeros(o)) for n in range(domains)}
        )
        nn.init.xavier_uniform_(self.shared_weight.data)

    def forward(self, x: Tensor, domain: int) -> Tensor:
        return (
            torch.matmul(x, self.slot_weight[domain] * self.shared_weight)
            + self.slot_bias[str(domain)]
            + self.shared_bias
        )


class StarTopology(nn.Module):
    def __init__(self, domains: int = 2) -> None:
        super().__init__()
        self.domains, self.norm = domains, nn.BatchNorm1d(6)
        self.fc1, self.fc2, self.fc3 = (
            StarLinear(6, 12, domains),
            StarLinear(12, 8, domains),
            StarLinear(8, 1, domains),
        )

    def forward(self, x: Tensor) -> Tensor:
        domain_id = (x[:, 0] > 0).long()
        x, out = self.norm(x), []
        for d in range(self.domains):
            h = F.relu(self.fc1(x, d))
            h = F.relu(self.fc2(h, d))
            out.append(self.fc3(h, d))
        final = torch.zeros_like(out[0])
        for d in range(self.domains):
            final = torch.where((domain_id == d).unsqueeze(1), torch.sigmoid(out[d]), final)
        return final.squeeze(1)


@dataclass
class SingleCell:
    """What a variational model of counts gives."""

    px_rate: Tensor
    px_scale: Tensor
    qz: Tensor
    kl: Tensor | None = None


class CountVae(nn.Module):
    """Counts of genes, corrected for batches, scaled by the size of the library; distributions inside."""

    def __init__(self, genes: int = 6, batches: int = 2, hidden: int = 12, latent: int = 4) -> None:
        super().__init__()
        self.n_batch = batches
        self.encoder = nn.Sequential(
            nn.Linear(genes, hidden),
            nn.BatchNorm1d(hidden, momentum=0.01, eps=0.001),
            nn.ReLU(),
            nn.Dropout(0.1),
        )
        self.mean_encoder, self.var_encoder = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent + batches, hidden),
            nn.LayerNorm(hidden, elementwise_affine=False),
            nn.ReLU(),
        )
        self.px_scale_decoder, self.px_r = (
            nn.Sequential(nn.Linear(hidden, genes), nn.Softmax(dim=-1)),
            nn.Parameter(torch.randn(genes)),
        )

    def forward(self, x: Tensor) -> SingleCell:
        x = x.abs()
        batch_index = torch.arange(x.shape[0]) % self.n_batch
        library = torch.log(x.sum(1)).unsqueeze(1)
        q = self.encoder(torch.log(1 + x))
        q_m, q_v = self.mean_encoder(q), torch.exp(self.var_encoder(q)) + 1e-4
        dist = Independent(Normal(q_m, q_v.sqrt()), 1)
        z = dist.rsample() if self.training else q_m
        one_hot = F.one_hot(batch_index, self.n_batch).to(z)
        px = self.decoder(torch.cat([z, one_hot], dim=-1))
        px_scale = self.px_scale_decoder(px)
        kl = kl_divergence(
            Normal(q_m, q_v.sqrt()), Normal(torch.zeros_like(q_m), torch.ones_like(q_v))
        ).sum(dim=1)
        return SingleCell(torch.exp(library) * px_scale + 0 * self.px_r, px_scale, q_m, kl)


class RecurrentActorCritic(nn.Module):
    """Convolutions, an LSTM cell with a state given and given back, values and logits."""

    def __init__(self, num_actions: int = 4) -> None:
        super().__init__()
        for n, i in enumerate([1, 8, 8], 1):
            setattr(self, f"conv{n}", nn.Conv2d(i, 8, 3, stride=2, padding=1))
        self.lstm, self.critic_linear, self.actor_linear = (
            nn.LSTMCell(8 * 2 * 2, 12),
            nn.Linear(12, 1),
            nn.Linear(12, num_actions),
        )
        self.apply(self._init)
        self.train()

    @staticmethod
    def _init(m: nn.Module) -> None:
        classname = m.__class__.__name__
        if classname.find("Linear") != -1:
            m.bias.data.fill_(0)

    def forward(
        self, inputs: Tensor, hx: Tensor, cx: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        x = F.elu(self.conv1(inputs))
        x = F.elu(self.conv2(x))
        x = F.elu(self.conv3(x))
        x = x.view(-1, 8 * 2 * 2)
        hx, cx = self.lstm(x, (hx, cx))
        return self.critic_linear(hx), self.actor_linear(hx), (hx, cx)


class SimNorm(nn.Module):
    """Softmax over groups of a latent state."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        shp = x.shape
        x = x.view(*shp[:-1], -1, self.dim)
        x = F.softmax(x, dim=-1)
        return x.view(*shp)

    def __repr__(self) -> str:
        return f"SimNorm(dim={self.dim})"


class NormedLinear(nn.Linear):
    def __init__(self, *args: Any, act: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ln, self.act = (
            nn.LayerNorm(self.out_features),
            act if act is not None else nn.Mish(inplace=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return self.act(self.ln(x))


class TdMpc(nn.Module):
    """A latent world model: states of simplices, an ensemble of values over two-hot bins, a squashed policy."""

    def __init__(
        self,
        obs: int = 6,
        action: int = 2,
        latent: int = 8,
        mlp: int = 12,
        bins: int = 5,
        num_q: int = 3,
    ) -> None:
        super().__init__()
        self._encoder = nn.ModuleDict(
            {
                "state": nn.Sequential(
                    NormedLinear(obs, mlp), NormedLinear(mlp, latent, act=SimNorm(4))
                )
            }
        )
        self._dynamics = nn.Sequential(
            NormedLinear(latent + action, mlp), NormedLinear(mlp, latent, act=SimNorm(4))
        )
        self._reward, self._pi = (
            nn.Sequential(NormedLinear(latent + action, mlp), nn.Linear(mlp, bins)),
            nn.Sequential(NormedLinear(latent, mlp), nn.Linear(mlp, 2 * action)),
        )
        self._Qs = nn.ModuleList(
            [
                nn.Sequential(NormedLinear(latent + action, mlp), nn.Linear(mlp, bins))
                for _ in range(num_q)
            ]
        )
        self.register_buffer("log_std_min", torch.tensor(-10.0))
        self.register_buffer("log_std_dif", torch.tensor(12.0))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self._encoder["state"](obs)
        rewards = []
        for _ in range(2):
            mu, log_std = self._pi(z).chunk(2, dim=-1)
            log_std = self.log_std_min + 0.5 * self.log_std_dif * (torch.tanh(log_std) + 1)
            action = torch.tanh(mu + 0 * log_std.exp())
            za = torch.cat([z, action], dim=-1)
            rewards.append(self._reward(za))
            z = self._dynamics(za)
        qs = torch.stack([q(torch.cat([z, action], dim=-1)) for q in self._Qs])
        support = torch.linspace(-1, 1, qs.shape[-1]).to(qs)
        values = (F.softmax(qs, -1) * support).sum(-1, keepdim=True)
        return torch.stack(rewards, 1), values.min(0).values, log_std


class CrystalConv(nn.Module):
    """Messages of atoms and their nearest neighbours, gated."""

    def __init__(self, atom: int, nbr: int) -> None:
        super().__init__()
        self.atom_fea_len, self.nbr_fea_len = atom, nbr
        self.fc_full = nn.Linear(2 * atom + nbr, 2 * atom)
        self.sigmoid, self.softplus1, self.bn1, self.bn2, self.softplus2 = (
            nn.Sigmoid(),
            nn.Softplus(),
            nn.BatchNorm1d(2 * atom),
            nn.BatchNorm1d(atom),
            nn.Softplus(),
        )

    def forward(self, atom_in_fea: Tensor, nbr_fea: Tensor, nbr_fea_idx: Tensor) -> Tensor:
        N, M = nbr_fea_idx.shape
        atom_nbr_fea = atom_in_fea[nbr_fea_idx, :]
        total_nbr_fea = torch.cat(
            [atom_in_fea.unsqueeze(1).expand(N, M, self.atom_fea_len), atom_nbr_fea, nbr_fea], dim=2
        )
        total_gated_fea = self.fc_full(total_nbr_fea)
        total_gated_fea = self.bn1(total_gated_fea.view(-1, self.atom_fea_len * 2)).view(
            N, M, self.atom_fea_len * 2
        )
        nbr_filter, nbr_core = total_gated_fea.chunk(2, dim=2)
        nbr_filter, nbr_core = self.sigmoid(nbr_filter), self.softplus1(nbr_core)
        nbr_sumed = self.bn2(torch.sum(nbr_filter * nbr_core, dim=1))
        return self.softplus2(atom_in_fea + nbr_sumed)


class CrystalNet(nn.Module):
    def __init__(self, orig: int = 5, nbr: int = 4, atom: int = 8, h: int = 10) -> None:
        super().__init__()
        self.embedding, self.convs = (
            nn.Linear(orig, atom),
            nn.ModuleList([CrystalConv(atom, nbr) for _ in range(2)]),
        )
        self.conv_to_fc, self.conv_to_fc_softplus, self.fc_out = (
            nn.Linear(atom, h),
            nn.Softplus(),
            nn.Linear(h, 1),
        )

    def forward(self, atom_fea: Tensor, nbr_fea: Tensor, nbr_fea_idx: Tensor) -> Tensor:
        atom_fea = self.embedding(atom_fea)
        for conv_func in self.convs:
            atom_fea = conv_func(atom_fea, nbr_fea, nbr_fea_idx)
        return self.fc_out(
            self.conv_to_fc_softplus(self.conv_to_fc(self.conv_to_fc_softplus(atom_fea)))
        )


class Painn(nn.Module):
    """Scalars and vectors of atoms that exchange messages, summed by index."""

    def __init__(self, d: int = 6, rbf: int = 5) -> None:
        super().__init__()
        self.d, self.inp, self.filter_layer = d, nn.Linear(5, d), nn.Linear(rbf, 3 * d)
        self.scalar_message_mlp = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, 3 * d))
        self.update_U, self.update_V = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.update_mlp, self.readout = (
            nn.Sequential(nn.Linear(2 * d, d), nn.SiLU(), nn.Linear(d, 3 * d)),
            nn.Sequential(nn.Linear(d, 7), nn.SiLU(), nn.Linear(7, 1)),
        )

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        B, N, _ = x.shape
        edge = torch.tensor([[i, j] for i in range(N) for j in range(N) if i != j])
        s = self.inp(x)
        v = torch.zeros(B, N, 3, self.d).to(s)
        diff = pos[:, edge[:, 1]] - pos[:, edge[:, 0]]
        dist = torch.linalg.norm(diff, dim=-1, keepdim=True)
        n = torch.arange(5) + 1
        rbf = torch.sin(dist * n.to(dist) * math.pi / 5) / dist
        for _ in range(2):
            filter_weight = self.filter_layer(rbf) * (0.5 * (torch.cos(math.pi * dist / 5) + 1))
            filter_out = filter_weight * self.scalar_message_mlp(s)[:, edge[:, 1]]
            gate_state_vector, gate_edge_vector, message_scalar = torch.split(
                filter_out, self.d, dim=2
            )
            message_vector = v[:, edge[:, 1]] * gate_state_vector.unsqueeze(2)
            message_vector = message_vector + gate_edge_vector.unsqueeze(2) * (
                diff / dist
            ).unsqueeze(-1)
            s = s + torch.zeros_like(s).index_add_(1, edge[:, 0], message_scalar)
            v = v + torch.zeros_like(v).index_add_(1, edge[:, 0], message_vector)
            Uv, Vv = self.update_U(v), self.update_V(v)
            Vv_norm = torch.linalg.norm(Vv + 1e-8, dim=2)
            a_vv, a_sv, a_ss = torch.split(
                self.update_mlp(torch.cat((Vv_norm, s), dim=2)), self.d, dim=2
            )
            v = v + a_vv.unsqueeze(2) * Uv
            s = s + a_sv * torch.sum(Uv * Vv, dim=2) + a_ss
        return self.readout(s).sum(1)


class GraphVae(nn.Module):
    """A variational autoencoder of a graph: edges by inner products."""

    def __init__(self, d: int = 5, hidden: int = 9, latent: int = 4) -> None:
        super().__init__()
        self.base_gcn, self.gcn_mean, self.gcn_logstddev = (
            nn.Parameter(torch.randn(i, o) * 0.4)
            for i, o in ((d, hidden), (hidden, latent), (hidden, latent))
        )

    def encode(self, X: Tensor, adj: Tensor) -> Tensor:
        hidden = F.relu(torch.matmul(adj, torch.matmul(X, self.base_gcn)))
        self.mean, self.logstd = adj @ (hidden @ self.gcn_mean), adj @ (hidden @ self.gcn_logstddev)
        if not self.training:
            return self.mean
        gaussian_noise = torch.randn(X.size(0), X.size(1), self.mean.size(-1)).to(X)
        return gaussian_noise * torch.exp(self.logstd) + self.mean

    def forward(self, X: Tensor, adj: Tensor) -> Tensor:
        Z = self.encode(X, adj / adj.sum(-1, keepdim=True).clamp(min=1))
        return torch.sigmoid(torch.matmul(Z, Z.transpose(-1, -2)))


class Galerkin(nn.Module):
    """Attention without a softmax, keys and values normalised by a layer to each head, places beside them."""

    def __init__(self, d: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.n_head, self.d_k, self.lift = heads, d // heads, nn.Linear(3, d)
        self.linears = nn.ModuleList([nn.Linear(d, d) for _ in range(3)])
        self.norm_K, self.norm_V = (
            self._get_layernorm(self.d_k, heads),
            self._get_layernorm(self.d_k, heads),
        )
        self.fc, self.ff = (
            nn.Linear(d + heads * 2, d),
            nn.Sequential(nn.Linear(d, 20), nn.SiLU(), nn.Linear(20, d)),
        )
        self.regressor = nn.Sequential(nn.Linear(d, 10), nn.SiLU(), nn.Linear(10, 1))

    def _get_layernorm(self, normalized_dim: int, n_head: int) -> nn.ModuleList:
        return nn.ModuleList([nn.LayerNorm(normalized_dim, eps=1e-5) for _ in range(n_head)])

    def forward(self, points: Tensor) -> Tensor:
        pos, x = points[..., :2], self.lift(points)
        bsz = x.size(0)
        query, key, value = [
            layer(one).view(bsz, -1, self.n_head, self.d_k).transpose(1, 2)
            for layer, one in zip(self.linears, (x, x, x))
        ]
        key = torch.stack(
            [
                norm(one)
                for norm, one in zip(self.norm_K, (key[:, i, ...] for i in range(self.n_head)))
            ],
            dim=1,
        )
        value = torch.stack(
            [
                norm(one)
                for norm, one in zip(self.norm_V, (value[:, i, ...] for i in range(self.n_head)))
            ],
            dim=1,
        )
        p = pos.unsqueeze(1).repeat([1, self.n_head, 1, 1])
        query, key, value = [torch.cat([p, one], dim=-1) for one in (query, key, value)]
        scores = torch.matmul(key.transpose(-2, -1), value) / query.size(-2)
        att = (
            torch.matmul(query, scores)
            .transpose(1, 2)
            .contiguous()
            .view(bsz, -1, self.n_head * (self.d_k + 2))
        )
        x = x + self.fc(att)
        return self.regressor(x + self.ff(x))


class Transolver(nn.Module):
    """Points gathered into slices, attention among slices, points again."""

    def __init__(self, d: int = 12, heads: int = 3, slice_num: int = 4) -> None:
        super().__init__()
        dim_head = d // heads
        self.heads, self.dim_head, self.scale = heads, dim_head, dim_head**-0.5
        self.temperature = nn.Parameter(torch.ones([1, heads, 1, 1]) * 0.5)
        self.pre, self.placeholder = (
            nn.Sequential(nn.Linear(3, 20), nn.GELU(), nn.Linear(20, d)),
            nn.Parameter(torch.rand(d) / d),
        )
        self.in_project_x, self.in_project_fx, self.in_project_slice = (
            nn.Linear(d, d),
            nn.Linear(d, d),
            nn.Linear(dim_head, slice_num),
        )
        torch.nn.init.orthogonal_(self.in_project_slice.weight)
        self.to_q, self.to_k, self.to_v = (
            nn.Linear(dim_head, dim_head, bias=False) for _ in range(3)
        )
        self.to_out, self.ln, self.mlp2 = (
            nn.Sequential(nn.Linear(d, d), nn.Dropout(0.0)),
            nn.LayerNorm(d),
            nn.Linear(d, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        fx = self.pre(x) + self.placeholder[None, None, :]
        x = self.ln(fx)
        B, N, _ = x.shape
        fx_mid = (
            self.in_project_fx(x)
            .reshape(B, N, self.heads, self.dim_head)
            .permute(0, 2, 1, 3)
            .contiguous()
        )
        x_mid = (
            self.in_project_x(x)
            .reshape(B, N, self.heads, self.dim_head)
            .permute(0, 2, 1, 3)
            .contiguous()
        )
        slice_weights = torch.softmax(
            self.in_project_slice(x_mid) / torch.clamp(self.temperature, min=0.1, max=5), -1
        )
        slice_norm = slice_weights.sum(2)
        slice_token = torch.einsum("bhnc,bhng->bhgc", fx_mid, slice_weights)
        slice_token = slice_token / (
            (slice_norm + 1e-5)[:, :, :, None].repeat(1, 1, 1, self.dim_head)
        )
        q, k, v = self.to_q(slice_token), self.to_k(slice_token), self.to_v(slice_token)
        attn = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) * self.scale, -1)
        out_x = torch.einsum("bhgc,bhng->bhnc", torch.matmul(attn, v), slice_weights)
        out_x = out_x.permute(0, 2, 1, 3).reshape(B, N, -1)
        return self.mlp2(self.to_out(out_x) + fx)


class DeepPotential(nn.Module):
    """Smooth descriptors that turn with nothing, then an energy and its sum; species choose their network."""

    def __init__(self, M: int = 8, sub: int = 3) -> None:
        super().__init__()
        self.sub = sub
        self.embedding_net = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, M), nn.Tanh())
        self.fitting = nn.ModuleList(
            [nn.Sequential(nn.Linear(M * sub, 12), nn.Tanh(), nn.Linear(12, 1)) for _ in range(2)]
        )

    def forward(self, coord: Tensor) -> dict[str, Tensor]:
        B, N, _ = coord.shape
        species = torch.arange(N) % 2
        diff = coord[:, :, None] - coord[:, None]
        off = ~torch.eye(N, dtype=torch.bool)
        diff = diff[:, off].view(B, N, N - 1, 3)
        r = diff.norm(dim=-1, keepdim=True)
        R = torch.cat([1 / r, diff / r**2], dim=-1)
        G = self.embedding_net(1 / r)
        GR = torch.matmul(G.transpose(-1, -2), R) / (N - 1)
        D = torch.matmul(GR, GR[..., : self.sub, :].transpose(-1, -2)).flatten(-2)
        energies = torch.zeros(B, N, dtype=coord.dtype, device=coord.device)
        for i, net in enumerate(self.fitting):
            mask = species == i
            energies[:, mask] = net(D[:, mask]).squeeze(-1)
        return {"energy": energies.sum(1), "atom_energy": energies}


class OuterProductMean(nn.Module):
    """Sequences to pairs by the mean of outer products, pairs back by a bias of attention."""

    def __init__(self, c_m: int = 8, c: int = 4, c_z: int = 6, heads: int = 2) -> None:
        super().__init__()
        self.emb, self.layer_norm, self.heads = nn.Embedding(30, c_m), nn.LayerNorm(c_m), heads
        self.linear_1, self.linear_2, self.linear_out = (
            nn.Linear(c_m, c),
            nn.Linear(c_m, c),
            nn.Linear(c**2, c_z),
        )
        self.linear_b, self.linear_g, self.qkv, self.linear_o = (
            nn.Linear(c_z, heads, bias=False),
            nn.Linear(c_m, c_m),
            nn.Linear(c_m, 3 * c_m, bias=False),
            nn.Linear(c_m, c_m),
        )
        self.lddt, self.distogram = nn.Linear(c_m, 5), nn.Linear(c_z, 4)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        msa = self.emb(torch.stack([ids, ids.roll(1, -1), ids.flip(-1)], 1))
        m = self.layer_norm(msa)
        a, b = self.linear_1(m).transpose(-2, -3), self.linear_2(m).transpose(-2, -3)
        outer = torch.einsum("...bac,...dae->...bdce", a, b)
        outer = outer.reshape(outer.shape[:-2] + (-1,))
        z = self.linear_out(outer) / msa.shape[1]
        bias = self.linear_b(z).permute(0, 3, 1, 2)
        q, k, v = self.qkv(m).view(*m.shape[:-1], 3, self.heads, -1).unbind(-3)
        q, k, v = (t.transpose(-2, -3) for t in (q, k, v))
        att = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias.unsqueeze(1), -1)
        o = (att @ v).transpose(-2, -3) * torch.sigmoid(self.linear_g(m)).view(
            m.shape[:-1] + (self.heads, -1)
        )
        msa = msa + self.linear_o(o.reshape(o.shape[:-2] + (-1,)))
        return self.lddt(msa[..., 0, :, :]), self.distogram(0.5 * (z + z.transpose(-2, -3)))


class KernelHead(nn.Module):
    """Random Fourier features of a spectrally normalised network, with a covariance kept by hand."""

    def __init__(self, d: int = 10, features: int = 12) -> None:
        super().__init__()
        self.inp = nn.Linear(6, d)
        self.hidden = nn.ModuleList(
            [nn.utils.parametrizations.spectral_norm(nn.Linear(d, d)) for _ in range(2)]
        )
        self.rff = nn.Linear(d, features)
        self.rff.weight.requires_grad_(False)
        self.beta = nn.Linear(features, 2, bias=False)
        self.register_buffer("precision", torch.eye(features))
        self.features = features

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.inp(x)
        for layer in self.hidden:
            h = h + F.dropout(torch.relu(layer(h)), 0.1, self.training)
        phi = math.sqrt(2.0 / self.features) * torch.cos(-self.rff(h))
        logits = self.beta(phi)
        if self.training:
            self.precision = 0.9 * self.precision + 0.1 * (phi.t() @ phi).detach()
        covariance = torch.linalg.inv(self.precision)
        variance = torch.einsum("bi,ij,bj->b", phi, covariance, phi)
        return logits / torch.sqrt(1.0 + math.pi / 8.0 * variance.unsqueeze(-1)), variance


class FusedModes(nn.Module):
    """Outer products of three sources with ones beside them, and a low-rank form of the same."""

    def __init__(self, h: int = 5, rank: int = 3, out: int = 4) -> None:
        super().__init__()
        self.subs = nn.ModuleList(
            [nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, h), nn.ReLU()) for _ in range(3)]
        )
        self.post = nn.Sequential(nn.Linear((h + 1) ** 2, 9), nn.ReLU(), nn.Linear(9, out))
        self.factors = nn.ParameterList(
            [nn.Parameter(torch.randn(rank, h + 1, out) * 0.5) for _ in range(3)]
        )
        self.fusion_weights, self.fusion_bias = (
            nn.Parameter(torch.randn(1, rank)),
            nn.Parameter(torch.zeros(1, out)),
        )

    def forward(self, x: Tensor) -> Tensor:
        hs = [sub(one) for sub, one in zip(self.subs, x.chunk(3, -1))]
        batch_size = hs[0].shape[0]
        ones = torch.ones(batch_size, 1).type_as(hs[0])
        a, v, t = (torch.cat((ones, one), dim=1) for one in hs)
        fusion_tensor = torch.bmm(a.unsqueeze(2), v.unsqueeze(1)).view(batch_size, -1)
        y = self.post(fusion_tensor)
        zy = 1
        for one, factor in zip((a, v, t), self.factors):
            zy = zy * torch.matmul(one, factor)
        output = (
            torch.matmul(self.fusion_weights, zy.permute(1, 0, 2)).squeeze(1) + self.fusion_bias
        )
        return y + output


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "tabr_neighbours": lambda: (TabR(), INPUTS.numbers),
    "piecewise_linear_numbers": lambda: (PiecewiseLinear(), INPUTS.numbers),
    "field_aware": lambda: (FieldAware(), INPUTS.fields),
    "interest_evolution": lambda: (InterestEvolution(), INPUTS.tokens),
    "star_domains": lambda: (StarTopology(), INPUTS.numbers),
    "count_vae": lambda: (CountVae(), INPUTS.numbers),
    "recurrent_actor_critic": lambda: (RecurrentActorCritic(), (INPUTS.grey, torch.zeros(2, 12), torch.zeros(2, 12))),
    "tdmpc_simplices": lambda: (TdMpc(), INPUTS.numbers),
    "crystal_graph": lambda: (CrystalNet(), ATOMS),
    "painn_vectors": lambda: (Painn(), (INPUTS.nodes, INPUTS.points[:, :6])),
    "graph_vae": lambda: (GraphVae(), (INPUTS.nodes, INPUTS.edges)),
    "galerkin_attention": lambda: (Galerkin(), INPUTS.points),
    "transolver_slices": lambda: (Transolver(), INPUTS.points),
    "deep_potential": lambda: (DeepPotential(), INPUTS.points[:, :6]),
    "outer_product_mean": lambda: (OuterProductMean(), INPUTS.tokens),
    "kernel_head": lambda: (KernelHead(), INPUTS.numbers),
    "fused_modes": lambda: (FusedModes(), INPUTS.numbers),
}  # fmt: skip

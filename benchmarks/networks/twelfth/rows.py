"""Networks of the zoo over rows, sessions and graphs, twelfth sample: learners in turn, masks of features, edges, motifs."""

# ruff: noqa: B905, N803, N806, RUF007 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from benchmarks.networks.twelfth.inputs import CLICKS, EDGE_LIST, HISTORY, INPUTS, SESSION, SPECTRUM


class GrownLearners(nn.Module):
    """Small learners in turn, each of which reads the row and the last features of the one before; scores with learnt rates."""

    class Learner(nn.Module):
        def __init__(self, dim_in: int, h1: int, h2: int) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(dim_in)
            self.layer1, self.layer2, self.layer3 = (
                nn.Linear(dim_in, h1),
                nn.Linear(h1, h2),
                nn.Linear(h2, 1, bias=True),
            )
            self.relu, self.bn2 = nn.LeakyReLU(), nn.BatchNorm1d(h1)

        def forward(self, x: Tensor, lower_f: Tensor | None) -> tuple[Tensor, Tensor]:
            if lower_f is not None:
                x = torch.cat([x, lower_f], dim=1)
                x = self.bn(x)
            out = self.layer1(x)
            out = self.bn2(out)
            out = self.layer2(self.relu(out))
            return out, self.layer3(self.relu(out)).squeeze()

    def __init__(self, dim: int = 6, n: int = 3) -> None:
        super().__init__()
        self.models = nn.ModuleList([self.Learner(dim + (8 if i else 0), 14, 8) for i in range(n)])
        self.c0, self.boost_rate = (
            nn.Parameter(torch.tensor([0.2])),
            nn.Parameter(torch.tensor(0.7)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if len(self.models) == 0:
            return None, self.c0.repeat(x.shape[0])  # type: ignore[return-value]
        middle_feat_cum, prediction = None, None
        for m in self.models:
            if middle_feat_cum is None:
                middle_feat_cum, prediction = m(x, middle_feat_cum)
            else:
                middle_feat_cum, pred = m(x, middle_feat_cum)
                prediction += pred
        return middle_feat_cum, self.c0 + self.boost_rate * prediction


class SemiPermeable(nn.Module):
    """Attention between features that only the less important may pay to the more important, with gated layers around it."""

    def __init__(
        self, n: int = 6, d: int = 12, heads: int = 2, layers: int = 2, out: int = 3
    ) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(n, d) * 0.3),
            nn.Parameter(torch.randn(n, d) * 0.3),
        )
        self.n_heads, self.layers = heads, nn.ModuleList([])
        for layer_idx in range(layers):
            layer = nn.ModuleDict({k: nn.Linear(d, d) for k in ("W_q", "W_k", "W_v", "W_out")})
            layer.update({"linear0": nn.Linear(d, 2 * d), "norm1": nn.LayerNorm(d)})
            if layer_idx:
                layer["norm0"] = nn.LayerNorm(d)
            self.layers.append(layer)
        self.last_normalization, self.last_fc, self.head = (
            nn.LayerNorm(d),
            nn.Linear(n, out),
            nn.Linear(d, 1),
        )
        self.last_activation = nn.PReLU()

    def get_attention_mask(self, input_shape: tuple[int, ...], device: torch.device) -> Tensor:
        bs, _, seq_len = input_shape
        seq_ids = torch.arange(seq_len, device=device)
        attention_mask = seq_ids[None, None, :].repeat(bs, seq_len, 1) <= seq_ids[None, :, None]
        return (1.0 - attention_mask.float()) * -1e4

    def _reshape(self, x: Tensor) -> Tensor:
        batch_size, n_tokens, d = x.shape
        d_head = d // self.n_heads
        return (
            x.reshape(batch_size, n_tokens, self.n_heads, d_head)
            .transpose(1, 2)
            .reshape(batch_size * self.n_heads, n_tokens, d_head)
        )

    def forward(self, x_num: Tensor) -> Tensor:
        x = self.weight[None] * x_num[:, :, None]
        x = torch.tanh(x + self.bias[None])
        mask = self.get_attention_mask((x.shape[0], self.n_heads, x.shape[1]), x.device)
        for layer in self.layers:
            layer = dict(layer.items())
            h = layer["norm0"](x) if "norm0" in layer else x
            q, k, v = layer["W_q"](h), layer["W_k"](h), layer["W_v"](h)
            for tensor in [q, k, v]:
                assert tensor.shape[-1] % self.n_heads == 0
            batch_size, d_head_value = len(q), v.shape[-1] // self.n_heads
            q, k = self._reshape(q), self._reshape(k)
            scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
            masks = mask.unsqueeze(1).expand(-1, self.n_heads, -1, -1).reshape(scores.shape)
            attention = F.softmax(scores + masks.to(scores), dim=-1)
            h = attention @ self._reshape(v)
            h = (
                h.reshape(batch_size, self.n_heads, -1, d_head_value)
                .transpose(1, 2)
                .reshape(batch_size, -1, self.n_heads * d_head_value)
            )
            x = x + layer["W_out"](h)
            h = layer["linear0"](layer["norm1"](x))
            gate, value = h.chunk(2, dim=-1)
            x = x + torch.tanh(gate) * value
        x = self.last_fc(self.last_normalization(x).transpose(1, 2)).transpose(1, 2)
        return self.head(self.last_activation(x)).squeeze(-1)


class SessionGraph(nn.Module):
    """Gated updates over the edges of a session in and out, then attention from the last click; scores of all items."""

    class GNN(nn.Module):
        def __init__(self, hidden_size: int, step: int = 1) -> None:
            super().__init__()
            self.step, self.hidden_size, self.input_size, self.gate_size = (
                step,
                hidden_size,
                hidden_size * 2,
                3 * hidden_size,
            )
            P = nn.Parameter
            self.w_ih, self.w_hh = (
                P(torch.Tensor(self.gate_size, self.input_size)),
                P(torch.Tensor(self.gate_size, hidden_size)),
            )
            self.b_ih, self.b_hh = P(torch.Tensor(self.gate_size)), P(torch.Tensor(self.gate_size))
            self.b_iah, self.b_oah = P(torch.Tensor(hidden_size)), P(torch.Tensor(hidden_size))
            self.linear_edge_in, self.linear_edge_out = (
                nn.Linear(hidden_size, hidden_size),
                nn.Linear(hidden_size, hidden_size),
            )

        def GNNCell(self, A: Tensor, hidden: Tensor) -> Tensor:  # noqa: N802
            input_in = torch.matmul(A[:, :, : A.shape[1]], self.linear_edge_in(hidden)) + self.b_iah
            input_out = (
                torch.matmul(A[:, :, A.shape[1] : 2 * A.shape[1]], self.linear_edge_out(hidden))
                + self.b_oah
            )
            inputs = torch.cat([input_in, input_out], 2)
            gi, gh = F.linear(inputs, self.w_ih, self.b_ih), F.linear(hidden, self.w_hh, self.b_hh)
            i_r, i_i, i_n = gi.chunk(3, 2)
            h_r, h_i, h_n = gh.chunk(3, 2)
            resetgate, inputgate = torch.sigmoid(i_r + h_r), torch.sigmoid(i_i + h_i)
            newgate = torch.tanh(i_n + resetgate * h_n)
            return newgate + inputgate * (hidden - newgate)

        def forward(self, A: Tensor, hidden: Tensor) -> Tensor:
            for _ in range(self.step):
                hidden = self.GNNCell(A, hidden)
            return hidden

    def __init__(self, n_node: int = 20, hidden_size: int = 10) -> None:
        super().__init__()
        self.hidden_size, self.embedding, self.gnn = (
            hidden_size,
            nn.Embedding(n_node, hidden_size),
            self.GNN(hidden_size, 2),
        )
        self.linear_one, self.linear_two = (
            nn.Linear(hidden_size, hidden_size),
            nn.Linear(hidden_size, hidden_size),
        )
        self.linear_three, self.linear_transform = (
            nn.Linear(hidden_size, 1, bias=False),
            nn.Linear(hidden_size * 2, hidden_size),
        )
        stdv = 1.0 / math.sqrt(hidden_size)
        for weight in self.parameters():
            weight.data.uniform_(-stdv, stdv)

    def forward(self, inputs: Tensor, A: Tensor, mask: Tensor) -> Tensor:
        hidden = self.gnn(A, self.embedding(inputs))
        ht = hidden[torch.arange(mask.shape[0]).long(), torch.sum(mask, 1).long() - 1]
        q1 = self.linear_one(ht).view(ht.shape[0], 1, ht.shape[1])
        q2 = self.linear_two(hidden)
        alpha = self.linear_three(torch.sigmoid(q1 + q2))
        a = torch.sum(alpha * hidden * mask.view(mask.shape[0], -1, 1).to(hidden.dtype), 1)
        a = self.linear_transform(torch.cat([a, ht], 1))
        b = self.embedding.weight[1:]
        return torch.matmul(a, b.transpose(1, 0))


class MultinomialVAE(nn.Module):
    """Clicks, normalised and dropped, into a latent normal and back, with lists of widths that are reversed."""

    def __init__(
        self,
        p_dims: tuple[int, ...] = (6, 14, 30),
        q_dims: list[int] | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.p_dims = list(p_dims)
        self.q_dims = q_dims if q_dims else self.p_dims[::-1]
        temp_q_dims = [*self.q_dims[:-1], self.q_dims[-1] * 2]
        self.q_layers = nn.ModuleList(
            [nn.Linear(i, o) for i, o in zip(temp_q_dims[:-1], temp_q_dims[1:])]
        )
        self.p_layers = nn.ModuleList(
            [nn.Linear(i, o) for i, o in zip(self.p_dims[:-1], self.p_dims[1:])]
        )
        self.drop = nn.Dropout(dropout)

    def encode(self, input: Tensor) -> tuple[Tensor, Tensor]:
        h = F.normalize(input)
        h = self.drop(h)
        for i, layer in enumerate(self.q_layers):
            h = layer(h)
            if i != len(self.q_layers) - 1:
                h = torch.tanh(h)
            else:
                mu, logvar = h[:, : self.q_dims[-1]], h[:, self.q_dims[-1] :]
        return mu, logvar

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.encode(input)
        if self.training:
            z = torch.exp(0.5 * logvar)
            z = torch.randn_like(z).mul(z).add_(mu)
        else:
            z = mu
        h = z
        for i, layer in enumerate(self.p_layers):
            h = torch.tanh(layer(h)) if i != len(self.p_layers) - 1 else layer(h)
        return h, mu, logvar


class BehaviourSequence(nn.Module):
    """A dictionary of what was seen, what is asked and a profile; an encoder layer over both, and a deep part with Dice."""

    class Dice(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.bn, self.alpha = (
                nn.BatchNorm1d(dim, eps=1e-9, affine=False),
                nn.Parameter(torch.zeros(dim)),
            )

        def forward(self, x: Tensor) -> Tensor:
            x_p = torch.sigmoid(self.bn(x))
            return self.alpha * (1 - x_p) * x + x_p * x

    def __init__(self, items: int = 20, d: int = 8, max_len: int = 7) -> None:
        super().__init__()
        self.embedding_dict = nn.ModuleDict(
            {"item": nn.Embedding(items, d, padding_idx=0), "position": nn.Embedding(max_len, d)}
        )
        self.transformer = nn.TransformerEncoderLayer(
            d_model=d, nhead=2, dim_feedforward=18, activation=nn.LeakyReLU(), batch_first=True
        )
        widths, layers = [d * max_len + 4, 24, 14], []
        for a, b in zip(widths[:-1], widths[1:]):
            layers += [nn.Linear(a, b), self.Dice(b), nn.Dropout(0.1)]
        self.dnn, self.fc_out = nn.Sequential(*layers), nn.Linear(14, 1)

    def forward(self, inputs: dict[str, Tensor] | None = None, **features: Tensor) -> Tensor:
        features = features if inputs is None else inputs
        seq = torch.cat([features["item_seq"], features["target_item"].unsqueeze(1)], dim=1)
        pos = torch.arange(seq.size(1) - 1, -1, -1, device=seq.device)
        x = self.embedding_dict["item"](seq) + self.embedding_dict["position"](pos)
        x = self.transformer(x)
        x = torch.cat([x.flatten(start_dim=1), features["profile"]], dim=-1)
        return torch.sigmoid(self.fc_out(self.dnn(x)))


class SparsemaxFunction(Function):
    """Projection to the simplex, with the gradient written out."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, dim: int = -1) -> Tensor:
        ctx.dim = dim
        input = input - input.max(dim=dim, keepdim=True)[0]
        rho = torch.arange(1, input.size(dim) + 1, device=input.device, dtype=input.dtype)
        input_srt, _ = torch.sort(input, descending=True, dim=dim)
        input_cumsum = input_srt.cumsum(dim) - 1
        support = rho * input_srt > input_cumsum
        support_size = support.sum(dim=dim).unsqueeze(dim)
        tau = input_cumsum.gather(dim, support_size - 1) / support_size.to(input.dtype)
        output = torch.clamp(input - tau, min=0)
        ctx.save_for_backward(support_size, output)
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        supp_size, output = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[output == 0] = 0
        v_hat = (
            grad_input.sum(dim=ctx.dim) / supp_size.to(output.dtype).squeeze(ctx.dim)
        ).unsqueeze(ctx.dim)
        return torch.where(output != 0, grad_input - v_hat, grad_input), None


class SparseConjunctions(nn.Module):
    """Columns chosen by a projection to the simplex, ghost batches, and soft conjunctions by multiplication of literals."""

    def __init__(self, dim: int = 6, formulas: int = 10, literals: int = 4, out: int = 3) -> None:
        super().__init__()
        self.virtual_batch_size, self.bn = 2, nn.BatchNorm1d(dim, momentum=0.02)
        self.mask, self.literals = (
            nn.Parameter(torch.randn(formulas, dim)),
            nn.Linear(dim, formulas * literals),
        )
        self.n_formulas, self.scale = formulas, nn.Parameter(torch.ones(formulas))
        self.fc = nn.Linear(formulas, out)

    def ghost(self, x: Tensor) -> Tensor:
        chunks = x.chunk(math.ceil(x.shape[0] / self.virtual_batch_size), 0)
        return torch.cat([self.bn(x_) for x_ in chunks], dim=0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ghost(x)
        prior = SparsemaxFunction.apply(self.mask, -1)
        lits = torch.tanh(self.literals(x)).view(x.shape[0], self.n_formulas, -1)
        gate = (x @ prior.t()).sigmoid()
        conj = torch.prod(0.5 * (lits + 1.0), dim=-1) * gate
        return self.fc(conj * self.scale)


class GatedEdges(nn.Module):
    """Edges as gates for their nodes, both normalised and added to what went in; global attention beside it."""

    class Layer(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            for name in "ABCDE":
                setattr(self, name, nn.Linear(d, d, bias=True))
            self.bn_node_x, self.bn_edge_e, self.norm = (
                nn.BatchNorm1d(d),
                nn.BatchNorm1d(d),
                nn.BatchNorm1d(d),
            )
            self.self_attn = nn.MultiheadAttention(d, 2, dropout=0.1, batch_first=True)
            self.ff_linear1, self.ff_linear2 = nn.Linear(d, d * 2), nn.Linear(d * 2, d)

        def forward(self, x: Tensor, e: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
            x_in, e_in = x, e
            Ax, Bx, Ce, Dx, Ex = self.A(x), self.B(x), self.C(e), self.D(x), self.E(x)
            j, i = edge_index
            e_ij = Dx[i] + Ex[j] + Ce
            sigma_ij = torch.sigmoid(e_ij)
            dim_size = Bx.shape[0]
            num = torch.zeros(dim_size, Bx.shape[1], dtype=x.dtype).index_add(
                0, i, sigma_ij * Bx[j]
            )
            den = torch.zeros(dim_size, Bx.shape[1], dtype=x.dtype).index_add_(0, i, sigma_ij)
            x = F.relu(self.bn_node_x(Ax + num / (den + 1e-6)))
            e = F.relu(self.bn_edge_e(e_ij))
            h_local, e = x_in + x, e_in + e
            h = x_in.unsqueeze(0)
            h_attn = x_in + self.self_attn(h, h, h, need_weights=False)[0].squeeze(0)
            h = sum([h_local, h_attn])
            h = h + self.ff_linear2(F.relu(self.ff_linear1(h)))
            return self.norm(h), e

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.node_encoder, self.edge_encoder = nn.Linear(5, d), nn.Linear(3, d)
        self.layers = nn.ModuleList(self.Layer(d) for _ in range(2))
        self.head = nn.Sequential(nn.Linear(d, 10), nn.ReLU(), nn.Linear(10, 2))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        x, e = self.node_encoder(x), self.edge_encoder(edge_attr)
        for layer in self.layers:
            x, e = layer(x, e, edge_index)
        return self.head(x)


class SignInvariant(nn.Module):
    """Eigenvectors of either sign through one network, summed over signs, then over vectors, beside the features of nodes."""

    def __init__(self, k: int = 4, hidden: int = 10, out: int = 6) -> None:
        super().__init__()
        self.enc = nn.ModuleList([nn.Linear(1, hidden), nn.Linear(hidden, hidden)])
        self.bns, self.k = nn.ModuleList([nn.BatchNorm1d(hidden) for _ in range(2)]), k
        self.rho = nn.Sequential(nn.Linear(hidden * k, 14), nn.ReLU(), nn.Linear(14, out))
        self.lin, self.pred = nn.Linear(5 + out, 12), nn.Linear(12, 1)

    def phi(self, x: Tensor) -> Tensor:
        for lin, bn in zip(self.enc, self.bns):
            x = F.relu(lin(x))
            if x.ndim == 2:
                x = bn(x)
            elif x.ndim == 4:
                n, a, b, c = x.shape
                x = bn(x.reshape(-1, c)).view(n, a, b, c)
            else:
                raise ValueError("invalid dimension of x")
        return x

    def forward(self, eigvecs: Tensor, x: Tensor) -> Tensor:
        v = eigvecs.unsqueeze(-1)
        v = self.phi(v) + self.phi(-v)
        v = self.rho(v.flatten(2))
        h = F.elu(self.lin(torch.cat((x, v), dim=-1)))
        return self.pred(h.sum(dim=1)).squeeze(-1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "grown_learners": lambda: (GrownLearners(), INPUTS.numbers),
    "semi_permeable": lambda: (SemiPermeable(), INPUTS.numbers),
    "session_graph": lambda: (SessionGraph(), SESSION),
    "multinomial_vae": lambda: (MultinomialVAE(), CLICKS),
    "behaviour_sequence": lambda: (BehaviourSequence(), HISTORY),
    "sparse_conjunctions": lambda: (SparseConjunctions(), INPUTS.numbers),
    "gated_edges": lambda: (GatedEdges(), EDGE_LIST),
    "sign_invariant": lambda: (SignInvariant(), SPECTRUM),
}

"""Networks of the zoo over tokens, eleventh sample: matrix memories, differences of attention, late meetings, choices."""

# ruff: noqa: N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eleventh.inputs import HISTORY, INPUTS, TWO_TEXTS


class StateSpaceDuality(nn.Module):
    """A state-space layer as products of matrices in chunks, with decays by sums over segments."""

    def __init__(self, d: int = 12, heads: int = 3, state: int = 4, chunk: int = 4) -> None:
        super().__init__()
        self.emb, self.nheads, self.state, self.chunk = nn.Embedding(30, d), heads, state, chunk
        self.d_inner = 2 * d
        self.in_proj = nn.Linear(d, 2 * self.d_inner + 2 * state + heads, bias=False)
        width = self.d_inner + 2 * state
        self.conv1d = nn.Conv1d(width, width, 4, groups=width, padding=3)
        self.dt_bias, self.A_log = nn.Parameter(torch.rand(heads)), nn.Parameter(torch.rand(heads))
        self.D, self.norm = nn.Parameter(torch.ones(heads)), nn.RMSNorm(self.d_inner)
        self.out_proj, self.head = nn.Linear(self.d_inner, d, bias=False), nn.Linear(d, 30)

    @staticmethod
    def segsum(x: Tensor) -> Tensor:
        T = x.size(-1)
        x = x[..., None].repeat(1, 1, 1, 1, T)
        mask = torch.tril(torch.ones(T, T, dtype=torch.bool), diagonal=-1)
        x = torch.cumsum(x.masked_fill(~mask, 0), dim=-2)
        return x.masked_fill(~torch.tril(torch.ones(T, T, dtype=torch.bool)), -torch.inf)

    def forward(self, ids: Tensor) -> Tensor:
        u = self.emb(ids)
        batch, length, _ = u.shape
        zxbcdt = self.in_proj(u)
        parts = [self.d_inner, self.d_inner + 2 * self.state, self.nheads]
        z, xBC, dt = torch.split(zxbcdt, parts, dim=-1)
        dt = F.softplus(dt + self.dt_bias)
        xBC = F.silu(self.conv1d(xBC.transpose(1, 2)).transpose(1, 2)[:, :length, :])
        x, B, C = torch.split(xBC, [self.d_inner, self.state, self.state], dim=-1)
        A = -torch.exp(self.A_log)
        x = x.view(batch, length // self.chunk, self.chunk, self.nheads, -1)
        X = x * dt.view(batch, -1, self.chunk, self.nheads, 1)
        A = (A * dt).view(batch, -1, self.chunk, self.nheads).permute(0, 3, 1, 2)
        B = B.reshape(batch, -1, self.chunk, 1, self.state).expand(-1, -1, -1, self.nheads, -1)
        C = C.reshape(batch, -1, self.chunk, 1, self.state).expand(-1, -1, -1, self.nheads, -1)
        A_cumsum = torch.cumsum(A, dim=-1)
        L = torch.exp(self.segsum(A))
        Y_diag = torch.einsum("bclhn,bcshn,bhcls,bcshp->bclhp", C, B, L, X)
        decay = torch.exp(A_cumsum[:, :, :, -1:] - A_cumsum)
        states = torch.einsum("bclhn,bhcl,bclhp->bchpn", B, decay, X)
        states = torch.cat([torch.zeros_like(states[:, :1]), states], dim=1)
        chunk_decay = torch.exp(
            self.segsum(F.pad(A_cumsum[:, :, :, -1], (1, 0))[:, :, None])[:, :, 0]
        )
        states = torch.einsum("bhzc,bchpn->bzhpn", chunk_decay, states)[:, :-1]
        Y_off = torch.einsum("bclhn,bchpn,bhcl->bclhp", C, states, torch.exp(A_cumsum))
        y = Y_diag + Y_off + x * self.D[:, None]
        y = self.norm(y.reshape(batch, length, -1) * F.silu(z))
        return self.head(u + self.out_proj(y))


class MatrixMemory(nn.Module):
    """Memories of matrices with exponential gates, all steps at once, held down by the largest exponent."""

    class Cell(nn.Module):
        def __init__(self, d: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(2 * d, d)
            self.q, self.k, self.v = (nn.Linear(2 * d, 2 * d, bias=False) for _ in range(3))
            self.igate, self.fgate = nn.Linear(6 * d, heads), nn.Linear(6 * d, heads)
            self.outnorm = nn.GroupNorm(heads, 2 * d)
            self.skip = nn.Parameter(torch.ones(2 * d))
            self.conv = nn.Conv1d(2 * d, 2 * d, 3, groups=2 * d)

        def forward(self, x: Tensor) -> Tensor:
            x_m, z = torch.chunk(self.up(x), chunks=2, dim=-1)
            conv = F.silu(self.conv(F.pad(x_m.transpose(1, 2), (2, 0))).transpose(1, 2))
            q, k, v = self.q(conv), self.k(conv), self.v(x_m)
            B, S, _ = q.shape
            gates = torch.cat([q, k, v], dim=-1)
            i = self.igate(gates).transpose(-1, -2).unsqueeze(-1)
            f = F.logsigmoid(self.fgate(gates).transpose(-1, -2).unsqueeze(-1))
            q, k, v = (t.view(B, S, self.heads, -1).transpose(1, 2) for t in (q, k, v))
            cum = torch.cat([torch.zeros_like(f[:, :, :1]), torch.cumsum(f, dim=-2)], dim=-2)
            rep = cum.repeat(1, 1, 1, S + 1)
            matrix = (rep - rep.transpose(-2, -1))[:, :, 1:, 1:]
            ltr = torch.tril(torch.ones((S, S), dtype=torch.bool, device=x.device))
            log_D = matrix.masked_fill(~ltr, -float("inf")) + i.transpose(-2, -1)
            max_log_D = torch.max(log_D, dim=-1, keepdim=True)[0]
            C = (q @ (k / math.sqrt(q.size(-1))).transpose(-2, -1)) * torch.exp(log_D - max_log_D)
            n = torch.maximum(C.sum(dim=-1, keepdim=True).abs(), torch.exp(-max_log_D))
            h = (C / (n + 1e-6)) @ v
            h = h.transpose(1, 2).reshape(B * S, -1)
            h = self.outnorm(h).view(B, S, -1)
            return x + self.down((h + self.skip * conv) * F.silu(z))

    def __init__(self, d: int = 8, layers: int = 2) -> None:
        super().__init__()
        self.emb = nn.Embedding(30, d)
        self.net = nn.Sequential(OrderedDict((f"cell{n}", self.Cell(d, 2)) for n in range(layers)))
        self.net.add_module("norm", nn.LayerNorm(d))
        self.net.append(nn.Linear(d, 30))

    def forward(self, ids: Tensor) -> Tensor:
        return self.net(self.emb(ids))


class Difference(nn.Module):
    """The difference of two attentions, by a learnt weight of products of vectors; heads normalised on their own."""

    def __init__(self, d: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.emb, self.h, self.hd = nn.Embedding(30, d), heads, d // heads // 2
        self.q_proj, self.k_proj = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.v_proj, self.out_proj = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3)
        for name in ("q1", "k1", "q2", "k2"):
            p = nn.Parameter(torch.zeros(self.hd).normal_(mean=0, std=0.1))
            self.register_parameter(f"lambda_{name}", p)
        self.subln = nn.RMSNorm(2 * self.hd, eps=1e-5, elementwise_affine=True)
        self.gate, self.fc = nn.Linear(d, 20, bias=False), nn.Linear(d, 20, bias=False)
        self.down, self.norm = nn.Linear(20, d, bias=False), nn.RMSNorm(d)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        bsz, n, d = x.size()
        q = self.q_proj(x).view(bsz, n, 2 * self.h, self.hd).transpose(1, 2) * self.hd**-0.5
        k = self.k_proj(x).view(bsz, n, 2 * self.h, self.hd).transpose(1, 2)
        v = self.v_proj(x).view(bsz, n, self.h, 2 * self.hd).transpose(1, 2)
        scores = q @ k.transpose(-1, -2)
        scores = torch.nan_to_num(scores)
        scores += torch.triu(torch.zeros(n, n).float().fill_(float("-inf")).type_as(scores), 1)
        w = F.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores)
        lambda_1 = torch.exp(torch.sum(self.lambda_q1 * self.lambda_k1, dim=-1).float())
        lambda_2 = torch.exp(torch.sum(self.lambda_q2 * self.lambda_k2, dim=-1).float())
        lam = (lambda_1 - lambda_2 + self.lambda_init).type_as(q)
        w = w.view(bsz, self.h, 2, n, n)
        w = w[:, :, 0] - lam * w[:, :, 1]
        a = self.subln(w @ v) * (1 - self.lambda_init)
        x = x + self.out_proj(a.transpose(1, 2).reshape(bsz, n, self.h * 2 * self.hd))
        h = self.norm(x)
        return (x + self.down(F.silu(self.gate(h)) * self.fc(h))) @ self.emb.weight.T


class OnTheSphere(nn.Module):
    """A transformer whose vectors stay of length one: learnt steps towards each block's answer, scales of everything."""

    def __init__(self, d: int = 16, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.wte, self.heads = nn.Embedding(30, d), heads
        self.blocks = nn.ModuleList()
        for _ in range(layers):
            self.blocks.append(
                nn.ModuleDict(
                    {
                        **{k: nn.Linear(d, d, bias=False) for k in ("query", "key", "value", "c")},
                        "c_fc": nn.Linear(d, 2 * 24, bias=False),
                        "mlp_c": nn.Linear(24, d, bias=False),
                    }
                )
            )
        self.attn_alpha = nn.ParameterList(torch.full((d,), 0.05) for _ in range(layers))
        self.mlp_alpha = nn.ParameterList(torch.full((d,), 0.05) for _ in range(layers))
        self.sqk = nn.Parameter(torch.ones(layers, d))
        self.suv, self.sz = nn.Parameter(torch.ones(layers, 48)), nn.Parameter(torch.ones(30))
        self.lm_head = nn.Linear(d, 30, bias=False)

    @staticmethod
    def justnorm(x: Tensor, idim: int = -1) -> Tensor:
        return x / x.norm(p=2, dim=idim, keepdim=True)

    def forward(self, idx: Tensor) -> Tensor:
        h = self.wte(idx)
        B, T, C = h.size()
        for n, block in enumerate(self.blocks):
            q, k, v = (block[name](h) for name in ("query", "key", "value"))
            sqk = self.sqk[n].view(1, 1, self.heads, C // self.heads)
            q = sqk * self.justnorm(q.view(B, T, self.heads, C // self.heads))
            k = sqk * self.justnorm(k.view(B, T, self.heads, C // self.heads))
            v = v.view(B, T, self.heads, C // self.heads)
            y = F.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, scale=2.8
            )
            h_att = block["c"](y.transpose(1, 2).contiguous().view(B, T, C))
            a = self.justnorm(h)
            h = self.justnorm(a + torch.abs(self.attn_alpha[n]) * (self.justnorm(h_att) - a))
            u, gate = torch.chunk(self.suv[n] * block["c_fc"](h), 2, dim=-1)
            h_mlp = block["mlp_c"](u * F.silu(gate))
            a = self.justnorm(h)
            h = self.justnorm(a + torch.abs(self.mlp_alpha[n]) * (self.justnorm(h_mlp) - a))
        return self.sz * self.lm_head(h)


class TestTimeTraining(nn.Module):
    """A layer whose state is a small linear model, trained by a step of gradient descent on each token."""

    def __init__(self, d: int = 12, heads: int = 2) -> None:
        super().__init__()
        self.emb, self.heads, self.hd = nn.Embedding(30, d), heads, d // heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.W1 = nn.Parameter(torch.randn(heads, self.hd, self.hd) * 0.02)
        self.b1 = nn.Parameter(torch.zeros(heads, 1, self.hd))
        self.lr, self.post_norm, self.out = nn.Linear(d, heads), nn.LayerNorm(d), nn.Linear(d, 30)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        B, L, _ = x.shape
        XQ, XK, XV = (
            w(x).reshape(B, L, self.heads, self.hd).permute(0, 2, 1, 3)
            for w in (self.wq, self.wk, self.wv)
        )
        eta = torch.sigmoid(self.lr(x)).permute(0, 2, 1)[..., None] / self.hd
        W = self.W1[None].repeat(B, 1, 1, 1)
        b = self.b1.unsqueeze(0).expand(B, -1, -1, -1)
        out = []
        for t in range(L):
            q, k, v = XQ[:, :, t : t + 1], XK[:, :, t : t + 1], XV[:, :, t : t + 1]
            grad = k @ W + b - (v - k)
            W = W - eta[:, :, t : t + 1] * (k.transpose(-2, -1) @ grad)
            b = b - eta[:, :, t : t + 1] * grad
            out.append(q + q @ W + b)
        y = torch.cat(out, dim=2).transpose(1, 2).flatten(2)
        return self.out(x + self.wo(self.post_norm(y)))


class LateInteraction(nn.Module):
    """Each word of a question finds its best word of a text; their cosines are summed."""

    def __init__(self, d: int = 16, dim: int = 8) -> None:
        super().__init__()
        self.emb = nn.Embedding(30, d, padding_idx=0)
        self.encoder = nn.GRU(d, d, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * d, dim, bias=False)
        self.skiplist = {3: True, 7: True}

    def encode(self, ids: Tensor) -> Tensor:
        x = self.linear(self.encoder(self.emb(ids))[0])
        return F.normalize(x, p=2, dim=2)

    def forward(self, doc: Tensor, query: Tensor) -> Tensor:
        Q, D = self.encode(query), self.encode(doc)
        keep = (doc > 0).unsqueeze(-1).to(D.dtype)
        return (Q @ (D * keep).permute(0, 2, 1)).max(2).values.sum(1)


class Splade(nn.Module):
    """Words of a vocabulary weighed by the largest logarithm over places; two texts compared by these."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.emb, self.pos = nn.Embedding(30, d), nn.Embedding(16, d)
        layer = nn.TransformerEncoderLayer(d, 2, 20, 0.0, "gelu", batch_first=True)
        self.enc = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.transform = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d))
        self.bias = nn.Parameter(torch.zeros(30))
        self.register_buffer("position_ids", torch.arange(16).expand((1, -1)), persistent=False)

    def represent(self, ids: Tensor) -> Tensor:
        x = self.emb(ids) + self.pos(self.position_ids[:, : ids.size(1)])
        logits = F.linear(self.transform(self.enc(x)), self.emb.weight, self.bias)
        return torch.max(torch.log(1 + torch.relu(logits)), dim=1).values

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.bmm(self.represent(a).unsqueeze(1), self.represent(b).unsqueeze(-1)).squeeze()


class Pointwise(nn.Module):
    """Attention by SiLU in place of softmax, with biases of places and times; a product with gates; next items."""

    def __init__(self, d: int = 12, heads: int = 2, items: int = 30) -> None:
        super().__init__()
        self.item, self.heads = nn.Embedding(items, d, padding_idx=0), heads
        self.uvqk = nn.Parameter(torch.empty(d, 4 * d).normal_(mean=0, std=0.2))
        self.rel_pos, self.rel_time = nn.Parameter(torch.randn(15)), nn.Parameter(torch.randn(9))
        self.out, self.eps = nn.Linear(d, d), 1e-6
        self.score = nn.Embedding(items, d)

    def forward(self, ids: Tensor, times: Tensor) -> Tensor:
        x = self.item(ids)
        B, n, d = x.shape
        u, v, q, k = torch.split(
            F.silu(F.layer_norm(x, [d], eps=self.eps) @ self.uvqk), [d, d, d, d], dim=-1
        )
        dh = d // self.heads
        qk = torch.einsum(
            "bnhd,bmhd->bhnm", q.view(B, n, self.heads, dh), k.view(B, n, self.heads, dh)
        )
        ext = F.pad(self.rel_pos[: 2 * n - 1], [0, n]).repeat(n)[..., :-n].reshape(n, 3 * n - 2)
        pos = ext[:, (2 * n - 1) // 2 : -((2 * n - 1) // 2)]
        delta = torch.clamp((times[:, :, None] - times[:, None, :]).abs() // 4, max=8)
        bias = pos + self.rel_time[delta]
        mask = torch.tril(torch.ones(n, n).to(x))
        a = F.silu(qk + bias.unsqueeze(1)) / n * mask
        y = torch.einsum("bhnm,bmhd->bnhd", a, v.view(B, n, self.heads, dh)).reshape(B, n, d)
        x = self.out(u * F.layer_norm(y, [d], eps=self.eps)) + x
        return F.normalize(x[:, -1], dim=-1) @ F.normalize(self.score.weight, dim=-1).t() / 0.05


class ChosenByExperts(nn.Module):
    """Experts choose tokens, not tokens experts: the best of each are gathered, changed and put back."""

    def __init__(self, d: int = 12, experts: int = 3, hidden: int = 16) -> None:
        super().__init__()
        self.emb, self.router = nn.Embedding(30, d), nn.Linear(d, experts, bias=False)
        self.w1 = nn.Parameter(torch.randn(experts, d, hidden) * 0.2)
        self.w2 = nn.Parameter(torch.randn(experts, hidden, d) * 0.2)
        self.norm, self.head, self.capacity = nn.LayerNorm(d), nn.Linear(d, 30), 4

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        h = self.norm(x)
        scores = self.router(h).softmax(dim=-1).transpose(1, 2)
        G, I = torch.topk(scores, self.capacity, dim=-1)  # noqa: E741
        P = F.one_hot(I, num_classes=h.shape[1]).to(h.dtype)
        x_in = torch.einsum("beks,bsd->bekd", P, h)
        mid = F.gelu(torch.einsum("bekd,edh->bekh", x_in, self.w1))
        x_e = torch.einsum("bekh,ehd->bekd", mid, self.w2)
        return self.head(x + torch.einsum("beks,bek,bekd->bsd", P, G, x_e))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "state_space_duality": lambda: (StateSpaceDuality(), INPUTS.tokens),
    "matrix_memory": lambda: (MatrixMemory(), INPUTS.tokens),
    "difference_attention": lambda: (Difference(), INPUTS.tokens),
    "on_the_sphere": lambda: (OnTheSphere(), INPUTS.tokens),
    "test_time_training": lambda: (TestTimeTraining(), INPUTS.tokens),
    "late_interaction": lambda: (LateInteraction(), TWO_TEXTS),
    "sparse_words": lambda: (Splade(), TWO_TEXTS),
    "pointwise_history": lambda: (Pointwise(), HISTORY),
    "chosen_by_experts": lambda: (ChosenByExperts(), INPUTS.tokens),
}

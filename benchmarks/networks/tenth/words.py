"""Networks of the zoo over tokens, tenth sample: no attention, halting, keys in products, prefixes, subclassed layers."""

# ruff: noqa: B905, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.tenth.inputs import INPUTS


class AttentionFree(nn.Module):
    """Values weighed by keys and by learnt biases of pairs of places, of low rank; gated by queries."""

    def __init__(self, max_len: int, dim: int, hidden: int, rank: int = 4) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, hidden) for _ in range(3))
        self.project = nn.Linear(hidden, dim)
        self.u = nn.Parameter(torch.randn(max_len, rank) * 0.1)
        self.v = nn.Parameter(torch.randn(max_len, rank) * 0.1)
        self.register_buffer("causal", torch.tril(torch.ones(max_len, max_len)))

    def forward(self, x: Tensor) -> Tensor:
        _, T, _ = x.shape
        Q, K, V = self.to_q(x), self.to_k(x), self.to_v(x)
        bias = self.u[:T] @ self.v[:T].T
        w = torch.exp(bias - bias.amax(-1, keepdim=True)) * self.causal[:T, :T]
        k = torch.exp(K - K.max(dim=1, keepdim=True)[0].detach())
        num = torch.einsum("ts,bsd->btd", w, k * V)
        den = torch.einsum("ts,bsd->btd", w, k)
        return self.project(torch.sigmoid(Q) * num / den)


class AttentionFreeModel(nn.Module):
    """A language model without attention, whose norms have one scale for all channels."""

    class ScaleNorm(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            self.g, self.eps = nn.Parameter(torch.tensor(d**0.5)), 1e-5

        def forward(self, x: Tensor) -> Tensor:
            return x * (self.g / torch.norm(x, dim=-1, keepdim=True).clamp(min=self.eps))

    def __init__(self, vocab: int = 30, d: int = 16, layers: int = 2) -> None:
        super().__init__()
        self.tok = nn.Embedding(vocab, d)
        self.mix = nn.ModuleList(AttentionFree(12, d, 10) for _ in range(layers))
        self.ff = nn.ModuleList(
            nn.Sequential(nn.Linear(d, 24), nn.GELU("tanh"), nn.Linear(24, d))
            for _ in range(layers)
        )
        self.n1 = nn.ModuleList(self.ScaleNorm(d) for _ in range(layers))
        self.n2 = nn.ModuleList(self.ScaleNorm(d) for _ in range(layers))

    def forward(self, idx: Tensor) -> Tensor:
        x = self.tok(idx)
        for mix, ff, n1, n2 in zip(self.mix, self.ff, self.n1, self.n2):
            x = x + mix(n1(x))
            x = x + ff(n2(x))
        return x @ self.tok.weight.mT


class Universal(nn.Module):
    """One block for all steps, until each place has spent its chance to halt; at most four times."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.emb, self.max_steps, self.threshold = nn.Embedding(30, d), 4, 0.9
        self.step_emb = nn.Parameter(torch.randn(4, d) * 0.1)
        self.block = nn.TransformerEncoderLayer(d, 2, 20, 0.0, batch_first=True, norm_first=True)
        self.p, self.out = nn.Linear(d, 1), nn.Linear(d, 30)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = self.emb(ids)
        halting = torch.zeros(state.shape[:2]).to(state)
        remainders, n_updates = torch.zeros_like(halting), torch.zeros_like(halting)
        previous = torch.zeros_like(state)
        for step in range(self.max_steps):
            state = state + self.step_emb[step]
            p = torch.sigmoid(self.p(state)).squeeze(-1)
            running = (halting < 1.0).to(p.dtype)
            new_halted = (halting + p * running > self.threshold).to(p.dtype) * running
            running = (halting + p * running <= self.threshold).to(p.dtype) * running
            halting = halting + p * running
            remainders = remainders + new_halted * (1 - halting)
            halting = halting + new_halted * remainders
            n_updates = n_updates + running + new_halted
            weights = p * running + new_halted * remainders
            state = self.block(state)
            previous = state * weights.unsqueeze(-1) + previous * (1 - weights.unsqueeze(-1))
        return self.out(previous), remainders, n_updates


class ProductKeys(nn.Module):
    """A large memory looked up by two halves of a query: the best of both halves, then the best of their pairs."""

    def __init__(
        self, d: int, n_keys: int = 6, heads: int = 2, knn: int = 3, k_dim: int = 8
    ) -> None:
        super().__init__()
        self.n_keys, self.heads, self.knn, self.k_dim = n_keys, heads, knn, k_dim
        self.keys = nn.Parameter(torch.randn(heads, 2, n_keys, k_dim // 2) * 0.3)
        self.values = nn.EmbeddingBag(n_keys**2, d, mode="sum")
        self.query = nn.Sequential(nn.Linear(d, heads * k_dim), nn.LayerNorm(heads * k_dim))

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        q = self.query(x.reshape(-1, shape[-1])).view(-1, self.heads, 2, self.k_dim // 2)
        scores = torch.einsum("nhpd,hpkd->nhpk", q, self.keys)
        best, index = scores.topk(self.knn, dim=-1)
        (s1, s2), (i1, i2) = best.unbind(2), index.unbind(2)
        all_s = (s1[..., :, None] + s2[..., None, :]).flatten(2)
        all_i = (i1[..., :, None] * self.n_keys + i2[..., None, :]).flatten(2)
        s, at = all_s.topk(self.knn, dim=-1)
        i = all_i.gather(-1, at)
        s = F.softmax(s, dim=-1)
        out = self.values(i.flatten(1), per_sample_weights=s.flatten(1))
        return out.view(shape)


class MemoryModel(nn.Module):
    """A block whose feed-forward part is such a memory, between two plain ones."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.emb, self.ff1, self.ff2 = nn.Embedding(30, d), nn.Linear(d, 20), nn.Linear(20, d)
        self.memory, self.norm = ProductKeys(d), nn.LayerNorm(d)
        self.conv = nn.Conv1d(d, d, 3, groups=d)
        self.head = nn.Linear(d, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        x = x + self.ff2(F.relu(self.ff1(x)).square())
        x = x + self.memory(self.norm(x))
        x = self.conv(F.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)
        return self.head(x.mean(dim=1))


class RelativeLayer(nn.TransformerEncoderLayer):
    """Torch's layer with attention that has a bias for each distance, in buckets."""

    def __init__(self, d: int, h: int, ff: int) -> None:
        super().__init__(d, h, ff, dropout=0.0, batch_first=True)
        self.rel = nn.Embedding(8, h)

    def _sa_block(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        T = x.shape[1]
        places = torch.arange(T, device=x.device)
        delta = (places[None, :] - places[:, None]).abs()
        bucket = torch.where(delta < 4, delta, 4 + (delta.float() / 4).log2().long().clamp(max=3))
        bias = self.rel(bucket).permute(2, 0, 1).repeat(x.shape[0], 1, 1)
        out = self.self_attn(x, x, x, attn_mask=bias, need_weights=False)[0]
        return self.dropout1(out)


class RelativeEncoder(nn.Module):
    """Two such layers with a word at the front for the class."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.tok, self.cls = nn.Embedding(30, d, padding_idx=0), nn.Parameter(torch.zeros(1, 1, d))
        self.layers = nn.ModuleList([RelativeLayer(d, 2, 18), RelativeLayer(d, 2, 18)])
        self.pooler = nn.Sequential(nn.Linear(d, d), nn.Tanh(), nn.Linear(d, 3))

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.cat((self.cls.expand(len(ids), -1, -1), self.tok(ids)), 1)
        for layer in self.layers:
            x = layer(x)
        return self.pooler(x[:, 0])


class Prefixed(nn.Module):
    """Attention with learnt keys and values before those of the text, made by a small network; scaled keys and values."""

    class Attention(nn.Module):
        def __init__(self, d: int, h: int) -> None:
            super().__init__()
            self.h, self.dk = h, d // h
            self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.l_k, self.l_v = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))

        def split(self, t: Tensor) -> Tensor:
            return t.view(*t.shape[:-1], self.h, self.dk).transpose(-2, -3)

        def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> Tensor:
            q, k, v = self.qkv(x).tensor_split(3, dim=-1)
            q, k, v = map(self.split, (q, k * self.l_k, v * self.l_v))
            if past is not None:
                k, v = torch.cat([past[0], k], dim=-2), torch.cat([past[1], v], dim=-2)
            att = torch.baddbmm(
                q.new_zeros(()), q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), beta=0.0
            ).unflatten(0, (-1, self.h))
            att = att.div(math.sqrt(self.dk)).softmax(-1)
            return self.o((att @ v).transpose(1, 2).flatten(start_dim=2))

    def __init__(self, d: int = 12, h: int = 2, layers: int = 2, length: int = 3) -> None:
        super().__init__()
        self.h, self.layers, self.length, self.d = h, layers, length, d
        self.wte = nn.Embedding(30, d)
        self.attn = nn.ModuleList(self.Attention(d, h) for _ in range(layers))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(d, 20), nn.ReLU(), nn.Linear(20, d)) for _ in range(layers)
        )
        self.prefix = nn.Embedding(length, d)
        self.trans = nn.Sequential(nn.Linear(d, 10), nn.Tanh(), nn.Linear(10, layers * 2 * d))
        self.head = nn.Linear(d, 4)

    def forward(self, ids: Tensor) -> Tensor:
        b = ids.shape[0]
        tokens = torch.arange(self.length).unsqueeze(0).expand(b, -1)
        past = self.trans(self.prefix(tokens))
        past = past.view(b, self.length, self.layers * 2, self.h, self.d // self.h)
        past = past.permute([2, 0, 3, 1, 4]).split(2)
        x = self.wte(ids)
        for attn, mlp, p in zip(self.attn, self.mlp, past):
            x = x + attn(x, (p[0], p[1]))
            x = x + mlp(x)
        return self.head(x[:, -1])


class Nystrom(nn.Module):
    """Attention through means of landmarks and an inverse found by iteration, beside a depthwise convolution of values."""

    def __init__(self, d: int = 12, heads: int = 2, m: int = 4) -> None:
        super().__init__()
        self.heads, self.m, self.scale = heads, m, (d // heads) ** -0.5
        self.emb = nn.Embedding(30, d)
        self.to_qkv = nn.Linear(d, 3 * d, bias=False)
        self.res_conv = nn.Conv2d(heads, heads, (5, 1), padding=(2, 0), groups=heads, bias=False)
        self.to_out, self.norm, self.cls = nn.Linear(d, d), nn.LayerNorm(d), nn.Linear(d, 3)

    @staticmethod
    def pinv(x: Tensor, iters: int = 4) -> Tensor:
        abs_x = torch.abs(x)
        z = x.transpose(-1, -2) / (torch.max(abs_x.sum(dim=-1)) * torch.max(abs_x.sum(dim=-2)))
        eye = torch.eye(x.shape[-1], device=x.device, dtype=x.dtype)[None, None]
        for _ in range(iters):
            xz = x @ z
            z = 0.25 * z @ (13 * eye - (xz @ (15 * eye - (xz @ (7 * eye - xz)))))
        return z

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        b, n, _ = x.shape
        q, k, v = self.to_qkv(self.norm(x)).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q = q * self.scale
        ql, kl = (t.unflatten(2, (self.m, n // self.m)).mean(3) for t in (q, k))
        a1, a2, a3 = (
            torch.einsum("...id,...jd->...ij", *pair).softmax(-1)
            for pair in ((q, kl), (ql, kl), (ql, k))
        )
        out = (a1 @ self.pinv(a2)) @ (a3 @ v) + self.res_conv(v)
        x = x + self.to_out(out.movedim(1, 2).flatten(2))
        return self.cls(x.max(1).values)


@dataclass
class Options:
    """How a small synthesiser is built."""

    d_model: int = 12
    vocab: int = 30
    max_len: int = 8
    kind: str = "dense"
    act: Callable[[Tensor], Tensor] = field(
        default_factory=lambda: partial(F.leaky_relu, negative_slope=0.1)
    )


class Synthesizer(nn.Module):
    """Weights of pairs that are made from each place alone, or learnt; mixed, and a feed-forward layer by a hyper-network."""

    def __init__(self, opt: Options | None = None) -> None:
        super().__init__()
        self.opt = opt = opt or Options()
        d, n = opt.d_model, opt.max_len
        self.emb = nn.Embedding(opt.vocab, d)
        self.dense = nn.Sequential(nn.Linear(d, 10), nn.ReLU(), nn.Linear(10, n))
        self.rand = nn.Parameter(torch.randn(1, n, n) * 0.1)
        self.alpha = nn.Parameter(torch.zeros(2))
        self.value, self.norm = nn.Linear(d, d), nn.RMSNorm(d)
        self.hyper = nn.ModuleList([nn.Linear(d, 14), nn.Linear(d, 14)])
        self.head = nn.Linear(d, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        a = self.alpha.softmax(0)
        energy = a[0] * self.dense(x)[..., : ids.size(1)] + a[1] * self.rand
        x = x + torch.matmul(F.softmax(energy, -1), self.value(self.norm(x)))
        w1, w2 = (h(x) for h in self.hyper)
        mixed = self.opt.act(torch.matmul(w1.transpose(1, 2), x))
        x = x + w2 @ mixed
        return self.head(x).logsumexp(1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "attention_free": lambda: (AttentionFreeModel(), INPUTS.tokens),
    "universal_halting": lambda: (Universal(), INPUTS.tokens),
    "product_keys": lambda: (MemoryModel(), INPUTS.tokens),
    "relative_subclass": lambda: (RelativeEncoder(), INPUTS.tokens),
    "prefix_tuning": lambda: (Prefixed(), INPUTS.tokens),
    "nystrom_landmarks": lambda: (Nystrom(), INPUTS.tokens),
    "synthesizer": lambda: (Synthesizer(), INPUTS.tokens),
}

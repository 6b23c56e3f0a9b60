"""Networks of the zoo over words, fifth sample: memories, pointers, and attention in the forms of recent papers."""

# ruff: noqa: E501, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(53)
WORDS = torch.randint(1, 20, (2, 8), generator=_G)
STORIES = torch.randint(1, 20, (2, 4, 5), generator=_G)
SERIES = torch.randn(2, 24, 3, generator=_G)


class Hyena(nn.Module):
    """Long convolutions by FFT whose filters a small network of positions makes, between gates."""

    def __init__(self, d: int = 10, length: int = 24) -> None:
        super().__init__()
        self.d, self.inp, self.in_proj, self.out_proj = (
            d,
            nn.Linear(3, d),
            nn.Linear(d, 3 * d),
            nn.Linear(d, d),
        )
        self.short = nn.Conv1d(3 * d, 3 * d, 3, padding=2, groups=3 * d)
        self.implicit = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, d, bias=False))
        t = torch.linspace(0, 1, length)[None, :, None]
        self.register_buffer("z", torch.cat([t, torch.cos(6.28 * t), torch.sin(6.28 * t)], -1))
        self.bias, self.head = nn.Parameter(torch.randn(d)), nn.Linear(d, 4)

    def forward(self, x: Tensor) -> Tensor:
        u = self.in_proj(self.inp(x)).transpose(1, 2)
        L = u.shape[-1]
        uc = self.short(u)[..., :L]
        x0, x1, v = uc.split(self.d, dim=1)
        k = self.implicit(self.z[:, :L]).transpose(1, 2)
        v = v * x1
        k_f, v_f = torch.fft.rfft(k, n=2 * L) / (2 * L), torch.fft.rfft(v, n=2 * L)
        y = torch.fft.irfft(v_f * k_f, n=2 * L, norm="forward")[..., :L] + v * self.bias.unsqueeze(
            -1
        )
        return self.head(self.out_proj((y * x0).transpose(1, 2)).mean(1))


class RMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class LatentAttention(nn.Module):
    """MLA: keys and values from few shared numbers, positions in a part of each head that all keys share."""

    def __init__(
        self, d: int = 12, h: int = 2, lora: int = 6, nope: int = 4, rope: int = 2, v: int = 5
    ) -> None:
        super().__init__()
        self.h, self.lora, self.nope, self.rope, self.v = h, lora, nope, rope, v
        self.emb, self.norm, self.kv_norm = nn.Embedding(20, d), RMSNorm(d), RMSNorm(lora)
        self.wq, self.wkv_a = (
            nn.Linear(d, h * (nope + rope), bias=False),
            nn.Linear(d, lora + rope, bias=False),
        )
        self.wkv_b, self.wo = (
            nn.Linear(lora, h * (nope + v), bias=False),
            nn.Linear(h * v, d, bias=False),
        )
        self.head = nn.Linear(d, 20, bias=False)

    def rotary(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.size(1), dtype=x.dtype, device=x.device)[:, None, None] / 10.0
        x1, x2 = x.chunk(2, -1)
        return torch.cat(
            [x1 * angle.cos() - x2 * angle.sin(), x2 * angle.cos() + x1 * angle.sin()], -1
        )

    def forward(self, ids: Tensor) -> Tensor:
        h0 = self.emb(ids)
        x = self.norm(h0)
        bsz, seqlen, _ = x.size()
        q = self.wq(x).view(bsz, seqlen, self.h, self.nope + self.rope)
        q_nope, q_pe = torch.split(q, [self.nope, self.rope], dim=-1)
        kv, k_pe = torch.split(self.wkv_a(x), [self.lora, self.rope], dim=-1)
        k_pe = self.rotary(k_pe.unsqueeze(2))
        q = torch.cat([q_nope, self.rotary(q_pe)], dim=-1)
        kv = self.wkv_b(self.kv_norm(kv)).view(bsz, seqlen, self.h, self.nope + self.v)
        k_nope, v = torch.split(kv, [self.nope, self.v], dim=-1)
        k = torch.cat([k_nope, k_pe.expand(-1, -1, self.h, -1)], dim=-1)
        scores = torch.einsum("bshd,bthd->bsht", q, k) * (self.nope + self.rope) ** -0.5
        scores = scores + torch.full((seqlen, seqlen), float("-inf")).triu_(1).unsqueeze(1).type_as(
            scores
        )
        x = torch.einsum("bsht,bthd->bshd", scores.softmax(dim=-1), v)
        return self.head(h0 + self.wo(x.flatten(2)))


class LinearAttention(nn.Module):
    """Causal linear attention: features elu + 1, running sums of outer products."""

    def __init__(self, d: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads, self.emb, self.pos = (
            heads,
            nn.Embedding(20, d),
            nn.Parameter(torch.randn(1, 8, d)),
        )
        self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))
        self.ff, self.head = (
            nn.Sequential(nn.Linear(d, 18), nn.GELU(), nn.Linear(18, d)),
            nn.Linear(d, 20),
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids) + self.pos[:, : ids.size(1)]
        N, L, _ = x.shape
        H = self.heads
        Q, K, V = (f(x).view(N, L, H, -1) for f in (self.query, self.key, self.value))
        Q, K = F.elu(Q) + 1, F.elu(K) + 1
        KV = torch.einsum("nlhd,nlhm->nlhmd", K, V).cumsum(1)
        Z = 1 / (torch.einsum("nlhd,nlhd->nlh", Q, K.cumsum(1)) + 1e-6)
        out = torch.einsum("nlhd,nlhmd,nlh->nlhm", Q, KV, Z)
        x = x + self.out(out.contiguous().view(N, L, -1))
        return self.head(x + self.ff(x))


class DeltaNet(nn.Module):
    """A matrix of each head that unlearns what a key said before it learns anew, in a loop, with decays."""

    def __init__(self, d: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.emb = heads, nn.Embedding(20, d)
        self.q, self.k, self.v, self.b, self.a = (
            nn.Linear(d, d),
            nn.Linear(d, d),
            nn.Linear(d, d),
            nn.Linear(d, heads),
            nn.Linear(d, heads),
        )
        self.A_log, self.norm, self.g, self.o = (
            nn.Parameter(torch.zeros(heads)),
            RMSNorm(d // heads),
            nn.Linear(d, d),
            nn.Linear(d, 20),
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        b, l, _ = x.shape  # noqa: E741
        q, k, v = (
            f(x).view(b, l, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        q, k = F.normalize(q, dim=-1), F.normalize(F.silu(k), dim=-1)
        beta, decay = (
            self.b(x).sigmoid().transpose(1, 2),
            (-self.A_log.exp() * F.softplus(self.a(x))).exp().transpose(1, 2),
        )
        S = x.new_zeros(b, self.heads, k.size(-1), v.size(-1))
        o = torch.zeros_like(v)
        for i in range(l):
            S = S * decay[:, :, i, None, None]
            _k, _v = k[:, :, i], v[:, :, i]
            delta = (_v - (S * _k[..., None]).sum(-2)) * beta[:, :, i, None]
            S = S + _k.unsqueeze(-1) * delta.unsqueeze(-2)
            o[:, :, i] = torch.einsum("bhd,bhdm->bhm", q[:, :, i], S)
        o = self.norm(o.transpose(1, 2)).reshape(b, l, -1)
        return self.o(o * F.silu(self.g(x)))


class MemN2N(nn.Module):
    """Sentences as memories in several hops; the table that writes in one hop reads in the next."""

    def __init__(self, vocab: int = 20, d: int = 9, hops: int = 2, sent: int = 5) -> None:
        super().__init__()
        self.max_hops = hops
        for hop in range(hops + 1):
            C = nn.Embedding(vocab, d, padding_idx=0)
            C.weight.data.normal_(0, 0.1)
            self.add_module(f"C_{hop}", C)
        enc = (
            torch.ones(sent, d)
            - torch.rand(sent, d, generator=torch.Generator().manual_seed(5)) / 2
        )
        self.encoding = nn.Parameter(enc, requires_grad=False)

    def forward(self, story: Tensor, query: Tensor) -> Tensor:
        u = [torch.sum(self.C_0(query) * self.encoding.unsqueeze(0), 1)]
        for hop in range(self.max_hops):
            embed_A = getattr(self, f"C_{hop}")(story.view(story.size(0), -1))
            embed_A = embed_A.view((*story.size(), embed_A.size(-1)))
            m_A = torch.sum(embed_A * self.encoding.unsqueeze(0).unsqueeze(1).expand_as(embed_A), 2)
            prob = F.softmax(torch.sum(m_A * u[-1].unsqueeze(1).expand_as(m_A), 2), dim=1)
            embed_C = getattr(self, f"C_{hop + 1}")(story.view(story.size(0), -1)).view(
                (*story.size(), -1)
            )
            m_C = torch.sum(embed_C * self.encoding, 2)
            u.append(u[-1] + torch.sum(m_C * prob.unsqueeze(2).expand_as(m_C), 1))
        return u[-1] @ getattr(self, f"C_{self.max_hops}").weight.transpose(0, 1)


class PointerNet(nn.Module):
    """A decoder that points at inputs, and never twice at the same."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.emb, self.enc, self.cell = (
            nn.Linear(3, d),
            nn.LSTM(d, 10, batch_first=True),
            nn.LSTMCell(d, 10),
        )
        self.W1, self.W2, self.vt = (
            nn.Linear(10, 7, bias=False),
            nn.Linear(10, 7, bias=False),
            nn.Linear(7, 1, bias=False),
        )
        self.start = nn.Parameter(torch.randn(d))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        e = self.emb(x)
        batch = e.size(0)
        enc, (h, c) = self.enc(e)
        h, c = h[-1], c[-1]
        inp, mask, probs, pointers = (
            self.start.expand(batch, -1),
            torch.zeros(batch, x.size(1), dtype=torch.bool),
            [],
            [],
        )
        blend = self.W1(enc)
        for _ in range(3):
            h, c = self.cell(inp, (h, c))
            u = self.vt(torch.tanh(blend + self.W2(h).unsqueeze(1))).squeeze(-1)
            logp = F.log_softmax(u.masked_fill(mask, -1e4), dim=-1)
            idx = logp.argmax(-1)
            mask = mask.scatter(1, idx.unsqueeze(1), True)
            inp = e.gather(1, idx.view(-1, 1, 1).expand(-1, 1, e.size(-1))).squeeze(1)
            probs.append(logp)
            pointers.append(idx)
        return torch.stack(probs, 1), torch.stack(pointers, 1)


class BiLstmCrf(nn.Module):
    """The partition function of a chain of labels by its forward recursion, beside the scores."""

    def __init__(self, tags: int = 4) -> None:
        super().__init__()
        self.emb, self.lstm, self.fc = (
            nn.Embedding(20, 8),
            nn.LSTM(8, 6, bidirectional=True, batch_first=True),
            nn.Linear(12, tags),
        )
        self.drop = nn.Dropout(0.3)
        self.start, self.end, self.trans = (
            nn.Parameter(torch.randn(tags)),
            nn.Parameter(torch.randn(tags)),
            nn.Parameter(torch.randn(tags, tags)),
        )

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        emissions = self.fc(self.drop(self.lstm(self.emb(ids))[0]))
        e = emissions.transpose(0, 1)
        score = self.start + e[0]
        for i in range(1, ids.size(1)):
            nxt = torch.logsumexp(score.unsqueeze(2) + self.trans + e[i].unsqueeze(1), dim=1)
            score = torch.where(ids[:, i].ne(0).unsqueeze(1), nxt, score)
        return emissions, torch.logsumexp(score + self.end, dim=1)


class HierarchicalAttention(nn.Module):
    """Words make sentences, sentences a document, each by a GRU and a context vector."""

    def __init__(self, h: int = 5) -> None:
        super().__init__()
        self.emb, self.word_gru, self.sent_gru = (
            nn.Embedding(20, 8), nn.GRU(8, h, bidirectional=True, batch_first=True), nn.GRU(2 * h, h, bidirectional=True, batch_first=True))  # fmt: skip
        self.word_fc, self.word_ctx = nn.Linear(2 * h, 7), nn.Linear(7, 1, bias=False)
        self.sent_fc, self.sent_ctx, self.fc = (
            nn.Linear(2 * h, 7),
            nn.Parameter(torch.randn(7)),
            nn.Linear(2 * h, 4),
        )

    def forward(self, docs: Tensor) -> Tensor:
        b, s, w = docs.size()
        words, _ = self.word_gru(self.emb(docs.view(b * s, w)))
        att = torch.exp(self.word_ctx(torch.tanh(self.word_fc(words))).squeeze(2))
        att = att / torch.sum(att, dim=1, keepdim=True)
        sentences = (words * att.unsqueeze(2)).sum(dim=1).view(b, s, -1)
        out, _ = self.sent_gru(sentences)
        a = torch.softmax(torch.tanh(self.sent_fc(out)) @ self.sent_ctx, dim=1)
        return self.fc(torch.einsum("bs,bsd->bd", a, out))


class BitLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        scale = 1.0 / w.abs().mean().clamp_(min=1e-5)
        w_q = (w * scale).round().clamp_(-1, 1) / scale
        w = w + (w_q - w).detach()
        s = 127.0 / x.abs().max(dim=-1, keepdim=True).values.clamp_(min=1e-5)
        x = x + ((x * s).round().clamp_(-128, 127) / s - x).detach()
        return F.linear(x, w, self.bias)


class BitNet(nn.Module):
    """Weights of three values and activations of eight bits, with gradients straight through."""

    def __init__(self, d: int = 10) -> None:
        super().__init__()
        self.emb, self.n1, self.up, self.gate, self.down = (
            nn.Embedding(20, d),
            RMSNorm(d),
            BitLinear(d, 16),
            BitLinear(d, 16),
            BitLinear(16, d),
        )
        self.head = nn.Linear(d, 20)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        y = self.n1(x)
        x = x + self.down(F.relu(self.gate(y)) ** 2 * self.up(y))
        return self.head(x / math.sqrt(2))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "hyena_filters": lambda: (Hyena(), SERIES),
    "latent_attention": lambda: (LatentAttention(), WORDS),
    "linear_attention_elu": lambda: (LinearAttention(), WORDS),
    "delta_net": lambda: (DeltaNet(), WORDS),
    "memory_hops": lambda: (MemN2N(), (STORIES, STORIES[:, 0])),
    "pointer_net": lambda: (PointerNet(), SERIES[:, :6]),
    "bilstm_crf": lambda: (BiLstmCrf(), WORDS),
    "hierarchical_attention": lambda: (HierarchicalAttention(), STORIES),
    "bitnet": lambda: (BitNet(), WORDS),
}

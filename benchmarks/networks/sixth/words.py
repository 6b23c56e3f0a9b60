"""Networks of the zoo over words and sound, sixth sample."""

# ruff: noqa: B905, E501, E731, N803, N806 - names and lines as people write them
from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.networks.sixth.inputs import INPUTS


@dataclass
class LatentArgs:
    vocab: int = 30
    dim: int = 16
    n_heads: int = 2
    q_lora_rank: int = 10
    kv_lora_rank: int = 8
    qk_nope_head_dim: int = 6
    qk_rope_head_dim: int = 4
    v_head_dim: int = 5
    experts: int = 4
    active: int = 2
    moe_dim: int = 7


class Rms(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotated(x: Tensor, freqs_cis: Tensor) -> Tensor:
    x = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(x * freqs_cis.view(1, x.size(1), 1, x.size(-1))).flatten(3)


class Mla(nn.Module):
    """Attention through latent queries, keys and values; positions on a part of each head that all heads share."""

    def __init__(self, a: LatentArgs) -> None:
        super().__init__()
        self.n_local_heads, self.a = a.n_heads, a
        self.qk_head_dim = a.qk_nope_head_dim + a.qk_rope_head_dim
        self.wq_a, self.q_norm = nn.Linear(a.dim, a.q_lora_rank, bias=False), Rms(a.q_lora_rank)
        self.wq_b = nn.Linear(a.q_lora_rank, a.n_heads * self.qk_head_dim, bias=False)
        self.wkv_a = nn.Linear(a.dim, a.kv_lora_rank + a.qk_rope_head_dim, bias=False)
        self.kv_norm = Rms(a.kv_lora_rank)
        self.wkv_b = nn.Linear(
            a.kv_lora_rank, a.n_heads * (a.qk_nope_head_dim + a.v_head_dim), bias=False
        )
        self.wo = nn.Linear(a.n_heads * a.v_head_dim, a.dim, bias=False)
        self.softmax_scale = self.qk_head_dim**-0.5

    def forward(self, x: Tensor, freqs_cis: Tensor, mask: Tensor) -> Tensor:
        bsz, seqlen, _ = x.size()
        q = self.wq_b(self.q_norm(self.wq_a(x))).view(
            bsz, seqlen, self.n_local_heads, self.qk_head_dim
        )
        q_nope, q_pe = torch.split(q, [self.a.qk_nope_head_dim, self.a.qk_rope_head_dim], dim=-1)
        q = torch.cat([q_nope, rotated(q_pe, freqs_cis)], dim=-1)
        kv, k_pe = torch.split(
            self.wkv_a(x), [self.a.kv_lora_rank, self.a.qk_rope_head_dim], dim=-1
        )
        k_pe = rotated(k_pe.unsqueeze(2), freqs_cis)
        kv = self.wkv_b(self.kv_norm(kv)).view(bsz, seqlen, self.n_local_heads, -1)
        k_nope, v = torch.split(kv, [self.a.qk_nope_head_dim, self.a.v_head_dim], dim=-1)
        k = torch.cat([k_nope, k_pe.expand(-1, -1, self.n_local_heads, -1)], dim=-1)
        scores = torch.einsum("bshd,bthd->bsht", q, k) * self.softmax_scale + mask.unsqueeze(1)
        x = torch.einsum("bsht,bthd->bshd", scores.softmax(dim=-1), v)
        return self.wo(x.flatten(2))


class ExpertMlp(nn.Module):
    def __init__(self, dim: int, inter: int) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = (
            nn.Linear(dim, inter, bias=False),
            nn.Linear(inter, dim, bias=False),
            nn.Linear(dim, inter, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class RoutedExperts(nn.Module):
    """Experts that see the tokens sent to them alone, put back by index, and one that all tokens share."""

    def __init__(self, a: LatentArgs) -> None:
        super().__init__()
        self.a, self.gate = a, nn.Linear(a.dim, a.experts, bias=False)
        self.experts = nn.ModuleList([ExpertMlp(a.dim, a.moe_dim) for _ in range(a.experts)])
        self.shared_experts = ExpertMlp(a.dim, a.moe_dim)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.size()
        x = x.view(-1, self.a.dim)
        scores = self.gate(x).sigmoid()
        weights, indices = torch.topk(scores, self.a.active, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        y = torch.zeros_like(x)
        for i in range(self.a.experts):
            idx, top = torch.where(indices == i)
            y[idx] += self.experts[i](x[idx]) * weights[idx, top, None]
        return (y + self.shared_experts(x)).view(shape)


class DenseExperts(nn.Module):
    """All experts at once as one weight of three dimensions, mixed by gates that are zero but for the best."""

    def __init__(self, a: LatentArgs) -> None:
        super().__init__()
        self.gate, self.top = nn.Linear(a.dim, a.experts), a.active
        self.w_in = nn.Parameter(torch.randn(a.experts, a.dim, a.moe_dim) * 0.2)
        self.w_out = nn.Parameter(torch.randn(a.experts, a.moe_dim, a.dim) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.gate(x)
        kth = logits.topk(self.top, dim=-1).values[..., -1:]
        gates = logits.masked_fill(logits < kth, float("-inf")).softmax(-1)
        h = F.gelu(torch.einsum("btd,edf->btef", x, self.w_in))
        return torch.einsum("btef,efd,bte->btd", h, self.w_out, gates)


class LatentLm(nn.Module):
    def __init__(self, a: LatentArgs, experts: Callable[[LatentArgs], nn.Module]) -> None:
        super().__init__()
        self.embed, self.attn, self.ffn = nn.Embedding(a.vocab, a.dim), Mla(a), experts(a)
        self.attn_norm, self.ffn_norm, self.norm = Rms(a.dim), Rms(a.dim), Rms(a.dim)
        self.head = nn.Linear(a.dim, a.vocab, bias=False)
        freqs = 1.0 / (10000.0 ** (torch.arange(0, a.qk_rope_head_dim, 2) / a.qk_rope_head_dim))
        angles = torch.outer(torch.arange(32), freqs)
        self.register_buffer(
            "freqs_cis", torch.polar(torch.ones_like(angles), angles), persistent=False
        )

    def forward(self, tokens: Tensor) -> Tensor:
        seqlen = tokens.size(1)
        h = self.embed(tokens)
        mask = (
            torch.full((seqlen, seqlen), float("-inf"), device=tokens.device).triu_(1).to(h.dtype)
        )
        h = h + self.attn(self.attn_norm(h), self.freqs_cis[:seqlen], mask)
        return self.head(self.norm(h + self.ffn(self.ffn_norm(h))))


def clones(module: nn.Module, N: int) -> nn.ModuleList:
    return nn.ModuleList([copy.deepcopy(module) for _ in range(N)])


class MultiHeaded(nn.Module):
    def __init__(self, h: int, d_model: int) -> None:
        super().__init__()
        self.d_k, self.h = d_model // h, h
        self.linears, self.attn, self.dropout = (
            clones(nn.Linear(d_model, d_model), 4),
            None,
            nn.Dropout(0.1),
        )

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        mask = mask.unsqueeze(1)
        nbatches = query.size(0)
        query, key, value = [
            lin(x).view(nbatches, -1, self.h, self.d_k).transpose(1, 2)
            for lin, x in zip(self.linears, (query, key, value))
        ]
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(self.d_k)
        scores = scores.masked_fill(mask == 0, -1e9)
        self.attn = self.dropout(scores.softmax(dim=-1))
        x = (
            torch.matmul(self.attn, value)
            .transpose(1, 2)
            .contiguous()
            .view(nbatches, -1, self.h * self.d_k)
        )
        return self.linears[-1](x)


class AnnotatedLayer(nn.Module):
    def __init__(self, d: int, h: int, cross: bool) -> None:
        super().__init__()
        self.self_attn, self.src_attn = MultiHeaded(h, d), MultiHeaded(h, d) if cross else None
        self.w_1, self.w_2 = nn.Linear(d, 22), nn.Linear(22, d)
        self.norms, self.dropout = clones(nn.LayerNorm(d), 3), nn.Dropout(0.1)

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor | None = None, src_mask: Tensor | None = None
    ) -> Tensor:
        sublayer = lambda n, f: x + self.dropout(f(self.norms[n](x)))
        x = sublayer(0, lambda x: self.self_attn(x, x, x, mask))
        if self.src_attn is not None:
            x = sublayer(1, lambda x: self.src_attn(x, memory, memory, src_mask))
        return sublayer(2, lambda x: self.w_2(self.dropout(self.w_1(x).relu())))


class Annotated(nn.Module):
    """Encoder and decoder of clones, embeddings scaled by the root of their width, padding masked."""

    def __init__(self, vocab: int = 30, d: int = 12, h: int = 3) -> None:
        super().__init__()
        self.d_model = d
        self.src_embed, self.tgt_embed = nn.Embedding(vocab, d), nn.Embedding(vocab, d)
        pe = torch.zeros(40, d)
        div_term = torch.exp(torch.arange(0, d, 2) * -(math.log(10000.0) / d))
        pe[:, 0::2] = torch.sin(torch.arange(40).unsqueeze(1) * div_term)
        pe[:, 1::2] = torch.cos(torch.arange(40).unsqueeze(1) * div_term)
        self.register_buffer("pe", pe.unsqueeze(0))
        self.encoder, self.decoder = (
            clones(AnnotatedLayer(d, h, False), 2),
            clones(AnnotatedLayer(d, h, True), 1),
        )
        self.enc_norm, self.dec_norm, self.generator = (
            nn.LayerNorm(d),
            nn.LayerNorm(d),
            nn.Linear(d, vocab),
        )
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def embedded(self, lut: nn.Embedding, ids: Tensor) -> Tensor:
        x = lut(ids) * math.sqrt(self.d_model)
        return x + self.pe[:, : x.size(1)].requires_grad_(False)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        src_mask = (src != 0).unsqueeze(-2)
        size = tgt.size(-1)
        subsequent = torch.triu(torch.ones(1, size, size), diagonal=1).type(torch.uint8) == 0
        tgt_mask = (tgt != 0).unsqueeze(-2) & subsequent
        memory = self.embedded(self.src_embed, src)
        for layer in self.encoder:
            memory = layer(memory, src_mask)
        memory, x = self.enc_norm(memory), self.embedded(self.tgt_embed, tgt)
        for layer in self.decoder:
            x = layer(x, tgt_mask, memory, src_mask)
        return F.log_softmax(self.generator(self.dec_norm(x)), dim=-1)


class PackedTagger(nn.Module):
    """A two-way LSTM over packed sentences, their true lengths counted."""

    def __init__(self, vocab: int = 30, emb: int = 9, hidden: int = 7) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, emb, padding_idx=0)
        self.lstm = nn.LSTM(
            emb, hidden, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3
        )
        self.fc, self.dropout = nn.Linear(hidden * 2, 3), nn.Dropout(0.3)

    def forward(self, text: Tensor) -> Tensor:
        lengths = (text != 0).sum(dim=1).cpu()
        embedded = self.dropout(self.embedding(text))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)
        hidden = self.dropout(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1))
        return self.fc(hidden)


class PaddedTagger(PackedTagger):
    """The same, its outputs padded again and pooled."""

    def forward(self, text: Tensor) -> Tensor:
        lengths = (text > 0).sum(1)
        packed = pack_padded_sequence(
            self.embedding(text), lengths, batch_first=True, enforce_sorted=False
        )
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.fc(out.max(dim=1).values)


class BiDaf(nn.Module):
    """Context and question attend to each other, both ways; start and end of an answer."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.word_emb, self.hidden_size = nn.Embedding(30, 10), d
        for i in range(2):
            setattr(self, f"highway_linear{i}", nn.Sequential(nn.Linear(10, 10), nn.ReLU()))
            setattr(self, f"highway_gate{i}", nn.Sequential(nn.Linear(10, 10), nn.Sigmoid()))
        self.context_lstm = nn.LSTM(10, d, bidirectional=True, batch_first=True)
        self.att_weight_c, self.att_weight_q, self.att_weight_cq = (
            nn.Linear(2 * d, 1) for _ in range(3)
        )
        self.modeling = nn.LSTM(8 * d, d, bidirectional=True, batch_first=True)
        self.p1_g, self.p1_m, self.p2_g, self.p2_m = (
            nn.Linear(n, 1) for n in (8 * d, 2 * d, 8 * d, 2 * d)
        )

    def highway(self, x: Tensor) -> Tensor:
        for i in range(2):
            h, g = getattr(self, f"highway_linear{i}")(x), getattr(self, f"highway_gate{i}")(x)
            x = g * h + (1 - g) * x
        return x

    def att_flow(self, c: Tensor, q: Tensor) -> Tensor:
        c_len, q_len = c.size(1), q.size(1)
        cq = []
        for i in range(q_len):
            qi = q.select(1, i).unsqueeze(1)
            cq.append(self.att_weight_cq(c * qi).squeeze(-1))
        s = (
            self.att_weight_c(c).expand(-1, -1, q_len)
            + self.att_weight_q(q).permute(0, 2, 1).expand(-1, c_len, -1)
            + torch.stack(cq, dim=-1)
        )
        a = F.softmax(s, dim=2)
        c2q = torch.bmm(a, q)
        b = F.softmax(torch.max(s, dim=2)[0], dim=1).unsqueeze(1)
        q2c = torch.bmm(b, c).squeeze(1).unsqueeze(1).expand(-1, c_len, -1)
        return torch.cat([c, c2q, c * c2q, c * q2c], dim=-1)

    def forward(self, context: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        c, q = self.highway(self.word_emb(context)), self.highway(self.word_emb(question))
        c, q = self.context_lstm(c)[0], self.context_lstm(q)[0]
        g = self.att_flow(c, q)
        m = self.modeling(g)[0]
        return (self.p1_g(g) + self.p1_m(m)).squeeze(), (self.p2_g(g) + self.p2_m(m)).squeeze()


class PyramidCnn(nn.Module):
    """Text halved by pools while it is longer than two, the same two convolutions each time."""

    def __init__(self, filters: int = 9) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.conv_region, self.conv = (
            nn.Conv2d(1, filters, (3, 8), stride=1),
            nn.Conv2d(filters, filters, (3, 1), stride=1),
        )
        self.max_pool, self.padding1, self.padding2 = (
            nn.MaxPool2d((3, 1), stride=2),
            nn.ZeroPad2d((0, 0, 1, 1)),
            nn.ZeroPad2d((0, 0, 0, 1)),
        )
        self.relu, self.fc = nn.ReLU(), nn.Linear(filters, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).unsqueeze(1)
        x = self.relu(self.padding1(self.conv_region(x)))
        x = self.conv(self.relu(self.padding1(self.conv(x))))
        while x.size()[2] > 2:
            x = self._block(x)
        x = x.squeeze()
        return self.fc(x.view(x.size(0), -1))

    def _block(self, x: Tensor) -> Tensor:
        px = self.max_pool(self.padding2(x))
        x = self.conv(F.relu(self.padding1(px)))
        x = self.conv(F.relu(self.padding1(x)))
        return x + px


class Biaffine(nn.Module):
    """A parser: arcs and labels by biaffine products of heads and dependents."""

    def __init__(self, hidden: int = 9, n_rels: int = 3) -> None:
        super().__init__()
        self.embed, self.lstm = (
            nn.Embedding(30, 8),
            nn.LSTM(8, hidden, batch_first=True, bidirectional=True),
        )
        self.mlp_arc_h, self.mlp_arc_d = (
            nn.Sequential(nn.Linear(2 * hidden, 10), nn.LeakyReLU(0.1)) for _ in range(2)
        )
        self.mlp_rel_h, self.mlp_rel_d = (
            nn.Sequential(nn.Linear(2 * hidden, 7), nn.LeakyReLU(0.1)) for _ in range(2)
        )
        self.arc_weight, self.rel_weight = (
            nn.Parameter(torch.randn(1, 11, 10) * 0.3),
            nn.Parameter(torch.randn(n_rels, 8, 8) * 0.3),
        )

    @staticmethod
    def biaffine(x: Tensor, y: Tensor, weight: Tensor, bias_y: bool) -> Tensor:
        x = torch.cat((x, torch.ones_like(x[..., :1])), -1)
        if bias_y:
            y = torch.cat((y, torch.ones_like(y[..., :1])), -1)
        return torch.einsum("bxi,oij,byj->boxy", x, weight, y)

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        x, _ = self.lstm(self.embed(words))
        s_arc = self.biaffine(self.mlp_arc_d(x), self.mlp_arc_h(x), self.arc_weight, False).squeeze(
            1
        )
        s_rel = self.biaffine(self.mlp_rel_d(x), self.mlp_rel_h(x), self.rel_weight, True).permute(
            0, 2, 3, 1
        )
        return s_arc, s_rel


class PointerGenerator(nn.Module):
    """A summary that copies words of its source: both distributions are added up by scatter."""

    def __init__(self, vocab: int = 30, hidden: int = 8) -> None:
        super().__init__()
        self.vocab, self.embedding = vocab, nn.Embedding(vocab, 7)
        self.encoder, self.decoder = (
            nn.GRU(7, hidden, batch_first=True, bidirectional=True),
            nn.GRUCell(7, hidden),
        )
        self.reduce = nn.Linear(2 * hidden, hidden)
        self.W_h, self.W_s, self.v = (
            nn.Linear(2 * hidden, 10, bias=False),
            nn.Linear(hidden, 10),
            nn.Linear(10, 1, bias=False),
        )
        self.p_gen_linear = nn.Linear(3 * hidden + 7, 1)
        self.out1, self.out2 = nn.Linear(3 * hidden, 11), nn.Linear(11, vocab)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        enc, hidden = self.encoder(self.embedding(src))
        s = F.relu(self.reduce(torch.cat([hidden[0], hidden[1]], dim=1)))
        features, final_dists = self.W_h(enc), []
        for di in range(tgt.shape[1]):
            x = self.embedding(tgt[:, di])
            s = self.decoder(x, s)
            e = self.v(torch.tanh(features + self.W_s(s).unsqueeze(1))).squeeze(2)
            attn = F.softmax(e, dim=1)
            c_t = torch.bmm(attn.unsqueeze(1), enc).squeeze(1)
            p_gen = torch.sigmoid(self.p_gen_linear(torch.cat((c_t, s, x), 1)))
            vocab_dist = p_gen * F.softmax(self.out2(self.out1(torch.cat((s, c_t), 1))), dim=1)
            final_dists.append(vocab_dist.scatter_add(1, src, (1 - p_gen) * attn))
        return torch.stack(final_dists, 1)


class AwdLstm(nn.Module):
    """Language model: dropout of words and of time steps by masks, the last layer as wide as the embedding, tied."""

    def __init__(self, vocab: int = 30, emb: int = 8, hid: int = 12) -> None:
        super().__init__()
        self.encoder = nn.Embedding(vocab, emb)
        self.rnns = nn.ModuleList(
            [
                nn.LSTM(emb if n == 0 else hid, hid if n < 2 else emb, 1, batch_first=True)
                for n in range(3)
            ]
        )
        self.decoder = nn.Linear(emb, vocab)
        self.decoder.weight = self.encoder.weight
        self.dropouth = 0.25

    def locked(self, x: Tensor, p: float) -> Tensor:
        if not self.training or not p:
            return x
        m = x.data.new(x.size(0), 1, x.size(2)).bernoulli_(1 - p)
        return m.div_(1 - p).expand_as(x) * x

    def forward(self, tokens: Tensor) -> Tensor:
        weight = self.encoder.weight
        if self.training:
            keep = (
                weight.data.new().resize_((weight.size(0), 1)).bernoulli_(0.9).expand_as(weight)
                / 0.9
            )
            weight = keep * weight
        raw = F.embedding(tokens, weight)
        for n, rnn in enumerate(self.rnns):
            raw, _ = rnn(raw)
            if n != len(self.rnns) - 1:
                raw = self.locked(raw, self.dropouth)
        result = self.decoder(raw.contiguous().view(raw.size(0) * raw.size(1), raw.size(2)))
        return result.view(raw.size(0), raw.size(1), result.size(1))


class TimeMix(nn.Module):
    """RWKV: the state of weighted keys and values in a loop over time, greatest exponent taken out."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.time_decay, self.time_first = (
            nn.Parameter(torch.linspace(-5, 2, n_embd)),
            nn.Parameter(torch.zeros(n_embd) + 0.3),
        )
        self.time_shift = nn.ZeroPad2d((0, 0, 1, -1))
        self.time_mix_k, self.time_mix_v, self.time_mix_r = (
            nn.Parameter(torch.rand(1, 1, n_embd)) for _ in range(3)
        )
        self.key, self.value, self.receptance, self.output = (
            nn.Linear(n_embd, n_embd, bias=False) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        xx = self.time_shift(x)
        k = self.key(x * self.time_mix_k + xx * (1 - self.time_mix_k))
        v = self.value(x * self.time_mix_v + xx * (1 - self.time_mix_v))
        r = self.receptance(x * self.time_mix_r + xx * (1 - self.time_mix_r))
        aa, bb, pp = x.new_zeros(B, C), x.new_zeros(B, C), x.new_full((B, C), -1e38)
        w, out = -torch.exp(self.time_decay), []
        for t in range(T):
            kk, vv = k[:, t], v[:, t]
            ww = self.time_first + kk
            p = torch.maximum(pp, ww)
            e1, e2 = torch.exp(pp - p), torch.exp(ww - p)
            out.append((e1 * aa + e2 * vv) / (e1 * bb + e2))
            ww = pp + w
            p = torch.maximum(ww, kk)
            e1, e2 = torch.exp(ww - p), torch.exp(kk - p)
            aa, bb, pp = e1 * aa + e2 * vv, e1 * bb + e2, p
        return self.output(torch.sigmoid(r) * torch.stack(out, dim=1))


class RwkvLm(nn.Module):
    def __init__(self, n_embd: int = 8) -> None:
        super().__init__()
        self.emb, self.ln0, self.ln1, self.ln2 = (
            nn.Embedding(30, n_embd),
            nn.LayerNorm(n_embd),
            nn.LayerNorm(n_embd),
            nn.LayerNorm(n_embd),
        )
        self.att, self.time_mix = TimeMix(n_embd), nn.Parameter(torch.rand(1, 1, n_embd))
        self.key, self.receptance, self.value = (
            nn.Linear(n_embd, 20, bias=False),
            nn.Linear(n_embd, n_embd, bias=False),
            nn.Linear(20, n_embd, bias=False),
        )
        self.head = nn.Linear(n_embd, 30, bias=False)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.ln0(self.emb(idx))
        x = x + self.att(self.ln1(x))
        y = self.ln2(x)
        y = y * self.time_mix + F.pad(y, (0, 0, 1, -1)) * (1 - self.time_mix)
        x = x + torch.sigmoid(self.receptance(y)) * self.value(
            torch.square(torch.relu(self.key(y)))
        )
        return self.head(x)


class GatedDecay(nn.Module):
    """Gated linear attention over chunks of a fixed length, with cumulative decays."""

    def __init__(self, d: int = 12, heads: int = 2, chunk: int = 4) -> None:
        super().__init__()
        self.h, self.chunk, self.embed = heads, chunk, nn.Embedding(30, d)
        self.q, self.k, self.v, self.g, self.o = (nn.Linear(d, d, bias=False) for _ in range(5))
        self.gk = nn.Sequential(nn.Linear(d, 3, bias=False), nn.Linear(3, heads))
        self.gnorm, self.out = nn.LayerNorm(d // heads), nn.Linear(d, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        b, t, d = x.shape
        n = t // self.chunk
        q, k, v = (
            f(x).view(b, n, self.chunk, self.h, -1).permute(0, 3, 1, 2, 4)
            for f in (self.q, self.k, self.v)
        )
        decay = (
            (F.logsigmoid(self.gk(x)) / 16)
            .view(b, n, self.chunk, self.h)
            .permute(0, 3, 1, 2)
            .cumsum(-1)
        )
        state, outs = x.new_zeros(b, self.h, q.size(-1), v.size(-1)), []
        causal = torch.ones(self.chunk, self.chunk, dtype=torch.bool, device=x.device).tril()
        for i in range(n):
            qi, ki, vi, gi = q[:, :, i], k[:, :, i], v[:, :, i], decay[:, :, i]
            inter = (qi * gi.exp()[..., None]) @ state
            att = (qi @ ki.transpose(-1, -2)) * (gi[..., :, None] - gi[..., None, :]).exp()
            outs.append(inter + att.masked_fill(~causal, 0) @ vi)
            last = gi[..., -1:]
            state = (
                state * last.exp()[..., None]
                + (ki * (last - gi).exp()[..., None]).transpose(-1, -2) @ vi
            )
        o = (
            self.gnorm(torch.stack(outs, 2).reshape(b, self.h, t, -1))
            .transpose(1, 2)
            .reshape(b, t, d)
        )
        return self.out(self.o(o * F.silu(self.g(x))))


class LinearRecurrent(nn.Module):
    """Complex diagonal recurrence with stable eigenvalues, real part read."""

    def __init__(self, d: int = 6, state: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, d)
        u1, u2 = torch.rand(state), torch.rand(state)
        self.nu_log, self.theta_log = (
            nn.Parameter(torch.log(-0.5 * torch.log(u1 * 0.5 + 0.4))),
            nn.Parameter(torch.log(3.14 * u2)),
        )
        self.B_re, self.B_im = (
            nn.Parameter(torch.randn(state, d) / 4),
            nn.Parameter(torch.randn(state, d) / 4),
        )
        self.C_re, self.C_im = (
            nn.Parameter(torch.randn(d, state) / 4),
            nn.Parameter(torch.randn(d, state) / 4),
        )
        self.D, self.mlp = (
            nn.Parameter(torch.randn(d)),
            nn.Sequential(nn.Linear(d, 14), nn.GELU(), nn.Linear(14, 3)),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        u = self.embed(tokens)
        lam = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        gamma = torch.sqrt(1 - lam.abs() ** 2)
        B = torch.complex(self.B_re, self.B_im) * gamma.unsqueeze(-1)
        Bu = u.to(B.dtype) @ B.T
        h, ys = torch.zeros_like(Bu[:, 0]), []
        for t in range(u.size(1)):
            h = lam * h + Bu[:, t]
            ys.append((h @ torch.complex(self.C_re, self.C_im).T).real + self.D * u[:, t])
        return self.mlp(torch.stack(ys, 1)).mean(1)


class ConvTasNet(nn.Module):
    """A learnt filter bank, masks of speakers by dilated depth-wise blocks with a global norm, overlap and add."""

    class _Gln(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.gamma, self.beta = (
                nn.Parameter(torch.ones(1, n, 1)),
                nn.Parameter(torch.zeros(1, n, 1)),
            )

        def forward(self, y: Tensor) -> Tensor:
            mean = y.mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
            var = (torch.pow(y - mean, 2)).mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
            return self.gamma * (y - mean) / torch.pow(var + 1e-8, 0.5) + self.beta

    def __init__(self, N: int = 10, L: int = 8, B: int = 6, H: int = 9, C: int = 2) -> None:
        super().__init__()
        self.C, self.N = C, N
        self.encoder = nn.Conv1d(1, N, kernel_size=L, stride=L // 2, bias=False)
        self.ln, self.bottleneck = self._Gln(N), nn.Conv1d(N, B, 1, bias=False)
        self.tcn = nn.ModuleList(
            nn.Sequential(nn.Conv1d(B, H, 1, bias=False), nn.PReLU(), self._Gln(H), nn.Conv1d(H, H, 3, padding=2**x, dilation=2**x, groups=H, bias=False), nn.PReLU(), self._Gln(H), nn.Conv1d(H, B, 1, bias=False))
            for x in range(2))  # fmt: skip
        self.mask_conv = nn.Conv1d(B, C * N, 1, bias=False)
        self.decoder = nn.ConvTranspose1d(N, 1, L, stride=L // 2, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        mixture_w = F.relu(self.encoder(mixture))
        M, N, K = mixture_w.size()
        y = self.bottleneck(self.ln(mixture_w))
        for block in self.tcn:
            y = y + block(y)
        est_mask = F.relu(self.mask_conv(y).view(M, self.C, N, K))
        source_w = torch.unsqueeze(mixture_w, 1) * est_mask
        return self.decoder(source_w.view(M * self.C, N, K)).view(M, self.C, -1)


class Transducer(nn.Module):
    """Encoder, predictor and a joiner over all pairs of times and labels."""

    def __init__(self, feat: int = 10, joint: int = 11, vocab: int = 6) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 5, 3, 2), nn.ReLU()
        )
        self.out, self.encoder = (
            nn.Linear(5 * (((feat - 1) // 2 - 1) // 2), 9),
            nn.LSTM(9, 8, 2, batch_first=True),
        )
        self.embed, self.predictor = nn.Embedding(30, 7), nn.LSTM(7, 8, batch_first=True)
        self.enc_ffn, self.pred_ffn, self.joiner = (
            nn.Linear(8, joint),
            nn.Linear(8, joint, bias=False),
            nn.Linear(joint, vocab),
        )

    def forward(self, speech: Tensor, text: Tensor) -> Tensor:
        x = self.conv(speech.transpose(1, 2).unsqueeze(1))
        b, c, t, f = x.size()
        x, _ = self.encoder(self.out(x.transpose(1, 2).contiguous().view(b, t, c * f)))
        ys = F.pad(text, (1, 0), value=0)
        y, _ = self.predictor(self.embed(ys))
        joint = torch.tanh(self.enc_ffn(x).unsqueeze(2) + self.pred_ffn(y).unsqueeze(1))
        return F.log_softmax(self.joiner(joint), dim=-1)


class FastSpeech(nn.Module):
    """Variance predictors whose pitch is put into bins and embedded; blocks of attention and convolutions."""

    def __init__(self, d: int = 10) -> None:
        super().__init__()
        self.src_word_emb, self.d = nn.Embedding(30, d, padding_idx=0), d
        self.slf_attn, self.norm1, self.norm2 = (
            nn.MultiheadAttention(d, 2, batch_first=True),
            nn.LayerNorm(d),
            nn.LayerNorm(d),
        )
        self.w_1, self.w_2 = nn.Conv1d(d, 16, 9, padding=4), nn.Conv1d(16, d, 1)
        self.conv, self.ln, self.linear_layer = (
            nn.Conv1d(d, 8, 3, padding=1),
            nn.LayerNorm(8),
            nn.Linear(8, 1),
        )
        self.pitch_bins = nn.Parameter(torch.linspace(-1, 1, 7), requires_grad=False)
        self.pitch_embedding, self.mel_linear = nn.Embedding(8, d), nn.Linear(d, 6)
        self.postnet = nn.Sequential(
            nn.Conv1d(6, 9, 5, padding=2),
            nn.BatchNorm1d(9),
            nn.Tanh(),
            nn.Conv1d(9, 6, 5, padding=2),
            nn.BatchNorm1d(6),
        )

    def forward(self, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        src_mask = texts.eq(0)
        x = self.src_word_emb(texts)
        attn, _ = self.slf_attn(x, x, x, key_padding_mask=src_mask)
        x = self.norm1(attn + x).masked_fill(src_mask.unsqueeze(-1), 0)
        x = self.norm2(self.w_2(F.relu(self.w_1(x.transpose(1, 2)))).transpose(1, 2) + x)
        out = self.ln(
            F.relu(self.conv(x.contiguous().transpose(1, 2)).contiguous().transpose(1, 2))
        )
        pitch = self.linear_layer(out).squeeze(-1)
        x = x + self.pitch_embedding(torch.bucketize(pitch, self.pitch_bins))
        mel = self.mel_linear(x.repeat_interleave(2, dim=1))
        return mel, self.postnet(mel.transpose(1, 2)).transpose(1, 2) + mel, pitch


class QuartzNet(nn.Module):
    """Blocks of separable convolutions in time with a residual, repeated as a table says, for CTC."""

    def __init__(self, feat: int = 10) -> None:
        super().__init__()
        config = [(12, 2, 5, 1, 2, False), (12, 2, 3, 1, 1, True), (14, 1, 3, 2, 1, False)]
        self.encoder, c = nn.ModuleList(), feat
        for filters, repeat, k, dilation, stride, residual in config:
            layers: list[nn.Module] = []
            inp = c
            for r in range(repeat):
                layers += [
                    nn.Conv1d(
                        inp,
                        inp,
                        k,
                        stride if r == 0 else 1,
                        dilation * (k - 1) // 2,
                        dilation,
                        groups=inp,
                        bias=False,
                    ),
                    nn.Conv1d(inp, filters, 1, bias=False),
                    nn.BatchNorm1d(filters, eps=1e-3),
                ]
                if r < repeat - 1:
                    layers += [nn.ReLU(), nn.Dropout(0.1)]
                inp = filters
            res = (
                nn.ModuleList([nn.Conv1d(c, filters, 1, bias=False), nn.BatchNorm1d(filters)])
                if residual
                else None
            )
            self.encoder.append(
                nn.ModuleDict(
                    {
                        "mconv": nn.ModuleList(layers),
                        "mout": nn.Sequential(nn.ReLU(), nn.Dropout(0.1)),
                        **({"res": res} if res else {}),
                    }
                )
            )
            c = filters
        self.decoder = nn.Conv1d(c, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.encoder:
            out = x
            for layer in block["mconv"]:
                out = layer(out)
            if "res" in block:
                for layer in block["res"]:
                    x = layer(x)
                out = out + x
            x = block["mout"](out)
        return F.log_softmax(self.decoder(x).transpose(1, 2), dim=-1)


class XVector(nn.Module):
    """Frames spliced by unfold, mean and standard deviation of time, two embeddings."""

    def __init__(self, feat: int = 10) -> None:
        super().__init__()
        self.feat, self.context = feat, [(5, 1), (3, 2), (1, 1)]
        dims = [feat, 12, 12, 16]
        self.kernels = nn.ModuleList(
            nn.Linear(i * k, o) for (k, _), i, o in zip(self.context, dims, dims[1:])
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(o) for o in dims[1:])
        self.segment6, self.segment7, self.output = (
            nn.Linear(32, 11),
            nn.Linear(11, 11),
            nn.Linear(11, 5),
        )

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        x = inputs.transpose(1, 2)
        for (k, d), kernel, bn in zip(self.context, self.kernels, self.bns):
            dim = x.shape[-1]
            x = F.unfold(x.unsqueeze(1), (k, dim), stride=(1, dim), dilation=(d, 1)).transpose(1, 2)
            x = bn(F.relu(kernel(x)).transpose(1, 2)).transpose(1, 2)
        stat = torch.cat((torch.mean(x, dim=1), torch.std(x, dim=1)), 1)
        x_vec = self.segment6(stat)
        return self.output(F.relu(self.segment7(F.relu(x_vec)))), x_vec


class MelGan(nn.Module):
    """A generator with weight norm, reflection and dilated residuals, judged at three scales, features given back."""

    def __init__(self) -> None:
        super().__init__()
        wn = nn.utils.weight_norm
        self.generator = nn.Sequential(
            nn.ReflectionPad1d(3), wn(nn.Conv1d(10, 12, 7)), nn.LeakyReLU(0.2), wn(nn.ConvTranspose1d(12, 8, 8, 4, 2)),
            nn.LeakyReLU(0.2), nn.ReflectionPad1d(3), wn(nn.Conv1d(8, 1, 7)), nn.Tanh())  # fmt: skip
        self.critics, self.pool = nn.ModuleList(), nn.AvgPool1d(4, 2, 1, count_include_pad=False)
        for _ in range(2):
            self.critics.append(nn.ModuleDict({
                "layer_0": nn.Sequential(nn.ReflectionPad1d(7), wn(nn.Conv1d(1, 4, 15)), nn.LeakyReLU(0.2, True)),
                "layer_1": nn.Sequential(wn(nn.Conv1d(4, 8, 9, 4, 4, groups=2)), nn.LeakyReLU(0.2, True)),
                "layer_2": wn(nn.Conv1d(8, 1, 3, 1, 1)),
            }))  # fmt: skip

    def forward(self, mel: Tensor) -> list[list[Tensor]]:
        x, results = self.generator(mel), []
        for critic in self.critics:
            found, y = [], x
            for _key, layer in critic.items():
                y = layer(y)
                found.append(y)
            results.append(found)
            x = self.pool(x)
        return results


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "mla_routed_experts": lambda: (LatentLm(LatentArgs(), RoutedExperts), INPUTS.tokens),
    "mla_dense_experts": lambda: (LatentLm(LatentArgs(), DenseExperts), INPUTS.tokens),
    "annotated_transformer": lambda: (Annotated(), (INPUTS.tokens, INPUTS.other_tokens)),
    "packed_lstm": lambda: (PackedTagger(), INPUTS.tokens),
    "padded_again_lstm": lambda: (PaddedTagger(), INPUTS.tokens),
    "bidaf": lambda: (BiDaf(), (INPUTS.tokens, INPUTS.other_tokens)),
    "pyramid_text_cnn": lambda: (PyramidCnn(), INPUTS.tokens),
    "biaffine_parser": lambda: (Biaffine(), INPUTS.tokens),
    "pointer_generator": lambda: (PointerGenerator(), (INPUTS.tokens, INPUTS.other_tokens)),
    "awd_lstm_tied": lambda: (AwdLstm(), INPUTS.tokens),
    "rwkv_loop": lambda: (RwkvLm(), INPUTS.tokens),
    "gated_linear_chunks": lambda: (GatedDecay(), INPUTS.tokens),
    "complex_recurrence": lambda: (LinearRecurrent(), INPUTS.tokens),
    "conv_tasnet": lambda: (ConvTasNet(), INPUTS.waves),
    "transducer_joiner": lambda: (Transducer(), (INPUTS.mels, INPUTS.other_tokens)),
    "fastspeech_bins": lambda: (FastSpeech(), INPUTS.tokens),
    "quartz_net": lambda: (QuartzNet(), INPUTS.mels),
    "xvector_unfold": lambda: (XVector(), INPUTS.mels),
    "melgan_scales": lambda: (MelGan(), INPUTS.mels),
}

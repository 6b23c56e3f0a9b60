"""Networks of the zoo over words, eighth sample: small language models of several teaching styles, taggers, recurrent gates."""

# ruff: noqa: B905, E741, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, einsum, nn

from benchmarks.networks.eighth.inputs import INPUTS
from benchmarks.networks.seventh.words import scripted

V = 30
block_size = 12
n_embd = 16


class Head(nn.Module):
    """One head of attention, as the lecture writes it from scratch."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        k = self.key(x)
        q = self.query(x)
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        wei = F.softmax(wei, dim=-1)
        wei = self.dropout(wei)
        v = self.value(x)
        return wei @ v


class MultiHead(nn.Module):
    def __init__(self, num_heads: int, head_size: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([Head(head_size) for _ in range(num_heads)])
        self.proj = nn.Linear(head_size * num_heads, n_embd)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.cat([h(x) for h in self.heads], dim=-1)
        return self.dropout(self.proj(out))


class Expert(nn.Module):
    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_embd, 2 * n_embd), nn.ReLU(), nn.Linear(2 * n_embd, n_embd), nn.Dropout(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class NoisyTopkRouter(nn.Module):
    """A router whose logits get noise, scattered into minus infinity."""

    def __init__(self, n_embed: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.topkroute_linear = nn.Linear(n_embed, num_experts)
        self.noise_linear = nn.Linear(n_embed, num_experts)

    def forward(self, mh_output: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.topkroute_linear(mh_output)
        if self.training:
            logits = logits + torch.randn_like(logits) * F.softplus(self.noise_linear(mh_output))
        top_k_logits, indices = logits.topk(self.top_k, dim=-1)
        zeros = torch.full_like(logits, float("-inf"))
        sparse_logits = zeros.scatter(-1, indices, top_k_logits)
        return F.softmax(sparse_logits, dim=-1), indices


class SparseMoE(nn.Module):
    def __init__(self, n_embed: int, num_experts: int = 3, top_k: int = 2) -> None:
        super().__init__()
        self.router = NoisyTopkRouter(n_embed, num_experts, top_k)
        self.experts = nn.ModuleList([Expert(n_embed) for _ in range(num_experts)])

    def forward(self, x: Tensor) -> Tensor:
        gating_output, indices = self.router(x)
        final_output = torch.zeros_like(x)
        flat_x = x.view(-1, x.size(-1))
        flat_gating_output = gating_output.view(-1, gating_output.size(-1))
        for i, expert in enumerate(self.experts):
            expert_mask = (indices == i).any(dim=-1)
            flat_mask = expert_mask.view(-1)
            if flat_mask.any():
                expert_input = flat_x[flat_mask]
                expert_output = expert(expert_input)
                gating_scores = flat_gating_output[flat_mask, i].unsqueeze(1)
                final_output[expert_mask] += (expert_output * gating_scores).squeeze(1)
        return final_output


class LectureGPT(nn.Module):
    """Bigrams grown to a transformer, with or without a mixture of experts; gives logits and a loss."""

    def __init__(self, experts: bool = False) -> None:
        super().__init__()
        self.token_embedding_table = nn.Embedding(V, n_embd)
        self.position_embedding_table = nn.Embedding(block_size, n_embd)
        self.sa = nn.ModuleList(MultiHead(4, n_embd // 4) for _ in range(2))
        self.ffwd = nn.ModuleList((SparseMoE if experts else Expert)(n_embd) for _ in range(2))
        self.ln1 = nn.ModuleList(nn.LayerNorm(n_embd) for _ in range(2))
        self.ln2 = nn.ModuleList(nn.LayerNorm(n_embd) for _ in range(2))
        self.ln_f, self.lm_head = nn.LayerNorm(n_embd), nn.Linear(n_embd, V)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Any:
        B, T = idx.shape
        tok_emb = self.token_embedding_table(idx)
        pos_emb = self.position_embedding_table(torch.arange(T, device=idx.device))
        x = tok_emb + pos_emb
        for i in range(2):
            x = x + self.sa[i](self.ln1[i](x))
            x = x + self.ffwd[i](self.ln2[i](x))
        logits = self.lm_head(self.ln_f(x))
        loss = (
            None
            if targets is None
            else F.cross_entropy(logits.view(B * T, -1), targets.view(B * T))
        )
        return logits, loss


class BookGPT(nn.Module):
    """GPT-2 as a book builds it up: own LayerNorm and GELU, masks by a buffer of booleans, sizes of the configuration."""

    class LayerNorm(nn.Module):
        def __init__(self, emb_dim: int) -> None:
            super().__init__()
            self.eps = 1e-5
            self.scale, self.shift = (
                nn.Parameter(torch.ones(emb_dim)),
                nn.Parameter(torch.zeros(emb_dim)),
            )

        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean(dim=-1, keepdim=True)
            var = x.var(dim=-1, keepdim=True, unbiased=False)
            return self.scale * (x - mean) / torch.sqrt(var + self.eps) + self.shift

    class GELU(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (
                0.5
                * x
                * (
                    1
                    + torch.tanh(
                        torch.sqrt(torch.tensor(2.0 / torch.pi)) * (x + 0.044715 * torch.pow(x, 3))
                    )
                )
            )

    class Attention(nn.Module):
        def __init__(
            self, d_in: int, d_out: int, context_length: int, dropout: float, num_heads: int
        ) -> None:
            super().__init__()
            assert d_out % num_heads == 0
            self.d_out, self.num_heads, self.head_dim = d_out, num_heads, d_out // num_heads
            self.W_query, self.W_key, self.W_value = (
                nn.Linear(d_in, d_out, bias=False) for _ in range(3)
            )
            self.out_proj, self.dropout = nn.Linear(d_out, d_out), nn.Dropout(dropout)
            self.register_buffer(
                "mask", torch.triu(torch.ones(context_length, context_length), diagonal=1)
            )

        def forward(self, x: Tensor) -> Tensor:
            b, num_tokens, d_in = x.shape
            keys, queries, values = self.W_key(x), self.W_query(x), self.W_value(x)
            keys = keys.view(b, num_tokens, self.num_heads, self.head_dim).transpose(1, 2)
            queries = queries.view(b, num_tokens, self.num_heads, self.head_dim).transpose(1, 2)
            values = values.view(b, num_tokens, self.num_heads, self.head_dim).transpose(1, 2)
            attn_scores = queries @ keys.transpose(2, 3)
            mask_bool = self.mask.bool()[:num_tokens, :num_tokens]
            attn_scores.masked_fill_(mask_bool, -torch.inf)
            attn_weights = self.dropout(torch.softmax(attn_scores / keys.shape[-1] ** 0.5, dim=-1))
            context_vec = (attn_weights @ values).transpose(1, 2)
            context_vec = context_vec.contiguous().view(b, num_tokens, self.d_out)
            return self.out_proj(context_vec)

    def __init__(self, cfg: dict) -> None:
        super().__init__()
        d = cfg["emb_dim"]
        self.tok_emb, self.pos_emb = (
            nn.Embedding(cfg["vocab_size"], d),
            nn.Embedding(cfg["context_length"], d),
        )
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(*[self.Block(cfg) for _ in range(cfg["n_layers"])])
        self.final_norm, self.out_head = (
            self.LayerNorm(d),
            nn.Linear(d, cfg["vocab_size"], bias=False),
        )

    class Block(nn.Module):
        def __init__(self, cfg: dict) -> None:
            super().__init__()
            d = cfg["emb_dim"]
            self.att = BookGPT.Attention(
                d, d, cfg["context_length"], cfg["drop_rate"], cfg["n_heads"]
            )
            self.ff = nn.Sequential(nn.Linear(d, 4 * d), BookGPT.GELU(), nn.Linear(4 * d, d))
            self.norm1, self.norm2 = BookGPT.LayerNorm(d), BookGPT.LayerNorm(d)
            self.drop_shortcut = nn.Dropout(cfg["drop_rate"])

        def forward(self, x: Tensor) -> Tensor:
            shortcut = x
            x = self.drop_shortcut(self.att(self.norm1(x)))
            x = x + shortcut
            shortcut = x
            x = self.drop_shortcut(self.ff(self.norm2(x)))
            return x + shortcut

    def forward(self, in_idx: Tensor) -> Tensor:
        batch_size, seq_len = in_idx.shape
        x = self.tok_emb(in_idx) + self.pos_emb(torch.arange(seq_len, device=in_idx.device))
        return self.out_head(self.final_norm(self.trf_blocks(self.drop_emb(x))))


@dataclass
class ModelArgs:
    dim: int = 16
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int | None = 2
    vocab_size: int = V
    multiple_of: int = 4
    ffn_dim_multiplier: float | None = None
    norm_eps: float = 1e-5
    max_batch_size: int = 4
    max_seq_len: int = 16


def precompute_freqs_cis(dim: int, end: int, theta: float = 10000.0) -> Tensor:
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].float() / dim))
    freqs = torch.outer(torch.arange(end), freqs).float()
    return torch.polar(torch.ones_like(freqs), freqs)


def apply_rotary_emb(xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    xq_ = torch.view_as_complex(xq.float().reshape(*xq.shape[:-1], -1, 2))
    xk_ = torch.view_as_complex(xk.float().reshape(*xk.shape[:-1], -1, 2))
    freqs_cis = freqs_cis.view(
        *[d if i in (1, xq_.ndim - 1) else 1 for i, d in enumerate(xq_.shape)]
    )
    xq_out = torch.view_as_real(xq_ * freqs_cis).flatten(3)
    xk_out = torch.view_as_real(xk_ * freqs_cis).flatten(3)
    return xq_out.type_as(xq), xk_out.type_as(xk)


class LlamaCached(nn.Module):
    """Llama from scratch with caches of keys and values, filled in place at a start position."""

    class RMSNorm(nn.Module):
        def __init__(self, dim: int, eps: float = 1e-6) -> None:
            super().__init__()
            self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

        def _norm(self, x: Tensor) -> Tensor:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

        def forward(self, x: Tensor) -> Tensor:
            return self._norm(x.float()).type_as(x) * self.weight

    class Attention(nn.Module):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__()
            self.n_kv_heads = args.n_heads if args.n_kv_heads is None else args.n_kv_heads
            self.n_rep = args.n_heads // self.n_kv_heads
            self.n_heads, self.head_dim = args.n_heads, args.dim // args.n_heads
            self.wq = nn.Linear(args.dim, args.n_heads * self.head_dim, bias=False)
            self.wk = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
            self.wv = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
            self.wo = nn.Linear(args.n_heads * self.head_dim, args.dim, bias=False)
            self.cache_k = torch.zeros(
                args.max_batch_size, args.max_seq_len, self.n_kv_heads, self.head_dim
            )
            self.cache_v = torch.zeros(
                args.max_batch_size, args.max_seq_len, self.n_kv_heads, self.head_dim
            )

        def forward(
            self, x: Tensor, start_pos: int, freqs_cis: Tensor, mask: Tensor | None
        ) -> Tensor:
            bsz, seqlen, _ = x.shape
            xq, xk, xv = self.wq(x), self.wk(x), self.wv(x)
            xq = xq.view(bsz, seqlen, self.n_heads, self.head_dim)
            xk = xk.view(bsz, seqlen, self.n_kv_heads, self.head_dim)
            xv = xv.view(bsz, seqlen, self.n_kv_heads, self.head_dim)
            xq, xk = apply_rotary_emb(xq, xk, freqs_cis)
            self.cache_k = self.cache_k.to(xq)
            self.cache_v = self.cache_v.to(xq)
            self.cache_k[:bsz, start_pos : start_pos + seqlen] = xk
            self.cache_v[:bsz, start_pos : start_pos + seqlen] = xv
            keys = self.cache_k[:bsz, : start_pos + seqlen]
            values = self.cache_v[:bsz, : start_pos + seqlen]
            keys = torch.repeat_interleave(keys, dim=2, repeats=self.n_rep)
            values = torch.repeat_interleave(values, dim=2, repeats=self.n_rep)
            xq, keys, values = xq.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
            scores = torch.matmul(xq, keys.transpose(2, 3)) / math.sqrt(self.head_dim)
            if mask is not None:
                scores = scores + mask
            scores = F.softmax(scores.float(), dim=-1).type_as(xq)
            output = torch.matmul(scores, values)
            return self.wo(output.transpose(1, 2).contiguous().view(bsz, seqlen, -1))

    class FeedForward(nn.Module):
        def __init__(
            self, dim: int, hidden_dim: int, multiple_of: int, ffn_dim_multiplier: float | None
        ) -> None:
            super().__init__()
            hidden_dim = int(2 * hidden_dim / 3)
            if ffn_dim_multiplier is not None:
                hidden_dim = int(ffn_dim_multiplier * hidden_dim)
            hidden_dim = multiple_of * ((hidden_dim + multiple_of - 1) // multiple_of)
            self.w1, self.w2, self.w3 = (
                nn.Linear(dim, hidden_dim, bias=False),
                nn.Linear(hidden_dim, dim, bias=False),
                nn.Linear(dim, hidden_dim, bias=False),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.w2(F.silu(self.w1(x)) * self.w3(x))

    def __init__(self, params: ModelArgs | None = None) -> None:
        super().__init__()
        self.params = params = params or ModelArgs()
        self.tok_embeddings = nn.Embedding(params.vocab_size, params.dim)
        self.layers = nn.ModuleList()
        for _ in range(params.n_layers):
            self.layers.append(
                nn.ModuleDict(
                    {
                        "attention": self.Attention(params),
                        "feed_forward": self.FeedForward(
                            params.dim,
                            4 * params.dim,
                            params.multiple_of,
                            params.ffn_dim_multiplier,
                        ),
                        "attention_norm": self.RMSNorm(params.dim, params.norm_eps),
                        "ffn_norm": self.RMSNorm(params.dim, params.norm_eps),
                    }
                )
            )
        self.norm, self.output = (
            self.RMSNorm(params.dim, params.norm_eps),
            nn.Linear(params.dim, params.vocab_size, bias=False),
        )
        self.freqs_cis = precompute_freqs_cis(params.dim // params.n_heads, params.max_seq_len * 2)

    def forward(self, tokens: Tensor, start_pos: int = 0) -> Tensor:
        _bsz, seqlen = tokens.shape
        h = self.tok_embeddings(tokens)
        self.freqs_cis = self.freqs_cis.to(h.device)
        freqs_cis = self.freqs_cis[start_pos : start_pos + seqlen]
        mask = None
        if seqlen > 1:
            mask = torch.full((seqlen, seqlen), float("-inf"), device=tokens.device)
            mask = torch.triu(mask, diagonal=1)
            mask = torch.hstack(
                [torch.zeros((seqlen, start_pos), device=tokens.device), mask]
            ).type_as(h)
        for layer in self.layers:
            h = h + layer["attention"](layer["attention_norm"](h), start_pos, freqs_cis, mask)
            h = h + layer["feed_forward"](layer["ffn_norm"](h))
        return self.output(self.norm(h)).float()


class SpeedrunGPT(nn.Module):
    """A GPT of speed runs: squared ReLU, normalised queries, first values mixed in, a U-Net's skips, capped logits."""

    class CastedLinear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight.to(x.dtype))

    class Rotary(nn.Module):
        def __init__(self, dim: int, base: int = 10000) -> None:
            super().__init__()
            self.inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2).float() / dim))
            self.seq_len_cached = self.cos_cached = self.sin_cached = None

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            seq_len = x.shape[1]
            if seq_len != self.seq_len_cached:
                self.seq_len_cached = seq_len
                t = torch.arange(seq_len, device=x.device).type_as(self.inv_freq)
                freqs = torch.outer(t, self.inv_freq).to(x.device)
                self.cos_cached, self.sin_cached = freqs.cos(), freqs.sin()
            return self.cos_cached[None, :, None, :], self.sin_cached[None, :, None, :]

    class Attention(nn.Module):
        def __init__(self, dim: int, n_head: int) -> None:
            super().__init__()
            self.n_head, self.head_dim = n_head, dim // n_head
            make = SpeedrunGPT.CastedLinear
            self.c_q, self.c_k, self.c_v = (
                make(dim, dim, bias=False),
                make(dim, dim, bias=False),
                make(dim, dim, bias=False),
            )
            self.c_proj = make(dim, dim, bias=False)
            self.rotary = SpeedrunGPT.Rotary(self.head_dim)
            self.lamb = nn.Parameter(torch.tensor(0.5))

        @staticmethod
        def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            d = x.shape[3] // 2
            x1, x2 = x[..., :d], x[..., d:]
            return torch.cat([x1 * cos + x2 * sin, x1 * (-sin) + x2 * cos], 3).type_as(x)

        def forward(self, x: Tensor, v1: Tensor | None = None) -> tuple[Tensor, Tensor]:
            B, T, C = x.size()
            q = self.c_q(x).view(B, T, self.n_head, self.head_dim)
            k = self.c_k(x).view(B, T, self.n_head, self.head_dim)
            v = self.c_v(x).view(B, T, self.n_head, self.head_dim)
            if v1 is None:
                v1 = v
            v = (1 - self.lamb) * v + self.lamb * v1.view_as(v)
            cos, sin = self.rotary(q)
            q, k = F.rms_norm(q, (q.size(-1),)), F.rms_norm(k, (k.size(-1),))
            q, k = self.turned(q, cos, sin), self.turned(k, cos, sin)
            y = F.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True
            )
            y = y.transpose(1, 2).contiguous().view_as(x)
            return self.c_proj(y), v1

    def __init__(self, dim: int = 16, n_layer: int = 4) -> None:
        super().__init__()
        self.wte = nn.Embedding(V, dim)
        self.attn = nn.ModuleList([self.Attention(dim, 4) for _ in range(n_layer)])
        self.c_fc = nn.ModuleList(
            [self.CastedLinear(dim, 2 * dim, bias=False) for _ in range(n_layer)]
        )
        self.c_out = nn.ModuleList(
            [self.CastedLinear(2 * dim, dim, bias=False) for _ in range(n_layer)]
        )
        self.lambdas = nn.ParameterList(
            [nn.Parameter(torch.tensor([1.0, 0.1])) for _ in range(n_layer)]
        )
        self.skip_weights = nn.Parameter(torch.ones(n_layer // 2))
        self.lm_head, self.n_layer = self.CastedLinear(dim, V, bias=False), n_layer

    def block(self, i: int, x: Tensor, v1: Tensor | None, x0: Tensor) -> tuple[Tensor, Tensor]:
        x = self.lambdas[i][0] * x + self.lambdas[i][1] * x0
        x1, v1 = self.attn[i](F.rms_norm(x, (x.size(-1),)), v1)
        x = x + x1
        h = self.c_fc[i](F.rms_norm(x, (x.size(-1),)))
        return x + self.c_out[i](F.relu(h).square()), v1

    def forward(self, idx: Tensor) -> Tensor:
        x = self.wte(idx)
        x = F.rms_norm(x, (x.size(-1),))
        x0, v1, skips = x, None, []
        for i in range(self.n_layer // 2):
            x, v1 = self.block(i, x, v1, x0)
            skips.append(x)
        for i in range(self.n_layer // 2):
            x = x + self.skip_weights[i] * skips.pop()
            x, v1 = self.block(self.n_layer // 2 + i, x, v1, x0)
        x = F.rms_norm(x, (x.size(-1),))
        return (30 * torch.tanh(self.lm_head(x) / 30)).float()


def exists(val: Any) -> bool:
    return val is not None


def default(val: Any, d: Any) -> Any:
    if exists(val):
        return val
    return d() if inspect.isfunction(d) else d


class ScaleNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale, self.g = dim**-0.5, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.norm(x, dim=-1, keepdim=True) * self.scale
        return x / norm.clamp(min=1e-5) * self.g


class GEGLU(nn.Module):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out * 2)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class LayersOfKinds(nn.Module):
    """Decoder and cross attention of configurable kinds, as lists of norm and layer; memories beside keys; einsum."""

    class Attention(nn.Module):
        def __init__(
            self,
            dim: int,
            heads: int = 2,
            dim_head: int = 6,
            causal: bool = False,
            num_mem_kv: int = 2,
        ) -> None:
            super().__init__()
            inner_dim = dim_head * heads
            self.heads, self.scale, self.causal = heads, dim_head**-0.5, causal
            self.to_q, self.to_k, self.to_v = (
                nn.Linear(dim, inner_dim, bias=False) for _ in range(3)
            )
            self.mem_k = nn.Parameter(torch.randn(heads, num_mem_kv, dim_head))
            self.mem_v = nn.Parameter(torch.randn(heads, num_mem_kv, dim_head))
            self.talking = nn.Parameter(torch.randn(heads, heads))
            self.to_out = nn.Sequential(nn.Linear(inner_dim, dim * 2), nn.GLU())

        def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            b, n, _, h = *x.shape, self.heads
            kv_input = default(context, x)
            q, k, v = self.to_q(x), self.to_k(kv_input), self.to_v(kv_input)
            q, k, v = (t.reshape(b, t.shape[1], h, -1).permute(0, 2, 1, 3) for t in (q, k, v))
            mem_k, mem_v = (t.unsqueeze(0).expand(b, -1, -1, -1) for t in (self.mem_k, self.mem_v))
            k, v = torch.cat((mem_k, k), dim=-2), torch.cat((mem_v, v), dim=-2)
            dots = einsum("b h i d, b h j d -> b h i j", q, k) * self.scale
            dots = einsum("b h i j, h k -> b k i j", dots, self.talking).contiguous()
            if self.causal:
                i, j = dots.shape[-2:]
                mask = torch.ones((i, j), device=x.device).triu_(j - i + 1).bool()
                dots.masked_fill_(mask, -torch.finfo(dots.dtype).max)
            attn = F.softmax(dots, dim=-1)
            out = einsum("b h i j, b h j d -> b h i d", attn, v)
            return self.to_out(out.permute(0, 2, 1, 3).reshape(b, n, -1))

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.token_emb, self.src_emb = nn.Embedding(V, dim), nn.Embedding(V, dim)
        self.layer_types = ("a", "c", "f") * 2
        self.layers = nn.ModuleList([])
        for kind in self.layer_types:
            layer = {
                "a": lambda: self.Attention(dim, causal=True),
                "c": lambda: self.Attention(dim),
                "f": lambda: nn.Sequential(GEGLU(dim, 20), nn.Dropout(0.1), nn.Linear(20, dim)),
            }[kind]()
            self.layers.append(nn.ModuleList([ScaleNorm(dim), layer]))
        self.norm, self.emb_scale = nn.LayerNorm(dim), 0.5

    def forward(self, src: Tensor, x: Tensor) -> Tensor:
        context = self.src_emb(src)
        x = self.token_emb(x) * self.emb_scale
        for layer_type, (norm, block) in zip(self.layer_types, self.layers):
            residual, x = x, norm(x)
            x = block(x, context) if layer_type == "c" else block(x)
            x = x + residual
        return self.norm(x) @ self.token_emb.weight.t()


class PalmBlocks(nn.Module):
    """Attention and feedforward beside one another out of one fused projection, with one head of keys."""

    class Parallel(nn.Module):
        def __init__(self, dim: int, dim_head: int = 4, heads: int = 4, ff_mult: int = 2) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(dim, bias=False)
            attn_inner, ff_inner = dim_head * heads, dim * ff_mult
            self.fused_dims = (attn_inner, dim_head, dim_head, (ff_inner * 2))
            self.heads, self.scale = heads, dim_head**-0.5
            self.fused_attn_ff_proj = nn.Linear(dim, sum(self.fused_dims), bias=False)
            self.attn_out = nn.Linear(attn_inner, dim, bias=False)
            self.ff_out = nn.Linear(ff_inner, dim, bias=False)
            self.register_buffer("mask", None, persistent=False)

        def get_mask(self, n: int, device: Any) -> Tensor:
            if self.mask is not None and self.mask.shape[-1] >= n:
                return self.mask[:n, :n]
            mask = torch.ones((n, n), device=device, dtype=torch.bool).triu(1)
            self.register_buffer("mask", mask, persistent=False)
            return mask

        def forward(self, x: Tensor) -> Tensor:
            n, device, h = x.shape[1], x.device, self.heads
            x = self.norm(x)
            q, k, v, ff = self.fused_attn_ff_proj(x).split(self.fused_dims, dim=-1)
            q = q.unflatten(-1, (h, -1)).transpose(1, 2) * self.scale
            sim = einsum("b h i d, b j d -> b h i j", q, k)
            sim = sim.masked_fill(self.get_mask(n, device), -torch.finfo(sim.dtype).max)
            sim = sim - sim.amax(dim=-1, keepdim=True).detach()
            out = einsum("b h i j, b j d -> b h i d", sim.softmax(dim=-1), v)
            out = out.transpose(1, 2).flatten(2)
            ff, gate = ff.chunk(2, dim=-1)
            return self.attn_out(out) + self.ff_out(F.silu(gate) * ff)

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Embedding(V, 16),
            *[self.Parallel(16) for _ in range(2)],
            nn.LayerNorm(16),
            nn.Linear(16, V, bias=False),
        )
        self.net[-1].weight = self.net[0].weight
        nn.init.normal_(self.net[0].weight, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.net[0](x)
        for block in self.net[1:3]:
            x = x + block(x)
        return self.net[4](self.net[3](x))


class CacheOutput(NamedTuple):
    logits: Tensor
    past: list[tuple[Tensor, Tensor]]


class CachedGPT(nn.Module):
    """A GPT that gives its keys and values of every layer back, and drops whole layers at random in training."""

    def __init__(self, d: int = 16, h: int = 2, layerdrop: float = 0.2) -> None:
        super().__init__()
        self.wte, self.wpe, self.h, self.layerdrop = (
            nn.Embedding(V, d),
            nn.Embedding(block_size, d),
            h,
            layerdrop,
        )
        self.blocks = nn.ModuleDict()
        for i in range(2):
            self.blocks[f"layer_{i}"] = nn.ModuleDict(
                {
                    "ln": nn.LayerNorm(d),
                    "qkv": nn.Linear(d, 3 * d),
                    "out": nn.Linear(d, d),
                    "mlp": nn.Sequential(
                        nn.LayerNorm(d), nn.Linear(d, 24), nn.GELU(), nn.Linear(24, d)
                    ),
                }
            )
        self.ln_f = nn.LayerNorm(d)

    def forward(self, ids: Tensor, past: Any = None) -> CacheOutput:
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        past = past or [None] * len(self.blocks)
        presents = []
        for (_name, block), layer_past in zip(self.blocks.items(), past):
            if self.training and torch.rand(()) < self.layerdrop:
                continue
            q, k, v = (
                t.unflatten(2, (self.h, -1)).transpose(1, 2)
                for t in block["qkv"](block["ln"](x)).split(x.shape[2], dim=2)
            )
            if layer_past is not None:
                k, v = torch.cat((layer_past[0], k), dim=-2), torch.cat((layer_past[1], v), dim=-2)
            presents.append((k, v))
            y = F.scaled_dot_product_attention(
                q, k, v, is_causal=layer_past is None, dropout_p=0.1 if self.training else 0.0
            )
            x = x + block["out"](y.transpose(1, 2).flatten(2))
            x = x + block["mlp"](x)
        return CacheOutput(F.linear(self.ln_f(x), self.wte.weight), presents)


class GriffinGate(nn.Module):
    """A gated linear recurrence by a loop, its gates blockwise, beside a short causal convolution and a GeGLU."""

    def __init__(self, d: int = 12, blocks: int = 2) -> None:
        super().__init__()
        self.embed, self.norm, self.norm2 = nn.Embedding(V, d), nn.RMSNorm(d), nn.RMSNorm(d)
        self.linear_x, self.linear_y, self.linear_out = (
            nn.Linear(d, d),
            nn.Linear(d, d),
            nn.Linear(d, d),
        )
        self.conv1d = nn.Conv1d(d, d, 4, padding=3, groups=d)
        self.gate_w = nn.Parameter(torch.randn(2, blocks, d // blocks, d // blocks) * 0.3)
        self.gate_b = nn.Parameter(torch.zeros(2, d))
        self.a_param, self.blocks = nn.Parameter(torch.rand(d)), blocks
        self.up, self.gate, self.down, self.head = (
            nn.Linear(d, 20),
            nn.Linear(d, 20),
            nn.Linear(20, d),
            nn.Linear(d, V),
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        b, l, d = x.shape
        r = self.norm(x)
        y = F.gelu(self.linear_y(r), approximate="tanh")
        u = self.conv1d(self.linear_x(r).transpose(1, 2))[..., :l].transpose(1, 2)
        chunks = u.view(b, l, self.blocks, -1)
        gates = [
            torch.sigmoid(
                torch.einsum("...hi,hij->...hj", chunks, self.gate_w[i]).reshape(b, l, d)
                + self.gate_b[i]
            )
            for i in range(2)
        ]
        log_a = -8.0 * gates[1] * F.softplus(self.a_param)
        a, normalised = torch.exp(log_a), torch.sqrt(1 - torch.exp(2 * log_a))
        h, out = torch.zeros_like(u[:, 0]), []
        for t in range(l):
            h = a[:, t] * h + normalised[:, t] * (gates[0] * u)[:, t]
            out.append(h)
        x = x + self.linear_out(torch.stack(out, dim=1) * y)
        r = self.norm2(x)
        return self.head(x + self.down(F.gelu(self.gate(r)) * self.up(r)))


class GlobalPointer(nn.Module):
    """Spans of entities by products of turned starts and ends, one square of scores for each kind."""

    def __init__(self, ent_type_size: int = 3, inner_dim: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, 16, padding_idx=0)
        self.encoder = nn.LSTM(16, 10, bidirectional=True, batch_first=True)
        self.ent_type_size, self.inner_dim = ent_type_size, inner_dim
        self.dense = nn.Linear(20, ent_type_size * inner_dim * 2)

    def sinusoidal_position_embedding(
        self, batch_size: int, seq_len: int, output_dim: int
    ) -> Tensor:
        position_ids = torch.arange(0, seq_len, dtype=torch.float).unsqueeze(-1)
        indices = torch.pow(
            10000, -2 * torch.arange(0, output_dim // 2, dtype=torch.float) / output_dim
        )
        embeddings = position_ids * indices
        embeddings = torch.stack([torch.sin(embeddings), torch.cos(embeddings)], dim=-1)
        embeddings = embeddings.repeat((batch_size, *([1] * len(embeddings.shape))))
        return torch.reshape(embeddings, (batch_size, seq_len, output_dim))

    def forward(self, input_ids: Tensor) -> Tensor:
        attention_mask = input_ids.ne(0)
        last_hidden_state = self.encoder(self.embedding(input_ids))[0]
        batch_size, seq_len = last_hidden_state.size()[0], last_hidden_state.size()[1]
        outputs = self.dense(last_hidden_state)
        outputs = torch.split(outputs, self.inner_dim * 2, dim=-1)
        outputs = torch.stack(outputs, dim=-2)
        qw, kw = outputs[..., : self.inner_dim], outputs[..., self.inner_dim :]
        pos_emb = self.sinusoidal_position_embedding(batch_size, seq_len, self.inner_dim).to(qw)
        cos_pos = pos_emb[..., None, 1::2].repeat_interleave(2, dim=-1)
        sin_pos = pos_emb[..., None, ::2].repeat_interleave(2, dim=-1)
        qw2 = torch.stack([-qw[..., 1::2], qw[..., ::2]], -1).reshape(qw.shape)
        qw = qw * cos_pos + qw2 * sin_pos
        kw2 = torch.stack([-kw[..., 1::2], kw[..., ::2]], -1).reshape(kw.shape)
        kw = kw * cos_pos + kw2 * sin_pos
        logits = torch.einsum("bmhd,bnhd->bhmn", qw, kw)
        pad_mask = (
            attention_mask.unsqueeze(1)
            .unsqueeze(1)
            .expand(batch_size, self.ent_type_size, seq_len, seq_len)
            .to(logits)
        )
        logits = logits * pad_mask - (1 - pad_mask) * 1e12
        mask = torch.tril(torch.ones_like(logits), -1)
        return (logits - mask * 1e12) / self.inner_dim**0.5


class WordCharTagger(nn.Module):
    """Emissions of a tagger and the log partition of a chain over them, by logsumexp in a loop."""

    def __init__(self, tags: int = 4) -> None:
        super().__init__()
        self.words, self.drop = nn.Embedding(V, 12), nn.Dropout(0.3)
        self.gru = nn.GRU(12, 8, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.hidden2tag = nn.Sequential(nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, tags))
        self.transitions = nn.Parameter(torch.randn(tags, tags))
        self.start, self.stop = nn.Parameter(torch.randn(tags)), nn.Parameter(torch.randn(tags))

    def forward(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        mask = (sentence > 3).float()
        x, _ = self.gru(self.drop(self.words(sentence)))
        emissions = self.hidden2tag(x)
        alpha = self.start + emissions[:, 0]
        for i in range(1, sentence.size(1)):
            nxt = torch.logsumexp(
                alpha.unsqueeze(2) + self.transitions + emissions[:, i].unsqueeze(1), dim=1
            )
            alpha = torch.where(mask[:, i].unsqueeze(1) > 0, nxt, alpha)
        return emissions, torch.logsumexp(alpha + self.stop, dim=1)


class ScheduledSeq2Seq(nn.Module):
    """A translator of courses: an attention energy with a parameter v, decoded by a loop that writes into a tensor of zeros."""

    def __init__(self, emb: int = 10, enc: int = 8, dec: int = 9) -> None:
        super().__init__()
        self.enc_emb, self.dec_emb = nn.Embedding(V, emb), nn.Embedding(V, emb)
        self.rnn_enc, self.fc = nn.GRU(emb, enc, bidirectional=True), nn.Linear(enc * 2, dec)
        self.attn, self.v = nn.Linear(enc * 2 + dec, dec), nn.Linear(dec, 1, bias=False)
        self.rnn_dec, self.fc_out = nn.GRU(enc * 2 + emb, dec), nn.Linear(enc * 2 + dec + emb, V)
        self.dropout = nn.Dropout(0.2)

    def forward(self, src: Tensor, trg: Tensor) -> Tensor:
        src, trg = src.permute(1, 0), trg.permute(1, 0)
        batch_size, trg_len, src_len = trg.shape[1], trg.shape[0], src.shape[0]
        outputs = torch.zeros(trg_len, batch_size, V).to(self.fc.weight)
        encoder_outputs, hidden = self.rnn_enc(self.dropout(self.enc_emb(src)))
        hidden = torch.tanh(self.fc(torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1)))
        encoder_outputs = encoder_outputs.permute(1, 0, 2)
        input = trg[0, :]
        for t in range(1, trg_len):
            embedded = self.dropout(self.dec_emb(input.unsqueeze(0)))
            repeated = hidden.unsqueeze(1).repeat(1, src_len, 1)
            energy = torch.tanh(self.attn(torch.cat((repeated, encoder_outputs), dim=2)))
            a = F.softmax(self.v(energy).squeeze(2), dim=1).unsqueeze(1)
            weighted = torch.bmm(a, encoder_outputs).permute(1, 0, 2)
            output, h = self.rnn_dec(torch.cat((embedded, weighted), dim=2), hidden.unsqueeze(0))
            hidden = h.squeeze(0)
            prediction = self.fc_out(
                torch.cat((output.squeeze(0), weighted.squeeze(0), embedded.squeeze(0)), dim=1)
            )
            outputs[t] = prediction
            input = trg[t]
        return outputs


class FunctionalLoRA(nn.Module):
    """A frozen block called by functional_call with weights to which products of low rank are added."""

    def __init__(self, d: int = 12, r: int = 2) -> None:
        super().__init__()
        self.emb = nn.Embedding(V, d)
        self.base = nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d))
        self.A = nn.ParameterDict(
            {"0": nn.Parameter(torch.randn(r, d)), "2": nn.Parameter(torch.randn(r, 20))}
        )
        self.B = nn.ParameterDict(
            {"0": nn.Parameter(torch.randn(20, r)), "2": nn.Parameter(torch.randn(d, r))}
        )
        self.head = nn.Linear(d, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        params = dict(self.base.named_parameters())
        for k in self.A:
            params[f"{k}.weight"] = params[f"{k}.weight"] + 0.5 * self.B[k] @ self.A[k]
        x = x + torch.func.functional_call(self.base, params, (x,))
        return self.head(x.mean(1))


class ScriptedFeedForward(nn.Module):
    """The feedforward as a scripted module, the activation as a scripted function."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(d, 24), nn.Linear(24, d)

    def forward(self, x: Tensor) -> Tensor:
        return self.l2(F.gelu(self.l1(x)))


@scripted
def snake(x: Tensor, alpha: Tensor) -> Tensor:
    shape = x.shape
    x = x.reshape(shape[0], shape[1], -1)
    x = x + (alpha + 1e-9).reciprocal() * torch.sin(alpha * x).pow(2)
    return x.reshape(shape)


class SnakeText(nn.Module):
    """Convolutions over words with scripted snakes and a part given to torch.compile."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.emb, self.conv1, self.conv2 = (
            nn.Embedding(V, d),
            nn.Conv1d(d, 16, 3, padding=1),
            nn.Conv1d(16, d, 3, padding=1),
        )
        self.alpha1, self.alpha2 = (
            nn.Parameter(torch.ones(1, 16, 1)),
            nn.Parameter(torch.ones(1, d, 1)),
        )
        self.pool = torch.compile(self._pool)
        self.fc = nn.Linear(2 * d, 3)

    def _pool(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean(-1), x.amax(-1)], dim=-1)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids).transpose(1, 2)
        x = snake(self.conv1(x), self.alpha1)
        x = snake(self.conv2(x), self.alpha2)
        return self.fc(self._pool(x))


class ScriptedBert(nn.Module):
    """An encoder whose feedforward was scripted when it was made."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.emb, self.attn = nn.Embedding(V, d), nn.MultiheadAttention(d, 2, batch_first=True)
        self.norm, self.ff, self.fc = (
            nn.LayerNorm(d),
            scripted(ScriptedFeedForward(d)),
            nn.Linear(d, 3),
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        x = x + self.attn(x, x, x, key_padding_mask=ids == 0)[0]
        return self.fc((x + self.ff(self.norm(x))).mean(1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "lecture_gpt": lambda: (LectureGPT(), INPUTS.tokens),
    "lecture_experts_noisy": lambda: (LectureGPT(experts=True), INPUTS.tokens),
    "book_gpt": lambda: (
        BookGPT(
            {
                "vocab_size": V,
                "context_length": 12,
                "emb_dim": 16,
                "n_heads": 4,
                "n_layers": 2,
                "drop_rate": 0.1,
            }
        ),
        INPUTS.tokens,
    ),
    "llama_cached_complex": lambda: (LlamaCached(), INPUTS.tokens),
    "speedrun_gpt": lambda: (SpeedrunGPT(), INPUTS.tokens),
    "layers_of_kinds": lambda: (LayersOfKinds(), (INPUTS.other_tokens, INPUTS.tokens)),
    "palm_fused_parallel": lambda: (PalmBlocks(), INPUTS.tokens),
    "gpt_presents_layerdrop": lambda: (CachedGPT(), INPUTS.tokens),
    "griffin_loop": lambda: (GriffinGate(), INPUTS.tokens),
    "global_pointer": lambda: (GlobalPointer(), INPUTS.tokens),
    "chain_partition": lambda: (WordCharTagger(), INPUTS.tokens),
    "seq2seq_written_outputs": lambda: (ScheduledSeq2Seq(), (INPUTS.tokens, INPUTS.other_tokens)),
    "functional_lora": lambda: (FunctionalLoRA(), INPUTS.tokens),
    "scripted_snake": lambda: (SnakeText(), INPUTS.tokens),
    "scripted_feedforward": lambda: (ScriptedBert(), INPUTS.tokens),
}

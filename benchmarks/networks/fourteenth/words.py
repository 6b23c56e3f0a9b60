"""Networks of the zoo over words, fourteenth sample: slopes of distance, buckets, windows, experts by index, readers."""

# ruff: noqa: C408, N806, RUF059, UP045 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import INPUTS


@dataclass
class SlopeConfig:
    block_size: int = 16
    vocab_size: int = 30
    n_layer: int = 2
    n_head: int = 3
    n_embd: int = 12
    dropout: float = 0.1
    bias: bool = False
    extras: dict[str, int] = field(default_factory=dict)


class SlopeAttention(nn.Module):
    def __init__(self, config: SlopeConfig) -> None:
        super().__init__()
        assert config.n_embd % config.n_head == 0
        self.n_head, self.n_embd = config.n_head, config.n_embd
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.c_proj.NANOGPT_SCALE_INIT = 1
        self.register_buffer("m", self.get_alibi_slope(self.n_head))

    @staticmethod
    def get_alibi_slope(num_heads: int) -> Tensor:
        x = (2**8) ** (1 / num_heads)
        return (
            torch.tensor([1 / x ** (i + 1) for i in range(num_heads)]).unsqueeze(-1).unsqueeze(-1)
        )

    @staticmethod
    def get_relative_positions(seq_len: int) -> Tensor:
        x, y = torch.arange(seq_len)[None, :], torch.arange(seq_len)[:, None]
        return x - y

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        bias = (self.m * self.get_relative_positions(T).to(x.device)).unsqueeze(0)
        score = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1))) + bias
        mask = torch.triu(torch.full((T, T), float("-inf"), dtype=x.dtype), diagonal=1)
        att = F.softmax(score + mask, dim=-1)
        return self.c_proj((att @ v).transpose(1, 2).contiguous().view(B, T, C))


class SlopeGPT(nn.Module):
    """A tied GPT whose attention falls off by slopes of each head; loss and logits of the last step as lectures have it."""

    def __init__(self, config: SlopeConfig) -> None:
        super().__init__()
        self.config = config
        d = config.n_embd
        self.transformer = nn.ModuleDict(
            dict(
                wte=nn.Embedding(config.vocab_size, d),
                drop=nn.Dropout(config.dropout),
                h=nn.ModuleList(
                    [
                        nn.ModuleDict(
                            {
                                "ln_1": nn.LayerNorm(d, bias=config.bias),
                                "attn": SlopeAttention(config),
                                "ln_2": nn.LayerNorm(d, bias=config.bias),
                                "mlp": nn.Sequential(
                                    nn.Linear(d, 4 * d, bias=config.bias),
                                    nn.GELU(approximate="tanh"),
                                    nn.Linear(4 * d, d, bias=config.bias),
                                    nn.Dropout(config.dropout),
                                ),
                            }
                        )
                        for _ in range(config.n_layer)
                    ]
                ),
                ln_f=nn.LayerNorm(d, bias=config.bias),
            )
        )
        self.lm_head = nn.Linear(d, config.vocab_size, bias=False)
        self.transformer.wte.weight = self.lm_head.weight
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            std = 0.02
            if hasattr(module, "NANOGPT_SCALE_INIT"):
                std *= (2 * self.config.n_layer) ** -0.5
            torch.nn.init.normal_(module.weight, mean=0.0, std=std)
        elif isinstance(module, nn.Embedding):
            torch.nn.init.normal_(module.weight, mean=0.0, std=0.02)

    def forward(
        self, idx: Tensor, targets: Optional[Tensor] = None
    ) -> tuple[Tensor, Optional[Tensor]]:
        b, t = idx.size()
        assert t <= self.config.block_size, f"Cannot forward sequence of length {t}"
        x = self.transformer.drop(self.transformer.wte(idx))
        for block in self.transformer.h:
            x = x + block["attn"](block["ln_1"](x))
            x = x + block["mlp"](block["ln_2"](x))
        x = self.transformer.ln_f(x)
        if targets is not None:
            logits = self.lm_head(x)
            loss = F.cross_entropy(
                logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1
            )
        else:
            logits = self.lm_head(x[:, [-1], :])
            loss = None
        return logits, loss


class BucketedEncoder(nn.Module):
    """Attention with biases of buckets of distances, that the first layer makes and hands on; RMS norms and gated GELUs."""

    class Attention(nn.Module):
        def __init__(self, d: int, heads: int, d_kv: int, has_bias: bool) -> None:
            super().__init__()
            self.n_heads, self.key_value_proj_dim, self.inner_dim = heads, d_kv, heads * d_kv
            self.q, self.k, self.v = (nn.Linear(d, self.inner_dim, bias=False) for _ in range(3))
            self.o = nn.Linear(self.inner_dim, d, bias=False)
            self.has_bias = has_bias
            if has_bias:
                self.relative_attention_bias = nn.Embedding(8, heads)

        @staticmethod
        def bucket(
            relative_position: Tensor, num_buckets: int = 8, max_distance: int = 16
        ) -> Tensor:
            num_buckets //= 2
            ret = (relative_position > 0).to(torch.long) * num_buckets
            n = torch.abs(relative_position)
            max_exact = num_buckets // 2
            large = max_exact + (
                torch.log(n.float() / max_exact)
                / math.log(max_distance / max_exact)
                * (num_buckets - max_exact)
            ).to(torch.long)
            large = torch.min(large, torch.full_like(large, num_buckets - 1))
            return ret + torch.where(n < max_exact, n, large)

        def forward(self, x: Tensor, position_bias: Tensor | None) -> tuple[Tensor, Tensor]:
            batch_size, seq_length = x.shape[:2]

            def shape(states: Tensor) -> Tensor:
                return states.view(batch_size, -1, self.n_heads, self.key_value_proj_dim).transpose(
                    1, 2
                )

            def unshape(states: Tensor) -> Tensor:
                return states.transpose(1, 2).contiguous().view(batch_size, -1, self.inner_dim)

            scores = torch.matmul(shape(self.q(x)), shape(self.k(x)).transpose(3, 2))
            if position_bias is None:
                context = torch.arange(seq_length)[:, None]
                rel = self.bucket(torch.arange(seq_length)[None, :] - context)
                position_bias = self.relative_attention_bias(rel).permute([2, 0, 1]).unsqueeze(0)
            scores += position_bias
            weights = F.softmax(scores.float(), dim=-1).type_as(scores)
            return self.o(unshape(torch.matmul(weights, shape(self.v(x))))), position_bias

    class Norm(nn.Module):
        def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
            super().__init__()
            self.weight, self.variance_epsilon = nn.Parameter(torch.ones(hidden_size)), eps

        def forward(self, x: Tensor) -> Tensor:
            variance = x.pow(2).mean(-1, keepdim=True)
            return self.weight * (x * torch.rsqrt(variance + self.variance_epsilon))

    def __init__(self, vocab: int = 30, d: int = 10, heads: int = 3, layers: int = 2) -> None:
        super().__init__()
        self.shared = nn.Embedding(vocab, d)
        self.attns = nn.ModuleList([self.Attention(d, heads, 4, i == 0) for i in range(layers)])
        self.wi_0 = nn.ModuleList([nn.Linear(d, 22, bias=False) for _ in range(layers)])
        self.wi_1 = nn.ModuleList([nn.Linear(d, 22, bias=False) for _ in range(layers)])
        self.wo = nn.ModuleList([nn.Linear(22, d, bias=False) for _ in range(layers)])
        self.norms = nn.ModuleList([self.Norm(d) for _ in range(2 * layers + 1)])
        self.head = nn.Linear(d, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden, bias = self.shared(input_ids), None
        for i, attn in enumerate(self.attns):
            out, bias = attn(self.norms[2 * i](hidden), bias)
            hidden = hidden + out
            normed = self.norms[2 * i + 1](hidden)
            hidden = hidden + self.wo[i](
                F.gelu(self.wi_0[i](normed), approximate="tanh") * self.wi_1[i](normed)
            )
        return self.head(self.norms[-1](hidden)[:, 0])


class RotaryEmbedding(nn.Module):
    def __init__(self, dim: int, max_len: int = 32, base: float = 10000.0) -> None:
        super().__init__()
        inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2).float() / dim))
        freqs = torch.outer(torch.arange(max_len).float(), inv_freq)
        self.register_buffer("cos", freqs.cos(), persistent=False)
        self.register_buffer("sin", freqs.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[-2]
        cos, sin = self.cos[:T].to(x.dtype), self.sin[:T].to(x.dtype)
        x1, x2 = x[..., ::2], x[..., 1::2]
        return torch.stack((x1 * cos - x2 * sin, x1 * sin + x2 * cos), dim=-1).flatten(-2)


class WindowedExperts(nn.Module):
    """Grouped queries in a sliding window, and experts that take the tokens which chose them, found by index."""

    def __init__(
        self, vocab: int = 30, d: int = 16, heads: int = 4, kv: int = 2, window: int = 3, e: int = 3
    ) -> None:
        super().__init__()
        self.h, self.kv, self.hd, self.window, self.e = heads, kv, d // heads, window, e
        self.embed_tokens, self.rope = nn.Embedding(vocab, d), RotaryEmbedding(self.hd)
        self.wq, self.wk = (
            nn.Linear(d, heads * self.hd, bias=False),
            nn.Linear(d, kv * self.hd, bias=False),
        )
        self.wv, self.wo = (
            nn.Linear(d, kv * self.hd, bias=False),
            nn.Linear(heads * self.hd, d, bias=False),
        )
        self.gate = nn.Linear(d, e, bias=False)
        self.experts = nn.ModuleList(
            [nn.ModuleDict({"w1": nn.Linear(d, 20, bias=False), "w3": nn.Linear(d, 20, bias=False),
                            "w2": nn.Linear(20, d, bias=False)}) for _ in range(e)]
        )  # fmt: skip
        self.norm1, self.norm2, self.norm = nn.RMSNorm(d), nn.RMSNorm(d), nn.RMSNorm(d)
        self.lm_head = nn.Linear(d, vocab, bias=False)

    def attention(self, x: Tensor) -> Tensor:
        bsz, seqlen, _ = x.shape
        xq = self.wq(x).view(bsz, seqlen, self.h, self.hd).transpose(1, 2)
        xk = self.wk(x).view(bsz, seqlen, self.kv, self.hd).transpose(1, 2)
        xv = self.wv(x).view(bsz, seqlen, self.kv, self.hd).transpose(1, 2)
        xq, xk = self.rope(xq), self.rope(xk)
        n_rep = self.h // self.kv
        xk = (
            xk[:, :, None]
            .expand(bsz, self.kv, n_rep, seqlen, self.hd)
            .reshape(bsz, self.h, seqlen, self.hd)
        )
        xv = torch.repeat_interleave(xv, n_rep, dim=1)
        pos = torch.arange(seqlen, device=x.device)
        dist = pos[:, None] - pos[None, :]
        allowed = (dist >= 0) & (dist < self.window)
        out = F.scaled_dot_product_attention(xq, xk, xv, attn_mask=allowed)
        return self.wo(out.transpose(1, 2).reshape(bsz, seqlen, -1))

    def moe(self, inputs: Tensor) -> Tensor:
        squashed = inputs.view(-1, inputs.shape[-1])
        weights, selected = torch.topk(self.gate(squashed), 2)
        weights = F.softmax(weights, dim=1, dtype=torch.float).type_as(inputs)
        results = torch.zeros_like(squashed)
        for i, expert in enumerate(self.experts):
            batch_idx, nth_expert = torch.where(selected == i)
            token = squashed[batch_idx]
            y = expert["w2"](F.silu(expert["w1"](token)) * expert["w3"](token))
            results[batch_idx] += weights[batch_idx, nth_expert, None] * y
        return results.view_as(inputs)

    def forward(self, input_ids: Tensor) -> Tensor:
        h = self.embed_tokens(input_ids)
        h = h + self.attention(self.norm1(h))
        h = h + self.moe(self.norm2(h))
        return self.lm_head(self.norm(h))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "slope_gpt": lambda: (SlopeGPT(SlopeConfig()), INPUTS.tokens),
    "bucketed_encoder": lambda: (BucketedEncoder(), INPUTS.tokens),
    "windowed_experts": lambda: (WindowedExperts(), INPUTS.tokens),
}

"""Networks of the zoo over words, twelfth sample: caps of scores, caches, characters, blocks, light convolutions, dispatch."""

# ruff: noqa: B905, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.twelfth.inputs import CHARACTERS, INPUTS, MEL_TEXT

V = 30


class CappedLM(nn.Module):
    """A language model whose scores are capped by tanh, norms before and after branches, layers near and far in turn."""

    class RMSNorm(nn.Module):
        def __init__(self, dim: int, eps: float = 1e-6) -> None:
            super().__init__()
            self.eps, self.weight = eps, nn.Parameter(torch.zeros(dim))

        def _norm(self, x: Tensor) -> Tensor:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

        def forward(self, x: Tensor) -> Tensor:
            output = self._norm(x.float())
            output = output * (1.0 + self.weight.float())
            return output.type_as(x)

    class Attention(nn.Module):
        def __init__(self, d: int, heads: int, kv: int, head_dim: int, local: bool) -> None:
            super().__init__()
            self.num_heads, self.num_kv, self.head_dim, self.local = heads, kv, head_dim, local
            self.q_size, self.kv_size = heads * head_dim, kv * head_dim
            self.qkv_proj = nn.Linear(d, (heads + 2 * kv) * head_dim, bias=False)
            self.o_proj, self.softcap = nn.Linear(heads * head_dim, d, bias=False), 50.0

        def forward(
            self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, local_mask: Tensor
        ) -> Tensor:
            b, n, _ = x.shape
            xq, xk, xv = self.qkv_proj(x).split([self.q_size, self.kv_size, self.kv_size], dim=-1)
            xq, xk = (
                xq.view(b, -1, self.num_heads, self.head_dim),
                xk.view(b, -1, self.num_kv, self.head_dim),
            )
            xv = xv.view(b, -1, self.num_kv, self.head_dim)

            def rotate(t: Tensor) -> Tensor:
                t1, t2 = t.chunk(2, dim=-1)
                return torch.cat([t1 * cos - t2 * sin, t1 * sin + t2 * cos], dim=-1)

            xq, xk = rotate(xq), rotate(xk)
            if self.num_kv != self.num_heads:
                xk = torch.repeat_interleave(xk, self.num_heads // self.num_kv, dim=2)
                xv = torch.repeat_interleave(xv, self.num_heads // self.num_kv, dim=2)
            q, k, v = xq.transpose(1, 2), xk.transpose(1, 2), xv.transpose(1, 2)
            q.mul_(self.head_dim**-0.5)
            scores = torch.matmul(q, k.transpose(2, 3))
            scores = torch.tanh(scores / self.softcap) * self.softcap
            scores = scores + (mask + local_mask if self.local else mask)
            out = torch.matmul(F.softmax(scores.float(), dim=-1).type_as(q), v)
            return self.o_proj(out.transpose(1, 2).contiguous().view(b, n, -1))

    def __init__(self, d: int = 16, heads: int = 4, kv: int = 2, head_dim: int = 6) -> None:
        super().__init__()
        self.embedder, self.hidden_size, self.head_dim = nn.Embedding(V, d), d, head_dim
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "self_attn": self.Attention(d, heads, kv, head_dim, local=n % 2 == 0),
                    "gate_proj": nn.Linear(d, 28),
                    "up_proj": nn.Linear(d, 28),
                    "down_proj": nn.Linear(28, d),
                    **{f"norm{i}": self.RMSNorm(d) for i in range(4)},
                }
            )
            for n in range(2)
        )
        self.norm = self.RMSNorm(d)

    def forward(self, input_ids: Tensor) -> Tensor:
        n = input_ids.shape[1]
        freqs = 1.0 / (10000 ** (torch.arange(0, self.head_dim, 2).float() / self.head_dim))
        freqs = torch.outer(torch.arange(n).float(), freqs)[:, None]
        x = self.embedder(input_ids)
        cos, sin = freqs.cos().to(x.dtype), freqs.sin().to(x.dtype)
        mask = torch.triu(torch.full((1, 1, n, n), -2.3819763e38).to(torch.float), diagonal=1)
        local = torch.where(torch.ones_like(mask).triu(-2) == 1, 0, -1e30)
        x = x * torch.tensor(self.hidden_size**0.5, dtype=x.dtype)
        for layer in self.layers:
            x = x + layer["norm1"](layer["self_attn"](layer["norm0"](x), cos, sin, mask, local))
            h = layer["norm2"](x)
            h = layer["down_proj"](
                F.gelu(layer["gate_proj"](h), approximate="tanh") * layer["up_proj"](h)
            )
            x = x + layer["norm3"](h)
        logits = torch.matmul(self.norm(x), self.embedder.weight.t())
        return torch.tanh(logits / 30.0) * 30.0


class SpokenWords(nn.Module):
    """An encoder of spectrograms and a decoder of words, with layers that cast their weights and a cache that may be given."""

    class Linear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(
                x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
            )

    class Conv1d(nn.Conv1d):
        def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return super()._conv_forward(
                x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
            )

    class LayerNorm(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return (
                super().forward(x.float()).type(x.dtype)
                if x.dtype == torch.float16
                else super().forward(x)
            )

    class MultiHeadAttention(nn.Module):
        def __init__(self, n_state: int, n_head: int) -> None:
            super().__init__()
            self.n_head, L = n_head, SpokenWords.Linear
            self.query, self.key = L(n_state, n_state), L(n_state, n_state, bias=False)
            self.value, self.out = L(n_state, n_state), L(n_state, n_state)

        def forward(
            self,
            x: Tensor,
            xa: Tensor | None = None,
            mask: Tensor | None = None,
            kv_cache: dict | None = None,
        ) -> Any:
            q = self.query(x)
            if kv_cache is None or xa is None or self.key not in kv_cache:
                k, v = self.key(x if xa is None else xa), self.value(x if xa is None else xa)
            else:
                k, v = kv_cache[self.key], kv_cache[self.value]
            wv, qk = self.qkv_attention(q, k, v, mask)
            return self.out(wv), qk

        def qkv_attention(
            self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            n_batch, n_ctx, n_state = q.shape
            scale = (n_state // self.n_head) ** -0.25
            q = q.view(*q.shape[:2], self.n_head, -1).permute(0, 2, 1, 3) * scale
            k = k.view(*k.shape[:2], self.n_head, -1).permute(0, 2, 3, 1) * scale
            v = v.view(*v.shape[:2], self.n_head, -1).permute(0, 2, 1, 3)
            qk = q @ k
            if mask is not None:
                qk = qk + mask[:n_ctx, :n_ctx]
            w = F.softmax(qk, dim=-1).to(q.dtype)
            return (w @ v).permute(0, 2, 1, 3).flatten(start_dim=2), qk.detach()

    class Block(nn.Module):
        def __init__(self, n_state: int, n_head: int, cross_attention: bool = False) -> None:
            super().__init__()
            A, L, N = SpokenWords.MultiHeadAttention, SpokenWords.Linear, SpokenWords.LayerNorm
            self.attn, self.attn_ln = A(n_state, n_head), N(n_state)
            self.cross_attn = A(n_state, n_head) if cross_attention else None
            self.cross_attn_ln = N(n_state) if cross_attention else None
            self.mlp, self.mlp_ln = (
                nn.Sequential(L(n_state, n_state * 2), nn.GELU(), L(n_state * 2, n_state)),
                N(n_state),
            )

        def forward(
            self,
            x: Tensor,
            xa: Tensor | None = None,
            mask: Tensor | None = None,
            kv_cache: dict | None = None,
        ) -> Tensor:
            x = x + self.attn(self.attn_ln(x), mask=mask, kv_cache=kv_cache)[0]
            if self.cross_attn:
                x = x + self.cross_attn(self.cross_attn_ln(x), xa, kv_cache=kv_cache)[0]
            return x + self.mlp(self.mlp_ln(x))

    @staticmethod
    def sinusoids(length: int, channels: int, max_timescale: int = 10000) -> Tensor:
        log_timescale_increment = np.log(max_timescale) / (channels // 2 - 1)
        inv_timescales = torch.exp(-log_timescale_increment * torch.arange(channels // 2))
        scaled_time = torch.arange(length)[:, np.newaxis] * inv_timescales[np.newaxis, :]
        return torch.cat([torch.sin(scaled_time), torch.cos(scaled_time)], dim=1)

    def __init__(
        self,
        n_mels: int = 12,
        n_audio_ctx: int = 10,
        n_text_ctx: int = 9,
        n: int = 16,
        n_head: int = 2,
    ) -> None:
        super().__init__()
        self.conv1 = self.Conv1d(n_mels, n, kernel_size=3, padding=1)
        self.conv2 = self.Conv1d(n, n, kernel_size=3, stride=2, padding=1)
        self.register_buffer("audio_position", self.sinusoids(n_audio_ctx, n))
        self.blocks = nn.ModuleList([self.Block(n, n_head) for _ in range(1)])
        self.ln_post = self.LayerNorm(n)
        self.token_embedding = nn.Embedding(V, n)
        self.positional_embedding = nn.Parameter(torch.randn(n_text_ctx, n) * 0.1)
        self.text_blocks = nn.ModuleList(
            [self.Block(n, n_head, cross_attention=True) for _ in range(2)]
        )
        self.ln = self.LayerNorm(n)
        mask = torch.empty(n_text_ctx, n_text_ctx).fill_(-np.inf).triu_(1)
        self.register_buffer("mask", mask, persistent=False)

    def embed_audio(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(x)))).permute(0, 2, 1)
        assert x.shape[1:] == self.audio_position.shape, "incorrect audio shape"
        x = (x + self.audio_position).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)

    def logits(self, x: Tensor, xa: Tensor, kv_cache: dict | None = None) -> Tensor:
        offset = next(iter(kv_cache.values())).shape[1] if kv_cache else 0
        x = self.token_embedding(x) + self.positional_embedding[offset : offset + x.shape[-1]]
        x = x.to(xa.dtype)
        for block in self.text_blocks:
            x = block(x, xa, mask=self.mask, kv_cache=kv_cache)
        x = self.ln(x)
        return (x @ torch.transpose(self.token_embedding.weight.to(x.dtype), 0, 1)).float()

    def forward(self, mel: Tensor, tokens: Tensor) -> Tensor:
        return self.logits(tokens, self.embed_audio(mel))


class CharacterMix(nn.Module):
    """Words from convolutions over characters and highways, two projected LSTMs a layer, and a learnt mix of layers."""

    class ScalarMix(nn.Module):
        def __init__(self, mixture_size: int) -> None:
            super().__init__()
            self.scalar_parameters = nn.ParameterList(
                [nn.Parameter(torch.FloatTensor([0.1 * i])) for i in range(mixture_size)]
            )
            self.gamma = nn.Parameter(torch.FloatTensor([1.0]))

        def forward(self, tensors: list[Tensor]) -> Tensor:
            normed_weights = F.softmax(torch.cat(list(self.scalar_parameters)), dim=0)
            normed_weights = torch.split(normed_weights, split_size_or_sections=1)
            pieces = []
            for weight, tensor in zip(normed_weights, tensors):
                pieces.append(weight * tensor)
            return self.gamma * sum(pieces)

    class Highway(nn.Module):
        def __init__(self, input_dim: int, num_layers: int = 2) -> None:
            super().__init__()
            self._input_dim, self._activation = input_dim, F.relu
            self._layers = nn.ModuleList(
                [nn.Linear(input_dim, input_dim * 2) for _ in range(num_layers)]
            )
            for layer in self._layers:
                layer.bias[input_dim:].data.fill_(1)

        def forward(self, inputs: Tensor) -> Tensor:
            current_input = inputs
            for layer in self._layers:
                projected_input = layer(current_input)
                linear_part = current_input
                nonlinear_part = projected_input[:, (0 * self._input_dim) : (1 * self._input_dim)]
                gate = projected_input[:, (1 * self._input_dim) : (2 * self._input_dim)]
                nonlinear_part = self._activation(nonlinear_part)
                gate = torch.sigmoid(gate)
                current_input = gate * linear_part + (1 - gate) * nonlinear_part
            return current_input

    def __init__(
        self,
        char_dim: int = 6,
        filters: tuple[tuple[int, int], ...] = ((1, 4), (2, 6), (3, 8)),
        out: int = 10,
    ) -> None:
        super().__init__()
        self._char_embedding_weights = nn.Parameter(torch.randn(40, char_dim) * 0.5)
        convolutions = []
        for i, (width, num) in enumerate(filters):
            conv = nn.Conv1d(in_channels=char_dim, out_channels=num, kernel_size=width, bias=True)
            self.add_module(f"char_conv_{i}", conv)
            convolutions.append(conv)
        self._convolutions, n_filters = convolutions, sum(n for _, n in filters)
        self._highways, self._projection = (
            self.Highway(n_filters),
            nn.Linear(n_filters, out, bias=True),
        )
        self.forward_layers = nn.ModuleList(
            nn.LSTM(out, 14, proj_size=out, batch_first=True) for _ in range(2)
        )
        self.backward_layers = nn.ModuleList(
            nn.LSTM(out, 14, proj_size=out, batch_first=True) for _ in range(2)
        )
        self.mix, self.tag = self.ScalarMix(3), nn.Linear(2 * out, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        batch, words, max_chars = inputs.size()
        x = F.embedding(inputs.view(-1, max_chars), self._char_embedding_weights)
        x = torch.transpose(x, 1, 2)
        convs = []
        for i in range(len(self._convolutions)):
            conv = getattr(self, f"char_conv_{i}")
            convolved = conv(x)
            convolved, _ = torch.max(convolved, dim=-1)
            convs.append(F.relu(convolved))
        token = self._projection(self._highways(torch.cat(convs, dim=-1))).view(batch, words, -1)
        layers = [torch.cat([token, token], dim=-1)]
        fwd, bwd = token, token.flip(1)
        for f, b in zip(self.forward_layers, self.backward_layers):
            f_out, b_out = f(fwd)[0], b(bwd)[0]
            fwd, bwd = (f_out + fwd, b_out + bwd) if len(layers) > 1 else (f_out, b_out)
            layers.append(torch.cat([fwd, bwd.flip(1)], dim=-1))
        return self.tag(self.mix(layers))


class LightConvolutions(nn.Module):
    """Convolutions over time with weights of a softmax, shared by heads or made from the words, and gated units before them."""

    class Dynamic(nn.Module):
        def __init__(self, input_size: int, kernel_size: int, num_heads: int) -> None:
            super().__init__()
            self.kernel_size, self.num_heads, self.padding_l = (
                kernel_size,
                num_heads,
                kernel_size - 1,
            )
            self.weight_linear = nn.Linear(input_size, num_heads * kernel_size, bias=True)
            self.conv_bias = nn.Parameter(torch.zeros(input_size))

        def forward(self, x: Tensor) -> Tensor:
            T, B, C = x.size()
            K, H = self.kernel_size, self.num_heads
            R = C // H
            assert R * H == C == x.size(2)
            weight = self.weight_linear(x).view(T * B * H, -1)
            x_unfold = F.pad(x.permute(1, 2, 0), (self.padding_l, 0)).unfold(2, T, 1)
            x_unfold = x_unfold.permute(3, 0, 1, 2).contiguous().view(T * B * H, R, K)
            weight = F.softmax(weight, dim=1)
            output = torch.bmm(x_unfold, weight.unsqueeze(2))
            return output.view(T, B, C) + self.conv_bias.view(1, 1, -1)

    class Light(nn.Module):
        def __init__(self, input_size: int, kernel_size: int, num_heads: int) -> None:
            super().__init__()
            self.kernel_size, self.num_heads, self.input_size = kernel_size, num_heads, input_size
            self.weight = nn.Parameter(torch.randn(num_heads, 1, kernel_size))

        def forward(self, x: Tensor) -> Tensor:
            T, B, C = x.size()
            x = x.permute(1, 2, 0).contiguous().view(-1, self.num_heads, T)
            weight = F.softmax(self.weight, dim=-1)
            x = F.conv1d(x, weight, padding=self.kernel_size // 2, groups=self.num_heads)
            return x.view(B, C, T).permute(2, 0, 1)

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.embed, self.embed_scale = nn.Embedding(V, d, padding_idx=0), math.sqrt(d)
        self.layers = nn.ModuleList()
        for conv in (self.Light(d, 3, 3), self.Dynamic(d, 3, 3)):
            layer = nn.Module()
            layer.linear1, layer.act, layer.conv, layer.linear2 = (
                nn.Linear(d, 2 * d),
                nn.GLU(),
                conv,
                nn.Linear(d, d),
            )
            layer.fc1, layer.fc2 = nn.Linear(d, 26), nn.Linear(26, d)
            layer.layer_norms = nn.ModuleList([nn.LayerNorm(d) for _ in range(2)])
            self.layers.append(layer)
        self.out = nn.Linear(d, V, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = (self.embed_scale * self.embed(tokens)).transpose(0, 1)
        pad = tokens.eq(0)
        for m in self.layers:
            residual = x
            x = m.act(m.linear1(m.layer_norms[0](x)))
            x = x.masked_fill(pad.transpose(0, 1).unsqueeze(2), 0)
            x = residual + m.linear2(m.conv(x))
            x = x + m.fc2(F.relu(m.fc1(m.layer_norms[1](x))))
        return self.out(x.transpose(0, 1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "capped_scores": lambda: (CappedLM(), INPUTS.tokens),
    "spoken_words": lambda: (SpokenWords(), MEL_TEXT),
    "character_mix": lambda: (CharacterMix(), CHARACTERS),
    "light_convolutions": lambda: (LightConvolutions(), INPUTS.tokens),
}

"""Networks of the zoo over texts, twelfth sample: configurations, experts' capacity, moving averages, blocks, pairs."""

# ruff: noqa: B905, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.twelfth.inputs import BATCH, INPUTS, TWO_TEXTS

V = 30


class Config(NamedTuple):
    """Settings of the encoder below."""

    vocab_size: int = V
    dim: int = 12
    n_layers: int = 2
    n_heads: int = 3
    dim_ff: int = 28
    p_drop_hidden: float = 0.1
    max_len: int = 10
    n_segments: int = 2


def split_last(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Returns x with its last dimension split."""
    shape_ = list(shape)
    assert shape_.count(-1) <= 1
    if -1 in shape_:
        shape_[shape_.index(-1)] = int(x.size(-1) / -reduce(lambda a, b: a * b, shape_))
    return x.view(*x.size()[:-1], *shape_)


def merge_last(x: Tensor, n_dims: int) -> Tensor:
    """Returns x with its last dimensions merged."""
    s = x.size()
    assert n_dims > 1 and n_dims < len(s)
    return x.view(*s[:-n_dims], -1)


def gelu(x: Tensor) -> Tensor:
    """Returns the activation by the error function."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


@dataclass
class Outputs:
    """What the encoder gives."""

    pooled: Tensor
    lm: Tensor
    scores: list[Tensor]


class PytorchicEncoder(nn.Module):
    """An encoder with three embeddings, a mask, heads split by helpers, tied scores of words and a data class."""

    class Attn(nn.Module):
        def __init__(self, cfg: Config) -> None:
            super().__init__()
            self.proj_q, self.proj_k, self.proj_v = (nn.Linear(cfg.dim, cfg.dim) for _ in range(3))
            self.drop, self.scores, self.n_heads = nn.Dropout(0.1), None, cfg.n_heads

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            q, k, v = self.proj_q(x), self.proj_k(x), self.proj_v(x)
            q, k, v = (split_last(t, (self.n_heads, -1)).transpose(1, 2) for t in [q, k, v])
            scores = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
            if mask is not None:
                mask = mask[:, None, None, :].float()
                scores -= 10000.0 * (1.0 - mask)
            scores = self.drop(F.softmax(scores, dim=-1))
            h = (scores @ v).transpose(1, 2).contiguous()
            self.scores = scores
            return merge_last(h, 2)

    def __init__(self, cfg: Config = Config()) -> None:  # noqa: B008
        super().__init__()
        self.tok_embed, self.pos_embed = (
            nn.Embedding(cfg.vocab_size, cfg.dim),
            nn.Embedding(cfg.max_len, cfg.dim),
        )
        self.seg_embed, self.norm, self.drop = (
            nn.Embedding(cfg.n_segments, cfg.dim),
            nn.LayerNorm(cfg.dim, eps=1e-12),
            nn.Dropout(0.1),
        )
        self.attn = nn.ModuleList([self.Attn(cfg) for _ in range(cfg.n_layers)])
        self.proj = nn.ModuleList([nn.Linear(cfg.dim, cfg.dim) for _ in range(cfg.n_layers)])
        self.fc1 = nn.ModuleList([nn.Linear(cfg.dim, cfg.dim_ff) for _ in range(cfg.n_layers)])
        self.fc2 = nn.ModuleList([nn.Linear(cfg.dim_ff, cfg.dim) for _ in range(cfg.n_layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(cfg.dim) for _ in range(2 * cfg.n_layers)])
        self.fc, self.activ1 = nn.Linear(cfg.dim, cfg.dim), nn.Tanh()
        self.linear, self.norm_lm = nn.Linear(cfg.dim, cfg.dim), nn.LayerNorm(cfg.dim)
        n_vocab, n_dim = self.tok_embed.weight.size()
        self.decoder = nn.Linear(n_dim, n_vocab, bias=False)
        self.decoder.weight = self.tok_embed.weight
        self.decoder_bias = nn.Parameter(torch.zeros(n_vocab))

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor, **kwargs: Any
    ) -> Outputs:
        seq_len = input_ids.size(1)
        pos = torch.arange(seq_len, dtype=torch.long, device=input_ids.device)
        pos = pos.unsqueeze(0).expand_as(input_ids)
        h = self.tok_embed(input_ids) + self.pos_embed(pos) + self.seg_embed(token_type_ids)
        h = self.drop(self.norm(h))
        for i, attn in enumerate(self.attn):
            h = self.norms[2 * i](h + self.drop(self.proj[i](attn(h, attention_mask))))
            h = self.norms[2 * i + 1](h + self.drop(self.fc2[i](gelu(self.fc1[i](h)))))
        pooled = self.activ1(self.fc(h[:, 0]))
        masked_pos = torch.tensor([1, 3])[None, :, None].expand(h.size(0), -1, h.size(-1))
        h_masked = self.norm_lm(gelu(self.linear(torch.gather(h, 1, masked_pos))))
        return Outputs(
            pooled, self.decoder(h_masked) + self.decoder_bias, [a.scores for a in self.attn]
        )


class CapacityExperts(nn.Module):
    """The best two experts with a limit for each, words sent by one-hot tensors and products, experts as stacked weights."""

    def __init__(
        self, dim: int = 10, num_experts: int = 4, hidden: int = 14, capacity_factor: float = 1.25
    ) -> None:
        super().__init__()
        self.embed, self.num_gates, self.capacity_factor = (
            nn.Embedding(V, dim),
            num_experts,
            capacity_factor,
        )
        self.w_gating = nn.Parameter(torch.randn(dim, num_experts))
        self.w1, self.w2 = (
            nn.Parameter(torch.randn(num_experts, dim, hidden) * 0.2),
            nn.Parameter(torch.randn(num_experts, hidden, dim) * 0.2),
        )
        self.act, self.norm, self.out = nn.LeakyReLU(), nn.LayerNorm(dim), nn.Linear(dim, V)

    def gate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        *_, b, group_size, dim = x.shape
        raw_gates = torch.einsum("...bnd,...de->...bne", x, self.w_gating).softmax(dim=-1)
        gate_1, index_1 = (t.squeeze(dim=-1) for t in raw_gates.topk(k=1, dim=-1))
        mask_1 = F.one_hot(index_1, self.num_gates).to(x.dtype)
        gates_without_top_1 = raw_gates * (1.0 - mask_1)
        gate_2, index_2 = (t.squeeze(dim=-1) for t in gates_without_top_1.topk(k=1, dim=-1))
        mask_2 = F.one_hot(index_2, self.num_gates).to(x.dtype)
        denom = gate_1 + gate_2 + 1e-9
        gate_1, gate_2 = gate_1 / denom, gate_2 / denom
        density_1 = mask_1.mean(dim=-2)
        loss = (raw_gates.mean(dim=-2) * density_1).mean() * float(self.num_gates**2)
        capacity = max(
            min(group_size, int((group_size * self.capacity_factor) / self.num_gates)), 2
        )
        position_1 = (mask_1.cumsum(dim=-2) - mask_1) * mask_1
        mask_1 = mask_1 * (position_1 < float(capacity)).to(x.dtype)
        mask_1_count = mask_1.sum(dim=-2, keepdim=True)
        mask_1_flat, position_1 = mask_1.sum(dim=-1), position_1.sum(dim=-1)
        gate_1 = gate_1 * mask_1_flat
        position_2 = ((mask_2.cumsum(dim=-2) - mask_2) + mask_1_count) * mask_2
        mask_2 = mask_2 * (position_2 < float(capacity)).to(x.dtype)
        mask_2_flat, position_2 = mask_2.sum(dim=-1), position_2.sum(dim=-1)
        gate_2 = gate_2 * mask_2_flat

        def one_hot(index: Tensor) -> Tensor:
            max_index = max(int(index.max()) + 1, capacity)
            return F.one_hot(index.long(), max_index)[..., :capacity].to(x.dtype)

        combine = (
            gate_1[..., None, None]
            * mask_1_flat[..., None, None]
            * F.one_hot(index_1, self.num_gates)[..., None]
            * one_hot(position_1)[..., None, :]
        )
        combine = (
            combine
            + gate_2[..., None, None]
            * mask_2_flat[..., None, None]
            * F.one_hot(index_2, self.num_gates)[..., None]
            * one_hot(position_2)[..., None, :]
        )
        return combine.bool().to(combine), combine, loss

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self.embed(ids)
        b, n, d = inputs.shape
        dispatch, combine, loss = self.gate(self.norm(inputs))
        expert_inputs = torch.einsum("bnd,bnec->ebcd", inputs, dispatch)
        orig_shape = expert_inputs.shape
        x = expert_inputs.reshape(self.num_gates, -1, d)
        x = torch.einsum("...nd,...dh->...nh", x, self.w1)
        x = torch.einsum("...nh,...hd->...nd", self.act(x), self.w2).reshape(*orig_shape)
        output = torch.einsum("ebcd,bnec->bnd", x, combine)
        return self.out(inputs + output), loss * 1e-2


class MovingAverages(nn.Module):
    """Damped moving averages of each channel, applied as a long kernel by transforms, in front of one gated attention head."""

    class MultiHeadEMA(nn.Module):
        def __init__(self, embed_dim: int, ndim: int = 2) -> None:
            super().__init__()
            self.embed_dim, self.ndim, self.scale = embed_dim, ndim, math.sqrt(1.0 / ndim)
            self.delta, self.alpha = (
                nn.Parameter(torch.randn(embed_dim, ndim, 1) * 0.2) for _ in range(2)
            )
            self.beta, self.gamma = (
                nn.Parameter(torch.randn(embed_dim, ndim, 1)),
                nn.Parameter(torch.randn(embed_dim, ndim)),
            )
            self.omega, self._kernel = nn.Parameter(torch.randn(embed_dim)), None

        def kernel(self, length: int) -> Tensor:
            p = torch.sigmoid(self.delta)
            q = 1.0 - p * torch.sigmoid(self.alpha)
            vander = torch.arange(length).to(p).view(1, 1, length) * torch.log(q)
            kernel = (p * self.beta) * torch.exp(vander)
            return torch.einsum("dnl,dn->dl", kernel, self.gamma * self.scale)

        def forward(self, x: Tensor) -> Tensor:
            seq_len, bsz, embed_dim = x.size()
            assert embed_dim == self.embed_dim
            residual = x * self.omega
            x = x.permute(1, 2, 0)
            k = self.kernel(seq_len)
            k_f = torch.fft.rfft(k, n=2 * seq_len)
            x_f = torch.fft.rfft(x, n=2 * seq_len)
            out = torch.fft.irfft(x_f * k_f, n=2 * seq_len)[..., 0:seq_len]
            return F.silu(out.permute(2, 0, 1) + residual)

    def __init__(self, d: int = 12, z: int = 6, h: int = 16) -> None:
        super().__init__()
        self.embed, self.norm, self.move = nn.Embedding(V, d), nn.LayerNorm(d), self.MultiHeadEMA(d)
        self.zdim, self.hdim, self.embed_dim = z, h, d
        self.v_proj, self.mx_proj = nn.Linear(d, h), nn.Linear(d, z + h + 2 * d)
        self.h_proj = nn.Linear(h, d)
        self.gamma, self.beta = (
            nn.Parameter(torch.rand(2, z) + 0.5),
            nn.Parameter(torch.zeros(2, z)),
        )
        self.out = nn.Linear(d, V)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).transpose(0, 1)
        residual, x = x, self.norm(x)
        v = F.silu(self.v_proj(x))
        base = self.mx_proj(self.move(x))
        u, zr, hx = torch.split(
            base, [self.embed_dim, self.zdim + self.hdim, self.embed_dim], dim=-1
        )
        u = torch.sigmoid(u)
        z, r = torch.split(F.silu(zr), [self.zdim, self.hdim], dim=-1)
        z = z.unsqueeze(2) * self.gamma + self.beta
        q, k = torch.unbind(z, dim=2)
        q, k, v = (t.transpose(0, 1) for t in (q * self.zdim**-0.5, k, v))
        attn = F.softmax(
            torch.bmm(q, k.transpose(1, 2))
            + torch.full((len(ids[0]), len(ids[0])), float("-inf")).triu(1),
            dim=-1,
        )
        h = torch.bmm(attn, v).transpose(0, 1)
        h = F.silu(hx + self.h_proj(h * r))
        return self.out(torch.addcmul(residual, u, h - residual).transpose(0, 1))


class BlocksOfCharacters(nn.Module):
    """Blocks of several sizes over characters, scored and mixed for each place, then shortened; an encoder reads the rest."""

    def __init__(
        self, dim: int = 12, blocks: tuple[int, ...] = (1, 2, 4), downsample: int = 2
    ) -> None:
        super().__init__()
        self.token_emb, self.blocks, self.downsample = nn.Embedding(V, dim), blocks, downsample
        self.pos_conv = nn.Sequential(
            nn.ConstantPad1d((0, 3), 0), nn.Conv1d(dim, dim, 4, groups=dim), nn.Conv1d(dim, dim, 1)
        )
        self.score_fn = nn.Sequential(nn.Linear(dim, 1), nn.Flatten(-2))
        self.ff = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 30), nn.GELU(), nn.Linear(30, dim)
        )
        self.head = nn.Linear(dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, n, block_mult = *x.shape, math.lcm(*self.blocks)
        x = self.token_emb(x)
        x = self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        if n % block_mult:
            x = F.pad(x, (0, 0, 0, block_mult - n % block_mult))
        reprs = []
        for size in self.blocks:
            blocked = x.reshape(b, -1, size, x.shape[-1])
            block_repr = blocked.mean(dim=-2)
            reprs.append(block_repr.repeat_interleave(size, dim=1))
        reprs = torch.stack(reprs, dim=2)
        scores = self.score_fn(reprs).softmax(dim=2)
        score_sim = torch.einsum("bid,bjd->bij", scores, scores).softmax(dim=-1)
        scores = torch.einsum("bij,bjm->bim", score_sim, scores)
        x = (reprs * scores[..., None]).sum(dim=2)[:, :n]
        x = x.reshape(b, -1, self.downsample, x.shape[-1]).mean(2)
        return self.head((x + self.ff(x)).amax(1))


class DecomposablePair(nn.Module):
    """Two texts attend to each other, are compared and summed, by feed-forward parts that are shared and wrapped."""

    class TimeDistributed(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._module = module

        def forward(self, *inputs: Tensor, **kwargs: Any) -> Tensor:
            reshaped = [t.contiguous().view(-1, *t.size()[2:]) for t in inputs]
            outputs = self._module(*reshaped, **kwargs)
            some = inputs[-1]
            return outputs.contiguous().view(some.size()[:2] + outputs.size()[1:])

    class FeedForward(nn.Module):
        def __init__(self, input_dim: int, num_layers: int, hidden_dims: list[int]) -> None:
            super().__init__()
            input_dims = [input_dim, *hidden_dims[:-1]]
            self._linear_layers = nn.ModuleList(
                [nn.Linear(i, o) for i, o in zip(input_dims, hidden_dims)]
            )
            self._dropout = nn.ModuleList([nn.Dropout(p=0.2)] * num_layers)
            self._activations = [torch.relu] * num_layers

        def forward(self, inputs: Tensor) -> Tensor:
            output = inputs
            for layer, activation, dropout in zip(
                self._linear_layers, self._activations, self._dropout
            ):
                output = dropout(activation(layer(output)))
            return output

    def __init__(self, d: int = 10) -> None:
        super().__init__()
        self._text_field_embedder, TD, FF = (
            nn.Embedding(V, d, padding_idx=0),
            self.TimeDistributed,
            self.FeedForward,
        )
        self._attend_feedforward, self._compare_feedforward = (
            TD(FF(d, 2, [14, 12])),
            TD(FF(2 * d, 2, [16, 12])),
        )
        self._aggregate_feedforward = nn.Sequential(FF(24, 1, [14]), nn.Linear(14, 3))

    @staticmethod
    def masked_softmax(vector: Tensor, mask: Tensor) -> Tensor:
        result = F.softmax(vector * mask, dim=-1) * mask
        return result / (result.sum(dim=-1, keepdim=True) + 1e-13)

    def forward(self, premise: Tensor, hypothesis: Tensor) -> dict[str, Tensor]:
        p, h = self._text_field_embedder(premise), self._text_field_embedder(hypothesis)
        premise_mask, hypothesis_mask = (premise != 0).to(p.dtype), (hypothesis != 0).to(p.dtype)
        sim = self._attend_feedforward(p).bmm(self._attend_feedforward(h).transpose(2, 1))
        p2h = self.masked_softmax(sim, hypothesis_mask[:, None])
        attended_h = torch.bmm(p2h, h)
        h2p = self.masked_softmax(sim.transpose(1, 2).contiguous(), premise_mask[:, None])
        attended_p = torch.bmm(h2p, p)
        compared_p = self._compare_feedforward(
            torch.cat([p, attended_h], dim=-1)
        ) * premise_mask.unsqueeze(-1)
        compared_h = self._compare_feedforward(
            torch.cat([h, attended_p], dim=-1)
        ) * hypothesis_mask.unsqueeze(-1)
        label_logits = self._aggregate_feedforward(
            torch.cat([compared_p.sum(dim=1), compared_h.sum(dim=1)], dim=-1)
        )
        return {
            "label_logits": label_logits,
            "label_probs": F.softmax(label_logits, dim=-1),
            "h2p_attention": h2p,
        }


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "pytorchic_encoder": lambda: (PytorchicEncoder(), BATCH),
    "capacity_experts": lambda: (CapacityExperts(), INPUTS.tokens),
    "moving_averages": lambda: (MovingAverages(), INPUTS.tokens),
    "blocks_of_characters": lambda: (BlocksOfCharacters(), INPUTS.tokens),
    "decomposable_pair": lambda: (DecomposablePair(), TWO_TEXTS),
}

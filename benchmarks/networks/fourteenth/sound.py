"""Networks of the zoo over sound, fourteenth sample: front ends of waves, encoders of speech, relative windows."""

# ruff: noqa: RUF059, UP045 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import MEL_FRAMES, PHONEMES, SOUND


@dataclass
class ModelDimensions:
    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int


class LayerNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).type(x.dtype)


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(
            x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype)
        )


class Conv1d(nn.Conv1d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        return super()._conv_forward(
            x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
        )


def sinusoids(length: int, channels: int, max_timescale: int = 10000) -> Tensor:
    """Returns sinusoids for positional embedding."""
    assert channels % 2 == 0
    log_timescale_increment = np.log(max_timescale) / (channels // 2 - 1)
    inv_timescales = torch.exp(-log_timescale_increment * torch.arange(channels // 2))
    scaled_time = torch.arange(length)[:, np.newaxis] * inv_timescales[np.newaxis, :]
    return torch.cat([torch.sin(scaled_time), torch.cos(scaled_time)], dim=1)


class MultiHeadAttention(nn.Module):
    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = Linear(n_state, n_state)
        self.key = Linear(n_state, n_state, bias=False)
        self.value = Linear(n_state, n_state)
        self.out = Linear(n_state, n_state)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
        wv, qk = self.qkv_attention(self.query(x), self.key(x), self.value(x), mask)
        return self.out(wv), qk

    def qkv_attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Optional[Tensor] = None,
    ) -> tuple[Tensor, Tensor]:
        n_batch, n_ctx, n_state = q.shape
        scale = (n_state // self.n_head) ** -0.25
        q = q.view(*q.shape[:2], self.n_head, -1).permute(0, 2, 1, 3) * scale
        k = k.view(*k.shape[:2], self.n_head, -1).permute(0, 2, 3, 1) * scale
        v = v.view(*v.shape[:2], self.n_head, -1).permute(0, 2, 1, 3)
        qk = q @ k
        if mask is not None:
            qk = qk + mask[:n_ctx, :n_ctx]
        qk = qk.float()
        w = F.softmax(qk, dim=-1).to(q.dtype)
        return (w @ v).permute(0, 2, 1, 3).flatten(start_dim=2), qk.detach()


class ResidualAttentionBlock(nn.Module):
    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn, self.attn_ln = MultiHeadAttention(n_state, n_head), LayerNorm(n_state)
        n_mlp = n_state * 4
        self.mlp = nn.Sequential(Linear(n_state, n_mlp), nn.GELU(), Linear(n_mlp, n_state))
        self.mlp_ln = LayerNorm(n_state)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        x = x + self.attn(self.attn_ln(x), mask=mask)[0]
        return x + self.mlp(self.mlp_ln(x))


class SpeechEncoder(nn.Module):
    """Two convolutions over a spectrogram, sinusoids that must fit, blocks with scales of the fourth root."""

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        n_state = dims.n_audio_state
        self.conv1 = Conv1d(dims.n_mels, n_state, kernel_size=3, padding=1)
        self.conv2 = Conv1d(n_state, n_state, kernel_size=3, stride=2, padding=1)
        self.register_buffer("positional_embedding", sinusoids(dims.n_audio_ctx, n_state))
        self.blocks: Iterable[ResidualAttentionBlock] = nn.ModuleList(
            [ResidualAttentionBlock(n_state, dims.n_audio_head) for _ in range(dims.n_audio_layer)]
        )
        self.ln_post = LayerNorm(n_state)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        x = x.permute(0, 2, 1)
        assert x.shape[1:] == self.positional_embedding.shape, "incorrect audio shape"
        x = (x + self.positional_embedding).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class SamePad(nn.Module):
    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.remove = kernel_size % 2 == 0

    def forward(self, x: Tensor) -> Tensor:
        if self.remove:
            x = x[:, :, :-1]
        return x


class WaveFront(nn.Module):
    """A front end of wav2vec 2.0: strided convolutions, the first under GroupNorm, and a normed convolution of places."""

    def __init__(self, conv_layers: str = "[(12, 10, 5)] + [(14, 3, 2)] * 2", d: int = 16) -> None:
        super().__init__()
        layers, in_d = eval(conv_layers), 1
        self.conv_layers = nn.ModuleList()
        for i, cl in enumerate(layers):
            assert len(cl) == 3, "invalid conv definition: " + str(cl)
            (dim, k, stride) = cl
            conv = nn.Conv1d(in_d, dim, k, stride=stride, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            norm = [nn.GroupNorm(dim, dim, affine=True)] if i == 0 else []
            self.conv_layers.append(nn.Sequential(conv, nn.Dropout(p=0.0), *norm, nn.GELU()))
            in_d = dim
        self.layer_norm = nn.LayerNorm(in_d)
        self.post_extract_proj = nn.Linear(in_d, d) if in_d != d else None
        self.mask_emb = nn.Parameter(torch.FloatTensor(d).uniform_())
        pos_conv = nn.Conv1d(d, d, kernel_size=4, padding=2, groups=4)
        std = math.sqrt((4 * 1.0) / (4 * d))
        nn.init.normal_(pos_conv.weight, mean=0, std=std)
        nn.init.constant_(pos_conv.bias, 0)
        self.pos_conv = nn.Sequential(
            nn.utils.parametrizations.weight_norm(pos_conv, name="weight", dim=2),
            SamePad(4),
            nn.GELU(),
        )
        self.ffn1, self.ffn2, self.ln = nn.Linear(d, 36), nn.Linear(36, d), nn.LayerNorm(d)
        self.final_proj = nn.Linear(d, 6)

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x = source.unsqueeze(1)
        for conv in self.conv_layers:
            x = conv(x)
        features_pen = x.float().pow(2).mean()
        x = self.layer_norm(x.transpose(1, 2))
        if self.post_extract_proj is not None:
            x = self.post_extract_proj(x)
        x[:, 1:3] = self.mask_emb
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        x = self.ln(x + self.ffn2(F.gelu(self.ffn1(x))))
        return self.final_proj(x) + 0 * features_pen


def sequence_mask(length: Tensor, max_length: int | None = None) -> Tensor:
    """Returns which positions are there."""
    if max_length is None:
        max_length = length.max()
    x = torch.arange(max_length, dtype=length.dtype, device=length.device)
    return x.unsqueeze(0) < length.unsqueeze(1)


class WindowedRelative(nn.Module):
    """Attention with learnt relative keys and values in a window, turned by padding and views."""

    def __init__(self, channels: int, n_heads: int, window_size: int = 3) -> None:
        super().__init__()
        assert channels % n_heads == 0
        self.n_heads, self.window_size, self.k_channels = n_heads, window_size, channels // n_heads
        self.conv_q, self.conv_k = (
            nn.Conv1d(channels, channels, 1),
            nn.Conv1d(channels, channels, 1),
        )
        self.conv_v, self.conv_o = (
            nn.Conv1d(channels, channels, 1),
            nn.Conv1d(channels, channels, 1),
        )
        rel_stddev = self.k_channels**-0.5
        shape = (1, window_size * 2 + 1, self.k_channels)
        self.emb_rel_k = nn.Parameter(torch.randn(*shape) * rel_stddev)
        self.emb_rel_v = nn.Parameter(torch.randn(*shape) * rel_stddev)

    def forward(self, x: Tensor, attn_mask: Tensor) -> Tensor:
        query, key, value = self.conv_q(x), self.conv_k(x), self.conv_v(x)
        b, d, t_s, t_t = (*key.size(), query.size(2))
        query = query.view(b, self.n_heads, self.k_channels, t_t).transpose(2, 3)
        key = key.view(b, self.n_heads, self.k_channels, t_s).transpose(2, 3)
        value = value.view(b, self.n_heads, self.k_channels, t_s).transpose(2, 3)
        scores = torch.matmul(query / math.sqrt(self.k_channels), key.transpose(-2, -1))
        rel_k = self._relative(self.emb_rel_k, t_s)
        rel_logits = torch.matmul(
            query / math.sqrt(self.k_channels), rel_k.unsqueeze(0).transpose(-2, -1)
        )
        scores = scores + self._to_absolute(rel_logits)
        p_attn = F.softmax(scores.masked_fill(attn_mask == 0, -1e4), dim=-1)
        output = torch.matmul(p_attn, value)
        rel_v = self._relative(self.emb_rel_v, t_s)
        output = output + torch.matmul(self._to_relative(p_attn), rel_v.unsqueeze(0))
        return self.conv_o(output.transpose(2, 3).contiguous().view(b, d, t_t))

    def _relative(self, emb: Tensor, length: int) -> Tensor:
        pad = max(length - (self.window_size + 1), 0)
        start = max((self.window_size + 1) - length, 0)
        if pad > 0:
            emb = F.pad(emb, [0, 0, pad, pad, 0, 0])
        return emb[:, start : start + 2 * length - 1]

    def _to_absolute(self, x: Tensor) -> Tensor:
        batch, heads, length, _ = x.size()
        x = F.pad(x, [0, 1, 0, 0, 0, 0, 0, 0])
        x_flat = F.pad(x.view([batch, heads, length * 2 * length]), [0, length - 1, 0, 0, 0, 0])
        return x_flat.view([batch, heads, length + 1, 2 * length - 1])[:, :, :length, length - 1 :]

    def _to_relative(self, x: Tensor) -> Tensor:
        batch, heads, length, _ = x.size()
        x = F.pad(x, [0, length - 1, 0, 0, 0, 0, 0, 0])
        x_flat = F.pad(
            x.view([batch, heads, length**2 + length * (length - 1)]), [length, 0] + [0] * 4
        )
        return x_flat.view([batch, heads, length, 2 * length])[:, :, :, 1:]


class PhonemeEncoder(nn.Module):
    """Phonemes through such attention and convolutions, to a mean and a log deviation of each."""

    def __init__(self, n_vocab: int = 20, out: int = 3, hidden: int = 12) -> None:
        super().__init__()
        self.hidden_channels = hidden
        self.emb = nn.Embedding(n_vocab, hidden)
        nn.init.normal_(self.emb.weight, 0.0, hidden**-0.5)
        self.attn = WindowedRelative(hidden, 2)
        self.conv_1, self.conv_2 = (
            nn.Conv1d(hidden, 26, 3, padding=1),
            nn.Conv1d(26, hidden, 3, padding=1),
        )
        self.gamma, self.beta = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))
        self.proj = nn.Conv1d(hidden, out * 2, 1)

    def forward(self, x: Tensor, x_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.emb(x) * math.sqrt(self.hidden_channels)
        x = torch.transpose(x, 1, -1)
        x_mask = torch.unsqueeze(sequence_mask(x_lengths, x.size(2)), 1).to(x.dtype)
        attn_mask = x_mask.unsqueeze(2) * x_mask.unsqueeze(-1)
        x = x + self.attn(x * x_mask, attn_mask)
        x = F.layer_norm(x.transpose(1, -1), (self.hidden_channels,), self.gamma, self.beta, 1e-5)
        x = x.transpose(1, -1)
        x = x + self.conv_2(torch.relu(self.conv_1(x * x_mask)) * x_mask) * x_mask
        stats = self.proj(x) * x_mask
        m, logs = torch.split(stats, stats.size(1) // 2, dim=1)
        return m, logs, x_mask


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "speech_encoder": lambda: (SpeechEncoder(ModelDimensions(20, 12, 12, 2, 2)), MEL_FRAMES),
    "wave_front": lambda: (WaveFront(), SOUND),
    "phoneme_encoder": lambda: (PhonemeEncoder(), PHONEMES),
}

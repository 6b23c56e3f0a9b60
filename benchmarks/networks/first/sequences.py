"""Small networks for sequences as people write them: for the figure ``zoo``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IDS = torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(0))
S = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(1))
Q = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
Maker = Callable[[], tuple[nn.Module, Any]]


class Attention(nn.Module):
    """Self-attention in the spellings that people use."""

    slopes: Tensor
    index: Tensor
    mask: Tensor

    def __init__(
        self, d: int = 16, heads: int = 4, how: str = "timm", kv: int = 0, bias: bool = True
    ) -> None:
        super().__init__()
        self.h, self.dk, self.how, self.scale = heads, d // heads, how, (d // heads) ** -0.5
        self.kv = kv or heads
        if how in ("timm", "nanogpt", "einops"):
            self.qkv = nn.Linear(d, 3 * d, bias=bias)
        else:
            self.q, self.k = nn.Linear(d, d, bias=bias), nn.Linear(d, self.kv * self.dk, bias=bias)
            self.v = nn.Linear(d, self.kv * self.dk, bias=bias)
        self.proj, self.drop, self.n_embd = nn.Linear(d, d), nn.Dropout(0.1), d
        if how == "alibi":
            self.register_buffer("slopes", 2.0 ** -torch.arange(1.0, heads + 1))
        if how == "relative":
            self.table = nn.Parameter(torch.randn(2 * 6 - 1, heads))
            self.register_buffer("index", torch.arange(6)[:, None] - torch.arange(6)[None] + 5)
        if how in ("causal", "nanogpt"):
            self.register_buffer("mask", torch.tril(torch.ones(8, 8)).view(1, 1, 8, 8))

    def forward(self, x: Tensor) -> Any:
        b, n, c = x.shape
        if self.how == "timm":
            qkv = self.qkv(x).reshape(b, n, 3, self.h, self.dk).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
        elif self.how == "einops":
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            q, k, v = (t.reshape(b, n, self.h, c // self.h).transpose(1, 2) for t in (q, k, v))
        elif self.how == "nanogpt":
            q, k, v = self.qkv(x).split(self.n_embd, dim=2)
            q, k, v = (t.view(b, n, self.h, c // self.h).transpose(1, 2) for t in (q, k, v))
        else:
            q = self.q(x).view(b, n, self.h, self.dk).transpose(1, 2)
            k, v = (f(x).view(b, n, self.kv, self.dk).transpose(1, 2) for f in (self.k, self.v))
        if self.kv != self.h:
            k, v = (
                t[:, :, None]
                .expand(b, self.kv, self.h // self.kv, n, self.dk)
                .reshape(b, self.h, n, self.dk)
                for t in (k, v)
            )
        if self.how == "rope":
            q, k = rotated(q), rotated(k)
        if self.how == "sdpa":
            y = F.scaled_dot_product_attention(
                q, k, v, dropout_p=0.1 if self.training else 0.0, is_causal=True
            )
        elif self.how == "einsum":
            y = torch.einsum(
                "bhqk,bhkd->bhqd",
                torch.einsum("bhqd,bhkd->bhqk", q, k).mul(self.scale).softmax(-1),
                v,
            )
        else:
            att = (q @ k.transpose(-2, -1)) * self.scale
            if self.how in ("causal", "nanogpt"):
                att = att.masked_fill(self.mask[:, :, :n, :n] == 0, float("-inf"))
            if self.how == "alibi":
                far = (torch.arange(n)[None, :] - torch.arange(n)[:, None]).abs()
                att = att - self.slopes[:, None, None] * far
            if self.how == "relative":
                att = att + self.table[self.index].permute(2, 0, 1).unsqueeze(0)
            y = self.drop(att.softmax(dim=-1)) @ v
        y = (
            y.transpose(1, 2).contiguous().view(b, n, c)
            if self.how == "nanogpt"
            else y.transpose(1, 2).reshape(b, n, -1)
        )
        return self.proj(y)


def rotated(x: Tensor) -> Any:
    """Rotary positions."""
    n, d = x.shape[-2:]
    angle = torch.arange(n)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)[None]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class RMSNorm(nn.Module):
    """As Llama has it."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.rand(d) + 0.5), 1e-6

    def forward(self, x: Tensor) -> Any:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class DropPath(nn.Module):
    """timm's."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Any:
        if self.p == 0.0 or not self.training:
            return x
        keep = 1 - self.p
        random = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        if keep > 0.0:
            random.div_(keep)
        return x * random


class SwiGLU(nn.Module):
    """Gate and value by layers of their own."""

    def __init__(self, d: int, h: int) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = (
            nn.Linear(d, h, bias=False),
            nn.Linear(h, d, bias=False),
            nn.Linear(d, h, bias=False),
        )

    def forward(self, x: Tensor) -> Any:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class GEGLU(nn.Module):
    """Gate and value by one layer."""

    def __init__(self, d: int, h: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(d, 2 * h), nn.Linear(h, d)

    def forward(self, x: Tensor) -> Any:
        x, gate = self.a(x).chunk(2, dim=-1)
        return self.b(x * F.gelu(gate))


class Block(nn.Module):
    """Attention and a multilayer perceptron around a residual stream."""

    def __init__(
        self,
        d: int = 16,
        how: str = "timm",
        norm: str = "pre",
        mlp: nn.Module | None = None,
        **more: Any,
    ) -> None:
        super().__init__()
        kind = RMSNorm if norm == "rms" else nn.LayerNorm
        self.n1, self.n2, self.norm = kind(d), kind(d), norm
        self.attn, self.path = (
            Attention(d, how=how, **more),
            DropPath() if norm == "path" else nn.Identity(),
        )
        self.mlp = mlp or nn.Sequential(
            nn.Linear(d, 24), nn.GELU(), nn.Dropout(0.1), nn.Linear(24, d)
        )
        self.ls = nn.Parameter(torch.ones(d)) if norm == "path" else None

    def forward(self, x: Tensor) -> Any:
        if self.norm == "post":
            x = self.n1(x + self.attn(x))
            return self.n2(x + self.mlp(x))
        y = self.attn(self.n1(x))
        x = x + self.path(y if self.ls is None else self.ls * y)
        return x + self.path(self.mlp(self.n2(x)))


class LM(nn.Module):
    """A language model: embeddings, positions, blocks, a head that may be tied."""

    pe: Tensor

    def __init__(
        self, *blocks: nn.Module, tied: bool = False, pos: str = "learned", d: int = 16
    ) -> None:
        super().__init__()
        self.wte, self.pos = nn.Embedding(20, d), pos
        if pos == "learned":
            self.wpe = nn.Embedding(8, d)
        if pos == "sine":
            at, rate = (
                torch.arange(8.0)[:, None],
                torch.exp(torch.arange(0, d, 2) * (-math.log(1e4) / d)),
            )
            pe = torch.zeros(8, d)
            pe[:, 0::2], pe[:, 1::2] = torch.sin(at * rate), torch.cos(at * rate)
            self.register_buffer("pe", pe)
        self.blocks, self.ln_f = nn.ModuleList(blocks), nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, 20, bias=False)
        if tied:
            self.wte.weight = self.lm_head.weight

    def forward(self, idx: Tensor) -> Any:
        _, t = idx.size()
        x = self.wte(idx)
        if self.pos == "learned":
            x = x + self.wpe(torch.arange(0, t, dtype=torch.long, device=idx.device))
        if self.pos == "sine":
            x = x + self.pe[:t].unsqueeze(0)
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class ViT(nn.Module):
    """Patches, a class token, blocks."""

    def __init__(
        self, how: str = "timm", pool: str = "cls", norm: str = "path", patch: str = "conv"
    ) -> None:
        super().__init__()
        d = 16
        self.patch, self.pool = patch, pool
        self.embed: nn.Module = nn.Conv2d(3, d, 4, 4) if patch == "conv" else nn.Linear(48, d)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, d)), nn.Parameter(torch.randn(1, 17, d))
        self.blocks = nn.Sequential(Block(d, how, norm), Block(d, how, norm))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Any:
        if self.patch == "conv":
            x = self.embed(x).flatten(2).transpose(1, 2)
        else:
            b, c, h, w = x.shape
            x = (
                x.reshape(b, c, h // 4, 4, w // 4, 4)
                .permute(0, 2, 4, 3, 5, 1)
                .reshape(b, (h // 4) * (w // 4), 16 * c)
            )
            x = self.embed(x)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), dim=1) + self.pos
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0] if self.pool == "cls" else x[:, 1:].mean(dim=1))


class Torch(nn.Module):
    """Attention of torch itself."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.inp, self.head = how, nn.Linear(8, 16), nn.Linear(16, 3)
        if how == "encoder":
            layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
            self.net: nn.Module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        elif how == "decoder":
            self.net = nn.TransformerDecoder(
                nn.TransformerDecoderLayer(16, 4, 24, batch_first=True), 1
            )
        elif how == "both":
            self.net = nn.Transformer(16, 4, 1, 1, 24, batch_first=True)
        else:
            self.net, self.norm = nn.MultiheadAttention(16, 4, batch_first=True), nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Any:
        x = self.inp(x)
        if self.how == "encoder":
            x = self.net(
                x, mask=nn.Transformer.generate_square_subsequent_mask(x.size(1), dtype=x.dtype)
            )
        elif self.how in ("decoder", "both"):
            x = self.net(x, x)
        else:
            x = self.norm(x + self.net(x, x, x, need_weights=False)[0])
        return self.head(x.mean(1))


class Recurrent(nn.Module):
    """Recurrence in the spellings of tutorials."""

    def __init__(
        self, kind: str = "LSTM", how: str = "last", layers: int = 1, bi: bool = False
    ) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(
            8, 6, layers, batch_first=True, bidirectional=bi, dropout=0.1 if layers > 1 else 0.0
        )
        self.how, self.kind, self.layers, self.fc = how, kind, layers, nn.Linear(6 * (1 + bi), 3)
        self.score = nn.Linear(6 * (1 + bi), 1)

    def forward(self, x: Tensor) -> Any:
        if self.how == "started":
            h0 = torch.zeros(self.layers, x.size(0), 6).to(x)
            state = (h0, h0.clone()) if self.kind == "LSTM" else h0
            return self.fc(self.rnn(x, state)[0][:, -1, :])
        out, state = self.rnn(x)
        if self.how == "state":
            h = state[0] if self.kind == "LSTM" else state
            return self.fc(torch.cat((h[-2], h[-1]), 1) if self.rnn.bidirectional else h[-1])
        if self.how == "attention":
            return self.fc((out * torch.softmax(self.score(out), 1)).sum(1))
        return self.fc(out[:, -1] if self.how == "last" else out)


class Seq2Seq(nn.Module):
    """An encoder and a decoder step by step, with attention."""

    def __init__(self) -> None:
        super().__init__()
        self.emb, self.enc, self.dec = (
            nn.Embedding(20, 8),
            nn.GRU(8, 6, batch_first=True),
            nn.GRUCell(14, 6),
        )
        self.att, self.out = nn.Linear(6, 6, bias=False), nn.Linear(12, 20)

    def forward(self, src: Tensor, tgt: Tensor) -> Any:
        seen, h = self.enc(self.emb(src))
        h, found = h[0], []
        for t in range(tgt.size(1)):
            w = torch.bmm(seen, self.att(h).unsqueeze(2)).softmax(1)
            context = (w * seen).sum(1)
            h = self.dec(torch.cat((self.emb(tgt[:, t]), context), 1), h)
            found.append(self.out(torch.cat((h, context), 1)))
        return torch.stack(found, 1)


class TextCNN(nn.Module):
    """Kim 2014."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(20, 8, padding_idx=0)
        self.convs, self.fc = (
            nn.ModuleList(nn.Conv2d(1, 5, (k, 8)) for k in (2, 3, 4)),
            nn.Linear(15, 3),
        )

    def forward(self, x: Tensor) -> Any:
        x = self.emb(x).unsqueeze(1)
        found = [F.relu(conv(x)).squeeze(3) for conv in self.convs]
        return self.fc(torch.cat([F.max_pool1d(i, i.size(2)).squeeze(2) for i in found], 1))


class TCN(nn.Module):
    """Causal dilated convolutions, with a norm of the weights perhaps."""

    def __init__(self, norm: Callable[[nn.Module], nn.Module] = lambda m: m) -> None:
        super().__init__()
        self.c1, self.c2 = (
            norm(nn.Conv1d(8, 10, 3, padding=2)),
            norm(nn.Conv1d(10, 10, 3, padding=4, dilation=2)),
        )
        self.down, self.fc = nn.Conv1d(8, 10, 1), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Any:
        x = x.transpose(1, 2)
        y = F.dropout(F.relu(self.c1(x)[:, :, :-2]), 0.1, self.training)
        y = F.relu(self.c2(y)[:, :, :-4])
        return self.fc(F.relu(y + self.down(x))[:, :, -1])


class WaveNet(nn.Module):
    """Gated convolutions with skips; the last residual is used by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Conv1d(8, 6, 1)
        self.f, self.g = (
            nn.ModuleList(nn.Conv1d(6, 5, 2, dilation=d) for d in (1, 2)) for _ in range(2)
        )
        self.res, self.skip = (
            nn.ModuleList(nn.Conv1d(5, 6, 1) for _ in range(2)) for _ in range(2)
        )
        self.out = nn.Sequential(nn.ReLU(), nn.Conv1d(6, 8, 1), nn.ReLU(), nn.Conv1d(8, 3, 1))

    def forward(self, x: Tensor) -> Any:
        x = self.inp(x.transpose(1, 2))
        skips: Any = 0
        for f, g, res, skip in zip(self.f, self.g, self.res, self.skip, strict=True):
            z = torch.tanh(f(x)) * torch.sigmoid(g(x))
            x = x[:, :, -z.size(2) :] + res(z)
            s = skip(z)
            skips = s if isinstance(skips, int) else skips[:, :, -s.size(2) :] + s
        return self.out(skips)[:, :, -1]


class Mixer(nn.Module):
    """MLP-Mixer, or gMLP."""

    def __init__(self, gated: bool = False) -> None:
        super().__init__()
        self.gated, self.inp, self.n1, self.n2 = (
            gated,
            nn.Linear(8, 12),
            nn.LayerNorm(12),
            nn.LayerNorm(12),
        )
        self.tokens = nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 6))
        self.up, self.down = nn.Linear(12, 16), nn.Linear(8 if gated else 16, 12)
        self.places, self.fc = nn.Conv1d(6, 6, 1), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.inp(x)
        if not self.gated:
            x = x + self.tokens(self.n1(x).transpose(1, 2)).transpose(1, 2)
        y = F.gelu(self.up(self.n2(x)))
        if self.gated:
            u, v = y.chunk(2, dim=-1)
            y = u * self.places(v)
        return self.fc((x + self.down(y)).mean(dim=1))


def lm(*blocks: nn.Module, **more: Any) -> tuple[nn.Module, Tensor]:
    """Returns a language model and tokens."""
    return LM(*blocks, **more), IDS


NETWORKS: dict[str, Maker] = {
    "nanoGPT, tied": lambda: lm(Block(how="nanogpt"), Block(how="nanogpt"), tied=True),
    "BERT by hand": lambda: lm(Block(how="plain", norm="post"), Block(how="plain", norm="post")),
    "GPT by SDPA": lambda: lm(Block(how="sdpa")),
    "Llama by hand": lambda: lm(Block(how="rope", norm="rms", mlp=SwiGLU(16, 24)), pos="none"),
    "Llama with grouped queries": lambda: lm(Block(how="rope", norm="rms", mlp=SwiGLU(16, 24), kv=2), pos="none"),
    "multi-query attention": lambda: lm(Block(how="plain", kv=1), pos="sine"),
    "ALiBi": lambda: lm(Block(how="alibi"), pos="none"),
    "relative positions": lambda: lm(Block(how="relative"), pos="none"),
    "causal by a buffer": lambda: lm(Block(how="causal", mlp=GEGLU(16, 12)), pos="sine"),
    "attention by einsum": lambda: lm(Block(how="einsum")),
    "attention by chunks": lambda: lm(Block(how="einops")),
    "ViT of timm": lambda: (ViT(), Q),
    "ViT, mean of patches": lambda: (ViT("einops", "mean", "pre"), Q),
    "ViT, patches by reshape": lambda: (ViT("plain", "cls", "post", "reshape"), Q),
    "torch encoder with a mask": lambda: (Torch("encoder"), S),
    "torch decoder": lambda: (Torch("decoder"), S),
    "torch transformer": lambda: (Torch("both"), S),
    "torch attention": lambda: (Torch("attention"), S),
    "LSTM, last output": lambda: (Recurrent(), S),
    "LSTM with zeros at the start": lambda: (Recurrent(how="started", layers=2), S),
    "GRU, both ways, last state": lambda: (Recurrent("GRU", "state", 2, bi=True), S),
    "RNN tagger": lambda: (Recurrent("RNN", "all"), S),
    "BiLSTM with attention": lambda: (Recurrent(how="attention", bi=True), S),
    "seq2seq with attention": lambda: (Seq2Seq(), (IDS, IDS.flip(1))),
    "TextCNN": lambda: (TextCNN(), IDS),
    "TCN": lambda: (TCN(), S),
    "TCN with weight norm": lambda: (TCN(nn.utils.parametrizations.weight_norm), S),
    "TCN with spectral norm": lambda: (TCN(nn.utils.parametrizations.spectral_norm), S),
    "WaveNet": lambda: (WaveNet(), S),
    "MLP-Mixer": lambda: (Mixer(), S),
    "gMLP": lambda: (Mixer(gated=True), S),
}  # fmt: skip
"""Name -> what makes a network and its inputs."""

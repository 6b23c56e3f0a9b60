"""Networks of the zoo over texts, fourteenth sample: readers, characters, retention."""

# ruff: noqa: B905, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import CHARACTERS, INPUTS, QUESTION


class Read(NamedTuple):
    start: Tensor
    end: Tensor


class QuestionReader(nn.Module):
    """Depthwise encoders, attention between context and question both ways, and two pointers that share an encoder."""

    class Encoder(nn.Module):
        def __init__(self, d: int, convs: int = 2) -> None:
            super().__init__()
            self.convs = nn.ModuleList([nn.ModuleList([nn.Conv1d(d, d, 5, groups=d, padding=2, bias=False),
                                                       nn.Conv1d(d, d, 1)]) for _ in range(convs)])  # fmt: skip
            self.norms, self.ffn = (
                nn.ModuleList([nn.LayerNorm(d) for _ in range(convs + 1)]),
                nn.Linear(d, 20),
            )
            self.out = nn.Linear(20, d)

        def forward(self, x: Tensor) -> Tensor:
            for (depthwise, pointwise), norm in zip(self.convs, self.norms):
                y = norm(x.transpose(1, 2)).transpose(1, 2)
                x = x + F.relu(pointwise(depthwise(y)))
            y = self.out(F.relu(self.ffn(self.norms[-1](x.transpose(1, 2)))))
            return x + F.dropout(y, 0.1, self.training).transpose(1, 2)

    def __init__(self, vocab: int = 30, e: int = 10, d: int = 8) -> None:
        super().__init__()
        self.emb, self.proj = nn.Embedding(vocab, e), nn.Conv1d(e, d, 1, bias=False)
        self.emb_enc, self.model_enc = self.Encoder(d), self.Encoder(d)
        w4 = torch.empty(d * 3)
        nn.init.uniform_(w4, -math.sqrt(1 / d), math.sqrt(1 / d))
        self.w = nn.Parameter(w4)
        self.resizer = nn.Conv1d(d * 4, d, 1)
        self.w1, self.w2 = nn.Linear(d * 2, 1, bias=False), nn.Linear(d * 2, 1, bias=False)

    def forward(self, context: Tensor, question: Tensor) -> Read:
        cmask, qmask = context == 0, question == 0
        C = self.emb_enc(self.proj(self.emb(context).transpose(1, 2))).transpose(1, 2)
        Q = self.emb_enc(self.proj(self.emb(question).transpose(1, 2))).transpose(1, 2)
        n, m = C.size(1), Q.size(1)
        Ct, Qt = C.unsqueeze(2).expand(-1, -1, m, -1), Q.unsqueeze(1).expand(-1, n, -1, -1)
        S = torch.matmul(torch.cat([Ct, Qt, torch.mul(Ct, Qt)], dim=3), self.w)
        S1 = F.softmax(S.masked_fill(qmask.unsqueeze(1), -1e30), dim=2)
        S2 = F.softmax(S.masked_fill(cmask.unsqueeze(2), -1e30), dim=1)
        A = torch.bmm(S1, Q)
        B = torch.bmm(torch.bmm(S1, S2.transpose(1, 2)), C)
        M0 = self.resizer(
            torch.cat([C, A, torch.mul(C, A), torch.mul(C, B)], dim=2).transpose(1, 2)
        )
        M1 = self.model_enc(M0)
        M2 = self.model_enc(M1)
        p1 = self.w1(torch.cat([M0, M1], dim=1).transpose(1, 2)).squeeze(-1)
        p2 = self.w2(torch.cat([M0, M2], dim=1).transpose(1, 2)).squeeze(-1)
        return Read(F.log_softmax(p1, dim=1), F.log_softmax(p2.masked_fill(cmask, -1e30), dim=1))


class CharacterHighways(nn.Module):
    """Words of characters through convolutions of several widths, highways, and a mix of two directions' layers."""

    def __init__(
        self, filters: tuple[tuple[int, int], ...] = ((1, 4), (2, 6), (3, 8)), d: int = 10
    ) -> None:
        super().__init__()
        self.char_embedding = nn.Embedding(26, 6, padding_idx=0)
        for i, (width, num) in enumerate(filters):
            conv = nn.Conv1d(in_channels=6, out_channels=num, kernel_size=width, bias=True)
            self.add_module(f"char_conv_{i}", conv)
        self.n_filters, total = len(filters), sum(f[1] for f in filters)
        self._highways = nn.ModuleList([nn.Linear(total, total * 2) for _ in range(2)])
        for layer in self._highways:
            layer.bias[total:].data.fill_(1)
        self._projection = nn.Linear(total, d)
        self.forward_layer, self.backward_layer = (
            nn.LSTM(d, 12, batch_first=True),
            nn.LSTM(d, 12, batch_first=True),
        )
        self.scalar_parameters = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(2)])
        self.gamma = nn.Parameter(torch.FloatTensor([1.0]))
        self.widen, self.tags = nn.Linear(d, 24), nn.Linear(24, 5)

    def forward(self, characters: Tensor) -> Tensor:
        b, t, max_chars = characters.size()
        emb = self.char_embedding(characters.view(-1, max_chars)).transpose(1, 2)
        convs = []
        for i in range(self.n_filters):
            convolved, _ = torch.max(getattr(self, f"char_conv_{i}")(emb), dim=-1)
            convs.append(F.relu(convolved))
        token = torch.cat(convs, dim=-1)
        for layer in self._highways:
            projected = layer(token)
            nonlinear, gate = projected.chunk(2, dim=-1)
            gate = torch.sigmoid(gate)
            token = gate * token + (1 - gate) * F.relu(nonlinear)
        token = self._projection(token).view(b, t, -1)
        fwd, _ = self.forward_layer(token)
        bwd, _ = self.backward_layer(torch.flip(token, [1]))
        layers = [self.widen(token), torch.cat([fwd, bwd.flip(dims=[1])], dim=-1)]
        normed = torch.split(
            F.softmax(torch.cat([*self.scalar_parameters]), dim=0), split_size_or_sections=1
        )
        mixed = self.gamma * sum(w * layer for w, layer in zip(normed, layers))
        return self.tags(mixed)


class RetentiveWords(nn.Module):
    """Retention of heads of different decay, all positions at once, under a group norm, gated by swish."""

    def __init__(self, vocab: int = 30, d: int = 12, heads: int = 2, v_factor: int = 2) -> None:
        super().__init__()
        self.h, self.k_dim, self.v_dim = heads, d // heads, d * v_factor // heads
        self.emb = nn.Embedding(vocab, d)
        self.q_proj, self.k_proj = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.v_proj, self.g_proj = (
            nn.Linear(d, d * v_factor, bias=False),
            nn.Linear(d, d * v_factor, bias=False),
        )
        self.out_proj = nn.Linear(d * v_factor, d, bias=False)
        self.register_buffer(
            "decay", torch.log(1 - 2 ** (-2 - torch.arange(heads, dtype=torch.float)))
        )
        self.group_norm = nn.GroupNorm(heads, d * v_factor, affine=False)
        self.ln, self.head = nn.LayerNorm(d), nn.Linear(d, vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.emb(tokens)
        bsz, length, _ = x.size()
        q, k = (
            p(x).view(bsz, length, self.h, self.k_dim).transpose(1, 2)
            for p in (self.q_proj, self.k_proj)
        )
        v = self.v_proj(x).view(bsz, length, self.h, self.v_dim).transpose(1, 2)
        k = k * self.k_dim**-0.5
        index = torch.arange(length, device=x.device).to(self.decay)
        mask = torch.tril(torch.ones(length, length, device=x.device).to(self.decay))
        mask = torch.masked_fill(index[:, None] - index[None, :], ~mask.bool(), float("inf"))
        mask = torch.nan_to_num(torch.exp(mask * self.decay[:, None, None]))
        mask = (mask / mask.sum(dim=-1, keepdim=True).sqrt()).to(x.dtype)
        qk = q @ k.transpose(-1, -2) * mask
        qk = qk / qk.detach().abs().sum(dim=-1, keepdim=True).clamp(min=1, max=5e4)
        out = (qk @ v).transpose(1, 2).reshape(bsz * length, self.h * self.v_dim)
        out = self.group_norm(out).view(bsz, length, -1)
        return self.head(self.ln(x + self.out_proj(F.silu(self.g_proj(x)) * out)))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "question_reader": lambda: (QuestionReader(), QUESTION),
    "character_highways": lambda: (CharacterHighways(), CHARACTERS),
    "retentive_words": lambda: (RetentiveWords(), INPUTS.tokens),
}

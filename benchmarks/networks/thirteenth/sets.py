"""Networks of the zoo over sets, thirteenth sample: points of two images that are matched, bags of instances."""

# ruff: noqa: N803, N806 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import BAGS, KEYPOINTS


class KeypointMatcher(nn.Module):
    """Points of two images attend to their own and to the others' with turned positions; matches by two softmaxes."""

    class Block(nn.Module):
        def __init__(self, d: int, heads: int) -> None:
            super().__init__()
            self.heads, self.Wqkv, self.out_proj = heads, nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.to_qk, self.to_v, self.to_out = (nn.Linear(d, d) for _ in range(3))
            self.ffn, self.cross_ffn = (
                nn.Sequential(
                    nn.Linear(2 * d, 2 * d), nn.LayerNorm(2 * d), nn.GELU(), nn.Linear(2 * d, d)
                )
                for _ in range(2)
            )

        def turn(self, freqs: Tensor, t: Tensor) -> Tensor:
            x = t.unflatten(-1, (-1, 2))
            x1, x2 = x.unbind(dim=-1)
            return t * freqs[0] + torch.stack((-x2, x1), dim=-1).flatten(start_dim=-2) * freqs[1]

        def own(self, x: Tensor, enc: Tensor) -> Tensor:
            qkv = self.Wqkv(x).unflatten(-1, (self.heads, -1, 3)).transpose(1, 2)
            q, k, v = qkv[..., 0], qkv[..., 1], qkv[..., 2]
            q, k = self.turn(enc, q), self.turn(enc, k)
            message = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(start_dim=-2)
            return x + self.ffn(torch.cat([x, self.out_proj(message)], -1))

        def cross(self, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
            qk0, qk1, v0, v1 = (
                t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for t in (self.to_qk(x0), self.to_qk(x1), self.to_v(x0), self.to_v(x1))
            )
            s = qk0.shape[-1] ** -0.5
            sim = torch.einsum("bhid, bhjd -> bhij", qk0 * s**0.5, qk1 * s**0.5)
            m0 = torch.einsum("bhij, bhjd -> bhid", F.softmax(sim, dim=-1), v1)
            m1 = torch.einsum("bhji, bhjd -> bhid", F.softmax(sim, -2).transpose(-2, -1).mT, v0)
            m0, m1 = (self.to_out(t.transpose(1, 2).flatten(start_dim=-2)) for t in (m0, m1))
            return (
                x0 + self.cross_ffn(torch.cat([x0, m0], -1)),
                x1 + self.cross_ffn(torch.cat([x1, m1], -1)),
            )

    def __init__(self, d: int = 12, heads: int = 2, layers: int = 2) -> None:
        super().__init__()
        self.input_proj, self.posenc = nn.Linear(12, d), nn.Linear(2, d // heads // 2, bias=False)
        self.blocks = nn.ModuleList([self.Block(d, heads) for _ in range(layers)])
        self.matchability, self.final_proj = nn.Linear(d, 1), nn.Linear(d, d)

    def positions(self, kpts: Tensor) -> Tensor:
        projected = self.posenc(kpts)
        emb = torch.stack([torch.cos(projected), torch.sin(projected)], 0).unsqueeze(-3)
        return (
            emb.transpose(1, 2)
            .transpose(1, 2)
            .repeat_interleave(2, dim=-1)
            .unsqueeze(-3)
            .squeeze(2)
        )

    def forward(self, kpts0: Tensor, kpts1: Tensor, desc0: Tensor, desc1: Tensor) -> dict[str, Any]:
        x0, x1 = self.input_proj(desc0), self.input_proj(desc1)
        e0, e1 = (
            self.positions(k).reshape(2, k.shape[0], 1, k.shape[1], -1) for k in (kpts0, kpts1)
        )
        for block in self.blocks:
            x0, x1 = block.cross(block.own(x0, e0), block.own(x1, e1))
        m0, m1 = (self.final_proj(x) / self.final_proj.out_features**0.25 for x in (x0, x1))
        sim = torch.einsum("bmd,bnd->bmn", m0, m1)
        z0, z1 = self.matchability(x0), self.matchability(x1)
        certainties = F.logsigmoid(z0) + F.logsigmoid(z1).transpose(1, 2)
        b, m, n = sim.shape
        scores = sim.new_full((b, m + 1, n + 1), 0)
        scores[:, :m, :n] = F.log_softmax(sim, 2) + F.log_softmax(sim, 1) + certainties
        scores[:, :-1, -1], scores[:, -1, :-1] = (
            F.logsigmoid(-z0.squeeze(-1)),
            F.logsigmoid(-z1[..., 0]),
        )
        return {"scores": scores, "sim": sim}


class GatedBags(nn.Module):
    """Bags of instances pooled by gated attention, with a classifier of instances on the most and least attended."""

    def __init__(self, L: int = 14, D: int = 10, k: int = 2) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(L, 16), nn.ReLU(), nn.Dropout(0.25))
        self.attention_a = nn.Sequential(nn.Linear(16, D), nn.Tanh())
        self.attention_b = nn.Sequential(nn.Linear(16, D), nn.Sigmoid())
        self.attention_c, self.k_sample = nn.Linear(D, 1), k
        self.instance_classifier, self.classifier = nn.Linear(16, 2), nn.Linear(16, 3)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.fc(h)
        A = self.attention_c(self.attention_a(h).mul(self.attention_b(h)))
        A = F.softmax(A.transpose(2, 1), dim=-1)
        top_p = torch.topk(A, self.k_sample)[1].squeeze(1)
        top_n = torch.topk(-A, self.k_sample, dim=-1)[1].squeeze(1)
        ids = torch.cat([top_p, top_n], dim=1)
        rows = torch.arange(h.shape[0])[:, None]
        inst = self.instance_classifier(h[rows, ids])
        return self.classifier(torch.bmm(A, h).squeeze(1)), inst, A


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "keypoint_matcher": lambda: (KeypointMatcher(), KEYPOINTS),
    "gated_bags": lambda: (GatedBags(), BAGS),
}

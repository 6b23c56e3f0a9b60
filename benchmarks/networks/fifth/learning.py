"""Networks of the zoo over images, fifth sample: metrics, slots, pairs, groups of turns, cells that were searched."""

# ruff: noqa: E501, N806, RUF059 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fifth.images import PHOTOS, SMALL

CODES = torch.randn(3, 12, generator=torch.Generator().manual_seed(51))


class NetVlad(nn.Module):
    """Descriptors assigned softly to clusters, normalised twice; a generalised mean beside."""

    def __init__(self, num_clusters: int = 4, dim: int = 10) -> None:
        super().__init__()
        self.num_clusters, self.p = num_clusters, nn.Parameter(torch.ones(1) * 3)
        self.base = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, dim, 3, 2, 1))
        self.conv, self.centroids = (
            nn.Conv2d(dim, num_clusters, 1),
            nn.Parameter(torch.rand(num_clusters, dim)),
        )
        self.whiten = nn.Linear(num_clusters * dim + dim, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.base(x)
        N, C = x.shape[:2]
        gem = F.avg_pool2d(x.clamp(min=1e-6).pow(self.p), (x.size(-2), x.size(-1))).pow(
            1.0 / self.p
        )
        soft_assign = F.softmax(self.conv(x).view(N, self.num_clusters, -1), dim=1)
        x_flatten = x.view(N, C, -1)
        residual = x_flatten.expand(self.num_clusters, -1, -1, -1).permute(
            1, 0, 2, 3
        ) - self.centroids.expand(x_flatten.size(-1), -1, -1).permute(1, 2, 0).unsqueeze(0)
        residual = residual * soft_assign.unsqueeze(2)
        vlad = F.normalize(residual.sum(dim=-1), p=2, dim=2).view(N, -1)
        return self.whiten(
            torch.cat([F.normalize(vlad, p=2, dim=1), gem.squeeze(-1).squeeze(-1)], 1)
        )


class BilinearCnn(nn.Module):
    """Products of all pairs of channels, pooled; signed roots, length one."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU()
        )
        self.fc = nn.Linear(6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        batch_size = x.size(0)
        x = x.view(batch_size, x.size(1), x.size(2) ** 2)
        x = (torch.bmm(x, torch.transpose(x, 1, 2)) / x.size(2)).view(batch_size, -1)
        x = F.normalize(torch.sign(x) * torch.sqrt(torch.abs(x) + 1e-10))
        return self.fc(x)


class ArcFace(nn.Module):
    """A margin on the angle to the class that is right, by labels that come with the images."""

    def __init__(self, n: int = 4, s: float = 8.0, m: float = 0.3) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.PReLU(8),
            nn.Flatten(),
            nn.Linear(8 * 64, 10),
            nn.BatchNorm1d(10),
        )
        self.weight, self.s, self.m = nn.Parameter(torch.randn(n, 10)), s, m

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        emb = self.backbone(x)
        cosine = F.linear(F.normalize(emb), F.normalize(self.weight)).clamp(-1 + 1e-7, 1 - 1e-7)
        phi = torch.cos(torch.acos(cosine) + self.m)
        one_hot = torch.zeros(cosine.size(), device=x.device, dtype=x.dtype)
        one_hot.scatter_(1, label.view(-1, 1).long(), 1)
        return ((one_hot * phi) + ((1.0 - one_hot) * cosine)) * self.s


class ProtoNet(nn.Module):
    """Queries by their distances to means of examples of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(self.block(3, 8), self.block(8, 8), nn.Flatten())
        self.proj = nn.Linear(8 * 16, 6)

    def block(self, i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)
        )

    def forward(self, support: Tensor, query: Tensor) -> Tensor:
        b, n, k = support.shape[:3]
        s = self.proj(self.encoder(support.flatten(0, 2))).view(b, n, k, -1).mean(2)
        q = self.proj(self.encoder(query))
        d = torch.pow(q.unsqueeze(1).expand(b, n, q.size(-1)) - s, 2).sum(2)
        return F.log_softmax(-d, dim=1)


class SimSiam(nn.Module):
    """Two views, a predictor, and targets that are detached."""

    def __init__(self, dim: int = 12, pred: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                     nn.Linear(8, dim, bias=False), nn.BatchNorm1d(dim, affine=False))  # fmt: skip
        self.predictor = nn.Sequential(
            nn.Linear(dim, pred, bias=False), nn.BatchNorm1d(pred), nn.ReLU(), nn.Linear(pred, dim)
        )

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, ...]:
        z1, z2 = self.encoder(x1), self.encoder(x2)
        return self.predictor(z1), self.predictor(z2), z1.detach(), z2.detach()


class SlotAttention(nn.Module):
    """Slots compete for places, a GRU cell moves them, each is painted on a grid of its own."""

    def __init__(self, num_slots: int = 3, dim: int = 8, hidden: int = 14, iters: int = 2) -> None:
        super().__init__()
        self.num_slots, self.iters, self.eps, self.scale = num_slots, iters, 1e-8, dim**-0.5
        self.enc = nn.Sequential(nn.Conv2d(3, dim, 5, 4, 2), nn.ReLU())
        self.slots_mu = nn.Parameter(torch.randn(1, num_slots, dim))
        self.to_q, self.to_k, self.to_v = (
            nn.Linear(dim, dim),
            nn.Linear(dim, dim),
            nn.Linear(dim, dim),
        )
        self.gru, self.fc1, self.fc2 = (
            nn.GRUCell(dim, dim),
            nn.Linear(dim, hidden),
            nn.Linear(hidden, dim),
        )
        self.norm_input, self.norm_slots, self.norm_pre_ff = (
            nn.LayerNorm(dim),
            nn.LayerNorm(dim),
            nn.LayerNorm(dim),
        )
        self.dec = nn.Sequential(nn.Conv2d(dim, 9, 3, padding=1), nn.ReLU(), nn.Conv2d(9, 4, 1))

    def forward(self, img: Tensor) -> Tensor:
        x = self.enc(img)
        x = torch.flatten(x, 2, 3).permute(0, 2, 1)
        b, n, d = x.shape
        slots = self.slots_mu.expand(b, -1, -1)
        x = self.norm_input(x)
        k, v = self.to_k(x), self.to_v(x)
        for _ in range(self.iters):
            slots_prev = slots
            q = self.to_q(self.norm_slots(slots))
            attn = (torch.einsum("bid,bjd->bij", q, k) * self.scale).softmax(dim=1) + self.eps
            attn = attn / attn.sum(dim=-1, keepdim=True)
            updates = torch.einsum("bjd,bij->bid", v, attn)
            slots = self.gru(updates.reshape(-1, d), slots_prev.reshape(-1, d))
            slots = slots.reshape(b, -1, d)
            slots = slots + self.fc2(F.relu(self.fc1(self.norm_pre_ff(slots))))
        s = (
            slots.reshape((-1, d))
            .unsqueeze(1)
            .unsqueeze(2)
            .repeat((1, 8, 8, 1))
            .permute(0, 3, 1, 2)
        )
        recons, masks = self.dec(s).view(b, self.num_slots, 4, 8, 8).split([3, 1], dim=2)
        return torch.sum(recons * F.softmax(masks, dim=1), dim=1)


class RelationNet(nn.Module):
    """All pairs of places, with coordinates, through one network, and summed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 7, 3, 4, 1), nn.BatchNorm2d(7), nn.ReLU())
        self.g_fc1, self.g_fc2, self.f_fc = (
            nn.Linear(9 * 2, 14),
            nn.Linear(14, 10),
            nn.Linear(10, 5),
        )

    def forward(self, img: Tensor) -> Tensor:
        x = self.conv(img)
        mb, n_channels, d = x.size(0), x.size(1), x.size(2)
        x_flat = x.view(mb, n_channels, d * d).permute(0, 2, 1)
        ij = torch.arange(d * d, device=x.device)
        coord = torch.stack([ij // d - 2, ij % d - 2], 1).to(x.dtype).expand(mb, d * d, 2)
        x_flat = torch.cat([x_flat, coord], 2)
        x_i = torch.unsqueeze(x_flat, 1).repeat(1, d * d, 1, 1)
        x_j = torch.unsqueeze(x_flat, 2).repeat(1, 1, d * d, 1)
        x_full = torch.cat([x_i, x_j], 3).view(mb * d**4, -1)
        x_ = F.relu(self.g_fc2(F.relu(self.g_fc1(x_full))))
        x_g = x_.view(mb, d**4, x_.size(1)).sum(1).squeeze()
        return self.f_fc(x_g)


class RotConv(nn.Module):
    """A convolution of the group p4: one kernel in four turns."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.o, self.weight = o, nn.Parameter(torch.randn(o, i, 3, 3) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        w = torch.stack([torch.rot90(self.weight, r, (2, 3)) for r in range(4)], 1)
        y = F.conv2d(x, w.view(self.o * 4, -1, 3, 3), padding=1)
        return y.view(x.size(0), self.o, 4, y.size(-2), y.size(-1))


class P4Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift, self.mid, self.fc = (
            RotConv(3, 8),
            nn.Conv2d(8, 10, 3, padding=1),
            nn.Linear(10, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.lift(x)).max(dim=2)[0]
        return self.fc(F.relu(self.mid(x)).amax(dim=(2, 3)))


class MixedOp(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self._ops = nn.ModuleList([
            nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.BatchNorm2d(c, affine=False)), nn.Identity(),
            nn.Sequential(nn.ReLU(), nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False), nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)),
        ])  # fmt: skip

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))


class Darts(nn.Module):
    """A cell of DARTS: each edge a mixture of operations, each node a sum over all that came before."""

    def __init__(self, c: int = 8, steps: int = 2) -> None:
        super().__init__()
        self.stem, self._steps = (
            nn.Sequential(nn.Conv2d(3, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)),
            steps,
        )
        self.pre0, self.pre1 = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self._ops = nn.ModuleList(MixedOp(c) for i in range(steps) for _ in range(2 + i))
        self.alphas, self.classifier = (
            nn.Parameter(1e-1 * torch.randn(len(self._ops), 3)),
            nn.Linear(2 * c, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        s = self.stem(x)
        states, offset, weights = (
            [self.pre0(s), self.pre1(F.relu(s))],
            0,
            F.softmax(self.alphas, dim=-1),
        )
        for _ in range(self._steps):
            new = sum(self._ops[offset + j](h, weights[offset + j]) for j, h in enumerate(states))
            offset += len(states)
            states.append(new)
        out = F.adaptive_avg_pool2d(torch.cat(states[-2:], dim=1), 1)
        return self.classifier(out.view(out.size(0), -1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "netvlad_gem": lambda: (NetVlad(), PHOTOS),
    "bilinear_pooling": lambda: (BilinearCnn(), PHOTOS),
    "arcface_labels": lambda: (ArcFace(), (SMALL, torch.tensor([1, 3]))),
    "prototypes": lambda: (
        ProtoNet(),
        (
            SMALL[:, None, None].repeat(1, 3, 2, 1, 1, 1) + torch.arange(3).view(1, 3, 1, 1, 1, 1),
            SMALL,
        ),
    ),
    "simsiam_detached": lambda: (SimSiam(), (SMALL, SMALL.flip(3))),
    "slot_attention": lambda: (SlotAttention(), SMALL),
    "relation_pairs": lambda: (RelationNet(), SMALL),
    "p4_turns": lambda: (P4Net(), SMALL),
    "darts_mixed": lambda: (Darts(), SMALL),
}

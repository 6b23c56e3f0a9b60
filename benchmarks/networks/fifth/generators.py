"""Networks of the zoo that make images or codes, fifth sample."""

# ruff: noqa: E501 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fifth.images import SMALL

CODES = torch.randn(3, 12, generator=torch.Generator().manual_seed(51))


class CondBatchNorm(nn.Module):
    def __init__(self, out: int, cond: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(out, affine=False)
        self.gain, self.bias = nn.Linear(cond, out, bias=False), nn.Linear(cond, out, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain = (1 + self.gain(y)).view(y.size(0), -1, 1, 1)
        return self.bn(x) * gain + self.bias(y).view(y.size(0), -1, 1, 1)


class BigGan(nn.Module):
    """Codes split among blocks, norms conditioned on a part and the class, attention with a weight from zero."""

    def __init__(self, ch: int = 8) -> None:
        super().__init__()
        self.shared, self.linear = nn.Embedding(5, 6), nn.Linear(4, ch * 4 * 4)
        self.bn1, self.bn2, self.conv1, self.conv2 = (
            CondBatchNorm(ch, 10), CondBatchNorm(ch, 10), nn.Conv2d(ch, ch, 3, padding=1), nn.Conv2d(ch, ch, 3, padding=1))  # fmt: skip
        self.theta, self.phi, self.g, self.o = (
            nn.Conv2d(ch, ch // 4, 1, bias=False), nn.Conv2d(ch, ch // 4, 1, bias=False),
            nn.Conv2d(ch, ch // 2, 1, bias=False), nn.Conv2d(ch // 2, ch, 1, bias=False))  # fmt: skip
        self.ch, self.gamma = ch, nn.Parameter(torch.tensor(0.5))
        self.out = nn.Sequential(
            nn.BatchNorm2d(ch), nn.ReLU(), nn.Conv2d(ch, 3, 3, padding=1), nn.Tanh()
        )

    def attention(self, x: Tensor) -> Tensor:
        theta, phi, g = (
            self.theta(x),
            F.max_pool2d(self.phi(x), [2, 2]),
            F.max_pool2d(self.g(x), [2, 2]),
        )
        theta = theta.view(-1, self.ch // 4, x.shape[2] * x.shape[3])
        phi = phi.view(-1, self.ch // 4, x.shape[2] * x.shape[3] // 4)
        g = g.view(-1, self.ch // 2, x.shape[2] * x.shape[3] // 4)
        beta = F.softmax(torch.bmm(theta.transpose(1, 2), phi), -1)
        o = self.o(
            torch.bmm(g, beta.transpose(1, 2)).view(-1, self.ch // 2, x.shape[2], x.shape[3])
        )
        return self.gamma * o + x

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        zs = torch.split(z, 4, 1)
        ys = [torch.cat([self.shared(y), item], 1) for item in zs[1:]]
        h = self.linear(zs[0])
        h = h.view(h.size(0), -1, 4, 4)
        r = F.interpolate(F.relu(self.bn1(h, ys[0])), scale_factor=2)
        r = self.conv2(F.relu(self.bn2(self.conv1(r), ys[1])))
        return self.out(self.attention(r + F.interpolate(h, scale_factor=2)))


class EqualConv(nn.Module):
    def __init__(self, i: int, o: int, k: int, pad: int = 0) -> None:
        super().__init__()
        self.conv, self.bias = (
            nn.Conv2d(i, o, k, padding=pad, bias=False),
            nn.Parameter(torch.zeros(o)),
        )
        self.scale = (2 / (i * k**2)) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * self.scale) + self.bias.view(1, self.bias.shape[0], 1, 1)


class ProGanCritic(nn.Module):
    """ProGAN: equalised rates, features of length one at each place, and how much the batch varies as a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.from_rgb, self.c1, self.c2 = (
            EqualConv(3, 8, 1),
            EqualConv(8, 10, 3, 1),
            EqualConv(11, 12, 3, 1),
        )
        self.alpha, self.final = 0.7, EqualConv(12, 1, 1)
        self.rgb_low = EqualConv(3, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.leaky_relu(self.c1(F.leaky_relu(self.from_rgb(x), 0.2)), 0.2)
        out = out / torch.sqrt(torch.mean(out**2, dim=1, keepdim=True) + 1e-8)
        out = self.alpha * F.avg_pool2d(out, 2) + (1 - self.alpha) * F.leaky_relu(
            self.rgb_low(F.avg_pool2d(x, 2)), 0.2
        )
        stat = torch.std(out, dim=0).mean().repeat(out.shape[0], 1, out.shape[2], out.shape[3])
        out = F.leaky_relu(self.c2(torch.cat([out, stat], dim=1)), 0.2)
        return self.final(out).mean((2, 3)).view(out.shape[0], -1)


class VqEma(nn.Module):
    """Codes moved by running means in training, gradients straight through, the loss beside the picture."""

    def __init__(self, k: int = 6, dim: int = 5) -> None:
        super().__init__()
        self.k, self.dim, self.decay = k, dim, 0.9
        self.enc = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, dim, 4, 2, 1))
        self.dec = nn.Sequential(
            nn.ConvTranspose2d(dim, 9, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(9, 3, 4, 2, 1)
        )
        embed = torch.randn(dim, k)
        self.register_buffer("embed", embed)
        self.register_buffer("cluster_size", torch.zeros(k))
        self.register_buffer("embed_avg", embed.clone())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.enc(x).permute(0, 2, 3, 1)
        flatten = z.reshape(-1, self.dim)
        dist = (
            flatten.pow(2).sum(1, keepdim=True)
            - 2 * flatten @ self.embed
            + self.embed.pow(2).sum(0, keepdim=True)
        )
        _, embed_ind = (-dist).max(1)
        onehot = F.one_hot(embed_ind, self.k).type(flatten.dtype)
        quantize = F.embedding(embed_ind.view(*z.shape[:-1]), self.embed.transpose(0, 1))
        if self.training:
            self.cluster_size.data.mul_(self.decay).add_(onehot.sum(0), alpha=1 - self.decay)
            self.embed_avg.data.mul_(self.decay).add_(
                flatten.detach().transpose(0, 1) @ onehot, alpha=1 - self.decay
            )
            n = self.cluster_size.sum()
            size = (self.cluster_size + 1e-5) / (n + self.k * 1e-5) * n
            self.embed.data.copy_(self.embed_avg / size.unsqueeze(0))
        diff = (quantize.detach() - z).pow(2).mean()
        quantize = z + (quantize - z).detach()
        return self.dec(quantize.permute(0, 3, 1, 2)), diff


class GumbelVae(nn.Module):
    """dVAE: soft one-hot codes by Gumbel noise in training, the best code else."""

    def __init__(self, tokens: int = 6) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(3, 9, 4, 2, 1), nn.ReLU(), nn.Conv2d(9, tokens, 1))
        self.codebook, self.dec = (
            nn.Embedding(tokens, 7),
            nn.Sequential(nn.ConvTranspose2d(7, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 3, 1)),
        )

    def forward(self, img: Tensor) -> Tensor:
        logits = self.enc(img)
        if self.training:
            soft = F.gumbel_softmax(logits, tau=0.9, dim=1, hard=False)
            sampled = torch.einsum("b n h w, n d -> b d h w", soft, self.codebook.weight)
        else:
            sampled = self.codebook(logits.argmax(dim=1)).permute(0, 3, 1, 2)
        return self.dec(sampled)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "biggan_conditional": lambda: (BigGan(), (CODES, torch.tensor([0, 2, 4]))),
    "progan_critic": lambda: (ProGanCritic(), SMALL),
    "vq_running_means": lambda: (VqEma(), SMALL),
    "gumbel_codes": lambda: (GumbelVae(), SMALL),
}

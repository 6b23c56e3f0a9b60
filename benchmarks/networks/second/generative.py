"""Networks of the zoo that code, draw and judge images."""

# ruff: noqa: N806 - names as in the papers
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.networks.second.backbones import IMAGES, ConvBNAct


class VqVae(nn.Module):
    def __init__(self, codes: int = 12, dim: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, dim, 3, padding=1)
        )
        self.codebook = nn.Embedding(codes, dim)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, 8, 3, padding=1), nn.ReLU(True), nn.ConvTranspose2d(8, 3, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x).permute(0, 2, 3, 1).contiguous()
        flat = z.view(-1, z.shape[-1])
        d = (
            flat.pow(2).sum(1, keepdim=True)
            - 2 * flat @ self.codebook.weight.t()
            + self.codebook.weight.pow(2).sum(1)
        )
        q = self.codebook(d.argmin(1)).view(z.shape)
        loss = F.mse_loss(q.detach(), z) * 0.25 + F.mse_loss(q, z.detach())
        q = z + (q - z).detach()
        return self.decoder(q.permute(0, 3, 1, 2)), loss.expand(x.shape[0])


class ConvVae(nn.Module):
    def __init__(self, latent: int = 4) -> None:
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(3, 6, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(6, 8, 4, 2, 1), nn.Flatten()
        )
        self.fc_mu, self.fc_var = nn.Linear(8 * 4 * 4, latent), nn.Linear(8 * 4 * 4, latent)
        self.dec_in = nn.Linear(latent, 8 * 4 * 4)
        self.dec = nn.Sequential(
            nn.ConvTranspose2d(8, 6, 4, 2, 1),
            nn.BatchNorm2d(6),
            nn.LeakyReLU(),
            nn.ConvTranspose2d(6, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.enc(x)
        mu, log_var = self.fc_mu(h), self.fc_var(h)
        z = mu
        if self.training:
            std = torch.exp(0.5 * log_var)
            z = torch.randn_like(std) * std + mu
        return [self.dec(self.dec_in(z).view(-1, 8, 4, 4)), mu, log_var]


class Discriminator(nn.Module):
    def __init__(self, ndf: int = 6) -> None:
        super().__init__()
        self.main = nn.Sequential(
            spectral_norm(nn.Conv2d(3, ndf, 4, 2, 1, bias=False)),
            nn.LeakyReLU(0.2, inplace=True),
            spectral_norm(nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False)),
            nn.BatchNorm2d(ndf * 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 2, 1, 4, 1, 0, bias=False),
        )

    def forward(self, img: Tensor) -> Tensor:
        return self.main(img).view(-1, 1)


class Detr(nn.Module):
    """The demo of the DETR paper."""

    def __init__(self, hidden: int = 8, nheads: int = 2) -> None:
        super().__init__()
        self.backbone = nn.Sequential(ConvBNAct(3, 10, s=2), ConvBNAct(10, 12, s=2))
        self.conv = nn.Conv2d(12, hidden, 1)
        self.transformer = nn.Transformer(hidden, nheads, 1, 1, 16, dropout=0.0)
        self.linear_class, self.linear_bbox = nn.Linear(hidden, 4), nn.Linear(hidden, 4)
        self.query_pos = nn.Parameter(torch.rand(5, hidden))
        self.row_embed, self.col_embed = (
            nn.Parameter(torch.rand(10, hidden // 2)),
            nn.Parameter(torch.rand(10, hidden // 2)),
        )

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        h = self.conv(self.backbone(inputs))
        H, W = h.shape[-2:]
        pos = (
            torch.cat(
                [
                    self.col_embed[:W].unsqueeze(0).repeat(H, 1, 1),
                    self.row_embed[:H].unsqueeze(1).repeat(1, W, 1),
                ],
                dim=-1,
            )
            .flatten(0, 1)
            .unsqueeze(1)
        )
        h = self.transformer(
            pos + 0.1 * h.flatten(2).permute(2, 0, 1),
            self.query_pos.unsqueeze(1).repeat(1, h.shape[0], 1),
        )
        h = h.transpose(0, 1)
        return {"pred_logits": self.linear_class(h), "pred_boxes": self.linear_bbox(h).sigmoid()}


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "vqvae_codebook": lambda: (VqVae(), IMAGES),
    "vae_conv": lambda: (ConvVae(), IMAGES),
    "gan_spectral": lambda: (Discriminator(), IMAGES),
    "detr_demo": lambda: (Detr(), IMAGES),
}

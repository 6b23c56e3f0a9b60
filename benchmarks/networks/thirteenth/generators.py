"""Generators and fields of the zoo, thirteenth sample: kept magnitudes, flows, codes, splats, tensors of factors."""

# ruff: noqa: N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import INPUTS, NOISED, PLACES, RAYS


def normalize(x: Tensor, dim: Any = None, eps: float = 1e-4) -> Tensor:
    """Returns x of magnitude one along dimensions."""
    if dim is None:
        dim = list(range(1, x.ndim))
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=torch.float32)
    norm = torch.add(eps, norm, alpha=math.sqrt(norm.numel() / x.numel()))
    return x / norm.to(x.dtype)


def mp_sum(a: Tensor, b: Tensor, t: float = 0.5) -> Tensor:
    """Returns a blend whose magnitude is that of what is blended."""
    return a.lerp(b, t) / math.sqrt((1 - t) ** 2 + t**2)


def mp_cat(a: Tensor, b: Tensor, dim: int = 1, t: float = 0.5) -> Tensor:
    """Returns both joined, each with its share of the magnitude."""
    Na, Nb = a.shape[dim], b.shape[dim]
    C = math.sqrt((Na + Nb) / ((1 - t) ** 2 + t**2))
    return torch.cat([C / math.sqrt(Na) * (1 - t) * a, C / math.sqrt(Nb) * t * b], dim=dim)


def mp_silu(x: Tensor) -> Tensor:
    """Returns the activation, magnitudes kept."""
    return F.silu(x) / 0.596


class MPConv(nn.Module):
    """Weights that are normalised when used, and in training are put back normalised."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, ...]) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel))

    def forward(self, x: Tensor, gain: Any = 1) -> Tensor:
        w = self.weight.to(torch.float32) if x.dtype == torch.float32 else self.weight
        if self.training:
            with torch.no_grad():
                self.weight.copy_(normalize(w))
        w = normalize(w)
        w = w * (gain / math.sqrt(w[0].numel()))
        w = w.to(x.dtype)
        if w.ndim == 2:
            return x @ w.t()
        return F.conv2d(x, w, padding=(w.shape[-1] // 2,))


class MagnitudeUNet(nn.Module):
    """A denoiser that keeps magnitudes: sums, joins and activations are scaled, labels are dropped in training."""

    class Block(nn.Module):
        def __init__(self, i: int, o: int, emb: int, flavor: str) -> None:
            super().__init__()
            self.flavor, self.emb_gain = flavor, nn.Parameter(torch.ones([]) * 0.3)
            self.conv_res0 = MPConv(o if flavor == "enc" else i, o + 4, (3, 3))
            self.emb_linear = MPConv(emb, o + 4, ())
            self.conv_res1 = MPConv(o + 4, o, (3, 3))
            self.conv_skip = MPConv(i, o, (1, 1)) if i != o else None

        def forward(self, x: Tensor, emb: Tensor) -> Tensor:
            if self.flavor == "enc":
                if self.conv_skip is not None:
                    x = self.conv_skip(x)
                x = normalize(x, dim=1)
            skip = x if self.conv_skip is None or self.flavor == "enc" else self.conv_skip(x)
            y = self.conv_res0(mp_silu(x))
            c = self.emb_linear(emb, gain=self.emb_gain) + 1
            y = mp_silu(y * c.unsqueeze(2).unsqueeze(3).to(y.dtype))
            if self.training:
                y = F.dropout(y, p=0.1)
            return mp_sum(skip, self.conv_res1(y), t=0.3).clip_(-256, 256)

    def __init__(self, width: int = 8, emb: int = 12, classes: int = 4) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(8))
        self.register_buffer("phases", 2 * math.pi * torch.rand(8))
        self.emb_noise, self.emb_label = MPConv(8, emb, ()), MPConv(classes, emb, ())
        self.classes, self.out_gain = classes, nn.Parameter(torch.ones([]) * 0.5)
        self.enc = nn.ModuleDict(
            {
                "16x16_conv": MPConv(4, width, (3, 3)),
                "16x16_block0": self.Block(width, width, emb, "enc"),
                "8x8_block0": self.Block(width, 12, emb, "enc"),
            }
        )
        self.dec = self.Block(12 + width, width, emb, "dec")
        self.out_conv = MPConv(width, 3, (3, 3))

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        sigma = sigma.to(x.dtype).reshape(-1, 1, 1, 1)
        c_skip, c_out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / (sigma**2 + 0.25).sqrt()
        c_in, c_noise = 1 / (0.25 + sigma**2).sqrt(), sigma.flatten().log() / 4
        fourier = (c_noise.ger(self.freqs) + self.phases).cos() * math.sqrt(2)
        emb = self.emb_noise(fourier)
        one_hot = F.one_hot(labels, self.classes).to(x.dtype) * math.sqrt(self.classes)
        if self.training:
            one_hot = one_hot * (torch.rand([x.shape[0], 1]) >= 0.2).to(one_hot.dtype)
        emb = mp_silu(mp_sum(emb, self.emb_label(one_hot), t=0.5))
        h = torch.cat([c_in * x, torch.ones_like(x[:, :1])], dim=1)
        skips = []
        for name, block in self.enc.items():
            if name.startswith("8x8"):
                h = F.avg_pool2d(h, 2)
            h = block(h) if "conv" in name else block(h, emb)
            skips.append(h)
        skips.pop()
        h = self.dec(mp_cat(F.interpolate(h, scale_factor=2), skips.pop(), t=0.5), emb)
        return c_skip * x + c_out * self.out_conv(h, gain=self.out_gain)


class NormalisedFlow(nn.Module):
    """A flow of masked layers with batch normalisation between them, whose statistics are kept by hand."""

    class BatchNormFlow(nn.Module):
        def __init__(self, num_inputs: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
            super().__init__()
            self.log_gamma = nn.Parameter(torch.zeros(num_inputs))
            self.beta, self.momentum, self.eps = (
                nn.Parameter(torch.zeros(num_inputs)),
                momentum,
                eps,
            )
            self.register_buffer("running_mean", torch.zeros(num_inputs))
            self.register_buffer("running_var", torch.ones(num_inputs))

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            if self.training:
                self.batch_mean = inputs.mean(0)
                self.batch_var = (inputs - self.batch_mean).pow(2).mean(0) + self.eps
                self.running_mean.mul_(1 - self.momentum)
                self.running_var.mul_(1 - self.momentum)
                self.running_mean.add_(self.batch_mean.data * self.momentum)
                self.running_var.add_(self.batch_var.data * self.momentum)
                mean, var = self.batch_mean, self.batch_var
            else:
                mean, var = self.running_mean, self.running_var
            x_hat = (inputs - mean) / var.sqrt()
            y = torch.exp(self.log_gamma) * x_hat + self.beta
            return y, (self.log_gamma - 0.5 * torch.log(var)).sum(-1, keepdim=True)

    class CouplingLayer(nn.Module):
        def __init__(self, num_inputs: int, num_hidden: int, mask: Tensor) -> None:
            super().__init__()
            self.register_buffer("mask", mask)
            self.scale_net = nn.Sequential(
                nn.Linear(num_inputs, num_hidden), nn.Tanh(), nn.Linear(num_hidden, num_inputs)
            )
            self.translate_net = nn.Sequential(
                nn.Linear(num_inputs, num_hidden), nn.ReLU(), nn.Linear(num_hidden, num_inputs)
            )

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            masked = inputs * self.mask
            log_s = self.scale_net(masked) * (1 - self.mask)
            t = self.translate_net(masked) * (1 - self.mask)
            return inputs * torch.exp(log_s) + t, log_s.sum(-1, keepdim=True)

    class FlowSequential(nn.Sequential):
        def forward(self, inputs: Tensor, logdets: Tensor | None = None) -> tuple[Tensor, Tensor]:
            if logdets is None:
                logdets = torch.zeros(inputs.size(0), 1, device=inputs.device)
            for module in self._modules.values():
                inputs, logdet = module(inputs)
                logdets = logdets + logdet
            return inputs, logdets

    def __init__(self, dim: int = 6, hidden: int = 18) -> None:
        super().__init__()
        mask, modules = torch.arange(0, dim) % 2, []
        for _ in range(2):
            modules += [self.CouplingLayer(dim, hidden, mask.float()), self.BatchNormFlow(dim)]
            mask = 1 - mask
        self.flow = self.FlowSequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        u, log_jacob = self.flow(x)
        log_probs = (-0.5 * u.pow(2) - 0.5 * math.log(2 * math.pi)).sum(-1, keepdim=True)
        return (log_probs + log_jacob).sum(-1, keepdim=True)


class BinaryCodes(nn.Module):
    """Codes of signs with an entropy of their use in training, and a discriminator of codes whose columns are permuted."""

    def __init__(self, bits: int = 5) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 20), nn.ELU(), nn.Linear(20, bits))
        self.decoder = nn.Sequential(nn.Linear(bits, 18), nn.ELU(), nn.Linear(18, 6))
        self.critic = nn.Sequential(nn.Linear(bits, 10), nn.LeakyReLU(0.2, True), nn.Linear(10, 2))
        self.register_buffer("mask", 2 ** torch.arange(bits - 1, -1, -1))
        all_codes = torch.arange(2**bits)
        codes = ((all_codes[..., None].int() & self.mask) != 0).float() * 2 - 1
        self.register_buffer("codebook", codes, persistent=False)

    def permute_dims(self, z: Tensor) -> Tensor:
        B, _ = z.size()
        return torch.cat([z_j[torch.randperm(B)] for z_j in z.split(1, 1)], 1)

    def forward(self, x: Tensor) -> Any:
        z = self.encoder(x)
        ones = torch.ones_like(z)
        quantized = torch.where(z > 0, ones, -ones)
        indices = ((z > 0).int() * self.mask.int()).sum(dim=-1)
        if not self.training:
            return self.decoder(quantized), indices
        quantized = z + (quantized - z).detach()
        distance = -2 * torch.einsum("b d, j d -> b j", z, self.codebook.to(z.dtype))
        prob = (-distance).softmax(dim=-1)
        per_sample = (-prob * prob.clamp(min=1e-5).log()).sum(-1).mean()
        avg = prob.mean(0)
        aux = per_sample + (avg * avg.clamp(min=1e-5).log()).sum()
        commit = F.mse_loss(z, quantized.detach())
        return self.decoder(quantized), aux + commit, self.critic(self.permute_dims(z).detach())


class Splats(nn.Module):
    """Gaussians in a plane with activations held as attributes, a covariance by turns, and colours blended front to back."""

    def __init__(self, n: int = 7, features: int = 8) -> None:
        super().__init__()
        self.setup_functions()
        self._xyz, self._scaling = (
            nn.Parameter(torch.rand(n, 2) - 0.5),
            nn.Parameter(torch.zeros(n, 2)),
        )
        self._rotation, self._opacity = (
            nn.Parameter(torch.randn(n, 2)),
            nn.Parameter(torch.zeros(n, 1)),
        )
        self._features, self._depth = nn.Parameter(torch.randn(n, features)), torch.rand(n)
        self.to_colour = nn.Sequential(nn.Linear(features + 2, 16), nn.ReLU(), nn.Linear(16, 3))

    def setup_functions(self) -> None:
        self.scaling_activation, self.scaling_inverse_activation = torch.exp, torch.log
        self.opacity_activation, self.rotation_activation = torch.sigmoid, F.normalize

    @property
    def get_scaling(self) -> Tensor:
        return self.scaling_activation(self._scaling)

    @property
    def get_covariance(self) -> Tensor:
        c, s = self.rotation_activation(self._rotation).unbind(-1)
        R = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
        L = R @ torch.diag_embed(self.get_scaling)
        return L @ L.transpose(1, 2) + 0.1 * torch.eye(2, dtype=L.dtype)

    def forward(self, xy: Tensor) -> Tensor:
        order = torch.argsort(self._depth)
        d = xy[:, None, :] - self._xyz[order][None]
        conic = torch.inverse(self.get_covariance[order])
        power = -0.5 * torch.einsum("pni,nij,pnj->pn", d, conic, d)
        alpha = (self.opacity_activation(self._opacity)[order].T * torch.exp(power)).clamp(max=0.99)
        T = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], -1), -1)[
            :, :-1
        ]
        feats = self._features[order][None].expand(len(xy), -1, -1)
        colours = torch.sigmoid(self.to_colour(torch.cat([feats, d], -1)))
        return ((alpha * T)[..., None] * colours).sum(1)


class TensorFactors(nn.Module):
    """A field by sums of products of planes and lines, looked up by sampling; occupancy decays and grows in training."""

    def __init__(self, grid: int = 6, comp: int = 4, app: int = 9) -> None:
        super().__init__()
        self.matMode, self.vecMode = [[0, 1], [0, 2], [1, 2]], [2, 1, 0]
        self.plane_coef = nn.ParameterList(
            [nn.Parameter(0.3 * torch.randn(1, comp, grid, grid)) for _ in range(3)]
        )
        self.line_coef = nn.ParameterList(
            [nn.Parameter(0.3 * torch.randn(1, comp, grid, 1)) for _ in range(3)]
        )
        self.basis_mat = nn.Linear(3 * comp, app, bias=False)
        self.mlp = nn.Sequential(nn.Linear(app + 3, 16), nn.ReLU(inplace=True), nn.Linear(16, 4))
        self.register_buffer("occupancy", torch.zeros(27))

    def forward(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        coordinate_plane = torch.stack([xyz[..., m] for m in self.matMode]).view(3, -1, 1, 2)
        line = torch.stack([xyz[..., v] for v in self.vecMode])
        coordinate_line = torch.stack((torch.zeros_like(line), line), dim=-1).view(3, -1, 1, 2)
        planes, lines = [], []
        for i in range(len(self.plane_coef)):
            planes.append(
                F.grid_sample(self.plane_coef[i], coordinate_plane[[i]], align_corners=True).view(
                    -1, *xyz.shape[:1]
                )
            )
            lines.append(
                F.grid_sample(self.line_coef[i], coordinate_line[[i]], align_corners=True).view(
                    -1, *xyz.shape[:1]
                )
            )
        feats = self.basis_mat((torch.cat(planes) * torch.cat(lines)).T)
        out = self.mlp(torch.cat([feats, xyz], dim=-1))
        sigma = F.softplus(out[..., :1] - 1)
        if self.training:
            with torch.no_grad():
                cell = ((xyz + 1) / 2 * 3).long().clamp(0, 2)
                flat = cell[:, 0] * 9 + cell[:, 1] * 3 + cell[:, 2]
                fresh = torch.zeros_like(self.occupancy).index_add_(
                    0, flat, sigma[:, 0].to(self.occupancy.dtype)
                )
                self.occupancy = torch.maximum(self.occupancy * 0.95, fresh)
        return torch.sigmoid(out[..., 1:]), sigma


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "magnitude_unet": lambda: (MagnitudeUNet(), NOISED),
    "normalised_flow": lambda: (NormalisedFlow(), INPUTS.numbers),
    "binary_codes": lambda: (BinaryCodes(), INPUTS.numbers),
    "splats": lambda: (Splats(), PLACES),
    "tensor_factors": lambda: (TensorFactors(), RAYS),
}

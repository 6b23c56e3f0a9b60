"""Networks of the zoo that generate or choose, fourteenth sample: classes of many VAEs, divisive norms, masked actions."""

# ruff: noqa: N803, N806, SIM108 - names and lines as people write them
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import (
    CODES,
    SMALL_IMAGES,
)


class BaseVAE(nn.Module):
    """A base class of VAEs."""

    def encode(self, input: Tensor) -> list[Tensor]:
        raise NotImplementedError

    @abstractmethod
    def forward(self, *inputs: Tensor) -> Any:
        pass


class VanillaVAE(BaseVAE):
    """A VAE of such a collection: a list of hidden sizes, reversed for the decoder, and a size that is written down."""

    def __init__(
        self, in_channels: int = 3, latent_dim: int = 6, hidden_dims: list[int] | None = None
    ) -> None:
        super().__init__()
        modules, self.latent_dim = [], latent_dim
        if hidden_dims is None:
            hidden_dims = [8, 12, 16]
        for h_dim in hidden_dims:
            modules.append(
                nn.Sequential(
                    nn.Conv2d(in_channels, h_dim, kernel_size=3, stride=2, padding=1),
                    nn.BatchNorm2d(h_dim),
                    nn.LeakyReLU(),
                )
            )
            in_channels = h_dim
        self.encoder = nn.Sequential(*modules)
        self.fc_mu, self.fc_var = (
            nn.Linear(hidden_dims[-1] * 4, latent_dim),
            nn.Linear(hidden_dims[-1] * 4, latent_dim),
        )
        modules = []
        self.decoder_input = nn.Linear(latent_dim, hidden_dims[-1] * 4)
        hidden_dims.reverse()
        for i in range(len(hidden_dims) - 1):
            modules.append(
                nn.Sequential(
                    nn.ConvTranspose2d(
                        hidden_dims[i], hidden_dims[i + 1], 3, stride=2, padding=1, output_padding=1
                    ),
                    nn.BatchNorm2d(hidden_dims[i + 1]),
                    nn.LeakyReLU(),
                )
            )
        self.decoder = nn.Sequential(*modules)
        self.final_layer = nn.Sequential(
            nn.ConvTranspose2d(hidden_dims[-1], hidden_dims[-1], 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(hidden_dims[-1]), nn.LeakyReLU(),
            nn.Conv2d(hidden_dims[-1], out_channels=3, kernel_size=3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def encode(self, input: Tensor) -> list[Tensor]:
        result = torch.flatten(self.encoder(input), start_dim=1)
        return [self.fc_mu(result), self.fc_var(result)]

    def decode(self, z: Tensor) -> Tensor:
        result = self.decoder_input(z)
        result = result.view(-1, 16, 2, 2)
        return self.final_layer(self.decoder(result))

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return eps * std + mu if self.training else mu

    def forward(self, input: Tensor, **kwargs: Any) -> list[Tensor]:
        mu, log_var = self.encode(input)
        z = self.reparameterize(mu, log_var)
        return [self.decode(z), input, mu, log_var]


class LowerBound(torch.autograd.Function):
    """A bound from below whose gradient passes where it moves the input up."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, bound)
        return torch.max(inputs, bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        inputs, bound = ctx.saved_tensors
        return ((inputs >= bound) | (grad < 0)).to(grad.dtype) * grad, None


class GDN(nn.Module):
    """Divisive normalisation: channels over the root of a learnt, bounded mix of their squares."""

    def __init__(self, in_channels: int, inverse: bool = False, gamma_init: float = 0.1) -> None:
        super().__init__()
        self.inverse = bool(inverse)
        self.pedestal = 2.0**-36
        self.beta = nn.Parameter(torch.sqrt(torch.ones(in_channels) + self.pedestal))
        self.gamma = nn.Parameter(torch.sqrt(gamma_init * torch.eye(in_channels) + self.pedestal))
        self.register_buffer("beta_bound", torch.Tensor([(1e-6 + self.pedestal) ** 0.5]))
        self.register_buffer("gamma_bound", torch.Tensor([self.pedestal**0.5]))

    def forward(self, x: Tensor) -> Tensor:
        _, C, _, _ = x.size()
        beta = LowerBound.apply(self.beta, self.beta_bound) ** 2 - self.pedestal
        gamma = LowerBound.apply(self.gamma, self.gamma_bound) ** 2 - self.pedestal
        norm = F.conv2d(x**2, gamma.reshape(C, C, 1, 1), beta)
        norm = torch.sqrt(norm) if self.inverse else torch.rsqrt(norm)
        return x * norm


class LearnedCompression(nn.Module):
    """Codes that noise rounds in training, normalised divisively, and their likelihood by monotone layers."""

    def __init__(self, N: int = 10, M: int = 8, filters: tuple[int, ...] = (2, 2)) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, kernel_size=5, stride=2, padding=2)
        deconv = partial(nn.ConvTranspose2d, kernel_size=5, stride=2, padding=2, output_padding=1)
        self.g_a = nn.Sequential(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, M))
        self.g_s = nn.Sequential(
            deconv(M, N), GDN(N, inverse=True), deconv(N, N), GDN(N, inverse=True), deconv(N, 3)
        )
        sizes = (1, *filters, 1)
        for i in range(len(filters) + 1):
            self.register_parameter(
                f"_matrix{i}", nn.Parameter(torch.randn(M, sizes[i + 1], sizes[i]) * 0.3)
            )
            self.register_parameter(
                f"_bias{i}", nn.Parameter(torch.empty(M, sizes[i + 1], 1).uniform_(-0.5, 0.5))
            )
        self.depth = len(filters) + 1

    def logits_cumulative(self, inputs: Tensor) -> Tensor:
        logits = inputs
        for i in range(self.depth):
            logits = torch.matmul(F.softplus(getattr(self, f"_matrix{i}")), logits)
            logits = logits + getattr(self, f"_bias{i:d}")
            if i < self.depth - 1:
                logits = logits + 0.5 * torch.tanh(logits)
        return logits

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.g_a(x)
        if self.training:
            y_hat = y + torch.empty_like(y).uniform_(-0.5, 0.5)
        else:
            y_hat = torch.round(y)
        perm = np.arange(len(y.shape))
        perm[0], perm[1] = perm[1], perm[0]
        values = y_hat.permute(*perm).contiguous()
        shape = values.size()
        values = values.reshape(y.size(1), 1, -1)
        lower, upper = self.logits_cumulative(values - 0.5), self.logits_cumulative(values + 0.5)
        sign = -torch.sign(lower + upper).detach()
        like = torch.abs(torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).clamp(min=1e-9)
        like = like.reshape(shape).permute(*perm).contiguous()
        return {"x_hat": self.g_s(y_hat), "likelihoods": {"y": like}}


class LabelledGenerator(nn.Module):
    """Noise times the embedding of a label, grown to a picture by blocks with a wrong epsilon, as copied everywhere."""

    def __init__(self, n_classes: int = 4, latent_dim: int = 8, img_size: int = 16) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(n_classes, latent_dim)
        self.init_size = img_size // 4
        self.l1 = nn.Sequential(nn.Linear(latent_dim, 12 * self.init_size**2))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(12), nn.Upsample(scale_factor=2), nn.Conv2d(12, 12, 3, stride=1, padding=1),
            nn.BatchNorm2d(12, 0.8), nn.LeakyReLU(0.2, inplace=True), nn.Upsample(scale_factor=2),
            nn.Conv2d(12, 10, 3, stride=1, padding=1), nn.BatchNorm2d(10, 0.8),
            nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(10, 3, 3, stride=1, padding=1), nn.Tanh(),
        )  # fmt: skip
        self.apply(self.weights_init_normal)

    @staticmethod
    def weights_init_normal(m: nn.Module) -> None:
        classname = m.__class__.__name__
        if classname.find("Conv") != -1:
            torch.nn.init.normal_(m.weight.data, 0.0, 0.02)
        elif classname.find("BatchNorm2d") != -1:
            torch.nn.init.normal_(m.weight.data, 1.0, 0.02)
            torch.nn.init.constant_(m.bias.data, 0.0)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        gen_input = torch.mul(self.label_emb(labels), noise)
        out = self.l1(gen_input)
        out = out.view(out.shape[0], 12, self.init_size, self.init_size)
        return self.conv_blocks(out)


class CodesCritic(nn.Module):
    """A critic that also tells a class and a continuous code, over features of lists of arguments."""

    def __init__(self, img_size: int = 24) -> None:
        super().__init__()

        def block(in_filters: int, out_filters: int, bn: bool = True) -> list[nn.Module]:
            layers = [
                nn.Conv2d(in_filters, out_filters, 3, 2, 1),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Dropout2d(0.25),
            ]
            if bn:
                layers.append(nn.BatchNorm2d(out_filters, 0.8))
            return layers

        self.conv_blocks = nn.Sequential(*block(3, 8, bn=False), *block(8, 12), *block(12, 16))
        ds = img_size // 2**3
        self.adv_layer = nn.Sequential(nn.Linear(16 * ds**2, 1))
        self.aux_layer = nn.Sequential(nn.Linear(16 * ds**2, 4), nn.Softmax(dim=1))
        self.latent_layer = nn.Sequential(nn.Linear(16 * ds**2, 2))

    def forward(self, img: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = self.conv_blocks(img)
        out = out.view(out.shape[0], -1)
        return self.adv_layer(out), self.aux_layer(out), self.latent_layer(out)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "vanilla_vae_lists": lambda: (VanillaVAE(), torch.nn.functional.interpolate(SMALL_IMAGES, 16)),
    "learned_compression": lambda: (LearnedCompression(), SMALL_IMAGES),
    "labelled_generator": lambda: (LabelledGenerator(), CODES),
    "codes_critic": lambda: (CodesCritic(), SMALL_IMAGES),
}

"""Networks of the zoo for agents, eleventh sample: denoised and chunked actions, twin, batched and distilled critics."""

# ruff: noqa: B905, RUF007 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eleventh.inputs import ACTIONS, INPUTS, STATES


class DiffusionPolicy(nn.Module):
    """A denoiser of action sequences: a U-Net in one dimension, conditioned by scale and bias of time and sight."""

    class Residual(nn.Module):
        def __init__(self, i: int, o: int, cond: int) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([self.block(i, o), self.block(o, o)])
            self.out_channels = o
            self.cond_encoder = nn.Sequential(
                nn.Mish(), nn.Linear(cond, o * 2), nn.Unflatten(-1, (-1, 1))
            )
            self.residual_conv = nn.Conv1d(i, o, 1) if i != o else nn.Identity()

        @staticmethod
        def block(i: int, o: int) -> nn.Module:
            return nn.Sequential(nn.Conv1d(i, o, 3, padding=1), nn.GroupNorm(2, o), nn.Mish())

        def forward(self, x: Tensor, cond: Tensor) -> Tensor:
            out = self.blocks[0](x)
            embed = self.cond_encoder(cond).reshape(x.shape[0], 2, self.out_channels, 1)
            scale, bias = embed[:, 0, ...], embed[:, 1, ...]
            return self.blocks[1](scale * out + bias) + self.residual_conv(x)

    class SinusoidalPosEmb(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.dim = dim

        def forward(self, x: Tensor) -> Tensor:
            half = self.dim // 2
            emb = torch.exp(torch.arange(half, device=x.device) * -(math.log(10000) / (half - 1)))
            emb = x[:, None] * emb[None, :]
            return torch.cat((emb.sin(), emb.cos()), dim=-1)

    def __init__(
        self, a: int = 4, dims: tuple[int, ...] = (8, 12), step: int = 8, obs: int = 6
    ) -> None:
        super().__init__()
        all_dims, cond = [a, *dims], step + obs
        self.step_encoder = nn.Sequential(
            self.SinusoidalPosEmb(step),
            nn.Linear(step, step * 4),
            nn.Mish(),
            nn.Linear(step * 4, step),
        )
        in_out = list(zip(all_dims[:-1], all_dims[1:]))
        self.mid_modules = nn.ModuleList(
            [self.Residual(dims[-1], dims[-1], cond) for _ in range(2)]
        )
        self.down_modules, self.up_modules = nn.ModuleList([]), nn.ModuleList([])
        for ind, (i, o) in enumerate(in_out):
            is_last = ind >= len(in_out) - 1
            down = nn.Identity() if is_last else nn.Conv1d(o, o, 3, 2, 1)
            self.down_modules.append(
                nn.ModuleList([self.Residual(i, o, cond), self.Residual(o, o, cond), down])
            )
        for i, o in reversed(in_out[1:]):
            up = nn.ConvTranspose1d(i, i, 4, 2, 1)
            self.up_modules.append(
                nn.ModuleList([self.Residual(o * 2, i, cond), self.Residual(i, i, cond), up])
            )
        self.final_conv = nn.Sequential(
            self.Residual.block(dims[0], dims[0]), nn.Conv1d(dims[0], a, 1)
        )

    def forward(self, sample: Tensor, timestep: Tensor, global_cond: Tensor) -> Tensor:
        x = sample.moveaxis(-1, -2)
        timesteps = timestep.expand(x.shape[0]).to(x.dtype)
        feature = torch.cat([self.step_encoder(timesteps).to(x.dtype), global_cond], axis=-1)
        h = []
        for resnet, resnet2, down in self.down_modules:
            x = resnet2(resnet(x, feature), feature)
            h.append(x)
            x = down(x)
        for mid in self.mid_modules:
            x = mid(x, feature)
        for resnet, resnet2, up in self.up_modules:
            x = torch.cat((x, h.pop()), dim=1)
            x = up(resnet2(resnet(x, feature), feature))
        return self.final_conv(x).moveaxis(-1, -2)


class ActionChunks(nn.Module):
    """Actions in chunks by a transformer with a latent of style: encoded in training, zeros afterwards."""

    def __init__(self, d: int = 12, latent: int = 4) -> None:
        super().__init__()
        self.cls_embed, self.latent_dim = nn.Embedding(1, d), latent
        self.encoder_action_proj, self.encoder_joint_proj = nn.Linear(4, d), nn.Linear(6, d)
        self.encoder = nn.TransformerEncoderLayer(d, 2, 20, 0.0, batch_first=True)
        self.latent_proj, self.latent_out_proj = nn.Linear(d, latent * 2), nn.Linear(latent, d)
        self.robot_proj, self.query_embed = nn.Linear(6, d), nn.Embedding(8, d)
        self.pos_embed = nn.Embedding(2, d)
        self.transformer = nn.Transformer(d, 2, 1, 1, 20, 0.0, batch_first=True)
        self.action_head, self.is_pad_head = nn.Linear(d, 4), nn.Linear(d, 1)

    def forward(self, actions: Tensor, _: Tensor, qpos: Tensor) -> Any:
        bs = qpos.shape[0]
        if self.training:
            tokens = [
                self.cls_embed.weight.unsqueeze(0).repeat(bs, 1, 1),
                self.encoder_joint_proj(qpos).unsqueeze(1),
            ]
            x = self.encoder(torch.cat([*tokens, self.encoder_action_proj(actions)], axis=1))
            info = self.latent_proj(x[:, 0])
            mu, logvar = info[:, : self.latent_dim], info[:, self.latent_dim :]
            z = mu + logvar.div(2).exp() * torch.randn_like(mu)
        else:
            mu = logvar = None
            z = torch.zeros([bs, self.latent_dim], dtype=qpos.dtype).to(qpos.device)
        src = torch.stack([self.latent_out_proj(z), self.robot_proj(qpos)], axis=1)
        hs = self.transformer(
            src + self.pos_embed.weight, self.query_embed.weight.unsqueeze(0).repeat(bs, 1, 1)
        )
        return self.action_head(hs), self.is_pad_head(hs), (mu, logvar)


class SimpleBias(nn.Module):
    """Twin critics over residual blocks with inputs normalised by running statistics; the lower of both."""

    class RunningNorm(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(n))
            self.register_buffer("var", torch.ones(n))
            self.register_buffer("count", torch.tensor(1e-4))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                with torch.no_grad():
                    m, v, n = x.mean(0), x.var(0, unbiased=False), x.shape[0]
                    delta, total = m - self.mean, self.count + n
                    self.mean += delta * n / total
                    self.var.copy_(
                        (self.var * self.count + v * n + delta**2 * self.count * n / total) / total
                    )
                    self.count.add_(n)
            return (x - self.mean) / torch.sqrt(self.var + 1e-5)

    class Block(nn.Module):
        def __init__(self, h: int) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.LayerNorm(h), nn.Linear(h, 4 * h), nn.ReLU(), nn.Linear(4 * h, h)
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.net(x)

    def __init__(self, s: int = 6, a: int = 2, h: int = 10) -> None:
        super().__init__()
        self.rsnorm = self.RunningNorm(s)
        self.qs = nn.ModuleList(
            nn.Sequential(
                nn.Linear(s + a, h), self.Block(h), self.Block(h), nn.LayerNorm(h), nn.Linear(h, 1)
            )
            for _ in "12"
        )

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        x = torch.cat([self.rsnorm(obs), act], -1)
        return torch.min(*(q(x) for q in self.qs)).squeeze(-1)


class RandomEnsemble(nn.Module):
    """Critics as one by batched products; a random few would be taken in training, the mean of all is given."""

    class EnsembleFC(nn.Module):
        def __init__(self, i: int, o: int, n: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.Tensor(n, i, o).uniform_(-0.4, 0.4))
            self.bias = nn.Parameter(torch.Tensor(n, o).zero_())

        def forward(self, x: Tensor) -> Tensor:
            return torch.add(torch.bmm(x, self.weight), self.bias[:, None, :])

    def __init__(self, n: int = 3, s: int = 6, a: int = 2, h: int = 12) -> None:
        super().__init__()
        self.n = n
        self.nn1, self.nn2, self.out = (
            self.EnsembleFC(s + a, h, n),
            self.EnsembleFC(h, h, n),
            self.EnsembleFC(h, 2, n),
        )
        self.max_logvar = nn.Parameter(torch.ones(1, 1, 1) / 2)
        self.min_logvar = nn.Parameter(-torch.ones(1, 1, 1) * 10)

    def forward(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([obs, act], -1)[None].repeat([self.n, 1, 1])
        out = self.out(F.silu(self.nn2(F.silu(self.nn1(x)))))
        mean, logvar = out[..., :1], out[..., 1:]
        logvar = self.max_logvar - F.softplus(self.max_logvar - logvar)
        logvar = self.min_logvar + F.softplus(logvar - self.min_logvar)
        return mean.mean(0).squeeze(-1), torch.exp(logvar).mean(0).squeeze(-1)


class Distillation(nn.Module):
    """A network learns what a random frozen one gives; how far it is off is the reward."""

    def __init__(self, i: int = 6) -> None:
        super().__init__()
        self.predictor = nn.Sequential(
            *(nn.Linear(i, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8)),
        )
        self.target = nn.Sequential(nn.Linear(i, 12), nn.LeakyReLU(), nn.Linear(12, 8))
        for param in self.target.parameters():
            param.requires_grad = False

    def forward(self, next_obs: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.target(next_obs)
        return (self.predictor(next_obs) - target).pow(2).sum(1) / 2


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "diffusion_policy": lambda: (DiffusionPolicy(), ACTIONS),
    "action_chunks": lambda: (ActionChunks(), ACTIONS),
    "twin_running_norms": lambda: (SimpleBias(), STATES),
    "batched_critics": lambda: (RandomEnsemble(), STATES),
    "random_distillation": lambda: (Distillation(), INPUTS.numbers),
}

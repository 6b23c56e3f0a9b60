"""Agents of the zoo, thirteenth sample: simplices of latents, renormalised critics, states that end, quantiles, a ball."""

# ruff: noqa: B905, N806 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import ACTIONS, INPUTS, ROLLOUT, STATES


def symlog(x: Tensor) -> Tensor:
    """Returns logarithms on both sides of zero."""
    return torch.sign(x) * torch.log(1 + torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """Returns what undoes symlog."""
    return torch.sign(x) * (torch.exp(torch.abs(x)) - 1)


class NormedLinear(nn.Linear):
    """A linear layer with dropout, norm and activation within."""

    def __init__(self, *args: Any, dropout: float = 0.0, act: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ln, self.act = nn.LayerNorm(self.out_features), nn.Mish() if act is None else act
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        if self.dropout:
            x = self.dropout(x)
        return self.act(self.ln(x))


class SimNorm(nn.Module):
    """Channels in groups, each a simplex."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        shp = x.shape
        x = x.view(*shp[:-1], -1, self.dim)
        return F.softmax(x, dim=-1).view(*shp)


def mlp(i: int, hidden: list[int], o: int, act: Any = None, dropout: float = 0.0) -> nn.Sequential:
    """Returns normed layers and a last one, plain unless an activation is given."""
    dims, layers = [i, *hidden, o], nn.ModuleList()
    for k in range(len(dims) - 2):
        layers.append(NormedLinear(dims[k], dims[k + 1], dropout=dropout * (k == 0)))
    layers.append(
        NormedLinear(dims[-2], dims[-1], act=act) if act else nn.Linear(dims[-2], dims[-1])
    )
    return nn.Sequential(*layers)


class LatentPlanner(nn.Module):
    """A world of simplices that is rolled on by actions, with rewards and values over bins of a two-sided logarithm."""

    def __init__(self, latent: int = 16, horizon: int = 2, bins: int = 9) -> None:
        super().__init__()
        self._encoder = mlp(6, [20], latent, act=SimNorm(4))
        self._dynamics = mlp(latent + 2, [18], latent, act=SimNorm(4))
        self._reward = mlp(latent + 2, [14], bins)
        self._Qs = nn.ModuleList([mlp(latent + 2, [16], bins, dropout=0.01) for _ in range(3)])
        self._pi, self.horizon = mlp(latent, [14], 4), horizon
        self.register_buffer("bins", torch.linspace(-3, 3, bins))
        self.register_buffer("log_std_min", torch.tensor(-10.0))
        self.register_buffer("log_std_dif", torch.tensor(2.0) - self.log_std_min)

    def two_hot_inv(self, x: Tensor) -> Tensor:
        x = F.softmax(x, dim=-1)
        return symexp(torch.sum(x * self.bins, dim=-1, keepdim=True))

    def pi(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self._pi(z).chunk(2, dim=-1)
        log_std = self.log_std_min + 0.5 * self.log_std_dif * (torch.tanh(log_std) + 1)
        eps = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return torch.tanh(mean + eps * log_std.exp()), log_std

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        z, G, discount = self._encoder(symlog(obs)), 0, 1
        for _ in range(self.horizon):
            za = torch.cat([z, action], dim=-1)
            G = G + discount * self.two_hot_inv(self._reward(za))
            z = self._dynamics(za)
            discount *= 0.99
            action, _ = self.pi(z)
        za = torch.cat([z, action], dim=-1)
        out = torch.stack([q(za) for q in self._Qs])
        qidx = torch.randperm(3)[:2] if self.training else torch.arange(2)
        Q = self.two_hot_inv(out[qidx])
        return G + discount * Q.min(0).values, out.transpose(0, 1)


class BatchRenorm(nn.Module):
    """Batch normalisation that is corrected towards its running statistics, within bounds that open with its steps."""

    def __init__(self, n: int, momentum: float = 0.05, warmup: int = 3) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_std", torch.ones(n))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))
        self.weight, self.bias = nn.Parameter(torch.ones(n)), nn.Parameter(torch.zeros(n))
        self.eps, self.momentum, self.warmup = 1e-3, momentum, warmup

    @property
    def rmax(self) -> Tensor:
        return (2 / 35 * self.num_batches_tracked + 25 / 35).clamp_(1.0, 3.0)

    @property
    def dmax(self) -> Tensor:
        return (5 / 20 * self.num_batches_tracked - 0.2).clamp_(0.0, 5.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            dims = [i for i in range(x.dim() - 1)]  # noqa: C416
            batch_mean, batch_std = x.mean(dims), x.std(dims, unbiased=False) + self.eps
            r = (batch_std.detach() / self.running_std.view_as(batch_std)).clamp_(
                1 / self.rmax, self.rmax
            )
            d = (
                (batch_mean.detach() - self.running_mean.view_as(batch_mean)) / self.running_std
            ).clamp_(-self.dmax, self.dmax)
            x = (x - batch_mean) / batch_std * r + d
            self.running_mean += self.momentum * (batch_mean.detach() - self.running_mean)
            self.running_std += self.momentum * (batch_std.detach() - self.running_std)
            self.num_batches_tracked += 1
        else:
            x = (x - self.running_mean) / self.running_std
        return self.weight * x + self.bias


class RenormalisedCritic(nn.Module):
    """Critics over states and actions with renormalised batches; the state goes through running moments first."""

    class RunningMoments(nn.Module):
        def __init__(self, shape: int) -> None:
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(shape), requires_grad=False)
            self.mean_sq = nn.Parameter(torch.ones(shape), requires_grad=False)
            self.debiasing_term = nn.Parameter(torch.tensor(1e-3), requires_grad=False)

        @torch.no_grad()
        def update(self, x: Tensor, beta: float = 0.9) -> None:
            self.mean.mul_(beta).add_(x.mean(0) * (1.0 - beta))
            self.mean_sq.mul_(beta).add_((x**2).mean(0) * (1.0 - beta))
            self.debiasing_term.mul_(beta).add_(1.0 * (1.0 - beta))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.update(x)
            mean = self.mean / self.debiasing_term.clamp(min=1e-5)
            var = (self.mean_sq / self.debiasing_term.clamp(min=1e-5) - mean**2).clamp(min=1e-2)
            return (x - mean) / torch.sqrt(var)

    def __init__(self, hidden: int = 18) -> None:
        super().__init__()
        self.norm = self.RunningMoments(6)
        self.qf1, self.qf2 = (
            nn.Sequential(
                BatchRenorm(8),
                nn.Linear(8, hidden),
                nn.ReLU(),
                BatchRenorm(hidden),
                nn.Linear(hidden, 1),
            )
            for _ in range(2)
        )

    def forward(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        xu = torch.cat([self.norm(state), action], 1)
        return self.qf1(xu), self.qf2(xu)


def layer_init(layer: nn.Module, std: float = np.sqrt(2), bias_const: float = 0.0) -> nn.Module:
    """Returns a layer with orthogonal weights and a constant bias."""
    nn.init.orthogonal_(layer.weight, std)
    nn.init.constant_(layer.bias, bias_const)
    return layer


class EndingStates(nn.Module):
    """A recurrent policy whose state is cut where an episode ended, stepped over time in a loop of calls of an LSTM."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.network = nn.Sequential(
            layer_init(nn.Linear(6, 20)), nn.Tanh(), layer_init(nn.Linear(20, 14)), nn.ReLU()
        )
        self.lstm = nn.LSTM(14, hidden)
        for name, param in self.lstm.named_parameters():
            if "bias" in name:
                nn.init.constant_(param, 0)
            elif "weight" in name:
                nn.init.orthogonal_(param, 1.0)
        self.actor, self.critic = (
            layer_init(nn.Linear(hidden, 3), std=0.01),
            layer_init(nn.Linear(hidden, 1), std=1),
        )

    def get_states(self, x: Tensor, lstm_state: Any, done: Tensor) -> tuple[Tensor, Any]:
        hidden = self.network(x)
        batch_size = lstm_state[0].shape[1]
        hidden = hidden.reshape((-1, batch_size, self.lstm.input_size))
        done = done.reshape((-1, batch_size))
        new_hidden = []
        for h, d in zip(hidden, done):
            h, lstm_state = self.lstm(
                h.unsqueeze(0),
                (
                    (1.0 - d).view(1, -1, 1) * lstm_state[0],
                    (1.0 - d).view(1, -1, 1) * lstm_state[1],
                ),
            )
            new_hidden += [h]
        return torch.flatten(torch.cat(new_hidden), 0, 1), lstm_state

    def forward(self, obs: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        x, done = obs.transpose(0, 1), done.transpose(0, 1)
        zeros = torch.zeros(self.lstm.num_layers, x.shape[1], self.lstm.hidden_size).to(x)
        new_hidden, _ = self.get_states(x, (zeros, zeros.clone()), done)
        logits = self.actor(new_hidden).view(x.shape[0], x.shape[1], -1).transpose(0, 1)
        return logits, self.critic(new_hidden).view(x.shape[0], x.shape[1]).t()


class QuantileAgent(nn.Module):
    """Returns at fractions that are drawn in training and spread evenly afterwards, by cosines."""

    def __init__(self, n: int = 4, embed: int = 8, actions: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 14), nn.ReLU())
        self.cosine_net, self.N = nn.Sequential(nn.Linear(embed, 14), nn.ReLU()), n
        self.fraction_net, self.q_net = (
            nn.Linear(14, n),
            nn.Sequential(nn.Linear(14, 16), nn.ReLU(), nn.Linear(16, actions)),
        )
        self.embed, self.grad_scale = embed, 0.5

    def forward(self, state: Tensor) -> dict[str, Tensor]:
        feats = self.features(state)
        if feats.requires_grad:
            feats.register_hook(lambda grad: grad * self.grad_scale)
        bs = feats.shape[0]
        if self.training:
            taus = torch.rand(bs, self.N, dtype=feats.dtype, device=feats.device)
        else:
            taus = (torch.arange(self.N, dtype=feats.dtype) + 0.5).div_(self.N).expand(bs, -1)
        i_pi = np.pi * torch.arange(start=1, end=self.embed + 1, dtype=taus.dtype).view(
            1, 1, self.embed
        )
        cosines = torch.cos(taus.view(bs, self.N, 1) * i_pi).view(bs * self.N, self.embed)
        tau_embeddings = self.cosine_net(cosines).view(bs, self.N, -1)
        z = (feats.view(bs, 1, -1) * tau_embeddings).view(bs * self.N, -1)
        quantiles = self.q_net(z).view(bs, self.N, -1)
        return {"q": quantiles.mean(dim=1), "quantiles": quantiles, "taus": taus}


class HyperbolicPolicy(nn.Module):
    """A policy whose last features lie in a ball of negative curvature: exponential map, products and sums of Möbius."""

    class HypLinear(nn.Module):
        def __init__(self, i: int, o: int, c: float) -> None:
            super().__init__()
            self.c, self.weight = c, nn.Parameter(torch.randn(o, i) * 0.3)
            self.bias = nn.Parameter(torch.zeros(o))

        def forward(self, x: Tensor) -> Tensor:
            sqrt_c = self.c**0.5
            x_norm = x.norm(dim=-1, keepdim=True, p=2).clamp_min(1e-7)
            mx = x @ self.weight.transpose(-1, -2)
            mx_norm = mx.norm(dim=-1, keepdim=True, p=2).clamp_min(1e-7)
            t = torch.tanh(mx_norm / x_norm * torch.atanh((sqrt_c * x_norm).clamp(max=1 - 1e-5)))
            return self.mobius_add(t * mx / (mx_norm * sqrt_c), self.expmap0(self.bias, self.c))

        @staticmethod
        def expmap0(u: Tensor, c: float) -> Tensor:
            u_norm = u.norm(dim=-1, p=2, keepdim=True).clamp_min(1e-5)
            return torch.tanh(c**0.5 * u_norm) * u / (c**0.5 * u_norm)

        def mobius_add(self, x: Tensor, y: Tensor) -> Tensor:
            x2, y2 = x.pow(2).sum(-1, keepdim=True), y.pow(2).sum(dim=-1, keepdim=True)
            xy = (x * y).sum(dim=-1, keepdim=True)
            num = (1 + 2 * self.c * xy + self.c * y2) * x + (1 - self.c * x2) * y
            return num / (1 + 2 * self.c * xy + self.c**2 * x2 * y2 + 1e-5)

    def __init__(self, c: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 10))
        self.hyp1, self.hyp2, self.c = self.HypLinear(10, 8, c), self.HypLinear(8, 3, c), c

    def forward(self, x: Tensor) -> Tensor:
        z = self.HypLinear.expmap0(self.body(x), self.c)
        z = self.hyp2(self.hyp1(z))
        norm = z.norm(dim=-1, keepdim=True).clamp(1e-7, 1 - 1e-4)
        return z / norm * torch.atanh(norm)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "latent_planner": lambda: (LatentPlanner(), (STATES, ACTIONS)),
    "renormalised_critic": lambda: (RenormalisedCritic(), (STATES, ACTIONS)),
    "ending_states": lambda: (EndingStates(), ROLLOUT),
    "quantile_agent": lambda: (QuantileAgent(), INPUTS.numbers),
    "hyperbolic_policy": lambda: (HyperbolicPolicy(), STATES),
}

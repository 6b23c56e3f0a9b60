"""Networks of the zoo that act, fourteenth sample: masked choices, actions near the data, values as distributions."""

# ruff: noqa: B905, N806 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import (
    ACTION_MASKS,
    INPUTS,
    STATE_ACTIONS,
)


class MlpExtractor(nn.Module):
    """Two perceptrons, one for the policy and one for the value."""

    def __init__(
        self, feature_dim: int, net_arch: dict[str, list[int]], activation_fn: type[nn.Module]
    ) -> None:
        super().__init__()
        nets: dict[str, nn.Sequential] = {}
        for which in ("pi", "vf"):
            net, last = [], feature_dim
            for curr in net_arch[which]:
                net += [nn.Linear(last, curr), activation_fn()]
                last = curr
            nets[which] = nn.Sequential(*net)
        self.policy_net, self.value_net = nets["pi"], nets["vf"]
        self.latent_dim_pi, self.latent_dim_vf = net_arch["pi"][-1], net_arch["vf"][-1]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.policy_net(features), self.value_net(features)


class MaskablePolicy(nn.Module):
    """A policy over several discrete actions whose logits are masked; probabilities, entropy and value."""

    def __init__(self, nvec: tuple[int, ...] = (4, 3), ortho_init: bool = True) -> None:
        super().__init__()
        self.features_extractor, self.nvec = nn.Flatten(), list(nvec)
        self.mlp_extractor = MlpExtractor(6, {"pi": [16, 12], "vf": [18, 10]}, nn.Tanh)
        self.action_net = nn.Linear(self.mlp_extractor.latent_dim_pi, sum(nvec))
        self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, 1)
        if ortho_init:
            gains = {self.mlp_extractor: np.sqrt(2), self.action_net: 0.01, self.value_net: 1}
            for module, gain in gains.items():
                module.apply(partial(self.init_weights, gain=gain))

    @staticmethod
    def init_weights(module: nn.Module, gain: float = 1) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.orthogonal_(module.weight, gain=gain)
            if module.bias is not None:
                module.bias.data.fill_(0.0)

    def forward(self, obs: Tensor, action_masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        latent_pi, latent_vf = self.mlp_extractor(self.features_extractor(obs))
        logits = torch.split(self.action_net(latent_pi), self.nvec, dim=1)
        masks = torch.split(action_masks, self.nvec, dim=1)
        HUGE_NEG = torch.tensor(-1e8, dtype=obs.dtype, device=obs.device)
        probs, entropy = [], []
        for logit, mask in zip(logits, masks):
            logit = torch.where(mask, logit, HUGE_NEG)
            logit = logit - logit.logsumexp(dim=-1, keepdim=True)
            p = F.softmax(logit, dim=-1)
            p_log_p = torch.where(mask, logit * p, torch.tensor(0.0, dtype=obs.dtype))
            probs.append(p)
            entropy.append(-p_log_p.sum(-1))
        return (
            torch.cat(probs, 1),
            torch.stack(entropy, dim=1).sum(dim=1),
            self.value_net(latent_vf).flatten(),
        )


class PerturbedActions(nn.Module):
    """An actor near the data: a decoder of actions, perturbed a little, and the softer of two critics' minimum and maximum."""

    def __init__(
        self, state_dim: int = 6, action_dim: int = 2, max_action: float = 1.0, phi: float = 0.05
    ) -> None:
        super().__init__()
        self.e1, self.e2 = nn.Linear(state_dim + action_dim, 18), nn.Linear(18, 16)
        self.mean, self.log_std = nn.Linear(16, 4), nn.Linear(16, 4)
        self.d1, self.d2 = nn.Linear(state_dim + 4, 16), nn.Linear(16, action_dim)
        self.l1, self.l2 = nn.Linear(state_dim + action_dim, 14), nn.Linear(14, action_dim)
        self.qs = nn.ModuleList(
            [nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)) for _ in range(2)]
        )
        self.max_action, self.phi = max_action, phi

    def forward(self, state: Tensor, action: Tensor) -> dict[str, Tensor]:
        z = F.relu(self.e2(F.relu(self.e1(torch.cat([state, action], 1)))))
        mean, std = self.mean(z), torch.exp(self.log_std(z).clamp(-4, 15))
        z = mean + std * torch.randn_like(std) if self.training else mean
        u = self.max_action * torch.tanh(
            self.d2(F.relu(self.d1(torch.cat([state, z.clamp(-0.5, 0.5)], 1))))
        )
        a = self.l2(F.relu(self.l1(torch.cat([state, u], 1))))
        a = (u + self.phi * self.max_action * torch.tanh(a)).clamp(
            -self.max_action, self.max_action
        )
        q1, q2 = (q(torch.cat([state, a], 1)) for q in self.qs)
        return {
            "action": a,
            "q": 0.75 * torch.min(q1, q2) + 0.25 * torch.max(q1, q2),
            "mean": mean,
            "std": std,
        }


class Categorical51(nn.Module):
    """Noise-free distributional values: a dueling net of atoms, and the action of the largest expectation's own value."""

    def __init__(
        self, n_actions: int = 3, n_atoms: int = 11, v_min: float = -5, v_max: float = 5
    ) -> None:
        super().__init__()
        self.n, self.n_atoms = n_actions, n_atoms
        self.register_buffer("atoms", torch.linspace(v_min, v_max, steps=n_atoms))
        self.network = nn.Sequential(
            nn.Linear(np.array((6,)).prod(), 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU()
        )
        self.adv, self.val = nn.Linear(16, n_actions * n_atoms), nn.Linear(16, n_atoms)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.network(x)
        adv, val = (
            self.adv(h).view(len(x), self.n, self.n_atoms),
            self.val(h).view(len(x), 1, self.n_atoms),
        )
        pmfs = torch.softmax(val + adv - adv.mean(1, keepdim=True), dim=2)
        q_values = (pmfs * self.atoms).sum(2)
        action = torch.argmax(q_values, 1)
        return q_values, pmfs[torch.arange(len(x)), action]


class FramesAgent(nn.Module):
    """Frames of bytes over 255, a recurrence with a state for each row made anew, and values relative to their maximum."""

    def __init__(self, n_actions: int = 4) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(8, 12, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            n_flatten = self.network(torch.zeros(1, 3, 32, 32)).shape[1]
        self.linear, self.lstm = nn.Linear(n_flatten, 18), nn.LSTMCell(18, 14)
        for name, param in self.lstm.named_parameters():
            if "bias" in name:
                nn.init.constant_(param, 0)
            elif "weight" in name:
                nn.init.orthogonal_(param, 1.0)
        self.advantage, self.value = nn.Linear(14, n_actions), nn.Linear(14, 1)

    def get_initial_state(self, batch_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (batch_size, self.lstm.hidden_size)
        return torch.zeros(*shape).to(like), torch.zeros(*shape).to(like)

    def forward(self, frames: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden = F.relu(self.linear(self.network(frames / 255.0)))
        state = self.get_initial_state(frames.size(0), hidden)
        for _ in range(2):
            state = self.lstm(hidden, state)
        advantage = self.advantage(state[0])
        q = self.value(state[0]) + advantage - advantage.max(dim=1, keepdim=True)[0]
        return q, state


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "maskable_policy": lambda: (MaskablePolicy(), ACTION_MASKS),
    "perturbed_actions": lambda: (PerturbedActions(), STATE_ACTIONS),
    "frames_agent": lambda: (FramesAgent(), INPUTS.images * 255),
    "categorical_51": lambda: (Categorical51(), INPUTS.numbers),
}

"""Networks of the zoo that play, fifth sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fifth.rows import NODES, ROWS, SCREENS


class Impala(nn.Module):
    """Residual blocks behind pools, screens divided by 255, a policy and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.seqs, c = nn.ModuleList(), 3
        for o in (8, 10):
            self.seqs.append(
                nn.ModuleDict(
                    {
                        "conv": nn.Conv2d(c, o, 3, padding=1),
                        "r0": nn.Conv2d(o, o, 3, padding=1),
                        "r1": nn.Conv2d(o, o, 3, padding=1),
                    }
                )
            )
            c = o
        self.fc, self.actor, self.critic = (
            nn.Linear(10 * 4 * 4, 12),
            nn.Linear(12, 4),
            nn.Linear(12, 1),
        )
        nn.init.orthogonal_(self.actor.weight, 0.01)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        x = obs / 255.0
        for seq in self.seqs:
            x = F.max_pool2d(seq["conv"](x), kernel_size=3, stride=2, padding=1)
            inputs = x
            x = seq["r1"](F.relu(seq["r0"](F.relu(x)))) + inputs
        hidden = F.relu(self.fc(torch.relu(torch.flatten(x, start_dim=1))))
        return self.actor(hidden), self.critic(hidden)


class QMix(nn.Module):
    """Agents' values mixed by a network whose weights another network makes of the state, made positive."""

    def __init__(self, agents: int = 3, state: int = 6, embed: int = 7) -> None:
        super().__init__()
        self.n_agents, self.embed_dim = agents, embed
        self.fc1, self.rnn, self.fc2 = nn.Linear(5, 10), nn.GRUCell(10, 8), nn.Linear(8, 4)
        self.hyper_w_1, self.hyper_w_final = (
            nn.Linear(state, embed * agents),
            nn.Sequential(nn.Linear(state, 9), nn.ReLU(), nn.Linear(9, embed)),
        )
        self.hyper_b_1, self.V = (
            nn.Linear(state, embed),
            nn.Sequential(nn.Linear(state, embed), nn.ReLU(), nn.Linear(embed, 1)),
        )

    def forward(self, obs: Tensor, states: Tensor) -> Tensor:
        bs = obs.size(0)
        x = F.relu(self.fc1(obs[:, : self.n_agents].reshape(-1, 5)))
        h = self.rnn(x, x.new_zeros(x.size(0), 8))
        agent_qs = self.fc2(h).max(dim=-1)[0].view(-1, 1, self.n_agents)
        w1 = torch.abs(self.hyper_w_1(states)).view(-1, self.n_agents, self.embed_dim)
        b1 = self.hyper_b_1(states).view(-1, 1, self.embed_dim)
        hidden = F.elu(torch.bmm(agent_qs, w1) + b1)
        w_final = torch.abs(self.hyper_w_final(states)).view(-1, self.embed_dim, 1)
        return (torch.bmm(hidden, w_final) + self.V(states).view(-1, 1, 1)).view(bs, -1, 1)


class MuZero(nn.Module):
    """A state rescaled between its least and its greatest value, moved by an action written as a one-hot row."""

    def __init__(self, enc: int = 8, actions: int = 3) -> None:
        super().__init__()
        self.actions, self.support = actions, 5
        self.representation, self.dynamics = (
            nn.Sequential(nn.Linear(6, 14), nn.ELU(), nn.Linear(14, enc)),
            nn.Sequential(nn.Linear(enc + actions, 13), nn.ELU(), nn.Linear(13, enc)),
        )
        self.reward, self.policy, self.value = (
            nn.Linear(enc, 5),
            nn.Linear(enc, actions),
            nn.Sequential(nn.Linear(enc, 9), nn.ELU(), nn.Linear(9, 5)),
        )

    def scale(self, s: Tensor) -> Tensor:
        lo, hi = s.min(1, keepdim=True)[0], s.max(1, keepdim=True)[0]
        span = hi - lo
        span[span < 1e-5] += 1e-5
        return (s - lo) / span

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s = self.scale(self.representation(obs.view(obs.shape[0], -1)))
        action = self.policy(s).argmax(1, keepdim=True)
        one_hot = torch.zeros((action.shape[0], self.actions), dtype=s.dtype).scatter_(
            1, action, 1.0
        )
        s = self.scale(self.dynamics(torch.cat((s, one_hot), dim=1)))
        support = torch.tensor(list(range(-2, 3))).expand(s.shape[0], 5).to(s.dtype)
        value = torch.sum(support * torch.softmax(self.value(s), dim=1), dim=1, keepdim=True)
        value = torch.sign(value) * (
            ((torch.sqrt(1 + 4 * 0.001 * (torch.abs(value) + 1 + 0.001)) - 1) / (2 * 0.001)) ** 2
            - 1
        )
        return self.policy(s), value, self.reward(s)


class TwinCritic(nn.Module):
    """Two critics of a state and an action, and the smaller of them."""

    def __init__(self) -> None:
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(8, 14), nn.Linear(14, 12), nn.Linear(12, 1)
        self.l4, self.l5, self.l6 = nn.Linear(8, 14), nn.Linear(14, 12), nn.Linear(12, 1)

    def forward(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sa = torch.cat([state, action], 1)
        q1 = self.l3(F.relu(self.l2(F.relu(self.l1(sa)))))
        q2 = self.l6(F.relu(self.l5(F.relu(self.l4(sa)))))
        return q1, q2, torch.min(q1, q2)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "impala": lambda: (Impala(), SCREENS),
    "qmix": lambda: (QMix(), (NODES, ROWS[:2])),
    "muzero_scaled": lambda: (MuZero(), ROWS),
    "twin_critic": lambda: (TwinCritic(), (ROWS, ROWS[:, :2])),
}

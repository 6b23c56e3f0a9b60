"""Networks of the zoo over rows and baskets, and agents, tenth sample: trees, lattices, hashes, advantages, options."""

# ruff: noqa: B905, N806 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.tenth.inputs import AGENTS, BASKETS, GOALS, INPUTS


class DecisionForest(nn.Module):
    """Trees of soft decisions: each takes some features, routes by sigmoids, and leaves hold distributions."""

    class Tree(nn.Module):
        def __init__(self, feats: int, used: int, depth: int, classes: int) -> None:
            super().__init__()
            self.depth = depth
            onehot = torch.eye(feats)
            using = torch.randperm(feats, generator=torch.Generator().manual_seed(feats))[:used]
            self.register_buffer("feature_mask", onehot[using].T)
            self.decision = nn.Sequential(nn.Linear(used, 2**depth), nn.Sigmoid())
            self.pi = nn.Parameter(torch.rand(2**depth, classes))

        def forward(self, x: Tensor) -> Tensor:
            decision = self.decision(torch.mm(x, self.feature_mask)).unsqueeze(2)
            decision = torch.cat((decision, 1 - decision), dim=2)
            batch = x.size(0)
            mu = x.new_ones(batch, 1, 1)
            begin, end = 1, 2
            for layer in range(self.depth):
                mu = mu.view(batch, -1, 1).repeat(1, 1, 2)
                mu = mu * decision[:, begin:end, :]
                begin, end = end, end + 2 ** (layer + 1)
            return torch.mm(mu.view(batch, 2**self.depth), F.softmax(self.pi, dim=-1))

    def __init__(self, i: int = 6, h: int = 14, trees: int = 3) -> None:
        super().__init__()
        self.feature_layer = nn.Sequential(nn.Linear(i, h), nn.BatchNorm1d(h), nn.Hardtanh())
        self.trees = nn.ModuleList(self.Tree(h, 8, 3, 4) for _ in range(trees))

    def forward(self, x: Tensor) -> Tensor:
        feats = self.feature_layer(x)
        probs = torch.cat([tree(feats).unsqueeze(2) for tree in self.trees], dim=2)
        return torch.sum(probs, dim=2) / len(self.trees)


class Monotonic(nn.Module):
    """Rows whose outcome rises with some features: weights are positive by construction, others are convex in parts."""

    class PositiveLinear(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.log_weight = nn.Parameter(torch.empty(o, i))
            self.bias = nn.Parameter(torch.zeros(o))
            nn.init.xavier_uniform_(self.log_weight)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, F.softplus(self.log_weight), self.bias)

    def __init__(self, up: int = 2) -> None:
        super().__init__()
        self.up = up
        self.free = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 6))
        self.mono1, self.mono2 = self.PositiveLinear(up, 10), self.PositiveLinear(16, 8)
        self.wz = nn.Parameter(torch.rand(8, 8))
        self.wx = nn.Linear(6, 8)
        self.out = self.PositiveLinear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        rising, others = x.split([self.up, x.shape[-1] - self.up], dim=-1)
        h = torch.cat([torch.tanh(self.mono1(rising)), self.free(others)], dim=-1)
        z = F.softplus(self.mono2(h))
        z = F.celu(z @ self.wz.clamp(min=0).t() + self.wx(x))
        return self.out(z).squeeze(-1)


class ArithmeticUnits(nn.Module):
    """Units that add and multiply: weights driven to -1, 0 and 1, products through logarithms, gated."""

    def __init__(self, i: int = 6, h: int = 10) -> None:
        super().__init__()
        self.pre = nn.Linear(i, h)
        for name, o in (("1", h), ("2", 3)):
            for p in ("W_hat", "M_hat", "G"):
                self.register_parameter(f"{p}{name}", nn.Parameter(torch.randn(o, h) * 0.4))

    def unit(self, x: Tensor, name: str) -> Tensor:
        W = torch.tanh(getattr(self, "W_hat" + name)) * torch.sigmoid(getattr(self, "M_hat" + name))
        a = F.linear(x, W)
        g = torch.sigmoid(F.linear(x, getattr(self, "G" + name)))
        m = torch.exp(F.linear(torch.log(torch.abs(x) + 1e-3), W).clamp_max(8.0))
        return torch.lerp(m, a, g)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self.unit(self.pre(x), "1"), "2")


class StructuredLinear(nn.Module):
    """Layers whose matrices are products: of Kronecker, of circles by Fourier transforms, of blocks, of a low rank."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.ka, self.kb = nn.Parameter(torch.randn(4, 4) / 2), nn.Parameter(torch.randn(4, 4) / 2)
        self.circle = nn.Parameter(torch.randn(16) / 4)
        self.blocks = nn.Parameter(torch.randn(4, 4, 5) / 2)
        self.base = nn.Linear(20, 12)
        self.base.weight.requires_grad_(False)
        self.lora_a, self.lora_b = (
            nn.Parameter(torch.randn(2, 20)),
            nn.Parameter(torch.zeros(12, 2)),
        )
        self.magnitude = nn.Parameter(self.base.weight.norm(p=2, dim=1, keepdim=True))
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = F.relu(F.linear(x, torch.kron(self.ka, self.kb)))
        x = torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(self.circle), n=x.shape[-1])
        x = torch.einsum("bgi,gio->bgo", x.view(x.size(0), 4, -1), self.blocks).flatten(1)
        w = self.base.weight + self.lora_b @ self.lora_a
        w = self.magnitude * w / w.norm(p=2, dim=1, keepdim=True)
        return self.last(F.gelu(F.linear(x, w, self.base.bias)))


class HashedBaskets(nn.Module):
    """Ids by quotient and remainder, means over what is no padding, and two streams that meet in bilinear heads."""

    def __init__(self, d: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.q_emb, self.r_emb = nn.Embedding(8, d), nn.Embedding(5, d)
        self.user = nn.Embedding(40, d)
        self.gate1, self.gate2 = nn.Linear(d, 2 * d), nn.Linear(d, 2 * d)
        self.mlp1 = nn.Sequential(nn.Linear(2 * d, 16), nn.ReLU(), nn.Linear(16, 12))
        self.mlp2 = nn.Sequential(nn.Linear(2 * d, 14), nn.ReLU(), nn.Linear(14, 10))
        self.heads, self.w_x, self.w_y = heads, nn.Linear(12, 1), nn.Linear(10, 1)
        self.w_xy = nn.Parameter(torch.randn(heads * (12 // heads) * (10 // heads), 1) * 0.2)

    def forward(self, items: Tensor, user: Tensor) -> Tensor:
        mask = (items != 0).unsqueeze(-1)
        e = self.q_emb(torch.div(items, 5, rounding_mode="floor")) * self.r_emb(items % 5)
        basket = (e * mask).sum(1) / mask.sum(1).clamp(min=1)
        u = self.user(user)
        both = torch.cat([basket, u], dim=-1)
        x = self.mlp1(both * 2 * torch.sigmoid(self.gate1(u)))
        y = self.mlp2(both * 2 * torch.sigmoid(self.gate2(basket)))
        out = self.w_x(x) + self.w_y(y)
        hx, hy = x.view(-1, self.heads, 6), y.view(-1, self.heads, 5)
        xy = torch.matmul(hx.unsqueeze(3), hy.unsqueeze(2)).reshape(-1, self.w_xy.size(0))
        return (out + xy @ self.w_xy).squeeze(1)


class InformationTransfer(nn.Module):
    """Towers of a chain of events; each hands information to the next through attention of two."""

    def __init__(self, d: int = 6) -> None:
        super().__init__()
        self.embedding = nn.ModuleDict({f"f{i}": nn.Embedding(10, d) for i in range(5)})
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(5 * d, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 8))
            for _ in range(3)
        )
        self.info = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(2))
        self.h1, self.h2, self.h3 = (nn.Linear(8, 8, bias=False) for _ in range(3))
        self.gates = nn.ModuleList(nn.Linear(8, 1) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        e = torch.cat([emb(x[:, i]) for i, emb in enumerate(self.embedding.values())], 1)
        feas = [tower(e) for tower in self.towers]
        for i in range(1, len(feas)):
            p, q = self.info[i - 1](feas[i - 1]).unsqueeze(1), feas[i].unsqueeze(1)
            t = torch.cat([p, q], dim=1)
            V, K, Q = self.h1(t), self.h2(t), self.h3(t)
            w = torch.softmax(torch.sum(torch.mul(K, Q), 2, True) / (8**0.5), dim=1)
            feas[i] = torch.sum(torch.mul(w, V), 1)
        ps = [torch.sigmoid(g(f)).squeeze(1) for g, f in zip(self.gates, feas)]
        return [ps[0], *(p * ps[0] for p in ps[1:])]


class NormalisedAdvantage(nn.Module):
    """Values, actions and a triangular matrix whose square gives the advantage; goals are joined to states."""

    def __init__(self, s: int = 6, g: int = 3, a: int = 3) -> None:
        super().__init__()
        self.a = a
        self.bn0 = nn.BatchNorm1d(s + g)
        self.l1, self.l2 = nn.Linear(s + g, 20), nn.Linear(20, 16)
        self.V, self.mu, self.L = nn.Linear(16, 1), nn.Linear(16, a), nn.Linear(16, a * a)
        self.register_buffer("tril_mask", torch.tril(torch.ones(a, a), diagonal=-1).unsqueeze(0))
        self.register_buffer("diag_mask", torch.diag(torch.diag(torch.ones(a, a))).unsqueeze(0))
        for layer in (self.l1, self.l2):
            nn.init.orthogonal_(layer.weight, gain=nn.init.calculate_gain("relu"))
            layer.bias.data.fill_(0)

    def forward(self, state: Tensor, goal: Tensor, action: Tensor | None = None) -> Any:
        x = self.bn0(torch.cat((state, goal), 1))
        x = F.relu(self.l2(F.relu(self.l1(x))))
        V, mu = self.V(x), self.mu(x).tanh()
        u = goal if action is None else action
        L = self.L(x).view(-1, self.a, self.a)
        L = L * self.tril_mask.expand_as(L) + torch.exp(L) * self.diag_mask.expand_as(L)
        P = torch.bmm(L, L.transpose(2, 1))
        u_mu = (u - mu).unsqueeze(2)
        A = -0.5 * torch.bmm(torch.bmm(u_mu.transpose(2, 1), P), u_mu)[:, :, 0]
        return mu, A + V, V


class OptionCritic(nn.Module):
    """Options with own actions and endings, by parameters that the option picks; features of successors besides."""

    def __init__(self, s: int = 6, options: int = 4, actions: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(s, 18), nn.ReLU(), nn.Linear(18, 14), nn.ReLU())
        self.Q, self.terminations = nn.Linear(14, options), nn.Linear(14, options)
        self.options_W = nn.Parameter(torch.randn(options, 14, actions) * 0.2)
        self.options_b = nn.Parameter(torch.zeros(options, actions))
        self.psi = nn.Linear(14, actions * 5)
        self.w = nn.Parameter(torch.randn(5))

    def forward(self, obs: Tensor, temperature: float = 1.0) -> dict[str, Tensor]:
        phi = self.features(obs)
        q = self.Q(phi)
        option = q.argmax(dim=-1)
        logits = (
            torch.bmm(phi.unsqueeze(1), self.options_W[option]).squeeze(1) + self.options_b[option]
        )
        ending = torch.sigmoid(self.terminations(phi)).gather(1, option[:, None])
        psi = self.psi(phi).reshape(obs.shape[0], -1, 5)
        return {
            "policy": F.softmax(logits / temperature, dim=-1),
            "ending": ending,
            "successor": torch.matmul(psi, self.w),
        }


class Communicating(nn.Module):
    """Agents that hear the mean of the others at each step; each has a critic of its own that sees all."""

    def __init__(self, n: int = 3, o: int = 6, h: int = 12, steps: int = 2) -> None:
        super().__init__()
        self.n, self.steps = n, steps
        self.encoder, self.cell = nn.Linear(o, h), nn.GRUCell(h, h)
        self.C = nn.Linear(h, h, bias=False)
        self.register_buffer("comm_mask", torch.ones(n, n) - torch.eye(n))
        self.policy = nn.Linear(h, 4)
        self.critics = nn.ModuleList(
            nn.Sequential(nn.Linear(n * o, 16), nn.ReLU(), nn.Linear(16, 1)) for _ in range(n)
        )

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        b, n, _ = obs.shape
        x = torch.tanh(self.encoder(obs))
        h = torch.zeros_like(x).view(b * n, -1)
        for _ in range(self.steps):
            heard = h.view(b, n, -1).unsqueeze(-2).expand(-1, n, n, h.shape[-1])
            heard = (heard * self.comm_mask.view(1, n, n, 1)).sum(dim=1) / (n - 1)
            h = self.cell((x + self.C(heard)).view(b * n, -1), h)
        values = [critic(obs.flatten(1)) for critic in self.critics]
        return F.log_softmax(self.policy(h.view(b, n, -1)), -1), torch.stack(values, 1).squeeze(-1)


class NeuralSort(nn.Module):
    """Scores of baskets' items sorted softly, and the sum of the best by a relaxed permutation."""

    def __init__(self, d: int = 10, tau: float = 0.5) -> None:
        super().__init__()
        self.emb, self.tau = nn.Embedding(30, d), tau
        self.score = nn.Sequential(nn.Linear(d, 12), nn.SiLU(), nn.Linear(12, 1))
        self.head = nn.AdaptiveLogSoftmaxWithLoss(d, 20, cutoffs=[5, 12], div_value=2.0)

    def forward(self, items: Tensor, user: Tensor) -> Tensor:
        e = self.emb(items)
        s = self.score(e + self.emb(user % 30).unsqueeze(1))
        n = s.size(1)
        one = torch.ones(n, 1, dtype=s.dtype)
        A = torch.abs(s - s.permute(0, 2, 1))
        B = torch.matmul(A, one @ one.t())
        scaling = (n + 1 - 2 * (torch.arange(n) + 1)).to(s.dtype)
        C = torch.matmul(s, scaling.unsqueeze(0))
        P = F.softmax((C - B).permute(0, 2, 1) / self.tau, -1)
        return self.head.log_prob((P[:, :3] @ e).mean(1))


class LocalReparametrised(nn.Module):
    """Layers whose outcomes are drawn by their own mean and variance in training; the divergence is kept on the layer."""

    class Layer(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.mu, self.rho = (
                nn.Parameter(torch.randn(o, i) * 0.3),
                nn.Parameter(torch.full((o, i), -4.0)),
            )
            self.bias = nn.Parameter(torch.zeros(o))
            self.kl: Any = 0.0

        def forward(self, x: Tensor) -> Tensor:
            mean = F.linear(x, self.mu, self.bias)
            sigma2 = F.softplus(self.rho) ** 2
            self.kl = 0.5 * (sigma2 + self.mu**2 - 1 - sigma2.log()).sum()
            if not self.training:
                return mean
            std = torch.sqrt(F.linear(x**2, sigma2) + 1e-8)
            return mean + std * torch.randn_like(std)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = self.Layer(6, 16), self.Layer(16, 12), self.Layer(12, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.c(F.relu(self.b(F.relu(self.a(x)))))
        return x, sum(m.kl for m in self.modules() if hasattr(m, "kl"))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "decision_forest": lambda: (DecisionForest(), INPUTS.numbers),
    "monotonic_convex": lambda: (Monotonic(), INPUTS.numbers),
    "arithmetic_units": lambda: (ArithmeticUnits(), INPUTS.numbers),
    "structured_linear": lambda: (StructuredLinear(), INPUTS.numbers),
    "hashed_baskets": lambda: (HashedBaskets(), BASKETS),
    "information_transfer": lambda: (InformationTransfer(), INPUTS.fields),
    "normalised_advantage": lambda: (NormalisedAdvantage(), GOALS),
    "option_critic": lambda: (OptionCritic(), INPUTS.numbers),
    "communicating_agents": lambda: (Communicating(), AGENTS),
    "neural_sort": lambda: (NeuralSort(), BASKETS),
    "local_reparametrised": lambda: (LocalReparametrised(), INPUTS.numbers),
}

"""Networks of the zoo over series and sound, tenth sample: memories by polynomials, clocks, controls, mixtures, filters."""

# ruff: noqa: N803, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.tenth.inputs import INPUTS


class LegendreMemory(nn.Module):
    """A hidden state beside a memory that is kept by fixed matrices, in a loop."""

    def __init__(self, i: int = 4, h: int = 12, d: int = 6, theta: float = 24.0) -> None:
        super().__init__()
        self.hidden_size, self.memory_size = h, d
        q = np.arange(d, dtype=np.float64)[:, None]
        r = 2 * q + 1
        j, k = np.meshgrid(np.arange(d), np.arange(d))
        A = np.where(k < j, -1, (-1.0) ** (k - j + 1)) * r / theta
        B = (-1.0) ** q * r / theta
        self.register_buffer("A", torch.tensor(np.eye(d) + A / 4, dtype=torch.float32))
        self.register_buffer("B", torch.tensor(B / 4, dtype=torch.float32))
        self.e_x, self.e_h, self.e_m = (nn.Parameter(torch.empty(1, n)) for n in (i, h, d))
        self.W_x, self.W_h, self.W_m = (nn.Parameter(torch.empty(h, n)) for n in (i, h, d))
        for p in self.parameters():
            nn.init.xavier_normal_(p)
        self.head = nn.Linear(h, 3)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Any:
        batch, length, _ = x.shape
        if state is None:
            h = torch.zeros(batch, self.hidden_size, dtype=x.dtype, device=x.device)
            m = torch.zeros(batch, self.memory_size, dtype=x.dtype, device=x.device)
        else:
            h, m = state
        outputs = []
        for t in range(length):
            u = F.linear(x[:, t], self.e_x) + F.linear(h, self.e_h) + F.linear(m, self.e_m)
            m = F.linear(m, self.A) + F.linear(u, self.B)
            h = torch.tanh(
                F.linear(x[:, t], self.W_x) + F.linear(h, self.W_h) + F.linear(m, self.W_m)
            )
            outputs.append(h)
        return self.head(torch.stack(outputs, dim=1)), (h, m)


class Clockwork(nn.Module):
    """States in modules, of which each is renewed at a period of its own."""

    def __init__(self, i: int = 4, h: int = 16, periods: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.periods, self.h, n = periods, h, h // len(periods)
        self.input, self.hidden = nn.Linear(i, h, bias=True), nn.Linear(h, h, bias=False)
        mask = torch.zeros(h, h)
        for k in range(len(periods)):
            mask[k * n : (k + 1) * n, k * n :] = 1
        self.register_buffer("hidden_mask", mask)
        schedule = torch.zeros(h, len(periods))
        for k in range(len(periods)):
            schedule[k * n : (k + 1) * n, k] = 1
        self.register_buffer("schedule", schedule, persistent=False)
        self.out = nn.Linear(h, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.size(0), self.h)
        for t, xt in enumerate(x.unbind(1)):
            on = torch.tensor([float(t % p == 0) for p in self.periods]).to(x)
            active = self.schedule @ on
            new = torch.tanh(
                self.input(xt) + F.linear(state, self.hidden.weight * self.hidden_mask)
            )
            state = active * new + (1 - active) * state
        return self.out(state)


class EchoState(nn.Module):
    """A fixed reservoir of leaky states; only the readout of some moments of them is learnt."""

    def __init__(self, i: int = 4, n: int = 20) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(5)
        W = torch.randn(n, n, generator=g) * (torch.rand(n, n, generator=g) < 0.3)
        self.register_buffer("W_in", torch.rand(n, i, generator=g) - 0.5)
        self.register_buffer("W", 0.9 * W / torch.linalg.eigvals(W).abs().max())
        self.leak = 0.3
        self.readout = nn.Sequential(nn.Linear(3 * n, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h, states = torch.zeros(x.shape[0], self.W.shape[0]).type_as(x), []
            for t in range(x.shape[1]):
                h = (1 - self.leak) * h + self.leak * torch.tanh(
                    x[:, t] @ self.W_in.T + h @ self.W.T
                )
                states.append(h)
            s = torch.stack(states, 1)
        return self.readout(torch.cat([s[:, -1], s.mean(1), s.std(1, unbiased=False)], -1))


class MixtureOut(NamedTuple):
    """Parameters of a mixture of normal densities."""

    log_pi: Tensor
    mu: Tensor
    sigma: Tensor


class DensityRecurrent(nn.Module):
    """A recurrent network with a mixture of densities for each step's next values, and a reward."""

    def __init__(self, latents: int = 4, hiddens: int = 12, gaussians: int = 3) -> None:
        super().__init__()
        self.latents, self.gaussians = latents, gaussians
        self.rnn = nn.GRU(latents, hiddens)
        self.gmm = nn.Linear(hiddens, (2 * latents + 1) * gaussians + 2)

    def forward(self, seq: Tensor) -> tuple[MixtureOut, Tensor, Tensor]:
        seq = seq.transpose(0, 1)
        T, bs = seq.size(0), seq.size(1)
        outs, _ = self.rnn(seq)
        gmm = self.gmm(outs)
        stride = self.gaussians * self.latents
        mus = gmm[:, :, :stride].view(T, bs, self.gaussians, self.latents)
        sigmas = gmm[:, :, stride : 2 * stride].view(T, bs, self.gaussians, self.latents).exp()
        pi = gmm[:, :, 2 * stride : 2 * stride + self.gaussians]
        logpi = F.log_softmax(pi.view(T, bs, self.gaussians), dim=-1)
        return MixtureOut(logpi, mus, sigmas), gmm[:, :, -2], gmm[:, :, -1]


class ControlledEquation(nn.Module):
    """A state driven by the increments of a path: a matrix field of the state, times the increment, by Heun's steps."""

    def __init__(self, c: int = 4, h: int = 8) -> None:
        super().__init__()
        self.c, self.h = c, h
        self.initial = nn.Linear(c, h)
        self.linear1, self.linear2 = nn.Linear(h, 14), nn.Linear(14, h * c)
        self.readout = nn.Linear(h, 2)

    def field(self, z: Tensor) -> Tensor:
        z = self.linear2(self.linear1(z).relu()).tanh()
        return z.view(z.size(0), self.h, self.c)

    def forward(self, x: Tensor) -> Tensor:
        dx = torch.diff(x, dim=1)
        z = self.initial(x[:, 0])
        for i in range(dx.size(1)):
            step = dx[:, i].unsqueeze(-1)
            k1 = torch.bmm(self.field(z), step).squeeze(-1)
            k2 = (self.field(z + k1) @ step).squeeze(-1)
            z = z + (k1 + k2) / 2
        return self.readout(z)


class KoopmanAutoencoder(nn.Module):
    """Codes that a matrix takes forward and one takes backward; both the decoded steps and the codes come out."""

    def __init__(self, c: int = 4, k: int = 6, steps: int = 3) -> None:
        super().__init__()
        self.steps = steps
        self.enc = nn.Sequential(nn.Linear(c, 16), nn.Tanh(), nn.Linear(16, k))
        self.dec = nn.Sequential(nn.Linear(k, 16), nn.Tanh(), nn.Linear(16, c))
        self.dynamics, self.back = nn.Linear(k, k, bias=False), nn.Linear(k, k, bias=False)
        U, _, V = torch.svd(self.dynamics.weight.data)
        self.dynamics.weight.data = torch.mm(U, V.t()) * 0.95
        self.back.weight.data = torch.pinverse(self.dynamics.weight.data.t())

    def forward(self, x: Tensor, mode: str = "both") -> dict[str, Any]:
        q = z = self.enc(x[:, -1]).contiguous()
        ahead, behind = [], []
        for _ in range(self.steps):
            q = self.dynamics(q)
            ahead.append(self.dec(q))
        ahead.append(self.dec(z))
        if mode == "both":
            for _ in range(self.steps):
                q = self.back(q)
                behind += [self.dec(q)]
        return {"forward": ahead, "backward": behind, "code": z}


class RandomKernels(nn.Module):
    """Many fixed kernels at several dilations; the share above zero and the maximum of each feed a classifier."""

    def __init__(self, c: int = 4, n: int = 12) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.dilations = [1, 2, 4]
        for d in self.dilations:
            w = torch.randn(n, c, 5, generator=g)
            self.register_buffer(f"kernel_{d}", w - w.mean(-1, keepdim=True))
            self.register_buffer(f"shift_{d}", torch.rand(n, generator=g) * 2 - 1)
        self.norm = nn.BatchNorm1d(2 * n * 3, affine=False)
        self.mlp = nn.Sequential(nn.Linear(2 * n * 3, 18), nn.SELU(), nn.AlphaDropout(0.1))
        self.out = nn.Linear(18, 3)

    def forward(self, x: Tensor) -> Tensor:
        x, feats = x.permute(0, 2, 1), []
        for d in self.dilations:
            w, b = getattr(self, f"kernel_{d}"), getattr(self, f"shift_{d}")
            y = F.conv1d(x, w, b, padding="same", dilation=d)
            feats += [(y > 0).to(y.dtype).mean(-1), y.max(dim=-1).values]
        return self.out(self.mlp(self.norm(torch.cat(feats, dim=-1))))


class CausalConv1d(nn.Conv1d):
    """A convolution that sees no later step; what is too much is cut off."""

    def __init__(self, i: int, o: int, k: int = 2, dilation: int = 1) -> None:
        super().__init__(i, o, k, padding=(k - 1) * dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out[:, :, : -self.padding[0]] if self.padding[0] else out


class Snail(nn.Module):
    """Dense causal convolutions and causal attention that add channels to what came before."""

    class Dense(nn.Module):
        def __init__(self, i: int, dilation: int, filters: int) -> None:
            super().__init__()
            self.f = CausalConv1d(i, filters, dilation=dilation)
            self.g = CausalConv1d(i, filters, dilation=dilation)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat((x, torch.tanh(self.f(x)) * torch.sigmoid(self.g(x))), dim=1)

    class Attention(nn.Module):
        def __init__(self, i: int, key: int, value: int) -> None:
            super().__init__()
            self.q, self.k, self.v = nn.Linear(i, key), nn.Linear(i, key), nn.Linear(i, value)
            self.sqrt_key_size = math.sqrt(key)

        def forward(self, x: Tensor) -> Tensor:
            x = x.transpose(1, 2)
            mask = np.array(
                [[1 if i > j else 0 for i in range(x.shape[1])] for j in range(x.shape[1])]
            )
            mask = torch.from_numpy(mask).bool().to(x.device)
            scores = torch.bmm(self.q(x), self.k(x).transpose(1, 2))
            scores.data.masked_fill_(mask, -float("inf"))
            probs = F.softmax(scores / self.sqrt_key_size, dim=1)
            return torch.cat((x, torch.bmm(probs, self.v(x))), dim=2).transpose(1, 2)

    def __init__(self, c: int = 4) -> None:
        super().__init__()
        self.attn1, c = self.Attention(c, 6, 4), c + 4
        tc = []
        for i in range(3):
            tc.append(self.Dense(c, 2**i, 6))
            c += 6
        self.tc = nn.ModuleList(tc)
        self.attn2, self.fc = self.Attention(c, 8, 6), nn.Linear(c + 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn1(x.transpose(1, 2))
        for layer in self.tc:
            x = layer(x)
        return self.fc(self.attn2(x)[:, :, -1])


class EnergyNormalisation(nn.Module):
    """Bands divided by a running mean of their energy to a learnt power."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.log_s, self.log_alpha = (
            nn.Parameter(torch.full((n,), -1.5)),
            nn.Parameter(torch.zeros(n)),
        )
        self.log_delta, self.log_r = (
            nn.Parameter(torch.full((n,), 0.7)),
            nn.Parameter(torch.zeros(n)),
        )

    def forward(self, E: Tensor) -> Tensor:
        s, alpha, delta, r = (
            p.exp()[:, None] for p in (self.log_s, self.log_alpha, self.log_delta, self.log_r)
        )
        M, m = [E[:, :, :1]], E[:, :, :1]
        for t in range(1, E.shape[2]):
            m = (1 - s) * m + s * E[:, :, t : t + 1]
            M.append(m)
        smooth = torch.exp(-alpha * torch.log(1e-6 + torch.cat(M, dim=2)))
        return (E * smooth + delta).pow(r) - delta.pow(r)


class GaborFront(nn.Module):
    """Filters made of learnt frequencies and widths, squared and smoothed, normalised by energy, then a small network."""

    def __init__(self, n: int = 10, size: int = 33) -> None:
        super().__init__()
        self.center = nn.Parameter(torch.linspace(0.05, 2.8, n))
        self.width = nn.Parameter(torch.linspace(3.0, 9.0, n))
        self.register_buffer("t", torch.arange(-(size // 2), (size + 1) // 2).float())
        self.smooth = nn.Conv1d(n, n, 16, stride=8, groups=n, bias=False)
        nn.init.constant_(self.smooth.weight, 1 / 16)
        self.norm = EnergyNormalisation(n)
        self.net = nn.Sequential(nn.Conv1d(n, 16, 3, 2), nn.PReLU(16), nn.Conv1d(16, 12, 3, 2))
        self.att = nn.Sequential(
            nn.Conv1d(12, 8, 1), nn.Tanh(), nn.Conv1d(8, 12, 1), nn.Softmax(dim=2)
        )
        self.fc = nn.Linear(24, 4)

    def filters(self) -> Tensor:
        envelope = torch.exp(-(self.t**2) / (2 * self.width[:, None] ** 2))
        envelope = envelope / (math.sqrt(2 * math.pi) * self.width[:, None])
        phase = self.center[:, None] * self.t
        return torch.stack([envelope * phase.cos(), envelope * phase.sin()], 1).view(
            -1, 1, len(self.t)
        )

    def forward(self, wave: Tensor) -> Tensor:
        y = F.conv1d(wave, self.filters(), padding=self.t.numel() // 2)
        y = y.reshape(y.size(0), -1, 2, y.size(-1)).square().sum(2)
        y = self.net(self.norm(self.smooth(y).clamp_min(1e-5)))
        w = self.att(y)
        mu = torch.sum(y * w, dim=2)
        sg = torch.sqrt((torch.sum((y**2) * w, dim=2) - mu**2).clamp(min=1e-5))
        return self.fc(torch.cat((mu, sg), 1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "legendre_memory": lambda: (LegendreMemory(), INPUTS.series),
    "clockwork": lambda: (Clockwork(), INPUTS.series),
    "echo_state": lambda: (EchoState(), INPUTS.series),
    "density_recurrent": lambda: (DensityRecurrent(), INPUTS.series),
    "controlled_equation": lambda: (ControlledEquation(), INPUTS.series),
    "koopman": lambda: (KoopmanAutoencoder(), INPUTS.series),
    "random_kernels": lambda: (RandomKernels(), INPUTS.series),
    "snail": lambda: (Snail(), INPUTS.series),
    "gabor_energy_front": lambda: (GaborFront(), INPUTS.waves),
}

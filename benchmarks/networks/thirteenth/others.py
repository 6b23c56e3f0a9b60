"""Networks of the zoo of other kinds, thirteenth sample: norms by hand, hooks, counted steps, wavelets."""

# ruff: noqa: B905, N803, N806, RUF012 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from benchmarks.networks.thirteenth.inputs import INPUTS, SMALL_IMAGES


def l2normalize(v: Tensor, eps: float = 1e-12) -> Tensor:
    """Returns v of length one."""
    return v / (v.norm() + eps)


class SpectralNorm(nn.Module):
    """A layer whose weight is divided by its largest singular value, found by a step of power iteration in each pass."""

    def __init__(self, module: nn.Module, name: str = "weight", power_iterations: int = 1) -> None:
        super().__init__()
        self.module, self.name, self.power_iterations = module, name, power_iterations
        w = getattr(self.module, self.name)
        height, width = w.data.shape[0], w.view(w.data.shape[0], -1).data.shape[1]
        u = nn.Parameter(w.data.new(height).normal_(0, 1), requires_grad=False)
        v = nn.Parameter(w.data.new(width).normal_(0, 1), requires_grad=False)
        u.data, v.data = l2normalize(u.data), l2normalize(v.data)
        w_bar = nn.Parameter(w.data)
        del self.module._parameters[self.name]
        self.module.register_parameter(self.name + "_u", u)
        self.module.register_parameter(self.name + "_v", v)
        self.module.register_parameter(self.name + "_bar", w_bar)

    def _update_u_v(self) -> None:
        u, v = getattr(self.module, self.name + "_u"), getattr(self.module, self.name + "_v")
        w = getattr(self.module, self.name + "_bar")
        height = w.data.shape[0]
        for _ in range(self.power_iterations):
            v.data = l2normalize(torch.mv(torch.t(w.view(height, -1).data), u.data))
            u.data = l2normalize(torch.mv(w.view(height, -1).data, v.data))
        sigma = u.dot(w.view(height, -1).mv(v))
        setattr(self.module, self.name, w / sigma.expand_as(w))

    def forward(self, *args: Any) -> Tensor:
        self._update_u_v()
        return self.module.forward(*args)


class BoundedCritic(nn.Module):
    """A critic of such layers with a hinge's output."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.l1 = nn.Sequential(SpectralNorm(nn.Conv2d(3, width, 4, 2, 1)), nn.LeakyReLU(0.1))
        self.l2 = nn.Sequential(
            SpectralNorm(nn.Conv2d(width, 2 * width, 4, 2, 1)), nn.LeakyReLU(0.1)
        )
        self.last = nn.Sequential(nn.Conv2d(2 * width, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.l2(self.l1(x))).squeeze()


class HookedStandard(nn.Module):
    """Convolutions whose weights a hook before each call standardises from what is learnt, then group norms."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.conv1, self.gn1 = nn.Conv2d(3, width, 3, 2, 1), nn.GroupNorm(3, width)
        self.conv2, self.gn2 = nn.Conv2d(width, 16, 3, 2, 1), nn.GroupNorm(4, 16)
        self.mid, self.fc = nn.Conv2d(16, 14, 1), nn.Linear(14, 5)
        for conv in (self.conv1, self.conv2):
            conv.weight_orig = nn.Parameter(conv._parameters.pop("weight").data)
            conv.register_forward_pre_hook(self.standardise)
            conv.weight = conv.weight_orig.data

    @staticmethod
    def standardise(module: nn.Module, inputs: Any) -> None:
        w = module.weight_orig
        mean = w.mean(dim=(1, 2, 3), keepdim=True)
        std = w.std(dim=(1, 2, 3), keepdim=True) + 1e-5
        module.weight = (w - mean) / std / math.sqrt(w[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.gn2(self.conv2(F.relu(self.gn1(self.conv1(x))))))
        return self.fc(F.hardswish(self.mid(x)).mean((2, 3)))


class CountedODE(nn.Module):
    """A field that counts how often it is asked, stepped by a general solver that takes functions and times."""

    class ODEFunc(nn.Module):
        def __init__(self, dim: int, hidden: int) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(dim + 1, hidden), nn.Tanh(), nn.Linear(hidden, dim))
            self.nfe = 0

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            self.nfe += 1
            tt = torch.ones_like(y[:, :1]) * t
            return self.net(torch.cat([tt, y], 1))

    METHODS = {
        "euler": lambda f, t, dt, y: dt * f(t, y),
        "midpoint": lambda f, t, dt, y: dt * f(t + dt / 2, y + f(t, y) * dt / 2),
    }

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.enc, self.func = nn.Linear(6, dim), self.ODEFunc(dim, 18)
        self.register_buffer("integration_time", torch.tensor([0.0, 0.5, 1.0]))
        self.dec = nn.Linear(dim, 3)

    @staticmethod
    def odeint(func: Any, y0: Tensor, t: Tensor, method: str = "midpoint") -> Tensor:
        step, solution = CountedODE.METHODS[method], [y0]
        for t0, t1 in zip(t[:-1], t[1:]):  # noqa: RUF007
            y0 = y0 + step(func, t0, t1 - t0, y0)
            solution.append(y0)
        return torch.stack(solution, dim=0)

    @property
    def nfe(self) -> int:
        return self.func.nfe

    @nfe.setter
    def nfe(self, value: int) -> None:
        self.func.nfe = value

    def forward(self, x: Tensor) -> Tensor:
        self.nfe = 0
        y = self.enc(x)
        out = self.odeint(self.func, y, self.integration_time.type_as(y))
        return self.dec(out[-1])


class WaveletLayers(nn.Module):
    """Edges that are wavelets with their own scale and place, summed with a base, and a batch norm."""

    class Layer(nn.Module):
        def __init__(self, i: int, o: int, wavelet_type: str = "mexican_hat") -> None:
            super().__init__()
            self.in_features, self.out_features, self.wavelet_type = i, o, wavelet_type
            self.scale, self.translation = (
                nn.Parameter(torch.ones(o, i)),
                nn.Parameter(torch.zeros(o, i)),
            )
            self.weight1, self.wavelet_weights = (
                nn.Parameter(torch.randn(o, i) * 0.3),
                nn.Parameter(torch.randn(o, i) * 0.3),
            )
            self.base_activation, self.bn = nn.SiLU(), nn.BatchNorm1d(o)

        def wavelet_transform(self, x: Tensor) -> Tensor:
            x_expanded = x.unsqueeze(1) if x.dim() == 2 else x
            translation = self.translation.unsqueeze(0).expand(x.size(0), -1, -1)
            x_scaled = (x_expanded - translation) / self.scale.unsqueeze(0).expand(
                x.size(0), -1, -1
            )
            if self.wavelet_type == "mexican_hat":
                wavelet = (
                    2
                    / (math.sqrt(3) * math.pi**0.25)
                    * (x_scaled**2 - 1)
                    * torch.exp(-0.5 * x_scaled**2)
                )
            elif self.wavelet_type == "morlet":
                wavelet = torch.exp(-0.5 * x_scaled**2) * torch.cos(5.0 * x_scaled)
            else:
                raise ValueError("Unsupported wavelet type")
            weighted = wavelet * self.wavelet_weights.unsqueeze(0).expand_as(wavelet)
            return weighted.sum(dim=2)

        def forward(self, x: Tensor) -> Tensor:
            base_output = F.linear(self.base_activation(x), self.weight1)
            return self.bn(self.wavelet_transform(x) + base_output)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [self.Layer(6, 14), self.Layer(14, 10, "morlet"), self.Layer(10, 3)]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class SharedFactors(nn.Module):
    """Held layers with one pair of random matrices for all, of which each takes what it needs, scaled by its own vectors."""

    class Adapted(nn.Module):
        def __init__(
            self, base: nn.Linear, vera_A: dict[str, Tensor], vera_B: dict[str, Tensor], r: int
        ) -> None:
            super().__init__()
            self.base_layer, self._A, self._B = base.requires_grad_(False), vera_A, vera_B
            self.lambda_d = nn.Parameter(torch.full((r,), 0.5))
            self.lambda_b = nn.Parameter(torch.full((base.out_features,), 0.3))

        def forward(self, x: Tensor) -> Tensor:
            A = self._A["default"][:, : self.base_layer.in_features].to(x.dtype)
            B = self._B["default"][: self.base_layer.out_features, :].to(x.dtype)
            delta = self.lambda_b * F.linear(self.lambda_d * F.linear(x, A), B)
            return self.base_layer(x) + delta

    def __init__(self, r: int = 5) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        A = {"default": torch.randn(r, 20, generator=g) * 0.3}
        B = {"default": torch.randn(20, r, generator=g) * 0.3}
        self.fc1 = self.Adapted(nn.Linear(6, 20), A, B, r)
        self.fc2 = self.Adapted(nn.Linear(20, 12), A, B, r)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.fc2(F.relu(self.fc1(x)))))


class HyperCells(nn.Module):
    """A small LSTM that scales, gate by gate, what a larger one computes, with norms of gates by hand."""

    def __init__(self, i: int = 4, hidden: int = 12, hyper: int = 8, n_z: int = 4) -> None:
        super().__init__()
        self.hidden_size, self.hyper_size = hidden, hyper
        self.hyper = nn.LSTMCell(hidden + i, hyper)
        self.z_h, self.z_x = nn.Linear(hyper, 4 * n_z), nn.Linear(hyper, 4 * n_z, bias=False)
        self.z_b = nn.Linear(hyper, 4 * n_z, bias=False)
        self.d_h, self.d_x, self.d_b = (
            nn.ModuleList([nn.Linear(n_z, hidden, bias=b) for _ in range(4)])
            for b in (False, False, True)
        )
        self.w_h = nn.ParameterList(
            [nn.Parameter(torch.randn(hidden, hidden) * 0.2) for _ in range(4)]
        )
        self.w_x = nn.ParameterList([nn.Parameter(torch.randn(hidden, i) * 0.3) for _ in range(4)])
        self.layer_norm, self.layer_norm_c = (
            nn.ModuleList([nn.LayerNorm(hidden) for _ in range(4)]),
            nn.LayerNorm(hidden),
        )
        self.readout = nn.Linear(hidden, 2)

    def step(
        self, x: Tensor, h: Tensor, c: Tensor, h_hat: Tensor, c_hat: Tensor
    ) -> tuple[Tensor, ...]:
        h_hat, c_hat = self.hyper(torch.cat((h, x), dim=-1), (h_hat, c_hat))
        z_h, z_x, z_b = (z(h_hat).chunk(4, dim=-1) for z in (self.z_h, self.z_x, self.z_b))
        ifgo = []
        for k in range(4):
            d_h, d_x = self.d_h[k](z_h[k]), self.d_x[k](z_x[k])
            y = (
                d_h * torch.einsum("ij,bj->bi", self.w_h[k], h)
                + d_x * torch.einsum("ij,bj->bi", self.w_x[k], x)
                + self.d_b[k](z_b[k])
            )
            ifgo.append(self.layer_norm[k](y))
        i, f, g, o = ifgo
        c_next = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h_next = torch.sigmoid(o) * torch.tanh(self.layer_norm_c(c_next))
        return h_next, c_next, h_hat, c_hat

    def forward(self, x: Tensor) -> Tensor:
        n_batch = x.shape[0]
        h = c = x.new_zeros(n_batch, self.hidden_size)
        h_hat = c_hat = x.new_zeros(n_batch, self.hyper_size)
        for x_t in torch.unbind(x[:, :6], dim=1):
            h, c, h_hat, c_hat = self.step(x_t, h, c, h_hat, c_hat)
        return self.readout(h)


def averaged() -> nn.Module:
    """Returns the mean of what training went through, wrapped as torch wraps it."""
    net = nn.Sequential(
        nn.Linear(6, 20),
        nn.BatchNorm1d(20),
        nn.ReLU(),
        nn.Linear(20, 12),
        nn.ReLU(),
        nn.Linear(12, 3),
    )
    return AveragedModel(net, avg_fn=lambda avg, new, n: 0.9 * avg + 0.1 * new)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "bounded_critic": lambda: (BoundedCritic(), SMALL_IMAGES),
    "hooked_standard": lambda: (HookedStandard(), SMALL_IMAGES),
    "counted_ode": lambda: (CountedODE(), INPUTS.numbers),
    "wavelet_layers": lambda: (WaveletLayers(), INPUTS.numbers),
    "shared_factors": lambda: (SharedFactors(), INPUTS.numbers),
    "hyper_cells": lambda: (HyperCells(), INPUTS.series),
    "averaged_model": lambda: (averaged(), INPUTS.numbers),
}

"""Networks of the zoo of other kinds, fourteenth sample: hooks that adapt, residuals of equations, flows, polynomials."""

# ruff: noqa: B905, N806, RUF007 - names and lines as people write them
from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import INPUTS, SMALL_IMAGES


class HookAdapted(nn.Module):
    """A frozen body whose blocks get a bottleneck adapter each by forward hooks."""

    def __init__(self, d: int = 12, r: int = 5) -> None:
        super().__init__()
        self.stem = nn.Linear(6, d)
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(d, 22), nn.ReLU(), nn.Linear(22, d)) for _ in range(2)]
        )
        for p in self.parameters():
            p.requires_grad_(False)
        self.adapters = nn.ModuleDict()
        for name, block in self.blocks.named_children():
            self.adapters[name] = nn.Sequential(nn.Linear(d, r), nn.GELU(), nn.Linear(r, d))
            nn.init.zeros_(self.adapters[name][-1].weight)
            nn.init.normal_(self.adapters[name][-1].bias, std=0.1)
            block.register_forward_hook(functools.partial(self._adapt, name))
        self.head = nn.Linear(d, 3)

    def _adapt(
        self, name: str, module: nn.Module, args: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        return output + self.adapters[name](output)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = F.layer_norm(x + block(x), x.shape[-1:])
        return self.head(x)


class EMA(nn.Module):
    """A copy of a network whose weights follow it in buffers with changed names; evaluation runs on them."""

    def __init__(self, model: nn.Module, decay: float = 0.9) -> None:
        super().__init__()
        self.m_name2s_name = {}
        self.register_buffer("decay", torch.tensor(decay, dtype=torch.float32))
        for name, p in model.named_parameters():
            s_name = name.replace(".", "")
            self.m_name2s_name.update({name: s_name})
            self.register_buffer(s_name, p.clone().detach().data)
        self.collected_params: list[Tensor] = []


class ShadowedNet(nn.Module):
    """A network beside its shadow, and a scope that would swap them."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(6, 20), nn.SiLU(), nn.Linear(20, 14), nn.SiLU(), nn.Linear(14, 3)
        )
        self.model_ema = EMA(self.model)

    @contextmanager
    def ema_scope(self) -> Iterator[None]:
        kept = copy.deepcopy(self.model.state_dict())
        yield None
        self.model.load_state_dict(kept)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class EquationResidual(nn.Module):
    """A field, and how far it is from Burgers' equation, by gradients of outputs for inputs inside the forward pass."""

    def __init__(self, layers: tuple[int, ...] = (2, 16, 16, 1), nu: float = 0.01) -> None:
        super().__init__()
        self.nu, self.linears = (
            nu,
            nn.ModuleList([nn.Linear(i, o) for i, o in zip(layers, layers[1:])]),
        )
        for i in range(len(layers) - 1):
            nn.init.xavier_normal_(self.linears[i].weight.data, gain=1.0)
            nn.init.zeros_(self.linears[i].bias.data)

    def forward(self, xt: Tensor) -> Tensor:
        a = xt
        for linear in self.linears[:-1]:
            a = torch.tanh(linear(a))
        return self.linears[-1](a)


class MaskedFlow(nn.Module):
    """A masked autoregressive flow with batch norms between, whose parts give a log determinant each."""

    class MaskedLinear(nn.Module):
        def __init__(self, i: int, o: int, mask: Tensor) -> None:
            super().__init__()
            self.linear = nn.Linear(i, o)
            self.register_buffer("mask", mask)

        def forward(self, inputs: Tensor) -> Tensor:
            return F.linear(inputs, self.linear.weight * self.mask, self.linear.bias)

    class MADE(nn.Module):
        def __init__(self, n: int, hidden: int) -> None:
            super().__init__()
            get = MaskedFlow.get_mask
            self.joiner = MaskedFlow.MaskedLinear(n, hidden, get(n, hidden, n, "input"))
            self.trunk = nn.Sequential(nn.ReLU(), MaskedFlow.MaskedLinear(hidden, hidden, get(hidden, hidden, n, "")),
                                       nn.ReLU(),
 MaskedFlow.MaskedLinear(hidden, n * 2, get(hidden, n * 2, n, "output")))  # fmt: skip

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            m, a = self.trunk(self.joiner(inputs)).chunk(2, 1)
            return (inputs - m) * torch.exp(-a), -a.sum(-1, keepdim=True)

    class BatchNormFlow(nn.Module):
        def __init__(self, n: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
            super().__init__()
            self.log_gamma, self.beta = nn.Parameter(torch.zeros(n)), nn.Parameter(torch.zeros(n))
            self.momentum, self.eps = momentum, eps
            self.register_buffer("running_mean", torch.zeros(n))
            self.register_buffer("running_var", torch.ones(n))

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            if self.training:
                self.batch_mean = inputs.mean(0)
                self.batch_var = (inputs - self.batch_mean).pow(2).mean(0) + self.eps
                self.running_mean.mul_(self.momentum)
                self.running_var.mul_(self.momentum)
                self.running_mean.add_(self.batch_mean.data * (1 - self.momentum))
                self.running_var.add_(self.batch_var.data * (1 - self.momentum))
                mean, var = self.batch_mean, self.batch_var
            else:
                mean, var = self.running_mean, self.running_var
            y = torch.exp(self.log_gamma) * (inputs - mean) / var.sqrt() + self.beta
            return y, (self.log_gamma - 0.5 * torch.log(var)).sum(-1, keepdim=True)

    class Reverse(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.perm = torch.arange(n - 1, -1, -1)

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            return inputs[:, self.perm], torch.zeros(
                inputs.size(0), 1, device=inputs.device, dtype=inputs.dtype
            )

    @staticmethod
    def get_mask(i: int, o: int, flow: int, kind: str) -> Tensor:
        inp = torch.arange(i) if kind == "input" else torch.arange(i) % (flow - 1)
        if kind == "output":
            return ((torch.arange(o) % flow - 1).unsqueeze(-1) >= inp.unsqueeze(0)).float()
        return ((torch.arange(o) % (flow - 1)).unsqueeze(-1) >= inp.unsqueeze(0)).float()

    def __init__(self, n: int = 6, hidden: int = 20) -> None:
        super().__init__()
        self.num_inputs, flows = n, []
        for _ in range(2):
            flows += [self.MADE(n, hidden), self.BatchNormFlow(n), self.Reverse(n)]
        self.flows = nn.Sequential(*flows)

    def forward(self, inputs: Tensor) -> Tensor:
        logdets = torch.zeros(inputs.size(0), 1, dtype=inputs.dtype)
        for module in self.flows._modules.values():
            inputs, logdet = module(inputs)
            logdets += logdet
        log_probs = (-0.5 * inputs.pow(2) - 0.5 * math.log(2 * math.pi)).sum(-1, keepdim=True)
        return (log_probs + logdets).squeeze(-1)


class ChebyshevLayers(nn.Module):
    """Sums of Chebyshev polynomials on every edge, by acos and cos, with norms between."""

    class ChebyKANLayer(nn.Module):
        def __init__(self, input_dim: int, output_dim: int, degree: int) -> None:
            super().__init__()
            self.inputdim, self.outdim, self.degree = input_dim, output_dim, degree
            self.cheby_coeffs = nn.Parameter(torch.empty(input_dim, output_dim, degree + 1))
            nn.init.normal_(self.cheby_coeffs, mean=0.0, std=1 / (input_dim * (degree + 1)))
            self.register_buffer("arange", torch.arange(0, degree + 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(x).clamp(-0.999, 0.999)
            x = x.view((-1, self.inputdim, 1)).expand(-1, -1, self.degree + 1)
            x = x.acos()
            x = x * self.arange
            x = x.cos()
            y = torch.einsum("bid,iod->bo", x, self.cheby_coeffs)
            return y.view(-1, self.outdim)

    def __init__(self) -> None:
        super().__init__()
        self.chebykan1, self.chebykan2 = self.ChebyKANLayer(6, 14, 3), self.ChebyKANLayer(14, 10, 3)
        self.bn, self.chebykan3 = nn.BatchNorm1d(14), self.ChebyKANLayer(10, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 6)
        return self.chebykan3(self.chebykan2(self.bn(self.chebykan1(x))))


class FlippedKernels(nn.Module):
    """Convolutions equivariant to flips: each kernel is used as it is and mirrored, and both are joined and averaged."""

    class FlipConv(nn.Module):
        def __init__(self, i: int, o: int, lifted: bool) -> None:
            super().__init__()
            self.lifted, self.o = lifted, o
            self.weight = nn.Parameter(torch.empty(o, i * (2 if lifted else 1), 3, 3))
            self.bias = nn.Parameter(torch.zeros(o))
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

        def forward(self, x: Tensor) -> Tensor:
            w = self.weight
            mirrored = torch.flip(w, dims=[3])
            if self.lifted:
                a, b = mirrored.chunk(2, dim=1)
                mirrored = torch.cat([b, a], dim=1)
            return F.conv2d(
                x,
                torch.cat([w, mirrored], 0),
                torch.cat([self.bias, self.bias]),
                stride=2,
                padding=1,
            )

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.lift, self.inner = self.FlipConv(3, width, False), self.FlipConv(width, 8, True)
        self.fc1, self.fc2 = nn.Linear(8, 14), nn.Linear(14, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.inner(F.relu(self.lift(x))))
        B, C, H, W = x.shape
        x = x.view(B, 2, C // 2, H, W).mean(dim=1)
        return self.fc2(F.relu(self.fc1(x.amax(dim=(-1, -2)))))


class RowMixer(nn.Module):
    """Mixup of hidden features with a permutation in training, by a constant weight, and a decorated forward pass."""

    @staticmethod
    def typed(fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(fn)
        def wrapper(self: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            assert isinstance(x, torch.Tensor), f"expected a tensor, got {type(x)}"
            return fn(self, x.to(next(self.parameters()).dtype), *args, **kwargs)

        return wrapper

    def __init__(self) -> None:
        super().__init__()
        acts = {"gelu": "GELU", "relu": "ReLU"}
        self.net1 = nn.Sequential(*[nn.Linear(6, 18), getattr(nn, acts["gelu"])()])
        self.net2 = nn.Sequential(*[nn.Linear(18, 16), getattr(nn, acts["relu"])()])
        self.scale = nn.ParameterDict(
            {"inner": nn.Parameter(torch.ones(16)), "outer": nn.Parameter(torch.zeros(3))}
        )
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = self.net1(x)
        if self.training:
            x = 0.8 * x + 0.2 * x.flip(0)
        x = self.net2(x) * self.scale["inner"]
        return self.fc(x) + self.scale["outer"]


RowMixer._forward = RowMixer.typed(RowMixer._forward)  # type: ignore[method-assign]

NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "hook_adapted": lambda: (HookAdapted(), INPUTS.numbers),
    "shadowed_net": lambda: (ShadowedNet(), INPUTS.numbers),
    "equation_field": lambda: (EquationResidual(), INPUTS.numbers[:, :2].contiguous()),
    "masked_flow": lambda: (MaskedFlow(), INPUTS.numbers),
    "chebyshev_layers": lambda: (ChebyshevLayers(), INPUTS.numbers),
    "flipped_kernels": lambda: (FlippedKernels(), SMALL_IMAGES),
    "row_mixer": lambda: (RowMixer(), INPUTS.numbers),
}

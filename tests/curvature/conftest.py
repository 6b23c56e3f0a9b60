"""Small networks of every sort, with data, and their curvature by finite differences, loop by loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from netdial.core.layout import Layout
from netdial.task import TASKS

IN, OUT = 6, 3


class Tied(nn.Module):
    """One weight used by two layers, and a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(IN, IN), nn.Linear(IN, IN)
        self.second.weight = self.first.weight
        self.norm, self.head = nn.LayerNorm(IN), nn.Linear(IN, OUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(torch.tanh(self.second(torch.tanh(self.first(x))))))


class Functional(nn.Module):
    """A layer whose weight is used once more, behind its back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(IN, IN), nn.Linear(IN, OUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(x)) + 0.3 * x @ self.layer.weight)


class Twice(nn.Module):
    """A layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(IN, IN), nn.Linear(IN, OUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class TokensFirst(nn.Module):
    """Tokens in front of examples, as many of them as the first batch has examples."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.turn, self.head = nn.Linear(1, 3), nn.Linear(3, 3), nn.Linear(3, OUT)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.turn(torch.tanh(self.lift(x[:, :4].T[..., None])))
        return self.head(tokens.sum(dim=0))


class Attention(nn.Module):
    """Measurements as tokens and one round of self-attention, by the fused kernel where it is allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(1, 4)
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, OUT)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.lift(x[..., None])
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return self.head((tokens + mixed).mean(dim=1))


class Recurrent(nn.Module):
    """A layer that ``torch.func.vmap`` cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(1, 2, batch_first=True), nn.Linear(2, OUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x[..., None])[0][:, -1])


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 2, (1, 2), padding=(0, 1)),
        nn.BatchNorm2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(2, 4, (2, 2), stride=(1, 2), bias=False),
        nn.Tanh(),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Flatten(),
        nn.Linear(8, OUT),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.Sequential(nn.Linear(IN, 4), nn.ReLU(inplace=True), nn.Linear(4, OUT)),
    "tanh": lambda: nn.Sequential(
        nn.Linear(IN, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, OUT, bias=False)
    ),
    "convolutional": convolutional,
    "tied": Tied,
    "functional": Functional,
    "twice": Twice,
    "tokens-first": TokensFirst,
    "attention": Attention,
    "recurrent": Recurrent,
}


@dataclass(frozen=True, eq=False)
class Problem:
    """A network in double precision and training mode, data, and its curvature by finite differences."""

    name: str
    net: nn.Module
    x: Tensor
    y: Tensor
    kind: str

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        return self.x, self.y

    @property
    def layout(self) -> Layout:
        return Layout.of(dict(self.net.named_parameters()))

    def outputs(self, flat: Tensor) -> Tensor:
        training = self.net.training
        found = functional_call(self.net.eval(), self.layout.split(flat), (self.x,))
        self.net.train(training)
        return found

    @property
    def flat(self) -> Tensor:
        return self.layout.join(dict(self.net.named_parameters())).detach()

    def nll(self, flat: Tensor) -> Tensor:
        return TASKS[self.kind]().nll(self.outputs(flat), self.y)

    def slope(self, flat: Tensor) -> Tensor:
        flat = flat.detach().requires_grad_()
        return torch.autograd.grad(self.nll(flat).sum(), flat)[0]

    def hessian(self) -> Tensor:
        """The Hessian by central differences of gradients ``[P, P]``."""
        step = 1e-5
        units = torch.eye(len(self.flat), dtype=torch.float64)
        rows = [self.slope(self.flat + step * e) - self.slope(self.flat - step * e) for e in units]
        return torch.stack(rows) / (2 * step)

    def gauss_newton(self) -> Tensor:
        """Σ_i J_iᵀ Λ_i J_i, J by central differences of outputs ``[P, P]``."""
        step = 1e-5
        units = torch.eye(len(self.flat), dtype=torch.float64)
        with torch.no_grad():
            jacobian = torch.stack(
                [
                    self.outputs(self.flat + step * e) - self.outputs(self.flat - step * e)
                    for e in units
                ],
                dim=-1,
            ) / (2 * step)
            outputs = self.outputs(self.flat)
        total = torch.zeros(len(self.flat), len(self.flat), dtype=torch.float64)
        for each, out in zip(jacobian, outputs, strict=True):
            inner = torch.eye(OUT, dtype=torch.float64)
            if self.kind == "classification":
                p = torch.exp(out) / torch.exp(out).sum()
                inner = torch.diag(p) - torch.outer(p, p)
            total += each.T @ inner @ each
        return total

    def fisher(self) -> Tensor:
        """Σ_i g_i² by one gradient for each example ``[P]``."""
        total = torch.zeros_like(self.flat)
        for i in range(len(self.x)):
            flat = self.flat.requires_grad_()
            total += torch.autograd.grad(self.nll(flat)[i], flat)[0].square()
        return total


def make(name: str, kind: str, examples: int = 7) -> Problem:
    source = torch.Generator().manual_seed(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = NETWORKS[name]().double().train()
    x = torch.randn(examples, IN, dtype=torch.float64, generator=source)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=source)
            module.running_var.uniform_(0.5, 2, generator=source)
    if kind == "classification":
        y = torch.randint(0, OUT, (examples,), generator=source)
    else:
        y = torch.randn(examples, OUT, dtype=torch.float64, generator=source)
    return Problem(name, net, x, y, kind)


@pytest.fixture(params=["classification", "regression"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=list(NETWORKS))
def problem(request: pytest.FixtureRequest, kind: str) -> Problem:
    """Every network under every likelihood."""
    return make(request.param, kind)


@pytest.fixture
def tanh(kind: str) -> Problem:
    """A small network whose Hessian is not its Gauss-Newton matrix."""
    return make("tanh", kind)


@pytest.fixture
def named() -> Callable[..., Problem]:
    """Makes a problem by the name of its network."""
    return make

"""A model whose tempered posteriors, evidence and leave-one-out predictions are all known: orthogonal linear regression.

With orthogonal columns the posterior p(w) p(D | w)^β under N(0, s² I) and unit noise is diagonal: precision β x'x + 1/s²,
mean β x'y over it. ``Linear.family`` is a family made of exactly these, in place of training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from netdial.data.dataset import Dataset
from netdial.family.config import FamilyConfig
from netdial.family.family import Family


@dataclass(frozen=True)
class Linear:
    """Inputs ``[N, P]`` with orthogonal columns, targets ``[N, 1]``."""

    x: Tensor
    y: Tensor

    @property
    def data(self) -> Dataset:
        return Dataset(self.x, self.y)

    def posterior(self, beta: float, var: float) -> tuple[Tensor, Tensor]:
        """Mean and variance ``[P]`` of p(w) p(D | w)^β under the prior N(0, var)."""
        precision = beta * self.x.square().sum(dim=0) + 1 / var
        return beta * (self.x.T @ self.y)[:, 0] / precision, 1 / precision

    def log_evidence(self, var: float = 1.0, noise_var: float = 1.0) -> float:
        """log N(y; 0, σ² I + var x x')."""
        n = len(self.x)
        law = torch.distributions.MultivariateNormal(
            torch.zeros(n, dtype=torch.float64),
            noise_var * torch.eye(n, dtype=torch.float64) + var * self.x @ self.x.T,
        )
        return float(law.log_prob(self.y[:, 0]))

    def fit(self, mean: Tensor, var: Tensor) -> float:
        """E log p(D | w) for w ~ N(mean, var)."""
        squares = (self.y[:, 0] - self.x @ mean).square() + self.x.square() @ var
        return float(-0.5 * squares.sum() - 0.5 * len(self.x) * math.log(2 * math.pi))

    def family(
        self,
        *,
        lo: float = 0.1,
        hi: float = 1000.0,
        regions: int = 300,
        lams: tuple[float, ...] = (),
        objective: str = "scaled-kl",
        var: float = 1.0,
        noise_var: float = 1.0,
    ) -> Family:
        """The family of exact posteriors: a fine piecewise map, or a table if ``lams`` are given; trained under a noise."""
        net = nn.Linear(self.x.shape[1], 1, bias=False).double()
        kind = "table" if lams else "piecewise"
        config = FamilyConfig(lo, hi, kind, regions=regions, prior_var=var, lams=lams)
        family = Family(net, config)
        pivots = list(lams) or family.domain.grid(regions + 1)
        for row, lam in enumerate(pivots):
            tempered = objective == "scaled-kl"
            mean, variance = self.posterior(
                1 / (lam * noise_var) if tempered else 1.0, var if tempered else var / lam
            )
            with torch.no_grad():
                family.mean.pivots[row] = mean
                assert family.log_std is not None
                family.log_std.pivots[row] = 0.5 * variance.log()
        return family.eval()


@pytest.fixture
def linear() -> Linear:
    """40 examples, 5 weights of which two matter."""
    return make_linear(40, seed=3)


def make_linear(n: int, *, seed: int, weights: int = 5, noise_var: float = 1.0) -> Linear:
    source = torch.Generator().manual_seed(seed)
    raw = torch.randn(n, weights, generator=source, dtype=torch.float64)
    x = torch.linalg.qr(raw).Q * math.sqrt(n) * 0.7
    true = torch.zeros(weights, dtype=torch.float64)
    true[0], true[-1] = 0.8, -0.5
    noise = torch.randn(n, generator=source, dtype=torch.float64)
    return Linear(x, (x @ true + math.sqrt(noise_var) * noise)[:, None])

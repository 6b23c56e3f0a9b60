"""A posterior of gates for the tests: Bernoulli, relaxed in training; and one whose divergence is estimated.

Sources: Maddison, Mnih & Teh 2017, and Jang, Gu & Poole 2017 (the concrete relaxation of a Bernoulli variable).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.core.noise import Noise
from netdial.family.posteriors import POSTERIORS, Divergence, Field, Normal, Values

PRIOR = 0.1
"""Probability that a gate is open, before data."""
DRAWS = 64


class BernoulliToy:
    """Gates that are 1 with probability sigmoid(logit), else 0."""

    fields: Mapping[str, Field] = {
        "logit": Field(lambda leaf, log_std: leaf.clamp(1e-3, 1 - 1e-3).logit(), additive=True)
    }
    random = True
    temperature = 0.5

    def mean(self, fields: Values) -> Tensor:
        return fields["logit"].sigmoid()

    def sample(self, fields: Values, noise: Noise, temperature: float) -> Tensor:
        logit = fields["logit"]
        uniform = noise.uniform(*logit.shape[1:]).to(logit).clamp(1e-6, 1 - 1e-6)
        drawn = logit + uniform.logit()
        return (drawn > 0).to(logit) if temperature == 0 else (drawn / temperature).sigmoid()

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        logit = fields["logit"].flatten(1)
        prior = logit.new_tensor(PRIOR).logit()
        open_, shut = F.logsigmoid(logit), F.logsigmoid(-logit)
        each = logit.sigmoid() * (open_ - F.logsigmoid(prior))
        each = each + (-logit).sigmoid() * (shut - F.logsigmoid(-prior))
        return Divergence(each.sum(dim=1))


class Drawn(Normal):
    """A normal posterior whose divergence is the mean of log q/p over draws."""

    def kl(self, fields: Values, lam: Tensor, prior_var: Tensor, noise: Noise) -> Divergence:
        std, prior = (
            fields["log_std"].exp(),
            prior_var.sqrt().view(-1, *[1] * (fields["mean"].ndim - 1)),
        )
        q, p = (
            torch.distributions.Normal(fields["mean"], std),
            torch.distributions.Normal(0.0, prior),
        )
        draws = [self.sample(fields, noise, 0) for _ in range(DRAWS)]
        ratios = torch.stack([(q.log_prob(w) - p.log_prob(w)).flatten(1).sum(dim=1) for w in draws])
        return Divergence(ratios.mean(dim=0), ratios.std(dim=0) / DRAWS**0.5)


@contextmanager
def registered() -> Iterator[None]:
    """Registers both for a while."""
    before = dict(POSTERIORS._parts)
    try:
        POSTERIORS.add("bernoulli-toy")(BernoulliToy())
        POSTERIORS.add("drawn-toy")(Drawn())
        yield
    finally:
        POSTERIORS._parts = before


class Gated(nn.Module):
    """Channels of one number each, multiplied by gates and read by a linear layer."""

    def __init__(self, channels: int = 6, outputs: int = 2) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.full((channels,), 0.5))
        self.read = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.read(x * self.gate)
        return out

"""Controller: an LSTM that chooses one operation after another, trained by REINFORCE (Zoph & Le 2017).

The gradient of the expected loss E L(Γ) under p(Γ) is E (L(Γ) - b) ∇ log p(Γ) for any baseline b. The baseline is a moving
average of losses; differences from it are divided by a moving average of their size, so that one rate fits losses of any scale.

Shapes: N structures, C choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from netdial.core.noise import seeded


class ControllerDraw(NamedTuple):
    """What a controller drew.

    Attributes:
        codes: numbers of the vertices ``[N, C]``.
        log_prob: log p of each structure ``[N]``.
        entropy: sum of the entropies of its choices, each given those before ``[N]``.
        chances: probabilities of the vertices of each choice, given the choices before ``[N, vertices]``.
    """

    codes: Tensor
    log_prob: Tensor
    entropy: Tensor
    chances: list[Tensor]


class ControllerOptions(BaseModel):
    """Settings of a strategy that has a controller."""

    entropy_weight: float = Field(1e-2, ge=0, description="weight of the controller's entropy")
    width: int = Field(32, ge=1, description="units of the controller")


class Controller(nn.Module):
    """p(Γ) = Π_c p(Γ_c | Γ_1 … Γ_{c-1}).

    Args:
        counts: vertices of each choice.
        width: units of the LSTM.
        seed: decides the initial weights, uniform between ±0.1.
    """

    def __init__(self, counts: Sequence[int], width: int = 32, seed: int = 0) -> None:
        super().__init__()
        with seeded(seed, "controller"):
            self.first = nn.Parameter(torch.zeros(width))
            self.cell = nn.LSTMCell(width, width)
            self.read = nn.ModuleList(nn.Embedding(count, width) for count in counts[:-1])
            self.heads = nn.ModuleList(nn.Linear(width, count) for count in counts)
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(
        self, given: Tensor | None = None, count: int = 1, source: torch.Generator | None = None
    ) -> ControllerDraw:
        """Returns structures that were drawn, or the log probability of given ones.

        Args:
            given: codes ``[N, C]``; None to draw.
            count: how many are drawn.
            source: random numbers of the draws; None to take the likeliest of each choice in turn.
        """
        count = count if given is None else len(given)
        x = self.first.expand(count, -1)
        state: tuple[Tensor, Tensor] | None = None
        codes, taken, entropies, chances = [], [], [], []
        for at, head in enumerate(self.heads):
            state = self.cell(x, state)
            logs = head(state[0]).log_softmax(dim=-1)
            if given is not None:
                chosen = given[:, at]
            elif source is None:
                chosen = logs.argmax(dim=-1)
            else:
                chosen = torch.multinomial(logs.detach().exp(), 1, generator=source)[:, 0]
            codes.append(chosen)
            taken.append(logs.gather(1, chosen[:, None])[:, 0])
            chances.append(logs.exp())
            entropies.append(-(chances[-1] * logs).sum(dim=-1))
            if at < len(self.read):
                x = self.read[at](chosen)
        log_prob, entropy = (torch.stack(part, dim=1).sum(dim=1) for part in (taken, entropies))
        return ControllerDraw(torch.stack(codes, dim=1), log_prob, entropy, chances)


class Baseline(NamedTuple):
    """Moving averages of losses and of how far they lie from their average.

    Attributes:
        mean: of losses.
        spread: of their distance from it; 0 before the first losses.
    """

    mean: float = 0.0
    spread: float = 0.0

    def advantage(self, losses: Tensor) -> Tensor:
        """Returns how much worse than the baseline losses are, in units of the spread ``[N]``."""
        mean, spread = self.after(losses) if self.spread == 0 else self
        return (losses - mean) / max(spread, 1e-12)

    def after(self, losses: Tensor, decay: float = 0.9) -> Baseline:
        """Returns the baseline after some more losses."""
        mean = float(losses.mean())
        if self.spread == 0:
            return Baseline(mean, float((losses - mean).abs().mean()))
        spread = float((losses - self.mean).abs().mean())
        return Baseline(
            decay * self.mean + (1 - decay) * mean, decay * self.spread + (1 - decay) * spread
        )


def reinforce_loss(
    log_prob: Tensor, entropy: Tensor, advantage: Tensor, entropy_weight: float
) -> Tensor:
    """Returns what has the gradient of REINFORCE: mean of advantage times log p, less the weighted entropy."""
    return (advantage.detach() * log_prob - entropy_weight * entropy).mean()

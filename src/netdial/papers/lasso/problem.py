"""Data and loss of a linear model under a group penalty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from netdial.core.errors import ConfigError, DataError, ShapeError

Kind = Literal["linear", "logistic"]


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """Data of a multi-target linear or multi-class logistic regression, float64.

    Attributes:
        x: inputs ``[N, p]``.
        y: targets ``[N, n]`` for ``linear``, classes ``[N]`` int64 for ``logistic``.
        kind: which loss.
        intercept: whether there is a bias b.
        n_outputs: n; needed where the classes present may be fewer.

    Raises:
        ShapeError: inputs and targets do not fit.
        DataError: a number is not finite, or a class is outside 0 ... n - 1.
        ConfigError: unknown kind.
    """

    x: Tensor
    y: Tensor
    kind: Kind
    intercept: bool = True
    n_outputs: int = 0

    def __post_init__(self) -> None:
        """Checks shapes and numbers and turns them into float64."""
        linear = self.kind == "linear"
        if self.kind not in ("linear", "logistic"):
            raise ConfigError(f"LinearProblem(kind={self.kind!r}); allowed: linear, logistic")
        fits = self.x.ndim == 2 and self.y.ndim == (2 if linear else 1)
        if not fits or len(self.x) != len(self.y) or not len(self.x):
            raise ShapeError(
                f"Problem: x is {list(self.x.shape)} and y {list(self.y.shape)}; expected [N, p] with "
                f"{'[N, n]' if linear else '[N]'} for kind={self.kind!r} and N > 0"
            )
        if not bool(self.x.isfinite().all() & self.y.isfinite().all()):
            raise DataError(
                "Problem: x or y holds a number that is not finite; drop or fill such rows"
            )
        count = self.y.shape[1] if linear else self.n_outputs or int(self.y.max()) + 1
        if not linear and not 0 <= int(self.y.min()) <= int(self.y.max()) < count:
            raise DataError(f"Problem: classes must lie in 0 ... {count - 1}; give n_outputs")
        object.__setattr__(self, "n_outputs", count)
        object.__setattr__(self, "x", self.x.to(torch.float64))
        object.__setattr__(self, "y", self.y.to(torch.float64 if linear else torch.int64))

    def columns(self, keep: Tensor) -> LinearProblem:
        """Returns the problem with some of the inputs, int64 or bool ``[p]``."""
        return replace(self, x=self.x[:, keep])

    def outputs(self, weights: Tensor, bias: Tensor) -> Tensor:
        """Returns z = A x + b ``[N, n]``."""
        return self.x @ weights.T + bias

    def fit(self, outputs: Tensor) -> float:
        """Returns the mean over examples of ||y - z||², or of the cross-entropy in nats."""
        if self.kind == "linear":
            return float((outputs - self.y).square().sum()) / len(self.y)
        return float(cross_entropy(outputs, self.y))

    def slopes(self, outputs: Tensor) -> Tensor:
        """Returns the slopes U ``[N, n]`` of each example's loss: 2 (z - y), or softmax(z) - onehot(y)."""
        if self.kind == "linear":
            return 2 * (outputs - self.y)
        found = outputs.softmax(dim=1)
        found[torch.arange(len(found)), self.y] -= 1
        return found

    def gradient(self, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients for A ``[n, p]`` and for b ``[n]``, zero when there is none."""
        bias = slopes.mean(dim=0) if self.intercept else slopes.new_zeros(self.n_outputs)
        return slopes.T @ self.x / len(self.x), bias

    @cached_property
    def lipschitz(self) -> float:
        """A bound of the curvature: 2 or 1/2 times the largest eigenvalue of [x, 1]^T [x, 1] / N."""
        x = torch.cat([self.x, self.x.new_ones(len(self.x), 1)], 1) if self.intercept else self.x
        if not x.shape[1]:
            return 1.0
        gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
        largest = float(torch.linalg.eigvalsh(gram)[-1]) / len(x)
        return max((2.0 if self.kind == "linear" else 0.5) * largest, 1e-12)

    @cached_property
    def null(self) -> tuple[Tensor, float]:
        """The best b ``[n]`` for A = 0, and its loss; a class that is absent has the bias log of 1e-12."""
        if self.kind == "linear":
            bias = self.y.mean(dim=0)
        else:
            shares = self.y.bincount(minlength=self.n_outputs).double() / len(self.y)
            bias = shares.clamp_min(1e-12).log()
        if not self.intercept:
            bias = torch.zeros_like(bias)
        return bias, self.fit(bias.expand(len(self.y), -1))

"""Two levels of training through the same loop: weights learn on one feed, a hyper-parameter on another.

Ridge regression with one weight for each input. For a penalty exp(a) the best weights are known in closed form, and so is the
loss on the validation part as a function of a; the loop has to find its minimum (Franceschi et al. 2018, bilevel programming).
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netdial.data.dataset import Dataset
from netdial.train.feed import Batch, Feeds, TensorFeed
from netdial.train.loop import Epoch, Progress, resume, train
from netdial.train.session import Interrupted

RATE, STEPS = 0.05, 600


class Ridge(nn.Module):
    """Weights ``[D, 1]`` and the logarithm of their penalty."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_inputs, 1, dtype=torch.float64))
        self.log_penalty = nn.Parameter(torch.zeros((), dtype=torch.float64))


@dataclass
class State:
    """Two optimisers on one module."""

    module: Ridge
    lower: torch.optim.Optimizer
    upper: torch.optim.Optimizer
    n_updates: int = 0

    @property
    def lr(self) -> float:
        return float(self.lower.param_groups[0]["lr"])

    def tree(self) -> dict[str, Any]:
        return {
            "module": dict(self.module.state_dict()),
            "lower": self.lower.state_dict(),
            "upper": self.upper.state_dict(),
            "n_updates": self.n_updates,
        }

    def restore(self, tree: dict[str, Any]) -> None:
        self.module.load_state_dict(tree["module"])
        self.lower.load_state_dict(tree["lower"])
        self.upper.load_state_dict(tree["upper"])
        self.n_updates = tree["n_updates"]


@dataclass(frozen=True)
class Bilevel:
    """Alternates a step of the weights on ``train`` and one of their penalty on ``valid``.

    The gradient of the penalty goes through the best weights: dw/da = -(X'X/n + exp(a))^-1 exp(a) w.
    """

    def init(self, n_inputs: int) -> State:
        net = Ridge(n_inputs)
        lower = torch.optim.Adam([net.weight], lr=RATE)
        return State(net, lower, torch.optim.SGD([net.log_penalty], lr=0.5))

    def step(self, state: State, batch: dict[str, Batch]) -> dict[str, Tensor]:
        net, data, valid = state.module, batch["train"], batch["valid"]
        penalty = net.log_penalty.exp()
        fit = (data.x @ net.weight - data.y).square().mean() / 2
        (net.weight.grad,) = torch.autograd.grad(
            fit + penalty.detach() * net.weight.square().sum() / 2, [net.weight]
        )
        state.lower.step()
        hessian = data.x.T @ data.x / len(data.x) + penalty.detach() * torch.eye(len(net.weight))
        loss = (valid.x @ net.weight - valid.y).square().mean() / 2
        (slope,) = torch.autograd.grad(loss, [net.weight])
        with torch.no_grad():
            moves = -torch.linalg.solve(hessian, penalty * net.weight)
            net.log_penalty.grad = (slope * moves).sum()
        state.upper.step()
        state.n_updates += 1 + net.weight.numel()
        return {"train": fit.detach().view(1), "valid": loss.detach().view(1)}


@pytest.fixture(scope="module")
def data() -> tuple[Dataset, Dataset]:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, generator=source, dtype=torch.float64)
    truth = torch.randn(6, 1, generator=source, dtype=torch.float64)
    y = x @ truth + 1.5 * torch.randn(60, 1, generator=source, dtype=torch.float64)
    return Dataset(x[:20], y[:20]), Dataset(x[20:], y[20:])


def best(train_: Dataset, valid: Dataset) -> tuple[float, Tensor]:
    """Returns the logarithm of the best penalty and its weights, by search over the closed form."""
    x, y = train_.x, train_.y
    grid = torch.linspace(-6, 3, 2001, dtype=torch.float64).exp()
    normal = x.T @ x / len(x) + grid[:, None, None] * torch.eye(6, dtype=torch.float64)
    weights = torch.linalg.solve(normal, x.T @ y / len(x))
    losses = (valid.x @ weights - valid.y).square().mean((1, 2))
    at = int(losses.argmin())
    assert 0 < at < 2000, "the minimum lies inside"
    return float(grid[at].log()), weights[at]


def pieces(data: tuple[Dataset, Dataset]) -> tuple[Bilevel, State, Feeds]:
    """All of the training part in each step; the validation part in two batches, which take turns."""
    method = Bilevel()
    train_, valid = (
        TensorFeed(part, batch_size=size, seed=0) for part, size in zip(data, (20, 40), strict=True)
    )
    return method, method.init(6), Feeds(train=train_, valid=valid)


def test_a_bilevel_method_finds_the_best_penalty(data: tuple[Dataset, Dataset]) -> None:
    method, state, feeds = pieces(data)
    epochs: list[Epoch] = []
    progress = train(method, state, feeds, epochs=STEPS, report=epochs.append)
    log_penalty, weights = best(*data)
    assert state.module.log_penalty.item() == pytest.approx(log_penalty, abs=0.02)
    assert torch.allclose(state.module.weight, weights, atol=0.01)
    assert progress.step == len(epochs) == STEPS
    assert set(epochs[0].measured) == {"train", "valid"}
    assert epochs[-1].measured["valid"][0] < epochs[0].measured["valid"][0]
    assert (epochs[-1].lr, epochs[-1].n_updates) == (RATE, 7 * STEPS)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_it_goes_on_bit_for_bit(stop: int, data: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    def made() -> tuple[Bilevel, State, Feeds]:
        method, state, _ = pieces(data)
        parts = (TensorFeed(part, batch_size=6, seed=1) for part in data)
        return method, state, Feeds(**dict(zip(("train", "valid"), parts, strict=True)))

    def interrupt(step: int, total: int) -> None:
        if step == stop:
            os.kill(os.getpid(), signal.SIGINT)

    def run(pieces: tuple[Bilevel, State, Feeds], **options: Any) -> Progress:
        return train(*pieces, epochs=3, report=lambda epoch: None, **options)

    whole, first, rest = made(), made(), made()
    run(whole)
    with pytest.raises(Interrupted):
        run(first, checkpoint=tmp_path / "state", advance=interrupt)
    progress = resume(rest[1], tmp_path / "state", {})
    assert progress.step == stop
    assert run(rest, progress=progress).step == 12
    assert torch.equal(rest[1].module.weight, whole[1].module.weight)
    assert torch.equal(rest[1].module.log_penalty, whole[1].module.log_penalty)


def test_feeds_side_by_side_go_on_where_they_were() -> None:
    def numbers(count: int, size: int) -> TensorFeed:
        x = torch.arange(float(count))[:, None]
        return TensorFeed(Dataset(x, x), batch_size=size, seed=3)

    long, short = numbers(12, 3), numbers(6, 2)
    feeds = Feeds(long=long, short=short)
    assert (feeds.n_data, feeds.steps) == (12, 4)
    taken = [batch for number in range(3) for batch in feeds.epoch(number)]
    alone = [batch.x for number in range(4) for batch in short.epoch(number)]
    assert all(torch.equal(batch["short"].x, x) for batch, x in zip(taken, alone, strict=True))
    for start in range(12):
        number, skip = divmod(start, 4)
        (here, *_) = feeds.epoch(number, skip)
        assert all(torch.equal(here[name].x, taken[start][name].x) for name in ("long", "short"))

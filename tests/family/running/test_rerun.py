"""Activation checkpointing: a network that runs parts of itself again in backward gets the gradients of one that does not."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import netdial as nd
from netdial.core.errors import TraceError
from netdial.core.noise import Noise
from netdial.family import Family, FamilyConfig

# torch says so of its older way wherever a network runs without gradients, as in evaluation
pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")


class Block(nn.Module):
    """A residual block with a normalisation, dropout and a scale that is no layer's."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width) if norm else nn.LayerNorm(width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        kept = nn.functional.dropout(self.norm(self.inner(x)).tanh(), 0.2, self.training)
        return cast(Tensor, x + self.scale * kept)


class Net(nn.Module):
    """Blocks that run again in backward if ``how`` says so; the last is used twice, and tied to the first layer."""

    def __init__(self, how: str, *, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 6)
        self.blocks = nn.ModuleList([Block(6, norm), Block(6, norm)])
        self.last = nn.Linear(6, 2)
        self.how = how

    def part(self, block: nn.Module, x: Tensor) -> Any:
        if self.how == "plain":
            return block(x)
        if self.how == "nested":
            return checkpoint(
                lambda x: checkpoint(block, x.sin(), use_reentrant=False), x, use_reentrant=False
            )
        return checkpoint(block, x, use_reentrant=self.how == "reentrant")

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in [*self.blocks, self.blocks[1]]:
            x = self.part(block, x)
        x = nn.functional.linear(x, self.first.weight)
        return cast(Tensor, self.last(x))


HOWS = ["reentrant", "other"]


def gradients(how: str, posterior: str, **options: Any) -> tuple[Tensor, list[Tensor]]:
    """Outputs and gradients of two steps: one where re-running is found out, one where it is known."""
    family = Family(
        Net(how, **options).double(),
        FamilyConfig(map="linear", posterior=posterior, log_std=-1.0, shared=("last.bias",)),  # type: ignore[arg-type]
    ).train()
    x = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    unit = torch.tensor([0.3], dtype=torch.float64)
    for step in range(2):
        family.zero_grad()
        out = family.run(x, family.fields(unit), unit, Noise(0, step, [0]))
        out.square().sum().backward()
    found = [cast(Tensor, p.grad) for p in family.parameters()]
    return out.detach(), [*found, *(b.clone() for b in family.statistics.buffers())]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("posterior", ["normal", "point"])
@pytest.mark.parametrize("how", HOWS)
def test_gradients_are_those_without_checkpointing(how: str, posterior: str, norm: bool) -> None:
    out, found = gradients(how, posterior, norm=norm)
    expected, wanted = gradients("plain", posterior, norm=norm)
    assert torch.equal(out, expected)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one.double(), other.double(), rtol=1e-9, atol=1e-12)


def test_code_may_ask_for_gradients_of_its_inputs() -> None:
    """Encoders of sound do, for the sake of checkpoints behind; torch refuses that for what has been computed."""

    class Asks(Net):
        def forward(self, x: Tensor) -> Tensor:
            hidden = x[:, None]
            if self.training:
                hidden.requires_grad = True
            return super().forward(hidden.squeeze(1))

    for how in ("plain", "reentrant"):
        found = []
        for kind in (Asks, Net):
            family = Family(kind(how).double(), FamilyConfig(map="linear")).train()
            x = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            unit = torch.tensor([0.3], dtype=torch.float64)
            for _ in range(2):
                family.zero_grad()
                out = family.run(x, family.fields(unit), unit, Noise(0, 0, [0]))
                out.square().sum().backward()
            found.append([cast(Tensor, p.grad) for p in family.parameters()])
        for one, other in zip(*found, strict=True):
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_checkpoints_inside_checkpoints() -> None:
    class Sines(Net):
        def part(self, block: nn.Module, x: Tensor) -> Any:
            return super().part(block, x) if self.how == "nested" else block(x.sin())

    def run(how: str) -> list[Tensor]:
        family = Family(Sines(how).double(), FamilyConfig(map="linear")).train()
        x = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        unit = torch.tensor([0.3], dtype=torch.float64)
        family.run(x, family.fields(unit), unit, Noise(0, 0, [0])).square().sum().backward()
        return [cast(Tensor, p.grad) for p in family.parameters()]

    for one, other in zip(run("nested"), run("plain"), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("settings", [{}, {"objective": "l2"}, {"sampling": "whole"}])
def test_training_ends_where_it_ends_without_checkpointing(
    how: str, settings: dict[str, Any]
) -> None:
    torch.manual_seed(1)
    x = torch.randn(32, 6)
    data = x, (x[:, 0] > 0).long()
    one, other = (
        nd.fit(Net(name), data, epochs=2, batch_size=16, groups=4, **settings)
        for name in (how, "plain")
    )
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(first, second, atol=1e-6)
    tuned = [nd.finetune(family, 1.0, data, epochs=1, batch_size=16) for family in (one, other)]
    assert torch.allclose(tuned[0].export(1.0)(x), tuned[1].export(1.0)(x), atol=1e-5)


@pytest.mark.parametrize("how", HOWS)
def test_members_run_side_by_side_and_again(how: str) -> None:
    class Chained(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            if how == "plain":
                return cast(Tensor, super().forward(x))
            x = self[0](x)
            return cast(Tensor, checkpoint_sequential(self[1:], 2, x, use_reentrant=how == HOWS[0]))

    def run() -> tuple[bool, list[Tensor]]:
        torch.manual_seed(0)
        family = Family(
            Chained(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 6), nn.Dropout(), nn.Linear(6, 2)),
            FamilyConfig(map="linear"),
        ).double()
        x = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        unit = torch.linspace(0, 1, 4, dtype=torch.float64)
        together = family.side_by_side(x, 4, 4)
        family.train()
        out = family.run(x, family.fields(unit), unit, Noise(0, 0, range(4)))
        out.square().sum().backward()
        return together, [cast(Tensor, p.grad) for p in family.parameters()]

    together, found = run()
    how = "plain"
    _, wanted = run()
    assert together
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_a_network_that_does_not_run_again_is_kept_once_only() -> None:
    family = Family(Net("plain")).train()
    unit = torch.tensor([0.3], dtype=torch.float64)
    kinds = []
    for step in range(2):
        out = family.run(torch.randn(4, 6), family.fields(unit), unit, Noise(0, step, [0]))
        kinds.append(type(out.grad_fn).__name__)
        out.sum().backward()
    assert kinds[0] == "_KeptBackward" and kinds[1] != "_KeptBackward"


class _Again(torch.autograd.Function):
    """Runs a layer again in backward by means of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:
        ctx.x, ctx.layer = x, layer
        return cast(Tensor, layer(x))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        with torch.enable_grad():
            torch.autograd.backward(ctx.layer(ctx.x.detach().requires_grad_()), grad)
        return grad, None


def test_a_network_that_runs_again_by_other_means_is_refused() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.layer = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, _Again.apply(self.first(x), self.layer))  # type: ignore[no-untyped-call]

    data = torch.randn(16, 4), torch.arange(16) % 4
    with pytest.raises(TraceError, match=r"'layer\.weight'.*torch\.utils\.checkpoint"):
        nd.fit(Own(), data, epochs=1, batch_size=8, groups=2)


def test_pruning_by_gradients_sees_the_members_weights() -> None:
    torch.manual_seed(1)
    x = torch.randn(32, 6)
    data = x, (x[:, 0] > 0).long()
    kept = []
    for how in ("plain", "other"):
        family = nd.fit(Net(how), data, epochs=1, batch_size=16, groups=4)
        pruned = nd.prune(family, 1.0, 0.5, criterion="taylor", data=data)
        kept.append(pruned.kept)
    assert kept[0] is not None and kept[1] is not None
    assert torch.equal(kept[0], kept[1])

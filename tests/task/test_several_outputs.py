"""Losses of all that a network gives."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Normal

import netdial as nd
from netdial.core.errors import ConfigError, ShapeError
from netdial.core.inputs import OutputLayout, together
from netdial.core.outputs import tensors
from netdial.task.loss import Loss
from netdial.task.several import AllOutputs, taken_up

G = torch.Generator().manual_seed(0)
X = torch.randn(120, 3, generator=G) @ torch.randn(3, 8, generator=G)
Pair = namedtuple("Pair", ["one", "other"])


@dataclass
class Output:
    """What a network gives."""

    made: Tensor
    mean: Any
    more: Any = None


class Coder(nn.Module):
    """An autoencoder with a variance for each of its numbers; what it gives is put together by a function."""

    def __init__(self, pack: Any = lambda *parts: parts) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pack = pack
        self.up, self.mean, self.spread = nn.Linear(8, 12), nn.Linear(12, 3), nn.Linear(12, 3)
        self.down = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Any:
        h = torch.relu(self.up(x))
        mean, spread = self.mean(h), self.spread(h)
        return self.pack(self.down(mean), mean, spread, mean.square().mean())


class Joined(nn.Module):
    """The same with all of it in one tensor, as it was written before."""

    def __init__(self) -> None:
        super().__init__()
        self.coder = Coder()

    def forward(self, x: Tensor) -> Tensor:
        made, mean, spread, size = self.coder(x)
        return torch.cat([made, mean, spread, size.expand(len(x), 1)], dim=1)


def bound(found: Any, y: Tensor) -> Tensor:
    made, mean, spread, size = found
    kl = 0.5 * (mean**2 + spread.exp() - spread - 1).sum(1).mean()
    return F.mse_loss(made, y) + 0.01 * kl + 0.001 * size


def of_joined(found: Tensor, y: Tensor) -> Tensor:
    made, mean, spread, size = found.split([8, 3, 3, 1], dim=1)
    return bound((made, mean, spread, size.mean()), y)


numbers = st.builds(
    lambda shape, seed, whole: (
        torch.randint(0, 9, (4, *shape), generator=torch.Generator().manual_seed(seed))
        if whole
        else torch.randn((4, *shape), generator=torch.Generator().manual_seed(seed))
    ),
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(0, 99),
    st.booleans(),
)
single = st.floats(-3, 3, width=32).map(torch.tensor)
structures = st.recursive(
    numbers | single | st.none() | st.integers(),
    lambda inside: (
        st.lists(inside, min_size=1, max_size=3)
        | st.lists(inside, min_size=1, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abc"), inside, min_size=1)
        | st.builds(Pair, inside, inside)
        | st.builds(Output, numbers, inside)
    ),
    max_leaves=6,
)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.allclose(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Output):
        return _same(list(vars(one).values()), list(vars(other).values()))
    return bool(one == other)


@settings(max_examples=60, deadline=None)
@given(st.lists(structures, min_size=1, max_size=3).map(tuple))
def test_what_was_put_together_comes_apart(found: Any) -> None:
    layout = OutputLayout.of(found, 4)
    has_rows = any(part.ndim for part in tensors(found)) or "Output" in repr(found)
    if layout is None or not has_rows:
        return
    again = layout.apart(together(found))
    assert type(again) is type(found) and _same(found, again)


def test_what_cannot_lie_in_one_tensor_has_no_layout() -> None:
    assert OutputLayout.of(X, len(X)) is None
    assert OutputLayout.of((None, 3), 4) is None
    assert OutputLayout.of((torch.zeros(4, 2), torch.zeros(7, 2)), 4) is None


PACKS: dict[str, tuple[Any, Any]] = {
    "a tuple": (lambda *parts: parts, bound),
    "a dict": (
        lambda *parts: dict(zip("abcd", parts, strict=True)),
        lambda found, y: bound([found[k] for k in "abcd"], y),
    ),
    "a data class": (
        lambda made, mean, *more: Output(made, mean, {"more": more}),
        lambda found, y: bound([found.made, found.mean, *found.more["more"]], y),
    ),
}


@pytest.mark.parametrize("name", PACKS)
def test_training_is_that_of_outputs_joined_by_hand(name: str) -> None:
    pack, loss = PACKS[name]
    told: dict[str, Any] = {"epochs": 2, "lam": 0.003, "seed": 1}
    shrunk = nd.shrink(Coder(pack), (X, X), loss=loss, **told)
    other = nd.shrink(Joined(), (X, X), loss=of_joined, **told)
    for one, two in zip(shrunk.net.parameters(), other.net.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)
    assert torch.allclose(shrunk.net.eval()(X), other.net.eval()(X), atol=1e-6)


def test_a_family_is_evaluated_from_its_file(tmp_path: Path) -> None:
    family = nd.fit(Coder(), (X, X), loss=bound, epochs=2, lam=(0.01, 1))
    losses = [m.metrics["loss"] for m in nd.evaluate(family, (X, X), lams=3).members]
    net = family.export(family.lams(3)[1])
    assert losses[1] == pytest.approx(bound(net(x=X), X).item(), rel=1e-5)
    nd.save(family, tmp_path / "family")
    again = nd.load_model(tmp_path / "family", Coder())
    found = [m.metrics["loss"] for m in nd.evaluate(again, (X, X), lams=3, loss=bound).members]
    assert found == pytest.approx(losses)
    small = nd.slim(again, again.lams(3)[1], share=0.3, data=(X, X), loss=bound)
    assert small.net(X).shape == (len(X), 8 + 3 + 3 + 1)


def test_what_comes_back_gives_what_its_class_gives(tmp_path: Path) -> None:
    pack, loss = PACKS["a data class"]
    shrunk = nd.shrink(Coder(pack), (X, X), loss=loss, epochs=2, size="150 params")
    nd.save(shrunk, tmp_path / "small")
    again = nd.load_model(tmp_path / "small", Coder(pack))
    assert isinstance(again(X), Output)
    assert loss(again(X), X).isfinite()
    more = nd.shrink(again, (X, X), loss=loss, epochs=1, lam=1e-3)
    assert more.net(X).shape == (len(X), 15)
    classes = torch.randint(0, 3, (len(X),))
    picked = nd.shrink(
        again, (X, classes), epochs=1, lam=1e-3
    )  # its first output, by the usual loss
    assert picked.net(X).shape == (len(X), 8)


def test_a_function_of_one_tensor_is_of_the_scored_output() -> None:
    net = Coder(lambda made, mean, *_: {"features": mean, "logits": made})
    classes = torch.randint(0, 8, (len(X),), generator=torch.Generator().manual_seed(1))
    kind, found = taken_up(net, nd.data.Dataset(X, classes), None, F.cross_entropy)
    assert isinstance(kind, Loss) and not isinstance(kind.function, AllOutputs)
    assert found(X).shape == (len(X), 8)


def kl(found: Any, y: Tensor) -> Tensor:
    made, mean = found[0], found[1]
    return F.mse_loss(made, y) + torch.distributions.kl_divergence(mean, Normal(0.0, 1.0)).mean()


@pytest.mark.parametrize(
    ("pack", "loss", "words"),
    [
        (
            lambda made, mean, spread, _: (made, Normal(mean, spread.exp())),
            kl,
            r"takes all that network Coder gives, and output 1 is a Normal and no tensor",
        ),
        (
            lambda made, *_: {"made": made, "size": float(made.detach().norm())},
            lambda found, y: F.mse_loss(found["made"], y) * found["size"],
            r"output size is \d+\.\d+ and no tensor",
        ),
        (
            lambda made, *_: (made, len(made)),
            lambda found, y: (found[0] - y).square().sum() / found[1],
            r"output 1 is 3 in evaluation and 2 in training",
        ),
        (
            lambda made, mean, *_: {"made": made, "weights": mean[0]},
            lambda found, y: F.mse_loss(found["made"], y) + found["weights"].sum(),
            r"output weights is of shape \[3\] and has no row for each example",
        ),
        (
            lambda made, mean, spread, size: (made, size if made.requires_grad else 0.0),
            lambda found, y: F.mse_loss(found[0], y) + found[1],
            r"output 1 is 0.0 and no tensor",
        ),
    ],
    ids=["distribution", "number", "count", "no rows", "a number without gradients"],
)
@pytest.mark.parametrize("train", [nd.fit, nd.shrink])
def test_a_loss_of_what_would_be_that_of_another_batch_is_refused(
    train: Any, pack: Any, loss: Any, words: str
) -> None:
    told = {"size": "150 params"} if train is nd.shrink else {}
    with pytest.raises(ConfigError, match=words):
        train(Coder(pack), (X, X), loss=loss, epochs=1, **told)


class Routed(Coder):
    """Balances its parts in training alone."""

    def forward(self, x: Tensor) -> Any:
        made, *_, size = super().forward(x)
        return made, size if self.training else 0.0


def test_outputs_of_other_kinds_in_training_are_told() -> None:
    words = r"output 1 is 0.0 in evaluation and a tensor \[\] in training; give the same in both"
    with pytest.raises(ConfigError, match=words):
        nd.fit(Routed(), (X, X), loss=lambda found, y: F.mse_loss(found[0], y) + found[1], epochs=1)


class Supervised(Coder):
    """Gives one output more in training."""

    def forward(self, x: Tensor) -> Any:
        made, mean, spread, _ = super().forward(x)
        return (made, mean, spread) if self.training else (made, mean)


def test_a_loss_that_takes_one_tensor_as_well_is_of_the_scored_output() -> None:
    def loss(found: Any, y: Tensor) -> Tensor:
        return F.mse_loss(found[0] if isinstance(found, tuple) else found, y)

    shrunk = nd.shrink(Supervised(), (X, X), loss=loss, epochs=1, size="150 params")
    assert shrunk.net(X).shape == (len(X), 8)


def test_what_a_loss_does_not_touch_may_be_anything() -> None:
    def pack(made: Tensor, mean: Tensor, spread: Tensor, size: Tensor) -> Any:
        return {"made": made, "law": Normal(mean, 1.0), "size": float(size.detach()), "parts": 2}

    def loss(found: Any, y: Tensor) -> Tensor:
        return F.mse_loss(found["made"], y) / found["parts"]

    family = nd.fit(Coder(pack), (X, X), loss=loss, epochs=1)
    net = family.export(family.lams(3)[0])
    assert nd.evaluate(family, (X, X), lams=3).members[0].metrics["loss"] == pytest.approx(
        loss(net(x=X), X).item(), rel=1e-5
    )


def test_a_loss_that_fails_on_all_and_on_one_is_told_both() -> None:
    words = r"fails with IndexError: .*; of all that the network gives it says KeyError: 'mad'"
    net = Coder(lambda made, *_: {"made": made})
    with pytest.raises(ShapeError, match=words):
        nd.fit(net, (X, X), loss=lambda found, y: F.mse_loss(found["mad"], y), epochs=1)

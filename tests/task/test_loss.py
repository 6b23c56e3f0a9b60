"""Loss functions of the user's own: what they are given, what they may give, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError, DataError, NetdialError, ShapeError
from netdial.structure.spaces import ready_space
from netdial.task import Loss

SOURCE = torch.Generator().manual_seed(0)
X = torch.randn(32, 4, generator=SOURCE)
Y = (X[:, :2] > 0).float()
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 8}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


def labels_differ(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss of the batch that is no mean over examples."""
    return (outputs.mean(0) - targets.mean(0)).square().sum()


def test_one_number_for_a_batch_counts_for_each_example() -> None:
    outputs = torch.randn(6, 2, generator=SOURCE, requires_grad=True)
    targets = Y[:6]
    task = Loss.of(nn.BCEWithLogitsLoss()).seen(outputs, targets)
    assert task.whole and task.title == "BCEWithLogitsLoss"
    found = task.nll(outputs, targets)
    assert found.shape == (6,)
    assert torch.allclose(found.mean(), F.binary_cross_entropy_with_logits(outputs, targets))
    each = Loss.of(nn.BCEWithLogitsLoss(reduction="none")).seen(outputs, targets)
    assert not each.whole and torch.allclose(each.nll(outputs, targets).mean(), found.mean())


@pytest.mark.parametrize(
    "loss",
    [
        nn.BCEWithLogitsLoss(reduction="sum"),
        lambda out, y: (out - y).square().sum(),
    ],
)
def test_a_loss_that_adds_up_over_a_batch_is_refused(loss: Callable[..., Tensor]) -> None:
    """Its weight beside the complexity would grow with the batch: at 16 examples, λ would be a sixteenth of what it says."""
    with pytest.raises(ConfigError, match=r"adds up over the examples .*reduction='mean'"):
        nd.fit(net(), (X, Y), loss=loss, **SHORT)
    nd.fit(net(), (X, Y), loss=lambda out, y: (out - y).square().sum(1), **SHORT)


def test_every_group_of_a_family_has_its_own() -> None:
    outputs, targets = torch.randn(12, 2, generator=SOURCE), Y[:12]
    task = Loss.of(labels_differ).seen(outputs, targets)
    found = task.nll_by_groups(outputs, targets, 3)
    due = [labels_differ(outputs[i : i + 4], targets[i : i + 4]) for i in (0, 4, 8)]
    assert torch.allclose(found, torch.stack(due).repeat_interleave(4))


def test_shrinking_follows_the_gradient_of_the_loss() -> None:
    """One step of SGD moves the last bias by what autograd says of the user's function."""
    start, shrunk = net(), None
    shrunk = nd.shrink(
        start, (X, Y), loss=labels_differ, lam=0.0, start="unit", optimizer="SGD", lr=0.5, epochs=1,
        batch_size=32, momentum=0.0, schedule="constant", lam2=0.0,
    )  # fmt: skip
    switched = net()
    labels_differ(switched(X), Y).backward()
    bias = switched.get_parameter("2.bias")
    assert bias.grad is not None
    assert torch.allclose(shrunk.net.get_parameter("2.bias"), bias - 0.5 * bias.grad, atol=1e-5)


def test_a_family_goes_down_its_loss_and_is_measured_by_it(tmp_path: Path) -> None:
    family = nd.fit(net(), (X, Y), loss=labels_differ, epochs=20, batch_size=16, lr=1e-2)
    path = nd.evaluate(family, (X, Y), lams=3, n_samples=0)
    assert path.metric == "loss"
    before = float(labels_differ(net()(X), Y).detach())
    assert path.members[0].metrics["loss"] < before
    assert float(labels_differ(family.export(1.0)(X), Y).detach()) == pytest.approx(
        nd.evaluate(family, (X, Y), lams=[1.0], n_samples=0).members[0].metrics["loss"], rel=1e-4
    )
    nd.save(family, tmp_path / "family.safetensors")
    again = nd.load_model(tmp_path / "family.safetensors", net())
    with pytest.raises(ConfigError, match=r"a function \(labels_differ\).*loss="):
        nd.evaluate(again, (X, Y), lams=3)
    found = nd.evaluate(again, (X, Y), lams=3, n_samples=0, loss=labels_differ)
    assert found.column("loss") == pytest.approx(path.column("loss"))


def test_what_a_loss_holds_is_of_the_type_of_training_where_members_are_scored() -> None:
    """Scores are of outputs in double precision, which torch's cross-entropy does not take beside weights in single."""
    weight = torch.tensor([1.0, 5.0])
    loss, labels = nn.CrossEntropyLoss(weight=weight, reduction="none"), Y[:, 0].long()
    family = nd.fit(net(), (X, labels), loss=loss, **SHORT)
    found = nd.evaluate(family, (X, labels), lams=[1.0])
    with torch.no_grad():
        due = float(loss(family.export(1.0)(X), labels).mean())
    assert found.column("loss") == pytest.approx([due])
    assert found.rows()[0].loss == pytest.approx(due)
    nd.average(family, (X, labels))
    nd.choose(family, (X, labels), shares=[0.0, 0.5], lams=3)


class Scaled(nn.Module):
    """A loss with a number that a user may want to have trained."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("weight", torch.tensor([1.0, 5.0]))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.scale * F.cross_entropy(outputs, targets, self.weight, reduction="none")


@pytest.mark.parametrize("double", ["network", "precision"])
def test_a_loss_that_holds_numbers_in_single_precision_scores_those_in_double(double: str) -> None:
    loss, labels = Scaled().requires_grad_(False), Y[:, 0].long()
    if double == "network":
        family = nd.fit(net().double(), (X, labels), loss=loss, **SHORT)
    else:
        family = nd.fit(net(), (X, labels), loss=loss, precision="64-true", **SHORT)
    found = nd.evaluate(family, (X, labels), lams=[1.0], loss=loss).column("loss")
    assert loss.weight.dtype == torch.float32
    with torch.no_grad():
        due = loss.double()(family.export(1.0).double()(X.double()), labels).mean()
    assert found == pytest.approx([float(due)], rel=1e-6)


@pytest.mark.parametrize("train", [nd.fit, nd.shrink])
def test_a_loss_whose_parameters_nobody_would_train_is_refused(train: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"Scaled: has parameters of its own \(scale\)"):
        train(net(), (X, Y[:, 0].long()), loss=Scaled(), **SHORT)


def test_what_a_loss_holds_goes_where_the_outputs_are() -> None:
    """Training moves a network to the accelerator, and members are scored on the processor."""
    task = Loss.of(nn.CrossEntropyLoss(weight=torch.ones(2)))
    found = task.nll(
        torch.zeros(3, 2, device="meta"), torch.zeros(3, dtype=torch.long, device="meta")
    )
    assert found.device.type == "meta"


def test_complex_outputs_are_scored_as_they_are_trained() -> None:
    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Tensor) -> Tensor:
            return torch.complex(*self.inner(x).split(1, dim=1))

    given: list[torch.dtype] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        given.append(outputs.dtype)
        return (outputs.abs() - targets).square()

    family = nd.fit(Complex(), (X, Y[:, :1]), loss=loss, **SHORT)
    assert set(given) == {torch.complex64}
    found = nd.evaluate(family, (X, Y[:, :1]), lams=[1.0])
    with torch.no_grad():
        due = float(loss(family.export(1.0)(X), Y[:, :1]).mean())
    assert found.rows()[0].loss == pytest.approx(due)


def test_slimming_measures_by_the_loss() -> None:
    found = nd.slim(net(), share=0.5, data=(X, Y), loss=labels_differ, criterion="taylor")
    assert found.widths == {"0": 3}


@pytest.mark.slow
def test_a_search_and_a_compression_go_by_the_loss() -> None:
    space = ready_space("mlp", input_shape=X.shape[1:], n_outputs=2, depth=1, width=4)
    options: dict[str, Any] = {"strategy": "random", "options": {"trials": 2}, "compare": False}
    found = nd.search(space, (X, Y), (X, Y), loss=labels_differ, **options, **SHORT)
    with torch.no_grad():
        due = labels_differ(found.network(X), Y).mean()
    assert found.tried.loss == pytest.approx(float(due), rel=1e-5)
    small = nd.compress(found.network, (X, Y), (X, Y), loss=labels_differ, max_loss=10.0, epochs=1)
    with torch.no_grad():
        due = labels_differ(small.net(X), Y).mean()
    assert small.chosen.loss == pytest.approx(float(due), rel=1e-5)
    with pytest.raises(ConfigError, match="kind='regression' and loss: give one"):
        nd.search(space, (X, Y), (X, Y), kind="regression", loss=labels_differ, **options)


def without_gradient(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets.argmax(1)).float().mean()


WEIGHTED = (X, Y, torch.rand(32, generator=SOURCE))
REFUSED: dict[str, tuple[Callable[[], Any], type[NetdialError], str]] = {
    "both": (
        lambda: nd.fit(net(), (X, Y), kind="regression", loss=F.mse_loss),
        ConfigError,
        "kind='regression' and loss: give one",
    ),
    "no function": (
        lambda: nd.shrink(net(), (X, Y), loss="bce"),  # type: ignore[arg-type]
        NetdialError,
        "loss",
    ),
    "no gradient": (
        lambda: nd.fit(net(), (X, Y), loss=without_gradient),
        ConfigError,
        "without_gradient: no gradient leads",
    ),
    "a loss that fails": (
        lambda: nd.fit(net(), (X, Y), loss=nn.NLLLoss()),
        ShapeError,
        r"\[2, 2\].*loss NLLLoss takes with targets \[2, 2\] of torch.float32; it fails with RuntimeError",
    ),
    "no tensor": (
        lambda: nd.shrink(net(), (X, Y), loss=lambda o, t: 1.0),  # type: ignore[arg-type, return-value]
        ConfigError,
        "gave a float",
    ),
    "other examples": (
        lambda: nd.slim(net(), share=0.5, data=(X, Y), loss=lambda o, t: o.new_ones(3) * o.sum()),
        ShapeError,
        r"gave \[3\] for 2 examples",
    ),
    "weights of examples": (
        lambda: nd.fit(net(), WEIGHTED, loss=F.mse_loss),
        DataError,
        "have weights.*reduction='none'",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_a_loss_is_refused(name: str) -> None:
    work, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        work()


def test_weights_count_where_every_example_has_a_loss() -> None:
    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square()

    family = nd.fit(net(), WEIGHTED, loss=each, **SHORT)
    loss = nd.evaluate(family, (X, Y), lams=2, n_samples=0).column("loss")
    assert all(math.isfinite(value) for value in loss)


@pytest.mark.parametrize(
    ("outputs", "y", "loss", "words"),
    [
        (
            1,
            torch.randn(40),
            nn.MSELoss(),
            r"spreads outputs and targets of other shapes over each other.*y\.float\(\)\[:, None\]$",
        ),
        (
            1,
            torch.arange(40) % 2,
            nn.BCEWithLogitsLoss(),
            r"fails with ValueError.*; it takes y\.float\(\)\[:, None\]$",
        ),
        (
            3,
            torch.arange(40) % 3 * 1.0,
            nn.CrossEntropyLoss(),
            r"fails with RuntimeError.*; it takes y\.long\(\)$",
        ),
        (3, torch.arange(40) % 3, nn.MSELoss(), r"over each other, each with all$"),
        (
            3,
            torch.arange(40) % 3,
            nn.CrossEntropyLoss,
            r"is a class.*give loss=CrossEntropyLoss\(\)$",
        ),
    ],
    ids=["spread", "truth values", "classes as numbers", "none", "a class"],
)
@pytest.mark.parametrize("train", [nd.fit, nd.shrink])
def test_targets_in_another_form_are_told(
    train: Any, outputs: int, y: Tensor, loss: Any, words: str
) -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, outputs))
    told = {"size": "20 params"} if train is nd.shrink else {}
    with pytest.raises((ShapeError, ConfigError), match=words):
        train(net, (torch.randn(40, 4), y), loss=loss, epochs=1, **told)

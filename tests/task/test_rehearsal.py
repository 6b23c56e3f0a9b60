"""Rehearsals: what cannot be trained is refused in words, and what can be is left as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netdial as nd
from netdial.core.errors import ConfigError, DataError, NetdialError, ShapeError, TraceError
from netdial.data.dataset import Dataset
from netdial.task import named
from netdial.task.rehearsal import advise, rehearse

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


class Returns(nn.Module):
    """A network that returns whatever it was given to return."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.value = value

    def forward(self, x: Tensor) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("net", "error", "words"),
    [
        (nn.Flatten(), ConfigError, "Flatten: has no parameters"),
        (nn.Linear(5, 3), TraceError, r"Linear: fails on inputs of shape \[2, 4\] \(RuntimeError"),
        (Returns((torch.zeros(2, 3), None)), TraceError, "returned a tuple, expected one tensor"),
        (Returns({"out": torch.zeros(2, 3)}), TraceError, "returned a dict"),
        (Returns(torch.zeros(2, 3).long()), TraceError, "of torch.int64, .* no gradient"),
        (nn.Linear(4, 2), ShapeError, r"shape \[2, 2\] .* expected \[2, 3\] \(3 classes\)"),
        (Returns(torch.zeros(2, 3, 1)), ShapeError, r"shape \[2, 3, 1\]"),
        (Returns(torch.zeros(1, 3)), ShapeError, r"shape \[1, 3\]"),
    ],
)
def test_networks_that_cannot_be_scored(net: nn.Module, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        rehearse(net, X, named("classification"), 3)


@pytest.mark.parametrize(
    ("shape", "targets", "words"),
    [
        ((2,), torch.randn(8, 1), r"expected \[2, 1\] \(1 targets\); leave squeeze\(-1\) out, or .*loss=.*mse_loss"),
        ((2,), torch.arange(8) % 2, r"or targets y\.float\(\) and loss=.*cross_entropy_with_logits"),
        ((2, 1), torch.arange(8) % 2, r"or targets y\.float\(\)\[:, None\] and loss="),
        ((), torch.arange(8) % 2, "gives outputs of shape \\[\\] .*expected one for each of the 2 examples"),
    ],
)  # fmt: skip
def test_what_mends_outputs_without_a_column_is_said(
    shape: tuple[int, ...], targets: Tensor, words: str
) -> None:
    with pytest.raises(ShapeError, match=words):
        nd.fit(Returns(torch.zeros(shape)), (torch.randn(8, 4), targets), epochs=1)


def test_outputs_that_are_probabilities_are_refused() -> None:
    """Cross-entropy takes the softmax by itself; of probabilities it never comes near 0."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
    with pytest.raises(ConfigError, match=r"are probabilities .*leave the last softmax out"):
        rehearse(net, X, named("classification"), 3)
    with pytest.raises(ConfigError, match="are probabilities"):
        nd.fit(net, (X, torch.tensor([0, 2])), epochs=1)
    rehearse(nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(dim=1)), X, named("classification"), 3)
    rehearse(net, X, named("regression"), 3)  # shares, as numbers


def test_networks_that_can() -> None:
    net = nn.Sequential(nn.Linear(4, 7), nn.BatchNorm1d(7), nn.Dropout())
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    rehearse(net, X, named("classification"), 3)  # more outputs than classes seen are allowed
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    rehearse(nn.Linear(4, 2), X, named("regression"), 2)
    with pytest.raises(ShapeError, match="2 targets"):
        rehearse(nn.Linear(4, 3), X, named("regression"), 2)


def test_targets_say_how_many_outputs_they_ask_for() -> None:
    assert named("classification").count(torch.tensor([0, 4, 1])) == 5
    assert named("regression").count(torch.zeros(3, 2)) == 2


@pytest.mark.parametrize(
    ("y", "kind"),
    [
        (torch.zeros(3), "classification"),
        (torch.zeros(3, 1, dtype=torch.int64), "classification"),
        (torch.tensor([0, -1]), "classification"),
        (torch.tensor([True, False]), "classification"),
        (torch.zeros(3), "regression"),
        (torch.zeros(3, 1, dtype=torch.int64), "regression"),
    ],
)
def test_targets_of_another_kind_are_refused(y: Tensor, kind: str) -> None:
    with pytest.raises(DataError, match=r"targets \[.*\] of torch\..* (or kind=|y.astype)"):
        named(kind).count(y)


@pytest.mark.parametrize(
    ("net", "x", "y", "error", "words"),
    [
        (
            nn.Linear(5, 3),
            X,
            torch.tensor([0, 1]),
            TraceError,
            r"fails on inputs of shape \[2, 4\]",
        ),
        (nn.Linear(4, 2), X, torch.tensor([0, 2]), ShapeError, r"expected \[2, 3\] \(3 classes\)"),
        (
            nn.Linear(4, 2),
            X,
            torch.tensor([0.0, 1.0]),
            DataError,
            r"no classes.*binary_cross_entropy",
        ),
        (nn.Linear(4, 2), X[:0], torch.zeros(0, dtype=torch.int64), DataError, "part is empty"),
    ],
)
def test_fitting_begins_with_a_rehearsal(
    net: nn.Module, x: Tensor, y: Tensor, error: type[NetdialError], words: str
) -> None:
    with pytest.raises(error, match=words):
        nd.fit(net, (x, y), epochs=1)
    with pytest.raises(error, match=words):
        nd.fit_direct(net, (x, y), lams=[1.0], epochs=1)


class Supervised(nn.Module):
    """Gives the outputs of two depths side by side in training."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.a(x), self.b(x)], 1) if self.training else self.b(x)


def test_other_outputs_in_training_are_refused_where_no_loss_takes_them() -> None:
    x, y = torch.randn(8, 3), torch.randn(8, 2)
    for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=4)):
        with pytest.raises(ShapeError, match=r"\[2, 2, 2\] in training and \[2, 2\] in evaluation"):
            nd.fit(Supervised(), data, kind="regression", epochs=1)


def test_shrinking_begins_with_a_rehearsal() -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(ShapeError, match=r"expected \[2, 3\] \(3 classes\)"):
        nd.shrink(net, (X, torch.tensor([0, 2])), epochs=1)
    with pytest.raises(DataError, match="are no classes"):
        nd.shrink(net, (X, torch.tensor([0.0, 1.0])), epochs=1)


def test_double_precision_is_rehearsed_in_double_precision() -> None:
    data = X, torch.tensor([0, 1])
    assert nd.fit(nn.Linear(4, 2), data, epochs=1, precision="64-true").dtype == torch.float64


@pytest.mark.parametrize(
    ("scale", "shift", "told"),
    [(1.0, 0.0, False), (20.0, 5.0, False), (1.0, 1000.0, True), (1e-4, 0.0, True), (80.0, 100.0, True)],
)  # fmt: skip
def test_inputs_far_from_unit_scale_are_told(scale: float, shift: float, told: bool) -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    data = Dataset(scale * x + shift, (x[:, 0] > 0).long())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        advise(named("classification"), data)
    said = [str(one.message) for one in caught]
    assert len(said) == told and all("inputs have mean" in line for line in said)


@pytest.mark.parametrize(("mean", "std"), [(1000.1, 0.0), (1.6e9, 0.5)])
def test_a_large_constant_among_inputs_is_not_to_be_standardised(mean: float, std: float) -> None:
    """It would be divided by 0; float32 has too few digits for the seconds of a time."""
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    x[:, 2] = mean + std * x[:, 2]
    with pytest.warns(UserWarning, match="^input 2 is 1.* in each row, as torch.float32 holds it"):
        advise(named("classification"), Dataset(x, (x[:, 0] > 0).long()))


@pytest.mark.parametrize(("mean", "std"), [(1.6e9, 1e4), (50_000.0, 20_000.0), (0.0, 800.0)])
def test_one_input_that_drowns_the_others_is_named(mean: float, std: float) -> None:
    """Times or incomes beside columns of unit scale: the median is of unit scale, and training is ruined."""
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    x[:, 2] = mean + std * x[:, 2]
    with pytest.warns(UserWarning, match="input 2 has mean .*standardise"):
        advise(named("classification"), Dataset(x, (x[:, 0] > 0).long()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "work",
    [
        lambda net, data: nd.shrink(net, data, epochs=1),
        lambda net, data: nd.slim(net, share=0.3, data=data),
        lambda net, data: nd.compress(net, data, data, max_bytes=2000, epochs=1),
        lambda net, data: nd.cross_validate(net, data, folds=2, epochs=1),
        lambda net, data: nd.fit(net, data, epochs=1),
    ],
)
def test_layers_keep_the_modes_that_they_were_given_in(work: Callable[[Any, Any], Any]) -> None:
    """A network in training mode whose normalisation is held in evaluation, as a frozen backbone has it."""
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).train()
    net[1].eval()
    work(net, (torch.randn(24, 4), torch.arange(24) % 3))
    assert [module.training for module in net] == [True, False, True, True]


class FailsInTraining(nn.Module):
    """A network that runs in evaluation alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        if self.training:
            h = h @ torch.ones(3, 3)
        found: Tensor = self.b(h)
        return found


@pytest.mark.parametrize(
    "train",
    [
        lambda net, data: nd.fit(net, data, epochs=1, batch_size=4),
        lambda net, data: nd.fit(net, data, epochs=1, batch_size=4, objective="ard"),
        lambda net, data: nd.shrink(net, data, size="20 params", epochs=1, batch_size=4),
        lambda net, data: nd.slim(net, share=0.5, example=data[0]),
    ],
    ids=["fit", "ard", "shrink", "slim"],
)
def test_a_network_that_fails_in_training_alone_is_refused_with_the_line(
    train: Callable[[nn.Module, Any], Any],
) -> None:
    data = (torch.randn(8, 4), torch.arange(8) % 2)
    words = r"FailsInTraining: fails in training on inputs of shape .*RuntimeError.* at test_rehearsal.py:\d+ in forward"
    with pytest.raises(TraceError, match=words):
        train(FailsInTraining(), data)

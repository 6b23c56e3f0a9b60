"""Predictions at many places: torch's own losses and metrics, both layouts, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netdial as nd
from netdial.compression.pipeline.training import apart
from netdial.core.errors import ConfigError, DataError, ShapeError
from netdial.core.noise import generator
from netdial.measure.noise import under_errors
from netdial.models.member import save_member
from netdial.task import (
    Classification,
    DenseClassification,
    DenseRegression,
    Regression,
    deduce,
    settle,
)

SOURCE = torch.Generator().manual_seed(0)
IMAGES = torch.randn(24, 1, 6, 6, generator=SOURCE)
MASKS = (IMAGES[:, 0] > 0).long() + (IMAGES[:, 0] > 1).long()
SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 8}


def net(channels: int) -> nn.Module:
    """A network from images to as many channels of the same size."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, channels, 1)
    )


@given(st.integers(1, 3), st.integers(1, 4), st.booleans())
def test_the_loss_of_classes_is_torchs(dims: int, seed: int, last: bool) -> None:
    source = torch.Generator().manual_seed(seed)
    places = (2, 3, 5)[:dims]
    outputs = torch.randn(4, 7, *places, generator=source, dtype=torch.float64)
    targets = torch.randint(0, 7, (4, *places), generator=source)
    targets[2, 0] = -100
    each = F.cross_entropy(outputs, targets, reduction="none").flatten(1)
    counted = (targets != -100).flatten(1).sum(1)
    given_ = outputs.movedim(1, -1) if last else outputs
    task = DenseClassification().seen(given_, targets)
    assert task.dim == (-1 if last else -1 - dims)
    assert torch.allclose(task.nll(given_, targets), each.sum(1) / counted)
    assert torch.allclose(task.to_mean(given_).sum(task.axis), torch.ones(()).double())
    right = ((outputs.argmax(1) == targets).flatten(1).sum(1) / counted).mean()
    assert task.metrics(given_, targets, ["accuracy"])["accuracy"] == pytest.approx(float(right))


@pytest.mark.parametrize("last", [False, True])
def test_the_information_of_places_is_the_second_derivative_of_the_loss(last: bool) -> None:
    outputs = torch.randn(3, 4, 5, generator=SOURCE, dtype=torch.float64)
    outputs = outputs.movedim(1, -1) if last else outputs
    targets = torch.randint(0, 4, (3, 5), generator=SOURCE)
    targets[0, 2], targets[1] = -100, -100
    tasks = DenseClassification().seen(outputs, targets), DenseRegression(noise_var=0.25)
    for task, y in zip(tasks, (targets, outputs), strict=True):
        found, source = torch.zeros(3, 20, 20, dtype=torch.float64), generator("information")
        for _ in range(400):
            s = task.information(outputs, y, source).flatten(2)
            found += torch.einsum("bki,bkj->bij", s, s) / 400
        for i in range(3):
            true = torch.autograd.functional.hessian(
                lambda out, task=task, y=y, i=i: task.nll(out[None], y[i : i + 1]).sum(), outputs[i]
            )
            assert torch.allclose(found[i], true.reshape(20, 20), atol=0.02)


def test_outputs_of_places_are_apart_by_the_mean_over_places() -> None:
    """As much as each place taken for an example of its own, whichever dimension the classes have."""
    outputs, wanted = torch.randn(2, 3, 4, 5, generator=SOURCE)
    alone = apart(Classification(), *(t.movedim(1, -1).flatten(0, 1) for t in (outputs, wanted)))
    for dim in (-2, -1):
        pair = (t if dim == -2 else t.movedim(1, -1) for t in (outputs, wanted))
        assert apart(DenseClassification(dim=dim), *pair) == pytest.approx(float(alone))
    half = F.mse_loss(outputs, wanted) / 2
    assert apart(DenseRegression(), outputs, wanted) == pytest.approx(float(half))


def test_errors_of_images_are_their_noise() -> None:
    outputs, targets = 0.01 * torch.randn(2, 5, 3, 4, generator=SOURCE)
    task = under_errors(DenseRegression(), outputs, targets)
    std = float((outputs - targets).square().mean().sqrt())
    law = torch.distributions.Normal(outputs.double(), std)
    assert float(task.nll(outputs, targets).mean()) == pytest.approx(
        -float(law.log_prob(targets.double()).mean()), abs=1e-5
    )


def test_the_loss_of_images_is_the_mean_squared_error() -> None:
    outputs, targets = torch.randn(2, 5, 3, 4, 4, generator=SOURCE)
    task = DenseRegression()
    constant = task.nll(targets, targets)
    assert torch.allclose(
        2 * (task.nll(outputs, targets) - constant).mean(), F.mse_loss(outputs, targets)
    )
    assert task.metrics(outputs, targets, ["rmse"])["rmse"] == pytest.approx(
        float(F.mse_loss(outputs, targets).sqrt())
    )
    assert task.constant(targets, 48).shape == (3, 4, 4)


def test_images_are_compared_by_their_squared_error() -> None:
    outputs, targets = torch.randn(2, 5, 3, 4, generator=SOURCE)
    task = DenseRegression(noise_var=0.25)
    assert task.proper == "rmse"
    squares = (outputs - targets).square().mean(dim=(1, 2))
    assert torch.allclose(task.loss(outputs, targets), squares)
    law = torch.distributions.Normal(outputs, 0.5)
    nll = -law.log_prob(targets).mean(dim=(1, 2))
    assert torch.allclose(task.nll(outputs, targets), nll)
    assert torch.allclose(task.member_nll(outputs[None], targets)[0], nll)


def test_iou_by_hand() -> None:
    targets = torch.tensor([[0, 0, 1, -100]])
    outputs = F.one_hot(torch.tensor([[0, 1, 1, 0]]), 2).float().movedim(-1, 1)
    found = DenseClassification().seen(outputs, targets).metrics(outputs, targets, ["iou"])
    assert found["iou"] == pytest.approx(0.5)  # 1 of 2 places for either class


@pytest.mark.parametrize(
    ("targets", "cure"),
    [
        (F.one_hot(torch.tensor([0, 2, 1, 1])).float(), r"argmax\(1\)"),
        (torch.tensor([[0.0], [1.0], [1.0]], dtype=torch.float64), "binary_cross_entropy"),
    ],
)
def test_classes_written_as_numbers_are_no_silent_regression(targets: Tensor, cure: str) -> None:
    net, x = torch.nn.Linear(2, targets.shape[1]), torch.randn(len(targets), 2)
    with pytest.raises(DataError, match=cure):
        nd.fit(net, (x, targets), epochs=1)
    family = nd.fit(net, (x, targets.float()), epochs=1, kind="regression")
    assert isinstance(family.task, Regression)


def test_targets_tell_the_task() -> None:
    assert isinstance(deduce(torch.zeros(2, 3, 4)), DenseRegression)
    assert isinstance(deduce(MASKS), DenseClassification)
    assert isinstance(deduce(torch.zeros(2, 5, dtype=torch.long)), DenseClassification)
    assert isinstance(deduce(torch.zeros(2, 5)), Regression)
    assert isinstance(deduce(torch.tensor([[0.0], [1.0], [2.0]])), Regression)
    assert isinstance(deduce(torch.tensor([[0.0, 1.0], [1.0, 0.5]])), Regression)
    assert settle(DenseClassification(dim=-1)).settings() == {
        "name": "dense-classification",
        "dim": -1,
    }


@pytest.mark.parametrize(
    ("targets", "what"),
    [
        (torch.tensor([[0.0, 1.0], [1.0, 1.0]]), "several labels of an example"),
        ((torch.arange(24).reshape(2, 1, 3, 4) % 3 == 0).double(), "a mask"),
    ],
)
def test_labels_and_masks_are_no_silent_regression(targets: Tensor, what: str) -> None:
    with pytest.raises(DataError, match=f"0 and 1 only; for {what} .*binary_cross_entropy"):
        deduce(targets)


def test_labels_in_whole_numbers_are_told_of_the_loss_for_them() -> None:
    x, y = torch.randn(8, 4), (torch.arange(24).reshape(8, 3) % 2)
    with pytest.raises(ShapeError, match=r"several labels .* y\.float\(\) and loss=.*with_logits"):
        nd.fit(nn.Linear(4, 3), (x, y), epochs=1)


def test_probabilities_at_places_are_refused() -> None:
    outputs = torch.rand(2, 3, 5).softmax(dim=1)
    targets = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(ConfigError, match="are probabilities"):
        DenseClassification().misfit(outputs, targets, 3)
    assert not DenseClassification().misfit(outputs.log(), targets, 3)


class Last(nn.Module):
    """Classes along the last dimension."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(1, classes)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(x[..., None])
        return found


TOKENS = torch.randint(0, 4, (8, 5), generator=SOURCE)
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "classes along either dimension": (
        lambda: nd.fit(Last(5), (torch.randn(8, 5), TOKENS)),
        ShapeError,
        r"DenseClassification\(dim=-2\), or dim=-1",
    ),
    "too few classes": (
        lambda: nd.fit(net(2), (IMAGES, MASKS)),
        ShapeError,
        r"\[2, 2, 6, 6\].*expected \[2, 3, 6, 6\] or \[2, 6, 6, 3\]: 3 classes",
    ),
    "one-hot rows": (
        lambda: nd.fit(nn.Linear(3, 2), (torch.randn(4, 3), torch.eye(2).long().repeat(2, 1))),
        ShapeError,
        r"y.argmax\(1\)",
    ),
    "a missing channel": (
        lambda: nd.shrink(net(1), (IMAGES, IMAGES[:, 0]), lam=1e-3),
        ShapeError,
        r"\[2, 1, 6, 6\].*expected \[2, 6, 6\].*y.reshape\(\[-1, 1, 6, 6\]\)",
    ),
    "a negative class": (
        lambda: nd.fit(net(3), (IMAGES, MASKS - 1)),
        DataError,
        "class -1 is negative.*-100",
    ),
    "nothing counts": (
        lambda: nd.fit(net(3), (IMAGES, MASKS * 0 - 100)),
        DataError,
        "all are -100",
    ),
    "floats as classes": (
        lambda: nd.fit(net(3), (IMAGES, MASKS.float()), kind="classification"),
        DataError,
        "no classes",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_does_not_fit_is_refused(name: str) -> None:
    work, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        work()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("classes", None),
        ("images", "named"),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (("classes", "named"), ("images", None))
        ),
    ],
)
def test_images_go_all_the_way(what: str, kind: str | None, tmp_path: Path) -> None:
    channels, y = (3, MASKS) if what == "classes" else (1, IMAGES)
    if kind is not None:
        kind = "classification" if what == "classes" else "regression"
    loader = DataLoader(TensorDataset(IMAGES, y), 8, shuffle=True)
    for data in ((IMAGES, y), loader):
        family = nd.fit(net(channels), data, (IMAGES, y), kind=kind, patience=1, **SHORT)
        path = nd.evaluate(family, data, lams=2, n_samples=2)
        metric = path.metric
        assert path.constant[metric] > 0 and path.best().metrics[metric] > 0
    nd.save(family, tmp_path / "family.safetensors")
    again = nd.load_model(tmp_path / "family.safetensors", net(channels))
    assert nd.evaluate(again, (IMAGES, y), lams=2, n_samples=0).column(metric) == pytest.approx(
        nd.evaluate(family, (IMAGES, y), lams=2, n_samples=0).column(metric)
    )
    shrunk = nd.shrink(net(channels), loader, (IMAGES, y), kind=kind, lam=1e-3, **SHORT)
    nd.save(shrunk, tmp_path / "shrunk.safetensors")
    small = nd.load_model(tmp_path / "shrunk.safetensors", net(channels))
    assert torch.allclose(small(IMAGES), shrunk.net(IMAGES), atol=1e-5)
    slim = nd.slim(family, 1.0, share=0.5, data=loader, kind=kind, criterion="taylor")
    assert slim.widths["0"] == 3
    (lam,) = slim.family.config.lams
    exported = save_member(slim.family, lam, tmp_path / "net.pt2", "torch-export", IMAGES[:2])
    assert exported.max_difference < 1e-5


def test_examples_in_which_no_place_counts_are_none() -> None:
    """They were right nowhere, at a loss of 0, and so drew both to 0."""
    x, y = torch.randn(6, 2, 4), torch.randint(0, 3, (6, 4))
    y[3:] = -100
    family = nd.fit(nn.Conv1d(2, 3, 1), (x, y), epochs=1, batch_size=2, groups=1)
    assert family.n_data == 3
    (all_, some) = (nd.evaluate(family, part, lams=[0.1]) for part in ((x, y), (x[:3], y[:3])))
    assert all_.members[0].metrics == some.members[0].metrics


@pytest.mark.parametrize("what", ["masks", "images", "loss"])
def test_several_draws_predict_the_same_on_a_surface(what: str) -> None:
    """The mean at each place over draws is scored; a surface averaged densities of whole examples."""
    given_: dict[str, Any] = {
        "masks": {"kind": None, "y": MASKS, "channels": 3},
        "images": {"kind": None, "y": IMAGES.sin(), "channels": 1},
        "loss": {"loss": F.l1_loss, "y": IMAGES.sin(), "channels": 1},
    }[what]
    y, channels = given_.pop("y"), given_.pop("channels")
    torch.manual_seed(0)
    start = nn.Conv2d(1, channels, 3, padding=1)
    settings: dict[str, Any] = {"objective": "scaled-kl", "log_std": -1.0, **SHORT, **given_}
    family = nd.fit(start, (IMAGES, y), **settings)
    alone = nd.evaluate(family, (IMAGES, y), lams=[1.0], n_samples=3).members[0].predictive
    found = nd.surface(family, (IMAGES, y), lams=[1.0], shares=[0.0], n_samples=3).table()[0]
    name = "loss" if what == "loss" else "nll"
    assert found[f"{name}_predictive"] == pytest.approx(alone[name], rel=1e-5)
    assert found["nll_predictive"] == pytest.approx(alone[name], rel=1e-5)

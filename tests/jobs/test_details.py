"""What evaluation writes for the figures of the page: closed forms, agreement with metrics, and what old runs lack."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score
from torch import nn

import netdial as nd
from netdial.core.errors import CheckpointError
from netdial.core.layout import carrying
from netdial.data import Dataset, Splits
from netdial.data.dataset import TargetScale
from netdial.family.config import FamilyConfig
from netdial.jobs.records.details import Sketcher
from netdial.measure import portrait
from netdial.measure.cost import cost
from netdial.models.predict import predicted_columns
from netdial.models.use import use_of
from netdial.nets import build
from netdial.runs.schemas.details import Bins, Details, read_details, write_details


def test_figures_by_class_are_those_of_scikit_learn() -> None:
    source = torch.Generator().manual_seed(0)
    probs = torch.rand(200, 4, generator=source).softmax(1).double()
    truth = torch.randint(0, 4, (200,), generator=source)
    found = portrait.classes(probs, truth)
    top = probs.argmax(1)
    assert found["confusion"] == confusion_matrix(truth, top).tolist()
    assert found["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(truth, top), rel=1e-3
    )
    for k in range(4):
        assert found["auc"][k] == pytest.approx(roc_auc_score(truth == k, probs[:, k]), rel=1e-3)


def test_a_class_that_does_not_occur_has_no_figures() -> None:
    probs = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]).double()
    found = portrait.classes(probs, torch.tensor([0, 1]))
    assert found["recall"] == [1.0, 1.0, None]
    assert found["auc"] == [1.0, 1.0, None]
    assert found["balanced_accuracy"] == found["mean_auc"] == 1.0
    json.dumps(found, allow_nan=False)


def test_many_classes_have_no_matrix() -> None:
    probs = torch.eye(40).double()
    assert portrait.classes(probs, torch.arange(40))["confusion"] is None


def test_calibration_counts_every_example_once() -> None:
    probs = torch.tensor([[1.0, 0.0], [0.55, 0.45], [0.45, 0.55], [0.0, 1.0]]).double()
    found = portrait.calibration(probs, torch.tensor([0, 1, 1, 0]))
    assert [one[1:] for one in found] == [(0.5, 2), (0.5, 2)]
    assert [one[0] for one in found] == pytest.approx([0.55, 1.0])


def test_figures_keep_all_their_digits() -> None:
    truth = torch.zeros(29, dtype=torch.int64)
    probs = torch.tensor([[0.0, 1.0]] + [[1.0, 0.0]] * 28).double()
    found = portrait.classes(probs, truth)
    assert found["recall"][0] == 28 / 29  # 96.55 %, which 0.9655 would make 96.5 %
    assert f"{found['recall'][0]:.1%}" == "96.6%"
    assert portrait.calibration(probs, truth) == [(1.0, 28 / 29, 29)]
    assert portrait.numbers(truth + 1 / 3, truth, (-1.0, 1.0, 2), 1)["bias"] == pytest.approx(
        1 / 3, rel=1e-7
    )


@given(st.lists(st.floats(-10, 10) | st.sampled_from([float("inf"), float("-inf")]), min_size=1))
def test_histograms_hold_every_value(values: list[float]) -> None:
    found = portrait.histogram(torch.tensor(values), -3, 3, 7)
    assert len(found) == 7
    assert sum(found) == len(values)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_weights_that_carry_are_the_fewest(values: list[float]) -> None:
    squares = sorted((v * v for v in torch.tensor(values).tolist()), reverse=True)
    count, whole = carrying(torch.tensor(values)), sum(squares)
    if whole < 1e-30:
        return
    assert sum(squares[:count]) >= 0.99 * whole * (1 - 1e-9)
    assert sum(squares[: count - 1]) < 0.99 * whole * (1 + 1e-9)


def test_errors_of_a_regression() -> None:
    truth = torch.tensor([1.0, 2.0, 3.0])
    found = portrait.numbers(truth + 1, truth, (-2.0, 2.0, 4), 2)
    assert (found["rmse"], found["mae"], found["bias"], found["r2"]) == (1, 1, 1, -0.5)
    assert found["residuals"] == [0, 0, 0, 3]
    assert found["predicted"] == [2.0, 3.0]
    assert portrait.coverage(torch.tensor([0.5, -3.0]), [(0.9, 1.0)]) == {"0.9": 0.5}


def split(y: torch.Tensor, target: TargetScale | None = None) -> Splits:
    source = torch.Generator().manual_seed(1)
    x = torch.randn(len(y), 3, generator=source)
    part = Dataset(x, y, target=target)
    classes = ("a", "b") if y.ndim == 1 else ()
    kind = "classification" if y.ndim == 1 else "regression"
    return Splits(
        name="t",
        kind=kind,
        train=part,
        valid=part,
        test=part,
        classes=classes,
        n_outputs=len(classes) or y.shape[1],
        source={},
        rows={},
    )


@pytest.mark.parametrize("posterior", ["normal", "point"])
def test_details_of_a_family_agree_with_its_metrics(posterior: str) -> None:
    data = split(torch.arange(40) % 2)
    config = FamilyConfig(
        posterior=posterior, objective="scaled-kl" if posterior == "normal" else "l2"
    )
    family = nd.Family(build("mlp:4", input_shape=(3,), n_outputs=2), config)
    seen = Sketcher(family, data)
    path = nd.evaluate(
        family, data.valid, lams=[0.1, 1.0], kind=data.kind, n_samples=0, on_member=seen.of("valid")
    )
    found = seen.details(7, 0.1)
    assert [member.lam for member in found.members] == [0.1, 1.0]
    assert sum(layer.params for layer in found.layers) == family.n_params
    for member, measured in zip(found.members, path.members, strict=True):
        classes = member.parts["valid"].classes
        assert classes is not None
        assert classes.confusion is not None
        right = sum(row[k] for k, row in enumerate(classes.confusion))
        assert right / 40 == pytest.approx(measured.metrics["accuracy"])
        assert sum(member.weights) == family.n_params
        assert bool(member.snr) == bool(member.effective) == (posterior == "normal")
        if member.effective:
            total = sum(value or 0.0 for value in member.effective)
            assert total == pytest.approx(measured.effective_parameters, rel=1e-2)


def test_details_of_classes_of_pixels_count_places() -> None:
    source = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (12, 3, 3), generator=source)
    masks[:, 0] = -100
    x = torch.randn(12, 1, 3, 3, generator=source)
    family = nd.fit(torch.nn.Conv2d(1, 2, 1), (x, masks), epochs=1)
    part = Dataset(x, masks)
    data = replace(split(torch.arange(12) % 2), kind="dense-classification")
    data = replace(data, train=part, valid=part, test=part)
    seen = Sketcher(family, data)
    path = nd.evaluate(family, part, lams=[1.0], on_member=seen.of("valid"))
    found = seen.details(7, None)
    assert found.counted == "places"
    classes = found.members[0].parts["valid"].classes
    assert classes is not None and classes.confusion is not None
    assert sum(map(sum, classes.confusion)) == sum(classes.support) == 12 * 6
    right = sum(row[k] for k, row in enumerate(classes.confusion))
    assert right / 72 == pytest.approx(path.column("accuracy")[0])


def test_costs_are_those_that_slimmed_networks_are_counted_by() -> None:
    """Attention multiplies what no layer's weights do, and statistics of normalisation are stored."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
            self.norm, self.out = nn.BatchNorm1d(3), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x[:, None].expand(-1, 4, -1)
            out: torch.Tensor = self.out(self.norm(self.attention(x, x, x)[0].mean(1)))
            return out

    data = split(torch.arange(40) % 2)
    family = nd.Family(Net(), FamilyConfig(posterior="point", objective="l2"))
    details = Sketcher(family, data).details(0, None)
    net = family.export(1.0)
    due = cost(net, data.valid.x[:2], packed=False)
    assert [details.total(name) for name in ("params", "macs", "bytes")] == [
        due.params, due.macs, due.bytes,
    ]  # fmt: skip
    assert due.macs - sum(layer.macs for layer in details.layers) == 2 * 4 * 4 * 3
    found = nd.surface(family, data.valid, lams=[1.0], shares=[0.0])
    assert found.bytes.tolist() == [[due.bytes]]  # with the statistics, and their count


def test_a_regression_is_in_the_units_of_its_target() -> None:
    y = torch.linspace(-1, 1, 30)[:, None]
    data = split(y, TargetScale(mean=(100.0,), std=(10.0,), names=("price",)))
    family = nd.Family(build("mlp:4", input_shape=(3,), n_outputs=1), FamilyConfig())
    seen = Sketcher(family, data)
    path = nd.evaluate(
        family, data.valid, lams=[1.0], kind=data.kind, n_samples=0, on_member=seen.of("valid")
    )
    found = seen.details(0, None)
    assert [target.name for target in found.targets] == ["price"]
    assert found.targets[0].truth["valid"][0] == 90.0
    one = found.members[0].parts["valid"].targets[0]
    assert one.r2 == pytest.approx(path.members[0].metrics["r2"], rel=1e-3)


def test_coverage_is_that_of_the_intervals_that_predictions_are_given() -> None:
    source = torch.Generator().manual_seed(3)
    y = torch.randn(60, 2, generator=source) ** 3
    scale = TargetScale(mean=(100.0, 0.0), std=(10.0, 0.1), names=("price", "area"))
    data = split(y, scale)
    family = nd.fit(
        build("mlp:4", input_shape=(3,), n_outputs=2),
        data.train,
        valid=data.valid,
        epochs=3,
        lam=(0.01, 10),
    )
    lam = 0.17  # no λ at which the family's own noise was measured
    assert family.task is not None
    seen = Sketcher(family, data)
    for part in ("valid", "test"):
        nd.evaluate(
            family,
            data.part(part),
            lams=[lam],
            kind=data.kind,
            n_samples=0,
            on_member=seen.of(part),
        )
    parts = seen.details(0, None).members[0].parts
    use = use_of(data, family, lam=lam, lams=[lam])
    for level in (0.5, 0.8, 0.9, 0.95):
        told, _, _ = predicted_columns(family, use, data.valid.x, level=level)
        for t, (name, mean, std) in enumerate(zip(scale.names, scale.mean, scale.std, strict=True)):
            truth, slack = y[:, t].numpy() * std + mean, 1e-5 * std
            inside = (told[f"{name} low"] - slack <= truth) & (
                truth <= told[f"{name} high"] + slack
            )
            for part in ("valid", "test"):
                found = parts[part].targets[t].coverage[f"{level:g}"]
                assert found == pytest.approx(inside.mean()), (name, level, part)
                assert found == pytest.approx(math.ceil(61 * level) / 60)


def test_a_changed_file_is_refused_and_a_missing_one_is_none(tmp_path: Path) -> None:
    bins = Bins(low=0, high=1, count=2)
    path = tmp_path / "details.json"
    assert read_details(path) is None
    write_details(path, Details(step=3, layers=[], weights=bins, snr=bins, members=[]))
    assert read_details(path) == Details(step=3, layers=[], weights=bins, snr=bins, members=[])
    path.write_text(path.read_text().replace('"step":3', '"step":4'))
    with pytest.raises(CheckpointError, match="changed"):
        read_details(path)

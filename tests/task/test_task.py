"""Tasks: their contract, their standard errors, how one is settled, and a third one in a file of its own."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError, DataError
from netdial.family import Family
from netdial.task import TASKS, Classification, Regression, Task, named, restore, settle
from netdial.train.finetune import specialise

Data = tuple[Tensor, Tensor]


def example(task: Task, count: int = 40, seed: int = 0) -> Data:
    """Outputs ``[B, 3]`` and targets of a task."""
    source = torch.Generator().manual_seed(seed)
    outputs = torch.randn(count, 3, dtype=torch.float64, generator=source)
    if task.targets in ("classes", "class maps"):
        return outputs, torch.randint(0, 3, (count,), generator=source)
    return outputs, outputs + torch.randn(count, 3, dtype=torch.float64, generator=source)


@pytest.mark.parametrize("name", list(TASKS))
def test_contract(name: str) -> None:
    task = named(name)
    outputs, targets = example(task)
    nll = task.nll(outputs, targets)
    assert nll.shape == (40,) and bool(nll.isfinite().all())
    members = torch.stack([outputs, 2 * outputs])
    assert torch.allclose(task.member_nll(members, targets)[0], nll)
    assert task.loss(members, targets).shape == (2, 40)
    assert torch.allclose(task.loss(members, targets)[0], task.loss(outputs, targets))
    assert "nll" in task.METRICS and set(task.reported) <= set(task.METRICS)
    for metric in task.METRICS:
        value, error = (
            task.metrics(outputs, targets, [metric])[metric],
            task.standard_error(metric, outputs, targets),
        )
        assert math.isfinite(value) and error > 0
        assert task.better(metric) in (1, -1)
    mean = task.to_mean(outputs)
    assert torch.allclose(task.to_mean(task.of_mean(mean)), mean)
    assert task.predictive(outputs[None], targets) == pytest.approx(task.metrics(outputs, targets))
    assert restore(json.loads(json.dumps(task.settings()))) == task
    with pytest.raises(ConfigError, match="'accurasy'"):
        task.metrics(outputs, targets, ["accurasy"])


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_the_root_is_that_of_the_second_derivative(name: str) -> None:
    task = named(name)
    outputs, targets = example(task, 5)
    second = torch.stack(
        [
            torch.autograd.functional.hessian(lambda o, y=y: task.nll(o[None], y[None]).sum(), out)
            for out, y in zip(outputs, targets, strict=True)
        ]
    )
    root = task.root(outputs)
    assert torch.allclose(root.mT @ root, second)


def test_metrics_on_request_are_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    task = Classification()
    outputs, y = example(task, 60)
    found = task.metrics(outputs, y, ["balanced_accuracy", "f1", "auc"])
    guess = outputs.argmax(dim=1)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, guess))
    assert found["f1"] == pytest.approx(metrics.f1_score(y, guess, average="macro"))
    assert found["auc"] == pytest.approx(
        metrics.roc_auc_score(y, outputs.softmax(dim=1), multi_class="ovr"), abs=1e-6
    )
    rare = (y == 0).long()
    two = torch.stack([-outputs[:, 0], outputs[:, 0]], dim=1)
    found = task.metrics(two, rare, ["auc"])
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(rare, outputs[:, 0]), abs=1e-6)


def test_classes_that_do_not_occur_count_for_nothing() -> None:
    outputs, y = example(Classification(), 60)
    y = y.clamp(max=1)
    wide = torch.cat([outputs[:, :2], torch.full((60, 1), -50.0)], dim=1)
    names = ["balanced_accuracy", "f1", "auc"]
    assert Classification().metrics(wide, y, names) == pytest.approx(
        Classification().metrics(outputs[:, :2], y, names), abs=1e-6
    )


@pytest.mark.parametrize(
    ("task", "metric"),
    [(Classification(), m) for m in ("accuracy", "nll", "auc", "balanced_accuracy")]
    + [(Regression(), m) for m in ("rmse", "nll", "r2")],
)
def test_standard_errors_are_those_of_the_bootstrap(task: Task, metric: str) -> None:
    outputs, targets = example(task, 400)
    source = torch.Generator().manual_seed(1)
    draws = [torch.randint(0, 400, (400,), generator=source) for _ in range(200)]
    values = torch.tensor([task.metrics(outputs[i], targets[i], [metric])[metric] for i in draws])
    # the bootstrap's own error is 1/√(2·200) = 5 %, that of a jackknife over 20 groups 16 %
    assert task.standard_error(metric, outputs, targets) == pytest.approx(
        float(values.std()), rel=0.5
    )


@given(st.integers(1, 49), st.integers(50, 60))
def test_the_standard_error_of_an_accuracy_is_binomial(right: int, count: int) -> None:
    y = torch.zeros(count, dtype=torch.int64)
    outputs = torch.eye(2, dtype=torch.float64)[(torch.arange(count) >= right).long()]
    p = right / count
    assert Classification().standard_error("accuracy", outputs, y) == pytest.approx(
        math.sqrt(p * (1 - p) / (count - 1))
    )


def test_what_is_asked_is_settled_with_what_is_known() -> None:
    y, column = torch.tensor([0, 1]), torch.zeros(2, 1)
    assert settle(None, None, y) == Classification() and settle(None, None, column) == Regression()
    assert settle(None, Regression()) == Regression() == settle("regression")
    assert settle(Regression(), None, column) == Regression()
    with pytest.raises(
        ConfigError, match="'classification', but the family was trained for regression"
    ):
        settle("classification", Regression())
    with pytest.raises(DataError, match=r"\[2, 1\] of torch.float32 are no classes"):
        settle(None, Classification(), column)
    with pytest.raises(DataError, match=r"\[2\] of torch.int64 are no columns"):
        settle(None, Regression(), y)
    with pytest.raises(ConfigError, match="'regresion'; did you mean 'regression'"):
        settle("regresion")
    with pytest.raises(DataError, match="ask for 2 classes, the network gives 1"):
        Classification().check(y, 1)


@pytest.fixture(scope="module")
def numbers() -> Data:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=source)
    return x, (x @ torch.tensor([[1.0], [-2.0], [0.5]])) + 0.1 * torch.randn(
        40, 1, generator=source
    )


@pytest.fixture(scope="module")
def family(numbers: Data) -> Family:
    return trained(numbers, "scaled-kl")


def trained(numbers: Data, objective: str) -> Family:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return nd.fit(net, numbers, objective=objective, epochs=2, batch_size=20)


CALLS: dict[str, Any] = {
    "evaluate": lambda f, d: nd.evaluate(f, d, lams=[1.0]).column("rmse")[0],
    "assess": lambda f, d: nd.assess(f, d, lams=[1.0], by=["elbo"])[0].value,
    "choose": lambda f, d: nd.choose(f, d, train=d, lams=2).row.value,
    "choose by estimator": lambda f, d: nd.choose(f, train=d, by="elbo", lams=2).row.lam,
    "surface": lambda f, d: float(nd.surface(f, d, lams=[1.0]).metrics["rmse"][0, 0]),
    "prune": lambda f, d: float(nd.prune(f, 1.0, 0.5, criterion="taylor", data=d).config.lams[0]),
    "slim": lambda f, d: float(
        nd.slim(f, 1.0, share=0.5, criterion="taylor", data=d).family.config.lams[0]
    ),
    "finetune": lambda f, d: float(nd.finetune(f, 1.0, d).config.lams[0]),
    "retrain": lambda f, d: float(nd.retrain(f, 1.0, d, share=0.5, rounds=1, epochs=1)[-1].kept),
    "health": lambda f, d: nd.health(f, d, lams=[1.0]).slopes[0].nll,
}


@pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")
@pytest.mark.parametrize("call", list(CALLS))
def test_a_family_knows_its_task(family: Family, numbers: Data, call: str) -> None:
    """Nobody has to say again that it is a regression; and who says otherwise, or gives classes, is told before work."""
    assert family.task == Regression() and family.n_data == 40
    assert math.isfinite(CALLS[call](family, numbers))
    with pytest.raises(DataError, match="are no columns of numbers"):
        CALLS[call](family, (numbers[0], torch.zeros(40, dtype=torch.int64)))


def test_saying_another_task_than_the_family_s_is_an_error(family: Family, numbers: Data) -> None:
    for call in (nd.evaluate, nd.assess, nd.surface, nd.health):
        with pytest.raises(
            ConfigError, match="'classification', but the family was trained for regression"
        ):
            call(family, numbers, kind="classification")
    with pytest.raises(ConfigError, match="trained for regression"):
        nd.finetune(family, 1.0, numbers, kind="classification")


@pytest.mark.parametrize("objective", ["scaled-kl", "l1", "l2"])
def test_the_objective_of_a_part_is_that_of_training(objective: str, numbers: Data) -> None:
    """The penalty is divided by N of training, however few examples are looked at."""
    family = trained(numbers, objective)
    part = numbers[0][:7], numbers[1][:7]
    few, same = (
        nd.evaluate(family, part, lams=[1.0], n_samples=3, n_data=n).members[0] for n in (None, 40)
    )
    assert few.n_data == 40 and few.objective == same.objective
    other = nd.evaluate(family, part, lams=[1.0], n_samples=3, n_data=7).members[0]
    charge = float(family.kl([1.0]).detach()[0]) if family.log_std is not None else few.norm
    assert other.objective - few.objective == pytest.approx(charge / 7 - charge / 40, rel=1e-4)


def test_task_and_count_survive_a_file(family: Family, tmp_path: Any) -> None:
    nd.save(family, tmp_path / "f.safetensors")
    again = nd.load_model(tmp_path / "f.safetensors", family.net)
    assert again.task == Regression() and again.n_data == 40
    member = specialise(again, 1.0)
    assert member.task == Regression() and member.n_data == 40


def test_a_loader_says_its_task_by_its_first_example(numbers: Data) -> None:
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(*numbers), batch_size=20)
    net, before = nn.Linear(3, 1), torch.get_rng_state()
    assert nd.fit(net, loader, epochs=1).task == Regression()
    assert torch.equal(before, torch.get_rng_state())

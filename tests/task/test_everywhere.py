"""Data are taken alike wherever they are taken: in every form, number type and kind of label, or refused before work starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

import netdial as nd
from netdial import measure
from netdial.core.errors import DataError, NetdialError, NonFiniteError, ShapeError, TraceError
from netdial.pruning.channels import retrain_structured

pandas = pytest.importorskip("pandas")

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


def net(n_outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, n_outputs))


@pytest.fixture(scope="module")
def family() -> nd.Family:
    return nd.fit(net(), (X, Y), epochs=1)


def posterior() -> nd.Family:
    return nd.fit(net(), (X, Y), objective="scaled-kl", epochs=1)


SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 8}
USES: dict[str, Callable[[nd.Family, Any], Any]] = {
    "fit": lambda f, d: nd.fit(net(), d, **SHORT),
    "fit, valid": lambda f, d: nd.fit(net(), (X, Y), d, patience=1, **SHORT),
    "fit_direct": lambda f, d: nd.fit_direct(net(), d, lams=(0.1, 1.0), **SHORT),
    "finetune": lambda f, d: nd.finetune(f, 1.0, d, **SHORT),
    "shrink": lambda f, d: nd.shrink(net(), d, lam=1e-3, **SHORT),
    "shrink, valid": lambda f, d: nd.shrink(net(), (X, Y), d, lam=1e-3, **SHORT),
    "retrain": lambda f, d: nd.retrain(f, 1.0, d, share=0.5, rounds=1, **SHORT),
    "retrain_structured": lambda f, d: retrain_structured(f, 1.0, d, share=0.5, rounds=1, **SHORT),
    "evaluate": lambda f, d: nd.evaluate(f, d, lams=2),
    "predictive": lambda f, d: measure.predictive(f, 1.0, d, n_samples=1),
    "assess": lambda f, d: nd.assess(posterior(), d, lams=2, by=("elbo",)),
    "health": lambda f, d: nd.health(f, d, lams=2, n_samples=2),
    "surface": lambda f, d: nd.surface(f, d, lams=2, shares=(0, 0.5)),
    "choose": lambda f, d: nd.choose(f, d, train=d, lams=2, shares=(0, 0.5)),
    "prune": lambda f, d: nd.prune(f, 1.0, 0.5, data=d, criterion="taylor"),
    "slim": lambda f, d: nd.slim(f, 1.0, share=0.5, data=d),
}
FORMS: dict[str, Callable[[], Any]] = {
    "list": lambda: [X, Y],
    "float64 arrays": lambda: (X.double().numpy(), Y.numpy()),
    "frames": lambda: (pandas.DataFrame(X.numpy()), pandas.Series(Y.numpy())),
    "TensorDataset": lambda: TensorDataset(X, Y),
    "labels of truth": lambda: (X, (Y == 1)[:, None]),
    "loader": lambda: DataLoader(
        TensorDataset(X.double(), Y.int()), 5, sampler=SubsetRandomSampler(range(21))
    ),
    "mapping": lambda: nd.Named({"a": X, "b": Y}, "a", "b"),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a member worse than a constant
@pytest.mark.parametrize("use", list(USES))
def test_every_use_takes_every_form(use: str, family: nd.Family) -> None:
    for form, make in FORMS.items():
        if use in ("fit", "shrink", "evaluate") or form in ("float64 arrays", "loader"):
            USES[use](family, make())


@pytest.mark.parametrize("use", list(USES))
def test_every_use_names_the_place_of_nan_before_work_starts(use: str, family: nd.Family) -> None:
    x = X.clone()
    x[7, 2] = torch.nan
    for data in ((x, Y), nd.Dataset(x, Y)):
        with pytest.raises(DataError, match=r"nan in row 7, column 2"):
            USES[use](family, data)


@pytest.mark.parametrize("use", [name for name in USES if name != "predictive"])
def test_every_use_refuses_labels_that_the_network_does_not_know(
    use: str, family: nd.Family
) -> None:
    y = Y.clone()
    y[20] = 2
    with pytest.raises(ShapeError, match=r"3 classes"):
        USES[use](family, (X, y))
    with pytest.raises(DataError, match="-1 in row 20"):
        USES[use](family, (X, y.where(y < 2, -1)))


def test_double_stays_double() -> None:
    family = nd.fit(net().double(), (X.double(), Y), **SHORT)
    assert family.dtype == torch.float64
    assert nd.evaluate(family, (X, Y), lams=2).members[0].metrics
    assert nd.shrink(net().double(), (X, Y), lam=1e-3, **SHORT).net(X.double()).dtype == torch.float64  # fmt: skip


@pytest.fixture
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_by_default")
def test_the_default_type_may_be_double() -> None:
    family = nd.fit(net(), (X.tolist(), Y.tolist()), (X.float(), Y), **SHORT)
    assert family.dtype == torch.float64
    nd.evaluate(family, (X, Y), lams=2, n_samples=2)


def test_whole_numbers_are_numbers_to_a_network_of_numbers() -> None:
    x = (4 * X).round().long()
    whole, floats = (nd.fit(net(), (part, Y), seed=1, **SHORT) for part in (x, x.float()))
    assert torch.equal(whole.at(1.0)["0.weight"], floats.at(1.0)["0.weight"])
    loader = nd.fit(net(), DataLoader(TensorDataset(x, Y), batch_size=8), **SHORT)
    assert loader.n_data == 24
    with pytest.raises(TraceError, match="fails on inputs"):
        nd.fit(nn.Linear(5, 2), (x, Y), **SHORT)


@pytest.mark.parametrize("data", [(X, Y), DataLoader(TensorDataset(X, Y), batch_size=1)])
def test_a_batch_of_one_meets_no_normalisation(data: Any) -> None:
    normed = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    for call in (nd.fit, nd.shrink):
        with pytest.raises(NetdialError, match="needs 2 or more in a batch"):
            call(normed, data, epochs=1, batch_size=1)


def test_outputs_that_are_no_numbers_are_not_scored(family: nd.Family) -> None:
    large = nd.Family(net(), family.config)
    with torch.no_grad():
        for parameter in large.parameters():
            parameter.mul_(torch.inf)
    with pytest.raises(NonFiniteError, match="not a number"):
        nd.evaluate(large, (X, Y), lams=[1.0])


def test_n_is_what_an_epoch_yields() -> None:
    data = TensorDataset(X, Y)

    def complexity(loader: Any) -> Tensor:
        seen: list[Tensor] = []
        nd.fit(
            net(),
            loader,
            epochs=1,
            lr=1e-12,
            report=lambda e: seen.append(e.measured["complexity"]),
        )
        return seen[0].mean()

    part = DataLoader(TensorDataset(X[:10], Y[:10]), batch_size=5)
    sampled = DataLoader(data, batch_size=5, sampler=SubsetRandomSampler(range(10)))
    assert torch.allclose(complexity(part), complexity(sampled), rtol=1e-4)
    assert nd.fit(net(), DataLoader(data, batch_size=7, drop_last=True), epochs=1).n_data == 21

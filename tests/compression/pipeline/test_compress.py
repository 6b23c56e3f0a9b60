"""``nd.compress`` as a whole: what was asked for is reached, on networks of all kinds, and work that stopped goes on."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial import compression
from netdial.compression import Codebook
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.result import FrontPoint, Level, SizePoints, pareto
from netdial.compression.pipeline.search import Search
from netdial.core.errors import ConfigError, MemberWarning, NonFiniteError
from netdial.data.dataset import Dataset
from netdial.measure.compare import values_of
from netdial.task import Regression
from netdial.train.loop import Epoch
from netdial.train.session import Interrupted

from ...marks import may_be_useless

QUICK: dict[str, Any] = {"epochs": 2, "tuning": 1, "batch_size": 64, "lr": 5e-3, "values": 8}


def rows(count: int, seed: int, shape: tuple[int, ...] = (12,)) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
    first = x.flatten(1)
    return x, (first[:, 0] + first[:, 1] > 0).long() + (first[:, 2] > 0.5).long()


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    net = nd.build("mlp:40", input_shape=(12,), n_outputs=3, seed=0)
    (family,) = nd.fit_direct(
        net, rows(300, 0), lams=[1e-3], objective="l2", epochs=16, batch_size=32, lr=5e-3
    )
    return family


def compressed(net: nn.Module, **settings: Any) -> Any:
    given = {**QUICK, **settings}
    lam = 1e-3 if isinstance(net, nd.Family) else None
    return nd.compress(net, rows(300, 0), rows(300, 1), lam=lam, **given)


@pytest.mark.slow
def test_a_size_in_bytes_is_met_and_the_network_is_what_is_stored(trained: nn.Module) -> None:
    found = compressed(trained, max_bytes=500)
    assert found.n_bytes <= 500
    state = found.net.state_dict()
    assert set(found.chosen.tensors) == set(state)
    for name, stored in found.chosen.tensors.items():
        dense = stored.dense() if isinstance(stored, Codebook) else stored
        assert np.array_equal(dense, state[name].numpy())
        if isinstance(stored, Codebook):
            assert stored.values[0] == 0 and len(stored.values) <= 9
    x, y = rows(300, 1)
    assert float((found.net(x).argmax(1) == y).float().mean()) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
@may_be_useless
def test_steps_are_larger_networks_on_the_way_and_values_that_are_too_long_are_not_trained(
    steps: int,
) -> None:
    net = nd.build("mlp:100", input_shape=(12,), n_outputs=3, seed=0)
    most, names, sizes = 250, list[str](), list[int]()

    class Noted(Search):
        def _points(self, level: Level, name: str, most: float) -> SizePoints:
            found = super()._points(level, name, most)
            sizes.append(found.least)
            assert all(p.n_bytes <= 1.02 * most for p in found.points)
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netdial.compression.pipeline.run.Search", Noted)
        found = compressed(net, max_bytes=most, steps=steps, report=lambda n, *_: names.append(n))
    assert found.n_bytes <= most
    on_the_way = sizes[: steps - 1]
    assert len(on_the_way) == steps - 1 and on_the_way == sorted(on_the_way, reverse=True)
    assert all(size > 1.2 * most for size in on_the_way)
    levels = [name for name in dict.fromkeys(names) if "-" not in name]
    assert levels == [f"size{turn}" for turn in range(len(levels))]
    trained = {name.partition("-")[0] for name in names if "-" in name}
    assert trained and not trained & set(levels[: steps - 1])


@pytest.mark.slow
def test_the_waterfall_falls_and_the_front_trades_bytes_for_loss(trained: nn.Module) -> None:
    found = compressed(trained, max_loss=0.1)
    stages = {stage.label: stage for stage in found.stages}
    # the control is better than the network given, so losses are compared with it; both are told
    assert list(stages) == ["dense", "trained on", "pruned", "shared", "coded"]
    assert stages["trained on"].loss < stages["dense"].loss
    for point in found.front:
        assert point.loss - point.excess == pytest.approx(stages["trained on"].loss, abs=1e-6)
    sizes = [stages[label].n_bytes for label in ("dense", "pruned", "shared", "coded")]
    assert sizes[0] == 4 * trained.n_params
    assert sizes[0] > sizes[1] > sizes[2]
    losses = [point.loss for point in found.front]
    bytes_ = [point.n_bytes for point in found.front]
    assert bytes_ == sorted(bytes_, reverse=True) and losses == sorted(losses)
    assert found.chosen.excess <= 0.1
    assert all(p.n_bytes >= found.n_bytes for p in found.front if p.excess <= 0.1)
    assert sum(layer.kept for layer in found.layers()) == found.chosen.n_weights


def test_of_files_of_one_size_the_better_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        FrontPoint(100, loss, loss - 0.5, 0.1, 3, 0.0, nn.Identity(), {})
        for loss in (0.9, 0.6, 0.7)
    ]
    search = object.__new__(Search)
    object.__setattr__(search, "context", SimpleNamespace(loss_words="log loss"))
    monkeypatch.setattr(Search, "_begin", lambda self: None)
    monkeypatch.setattr(Search, "_first_goal", lambda self: 1.0)
    monkeypatch.setattr(Search, "_descend", lambda self, *_: (None, SizePoints(points, 100)))
    front, chosen, _ = search._for_loss(1.0)
    assert chosen is points[1] and chosen in pareto(front)


def test_a_limit_below_header_and_text_is_refused_before_any_training() -> None:
    data = torch.zeros(20, 2), torch.zeros(20, dtype=torch.int64)
    told: list[str] = []
    with pytest.raises(ConfigError, match=r"max_bytes=100: without any weights .* allow more"):
        nd.compress(
            nn.Linear(2, 2),
            data,
            data,
            max_bytes=100,
            meta={"text": "".join(map(chr, range(33, 240)))},
            report=lambda name, *_: told.append(name),
        )
    assert not told


@pytest.mark.parametrize(("after", "chosen"), [(0.12, 60), (0.4, 100)])
def test_the_price_of_a_bit_is_in_bits_of_loss_for_regressions_too(
    after: float, chosen: int
) -> None:
    """A saving of 320 bits costs 1000 rows 500 log2(after / .1) bits, by the law of the errors: 132, or 1000."""

    def point(squared_error: float, n_bytes: int) -> FrontPoint:
        net = nn.Linear(1, 1)
        nn.init.zeros_(net.weight)
        nn.init.constant_(net.bias, squared_error**0.5)
        return FrontPoint(n_bytes, squared_error, 0.0, 0.0, 2, 1.0, net, {})

    class Two(Search):
        def _begin(self) -> Level:
            return Level(math.inf, nn.Identity(), {}, (2.0,))

        def _first_goal(self) -> float:
            return 1.0

        def _descend(self, level: Any, goal: float, name: str, most: float = math.inf) -> Any:
            one = point(0.1, 100) if name == "size0" else point(after, 60)
            return level, SizePoints([one], one.n_bytes)

    rows_ = Dataset(torch.zeros(1000, 1), torch.zeros(1000, 1))
    config = CompressConfig(price=1.0)
    context: Any = SimpleNamespace(data=rows_, task=Regression(), config=config)
    search = Two(context, nn.Identity(), rows_, lambda _: 0, torch.zeros(1), None)
    assert search.run()[1].n_bytes == chosen


@pytest.mark.slow
def test_the_likelihood_of_a_regression_is_under_its_errors() -> None:
    """A network that explains 98 % of the variance is not given away for some bytes, and its nll is that of evaluate."""
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([[0.7], [0.5], [0.4], [0.3]])
    y = y + 0.1 * torch.randn(400, 1, generator=torch.Generator().manual_seed(1))
    train, valid = Dataset(x[:300], y[:300]), Dataset(x[300:], y[300:])
    net = nd.build("mlp:8", input_shape=(4,), n_outputs=1, seed=0)
    family = nd.fit(net, train, valid, kind="regression", epochs=30, lr=1e-2)
    known = nd.evaluate(family, valid, lams=[0.01])
    found = nd.compress(family, train, valid, lam=0.01, metric="nll", max_bytes=900, **QUICK)
    assert found.stages[0].loss == pytest.approx(known.table()[0]["nll"], abs=1e-3)
    longer = {**QUICK, "epochs": 20, "tuning": 10}
    found = nd.compress(family, train, valid, lam=0.01, price=1.0, **longer)
    assert found.chosen.loss < 0.05


@pytest.mark.slow
@may_be_useless
def test_a_dearer_bit_makes_a_smaller_file(trained: nn.Module) -> None:
    cheap, dear = (compressed(trained, price=price).n_bytes for price in (0.02, 2.0))
    assert dear < cheap


@pytest.mark.slow
def test_the_loss_may_be_a_metric_of_the_task(trained: nn.Module) -> None:
    found = compressed(trained, max_bytes=700, metric="accuracy")
    assert found.metric == "accuracy"
    x, y = rows(300, 1)
    assert found.chosen.loss == pytest.approx(
        1 - float((found.net(x).argmax(1) == y).float().mean()), abs=1e-6
    )


WAYS: list[dict[str, Any]] = [
    {"share": "kmeans", "start": "density"},
    {"share": "uniform"},
    {"criterion": "magnitude", "schedule": "linear"},
    {"free": False, "biases": False},
    {"distil": 0.5},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", WAYS, ids=str)
def test_every_way_of_sharing_and_pruning_reaches_the_size(
    trained: nn.Module, options: dict[str, Any]
) -> None:
    assert compressed(trained, max_bytes=900, **options).n_bytes <= 900


@pytest.mark.slow
def test_a_posterior_says_how_precise_a_weight_has_to_be() -> None:
    net = nd.build("mlp:10", input_shape=(12,), n_outputs=3, seed=0)
    family = nd.fit(net, rows(300, 0), objective="scaled-kl", epochs=2, batch_size=32)
    found = nd.compress(
        family,
        rows(300, 0),
        rows(100, 1),
        lam=1.0,
        share="posterior",
        criterion="snr",
        max_bytes=400,
        **QUICK,
    )
    assert found.n_bytes <= 400


class Words(nn.Module):
    """Embedding, recurrence, attention and normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.cell = nn.GRU(8, 8, batch_first=True)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        told, _ = self.cell(self.embed(x))
        mixed, _ = self.mix(told, told, told)
        return self.head(self.norm(told + mixed).mean(1))


@pytest.mark.slow
def test_embeddings_recurrence_attention_and_normalisation() -> None:
    torch.manual_seed(0)
    net, source = Words(), torch.Generator().manual_seed(0)
    x = torch.randint(0, 11, (200, 5), generator=source)
    y = x[:, 0] % 3
    found = nd.compress(net, (x, y), (x[:60], y[:60]), max_bytes=1400, **QUICK)
    assert found.n_bytes <= 1400
    exact = {n for n, t in found.chosen.tensors.items() if not isinstance(t, Codebook)}
    assert exact == {"norm.weight", "norm.bias"}
    assert type(found.net) is Words


@pytest.mark.slow
@may_be_useless
def test_convolutions_with_batch_normalisation_keep_their_statistics() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )
    x, y = rows(200, 0, (1, 6, 6))
    found = nd.compress(net, (x, y), (x[:80], y[:80]), max_bytes=500, **QUICK)
    assert found.n_bytes <= 500
    assert isinstance(found.chosen.tensors["1.running_var"], np.ndarray)
    assert found.chosen.tensors["1.num_batches_tracked"].dtype == np.int64


class Kept(nn.Module):
    """Layers tied to each other, normalisation of units that go in another order, and a buffer that is no part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(12, 16), nn.BatchNorm1d(16)
        self.middle, self.again = nn.Linear(16, 16), nn.Linear(16, 16)
        self.again.weight = self.middle.weight
        self.last = nn.Linear(16, 3)
        self.scale: Tensor
        self.register_buffer("scale", torch.linspace(0.5, 2, 16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu() * self.scale
        scores: Tensor = self.last(x + self.again(self.middle(x).relu()))
        return scores


@pytest.mark.slow
@may_be_useless
def test_the_file_holds_the_network_that_was_measured(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Kept()
    found = nd.compress(net, rows(200, 0), rows(100, 1), max_bytes=600, **QUICK)
    x, _ = rows(50, 2)
    for point in found.front:
        compression.write(tmp_path / "a.ndz", point.tensors)
        again = nd.load_model(tmp_path / "a.ndz", Kept())
        torch.testing.assert_close(again(x), point.net(x), rtol=0, atol=0)
    # units are in another order, or this would say little
    assert any(not torch.equal(p.net.get_buffer("scale"), net.scale) for p in found.front)


def test_a_slimmed_network_is_compressed_further(trained: nn.Module) -> None:
    small = nd.slim(trained, 1e-3, share=0.5, data=rows(300, 0))
    found = nd.compress(small, rows(300, 0), rows(300, 1), max_bytes=400, **QUICK)
    assert found.net.get_parameter("fc1.weight").shape == (20, 12) and found.n_bytes <= 400


class Mapped(nn.Module):
    """A network of outputs at each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "goal"),
    [
        (3, {"max_bytes": 400}),
        (3, {"max_loss": 0.2}),
        (1, {"max_bytes": 200}),
        (1, {"price": 0.01}),
    ],
)
def test_networks_of_images_and_texts_are_compressed(channels: int, goal: dict[str, Any]) -> None:
    torch.manual_seed(0)
    x = torch.randn(160, 1, 4, 4)
    classes = (x[:, 0] > 0).long() + (x[:, 0] > 1).long()
    y = classes if channels > 1 else 0.01 * (x + 0.1 * torch.randn_like(x))
    train, valid = (x[:100], y[:100]), (x[100:], y[100:])
    family = nd.fit(Mapped(channels), train, valid, epochs=20, lr=0.02, batch_size=20)
    found = nd.compress(
        family, train, valid, lam=0.01, **{**QUICK, "epochs": 8, "batch_size": 20}, **goal
    )
    metric = None if channels > 1 else "rmse"
    before, after = (
        float(values_of(net(valid[0])[None].detach(), valid[1], family.task, metric))
        for net in (family.export(0.01), found.net)
    )
    assert after <= before + 0.2 if channels > 1 else after < 2 * before
    assert found.n_bytes < (400 if channels > 1 else 200)


@pytest.mark.slow
@may_be_useless
def test_families_of_networks_of_images_are_compressed() -> None:
    x = torch.randn(60, 1, 4, 4)
    family = nd.fit(Mapped(1), (x, x), epochs=2)
    assert nd.compress(family, (x, x), (x, x), max_bytes=900, **QUICK).n_bytes <= 900


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_to_the_same_network(
    trained: nn.Module, tmp_path: Path
) -> None:
    whole = compressed(trained, max_bytes=600)
    asked = {**QUICK, "max_bytes": 600}

    def stop(name: str, *_: object) -> None:
        if "bits" in name:
            raise Interrupted

    with pytest.raises(Interrupted):
        nd.compress(
            trained, rows(300, 0), rows(300, 1), lam=1e-3, folder=tmp_path, report=stop, **asked
        )
    assert (tmp_path / "size0.safetensors").exists()
    told: list[str] = []
    again = nd.compress(
        trained,
        rows(300, 0),
        rows(300, 1),
        lam=1e-3,
        folder=str(tmp_path),
        report=lambda name, *_: told.append(name),
        **asked,
    )
    assert "size0" not in told, "what is done is not done again"
    assert again.n_bytes == whole.n_bytes
    for one, other in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("other", [{"max_bytes": 120}, {"epochs": 3}])
def test_a_search_begins_anew_where_another_one_was_stopped(
    trained: nn.Module, tmp_path: Path, other: dict[str, int]
) -> None:
    def stop(name: str, epoch: Epoch, _: int) -> None:
        if epoch.number == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        compressed(trained, **{"max_bytes": 300, **other}, folder=tmp_path, report=stop)
    assert (tmp_path / "size0.checkpoint").exists()
    again = compressed(trained, max_bytes=300, folder=tmp_path)
    whole = compressed(trained, max_bytes=300)
    for one, other_ in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other_)


@pytest.mark.slow
@may_be_useless
@pytest.mark.parametrize("other", [{"rows": 7}, {"augment": "shift"}], ids=str)
def test_a_search_on_other_rows_begins_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    """As many rows as before, other ones or varied: levels of the search before are of no use."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 3))
    said = dict(other)
    data, valid = rows(120, said.pop("rows", 0), (1, 4, 4)), rows(60, 1, (1, 4, 4))
    asked: dict[str, Any] = {"max_bytes": 160, **QUICK}
    nd.compress(net, rows(120, 0, (1, 4, 4)), valid, folder=tmp_path, **asked)
    told: list[str] = []
    again = nd.compress(
        net, data, valid, folder=tmp_path, report=lambda n, *_: told.append(n), **said, **asked
    )
    whole = nd.compress(net, data, valid, **said, **asked)
    assert "size0" in told
    for one, one_again in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, one_again)


@pytest.mark.slow
def test_the_network_given_stays_as_it_is(trained: nn.Module) -> None:
    net = trained.export(1e-3)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    compressed(net, max_bytes=900)
    assert all(torch.equal(before[n], p) for n, p in net.named_parameters())


@pytest.mark.slow
def test_what_cannot_be_is_refused_before_or_in_words(trained: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"max_bytes and price"):
        CompressConfig(max_bytes=100, price=1.0)
    with pytest.raises(ConfigError, match=r"max_bytes=70: .*smallest file"):
        compressed(trained, max_bytes=70)
    with pytest.raises(ConfigError, match=r"max_loss: .*0"):
        compressed(
            trained,
            max_loss=0.0,
            metric="nll",
            epochs=1,
            tuning=0,
            values=1,
            share="kmeans",
            lr=1e-8,
        )
    with pytest.raises(ConfigError, match=r"share='posterior' .* there are none; give lam"):
        compressed(trained, share="posterior", max_bytes=900)
    with pytest.raises(ConfigError, match="which member"):
        nd.compress(trained, rows(60, 0), rows(30, 1), **QUICK)
    with pytest.raises(ConfigError, match="no complexity values"):
        nd.compress(trained.export(1e-3), rows(60, 0), rows(30, 1), lam=1.0, **QUICK)
    broken = trained.export(1e-3)
    broken.get_parameter("fc1.bias").data[0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"fc1\.bias"):
        compressed(broken, max_bytes=900)


@pytest.mark.slow
@may_be_useless
def test_where_bytes_are_left_over_more_weights_are_tried(
    trained: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Coarse(Search):
        def _begin(self) -> Level:
            return replace(super()._begin(), precisions=(0.5,))

    monkeypatch.setattr("netdial.compression.pipeline.run.Search", Coarse)
    net = nd.build("mlp:60-40", input_shape=(12,), n_outputs=3, seed=0)
    names: list[str] = []
    found = compressed(net, max_bytes=1000, report=lambda name, *_: names.append(name))
    first, *_ = (name for name in names if name.endswith("bits"))
    fuller = [name for name in names if "fuller" in name]
    assert fuller and fuller[0].startswith(first.partition("-")[0])
    assert found.n_bytes <= 1000


@pytest.mark.slow
def test_of_networks_that_accuracy_cannot_tell_apart_the_proper_loss_takes_one(
    trained: nn.Module,
) -> None:
    found = compressed(trained, max_bytes=900, metric="accuracy")
    x, y = rows(300, 1)
    near = [
        point
        for point in found.front
        if point.n_bytes <= 900 and point.loss == pytest.approx(found.chosen.loss, abs=1e-9)
    ]
    losses = [float(nn.functional.cross_entropy(point.net(x), y).detach()) for point in near]
    assert float(nn.functional.cross_entropy(found.net(x), y).detach()) <= min(losses) + 1e-9


@pytest.mark.slow
def test_a_limit_is_met_where_names_and_text_are_most_of_the_file() -> None:
    """What is not weights does not shrink, so all that is to go has to come from the weights."""
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    rest = {"meta": {"text": "".join(chr(33 + i * i * 7 % 89) for i in range(600))}, **QUICK}
    most = nd.compress(net, (x, y), (x, y), max_bytes=2000, **rest).n_bytes
    assert nd.compress(net, (x, y), (x, y), max_bytes=most - 30, **rest).n_bytes <= most - 30


@pytest.mark.slow
def test_a_network_that_is_no_better_than_a_constant_is_told_of(trained: nn.Module) -> None:
    with pytest.warns(MemberWarning, match="no better than a constant"):
        found = compressed(trained, price=1e3)
    assert found.chosen.n_weights == 0


def test_a_loss_in_the_targets_own_units_is_refused(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    width = source.normal(5, 2, 80)
    lines = [f"{w},{90_000 + 5_000 * w}" for w in width]
    (tmp_path / "houses.csv").write_text("\n".join(["width,price", *lines]), encoding="utf-8")
    data = nd.load_data(tmp_path / "houses.csv", target="price")
    net = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1))
    with pytest.raises(ConfigError, match=r"max_loss=5000.*variances of the target.*constant"):
        nd.compress(net, data.train, data.valid, kind=data.kind, max_loss=5000.0, metric="rmse")


@pytest.mark.slow
def test_a_price_keeps_the_weights_that_are_worth_their_bits() -> None:
    """What leaves out one weight costs says little of what all cost: sharing at a price alone emptied this network."""
    data = nd.load_data("digits", flat=True)
    net = nd.build("mlp:100-50", input_shape=(64,), n_outputs=10, seed=0)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data.train.x), data.train.y).backward()
        optimizer.step()
    found = nd.compress(net, data.train, data.valid, price=0.1, epochs=10, lr=2e-3)
    rows_ = len(data.train)
    empty = rows_ * math.log2(10) + 0.1 * 8 * 110
    total = rows_ * found.chosen.loss / math.log(2) + 0.1 * 8 * found.n_bytes
    assert total < empty / 2
    assert found.chosen.loss < 1


class _TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(8, 12), nn.Linear(4, 12), nn.Linear(12, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        out: Tensor = self.out(torch.tanh(self.left(left) + self.right(right)))
        return out


@pytest.mark.slow
@may_be_useless
def test_a_network_of_several_inputs_is_compressed_as_it_is(tmp_path: Path) -> None:
    """``forward(left, right)``: by position, or by name in any order; the file opens in its class."""
    torch.manual_seed(0)
    x, y = rows(200, 0)
    left, right = x[:, :8], x[:, 8:]
    net, settings = _TwoInputs(), {**QUICK, "max_bytes": 300}
    placed = nd.compress(net, ((left, right), y), ((left, right), y), **settings)
    named = {"right": right, "left": left}, y
    assert nd.compress(net, named, named, **settings).chosen.loss == placed.chosen.loss
    compression.write(tmp_path / "two.ndz", placed.chosen.tensors, recipe=placed.recipe)
    opened = nd.load_model(tmp_path / "two.ndz", _TwoInputs())
    with torch.no_grad():
        assert torch.equal(opened(left, right), placed.net(left, right))

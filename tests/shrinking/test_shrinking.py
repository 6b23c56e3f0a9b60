"""Shrinking from Python: what a λ is worth, planted channels found again, and every way to ask for it."""

from __future__ import annotations

import copy
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from netdial.channels.layers.switch import Switch
from netdial.channels.sizes import strip, thetas
from netdial.core.errors import ConfigError, TraceError
from netdial.data.dataset import Dataset
from netdial.models.cut.recipe import save_network
from netdial.models.cut.restoring import load_network
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.method import ShrinkMethod
from netdial.shrinking.shrink import Shrunk, prepare, shrink
from netdial.shrinking.state import ShrinkState
from netdial.task import Classification
from netdial.train.feed import TensorFeed
from netdial.train.loop import Epoch

FAST = {"lam": 0.2, "switch_rate": 0.5, "epochs": 4, "batch_size": 12, "collect_every": 3}
MOVERS: dict[str, dict[str, Any]] = {
    "Adam": {"lr": 5e-2},
    "SGD": {"lr": 0.02, "momentum": 0.5},
}


def mlp() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 14), nn.ReLU(), nn.Linear(14, 9), nn.Tanh(), nn.Linear(9, 3))


def normalised() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 8), nn.Sigmoid(), nn.Linear(8, 3)
    )  # fmt: skip


def sum_of_units(gains: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns x ``[B, C]`` and y = Σ gain relu(x) ``[B, 1]``."""
    x = torch.randn(400, len(gains), generator=torch.Generator().manual_seed(seed))
    return x, (x.relu() @ gains)[:, None]


def units(head: Tensor) -> nn.Module:
    """Returns a network whose hidden unit k is relu(x_k) at the start."""
    net = nn.Sequential(nn.Linear(len(head), len(head)), nn.ReLU(), nn.Linear(len(head), 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(len(head)))
        net[0].bias.zero_()
        net[2].weight.copy_(head)
        net[2].bias.zero_()
    return net


def regression(net: nn.Module, data: Any, **settings: Any) -> Shrunk:
    given = {"epochs": 200, "batch_size": 400, "collect_every": 20, **settings}
    return shrink(net, data, kind="regression", **given)


def rank_correlation(values: list[float]) -> float:
    """Returns Spearman's correlation with 0, 1, 2, …; equal values share their mean rank."""
    x = torch.tensor(values, dtype=torch.float64)
    ranks = (x[:, None] > x).sum(1) + 0.5 * ((x[:, None] == x).sum(1) - 1)
    return float(torch.corrcoef(torch.stack([ranks, torch.arange(len(values)).double()]))[0, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    ["Adam", *(pytest.param(n, marks=pytest.mark.slow) for n in MOVERS if n != "Adam")],
)
def test_a_larger_lambda_leaves_a_smaller_network(optimizer: str) -> None:
    """Twelve units that are worth 0.1 to 3 each, in a trained network."""
    gains = torch.logspace(-1, 0.5, 12)
    lams = torch.logspace(-0.8, 1, 9).tolist()
    widths = [
        regression(
            units(gains), sum_of_units(gains), lam=lam, optimizer=optimizer, epochs=100, lam2=0, lr=2e-3
        ).widths["0"]
        for lam in lams
    ]  # fmt: skip
    assert rank_correlation([float(width) for width in widths]) <= -0.95
    assert len(set(widths)) >= 6, "the network falls apart all at once"


@pytest.mark.slow
@pytest.mark.parametrize("needed", [2, 5])
@pytest.mark.parametrize("optimizer", list(MOVERS))
def test_planted_units_are_found(optimizer: str, needed: int, seed: int) -> None:
    """The first units explain y; all begin alike, and the others go."""
    gains = torch.zeros(10)
    gains[:needed] = 2.0
    done = regression(
        units(torch.full((10,), 0.3)),
        sum_of_units(gains, seed),
        lam=0.3,
        optimizer=optimizer,
        seed=seed,
        start="unit",
        lam2=1e-4,
        **MOVERS[optimizer],
    )
    assert done.alive == {"0": tuple(range(needed))}
    x, y = sum_of_units(gains, seed + 100)
    with torch.no_grad():
        assert float((done.net(x) - y).square().mean()) < 0.15 * float(y.var())


@pytest.mark.slow
@pytest.mark.parametrize("net", [mlp, normalised])
@pytest.mark.parametrize("settings", [{}, {"size": "120 params"}])
def test_a_collection_changes_nothing_that_the_network_computes(
    net: Any, settings: dict[str, Any], blobs: tuple[Tensor, Tensor]
) -> None:
    """Seen on all data in both modes, not only on the two examples that a collection checks itself."""
    config = ShrinkConfig(**FAST, **settings)
    feed = TensorFeed(Dataset(*blobs), batch_size=12, seed=0)
    method = ShrinkMethod(config, task=Classification(), steps=feed.steps)
    state = method.init(prepare(net(), blobs[0][:2], config))
    collect, apart = method._collect, []

    def watched(now: ShrinkState) -> None:
        silenced = dict(now.fading)
        before = copy.deepcopy(now.module)
        with torch.no_grad():
            for group, channels in silenced.items():
                dict(before.named_modules())[f"switch_{group}"].theta[list(channels)] = 0.0
        collect(now)
        for training in (True, False):
            one, two = (
                copy.deepcopy(before).train(training),
                copy.deepcopy(now.module).train(training),
            )
            apart.append(float((one(blobs[0]) - two(blobs[0])).abs().max().detach()))

    method._collect = watched  # type: ignore[method-assign]
    for epoch in range(4):
        for batch in feed.epoch(epoch):
            method.step(state, batch)
    assert state.events and max(apart) <= 1e-5
    assert all(event.difference <= 1e-5 for event in state.events)


def test_what_comes_back(blobs: tuple[Tensor, Tensor]) -> None:
    told: list[Epoch] = []
    done = shrink(mlp(), blobs, blobs, report=lambda epoch, state: told.append(epoch), **FAST)
    assert [epoch.number for epoch in told] == [1, 2, 3, 4]
    assert all(epoch.valid is not None and epoch.valid > 0 for epoch in told)
    assert not done.net.training
    assert done.widths == {"0": len(done.alive["0"]), "2": len(done.alive["2"])}
    one, two = done.widths.values()
    assert 1 <= one < 14 and 1 <= two < 9
    assert done.n_params == 6 * one + (one + 1) * two + (two + 1) * 3
    folded, report = done.fold()
    assert report.difference <= 1e-5 and not report.left
    assert not any(isinstance(module, Switch) for module in folded.modules())
    assert torch.allclose(folded(blobs[0]), done.net(blobs[0]), atol=1e-5)
    assert sum(p.numel() for p in folded.parameters()) == done.n_params


def test_all_kinds_of_data_give_the_same(blobs: tuple[Tensor, Tensor]) -> None:
    one = shrink(mlp(), blobs, **FAST)
    two = shrink(mlp(), Dataset(*blobs), config=ShrinkConfig(**FAST))
    for name, leaf in one.net.state_dict().items():
        assert torch.equal(leaf, two.net.state_dict()[name])
    loader = DataLoader(TensorDataset(*blobs), batch_size=12, shuffle=True)
    three, four = (shrink(mlp(), loader, **FAST) for _ in range(2))
    assert three.widths == four.widths and three.events
    for name, leaf in three.net.state_dict().items():
        assert torch.equal(leaf, four.net.state_dict()[name])


def test_global_random_numbers_play_no_part(blobs: tuple[Tensor, Tensor]) -> None:
    found = []
    for seed in (0, 1):
        net = nn.Sequential(mlp(), nn.Dropout(0.3), nn.Linear(3, 3))
        torch.manual_seed(seed)
        found.append(shrink(net, blobs, start="sampled", **FAST).net.state_dict())
        after = torch.rand(3)
        torch.manual_seed(seed)
        assert torch.equal(after, torch.rand(3)), "drawn from"
    assert all(torch.equal(leaf, found[1][name]) for name, leaf in found[0].items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"config": ShrinkConfig(), "lam": 1.0}, r"either config or settings by name, not both \(lam\)"),
        ({"lmbda": 1.0}, "unknown setting 'lmbda'"),
        ({"kind": "ranking"}, r"unknown task 'ranking' .*classification.* regression"),
        ({"optimizer": "Adan"}, "unknown optimizer 'Adan'; did you mean 'Adam'"),
        ({"size": "9 params", "kill": "zero"}, "leave out penalty and kill"),
        ({"size": "1e9 params"}, "the network begins with 249, so there is nothing to shrink"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(
    given: dict[str, Any], message: str, blobs: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ConfigError, match=message):
        shrink(mlp(), blobs, **given)


def test_networks_that_cannot_shrink_are_refused(blobs: tuple[Tensor, Tensor]) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x) if x.sum() > 0 else self.layer(-x)
            return out

    with pytest.raises(TraceError, match="network Branching: cannot be traced"):
        shrink(Branching(), blobs, **FAST)
    with pytest.raises(ConfigError, match="no layer that can shrink"):
        shrink(nn.Linear(5, 3), blobs, **FAST)
    with pytest.raises(ConfigError, match="has no parameters"):
        shrink(nn.ReLU(), blobs, **FAST)


@pytest.mark.parametrize("settings", [{}, {"size": "120 params"}])
def test_double_precision(settings: dict[str, Any], blobs: tuple[Tensor, Tensor]) -> None:
    done = shrink(mlp(), blobs, blobs, precision="64-true", **FAST, **settings)
    assert done.events and done.n_params < 249
    leaves = done.net.state_dict()
    assert all(leaf.dtype == torch.float64 for leaf in leaves.values())
    assert all(event.difference <= 1e-12 for event in done.events)


@pytest.mark.parametrize("net", [mlp, normalised])
@pytest.mark.parametrize("settings", [{}, {"size": "120 params"}])
def test_mixed_precision(net: Any, settings: dict[str, Any], blobs: tuple[Tensor, Tensor]) -> None:
    """Products are made in bfloat16, weights and switches stay in float32 and exact zeros too."""
    seen: set[torch.dtype] = set()
    start = net()
    start[0].register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    done = shrink(start, blobs, precision="bf16-mixed", accelerator="cpu", **FAST, **settings)
    assert torch.bfloat16 in seen
    assert done.events and done.n_params < sum(p.numel() for p in start.parameters())
    assert all(leaf.dtype == torch.float32 for leaf in strip(done.net).values())
    assert all(bool(theta.isfinite().all()) for theta in thetas(done.graph).values())


@pytest.mark.slow
def test_a_network_compiled_between_collections_is_compiled_anew(
    blobs: tuple[Tensor, Tensor],
) -> None:
    compiled: list[Any] = []
    apart: list[float] = []
    widths: set[tuple[int, ...]] = set()

    def look(epoch: Epoch, state: ShrinkState) -> None:
        if not compiled:
            compiled.append(torch.compile(state.module, backend="aot_eager"))
        with torch.no_grad():
            apart.append(float((compiled[0](blobs[0]) - state.module(blobs[0])).abs().max()))
        widths.add(tuple(state.graph.widths.values()))

    done = shrink(mlp(), blobs, report=look, **{**FAST, "epochs": 5, "size": "120 params"})
    assert len(done.events) > 1 and len(widths) > 2
    assert len(apart) == 5 and max(apart) <= 1e-6
    compiled[0].train()
    compiled[0](blobs[0]).sum().backward()
    for name, parameter in done.net.named_parameters():
        assert parameter.grad is not None and parameter.grad.shape == parameter.shape, name


SCRIPT = """
import sys, time, torch
from pathlib import Path
from torch import nn
from netdial.models.cut.recipe import save_network
from netdial.models.cut.restoring import load_network
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.shrink import prepare, run
from netdial.core.storage.container import save_tree
from netdial.train.session import Interrupted

path, result, slow = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "slow"
source = torch.Generator().manual_seed(7)
y = torch.arange(60) % 3
x = 1.5 * torch.randn(3, 5, generator=source)[y] + torch.randn(60, 5, generator=source)
torch.manual_seed(3)
net = nn.Sequential(
    nn.Linear(5, 14), nn.BatchNorm1d(14), nn.ReLU(), nn.Dropout(0.1), nn.Linear(14, 9), nn.Tanh(), nn.Linear(9, 3)
)
config = ShrinkConfig(size="120 params", epochs=6, batch_size=12, collect_every=3).for_rows(len(x))

def advance(step, total):
    if slow and step >= 11:
        print("at", step, flush=True)
        time.sleep(0.3)

graph = prepare(net, x[:2], config)
done = run(
    graph, (x, y), None, kind="classification", config=config, checkpoint=path, resuming=True,
    identity={"size": config.size}, advance=advance,
)
state = {**dict(done.net.state_dict()), "plan": done.plan.to_json(), "events": [e.step for e in done.events]}
save_tree(result, state, "test")
"""


@pytest.mark.slow
def test_a_terminated_process_is_resumed_bit_by_bit(tmp_path: Path) -> None:
    from netdial.core.storage.container import load_tree

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(name: str, pace: str) -> subprocess.Popen[str]:
        words = [
            sys.executable,
            str(script),
            str(tmp_path / name),
            str(tmp_path / f"{name}.end"),
            pace,
        ]
        return subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    killed = start("killed", "slow")
    assert killed.stdout is not None and killed.stdout.readline() == "at 11\n"
    killed.send_signal(signal.SIGTERM)
    error = killed.communicate(timeout=100)[1]
    assert killed.returncode != 0 and "stopped at step 1" in error
    assert not (tmp_path / "killed.end").exists()
    step = load_tree(tmp_path / "killed", "checkpoint")["state"]["step"]
    assert 11 <= step < 15
    for name in ("killed", "whole"):
        process = start(name, "fast")
        error = process.communicate(timeout=100)[1]
        assert process.returncode == 0, error
    one, two = (load_tree(tmp_path / f"{name}.end", "test") for name in ("killed", "whole"))
    assert one["plan"] == two["plan"] and one["events"] == two["events"]
    assert min(two["events"]) < step < max(two["events"])
    for name, leaf in two.items():
        assert not isinstance(leaf, Tensor) or torch.equal(leaf, one[name]), name


def test_channels_before_an_activation_and_a_batch_normalisation_go() -> None:
    """In evaluation a dead one comes out of the normalisation as its bias once the running mean is 0, too."""
    torch.manual_seed(0)
    x = torch.randn(96, 8)
    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.Linear(12, 2))
    data = x, (x[:, 0] > 0).long()
    done = shrink(net, data, size="100 params", epochs=6, batch_size=12)
    assert done.widths == {"0": 8} and done.n_params == 106


def test_a_short_training_goes_to_a_size_step_by_step() -> None:
    data = sum_of_units(torch.ones(5))
    net = nn.Sequential(nn.Linear(5, 60), nn.ReLU(), nn.Linear(60, 1))
    given = {"kind": "regression", "size": "80 params", "epochs": 2, "batch_size": 10}
    short = shrink(net, data, **given)
    assert [event.step for event in short.events] == [16, 24, 32, 40]  # ten in 80 steps
    assert abs(short.n_params - 80) <= 7
    asked = shrink(net, data, collect_every=40, **given)  # what is asked for is done
    assert {event.step for event in asked.events} <= {40, 80}
    long = shrink(net, data, **(given | {"epochs": 12}))
    assert {event.step % 40 for event in long.events} == {0}  # one an epoch is enough


def test_a_network_of_which_nothing_can_go_is_refused_with_the_reasons() -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> Any:
            return self.last(self.first(x).relu()[:, torch.arange(6)])

    x = torch.randn(20, 4)
    with pytest.raises(
        ConfigError, match=r"no layer that can shrink: .*picks channels by a tensor"
    ):
        shrink(Summed(), (x, (x[:, 0] > 0).long()), lam=0.1, epochs=1, lenient=True)


@pytest.mark.slow
@pytest.mark.parametrize("restore_best", [True, False])
@pytest.mark.parametrize("aim", [{"size": "60 params"}, {"lam": 0.02}])
def test_weights_are_those_of_the_best_epoch_since_a_channel_went(
    aim: dict[str, Any], *, restore_best: bool
) -> None:
    """A network that went on to learn its rows by heart after it had its size was left so."""
    source = torch.Generator().manual_seed(3)
    x = torch.randn(120, 5, generator=source)
    y = (x[:, 0] + torch.randn(120, generator=source) > 0).long()
    valid, sizes, losses = Dataset(x[60:], y[60:]), list[int](), list[float]()

    def note(epoch: Epoch, state: ShrinkState) -> None:
        assert epoch.valid is not None
        sizes.append(sum(part.numel() for part in state.module.parameters()))
        losses.append(epoch.valid)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 2))
    settings = {"epochs": 40, "batch_size": 10, "lr": 0.03, **aim, "restore_best": restore_best}
    shrunk = shrink(net, Dataset(x[:60], y[:60]), valid, report=note, **settings)
    last = sizes.index(sizes[-1])  # the first epoch of the shape that stays
    assert sizes[last:] == sizes[-1:] * (40 - last)
    wanted = min(losses[last:]) if restore_best else losses[-1]
    assert shrunk.epoch == losses.index(wanted) + 1
    with torch.no_grad():
        found = float(nn.functional.cross_entropy(shrunk.net(x[60:]), y[60:]))
    assert found == pytest.approx(wanted, rel=1e-5)
    assert min(losses) < min(losses[last:]) < 0.97 * losses[-1]


class GhostBatches(nn.Module):
    """Normalises the parts of a batch one by one, as TabNet does."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.norm = size, nn.BatchNorm1d(24)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.chunk(math.ceil(x.shape[0] / self.size))
        return torch.cat([self.norm(part) for part in parts])


@pytest.mark.slow
def test_a_network_that_trains_by_parts_of_a_batch_is_refused_where_there_are_several() -> None:
    source = torch.Generator().manual_seed(0)
    data = torch.randn(96, 8, generator=source), torch.arange(96) % 3
    net = nn.Sequential(nn.Linear(8, 24), GhostBatches(16), nn.ReLU(), nn.Linear(24, 3))
    assert shrink(net, data, epochs=1, batch_size=16).net
    with pytest.raises(TraceError, match=r"on a batch of 32.* lower batch_size"):
        shrink(net, data, epochs=1, batch_size=32)


class Words(nn.Module):
    """Attention with dropout behind code that torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 5:
            raise ValueError("five words")
        found: Tensor = self.out(self.layer(self.words(x)).mean(1))
        return found


@pytest.mark.slow
def test_a_network_that_drops_numbers_trains_alike_on_batches_of_any_size() -> None:
    source = torch.Generator().manual_seed(0)
    data = torch.randint(20, (96, 5), generator=source), torch.arange(96) % 3
    torch.manual_seed(0)
    assert shrink(Words(), data, epochs=1, batch_size=32).net


class Normed(nn.GroupNorm):
    """A normalisation with its activation, as libraries write it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps))


@pytest.mark.slow
@pytest.mark.parametrize("norm", [nn.GroupNorm, Normed])
def test_groups_of_channels_that_are_normalised_together_go(
    norm: type[nn.GroupNorm], tmp_path: Path
) -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        middle = [nn.Conv2d(3, 16, 3), norm(4, 16), nn.Conv2d(16, 16, 3), norm(4, 16)]
        return nn.Sequential(*middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))

    x = torch.randn(256, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0].mean((1, 2)) > 0).long()
    shrunk = shrink(net(), (x, y), lam=0.3, epochs=20, batch_size=64, seed=0)
    assert shrunk.events
    small = shrunk.fold()[0]
    left = [len(small.get_parameter(name)) for name in ("1.weight", "3.weight")]
    assert min(left) < 16 and all(size % 4 == 0 for size in left)
    assert not any(isinstance(part, Switch) for part in small.modules())
    save_network(shrunk, tmp_path / "small.safetensors")
    again = load_network(tmp_path / "small.safetensors", net())
    assert type(again) is nn.Sequential
    torch.testing.assert_close(again(x[:5]), shrunk.net.eval()(x[:5]), rtol=1e-4, atol=1e-5)

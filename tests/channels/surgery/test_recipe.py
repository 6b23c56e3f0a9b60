"""Shrunken networks as files: what comes back computes the same, in the user's own class, and fits no other."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from netdial.channels.collect import collect
from netdial.channels.fold.fold import fold
from netdial.channels.graph import Graph
from netdial.channels.layers.attention import Attention
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.layers.switch import Switch
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import trace
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.plan import Plan
from netdial.core.storage.container import load_tree, save_tree
from netdial.models.cut.recipe import read_recipe, save_network
from netdial.models.cut.restoring import load_network
from netdial.nets import build
from netdial.shrinking.shrink import Shrunk

from ..networks import network, random_plan, stirred


class Vgg(nn.Module):
    """Convolutions with BatchNorm and a classifier, with a part that forward does not use."""

    def __init__(self, stride: int = 1, width: int = 8, act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), act()),
            *(nn.Conv2d(width, 12, 3, 1, 1), nn.BatchNorm2d(12), act(), nn.MaxPool2d(2)),
        )
        self.unused = nn.Linear(3, 3)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(12 * 9, 10), nn.Linear(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class Encoder(nn.Module):
    """An encoder layer of torch's own between two linear layers."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.read = nn.Linear(5, 8)
        layer = nn.TransformerEncoderLayer(8, heads, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.read(x)).mean(1))


class Pair(nn.Module):
    """A layer and a norm without weights, each called twice, before a product: their switch can be merged nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6, affine=False)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.norm(self.one(x)), self.norm(self.one(-x))
        return self.head((y * torch.sigmoid(y)).relu() - torch.tanh(z))


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "mlp": (lambda: build("mlp:20-12", input_shape=[6], n_outputs=3), images(2, 6)),
    "lenet5": (lambda: build("lenet5", input_shape=[1, 28, 28], n_outputs=4), images(2, 1, 28, 28)),
    "vgg": (Vgg, images(2, 3, 6, 6)),
    "resnet20": (
        lambda: build("resnet20", input_shape=[3, 8, 8], n_outputs=4),
        images(2, 3, 8, 8),
    ),
    "encoder": (Encoder, images(2, 5, 5)),
    "pair": (Pair, images(2, 4)),
}


def shrunken(name: str, dtype: torch.dtype = torch.float32, **options: Any) -> Shrunk:
    """Returns a network of which two fifths of the switches are off and collected, and everything else is anything."""
    make, x = CASES[name]
    torch.manual_seed(1)
    net = stirred(make()).to(dtype)
    traced = trace(net)
    insert_switches(traced, **options)
    with torch.no_grad():
        for module in traced.modules():
            if isinstance(module, Switch):
                module.theta.copy_(torch.randn(len(module.theta)))
                module.theta[::5] = 0
                module.theta[1::5] = 0
    graph, done = collect(Graph.of(traced, x.to(dtype)), continues=False)
    assert done.plan
    traced.eval()
    alive = {group.name: tuple(range(group.size)) for group in graph.groups}
    return Shrunk(graph, done.plan, alive)


def another_batch(shrunk: Shrunk) -> Tensor:
    like = shrunk.graph.example
    return torch.randn(3, *like.shape[1:], dtype=like.dtype)


def same_state(loaded: nn.Module, saved: nn.Module) -> bool:
    """Bit by bit. Outputs need not be: tensors of a file lie anywhere in memory, and some processors then round otherwise."""
    here, there = (
        loaded.state_dict(),
        saved.state_dict(),
    )  # a graph lacks layers that are never used
    return here.keys() >= there.keys() and all(torch.equal(here[n], there[n]) for n in there)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.filterwarnings("ignore:.*what comes back is a graph")
def test_what_is_loaded_computes_what_was_saved(
    name: str, dtype: torch.dtype, tolerance: float, tmp_path: Path
) -> None:
    shrunk = shrunken(name, dtype)
    was = copy.deepcopy(shrunk.net.state_dict())
    save_network(shrunk, tmp_path / "net.safetensors", {"net": name})
    torch.manual_seed(9)
    loaded = load_network(tmp_path / "net.safetensors", CASES[name][0]())
    x = another_batch(shrunk)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), shrunk.net(x), rtol=tolerance, atol=tolerance)
        merged = fold(shrunk.net, shrunk.graph.example, norms=False)[0]
        assert same_state(loaded, merged)
    assert not any(module.training for module in loaded.modules())
    assert all(torch.equal(was[key], value) for key, value in shrunk.net.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "lenet5", "vgg", "resnet20"])
def test_the_module_given_comes_back_as_it_is(name: str, tmp_path: Path) -> None:
    shrunk = shrunken(name)
    recipe = save_network(shrunk, tmp_path / "f", {"net": name, "sizes": [1, 2]})
    net = CASES[name][0]()
    weights = list(net.parameters())
    loaded = load_network(tmp_path / "f", net)
    assert loaded is net and recipe.merged
    assert all(one is other for one, other in zip(weights, net.parameters(), strict=True))
    assert not any(isinstance(module, Switch) for module in net.modules())
    told = read_recipe(tmp_path / "f")
    assert told.about == {"net": name, "sizes": [1, 2]}
    assert told.widths == shrunk.widths and told.plan == recipe.plan
    assert (
        sum(p.numel() for p in net.parameters()) - (12 if name == "vgg" else 0) == shrunk.n_params
    )


def test_training_goes_on_as_it_would_have(tmp_path: Path) -> None:
    shrunk = shrunken("vgg", torch.float64)
    save_network(shrunk, tmp_path / "f")
    loaded = load_network(tmp_path / "f", Vgg())
    for net in (loaded, shrunk.net):
        net.train()
        net.get_submodule("classifier.0").eval()
    x = another_batch(shrunk)
    torch.testing.assert_close(loaded(x), shrunk.net(x), rtol=1e-10, atol=1e-10)
    loaded.train()
    optimizer = torch.optim.AdamW(loaded.parameters(), lr=1e-2)
    before = loaded(x).square().mean()
    before.backward()
    optimizer.step()
    assert all(p.grad is not None for n, p in loaded.named_parameters() if "unused" not in n)


def test_attention_comes_back_lowered(tmp_path: Path) -> None:
    make, x = CASES["encoder"]
    net = stirred(make())
    graph = Graph.of(net, x)
    heads = next(g for g in graph.groups if "in_proj" in g.name)
    plan = graph.plan({heads.name: [1, 2]})
    apply(plan, graph.traced)
    shrunk = Shrunk(graph.after(plan), plan, {})
    save_network(shrunk, tmp_path / "f")
    loaded = load_network(tmp_path / "f", Encoder())
    attention = loaded.get_submodule("encoder.layers.0.self_attn")
    assert isinstance(attention, Attention) and attention.num_heads == 2
    assert isinstance(loaded, Encoder)
    batch = another_batch(shrunk)
    torch.testing.assert_close(loaded(batch), shrunk.net(batch))
    assert same_state(loaded, shrunk.net)
    with pytest.raises(CheckpointError, match=r"self_attn has head_dim=4, expected 2"):
        load_network(tmp_path / "f", Encoder(heads=2))


def test_a_switch_that_stays_is_put_back(tmp_path: Path) -> None:
    shrunk = shrunken("pair")
    recipe = save_network(shrunk, tmp_path / "f")
    assert [(kept.name, kept.sources) for kept in recipe.switches] == [
        ("switch_one", ("norm", "norm_1"))
    ]
    assert not recipe.merged
    with pytest.warns(UserWarning, match=r"a graph and no Pair: switches stay .*switch_one"):
        loaded = load_network(tmp_path / "f", Pair())
    assert isinstance(loaded.get_submodule("switch_one"), Switch)
    again = Graph.of(loaded, shrunk.graph.example)
    assert again.widths == shrunk.widths


def test_a_switch_is_not_merged_into_what_would_undo_it_in_training() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Switch(6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    traced = trace(stirred(net))
    _, report = fold(traced, images(3, 4), norms=False)
    assert [left.reason.rpartition("; ")[2] for left in report.left] == [
        "'_3' after it would undo it in training"
    ]
    assert not fold(traced, images(3, 4))[1].left


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_any_network_comes_back_after_any_plan(tmp_path_factory: Any, seed: int) -> None:
    net, x = network(seed)
    fresh = copy.deepcopy(net)
    graph = Graph.of(net, x)
    plan = random_plan(graph, seed)
    apply(plan, graph.traced)
    shrunk = Shrunk(graph.after(plan), plan, {})
    path = tmp_path_factory.mktemp("any") / "f"
    save_network(shrunk, path)
    with torch.no_grad():
        for leaf in fresh.parameters():
            leaf.zero_()
        loaded, saved = load_network(path, fresh), graph.traced
        torch.testing.assert_close(loaded(x), saved(x), rtol=1e-12, atol=1e-12)
    assert same_state(loaded, saved)


@pytest.mark.parametrize(
    "name", ["mlp", "lenet5", "vgg", pytest.param("resnet20", marks=pytest.mark.slow)]
)
def test_files_get_smaller(name: str, tmp_path: Path) -> None:
    make, x = CASES[name]
    net = stirred(make())
    save_network(Shrunk(Graph.of(net, x), Plan(), {}), tmp_path / "whole")
    shrunk = shrunken(name)
    save_network(shrunk, tmp_path / "less")
    saved = (tmp_path / "whole").stat().st_size - (tmp_path / "less").stat().st_size
    gone = sum(p.numel() for p in trace(net).parameters()) - shrunk.n_params
    overhead = 8 * sum(len(kept) for dims in shrunk.plan.cuts.values() for kept in dims.values())
    assert saved > 4 * gone - overhead - 4000
    assert name == "mlp" or saved > 0


def test_the_file_is_tensors_and_text(tmp_path: Path) -> None:
    save_network(shrunken("vgg"), tmp_path / "f", {"note": "__import__('os').abort()"})
    with safe_open(tmp_path / "f", framework="pt") as file:
        header = json.loads(file.metadata()["netdial"])
        assert header["kind"] == "shrunken network"
        assert all(isinstance(file.get_tensor(key), Tensor) for key in file.keys())  # noqa: SIM118
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        torch.load(tmp_path / "f", weights_only=False)
    load_network(tmp_path / "f", Vgg())


class Reader(nn.Module):
    """A different network altogether."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            Reader,
            r"Reader: expected a leaf features\.0\.weight of shape \[4, 3, 3, 3\], found none",
        ),
        (lambda: Vgg(width=4), r"features\.0\.weight is \[4, 3, 3, 3\], expected 8 or more along"),
        (lambda: Vgg(stride=2), r"features\.0 has stride=\[2, 2\], expected \[1, 1\]"),
        (lambda: Vgg(act=nn.Tanh), r"expected the operation .*ReLU.*, found .*Tanh"),
    ],
)
def test_another_architecture_is_refused(
    other: Callable[[], nn.Module], message: str, tmp_path: Path
) -> None:
    save_network(shrunken("vgg"), tmp_path / "f")
    with pytest.raises(CheckpointError, match=message):
        load_network(tmp_path / "f", other())


def test_what_was_refused_for_its_shape_is_not_cut(tmp_path: Path) -> None:
    save_network(shrunken("vgg"), tmp_path / "f")
    net = Vgg(act=nn.Tanh)
    shapes = [tuple(p.shape) for p in net.parameters()]
    with pytest.raises(CheckpointError, match="give a fresh network"):
        load_network(tmp_path / "f", net)
    assert [tuple(p.shape) for p in net.parameters()] == shapes


def test_files_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_network(path, Vgg())
    save_network(shrunken("mlp"), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="not a netdial file, or damaged"):
        load_network(path, Vgg())
    save_tree(path, {"a": 1}, "family")
    with pytest.raises(CheckpointError, match=r"holds 'family'.*expected 'shrunken network'"):
        load_network(path, Vgg())
    path.write_bytes(whole)
    tree = load_tree(path, "shrunken network")
    save_tree(path, {**tree, "format": 2}, "shrunken network")
    with pytest.raises(CheckpointError, match=r"newer netdial \(format 2; .* up to 1\)"):
        load_network(path, Vgg())
    for part in ("recipe", "tensors"):
        save_tree(path, {**tree, part: None}, "shrunken network")
        with pytest.raises(CheckpointError, match="is damaged"):
            load_network(path, Vgg())


def test_what_cannot_be_saved_is_refused(tmp_path: Path) -> None:
    shrunk = shrunken("mlp")
    with pytest.raises(ConfigError, match=r"about: .*finite numbers"):
        save_network(shrunk, tmp_path / "f", {"loss": float("nan")})
    other = replace(shrunk, plan=Plan({"fc1.weight": {0: (0, 1)}}))
    with pytest.raises(ConfigError, match=r"leaf fc1\.weight .*should have 2 positions along"):
        save_network(other, tmp_path / "f")
    assert not (tmp_path / "f").exists()

"""Derived networks through the one door for models: ready spaces, users' own, programs, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.storage.container import load_tree, save_tree
from netdial.structure import DerivedNetwork, SearchSpace, Supernet, derive
from netdial.structure.spaces import ready_space

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def ready() -> DerivedNetwork:
    space = ready_space(
        "mlp", input_shape=(5,), n_outputs=3, depth=1, width=8, widths=(4,), norms=("batch",)
    )
    net = Supernet(space)
    found = derive(net, {"x->h0": "linear", "n1->h1": "tanh4", "h0->h1": "skip"})
    found(X)  # moves the running statistics
    return found.eval()


def own(name: str = "linear") -> SearchSpace:
    space = SearchSpace("own")
    space.input("x", (5,))
    space.node("y")
    space.edge(
        "x", "y", {name: lambda: nn.Linear(5, 3), "narrow": lambda: nn.Linear(5, 3, bias=False)}
    )
    space.output("y")
    return space


def test_a_network_of_a_ready_space_opens_by_itself(tmp_path: Path) -> None:
    net, path = ready(), tmp_path / "found.safetensors"
    told = nd.save(net, path, about={"seen": 3})
    assert (told.kind, told.digests, told.about) == ("derived network", True, {"seen": 3})
    assert told.facts["space"] == "mlp"
    assert told.facts["genotype"] == {
        "x->h0": ["linear"],
        "n1->h1": ["tanh4"],
        "h0->h1": ["skip"],
    }
    again = nd.load_model(path)
    assert not again.training
    assert again.genotype == net.genotype
    assert torch.equal(again(X), net(X))
    assert nd.inspect(path) == told


def test_a_network_of_a_users_space_needs_it_again(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    net = derive(own(), {"x->y": "linear"}).double()
    nd.save(net, path)
    again = nd.load_model(path, net=derive(own(), {"x->y": "linear"}, seed=5))
    assert torch.equal(again(X.double()), net(X.double()))
    refused: list[tuple[Any, str]] = [
        (None, "net=derive"),
        (nn.Linear(5, 3), "Linear"),
        (derive(own(), {"x->y": "narrow"}), "narrow"),
        (derive(own("other"), {"x->y": "other"}), "belongs to the space"),
    ]
    for given, said in refused:
        with pytest.raises(CheckpointError, match=said):
            nd.load_model(path, net=given)


def test_files_that_were_changed_or_are_newer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "found.safetensors"
    nd.save(ready(), path)
    tree = load_tree(path, "derived network")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"format": 99}, "format 99"),
        ({"genotype": '{"x->h0": "linear", "n1->h1": "tanh9", "h0->h1": "skip"}'}, "tanh9"),
        ({"recipe": {**tree["recipe"], "space": "mlq"}}, "mlq"),
        ({"recipe": {**tree["recipe"], "options": {"dept": 1}}}, "dept"),
        ({"recipe": {**tree["recipe"], "n_outputs": 4}}, "space"),
        ({"state": {}}, "not in the file"),
        ({"state": {**tree["state"], "edges.y": torch.tensor([float("nan")])}}, "NaN"),
    ]
    for change, said in changes:
        save_tree(path, {**tree, **change}, "derived network")
        with pytest.raises(CheckpointError, match=said):
            nd.load_model(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        nd.inspect(path)


@pytest.mark.slow
def test_a_network_is_written_as_a_program(tmp_path: Path) -> None:
    net, path = ready(), tmp_path / "found.pt2"
    nd.save(net, path, example=X)
    program = torch.export.load(path).module()
    assert torch.allclose(program(X), net(X), atol=1e-6)
    with pytest.raises(ConfigError, match="lam"):
        nd.save(net, tmp_path / "a.safetensors", lam=1.0)


@pytest.mark.slow
def test_a_network_is_written_as_an_onnx_graph(tmp_path: Path) -> None:
    runtime: Any = pytest.importorskip("onnxruntime")
    net, path = ready(), tmp_path / "found.onnx"
    nd.save(net, path, example=X)
    (out,) = runtime.InferenceSession(path).run(None, {"input": X.numpy()})
    assert torch.allclose(torch.from_numpy(out), net(X), atol=1e-5)

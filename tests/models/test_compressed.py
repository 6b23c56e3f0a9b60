"""Compressed networks go through the door: as the network that they describe, as the one given, or as named tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import netdial as nd
from netdial import compression
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.storage.container import read_plain
from netdial.models.compressed import load_compressed
from netdial.models.derived import how_derived
from netdial.structure import derive
from netdial.structure.spaces import ready_space

NET = {"spec": "mlp:6", "input_shape": [3], "n_outputs": 2}


def mlp(seed: int = 0) -> nn.Module:
    return nd.build("mlp:6", input_shape=(3,), n_outputs=2, seed=seed)


def written(path: Path, net: nn.Module, **more: Any) -> Path:
    """A file of a network whose weights were rounded to a grid."""
    with torch.no_grad():
        for leaf in net.parameters():
            leaf.copy_((leaf * 10).round() / 10)
    tensors: dict[str, Any] = {}
    for name, leaf in net.state_dict().items():
        tensors[name] = leaf.numpy()
        if leaf.ndim > 1:
            values, codes = np.unique(leaf.numpy(), return_inverse=True)
            tensors[name] = compression.Codebook(codes.reshape(leaf.shape), values)
    compression.write(path, tensors, **more)
    return path


def test_a_described_network_opens_by_itself(tmp_path: Path) -> None:
    net = mlp()
    path = written(tmp_path / "a.ndz", net, recipe={"net": NET}, meta={"note": "λ"})
    found = nd.load_model(path)
    x = torch.randn(5, 3)
    torch.testing.assert_close(found(x), net(x), rtol=0, atol=0)
    assert not found.training
    told = nd.inspect(path)
    assert told.kind == "compressed network" and told.digests
    assert told.about == {"note": "λ", "net": NET}
    assert sum(told.facts["ledger"].values()) == told.facts["size_bytes"] == path.stat().st_size
    assert sum(layer["total"] for layer in told.facts["layers"]) < told.facts["size_bytes"]


def test_a_network_is_given_or_the_tensors_come_by_name(tmp_path: Path) -> None:
    net = mlp()
    path = written(tmp_path / "a.ndz", net)
    x = torch.randn(5, 3)
    torch.testing.assert_close(nd.load_model(path, mlp(3))(x), net(x), rtol=0, atol=0)
    found = nd.load_model(path)
    assert found.keys() == net.state_dict().keys()
    for name, wanted in net.state_dict().items():
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=0)
    assert "net=" in nd.inspect(path).opens
    with pytest.raises(CheckpointError, match=r"\[6, 3\]"):
        nd.load_model(path, nd.build("mlp:7", input_shape=(3,), n_outputs=2))


def test_running_statistics_and_their_counters_come_back(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    net(torch.randn(8, 3))
    path = written(tmp_path / "a.ndz", net.eval())
    again = nd.load_model(path, nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    x = torch.randn(5, 3)
    torch.testing.assert_close(again(x), net(x), rtol=0, atol=0)
    counter = again.state_dict()["1.num_batches_tracked"]
    assert counter.shape == () and int(counter) == 1
    assert nd.load_model(path)["1.num_batches_tracked"].shape == ()


def test_a_network_that_a_search_found_opens_by_itself(tmp_path: Path) -> None:
    space = ready_space("mlp", input_shape=(3,), n_outputs=2, depth=1, width=4)
    net = derive(space, space.sample(torch.Generator().manual_seed(0)))
    nd.save(net, tmp_path / "found")
    path = written(
        tmp_path / "a.ndz", net.eval(), recipe={"derived": how_derived(tmp_path / "found")}
    )
    x = torch.randn(5, 3)
    again = nd.load_model(path)
    assert again.genotype == net.genotype
    torch.testing.assert_close(again(x), net(x), rtol=0, atol=0)
    assert "net=" not in nd.inspect(path).opens
    for spoiled in ({"recipe": {}}, {"genotype": 3}, []):
        how = {**how_derived(tmp_path / "found"), **spoiled} if spoiled else spoiled
        written(tmp_path / "b.ndz", net, recipe={"derived": how})
        with pytest.raises(CheckpointError, match="derive"):
            nd.load_model(tmp_path / "b.ndz")


def test_a_network_without_some_channels(tmp_path: Path) -> None:
    pruned = nd.slim(mlp(), share=0.5, example=torch.randn(2, 3))
    nd.save(pruned, tmp_path / "pruned", about={"net": NET})
    cut = json.loads(read_plain(tmp_path / "pruned")["recipe"])
    net = nd.load_model(tmp_path / "pruned")
    path = written(tmp_path / "a.ndz", net, recipe={"cut": cut})
    x = torch.randn(5, 3)
    torch.testing.assert_close(load_compressed(path)(x), net(x), rtol=0, atol=0)


def test_what_a_file_is_does_not_depend_on_its_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", mlp(), recipe={"net": NET})
    assert isinstance(nd.load_model(path), nn.Module)
    nd.save(nd.Family(mlp()), tmp_path / "b.ndz")
    assert nd.inspect(tmp_path / "b.ndz").kind == "family"
    with pytest.raises(CheckpointError, match="begin"):
        compression.read(tmp_path / "b.ndz")


def test_damage_is_told_at_the_door(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndz", mlp(), recipe={"net": NET})
    whole = bytearray(path.read_bytes())
    whole[-20] ^= 1
    path.write_bytes(whole)
    for open_ in (nd.load_model, nd.inspect):
        with pytest.raises(CheckpointError, match="changed"):
            open_(path)


def test_dense_tensors_for_other_programs(tmp_path: Path) -> None:
    net = mlp()
    path = written(tmp_path / "a.ndz", net, recipe={"net": NET})
    size = compression.to_safetensors(path, tmp_path / "a.safetensors")
    assert size == (tmp_path / "a.safetensors").stat().st_size
    found = load_file(tmp_path / "a.safetensors")
    for name, wanted in net.state_dict().items():
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=0)


def test_a_folder_with_a_card(tmp_path: Path) -> None:
    net = mlp()
    path = written(tmp_path / "a.ndz", net, recipe={"net": NET}, meta={"data": "wine"})
    folder = compression.to_folder(path, tmp_path / "hub")
    assert {p.name for p in folder.iterdir()} == {
        "README.md", "config.json", "model.ndz", "model.safetensors",
    }  # fmt: skip
    card = (folder / "README.md").read_text("utf-8")
    told = compression.ledger(path)
    assert card.startswith("---\nlibrary_name: netdial") and "- data: wine" in card
    assert all(f"| {size} | {purpose} |" in card for purpose, size in told.split.items())
    assert all(row.name in card for row in told.rows)
    x = torch.randn(4, 3)
    torch.testing.assert_close(nd.load_model(folder / "model.ndz")(x), net(x), rtol=0, atol=0)
    net.load_state_dict(load_file(folder / "model.safetensors"))
    assert json.loads((folder / "config.json").read_text("utf-8"))["recipe"] == {"net": NET}
    compression.write(path, {}, recipe={"family": {"lo": 0.1, "hi": 1.0, "knots": 2}})
    with pytest.raises(ConfigError, match="holds a family"):
        compression.to_folder(path, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_inspect_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from netdial.cli import main

    path = written(tmp_path / "a.ndz", mlp(), recipe={"net": NET})
    assert main(["inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["facts"]["size_bytes"] == path.stat().st_size
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "0.weight" in shown or "1.weight" in shown
    assert "positions" in shown and str(path.stat().st_size) in shown
    assert main(["inspect", str(tmp_path / "none.ndz")]) != 0


def test_a_network_without_shapes_is_refused_in_words(tmp_path: Path) -> None:
    compression.write(tmp_path / "a.ndz", {"weight": np.ones((2, 3)), "bias": np.ones(2)})
    with pytest.raises(ConfigError, match="no shape yet; run the network once"):
        nd.load_model(tmp_path / "a.ndz", nn.LazyLinear(2))

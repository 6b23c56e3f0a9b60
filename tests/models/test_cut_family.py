"""Families without some of their channels in files: they open with the network as it was built, as ``inspect`` says."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import CheckpointError
from netdial.core.storage.container import load_tree, save_tree
from netdial.family import Family
from netdial.pruning.channels import prune_family

X, Y = torch.randn(64, 6), torch.arange(64) % 3
ABOUT = {"net": {"spec": "mlp:12-8", "input_shape": [6], "n_outputs": 3}}


def built() -> nn.Module:
    return nd.build("mlp:12-8", input_shape=(6,), n_outputs=3, seed=1)


@pytest.fixture(scope="module")
def family() -> Family:
    return nd.fit(built(), (X, Y), lam=(0.01, 10), epochs=2)


def once(family: Family) -> Family:
    return prune_family(family, 1.0, share=0.5, example=X)[0]


CUTS: dict[str, Callable[[Family], Family]] = {
    "once": once,
    "twice": lambda family: once(once(family)),
    "in steps": lambda family: prune_family(family, 1.0, share=0.5, steps=2, example=X)[0],
    "the member": lambda family: prune_family(family, 1.0, share=0.5, example=X)[1].family,
}


@pytest.mark.slow
@pytest.mark.parametrize("how", list(CUTS))
@pytest.mark.parametrize("member", [False, True])
def test_a_family_that_lost_channels_opens_with_the_network_as_it_was_built(
    how: str, member: bool, family: Family, tmp_path: Path
) -> None:
    cut = CUTS[how](family)
    assert cut.layout.size < family.layout.size
    due = cut.export(1.0)(X)
    lam = 1.0 if member else None
    told = nd.save(cut, tmp_path / "a.safetensors", lam=lam)
    bare = nd.save(cut, tmp_path / "b.safetensors", lam=lam, about=ABOUT)
    assert told.about["net"] == ABOUT["net"] and "net=" not in told.opens + bare.opens
    given = built()
    whole = copy.deepcopy(given.state_dict())
    for path, net in (("a", given), ("a", copy.deepcopy(cut.net)), ("b", None)):
        found = nd.load_model(tmp_path / f"{path}.safetensors", net)
        out = found(X) if member else found.export(1.0)(X)
        assert torch.equal(out, due)
        if not member:  # what was opened is saved and opened again
            nd.save(found, tmp_path / "c.safetensors")
            again = nd.load_model(tmp_path / "c.safetensors", built())
            assert torch.equal(again.export(1.0)(X), due)
    assert all(torch.equal(given.state_dict()[name], leaf) for name, leaf in whole.items())
    other = nd.build("mlp:12", input_shape=(6,), n_outputs=3)
    with pytest.raises(CheckpointError, match=r"architecture|as it was built"):
        nd.load_model(tmp_path / "a.safetensors", other)


def test_a_member_of_it_is_pickled_without_netdial(family: Family) -> None:
    held = pickle.dumps(once(family).export(1.0))
    assert b"netdial.core" not in held


class Sized(nn.Module):
    """A network whose code does something else once its layer is smaller, so that its graph takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 20), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.one(x))
        out: Tensor = self.two(h if h.shape[1] == 20 else 2 * h)
        return out


def test_a_graph_says_that_it_is_one(tmp_path: Path) -> None:
    cut = once(nd.fit(Sized(), (X, Y), epochs=1))
    assert isinstance(cut.net, torch.fx.GraphModule)
    for lam in (None, 1.0):
        told = nd.save(cut, tmp_path / "a.safetensors", lam=lam)
        assert "graph of torch.fx" in told.opens and "as it was built" not in told.opens
        with pytest.raises(CheckpointError, match=r"family had|was exported"):
            nd.load_model(tmp_path / "a.safetensors", Sized())
        found = nd.load_model(tmp_path / "a.safetensors", copy.deepcopy(cut.net))
        out = found(X) if lam else found.export(1.0)(X)
        assert torch.equal(out, cut.export(1.0)(X))


def test_a_cut_that_is_none_is_the_files_fault(family: Family, tmp_path: Path) -> None:
    nd.save(once(family), tmp_path / "a")
    tree = {**load_tree(tmp_path / "a", "family"), "cut": {"cuts": 3}}
    save_tree(tmp_path / "a", tree, "family")
    for net in (None, built()):
        with pytest.raises(CheckpointError, match=r"a: describes no cut"):
            nd.load_model(tmp_path / "a", net)

"""Inputs that ``slim`` takes away: the ones that tell are left, and networks, families and files are exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.pruning.channels import Options, prune_family, retrain_structured

G = torch.Generator().manual_seed(1)
X = torch.randn(400, 12, generator=G)
Y = ((X[:, 3] + X[:, 7]) > 0).long()
DATA = (X, Y)


class TwoReaders(nn.Module):
    """A network of the user's whose inputs are read twice, once through BatchNorm behind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.norm, self.skip = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(12, 2)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(self.fc(x)).relu()) + self.skip(x)
        return found


class MeanAside(TwoReaders):
    """A network whose inputs are read by something besides linear layers."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x) + x.mean(1, keepdim=True) * x.shape[1]
        return found


def test_inputs_that_something_else_reads_are_not_gone() -> None:
    small = nd.slim(MeanAside(), share=0.6, criterion="taylor", data=DATA, inputs=True)
    assert small.widths["pick_fc"] < 12
    assert small.inputs == tuple(range(12))


@pytest.fixture(scope="module")
def family() -> nd.Family:
    net = nd.build("mlp:8", input_shape=(12,), n_outputs=2)
    return nd.fit(net, DATA, objective="l1", epochs=25, batch_size=50, lr=1e-2)


@pytest.fixture(scope="module")
def two_readers() -> nd.Family:
    return nd.fit(TwoReaders(), DATA, objective="l1", epochs=10, batch_size=50, lr=1e-2)


def accuracy(net: nn.Module) -> float:
    return float((net.eval()(X).argmax(1) == Y).float().mean())


@pytest.mark.parametrize("criterion", [None, "taylor", "magnitude"])
def test_the_inputs_that_tell_are_left(family: nd.Family, criterion: str | None) -> None:
    size = "40 params"
    small = nd.slim(family, 1.0, size=size, criterion=criterion, data=DATA, inputs=True)
    assert small.criterion == (criterion or "taylor")
    assert small.inputs is not None
    assert {3, 7} <= set(small.inputs)
    assert len(small.inputs) < 12
    assert accuracy(small.net) > 0.9
    x = X.clone()
    x[:, [at for at in range(12) if at not in small.inputs]] = torch.nan
    assert torch.equal(small.net(x), small.net(X)), "an input that went is still read"
    assert torch.equal(small.family.export(1.0)(X), small.net(X))


def test_an_input_that_nothing_reads_leaves_exactly() -> None:
    net = nd.build("mlp:8", input_shape=(12,), n_outputs=2).double()
    with torch.no_grad():
        net.get_parameter("fc1.weight")[:, [0, 5]] = 0
    x = X.double()
    small = nd.slim(
        net, share=2 / 20, criterion="magnitude", per="params", data=(x, Y), inputs=True
    )
    assert small.inputs == (1, 2, 3, 4, 6, 7, 8, 9, 10, 11)
    assert small.widths["fc1"] == 8
    torch.testing.assert_close(small.net(x), net(x), rtol=1e-12, atol=1e-12)


def test_without_being_asked_inputs_stay(family: nd.Family) -> None:
    small = nd.slim(family, 1.0, share=0.5, data=DATA)
    assert small.inputs is None
    assert small.widths == {"fc1": 4}


def test_all_members_of_a_family_lose_the_same_inputs(two_readers: nd.Family) -> None:
    cut, found = prune_family(
        two_readers, 1.0, share=0.5, criterion="taylor", data=DATA, inputs=True
    )
    assert {"pick_fc", "pick_skip", "fc"} == found.widths.keys()
    for lam in (0.1, 1.0, 10.0):
        whole, small = two_readers.at(lam), cut.at(lam)
        for leaf, tensor in small.items():
            assert torch.equal(tensor, found.plan.cut(leaf, whole[leaf])), leaf
    torch.testing.assert_close(cut.export(1.0).eval()(X), found.net(X))


def test_sizes_one_after_another_go_down_in_inputs_and_into_files(
    two_readers: nd.Family, tmp_path: Path
) -> None:
    rounds = retrain_structured(
        two_readers, 1.0, DATA, size=["70 params", "40 params"], epochs=3,
        options=Options(criterion="taylor", inputs=True),
    )  # fmt: skip
    first, second = (one.trained for one in rounds)
    assert first.inputs is not None
    assert second.inputs is not None
    assert set(second.inputs) <= set(first.inputs)
    assert second.n_params < first.n_params < 70 + 13
    path = nd.save(second, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", net=TwoReaders())
    assert torch.equal(again.eval()(X), second.net.eval()(X)), path
    smaller = nd.slim(second.family, 1.0, share=0.3, criterion="taylor", data=DATA, inputs=True)
    assert smaller.inputs is not None
    assert set(smaller.inputs) <= set(second.inputs)
    assert sum(name.startswith("pick_") for name in smaller.widths) == 2


def test_a_network_whose_inputs_no_linear_layer_reads_is_refused() -> None:
    net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40, 2))
    with pytest.raises(ConfigError, match="no linear layer reads the network's inputs"):
        nd.slim(net, share=0.5, example=torch.randn(2, 1, 12), inputs=True)

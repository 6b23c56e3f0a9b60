"""Several inputs, and outputs that are no single tensor, from training to files and programs."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netdial as nd
from netdial.core.errors import NetdialError
from netdial.core.outputs import same_outputs, tensors

G = torch.Generator().manual_seed(0)
X, Z = torch.randn(24, 8, generator=G), torch.randint(0, 6, (24, 3), generator=G)
Y = torch.randint(0, 3, (24,), generator=G)


@dataclass
class Output:
    """What a network gives."""

    hidden: Tensor
    logits: Tensor
    nothing: None = None


class Net(nn.Module):
    """Two towers; what it gives is put together by a function."""

    def __init__(self, pack: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pack = pack
        self.a, self.b, self.c = nn.Linear(8, 12), nn.Embedding(6, 10), nn.Linear(22, 12)
        self.head, self.side = nn.Linear(12, 3), nn.Linear(12, 2)

    def forward(self, x: Tensor, z: Tensor) -> Any:
        found = torch.cat([torch.relu(self.a(input=x)), self.b(z).mean(1)], dim=1)
        h = torch.relu(self.c(found))
        return self.pack(self.side(h), self.head(h))


PACKS: dict[str, Any] = {
    "a tensor": lambda side, logits: logits + side.sum(1, keepdim=True),
    "a tuple": lambda side, logits: (logits, side),
    "a dict": lambda side, logits: {"side": side, "logits": logits},
    "a data class": Output,
}


@pytest.fixture(params=list(PACKS))
def net(request: pytest.FixtureRequest) -> Net:
    return Net(PACKS[request.param])


def same(one: nn.Module, other: nn.Module) -> bool:
    with torch.no_grad():
        wanted, got = one.eval()(X, Z), other.eval()(X, Z)
    return bool(same_outputs(_plain(wanted), _plain(got)))


def _plain(found: Any) -> list[Tensor]:
    parts = [found.hidden, found.logits] if isinstance(found, Output) else found
    return sorted(tensors(parts), key=lambda part: part.shape[1])


def batches() -> Iterable[Any]:
    return DataLoader(TensorDataset(X, Z, Y), batch_size=8, collate_fn=_collated)


def _collated(rows: Any) -> Any:
    x, z, y = (torch.stack(part) for part in zip(*rows, strict=True))
    return {"x": x, "z": z}, y


@pytest.mark.slow
@pytest.mark.parametrize("by_name", [False, True])
def test_slim_keeps_all_outputs_and_the_class(net: Net, by_name: bool, tmp_path: Path) -> None:
    inputs: Any = {"x": X, "z": Z} if by_name else (X, Z)
    small = nd.slim(net, share=0.5, data=(inputs, Y))
    assert small.widths["a"] < 12 or small.widths["c"] < 12
    nd.save(small, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", Net(net.pack))
    assert isinstance(again, Net) and same(small.net, again)
    if isinstance(net.pack(X, Z), Output):
        assert isinstance(again(X, Z), Output)


def test_shrink_trains_on_several_inputs(net: Net, tmp_path: Path) -> None:
    shrunk = nd.shrink(net, batches(), size="350 params", epochs=2)
    assert shrunk.n_params < 400
    nd.save(shrunk, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", Net(net.pack))
    assert isinstance(again, Net) and same(shrunk.net, again)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_families_and_programs(net: Net, tmp_path: Path, suffix: str) -> None:
    family = nd.fit(net, ((X, Z), Y), epochs=1)
    member = family.export(1.0)
    assert isinstance(member, Net)
    path = tmp_path / "family.safetensors"
    nd.save(family, path)
    again = nd.load_model(path, Net(net.pack))
    assert same(member, again.export(1.0))
    assert len(nd.evaluate(again, ((X, Z), Y), lams=[1.0]).members) == 1
    if suffix == "onnx":
        pytest.importorskip("onnxruntime")
    nd.save(family, tmp_path / f"member.{suffix}", lam=1.0, example=(X, Z))
    if suffix == "pt2":
        run: Any = torch.export.load(tmp_path / "member.pt2").module()
        assert same_outputs(_plain(member(X, Z)), _plain(list(tensors(run(X, Z)))))


def test_pruning_a_family_of_several_inputs() -> None:
    family = nd.fit(Net(PACKS["a dict"]), ((X, Z), Y), epochs=1)
    small = nd.slim(family, 1.0, share=0.3, data=((X, Z), Y))
    masked = copy.deepcopy(family.export(1.0))
    assert set(small.net(X, Z)) == {"side", "logits"} and isinstance(masked, Net)


def test_what_does_not_fit_is_said_in_words() -> None:
    with pytest.raises(NetdialError, match=r"forward\(\) got an unexpected keyword"):
        nd.fit(Net(PACKS["a tensor"]), ({"x": X, "q": Z}, Y), epochs=1)
    rows: Any = [((X[:4], Z[:4]), Y[:4]), ((X[:4], Z[:4, :2]), Y[:4])]
    with pytest.raises(NetdialError, match="give all of one shape"):
        nd.fit(Net(PACKS["a tensor"]), DataLoader(rows, batch_size=None), epochs=1)


class Boxed(nn.Module):
    """Looks up how wide boxes are: of corners that are drawn, one in two has no width."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.widths, self.fc, self.out = nn.Embedding(9, 6), nn.Linear(6, 12), nn.Linear(12, 2)

    def forward(self, box: Tensor, x: Tensor) -> Tensor:
        hidden = torch.relu(self.fc(self.widths(box[:, 1] - box[:, 0]) + x))
        out: Tensor = self.out(hidden.view(x.shape[0], 12))
        return out


def test_inputs_that_go_with_each_other_are_made_up_as_zeros(tmp_path: Path) -> None:
    """A file holds no inputs: they are made up when it is opened. The class, which has a width written down, is its graph."""
    source = torch.Generator().manual_seed(0)
    low, wide = (torch.randint(n, (16, 1), generator=source) for n in (4, 5))
    box, x = torch.cat([low, low + wide], 1), torch.randn(16, 6, generator=source)
    small = nd.slim(Boxed(), share=0.5, example=(box, x))
    nd.save(small, tmp_path / "net.safetensors")
    with pytest.warns(UserWarning, match="its graph"):
        again = nd.load_model(tmp_path / "net.safetensors", Boxed())
    (lam,) = small.family.config.lams
    assert torch.equal(again(box, x), small.family.export(lam)(box, x))


class Settings:
    """What a model of ``transformers`` calls its config."""

    kind: str | None = None


class Noting(nn.Module):
    """Notes in its first call what its labels are, from which on it asks no more."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.settings = Settings()
        self.fc, self.out = nn.Linear(6, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = self.out(torch.relu(self.fc(x)))
        if self.settings.kind is None:
            self.settings.kind = "classes" if labels.dtype == torch.long else "numbers"
        if self.settings.kind == "classes":
            return {"loss": nn.functional.cross_entropy(found, labels), "logits": found}
        return {"logits": found}


@pytest.mark.parametrize("called", [False, True])
def test_a_first_call_that_goes_another_way_makes_no_other_network(
    called: bool, tmp_path: Path
) -> None:
    source = torch.Generator().manual_seed(0)
    x, labels = torch.randn(16, 6, generator=source), torch.arange(16) % 2
    net = Noting()
    if called:
        net(x, labels)
    small = nd.slim(net, share=0.5, example={"x": x, "labels": labels})
    nd.save(small, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", Noting())
    (lam,) = small.family.config.lams
    wanted = small.family.export(lam)(x, labels)
    torch.testing.assert_close(again(x, labels), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"x": X, "z": Z}, {"z": Z, "x": X}])
def test_programs_take_inputs_by_their_names(given: dict[str, Tensor], tmp_path: Path) -> None:
    small = nd.slim(Net(PACKS["a dict"]), share=0.3, example=given)
    nd.save(small, tmp_path / "net.pt2")
    program: Any = torch.export.load(tmp_path / "net.pt2").module()
    found, right = program(z=Z[:5], x=X[:5]), small.net.eval()(x=X[:5], z=Z[:5])
    assert all(torch.allclose(found[name], right[name], atol=1e-6) for name in ("side", "logits"))
    one = nd.slim(Net(PACKS["a dict"]), share=0.3, example=(X, Z))
    nd.save(one, tmp_path / "net.pt2")
    found = torch.export.load(tmp_path / "net.pt2").module()(X[:5], Z[:5])
    assert torch.allclose(found["logits"], one.net.eval()(X[:5], Z[:5])["logits"], atol=1e-6)

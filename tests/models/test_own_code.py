"""Networks that come back as their own class, although its code goes by sizes that it keeps or gives several outputs."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import netdial as nd
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.outputs import tensors

X = torch.randn(12, 5, 8, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    """Heads by a number that it keeps, and a width written beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.inner = 4, 12
        self.qkv, self.out = nn.Linear(8, 36), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        b, n = x.shape[:2]
        q, k, v = (
            part.view(b, n, self.heads, 3).transpose(1, 2)
            for part in self.qkv(x).split(self.inner, dim=2)
        )
        found = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.out(found.transpose(1, 2).reshape(b, n, self.inner))


class Apart(Attention):
    """Three heads, and a step between, so that their number stands in an expression of its own; one of them is left."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.size = 3, 4

    def forward(self, x: Tensor) -> Tensor:
        b, n = x.shape[:2]
        parts = self.qkv(x).split(self.inner, dim=2)
        q, k, v = (part.view(b, n, self.heads, self.size).transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.out(found.transpose(1, 2).reshape(b, n, self.inner))


class Project(nn.Module):
    """A layer of one's own, ``[nx, nf]``, that views its result by sizes that it keeps."""

    def __init__(self, nx: int, nf: int) -> None:
        super().__init__()
        self.nx, self.nf = nx, nf
        self.weight = nn.Parameter(torch.randn(nx, nf) / nx)
        self.bias = nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, self.nx), self.weight).view(
            *x.shape[:-1], self.nf
        )


class Norm(nn.Module):
    """Normalises by a shape that it keeps."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.shape = (size,)
        self.weight, self.bias = nn.Parameter(torch.rand(size)), nn.Parameter(torch.rand(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.transpose(1, 2), *self.shape, self.weight, self.bias).transpose(1, 2)


class Biased(nn.Module):
    """Makes a number for each head by how many it keeps; another value of the other size that it reads lets it run, too."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.heads = 4, 4
        self.q, self.k, self.v = (nn.Linear(8, 16, bias=False) for _ in range(3))
        self.out = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        b, n = x.shape[:2]
        heads = (b, n, -1, self.size)
        q, k, v = (part(x).view(heads).transpose(1, 2) for part in (self.q, self.k, self.v))
        bias = x.new_ones(1, self.heads, n, n)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.5)
        return self.out(found.transpose(1, 2).reshape(b, n, -1))


class Scaled(nn.Module):
    """Divides by a number that it keeps, which no cut may change."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 16
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.up(x)).view(*x.shape[:-1], self.width)
        return self.down(h / math.sqrt(self.width))


class Net(nn.Module):
    """A part and a head."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.head = nn.Sequential(*parts), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.parts(x).mean(1))


PARTS: dict[str, Any] = {
    "heads and widths": lambda: [Attention()],
    "heads in an expression": lambda: [Apart()],
    "layers of one's own": lambda: [Project(8, 16), nn.ReLU(), Project(16, 8)],
    "heads, where a wrong size runs": lambda: [Biased()],
    "shapes": lambda: [Project(8, 16), Norm(16), nn.ReLU(), Project(16, 8)],
    "two that are cut unlike each other": lambda: [Attention(), Project(8, 12), Project(12, 8)],
}


def _made(name: str) -> Net:
    torch.manual_seed(0)
    return Net(*PARTS[name]())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name",
    [n if n == "layers of one's own" else pytest.param(n, marks=pytest.mark.slow) for n in PARTS],
)
def test_sizes_that_modules_keep_follow(name: str, tmp_path: Path) -> None:
    share = 0.7 if "expression" in name else 0.5
    small = nd.slim(_made(name), share=share, scope="layer", example=X)
    nd.save(small, tmp_path / "small")
    whole = _made(name)
    again = nd.load_model(tmp_path / "small", whole)
    assert type(again) is Net
    assert sum(p.numel() for p in again.parameters()) < sum(p.numel() for p in whole.parameters())
    assert torch.allclose(again(X), small.net.eval()(X), atol=1e-6)
    assert torch.allclose(copy.deepcopy(again)(X[:1]), small.net(X[:1]), atol=1e-6)
    more = nd.slim(again, share=0.5, scope="layer", example=X)
    nd.save(more, tmp_path / "smaller")
    twice = nd.load_model(tmp_path / "smaller", again)
    assert type(twice) is Net
    assert torch.allclose(twice(X), more.net.eval()(X), atol=1e-6)


def test_numbers_that_no_size_of_them_makes_equal_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net(Scaled())
    small = nd.slim(net, share=0.5, scope="layer", example=X)
    nd.save(small, tmp_path / "small")
    with pytest.warns(UserWarning, match="Net does something else .*what comes back is its graph"):
        again = nd.load_model(tmp_path / "small", net)
    assert isinstance(again, fx.GraphModule)
    assert torch.allclose(again(X), small.net.eval()(X), atol=1e-6)


class Coincidence(nn.Module):
    """As many heads as classes, of which none go."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads, self.inner = 3, 12
        self.qkv, self.out = nn.Linear(8, 36), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, n = x.shape[:2]
        q, k, v = self.qkv(x).split(self.inner, dim=2)
        q, k, v = (part.view(b, n, self.heads, 4).transpose(1, 2) for part in (q, k, v))
        found = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        return self.out(found.transpose(1, 2).reshape(b, n, self.inner).mean(1))


def test_numbers_that_equal_a_whole_size_follow_the_one_that_was_cut(tmp_path: Path) -> None:
    small = nd.slim(Coincidence(), share=0.4, example=X)
    nd.save(small, tmp_path / "small")
    found = nd.load_model(tmp_path / "small", Coincidence())
    assert type(found) is Coincidence
    assert (found.heads, found.inner, found.qkv.out_features) == (2, 8, 24)
    assert torch.allclose(found(X), small.net(X), atol=1e-6)


class Shape(NamedTuple):
    """What no cut changes."""

    height: int
    width: int


class Parts(nn.Module):
    """Cuts channels into parts by a list of sizes, two of which are equal before and not afterwards."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.sizes, self.shape = [10, 20, 10], Shape(2, 3)
        self.a, self.b = nn.Linear(6, 40), nn.Linear(10, 10)
        self.c, self.out = nn.Linear(20, 12), nn.Linear(22, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = torch.relu(self.a(x)).split(self.sizes, dim=1)
        gated = self.b(one) * torch.sigmoid(three)
        return self.out(torch.cat([gated, torch.relu(self.c(two))], dim=1))


def test_equal_parts_may_follow_unlike(tmp_path: Path) -> None:
    small = nd.slim(Parts(), share=0.4, example=TABLE)
    nd.save(small, tmp_path / "small")
    found = nd.load_model(tmp_path / "small", Parts())
    assert type(found) is Parts
    assert sum(found.sizes) == found.a.out_features < 40
    assert found.sizes == [found.b.in_features, found.c.in_features, found.b.out_features]
    assert found.sizes[0] != found.sizes[2]
    assert torch.allclose(found(TABLE), small.net(TABLE), atol=1e-6)


class Two(nn.Module):
    """Gives two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 3), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = torch.relu(self.a(x))
        return {"features": self.c(h), "logits": self.b(h)}


TABLE = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
CLASSES = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(2))


def test_what_comes_back_gives_all_outputs(tmp_path: Path) -> None:
    small = nd.slim(Two(), share=0.5, example=TABLE)
    nd.save(small, tmp_path / "small")
    again = nd.load_model(tmp_path / "small", Two())
    for net in (again, copy.deepcopy(again)):
        found = net(TABLE)
        assert list(found) == ["features", "logits"]
        assert torch.allclose(found["logits"], small.net.eval()(TABLE), atol=1e-6)
    shrunk = nd.shrink(
        again, (TABLE, CLASSES), epochs=1, lam=1e-3
    )  # scored by its logits, as before
    assert shrunk.net(TABLE).shape == (40, 3)
    assert list(again(TABLE)) == ["features", "logits"]
    nd.save(nd.slim(again, share=0.5, example=TABLE), tmp_path / "smaller")
    assert list(nd.load_model(tmp_path / "smaller", Two())(TABLE)) == ["features", "logits"]


@pytest.mark.slow
def test_programs_name_their_outputs(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    small = nd.slim(Two(), share=0.5, example=TABLE)
    nd.save(small, tmp_path / "small")
    for number, thing in enumerate((small, nd.load_model(tmp_path / "small", Two()))):
        path = tmp_path / f"{number}.onnx"
        nd.save(thing, path, example=TABLE)
        names = [one.name for one in onnx.load(path).graph.output]
        assert names == ["features", "logits"]


def test_data_that_is_no_splits_is_refused(tmp_path: Path) -> None:
    small = nd.slim(Two(), share=0.5, example=TABLE)
    with pytest.raises(ConfigError, match=r"save: data is a tuple of .*expected a Splits or None"):
        nd.save(small, tmp_path / "small", data=(TABLE, CLASSES))  # type: ignore[arg-type]
    assert not (tmp_path / "small").exists()


class Pair(nn.Module):
    """Takes two inputs; as in any file with ``from __future__ import annotations``, its annotations are strings."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(16, 3)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.c(torch.cat([torch.relu(self.a(x)), torch.relu(self.b(z))], dim=1))


@pytest.mark.parametrize("several", [False, True])
def test_results_are_pickled(several: bool) -> None:
    given: tuple[Any, ...] = (TABLE, TABLE + 1) if several else (TABLE,)
    net = Pair() if several else Two()
    slimmed = nd.slim(net, share=0.5, example=given if several else TABLE)
    shrunk = nd.shrink(net, (given if several else TABLE, CLASSES), epochs=1, lam=0.1)
    for small in (slimmed, shrunk):
        for thing in (small.net.eval(), small):
            again = pickle.loads(pickle.dumps(thing))
            found = again if isinstance(again, nn.Module) else again.net
            assert all(map(torch.equal, tensors(found(*given)), tensors(small.net(*given))))


def test_a_network_without_shapes_is_refused_with_its_file(tmp_path: Path) -> None:
    small = nd.slim(Two(), share=0.5, example=TABLE)
    nd.save(small, tmp_path / "small")
    net = Two()
    net.a = nn.LazyLinear(16)
    with pytest.raises(CheckpointError, match=r"small: does not fit the Two: leaf a.weight has no"):
        nd.load_model(tmp_path / "small", net)

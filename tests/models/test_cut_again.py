"""Networks that lost channels more than once: each file opens with the network as it was built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.cutting import noted_cut
from netdial.core.errors import ConfigError
from netdial.models.cut.recipe import read_recipe


def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


def mlp() -> nn.Module:
    return nd.build("mlp:16-8", input_shape=(6,), n_outputs=2)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))  # type: ignore[no-any-return]


STEPS: dict[str, Callable[[nn.Module], Any]] = {
    "slim, little": lambda net: nd.slim(net, share=0.05, data=data()),
    "slim, inputs": lambda net: nd.slim(net, share=0.3, data=data(), inputs=True),
    "shrink": lambda net: nd.shrink(net, data(), lam=0.5, epochs=2, batch_size=20),
}


@pytest.mark.slow
@pytest.mark.parametrize("then", list(STEPS))
@pytest.mark.parametrize("first", list(STEPS))
@pytest.mark.parametrize(("build", "between"), [(mlp, "file"), (Own, "file"), (Own, "memory")])
def test_a_network_that_was_cut_twice_opens_with_the_one_that_was_built(
    build: Callable[[], nn.Module], first: str, then: str, between: str, tmp_path: Path
) -> None:
    if between == "memory" and first == then == "shrink":
        pytest.skip("a network with switches is not shrunk again, see below")
    once = STEPS[first](build())
    net: nn.Module = once.net
    if between == "file":
        nd.save(once, tmp_path / "once.safetensors")
        net = nd.load_model(tmp_path / "once.safetensors", build())
    twice = STEPS[then](net)
    nd.save(twice, tmp_path / "twice.safetensors")
    again = nd.load_model(tmp_path / "twice.safetensors", build())
    x = data()[0]
    assert torch.allclose(again(x), twice.net(x), atol=1e-5)
    assert sum(p.numel() for p in again.parameters()) <= sum(p.numel() for p in net.parameters())


def test_a_cut_network_knows_what_was_cut_of_it(tmp_path: Path) -> None:
    small = nd.slim(mlp(), share=0.5, data=data())
    nd.save(small, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", mlp())
    cut = noted_cut(again)
    assert cut is not None and cut.cuts == small.plan.cuts
    family = nd.fit(again, data(), epochs=1)
    nd.save(family, tmp_path / "family.safetensors")
    found = nd.load_model(tmp_path / "family.safetensors")  # built and cut from what the file says
    lam = family.lams(1)[0]
    assert torch.equal(found.export(lam)(data()[0]), family.export(lam)(data()[0]))


def test_a_shrunken_network_with_its_switches_says_how_it_is_shrunk_again() -> None:
    once = STEPS["shrink"](Own())
    with pytest.raises(ConfigError, match=r"has switches already.*shrunk.fold\(\)\[0\]"):
        STEPS["shrink"](once.net)
    folded = once.fold()[0]
    assert STEPS["shrink"](folded).widths["first"] <= once.widths["first"]


class Edges(nn.Module):
    """Numbers of edges, given in floating point, are looked up; those of a matrix of any numbers may not be there."""

    def __init__(self) -> None:
        super().__init__()
        self.degree, self.fc, self.out = nn.Embedding(5, 2), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        b, n = x.size()[:2]
        bias = x.new_zeros(b, 2, n + 1)
        bias[:, :, 1:] = bias[:, :, 1:] + self.degree(x.long().sum(2)).permute(0, 2, 1)
        bias[:, :, 0] = bias[:, :, 0] + self.degree.weight[0]
        found: Tensor = self.out(torch.relu(self.fc(x))).mean(1) + bias.sum(2)
        return found


def test_codes_in_floating_point_are_made_up_as_codes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, x = Edges(), (torch.rand(40, 4, 4) > 0.5).float()
    small = nd.shrink(net, (x, torch.randn(40, 2)), size="45 params", epochs=4, batch_size=40)
    nd.save(small, tmp_path / "small.net")
    assert [one.high for one in read_recipe(tmp_path / "small.net").inputs] == [1]
    again = nd.load_model(tmp_path / "small.net", Edges())
    torch.testing.assert_close(again(x), small.net(x))
    assert type(again) is Edges

"""Networks that take all of their inputs in one argument, a dict or a tuple, and those that give more in training."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netdial as nd

ROWS = torch.Generator().manual_seed(0)
X, Z = torch.randn(40, 4, generator=ROWS), torch.randn(40, 3, generator=ROWS)
Y = (X[:, 0] + Z[:, 0] > 0).long()


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.mid, self.head = (
            nn.Linear(4, 6),
            nn.Linear(3, 6),
            nn.Linear(12, 8),
            nn.Linear(8, 2),
        )

    def scores(self, x: Tensor, z: Tensor) -> Tensor:
        h = torch.cat([torch.relu(self.a(x)), torch.relu(self.b(z))], 1)
        return self.head(torch.relu(self.mid(h)))


class OfDict(Parts):
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.scores(batch["x"], batch["z"])}


class OfTuple(Parts):
    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        x, z = inputs
        return self.scores(x, z)


def scores(found: Any) -> Tensor:
    return found["logits"] if isinstance(found, dict) else found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "given"), [(OfDict(), {"x": X, "z": Z}), (OfTuple(), (X, Z))], ids=["dict", "tuple"]
)
def test_all_inputs_in_one_argument_from_training_to_programs(
    net: nn.Module, given: Any, tmp_path: Path
) -> None:
    family = nd.fit(copy.deepcopy(net), (given, Y), epochs=1, batch_size=20)
    assert scores(family.export(0.1)(given)).shape == (40, 2)
    shrunk = nd.shrink(copy.deepcopy(net), (given, Y), size="90 params", epochs=3, batch_size=20)
    nd.save(shrunk, tmp_path / "a.safetensors")
    again = nd.load_model(tmp_path / "a.safetensors", copy.deepcopy(net)).eval()
    assert type(again).__name__ == type(net).__name__
    torch.testing.assert_close(scores(again(given)), scores(shrunk.net.eval()(given)))
    nd.save(shrunk, tmp_path / "a.pt2")
    slimmed = nd.slim(copy.deepcopy(net), share=0.5, example=given)
    assert {"a", "b", "mid"} == set(slimmed.graph.widths)


class Auxiliary(nn.Module):
    """Gives the scores of a head in the middle, too, in training."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head, self.aux = (
            nn.Linear(4, 8),
            nn.Linear(8, 6),
            nn.Linear(6, 2),
            nn.Linear(8, 2),
        )

    def forward(self, x: Tensor) -> Any:
        h = torch.relu(self.a(x))
        out = self.head(torch.relu(self.b(h)))
        return (out, self.aux(h)) if self.training else out


def test_what_is_given_in_training_alone_is_set_aside() -> None:
    net = Auxiliary()
    family = nd.fit(copy.deepcopy(net), (X, Y), epochs=1, batch_size=20)
    assert family.export(0.1)(X).shape == (40, 2)
    shrunk = nd.shrink(copy.deepcopy(net), (X, Y), size="60 params", epochs=2, batch_size=20)
    assert shrunk.widths["a"] < 8
    assert shrunk.net.eval()(X).shape == (40, 2)

"""Embeddings lose channels: factors whose products are summed, words before a recurrence, bags, tables side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.channels.fold.fold import fold
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.trace.trace import trace

G = torch.Generator().manual_seed(0)
X, Y = torch.randint(1, 20, (32, 4), generator=G), torch.randn(32, 1, generator=G)


class Factors(nn.Module):
    """Users and items as vectors, whose products are summed, with a bias of each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.user, self.item, self.bias = (
            nn.Embedding(20, 8),
            nn.Embedding(20, 8),
            nn.Embedding(20, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        products = self.user(x[:, 0]) * self.item(x[:, 1])
        return products.sum(1, keepdim=True) + self.bias(x[:, 0])


class Words(nn.Module):
    """Words before a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.emb = nn.Embedding(20, 8, padding_idx=0)
        self.rnn, self.out = nn.GRU(8, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.emb(x))[0][:, -1])


class Tables(nn.Module):
    """A bag of words beside two columns of categories."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bag = nn.EmbeddingBag(20, 8, **options)
        self.columns = nn.ModuleList(nn.Embedding(20, 6) for _ in range(2))
        self.mid, self.out = nn.Linear(20, 12), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.bag(x), *(table(x[:, i]) for i, table in enumerate(self.columns))]
        return self.out(torch.relu(self.mid(torch.cat(parts, 1))))


def sparse() -> Tables:
    return Tables(sparse=True, mode="sum")


NETS: dict[str, Any] = {"factors": Factors, "words": Words, "tables": Tables, "sparse": sparse}
FOUND = {
    "factors": ["user", "item"],
    "words": ["emb", "rnn"],
    "tables": ["bag", "columns.0", "columns.1", "mid"],
    "sparse": ["bag", "columns.0", "columns.1", "mid"],
}


@pytest.mark.parametrize("name", NETS)
def test_embeddings_shrink_are_saved_and_loaded(name: str, tmp_path: Path) -> None:
    net = NETS[name]()
    count = sum(p.numel() for p in net.parameters())
    shrunk = nd.shrink(
        net, (X, Y), size=f"{count // 2} params", epochs=4, batch_size=16, loss=F.mse_loss
    )
    assert shrunk.widths[FOUND[name][0]] < 8
    _, report = shrunk.fold()
    assert not report.left
    nd.save(shrunk, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", NETS[name]())
    assert type(again) is type(net)
    torch.testing.assert_close(again.eval()(X), shrunk.net.eval()(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["words", "tables", "sparse"])
def test_switches_behind_embeddings_are_merged_into_them(name: str) -> None:
    traced = trace(NETS[name]().double().eval(), X)
    made = insert_switches(traced, start="sampled", generator=torch.Generator().manual_seed(1))
    assert list(made) == FOUND[name]
    wanted = traced(X)
    folded, report = fold(traced, X)
    assert not report.left
    torch.testing.assert_close(folded(X), wanted, rtol=1e-10, atol=1e-10)
    padding = getattr(folded, "emb", None)
    assert padding is None or not padding.weight[0].any()


@pytest.mark.parametrize("options", [{"mode": "max"}, {"max_norm": 1.0}])
def test_tables_whose_numbers_meet_each_other_have_no_switch(options: dict[str, Any]) -> None:
    assert "bag" not in insert_switches(trace(Tables(**options).eval(), X))


def test_words_to_which_places_are_added_are_a_stream() -> None:
    class Placed(Words):
        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Embedding(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            h = self.emb(x) + self.places(torch.arange(4))
            return self.out(self.rnn(h)[0][:, -1])

    assert list(insert_switches(trace(Placed(), X))) == ["rnn"]
    assert list(insert_switches(trace(Placed(), X), streams=True)) == ["emb", "places", "rnn"]

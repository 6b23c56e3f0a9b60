"""Packed sequences: recurrent layers that run up to the length of each are cut as others are."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import netdial as nd
from netdial.channels.collect import collect
from netdial.channels.fold.fold import fold
from netdial.channels.graph import Graph
from netdial.channels.layers.insertion import insert_switches
from netdial.channels.layers.packed import PackedLayer
from netdial.channels.sizes import thetas
from netdial.channels.surgery import apply
from netdial.channels.trace.trace import is_exported, trace
from netdial.core.errors import TraceError
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan

from ..networks import mask

IDS = torch.tensor([[3, 4, 5, 0, 0], [1, 2, 3, 4, 5], [6, 1, 0, 0, 0], [2, 2, 2, 2, 0]])
OTHERS = torch.tensor([[7, 1, 1, 1, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 0]])


class Tagger(nn.Module):
    """Sentences packed by their lengths, through two recurrent layers one behind the other."""

    def __init__(self, kind: Any = nn.LSTM, *, two_way: bool = False, padded: bool = True) -> None:
        super().__init__()
        self.embed, self.padded = nn.Embedding(9, 6, padding_idx=0), padded
        self.first = kind(6, 5, batch_first=True, bidirectional=two_way)
        self.second = kind(10 if two_way else 5, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != 0).sum(1)
        packed = pack_padded_sequence(
            torch.relu(self.embed(ids)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        packed, _ = self.first(packed)
        packed, state = self.second(packed)
        if self.padded:
            out, known = pad_packed_sequence(packed, batch_first=True)
            steps = torch.arange(out.size(1))[None] < known[:, None]
            return self.head((out * steps[..., None]).sum(1) / 5)
        return self.head((state[0] if isinstance(state, tuple) else state)[-1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("two_way", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_packed_sequences_are_cut_as_others_are(kind: Any, two_way: bool, padded: bool) -> None:
    torch.manual_seed(0)
    net = Tagger(kind, two_way=two_way, padded=padded).double()
    graph = Graph.of(copy.deepcopy(net), IDS)
    assert graph.widths == {"embed": 6, "first.weight_hh_l0": 5, "second.weight_hh_l0": 4}
    plan = Plan.remove(graph.groups, {g.name: range(0, g.size - 1, 2) for g in graph.groups}, graph.shapes)  # fmt: skip
    masked = copy.deepcopy(net)
    mask(masked, plan)
    apply(plan, graph.traced)
    for ids in (IDS, OTHERS, IDS[:1]):
        assert same_outputs(evaluated(masked, ids), evaluated(graph.traced, ids), tolerance=1e-12)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_switches_stand_on_units_that_run_over_packed_sequences(kind: Any) -> None:
    torch.manual_seed(1)
    traced = trace(Tagger(kind, two_way=True).double(), IDS)
    assert not is_exported(traced)
    insert_switches(traced)
    before = evaluated(traced, IDS)
    with torch.no_grad():
        for theta in thetas(Graph.of(traced, IDS)).values():
            theta[0] = 0.0
            theta[1:] *= 1.5
    masked = copy.deepcopy(traced)
    graph, found = collect(Graph.of(traced, IDS))
    assert (found.widths["first.weight_hh_l0"], found.widths["second.weight_hh_l0"]) == (4, 3)
    assert not same_outputs(before, evaluated(graph.traced, IDS), tolerance=1e-6)
    small, _ = fold(graph.traced, IDS)
    assert type(small.get_submodule("first")) is PackedLayer
    for ids in (IDS, OTHERS):
        assert same_outputs(evaluated(masked, ids), evaluated(small, ids), tolerance=1e-12)


@pytest.mark.filterwarnings("ignore:.*what comes back is a graph")
def test_a_tagger_over_packed_sequences_shrinks_and_is_loaded(
    tmp_path: Path,
) -> None:
    torch.manual_seed(2)
    shrunk = nd.shrink(
        Tagger(), (IDS.repeat(4, 1), torch.randn(16, 2)), size="250 params", epochs=2, loss=nn.functional.mse_loss,
    )  # fmt: skip
    assert shrunk.events
    nd.save(shrunk, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", Tagger())
    assert same_outputs(evaluated(shrunk.net, OTHERS), evaluated(again, OTHERS), tolerance=1e-5)


class Asks(Tagger):
    """Takes the steps of packed sequences as they lie."""

    def forward(self, ids: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(ids), [5, 5, 5, 5], batch_first=True)
        return self.head(self.second(self.first(packed)[0])[0].data)


def test_the_packed_form_itself_is_refused_in_words() -> None:
    with pytest.raises(
        TraceError, match=r"asks packed sequences for their data, which has no rule"
    ):
        trace(Asks())

"""Recurrent layers over packed sequences, and with projections, in programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from netdial.models.programs.grouped import Ways
from netdial.models.programs.operations import ByOthers
from netdial.models.programs.recurrent import RECURRENT, RECURRENT_IN_ONNX, packed_alike
from netdial.models.programs.writing import write_program

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")

LAYERS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "LSTM": (nn.LSTM, {}),
    "LSTM, projected": (nn.LSTM, {"proj_size": 4}),
    "GRU": (nn.GRU, {"bias": False}),
    "RNN": (nn.RNN, {}),
    "RNN with ReLU": (nn.RNN, {"nonlinearity": "relu"}),
}


class Tagger(nn.Module):
    """Words of sentences of any length, read both ways, from a state that depends on the first of them."""

    def __init__(self, kind: type[nn.RNNBase], starts: bool, settings: dict[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.starts = nn.Embedding(9, 6), starts
        self.layer = kind(6, 5, num_layers=2, bidirectional=True, batch_first=True, **settings)
        self.out = nn.Linear(2 * (self.layer.proj_size or 5), 3)

    def state(self, h: Tensor) -> Any:
        start = h[:, 0, :5].expand(4, -1, -1)
        outer = start[..., : self.layer.proj_size or 5]
        return (outer, 2 * start) if isinstance(self.layer, nn.LSTM) else outer

    def forward(self, x: Tensor) -> Any:
        h, lengths = self.words(x), (x != 0).sum(1).cpu()
        sequence = pack_padded_sequence(h, lengths, batch_first=True, enforce_sorted=False)
        found, last = self.layer(sequence, self.state(h) if self.starts else None)
        padded, _ = pad_packed_sequence(found, batch_first=True, total_length=x.shape[1])
        return self.out(padded), last


X = torch.tensor([[3, 4, 0, 0], [1, 2, 3, 4], [5, 0, 0, 0]])


@pytest.mark.parametrize("ways", [RECURRENT, RECURRENT_IN_ONNX])
@pytest.mark.parametrize("starts", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_packed_sequences_are_run_as_whole_ones(name: str, starts: bool, ways: Ways) -> None:
    kind, settings = LAYERS[name]
    net = Tagger(kind, starts, settings)
    wanted = net(X)
    with ByOthers(ways), packed_alike(net):
        found = net(X)
    torch.testing.assert_close(found, wanted)
    assert "forward" not in vars(net.layer)


def test_projected_outputs_are_run_step_by_step() -> None:
    layer = nn.LSTM(3, 5, num_layers=2, proj_size=2, bidirectional=True, batch_first=True)
    x = torch.randn(4, 2, 3)
    with ByOthers(RECURRENT_IN_ONNX):
        found = layer(x)
    torch.testing.assert_close(found, layer(x))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch-export", "onnx"])
@pytest.mark.parametrize("name", ["LSTM, projected", "GRU"])
def test_packed_sequences_are_written(name: str, format: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    kind, settings = LAYERS[name]
    write_program(Tagger(kind, True, settings), tmp_path / "net", format, X)  # compared there

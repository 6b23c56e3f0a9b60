"""ONNX graphs of operations that torch's converter has no way for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.channels.graph import Graph
from netdial.core.errors import TraceError
from netdial.models.programs.writing import write_program

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Distances(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.codes, self.p = nn.Parameter(torch.randn(5, 3)), p

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.codes, p=self.p)


class Rounded(nn.Module):
    """Numbers that are rounded, with the gradients of those before."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        found: Tensor = self.b(h + (torch.round(h) - h).data)
        return found


class Waves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


@pytest.mark.slow
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_distances_are_written_and_equal(p: float, tmp_path: Path) -> None:
    import onnxruntime

    net, x = Distances(p), torch.randn(7, 3)
    write_program(net, tmp_path / "net.onnx", "onnx", x[:2])  # compared there for several batches
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(x).detach())


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_numbers_without_gradients_are_written(format: str, tmp_path: Path) -> None:
    graph = Graph.of(Rounded(), torch.randn(4, 3))
    write_program(graph.traced, tmp_path / "net", format, graph.example)  # compared there


@pytest.mark.slow
def test_what_attention_gives_may_lie_otherwise_in_memory(tmp_path: Path) -> None:
    """T5 views it as a fused kernel leaves it; the converter takes that kernel apart into products."""
    import onnxruntime

    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 12,
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 24,
        "num_layers": 1,
        "num_heads": 4,
    }
    torch.manual_seed(0)
    net = transformers.T5EncoderModel(transformers.T5Config(**sizes))
    x = torch.arange(21).view(3, 7) % 12
    small = nd.slim(net, share=0.3, example=x, lenient=True)
    nd.save(small, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    (lam,) = small.family.config.lams
    torch.testing.assert_close(torch.from_numpy(found), small.family.export(lam)(x).detach())


@pytest.mark.slow
def test_what_cannot_be_written_is_named_in_a_line_without_colours(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"exported as onnx.*bessel_j0") as refused:
        write_program(Waves(), tmp_path / "net.onnx", "onnx", torch.randn(2, 4))
    assert "\x1b" not in str(refused.value) and "Next steps" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_double_precision_is_said_to_be_the_reason(tmp_path: Path) -> None:
    net, x = nn.Conv2d(3, 2, 3).double(), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    with pytest.raises(TraceError, match=r"lacks many operations in double .*net\.float\(\)"):
        nd.save(net, tmp_path / "net.onnx", example=x)
    nd.save(net.float(), tmp_path / "net.onnx", example=x.float())


@pytest.mark.slow
def test_other_distances_are_refused_by_their_order(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"distances of order 3\.0"):
        write_program(Distances(3.0), tmp_path / "net.onnx", "onnx", torch.randn(2, 3))


class OneWayOrAnother(nn.Module):
    """Goes by how many numbers are positive, which no program can."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x)
        return 2 * y if (x > 0).sum().item() >= 1000 else y


def test_torch_prints_nothing_of_a_network_that_it_cannot_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TraceError, match="cannot be exported as torch-export, nothing was written"):
        write_program(OneWayOrAnother(), tmp_path / "net.pt2", "torch-export", torch.randn(2, 4))
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())

"""Programs take batches of the sizes that their networks take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netdial.core.errors import TraceError
from netdial.models.programs.batch import ExampleBatch
from netdial.models.programs.writing import write_program


class InGroups(nn.Module):
    """Examples beside the deviation of those of their group, as critics of images have it."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        apart = x.view(self.groups, -1, x.shape[1]).std(0).mean(1, keepdim=True)
        return torch.cat([x, apart.repeat(self.groups, 1)], 1)


class OfThree(nn.Module):
    """Numbers for each of three examples."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Parameter(torch.randn(3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.each


class Few(nn.Module):
    """It goes by how many examples there are."""

    def forward(self, x: Tensor) -> Tensor:
        return x if len(x) < 4 else 2 * x


class OfTwo(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise ValueError("one example has no statistics")
        return x - x.mean(0)


def test_sizes_that_a_network_takes_are_found() -> None:
    x = (torch.randn(4, 2),)
    assert ExampleBatch.of(nn.Linear(2, 2), x).sizes == (1, 2, 5)
    assert ExampleBatch.of(OfTwo(), x).sizes == (2, 5)
    halves = ExampleBatch.of(InGroups(2), x)
    assert halves.unit == 2
    assert set(halves.sizes) == {2, 4, 6}
    alone = ExampleBatch.of(OfThree(), (x[0][:3],))
    assert (alone.unit, alone.sizes, alone.dimension) == (0, (3,), None)


@pytest.mark.slow
def test_a_graph_takes_groups_of_examples(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net, path = InGroups(2), tmp_path / "net.onnx"
    write_program(net, path, "onnx", torch.randn(2, 3))
    x = torch.randn(8, 3)
    (found,) = runtime.InferenceSession(path).run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(x))


def test_a_program_takes_the_only_batch_that_its_network_takes(tmp_path: Path) -> None:
    net, x = OfThree(), torch.randn(3, 2)
    write_program(net, tmp_path / "net.pt2", "torch-export", x)
    program = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(program(x), net(x))


def test_a_batch_that_the_network_refuses_is_not_asked_for(tmp_path: Path) -> None:
    write_program(OfTwo(), tmp_path / "net.pt2", "torch-export", torch.randn(3, 2))


def test_code_that_goes_by_the_number_of_examples_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="how many examples there are"):
        write_program(Few(), tmp_path / "net.pt2", "torch-export", torch.randn(3, 2))
    assert not list(tmp_path.iterdir())

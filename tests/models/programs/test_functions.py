"""Functions that converters lack, or get wrong, are in programs with the network's own outputs, for batches of any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.models.programs.functions import KNOWN_TO_ONNX
from netdial.models.programs.operations import ByOthers, dense
from netdial.models.programs.spectra import OF_COMPLEX
from netdial.models.programs.writing import write_program

Function = Callable[[Tensor, Tensor], Tensor]


def modes(x: Tensor, w: Tensor) -> Tensor:
    """Low modes times complex weights, as Fourier operators write them."""
    found = torch.fft.rfft2(x)
    out = torch.zeros(len(x), 3, 4, 3, dtype=torch.cfloat)
    out[..., :2, :2] = torch.einsum(
        "bixy,ioxy->boxy", found[..., :2, :2], torch.complex(w, w)[..., :2, :2]
    )
    out[:, :, -1, 0] = 0
    return torch.fft.irfft2(out, s=(4, 4))


def diagonal(x: Tensor, w: Tensor) -> Tensor:
    y = x * 1.0
    y.diagonal(offset=-1, dim1=1, dim2=3).add_(w.sum())
    y.diagonal(offset=1, dim1=-2, dim2=-1).mul_(2.0)
    return y


def experts(x: Tensor, w: Tensor) -> Tensor:
    rows = x.flatten(0, 2)
    ends = torch.stack([torch.tensor(0), torch.tensor(len(rows) // 3), torch.tensor(len(rows))])
    return torch._grouped_mm(rows, w[0, :, :, :], offs=ends.int()).reshape(len(x), -1)


def istft(x: Tensor, w: Tensor) -> Tensor:
    window = torch.hann_window(8)
    found = torch.stft(x.flatten(1), 16, 4, 8, window=window, return_complex=True)
    return torch.istft(found * 0.5, 16, 4, 8, window=window, length=45)


def own_kernels(x: Tensor, w: Tensor) -> Tensor:
    """Convolutions with kernels of each example's own, as groups."""
    n = x.size(0)
    one = x.reshape(1, -1, 4, 4)
    kernels = (w * x.mean((2, 3))[:, None, :, None, None].unsqueeze(1)).flatten(0, 2)[:, :, 1:]
    found = F.conv2d(one, kernels, kernels[:, 0, 0, 0], (2, 1), (1, 2), (1, 2), groups=n)
    back = F.conv_transpose2d(found, kernels, None, 2, 1, 1, groups=n)
    lines = F.conv1d(x.reshape(1, -1, 16), kernels[:, :, 0], stride=2, padding=1, groups=n)
    return torch.cat([part.reshape(n, -1) for part in (found, back, lines)], 1)


def written_where(x: Tensor, w: Tensor) -> Tensor:
    """Writes behind a mask, of one and of two dimensions."""
    y = torch.zeros_like(x)
    kept = torch.arange(4) % 3 == 0
    y[:, :, kept] = (x + 1)[:, :, kept]
    y[:, w[0, :, 0] > 0] = x[:, :1, 0]
    y[:, :, w[0, 0] > 0.5] = 3.0
    return y


def complex_layer(x: Tensor, w: Tensor) -> Tensor:
    bias = torch.complex(w[0, 0, 0], w[0, 0, 1])
    return F.linear(torch.complex(x, 2 - x), torch.complex(w[0, 0], w[0, 1]), bias).imag


FUNCTIONS: dict[str, Function] = {
    "kernels of each example": own_kernels,
    "written where a mask holds": written_where,
    "a complex layer": complex_layer,
    "a term of 1e-10": lambda x, w: torch.log(torch.relu(x) + 1e-10),
    "zeros before pooling": lambda x, w: F.max_pool2d(F.pad(x - 9, (1, 1, 1, 1)), 2),
    "statistics of the batch": lambda x, w: F.batch_norm(
        x.reshape(1, -1, 4, 4), None, None, training=True
    ).reshape(x.shape),
    "weighted bags": lambda x, w: F.embedding_bag(
        (x.flatten(1).abs() * 2).long() % 4, w[0, 0], per_sample_weights=x.flatten(1), mode="sum"
    ),
    "bags": lambda x, w: F.embedding_bag((x.flatten(1).abs() * 2).long() % 4, w[0, 0]),
    "along a dimension": lambda x, w: torch.take_along_dim(x, x[:, :1].argsort(3), 3),
    "means of what comes together": lambda x, w: x.scatter_reduce(
        2, (x > 0).long(), x + 1, "mean", include_self=False
    ),
    "volumes": lambda x, w: F.conv3d(x[:, :, None], w[:, :, None], padding=1),
    "as often as there are examples": lambda x, w: (
        w.repeat_interleave(x.size(0), 0).mean(0) + x.repeat(2, 1, 1, 1).mean(0) + x
    ),
    "hypot": lambda x, w: torch.hypot(x, w[0]),
    "cumprod": lambda x, w: torch.cumprod(x, -1),
    "kthvalue": lambda x, w: torch.kthvalue(x, 2, -1).values,
    "median": lambda x, w: x.median(2, keepdim=True).values,
    "searchsorted": lambda x, w: x * torch.searchsorted(torch.arange(-2.0, 3.0), x, right=True),
    "adaptive pooling, with places": lambda x, w: F.adaptive_max_pool2d(
        x, (2, 1), return_indices=True
    )[0],
    "a fraction less whole numbers": lambda x, w: 1.0 - (x > 0).long() + x,
    "attention to nothing": lambda x, w: F.scaled_dot_product_attention(x, x + 1, x, x > 0.5),
    "attention to nothing, added": lambda x, w: F.scaled_dot_product_attention(
        x, x + 1, x, torch.where(x > 0.5, x, -torch.inf)
    ),
    "sums over another number": lambda x, w: F.avg_pool2d(x, (2, 3), 1, 1, divisor_override=5),
    "randomised leaks": lambda x, w: F.rrelu(x),
    "covariances": lambda x, w: torch.cov(w[0, 0] + 1) + x,
    "numbers of eight bits": lambda x, w: torch.fake_quantize_per_channel_affine(
        torch.fake_quantize_per_tensor_affine(x, 0.02, 3, -128, 127),
        w[0, 0, 0].detach().abs() + 0.01,
        torch.arange(4, dtype=torch.int32),
        2,
        0,
        255,
    ),
    "repeated by a tensor": lambda x, w: x.repeat_interleave(torch.tensor([1, 0, 2, 1]), 2),
    "inverse of the error function": lambda x, w: torch.erfinv(x.tanh()),
    "whether all are": lambda x, w: torch.where(torch._is_all_true(x > -9), x, w[0]),
    "cummax": lambda x, w: sum(torch.cummax((x * 2).round(), 2)),
    "bounds of two kinds": lambda x, w: torch.clamp(x * w[0], min=0.1, max=1),
    "dimensions of 1": lambda x, w: (
        x[x[:, 0, 0, 0] > 0].squeeze(1).sum(0) + x[:, :1, :1].squeeze().mean() + x.squeeze(2)
    ),
    "adaptive pooling": lambda x, w: F.adaptive_max_pool2d(x, (3, 1)),
    "slogdet": lambda x, w: torch.linalg.slogdet(x).logabsdet,
    "solve": lambda x, w: torch.linalg.solve(w[0, 0] + 9 * torch.eye(4), x),
    "inverse": lambda x, w: x @ torch.linalg.inv(w[0, 0] + 9 * torch.eye(4)),
    "diagonal": diagonal,
    "bfloat16": lambda x, w: x + (w[0].bfloat16() * 0.3 - 1).float(),
    "Fourier operator": modes,
    "modes of the largest amplitude": lambda x, w: torch.fft.irfft(
        torch.where(torch.fft.rfft(x).abs() > 1, torch.fft.rfft(x), 0j), n=4
    ),
    "exponential of complex numbers": lambda x, w: (
        torch.exp(1j * torch.arange(4) * 2 + 0.5j * (2 * torch.complex(x, w[0] + x))).real
    ),
    "istft": istft,
}


class Calls(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 3, 4, 4))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.w)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_is_written_with_equal_outputs(name: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net, x = Calls(FUNCTIONS[name]), torch.randn(7, 3, 4, 4)
    write_program(net, tmp_path / "net.onnx", "onnx", x[:2])
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), net(x).detach(), rtol=1e-4, atol=1e-4)


OF_RUNTIME = ("inverse", "solve")
"""Operations of ONNX Runtime, which torch cannot run."""


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in OF_RUNTIME])
def test_the_other_functions_give_the_same(name: str) -> None:
    torch.manual_seed(0)
    net, x = Calls(FUNCTIONS[name]), torch.randn(5, 3, 4, 4)
    with ByOthers(KNOWN_TO_ONNX, OF_COMPLEX), torch.no_grad():
        found = net(x)
    torch.testing.assert_close(found, net(x).detach(), rtol=1e-5, atol=1e-5)


class Sparse(nn.Module):
    """A graph's matrix, sparse, times features."""

    A: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.register_buffer("A", torch.tensor([[0.0, 2.0], [1.0, 0.0]]).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.fc(x).transpose(0, 1)
        return torch.sparse.mm(self.A.coalesce(), h.flatten(1)).reshape(h.shape).transpose(0, 1)


class SparseInWords(Sparse):
    """The same with a layer that is named by a word of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("in", nn.Linear(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.get_submodule("in")(x))


class Words(nn.Module):
    """Layers named by words of Python, and a distance, which torch measures in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"in": nn.BatchNorm1d(3), "class": nn.Linear(3, 4)})
        self.codes = nn.Parameter(torch.randn(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.parts["class"](self.parts["in"](x))
        return torch.cdist(h, self.codes)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_sparse_matrices_and_words_of_python(format: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    graphs = torch.randn(3, 2, 3)
    for net, x in ((Sparse(), graphs), (SparseInWords(), graphs), (Words(), torch.randn(3, 3))):
        write_program(net, tmp_path / "net", format, x)  # compared there


def test_heads_may_lie_along_the_batch(tmp_path: Path) -> None:
    def heads(x: Tensor, w: Tensor) -> Tensor:
        joined = torch.cat(x.split(2, 3), 0) * w[0, :, :, :2]
        return torch.cat(joined.split(x.size(0), 0), 3) + torch.cat([x, x]).chunk(2)[1]

    write_program(Calls(heads), tmp_path / "net.pt2", "torch-export", torch.randn(2, 3, 4, 4))


def test_programs_take_as_many_rows_as_there_are(tmp_path: Path) -> None:
    net, x = Words().eval(), torch.randn(60, 3)
    write_program(net, tmp_path / "net.pt2", "torch-export", x[:2])
    found = torch.export.load(tmp_path / "net.pt2").module()(x)
    torch.testing.assert_close(found, net(x), rtol=1e-4, atol=1e-4)


def test_a_network_keeps_its_sparse_matrix() -> None:
    net = Sparse()
    with dense(net):
        assert not net.A.is_sparse
    assert net.A.is_sparse


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_programs_do_not_tell_where_the_code_stands(format: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    write_program(Words(), tmp_path / "net", format, torch.randn(3, 3))
    content = (tmp_path / "net").read_bytes()
    assert b"parts" in content and Path(__file__).name.encode() not in content

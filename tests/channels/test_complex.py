"""Networks with complex parameters, as Fourier operators have: shrunk, slimmed, saved and loaded; they stay complex."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.channels.collect import collect
from netdial.channels.graph import Graph
from netdial.core.errors import ConfigError

X = torch.randn(16, 16, 2, generator=torch.Generator().manual_seed(0))
DATA = (X, X.cumsum(1)[..., :1])


class Spectral(nn.Module):
    """The lowest frequencies, mixed by complex weights."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.modes, self.channels = modes, channels
        self.weights = nn.Parameter(torch.rand(channels, channels, modes, dtype=torch.cfloat) / 64)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        shape = (len(x), self.channels, spectrum.shape[-1])
        out = torch.zeros(shape, device=x.device, dtype=torch.cfloat)
        low = torch.einsum("bix,iox->box", spectrum[:, :, : self.modes], self.weights)
        out[:, :, : self.modes] = low
        return torch.fft.irfft(out, n=x.shape[-1])


class Operator(nn.Module):
    """Two layers of a Fourier operator; the first parameter of all is complex."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = Spectral(width, 5), Spectral(width, 5)
        self.into, self.a, self.b = (
            nn.Linear(2, width),
            nn.Conv1d(width, width, 1),
            nn.Conv1d(width, width, 1),
        )
        self.mid, self.out = nn.Linear(width, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.into(x).transpose(1, 2)
        h = F.gelu(self.one(h) + self.a(h))
        h = (self.two(h) + self.b(h)).transpose(1, 2)
        return self.out(F.gelu(self.mid(h)))


def complex_leaves(net: nn.Module) -> list[str]:
    return [name for name, p in net.named_parameters() if p.is_complex()]


@pytest.mark.slow
def test_channels_of_complex_weights_go_with_the_others() -> None:
    assert Graph.of(Operator(), X[:2]).widths == {"into": 8, "a": 8, "b": 8, "mid": 16}


@pytest.mark.slow
def test_a_fourier_operator_shrinks_is_saved_and_loaded(tmp_path: Path) -> None:
    shrunk = nd.shrink(Operator(), DATA, size="500 params", epochs=3, batch_size=8, loss=F.mse_loss)
    assert sum(shrunk.widths.values()) < 40
    assert len(complex_leaves(shrunk.net)) == 2
    due = shrunk.net.eval()(X)
    nd.save(shrunk, tmp_path / "net.safetensors")
    again = nd.load_model(tmp_path / "net.safetensors", Operator())
    assert len(complex_leaves(again)) == 2
    torch.testing.assert_close(again.eval()(X), due, rtol=1e-4, atol=1e-5)


def frozen() -> Operator:
    net = Operator()
    for p in net.parameters():
        p.requires_grad_(not p.is_complex())
    return net


@pytest.mark.slow
def test_frozen_complex_weights_stay_complex_in_slim_and_in_files(tmp_path: Path) -> None:
    pruned = nd.slim(frozen(), share=0.25, example=X)
    assert len(complex_leaves(pruned.net)) == 2
    family = nd.fit(frozen(), DATA, epochs=1, batch_size=8, loss=F.mse_loss)
    nd.save(family, tmp_path / "member.safetensors", lam=1.0)
    again = nd.load_model(tmp_path / "member.safetensors", Operator())
    assert len(complex_leaves(again)) == 2
    torch.testing.assert_close(again.eval()(X), family.export(1.0).eval()(X))


def test_numbers_that_files_cannot_hold_are_refused_in_words(tmp_path: Path) -> None:
    net = frozen()
    net.register_buffer("wide", torch.zeros(2, dtype=torch.complex128))
    family = nd.fit(net, DATA, epochs=1, batch_size=8, loss=F.mse_loss)
    with pytest.raises(ConfigError, match=r"wide is torch.complex128.*torch.complex64"):
        nd.save(family, tmp_path / "member.safetensors", lam=1.0)


class Mixed(nn.Module):
    """The lowest frequencies of a series, mixed by one complex matrix for each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = nn.Conv1d(2, 6, 1), nn.Conv1d(6, 3, 1)
        self.weights = nn.Parameter(torch.randn(6, 6, 4, dtype=torch.cdouble))

    def forward(self, x: Tensor) -> Tensor:
        low = torch.fft.rfft(self.into(x.transpose(1, 2)))[..., :4]
        return self.out(torch.fft.irfft(torch.einsum("bim,iom->bom", low, self.weights), n=16))


def test_channels_that_are_0_leave_a_spectrum() -> None:
    net, x = Mixed().double(), X.double()
    with torch.no_grad():
        net.into.weight[[1, 4]] = 0
        net.into.bias[[1, 4]] = 0
    due = net(x)
    graph, _ = collect(Graph.of(net, x[:2]))
    assert graph.widths["into"] == 4
    torch.testing.assert_close(graph.traced(x), due, rtol=1e-12, atol=1e-12)

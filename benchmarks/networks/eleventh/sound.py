"""Networks of the zoo over sound, eleventh sample: bands of a spectrum, residuals that are broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eleventh.inputs import INPUTS


class BandSplit(nn.Module):
    """Bands of a spectrogram of unequal widths, each with its own layers; recurrences over time, then over bands; masks."""

    def __init__(self, d: int = 10, n_fft: int = 32) -> None:
        super().__init__()
        self.band_width, self.n_fft = [2, 3, 5, 7], n_fft
        self.BN = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(1, 2 * w), nn.Conv1d(2 * w, d, 1)) for w in self.band_width
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, d) for _ in range(2))
        self.rnns = nn.ModuleList(
            nn.LSTM(d, 8, batch_first=True, bidirectional=True) for _ in range(2)
        )
        self.fcs = nn.ModuleList(nn.Linear(16, d) for _ in range(2))
        self.mask = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, d), nn.Conv1d(d, 14, 1), nn.Tanh(), nn.Conv1d(14, 4 * w, 1)
            )
            for w in self.band_width
        )

    def half(self, x: Tensor, n: int) -> Tensor:
        b, c, k, t = x.shape
        h = self.norms[n](x.reshape(b, c, -1)).view(b, c, k, t)
        h = h.permute(0, 2, 3, 1) if n == 0 else h.permute(0, 3, 2, 1)
        lead = h.shape[:3]
        h, _ = self.rnns[n](h.reshape(-1, lead[2], c))
        h = self.fcs[n](h).view(*lead, c)
        return x + (h.permute(0, 3, 1, 2) if n == 0 else h.permute(0, 3, 2, 1))

    def forward(self, wav: Tensor) -> Tensor:
        wav = wav.squeeze(1)
        window = torch.hann_window(self.n_fft).to(wav)
        spec = torch.stft(wav, self.n_fft, 16, window=window, return_complex=True)
        ri = torch.stack([spec.real, spec.imag], 1)
        b, _, _, t = ri.shape
        parts, at = [], 0
        for i, w in enumerate(self.band_width):
            parts.append(self.BN[i](ri[:, :, at : at + w].reshape(b, w * 2, -1)))
            at += w
        x = torch.stack(parts, 2)
        for n in range(2):
            x = self.half(x, n)
        out, at = [], 0
        for i, w in enumerate(self.band_width):
            m = self.mask[i](x[:, :, i].contiguous()).view(b, 2, 2, w, t)
            m = m[:, 0] * torch.sigmoid(m[:, 1])
            re, im = ri[:, 0, at : at + w], ri[:, 1, at : at + w]
            out.append(torch.stack([re * m[:, 0] - im * m[:, 1], re * m[:, 1] + im * m[:, 0]], -1))
            at += w
        y = torch.cat(out, 1)
        full = torch.view_as_complex(y.contiguous())
        return torch.istft(full, self.n_fft, 16, window=window, length=wav.shape[-1])


class Broadcasted(nn.Module):
    """Residuals over frequency that are averaged, changed along time and broadcast again; norms of sub-bands."""

    class SubSpectralNorm(nn.Module):
        def __init__(self, c: int, s: int) -> None:
            super().__init__()
            self.s, self.bn = s, nn.BatchNorm2d(c * s)

        def forward(self, x: Tensor) -> Tensor:
            n, c, f, t = x.size()
            x = self.bn(x.view(n, c * self.s, f // self.s, t))
            return x.view(n, c, f, t)

    class Block(nn.Module):
        def __init__(self, i: int, o: int, stride: int = 1, dilation: int = 1) -> None:
            super().__init__()
            self.transition = i != o
            f2: list[nn.Module] = []
            if self.transition:
                f2 += [nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
            f2 += [
                nn.Conv2d(o, o, (3, 1), (stride, 1), (1, 0), groups=o, bias=False),
                Broadcasted.SubSpectralNorm(o, 5),
            ]
            self.f2 = nn.Sequential(*f2)
            self.f1 = nn.Sequential(
                *(
                    nn.Conv2d(
                        o,
                        o,
                        (1, 3),
                        padding=(0, dilation),
                        dilation=(1, dilation),
                        groups=o,
                        bias=False,
                    ),
                ),
                *(nn.BatchNorm2d(o), nn.SiLU(), nn.Conv2d(o, o, 1), nn.Dropout2d(0.1)),
            )

        def forward(self, x: Tensor) -> Tensor:
            f2 = self.f2(x)
            f1 = self.f1(f2.mean(2, keepdim=True))
            return F.relu(f1 + f2 if self.transition else f1 + f2 + x)

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(1, 8, 5, (1, 1), 2), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(
            self.Block(8, 6), self.Block(6, 6), self.Block(6, 10, 2, 2), self.Block(10, 10, 1, 2)
        )
        self.tail = nn.Conv2d(10, 10, (5, 5), padding=(0, 2), groups=10)
        self.classifier = nn.Sequential(nn.Conv2d(10, 16, 1), nn.ReLU(), nn.Conv2d(16, 7, 1))

    def forward(self, mel: Tensor) -> Tensor:
        x = self.body(self.head(mel.unsqueeze(1)))
        x = self.tail(x).mean((2, 3), keepdim=True)
        return self.classifier(x).flatten(1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "band_split": lambda: (BandSplit(), INPUTS.waves),
    "broadcasted_residual": lambda: (Broadcasted(), INPUTS.mels),
}

"""Networks of the zoo over sound, series and words, fifth sample."""

# ruff: noqa: E501, N803, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(52)
MELS = torch.randn(2, 10, 24, generator=_G)
WAVES = torch.randn(2, 1, 128, generator=_G)
SERIES = torch.randn(2, 24, 3, generator=_G)


class Ecapa(nn.Module):
    """ECAPA-TDNN: Res2 blocks with squeeze and excitation, means and deviations weighted by attention."""

    def __init__(self, C: int = 12, scale: int = 3) -> None:
        super().__init__()
        self.width, self.nums = C // scale, scale - 1
        self.conv1, self.bn1 = nn.Conv1d(10, C, 5, padding=2), nn.BatchNorm1d(C)
        self.c1, self.c3 = nn.Conv1d(C, C, 1), nn.Conv1d(C, C, 1)
        self.convs = nn.ModuleList(
            nn.Conv1d(self.width, self.width, 3, padding=2, dilation=2) for _ in range(self.nums)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(self.width) for _ in range(self.nums))
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool1d(1), nn.Conv1d(C, 5, 1), nn.ReLU(), nn.Conv1d(5, C, 1), nn.Sigmoid()
        )
        self.layer4 = nn.Conv1d(2 * C, 15, 1)
        self.attention = nn.Sequential(
            nn.Conv1d(45, 8, 1),
            nn.ReLU(),
            nn.BatchNorm1d(8),
            nn.Tanh(),
            nn.Conv1d(8, 15, 1),
            nn.Softmax(dim=2),
        )
        self.bn5, self.fc6 = nn.BatchNorm1d(30), nn.Linear(30, 6)

    def bottle(self, x: Tensor) -> Tensor:
        residual = x
        out = F.relu(self.c1(x))
        spx = torch.split(out, self.width, 1)
        sp = spx[0]
        for i in range(self.nums):
            sp = spx[i] if i == 0 else sp + spx[i]
            sp = self.bns[i](F.relu(self.convs[i](sp)))
            out = sp if i == 0 else torch.cat((out, sp), 1)
        out = torch.cat((out, spx[self.nums]), 1)
        out = self.c3(out)
        out = out * self.se(out)
        out += residual
        return out

    def forward(self, x: Tensor) -> Tensor:
        x = x - torch.mean(x, dim=-1, keepdim=True)
        x = self.bn1(F.relu(self.conv1(x)))
        x1 = self.bottle(x)
        x2 = self.bottle(x + x1)
        x = F.relu(self.layer4(torch.cat((x1, x2), dim=1)))
        t = x.size()[-1]
        global_x = torch.cat((x, torch.mean(x, dim=2, keepdim=True).repeat(1, 1, t),
                              torch.sqrt(torch.var(x, dim=2, keepdim=True).clamp(min=1e-4)).repeat(1, 1, t)), dim=1)  # fmt: skip
        w = self.attention(global_x)
        mu = torch.sum(x * w, dim=2)
        sg = torch.sqrt((torch.sum((x**2) * w, dim=2) - mu**2).clamp(min=1e-4))
        return self.fc6(self.bn5(torch.cat((mu, sg), 1)))


class SincNet(nn.Module):
    """Filters between two learned frequencies each, made at every call."""

    def __init__(self, n: int = 8, kernel: int = 15, rate: float = 400.0) -> None:
        super().__init__()
        self.n, self.kernel, self.rate = n, kernel, rate
        self.low_hz_ = nn.Parameter(torch.linspace(5, 120, n).view(-1, 1))
        self.band_hz_ = nn.Parameter(torch.full((n, 1), 20.0))
        half = torch.arange(1, (kernel - 1) // 2 + 1).float()
        self.register_buffer(
            "window_",
            0.54 - 0.46 * torch.cos(2 * math.pi * torch.arange((kernel - 1) // 2) / kernel),
        )
        self.register_buffer("n_", 2 * math.pi * (-half.flip(0)).view(1, -1) / rate)
        self.bn, self.conv, self.fc = nn.BatchNorm1d(n), nn.Conv1d(n, 12, 5), nn.Linear(12, 4)

    def filters(self) -> Tensor:
        low = 1.0 + torch.abs(self.low_hz_)
        high = torch.clamp(low + 1.0 + torch.abs(self.band_hz_), 1.0, self.rate / 2)
        band = (high - low)[:, 0]
        f_low, f_high = torch.matmul(low, self.n_), torch.matmul(high, self.n_)
        left = ((torch.sin(f_high) - torch.sin(f_low)) / (self.n_ / 2)) * self.window_
        center, right = 2 * band.view(-1, 1), torch.flip(left, dims=[1])
        band_pass = torch.cat([left, center, right], dim=1)
        return (band_pass / (2 * band[:, None])).view(self.n, 1, self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.abs(F.conv1d(x, self.filters(), stride=2, padding=self.kernel // 2))
        x = F.leaky_relu(self.bn(F.max_pool1d(x, 3)))
        return F.log_softmax(self.fc(F.relu(self.conv(x)).max(-1)[0]), dim=1)


class Tacotron(nn.Module):
    """Frames written one after another, attention that sees where it was before, and a postnet."""

    def __init__(self, mel: int = 5, enc: int = 8, att: int = 7, rnn: int = 9) -> None:
        super().__init__()
        self.mel, self.rnn_dim, self.enc_dim = mel, rnn, enc
        self.encoder = nn.LSTM(10, enc // 2, batch_first=True, bidirectional=True)
        self.prenet1, self.prenet2 = nn.Linear(mel, 8, bias=False), nn.Linear(8, 6, bias=False)
        self.rnn, self.query = nn.LSTMCell(6 + enc, rnn), nn.Linear(rnn, att, bias=False)
        self.memory_layer, self.v = nn.Linear(enc, att, bias=False), nn.Linear(att, 1, bias=False)
        self.loc_conv, self.loc_dense = (
            nn.Conv1d(2, 4, 5, padding=2, bias=False),
            nn.Linear(4, att, bias=False),
        )
        self.projection, self.gate = nn.Linear(rnn + enc, mel), nn.Linear(rnn + enc, 1)
        self.post = nn.Sequential(
            nn.Conv1d(mel, 8, 5, padding=2),
            nn.BatchNorm1d(8),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Conv1d(8, mel, 5, padding=2),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        memory, _ = self.encoder(x.transpose(1, 2))
        B, T = memory.size(0), memory.size(1)
        h, c = memory.new_zeros(B, self.rnn_dim), memory.new_zeros(B, self.rnn_dim)
        weights, total = memory.new_zeros(B, T), memory.new_zeros(B, T)
        context, frame = memory.new_zeros(B, self.enc_dim), memory.new_zeros(B, self.mel)
        processed, frames, gates = self.memory_layer(memory), [], []
        for _ in range(3):
            pre = F.relu(self.prenet2(F.relu(self.prenet1(frame))))
            h, c = self.rnn(torch.cat((pre, context), -1), (h, c))
            cat = torch.cat((weights.unsqueeze(1), total.unsqueeze(1)), dim=1)
            where = self.loc_dense(self.loc_conv(cat).transpose(1, 2))
            energies = self.v(torch.tanh(self.query(h.unsqueeze(1)) + where + processed)).squeeze(
                -1
            )
            weights = F.softmax(energies, dim=1)
            total = total + weights
            context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
            both = torch.cat((h, context), dim=1)
            frame = self.projection(both)
            frames.append(frame)
            gates.append(self.gate(both).squeeze(1))
        mel = torch.stack(frames).transpose(0, 1).contiguous().view(B, -1, self.mel).transpose(1, 2)
        return mel, mel + self.post(mel), torch.stack(gates).transpose(0, 1)


class HifiGan(nn.Module):
    """Transposed convolutions, and means of residual blocks of several kernels; weight norms everywhere."""

    def __init__(self, ch: int = 12) -> None:
        super().__init__()
        wn = nn.utils.parametrizations.weight_norm
        self.num_kernels, self.num_upsamples = 2, 2
        self.conv_pre = wn(nn.Conv1d(10, ch, 7, 1, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for i in range(2):
            self.ups.append(wn(nn.ConvTranspose1d(ch // 2**i, ch // 2 ** (i + 1), 4, 2, padding=1)))
            for k in (3, 5):
                self.resblocks.append(
                    wn(
                        nn.Conv1d(
                            ch // 2 ** (i + 1), ch // 2 ** (i + 1), k, 1, padding=(k - 1) // 2
                        )
                    )
                )
        self.conv_post = wn(nn.Conv1d(ch // 4, 1, 7, 1, padding=3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_pre(x)
        for i in range(self.num_upsamples):
            x = self.ups[i](F.leaky_relu(x, 0.1))
            xs = None
            for j in range(self.num_kernels):
                block = self.resblocks[i * self.num_kernels + j]
                y = block(F.leaky_relu(x, 0.1)) + x
                if xs is None:
                    xs = y
                else:
                    xs += y
            x = xs / self.num_kernels
        return torch.tanh(self.conv_post(F.leaky_relu(x)))


class Demucs(nn.Module):
    """Waves down by strides and gates, an LSTM in the middle, up again with skips cut at both ends."""

    def __init__(self, ch: int = 6) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        i, o = 1, ch
        for index in range(2):
            self.encoder.append(
                nn.Sequential(nn.Conv1d(i, o, 8, 4), nn.ReLU(), nn.Conv1d(o, 2 * o, 1), nn.GLU(1))
            )
            decode = [
                nn.Conv1d(o, 2 * o, 1),
                nn.GLU(1),
                nn.ConvTranspose1d(o, i if index else 2, 8, 4),
            ]
            if index > 0:
                decode.append(nn.ReLU())
            self.decoder.insert(0, nn.Sequential(*decode))
            i, o = o, 2 * o
        self.lstm, self.linear = nn.LSTM(i, i, 1, bidirectional=True), nn.Linear(2 * i, i)

    def forward(self, mix: Tensor) -> Tensor:
        mean = mix.mean(dim=-1, keepdim=True)
        std = mix.std(dim=-1, keepdim=True)
        x, saved = (mix - mean) / (1e-5 + std), []
        for encode in self.encoder:
            x = encode(x)
            saved.append(x)
        x = x.permute(2, 0, 1)
        x = self.linear(self.lstm(x)[0]).permute(1, 2, 0)
        for decode in self.decoder:
            skip = saved.pop(-1)
            delta = skip.shape[-1] - x.shape[-1]
            if delta:
                skip = skip[..., delta // 2 : -(delta - delta // 2)]
            x = decode(x + skip[..., : x.shape[-1]])
        return x * std + mean


class SpectrogramCnn(nn.Module):
    """Sound to decibels of mel bands inside the network, then a picture network."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(16))
        self.register_buffer("fb", torch.rand(9, 8, generator=torch.Generator().manual_seed(3)))
        self.bn0 = nn.BatchNorm2d(8)
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2),
                                      nn.Conv2d(8, 12, 3, padding=1), nn.ReLU())  # fmt: skip
        self.fc = nn.Linear(12, 4)

    def forward(self, wave: Tensor) -> Tensor:
        spec = torch.stft(wave.squeeze(1), 16, 8, 16, self.window, return_complex=True).abs().pow(2)
        mel = torch.matmul(spec.transpose(-1, -2), self.fb)
        x = 10.0 * torch.log10(torch.clamp(mel, min=1e-10)).unsqueeze(1)
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = torch.mean(self.features(x), dim=3)
        return torch.sigmoid(self.fc(torch.max(x, dim=2)[0] + torch.mean(x, dim=2)))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "ecapa_statistics": lambda: (Ecapa(), MELS),
    "sincnet_filters": lambda: (SincNet(), WAVES),
    "tacotron_location": lambda: (Tacotron(), MELS),
    "hifigan_kernels": lambda: (HifiGan(), MELS),
    "demucs_trimmed": lambda: (Demucs(), WAVES),
    "spectrogram_cnn": lambda: (SpectrogramCnn(), WAVES),
}

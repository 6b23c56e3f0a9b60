"""Networks of the zoo over series, fourteenth sample: heads of variables, cycles, isometric convolutions, smoothing."""

# ruff: noqa: B007, N801, N803, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import CYCLED, INPUTS, LONG_SERIES


class IndividualLinear(nn.Module):
    """A linear layer and a small net of each variable, written into a tensor of zeros column by column."""

    def __init__(self, configs: SimpleNamespace) -> None:
        super().__init__()
        self.seq_len, self.pred_len = configs.seq_len, configs.pred_len
        self.channels, self.individual = configs.enc_in, configs.individual
        if self.individual:
            self.Linear = nn.ModuleList()
            for i in range(self.channels):
                self.Linear.append(
                    nn.Sequential(
                        nn.Linear(self.seq_len, configs.d_model),
                        nn.GELU(),
                        nn.Linear(configs.d_model, self.pred_len),
                    )
                )
        else:
            self.Linear = nn.Linear(self.seq_len, self.pred_len)

    def forward(self, x: Tensor) -> Tensor:
        seq_last = x[:, -1:, :].detach()
        x = x - seq_last
        if self.individual:
            output = torch.zeros([x.size(0), self.pred_len, x.size(2)], dtype=x.dtype).to(x.device)
            for i in range(self.channels):
                output[:, :, i] = self.Linear[i](x[:, :, i])
            x = output
        else:
            x = self.Linear(x.permute(0, 2, 1)).permute(0, 2, 1)
        return x + seq_last


class RecurrentCycle(nn.Module):
    """A learnt cycle, read by where each series stands in it."""

    def __init__(self, cycle_len: int, channel_size: int) -> None:
        super().__init__()
        self.cycle_len, self.channel_size = cycle_len, channel_size
        self.data = nn.Parameter(torch.zeros(cycle_len, channel_size), requires_grad=True)

    def forward(self, index: Tensor, length: int) -> Tensor:
        gather_index = (
            index.view(-1, 1) + torch.arange(length, device=index.device).view(1, -1)
        ) % self.cycle_len
        return self.data[gather_index]


class CycleNet(nn.Module):
    """What is left of a series without its cycle goes through a perceptron; the cycle of the future is added."""

    def __init__(self, seq_len: int = 24, pred_len: int = 6, enc_in: int = 3, d: int = 20) -> None:
        super().__init__()
        self.seq_len, self.pred_len, self.use_revin = seq_len, pred_len, True
        self.cycleQueue = RecurrentCycle(7, enc_in)
        self.model = nn.Sequential(nn.Linear(seq_len, d), nn.ReLU(), nn.Linear(d, pred_len))

    def forward(self, x: Tensor, cycle_index: Tensor) -> Tensor:
        if self.use_revin:
            seq_mean = torch.mean(x, dim=1, keepdim=True)
            seq_var = torch.var(x, dim=1, keepdim=True) + 1e-5
            x = (x - seq_mean) / torch.sqrt(seq_var)
        x = x - self.cycleQueue(cycle_index, self.seq_len)
        y = self.model(x.permute(0, 2, 1)).permute(0, 2, 1)
        y = y + self.cycleQueue((cycle_index + self.seq_len) % 7, self.pred_len)
        if self.use_revin:
            y = y * torch.sqrt(seq_var) + seq_mean
        return y


class moving_avg(nn.Module):
    """A running mean, the ends repeated."""

    def __init__(self, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.avg = nn.AvgPool1d(kernel_size=kernel_size, stride=stride, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        front = x[:, 0:1, :].repeat(1, (self.kernel_size - 1) // 2, 1)
        end = x[:, -1:, :].repeat(1, (self.kernel_size - 1) // 2, 1)
        x = torch.cat([front, x, end], dim=1)
        return self.avg(x.permute(0, 2, 1)).permute(0, 2, 1)


class MIC(nn.Module):
    """Convolutions down, over all of a history of zeros and the series, and up, at several scales."""

    def __init__(
        self, feature_size: int, kernels: list[int], conv_kernel: list[int], iso: list[int]
    ) -> None:
        super().__init__()
        self.conv_kernel = conv_kernel
        self.isometric_conv = nn.ModuleList(
            [nn.Conv1d(feature_size, feature_size, i, padding=0, stride=1) for i in iso]
        )
        self.conv = nn.ModuleList(
            [
                nn.Conv1d(feature_size, feature_size, i, padding=i // 2, stride=i)
                for i in conv_kernel
            ]
        )
        self.conv_trans = nn.ModuleList(
            [nn.ConvTranspose1d(feature_size, feature_size, i, stride=i) for i in conv_kernel]
        )
        self.decomp = nn.ModuleList([moving_avg(i) for i in kernels])
        self.merge = nn.Conv2d(feature_size, feature_size, kernel_size=(len(conv_kernel), 1))
        self.conv1, self.conv2 = (
            nn.Conv1d(feature_size, 2 * feature_size, 1),
            nn.Conv1d(2 * feature_size, feature_size, 1),
        )
        self.norm, self.act, self.drop = nn.LayerNorm(feature_size), nn.Tanh(), nn.Dropout(0.05)

    def conv_trans_conv(
        self, input: Tensor, conv1d: nn.Module, conv1d_trans: nn.Module, isometric: nn.Module
    ) -> Tensor:
        batch, seq_len, channel = input.shape
        x = input.permute(0, 2, 1)
        x1 = self.drop(self.act(conv1d(x)))
        x = x1
        zeros = torch.zeros(
            (x.shape[0], x.shape[1], x.shape[2] - 1), device=x.device, dtype=x.dtype
        )
        x = torch.cat((zeros, x), dim=-1)
        x = self.drop(self.act(isometric(x)))
        x = self.norm((x + x1).permute(0, 2, 1)).permute(0, 2, 1)
        x = self.drop(self.act(conv1d_trans(x)))
        x = x[:, :, :seq_len]
        return self.norm(x.permute(0, 2, 1) + input)

    def forward(self, src: Tensor) -> Tensor:
        multi = []
        for i in range(len(self.conv_kernel)):
            src_out = src - self.decomp[i](src)
            src_out = self.conv_trans_conv(
                src_out, self.conv[i], self.conv_trans[i], self.isometric_conv[i]
            )
            multi.append(src_out)
        mg = torch.tensor([]).to(src.device).to(src.dtype)
        for i in range(len(self.conv_kernel)):
            mg = torch.cat((mg, multi[i].unsqueeze(1)), dim=1)
        mg = self.merge(mg.permute(0, 3, 1, 2)).squeeze(-2).permute(0, 2, 1)
        y = self.conv2(self.act(self.conv1(mg.transpose(-1, 1)))).transpose(-1, 1)
        return self.norm(mg + y)


class IsometricSeries(nn.Module):
    """An embedding of values, such layers, and a projection."""

    def __init__(self, c_in: int = 4, d: int = 8) -> None:
        super().__init__()
        self.value = nn.Conv1d(c_in, d, 3, padding=1, padding_mode="circular", bias=False)
        for m in self.modules():
            if isinstance(m, nn.Conv1d):
                nn.init.kaiming_normal_(m.weight, mode="fan_in", nonlinearity="leaky_relu")
        self.mic = nn.ModuleList([MIC(d, [3, 5], [2, 4], [13, 7]) for _ in range(1)])
        self.projection = nn.Linear(d, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.value(x.permute(0, 2, 1)).transpose(1, 2)
        for mic_layer in self.mic:
            x = mic_layer(x)
        return self.projection(x)


def conv1d_fft(f: Tensor, g: Tensor, dim: int = -1) -> Tensor:
    """Returns a convolution by products of spectra."""
    N, M = f.size(dim), g.size(dim)
    n = 2 ** math.ceil(math.log2(N + M - 1))
    F_f, F_g = torch.fft.rfft(f, n=n, dim=dim), torch.fft.rfft(g, n=n, dim=dim)
    out = torch.fft.irfft(F_f * F_g.conj(), n=n, dim=dim)
    idx = torch.arange(n - N, n)
    return out.roll((-1,), dims=(dim,)).index_select(dim, idx)


class ExponentialSmoothing(nn.Module):
    """Smoothing of each head by a rate that is learnt."""

    def __init__(self, dim: int, nhead: int) -> None:
        super().__init__()
        self._smoothing_weight = nn.Parameter(torch.randn(nhead, 1))
        self.v0 = nn.Parameter(torch.randn(1, 1, nhead, dim))

    def forward(self, values: Tensor) -> Tensor:
        b, t, h, d = values.shape
        init_weight, weight = self.get_exponential_weight(t)
        output = conv1d_fft(values, weight.expand(b, t, h, 1), dim=1)
        return init_weight * self.v0 + output

    def get_exponential_weight(self, T: int) -> tuple[Tensor, Tensor]:
        powers = torch.arange(T, dtype=self.v0.dtype, device=self.weight.device)
        weight = (1 - self.weight) * (self.weight ** torch.flip(powers, dims=(0,)))
        init_weight = self.weight ** (powers + 1)
        return (
            init_weight.t().unsqueeze(0).unsqueeze(-1),
            weight.t().unsqueeze(0).unsqueeze(-1),
        )

    @property
    def weight(self) -> Tensor:
        return torch.sigmoid(self._smoothing_weight)


class GrowthLayer(nn.Module):
    """Growth as smoothed differences, and what the rest is after it."""

    def __init__(self, d_model: int = 12, nhead: int = 3) -> None:
        super().__init__()
        self.d_head, self.nhead = d_model // nhead, nhead
        self.z0 = nn.Parameter(torch.randn(nhead, self.d_head))
        self.in_proj = nn.Linear(d_model, d_model)
        self.es = ExponentialSmoothing(self.d_head, nhead)
        self.out_proj = nn.Linear(d_model, d_model)
        assert self.d_head * nhead == d_model, "d_model must be divisible by nhead"

    def forward(self, inputs: Tensor) -> Tensor:
        b, t, d = inputs.shape
        values = self.in_proj(inputs).view(b, t, self.nhead, -1)
        z0 = self.z0.unsqueeze(0).unsqueeze(0).expand(b, -1, -1, -1)
        values = torch.cat([z0, values], dim=1)
        values = values[:, 1:] - values[:, :-1]
        return self.out_proj(self.es(values).reshape(b, t, -1))


class SmoothingGrowth(nn.Module):
    """Layers of growth with a feed-forward network each."""

    def __init__(self, c_in: int = 4, d: int = 12) -> None:
        super().__init__()
        self.embed = nn.Linear(c_in, d)
        self.layers = nn.ModuleList(
            [nn.ModuleDict({"growth": GrowthLayer(d), "norm": nn.LayerNorm(d)}) for _ in range(2)]
        )
        self.ff = nn.Sequential(
            nn.Linear(d, 20, bias=False), nn.Sigmoid(), nn.Linear(20, d, bias=False)
        )
        self.head = nn.Linear(d, 3)

    def forward(self, x: Tensor) -> Tensor:
        res, growths = self.embed(x), []
        for layer in self.layers:
            growth = layer["growth"](res)
            res = layer["norm"](res - growth + self.ff(res))
            growths.append(growth[:, -1:])
        return self.head(sum(growths) + res[:, -1:]).squeeze(1)


class ExogenousTokens(nn.Module):
    """Patches of a series beside a global token, which alone looks at the other variables' tokens."""

    def __init__(self, seq_len: int = 32, patch_len: int = 8, d: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.patch_len, self.n_vars = patch_len, 3
        self.value_embedding = nn.Linear(patch_len, d, bias=False)
        self.glb_token = nn.Parameter(torch.randn(1, self.n_vars, 1, d))
        self.register_buffer("pe", torch.randn(1, seq_len // patch_len + 1, d) * 0.1)
        self.ex_embedding = nn.Linear(seq_len, d)
        self.self_attn = nn.MultiheadAttention(d, heads, batch_first=True)
        self.cross_attn = nn.MultiheadAttention(d, heads, batch_first=True)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.conv1, self.conv2 = nn.Conv1d(d, 28, 1), nn.Conv1d(28, d, 1)
        self.flatten, self.linear = nn.Flatten(start_dim=-2), nn.Linear(d * (seq_len // 8 + 1), 6)

    def forward(self, x_enc: Tensor) -> Tensor:
        x = x_enc.permute(0, 2, 1)
        glb = self.glb_token.repeat((x.shape[0], 1, 1, 1))
        p = x.unfold(dimension=-1, size=self.patch_len, step=self.patch_len)
        p = torch.reshape(p, (p.shape[0] * p.shape[1], p.shape[2], p.shape[3]))
        p = self.value_embedding(p) + self.pe[:, : p.size(1)]
        p = torch.reshape(p, (-1, self.n_vars, p.shape[-2], p.shape[-1]))
        tokens = torch.cat([p, glb], dim=2)
        B = tokens.shape[0]
        tokens = tokens.reshape(B * self.n_vars, tokens.shape[2], tokens.shape[3])
        cross = self.ex_embedding(x)
        _, L, D = cross.shape
        tokens = self.norm1(tokens + self.self_attn(tokens, tokens, tokens)[0])
        g_ori = tokens[:, -1, :].unsqueeze(1)
        g = torch.reshape(g_ori, (B, -1, D))
        g_attn = self.cross_attn(g, cross, cross, need_weights=False)[0]
        g_attn = torch.reshape(
            g_attn, (g_attn.shape[0] * g_attn.shape[1], g_attn.shape[2])
        ).unsqueeze(1)
        y = tokens = torch.cat([tokens[:, :-1, :], self.norm2(g_ori + g_attn)], dim=1)
        y = self.conv2(F.gelu(self.conv1(y.transpose(-1, 1)))).transpose(-1, 1)
        out = torch.reshape(self.norm3(tokens + y), (-1, self.n_vars, tokens.shape[-2], D))
        return self.linear(self.flatten(out.permute(0, 1, 3, 2))).permute(0, 2, 1)


NLINEAR = SimpleNamespace(seq_len=32, pred_len=6, enc_in=3, individual=True, d_model=14)
NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "individual_linear": lambda: (IndividualLinear(NLINEAR), LONG_SERIES),
    "cycle_net": lambda: (CycleNet(), CYCLED),
    "isometric_series": lambda: (IsometricSeries(), INPUTS.series),
    "smoothing_growth": lambda: (SmoothingGrowth(), INPUTS.series),
    "exogenous_tokens": lambda: (ExogenousTokens(), LONG_SERIES),
}

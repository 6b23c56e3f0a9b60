"""Networks of the zoo over series and sound, thirteenth sample: gaps, smoothing in doubles, scans, bypasses."""

# ruff: noqa: N803, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import GAPPED, INPUTS


class QuantileForecaster(nn.Module):
    """Series with gaps: scaled by what is there, cut into patches beside their masks, and quantiles of the future."""

    class InstanceNorm(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            loc = torch.nan_to_num(torch.nanmean(x, dim=-1, keepdim=True), nan=0.0)
            scale = torch.nan_to_num(
                torch.nanmean((x - loc).square(), dim=-1, keepdim=True).sqrt(), nan=1.0
            )
            scale = torch.where(scale == 0, torch.abs(loc) + 1e-5, scale)
            return (x - loc) / scale, (loc, scale)

        def inverse(self, x: Tensor, loc_scale: tuple[Tensor, Tensor]) -> Tensor:
            loc, scale = loc_scale
            return x * scale + loc

    class ResidualBlock(nn.Module):
        def __init__(self, in_dim: int, h_dim: int, out_dim: int) -> None:
            super().__init__()
            self.dropout, self.hidden_layer = nn.Dropout(0.1), nn.Linear(in_dim, h_dim)
            self.act, self.output_layer = nn.ReLU(), nn.Linear(h_dim, out_dim)
            self.residual_layer = nn.Linear(in_dim, out_dim)

        def forward(self, x: Tensor) -> Tensor:
            out = self.dropout(self.output_layer(self.act(self.hidden_layer(x))))
            return out + self.residual_layer(x)

    def __init__(self, patch: int = 5, d: int = 12, horizon: int = 4) -> None:
        super().__init__()
        self.patch, self.horizon, self.quantiles = patch, horizon, [0.1, 0.5, 0.9]
        self.instance_norm = self.InstanceNorm()
        self.input_patch_embedding = self.ResidualBlock(2 * patch, 20, d)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d, 2, 28, 0.1, batch_first=True),
            1,
            enable_nested_tensor=False,
        )
        self.reg_token = nn.Parameter(torch.randn(1, 1, d) * 0.2)
        self.output_patch_embedding = self.ResidualBlock(d, 18, 3 * horizon)

    def forward(self, context: Tensor) -> Tensor:
        mask = torch.isnan(context).logical_not().to(context.dtype)
        context, loc_scale = self.instance_norm(context)
        length = context.shape[-1]
        if length % self.patch != 0:
            padding_size = (*context.shape[:-1], self.patch - (length % self.patch))
            padding = torch.full(size=padding_size, fill_value=torch.nan, dtype=context.dtype)
            context = torch.concat((padding, context), dim=-1)
            mask = torch.concat((torch.zeros_like(padding), mask), dim=-1)
        patched_context = context.unfold(dimension=-1, size=self.patch, step=self.patch)
        patched_mask = torch.nan_to_num(mask.unfold(-1, self.patch, self.patch), nan=0.0)
        patched_context = torch.where(patched_mask > 0.0, patched_context, 0.0)
        patches = torch.cat([patched_context, patched_mask], dim=-1)
        embeds = self.input_patch_embedding(patches)
        attention = torch.cat(
            [patched_mask.sum(dim=-1) > 0, torch.ones(len(embeds), 1, dtype=torch.bool)], dim=-1
        )
        embeds = torch.cat([embeds, self.reg_token.expand(len(embeds), -1, -1)], dim=-2)
        hidden = self.encoder(embeds, src_key_padding_mask=~attention)
        preds = self.output_patch_embedding(hidden[:, -1:])
        shape = (context.shape[0], len(self.quantiles), self.horizon)
        preds = self.instance_norm.inverse(preds.view(context.shape[0], -1), loc_scale)
        return preds.view(*shape)


class SmoothedSeries(nn.Module):
    """Trend by exponential smoothing with powers in double precision, a convolution of patches for the rest."""

    class EMA(nn.Module):
        def __init__(self, alpha: float) -> None:
            super().__init__()
            self.alpha = alpha

        def forward(self, x: Tensor) -> Tensor:
            _, t, _ = x.shape
            powers = torch.flip(torch.arange(t, dtype=torch.double), dims=(0,))
            weights = torch.pow((1 - self.alpha), powers).to(x.device)
            divisor = weights.clone()
            weights[1:] = weights[1:] * self.alpha
            weights, divisor = weights.reshape(1, t, 1), divisor.reshape(1, t, 1)
            x = torch.cumsum(x * weights, dim=1)
            x = torch.div(x, divisor)
            return x.to(torch.float32) if self.single else x

    def __init__(self, seq_len: int = 24, pred_len: int = 6, patch_len: int = 6) -> None:
        super().__init__()
        self.ema, self.pred_len = self.EMA(0.3), pred_len
        self.patch_len, self.dim, self.patch_num = patch_len, patch_len**2, 4
        self.fc1, self.bn1 = nn.Linear(patch_len, self.dim), nn.BatchNorm1d(self.patch_num)
        self.conv1 = nn.Conv1d(self.patch_num, self.patch_num, patch_len, patch_len, groups=4)
        self.fc2, self.flatten1 = nn.Linear(self.dim, patch_len), nn.Flatten(start_dim=-2)
        self.fc3, self.fc4 = nn.Linear(24, pred_len * 2), nn.Linear(pred_len * 2, pred_len)
        self.fc5, self.avgpool1 = nn.Linear(seq_len, pred_len * 4), nn.AvgPool1d(kernel_size=2)
        self.ln1, self.fc6 = nn.LayerNorm(pred_len * 2), nn.Linear(pred_len * 2, pred_len)
        self.fc8 = nn.Linear(pred_len * 2, pred_len)

    def forward(self, x: Tensor) -> Tensor:
        self.ema.single = x.dtype == torch.float32
        trend = self.ema(x)
        s, t = (x - trend).permute(0, 2, 1), trend.permute(0, 2, 1)
        B, C, I = s.shape  # noqa: E741
        s, t = torch.reshape(s, (B * C, I)), torch.reshape(t, (B * C, I))
        s = s.unfold(dimension=-1, size=self.patch_len, step=self.patch_len)
        s = self.bn1(F.gelu(self.fc1(s)))
        res = self.fc2(s)
        s = F.gelu(self.conv1(s)) + res
        s = self.fc4(F.gelu(self.fc3(self.flatten1(s))))
        t = self.ln1(self.avgpool1(self.fc5(t)))
        t = self.fc6(t)
        x = self.fc8(torch.cat((s, t), dim=1))
        return torch.reshape(x, (B, C, self.pred_len)).permute(0, 2, 1)


class PScan(torch.autograd.Function):
    """All steps of a linear recurrence by doubling, in place on a copy, with its gradient by the same scan from behind."""

    @staticmethod
    def scan(A: Tensor, X: Tensor) -> Tensor:
        A, X, step = A.clone(), X.clone(), 1
        while step < A.size(1):
            X[:, step:] += A[:, step:] * X[:, :-step].clone()
            A[:, step:] *= A[:, :-step].clone()
            step *= 2
        return X

    @staticmethod
    def forward(ctx: Any, A: Tensor, X: Tensor) -> Tensor:
        H = PScan.scan(A, X)
        ctx.save_for_backward(A, H)
        return H

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        A, H = ctx.saved_tensors
        A_next = F.pad(A[:, 1:], (0, 0, 0, 1)).flip(1)
        G = PScan.scan(A_next, grad.flip(1)).flip(1)
        return G * F.pad(H[:, :-1], (0, 0, 1, 0)), G


class ScannedSeries(nn.Module):
    """Gated linear recurrences over a series with decays of the input, scanned at once by a function with its own gradient."""

    def __init__(self, d_in: int = 4, d: int = 12, layers: int = 2) -> None:
        super().__init__()
        self.inp, self.layers = nn.Linear(d_in, d), nn.ModuleList()
        for _ in range(layers):
            layer = nn.Module()
            layer.norm, layer.in_proj = nn.RMSNorm(d), nn.Linear(d, 2 * 16, bias=False)
            layer.conv1d = nn.Conv1d(16, 16, 3, groups=16, padding=2)
            layer.dt, layer.out_proj = nn.Linear(16, 16), nn.Linear(16, d, bias=False)
            layer.A_log = nn.Parameter(torch.log(torch.arange(1, 17).float()))
            self.layers.append(layer)
        self.head = nn.Linear(d, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        L = x.shape[1]
        for layer in self.layers:
            u, z = layer.in_proj(layer.norm(x)).chunk(2, dim=-1)
            u = F.silu(layer.conv1d(u.transpose(1, 2))[:, :, :L].transpose(1, 2))
            delta = F.softplus(layer.dt(u))
            h = PScan.apply(torch.exp(-delta * torch.exp(layer.A_log)), delta * u)
            x = x + layer.out_proj(h * F.silu(z))
        return self.head(x.mean(1))


class SwooshR(torch.autograd.Function):
    """A smooth activation whose gradient is kept in steps of a byte with noise off."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        zero = torch.zeros((), dtype=x.dtype)
        y = torch.logaddexp(zero, x - 1.0) - 0.08 * x - 0.313261687
        ctx.save_for_backward(torch.sigmoid(x - 1.0) - 0.08)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (d,) = ctx.saved_tensors
        return grad * d


class BypassedSpeech(nn.Module):
    """Stacks at their own rate of frames with learnt bypasses whose scales are bounded in training."""

    class BiasNorm(nn.Module):
        def __init__(self, num_channels: int, log_scale: float = 0.5) -> None:
            super().__init__()
            self.log_scale = nn.Parameter(torch.tensor(log_scale))
            self.bias, self.channel_dim = nn.Parameter(torch.randn(num_channels) * 1e-2), -1

        def forward(self, x: Tensor) -> Tensor:
            channel_dim = self.channel_dim
            if channel_dim < 0:
                channel_dim += x.ndim
            bias = self.bias
            for _ in range(channel_dim + 1, x.ndim):
                bias = bias.unsqueeze(-1)
            scales = torch.mean((x - bias) ** 2, dim=channel_dim, keepdim=True) ** -0.5
            return x * (scales * self.log_scale.exp())

    class Bypass(nn.Module):
        def __init__(self, d: int, skip_rate: float = 0.3) -> None:
            super().__init__()
            self.bypass_scale, self.skip_rate = nn.Parameter(torch.full((d,), 0.5)), skip_rate

        def scale(self, batch_size: int) -> Tensor:
            if not self.training:
                return self.bypass_scale
            ans = self.bypass_scale.clamp(min=0.2, max=1.0)
            mask = torch.rand((batch_size, 1), device=ans.device) > self.skip_rate
            return torch.where(mask, ans, 1.0)

        def forward(self, src_orig: Tensor, src: Tensor) -> Tensor:
            scale = self.scale(src.shape[1])
            return src_orig + (src - src_orig) * scale

    def __init__(self, mels: int = 10, d: int = 12, ds: tuple[int, ...] = (1, 2)) -> None:
        super().__init__()
        self.embed, self.ds = nn.Conv1d(mels, d, 3, stride=2, padding=1), ds
        self.ffs = nn.ModuleList(
            [nn.ModuleDict({"in_proj": nn.Linear(d, 30), "out": nn.Linear(30, d)}) for _ in ds]
        )
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(k)) for k in ds])
        self.depthwise = nn.ModuleList([nn.Conv1d(d, d, 5, padding=2, groups=d) for _ in ds])
        self.norms = nn.ModuleList([self.BiasNorm(d) for _ in ds])
        self.bypasses = nn.ModuleList([self.Bypass(d) for _ in ds])
        self.joiner = nn.Linear(d, 8)

    def forward(self, mels: Tensor) -> Tensor:
        x = self.embed(mels).permute(2, 0, 1)
        for i, ds in enumerate(self.ds):
            src_orig = x
            T, B, C = x.shape
            d_T = (T + ds - 1) // ds
            pad = d_T * ds - T
            x = torch.cat((x, x[T - 1 :].expand(pad, B, C)), dim=0)
            x = x.reshape(d_T, ds, B, C)
            weights = self.weights[i].softmax(dim=0).unsqueeze(-1).unsqueeze(-1)
            x = (x * weights).sum(dim=1)
            x = x + self.ffs[i]["out"](SwooshR.apply(self.ffs[i]["in_proj"](x)))
            x = x + self.depthwise[i](x.permute(1, 2, 0)).permute(2, 0, 1)
            x = self.norms[i](x)
            x = x.unsqueeze(1).expand(d_T, ds, B, C).reshape(d_T * ds, B, C)[:T]
            x = self.bypasses[i](src_orig, x)
        return F.log_softmax(self.joiner(x), dim=-1).permute(1, 0, 2)


class MaskedSpectra(nn.Module):
    """Bands of time and of frequency masked in training, frames stacked, two branches merged by a depthwise convolution."""

    def __init__(self, mels: int = 10, stack: int = 3, d: int = 12) -> None:
        super().__init__()
        self.stack, self.proj = stack, nn.Linear(mels * stack, d)
        self.attn_norm, self.attn = nn.LayerNorm(d), nn.MultiheadAttention(d, 3, batch_first=True)
        self.channel_proj1 = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 20), nn.GELU())
        self.csgu_norm, self.csgu_conv = nn.LayerNorm(10), nn.Conv1d(10, 10, 3, 1, 1, groups=10)
        self.channel_proj2 = nn.Linear(10, d)
        self.fusion = nn.Conv1d(2 * d, 2 * d, 3, padding=1, groups=2 * d)
        self.merge_proj, self.ctc = nn.Linear(2 * d, d), nn.Linear(d, 7)
        nn.init.constant_(self.csgu_conv.bias, 1.0)

    @staticmethod
    def mask_along_axis(spec: Tensor, dim: int, width: int, num: int) -> Tensor:
        B, D = spec.shape[0], spec.shape[dim]
        mask_length = torch.randint(0, width, (B, num), device=spec.device).unsqueeze(2)
        mask_pos = torch.randint(0, max(1, D - width), (B, num), device=spec.device).unsqueeze(2)
        aran = torch.arange(D, device=spec.device)[None, None, :]
        mask = ((mask_pos <= aran) * (aran < (mask_pos + mask_length))).any(dim=1)
        mask = mask.unsqueeze(2) if dim == 1 else mask.unsqueeze(1)
        return spec.masked_fill(mask, 0.0)

    def forward(self, mels: Tensor) -> Tensor:
        spec = mels.transpose(1, 2)
        if self.training:
            spec = self.mask_along_axis(spec, 1, 8, 2)
            spec = self.mask_along_axis(spec, 2, 4, 2)
        B, T, D = spec.shape
        spec = spec[:, : T // self.stack * self.stack].contiguous()
        x = self.proj(spec.view(B, T // self.stack, D * self.stack)) * math.sqrt(12)
        x1, x2 = x, x
        x1 = self.attn(*[self.attn_norm(x1)] * 3, need_weights=False)[0]
        r, g = self.channel_proj1(x2).chunk(2, dim=-1)
        g = self.csgu_conv(self.csgu_norm(g).transpose(1, 2)).transpose(1, 2)
        x2 = self.channel_proj2(r * g)
        both = torch.cat([x1, x2], dim=-1)
        tmp = self.fusion(both.transpose(1, 2)).transpose(1, 2)
        x = x + F.dropout(self.merge_proj(both + tmp), 0.1, self.training)
        return self.ctc(x).log_softmax(2)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "quantile_forecaster": lambda: (QuantileForecaster(), GAPPED),
    "smoothed_series": lambda: (SmoothedSeries(), INPUTS.series),
    "scanned_series": lambda: (ScannedSeries(), INPUTS.series),
    "bypassed_speech": lambda: (BypassedSpeech(), INPUTS.mels),
    "masked_spectra": lambda: (MaskedSpectra(), INPUTS.mels),
}

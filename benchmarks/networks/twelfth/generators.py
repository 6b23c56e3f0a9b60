"""Generators of the zoo, twelfth sample: embedded steps, two stacks of convolutions, assigned styles, far skips, blurs."""

# ruff: noqa: N806 - names and lines as people write them
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.networks.twelfth.inputs import INPUTS, LATENT, TIMED


def conv_nd(dims: int, *args: Any, **kwargs: Any) -> nn.Module:
    """Returns a convolution of so many dimensions."""
    if dims == 1:
        return nn.Conv1d(*args, **kwargs)
    if dims == 2:
        return nn.Conv2d(*args, **kwargs)
    raise ValueError(f"unsupported dimensions: {dims}")


def zero_module(module: nn.Module) -> nn.Module:
    """Returns a module whose parameters are small."""
    for p in module.parameters():
        p.detach().mul_(0.3)
    return module


class GroupNorm32(nn.GroupNorm):
    """A norm that computes in single precision."""

    def forward(self, x: Tensor) -> Tensor:
        return (
            super().forward(x.float()).type(x.dtype)
            if x.dtype == torch.float16
            else super().forward(x)
        )


class TimestepBlock(nn.Module):
    """A module that takes the embedded step, too."""

    @abstractmethod
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Applies the module."""


class TimestepEmbedSequential(nn.Sequential, TimestepBlock):
    """A sequence that gives the embedded step to those of its children that take it."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, emb) if isinstance(layer, TimestepBlock) else layer(x)
        return x


class GuidedDenoiser(nn.Module):
    """A U of sequences that may take the step, norms with scale and shift, flat attention, checkpoints in training."""

    class ResBlock(TimestepBlock):
        def __init__(
            self,
            channels: int,
            emb_channels: int,
            out_channels: int | None = None,
            up: bool = False,
            down: bool = False,
        ) -> None:
            super().__init__()
            self.out_channels, self.updown = out_channels or channels, up or down
            self.in_layers = nn.Sequential(
                GroupNorm32(4, channels),
                nn.SiLU(),
                conv_nd(2, channels, self.out_channels, 3, padding=1),
            )
            if up:
                self.h_upd = self.x_upd = nn.Upsample(scale_factor=2)
            elif down:
                self.h_upd, self.x_upd = nn.AvgPool2d(2), nn.AvgPool2d(2)
            else:
                self.h_upd = self.x_upd = nn.Identity()
            self.emb_layers = nn.Sequential(
                nn.SiLU(), nn.Linear(emb_channels, 2 * self.out_channels)
            )
            conv = zero_module(conv_nd(2, self.out_channels, self.out_channels, 3, padding=1))
            self.out_layers = nn.Sequential(
                GroupNorm32(4, self.out_channels), nn.SiLU(), nn.Dropout(p=0.1), conv
            )
            if self.out_channels == channels:
                self.skip_connection: nn.Module = nn.Identity()
            else:
                self.skip_connection = conv_nd(2, channels, self.out_channels, 1)

        def forward(self, x: Tensor, emb: Tensor) -> Tensor:
            if self.training:
                return checkpoint(self._forward, x, emb, use_reentrant=False)
            return self._forward(x, emb)

        def _forward(self, x: Tensor, emb: Tensor) -> Tensor:
            if self.updown:
                in_rest, in_conv = self.in_layers[:-1], self.in_layers[-1]
                h = in_rest(x)
                h, x = self.h_upd(h), self.x_upd(x)
                h = in_conv(h)
            else:
                h = self.in_layers(x)
            emb_out = self.emb_layers(emb).type(h.dtype)
            while len(emb_out.shape) < len(h.shape):
                emb_out = emb_out[..., None]
            out_norm, out_rest = self.out_layers[0], self.out_layers[1:]
            scale, shift = torch.chunk(emb_out, 2, dim=1)
            h = out_norm(h) * (1 + scale) + shift
            h = out_rest(h)
            return self.skip_connection(x) + h

    class AttentionBlock(nn.Module):
        def __init__(self, channels: int, num_heads: int = 2) -> None:
            super().__init__()
            self.norm, self.n_heads = GroupNorm32(4, channels), num_heads
            self.qkv, self.proj_out = (
                conv_nd(1, channels, channels * 3, 1),
                zero_module(conv_nd(1, channels, channels, 1)),
            )

        def forward(self, x: Tensor) -> Tensor:
            b, c, *spatial = x.shape
            x = x.reshape(b, c, -1)
            qkv = self.qkv(self.norm(x))
            bs, width, length = qkv.shape
            assert width % (3 * self.n_heads) == 0
            ch = width // (3 * self.n_heads)
            q, k, v = qkv.reshape(bs * self.n_heads, ch * 3, length).split(ch, dim=1)
            scale = 1 / math.sqrt(math.sqrt(ch))
            weight = torch.einsum("bct,bcs->bts", q * scale, k * scale)
            weight = torch.softmax(weight.float(), dim=-1).type(weight.dtype)
            a = torch.einsum("bts,bcs->bct", weight, v)
            h = self.proj_out(a.reshape(bs, -1, length))
            return (x + h).reshape(b, c, *spatial)

    def __init__(self, model_channels: int = 8, channel_mult: tuple[int, ...] = (1, 2)) -> None:
        super().__init__()
        self.model_channels, time_embed_dim = model_channels, model_channels * 3
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, time_embed_dim),
            nn.SiLU(),
            nn.Linear(time_embed_dim, time_embed_dim),
        )
        S, R, A = TimestepEmbedSequential, self.ResBlock, self.AttentionBlock
        ch = int(channel_mult[0] * model_channels)
        self.input_blocks, input_block_chans = (
            nn.ModuleList([S(conv_nd(2, 3, ch, 3, padding=1))]),
            [ch],
        )
        for level, mult in enumerate(channel_mult):
            layers: list[nn.Module] = [
                R(ch, time_embed_dim, out_channels=int(mult * model_channels))
            ]
            ch = int(mult * model_channels)
            if level == 1:
                layers.append(A(ch))
            self.input_blocks.append(S(*layers))
            input_block_chans.append(ch)
            if level != len(channel_mult) - 1:
                self.input_blocks.append(S(R(ch, time_embed_dim, down=True)))
                input_block_chans.append(ch)
        self.middle_block = S(R(ch, time_embed_dim), A(ch), R(ch, time_embed_dim))
        self.output_blocks = nn.ModuleList([])
        for level, mult in list(enumerate(channel_mult))[::-1]:
            for i in range(2):
                ich = input_block_chans.pop()
                layers = [R(ch + ich, time_embed_dim, out_channels=int(model_channels * mult))]
                ch = int(model_channels * mult)
                if level and i == 1:
                    layers.append(R(ch, time_embed_dim, up=True))
                self.output_blocks.append(S(*layers))
        self.out = nn.Sequential(
            GroupNorm32(4, ch), nn.SiLU(), zero_module(conv_nd(2, ch, 3, 3, padding=1))
        )

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        hs, half = [], self.model_channels // 2
        freqs = torch.exp(
            -math.log(10000) * torch.arange(start=0, end=half, dtype=torch.float32) / half
        )
        args = timesteps[:, None].float() * freqs[None]
        emb = self.time_embed(torch.cat([torch.cos(args), torch.sin(args)], dim=-1).to(x.dtype))
        h = x
        for module in self.input_blocks:
            h = module(h, emb)
            hs.append(h)
        h = self.middle_block(h, emb)
        for module in self.output_blocks:
            h = torch.cat([h, hs.pop()], dim=1)
            h = module(h, emb)
        return self.out(h.type(x.dtype))


class TwoStacks(nn.Module):
    """Pixels from those above and those to the left: two stacks of cropped convolutions with gates, one feeding the other."""

    class GatedLayer(nn.Module):
        def __init__(
            self, dim: int, kernel: int, residual: bool = True, first: bool = False
        ) -> None:
            super().__init__()
            self.residual, self.first = residual, first
            self.vert_stack = nn.Conv2d(
                dim, dim * 2, (kernel // 2 + 1, kernel), 1, (kernel // 2, kernel // 2)
            )
            self.vert_to_horiz = nn.Conv2d(2 * dim, 2 * dim, 1)
            self.horiz_stack = nn.Conv2d(dim, dim * 2, (1, kernel // 2 + 1), 1, (0, kernel // 2))
            self.horiz_resid = nn.Conv2d(dim, dim, 1)

        @staticmethod
        def gate(x: Tensor) -> Tensor:
            x, y = x.chunk(2, dim=1)
            return torch.tanh(x) * torch.sigmoid(y)

        def make_causal(self) -> None:
            self.vert_stack.weight.data[:, :, -1].zero_()
            self.horiz_stack.weight.data[:, :, :, -1].zero_()

        def forward(self, x_v: Tensor, x_h: Tensor) -> tuple[Tensor, Tensor]:
            if self.first:
                self.make_causal()
            h_vert = self.vert_stack(x_v)
            h_vert = h_vert[:, :, : x_v.size(-1), :]
            out_v = self.gate(h_vert)
            h_horiz = self.horiz_stack(x_h)
            h_horiz = h_horiz[:, :, :, : x_h.size(-2)]
            out = self.gate(self.vert_to_horiz(h_vert) + h_horiz)
            out_h = self.horiz_resid(out) + x_h if self.residual else self.horiz_resid(out)
            return out_v, out_h

    def __init__(self, dim: int = 10, n_layers: int = 3, levels: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(1, dim, 1)
        self.layers = nn.ModuleList(
            [self.GatedLayer(dim, 5 if i == 0 else 3, i != 0, i == 0) for i in range(n_layers)]
        )
        self.output_conv = nn.Sequential(
            nn.Conv2d(dim, 14, 1), nn.ReLU(True), nn.Conv2d(14, levels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        x_v, x_h = (x, x)
        for layer in self.layers:
            x_v, x_h = layer(x_v, x_h)
        return self.output_conv(x_h)


class AssignedStyles(nn.Module):
    """Encoders of content and style; a network writes scales and shifts into the norms of the decoder before it runs."""

    class AdaptiveInstanceNorm2d(nn.Module):
        def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
            super().__init__()
            self.num_features, self.eps, self.momentum = num_features, eps, momentum
            self.weight, self.bias = None, None
            self.register_buffer("running_mean", torch.zeros(num_features))
            self.register_buffer("running_var", torch.ones(num_features))

        def forward(self, x: Tensor) -> Tensor:
            assert self.weight is not None and self.bias is not None, (
                "Please assign weight and bias before calling AdaIN!"
            )
            b, c = x.size(0), x.size(1)
            running_mean, running_var = self.running_mean.repeat(b), self.running_var.repeat(b)
            x_reshaped = x.contiguous().view(1, b * c, *x.size()[2:])
            out = F.batch_norm(
                x_reshaped,
                running_mean,
                running_var,
                self.weight,
                self.bias,
                True,
                self.momentum,
                self.eps,
            )
            return out.view(b, c, *x.size()[2:])

    class ConvBlock(nn.Module):
        def __init__(
            self,
            i: int,
            o: int,
            k: int,
            s: int,
            p: int,
            norm: str = "none",
            activation: str = "relu",
        ) -> None:
            super().__init__()
            self.pad = nn.ReflectionPad2d(p)
            norms = {"in": nn.InstanceNorm2d, "adain": AssignedStyles.AdaptiveInstanceNorm2d}
            self.norm = norms[norm](o) if norm in norms else None
            self.activation = (
                nn.ReLU(inplace=True)
                if activation == "relu"
                else nn.Tanh()
                if activation == "tanh"
                else None
            )
            self.conv = nn.Conv2d(i, o, k, s)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(self.pad(x))
            if self.norm:
                x = self.norm(x)
            if self.activation:
                x = self.activation(x)
            return x

    def __init__(self, dim: int = 8, style: int = 4) -> None:
        super().__init__()
        C = self.ConvBlock
        self.enc_style = nn.Sequential(
            C(3, dim, 7, 1, 3),
            C(dim, 10, 4, 2, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(10, style, 1, 1, 0),
        )
        self.enc_content = nn.Sequential(C(3, dim, 7, 1, 3, "in"), C(dim, 12, 4, 2, 1, "in"))
        self.dec = nn.Sequential(
            C(12, 12, 3, 1, 1, "adain"),
            C(12, 10, 3, 1, 1, "adain"),
            nn.Upsample(scale_factor=2),
            C(10, 3, 5, 1, 2, "none", "tanh"),
        )
        self.mlp = nn.Sequential(
            nn.Linear(style, 14), nn.ReLU(inplace=True), nn.Linear(14, self.get_num_adain_params())
        )

    def get_num_adain_params(self) -> int:
        num = 0
        for m in self.dec.modules():
            if m.__class__.__name__ == "AdaptiveInstanceNorm2d":
                num += 2 * m.num_features
        return num

    def assign_adain_params(self, adain_params: Tensor) -> None:
        for m in self.dec.modules():
            if m.__class__.__name__ == "AdaptiveInstanceNorm2d":
                mean, std = (
                    adain_params[:, : m.num_features],
                    adain_params[:, m.num_features : 2 * m.num_features],
                )
                m.bias, m.weight = mean.contiguous().view(-1), std.contiguous().view(-1)
                if adain_params.size(1) > 2 * m.num_features:
                    adain_params = adain_params[:, 2 * m.num_features :]

    def forward(self, images: Tensor) -> Tensor:
        style = self.enc_style(images)
        content = self.enc_content(images)
        self.assign_adain_params(self.mlp(style.view(style.size(0), -1)))
        return self.dec(content)


class FarSkips(nn.Module):
    """Images from a latent vector with gated units, noise with a learnt weight, and small maps that excite far larger ones."""

    class NoiseInjection(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((1,), 0.1), requires_grad=True)

        def forward(self, feat: Tensor, noise: Tensor | None = None) -> Tensor:
            if not self.training:
                return feat
            if noise is None:
                batch, _, height, width = feat.shape
                noise = torch.randn(batch, 1, height, width).to(feat.device)
            return feat + self.weight * noise

    @classmethod
    def up(cls, i: int, o: int, noisy: bool = False) -> nn.Sequential:
        layers = [
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(i, o * 2, 3, 1, 1, bias=False),
        ]
        layers += [cls.NoiseInjection()] if noisy else []
        layers += [nn.BatchNorm2d(o * 2), nn.GLU(dim=1)]
        if noisy:
            layers += [
                nn.Conv2d(o, o * 2, 3, 1, 1, bias=False),
                cls.NoiseInjection(),
                nn.BatchNorm2d(o * 2),
                nn.GLU(dim=1),
            ]
        return nn.Sequential(*layers)

    class SEBlock(nn.Module):
        def __init__(self, ch_in: int, ch_out: int) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.AdaptiveAvgPool2d(4),
                nn.Conv2d(ch_in, ch_out, 4, 1, 0, bias=False),
                nn.SiLU(),
                nn.Conv2d(ch_out, ch_out, 1, 1, 0, bias=False),
                nn.Sigmoid(),
            )

        def forward(self, feat_small: Tensor, feat_big: Tensor) -> Tensor:
            return feat_big * self.main(feat_small)

    def __init__(self, nz: int = 8) -> None:
        super().__init__()
        nfc = {k: int(v * 2) for k, v in {4: 8, 8: 6, 16: 5, 32: 4}.items()}
        self.init = nn.Sequential(
            nn.utils.parametrizations.spectral_norm(
                nn.ConvTranspose2d(nz, nfc[4] * 2, 4, 1, 0, bias=False)
            ),
            nn.BatchNorm2d(nfc[4] * 2),
            nn.GLU(dim=1),
        )
        self.feat_8, self.feat_16, self.feat_32 = (
            self.up(nfc[4], nfc[8], True),
            self.up(nfc[8], nfc[16]),
            self.up(nfc[16], nfc[32], True),
        )
        self.se_32 = self.SEBlock(nfc[4], nfc[32])
        self.to_big, self.to_small = (
            nn.Conv2d(nfc[32], 3, 3, 1, 1, bias=False),
            nn.Conv2d(nfc[16], 3, 1, 1, 0, bias=False),
        )

    def forward(self, input: Tensor) -> list[Tensor]:
        input = input.view(input.shape[0], -1, 1, 1)
        feat_4 = self.init(input)
        feat_8 = self.feat_8(feat_4)
        feat_16 = self.feat_16(feat_8)
        feat_32 = self.se_32(feat_4, self.feat_32(feat_16))
        return [torch.tanh(self.to_big(feat_32)), self.to_small(feat_16)]


class BlurredCritic(nn.Module):
    """A critic with blurs by a held kernel, scales at run time, leaky units, and the batch's deviation as a channel."""

    class Blur(nn.Module):
        def __init__(self, pad: tuple[int, int]) -> None:
            super().__init__()
            k = torch.tensor([1.0, 3.0, 3.0, 1.0])
            k = k[None, :] * k[:, None]
            self.register_buffer("kernel", k / k.sum())
            self.pad = pad

        def forward(self, x: Tensor) -> Tensor:
            p0, p1 = self.pad
            _, channel, in_h, in_w = x.shape
            x = x.reshape(-1, 1, in_h, in_w)
            x = F.pad(x, [p0, p1, p0, p1])
            w = torch.flip(self.kernel, [0, 1]).view(1, 1, 4, 4)
            out = F.conv2d(x, w)
            return out.view(-1, channel, out.shape[2], out.shape[3])

    class EqualConv2d(nn.Module):
        def __init__(
            self, i: int, o: int, k: int, stride: int = 1, padding: int = 0, bias: bool = True
        ) -> None:
            super().__init__()
            self.weight, self.scale = nn.Parameter(torch.randn(o, i, k, k)), 1 / math.sqrt(i * k**2)
            self.stride, self.padding, self.bias = (
                stride,
                padding,
                nn.Parameter(torch.zeros(o)) if bias else None,
            )

        def forward(self, input: Tensor) -> Tensor:
            return F.conv2d(
                input,
                self.weight * self.scale,
                bias=self.bias,
                stride=self.stride,
                padding=self.padding,
            )

    class FusedLeakyReLU(nn.Module):
        def __init__(
            self, channel: int, negative_slope: float = 0.2, scale: float = 2**0.5
        ) -> None:
            super().__init__()
            self.bias, self.negative_slope, self.scale = (
                nn.Parameter(torch.zeros(channel)),
                negative_slope,
                scale,
            )

        def forward(self, input: Tensor) -> Tensor:
            rest_dim = [1] * (input.ndim - self.bias.ndim - 1)
            return (
                F.leaky_relu(
                    input + self.bias.view(1, self.bias.shape[0], *rest_dim), self.negative_slope
                )
                * self.scale
            )

    class ConvLayer(nn.Sequential):
        def __init__(
            self,
            i: int,
            o: int,
            k: int,
            downsample: bool = False,
            bias: bool = True,
            activate: bool = True,
        ) -> None:
            layers: list[nn.Module] = []
            if downsample:
                p = (4 - 2) + (k - 1)
                layers.append(BlurredCritic.Blur(pad=((p + 1) // 2, p // 2)))
            layers.append(
                BlurredCritic.EqualConv2d(
                    i,
                    o,
                    k,
                    2 if downsample else 1,
                    0 if downsample else k // 2,
                    bias and not activate,
                )
            )
            if activate:
                layers.append(BlurredCritic.FusedLeakyReLU(o))
            super().__init__(*layers)

    class ResBlock(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            C = BlurredCritic.ConvLayer
            self.conv1, self.conv2 = C(i, i, 3), C(i, o, 3, downsample=True)
            self.skip = C(i, o, 1, downsample=True, activate=False, bias=False)

        def forward(self, input: Tensor) -> Tensor:
            out = self.conv2(self.conv1(input))
            return (out + self.skip(input)) / math.sqrt(2)

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            self.ConvLayer(3, 8, 1), self.ResBlock(8, 12), self.ResBlock(12, 12)
        )
        self.stddev_group, self.stddev_feat = 4, 1
        self.final_conv = self.ConvLayer(12 + 1, 10, 3)
        self.final_linear = nn.Sequential(
            nn.Linear(10 * 64, 14), nn.LeakyReLU(0.2), nn.Linear(14, 1)
        )

    def forward(self, input: Tensor) -> Tensor:
        out = self.convs(input)
        batch, channel, height, width = out.shape
        group = min(batch, self.stddev_group)
        stddev = out.view(group, -1, self.stddev_feat, channel // self.stddev_feat, height, width)
        stddev = torch.sqrt(stddev.var(0, unbiased=False) + 1e-8)
        stddev = stddev.mean([2, 3, 4], keepdims=True).squeeze(2)
        stddev = stddev.repeat(group, 1, height, width)
        out = torch.cat([out, stddev], 1)
        out = self.final_conv(out)
        return self.final_linear(out.view(batch, -1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "guided_denoiser": lambda: (GuidedDenoiser(), TIMED),
    "two_stacks": lambda: (TwoStacks(), INPUTS.grey),
    "assigned_styles": lambda: (AssignedStyles(), TIMED[0]),
    "far_skips": lambda: (FarSkips(), LATENT),
    "blurred_critic": lambda: (BlurredCritic(), INPUTS.images),
}

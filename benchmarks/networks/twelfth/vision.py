"""Backbones of the zoo, twelfth sample: blocks of libraries of image models, built by factories, configurations and lists."""

# ruff: noqa: N803, N806, RET504, RUF012, RUF046, RUF059 - names and lines as people write them
from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.twelfth.inputs import INPUTS, SMALL_IMAGES


class LayerScale2d(nn.Module):
    """A factor for each channel of images."""

    def __init__(self, dim: int, init_values: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        self.gamma = nn.Parameter(init_values * torch.ones(dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(self.gamma) if self.inplace else x * self.gamma


class RepMixerNet(nn.Module):
    """Token mixers that subtract a branch's norm, blocks of branches with scale, kernel and skip."""

    class Branches(nn.Module):
        def __init__(self, c_in: int, c_out: int, k: int, s: int = 1, groups: int = 1) -> None:
            super().__init__()
            self.rbr_skip = nn.BatchNorm2d(c_in) if c_in == c_out and s == 1 else None
            conv = partial(nn.Conv2d, c_in, c_out, stride=s, groups=groups, bias=False)
            self.rbr_conv = nn.ModuleList()
            for _ in range(2):
                m = nn.Sequential()
                m.add_module("conv", conv(kernel_size=k, padding=k // 2))
                m.add_module("bn", nn.BatchNorm2d(c_out))
                self.rbr_conv.append(m)
            self.rbr_scale = nn.Sequential(conv(kernel_size=1), nn.BatchNorm2d(c_out))
            self.num_conv_branches, self.activation = 2, nn.GELU()

        def forward(self, x: Tensor) -> Tensor:
            identity_out = 0
            if self.rbr_skip is not None:
                identity_out = self.rbr_skip(x)
            out = self.rbr_scale(x) + identity_out
            for ix in range(self.num_conv_branches):
                out += self.rbr_conv[ix](x)
            return self.activation(out)

    class Mixer(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            dw = partial(nn.Conv2d, dim, dim, 3, padding=1, groups=dim, bias=False)
            self.norm = nn.BatchNorm2d(dim)
            self.mixer = nn.Sequential(OrderedDict(conv=dw(), bn=nn.BatchNorm2d(dim)))
            self.layer_scale = LayerScale2d(dim)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.layer_scale(self.mixer(x) - self.norm(x))
            return x

    class ConvFFN(nn.Module):
        def __init__(self, dim: int, hidden: int) -> None:
            super().__init__()
            self.conv = nn.Sequential()
            self.conv.add_module("conv", nn.Conv2d(dim, dim, 7, padding=3, groups=dim, bias=False))
            self.conv.add_module("bn", nn.BatchNorm2d(dim))
            self.fc1, self.act, self.fc2 = (
                nn.Conv2d(dim, hidden, 1),
                nn.GELU(),
                nn.Conv2d(hidden, dim, 1),
            )
            self.layer_scale = LayerScale2d(dim)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.layer_scale(self.fc2(self.act(self.fc1(self.conv(x)))))

    def __init__(self, dims: tuple[int, ...] = (8, 12), num_classes: int = 5) -> None:
        super().__init__()
        B = self.Branches
        self.stem = nn.Sequential(B(3, 8, 3, 2), B(8, 8, 3, 2, 8), B(8, 8, 1))
        network: list[nn.Module] = []
        for i, dim in enumerate(dims):
            network.append(
                nn.Sequential(
                    *(m for _ in range(2) for m in (self.Mixer(dim), self.ConvFFN(dim, 3 * dim)))
                )
            )
            if i + 1 < len(dims):
                network.append(B(dim, dim, 7, 2, dim))
                network.append(B(dim, dims[i + 1], 1))
        self.network = nn.ModuleList(network)
        self.gap, self.head = nn.AdaptiveAvgPool2d(output_size=1), nn.Linear(dims[-1], num_classes)

    def forward_tokens(self, x: Tensor) -> Tensor:
        for block in self.network:
            x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.forward_tokens(self.stem(x))
        return self.head(self.gap(x).view(x.size(0), -1))


class SplitDepthwise(nn.Module):
    """Channels in parts whose convolutions feed the next, attention over channels, and a positional map of sines."""

    def __init__(
        self, dim: int = 16, scales: int = 4, num_heads: int = 2, expan_ratio: int = 3
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim, 4, 4), nn.GroupNorm(1, dim))
        width = max(int(math.ceil(dim / scales)), int(math.floor(dim // scales)))
        self.width, self.nums = width, 1 if scales == 1 else scales - 1
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
            for _ in range(self.nums)
        )
        self.norm_xca, self.num_heads = nn.LayerNorm(dim, eps=1e-6), num_heads
        self.gamma_xca = nn.Parameter(1e-1 * torch.ones(dim), requires_grad=True)
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)
        self.norm, self.pwconv1 = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, expan_ratio * dim)
        self.act, self.pwconv2 = nn.GELU(), nn.Linear(expan_ratio * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))
        self.token_projection, self.hidden_dim = nn.Conv2d(16, dim, kernel_size=1), 8
        self.head = nn.Linear(dim, 4)

    def pos_embd(self, B: int, H: int, W: int, like: Tensor) -> Tensor:
        mask = torch.zeros(B, H, W).bool().to(like.device)
        not_mask = ~mask
        y_embed, x_embed = (
            not_mask.cumsum(1, dtype=like.dtype),
            not_mask.cumsum(2, dtype=like.dtype),
        )
        y_embed = y_embed / (y_embed[:, -1:, :] + 1e-6) * 2 * math.pi
        x_embed = x_embed / (x_embed[:, :, -1:] + 1e-6) * 2 * math.pi
        dim_t = torch.arange(self.hidden_dim, dtype=like.dtype, device=mask.device)
        dim_t = 10000 ** (2 * (dim_t // 2) / self.hidden_dim)
        pos = [e[:, :, :, None] / dim_t for e in (y_embed, x_embed)]
        pos = [torch.stack((p[..., 0::2].sin(), p[..., 1::2].cos()), dim=4).flatten(3) for p in pos]
        return self.token_projection(torch.cat(pos, dim=3).permute(0, 3, 1, 2))

    def xca(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0].transpose(-2, -1), qkv[1].transpose(-2, -1), qkv[2].transpose(-2, -1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        return self.proj((attn @ v).permute(0, 3, 1, 2).reshape(B, N, C))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        inp = x
        spx = torch.split(x, self.width, 1)
        for i in range(self.nums):
            sp = spx[i] if i == 0 else sp + spx[i]  # noqa: F821 - bound by the first turn
            sp = self.convs[i](sp)
            out = sp if i == 0 else torch.cat((out, sp), 1)  # noqa: F821
        x = torch.cat((out, spx[self.nums]), 1)
        B, C, H, W = x.shape
        x = x.reshape(B, C, H * W).permute(0, 2, 1)
        x = x + self.pos_embd(B, H, W, x).reshape(B, -1, x.shape[1]).permute(0, 2, 1)
        x = x + self.gamma_xca * self.xca(self.norm_xca(x))
        x = x.reshape(B, H, W, C)
        x = self.gamma * self.pwconv2(self.act(self.pwconv1(self.norm(x))))
        x = inp + x.permute(0, 3, 1, 2)
        return self.head(x.mean([-2, -1]))


class TwinsNet(nn.Module):
    """Attention in windows, then to sub-sampled places, with positions by a depthwise convolution after the first."""

    class Window(nn.Module):
        def __init__(self, dim: int, heads: int, ws: int) -> None:
            super().__init__()
            self.heads, self.ws, self.scale = heads, ws, (dim // heads) ** -0.5
            self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

        def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
            B, N, C = x.shape
            H, W = size
            x = x.view(B, H, W, C)
            pad_r, pad_b = (self.ws - W % self.ws) % self.ws, (self.ws - H % self.ws) % self.ws
            x = F.pad(x, (0, 0, 0, pad_r, 0, pad_b))
            _, Hp, Wp, _ = x.shape
            _h, _w = Hp // self.ws, Wp // self.ws
            x = x.reshape(B, _h, self.ws, _w, self.ws, C).transpose(2, 3)
            qkv = self.qkv(x).reshape(B, _h * _w, self.ws * self.ws, 3, self.heads, C // self.heads)
            q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
            attn = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
            x = (attn @ v).transpose(2, 3).reshape(B, _h, _w, self.ws, self.ws, C)
            x = x.transpose(2, 3).reshape(B, _h * self.ws, _w * self.ws, C)
            if pad_r > 0 or pad_b > 0:
                x = x[:, :H, :W, :].contiguous()
            return self.proj(x.reshape(B, N, C))

    class Global(nn.Module):
        def __init__(self, dim: int, heads: int, sr_ratio: int) -> None:
            super().__init__()
            self.heads, self.scale, self.sr_ratio = heads, (dim // heads) ** -0.5, sr_ratio
            self.q, self.kv, self.proj = (
                nn.Linear(dim, dim),
                nn.Linear(dim, dim * 2),
                nn.Linear(dim, dim),
            )
            self.sr, self.norm = nn.Conv2d(dim, dim, sr_ratio, sr_ratio), nn.LayerNorm(dim)

        def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
            B, N, C = x.shape
            q = self.q(x).reshape(B, N, self.heads, C // self.heads).permute(0, 2, 1, 3)
            x = x.permute(0, 2, 1).reshape(B, C, *size)
            x = self.norm(self.sr(x).reshape(B, C, -1).permute(0, 2, 1))
            kv = self.kv(x).reshape(B, -1, 2, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
            k, v = kv.unbind(0)
            attn = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
            return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))

    class Block(nn.Module):
        def __init__(self, dim: int, attn: nn.Module) -> None:
            super().__init__()
            self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), attn, nn.LayerNorm(dim)
            self.mlp = nn.Sequential(
                OrderedDict(fc1=nn.Linear(dim, 2 * dim), act=nn.GELU(), fc2=nn.Linear(2 * dim, dim))
            )

        def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
            x = x + self.attn(self.norm1(x), size)
            return x + self.mlp(self.norm2(x))

    def __init__(self, dim: int = 12) -> None:
        super().__init__()
        self.patch_embed, self.norm = nn.Conv2d(3, dim, 4, 4), nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(
            [self.Block(dim, self.Window(dim, 2, 4)), self.Block(dim, self.Global(dim, 2, 2))]
        )
        self.peg = nn.Sequential(nn.Conv2d(dim, dim, 3, 1, 1, bias=True, groups=dim))
        self.head = nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        size = (x.shape[2], x.shape[3])
        x = self.norm(x.flatten(2).transpose(1, 2))
        for j, blk in enumerate(self.blocks):
            x = blk(x, size)
            if j == 0:
                B, N, C = x.shape
                cnn = x.transpose(1, 2).view(B, C, *size)
                x = (self.peg(cnn) + cnn).flatten(2).transpose(1, 2)
        return self.head(x.mean(dim=1))


class CosineWindows(nn.Module):
    """Attention by cosines with a clamped scale, biases that a network makes of logarithmic distances, norms after branches."""

    def __init__(self, dim: int = 12, num_heads: int = 3, ws: int = 6) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, dim, 4, 4), nn.Flatten(2))
        self.num_heads, self.window_size = num_heads, (ws, ws)
        self.logit_scale = nn.Parameter(torch.log(10 * torch.ones((num_heads, 1, 1))))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, 16, bias=True), nn.ReLU(inplace=True), nn.Linear(16, num_heads, bias=False)
        )
        r = torch.arange(-(ws - 1), ws).float()
        table = (
            torch.stack(torch.meshgrid([r, r], indexing="ij")).permute(1, 2, 0).contiguous()[None]
        )
        table = table / (ws - 1) * 8
        table = torch.sign(table) * torch.log2(torch.abs(table) + 1.0) / math.log2(8)
        self.register_buffer("relative_coords_table", table, persistent=False)
        coords = torch.stack(
            torch.meshgrid([torch.arange(ws), torch.arange(ws)], indexing="ij")
        ).flatten(1)
        rel = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0).contiguous()
        rel[:, :, 0] += ws - 1
        rel[:, :, 1] += ws - 1
        rel[:, :, 0] *= 2 * ws - 1
        self.register_buffer("relative_position_index", rel.sum(-1), persistent=False)
        self.qkv = nn.Linear(dim, dim * 3, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.proj, self.softmax = nn.Linear(dim, dim), nn.Softmax(dim=-1)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 30), nn.GELU(), nn.Linear(30, dim))
        self.head = nn.Linear(dim, 4)

    def attention(self, x: Tensor) -> Tensor:
        B_, N, C = x.shape
        qkv_bias = torch.cat(
            (self.q_bias, torch.zeros_like(self.v_bias, requires_grad=False), self.v_bias)
        )
        qkv = F.linear(input=x, weight=self.qkv.weight, bias=qkv_bias)
        qkv = qkv.reshape(B_, N, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        attn = attn * torch.clamp(self.logit_scale, max=math.log(1.0 / 0.01)).exp()
        bias = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        area = self.window_size[0] * self.window_size[1]
        bias = bias[self.relative_position_index.view(-1)].view(area, area, -1)
        bias = 16 * torch.sigmoid(bias.permute(2, 0, 1).contiguous())
        attn = self.softmax(attn + bias.unsqueeze(0))
        return self.proj((attn @ v).transpose(1, 2).reshape(B_, N, C))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).transpose(1, 2)
        x = x + self.norm1(self.attention(x))
        x = x + self.norm2(self.mlp(x))
        return self.head(x.mean(1))


class UniversalInverted(nn.Module):
    """Inverted bottlenecks with optional depthwise parts from a table of settings, and attention with one key for all heads."""

    SPECS = [
        ("uib", 0, 5, 1, 16),
        ("mqa", 0, 0, 1, 16),
        ("uib", 3, 3, 2, 24),
        ("uib", 3, 0, 1, 24),
        ("uib", 0, 0, 1, 24),
    ]

    class UIB(nn.Module):
        def __init__(
            self, inp: int, oup: int, start: int, mid: int, stride: int, ratio: float
        ) -> None:
            super().__init__()
            self.start_dw_kernel_size = start
            if start:
                self._start_dw_ = self.conv_2d(
                    inp, inp, start, stride if not mid else 1, inp, False
                )
            expand = int(math.ceil(inp * ratio / 8) * 8)
            self._expand_conv = self.conv_2d(inp, expand, 1)
            self.middle_dw_kernel_size = mid
            if mid:
                self._middle_dw = self.conv_2d(expand, expand, mid, stride, expand)
            self._proj_conv = self.conv_2d(expand, oup, 1, act=False)
            self.identity = stride == 1 and inp == oup

        @staticmethod
        def conv_2d(
            i: int, o: int, k: int, s: int = 1, g: int = 1, act: bool = True
        ) -> nn.Sequential:
            conv = nn.Sequential()
            conv.add_module("conv", nn.Conv2d(i, o, k, s, (k - 1) // 2, bias=False, groups=g))
            conv.add_module("BatchNorm2d", nn.BatchNorm2d(o))
            if act:
                conv.add_module("Activation", nn.ReLU6())
            return conv

        def forward(self, x: Tensor) -> Tensor:
            shortcut = x
            if self.start_dw_kernel_size:
                x = self._start_dw_(x)
            x = self._expand_conv(x)
            if self.middle_dw_kernel_size:
                x = self._middle_dw(x)
            x = self._proj_conv(x)
            return x + shortcut if self.identity else x

    class MobileMQA(nn.Module):
        def __init__(self, dim: int, heads: int = 2, key_dim: int = 6) -> None:
            super().__init__()
            self.num_heads, self.key_dim = heads, key_dim
            self._input_norm = nn.BatchNorm2d(dim)
            self.query_proj = nn.Conv2d(dim, heads * key_dim, 1, bias=False)
            down = nn.Conv2d(dim, dim, 3, 2, 1, groups=dim, bias=False)
            self.key_proj = nn.Sequential(
                down, nn.BatchNorm2d(dim), nn.Conv2d(dim, key_dim, 1, bias=False)
            )
            self.value_proj = nn.Sequential(
                copy.deepcopy(down), nn.BatchNorm2d(dim), nn.Conv2d(dim, key_dim, 1, bias=False)
            )
            self.output_proj = nn.Conv2d(heads * key_dim, dim, 1, bias=False)
            self.layer_scale = nn.Parameter(torch.full((dim,), 0.3))

        def forward(self, x: Tensor) -> Tensor:
            shortcut, x = x, self._input_norm(x)
            b, _, px, _ = x.size()
            q = self.query_proj(x).view(b, self.num_heads, -1, self.key_dim)
            k = self.key_proj(x).view(b, self.key_dim, -1).unsqueeze(1)
            v = self.value_proj(x).view(b, 1, -1, self.key_dim)
            attn = torch.softmax((q @ k) * self.key_dim**-0.5, dim=-1)
            o = self.output_proj((attn @ v).view(b, self.num_heads * self.key_dim, px, -1))
            return shortcut + o * self.layer_scale.unsqueeze(-1).unsqueeze(-1)

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = self.UIB.conv_2d(3, 8, 3, 2)
        c = 8
        for n, (kind, start, mid, stride, out) in enumerate(self.SPECS):
            block = (
                self.UIB(c, out, start, mid, stride, 2.0) if kind == "uib" else self.MobileMQA(c)
            )
            self.add_module(f"layer{n}", block)
            c = out
        self.num_blocks, self.classifier = len(self.SPECS), nn.Linear(c, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        for n in range(self.num_blocks):
            x = getattr(self, f"layer{n}")(x)
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "rep_mixer": lambda: (RepMixerNet(), INPUTS.images),
    "split_depthwise": lambda: (SplitDepthwise(), INPUTS.images),
    "twins_windows": lambda: (TwinsNet(), SMALL_IMAGES),
    "cosine_windows": lambda: (CosineWindows(), SMALL_IMAGES),
    "universal_inverted": lambda: (UniversalInverted(), INPUTS.images),
}

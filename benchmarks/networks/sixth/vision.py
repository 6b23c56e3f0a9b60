"""Networks of the zoo that see, sixth sample."""

# ruff: noqa: B905, E501, N803, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import checkpoint

from benchmarks.networks.sixth.inputs import INPUTS


class SraAttention(nn.Module):
    """Keys and values of fewer places, taken by a convolution with a stride."""

    def __init__(self, dim: int, num_heads: int = 2, sr_ratio: int = 1) -> None:
        super().__init__()
        assert dim % num_heads == 0
        self.num_heads, self.sr_ratio = num_heads, sr_ratio
        self.scale = (dim // num_heads) ** -0.5
        self.q, self.kv, self.proj = (
            nn.Linear(dim, dim),
            nn.Linear(dim, dim * 2),
            nn.Linear(dim, dim),
        )
        if sr_ratio > 1:
            self.sr = nn.Conv2d(dim, dim, kernel_size=sr_ratio, stride=sr_ratio)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, H: int, W: int) -> Tensor:
        B, N, C = x.shape
        q = self.q(x).reshape(B, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)
        if self.sr_ratio > 1:
            x_ = x.permute(0, 2, 1).reshape(B, C, H, W)
            x_ = self.norm(self.sr(x_).reshape(B, C, -1).permute(0, 2, 1))
        else:
            x_ = x
        kv = self.kv(x_).reshape(B, -1, 2, self.num_heads, C // self.num_heads)
        k, v = kv.permute(2, 0, 3, 1, 4)
        attn = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class Pyramid(nn.Module):
    """A pyramid of transformers, whose parts have their stage in their name."""

    def __init__(self, dims: tuple[int, ...] = (8, 12), sr: tuple[int, ...] = (2, 1)) -> None:
        super().__init__()
        self.num_stages, c = len(dims), 3
        for i, dim in enumerate(dims):
            setattr(
                self,
                f"patch_embed{i + 1}",
                nn.Conv2d(c, dim, 4 if i == 0 else 2, 4 if i == 0 else 2),
            )
            setattr(self, f"pos_embed{i + 1}", nn.Parameter(torch.zeros(1, 64 // 4**i, dim)))
            block = nn.ModuleDict({
                "norm1": nn.LayerNorm(dim), "attn": SraAttention(dim, sr_ratio=sr[i]), "norm2": nn.LayerNorm(dim),
                "mlp": nn.Sequential(nn.Linear(dim, dim * 2), nn.GELU(), nn.Linear(dim * 2, dim)),
            })  # fmt: skip
            setattr(self, f"block{i + 1}", block)
            c = dim
        self.head = nn.Linear(c, 5)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.num_stages):
            x = getattr(self, f"patch_embed{i + 1}")(x)
            B, C, H, W = x.shape
            x = x.flatten(2).transpose(1, 2) + getattr(self, f"pos_embed{i + 1}")
            block = getattr(self, f"block{i + 1}")
            x = x + block["attn"](block["norm1"](x), H, W)
            x = x + block["mlp"](block["norm2"](x))
            if i != self.num_stages - 1:
                x = x.reshape(B, H, W, -1).permute(0, 3, 1, 2).contiguous()
        return self.head(x.mean(dim=1))


class LinearNorm(nn.Sequential):
    def __init__(self, a: int, b: int, bn_weight_init: float = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Linear(a, b, bias=False))
        bn = nn.BatchNorm1d(b)
        nn.init.constant_(bn.weight, bn_weight_init)
        self.add_module("bn", bn)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c(x)
        return self.bn(x.flatten(0, 1)).reshape_as(x)


class BiasedAttention(nn.Module):
    """Attention with a learnt bias of each distance, looked up once for evaluation."""

    def __init__(
        self, dim: int, key_dim: int, num_heads: int, attn_ratio: int, resolution: int
    ) -> None:
        super().__init__()
        self.num_heads, self.scale, self.key_dim = num_heads, key_dim**-0.5, key_dim
        self.d = int(attn_ratio * key_dim)
        self.qkv = LinearNorm(dim, self.d * num_heads + key_dim * num_heads * 2)
        self.proj = nn.Sequential(
            nn.Hardswish(), LinearNorm(self.d * num_heads, dim, bn_weight_init=0.5)
        )
        points = list(itertools.product(range(resolution), range(resolution)))
        offsets: dict[tuple[int, int], int] = {}
        idxs = []
        for p1 in points:
            for p2 in points:
                offset = (abs(p1[0] - p2[0]), abs(p1[1] - p2[1]))
                idxs.append(offsets.setdefault(offset, len(offsets)))
        self.attention_biases = nn.Parameter(torch.randn(num_heads, len(offsets)))
        self.register_buffer("attention_bias_idxs", torch.LongTensor(idxs).view(len(points), -1))

    @torch.no_grad()
    def train(self, mode: bool = True) -> BiasedAttention:
        super().train(mode)
        if mode and hasattr(self, "ab"):
            del self.ab
        else:
            self.ab = self.attention_biases[:, self.attention_bias_idxs]
        return self

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q, k, v = (
            self.qkv(x)
            .view(B, N, self.num_heads, -1)
            .split([self.key_dim, self.key_dim, self.d], dim=3)
        )
        q, k, v = (t.permute(0, 2, 1, 3) for t in (q, k, v))
        bias = self.attention_biases[:, self.attention_bias_idxs] if self.training else self.ab
        attn = (q @ k.transpose(-2, -1)) * self.scale + bias
        x = (attn.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, N, self.num_heads * self.d)
        return self.proj(x)


class Residual(nn.Module):
    def __init__(self, m: nn.Module, drop: float) -> None:
        super().__init__()
        self.m, self.drop = m, drop

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.drop > 0:
            keep = torch.rand(x.size(0), 1, 1, device=x.device).ge_(self.drop).div(1 - self.drop)
            return x + self.m(x) * keep.to(x.dtype).detach()
        return x + self.m(x)


class LeVit(nn.Module):
    """Convolutions, then attention with batch normalisation of linear layers."""

    def __init__(self, dim: int = 12) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.Hardswish(), nn.Conv2d(6, dim, 3, 4, 1), nn.BatchNorm2d(dim))  # fmt: skip
        mlp = nn.Sequential(
            LinearNorm(dim, 2 * dim), nn.Hardswish(), LinearNorm(2 * dim, dim, bn_weight_init=0.5)
        )
        self.blocks = nn.Sequential(
            Residual(BiasedAttention(dim, 3, 3, 2, 4), 0.1), Residual(mlp, 0.1)
        )
        self.head = nn.Sequential(nn.BatchNorm1d(dim), nn.Linear(dim, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        return self.head(self.blocks(x).mean(1))


class ClassAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 3) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        q = (
            self.q(x[:, 0])
            .unsqueeze(1)
            .reshape(B, 1, self.num_heads, C // self.num_heads)
            .permute(0, 2, 1, 3)
        )
        k = self.k(x).reshape(B, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)
        q = q * self.scale
        v = self.v(x).reshape(B, N, self.num_heads, C // self.num_heads).permute(0, 2, 1, 3)
        attn = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, 1, C))


class TalkingHeads(nn.Module):
    def __init__(self, dim: int, num_heads: int = 3) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3, bias=True), nn.Linear(dim, dim)
        self.proj_l, self.proj_w = nn.Linear(num_heads, num_heads), nn.Linear(num_heads, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        qkv = (
            self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        )
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]
        attn = self.proj_l((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        attn = self.proj_w(attn.softmax(dim=-1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class Cait(nn.Module):
    """Talking heads with scaled branches, and a class token that comes in late."""

    def __init__(self, dim: int = 12, init: float = 1e-1) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.patch = nn.Conv2d(3, dim, 8, 8)
        self.pos_embed = nn.Parameter(torch.zeros(1, 16, dim))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm1, self.norm2, self.norm3, self.norm4, self.norm = (norm(dim) for _ in range(5))
        self.attn, self.attn_cls = TalkingHeads(dim), ClassAttention(dim)
        self.mlp, self.mlp_cls = (
            nn.Sequential(nn.Linear(dim, 20), nn.GELU(), nn.Linear(20, dim)) for _ in range(2)
        )
        self.gammas = nn.ParameterList(nn.Parameter(init * torch.ones(dim)) for _ in range(4))
        self.head = nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        B = x.shape[0]
        x = self.patch(x).flatten(2).transpose(1, 2) + self.pos_embed
        x = x + self.gammas[0] * self.attn(self.norm1(x))
        x = x + self.gammas[1] * self.mlp(self.norm2(x))
        cls_tokens = self.cls_token.expand(B, -1, -1)
        u = torch.cat((cls_tokens, x), dim=1)
        cls_tokens = cls_tokens + self.gammas[2] * self.attn_cls(self.norm3(u))
        cls_tokens = cls_tokens + self.gammas[3] * self.mlp_cls(self.norm4(cls_tokens))
        x = self.norm(torch.cat((cls_tokens, x), dim=1))
        return self.head(x[:, 0])


class FocalModulation(nn.Module):
    """Contexts of growing windows, each behind its gate, that modulate the query."""

    def __init__(self, dim: int, focal_level: int = 2) -> None:
        super().__init__()
        self.dim, self.focal_level = dim, focal_level
        self.f = nn.Linear(dim, 2 * dim + (focal_level + 1))
        self.h, self.proj = nn.Conv2d(dim, dim, 1), nn.Linear(dim, dim)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(dim, dim, 2 * k + 3, groups=dim, padding=k + 1, bias=False), nn.GELU()
            )
            for k in range(focal_level)
        )

    def forward(self, x: Tensor) -> Tensor:
        C = x.shape[-1]
        x = self.f(x).permute(0, 3, 1, 2).contiguous()
        q, ctx, self.gates = torch.split(x, (C, C, self.focal_level + 1), 1)
        ctx_all: Any = 0
        for level in range(self.focal_level):
            ctx = self.focal_layers[level](ctx)
            ctx_all = ctx_all + ctx * self.gates[:, level : level + 1]
        ctx_global = F.gelu(ctx.mean(2, keepdim=True).mean(3, keepdim=True))
        ctx_all = ctx_all + ctx_global * self.gates[:, self.focal_level :]
        x_out = q * self.h(ctx_all)
        return self.proj(x_out.permute(0, 2, 3, 1).contiguous())


class FocalNet(nn.Module):
    def __init__(self, dim: int = 10) -> None:
        super().__init__()
        self.stem, self.norm1, self.norm2 = (
            nn.Conv2d(3, dim, 4, 4),
            nn.LayerNorm(dim),
            nn.LayerNorm(dim),
        )
        self.modulation = FocalModulation(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.head = nn.Linear(dim, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        x = x + self.modulation(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(x.flatten(1, 2).mean(1))


class Gnconv(nn.Module):
    """Recursive gates over widths that double."""

    def __init__(self, dim: int, order: int = 3) -> None:
        super().__init__()
        self.order = order
        self.dims = [dim // 2**i for i in range(order)]
        self.dims.reverse()
        self.proj_in = nn.Conv2d(dim, 2 * dim, 1)
        self.dwconv = nn.Conv2d(sum(self.dims), sum(self.dims), 7, padding=3, groups=sum(self.dims))
        self.proj_out = nn.Conv2d(dim, dim, 1)
        self.pws = nn.ModuleList(
            [nn.Conv2d(self.dims[i], self.dims[i + 1], 1) for i in range(order - 1)]
        )
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        fused_x = self.proj_in(x)
        pwa, abc = torch.split(fused_x, (self.dims[0], sum(self.dims)), dim=1)
        dw_abc = self.dwconv(abc) * self.scale
        dw_list = torch.split(dw_abc, self.dims, dim=1)
        x = pwa * dw_list[0]
        for i in range(self.order - 1):
            x = self.pws[i](x) * dw_list[i + 1]
        return self.proj_out(x)


class LargeKernel(nn.Module):
    """Attention as a large kernel taken apart (depth-wise, dilated, pointwise)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.conv_spatial = nn.Conv2d(dim, dim, 7, stride=1, padding=9, groups=dim, dilation=3)
        self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        u = x.clone()
        attn = self.conv1(self.conv_spatial(self.conv0(x)))
        return u * attn


class VisualAttention(nn.Module):
    def __init__(self, dim: int = 12, mixer: Callable[[int], nn.Module] = LargeKernel) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim, 7, 4, 3), nn.BatchNorm2d(dim))
        self.proj_1, self.act, self.mixer, self.proj_2 = (
            nn.Conv2d(dim, dim, 1), nn.GELU(), mixer(dim), nn.Conv2d(dim, dim, 1))  # fmt: skip
        self.fc1, self.dw, self.fc2 = (
            nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(3 * dim, 3 * dim, 3, 1, 1, bias=True, groups=3 * dim), nn.Conv2d(3 * dim, dim, 1))  # fmt: skip
        self.layer_scale_1 = nn.Parameter(1e-2 * torch.ones(dim), requires_grad=True)
        self.norm1, self.norm2, self.head = (
            nn.BatchNorm2d(dim),
            nn.BatchNorm2d(dim),
            nn.Linear(dim, 6),
        )
        self.use_checkpoint = True

    def attend(self, x: Tensor) -> Tensor:
        shortcut = x.clone()
        x = self.proj_2(self.mixer(self.act(self.proj_1(x))))
        return x + shortcut

    def _forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale_1.unsqueeze(-1).unsqueeze(-1) * self.attend(self.norm1(x))
        return x + self.fc2(F.gelu(self.dw(self.fc1(self.norm2(x)))))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.use_checkpoint and x.requires_grad:
            x = checkpoint.checkpoint(self._forward, x, use_reentrant=False)
        else:
            x = self._forward(x)
        return self.head(x.flatten(2).mean(dim=-1))


class PartialConv(nn.Module):
    def __init__(self, dim: int, n_div: int = 4) -> None:
        super().__init__()
        self.dim_conv3, self.dim_untouched = dim // n_div, dim - dim // n_div
        self.partial_conv3 = nn.Conv2d(self.dim_conv3, self.dim_conv3, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            x = x.clone()
            x[:, : self.dim_conv3, :, :] = self.partial_conv3(x[:, : self.dim_conv3, :, :])
            return x
        x1, x2 = torch.split(x, [self.dim_conv3, self.dim_untouched], dim=1)
        return torch.cat((self.partial_conv3(x1), x2), 1)


class FasterNet(nn.Module):
    """A quarter of the channels convolved, in place for evaluation."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, dim, 4, 4, bias=False), nn.BatchNorm2d(dim)
        self.mixing = nn.ModuleList(PartialConv(dim) for _ in range(2))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, 2 * dim, 1, bias=False), nn.BatchNorm2d(2 * dim), nn.ReLU(), nn.Conv2d(2 * dim, dim, 1, bias=False))
            for _ in range(2))  # fmt: skip
        self.pre_head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, 20, 1, bias=False), nn.ReLU()
        )
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x))
        for mix, mlp in zip(self.mixing, self.mlp):
            shortcut = x
            x = shortcut + mlp(mix(x))
        return self.head(torch.flatten(self.pre_head(x), 1))


class SplitAttention(nn.Module):
    """Groups of channels weighed against each other by a softmax over radices."""

    def __init__(self, i: int, channels: int, radix: int = 2, groups: int = 2) -> None:
        super().__init__()
        self.radix, self.cardinality, self.channels = radix, groups, channels
        inter = max(i * radix // 4, 8)
        self.conv = nn.Conv2d(i, channels * radix, 3, padding=1, groups=groups * radix, bias=False)
        self.bn0, self.fc1, self.bn1 = nn.BatchNorm2d(channels * radix), nn.Conv2d(channels, inter, 1, groups=groups), nn.BatchNorm2d(inter)  # fmt: skip
        self.fc2 = nn.Conv2d(inter, channels * radix, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn0(self.conv(x)))
        batch, rchannel = x.shape[:2]
        splited = torch.split(x, rchannel // self.radix, dim=1)
        gap = F.adaptive_avg_pool2d(sum(splited), 1)
        gap = F.relu(self.bn1(self.fc1(gap)), inplace=True)
        atten = self.fc2(gap).view(batch, self.cardinality, self.radix, -1).transpose(1, 2)
        atten = F.softmax(atten, dim=1).reshape(batch, -1).view(batch, -1, 1, 1)
        attens = torch.split(atten, rchannel // self.radix, dim=1)
        return sum([att * split for (att, split) in zip(attens, splited)]).contiguous()


class ResNest(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.avd = SplitAttention(8, 8), nn.AvgPool2d(3, 2, padding=1)
        self.conv3, self.bn3 = nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.downsample = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False), nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16))  # fmt: skip
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = self.avd(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = F.relu(self.bn3(self.conv3(out)) + self.downsample(x))
        x = nn.functional.adaptive_avg_pool2d(x, 1).view(x.shape[0], -1)
        return self.fc(self.drop(x))


class HarBlock(nn.Module):
    """Layers that read those at distances of powers of two; every second one is the output."""

    def __init__(self, i: int, growth: int = 4, n_layers: int = 4) -> None:
        super().__init__()
        self.links, layers = [], []
        self.base = i
        for n in range(n_layers):
            out, width, link = self.get_link(n + 1, i, growth, 1.6)
            self.links.append(link)
            layers.append(
                nn.Sequential(
                    nn.Conv2d(width, out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU6(True),
                )
            )
        self.layers = nn.ModuleList(layers)
        self.out_channels = sum(
            layer[0].out_channels
            for n, layer in enumerate(layers)
            if n % 2 == 0 or n == n_layers - 1
        )

    def get_link(self, layer: int, base: int, growth: int, m: float) -> tuple[int, int, list[int]]:
        if layer == 0:
            return base, 0, []
        out, link = growth, []
        for i in range(10):
            dv = 2**i
            if layer % dv == 0:
                link.append(layer - dv)
                if i > 0:
                    out = int(out * m)
        out = int(int(out + 1) / 2) * 2
        return out, sum(self.get_link(k, base, growth, m)[0] for k in link), link

    def forward(self, x: Tensor) -> Tensor:
        layers_ = [x]
        for layer in range(len(self.layers)):
            link = self.links[layer]
            tin = [layers_[i] for i in link]
            x = torch.cat(tin, 1) if len(tin) > 1 else tin[0]
            layers_.append(self.layers[layer](x))
        t = len(layers_)
        out = [layers_[i] for i in range(t) if i == t - 1 or i % 2 == 1]
        return torch.cat(out, 1)


class HarDNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 6, 3, 2, 1), HarBlock(6)
        self.trans = nn.Conv2d(self.block.out_channels, 12, 1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu6(self.trans(self.block(self.stem(x)))), 2)
        return self.head(F.adaptive_avg_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1))


class Tree(nn.Module):
    """Blocks aggregated as a tree: roots read all their leaves."""

    def __init__(self, levels: int, i: int, o: int, stride: int = 1, root_dim: int = 0) -> None:
        super().__init__()
        root_dim = root_dim or 2 * o
        self.levels, self.level_root = levels, root_dim > 2 * o
        self.downsample = nn.MaxPool2d(stride, stride) if stride > 1 else None
        self.project = (
            nn.Sequential(nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o)) if i != o else None
        )
        if levels == 1:
            self.tree1, self.tree2 = self.leaf(i, o, stride), self.leaf(o, o, 1)
            self.root = nn.Sequential(
                nn.Conv2d(root_dim, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()
            )
        else:
            self.tree1 = Tree(levels - 1, i, o, stride)
            self.tree2 = Tree(levels - 1, o, o, root_dim=root_dim + o)

    @staticmethod
    def leaf(i: int, o: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))  # fmt: skip

    def forward(self, x: Tensor, children: list[Tensor] | None = None) -> Tensor:
        children = [] if children is None else children
        bottom = self.downsample(x) if self.downsample else x
        residual = self.project(bottom) if self.project else bottom
        if self.levels == 1:
            x1 = F.relu(self.tree1(x) + residual)
            x2 = F.relu(self.tree2(x1) + x1)
            return self.root(torch.cat((x2, x1, *children), 1))
        x1 = self.tree1(x)
        children.append(x1)
        return self.tree2(x1, children=children)


class DeepAggregation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base_layer = nn.Sequential(
            nn.Conv2d(3, 6, 7, 1, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        )
        self.level2, self.fc = Tree(2, 6, 8, 2), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.level2(self.base_layer(x))
        return self.fc(F.avg_pool2d(x, x.size(-1))).view(x.size(0), -1)


class OneShotAggregation(nn.Module):
    """VoVNet: all layers of a block read once, with effective squeeze and excitation."""

    def __init__(self, i: int, stage: int, concat: int, identity: bool) -> None:
        super().__init__()
        self.identity, self.layers, c = identity, nn.ModuleList(), i
        for _ in range(3):
            self.layers.append(
                nn.Sequential(
                    nn.Conv2d(c, stage, 3, padding=1, bias=False),
                    nn.BatchNorm2d(stage),
                    nn.ReLU(inplace=True),
                )
            )
            c = stage
        self.concat = nn.Sequential(
            nn.Conv2d(i + 3 * stage, concat, 1, bias=False),
            nn.BatchNorm2d(concat),
            nn.ReLU(inplace=True),
        )
        self.ese = nn.Conv2d(concat, concat, kernel_size=1, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        identity_feat = x
        output = [x]
        for layer in self.layers:
            x = layer(x)
            output.append(x)
        xt = self.concat(torch.cat(output, dim=1))
        xt = xt * (F.relu6(self.ese(F.adaptive_avg_pool2d(xt, 1)) + 3.0, inplace=True) / 6.0)
        if self.identity:
            xt += identity_feat
        return xt


class ReluAttention(nn.Module):
    """Linear attention of ReLU features over several scales of queries, keys and values."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.dim, total = dim // heads, dim
        self.qkv = nn.Conv2d(dim, 3 * total, 1, bias=False)
        self.aggreg = nn.Sequential(
            nn.Conv2d(3 * total, 3 * total, 5, padding=2, groups=3 * total, bias=False), nn.Conv2d(3 * total, 3 * total, 1, groups=3 * heads, bias=False))  # fmt: skip
        self.proj = nn.Sequential(nn.Conv2d(2 * total, dim, 1, bias=False), nn.BatchNorm2d(dim))

    def forward(self, x: Tensor) -> Tensor:
        B, _, H, W = x.size()
        qkv = self.qkv(x)
        qkv = (
            torch.cat([qkv, self.aggreg(qkv)], dim=1)
            .reshape(B, -1, 3 * self.dim, H * W)
            .transpose(-1, -2)
        )
        q, k, v = (
            qkv[..., 0 : self.dim],
            qkv[..., self.dim : 2 * self.dim],
            qkv[..., 2 * self.dim :],
        )
        q, k = F.relu(q), F.relu(k)
        v = F.pad(v, (0, 1), mode="constant", value=1)
        out = torch.matmul(q, torch.matmul(k.transpose(-1, -2), v))
        out = out[..., :-1] / (out[..., -1:] + 1e-15)
        return self.proj(torch.transpose(out, -1, -2).reshape(B, -1, H, W))


class Staged(nn.Module):
    """A stem, a body of one width, and a head over the mean."""

    def __init__(
        self, dim: int, body: nn.Module, out: int | None = None, residual: bool = True
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, dim, 3, 4, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(inplace=True)
        )
        self.body, self.residual, self.classifier = body, residual, nn.Linear(out or dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.body(x) if self.residual else self.body(x)
        return self.classifier(x.mean([-2, -1]))


class TokensToToken(nn.Module):
    """Patches that overlap, unfolded after each attention."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.soft_split0, self.soft_split1 = (
            nn.Unfold(7, stride=4, padding=2),
            nn.Unfold(3, stride=2, padding=1),
        )
        self.dim = dim
        self.norm, self.kqv, self.proj = (
            nn.LayerNorm(147),
            nn.Linear(147, 3 * dim),
            nn.Linear(dim, dim),
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 13), nn.GELU(), nn.Linear(13, dim)
        )
        self.project, self.cls = nn.Linear(dim * 9, 10), nn.Parameter(torch.zeros(1, 1, 10))
        self.encoder = nn.TransformerEncoderLayer(
            10, 2, 15, activation="gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(10, 4)

    def attn(self, x: Tensor) -> Tensor:
        k, q, v = torch.split(self.kqv(self.norm(x)), self.dim, dim=-1)
        a = torch.einsum("bid,bjd->bij", q, k) / math.sqrt(self.dim)
        return v + self.proj(a.softmax(-1) @ v)

    def forward(self, x: Tensor) -> Tensor:
        x = self.soft_split0(x).transpose(1, 2)
        x = self.attn(x)
        x = x + self.mlp(x)
        B, new_HW, C = x.shape
        x = x.transpose(1, 2).reshape(B, C, int(math.sqrt(new_HW)), int(math.sqrt(new_HW)))
        x = self.project(self.soft_split1(x).transpose(1, 2))
        x = torch.cat([self.cls.expand(B, -1, -1), x], dim=1)
        return self.head(self.encoder(x)[:, 0])


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "pyramid_reduced_keys": lambda: (Pyramid(), INPUTS.images),
    "levit_bias_cache": lambda: (LeVit(), INPUTS.images),
    "cait_talking_heads": lambda: (Cait(), INPUTS.images),
    "focal_modulation": lambda: (FocalNet(), INPUTS.images),
    "hornet_recursive": lambda: (VisualAttention(16, Gnconv), INPUTS.images),
    "van_large_kernel": lambda: (VisualAttention(), INPUTS.images),
    "fasternet_partial": lambda: (FasterNet(), INPUTS.images),
    "resnest_radix": lambda: (ResNest(), INPUTS.images),
    "hardnet_links": lambda: (HarDNet(), INPUTS.images),
    "deep_aggregation": lambda: (DeepAggregation(), INPUTS.images),
    "vovnet_one_shot": lambda: (
        Staged(10, OneShotAggregation(10, 6, 10, True), residual=False),
        INPUTS.images,
    ),
    "efficientvit_relu": lambda: (Staged(8, ReluAttention()), INPUTS.images),
    "tokens_to_token": lambda: (TokensToToken(), INPUTS.images),
}

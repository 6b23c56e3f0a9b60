"""Networks of the zoo over images, eleventh sample: branches to merge, scans of four ways, regions, prompts, planes."""

# ruff: noqa: B905, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eleventh.inputs import CAPTIONED, INPUTS, PROMPTED


class MobileOne(nn.Module):
    """Blocks of several equal branches, a scale branch and a skip, each optional, before they are merged."""

    class Block(nn.Module):
        def __init__(self, i: int, o: int, k: int, stride: int, groups: int, branches: int) -> None:
            super().__init__()
            conv = partial(nn.Conv2d, i, o, stride=stride, groups=groups, bias=False)
            self.rbr_skip = nn.BatchNorm2d(i) if o == i and stride == 1 else None
            self.rbr_conv = nn.ModuleList()
            for _ in range(branches):
                branch = nn.Sequential()
                branch.add_module("conv", conv(kernel_size=k, padding=k // 2))
                branch.add_module("bn", nn.BatchNorm2d(o))
                self.rbr_conv.append(branch)
            self.rbr_scale = None
            if k > 1:
                self.rbr_scale = nn.Sequential(conv(kernel_size=1), nn.BatchNorm2d(o))
            self.num_conv_branches, self.activation = branches, nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            identity_out = 0
            if self.rbr_skip is not None:
                identity_out = self.rbr_skip(x)
            scale_out = 0
            if self.rbr_scale is not None:
                scale_out = self.rbr_scale(x)
            out = scale_out + identity_out
            for ix in range(self.num_conv_branches):
                out += self.rbr_conv[ix](x)
            return self.activation(out)

    def __init__(self, widths: tuple[int, ...] = (8, 12, 16)) -> None:
        super().__init__()
        self.in_planes, self.stages = 3, nn.ModuleList()
        for w in widths:
            blocks: list[nn.Module] = []
            for stride in (2, 1):
                i = self.in_planes
                blocks.append(self.Block(i, i, 3, stride, i, 2))
                blocks.append(self.Block(i, w, 1, 1, 1, 3))
                self.in_planes = w
            self.stages.append(nn.Sequential(*blocks))
        self.gap, self.linear = nn.AdaptiveAvgPool2d(output_size=1), nn.Linear(self.in_planes, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.gap(reduce(lambda h, stage: stage(h), self.stages, x))
        return self.linear(x.view(x.size(0), -1))


class EfficientFormer(nn.Module):
    """Maps first, tokens from the last stage on: pooling mixes, then attention, each scaled by channel."""

    class Meta4D(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
            self.fc1, self.fc2 = nn.Conv2d(dim, dim * 2, 1), nn.Conv2d(dim * 2, dim, 1)
            self.norm1, self.norm2 = nn.BatchNorm2d(dim * 2), nn.BatchNorm2d(dim)
            self.layer_scale_1 = nn.Parameter(1e-1 * torch.ones(dim))
            self.layer_scale_2 = nn.Parameter(1e-1 * torch.ones(dim))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.layer_scale_1.unsqueeze(-1).unsqueeze(-1) * (self.pool(x) - x)
            h = self.norm2(self.fc2(F.gelu(self.norm1(self.fc1(x)))))
            return x + self.layer_scale_2.unsqueeze(-1).unsqueeze(-1) * h

    class Meta3D(nn.Module):
        def __init__(self, dim: int, heads: int = 2, key: int = 4) -> None:
            super().__init__()
            self.heads, self.key, self.value = heads, key, 2 * key
            self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.qkv = nn.Linear(dim, heads * (2 * key + self.value))
            self.proj = nn.Linear(heads * self.value, dim)
            self.biases = nn.Parameter(torch.zeros(heads, 16, 16))
            self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

        def forward(self, x: Tensor) -> Tensor:
            B, N, _ = x.shape
            qkv = self.qkv(self.norm1(x)).reshape(B, N, self.heads, -1).permute(0, 2, 1, 3)
            q, k, v = qkv.split([self.key, self.key, self.value], dim=3)
            attn = ((q @ k.transpose(-2, -1)) * self.key**-0.5 + self.biases).softmax(dim=-1)
            y = (attn @ v).transpose(1, 2).reshape(B, N, self.heads * self.value)
            x = x + self.proj(y)
            return x + self.mlp(self.norm2(x))

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2).transpose(1, 2)

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()),
        )
        down = nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.BatchNorm2d(16))
        last = [self.Flat(), self.Meta3D(16)]
        self.network = nn.ModuleList(
            [nn.Sequential(self.Meta4D(12), self.Meta4D(12)), down, nn.Sequential(*last)]
        )
        self.norm, self.head, self.dist_head = nn.LayerNorm(16), nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.patch_embed(x)
        for block in self.network:
            x = block(x)
        x = self.norm(x)
        cls_out = self.head(x.mean(-2)), self.dist_head(x.mean(-2))
        return cls_out if self.training else (cls_out[0] + cls_out[1]) / 2


class InceptionNext(nn.Module):
    """Depthwise filters of bands on an eighth of the channels each; the others pass."""

    class Mixer(nn.Module):
        def __init__(self, dim: int, square: int = 3, band: int = 7, ratio: float = 0.25) -> None:
            super().__init__()
            gc = int(dim * ratio)
            self.dwconv_hw = nn.Conv2d(gc, gc, square, padding=square // 2, groups=gc)
            self.dwconv_w = nn.Conv2d(gc, gc, (1, band), padding=(0, band // 2), groups=gc)
            self.dwconv_h = nn.Conv2d(gc, gc, (band, 1), padding=(band // 2, 0), groups=gc)
            self.split_indexes = (dim - 3 * gc, gc, gc, gc)

        def forward(self, x: Tensor) -> Tensor:
            x_id, x_hw, x_w, x_h = torch.split(x, self.split_indexes, dim=1)
            mixed = (x_id, self.dwconv_hw(x_hw), self.dwconv_w(x_w), self.dwconv_h(x_h))
            return torch.cat(mixed, dim=1)

    def __init__(self, dims: tuple[int, ...] = (8, 16)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, 4), nn.BatchNorm2d(dims[0]))
        self.stages, prev = nn.Sequential(), dims[0]
        for n, dim in enumerate(dims):
            stage = nn.Module()
            stage.downsample = nn.Identity()
            if n > 0:
                stage.downsample = nn.Sequential(nn.BatchNorm2d(prev), nn.Conv2d(prev, dim, 2, 2))
            stage.mixer, stage.norm, prev = self.Mixer(dim), nn.BatchNorm2d(dim), dim
            stage.fc1, stage.fc2 = nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(3 * dim, dim, 1)
            stage.gamma = nn.Parameter(1e-1 * torch.ones(dim))
            self.stages.append(stage)
        self.fc1, self.norm, self.fc2 = nn.Linear(16, 24), nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for s in self.stages:
            x = s.downsample(x)
            h = s.fc2(F.gelu(s.fc1(s.norm(s.mixer(x)))))
            x = h.mul(s.gamma.reshape(1, -1, 1, 1)) + x
        return self.fc2(self.norm(F.gelu(self.fc1(x.mean((2, 3))))))


class VisionScan(nn.Module):
    """Selective scans of an image along rows and columns, forward and back, with weights of four ways in one tensor."""

    def __init__(self, d: int = 8, state: int = 4, rank: int = 2) -> None:
        super().__init__()
        self.patch, self.d_inner, self.state, self.rank = nn.Conv2d(3, d, 8, 8), 2 * d, state, rank
        self.norm, self.in_proj = nn.LayerNorm(d), nn.Linear(d, 4 * d, bias=False)
        self.conv2d = nn.Conv2d(2 * d, 2 * d, 3, padding=1, groups=2 * d)
        self.x_proj_weight = nn.Parameter(torch.randn(4, rank + 2 * state, 2 * d) * 0.2)
        self.dt_projs_weight = nn.Parameter(torch.randn(4, 2 * d, rank) * 0.2)
        self.dt_projs_bias = nn.Parameter(torch.randn(4, 2 * d) * 0.2)
        A = torch.arange(1, state + 1).float().repeat(4 * 2 * d, 1)
        self.A_logs, self.Ds = nn.Parameter(A.log()), nn.Parameter(torch.ones(4 * 2 * d))
        self.out_norm, self.out_proj = nn.LayerNorm(2 * d), nn.Linear(2 * d, d, bias=False)
        self.head = nn.Linear(d, 5)

    def core(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        L, K = H * W, 4
        wh = torch.transpose(x, dim0=2, dim1=3).contiguous().view(B, -1, L)
        x_hwwh = torch.stack([x.view(B, -1, L), wh], dim=1).view(B, 2, -1, L)
        xs = torch.cat([x_hwwh, torch.flip(x_hwwh, dims=[-1])], dim=1)
        x_dbl = torch.einsum("b k d l, k c d -> b k c l", xs, self.x_proj_weight)
        dts, Bs, Cs = torch.split(x_dbl, [self.rank, self.state, self.state], dim=2)
        dts = torch.einsum("b k r l, k d r -> b k d l", dts, self.dt_projs_weight)
        dts = F.softplus(dts + self.dt_projs_bias.view(1, K, -1, 1))
        As = -torch.exp(self.A_logs.float()).view(K, -1, self.state)
        h = x.new_zeros(B, K, self.d_inner, self.state)
        ys = []
        for t in range(L):
            decay = torch.exp(dts[..., t, None] * As.to(x.dtype))
            h = decay * h + (dts[..., t] * xs[..., t]).unsqueeze(-1) * Bs[:, :, None, :, t]
            ys.append((h * Cs[:, :, None, :, t]).sum(-1))
        y = torch.stack(ys, -1) + xs * self.Ds.view(K, -1, 1)
        inv_y = torch.flip(y[:, 2:4], dims=[-1])
        wh_y = torch.transpose(y[:, 1].view(B, -1, W, H), 2, 3).contiguous().view(B, -1, L)
        invwh_y = torch.transpose(inv_y[:, 1].view(B, -1, W, H), 2, 3).contiguous().view(B, -1, L)
        return y[:, 0] + inv_y[:, 0] + wh_y + invwh_y

    def forward(self, img: Tensor) -> Tensor:
        x = self.patch(img).permute(0, 2, 3, 1)
        h, z = self.in_proj(self.norm(x)).chunk(2, dim=-1)
        h = F.silu(self.conv2d(h.permute(0, 3, 1, 2).contiguous()))
        y = self.core(h).transpose(1, 2).contiguous().view(*z.shape)
        x = x + self.out_proj(self.out_norm(y) * F.silu(z))
        return self.head(x.mean(dim=(1, 2)))


class RegionRouting(nn.Module):
    """Attention to the regions whose means are most alike, gathered by their numbers."""

    def __init__(self, d: int = 12, heads: int = 3, win: int = 4, topk: int = 2) -> None:
        super().__init__()
        self.embed, self.win, self.topk, self.heads = nn.Conv2d(3, d, 2, 2), win, topk, heads
        self.qkv, self.wo, self.scale = nn.Linear(d, 3 * d), nn.Linear(d, d), d**-0.5
        self.lepe = nn.Conv2d(d, d, 5, padding=2, groups=d)
        self.head = nn.Sequential(nn.BatchNorm2d(d), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(d, 5)

    def forward(self, img: Tensor) -> Tensor:
        x = self.embed(img)
        n, c, H, W = x.shape
        p, h, w = self.win, H // self.win, W // self.win
        windows = x.view(n, c, p, h, p, w).permute(0, 2, 4, 3, 5, 1).reshape(n, p * p, h * w, c)
        q, k, v = self.qkv(windows).chunk(3, dim=-1)
        a_r = (q.mean(2) * self.scale) @ k.mean(2).transpose(-2, -1)
        _, idx = torch.topk(a_r, k=self.topk, dim=-1)
        at = idx.view(n, p * p, self.topk, 1, 1).expand(-1, -1, -1, h * w, c)
        k_sel = torch.gather(k.unsqueeze(1).expand(-1, p * p, -1, -1, -1), 2, at)
        v_sel = torch.gather(v.unsqueeze(1).expand(-1, p * p, -1, -1, -1), 2, at)

        def split(t: Tensor) -> Tensor:
            t = t.reshape(n * p * p, -1, self.heads, c // self.heads)
            return t.transpose(1, 2)

        attn = (split(q) * self.scale) @ split(k_sel).transpose(-2, -1)
        out = (attn.softmax(-1) @ split(v_sel)).transpose(1, 2).reshape(n, p, p, h, w, c)
        out = out.permute(0, 5, 1, 3, 2, 4).reshape(n, c, H, W)
        v_map = v.view(n, p, p, h, w, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, H, W)
        out = self.wo((out + self.lepe(v_map)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.fc(self.head(x + out))


class PromptedMasks(nn.Module):
    """Points as random Fourier features, a transformer of two ways, and masks by small networks made of tokens."""

    class MLP(nn.Module):
        def __init__(self, i: int, h: int, o: int, n: int) -> None:
            super().__init__()
            self.num_layers, hs = n, [h] * (n - 1)
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip([i, *hs], [*hs, o]))

        def forward(self, x: Tensor) -> Tensor:
            for i, layer in enumerate(self.layers):
                x = F.relu(layer(x)) if i < self.num_layers - 1 else layer(x)
            return x

    def __init__(self, d: int = 16, masks: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, d, 4, 4), nn.GELU(), nn.Conv2d(d, d, 3, padding=1)
        )
        self.register_buffer("gaussian", torch.randn(2, d // 2))
        self.point_embed, self.no_mask = nn.Embedding(1, d), nn.Embedding(1, d)
        self.iou_token, self.mask_tokens = nn.Embedding(1, d), nn.Embedding(masks, d)
        mha = partial(nn.MultiheadAttention, d, 2, batch_first=True)
        self.self_attn, self.to_image, self.to_tokens = mha(), mha(), mha()
        self.n1, self.n2, self.n3, self.n4 = (nn.LayerNorm(d) for _ in range(4))
        self.mlp = self.MLP(d, 2 * d, d, 2)
        self.up = nn.Sequential(
            *(nn.ConvTranspose2d(d, d // 2, 2, 2), nn.GroupNorm(1, d // 2), nn.GELU()),
            *(nn.ConvTranspose2d(d // 2, d // 4, 2, 2), nn.GELU()),
        )
        self.hyper = nn.ModuleList(self.MLP(d, d, d // 4, 3) for _ in range(masks))
        self.iou_head, self.num_masks = self.MLP(d, d, masks, 3), masks

    def encode(self, coords: Tensor) -> Tensor:
        coords = 2 * math.pi * ((2 * coords - 1) @ self.gaussian)
        return torch.cat([torch.sin(coords), torch.cos(coords)], dim=-1)

    def forward(self, images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        src = self.encoder(images) + self.no_mask.weight.reshape(1, -1, 1, 1)
        b, c, h, w = src.shape
        ys = (torch.ones(h, w).to(src).cumsum(0) - 0.5) / h
        xs = (torch.ones(h, w).to(src).cumsum(1) - 0.5) / w
        pe = self.encode(torch.stack([xs, ys], dim=-1)).flatten(0, 1).unsqueeze(0)
        sparse = self.encode(points) + self.point_embed.weight
        output = torch.cat([self.iou_token.weight, self.mask_tokens.weight], dim=0)
        tokens = torch.cat((output.unsqueeze(0).expand(b, -1, -1), sparse), dim=1)
        keys, queries = src.flatten(2).permute(0, 2, 1), tokens
        queries = self.n1(queries + self.self_attn(queries, queries, queries)[0])
        queries = self.n2(queries + self.to_image(queries + tokens, keys + pe, keys)[0])
        queries = self.n3(queries + self.mlp(queries))
        keys = self.n4(keys + self.to_tokens(keys + pe, queries + tokens, queries)[0])
        iou_out, mask_out = queries[:, 0, :], queries[:, 1 : (1 + self.num_masks), :]
        up = self.up(keys.transpose(1, 2).view(b, c, h, w))
        hyper_in = torch.stack([m(mask_out[:, i, :]) for i, m in enumerate(self.hyper)], dim=1)
        b, c, h, w = up.shape
        return (hyper_in @ up.view(b, c, h * w)).view(b, -1, h, w), self.iou_head(iou_out)


class ImageText(nn.Module):
    """A picture and its words in one space: normalised, their products scaled by a learnt temperature."""

    def __init__(self, d: int = 16, joint: int = 12) -> None:
        super().__init__()
        self.visual = nn.Sequential(
            *(nn.Conv2d(3, d, 4, 4, bias=False), nn.BatchNorm2d(d), nn.ReLU(inplace=True)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(d, joint, bias=False)),
        )
        self.token_embedding = nn.Embedding(30, d)
        self.positional_embedding = nn.Parameter(torch.randn(8, d) * 0.01)
        self.layer = nn.TransformerEncoderLayer(d, 2, 24, 0.0, "gelu", batch_first=True)
        self.ln_final = nn.LayerNorm(d)
        self.text_projection = nn.Parameter(torch.randn(d, joint) * d**-0.5)
        self.logit_scale = nn.Parameter(torch.ones([]) * math.log(1 / 0.07))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        image_features = self.visual(image)
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.layer(x))
        x = x[torch.arange(x.shape[0]), text.argmax(dim=-1)] @ self.text_projection
        image_features = image_features / image_features.norm(dim=1, keepdim=True)
        x = x / x.norm(dim=1, keepdim=True)
        return (self.logit_scale.exp() * image_features * x).sum(dim=1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "mobile_one": lambda: (MobileOne(), INPUTS.images),
    "efficient_former": lambda: (EfficientFormer(), INPUTS.images),
    "inception_next": lambda: (InceptionNext(), INPUTS.images),
    "vision_scan": lambda: (VisionScan(), INPUTS.images),
    "region_routing": lambda: (RegionRouting(), INPUTS.images),
    "prompted_masks": lambda: (PromptedMasks(), PROMPTED),
    "image_text": lambda: (ImageText(), CAPTIONED),
}

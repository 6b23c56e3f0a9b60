"""Networks of the zoo over images and videos, eighth sample: backbones, heads, masks, flows as repositories write them."""

# ruff: noqa: B905, N803, N806 - names and lines as people write them
from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eighth.inputs import INPUTS, PAIR


class AlexNet(nn.Module):
    """Features, pooled to a written size, and a classifier with dropouts."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(8, 12, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, 10, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((3, 3))
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(10 * 3 * 3, 20),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(20, 16),
            nn.ReLU(inplace=True),
            nn.Linear(16, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        x = x.view(x.size(0), 10 * 3 * 3)
        return self.classifier(x)


class WideBlock(nn.Module):
    """Pre-activated block of a wide residual network: what is normalised feeds the shortcut where sizes differ."""

    def __init__(self, in_planes: int, out_planes: int, stride: int, dropRate: float = 0.0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_planes, out_planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_planes)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_planes, out_planes, 3, stride=1, padding=1, bias=False)
        self.droprate = dropRate
        self.equalInOut = in_planes == out_planes
        self.convShortcut = (
            (not self.equalInOut) and nn.Conv2d(in_planes, out_planes, 1, stride=stride, bias=False)
        ) or None

    def forward(self, x: Tensor) -> Tensor:
        if not self.equalInOut:
            x = self.relu1(self.bn1(x))
        else:
            out = self.relu1(self.bn1(x))
        out = self.relu2(self.bn2(self.conv1(out if self.equalInOut else x)))
        if self.droprate > 0:
            out = F.dropout(out, p=self.droprate, training=self.training)
        out = self.conv2(out)
        return torch.add(x if self.equalInOut else self.convShortcut(x), out)


class WideResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        nChannels = [4, 8, 12]
        self.conv1 = nn.Conv2d(3, nChannels[0], 3, 1, 1, bias=False)
        layers = []
        for i in range(2):
            layers.append(WideBlock(nChannels[i], nChannels[i + 1], 2, 0.3))
            layers.append(WideBlock(nChannels[i + 1], nChannels[i + 1], 1, 0.3))
        self.blocks = nn.Sequential(*layers)
        self.bn1 = nn.BatchNorm2d(nChannels[2])
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(nChannels[2], 5)
        self.nChannels = nChannels[2]

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.blocks(self.conv1(x))))
        out = F.avg_pool2d(out, 8)
        out = out.view(-1, self.nChannels)
        return self.fc(out)


class PyramidBlock(nn.Module):
    """Block that grows: the shortcut is filled up by a tensor of zeros made to its sizes."""

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inplanes)
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.AvgPool2d((2, 2), (2, 2), ceil_mode=True) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(x)
        out = self.relu(self.bn2(self.conv1(out)))
        out = self.bn3(self.conv2(out))
        shortcut = self.downsample(x) if self.downsample is not None else x
        featuremap_size = shortcut.size()[2:4]
        batch_size = out.size()[0]
        residual_channel = out.size()[1]
        shortcut_channel = shortcut.size()[1]
        if residual_channel != shortcut_channel:
            padding = torch.zeros(
                batch_size,
                residual_channel - shortcut_channel,
                featuremap_size[0],
                featuremap_size[1],
            ).to(out)
            out += torch.cat((shortcut, padding), 1)
        else:
            out += shortcut
        return out


class PyramidNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.layer1 = PyramidBlock(4, 6, 2)
        self.layer2 = PyramidBlock(6, 9, 2)
        self.layer3 = PyramidBlock(9, 9, 1)
        self.bn_final, self.relu_final = nn.BatchNorm2d(9), nn.ReLU(inplace=True)
        self.avgpool, self.fc = nn.AvgPool2d(8), nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)))))
        x = self.avgpool(self.relu_final(self.bn_final(x)))
        return self.fc(x.view(x.size(0), -1))


class FractalBlock(nn.Module):
    """Columns of a fractal, joined by the mean; in training some paths are dropped at random."""

    def __init__(self, c: int, depth: int = 2, p: float = 0.15) -> None:
        super().__init__()
        self.p = p
        self.short = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c), nn.ReLU())
        self.deep = (
            nn.ModuleList([FractalBlock(c, depth - 1, p), FractalBlock(c, depth - 1, p)])
            if depth > 1
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        short = self.short(x)
        if self.deep is None:
            return short
        deep = x
        for part in self.deep:
            deep = part(deep)
        paths = torch.stack([short, deep])
        if self.training:
            keep = (torch.rand(2, device=x.device) > self.p).to(x.dtype)
            keep = torch.where(keep.sum() > 0, keep, torch.ones_like(keep))
            return (paths * keep.view(2, 1, 1, 1, 1)).sum(0) / keep.sum()
        return paths.mean(0)


class FractalNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = (
            nn.Conv2d(3, 8, 3, 2, 1),
            FractalBlock(8, 3),
            nn.Linear(8, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)).mean([2, 3]))


class SeparableConv2d(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, i, 3, 1, 1, groups=i, bias=False)
        self.pointwise = nn.Conv2d(i, o, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.conv1(x))


class XceptionBlock(nn.Module):
    """Separable convolutions whose list is made in the constructor and unpacked."""

    def __init__(self, i: int, o: int, reps: int, strides: int, start_with_relu: bool) -> None:
        super().__init__()
        self.skip = None
        if o != i or strides != 1:
            self.skip = nn.Conv2d(i, o, 1, stride=strides, bias=False)
            self.skipbn = nn.BatchNorm2d(o)
        rep = []
        for n in range(reps):
            rep += [
                nn.ReLU(inplace=True),
                SeparableConv2d(i if n == 0 else o, o),
                nn.BatchNorm2d(o),
            ]
        rep = rep if start_with_relu else rep[1:]
        if strides != 1:
            rep.append(nn.MaxPool2d(3, strides, 1))
        self.rep = nn.Sequential(*rep)

    def forward(self, inp: Tensor) -> Tensor:
        x = self.rep(inp.clone())
        skip = self.skipbn(self.skip(inp)) if self.skip is not None else inp
        x += skip
        return x


class Xception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, 2, 0, bias=False), nn.BatchNorm2d(6)
        self.block1 = XceptionBlock(6, 10, 2, 2, start_with_relu=False)
        self.block2 = XceptionBlock(10, 10, 2, 1, start_with_relu=True)
        self.conv3, self.bn3 = SeparableConv2d(10, 14), nn.BatchNorm2d(14)
        self.last_linear = nn.Linear(14, 5)

    def features(self, input: Tensor) -> Tensor:
        x = self.block2(self.block1(F.relu(self.bn1(self.conv1(input)))))
        return self.bn3(self.conv3(x))

    def logits(self, features: Tensor) -> Tensor:
        x = nn.ReLU(inplace=True)(features)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.last_linear(x.view(x.size(0), -1))

    def forward(self, input: Tensor) -> Tensor:
        return self.logits(self.features(input))


class InceptionResNet(nn.Module):
    """Branches joined by channels, scaled and added; the scale is a number."""

    def __init__(self, scale: float = 0.17) -> None:
        super().__init__()
        self.scale = scale

        def conv(i: int, o: int, k: Any, p: Any = 0) -> nn.Module:
            return nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(i, o, k, padding=p, bias=False),
                    bn=nn.BatchNorm2d(o, eps=0.001),
                    relu=nn.ReLU(),
                )
            )

        self.stem = conv(3, 12, 3)
        self.branch0 = conv(12, 4, 1)
        self.branch1 = nn.Sequential(
            conv(12, 4, 1), conv(4, 6, (1, 7), (0, 3)), conv(6, 6, (7, 1), (3, 0))
        )
        self.conv2d = nn.Conv2d(10, 12, 1)
        self.mixed_pool = nn.MaxPool2d(3, stride=2)
        self.logits = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            out = self.conv2d(torch.cat((self.branch0(x), self.branch1(x)), 1))
            x = F.relu(out * self.scale + x)
        x = self.mixed_pool(x)
        return self.logits(x.mean(3).mean(2))


class Mul(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Residual(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return x + self.module(x)


class Flatten(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1))


def conv_bn(i: int, o: int, kernel_size: int = 3, stride: int = 1, padding: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(i, o, kernel_size, stride, padding, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
    )


def resnet9() -> nn.Module:
    """Returns the network of fast trainings of CIFAR, one sequence, last scaled by a number."""
    return nn.Sequential(
        conv_bn(3, 6),
        conv_bn(6, 8, 5, 2, 2),
        Residual(nn.Sequential(conv_bn(8, 8), conv_bn(8, 8))),
        conv_bn(8, 10),
        nn.MaxPool2d(2),
        Residual(nn.Sequential(conv_bn(10, 10), conv_bn(10, 10))),
        conv_bn(10, 8, padding=0),
        nn.AdaptiveMaxPool2d((1, 1)),
        Flatten(),
        nn.Linear(8, 5, bias=False),
        Mul(0.2),
    )


class CompactTransformer(nn.Module):
    """Tokens by convolutions, learned positions, and a pool whose weights are a softmax over positions."""

    def __init__(self, d: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.tokenizer = nn.Sequential(
            nn.Conv2d(3, d, 3, 2, 1, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.positional_emb = nn.Parameter(torch.zeros(1, 64, d))
        nn.init.trunc_normal_(self.positional_emb, std=0.2)
        self.attention_pool = nn.Linear(d, 1)
        self.blocks = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    d, heads, 2 * d, 0.1, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(2)
            ]
        )
        self.norm, self.fc = nn.LayerNorm(d), nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokenizer(x).flatten(2, 3).transpose(-2, -1)
        x = x + self.positional_emb
        for blk in self.blocks:
            x = blk(x)
        x = self.norm(x)
        x = torch.matmul(F.softmax(self.attention_pool(x), dim=1).transpose(-1, -2), x).squeeze(-2)
        return self.fc(x)


class RelativeAttention(nn.Module):
    """Attention over a map with a table of relative biases that an index gathers."""

    def __init__(
        self, inp: int, oup: int, size: int = 4, heads: int = 2, dim_head: int = 6
    ) -> None:
        super().__init__()
        inner = dim_head * heads
        self.ih = self.iw = size
        self.heads, self.scale = heads, dim_head**-0.5
        self.relative_bias_table = nn.Parameter(torch.randn((2 * size - 1) * (2 * size - 1), heads))
        coords = torch.flatten(
            torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")), 1
        )
        relative = coords[:, :, None] - coords[:, None, :]
        relative[0] += size - 1
        relative[1] += size - 1
        relative[0] *= 2 * size - 1
        self.register_buffer(
            "relative_index", relative.permute(1, 2, 0).sum(-1).flatten().unsqueeze(1)
        )
        self.attend = nn.Softmax(dim=-1)
        self.to_qkv = nn.Linear(inp, inner * 3, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, oup), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = (t.reshape(b, n, self.heads, -1).permute(0, 2, 1, 3) for t in qkv)
        dots = torch.matmul(q, k.transpose(-1, -2)) * self.scale
        bias = self.relative_bias_table.gather(0, self.relative_index.repeat(1, self.heads))
        bias = (
            bias.view(self.ih * self.iw, self.ih * self.iw, self.heads)
            .permute(2, 0, 1)
            .unsqueeze(0)
        )
        out = torch.matmul(self.attend(dots + bias), v)
        return self.to_out(out.permute(0, 2, 1, 3).reshape(b, n, -1))


class CoAtNet(nn.Module):
    """Inverted residuals first, then relative attention with a pooled shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.s0 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.GELU())
        self.mb = nn.Sequential(
            nn.Conv2d(8, 16, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False),
            nn.BatchNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, 8, 1, bias=False),
            nn.BatchNorm2d(8),
        )
        self.pool1, self.pool2 = nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, 1)
        self.proj = nn.Conv2d(8, 12, 1, 1, 0, bias=False)
        self.norm = nn.LayerNorm(8)
        self.attn, self.ff_norm = RelativeAttention(8, 12), nn.LayerNorm(12)
        self.ff = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Dropout(0.1), nn.Linear(24, 12))
        self.fc = nn.Linear(12, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s0(x)
        x = x + self.mb(x)
        x = self.pool2(x)
        pooled = self.pool1(x)
        _, _, h, w = pooled.shape
        seq = pooled.flatten(2).transpose(1, 2)
        y = self.attn(self.norm(seq)).transpose(1, 2).reshape(-1, 12, h, w)
        x = self.proj(self.pool1(x)) + y
        seq = x.flatten(2).transpose(1, 2)
        seq = seq + self.ff(self.ff_norm(seq))
        return self.fc(seq.mean(1))


class TransformerInTransformer(nn.Module):
    """Pixels attend within patches; what they find is added to the patches, which attend to one another."""

    def __init__(self, inner: int = 6, outer: int = 16) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, inner, 7, 4, 3)
        self.unfold = nn.Unfold(2, stride=2)
        self.pixel_pos = nn.Parameter(torch.zeros(1, inner, 2, 2))
        self.norm1_proj, self.proj_in = nn.LayerNorm(4 * inner), nn.Linear(4 * inner, outer)
        self.cls_token = nn.Parameter(torch.randn(1, 1, outer) * 0.1)
        self.patch_pos = nn.Parameter(torch.randn(1, 17, outer) * 0.1)
        self.inner_attn = nn.MultiheadAttention(inner, 2, batch_first=True)
        self.inner_norm, self.outer_norm = nn.LayerNorm(inner), nn.LayerNorm(outer)
        self.norm_back, self.back = nn.LayerNorm(4 * inner), nn.Linear(4 * inner, outer, bias=False)
        self.outer_attn = nn.MultiheadAttention(outer, 4, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(outer), nn.Linear(outer, 24), nn.GELU(), nn.Linear(24, outer)
        )
        self.head, self.inner_dim = nn.Linear(outer, 5), inner

    def forward(self, x: Tensor) -> Tensor:
        B = x.shape[0]
        x = self.unfold(self.proj(x)).transpose(1, 2)
        num_patches = x.shape[1]
        x = x.reshape(B * num_patches, self.inner_dim, 2, 2) + self.pixel_pos
        pixels = x.reshape(B * num_patches, self.inner_dim, -1).transpose(1, 2)
        patches = self.proj_in(self.norm1_proj(pixels.reshape(B, num_patches, -1)))
        patches = torch.cat((self.cls_token.expand(B, -1, -1), patches), dim=1) + self.patch_pos
        y = self.inner_norm(pixels)
        pixels = pixels + self.inner_attn(y, y, y)[0]
        added = self.back(self.norm_back(pixels.reshape(B, num_patches, -1)))
        patches = torch.cat([patches[:, 0:1], patches[:, 1:] + added], dim=1)
        y = self.outer_norm(patches)
        patches = patches + self.outer_attn(y, y, y, need_weights=False)[0]
        return self.head((patches + self.mlp(patches))[:, 0])


class BiSeNet(nn.Module):
    """A spatial and a context path, attention that refines, a fusion, and outputs of two depths."""

    def __init__(self, n: int = 3) -> None:
        super().__init__()

        def cbr(i: int, o: int, k: int = 3, s: int = 1) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()
            )

        self.spatial = nn.Sequential(cbr(3, 6, 7, 2), cbr(6, 8, 3, 2))
        self.c8, self.c16, self.c32 = cbr(3, 6, 3, 4), cbr(6, 8, 3, 2), cbr(8, 12, 3, 2)
        self.arm16 = nn.ModuleDict(
            {"conv": cbr(8, 8), "atten": nn.Conv2d(8, 8, 1, bias=False), "bn": nn.BatchNorm2d(8)}
        )
        self.arm32 = nn.ModuleDict(
            {"conv": cbr(12, 8), "atten": nn.Conv2d(8, 8, 1, bias=False), "bn": nn.BatchNorm2d(8)}
        )
        self.conv_avg = cbr(12, 8, 1)
        self.head16, self.head32 = cbr(8, 8), cbr(8, 8)
        self.convblk, self.atten1, self.atten2 = (
            cbr(16, 12, 1),
            nn.Conv2d(12, 3, 1),
            nn.Conv2d(3, 12, 1),
        )
        self.conv_out, self.conv_out16 = nn.Conv2d(12, n, 1), nn.Conv2d(8, n, 1)

    def arm(self, parts: nn.ModuleDict, x: Tensor) -> Tensor:
        feat = parts["conv"](x)
        atten = F.avg_pool2d(feat, feat.size()[2:])
        atten = parts["bn"](parts["atten"](atten)).sigmoid()
        return torch.mul(feat, atten)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        H, W = x.size()[2:]
        sp = self.spatial(x)
        feat8 = self.c8(x)
        feat16 = self.c16(feat8)
        feat32 = self.c32(feat16)
        H16, W16 = feat16.size()[2:]
        avg = self.conv_avg(F.avg_pool2d(feat32, feat32.size()[2:]))
        avg_up = F.interpolate(avg, feat32.size()[2:], mode="nearest")
        up32 = F.interpolate(self.arm(self.arm32, feat32) + avg_up, (H16, W16), mode="nearest")
        up32 = self.head32(up32)
        up16 = F.interpolate(self.arm(self.arm16, feat16) + up32, feat8.size()[2:], mode="nearest")
        up16 = self.head16(up16)
        feat = self.convblk(torch.cat([sp, up16], dim=1))
        atten = self.atten2(F.relu(self.atten1(F.avg_pool2d(feat, feat.size()[2:])))).sigmoid()
        feat = torch.mul(feat, atten) + feat
        out = F.interpolate(self.conv_out(feat), (H, W), mode="bilinear", align_corners=True)
        out16 = F.interpolate(self.conv_out16(up16), (H, W), mode="bilinear", align_corners=True)
        return out, out16


class CroppedUNet(nn.Module):
    """The U-Net of 2015 without padding: what comes down is cut in the middle to what goes up."""

    def __init__(self, depth: int = 3, wf: int = 2) -> None:
        super().__init__()
        prev = 1
        self.down_path, self.up_path = nn.ModuleList(), nn.ModuleList()
        for i in range(depth):
            self.down_path.append(self.block(prev, 2 ** (wf + i)))
            prev = 2 ** (wf + i)
        for i in reversed(range(depth - 1)):
            self.up_path.append(
                nn.ModuleList(
                    [
                        nn.ConvTranspose2d(prev, 2 ** (wf + i), 2, stride=2),
                        self.block(prev, 2 ** (wf + i)),
                    ]
                )
            )
            prev = 2 ** (wf + i)
        self.last = nn.Conv2d(prev, 2, kernel_size=1)

    @staticmethod
    def block(i: int, o: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(i, o, 3),
            nn.ReLU(),
            nn.BatchNorm2d(o),
            nn.Conv2d(o, o, 3),
            nn.ReLU(),
            nn.BatchNorm2d(o),
        )

    def center_crop(self, layer: Tensor, target_size: Any) -> Tensor:
        _, _, layer_height, layer_width = layer.size()
        diff_y = (layer_height - target_size[0]) // 2
        diff_x = (layer_width - target_size[1]) // 2
        return layer[:, :, diff_y : (diff_y + target_size[0]), diff_x : (diff_x + target_size[1])]

    def forward(self, x: Tensor) -> Tensor:
        blocks = []
        for i, down in enumerate(self.down_path):
            x = down(x)
            if i != len(self.down_path) - 1:
                blocks.append(x)
                x = F.max_pool2d(x, 2)
        for i, (up, conv) in enumerate(self.up_path):
            x = up(x)
            x = conv(torch.cat([x, self.center_crop(blocks[-i - 1], x.shape[2:])], 1))
        return self.last(x)


class SqueezedUNet(nn.Module):
    """A U-Net with squeezes of channels and of places, whose encoder is a list cut out of a backbone by children()."""

    def __init__(self) -> None:
        super().__init__()
        backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, 1, 1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, 1, 1),
        )
        parts = list(backbone.children())
        self.enc1, self.enc2, self.enc3 = (
            nn.Sequential(*parts[:3]),
            nn.Sequential(*parts[3:7]),
            nn.Sequential(*parts[7:]),
        )
        self.dec2, self.dec1 = nn.Conv2d(16 + 12, 12, 3, 1, 1), nn.Conv2d(12 + 8, 8, 3, 1, 1)
        self.cSE = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(c, c // 2, 1),
                nn.ReLU(),
                nn.Conv2d(c // 2, c, 1),
                nn.Sigmoid(),
            )
            for c in (12, 8)
        )
        self.sSE = nn.ModuleList(nn.Sequential(nn.Conv2d(c, 1, 1), nn.Sigmoid()) for c in (12, 8))
        self.final = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(12 + 8, 1, 1))

    def scse(self, i: int, x: Tensor) -> Tensor:
        return x * self.cSE[i](x) + x * self.sSE[i](x)

    def forward(self, x: Tensor) -> Tensor:
        e1 = self.enc1(x)
        e2 = self.enc2(e1)
        e3 = self.enc3(e2)
        d2 = self.scse(
            0,
            F.relu(
                self.dec2(
                    torch.cat(
                        [
                            F.interpolate(e3, scale_factor=2, mode="bilinear", align_corners=True),
                            e2,
                        ],
                        1,
                    )
                )
            ),
        )
        d1 = self.scse(
            1,
            F.relu(
                self.dec1(
                    torch.cat(
                        [
                            F.interpolate(d2, scale_factor=2, mode="bilinear", align_corners=True),
                            e1,
                        ],
                        1,
                    )
                )
            ),
        )
        hyper = torch.cat(
            (d1, F.interpolate(d2, scale_factor=2, mode="bilinear", align_corners=True)), 1
        )
        return self.final(hyper)


class HookedUNet(nn.Module):
    """A U-Net whose skips are what forward hooks have kept of the encoder."""

    class SaveFeatures:
        features = None

        def __init__(self, m: nn.Module) -> None:
            self.hook = m.register_forward_hook(self.hook_fn)

        def hook_fn(self, module: nn.Module, input: Any, output: Tensor) -> None:
            self.features = output

    def __init__(self) -> None:
        super().__init__()
        self.rn = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, 1, 1),
            nn.ReLU(),
        )
        self.sfs = [self.SaveFeatures(self.rn[i]) for i in (1, 4)]
        self.up1, self.up2 = nn.ConvTranspose2d(16, 10, 2, 2), nn.ConvTranspose2d(10 + 6, 8, 2, 2)
        self.x1, self.x2 = nn.Conv2d(12, 6, 1), nn.Conv2d(8, 6, 1)
        self.last = nn.Conv2d(14, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.rn(x))
        x = F.relu(torch.cat([self.up1(x), self.x1(self.sfs[1].features)], 1))
        x = F.relu(torch.cat([self.up2(x), self.x2(self.sfs[0].features)], 1))
        return self.last(x)


class YoloLayer(nn.Module):
    """Boxes of the third YOLO: logits viewed by anchors, decoded in place over a grid."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.tensor([[1.0, 2.0], [3.0, 2.0], [4.0, 5.0]]))
        self.no = num_classes + 5
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.1),
            nn.Conv2d(8, 12, 3, 2, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.LeakyReLU(0.1),
        )
        self.conv = nn.Conv2d(12, 3 * self.no, 1)

    def forward(self, x: Tensor) -> Tensor:
        img_size = x.size(2)
        x = self.conv(self.backbone(x))
        stride = img_size // x.size(2)
        bs, _, ny, nx = x.shape
        x = x.view(bs, 3, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
        yv, xv = torch.meshgrid([torch.arange(ny), torch.arange(nx)], indexing="ij")
        grid = torch.stack((xv, yv), 2).view(1, 1, ny, nx, 2).to(x.dtype)
        x[..., 0:2] = (x[..., 0:2].sigmoid() + grid) * stride
        x[..., 2:4] = torch.exp(x[..., 2:4]) * self.anchors.view(1, 3, 1, 1, 2)
        x[..., 4:] = x[..., 4:].sigmoid()
        return x.view(bs, -1, self.no)


class RegionHeads(nn.Module):
    """Proposals by anchors and a head over boxes given beforehand, which are cut out of the map and pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 10, 3, 2, 1), nn.ReLU()
        )
        self.rpn = nn.ModuleDict(
            {
                "conv": nn.Conv2d(10, 10, 3, padding=1),
                "cls_logits": nn.Conv2d(10, 3, 1),
                "bbox_pred": nn.Conv2d(10, 12, 1),
            }
        )
        for layer in self.rpn.values():
            nn.init.normal_(layer.weight, std=0.3)
            nn.init.constant_(layer.bias, 0)
        self.register_buffer("rois", torch.tensor([[0, 0, 4, 4], [1, 2, 6, 7], [3, 3, 8, 8]]))
        self.fc6, self.fc7 = nn.Linear(10 * 2 * 2, 16), nn.Linear(16, 12)
        self.cls_score, self.bbox_pred = nn.Linear(12, 4), nn.Linear(12, 16)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)
        t = F.relu(self.rpn["conv"](features))
        pooled = []
        for x1, y1, x2, y2 in self.rois.tolist():
            pooled.append(F.adaptive_max_pool2d(features[:, :, y1:y2, x1:x2], (2, 2)))
        pooled = torch.stack(pooled, dim=1)
        pooled = pooled.flatten(0, 1).flatten(start_dim=1)
        y = F.relu(self.fc7(F.relu(self.fc6(pooled))))
        objectness = self.rpn["cls_logits"](t)
        N, A, H, W = objectness.shape
        deltas = (
            self.rpn["bbox_pred"](t).view(N, A, -1, H, W).permute(0, 3, 4, 1, 2).reshape(N, -1, 4)
        )
        return {
            "objectness": objectness.permute(0, 2, 3, 1).flatten(1),
            "deltas": deltas,
            "scores": self.cls_score(y),
            "boxes": self.bbox_pred(y),
        }


class PoseStages(nn.Module):
    """Stages of poses: each reads the features beside the maps of the stage before; all maps are given."""

    def __init__(self, stages: int = 3) -> None:
        super().__init__()
        self.model0 = nn.Sequential(
            OrderedDict(
                [
                    ("conv1_1", nn.Conv2d(3, 8, 3, 1, 1)),
                    ("relu1", nn.ReLU(inplace=True)),
                    ("pool1", nn.MaxPool2d(2)),
                    ("conv4_4", nn.Conv2d(8, 10, 3, 1, 1)),
                    ("relu4", nn.ReLU(inplace=True)),
                ]
            )
        )
        for i in range(1, stages + 1):
            for branch, out in (("L1", 4), ("L2", 3)):
                setattr(
                    self,
                    f"model{i}_{branch}",
                    nn.Sequential(
                        nn.Conv2d(10 if i == 1 else 17, 8, 3, 1, 1),
                        nn.ReLU(inplace=True),
                        nn.Conv2d(8, out, 1),
                    ),
                )
        self.stages = stages

    def forward(self, x: Tensor) -> list[Tensor]:
        saved = []
        out1 = x = self.model0(x)
        for i in range(1, self.stages + 1):
            paf, heat = getattr(self, f"model{i}_L1")(x), getattr(self, f"model{i}_L2")(x)
            saved += [paf, heat]
            x = torch.cat([paf, heat, out1], 1)
        return saved


class CrowdCounter(nn.Module):
    """Front and back made from lists of numbers; the map is summed to a count."""

    def __init__(self) -> None:
        super().__init__()
        self.frontend = self.make_layers([8, 8, "M", 12, "M"])
        self.backend = self.make_layers([12, 8], in_channels=12, dilation=True)
        self.output_layer = nn.Conv2d(8, 1, kernel_size=1)

    @staticmethod
    def make_layers(
        cfg: list, in_channels: int = 3, batch_norm: bool = False, dilation: bool = False
    ) -> nn.Module:
        d_rate = 2 if dilation else 1
        layers = []
        for v in cfg:
            if v == "M":
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                conv2d = nn.Conv2d(in_channels, v, kernel_size=3, padding=d_rate, dilation=d_rate)
                layers += (
                    [conv2d, nn.BatchNorm2d(v), nn.ReLU(inplace=True)]
                    if batch_norm
                    else [conv2d, nn.ReLU(inplace=True)]
                )
                in_channels = v
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.output_layer(self.backend(self.frontend(x)))
        return x, x.view(x.size(0), -1).sum(1)


class FlowNet(nn.Module):
    """Flow at several scales: what goes up is cropped like what is there, flows are upsampled by layers."""

    def __init__(self) -> None:
        super().__init__()

        def conv(i: int, o: int, k: int = 3, s: int = 1) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(i, o, k, s, (k - 1) // 2), nn.LeakyReLU(0.1, inplace=True)
            )

        self.conv1, self.conv2, self.conv3 = conv(6, 6, 7, 2), conv(6, 8, 5, 2), conv(8, 12, 3, 2)
        self.deconv2, self.deconv1 = (
            nn.ConvTranspose2d(12, 8, 4, 2, 1),
            nn.ConvTranspose2d(18, 6, 4, 2, 1),
        )
        self.predict_flow3, self.predict_flow2, self.predict_flow1 = (
            nn.Conv2d(i, 2, 3, 1, 1, bias=False) for i in (12, 18, 14)
        )
        self.up3, self.up2 = (
            nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=False),
            nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=False),
        )

    @staticmethod
    def crop_like(input: Tensor, target: Tensor) -> Tensor:
        if input.size()[2:] == target.size()[2:]:
            return input
        return input[:, :, : target.size(2), : target.size(3)]

    def forward(self, one: Tensor, two: Tensor) -> Any:
        c1 = self.conv1(torch.cat([one, two], 1))
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        flow3 = self.predict_flow3(c3)
        up = self.crop_like(self.up3(flow3), c2)
        concat2 = torch.cat((c2, F.leaky_relu(self.crop_like(self.deconv2(c3), c2), 0.1), up), 1)
        flow2 = self.predict_flow2(concat2)
        concat1 = torch.cat(
            (c1, F.leaky_relu(self.deconv1(concat2), 0.1), self.crop_like(self.up2(flow2), c1)), 1
        )
        flow1 = self.predict_flow1(concat1)
        if self.training:
            return flow1, flow2, flow3
        return flow1


class ChannelAttentionSR(nn.Module):
    """Groups of blocks with attention of channels, shuffled to a larger image; a denoiser subtracts before it."""

    class RCAB(nn.Module):
        def __init__(self, n: int, reduction: int = 4) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(n, n, 3, padding=1), nn.ReLU(True), nn.Conv2d(n, n, 3, padding=1)
            )
            self.ca = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(n, n // reduction, 1),
                nn.ReLU(True),
                nn.Conv2d(n // reduction, n, 1),
                nn.Sigmoid(),
            )

        def forward(self, x: Tensor) -> Tensor:
            res = self.body(x)
            res = res * self.ca(res)
            res += x
            return res

    def __init__(self, n: int = 8) -> None:
        super().__init__()
        self.dncnn = nn.Sequential(
            nn.Conv2d(1, 6, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, 1, 1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 1, 3, 1, 1),
        )
        self.head = nn.Sequential(nn.Conv2d(1, n, 3, padding=1))
        modules_body = [
            nn.Sequential(*[self.RCAB(n) for _ in range(2)], nn.Conv2d(n, n, 3, padding=1))
            for _ in range(2)
        ]
        self.groups, self.body = nn.ModuleList(modules_body), nn.Conv2d(n, n, 3, padding=1)
        m = []
        for _ in range(int(math.log(4, 2))):
            m += [nn.Conv2d(n, 4 * n, 3, padding=1), nn.PixelShuffle(2)]
        self.tail = nn.Sequential(*m, nn.Conv2d(n, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = x - self.dncnn(x)
        x = self.head(x)
        res = x
        for group in self.groups:
            res = res + group(res)
        res = self.body(res)
        res += x
        return self.tail(res)


class TransformerUNet(nn.Module):
    """A U-Net over volumes whose encoder is a transformer: tokens of several depths are laid out as maps again."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.patch, self.feat_size = nn.Conv3d(1, d, 4, 4), (2, 4, 4)
        self.pos = nn.Parameter(torch.randn(1, 32, d) * 0.02)
        self.blocks = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(d, 3, 20, 0.0, "gelu", batch_first=True, norm_first=True)
                for _ in range(3)
            ]
        )
        self.norm = nn.LayerNorm(d)
        self.enc0 = nn.Sequential(
            nn.Conv3d(1, 6, 3, 1, 1), nn.InstanceNorm3d(6), nn.LeakyReLU(0.01)
        )
        self.enc1 = nn.Sequential(
            nn.ConvTranspose3d(d, 8, 2, 2), nn.InstanceNorm3d(8), nn.LeakyReLU(0.01)
        )
        self.up1, self.dec1 = nn.ConvTranspose3d(d, 8, 2, 2), nn.Conv3d(16, 8, 3, 1, 1)
        self.up0, self.dec0 = nn.ConvTranspose3d(8, 6, 2, 2), nn.Conv3d(12, 6, 3, 1, 1)
        self.out, self.hidden_size = nn.Conv3d(6, 2, 1), d

    def proj_feat(self, x: Tensor) -> Tensor:
        x = x.view(x.size(0), *self.feat_size, self.hidden_size)
        return x.permute(0, 4, 1, 2, 3).contiguous()

    def forward(self, x_in: Tensor) -> Tensor:
        x = self.patch(x_in).flatten(2).transpose(-1, -2) + self.pos
        hidden_states_out = []
        for blk in self.blocks:
            x = blk(x)
            hidden_states_out.append(x)
        x = self.norm(x)
        enc0 = self.enc0(x_in)
        enc1 = self.enc1(self.proj_feat(hidden_states_out[1]))
        dec1 = F.leaky_relu(self.dec1(torch.cat((self.up1(self.proj_feat(x)), enc1), dim=1)), 0.01)
        dec0 = F.leaky_relu(self.dec0(torch.cat((self.up0(dec1), enc0), dim=1)), 0.01)
        return self.out(dec0)


class InflatedVideo(nn.Module):
    """Inception over clips with padding computed from sizes, and squeezed logits averaged over time."""

    class Unit3D(nn.Module):
        def __init__(
            self,
            i: int,
            o: int,
            k: tuple = (1, 1, 1),
            s: tuple = (1, 1, 1),
            bn: bool = True,
            act: Any = F.relu,
        ) -> None:
            super().__init__()
            self.k, self.s, self.act = k, s, act
            self.conv3d = nn.Conv3d(i, o, k, s, padding=0, bias=not bn)
            self.bn = nn.BatchNorm3d(o, eps=0.001) if bn else None

        def compute_pad(self, dim: int, s: int) -> int:
            if s % self.s[dim] == 0:
                return max(self.k[dim] - self.s[dim], 0)
            return max(self.k[dim] - (s % self.s[dim]), 0)

        def forward(self, x: Tensor) -> Tensor:
            _, _, t, h, w = x.size()
            pads = [self.compute_pad(n, size) for n, size in enumerate((t, h, w))]
            f = [p // 2 for p in pads]
            b = [p - q for p, q in zip(pads, f)]
            x = self.conv3d(F.pad(x, (f[2], b[2], f[1], b[1], f[0], b[0])))
            if self.bn is not None:
                x = self.bn(x)
            return self.act(x) if self.act is not None else x

    def __init__(self) -> None:
        super().__init__()
        U = self.Unit3D
        self.end_points = OrderedDict(Conv3d_1a=U(3, 6, (3, 3, 3), (2, 2, 2)), Conv3d_2b=U(6, 8))
        for name, module in self.end_points.items():
            self.add_module(name, module)
        self.b0, self.b1a, self.b1b, self.b3 = U(8, 4), U(8, 4), U(4, 6, (3, 3, 3)), U(8, 4)
        self.pool, self.logits = nn.MaxPool3d(3, 1, 1), U(14, 5, bn=False, act=None)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        for end_point in self.end_points:
            x = self._modules[end_point](x)
        x = torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b3(self.pool(x))], dim=1)
        x = F.avg_pool3d(x, (2, 8, 8), stride=(1, 1, 1))
        return self.logits(self.dropout(x)).squeeze(3).squeeze(3).mean(2)


class GrowingChange(nn.Module):
    """A change detector: one encoder for two images, differences of every depth, decoded together."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 6, 8, 12]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU6(inplace=True)
            )
            for i, o in itertools.pairwise(widths)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(c, 8, 1) for c in widths[1:])
        self.classifier = nn.Conv2d(8 * 3, 2, 3, padding=1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        feats = []
        for stage, lateral in zip(self.stages, self.laterals):
            a, b = stage(a), stage(b)
            feats.append(lateral(torch.abs(a - b)))
        size = feats[0].shape[-2:]
        feats = [feats[0]] + [
            F.interpolate(f, size, mode="bilinear", align_corners=False) for f in feats[1:]
        ]
        return F.interpolate(self.classifier(torch.cat(feats, 1)), scale_factor=2)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "alexnet": lambda: (AlexNet(), INPUTS.images),
    "wide_resnet": lambda: (WideResNet(), INPUTS.images),
    "pyramidnet_zeros": lambda: (PyramidNet(), INPUTS.images),
    "fractalnet": lambda: (FractalNet(), INPUTS.images),
    "xception": lambda: (Xception(), INPUTS.images),
    "inception_resnet": lambda: (InceptionResNet(), INPUTS.images),
    "resnet9": lambda: (resnet9(), INPUTS.images),
    "compact_transformer": lambda: (CompactTransformer(), INPUTS.images),
    "coatnet": lambda: (CoAtNet(), INPUTS.images),
    "transformer_in_transformer": lambda: (TransformerInTransformer(), INPUTS.images),
    "bisenet": lambda: (BiSeNet(), INPUTS.images),
    "unet_center_crop": lambda: (CroppedUNet(), INPUTS.grey.repeat(1, 1, 3, 3)),
    "unet_scse_children": lambda: (SqueezedUNet(), INPUTS.images),
    "unet_save_features": lambda: (HookedUNet(), INPUTS.images),
    "yolo_v3_in_place": lambda: (YoloLayer(), INPUTS.images),
    "region_heads": lambda: (RegionHeads(), INPUTS.images),
    "pose_stages": lambda: (PoseStages(), INPUTS.images),
    "crowd_counter": lambda: (CrowdCounter(), INPUTS.images),
    "flownet_crop_like": lambda: (FlowNet(), PAIR),
    "rcan_dncnn": lambda: (ChannelAttentionSR(), INPUTS.grey),
    "unetr": lambda: (TransformerUNet(), INPUTS.volumes),
    "i3d_padding": lambda: (InflatedVideo(), INPUTS.clips),
    "change_detector": lambda: (GrowingChange(), PAIR),
}

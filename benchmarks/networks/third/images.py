"""Networks of the zoo over images, third sample: as repositories of single papers and course work have them."""

# ruff: noqa: N806 - names as in the papers
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(30)
PHOTOS = torch.randn(2, 3, 32, 32, generator=_G)
GREY = torch.randn(2, 1, 28, 28, generator=_G)
POINTS = torch.randn(2, 16, 3, generator=_G)


class ConvBnRelu(nn.Sequential):
    """A Sequential that builds itself."""

    def __init__(self, i: int, o: int, k: int = 3, s: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(i, o, k, s, (k - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(o, eps=1e-3, momentum=0.01),
            nn.ReLU6(inplace=True),
        )


class ResUNet(nn.Module):
    """A U-Net of residual blocks whose levels are called by name."""

    def __init__(self, widths: tuple[int, ...] = (8, 12, 16)) -> None:
        super().__init__()
        self.depth = len(widths)
        prev = 3
        for i, w in enumerate(widths):
            setattr(self, f"enc{i}", nn.Sequential(ConvBnRelu(prev, w), ConvBnRelu(w, w)))
            setattr(self, f"res{i}", nn.Conv2d(prev, w, 1))
            prev = w
        for i in reversed(range(self.depth - 1)):
            setattr(self, f"up{i}", nn.ConvTranspose2d(prev, widths[i], 2, stride=2))
            setattr(self, f"dec{i}", ConvBnRelu(2 * widths[i], widths[i]))
            prev = widths[i]
        self.last = nn.Conv2d(prev, 2, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for i in range(self.depth):
            x = getattr(self, f"enc{i}")(x) + getattr(self, f"res{i}")(x)
            if i < self.depth - 1:
                skips.append(x)
                x = F.max_pool2d(x, 2)
        for i in reversed(range(self.depth - 1)):
            x = getattr(self, f"up{i}")(x)
            x = getattr(self, f"dec{i}")(torch.cat((skips.pop(), x), 1))
        return torch.sigmoid(self.last(x))


class PaddedUNet(nn.Module):
    """The U-Net of many notebooks, which pads what was upsampled to its skip's size."""

    def __init__(self, bilinear: bool = True) -> None:
        super().__init__()
        self.inc = nn.Sequential(ConvBnRelu(1, 6), ConvBnRelu(6, 6))
        self.down1 = nn.Sequential(nn.MaxPool2d(2), ConvBnRelu(6, 12))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), ConvBnRelu(12, 12))
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv1, self.conv2 = ConvBnRelu(24, 6), ConvBnRelu(12, 6)
        self.outc = nn.Conv2d(6, 3, 1)

    def join(self, x1: Tensor, x2: Tensor) -> Tensor:
        x1 = self.up(x1)
        dy, dx = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return torch.cat([x2, x1], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        return self.outc(self.conv2(self.join(self.conv1(self.join(x3, x2)), x1)))


class MBConv(nn.Module):
    """An inverted bottleneck as in EfficientNet, with swish of its own and drop connect."""

    def __init__(self, i: int, o: int, expand: int, stride: int) -> None:
        super().__init__()
        mid = i * expand
        self.expand = expand
        if expand != 1:
            self._expand_conv = nn.Conv2d(i, mid, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(mid)
        self._depthwise_conv = nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False)
        self._bn1 = nn.BatchNorm2d(mid)
        self._se_reduce = nn.Conv2d(mid, max(1, i // 4), 1)
        self._se_expand = nn.Conv2d(max(1, i // 4), mid, 1)
        self._project_conv = nn.Conv2d(mid, o, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(o)
        self.id_skip = stride == 1 and i == o

    def forward(self, inputs: Tensor, drop_connect_rate: float | None = None) -> Tensor:
        x = inputs
        if self.expand != 1:
            x = self._bn0(self._expand_conv(inputs))
            x = x * torch.sigmoid(x)
        x = self._bn1(self._depthwise_conv(x))
        x = x * torch.sigmoid(x)
        squeezed = F.adaptive_avg_pool2d(x, 1)
        squeezed = self._se_reduce(squeezed)
        squeezed = self._se_expand(squeezed * torch.sigmoid(squeezed))
        x = torch.sigmoid(squeezed) * x
        x = self._bn2(self._project_conv(x))
        if self.id_skip:
            if drop_connect_rate and self.training:
                keep = 1 - drop_connect_rate
                mask = torch.rand([x.shape[0], 1, 1, 1], dtype=x.dtype, device=x.device)
                x = x / keep * torch.floor(keep + mask)
            x = x + inputs
        return x


class EfficientNetLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        self._blocks = nn.ModuleList(
            [MBConv(8, 8, 1, 1), MBConv(8, 12, 4, 2), MBConv(12, 12, 4, 1)]
        )
        self._head = nn.Conv2d(12, 24, 1, bias=False)
        self._bn1, self._fc = nn.BatchNorm2d(24), nn.Linear(24, 5)

    def extract_features(self, x: Tensor) -> Tensor:
        x = F.silu(self._stem(x))
        for idx, block in enumerate(self._blocks):
            x = block(x, drop_connect_rate=0.2 * float(idx) / len(self._blocks))
        return F.silu(self._bn1(self._head(x)))

    def forward(self, x: Tensor) -> Tensor:
        bs = x.size(0)
        x = F.adaptive_avg_pool2d(self.extract_features(x), 1)
        return self._fc(x.view(bs, -1))


class MobileViTBlock(nn.Module):
    """Unfolds patches by reshapes and lets a transformer mix pixels of equal place (without einops)."""

    def __init__(self, c: int = 8, d: int = 12, patch: int = 2) -> None:
        super().__init__()
        self.ph = self.pw = patch
        self.conv1, self.conv2 = ConvBnRelu(c, c), nn.Conv2d(c, d, 1)
        self.norm1, self.qkv, self.proj = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.norm2, self.mlp = (
            nn.LayerNorm(d),
            nn.Sequential(nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d)),
        )
        self.conv3, self.conv4 = nn.Conv2d(d, c, 1), ConvBnRelu(2 * c, c)
        self.heads = 2

    def attend(self, x: Tensor) -> Tensor:
        B, P, N, D = x.shape
        q, k, v = self.qkv(x).reshape(B, P, N, 3, self.heads, D // self.heads).unbind(3)
        q, k, v = (t.transpose(2, 3) for t in (q, k, v))
        attn = (q @ k.transpose(-2, -1) * (D // self.heads) ** -0.5).softmax(dim=-1)
        return self.proj((attn @ v).transpose(2, 3).reshape(B, P, N, D))

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        x = self.conv2(self.conv1(x))
        B, D, H, W = x.shape
        nh, nw = H // self.ph, W // self.pw
        x = x.reshape(B, D, nh, self.ph, nw, self.pw).permute(0, 3, 5, 2, 4, 1)
        x = x.reshape(B, self.ph * self.pw, nh * nw, D)
        x = x + self.attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        x = x.reshape(B, self.ph, self.pw, nh, nw, D).permute(0, 5, 3, 1, 4, 2).reshape(B, D, H, W)
        return self.conv4(torch.cat((self.conv3(x), y), 1))


class MobileViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = ConvBnRelu(3, 8, s=2), MobileViTBlock()
        self.pool, self.fc = nn.AvgPool2d(16, 1), nn.Linear(8, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.block(self.stem(x))).view(-1, 8)
        return self.fc(x)


class DenseLayer(nn.Module):
    def __init__(self, i: int, growth: int, bn_size: int = 2) -> None:
        super().__init__()
        self.add_module("norm1", nn.BatchNorm2d(i))
        self.add_module("conv1", nn.Conv2d(i, bn_size * growth, 1, bias=False))
        self.add_module("norm2", nn.BatchNorm2d(bn_size * growth))
        self.add_module("conv2", nn.Conv2d(bn_size * growth, growth, 3, padding=1, bias=False))

    def forward(self, prev: Tensor | list[Tensor]) -> Tensor:
        features = [prev] if isinstance(prev, Tensor) else prev
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return F.dropout(self.conv2(F.relu(self.norm2(x))), p=0.1, training=self.training)


class DenseNetLists(nn.Module):
    """DenseNet as in torchvision: layers take the list of all earlier features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict([("conv0", nn.Conv2d(3, 8, 3, 2, 1)), ("norm0", nn.BatchNorm2d(8))])
        )
        self.block = nn.ModuleDict(
            {f"denselayer{i + 1}": DenseLayer(8 + 4 * i, 4) for i in range(3)}
        )
        self.norm5, self.classifier = nn.BatchNorm2d(20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.features(x)]
        for _name, layer in self.block.items():
            features.append(layer(features))
        out = F.relu(self.norm5(torch.cat(features, 1)), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(out, (1, 1)), 1))


class InceptionA(nn.Module):
    """Four branches in a list comprehension."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBnRelu(i, 6, 1)
        self.branch5x5 = nn.Sequential(ConvBnRelu(i, 4, 1), ConvBnRelu(4, 6, 5))
        self.branch3x3dbl = nn.Sequential(ConvBnRelu(i, 4, 1), ConvBnRelu(4, 6), ConvBnRelu(6, 6))
        self.branch_pool = ConvBnRelu(i, 4, 1)

    def _forward(self, x: Tensor) -> list[Tensor]:
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        return [b(x) for b in (self.branch1x1, self.branch5x5, self.branch3x3dbl)] + [
            self.branch_pool(pooled)
        ]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self._forward(x), 1)


class InceptionNet(nn.Module):
    def __init__(self, num_classes: int = 4, transform_input: bool = True) -> None:
        super().__init__()
        self.transform_input = transform_input
        self.conv, self.mixed = ConvBnRelu(3, 8, s=2), InceptionA(8)
        self.avgpool, self.dropout, self.fc = (
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Dropout(0.5),
            nn.Linear(22, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.transform_input:
            parts = [
                torch.unsqueeze(x[:, c], 1) * s + b
                for c, (s, b) in enumerate([(0.5, 0.1), (0.4, 0.0), (0.6, -0.1)])
            ]
            x = torch.cat(parts, 1)
        x = self.mixed(self.conv(x))
        return self.fc(self.dropout(self.avgpool(x)).squeeze(-1).squeeze(-1))


@dataclass
class Detection:
    boxes: Tensor
    classes: Tensor


class FpnDetector(nn.Module):
    """Features of three levels, smoothed from the top, heads shared, anchors flattened; a data class comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.c2, self.c3, self.c4 = (
            ConvBnRelu(3, 8, s=2),
            ConvBnRelu(8, 12, s=2),
            ConvBnRelu(12, 16, s=2),
        )
        self.lateral = nn.ModuleList([nn.Conv2d(w, 10, 1) for w in (8, 12, 16)])
        self.smooth = nn.ModuleList([nn.Conv2d(10, 10, 3, padding=1) for _ in range(3)])
        self.cls, self.box = nn.Conv2d(10, 2 * 4, 3, padding=1), nn.Conv2d(10, 2 * 4, 3, padding=1)

    def forward(self, x: Tensor) -> Detection:
        c2 = self.c2(x)
        c3 = self.c3(c2)
        c4 = self.c4(c3)
        p = [lat(c) for lat, c in zip(self.lateral, (c2, c3, c4), strict=True)]
        for i in (1, 0):
            p[i] = p[i] + F.interpolate(p[i + 1], size=p[i].shape[-2:], mode="nearest")
        p = [s(f) for s, f in zip(self.smooth, p, strict=True)]

        def flat(t: Tensor) -> Tensor:
            return t.permute(0, 2, 3, 1).contiguous().view(t.size(0), -1, 4)

        return Detection(
            torch.cat([flat(self.box(f)) for f in p], 1),
            torch.cat([flat(self.cls(f)) for f in p], 1),
        )


class WSConv2d(nn.Conv2d):
    """A convolution with scaled weight standardisation, as in NFNets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))
        self.fan_in = self.weight[0].numel()

    def get_weight(self) -> Tensor:
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        scale = torch.rsqrt(torch.clamp(var * self.fan_in, min=1e-4)) * self.gain
        return self.weight * scale - mean * scale

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x, self.get_weight(), self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class NFBlock(nn.Module):
    def __init__(self, c: int, alpha: float = 0.2, beta: float = 0.9) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        self.conv0, self.conv1, self.conv2 = (
            WSConv2d(c, 6, 1),
            WSConv2d(6, 6, 3, padding=1),
            WSConv2d(6, c, 1),
        )
        self.skip_gain = nn.Parameter(torch.zeros(()) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        out = F.gelu(x) * 1.7015 * self.beta
        out = self.conv2(F.gelu(self.conv1(F.gelu(self.conv0(out)) * 1.7015)) * 1.7015)
        return out * self.skip_gain * self.alpha + x


class NFNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = (
            WSConv2d(3, 8, 3, stride=2, padding=1),
            nn.Sequential(NFBlock(8), NFBlock(8)),
        )
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.gelu(self.body(self.stem(x))).mean(dim=[2, 3]))


class ConvVAE(nn.Module):
    """A convolutional VAE: sizes flattened by hand, mean in evaluation, three outputs."""

    def __init__(self, latent: int = 6) -> None:
        super().__init__()
        self.enc = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 12, 4, 2, 1),
            nn.LeakyReLU(0.2),
        )
        self.mu, self.logvar = nn.Linear(12 * 7 * 7, latent), nn.Linear(12 * 7 * 7, latent)
        self.fc = nn.Linear(latent, 12 * 7 * 7)
        self.dec = nn.Sequential(
            nn.ConvTranspose2d(12, 8, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 1, 4, 2, 1),
            nn.Sigmoid(),
        )

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        if self.training:
            return torch.randn_like(mu) * torch.exp(0.5 * logvar) + mu
        return mu

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.enc(x).view(x.size(0), -1)
        mu, logvar = self.mu(h), self.logvar(h)
        z = self.reparameterize(mu, logvar)
        return self.dec(F.relu(self.fc(z)).view(-1, 12, 7, 7)), mu, logvar


class Edsr(nn.Module):
    """Super-resolution: mean shift as a frozen convolution, residual scaling, PixelShuffle."""

    def __init__(self, feats: int = 8, scale: int = 2) -> None:
        super().__init__()
        self.sub_mean, self.add_mean = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        for conv, sign in ((self.sub_mean, -1), (self.add_mean, 1)):
            conv.weight.data = torch.eye(3).view(3, 3, 1, 1)
            conv.bias.data = sign * torch.tensor([0.4488, 0.4371, 0.4040])
            for p in conv.parameters():
                p.requires_grad = False
        self.head = nn.Conv2d(3, feats, 3, padding=1)
        self.body = nn.ModuleList([
            nn.Sequential(nn.Conv2d(feats, 2 * feats, 3, padding=1), nn.ReLU(True), nn.Conv2d(2 * feats, feats, 3, padding=1))
            for _ in range(2)
        ])  # fmt: skip
        self.tail = nn.Sequential(
            nn.Conv2d(feats, feats * scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
            nn.Conv2d(feats, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.sub_mean(x))
        res = x
        for block in self.body:
            res = res + block(res).mul(0.1)
        return self.add_mean(self.tail(res + x))


class Hourglass(nn.Module):
    """Recursion builds it; heat maps become coordinates by a soft argmax."""

    def __init__(self, n: int = 2, f: int = 8) -> None:
        super().__init__()
        self.up1, self.low1 = ConvBnRelu(f, f), ConvBnRelu(f, f + 4)
        self.low2: nn.Module = Hourglass(n - 1, f + 4) if n > 1 else ConvBnRelu(f + 4, f + 4)
        self.low3 = ConvBnRelu(f + 4, f)

    def forward(self, x: Tensor) -> Tensor:
        low = self.low3(self.low2(self.low1(F.max_pool2d(x, 2))))
        return self.up1(x) + F.interpolate(low, scale_factor=2)


class Keypoints(nn.Module):
    def __init__(self, joints: int = 3) -> None:
        super().__init__()
        self.pre, self.hg, self.out = ConvBnRelu(3, 8, s=2), Hourglass(), nn.Conv2d(8, joints, 1)
        self.register_buffer("grid", torch.linspace(-1, 1, 16), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.out(self.hg(self.pre(x)))
        b, j, h, w = maps.shape
        p = maps.view(b, j, -1).softmax(dim=-1).view(b, j, h, w)
        xs, ys = (p.sum(dim=2) * self.grid).sum(-1), (p.sum(dim=3) * self.grid).sum(-1)
        return torch.stack([xs, ys], dim=-1), maps


class Involution(nn.Module):
    """A kernel for each place, made from the features there, by unfold."""

    def __init__(self, c: int = 8, k: int = 3, groups: int = 2) -> None:
        super().__init__()
        self.k, self.groups, self.gc = k, groups, c // groups
        self.reduce, self.span = ConvBnRelu(c, c // 2, 1), nn.Conv2d(c // 2, k * k * groups, 1)
        self.unfold = nn.Unfold(k, 1, (k - 1) // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        weight = self.span(self.reduce(x)).view(b, self.groups, self.k**2, h, w).unsqueeze(2)
        out = self.unfold(x).view(b, self.groups, self.gc, self.k**2, h, w)
        return (weight * out).sum(dim=3).view(b, c, h, w)


class InvolutionNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inv, self.bn = ConvBnRelu(3, 8, s=4), Involution(), nn.BatchNorm2d(8)
        self.mid, self.fc = nn.Conv2d(8, 10, 1), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.inv(self.stem(x))))
        return self.fc(F.relu(self.mid(x)).amax((2, 3)))


class SelectiveKernel(nn.Module):
    """Two branches, weighed against each other by a softmax over branches."""

    def __init__(self, c: int = 8, m: int = 2) -> None:
        super().__init__()
        self.convs = nn.ModuleList([ConvBnRelu(c, c, 3 + 2 * i) for i in range(m)])
        self.fc, self.fcs = nn.Linear(c, 4), nn.ModuleList([nn.Linear(4, c) for _ in range(m)])

    def forward(self, x: Tensor) -> Tensor:
        feas = torch.stack([conv(x) for conv in self.convs], dim=1)
        z = F.relu(self.fc(feas.sum(dim=1).mean(-1).mean(-1)))
        vectors = torch.stack([fc(z) for fc in self.fcs], dim=1)
        attention = F.softmax(vectors, dim=1).unsqueeze(-1).unsqueeze(-1)
        return (feas * attention).sum(dim=1)


class SKNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.sk, self.fc = ConvBnRelu(3, 8, s=4), SelectiveKernel(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.sk(self.stem(x)).flatten(2).mean(2))


class NonLocal(nn.Module):
    """Attention over places inside a residual network, with a BatchNorm that begins at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBnRelu(3, 8, s=4)
        self.theta, self.phi, self.g = (nn.Conv2d(8, 4, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8))
        self.head, self.fc = ConvBnRelu(8, 12), nn.Linear(12 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        batch, ic = x.size(0), 4
        g = self.g(x).view(batch, ic, -1).permute(0, 2, 1)
        theta, phi = (
            self.theta(x).view(batch, ic, -1).permute(0, 2, 1),
            self.phi(x).view(batch, ic, -1),
        )
        f = F.softmax(torch.matmul(theta, phi), dim=-1)
        y = torch.matmul(f, g).permute(0, 2, 1).contiguous().view(batch, ic, *x.size()[2:])
        return self.fc(self.head(self.W(y) + x).reshape(batch, -1))


class PointNetPlus(nn.Module):
    """Points grouped with their nearest neighbours (cdist, topk, gather), a shared network over each group."""

    def __init__(self, k: int = 4) -> None:
        super().__init__()
        self.k = k
        self.mlp1 = nn.Sequential(
            nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 1), nn.ReLU()
        )
        self.mlp2, self.fc = nn.Conv1d(12, 16, 1), nn.Linear(16, 4)

    def forward(self, xyz: Tensor) -> Tensor:
        idx = torch.cdist(xyz, xyz).topk(self.k, dim=-1, largest=False)[1]
        N = idx.shape[1]
        near = torch.gather(
            xyz.unsqueeze(1).expand(-1, N, -1, -1), 2, idx.unsqueeze(-1).expand(-1, -1, -1, 3)
        )
        local = (near - xyz.unsqueeze(2)).permute(0, 3, 1, 2)
        x = torch.max(self.mlp1(local), 3)[0]
        x = F.relu(self.mlp2(x)).max(dim=2, keepdim=False).values
        return self.fc(x)


class EarlyExit(nn.Module):
    """Two classifiers; which is given is an option that is fixed when the network is made."""

    def __init__(self, exit_early: bool = False) -> None:
        super().__init__()
        self.exit_early = exit_early
        self.stage1, self.stage2 = ConvBnRelu(1, 8, s=2), ConvBnRelu(8, 12, s=2)
        self.head1, self.head2 = nn.LazyLinear(3), nn.Linear(12, 3)
        self.head1(torch.zeros(1, 8))

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, ...]:
        x = self.stage1(x)
        if self.exit_early:
            return self.head1(x.mean((2, 3)))
        y = self.stage2(x)
        if return_features:
            return y, x
        return self.head2(y.mean((2, 3))) + 0.3 * self.head1(x.mean((2, 3)))


class Steered(nn.Module):
    """A network that notes features by hooks and gives a dict of them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            OrderedDict(conv1=ConvBnRelu(3, 8, s=2), conv2=ConvBnRelu(8, 12, s=2))
        )
        self.heads = nn.ModuleDict({"color": nn.Linear(12, 3), "shape": nn.Linear(12, 2)})

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        f = self.backbone(batch["image"]).mean(dim=(-2, -1))
        f = f * (1 + batch["weight"].unsqueeze(1))
        return {k: head(f) for k, head in self.heads.items()}


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "resunet_by_getattr": lambda: (ResUNet(), PHOTOS),
    "unet_padded_to_skips": lambda: (PaddedUNet(), GREY),
    "efficientnet_drop_connect": lambda: (EfficientNetLike(), PHOTOS),
    "mobilevit_unfold": lambda: (MobileViT(), PHOTOS),
    "densenet_lists": lambda: (DenseNetLists(), PHOTOS),
    "inception_comprehension": lambda: (InceptionNet(), PHOTOS),
    "fpn_data_class": lambda: (FpnDetector(), PHOTOS),
    "nfnet_scaled_weights": lambda: (NFNet(), PHOTOS),
    "vae_flattened_by_hand": lambda: (ConvVAE(), GREY),
    "edsr_mean_shift": lambda: (Edsr(), PHOTOS),
    "hourglass_soft_argmax": lambda: (Keypoints(), PHOTOS),
    "involution": lambda: (InvolutionNet(), PHOTOS),
    "selective_kernels": lambda: (SKNet(), PHOTOS),
    "non_local_block": lambda: (NonLocal(), PHOTOS),
    "pointnet_plus_neighbours": lambda: (PointNetPlus(), POINTS),
    "early_exit_option": lambda: (EarlyExit(), GREY),
    "dict_in_dict_out": lambda: (Steered(), {"image": PHOTOS, "weight": torch.tensor([0.5, 1.5])}),
}

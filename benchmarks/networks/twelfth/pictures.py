"""Networks of the zoo over pictures, twelfth sample: segmenters, detectors from lists, faces, persons, poses, queries."""

# ruff: noqa: N803, N806, RUF012 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.twelfth.inputs import INPUTS, SMALL_IMAGES


class StripHamburger(nn.Module):
    """Strips of convolutions as attention, and a head that factorises features into bases and coefficients in a loop."""

    class Attention(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
            for n, k in enumerate((7, 11)):
                setattr(
                    self, f"conv{n}_1", nn.Conv2d(dim, dim, (1, k), padding=(0, k // 2), groups=dim)
                )
                setattr(
                    self, f"conv{n}_2", nn.Conv2d(dim, dim, (k, 1), padding=(k // 2, 0), groups=dim)
                )
            self.conv3 = nn.Conv2d(dim, dim, 1)

        def forward(self, x: Tensor) -> Tensor:
            u = x.clone()
            attn = self.conv0(x)
            attn_0 = self.conv0_2(self.conv0_1(attn))
            attn_1 = self.conv1_2(self.conv1_1(attn))
            return self.conv3(attn + attn_0 + attn_1) * u

    class NMF2D(nn.Module):
        def __init__(self, R: int = 5, steps: int = 3) -> None:
            super().__init__()
            self.S, self.R, self.steps, self.inv_t = 1, R, steps, 1

        def local_step(self, x: Tensor, bases: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
            coef = coef * (
                torch.bmm(x.transpose(1, 2), bases)
                / (coef.bmm(bases.transpose(1, 2).bmm(bases)) + 1e-6)
            )
            bases = bases * (
                torch.bmm(x, coef) / (bases.bmm(coef.transpose(1, 2).bmm(coef)) + 1e-6)
            )
            return bases, coef

        def forward(self, x: Tensor) -> Tensor:
            B, C, H, W = x.shape
            D, N = C // self.S, H * W
            x = x.view(B * self.S, D, N)
            bases = F.normalize(
                torch.ones((B * self.S, D, self.R)).to(x) + torch.arange(self.R).to(x), dim=1
            )
            coef = F.softmax(self.inv_t * torch.bmm(x.transpose(1, 2), bases), dim=-1)
            for _ in range(self.steps):
                bases, coef = self.local_step(x, bases, coef)
            coef = coef * (
                torch.bmm(x.transpose(1, 2), bases)
                / (coef.bmm(bases.transpose(1, 2).bmm(bases)) + 1e-6)
            )
            return torch.bmm(bases, coef.transpose(1, 2)).view(B, C, H, W)

    def __init__(self, dim: int = 10, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1),
            nn.BatchNorm2d(6),
            nn.GELU(),
            nn.Conv2d(6, dim, 3, 2, 1),
            nn.BatchNorm2d(dim),
        )
        self.proj_1, self.spatial_gating_unit, self.proj_2 = (
            nn.Conv2d(dim, dim, 1),
            self.Attention(dim),
            nn.Conv2d(dim, dim, 1),
        )
        self.squeeze = nn.Sequential(nn.Conv2d(dim, 12, 1), nn.ReLU(True))
        self.ham_in = nn.Sequential(nn.Conv2d(12, 12, 1))
        self.ham, self.ham_out = (
            self.NMF2D(),
            nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.GroupNorm(3, 12)),
        )
        self.cls_seg = nn.Conv2d(12, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.size()[2:]
        x = self.stem(x)
        shortcut = x.clone()
        x = self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(x)))) + shortcut
        x = self.squeeze(x)
        enjoy = F.relu(self.ham_in(x), inplace=True)
        enjoy = self.ham_out(self.ham(enjoy))
        ham = F.relu(x + enjoy, inplace=True)
        return F.interpolate(self.cls_seg(ham), size=size, mode="bilinear", align_corners=False)


class DualAttention(nn.Module):
    """Attention over places and over channels side by side, each with a factor that starts small; three heads as a tuple."""

    class PAM(nn.Module):
        def __init__(self, in_dim: int) -> None:
            super().__init__()
            self.query_conv, self.key_conv = (
                nn.Conv2d(in_dim, in_dim // 4, 1),
                nn.Conv2d(in_dim, in_dim // 4, 1),
            )
            self.value_conv, self.gamma, self.softmax = (
                nn.Conv2d(in_dim, in_dim, 1),
                nn.Parameter(torch.full((1,), 0.4)),
                nn.Softmax(dim=-1),
            )

        def forward(self, x: Tensor) -> Tensor:
            m_batchsize, C, height, width = x.size()
            proj_query = self.query_conv(x).view(m_batchsize, -1, width * height).permute(0, 2, 1)
            proj_key = self.key_conv(x).view(m_batchsize, -1, width * height)
            attention = self.softmax(torch.bmm(proj_query, proj_key))
            proj_value = self.value_conv(x).view(m_batchsize, -1, width * height)
            out = torch.bmm(proj_value, attention.permute(0, 2, 1)).view(
                m_batchsize, C, height, width
            )
            return self.gamma * out + x

    class CAM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma, self.softmax = nn.Parameter(torch.full((1,), 0.4)), nn.Softmax(dim=-1)

        def forward(self, x: Tensor) -> Tensor:
            m_batchsize, C, height, width = x.size()
            proj_query = x.view(m_batchsize, C, -1)
            energy = torch.bmm(proj_query, x.view(m_batchsize, C, -1).permute(0, 2, 1))
            energy_new = torch.max(energy, -1, keepdim=True)[0].expand_as(energy) - energy
            out = torch.bmm(self.softmax(energy_new), x.view(m_batchsize, C, -1))
            return self.gamma * out.view(m_batchsize, C, height, width) + x

    def __init__(self, nclass: int = 3, c: int = 16, inter: int = 8) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Conv2d(3, c, 3, 4, 1), nn.BatchNorm2d(c), nn.ReLU(True))

        def cbr(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()
            )

        self.conv5a, self.conv5c, self.conv51, self.conv52 = (
            cbr(c, inter),
            cbr(c, inter),
            cbr(inter, inter),
            cbr(inter, inter),
        )
        self.sa, self.sc = self.PAM(inter), self.CAM()
        self.conv6, self.conv7, self.conv8 = (
            nn.Sequential(nn.Dropout2d(0.1, False), nn.Conv2d(inter, nclass, 1)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        imsize = x.size()[2:]
        x = self.base(x)
        sa_conv = self.conv51(self.sa(self.conv5a(x)))
        sc_conv = self.conv52(self.sc(self.conv5c(x)))
        outputs = [self.conv8(sa_conv + sc_conv)]
        outputs.append(self.conv6(sa_conv))
        outputs.append(self.conv7(sc_conv))
        return tuple(F.interpolate(o, imsize, mode="bilinear", align_corners=True) for o in outputs)


class Conv(nn.Module):
    """Convolution, BatchNorm and SiLU, as detectors name them."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(c1, c2, k, s, k // 2, bias=False), nn.BatchNorm2d(c2)
        self.act = nn.SiLU() if act is True else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class C3(nn.Module):
    """Two branches of which one has bottlenecks, joined."""

    class Bottleneck(nn.Module):
        def __init__(self, c1: int, c2: int, shortcut: bool = True) -> None:
            super().__init__()
            self.cv1, self.cv2, self.add = Conv(c1, c2, 1), Conv(c2, c2, 3), shortcut and c1 == c2

        def forward(self, x: Tensor) -> Tensor:
            return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        c_ = c2 // 2
        self.cv1, self.cv2, self.cv3 = Conv(c1, c_), Conv(c1, c_), Conv(2 * c_, c2)
        self.m = nn.Sequential(*(self.Bottleneck(c_, c_, shortcut) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class Concat(nn.Module):
    """Joins a list of tensors."""

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        self.d = dimension

    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, self.d)


class Detect(nn.Module):
    """Boxes of anchors at each scale, with grids that are held and made again where the size of the map changed."""

    stride: Tensor
    dynamic = False

    def __init__(self, nc: int, anchors: tuple[tuple[int, ...], ...], ch: tuple[int, ...]) -> None:
        super().__init__()
        self.nc, self.no, self.nl, self.na = nc, nc + 5, len(anchors), len(anchors[0]) // 2
        self.grid = [torch.empty(0) for _ in range(self.nl)]
        self.register_buffer("anchors", torch.tensor(anchors).float().view(self.nl, -1, 2))
        self.m = nn.ModuleList(nn.Conv2d(x, self.no * self.na, 1) for x in ch)

    def forward(self, x: list[Tensor]) -> Any:
        z = []
        for i in range(self.nl):
            x[i] = self.m[i](x[i])
            bs, _, ny, nx = x[i].shape
            x[i] = x[i].view(bs, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
            if not self.training:
                if self.dynamic or self.grid[i].shape[2:4] != x[i].shape[2:4]:
                    yv, xv = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
                    self.grid[i] = (
                        torch.stack((xv, yv), 2).expand(1, self.na, ny, nx, 2).to(x[i]) - 0.5
                    )
                xy, wh, conf = x[i].sigmoid().split((2, 2, self.nc + 1), 4)
                xy = (xy * 2 + self.grid[i]) * self.stride[i]
                wh = (wh * 2) ** 2 * self.anchors[i].view(1, self.na, 1, 1, 2) * self.stride[i]
                z.append(torch.cat((xy, wh, conf), 4).view(bs, self.na * nx * ny, self.no))
        return x if self.training else (torch.cat(z, 1), x)


class YamlDetector(nn.Module):
    """A detector from rows of (from, number, module, arguments), whose layers say where their inputs come from."""

    CFG = [
        [-1, 1, Conv, [8, 3, 2]],
        [-1, 1, Conv, [12, 3, 2]],
        [-1, 2, C3, [12]],
        [-1, 1, Conv, [16, 3, 2]],
        [-1, 1, C3, [16]],
        [-1, 1, Conv, [12, 1, 1]],
        [-1, 1, nn.Upsample, [None, 2, "nearest"]],
        [[-1, 2], 1, Concat, [1]],
        [-1, 1, C3, [12, False]],
        [-1, 1, Conv, [12, 3, 2]],
        [[-1, 5], 1, Concat, [1]],
        [-1, 1, C3, [16, False]],
        [[8, 11], 1, Detect, [2, ((4, 5, 8, 10), (13, 16, 23, 29))]],
    ]

    def __init__(self, ch: int = 3) -> None:
        super().__init__()
        chs, layers, save = [ch], [], []
        for i, (f, n, m, args) in enumerate(self.CFG):
            if m is Conv or m is C3:
                c1, c2 = chs[f], args[0]
                args = [c1, c2, *args[1:]] if m is Conv else [c1, c2, n, *args[1:]]
            elif m is Concat:
                c2 = sum(chs[x if x < 0 else x + 1] for x in f)
            elif m is Detect:
                args = [*args, tuple(chs[x + 1] for x in f)]
            else:
                c2 = chs[f]
            m_ = m(*args)
            m_.i, m_.f, m_.type = i, f, str(m)[8:-2]
            save.extend(x % i for x in ([f] if isinstance(f, int) else f) if x != -1)
            layers.append(m_)
            chs.append(c2)
        self.model, self.save = nn.Sequential(*layers), sorted(save)
        self.model[-1].stride = torch.tensor([4.0, 8.0])

    def forward(self, x: Tensor) -> Any:
        y: list[Tensor | None] = []
        for m in self.model:
            if m.f != -1:
                x = y[m.f] if isinstance(m.f, int) else [x if j == -1 else y[j] for j in m.f]
            x = m(x)
            y.append(x if m.i in self.save else None)
        return x


class BlazeFace(nn.Module):
    """Depthwise blocks that pad channels on the way round and sides by hand; scores and boxes reshaped and joined."""

    class Block(nn.Module):
        def __init__(self, i: int, o: int, stride: int = 1) -> None:
            super().__init__()
            self.stride, self.channel_pad = stride, o - i
            if stride == 2:
                self.max_pool = nn.MaxPool2d(kernel_size=stride, stride=stride)
            padding = 0 if stride == 2 else 1
            self.convs = nn.Sequential(
                nn.Conv2d(i, i, 3, stride, padding, groups=i), nn.Conv2d(i, o, 1)
            )
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            if self.stride == 2:
                h = F.pad(x, (0, 2, 0, 2), "constant", 0)
                x = self.max_pool(x)
            else:
                h = x
            if self.channel_pad > 0:
                x = F.pad(x, (0, 0, 0, 0, 0, self.channel_pad), "constant", 0)
            return self.act(self.convs(h) + x)

    def __init__(self) -> None:
        super().__init__()
        B = self.Block
        self.backbone1 = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 0),
            nn.ReLU(inplace=True),
            B(8, 8),
            B(8, 12),
            B(12, 16, 2),
            B(16, 16),
        )
        self.backbone2 = nn.Sequential(B(16, 20, stride=2), B(20, 20))
        self.classifier_8, self.classifier_16 = (
            nn.Conv2d(16, 2, 1, bias=True),
            nn.Conv2d(20, 6, 1, bias=True),
        )
        self.regressor_8, self.regressor_16 = (
            nn.Conv2d(16, 8, 1, bias=True),
            nn.Conv2d(20, 24, 1, bias=True),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.pad(x, (1, 2, 1, 2), "constant", 0)
        b = x.shape[0]
        x = self.backbone1(x)
        h = self.backbone2(x)
        c1 = self.classifier_8(x).permute(0, 2, 3, 1).reshape(b, -1, 1)
        c2 = self.classifier_16(h).permute(0, 2, 3, 1).reshape(b, -1, 1)
        r1 = self.regressor_8(x).permute(0, 2, 3, 1).reshape(b, -1, 4)
        r2 = self.regressor_16(h).permute(0, 2, 3, 1).reshape(b, -1, 4)
        return [torch.cat((r1, r2), dim=1), torch.cat((c1, c2), dim=1)]


class FaceAlignment(nn.Module):
    """A small network of faces: PReLU, pools that round up, width before height when flattened, three heads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1, self.pool1 = (
            nn.Conv2d(3, 8, kernel_size=3),
            nn.PReLU(8),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        self.conv2, self.prelu2, self.pool2 = (
            nn.Conv2d(8, 12, kernel_size=3),
            nn.PReLU(12),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        self.conv3, self.prelu3 = nn.Conv2d(12, 10, kernel_size=2), nn.PReLU(10)
        self.dense4, self.prelu4 = nn.Linear(90, 24), nn.PReLU(24)
        self.dense5_1, self.softmax5_1 = nn.Linear(24, 2), nn.Softmax(dim=1)
        self.dense5_2, self.dense5_3 = nn.Linear(24, 4), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = x.permute(0, 3, 2, 1).contiguous()
        x = self.prelu4(self.dense4(x.view(x.shape[0], -1)))
        a = self.softmax5_1(self.dense5_1(x))
        return self.dense5_2(x), self.dense5_3(x), a


class LightFaces(nn.Module):
    """Maximum of the halves of channels as activation, everywhere, also of rows."""

    class MFM(nn.Module):
        def __init__(self, i: int, o: int, k: int = 3, p: int = 1, type: int = 1) -> None:
            super().__init__()
            self.out_channels = o
            self.filter = nn.Conv2d(i, 2 * o, k, 1, p) if type == 1 else nn.Linear(i, 2 * o)

        def forward(self, x: Tensor) -> Tensor:
            x = self.filter(x)
            out = torch.split(x, self.out_channels, 1)
            return torch.max(out[0], out[1])

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        M = self.MFM
        self.conv1, self.pool = M(3, 8, 5, 2), nn.MaxPool2d(2, 2, ceil_mode=True)
        self.block1 = nn.ModuleList([M(8, 8), M(8, 8)])
        self.group1 = nn.Sequential(M(8, 8, 1, 0), M(8, 12, 3, 1))
        self.fc1, self.fc2 = M(12 * 6 * 6, 16, type=0), nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv1(x)
        x = F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)
        res = x
        for conv in self.block1:
            x = conv(x)
        x = self.group1(x + res)
        x = self.pool(x)
        x = x.view(x.size(0), -1)
        fc = self.fc1(x)
        return self.fc2(F.dropout(fc, training=self.training)), fc


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "strip_hamburger": lambda: (StripHamburger(), INPUTS.images),
    "dual_attention_heads": lambda: (DualAttention(), INPUTS.images),
    "yaml_detector": lambda: (YamlDetector(), INPUTS.images),
    "blaze_face": lambda: (BlazeFace(), INPUTS.images),
    "face_alignment": lambda: (FaceAlignment(), SMALL_IMAGES),
    "light_faces": lambda: (LightFaces(), SMALL_IMAGES),
}

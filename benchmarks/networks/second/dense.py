"""Networks of the zoo that give images, boxes or points: segmentation, detection, generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.second.backbones import IMAGES, ConvBNAct


class HRNet(nn.Module):
    """Two resolutions with fusion both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBNAct(3, 8)
        self.transition = nn.ModuleList([ConvBNAct(8, 6), ConvBNAct(8, 10, s=2)])
        self.branches = nn.ModuleList(
            [nn.Sequential(ConvBNAct(6, 6)), nn.Sequential(ConvBNAct(10, 10))]
        )
        up = nn.Sequential(
            nn.Conv2d(10, 6, 1), nn.BatchNorm2d(6), nn.Upsample(scale_factor=2, mode="nearest")
        )
        down = nn.Sequential(nn.Conv2d(6, 10, 3, 2, 1), nn.BatchNorm2d(10))
        self.fuse = nn.ModuleList([nn.ModuleList([None, up]), nn.ModuleList([down, None])])
        self.last = nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        xs = [t(x) for t in self.transition]
        xs = [b(v) for b, v in zip(self.branches, xs, strict=True)]
        fused = []
        for i in range(len(xs)):
            y = xs[0] if i == 0 else self.fuse[i][0](xs[0])
            for j in range(1, len(xs)):
                y = y + xs[j] if i == j else y + self.fuse[i][j](xs[j])
            fused.append(F.relu(y))
        h, w = fused[0].size(2), fused[0].size(3)
        ups = [fused[0]] + [
            F.interpolate(v, size=(h, w), mode="bilinear", align_corners=False) for v in fused[1:]
        ]
        return self.last(torch.cat(ups, 1))


class AttentionGate(nn.Module):
    def __init__(self, g: int, skip: int, inner: int) -> None:
        super().__init__()
        self.W_g = nn.Sequential(nn.Conv2d(g, inner, 1), nn.BatchNorm2d(inner))
        self.W_x = nn.Sequential(nn.Conv2d(skip, inner, 1), nn.BatchNorm2d(inner))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())
        self.relu = nn.ReLU(inplace=True)

    def forward(self, g: Tensor, x: Tensor) -> Tensor:
        return x * self.psi(self.relu(self.W_g(g) + self.W_x(x)))


class AttentionUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e1, self.e2, self.mid = ConvBNAct(3, 6), ConvBNAct(6, 10), ConvBNAct(10, 14)
        self.pool = nn.MaxPool2d(2)
        self.up2, self.up1 = nn.ConvTranspose2d(14, 10, 2, 2), nn.ConvTranspose2d(10, 6, 2, 2)
        self.a2, self.a1 = AttentionGate(10, 10, 5), AttentionGate(g=6, skip=6, inner=3)
        self.d2, self.d1, self.out = ConvBNAct(20, 10), ConvBNAct(12, 6), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        s1 = self.e1(x)
        s2 = self.e2(self.pool(s1))
        x = self.mid(self.pool(s2))
        u = self.up2(x)
        x = self.d2(torch.cat((self.a2(g=u, x=s2), u), dim=1))
        u = self.up1(x)
        dy, dx = s1.size()[2] - u.size()[2], s1.size()[3] - u.size()[3]
        u = F.pad(u, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.out(self.d1(torch.cat((self.a1(u, s1), u), dim=1)))


class UNetPlusPlus(nn.Module):
    """Nested skips by names made of indices, with deep supervision in training."""

    def __init__(self, deep: bool = True) -> None:
        super().__init__()
        nb = [4, 6, 8]
        self.deep = deep
        self.pool, self.up = (
            nn.MaxPool2d(2, 2),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        )
        self.conv0_0, self.conv1_0, self.conv2_0 = (
            ConvBNAct(3, nb[0]),
            ConvBNAct(nb[0], nb[1]),
            ConvBNAct(nb[1], nb[2]),
        )
        self.conv0_1, self.conv1_1 = (
            ConvBNAct(nb[0] + nb[1], nb[0]),
            ConvBNAct(nb[1] + nb[2], nb[1]),
        )
        self.conv0_2 = ConvBNAct(nb[0] * 2 + nb[1], nb[0])
        self.final1, self.final2 = nn.Conv2d(nb[0], 2, 1), nn.Conv2d(nb[0], 2, 1)

    def forward(self, x: Tensor) -> Any:
        x0_0 = self.conv0_0(x)
        x1_0 = self.conv1_0(self.pool(x0_0))
        x0_1 = self.conv0_1(torch.cat([x0_0, self.up(x1_0)], 1))
        x2_0 = self.conv2_0(self.pool(x1_0))
        x1_1 = self.conv1_1(torch.cat([x1_0, self.up(x2_0)], 1))
        x0_2 = self.conv0_2(torch.cat([x0_0, x0_1, self.up(x1_1)], 1))
        if self.deep:
            return [self.final1(x0_1), self.final2(x0_2)]
        return self.final2(x0_2)


class DeepLab(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(ConvBNAct(3, 8), ConvBNAct(8, 12, s=2))
        rates = (1, 2, 3)
        self.convs = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(12, 6, 3, padding=r, dilation=r, bias=False),
                    nn.BatchNorm2d(6),
                    nn.ReLU(),
                )
                for r in rates
            ]
        )
        self.pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 6, 1, bias=False), nn.ReLU()
        )
        self.project = nn.Sequential(
            nn.Conv2d(24, 10, 1, bias=False), nn.BatchNorm2d(10), nn.ReLU(), nn.Dropout(0.5)
        )
        self.classifier, self.aux = nn.Conv2d(10, 3, 1), nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        input_shape = x.shape[-2:]
        features = self.backbone(x)
        res = [conv(features) for conv in self.convs]
        pooled = F.interpolate(
            self.pooling(features), size=features.shape[-2:], mode="bilinear", align_corners=False
        )
        out = self.classifier(self.project(torch.cat([*res, pooled], dim=1)))
        result = {"out": F.interpolate(out, size=input_shape, mode="bilinear", align_corners=False)}
        result["aux"] = F.interpolate(
            self.aux(features), size=input_shape, mode="bilinear", align_corners=False
        )
        return result


class Fpn(nn.Module):
    """A pyramid with lateral convolutions and one head for all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = ConvBNAct(3, 6), ConvBNAct(6, 8, s=2), ConvBNAct(8, 12, s=2)
        self.inner = nn.ModuleList([nn.Conv2d(c, 8, 1) for c in (6, 8, 12)])
        self.layer = nn.ModuleList([nn.Conv2d(8, 8, 3, padding=1) for _ in range(3)])
        self.cls_head = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 2 * 3, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        feats = []
        for stage in (self.c1, self.c2, self.c3):
            x = stage(x)
            feats.append(x)
        last = self.inner[-1](feats[-1])
        results = [self.layer[-1](last)]
        for idx in range(len(feats) - 2, -1, -1):
            lateral = self.inner[idx](feats[idx])
            last = lateral + F.interpolate(last, size=lateral.shape[-2:], mode="nearest")
            results.insert(0, self.layer[idx](last))
        logits = []
        for feature in results:
            out = self.cls_head(feature)
            n, _, h, w = out.shape
            logits.append(out.view(n, -1, 3, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, 3))
        return torch.cat(logits, dim=1)


class YoloHead(nn.Module):
    """CSP block, SPPF and a head with a grid made at the first call."""

    def __init__(self, nc: int = 3, na: int = 2) -> None:
        super().__init__()
        self.stem = ConvBNAct(3, 8, s=2, act=nn.SiLU)
        self.cv1, self.cv2, self.cv3 = ConvBNAct(8, 4, 1), ConvBNAct(8, 4, 1), ConvBNAct(8, 12, 1)
        self.m = nn.Sequential(
            *(nn.Sequential(ConvBNAct(4, 4, 1), ConvBNAct(4, 4, 3)) for _ in range(2))
        )
        self.sppf_in, self.sppf_out = ConvBNAct(12, 6, 1), ConvBNAct(24, 12, 1)
        self.pool = nn.MaxPool2d(kernel_size=5, stride=1, padding=2)
        self.nc, self.na, self.no = nc, na, nc + 5
        self.detect = nn.Conv2d(12, self.no * na, 1)
        self.register_buffer("anchors", torch.tensor([[1.0, 2.0], [2.0, 1.0]]).view(1, na, 1, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), dim=1))
        x = self.sppf_in(x)
        y1 = self.pool(x)
        y2 = self.pool(y1)
        x = self.detect(self.sppf_out(torch.cat([x, y1, y2, self.pool(y2)], 1)))
        bs, _, ny, nx = x.shape
        x = x.view(bs, self.na, self.no, ny, nx).permute(0, 1, 3, 4, 2).contiguous()
        yv, xv = torch.meshgrid(torch.arange(ny), torch.arange(nx), indexing="ij")
        grid = torch.stack((xv, yv), 2).expand((1, self.na, ny, nx, 2)).to(x)
        y = x.sigmoid()
        xy = (y[..., 0:2] * 2.0 - 0.5 + grid) * 2
        wh = (y[..., 2:4] * 2) ** 2 * self.anchors
        return torch.cat((xy, wh, y[..., 4:]), -1).view(bs, -1, self.no)


class PointNet(nn.Module):
    """Clouds [N, 3, P] with a learned 3 × 3 transform."""

    def __init__(self) -> None:
        super().__init__()
        self.t1, self.t2, self.t3 = nn.Conv1d(3, 8, 1), nn.Linear(8, 6), nn.Linear(6, 9)
        self.conv1, self.conv2 = nn.Conv1d(3, 10, 1), nn.Conv1d(10, 16, 1)
        self.bn1, self.bn2 = nn.BatchNorm1d(10), nn.BatchNorm1d(16)
        self.fc1, self.fc2 = nn.Linear(16, 8), nn.Linear(8, 4)

    def stn(self, x: Tensor) -> Tensor:
        batchsize = x.size()[0]
        x = F.relu(self.t1(x))
        x = torch.max(x, 2, keepdim=True)[0]
        x = x.view(-1, 8)
        x = self.t3(F.relu(self.t2(x)))
        iden = torch.eye(3).flatten().view(1, 9).repeat(batchsize, 1).to(x)
        return (x + iden).view(-1, 3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        trans = self.stn(x)
        x = torch.bmm(x.transpose(2, 1), trans).transpose(2, 1)
        x = F.relu(self.bn1(self.conv1(x)))
        x = torch.max(self.bn2(self.conv2(x)), 2, keepdim=True)[0].view(-1, 16)
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=1), trans


POINTS = torch.randn(4, 3, 12, generator=torch.Generator().manual_seed(18))
NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "hrnet_two_resolutions": lambda: (HRNet(), IMAGES),
    "attention_unet": lambda: (AttentionUNet(), IMAGES),
    "unet_plus_plus_deep": lambda: (UNetPlusPlus(), IMAGES),
    "unet_plus_plus": lambda: (UNetPlusPlus(deep=False), IMAGES),
    "deeplab_aux_dict": lambda: (DeepLab(), IMAGES),
    "fpn_shared_head": lambda: (Fpn(), IMAGES),
    "yolo_csp_sppf_grid": lambda: (YoloHead(), IMAGES),
    "pointnet_tnet_written": lambda: (PointNet(), POINTS),
}

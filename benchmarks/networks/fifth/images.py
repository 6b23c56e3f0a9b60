"""Networks of the zoo over images, fifth sample: segmentation, detection, restoration and video as repositories have them."""

# ruff: noqa: E741 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(50)
PHOTOS = torch.randn(2, 3, 32, 32, generator=_G)
SMALL = torch.randn(2, 3, 16, 16, generator=_G)
CLIPS = torch.randn(2, 4, 3, 16, 16, generator=_G)


class SegNet(nn.Module):
    """Places of maxima are kept, and used for going up again."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(12)
        self.pool, self.unpool = nn.MaxPool2d(2, 2, return_indices=True), nn.MaxUnpool2d(2, 2)
        self.dec2, self.dec1 = nn.Conv2d(12, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x, i1 = self.pool(F.relu(self.bn1(self.enc1(x))))
        size = x.size()
        x, i2 = self.pool(F.relu(self.bn2(self.enc2(x))))
        x = F.relu(self.dec2(self.unpool(x, i2, output_size=size)))
        return self.dec1(self.unpool(x, i1))


class LambdaLayer(nn.Module):
    def __init__(self, lambd: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        return self.lambd(x)


class BlockA(nn.Module):
    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 or i != o:
            self.shortcut = LambdaLayer(
                lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, o // 4, o // 4), "constant", 0)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return F.relu(out)


class ResNetA(nn.Module):
    """The residual network of CIFAR-10: zeros in place of channels that a shortcut lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.layer1, self.layer2 = BlockA(8, 8), nn.Sequential(BlockA(8, 16, 2), BlockA(16, 16))
        self.linear = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


class DualPath(nn.Module):
    """DPN: some channels are added, the others put beside what is there."""

    def __init__(self, num: int = 10, inc: int = 3) -> None:
        super().__init__()
        self.num, self.stem = num, nn.Conv2d(3, 8, 3, padding=1)
        self.proj = nn.Conv2d(8, num + 2 * inc, 1)
        self.a = nn.ModuleList(nn.Conv2d(c, 12, 1) for c in (8, num + 3 * inc))
        self.b = nn.ModuleList(nn.Conv2d(12, 12, 3, padding=1, groups=3) for _ in range(2))
        self.c = nn.ModuleList(nn.Conv2d(12, num + inc, 1) for _ in range(2))
        self.fc = nn.Linear(num + 4 * inc, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        s = self.proj(x)
        s1, s2 = s[:, : self.num], s[:, self.num :]
        for a, b, c in zip(self.a, self.b, self.c, strict=True):
            y = c(F.relu(b(F.relu(a(x)))))
            s1, s2 = s1 + y[:, : self.num], torch.cat([s2, y[:, self.num :]], dim=1)
            x = torch.cat([s1, s2], 1)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Fcos(nn.Module):
    """Towers with group norms shared by all levels, a scale of each, distances by exp; lists in a dict come out."""

    def __init__(self) -> None:
        super().__init__()
        self.c3, self.c4 = nn.Conv2d(3, 12, 3, 4, 1), nn.Conv2d(12, 16, 3, 2, 1)
        self.l3, self.l4 = nn.Conv2d(12, 8, 1), nn.Conv2d(16, 8, 1)
        tower = [
            m
            for _ in range(2)
            for m in (nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU())
        ]
        self.cls_tower, self.scales = nn.Sequential(*tower), nn.ModuleList([Scale(), Scale()])
        self.bbox_tower = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU()
        )
        self.cls_logits, self.bbox_pred, self.centerness = (
            nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1))  # fmt: skip

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        c3 = F.relu(self.c3(x))
        c4 = F.relu(self.c4(c3))
        p4 = self.l4(c4)
        p3 = self.l3(c3) + F.interpolate(p4, size=c3.shape[-2:], mode="nearest")
        logits, boxes, centres = [], [], []
        for l, feature in enumerate([p3, p4]):
            tower = self.cls_tower(feature)
            logits.append(self.cls_logits(tower))
            box = self.bbox_tower(feature)
            boxes.append(torch.exp(self.scales[l](self.bbox_pred(box))))
            centres.append(self.centerness(box))
        return {"cls": logits, "box": boxes, "centerness": centres}


class Darknet(nn.Module):
    """YOLOv3 from a list of dicts: routes and shortcuts by index, boxes decoded with a grid."""

    DEFS = (
        {"type": "conv", "filters": 8, "size": 3, "stride": 2},
        {"type": "conv", "filters": 8, "size": 3, "stride": 1},
        {"type": "shortcut", "from": -2},
        {"type": "conv", "filters": 12, "size": 3, "stride": 2},
        {"type": "upsample"},
        {"type": "route", "layers": (-1, 2)},
        {"type": "conv", "filters": 14, "size": 1, "stride": 1, "linear": True},
        {"type": "yolo", "anchors": ((4.0, 5.0), (9.0, 8.0))},
    )

    def __init__(self) -> None:
        super().__init__()
        self.module_list, filters = nn.ModuleList(), [3]
        for i, d in enumerate(self.DEFS):
            modules: nn.Module = nn.Sequential()
            if d["type"] == "conv":
                o, k = d["filters"], d["size"]
                modules.add_module(
                    f"conv_{i}", nn.Conv2d(filters[-1], o, k, d["stride"], (k - 1) // 2)
                )
                if not d.get("linear"):
                    modules.add_module(f"batch_norm_{i}", nn.BatchNorm2d(o, momentum=0.9, eps=1e-5))
                    modules.add_module(f"leaky_{i}", nn.LeakyReLU(0.1))
                filters.append(o)
            elif d["type"] == "upsample":
                modules = nn.Upsample(scale_factor=2, mode="nearest")
                filters.append(filters[-1])
            elif d["type"] == "route":
                filters.append(sum(filters[1:][l] for l in d["layers"]))
            else:
                filters.append(filters[-1])
            self.module_list.append(modules)

    def forward(self, x: Tensor) -> Tensor:
        img, outputs, found = x.size(2), [], []
        for d, module in zip(self.DEFS, self.module_list, strict=True):
            if d["type"] in ("conv", "upsample"):
                x = module(x)
            elif d["type"] == "route":
                x = torch.cat([outputs[l] for l in d["layers"]], 1)
            elif d["type"] == "shortcut":
                x = outputs[-1] + outputs[d["from"]]
            else:
                x = self.decode(x, img, d["anchors"])
                found.append(x)
            outputs.append(x)
        return torch.cat(found, 1)

    def decode(self, x: Tensor, img: int, anchors: Any) -> Tensor:
        b, g, n = x.size(0), x.size(2), len(anchors)
        stride = img / g
        p = x.view(b, n, 7, g, g).permute(0, 1, 3, 4, 2).contiguous()
        grid_x = torch.arange(g).repeat(g, 1).view([1, 1, g, g]).type_as(x)
        grid_y = torch.arange(g).repeat(g, 1).t().view([1, 1, g, g]).type_as(x)
        scaled = x.new_tensor([(w / stride, h / stride) for w, h in anchors])
        boxes = torch.zeros_like(p[..., :4])
        boxes[..., 0] = torch.sigmoid(p[..., 0]).data + grid_x
        boxes[..., 1] = torch.sigmoid(p[..., 1]).data + grid_y
        boxes[..., 2] = torch.exp(p[..., 2]) * scaled[:, 0:1].view(1, n, 1, 1)
        boxes[..., 3] = torch.exp(p[..., 3]) * scaled[:, 1:2].view(1, n, 1, 1)
        return torch.cat(
            (boxes.view(b, -1, 4) * stride, torch.sigmoid(p[..., 4]).view(b, -1, 1),
             torch.sigmoid(p[..., 5:]).view(b, -1, 2)), -1)  # fmt: skip


class C2f(nn.Module):
    def __init__(self, c1: int, c2: int, n: int = 2) -> None:
        super().__init__()
        self.c = c2 // 2
        self.cv1, self.cv2 = nn.Conv2d(c1, 2 * self.c, 1), nn.Conv2d((2 + n) * self.c, c2, 1)
        self.m = nn.ModuleList(
            nn.Sequential(nn.Conv2d(self.c, self.c, 3, 1, 1), nn.SiLU()) for _ in range(n)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class YoloV8(nn.Module):
    """C2f blocks, and distances as expectations of distributions by a fixed convolution (DFL)."""

    def __init__(self, reg: int = 4, nc: int = 3) -> None:
        super().__init__()
        self.reg, self.nc, self.no = reg, nc, 4 * reg + nc
        self.stem, self.c2f = nn.Conv2d(3, 8, 3, 2, 1), C2f(8, 12)
        self.down = nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU())
        self.cv2 = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 8, 3, 1, 1), nn.SiLU(), nn.Conv2d(8, 4 * reg, 1))
            for c in (12, 16)
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 6, 3, 1, 1), nn.SiLU(), nn.Conv2d(6, nc, 1))
            for c in (12, 16)
        )
        self.dfl = nn.Conv2d(reg, 1, 1, bias=False).requires_grad_(False)
        self.dfl.weight.data[:] = torch.arange(reg, dtype=torch.float).view(1, reg, 1, 1)

    def forward(self, x: Tensor) -> Any:
        p3 = self.c2f(F.silu(self.stem(x)))
        xs = [p3, self.down(p3)]
        for i in range(2):
            xs[i] = torch.cat((self.cv2[i](xs[i]), self.cv3[i](xs[i])), 1)
        if self.training:
            return xs
        box, cls = torch.cat([xi.view(xi.shape[0], self.no, -1) for xi in xs], 2).split(
            (self.reg * 4, self.nc), 1
        )
        b, _, a = box.shape
        box = self.dfl(box.view(b, 4, self.reg, a).transpose(2, 1).softmax(1)).view(b, 4, a)
        return torch.cat((box, cls.sigmoid()), 1)


class BiFpn(nn.Module):
    """EfficientDet's pyramid: weights of inputs made positive and divided by their sum."""

    def __init__(self, c: int = 10) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 14, 3, 2, 1)
        self.p1, self.p2 = nn.Conv2d(8, c, 1), nn.Conv2d(14, c, 1)
        self.td, self.bu = self.separable(c), self.separable(c)
        self.w1, self.w2, self.head = (
            nn.Parameter(torch.ones(2)),
            nn.Parameter(torch.ones(3)),
            nn.Conv2d(c, 4, 1),
        )

    def separable(self, c: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False), nn.Conv2d(c, c, 1),
                             nn.BatchNorm2d(c, momentum=0.01, eps=1e-3), nn.SiLU())  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        c1 = F.relu(self.c1(x))
        c2 = F.relu(self.c2(c1))
        p1, p2 = self.p1(c1), self.p2(c2)
        w1 = F.relu(self.w1)
        w1 = w1 / (torch.sum(w1, dim=0) + 1e-4)
        t1 = self.td(w1[0] * p1 + w1[1] * F.interpolate(p2, scale_factor=2))
        w2 = F.relu(self.w2)
        w2 = w2 / (torch.sum(w2, dim=0) + 1e-4)
        t2 = self.bu(w2[0] * p2 + w2[1] * F.max_pool2d(t1, 2) + w2[2] * self.p2(c2))
        return self.head(t1), self.head(t2)


class Rrdb(nn.Module):
    """ESRGAN: dense layers, residuals scaled by .2, enlarged by nearest neighbours."""

    def __init__(self, nf: int = 8, gc: int = 5) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, nf, 3, 1, 1)
        for i in range(3):
            setattr(self, f"conv{i}", nn.Conv2d(nf + i * gc, gc if i < 2 else nf, 3, 1, 1))
        self.trunk, self.up, self.last = (
            nn.Conv2d(nf, nf, 3, 1, 1), nn.Conv2d(nf, nf, 3, 1, 1), nn.Conv2d(nf, 3, 3, 1, 1))  # fmt: skip

    def rdb(self, x: Tensor) -> Tensor:
        x1 = F.leaky_relu(self.conv0(x), 0.2, inplace=True)
        x2 = F.leaky_relu(self.conv1(torch.cat((x, x1), 1)), 0.2, inplace=True)
        return self.conv2(torch.cat((x, x1, x2), 1)) * 0.2 + x

    def forward(self, x: Tensor) -> Tensor:
        fea = self.conv_first(x)
        fea = fea + self.trunk(self.rdb(self.rdb(fea)) * 0.2 + fea)
        return self.last(
            F.leaky_relu(self.up(F.interpolate(fea, scale_factor=2, mode="nearest")), 0.2)
        )


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "segnet_unpooled": lambda: (SegNet(), PHOTOS),
    "resnet_zero_channels": lambda: (ResNetA(), PHOTOS),
    "dual_path": lambda: (DualPath(), SMALL),
    "fcos_scales": lambda: (Fcos(), PHOTOS),
    "darknet_from_dicts": lambda: (Darknet(), PHOTOS),
    "yolo_c2f_dfl": lambda: (YoloV8(), PHOTOS),
    "bifpn": lambda: (BiFpn(), PHOTOS),
    "esrgan_dense": lambda: (Rrdb(), SMALL),
}

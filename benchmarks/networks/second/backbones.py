"""Convolutional backbones of the zoo, in the styles of torchvision, timm and papers' own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(17))


class ConvBNAct(nn.Sequential):
    """torchvision's Conv2dNormActivation: a subclass of Sequential."""

    def __init__(
        self, cin: int, cout: int, k: int = 3, s: int = 1, groups: int = 1, act: Any = nn.ReLU
    ) -> None:
        layers = [
            nn.Conv2d(cin, cout, k, s, (k - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(cout),
        ]
        super().__init__(*layers, *([act()] if act is not None else []))
        self.out_channels = cout


class EcaLayer(nn.Module):
    """timm's ECA: a 1d convolution over the channels."""

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size=k, padding=(k - 1) // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3)).view(x.shape[0], 1, -1)
        y = self.conv(y)
        return x * y.view(x.shape[0], -1, 1, 1).sigmoid().expand_as(x)


class Cbam(nn.Module):
    def __init__(self, dim: int, r: int = 4) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(dim, dim // r), nn.ReLU(), nn.Linear(dim // r, dim)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        total = None
        for kind in ("avg", "max"):
            pool = F.avg_pool2d if kind == "avg" else F.max_pool2d
            raw = self.mlp(pool(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3))))
            total = raw if total is None else total + raw
        assert total is not None
        x = x * torch.sigmoid(total).unsqueeze(2).unsqueeze(3).expand_as(x)
        squeezed = torch.cat(
            (torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1
        )
        return x * torch.sigmoid(self.spatial(squeezed))


class Bottleneck(nn.Module):
    expansion = 2

    def __init__(
        self,
        cin: int,
        planes: int,
        stride: int = 1,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        out = planes * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(cin, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = (
            nn.Conv2d(planes, planes, 3, stride, 1, bias=False),
            nn.BatchNorm2d(planes),
        )
        self.conv3, self.bn3 = nn.Conv2d(planes, out, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.att = attention(out) if attention else None
        self.downsample = None
        if stride != 1 or cin != out:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride),
                nn.Conv2d(cin, out, 1, bias=False),
                nn.BatchNorm2d(out),
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.att is not None:
            out = self.att(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(
        self, attention: Callable[[int], nn.Module] | None = None, num_classes: int = 5
    ) -> None:
        super().__init__()
        self.inplanes = 8
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for i, (planes, blocks) in enumerate([(4, 2), (6, 1)]):
            setattr(self, f"layer{i + 1}", self._make_layer(planes, blocks, 1 + i, attention))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(self.inplanes, num_classes)

    def _make_layer(self, planes: int, blocks: int, stride: int, attention: Any) -> nn.Sequential:
        layers = []
        for i in range(blocks):
            layers.append(Bottleneck(self.inplanes, planes, stride if i == 0 else 1, attention))
            self.inplanes = planes * Bottleneck.expansion
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        for i in (1, 2):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class SqueezeExcite(nn.Module):
    def __init__(self, cin: int, squeeze: int, gate: Any = nn.Sigmoid) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(cin, squeeze, 1), nn.Conv2d(squeeze, cin, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        s = x.mean([2, 3], keepdim=True)
        return x.mul_(self.gate(self.fc2(F.silu(self.fc1(s), inplace=True))))


class MBConv(nn.Module):
    def __init__(
        self,
        cin: int,
        cout: int,
        expand: int,
        k: int,
        stride: int,
        survival: float,
        act: Any = nn.SiLU,
    ) -> None:
        super().__init__()
        mid = cin * expand
        self.use_res = stride == 1 and cin == cout
        layers: list[nn.Module] = []
        if expand != 1:
            layers.append(ConvBNAct(cin, mid, 1, act=act))
        layers += [ConvBNAct(mid, mid, k, stride, groups=mid, act=act)]
        layers += [SqueezeExcite(mid, max(1, cin // 4)), ConvBNAct(mid, cout, 1, act=None)]
        self.block = nn.Sequential(*layers)
        self.survival = survival

    def forward(self, x: Tensor) -> Tensor:
        result = self.block(x)
        if self.use_res:
            if self.training:
                mask = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < self.survival
                result = result * mask / self.survival
            result = result + x
        return result


class EfficientNet(nn.Module):
    def __init__(self, act: Any = nn.SiLU) -> None:
        super().__init__()
        spec = [(1, 3, 1, 6, 1), (4, 5, 2, 8, 2)]
        features, cin = [ConvBNAct(3, 6, 3, 2, act=act)], 6
        for e, k, s, c, n in spec:
            for i in range(n):
                features.append(MBConv(cin, c, e, k, s if i == 0 else 1, 0.8, act))  # type: ignore[arg-type]
                cin = c
        features.append(ConvBNAct(cin, 20, 1, act=act))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(p=0.2, inplace=True), nn.Linear(20, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(x.view(x.size(0), -1))


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class CNBlock(nn.Module):
    def __init__(self, dim: int, drop: float = 0.1) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = (
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Linear(4 * dim, dim),
        )
        self.gamma = nn.Parameter(1e-1 * torch.ones(dim), requires_grad=True)
        self.grn_gamma = nn.Parameter(torch.full((1, 1, 1, 4 * dim), 0.3))
        self.grn_beta = nn.Parameter(torch.zeros(1, 1, 1, 4 * dim))
        self.v2 = drop == 0

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.dwconv(x).permute(0, 2, 3, 1)
        x = self.act(self.pwconv1(self.norm(x)))
        if self.v2:
            gx = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
            x = (
                self.grn_gamma * (x * (gx / (gx.mean(dim=-1, keepdim=True) + 1e-6)))
                + self.grn_beta
                + x
            )
        x = self.pwconv2(x)
        if not self.v2:
            x = self.gamma * x
        return shortcut + x.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self, drop: float = 0.1) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3, 8, 4, 4), LayerNorm2d(8, eps=1e-6))]
        )
        self.downsample_layers.append(
            nn.Sequential(LayerNorm2d(8, eps=1e-6), nn.Conv2d(8, 12, kernel_size=2, stride=2))
        )
        self.stages = nn.ModuleList(
            [nn.Sequential(*[CNBlock(d, drop) for _ in range(2)]) for d in (8, 12)]
        )
        self.norm, self.head = nn.LayerNorm(12, eps=1e-6), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(2):
            x = self.stages[i](self.downsample_layers[i](x))
        return self.head(self.norm(x.mean([-2, -1])))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet_eca": lambda: ResNet(lambda dim: EcaLayer()),
    "resnet_cbam_class": lambda: ResNet(Cbam),
    "resnet_d": ResNet,
    "efficientnet_survival": EfficientNet,
    "efficientnet_hardswish": lambda: EfficientNet(nn.Hardswish),
    "convnext_layer_scale": ConvNeXt,
    "convnext_grn": lambda: ConvNeXt(0.0),
}

"""Small backbones of the zoo: channels shuffled, cheap, reparametrised, standardised."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.second.backbones import ConvBNAct, SqueezeExcite


class ShuffleUnit(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.stride, half = stride, cout // 2
        cin2 = cin if stride > 1 else half
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                ConvBNAct(cin, cin, 3, stride, groups=cin, act=None), ConvBNAct(cin, half, 1)
            )
        self.branch2 = nn.Sequential(
            ConvBNAct(cin2, half, 1),
            ConvBNAct(half, half, 3, stride, groups=half, act=None),
            ConvBNAct(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        b, c, h, w = out.size()
        out = out.view(b, 2, c // 2, h, w)
        return torch.transpose(out, 1, 2).contiguous().view(b, c, h, w)


class ShuffleNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(3, 8, 3, 2)
        self.stage2 = nn.Sequential(ShuffleUnit(8, 12, 2), ShuffleUnit(12, 12, 1))
        self.conv5, self.fc = ConvBNAct(12, 16, 1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv5(self.stage2(self.conv1(x))).mean([2, 3])
        return self.fc(x)


class GhostModule(nn.Module):
    def __init__(self, inp: int, oup: int, ratio: int = 2) -> None:
        super().__init__()
        self.oup, init = oup, math.ceil(oup / ratio)
        self.primary = ConvBNAct(inp, init, 1)
        self.cheap = ConvBNAct(init, init * (ratio - 1), 3, groups=init)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.primary(x)
        x2 = self.cheap(x1)
        return torch.cat([x1, x2], dim=1)[:, : self.oup, :, :]


class GhostNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBNAct(3, 8)
        self.ghost1, self.ghost2 = GhostModule(8, 15), GhostModule(15, 8)
        self.se = SqueezeExcite(15, 4, nn.Hardsigmoid)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.ghost2(self.se(self.ghost1(x)))
        return self.classifier(F.adaptive_avg_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1))


class RepVggBlock(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.rbr_identity = nn.BatchNorm2d(cin) if cin == cout and stride == 1 else None
        self.rbr_dense = self.conv_bn(cin, cout, 3, stride, 1)
        self.rbr_1x1 = self.conv_bn(cin, cout, 1, stride, 0)

    @staticmethod
    def conv_bn(cin: int, cout: int, k: int, s: int, p: int) -> nn.Sequential:
        result = nn.Sequential()
        result.add_module("conv", nn.Conv2d(cin, cout, k, s, p, bias=False))
        result.add_module("bn", nn.BatchNorm2d(num_features=cout))
        return result

    def forward(self, inputs: Tensor) -> Tensor:
        id_out: Tensor | int = 0 if self.rbr_identity is None else self.rbr_identity(inputs)
        return F.relu(self.rbr_dense(inputs) + self.rbr_1x1(inputs) + id_out)


class RepVgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage0 = RepVggBlock(3, 8, 2)
        self.stage1 = nn.Sequential(RepVggBlock(8, 8), RepVggBlock(8, 12, 2))
        self.gap, self.linear = nn.AdaptiveAvgPool2d(output_size=1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.gap(self.stage1(self.stage0(x)))
        return self.linear(out.view(out.size(0), -1))


class WsConv(nn.Conv2d):
    """A weight-standardised convolution, as in BiT."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        v, m = torch.var_mean(w, dim=[1, 2, 3], keepdim=True, unbiased=False)
        w = (w - m) / torch.sqrt(v + 1e-10)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class BiT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.root = nn.Sequential(
            OrderedDict(
                [
                    ("conv", WsConv(3, 8, 3, padding=1)),
                    ("pad", nn.ConstantPad2d(1, 0.0)),
                    ("pool", nn.MaxPool2d(3, 2)),
                ]
            )
        )
        self.gn1, self.conv1 = nn.GroupNorm(2, 8), WsConv(8, 12, 1, bias=False)
        self.gn2, self.conv2 = nn.GroupNorm(12, 12), WsConv(12, 8, 3, padding=1, bias=False)
        self.head = nn.Conv2d(8, 5, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.root(x)
        y = self.conv2(F.relu(self.gn2(self.conv1(F.relu(self.gn1(x))))))
        x = self.head(torch.mean(x + y, dim=(2, 3), keepdim=True))
        assert x.shape[-2:] == (1, 1)
        return x[..., 0, 0]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "shufflenet_two_units": ShuffleNetV2,
    "ghostnet_odd": GhostNet,
    "repvgg_three_branches": RepVgg,
    "bit_weight_standardised": BiT,
}

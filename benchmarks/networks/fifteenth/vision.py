"""Networks of the zoo over images, fifteenth sample: layers by name, critics of whole batches, windows that are padded."""

# ruff: noqa: N803, N806 - names and lines as people write them
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from benchmarks.networks.fifteenth.inputs import INPUTS, LABELLED, ODD_IMAGES


class IntermediateLayerGetter(nn.ModuleDict):
    """The layers of a backbone up to the last that is asked for, and what those give under new names."""

    def __init__(self, model: nn.Module, return_layers: dict[str, str]) -> None:
        orig_return_layers = dict(return_layers)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for name, module in model.named_children():
            layers[name] = module
            return_layers.pop(name, None)
            if not return_layers:
                break
        super().__init__(layers)
        self.return_layers = orig_return_layers

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        out = OrderedDict()
        for name, module in self.items():
            x = module(x)
            if name in self.return_layers:
                out[self.return_layers[name]] = x
        return out


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, 2, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(12), nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(
            nn.Conv2d(12, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.layer2 = nn.Sequential(
            nn.Conv2d(16, 24, 3, 2, 2, dilation=2), nn.BatchNorm2d(24), nn.ReLU(inplace=True)
        )
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(24, 10)


class FCNHead(nn.Sequential):
    def __init__(self, in_channels: int, channels: int) -> None:
        inter_channels = in_channels // 2
        super().__init__(
            nn.Conv2d(in_channels, inter_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(inter_channels),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(inter_channels, channels, 1),
        )


class SegmenterWithEdges(nn.Module):
    """A segmentation, one of a layer before, and edges, each as large as the image."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.backbone = IntermediateLayerGetter(Backbone(), {"layer1": "aux", "layer2": "out"})
        self.classifier, self.aux_classifier = FCNHead(24, classes), FCNHead(16, classes)
        self.edge = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        size, features = x.shape[-2:], self.backbone(x)
        result = OrderedDict()
        for name, head in (("out", self.classifier), ("aux", self.aux_classifier)):
            result[name] = F.interpolate(
                head(features[name]), size=size, mode="bilinear", align_corners=False
            )
        result["edge"] = torch.sigmoid(F.interpolate(self.edge(features["aux"]), size=size))
        return result


class ProjectionCritic(nn.Module):
    """A critic of labelled images by inner products, with the spread of the batch as a channel, all under spectral norms."""

    def __init__(self, ch: int = 8, n_classes: int = 4) -> None:
        super().__init__()
        sn = spectral_norm
        self.main = nn.Sequential(
            sn(nn.Conv2d(3, ch, 4, 2, 1)),
            nn.LeakyReLU(0.2, inplace=True),
            sn(nn.Conv2d(ch, 2 * ch, 4, 2, 1)),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.last = sn(nn.Conv2d(2 * ch + 1, 2 * ch, 3, 1, 1))
        self.fc, self.emb = sn(nn.Linear(2 * ch, 1)), sn(nn.Embedding(n_classes, 2 * ch))

    def spread(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        y = x - x.mean(0, keepdim=True)
        y = (y.pow(2).mean(0) + 1e-8).sqrt().mean().view(1, 1, 1, 1).expand(n, 1, h, w)
        return torch.cat([x, y], 1)

    def forward(self, img: Tensor, label: Tensor) -> Tensor:
        h = self.spread(self.main(img))
        h = F.leaky_relu(self.last(h), 0.2).sum((2, 3))
        return self.fc(h) + (self.emb(label) * h).sum(1, keepdim=True)


class InPlaceScaling(nn.Module):
    """Centres the images that it is given, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1))
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(12, 12, 3, groups=3, padding=1, padding_mode="circular")
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x -= self.mean
        x.div_(0.25)
        x = F.hardswish(self.conv2(F.relu_(self.conv1(x))))
        return self.fc(x.amax((-1, -2)))


def window_partition(x: Tensor, window_size: int) -> Tensor:
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window_size, window_size, C)


def window_reverse(windows: Tensor, window_size: int, H: int, W: int) -> Tensor:
    B = int(windows.shape[0] / (H * W / window_size / window_size))
    x = windows.view(B, H // window_size, W // window_size, window_size, window_size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(B, H, W, -1)


class PaddedWindows(nn.Module):
    """Attention in windows of images whose sides these do not divide: padded, and cropped again."""

    def __init__(self, dim: int = 16, heads: int = 2, window_size: int = 4) -> None:
        super().__init__()
        self.heads, self.window_size, self.scale = heads, window_size, (dim // heads) ** -0.5
        self.stem, self.norm = nn.Conv2d(3, dim, 2, 2), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(dim, 2 * dim), act=nn.GELU(), fc2=nn.Linear(2 * dim, dim))
        )
        self.head = nn.Linear(dim, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        shortcut, (_, H, W, C), ws = x, x.shape, self.window_size
        x = F.pad(self.norm(x), (0, 0, 0, (ws - W % ws) % ws, 0, (ws - H % ws) % ws))
        _, Hp, Wp, _ = x.shape
        windows = window_partition(x, ws).view(-1, ws * ws, C)
        B_, N, _ = windows.shape
        qkv = self.qkv(windows).reshape(B_, N, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attn = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1)
        windows = self.proj((attn @ v).transpose(1, 2).reshape(B_, N, C)).view(-1, ws, ws, C)
        x = shortcut + window_reverse(windows, ws, Hp, Wp)[:, :H, :W].contiguous()
        x = x + self.mlp(x)
        return self.head(x.mean((1, 2)))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "segmenter_with_edges": lambda: (SegmenterWithEdges(), INPUTS.images),
    "projection_critic": lambda: (ProjectionCritic(), LABELLED),
    "in_place_scaling": lambda: (InPlaceScaling(), INPUTS.images),
    "padded_windows": lambda: (PaddedWindows(), ODD_IMAGES),
}

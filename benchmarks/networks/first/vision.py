"""Small networks for images as people write them: for the figure ``zoo``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Maker = Callable[[], nn.Module]


def conv(
    i: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> nn.Sequential:
    """A convolution, BatchNorm and an activation."""
    parts: list[nn.Module] = [
        nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False),
        nn.BatchNorm2d(o),
    ]
    return nn.Sequential(*parts, *([act()] if act else []))


class Classifier(nn.Module):
    """Blocks, global pooling and a linear layer."""

    def __init__(self, *blocks: nn.Module, width: int, pool: str = "mean") -> None:
        super().__init__()
        self.blocks, self.head, self.pool = nn.Sequential(*blocks), nn.Linear(width, 5), pool

    def forward(self, x: Tensor) -> Any:
        x = self.blocks(x)
        if self.pool == "adaptive":
            x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        elif self.pool == "max":
            x = x.amax((2, 3))
        else:
            x = x.mean([2, 3])
        return self.head(x)


class Basic(nn.Module):
    """A residual block of two convolutions (ResNet), with options of its descendants."""

    def __init__(
        self, i: int, o: int, s: int = 1, *, pre: bool = False, zero: bool = False
    ) -> None:
        super().__init__()
        self.pre = pre
        self.n1, self.c1 = nn.BatchNorm2d(i if pre else o), nn.Conv2d(i, o, 3, s, 1, bias=False)
        self.n2, self.c2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.down = conv(i, o, 1, s, act=None) if s > 1 or i != o else None
        if zero:
            nn.init.zeros_(self.n2.weight)

    def forward(self, x: Tensor) -> Any:
        short = x if self.down is None else self.down(x)
        if self.pre:
            return self.c2(F.relu(self.n2(self.c1(F.relu(self.n1(x)))))) + short
        out = self.n2(self.c2(self.relu(self.n1(self.c1(x)))))
        out += short
        return self.relu(out)


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 (perhaps in groups), 1 × 1."""

    def __init__(self, c: int, mid: int, g: int = 1, attention: nn.Module | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(c, mid, 1), conv(mid, mid, 3, g=g), conv(mid, c, 1, act=None)
        )
        self.attention = attention

    def forward(self, x: Tensor) -> Any:
        y = self.body(x)
        return F.relu(x + (y if self.attention is None else self.attention(y)))


class SE(nn.Module):
    """Squeeze and excite."""

    def __init__(self, c: int, r: int = 2, how: str = "conv") -> None:
        super().__init__()
        self.how = how
        kind: Any = nn.Conv2d if how == "conv" else nn.Linear
        more = (1,) if how == "conv" else ()
        self.a, self.b = kind(c, c // r, *more), kind(c // r, c, *more)

    def forward(self, x: Tensor) -> Any:
        if self.how == "conv":
            return x * torch.sigmoid(self.b(F.relu(self.a(F.adaptive_avg_pool2d(x, 1)))))
        b, c, _, _ = x.size()
        y = F.adaptive_avg_pool2d(x, 1).view(b, c)
        y = torch.sigmoid(self.b(F.relu(self.a(y)))).view(b, c, 1, 1)
        return x * y.expand_as(x)


class CBAM(nn.Module):
    """Attention over channels and over places."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(c, c // 2), nn.ReLU(), nn.Linear(c // 2, c)
        )
        self.place = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Any:
        mean = self.mlp(F.avg_pool2d(x, (x.size(2), x.size(3))))
        top = self.mlp(F.max_pool2d(x, (x.size(2), x.size(3))))
        x = x * torch.sigmoid(mean + top).unsqueeze(2).unsqueeze(3).expand_as(x)
        seen = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.place(seen))


class ECA(nn.Module):
    """Attention over channels by a convolution along them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return x * torch.sigmoid(y)[:, :, None, None]


class Inverted(nn.Module):
    """An inverted residual (MobileNetV2, EfficientNet)."""

    def __init__(
        self, i: int, o: int, t: int = 3, se: bool = False, act: type[nn.Module] = nn.ReLU6
    ) -> None:
        super().__init__()
        h = i * t
        layers: list[nn.Module] = [conv(i, h, 1, act=act), conv(h, h, 3, g=h, act=act)]
        layers += [SE(h)] if se else []
        self.conv = nn.Sequential(*layers, conv(h, o, 1, act=None))
        self.use_res_connect = i == o

    def forward(self, x: Tensor) -> Any:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class Dense(nn.Module):
    """Layers that see all before (DenseNet)."""

    def __init__(self, c: int, growth: int, n: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(c + i * growth),
                nn.ReLU(),
                nn.Conv2d(c + i * growth, growth, 3, padding=1),
            )
            for i in range(n)
        )

    def forward(self, x: Tensor) -> Any:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b = conv(c, 4, 1), nn.Sequential(conv(c, 4, 1), conv(4, 6))
        self.c, self.d = (
            nn.Sequential(conv(c, 2, 1), conv(2, 4, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(c, 2, 1)),
        )

    def forward(self, x: Tensor) -> Any:
        return torch.cat([self.a(x), self.b(x), self.c(x), self.d(x)], dim=1)


class Fire(nn.Module):
    """SqueezeNet."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.squeeze, self.one, self.three = (
            nn.Conv2d(c, 4, 1),
            nn.Conv2d(4, 6, 1),
            nn.Conv2d(4, 6, 3, padding=1),
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.one(x)), self.act(self.three(x))], 1)


class C2f(nn.Module):
    """A block of YOLO: halves, of which one is worked on again and again."""

    def __init__(self, c: int, n: int = 2, how: str = "chunk") -> None:
        super().__init__()
        self.c, self.how = c // 2, how
        self.cv1, self.cv2 = conv(c, c, 1, act=nn.SiLU), conv((2 + n) * self.c, c, 1, act=nn.SiLU)
        self.m = nn.ModuleList(conv(self.c, self.c, act=nn.SiLU) for _ in range(n))

    def forward(self, x: Tensor) -> Any:
        y = self.cv1(x)
        parts = list(y.chunk(2, 1)) if self.how == "chunk" else list(y.split((self.c, self.c), 1))
        parts.extend(m(parts[-1]) for m in self.m)
        return self.cv2(torch.cat(parts, 1))


class SPPF(nn.Module):
    """Pools one after another, put together."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.m = conv(c, c // 2, 1), conv(c * 2, c, 1), nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Any:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class Shuffle(nn.Module):
    """ShuffleNetV2: half of the channels pass, then all are shuffled."""

    def __init__(self, c: int) -> None:
        super().__init__()
        h = c // 2
        self.branch = nn.Sequential(conv(h, h, 1), conv(h, h, 3, g=h, act=None), conv(h, h, 1))

    def forward(self, x: Tensor) -> Any:
        a, b = x.chunk(2, dim=1)
        x = torch.cat((a, self.branch(b)), dim=1)
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


class Next(nn.Module):
    """ConvNeXt: a depthwise convolution, LayerNorm over channels, a multilayer perceptron and layer scale."""

    def __init__(self, c: int, norm: str = "permuted") -> None:
        super().__init__()
        self.how, self.dw = norm, nn.Conv2d(c, c, 7, padding=3, groups=c)
        self.norm, self.a, self.b = nn.LayerNorm(c), nn.Linear(c, 3 * c), nn.Linear(3 * c, c)
        self.gamma = nn.Parameter(torch.rand(c))

    def forward(self, x: Tensor) -> Any:
        y = self.dw(x)
        if self.how == "by hand":
            u = y.mean(1, keepdim=True)
            s = (y - u).pow(2).mean(1, keepdim=True)
            y = (y - u) / torch.sqrt(s + 1e-6)
            y = (self.norm.weight[:, None, None] * y + self.norm.bias[:, None, None]).permute(
                0, 2, 3, 1
            )
        else:
            y = self.norm(y.permute(0, 2, 3, 1))
        y = self.gamma * self.b(F.gelu(self.a(y)))
        return x + y.permute(0, 3, 1, 2)


class UNet(nn.Module):
    """Down and up again, with what was seen on the way."""

    def __init__(self, up: str = "transposed", skip: str = "cat", depth: int = 2) -> None:
        super().__init__()
        w = [6 * 2**i for i in range(depth + 1)]
        self.up, self.skip = up, skip
        self.inc = conv(3, w[0])
        self.downs = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), conv(w[i], w[i + 1])) for i in range(depth)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(w[i + 1], w[i], 2, 2)
            if up == "transposed"
            else nn.Conv2d(w[i + 1], w[i], 1)
            for i in reversed(range(depth))
        )
        times = 2 if skip == "cat" else 1
        self.convs = nn.ModuleList(conv(times * w[i], w[i]) for i in reversed(range(depth)))
        self.outc = nn.Conv2d(w[0], 2, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.inc(x)
        seen = []
        for down in self.downs:
            seen.append(x)
            x = down(x)
        for up, block in zip(self.ups, self.convs, strict=True):
            y = seen.pop()
            if self.up == "transposed":
                x = up(x)
                dy, dx = y.size(2) - x.size(2), y.size(3) - x.size(3)
                x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            else:
                x = F.interpolate(up(x), size=y.shape[2:], mode="bilinear", align_corners=False)
            x = block(torch.cat([y, x], dim=1) if self.skip == "cat" else x + y)
        return self.outc(x)


class FPN(nn.Module):
    """Feature pyramid, with one head for all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = conv(3, 6, s=2), conv(6, 8, s=2), conv(8, 12, s=2)
        self.lateral = nn.ModuleList(nn.Conv2d(c, 8, 1) for c in (6, 8, 12))
        self.head = nn.Conv2d(8, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        c1 = self.c1(x)
        c2 = self.c2(c1)
        c3 = self.c3(c2)
        p3 = self.lateral[2](c3)
        p2 = self.lateral[1](c2) + F.interpolate(p3, scale_factor=2, mode="nearest")
        p1 = self.lateral[0](c1) + F.interpolate(p2, scale_factor=2, mode="nearest")
        return [self.head(p) for p in (p1, p2, p3)]


class GoogLeNet(nn.Module):
    """With an auxiliary head in training."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.i1, self.i2 = conv(3, 8, s=2), Inception(8), Inception(16)
        self.aux, self.fc = (
            nn.Sequential(conv(16, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
            nn.Linear(16, 5),
        )

    def forward(self, x: Tensor) -> Any:
        x = self.i1(self.stem(x))
        aux = self.aux(x) if self.training else None
        x = self.fc(self.i2(x).mean((2, 3)))
        return (x, aux) if self.training else x


class VAE(nn.Module):
    """A convolutional variational autoencoder."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(conv(3, 6, s=2), conv(6, 8, s=2), nn.Flatten())
        self.mu, self.logvar, self.up = nn.Linear(128, 4), nn.Linear(128, 4), nn.Linear(4, 128)
        self.dec = nn.Sequential(
            nn.Unflatten(1, (8, 4, 4)),
            nn.ConvTranspose2d(8, 6, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 3, 4, 2, 1),
        )

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Any:
        if self.training:
            std = torch.exp(0.5 * logvar)
            return mu + torch.randn_like(std) * std
        return mu

    def forward(self, x: Tensor) -> Any:
        h = self.enc(x)
        mu, logvar = self.mu(h), self.logvar(h)
        return torch.sigmoid(self.dec(F.relu(self.up(self.reparameterize(mu, logvar))))), mu, logvar


def vgg(*, norm: bool = True, flat: bool = True) -> nn.Module:
    """A VGG: convolutions, pools, and fully connected layers over all positions."""
    layers: list[nn.Module] = []
    c = 3
    for o in (6, -1, 8, 8, -1):
        if o < 0:
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [
            nn.Conv2d(c, o, 3, padding=1),
            *([nn.BatchNorm2d(o)] if norm else []),
            nn.ReLU(inplace=True),
        ]
        c = o
    head = [nn.Flatten(), nn.Linear(8 * 16, 20), nn.ReLU(True), nn.Dropout(), nn.Linear(20, 5)]
    return nn.Sequential(*layers, *head) if flat else Classifier(*layers, width=8)


STEM = (3, 8)
NETWORKS: dict[str, Maker] = {
    "VGG": lambda: vgg(),
    "VGG without BatchNorm": lambda: vgg(norm=False, flat=False),
    "ResNet": lambda: Classifier(conv(*STEM), Basic(8, 8), Basic(8, 12, 2), width=12, pool="adaptive"),
    "ResNet, pre-activation": lambda: Classifier(conv(*STEM), Basic(8, 8, pre=True), Basic(8, 12, 2, pre=True), width=12),
    "ResNet, last norm zero": lambda: Classifier(conv(*STEM), Basic(8, 8, zero=True), width=8, pool="max"),
    "ResNet of bottlenecks": lambda: Classifier(conv(*STEM), Bottleneck(8, 4), Bottleneck(8, 6), width=8),
    "ResNeXt": lambda: Classifier(conv(*STEM), Bottleneck(8, 8, g=4), width=8),
    "SE-ResNet": lambda: Classifier(conv(*STEM), Bottleneck(8, 4, attention=SE(8, how="linear")), width=8),
    "CBAM-ResNet": lambda: Classifier(conv(*STEM), Bottleneck(8, 6, attention=CBAM(8)), width=8),
    "ECA-ResNet": lambda: Classifier(conv(*STEM), Bottleneck(8, 6, attention=ECA()), width=8),
    "MobileNetV1": lambda: Classifier(conv(*STEM), conv(8, 8, g=8), conv(8, 12, 1), conv(12, 12, s=2, g=12), width=12),
    "MobileNetV2": lambda: Classifier(conv(*STEM, act=nn.ReLU6), Inverted(8, 8), Inverted(8, 10), width=10),
    "EfficientNet": lambda: Classifier(conv(*STEM, act=nn.SiLU), Inverted(8, 8, se=True, act=nn.SiLU), width=8),
    "MobileNetV3": lambda: Classifier(conv(*STEM, act=nn.Hardswish), Inverted(8, 8, se=True, act=nn.Hardswish), width=8),
    "DenseNet": lambda: Classifier(conv(*STEM), Dense(8, 4, 3), conv(20, 10, 1), Dense(10, 4, 2), width=18),
    "GoogLeNet with auxiliary head": GoogLeNet,
    "SqueezeNet": lambda: Classifier(conv(*STEM), Fire(8), Fire(12), width=12),
    "YOLO block by chunk": lambda: Classifier(conv(*STEM), C2f(8), SPPF(8), width=8),
    "YOLO block by split": lambda: Classifier(conv(*STEM), C2f(8, how="split"), width=8),
    "ShuffleNetV2": lambda: Classifier(conv(*STEM), Shuffle(8), Shuffle(8), width=8),
    "ConvNeXt": lambda: Classifier(nn.Conv2d(3, 8, 4, 4), Next(8), Next(8), width=8),
    "ConvNeXt, LayerNorm by hand": lambda: Classifier(nn.Conv2d(3, 8, 4, 4), Next(8, "by hand"), width=8),
    "U-Net": UNet,
    "U-Net by interpolation": lambda: UNet("interpolate"),
    "LinkNet (skips are added)": lambda: UNet("interpolate", "add"),
    "feature pyramid": FPN,
    "VAE": VAE,
}  # fmt: skip
"""Name -> what makes a network for images ``[2, 3, 16, 16]``."""

"""Networks of the zoo over images, fourth sample: kinds that none of the earlier samples has."""

# ruff: noqa: N806 - names as in the papers
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_G = torch.Generator().manual_seed(40)
PHOTOS = torch.randn(2, 3, 32, 32, generator=_G)
GREY = torch.randn(2, 1, 28, 28, generator=_G)
CODES = torch.randn(2, 8, generator=_G)


class Residual(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


def conv_mixer(dim: int = 12, depth: int = 2, kernel: int = 5, patch: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, dim, patch, stride=patch), nn.GELU(), nn.BatchNorm2d(dim),
        *[
            nn.Sequential(
                Residual(nn.Sequential(nn.Conv2d(dim, dim, kernel, groups=dim, padding="same"), nn.GELU(),
                                       nn.BatchNorm2d(dim))),
                nn.Conv2d(dim, dim, 1), nn.GELU(), nn.BatchNorm2d(dim),
            )
            for _ in range(depth)
        ],
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(dim, 5),
    )  # fmt: skip


class FusedMBConv(nn.Module):
    """A block of EfficientNetV2: one convolution in place of two, and dropped paths in training."""

    def __init__(self, i: int, o: int, expand: int, drop: float = 0.2) -> None:
        super().__init__()
        self.has_skip, self.drop, mid = i == o, drop, i * expand
        self.fused = nn.Sequential(
            nn.Conv2d(i, mid, 3, padding=1, bias=False), nn.BatchNorm2d(mid), nn.SiLU()
        )
        self.project = nn.Sequential(nn.Conv2d(mid, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.fused(x))
        if not self.has_skip:
            return y
        if self.training and self.drop > 0:
            shape = (x.shape[0],) + (1,) * (x.ndim - 1)
            y = y.div(1 - self.drop) * torch.empty(shape, dtype=x.dtype).bernoulli_(1 - self.drop)
        return x + y


class ASPP(nn.Module):
    """DeepLab's head: dilated convolutions and the mean of the image side by side, resized to what came in."""

    def __init__(self, i: int = 12, o: int = 8) -> None:
        super().__init__()
        self.b0 = nn.Sequential(nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.rates = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(i, o, 3, padding=r, dilation=r, bias=False), nn.BatchNorm2d(o), nn.ReLU()
            )
            for r in (2, 4)
        )
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(i, o, 1, bias=False), nn.ReLU()
        )
        self.project = nn.Sequential(
            nn.Conv2d(4 * o, o, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.Dropout(0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        res = [self.b0(x)] + [rate(x) for rate in self.rates]
        res.append(F.interpolate(self.pool(x), size=(h, w), mode="bilinear", align_corners=False))
        return self.project(torch.cat(res, dim=1))


class DeepLabPlus(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.aspp, self.reduce = ASPP(), nn.Conv2d(8, 4, 1)
        self.head = nn.Sequential(nn.Conv2d(12, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        low = self.low(x)
        y = F.interpolate(
            self.aspp(self.high(low)), low.size()[2:], mode="bilinear", align_corners=True
        )
        y = self.head(torch.cat((y, self.reduce(low)), 1))
        return F.interpolate(y, x.size()[2:], mode="bilinear", align_corners=True)


class PyramidPooling(nn.Module):
    """PSPNet: the channels divided among bins of several sizes."""

    def __init__(self, i: int = 12, bins: tuple[int, ...] = (1, 2, 4)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, i, 3, 4, 1), nn.BatchNorm2d(i), nn.ReLU(inplace=True)
        )
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(b),
                nn.Conv2d(i, i // len(bins), 1, bias=False),
                nn.ReLU(inplace=True),
            )
            for b in bins
        )
        self.cls = nn.Conv2d(2 * i, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out = [x]
        for f in self.features:
            out.append(F.interpolate(f(x), x.size()[2:], mode="bilinear", align_corners=True))
        return self.cls(torch.cat(out, 1))


class SRResNet(nn.Module):
    """PReLU, a long skip, and pixels shuffled twice."""

    def __init__(self, n: int = 8) -> None:
        super().__init__()
        self.conv1, self.relu = nn.Conv2d(3, n, 9, padding=4), nn.PReLU()
        self.trunk = nn.Sequential(*[
            Residual(nn.Sequential(nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.PReLU(n),
                                   nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n)))
            for _ in range(2)
        ])  # fmt: skip
        self.mid = nn.Sequential(nn.Conv2d(n, n, 3, padding=1), nn.BatchNorm2d(n))
        self.up = nn.Sequential(nn.Conv2d(n, 4 * n, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())
        self.out = nn.Conv2d(n, 3, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.relu(self.conv1(x))
        return (torch.tanh(self.out(self.up(first + self.mid(self.trunk(first))))) + 1) / 2


class SkipBlock(nn.Module):
    """The U-Net of pix2pix, each level holding the next."""

    def __init__(
        self, outer: int, inner: int, sub: nn.Module | None = None, i: int | None = None
    ) -> None:
        super().__init__()
        self.outermost = i is not None
        down = [nn.Conv2d(i or outer, inner, 4, 2, 1, bias=False)]
        up = nn.ConvTranspose2d(2 * inner if sub else inner, outer, 4, 2, 1)
        if self.outermost:
            layers = [*down, sub, nn.ReLU(True), up, nn.Tanh()]
        elif sub is None:
            layers = [nn.LeakyReLU(0.2, False), *down, nn.ReLU(), up, nn.BatchNorm2d(outer)]
        else:
            layers = [
                nn.LeakyReLU(0.2, False),
                *down,
                nn.BatchNorm2d(inner),
                sub,
                nn.ReLU(),
                up,
                nn.BatchNorm2d(outer),
            ]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class CycleGan(nn.Module):
    def __init__(self, ngf: int = 6) -> None:
        super().__init__()
        norm = functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
        model: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, ngf, 7),
            norm(ngf),
            nn.ReLU(True),
        ]
        model += [nn.Conv2d(ngf, 2 * ngf, 3, 2, 1), norm(2 * ngf), nn.ReLU(True)]
        for _ in range(2):
            block = [
                nn.ReflectionPad2d(1),
                nn.Conv2d(2 * ngf, 2 * ngf, 3),
                norm(2 * ngf),
                nn.ReLU(True),
            ]
            model.append(
                Residual(
                    nn.Sequential(
                        *block, nn.ReflectionPad2d(1), nn.Conv2d(2 * ngf, 2 * ngf, 3), norm(2 * ngf)
                    )
                )
            )
        model += [
            nn.ConvTranspose2d(2 * ngf, ngf, 3, 2, 1, output_padding=1),
            norm(ngf),
            nn.ReLU(True),
        ]
        self.model = nn.Sequential(*model, nn.ReflectionPad2d(3), nn.Conv2d(ngf, 3, 7), nn.Tanh())

    def forward(self, input: Tensor) -> Tensor:
        return self.model(input)


class Critic(nn.Module):
    """A critic of WGAN-GP with layer norms over whole images."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 12, 4, 2, 1),
            nn.LayerNorm([12, 7, 7]), nn.LeakyReLU(0.2), nn.Conv2d(12, 16, 3, 2, 1), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.fc = nn.Linear(16 * 4 * 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.main(x).view(x.shape[0], -1)).squeeze(1)


class ModulatedConv(nn.Module):
    """StyleGAN2: weights of each image by its style, as groups of one convolution over the whole batch."""

    def __init__(self, i: int, o: int, k: int = 3, style: int = 8) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, o, i, k, k))
        self.style, self.o, self.k = nn.Linear(style, i), o, k
        nn.init.ones_(self.style.bias)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        b, c, h, wd = x.shape
        weight = self.weight * self.style(w).view(b, 1, c, 1, 1)
        weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4]) + 1e-8).view(b, self.o, 1, 1, 1)
        weight = weight.view(b * self.o, c, self.k, self.k)
        out = F.conv2d(x.reshape(1, b * c, h, wd), weight, padding=self.k // 2, groups=b)
        return out.view(b, self.o, h, wd)


class StyleGan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Sequential(
            nn.Linear(8, 12), nn.LeakyReLU(0.2), nn.Linear(12, 8), nn.LeakyReLU(0.2)
        )
        self.const = nn.Parameter(torch.randn(1, 6, 4, 4))
        self.conv1, self.conv2, self.to_rgb = (
            ModulatedConv(6, 8),
            ModulatedConv(8, 8),
            nn.Conv2d(8, 3, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        w = self.mapping(z * torch.rsqrt(z.pow(2).mean(1, keepdim=True) + 1e-8))
        x = self.const.repeat(z.shape[0], 1, 1, 1)
        x = F.leaky_relu(self.conv1(x, w), 0.2)
        return self.to_rgb(F.leaky_relu(self.conv2(F.interpolate(x, scale_factor=2), w), 0.2))


class Spade(nn.Module):
    """Normalised without statistics of its own, then scaled by maps made of a segmentation."""

    def __init__(self, c: int = 10, hidden: int = 7) -> None:
        super().__init__()
        self.conv_in, self.param_free_norm = nn.Conv2d(3, c, 3, padding=1), nn.InstanceNorm2d(c)
        self.shared = nn.Sequential(nn.Conv2d(1, hidden, 3, padding=1), nn.ReLU())
        self.gamma, self.beta = (
            nn.Conv2d(hidden, c, 3, padding=1),
            nn.Conv2d(hidden, c, 3, padding=1),
        )
        self.out = nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        normalized = self.param_free_norm(self.conv_in(x))
        actv = self.shared(F.interpolate(seg, size=x.size()[2:], mode="nearest"))
        return self.out(F.leaky_relu(normalized * (1 + self.gamma(actv)) + self.beta(actv), 2e-1))


class CapsNet(nn.Module):
    """Capsules with dynamic routing, and their lengths as probabilities."""

    def __init__(self, caps: int = 3, dim: int = 4) -> None:
        super().__init__()
        self.conv, self.primary = nn.Conv2d(1, 8, 9, 2), nn.Conv2d(8, 12, 5, 2)
        self.W = nn.Parameter(0.1 * torch.randn(1, 27, caps, dim, 4))
        self.decoder = nn.Sequential(nn.Linear(dim * caps, 14), nn.ReLU(), nn.Linear(14, 5))

    @staticmethod
    def squash(s: Tensor) -> Tensor:
        n = (s**2).sum(-1, keepdim=True)
        return n * s / ((1.0 + n) * torch.sqrt(n + 1e-8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.primary(F.relu(self.conv(x)))
        u = self.squash(u.view(u.size(0), 3, 4, -1).permute(0, 1, 3, 2).reshape(u.size(0), -1, 4))
        u_hat = torch.matmul(self.W, u[:, :, None, :, None]).squeeze(-1)
        b = torch.zeros_like(u_hat[..., :1])
        for i in range(2):
            v = self.squash((F.softmax(b, dim=2) * u_hat).sum(dim=1, keepdim=True))
            if i < 1:
                b = b + (u_hat * v).sum(-1, keepdim=True)
        v = v.squeeze(1)
        return v.norm(dim=-1), self.decoder(v.reshape(v.size(0), -1))


class TripletNet(nn.Module):
    """One embedding of three images, of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.convnet = nn.Sequential(
            nn.Conv2d(1, 8, 5),
            nn.PReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 5),
            nn.PReLU(),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Sequential(nn.Linear(12 * 4 * 4, 20), nn.PReLU(), nn.Linear(20, 6))

    def get_embedding(self, x: Tensor) -> Tensor:
        out = self.convnet(x)
        return F.normalize(self.fc(out.view(out.size()[0], -1)))

    def forward(self, x1: Tensor, x2: Tensor, x3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.get_embedding(x1), self.get_embedding(x2), self.get_embedding(x3)


class SSD(nn.Module):
    """Boxes and classes of several maps, each permuted, flattened and put together."""

    def __init__(self, classes: int = 4, boxes: tuple[int, ...] = (2, 3)) -> None:
        super().__init__()
        self.classes = classes
        self.vgg = nn.ModuleList(
            [
                nn.Conv2d(3, 8, 3, 2, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(8, 10, 3, 2, 1),
                nn.ReLU(inplace=True),
            ]
        )
        self.extras = nn.ModuleList([nn.Conv2d(10, 6, 1), nn.Conv2d(6, 12, 3, 2, 1)])
        self.loc = nn.ModuleList(
            nn.Conv2d(c, n * 4, 3, padding=1) for c, n in zip((10, 12), boxes, strict=True)
        )
        self.conf = nn.ModuleList(
            nn.Conv2d(c, n * classes, 3, padding=1) for c, n in zip((10, 12), boxes, strict=True)
        )
        self.scale = nn.Parameter(torch.full((10,), 2.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sources, loc, conf = [], [], []
        for k in range(len(self.vgg)):
            x = self.vgg[k](x)
        norm = x.pow(2).sum(dim=1, keepdim=True).sqrt() + 1e-10
        sources.append(
            self.scale.unsqueeze(0).unsqueeze(2).unsqueeze(3).expand_as(x) * torch.div(x, norm)
        )
        for v in self.extras:
            x = F.relu(v(x), inplace=True)
        sources.append(x)
        for x, l, c in zip(sources, self.loc, self.conf, strict=True):  # noqa: E741
            loc.append(l(x).permute(0, 2, 3, 1).contiguous())
            conf.append(c(x).permute(0, 2, 3, 1).contiguous())
        loc_all = torch.cat([o.view(o.size(0), -1) for o in loc], 1)
        conf_all = torch.cat([o.view(o.size(0), -1) for o in conf], 1)
        return loc_all.view(loc_all.size(0), -1, 4), conf_all.view(
            conf_all.size(0), -1, self.classes
        )


class ConditionalVae(nn.Module):
    """Labels as one-hot rows beside the image and beside the code."""

    def __init__(self, latent: int = 4) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(28 * 28 + 5, 20), nn.ReLU())
        self.fc_mu, self.fc_logvar = nn.Linear(20, latent), nn.Linear(20, latent)
        self.dec = nn.Sequential(
            nn.Linear(latent + 5, 18), nn.ReLU(), nn.Linear(18, 28 * 28), nn.Sigmoid()
        )

    def reparametrize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * logvar) * torch.randn_like(logvar)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        one_hot = F.one_hot(y, 5).to(x.dtype)
        h = self.enc(torch.cat([x.view(-1, 28 * 28), one_hot], dim=1))
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        out = self.dec(torch.cat([self.reparametrize(mu, logvar), one_hot], dim=-1))
        return out.view(x.shape), mu, logvar


class Glow(nn.Module):
    """ActNorm, an invertible mixing of channels, and an affine coupling."""

    def __init__(self, c: int = 4, hidden: int = 10) -> None:
        super().__init__()
        self.loc, self.scale = (
            nn.Parameter(torch.zeros(1, c, 1, 1)),
            nn.Parameter(torch.ones(1, c, 1, 1)),
        )
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(c, c))[0].unsqueeze(2).unsqueeze(3))
        self.net = nn.Sequential(nn.Conv2d(c // 2, hidden, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(hidden, hidden, 1),
                                 nn.ReLU(inplace=True), nn.Conv2d(hidden, c, 3, padding=1))  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        b, c, h, w = x.shape
        x = (
            x.view(b, c, h // 2, 2, w // 2, 2)
            .permute(0, 1, 3, 5, 2, 4)
            .reshape(b, c * 4, h // 2, w // 2)
        )
        logdet = (h * w // 4) * torch.sum(torch.log(torch.abs(self.scale)))
        x = F.conv2d(self.scale * (x + self.loc), self.weight)
        in_a, in_b = x.chunk(2, 1)
        log_s, t = self.net(in_a).chunk(2, 1)
        s = torch.sigmoid(log_s + 2)
        return torch.cat([in_a, (in_b + t) * s], 1), logdet + torch.sum(torch.log(s).view(b, -1), 1)


class XcaBlock(nn.Module):
    """XCiT: attention between channels in place of positions, with a temperature of each head."""

    def __init__(self, dim: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.patch, self.heads = nn.Conv2d(3, dim, 8, 8), heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.norm, self.qkv, self.proj = (
            nn.LayerNorm(dim),
            nn.Linear(dim, dim * 3, bias=False),
            nn.Linear(dim, dim),
        )
        self.gamma = nn.Parameter(0.1 * torch.ones(dim))
        self.local = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.GELU(), nn.BatchNorm2d(dim)
        )
        self.mlp, self.head = (
            nn.Sequential(nn.Linear(dim, 20), nn.GELU(), nn.Linear(20, dim)),
            nn.Linear(dim, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x)
        B, C, H, W = x.shape
        x = x.flatten(2).transpose(1, 2)
        qkv = self.qkv(self.norm(x)).reshape(B, H * W, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 4, 1).unbind(0)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = (q @ k.transpose(-2, -1)) * self.temperature
        y = (attn.softmax(dim=-1) @ v).permute(0, 3, 1, 2).reshape(B, H * W, C)
        x = x + self.gamma * self.proj(y)
        x = x + self.local(x.transpose(1, 2).reshape(B, C, H, W)).flatten(2).transpose(1, 2)
        return self.head((x + self.mlp(x)).mean(1))


class CondConv(nn.Module):
    """Kernels mixed for each image by a router."""

    def __init__(self, i: int = 6, o: int = 8, experts: int = 3) -> None:
        super().__init__()
        self.stem, self.route = nn.Conv2d(3, i, 3, 2, 1), nn.Linear(i, experts)
        self.weight = nn.Parameter(0.2 * torch.randn(experts, o, i, 3, 3))
        self.bn, self.fc, self.o = nn.BatchNorm2d(o), nn.Linear(o, 4), o

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        B, C, H, W = x.size()
        routing = torch.sigmoid(self.route(F.adaptive_avg_pool2d(x, 1).flatten(1)))
        weight = torch.matmul(routing, self.weight.view(self.weight.size(0), -1)).view(
            B * self.o, C, 3, 3
        )
        y = F.conv2d(x.contiguous().view(1, B * C, H, W), weight, padding=1, groups=B)
        y = self.bn(y.view(B, self.o, y.size(-2), y.size(-1)))
        return self.fc(F.relu(y).mean((2, 3)))


class OctaveConv(nn.Module):
    """High and low frequencies, each read by both."""

    def __init__(self) -> None:
        super().__init__()
        self.first_h, self.first_l = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
        self.h2h, self.h2l = nn.Conv2d(8, 10, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.l2h, self.l2l = nn.Conv2d(6, 10, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.bn_h, self.bn_l = nn.BatchNorm2d(10), nn.BatchNorm2d(6)
        self.last_h, self.last_l, self.pool = (
            nn.Conv2d(10, 5, 1),
            nn.Conv2d(6, 5, 1),
            nn.AvgPool2d(2, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x_h, x_l = F.relu(self.first_h(x)), F.relu(self.first_l(self.pool(x)))
        h = self.h2h(x_h) + F.interpolate(self.l2h(x_l), scale_factor=2, mode="nearest")
        low = self.l2l(x_l) + self.h2l(self.pool(x_h))
        h, low = F.relu(self.bn_h(h)), F.relu(self.bn_l(low))
        return (self.last_h(self.pool(h)) + self.last_l(low)).mean((2, 3))


class CoordAttention(nn.Module):
    """Means along rows and along columns, joined, reduced and taken apart again."""

    def __init__(self, c: int = 10, mip: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, c, 3, 2, 1)
        self.pool_h, self.pool_w = nn.AdaptiveAvgPool2d((None, 1)), nn.AdaptiveAvgPool2d((1, None))
        self.conv1, self.bn1, self.act = nn.Conv2d(c, mip, 1), nn.BatchNorm2d(mip), nn.Hardswish()
        self.conv_h, self.conv_w, self.fc = (
            nn.Conv2d(mip, c, 1),
            nn.Conv2d(mip, c, 1),
            nn.Linear(c, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        identity = x = self.stem(x)
        _, _, h, w = x.size()
        y = torch.cat([self.pool_h(x), self.pool_w(x).permute(0, 1, 3, 2)], dim=2)
        y = self.act(self.bn1(self.conv1(y)))
        x_h, x_w = torch.split(y, [h, w], dim=2)
        a_h, a_w = self.conv_h(x_h).sigmoid(), self.conv_w(x_w.permute(0, 1, 3, 2)).sigmoid()
        return self.fc((identity * a_w * a_h).mean((2, 3)))


class Res2Net(nn.Module):
    """Parts of the channels one after another, each reading what the one before gave."""

    def __init__(self, width: int = 4, scale: int = 3) -> None:
        super().__init__()
        self.width, self.nums = width, scale - 1
        self.conv1, self.bn1 = (
            nn.Conv2d(3, width * scale, 1, bias=False),
            nn.BatchNorm2d(width * scale),
        )
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(self.nums)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(self.nums))
        self.conv3, self.fc = nn.Conv2d(width * scale, 10, 1), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        spx = torch.split(out, self.width, 1)
        for i in range(self.nums):
            sp = spx[i] if i == 0 else sp + spx[i]  # noqa: F821
            sp = F.relu(self.bns[i](self.convs[i](sp)))
            out = sp if i == 0 else torch.cat((out, sp), 1)
        out = torch.cat((out, spx[self.nums]), 1)
        return self.fc(F.relu(self.conv3(out)).mean((2, 3)))


class StochasticDepth(nn.Module):
    """Whole blocks left out at random in training."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.stem, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 4)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        for block in self.blocks:
            if self.training:
                if torch.rand(1).item() < self.p:
                    x = x + block(x)
            else:
                x = x + self.p * block(x)
        return self.fc(x.mean((2, 3)))


class RelativeBottleneck(nn.Module):
    """Attention over a map with positions along rows and columns, by einsum (BoTNet)."""

    def __init__(self, c: int = 12, heads: int = 2, side: int = 8) -> None:
        super().__init__()
        self.stem, self.heads, d = nn.Conv2d(3, c, 4, 4), heads, c // heads
        self.to_qkv = nn.Conv2d(c, c * 3, 1, bias=False)
        self.height, self.width = (
            nn.Parameter(torch.randn(side, d) * d**-0.5),
            nn.Parameter(torch.randn(side, d) * d**-0.5),
        )
        self.bn, self.out = nn.BatchNorm2d(c), nn.Conv2d(c, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        b, c, h, w = x.shape
        q, k, v = (
            t.reshape(b, self.heads, -1, h * w).transpose(2, 3)
            for t in self.to_qkv(x).chunk(3, dim=1)
        )
        q = q * q.shape[-1] ** -0.5
        emb = (self.height[:, None, :] + self.width[None, :, :]).flatten(0, 1)
        sim = torch.einsum("b h i d, b h j d -> b h i j", q, k) + torch.einsum(
            "b h i d, j d -> b h i j", q, emb
        )
        out = torch.einsum("b h i j, b h j d -> b h i d", sim.softmax(dim=-1), v)
        out = out.transpose(2, 3).reshape(b, c, h, w)
        return self.out(F.relu(self.bn(out) + x)).mean((2, 3))


class MaeEncoder(nn.Module):
    """Patches in an order drawn anew, a quarter of them kept, mask tokens put in for the rest."""

    def __init__(self, dim: int = 12) -> None:
        super().__init__()
        self.proj, self.pos = nn.Conv2d(3, dim, 8, 8), nn.Parameter(torch.randn(1, 16, dim))
        self.enc, self.embed = (
            nn.TransformerEncoderLayer(dim, 2, 20, batch_first=True),
            nn.Linear(dim, 10),
        )
        self.mask_token, self.pred = nn.Parameter(torch.zeros(1, 1, 10)), nn.Linear(10, 8 * 8 * 3)

    def forward(self, imgs: Tensor) -> Tensor:
        x = self.proj(imgs).flatten(2).transpose(1, 2) + self.pos
        _, L, D = x.shape
        noise = (x.detach() ** 2).sum(-1)
        shuffle = torch.argsort(noise, dim=1)
        restore = torch.argsort(shuffle, dim=1)
        keep = shuffle[:, : L // 4]
        x = torch.gather(x, dim=1, index=keep.unsqueeze(-1).repeat(1, 1, D))
        x = self.embed(self.enc(x))
        masks = self.mask_token.repeat(x.shape[0], restore.shape[1] - x.shape[1], 1)
        x = torch.cat([x, masks], dim=1)
        x = torch.gather(x, 1, restore.unsqueeze(-1).repeat(1, 1, x.shape[2]))
        return self.pred(x)


class NeuralCellular(nn.Module):
    """The same small network at each pixel, several times; a state that is written into."""

    def __init__(self, c: int = 6) -> None:
        super().__init__()
        self.c, self.perceive = c, nn.Conv2d(c, 3 * c, 3, padding=1, groups=c, bias=False)
        self.update = nn.Sequential(
            nn.Conv2d(3 * c, 14, 1), nn.ReLU(), nn.Conv2d(14, c, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(x.size(0), self.c, x.size(2), x.size(3), dtype=x.dtype)
        state[:, :3] = x
        for _ in range(3):
            state = state + self.update(self.perceive(state))
        return state[:, :3]


def fused() -> nn.Sequential:
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU())
    return nn.Sequential(
        stem,
        FusedMBConv(8, 8, 1),
        FusedMBConv(8, 12, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "conv_mixer": lambda: (conv_mixer(), PHOTOS),
    "fused_mbconv": lambda: (fused(), PHOTOS),
    "deeplab_aspp": lambda: (DeepLabPlus(), PHOTOS),
    "pyramid_pooling": lambda: (PyramidPooling(), PHOTOS),
    "srresnet_prelu": lambda: (SRResNet(), PHOTOS),
    "pix2pix_nested": lambda: (SkipBlock(3, 6, SkipBlock(6, 8, SkipBlock(8, 10)), 3), PHOTOS),
    "cyclegan_reflected": lambda: (CycleGan(), PHOTOS),
    "critic_layer_norm": lambda: (Critic(), GREY),
    "stylegan_modulated": lambda: (StyleGan(), CODES),
    "spade": lambda: (Spade(), (PHOTOS, PHOTOS[:, :1, ::2, ::2])),
    "capsules": lambda: (CapsNet(), GREY),
    "triplet": lambda: (TripletNet(), (GREY, GREY.flip(2), GREY.flip(3))),
    "ssd_multibox": lambda: (SSD(), PHOTOS),
    "conditional_vae": lambda: (ConditionalVae(), (GREY, torch.tensor([1, 4]))),
    "glow_step": lambda: (Glow(), GREY),
    "xcit_channels": lambda: (XcaBlock(), PHOTOS),
    "cond_conv": lambda: (CondConv(), PHOTOS),
    "octave": lambda: (OctaveConv(), PHOTOS),
    "coordinate_attention": lambda: (CoordAttention(), PHOTOS),
    "res2net": lambda: (Res2Net(), PHOTOS),
    "stochastic_depth": lambda: (StochasticDepth(), PHOTOS),
    "botnet_relative": lambda: (RelativeBottleneck(), PHOTOS),
    "mae_shuffled": lambda: (MaeEncoder(), PHOTOS),
    "neural_cellular": lambda: (NeuralCellular(), PHOTOS),
}

"""Networks of the zoo over images, tenth sample: subclassed layers, registries, wavelets, spectra, groups that sort."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.tenth.inputs import COLOURED, INPUTS


class Conv2dSame(nn.Conv2d):
    """A convolution padded as another framework pads: from the size of what comes."""

    def forward(self, x: Tensor) -> Tensor:
        ih, iw = x.shape[-2:]
        kh, kw = self.weight.shape[-2:]
        pad_h = max((math.ceil(ih / self.stride[0]) - 1) * self.stride[0] + kh - ih, 0)
        pad_w = max((math.ceil(iw / self.stride[1]) - 1) * self.stride[1] + kw - iw, 0)
        if pad_h > 0 or pad_w > 0:
            x = F.pad(x, [pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2])
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class LayerNorm2d(nn.LayerNorm):
    """A layer norm over the channels of images."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "swish": nn.SiLU,
    "mish": lambda: nn.Mish(inplace=True),
}


@dataclass
class StageConfig:
    """One stage of a network."""

    out: int
    depth: int = 1
    stride: int = 2
    act: str = "swish"
    norm: str = "bn"


@dataclass
class NetConfig:
    """All stages, and the classes."""

    stages: list[StageConfig] = field(
        default_factory=lambda: [
            StageConfig(12),
            StageConfig(16, depth=2, act="mish", norm="ln"),
            StageConfig(20, act="relu", norm="gn"),
        ]
    )
    num_classes: int = 5


class Configured(nn.Module):
    """Stages from a data class; layers are found by name, features come back with the outcome if wanted."""

    def __init__(self, cfg: NetConfig | None = None) -> None:
        super().__init__()
        self.cfg = cfg = cfg or NetConfig()
        inp = 3
        for i, s in enumerate(cfg.stages):
            blocks: list[nn.Module] = []
            for j in range(s.depth):
                norm = {
                    "bn": nn.BatchNorm2d,
                    "ln": LayerNorm2d,
                    "gn": lambda c: nn.GroupNorm(4, c),
                }[s.norm](s.out)
                conv = Conv2dSame(inp, s.out, 3, stride=s.stride if j == 0 else 1, bias=False)
                blocks += [conv, norm, ACTIVATIONS[s.act]()]
                inp = s.out
            self.add_module(f"stage{i + 1}", nn.Sequential(*blocks))
        self.head = nn.Linear(inp, cfg.num_classes)
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(m: nn.Module) -> None:
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(m, nn.Linear):
            nn.init.trunc_normal_(m.weight, std=0.2)

    def forward(self, x: Tensor, return_features: bool = False) -> Any:
        feats = {}
        for i in range(len(self.cfg.stages)):
            name = f"stage{i + 1}"
            x = getattr(self, name)(x)
            feats[name] = x
        logits = self.head(x.mean((-2, -1)))
        return (logits, feats) if return_features else logits


class HaarDown(nn.Module):
    """Four half-size bands by slices."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x[:, :, 0::2, :] / 2, x[:, :, 1::2, :] / 2
        a1, a2, b1, b2 = a[..., 0::2], a[..., 1::2], b[..., 0::2], b[..., 1::2]
        return torch.cat(
            (a1 + b1 + a2 + b2, -a1 - b1 + a2 + b2, -a1 + b1 - a2 + b2, a1 - b1 - a2 + b2), 1
        )


class HaarUp(nn.Module):
    """The four bands put together again, written in place."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.size()
        c = c // 4
        x1, x2, x3, x4 = (
            x[:, :c] / 2,
            x[:, c : 2 * c] / 2,
            x[:, 2 * c : 3 * c] / 2,
            x[:, 3 * c :] / 2,
        )
        out = torch.zeros([n, c, 2 * h, 2 * w], dtype=x.dtype, device=x.device)
        out[:, :, 0::2, 0::2] = x1 - x2 - x3 + x4
        out[:, :, 1::2, 0::2] = x1 - x2 + x3 - x4
        out[:, :, 0::2, 1::2] = x1 + x2 - x3 - x4
        out[:, :, 1::2, 1::2] = x1 + x2 + x3 + x4
        return out


class WaveletUNet(nn.Module):
    """A denoiser that goes down and up by wavelets, with added skips."""

    def __init__(self, n_feats: int = 6) -> None:
        super().__init__()
        self.dwt, self.iwt = HaarDown(), HaarUp()
        block = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU(True))  # noqa: E731
        self.head = block(3, n_feats)
        self.d1, self.d2 = block(4 * n_feats, 2 * n_feats), block(8 * n_feats, 3 * n_feats)
        self.u2, self.u1 = block(3 * n_feats, 8 * n_feats), block(2 * n_feats, 4 * n_feats)
        self.tail = nn.Conv2d(n_feats, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x0 = self.head(x)
        x1 = self.d1(self.dwt(x0))
        x2 = self.d2(self.dwt(x1))
        x_ = self.iwt(self.u2(x2)) + x1
        x_ = self.iwt(self.u1(x_)) + x0
        return self.tail(x_) + x


class SpectralUnit(nn.Module):
    """A convolution over real and imaginary parts of the spectrum."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * c, 2 * c, 1, bias=False)
        self.bn = nn.BatchNorm2d(2 * c)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        ft = torch.fft.rfftn(x, dim=(-2, -1), norm="ortho")
        ft = torch.stack((ft.real, ft.imag), dim=-1).permute(0, 1, 4, 2, 3).contiguous()
        ft = F.relu(self.bn(self.conv(ft.view((b, -1, *ft.size()[3:])))))
        ft = ft.view((b, -1, 2, *ft.size()[2:])).permute(0, 1, 3, 4, 2).contiguous()
        return torch.fft.irfftn(
            torch.complex(ft[..., 0], ft[..., 1]), s=(h, w), dim=(-2, -1), norm="ortho"
        )


class FourierInpainting(nn.Module):
    """Local and global features go in pairs; the global ones see the spectrum."""

    class Block(nn.Module):
        def __init__(self, loc: int, glo: int) -> None:
            super().__init__()
            self.l2l = nn.Conv2d(loc, loc, 3, padding=1, padding_mode="reflect")
            self.l2g = nn.Conv2d(loc, glo, 3, padding=1, padding_mode="reflect")
            self.g2l = nn.Conv2d(glo, loc, 3, padding=1, padding_mode="reflect")
            self.g2g = SpectralUnit(glo)
            self.bn_l, self.bn_g = nn.BatchNorm2d(loc), nn.BatchNorm2d(glo)

        def forward(self, x: Any) -> Any:
            x_l, x_g = x if type(x) is tuple else (x, 0)
            out_l = F.relu(self.bn_l(self.l2l(x_l) + self.g2l(x_g)))
            out_g = F.relu(self.bn_g(self.l2g(x_l) + self.g2g(x_g)))
            return x_l + out_l, x_g + out_g

    def __init__(self) -> None:
        super().__init__()
        self.to_l, self.to_g = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(3, 10, 3, 2, 1)
        self.blocks = nn.Sequential(self.Block(8, 10), self.Block(8, 10))
        self.up = nn.Sequential(
            nn.ConvTranspose2d(18, 9, 3, 2, 1, output_padding=1),
            nn.BatchNorm2d(9),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(9, 3, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x_l, x_g = self.blocks((self.to_l(x), self.to_g(x)))
        return torch.sigmoid(self.up(torch.cat([x_l, x_g], dim=1)))


class ReversibleNet(nn.Module):
    """Halves of the channels that are added to each other through residual functions, and average-pooled between stages."""

    class Block(nn.Module):
        def __init__(self, c: int) -> None:
            super().__init__()
            self.f = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1))
            self.g = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1))

        def forward(self, x: Tensor) -> Tensor:
            x1, x2 = torch.chunk(x, 2, dim=1)
            y1 = x1 + self.f(x2)
            y2 = x2 + self.g(y1)
            return torch.cat((y1, y2), 1)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.stages = nn.ModuleList([self.Block(6), self.Block(12)])
        self.fc = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages[0](self.stem(x))
        x = F.avg_pool2d(x, 2)
        pad = torch.zeros_like(x)[:, :6]
        x = torch.cat([pad, x, pad], 1)
        return self.fc(F.adaptive_avg_pool2d(self.stages[1](x), 1).squeeze(-1).squeeze(-1))


class CompactBilinear(nn.Module):
    """Two streams' features multiplied by count sketches in the frequency domain, then signed roots of unit length."""

    def __init__(self, c: int = 10, d: int = 32) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, c, 3, 2, 1), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(3, c, 5, 2, 2), nn.ReLU())
        g = torch.Generator().manual_seed(1)
        for name in ("1", "2"):
            h = torch.randint(0, d, (c,), generator=g)
            s = 2 * torch.randint(0, 2, (c,), generator=g) - 1
            sketch = torch.zeros(c, d)
            sketch[torch.arange(c), h] = s.float()
            self.register_buffer(f"sketch{name}", sketch)
        self.cls = nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Tensor:
        f1 = self.a(x).permute(0, 2, 3, 1) @ self.sketch1
        f2 = self.b(x).permute(0, 2, 3, 1) @ self.sketch2
        prod = torch.fft.fft(f1) * torch.fft.fft(f2)
        cbp = torch.fft.ifft(prod).real.sum(dim=[1, 2])
        cbp = torch.sign(cbp) * torch.sqrt(torch.abs(cbp) + 1e-8)
        return self.cls(F.normalize(cbp))


class GroupSortNet(nn.Module):
    """Pairs of channels are sorted; weights are orthonormalised by a few steps in each pass."""

    class BjorckLinear(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            w = self.weight / math.sqrt(self.in_features * self.out_features)
            for _ in range(3):
                w = 1.5 * w - 0.5 * w @ w.t() @ w
            return F.linear(x, w, self.bias)

    class MaxMin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b = x.split(x.size(1) // 2, 1)
            return torch.cat([torch.max(a, b), torch.min(a, b)], dim=1)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), self.MaxMin(), nn.Conv2d(12, 16, 3, 2, 1), self.MaxMin()
        )
        self.fc1, self.fc2 = self.BjorckLinear(16, 20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(2).amax(-1)
        h = self.fc1(x)
        h = h.view(h.shape[0], -1, 4).sort(-1)[0].flatten(1)
        return self.fc2(h)


class ConditionalNorm(nn.BatchNorm2d):
    """Batch norm whose scale and shift are embeddings of the class."""

    def __init__(self, c: int, n: int) -> None:
        super().__init__(c, affine=False)
        self.embed = nn.Embedding(n, 2 * c)
        self.embed.weight.data[:, :c].normal_(1, 0.02)
        self.embed.weight.data[:, c:].zero_()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        out = super().forward(x)
        gamma, beta = self.embed(y).chunk(2, 1)
        return gamma.view(-1, self.num_features, 1, 1) * out + beta.view(
            -1, self.num_features, 1, 1
        )


class Translator(nn.Module):
    """Images changed by conditional norms, gated by a label; a projection that judges them besides."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 10, 3, 2, 1), nn.Conv2d(10, 14, 3, 1, 1), None
        self.n1, self.n2 = ConditionalNorm(10, 4), ConditionalNorm(14, 4)
        self.to_rgb = nn.Conv2d(14, 3, 1)
        self.judge, self.l_y = nn.Linear(14, 1), nn.Embedding(4, 14)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        h = F.leaky_relu(self.n1(self.c1(x), y), 0.2)
        h = F.leaky_relu(self.n2(self.c2(h), y), 0.2)
        pooled = h.sum(dim=(2, 3))
        score = self.judge(pooled) + torch.sum(self.l_y(y) * pooled, dim=1, keepdim=True)
        return torch.tanh(self.to_rgb(F.interpolate(h, scale_factor=2))), score


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "configured_same_padding": lambda: (Configured(), INPUTS.images),
    "wavelet_u_net": lambda: (WaveletUNet(), INPUTS.images),
    "fourier_inpainting": lambda: (FourierInpainting(), INPUTS.images),
    "reversible_halves": lambda: (ReversibleNet(), INPUTS.images),
    "compact_bilinear": lambda: (CompactBilinear(), INPUTS.images),
    "group_sort": lambda: (GroupSortNet(), INPUTS.images),
    "conditional_norms": lambda: (Translator(), COLOURED),
}

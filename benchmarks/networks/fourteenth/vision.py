"""Networks of the zoo over pictures, fourteenth sample: heads that give lists of dictionaries, unpooling, restoration."""

# ruff: noqa: B905, N801, N806 - names and lines as people write them
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourteenth.inputs import INPUTS, NOISY, SMALL_IMAGES


class AnchorFree(nn.Module):
    """A body with named layers, a pyramid, and heads whose outputs are a list of a dictionary for each level."""

    class Body(nn.ModuleDict):
        def __init__(
            self, layers: OrderedDict[str, nn.Module], return_layers: dict[str, str]
        ) -> None:
            super().__init__(layers)
            self.return_layers = return_layers

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            out: dict[str, Tensor] = OrderedDict()
            for name, module in self.items():
                x = module(x)
                if name in self.return_layers:
                    out[self.return_layers[name]] = x
            return out

    @staticmethod
    def conv_bn(i: int, o: int, s: int = 2) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)
        )

    def __init__(self, num_classes: int = 4, d: int = 12, prior: float = 0.01) -> None:
        super().__init__()
        layers = OrderedDict(
            stem=self.conv_bn(3, 8), layer1=self.conv_bn(8, 12), layer2=self.conv_bn(12, 16)
        )
        self.body = self.Body(layers, {"layer1": "0", "layer2": "1"})
        self.inner_blocks = nn.ModuleList([nn.Conv2d(c, d, 1) for c in (12, 16)])
        self.layer_blocks = nn.ModuleList([nn.Conv2d(d, d, 3, padding=1) for _ in range(2)])
        self.heads = nn.ModuleDict()
        for head, out in {"logits": num_classes, "bbox": 4, "centerness": 1}.items():
            tower = []
            for _ in range(2):
                tower += [nn.Conv2d(d, d, 3, padding=1), nn.GroupNorm(4, d), nn.ReLU()]
            self.heads[head] = nn.Sequential(*tower, nn.Conv2d(d, out, 3, padding=1))
        nn.init.constant_(
            self.heads["logits"][-1].bias, -torch.log(torch.tensor((1 - prior) / prior)).item()
        )
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(2)])

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        features = self.body(images)
        names, x = list(features.keys()), list(features.values())
        last_inner = self.inner_blocks[-1](x[-1])
        results = [self.layer_blocks[-1](last_inner)]
        for idx in range(len(x) - 2, -1, -1):
            inner_lateral = self.inner_blocks[idx](x[idx])
            feat_shape = inner_lateral.shape[-2:]
            last_inner = inner_lateral + F.interpolate(last_inner, size=feat_shape, mode="nearest")
            results.insert(0, self.layer_blocks[idx](last_inner))
        out = OrderedDict([(k, v) for k, v in zip(names, results)])
        outputs: list[dict[str, Tensor]] = []
        for (_, feature), scale in zip(out.items(), self.scales):
            level: dict[str, Tensor] = {}
            for head, layers in self.heads.items():
                y = layers(feature)
                N, K, H, W = y.shape
                y = y.permute(0, 2, 3, 1).reshape(N, H * W, K)
                level[head] = F.relu(y * scale) if head == "bbox" else y
            outputs.append(level)
        return outputs


class CornerHeads(nn.Module):
    """Corners by running maxima from two sides, a heat map with embeddings and offsets for each corner."""

    class pool(nn.Module):
        def __init__(self, dim: int, flip1: bool, flip2: bool) -> None:
            super().__init__()
            self.p1_conv1, self.p2_conv1 = (
                AnchorFree.conv_bn(dim, 10, 1),
                AnchorFree.conv_bn(dim, 10, 1),
            )
            self.p_conv1, self.p_bn1 = (
                nn.Conv2d(10, dim, 3, padding=1, bias=False),
                nn.BatchNorm2d(dim),
            )
            self.conv1, self.bn1 = nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim)
            self.flips = (flip1, flip2)

        def running(self, x: Tensor, dim: int, flip: bool) -> Tensor:
            if flip:
                return torch.flip(torch.cummax(torch.flip(x, (dim,)), dim)[0], (dim,))
            return torch.cummax(x, dim).values

        def forward(self, x: Tensor) -> Tensor:
            pool1 = self.running(self.p1_conv1(x), 2, self.flips[0])
            pool2 = self.running(self.p2_conv1(x), 3, self.flips[1])
            return F.relu(self.p_bn1(self.p_conv1(pool1 + pool2)) + self.bn1(self.conv1(x)))

    def __init__(self, dim: int = 12) -> None:
        super().__init__()
        self.pre = nn.Sequential(nn.Conv2d(3, dim, 7, 4, 3), nn.BatchNorm2d(dim), nn.ReLU())
        self.tl_cnvs = nn.ModuleList([self.pool(dim, True, True)])
        self.br_cnvs = nn.ModuleList([self.pool(dim, False, False)])
        for corner in ("tl", "br"):
            for kind, out in (("heats", 3), ("tags", 1), ("regrs", 2)):
                layer = nn.Sequential(
                    nn.Conv2d(dim, 14, 3, padding=1), nn.ReLU(), nn.Conv2d(14, out, 1)
                )
                setattr(self, f"{corner}_{kind}", nn.ModuleList([layer]))
        for heat in (self.tl_heats, self.br_heats):
            heat[0][-1].bias.data.fill_(-2.19)

    def forward(self, image: Tensor) -> list[Tensor]:
        cnv, outs = self.pre(image), []
        layers = zip(
            self.tl_cnvs, self.br_cnvs, self.tl_heats, self.br_heats, self.tl_tags, self.br_tags
        )
        for tl_cnv_, br_cnv_, tl_heat_, br_heat_, tl_tag_, br_tag_ in layers:
            tl_cnv, br_cnv = tl_cnv_(cnv), br_cnv_(cnv)
            outs += [
                tl_heat_(tl_cnv).sigmoid(),
                br_heat_(br_cnv).sigmoid(),
                tl_tag_(tl_cnv),
                br_tag_(br_cnv),
            ]
            outs += [self.tl_regrs[0](tl_cnv), self.br_regrs[0](br_cnv)]
        return outs


class UnpooledSegmenter(nn.Module):
    """Bottlenecks that keep the places of their maxima, pad channels with zeros, and unpool where those were."""

    class Down(nn.Module):
        def __init__(self, i: int, o: int, ratio: int = 2) -> None:
            super().__init__()
            internal = i // ratio
            self.main_max1 = nn.MaxPool2d(2, stride=2, return_indices=True)
            self.ext = nn.Sequential(
                nn.Conv2d(i, internal, 2, stride=2, bias=False), nn.BatchNorm2d(internal), nn.PReLU(),
                nn.Conv2d(internal, internal, 3, padding=1, bias=False), nn.BatchNorm2d(internal), nn.PReLU(),
                nn.Conv2d(internal, o, 1, bias=False), nn.BatchNorm2d(o), nn.Dropout2d(p=0.1),
            )  # fmt: skip
            self.out_activation = nn.PReLU()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            main, max_indices = self.main_max1(x)
            ext = self.ext(x)
            n, ch_ext, h, w = ext.size()
            ch_main = main.size()[1]
            padding = torch.zeros(n, ch_ext - ch_main, h, w, dtype=x.dtype)
            if main.is_cuda:
                padding = padding.cuda()
            main = torch.cat((main, padding), 1)
            return self.out_activation(main + ext), max_indices

    class Up(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.main_conv1 = nn.Sequential(nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))
            self.main_unpool1 = nn.MaxUnpool2d(kernel_size=2)
            self.ext1 = nn.Sequential(
                nn.Conv2d(i, 6, 1), nn.ReLU(), nn.ConvTranspose2d(6, 6, 2, stride=2), nn.ReLU()
            )
            self.ext2 = nn.Conv2d(6, o, 1)

        def forward(self, x: Tensor, max_indices: Tensor, output_size: torch.Size) -> Tensor:
            main = self.main_unpool1(self.main_conv1(x), max_indices, output_size=output_size)
            return F.relu(main + self.ext2(self.ext1(x)))

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.initial = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False)
        self.pool, self.bn = nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(8)
        self.down, self.up = self.Down(8, 14), self.Up(14, 8)
        self.transposed = nn.ConvTranspose2d(8, classes, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        input_size = x.size()
        x = F.relu(self.bn(torch.cat((self.initial(x), self.pool(x)), 1)))
        stage1_input_size = x.size()
        x, idx = self.down(x)
        x = self.up(x, idx, output_size=stage1_input_size)
        return self.transposed(x, output_size=input_size[2:])


class FullScaleSkips(nn.Module):
    """A U-Net whose decoder reads every scale, all brought to as many channels, with outputs of each in training."""

    def __init__(self, filters: tuple[int, ...] = (6, 10, 14), cat: int = 5) -> None:
        super().__init__()
        cin = 3
        for n, c in enumerate(filters, 1):
            self.add_module(f"conv{n}", AnchorFree.conv_bn(cin, c, 1))
            cin = c
        self.n = len(filters)
        up = cat * self.n
        for to in range(1, self.n):
            for source in range(1, self.n + 1):
                c = filters[source - 1] if source <= to or source == self.n else up
                self.add_module(f"h{source}_hd{to}", AnchorFree.conv_bn(c, cat, 1))
            self.add_module(f"fuse{to}", AnchorFree.conv_bn(up, up, 1))
            self.add_module(f"out{to}", nn.Conv2d(up, 2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        hs: dict[int, Tensor] = {}
        for n in range(1, self.n + 1):
            x = getattr(self, f"conv{n}")(x if n == 1 else F.max_pool2d(x, 2, ceil_mode=True))
            hs[n] = x
        outs = []
        for to in range(self.n - 1, 0, -1):
            size, parts = hs[to].shape[2:], []
            for source in range(1, self.n + 1):
                h = hs[source]
                if source < to:
                    h = F.max_pool2d(h, 2 ** (to - source), 2 ** (to - source), ceil_mode=True)
                elif source > to:
                    h = F.interpolate(h, size=size, mode="bilinear", align_corners=True)
                parts.append(getattr(self, f"h{source}_hd{to}")(h))
            hs[to] = getattr(self, f"fuse{to}")(torch.cat(parts, 1))
            outs.append(getattr(self, f"out{to}")(hs[to]))
        return outs[::-1] if self.training else outs[-1]


class Distilling(nn.Module):
    """Blocks that split off a part of their channels at each step, weighed by contrast, before sub-pixel convolution."""

    class CCALayer(nn.Module):
        def __init__(self, channel: int, reduction: int = 4) -> None:
            super().__init__()
            self.contrast, self.avg_pool = self.stdv_channels, nn.AdaptiveAvgPool2d(1)
            self.conv_du = nn.Sequential(
                nn.Conv2d(channel, channel // reduction, 1), nn.ReLU(inplace=True),
                nn.Conv2d(channel // reduction, channel, 1), nn.Sigmoid(),
            )  # fmt: skip

        @staticmethod
        def mean_channels(x: Tensor) -> Tensor:
            assert x.dim() == 4
            return x.sum(3, keepdim=True).sum(2, keepdim=True) / (x.size(2) * x.size(3))

        def stdv_channels(self, x: Tensor) -> Tensor:
            mean = self.mean_channels(x)
            v = (x - mean).pow(2).sum(3, keepdim=True).sum(2, keepdim=True) / (
                x.size(2) * x.size(3)
            )
            return v.pow(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.conv_du(self.contrast(x) + self.avg_pool(x))

    class IMDModule(nn.Module):
        def __init__(self, in_channels: int, rate: float = 0.25) -> None:
            super().__init__()
            self.distilled_channels = int(in_channels * rate)
            self.remaining_channels = int(in_channels - self.distilled_channels)
            r = self.remaining_channels
            self.c1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
            self.c2, self.c3 = (nn.Conv2d(r, in_channels, 3, padding=1) for _ in range(2))
            self.c4 = nn.Conv2d(r, self.distilled_channels, 3, padding=1)
            self.act, self.cca = (
                nn.LeakyReLU(0.05, inplace=True),
                Distilling.CCALayer(self.distilled_channels * 4),
            )
            self.c5 = nn.Conv2d(self.distilled_channels * 4, in_channels, 1)

        def forward(self, input: Tensor) -> Tensor:
            sizes = (self.distilled_channels, self.remaining_channels)
            d1, r1 = torch.split(self.act(self.c1(input)), sizes, dim=1)
            d2, r2 = torch.split(self.act(self.c2(r1)), sizes, dim=1)
            d3, r3 = torch.split(self.act(self.c3(r2)), sizes, dim=1)
            out = torch.cat([d1, d2, d3, self.c4(r3)], dim=1)
            return self.c5(self.cca(out)) + input

    def __init__(self, nf: int = 12, upscale: int = 2) -> None:
        super().__init__()
        self.fea_conv = nn.Conv2d(3, nf, 3, padding=1)
        self.blocks = nn.ModuleList([self.IMDModule(nf) for _ in range(2)])
        self.c = nn.Sequential(nn.Conv2d(nf * 2, nf, 1), nn.LeakyReLU(0.05, True))
        self.upsampler = nn.Sequential(
            nn.Conv2d(nf, 3 * upscale**2, 3, padding=1), nn.PixelShuffle(upscale)
        )

    def forward(self, input: Tensor) -> Tensor:
        out_fea, outs = self.fea_conv(input), []
        for block in self.blocks:
            outs.append(block(outs[-1] if outs else out_fea))
        return self.upsampler(self.c(torch.cat(outs, dim=1)) + out_fea)


class NoiseMapDenoiser(nn.Module):
    """Pixels folded into channels beside a map of each picture's noise, after padding to an even size."""

    def __init__(self, in_nc: int = 3, nc: int = 14, nb: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(in_nc * 4 + 1, nc, 3, padding=1),
            nn.ReLU(inplace=True),
        ]
        for _ in range(nb - 2):
            layers.extend(
                [
                    nn.Conv2d(nc, nc, 3, padding=1, bias=False),
                    nn.BatchNorm2d(nc),
                    nn.ReLU(inplace=True),
                ]
            )
        layers.append(nn.Conv2d(nc, in_nc * 4, 3, padding=1))
        self.m_down, self.model, self.m_up = (
            nn.PixelUnshuffle(2),
            nn.Sequential(*layers),
            nn.PixelShuffle(2),
        )
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.orthogonal_(m.weight)
            elif isinstance(m, nn.BatchNorm2d):
                m.weight.data.normal_(mean=0, std=0.1).clamp_(-0.025, 0.025).add_(1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        h, w = x.size()[-2:]
        paddingBottom, paddingRight = (-h) % 2, (-w) % 2
        x = F.pad(x, (0, paddingRight, 0, paddingBottom), mode="replicate")
        x = self.m_down(x)
        m = sigma.view(-1, 1, 1, 1).repeat(1, 1, x.size()[-2], x.size()[-1])
        x = self.m_up(self.model(torch.cat((x, m), 1)))
        return x[..., :h, :w]


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "anchor_free_levels": lambda: (AnchorFree(), INPUTS.images),
    "corner_heads": lambda: (CornerHeads(), INPUTS.images),
    "unpooled_segmenter": lambda: (UnpooledSegmenter(), INPUTS.images),
    "full_scale_skips": lambda: (FullScaleSkips(), SMALL_IMAGES),
    "distilling_sr": lambda: (Distilling(), SMALL_IMAGES),
    "noise_map_denoiser": lambda: (NoiseMapDenoiser(), NOISY),
}

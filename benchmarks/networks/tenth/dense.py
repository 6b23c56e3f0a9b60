"""Networks of the zoo over images, tenth sample: masks that are learnt with, upsampling by content, halos, many outputs."""

# ruff: noqa: B905, N803, N806 - names and lines as people write them
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.tenth.inputs import INPUTS, MASKED, TRIPLES


class GatedConv(nn.Conv2d):
    """A convolution that makes values and their gates at once."""

    def __init__(self, i: int, o: int, k: int, stride: int = 1, act: Any = F.elu) -> None:
        super().__init__(i, 2 * o, k, stride, padding=(k - 1) // 2)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        x, gate = torch.split(x, x.shape[1] // 2, dim=1)
        x = x if self.act is None else self.act(x)
        return x * torch.sigmoid(gate)


class GatedInpainting(nn.Module):
    """What a mask hides is filled by gated convolutions, first roughly, then once more."""

    def __init__(self, c: int = 6) -> None:
        super().__init__()
        coarse = [GatedConv(5, c, 5), GatedConv(c, 2 * c, 3, 2), GatedConv(2 * c, 2 * c, 3)]
        self.coarse = nn.Sequential(*coarse, nn.Upsample(scale_factor=2), GatedConv(2 * c, c, 3))
        self.coarse_out = nn.Conv2d(c, 3, 3, padding=1)
        self.fine = nn.Sequential(GatedConv(5, c, 3), GatedConv(c, c, 3), nn.Conv2d(c, 3, 3, 1, 1))

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        ones = torch.ones_like(image)[:, 0:1, :, :]
        masked = image * (1 - mask)
        first = torch.clamp(self.coarse_out(self.coarse(torch.cat([masked, ones, mask], 1))), -1, 1)
        mixed = image * (1 - mask) + first * mask
        second = torch.tanh(self.fine(torch.cat([mixed, ones, ones * mask], dim=1)))
        return first, second


class ContentUpsampler(nn.Module):
    """Each pixel of the large image is a weighed sum of its neighbours; the weights are made from the content."""

    def __init__(self, c: int, mid: int = 8, scale: int = 2, k_up: int = 3) -> None:
        super().__init__()
        self.scale, self.k_up = scale, k_up
        self.comp = nn.Conv2d(c, mid, 1)
        self.enc = nn.Conv2d(mid, (scale * k_up) ** 2, 3, padding=1)
        self.pix_shf = nn.PixelShuffle(scale)

    def forward(self, X: Tensor) -> Tensor:
        b, c, h, w = X.size()
        h_, w_ = h * self.scale, w * self.scale
        W = F.softmax(self.pix_shf(self.enc(self.comp(X))), dim=1)
        X = F.interpolate(X, scale_factor=self.scale, mode="nearest")
        X = F.unfold(X, self.k_up, dilation=self.scale, padding=self.k_up // 2 * self.scale)
        X = X.view(b, c, -1, h_, w_)
        return torch.einsum("bkhw,bckhw->bchw", [W, X])


class ContentSegmenter(nn.Module):
    """Encoder, upsampling by content, one class for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.e1 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.e2 = nn.Sequential(nn.Conv2d(8, 14, 3, 2, 1), nn.BatchNorm2d(14), nn.ReLU())
        self.up2, self.lateral = ContentUpsampler(14), nn.Conv2d(8, 14, 1)
        self.up1, self.out = ContentUpsampler(14), nn.Conv2d(14, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        f1 = self.e1(x)
        f2 = self.e2(f1)
        return self.out(self.up1(self.up2(f2) + self.lateral(f1)))


class RecurrentUNet(nn.Module):
    """Convolutions that see their own outcome again, some times; skips are gated."""

    class Recurrent(nn.Module):
        def __init__(self, ch: int, t: int = 2) -> None:
            super().__init__()
            self.t = t
            self.conv = nn.Sequential(
                nn.Conv2d(ch, ch, 3, 1, 1), nn.BatchNorm2d(ch), nn.ReLU(inplace=True)
            )

        def forward(self, x: Tensor) -> Tensor:
            for i in range(self.t):
                if i == 0:
                    x1 = self.conv(x)
                x1 = self.conv(x + x1)
            return x1

    class Block(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.RCNN = nn.Sequential(RecurrentUNet.Recurrent(o), RecurrentUNet.Recurrent(o))
            self.Conv_1x1 = nn.Conv2d(i, o, kernel_size=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.Conv_1x1(x)
            return x + self.RCNN(x)

    def __init__(self) -> None:
        super().__init__()
        self.Maxpool, self.Up = nn.MaxPool2d(2, 2), nn.UpsamplingBilinear2d(scale_factor=2)
        self.R1, self.R2, self.R3 = self.Block(3, 6), self.Block(6, 10), self.Block(10, 14)
        self.up_conv3, self.up_conv2 = nn.Conv2d(14, 10, 3, 1, 1), nn.Conv2d(10, 6, 3, 1, 1)
        self.D3, self.D2 = self.Block(20, 10), self.Block(12, 6)
        self.ds, self.out = nn.Conv2d(10, 2, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> OrderedDict[str, Any]:
        x1 = self.R1(x)
        x2 = self.R2(self.Maxpool(x1))
        x3 = self.R3(self.Maxpool(x2))
        d3 = self.D3(torch.cat((x2, self.up_conv3(self.Up(x3))), dim=1))
        d2 = self.D2(torch.cat((x1, self.up_conv2(self.Up(d3))), dim=1))
        out: OrderedDict[str, Any] = OrderedDict()
        out["main"] = self.out(d2)
        out["aux"] = [F.interpolate(self.ds(d3), size=x.shape[-2:]), None]
        return out


class HaloAttention(nn.Module):
    """Blocks of queries over their surroundings, with places relative to each other along both axes."""

    def __init__(self, dim: int, heads: int = 2, dim_head: int = 5, block: int = 4) -> None:
        super().__init__()
        self.block, self.halo, self.heads, self.scale = block, 1, heads, dim_head**-0.5
        inner, win = dim_head * heads, block + 2
        self.to_q, self.to_kv = (
            nn.Linear(dim, inner, bias=False),
            nn.Linear(dim, 2 * inner, bias=False),
        )
        self.bias = nn.Parameter(torch.randn(heads, block * block, win * win) * 0.02)
        self.to_out = nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        B, H = self.block, self.heads
        q_inp = x.reshape(b, c, h // B, B, w // B, B).permute(0, 2, 4, 3, 5, 1)
        q_inp = q_inp.reshape(-1, B * B, c)
        kv = F.unfold(x, kernel_size=B + 2 * self.halo, stride=B, padding=self.halo)
        kv = kv.reshape(b, c, -1, kv.shape[-1]).permute(0, 3, 2, 1).flatten(0, 1)
        q, (k, v) = self.to_q(q_inp), self.to_kv(kv).chunk(2, dim=-1)
        q, k, v = (t.reshape(t.shape[0], t.shape[1], H, -1).transpose(1, 2) for t in (q, k, v))
        sim = q * self.scale @ k.mT + self.bias
        mask = F.unfold(x.new_ones(1, 1, h, w), B + 2 * self.halo, stride=B, padding=self.halo)
        mask = mask.permute(0, 2, 1).expand(b, -1, -1).reshape(-1, 1, 1, sim.shape[-1]) == 0
        sim = sim.masked_fill(mask, -torch.finfo(sim.dtype).max)
        out = (sim.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
        out = self.to_out(out).view(b, h // B, w // B, B, B, -1)
        return out.permute(0, 5, 1, 3, 2, 4).reshape(b, -1, h, w)


class HaloNet(nn.Module):
    """Convolutions, attention in blocks with halos, one class."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, 4)
        self.attn, self.norm = HaloAttention(12), nn.InstanceNorm2d(12, affine=True)
        self.mlp = nn.Sequential(nn.Conv2d(12, 20, 1), nn.GELU(), nn.Conv2d(20, 12, 1))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.attn(self.norm(x))
        x = x + self.mlp(x)
        return self.head(x.mean([2, 3]))


class MixedScaleDense(nn.Module):
    """Every layer sees all channels before it, at a dilation of its own, one channel or two at a time."""

    def __init__(self, depth: int = 6, width: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for i in range(depth):
            d = i % 4 + 1
            self.layers.append(nn.Conv2d(3 + i * width, width, 3, padding=d, dilation=d))
        self.final = nn.Conv2d(3 + depth * width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        feats = [x]
        for layer in self.layers:
            feats.append(F.relu(layer(torch.cat(feats, dim=1))))
        return self.final(torch.cat(feats, dim=1)).log_softmax(1)


class UncertainTasks(nn.Module):
    """Heads by name in a dictionary, chosen by name, with a learnt weight for each task's loss."""

    def __init__(self) -> None:
        super().__init__()
        tasks = {"seg": 4, "depth": 1, "normals": 3}
        self.encoder = nn.Sequential(
            OrderedDict(
                stem=nn.Conv2d(3, 8, 3, 2, 1),
                norm=nn.SyncBatchNorm(8),
                act=nn.Hardswish(),
                down=nn.Conv2d(8, 16, 3, 2, 1, groups=2),
                last=nn.LeakyReLU(0.1),
            )
        )
        self.reduce = nn.ModuleDict({t: nn.Conv2d(16, 6, 1) for t in tasks})
        self.heads = nn.ModuleDict(
            {t: nn.Sequential(nn.ReLU(), nn.Conv2d(6, o, 3, padding=1)) for t, o in tasks.items()}
        )
        self.log_vars = nn.ParameterDict({t: nn.Parameter(torch.zeros(())) for t in tasks})
        self.mix = nn.Parameter(torch.eye(len(tasks)))

    def forward(self, x: Tensor, tasks: list[str] | None = None, upsample: bool = True) -> Any:
        feats = self.encoder(x)
        names = tasks or list(self.heads.keys())
        each = torch.stack([self.reduce[t](feats) for t in names])
        each = torch.tensordot(self.mix.softmax(-1), each, dims=([1], [0]))
        outputs = {t: self.heads[t](f) for t, f in zip(names, each.unbind(0))}
        if upsample:
            outputs = {
                t: F.interpolate(o, x.shape[2:], mode="bilinear", align_corners=False)
                for t, o in outputs.items()
            }
        outputs["normals"] = F.normalize(outputs["normals"], dim=1)
        return outputs, {t: torch.exp(-v) for t, v in self.log_vars.items()}


class Quadratic(nn.Module):
    """A neuron of second order: two linear maps multiplied, and one of the squares."""

    def __init__(self, i: int, o: int, **kw: Any) -> None:
        super().__init__()
        self.r, self.g = nn.Conv2d(i, o, 3, **kw), nn.Conv2d(i, o, 3, **kw)
        self.b = nn.Conv2d(i, o, 3, bias=False, **kw)
        nn.init.ones_(self.g.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.b(torch.square(x)), self.r(x), self.g(x))


class ChannelsLast(nn.Module):
    """Neurons of second order on memory with the channels last; pooled by powers, two widths joined."""

    def __init__(self) -> None:
        super().__init__()
        self.q1, self.q2 = Quadratic(3, 10, stride=2, padding=1), Quadratic(10, 14, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(10, momentum=None), nn.BatchNorm2d(14)
        self.pool, self.act = nn.LPPool2d(2, 2), nn.Softmax2d()
        self.out = nn.Sequential(nn.Unflatten(1, (7, 2)), nn.Flatten(), nn.LazyLinear(5))
        self.out(torch.zeros(1, 14, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.hardtanh(self.bn1(self.q1(x)), -2.0, 2.0)
        x = self.pool(self.bn2(self.q2(x)))
        attention = self.act(x)
        return self.out((attention * x).sum((2, 3), keepdim=True))


class Coordinates(nn.Sequential):
    """Adds maps of places before its layers."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        n, _, h, w = x.shape
        yy, xx = torch.meshgrid(
            torch.linspace(-1, 1, h, dtype=x.dtype, device=x.device),
            torch.linspace(-1, 1, w, dtype=x.dtype, device=x.device),
            indexing="ij",
        )
        rr = torch.hypot(xx, yy)
        grid = torch.stack((yy, xx, rr)).unsqueeze(0).expand(n, -1, -1, -1)
        return super().forward(torch.cat((grid, x), dim=1))


class ParticleBroadcast(nn.Module):
    """An autoencoder whose decoder sees one code at all places, with an area for each of some parts."""

    def __init__(self, k: int = 3, d: int = 6) -> None:
        super().__init__()
        self.k, self.d = k, d
        self.enc = Coordinates(
            nn.Conv2d(6, 10, 3, 2, 1), nn.CELU(), nn.Conv2d(10, 12, 3, 2, 1), nn.CELU()
        )
        self.to_z = nn.Linear(12 * 64, k * 2 * d)
        self.dec = Coordinates(nn.Conv2d(3 + d, 12, 3, 1, 1), nn.CELU(), nn.Conv2d(12, 4, 3, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        stats = self.to_z(self.enc(x).flatten(1)).view(-1, self.k, 2 * self.d)
        mu, logvar = stats.chunk(2, -1)
        z = mu
        if self.training:
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        z = z.view(-1, self.d)[..., None, None].repeat(1, 1, 32, 32)
        out = self.dec(z).view(x.shape[0], self.k, 4, 32, 32)
        rgb, mask = out[:, :, :3], out[:, :, 3:].softmax(dim=1)
        return (rgb * mask).sum(1), mask, mu, logvar


class Rotations(nn.Module):
    """Three crops of one scene to a rotation by Gram and Schmidt, and a place; one backbone for all."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.GELU(), nn.Conv2d(12, 16, 3, 2, 1), nn.GELU()
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Linear(3 * 16, 24)
        self.rot, self.xyz = nn.Linear(24, 6), nn.Linear(24, 3)

    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        feats = [torch.flatten(self.pool(self.backbone(v)), 1) for v in views]
        h = F.relu(self.fc(torch.hstack(feats)))
        r6 = self.rot(h)
        a1, a2 = r6[..., :3], r6[..., 3:]
        b1 = F.normalize(a1, dim=-1)
        b2 = F.normalize(a2 - (b1 * a2).sum(-1, keepdim=True) * b1, dim=-1)
        b3 = torch.linalg.cross(b1, b2, dim=-1)
        return {"rotation": torch.stack((b1, b2, b3), dim=-2), "translation": self.xyz(h)}


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "gated_inpainting": lambda: (GatedInpainting(), MASKED),
    "content_upsampler": lambda: (ContentSegmenter(), INPUTS.images),
    "recurrent_u_net": lambda: (RecurrentUNet(), INPUTS.images),
    "halo_attention": lambda: (HaloNet(), INPUTS.images),
    "mixed_scale_dense": lambda: (MixedScaleDense(), INPUTS.images),
    "uncertain_tasks": lambda: (UncertainTasks(), INPUTS.images),
    "quadratic_channels_last": lambda: (ChannelsLast(), INPUTS.images),
    "broadcast_parts": lambda: (ParticleBroadcast(), INPUTS.images),
    "rotation_of_views": lambda: (Rotations(), TRIPLES),
}

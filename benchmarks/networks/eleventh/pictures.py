"""Networks of the zoo that make or place pictures, eleventh sample: controls, joint streams, planes, domains, agents."""

# ruff: noqa: B905, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.eleventh.inputs import HINTED, INPUTS, PLANES, STYLED, TIMED


def timestep_embedding(t: Tensor, dim: int, max_period: int = 10000) -> Tensor:
    """Returns sines and cosines of times."""
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(0, half).to(t.device) / half)
    args = t[:, None].float() * freqs[None]
    return torch.cat([torch.cos(args), torch.sin(args)], dim=-1)


class ResBlock(nn.Module):
    """A block of a diffusion U-Net whose time scales and shifts."""

    def __init__(self, i: int, o: int, emb: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(4, i), nn.SiLU(), nn.Conv2d(i, o, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * o))
        self.out_norm, self.out_conv = nn.GroupNorm(4, o), nn.Conv2d(o, o, 3, padding=1)
        self.skip = nn.Identity() if i == o else nn.Conv2d(i, o, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h, e = self.in_layers(x), self.emb_layers(emb).to(x.dtype)
        while len(e.shape) < len(h.shape):
            e = e[..., None]
        scale, shift = torch.chunk(e, 2, dim=1)
        return self.skip(x) + self.out_conv(F.silu(self.out_norm(h) * (1 + scale) + shift))


class Controlled(nn.Module):
    """A denoiser with a second encoder for a hint, whose convolutions of zeros are added to the skips."""

    class Encoder(nn.Module):
        def __init__(self, d: int, emb: int) -> None:
            super().__init__()
            self.conv_in = nn.Conv2d(3, d, 3, padding=1)
            self.blocks = nn.ModuleList([ResBlock(d, d, emb), ResBlock(d, 2 * d, emb)])
            self.downs = nn.ModuleList([nn.Conv2d(d, d, 3, 2, 1), nn.Conv2d(2 * d, 2 * d, 3, 2, 1)])
            self.mid = ResBlock(2 * d, 2 * d, emb)

        def forward(self, x: Tensor, emb: Tensor, hint: Any = None) -> list[Tensor]:
            h = self.conv_in(x)
            if hint is not None:
                h = h + hint
            hs = [h]
            for block, down in zip(self.blocks, self.downs):
                h = block(h, emb)
                hs.append(h)
                h = down(h)
            hs.append(self.mid(h, emb))
            return hs

    def __init__(self, d: int = 8, emb: int = 16) -> None:
        super().__init__()
        self.d = d
        self.time = nn.Sequential(nn.Linear(d, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.unet, self.control = self.Encoder(d, emb), self.Encoder(d, emb)
        self.hint = nn.Sequential(
            nn.Conv2d(3, d, 3, padding=1), nn.SiLU(), nn.Conv2d(d, d, 3, padding=1)
        )
        self.zero_convs = nn.ModuleList(nn.Conv2d(w, w, 1) for w in (d, d, 2 * d, 2 * d))
        self.ups = nn.ModuleList([ResBlock(4 * d, d, emb), ResBlock(2 * d, d, emb)])
        self.out = nn.Sequential(nn.GroupNorm(4, 2 * d), nn.SiLU(), nn.Conv2d(2 * d, 3, 3, 1, 1))

    def forward(self, x: Tensor, t: Tensor, hint: Tensor) -> Tensor:
        emb = self.time(timestep_embedding(t, self.d).to(x.dtype))
        controls = [z(h) for z, h in zip(self.zero_convs, self.control(x, emb, self.hint(hint)))]
        hs = self.unet(x, emb)
        h = hs.pop() + controls.pop()
        for up in self.ups:
            h = F.interpolate(h, scale_factor=2, mode="nearest")
            h = up(torch.cat([h, hs.pop() + controls.pop()], dim=1), emb)
        return self.out(torch.cat([h, hs.pop() + controls.pop()], dim=1))


class JointStreams(nn.Module):
    """Pictures and classes as two streams of their own weights that attend together, with norms of queries and keys."""

    class Stream(nn.Module):
        def __init__(self, d: int, heads: int) -> None:
            super().__init__()
            self.heads, self.mod = heads, nn.Linear(d, 6 * d)
            self.n1 = nn.LayerNorm(d, elementwise_affine=False, eps=1e-6)
            self.n2 = nn.LayerNorm(d, elementwise_affine=False, eps=1e-6)
            self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.q_norm, self.k_norm = nn.RMSNorm(d // heads), nn.RMSNorm(d // heads)
            self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU("tanh"), nn.Linear(2 * d, d))

        def before(self, x: Tensor, c: Tensor) -> tuple[Tensor, ...]:
            mods = self.mod(F.silu(c))[:, None].chunk(6, dim=-1)
            h = self.n1(x) * (1 + mods[1]) + mods[0]
            B, L, _ = h.shape
            qkv = self.qkv(h).view(B, L, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
            return self.q_norm(q), self.k_norm(k), v, *mods[2:]

        def after(self, x: Tensor, a: Tensor, g1: Tensor, s: Tensor, c: Tensor, g2: Tensor) -> Any:
            x = x + g1 * self.proj(a)
            return x + g2 * self.mlp(self.n2(x) * (1 + c) + s)

    def __init__(self, d: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.x_in, self.y_in = nn.Conv2d(3, d, 8, 8), nn.Embedding(100, 2 * d)
        self.t_in = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))
        self.img, self.txt = self.Stream(d, heads), self.Stream(d, heads)
        self.final_mod = nn.Sequential(nn.SiLU(), nn.Linear(d, 2 * d))
        self.final = nn.Linear(d, 3 * 64)
        self.norm = nn.LayerNorm(d, elementwise_affine=False)

    def forward(self, img: Tensor, t: Tensor) -> Tensor:
        x = self.x_in(img).flatten(2).transpose(1, 2)
        c = self.t_in(timestep_embedding(t, 16).to(x.dtype))
        y = self.y_in(t).view(x.shape[0], 2, -1)
        qx, kx, vx, *mx = self.img.before(x, c)
        qy, ky, vy, *my = self.txt.before(y, c)
        q, k, v = (torch.cat(p, dim=2) for p in ((qy, qx), (ky, kx), (vy, vx)))
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        ay, ax = a[:, : y.shape[1]], a[:, y.shape[1] :]
        x, y = self.img.after(x, ax, *mx), self.txt.after(y, ay, *my)
        shift, scale = self.final_mod(c + y.mean(1)).chunk(2, dim=1)
        x = self.final(self.norm(x) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1))
        x = x.reshape(x.shape[0], 4, 4, 8, 8, 3)
        return torch.einsum("nhwpqc->nchpwq", x).reshape(x.shape[0], 3, 32, 32)


class Planes(nn.Module):
    """Points in space looked up in three planes of several sizes, multiplied, then joined; densities and colours."""

    def __init__(self, d: int = 8, scales: tuple[int, ...] = (4, 8)) -> None:
        super().__init__()
        self.combos = [(0, 1), (0, 2), (1, 2)]
        self.grids = nn.ModuleList(
            nn.ParameterList(nn.Parameter(torch.rand(1, d, s, s) + 0.1) for _ in self.combos)
            for s in scales
        )
        self.sigma_net = nn.Sequential(nn.Linear(d * len(scales), 16), nn.ReLU(), nn.Linear(16, 9))
        self.color_net = nn.Sequential(
            nn.Linear(8 + 3, 16), nn.ReLU(), nn.Linear(16, 3), nn.Sigmoid()
        )

    def forward(self, pts: Tensor) -> tuple[Tensor, Tensor]:
        n, s = pts.shape[:2]
        flat, multi = pts.reshape(-1, 3), []
        for grid in self.grids:
            interp: Any = 1.0
            for ci, combo in enumerate(self.combos):
                coords = flat[..., combo].view(1, 1, -1, 2)
                plane = F.grid_sample(grid[ci], coords, align_corners=True, mode="bilinear")
                interp = interp * plane.view(grid[ci].shape[1], -1).t()
            multi.append(interp)
        features = self.sigma_net(torch.cat(multi, dim=-1))
        geo, sigma = torch.split(features, [8, 1], dim=-1)
        rgb = self.color_net(torch.cat([F.normalize(flat, dim=-1), geo], dim=-1))
        weights = torch.softmax(F.softplus(sigma).view(n, s, 1), dim=1)
        return (weights * rgb.view(n, s, 3)).sum(dim=1), weights.squeeze(-1)


class DomainStyles(nn.Module):
    """A generator by adaptive norms; styles come out of heads for each domain, picked by its number."""

    class AdaIN(nn.Module):
        def __init__(self, style: int, n: int) -> None:
            super().__init__()
            self.norm, self.fc = nn.InstanceNorm2d(n, affine=False), nn.Linear(style, n * 2)

        def forward(self, x: Tensor, s: Tensor) -> Tensor:
            h = self.fc(s)
            h = h.view(h.size(0), h.size(1), 1, 1)
            gamma, beta = torch.chunk(h, chunks=2, dim=1)
            return (1 + gamma) * self.norm(x) + beta

    def __init__(self, style: int = 8, domains: int = 3) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.unshared = nn.ModuleList()
        for _ in range(domains):
            self.unshared += [nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, style))]
        self.from_rgb = nn.Conv2d(3, 8, 3, 1, 1)
        self.conv1, self.conv2 = nn.Conv2d(8, 12, 3, 1, 1), nn.Conv2d(12, 8, 3, 1, 1)
        self.norm1, self.norm2 = self.AdaIN(style, 8), self.AdaIN(style, 12)
        self.to_rgb = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor, z: Tensor, y: Tensor) -> Tensor:
        h = self.shared(z)
        out = torch.stack([layer(h) for layer in self.unshared], dim=1)
        s = out[torch.arange(y.size(0)).to(y.device), y]
        x = self.from_rgb(x)
        r = self.conv1(F.leaky_relu(self.norm1(x, s), 0.2))
        r = self.conv2(F.leaky_relu(self.norm2(r, s), 0.2))
        return self.to_rgb((x + r) / math.sqrt(2))


class Agents(nn.Module):
    """Pooled queries attend to all keys, and all queries to these, with biases of two kinds; values also convolved."""

    def __init__(self, d: int = 12, heads: int = 2, agents: int = 4) -> None:
        super().__init__()
        self.patch, self.heads, self.agents = nn.Conv2d(3, d, 4, 4), heads, agents
        self.qkv, self.proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d)
        self.scale, side = (d // heads) ** -0.5, int(agents**0.5)
        self.dwc, self.pool = nn.Conv2d(d, d, 3, 1, 1, groups=d), nn.AdaptiveAvgPool2d((side, side))
        self.an_bias = nn.Parameter(torch.randn(heads, agents, 7, 7) * 0.02)
        self.ah_bias = nn.Parameter(torch.randn(1, heads, agents, 8, 1) * 0.02)
        self.aw_bias = nn.Parameter(torch.randn(1, heads, agents, 1, 8) * 0.02)
        self.softmax, self.n1, self.n2 = nn.Softmax(dim=-1), nn.LayerNorm(d), nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d))
        self.head = nn.Linear(d, 5)

    def attend(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        h = w = int(n**0.5)
        nh, hd = self.heads, c // self.heads
        q, k, v = self.qkv(x).reshape(b, n, 3, c).permute(2, 0, 1, 3)
        at = self.pool(q.reshape(b, h, w, c).permute(0, 3, 1, 2)).reshape(b, c, -1).permute(0, 2, 1)
        q = q.reshape(b, n, nh, hd).permute(0, 2, 1, 3)
        k = k.reshape(b, n, nh, hd).permute(0, 2, 1, 3)
        v = v.reshape(b, n, nh, hd).permute(0, 2, 1, 3)
        at = at.reshape(b, self.agents, nh, hd).permute(0, 2, 1, 3)
        bias = F.interpolate(self.an_bias, size=(h, w), mode="bilinear")
        bias = bias.reshape(1, nh, self.agents, -1)
        bias = bias + (self.ah_bias + self.aw_bias).reshape(1, nh, self.agents, -1)
        agent_v = self.softmax((at * self.scale) @ k.transpose(-2, -1) + bias) @ v
        x = self.softmax((q * self.scale) @ at.transpose(-2, -1)) @ agent_v
        x = x.transpose(1, 2).reshape(b, n, c)
        v = v.transpose(1, 2).reshape(b, h, w, c).permute(0, 3, 1, 2)
        return self.proj(x + self.dwc(v).permute(0, 2, 3, 1).reshape(b, n, c))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.attend(self.n1(x))
        return self.head((x + self.mlp(self.n2(x))).mean(1))


class Reassembled(nn.Module):
    """Tokens of two depths of a transformer set back into maps of two sizes, with the class token as a readout."""

    class Fusion(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.one, self.two, self.out = (nn.Conv2d(n, n, k, padding=k // 2) for k in (3, 3, 1))
            self.skip_add = torch.ao.nn.quantized.FloatFunctional()

        def unit(self, x: Tensor) -> Tensor:
            out = self.two(F.relu(self.one(F.relu(x))))
            return self.skip_add.add(out, x)

        def forward(self, *xs: Tensor) -> Tensor:
            output = xs[0]
            if len(xs) == 2:
                output = self.skip_add.add(output, self.unit(xs[1]))
            output = self.unit(output)
            up = F.interpolate(output, scale_factor=2, mode="bilinear", align_corners=True)
            return self.out(up)

    def __init__(self, d: int = 16, f: int = 8) -> None:
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, d, 8, 8), nn.Parameter(torch.zeros(1, 1, d))
        self.pos = nn.Parameter(torch.randn(1, 17, d) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(d, 2, 24, 0.0, batch_first=True) for _ in range(2)
        )
        self.readout = nn.ModuleList(nn.Sequential(nn.Linear(2 * d, d), nn.GELU()) for _ in "ab")
        self.resize = nn.ModuleList([nn.ConvTranspose2d(6, 6, 2, 2), nn.Identity()])
        self.projects = nn.ModuleList([nn.Conv2d(d, 6, 1), nn.Conv2d(d, 10, 1)])
        self.rn = nn.ModuleList(nn.Conv2d(w, f, 3, padding=1, bias=False) for w in (6, 10))
        self.fuse = nn.ModuleList(self.Fusion(f) for _ in range(2))
        self.head = nn.Sequential(nn.Conv2d(f, 4, 3, padding=1), nn.ReLU(True), nn.Conv2d(4, 1, 1))

    def forward(self, img: Tensor) -> Tensor:
        x = self.patch(img)
        h, w = x.shape[-2:]
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x.flatten(2).mT], dim=1) + self.pos
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            readout = x[:, 0].unsqueeze(1).expand_as(x[:, 1:])
            y = self.readout[i](torch.cat((x[:, 1:], readout), -1))
            y = y.permute(0, 2, 1).reshape(x.shape[0], x.shape[-1], h, w)
            maps.append(self.rn[i](self.resize[i](self.projects[i](y))))
        low, high = maps
        path = self.fuse[1](high)
        path = self.fuse[0](path, low)
        return F.relu(self.head(path)).squeeze(1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "controlled_denoiser": lambda: (Controlled(), HINTED),
    "joint_streams": lambda: (JointStreams(), TIMED),
    "multiplied_planes": lambda: (Planes(), PLANES),
    "domain_styles": lambda: (DomainStyles(), STYLED),
    "agent_attention": lambda: (Agents(), INPUTS.images),
    "reassembled_tokens": lambda: (Reassembled(), INPUTS.images),
}

"""Networks of the zoo over images, fifth sample: restoration, motion, video, and layers with places or turns of their own."""

# ruff: noqa: N806, RUF005 - names and lines as people write them
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fifth.images import CLIPS, PHOTOS, SMALL


def calc_mean_std(feat: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    size = feat.size()
    assert len(size) == 4
    n, c = size[:2]
    feat_var = feat.view(n, c, -1).var(dim=2) + eps
    feat_std = feat_var.sqrt().view(n, c, 1, 1)
    feat_mean = feat.view(n, c, -1).mean(dim=2).view(n, c, 1, 1)
    return feat_mean, feat_std


class AdaInStyle(nn.Module):
    """Content takes the statistics of style, channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(3, 10, 3), nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True),
                                 nn.ReflectionPad2d(1), nn.Conv2d(10, 12, 3), nn.ReLU())  # fmt: skip
        self.dec = nn.Sequential(
            nn.Conv2d(12, 8, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(8, 3, 1),
        )

    def forward(self, content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        content_feat, style_feat = self.enc(content), self.enc(style)
        size = content_feat.size()
        style_mean, style_std = calc_mean_std(style_feat)
        content_mean, content_std = calc_mean_std(content_feat)
        normalized = (content_feat - content_mean.expand(size)) / content_std.expand(size)
        t = normalized * style_std.expand(size) + style_mean.expand(size)
        return self.dec(t), t.mean((2, 3))


class DeformConv(nn.Module):
    """Offsets by a convolution, samples by ``grid_sample``, a kernel over nine samples."""

    def __init__(self, i: int = 8, o: int = 12) -> None:
        super().__init__()
        self.stem, self.offset = nn.Conv2d(3, i, 3, padding=1), nn.Conv2d(i, 18, 3, padding=1)
        self.mask, self.weight = nn.Conv2d(i, 9, 3, padding=1), nn.Conv2d(i * 9, o, 1)
        self.head = nn.Linear(o, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        b, c, h, w = x.shape
        off = self.offset(x).view(b, 9, 2, h, w).permute(0, 1, 3, 4, 2)
        ys, xs = torch.meshgrid(
            torch.linspace(-1, 1, h, dtype=x.dtype),
            torch.linspace(-1, 1, w, dtype=x.dtype),
            indexing="ij",
        )
        grid = torch.stack([xs, ys], -1)[None, None] + 0.1 * torch.tanh(off)
        sampled = F.grid_sample(x, grid.reshape(b, 9 * h, w, 2), align_corners=True).view(
            b, c, 9, h, w
        )
        sampled = sampled * torch.sigmoid(self.mask(x)).unsqueeze(1)
        return self.head(F.relu(self.weight(sampled.reshape(b, c * 9, h, w))).mean(dim=(-2, -1)))


class ConvGru(nn.Module):
    def __init__(self, hidden: int, i: int) -> None:
        super().__init__()
        self.convz, self.convr, self.convq = (
            nn.Conv2d(hidden + i, hidden, 3, padding=1) for _ in range(3)
        )

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        hx = torch.cat([h, x], dim=1)
        z, r = torch.sigmoid(self.convz(hx)), torch.sigmoid(self.convr(hx))
        q = torch.tanh(self.convq(torch.cat([r * h, x], dim=1)))
        return (1 - z) * h + z * q


class Raft(nn.Module):
    """All pairs of two images correlated, the flow improved by a convolutional GRU; a list of flows in training."""

    def __init__(self, hdim: int = 6) -> None:
        super().__init__()
        self.hdim = hdim
        self.fnet = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.InstanceNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1)
        )
        self.cnet = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 2 * hdim, 3, 2, 1)
        )
        self.corr, self.gru = nn.Conv2d(16, 7, 1), ConvGru(hdim, 7 + 2 + hdim)
        self.flow_head = nn.Sequential(
            nn.Conv2d(hdim, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1)
        )

    def forward(self, image1: Tensor, image2: Tensor) -> Any:
        image1, image2 = 2 * (image1 / 255.0) - 1.0, 2 * (image2 / 255.0) - 1.0
        fmap1, fmap2 = self.fnet(torch.cat([image1, image2], 0)).chunk(2, 0)
        batch, dim, ht, wd = fmap1.shape
        corr = torch.matmul(
            fmap1.view(batch, dim, ht * wd).transpose(1, 2), fmap2.view(batch, dim, ht * wd)
        )
        corr = corr.view(batch, ht * wd, ht, wd).permute(0, 1, 2, 3) / dim**0.5
        net, inp = torch.split(self.cnet(image1), [self.hdim, self.hdim], dim=1)
        net, inp = torch.tanh(net), torch.relu(inp)
        flow = torch.zeros(batch, 2, ht, wd, dtype=net.dtype)
        flows = []
        for _ in range(2):
            flow = flow.detach()
            net = self.gru(net, torch.cat([F.relu(self.corr(corr)), flow, inp], dim=1))
            flow = flow + self.flow_head(net)
            flows.append(
                F.interpolate(flow, scale_factor=4, mode="bilinear", align_corners=True) * 4
            )
        return flows if self.training else flows[-1]


class LayerNorm2d(nn.Module):
    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        C = x.size(1)
        mu = x.mean(1, keepdim=True)
        var = (x - mu).pow(2).mean(1, keepdim=True)
        y = (x - mu) / (var + self.eps).sqrt()
        return self.weight.view(1, C, 1, 1) * y + self.bias.view(1, C, 1, 1)


class SimpleGate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=1)
        return x1 * x2


class NafNet(nn.Module):
    """A block without activations: gates by halves, attention of channels, scales that begin at zero; padded to a size."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.intro, self.ending = nn.Conv2d(3, c, 3, padding=1), nn.Conv2d(c, 3, 3, padding=1)
        self.norm1, self.norm2, self.sg = LayerNorm2d(c), LayerNorm2d(c), SimpleGate()
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c), nn.Conv2d(c, c, 1))  # fmt: skip
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1))
        self.conv4, self.conv5 = nn.Conv2d(c, 3 * c // 2 * 2, 1), nn.Conv2d(3 * c // 2, c, 1)
        self.beta, self.gamma = (nn.Parameter(torch.full((1, c, 1, 1), 0.1)) for _ in range(2))

    def forward(self, inp: Tensor) -> Tensor:
        _, _, h, w = inp.size()
        pad = (8 - h % 8) % 8
        inp = F.pad(inp, (0, (8 - w % 8) % 8, 0, pad))
        x = self.intro(inp)
        y = self.sg(self.conv2(self.conv1(self.norm1(x))))
        y = x + self.conv3(y * self.sca(y)) * self.beta
        y = y + self.conv5(self.sg(self.conv4(self.norm2(y)))) * self.gamma
        return (self.ending(y) + inp)[:, :, :h, :w]


class Restormer(nn.Module):
    """Attention between channels of each head, normalised over places; a gated network of depthwise convolutions."""

    def __init__(self, dim: int = 12, num_heads: int = 2, hidden: int = 14) -> None:
        super().__init__()
        self.num_heads, self.embed = num_heads, nn.Conv2d(3, dim, 3, 1, 1, bias=False)
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv, self.project_out = nn.Conv2d(dim, dim * 3, 1), nn.Conv2d(dim, dim, 1)
        self.qkv_dwconv = nn.Conv2d(dim * 3, dim * 3, 3, 1, 1, groups=dim * 3)
        self.project_in, self.ffn_out = nn.Conv2d(dim, hidden * 2, 1), nn.Conv2d(hidden, dim, 1)
        self.dwconv, self.output = (
            nn.Conv2d(hidden * 2, hidden * 2, 3, 1, 1, groups=hidden * 2),
            nn.Conv2d(dim, 3, 3, 1, 1),
        )

    def forward(self, img: Tensor) -> Tensor:
        x = self.embed(img)
        b, c, h, w = x.shape
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        q, k, v = (t.reshape(b, self.num_heads, c // self.num_heads, h * w) for t in (q, k, v))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        x = x + self.project_out((attn @ v).reshape(b, c, h, w))
        x1, x2 = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.output(x + self.ffn_out(F.gelu(x1) * x2)) + img


class MaxVit(nn.Module):
    """Attention inside windows, then along a grid, with biases of relative positions by an index buffer."""

    def __init__(self, dim: int = 12, p: int = 4, heads: int = 3) -> None:
        super().__init__()
        self.p, self.heads, self.dim_head = p, heads, dim // heads
        self.stem, self.head = nn.Conv2d(3, dim, 3, 2, 1), nn.Linear(dim, 5)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.qkvs = nn.ModuleList(nn.Linear(dim, dim * 3, bias=False) for _ in range(2))
        self.outs = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.rel_pos_bias = nn.Embedding((2 * p - 1) ** 2, heads)
        pos = torch.arange(p)
        grid = torch.stack(torch.meshgrid(pos, pos, indexing="ij")).flatten(1).t()
        rel = grid[:, None] - grid[None, :] + p - 1
        self.register_buffer(
            "rel_pos_indices", (rel * torch.tensor([2 * p - 1, 1])).sum(-1), persistent=False
        )

    def attend(self, x: Tensor, i: int) -> Tensor:
        x = self.norms[i](x)
        b, n, _ = x.shape
        q, k, v = self.qkvs[i](x).view(b, n, 3, self.heads, self.dim_head).permute(2, 0, 3, 1, 4)
        sim = (q * self.dim_head**-0.5) @ k.transpose(-1, -2)
        sim = sim + self.rel_pos_bias(self.rel_pos_indices).permute(2, 0, 1)
        return self.outs[i]((sim.softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1))

    def forward(self, img: Tensor) -> Tensor:
        x = F.gelu(self.stem(img)).permute(0, 2, 3, 1)
        B, H, W, C = x.shape
        p = self.p
        t = x.view(B, H // p, p, W // p, p, C).permute(0, 1, 3, 2, 4, 5).reshape(-1, p * p, C)
        t = t + self.attend(t, 0)
        x = t.view(B, H // p, W // p, p, p, C).permute(0, 1, 3, 2, 4, 5).reshape(B, H, W, C)
        t = x.view(B, p, H // p, p, W // p, C).permute(0, 2, 4, 1, 3, 5).reshape(-1, p * p, C)
        t = t + self.attend(t, 1)
        x = t.view(B, H // p, W // p, p, p, C).permute(0, 3, 1, 4, 2, 5).reshape(B, H, W, C)
        return self.head(x.mean(dim=(1, 2)))


class ConvLstm(nn.Module):
    """Frames through a convolutional LSTM cell, the hidden state made by the cell."""

    def __init__(self, hidden: int = 7) -> None:
        super().__init__()
        self.hidden_dim, self.conv = hidden, nn.Conv2d(3 + hidden, 4 * hidden, 3, padding=1)
        self.out = nn.Conv2d(hidden, 1, 1)

    def init_hidden(self, batch_size: int, image_size: Any) -> tuple[Tensor, Tensor]:
        h, w = image_size
        dev, kind = self.conv.weight.device, self.conv.weight.dtype
        zeros = torch.zeros(batch_size, self.hidden_dim, h, w, device=dev, dtype=kind)
        return zeros, zeros.clone()

    def forward(self, x: Tensor) -> Tensor:
        b, seq_len, _, h, w = x.size()
        state, cell = self.init_hidden(b, (h, w))
        inner = []
        for t in range(seq_len):
            combined = self.conv(torch.cat([x[:, t, :, :, :], state], dim=1))
            cc_i, cc_f, cc_o, cc_g = torch.split(combined, self.hidden_dim, dim=1)
            cell = torch.sigmoid(cc_f) * cell + torch.sigmoid(cc_i) * torch.tanh(cc_g)
            state = torch.sigmoid(cc_o) * torch.tanh(cell)
            inner.append(state)
        return self.out(torch.stack(inner, dim=1)[:, -1])


class TemporalShift(nn.Module):
    """A part of the channels shifted to the frame before or after, in a network over frames as a batch."""

    def __init__(self, n_segment: int = 4, fold_div: int = 4) -> None:
        super().__init__()
        self.n_segment, self.fold_div = n_segment, fold_div
        self.conv1, self.conv2 = nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 12, 3, 1, 1)
        self.bn, self.fc = nn.BatchNorm2d(12), nn.Linear(12, 4)

    def shift(self, x: Tensor) -> Tensor:
        nt, c, h, w = x.size()
        x = x.view(nt // self.n_segment, self.n_segment, c, h, w)
        fold = c // self.fold_div
        out = torch.zeros_like(x)
        out[:, :-1, :fold] = x[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        return out.view(nt, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view((-1, 3) + x.size()[-2:])
        x = F.relu(self.conv1(x))
        x = F.relu(self.bn(self.conv2(self.shift(x)))) + x
        x = self.fc(x.mean([2, 3]))
        return x.view((-1, self.n_segment) + x.size()[1:]).mean(1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "adain_style": lambda: (AdaInStyle(), (PHOTOS, PHOTOS.flip(3))),
    "deformable_samples": lambda: (DeformConv(), SMALL),
    "raft_correlation": lambda: (Raft(), (SMALL, SMALL.flip(3))),
    "nafnet_gates": lambda: (NafNet(), SMALL),
    "restormer_channels": lambda: (Restormer(), SMALL),
    "maxvit_window_grid": lambda: (MaxVit(), SMALL),
    "conv_lstm": lambda: (ConvLstm(), CLIPS),
    "temporal_shift": lambda: (TemporalShift(), CLIPS),
}

"""Networks of the zoo that see, find, segment and match, seventh sample."""

# ruff: noqa: B905, E501, E731, N803, N806, RUF007, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.seventh.inputs import CUBES, INPUTS, MATCHES


class LeNetTutorial(nn.Module):
    """The tutorial's first network, which counts its features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 12, 3)
        self.fc1, self.fc2, self.fc3 = (
            nn.Linear(12 * 2 * 2, 24),
            nn.Linear(24, 14),
            nn.Linear(14, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, self.num_flat_features(x))
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))

    def num_flat_features(self, x: Tensor) -> int:
        num_features = 1
        for s in x.size()[1:]:
            num_features *= s
        return num_features


class ConvBN(nn.Sequential):
    def __init__(
        self, i: int, o: int, k: int = 1, s: int = 1, p: int = 0, g: int = 1, with_bn: bool = True
    ) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(i, o, k, s, p, groups=g))
        if with_bn:
            self.add_module("bn", nn.BatchNorm2d(o))
            nn.init.constant_(self.bn.weight, 1)


class StarBlock(nn.Module):
    def __init__(self, dim: int, mlp_ratio: int = 2) -> None:
        super().__init__()
        self.dwconv = ConvBN(dim, dim, 7, 1, 3, dim)
        self.f1, self.f2 = (
            ConvBN(dim, mlp_ratio * dim, with_bn=False),
            ConvBN(dim, mlp_ratio * dim, with_bn=False),
        )
        self.g, self.dwconv2, self.act = (
            ConvBN(mlp_ratio * dim, dim),
            ConvBN(dim, dim, 7, 1, 3, dim, with_bn=False),
            nn.ReLU6(),
        )

    def forward(self, x: Tensor) -> Tensor:
        input = x
        x = self.dwconv(x)
        x1, x2 = self.f1(x), self.f2(x)
        x = self.act(x1) * x2
        return input + self.dwconv2(self.g(x))


class StarNet(nn.Module):
    """Products of two branches."""

    def __init__(self, base: int = 6, depths: tuple[int, ...] = (1, 2), classes: int = 5) -> None:
        super().__init__()
        self.in_channel, self.stages = 8, nn.ModuleList()
        self.stem = nn.Sequential(ConvBN(3, self.in_channel, 3, 2, 1), nn.ReLU6())
        for i, d in enumerate(depths):
            embed_dim = base * 2**i
            down = ConvBN(self.in_channel, embed_dim, 3, 2, 1)
            self.in_channel = embed_dim
            self.stages.append(nn.Sequential(down, *[StarBlock(self.in_channel) for _ in range(d)]))
        self.norm, self.avgpool, self.head = (
            nn.BatchNorm2d(self.in_channel),
            nn.AdaptiveAvgPool2d(1),
            nn.Linear(self.in_channel, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(torch.flatten(self.avgpool(self.norm(x)), 1))


class StarRelu(nn.Module):
    """A squared ReLU with a learnt scale and shift."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.scale, self.bias = (
            nn.ReLU(),
            nn.Parameter(torch.ones(1) * 0.8944),
            nn.Parameter(torch.zeros(1) - 0.4472),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.relu(x) ** 2 + self.bias


class SepConv(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pwconv1, self.act1 = nn.Linear(dim, 2 * dim, bias=False), StarRelu()
        self.dwconv, self.pwconv2 = (
            nn.Conv2d(2 * dim, 2 * dim, 7, padding=3, groups=2 * dim, bias=False),
            nn.Linear(2 * dim, dim, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.pwconv1(x)).permute(0, 3, 1, 2)
        x = self.dwconv(x).permute(0, 2, 3, 1)
        return self.pwconv2(x)


class BiasFreeNorm(nn.Module):
    """Divides by the deviation, without taking off the mean."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        c = x - x.mean(-1, keepdim=True)
        s = c.pow(2).mean(-1, keepdim=True)
        return x / torch.sqrt(s + self.eps) * self.weight


class MetaFormer(nn.Module):
    """Separable convolutions as mixers, channels last, scaled residuals."""

    def __init__(self, dim: int = 10, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 7, 4, 2)
        self.norm1, self.norm2 = (
            nn.ModuleList([BiasFreeNorm(dim) for _ in range(2)]),
            nn.ModuleList([BiasFreeNorm(dim) for _ in range(2)]),
        )
        self.mix = nn.ModuleList([SepConv(dim) for _ in range(2)])
        self.mlp = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Linear(dim, 24, bias=False), StarRelu(), nn.Linear(24, dim, bias=False)
                )
                for _ in range(2)
            ]
        )
        self.res_scale = nn.ParameterList([nn.Parameter(torch.ones(dim)) for _ in range(2)])
        self.norm, self.fc1, self.fc2 = (
            nn.LayerNorm(dim),
            nn.Linear(dim, 16),
            nn.Linear(16, classes),
        )
        self.hnorm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        for n1, n2, mix, mlp, s in zip(self.norm1, self.norm2, self.mix, self.mlp, self.res_scale):
            x = x.mul(s) + mix(n1(x))
            x = x + mlp(n2(x))
        x = self.norm(x.mean([1, 2]))
        return self.fc2(self.hnorm(torch.square(torch.relu(self.fc1(x)))))


class MixConv(nn.ModuleDict):
    """Depthwise kernels of several sizes, each over its part of the channels."""

    def __init__(self, channels: int, ks: tuple[int, ...] = (3, 5, 7)) -> None:
        super().__init__()
        n = len(ks)
        split = [channels // n for _ in range(n)]
        split[0] += channels - sum(split)
        self.splits = split
        for idx, (k, c) in enumerate(zip(ks, split)):
            self.add_module(str(idx), nn.Conv2d(c, c, k, padding=k // 2, groups=c, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x_split = torch.split(x, self.splits, 1)
        x_out = [c(x_split[i]) for i, c in enumerate(self.values())]
        return torch.cat(x_out, 1)


class InceptionDepthwise(nn.Module):
    """A quarter of the channels through squares and bands, the others as they are."""

    def __init__(self, dim: int, branch_ratio: float = 0.25) -> None:
        super().__init__()
        gc = int(dim * branch_ratio)
        self.dwconv_hw = nn.Conv2d(gc, gc, 3, padding=1, groups=gc)
        self.dwconv_w = nn.Conv2d(gc, gc, kernel_size=(1, 11), padding=(0, 5), groups=gc)
        self.dwconv_h = nn.Conv2d(gc, gc, kernel_size=(11, 1), padding=(5, 0), groups=gc)
        self.split_indexes = (dim - 3 * gc, gc, gc, gc)

    def forward(self, x: Tensor) -> Tensor:
        x_id, x_hw, x_w, x_h = torch.split(x, self.split_indexes, dim=1)
        return torch.cat(
            (x_id, self.dwconv_hw(x_hw), self.dwconv_w(x_w), self.dwconv_h(x_h)), dim=1
        )


class MixedNet(nn.Module):
    """Mixed depthwise kernels, then an inception of bands."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(True)
        )
        self.mix, self.bn1, self.pw = MixConv(12), nn.BatchNorm2d(12), nn.Conv2d(12, 16, 1)
        self.inc, self.bn2 = InceptionDepthwise(16), nn.BatchNorm2d(16)
        self.fc1, self.act, self.fc2, self.head = (
            nn.Conv2d(16, 32, 1),
            nn.GELU(),
            nn.Conv2d(32, 16, 1),
            nn.Linear(16, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.pw(F.silu(self.bn1(self.mix(self.stem(x)))))
        x = x + self.fc2(self.act(self.fc1(self.bn2(self.inc(x)))))
        return self.head(x.mean((2, 3)))


class CrossVit(nn.Module):
    """Two sizes of patches whose class tokens visit each other."""

    def __init__(self, dims: tuple[int, int] = (8, 12), heads: int = 2, classes: int = 5) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleList([nn.Conv2d(3, d, p, p) for d, p in zip(dims, (16, 8))])
        self.pos_embed = nn.ParameterList(
            [nn.Parameter(torch.randn(1, 1 + n, d) * 0.1) for d, n in zip(dims, (4, 16))]
        )
        self.cls_token = nn.ParameterList([nn.Parameter(torch.randn(1, 1, d)) for d in dims])
        self.blocks = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(d, heads, 2 * d, batch_first=True, activation="gelu")
                for d in dims
            ]
        )
        self.projs = nn.ModuleList(
            [
                nn.Sequential(nn.LayerNorm(dims[i]), nn.GELU(), nn.Linear(dims[i], dims[1 - i]))
                for i in range(2)
            ]
        )
        self.wq, self.wk, self.wv, self.wo = (
            nn.ModuleList([nn.Linear(dims[1 - i], dims[1 - i]) for i in range(2)]) for _ in range(4)
        )
        self.revert = nn.ModuleList(
            [
                nn.Sequential(nn.LayerNorm(dims[1 - i]), nn.GELU(), nn.Linear(dims[1 - i], dims[i]))
                for i in range(2)
            ]
        )
        self.norm, self.head = (
            nn.ModuleList([nn.LayerNorm(d) for d in dims]),
            nn.ModuleList([nn.Linear(d, classes) for d in dims]),
        )
        self.heads = heads

    def cross(self, i: int, x: Tensor) -> Tensor:
        B, N, C = x.shape
        H = self.heads
        q = self.wq[i](x[:, 0:1, ...]).reshape(B, 1, H, C // H).permute(0, 2, 1, 3)
        k = self.wk[i](x).reshape(B, N, H, C // H).permute(0, 2, 1, 3)
        v = self.wv[i](x).reshape(B, N, H, C // H).permute(0, 2, 1, 3)
        attn = ((q @ k.transpose(-2, -1)) * (C // H) ** -0.5).softmax(dim=-1)
        return self.wo[i]((attn @ v).transpose(1, 2).reshape(B, 1, C))

    def forward(self, x: Tensor) -> Tensor:
        xs, B = [], x.shape[0]
        for i in range(2):
            tmp = self.patch_embed[i](x).flatten(2).transpose(1, 2)
            tmp = torch.cat((self.cls_token[i].expand(B, -1, -1), tmp), dim=1) + self.pos_embed[i]
            xs.append(self.blocks[i](tmp))
        proj_cls_token = [self.projs[i](xs[i][:, 0:1]) for i in range(2)]
        outs = []
        for i in range(2):
            tmp = torch.cat((proj_cls_token[i], xs[1 - i][:, 1:, ...]), dim=1)
            tmp = tmp[:, 0:1] + self.cross(i, tmp)
            outs.append(torch.cat((self.revert[i](tmp), xs[i][:, 1:, ...]), dim=1))
        outs = [self.norm[i](x) for i, x in enumerate(outs)]
        ce_logits = [self.head[i](x[:, 0]) for i, x in enumerate(outs)]
        return torch.mean(torch.stack(ce_logits, dim=0), dim=0)


class PermuteMlp(nn.Module):
    """Mixes rows, columns and channels, weighed by a softmax of three."""

    def __init__(self, dim: int = 12, segment_dim: int = 4) -> None:
        super().__init__()
        self.segment_dim = segment_dim
        self.mlp_c, self.mlp_h, self.mlp_w = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.reweight = nn.Sequential(
            nn.Linear(dim, dim // 4), nn.GELU(), nn.Linear(dim // 4, dim * 3)
        )
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        S = C // self.segment_dim
        h = (
            x.reshape(B, H, W, self.segment_dim, S)
            .permute(0, 3, 2, 1, 4)
            .reshape(B, self.segment_dim, W, H * S)
        )
        h = (
            self.mlp_h(h)
            .reshape(B, self.segment_dim, W, H, S)
            .permute(0, 3, 2, 1, 4)
            .reshape(B, H, W, C)
        )
        w = (
            x.reshape(B, H, W, self.segment_dim, S)
            .permute(0, 1, 3, 2, 4)
            .reshape(B, H, self.segment_dim, W * S)
        )
        w = (
            self.mlp_w(w)
            .reshape(B, H, self.segment_dim, W, S)
            .permute(0, 1, 3, 2, 4)
            .reshape(B, H, W, C)
        )
        c = self.mlp_c(x)
        a = (h + w + c).permute(0, 3, 1, 2).flatten(2).mean(2)
        a = (
            self.reweight(a)
            .reshape(B, C, 3)
            .permute(2, 0, 1)
            .softmax(dim=0)
            .unsqueeze(2)
            .unsqueeze(2)
        )
        return self.proj(h * a[0] + w * a[1] + c * a[2])


class PermuteNet(nn.Module):
    def __init__(self, dim: int = 12, classes: int = 5) -> None:
        super().__init__()
        self.proj, self.mlp, self.norm = nn.Conv2d(3, dim, 8, 8), PermuteMlp(dim), nn.LayerNorm(dim)
        self.ffn, self.norm2, self.head = (
            nn.Sequential(nn.Linear(dim, 20), nn.GELU(), nn.Linear(20, dim)),
            nn.LayerNorm(dim),
            nn.Linear(dim, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).permute(0, 2, 3, 1)
        x = x + self.mlp(self.norm(x))
        x = x + self.ffn(self.norm2(x))
        return self.head(x.reshape(x.shape[0], -1, x.shape[-1]).mean(1))


class ZPoolGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1))

    def forward(self, x: Tensor) -> Tensor:
        z = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid_(self.conv(z))


class TripletAttention(nn.Module):
    """Gates over each pair of axes, the channels turned into an axis of the picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cw, self.hc, self.hw = ZPoolGate(), ZPoolGate(), ZPoolGate()

    def forward(self, x: Tensor) -> Tensor:
        x_out1 = self.cw(x.permute(0, 2, 1, 3).contiguous()).permute(0, 2, 1, 3).contiguous()
        x_out2 = self.hc(x.permute(0, 3, 2, 1).contiguous()).permute(0, 3, 2, 1).contiguous()
        return 1 / 3 * (self.hw(x) + x_out1 + x_out2)


class ContextBlock(nn.Module):
    def __init__(self, inplanes: int, ratio: float = 0.5) -> None:
        super().__init__()
        planes = int(inplanes * ratio)
        self.conv_mask, self.softmax = nn.Conv2d(inplanes, 1, kernel_size=1), nn.Softmax(dim=2)
        self.channel_add_conv = nn.Sequential(
            nn.Conv2d(inplanes, planes, 1),
            nn.LayerNorm([planes, 1, 1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(planes, inplanes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, channel, height, width = x.size()
        input_x = x.view(batch, channel, height * width).unsqueeze(1)
        context_mask = self.softmax(self.conv_mask(x).view(batch, 1, height * width)).unsqueeze(-1)
        context = torch.matmul(input_x, context_mask).view(batch, channel, 1, 1)
        return x + self.channel_add_conv(context)


class SimAm(nn.Module):
    def __init__(self, channels: int | None = None, e_lambda: float = 1e-4) -> None:
        super().__init__()
        self.activaton, self.e_lambda = nn.Sigmoid(), e_lambda

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        n = w * h - 1
        x_minus_mu_square = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
        y = (
            x_minus_mu_square
            / (4 * (x_minus_mu_square.sum(dim=[2, 3], keepdim=True) / n + self.e_lambda))
            + 0.5
        )
        return x * self.activaton(y)


class DoubleAttention(nn.Module):
    """Features gathered by attention and spread by attention."""

    def __init__(self, channels: int, c_m: int = 6, c_n: int = 5) -> None:
        super().__init__()
        self.c_m, self.c_n = c_m, c_n
        self.convA, self.convB, self.convV = (
            nn.Conv2d(channels, c_m, 1),
            nn.Conv2d(channels, c_n, 1),
            nn.Conv2d(channels, c_n, 1),
        )
        self.conv_reconstruct = nn.Conv2d(c_m, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        A, B, V = self.convA(x), self.convB(x), self.convV(x)
        tmpA = A.view(b, self.c_m, -1)
        attention_maps = F.softmax(B.view(b, self.c_n, -1), dim=-1)
        attention_vectors = F.softmax(V.view(b, self.c_n, -1), dim=1)
        global_descriptors = torch.bmm(tmpA, attention_maps.permute(0, 2, 1))
        tmpZ = global_descriptors.matmul(attention_vectors).view(b, self.c_m, h, w)
        return self.conv_reconstruct(tmpZ)


class DynamicRelu(nn.Module):
    """The greatest of lines whose slopes depend on the picture, channel by channel."""

    def __init__(self, channels: int, reduction: int = 2, k: int = 2) -> None:
        super().__init__()
        self.channels, self.k = channels, k
        self.fc1, self.relu, self.fc2 = (
            nn.Linear(channels, channels // reduction),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, 2 * k * channels),
        )
        self.register_buffer("lambdas", torch.Tensor([1.0] * k + [0.5] * k).float())
        self.register_buffer("init_v", torch.Tensor([1.0] + [0.0] * (2 * k - 1)).float())

    def forward(self, x: Tensor) -> Tensor:
        theta = torch.mean(torch.mean(x, axis=-1), axis=-1)
        theta = 2 * torch.sigmoid(self.fc2(self.relu(self.fc1(theta)))) - 1
        relu_coefs = theta.view(-1, self.channels, 2 * self.k) * self.lambdas + self.init_v
        x_perm = x.permute(2, 3, 0, 1).unsqueeze(-1)
        output = x_perm * relu_coefs[:, :, : self.k] + relu_coefs[:, :, self.k :]
        return torch.max(output, dim=-1)[0].permute(2, 3, 0, 1)


ATTENTIONS = {
    "triplet": TripletAttention,
    "gc": ContextBlock,
    "simam": SimAm,
    "a2": DoubleAttention,
}


class AttentionBlock(nn.Module):
    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int, attn: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = (
            nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False),
            nn.BatchNorm2d(planes),
        )
        self.relu = DynamicRelu(planes) if attn == "dynamic" else nn.ReLU(inplace=True)
        self.conv2, self.bn2 = (
            nn.Conv2d(planes, planes, 3, 1, 1, bias=False),
            nn.BatchNorm2d(planes),
        )
        self.attn = ATTENTIONS[attn](planes) if attn in ATTENTIONS else None
        self.shortcut = nn.Sequential()
        if stride != 1 or inplanes != self.expansion * planes:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    [
                        ("conv", nn.Conv2d(inplanes, planes, 1, stride, bias=False)),
                        ("bn", nn.BatchNorm2d(planes)),
                    ]
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.attn is not None:
            out = self.attn(out)
        out += self.shortcut(x)
        return F.relu(out)


class AttentionResNet(nn.Module):
    """A residual network that takes its attention by name."""

    def __init__(self, attn: str, classes: int = 5) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.layer1, self.layer2 = AttentionBlock(8, 8, 1, attn), AttentionBlock(8, 12, 2, attn)
        self.linear = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


class ShakeFunction(torch.autograd.Function):
    """Mixes two branches with other weights forward than backward."""

    @staticmethod
    def forward(ctx: Any, x1: Tensor, x2: Tensor, training: bool = True) -> Tensor:
        alpha = (
            torch.rand(x1.size(0), dtype=x1.dtype).view(x1.size(0), 1, 1, 1).expand_as(x1)
            if training
            else 0.5
        )
        return alpha * x1 + (1 - alpha) * x2

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Any, ...]:
        beta = (
            torch.rand(grad_output.size(0), dtype=grad_output.dtype)
            .view(grad_output.size(0), 1, 1, 1)
            .expand_as(grad_output)
        )
        return beta * grad_output, (1 - beta) * grad_output, None


class ShakeBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.equal_io = i == o
        self.shortcut = (
            None if self.equal_io else nn.Sequential(nn.Conv2d(i, o, 1, stride), nn.BatchNorm2d(o))
        )
        branch = lambda: nn.Sequential(nn.ReLU(inplace=False), nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o),
                                       nn.ReLU(inplace=False), nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))  # fmt: skip
        self.branch1, self.branch2 = branch(), branch()

    def forward(self, x: Tensor) -> Tensor:
        h = ShakeFunction.apply(self.branch1(x), self.branch2(x), self.training)
        h0 = x if self.equal_io else self.shortcut(x)
        return h + h0


class HybridSn(nn.Module):
    """Convolutions over the spectrum as well, then over the picture, whose sizes were counted by a trial."""

    def __init__(self, bands: int = 8, patch: int = 11, classes: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv3d(1, 4, (3, 3, 3)), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(nn.Conv3d(4, 6, (3, 3, 3)), nn.ReLU(inplace=True))
        shape = self.get_shape_after_3dconv(bands, patch)
        self.conv4 = nn.Sequential(
            nn.Conv2d(shape[1] * shape[2], 10, (3, 3)), nn.ReLU(inplace=True)
        )
        with torch.no_grad():
            x = self.conv4(torch.zeros(1, shape[1] * shape[2], shape[3], shape[4]))
        self.dense1 = nn.Sequential(
            nn.Linear(x.shape[1] * x.shape[2] * x.shape[3], 14),
            nn.ReLU(inplace=True),
            nn.Dropout(p=0.4),
        )
        self.dense3 = nn.Sequential(nn.Linear(14, classes))

    def get_shape_after_3dconv(self, bands: int, patch: int) -> torch.Size:
        with torch.no_grad():
            return self.conv2(self.conv1(torch.zeros((1, 1, bands, patch, patch)))).shape

    def forward(self, X: Tensor) -> Tensor:
        x = self.conv2(self.conv1(X))
        x = x.view(x.shape[0], x.shape[1] * x.shape[2], x.shape[3], x.shape[4])
        x = self.conv4(x)
        x = x.contiguous().view(x.shape[0], -1)
        return self.dense3(self.dense1(x))


class R2Plus1d(nn.Module):
    """Space, then time, with a width between that keeps the number of parameters."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        widths, self.layers = [3, 6, 8], nn.ModuleList()
        for i, o in zip(widths, widths[1:]):
            mid = (i * o * 3 * 3 * 3) // (i * 3 * 3 + 3 * o)
            self.layers.append(nn.Sequential(nn.Conv3d(i, mid, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False), nn.BatchNorm3d(mid),
                nn.ReLU(inplace=True), nn.Conv3d(mid, o, (3, 1, 1), (1, 1, 1), (1, 0, 0), bias=False), nn.BatchNorm3d(o), nn.ReLU(inplace=True)))  # fmt: skip
        self.avgpool, self.fc = nn.AdaptiveAvgPool3d((1, 1, 1)), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.fc(self.avgpool(x).flatten(1))


class YoloV1(nn.Module):
    """One grid of cells with boxes and classes from a linear layer."""

    def __init__(self, S: int = 4, B: int = 2, C: int = 3) -> None:
        super().__init__()
        self.S, self.B, self.C = S, B, C
        layers: list[nn.Module] = []
        cin = 3
        for v in ["8", "M", "12", "M", (8, 12), "M"]:
            if v == "M":
                layers += [nn.MaxPool2d(2, 2)]
            elif isinstance(v, tuple):
                layers += [
                    nn.Conv2d(cin, v[0], 1),
                    nn.LeakyReLU(0.1, True),
                    nn.Conv2d(v[0], v[1], 3, padding=1),
                    nn.LeakyReLU(0.1, True),
                ]
                cin = v[1]
            else:
                layers += [
                    nn.Conv2d(cin, int(v), 3, padding=1, bias=False),
                    nn.BatchNorm2d(int(v)),
                    nn.LeakyReLU(0.1, inplace=True),
                ]
                cin = int(v)
        self.features = nn.Sequential(*layers)
        self.fcs = nn.Sequential(
            nn.Flatten(),
            nn.Linear(cin * S * S, 30),
            nn.Dropout(0.5),
            nn.LeakyReLU(0.1),
            nn.Linear(30, S * S * (C + B * 5)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.fcs(self.features(x))
        x = torch.sigmoid(x).view(-1, self.S, self.S, 5 * self.B + self.C)
        boxes = x[..., : 5 * self.B].view(-1, self.S, self.S, self.B, 5)
        cells = torch.arange(self.S).to(x)
        cx = (boxes[..., 0] + cells[None, None, :, None]) / self.S
        cy = (boxes[..., 1] + cells[None, :, None, None]) / self.S
        scores = boxes[..., 4:5] * x[..., 5 * self.B :].unsqueeze(-2)
        return torch.cat([cx.unsqueeze(-1), cy.unsqueeze(-1), boxes[..., 2:4], scores], -1).flatten(
            1, 3
        )


class SuperPoint(nn.Module):
    """Corners by a softmax over the places of a cell and none, and descriptors of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(kernel_size=2, stride=2)
        self.conv1a, self.conv1b = nn.Conv2d(1, 6, 3, 1, 1), nn.Conv2d(6, 6, 3, 1, 1)
        self.conv2a, self.convPa, self.convPb = (
            nn.Conv2d(6, 10, 3, 1, 1),
            nn.Conv2d(10, 12, 3, 1, 1),
            nn.Conv2d(12, 17, 1),
        )
        self.convDa, self.convDb = nn.Conv2d(10, 12, 3, 1, 1), nn.Conv2d(12, 8, 1)

    def forward(self, data: Tensor) -> dict[str, Tensor]:
        x = self.pool(self.relu(self.conv1b(self.relu(self.conv1a(data)))))
        x = self.pool(self.relu(self.conv2a(x)))
        scores = self.convPb(self.relu(self.convPa(x)))
        scores = torch.nn.functional.softmax(scores, 1)[:, :-1]
        b, _, h, w = scores.shape
        scores = scores.permute(0, 2, 3, 1).reshape(b, h, w, 4, 4)
        scores = scores.permute(0, 1, 3, 2, 4).reshape(b, h * 4, w * 4)
        max_mask = scores == F.max_pool2d(scores, kernel_size=5, stride=1, padding=2)
        scores = torch.where(max_mask, scores, torch.zeros_like(scores))
        descriptors = torch.nn.functional.normalize(
            self.convDb(self.relu(self.convDa(x))), p=2, dim=1
        )
        return {"scores": scores, "descriptors": descriptors}


def conv_mlp(channels: list[int], do_bn: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(1, len(channels)):
        layers.append(nn.Conv1d(channels[i - 1], channels[i], kernel_size=1, bias=True))
        if i < (len(channels) - 1):
            layers += ([nn.BatchNorm1d(channels[i])] if do_bn else []) + [nn.ReLU()]
    return nn.Sequential(*layers)


class SuperGlue(nn.Module):
    """Attention within and across two sets of points, and an assignment by repeated normalisation with a bin for none."""

    def __init__(self, d: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.kenc, self.dim, self.num_heads = conv_mlp([3, 6, 10, d]), d // heads, heads
        self.merge = nn.ModuleList([nn.Conv1d(d, d, 1) for _ in range(2)])
        self.proj = nn.ModuleList(
            [nn.ModuleList([nn.Conv1d(d, d, 1) for _ in range(3)]) for _ in range(2)]
        )
        self.mlp = nn.ModuleList([conv_mlp([2 * d, 2 * d, d]) for _ in range(2)])
        self.final_proj = nn.Conv1d(d, d, kernel_size=1, bias=True)
        self.register_parameter("bin_score", nn.Parameter(torch.tensor(1.0)))

    def propagate(self, i: int, x: Tensor, source: Tensor) -> Tensor:
        b = x.size(0)
        query, key, value = [
            ll(y).view(b, self.dim, self.num_heads, -1)
            for ll, y in zip(self.proj[i], (x, source, source))
        ]
        scores = torch.einsum("bdhn,bdhm->bhnm", query, key) / self.dim**0.5
        prob = torch.nn.functional.softmax(scores, dim=-1)
        message = torch.einsum("bhnm,bdhm->bdhn", prob, value)
        message = self.merge[i](message.contiguous().view(b, self.dim * self.num_heads, -1))
        return self.mlp[i](torch.cat([x, message], dim=1))

    def forward(self, k0: Tensor, k1: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
        desc0, desc1 = d0 + self.kenc(k0.transpose(1, 2)), d1 + self.kenc(k1.transpose(1, 2))
        for i, name in enumerate(["self", "cross"]):
            src0, src1 = (desc1, desc0) if name == "cross" else (desc0, desc1)
            delta0, delta1 = self.propagate(i, desc0, src0), self.propagate(i, desc1, src1)
            desc0, desc1 = (desc0 + delta0), (desc1 + delta1)
        mdesc0, mdesc1 = self.final_proj(desc0), self.final_proj(desc1)
        scores = torch.einsum("bdn,bdm->bnm", mdesc0, mdesc1) / 8**0.5
        b, m, n = scores.shape
        bins0, bins1 = self.bin_score.expand(b, m, 1), self.bin_score.expand(b, 1, n)
        couplings = torch.cat(
            [
                torch.cat([scores, bins0], -1),
                torch.cat([bins1, self.bin_score.expand(b, 1, 1)], -1),
            ],
            1,
        )
        one = scores.new_tensor(1)
        ms, ns = (m * one).to(scores), (n * one).to(scores)
        norm = -(ms + ns).log()
        log_mu = torch.cat([norm.expand(m), ns.log()[None] + norm])[None].expand(b, -1)
        log_nu = torch.cat([norm.expand(n), ms.log()[None] + norm])[None].expand(b, -1)
        u, v = torch.zeros_like(log_mu), torch.zeros_like(log_nu)
        for _ in range(3):
            u = log_mu - torch.logsumexp(couplings + v.unsqueeze(1), dim=2)
            v = log_nu - torch.logsumexp(couplings + u.unsqueeze(2), dim=1)
        return couplings + u.unsqueeze(2) + v.unsqueeze(1) - norm


class DeformableAttention(nn.Module):
    """Samples a few places near a reference, weighed, by each head."""

    def __init__(self, d: int = 12, heads: int = 3, points: int = 4) -> None:
        super().__init__()
        self.n_heads, self.n_points, self.stem = heads, points, nn.Conv2d(3, d, 4, 4)
        self.sampling_offsets, self.attention_weights = (
            nn.Linear(d, heads * points * 2),
            nn.Linear(d, heads * points),
        )
        self.value_proj, self.output_proj, self.query = (
            nn.Linear(d, d),
            nn.Linear(d, d),
            nn.Embedding(5, d),
        )
        self.reference_points, self.norm, self.cls = (
            nn.Linear(d, 2),
            nn.LayerNorm(d),
            nn.Linear(d, 4),
        )
        nn.init.constant_(self.sampling_offsets.weight.data, 0.01)
        with torch.no_grad():
            thetas = torch.arange(heads, dtype=torch.float32) * (2.0 * math.pi / heads)
            grid_init = (
                torch.stack([thetas.cos(), thetas.sin()], -1).view(heads, 1, 2).repeat(1, points, 1)
            )
            self.sampling_offsets.bias = nn.Parameter(grid_init.view(-1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.stem(x)
        N, C, H, W = f.shape
        query = self.query.weight.unsqueeze(0).expand(N, -1, -1)
        Len_q = query.shape[1]
        value = self.value_proj(f.flatten(2).transpose(1, 2)).view(
            N, H * W, self.n_heads, C // self.n_heads
        )
        offsets = self.sampling_offsets(query).view(N, Len_q, self.n_heads, self.n_points, 2)
        weights = F.softmax(
            self.attention_weights(query).view(N, Len_q, self.n_heads, self.n_points), -1
        )
        ref = self.reference_points(query).sigmoid()[:, :, None, None]
        loc = 2 * (ref + offsets / torch.tensor([W, H]).to(offsets)) - 1
        value_l = (
            value.flatten(2).transpose(1, 2).reshape(N * self.n_heads, C // self.n_heads, H, W)
        )
        grid = loc.transpose(1, 2).flatten(0, 1)
        sampled = F.grid_sample(
            value_l, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        weights = weights.transpose(1, 2).reshape(N * self.n_heads, 1, Len_q, self.n_points)
        out = (sampled * weights).sum(-1).view(N, C, Len_q).transpose(1, 2).contiguous()
        q = self.norm(query + self.output_proj(out))
        return self.cls(q), ref.flatten(2)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "lenet_flat_features": lambda: (LeNetTutorial(), INPUTS.grey),
    "starnet": lambda: (StarNet(), INPUTS.images),
    "metaformer_star_relu": lambda: (MetaFormer(), INPUTS.images),
    "mixed_depthwise": lambda: (MixedNet(), INPUTS.images),
    "cross_vit": lambda: (CrossVit(), INPUTS.images),
    "permute_mlp": lambda: (PermuteNet(), INPUTS.images),
    "resnet_triplet_attention": lambda: (AttentionResNet("triplet"), INPUTS.images),
    "resnet_global_context": lambda: (AttentionResNet("gc"), INPUTS.images),
    "resnet_simam": lambda: (AttentionResNet("simam"), INPUTS.images),
    "resnet_double_attention": lambda: (AttentionResNet("a2"), INPUTS.images),
    "resnet_dynamic_relu": lambda: (AttentionResNet("dynamic"), INPUTS.images),
    "shake_shake": lambda: (
        nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), ShakeBlock(6, 6), ShakeBlock(6, 10, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 5)), INPUTS.images),
    "hybrid_spectral": lambda: (HybridSn(), CUBES),
    "r2plus1d": lambda: (R2Plus1d(), INPUTS.clips),
    "yolo_v1": lambda: (YoloV1(), INPUTS.images),
    "superpoint": lambda: (SuperPoint(), INPUTS.grey),
    "superglue_sinkhorn": lambda: (SuperGlue(), MATCHES),
    "deformable_attention": lambda: (DeformableAttention(), INPUTS.images),
}  # fmt: skip

"""Networks of the zoo over persons, words in pictures and masks, twelfth sample: shared gates, pooled attention, queries."""

# ruff: noqa: B905, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.twelfth.inputs import INPUTS, POSES, SMALL_IMAGES


class OmniScale(nn.Module):
    """Streams of growing depth whose outputs pass one gate, and a neck of BatchNorm between features and classes."""

    class LightConv3x3(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(i, o, 1, stride=1, padding=0, bias=False)
            self.conv2 = nn.Conv2d(o, o, 3, stride=1, padding=1, bias=False, groups=o)
            self.bn, self.relu = nn.BatchNorm2d(o), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.bn(self.conv2(self.conv1(x))))

    class ChannelGate(nn.Module):
        def __init__(self, c: int, reduction: int = 4) -> None:
            super().__init__()
            self.global_avgpool, self.relu = nn.AdaptiveAvgPool2d(1), nn.ReLU(inplace=True)
            self.fc1, self.fc2 = nn.Conv2d(c, c // reduction, 1), nn.Conv2d(c // reduction, c, 1)
            self.gate_activation = nn.Sigmoid()

        def forward(self, x: Tensor) -> Tensor:
            inp = x
            x = self.fc2(self.relu(self.fc1(self.global_avgpool(x))))
            return inp * self.gate_activation(x)

    class OSBlock(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            mid, L = o // 2, OmniScale.LightConv3x3
            self.conv1 = nn.Sequential(
                nn.Conv2d(i, mid, 1, bias=False), nn.BatchNorm2d(mid), nn.ReLU(inplace=True)
            )
            self.conv2a, self.conv2b = L(mid, mid), nn.Sequential(L(mid, mid), L(mid, mid))
            self.conv2c = nn.Sequential(L(mid, mid), L(mid, mid), L(mid, mid))
            self.gate = OmniScale.ChannelGate(mid)
            self.conv3 = nn.Sequential(nn.Conv2d(mid, o, 1, bias=False), nn.BatchNorm2d(o))
            self.downsample = None
            if i != o:
                self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))

        def forward(self, x: Tensor) -> Tensor:
            identity, x1 = x, self.conv1(x)
            x2 = (
                self.gate(self.conv2a(x1)) + self.gate(self.conv2b(x1)) + self.gate(self.conv2c(x1))
            )
            x3 = self.conv3(x2)
            if self.downsample is not None:
                identity = self.downsample(identity)
            return F.relu(x3 + identity)

    def __init__(self, num_classes: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        self.conv2 = nn.Sequential(self.OSBlock(8, 16), self.OSBlock(16, 16))
        self.gap, self.bottleneck = nn.AdaptiveAvgPool2d(1), nn.BatchNorm1d(16)
        self.bottleneck.bias.requires_grad_(False)
        self.classifier, self.neck_feat = nn.Linear(16, num_classes, bias=False), "after"

    def forward(self, x: Tensor, label: Tensor | None = None) -> Any:
        global_feat = self.gap(self.conv2(self.conv1(x)))
        global_feat = global_feat.view(global_feat.shape[0], -1)
        feat = self.bottleneck(global_feat)
        if self.training:
            return self.classifier(feat), global_feat
        return self.classifier(feat) if self.neck_feat == "after" else global_feat


class AttentionPooledResNet(nn.Module):
    """A residual network whose strides are average pools and whose last pool is an attention given its layers' weights."""

    class Bottleneck(nn.Module):
        expansion = 2

        def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
            super().__init__()
            self.conv1, self.bn1, self.relu1 = (
                nn.Conv2d(inplanes, planes, 1, bias=False),
                nn.BatchNorm2d(planes),
                nn.ReLU(inplace=True),
            )
            self.conv2, self.bn2 = (
                nn.Conv2d(planes, planes, 3, padding=1, bias=False),
                nn.BatchNorm2d(planes),
            )
            self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(planes * self.expansion)
            self.downsample = None
            if stride > 1 or inplanes != planes * self.expansion:
                conv = nn.Conv2d(inplanes, planes * self.expansion, 1, stride=1, bias=False)
                self.downsample = nn.Sequential()
                for name, part in (
                    ("-1", nn.AvgPool2d(stride)),
                    ("0", conv),
                    ("1", nn.BatchNorm2d(planes * 2)),
                ):
                    self.downsample.add_module(name, part)

        def forward(self, x: Tensor) -> Tensor:
            identity = x
            out = self.relu1(self.bn1(self.conv1(x)))
            out = self.avgpool(self.relu1(self.bn2(self.conv2(out))))
            out = self.bn3(self.conv3(out))
            if self.downsample is not None:
                identity = self.downsample(x)
            out += identity
            return self.relu1(out)

    class AttentionPool2d(nn.Module):
        def __init__(
            self, spacial_dim: int, embed_dim: int, num_heads: int, output_dim: int
        ) -> None:
            super().__init__()
            self.positional_embedding = nn.Parameter(
                torch.randn(spacial_dim**2 + 1, embed_dim) / embed_dim**0.5
            )
            self.k_proj, self.q_proj, self.v_proj = (
                nn.Linear(embed_dim, embed_dim) for _ in range(3)
            )
            self.c_proj, self.num_heads = nn.Linear(embed_dim, output_dim), num_heads

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(start_dim=2).permute(2, 0, 1)
            x = torch.cat([x.mean(dim=0, keepdim=True), x], dim=0)
            x = x + self.positional_embedding[:, None, :].to(x.dtype)
            x, _ = F.multi_head_attention_forward(
                query=x[:1],
                key=x,
                value=x,
                embed_dim_to_check=x.shape[-1],
                num_heads=self.num_heads,
                q_proj_weight=self.q_proj.weight,
                k_proj_weight=self.k_proj.weight,
                v_proj_weight=self.v_proj.weight,
                in_proj_weight=None,
                in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
                bias_k=None,
                bias_v=None,
                add_zero_attn=False,
                dropout_p=0,
                out_proj_weight=self.c_proj.weight,
                out_proj_bias=self.c_proj.bias,
                use_separate_proj_weight=True,
                training=self.training,
                need_weights=False,
            )
            return x.squeeze(0)

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = (
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
        )
        self.avgpool = nn.AvgPool2d(2)
        self.layer1 = nn.Sequential(self.Bottleneck(8, 8), self.Bottleneck(16, 8))
        self.layer2 = nn.Sequential(self.Bottleneck(16, 10, stride=2))
        self.attnpool = self.AttentionPool2d(4, 20, 2, 6)

    def forward(self, x: Tensor) -> Tensor:
        def stem(x: Tensor) -> Tensor:
            return self.avgpool(self.relu1(self.bn1(self.conv1(x))))

        x = x.type(self.conv1.weight.dtype)
        return self.attnpool(self.layer2(self.layer1(stem(x))))


class PooledAttention(nn.Module):
    """Attention whose queries, keys and values are pooled by convolutions of heads, with positions of rows and of columns."""

    def __init__(self, dim: int = 16, num_heads: int = 2, size: int = 8) -> None:
        super().__init__()
        self.patch_embed, self.num_heads, self.scale = (
            nn.Conv2d(3, dim, 7, 4, 3),
            num_heads,
            (dim // num_heads) ** -0.5,
        )
        self.norm1, self.qkv, self.proj = (
            nn.LayerNorm(dim, eps=1e-6),
            nn.Linear(dim, dim * 3),
            nn.Linear(dim, dim),
        )
        head_dim = dim // num_heads
        for name, stride in (("q", 2), ("k", 4), ("v", 4)):
            setattr(
                self,
                f"pool_{name}",
                nn.Conv2d(head_dim, head_dim, 3, stride, 1, groups=head_dim, bias=False),
            )
            setattr(self, f"norm_{name}", nn.LayerNorm(head_dim, eps=1e-6))
        q_size, k_size = size // 2, size // 4
        rel_dim = 2 * max(q_size, k_size) - 1
        self.rel_pos_h, self.rel_pos_w = (
            nn.Parameter(torch.randn(rel_dim, head_dim) * 0.1),
            nn.Parameter(torch.randn(rel_dim, head_dim) * 0.1),
        )
        self.pool_skip = nn.MaxPool2d(3, 2, 1)
        self.norm2, self.mlp = (
            nn.LayerNorm(dim),
            nn.Sequential(nn.Linear(dim, 36), nn.GELU(), nn.Linear(36, 20)),
        )
        self.proj_dim, self.head = nn.Linear(dim, 20), nn.Linear(20, 5)

    @staticmethod
    def attention_pool(
        x: Tensor, pool: nn.Module, norm: nn.Module
    ) -> tuple[Tensor, tuple[int, int]]:
        B, N, H, W, C = x.shape
        x = pool(x.reshape(B * N, H, W, C).permute(0, 3, 1, 2))
        H1, W1 = x.shape[2:]
        return norm(x.reshape(B, N, C, H1 * W1).transpose(2, 3)), (H1, W1)

    def add_rel_pos(
        self, attn: Tensor, q: Tensor, q_size: tuple[int, int], k_size: tuple[int, int]
    ) -> Tensor:
        q_h, q_w = q_size
        k_h, k_w = k_size
        q_ratio, k_ratio = max(k_h / q_h, 1.0), max(q_h / k_h, 1.0)
        dist_h = torch.arange(q_h)[:, None] * q_ratio - torch.arange(k_h)[None, :] * k_ratio
        dist_h += (k_h - 1) * k_ratio
        Rh, Rw = self.rel_pos_h[dist_h.long()], self.rel_pos_w[dist_h.long()]
        B, n_head, q_N, dim = q.shape
        r_q = q.reshape(B, n_head, q_h, q_w, dim)
        rel_h = torch.einsum("byhwc,hkc->byhwk", r_q, Rh)
        rel_w = torch.einsum("byhwc,wkc->byhwk", r_q, Rw)
        attn = (
            attn.view(B, -1, q_h, q_w, k_h, k_w)
            + rel_h[:, :, :, :, :, None]
            + rel_w[:, :, :, :, None, :]
        )
        return attn.view(B, -1, q_h * q_w, k_h * k_w)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        B, H, W, C = x.shape
        x_norm = self.norm1(x)
        qkv = self.qkv(x_norm).reshape(B, H, W, 3, self.num_heads, -1).permute(3, 0, 4, 1, 2, 5)
        q, q_size = self.attention_pool(qkv[0], self.pool_q, self.norm_q)
        k, k_size = self.attention_pool(qkv[1], self.pool_k, self.norm_k)
        v, _ = self.attention_pool(qkv[2], self.pool_v, self.norm_v)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        attn = self.add_rel_pos(attn, q, q_size, k_size).softmax(dim=-1)
        out = attn @ v + q
        out = self.proj(out.transpose(1, 2).reshape(B, -1, C)).view(B, *q_size, C)
        x = self.pool_skip(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + out
        x_norm = self.norm2(x)
        x = self.proj_dim(x_norm) + self.mlp(x_norm)
        return self.head(x.mean(dim=[1, 2]))


class MaskedQueries(nn.Module):
    """Queries that look where the mask of the layer before is, over scales in turn; the predictions of all layers."""

    def __init__(
        self,
        d: int = 16,
        num_queries: int = 5,
        num_classes: int = 4,
        layers: int = 3,
        heads: int = 2,
    ) -> None:
        super().__init__()
        self.res = nn.ModuleList([nn.Conv2d(3, 10, 3, 4, 1), nn.Conv2d(10, 14, 3, 2, 1)])
        self.lateral, self.input_proj = (
            nn.Conv2d(10, d, 1),
            nn.ModuleList([nn.Conv2d(14, d, 1), nn.Conv2d(10, d, 1)]),
        )
        self.mask_features = nn.Conv2d(d, 12, 3, padding=1)
        self.query_feat, self.query_embed, self.level_embed = (
            nn.Embedding(num_queries, d),
            nn.Embedding(num_queries, d),
            nn.Embedding(2, d),
        )
        self.cross = nn.ModuleList(
            nn.MultiheadAttention(d, heads, dropout=0.0) for _ in range(layers)
        )
        self.selfs = nn.ModuleList(copy.deepcopy(a) for a in self.cross)
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(3 * layers + 1))
        self.ffns = nn.ModuleList(
            nn.Sequential(nn.Linear(d, 24), nn.ReLU(), nn.Dropout(0.0), nn.Linear(24, d))
            for _ in range(layers)
        )
        self.class_embed, self.num_heads = nn.Linear(d, num_classes + 1), heads
        self.mask_embed = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 12))

    def prediction(
        self, output: Tensor, features: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        out = self.norms[-1](output).transpose(0, 1)
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_embed(out), features)
        attn_mask = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        attn_mask = (
            attn_mask.sigmoid()
            .flatten(2)
            .unsqueeze(1)
            .repeat(1, self.num_heads, 1, 1)
            .flatten(0, 1)
            < 0.5
        ).bool()
        return self.class_embed(out), masks, attn_mask.detach()

    def forward(self, x: Tensor) -> dict[str, Any]:
        c1 = F.relu(self.res[0](x))
        c2 = F.relu(self.res[1](c1))
        features = self.mask_features(self.lateral(c1))
        src, sizes = [], []
        for i, c in enumerate((c2, c1)):
            sizes.append(c.shape[-2:])
            src.append(
                (
                    self.input_proj[i](c).flatten(2) + self.level_embed.weight[i][None, :, None]
                ).permute(2, 0, 1)
            )
        _, bs, _ = src[0].shape
        query_embed = self.query_embed.weight.unsqueeze(1).repeat(1, bs, 1)
        output = self.query_feat.weight.unsqueeze(1).repeat(1, bs, 1)
        classes, masks = [], []
        cls, mask, attn_mask = self.prediction(output, features, sizes[0])
        classes.append(cls)
        masks.append(mask)
        for i in range(len(self.cross)):
            level = i % 2
            attn_mask[torch.where(attn_mask.sum(-1) == attn_mask.shape[-1])] = False
            y = self.cross[i](
                query=output + query_embed, key=src[level], value=src[level], attn_mask=attn_mask
            )[0]
            output = self.norms[3 * i](output + y)
            q = k = output + query_embed
            output = self.norms[3 * i + 1](output + self.selfs[i](q, k, value=output)[0])
            output = self.norms[3 * i + 2](output + self.ffns[i](output))
            cls, mask, attn_mask = self.prediction(output, features, sizes[(i + 1) % 2])
            classes.append(cls)
            masks.append(mask)
        aux = [{"pred_logits": a, "pred_masks": b} for a, b in zip(classes[:-1], masks[:-1])]
        return {"pred_logits": classes[-1], "pred_masks": masks[-1], "aux_outputs": aux}


class LiftedPoses(nn.Module):
    """Dilated convolutions in time that shorten the sequence, with a slice of what went in added to what comes out."""

    def __init__(
        self, joints: int = 5, channels: int = 16, filter_widths: tuple[int, ...] = (3, 3, 3)
    ) -> None:
        super().__init__()
        for fw in filter_widths:
            assert fw % 2 != 0, "Only odd filter widths are supported"
        self.num_joints_in, self.filter_widths = joints, filter_widths
        self.drop, self.relu = nn.Dropout(0.25), nn.ReLU(inplace=True)
        self.pad, self.causal_shift = [filter_widths[0] // 2], [0]
        self.expand_conv, self.expand_bn = (
            nn.Conv1d(joints * 2, channels, filter_widths[0], bias=False),
            nn.BatchNorm1d(channels, momentum=0.1),
        )
        self.shrink = nn.Conv1d(channels, joints * 3, 1)
        layers_conv, layers_bn, next_dilation = [], [], filter_widths[0]
        for i in range(1, len(filter_widths)):
            self.pad.append((filter_widths[i] - 1) * next_dilation // 2)
            self.causal_shift.append(0)
            layers_conv.append(
                nn.Conv1d(channels, channels, filter_widths[i], dilation=next_dilation, bias=False)
            )
            layers_bn.append(nn.BatchNorm1d(channels, momentum=0.1))
            layers_conv.append(nn.Conv1d(channels, channels, 1, dilation=1, bias=False))
            layers_bn.append(nn.BatchNorm1d(channels, momentum=0.1))
            next_dilation *= filter_widths[i]
        self.layers_conv, self.layers_bn = nn.ModuleList(layers_conv), nn.ModuleList(layers_bn)

    def receptive_field(self) -> int:
        return 1 + 2 * sum(self.pad)

    def forward(self, x: Tensor) -> Tensor:
        assert len(x.shape) == 4
        assert x.shape[-2] == self.num_joints_in, f"{x.shape[-2]} joints, not {self.num_joints_in}"
        sz = x.shape[:3]
        x = x.view(x.shape[0], x.shape[1], -1).permute(0, 2, 1)
        x = self.drop(self.relu(self.expand_bn(self.expand_conv(x))))
        for i in range(len(self.pad) - 1):
            pad, shift = self.pad[i + 1], self.causal_shift[i + 1]
            res = x[:, :, pad + shift : x.shape[2] - pad + shift]
            x = self.drop(self.relu(self.layers_bn[2 * i](self.layers_conv[2 * i](x))))
            x = res + self.drop(
                self.relu(self.layers_bn[2 * i + 1](self.layers_conv[2 * i + 1](x)))
            )
        x = self.shrink(x).permute(0, 2, 1)
        return x.view(sz[0], -1, self.num_joints_in, 3)


class PatchExpanding(nn.Module):
    """A U of tokens: patches are merged going down and expanded by a layer and a permutation going up."""

    class Expand(nn.Module):
        def __init__(self, resolution: tuple[int, int], dim: int, scale: int = 2) -> None:
            super().__init__()
            self.input_resolution, self.scale = resolution, scale
            self.expand, self.norm = nn.Linear(dim, 2 * dim, bias=False), nn.LayerNorm(dim // 2)

        def forward(self, x: Tensor) -> Tensor:
            H, W = self.input_resolution
            x = self.expand(x)
            B, L, C = x.shape
            assert L == H * W, "input feature has wrong size"
            p = self.scale
            x = x.view(B, H, W, p, p, C // (p * p)).permute(0, 1, 3, 2, 4, 5).contiguous()
            return self.norm(x.view(B, -1, C // 4))

    def __init__(self, dim: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.down_norm, self.reduction = (
            nn.LayerNorm(4 * dim),
            nn.Linear(4 * dim, 2 * dim, bias=False),
        )
        layer = nn.TransformerEncoderLayer(
            2 * dim, 2, 24, batch_first=True, norm_first=True, activation="gelu"
        )
        self.mid = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.up, self.concat_back_dim = self.Expand((3, 3), 2 * dim), nn.Linear(2 * dim, dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 20), nn.GELU(), nn.Linear(20, dim)
        )
        self.final, self.output = (
            nn.Linear(dim, 16 * 4, bias=False),
            nn.Conv2d(4, classes, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        B, C, H, W = x.shape
        skip = x.flatten(2).transpose(1, 2)
        x = skip.view(B, H, W, C)
        x = torch.cat(
            [x[:, 0::2, 0::2, :], x[:, 1::2, 0::2, :], x[:, 0::2, 1::2, :], x[:, 1::2, 1::2, :]], -1
        )
        x = self.reduction(self.down_norm(x.view(B, -1, 4 * C)))
        x = self.up(self.mid(x))
        x = self.concat_back_dim(torch.cat([x, skip], -1))
        x = x + self.mlp(x)
        x = self.final(x).view(B, H, W, 4, 4, -1).permute(0, 5, 1, 3, 2, 4)
        return self.output(x.reshape(B, -1, 4 * H, 4 * W))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "omni_scale": lambda: (OmniScale(), INPUTS.images),
    "attention_pooled_resnet": lambda: (AttentionPooledResNet(), INPUTS.images),
    "pooled_attention": lambda: (PooledAttention(), INPUTS.images),
    "masked_queries": lambda: (MaskedQueries(), INPUTS.images),
    "lifted_poses": lambda: (LiftedPoses(), POSES),
    "patch_expanding": lambda: (PatchExpanding(), SMALL_IMAGES),
}

"""Networks of the zoo that find, segment and measure, sixth sample."""

# ruff: noqa: B905, E501, F841, N806 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.sixth.inputs import INPUTS


def conv_bn(i: int, o: int, k: int = 3, s: int = 1, p: int | None = None) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, k, s, k // 2 if p is None else p, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
    )


class RetinaNet(nn.Module):
    """Two towers over all levels of a pyramid, whose outputs are folded to anchors and joined."""

    def __init__(self, num_anchors: int = 3, num_classes: int = 4) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.c3, self.c4 = conv_bn(3, 8, s=4), conv_bn(8, 12, s=2)
        self.lateral3, self.lateral4 = nn.Conv2d(8, 10, 1), nn.Conv2d(12, 10, 1)
        self.p6 = nn.Conv2d(12, 10, 3, 2, 1)
        self.cls_subnet, self.bbox_subnet = self.tower(), self.tower()
        self.cls_score = nn.Conv2d(10, num_anchors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(10, num_anchors * 4, 3, padding=1)
        nn.init.constant_(self.cls_score.bias, -math.log((1 - 0.01) / 0.01))

    @staticmethod
    def tower() -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.Conv2d(10, 10, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        c3 = self.c3(images)
        c4 = self.c4(c3)
        p4 = self.lateral4(c4)
        p3 = self.lateral3(c3) + F.interpolate(p4, scale_factor=2, mode="nearest")
        logits, deltas = [], []
        for feature in [p3, p4, self.p6(F.relu(c4))]:
            x = self.cls_score(self.cls_subnet(feature))
            N, _, H, W = x.shape
            x = x.view(N, -1, self.num_classes, H, W).permute(0, 3, 4, 1, 2)
            logits.append(x.reshape(N, -1, self.num_classes))
            y = self.bbox_pred(self.bbox_subnet(feature))
            deltas.append(y.view(N, -1, 4, H, W).permute(0, 3, 4, 1, 2).reshape(N, -1, 4))
        return {"cls_logits": torch.cat(logits, dim=1), "bbox_regression": torch.cat(deltas, dim=1)}


class CenterNet(nn.Module):
    """Heads by name from a dictionary, and peaks kept by a pool."""

    def __init__(self, heads: dict[str, int]) -> None:
        super().__init__()
        self.heads = heads
        self.backbone = nn.Sequential(conv_bn(3, 8, s=2), conv_bn(8, 12, s=2))
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(12, 9, 4, 2, 1, bias=False), nn.BatchNorm2d(9), nn.ReLU(inplace=True)
        )
        for head in self.heads:
            classes = self.heads[head]
            fc = nn.Sequential(
                nn.Conv2d(9, 7, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(7, classes, 1)
            )
            if "hm" in head:
                fc[-1].bias.data.fill_(-2.19)
            self.__setattr__(head, fc)

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        x = self.deconv(self.backbone(x))
        z = {}
        for head in self.heads:
            z[head] = self.__getattr__(head)(x)
        heat = z["hm"].sigmoid_()
        hmax = nn.functional.max_pool2d(heat, (3, 3), stride=1, padding=1)
        z["hm"] = heat * (hmax == heat).to(heat.dtype)
        return [z]


class DecoupledHead(nn.Module):
    """A focus of every second pixel, and a decoupled head whose boxes are decoded on a grid in evaluation."""

    def __init__(self, num_classes: int = 3, width: int = 8) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = self.base(12, width)
        self.dark = nn.ModuleList([self.base(width, width, s=2), self.base(width, 12, s=2)])
        self.stems, self.cls_convs, self.reg_convs, self.cls_preds, self.reg_preds, self.obj_preds = (nn.ModuleList() for _ in range(6))  # fmt: skip
        for c in (width, 12):
            self.stems.append(self.base(c, width, k=1))
            self.cls_convs.append(self.base(width, width))
            self.reg_convs.append(self.base(width, width))
            self.cls_preds.append(nn.Conv2d(width, num_classes, 1))
            self.reg_preds.append(nn.Conv2d(width, 4, 1))
            self.obj_preds.append(nn.Conv2d(width, 1, 1))
        self.strides = [4, 8]

    @staticmethod
    def base(i: int, o: int, k: int = 3, s: int = 1) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, o, k, s, (k - 1) // 2, bias=False),
            nn.BatchNorm2d(o, eps=1e-3, momentum=0.03),
            nn.SiLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        top_left, bot_left = x[..., ::2, ::2], x[..., 1::2, ::2]
        top_right, bot_right = x[..., ::2, 1::2], x[..., 1::2, 1::2]
        x = self.stem(torch.cat((top_left, bot_left, top_right, bot_right), dim=1))
        features, outputs = [], []
        for dark in self.dark:
            x = dark(x)
            features.append(x)
        for k, x in enumerate(features):
            x = self.stems[k](x)
            reg_feat = self.reg_convs[k](x)
            output = torch.cat(
                [
                    self.reg_preds[k](reg_feat),
                    self.obj_preds[k](reg_feat).sigmoid(),
                    self.cls_preds[k](self.cls_convs[k](x)).sigmoid(),
                ],
                1,
            )
            outputs.append(output)
        hw = [o.shape[-2:] for o in outputs]
        out = torch.cat([o.flatten(start_dim=2) for o in outputs], dim=2).permute(0, 2, 1)
        grids, strides = [], []
        for (hsize, wsize), stride in zip(hw, self.strides):
            yv, xv = torch.meshgrid([torch.arange(hsize), torch.arange(wsize)], indexing="ij")
            grid = torch.stack((xv, yv), 2).view(1, -1, 2)
            grids.append(grid)
            strides.append(torch.full((*grid.shape[:2], 1), stride))
        g, s = torch.cat(grids, dim=1).to(out), torch.cat(strides, dim=1).to(out)
        return torch.cat(
            [(out[..., 0:2] + g) * s, torch.exp(out[..., 2:4]) * s, out[..., 4:]], dim=-1
        )


class MaskFormer(nn.Module):
    """Queries decoded against a picture; masks are products of their embeddings with each pixel's."""

    def __init__(self, hidden: int = 12, queries: int = 5) -> None:
        super().__init__()
        self.backbone, self.mask_features = (
            nn.Sequential(conv_bn(3, 8, s=4), conv_bn(8, 14, s=2)),
            nn.Conv2d(8, 6, 3, padding=1),
        )
        self.input_proj, self.query_embed = nn.Conv2d(14, hidden, 1), nn.Embedding(queries, hidden)
        layer = nn.TransformerDecoderLayer(hidden, 3, 18, dropout=0.0, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2, norm=nn.LayerNorm(hidden))
        self.class_embed = nn.Linear(hidden, 4 + 1)
        self.mask_embed = nn.ModuleList(nn.Linear(n, k) for n, k in zip([hidden, 11], [11, 6]))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.backbone[0](x)
        memory = self.input_proj(self.backbone[1](fine)).flatten(2).permute(0, 2, 1)
        query = self.query_embed.weight.unsqueeze(0).repeat(x.shape[0], 1, 1)
        hs = self.decoder(torch.zeros_like(query) + query, memory)
        m = hs
        for i, layer in enumerate(self.mask_embed):
            m = F.relu(layer(m)) if i < len(self.mask_embed) - 1 else layer(m)
        masks = torch.einsum("bqc,bchw->bqhw", m, self.mask_features(fine))
        return {"pred_logits": self.class_embed(hs), "pred_masks": masks}


class SegFormerHead(nn.Module):
    """Levels of a pyramid projected by linear layers, resized to the finest and fused."""

    def __init__(self, embed: int = 10, num_classes: int = 4) -> None:
        super().__init__()
        dims = [6, 8, 12]
        self.stages = nn.ModuleList(conv_bn(i, o, s=2) for i, o in zip([3, *dims[:-1]], dims))
        self.linear_c = nn.ModuleList(nn.Linear(d, embed) for d in dims)
        self.linear_fuse = conv_bn(embed * len(dims), embed, k=1)
        self.dropout, self.linear_pred = nn.Dropout2d(0.1), nn.Conv2d(embed, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        size, cs = x.shape[2:], []
        for stage in self.stages:
            x = stage(x)
            cs.append(x)
        n, outs = x.shape[0], []
        for c, layer in zip(cs[::-1], list(self.linear_c)[::-1]):
            _c = (
                layer(c.flatten(2).transpose(1, 2))
                .permute(0, 2, 1)
                .reshape(n, -1, c.shape[2], c.shape[3])
            )
            outs.append(
                F.interpolate(_c, size=cs[0].size()[2:], mode="bilinear", align_corners=False)
            )
        x = self.linear_pred(self.dropout(self.linear_fuse(torch.cat(outs, dim=1))))
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ObjectContext(nn.Module):
    """Regions gathered by a soft segmentation, read again by every pixel; an auxiliary output beside."""

    def __init__(self, c: int = 12, key: int = 6, num_classes: int = 4) -> None:
        super().__init__()
        self.backbone = nn.Sequential(conv_bn(3, 8, s=2), conv_bn(8, c, s=2))
        self.aux_head = nn.Sequential(conv_bn(c, 9, 1), nn.Conv2d(9, num_classes, 1))
        self.f_pixel, self.f_object, self.f_down, self.f_up = (conv_bn(c, key, 1), conv_bn(c, key, 1), conv_bn(c, key, 1), conv_bn(key, c, 1))  # fmt: skip
        self.key_channels = key
        self.conv_bn_dropout, self.cls_head = (
            nn.Sequential(conv_bn(2 * c, c, 1), nn.Dropout2d(0.05)),
            nn.Conv2d(c, num_classes, 1),
        )

    def gather(self, feats: Tensor, probs: Tensor) -> Tensor:
        batch_size, c, _, _ = probs.size(0), probs.size(1), probs.size(2), probs.size(3)
        probs = F.softmax(probs.view(batch_size, c, -1), dim=2)
        feats = feats.view(batch_size, feats.size(1), -1).permute(0, 2, 1)
        return torch.matmul(probs, feats).permute(0, 2, 1).unsqueeze(3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        feats = self.backbone(x)
        out_aux = self.aux_head(feats)
        context = self.gather(feats, out_aux)
        batch_size, h, w = feats.size(0), feats.size(2), feats.size(3)
        query = self.f_pixel(feats).view(batch_size, self.key_channels, -1).permute(0, 2, 1)
        key = self.f_object(context).view(batch_size, self.key_channels, -1)
        value = self.f_down(context).view(batch_size, self.key_channels, -1).permute(0, 2, 1)
        sim_map = F.softmax((self.key_channels**-0.5) * torch.matmul(query, key), dim=-1)
        ctx = torch.matmul(sim_map, value).permute(0, 2, 1).contiguous()
        ctx = self.f_up(ctx.view(batch_size, self.key_channels, *feats.size()[2:]))
        return out_aux, self.cls_head(self.conv_bn_dropout(torch.cat([ctx, feats], 1)))


class FastScnn(nn.Module):
    """Learning to downsample, global features, fusion of both."""

    class _DSConv(nn.Module):
        def __init__(self, dw: int, out: int, stride: int = 1, **kwargs: Any) -> None:
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(dw, dw, 3, stride, 1, groups=dw, bias=False), nn.BatchNorm2d(dw), nn.ReLU(True),
                nn.Conv2d(dw, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(True))  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    def __init__(self, num_classes: int = 3, aux: bool = True) -> None:
        super().__init__()
        self.aux = aux
        self.down = nn.Sequential(conv_bn(3, 6, s=2), self._DSConv(6, 8, 2))
        self.glob = nn.Sequential(self._DSConv(8, 10, 2), self._DSConv(10, 12))
        self.pools = [1, 2]
        self.ppm = nn.ModuleList(conv_bn(12, 3, 1) for _ in self.pools)
        self.dwconv, self.conv_lower_res, self.conv_higher_res = (
            nn.Sequential(nn.Conv2d(18, 18, 3, padding=1, groups=18, bias=False), nn.BatchNorm2d(18), nn.ReLU(True)),
            nn.Sequential(nn.Conv2d(18, 14, 1), nn.BatchNorm2d(14)), nn.Sequential(nn.Conv2d(8, 14, 1), nn.BatchNorm2d(14)))  # fmt: skip
        self.classifier = nn.Sequential(
            self._DSConv(14, 9), nn.Dropout(0.1), nn.Conv2d(9, num_classes, 1)
        )
        if self.aux:
            self.auxlayer = nn.Sequential(
                nn.Conv2d(8, 6, 3, padding=1, bias=False),
                nn.BatchNorm2d(6),
                nn.ReLU(True),
                nn.Conv2d(6, num_classes, 1),
            )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        size = x.size()[2:]
        high = self.down(x)
        low = self.glob(high)
        pooled = [
            F.interpolate(
                c(F.adaptive_avg_pool2d(low, p)),
                low.size()[2:],
                mode="bilinear",
                align_corners=True,
            )
            for p, c in zip(self.pools, self.ppm)
        ]
        low = F.interpolate(
            torch.cat([low, *pooled], 1), scale_factor=2, mode="bilinear", align_corners=True
        )
        fused = F.relu(self.conv_higher_res(high) + self.conv_lower_res(self.dwconv(low)))
        outputs = [F.interpolate(self.classifier(fused), size, mode="bilinear", align_corners=True)]
        if self.aux:
            outputs.append(
                F.interpolate(self.auxlayer(high), size, mode="bilinear", align_corners=True)
            )
        return tuple(outputs)


class DynamicMasks(nn.Module):
    """SOLO: kernels of a grid made by one branch, convolved with the other's features; coordinates as channels."""

    def __init__(self, c: int = 8, grid: int = 3) -> None:
        super().__init__()
        self.seg_num_grid, self.kernel_out = grid, 6
        self.backbone = nn.Sequential(conv_bn(3, c, s=4), conv_bn(c, c))
        self.kernel_conv = nn.Sequential(nn.Conv2d(c + 2, 10, 3, padding=1, bias=False), nn.GroupNorm(2, 10), nn.ReLU(True), nn.Conv2d(10, 6, 3, padding=1))  # fmt: skip
        self.cate_conv, self.feature = (
            nn.Sequential(conv_bn(c, 7), nn.Conv2d(7, 3, 3, padding=1)),
            nn.Conv2d(c + 2, 6, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone(x)
        x_range = torch.linspace(-1, 1, x.shape[-1], device=x.device, dtype=x.dtype)
        y_range = torch.linspace(-1, 1, x.shape[-2], device=x.device, dtype=x.dtype)
        y, xx = torch.meshgrid(y_range, x_range, indexing="ij")
        coord = torch.cat(
            [xx.expand([x.shape[0], 1, -1, -1]), y.expand([x.shape[0], 1, -1, -1])], 1
        )
        feat = torch.cat([x, coord], 1)
        kernels = self.kernel_conv(F.interpolate(feat, size=self.seg_num_grid, mode="bilinear"))
        cate = self.cate_conv(F.interpolate(x, size=self.seg_num_grid, mode="bilinear")).sigmoid()
        mask = self.feature(feat)
        n, e, h, w = mask.shape
        kernels = kernels.permute(0, 2, 3, 1).reshape(n * self.seg_num_grid**2, e, 1, 1)
        pred = F.conv2d(mask.reshape(1, n * e, h, w), kernels, groups=n)
        return cate, pred.view(n, -1, h, w).sigmoid()


class SiameseTracker(nn.Module):
    """A template of the middle correlated with the search region, the batch folded into groups."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(8, 10, 3),
        )
        self.neck, self.out_scale = nn.Conv2d(10, 7, 1), nn.Parameter(torch.tensor(0.01))
        self.loc = nn.Conv2d(7, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = x[:, :, 6:27, 6:27]
        z, x = self.neck(self.features(z)), self.neck(self.features(x))
        nz, nx, c, h, w = z.size(0), *x.size()
        x1 = x.reshape(-1, nz * c, h, w)
        out = F.conv2d(x1, z, groups=nz)
        score = out.view(nx, -1, out.size(-2), out.size(-1)) * self.out_scale
        depth = F.conv2d(
            x.reshape(1, nx * c, h, w), z.reshape(nz * c, 1, *z.shape[2:]), groups=nx * c
        )
        return score, self.loc(depth.view(nx, c, depth.size(2), depth.size(3)))


class StereoVolume(nn.Module):
    """A cost volume filled one disparity after another, 3-d convolutions and a soft argmin."""

    def __init__(self, maxdisp: int = 4) -> None:
        super().__init__()
        self.maxdisp = maxdisp
        self.feature = nn.Sequential(
            nn.Conv2d(1, 6, 3, 1, 1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 5, 3, padding=1, bias=False),
        )
        self.dres0 = nn.Sequential(
            nn.Conv3d(10, 7, 3, padding=1, bias=False), nn.BatchNorm3d(7), nn.ReLU(inplace=True)
        )
        self.dres1 = nn.Sequential(nn.Conv3d(7, 7, 3, padding=1, bias=False), nn.BatchNorm3d(7))
        self.classif = nn.Conv3d(7, 1, 3, padding=1, bias=False)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        ref, target = self.feature(left), self.feature(right)
        cost = ref.new_zeros(ref.size(0), ref.size(1) * 2, self.maxdisp, ref.size(2), ref.size(3))
        for i in range(self.maxdisp):
            if i > 0:
                cost[:, : ref.size(1), i, :, i:] = ref[:, :, :, i:]
                cost[:, ref.size(1) :, i, :, i:] = target[:, :, :, :-i]
            else:
                cost[:, : ref.size(1), i, :, :] = ref
                cost[:, ref.size(1) :, i, :, :] = target
        cost0 = self.dres0(cost.contiguous())
        cost0 = self.dres1(cost0) + cost0
        pred = F.softmax(torch.squeeze(self.classif(cost0), 1), dim=1)
        disp = torch.arange(self.maxdisp, dtype=pred.dtype).view(1, -1, 1, 1)
        return torch.sum(pred * disp, 1)


class DepthDecoder(nn.Module):
    """Disparities at several scales as a dictionary of tuples, convolutions kept under keys of tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.ModuleList([conv_bn(3, 6, s=2), conv_bn(6, 8, s=2), conv_bn(8, 10, s=2)])
        self.convs: dict[tuple[str, int, int], nn.Module] = {}
        num_ch_enc, num_ch_dec = [6, 8, 10], [5, 7, 9]
        for i in range(2, -1, -1):
            c = num_ch_enc[-1] if i == 2 else num_ch_dec[i + 1]
            self.convs[("upconv", i, 0)] = self.block(c, num_ch_dec[i])
            c = num_ch_dec[i] + (num_ch_enc[i - 1] if i > 0 else 0)
            self.convs[("upconv", i, 1)] = self.block(c, num_ch_dec[i])
            self.convs[("dispconv", i, 0)] = nn.Sequential(
                nn.ReflectionPad2d(1), nn.Conv2d(num_ch_dec[i], 1, 3)
            )
        self.decoder = nn.ModuleList(list(self.convs.values()))
        self.sigmoid = nn.Sigmoid()

    @staticmethod
    def block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(int(i), int(o), 3), nn.ELU(inplace=True)
        )

    def forward(self, x: Tensor) -> dict[Any, Tensor]:
        x = (x - 0.45) / 0.225
        features = []
        for layer in self.enc:
            x = layer(x)
            features.append(x)
        outputs: dict[Any, Tensor] = {}
        x = features[-1]
        for i in range(2, -1, -1):
            x = self.convs[("upconv", i, 0)](x)
            x = [F.interpolate(x, scale_factor=2, mode="nearest")]
            if i > 0:
                x += [features[i - 1]]
            x = self.convs[("upconv", i, 1)](torch.cat(x, 1))
            outputs[("disp", i)] = self.sigmoid(self.convs[("dispconv", i, 0)](x))
        return outputs


class VNet(nn.Module):
    """Volumes: inputs repeated to be added, strided convolutions for pools, residuals of each stage."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = (
            nn.Conv3d(1, width, 5, padding=2),
            nn.BatchNorm3d(width),
            nn.PReLU(width),
        )
        self.down_conv, self.down_bn, self.relu2 = (
            nn.Conv3d(width, 2 * width, 2, stride=2),
            nn.BatchNorm3d(2 * width),
            nn.PReLU(2 * width),
        )
        self.ops = nn.Sequential(nn.Conv3d(2 * width, 2 * width, 5, padding=2), nn.ELU())
        self.up_conv, self.do = nn.ConvTranspose3d(2 * width, width, 2, stride=2), nn.Dropout3d()
        self.conv2, self.conv3 = nn.Conv3d(2 * width, 2, 5, padding=2), nn.Conv3d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x))
        x16 = torch.cat((x, x, x, x, x, x), 1)
        out16 = self.relu1(torch.add(out, x16))
        down = self.relu2(self.down_bn(self.down_conv(out16)))
        out32 = torch.add(self.ops(down), down)
        xcat = torch.cat((self.up_conv(out32), self.do(out16)), 1)
        out = self.conv3(F.elu(self.conv2(xcat)))
        out = out.permute(0, 2, 3, 4, 1).contiguous()
        return F.log_softmax(out.view(out.size(0), -1, 2), dim=-1)


class DeepSupervised(nn.Module):
    """nnU-Net: instance norms and leaky units, stages from lists, all resolutions given back in training alone."""

    def __init__(self, features: tuple[int, ...] = (5, 8, 12), classes: int = 2) -> None:
        super().__init__()
        self.encoder, self.decoder, self.transp, self.seg, c = (
            *(nn.ModuleList() for _ in range(4)),
            1,
        )
        for n, f in enumerate(features):
            stride = 1 if n == 0 else (1, 2, 2)
            self.encoder.append(nn.Sequential(self.conv(c, f, stride), self.conv(f, f, 1)))
            c = f
        for f in features[-2::-1]:
            self.transp.append(nn.ConvTranspose3d(c, f, (1, 2, 2), (1, 2, 2)))
            self.decoder.append(self.conv(2 * f, f, 1))
            self.seg.append(nn.Conv3d(f, classes, 1))
            c = f

    @staticmethod
    def conv(i: int, o: int, stride: Any) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(i, o, 3, stride, 1),
            nn.InstanceNorm3d(o, affine=True),
            nn.LeakyReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Any:
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        lres_input, seg_outputs = skips[-1], []
        for s in range(len(self.decoder)):
            x = self.transp[s](lres_input)
            x = torch.cat((x, skips[-(s + 2)]), 1)
            x = self.decoder[s](x)
            seg_outputs.append(self.seg[s](x))
            lres_input = x
        seg_outputs = seg_outputs[::-1]
        return seg_outputs if self.training else seg_outputs[0]


class ResidualU(nn.Module):
    """U²-Net: U-shaped blocks inside of a U, all side outputs fused."""

    def __init__(self, i: int, mid: int, o: int, depth: int) -> None:
        super().__init__()
        self.depth, self.inc = depth, conv_bn(i, o)
        self.enc = nn.ModuleList(conv_bn(o if d == 0 else mid, mid) for d in range(depth))
        self.bottom = nn.Sequential(
            nn.Conv2d(mid, mid, 3, padding=2, dilation=2),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
        )
        self.dec = nn.ModuleList(
            conv_bn(2 * mid, o if d == depth - 1 else mid) for d in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        hx = self.inc(x)
        hs, h = [], hx
        for d, layer in enumerate(self.enc):
            h = layer(h if d == 0 else F.max_pool2d(h, 2, 2, ceil_mode=True))
            hs.append(h)
        h = self.bottom(h)
        for layer in self.dec:
            skip = hs.pop()
            if h.shape[2:] != skip.shape[2:]:
                h = F.interpolate(h, size=skip.shape[2:], mode="bilinear", align_corners=False)
            h = layer(torch.cat((h, skip), 1))
        return h + hx


class USquared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage1, self.stage2, self.stage1d = (
            ResidualU(1, 4, 8, 3),
            ResidualU(8, 5, 8, 2),
            ResidualU(16, 4, 8, 3),
        )
        self.side1, self.side2, self.outconv = (
            nn.Conv2d(8, 1, 3, padding=1),
            nn.Conv2d(8, 1, 3, padding=1),
            nn.Conv2d(2, 1, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hx1 = self.stage1(x)
        hx2 = self.stage2(F.max_pool2d(hx1, 2, stride=2, ceil_mode=True))
        hx2up = F.interpolate(hx2, size=hx1.shape[2:], mode="bilinear", align_corners=False)
        hx1d = self.stage1d(torch.cat((hx2up, hx1), 1))
        d1 = self.side1(hx1d)
        d2 = F.interpolate(self.side2(hx2), size=d1.shape[2:], mode="bilinear", align_corners=False)
        d0 = self.outconv(torch.cat((d1, d2), 1))
        return torch.sigmoid(d0), torch.sigmoid(d1), torch.sigmoid(d2)


class Binarised(nn.Module):
    """Text detection: probability, threshold and their differentiable step, all levels added up and joined."""

    def __init__(self, inner: int = 8, k: int = 50) -> None:
        super().__init__()
        self.k = k
        self.c2, self.c3 = conv_bn(3, 6, s=2), conv_bn(6, 10, s=2)
        self.in2, self.in3 = nn.Conv2d(6, inner, 1, bias=False), nn.Conv2d(10, inner, 1, bias=False)
        self.out2 = nn.Conv2d(inner, inner // 2, 3, padding=1, bias=False)
        self.out3 = nn.Sequential(
            nn.Conv2d(inner, inner // 2, 3, padding=1, bias=False),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )
        self.binarize, self.thresh = self.head(inner), self.head(inner)

    @staticmethod
    def head(inner: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inner, inner // 2, 3, padding=1, bias=False), nn.BatchNorm2d(inner // 2), nn.ReLU(inplace=True),
            nn.ConvTranspose2d(inner // 2, 1, 2, 2), nn.Sigmoid())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        c2 = self.c2(x)
        c3 = self.c3(c2)
        in2, in3 = self.in2(c2), self.in3(c3)
        out2 = F.interpolate(in3, scale_factor=2, mode="nearest") + in2
        fuse = torch.cat((self.out3(in3), self.out2(out2)), 1)
        binary = self.binarize(fuse)
        if not self.training:
            return binary
        thresh = self.thresh(fuse)
        step = torch.reciprocal(1 + torch.exp(-self.k * (binary - thresh)))
        return torch.cat((binary, thresh, step), dim=1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "retina_towers": lambda: (RetinaNet(), INPUTS.images),
    "center_net": lambda: (CenterNet({"hm": 3, "wh": 2, "reg": 2}), INPUTS.images),
    "yolox_decoupled": lambda: (DecoupledHead(), INPUTS.images),
    "mask_former": lambda: (MaskFormer(), INPUTS.images),
    "segformer_head": lambda: (SegFormerHead(), INPUTS.images),
    "object_context": lambda: (ObjectContext(), INPUTS.images),
    "fast_scnn": lambda: (FastScnn(), INPUTS.images),
    "solo_dynamic_masks": lambda: (DynamicMasks(), INPUTS.images),
    "siamese_tracker": lambda: (SiameseTracker(), INPUTS.images),
    "stereo_cost_volume": lambda: (StereoVolume(), (INPUTS.grey, INPUTS.grey.flip(-1))),
    "depth_decoder_keys": lambda: (DepthDecoder(), INPUTS.images),
    "vnet_repeated_input": lambda: (VNet(), INPUTS.volumes),
    "nnunet_deep_supervision": lambda: (DeepSupervised(), INPUTS.volumes),
    "u_squared": lambda: (USquared(), INPUTS.grey),
    "differentiable_binarisation": lambda: (Binarised(), INPUTS.images),
}

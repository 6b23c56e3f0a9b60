"""Networks of the zoo over pictures, thirteenth sample: kernels for each object, references that are refined, registries."""

# ruff: noqa: B905, N803, N806 - names and lines as people write them
from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import INPUTS, SMALL_IMAGES


class ShapeSpec(NamedTuple):
    """Channels and stride of a map."""

    channels: int
    stride: int


class FrozenBatchNorm2d(nn.Module):
    """A normalisation whose statistics and scale are all buffers."""

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.register_buffer("weight", torch.rand(num_features) + 0.5)
        self.register_buffer("bias", torch.randn(num_features) * 0.1)
        self.register_buffer("running_mean", torch.randn(num_features) * 0.1)
        self.register_buffer("running_var", torch.rand(num_features) + 0.5 - eps)

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            scale = self.weight * (self.running_var + self.eps).rsqrt()
            bias = self.bias - self.running_mean * scale
            scale, bias = scale.reshape(1, -1, 1, 1), bias.reshape(1, -1, 1, 1)
            out_dtype = x.dtype
            return x * scale.to(out_dtype) + bias.to(out_dtype)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, eps=self.eps
        )


class NormedConv2d(nn.Conv2d):
    """A convolution that takes its norm and activation as arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        norm, activation = kwargs.pop("norm", None), kwargs.pop("activation", None)
        super().__init__(*args, **kwargs)
        self.norm, self.activation = norm, activation

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )
        if self.norm is not None:
            x = self.norm(x)
        return self.activation(x) if self.activation is not None else x


class DynamicMasks(nn.Module):
    """Masks by small networks of each object, whose weights a controller gives, as groups of convolutions over one map."""

    def __init__(self, dim: int = 12, channels: int = 4, objects: int = 3) -> None:
        super().__init__()
        norm, self.objects, self.channels = FrozenBatchNorm2d, objects, channels
        self.stem = NormedConv2d(3, 8, 3, 2, 1, bias=False, norm=norm(8), activation=F.relu)
        self.res = NormedConv2d(8, dim, 3, 2, 1, bias=False, norm=norm(dim), activation=F.relu_)
        self._out_feature_channels = {"stem": 8, "res": dim}
        self.lateral_convs: list[nn.Module] = []
        for name, spec in self.output_shape().items():
            lateral = NormedConv2d(spec.channels, dim, 1)
            self.add_module(f"fpn_lateral_{name}", lateral)
            self.lateral_convs.insert(0, lateral)
        self.mask_branch = nn.Sequential(nn.Conv2d(dim, 10, 3, padding=1), nn.ReLU())
        self.mask_out = nn.Conv2d(10, channels, 1)
        self.weight_nums = [(channels + 2) * channels, channels]
        self.bias_nums = [channels, 1]
        self.num_gen_params = sum(self.weight_nums) + sum(self.bias_nums)
        self.controller = nn.Linear(dim, objects * self.num_gen_params)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(channels=c, stride=2 ** (i + 1))
            for i, (name, c) in enumerate(self._out_feature_channels.items())
        }

    def parse(self, params: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        num_insts, num_layers, c = params.size(0), len(self.weight_nums), self.channels
        splits = list(torch.split_with_sizes(params, self.weight_nums + self.bias_nums, dim=1))
        weights, biases = splits[:num_layers], splits[num_layers:]
        for i in range(num_layers):
            out = c if i < num_layers - 1 else 1
            weights[i] = weights[i].reshape(num_insts * out, -1, 1, 1)
            biases[i] = biases[i].reshape(num_insts * out)
        return weights, biases

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        stem = self.stem(images)
        res = self.res(stem)
        top, low = (conv(f) for conv, f in zip(self.lateral_convs, (res, stem)))
        feats = low + F.interpolate(top, scale_factor=2.0, mode="nearest")
        mask_feats = self.mask_out(self.mask_branch(feats))
        N, _, H, W = mask_feats.size()
        params = self.controller(top.mean((2, 3))).view(N * self.objects, self.num_gen_params)
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij")
        coords = torch.stack((xs, ys))[None].to(mask_feats).expand(N, -1, -1, -1)
        inputs = torch.cat([coords, mask_feats], dim=1).repeat_interleave(self.objects, dim=0)
        x = inputs.reshape(1, -1, H, W)
        weights, biases = self.parse(params)
        for i, (w, b) in enumerate(zip(weights, biases)):
            x = F.conv2d(x, w, bias=b, stride=1, padding=0, groups=N * self.objects)
            if i < len(weights) - 1:
                x = F.relu(x)
        return {"pred_masks": x.reshape(N, self.objects, H, W), "semantic": mask_feats}


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """Returns the logarithm of the odds, held within bounds."""
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def _get_clones(module: nn.Module, N: int) -> nn.ModuleList:
    return nn.ModuleList([copy.deepcopy(module) for _ in range(N)])


class RefinedQueries(nn.Module):
    """Queries that are boxes: their sines ask the map, each layer moves them, and all layers share one head in a list."""

    class Layer(nn.Module):
        def __init__(self, d: int, nhead: int = 2) -> None:
            super().__init__()
            self.self_attn = nn.MultiheadAttention(d, nhead, dropout=0.1, batch_first=True)
            self.ca_qcontent, self.ca_kcontent = nn.Linear(d, d), nn.Linear(d, d)
            self.ca_v, self.ca_qpos, self.ca_kpos = (nn.Linear(d, d) for _ in range(3))
            self.linear1, self.linear2 = nn.Linear(d, 30), nn.Linear(30, d)
            self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(d) for _ in range(3))
            self.nhead, self.dropout = nhead, nn.Dropout(0.1)

        @staticmethod
        def with_pos_embed(tensor: Tensor, pos: Tensor | None) -> Tensor:
            return tensor if pos is None else tensor + pos

        def forward(self, tgt: Tensor, memory: Tensor, pos: Tensor, query_pos: Tensor) -> Tensor:
            q = k = self.with_pos_embed(tgt, query_pos)
            tgt = self.norm1(tgt + self.dropout(self.self_attn(q, k, value=tgt)[0]))
            bs, n, d = tgt.shape
            hw = memory.shape[1]
            q = self.ca_qcontent(tgt).view(bs, n, self.nhead, d // self.nhead)
            k = self.ca_kcontent(memory).view(bs, hw, self.nhead, d // self.nhead)
            qs = self.ca_qpos(query_pos).view(bs, n, self.nhead, d // self.nhead)
            ks = self.ca_kpos(pos).expand(bs, -1, -1).view(bs, hw, self.nhead, d // self.nhead)
            q, k = torch.cat([q, qs], dim=3).transpose(1, 2), torch.cat([k, ks], 3).transpose(1, 2)
            attn = (q @ k.transpose(-2, -1) * (2 * d // self.nhead) ** -0.5).softmax(-1)
            v = self.ca_v(memory).view(bs, hw, self.nhead, -1).transpose(1, 2)
            tgt2 = (attn @ v).transpose(1, 2).flatten(2)
            tgt = self.norm2(tgt + self.dropout(tgt2))
            return self.norm3(tgt + self.linear2(self.dropout(F.relu(self.linear1(tgt)))))

    def __init__(self, d: int = 16, queries: int = 5, layers: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.input_proj = nn.Sequential(nn.Conv2d(3, d, 8, 8), nn.GroupNorm(4, d))
        self.tgt_embed, self.refpoint_embed = nn.Embedding(queries, d), nn.Embedding(queries, 4)
        self.layers = _get_clones(self.Layer(d), layers)
        self.ref_point_head = nn.Sequential(nn.Linear(2 * d, d), nn.ReLU(), nn.Linear(d, d))
        bbox_embed = nn.Sequential(nn.Linear(d, 20), nn.ReLU(), nn.Linear(20, 4))
        class_embed = nn.Linear(d, classes)
        class_embed.bias.data = torch.ones(classes) * -math.log((1 - 0.01) / 0.01)
        self.bbox_embed = nn.ModuleList([bbox_embed for _ in range(layers)])
        self.class_embed = nn.ModuleList([class_embed for _ in range(layers)])
        self.pos, self.d = nn.Parameter(torch.randn(1, 9, d) * 0.3), d

    def sines(self, boxes: Tensor) -> Tensor:
        dim_t = torch.arange(self.d // 2, dtype=boxes.dtype)
        dim_t = 10000 ** (2 * torch.div(dim_t, 2, rounding_mode="floor") / (self.d // 2))
        parts = []
        for i in range(4):
            part = (boxes[..., i] * 2 * math.pi)[..., None] / dim_t
            parts += [torch.stack((part[..., 0::2].sin(), part[..., 1::2].cos()), 3).flatten(2)]
        return torch.cat(parts, dim=2)

    def forward(self, images: Tensor) -> dict[str, Any]:
        memory = self.input_proj(images).flatten(2).permute(0, 2, 1)
        bs = memory.shape[0]
        output = self.tgt_embed.weight.unsqueeze(0).repeat(bs, 1, 1)
        reference = self.refpoint_embed.weight.unsqueeze(0).repeat(bs, 1, 1).sigmoid()
        outputs_class, outputs_coord = [], []
        for lid, layer in enumerate(self.layers):
            query_pos = self.ref_point_head(self.sines(reference))
            output = layer(output, memory, self.pos, query_pos)
            tmp = self.bbox_embed[lid](output) + inverse_sigmoid(reference)
            outputs_coord.append(tmp.sigmoid())
            outputs_class.append(self.class_embed[lid](output))
            reference = outputs_coord[-1].detach()
        outputs_class, outputs_coord = torch.stack(outputs_class), torch.stack(outputs_coord)
        out = {"pred_logits": outputs_class[-1], "pred_boxes": outputs_coord[-1]}
        out["aux_outputs"] = [
            {"pred_logits": a, "pred_boxes": b}
            for a, b in zip(outputs_class[:-1], outputs_coord[:-1])
        ]
        return out


CONV_LAYERS: dict[str, Any] = {}


def register(name: str) -> Any:
    """Returns what puts a class in the registry under a name."""

    def put(cls: Any) -> Any:
        CONV_LAYERS[name] = cls
        return cls

    return put


@register("BasicBlock")
class RegisteredBlock(nn.Module):
    """A residual block whose norms are found by the name that a helper gave them."""

    def __init__(
        self, in_channels: int, planes: int, stride: int, norm_cfg: dict[str, Any]
    ) -> None:
        super().__init__()
        self.norm1_name, norm1 = self.build_norm_layer(norm_cfg, planes, postfix=1)
        self.norm2_name, norm2 = self.build_norm_layer(norm_cfg, planes, postfix=2)
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, 1, bias=False)
        self.add_module(self.norm1_name, norm1)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.add_module(self.norm2_name, norm2)
        self.relu, self.with_cp = nn.ReLU(inplace=True), False
        self.downsample = nn.Conv2d(in_channels, planes, 1, stride) if stride != 1 else None

    @staticmethod
    def build_norm_layer(cfg: dict[str, Any], n: int, postfix: int) -> tuple[str, nn.Module]:
        cfg_ = cfg.copy()
        layer_type = cfg_.pop("type")
        requires_grad = cfg_.pop("requires_grad", True)
        layer = {"BN": nn.BatchNorm2d, "GN": nn.GroupNorm}[layer_type]
        norm = layer(num_channels=n, **cfg_) if layer_type == "GN" else layer(n, **cfg_)
        for param in norm.parameters():
            param.requires_grad = requires_grad
        return layer_type.lower() + str(postfix), norm

    @property
    def norm1(self) -> nn.Module:
        return getattr(self, self.norm1_name)

    @property
    def norm2(self) -> nn.Module:
        return getattr(self, self.norm2_name)

    def forward(self, x: Tensor) -> Tensor:
        def _inner_forward(x: Tensor) -> Tensor:
            identity = x
            out = self.relu(self.norm1(self.conv1(x)))
            out = self.norm2(self.conv2(out))
            if self.downsample is not None:
                identity = self.downsample(x)
            out += identity
            return out

        return self.relu(_inner_forward(x))


class RegisteredSegmenter(nn.Module):
    """Backbone, head and auxiliary head built from dictionaries; the first stage stays as it is, also in training."""

    def __init__(
        self, backbone: dict[str, Any], decode_head: dict[str, Any], frozen: int = 1
    ) -> None:
        super().__init__()
        cfg = backbone.copy()
        block, self.res_layers, inplanes = CONV_LAYERS[cfg.pop("type")], [], 8
        self.conv1, self.frozen_stages = nn.Conv2d(3, 8, 3, 2, 1, bias=False), frozen
        for i, planes in enumerate(cfg.pop("planes")):
            self.add_module(f"layer{i + 1}", block(inplanes, planes, 1 + (i > 0), cfg["norm_cfg"]))
            self.res_layers.append(f"layer{i + 1}")
            inplanes = planes
        self.in_index, channels = decode_head["in_index"], decode_head["channels"]
        self.bottleneck = nn.Conv2d(sum(decode_head["in_channels"]), channels, 3, padding=1)
        self.dropout, self.conv_seg = nn.Dropout2d(0.1), nn.Conv2d(channels, 4, 1)
        self.aux_seg = nn.Conv2d(decode_head["in_channels"][0], 4, 1)
        self._freeze_stages()

    def _freeze_stages(self) -> None:
        for i in range(1, self.frozen_stages + 1):
            m = getattr(self, f"layer{i}")
            m.eval()
            for param in m.parameters():
                param.requires_grad = False

    def train(self, mode: bool = True) -> RegisteredSegmenter:
        super().train(mode)
        self._freeze_stages()
        return self

    def forward(self, img: Tensor, mode: str = "tensor") -> Any:
        x, outs = F.relu(self.conv1(img)), []
        for layer_name in self.res_layers:
            x = getattr(self, layer_name)(x)
            outs.append(x)
        inputs = [outs[i] for i in self.in_index]
        upsampled = [
            F.interpolate(f, size=inputs[0].shape[2:], mode="bilinear", align_corners=False)
            for f in inputs
        ]
        seg = self.conv_seg(self.dropout(self.bottleneck(torch.cat(upsampled, dim=1))))
        seg = F.interpolate(seg, img.shape[2:], mode="bilinear")
        return (seg, self.aux_seg(inputs[0])) if self.training else seg


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "dynamic_masks": lambda: (DynamicMasks(), SMALL_IMAGES),
    "refined_queries": lambda: (RefinedQueries(), SMALL_IMAGES),
    "registered_segmenter": lambda: (
        RegisteredSegmenter(
            backbone={
                "type": "BasicBlock",
                "planes": (8, 12, 16),
                "norm_cfg": {"type": "BN", "requires_grad": True, "eps": 1e-3},
            },
            decode_head={"in_index": (0, 1, 2), "in_channels": [8, 12, 16], "channels": 14},
        ),
        INPUTS.images,
    ),
}

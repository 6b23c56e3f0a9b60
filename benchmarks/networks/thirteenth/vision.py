"""Backbones of the zoo, thirteenth sample: factories with partial, subsets of the batch, gates of blocks."""

# ruff: noqa: B905, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import INPUTS, SMALL_IMAGES

_ACTS = {"relu": nn.ReLU, "gelu_tanh": partial(nn.GELU, approximate="tanh"), "silu": nn.SiLU}


def get_act_layer(name: Any) -> Any:
    """Returns a class of activations, or what makes them, by its name."""
    return _ACTS[name] if isinstance(name, str) else name


def named_apply(fn: Callable[..., None], module: nn.Module, name: str = "") -> nn.Module:
    """Returns a network after fn has seen each of its parts with its name, deepest first."""
    for child_name, child_module in module.named_children():
        child_name = ".".join((name, child_name)) if name else child_name
        named_apply(fn=fn, module=child_module, name=child_name)
    if name:
        fn(module=module, name=name)
    return module


def _init_weights(module: nn.Module, name: str, head_init_scale: float = 1.0) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.2)
    elif isinstance(module, nn.Linear) and "head." in name:
        module.weight.data.mul_(head_init_scale)


class Linear1x1(nn.Conv2d):
    """A linear layer over channels of images, as a subclass that turns the weights of linear layers."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, 1, bias=bias)


class DropPath(nn.Module):
    """Drops a branch for single examples."""

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.drop_prob, self.scale_by_keep = drop_prob, scale_by_keep

    def forward(self, x: Tensor) -> Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep_prob = 1 - self.drop_prob
        random_tensor = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep_prob)
        if keep_prob > 0.0 and self.scale_by_keep:
            random_tensor.div_(keep_prob)
        return x * random_tensor


class MetaBlock(nn.Module):
    """A mixer and a perceptron, each behind a norm that a factory makes, with scales of residuals."""

    def __init__(
        self,
        dim: int,
        token_mixer: Any,
        mlp_act: Any,
        norm_layer: Any,
        drop_path: float,
        layer_scale_init: float | None,
        res_scale_init: float | None,
    ) -> None:
        super().__init__()
        scale = partial(nn.Parameter, requires_grad=True)
        self.norm1, self.token_mixer = norm_layer(dim), token_mixer(dim=dim)
        self.drop_path1 = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.layer_scale1 = scale(layer_scale_init * torch.ones(dim)) if layer_scale_init else None
        self.res_scale1 = scale(res_scale_init * torch.ones(dim)) if res_scale_init else None
        self.norm2 = norm_layer(dim)
        act_layer = get_act_layer(mlp_act)
        self.mlp = nn.Sequential(Linear1x1(dim, 3 * dim), act_layer(), Linear1x1(3 * dim, dim))
        self.drop_path2 = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.layer_scale2 = scale(layer_scale_init * torch.ones(dim)) if layer_scale_init else None
        self.res_scale2 = scale(res_scale_init * torch.ones(dim)) if res_scale_init else None

    def forward(self, x: Tensor) -> Tensor:
        for i in ("1", "2"):
            ls, rs = getattr(self, f"layer_scale{i}"), getattr(self, f"res_scale{i}")
            part = self.token_mixer if i == "1" else self.mlp
            y = getattr(self, "drop_path" + i)(part(getattr(self, "norm" + i)(x)))
            if ls is not None:
                y = y * ls.view(ls.shape[0], 1, 1)
            x = (x if rs is None else x * rs.view((-1, 1, 1))) + y
        return x


class SepConv(nn.Module):
    """An inverted separable convolution with a squared ReLU that has a scale and a bias."""

    class StarReLU(nn.Module):
        def __init__(self, scale_value: float = 1.0, bias_value: float = 0.0) -> None:
            super().__init__()
            self.relu = nn.ReLU(inplace=False)
            self.scale, self.bias = (
                nn.Parameter(scale_value * torch.ones(1)),
                nn.Parameter(bias_value * torch.ones(1)),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * self.relu(x) ** 2 + self.bias

    def __init__(self, dim: int, expansion_ratio: int = 2, **kwargs: Any) -> None:
        super().__init__()
        mid = int(expansion_ratio * dim)
        self.pwconv1, self.act1 = Linear1x1(dim, mid, bias=False), self.StarReLU()
        self.dwconv = nn.Conv2d(mid, mid, 5, padding=2, groups=mid, bias=False)
        self.act2, self.pwconv2 = nn.Identity(), Linear1x1(mid, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pwconv2(self.act2(self.dwconv(self.act1(self.pwconv1(x)))))


class MetaNet(nn.Module):
    """Stages from lists of settings, features of each for others, and a head that can stop before the logits."""

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 5,
        global_pool: str = "avg",
        depths: Sequence[int] = (1, 1, 2),
        dims: Sequence[int] = (8, 12, 16),
        token_mixers: Any = SepConv,
        norm_layers: Any = partial(nn.GroupNorm, 1, eps=1e-6),  # noqa: B008
        drop_path_rate: float = 0.2,
        layer_scale_init: Any = None,
        res_scale_init: Any = (None, None, 1.0),
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, dims[-1]
        if not isinstance(token_mixers, (list, tuple)):
            token_mixers = [token_mixers] * len(depths)
        self.stem = nn.Sequential(nn.Conv2d(in_chans, dims[0], 4, 4), norm_layers(dims[0]))
        dp_rates = [
            x.tolist() for x in torch.linspace(0, drop_path_rate, sum(depths)).split(list(depths))
        ]
        stages, prev_dim, self.feature_info = [], dims[0], []
        for i, dim in enumerate(dims):
            down = nn.Identity() if i == 0 else nn.Conv2d(prev_dim, dim, 3, 2, 1)
            blocks = [
                MetaBlock(
                    dim,
                    token_mixers[i],
                    kwargs.get("mlp_act", "gelu_tanh"),
                    norm_layers,
                    dp_rates[i][j],
                    layer_scale_init,
                    res_scale_init[i],
                )
                for j in range(depths[i])
            ]
            stages += [nn.Sequential(down, *blocks)]
            prev_dim = dim
            self.feature_info += [{"num_chs": dim, "reduction": 2**i, "module": f"stages.{i}"}]
        self.stages, self.norm = nn.Sequential(*stages), nn.LayerNorm(dims[-1])
        self.head = nn.Sequential()
        self.head.add_module("drop", nn.Dropout(0.1))
        self.reset_classifier(num_classes, global_pool)
        named_apply(partial(_init_weights, head_init_scale=0.5), self)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.head.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.norm(x.mean((-2, -1)))
        x = self.head.drop(x)
        return x if pre_logits else self.head.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def create_model(variant: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Returns a network by its name, with the settings of that name unless others are given."""
    defaults = {"metanet_s12": {"mlp_act": "silu"}, "metanet_ls": {"layer_scale_init": 1e-1}}
    return MetaNet(**{**defaults[variant], **kwargs})


class SubsetViT(nn.Module):
    """Register tokens, masked patches, and branches that in training see a random part of the batch, put back by numbers."""

    class SwiGLU(nn.Module):
        def __init__(self, in_features: int, hidden_features: int) -> None:
            super().__init__()
            hidden_features = (int(hidden_features * 2 / 3) + 7) // 8 * 8
            self.w12 = nn.Linear(in_features, 2 * hidden_features)
            self.w3 = nn.Linear(hidden_features, in_features)

        def forward(self, x: Tensor) -> Tensor:
            x1, x2 = self.w12(x).chunk(2, dim=-1)
            return self.w3(F.silu(x1) * x2)

    class Attention(nn.Module):
        def __init__(self, dim: int, num_heads: int) -> None:
            super().__init__()
            self.num_heads, self.qkv, self.proj = (
                num_heads,
                nn.Linear(dim, 3 * dim),
                nn.Linear(dim, dim),
            )

        def forward(self, x: Tensor) -> Tensor:
            B, N, C = x.shape
            qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads)
            q, k, v = torch.unbind(qkv.permute(2, 0, 3, 1, 4), 0)
            x = F.scaled_dot_product_attention(q, k, v)
            return self.proj(x.transpose(1, 2).reshape([B, N, C]))

    def __init__(self, dim: int = 16, patch: int = 8, grid: int = 3, registers: int = 2) -> None:
        super().__init__()
        self.patch_size, self.grid, self.num_register_tokens = patch, grid, registers
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.2)
        self.pos_embed = nn.Parameter(torch.randn(1, grid**2 + 1, dim) * 0.2)
        self.register_tokens = nn.Parameter(torch.randn(1, registers, dim) * 0.2)
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.blocks = nn.ModuleList(
            nn.ModuleList([part, nn.LayerNorm(dim)])
            for _ in range(2)
            for part in (self.Attention(dim, 2), self.SwiGLU(dim, 48))
        )
        self.gammas = nn.ParameterList([nn.Parameter(0.3 * torch.ones(dim)) for _ in range(4)])
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(2 * dim, 5)

    def interpolate_pos_encoding(self, x: Tensor, w: int, h: int) -> Tensor:
        npatch, N = x.shape[1] - 1, self.pos_embed.shape[1] - 1
        if npatch == N and w == h:
            return self.pos_embed
        class_pos, patch_pos = self.pos_embed[:, 0], self.pos_embed[:, 1:]
        M = int(math.sqrt(N))
        patch_pos = F.interpolate(
            patch_pos.reshape(1, M, M, -1).permute(0, 3, 1, 2),
            size=(w // self.patch_size, h // self.patch_size),
            mode="bicubic",
        )
        patch_pos = patch_pos.permute(0, 2, 3, 1).view(1, -1, x.shape[-1])
        return torch.cat((class_pos.unsqueeze(0), patch_pos), dim=1)

    def forward(self, x: Tensor, masks: Tensor | None = None) -> dict[str, Any]:
        B, _, w, h = x.shape
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        if masks is not None:
            x = torch.where(masks.unsqueeze(-1), self.mask_token.to(x.dtype).unsqueeze(0), x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = x + self.interpolate_pos_encoding(x, w, h)
        x = torch.cat((x[:, :1], self.register_tokens.expand(x.shape[0], -1, -1), x[:, 1:]), dim=1)
        for (part, norm), gamma in zip(self.blocks, self.gammas):
            if self.training:
                b = x.shape[0]
                sample_subset_size = max(int(b * (1 - 0.25)), 1)
                brange = (torch.randperm(b, device=x.device))[:sample_subset_size]
                residual = part(norm(x[brange])) * gamma
                x_plus = torch.index_add(
                    x.flatten(1), 0, brange, residual.flatten(1), alpha=b / sample_subset_size
                )
                x = x_plus.view_as(x)
            else:
                x = x + part(norm(x)) * gamma
        x_norm = self.norm(x)
        cls, patches = x_norm[:, 0], x_norm[:, self.num_register_tokens + 1 :]
        logits = self.head(torch.cat([cls, patches.mean(dim=1)], dim=-1))
        return {"logits": logits, "x_norm_patchtokens": patches, "masks": masks}


class GatedDepth(nn.Module):
    """Each block has a gate that opens or shuts it for an example: drawn with noise in training, the better one afterwards."""

    def __init__(self, width: int = 10, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.blocks, self.gates = nn.ModuleList(), nn.ModuleList()
        for _ in range(blocks):
            self.blocks.append(
                nn.Sequential(
                    nn.Conv2d(width, 14, 3, padding=1, bias=False),
                    nn.BatchNorm2d(14),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(14, width, 3, padding=1),
                )
            )
            self.gates.append(nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 2)))
        self.fc = nn.Linear(width, 5)

    @staticmethod
    def gumbel(logits: Tensor, tau: float = 1.0) -> Tensor:
        gumbels = -torch.empty_like(logits).exponential_().log()
        y_soft = ((logits + gumbels) / tau).softmax(-1)
        index = y_soft.max(-1, keepdim=True)[1]
        y_hard = torch.zeros_like(logits).scatter_(-1, index, 1.0)
        return y_hard - y_soft.detach() + y_soft

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, opened = self.stem(x), []
        for block, gate in zip(self.blocks, self.gates):
            logits = gate(F.adaptive_avg_pool2d(x, 1).flatten(1))
            if self.training:  # noqa: SIM108
                g = self.gumbel(logits)[:, 1]
            else:
                g = logits.argmax(dim=1).to(x.dtype)
            opened.append(g)
            x = F.relu(x + block(x) * g[:, None, None, None])
        return self.fc(x.mean([2, 3])), torch.stack(opened, 1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "metanet_s12": lambda: (create_model("metanet_s12"), INPUTS.images),
    "metanet_ls": lambda: (create_model("metanet_ls", num_classes=3), INPUTS.images),
    "subset_vit": lambda: (SubsetViT(), SMALL_IMAGES),
    "gated_depth": lambda: (GatedDepth(), SMALL_IMAGES),
}

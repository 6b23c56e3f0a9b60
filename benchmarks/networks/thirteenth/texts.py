"""Networks of the zoo over texts, thirteenth sample: routing kept even by a buffer, depths, blocks of attention, adapters."""

# ruff: noqa: B905, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import INPUTS, MASKED_TEXT

V = 30


class EvenExperts(nn.Module):
    """Experts by sigmoids in groups, kept even by a bias that moves against their load in training; one expert for all."""

    class Gate(nn.Module):
        def __init__(self, dim: int, n_experts: int, n_groups: int, topk: int) -> None:
            super().__init__()
            self.n_groups, self.topk, self.n_experts = n_groups, topk, n_experts
            self.weight = nn.Parameter(torch.empty(n_experts, dim))
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
            self.register_buffer("e_score_correction_bias", torch.zeros(n_experts))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            scores = F.linear(x, self.weight).sigmoid()
            scores_for_choice = scores + self.e_score_correction_bias.unsqueeze(0)
            group_scores = scores_for_choice.view(
                -1, self.n_groups, self.n_experts // self.n_groups
            )
            group_scores = group_scores.topk(2, dim=-1)[0].sum(dim=-1)
            group_idx = torch.topk(group_scores, k=1, dim=-1, sorted=False)[1]
            group_mask = torch.zeros_like(group_scores).scatter_(1, group_idx, 1)
            score_mask = group_mask.unsqueeze(-1).expand(-1, -1, self.n_experts // self.n_groups)
            chosen = scores_for_choice.masked_fill(
                ~score_mask.reshape(-1, self.n_experts).bool(), float("-inf")
            )
            indices = torch.topk(chosen, k=self.topk, dim=-1, sorted=False)[1]
            weights = scores.gather(1, indices)
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
            if self.training:
                with torch.no_grad():
                    load = F.one_hot(indices, self.n_experts).sum(dim=(0, 1)).to(x.dtype)
                    self.e_score_correction_bias.add_(torch.sign(load.mean() - load), alpha=1e-2)
            return indices, weights * 2.5

    def __init__(self, dim: int = 12, n_experts: int = 4, hidden: int = 10) -> None:
        super().__init__()
        self.embed, self.gate = nn.Embedding(V, dim), self.Gate(dim, n_experts, 2, 2)
        self.experts = nn.ModuleList(
            [
                nn.ModuleDict({"w1": nn.Linear(dim, hidden), "w2": nn.Linear(hidden, dim)})
                for _ in range(n_experts)
            ]
        )
        self.shared_expert = nn.Sequential(nn.Linear(dim, 14), nn.SiLU(), nn.Linear(14, dim))
        self.head = nn.Linear(dim, V)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        shape = x.size()
        x = x.view(-1, shape[-1])
        indices, weights = self.gate(x)
        y = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            share = (weights * (indices == i)).sum(-1, keepdim=True)
            y += expert["w2"](F.silu(expert["w1"](x))) * share
        z = self.shared_expert(x)
        return self.head((x + y + z).view(shape))


class MixtureOfDepths(nn.Module):
    """Only the best half of the places goes through each block; what comes out is weighed and put back by scatter."""

    def __init__(self, dim: int = 12, depth: int = 2, capacity: float = 0.5) -> None:
        super().__init__()
        self.capacity = capacity
        self.wte, self.wpe = nn.Embedding(V, dim), nn.Embedding(16, dim)
        self.routers = nn.ModuleList([nn.Linear(dim, 1, bias=False) for _ in range(depth)])
        self.blocks = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(
                    dim, 2, 28, 0.1, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            ]
        )
        self.lm_head = nn.Linear(dim, V, bias=False)

    def forward(self, idx: Tensor) -> tuple[Tensor, Tensor]:
        B, T = idx.shape
        x = self.wte(idx) + self.wpe(torch.arange(T, device=idx.device))
        aux = x.new_zeros(())
        for router, block in zip(self.routers, self.blocks):
            k = max(1, int(self.capacity * T))
            logits = router(x).squeeze(-1)
            weights, selected = torch.topk(logits, k, dim=1, sorted=False)
            selected, order = torch.sort(selected, dim=1)
            weights = torch.gather(weights, 1, order)
            expanded = selected.unsqueeze(-1).expand(-1, -1, x.size(-1))
            filtered = torch.gather(x, 1, expanded)
            mask = torch.ones(k, k, dtype=torch.bool, device=x.device).tril_().logical_not_()
            out = block(filtered, src_mask=mask) * torch.sigmoid(weights).unsqueeze(-1)
            x = torch.scatter_add(x, dim=1, index=expanded, src=out)
            targets = torch.zeros_like(logits).scatter_(1, selected, 1.0)
            aux = aux + F.binary_cross_entropy_with_logits(logits, targets)
        return self.lm_head(x), aux / len(self.blocks)


class BlockwiseAttention(nn.Module):
    """Attention in blocks with a running maximum and sum, slopes of distances held in a buffer that grows, caps of norms."""

    def __init__(self, dim: int = 16, heads: int = 4, block: int = 3) -> None:
        super().__init__()
        self.heads, self.block, self.embed = heads, block, nn.Embedding(V, dim)
        self.to_q, self.to_kv = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.to_out, self.head = nn.Linear(dim, dim), nn.Linear(dim, V)
        self.register_buffer("slopes", torch.tensor(self.get_slopes(heads))[:, None, None])
        self.register_buffer("bias", None, persistent=False)

    @staticmethod
    def get_slopes(n: int) -> list[float]:
        def power_of_2(n: int) -> list[float]:
            start = 2 ** (-(2 ** -(math.log2(n) - 3)))
            return [start * start**i for i in range(n)]

        if math.log2(n).is_integer():
            return power_of_2(n)
        closest = 2 ** math.floor(math.log2(n))
        return power_of_2(closest) + power_of_2(2 * closest)[0::2][: n - closest]

    def get_bias(self, n: int) -> Tensor:
        if self.bias is not None and self.bias.shape[-1] >= n:
            return self.bias[..., :n, :n]
        pos = torch.arange(n, device=self.slopes.device)
        bias = -(pos[None, :] - pos[:, None]).abs()[None] * self.slopes
        self.register_buffer("bias", bias, persistent=False)
        return self.bias

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        b, n, _, h = *x.shape, self.heads
        q, (k, v) = self.to_q(x), self.to_kv(x).chunk(2, dim=-1)
        q, k, v = (t.reshape(b, n, h, -1).permute(0, 2, 1, 3) for t in (q, k, v))
        q, bias = q * q.shape[-1] ** -0.5, self.get_bias(n)
        out = torch.zeros_like(q)
        row_max = torch.full((b, h, n, 1), -torch.finfo(q.dtype).max, dtype=q.dtype)
        row_sum = torch.zeros_like(row_max)
        for kc, vc, bc in zip(
            k.split(self.block, dim=-2), v.split(self.block, dim=-2), bias.split(self.block, -1)
        ):
            sim = torch.einsum("... i d, ... j d -> ... i j", q, kc) + bc
            new_max = torch.maximum(sim.amax(dim=-1, keepdim=True), row_max)
            p = torch.exp(sim - new_max)
            shrink = torch.exp(row_max - new_max)
            row_sum = shrink * row_sum + p.sum(dim=-1, keepdim=True)
            out = out.mul(shrink).add(torch.einsum("... i j, ... j d -> ... i d", p, vc))
            row_max = new_max
        out = (out / row_sum.clamp(min=1e-10)).permute(0, 2, 1, 3).reshape(b, n, -1)
        return self.head(x + self.to_out(out))


class TinyExperts(nn.Module):
    """Very many experts of one unit each: their weights are rows of embeddings that a product of keys chooses."""

    def __init__(self, dim: int = 12, heads: int = 2, num_keys: int = 4, k: int = 3) -> None:
        super().__init__()
        self.heads, self.num_keys, self.k = heads, num_keys, k
        self.token_emb, self.norm = nn.Embedding(V, dim), nn.RMSNorm(dim)
        self.weight_down_embed, self.weight_up_embed = (
            nn.Embedding(num_keys**2, dim) for _ in range(2)
        )
        self.to_queries = nn.Linear(dim, heads * 2 * 6, bias=False)
        self.keys = nn.Parameter(torch.randn(heads, num_keys, 2, 6) * 0.3)
        self.to_logits = nn.Sequential(nn.Linear(dim, 20), nn.ReLU(), nn.Linear(20, 5))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.token_emb(x)
        x = self.norm(tokens)
        b, n, _ = x.shape
        queries = self.to_queries(x).reshape(b, n, 2, self.heads, -1).permute(2, 0, 1, 3, 4)
        sim = torch.einsum("p b n h d, h k p d -> p b n h k", queries, self.keys)
        (scores_x, scores_y), (ix, iy) = (t for t in sim.topk(self.k, dim=-1))
        all_scores = (scores_x[..., :, None] + scores_y[..., None, :]).flatten(-2)
        all_indices = (ix[..., :, None] * self.num_keys + iy[..., None, :]).flatten(-2)
        scores, pk = all_scores.topk(self.k, dim=-1)
        indices = all_indices.gather(-1, pk)
        weights_down, weights_up = self.weight_down_embed(indices), self.weight_up_embed(indices)
        x = torch.einsum("b n d, b n h k d -> b n h k", x, weights_down)
        x = F.gelu(x) * scores.softmax(dim=-1)
        x = torch.einsum("b n h k, b n h k d -> b n d", x, weights_up)
        return self.to_logits((tokens + x).mean(dim=1))


class EssayScorer(nn.Module):
    """An encoder whose hidden states of all layers are weighed, pooled under the mask, and read under five dropouts."""

    def __init__(self, dim: int = 12, layers: int = 3) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(V, dim, padding_idx=0)
        self.encoder = nn.ModuleList(
            [nn.TransformerEncoderLayer(dim, 3, 30, batch_first=True) for _ in range(layers)]
        )
        self.layer_start = 1
        self.layer_weights = nn.Parameter(torch.tensor([1] * (layers + 1 - 1), dtype=torch.float))
        self.attention = nn.Sequential(
            nn.Linear(dim, 9), nn.LayerNorm(9), nn.GELU(), nn.Linear(9, 1)
        )
        self.dropouts = nn.ModuleList([nn.Dropout(0.1 * i) for i in range(1, 6)])
        self.fc_dropout, self.fc = nn.Dropout(0.2), nn.Linear(2 * dim, 6)
        for module in list(self.encoder[-1].modules()):
            if isinstance(module, nn.Linear):
                module.weight.data.normal_(mean=0.0, std=0.2)

    def feature(self, inputs: dict[str, Tensor]) -> Tensor:
        x, mask = self.embeddings(inputs["input_ids"]), inputs["attention_mask"]
        all_hidden = [x]
        for layer in self.encoder:
            x = layer(x, src_key_padding_mask=mask == 0)
            all_hidden.append(x)
        stacked = torch.stack(all_hidden)[self.layer_start :, :, :, :]
        factor = self.layer_weights.unsqueeze(-1).unsqueeze(-1).unsqueeze(-1).expand(stacked.size())
        weighted = (factor * stacked).sum(dim=0) / self.layer_weights.sum()
        expanded = mask.unsqueeze(-1).expand(weighted.size()).to(weighted.dtype)
        mean = torch.sum(weighted * expanded, 1) / torch.clamp(expanded.sum(1), min=1e-9)
        w = self.attention(weighted).to(weighted.dtype)
        w[mask == 0] = float("-inf")
        w = torch.softmax(w, 1)
        return torch.cat([mean, torch.sum(w * weighted, dim=1)], 1)

    def forward(self, **inputs: Tensor) -> Tensor:
        feature = self.feature(inputs)
        outs = [self.fc(dropout(self.fc_dropout(feature))) for dropout in self.dropouts]
        return torch.mean(torch.stack(outs, dim=0), dim=0)


class LoraLayer(nn.Module):
    """A layer that is held, with adapters by name beside it; one that has magnitudes of rows of its own."""

    def __init__(self, base_layer: nn.Linear, r: int, alpha: int, use_dora: bool = False) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A, self.lora_B = nn.ModuleDict({}), nn.ModuleDict({})
        self.lora_dropout, self.scaling = nn.ModuleDict({}), {}
        self.lora_magnitude_vector = nn.ParameterDict({})
        self._active_adapter, self._disable_adapters, self.merged_adapters = ["default"], False, []
        self.use_dora = {"default": use_dora}
        self.update_layer("default", r, alpha)

    def update_layer(self, adapter_name: str, r: int, alpha: int) -> None:
        self.lora_A[adapter_name] = nn.Linear(self.base_layer.in_features, r, bias=False)
        self.lora_B[adapter_name] = nn.Linear(r, self.base_layer.out_features, bias=False)
        nn.init.normal_(self.lora_B[adapter_name].weight, std=0.1)
        self.lora_dropout[adapter_name], self.scaling[adapter_name] = nn.Dropout(0.1), alpha / r
        if self.use_dora[adapter_name]:
            self.lora_magnitude_vector[adapter_name] = nn.Parameter(
                torch.linalg.norm(self.base_layer.weight.detach(), dim=1)
            )

    @property
    def merged(self) -> bool:
        return bool(self.merged_adapters)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self._disable_adapters or self.merged:
            return self.base_layer(x, *args, **kwargs)
        result = self.base_layer(x, *args, **kwargs)
        for active in self._active_adapter:
            if active not in self.lora_A:
                continue
            lora_A, lora_B, scaling = self.lora_A[active], self.lora_B[active], self.scaling[active]
            x = x.to(lora_A.weight.dtype)
            lora_result = lora_B(lora_A(self.lora_dropout[active](x)))
            if not self.use_dora[active]:
                result = result + lora_result * scaling
            else:
                weight = self.base_layer.weight
                lora_weight = lora_B.weight @ lora_A.weight
                norm = torch.linalg.norm(weight + scaling * lora_weight, dim=1).detach()
                mag = (self.lora_magnitude_vector[active] / norm).view(1, -1)
                result = result + (mag - 1) * F.linear(x, weight) + mag * lora_result * scaling
        return result


def get_peft_model(model: nn.Module, target_modules: str, **config: Any) -> nn.Module:
    """Returns a network whose layers of these names have adapters, all else of which is held."""
    for p in model.parameters():
        p.requires_grad_(False)
    for key in [key for key, _ in model.named_modules()]:
        if re.fullmatch(target_modules, key):
            parent = model.get_submodule(".".join(key.split(".")[:-1]))
            setattr(parent, key.split(".")[-1], LoraLayer(model.get_submodule(key), **config))
    for n, p in model.named_parameters():
        if "lora_" in n or "classifier" in n:
            p.requires_grad = True
    return model


class PlainClassifier(nn.Module):
    """Means of words through two layers and a head, for adapters."""

    def __init__(self, dim: int = 12) -> None:
        super().__init__()
        self.embed, self.fc1, self.fc2 = (
            nn.Embedding(V, dim),
            nn.Linear(dim, 24),
            nn.Linear(24, dim),
        )
        self.classifier = nn.Linear(dim, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embed(input_ids).mean(1)
        return self.classifier(x + self.fc2(F.gelu(self.fc1(x))))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "even_experts": lambda: (EvenExperts(), INPUTS.tokens),
    "mixture_of_depths": lambda: (MixtureOfDepths(), INPUTS.tokens),
    "blockwise_attention": lambda: (BlockwiseAttention(), INPUTS.tokens),
    "tiny_experts": lambda: (TinyExperts(), INPUTS.tokens),
    "essay_scorer": lambda: (EssayScorer(), MASKED_TEXT),
    "peft_lora": lambda: (get_peft_model(PlainClassifier(), r"fc\d", r=3, alpha=6), INPUTS.tokens),
    "peft_dora": lambda: (
        get_peft_model(PlainClassifier(), r"fc1", r=3, alpha=6, use_dora=True),
        INPUTS.tokens,
    ),
}

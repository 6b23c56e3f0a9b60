"""Networks of the zoo over words, thirteenth sample: base classes of models, streams in parallel, biased routing, depths."""

# ruff: noqa: B905 - names and lines as people write them
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.thirteenth.inputs import INPUTS, MASKED_TEXT

V = 30


class TinyConfig:
    """Settings of a model, as attributes made of keywords."""

    model_type: ClassVar[str] = "tiny"
    attribute_map: ClassVar[dict[str, str]] = {"d_model": "hidden_size"}

    def __init__(self, hidden_size: int = 16, num_layers: int = 2, **kwargs: Any) -> None:
        self.vocab_size, self.hidden_size, self.num_hidden_layers = V, hidden_size, num_layers
        self.num_attention_heads, self.num_key_value_heads, self.intermediate_size = 4, 2, 36
        self.hidden_act, self._attn_implementation, self.rope_theta = "silu", "eager", 10000.0
        for key, value in kwargs.items():
            setattr(self, key, value)

    def __getattr__(self, key: str) -> Any:
        if key != "attribute_map" and key in type(self).attribute_map:
            return getattr(self, type(self).attribute_map[key])
        raise AttributeError(key)


class ModelOutput(OrderedDict):
    """Outputs by name, by number and as attributes."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(self[k] for k in self)


class TinyPreTrainedModel(nn.Module):
    """What all models of this kind share: how weights begin, which are tied, and hooks for heads."""

    config_class = TinyConfig
    base_model_prefix = "model"
    _tied_weights_keys: ClassVar[list[str]] = ["lm_head.weight"]

    def __init__(self, config: TinyConfig, *inputs: Any, **kwargs: Any) -> None:
        super().__init__()
        self.config = config
        self.warnings_issued: dict[str, bool] = {}

    def post_init(self) -> None:
        self.apply(self._init_weights)
        if self.get_output_embeddings() is not None:
            self.get_output_embeddings().weight = self.get_input_embeddings().weight

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(mean=0.0, std=0.2)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=0.4)

    def get_input_embeddings(self) -> nn.Module:
        base = getattr(self, self.base_model_prefix, self)
        return base.embed_tokens

    def get_output_embeddings(self) -> Any:
        return None

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.parameters())).dtype


def rotate_half(x: Tensor) -> Tensor:
    """Returns the halves in other order, one of them negative."""
    x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


def repeat_kv(hidden_states: Tensor, n_rep: int) -> Tensor:
    """Returns heads of keys or values, each for several heads of queries."""
    batch, num_key_value_heads, slen, head_dim = hidden_states.shape
    if n_rep == 1:
        return hidden_states
    hidden_states = hidden_states[:, :, None, :, :].expand(
        batch, num_key_value_heads, n_rep, slen, head_dim
    )
    return hidden_states.reshape(batch, num_key_value_heads * n_rep, slen, head_dim)


def eager_attention_forward(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Returns what attention gives, and its weights."""
    k, v = repeat_kv(k, module.num_key_value_groups), repeat_kv(v, module.num_key_value_groups)
    weights = torch.matmul(q, k.transpose(2, 3)) * scaling + mask
    weights = F.softmax(weights, dim=-1, dtype=torch.float32).to(q.dtype)
    weights = F.dropout(weights, p=kwargs.get("dropout", 0.0), training=module.training)
    return torch.matmul(weights, v).transpose(1, 2).contiguous(), weights


ALL_ATTENTION_FUNCTIONS = {"eager": eager_attention_forward}
ACT2FN = {"silu": nn.SiLU(), "gelu": nn.GELU()}


class DynamicCache:
    """Keys and values of each layer, as lists that grow."""

    def __init__(self) -> None:
        self.key_cache: list[Tensor] = []
        self.value_cache: list[Tensor] = []

    def update(self, k: Tensor, v: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        if len(self.key_cache) <= layer_idx:
            self.key_cache.append(k)
            self.value_cache.append(v)
        else:
            self.key_cache[layer_idx] = torch.cat([self.key_cache[layer_idx], k], dim=-2)
            self.value_cache[layer_idx] = torch.cat([self.value_cache[layer_idx], v], dim=-2)
        return self.key_cache[layer_idx], self.value_cache[layer_idx]


class TinyRotary(nn.Module):
    """Cosines and sines of positions, in single precision whatever the rest has."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        dim = config.hidden_size // config.num_attention_heads
        inv_freq = 1.0 / (config.rope_theta ** (torch.arange(0, dim, 2).float() / dim))
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self.original_inv_freq = self.inv_freq

    @torch.no_grad()
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        inv_freq = self.inv_freq[None, :, None].float().expand(position_ids.shape[0], -1, 1)
        device_type = x.device.type if isinstance(x.device.type, str) else "cpu"
        with torch.autocast(device_type=device_type, enabled=False):
            freqs = (inv_freq.float() @ position_ids[:, None, :].float()).transpose(1, 2)
            emb = torch.cat((freqs, freqs), dim=-1)
            cos, sin = emb.cos(), emb.sin()
        return cos.to(dtype=x.dtype), sin.to(dtype=x.dtype)


class TinyLayer(nn.Module):
    """Attention with few heads of keys and values, normed queries, and a gated feed-forward part."""

    def __init__(self, config: TinyConfig, layer_idx: int) -> None:
        super().__init__()
        self.config, self.layer_idx, d = config, layer_idx, config.d_model
        self.head_dim = getattr(config, "head_dim", d // config.num_attention_heads)
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.q_proj = nn.Linear(d, config.num_attention_heads * self.head_dim, bias=True)
        self.k_proj, self.v_proj = (
            nn.Linear(d, config.num_key_value_heads * self.head_dim) for _ in range(2)
        )
        self.o_proj = nn.Linear(config.num_attention_heads * self.head_dim, d, bias=False)
        self.input_layernorm, self.post_attention_layernorm = (nn.RMSNorm(d) for _ in range(2))
        self.gate_proj, self.up_proj = (
            nn.Linear(d, config.intermediate_size, bias=False) for _ in range(2)
        )
        self.down_proj = nn.Linear(config.intermediate_size, d, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        residual, hidden_states = hidden_states, self.input_layernorm(hidden_states)
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)
        q = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        k = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        v = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        cos, sin = (t.unsqueeze(1) for t in position_embeddings)
        q, k = (q * cos) + (rotate_half(q) * sin), (k * cos) + (rotate_half(k) * sin)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        attention_interface = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        attn_output, attn_weights = attention_interface(
            self, q, k, v, attention_mask, scaling=self.scaling, dropout=0.0, **kwargs
        )
        attn_output = attn_output.reshape(*input_shape, -1).contiguous()
        hidden_states = residual + self.o_proj(attn_output)
        residual, hidden_states = hidden_states, self.post_attention_layernorm(hidden_states)
        down = self.down_proj(
            self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states)
        )
        return residual + down, attn_weights


class TinyModel(TinyPreTrainedModel):
    """The layers, with a mask made of that of the words and a cache."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            [TinyLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)]
        )
        self.norm, self.rotary_emb = nn.RMSNorm(config.hidden_size), TinyRotary(config=config)
        self.gradient_checkpointing = False

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = True,
        **kwargs: Any,
    ) -> ModelOutput:
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        cache = DynamicCache() if use_cache else None
        seen, length = 0, inputs_embeds.shape[1]
        cache_position = torch.arange(seen, seen + length, device=inputs_embeds.device)
        min_dtype = torch.finfo(inputs_embeds.dtype).min
        causal = torch.full((length, length), fill_value=min_dtype, dtype=inputs_embeds.dtype)
        causal = torch.triu(causal, diagonal=1)
        causal *= torch.arange(length) > cache_position.reshape(-1, 1)
        causal = causal[None, None, :, :].expand(inputs_embeds.shape[0], 1, -1, -1).clone()
        padding = causal[:, :, :, :length] + attention_mask[:, None, None, :].to(causal.dtype)
        causal[:, :, :, :length] = causal[:, :, :, :length].masked_fill(padding == 0, min_dtype)
        position_embeddings = self.rotary_emb(inputs_embeds, cache_position.unsqueeze(0))
        all_hidden_states: tuple[Tensor, ...] = ()
        hidden_states = inputs_embeds
        for decoder_layer in self.layers[: self.config.num_hidden_layers]:
            all_hidden_states += (hidden_states,)
            hidden_states, _ = decoder_layer(hidden_states, position_embeddings, causal, cache)
        hidden_states = self.norm(hidden_states)
        return ModelOutput(last_hidden_state=hidden_states, hidden_states=all_hidden_states)


class TinyForCausalLM(TinyPreTrainedModel):
    """Scores of words by tied weights, of the last so many places."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.model = TinyModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int | Tensor = 0, **kw: Any
    ) -> ModelOutput:
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, **kw)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep, :])
        return ModelOutput(logits=logits, hidden_states=outputs.hidden_states)


class HyperConnections(nn.Module):
    """Several residual streams beside each other; each layer reads a learnt mix of them and writes to all."""

    class Connect(nn.Module):
        def __init__(self, dim: int, rate: int, layer_id: int) -> None:
            super().__init__()
            self.rate = rate
            self.static_beta = nn.Parameter(torch.ones((rate,)))
            init_alpha0 = torch.zeros((rate, 1))
            init_alpha0[layer_id % rate, 0] = 1.0
            self.static_alpha = nn.Parameter(torch.cat([init_alpha0, torch.eye(rate)], dim=1))
            self.dynamic_alpha_fn = nn.Parameter(torch.randn((dim, rate + 1)) * 0.1)
            self.dynamic_alpha_scale = nn.Parameter(torch.ones(1) * 0.01)
            self.dynamic_beta_fn = nn.Parameter(torch.randn((dim,)) * 0.1)
            self.dynamic_beta_scale = nn.Parameter(torch.ones(1) * 0.01)
            self.layer_norm = nn.LayerNorm(dim)

        def width_connection(self, h: Tensor) -> tuple[Tensor, Tensor]:
            norm_h = self.layer_norm(h)
            alpha = torch.tanh(norm_h @ self.dynamic_alpha_fn) * self.dynamic_alpha_scale
            alpha = alpha + self.static_alpha[None, None, ...]
            beta = torch.tanh(norm_h @ self.dynamic_beta_fn) * self.dynamic_beta_scale
            return alpha.transpose(-1, -2) @ h, beta + self.static_beta[None, None, ...]

        def depth_connection(self, mix_h: Tensor, h_o: Tensor, beta: Tensor) -> Tensor:
            h = torch.einsum("blh,bln->blnh", h_o, beta)
            return h + mix_h[..., 1:, :]

    def __init__(self, dim: int = 12, rate: int = 3, depth: int = 2) -> None:
        super().__init__()
        self.embed, self.rate = nn.Embedding(V, dim), rate
        self.connects = nn.ModuleList([self.Connect(dim, rate, i) for i in range(depth)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 30), nn.GELU(), nn.Linear(30, dim)) for _ in range(depth)]
        )
        self.out = nn.Linear(dim, V)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embed(ids).unsqueeze(2).repeat(1, 1, self.rate, 1)
        for connect, mlp in zip(self.connects, self.mlps):
            mix_h, beta = connect.width_connection(h)
            h_o = mlp(F.layer_norm(mix_h[..., 0, :], (mix_h.size(-1),)))
            h = connect.depth_connection(mix_h, h_o, beta)
        return self.out(h.sum(dim=-2) / math.sqrt(self.rate))


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "pretrained_causal_lm": lambda: (TinyForCausalLM(TinyConfig()), MASKED_TEXT),
    "hyper_connections": lambda: (HyperConnections(), INPUTS.tokens),
}

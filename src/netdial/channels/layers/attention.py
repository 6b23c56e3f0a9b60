"""Attention whose heads can be cut.

``torch.nn.MultiheadAttention`` ties the inner width I to the embedding width E. This one has the same leaves under the same
names and gives the same numbers, but reads I and the count of heads off its weights, so that whole heads may go: rows of the
three blocks (queries, keys, values) of ``in_proj_weight`` and ``in_proj_bias``, and columns of ``out_proj.weight``. Where keys
or values are of another width than E, the blocks are parameters of their own, ``q_proj_weight`` and so on.

Shapes: B batch, T queries, S keys, E embedding, H heads, D numbers in a head, I = H D inner width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError, TraceError

_APART = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, §3.2.2) with heads that can be removed.

    Attributes:
        in_proj_weight: ``[3 I, E]``, blocks of queries, keys, values; within a block head after head. None where these are
            ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight``, ``[I, …]`` each, which are None otherwise.
        in_proj_bias: ``[3 I]`` or None.
        out_proj: linear, weight ``[E, I]``, bias ``[E]`` or None.
        head_dim: D. It stays when heads go, and with it the scale 1/√D of the scores.
        dropout: chance in [0, 1] that an attention weight is dropped in training.
        batch_first: whether sequences are ``[B, T, E]``, not ``[T, B, E]``.

    Args:
        embed_dim: E.
        num_heads: H.
        head_dim: D; by default E / H.
        dropout: see above.
        bias: whether both projections have one.
        batch_first: see above.

    Raises:
        ConfigError: there is no default for D, since H does not divide E.
    """

    in_proj_weight: nn.Parameter | None
    q_proj_weight: nn.Parameter | None
    k_proj_weight: nn.Parameter | None
    v_proj_weight: nn.Parameter | None
    in_proj_bias: nn.Parameter | None
    out_proj: nn.Linear
    head_dim: int
    dropout: float
    batch_first: bool

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        head_dim: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        if head_dim is None and embed_dim % num_heads:
            raise ConfigError(
                f"Attention(embed_dim={embed_dim}, num_heads={num_heads}): {num_heads} heads do not divide "
                f"{embed_dim}; give head_dim="
            )
        self.head_dim = embed_dim // num_heads if head_dim is None else head_dim
        self.dropout, self.batch_first = dropout, batch_first
        inner = num_heads * self.head_dim
        self.in_proj_weight = nn.Parameter(torch.empty(3 * inner, embed_dim))
        for name in _APART:
            self.register_parameter(name, None)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * inner)) if bias else None
        self.out_proj = nn.Linear(inner, embed_dim, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    @classmethod
    def of(cls, attention: nn.MultiheadAttention) -> Attention:
        """Returns the same attention as one of this class: the same parameter objects, hooks and mode.

        Raises:
            TraceError: it has options that this class lacks (extra keys, parametrised weights).
        """
        if attention.bias_k is not None or attention.add_zero_attn:
            raise TraceError(
                "attention with add_bias_kv or add_zero_attn cannot shrink; build it without them"
            )
        if not {"in_proj_weight", *_APART} <= attention._parameters.keys():
            raise TraceError(
                "attention with parametrised weights cannot shrink; call torch.nn.utils.parametrize."
                "remove_parametrizations first"
            )
        new = cls.__new__(cls)
        absent = {"bias_k", "bias_v"}
        new.__dict__ = {
            k: v for k, v in vars(attention).items() if k not in {"embed_dim", "num_heads"}
        }
        new._parameters = {k: v for k, v in attention._parameters.items() if k not in absent}
        new._modules, new._buffers = dict(attention._modules), dict(attention._buffers)
        return new

    @property
    def projections(self) -> tuple[nn.Parameter, ...]:
        """The weights that make queries, keys and values: one parameter of three blocks, or three."""
        if self.in_proj_weight is not None:
            return (self.in_proj_weight,)
        return tuple(self.get_parameter(name) for name in _APART)

    @property
    def embed_dim(self) -> int:
        """E, as the weights have it now."""
        return self.projections[0].shape[1]

    @property
    def num_heads(self) -> int:
        """H, as the weights have it now.

        Raises:
            ShapeError: something else than whole heads was cut.
        """
        rows = sum(weight.shape[0] for weight in self.projections)
        if rows % (3 * self.head_dim):
            raise ShapeError(
                f"queries, keys and values have {rows} rows of weights, expected a multiple of 3 × {self.head_dim} (three "
                "× head_dim); cut whole heads in all three blocks"
            )
        return rows // (3 * self.head_dim)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool | None = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Returns outputs and attention weights, as ``torch.nn.MultiheadAttention`` does.

        Args:
            query: ``[B, T, E]``, or ``[T, B, E]`` unless ``batch_first``.
            key: ``[B, S, E]`` or ``[S, B, E]``, or as wide as ``k_proj_weight`` reads.
            value: like ``key``, or as wide as ``v_proj_weight`` reads.
            key_padding_mask: ``[B, S]``; bool (True = not attended to) or added to the scores.
            need_weights: whether to give the weights too; costs memory.
            attn_mask: ``[T, S]`` or ``[B H, T, S]``; bool (True = not attended to) or added to the scores.
            average_attn_weights: whether the weights are the mean over heads.
            is_causal: promises that ``attn_mask`` hides just what comes later, which allows a faster way.

        Returns:
            Outputs shaped like ``query``; weights ``[B, T, S]``, ``[B, H, T, S]`` if not averaged, None if not needed.

        Raises:
            TraceError: sequences without a batch dimension.
            ConfigError: ``is_causal`` without a mask.
            ShapeError: a mask has a shape that does not fit.
        """
        if query.dim() != 3:
            raise TraceError(
                f"attention: query of shape {list(query.shape)} has no batch dimension; give [1, T, E] and squeeze after"
            )
        if is_causal and attn_mask is None:
            raise ConfigError("attention: is_causal is a promise about attn_mask; give the mask")
        heads = self.num_heads
        q, k, v = (self._split(x, heads) for x in self._project(query, key, value))
        hinted = bool(is_causal) and key_padding_mask is None and not need_weights
        mask = None if hinted else _merged(q, k, attn_mask, key_padding_mask)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q / math.sqrt(self.head_dim)) @ k.transpose(-2, -1)
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            weights = F.dropout(weights, dropout)
            output = weights @ v
            weights = weights.mean(dim=1) if average_attn_weights else weights
        else:
            output = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=hinted)
        order = (0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3)
        return self.out_proj(output.permute(order).flatten(2)), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Returns queries, keys and values, each ``[..., I]``; from one product if all three inputs are one."""
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if weight is not None and query is key and key is value:
            return F.linear(query, weight, bias).chunk(3, dim=-1)
        weights = self.projections if weight is None else weight.chunk(3)
        biases = (None, None, None) if bias is None else bias.chunk(3)
        inputs = (query, key, value)
        return tuple(F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))

    def _split(self, x: Tensor, heads: int) -> Tensor:
        """Returns heads apart, ``[B, H, T, D]``."""
        apart: Tensor = x.unflatten(-1, (heads, self.head_dim))
        return apart.permute((0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3))


def _merged(
    q: Tensor, k: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None
) -> Tensor | None:
    """Returns what is added to scores ``[B, H, T, S]``, in a shape that broadcasts, or None."""
    (b, h, t, _), s = q.shape, k.shape[2]
    mask = None
    if attn_mask is not None:
        if attn_mask.dim() == 3 and attn_mask.shape == (b * h, t, s):  # b is no number in exports
            mask = _added(attn_mask.view(b, h, t, s), q.dtype)
        elif attn_mask.shape == (t, s):
            mask = _added(attn_mask.view(1, 1, t, s), q.dtype)
        else:
            raise ShapeError(
                f"attention: attn_mask is {list(attn_mask.shape)}, expected [{t}, {s}], or [{b * h}, {t}, {s}] for "
                f"{b} examples × {h} heads (a mask for every head cannot outlive its heads)"
            )
    if key_padding_mask is not None:
        if key_padding_mask.shape != (b, s):
            raise ShapeError(
                f"attention: key_padding_mask is {list(key_padding_mask.shape)}, expected [{b}, {s}]"
            )
        padding = _added(key_padding_mask.view(b, 1, 1, s), q.dtype)
        mask = padding if mask is None else mask + padding
    return mask


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns the mask as something to add: -∞ where a bool mask is True."""
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
    return mask.to(dtype)

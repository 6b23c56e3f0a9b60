"""Small random configurations of models of the transformers library, as networks of one input and one output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

TOKENS = torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
SOUND = torch.randn(2, 200, generator=torch.Generator().manual_seed(2))
MELS = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(3))
SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
}
WORDS = {"max_position_embeddings": 16}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
DECODER: dict[str, Any] = {"num_key_value_heads": 2, "use_cache": False, "pad_token_id": 0}
BOTH: dict[str, Any] = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
                        "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}  # fmt: skip
"""Settings that many models share: of texts, of their special tokens, of decoders, of models with both halves."""
VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 32,
}
VISION |= {"patch_size": 8}
SWIN: dict[str, Any] = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1]}
SWIN |= {"num_heads": [2, 4], "window_size": 4}
T5: dict[str, Any] = {"vocab_size": 50, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1}
T5 |= {"num_heads": 4, "decoder_start_token_id": 0}
AUDIO: dict[str, Any] = {
    "conv_dim": (8, 8),
    "conv_stride": (4, 2),
    "conv_kernel": (8, 4),
    "num_feat_extract_layers": 2,
}
AUDIO |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}


class Only(nn.Module):
    """A model that takes one input and gives one tensor."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = getattr(self.model(x), self.name)
        return found


def made(x: Tensor, kind: str, **settings: Any) -> Callable[[], tuple[nn.Module, Tensor]]:
    """Returns what makes a model of a kind (``Bert``, ``T5Encoder``) from a small configuration, and its inputs.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    import transformers as t

    model, config = getattr(t, f"{kind}Model"), getattr(t, f"{kind.removesuffix('Encoder')}Config")
    return lambda: (Only(model(config(**settings)), "last_hidden_state"), x)


def text(kind: str, **settings: Any) -> Callable[[], tuple[nn.Module, Tensor]]:
    """Returns the same of a model that reads words, whose sizes have the usual names."""
    return made(TOKENS, kind, **{**SMALL, **settings})

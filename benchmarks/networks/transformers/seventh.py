"""Models of the transformers library from small random configurations, seventh sample: none of the others has them."""

# ruff: noqa: E501 - configurations
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks.transformers.configurations import (
    BOTH,
    DECODER,
    IDS,
    IMAGES,
    SMALL,
    SOUND,
    TOKENS,
    VISION,
    WORDS,
    Only,
    made,
    text,
)

FRAMES = torch.randn(2, 30, 12, generator=torch.Generator().manual_seed(7))


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Returns what makes each model, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    import transformers as t

    layers = {name: value for name, value in SMALL.items() if name != "vocab_size"}

    def encoder(
        kind: str, x: Tensor = TOKENS, **settings: Any
    ) -> Callable[[], tuple[nn.Module, Tensor]]:
        config, model = getattr(t, f"{kind}Config"), getattr(t, f"{kind}Model")
        return lambda: (
            Only(
                model(config(**{"vocab_size": 50, **BOTH, **IDS, **settings})).get_encoder(),
                "last_hidden_state",
            ),
            x,
        )

    return {
        "BigBird": text("BigBird", **WORDS, attention_type="original_full"),
        "MRA": text("Mra", max_position_embeddings=64, block_per_row=1),
        "CANINE": text("Canine", max_position_embeddings=64, num_hash_buckets=20, num_hash_functions=2, downsampling_rate=2),
        "PLBart encoder": encoder("PLBart", max_position_embeddings=16),
        "M2M100 encoder": encoder("M2M100", max_position_embeddings=16),
        "LongT5 encoder": made(TOKENS, "LongT5Encoder", vocab_size=50, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, local_radius=3),
        "Switch encoder": made(TOKENS, "SwitchTransformersEncoder", vocab_size=50, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4,
                               num_experts=3, num_sparse_encoder_layers=1, expert_capacity=8),
        "Speech2Text encoder": encoder("Speech2Text", FRAMES, input_feat_per_channel=12, conv_channels=12, max_source_positions=40),
        "NanoChat": text("NanoChat", **DECODER),
        "ERNIE 4.5": text("Ernie4_5", **DECODER, head_dim=4),
        "HunYuan": text("HunYuanDenseV1", **DECODER, head_dim=4),
        "Jamba": text("Jamba", **DECODER, num_experts=2, num_experts_per_tok=1, attn_layer_period=2, attn_layer_offset=1,
                      expert_layer_period=2, expert_layer_offset=1, mamba_d_state=4, mamba_dt_rank=4, use_mamba_kernels=False),
        "Granite experts": text("GraniteMoe", **DECODER, num_local_experts=3, num_experts_per_tok=2),
        "Image GPT": made(TOKENS, "ImageGPT", vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=4, use_cache=False),
        "Donut Swin": made(IMAGES, "DonutSwin", image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4),
        "DINOv3 ConvNeXt": made(IMAGES, "DINOv3ConvNext", hidden_sizes=[8, 12], depths=[1, 1]),
        "OWL vision": made(IMAGES, "OwlViTVision", **VISION),
        "Wav2Vec2 BERT": made(FRAMES, "Wav2Vec2Bert", **layers, feature_projection_input_dim=12, conv_depthwise_kernel_size=5),
        "SEW-D": made(SOUND, "SEWD", **layers, conv_dim=(8, 8), conv_stride=(4, 2), conv_kernel=(8, 4), num_feat_extract_layers=2,
                      num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, squeeze_factor=2, max_position_embeddings=16, position_buckets=8,
                      hidden_act="gelu", feat_extract_norm="group"),
        "TextNet": made(IMAGES, "TextNet", stem_out_channels=8, hidden_sizes=[8, 8, 12, 12, 12], conv_layer_kernel_sizes=[[[3, 3]], [[3, 3], [1, 3]], [[3, 1]], [[3, 3]]],
                        conv_layer_strides=[[1], [2, 1], [2], [1]]),
    }  # fmt: skip

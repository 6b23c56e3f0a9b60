"""Models of the transformers library from small random configurations, fifth sample: none of the others has them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.networks.transformers.configurations import (
    BOTH,
    DECODER,
    IDS,
    IMAGES,
    MELS,
    TOKENS,
    VISION,
    WORDS,
    Only,
    made,
    text,
)
from benchmarks.networks.transformers.third import CLIPS


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Returns what makes each model, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    import transformers as t

    stages = {"stem_channels": [3, 6, 8], "stage_in_channels": [8, 12], "stage_mid_channels": [6, 8],
              "stage_out_channels": [12, 16], "stage_num_blocks": [1, 1], "stage_downsample": [False, True],
              "stage_light_block": [False, True], "stage_kernel_size": [3, 5], "stage_numb_of_layers": [2, 2],
              "depths": [1, 1], "hidden_sizes": [12, 16]}  # fmt: skip
    return {
        "XLM-RoBERTa-XL": text("XLMRobertaXL", **WORDS),
        "RoBERTa PreLN": text("RobertaPreLayerNorm", **WORDS),
        "Megatron-BERT": text("MegatronBert", **WORDS),
        "Splinter": text("Splinter", **WORDS),
        "MPT": made(
            TOKENS,
            "Mpt",
            vocab_size=50,
            d_model=16,
            n_heads=4,
            n_layers=2,
            max_seq_len=16,
            expansion_ratio=2,
            use_cache=False,
        ),
        "Persimmon": text("Persimmon", use_cache=False, **WORDS),
        "BioGPT": text("BioGpt", use_cache=False, **WORDS, **IDS),
        "EXAONE 4": text("Exaone4", **DECODER, sliding_window=4),
        "Apertus": text("Apertus", **DECODER),
        "DiffLlama": text("DiffLlama", **DECODER),
        "Cohere 2": text("Cohere2", **DECODER),
        "LFM2": text("Lfm2", **DECODER, layer_types=["conv", "full_attention"]),
        "RecurrentGemma": text("RecurrentGemma", **DECODER, lru_width=16, attention_window_size=8),
        "Falcon Mamba": made(
            TOKENS,
            "FalconMamba",
            vocab_size=50,
            hidden_size=8,
            num_hidden_layers=1,
            state_size=4,
            use_cache=False,
        ),
        "Marian encoder": lambda: (
            Only(
                t.MarianModel(
                    t.MarianConfig(vocab_size=50, max_position_embeddings=16, **BOTH, **IDS)
                ).get_encoder(),
                "last_hidden_state",
            ),
            TOKENS,
        ),
        "MobileViT V2": made(
            IMAGES,
            "MobileViTV2",
            image_size=32,
            width_multiplier=0.125,
            output_stride=8,
            n_attn_blocks=[1, 1, 1],
        ),
        "DINOv3": made(IMAGES, "DINOv3ViT", **VISION, num_register_tokens=2),
        "I-JEPA": made(IMAGES, "IJepa", **VISION),
        "AIMv2": made(IMAGES, "Aimv2Vision", **VISION),
        "HGNet V2": lambda: (
            Only(t.HGNetV2ForImageClassification(t.HGNetV2Config(**stages)), "logits"),
            IMAGES,
        ),
        "TimeSformer": made(CLIPS, "Timesformer", **{**VISION, "image_size": 16}, num_frames=4),
        "Swin2SR": made(
            IMAGES,
            "Swin2SR",
            image_size=32,
            patch_size=1,
            embed_dim=12,
            depths=[1],
            num_heads=[2],
            window_size=4,
        ),
        "Perceiver": made(
            MELS.transpose(1, 2),
            "Perceiver",
            d_model=8,
            num_latents=5,
            d_latents=12,
            num_blocks=1,
            num_self_attends_per_block=1,
            num_self_attention_heads=2,
            num_cross_attention_heads=1,
        ),
    }

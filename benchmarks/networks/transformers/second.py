"""More models of the transformers library from small random configurations, for the zoo."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.networks.transformers.configurations import (
    AUDIO,
    DECODER,
    IMAGES,
    SMALL,
    SOUND,
    SWIN,
    TOKENS,
    VISION,
    made,
    text,
)

SERIES = torch.randn(2, 32, 3, generator=torch.Generator().manual_seed(5))


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Returns what makes each model, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    xlnet = {"vocab_size": 50, "d_model": 16, "n_layer": 1, "n_head": 4, "d_inner": 24}
    funnel = {
        "vocab_size": 50,
        "d_model": 16,
        "n_head": 4,
        "d_head": 4,
        "d_inner": 24,
        "block_sizes": [1, 1],
    }
    gpt_neo = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 4,
        "intermediate_size": 24,
    }
    gpt_neo |= {"attention_types": [[["global", "local"], 1]], "window_size": 4, "use_cache": False}
    bottle = {"intra_bottleneck_size": 16, "embedding_size": 16, "max_position_embeddings": 16}
    patch = {
        "num_input_channels": 3,
        "context_length": 32,
        "patch_length": 8,
        "patch_stride": 8,
        "d_model": 16,
    }
    patch |= {
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "ffn_dim": 24,
        "prediction_length": 4,
    }
    pvt = {
        "depths": [1, 1],
        "hidden_sizes": [8, 16],
        "num_attention_heads": [1, 2],
        "num_encoder_blocks": 2,
        "image_size": 32,
    }
    pvt |= {
        "sequence_reduction_ratios": [2, 1],
        "patch_sizes": [4, 2],
        "strides": [4, 2],
        "mlp_ratios": [2, 2],
    }
    sound = {name: value for name, value in SMALL.items() if name != "vocab_size"}
    bart = {
        "vocab_size": 50,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
    }
    bart |= {
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 16,
    }
    bart |= {"use_cache": False}
    stages = {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "patch_size": 2}
    pool = {
        "hidden_sizes": [8, 12],
        "depths": [1, 1],
        "num_encoder_blocks": 2,
        "patch_sizes": [3, 3],
        "strides": [2, 2],
    }
    pool |= {"padding": [1, 1], "mlp_ratio": 2.0}
    scan = {
        "vocab_size": 50,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "state_size": 4,
        "use_cache": False,
    }
    rwkv = {
        "vocab_size": 50,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "attention_hidden_size": 8,
        "use_cache": False,
    }
    return {
        "MobileBERT": text("MobileBert", **bottle),
        "Funnel": made(TOKENS, "Funnel", **funnel),
        "XLNet": made(TOKENS, "XLNet", **xlnet),
        "GPT-Neo": made(TOKENS, "GPTNeo", **gpt_neo),
        "BLOOM": made(
            TOKENS, "Bloom", vocab_size=50, hidden_size=16, n_layer=2, n_head=4, use_cache=False
        ),
        "Falcon": text("Falcon", use_cache=False, new_decoder_architecture=False, multi_query=True),
        "MPNet": text("MPNet", max_position_embeddings=16),
        "FNet": text("FNet", max_position_embeddings=16),
        "ConvBERT": text(
            "ConvBert",
            embedding_size=16,
            head_ratio=2,
            conv_kernel_size=3,
            max_position_embeddings=16,
        ),
        "SqueezeBERT": text("SqueezeBert", embedding_size=16, max_position_embeddings=16),
        "StableLM": text("StableLm", **DECODER),
        "Qwen3": text("Qwen3", **DECODER, head_dim=4),
        "OLMo": text("Olmo", **DECODER),
        "BART": made(TOKENS, "Bart", **bart),
        "Mamba": made(TOKENS, "Mamba", **scan),
        "RWKV": made(TOKENS, "Rwkv", **rwkv),
        "ConvNeXt V2": made(IMAGES, "ConvNextV2", **stages),
        "Swin V2": made(IMAGES, "Swinv2", **SWIN),
        "FocalNet": made(
            IMAGES,
            "FocalNet",
            image_size=32,
            patch_size=4,
            embed_dim=8,
            depths=[1, 1],
            focal_levels=[2, 2],
            focal_windows=[3, 3],
        ),
        "PVT": made(IMAGES, "Pvt", **pvt),
        "PoolFormer": made(IMAGES, "PoolFormer", **pool),
        "YOLOS": made(
            IMAGES, "Yolos", **{**VISION, "image_size": [32, 32], "num_detection_tokens": 3}
        ),
        "SigLIP vision": made(IMAGES, "SiglipVision", **VISION),
        "Hubert": made(SOUND, "Hubert", **AUDIO, **sound),
        "PatchTST": made(SERIES, "PatchTST", **patch),
    }

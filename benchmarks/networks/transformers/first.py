"""Models of the transformers library from small random configurations, the first sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from benchmarks.networks.transformers.configurations import (
    AUDIO,
    IMAGES,
    MELS,
    SMALL,
    SOUND,
    TOKENS,
    VISION,
    Only,
    made,
    text,
)


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Returns what makes each model, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    import transformers as t

    few = {"vocab_size": 50, "use_cache": False}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4}
    stages = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1] * 4}
    pyramid = {
        "depths": [1, 1],
        "hidden_sizes": [8, 16],
        "num_attention_heads": [1, 2],
        "num_encoder_blocks": 2,
    }
    pyramid |= {"sr_ratios": [2, 1], "patch_sizes": [3, 3], "strides": [2, 2], "mlp_ratios": [2, 2]}
    windows = {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 4],
    }
    dino = {name: value for name, value in VISION.items() if name != "intermediate_size"}
    mobile = {"depth_multiplier": 0.25, "min_depth": 4}
    layers = {name: value for name, value in SMALL.items() if name != "vocab_size"}
    whisper: dict[str, Any] = {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 24,
        "num_mel_bins": 8,
    }
    whisper |= {
        "decoder_layers": 1,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 24,
        "vocab_size": 50,
    }
    whisper |= {"max_source_positions": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    clip: dict[str, Any] = {"projection_dim": 8, **VISION}
    return {
        "BERT": text("Bert", max_position_embeddings=16),
        "RoBERTa": text("Roberta", max_position_embeddings=16),
        "ELECTRA": text("Electra", embedding_size=16, max_position_embeddings=16),
        "ALBERT": text("Albert", embedding_size=8, max_position_embeddings=16),
        "DistilBERT": made(
            TOKENS, "DistilBert", vocab_size=50, dim=16, n_layers=2, n_heads=4, hidden_dim=24
        ),
        "GPT-2": made(TOKENS, "GPT2", **few, n_embd=16, n_layer=2, n_head=4, n_positions=16),
        "GPT-NeoX": text("GPTNeoX", use_cache=False),
        "OPT": made(
            TOKENS, "OPT", **few, **heads, hidden_size=16, word_embed_proj_dim=16, ffn_dim=24
        ),
        "Llama": text("Llama", num_key_value_heads=2, use_cache=False),
        "Qwen2": text("Qwen2", num_key_value_heads=2, use_cache=False),
        "Mistral": text("Mistral", num_key_value_heads=2, use_cache=False),
        "T5 encoder": made(
            TOKENS, "T5Encoder", **few, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4
        ),
        "ViT": made(IMAGES, "ViT", **VISION),
        "DeiT": made(IMAGES, "DeiT", **VISION),
        "DINOv2": made(IMAGES, "Dinov2", **dino),
        "Swin": made(IMAGES, "Swin", **windows, window_size=4),
        "SegFormer": made(IMAGES, "Segformer", **pyramid),
        "ConvNeXt": made(
            IMAGES, "ConvNext", hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, patch_size=2
        ),
        "ResNet": made(IMAGES, "ResNet", layer_type="basic", **stages),
        "RegNet": made(IMAGES, "RegNet", groups_width=4, **stages),
        "BEiT": made(IMAGES, "Beit", **VISION),
        "Phi": text("Phi", use_cache=False),
        "Gemma": text("Gemma", num_key_value_heads=2, head_dim=4, use_cache=False),
        "DeBERTa": text("DebertaV2", max_position_embeddings=16),
        "wav2vec2": made(SOUND, "Wav2Vec2", **layers, **AUDIO),
        "Whisper encoder": lambda: (
            Only(t.WhisperModel(t.WhisperConfig(**whisper)).encoder, "last_hidden_state"),
            MELS,
        ),
        "CLIP vision": lambda: (
            Only(t.CLIPVisionModel(t.CLIPVisionConfig(**clip)), "last_hidden_state"),
            IMAGES,
        ),
        "MobileNetV1": made(IMAGES, "MobileNetV1", **mobile),
        "MobileNetV2": made(IMAGES, "MobileNetV2", **mobile),
    }

"""Models of the transformers library from small random configurations, third sample: none of them is like those mended for."""

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
    TOKENS,
    VISION,
    made,
    text,
)

CLIPS = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(6))
SPECTRA = torch.randn(2, 32, 16, generator=torch.Generator().manual_seed(7))


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Returns what makes each model, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    layers = {name: value for name, value in SMALL.items() if name != "vocab_size"}
    few = {"vocab_size": 50, "use_cache": False}
    audio = {
        name: value for name, value in AUDIO.items() if name != "num_conv_pos_embedding_groups"
    }
    spectra = {"max_length": 32, "num_mel_bins": 16, "patch_size": 8, "frequency_stride": 8}
    return {
        "GPT-BigCode": made(TOKENS, "GPTBigCode", **few, n_embd=16, n_layer=2, n_head=4, n_positions=16),
        "GPT-J": made(TOKENS, "GPTJ", **few, n_embd=16, n_layer=2, n_head=4, n_positions=16, rotary_dim=4),
        "CodeGen": made(TOKENS, "CodeGen", **few, n_embd=16, n_layer=2, n_head=4, n_positions=16, rotary_dim=4),
        "Cohere": text("Cohere", **DECODER),
        "Granite": text("Granite", **DECODER),
        "StarCoder2": text("Starcoder2", **DECODER),
        "Gemma 2": text("Gemma2", **DECODER, head_dim=4),
        "SmolLM3": text("SmolLM3", **DECODER, eos_token_id=1, bos_token_id=2),
        "ModernBERT": text("ModernBert", max_position_embeddings=16, pad_token_id=0, eos_token_id=1,
                           bos_token_id=2, cls_token_id=3, sep_token_id=4, local_attention=4),
        "RoFormer": text("RoFormer", embedding_size=16, max_position_embeddings=16),
        "Nystromformer": text("Nystromformer", max_position_embeddings=16, num_landmarks=4, segment_means_seq_len=4),
        "CamemBERT": text("Camembert", max_position_embeddings=16),
        "LayoutLM": text("LayoutLM", max_position_embeddings=16),
        "ViT-MSN": made(IMAGES, "ViTMSN", **VISION),
        "PVT v2": made(IMAGES, "PvtV2", image_size=32, num_encoder_blocks=2, depths=[1, 1], hidden_sizes=[8, 16],
                       num_attention_heads=[1, 2], sr_ratios=[2, 1], patch_sizes=[3, 3], strides=[2, 2], mlp_ratios=[2, 2]),
        "DINOv2 with registers": made(IMAGES, "Dinov2WithRegisters", num_register_tokens=2,
                                      **{n: v for n, v in VISION.items() if n != "intermediate_size"}),
        "MobileViT": made(IMAGES, "MobileViT", image_size=32, hidden_sizes=[12, 16, 20], num_attention_heads=2,
                          neck_hidden_sizes=[4, 4, 8, 8, 12, 12, 16]),
        "AST": made(SPECTRA, "AST", **layers, **spectra, time_stride=8),
        "WavLM": made(SOUND, "WavLM", **AUDIO, **layers),
        "Data2Vec audio": made(SOUND, "Data2VecAudio", **audio, **layers),
        "VideoMAE": made(CLIPS, "VideoMAE", **{**VISION, "image_size": 16, "patch_size": 8}, num_frames=4, tubelet_size=2),
    }  # fmt: skip

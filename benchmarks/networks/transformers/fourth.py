"""Models of the transformers library from small random configurations, fourth sample: other kinds than before."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from benchmarks.networks.transformers.configurations import (
    AUDIO,
    DECODER,
    IMAGES,
    SMALL,
    SOUND,
    TOKENS,
    VISION,
    WORDS,
    made,
    text,
)
from benchmarks.networks.transformers.second import SERIES


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Returns what makes each model, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    layers = {name: value for name, value in SMALL.items() if name != "vocab_size"}
    experts = {"num_local_experts": 3, "num_experts_per_tok": 2}
    mixer = {
        "context_length": 32,
        "patch_length": 8,
        "patch_stride": 8,
        "num_input_channels": 3,
        "d_model": 8,
    }
    audio = {name: value for name, value in AUDIO.items() if name != "num_feat_extract_layers"}
    return {
        "XLM-RoBERTa": text("XLMRoberta", **WORDS),
        "ERNIE": text("Ernie", **WORDS),
        "ESM": text("Esm", **WORDS, position_embedding_type="rotary", mask_token_id=2, pad_token_id=1),
        "Longformer": text("Longformer", max_position_embeddings=32, attention_window=4),
        "RemBERT": text("RemBert", **WORDS, input_embedding_size=8, output_embedding_size=8),
        "OLMo 2": text("Olmo2", **DECODER),
        "Mixtral": text("Mixtral", **DECODER, **experts),
        "Gemma 3": text("Gemma3Text", **DECODER, head_dim=4),
        "Phi-3": text("Phi3", **DECODER),
        "Nemotron": text("Nemotron", **DECODER, head_dim=4),
        "GLM": text("Glm", **DECODER, head_dim=4),
        "Helium": text("Helium", **DECODER, head_dim=4),
        "CLIP text": text("CLIPText", **WORDS, projection_dim=8),
        "Mamba 2": made(TOKENS, "Mamba2", vocab_size=50, hidden_size=8, num_hidden_layers=1, state_size=4, num_heads=4,
                        head_dim=4, n_groups=1, chunk_size=4, use_cache=False),
        "LeViT": made(IMAGES, "Levit", image_size=32, hidden_sizes=[16, 24, 32], num_attention_heads=[2, 2, 2],
                      depths=[1, 1, 1], key_dim=[4, 4, 4], attention_ratio=[2, 2, 2], mlp_ratio=[2, 2, 2]),
        "EfficientNet": made(IMAGES, "EfficientNet", image_size=32, width_coefficient=0.25, depth_coefficient=0.1,
                             hidden_dim=320),
        "BiT": made(IMAGES, "Bit", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_groups=2),
        "SwiftFormer": made(IMAGES, "SwiftFormer", image_size=32, depths=[1, 1, 1, 1], embed_dims=[8, 8, 12, 12], mlp_ratio=2),
        "Hiera": made(IMAGES, "Hiera", image_size=[32, 32], embed_dim=8, patch_size=[7, 7], patch_stride=[4, 4],
                      patch_padding=[3, 3], depths=[1, 1], num_heads=[1, 2], query_stride=[2, 2], num_query_pool=1,
                      masked_unit_size=[4, 4], masked_unit_attention=[True, False], mlp_ratio=2.0),
        "Data2Vec vision": made(IMAGES, "Data2VecVision", **VISION),
        "SEW": made(SOUND, "SEW", **layers, **audio, squeeze_factor=2),
        "UniSpeech": made(SOUND, "UniSpeech", **layers, **AUDIO),
        "PatchTSMixer": made(SERIES, "PatchTSMixer", **mixer, num_layers=2),
    }  # fmt: skip

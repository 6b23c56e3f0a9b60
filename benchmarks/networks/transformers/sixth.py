"""Models of the transformers library from small random configurations, sixth sample: none of the others has them."""

# ruff: noqa: E501 - configurations
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from benchmarks.networks.transformers.configurations import (
    AUDIO,
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
from benchmarks.networks.transformers.third import CLIPS


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Returns what makes each model, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    import transformers as t

    layers = {name: value for name, value in SMALL.items() if name != "vocab_size"}
    experts = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    latent = {
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 4,
    }

    def encoder(kind: str, **settings: Any) -> Callable[[], tuple[nn.Module, Tensor]]:
        config, model = getattr(t, f"{kind}Config"), getattr(t, f"{kind}Model")
        made_of = {"vocab_size": 50, "max_position_embeddings": 16, **BOTH, **IDS, **settings}
        return lambda: (Only(model(config(**made_of)).get_encoder(), "last_hidden_state"), TOKENS)

    return {
        "I-BERT": text("IBert", **WORDS),
        "YOSO": text("Yoso", max_position_embeddings=16, use_expectation=True),
        "Nomic BERT": text("NomicBert", **WORDS),
        "BERT generation": lambda: (
            Only(t.BertGenerationEncoder(t.BertGenerationConfig(**SMALL, **WORDS)), "last_hidden_state"), TOKENS),
        "EuroBERT": text("EuroBert", **DECODER),
        "GPT": made(TOKENS, "OpenAIGPT", vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=4),
        "CTRL": made(TOKENS, "CTRL", vocab_size=50, n_positions=16, n_embd=16, dff=24, n_layer=2, n_head=4, use_cache=False),
        "XGLM": made(TOKENS, "XGLM", vocab_size=50, **WORDS, d_model=16, ffn_dim=24, num_layers=2, attention_heads=4,
                     use_cache=False, **IDS),
        "XLM": made(TOKENS, "XLM", vocab_size=50, emb_dim=16, n_layers=2, n_heads=4, max_position_embeddings=16),
        "GLM 4": text("Glm4", **DECODER, head_dim=4),
        "OLMo 3": text("Olmo3", **DECODER, sliding_window=4),
        "Arcee": text("Arcee", **DECODER),
        "Seed-OSS": text("SeedOss", **DECODER, head_dim=4),
        "Doge": text("Doge", **DECODER),
        "BitNet": text("BitNet", **DECODER),
        "Qwen3 experts": text("Qwen3Moe", **DECODER, **experts, head_dim=4),
        "OLMoE": text("Olmoe", **DECODER, num_experts=3, num_experts_per_tok=2),
        "DeepSeek V3": text("DeepseekV3", use_cache=False, pad_token_id=0, **latent, n_routed_experts=4, n_group=2, topk_group=1,
                            num_experts_per_tok=2, first_k_dense_replace=1, moe_intermediate_size=8, num_key_value_heads=4),
        "GPT-OSS": text("GptOss", **DECODER, head_dim=4, num_local_experts=3, num_experts_per_tok=2, sliding_window=4),
        "Qwen3 Next": text("Qwen3Next", **DECODER, **experts, head_dim=4, linear_key_head_dim=4, linear_value_head_dim=4,
                           linear_num_key_heads=2, linear_num_value_heads=2, shared_expert_intermediate_size=8,
                           layer_types=["linear_attention", "full_attention"]),
        "UMT5 encoder": made(TOKENS, "UMT5Encoder", vocab_size=50, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4),
        "Pegasus encoder": encoder("Pegasus"),
        "mBART encoder": encoder("MBart"),
        "Blenderbot encoder": encoder("Blenderbot"),
        "CvT": made(IMAGES, "Cvt", embed_dim=[8, 12], num_heads=[1, 2], depth=[1, 2], patch_sizes=[7, 3], patch_stride=[4, 2],
                    patch_padding=[2, 1], mlp_ratio=[2.0, 2.0], attention_drop_rate=[0.0] * 2, drop_rate=[0.0] * 2,
                    drop_path_rate=[0.0, 0.1], qkv_bias=[True] * 2, cls_token=[False, True], qkv_projection_method=["dw_bn"] * 2,
                    kernel_qkv=[3] * 2, padding_kv=[1] * 2, stride_kv=[2] * 2, padding_q=[1] * 2, stride_q=[1] * 2),
        "GLPN": made(IMAGES, "GLPN", depths=[1, 1], hidden_sizes=[8, 16], num_attention_heads=[1, 2], num_encoder_blocks=2,
                     sr_ratios=[2, 1], patch_sizes=[3, 3], strides=[2, 2], mlp_ratios=[2, 2]),
        "ViViT": made(CLIPS, "Vivit", **{**VISION, "image_size": 16}, num_frames=4, tubelet_size=[2, 8, 8]),
        "ViTDet": made(IMAGES, "VitDet", **{name: value for name, value in VISION.items() if name != "intermediate_size"},
                       mlp_ratio=2, window_size=2, window_block_indices=[0], use_relative_position_embeddings=True),
        "BLIP vision": made(IMAGES, "BlipVision", **VISION),
        "MLCD vision": made(IMAGES, "MLCDVision", **VISION),
        "wav2vec2 conformer": made(SOUND, "Wav2Vec2Conformer", **layers, **AUDIO),
        "UniSpeech-SAT": made(SOUND, "UniSpeechSat", **layers, **AUDIO),
    }  # fmt: skip

"""Models of the transformers library from small random configurations, ninth sample: the types that people use most, texts."""

# ruff: noqa: E501 - configurations
# mypy: disable-error-code="arg-type,call-arg"
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.networks.transformers.configurations import (
    BOTH,
    DECODER,
    IDS,
    SMALL,
    T5,
    TOKENS,
    WORDS,
)
from benchmarks.networks.transformers.eighth import BOXES, LABELS, SEEN, TAGS, WORDS_TOO, of

_G = torch.Generator().manual_seed(9)
MASKED = {"input_ids": TOKENS, "attention_mask": SEEN}
BOTH_SIDES = {"input_ids": TOKENS, "decoder_input_ids": WORDS_TOO}
ROWS = torch.randint(0, 2, (2, 7, 7), generator=_G)
PLACES = torch.rand(2, 7, 4, generator=_G)

Makers = dict[str, Callable[[], tuple[nn.Module, Any]]]


def models() -> Makers:
    """Returns what makes each model that reads or writes texts, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    return {**_encoders(), **_decoders(), **_experts(), **_both()}


def _encoders() -> Makers:
    import transformers as t

    bert = {**SMALL, **WORDS}
    graded, tagged = {**MASKED, "labels": LABELS}, {**MASKED, "labels": TAGS}
    wide = {**bert, "hidden_size": 24}
    modern = {
        **bert,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
        "cls_token_id": 3,
        "sep_token_id": 4,
        "local_attention": 4,
    }
    return {
        "XLM-RoBERTa, sentences": of("XLMRobertaForSequenceClassification", lambda: t.XLMRobertaConfig(**bert, num_labels=3), graded),
        "ModernBERT, sentences": of("ModernBertForSequenceClassification", lambda: t.ModernBertConfig(**modern, num_labels=3), graded),
        "CamemBERT, tokens": of("CamembertForTokenClassification", lambda: t.CamembertConfig(**bert, num_labels=3), tagged),
        "MPNet, masked": of("MPNetModel", lambda: t.MPNetConfig(**bert), MASKED),
        "DeBERTa v1": of("DebertaModel", lambda: t.DebertaConfig(**bert, relative_attention=True, pos_att_type=["p2c", "c2p"], max_relative_positions=8), MASKED),
        "BigBird, short texts": of("BigBirdModel", lambda: t.BigBirdConfig(**bert), MASKED),
        "LayoutLM, tokens": of("LayoutLMForTokenClassification", lambda: t.LayoutLMConfig(**bert, max_2d_position_embeddings=32, num_labels=3), {**tagged, "bbox": BOXES}),
        "LiLT": of("LiltModel", lambda: t.LiltConfig(**wide, max_2d_position_embeddings=32, channel_shrink_ratio=2), {**MASKED, "bbox": BOXES}),
        "TAPAS": of("TapasModel", lambda: t.TapasConfig(**bert, type_vocab_sizes=[3, 9, 9, 2, 9, 9, 9]), {**MASKED, "token_type_ids": ROWS}),
        "BROS": of("BrosModel", lambda: t.BrosConfig(**{**bert, "hidden_size": 64, "num_attention_heads": 2}), {**MASKED, "bbox": PLACES}),
        "MarkupLM": of("MarkupLMModel", lambda: t.MarkupLMConfig(**bert, max_depth=4, max_xpath_tag_unit_embeddings=10, max_xpath_subs_unit_embeddings=10, tag_pad_id=9, subs_pad_id=9, xpath_unit_hidden_size=4), MASKED),
        "Data2Vec text": of("Data2VecTextModel", lambda: t.Data2VecTextConfig(**bert), MASKED),
        "FlauBERT": of("FlaubertModel", lambda: t.FlaubertConfig(vocab_size=50, emb_dim=16, n_layers=2, n_heads=4, max_position_embeddings=16), MASKED),
        "X-MOD": of("XmodModel", lambda: t.XmodConfig(**bert, languages=["en"], default_language="en"), MASKED),
        "RoCBert": of("RoCBertModel", lambda: t.RoCBertConfig(**bert, pronunciation_vocab_size=50, shape_vocab_size=50, pronunciation_embed_dim=8, shape_embed_dim=8), MASKED),
        "Reformer": of("ReformerModel", lambda: t.ReformerConfig(vocab_size=50, hidden_size=16, num_attention_heads=4, attention_head_size=4, attn_layers=["local", "lsh"], feed_forward_size=24, axial_pos_shape=[2, 4],
                       axial_pos_embds_dim=[8, 8], max_position_embeddings=8, local_attn_chunk_length=4, lsh_attn_chunk_length=4, num_hashes=1, num_buckets=2, hash_seed=0, is_decoder=False), {"input_ids": torch.cat([TOKENS, TOKENS[:, :1]], 1)}),
    }  # fmt: skip


def _decoders() -> Makers:
    import transformers as t

    llama = {**SMALL, **DECODER, "max_position_embeddings": 32}
    head = {**llama, "head_dim": 4}
    ids = {"eos_token_id": 1, "bos_token_id": 2}
    latent = {
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 4,
    }
    told = {**MASKED, "labels": TOKENS}
    return {
        "Mistral, next words": of("MistralForCausalLM", lambda: t.MistralConfig(**llama, sliding_window=4), told),
        "Qwen3, next words": of("Qwen3ForCausalLM", lambda: t.Qwen3Config(**head), told),
        "Gemma 2, next words": of("Gemma2ForCausalLM", lambda: t.Gemma2Config(**head, sliding_window=4), told),
        "Phi-3, next words": of("Phi3ForCausalLM", lambda: t.Phi3Config(**llama), told),
        "GPT-NeoX, next words": of("GPTNeoXForCausalLM", lambda: t.GPTNeoXConfig(**{**SMALL, **WORDS, "use_cache": False}), told),
        "OPT, next words": of("OPTForCausalLM", lambda: t.OPTConfig(vocab_size=50, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=16, word_embed_proj_dim=8, use_cache=False), told),
        "Falcon, new": of("FalconModel", lambda: t.FalconConfig(**SMALL, new_decoder_architecture=True, num_kv_heads=2, use_cache=False), MASKED),
        "Falcon, ALiBi": of("FalconModel", lambda: t.FalconConfig(**SMALL, new_decoder_architecture=False, multi_query=True, alibi=True, use_cache=False), MASKED),
        "ModernBERT decoder": of("ModernBertDecoderModel", lambda: t.ModernBertDecoderConfig(**{**SMALL, "max_position_embeddings": 16, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "cls_token_id": 3, "sep_token_id": 4, "local_attention": 4}, use_cache=False), MASKED),
        "GPT-NeoX Japanese": of("GPTNeoXJapaneseModel", lambda: t.GPTNeoXJapaneseConfig(**{**SMALL, **WORDS}, intermediate_multiple_size=2, use_cache=False), MASKED),
        "VaultGemma": of("VaultGemmaModel", lambda: t.VaultGemmaConfig(**head, sliding_window=4), MASKED),
        "Gemma 3n": of("Gemma3nTextModel", lambda: t.Gemma3nTextConfig(**{**head, "intermediate_size": [24, 24]}, vocab_size_per_layer_input=50, hidden_size_per_layer_input=4, altup_num_inputs=2, laurel_rank=4, num_kv_shared_layers=0,
                       activation_sparsity_pattern=[0.5, 0.0], layer_types=["sliding_attention", "full_attention"], sliding_window=4), MASKED),
        "Gemma 4": of("Gemma4TextModel", lambda: t.Gemma4TextConfig(**head, vocab_size_per_layer_input=50, hidden_size_per_layer_input=4, num_kv_shared_layers=0, layer_types=["sliding_attention", "full_attention"], sliding_window=4, global_head_dim=8), MASKED),
        "Ministral": of("MinistralModel", lambda: t.MinistralConfig(**head), MASKED),
        "Ministral 3": of("Ministral3Model", lambda: t.Ministral3Config(**head), MASKED),
        "MiniCPM 3": of("MiniCPM3Model", lambda: t.MiniCPM3Config(**{**llama, "num_key_value_heads": 4}, **latent), MASKED),
        "CWM": of("CwmModel", lambda: t.CwmConfig(**head, sliding_window=4, layer_types=["sliding_attention", "full_attention"], **ids), MASKED),
        "Jais 2": of("Jais2Model", lambda: t.Jais2Config(**head), MASKED),
        "Qwen3.5": of("Qwen3_5TextModel", lambda: t.Qwen3_5TextConfig(**head, linear_key_head_dim=4, linear_value_head_dim=4, linear_num_key_heads=2, linear_num_value_heads=2, layer_types=["linear_attention", "full_attention"]), MASKED),
        "OLMo hybrid": of("OlmoHybridModel", lambda: t.OlmoHybridConfig(**llama, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=4, linear_value_head_dim=4), MASKED),
        "xLSTM": of("xLSTMModel", lambda: t.xLSTMConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_heads=2, qk_dim_factor=0.5, v_dim_factor=1.0, chunk_size=4, use_cache=False, mlstm_block_return_last_states=False, return_last_states=False), {"input_ids": TOKENS}),
        "Falcon H1": of("FalconH1Model", lambda: t.FalconH1Config(**head, mamba_d_ssm=16, mamba_n_heads=4, mamba_d_head=4, mamba_d_state=4, mamba_n_groups=1, mamba_chunk_size=4), {"input_ids": TOKENS}),
        "Zamba 2": of("Zamba2Model", lambda: t.Zamba2Config(**{**llama, "num_key_value_heads": 4}, layers_block_type=["mamba", "hybrid"], mamba_d_state=4, mamba_expand=2, n_mamba_heads=4, mamba_ngroups=1, chunk_size=4, num_mem_blocks=1, use_mem_rope=False, adapter_rank=4), {"input_ids": TOKENS}),
        "Zamba": of("ZambaModel", lambda: t.ZambaConfig(**{**llama, "num_key_value_heads": 4, "num_hidden_layers": 4}, layers_block_type=["mamba", "hybrid", "mamba", "hybrid"], attn_layer_period=2, attn_layer_offset=1, mamba_d_state=4, mamba_dt_rank=4, n_mamba_heads=2), {"input_ids": TOKENS}),
        "Nemotron H": of("NemotronHModel", lambda: t.NemotronHConfig(**{k: v for k, v in head.items() if k != "num_hidden_layers"}, layers_block_type=["mamba", "attention", "mlp"], mamba_num_heads=4, mamba_head_dim=4, n_groups=1, ssm_state_size=4, chunk_size=4), {"input_ids": TOKENS}),
    }  # fmt: skip


def _experts() -> Makers:
    import transformers as t

    llama = {**SMALL, **DECODER, "max_position_embeddings": 32}
    head = {**llama, "head_dim": 4}
    latent = {
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 4,
    }
    routed = {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 8,
        "n_group": 2,
        "topk_group": 1,
    }
    return {
        "Mixtral, next words": of("MixtralForCausalLM", lambda: t.MixtralConfig(**llama, num_local_experts=3, num_experts_per_tok=2), {"input_ids": TOKENS, "labels": TOKENS}),
        "DeepSeek V2": of("DeepseekV2Model", lambda: t.DeepseekV2Config(**{**llama, "num_key_value_heads": 4}, **latent, **routed, n_shared_experts=1), MASKED),
        "Llama 4": of("Llama4TextModel", lambda: t.Llama4TextConfig(**head, intermediate_size_mlp=24, num_local_experts=3, num_experts_per_tok=1, attention_chunk_size=8), MASKED),
        "GLM 4 experts": of("Glm4MoeModel", lambda: t.Glm4MoeConfig(**head, **routed, n_shared_experts=1), MASKED),
        "dots1": of("Dots1Model", lambda: t.Dots1Config(**head, **routed, n_shared_experts=1), MASKED),
        "ERNIE 4.5 experts": of("Ernie4_5_MoeModel", lambda: t.Ernie4_5_MoeConfig(**llama, moe_num_experts=3, moe_k=2, moe_intermediate_size=8, moe_num_shared_experts=1, moe_layer_start_index=1), MASKED),
        "Granite, shared experts": of("GraniteMoeSharedModel", lambda: t.GraniteMoeSharedConfig(**llama, num_local_experts=3, num_experts_per_tok=2, shared_intermediate_size=8), MASKED),
        "Granite hybrid": of("GraniteMoeHybridModel", lambda: t.GraniteMoeHybridConfig(**llama, num_local_experts=3, num_experts_per_tok=2, shared_intermediate_size=8, layer_types=["mamba", "attention"], mamba_n_heads=4, mamba_d_head=8, mamba_d_state=4, mamba_n_groups=1, mamba_chunk_size=4), {"input_ids": TOKENS}),
        "JetMoE": of("JetMoeModel", lambda: t.JetMoeConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_key_value_heads=2, kv_channels=4, intermediate_size=24, num_local_experts=3, num_experts_per_tok=2, use_cache=False), MASKED),
        "LFM2 experts": of("Lfm2MoeModel", lambda: t.Lfm2MoeConfig(**llama, layer_types=["conv", "full_attention"], num_experts=3, num_experts_per_tok=2, moe_intermediate_size=8, num_dense_layers=1), MASKED),
        "MiniMax": of("MiniMaxModel", lambda: t.MiniMaxConfig(**head, num_local_experts=3, num_experts_per_tok=2, layer_types=["linear_attention", "full_attention"], block_size=4), MASKED),
        "FlexOlmo": of("FlexOlmoModel", lambda: t.FlexOlmoConfig(**llama, num_experts=3, num_experts_per_tok=2), MASKED),
        "HunYuan experts": of("HunYuanMoEV1Model", lambda: t.HunYuanMoEV1Config(**head, num_experts=3, moe_topk=2), MASKED),
        "DBRX": of("DbrxModel", lambda: t.DbrxConfig(d_model=16, n_heads=4, n_layers=2, max_seq_len=16, vocab_size=50, use_cache=False, attn_config={"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}, ffn_config={"ffn_hidden_size": 24, "moe_num_experts": 3, "moe_top_k": 2, "hidden_size": 16}), MASKED),
    }  # fmt: skip


def _both() -> Makers:
    import transformers as t

    both = {
        "vocab_size": 50,
        "max_position_embeddings": 16,
        **BOTH,
        **IDS,
        "decoder_start_token_id": 2,
    }
    taught = {"input_ids": TOKENS, "labels": WORDS_TOO}
    gemma = {**SMALL, **DECODER, "head_dim": 4, "sliding_window": 4}
    bert = {**SMALL, **WORDS}
    return {
        "Flan-T5": of("T5Model", lambda: t.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False), BOTH_SIDES),
        "UMT5": of("UMT5Model", lambda: t.UMT5Config(**T5), BOTH_SIDES),
        "LongT5": of("LongT5Model", lambda: t.LongT5Config(**T5, local_radius=3), BOTH_SIDES),
        "LongT5, global": of("LongT5Model", lambda: t.LongT5Config(**T5, local_radius=3, encoder_attention_type="transient-global", global_block_size=2), BOTH_SIDES),
        "Marian": of("MarianMTModel", lambda: t.MarianConfig(**both), taught),
        "mBART": of("MBartForConditionalGeneration", lambda: t.MBartConfig(**both), taught),
        "M2M100": of("M2M100ForConditionalGeneration", lambda: t.M2M100Config(**both), taught),
        "Pegasus": of("PegasusForConditionalGeneration", lambda: t.PegasusConfig(**both), taught),
        "PEGASUS-X": of("PegasusXModel", lambda: t.PegasusXConfig(**both, num_global_tokens=2, block_size=4), BOTH_SIDES),
        "BigBird-Pegasus": of("BigBirdPegasusModel", lambda: t.BigBirdPegasusConfig(**both), BOTH_SIDES),
        "Blenderbot small": of("BlenderbotSmallModel", lambda: t.BlenderbotSmallConfig(**both), BOTH_SIDES),
        "MVP": of("MvpModel", lambda: t.MvpConfig(**both), BOTH_SIDES),
        "PLBart": of("PLBartModel", lambda: t.PLBartConfig(**both), BOTH_SIDES),
        "ProphetNet": of("ProphetNetModel", lambda: t.ProphetNetConfig(vocab_size=50, hidden_size=16, encoder_ffn_dim=24, num_encoder_layers=1, num_encoder_attention_heads=4, decoder_ffn_dim=24, num_decoder_layers=1, num_decoder_attention_heads=4, max_position_embeddings=16, **IDS, use_cache=False), BOTH_SIDES),
        "FSMT": of("FSMTModel", lambda: t.FSMTConfig(langs=["en", "de"], src_vocab_size=50, tgt_vocab_size=50, **BOTH, max_position_embeddings=16, **IDS, use_cache=False), BOTH_SIDES),
        "NLLB experts": of("NllbMoeModel", lambda: t.NllbMoeConfig(**both, num_experts=3, expert_capacity=8, encoder_sparse_step=1, decoder_sparse_step=1), BOTH_SIDES),
        "Switch": of("SwitchTransformersModel", lambda: t.SwitchTransformersConfig(**{**T5, "num_layers": 2}, num_experts=3, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, expert_capacity=8), BOTH_SIDES),
        "T5Gemma": of("T5GemmaModel", lambda: t.T5GemmaConfig(encoder=t.T5GemmaModuleConfig(**gemma), decoder=t.T5GemmaModuleConfig(**gemma), vocab_size=50), BOTH_SIDES),
        "BERT to BERT": of("EncoderDecoderModel", lambda: t.EncoderDecoderConfig.from_encoder_decoder_configs(t.BertConfig(**bert), t.BertConfig(**bert, is_decoder=True, add_cross_attention=True)), BOTH_SIDES),
    }  # fmt: skip

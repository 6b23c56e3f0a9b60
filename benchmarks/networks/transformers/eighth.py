"""Models of the transformers library from small random configurations, eighth sample: with several inputs, labels, and heads of tasks."""

# ruff: noqa: E501 - configurations
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks.transformers.configurations import (
    AUDIO,
    BOTH,
    DECODER,
    IDS,
    IMAGES,
    MELS,
    SMALL,
    SOUND,
    T5,
    TOKENS,
    VISION,
    WORDS,
    made,
    text,
)

_G = torch.Generator().manual_seed(8)
WORDS_TOO = torch.randint(3, 50, (2, 5), generator=_G)
SEEN = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]])
CHOICES = torch.randint(3, 50, (2, 3, 7), generator=_G)
LABELS = torch.tensor([1, 0])
TAGS = torch.randint(0, 3, (2, 7), generator=_G)
BOXES = torch.randint(0, 9, (2, 7, 1), generator=_G) + torch.tensor([0, 0, 9, 9])
NOISE = torch.rand(2, 16, generator=_G)
FILM = torch.randn(2, 4, 3, 16, 16, generator=_G)
SPECTRUM = torch.randn(2, 32, 16, generator=_G)

Makers = dict[str, Callable[[], tuple[nn.Module, Any]]]


def of(kind: str, config: Callable[[], Any], x: Any) -> Callable[[], tuple[nn.Module, Any]]:
    """Returns what makes a model of a class by a configuration, and its inputs as they are given by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    import transformers as t

    return lambda: (getattr(t, kind)(config()), x)


def models() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """Returns what makes each model, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    return {**_models(), **_heads()}


def _models() -> Makers:
    """Returns models that no other sample has; many of them read two things."""
    import transformers as t

    both = {"vocab_size": 50, "max_position_embeddings": 16, **BOTH, **IDS}
    words = {
        **SMALL,
        "max_position_embeddings": 16,
        "eos_token_id": 2,
        "bos_token_id": 1,
        "pad_token_id": 0,
    }
    dino = {name: value for name, value in VISION.items() if name != "intermediate_size"}
    experts = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    resnet = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
    captions = {"input_ids": TOKENS, "pixel_values": IMAGES}
    return {
        "T5 with labels": of("T5ForConditionalGeneration", lambda: t.T5Config(**T5), {"input_ids": TOKENS, "labels": WORDS_TOO}),
        "mT5": of("MT5Model", lambda: t.MT5Config(**T5), {"input_ids": TOKENS, "decoder_input_ids": WORDS_TOO}),
        "BART with labels": of("BartForConditionalGeneration", lambda: t.BartConfig(**both, decoder_start_token_id=2), {"input_ids": TOKENS, "labels": WORDS_TOO}),
        "Whisper": of("WhisperForConditionalGeneration", lambda: t.WhisperConfig(**{**both, "vocab_size": 50}, num_mel_bins=8, max_source_positions=16, max_target_positions=16, decoder_start_token_id=1, use_cache=False),
                      {"input_features": MELS, "decoder_input_ids": WORDS_TOO}),
        "CLIP": of("CLIPModel", lambda: t.CLIPConfig(text_config=words, vision_config=VISION, projection_dim=8), captions),
        "SigLIP": of("SiglipModel", lambda: t.SiglipConfig(text_config=words, vision_config=VISION), captions),
        "LayoutLM v3": of("LayoutLMv3Model", lambda: t.LayoutLMv3Config(**words, coordinate_size=3, shape_size=2, max_2d_position_embeddings=32, visual_embed=False), {"input_ids": TOKENS, "bbox": BOXES}),
        "ViLT": of("ViltModel", lambda: t.ViltConfig(**SMALL, **WORDS, image_size=32, patch_size=8, max_image_length=-1), captions),
        "DETR": of("DetrForObjectDetection", lambda: t.DetrConfig(**BOTH, backbone_config=t.ResNetConfig(**resnet, out_features=["stage2"]), use_timm_backbone=False, use_pretrained_backbone=False, num_queries=5, num_labels=3),
                   {"pixel_values": IMAGES}),
        "SAM vision": made(IMAGES, "SamVision", hidden_size=16, output_channels=8, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8, window_size=2, global_attn_indexes=[1], mlp_dim=24),
        "ViT-MAE": of("ViTMAEModel", lambda: t.ViTMAEConfig(**VISION), {"pixel_values": IMAGES, "noise": NOISE}),
        "Depth Anything": of("DepthAnythingForDepthEstimation", lambda: t.DepthAnythingConfig(
            backbone_config=t.Dinov2Config(**dino, mlp_ratio=2, out_features=["stage1", "stage2"], reshape_hidden_states=False),
            reassemble_hidden_size=16, patch_size=8, neck_hidden_sizes=[8, 8], reassemble_factors=[2, 1], fusion_hidden_size=8, head_hidden_size=6), {"pixel_values": IMAGES}),
        "DPT": made(IMAGES, "DPT", **VISION, is_hybrid=False, backbone_out_indices=[0, 1], neck_hidden_sizes=[8, 8]),
        "LED": of("LEDModel", lambda: t.LEDConfig(vocab_size=50, **BOTH, **IDS, attention_window=4, max_encoder_position_embeddings=16, max_decoder_position_embeddings=16),
                  {"input_ids": TOKENS, "decoder_input_ids": WORDS_TOO}),
        "Qwen2 experts": text("Qwen2Moe", **DECODER, **experts, shared_expert_intermediate_size=8),
        "Phi experts": text("Phimoe", **DECODER, num_local_experts=3, num_experts_per_tok=2),
        "LUKE": of("LukeModel", lambda: t.LukeConfig(**words, entity_vocab_size=10, entity_emb_size=8), {"input_ids": TOKENS, "attention_mask": SEEN}),
        "DPR": of("DPRQuestionEncoder", lambda: t.DPRConfig(**SMALL, **WORDS, projection_dim=6), {"input_ids": TOKENS, "attention_mask": SEEN}),
        "Bamba": text("Bamba", **DECODER, attn_layer_indices=[1], mamba_n_heads=4, mamba_d_head=8, mamba_d_state=4, mamba_n_groups=1, mamba_chunk_size=4),
        "SpeechT5 encoder": of("SpeechT5ForSpeechToText", lambda: t.SpeechT5Config(**{k: v for k, v in BOTH.items() if k != "d_model"}, hidden_size=16, vocab_size=50, **AUDIO, max_speech_positions=40, max_text_positions=16),
                               {"input_values": SOUND, "decoder_input_ids": WORDS_TOO}),
        "EnCodec": of("EncodecModel", lambda: t.EncodecConfig(num_filters=4, hidden_size=8, codebook_size=16, codebook_dim=8, upsampling_ratios=[4, 2], num_lstm_layers=1, target_bandwidths=[150.0], sampling_rate=8000),
                      {"input_values": SOUND[:, None]}),
        "CLAP audio": made(SPECTRUM[:, None], "ClapAudio", spec_size=32, hidden_size=16, patch_embeds_hidden_size=8, depths=[1, 1], num_attention_heads=[2, 2], window_size=4, num_mel_bins=16, patch_size=4, patch_stride=[4, 4], enable_fusion=False),
    }  # fmt: skip


def _heads() -> Makers:
    """Returns models that other samples have, with the heads of tasks that people train, masks and labels."""
    import transformers as t

    bert = {**SMALL, **WORDS}
    masked = {"input_ids": TOKENS, "attention_mask": SEEN}
    tagged, graded = {**masked, "labels": TAGS}, {**masked, "labels": LABELS}
    image, shown = {"pixel_values": IMAGES}, {"pixel_values": IMAGES, "labels": LABELS}
    gpt = {
        "vocab_size": 50,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 16,
        "use_cache": False,
        "pad_token_id": 0,
    }
    llama = {**SMALL, **DECODER}
    both = {"vocab_size": 50, "max_position_embeddings": 16, **BOTH, **IDS}
    pyramid = {"depths": [1, 1], "hidden_sizes": [8, 16], "num_attention_heads": [1, 2], "num_encoder_blocks": 2, "sr_ratios": [2, 1],
               "patch_sizes": [3, 3], "strides": [2, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 12, "num_labels": 3}  # fmt: skip
    sound = {name: value for name, value in SMALL.items() if name != "vocab_size"} | AUDIO
    dino = {name: value for name, value in VISION.items() if name != "intermediate_size"}
    return {
        "BERT, sentences": of("BertForSequenceClassification", lambda: t.BertConfig(**bert, num_labels=3), graded),
        "BERT, tokens": of("BertForTokenClassification", lambda: t.BertConfig(**bert, num_labels=3), tagged),
        "BERT, questions": of("BertForQuestionAnswering", lambda: t.BertConfig(**bert), {**masked, "token_type_ids": (TOKENS > 20).long()}),
        "BERT, masked words": of("BertForMaskedLM", lambda: t.BertConfig(**bert), {**masked, "labels": TOKENS}),
        "BERT, choices": of("BertForMultipleChoice", lambda: t.BertConfig(**bert), {"input_ids": CHOICES, "labels": LABELS}),
        "DistilBERT, sentences": of("DistilBertForSequenceClassification", lambda: t.DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=4, hidden_dim=24), graded),
        "RoBERTa, tokens": of("RobertaForTokenClassification", lambda: t.RobertaConfig(**bert, num_labels=3), tagged),
        "ALBERT, masked words": of("AlbertForMaskedLM", lambda: t.AlbertConfig(**bert, embedding_size=8), masked),
        "ELECTRA, replaced words": of("ElectraForPreTraining", lambda: t.ElectraConfig(**bert, embedding_size=12), {**masked, "labels": TAGS.clamp(max=1)}),
        "DeBERTa, sentences": of("DebertaV2ForSequenceClassification", lambda: t.DebertaV2Config(**bert, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4), graded),
        "GPT-2, next words": of("GPT2LMHeadModel", lambda: t.GPT2Config(**gpt), {"input_ids": TOKENS, "labels": TOKENS}),
        "GPT-2, sentences": of("GPT2ForSequenceClassification", lambda: t.GPT2Config(**gpt, num_labels=3), {"input_ids": TOKENS}),
        "Llama, next words": of("LlamaForCausalLM", lambda: t.LlamaConfig(**llama), {**masked, "labels": TOKENS}),
        "Qwen2, sentences": of("Qwen2ForSequenceClassification", lambda: t.Qwen2Config(**llama, num_labels=3), masked),
        "BART, sentences": of("BartForSequenceClassification", lambda: t.BartConfig(**both, num_labels=3),
                              {"input_ids": torch.cat([WORDS_TOO, torch.full((2, 1), 2)], 1)}),
        "ViT, images": of("ViTForImageClassification", lambda: t.ViTConfig(**VISION, num_labels=3), shown),
        "Swin, images": of("SwinForImageClassification", lambda: t.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 4], window_size=4, num_labels=3), shown),
        "ConvNeXt, images": of("ConvNextForImageClassification", lambda: t.ConvNextConfig(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2, patch_size=2, num_labels=3), image),
        "ResNet, images": of("ResNetForImageClassification", lambda: t.ResNetConfig(layer_type="bottleneck", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], num_labels=3), shown),
        "DINOv2, images": of("Dinov2ForImageClassification", lambda: t.Dinov2Config(**dino, mlp_ratio=2, num_labels=3), image),
        "SegFormer, pixels": of("SegformerForSemanticSegmentation", lambda: t.SegformerConfig(**pyramid), image),
        "MobileNetV2, pixels": of("MobileNetV2ForSemanticSegmentation", lambda: t.MobileNetV2Config(depth_multiplier=0.25, min_depth=4, num_labels=3), image),
        "wav2vec2, letters": of("Wav2Vec2ForCTC", lambda: t.Wav2Vec2Config(**sound, vocab_size=12), {"input_values": SOUND}),
        "wav2vec2, sounds": of("Wav2Vec2ForSequenceClassification", lambda: t.Wav2Vec2Config(**sound, vocab_size=12, classifier_proj_size=8, num_labels=3), {"input_values": SOUND, "labels": LABELS}),
        "VideoMAE, videos": of("VideoMAEForVideoClassification", lambda: t.VideoMAEConfig(**{**VISION, "image_size": 16}, num_frames=4, tubelet_size=2, num_labels=3), {"pixel_values": FILM}),
    }  # fmt: skip

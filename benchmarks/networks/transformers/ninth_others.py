"""Models of the transformers library from small random configurations, ninth sample: images, sounds, series, and several things."""

# ruff: noqa: E501 - configurations
# mypy: disable-error-code="arg-type,call-arg"
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.networks.transformers.configurations import (
    AUDIO,
    BOTH,
    DECODER,
    IDS,
    IMAGES,
    MELS,
    SMALL,
    SOUND,
    SWIN,
    TOKENS,
    VISION,
    WORDS,
)
from benchmarks.networks.transformers.eighth import FILM, LABELS, SEEN, SPECTRUM, WORDS_TOO, of

_G = torch.Generator().manual_seed(10)
PAST = torch.rand(2, 10, generator=_G)
TIMES = torch.rand(2, 10, 2, generator=_G)
LATER = torch.rand(2, 4, generator=_G)
TIMES_LATER = torch.rand(2, 4, 2, generator=_G)
STATES = torch.randn(2, 5, 6, generator=_G)
LONGER, TIMES_LONGER = torch.rand(2, 16, generator=_G), torch.rand(2, 16, 2, generator=_G)
GAME = {"states": STATES, "actions": torch.randn(2, 5, 3, generator=_G), "rewards": torch.randn(2, 5, 1, generator=_G),
        "returns_to_go": torch.randn(2, 5, 1, generator=_G), "timesteps": torch.arange(5).expand(2, 5), "attention_mask": torch.ones(2, 5)}  # fmt: skip
SEEN_BOXES = torch.rand(2, 4, 6, generator=_G)
CAPTIONS = {"input_ids": TOKENS, "pixel_values": IMAGES}
FRAMES = torch.randn(2, 30, 12, generator=_G)
FACES = torch.randint(0, 9, (2, 5, 2), generator=_G)
PATCHED = torch.randn(2, 16, 192, generator=_G)

Makers = dict[str, Callable[[], tuple[nn.Module, Any]]]


def models() -> Makers:
    """Returns what makes each model that sees, hears, forecasts or acts, and its inputs, by name.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    return {**_vision(), **_several(), **_sound(), **_series()}


def _vision() -> Makers:
    import transformers as t

    resnet = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
    dino = {name: value for name, value in VISION.items() if name != "intermediate_size"}
    stages = {
        "depths": [1, 1, 1],
        "hidden_sizes": [8, 12, 16],
        "embedding_size": 8,
        "layer_type": "basic",
    }
    seen, shown = {"pixel_values": IMAGES}, {"pixel_values": IMAGES, "labels": LABELS}
    detr = {**BOTH, "num_queries": 5, "num_labels": 3}
    return {
        "BEiT, images": of("BeitForImageClassification", lambda: t.BeitConfig(**VISION, num_labels=3), shown),
        "DeiT, images": of("DeiTForImageClassification", lambda: t.DeiTConfig(**VISION, num_labels=3), shown),
        "EfficientNet, images": of("EfficientNetForImageClassification", lambda: t.EfficientNetConfig(image_size=32, width_coefficient=0.25, depth_coefficient=0.1, hidden_dim=320, num_labels=3), shown),
        "MobileViT, pixels": of("MobileViTForSemanticSegmentation", lambda: t.MobileViTConfig(image_size=32, hidden_sizes=[12, 16, 20], num_attention_heads=2, neck_hidden_sizes=[4, 4, 8, 8, 12, 12, 16], num_labels=3, aspp_out_channels=8, atrous_rates=[1, 2, 3]), seen),
        "SigLIP, images": of("SiglipForImageClassification", lambda: t.SiglipConfig(vision_config=VISION, text_config={**SMALL, **WORDS}, num_labels=3), shown),
        "ViT-MAE with loss": of("ViTMAEForPreTraining", lambda: t.ViTMAEConfig(**VISION, decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=12), {**seen, "noise": torch.linspace(0, 1, 16).expand(2, 16)}),
        "UPerNet": of("UperNetForSemanticSegmentation", lambda: t.UperNetConfig(backbone_config=t.ConvNextConfig(hidden_sizes=[8, 8, 12, 12], depths=[1, 1, 1, 1], num_stages=4, patch_size=2, out_features=["stage1", "stage2", "stage3", "stage4"]), hidden_size=8, pool_scales=[1, 2], auxiliary_channels=8, auxiliary_in_channels=12, num_labels=3), seen),
        "BEiT, pixels": of("BeitForSemanticSegmentation", lambda: t.BeitConfig(**{**VISION, "num_hidden_layers": 4}, out_indices=[0, 1, 2, 3], use_auxiliary_head=True, auxiliary_channels=8, num_labels=3, pool_scales=[1, 2]), seen),
        "DPT, depth": of("DPTForDepthEstimation", lambda: t.DPTConfig(**{**VISION, "num_hidden_layers": 4}, is_hybrid=False, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8), seen),
        "GLPN, depth": of("GLPNForDepthEstimation", lambda: t.GLPNConfig(depths=[1, 1], hidden_sizes=[8, 16], num_attention_heads=[1, 2], num_encoder_blocks=2, sr_ratios=[2, 1], patch_sizes=[3, 3], strides=[2, 2], mlp_ratios=[2, 2], decoder_hidden_size=8), seen),
        "Table transformer": of("TableTransformerForObjectDetection", lambda: t.TableTransformerConfig(**detr, backbone_config=t.ResNetConfig(**resnet, out_features=["stage2"]), use_timm_backbone=False, use_pretrained_backbone=False), seen),
        "Deformable DETR": of("DeformableDetrForObjectDetection", lambda: t.DeformableDetrConfig(**{**detr, "d_model": 32, "decoder_layers": 2}, backbone_config=t.ResNetConfig(**stages, out_features=["stage2", "stage3"]), num_feature_levels=2, encoder_n_points=2, decoder_n_points=2, use_timm_backbone=False, use_pretrained_backbone=False), seen),
        "RT-DETR": of("RTDetrForObjectDetection", lambda: t.RTDetrConfig(backbone_config=t.RTDetrResNetConfig(embedding_size=8, hidden_sizes=[8, 12, 16], depths=[1, 1, 1], layer_type="basic", out_features=["stage2", "stage3"]), encoder_hidden_dim=16, encoder_in_channels=[12, 16], feat_strides=[16, 32],
                      encode_proj_layers=[1], encoder_ffn_dim=16, d_model=16, num_queries=4, decoder_in_channels=[16, 16], decoder_ffn_dim=16, num_feature_levels=2, decoder_layers=1, decoder_attention_heads=4, decoder_n_points=2, num_denoising=0, num_labels=3, encoder_attention_heads=4), seen),
        "Mask2Former": of("Mask2FormerForUniversalSegmentation", lambda: t.Mask2FormerConfig(backbone_config=t.SwinConfig(**{**SWIN, "depths": [1] * 4, "num_heads": [2] * 4, "window_size": 2}, out_features=["stage1", "stage2", "stage3", "stage4"]), feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=12, encoder_layers=1, decoder_layers=1, num_attention_heads=2, dim_feedforward=12, num_queries=4, num_labels=3), seen),
        "VitPose": of("VitPoseForPoseEstimation", lambda: t.VitPoseConfig(backbone_config=t.VitPoseBackboneConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, image_size=[32, 32], patch_size=[8, 8], mlp_ratio=2, out_indices=[2], num_experts=1), num_labels=3), seen),
        "ViTMatte": of("VitMatteForImageMatting", lambda: t.VitMatteConfig(backbone_config=t.VitDetConfig(**{**dino, "num_channels": 4, "patch_size": 16}, mlp_ratio=2, out_features=["stage2"]), hidden_size=16, convstream_hidden_sizes=[4, 6, 8], fusion_hidden_sizes=[12, 8, 6, 4]), {"pixel_values": torch.cat([IMAGES, IMAGES[:, :1]], 1)}),
        "ZoeDepth": of("ZoeDepthForDepthEstimation", lambda: t.ZoeDepthConfig(backbone_config=t.BeitConfig(**{**VISION, "num_hidden_layers": 4}, out_indices=[0, 1, 2, 3], reshape_hidden_states=False, use_relative_position_bias=True), neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, bottleneck_features=8, num_relative_features=4, bin_embedding_dim=8, num_attractors=[4, 2, 2, 1], bin_configurations=[{"n_bins": 4, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}]), seen),
        "SuperPoint": of("SuperPointForKeypointDetection", lambda: t.SuperPointConfig(encoder_hidden_sizes=[4, 4, 8, 8], decoder_hidden_size=8, descriptor_decoder_dim=8), seen),
        "SAM": of("SamModel", lambda: t.SamConfig(vision_config={"hidden_size": 16, "output_channels": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "window_size": 2, "global_attn_indexes": [1], "mlp_dim": 24, "num_pos_feats": 4},
                  prompt_encoder_config={"hidden_size": 8, "image_size": 32, "patch_size": 8, "mask_input_channels": 4}, mask_decoder_config={"hidden_size": 8, "mlp_dim": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "iou_head_hidden_dim": 8}), {"pixel_values": IMAGES, "input_points": FACES[:, None, :1].double()}),
        "SegGPT": of("SegGptModel", lambda: t.SegGptConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=4, image_size=[32, 16], patch_size=8, mlp_dim=24, merge_index=0, intermediate_hidden_state_indices=[0, 1], pretrain_image_size=16, decoder_hidden_size=8), {"pixel_values": IMAGES[..., :16, :16], "prompt_pixel_values": IMAGES[..., 16:, :16], "prompt_masks": IMAGES[..., 16:, 16:]}),
        "MGP-STR": of("MgpstrForSceneTextRecognition", lambda: t.MgpstrConfig(image_size=[32, 32], patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2, max_token_length=5, num_character_labels=10, num_bpe_labels=12, num_wordpiece_labels=14), seen),
        "TrOCR": of("VisionEncoderDecoderModel", lambda: t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(t.ViTConfig(**VISION), t.TrOCRConfig(vocab_size=50, d_model=16, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=24, max_position_embeddings=16, **IDS, use_cache=False)), {"pixel_values": IMAGES, "decoder_input_ids": WORDS_TOO}),
        "V-JEPA 2": of("VJEPA2Model", lambda: t.VJEPA2Config(crop_size=16, patch_size=8, frames_per_clip=4, tubelet_size=2, hidden_size=24, num_attention_heads=2, num_hidden_layers=2, mlp_ratio=2, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1, pred_num_mask_tokens=2), {"pixel_values_videos": FILM}),
    }  # fmt: skip


def _several() -> Makers:
    import transformers as t

    words = {**SMALL, **WORDS, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    llama = {**SMALL, **DECODER, "max_position_embeddings": 64}
    pictured = {
        "input_ids": torch.cat([torch.full((2, 16), 49), TOKENS.clamp(max=48)], 1),
        "pixel_values": IMAGES,
    }
    clip = {"text_config": words, "vision_config": VISION, "projection_dim": 8}
    bert = {**SMALL, **WORDS}
    return {
        "CLIP, images": of("CLIPForImageClassification", lambda: t.CLIPConfig(text_config=words, vision_config=VISION, num_labels=3), {"pixel_values": IMAGES, "labels": LABELS}),
        "SigLIP 2 vision": of("Siglip2VisionModel", lambda: t.Siglip2VisionConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, patch_size=8, num_patches=16), {"pixel_values": PATCHED, "pixel_attention_mask": torch.ones(2, 16).long(), "spatial_shapes": torch.tensor([[4, 4], [4, 4]])}),
        "Chinese CLIP": of("ChineseCLIPModel", lambda: t.ChineseCLIPConfig(**clip), CAPTIONS),
        "AltCLIP": of("AltCLIPModel", lambda: t.AltCLIPConfig(text_config={**words, "project_dim": 16}, vision_config=VISION, projection_dim=8), CAPTIONS),
        "MetaCLIP 2": of("MetaClip2Model", lambda: t.MetaClip2Config(**clip), CAPTIONS),
        "CLIPSeg": of("CLIPSegForImageSegmentation", lambda: t.CLIPSegConfig(**clip, extract_layers=[0, 1], reduce_dim=8, decoder_num_attention_heads=2, decoder_intermediate_size=12, conditional_layer=0), CAPTIONS),
        "BLIP": of("BlipForConditionalGeneration", lambda: t.BlipConfig(text_config={**words, "encoder_hidden_size": 16}, vision_config=VISION, projection_dim=8), {**CAPTIONS, "labels": TOKENS}),
        "BLIP-2": of("Blip2ForConditionalGeneration", lambda: t.Blip2Config(vision_config=VISION, qformer_config={**bert, "encoder_hidden_size": 16}, text_config={"model_type": "opt", "vocab_size": 50, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "word_embed_proj_dim": 16}, num_query_tokens=16, image_token_index=49), pictured),
        "OWL-ViT": of("OwlViTModel", lambda: t.OwlViTConfig(**clip), CAPTIONS),
        "OWLv2, objects": of("Owlv2ForObjectDetection", lambda: t.Owlv2Config(text_config=words, vision_config=VISION, projection_dim=16), CAPTIONS),
        "GroupViT": of("GroupViTModel", lambda: t.GroupViTConfig(text_config=words, vision_config={"hidden_size": 16, "depths": [1, 1], "num_group_tokens": [8, 4], "num_output_groups": [8, 4], "num_attention_heads": 4, "intermediate_size": 24, "image_size": 32, "patch_size": 8}, projection_dim=8, projection_intermediate_dim=12), CAPTIONS),
        "X-CLIP": of("XCLIPModel", lambda: t.XCLIPConfig(text_config=words, vision_config={**VISION, "image_size": 16, "num_frames": 4, "mit_hidden_size": 16, "mit_intermediate_size": 24, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 4, "hidden_size": 16}, projection_dim=16, prompt_num_attention_heads=4), {"input_ids": TOKENS, "pixel_values": FILM}),
        "GIT": of("GitForCausalLM", lambda: t.GitConfig(**words, vision_config=VISION, use_cache=False), CAPTIONS),
        "VisualBERT": of("VisualBertModel", lambda: t.VisualBertConfig(**bert, visual_embedding_dim=6), {"input_ids": TOKENS, "visual_embeds": SEEN_BOXES}),
        "LXMERT": of("LxmertModel", lambda: t.LxmertConfig(**bert, visual_feat_dim=6, l_layers=1, x_layers=1, r_layers=1), {"input_ids": TOKENS, "visual_feats": SEEN_BOXES, "visual_pos": SEEN_BOXES[..., :4]}),
        "FLAVA": of("FlavaModel", lambda: t.FlavaConfig(text_config=bert, image_config=VISION, multimodal_config={k: v for k, v in SMALL.items() if k != "vocab_size"}, hidden_size=16, projection_dim=8), CAPTIONS),
        "BridgeTower": of("BridgeTowerModel", lambda: t.BridgeTowerConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, text_config={**words, "hidden_size": 64, "num_hidden_layers": 4}, vision_config={"hidden_size": 64, "num_hidden_layers": 4, "patch_size": 8, "image_size": 32, "num_attention_heads": 4}), {**CAPTIONS, "attention_mask": SEEN, "pixel_mask": torch.ones(2, 32, 32).long()}),
        "CLIP and BERT": of("VisionTextDualEncoderModel", lambda: t.VisionTextDualEncoderConfig.from_vision_text_configs(t.ViTConfig(**VISION), t.BertConfig(**bert), projection_dim=8), CAPTIONS),
        "LLaVA": of("LlavaForConditionalGeneration", lambda: t.LlavaConfig(text_config=t.LlamaConfig(**llama), vision_config=t.CLIPVisionConfig(**VISION), image_token_index=49, image_token_id=49), pictured),
        "PaliGemma": of("PaliGemmaForConditionalGeneration", lambda: t.PaliGemmaConfig(text_config={"model_type": "gemma", **llama, "head_dim": 4}, vision_config={"model_type": "siglip_vision_model", **VISION, "vision_use_head": False}, projection_dim=16, image_token_index=49, image_token_id=49), pictured),
        "Qwen2-VL": of("Qwen2VLForConditionalGeneration", lambda: t.Qwen2VLConfig(text_config={**llama, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 10000.0}}, vision_config={"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 4, "mlp_ratio": 2, "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 1, "in_channels": 3}, image_token_id=49, vision_start_token_id=48, vision_end_token_id=47, video_token_id=46),
                        {"input_ids": torch.cat([torch.full((1, 1), 48), torch.full((1, 4), 49), TOKENS[:1].clamp(max=45)], 1), "pixel_values": PATCHED[0], "image_grid_thw": torch.tensor([[1, 4, 4]]), "mm_token_type_ids": torch.tensor([[0, 1, 1, 1, 1, *[0] * 7]])}),
        "Kosmos-2": of("Kosmos2Model", lambda: t.Kosmos2Config(text_config={"vocab_size": 50, "embed_dim": 16, "layers": 2, "ffn_dim": 24, "attention_heads": 4, "max_position_embeddings": 32}, vision_config=VISION, latent_query_num=4), {**CAPTIONS, "image_embeds_position_mask": torch.tensor([[0, 1, 1, 1, 1, 0, 0]] * 2)}),
        "UDOP": of("UdopModel", lambda: t.UdopConfig(vocab_size=50, d_model=16, d_kv=4, d_ff=24, num_layers=1, num_heads=4, image_size=32, patch_size=8, max_2d_position_embeddings=32), {"input_ids": TOKENS, "bbox": torch.rand(2, 7, 4, generator=_G), "pixel_values": IMAGES, "decoder_input_ids": WORDS_TOO}),
    }  # fmt: skip


def _sound() -> Makers:
    import transformers as t

    layers = {name: value for name, value in SMALL.items() if name != "vocab_size"}
    clap = {
        "spec_size": 32,
        "hidden_size": 16,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "window_size": 4,
        "num_mel_bins": 16,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "enable_fusion": False,
        "projection_dim": 8,
    }
    both = {"vocab_size": 50, **BOTH, **IDS, "decoder_start_token_id": 2}
    return {
        "Whisper with labels": of("WhisperForConditionalGeneration", lambda: t.WhisperConfig(**both, num_mel_bins=8, max_source_positions=16, max_target_positions=16), {"input_features": MELS, "labels": WORDS_TOO}),
        "HuBERT, letters": of("HubertForCTC", lambda: t.HubertConfig(**layers, **AUDIO, vocab_size=12), {"input_values": SOUND, "labels": LABELS[:, None] + 1}),
        "wav2vec2, large": of("Wav2Vec2Model", lambda: t.Wav2Vec2Config(**layers, **AUDIO, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True), {"input_values": SOUND, "attention_mask": torch.ones(2, 200).long()}),
        "WavLM, speakers": of("WavLMForXVector", lambda: t.WavLMConfig(**layers, **AUDIO, tdnn_dim=(8, 8), tdnn_kernel=(3, 1), tdnn_dilation=(1, 1), xvector_output_dim=6, num_labels=3), {"input_values": SOUND, "labels": LABELS}),
        "AST, sounds": of("ASTForAudioClassification", lambda: t.ASTConfig(**layers, max_length=32, num_mel_bins=16, patch_size=8, frequency_stride=8, time_stride=8, num_labels=3), {"input_values": SPECTRUM, "labels": LABELS}),
        "Moonshine": of("MoonshineModel", lambda: t.MoonshineConfig(vocab_size=50, hidden_size=32, intermediate_size=24, encoder_num_hidden_layers=1, decoder_num_hidden_layers=1, encoder_num_attention_heads=4, decoder_num_attention_heads=4, use_cache=False, **IDS), {"input_values": torch.randn(2, 1200, generator=_G), "decoder_input_ids": WORDS_TOO}),
        "Speech2Text": of("Speech2TextModel", lambda: t.Speech2TextConfig(**both, input_feat_per_channel=12, conv_channels=12, max_source_positions=40, max_target_positions=16), {"input_features": FRAMES, "decoder_input_ids": WORDS_TOO}),
        "Parakeet": of("ParakeetForCTC", lambda: t.ParakeetCTCConfig(vocab_size=20, pad_token_id=19, encoder_config={**layers, "num_mel_bins": 16, "subsampling_conv_channels": 4, "conv_kernel_size": 3, "subsampling_factor": 4, "max_position_embeddings": 64}), {"input_features": SPECTRUM}),
        "CLAP": of("ClapModel", lambda: t.ClapConfig(text_config={**SMALL, **WORDS, "projection_dim": 8}, audio_config=clap, projection_dim=8), {"input_ids": TOKENS, "input_features": SPECTRUM[:, None]}),
        "DAC": of("DacModel", lambda: t.DacConfig(encoder_hidden_size=4, downsampling_ratios=[4, 2], decoder_hidden_size=16, n_codebooks=2, codebook_size=16, codebook_dim=4, upsampling_ratios=[2, 4]), {"input_values": SOUND[:, None]}),
        "Mimi": of("MimiModel", lambda: t.MimiConfig(hidden_size=16, num_filters=4, upsampling_ratios=[4, 2], codebook_size=16, codebook_dim=8, vector_quantization_hidden_dimension=8, num_quantizers=3, num_semantic_quantizers=1, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4, head_dim=4, intermediate_size=24, sliding_window=8, upsample_groups=4, use_cache=False), {"input_values": SOUND[:, None]}),
        "UnivNet": of("UnivNetModel", lambda: t.UnivNetConfig(model_in_channels=4,  model_hidden_channels=4, num_mel_bins=6, resblock_kernel_sizes=[3], resblock_stride_sizes=[2], resblock_dilation_sizes=[[1, 3]], kernel_predictor_num_blocks=1, kernel_predictor_hidden_channels=4), {"input_features": torch.randn(2, 8, 6, generator=_G), "noise_sequence": torch.randn(2, 8, 4, generator=_G)}),
        "FastSpeech2 conformer": of("FastSpeech2ConformerModel", lambda: t.FastSpeech2ConformerConfig(hidden_size=16, vocab_size=50, num_mel_bins=6, encoder_num_attention_heads=4, encoder_layers=1, encoder_linear_units=12, decoder_layers=1, decoder_num_attention_heads=4, decoder_linear_units=12, speech_decoder_postnet_layers=2, speech_decoder_postnet_units=8,
                                    duration_predictor_channels=8, energy_predictor_channels=8, pitch_predictor_channels=8), {"input_ids": TOKENS.clamp(min=1)}),
        "VITS": of("VitsModel", lambda: t.VitsConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=4, ffn_dim=24, flow_size=8, spectrogram_bins=9, upsample_initial_channel=16, upsample_rates=[4, 2], upsample_kernel_sizes=[8, 4], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]], prior_encoder_num_flows=1, prior_encoder_num_wavenet_layers=1, posterior_encoder_num_wavenet_layers=1, wavenet_kernel_size=3, depth_separable_num_layers=1, depth_separable_channels=2,
                  duration_predictor_num_flows=1, duration_predictor_flow_bins=4, noise_scale=0.0, noise_scale_duration=0.0), {"input_ids": TOKENS}),
        "SeamlessM4T": of("SeamlessM4TModel", lambda: t.SeamlessM4TConfig(vocab_size=50, t2u_vocab_size=20, hidden_size=16, max_position_embeddings=32, encoder_layers=1, encoder_ffn_dim=24, encoder_attention_heads=4, decoder_layers=1, decoder_ffn_dim=24, decoder_attention_heads=4, speech_encoder_layers=1, speech_encoder_attention_heads=4, speech_encoder_intermediate_size=24, feature_projection_input_dim=12, conv_depthwise_kernel_size=3, adaptor_kernel_size=4, adaptor_stride=4, num_adapter_layers=1,
                         t2u_encoder_layers=1, t2u_encoder_ffn_dim=24, t2u_encoder_attention_heads=4, t2u_decoder_layers=1, t2u_decoder_ffn_dim=24, t2u_decoder_attention_heads=4, unit_embed_dim=8, spkr_embed_dim=8, lang_embed_dim=8, upsample_initial_channel=64, unit_hifi_gan_vocab_size=20), {"input_ids": TOKENS, "decoder_input_ids": WORDS_TOO}),
    }  # fmt: skip


def _series() -> Makers:
    import transformers as t

    when = {
        "prediction_length": 4,
        "context_length": 8,
        "lags_sequence": [1, 2],
        "num_time_features": 2,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "use_cache": False,
    }
    past = {
        "past_values": PAST,
        "past_time_features": TIMES,
        "past_observed_mask": torch.ones(2, 10),
        "future_values": LATER,
        "future_time_features": TIMES_LATER,
    }
    return {
        "Time series transformer": of("TimeSeriesTransformerForPrediction", lambda: t.TimeSeriesTransformerConfig(**when), past),
        "Informer": of("InformerForPrediction", lambda: t.InformerConfig(**when, sampling_factor=2), past),
        "Autoformer": of("AutoformerForPrediction", lambda: t.AutoformerConfig(**when, label_length=4, moving_average=3, autocorrelation_factor=2), past),
        "TimesFM": of("TimesFmModel", lambda: t.TimesFmConfig(patch_length=4, context_length=16, horizon_length=4, num_hidden_layers=2, hidden_size=16, intermediate_size=24, head_dim=4, num_attention_heads=4), {"past_values": LONGER, "past_values_padding": torch.zeros(2, 16).long(), "freq": torch.tensor([[0], [1]])}),
        "PatchTST, forecasts": of("PatchTSTForPrediction", lambda: t.PatchTSTConfig(num_input_channels=2, context_length=16, patch_length=4, patch_stride=4, d_model=16, num_hidden_layers=1, num_attention_heads=4, ffn_dim=24, prediction_length=4), {"past_values": TIMES_LONGER}),
        "Decision transformer": of("DecisionTransformerModel", lambda: t.DecisionTransformerConfig(state_dim=6, act_dim=3, hidden_size=16, n_layer=2, n_head=4, max_ep_len=20, n_positions=32), GAME),
    }  # fmt: skip

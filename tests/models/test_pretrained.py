"""Cut models of the transformers library: ``save_pretrained`` writes what ``from_pretrained`` opens, with equal outputs."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import ConfigError

transformers = pytest.importorskip("transformers")

G = torch.Generator().manual_seed(0)
WORDS, IMAGES = torch.randint(1, 50, (16, 6), generator=G), torch.randn(16, 3, 8, 8, generator=G)
SMALL: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"intermediate_size": 12, "num_labels": 3}
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, torch.Tensor]]] = {
    "Bert": (
        "ForSequenceClassification",
        {**SMALL, "vocab_size": 50, "max_position_embeddings": 8},
        {"input_ids": WORDS, "attention_mask": torch.ones_like(WORDS)},
    ),
    "ViT": (
        "ForImageClassification",
        {**SMALL, "image_size": 8, "patch_size": 4},
        {"pixel_values": IMAGES},
    ),
    "Swin": (
        "ForImageClassification",
        {
            "image_size": 8,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [2, 4],
            "window_size": 2,
            "num_labels": 3,
        },
        {"pixel_values": IMAGES},
    ),
    "ResNet": (
        "ForImageClassification",
        {
            "embedding_size": 4,
            "hidden_sizes": [4, 6],
            "depths": [1, 1],
            "layer_type": "basic",
            "num_labels": 3,
        },
        {"pixel_values": IMAGES},
    ),
}


def fresh(kind: str) -> Any:
    torch.manual_seed(0)
    task, settings, _ = KINDS[kind]
    made = getattr(transformers, f"{kind}{task}")
    return made(getattr(transformers, f"{kind}Config")(**settings)).eval()


@cache
def _cut(kind: str) -> Any:
    slimmed = nd.slim(fresh(kind), share=0.5, scope="layer", example=KINDS[kind][2])
    return slimmed.family.export(slimmed.family.config.lams[0])


def cut(kind: str) -> Any:
    """A model of which half of every layer's units and heads are gone."""
    return copy.deepcopy(_cut(kind))


def differ(one: nn.Module, other: nn.Module, kind: str) -> float:
    with torch.no_grad():
        found = [net.eval()(**KINDS[kind][2]).logits for net in (one, other)]
    return float((found[0] - found[1]).abs().max())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:save_pretrained")
@pytest.mark.parametrize(
    "kind", [*(pytest.param(n, marks=pytest.mark.slow) for n in ("ViT", "Bert", "Swin")), "ResNet"]
)
def test_what_is_written_is_opened_with_equal_outputs(kind: str, tmp_path: Path) -> None:
    small = cut(kind)
    assert differ(small, fresh(kind), kind) > 1e-3
    small.save_pretrained(tmp_path / "folder")
    again = type(fresh(kind)).from_pretrained(tmp_path / "folder")
    assert differ(small, again, kind) < 1e-5
    before, after = (sum(p.numel() for p in net.parameters()) for net in (fresh(kind), again))
    assert after < before


@pytest.mark.slow
def test_sizes_that_a_configuration_can_say_are_in_it(tmp_path: Path) -> None:
    small = cut("ViT")
    small.save_pretrained(tmp_path / "folder")  # nothing is filled up, so no warning
    config = transformers.ViTConfig.from_pretrained(tmp_path / "folder")
    assert (config.intermediate_size, config.num_attention_heads, config.hidden_size) == (6, 2, 8)


@pytest.mark.slow
def test_what_is_filled_up_is_said(tmp_path: Path) -> None:
    small = cut("Bert")
    with pytest.warns(UserWarning, match="BertConfig says one size.*numbers are written for"):
        small.save_pretrained(tmp_path / "folder")


@pytest.mark.slow
def test_what_no_configuration_says_is_not_written(tmp_path: Path) -> None:
    small = cut("ViT")
    small.config.hidden_act = "relu"  # the layers were made with another
    with pytest.raises(ConfigError, match=r"ViTConfig cannot say .*outputs would differ.*nd.save"):
        small.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    small = cut("ViT")
    wide = small.vit.layers[0].mlp
    wide.fc1, wide.fc2 = nn.Linear(8, 40), nn.Linear(40, 8)
    with pytest.raises(ConfigError, match=r"fc1.weight is \[40, 8\]"):
        small.save_pretrained(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


CAUSAL: dict[str, Any] = {"vocab_size": 50, "pad_token_id": 0, "num_labels": 3}
LLAMAS = {**SMALL, **CAUSAL, "num_key_value_heads": 2, "max_position_embeddings": 16}
GPT = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "Llama": LLAMAS,
    "Gemma": {**LLAMAS, "head_dim": 4},
    "Mistral": LLAMAS,
    "Qwen2": LLAMAS,
    "GPT2": {**CAUSAL, **GPT, "bos_token_id": 1, "eos_token_id": 2},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:save_pretrained")
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_models_of_the_next_word_that_classify_shrink_and_are_slimmed(
    kind: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**CLASSIFIERS[kind])
    net = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    words = WORDS.clone()
    words[::2, 4:] = 0  # padding: the class is read at the last word before it
    small = nd.slim(net, share=0.5, scope="layer", example={"input_ids": words})
    assert any(row.after < row.before for row in small.rows)
    model = small.family.export(small.family.config.lams[0])
    with torch.no_grad():
        right = small.net.eval()(words)
        assert torch.allclose(model.eval()(input_ids=words)["logits"], right, atol=1e-6)
    classes = words[:, 0] % 3
    n_params = sum(p.numel() for p in net.parameters())
    shrunk = nd.shrink(net, (words, classes), size=f"{0.9 * n_params:.0f} params", epochs=2)
    assert shrunk.n_params < 0.92 * n_params
    nd.save(shrunk, tmp_path / "small.safetensors")
    again = nd.load_model(tmp_path / "small.safetensors", net)
    assert isinstance(again, type(net))
    with torch.no_grad():
        gap = again.eval()(words).logits - shrunk.net.eval()(words)
    assert float(gap.abs().max()) < 1e-5
    again.save_pretrained(tmp_path / "folder")
    opened = type(net).from_pretrained(tmp_path / "folder").eval()
    with torch.no_grad():
        assert torch.allclose(opened(words).logits, again(words).logits, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:save_pretrained")
def test_heads_that_lie_in_one_leaf_are_written_and_words_are_made(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = transformers.GPT2LMHeadModel(transformers.GPT2Config(**CLASSIFIERS["GPT2"])).eval()
    small = nd.slim(net, share=0.5, scope="layer", example={"input_ids": WORDS})
    nd.save(small, tmp_path / "small")
    again = nd.load_model(tmp_path / "small", net)
    assert again.transformer.h[0].attn.c_attn.weight.shape == (8, 12)  # one of two heads
    again.save_pretrained(tmp_path / "folder")
    opened = type(net).from_pretrained(tmp_path / "folder").eval()
    told = {"max_new_tokens": 4, "do_sample": False}
    with torch.no_grad():
        right = small.net(input_ids=WORDS)["logits"]
        for model in (again, opened):
            assert torch.allclose(model(WORDS).logits, right, atol=1e-5)
    assert torch.equal(again.generate(WORDS, **told), opened.generate(WORDS, **told))


@pytest.mark.slow
def test_a_width_that_a_configuration_leaves_open_is_said(tmp_path: Path) -> None:
    net = transformers.GPT2LMHeadModel(transformers.GPT2Config(**CLASSIFIERS["GPT2"])).eval()
    assert net.config.n_inner is None
    words = {"input_ids": WORDS}
    slimmed = nd.slim(net, share=0.5, scope="layer", example=words)
    nd.save(slimmed, tmp_path / "small")
    small = nd.load_model(tmp_path / "small", net)
    with pytest.warns(UserWarning, match="filled up with zeros"):  # heads
        small.save_pretrained(tmp_path / "written")
    opened = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "written").eval()
    assert opened.config.n_inner == 2 * net.config.n_embd
    assert opened.transformer.h[0].mlp.c_fc.nf == 2 * net.config.n_embd
    assert torch.allclose(opened(**words).logits, small(**words).logits, atol=1e-5)


@pytest.mark.slow
def test_a_loss_of_what_a_model_gives(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        **SMALL, vocab_size=50, max_position_embeddings=8, output_hidden_states=True
    )
    torch.manual_seed(0)
    net, mask = transformers.BertForSequenceClassification(config), torch.ones_like(WORDS)

    def loss(found: Any, y: torch.Tensor) -> torch.Tensor:
        size = found.hidden_states[-1].square().mean()
        return nn.functional.cross_entropy(found.logits, y) + 0.01 * size

    given = {"input_ids": WORDS, "attention_mask": mask}
    shrunk = nd.shrink(net, (given, WORDS[:, 0] % 3), loss=loss, epochs=2, lam=0.01)
    nd.save(shrunk, tmp_path / "small")
    again = nd.load_model(tmp_path / "small", net)
    assert torch.allclose(again(WORDS).logits, shrunk.net.eval()(**given)["logits"], atol=1e-6)
    assert loss(again(**given), WORDS[:, 0] % 3).item() > 0

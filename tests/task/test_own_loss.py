"""Models that compute a loss from labels of their own are trained on that loss, as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.data.memory import as_dataset
from netdial.task import Loss
from netdial.task.own_loss import asked

transformers = pytest.importorskip("transformers")

WORDS = torch.randint(1, 50, (6, 7), generator=torch.Generator().manual_seed(0))
SMALL = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 12, "max_position_embeddings": 16, "num_labels": 3}


def bert(kind: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    found: nn.Module = getattr(transformers, f"BertFor{kind}")(
        transformers.BertConfig(**SMALL, **settings)
    )
    return found.eval()


def gpt2() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2, use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    found: nn.Module = transformers.GPT2LMHeadModel(config)
    return found.eval()


MASKED = WORDS.where(WORDS < 25, -100)
MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "next words": (gpt2, WORDS),
    "classes of words": (lambda: bert("TokenClassification"), MASKED % 3),
    "masked words": (lambda: bert("MaskedLM"), MASKED),
    "several labels": (
        lambda: bert("SequenceClassification", problem_type="multi_label_classification"),
        (WORDS[:, :3] > 25).float(),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n.endswith("words") else n for n in MODELS]
)
def test_the_own_loss_is_taken_out_of_the_model(name: str) -> None:
    make, labels = MODELS[name]
    net = make()
    if name == "classes of words":
        labels = labels.where(MASKED >= 0, -100)
    data = as_dataset({"input_ids": WORDS, "labels": labels})
    task = asked(net, data, None, None)
    assert isinstance(task, Loss) and type(net).__name__ in task.title
    for rows in (slice(0, 2), slice(1, 6)):
        with torch.no_grad():
            due = net(input_ids=WORDS[rows], labels=labels[rows])
        logits = due.logits.clone().requires_grad_()
        found = task.nll(logits, labels[rows]).mean()
        assert torch.allclose(found, due.loss)
        found.backward()
        assert logits.grad is not None and bool(logits.grad.any())


@pytest.mark.parametrize("numbers", [False, True])
def test_cross_entropy_and_squared_error_stay_tasks(numbers: bool) -> None:
    net = bert("SequenceClassification")
    labels = torch.arange(6) % 3
    if numbers:
        net = bert("SequenceClassification", problem_type="regression")
    data = {"input_ids": WORDS, "labels": torch.rand(6, 3) if numbers else labels}
    assert asked(net, as_dataset(data), None, None) is None


class Weighs(nn.Module):
    """A network whose loss looks at its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.out(torch.relu(self.fc(x)))
        if labels is None:
            return {"logits": logits}
        penalty = self.fc.weight.square().sum()
        return {"loss": F.cross_entropy(logits, labels) + penalty, "logits": logits}


def test_a_loss_of_weights_is_refused_in_words() -> None:
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    with pytest.raises(ConfigError, match=r"Weighs: its own loss .* parameter fc.weight.*loss="):
        nd.fit(Weighs(), (x, y))
    assert nd.fit(Weighs(), (x, y), kind="classification", epochs=1, batch_size=2).task is not None


def sequences(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "T5":
        return transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=50, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2, use_cache=False, decoder_start_token_id=0
            )
        )  # fmt: skip
    return transformers.BartForConditionalGeneration(
        transformers.BartConfig(
            vocab_size=50, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=12, decoder_ffn_dim=12, use_cache=False, max_position_embeddings=16,
        )
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["T5", "BART"])
def test_inputs_made_of_labels_are_asked_for(kind: str) -> None:
    labels = WORDS.flip(0)
    given = {"input_ids": WORDS, "attention_mask": torch.ones_like(WORDS), "labels": labels}
    net = sequences(kind).eval()
    with pytest.raises(
        ConfigError, match=r"add decoder_input_ids to its inputs, net\.prepare_.*\(labels\)"
    ):
        nd.fit(net, given, epochs=1)
    given["decoder_input_ids"] = net.prepare_decoder_input_ids_from_labels(labels)
    loss = asked(net, as_dataset(given, part="test"), None, None)
    assert isinstance(loss, Loss) and loss.function is not None
    with torch.no_grad():
        due = net(**given)
        del given["labels"]
        torch.testing.assert_close(loss.function(net(**given).logits, labels), due.loss)


@pytest.mark.slow
def test_next_words_are_learnt() -> None:
    net, words = gpt2(), WORDS[:1].repeat(32, 1)
    before = float(net(input_ids=words, labels=words).loss.detach())
    family = nd.fit(net, {"input_ids": words, "labels": words}, epochs=12, batch_size=8, lr=1e-2)
    path = nd.evaluate(family, {"input_ids": words, "labels": words}, lams=2, n_samples=0)
    assert path.members[0].metrics["loss"] < before - 1
    member = family.export(family.domain.lo)
    again = float(member(input_ids=words, labels=words).loss.detach())
    assert again == pytest.approx(path.members[0].metrics["loss"], rel=1e-4)


@pytest.mark.slow
def test_direct_networks_and_compressed_ones_are_trained_on_it_too() -> None:
    net, data = gpt2(), {"input_ids": WORDS, "labels": WORDS}
    (direct,) = nd.fit_direct(net, data, lams=[0.1], epochs=1)
    assert isinstance(direct.task, Loss)
    given: Any = {"max_bytes": 6000, "epochs": 1, "tuning": 0, "share": "kmeans"}
    found = nd.compress(net, data, data, **given)
    with torch.no_grad():
        due = float(net(input_ids=WORDS, labels=WORDS).loss)
    assert found.metric == "loss" and found.stages[0].loss == pytest.approx(due, rel=1e-4)


def test_direct_networks_take_a_loss_function() -> None:
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    own = nn.L1Loss(reduction="none")
    (found,) = nd.fit_direct(nn.Linear(2, 1), (x, x[:, :1]), lams=[0.1], loss=own, epochs=1)
    assert found.task == Loss("L1Loss")
    with pytest.raises(ConfigError, match="nets: the list is empty"):
        nd.fit_direct([], (x, x[:, :1]), lams=[0.1])

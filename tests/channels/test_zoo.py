"""Networks of the benchmark's zoo: cut by default, and equal to the one with zeros."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import netdial as nd

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks.networks.first import blocks
    from benchmarks.networks.inputs import Maker
    from benchmarks.networks.registry import SAMPLES, own
    from benchmarks.zoo.zoo import _outcome
    from benchmarks.zoo.zoo_train import STEPS, _made, steps
finally:
    sys.path.remove(str(ROOT))

OLD = ("first", "second", "third")
MAKERS: dict[str, Maker] = {
    name: make
    for sample in OLD
    for name, make in SAMPLES[sample].items()
    if name not in blocks.BLOCKS
}
WHOLE = ("convnext_grn", "bit_weight_standardised", "gmlp_gating")
WHOLE += ("nfnet_scaled_weights", "graphsage_jumping")
"""Of these an operation normalises over all that could be cut, or they have no channels inside."""
QUICK = (
    "VAE",
    "GoogLeNet with auxiliary head",
    "U-Net",
    "Llama with grouped queries",
    "TCN with spectral norm",
    "top-2 experts",
    "two towers",
)


def test_no_network_has_the_name_of_another() -> None:
    assert len(own()) == sum(map(len, SAMPLES.values()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MAKERS]
)
def test_a_network_is_cut_by_default_and_exactly(name: str) -> None:
    outcome, why = _outcome(MAKERS[name])
    due = "nothing to cut" if name in WHOLE else "equal"
    assert outcome == due, why


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "decision_forest",  # channels are known in another number type
        "complex_pairs",
        "lecture_experts_noisy",  # rows are others each time
        "siren_modulated",  # a constant asks for gradients
    ],
)
def test_a_network_loses_channels_in_one_shot(name: str) -> None:
    net, x = _made((SAMPLES["tenth"] | SAMPLES["eighth"] | SAMPLES["fifth"])[name])
    assert nd.slim(net, share=0.5, example=x).plan


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "GoogLeNet with auxiliary head",  # gives a tuple in training
        "SIREN",  # slopes that amplify rounding
        "YOLO block by split",  # a part of a written size that has no layer of its own
        "hypernetwork_of_a_code",  # a layer reads one vector, without a batch
        "seq2seq_bahdanau",  # names of nodes with other numbers
    ],
)
def test_a_network_comes_from_training_to_programs(name: str) -> None:
    told = steps(MAKERS[name])
    assert list(told) == list(STEPS)
    assert not any(why for step, why in told.items() if step != "as its class"), told

"""Description lengths: the variational code, and a two-part code whose bits are counted a second time by hand."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from netdial.data.dataset import Dataset
from netdial.evidence import EvidenceSubject, assess
from netdial.evidence.estimators.mdl import encode
from netdial.family.config import FamilyConfig
from netdial.family.family import Family


def family_of() -> Family:
    torch.manual_seed(0)
    family = Family(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), FamilyConfig())
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape, generator=source))
    return family


def subject_of(data: tuple[Tensor, Tensor], family: Family | None = None) -> EvidenceSubject:
    return EvidenceSubject(family or family_of(), Dataset(*data), (0.5,), n_samples=4)


def normal_cdf(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def test_the_variational_code_pays_for_its_hyperparameters(blobs: tuple[Tensor, Tensor]) -> None:
    bound, code = assess(family_of(), blobs, lams=[0.5], by=["eb-elbo", "mdl"])
    leaves = 4
    assert code.value - bound.value == pytest.approx(leaves * 0.5 * math.log2(60) / 60)
    assert code.parts["data"] == pytest.approx(bound.parts["data"])


@pytest.mark.parametrize("shift", [2, 0, -2])
def test_weights_are_rounded_within_half_a_step(blobs: tuple[Tensor, Tensor], shift: int) -> None:
    subject = subject_of(blobs)
    rounded, _ = encode(subject, 0, shift)
    log_std = subject.fields.log_std
    assert log_std is not None
    step = torch.exp2((log_std[0] / math.log(2)).round() + shift)
    assert torch.all((rounded - subject.fields.mean[0]).abs() <= step / 2 + 1e-12)
    assert torch.equal((rounded / step).round() * step, rounded)


def test_the_bits_of_the_two_part_code_counted_by_hand(blobs: tuple[Tensor, Tensor]) -> None:
    subject = subject_of(blobs)
    rounded, nats = encode(subject, 0)
    fields = subject.fields
    assert fields.log_std is not None
    expected, start = 0.0, 0
    for size in fields.layout.sizes:
        values = rounded[start : start + size].tolist()
        octaves = [round(s / math.log(2)) for s in fields.log_std[0, start : start + size].tolist()]
        counts = Counter(octaves)
        for value, octave in zip(values, octaves, strict=True):
            members = [v for v, o in zip(values, octaves, strict=True) if o == octave]
            step = 2.0**octave
            scale = max(math.sqrt(sum(v * v for v in members) / len(members)), step / 8)
            mass = normal_cdf((value + step / 2) / scale) - normal_cdf((value - step / 2) / scale)
            expected += -math.log(mass) - math.log(counts[octave] / size)
        expected += 0.5 * math.log(60) * (2 * len(counts) - 1)
        start += size
    assert nats == pytest.approx(expected, rel=1e-6)


def test_the_labels_are_told_under_the_rounded_network(blobs: tuple[Tensor, Tensor]) -> None:
    family = family_of()
    (found,) = assess(family, blobs, lams=[0.5], by=["mdl-two-part"])
    rounded, nats = encode(subject_of(blobs, family), 0, round(math.log2(found.parts["step"])))
    net = family.export(0.5)
    torch.nn.utils.vector_to_parameters(rounded.float(), net.parameters())
    loss = nn.functional.cross_entropy(net(blobs[0]), blobs[1], reduction="sum").detach()
    assert found.parts["data"] == pytest.approx(float(loss) / 60 / math.log(2), rel=1e-5)
    assert found.parts["model"] == pytest.approx((nats + math.log(5)) / 60 / math.log(2), rel=1e-6)
    assert found.error == 0


def test_pruned_weights_are_not_sent(blobs: tuple[Tensor, Tensor]) -> None:
    whole, pruned = family_of(), family_of()
    kept = torch.rand(pruned.layout.size, generator=torch.Generator().manual_seed(2)) < 0.2
    pruned.restrict(kept)
    rounded, nats = encode(subject_of(blobs, pruned), 0)
    assert not rounded[~kept].any()
    assert nats < encode(subject_of(blobs, whole), 0)[1]

"""The two passes over the data: what they average is what weight draws one by one would give, for any input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from netdial.data.dataset import Dataset
from netdial.evidence import EvidenceSubject
from netdial.family.config import FamilyConfig
from netdial.family.family import Family

Z = 5.0


class OverTime(nn.Module):
    """One linear layer at every position, averaged: the same weights for all positions of an example."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x).mean(dim=1)
        return out


def subject_of(net: nn.Module, x: Tensor, n_samples: int) -> EvidenceSubject:
    torch.manual_seed(0)
    family = Family(net, FamilyConfig(log_std=0.0))
    y = torch.arange(len(x)) % 3
    return EvidenceSubject(family, Dataset(x, y), (1.0,), n_samples=n_samples)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
        (OverTime(), (6, 4)),
        (nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(18, 3)), (1, 4, 4)),
        (nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)), (4,)),
    ],
    ids=["flat", "sequence", "picture", "normalised"],
)
def test_both_passes_are_means_over_draws_of_the_weights(
    net: nn.Module, shape: tuple[int, ...], seed: int
) -> None:
    x = 2 * torch.randn(30, *shape, generator=torch.Generator().manual_seed(1))
    subject = subject_of(net, x, n_samples=300)
    source = torch.Generator().manual_seed(100 + seed)
    drawn = []
    for _ in range(300):
        out = subject.family.outputs(subject.family.sample(1.0, source), x, 1.0)
        drawn.append(-nn.functional.cross_entropy(out, subject.data.y, reduction="sum").detach())
    reference = torch.stack(drawn)
    error = float(reference.std()) / math.sqrt(300)
    for totals in (subject.expected.batches.sum(dim=2)[0], subject.pointwise.log_lik[0].sum(dim=1)):
        spread = math.hypot(error, float(totals.std()) / math.sqrt(300))
        assert float(totals.mean()) == pytest.approx(float(reference.mean()), abs=Z * spread)


def test_noise_of_its_own_for_every_example_is_worth_more() -> None:
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(1))
    subject = subject_of(nn.Linear(4, 3), x, n_samples=50)
    own, shared = subject.expected.batches.sum(dim=2)[0], subject.pointwise.log_lik[0].sum(dim=1)
    assert float(own.std()) < 0.6 * float(shared.std())
    assert subject.expected.blocks == 50 * 400


def test_a_draw_that_a_batch_shares_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdial.evidence.draws._BATCH", 16)
    x = torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(18, 3))
    seen = subject_of(net, x, n_samples=5).expected
    assert seen.batches.shape == (1, 5, 3)
    assert (seen.blocks, seen.fullness) == (5 * 3, pytest.approx(40 / 48))


def test_passes_are_the_same_at_every_lambda() -> None:
    """The family starts constant, so common random numbers give the same likelihoods at every λ."""
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    subject = subject_of(nn.Linear(4, 3), x, n_samples=4).along([0.01, 1.0, 50.0])
    for found in (subject.expected.batches, subject.pointwise.log_lik):
        assert torch.allclose(found, found[:1].expand_as(found), atol=1e-5)

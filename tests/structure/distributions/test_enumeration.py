"""Temperature schedules, and the enumeration of different structures against brute force."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import Noise
from netdial.structure.distributions import (
    Anneal,
    Bernoulli,
    Categorical,
    Dirichlet,
    Diversity,
    around,
)

NOISE = Noise(0, 0, [0])
EDGES, CHOICES, SHARE = 2, 3, 0.05
LOSS = torch.tensor([[0.0, 0.1, 0.9], [0.2, 1.0, 0.7], [1.1, 0.8, 0.3]], dtype=torch.float64)
"""Loss of each structure of two edges with three operations."""


def one_hot(*choice: int) -> Tensor:
    return torch.eye(CHOICES, dtype=torch.float64)[list(choice)][None]


def brute_force(found: list[tuple[int, ...]], weights: list[float]) -> tuple[int, ...]:
    """The structure of least loss minus Σ λ_i KL, by looking at all nine."""

    def score(choice: tuple[int, ...]) -> float:
        gain = 0.0
        for weight, other in zip(weights, found, strict=False):
            for a, b in zip(choice, other, strict=True):
                gain -= weight * math.log(
                    SHARE / CHOICES + (1 - SHARE if a == b else 0.0)
                )  # log of Γ_i at the vertex
        return float(LOSS[choice]) - gain

    return min(itertools.product(range(CHOICES), repeat=EDGES), key=score)


def by_gradient(diversity: Diversity) -> tuple[int, ...]:
    """The structure at which gradient descent on the logits arrives."""
    q = Categorical()
    logit = torch.zeros(1, EDGES, CHOICES, dtype=torch.float64, requires_grad=True)
    steps = torch.optim.Adam([logit], lr=0.4)
    for _ in range(60):
        p = q.mean({"logit": logit})[0]
        expected = (p[0][:, None] * p[1] * LOSS).sum()
        loss = expected + diversity.penalty({"edges": {"logit": logit}}, NOISE).sum()
        steps.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        steps.step()
    return tuple(logit[0].argmax(dim=-1).tolist())


def test_structures_are_found_one_after_another_as_by_brute_force() -> None:
    found: list[tuple[int, ...]] = []
    for weights in ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]):
        fields = [{"edges": around(Categorical(), one_hot(*one), SHARE)} for one in found]
        new = by_gradient(Diversity(Categorical(), fields, weights))
        assert new == brute_force(found, weights)
        found.append(new)
    assert len(set(found)) == 3
    assert found[0] == (0, 0)


def test_without_weight_the_first_structure_comes_again() -> None:
    fields = [{"edges": around(Categorical(), one_hot(0, 0))}] * 2
    assert by_gradient(Diversity(Categorical(), fields, [0.0, 0.0, 0.0])) == (0, 0)


def test_the_term_is_the_weighted_sum_with_its_sign() -> None:
    q = {"edges": {"logit": torch.randn(2, EDGES, CHOICES, dtype=torch.float64)}}
    found = [{"edges": around(Categorical(), one_hot(*one))} for one in ((0, 1), (2, 2))]
    noise = Noise(0, 0, [0, 1])
    each = [Diversity(Categorical(), [one], [1.0]).divergence(q, noise).nats for one in found]
    both = Diversity(Categorical(), found, [2.0, 0.5, 0.0])
    assert torch.allclose(both.divergence(q, noise).nats, 2 * each[0] + 0.5 * each[1])
    assert torch.equal(both.penalty(q, noise), -both.divergence(q, noise).nats)
    assert bool((each[0] > 0).all())


@pytest.mark.parametrize("posterior", [Categorical(), Dirichlet(), Bernoulli()])
def test_around_a_structure_is_its_mean_but_for_a_share(posterior: Any) -> None:
    gamma = one_hot(2, 0) if posterior.domain != "cube_vertices" else one_hot(2, 0)[0]
    fields = around(posterior, gamma, 0.1)
    even = 0.5 if posterior.domain == "cube_vertices" else 1 / CHOICES
    assert torch.allclose(posterior.mean(fields), 0.9 * gamma + 0.1 * even)


def test_an_edge_that_chooses_otherwise_gains_a_bounded_divergence() -> None:
    q = {"edges": {"logit": 50 * one_hot(1, 0)}}
    away = Diversity(Categorical(), [{"edges": around(Categorical(), one_hot(0, 0), 0.05)}], [1.0])
    gain = math.log(CHOICES / 0.05) - math.log(1 - 0.05 + 0.05 / CHOICES)
    assert float(away.divergence(q, NOISE).nats) == pytest.approx(gain)


def test_weights_that_mean_nothing_are_refused() -> None:
    one = [{"edges": around(Categorical(), one_hot(0, 0))}]
    for found, weights, fact in (
        (one, [-1.0], "-1"),
        (one, [], "0 weights"),
        ([], [1.0, 0.0], "0 structures"),
        (one, [math.nan], "nan"),
    ):
        with pytest.raises(ConfigError, match=fact):
            Diversity(Categorical(), found, weights)
    with pytest.raises(ConfigError, match="cell"):
        Diversity(Categorical(), one, [1.0]).divergence({"cell": one[0]["edges"]}, NOISE)
    with pytest.raises(ConfigError, match="share=0"):
        around(Categorical(), one_hot(0, 0), 0)
    with pytest.raises(ConfigError, match="sums to 2"):
        around(Categorical(), 2 * one_hot(0, 0) / 2 + one_hot(1, 1), 0.1)


@pytest.mark.parametrize("shape", ["linear", "exponential", "cosine"])
def test_a_temperature_falls_from_its_start_to_its_end(shape: Any) -> None:
    tau = Anneal(4.0, 0.25, shape)
    found = [tau(i / 10) for i in range(11)]
    assert (found[0], found[-1]) == (4.0, pytest.approx(0.25))
    assert all(a > b for a, b in itertools.pairwise(found))
    assert found[5] == pytest.approx(1.0 if shape == "exponential" else 2.125)
    assert Anneal(4.0, 0.25, "constant")(0.7) == 4.0


def test_schedules_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="temperature=0"):
        Anneal(1.0, 0.0)
    with pytest.raises(ConfigError, match=r"linaer.*linear"):
        Anneal(shape="linaer")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"1\.5"):
        Anneal()(1.5)


def test_the_picture_of_the_page_has_all_draws_in_their_triangles() -> None:
    picture = Path(__file__).parents[3] / "docs" / "_static" / "simplex.svg"
    tags = [element.tag.rpartition("}")[2] for element in ET.parse(picture).iter()]
    assert (tags.count("polygon"), tags.count("circle")) == (6, 6 * 200)

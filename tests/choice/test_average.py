"""Averages along λ: weights by closed forms, the mean that is computed, and what cannot be averaged."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import netdial as nd
from netdial.choice.averaging import greedy, pseudo_bma
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.data.scale import TargetScale
from netdial.family import Family
from netdial.task import Classification, Loss, Regression


@pytest.fixture(scope="module")
def rows() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(120, 4, generator=source)
    return x, (x[:, 0] + 0.5 * torch.randn(120, generator=source) > 0).long()


@pytest.fixture(scope="module")
def family(rows: tuple[Tensor, Tensor]) -> Family:
    return nd.fit(nd.build("mlp:6", input_shape=(4,), n_outputs=2), rows, epochs=5, batch_size=40)


def test_it_is_the_mean_of_the_members_probabilities(
    family: Family, rows: tuple[Tensor, Tensor]
) -> None:
    made = nd.average(family, rows, lams=[0.01, 0.3, 10.0])
    found = made(rows[0]).softmax(dim=1)
    due = sum(
        weight * family.export(lam)(rows[0]).softmax(dim=1)
        for weight, lam in zip(made.weights, made.lams, strict=True)
    )
    assert torch.allclose(found, due, atol=1e-6)
    assert float(made.weights.sum()) == pytest.approx(1)


def test_no_member_of_its_own_is_much_better(family: Family, rows: tuple[Tensor, Tensor]) -> None:
    made = nd.average(family, rows, lams=5, members=3)
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(made(rows[0]), rows[1]))
    alone = min(nd.evaluate(family, rows, lams=5).column("nll"))
    assert len(made.members) <= 3
    assert loss <= alone + 1e-6


@given(gap=st.floats(0.5, 5), count=st.integers(10, 40))
def test_weights_follow_how_often_a_member_is_the_best(gap: float, count: int) -> None:
    """Two members that differ by the same on every row have the weights of a softmax, whatever the bootstrap draws."""
    nats = torch.stack([torch.ones(count), torch.ones(count) + gap / count])
    weights = pseudo_bma(nats)
    assert float(weights[0] / weights[1]) == pytest.approx(math.exp(gap), rel=1e-4)


def test_a_loss_of_ones_own_is_in_nats(family: Family, rows: tuple[Tensor, Tensor]) -> None:
    due = nd.average(family, rows)
    loss = Loss.of(nn.CrossEntropyLoss(reduction="none"))
    own = nd.Family(family.net, family.config)
    own.load_state_dict(family.state_dict())
    own.learns(loss, family.n_data)
    assert nd.average(own, rows).weights.tolist() == pytest.approx(due.weights.tolist(), rel=1e-4)

    def density(outputs: Tensor, targets: Tensor) -> Tensor:
        """Three nats less, so that all are below 0."""
        return nn.functional.cross_entropy(outputs, targets, reduction="none") - 3

    own.learns(Loss.of(density), family.n_data)
    assert nd.average(own, rows).weights.tolist() == pytest.approx(due.weights.tolist(), rel=1e-4)


def test_equal_members_share_and_a_useless_one_has_nothing() -> None:
    source = torch.Generator().manual_seed(1)
    one = torch.rand(50, generator=source)
    weights = pseudo_bma(torch.stack([one, one, one + 3]))
    assert weights.tolist() == pytest.approx([0.5, 0.5, 0.0], abs=1e-9)


def test_greedy_finds_two_members_whose_errors_cancel() -> None:
    y = torch.zeros(8, 1)
    each = torch.stack([y + 1, y - 1, y + 0.9])
    weights = greedy(each, Dataset(torch.zeros(8, 1), y), Regression(), members=2)
    assert weights[0] == 0
    assert weights @ torch.tensor([1, -1, 0.9]).double() == pytest.approx(0, abs=0.03)


def test_greedy_with_one_member_is_the_best_one() -> None:
    y = torch.tensor([0, 1])
    good, bad = torch.tensor([[2.0, 0], [0, 2]]), torch.tensor([[0.0, 2], [2, 0]])
    weights = greedy(torch.stack([bad, good]), Dataset(y[:, None], y), Classification(), 1)
    assert weights.tolist() == [0, 1]


def test_families_of_several_starts_are_averaged_together(rows: tuple[Tensor, Tensor]) -> None:
    nets = [nd.build("linear", input_shape=(4,), n_outputs=2, seed=seed) for seed in range(2)]
    families = nd.fit_direct(nets, rows, lams=[0.1, 1.0], objective="l2", epochs=3, batch_size=40)
    made = nd.average(families, rows, lams=[0.1, 1.0])
    assert set(made.family) == {0, 1}
    assert len(made.members) == len(made.lams) == 4


def test_it_leaves_as_a_program(
    family: Family, rows: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    made = nd.average(family, rows, lams=3)
    torch.export.save(torch.export.export(made, (rows[0],)), tmp_path / "average.pt2")
    again = torch.export.load(tmp_path / "average.pt2").module()
    assert torch.equal(again(rows[0]), made(rows[0]))


def test_what_cannot_be_averaged(family: Family, rows: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match="empty"):
        nd.average([], rows)
    with pytest.raises(ConfigError, match="100"):
        nd.average(family, rows, lams=[100.0])
    with pytest.raises(ConfigError, match="members"):
        nd.average(family, rows, members=0)


def test_families_of_other_tasks_and_units_are_not_averaged(
    family: Family, rows: tuple[Tensor, Tensor]
) -> None:
    """Outputs of as many columns were averaged, whatever they meant."""
    x = rows[0]
    wide = nd.fit(nd.build("mlp:6", input_shape=(4,), n_outputs=3), rows, epochs=1, batch_size=40)
    with pytest.raises(ConfigError, match=r"\[2\] \(family 0\) and \[3\] \(family 1\)"):
        nd.average([family, wide], rows)
    net = nd.build("mlp:6", input_shape=(4,), n_outputs=2)
    numbers = nd.fit(net, (x, x[:, :2]), epochs=1, batch_size=40)
    with pytest.raises(ConfigError, match="family 0 was trained for classification and family 1"):
        nd.average([family, numbers], rows)
    units = [TargetScale(("a", "b"), (mean, 0.0), (1.0, 1.0)) for mean in (0.0, 5.0)]
    parts = [nd.Dataset(x, x[:, :2], target=unit) for unit in units]
    two = [nd.fit(net, part, epochs=1, batch_size=40) for part in parts]
    with pytest.raises(ConfigError, match="families 0 and 1 were trained on targets in different"):
        nd.average(two, parts[0])
    nd.average([two[0], two[0]], parts[0])

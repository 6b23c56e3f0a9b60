"""Cross-validation in one run: families side by side know nothing of each other's rows, and every row is scored unseen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError, DataError
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.family.running.compiled import library
from netdial.family.stacking import can_stack, stack, unstack
from netdial.folds.training import families_on, held_out_rows
from netdial.measure import intervals
from netdial.task.registry import settle
from netdial.train.config import make_config

LACK = "" if library.built_file().exists() else "nothing is compiled here yet"
SHORT: dict[str, Any] = {"epochs": 3, "batch_size": 16}
CLASSES = settle("classification")


def rows(count: int = 48, seed: int = 0) -> Dataset:
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, generator=source)
    return Dataset(x, (x[:, 0] + x[:, 1] > 0).long())


def perceptron(inputs: int = 4, outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 6), nn.Tanh(), nn.Linear(6, outputs))


def with_batch_norm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def pivots(family: nd.Family) -> Tensor:
    return torch.cat([part.detach().flatten() for part in family.parameters()])


@pytest.mark.parametrize("objective", ["l1", "l2", "ard", "scaled-kl"])
@pytest.mark.parametrize("sampling", ["stratified", "whole"])
def test_a_family_side_by_side_does_not_see_the_others_rows(objective: str, sampling: str) -> None:
    data, config = rows(), make_config(objective=objective, sampling=sampling, clip=0.5, **SHORT)
    everything = torch.arange(len(data))
    parts = [everything, everything[12:], everything[:36]]
    before = families_on(perceptron(), data, parts, CLASSES, config)
    spoiled = data.x.clone()
    spoiled[:12] = 50 * torch.randn(12, 4)
    after = families_on(perceptron(), replace(data, x=spoiled), parts, CLASSES, config)
    torch.testing.assert_close(pivots(after[1]), pivots(before[1]), rtol=0, atol=1e-6)
    assert not torch.allclose(pivots(after[0]), pivots(before[0]), atol=1e-3)
    assert not torch.allclose(pivots(after[2]), pivots(before[2]), atol=1e-3)


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_the_first_family_of_a_row_is_the_one_that_fit_gives(clip: float) -> None:
    data, config = rows(), make_config(clip=clip, **SHORT)
    everything = torch.arange(len(data))
    alone = nd.fit(perceptron(), data, config=config)
    beside = families_on(perceptron(), data, [everything, everything[:20]], CLASSES, config)
    torch.testing.assert_close(pivots(beside[0]), pivots(alone), rtol=0, atol=1e-6)
    assert [family.n_data for family in beside] == [48, 20]


def test_stacked_families_come_apart_as_they_were() -> None:
    made = [nd.Family(perceptron(), make_config(objective="ard").family()) for _ in range(3)]
    with torch.no_grad():
        for family in made:
            for part in family.parameters():
                part.add_(torch.randn_like(part))
    assert can_stack(made)
    for before, after in zip(made, unstack(stack(made), 3), strict=True):
        assert torch.equal(pivots(before), pivots(after))


@pytest.mark.skipif(bool(LACK), reason=LACK)
def test_the_compiled_step_trains_the_same_families() -> None:
    data = rows()
    parts = [torch.arange(48), torch.arange(12, 48)]
    plain, quick = (
        families_on(perceptron(), data, parts, CLASSES, make_config(compiled=compiled, **SHORT))
        for compiled in (False, True)
    )
    for one, other in zip(plain, quick, strict=True):
        torch.testing.assert_close(pivots(one), pivots(other), rtol=0, atol=1e-5)


def test_running_statistics_train_one_after_another_and_do_not_see_the_held_out_rows() -> None:
    data, config = rows(), make_config(**SHORT)
    part = torch.arange(12, 48)
    alone = nd.fit(with_batch_norm(), data.select(part), config=config)
    both = families_on(with_batch_norm(), data, [torch.arange(48), part], CLASSES, config)
    assert torch.equal(pivots(both[1]), pivots(alone))


def test_every_row_is_scored_by_the_family_that_has_not_seen_it() -> None:
    data = rows()
    found = nd.cross_validate(perceptron(), data, folds=4, lams=[0.1, 1.0], **SHORT)
    for member in found.path.members:
        losses = torch.empty(len(data))
        for family, held in zip(found.folds, found.rows, strict=True):
            out = family.export(member.lam)(data.x[held]).detach()
            losses[held] = nn.functional.cross_entropy(out, data.y[held], reduction="none")
        assert member.metrics["nll"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert torch.cat(found.rows).sort().values.tolist() == list(range(48))
    assert found.family.n_data == 48
    assert {family.n_data for family in found.folds} == {36}


def test_the_member_is_that_of_the_family_on_all_rows_and_the_average_that_of_all_families() -> (
    None
):
    data = rows()
    found = nd.cross_validate(perceptron(), data, folds=3, lams=3, **SHORT)
    nets = [family.export(found.lam) for family in (found.family, *found.folds)]
    assert torch.equal(found.member()(data.x), nets[0](data.x))
    mean = torch.stack([net(data.x).softmax(dim=1) for net in nets]).mean(dim=0)
    torch.testing.assert_close(found.average()(data.x).softmax(dim=1), mean)


def test_folds_of_a_splitter_hold_rows_of_one_group_together() -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    data, groups = rows(), [row // 8 for row in range(48)]
    splitter = model_selection.GroupKFold(3)
    folds = [held for _, held in splitter.split(data.x, data.y, groups)]
    found = nd.cross_validate(perceptron(), data, folds=folds, lams=2, **SHORT)
    assert [rows.tolist() for rows in found.rows] == [fold.tolist() for fold in folds]
    pairs = splitter.split(data.x, data.y, groups)
    again = nd.cross_validate(perceptron(), data, folds=pairs, lams=2, **SHORT)
    assert [rows.tolist() for rows in again.rows] == [fold.tolist() for fold in folds]


def test_repeated_rows_are_held_out_together() -> None:
    few, again = rows(12), torch.arange(12).repeat(5)
    few = replace(few, y=torch.arange(12) % 2)
    found = nd.cross_validate(perceptron(), few.select(again), folds=4, lams=2, **SHORT)
    held = [set(again[numbers].tolist()) for numbers in found.rows]
    assert [len(numbers) for numbers in found.rows] == [15] * 4
    assert sorted(row for fold in held for row in fold) == list(range(12))
    with pytest.raises(ConfigError, match="60 rows, 12 of them different; give a number from 2 to"):
        nd.cross_validate(perceptron(), few.select(again), folds=13, **SHORT)


def test_a_regression_gets_intervals_from_its_held_out_rows() -> None:
    source = torch.Generator().manual_seed(1)
    x = torch.randn(60, 3, generator=source)
    y = x[:, :1] + 0.3 * torch.randn(60, 1, generator=source)
    found = nd.cross_validate(perceptron(3, 1), (x, y), lams=5, epochs=40, batch_size=16)
    new = torch.randn(400, 3, generator=source)
    truth = new[:, :1] + 0.3 * torch.randn(400, 1, generator=source)
    inside = intervals(found.family, new, found.lam, level=0.9).covered(truth)
    assert 0.7 < float(inside.double().mean()) <= 1


def test_too_few_labels_for_a_network_choose_a_large_lam() -> None:
    """Labels that the inputs say nothing about: the simplest members predict unseen rows best."""
    source = torch.Generator().manual_seed(2)
    data = Dataset(
        torch.randn(60, 10, generator=source), torch.randint(0, 2, (60,), generator=source)
    )
    found = nd.cross_validate(perceptron(10), data, epochs=40, batch_size=16, lr=2e-2)
    assert found.lam >= 1
    assert found.path.members[0].metrics["nll"] > found.path.best().metrics["nll"] + 0.1


@given(st.integers(2, 7), st.lists(st.integers(0, 3), min_size=7, max_size=60))
@settings(max_examples=40)
def test_folds_hold_every_row_once_with_as_even_a_mix_as_can_be(
    folds: int, classes: list[int]
) -> None:
    targets = torch.tensor(classes)
    held = held_out_rows(targets, folds, generator(0, "folds"))
    assert torch.cat(held).sort().values.tolist() == list(range(len(classes)))
    sizes = [len(part) for part in held]
    assert max(sizes) - min(sizes) <= 1
    for name in set(classes):
        counts = [int((targets[part] == name).sum()) for part in held]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("folds", [1, 0, -3, 49])
def test_a_number_of_folds_that_cannot_be_is_refused_with_what_can(folds: int) -> None:
    with pytest.raises(ConfigError, match="2 to 48"):
        nd.cross_validate(perceptron(), rows(), folds=folds, **SHORT)


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ([[0, 1], [1, 2]], "exactly once"),
        ([list(range(24)), list(range(24, 47))], "47"),
        ([list(range(24)), list(range(24, 49))], "48"),
        ([[0.5, 1.5], [2.5]], "whole"),
        ([[True] * 48, [False] * 48], "whole"),
        ([["a"], ["b"]], "fold 1 is no list of rows"),
        ([(range(24), range(24, 48)), (range(24, 47), range(24))], "fold 2 hold 23 and 24 of 48"),
        ([(range(24), range(24, 48)), (range(24, 48), range(24), range(2))], "fold 2 is no list"),
    ],
)
def test_folds_that_do_not_hold_every_row_once_are_refused(folds: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        nd.cross_validate(perceptron(), rows(), folds=folds, **SHORT)  # type: ignore[arg-type]


def test_patience_is_refused_for_want_of_rows_to_stop_by() -> None:
    with pytest.raises(ConfigError, match="patience"):
        nd.cross_validate(perceptron(), rows(), patience=2, **SHORT)


def test_rows_of_weight_0_are_as_if_they_were_not_there() -> None:
    data, config = rows(), make_config(**SHORT)
    weight = (torch.arange(48) >= 6).float()
    everything = torch.arange(48)
    there = families_on(
        perceptron(), replace(data, weight=weight), [everything, everything[:30]], CLASSES, config
    )
    left = data.select(everything[6:])
    without = families_on(perceptron(), left, [everything[:42], everything[:24]], CLASSES, config)
    for one, other in zip(there, without, strict=True):
        torch.testing.assert_close(pivots(one), pivots(other), rtol=0, atol=1e-6)
        assert one.n_data == other.n_data
    found = nd.cross_validate(perceptron(), replace(data, weight=weight), folds=4, **SHORT)
    assert found.family.n_data == sum(len(held) for held in found.rows) - 6

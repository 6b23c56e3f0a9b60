"""Statistics along λ: cells, interpolation between their centres, and exchange between processes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from netdial.family.buffers import CELLS, StatisticsBank


def banked(rows: tuple[float, ...] = ()) -> StatisticsBank:
    """A bank whose running means tell their cell: 0, 1, 2, …"""
    bank = StatisticsBank(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), rows)
    for index, centre in enumerate(bank.centres):
        bank.cell(centre)["1.running_mean"].fill_(index)
        bank.cell(centre)["1.num_batches_tracked"].fill_(10 * index)
    return bank


def level(bank: StatisticsBank, unit: float) -> float:
    return float(bank.at(unit)["1.running_mean"][0])


def test_only_statistics_are_banked() -> None:
    assert banked().names == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    assert (
        StatisticsBank(
            nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3))
        ).names
        == []
    )


@pytest.mark.parametrize(
    ("unit", "cell"), [(0.0, 0), (0.1, 0), (0.13, 1), (0.5, 4), (0.99, 7), (1.0, 7)]
)
def test_cells_are_equal_parts_of_the_range(unit: float, cell: int) -> None:
    assert float(banked().cell(unit)["1.running_mean"][0]) == cell


def test_updating_a_cell_in_place_updates_the_bank() -> None:
    bank = banked()
    bank.cell(0.3)["1.running_var"].mul_(5)
    assert float(bank.cell(0.26)["1.running_var"][0]) == 5
    assert float(bank.cell(0.4)["1.running_var"][0]) == 1


def test_statistics_are_interpolated_between_centres_and_level_outside() -> None:
    bank = banked()
    for index in range(CELLS):
        assert level(bank, (index + 0.5) / CELLS) == pytest.approx(index)
    assert level(bank, 1 / CELLS) == pytest.approx(0.5)
    assert level(bank, 0.3125 + 0.03125) == pytest.approx(2.25)
    assert (level(bank, 0.0), level(bank, 1.0)) == (0, CELLS - 1)
    counts = [int(bank.at(unit)["1.num_batches_tracked"]) for unit in (0.0, 0.2, 1.0)]
    assert counts == [0, 10, 70]


def test_directly_trained_networks_do_not_share_statistics() -> None:
    bank = banked(rows=(0.5, 0.0, 0.52))
    assert bank.centres == [0.0, 0.5, 0.52]
    assert [level(bank, unit) for unit in (0.0, 0.5, 0.52)] == [0, 1, 2]
    bank.cell(0.52)["1.running_mean"].fill_(-1)
    assert level(bank, 0.5) == 1


def test_a_single_row_is_given_as_it_is() -> None:
    bank = banked(rows=(0.3,))
    assert level(bank, 0.3) == 0
    assert bank.cell(0.3)["1.running_mean"].shape == (3,)


def test_exchange_takes_each_cell_from_the_process_that_updated_it() -> None:
    units = torch.tensor([0.05, 0.3, 0.55, 0.8], dtype=torch.float64)
    ranks = [0, 0, 1, 1]
    alone = banked()
    banks = [banked(), banked()]
    for unit, rank in zip(units.tolist(), ranks, strict=True):
        for bank in (alone, banks[rank]):
            bank.cell(unit)["1.running_mean"].add_(100 + unit)
            bank.cell(unit)["1.num_batches_tracked"].add_(1)

    posted: list[list[Tensor]] = []
    for rank, bank in enumerate(banks):
        bank.exchange(units, ranks, rank, posted.append)
    totals = [first + second for first, second in zip(*posted, strict=True)]
    for name, total in zip(alone.names, totals, strict=True):
        expected = torch.stack([alone.cell(centre)[name] for centre in alone.centres])
        assert torch.equal(total, expected), name

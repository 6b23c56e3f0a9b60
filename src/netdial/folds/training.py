"""Families on several parts of the same rows, side by side in one run where that is possible.

Side by side, a step gives the same complexity values to all families, each with a batch of its own rows, and is one step of a
network with as many more groups (``family.stacking``). Steps of small networks are mostly overhead, so S families cost far less
than S runs. An optimiser that treats every number by itself moves each family as it would move it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.data.memory.weights import weighted_rows
from netdial.family.family import Family
from netdial.task import Task
from netdial.train.config import FitConfig
from netdial.train.fit import run, run_side_by_side, side_by_side
from netdial.train.loop import Epoch


def families_on(
    net: nn.Module,
    data: Dataset,
    parts: Sequence[Tensor],
    task: Task,
    config: FitConfig,
    report: Callable[[Epoch], None] | None = None,
) -> list[Family]:
    """Returns a family for each part of the rows, all from the same start, in evaluation mode.

    Side by side all make the same number of steps, as many as epochs over all rows take, in batches that the smallest part can
    fill and that divide among the groups. One after another, each makes its epochs over its own rows.

    Args:
        net: where all start.
        data: the rows.
        parts: indices of the rows ``[N_s]`` of each family.
        task: what is predicted.
        config: settings of each.
        report: told of every finished epoch.

    Raises:
        ConfigError: ``patience`` was given, which needs rows that no family trains on.
    """
    if config.patience:
        raise ConfigError(
            f"patience={config.patience}: needs rows to stop by that none of the families trains on; leave it out"
        )
    data, parts = weighted_rows(data, config.class_weight, task.targets, parts)
    config = config.changed(class_weight=None)  # rows have it now
    families = [Family(net, config.family()) for _ in parts]
    if not side_by_side(families, config):
        return [
            run(family, data.select(rows), None, kind=task, config=config, report=report)
            for family, rows in zip(families, parts, strict=True)
        ]
    found = run_side_by_side(families, data, kind=task, config=config, report=report, rows=parts)
    for family, rows in zip(found, parts, strict=True):
        family.config = replace(family.config, n_data=len(rows))
    return found


def held_out_rows(targets: Tensor, folds: int, order: torch.Generator) -> list[Tensor]:
    """Returns the rows of each fold ``[N_s]``, in rising order, at random and with as even a mix of classes as can be.

    Args:
        targets: classes ``[N]``, or anything else, which is not looked at.
        folds: how many.
        order: source of the random order.
    """
    rows = torch.randperm(len(targets), generator=order)
    if not targets.is_floating_point() and targets.ndim == 1:
        rows = rows[targets.cpu()[rows].argsort(stable=True)]
    return [rows[start::folds].sort().values for start in range(folds)]

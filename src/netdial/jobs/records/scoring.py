"""What one network is worth on a part of the data, and a prediction that looks at no input beside it.

The ``nll`` of a regression whose noise is not known is under the law of the network's errors on validation rows, as that of
members of a family is, so that the two can be compared.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from netdial.data import Splits
from netdial.measure.compare import constant_of, spread_of, terms_of
from netdial.measure.forward import outputs
from netdial.measure.noise import with_errors
from netdial.task import task_of


def scores(net: nn.Module, task: Splits, part: str, *, error: bool = False) -> dict[str, float]:
    """Returns what the network is worth on a part of the data: accuracy, loss, calibration; or RMSE, in units, and R².

    Args:
        net: the network.
        task: its data.
        part: part of the data.
        error: whether to add the standard error of the proper loss, ``nll_error`` or ``rmse_error``.
    """
    data, judge = task.part(part), task_of(task)
    out, y = outputs(net, data), data.y.cpu()
    judge = judge.seen(out, y)
    held_out = out if part == "valid" else outputs(net, task.valid)
    found = with_errors(judge, held_out, task.valid.y).at(1.0).plugged_in().metrics(out, y)
    if error:
        terms = terms_of(out[None], y, judge)[0]
        found[f"{judge.proper}_error"] = spread_of(terms, judge, None, found[judge.proper])
    return {name: value for name, value in found.items() if math.isfinite(value)}


def constant_scores(task: Splits, part: str) -> dict[str, float]:
    """Returns what a prediction that looks at no input is worth on a part of the data."""
    # any errors do: those of the constant itself take their place
    judge = with_errors(task_of(task), torch.zeros_like(task.valid.y), task.valid.y)
    places = task.train.y[0].numel() if judge.targets == "class maps" else 1
    return constant_of(judge, task.train.y, task.part(part).y, task.n_outputs * places)

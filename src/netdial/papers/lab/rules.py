"""Two rules that turn many accuracies into one row of a table: the papers', and an honest one.

The rule of Table 1 of the 2022 paper, found from the authors' published result files: in every column, the maximum over all
complexity values and all starts of the accuracy on TEST data. The best of thirty test readings is not an estimate of what
anybody will get, so it serves only to compare like with like. The honest rule chooses on validation data.

Shapes: L complexity values, R starts, S shares of weights removed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from netdial.core.best import Row, best


class Honest(NamedTuple):
    """Test accuracy of the members chosen on validation data.

    Attributes:
        mean: over starts ``[S]``.
        std: over starts, with R - 1 in the denominator ``[S]``; nan for a single start.
        chosen: index of the complexity value ``[R, S]``.
    """

    mean: Tensor
    std: Tensor
    chosen: Tensor


def paper_rule(test: Tensor) -> Tensor:
    """Returns the maximum over complexity values and starts ``[S]`` of accuracies ``[L, R, S]``.

    >>> paper_rule(torch.tensor([[[0.9, 0.5], [0.8, 0.7]], [[0.7, 0.6], [0.6, 0.4]]])).tolist()
    [0.8999999761581421, 0.699999988079071]
    """
    return test.amax(dim=(0, 1))


def honest_rule(valid: Tensor, test: Tensor) -> Honest:
    """Returns test accuracy when each start and each share has its complexity value chosen on validation data.

    By the rule ``best`` of ``core.best``: of equally good values the largest, the simplest network, is taken.

    Args:
        valid: accuracies on validation data ``[L, R, S]``, complexity values rising.
        test: accuracies on test data ``[L, R, S]``.
    """
    chosen = torch.tensor(
        [
            [best([Row(float(lam), -v) for lam, v in enumerate(lams)]) for lams in start]
            for start in valid.permute(1, 2, 0).tolist()
        ]
    )
    found = test.gather(0, chosen[None])[0]
    spread = found.std(dim=0) if len(found) > 1 else torch.full_like(found[0], torch.nan)
    return Honest(found.mean(dim=0), spread, chosen)

"""Connectionist temporal classification: its loss as one operation of an exported program; torch.export has no form for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

_LOSS = F.ctc_loss


@torch.library.custom_op("netdial::ctc_loss", mutates_args=())
def _ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Stands for the loss while it is exported; computes it where code goes by the numbers of the example."""
    return _LOSS(log_probs, targets, lengths, target_lengths, blank, reduction, zero_infinity)


@_ctc_loss.register_fake
def _(
    log_probs: Tensor,
    targets: Tensor,
    lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    each = reduction == "none" and log_probs.ndim == 3
    return log_probs.new_empty(log_probs.shape[1:2] if each else ())


@contextmanager
def ctc_named() -> Iterator[None]:
    """Makes the loss of tensors one operation of what is exported meanwhile."""

    def loss(
        log_probs: Tensor,
        targets: Tensor,
        lengths: Any,
        target_lengths: Any,
        *how: Any,
        **named: Any,
    ) -> Tensor:
        given = (log_probs, targets, lengths, target_lengths)
        known = all(isinstance(part, Tensor) for part in given)
        found: Tensor = (torch.ops.netdial.ctc_loss if known else _LOSS)(*given, *how, **named)
        return found

    with patch.object(F, "ctc_loss", loss):
        yield

"""Classification: one of several classes, by logits.

Definitions are torchmetrics'. The Brier score is the mean over examples of the squared distance between predicted
probabilities and the one-hot target (0 best, 2 worst); ECE uses 15 equal bins of the top probability. Balanced accuracy is
the mean of the recalls, F1 the mean of the F1 scores and AUC the mean of the one-against-rest areas, over the classes that
occur among the targets.

Shapes: B examples, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from netdial.core.errors import ConfigError, DataError
from netdial.data.memory.targets import Targets
from netdial.task.base import Task
from netdial.task.metric import NLL, Metric
from netdial.task.registry import TASKS

_MANY = 64
_ROUNDING = 1e-4  # of probabilities that add up to 1


def categorical_nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns -log p(y|x) in nats ``[B]`` of class indices ``[B]`` under logits ``[B, classes]``.

    Many short rows are laid out as few long ones, over which torch is six times as quick (7,680 examples, 10 classes).
    """
    if outputs.ndim == 2 and outputs.shape[0] > _MANY * outputs.shape[1]:
        across: Tensor = F.cross_entropy(outputs.mT[None], targets[None], reduction="none")
        return across[0]
    return F.cross_entropy(outputs, targets, reduction="none")


def refuse_probabilities(outputs: Tensor, dim: int) -> None:
    """Refuses outputs that are probabilities of the classes along a dimension.

    Raises:
        ConfigError: they are. The log loss takes a softmax of them once more, so it never comes near 0.
    """
    if outputs.shape[dim] < 2 or not outputs.numel() or bool((outputs < 0).any()):
        return
    totals = outputs.double().sum(dim=dim)
    if bool((totals - 1).abs().max() < _ROUNDING):
        raise ConfigError(
            "the network's outputs are probabilities (none is negative, and those of an example add up to 1); a "
            "classification takes the numbers before the softmax, and takes it by itself: leave the last softmax out"
        )


def _right(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns 1 where the class of the target is on top; of equal classes the first counts."""
    return (outputs.max(dim=-1).indices == targets).to(outputs.dtype)


def _brier(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Returns ‖p - e_y‖² = ‖p‖² - 2 p_y + 1."""
    probs = outputs.softmax(dim=-1)
    return probs.square().sum(dim=-1) - 2 * _of_target(probs, targets) + 1


def _of_target(values: Tensor, targets: Tensor) -> Tensor:
    """Returns the values ``[..., B]`` of the targets' classes, of ``[..., B, C]``."""
    index = targets.long().expand(values.shape[:-1])[..., None]
    return values.gather(-1, index)[..., 0]


def _ece(task: Task, outputs: Tensor, targets: Tensor) -> float:
    from torchmetrics.functional.classification import multiclass_calibration_error

    probs = outputs.softmax(dim=-1)
    return float(multiclass_calibration_error(probs, targets, probs.shape[-1], n_bins=15))


def _over_classes(score: str, outputs: Tensor, targets: Tensor) -> float:
    """Returns the mean of a score of each class over the classes that occur among the targets; NaN where none has one.

    A class that every example is of has no area under the ROC curve.
    """
    from torchmetrics.functional import classification

    probs = outputs.softmax(dim=-1)
    count = probs.shape[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that do not occur; they are left out below
        each = getattr(classification, score)(probs, targets, count, average="none")
    support = targets.bincount(minlength=count)
    most = len(targets) - 1 if score == "multiclass_auroc" else len(targets)
    return float(each[(support > 0) & (support <= most)].double().mean())


@TASKS.add("classification")
@dataclass(frozen=True)
class Classification(Task):
    """One of C classes: targets int64 ``[N]`` from 0 on, outputs logits ``[N, C]``; choices are made by log loss."""

    name: ClassVar[str] = "classification"
    targets: ClassVar[Targets] = "classes"
    reported: ClassVar[tuple[str, ...]] = ("accuracy", "nll", "brier", "ece")
    loss_name: ClassVar[str] = "log loss"
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric(each=_right, higher=True),
        "nll": NLL,
        "brier": Metric(each=_brier),
        "ece": Metric(whole=_ece),
        "balanced_accuracy": Metric(
            whole=lambda task, out, y: _over_classes("multiclass_recall", out, y), higher=True
        ),
        "f1": Metric(
            whole=lambda task, out, y: _over_classes("multiclass_f1_score", out, y), higher=True
        ),
        "auc": Metric(
            whole=lambda task, out, y: _over_classes("multiclass_auroc", out, y), higher=True
        ),
    }

    def nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) in nats ``[B]`` of class indices ``[B]`` under logits ``[B, C]``."""
        return categorical_nll(outputs, targets)

    def member_nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) in nats ``[M, B]`` under logits ``[M, B, C]``."""
        if outputs.ndim > 3:
            return super().member_nll(outputs, targets)
        return outputs.logsumexp(dim=-1) - _of_target(outputs, targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the log loss ``[..., B]`` in nats."""
        return outputs.logsumexp(dim=-1) - _of_target(outputs, targets)

    def count(self, targets: Tensor) -> int:
        """Returns the number of classes up to the largest one among the targets.

        Raises:
            DataError: the targets are not class indices ``[N]``.
        """
        whole = targets.dtype in (torch.int64, torch.uint8)
        if targets.ndim != 1 or not whole or int(targets.min()) < 0:
            cure = "give int64 [N] from 0 on, or kind='regression'"
            if targets.ndim == 1 and targets.is_floating_point():
                are_whole = bool((targets == targets.round()).all())
                ways = [
                    "classes are whole numbers, y.astype(int)",
                    "numbers are columns, y[:, None]",
                ]
                if are_whole and int(targets.max()) <= 1:
                    own = "loss=torch.nn.functional.binary_cross_entropy_with_logits"
                    ways.insert(1, f"0 and 1 for one output are for a loss of yours, {own}")
                cure = "; ".join(ways if are_whole else ways[::-1])
            raise DataError(
                f"targets {list(targets.shape)} of {targets.dtype} are no classes; {cure}"
            )
        return int(targets.max()) + 1

    def fits(self, n_outputs: int, asked: int) -> bool:
        """Returns whether there is an output for every class; a network may know more classes than occur."""
        return n_outputs >= asked

    def misfit(self, outputs: Tensor, targets: Tensor | None, asked: int) -> str:
        """Returns what outputs of a few examples should have been, in words; empty if they can be scored.

        Raises:
            ConfigError: they are probabilities.
        """
        if due := super().misfit(outputs, targets, asked):
            return due
        refuse_probabilities(outputs, dim=1)
        return ""

    def constant(self, targets: Tensor, n_outputs: int) -> Tensor:
        """Returns the logarithms ``[C]`` of the class frequencies; a class that does not occur counts as half an example."""
        counts = targets.long().bincount(minlength=n_outputs).double().clamp_min(0.5)
        return (counts / counts.sum()).log()

    def root(self, outputs: Tensor) -> Tensor:
        """Returns √p_k (e_k - p) ``[B, C, C]``, whose outer products add up to diag(p) - p pᵀ."""
        probs = outputs.softmax(dim=-1)
        unit = torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
        return probs.sqrt()[..., None] * (unit - probs[..., None, :])

    def to_mean(self, outputs: Tensor) -> Tensor:
        """Returns the probabilities."""
        return outputs.softmax(dim=-1)

    def of_mean(self, mean: Tensor) -> Tensor:
        """Returns log probabilities."""
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()

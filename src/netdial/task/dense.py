"""Predictions at many places of an image or a text: a class at each, or numbers of the shape of the targets.

Places beside each other are alike, so an example counts as one observation whatever its size: its likelihood is the geometric
mean over its places, and its loss the mean. Standard errors are over examples.

The Fisher information of an example in its outputs, Λ = (1/P) Σ_p Λ_p, has a column for each of them. A few random sums of the
columns, with signs, have outer products that are Λ on average (Hutchinson 1990).

Shapes: B examples, C classes, P places (one or more dimensions), M members.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError
from netdial.data.memory.targets import NOT_COUNTED, Targets
from netdial.task.base import Task
from netdial.task.classification import refuse_probabilities
from netdial.task.metric import NLL, Metric
from netdial.task.registry import TASKS
from netdial.task.regression import HALF_LOG_2PI

_SUMS = 16
"""Random sums of the columns of the information of an example."""


def over_places(values: Tensor, counted: Tensor) -> Tensor:
    """Returns the mean ``[..., B]`` of values ``[..., B, P]`` over the places of each example that count ``[B, P]``."""
    weight = counted.reshape(len(counted), -1).to(values)
    flat = values.reshape(*values.shape[: values.ndim - counted.ndim + 1], -1)
    return (flat * weight).sum(dim=-1) / weight.sum(dim=-1).clamp_min(1)


class Dense(Task):
    """What the tasks of this file have in common; what several draws predict is their mean at each place."""

    mixes: ClassVar[bool] = False

    def root(self, outputs: Tensor) -> Tensor:
        """Refuses: it has as many columns as there are outputs.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"task {self.name!r}: outputs of many places have curvature of which only the diagonal is told; choose obd-ggn, a "
            "diagonal, or what needs no curvature"
        )

    @abstractmethod
    def place_information(self, outputs: Tensor, targets: Tensor, signs: Tensor) -> Tensor:
        """Returns √(Λ_p/P) times signs ``[B, K, ...]`` at the places of outputs ``[B, 1, ...]`` that count."""

    def information(self, outputs: Tensor, targets: Tensor, source: torch.Generator) -> Tensor:
        """Returns s ``[B, K, ...]`` whose outer products add up to the Fisher information on average."""
        shape = (len(outputs), _SUMS, *outputs.shape[1:])
        signs = 2 * torch.randint(0, 2, shape, generator=source) - 1
        found = self.place_information(outputs[:, None], targets, signs.to(outputs))
        return found / math.sqrt(_SUMS)

    def nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) of each example ``[..., B]`` in nats per place."""
        return self.loss(outputs, targets)

    def member_nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) ``[M, B]`` in nats per place."""
        return self.nll(outputs, targets)


def _right(task: DenseClassification, outputs: Tensor, targets: Tensor) -> Tensor:
    right = (outputs.argmax(dim=task.axis) == targets).to(outputs.dtype)
    return over_places(right, targets != NOT_COUNTED)


def _iou(task: DenseClassification, outputs: Tensor, targets: Tensor) -> float:
    """Returns the mean over classes of the places where prediction and target agree, of those where either is the class."""
    found, counted = outputs.argmax(dim=task.axis), targets != NOT_COUNTED
    shares = []
    for index in targets[counted].unique().tolist():
        one, other = (found == index) & counted, (targets == index) & counted
        shares.append(float((one & other).sum()) / float((one | other).sum()))
    return sum(shares) / max(len(shares), 1)


@TASKS.add("dense-classification")
@dataclass(frozen=True)
class DenseClassification(Dense):
    """One of C classes at each place: targets int64 ``[N, P]``, -100 where nothing counts; outputs logits.

    Attributes:
        dim: dimension of the classes, counted from the last: -1 for ``[N, P, C]``, as models of text give it, else torch's own
            ``[N, C, P]``; None until outputs were seen.
    """

    dim: int | None = None

    name: ClassVar[str] = "dense-classification"
    targets: ClassVar[Targets] = "class maps"
    reported: ClassVar[tuple[str, ...]] = ("accuracy", "iou", "nll")
    loss_name: ClassVar[str] = "log loss"
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "accuracy": Metric(each=_right, higher=True),
        "iou": Metric(whole=_iou, higher=True),
        "nll": NLL,
    }

    @property
    def axis(self) -> int:
        """Dimension of the classes."""
        return -1 if self.dim is None else self.dim

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the log loss ``[..., B]`` in nats, averaged over places."""
        log_p = outputs.log_softmax(dim=self.axis).movedim(self.axis, -1)
        counted = targets != NOT_COUNTED
        index = targets.long().where(counted, 0).expand(log_p.shape[:-1])[..., None]
        return over_places(-log_p.gather(-1, index)[..., 0], counted)

    def count(self, targets: Tensor) -> int:
        """Returns the number of classes up to the largest one among the targets.

        Raises:
            DataError: the targets are not class indices.
        """
        if targets.is_floating_point():
            raise DataError(
                f"targets {list(targets.shape)} of {targets.dtype} are no classes; give int64 [N, ...] from 0 on, or "
                "kind='regression'"
            )
        if not bool((targets != NOT_COUNTED).any()):
            raise DataError(f"targets {list(targets.shape)}: all are {NOT_COUNTED}, so none counts")
        return int(targets.max()) + 1

    def misfit(self, outputs: Tensor, targets: Tensor | None, asked: int) -> str:
        """Returns what outputs of a few examples should have been, in words; empty if they can be scored."""
        if targets is None:
            return ""
        places, dims = list(targets.shape[1:]), self._dims(outputs, targets)
        shown = ", ".join(map(str, places))
        if len(dims) > 1 and self.dim is None:
            return (
                f"classes along one dimension; both fit targets {list(targets.shape)}. Say which: "
                f"kind=netdial.task.DenseClassification(dim={dims[0]}), or dim={dims[1]}"
            )
        if not dims or outputs.shape[dims[0]] < asked:
            rows = (
                " (of one-hot rows give y.argmax(1); of several labels that may hold at once y.float() and "
                "loss=torch.nn.functional.binary_cross_entropy_with_logits)"
                if outputs.ndim == targets.ndim == 2
                else ""
            )
            return (
                f"[{len(outputs)}, {asked}, {shown}] or [{len(outputs)}, {shown}, {asked}]: {asked} classes at each of the "
                f"places of targets {list(targets.shape)}{rows}"
            )
        refuse_probabilities(outputs, dims[0])
        return ""

    def seen(self, outputs: Tensor, targets: Tensor) -> DenseClassification:
        """Returns the task with the dimension of the classes."""
        return replace(self, dim=self._dims(outputs, targets)[0])

    def _dims(self, outputs: Tensor, targets: Tensor) -> list[int]:
        """Returns which dimensions of outputs may be that of the classes, counted from the last."""
        places = targets.shape[1:]
        found = dict.fromkeys((-1 - len(places), -1) if self.dim is None else (self.dim,))
        if outputs.ndim != targets.ndim + 1 or len(outputs) != len(targets):
            return []
        rest = {dim: outputs.movedim(dim, -1).shape[1:-1] for dim in found}
        return [dim for dim, shape in rest.items() if shape == places]

    def is_single(self, outputs: Tensor, targets: Tensor) -> bool:
        """Returns whether outputs are those of one network."""
        return outputs.ndim == targets.ndim + 1

    def classes_of(self, outputs: Tensor) -> int:
        """Returns how many classes a network knows."""
        return outputs.shape[self.axis]

    def constant(self, targets: Tensor, n_outputs: int) -> Tensor:
        """Returns the logarithms of the class frequencies over all places; of the shape of the outputs of one example."""
        shape, counted = list(targets.shape[1:]), targets[targets != NOT_COUNTED]
        count = n_outputs // max(math.prod(shape), 1)
        counts = counted.bincount(minlength=count).double().clamp_min(0.5)
        row = (counts / counts.sum()).log()
        return row.expand(*shape, -1).movedim(-1, self.axis)

    def place_information(self, outputs: Tensor, targets: Tensor, signs: Tensor) -> Tensor:
        """Returns Σ_c ε_c √p_c (e_c - p) / √P at each place that counts: Λ_p = diag(p) - p pᵀ."""
        probs, counted = outputs.softmax(dim=self.axis), targets != NOT_COUNTED
        drawn = signs * probs.sqrt()
        found = drawn - drawn.sum(dim=self.axis, keepdim=True) * probs
        weight = counted / counted.flatten(1).sum(dim=1).clamp_min(1).view(
            -1, *[1] * (counted.ndim - 1)
        )
        return found * weight.sqrt().to(found).unsqueeze(self.axis)[:, None]

    def to_mean(self, outputs: Tensor) -> Tensor:
        """Returns the probabilities."""
        return outputs.softmax(dim=self.axis)

    def of_mean(self, mean: Tensor) -> Tensor:
        """Returns log probabilities."""
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def _squares(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    return over_places((outputs - targets).square(), torch.ones_like(targets, dtype=torch.bool))


@TASKS.add("dense-regression")
@dataclass(frozen=True)
class DenseRegression(Dense):
    """Numbers at each place, for example an image: targets and outputs float ``[N, P]``; choices are made by squared error.

    Attributes:
        noise_var: variance of the normal laws of their errors.
    """

    noise_var: float = 1.0

    name: ClassVar[str] = "dense-regression"
    targets: ClassVar[Targets] = "arrays"
    reported: ClassVar[tuple[str, ...]] = ("rmse", "nll")
    loss_name: ClassVar[str] = "squared error"
    proper: ClassVar[str] = "rmse"
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "rmse": Metric(each=_squares, finish=torch.sqrt, unit="units of the target"),
        "nll": NLL,
    }

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the squared error, averaged over places ``[..., B]``."""
        return _squares(self, outputs, targets)

    def nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns -log p(y|x) of each example ``[..., B]`` in nats per place."""
        squares = self.loss(outputs, targets) / self.noise_var
        return 0.5 * (squares + math.log(self.noise_var)) + HALF_LOG_2PI

    def count(self, targets: Tensor) -> int:
        """Returns the numbers of one target.

        Raises:
            DataError: the targets are not numbers.
        """
        if not targets.is_floating_point():
            raise DataError(
                f"targets {list(targets.shape)} of {targets.dtype} are no numbers; give floating point, y.float(), or "
                "kind='classification'"
            )
        return math.prod(targets.shape[1:])

    def misfit(self, outputs: Tensor, targets: Tensor | None, asked: int) -> str:
        """Returns what outputs of a few examples should have been, in words; empty if they can be scored."""
        if targets is None or outputs.shape == targets.shape:
            return ""
        alike = outputs.numel() == targets.numel()
        how = f"; give y.reshape({[-1, *outputs.shape[1:]]})" if alike else ""
        return f"{list(targets.shape)}, that of the targets{how}"

    def is_single(self, outputs: Tensor, targets: Tensor) -> bool:
        """Returns whether outputs are those of one network."""
        return outputs.ndim == targets.ndim

    def place_information(self, outputs: Tensor, targets: Tensor, signs: Tensor) -> Tensor:
        """Returns ε / √(P var) at each place: Λ_p = 1 / var."""
        return signs / math.sqrt(math.prod(outputs.shape[2:]) * self.noise_var)

    def constant(self, targets: Tensor, n_outputs: int) -> Tensor:
        """Returns the mean of the targets at each place."""
        return targets.double().mean(dim=0)

"""A loss function of the user's own as a task: of outputs and targets of any shape."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError, first_line
from netdial.data.memory.targets import Targets
from netdial.task.base import Task
from netdial.task.metric import Metric

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) -> one number for the batch, or one for each example, or more of each, which are averaged."""


_TOLERANCE = 1e-4
_SPREAD = "Using a target size"
"""How torch's warning begins where a loss broadcasts outputs and targets."""


def _mean(task: Task, outputs: Tensor, targets: Tensor) -> float:
    return float(task.nll(outputs, targets).double().mean())


@dataclass(frozen=True)
class Loss(Task):
    """What a loss function asks for; ``Loss.of(function)`` makes it.

    A function that gives one number for a batch has its say over each group of examples by itself. It is not written to files:
    a family that is loaded has to be given it again where losses are computed.

    Attributes:
        title: what the function is called.
        whole: whether it gives one number for a batch.
        function: the function; None once it was loaded from a file.
        dtype: number type of the outputs that it was tried on, in which it is given all: scores are of outputs in double
            precision, and what the function holds, as weights of classes, is not.
        of_all: what the function says of all that a network gives, where it gets the output that is scored.
    """

    title: str = ""
    whole: bool = False
    function: LossFunction | None = field(default=None, compare=False, repr=False)
    dtype: Any = field(default=None, compare=False, repr=False)
    of_all: str = field(default="", compare=False, repr=False)

    name: ClassVar[str] = "loss"
    targets: ClassVar[Targets] = "any"
    reported: ClassVar[tuple[str, ...]] = ("loss",)
    loss_name: ClassVar[str] = "loss"
    proper: ClassVar[str] = "loss"
    has_constant: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    METRICS: ClassVar[Mapping[str, Metric]] = {
        "loss": Metric(whole=_mean),
        "nll": Metric(whole=_mean),
    }

    @classmethod
    def of(cls, function: LossFunction) -> Loss:
        """Returns the task of a loss function.

        >>> Loss.of(torch.nn.L1Loss()).title
        'L1Loss'
        """
        name = getattr(function, "__qualname__", type(function).__name__)
        return cls(name.replace("<locals>.", ""), function=function)

    def settings(self) -> dict[str, Any]:
        """Returns the task as plain values, without the function."""
        return {"name": self.name, "title": self.title, "whole": self.whole}

    def nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss of each example ``[B]``; that of the batch, for each, if there is one number for all.

        Raises:
            ConfigError: the function is not there, or gives something else.
        """
        if self.function is None:
            raise ConfigError(
                f"the loss of this family was a function ({self.title}), and files do not hold functions; give it again: "
                "loss=, or kind=netdial.task.Loss.of(function)"
            )
        function = self.function
        if isinstance(function, nn.Module):  # its weights of classes go where the outputs are
            function = function.to(outputs.device)
        found = function(*self._as_tried(outputs, targets))
        if not isinstance(found, Tensor) or not found.is_floating_point():
            what = list(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ConfigError(
                f"loss {self.title}: gave {what}; a loss is one floating-point number for the batch, or one for each example"
            )
        if found.numel() == 1:
            return found.reshape(1).expand(len(outputs))
        if len(found) != len(outputs):
            raise ShapeError(
                f"loss {self.title}: gave {list(found.shape)} for {len(outputs)} examples; give one number for all, or one for "
                "each"
            )
        return found.flatten(1).mean(dim=1) if found.ndim > 1 else found

    def _as_tried(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Returns outputs and targets in the number type of those that the function was tried on."""
        if self.dtype is None:
            return outputs, targets
        real = self.dtype.to_real() if targets.is_floating_point() else targets.dtype
        return outputs.to(self.dtype), targets.to(real)

    def nll_by_groups(self, outputs: Tensor, targets: Tensor, groups: int) -> Tensor:
        """Returns the losses ``[G b]`` of as many batches one after another, of which each has a loss of its own."""
        if groups == 1 or not self.whole:
            return self.nll(outputs, targets)
        pairs = zip(outputs.chunk(groups), targets.chunk(groups), strict=True)
        return torch.cat([self.nll(one, other) for one, other in pairs])

    def member_nll(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the losses ``[M, B]`` of outputs ``[M, B, ...]``."""
        return torch.stack([self.nll(one, targets) for one in outputs])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the losses ``[M, B]`` of outputs ``[M, B, ...]``."""
        return self.member_nll(outputs, targets)

    def count(self, targets: Tensor) -> int:
        """Returns 0: what targets ask for is known to the function alone."""
        return 0

    def classes_of(self, outputs: Tensor) -> int | None:
        """Returns None: targets may be no classes."""
        return None

    def misfit(self, outputs: Tensor, targets: Tensor | None, asked: int) -> str:
        """Returns what the function says of outputs of a few examples that it cannot take."""
        if targets is None or self.function is None:
            return ""
        self = self._in_type(outputs.dtype)
        with torch.enable_grad():
            given = outputs.detach().requires_grad_()
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("error", _SPREAD)
                    found = self.nll(given, targets)
            except (ConfigError, ShapeError):
                raise
            except Exception as error:  # of the user's function
                why = f"it fails with {type(error).__name__}: {first_line(error)}"
                if isinstance(error, UserWarning):
                    why = "it spreads outputs and targets of other shapes over each other, each with all"
                said = f"; of all that the network gives it says {self.of_all}"
                return (
                    f"what loss {self.title} takes with targets {list(targets.shape)} of {targets.dtype}; {why}"
                    f"{said if self.of_all else ''}{self._otherwise(given, targets)}"
                )
        if not found.requires_grad:
            raise ConfigError(
                f"loss {self.title}: no gradient leads from it to the outputs, so nothing could be trained; compute it by "
                "operations of torch that have one (no argmax, item() or numpy)"
            )
        if self._adds_up(outputs.detach(), targets):
            raise ConfigError(
                f"loss {self.title}: adds up over the examples of a batch, so that its weight beside the complexity would "
                "depend on the size of batches; let it give their mean (reduction='mean'), or one number for each "
                "(reduction='none')"
            )
        return ""

    def _otherwise(self, outputs: Tensor, targets: Tensor) -> str:
        """Returns which other form of the targets the function takes, in words; empty if it takes none."""
        forms = {"y.float()": targets.to(outputs), "y.long()": targets.long()}
        if targets.ndim < outputs.ndim:
            forms["y.float()[:, None]"] = targets.to(outputs).unsqueeze(1)
        for words, form in forms.items():
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("error", _SPREAD)
                    self.nll(outputs, form)
            except Exception:  # of the user's function
                continue
            return f"; it takes {words}"
        return ""

    def _adds_up(self, outputs: Tensor, targets: Tensor) -> bool:
        """Returns whether the function gives one number, and twice as much for examples that are all there twice."""
        twice = [torch.cat([part, part]) for part in (outputs, targets)]
        try:
            with torch.no_grad():
                once, both = self.function(outputs, targets), self.function(*twice)  # type: ignore[misc]
        except Exception:  # a function may take batches of one size only
            return False
        if once.numel() != 1 or both.numel() != 1 or not float(once):
            return False
        return bool(torch.isclose(both.reshape(()), 2 * once.reshape(()), rtol=_TOLERANCE, atol=0))

    def seen(self, outputs: Tensor, targets: Tensor) -> Loss:
        """Returns the task with whether the function gives one number for a batch, and the type of its outputs."""
        if self.function is None:
            return self
        self = self._in_type(outputs.dtype)
        with torch.no_grad():
            whole = self.function(outputs, targets).numel() == 1  # type: ignore[misc]
        return replace(self, whole=whole, dtype=outputs.dtype)

    def _in_type(self, dtype: torch.dtype) -> Loss:
        """Returns the task with a copy of the function where it is a module that holds numbers of another type."""
        if not isinstance(self.function, nn.Module):
            return self
        held = (*self.function.parameters(), *self.function.buffers())
        if all(t.dtype == dtype.to_real() for t in held if t.is_floating_point()):
            return self
        return replace(self, function=copy.deepcopy(self.function).to(dtype.to_real()))

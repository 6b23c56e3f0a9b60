"""State of a search by gradient: a supernet, structure parameters, and what moves each of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import NonFiniteError
from netdial.structure.supernet import Supernet
from netdial.train.optimiser import Rates


class StructuredSupernet(nn.Module):
    """A supernet and the structure parameters that are trained beside its weights."""

    def __init__(self, supernet: Supernet, structure: dict[str, Tensor]) -> None:
        super().__init__()
        self.supernet = supernet
        self.keys = list(structure)
        self.structure = nn.ParameterList(structure.values())


@dataclass
class SearchState:
    """What a search by gradient changes.

    Attributes:
        module: supernet and structure parameters.
        weights: moves the weights of the supernet.
        architect: moves the structure parameters.
        rates: the schedule of the weights' rate.
        step: steps so far.
        examples: gradients of single examples so far; what the search cost.
        seconds: processor time so far.
        memory: tensors that a strategy keeps from step to step, by name.
    """

    module: StructuredSupernet
    weights: torch.optim.Optimizer
    architect: torch.optim.Optimizer
    rates: Rates
    step: int = 0
    examples: int = 0
    seconds: float = 0.0
    memory: dict[str, Tensor] | None = None

    @property
    def supernet(self) -> Supernet:
        """The supernet."""
        return self.module.supernet

    @property
    def structure(self) -> dict[str, Tensor]:
        """Structure parameters by key."""
        return dict(zip(self.module.keys, self.module.structure, strict=True))

    @property
    def lr(self) -> float:
        """Learning rate of the weights in the next step."""
        return self.rates.now[0]

    @property
    def n_updates(self) -> int:
        """Updates of single numbers so far."""
        return self.step * sum(p.numel() for p in self.module.parameters())

    def move_structure(self, loss: Tensor) -> None:
        """Moves the structure parameters along the gradient of a loss.

        Raises:
            NonFiniteError: the loss is not a finite number.
        """
        if not loss.requires_grad:  # the structure that was drawn does not connect input and output
            return
        parameters = list(self.module.structure)
        self.move_structure_along(torch.autograd.grad(loss, parameters, allow_unused=True), loss)

    def move_structure_along(self, slopes: Sequence[Tensor | None], loss: Tensor) -> None:
        """Moves the structure parameters along a gradient of a loss; None stands for zeros.

        Raises:
            NonFiniteError: the loss is not a finite number.
        """
        _check(loss, self.step, "objective of the structure")
        for parameter, slope in zip(self.module.structure, slopes, strict=True):
            parameter.grad = torch.zeros_like(parameter) if slope is None else slope
        self.architect.step()

    def move_both(self, loss: Tensor, clip: float = 0.0) -> None:
        """Moves structure parameters and weights along the gradient of one loss.

        Raises:
            NonFiniteError: the loss is not a finite number.
        """
        for parameter in self.module.structure:
            parameter.grad = None
        self.move_weights(loss, clip)
        slopes = [parameter.grad for parameter in self.module.structure]
        if any(slope is not None for slope in slopes):
            self.move_structure_along(slopes, loss)

    def move_weights(self, loss: Tensor, clip: float = 0.0) -> None:
        """Moves the weights along the gradient of a loss; those that it does not reach stay.

        Raises:
            NonFiniteError: the loss is not a finite number.
        """
        _check(loss, self.step, "loss")
        for group in self.weights.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        if (
            loss.requires_grad
        ):  # else the structure that was drawn does not connect input and output
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), clip)
            self.weights.step()
        self.rates.step()

    def tree(self) -> dict[str, Any]:
        """Returns everything as nested dicts of tensors and plain values, for a checkpoint."""
        return {
            "module": dict(self.module.state_dict()),
            "weights": self.weights.state_dict(),
            "architect": self.architect.state_dict(),
            "rates": self.rates.steps,
            "step": self.step,
            "examples": self.examples,
            "seconds": self.seconds,
            "memory": dict(self.memory or {}),
        }

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes over what ``tree`` gave."""
        self.module.load_state_dict(tree["module"])
        self.weights.load_state_dict(tree["weights"])
        self.architect.load_state_dict(tree["architect"])
        self.rates.steps = tree["rates"]
        self.step, self.examples, self.seconds = tree["step"], tree["examples"], tree["seconds"]
        self.memory = dict(tree["memory"])


def _check(loss: Tensor, step: int, what: str) -> None:
    if not bool(torch.isfinite(loss)):
        raise NonFiniteError(
            f"step {step}: the {what} is {float(loss.detach()):g}; lower lr, set clip to 1, or check the data for huge values"
        )

"""Operations of an edge: factories of modules, and modules made and tried on an example.

A factory with one required argument gets the shape of its input without the batch, ``lambda shape: nn.Linear(shape[0], 64)``;
one without is called as it is, ``nn.ReLU``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, NonFiniteError, ShapeError, first_line
from netdial.core.noise import generator, seeded
from netdial.core.outputs import evaluating

Shape = tuple[int, ...]
Factory = Callable[..., nn.Module]

_EXAMPLES = 2
"""Examples that an operation is tried on."""


class ZeroOperation(nn.Module):
    """The operation "none": an edge with it is not there. It takes part in no shape and costs nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns zeros like the input."""
        return torch.zeros_like(x)


def check_factory(factory: Any, where: str) -> None:
    """Refuses what cannot make a module.

    Raises:
        ConfigError: it is a module already, takes several arguments, or cannot be called.
    """
    if isinstance(factory, nn.Module):
        raise ConfigError(
            f"{where}: a {type(factory).__name__} that is made already; every edge needs one of its own, give a function "
            f"that makes it, such as lambda: {type(factory).__name__}(...)"
        )
    if not callable(factory):
        raise ConfigError(
            f"{where}: a {type(factory).__name__}; give a function that returns a torch.nn.Module"
        )
    if _required(factory) > 1:
        raise ConfigError(
            f"{where}: {_required(factory)} arguments are required; give a function of the input's shape, such as "
            "lambda shape: nn.Linear(shape[0], 64), or of nothing"
        )


def make(factory: Factory, shape: Shape, where: str, *seed: int | str) -> nn.Module:
    """Returns a module for inputs of a shape; its numbers depend on the words of ``seed`` alone.

    Raises:
        ConfigError: the factory fails, or returns no module.
    """
    try:
        with seeded(*seed):
            made = factory(shape) if _required(factory) else factory()
    except Exception as error:
        raise ConfigError(
            f"{where}: cannot be made for inputs of shape {list(shape)} ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{where}: made {type(made).__name__}; expected a torch.nn.Module")
    return made


def is_users(factory: Factory) -> bool:
    """Returns whether a factory is the user's own, and none of netdial's."""
    return not str(getattr(factory, "__module__", "")).startswith("netdial.")


def check_fresh(factory: Factory, module: nn.Module, shape: Shape, where: str) -> None:
    """Refuses a user's factory whose modules share parameters: every training would go on with the numbers of the one before.

    Args:
        factory: what made the module.
        module: one that it made for inputs of this shape.
        shape: of inputs.
        where: for the message.

    Raises:
        ConfigError: another one has a trained parameter of the first.
    """
    trained = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    if not trained or not is_users(factory):
        return
    again = make(factory, shape, where, "again")
    both = [trained[id(p)] for p in again.parameters() if id(p) in trained]
    if both:
        raise ConfigError(
            f"{where}: its function returns the same parameters each time ({both[0]}), and every training of a structure "
            "begins with fresh ones; make the module inside the function, such as lambda: nn.Linear(6, 6)"
        )


def shape_after(module: nn.Module, shape: Shape, where: str, examples: int = _EXAMPLES) -> Shape:
    """Returns the shape of an operation's output, without the batch, found by a run on so many examples.

    Raises:
        ShapeError: the operation fails on inputs of this shape, or its output has another batch size.
        ConfigError: it returns no tensor, or changes its inputs in place, which other edges read.
        NonFiniteError: it returns NaN or infinity for inputs from a normal distribution.
    """
    x = torch.randn(examples, *shape, generator=generator("operation"))
    given = x.clone()
    try:
        with evaluating(module), seeded("operation"):
            out = module(given)
    except Exception as error:
        raise ShapeError(
            f"{where}: fails on {examples} inputs of shape {list(shape)} ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(out, Tensor):
        raise ConfigError(f"{where}: returns a {type(out).__name__}; expected a tensor")
    if not torch.equal(given, x):
        raise ConfigError(
            f"{where}: changes its inputs in place, and other operations read them; leave inplace=True out of its first layer"
        )
    if out.ndim < 1 or len(out) != examples:
        raise ShapeError(
            f"{where}: turns {examples} examples of shape {list(shape)} into a tensor {list(out.shape)}; expected as many "
            "examples as it was given"
        )
    if not bool(torch.isfinite(out).all()):
        raise NonFiniteError(
            f"{where}: returns NaN or infinity for {examples} inputs of shape {list(shape)}"
        )
    return tuple(out.shape[1:])


def _required(factory: Factory) -> int:
    """Returns how many arguments a factory has to be given."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return 0
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)

"""Cuts the states that optimizers keep for a parameter.

A state tensor is cut by what it *is*, not by the shape that it happens to have: a preconditioner ``[C, C]`` of a square weight
looks like a momentum of it. So the states of each optimizer class are written down, and an optimizer or a state that is not
is refused by name. ``register_optimizer`` adds optimizers from elsewhere.

For optimizers whose step treats every number by itself, training a cut network is training the whole one with what was cut
held at 0. Adafactor (means over rows and columns, root mean square of a whole tensor) and Muon (orthogonalisation of a whole
matrix) are not of that kind: their states are cut as well, and training goes on, on a path of its own.

Shapes: a state is given by the dimensions of its parameter that were summed away and are 1 in it; None for a single number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from netdial.core.cutting import Change, smaller
from netdial.core.errors import ConfigError, ShapeError
from netdial.core.plan import Plan

State = tuple[int, ...] | None
ALIKE: State = ()
NUMBER: State = None

_KNOWN: dict[type[Optimizer], dict[str, State]] = {}


def register_optimizer(kind: type[Optimizer], states: Mapping[str, State]) -> None:
    """Registers how the states of an optimizer class, and of its subclasses, are cut.

    Args:
        kind: the class.
        states: for each key of ``optimizer.state[parameter]`` what it is: ``ALIKE`` for a tensor of the parameter's
            shape, ``NUMBER`` for a single number, else the dimensions (negative counts from the last) that are 1 in it.
    """
    _KNOWN[kind] = dict(states)


def _alike(*names: str, numbers: tuple[str, ...] = ("step",)) -> dict[str, State]:
    return {**dict.fromkeys(names, ALIKE), **dict.fromkeys(numbers, NUMBER)}


register_optimizer(torch.optim.SGD, _alike("momentum_buffer", numbers=()))
register_optimizer(torch.optim.Adam, _alike("exp_avg", "exp_avg_sq", "max_exp_avg_sq"))
register_optimizer(
    torch.optim.NAdam, _alike("exp_avg", "exp_avg_sq", numbers=("step", "mu_product"))
)
register_optimizer(torch.optim.RAdam, _alike("exp_avg", "exp_avg_sq"))
register_optimizer(torch.optim.Adamax, _alike("exp_avg", "exp_inf"))
register_optimizer(torch.optim.Adagrad, _alike("sum"))
register_optimizer(torch.optim.Adadelta, _alike("square_avg", "acc_delta"))
register_optimizer(torch.optim.RMSprop, _alike("square_avg", "momentum_buffer", "grad_avg"))
register_optimizer(torch.optim.Rprop, _alike("prev", "step_size"))
register_optimizer(torch.optim.ASGD, _alike("ax", numbers=("step", "eta", "mu")))
register_optimizer(
    torch.optim.Adafactor,
    {"row_var": (-1,), "col_var": (-2,), "variance": ALIKE, "step": NUMBER},
)
if hasattr(torch.optim, "Muon"):
    register_optimizer(torch.optim.Muon, _alike("momentum_buffer", numbers=()))
register_optimizer(torch.optim.AdamW, _KNOWN[torch.optim.Adam])


def prepare_optimizer(
    plan: Plan, optimizer: Optimizer, leaf_of: Mapping[nn.Parameter, str]
) -> Iterator[Change]:
    """Yields the changes that cut an optimizer's states; nothing is changed yet.

    Args:
        plan: what survives.
        optimizer: any; its parameter groups and their order stay as they are.
        leaf_of: leaf of each parameter. Parameters of other networks are left alone.

    Raises:
        ConfigError: the optimizer or one of its states is unknown.
        ShapeError: a state has another shape than it should.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            leaf = leaf_of.get(parameter)
            if leaf not in plan.cuts:
                continue
            states = _states_of(optimizer)
            memory = optimizer.state.get(parameter, {})
            for key, value in memory.items():
                where = f"optimizer {type(optimizer).__name__}: state {key!r} of {leaf}"
                if key not in states:
                    raise ConfigError(
                        f"{where}, {_describe(value)}, is unknown to the surgery; known: {', '.join(states)}; "
                        "say what it is with netdial.channels.optimizers.register_optimizer"
                    )
                cut = _cut(plan, leaf, parameter, value, states[key], where)
                if cut is not value:
                    yield _setter(memory, key, cut)


def _states_of(optimizer: Optimizer) -> dict[str, State]:
    for kind in type(optimizer).__mro__:
        if kind in _KNOWN:
            return _KNOWN[kind]
    raise ConfigError(
        f"optimizer {type(optimizer).__name__} is unknown to the surgery; known: "
        f"{', '.join(sorted(kind.__name__ for kind in _KNOWN))}; "
        "say what its states are with netdial.channels.optimizers.register_optimizer"
    )


def _cut(plan: Plan, leaf: str, parameter: Tensor, value: Any, state: State, where: str) -> Any:
    """Returns a state after the cut; the very same object if it stays as it is."""
    if value is None:
        return value
    if state is None:
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ShapeError(f"{where} is {_describe(value)}, expected a single number")
        return value
    gone = {dim % parameter.ndim for dim in state}
    shape = [1 if dim in gone else size for dim, size in enumerate(parameter.shape)]
    if not isinstance(value, Tensor) or value.layout != torch.strided or list(value.shape) != shape:
        raise ShapeError(f"{where} is {_describe(value)}, expected a dense tensor {shape}")
    dims = {dim: kept for dim, kept in plan.cuts[leaf].items() if dim not in gone}
    return smaller(Plan({leaf: dims}), leaf, value) if dims else value


def _setter(memory: dict[str, Any], key: str, value: Any) -> Change:
    return lambda: memory.__setitem__(key, value)


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        layout = "" if value.layout == torch.strided else f" ({value.layout})"
        return f"a tensor {list(value.shape)}{layout}"
    return f"a {type(value).__name__}"

"""What the states are that optimizers keep for a parameter: all that ``channels.surgery`` has to know to cut them.

A state tensor is cut by what it *is*, not by the shape that it happens to have: a preconditioner ``[C, C]`` of a square weight
looks like a momentum of it. So the states of each optimizer class are written down, and an optimizer or a state that is not
is refused by name. ``register_optimizer`` adds optimizers from elsewhere.

For optimizers whose step treats every number by itself, training a cut network is training the whole one with what was cut
held at 0. Adafactor (means over rows and columns, root mean square of a whole tensor) and Muon (orthogonalisation of a whole
matrix) are not of that kind: their states are cut as well, and training goes on, on a path of its own.

Shapes: a state is given by the dimensions of its parameter that were summed away and are 1 in it; None for a single number.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.optim import Optimizer

from netdial.core.errors import ConfigError

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


def states_of(optimizer: Optimizer) -> dict[str, State]:
    """Returns what the states of an optimizer are, by their names.

    Raises:
        ConfigError: its class is unknown.
    """
    for kind in type(optimizer).__mro__:
        if kind in _KNOWN:
            return _KNOWN[kind]
    raise ConfigError(
        f"optimizer {type(optimizer).__name__} is unknown to the surgery; known: "
        f"{', '.join(sorted(kind.__name__ for kind in _KNOWN))}; "
        "say what its states are with netdial.channels.optimizers.register_optimizer"
    )

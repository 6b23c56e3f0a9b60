"""Surgery: a plan applied in place to everything that knows the sizes of a network.

That is the network (parameters, gradients, buffers, what layers say about their sizes: ``core.cutting``) and the states of its
optimizers (``channels.optimizers`` knows what they are). Nothing is replaced: parameters stay the objects that they were, so
parameter groups with their rates, schedulers, hooks and compiled networks go on.

All is checked, and all smaller tensors are made, before the first change: what is refused leaves everything as it was. For a
moment the memory of what survives is used twice.

Source: Leclerc et al. 2018, "Smallify: learning network size while training" (neurons removed while the optimizer goes on).
Deviation: their code cuts a state that has the shape of its parameter and leaves others behind; here a state is cut by what it
is, and what is unknown is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer

from netdial.channels.optimizers import State, states_of
from netdial.core.cutting import Change, commit, prepare, smaller
from netdial.core.errors import ConfigError, ShapeError
from netdial.core.plan import Plan


def apply(
    plan: Plan,
    module: nn.Module,
    *,
    optimizers: Sequence[Optimizer] = (),
) -> None:
    """Cuts a network and what belongs to it, in place.

    Graphs of steps before the cut cannot be run backwards after it. States saved before the cut fit the network before it.

    Args:
        plan: what survives; leaves are named as in ``module.named_parameters()`` and ``named_buffers()``.
        module: the network; a compiled one is compiled anew when it next runs.
        optimizers: all that hold its parameters. A parameter may be in several.

    Raises:
        ConfigError: a leaf, optimizer or state is unknown or cannot be cut (``core.cutting.prepare``,
            ``prepare_optimizer``), or the network is wrapped for several devices.
        ShapeError: plan, leaves and states do not fit each other.
    """
    module = _unwrap(module)
    changes = prepare(plan, module)
    leaf_of = {parameter: leaf for leaf, parameter in module.named_parameters()}
    for optimizer in optimizers:
        changes += prepare_optimizer(plan, optimizer, leaf_of)
    commit(changes)


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
            states = states_of(optimizer)
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


def _unwrap(module: nn.Module) -> nn.Module:
    """Returns the network inside compiled networks."""
    while True:
        if isinstance(module, DistributedDataParallel | DataParallel):
            raise ConfigError(
                f"surgery: {type(module).__name__} keeps the sizes of its network; cut the network inside (.module), "
                "then wrap it anew"
            )
        if isinstance(module, fx.GraphModule):  # a compiled network's holds it by the same name
            return module
        if not isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            return module
        module = inner


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

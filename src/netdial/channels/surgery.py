"""Surgery: a plan applied in place to everything that knows the sizes of a network.

That is the network (parameters, gradients, buffers, what layers say about their sizes: ``core.cutting``) and the states of its
optimizers (``channels.optimizers``). Nothing is replaced: parameters stay the objects that they were, so parameter groups with
their rates, schedulers, hooks and compiled networks go on.

All is checked, and all smaller tensors are made, before the first change: what is refused leaves everything as it was. For a
moment the memory of what survives is used twice.

Source: Leclerc et al. 2018, "Smallify: learning network size while training" (neurons removed while the optimizer goes on).
Deviation: their code cuts a state that has the shape of its parameter and leaves others behind; here a state is cut by what it
is, and what is unknown is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer

from netdial.channels.optimizers import prepare_optimizer
from netdial.core.cutting import commit, prepare
from netdial.core.errors import ConfigError
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
            ``channels.optimizers.prepare_optimizer``), or the network is wrapped for several devices.
        ShapeError: plan, leaves and states do not fit each other.
    """
    module = _unwrap(module)
    changes = prepare(plan, module)
    leaf_of = {parameter: leaf for leaf, parameter in module.named_parameters()}
    for optimizer in optimizers:
        changes += prepare_optimizer(plan, optimizer, leaf_of)
    commit(changes)


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

"""Members to prune: a member of a family at λ, or any trained network as a family of one.

A family of one has a posterior (criteria compare with it), can be trained further, and is written over by what is left after
channels were removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.graph_module import _copy_attr

from netdial.channels.graph import Graph
from netdial.channels.layers.pick import Pick, insert_picks
from netdial.channels.nodes import order_as
from netdial.channels.rules import Heads
from netdial.channels.trace.answers.ways import goes_one_way
from netdial.channels.trace.trace import trace
from netdial.core.cutting import carry_cut, leaves
from netdial.core.errors import ConfigError, NetdialError
from netdial.core.inputs import as_packed, is_several, packing_of
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan
from netdial.data.dataset import Dataset, match
from netdial.data.memory import Data, as_dataset, as_inputs
from netdial.data.memory.columns import check_columns
from netdial.family.config import FamilyConfig
from netdial.family.cutting import cut_family
from netdial.family.family import Family
from netdial.family.maps import TableMap
from netdial.nets.foreign import check_initialised, copy_network, with_plain_weights
from netdial.nets.layers import in_type
from netdial.nets.named import note_built
from netdial.shrinking.shrink import example_of
from netdial.task import Task
from netdial.task.loss import LossFunction
from netdial.task.rehearsal import adapted, admit
from netdial.task.several import asked_of, taken_up
from netdial.train.finetune import specialise

NO_PENALTY = 1e-8
"""λ of a network that belongs to no family: what trains it further adds no penalty worth the name."""


def member_of(
    net: nn.Module, lam: float | None, example: Tensor, *, inputs: bool = False
) -> Family:
    """Returns a family with one member; the network given is not changed.

    Args:
        net: a family, or any trained network that can be traced.
        lam: complexity value of the member; None for a network.
        example: inputs ``[b, …]`` to trace a network on, two or more.
        inputs: make channels of the network's inputs, see ``with_picks``.

    Raises:
        ConfigError: a family without λ, a network with one, λ outside the trained range, or no linear layer reads the inputs.
        TraceError: the network cannot be traced.
    """
    member = _member_of(net, lam)
    return with_picks(member, example) if inputs else member


def _member_of(net: nn.Module, lam: float | None) -> Family:
    if isinstance(net, Family):
        if lam is None:
            raise ConfigError("slim: which member? give lam, a complexity value")
        net.weights_alone("slim")
        net.lams([lam])
        return specialise(net, lam).eval()
    if lam is not None:
        raise ConfigError(
            f"slim(lam={lam:g}): a network has no complexity values; leave lam out, or give a family"
        )
    config = FamilyConfig(
        lo=NO_PENALTY, hi=1.0, map="table", lams=(NO_PENALTY,), posterior="point", objective="l2"
    )
    check_initialised(net)
    if not any(True for _ in net.parameters()):
        raise ConfigError(
            f"network {type(net).__name__}: has no parameters (those of a quantised one are none), so there is nothing to cut"
        )
    net = with_plain_weights(net)
    like = next(net.parameters())
    family = Family(net, config).to(like.device)
    in_type(family, like.dtype.to_real())
    return family.eval()


def with_picks(family: Family, example: Tensor) -> Family:
    """Returns a family whose networks pick the inputs that their first linear layers read: channels that can go.

    A family that does so already comes back as it is.

    Args:
        family: the family; it is left as it is.
        example: inputs ``[b, …]`` to trace its networks on, two or more.

    Raises:
        ConfigError: no linear layer reads the inputs.
        TraceError: the network cannot be traced.
    """
    if any(isinstance(part, Pick) for part in family.net.modules()):
        return family
    net = with_plain_weights(copy_network(family.net))
    traced = trace(net, _like(example, net))
    note_built(family.net, traced)
    carry_cut(family.net, traced)
    insert_picks(traced, start=None)
    return cut_family(family, Plan(), _whole(traced, family.net)).eval()


def tried(net: nn.Module, example: Any) -> tuple[nn.Module, Tensor]:
    """Returns a network from one tensor to one tensor, and inputs for it.

    Args:
        net: a family, or any network.
        example: inputs ``[b, …]``, tensors or arrays; a tuple or a mapping of several.
    """
    example = as_inputs(example)
    if not is_several(example):
        return net if isinstance(net, Family) else adapted(net, example, None), example
    named = example if isinstance(example, Mapping) else dict(enumerate(example))
    x, packing = as_packed(
        list(named.values()), [n if isinstance(n, str) else "" for n in named], "example"
    )
    found = net if isinstance(net, Family) else adapted(net, x, packing)
    wanted = packing_of(template(found))
    return found, x if wanted is None else wanted.of(x, packing, "example")


def admitted(
    net: nn.Module, data: Data, kind: str | Task | None, loss: LossFunction | None = None
) -> tuple[nn.Module, Dataset, Task]:
    """Returns a network from one tensor to one tensor, training data in memory, and their task.

    Args:
        net: a family, or any network.
        data: training part, as for ``fit``.
        kind: the task: a name, or a ``Task``; by default that of the family.
        loss: or a loss function of (outputs, targets).
    """
    known = net.task if isinstance(net, Family) else None
    columns = net.columns if isinstance(net, Family) else None
    check_columns(columns, data, "training part")
    held = as_dataset(data, part="training part")
    if isinstance(net, Family):
        kind = asked_of(net.net, held, kind, loss, known)
    else:
        kind, net = taken_up(net, held, kind, loss)
    return net, *admit(template(net), held, kind, known, "training part")


def example_inputs(data: Dataset | None, example: Any) -> Any:
    """Returns inputs to trace on.

    Raises:
        ConfigError: there are none.
    """
    if example is not None:
        return example
    if data is None:
        raise ConfigError(
            "slim: nothing to trace the network on; give example=, inputs [b, ...], or data="
        )
    return example_of(data)


def template(net: nn.Module) -> nn.Module:
    """Returns the network of a family, whose inputs are those of its members; any other network is its own."""
    return net.net if isinstance(net, Family) else net


def graph_of(
    member: Family, example: Tensor, *, lenient: bool = False, heads: Heads = "whole"
) -> Graph:
    """Returns the dependency graph of a member, made on a copy.

    Raises:
        TraceError: the network cannot be traced, or an operation has no rule.
    """
    (lam,) = member.config.lams
    net = with_plain_weights(member.export(lam))
    if net.state_dict().keys() != member.net.state_dict().keys():
        raise ConfigError(
            f"network {type(net).__name__}: weights are computed from other parameters, and a family cannot lose channels of "
            "those; prune the member as a network, slim(family.export(lam), …)"
        )
    graph = Graph.of(net, _like(example, net), lenient=lenient, heads=heads)
    note_built(member.net, graph.traced)
    carry_cut(member.net, graph.traced)
    return graph


def _like(example: Tensor, net: nn.Module) -> Tensor:
    """Returns inputs of the number type and on the device of a network's parameters; integers stay integers."""
    return match(example, next(net.parameters(), example))


@torch.no_grad()
def written(member: Family, plan: Plan, graph: Graph) -> Family:
    """Returns the member cut by a plan, with the numbers of the network that is left.

    Its network is the member's own class, unless that does not compute what the graph does, since sizes that its code writes
    or reads from layers did not follow, or could do something else for other inputs, with layers that were not cut for that;
    then it is the graph.

    Args:
        member: family of one, before the cut.
        plan: what was cut.
        graph: the network afterwards, constants folded in.
    """
    made = None
    if not goes_one_way(graph.traced):
        with suppress(NetdialError):  # a layer of torch that cannot be cut is another in the graph
            made = _holding(cut_family(member, plan), graph)
    if made is not None and _computes(made, graph):
        return made
    return _holding(cut_family(member, plan, _whole(graph.traced, member.net)), graph)


def _whole(traced: fx.GraphModule, net: nn.Module) -> nn.Module:
    """Returns a copy of a graph that has all leaves of its network, in their order.

    Layers that it does not call are layers, too: a family holds statistics of normalisations.
    """
    found, whole = cast(fx.GraphModule, copy_network(traced)), copy_network(net)
    modules = dict(found.named_modules())
    for path, layer in whole.named_modules():
        bare = modules.get(path)
        if not any(layer.children()) and (bare is None or type(bare) is nn.Module):
            for name, leaf in leaves(bare or nn.Module()).items():
                setattr(layer, name, leaf)
            found.add_submodule(path, layer)
    held = {name for name, _ in [*found.named_parameters(), *found.named_buffers()]}
    for name, _ in [*net.named_parameters(), *net.named_buffers()]:
        if name not in held:
            _copy_attr(whole, found, name)
    order_as(found, net)  # as in the family's maps
    return found


def _computes(member: Family, graph: Graph) -> bool:
    """Returns whether a member gives the outputs of a graph on the graph's example."""
    due = evaluated(graph.traced, graph.example)
    try:
        got = evaluated(member.export(member.config.lams[0]), graph.example)
    except Exception:  # of whatever kind: a class was not written for tensors of these sizes
        return False
    return bool(same_outputs(due, got))


def _holding(made: Family, graph: Graph) -> Family:
    """Returns a member with the numbers of a graph."""
    (lam,) = made.config.lams
    held = {**made.at(lam), **made.buffers_at(lam), **leaves(graph.traced)}
    flat = made.layout.join({name: held[name] for name in made.layout.names})
    cast(TableMap, made.mean).pivots.copy_(flat)
    if made.kept is not None:
        made.kept |= flat != 0
    for name, parameter in zip(made._shared_names, made.shared, strict=True):
        parameter.copy_(held[name])
    for name, buffer in made.net.named_buffers():
        buffer.copy_(held[name])
    for index, name in enumerate(made.statistics.names):
        made.statistics.get_buffer(f"bank{index}").copy_(held[name])
    return made.eval()

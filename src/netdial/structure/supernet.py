"""Supernet: all networks of a search space in one module, a function of inputs and structure parameters.

Structure parameters γ are an argument like the inputs, so every strategy of search is a rule for where they come from. At a
vertex the supernet computes exactly what the network derived there computes, and nothing else.

Shapes: B examples, K operations of an edge.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, ShapeError, unknown
from netdial.structure.graph.domain import check_points
from netdial.structure.graph.live import live
from netdial.structure.graph.operations import is_users, make
from netdial.structure.graph.parts import SpaceEdge, StructureChoice
from netdial.structure.graph.space import SearchSpace
from netdial.structure.lockstep import ChainJob, chain_of, run_jobs, source_bundle

Weight = Tensor | None
"""What an operation is multiplied by, a number or one for each example ``[B]``; None for exactly 1."""


@dataclass(frozen=True)
class Weighted:
    """An operation with the weight that it has now."""

    name: str
    module: nn.Module
    weight: Weight


class Supernet(nn.Module):
    """All networks of a search space, with weights of their own for every operation on every edge.

    ``supernet(x, gamma)`` with ``gamma`` key -> ``[K]``, or ``[B, K]`` for structures that differ between examples.
    Operations of weight 0 are not run, and an edge without any other is not there, nor is what reads nothing else (see
    ``graph.live``). Where gradients with respect to γ are wanted every operation is run, unless ``sparse`` is set.

    Args:
        space: the search space.
        seed: decides the initial weights; those of an operation do not depend on which others there are.
        fused: whether operations of a mixture that are chains of known layers run side by side (``structure.lockstep``), which
            is faster and the same but for rounding; at a vertex nothing is fused.

    Raises:
        ConfigError, ShapeError, NonFiniteError: the space is not sound.
    """

    def __init__(self, space: SearchSpace, seed: int = 0, *, fused: bool = True) -> None:
        super().__init__()
        self.space = space
        self.seed = seed
        self.fused = fused
        self.edges = nn.ModuleDict(
            {
                name: nn.ModuleDict(
                    {
                        operation: fresh(space, edge, operation, seed)
                        for operation in edge.operations
                    }
                )
                for name, edge in space.wiring.edges.items()
            }
        )

    def forward(
        self, x: Tensor, gamma: Mapping[str, Tensor], *, sparse: bool | None = None
    ) -> Tensor:
        """Returns outputs ``[B, ...]``.

        Args:
            x: inputs ``[B, ...]``.
            gamma: structure parameters of all choices of the space.
            sparse: whether operations of weight 0 are left out; by default where γ needs no gradients.

        Raises:
            ConfigError: a choice is missing or unknown, or its γ lies outside the domain.
            ShapeError: γ has another length than the operations.
        """
        wiring = self.space.wiring
        weights = self._weights(gamma, len(x), sparse)
        parts = live(wiring, {name for name, found in weights.items() if found})
        if not parts.nodes:
            return x.new_zeros(len(x), *wiring.shapes[wiring.output])
        edges = {name: wiring.edges[name] for name in parts.edges}
        values, brought = {wiring.input: x}, dict[str, Tensor]()
        ready = [wiring.input]
        while ready:
            leaving = [edge for edge in edges.values() if edge.source in ready]
            for name, part in self._brought(leaving, weights, values).items():
                brought[name] = brought[name] + part if name in brought else part
            ready = [
                node
                for node in parts.nodes
                if node not in values
                and all(e.source in values for e in wiring.incoming[node] if e.name in edges)
            ]
            values.update({node: self._joined(node, edges, brought, x) for node in ready})
        return values[wiring.output]

    def _joined(
        self, node: str, edges: Mapping[str, SpaceEdge], brought: Mapping[str, Tensor], x: Tensor
    ) -> Tensor:
        """Returns the value of a node from what its edges brought; sums of several edges lie under the node's name."""
        wiring = self.space.wiring
        join, tensors = wiring.aggregators[node], []
        for edge in wiring.incoming[node]:
            if edge.name in brought:
                tensors.append(brought[edge.name])
            elif edge.name not in edges and join.absent == "zeros":
                tensors.append(x.new_zeros(len(x), *wiring.brought[edge.name]))
        together = brought.get(_together(node))
        tensors += [] if together is None else [together]
        return join.join(tensors, len(wiring.incoming[node]))

    def _brought(
        self,
        edges: list[SpaceEdge],
        weights: Mapping[str, list[Weighted]],
        values: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Returns what some edges bring: by edge, or summed by node where operations ran side by side."""
        found: dict[str, Tensor] = {}
        jobs: list[ChainJob] = []
        sources = {edge.source: source_bundle(values[edge.source]) for edge in edges}
        for edge in edges:
            linear = self.space.wiring.aggregators[edge.target].name in ("sum", "mean")
            goal, apart = _together(edge.target) if linear else edge.name, []
            for each in weights[edge.name]:
                weight, source = each.weight, sources[edge.source]
                alone = not self.fused or len(weights[edge.name]) == 1 or source is None
                chain = None if alone else chain_of(each.module)
                if chain is None or source is None or weight is None or weight.ndim:
                    apart.append(each)
                else:
                    jobs.append(ChainJob(chain, source, weight, goal))
            if apart:
                found[edge.name] = bring(apart, values[edge.source])
        for goal, total in run_jobs(jobs).items():
            found[goal] = found[goal] + total if goal in found else total
        return found

    def _weights(
        self, gamma: Mapping[str, Tensor], size: int, sparse: bool | None
    ) -> dict[str, list[Weighted]]:
        """Returns the operations of each edge that are run, with their weights."""
        wiring = self.space.wiring
        for key in gamma:
            if key not in wiring.free:
                raise ConfigError(f"gamma: {unknown('edge', key, wiring.free)}")
        used: dict[str, list[tuple[int, Weight]]] = {}
        for key, choice in wiring.choices.items():
            if key in wiring.free:
                if key not in gamma:
                    raise ConfigError(
                        f"gamma: edge {key} is missing; give [{len(choice.operations)}] numbers"
                    )
                used[key] = _used(gamma[key], choice, size, sparse)
            else:
                used[key] = [
                    (i, None) for i in range(len(choice.operations)) if i not in choice.zeros
                ]
        found = {}
        for name, edge in wiring.edges.items():
            modules, names = self.edges[name], wiring.choices[edge.key].operations
            found[name] = [
                Weighted(names[i], modules[names[i]], weight)  # type: ignore[index]
                for i, weight in used[edge.key]
            ]
        return found


def _together(node: str) -> str:
    """Returns the name of what several edges bring to a node in one sum."""
    return f"->{node}"


def bring(operations: list[Weighted], x: Tensor) -> Tensor:
    """Returns the weighted sum of operations on a value."""
    total: Tensor | None = None
    for each in operations:
        out = each.module(x)
        if each.weight is not None:
            out = (
                out * each.weight.reshape(-1, *[1] * (out.ndim - 1))
                if each.weight.ndim
                else out * each.weight
            )
        total = out if total is None else total + out
    assert total is not None, "edges without operations are not there"
    return total


def fresh(space: SearchSpace, edge: SpaceEdge, operation: str, seed: int) -> nn.Module:
    """Returns a module of an operation on an edge, freshly initialised.

    One with frozen parameters or with buffers is a copy: a factory may hand out the same one each time, such as a pretrained
    part, and neither training nor another precision may change what is not its own.
    """
    where = f"edge {edge.name}, operation {operation}"
    shape = space.wiring.shapes[edge.source]
    factory = edge.operations[operation]
    made = make(factory, shape, where, seed, edge.name, operation)
    held = any(not leaf.requires_grad for leaf in made.parameters()) or any(
        True for _ in made.buffers()
    )
    return copy.deepcopy(made) if held and is_users(factory) else made


def _used(
    gamma: Tensor, choice: StructureChoice, size: int, sparse: bool | None
) -> list[tuple[int, Weight]]:
    """Returns the positions of the operations that are run, with their weights, after checking γ."""
    where, count = f"gamma, edge {choice.key}", len(choice.operations)
    if gamma.shape not in ((count,), (size, count)):
        raise ShapeError(
            f"{where}: shape {list(gamma.shape)}; expected [{count}], or [{size}, {count}] for each example its own"
        )
    rows = check_points(gamma, choice.domain, where)
    every = gamma.requires_grad and torch.is_grad_enabled() if sparse is None else not sparse
    found: list[tuple[int, Weight]] = []
    for index in range(count):
        values = {row[index] for row in rows}
        if index in choice.zeros or (values == {0.0} and not every):
            continue
        plain = values == {1.0} and not gamma.requires_grad
        found.append((index, None if plain else gamma[..., index]))
    return found

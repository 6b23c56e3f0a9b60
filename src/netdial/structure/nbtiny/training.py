"""All networks of NB-Tiny in one batched run: each with a start of its own, together with those that have the same layers.

Networks are grouped by the edges on which they have a linear layer. In a group a layer of all networks is one batched product,
identities are factors 0 or 1, and layers that no network has are not computed. A network's start depends on its cell and its
seed alone, so it does not matter which others are trained beside it, but for rounding.

Shapes: N networks times seeds of a group, B examples of a batch, H units, C classes, P parameters of a network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from netdial.core.errors import ConfigError
from netdial.core.noise import generator
from netdial.data.dataset import Dataset
from netdial.structure.nbtiny.cells import CELLS, EDGES, NODES, cell_code, live_edges
from netdial.structure.nbtiny.problems import TinyProblem

_MOST = 128
"""Networks times seeds in a group, so that what a step computes stays in the cache."""

_ROWS = 500
"""Examples that are evaluated at once."""


@dataclass(frozen=True)
class TinyRecipe:
    """How every network is trained: Adam at one rate, all batches full.

    Attributes:
        width: H.
        epochs: passes over the training part at which networks are evaluated, the last one being the end.
        batch_size: examples in a batch.
        lr: learning rate.
    """

    width: int = 8
    epochs: tuple[int, ...] = (7, 20, 60)
    batch_size: int = 200
    lr: float = 0.01

    def __post_init__(self) -> None:
        if not self.epochs or list(self.epochs) != sorted(set(self.epochs)) or self.epochs[0] < 1:
            raise ConfigError(f"epochs={self.epochs}; expected rising numbers from 1 on")


@dataclass(frozen=True)
class TrainedCells:
    """What networks came to.

    Attributes:
        valid: mean negative log-likelihood on the validation part after each of the epochs asked for ``[cells, seeds, R]``.
        test: that on the test part at the end ``[cells, seeds]``, in nats.
        correct: share of the test part that is classified rightly ``[cells, seeds]``.
    """

    valid: Tensor
    test: Tensor
    correct: Tensor


def train_cells(
    problem: TinyProblem,
    cells: Sequence[int],
    seeds: Sequence[int],
    recipe: TinyRecipe | None = None,
) -> TrainedCells:
    """Trains networks.

    Args:
        problem: what they learn.
        cells: indices of the cells.
        seeds: seeds of starts and of the order of examples.
        recipe: how they are trained.
    """
    recipe = recipe or TinyRecipe()
    shape = len(cells), len(seeds)
    found = TrainedCells(
        torch.empty(*shape, len(recipe.epochs)), torch.empty(shape), torch.empty(shape)
    )
    parts = {part: problem.part(part) for part in ("train", "valid", "test")}
    dead = [place for place, cell in enumerate(cells) if not any(live_edges(CELLS[cell]))]
    found.valid[dead] = found.test[dead] = math.log(
        problem.arms
    )  # outputs of 0, and nothing to train
    found.correct[dead] = (parts["test"].y == 0).float().mean()
    for rows in _groups(cells, max(1, _MOST // len(seeds))):
        group = _Group([cells[row] for row in rows], seeds, recipe.width, problem)
        at = 0
        for epoch in _epochs(group, parts["train"], seeds, recipe):
            if epoch == recipe.epochs[at]:
                found.valid[rows, :, at] = group.evaluated(parts["valid"])[0]
                at += 1
        found.test[rows], found.correct[rows] = group.evaluated(parts["test"])
    return found


def _groups(cells: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yields the places of cells that have the same linear layers, at most so many at once, without dead ones."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, cell in enumerate(cells):
        live = live_edges(CELLS[cell])
        if any(live):
            alike.setdefault(live.linear, []).append(place)
    for places in alike.values():
        yield from (places[start : start + most] for start in range(0, len(places), most))


class _Group:
    """Networks with linear layers on the same edges: cell after cell, each with all seeds."""

    def __init__(
        self, cells: Sequence[int], seeds: Sequence[int], width: int, problem: TinyProblem
    ) -> None:
        live = [live_edges(CELLS[cell]) for cell in cells]
        self.cells, self.seeds = len(cells), len(seeds)
        self._count = self.cells * self.seeds
        self._linear = live[0].linear
        self._skips = {
            edge: torch.tensor([float(edge in one.skip) for one in live])
            .repeat_interleave(self.seeds)
            .view(-1, 1, 1)
            for edge in range(len(EDGES))
            if any(edge in one.skip for one in live)
        }
        inner = [(width, width)] * len(self._linear)
        self._layers = [(2, width), *inner, (width, problem.arms)]
        starts = [
            _start(self._layers, problem.name, cell, seed) for cell in cells for seed in seeds
        ]
        self.weights = torch.stack(starts).requires_grad_()

    def outputs(self, x: Tensor) -> Tensor:
        """Returns logits ``[N, B, C]`` of inputs ``[N, B, 2]``."""
        stem, *inner, head = self._split()
        values: list[Tensor | None] = [_affine(stem, x)]
        rectified: dict[int, Tensor] = {}
        for node in range(1, NODES):
            terms: list[Tensor] = []
            for edge, (source, target) in enumerate(EDGES):
                value = values[source] if target == node else None
                if value is None:
                    continue
                if edge in self._linear:
                    if source not in rectified:
                        rectified[source] = value.relu()
                    layer = inner[self._linear.index(edge)]
                    terms.append(_affine(layer, rectified[source]))
                elif edge in self._skips:
                    terms.append(self._skips[edge] * value)
            values.append(sum(terms[1:], terms[0]) if terms else None)
        last = values[-1]
        assert last is not None, "dead cells are in no group"
        return _affine(head, last.relu())

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns the sum over networks of their mean losses on a batch of each seed ``[seeds, B]``."""
        logits = self.outputs(x.repeat(self.cells, 1, 1))
        targets = y.repeat(self.cells, 1)
        whole = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        return whole / y.shape[1]

    @torch.no_grad()
    def evaluated(self, data: Dataset) -> tuple[Tensor, Tensor]:
        """Returns the mean negative log-likelihood and the share of right answers, ``[cells, seeds]`` each."""
        nll, right = torch.zeros(self._count), torch.zeros(self._count)
        for start in range(0, len(data), _ROWS):
            x, y = data.x[start : start + _ROWS], data.y[start : start + _ROWS]
            logits = self.outputs(x.expand(self._count, -1, -1))
            targets = y.repeat(self._count)
            each = F.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
            nll += each.view(self._count, -1).sum(dim=1)
            right += (logits.argmax(dim=-1) == y).sum(dim=1)
        shape = self.cells, self.seeds
        return (nll / len(data)).view(shape), (right / len(data)).view(shape)

    def _split(self) -> list[tuple[Tensor, Tensor]]:
        """Returns weights ``[N, in, out]`` and biases ``[N, 1, out]`` of the layers."""
        found = []
        parts = self.weights.split([(a + 1) * b for a, b in self._layers], dim=1)
        for (inputs, outputs), part in zip(self._layers, parts, strict=True):
            matrix = part[:, : inputs * outputs].view(-1, inputs, outputs)
            found.append((matrix, part[:, inputs * outputs :].view(-1, 1, outputs)))
        return found


def _affine(layer: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    weight, bias = layer
    return torch.baddbmm(bias, x, weight)


def _start(layers: Sequence[tuple[int, int]], problem: str, cell: int, seed: int) -> Tensor:
    """Returns the start ``[P]`` of a network: uniform between ±1/√inputs, as ``torch.nn.Linear`` has it."""
    source = generator("nbtiny", problem, "start", cell_code(CELLS[cell]), seed)
    drawn = [(2 * torch.rand((a + 1) * b, generator=source) - 1) / math.sqrt(a) for a, b in layers]
    return torch.cat(drawn)


def _epochs(
    group: _Group, data: Dataset, seeds: Sequence[int], recipe: TinyRecipe
) -> Iterator[int]:
    """Trains a group, and yields the number of each epoch that is done."""
    optimizer = torch.optim.Adam([group.weights], lr=recipe.lr, fused=True)
    orders = [generator("nbtiny", "order", seed) for seed in seeds]
    size = min(recipe.batch_size, len(data))
    for epoch in range(1, recipe.epochs[-1] + 1):
        order = torch.stack([torch.randperm(len(data), generator=source) for source in orders])
        for start in range(0, len(data) - size + 1, size):
            index = order[:, start : start + size]
            optimizer.zero_grad()
            group.loss(data.x[index], data.y[index]).backward()
            optimizer.step()
        yield epoch

"""Outputs of networks on data: of one network, and of networks drawn from the posterior at λ."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from netdial.core.arguments import Count, checked
from netdial.core.layout import fill
from netdial.core.noise import generator, seeded
from netdial.core.outputs import (
    ROWS,
    evaluating,
    failing_in_words,
    in_usual_modes,
    keep_freed_memory,
)
from netdial.data.dataset import Dataset
from netdial.data.memory import Data, as_dataset
from netdial.data.memory.columns import check_columns
from netdial.family.family import Family
from netdial.task.rehearsal import in_order_of


@checked
@in_usual_modes
def outputs(net: nn.Module, data: Dataset, batch_size: Count = ROWS) -> Tensor:
    """Returns a network's outputs ``[B, ...]`` in evaluation mode, batch by batch."""
    keep_freed_memory()
    like = next(iter(net.parameters()))
    index = torch.arange(len(data), device=data.x.device).split(batch_size)
    with evaluating(net):
        return torch.cat([_run(net, data.inputs(part, like)).cpu() for part in index])


def _run(net: nn.Module, x: Tensor) -> Tensor:
    with failing_in_words(net, x):
        found: Tensor = net(x.clone())
    return found


@checked
@in_usual_modes
def predictive(
    family: Family,
    lam: float,
    data: Data,
    *,
    n_samples: Count = 32,
    batch_size: Count = ROWS,
    seed: int = 0,
) -> Tensor:
    """Returns outputs ``[S, B, ...]`` of networks whose weights are drawn from the posterior at λ.

    Averaging probabilities (or densities) over the first dimension gives the posterior predictive. The same seed draws
    the same numbers at every λ.

    Args:
        family: the family.
        lam: complexity value.
        data: in any of the forms of ``netdial.data.memory``.
        n_samples: S, draws of the weights; at least 1.
        batch_size: examples run at once.
        seed: seed of the draws.

    Raises:
        ConfigError: λ is outside the trained range, or there is nothing to draw.
    """
    check_columns(family.columns, data, "data")
    part = in_order_of(family.net, as_dataset(data))
    net, source, draw = family.export(lam), generator(seed, "predictive"), family.sampler(lam)
    draws = []
    for _ in range(n_samples):
        fill(net, draw(source))
        draws.append(outputs(net, part, batch_size))
    return torch.stack(draws)


class Forward(Protocol):
    """Outputs of the members of a family on B examples."""

    def means(self, lam: float) -> Tensor:
        """Returns outputs ``[B, ...]`` of the mean weights at λ."""

    def draws(self, lam: float, n_samples: int, seed: int) -> Tensor:
        """Returns outputs ``[S, B, ...]`` of draws from the posterior at λ."""


class FamilyForward:
    """Outputs of the members of one family on some data.

    Args:
        family: the family.
        part: the data.
        batch_size: examples run at once.
    """

    def __init__(self, family: Family, part: Dataset, batch_size: int = ROWS) -> None:
        self._family, self._part, self._batch_size = family, part, batch_size

    def means(self, lam: float) -> Tensor:
        """Returns outputs ``[B, ...]`` of the mean weights at λ."""
        return outputs(self._family.export(lam), self._part, self._batch_size)

    def draws(self, lam: float, n_samples: int, seed: int) -> Tensor:
        """Returns outputs ``[S, B, ...]`` of draws from the posterior at λ."""
        return predictive(
            self._family,
            lam,
            self._part,
            n_samples=n_samples,
            batch_size=self._batch_size,
            seed=seed,
        )


@checked
@in_usual_modes
def recalibrate(
    family: Family, net: nn.Module, data: Dataset, *, batches: Count = 20, batch_size: Count = 256
) -> nn.Module:
    """Measures a member's BatchNorm statistics afresh on training inputs, in place.

    A family keeps statistics along λ (see ``family.buffers``); this replaces their interpolation by cumulative averages
    for this very member.

    Args:
        family: the family that the member came from; its network says which buffers are statistics.
        net: the exported member.
        data: training inputs.
        batches: batches to average over.
        batch_size: examples in each.
    """
    layers = [
        m
        for path, m in net.named_modules()
        if isinstance(m, nn.modules.batchnorm._NormBase)
        and m.track_running_stats
        and path not in family.held
    ]
    if not family.statistics.names or not layers:
        return net
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    net.train()
    for path in family.held:
        net.get_submodule(path).eval()
    like = next(iter(net.parameters()))
    order = torch.randperm(len(data), generator=generator("recalibrate"))
    with torch.no_grad(), seeded("recalibrate"):
        for index in order.split(batch_size)[:batches]:
            if len(index) > 1:
                _run(net, data.inputs(index, like))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return net.eval()

"""Weights of examples: how much each counts in the objective, from weights of the examples and of their classes.

Weights are divided by their mean over the training part, so that N, by which the complexity term is divided, stays the
number of examples (those of weight 0 left out). A weight says how much an example counts compared with the others; to say
that there are more examples, repeat them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, overload

import torch
from torch import Tensor

from netdial.core.errors import ConfigError, DataError
from netdial.data.dataset import Dataset
from netdial.data.memory.loader import Loader
from netdial.data.memory.targets import Targets

ClassWeight = str | Mapping[str, float] | Sequence[float] | None
"""``balanced``; the weight of each class by its index as text, those that are not named having weight 1; or of all in a row."""


@overload
def weighted(
    data: Dataset, class_weight: ClassWeight, targets: Targets, part: str = ...
) -> Dataset: ...


@overload
def weighted(
    data: Dataset | Loader, class_weight: ClassWeight, targets: Targets, part: str = ...
) -> Dataset | Loader: ...


def weighted(
    data: Dataset | Loader,
    class_weight: ClassWeight,
    targets: Targets,
    part: str = "training part",
) -> Dataset | Loader:
    """Returns training data whose weights include those of the classes and have mean 1.

    Args:
        data: the training part, its own weights in any unit. The weights of a loader are read once from end to end.
        class_weight: weights of the classes. ``balanced`` gives all classes the same total weight.
        targets: what targets are, ``classes`` or ``numbers``.
        part: what the data are, for messages.

    Raises:
        ConfigError: class weights without classes, or for a class that does not exist; a negative one.
        DataError: all weights are 0.
    """
    if class_weight is not None and targets != "classes":
        places = "; for classes of pixels or words give loss=torch.nn.CrossEntropyLoss(weight=…)"
        raise ConfigError(
            f"class_weight={class_weight!r}: weights of classes need targets that are classes (kind='classification')"
            f"{places if targets == 'class maps' else ''}"
        )
    if isinstance(data, Loader):
        return _weighted_loader(data, class_weight)
    if data.weight is None and class_weight is None:
        return data
    weight = _raw(data, class_weight)
    kept = (weight > 0).to(data.x.device)
    if not bool(kept.any()):
        raise DataError(f"{part}: all weights are 0; give at least one example a weight")
    data = replace(data, weight=weight.to(data.x.device))
    data = data if bool(kept.all()) else data.select(kept)
    assert data.weight is not None
    return replace(data, weight=data.weight / data.weight.mean())


Part = TypeVar("Part", Dataset, Dataset | None)


def weighted_both(
    data: Dataset | Loader, part: Part, class_weight: ClassWeight, targets: Targets
) -> tuple[Dataset | Loader, Part]:
    """Returns ``weighted`` training data, and a validation part in which each class has the weight that it has in training.

    Args:
        data: as of ``weighted``; errors are the same.
        part: the validation part, its own weights in any unit; classes that training does not know have weight 1. None
            where there is none.
        class_weight: as of ``weighted``.
        targets: the same.
    """
    found, name = weighted(data, class_weight, targets), "validation part"
    if part is None:
        return found, part
    if class_weight is None:
        return found, weighted(part, None, targets, name)
    if isinstance(data, Dataset):
        of_class = _of_classes(class_weight, _totals(data.y.cpu(), _raw(data, None)))
    else:
        assert isinstance(found, Loader) and found.class_weight is not None
        of_class = found.class_weight
    y = part.y.cpu()
    new = max(int(y.max()) + 1 - len(of_class), 0)
    weight = _raw(part, None) * torch.nn.functional.pad(of_class, (0, new), value=1.0)[y].float()
    return found, weighted(replace(part, weight=weight.to(part.x.device)), None, targets, name)


def weighted_rows(
    data: Dataset, class_weight: ClassWeight, targets: Targets, rows: Sequence[Tensor]
) -> tuple[Dataset, list[Tensor]]:
    """Returns ``weighted`` data, and each of several choices of rows by their places in them, without rows of weight 0.

    Args:
        data: as of ``weighted``; errors are the same.
        class_weight: the same.
        targets: the same.
        rows: indices of rows of ``data`` ``[N_s]``.
    """
    found = weighted(data, class_weight, targets)
    if len(found) == len(data):
        return found, list(rows)
    kept = _raw(data, class_weight) > 0
    place = kept.cumsum(dim=0) - 1
    return found, [place[some[kept[some]]] for some in rows]


def _raw(data: Dataset, class_weight: ClassWeight) -> Tensor:
    """Returns the weight of each example ``[N]``, times that of its class, in any unit."""
    weight = torch.ones(len(data)) if data.weight is None else data.weight.cpu()
    if class_weight is None:
        return weight
    y = data.y.cpu()
    return weight * _of_classes(class_weight, _totals(y, weight)).to(weight.dtype)[y]


def weighing(data: Dataset) -> Dataset:
    """Returns the examples that weigh something: what is measured over inputs alone looks at no others."""
    kept = None if data.weight is None else data.weight > 0
    return data if kept is None or bool(kept.all()) else data.select(kept)


def unweighted(data: Dataset, what: str) -> Dataset:
    """Returns data that have no weights.

    Raises:
        DataError: they have.
    """
    if data.weight is not None:
        raise DataError(
            f"{what}: the data have weights, and evidence is of examples as they are; leave the weights out: Dataset(x, y)"
        )
    return data


def _weighted_loader(loader: Loader, class_weight: ClassWeight) -> Loader:
    """Returns the loader with normalised weights, having read it once if there are any."""
    if class_weight is None and loader.first().weight is None:
        return loader
    totals, count = torch.zeros(loader.n_outputs, dtype=torch.float64), 0
    weighing = totals.long()  # examples of each class that weigh something
    for batch in loader.batches(0, 0):
        weight = torch.ones(len(batch.y)) if batch.weight is None else batch.weight
        y = batch.y if class_weight is not None else torch.zeros(len(batch.y), dtype=torch.int64)
        new = _totals(y, weight)
        some = (weight > 0).long()
        size = max(len(totals), len(new))
        totals = _padded(totals, size) + _padded(new, size)
        weighing = _padded(weighing, size).index_add(0, y, some)
        count += len(y)
    of_class = None if class_weight is None else _of_classes(class_weight, totals)
    mean = float((totals if of_class is None else totals * of_class).sum()) / count
    if not mean > 0:
        raise DataError(f"{loader.part}: all weights are 0; give at least one example a weight")
    counted = weighing if of_class is None else weighing[of_class > 0]
    return loader.weighed(of_class, mean, int(counted.sum()))


def _totals(y: Tensor, weight: Tensor) -> Tensor:
    """Returns the weight of all examples of each class ``[C]``."""
    return torch.bincount(y, weights=weight.double())


def _padded(totals: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(totals, (0, size - len(totals)))


def _of_classes(
    class_weight: str | Mapping[str, float] | Sequence[float], totals: Tensor
) -> Tensor:
    """Returns the weight of each class ``[C]``."""
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ConfigError(
                f"class_weight={class_weight!r}; allowed: 'balanced', or a weight for each class, {{0: 1.0, 1: 24.0}}"
            )
        there = totals > 0
        return torch.where(there, totals.sum() / (there.sum() * totals.clamp_min(1e-300)), 1.0)
    if not isinstance(class_weight, Mapping):
        if len(class_weight) != len(totals):
            raise ConfigError(
                f"class_weight: {len(class_weight)} weight(s) in a row, but the training part has {len(totals)} classes, 0 to "
                f"{len(totals) - 1}; give one for each, or name them: {{0: 1.0}}"
            )
        class_weight = {str(index): value for index, value in enumerate(class_weight)}
    found = torch.ones(len(totals), dtype=torch.float64)
    for name, value in class_weight.items():
        if not name.isdecimal() or int(name) >= len(totals):
            raise ConfigError(
                f"class_weight: no class {name!r} in the training part; its classes are 0 to {len(totals) - 1}"
            )
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(
                f"class_weight: {value:g} for class {name}; weights are finite and 0 or more"
            )
        found[int(name)] = value
    return found

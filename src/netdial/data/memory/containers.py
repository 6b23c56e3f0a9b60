"""One function turns whatever data are held in into a ``Dataset`` in memory.

Taken are a ``Dataset``, a pair ``(x, y)`` or triple ``(x, y, weight)`` of tensors, numpy arrays, lists or pandas frames, a
mapping of them, a ``torch.utils.data`` data set, a list of rows, and a ``DataLoader``, which is read once from end to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils import data as torch_data

from netdial.core.arguments import checked_fields
from netdial.core.errors import DataError, warn
from netdial.data.dataset import Dataset, Splits
from netdial.data.memory.arrays import check_finite
from netdial.data.memory.examples import Examples, Names, as_examples, as_weights, describe
from netdial.data.memory.loader import Loader
from netdial.data.memory.targets import Targets, as_targets

Data = Any
"""Whatever ``as_dataset`` takes."""

_READ_AT_ONCE = 256

_EACH_ONCE = (
    torch_data.RandomSampler,
    torch_data.SequentialSampler,
    torch_data.SubsetRandomSampler,
)
"""Samplers that give examples once each, unless they replace what they drew."""
_NO_ROWS = (Tensor, np.ndarray, Mapping, tuple, list, str, bytes)
_FORMS = (
    "a pair (x, y) of tensors, arrays or pandas frames, a triple (x, y, weight), nd.Dataset, a torch data set, "
    "or a DataLoader"
)


@checked_fields
@dataclass(frozen=True)
class Named:
    """Data in a mapping, with the names of its inputs, targets and weights.

    >>> import torch
    >>> held = {"pixels": torch.zeros(2, 3), "digit": torch.tensor([0, 1]), "id": torch.arange(2)}
    >>> len(as_dataset(Named(held, inputs="pixels", targets="digit"), "classes"))
    2

    Attributes:
        data: a mapping of arrays, or a data set or ``DataLoader`` that yields mappings.
        inputs: name of the inputs, or the names of several, which the network is given by name.
        targets: name of the targets.
        weights: name of the weights of examples, if there are any.
    """

    data: Any
    inputs: str | tuple[str, ...] | list[str]
    targets: str
    weights: str | None = None

    @property
    def names(self) -> Names:
        """The names of inputs, targets and weights."""
        inputs = self.inputs if isinstance(self.inputs, str) else tuple(self.inputs)
        return inputs, self.targets, self.weights


def as_dataset(
    data: Data, targets: Targets | None = None, part: str = "data", seed: int = 0
) -> Dataset:
    """Returns data as one checked part in memory.

    Args:
        data: see the list at the head of this module.
        targets: what targets are, ``classes`` or ``numbers``, which decides on their form; None leaves them as they are.
        part: what the data are, for messages: ``"validation part"``.
        seed: decides the order of a loader that shuffles, and whatever its data set draws.

    Raises:
        DataError: they are held in something else, or cannot be used; the message names rows and columns.
    """
    if isinstance(data, Dataset):
        return _checked(data, targets, part)
    held, names = (data.data, data.names) if isinstance(data, Named) else (data, None)
    if isinstance(held, torch_data.DataLoader):
        found = Loader(held, targets, part=part, names=names).everything(seed)
        if told := _told_of_pass(held, len(found.y)):
            warn(f"{part}: a DataLoader is read once here: {told}")
    else:
        found = _in_memory(held, names, targets, part)
    try:
        return Dataset(found.x, found.y, weight=found.weight, packing=found.packing)
    except DataError as error:
        raise DataError(f"{part}: {error}") from None


def is_loader(data: Data) -> bool:
    """Returns whether data are a ``DataLoader``, by itself or with names."""
    return isinstance(data.data if isinstance(data, Named) else data, torch_data.DataLoader)


def as_loader(data: Data, part: str) -> Loader:
    """Returns a ``DataLoader``, by itself or with names, checked and counted."""
    if isinstance(data, Named):
        return Loader(data.data, part=part, names=data.names)
    return Loader(data, part=part)


def _checked(data: Dataset, targets: Targets | None, part: str) -> Dataset:
    """Returns a ``Dataset`` made by hand with the checks that every other form has passed."""
    check_finite(data.x, f"{part}: inputs")
    check_finite(data.y, f"{part}: targets")
    y = data.y if targets is None else as_targets(data.y, targets, f"{part}: targets")
    weight = None if data.weight is None else as_weights(data.weight, len(data), part)
    return replace(data, y=y, weight=weight)


def _in_memory(data: Any, names: Names | None, targets: Targets | None, part: str) -> Examples:
    """Returns data that are no loader."""
    if isinstance(data, torch_data.TensorDataset):
        data = data.tensors
    rows = _rows(data)
    if rows is not None:
        whole = torch_data.DataLoader(rows, batch_size=_READ_AT_ONCE)
        return Loader(whole, targets, part=part, names=names).everything()
    if isinstance(data, Mapping | tuple | list):
        return as_examples(data, part, targets=targets, names=names)
    raise DataError(f"{part}: {_what(data)}")


def _rows(data: Any) -> torch_data.Dataset[Any] | None:
    """Returns data that hold one row at each place; None for anything else."""
    if isinstance(data, torch_data.Dataset):
        return data
    if isinstance(data, list) and data and all(isinstance(row, tuple | Mapping) for row in data):
        return data  # type: ignore[return-value]
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if isinstance(data, _NO_ROWS) or not indexed or hasattr(data, "to_numpy"):
        return None
    found: torch_data.Dataset[Any] = data
    return found


def _what(data: Any) -> str:
    """Returns what is wrong with data in none of the forms, and how to give them."""
    if isinstance(data, str | Path):
        return f"got the text {str(data)!r}; read it first: splits = nd.load_data({str(data)!r}), then give splits.train"
    if isinstance(data, Splits):
        return "got all three parts; give one of them: splits.train, splits.valid or splits.test"
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return (
            "got one frame; say which column is the target: (frame.drop(columns='y'), frame['y']); or have its columns read, "
            "texts and gaps as well, and its rows split: splits = nd.load_data(frame, target='y')"
        )
    if isinstance(data, Tensor | np.ndarray):
        return f"got {describe(data)} and no targets; give a pair (x, y)"
    return f"got {describe(data)}; expected {_FORMS}"


def _told_of_pass(loader: torch_data.DataLoader[Any], n: int) -> str:
    """Returns how one pass of n examples differs from all that a loader is meant to give, each once; empty if it does not.

    Args:
        loader: the loader.
        n: examples that a pass gave.
    """
    rows: Any = loader.dataset
    if isinstance(rows, torch_data.IterableDataset) or not hasattr(rows, "__len__"):
        return ""
    batches = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    sampler: Any = getattr(batches, "sampler", batches)
    if isinstance(sampler, _EACH_ONCE) and not getattr(sampler, "replacement", False):
        left = len(sampler) - n
        return f"drop_last=True leaves out {left} of {len(sampler)} examples" if left > 0 else ""
    drawn = isinstance(sampler, torch_data.RandomSampler | torch_data.WeightedRandomSampler)
    if not drawn and n == len(rows):
        return ""
    return f"the part is the {n} examples of one pass, as its {type(sampler).__name__} gave them of {len(rows)}"

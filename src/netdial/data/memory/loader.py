"""A ``DataLoader``, counted, and replayed so that a pass over it depends on a seed and on its number alone.

The user's loader is left as it is: every pass goes over a shallow copy whose samplers draw from a generator of their own.
Workers are started anew for each pass, persistent ones too: a worker that lives on carries its random numbers into the next
pass, which an interrupted run could not repeat.
"""

from __future__ import annotations

import copy
import itertools
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data
from torch.utils._pytree import tree_leaves

from netdial.core.errors import DataError, warn
from netdial.core.inputs import Packing
from netdial.core.noise import derive_seed
from netdial.data.memory.examples import Examples, Names, as_examples, joined
from netdial.data.memory.targets import Targets

_KNOWN_LENGTHS = (
    torch_data.RandomSampler,
    torch_data.SequentialSampler,
    torch_data.SubsetRandomSampler,
    torch_data.WeightedRandomSampler,
    torch_data.DistributedSampler,
)
"""Samplers whose length is what they yield; others are walked through and counted."""

_LOOKED_AT = 4
"""Examples that are read twice to see whether they are drawn."""

_PASSES_AT_MOST = 100
"""How often a sampler may go over its data set before it is taken for one without an end."""


class Loader:
    """A checked ``DataLoader``.

    Args:
        loader: the loader of pairs ``(x, y)``, triples ``(x, y, weight)`` or mappings.
        targets: what targets are, ``classes`` or ``numbers``; None leaves them as they are.
        part: what the data are, for messages.
        names: names of inputs, targets and weights if it yields mappings.

    Attributes:
        sizes: examples in each batch of a pass.

    Raises:
        DataError: a pass over it has no end, no fixed number of batches, or no example at all.
    """

    def __init__(
        self,
        loader: torch_data.DataLoader[Any],
        targets: Targets | None = None,
        *,
        part: str = "data",
        names: Names | None = None,
    ) -> None:
        self.targets, self.part = targets, part
        self._loader, self._names = loader, names
        self._counted: list[int] | None = None
        self._dtype: torch.dtype | None = None
        self._n_outputs: int | None = None
        self._class_weight: Tensor | None = None
        self._mean_weight = 1.0
        self._n_counted: int | None = None
        self._packing: Packing | None = None

    def suited(
        self,
        targets: Targets,
        dtype: torch.dtype | None = None,
        n_outputs: int | None = None,
        packing: Packing | None = None,
    ) -> Loader:
        """Returns the loader with batches as a task and a network take them.

        Args:
            targets: what targets are.
            dtype: type of the inputs; that of floating-point targets, too, if it is one.
            n_outputs: outputs of the network: class indices stay below it.
            packing: how the network takes several inputs; by default as the first batch has them.
        """
        again = copy.copy(self)
        again._packing = packing or self._packing
        again.targets, again._dtype, again._n_outputs = targets, dtype, n_outputs
        return again

    @property
    def n_outputs(self) -> int:
        """Outputs of the network that takes the batches; 0 before ``suited``."""
        return self._n_outputs or 0

    def weighed(self, class_weight: Tensor | None, mean: float, n_data: int) -> Loader:
        """Returns the loader with weights that include those of the classes ``[C]`` and are divided by ``mean``.

        ``n_data`` of its examples have a weight that is not 0.
        """
        again = copy.copy(self)
        again._class_weight, again._mean_weight, again._n_counted = class_weight, mean, n_data
        return again

    @property
    def n_data(self) -> int:
        """Examples of a pass, those of weight 0 left out once ``weighed`` told how many there are."""
        return sum(self.sizes) if self._n_counted is None else self._n_counted

    @property
    def class_weight(self) -> Tensor | None:
        """Weights of the classes ``[C]`` that ``weighed`` gave it."""
        return self._class_weight

    @property
    def sizes(self) -> list[int]:
        """Examples in each batch of a pass; counted when first asked for."""
        if self._counted is None:
            self._counted = self._count()
            if not sum(self._counted):
                raise DataError(
                    f"{self.part}: the {self.part} is empty; the DataLoader gives no example"
                )
        return self._counted

    def batches(self, seed: int, number: int) -> Iterator[Examples]:
        """Yields the checked batches of pass ``number``; the same for the same seed and number, whatever happened before."""
        for step, batch in enumerate(self._raw(self._replay(seed, number), seed, number)):
            yield self._checked(batch, step)

    def first(self) -> Examples:
        """Returns the first batch of pass 0, read by at most one worker."""
        again = self._replay(0, 0)
        if again.num_workers > 1:
            vars(again)["num_workers"] = 1
        for batch in self._raw(again, 0, 0):
            return self._checked(batch, 0)
        raise DataError(f"{self.part}: the {self.part} is empty; the DataLoader gives no batch")

    def everything(self, seed: int = 0) -> Examples:
        """Returns all examples of one pass, joined; warns if another pass would give others."""
        self._check_end()
        found = joined(list(self.batches(seed, 0)), self.part)
        if self._draws():
            warn(
                f"{self.part}: examples are others each time they are read, as under random transformations; they are read "
                "once here, and stay what they were drawn as. nd.fit, nd.fit_direct and nd.shrink go through a DataLoader "
                "anew in each epoch; for all else give examples without such transformations"
            )
        return found

    def _draws(self) -> bool:
        """Returns whether its data set gives other examples under other random numbers; False where that cannot be told."""
        data: Any = self._loader.dataset
        if isinstance(data, torch_data.IterableDataset):
            return False
        passes = []
        for number in range(2):
            with _seeded(0, "drawn", number):
                try:
                    passes.append([tree_leaves(data[i]) for i in range(min(_LOOKED_AT, len(data)))])
                except Exception:  # its sampler may know other places
                    return False
        return any(map(_differ, *passes))

    def _checked(self, batch: Any, step: int) -> Examples:
        where = f"{self.part}: batch {step}"
        x, y, weight, packing = as_examples(batch, where, targets=self.targets, names=self._names)
        self._packing = self._packing or packing
        if packing is not None and self._packing is not None:
            x, packing = self._packing.of(x, packing, where), self._packing
        highest = int(y.max()) if len(y) and not y.is_floating_point() else 0
        if self._n_outputs is not None and highest >= self._n_outputs:
            raise DataError(
                f"{where}: targets: class {highest} in row {int(y.argmax())} (counted from 0), but the network has "
                f"{self._n_outputs} outputs, for classes 0 to {self._n_outputs - 1}"
            )
        if self._class_weight is not None:
            weight = self._class_weight[y] * (1.0 if weight is None else weight)
        weight = None if weight is None else weight / self._mean_weight
        if self._dtype is None:
            return Examples(x, y, weight, packing)
        floats = self._dtype.is_floating_point and y.is_floating_point()
        return Examples(x.to(self._dtype), y.to(self._dtype) if floats else y, weight, packing)

    def _count(self) -> list[int]:
        """Returns the sizes of the batches of a pass, without reading data where it can be told."""
        loader = self._loader
        self._check_end()
        if isinstance(loader.dataset, torch_data.IterableDataset) or loader.batch_sampler is None:
            passed = _bounded(self.batches(0, 0), self._limit(), self.part, lambda b: len(b.y))
            return [len(batch.y) for batch in passed]
        if type(loader.batch_sampler) is not torch_data.BatchSampler:
            counts = [self._walk_batches(number) for number in (0, 1)]
            if [len(counts[0]), sum(counts[0])] != [len(counts[1]), sum(counts[1])]:
                raise DataError(
                    f"{self.part}: {type(loader.batch_sampler).__name__} gives {len(counts[0])} batches of "
                    f"{sum(counts[0])} examples in one epoch and {len(counts[1])} of {sum(counts[1])} in the next; "
                    "training needs equally many in each"
                )
            return counts[0]
        sampler, size = loader.batch_sampler.sampler, loader.batch_sampler.batch_size
        known = isinstance(sampler, _KNOWN_LENGTHS) and type(sampler).__module__.startswith(
            "torch."
        )
        total = len(sampler) if known else self._walk_examples()  # type: ignore[arg-type]
        whole, rest = divmod(total, size)
        return [size] * whole + [rest] * (rest > 0 and not loader.batch_sampler.drop_last)

    def _check_end(self) -> None:
        """Refuses a stream that may have no end."""
        data = self._loader.dataset
        if isinstance(data, torch_data.IterableDataset) and not hasattr(data, "__len__"):
            raise DataError(
                f"{self.part}: DataLoader: its data set has no length; the objectives need the number of training examples. "
                "Give it __len__, the number of examples that one pass yields"
            )

    def _walk_batches(self, number: int) -> list[int]:
        again = self._replay(0, number)
        with _seeded(0, "count", number):
            assert again.batch_sampler is not None
            batches = _bounded(again.batch_sampler, self._limit(), self.part, len)
            return [len(list(batch)) for batch in batches]

    def _walk_examples(self) -> int:
        again = self._replay(0, 0)
        with _seeded(0, "count", 0):
            return sum(1 for _ in _bounded(again.sampler, self._limit(), self.part, lambda _: 1))

    def _limit(self) -> int:
        """Returns how many examples a pass may have before it is taken for endless."""
        return _PASSES_AT_MOST * (len(self._loader.dataset) + 1)  # type: ignore[arg-type]

    def _replay(self, seed: int, number: int) -> torch_data.DataLoader[Any]:
        """Returns a copy of the loader for one pass."""
        source = torch.Generator().manual_seed(derive_seed(seed, "order", number))
        again = copy.copy(self._loader)
        own = vars(again)  # the loader itself forbids to change these
        own.update(persistent_workers=False, _iterator=None, generator=source)
        try:
            if again.batch_sampler is None:
                own["sampler"] = _reseeded(again.sampler, source, number)
            else:
                own["batch_sampler"] = _reseeded(again.batch_sampler, source, number)
                own["sampler"] = getattr(again.batch_sampler, "sampler", again.sampler)
        except TypeError as error:
            raise DataError(
                f"{self.part}: the sampler of the DataLoader can be gone through only once ({error}); give one that starts anew"
            ) from None
        return again

    def _raw(self, loader: Iterable[Any], seed: int, number: int) -> Iterator[Any]:
        """Yields batches as the loader gives them, its code running under random numbers of their own."""
        batches: Iterator[Any] | None = None
        for step in itertools.count():
            try:
                with _seeded(seed, "loader", number, step):
                    batches = iter(loader) if batches is None else batches
                    batch = next(batches)
            except StopIteration:
                return
            except Exception as error:
                raise DataError(
                    f"{self.part}: reading batch {step} failed ({type(error).__name__}: {error})"
                ) from error
            yield batch


def _differ(first: list[Any], second: list[Any]) -> bool:
    """Returns whether the numbers of an example are others than when it was read before."""
    return len(first) != len(second) or any(
        not torch.equal(torch.as_tensor(one), torch.as_tensor(other))
        for one, other in zip(first, second, strict=True)
        if isinstance(one, Tensor | np.ndarray | float)
    )


def _bounded(
    items: Iterable[Any], limit: int, part: str, weigh: Callable[[Any], int]
) -> Iterator[Any]:
    """Yields what a sampler yields, and refuses one that does not end."""
    seen = 0
    for item in items:
        seen += weigh(item)
        if seen > limit:
            raise DataError(
                f"{part}: the sampler of the DataLoader does not end (more than {limit} examples); an epoch has to, because "
                "the objectives need the number of training examples"
            )
        yield item


def _reseeded(sampler: Any, source: torch.Generator, number: int) -> Any:
    """Returns a copy of a sampler that draws from ``source``, told of the epoch if it asks; so are samplers inside it."""
    fresh = copy.copy(sampler)
    if hasattr(fresh, "generator"):
        fresh.generator = source
    if hasattr(fresh, "set_epoch"):
        fresh.set_epoch(number)
    for name in ("sampler", "batch_sampler"):
        inner = getattr(fresh, name, None)
        if inner is not None and hasattr(inner, "__iter__"):
            setattr(fresh, name, _reseeded(inner, source, number))
    return fresh


@contextmanager
def _seeded(*words: int | str) -> Iterator[None]:
    """Seeds the global generators of torch, numpy and Python for the user's code, and puts them back afterwards."""
    seed = derive_seed(*words)
    numpy = sys.modules.get("numpy")
    python, arrays = random.getstate(), numpy.random.get_state() if numpy is not None else None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        if numpy is not None:
            numpy.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            if numpy is not None:
                numpy.random.set_state(arrays)

"""Seeded randomness that does not depend on how work is split.

Every random number of a training step is drawn for a (seed, step, group) triple, where a group is the part of the batch
that shares one complexity value. The numbers are therefore the same whether groups run at once, one after another, on
two processes, or after a resume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_SPREAD, _MASK = 0x9E3779B97F4A7C15, (1 << 63) - 1


def derive_seed(*words: int | str) -> int:
    """Returns a 63-bit seed that depends on all the words given.

    >>> derive_seed(0, "shuffle", 1) == derive_seed(0, "shuffle", 1) != derive_seed(0, "shuffle", 2)
    True
    """
    digest = hashlib.blake2b(repr(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*words: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns a generator seeded from the words."""
    return torch.Generator(device=device).manual_seed(derive_seed(*words))


@contextmanager
def seeded(*words: int | str) -> Iterator[None]:
    """Seeds the global generators for layers that draw from them (dropout), and puts them back afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        seed_everywhere(derive_seed(*words))
        yield


def seed_everywhere(seed: int) -> None:
    """Seeds the global generators.

    Where there is only the processor, its generator alone: ``torch.manual_seed`` writes the call stack down for each kind of
    accelerator that is missing, which takes longer than a step of a small network.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


class Noise:
    """Random numbers for K groups, one generator for each.

    Args:
        seed: seed of the run.
        step: optimiser step.
        groups: global numbers of the groups, length K.
        device: where the numbers are made.
    """

    def __init__(
        self, seed: int, step: int, groups: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        base = derive_seed(seed, "noise", step)
        self._generators = [
            torch.Generator(device=device).manual_seed(base ^ (group * _SPREAD & _MASK))
            for group in groups
        ]
        self._device = device

    @classmethod
    def from_generator(cls, source: torch.Generator) -> Noise:
        """Returns the random numbers of one group that go on where a generator stands."""
        return cls._made([source], source.device)

    @classmethod
    def _made(cls, generators: list[torch.Generator], device: torch.device | str) -> Noise:
        made = cls.__new__(cls)
        made._generators, made._device = generators, device
        return made

    def of(self, row: int) -> Noise:
        """Returns the random numbers of one group, from the same stream."""
        return Noise._made([self._generators[row]], self._device)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns standard normal numbers ``[K, *shape]``; each call goes on where the last one stopped."""
        out = torch.empty(len(self._generators), *shape, dtype=dtype, device=self._device)
        for row, source in zip(out, self._generators, strict=True):
            row.normal_(generator=source)
        return out

    def uniform(self, *shape: int) -> Tensor:
        """Returns numbers ``[K, *shape]`` uniform on [0, 1), from the same stream."""
        shape = (len(self._generators), *shape)
        out = torch.empty(shape, dtype=torch.float32, device=self._device)
        for row, source in zip(out, self._generators, strict=True):
            row.uniform_(generator=source)
        return out

    def exponential(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns standard exponential numbers ``[K, *shape]``, above 0, from the same stream."""
        out = torch.empty(len(self._generators), *shape, dtype=dtype, device=self._device)
        for row, source in zip(out, self._generators, strict=True):
            row.exponential_(generator=source)
        return out.clamp_min(torch.finfo(dtype).tiny)

    def gamma(self, shapes: Tensor) -> Tensor:
        """Returns Gamma(shape, 1) numbers ``[K, ...]`` for shapes ``[K, ...]``, from the same stream.

        Gradients reach ``shapes`` by implicit differentiation (Figurnov, Mohamed & Mnih 2018).
        """
        rows = zip(shapes, self._generators, strict=True)
        return torch.stack([torch._standard_gamma(row, source) for row, source in rows])

    def states(self) -> list[Tensor]:
        """Returns how far each stream has gone."""
        return [source.get_state() for source in self._generators]

    def go_back(self, states: Sequence[Tensor]) -> None:
        """Goes back to where the streams were."""
        for source, state in zip(self._generators, states, strict=True):
            source.set_state(state)

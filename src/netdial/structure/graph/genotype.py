"""Genotype: what is chosen on every edge of a search space, as a hashable value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from netdial.core.errors import ConfigError

Chosen = tuple[str, ...]


@dataclass(frozen=True)
class Genotype:
    """One structure of a search space; equal and hashable by what it chooses.

    ``SearchSpace.genotype`` makes them.

    Attributes:
        space: fingerprint of the space that it belongs to.
        chosen: (key, names of the operations chosen), for every choice of the space, in its order. One name on a simplex, any
            number on a cube.
    """

    space: str
    chosen: tuple[tuple[str, Chosen], ...]

    @cached_property
    def _by_key(self) -> dict[str, Chosen]:
        return dict(self.chosen)

    def __getitem__(self, key: str) -> Chosen:
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self.chosen)

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def __str__(self) -> str:
        return ", ".join(f"{key}: {'+'.join(names) or '-'}" for key, names in self.chosen)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``SearchSpace.genotype`` reads."""
        return {"space": self.space, "chosen": {key: list(names) for key, names in self.chosen}}

    def dumps(self) -> str:
        """Returns it as a JSON text, the same for equal genotypes."""
        return json.dumps(self.to_json(), separators=(",", ":"))


def parse(given: str | Mapping[str, Any]) -> tuple[str | None, dict[str, Chosen]]:
    """Returns the fingerprint (None where none is given) and the choices in plain values.

    Args:
        given: what ``Genotype.to_json`` or ``dumps`` gave, or key -> the operation chosen, or a list of them.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(given, str):
        text = given
        try:
            given = json.loads(text)
        except ValueError:
            raise ConfigError(f"genotype {text[:60]!r}: no JSON") from None
    if not isinstance(given, Mapping):
        raise ConfigError(f"genotype: a {type(given).__name__}; give edge -> name of the operation")
    space = None
    if set(given) == {"space", "chosen"} and isinstance(given["chosen"], Mapping):
        space, given = str(given["space"]), given["chosen"]
    found: dict[str, Chosen] = {}
    for key, names in given.items():
        several = (names,) if isinstance(names, str) else names
        if not isinstance(several, list | tuple) or not all(isinstance(n, str) for n in several):
            raise ConfigError(
                f"genotype, edge {key}: {names!r}; give the name of an operation, or a list"
            )
        found[str(key)] = tuple(several)
    return space, found

"""Samplers: what proposes the trials of a sweep, all of them Optuna's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netdial.core.errors import ConfigError, missing_extra
from netdial.core.registry import Registry
from netdial.sweeps.space import Range, Values

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

Space = Mapping[str, Range | Values]


@dataclass(frozen=True)
class Sampler:
    """A sampler.

    Attributes:
        make: (space, seed) -> Optuna's sampler.
        learns: whether what it proposes depends on results.
    """

    make: Callable[[Space, int], BaseSampler]
    learns: bool


SAMPLERS: Registry[Sampler] = Registry("sampler")
"""Samplers by name."""


def need_optuna() -> None:
    """Refuses to go on without Optuna; its messages are left to warnings.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise missing_extra("a sweep", "sweep") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _tpe(space: Space, seed: int) -> BaseSampler:
    """Returns the tree-structured Parzen estimator: draws at random first, then where results were good."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed)


def _random(space: Space, seed: int) -> BaseSampler:
    """Returns independent draws."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _grid(space: Space, seed: int) -> BaseSampler:
    """Returns all combinations of lists, in an order drawn by the seed."""
    from optuna.samplers import GridSampler

    for name, one in space.items():
        if isinstance(one, Range):
            raise ConfigError(
                f"space, {name}: sampler grid takes lists of values, and this is a range; list the values, or choose another "
                "sampler"
            )
    return GridSampler({name: list(one) for name, one in space.items()}, seed=seed)  # type: ignore[arg-type]


def _nsga2(space: Space, seed: int) -> BaseSampler:
    """Returns the genetic algorithm NSGA-II, for several objectives."""
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=20)


SAMPLERS.add("tpe")(Sampler(_tpe, learns=True))
SAMPLERS.add("random")(Sampler(_random, learns=False))
SAMPLERS.add("grid")(Sampler(_grid, learns=False))
SAMPLERS.add("nsga2")(Sampler(_nsga2, learns=True))

"""All networks of the figures ``zoo`` and ``zoo-train``, by sample and name."""

from __future__ import annotations

from importlib import import_module

from benchmarks.networks import (
    eighth,
    eleventh,
    fifteenth,
    fifth,
    first,
    fourteenth,
    fourth,
    second,
    seventh,
    sixth,
    tenth,
    third,
    thirteenth,
    twelfth,
)
from benchmarks.networks.inputs import Maker

SAMPLES: dict[str, dict[str, Maker]] = {
    "first": first.NETWORKS,
    "second": second.NETWORKS,
    "third": third.NETWORKS,
    "fourth": fourth.NETWORKS,
    "fifth": fifth.NETWORKS,
    "sixth": sixth.NETWORKS,
    "seventh": seventh.NETWORKS,
    "eighth": eighth.NETWORKS,
    "tenth": tenth.NETWORKS,
    "eleventh": eleventh.NETWORKS,
    "twelfth": twelfth.NETWORKS,
    "thirteenth": thirteenth.NETWORKS,
    "fourteenth": fourteenth.NETWORKS,
    "fifteenth": fifteenth.NETWORKS,
}
"""What makes each of our own networks and its inputs."""
_TRANSFORMERS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth_texts",
    "ninth_others",
)


def own() -> dict[str, Maker]:
    """Returns what makes each of our own networks and its inputs, by name."""
    return {name: make for sample in SAMPLES.values() for name, make in sample.items()}


def transformers() -> dict[str, Maker]:
    """Returns the same of models of the transformers library.

    Raises:
        ImportError: transformers is not installed (extra ``zoo``).
    """
    modules = (import_module(f"benchmarks.networks.transformers.{name}") for name in _TRANSFORMERS)
    return {name: make for module in modules for name, make in module.models().items()}

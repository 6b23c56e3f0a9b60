"""Presets: default settings for each known data set.

The range of complexity values is chosen so that both ends say something: at ``lo`` the data decide, near ``hi`` the
prior does. The complexity term is λ KL / N, so the range that matters moves up with N.
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "wine": {"model": "mlp:16", "batch_size": 16, "groups": 4, "epochs": 80, "lr": 1e-2},
    "digits": {"model": "mlp:64", "batch_size": 64, "epochs": 60, "lr": 1e-2},
    "breast-cancer": {"model": "mlp:16", "batch_size": 32, "epochs": 80, "lr": 1e-2},
    "diabetes": {"model": "mlp:16", "batch_size": 32, "epochs": 80, "lr": 1e-2},
    "mnist": {"model": "mlp:50", "batch_size": 256, "epochs": 25, "samples": 8},
    "cifar10": {
        "model": "cnn",
        "batch_size": 128,
        "groups": 4,
        "epochs": 40,
        "lr": 1e-3,
        "samples": 4,
        "points": 7,
    },
}
"""Settings by data set; a field that is absent, and all fields for other data, have their general default."""

TABLE_MODEL = "mlp:64-64"
"""Network for a table of the user's own."""

LARGE_MODELS = {
    "wine": "mlp:64-64",
    "digits": "mlp:256-256",
    "breast-cancer": "mlp:64-64",
    "diabetes": "mlp:64-64",
    "mnist": "mlp:300-100",
    "cifar10": "vgg16-bn",
}
"""Networks that are larger than they have to be, to shrink from, by data set."""

_LARGE_TABLE_MODEL = "mlp:256-256"

POINTS = 13
"""Complexity values of the final curves."""

_FEW_EXAMPLES, _SAMPLES, _SAMPLES_OF_MANY = 5000, 32, 8


def default_model(data: str) -> str:
    """Returns the network for a data set or a table."""
    return str(PRESETS.get(data, {}).get("model", TABLE_MODEL))


def large_model(data: str) -> str:
    """Returns the network to shrink from for a data set or a table."""
    return LARGE_MODELS.get(data, _LARGE_TABLE_MODEL)


def default_samples(n_evaluated: int) -> int:
    """Returns how often to draw from the posterior for the predictive, fewer for many examples."""
    return _SAMPLES if n_evaluated <= _FEW_EXAMPLES else _SAMPLES_OF_MANY

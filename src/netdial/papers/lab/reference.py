"""Published figures that the experiments are compared with, as data.

Grebenkova et al. 2022, Tables 1 and 2 (Table 1 through the authors' own result files, which give more than the table);
Grebenkova et al. 2021, Tables 1 to 3.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any, NamedTuple

import torch
from torch import Tensor

COLUMNS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Shares of weights removed in Tables 1 and 2 of the 2022 paper."""

CIFAR_TABLE2: dict[str, tuple[float, ...]] = {
    "a": (0.8612, 0.8614, 0.8615, 0.8508, 0.8048, 0.4577),
    "c": (0.8852, 0.8839, 0.8728, 0.8191, 0.5683, 0.1582),
    "d": (0.8719, 0.8719, 0.8691, 0.8520, 0.8189, 0.6107),
    "f": (0.8984, 0.8984, 0.8919, 0.8683, 0.7565, 0.1656),
    "g": (0.8720, 0.8715, 0.8703, 0.8561, 0.8207, 0.5173),
    "i": (0.8879, 0.8868, 0.8752, 0.8321, 0.5146, 0.1354),
}
"""2022 paper, Table 2, by the letter of the implementation (the other three are not in it)."""


class Row2021(NamedTuple):
    """One method of the 2021 paper at λ = 0.1, 1, 10 and 100; ``updates`` are of single numbers, over the whole training."""

    accuracy: tuple[float, ...]
    updates: int
    stability: tuple[float, ...]
    evidence: tuple[float, ...]


TABLES_2021: dict[str, Row2021] = {
    "a": Row2021(
        (0.87686, 0.901570, 0.8674, 0.73031),
        7_458_976_000,
        (2.209571, 1.476841, 1.194326, 1.165526),
        (-9035.229, -24338.234, -56679.427, -128928.671),
    ),
    "b": Row2021(
        (0.81682, 0.81986, 0.83477, 0.78924),
        298_359_040,
        (1.518516, 1.537249, 1.473905, 1.362817),
        (-32788.838, -51832.864, -186124.637, -696240.551),
    ),
    "c": Row2021(
        (0.87719, 0.87666, 0.87466, 0.83124),
        4_165_376_600,
        (1.208003, 1.203938, 1.177115, 1.125796),
        (-24566.315, -30949.930, -56720.932, -166657.021),
    ),
    "d": Row2021(
        (0.90262, 0.90167, 0.88876, 0.83902),
        4_239_966_360,
        (1.20265, 1.201760, 1.186034, 1.156385),
        (-19994.677, -27220.746, -55508.397, -132758.414),
    ),
    "e": Row2021(
        (0.900679, 0.90021, 0.89218, 0.53857),
        3_729_488_000,
        (1.206345, 1.205434, 1.208482, 1.216405),
        (-24603.767, -28189.602, -58147.425, -177139.477),
    ),
    "f": Row2021(
        (0.90104, 0.91456, 0.89538, 0.80627),
        3_804_077_760,
        (1.281112, 1.287463, 1.255834, 1.289508),
        (-20776.473, -26262.996, -57948.826, -134340.962),
    ),
}
"""2021 paper, Tables 1 to 3. Its counts of updates are those of batches of 128 for 25 epochs; (a) and (b) count all four λ,
(d) and (f) the fine-tuning of one."""


class Published(NamedTuple):
    """Test accuracy of one implementation in the authors' result files, ``[6 λ, 10 shares]`` each, over 5 starts."""

    mean: Tensor
    std: Tensor
    max: Tensor


def mnist_table1() -> dict[str, Published]:
    """Returns the implementations by the letter of the 2022 paper, for the shares of ``mnist_shares``."""
    accuracy = _mnist()["accuracy"]
    return {
        letter: Published(
            *(torch.tensor(accuracy[name][what], dtype=torch.float64) for what in Published._fields)
        )
        for letter, name in zip("abcdefghi", accuracy, strict=True)
    }


def mnist_shares() -> tuple[float, ...]:
    """Returns the ten shares of weights removed in the authors' result files."""
    return tuple(percent / 100 for percent in _mnist()["percent"])


def mnist_columns(rows: Tensor) -> Tensor:
    """Returns the columns of Table 1 ``[..., 6]`` out of those of the result files ``[..., 10]``."""
    return rows[..., [mnist_shares().index(share) for share in COLUMNS]]


@functools.cache
def _mnist() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("varhypernet_mnist.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


SHRINKNETS_RATIOS: dict[str, dict[float, float]] = {
    "COVER_FC": {0.8: 2.2, 0.85: 2.1, 0.93: 1.4, 0.95: 4.3, 0.96: 2.5, 0.963: 37.7, 0.965: 5.1},
    "CIFAR10_VGG": {0.8: 5.0, 0.85: 13.0, 0.88: 19.4, 0.9: 37.9, 0.91: 6.0, 0.915: 2.8, 0.92: 2.2},
}
"""ShrinkNets draft, from its authors' result files: test accuracy -> parameters of the smallest static network that reaches it
over those of the smallest shrunken one, all parameters counted. Networks were chosen on test data; COVERTYPE is whole."""

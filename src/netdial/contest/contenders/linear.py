"""What any network has to beat: a linear model of scikit-learn's, and the best constant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netdial.contest.match import CONTENDERS, Guess, Match, best
from netdial.data.dataset import Dataset

_WEIGHTS = [10.0**power for power in (0, -1, 1, -2, 2, -3, 3, -4, 4)]
"""Regularisation, from the middle outwards, as far as there is time."""

_LEAST = 1e-7
"""Probability of a class that a model has never seen."""


@CONTENDERS.add("linear model")
def linear(match: Match) -> Guess:
    """Fits logistic or ridge regression with one weight of the penalty after another."""
    from sklearn.linear_model import LogisticRegression, Ridge

    classes = match.task.targets == "classes"
    if classes and is_single(match):
        return constant(match)
    x, y, weight = table(match.train)

    def fitted() -> Iterator[Guess]:
        began = time.process_time()
        for alpha in _WEIGHTS:
            if classes:
                model: Any = LogisticRegression(C=1 / alpha, max_iter=1000)
                made = model.fit(x, y, sample_weight=weight)
                found = log_probabilities(made.classes_, made.predict_proba, match.n_outputs)
            else:
                made = Ridge(alpha).fit(x, y, sample_weight=weight)
                found = means(made.predict)
            yield guess_of(match, found, penalty=alpha)
            if time.process_time() - began > match.seconds:
                return

    return best(fitted())


@CONTENDERS.add("constant")
def constant(match: Match) -> Guess:
    """Predicts the same whatever the input is."""
    row = match.task.constant(match.train.y, match.n_outputs).float()
    return guess_of(match, lambda part: row.expand(len(part), -1))


def is_single(match: Match) -> bool:
    """Returns whether training rows are all of one class, which classifiers of scikit-learn's refuse."""
    return len(match.train.y.unique()) < 2


def table(part: Dataset) -> tuple[Any, Any, Any]:
    """Returns inputs ``[N, D]``, targets and weights as arrays of numpy, as scikit-learn takes them."""
    y = part.y if part.y.ndim == 1 else part.y.double()
    return part.inputs().flatten(1).numpy(), y.numpy(), _array(part.weight)


def _array(weight: Tensor | None) -> Any:
    return None if weight is None else weight.numpy()


def log_probabilities(
    classes: Any, predict: Callable[[Any], Any], n_outputs: int
) -> Callable[[Dataset], Tensor]:
    """Returns a model's log probabilities as a function of a part; classes that were not seen in training have next to none."""

    def found(part: Dataset) -> Tensor:
        known = np.asarray(predict(table(part)[0]))
        full = np.full((len(known), n_outputs), _LEAST)
        full[:, np.asarray(classes, dtype=int)] = np.maximum(known, _LEAST)
        return torch.from_numpy(full).log()

    return found


def means(predict: Callable[[Any], Any]) -> Callable[[Dataset], Tensor]:
    """Returns a model's predictions ``[N, T]`` as a function of a part."""

    def found(part: Dataset) -> Tensor:
        return torch.from_numpy(np.asarray(predict(table(part)[0]))).view(len(part), -1)

    return found


def guess_of(match: Match, found: Callable[[Dataset], Tensor], **chosen: Any) -> Guess:
    """Returns the guess of a model that is no network."""
    return Guess(found, match.loss(found(match.valid), match.valid), chosen=chosen)

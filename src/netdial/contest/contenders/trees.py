"""Gradient-boosted trees of scikit-learn's: its defaults first, then settings drawn at random as long as there is time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from netdial.contest.contenders.linear import (
    constant,
    guess_of,
    is_single,
    log_probabilities,
    means,
    table,
)
from netdial.contest.match import CONTENDERS, Guess, Match, best

_ROUNDS = 300
_RANGES: dict[str, list[Any]] = {
    "learning_rate": [0.02, 0.05, 0.1, 0.2],
    "max_leaf_nodes": [7, 15, 31, 63],
    "min_samples_leaf": [3, 10, 20, 50],
    "l2_regularization": [0.0, 0.1, 1.0, 10.0],
}


@CONTENDERS.add("boosted trees")
def boosted(match: Match) -> Guess:
    """Fits trees for one setting after another; the number of rounds, too, is chosen on validation data."""
    if match.task.targets == "classes" and is_single(match):
        return constant(match)
    source = np.random.default_rng(match.seed)

    def fitted() -> Iterator[Guess]:
        began, taken, settings = time.process_time(), 0.0, dict[str, Any]()
        while taken + (time.process_time() - began) <= match.seconds or not settings:
            start = time.process_time()
            yield _fitted(match, settings)
            taken = time.process_time() - start
            settings = {name: source.choice(found).item() for name, found in _RANGES.items()}

    return best(fitted())


def _fitted(match: Match, settings: dict[str, Any]) -> Guess:
    """Returns the trees of one setting, cut at the round of least validation loss."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    x, y, weight = table(match.train)
    held, count = match.valid, match.n_outputs
    how = {"random_state": match.seed, "early_stopping": False, **settings}
    if match.task.targets == "classes":
        rounds = max(20, _ROUNDS // count)
        model = HistGradientBoostingClassifier(max_iter=rounds, **how)
        made: Any = model.fit(x, y, sample_weight=weight)
        losses = [
            match.loss(log_probabilities(made.classes_, partial(_same, p), count)(held), held)
            for p in made.staged_predict_proba(table(held)[0])
        ]
        at = int(np.argmin(losses))
        found = log_probabilities(
            made.classes_, lambda x: _stage(made.staged_predict_proba(x), at), count
        )
        return guess_of(match, found, rounds=at + 1, **settings)
    models = [
        HistGradientBoostingRegressor(max_iter=_ROUNDS, **how).fit(x, column, sample_weight=weight)
        for column in y.T
    ]
    inputs, wanted = table(held)[:2]
    stops = [
        int(np.argmin([np.square(p - column).mean() for p in model.staged_predict(inputs)]))
        for model, column in zip(models, wanted.T, strict=True)
    ]
    found = means(
        lambda x: np.stack(
            [_stage(m.staged_predict(x), at) for m, at in zip(models, stops, strict=True)], axis=1
        )
    )
    return guess_of(match, found, rounds=max(stops) + 1, **settings)


def _same(found: Any, x: Any) -> Any:
    """Returns probabilities that are known already."""
    return found


def _stage(stages: Iterator[Any], at: int) -> Any:
    return next(found for number, found in enumerate(stages) if number == at)

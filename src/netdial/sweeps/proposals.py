"""Proposals: which settings the trials of a sweep have, one after another, by Optuna's samplers.

No trial has the settings of an earlier one while there are others: a list of three values has three trials.

What trial n has depends on the sweep and, for a sampler that learns, on the results of trials 0 … n - ahead, told in order: not
on which trial happened to end first. So every engine makes the same trials, and a sweep that was stopped is rebuilt by asking
again.
"""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netdial.sweeps.samplers import SAMPLERS, need_optuna
from netdial.sweeps.space import distributions, values_of
from netdial.sweeps.spec import SweepSpec, is_higher

if TYPE_CHECKING:
    from optuna.trial import Trial as Asked


_REDRAWS = 100
"""Times that a sampler is asked again which proposes what there was."""


class Proposals:
    """Settings of trials by number, and what is known of them.

    Args:
        spec: the sweep.
    """

    def __init__(self, spec: SweepSpec) -> None:
        need_optuna()
        import optuna

        self._spec = spec
        self._distributions = distributions(spec.space, spec.whole)
        direction = optuna.study.StudyDirection
        directions = [
            direction.MAXIMIZE if is_higher(n) else direction.MINIMIZE for n in spec.optimised
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                directions=directions,
                sampler=SAMPLERS[spec.sampler].make(spec.space, spec.seed),
            )
        self._values = values_of(spec.space, spec.whole)
        self._seen: set[tuple[Any, ...]] = set()
        self._asked: dict[int, Asked] = {}
        self._forced: dict[int, dict[str, Any]] = {}
        self.n_asked = 0

    @property
    def looks_back(self) -> int | None:
        """How many trials back results are known; None for a sampler that does not look at them."""
        return self._spec.ahead if SAMPLERS[self._spec.sampler].learns else None

    def ask(self, written: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns the settings of the next trial.

        Args:
            written: what it was when it was asked for before; that is what counts.
        """
        trial = self._fresh()
        number, params = self.n_asked, dict(trial.params)
        self.n_asked += 1
        self._asked[number] = trial
        if written is not None and dict(written) != params:
            self._forced[number] = params = dict(written)
        if self._values is not None:
            self._seen.add(self._key(params))
        return params

    def _fresh(self) -> Asked:
        """Returns a trial with other settings than those before, as long as there are any."""
        import optuna

        trial = self._study.ask(self._distributions)
        if self._values is None:
            return trial
        left = math.prod(map(len, self._values.values())) > len(self._seen)
        draws = 0
        while left and self._key(trial.params) in self._seen:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if (draws := draws + 1) > _REDRAWS:
                self._study.enqueue_trial(self._unseen())
            trial = self._study.ask(self._distributions)
        return trial

    def _unseen(self) -> dict[str, Any]:
        """Returns settings that no trial has had: drawn evenly, or the first ones where few are left."""
        assert self._values is not None
        source = random.Random(f"{self._spec.seed} {self.n_asked}")
        drawn = (tuple(map(source.choice, self._values.values())) for _ in range(_REDRAWS))
        rest = itertools.product(*self._values.values())
        found = next(one for one in itertools.chain(drawn, rest) if one not in self._seen)
        return dict(zip(self._values, found, strict=True))

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(params.get(name) for name in self._spec.space)

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """Receives the objectives of a trial, in the order of numbers; None if there are none."""
        import optuna

        trial, state = self._asked.pop(number), optuna.trial.TrialState
        if self.looks_back is None:
            return
        forced = self._forced.pop(number, None)
        if forced is not None or values is None:
            self._study.tell(trial, state=state.FAIL)
        else:
            self._study.tell(trial, list(values))
        if forced is not None and values is not None:
            known = optuna.trial.create_trial(
                params=forced, distributions=self._distributions, values=list(values)
            )
            self._study.add_trial(known)

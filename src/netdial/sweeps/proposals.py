"""Proposals: which settings the trials of a sweep have, one after another, by Optuna's samplers.

What trial n has depends on the sweep and, for a sampler that learns, on the results of trials 0 … n - ahead, told in order: not
on which trial happened to end first. So every engine makes the same trials, and a sweep that was stopped is rebuilt by asking
again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netdial.sweeps.samplers import SAMPLERS, need_optuna
from netdial.sweeps.space import distributions
from netdial.sweeps.spec import SweepSpec, is_higher

if TYPE_CHECKING:
    from optuna.trial import Trial as Asked


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
        trial = self._study.ask(self._distributions)
        number, params = self.n_asked, dict(trial.params)
        self.n_asked += 1
        self._asked[number] = trial
        if written is not None and dict(written) != params:
            self._forced[number] = params = dict(written)
        return params

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

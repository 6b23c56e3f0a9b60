"""Rules for choosing a member by its loss on validation data; used by every table, report and search. Loads no torch.

``best``      the smallest loss; of equals the simplest
``one-se``    the simplest of those that are no worse than the best by more than one standard error of the difference
``sparsest``  the simplest, whatever it is worth: for when a budget already says what it must be worth

Simpler means fewer numbers left, then a larger λ. The one-standard-error rule is that of Breiman et al., Classification and
Regression Trees (1984, §3.4.3): the simplest model whose estimated error lies within one standard error of the smallest.
They take the standard error of the best model's own estimate. Here all members are measured on the same examples, so the rule
takes that of the paired difference, which is the uncertainty of the comparison itself and is smaller.

Choose by a proper loss (log loss, squared error). Under another metric, such as accuracy, members often agree on every
example; a difference of 0 with a standard error of 0 is no evidence that they are alike, so there the proper loss decides.
A loss that is not finite is never chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from netdial.core.errors import ConfigError

SQUARED_ERROR = "squared error in variances of the target"
"""What losses of a regression are: of a standardised target, whose variance on training rows is 1; a mean over targets."""
STANDARDISED = "standard deviations of the targets"
"""The unit of errors over several targets whose units are known; else they are in the numbers that were given."""
MEAN, PREDICTIVE = "mean weights", "predictive"
"""What a member predicts with: the network of its mean weights, or the average over its posterior."""

_ROUNDING = 1e-6
"""Losses that differ relatively by less are equal: members are run in single precision, alone or side by side."""
_SHOWN = 6


@dataclass(frozen=True)
class Row:
    """A member as the rules see it, measured on the same examples as the others.

    Attributes:
        lam: complexity value.
        loss: mean loss, lower is better; not finite if it could not be measured.
        error: standard error of the mean difference of losses to the best row, over examples; nan if it is not known.
        size: numbers left.
        proper: mean of a proper loss, if ``loss`` is another metric; it decides where that cannot.
        proper_error: as ``error``, of the proper loss.
    """

    lam: float
    loss: float
    error: float = math.nan
    size: float = 0.0
    proper: float = math.nan
    proper_error: float = math.nan

    @property
    def is_measured(self) -> bool:
        """Whether the loss is a number to compare."""
        return math.isfinite(self.loss)


Rule = Callable[[Sequence[Row], Iterable[int] | None], int]


def best(rows: Sequence[Row], among: Iterable[int] | None = None) -> int:
    """Returns the index of the row with the smallest loss.

    Of equal losses it is the one with the smallest proper loss, then the simplest.

    Args:
        rows: the members.
        among: indices of those to choose from; all of them by default.

    Raises:
        ConfigError: there is no finite loss.
    """
    found = _least(measured(rows, among), lambda i: rows[i].loss)
    if all(math.isfinite(rows[i].proper) for i in found):
        found = _least(found, lambda i: rows[i].proper)
    return min(found, key=lambda i: (*_plainness(rows[i]), rows[i].loss))


def one_se(rows: Sequence[Row], among: Iterable[int] | None = None) -> int:
    """Returns the index of the simplest row that is within one standard error of the best.

    Args:
        rows: the members; their errors are those of the difference to ``best(rows, among)``.
        among: indices of those to choose from; all of them by default.

    Raises:
        ConfigError: there is no finite loss.
    """
    found = measured(rows, among)
    top = best(rows, found)
    near = [i for i in found if i == top or is_near(rows[i], rows[top])]
    return min(near, key=lambda i: (*_plainness(rows[i]), rows[i].loss))


def sparsest(rows: Sequence[Row], among: Iterable[int] | None = None) -> int:
    """Returns the index of the simplest row; of equals that with the smallest loss.

    Raises:
        ConfigError: there is no finite loss.
    """
    found = measured(rows, among)
    return min(found, key=lambda i: (*_plainness(rows[i]), rows[i].loss))


RULES: dict[str, Rule] = {"best": best, "one-se": one_se, "sparsest": sparsest}


def measured(rows: Sequence[Row], among: Iterable[int] | None = None) -> list[int]:
    """Returns the indices of rows whose loss is finite.

    Raises:
        ConfigError: there are none.
    """
    asked = list(range(len(rows)) if among is None else among)
    found = [i for i in asked if rows[i].is_measured]
    if not found and any(math.isfinite(rows[i].proper) for i in asked):
        raise ConfigError(
            f"metric: it has no value on these data for any of {len(asked)} members (an area under the ROC curve needs "
            "examples of two classes, R² targets that differ); leave it out to choose by the loss, or give another one"
        )
    if not found:
        raise ConfigError(
            f"none of {len(asked)} members has a finite loss on validation data, so none can be chosen; "
            "look for values that are not finite in the data, and whether training diverged"
        )
    return found


def is_near(row: Row, top: Row) -> bool:
    """Returns whether a row is within one standard error of the best row."""
    if not row.loss - top.loss <= row.error + _slack(top.loss):
        return False
    if row.error > 0 or not math.isfinite(row.proper):
        return True
    return row.proper - top.proper <= row.proper_error + _slack(top.proper)


def undecided(rows: Sequence[Row], top: int) -> list[int]:
    """Returns the indices of rows that a metric cannot tell from the best: difference and standard error are 0."""
    return [
        i
        for i, row in enumerate(rows)
        if i != top
        and row.error == 0
        and math.isfinite(row.proper)
        and row.loss - rows[top].loss <= _slack(rows[top].loss)
    ]


def remarks(
    rows: Sequence[Row],
    taken: int,
    lo: float | None = None,
    hi: float | None = None,
    *,
    metric: str = "the metric",
    loss: str = "the proper loss",
) -> list[str]:
    """Returns what somebody who relies on a choice should know, one sentence each.

    Args:
        rows: all members that were looked at.
        taken: index of the one that was chosen.
        lo: smallest complexity value of the trained range, if it is known.
        hi: largest one.
        metric: what ``Row.loss`` is, in words.
        loss: what ``Row.proper`` is, in words.
    """
    said = [*_not_finite(rows), *_at_an_end(rows[taken].lam, {row.lam for row in rows}, lo, hi)]
    if rows[taken].is_measured:
        alike = len(undecided(rows, best(rows)))
        if alike:
            said.append(
                f"{metric} does not tell {alike} member{'s' if alike != 1 else ''} from the best on these examples "
                f"(difference and standard error are 0); there {loss} decided."
            )
    return said


def proportion(value: float, n: int) -> str:
    """Returns how sure a share of right examples is, as text to follow it.

    The standard error √(p (1 - p) / n) is 0 where all are right or all are wrong, which says nothing; then it is the upper
    limit 3/n of the rarer outcome at 95 % confidence (rule of three: Hanley and Lippman-Hand, JAMA 1983).

    >>> proportion(0.9, 400)
    '± 1.5 points'
    >>> proportion(1.0, 36)
    'all of 36 examples: up to 8% may be wrong'
    """
    if value in (0.0, 1.0):
        limit = f"{min(3 / n, 1):.0%}" if n <= 300 else f"{3 / n:.2%}"
        return (
            f"all of {n} examples: up to {limit} may be wrong"
            if value
            else f"none of {n} examples: up to {limit} may be right"
        )
    return f"± {100 * math.sqrt(value * (1 - value) / n):.1f} points"


def _least(found: Sequence[int], of: Callable[[int], float]) -> list[int]:
    least = min(of(i) for i in found)
    return [i for i in found if of(i) - least <= _slack(least)]


def _slack(value: float) -> float:
    return _ROUNDING * abs(value) + 1e-12


def _plainness(row: Row) -> tuple[float, float]:
    return row.size, -row.lam


def _not_finite(rows: Sequence[Row]) -> list[str]:
    lams = sorted({row.lam for row in rows if not row.is_measured})
    if not lams or not any(row.is_measured for row in rows):
        return []
    count = sum(not row.is_measured for row in rows)
    shown = ", ".join(f"{lam:.4g}" for lam in lams[:_SHOWN]) + (", …" if lams[_SHOWN:] else "")
    return [
        f"{count} of {len(rows)} members have a loss that is not finite and were left out (λ = {shown})."
    ]


def _at_an_end(lam: float, lams: set[float], lo: float | None, hi: float | None) -> list[str]:
    """Returns whether λ is an end of what was looked at, and what to do about it."""
    if len(lams) < 2:
        return []
    for end, limit, more, cure, factor in (
        (min(lams), lo, "a smaller one may be better", "lo", 0.1),
        (max(lams), hi, "a larger one may be as good and simpler", "hi", 10.0),
    ):
        if lam != end:
            continue
        if limit is not None and math.isclose(lam, limit, rel_tol=1e-6):
            end_at = f"{factor * limit:.4g}"
            return [
                f"λ = {lam:.4g} is an end of the trained range, and {more}: train with {cure}={end_at} (--{cure} {end_at})."
            ]
        return [
            f"λ = {lam:.4g} is an end of the values looked at, and {more}: give more values (lams=, --lams)."
        ]
    return []


def signed(value: float, spec: str) -> str:
    """Returns a number by a format of Python's, with a minus sign that is one, and none before what is zero as written.

    >>> signed(-0.25, ".2f"), signed(-0.001, ".2f"), signed(-1e-5, "+.1g")
    ('−0.25', '0.00', '−1e-05')
    """
    text = format(value, spec)
    if not text.startswith("-"):
        return text
    return "−" + text[1:] if text.strip("-0.,%") else text[1:]


def four_places(value: float) -> str:
    """Returns a measured value with four decimal places, or with four digits where it is too small for those.

    >>> four_places(0.50494), four_places(0.0), four_places(1.30955e-10)
    ('0.5049', '0.0000', '1.31e-10')
    """
    return f"{value:.4g}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"


def beside_random(difference: float, standard_error: float, trials: float, part: str) -> str:
    """Returns how a network that was searched for compares with the best of random search at equal cost, in one sentence.

    Args:
        difference: its loss less that of the best random structure, in nats.
        standard_error: of the difference.
        trials: random structures that were trained.
        part: part of the data.

    >>> beside_random(-0.1, 0.02, 8, "test")
    'Better than the best of 8 random structures trained in the same time (−0.1000 ± 0.0200 nats on the test part).'
    """
    if not math.isfinite(difference):
        return (
            f"Not compared with random search: the {part} losses of the best of {trials:.0f} random structures, or of what was "
            "found, are no finite numbers."
        )
    if difference == standard_error == 0:
        return (
            f"No better than random search: the best of {trials:.0f} random structures trained in the same time predicts the "
            f"same on the {part} part, to the last digit."
        )
    worth = f"{signed(difference, '+.4f')} ± {standard_error:.4f} nats on the {part} part"
    said = f"{trials:.0f} random structures trained in the same time ({worth})."
    if not abs(difference) > 2 * standard_error:
        return f"No better than random search: as good as the best of {said}"
    return f"{'Better' if difference < 0 else 'Worse'} than the best of {said}"


def _identities(number: float) -> str:
    return f"{number:.0f} identit{'y' if number == 1 else 'ies'}"


def guard_remarks(
    skips_before: float,
    most_skips: float,
    curvature: Sequence[float],
    epoch: float,
    skips: float | None = None,
    skips_entered: float | None = None,
) -> list[str]:
    """Returns what the guards of a search did, in sentences; none if they did nothing.

    Args:
        skips_before: identities in the likeliest structure.
        most_skips: how many the network may have.
        curvature: of the structure's loss after each epoch; empty if it was not watched.
        epoch: the epoch whose structure was taken.
        skips: identities in the network that was taken, where they are known.
        skips_entered: identities in the likeliest structure that entered the final, where they are known.
    """
    said = []
    has = most_skips if skips is None else skips
    if has > most_skips and skips_entered is not None and skips_entered <= most_skips:
        said.append(
            f"The network has {_identities(has)}: {most_skips:.0f} is the most of structures that enter the final by their "
            "probability, not of the usual structure of a space and of smaller ones along λ, unless max_skips is given."
        )
    elif has > most_skips:
        said.append(
            f"The likeliest structure had {_identities(skips_before)}, and none with {most_skips:.0f} or fewer was found "
            f"within the limits: the one that was taken has {has:.0f} (max_skips)."
        )
    elif skips_before > most_skips:
        said.append(
            f"The likeliest structure had {_identities(skips_before)}; the likeliest with {most_skips:.0f} or fewer "
            "entered the final (max_skips)."
        )
    if curvature and epoch < len(curvature):
        here = int(epoch)
        said.append(
            f"The curvature of the structure's loss rose from {curvature[here - 1]:.3g} after epoch {here} to "
            f"{max(curvature[here:]):.3g}; the structure of that epoch was taken (curvature)."
        )
    return said

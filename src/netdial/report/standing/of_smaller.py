"""A smaller network that was made of a member, slimmed or compressed, beside the member itself and other ways to make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netdial.report.standing.told import (
    UNKNOWN,
    Fact,
    Standing,
    Worth,
    constant_told,
    cost_told,
    gap_words,
    lost_told,
    measure,
    rival_told,
    sure_told,
    without_gaps,
    worth_words,
)
from netdial.report.text import count, loss_words, number, size_words
from netdial.runs.prunings import Pruning
from netdial.runs.results.compressions import AT_KNOTS, SIZE, Compression, times_words

WHOLE = "the whole network"
_LARGER = 1.05
"""Rivals of a small network are at most so many times as large."""


def slim_standing(
    found: Sequence[Pruning],
    chosen: Pruning,
    name: str,
    constant: Worth,
    beside: Mapping[str, Worth],
    config: Mapping[str, Any],
) -> Standing | None:
    """Returns the small network beside its member, others of its size, a constant and the run's rivals; None without a loss.

    Args:
        found: all prunings of the run.
        chosen: the one that is told of.
        name: what it is called on the page.
        constant: what a constant is worth.
        beside: rivals of the run.
        config: settings of the run.
    """
    metric = _metric(chosen.after.values)
    if metric is None:
        return None
    worth = dict(chosen.after.values)
    part = metric.partition("/")[0]
    gap, error = worth.get(f"{part}/excess"), worth.get(f"{part}/excess_error")
    size = worth.get("params", float("inf"))
    others = {
        f"another pruning ({', '.join(one.how) or 'not recorded how'})": one.after.values
        for one in found
        if one is not chosen and one.after.values.get("params", float("inf")) <= _LARGER * size
    }
    whole = dict(chosen.before.values)
    if gap is not None and error is not None:
        whole |= {f"{part}/excess": -gap, f"{part}/excess_error": error}
    rivals, loss = {WHOLE: whole, **others, **beside}, loss_words(metric, config)
    return Standing(
        chosen=Fact(name, worth_words(worth, metric)),
        cost=cost_told(worth, chosen.before.values),
        lost=_against(gap, metric, worth, chosen.before.values, loss),
        sure=sure_told(worth, metric, config.get("n_valid"))
        if error is None
        else _sure(error, loss),
        constant=constant_told(constant, metric, worth),
        rival=rival_told(_alone(rivals, metric), metric, worth, "", config),
    )


def compress_standing(
    one: Compression,
    name: str,
    constant: Worth,
    beside: Mapping[str, Worth],
    config: Mapping[str, Any],
) -> Standing | None:
    """Returns a compressed file beside the network given, a constant and the run's rivals; None without a loss."""
    coded, dense = one.stages["coded"], one.stages["dense"]
    metric = _metric(coded)
    if metric is None:
        return None
    whose = f"the dense weights of {AT_KNOTS}" if one.of_family else "its dense weights"
    sizes = Fact(
        size_words(coded[SIZE]),
        f"the whole file, {times_words(dense[SIZE], coded[SIZE])} than the {size_words(dense[SIZE])} of {whose}",
    )
    return Standing(
        chosen=Fact(name, worth_words(coded, metric)),
        cost=sizes,
        lost=_against(None, metric, coded, dense, loss_words(metric, config)),
        sure=_judged(one, metric, config),
        constant=constant_told(constant, metric, coded),
        rival=rival_told(_alone({WHOLE: dense, **beside}, metric), metric, coded, "", config),
    )


def _alone(rivals: Mapping[str, Worth], metric: str) -> dict[str, Worth]:
    """Returns rivals that were measured by a metric; what they are beside another network is left out."""
    return {
        name: worth if name == WHOLE else without_gaps(worth)
        for name, worth in rivals.items()
        if metric in worth
    }


def _metric(values: Worth) -> str | None:
    """Returns the record that decides: of validation data if there are such."""
    wanted = [f"{part}/{m}" for part in ("valid", "test") for m in ("rmse", "nll", "accuracy")]
    return next((name for name in wanted if name in values), None)


def _against(gap: float | None, metric: str, now: Worth, before: Worth, loss: str) -> Fact:
    """Returns what a smaller network loses against the whole one."""
    where = f"against {WHOLE}"
    if gap is not None:
        whole = (
            1.0 if metric.endswith("/rmse") else before.get(metric, 0.0)
        )  # losses have a unit of their own
        return lost_told(gap, whole, f"{loss} {where}")
    if metric not in before:
        return Fact(UNKNOWN, f"{WHOLE} was not measured")
    sign = -1 if metric.endswith("/accuracy") else 1
    change = sign * (now[metric] - before[metric])
    return lost_told(change, before[metric], f"{measure(metric)} {where}")


def _sure(error: float, loss: str) -> Fact:
    return Fact(
        f"± {number(error, 2)}",
        f"standard error of that difference, {loss}, on the same rows",
    )


def _judged(one: Compression, metric: str, config: Mapping[str, Any]) -> Fact:
    """Returns how sure the loss of a compressed file is: by the comparison with dense controls, if there was one."""
    judged = one.verdict
    if {"excess", "bound", "seeds"} <= judged.keys():
        loss = loss_words(str(one.how.get("metric") or metric), config)
        return Fact(
            f"≤ {gap_words(judged['bound'])}",
            f"{loss} above dense networks trained alike (95 %), {count(judged['seeds'])} seeds; "
            f"mean {gap_words(judged['excess'])}",
        )
    known = sure_told(one.stages["coded"], metric, config.get("n_valid"))
    return Fact(
        known.value, f"{known.note}; netdial compress … --seeds 5 judges it beside dense networks"
    )

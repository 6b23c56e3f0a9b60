"""A network that shrank while it trained, beside what it was."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from netdial.report.standing.told import (
    NOTHING,
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
    rivals_command,
    sure_told,
    worth_words,
)
from netdial.report.text import count, loss_words, number
from netdial.runs.curves import WHOLE, metrics_of
from netdial.runs.shrinkage import Shrinkage


def shrunk_standing(
    found: Shrinkage, config: dict[str, Any], beside: Mapping[str, Worth], run: str
) -> Standing | None:
    """Returns what is left of the network, beside what it was, its best epoch, a constant and rivals; None before the end."""
    if not found.end or not found.scores:
        return None
    metric = f"valid/{metrics_of(config)[1]}"
    metric = metric if metric in found.scores else f"valid/{metrics_of(config)[0]}"
    before, after = (sum(line[at] for line in found.widths.values()) for at in (0, -1))
    left = f"{count(after)} of {count(before)} channels" if before else "the network that is left"
    return Standing(
        chosen=Fact(left, worth_words(found.scores, metric)),
        cost=cost_told(found.end, found.start),
        lost=_lost(found, metric, beside, run, config),
        sure=sure_told(found.scores, metric, config.get("n_valid")),
        constant=constant_told(found.constant, metric, found.scores),
        rival=rival_told(beside, metric, found.scores, rivals_command(run), config),
    )


def _lost(
    found: Shrinkage,
    metric: str,
    beside: Mapping[str, Worth],
    run: str,
    config: Mapping[str, Any],
) -> Fact:
    """Returns what the small network loses against the whole one, trained for as long, or else against its own best epoch."""
    whole = beside.get(WHOLE, {})
    if "valid/excess" in whole:
        lost = gap_words(-whole["valid/excess"])
        sure = f" ± {number(whole.get('valid/excess_error'), 2)}"
        return Fact(
            lost,
            f"{loss_words(metric, config)},{sure}, against the same network left whole and trained for as long",
        )
    sign = -1 if metric.endswith("/accuracy") else 1
    known = [
        (sign * value, step)
        for step, value in zip(found.steps, found.course.get(metric, ()), strict=False)
        if math.isfinite(value)
    ]
    if not known:
        return Fact(UNKNOWN, "no loss was recorded while it shrank")
    least, step = min(known)
    size = dict(zip(found.steps, found.course.get("params", ()), strict=False)).get(step)
    at = f"its best moment, {_when(found, step)}" + (
        f", with {count(size)} parameters" if size and math.isfinite(size) else ""
    )
    gap = sign * found.scores[metric] - least
    told = lost_told(gap, least, f"{measure(metric)} on validation data, against {at}")
    if told.value != NOTHING:
        return told
    return Fact(
        "not measured",
        f"no moment of its training was better; against the whole network: netdial evaluate {shlex.quote(run)} --rivals",
    )


def _when(found: Shrinkage, step: int) -> str:
    """Returns the time of a step as the page counts it: in epochs where one was timed."""
    seconds = found.course.get("train/epoch_seconds", ())
    first = next((s for s, t in zip(found.steps, seconds, strict=False) if math.isfinite(t)), 0)
    return f"epoch {number(step / first)}" if first > 0 else f"step {count(step)}"

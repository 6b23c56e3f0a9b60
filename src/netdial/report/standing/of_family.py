"""The member of a family that was chosen, beside the best one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netdial.core.best import PREDICTIVE
from netdial.report.standing.told import (
    Fact,
    Standing,
    Worth,
    constant_told,
    cost_told,
    gap_words,
    measure,
    rival_told,
    rivals_command,
    sure_told,
    worth_words,
)
from netdial.report.text import at_lam, count, loss_words, number, value_of
from netdial.runs.curves import Headline
from netdial.runs.run import Run
from netdial.runs.schemas.details import Details


def family_standing(
    answer: Headline, run: Run, beside: Mapping[str, Worth], details: Details | None
) -> Standing:
    """Returns the member that was chosen: the simplest within one standard error of the best, or the best."""
    chosen, metric, config = answer.chosen, answer.metric, run.config
    which = (
        "the best"
        if chosen is answer.best or chosen.lam == answer.best.lam
        else "the simplest within one standard error of the best"
    )
    cost = {"params": float(total)} if isinstance(total := config.get("n_params"), int) else {}
    if details is not None:
        cost = {name: float(details.total(name)) for name in ("params", "macs", "bytes")}
    taken = cost_told(cost)
    effective = chosen.get("effective_parameters")
    if effective is not None:
        taken = Fact(
            taken.value, f"{taken.note} · data determine {count(effective)} of the parameters"
        )
    return Standing(
        chosen=Fact(
            at_lam(chosen.lam), f"{which}: {worth_words(chosen.values, metric)}{_averaged(answer)}"
        ),
        cost=taken,
        lost=_lost(answer, config),
        sure=sure_told(chosen.values, metric, config.get("n_valid")),
        constant=constant_told(answer.constant, metric, chosen.values),
        rival=rival_told(beside, metric, chosen.values, rivals_command(run.name), config),
    )


def _lost(answer: Headline, config: Mapping[str, Any]) -> Fact:
    """Returns what the chosen member loses against the best one."""
    if answer.chosen.lam == answer.best.lam:
        return Fact("nothing", "it is the best member that was measured")
    return Fact(
        gap_words(answer.excess or 0.0),
        f"{loss_words(answer.metric, config)} above the best, {at_lam(answer.best.lam)} ({measure(answer.metric)} "
        f"{value_of(answer.metric, answer.value)}); standard error of that difference {number(answer.standard_error, 2)}",
    )


def _averaged(answer: Headline) -> str:
    """Returns what the best member is worth averaged over the posterior, where that is better."""
    if answer.using != PREDICTIVE:
        return ""
    averaged = answer.best.values[f"{answer.metric}_predictive"]
    return f"; the best averaged over the posterior {value_of(answer.metric, averaged)}"

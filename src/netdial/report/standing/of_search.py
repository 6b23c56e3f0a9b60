"""The network that a search found, beside the supernet or the structures that were tried, and random search."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
    rival_told,
    rivals_command,
    sure_told,
    worth_words,
)
from netdial.report.text import count, number
from netdial.runs.curves import metrics_of
from netdial.runs.searched import Searched

RANDOM = "random search"


def search_standing(
    found: Searched, config: dict[str, Any], beside: Mapping[str, Worth], run: str
) -> Standing | None:
    """Returns the network that was found beside its supernet, a constant, random search and rivals; None before the end."""
    if not found.chosen or not found.scores:
        return None
    metric = f"valid/{metrics_of(config)[1]}"
    cost = cost_told({**found.cost, **({"ms_1": found.cost["ms"]} if "ms" in found.cost else {})})
    if "seconds" in found.cost:
        cost = Fact(
            cost.value,
            f"{cost.note} · {number(found.cost['seconds'])} s of processor time to find and train it",
        )
    edges = found.cost.get("edges")
    chosen = f"{count(edges)} edges" if edges is not None else f"{len(found.chosen)} operations"
    return Standing(
        chosen=Fact(chosen, worth_words(found.scores, metric)),
        cost=cost,
        lost=_lost(found, metric),
        sure=sure_told(found.scores, metric, config.get("n_valid")),
        constant=constant_told(found.constant, metric, found.scores),
        rival=_rival(found, metric, beside, run, config),
    )


def _rival(
    found: Searched, metric: str, beside: Mapping[str, Worth], run: str, config: Mapping[str, Any]
) -> Fact:
    """Returns the strongest rival, random search among them where its loss and the metric are the same."""
    base = found.baseline
    if "difference" not in base:
        return rival_told(beside, metric, found.scores, rivals_command(run), config)
    error = base.get("standard_error", math.nan)
    if metric == "valid/nll" and "best_loss" in base:
        own = {
            metric: base["best_loss"],
            f"{found.part}/excess": -base["difference"],
            f"{found.part}/excess_error": error,
        }
        return rival_told({**beside, RANDOM: own}, metric, found.scores, "", config)
    if beside:
        return rival_told(beside, metric, found.scores, "", config)
    words = f"nats on {found.part} data, what was found against {RANDOM}"
    return Fact(gap_words(base["difference"], error), words)


def _lost(found: Searched, metric: str) -> Fact:
    """Returns what the network loses against the mixture that was searched in, or against the best structure that was tried."""
    if {"mixture", "retrained"} <= set(found.gap):
        gap = found.gap["retrained"] - found.gap["mixture"]
        note = "nats on validation data, against the mixture of all operations that was searched in"
        return lost_told(gap, found.gap["mixture"], note)
    losses = [t.values["loss"] for t in found.trials if t.role != "baseline" and "loss" in t.values]
    own = found.own_loss
    # in older runs; of a regression, valid/nll is not the loss of trials
    if own is None and metric == "valid/nll":
        own = found.scores.get(metric)
    if not losses or own is None:
        return Fact(UNKNOWN, "nothing larger was measured beside it")
    gap = own - min(losses)
    count_ = len(losses)
    if gap <= 0:
        return Fact("nothing", f"it is the best of the {count_} structures that were trained")
    note = f"nats on validation data, against the best of {count_} structures that were trained"
    return lost_told(gap, min(losses), note)

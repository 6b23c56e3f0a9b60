"""Rivals at the top of a page: the strongest that was run on the same rows, and how the answer stands beside it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from netdial.report.template import Tile
from netdial.report.text import MEASURES, value_of
from netdial.runs.curves import Headline, strongest

Rivals = Mapping[str, Mapping[str, float]]


def rival_tile(answer: Headline, found: Rivals) -> list[Tile]:
    """Returns the tile of the strongest rival; nothing if none was run."""
    first = strongest(found, answer.metric)
    if first is None:
        return []
    name, value = first
    words = MEASURES.get(answer.metric, (answer.metric, ""))[0]
    return [
        Tile("Strongest rival", value_of(answer.metric, value), f"validation {words}, {name}, of {len(found)} that were run")
    ]  # fmt: skip


def rival_words(answer: Headline, found: Rivals, run: str) -> str:
    """Returns how the best member stands beside the strongest rival, or how rivals are run."""
    first = strongest(found, answer.metric)
    if first is None:
        return (
            "No rival was run. netdial evaluate "
            f"{shlex.quote(run)} --rivals runs a linear model, boosted trees and plain networks on the same rows."
        )
    name, value = first
    sign = -1 if answer.metric.endswith("/accuracy") else 1
    mine, theirs = sign * answer.value, sign * value
    how = "as good as" if mine == theirs else "better than" if mine < theirs else "worse than"
    test = found[name].get(answer.metric.replace("valid/", "test/"))
    own = answer.best.get(answer.metric.replace("valid/", "test/"))
    after = ""
    if test is not None and own is not None:
        after = (
            f"; on test data {value_of(answer.metric, own)} against {value_of(answer.metric, test)}"
        )
    return f"The best member is {how} {name} on validation data{after}. Chosen on validation data, which flatters all of them."

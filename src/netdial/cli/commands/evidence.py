"""``netdial evidence``: the members of a run weighed by its training data, and the λ that each estimator chooses."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from netdial.cli.command import Parts, options_of
from netdial.cli.options import (
    AtRun,
    LamsOption,
    PointsOption,
    complexities,
    read,
)
from netdial.cli.places import to_write_in


def _parts() -> Parts:
    from netdial.jobs.analyses.weighed import EvidenceOptions

    return {"Estimates": (EvidenceOptions,)}


@options_of(_parts)
def evidence(
    at: AtRun,
    lams: LamsOption = None,
    points: PointsOption = None,
    **given: Any,
) -> None:
    """Weigh members by training data alone: evidence, description length, bounds."""
    values = complexities(lams, points)
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.evidence import (
        choice_lines,
        estimates_table,
        family_lines,
        health_table,
    )
    from netdial.evidence import chosen, doubts, lowest
    from netdial.jobs.analyses.weighed import EvidenceOptions, examine_run, weigh_run
    from netdial.objective import OBJECTIVES

    asked = read(EvidenceOptions, given)
    folder = to_write_in(at.open())
    with folder.alone():
        family, task = at.family(folder, values)
        objective = folder.config["objective"]
        options: dict[str, Any] = {
            "lams": values or points,
            "n_samples": asked.samples,
            "n_examples": asked.examples,
        }
        found = weigh_run(folder, family, task, by=asked.names(objective), **options)
        checks = examine_run(folder, family, task, **options) if asked.health else None
    if at.as_json:
        answer = {
            "run": str(folder.path),
            "objective": objective,
            "estimates": [asdict(estimate) for estimate in found],
            "chosen": chosen(found),
            "legal": OBJECTIVES[objective].why,
            "doubts": doubts(found),
        }
        if checks is not None:
            answer["health"] = {**asdict(checks), "findings": checks.findings()}
        print_json(answer)
        return
    out = console()
    if lowest(found):
        print_table(out, estimates_table(found, chosen(found)))
    for line in [
        *family_lines(found),
        *choice_lines(found),
        *([f"{objective}: {OBJECTIVES[objective].why}"] if chosen(found) else []),
    ]:
        out.print(line)
    for line in doubts(found):
        out.print(f"caution: {line}")
    if checks is not None:
        print_table(out, health_table(checks))
        for line in checks.findings() or ["nothing out of order"]:
            out.print(f"health: {line}")

"""``shrink``: one network that is too large, trained while it shrinks to the size that it needs.

Data -> network -> training while channels are removed -> folding -> evaluation. The run folder also holds ``kills.jsonl``: one
line for each collection, which channels went, why and when, as they were numbered at the start. Loads torch when it is called.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from netdial.jobs.presets import large_model
from netdial.jobs.ways import WAYS, Answer, Way, Work

if TYPE_CHECKING:
    from netdial.channels.graph import Graph
    from netdial.jobs.problem import Problem
    from netdial.report.page import Section
    from netdial.runs.run import Run
    from netdial.shrinking.config import ShrinkConfig
    from netdial.shrinking.shrink import Shrunk


def _config() -> type[ShrinkConfig]:
    """Returns the class of the settings."""
    from netdial.shrinking.config import ShrinkConfig

    return ShrinkConfig


def _prepare(problem: Problem, config: ShrinkConfig) -> tuple[Graph, int]:
    """Returns the network with switches as a graph of its channels, and the count of its parameters without them."""
    from netdial.channels.sizes import strip, total
    from netdial.jobs.problem import example
    from netdial.shrinking.shrink import prepare
    from netdial.train.session import batch_of

    task = problem.task
    graph = prepare(problem.net, example(task), config, batch_of(task.train, config))
    return graph, total(strip(graph.traced))


def _train(work: Work) -> Shrunk:
    """Trains the network while it shrinks."""
    from netdial.jobs.records.shrinking import ShrinkRecorder, dimensions, record
    from netdial.shrinking.config import ShrinkConfig
    from netdial.shrinking.shrink import run

    task, stored = work.problem.task, work.run.config
    assert isinstance(work.config, ShrinkConfig)
    if work.writes:
        size = f"{stored['n_params']} parameters, {len(task.train)} training examples"
        work.watch.say(f"shrinking {stored['model']} ({size}){work.going_on}")
        if not work.step:
            record(work.run, 0, dimensions(work.start), method="train")
    return run(
        work.start,
        task.train,
        task.valid,
        kind=task.kind,
        config=work.config,
        report=ShrinkRecorder(work.run, task, work.watch, write=work.writes),
        augment=task.augment,
        **work.session,
    )


def _conclude(work: Work, shrunk: Shrunk) -> None:
    """Folds and evaluates the network, measures what it costs beside the one at the start, saves it."""
    import torch

    from netdial.jobs.problem import describe_net, origin_of
    from netdial.jobs.records.recorder import Measurement
    from netdial.jobs.records.scoring import constant_scores, scores
    from netdial.jobs.records.shrinking import BATCHES, costs, record
    from netdial.models.cut.recipe import save_network
    from netdial.models.use import use_of
    from netdial.nets.foreign import copy_network
    from netdial.runs.curves import CONSTANT
    from netdial.runs.schemas.done import SHRUNKEN_FILE
    from netdial.runs.shrinkage import WEIGHTS

    run, task = work.run, work.problem.task
    work.watch.say(f"evaluating on {len(task.valid)} validation and {len(task.test)} test examples")
    folded, fold_report = shrunk.fold()
    step = run.last_step
    record(run, step, [Measurement("epoch", shrunk.epoch)], method=WEIGHTS)
    for part in ("valid", "test"):
        found = {
            "evaluate": scores(folded, task, part, error=True),
            CONSTANT: constant_scores(task, part),
        }
        for method, values in found.items():
            numbers = [Measurement(name, value) for name, value in values.items()]
            record(run, step, numbers, method=method, part=part)
    like = next(folded.parameters())
    start = copy_network(work.problem.net).eval().to(like)
    x = task.valid.inputs(torch.arange(min(max(BATCHES), len(task.valid))), like)
    for stage, numbers in zip(("start", "end"), costs([start, folded], x), strict=True):
        record(run, step, numbers, method="cost", stage=stage)
    record(run, step, [Measurement("fold_difference", fold_report.difference)], method="cost")
    about = {**origin_of(run), "model": run.config["model"]}
    about |= {**describe_net(run), **use_of(task, folded).to_json()}
    save_network(shrunk, run.model_path / SHRUNKEN_FILE, about)


def _headline(run: Run) -> Answer:
    """Returns what is left of the network, and what it is worth."""
    from netdial.report.tables import costs_table, verdict, widths_table
    from netdial.runs.curves import MemberRow
    from netdial.runs.listing import worth
    from netdial.runs.schemas.done import SHRUNKEN_FILE
    from netdial.runs.shrinkage import restored, shrinkage

    found = shrinkage(run.records())
    exhausted, above = found.exhausted(run.config), found.above(run.config)
    whose = restored(found.epoch, run.config)
    sizes = found.parameters
    row: dict[str, Any] = {"params": sizes and (round(sizes[0]), round(sizes[1]))}
    row |= worth(MemberRow(math.nan, found.scores), run.config)
    return Answer(
        json={
            "model": str(run.model_path / SHRUNKEN_FILE),
            "widths": {name: [line[0], line[-1]] for name, line in found.widths.items()},
            "start": found.start,
            "end": found.end,
            "scores": found.scores,
            "constant": found.constant,
            "warning": exhausted,
        },
        tables=[widths_table(found), costs_table(found)],
        lines=[line for line in (verdict(found), whose, exhausted, above) if line],
        row=row,
        measures={**found.end, **found.scores},
    )


def _section() -> Section:
    """Returns the page of a network that shrank."""
    from netdial.report.page import Section
    from netdial.report.sections.shrinking import shrinking_page

    return Section("shrinking.html.j2", shrinking_page)


WAYS.add("shrink")(
    Way(
        name="shrink",
        help="Train a network that is too large while it shrinks to the size that it needs, and write a report.",
        config=_config,
        prepare=_prepare,
        train=_train,
        conclude=_conclude,
        headline=_headline,
        section=_section,
        model=large_model,
    )
)

"""``search``: from data without a network to one whose structure was searched for.

Data -> search space -> search -> the network found, trained -> random search at equal cost -> evaluation. Loads torch when it
is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdial.jobs.ways import WAYS, Answer, Way, Work

if TYPE_CHECKING:
    from netdial.jobs.problem import Problem
    from netdial.report.page import Section
    from netdial.runs.run import Run
    from netdial.structure.search.config import SpaceSearchConfig
    from netdial.structure.search.job import SearchJob
    from netdial.structure.search.outcome import SearchOutcome


def _config() -> type[SpaceSearchConfig]:
    """Returns the class of the settings."""
    from netdial.structure.search.config import SpaceSearchConfig

    return SpaceSearchConfig


def _model(data: str) -> str:
    """Returns a network that takes the data in the shape that spaces take: images stay images."""
    return {"mnist": "lenet5", "cifar10": "resnet20"}.get(data, "linear")


def _prepare(problem: Problem, config: SpaceSearchConfig) -> tuple[SearchJob, int]:
    """Returns the search, and the count of parameters of its supernet."""
    from netdial.jobs.problem import by_index
    from netdial.structure.search.searching import prepare
    from netdial.structure.spaces import ready_space
    from netdial.structure.supernet import Supernet

    task, config = problem.task, by_index(config, problem.task)
    space = ready_space(
        config.space,
        input_shape=task.input_shape,
        n_outputs=task.n_outputs,
        **config.space_options,
    )
    job = prepare(space, task.train, task.valid, config, kind=task.kind, augment=task.augment)
    return job, sum(p.numel() for p in Supernet(space).parameters())


def _train(work: Work) -> SearchOutcome:
    """Searches, trains the network that is found and compares it with random search."""
    from netdial.jobs.search.latency import timed
    from netdial.jobs.search.recorder import SearchRecorder
    from netdial.runs.folder import LATENCY
    from netdial.structure.search.config import SpaceSearchConfig
    from netdial.structure.search.limits import latency_limit

    job: SearchJob = work.start
    config = work.config
    assert isinstance(config, SpaceSearchConfig)
    said = (
        f"searching {job.space.count:,} structures of the space {config.space} by {config.strategy}"
    )
    work.watch.say(f"{said}{work.going_on}")
    path = work.run.path / LATENCY
    job.times = lambda: timed(job, path, work.watch, config.latency_table)
    if config.max_latency_ms is not None:
        job.limit = latency_limit(job.space, f"{config.max_latency_ms!r} ms", job.times())
    recorder = SearchRecorder(work, job.space)
    job.told, job.report, job.done = recorder.tried, recorder.epoch, recorder.done
    return job.run(work.problem.task.test, **work.session)


def _conclude(work: Work, outcome: SearchOutcome) -> None:
    """Evaluates the network, records what it is and what it costs, saves it."""
    from netdial.jobs.problem import origin_of
    from netdial.jobs.search.recorder import record_outcome
    from netdial.models.derived import save_derived
    from netdial.models.use import use_of
    from netdial.runs.schemas.done import FOUND_FILE

    task, run = work.problem.task, work.run
    work.watch.say(f"evaluating on {len(task.valid)} validation and {len(task.test)} test examples")
    record_outcome(work, outcome)
    about = {**origin_of(run), **use_of(task, outcome.network).to_json()}
    save_derived(outcome.network, run.model_path / FOUND_FILE, about)


def _headline(run: Run) -> Answer:
    """Returns the structure that was found, what it is worth and costs, and how it compares with random search."""
    from netdial.report.sections.search import front_table, structure_table, worth_table
    from netdial.runs.curves import MemberRow
    from netdial.runs.listing import worth
    from netdial.runs.schemas.done import FOUND_FILE
    from netdial.runs.searched import searched

    found = searched(run.records())
    row: dict[str, Any] = dict(worth(MemberRow(float("nan"), found.scores), run.config))
    return Answer(
        json={
            "model": str(run.model_path / FOUND_FILE),
            "genotype": found.chosen,
            "cost": found.cost,
            "scores": found.scores,
            "constant": found.constant,
            "gap": found.gap,
            "baseline": found.baseline,
            "front": found.front,
            "verdict": found.verdict,
        },
        tables=[
            structure_table(found),
            worth_table(found, run.config),
            *([front_table(found)] if found.front else []),
        ],
        lines=[found.verdict] if found.verdict else [],
        row=row,
        measures={**found.cost, **found.scores},
    )


def _section() -> Section:
    """Returns the page of a search."""
    from netdial.report.page import Section
    from netdial.report.sections.search import search_page

    return Section("search.html.j2", search_page)


WAYS.add("search")(
    Way(
        name="search",
        help="Search for the structure of a network, train it, and write a report.",
        config=_config,
        prepare=_prepare,
        train=_train,
        conclude=_conclude,
        headline=_headline,
        section=_section,
        model=_model,
        takes_model=False,
    )
)

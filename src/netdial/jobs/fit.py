"""``fit``: a family of networks, one for every complexity value.

Data -> network -> family -> training -> evaluation along λ. Loads torch when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netdial.jobs.presets import POINTS, default_samples
from netdial.jobs.ways import WAYS, Answer, Way, Work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from netdial.family import Family
    from netdial.jobs.problem import Problem
    from netdial.report.page import Section
    from netdial.runs.curves import Headline
    from netdial.runs.run import Run
    from netdial.train.config import Evaluation, FitConfig

_ON_TERMS = (
    "fit and complexity are means over all complexity values; fit may rise while training goes well, since members at large "
    "values give up fit for simplicity; valid is the objective on validation data and should fall"
)


def _config() -> type[FitConfig]:
    """Returns the class of the settings."""
    from netdial.train.config import FitConfig

    return FitConfig


def _evaluation() -> type[Evaluation]:
    """Returns the class of the settings of the final evaluation."""
    from netdial.train.config import Evaluation

    return Evaluation


def _defaults(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how members are evaluated where nobody says: fewer draws for many examples."""
    return {"samples": default_samples(facts["n_valid"] + facts["n_test"]), "points": POINTS}


def _prepare(problem: Problem, config: FitConfig) -> tuple[Family, int]:
    """Returns a family around the network, and the count of parameters of a member."""
    from netdial.family import Family

    family = Family(problem.net, config.family())
    return family, family.n_params


def _train(work: Work) -> int:
    """Trains the family and returns the optimiser step that it ends at."""
    from netdial.jobs.records.recorder import Recorder
    from netdial.train.config import FitConfig
    from netdial.train.fit import run

    task, family = work.problem.task, work.start
    assert isinstance(work.config, FitConfig)
    if work.writes:
        size = f"{family.n_params} parameters, {len(task.train)} training examples"
        work.watch.say(f"training {work.run.config['model']} ({size}){work.going_on}")
        work.watch.say(_ON_TERMS)
    recorder = Recorder(work.run, work.run.config, work.watch, step=work.step, write=work.writes)
    run(
        family,
        task.train,
        task.valid,
        kind=task.kind,
        config=work.config,
        report=recorder,
        augment=task.augment,
        **work.session,
    )
    return recorder.step


def _conclude(work: Work, step: int) -> None:
    """Evaluates the family, records and saves it."""
    from netdial.jobs.opening import evaluate_run
    from netdial.jobs.problem import describe_net, origin_of
    from netdial.jobs.records.details import Sketcher
    from netdial.jobs.records.recorder import member_records
    from netdial.models.family import save_family
    from netdial.models.use import use_of
    from netdial.runs.curves import headline, members
    from netdial.runs.schemas.details import write_details
    from netdial.runs.schemas.done import FAMILY_FILE
    from netdial.task import task_of

    run, task, family = work.run, work.problem.task, work.start
    work.watch.say(f"evaluating on {len(task.valid)} validation and {len(task.test)} test examples")
    seen = Sketcher(family, task)
    paths = {
        part: evaluate_run(run, family, part, task, on_member=seen.of(part))
        for part in ("valid", "test")
    }
    run.replace(member_records(run, step, paths, task_of(task)))
    best = headline(members(run.records()), run.config)
    write_details(run.details_path, seen.details(step, None if best is None else best.chosen.lam))
    use = use_of(
        task,
        family,
        lam=None if best is None else best.best.lam,
        lams=[row["lam"] for row in paths["valid"].table()],
    )
    about = {**origin_of(run), **describe_net(run), **use.to_json()}
    save_family(family, run.model_path / FAMILY_FILE, about)


def _headline(run: Run) -> Answer:
    """Returns the members, the best of them on validation data, and the simplest within one standard error of it."""
    from netdial.report.tables import answer_line, members_table, rows_json, targets_line
    from netdial.runs.curves import constants, headline, members
    from netdial.runs.listing import worth

    records = run.records()
    rows, constant = members(records), constants(records)
    best = headline(rows, run.config, constant)
    found = {
        "headline": _best_json(best, run.config),
        "members": rows_json(rows),
        "constant": constant,
    }
    table = members_table(rows, run.config, best, constant=constant)
    row = {} if best is None else {**worth(best.best, run.config), "best_lam": best.best.lam}
    measures: dict[str, float] = {}
    if best is not None:
        values = {name: value for name, value in best.best.values.items() if name != "n_params"}
        measures = values | {"lam": best.best.lam}
        if "n_params" in run.config:  # not in folders of early versions
            measures["params"] = float(run.config["n_params"])
    lines = [answer_line(best)]
    if best is not None and (each := _by_target(run, best.best.lam)):
        found["targets"] = each
        lines.append(targets_line(each))
    return Answer(found, [table], lines, row, measures)


def _by_target(run: Run, lam: float) -> list[dict[str, Any]]:
    """Returns RMSE (in the unit of each target) and R² of a member for each of several targets; [] for others."""
    from netdial.runs.schemas.details import read_details

    details = read_details(run.details_path)
    here = [] if details is None else [one for one in details.members if one.lam == lam]
    if details is None or len(details.targets) < 2 or not here:
        return []
    return [
        {"name": target.name}
        | {
            f"{part}/{metric}": getattr(values.targets[index], metric)
            for part, values in here[0].parts.items()
            for metric in ("rmse", "r2")
        }
        for index, target in enumerate(details.targets)
    ]


def _best_json(answer: Headline | None, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the answer of a run for programs."""
    from netdial.report.text import loss_words

    if answer is None:
        return None
    return {
        "metric": answer.metric,
        "lam": answer.best.lam,
        "value": answer.value,
        "using": answer.using,
        "simplest_lam": answer.simplest.lam if answer.simplest else None,
        "excess": answer.excess,
        "loss": loss_words(answer.metric, config),
        "standard_error": answer.standard_error,
        "remarks": list(answer.remarks),
    }


def _section() -> Section:
    """Returns the page of a family."""
    from netdial.report.page import Section
    from netdial.report.sections.family import family_page

    return Section("family.html.j2", family_page)


WAYS.add("fit")(
    Way(
        name="fit",
        help="Train a family of networks, one for every complexity value, and write a report.",
        config=_config,
        prepare=_prepare,
        train=_train,
        conclude=_conclude,
        headline=_headline,
        section=_section,
        extra=_evaluation,
        defaults=_defaults,
        makes_family=True,
    )
)

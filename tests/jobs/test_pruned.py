"""Surfaces in the records of a run: named by criterion and policy, none replacing another."""

from __future__ import annotations

from pathlib import Path

import pytest

from netdial.jobs.analyses.pruned import how, prune_run
from netdial.jobs.job import do_job
from netdial.jobs.opening import open_family, open_task
from netdial.jobs.request import Job
from netdial.pruning.weights import Policy, surface
from netdial.runs.run import Run
from netdial.runs.surfaces import how_words, pruned


class Silent:
    def say(self, text: str) -> None: ...
    def advance(self, step: int, steps: int) -> None: ...
    def epoch(self, progress: object) -> None: ...


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    choices = {
        "objective": "scaled-kl", "model": "mlp:8", "epochs": 2, "points": 3, "samples": 2
    }  # fmt: skip
    job = Job("wine", choices, runs_dir=tmp_path_factory.mktemp("runs"))
    found = do_job(job, Silent())
    assert found is not None
    return found


def test_the_surface_is_recorded_value_by_value(run: Run) -> None:
    family, task = open_family(run), open_task(run)
    found = prune_run(run, family, task, "valid", shares=(0.0, 0.5))
    again = surface(
        family, task.valid, lams=3, shares=(0.0, 0.5), train=task.train, n_samples=2, seed=0
    )
    rows = {(r.lam, r.sparsity, r.column): r for r in run.records() if r.method == "prune"}
    # and numbers left, bytes, excess loss, its paired standard error
    assert len(rows) == 3 * 2 * (5 + 4)
    for k, lam in enumerate(found.lams):
        for s, share in enumerate(found.shares):
            one = rows[lam, share, "valid/nll_predictive"]
            assert one.value == pytest.approx(float(again.predictive["nll"][k, s]))
            assert one.unit == "nats/example"
            assert one.step == max(r.step for r in run.records() if r.method == "evaluate")
            assert rows[lam, share, "removed"].value == float(again.removed[k, s])
            assert rows[lam, share, "bytes"].value == float(again.bytes[k, s])
    whole = {
        r.lam: r.value
        for r in run.records()
        if r.method == "evaluate" and r.column == "valid/accuracy"
    }
    for lam in found.lams:
        assert rows[lam, 0.0, "valid/accuracy"].value == pytest.approx(whole[lam])


def test_other_ways_of_pruning_and_test_data_stand_beside_it(run: Run, tmp_path: Path) -> None:
    family, task = open_family(run), open_task(run)
    options = {"shares": (0.5,), "n_samples": 0, "lams": [1.0]}
    prune_run(run, family, task, "valid", **options)  # type: ignore[arg-type]
    prune_run(run, family, task, "test", **options)  # type: ignore[arg-type]
    prune_run(run, family, task, "valid", criterion="taylor", **options)  # type: ignore[arg-type]
    prune_run(run, family, task, "valid", policy=Policy(rows=True), **options)  # type: ignore[arg-type]
    found = {
        (how_words(r.where), r.column) for r in run.records() if r.method == "prune" and r.lam == 1
    }
    for words in ("density", "taylor", "density, whole rows"):
        assert (words, "valid/accuracy") in found
    assert ("density", "test/accuracy") in found


def test_records_say_how_members_were_pruned_and_readers_say_it_in_words() -> None:
    policy = Policy(scope="layer", biases=True, rows=True)
    for where, words in (
        (how("density", Policy()), "density"),
        (how("magnitude", Policy()), "magnitude"),
        (how("density", policy, fold=False), "density, per layer, biases too, whole rows"),
        (how("density", Policy(), fold=False), "density, nothing folded"),
    ):
        assert how_words(where) == words


def test_members_of_two_prunings_are_set_side_by_side_by_their_values(run: Run) -> None:
    """Each pruning has a best member of its own: who is no worse than that may be worse than all of the other pruning."""
    family, task = open_family(run), open_task(run)
    for lams in ([0.001, 1.0], [100.0]):
        prune_run(run, family, task, "valid", lams=lams, shares=(0.0, 0.9), n_samples=0)
    found = next(one for one in pruned(run.records()) if one.name == "density")
    assert {0.001, 1.0, 100.0} <= set(found.lams)
    for share, lam, _ in found.best():
        values = [found.get(each, share, "valid/nll") for each in found.lams]
        least = min(value for value in values if value is not None)
        assert found.get(lam, share, "valid/nll") == pytest.approx(least, rel=1e-5)
    choice = found.choice()
    assert choice is not None
    assert {row.lam for _, row in choice} == {100.0}, "those of the last pruning were compared"
    assert Run.open(run.path).records(), "fewer records are no damage"

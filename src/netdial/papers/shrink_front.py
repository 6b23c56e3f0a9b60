"""Shrinking against networks of fixed widths: smallest network at equal accuracy (ShrinkNets draft, §4.1 to 4.3).

Random search, as many runs for each arm and as many epochs for each run; `papers.lab.front_arms` says which arms there are.
Networks are chosen by accuracy on validation data; what is told of the test part is that of the chosen ones. The draft draws λ;
here the size to arrive at is drawn, since with λ the sizes that come out depend on learning rate and length of training as
much, and half of the draws end where nothing is compared. Its own way is an arm of the full experiment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from netdial.core.errors import unknown
from netdial.data import load_data
from netdial.measure.latency import quiet_ms
from netdial.models.door import open_model
from netdial.papers.lab.front_arms import FrontProblem, again, all_arms, trained_arms
from netdial.papers.lab.fronts import (
    FrontNetwork,
    affordable,
    geometric_mean,
    hypervolume,
    smallest,
    time_of,
)
from netdial.papers.lab.fronts_shown import (
    fronts_figure,
    fronts_table,
    noise_table,
    sizes_table,
)
from netdial.papers.lab.lab import Lab, claim
from netdial.papers.lab.outcome import Figure, Outcome
from netdial.papers.lab.reference import SHRINKNETS_RATIOS

_LEVELS = (0.0, 0.005, 0.01, 0.02, 0.05)
"""How far below the best accuracy that two arms both reach they are compared."""

_FIXED = ("independent", "factor", "grid", "retrained")
_BATCHES = (1, 64)

PROBLEMS = {
    "covertype": FrontProblem(
        "covertype_15120.parquet", "Cover_Type", (200, 200, 200), "mlp", 60, 24, (600, 40_000), (600, 2_500),
        rates=(8e-3, 4e-2), decays=(1e-3, 1e-1), deadline=0.3, reference="COVER_FC",
    ),
    "mnist": FrontProblem("mnist", None, (300, 100), "mlp", 10, 8, (1_000, 60_000), (1_000, 3_750)),
    "cifar10": FrontProblem(
        "cifar10", None, (16, 32, 32), "conv", 6, 6, (800, 11_000), (400, 1_000), batch=64, inputs=False,
        collect=50, reference="CIFAR10_VGG",
    ),
    "wine": FrontProblem("wine", None, (24, 24), "mlp", 20, 6, (60, 800), (60, 120), batch=16),
}  # fmt: skip
"""Problems by the name of the data; of sizes that two cores make in an hour or less. Wine is for a first look."""


def experiment(lab: Lab) -> Outcome:
    """Returns how much smaller shrunken networks are at equal accuracy, and what one family gives beside a sweep."""
    name = lab.data or "covertype"
    if name not in PROBLEMS:
        raise unknown("data", name, PROBLEMS)
    problem = PROBLEMS[name].at(lab)
    claim(lab.store.folder, lab.name)
    arms = all_arms(lab, problem)
    ratios = {arm: _ratios(arms["shrunken"], arms[arm]) for arm in _FIXED}
    whole = {arm: _ratios(arms["channels"], arms[arm]) for arm in _FIXED}
    for rows in ratios.values():
        _add_latency(rows, _input_shape(lab, problem))
    same = {
        arm: _ratios(
            affordable(arms["shrunken"], time_of(arms[arm])),
            affordable(arms[arm], time_of(arms["shrunken"])),
        )
        for arm in ("independent", "factor")
    }
    beside, noise = _beside(arms), _noise(lab, problem, arms)
    means = _means(ratios)
    family = beside["family"]
    lead = (
        f"At equal validation accuracy, networks of fixed widths have {means['independent']:.2f} times the parameters of "
        f"shrunken ones (geometric mean over {len(ratios['independent'])} levels, {len(arms['shrunken'])} runs of each). One "
        f"family, slimmed, covers {family['hypervolume']:.3f} of the area of that sweep's front in {family['compute']:.3f} of "
        "its processor time."
    )
    values = {
        "ratios": ratios,
        "ratios of channels alone": whole,
        "ratios at equal time": same,
        "geometric means": means,
        "geometric means of channels alone": _means(whole),
        "geometric means at equal time": _means(same),
        "beside": beside,
        "noise": noise,
        "arms": {arm: [vars(one) for one in found] for arm, found in arms.items()},
        "draft": SHRINKNETS_RATIOS.get(problem.reference, {}),
    }
    return Outcome(
        lab.name,
        f"Shrinking against fixed widths: {name}",
        lead,
        (
            *(sizes_table(arm, rows) for arm, rows in ratios.items()),
            fronts_table(arms, beside),
            noise_table(noise),
        ),
        (Figure("Fronts", fronts_figure(arms)),),
        values,
        _settings(problem),
        (*_missing(problem, arms), *_NOTES),
        facts={
            "chosen": (
                f"{len(arms['shrunken'])} shrunken networks",
                "each of another size; their front is compared with that of fixed widths",
            ),
            "cost": (
                f"{time_of(arms['shrunken']):.0f} s",
                "of processor time, all shrunken networks",
            ),
            "rival": (
                f"× {means['independent']:.2f}",
                "parameters of fixed, independent widths at equal validation accuracy, geometric mean",
            ),
        },
    )


def _missing(problem: FrontProblem, arms: Mapping[str, Sequence[FrontNetwork]]) -> list[str]:
    """Returns a note on the arms whose trials failed, if there are such."""
    short = {name: problem.runs - len(arms[name]) for name in trained_arms(problem)}
    said = ", ".join(f"{count} of {name}" for name, count in short.items() if count)
    if not said:
        return []
    return [f"Trials that failed, and are missing, of {problem.runs} each: {said}."]


def _means(ratios: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    return {arm: geometric_mean([row["ratio"] for row in rows]) for arm, rows in ratios.items()}


def _ratios(ours: Sequence[FrontNetwork], theirs: Sequence[FrontNetwork]) -> list[dict[str, Any]]:
    """Returns, for each level that both arms reach, the smallest network of each and the ratio of their sizes."""
    if not ours or not theirs:
        return []
    top = min(max(one.valid for one in arm) for arm in (ours, theirs))
    rows: list[dict[str, Any]] = []
    for below in _LEVELS:
        a, b = smallest(ours, top - below), smallest(theirs, top - below)
        if a is None or b is None:
            continue
        rows.append(
            {
                "accuracy": top - below,
                "ours": a.params,
                "theirs": b.params,
                "ratio": b.params / a.params,
                "ours_test": a.test,
                "theirs_test": b.test,
                "widths": [a.widths, b.widths],
                "inputs": [a.inputs, b.inputs],
                "runs": [a.run, b.run],
            }
        )
    return rows


def _input_shape(lab: Lab, problem: FrontProblem) -> tuple[int, ...]:
    flat = problem.network == "mlp"
    parts = load_data(problem.data, target=problem.target, data_dir=lab.store.data_dir, flat=flat)
    return tuple(parts.input_shape)


def _add_latency(rows: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> None:
    """Adds to each level how much faster the smaller network is: the two networks, timed side by side."""
    for row in rows:
        nets = [open_model(Path(run)) for run in row["runs"]]
        for batch in _BATCHES:
            mine, other = quiet_ms(nets, torch.zeros(batch, *shape))
            row[f"faster_{batch}"] = other / mine


def _beside(arms: Mapping[str, Sequence[FrontNetwork]]) -> dict[str, dict[str, float]]:
    """Returns the area that the front of one run covers, and its time, over those of the whole sweep."""
    everything = [one for arm in arms.values() for one in arm]
    largest, least = max(one.params for one in everything), min(one.valid for one in everything)
    whole = hypervolume(arms["shrunken"], largest, least)
    return {
        name: {
            "hypervolume": hypervolume(arms[name], largest, least) / whole if whole else math.nan,
            "compute": time_of(arms[name]) / time_of(arms["shrunken"]),
        }
        for name in arms
        if name != "shrunken"
    }


def _noise(
    lab: Lab, problem: FrontProblem, arms: Mapping[str, Sequence[FrontNetwork]]
) -> dict[str, list[dict[str, float]]]:
    """Returns what the networks compared one point below the top come to with other seeds."""
    found, specs = {}, trained_arms(problem)
    top = min(max(one.valid for one in arms[name]) for name in ("shrunken", "independent"))
    seeds = lab.seeds or (2 if lab.quick else 4)
    for name in ("shrunken", "independent"):
        one = smallest(arms[name], top - 0.01)
        assert one is not None
        spec = specs.get(name, specs["channels"])
        more = again(lab, f"noise-{name}", spec, one.params_of, seeds)
        found[name] = [{"params": n.params, "valid": n.valid, "test": n.test} for n in [one, *more]]
    return found


_NOTES = (
    "Chosen on validation data; test accuracy is that of the chosen networks. Choosing the best of many runs makes validation "
    "accuracy too good for all arms alike.",
    "A shrunken network may read fewer inputs; among the values are the ratios of those that keep all of them, too. The found "
    "widths that are trained from scratch are those of the latter.",
    "The draft chose on test data; its ratios, for whole data sets and larger networks, are among the values of this result.",
)


def _settings(problem: FrontProblem) -> dict[str, Any]:
    return {
        "data": problem.data,
        "network to shrink from": problem.model(),
        "runs of each arm": problem.runs,
        "epochs": problem.epochs,
        "parameters to arrive at": list(problem.sizes),
        "learning rate": list(problem.rates),
        "weight penalty": list(problem.decays),
        "batch size": problem.batch,
    }

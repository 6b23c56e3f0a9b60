"""Shrinking against networks of fixed widths: smallest network at equal accuracy (ShrinkNets draft, §4.1 to 4.3).

Random search, as many runs for each arm, over ranges of learning rate, batch size and λ of our own (the draft's are wider):

    shrunken     one network that is too large, λ drawn, trained while it shrinks
    independent  networks of fixed widths, the width of each layer drawn for itself
    factor       the draft's own baseline: one factor for all widths
    retrained    the widths that shrinking found, trained from scratch

A network of fixed widths is trained by the same code, with λ = 0. Networks are chosen by accuracy on validation data; what is
told of the test part is that of the chosen ones. Beside them, from one family over λ: its members, slimmed; and one network,
slimmed in one shot. λ is that of our proximal penalty, which does not mean what the draft's does, so its range is our own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from netdial.core.errors import unknown
from netdial.data import load_data
from netdial.measure.latency import quiet_ms
from netdial.nets import build
from netdial.papers.lab.fronts import (
    FrontNetwork,
    affordable,
    front_of,
    geometric_mean,
    hypervolume,
    networks,
    run_arm,
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

_FIXED = ("independent", "factor", "retrained")
_BATCHES = (1, 64)
_SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class FrontProblem:
    """Data and the size of the experiment.

    Attributes:
        data: data set or table.
        target: column to predict of a table.
        start: widths of the network to shrink from.
        network: specification that widths follow.
        epochs, runs: of each training, and of each arm.
        batches: batch sizes drawn from.
        reference: name of the draft's result on these data; empty if there is none.
    """

    data: str
    target: str | None
    start: tuple[int, ...]
    network: str
    epochs: int
    runs: int
    batches: tuple[int, ...]
    reference: str = ""


PROBLEMS = {
    "covertype": FrontProblem(
        "covertype_15120.parquet", "Cover_Type", (200, 200, 200), "mlp", 30, 24, (64, 128, 256), "COVER_FC"
    ),
    "mnist": FrontProblem("mnist", None, (300, 100), "mlp", 10, 16, (128, 256)),
    "cifar10": FrontProblem("cifar10", None, (64, 128, 128), "conv", 8, 10, (128,), "CIFAR10_VGG"),
    "wine": FrontProblem("wine", None, (24, 24), "mlp", 20, 6, (16,)),
}  # fmt: skip
"""Problems by the name of the data; sizes are what two cores make in an hour or so, and wine is for a first look."""


def experiment(lab: Lab) -> Outcome:
    """Returns how much smaller shrunken networks are at equal accuracy, and what one family gives beside a sweep."""
    name = lab.data or "covertype"
    if name not in PROBLEMS:
        raise unknown("data", name, PROBLEMS)
    problem = PROBLEMS[name]
    claim(lab.store.folder, lab.name)
    arms = _arms(lab, problem)
    ratios = {arm: _ratios(arms["shrunken"], arms[arm]) for arm in _FIXED}
    for rows in ratios.values():
        _add_latency(lab, problem, rows)
    same = {
        arm: _ratios(
            affordable(arms["shrunken"], time_of(arms[arm])),
            affordable(arms[arm], time_of(arms["shrunken"])),
        )
        for arm in ("independent", "factor")
    }
    beside, noise = _beside(arms), _noise(lab, problem, arms, _shared(lab, problem))
    means = {arm: geometric_mean([row["ratio"] for row in rows]) for arm, rows in ratios.items()}
    family = beside["family"]
    lead = (
        f"At equal validation accuracy, networks of fixed widths have {means['independent']:.2f} times the parameters of "
        f"shrunken ones (geometric mean over {len(ratios['independent'])} levels, {len(arms['shrunken'])} runs of each). One "
        f"family, slimmed, covers {family['hypervolume']:.3f} of the area of that sweep's front in {family['compute']:.3f} of "
        "its time."
    )
    values = {
        "ratios": ratios,
        "ratios at equal time": same,
        "geometric means": means,
        "geometric means at equal time": {
            arm: geometric_mean([row["ratio"] for row in rows]) for arm, rows in same.items()
        },
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
        _settings(lab, problem),
        _NOTES,
    )


def _shared(lab: Lab, problem: FrontProblem) -> dict[str, Any]:
    """Returns what the sweeps of trained networks have in common."""
    runs, epochs, _ = _size(lab, problem)
    settings: dict[str, Any] = {"epochs": epochs}
    settings |= {"target": problem.target} if problem.target else {}
    about = {"data": problem.data, "way": "shrink", "trials": runs, "sampler": "random"}
    return {**about, "settings": settings}


def _arms(lab: Lab, problem: FrontProblem) -> dict[str, list[FrontNetwork]]:
    """Returns the networks of all arms."""
    _, epochs, start = _size(lab, problem)
    shared = _shared(lab, problem)
    settings = shared["settings"]
    space = {
        "lr": {"low": 1e-3, "high": 1e-2, "log": True},
        "lam2": {"low": 1e-7, "high": 1e-2, "log": True},
        "batch_size": list(problem.batches),
    }
    fixed = settings | {"lam": 0.0, "start": "unit"}
    places = [f"w{n}" for n in range(1, len(start) + 1)]
    model = f"{problem.network}:{'-'.join(map(str, start))}"
    each = f"{problem.network}:{'-'.join(f'{{{p}}}' for p in places)}"
    one = f"{problem.network}:{'-'.join('{w1}' for _ in places)}"
    width = {
        p: {"low": 2, "high": most, "log": True} for p, most in zip(places, start, strict=True)
    }
    lam = {"low": 1e-3, "high": 0.3, "log": True}
    arms = {
        "shrunken": {"settings": settings | {"model": model}, "space": space | {"lam": lam}},
        "independent": {"settings": fixed | {"model": each}, "space": space | width},
        "factor": {"settings": fixed | {"model": one}, "space": space | {"w1": width["w1"]}},
    }
    found = {name: networks(run_arm(lab, name, shared | arm)) for name, arm in arms.items()}
    found["retrained"] = _retrained(lab, problem, shared | {"settings": fixed}, found["shrunken"])
    about = {k: v for k, v in settings.items() if k == "target"} | {
        "model": model,
        "epochs": epochs,
    }
    found |= _slimmed(lab, problem, {f"base.{k}": v for k, v in about.items()}, max(1, epochs // 5))
    return found  # fmt: skip


def _retrained(
    lab: Lab, problem: FrontProblem, shared: Mapping[str, Any], shrunken: Sequence[FrontNetwork]
) -> list[FrontNetwork]:
    """Returns networks of the widths that shrinking found on its front, trained from scratch as they were trained."""
    found = []
    for number, one in enumerate(front_of(shrunken)):
        own = {n: v for n, v in one.params_of.items() if n != "lam"}
        own["model"] = f"{problem.network}:{'-'.join(map(str, one.widths))}"
        settings = {**shared["settings"], **own}
        spec = {**shared, "settings": settings, "space": {"seed": [0]}, "trials": 1}
        found += networks(run_arm(lab, f"retrained-{number}", spec))
    return found


def _slimmed(
    lab: Lab, problem: FrontProblem, base: Mapping[str, Any], epochs: int
) -> dict[str, list[FrontNetwork]]:
    """Returns members of one family, and one network, without shares of their channels, each trained a little further."""
    shares = _SHARES[1::2] if lab.quick else _SHARES
    lams = [0.01, 0.1, 1.0]
    family = dict(base) | {"base.points": 5, "base.samples": 0, "epochs": epochs}
    alone = family | {"base.map": "table", "base.lams": [0.01], "lam": 0.01}
    shared = {"data": problem.data, "way": "slim", "sampler": "grid"}
    arms = {
        "family": {"settings": family, "space": {"share": list(shares), "lam": lams}},
        "one-shot": {"settings": alone, "space": {"share": list(shares)}},
    }
    found = {}
    for name, arm in arms.items():
        sweep = run_arm(lab, name, shared | arm)
        slimmed = networks(sweep)
        store = lab.store.folder / "sweeps" / name
        trained = sum(_seconds_of(path) for path in sorted(store.glob("cells/fit-*")))
        # the family is trained once: its time is that of the first network
        found[name] = [
            FrontNetwork(**{**vars(one), "seconds": one.seconds + (trained if not n else 0.0)})
            for n, one in enumerate(slimmed)
        ]
    return found


def _seconds_of(path: Any) -> float:
    """Returns the time that a run took."""
    return float(json.loads((path / "DONE").read_text(encoding="utf-8"))["seconds"])


def _size(lab: Lab, problem: FrontProblem) -> tuple[int, int, tuple[int, ...]]:
    """Returns runs of each arm, epochs, and widths at the start."""
    if lab.quick:
        return 4, max(2, problem.epochs // 10), tuple(max(8, w // 8) for w in problem.start)
    scale = 3 if lab.full else 1
    return problem.runs * scale, problem.epochs * scale, tuple(w * scale for w in problem.start)


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
            }
        )
    return rows


def _add_latency(lab: Lab, problem: FrontProblem, rows: Sequence[dict[str, Any]]) -> None:
    """Adds to each level how much faster the smaller network is: networks of these widths, timed side by side."""
    flat = problem.network == "mlp"
    parts = load_data(problem.data, target=problem.target, data_dir=lab.store.data_dir, flat=flat)
    for row in rows:
        nets = [
            build(
                f"{problem.network}:{'-'.join(map(str, widths))}",
                input_shape=parts.input_shape,
                n_outputs=parts.n_outputs,
            ).eval()
            for widths in row["widths"]
        ]
        for batch in _BATCHES:
            mine, other = quiet_ms(nets, torch.zeros(batch, *parts.input_shape))
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
        for name in ("family", "one-shot", "independent", "factor")
    }


def _noise(
    lab: Lab,
    problem: FrontProblem,
    arms: Mapping[str, Sequence[FrontNetwork]],
    shared: Mapping[str, Any],
) -> dict[str, list[dict[str, float]]]:
    """Returns what the networks compared one point below the top come to with other seeds."""
    found = {}
    top = min(max(one.valid for one in arms[name]) for name in ("shrunken", "independent"))
    for name in ("shrunken", "independent"):
        one = smallest(arms[name], top - 0.01)
        assert one is not None
        own = dict(one.params_of)
        widths = [own.pop(place) for place in sorted(own) if place.startswith("w")]
        fixed = {"lam": 0.0, "start": "unit"} if widths else {}
        model = {
            "model": f"{problem.network}:{'-'.join(map(str, widths or _size(lab, problem)[2]))}"
        }
        settings = {**shared["settings"], **fixed, **own, **model}
        seeds = list(range(1, (lab.seeds or (2 if lab.quick else 4)) + 1))
        spec = {**shared, "settings": settings, "space": {"seed": seeds}, "trials": len(seeds)}
        again = networks(run_arm(lab, f"noise-{name}", spec | {"sampler": "grid"}))
        found[name] = [
            {"params": n.params, "valid": n.valid, "test": n.test} for n in [one, *again]
        ]
    return found  # fmt: skip


_NOTES = (
    "Chosen on validation data; test accuracy is that of the chosen networks. Choosing the best of many runs makes validation "
    "accuracy too good for all arms alike.",
    "The draft chose on test data; its ratios, for whole data sets and larger networks, are among the values of this result.",
)


def _settings(lab: Lab, problem: FrontProblem) -> dict[str, Any]:
    runs, epochs, start = _size(lab, problem)
    return {
        "data": problem.data,
        "network to shrink from": f"{problem.network}:{'-'.join(map(str, start))}",
        "runs of each arm": runs,
        "epochs": epochs,
        "λ": "1e-3 … 0.3",
        "learning rate": "1e-3 … 1e-2",
        "weight penalty": "1e-7 … 1e-2",
        "batch size": list(problem.batches),
    }

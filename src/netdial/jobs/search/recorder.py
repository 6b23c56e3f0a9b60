"""What is recorded of a search: epochs with the probabilities of operations, structures that were tried, and what was found.

The structures tried lie in ``checkpoint/trials.safetensors`` besides, so that a search that was stopped does not train them
again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from netdial.core.records import Place
from netdial.core.storage.container import load_tree, save_tree
from netdial.core.storage.files import write_text
from netdial.jobs.records.recorder import Measurement, of_epoch, tell
from netdial.jobs.records.scoring import constant_scores, scores
from netdial.jobs.records.shrinking import record
from netdial.jobs.ways import Work
from netdial.runs.curves import CONSTANT
from netdial.runs.folder import TRIALS
from netdial.runs.searched import DRAWINGS, OUTCOME
from netdial.structure.graph.drawing import to_svg
from netdial.structure.graph.space import Gamma, SearchSpace
from netdial.structure.search.config import SpaceSearchConfig
from netdial.structure.search.outcome import SearchOutcome
from netdial.structure.search.state import SearchState
from netdial.structure.search.strategy import Tried
from netdial.train.loop import Epoch

_KIND = "trials of a search"
_WORDS = {"baseline": "random structure", "front": "structure along λ", "candidate": "candidate"}
_TIMES = "measured times"
"""Name of what was measured of networks beside the trials, for a limit that is measured."""

_PARTS = {"fit": "train", "valid": "valid"}
"""Part of the data that a loss of a step is on, by its name; a search of one level has no ``valid``."""

_MOMENTS, _PICTURES = 50, 6
"""Epochs whose probabilities are recorded, and those that are drawn."""


class SearchRecorder:
    """Turns what a search tells into records.

    Attributes:
        done: structures tried in earlier runs of the search, by part.
    """

    def __init__(self, work: Work, space: SearchSpace) -> None:
        self._work, self._space = work, space
        self.done: dict[str, list[Tried]] = {}
        path = self._trials_path
        if work.session["resuming"] and path.exists():
            kept = load_tree(path, _KIND)
            times = {space.genotype(text): ms for text, ms in kept.pop(_TIMES, {}).items()}
            work.start.limit.readings.update(times)
            for part, trials in kept.items():
                self.done[part] = [_tried(space, plain) for plain in trials]
        self._all = {part: list(found) for part, found in self.done.items()}
        self._checkpoint = work.session["checkpoint"]
        for part, trials in self.done.items():
            for number, tried in enumerate(trials):
                self._record(part, number, tried)

    def epoch(self, epoch: Epoch, state: SearchState, probabilities: Gamma) -> None:
        """Records an epoch of a search by gradient."""
        run, config = self._work.run, self._work.config
        seen = {name: epoch.measured[name] for name in _PARTS if name in epoch.measured}
        losses = {name: float(values.mean()) for name, values in seen.items()}
        numbers = [
            Measurement("loss", value, "nats/example", {"part": _PARTS[name]})
            for name, value in losses.items()
        ]
        numbers += of_epoch(epoch)
        epochs = config.known_epochs
        last = epoch.number == epochs
        if last or (epoch.number - 1) % math.ceil(epochs / _MOMENTS) == 0:
            numbers += _probabilities(self._space, probabilities)
        if last or (epoch.number - 1) % math.ceil(epochs / (_PICTURES - 1)) == 0:
            drawing = run.path / DRAWINGS / f"epoch-{epoch.number:05d}.svg"
            write_text(drawing, to_svg(self._space, probabilities))
        record(run, epoch.step, numbers, method="train")
        words = [f"{name} {value:.4f}" for name, value in losses.items()]
        tell(run, self._work.watch, epoch, *words, f"{epoch.seconds:.2f} s")

    def tried(self, part: str, tried: Tried) -> None:
        """Records a structure that was trained, and keeps it for a search that goes on."""
        trials = self._all.setdefault(part, [])
        trials.append(tried)
        plain: dict[str, Any] = {p: [*map(_plain, found)] for p, found in self._all.items()}
        if times := self._work.start.limit.readings:
            plain[_TIMES] = {genotype.dumps(): ms for genotype, ms in times.items()}
        save_tree(self._trials_path, plain, _KIND)
        number = len(trials) - 1
        self._record(part, number, tried)
        if part == "search":  # a search by trials: there is no state but its results
            session = self._work.session
            saved, place = session["saved"], self._checkpoint
            assert saved is not None
            assert place is not None
            tree = {"state": {"step": len(trials)}, "identity": session["identity"]}
            save_tree(place, tree, "checkpoint")
            self._checkpoint = saved()
        what = _WORDS.get(part, "structure")
        self._work.watch.say(f"{what} {number + 1}: loss {tried.loss:.4f}  {tried.seconds:.1f} s")

    @property
    def _trials_path(self) -> Path:
        return self._work.run.checkpoint_path / TRIALS

    def _record(self, part: str, number: int, tried: Tried) -> None:
        cost = self._work.start.limit.costs.of(tried.genotype)
        loss = tried.loss if math.isfinite(tried.loss) else math.nan
        numbers = [
            Measurement("loss", loss, "nats/example", {"part": "valid"}),
            Measurement("params", cost.params, "parameters"),
            Measurement("epochs", tried.epochs, "epochs"),
            Measurement("seconds", tried.seconds, "s"),
        ]
        step = number + 1 if part == "search" else self._work.run.last_step
        places: dict[str, Place] = {"trial": number, "role": part}
        kept = [each for each in numbers if math.isfinite(each.value)]
        record(self._work.run, step, kept, method="train", **places)


def record_outcome(work: Work, outcome: SearchOutcome) -> None:
    """Records what was found: structure, costs, gap, scores, and random search beside it."""
    run, task, config = work.run, work.problem.task, work.config
    assert isinstance(config, SpaceSearchConfig)
    step = run.last_step
    for part in ("valid", "test"):
        found = {
            "evaluate": scores(outcome.network, task, part, error=True),
            CONSTANT: constant_scores(task, part),
        }
        for method, values in found.items():
            numbers = [Measurement(name, value) for name, value in values.items()]
            record(run, step, numbers, method=method, part=part)
    cost = [Measurement(name, float(value)) for name, value in asdict(outcome.cost).items()]
    readings = work.start.limit.readings
    if outcome.genotype in readings:
        cost.append(Measurement("ms", readings[outcome.genotype], "ms"))
    cost.append(Measurement("seconds", outcome.seconds, "s"))
    cost.append(Measurement("examples", float(outcome.examples)))
    record(run, step, cost, method="cost")
    chosen = [
        Measurement("chosen", 1.0, "", {"edge": key, "operation": "+".join(names) or "none"})
        for key, names in outcome.genotype.chosen
    ]
    record(run, step, chosen, method="structure")
    if math.isfinite(outcome.tried.loss):
        own = [Measurement("loss", outcome.tried.loss, "nats/example", {"part": "valid"})]
        record(run, step, own, method=OUTCOME)
    if outcome.gap is not None:
        gap = [
            Measurement(n, v, "nats/example")
            for n, v in asdict(outcome.gap).items()
            if math.isfinite(v)
        ]
        record(run, step, gap, method="gap")
    if (guards := outcome.guards) is not None:
        seen = [
            Measurement(name, float(getattr(guards, name)))
            for name in ("skips", "most_skips", "skips_before", "skips_entered", "epoch")
        ]
        seen += [
            Measurement("curvature", value, "", {"epoch": number})
            for number, value in enumerate(guards.curvature, start=1)
        ]
        record(run, step, seen, method="guards")
    for point in outcome.front:
        values = {"params": point.cost.params, "macs": point.cost.macs, "loss": point.tried.loss}
        numbers = [Measurement(name, float(value)) for name, value in values.items()]
        kept = [each for each in numbers if math.isfinite(each.value)]
        record(run, step, kept, method="front", lam=point.lam)
        drawing = run.path / DRAWINGS / f"lambda-{point.lam:g}.svg"
        write_text(drawing, to_svg(work.start.space, point.genotype))
    if (baseline := outcome.baseline) is not None:
        numbers = [
            Measurement("difference", baseline.difference, "nats/example"),
            Measurement("standard_error", baseline.standard_error, "nats/example"),
            Measurement("trials", float(len(baseline.trials))),
            Measurement("structures", float(baseline.structures)),
            Measurement("best_loss", baseline.best.loss, "nats/example"),
        ]
        kept = [each for each in numbers if math.isfinite(each.value)]
        record(run, step, kept, method="baseline", part=baseline.part)
    space = work.start.space
    write_text(run.path / DRAWINGS / "found.svg", to_svg(space, outcome.genotype))


def _probabilities(space: SearchSpace, probabilities: Gamma) -> Iterable[Measurement]:
    for key, row in probabilities.items():
        values = row.detach().cpu().tolist()
        for operation, value in zip(space.choices[key].operations, values, strict=True):
            yield Measurement("gamma", value, "", {"edge": key, "operation": operation})


def _plain(tried: Tried) -> dict[str, Any]:
    return {**asdict(tried), "genotype": tried.genotype.dumps()}


def _tried(space: SearchSpace, plain: dict[str, Any]) -> Tried:
    return Tried(**{**plain, "genotype": space.genotype(plain["genotype"])})

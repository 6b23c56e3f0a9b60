"""Trials on a trained family: a member without some of its channels, or as a file of few bytes.

The run folder of such a trial is that of the family (its model is linked, not copied), with what was done in its records; so
``report``, ``choose`` and ``predict`` work on it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netdial.core.storage.files import write_json
from netdial.jobs.trial import Trial
from netdial.runs.folder import FOUND
from netdial.runs.run import Run
from netdial.runs.store import Cell, Store

if TYPE_CHECKING:
    from netdial.data import Splits
    from netdial.family import Family
    from netdial.jobs.analyses.slimmed import Stage
    from netdial.jobs.analyses.subjects import ModelAndData

_ASIDE = ("name", "format")


@dataclass(frozen=True)
class Refinement(Cell):
    """Something done to the family of a run, for dataclasses to build on.

    Attributes:
        base: the run.
        choices: settings, by name; all else has its default.
    """

    base: Trial
    choices: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs(self) -> Sequence[Cell]:
        """The run."""
        return (self.base,)

    def fill(self, store: Store) -> None:
        """Makes a run folder of the family, and does the work in it."""
        path = store.path(self)
        shutil.rmtree(path, ignore_errors=True)
        run = _copy_of(self.base.run(store), path)
        write_json(path / FOUND, self.refine(run, store))

    def refine(self, run: Run, store: Store) -> dict[str, Any]:
        """Does the work in a run folder of its own, and returns what it measured under ``measures``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Slimmed(Refinement):
    """A member without its least important channels, or of several sizes; ``netdial slim``."""

    def __post_init__(self) -> None:
        """Refuses settings that do not go together."""
        self._settings()

    @property
    def label(self) -> str:
        """What is done, and data."""
        return f"slim {Path(self.base.data).stem}"

    def _settings(self) -> tuple[Any, Any]:
        from netdial.jobs.analyses.slimming import Slimming
        from netdial.pruning.channels import Limits, Options

        given = {
            kind: {n: v for n, v in self.choices.items() if n in kind.__dataclass_fields__}
            for kind in (Slimming, Options, Limits)
        }
        options = Options(**given[Options], limits=Limits(**given[Limits]))
        return Slimming(**given[Slimming]), options

    def refine(self, run: Run, store: Store) -> dict[str, Any]:
        """Slims the member; the small network, or the smallest, is ``model/slimmed.safetensors``, and ``networks`` has all."""
        from netdial.jobs.analyses.slimmed_run import slim_run
        from netdial.jobs.analyses.subjects import from_run

        slimming, options = self._settings()
        asked = from_run(run, slimming.lam, store.data_dir, trust=True)
        path = run.model_path / "slimmed.safetensors"
        found = slim_run(run, asked, "valid", slimming, options, path)
        networks = [
            {
                "path": str(stage.path.relative_to(run.path)),
                "widths": dict(stage.widths),
                "measures": _measures(stage, asked),
            }
            for stage in found.stages
            if stage.path is not None
        ]
        return {"measures": networks[-1]["measures"], "networks": networks}


@dataclass(frozen=True)
class Compressing(Refinement):
    """A member as a file of few bytes; ``netdial compress``."""

    def __post_init__(self) -> None:
        """Refuses settings that do not go together."""
        self._settings()

    @property
    def label(self) -> str:
        """What is done, and data."""
        return f"compress {Path(self.base.data).stem}"

    def _settings(self) -> Any:
        from netdial.compression.pipeline.config import CompressConfig

        return CompressConfig(**{n: v for n, v in self.choices.items() if n != "lam"})

    def refine(self, run: Run, store: Store) -> dict[str, Any]:
        """Compresses the member; the file is ``model/compressed.ndz``."""
        from netdial.jobs.analyses.compressed import Judging, compress_run
        from netdial.jobs.analyses.subjects import from_run
        from netdial.jobs.records.scoring import scores

        asked = from_run(run, self.choices.get("lam"), store.data_dir, trust=True)
        path = run.model_path / "compressed.ndz"
        found = compress_run(run, asked, self._settings(), Judging(), "valid", path)
        on_test = scores(found.found.net, asked.data, "test")
        measures = {
            "bytes": float(found.ledger.size),
            **{f"valid/{name}": value for name, value in found.metrics["coded"].items()},
            **{f"test/{name}": value for name, value in on_test.items()},
        }
        return {"measures": measures}


def _copy_of(base: Run, path: Path) -> Run:
    """Returns a run folder like that of a family, made at ``path``; the model is linked where the disk can do that."""

    def fill(run: Run) -> None:
        for name in ("splits.json", "details.json", "log.txt"):
            if (base.path / name).exists():
                shutil.copy2(base.path / name, run.path / name)
        run.model_path.mkdir()
        for file in base.model_path.iterdir():
            _link(file, run.model_path / file.name)
        run.record(replace(record, run=path.name) for record in base.records())

    config = {name: value for name, value in base.config.items() if name not in _ASIDE}
    run = Run.create(path.parent, path.name, config, fill=fill)
    run.finish()
    return run


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _measures(stage: Stage, asked: ModelAndData) -> dict[str, float]:
    """Returns what a small network of a member costs and is worth."""
    assert stage.network is not None and asked.lam is not None
    valid = {f"valid/{name}": value for name, value in stage.metrics.items()}
    return {**stage.costs, **valid, **_on_test(stage.network.family, asked.data), "lam": asked.lam}


def _on_test(member: Family, task: Splits) -> dict[str, float]:
    """Returns the metrics of a family of one on test data."""
    from netdial.measure import evaluate

    lams = list(member.config.lams)
    path = evaluate(member, task.test, lams=lams, kind=task.kind, n_samples=0, train=task.train.y)
    return {f"test/{name}": value for name, value in path.members[0].metrics.items()}

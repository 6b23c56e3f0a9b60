"""Records of training and evaluation, and the lines of progress.

Training is summed up once an epoch: over all complexity values seen, and for each stratum of the range (each row of a
table map). Values that do not exist for a member, such as the divergence of a point, are left out rather than written
as NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from netdial.core.best import MEAN, PREDICTIVE, Row, best
from netdial.core.records import Place, Record
from netdial.family import Domain
from netdial.jobs.records.watch import FinishedEpoch, Watch
from netdial.measure import Path as LambdaPath
from netdial.measure.compare import spread_of
from netdial.runs.curves import CONSTANT
from netdial.runs.run import Run
from netdial.task import Task
from netdial.train.loop import Epoch

EVALUATE = "evaluate"
_UNITS = {
    "nll": "nats/example",
    "objective": "nats/example",
    "kl_bits": "bits",
    "effective_parameters": "parameters",
    "n_params": "parameters",
}


@dataclass(frozen=True)
class Measurement:
    """A number to be recorded: name, value, unit, and axis -> value for what it belongs to; None does not apply."""

    name: str
    value: float
    unit: str = ""
    where: Mapping[str, Place | None] = field(default_factory=dict)


_MEASURED = ("unit", "fit", "complexity")
"""What a step of a family measures."""


class Recorder:
    """Turns epochs into records of a run.

    Args:
        run: where the records go.
        config: its configuration.
        watch: told of every epoch.
        step: steps made before.
        write: whether this process is the one that writes.
    """

    def __init__(
        self, run: Run, config: dict[str, Any], watch: Watch, *, step: int, write: bool
    ) -> None:
        self._run, self._config, self._watch, self._write = run, config, watch, write
        self.step = step

    def __call__(self, epoch: Epoch) -> None:
        """Records an epoch."""
        unit, fit, complexity = _gathered([epoch.measured[name] for name in _MEASURED])
        self.step = epoch.step
        if not self._write:
            return
        numbers = [*self._means(unit, fit, complexity), *of_epoch(epoch)]
        self._run.record(
            self._run.row(epoch.step, one.name, one.value, one.unit, method="train", **one.where)
            for one in numbers
        )
        terms = f"fit {float(fit.mean()):.4f}", f"complexity {float(complexity.mean()):.4f}"
        tell(self._run, self._watch, epoch, *terms, *valid_words(epoch), f"{epoch.seconds:.2f} s")

    def _means(self, unit: Tensor, fit: Tensor, complexity: Tensor) -> Iterable[Measurement]:
        whole = torch.ones_like(unit, dtype=torch.bool)
        for lam, chosen in [(None, whole), *self._strata(unit)]:
            means = {
                "fit": float(fit[chosen].mean()),
                "complexity": float(complexity[chosen].mean()),
            }
            for name, value in {"loss": sum(means.values()), **means}.items():
                yield Measurement(name, value, "nats/example", {"part": "train", "lam": lam})

    def _strata(self, unit: Tensor) -> list[tuple[float | None, Tensor]]:
        """Returns the complexity value in the middle of each stratum and which of ``unit`` lie in it."""
        domain = Domain(self._config["lo"], self._config["hi"])
        if self._config["map"] == "table":
            rows = domain.unit(torch.tensor(self._config["lams"], dtype=torch.float64))
            near = (unit[:, None] - rows).abs().argmin(dim=1)
            return [(lam, near == row) for row, lam in enumerate(self._config["lams"])]
        count = self._config["groups"]
        stratum = (unit * count).long().clamp(max=count - 1)
        centres = domain.lam((torch.arange(count) + 0.5) / count).tolist()
        return [
            (float(f"{lam:.6g}"), stratum == index)
            for index, lam in enumerate(centres)
            if bool((stratum == index).any())
        ]


def of_epoch(epoch: Epoch) -> Iterator[Measurement]:
    """Yields what is recorded of an epoch under every way of training."""
    train = {"part": "train"}
    yield Measurement("lr", epoch.lr, "", train)
    yield Measurement("epoch_seconds", epoch.seconds, "s", train)
    yield Measurement("n_updates", float(epoch.n_updates), "updates", train)
    if epoch.valid is not None:
        yield Measurement("objective", epoch.valid, "nats/example", {"part": "valid"})


def valid_words(epoch: Epoch) -> list[str]:
    """Returns the validation objective with its name, or nothing without validation data."""
    return [] if epoch.valid is None else [f"valid {epoch.valid:.4f}"]


def tell(run: Run, watch: Watch, epoch: Epoch, *numbers: str) -> None:
    """Reports an epoch to the watch, and writes it to the log of the run."""
    finished = FinishedEpoch(epoch.number, run.config["epochs"], numbers, epoch.valid)
    watch.epoch(finished)
    run.append(run.log_path, [finished.line()])


def member_records(
    run: Run, step: int, paths: dict[str, LambdaPath], task: Task | None = None
) -> list[Record]:
    """Returns the records of the final curves, of the members' comparison on validation data, and of a constant.

    Args:
        run: the run.
        step: optimiser step of the family.
        paths: ``valid`` and ``test`` to the path on that part; what concerns a member alone, and its objective, is
            taken from the first.
        task: what they predict, for the standard errors of its proper loss; None records none.
    """
    first = next(iter(paths))
    where = {"method": EVALUATE}
    records = []
    for part, path in paths.items():
        errors = [] if task is None else _errors(path, task)
        for place, member in enumerate(path.members):
            found = [
                *(
                    (f"{path.metric}_error", error, {"part": part})
                    for error in errors[place : place + 1]
                ),
                *((name, value, {"part": part}) for name, value in member.metrics.items()),
                *(
                    (name, value, {"part": part, "using": PREDICTIVE})
                    for name, value in member.predictive.items()
                ),
                *((name, value, {}) for name, value in member.of_family().items() if part == first),
            ]
            records += [
                run.row(step, name, value, _UNITS.get(name, ""), **where, lam=member.lam, **at)
                for name, value, at in found
                if not math.isnan(value)
            ]
    if "valid" in paths:
        records += comparison_records(run, step, where, paths["valid"].rows())
    return records + constant_records(
        run, step, {part: path.constant for part, path in paths.items()}
    )


def _errors(path: LambdaPath, task: Task) -> list[float]:
    """Returns the standard errors of the proper loss of all members."""
    terms = path.scores[MEAN].terms
    return [
        spread_of(each, task, None, member.metrics[path.metric])
        for each, member in zip(terms, path.members, strict=True)
    ]


def comparison_records(
    run: Run,
    step: int,
    where: Mapping[str, Place],
    rows: Sequence[Row],
    sparsities: Sequence[float | None] | None = None,
) -> list[Record]:
    """Returns how much worse members are than the best on validation data, and the paired standard errors of that.

    Args:
        run: the run.
        step: optimiser step of the family.
        where: method of the records of the members, and what else they have in common.
        rows: the members; those that are not finite are left out.
        sparsities: fraction removed of each of them, if they were pruned.
    """
    if not any(row.is_measured for row in rows):
        return []
    least = rows[best(rows)].loss
    return [
        run.row(step, name, value, lam=row.lam, sparsity=gone, part="valid", **where)
        for row, gone in zip(rows, sparsities or [None] * len(rows), strict=True)
        for name, value in (("excess", row.loss - least), ("excess_error", row.error))
        if math.isfinite(value)
    ]


def constant_records(run: Run, step: int, found: dict[str, dict[str, float]]) -> list[Record]:
    """Returns the records of what a constant is worth: part of the data -> metric -> value."""
    return [
        run.row(step, name, value, _UNITS.get(name, ""), method=CONSTANT, part=part)
        for part, metrics in found.items()
        for name, value in metrics.items()
    ]


def _gathered(parts: list[Tensor]) -> list[Tensor]:
    """Returns vectors of equal length joined over all processes that train together."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return parts
    mine = torch.stack([part.double().cpu() for part in parts])
    if distributed.get_backend() == "nccl":
        mine = mine.cuda()
    everyone = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyone, mine)
    return list(torch.cat(everyone, dim=1).cpu())

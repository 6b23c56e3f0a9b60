"""The shrink job: data -> network that is too large -> training while it shrinks -> fold -> evaluation, in one run folder.

``shrink_job`` is what ``netdial shrink`` does, without the command line. The run folder is that of any run; besides, it holds
``kills.jsonl``: one line for each collection, which channels went, why and when, as they were numbered at the start.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.sizes import size, strip, total
from netdial.core.records import Record
from netdial.data import Splits
from netdial.data.dataset import Dataset
from netdial.jobs.problem import Problem, by_index, describe_net, example, reading_lines
from netdial.jobs.recorder import Watch
from netdial.jobs.request import (
    LAST,
    Job,
    done_already,
    folder,
    resolve,
    resumable,
    saved,
    saved_step,
    settle,
    tidy,
    working,
)
from netdial.measure.cost import cost
from netdial.measure.latency import quiet_ms
from netdial.measure.path import outputs
from netdial.models.recipe import save_network
from netdial.models.use import use_of
from netdial.nets.foreign import copy_network
from netdial.runs.run import Run
from netdial.shrinking.config import ShrinkConfig
from netdial.shrinking.shrink import Shrunk, prepare
from netdial.shrinking.shrink import run as train_and_shrink
from netdial.shrinking.state import Event, State
from netdial.task import named
from netdial.train import Epoch

MODEL = "shrunken.safetensors"
"""The shrunken network, in the folder ``model`` of a run."""

BATCHES = (1, 64)
"""Batch sizes at which latency is measured."""

_NOT_TRAINING = ("name", "data_dir")


@dataclass(frozen=True)
class Progress:
    """One finished epoch of shrinking in plain numbers.

    Attributes:
        epoch: epochs finished.
        epochs: epochs asked for.
        fit: mean loss over the epoch, nats per example.
        valid: validation loss, or None.
        n_params: numbers in all parameters, without switches.
        widths: channels in each group.
        seconds: wall time.
    """

    epoch: int
    epochs: int
    fit: float
    valid: float | None
    n_params: int
    widths: dict[str, int]
    seconds: float

    def line(self) -> str:
        """Returns the numbers as one line for people."""
        valid = "" if self.valid is None else f"  valid {self.valid:.4f}"
        layers = " ".join(f"{name}:{width}" for name, width in self.widths.items())
        return (
            f"epoch {self.epoch}/{self.epochs}  fit {self.fit:.4f}{valid}  params {self.n_params}  {self.seconds:.2f} s"
            f"  {layers}"
        )


def shrink_job(job: Job, watch: Watch, report: Callable[[Path], object]) -> Run | None:
    """Does the job and returns its run, or returns a run that is done already when resuming.

    Args:
        job: what to do; its way is ``shrink``.
        watch: told how it goes.
        report: writes the report of a run folder.

    Returns:
        The run; None on a process that only helped another one to train.

    Raises:
        NetdialError: something the caller can mend; a run that has not saved any state yet leaves no folder.
        Interrupted: a signal asked for it; the state is saved.
    """
    if (done := done_already(job, watch)) is not None:
        return done
    with working(job):
        if (done := done_already(job, watch, report)) is not None:
            return done
        old = resumable(job)
        watch.say(f"reading {job.data}")
        config, problem = settle(job, old)
        for line in reading_lines(problem.task):
            watch.say(line)
        assert isinstance(config, ShrinkConfig)
        graph = prepare(problem.net, example(problem.task), config)
        resolved = resolve(job, old, config, problem, total(strip(graph.traced)))
        run, writes = folder(job, old, config, resolved, problem.task)
        with tidy(job, run, writes=writes, fresh=old is None):
            shrunk = _train(run, config, problem.task, graph, watch, job=job, writes=writes)
            if not writes:
                return None
            _conclude(run, shrunk, problem, watch)
            report(run.path)
    return run


def _train(
    run: Run,
    config: ShrinkConfig,
    task: Splits,
    graph: Graph,
    watch: Watch,
    *,
    job: Job,
    writes: bool,
) -> Shrunk:
    checkpoint = run.checkpoint_path / LAST
    step = saved_step(checkpoint) if job.resume else 0
    if writes:
        run.truncate(step if step else -1)
        start = f", going on at step {step}" if step else ""
        watch.say(
            f"shrinking {run.config['model']} ({run.config['n_params']} parameters, {len(task.train)} training examples){start}"
        )
        if not step:
            _record(run, "train", 0, _dimensions(graph))
    recorder = _Recorder(run, task, watch, write=writes)
    return train_and_shrink(
        graph,
        task.train,
        task.valid,
        kind=task.kind,
        config=by_index(config, task),
        report=recorder,
        advance=watch.advance,
        augment=task.augment,
        checkpoint=checkpoint,
        saved=partial(saved, run),
        resuming=job.resume,
        identity={key: value for key, value in run.config.items() if key not in _NOT_TRAINING},
    )


class _Recorder:
    """Turns epochs into records and lines of the log of collections."""

    def __init__(self, run: Run, task: Splits, watch: Watch, *, write: bool) -> None:
        self._run, self._task, self._watch, self._write = run, task, watch, write

    def __call__(self, epoch: Epoch, state: State) -> None:
        """Records an epoch."""
        if not self._write:
            return
        found = dict(self._numbers(epoch, state))
        _record(self._run, "train", epoch.step, found)
        self._run.append(self._run.kills_path, (json.dumps(_plain(e)) for e in state.events))
        progress = Progress(
            epoch.number,
            self._run.config["epochs"],
            found["train/fit"][0],
            epoch.valid,
            int(found["shrink/params"][0]),
            state.graph.widths,
            epoch.seconds,
        )
        self._watch.epoch(progress)
        self._run.append(self._run.log_path, [progress.line()])

    def _numbers(self, epoch: Epoch, state: State) -> Iterator[tuple[str, tuple[float, str]]]:
        fit, penalty = (float(epoch.measured[name].mean()) for name in ("fit", "complexity"))
        yield "train/fit", (fit, "nats/example")
        yield "train/complexity", (penalty, "nats/example")
        yield "train/loss", (fit + penalty, "nats/example")
        yield "train/lr", (epoch.lr, "")
        yield "train/epoch_seconds", (epoch.seconds, "s")
        yield "train/n_updates", (float(epoch.n_updates), "updates")
        if epoch.valid is not None:
            yield "valid/objective", (epoch.valid, "nats/example")
        for name, value in _scores(state.module, self._task.valid, self._task.kind).items():
            yield f"valid/{name}", (value, "")
        yield "shrink/lam", (state.lam, "")
        seconds = sum(event.collection.seconds for event in state.events)
        yield "shrink/collect_seconds", (seconds, "s")
        yield from _dimensions(state.graph).items()


def _dimensions(graph: Graph) -> dict[str, tuple[float, str]]:
    """Returns how large a network is, and how wide its layers."""
    widths = {
        f"shrink/width/{name}": (float(width), "channels") for name, width in graph.widths.items()
    }
    return {
        "shrink/params": (float(total(strip(graph.traced))), "parameters"),
        "shrink/macs": (size(graph, "macs").value, "macs"),
        **widths,
    }


def _conclude(run: Run, shrunk: Shrunk, problem: Problem, watch: Watch) -> None:
    """Folds and evaluates the network, measures what it costs beside the one at the start, saves it."""
    task = problem.task
    watch.say(f"evaluating on {len(task.valid)} validation and {len(task.test)} test examples")
    folded, fold_report = shrunk.fold()
    step = run.last_step
    for part in ("valid", "test"):
        scores = _scores(folded, task.part(part), task.kind)
        _record(run, "evaluate", step, {f"{part}/{n}": (v, "") for n, v in scores.items()})
    start = copy_network(problem.net).eval()
    x = task.valid.inputs(torch.arange(min(max(BATCHES), len(task.valid))))
    for name, found in zip(("start", "end"), _costs([start, folded], x), strict=True):
        _record(run, "cost", step, {f"shrink/{name}/{n}": v for n, v in found.items()})
    _record(run, "cost", step, {"shrink/fold_difference": (fold_report.difference, "")})
    about = {"data": run.config["data"], "kind": task.kind, "model": run.config["model"]}
    about |= {**describe_net(run), **use_of(task, folded).to_json()}
    save_network(shrunk, run.model_path / MODEL, about)
    run.finish()


def _costs(nets: Sequence[nn.Module], x: Tensor) -> list[dict[str, tuple[float, str]]]:
    """Returns parameters, multiplications, bytes and measured latencies of each network."""
    counted = [cost(net, x[:2], packed=False) for net in nets]
    values: list[dict[str, tuple[float, str]]] = [
        {
            "params": (found.params, "parameters"),
            "macs": (found.macs, "macs"),
            "bytes": (found.bytes, "bytes"),
        }
        for found in counted
    ]
    for batch in BATCHES:
        if batch <= len(x):
            for found, ms in zip(values, quiet_ms(nets, x[:batch]), strict=True):
                found[f"ms_{batch}"] = (ms, "ms")
    return values


def _scores(net: nn.Module, part: Dataset, kind: str) -> dict[str, float]:
    """Returns what the network is worth on a part of the data: accuracy, loss, calibration; or RMSE and R²."""
    found = named(kind).metrics(outputs(net, part), part.y.cpu())
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _record(run: Run, method: str, step: int, numbers: dict[str, tuple[float, str]]) -> None:
    seed = run.config["seed"]
    run.replace(
        Record(run.name, method, None, seed, step, name, float(value), unit)
        for name, (value, unit) in numbers.items()
    )


def _plain(event: Event) -> dict[str, Any]:
    """Returns a collection as one line of the log."""
    done = event.collection
    return {
        "step": event.step,
        "lam": event.lam,
        "rule": event.rule,
        "gone": {group: list(channels) for group, channels in event.gone.items()},
        "widths": dict(done.widths),
        "params": done.n_params,
        "folded": dict(done.folded),
        "refused": dict(done.refused),
        "difference": done.difference,
        "seconds": done.seconds,
    }

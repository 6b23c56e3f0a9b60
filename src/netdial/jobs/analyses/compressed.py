"""Compresses a member of a run, or a model in a file, judges it beside a dense control, records and writes it.

What is recorded, and under which names, is said in ``runs.results.compressions``, which reads it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from netdial.compression.costs import Ledger
from netdial.compression.file import write
from netdial.compression.pipeline.config import CompressConfig
from netdial.compression.pipeline.result import Compressed
from netdial.compression.pipeline.run import Report, compress, context_of
from netdial.compression.pipeline.steps import recipe_alone
from netdial.core.arguments import checked_fields
from netdial.core.errors import ConfigError
from netdial.core.records import Place, Record
from netdial.core.storage.files import check_writable
from netdial.data import Splits
from netdial.family import Family
from netdial.jobs.analyses.lengths import DescriptionLength, check_codes, description_lengths
from netdial.jobs.analyses.subjects import ModelAndData
from netdial.jobs.records.scoring import scores
from netdial.measure.compare import terms_of
from netdial.measure.forward import outputs
from netdial.measure.noise import under_errors
from netdial.measure.verdict import LossVerdict, verdict
from netdial.runs.folder import WORK
from netdial.runs.results.compressions import METHOD, SIZE
from netdial.runs.run import Run
from netdial.task import named, task_of
from netdial.train.loop import Epoch

_LAMS = 9
"""Complexity values of the variational code."""


@checked_fields
@dataclass(frozen=True)
class Judging:
    """Settings of the comparison with a dense control of the same recipe."""

    seeds: Annotated[
        int,
        Field(
            ge=0,
            description="times to repeat it beside a dense control trained alike; 5 or more tell whether there is no loss",
        ),
    ] = 0
    lengths: Annotated[
        bool, Field(description="tell the labels of the training data by three codes, in bits")
    ] = False
    margin: Annotated[
        float | None,
        Field(
            gt=0, description="loss that does not count; else twice the control's standard error"
        ),
    ] = None

    def __post_init__(self) -> None:
        """Refuses a margin without seeds."""
        if self.margin is not None and not self.seeds:
            raise ConfigError(
                "--margin is about the comparison with a control; add --seeds 5, or leave it out"
            )


@dataclass(frozen=True, eq=False)
class CompressResult:
    """Result of a compression.

    Attributes:
        path: the file.
        found: the network, the front and the waterfall.
        ledger: what the bytes of the file are for.
        metrics: stage ``dense`` and ``coded`` -> metrics on the part of the data asked for.
        verdict: against dense controls; None if none was trained.
        lam: complexity value of the member; None for a network that has none.
        lengths: codes of the training labels, if they were asked for.
    """

    path: Path
    found: Compressed
    ledger: Ledger
    metrics: Mapping[str, Mapping[str, float]]
    verdict: LossVerdict | None
    lam: float | None
    lengths: tuple[DescriptionLength, ...] = ()


def compress_model(
    asked: ModelAndData,
    config: CompressConfig,
    judging: Judging,
    part: str,
    path: Path,
    *,
    folder: Path | None = None,
    report: Report | None = None,
) -> CompressResult:
    """Returns a compressed model, having written its file.

    Args:
        asked: what is compressed.
        config: how.
        judging: whether it is compared with a dense control.
        part: ``valid`` or ``test``; what metrics and verdict are of.
        path: file to write.
        folder: where work under way is kept; None keeps none.
        report: told of every epoch of training.

    Raises:
        ConfigError, NonFiniteError: as ``nd.compress``.
        CheckpointError: the disk refused the file.
    """
    data, task = asked.data, task_of(asked.data)
    if asked.whole and (judging.seeds or judging.lengths):
        raise ConfigError(
            "--seeds and --lengths are about one network; leave out --family, or them"
        )
    if judging.lengths:
        check_codes(task)
    check_writable(path)
    found = compress(
        asked.model, asked.train, data.valid, lam=asked.wanted, kind=task, config=config, augment=data.augment, folder=folder,
        report=report, recipe=asked.recipe, meta=asked.told,
    )  # fmt: skip
    judged = _judged(asked, config, judging, part, found, report) if judging.seeds else None
    ledger = write(
        path,
        found.chosen.tensors,
        recipe=found.recipe,
        meta=asked.told(found.net),
        profile=config.profile,
    )
    start = asked.model
    if isinstance(start, Family) and asked.lam is not None:
        start = start.export(asked.lam)
    end = found.net
    if isinstance(end, Family) and asked.lam is not None:
        end = end.export(asked.lam)
    nets = {"dense": start, "coded": end}
    metrics = {name: scores(net, data, part) for name, net in nets.items()}
    lengths = tuple(_lengths(asked, found, config)) if judging.lengths else ()
    return CompressResult(path, found, ledger, metrics, judged, asked.lam, lengths)


def _lengths(
    asked: ModelAndData, found: Compressed, config: CompressConfig
) -> list[DescriptionLength]:
    data, model = asked.data, asked.model
    lams = model.lams(_LAMS) if isinstance(model, Family) else []
    return description_lengths(
        model, found, data.train, data.valid, named(data.kind), config, lams=lams, start=asked.fresh
    )


def _judged(
    asked: ModelAndData,
    config: CompressConfig,
    judging: Judging,
    part: str,
    found: Compressed,
    report: Report | None,
) -> LossVerdict:
    """Returns the verdict on files of the size found, one for each seed, each beside a control that was trained as long."""
    ours, controls = list[Tensor](), list[Tensor]()
    for seed in range(1, judging.seeds + 1):
        own = replace(
            config, seed=config.seed + seed, max_bytes=found.n_bytes, max_loss=None, price=None
        )
        for net, terms in zip(_pair(asked, own, seed, report), (ours, controls), strict=True):
            terms.append(_terms(net, asked.data, part, config.metric))
    return verdict(torch.stack(ours), torch.stack(controls), judging.margin)


def _pair(
    asked: ModelAndData, config: CompressConfig, seed: int, report: Report | None
) -> tuple[nn.Module, nn.Module]:
    """Returns the compressed network of one seed and its control, trained as long."""
    data, turns = asked.data, set[str]()

    def told(name: str, epoch: Epoch, epochs: int) -> None:
        turns.update({name} if "-" not in name else set())
        if report is not None:
            report(f"seed {seed}, {name}", epoch, epochs)

    small = compress(
        asked.model, asked.train, data.valid, lam=asked.lam, kind=data.kind, config=config, augment=data.augment, report=told,
        recipe=asked.recipe, meta=asked.told,
    )  # fmt: skip
    context = context_of(
        asked.model, asked.train, lam=asked.lam, kind=data.kind, config=config, augment=data.augment, report=report
    )  # fmt: skip
    control = context.teacher
    for _ in turns:
        control = recipe_alone(context, control, f"seed {seed}, control")
    return small.net, control


def _terms(net: nn.Module, data: Splits, part: str, metric: str | None) -> Tensor:
    where, held = data.part(part), data.valid
    out = outputs(net, held)
    judge = under_errors(named(data.kind).seen(out, held.y), out, held.y)
    return terms_of(outputs(net, where)[None], where.y.cpu(), judge, metric)[0]


def compress_run(
    run: Run,
    asked: ModelAndData,
    config: CompressConfig,
    judging: Judging,
    part: str,
    path: Path,
    report: Report | None = None,
) -> CompressResult:
    """Compresses a member of a run as ``compress_model`` does, goes on where an interrupted one stopped, and records it.

    Raises:
        ConfigError, NonFiniteError, CheckpointError: as ``compress_model``.
    """
    folder = run.path / WORK
    folder.mkdir(exist_ok=True)
    found = compress_model(asked, config, judging, part, path, folder=folder, report=report)
    run.replace(records_of(run, found, config, part, whole=asked.whole))
    shutil.rmtree(folder, ignore_errors=True)
    return found


def how(config: CompressConfig) -> dict[str, Place]:
    """Returns how a model was compressed, as axes of records: the goal, and what differs from the default.

    >>> how(CompressConfig(max_bytes=900, share="uniform"))
    {'max_bytes': 900, 'share': 'uniform'}
    """
    found = {f.name: getattr(config, f.name) for f in fields(config)}
    default = {f.name: f.default for f in fields(config)}
    return {n: v for n, v in found.items() if v is not None and v != default[n] and n != "seed"}


def records_of(
    run: Run, found: CompressResult, config: CompressConfig, part: str, *, whole: bool = False
) -> list[Record]:
    """Returns the records of a compression."""
    at: dict[str, Any] = {"method": METHOD, **how(config), "lam": found.lam}
    at |= {"members": "all"} if whole else {}
    step, rows = run.last_step, list[Record]()
    for stage in found.found.stages:
        rows.append(run.row(step, SIZE, stage.n_bytes, "bytes", stage=stage.label, **at))
        rows.append(run.row(step, "loss", stage.loss, stage=stage.label, part="valid", **at))
    for label, metrics in found.metrics.items():
        rows += [run.row(step, n, v, stage=label, part=part, **at) for n, v in metrics.items()]
    for number, point in enumerate(found.found.front):
        on = {"point": number, **at}
        rows.append(run.row(step, SIZE, point.n_bytes, "bytes", **on))
        rows.append(run.row(step, "excess", point.excess, part="valid", **on))
    for layer in found.found.layers():
        on = {"layer": layer.name, **at}
        rows.append(run.row(step, "bits", layer.bits, "bits", **on))
        rows.append(run.row(step, "kept", layer.kept, "numbers", **on))
        rows.append(run.row(step, "size", layer.size, "numbers", **on))
        rows.append(run.row(step, "values", layer.values, "values", **on))
    for bound, size in found.found.bounds.items():
        rows.append(run.row(step, SIZE, size, "bytes", bound=bound, **at))
    rows += [
        run.row(step, SIZE, size, "bytes", purpose=purpose, **at)
        for purpose, size in found.ledger.split.items()
    ]
    if found.verdict is not None:
        judged = found.verdict
        for name in ("seeds", "excess", "error", "bound", "margin", "no_loss"):
            rows.append(
                run.row(step, name, float(getattr(judged, name)), part=part, verdict=True, **at)
            )
    return rows

"""``netdial compress``: a member of a run, or a model in a file, as a file of few bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.command import Parts, options_of
from netdial.cli.options import AtRun, SplitOption, check_split, out_option, read
from netdial.cli.places import DataOption, to_write_in

if TYPE_CHECKING:
    from netdial.jobs.analyses.compressed import CompressResult
    from netdial.train.loop import Epoch


def _parts() -> Parts:
    from netdial.compression.pipeline.config import CompressConfig
    from netdial.jobs.analyses.compressed import Judging

    return {"How": (CompressConfig,), "Is anything lost?": (Judging,)}


@options_of(_parts)
def compress(
    at: AtRun,
    lam: Annotated[
        float | None,
        typer.Option(help="Complexity value; else that of the best member.", show_default=False),
    ] = None,
    family: Annotated[
        bool, typer.Option("--family", help="Compress all members as one file, for any λ.")
    ] = False,
    data: DataOption = None,
    out: Annotated[
        Path | None, out_option("File to write; else NAME-lamX.ndz in this folder")
    ] = None,
    split: SplitOption = "valid",
    **given: Any,
) -> None:
    """Make a small file of a trained member, a family, or a model in a file: few weights, few values, few bits."""
    check_split(split)
    from netdial.compression.pipeline.config import CompressConfig
    from netdial.jobs.analyses.compressed import Judging, compress_model, compress_run
    from netdial.jobs.analyses.subjects import from_file, from_run
    from netdial.jobs.reports import write_report
    from netdial.models.kinds import is_model, stem_of

    config, judging = read(CompressConfig, given), read(Judging, given)
    report = None if at.as_json or at.quiet else _said
    if is_model(Path(at.run)):
        asked = from_file(
            Path(at.run), data, lam, at.data_dir, whole=family, instead=", or --family"
        )
        path = _place(out, stem_of(Path(at.run)), asked.wanted, Path(at.run))
        found = compress_model(asked, config, judging, split, path, report=report)
        where: dict[str, Any] = {"model": at.run}
    else:
        folder = to_write_in(at.open())
        with folder.alone():
            asked = from_run(folder, lam, at.data_dir, whole=family, trust=at.trust)
            path = _place(out, folder.name, asked.wanted, folder.path)
            found = compress_run(folder, asked, config, judging, split, path, report)
            where = {"run": str(folder.path), "report": str(write_report(folder.path))}
    _show(found, where, split, asked.data.kind, as_json=at.as_json)


def _show(
    found: CompressResult, where: dict[str, Any], split: str, kind: str, *, as_json: bool
) -> None:
    from netdial.cli.output import console, print_json, print_table
    from netdial.cli.tables.compress import (
        front_table,
        layers_table,
        lengths_table,
        waterfall_table,
    )
    from netdial.runs.results.compressions import AT_KNOTS, rest_words, times_words

    if as_json:
        print_json({**where, "split": split, "kind": kind, **_answer(found)})
        return
    screen = console()
    for table in (layers_table(found), front_table(found), waterfall_table(found, split, kind)):
        print_table(screen, table)
    if found.lengths:
        print_table(screen, lengths_table(found))
    stages, of = found.found.stages, f" of {AT_KNOTS}" if found.found.of_family else ""
    lines = [
        f"{found.path}: {found.ledger.size} bytes, {times_words(stages[0].n_bytes, found.ledger.size)} than the dense "
        f"weights{of}; {found.found.why}",
        rest_words(found.ledger.split),
    ]
    if found.verdict is not None:
        lines.append(found.verdict.words(found.found.loss_words))
    lines += [f"report: {where['report']}"] if "report" in where else []
    screen.print("\n".join(lines), markup=False, soft_wrap=True)


def _answer(found: CompressResult) -> dict[str, Any]:
    """Returns what was done as plain values."""
    front = ("n_bytes", "loss", "excess", "error", "n_weights", "price")
    verdict = found.verdict
    return {
        "path": str(found.path),
        "lam": found.lam,
        "bytes": found.ledger.size,
        "ratio": found.found.stages[0].n_bytes / found.ledger.size,
        "why": found.found.why,
        "loss": found.found.loss_words,
        "stages": [
            {**vars(stage), "metrics": dict(found.metrics.get(stage.label, {}))}
            for stage in found.found.stages
        ],
        "layers": [vars(layer) for layer in found.found.layers()],
        "front": [{name: getattr(point, name) for name in front} for point in found.found.front],
        "ledger": dict(found.ledger.split),
        "lengths": [{**vars(row), "total": row.total} for row in found.lengths],
        "verdict": None if verdict is None else {**vars(verdict), "no_loss": verdict.no_loss},
    }


def _place(out: Path | None, name: str, lam: float | None, model: Path) -> Path:
    """Returns where the file is written: to ``--out``, or to a name that is free."""
    from netdial.core.storage.places import check_replaceable, free_path
    from netdial.models.compressed import KIND
    from netdial.models.kinds import may_replace

    if out is None:
        return free_path(Path(f"{name}.ndz" if lam is None else f"{name}-lam{lam:g}.ndz"))
    return check_replaceable(out, "a compressed network", may_replace(KIND), [model])


def _said(name: str, epoch: Epoch, epochs: int) -> None:
    """Says a line about an epoch of training."""
    if epoch.number == epochs:
        loss = float(epoch.terms.fit.mean())
        typer.echo(f"{name}: {epochs} epochs, fit {loss:.4g}, {epoch.seconds:.1f} s each", err=True)

"""``netdial export``: one member as an ordinary network, or the one network of a run or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netdial.cli.command import options_of
from netdial.cli.options import (
    AtRun,
    out_option,
)
from netdial.cli.places import member_of
from netdial.core.errors import unknown

if TYPE_CHECKING:
    from netdial.models.member import Exported
    from netdial.runs.run import Run

SUFFIXES = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}

FormatOption = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(SUFFIXES),
        help="Format of the file; else by the ending of --out, or safetensors.",
        show_default=False,
    ),
]


def format_of(asked: str | None, out: Path | None) -> str:
    """Returns the format to write: the one asked for, or the one that the file's name ends in.

    Raises:
        ConfigError: there is no such format.
    """
    if asked is not None and asked not in SUFFIXES:
        raise unknown("export format", asked, SUFFIXES)
    endings = {ending: name for name, ending in SUFFIXES.items()}
    return asked or endings.get("" if out is None else out.suffix, "safetensors")


def written_to(out: Path | None, otherwise: str, format: str, reads: list[Path]) -> Path:
    """Returns where a network is written: to ``--out``, unless something else is lost there, or to a name that is free.

    Raises:
        ConfigError: what is at ``--out`` is read, is no network of that format, or is a folder with the ending of a file.
        WriteError: nothing can be written there.
    """
    from netdial.core.storage.files import check_writable
    from netdial.core.storage.places import check_ending, check_replaceable, free_path
    from netdial.models.kinds import may_replace
    from netdial.models.member import check_place

    if out is None:
        return free_path(Path(otherwise), ".json" if format == "safetensors" else "")
    if format == "safetensors":
        check_ending(out, SUFFIXES.values())
    words = {"safetensors": "a network in safetensors", "onnx": "an ONNX graph"}
    what = words.get(format, "a program of torch.export")
    path = check_replaceable(out, what, may_replace(format), reads)
    check_writable(path, is_folder=format == "safetensors")
    if format == "safetensors":
        check_place(path)
    return path


@options_of(dict)
def export(
    at: AtRun,
    lam: Annotated[float | None, typer.Option(help="Complexity value.", show_default=False)] = None,
    format: FormatOption = None,
    out: Annotated[Path | None, out_option("File to write; else RUN-lamX in this folder")] = None,
) -> None:
    """Write one member of a run or a file as an ordinary network, or its one network: safetensors, torch.export or ONNX."""
    format = format_of(format, out)
    from netdial.models.kinds import is_model, stem_of

    if is_model(Path(at.run)):
        from netdial.jobs.analyses.exporting import export_file

        model = Path(at.run)
        name = stem_of(model) + ("" if lam is None else f"-lam{lam:g}")
        path = written_to(out, f"{name}{SUFFIXES[format]}", format, [model])
        _say(at, {"model": at.run}, export_file(model, lam, format, path))
        return
    from netdial.cli.output import console, file_size, print_json
    from netdial.jobs.opening import example_input, open_family, use_at
    from netdial.jobs.problem import describe_net, origin_of
    from netdial.jobs.ways import way_of
    from netdial.models.member import save_member
    from netdial.runs.curves import constants, headline, members, warning

    folder = at.open()
    if lam is None and not way_of(folder).makes_family:
        path = written_to(out, f"{folder.name}{SUFFIXES[format]}", format, [folder.path])
        whole = _whole(at, folder, format, path)
        _say(at, {"run": str(folder.path)}, whole)
        return
    lam = member_of(folder, lam)
    family = open_family(folder, at.data_dir, trust=at.trust)
    path = written_to(out, f"{folder.name}-lam{lam:g}{SUFFIXES[format]}", format, [folder.path])
    meta = {
        "run": folder.name,
        **origin_of(folder),
        **describe_net(folder),
        **use_at(folder, lam),
    }
    written = save_member(family, lam, path, format, example_input(folder), meta=meta)
    records = folder.records()
    rows = members(records)
    said = warning(lam, rows, headline(rows, folder.config, constants(records)))
    if at.as_json:
        print_json(
            {
                "run": str(folder.path),
                "lam": lam,
                "format": format,
                **_written(written),
                "warning": said,
            }
        )
        return
    console().print(
        f"{written.path}: {format}, {file_size(written.path, written.size_bytes)}, {family.n_params} parameters, λ = {lam:g}",
        markup=False,
        soft_wrap=True,
    )
    if said:
        console().print(f"warning: {said}", markup=False, soft_wrap=True)


def _whole(at: AtRun, folder: Run, format: str, path: Path) -> Exported:
    """Writes the one network of a run without a family: as the run holds it, or as a program."""
    from netdial.core.storage.files import write_bytes
    from netdial.jobs.opening import example_input, open_network
    from netdial.models.member import Exported
    from netdial.models.programs.writing import write_program

    net = open_network(folder, at.data_dir, trust=at.trust)
    if format != "safetensors":
        return Exported(path, format, *write_program(net, path, format, example_input(folder)))
    (held,) = folder.model_path.glob("*.safetensors")
    content = held.read_bytes()
    write_bytes(path, content)
    return Exported(path, format, len(content), 0.0)


def _say(at: AtRun, where: dict[str, str], made: Exported) -> None:
    """Prints what was written, and of which run or file."""
    from netdial.cli.output import console, file_size, print_json

    if at.as_json:
        print_json({**where, "format": made.format, **_written(made)})
    else:
        console().print(
            f"{made.path}: {made.format}, {file_size(made.path, made.size_bytes)}",
            markup=False,
            soft_wrap=True,
        )


def _written(made: Exported) -> dict[str, object]:
    """Returns what was written as plain values."""
    return {
        "path": str(made.path),
        "size_bytes": made.size_bytes,
        "max_difference": made.max_difference,
    }

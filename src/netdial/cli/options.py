"""Options: those that several commands share, and those made from the fields of a settings class."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from netdial.core.errors import CheckpointError, ConfigError, unknown

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Run folder, or the name of a run.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
RunsDirOption = Annotated[Path, typer.Option("--runs-dir", help="Folder that holds the runs.")]
DataDirOption = Annotated[
    str | None,
    typer.Option(
        "--data-dir", help="Folder of data files; otherwise NETDIAL_DATA.", show_default=False
    ),
]

TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust", help="Call the function package.module:function that the run names as its data."
    ),
]

LamsOption = Annotated[
    str | None,
    typer.Option("--lams", metavar="A,B,…", help="Complexity values.", show_default=False),
]
PointsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Or how many, evenly over the range.", show_default=False),
]
SplitOption = Annotated[str, typer.Option(metavar="valid|test", help="Part of the data.")]

PARTS = ("valid", "test")


def complexities(lams: str | None, points: int | None) -> list[float] | None:
    """Returns the complexity values of ``--lams``, None if they were not given.

    Raises:
        ConfigError: both options were given, or something is not a number.
    """
    if lams is not None and points is not None:
        raise ConfigError("--lams and --points exclude each other; give one of them")
    return numbers(lams, "--lams")


def check_split(split: str) -> None:
    """Refuses parts of the data that members are not evaluated on.

    Raises:
        ConfigError: it is neither ``valid`` nor ``test``.
    """
    if split not in PARTS:
        raise unknown("split", split, PARTS)


def run_folder(run: str, runs_dir: Path) -> Path:
    """Returns the folder of a run given by path or by name.

    Raises:
        CheckpointError: neither is there; the nearest run is named.
    """
    path = Path(run)
    if path.is_dir():
        return path
    if (runs_dir / run).is_dir():
        return runs_dir / run
    from netdial.runs.run import Run

    if len(path.parts) == 1:
        path = runs_dir / run
    Run.open(path)
    raise CheckpointError(f"{path}: no such run folder")


def numbers(text: str | None, option: str) -> list[float] | None:
    """Returns the numbers in ``0.01,1,100``, or None if nothing was given.

    Raises:
        ConfigError: something in it is not a number.
    """
    if text is None:
        return None
    try:
        return [float(piece) for piece in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{option} {text!r}: expected numbers joined by commas, for example 0.01,1,100"
        ) from None


def flags(settings: type[BaseModel], panel: str) -> list[inspect.Parameter]:
    """Returns one keyword parameter for each field: ``batch_size`` becomes ``--batch-size``.

    None is the default of all, so that what was not given can come from elsewhere; the field's default is in the help.
    """
    parameters = []
    for name, field in settings.model_fields.items():
        kind, metavar = _kind(field.annotation)
        default = field.default
        shown = "" if default in ((), None, False) else f" [default: {_shown(default)}]"
        option = typer.Option(
            f"--{name.replace('_', '-')}",
            help=f"{told(field)}{shown}",
            metavar=metavar,
            show_default=False,
            rich_help_panel=panel,
            min=next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), None),
        )
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )
        )
    return parameters


def values(settings: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that were given on the command line, lists as tuples."""
    from netdial.config import make

    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        annotation = settings.model_fields[name].annotation
        if _holds_mapping(annotation):
            found[name] = getattr(make(settings, {name: value}), name)
        elif get_origin(annotation) is not tuple:
            found[name] = value
        elif get_args(annotation)[0] is float:
            found[name] = tuple(numbers(value, f"--{name.replace('_', '-')}") or ())
        else:
            found[name] = tuple(piece.strip() for piece in value.split(","))
    return found


def with_flags(command: Callable[..., None], extra: list[inspect.Parameter]) -> Callable[..., None]:
    """Returns ``command`` with further parameters in place of its ``**settings``."""
    hints = typing.get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(command).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]

    def run(**given: Any) -> None:
        command(**given)

    parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *extra]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _kind(annotation: Any) -> tuple[type, str | None]:
    """Returns what the command line parses a field as, and the word that stands for its value."""
    origin = get_origin(annotation)
    if origin is Literal:
        return str, "|".join(str(choice) for choice in get_args(annotation))
    if origin is tuple:
        return str, "A,B,…"
    if _holds_mapping(annotation):
        return str, "balanced|A=1,B=2,…"
    if origin in (types.UnionType, typing.Union):
        return _kind(next(arg for arg in get_args(annotation) if arg is not type(None)))
    return annotation, None


def told(field: FieldInfo) -> str:
    """Returns what a field means, with the place of the names that it may have, for ``help.with_names``."""
    extra = field.json_schema_extra
    listed = f": {{{extra['names']}}}" if isinstance(extra, dict) and "names" in extra else ""
    return f"{field.description}{listed}"


def _holds_mapping(annotation: Any) -> bool:
    """Returns whether a field may hold a mapping, which is written as text on the command line."""
    return any(get_origin(choice) is dict for choice in get_args(annotation))


def _shown(default: Any) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)

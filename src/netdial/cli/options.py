"""Options: those that several commands share, and those made from the fields of a settings class."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer

from netdial.core.errors import CheckpointError, ConfigError, unknown

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from netdial.data import Splits
    from netdial.family import Family
    from netdial.runs.run import Run

Settings = TypeVar("Settings")

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Run folder, or the name of a run.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
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


@dataclass(frozen=True)
class AtRun:
    """The run that a command is about, where its data are, and how to answer: arguments of every such command."""

    run: RunArgument
    data_dir: DataDirOption = None
    runs_dir: RunsDirOption = Path("runs")
    trust: TrustOption = False
    quiet: QuietOption = False
    as_json: JsonOption = False

    def open(self) -> Run:
        """Returns the run.

        Raises:
            CheckpointError: there is none.
        """
        from netdial.runs.run import Run

        return Run.open(run_folder(self.run, self.runs_dir))

    def family(self, folder: Run, lams: list[float] | None) -> tuple[Family, Splits]:
        """Returns the family of the run and its data, having checked that it has members at these λ."""
        from netdial.jobs.opening import open_run

        return open_run(folder, self.data_dir, lams, trust=self.trust)


def out_option(otherwise: str) -> Any:
    """Returns the option ``--out``, which says what is written where it is not given."""
    return typer.Option("--out", "-o", help=f"{otherwise}.", show_default=False)


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
        CheckpointError: neither is there, and the nearest run is named; or it is a file.
    """
    path = Path(run)
    if path.is_dir():
        return path
    if path.is_file():
        raise CheckpointError(
            f"{path}: is a file, and this command is about a run (netdial list); netdial inspect, predict, export, slim, "
            "compress and serve take a model in a file"
        )
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


def fields(settings: type) -> dict[str, FieldInfo]:
    """Returns the fields that are options: all of a pydantic class, and those of a dataclass that have a description.

    A field of a dataclass is described by its annotation, ``Annotated[int, Field(ge=1, description="passes over the data")]``.
    """
    if not is_dataclass(settings):
        found: dict[str, FieldInfo] = settings.model_fields  # type: ignore[attr-defined]
        return found
    from pydantic.fields import FieldInfo

    hints = typing.get_type_hints(settings, include_extras=True)
    named = {f.name: hints[f.name] for f in dataclass_fields(settings)}
    described = {n: hint for n, hint in named.items() if get_origin(hint) is Annotated}
    return {
        name: FieldInfo.from_annotated_attribute(hint, getattr(settings, name))
        for name, hint in described.items()
    }


def flags(settings: type, panel: str) -> list[inspect.Parameter]:
    """Returns one keyword parameter for each field: ``batch_size`` becomes ``--batch-size``.

    None is the default of all, so that what was not given can come from elsewhere; the field's default is in the help, and
    so are the names that it may have. What is on by default can be turned off, ``--no-fold``.
    """
    parameters = []
    for name, field in fields(settings).items():
        kind, metavar = _kind(field.annotation)
        default = field.default
        shown = "" if default in ((), {}, None, False) else f" [default: {_shown(default)}]"
        option = typer.Option(
            f"{flag(name)}/--no-{flag(name)[2:]}" if default is True else flag(name),
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


def flag(name: str) -> str:
    """Returns the flag of a field.

    >>> flag("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def fraction(text: str | None) -> float | str | None:
    """Returns a fraction of the rows as a number, and everything else as it is: the path of a table."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def values(settings: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that were given on the command line, lists as tuples."""
    from netdial.data.tables.options import listed
    from netdial.train.config import make

    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        annotation = fields(settings)[name].annotation
        if _holds_mapping(annotation):
            found[name] = getattr(make(settings, {name: value}), name)
        elif get_origin(annotation) is not tuple:
            found[name] = value
        elif get_args(annotation)[0] is float:
            found[name] = tuple(numbers(value, flag(name)) or ())
        else:
            found[name] = tuple(listed(value))
    return found


def read(settings: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Returns the settings that were given on the command line; the others have their defaults.

    Args:
        settings: a dataclass.
        given: the options of the command by name, those of other settings among them; None where nothing was given.

    Raises:
        ConfigError: a value is not allowed; the flag and what is allowed are named.
    """
    known = fields(settings)
    chosen = values(settings, {name: given[name] for name in known})
    for name, value in chosen.items():
        _check(name, value, known[name])
    return settings(**chosen)


def _check(name: str, value: Any, field: FieldInfo) -> None:
    from pydantic import TypeAdapter, ValidationError

    from netdial.core.registry import names_at

    choices = _choices(field.annotation)
    if choices and value not in choices:
        raise unknown(name, value, choices)
    names = [known for place in _places(field) for known in names_at(place)]
    for one in value if isinstance(value, tuple) else (value,):
        if names and one not in names:
            raise unknown(name, one, names)
    bounds = field.metadata
    allowed: Any = Annotated[field.annotation, *bounds] if bounds else field.annotation
    try:
        TypeAdapter(allowed).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{flag(name)} {value}: {error.errors()[0]['msg'].lower()}") from None


def told(field: FieldInfo) -> str:
    """Returns what a field means, with the places of the names that it may have, for ``help.with_names``."""
    places = ", ".join(f"{{{place}}}" for place in _places(field))
    return f"{field.description}{': ' if places else ''}{places}"


def _places(field: FieldInfo) -> tuple[str, ...]:
    """Returns where the names that a field may have are registered, each as ``package.module:NAME``."""
    extra = field.json_schema_extra
    names: Any = extra.get("names", ()) if isinstance(extra, dict) else ()
    return (names,) if isinstance(names, str) else tuple(names)


def taking(
    command: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """Returns ``command``, which takes any options by name, as one that says which."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _kind(annotation: Any) -> tuple[type, str | None]:
    """Returns what the command line parses a field as, and the word that stands for its value."""
    origin = get_origin(annotation)
    if origin is Literal:
        return str, "|".join(str(choice) for choice in get_args(annotation))
    if origin is tuple:
        return str, "A,B,…"
    if origin is dict:
        return str, "A=NAME,…"
    if _holds_mapping(annotation):
        return str, "balanced|A=1,B=2,…"
    if origin in (types.UnionType, typing.Union):
        return _kind(next(arg for arg in get_args(annotation) if arg is not type(None)))
    return annotation, None


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Returns the values that a field may have, () for any."""
    found = [one for one in (annotation, *get_args(annotation)) if get_origin(one) is Literal]
    return get_args(found[0]) if found else ()


def _holds_mapping(annotation: Any) -> bool:
    """Returns whether a field may hold a mapping, which is written as text on the command line."""
    return any(get_origin(choice) is dict for choice in (annotation, *get_args(annotation)))


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(_shown(one) for one in default)
    return f"{default:g}" if isinstance(default, float) else str(default)

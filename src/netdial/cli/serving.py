"""``netdial serve``: the page of a run, and predictions with a λ for each request, on a port of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netdial.cli.options import DataDirOption, JsonOption, RunsDirOption, TrustOption
from netdial.cli.places import model_place

if TYPE_CHECKING:
    from netdial.data.tables.schema import TableSchema
    from netdial.serve.app import Served, ServerLimits

_VALUES = 50
"""Values of a category that a form offers."""


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run, by name or folder, or a model file that export or nd.save wrote.",
            show_default=False,
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than this machine see it at 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8631,
    memory: Annotated[
        float, typer.Option(min=1, help="MB that members in memory may take up together.")
    ] = 512,
    body: Annotated[float, typer.Option(min=0.001, help="MB that a request may have.")] = 8,
    rows: Annotated[int, typer.Option(min=1, help="Rows that a request may have.")] = 10_000,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Requests worked on at a time.")] = 2,
    data_dir: DataDirOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    trust: TrustOption = False,
    as_json: JsonOption = False,
) -> None:
    """Serve a model over HTTP: its page, and POST /predict with a λ in every request; stop it with Ctrl-C."""
    from netdial.core.errors import missing_extra

    try:
        from netdial.serve.app import ServerLimits, application
        from netdial.serve.running import bound, run
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "uvicorn", "starlette"):
            raise
        raise missing_extra("netdial serve", "serve") from None
    from netdial.cli.output import console, print_json

    limits = ServerLimits(round(body * 1e6), rows, round(memory * 1e6), threads)
    listening = bound(host, port)
    try:
        served = _served(model_place(model, runs_dir), limits, data_dir, trust=trust)
        local = host in ("127.0.0.1", "localhost", "::1")
        app = application(served, limits, ["127.0.0.1", "localhost", "[::1]"] if local else None)
    except BaseException:
        listening.close()
        raise

    def started(address: str) -> None:
        if as_json:
            print_json({"model": served.name, "address": address})
        else:
            console().print(
                f"{served.name}: {_addresses(address, served)}; stop with Ctrl-C",
                markup=False,
                soft_wrap=True,
            )

    cut = run(app, listening, started)
    if not as_json:
        end = f"{cut} requests under way were cut off" if cut else "no request was cut off"
        console().print(f"{served.name}: stopped; {end}", markup=False, soft_wrap=True)


def _addresses(address: str, served: Served) -> str:
    """Returns where a page and predictions are; a model in a file has no page."""
    page = f"{address} (page), " if served.page is not None else ""
    return f"{page}{address}/predict"


def _served(path: Path, limits: ServerLimits, data_dir: str | None, *, trust: bool) -> Served:
    """Returns what is served, opened and checked.

    Raises:
        ConfigError: the model does not say how rows become inputs.
        CheckpointError: it is damaged, unfinished, or not there.
    """
    import torch

    from netdial.core.errors import ConfigError
    from netdial.models.door import open_model
    from netdial.models.use import Use
    from netdial.runs.run import Run
    from netdial.serve.app import Served
    from netdial.serve.members import KeptMembers

    is_run = any((path / name).exists() for name in ("records.jsonl", "DONE"))
    run = Run.open(path) if is_run else None
    loaded, more = open_model(path) if run is None else _of_run(run, data_dir, trust=trust), {}
    use: Use | None = getattr(loaded, "use", None)
    if use is None:
        raise ConfigError(
            f"{path}: does not say how rows become inputs; fit it again, or save it with nd.save(…, data=…)"
        )
    if run is not None:
        from netdial.jobs.reports import report_of

        live = {"columns": [] if use.table is None else _form(use.table)}
        first = [report_of(run, live)]  # what is damaged is refused now, not when somebody asks
        more = {
            "page": lambda: first.pop() if first else report_of(run, live),
            "shape": tuple(run.config["input_shape"]) if use.pixels is None else None,
            "dtype": getattr(torch, run.config["input_type"]),
        }
    return Served(path.name, KeptMembers(loaded, use, limits.memory_bytes), use, **more)


def _of_run(run: Any, data_dir: str | None, *, trust: bool) -> Any:
    """Returns the model of a run, ready to predict."""
    from netdial.core.storage.container import read_plain
    from netdial.jobs.opening import open_family
    from netdial.jobs.ways import way_of
    from netdial.models.door import open_model
    from netdial.models.ready import ready
    from netdial.models.use import read_use
    from netdial.runs.schemas.done import FAMILY_FILE

    if not way_of(run).makes_family:
        return open_model(run.path)
    family = open_family(run, data_dir, trust=trust)
    file = run.model_path / FAMILY_FILE
    return ready(family, read_use(file, read_plain(file)["meta"]))


def _form(table: TableSchema) -> list[dict[str, Any]]:
    """Returns what a form asks for: columns with a value that training showed."""
    return [
        {
            "column": one.column,
            "kind": one.kind,
            "example": one.example,
            "values": list(one.values[:_VALUES]) if one.kind == "category" else [],
        }
        for one in table.inputs
    ]

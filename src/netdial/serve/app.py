"""The application: a page, predictions, what is served, and whether it is well. Imports FastAPI, from the extra ``serve``.

Every request for predictions is worked on by one thread from beginning to end, with a network that no other request changes, so
requests with different λ cannot mix. That thread is one of a pool, or, where the work is shorter than the way there and back,
the one that reads requests. What a caller got wrong is answered with 4xx and a sentence; sizes are bounded before anything is
parsed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import HTMLResponse, Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException as StarletteError
from starlette.requests import ClientDisconnect

from netdial.core.errors import NetdialError
from netdial.models.predict import member_columns
from netdial.models.use import Use
from netdial.serve.bodies import SMALL, Refusal, RefusedBody, said, whole_body
from netdial.serve.hosts import KnownHosts
from netdial.serve.members import KeptMembers, Ready
from netdial.serve.requests import PredictRequest, asked, columns_of, inputs_of

_DRAIN = 256_000_000
"""Bytes that are read and thrown away, so that a caller can read why a body was refused."""
_ARRIVING = 64
"""Large bodies that arrive at the same time; more wait their turn."""
_HANDING_OVER = 0.001
"""Seconds that a small request may take where it arrives."""
_EXAMPLE: Mapping[str, Any] = {"lam": 0.1, "rows": [{"column": 1.5}]}


@dataclass(frozen=True)
class ServerLimits:
    """What a server takes.

    Attributes:
        body_bytes: largest body of a request.
        rows: most rows of a request.
        memory_bytes: what members in memory may take up together.
        threads: requests worked on at the same time.
        seconds: time that a body may take to arrive.
    """

    body_bytes: int = 8_000_000
    rows: int = 10_000
    memory_bytes: int = 512_000_000
    threads: int = 2
    seconds: float = 30.0


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        name: its name.
        members: its networks by λ.
        use: how it is used.
        page: returns the page as HTML; None if there is none.
        shape: shape of one row, where rows are arrays of numbers and not pixels.
        dtype: of such rows; numbers with a fraction are read in the type of the network.
        about: further plain values for ``/models``.
    """

    name: str
    members: KeptMembers
    use: Use
    page: Callable[[], str] | None = None
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype = torch.float32
    about: Mapping[str, Any] = field(default_factory=dict)


def _load(served: Served) -> None:
    """Loads what pages and tables need, so that no two requests load a library at the same time, which some do not bear."""
    if served.use.table is not None:
        import_module("pandas")
    if served.page is not None:
        with suppress(NetdialError):  # said where the page is asked for
            served.page()


def application(served: Served, limits: ServerLimits, hosts: list[str] | None = None) -> FastAPI:
    """Returns the application.

    Args:
        served: what is served.
        limits: what it takes.
        hosts: names under which it may be asked for, which keeps pages of other sites out; None allows all.
    """
    pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="netdial")
    arriving, room = asyncio.Semaphore(_ARRIVING), asyncio.Semaphore(4 * limits.threads)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.get_running_loop().run_in_executor(pool, _load, served)
        yield
        pool.shutdown(wait=True, cancel_futures=True)

    app = FastAPI(title=f"netdial: {served.name}", docs_url=None, redoc_url=None, lifespan=life)
    if hosts is not None:
        app.add_middleware(KnownHosts, names=hosts)
    _say_errors(app)

    async def predict(request: Request) -> Response:
        try:
            return await answered(request)
        except (
            asyncio.CancelledError
        ):  # it was asked to stop, and this took longer than there is patience
            return said(503, "Stopped", "the server stops; ask again when it is back")

    async def answered(request: Request) -> Response:
        try:
            body = await whole_body(request, limits.body_bytes, limits.seconds, arriving)
        except RefusedBody as error:
            return Refusal(error.code, str(error), max(_DRAIN, limits.body_bytes))
        except ClientDisconnect:  # nobody is there to be answered
            return Response(status_code=400)
        if len(body) <= SMALL and (found := at_once(served, limits, body)) is not None:
            return Response(found, media_type="application/json")
        async with room:
            work = asyncio.get_running_loop().run_in_executor(pool, written, served, limits, body)
            return Response(await work, media_type="application/json")

    # the first route, as those before it cost every request; past what FastAPI does with parameters: there are none
    app.add_route("/predict", predict, methods=["POST"])

    @app.head("/", include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, summary="The page of the run.")
    async def page() -> Response:
        if served.page is None:
            raise HTTPException(
                404, "there is no page of this model; see /models and /openapi.json"
            )
        html = await asyncio.get_running_loop().run_in_executor(pool, served.page)
        return HTMLResponse(html, headers={"X-Content-Type-Options": "nosniff"})

    @app.head("/health", include_in_schema=False)
    @app.get("/health", summary="Whether the server is well.")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "members": len(served.members.kept), "bytes": served.members.bytes}

    @app.head("/models", include_in_schema=False)
    @app.get("/models", summary="What is served: range of λ, columns, classes, limits.")
    async def models() -> dict[str, Any]:
        return {"models": [described(served, limits)]}

    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Adds predictions to what OpenAPI says."""
    whole = app.openapi()
    content = {"schema": PredictRequest.model_json_schema(), "example": _EXAMPLE}
    whole["paths"]["/predict"] = {
        "post": {
            "summary": "Predictions for rows by the member at λ.",
            "requestBody": {"required": True, "content": {"application/json": content}},
            "responses": {
                "200": {"description": "lam, predictions (one object for each row), remarks"},
                "400": {"description": "what was wrong, in a sentence"},
                "408": {"description": "the body did not arrive in time"},
                "413": {"description": "the body is too large"},
                "503": {"description": "the server stops"},
            },
        }
    }


def written(served: Served, limits: ServerLimits, body: bytes) -> bytes:
    """Returns the predictions that a body asks for, as JSON.

    Raises:
        NetdialError: it asks for something that is not there, or cannot be read; says what is expected.
    """
    wanted = asked(body, limits.rows)
    one = served.members.at(wanted.lam)
    started = time.thread_time()  # other threads may run in between
    said = _predicted(served, wanted, one)
    one.pace.took((time.thread_time() - started) / len(wanted.rows))
    return said


def at_once(served: Served, limits: ServerLimits, body: bytes) -> bytes | None:
    """Returns what ``written`` does where that takes less than handing it to a thread and back would; else None.

    The member must be there, and must have been so quick before.
    """
    wanted = asked(body, limits.rows)
    one = served.members.waiting(wanted.lam)
    if one is None or one.pace.seconds * len(wanted.rows) > _HANDING_OVER:
        return None
    started = time.perf_counter()
    said = _predicted(served, wanted, one)
    one.pace.took((time.perf_counter() - started) / len(wanted.rows))
    return said


def _predicted(served: Served, wanted: PredictRequest, one: Ready) -> bytes:
    """Returns predictions as JSON; numbers that do not exist are null."""
    if one.use.table is not None:
        rows: Any = columns_of(wanted.rows, one.use.table.needed)
    else:
        dtype = one.like.dtype.to_real() if served.dtype.is_floating_point else served.dtype
        rows = inputs_of(wanted.rows, one.use, served.shape, dtype)
    columns, remarks = member_columns(one.net, one.use, one.task, rows, wanted.level, one.like)
    found = {
        "lam": one.use.lam,
        "predictions": columns.by_row(),
        "remarks": remarks,
    }
    return to_json(found, inf_nan_mode="null")


def described(served: Served, limits: ServerLimits) -> dict[str, Any]:
    """Returns what is served, as plain values."""
    use, table = served.use, served.use.table
    found = served.members.range
    return {
        "name": served.name,
        "lam": None if found is None else {"lo": found[0], "hi": found[1], "default": use.lam},
        "task": use.task.get("name"),
        "classes": list(use.classes),
        "columns": []
        if table is None
        else [{"column": c.column, "kind": c.kind, "how": c.describe()} for c in table.needed],
        "targets": [] if table is None else list(table.target.columns),
        "image": None if use.pixels is None else list(use.pixels.image),
        "shape": None if served.shape is None or table is not None else list(served.shape),
        "in_memory": served.members.kept,
        "limits": {"body_bytes": limits.body_bytes, "rows": limits.rows},
        **served.about,
    }


def _say_errors(app: FastAPI) -> None:
    """Lets every refusal be an object with a sentence."""

    @app.exception_handler(NetdialError)
    async def refused(request: Request, error: NetdialError) -> Response:
        return said(400, type(error).__name__, " ".join(str(error).split()))

    @app.exception_handler(StarletteError)
    async def not_there(request: Request, error: StarletteError) -> Response:
        message = str(error.detail)
        if error.status_code in (404, 405) and message in ("Not Found", "Method Not Allowed"):
            message += ": there are GET /, /health, /models, /openapi.json and POST /predict"
        return said(error.status_code, "HTTPException", message)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return said(500, type(error).__name__, "the server failed on this; its log says where")

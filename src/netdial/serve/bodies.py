"""Bodies of requests: read up to a limit, and refused as soon as that is passed, whatever is still to come."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

SMALL = 64_000
"""Bytes of a body that may arrive beside any number of others."""
_PATIENCE = 5.0
"""Seconds for which what is left of a refused body is read."""


class RefusedBody(Exception):
    """A body is not read, or not to its end.

    Attributes:
        code: status of the answer.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def said(code: int, kind: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Returns a refusal: an object with a sentence."""
    return JSONResponse({"error": {"type": kind, "message": message}}, code, headers)


async def whole_body(
    request: Request, most: int, seconds: float, places: asyncio.Semaphore
) -> bytes:
    """Returns the body of a request.

    Small bodies arrive beside any number of others, so nobody who sends slowly, or never, holds them up.

    Args:
        request: the request.
        most: bytes that are read.
        seconds: time that a body may take, without what it waits for its place.
        places: those of larger bodies that arrive at the same time.

    Raises:
        RefusedBody: it says that it has more than so many bytes, more have come, or it does not end within so many seconds.
        ClientDisconnect: the caller has hung up.
    """
    large = f"the body is larger than the {most} bytes that are read; send fewer rows at a time"
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > most:
        raise RefusedBody(413, large)
    pieces: list[bytes] = []
    came, more, has_place = 0, True, False
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(seconds) as end:
            while more:  # what request.stream does, without a generator, which each small request would pay for
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                pieces.append(message.get("body", b""))
                more = message.get("more_body", False)
                came += len(pieces[-1])
                if came > most:
                    raise RefusedBody(413, large)
                if came > SMALL and not has_place:
                    left = (end.when() or 0.0) - clock()
                    end.reschedule(None)
                    await places.acquire()
                    has_place = True
                    end.reschedule(clock() + left)
    except TimeoutError:
        raise RefusedBody(
            408, f"the body has not ended after {seconds:g} s; send it at once"
        ) from None
    finally:
        if has_place:
            places.release()
    return b"".join(pieces)


class Refusal(Response):
    """An answer that is sent whole before the body of its request has ended.

    What still comes is then read and thrown away up to a limit of bytes and time: most callers read an answer only once they
    have sent everything, and one who is cut off while sending may lose it.

    Args:
        code: status of the answer.
        message: what is wrong, in a sentence.
        most: bytes that are thrown away.
    """

    def __init__(self, code: int, message: str, most: int) -> None:
        super().__init__(status_code=code)
        self._answer = said(code, "HTTPException", message, {"Connection": "close"})
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, reads on, and ends the answer."""

        async def open_ended(message: Any) -> None:
            more = {"more_body": True} if message["type"] == "http.response.body" else {}
            await send({**message, **more})

        await self._answer(scope, receive, open_ended)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._read_on(receive), _PATIENCE)
        await send({"type": "http.response.body", "body": b""})

    async def _read_on(self, receive: Receive) -> None:
        left = self._most
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return

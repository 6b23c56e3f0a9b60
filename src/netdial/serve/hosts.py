"""Names under which a server may be asked for: pages of other sites that point at this machine are kept out."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from netdial.serve.bodies import said


class KnownHosts:
    """An application that is reached by some names alone; who asks by another is told which, with 400.

    Args:
        app: the application.
        names: the names, without a port; addresses of IPv6 in brackets.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app, self._names = app, tuple(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] != "http" or name_of(given := Headers(scope=scope).get("host", "")) in (
            self._names
        ):
            await self._app(scope, receive, send)
            return
        asked = f"asked for as {given[:80]!r}" if given else "asked for without a name"
        message = (
            f"{asked}, but this server answers to {', '.join(self._names)} alone; take one of these"
        )
        await said(400, "HTTPException", message)(scope, receive, send)


def name_of(host: str) -> str:
    """Returns the name in a header ``Host``, without its port.

    >>> name_of("LocalHost:8000"), name_of("[::1]:8000"), name_of("[::1]")
    ('localhost', '[::1]', '[::1]')
    """
    name, _, port = host.lower().rpartition(":")
    return name if port.isdecimal() else host.lower()

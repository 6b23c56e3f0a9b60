"""Running a server: on a port of this machine, until it is told to stop, letting requests under way end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from netdial.core.errors import ConfigError

GRACE = 10
"""Seconds that requests under way have to end."""


def bound(host: str, port: int) -> socket.socket:
    """Returns a socket that listens on a port; port 0 takes a free one.

    Raises:
        ConfigError: the port is in use or may not be taken, or this machine has no such address.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio sends without delay only on sockets that say that they are TCP; others wait 40 ms for an acknowledgement
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, port))
            found.listen(128)
        except OSError:
            found.close()
            raise
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        if isinstance(error, socket.gaierror) or getattr(error, "errno", 0) == errno.EADDRNOTAVAIL:
            raise ConfigError(
                f"host {host}: {why.lower()}; give an address of this machine (--host), 127.0.0.1 or 0.0.0.0"
            ) from None
        raise ConfigError(
            f"port {port} on {host}: {why.lower()}; take another one (--port), or --port 0 for a free one"
        ) from None
    return found


class Server(uvicorn.Server):
    """A server whose end by a signal is an ordinary end.

    Attributes:
        cut: requests that had not ended when it stopped.
        ready: called once it answers, and stops gracefully.
    """

    cut = 0
    ready: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and says so."""
        await super().startup(sockets)
        if self.ready is not None and not self.should_exit:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets requests under way end, for as long as there is patience, and counts those that did not."""
        under_way = set(self.server_state.tasks)
        await super().shutdown(sockets)
        self.cut = sum(task.cancelling() > 0 or not task.done() for task in under_way)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stops gracefully at the first SIGINT or SIGTERM."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        with contextlib.suppress(
            NotImplementedError, RuntimeError
        ):  # elsewhere than in a main thread
            for number in numbers:
                loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            with contextlib.suppress(NotImplementedError, RuntimeError):
                for number in numbers:
                    loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def server_of(app: Any) -> Server:
    """Returns a server for an application, quiet but for faults."""
    return Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
    )


def run(app: Any, listening: socket.socket, started: Callable[[str], None]) -> int:
    """Serves until SIGINT or SIGTERM, and returns how many requests did not end in time and were cut off.

    Args:
        app: the application.
        listening: a bound socket.
        started: told the address.
    """
    host, port = listening.getsockname()[:2]
    server = server_of(app)
    server.ready = lambda: started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    server.run(sockets=[listening])
    return server.cut

"""A server in a process of its own, and clients of it: what serve-rate, serve-swap and serve-soak share.

``python -m benchmarks.serving._serving mlp:50`` serves an untrained family with members that differ, and beside it
``POST /bare``: the module of one member under the same server, JSON in and JSON out, with nothing of netdial;
``POST /bare-quick``, the same with the JSON parser and writer that netdial takes; and ``POST /bare-at-once``, that without a
thread, as netdial answers too.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import netdial as nd
from netdial.family.config import FamilyConfig
from netdial.nets import build

LO, HI, IMAGE, CLASSES = 1e-3, 1e2, (1, 28, 28), 10


def family(net: str) -> nd.Family:
    """Returns a family of this network on images of MNIST's shape; members differ, as after training."""
    shape = (784,) if net.startswith("mlp") else IMAGE
    made = nd.Family(
        build(net, input_shape=shape, n_outputs=CLASSES), FamilyConfig(lo=LO, hi=HI, objective="l2")
    )
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for table in made.parameters():
            table.add_(0.05 * torch.randn(table.shape, generator=source))
    return made.eval()


def use(net: str) -> Any:
    """Returns how it is used: pixels of MNIST."""
    from netdial.models.use import Pixels, Use

    flat = (784,) if net.startswith("mlp") else IMAGE
    pixels = Pixels(image=IMAGE, inputs=flat, shift=(33.3,), scale=(1 / 78.6,))
    names = tuple(str(k) for k in range(CLASSES))
    return Use(task={"name": "classification"}, classes=names, pixels=pixels)


def images(count: int, seed: int = 0) -> list[list[list[int]]]:
    """Returns random images, rows of pixels from 0 to 255."""
    source = torch.Generator().manual_seed(seed)
    found: list[list[list[int]]] = torch.randint(0, 256, (count, 28, 28), generator=source).tolist()
    return found


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._port, self._link = port, http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Returns status and answer; a connection that the server closed is opened anew for the next request."""
        try:
            self._link.request("POST", path, body, {"Content-Type": "application/json"})
            answer = self._link.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self._link.close()
            self._link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            raise

    def close(self) -> None:
        """Closes the connection."""
        self._link.close()


@contextmanager
def server(net: str, *options: str) -> Iterator[tuple[int, int]]:
    """Yields port and process id of a server of its own."""
    command = [sys.executable, "-m", "benchmarks.serving._serving", net, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().rpartition(":")[2]), process.pid
        finally:
            process.terminate()


def main(net: str, memory_mb: str = "512") -> None:
    """Serves until it is told to stop."""
    import asyncio

    from fastapi import Request
    from fastapi.responses import JSONResponse, Response
    from pydantic_core import from_json, to_json
    from starlette.routing import Route

    from netdial.serve.app import Served, ServerLimits, application
    from netdial.serve.members import KeptMembers
    from netdial.serve.running import bound, run

    torch.set_num_threads(1)
    limits = ServerLimits(memory_bytes=round(float(memory_mb) * 1e6))
    made, how = family(net), use(net)
    app = application(Served(net, KeptMembers(made, how, limits.memory_bytes), how), limits)
    plain, pixels = made.export(1.0), how.pixels

    def answer(rows: Any) -> list[list[float]]:
        x = torch.tensor(rows, dtype=torch.uint8).float()
        x = ((x - pixels.shift[0]) * pixels.scale[0]).reshape(len(x), *pixels.inputs)
        with torch.no_grad():
            found: list[list[float]] = plain(x).softmax(1).tolist()
        return found

    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(limits.threads)

    async def bare(request: Request) -> JSONResponse:
        body = await request.body()
        work = asyncio.get_running_loop().run_in_executor(
            pool, lambda: answer(json.loads(body)["rows"])
        )
        return JSONResponse(await work)

    async def quick(request: Request) -> Response:
        body = await request.body()
        work = asyncio.get_running_loop().run_in_executor(
            pool, lambda: to_json(answer(from_json(body)["rows"]))
        )
        return Response(await work, media_type="application/json")

    async def at_once(request: Request) -> Response:
        found = to_json(answer(from_json(await request.body())["rows"]))
        return Response(found, media_type="application/json")

    rivals = {"/bare": bare, "/bare-quick": quick, "/bare-at-once": at_once}
    for path, one in rivals.items():  # looked at before those of netdial
        app.router.routes.insert(0, Route(path, one, methods=["POST"]))
    run(app, bound("127.0.0.1", 0), lambda address: print(address, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])

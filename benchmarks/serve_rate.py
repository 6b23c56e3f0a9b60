"""Requests per second at mixed λ, 8 clients, MNIST MLP, over those of the bare module under the same server."""

from __future__ import annotations

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks._serving import HI, LO, Client, images, server
from benchmarks.result import Result

_CLIENTS, _LAMS = 8, 16


def measure(*, quick: bool = False) -> Result:
    """Returns the median ratio over short rounds in which the two take turns, and the ratio of the server's processor times."""
    rounds, each = (16, 15) if quick else (80, 25)
    lams = [LO * (HI / LO) ** (k / (_LAMS - 1)) for k in range(_LAMS)]
    row = images(1)
    bodies = [json.dumps({"lam": lam, "rows": row}).encode() for lam in lams]
    with server("mlp:50") as (port, pid), ThreadPoolExecutor(_CLIENTS) as pool:
        clients = [Client(port) for _ in range(_CLIENTS)]
        for body in bodies:
            clients[0].post("/predict", body)

        def rate(path: str) -> tuple[float, float]:
            """Returns requests per second, and requests per second of the server's processor time."""

            def one(client: Client) -> None:
                chance = random.Random(id(client))
                for _ in range(each):
                    code, _ = client.post(path, chance.choice(bodies))
                    assert code == 200

            start, worked = time.perf_counter(), processor_seconds(pid)
            list(pool.map(one, clients))
            count = _CLIENTS * each
            taken = max(processor_seconds(pid) - worked, 0.01)
            return count / (time.perf_counter() - start), count / taken

        pairs = [(rate("/predict"), rate("/bare")) for _ in range(rounds)][1:]
        for client in clients:
            client.close()
    ratios = [mine[0] / bare[0] for mine, bare in pairs]
    worked = [sum(1 / pair[k][1] for pair in pairs) for k in (0, 1)]
    return Result(
        "serve-rate",
        {"requests per second": median(ratios), "by processor time": worked[1] / worked[0]},
        "ratio",
        "higher",
        seeds=[0],
        quick=quick,
        baseline="the module of one member, JSON in and out, in the same threads of the same server: "
        f"{median(bare[0] for _, bare in pairs):.0f} requests/s",
        floor="1: what a server without a dial would do",
        spread={"requests per second": (min(ratios), max(ratios))},
    )


def processor_seconds(pid: int) -> float:
    """Returns the processor time that a process has taken (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

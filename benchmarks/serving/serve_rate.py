"""Requests per second at mixed λ, 8 clients, MNIST MLP, over those of the bare module under the same server."""

from __future__ import annotations

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.common.result import Result
from benchmarks.serving._serving import HI, LO, Client, images, server

_CLIENTS, _LAMS = 8, 16
_PATHS = ("/predict", "/bare", "/bare-quick", "/bare-at-once")
_OVER = (
    "over the bare module",
    "over it with the same JSON parser",
    "over that without a thread",
)


def measure(*, quick: bool = False) -> Result:
    """Returns the median ratios over short rounds in which the four take turns, and ratios of the server's processor times."""
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

        turns = [tuple(rate(path) for path in _PATHS) for _ in range(rounds)][1:]
        for client in clients:
            client.close()
    bare = {
        words: [
            mine[0] / turn[k][0] for mine, turn in zip([t[0] for t in turns], turns, strict=True)
        ]
        for k, words in enumerate(_OVER, start=1)
    }
    spent = [sum(1 / turn[k][1] for turn in turns) for k in range(len(_PATHS))]
    return Result(
        "serve-rate",
        {
            **{words: median(ratios) for words, ratios in bare.items()},
            **{
                f"{words}, by processor time": spent[k] / spent[0]
                for k, words in enumerate(_OVER, start=1)
            },
        },
        "ratio",
        "higher",
        seeds=[0],
        quick=quick,
        baseline="the module of one member, JSON in and out, in the same threads of the same server: "
        f"{median(turn[1][0] for turn in turns):.0f} requests/s",
        floor="1: what a server without a dial would do",
        spread={words: (min(ratios), max(ratios)) for words, ratios in bare.items()},
    )


def processor_seconds(pid: int) -> float:
    """Returns the processor time that a process has taken (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

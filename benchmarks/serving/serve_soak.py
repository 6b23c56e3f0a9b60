"""Wrong answers, 5xx and growth of memory of a server under valid, malformed and huge requests at once."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.result import Result
from benchmarks.serving._serving import HI, LO, Client, family, images, server, use

_CLIENTS, _LAMS, _HUGE = 4, 24, 30_000_000
_BAD = [
    b"{",
    b"[" * 50_000,
    b'{"lam": NaN, "rows": [[1]]}',
    b'{"lam": 1e9, "rows": [[1]]}',
    b'{"lam": 1, "rows": [[1, 2], [3]]}',
    b'{"lam": 1, "rows": [{"a": 1}]}',
    b'{"lam": 1, "rows": [' + b",".join([b"[0]"] * 20_000) + b"]}",
    b"\xff\xfe\x00",
    b'{"lam": "<script>", "rows": [[0]]}',
]


def measure(*, quick: bool = False) -> Result:
    """Returns the three counts; memory in percent of the server's after the first sixth of the time."""
    seconds = 6.0 if quick else 60.0
    lams = [LO * (HI / LO) ** (k / (_LAMS - 1)) for k in range(_LAMS)]
    row = images(1)
    made, pixels = family("mlp:50"), use("mlp:50").pixels
    x = ((torch.tensor(row).float() - pixels.shift[0]) * pixels.scale[0]).reshape(1, -1)
    with torch.no_grad():
        truth = {lam: made.export(lam)(x).double().softmax(1)[0].tolist() for lam in lams}
    counts = dict.fromkeys(("valid", "refused", "huge", "wrong", "5xx", "cut off"), 0)
    lock, memory = threading.Lock(), list[float]()

    def note(what: str) -> None:
        with lock:
            counts[what] += 1

    with server("mlp:50", "1") as (port, pid):  # 1 MB: members go and come back
        ends = time.monotonic() + seconds

        def work(seed: int) -> None:
            chance, client = random.Random(seed), Client(port)
            while time.monotonic() < ends:
                kind = chance.random()
                try:
                    _one(client, chance, kind, lams, row, truth, note)
                except OSError:
                    note("cut off")
            client.close()

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        while time.monotonic() < ends:
            time.sleep(0.1)
            memory.append(_resident(pid))
        for thread in threads:
            thread.join()
        time.sleep(0.5)
        memory.append(_resident(pid))
    settled = memory[len(memory) // 6 : len(memory) // 3]
    growth = 100 * (sum(memory[-10:]) / 10 / (sum(settled) / len(settled)) - 1)
    return Result(
        "serve-soak",
        {
            "wrong answers": float(counts["wrong"]),
            "5xx": float(counts["5xx"]),
            "growth of memory, %": growth,
        },
        "",
        "lower",
        seeds=list(range(_CLIENTS)),
        quick=quick,
        baseline="none: counts",
        floor="0",
        rows=[{**counts, "MB at the end": memory[-1]}],
    )


def _one(
    client: Client,
    chance: random.Random,
    kind: float,
    lams: list[float],
    row: Any,
    truth: Any,
    note: Any,
) -> None:
    """Makes one request and notes what came of it."""
    if kind < 0.7:
        lam = chance.choice(lams)
        code, answer = client.post("/predict", json.dumps({"lam": lam, "rows": row}).encode())
        good = code == 200 and all(
            abs(answer["predictions"][0][f"probability of {k}"] - p) < 1e-5
            for k, p in enumerate(truth[lam])
        )
        note("valid" if good else "5xx" if code >= 500 else "wrong")
    else:
        huge = kind > 0.99
        code, _ = client.post("/predict", b"[" * _HUGE if huge else chance.choice(_BAD))
        expected = 400 <= code < 500
        note("5xx" if code >= 500 else "wrong" if not expected else "huge" if huge else "refused")


def _resident(pid: int) -> float:
    """Returns the MB that a process has in memory (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1e3
    return float("nan")

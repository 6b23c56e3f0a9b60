"""Milliseconds of the first request at an unseen λ, over those of later ones, for a family of convolutional networks."""

from __future__ import annotations

import json
import time
from statistics import median

from benchmarks.common.result import Result
from benchmarks.serving._serving import HI, LO, Client, images, server


def measure(*, quick: bool = False) -> Result:
    """Returns the ratio of the medians over λ."""
    count = 8 if quick else 40
    row, firsts, laters = images(1), [], []
    with server("lenet5") as (port, _):
        client = Client(port)
        for k in range(count + 1):
            body = json.dumps({"lam": LO * (HI / LO) ** (k / count), "rows": row}).encode()
            times = []
            for _ in range(6):
                start = time.perf_counter()
                code, _ = client.post("/predict", body)
                times.append(time.perf_counter() - start)
                assert code == 200
            if k:  # the first λ also warms the server up
                firsts.append(times[0])
                laters += times[1:]
        client.close()
    return Result(
        "serve-swap",
        median(firsts) / median(laters),
        "ratio",
        "lower",
        seeds=[0],
        quick=quick,
        baseline=f"later requests at the same λ: {1e3 * median(laters):.3g} ms, over HTTP",
        floor="1: members cost nothing",
        spread={"serve-swap": (min(firsts) / median(laters), max(firsts) / median(laters))},
    )

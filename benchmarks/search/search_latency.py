"""Whether searches within a limit of latency meet it: time of the network found, measured afresh, over the limit.

The space ``mlp`` on wine, one table, one thread. The limit lies a third of the way from the fastest to the slowest
of the networks that the table was held against; strategies by gradient and by trials.
"""

from __future__ import annotations

from dataclasses import replace

import torch

import netdial as nd
from benchmarks.common.result import Result
from netdial.structure.latency import measure_network, measure_table
from netdial.structure.search.config import SearchConfig
from netdial.structure.search.limits import latency_limit
from netdial.structure.search.searching import prepare
from netdial.structure.spaces import ready_space
from netdial.train.config import make

OPTIONS = {"darts": {}, "random": {"trials": 4}}


def measure(*, quick: bool) -> Result:
    """Searches with 8 seeds for each strategy; the quick version with 2."""
    torch.set_num_threads(1)
    seeds = range(2 if quick else 8)
    data = nd.load_data("wine")
    space = ready_space(
        "mlp", input_shape=data.input_shape, n_outputs=data.n_outputs, widths=[16, 64, 256]
    )
    table = measure_table(space)
    assert table.agreement is not None
    low, high = min(table.agreement.measured_ms), max(table.agreement.measured_ms)
    limit_ms = low + (high - low) / 3
    value: dict[str, float] = {}
    spread: dict[str, tuple[float, float]] = {}
    rows = []
    for strategy, options in OPTIONS.items():
        ratios = []
        for seed in seeds:
            config = make(
                SearchConfig,
                {
                    "strategy": strategy,
                    "options": options,
                    "epochs": 10,
                    "network_epochs": 10,
                    "seed": seed,
                    "compare": False,
                },
            )
            job = prepare(space, data.train, data.valid, config, kind=data.kind)
            job = replace(job, limit=latency_limit(space, f"{limit_ms!r} ms", table))
            found = job.run(data.test)
            taken = measure_network(found.network, data.input_shape, 1)
            ratios.append(taken / limit_ms)
            rows.append(
                {
                    "strategy": strategy,
                    "seed": seed,
                    "limit, ms": limit_ms,
                    "measured, ms": taken,
                    "measured ÷ limit": ratios[-1],
                    "validation loss, nats": found.tried.loss,
                }
            )
        value[f"{strategy}: limit missed, of {len(seeds)}"] = sum(ratio > 1 for ratio in ratios)
        spread[f"{strategy}: limit missed, of {len(seeds)}"] = (min(ratios), max(ratios))
    return Result(
        "search-latency",
        value,
        "count",
        "lower",
        seeds=tuple(seeds),
        quick=quick,
        baseline="peers that penalise a predicted latency miss limits by 35 % and more; spread: measured ÷ limit",
        spread=spread,
        rows=rows,
    )

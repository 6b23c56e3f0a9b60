"""What is recorded of a network while it shrinks, and of the one that is left. The log of collections is ``kills.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn

from netdial.channels.graph import Graph
from netdial.channels.sizes import size, strip, total
from netdial.core.records import Place
from netdial.core.storage.boundary import seal_line
from netdial.data import Splits
from netdial.jobs.records.recorder import Measurement, of_epoch, tell, valid_words
from netdial.jobs.records.scoring import scores
from netdial.jobs.records.watch import Watch
from netdial.measure.cost import cost
from netdial.measure.latency import quiet_ms
from netdial.runs.run import Run
from netdial.shrinking.state import ShrinkState
from netdial.train.loop import Epoch

BATCHES = (1, 64)
"""Batch sizes at which latency is measured."""


class ShrinkRecorder:
    """Turns epochs into records and lines of the log of collections."""

    def __init__(self, run: Run, task: Splits, watch: Watch, *, write: bool) -> None:
        self._run, self._task, self._watch, self._write = run, task, watch, write

    def __call__(self, epoch: Epoch, state: ShrinkState) -> None:
        """Records an epoch."""
        if not self._write:
            return
        record(self._run, epoch.step, self._numbers(epoch, state), method="train")
        self._run.append(
            self._run.kills_path, (seal_line(json.dumps(e.to_json())) for e in state.events)
        )
        widths = " ".join(f"{name}:{width}" for name, width in state.graph.widths.items())
        tell(
            self._run,
            self._watch,
            epoch,
            f"fit {float(epoch.measured['fit'].mean()):.4f}",
            *valid_words(epoch),
            f"params {total(strip(state.graph.traced))}",
            f"{epoch.seconds:.2f} s",
            widths,
        )

    def _numbers(self, epoch: Epoch, state: ShrinkState) -> Iterator[Measurement]:
        fit, penalty = (float(epoch.measured[name].mean()) for name in ("fit", "complexity"))
        train = {"part": "train"}
        yield Measurement("fit", fit, "nats/example", train)
        yield Measurement("complexity", penalty, "nats/example", train)
        yield Measurement("loss", fit + penalty, "nats/example", train)
        yield from of_epoch(epoch)
        for name, value in scores(state.module, self._task, "valid").items():
            yield Measurement(name, value, "", {"part": "valid"})
        yield Measurement("lam", state.lam)
        seconds = sum(event.seconds for event in state.events)
        yield Measurement("collect_seconds", seconds, "s")
        yield from dimensions(state.graph)


def dimensions(graph: Graph) -> list[Measurement]:
    """Returns how large a network is, and how wide its layers."""
    return [
        Measurement("params", float(total(strip(graph.traced))), "parameters"),
        Measurement("macs", size(graph, "macs").value, "macs"),
        *(
            Measurement("width", float(width), "channels", {"layer": name})
            for name, width in graph.widths.items()
        ),
    ]


def costs(nets: Sequence[nn.Module], x: Tensor) -> list[list[Measurement]]:
    """Returns parameters, multiplications, bytes and measured latencies of each network."""
    counted = [cost(net, x[:2], packed=False) for net in nets]
    values = [
        [
            Measurement("params", found.params, "parameters"),
            Measurement("macs", found.macs, "macs"),
            Measurement("bytes", found.bytes, "bytes"),
        ]
        for found in counted
    ]
    for batch in BATCHES:
        if batch <= len(x):
            for found, ms in zip(values, quiet_ms(nets, x[:batch]), strict=True):
                found.append(Measurement("ms", ms, "ms", {"batch": batch}))
    return values


def record(run: Run, step: int, numbers: Iterable[Measurement], **where: Place) -> None:
    """Records numbers at an optimiser step; ``where`` is what they have in common, the method among it."""
    run.replace(
        run.row(step, one.name, one.value, one.unit, **where, **one.where) for one in numbers
    )

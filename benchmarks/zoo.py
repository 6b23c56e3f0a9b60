"""Which networks that people have can be cut by default: small ones of our own, and models of the transformers library."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks._zoo_networks import NETWORKS
from benchmarks._zoo_sequences import SEQUENCES
from benchmarks._zoo_various import VARIOUS
from benchmarks._zoo_vision import VISION, X
from benchmarks.result import Result
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.core.cutting import leaves
from netdial.core.errors import NetdialError
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan
from netdial.nets.foreign import with_plain_weights
from netdial.pruning.channels.member import tried

Outcome = Literal["equal", "nothing to cut", "lenient", "refused", "raw", "broken", "unequal"]
OUTCOMES: tuple[Outcome, ...] = (
    "equal",
    "nothing to cut",
    "lenient",
    "refused",
    "raw",
    "broken",
    "unequal",
)
_SECONDS = 120
"""Seconds that a network may take."""
_TOLERANCE = 1e-6
"""In double precision; models that compute parts in float32 lose some."""

Maker = Callable[[], tuple[nn.Module, Any]]


def measure(*, quick: bool) -> Result:
    """Cuts half of the channels of every network by default; the quick version leaves out all but the first zoo."""
    rows: list[dict[str, object]] = []
    counts: dict[str, float] = {}
    for zoo, makers in zoos(quick=quick).items():
        found = Counter[str]()
        for name, make in makers.items():
            outcome, why = apart(partial(_outcome, make))
            found[outcome] += 1
            rows.append({"zoo": zoo, "network": name, "outcome": outcome, "why": why[:90]})
        counts |= {f"{zoo}: {outcome}": found[outcome] / len(makers) for outcome in OUTCOMES}
        counts |= {f"{zoo}: networks": len(makers)}
    rows.sort(key=lambda row: OUTCOMES.index(row["outcome"]))
    return Result("zoo", counts, "of networks", "higher", quick=quick, rows=rows)


def zoos(*, quick: bool) -> dict[str, dict[str, Maker]]:
    """Returns what makes each network and its inputs, by zoo and name."""
    if quick:
        return {"own": {name: _own(name) for name in NETWORKS}}
    from benchmarks._zoo_models import models

    vision = {name: _with(make, X) for name, make in VISION.items()}
    own = {**{name: _own(name) for name in NETWORKS}, **vision, **SEQUENCES, **VARIOUS}
    return {"own": own, "transformers": models()}


def _own(name: str) -> Maker:
    return lambda: (copy.deepcopy(NETWORKS[name][0]), NETWORKS[name][1])


def _with(make: Callable[[], nn.Module], x: Tensor) -> Maker:
    return lambda: (make(), x)


def apart(work: Callable[[], tuple[Outcome, str]]) -> tuple[Outcome, str]:
    """Returns what work in a process of its own gives; one that hangs or dies is ``raw``."""
    context = get_context("fork")
    mine, theirs = context.Pipe()

    def run() -> None:
        theirs.send(work())

    process = context.Process(target=run)
    process.start()
    theirs.close()
    try:
        if mine.poll(_SECONDS):
            found: tuple[Outcome, str] = mine.recv()
            return found
        return "raw", f"no answer in {_SECONDS} s"
    except EOFError:
        return "raw", "its process died"
    finally:
        process.kill()
        process.join()


def _outcome(make: Maker) -> tuple[Outcome, str]:
    """Returns what becomes of a network, and why."""
    torch.manual_seed(0)
    net, given = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, x = tried(with_plain_weights(net.double().eval()), given)
        x = x.double() if x.is_floating_point() else x
        try:
            graph = Graph.of(copy.deepcopy(net), x)
        except NetdialError as error:
            return _leniently(net, x, str(error))
        except Exception as error:  # what the benchmark counts
            return "raw", f"{type(error).__name__}: {error}"
        return _cut(graph, x)


def _leniently(net: nn.Module, x: Tensor, why: str) -> tuple[Outcome, str]:
    """Returns whether a network that is refused can be cut by ``lenient``."""
    try:
        graph = Graph.of(copy.deepcopy(net), x, lenient=True)
    except NetdialError:
        return "refused", why
    except Exception as error:
        return "raw", f"{type(error).__name__}: {error}"
    outcome, _ = _cut(graph, x)
    return (
        "lenient" if outcome == "equal" else "refused" if outcome == "nothing to cut" else outcome
    ), why


def _cut(graph: Graph, x: Tensor) -> tuple[Outcome, str]:
    """Cuts every second channel of all groups that nothing normalises over, and compares with zeros there."""
    free = [group for group in graph.groups if group.size > 1 and not group.mixed]
    if not free:
        return "nothing to cut", "; ".join(f"{leaf} {why}" for leaf, why in graph.kept.items())
    plan = Plan.remove(
        free, {group.name: range(0, group.size - 1, 2) for group in free}, graph.shapes
    )
    masked = copy.deepcopy(graph.traced)
    with torch.no_grad():
        for name, leaf in leaves(masked).items():
            if name in plan.cuts:
                leaf.mul_(plan.mask(name, leaf.shape).to(leaf))
    apply(plan, graph.traced)
    try:
        got = evaluated(graph.traced, x)
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"
    found = same_outputs(evaluated(masked, x), got, tolerance=_TOLERANCE)
    return ("equal", str(graph.widths)) if found else ("unequal", f"{found.difference:.1e}")

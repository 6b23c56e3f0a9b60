"""Which networks that people have can be cut by default: small ones of our own, and models of the transformers library.

Torch-Pruning cuts the same networks (``_peer_cuts.py``), where it is installed.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from typing import get_args

import torch
from torch import Tensor, nn

from benchmarks.common.peer import NOT_INSTALLED, installed
from benchmarks.common.result import Result
from benchmarks.networks import registry
from benchmarks.networks.first import blocks
from benchmarks.networks.inputs import Maker
from benchmarks.zoo._peer_cuts import Outcome, peer_cut
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trial import zeroed
from netdial.core.errors import NetdialError
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan
from netdial.nets.foreign import with_plain_weights
from netdial.nets.layers import in_type
from netdial.pruning.channels.member import tried

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_SECONDS = 120
"""Seconds that a network may take."""
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""By the number type of the parameters. In double precision, too, models that compute parts in float32 lose some."""


def measure(*, quick: bool) -> Result:
    """Cuts half of the channels of every network by default; the quick version leaves out all but the first zoo."""
    rows: list[dict[str, object]] = []
    counts: dict[str, float] = {}
    sides = {"": _outcome} | ({"Torch-Pruning on ": _peer_outcome} if installed() else {})
    for zoo, makers in zoos(quick=quick).items():
        found: dict[str, dict[str, tuple[Outcome, str]]] = {}
        for side, work in sides.items():
            found[side] = {name: apart(partial(work, make)) for name, make in makers.items()}
            count = Counter(outcome for outcome, _ in found[side].values())
            counts |= {f"{side}{zoo}: {one}": count[one] / len(makers) for one in OUTCOMES}
        counts |= {f"{zoo}: networks": len(makers)}
        for name in makers:
            row: dict[str, object] = {"zoo": zoo, "network": name}
            for side, what in (("", ""), ("Torch-Pruning on ", "Torch-Pruning")):
                outcome, why = found.get(side, {}).get(name, ("", ""))
                row |= {f"{what or 'outcome'}": outcome, f"{what} why".strip(): why[:60]}
            rows.append(row)
    rows.sort(key=lambda row: OUTCOMES.index(row["outcome"]))
    baseline = "Torch-Pruning on the same networks" if installed() else NOT_INSTALLED
    return Result("zoo", counts, "of networks", "higher", quick=quick, rows=rows, baseline=baseline)


def zoos(*, quick: bool) -> dict[str, dict[str, Maker]]:
    """Returns what makes each network and its inputs, by zoo and name."""
    if quick:
        return {"own": blocks.networks()}
    return {"own": registry.own(), "transformers": registry.transformers()}


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net, x = _made(make)
        except NetdialError as error:
            return "refused", str(error)
        try:
            graph = Graph.of(copy.deepcopy(net), x)
        except NetdialError as error:
            return _leniently(net, x, str(error))
        except Exception as error:  # what the benchmark counts
            return "raw", f"{type(error).__name__}: {error}"
        return _cut(graph, x)


def _made(make: Maker) -> tuple[nn.Module, Tensor]:
    """Returns a network from one tensor to one tensor, and inputs for it, in double precision unless it has none."""
    try:
        net, x = _of_type(make, torch.float64)
        exact = all(part.isfinite().all() for part in evaluated(net, x))
    except Exception:  # products of experts, for instance, are there in single precision alone
        exact = False
    if not exact:  # or what masks is infinite in double precision
        net, x = _of_type(make, torch.float32)
    return net, x


def _of_type(make: Maker, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net, given = make()
    in_type(net, dtype)
    net, x = tried(with_plain_weights(net.eval()), given)
    return net, x.to(dtype) if x.is_floating_point() else x


def _peer_outcome(make: Maker) -> tuple[Outcome, str]:
    """Returns what becomes of a network that Torch-Pruning cuts, and why."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        net, x = _made(make)
        try:
            kept = Graph.of(copy.deepcopy(net), x, lenient=True).kept
        except Exception:
            kept = {}
        outputs = [leaf.rpartition(".")[0] for leaf, why in kept.items() if "outputs" in why]
        torch.manual_seed(0)
        own, given = make()
        if isinstance(given, Tensor):  # all outputs, as they are
            net = with_plain_weights(own.double().eval())
        layers = [name for name, part in net.named_modules() if isinstance(part, _LAYERS)]
        return peer_cut(net, x, outputs or layers[-1:], tolerance=_tolerance(net))


def _tolerance(net: nn.Module) -> float:
    return _TOLERANCE[next(net.parameters()).dtype]


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
    masked = zeroed(graph.traced, plan, x)
    apply(plan, graph.traced)
    try:
        got = evaluated(graph.traced, x)
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"
    found = same_outputs(evaluated(masked, x), got, tolerance=_tolerance(masked))
    return ("equal", str(graph.widths)) if found else ("unequal", f"{found.difference:.1e}")

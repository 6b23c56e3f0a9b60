"""Networks of the zoo from training to programs: shrunk, saved, loaded and exported, equal at each step."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netdial as nd
from benchmarks.common.result import Result
from benchmarks.networks.inputs import Maker
from benchmarks.zoo._peer_cuts import Outcome
from benchmarks.zoo.zoo import apart, zoos
from netdial.core.errors import ConfigError, NetdialError, first_line
from netdial.core.inputs import taken_in
from netdial.core.outputs import evaluated, same_outputs
from netdial.nets.foreign import with_plain_weights
from netdial.pruning.channels.member import tried

STEPS = ("shrunk", "saved", "loaded", "as its class", "torch.export", "onnx")
"""What a network goes through; loaded means that outputs are those from before it was saved."""
_TOLERANCE = 1e-4
_TIMES = 4
"""How often the inputs of the zoo are repeated."""

Told = dict[str, str]
"""Step -> what went wrong; empty if nothing did."""


def measure(*, quick: bool) -> Result:
    """Takes every network through all steps; the quick version every ninth of our own."""
    rows: list[dict[str, object]] = []
    counts: dict[str, float] = {}
    for zoo, makers in zoos(quick=False).items():
        if quick and zoo != "own":
            continue
        names = list(makers)[:: 9 if quick else 1]
        good = Counter[str]()
        for name in names:
            told = told_of(makers[name])
            good.update(step for step, why in told.items() if not why)
            rows += [
                {"zoo": zoo, "network": name, "step": step, "why": why[:200]}
                for step, why in told.items()
                if why
            ]
        counts |= {f"{zoo}: {step}": good[step] for step in STEPS}
        counts |= {f"{zoo}: networks": len(names)}
    return Result("zoo-train", counts, "networks", "higher", quick=quick, rows=rows)


def told_of(make: Maker) -> Told:
    """Returns how far a network comes, in a process of its own."""

    def work() -> tuple[Outcome, str]:
        return "equal", json.dumps(steps(make))

    outcome, found = apart(work)
    told: Told = json.loads(found) if outcome == "equal" else {"shrunk": found}
    return told


def steps(make: Maker) -> Told:
    """Returns how far a network comes."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        net, given = _made(make)
        x = _each(given, lambda part: torch.cat([part] * _TIMES))
        try:
            (due,) = evaluated(*tried(with_plain_weights(net.eval()), x))
        except Exception:  # it has the size of its batch written down
            x = given
            (due,) = evaluated(*tried(with_plain_weights(net.eval()), x))
        y = torch.randn(due.shape, generator=torch.Generator().manual_seed(1))
        shrunk, why = _shrunk(make, x, y)
        if shrunk is None:
            return {"shrunk": why}
        told, path = {"shrunk": ""}, Path(folder)
        step = "saved"
        try:
            nd.save(shrunk, path / "net.safetensors")
            told[step] = ""
            step = "loaded"
            again = nd.load_model(path / "net.safetensors", _made(make)[0])
            found = same_outputs(
                evaluated(shrunk.net, shrunk.graph.example),
                evaluated(taken_in(again), shrunk.graph.example),
                tolerance=_TOLERANCE,
            )
            told[step] = "" if found else f"outputs differ by {found.difference:.1e}"
            told["as its class"] = "" if isinstance(again, type(net)) else "it is its graph"
        except Exception as error:
            told[step] = _said(error)
        for step, name in (("torch.export", "net.pt2"), ("onnx", "net.onnx")):
            try:
                nd.save(shrunk, path / name)  # compared with the network for three sizes of batches
                told[step] = ""
            except Exception as error:
                told[step] = _said(error)
        return told


def _shrunk(make: Maker, x: Any, y: Tensor) -> tuple[nd.Shrunk | None, str]:
    """Returns a network that lost channels in training, or why there is none.

    A λ is tried first, then switches on what layers add up, and where that removes nothing, a size.
    """
    net, _ = _made(make)
    size = f"{int(0.6 * sum(p.numel() for p in net.parameters()))} params"
    ways: list[dict[str, Any]] = [{"lam": 2.0}, {"lam": 2.0, "streams": True}]
    ways += [{"size": size}, {"size": size, "streams": True}]
    first = ""
    for way in ways:
        try:
            shrunk = nd.shrink(
                _made(make)[0], (x, y), loss=F.mse_loss, epochs=4, batch_size=1024, **way
            )
        except (
            ConfigError
        ) as error:  # no layer for a switch, or the size is below what can be reached
            first = first or _said(error)
            continue
        except Exception as error:  # what the benchmark counts
            return None, _said(error)
        if shrunk.events:
            return shrunk, ""
        first = first or "nothing was removed"
    return None, first


def _made(make: Maker) -> tuple[nn.Module, Any]:
    """Returns a network of the zoo and its inputs in single precision, with the same numbers each time."""
    torch.manual_seed(0)
    net, given = make()
    return net.float(), _each(
        given, lambda part: part.float() if part.is_floating_point() else part
    )


def _each(given: Any, change: Any) -> Any:
    """Returns inputs with each of them changed."""
    if isinstance(given, Tensor):
        return change(given)
    if isinstance(given, Mapping):
        return {name: change(part) for name, part in given.items()}
    return tuple(change(part) for part in given)


def _said(error: Exception) -> str:
    kind = "" if isinstance(error, NetdialError) else f"raw {type(error).__name__}: "
    return kind + (str(error) if not kind else first_line(error))

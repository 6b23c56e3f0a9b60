"""Whether a program is its network: both are run for batches of several sizes, and what keeps one from being made is said."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from netdial.channels.layers.mode import evaluation_alone
from netdial.channels.trace.answers.sizes import sizes_kept
from netdial.channels.trace.ready import DataDetached, quiet
from netdial.core.errors import TraceError, first_line
from netdial.core.outputs import same_outputs, tensors
from netdial.models.programs.batch import ExampleBatch, rows
from netdial.models.programs.job import ExportJob

TOLERANCE = 1e-4
"""Largest difference allowed between outputs, relative to the largest output (or to 1 if that is larger)."""

_COLOUR = "\x1b\\[[0-9;]*m"

Run = Callable[..., Any]


def compare(net: nn.Module, run: Run, batch: ExampleBatch) -> float:
    """Returns the largest absolute difference between outputs, for batches of several sizes: of 1, 2 and 5 examples for most.

    Raises:
        TraceError: it exceeds the tolerance.
    """
    worst = 0.0
    for size in batch.sizes:
        x = rows(batch.x, size)
        with torch.no_grad():
            wanted, got = tensors(net(*x)), tensors(run(*x))
        if size == 1 and len(got) == len(
            wanted
        ):  # which a network loses by squeeze(), and a program does not
            got = [
                part.reshape(due.shape) if part.squeeze().shape == due.squeeze().shape else part
                for due, part in zip(wanted, got, strict=True)
            ]
        shapes = [[list(part.shape) for part in found] for found in (wanted, got)]
        if shapes[0] != shapes[1]:
            raise TraceError(
                f"outputs are {shapes[1]} for {size} examples, the network gives {shapes[0]}"
            )
        found = same_outputs(wanted, got, tolerance=TOLERANCE, least=1.0)
        if not found:
            raise TraceError(
                f"outputs differ from the network's by {found.absolute:.3g}, allowed is {TOLERANCE * found.scale:.3g}"
            )
        worst = max(worst, found.absolute)
    return worst


@contextlib.contextmanager
def tracing(job: ExportJob, format: str) -> Iterator[None]:
    """Silences an exporter, leaves what only training computes out, and turns whatever is raised into one clear line."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet(), DataDetached(),
            evaluation_alone(job.net), sizes_kept(job.net),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # exporters raise anything at all
        raise TraceError(
            f"{job.path}: this {type(job.net).__name__} cannot be exported as {format}, nothing was written "
            f"({_cause(error)}); {_way_out(job.net, format)}"
        ) from error
    finally:
        logging.disable(level)


def _way_out(net: nn.Module, format: str) -> str:
    """Returns what can be done for a network that cannot be exported."""
    if format == "onnx" and any(p.dtype == torch.float64 for p in net.parameters()):
        return "ONNX Runtime lacks many operations in double precision: give the network in single precision, net.float()"
    return "format='safetensors' keeps any network"


def _cause(error: BaseException) -> str:
    """Returns what an exporter's error comes from in the end, in a line without colours; what it says at first is advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    if "Constraints violated (batch)" in str(error):
        return "its code asks how many examples there are, so that the program would hold for as many as in example= alone"
    return f"{type(error).__name__}: {re.sub(_COLOUR, '', first_line(error))}"

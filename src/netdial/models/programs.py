"""A member as a program: ``torch.export`` (``.pt2``) and ONNX, with a batch of any size.

A program or graph is run and compared with the network, for batches of several sizes, before it takes its place; nothing is
written when they differ.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from netdial.channels.layers.mode import evaluation_alone
from netdial.channels.trace.ready import DataDetached, quiet
from netdial.core.errors import ConfigError, ShapeError, TraceError, first_line, missing_extra
from netdial.core.inputs import (
    AnyOneTensor,
    PartedInputs,
    as_packed,
    is_several,
    packing_of,
)
from netdial.core.noise import generator
from netdial.core.outputs import contents_kept, modes_kept, same_outputs, tensors, touched
from netdial.core.storage.files import write_bytes
from netdial.data.dataset import match
from netdial.models.calls import ByPosition, by_name, input_names, output_names

TOLERANCE = 1e-4
"""Largest difference allowed between outputs, relative to the largest output (or to 1 if that is larger)."""

_COLOUR = "\x1b\\[[0-9;]*m"

Run = Callable[..., Any]


@dataclass(frozen=True)
class ExportJob:
    """What an exporter works on: the network, its λ, where to write, inputs to trace on, meta, whether pruned, card."""

    net: nn.Module
    lam: float
    path: Path
    example: Any
    meta: dict[str, Any]
    pruned: bool
    card: str | None

    @property
    def program(self) -> nn.Module:
        """What is traced: the network, called with its inputs by position, that gives plain dicts and tuples."""
        return ByPosition(self.net) if isinstance(self.net, AnyOneTensor) else self.net

    def inputs(self) -> tuple[Tensor, ...]:
        """Returns at least two examples that the network has been seen to take, of each of its inputs."""
        packing = packing_of(self.net)
        if packing is None:
            return (self._input(),)
        given = self.example
        if is_several(given):
            named = isinstance(given, Mapping)
            parts = packing.arranged(() if named else given, given if named else {})
            given, given_as = as_packed(parts, packing.names, f"{self.path}: example")
            if not given_as.fits(packing):
                raise ShapeError(f"example: inputs {given_as}; this network takes {packing}")
        if given is None:
            raise ConfigError(
                f"{self.path}: this format traces the network; give example=, its inputs {packing}"
            )
        given = given.detach().cpu()
        with torch.no_grad():
            found: tuple[Tensor, ...] = PartedInputs(packing)(
                given if len(given) > 1 else torch.cat([given] * 2)
            )
        return found

    def _input(self) -> Tensor:
        x = self.example
        if is_several(x):
            parts = list(x.values() if isinstance(x, Mapping) else x)
            if len(parts) != 1:
                raise ShapeError(
                    f"{self.path}: example: {len(parts)} inputs; this network takes one"
                )
            (x,) = parts
        if x is None and self.meta.get("net"):
            x = torch.zeros(2, *self.meta["net"]["input_shape"])
        if x is None or x.ndim < 1 or len(x) < 1:
            raise ConfigError(
                f"{self.path}: this format traces the network; give example=, a tensor of inputs [B, ...]"
            )
        x = x.detach().cpu()
        x = x if len(x) > 1 else torch.cat([x, x])
        like = next((p for p in self.net.parameters() if p.is_floating_point()), x)
        if x.is_floating_point() and not bool(x.any()):
            x = torch.randn(x.shape, generator=generator("export"), dtype=like.dtype)
        refused = self._refused(x)
        if refused and x.is_floating_point() and not self._refused(alike := match(x, like)):
            return alike  # as in training, whose data may be in another precision
        if refused:
            raise ShapeError(
                f"example of shape {list(x.shape)}, {x.dtype}: the network does not take it ({refused})"
            )
        checked: Tensor = x
        return checked

    def _refused(self, x: Tensor) -> str:
        """Returns what the network says of inputs that it does not take; empty if it takes them."""
        try:
            with torch.no_grad(), contents_kept(self.net):
                self.net(x)
        except (RuntimeError, ValueError, IndexError) as error:
            return first_line(error)
        return ""


def torch_export(job: ExportJob) -> tuple[int, float]:
    """Writes a ``torch.export`` program; returns its size in bytes and the largest difference found."""
    x = job.inputs()
    buffer = io.BytesIO()
    with _tracing(job, "torch-export"):
        packing = packing_of(job.net)
        module, given = job.program, (x, dict[str, Tensor]())
        shapes: Any = _dynamic_batch(job, x)
        if packing is not None and any(packing.names):
            module, given = by_name(job.program, packing), packing.call(x)
            shapes = {name: {0: torch.export.Dim("batch")} for name in input_names(job.net)}
        program = torch.export.export(module, *given, dynamic_shapes=shapes)
        torch.export.save(program, buffer)
        buffer.seek(0)
        loaded = torch.export.load(buffer).module()

        def run(*batch: Tensor) -> Any:
            args, kwargs = (batch, {}) if packing is None else packing.call(batch)
            return loaded(*args, **kwargs)

        difference = _compare(job.program, run, x)
    content = buffer.getvalue()
    write_bytes(job.path, content)
    return len(content), difference


def onnx(job: ExportJob) -> tuple[int, float]:
    """Writes an ONNX graph; returns its size in bytes and the largest difference found."""
    try:
        runtime = import_module("onnxruntime")
        import_module("onnx"), import_module("onnxscript")
    except ImportError:
        raise missing_extra("export to ONNX", "export") from None
    x = job.inputs()
    _check_memory(job, x)
    # the converter takes a fused kernel of attention apart; products lie otherwise in memory, which views behind them ask for
    with _tracing(job, "onnx"), sdpa_kernel(SDPBackend.MATH):
        program = torch.onnx.export(
            job.program,
            x,
            dynamo=True,
            verbose=False,
            input_names=input_names(job.net),
            output_names=output_names(job.program, x, input_names(job.net)),
            dynamic_shapes=_dynamic_batch(job, x),
            custom_translation_table={torch.ops.aten._cdist_forward.default: _distances},
        )
        assert program is not None  # always so with dynamo=True
        content: bytes = program.model_proto.SerializeToString()
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]

        def run(*batch: Tensor) -> Any:
            given = {n: part.numpy() for n, part in zip(names, batch, strict=True)}
            return [torch.from_numpy(part) for part in session.run(None, given)]

        difference = _compare(job.program, run, x)
    write_bytes(job.path, content)
    return len(content), difference


def _distances(x: Any, y: Any, p: float, compute_mode: int | None = None) -> Any:
    """Returns ``torch.cdist`` in operations of ONNX, of which torch's converter knows no way.

    Raises:
        NotImplementedError: the distances are neither sums of absolute differences nor Euclidean.
    """
    ops: Any = import_module("onnxscript").opset18
    apart = ops.Sub(ops.Unsqueeze(x, [-2]), ops.Unsqueeze(y, [-3]))
    if p == 2:
        return ops.ReduceL2(apart, [-1], keepdims=0)
    if p == 1:
        return ops.ReduceL1(apart, [-1], keepdims=0)
    raise NotImplementedError(f"distances of order {p}")


def write_program(net: nn.Module, path: str | Path, format: str, example: Any) -> tuple[int, float]:
    """Writes a network in evaluation mode as a program: ``onnx`` or ``torch-export``; it stays as it was.

    Returns:
        Size in bytes, and the largest difference found between outputs of program and network.

    Raises:
        ShapeError, TraceError, MissingExtra: it cannot be made, is not the network, or needs an extra.
    """
    with contents_kept(net), modes_kept(net):
        return _WRITERS[format](ExportJob(net.eval(), 0.0, Path(path), example, {}, False, None))


_WRITERS: dict[str, Callable[[ExportJob], tuple[int, float]]] = {
    "torch-export": torch_export,
    "onnx": onnx,
}


def _check_memory(job: ExportJob, x: tuple[Tensor, ...]) -> None:
    """Refuses a network whose outputs change from call to call with what it holds: an ONNX graph remembers nothing."""

    def called() -> list[Tensor]:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return tensors(job.program(*(part.clone() for part in x)))

    with touched(job.net) as names:
        first, then = called(), called()
    if names and not all(map(torch.equal, first, then)):
        raise TraceError(
            f"{job.path}: the network changes {', '.join(sorted(names))} in each call and its outputs with it, and an ONNX "
            "graph remembers nothing; change it in training alone (if self.training), or write a torch.export program (.pt2)"
        )


def _dynamic_batch(job: ExportJob, x: tuple[Tensor, ...]) -> tuple[Any, ...]:
    each: tuple[Any, ...] = ({0: torch.export.Dim("batch")},) * len(x)
    return (each,) if isinstance(job.program, ByPosition) else each


def _compare(net: nn.Module, run: Run, x: tuple[Tensor, ...]) -> float:
    """Returns the largest absolute difference between outputs, for batches of 1, 2 and 5 examples.

    Raises:
        TraceError: it exceeds the tolerance.
    """
    worst = 0.0
    for size in (1, 2, 5):
        batch = [part[torch.arange(size) % len(part)] for part in x]
        with torch.no_grad():
            wanted, got = tensors(net(*batch)), tensors(run(*batch))
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
def _tracing(job: ExportJob, format: str) -> Iterator[None]:
    """Silences an exporter, leaves what only training computes out, and turns whatever is raised into one clear line."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), quiet(), DataDetached(),
            evaluation_alone(job.net),
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
    return f"{type(error).__name__}: {re.sub(_COLOUR, '', first_line(error))}"

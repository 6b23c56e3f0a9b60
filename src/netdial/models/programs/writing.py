"""A member as a program: ``torch.export`` (``.pt2``) and ONNX, with a batch of any size.

A program or graph is run and compared with the network, for batches of several sizes, before it takes its place; nothing is
written when they differ.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from netdial.channels.trace.answers.questions import SHOWN
from netdial.channels.trace.answers.ways import goes_one_way
from netdial.core.errors import TraceError, missing_extra
from netdial.core.inputs import packing_of
from netdial.core.outputs import contents_kept, modes_kept, tensors, touched
from netdial.core.storage.files import write_bytes
from netdial.models.programs.batch import ExampleBatch
from netdial.models.programs.calls import (
    ByPosition,
    PlainNames,
    by_name,
    input_names,
    output_names,
    plainly_named,
)
from netdial.models.programs.checking import compare, tracing
from netdial.models.programs.functions import KNOWN_TO_EXPORT, KNOWN_TO_ONNX
from netdial.models.programs.graphs import tidied, translations
from netdial.models.programs.job import ExportJob
from netdial.models.programs.operations import ByOthers, dense
from netdial.models.programs.recurrent import packed_alike
from netdial.models.programs.spectra import OF_COMPLEX


def torch_export(job: ExportJob) -> tuple[int, float]:
    """Writes a ``torch.export`` program; returns its size in bytes and the largest difference found."""
    given, buffer = job.inputs(), io.BytesIO()
    with tracing(job, "torch-export"):
        batch = ExampleBatch.of(job.program, given)
        x = batch.x
        packing = packing_of(job.net)
        with dense(job.net), packed_alike(job.net), ByOthers(KNOWN_TO_EXPORT):
            module, call = plainly_named(job.program), (x, dict[str, Tensor]())
            shapes: Any = _dimensions(module, batch)
            if packing is not None and any(packing.names):
                module, call = by_name(module, packing), packing.call(x)
                shapes = {name: {0: batch.dimension} for name in input_names(job.net)}
            program = _exported(module, call, shapes)
        for part in program.graph_module.modules():
            for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)  # files and lines of whoever wrote it
        torch.export.save(program, buffer)
        buffer.seek(0)
        loaded = torch.export.load(buffer).module()

        def run(*parts: Tensor) -> Any:
            args, kwargs = (parts, {}) if packing is None else packing.call(parts)
            return loaded(*args, **kwargs)

        difference = compare(job.program, run, batch)
    content = buffer.getvalue()
    write_bytes(job.path, content)
    return len(content), difference


def _exported(module: nn.Module, call: Any, shapes: Any) -> Any:
    """Returns a program; what torch cannot prove for all sizes of the batch is asked as it runs."""
    from torch._dynamo.exc import UserError  # it takes a second

    try:
        return torch.export.export(module, *call, dynamic_shapes=shapes)
    except UserError:
        return torch.export.export(
            module, *call, dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
        )


def onnx(job: ExportJob) -> tuple[int, float]:
    """Writes an ONNX graph; returns its size in bytes and the largest difference found."""
    try:
        runtime = import_module("onnxruntime")
        import_module("onnx"), import_module("onnxscript")
    except ImportError:
        raise missing_extra("export to ONNX", "export") from None
    x = job.inputs()
    _check_ways(job)
    _check_memory(job, x)
    with tracing(job, "onnx"):
        batch = ExampleBatch.of(job.program, x)
        content = _graph(job, batch)
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]

        def run(*parts: Tensor) -> Any:
            given = {n: part.numpy() for n, part in zip(names, parts, strict=True)}
            return [torch.from_numpy(part) for part in session.run(None, given)]

        difference = compare(job.program, run, batch)
    write_bytes(job.path, content)
    return len(content), difference


def _graph(job: ExportJob, batch: ExampleBatch) -> bytes:
    """Returns an ONNX graph of the network."""
    names = output_names(job.program, batch.x, input_names(job.net))
    # the converter takes a fused kernel of attention apart, so none is chosen
    ways = ByOthers(KNOWN_TO_ONNX, OF_COMPLEX)
    with (
        sdpa_kernel(SDPBackend.MATH), dense(job.net), packed_alike(job.net), ways, torch.no_grad(),
    ):  # fmt: skip
        module = plainly_named(job.program)
        program = torch.onnx.export(
            module,
            batch.x,
            dynamo=True,
            verbose=False,
            optimize=False,  # it takes additions of less than 1e-8 for those of 0: log(x + 1e-10)
            input_names=input_names(job.net),
            output_names=names,
            dynamic_shapes=_dimensions(module, batch),
            custom_translation_table=translations(),
        )
    assert program is not None  # always so with dynamo=True
    tidied(program.model)
    content: bytes = program.model_proto.SerializeToString()
    return content


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


def _check_ways(job: ExportJob) -> None:
    """Refuses a graph that goes one way of several by its numbers: ONNX has no check that inputs go the same way."""
    places = {
        place
        for part in job.net.modules()
        if isinstance(part, fx.GraphModule)
        for place in goes_one_way(part)
    }
    if places:
        lines = ", ".join(f"{Path(file).name}:{line}" for file, line in sorted(places)[:SHOWN])
        raise TraceError(
            f"{job.path}: the network goes one way of several by its numbers ({lines}), and an ONNX graph would go that way "
            "for any inputs; write a torch.export program (.pt2), which checks its inputs"
        )


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


def _dimensions(module: nn.Module, batch: ExampleBatch) -> tuple[Any, ...]:
    each: tuple[Any, ...] = ({0: batch.dimension},) * len(batch.x)
    return (each,) if isinstance(module, (ByPosition, PlainNames)) else each

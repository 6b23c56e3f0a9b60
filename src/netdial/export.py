"""Exporting a member: an ordinary network at one λ, in a file that needs nothing of netdial's engine.

``safetensors``   the state dict and a JSON description; ``load_member`` reads them back and runs no foreign code.
                  Written as a folder with a card it has the layout of the Hugging Face hub: ``README.md``,
                  ``config.json``, ``model.safetensors``
``torch-export``  a ``torch.export`` program (``.pt2``) with a dynamic batch, for ``torch.export.load``
``onnx``          an ONNX graph with a dynamic batch, for any runtime

Of a pruned member, ``safetensors`` holds a tensor as the numbers that are left and a bitmap of their places wherever that
is smaller (``core.bitmap``); a member that was not pruned can be read by any program.

A program or graph is run and compared with the network, for batches of several sizes, before it takes its place;
nothing is written when they differ. To add a format, write one function and name it in ``FORMATS``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from netdial.core.bitmap import pack, stored_bytes, unpack
from netdial.core.errors import (
    CheckpointError,
    ConfigError,
    ShapeError,
    TraceError,
    missing_extra,
    unknown,
)
from netdial.core.files import write_atomic
from netdial.core.noise import generator
from netdial.family.family import Family
from netdial.saving import check_meta, mismatch, rebuild

FORMAT, PACKED_FORMAT = 1, 2
"""Version of the description: with all tensors as they are, and with some as values and bitmaps."""

KIND = "netdial-member"
TOLERANCE = 1e-4
"""Largest difference allowed between outputs, relative to the largest output (or to 1 if that is larger)."""

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: folder or file.
        format: name of the format.
        size_bytes: size of all files written.
        max_difference: largest absolute difference between outputs of the export and of the network; 0 for
            safetensors, where tensors are stored bit for bit.
    """

    path: Path
    format: str
    size_bytes: int
    max_difference: float


def export_member(
    family: Family,
    lam: float,
    path: str | Path,
    format: str = "safetensors",
    example: Tensor | None = None,
    *,
    meta: Mapping[str, Any] | None = None,
    card: str | None = None,
) -> Exported:
    """Writes the member at λ as an ordinary network.

    Args:
        family: the family.
        lam: complexity value, inside the trained range.
        path: file to write; for ``safetensors`` a folder, or a file ``NAME.safetensors`` with ``NAME.json`` beside it.
        format: ``safetensors``, ``torch-export`` or ``onnx``.
        example: inputs ``[B, ...]`` as the network takes them; programs and graphs are traced and compared on it. One
            of zeros tells the shape alone: normal numbers take its place, as they do if there is none and
            ``meta["net"]`` gives the input shape.
        meta: stored in the description by ``safetensors``; see ``netdial.saving`` for its key ``net``.
        card: text of ``README.md`` in the folder that ``safetensors`` writes; ``choice.card`` makes one.

    Raises:
        ConfigError: λ outside the trained range, an unknown format, no example to trace on, or a card for a single file.
        ShapeError: the network does not take the example.
        TraceError: the network cannot be turned into a program or graph, or its outputs differ too much.
        MissingExtra: ONNX is asked for and its packages are not installed.
        CheckpointError: the disk refused it; what was there before is intact.
    """
    if format not in FORMATS:
        raise unknown("export format", format, FORMATS)
    plain = check_meta(meta)
    if card is not None and (format != "safetensors" or Path(path).suffix == ".safetensors"):
        raise ConfigError(
            f"{path}: a card lies in a folder beside the weights; give a folder and format='safetensors', or no card"
        )
    pruned = family.kept is not None
    job = _Job(family.export(lam), float(lam), Path(path), example, plain, pruned, card)
    try:
        size, difference = FORMATS[format](job)
    except OSError as error:
        raise CheckpointError(
            f"{path}: could not be written ({error.strerror or error}); what was there before is intact"
        ) from None
    return Exported(Path(path), format, size, difference)


def load_member(path: str | Path, net: nn.Module | None = None) -> nn.Module:
    """Returns a member that was exported as ``safetensors``, in evaluation mode.

    Only tensors and JSON are read. The network is the one given, or one of ``netdial.nets`` by its description.

    Args:
        path: folder or file that ``export_member`` wrote.
        net: a network of the same architecture, whose weights are replaced; needed unless the description names one.

    Raises:
        CheckpointError: files are missing, damaged or of another format, or do not fit the network.
    """
    path = Path(path)
    weights, description = _files(path)
    config = _read_description(description)
    try:
        state = _unpacked(load_tensors(weights.read_bytes()), config.get("packed", {}))
    except (AttributeError, KeyError, OSError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(f"{weights}: is missing or damaged ({error})") from None
    net = rebuild(path, config["meta"]) if net is None else net
    difference = mismatch(_shapes(net.state_dict()), _shapes(state))
    if difference:
        raise CheckpointError(
            f"{weights}: does not fit the {type(net).__name__} ({difference}); "
            "give a network of the architecture that was exported"
        )
    numbers = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    if len(numbers) == 1:
        net.to(numbers.pop())
    net.load_state_dict(state)
    return net.eval()


@dataclass(frozen=True)
class _Job:
    """What an exporter works on: the network, its λ, where to write, inputs to trace on, meta, whether pruned, card."""

    net: nn.Module
    lam: float
    path: Path
    example: Tensor | None
    meta: dict[str, Any]
    pruned: bool
    card: str | None

    def inputs(self) -> Tensor:
        """Returns at least two examples that the network has been seen to take."""
        x = self.example
        if x is None and self.meta.get("net"):
            x = torch.zeros(2, *self.meta["net"]["input_shape"])
        if x is None or x.ndim < 1 or len(x) < 1:
            raise ConfigError(
                f"{self.path}: this format traces the network; give example=, a tensor of inputs [B, ...]"
            )
        x = x.detach().cpu()
        x = x if len(x) > 1 else torch.cat([x, x])
        if x.is_floating_point() and not bool(x.any()):
            x = torch.randn(x.shape, generator=generator("export"), dtype=x.dtype)
        try:
            with torch.no_grad():
                self.net(x)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ShapeError(
                f"example of shape {list(x.shape)}, {x.dtype}: the network does not take it ({_first_line(error)})"
            ) from None
        return x


def _safetensors(job: _Job) -> tuple[int, float]:
    weights, description = _files(job.path)
    state = {name: tensor.contiguous().clone() for name, tensor in job.net.state_dict().items()}
    state, packed = _packed(state) if job.pruned else (state, {})
    content = dump_tensors(state, metadata={"format": "pt"})
    config = {
        "format": PACKED_FORMAT if packed else FORMAT,
        "kind": KIND,
        "lam": job.lam,
        "n_params": sum(p.numel() for p in job.net.parameters()),
        "size_bytes": len(content),
        "meta": job.meta,
    }
    if packed:
        config["packed"] = packed
    files = {weights: content, description: (json.dumps(config, indent=2) + "\n").encode()}
    if job.card is not None:
        files[job.path / "README.md"] = job.card.encode()
    for path, written in files.items():
        _write(path, written)
    return sum(len(written) for written in files.values()), 0.0


def _packed(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """Returns the tensors to store, and the shapes of those that became values and a bitmap."""
    stored: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in state.items():
        values, bitmap = pack(tensor)
        plain, item = tensor.numel() * tensor.element_size(), tensor.element_size()
        if stored_bytes(tensor.numel(), values.numel(), item) < plain:
            stored |= {f"{name}.values": values, f"{name}.bitmap": bitmap}
            shapes[name] = list(tensor.shape)
        else:
            stored[name] = tensor
    return stored, shapes


def _unpacked(stored: dict[str, Tensor], shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """Returns the tensors that ``_packed`` was given."""
    parts = {f"{name}.{part}" for name in shapes for part in ("values", "bitmap")}
    plain = {name: tensor for name, tensor in stored.items() if name not in parts}
    packed = {
        name: unpack(stored[f"{name}.values"], stored[f"{name}.bitmap"], shape)
        for name, shape in shapes.items()
    }
    return {**plain, **packed}


def _torch_export(job: _Job) -> tuple[int, float]:
    x = job.inputs()
    buffer = io.BytesIO()
    with _tracing(job, "torch-export"):
        program = torch.export.export(job.net, (x,), dynamic_shapes=_dynamic_batch())
        torch.export.save(program, buffer)
        buffer.seek(0)
        run = torch.export.load(buffer).module()
        difference = _compare(job.net, run, x)
    content = buffer.getvalue()
    _write(job.path, content)
    return len(content), difference


def _onnx(job: _Job) -> tuple[int, float]:
    try:
        runtime = import_module("onnxruntime")
        import_module("onnx"), import_module("onnxscript")
    except ImportError:
        raise missing_extra("export to ONNX", "export") from None
    x = job.inputs()
    with _tracing(job, "onnx"):
        program = torch.onnx.export(
            job.net,
            (x,),
            dynamo=True,
            verbose=False,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=_dynamic_batch(),
        )
        assert program is not None  # always so with dynamo=True
        content: bytes = program.model_proto.SerializeToString()
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name

        def run(batch: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {name: batch.numpy()})[0])

        difference = _compare(job.net, run, x)
    _write(job.path, content)
    return len(content), difference


Exporter = Callable[[_Job], tuple[int, float]]

FORMATS: dict[str, Exporter] = {
    "safetensors": _safetensors,
    "torch-export": _torch_export,
    "onnx": _onnx,
}


def _dynamic_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


def _compare(net: nn.Module, run: Run, x: Tensor) -> float:
    """Returns the largest absolute difference between outputs, for batches of 1, 2 and 5 examples.

    Raises:
        TraceError: it exceeds the tolerance.
    """
    worst = 0.0
    for size in (1, 2, 5):
        batch = x[torch.arange(size) % len(x)]
        with torch.no_grad():
            wanted, got = net(batch), run(batch)
        if wanted.shape != got.shape:
            raise TraceError(
                f"outputs are {list(got.shape)} for {size} examples, the network gives {list(wanted.shape)}"
            )
        difference = float((wanted - got).abs().max())
        allowed = TOLERANCE * max(1.0, float(wanted.abs().max()))
        if not difference <= allowed:
            raise TraceError(
                f"outputs differ from the network's by {difference:.3g}, allowed is {allowed:.3g}"
            )
        worst = max(worst, difference)
    return worst


@contextlib.contextmanager
def _tracing(job: _Job, format: str) -> Iterator[None]:
    """Silences an exporter, and turns whatever it raises into one clear line."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # exporters raise anything at all
        raise TraceError(
            f"{job.path}: this {type(job.net).__name__} cannot be exported as {format}, nothing was written "
            f"({type(error).__name__}: {_first_line(error)}); format='safetensors' keeps any network"
        ) from error
    finally:
        logging.disable(level)


def _files(path: Path) -> tuple[Path, Path]:
    """Returns the weights file and the description beside it."""
    if path.suffix == ".safetensors":
        return path, path.with_suffix(".json")
    return path / "model.safetensors", path / "config.json"


def _read_description(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: is missing or damaged ({error}); give what export wrote"
        ) from None
    if (
        not isinstance(config, dict)
        or config.get("kind") != KIND
        or not isinstance(config.get("meta"), dict)
    ):
        raise CheckpointError(
            f"{path}: does not describe an exported member; give what export wrote"
        )
    if config.get("format") not in (FORMAT, PACKED_FORMAT):
        raise CheckpointError(
            f"{path}: has format {config.get('format')}, this netdial reads formats {FORMAT} and {PACKED_FORMAT}; "
            "install the netdial that wrote it"
        )
    return config


def _write(path: Path, content: bytes) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in state.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

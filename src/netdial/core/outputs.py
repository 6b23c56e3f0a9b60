"""Outputs of networks: running in evaluation mode, without traces in the network, and comparing what came out.

Everything that rewrites a network (removes channels, folds layers, traces, exports) checks itself by ``same_outputs``.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.utils._pytree import tree_leaves

from netdial.core.errors import NetdialError, failed

P = ParamSpec("P")
R = TypeVar("R")

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Relative difference allowed by default for each number type; others are held to that of float32."""

ROWS = 512
"""Examples that are evaluated at a time: enough to keep a core busy, few enough for images to stay in its caches."""

_THRESHOLDS = (-1, -3)  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_LARGEST_KEPT_BYTES = 1 << 29

_CONTAINERS = (list, dict, set, deque)
_CASTING = ("cpu", "cuda", "mps", "xpu")
"""Devices on which torch may compute in other number types than those of the weights."""
_BARE = nn.Module()
_HOOKS = [key for key in vars(_BARE) if key.startswith("_forward_")]


@contextlib.contextmanager
def modes_kept(*nets: nn.Module) -> Iterator[None]:
    """Gives every module back the mode, training or evaluation, that it had."""
    was = [(module, module.training) for net in nets for module in net.modules()]
    try:
        yield
    finally:
        for module, training in was:
            module.training = training


@contextlib.contextmanager
def failing_in_words(net: nn.Module, x: Tensor) -> Iterator[None]:
    """Says whatever a network fails with on inputs in one line, with its name and their shape.

    Raises:
        TraceError: it failed. Memory that is full is no fault of the inputs, and passes as it is.
    """
    try:
        yield
    except (NetdialError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise failed(net, x.shape, error, training=net.training) from error


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """Turns gradients off; a network with activation checkpointing does not warn that it has none."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True")
        yield


@contextlib.contextmanager
def evaluating(*nets: nn.Module) -> Iterator[None]:
    """Puts networks into evaluation mode without gradients, and every module back into the mode that it had."""
    with modes_kept(*nets), without_gradients():
        for net in nets:
            net.eval()
        yield


@contextlib.contextmanager
def without_casting() -> Iterator[None]:
    """Lets torch compute in the number types of the weights, whatever ``autocast`` a caller has on."""
    with contextlib.ExitStack() as stack:
        for kind in _CASTING:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Runs torch's attention and transformer layers as their code says, where a fused kernel would take their place."""
    mha: Any = torch.backends.mha
    with contextlib.ExitStack() as stack:
        stack.callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
        mha.set_fastpath_enabled(False)
        yield


def in_usual_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Returns a function that trains and measures as ever where its caller has gradients off, or ``autocast`` on."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(False), torch.enable_grad(), without_casting():
            return function(*args, **kwargs)

    return call


@contextlib.contextmanager
def made_in(dtype: torch.dtype) -> Iterator[None]:
    """Lets numbers that code makes, as of whole ones divided, be of a type by default."""
    was = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(was)


def tensors(result: Any) -> list[Tensor]:
    """Returns all tensors in what a network gave, whatever they are packed in."""
    return [part for part in tree_leaves(result) if isinstance(part, Tensor)]


def evaluated(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Returns all tensors that a network gives in evaluation mode; it and global generators are left as they were."""
    with contents_kept(net), evaluating(net), torch.random.fork_rng(devices=[]):
        return tensors(net(x.clone()))


def repeated(x: Tensor, size: int) -> Tensor:
    """Returns inputs ``[size, ...]``: those given, as often as it takes."""
    return x[torch.arange(size, device=x.device) % len(x)]


@dataclass(frozen=True)
class Comparison:
    """How far apart outputs are; true if that is within the tolerance.

    Attributes:
        absolute: largest difference of two numbers; infinite if shapes differ or a number is nan on one side.
        scale: what it is compared with: the largest finite number wanted, but at least the least scale.
        tolerance: largest ``difference`` allowed.
    """

    absolute: float
    scale: float
    tolerance: float

    @property
    def difference(self) -> float:
        """Largest difference relative to the scale."""
        return self.absolute / self.scale

    def __bool__(self) -> bool:
        """Whether the outputs are the same within the tolerance."""
        return self.difference <= self.tolerance


def same_outputs(
    wanted: Any,
    got: Any,
    *,
    tolerance: float | None = None,
    least: float = 0.0,
    equal_nan: bool = False,
) -> Comparison:
    """Compares two results of a network, or of any part of it.

    Args:
        wanted: tensors in any structure.
        got: tensors in the same structure.
        tolerance: largest difference allowed, relative to the scale; by default that of the number type (``TOLERANCE``).
        least: least scale; where nothing is larger than 0, it is 1.
        equal_nan: whether nan in the same place counts as the same.

    >>> bool(same_outputs(torch.tensor([1.0, 100.0]), torch.tensor([1.0005, 100.0])))
    True
    >>> round(same_outputs(torch.tensor([2.0]), torch.tensor([3.0])).difference, 2)
    0.5
    """
    before, after = tensors(wanted), tensors(got)
    if tolerance is None:
        kind = before[0].dtype if before else torch.float32
        tolerance = TOLERANCE.get(kind, TOLERANCE[torch.float32])
    same = [one.shape for one in before] == [other.shape for other in after]
    pairs = [(doubled(one), doubled(other)) for one, other in zip(before, after, strict=False)]
    apart = [_apart(*pair, equal_nan=equal_nan) for pair in pairs] if same else [math.inf]
    sizes = [one[one.isfinite()].abs() for one, _ in pairs]
    largest = max((float(size.max()) for size in sizes if size.numel()), default=0.0)
    return Comparison(max(apart, default=0.0), max(largest, least) or 1.0, tolerance)


def doubled(x: Tensor) -> Tensor:
    """Returns numbers in double precision, complex ones as such, zeros of a sparse tensor among them."""
    return x.detach().to_dense().to(torch.complex128 if x.is_complex() else torch.float64)


def _apart(one: Tensor, other: Tensor, *, equal_nan: bool) -> float:
    """Returns the largest difference of two tensors of one shape; infinite if a number is nan on one side."""
    if not one.numel():
        return 0.0
    alike = one == other.to(one.device)
    if equal_nan:
        alike |= one.isnan() & other.isnan()
    difference = torch.where(alike, 0.0, (one - other.to(one.device)).abs())
    return float(difference.nan_to_num(nan=math.inf, posinf=math.inf).max())


@functools.cache
def keep_freed_memory() -> bool:
    """Lets the process keep freed memory for the next batch, where the C library is glibc; returns whether it will.

    Every step frees and takes the same megabytes. The library by default returns large pieces to the kernel, and taking them
    again costs a page fault for every 4 KiB: a fifth of a training step of a small network, more than half of the time in
    which a convolutional one is evaluated.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(which, _LARGEST_KEPT_BYTES) == 1 for which in _THRESHOLDS)


def plain(module: nn.Module) -> dict[str, Any]:
    """Returns the attributes that a module's own code set: neither parameters, buffers and parts, nor what torch keeps."""
    return {
        key: value
        for key, value in vars(module).items()
        if key != "training" and not (key.startswith("_") and hasattr(_BARE, key))
    }


@contextlib.contextmanager
def contents_kept(*nets: nn.Module) -> Iterator[None]:
    """Gives networks back buffers, hooks and plain attributes as they were: tensors, numbers, lists and what code remembers.

    Layers without a shape yet, which their first call gives one, are left as the call makes them.
    """
    modules = {id(m): m for net in nets for m in net.modules()}.values()
    was = [_Contents(module) for module in modules if not isinstance(module, LazyModuleMixin)]
    try:
        yield
    finally:
        for contents in was:
            contents.put_back()


@contextlib.contextmanager
def touched(net: nn.Module) -> Iterator[set[str]]:
    """Gives a network back all that it holds besides parameters; yields names of what was changed, filled at the end."""
    names: set[str] = set()
    before = _held(net)
    held = {name: part for name, part in before.items() if isinstance(part, Tensor)}
    versions = {name: part._version for name, part in held.items()}
    copies = {name: part.detach().clone() for name, part in held.items()}
    with contents_kept(net):
        try:
            yield names
        finally:
            after = _held(net)
            names |= {name for name in before if _is_changed(before[name], after.get(name))}
            names |= {name for name, part in held.items() if part._version != versions[name]}
            # a write to x.data leaves the version as it is
            names |= {name for name, part in held.items() if not _is_same(part, copies[name])}


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape hold the same numbers, nan among them; those that cannot be compared do."""
    if one.is_meta or one.layout != torch.strided or one.shape != other.shape:
        return one.shape == other.shape
    return torch.equal(one, other) or bool(
        ((one == other) | ((one != one) & (other != other))).all()
    )


def numbers(net: nn.Module) -> dict[str, int | float]:
    """Returns the numbers that a network's modules hold as plain attributes, by name."""
    return {name: value for name, value in _held(net).items() if isinstance(value, int | float)}


def _held(net: nn.Module) -> dict[str, Any]:
    """Returns tensors and numbers that a network holds, and are no parameters, by name."""
    return {
        f"{name}.{key}".lstrip("."): value
        for name, module in net.named_modules()
        for key, value in (*module._buffers.items(), *plain(module).items())
        if isinstance(value, Tensor | int | float)
    }


def _is_changed(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor):
        return isinstance(after, Tensor) and after is not before
    return isinstance(after, int | float) and bool(after != before)


class _Contents:
    """What one module holds."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.buffers, self.plain = module, dict(module._buffers), plain(module)
        held = [*self.buffers.values(), *self.plain.values()]
        self.tensors = [
            (part, part.detach().clone())
            for part in held
            if isinstance(part, Tensor) and not part.is_meta and not part.is_inference()
        ]
        self.containers: list[tuple[Any, Any]] = [
            (part, part.copy()) for part in self.plain.values() if type(part) in _CONTAINERS
        ]
        hooks = (vars(module)[key] for key in _HOOKS)  # code may register them in its first call
        self.containers += [(part, part.copy()) for part in hooks]

    def put_back(self) -> None:
        """Makes the module hold it again."""
        held = vars(self.module)
        for key in plain(self.module).keys() - self.plain.keys():
            del held[key]
        held.update(self.plain)
        if isinstance(self.module._buffers, dict):  # a scripted module's holds what it does
            self.module._buffers.clear()
            self.module._buffers.update(self.buffers)
        for container, before in self.containers:
            container.clear()
            _add(container, before)
        with torch.no_grad():
            for tensor, value in self.tensors:
                # batch_norm leaves no trace in the tensor's version; sparse tensors cannot be compared
                if tensor.layout != torch.strided or not torch.equal(tensor, value):
                    tensor.copy_(value)


def _add(container: Any, before: Any) -> None:
    """Puts into a container what another holds."""
    (container.update if isinstance(container, dict | set) else container.extend)(before)

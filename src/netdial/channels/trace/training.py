"""Whether a graph computes and trains as its network does: outputs in both modes and gradients, compared on the example.

A graph that gives the same outputs may still have other gradients: ``torch.fx`` sees neither a ``torch.no_grad`` block nor the
``backward`` of an ``autograd.Function``. Blocks without gradients are put into the graph (``detached``), functions stay one
operation (``symbolic``), and what remains is compared here, so that a network is refused before it is trained otherwise than
its code says.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from netdial.channels.trace.answers.draws import drawn
from netdial.channels.trace.answers.ways import OtherWay
from netdial.channels.trace.state import parameters_kept
from netdial.core.errors import TraceError, failed, first_line
from netdial.core.noise import seed_everywhere
from netdial.core.outputs import (
    contents_kept,
    evaluated,
    evaluating,
    modes_kept,
    repeated,
    same_outputs,
    tensors,
    without_fast_path,
)

_TOLERANCE = 1e-3
"""Largest difference of a parameter's gradient, relative to its largest number."""
_FLOOR = 1e-5
"""The same relative to the largest gradient of all: what rounding leaves where a gradient is 0."""
_OUTPUTS = 1e-4
"""Largest difference of outputs, relative to the largest: operations taken apart round otherwise."""
_SEED = 1705

Run = tuple[list[Tensor], list[Tensor | None]]
"""Outputs in training mode, and the gradient of each parameter."""


class Differs(TraceError):
    """A graph computes something else than its network."""


def check_same(net: nn.Module, traced: fx.GraphModule, example: Tensor) -> None:
    """Refuses a graph that computes something else than its network.

    Raises:
        TraceError: outputs differ, as when a tensor is changed in place (``x += y``) and read under another name; or the
            network fails.
    """
    try:
        before = twice(net, example)
    except Exception as error:
        raise failed(net, example.shape, error) from error
    try:
        with redirect_stderr(io.StringIO()):  # graphs print where they fail
            after = twice(traced, example)
    except Exception as error:
        raise Differs(
            f"network {type(net).__name__}: its graph does not run ({first_line(error)})"
        ) from error
    found = same_outputs(before, after, tolerance=_OUTPUTS, equal_nan=True)
    if not found:
        if kind := _passed_over(net, example, after):
            raise Differs(
                f"network {type(net).__name__}: torch's fast path passes over what {kind} overrides, so that the network gives "
                "something else without gradients than with them; call torch.backends.mha.set_fastpath_enabled(False) first, "
                "or give the class a forward of its own"
            )
        raise Differs(
            f"network {type(net).__name__}: computes something else once traced (outputs differ by {found.difference:.1e} "
            "of the largest); look for tensors that are changed in place (x += y) and read under another name, and for "
            "values remembered between calls"
        )


def _passed_over(net: nn.Module, example: Tensor, code: list[Tensor]) -> str:
    """Returns the name of a class whose own parts torch's fast path leaves out, if that is why outputs differ; else nothing.

    Args:
        net: the network.
        example: inputs.
        code: what its code gives for them, called twice.
    """
    kinds = [type(m) for m in net.modules() if isinstance(m, nn.TransformerEncoderLayer)]
    own = [kind for kind in kinds if kind is not nn.TransformerEncoderLayer]
    if not own or not torch.backends.mha.get_fastpath_enabled():
        return ""
    with without_fast_path():
        plain = twice(net, example)
    return own[0].__name__ if same_outputs(plain, code, tolerance=_OUTPUTS, equal_nan=True) else ""


def twice(net: nn.Module, example: Tensor) -> list[Tensor]:
    """Returns what a network gives, and what it gives then: it may remember. It is left as it was."""
    with _kept(net), evaluating(net), torch.random.fork_rng(devices=[]):
        return [part.clone() for _ in range(2) for part in tensors(net(example.clone()))]


def check_batches(
    net: nn.Module, traced: fx.GraphModule, example: Tensor, sizes: Sequence[int] = ()
) -> None:
    """Refuses a graph that holds for some sizes of the batch only, as when code asks whether there is one input.

    Args:
        net: the network.
        traced: its graph.
        example: inputs.
        sizes: where the code takes another way.
    """
    for size in (1, len(example) + 1, *sizes):
        batch = repeated(example, size)
        try:
            evaluated(net, batch)
        except Exception:  # the network itself takes no such batch, for whatever reason
            continue
        try:
            check_same(net, traced, batch)
        except Exception as error:
            other_way = isinstance(error.__cause__, OtherWay)
            if other_way and size == 1:  # one of them may have other numbers than all
                continue
            why = f" ({error.__cause__})" if other_way else ""
            raise TraceError(
                f"network {type(net).__name__}: does other operations on {size} inputs than on {len(example)}{why}; "
                "make them independent of the size of the batch"
            ) from error


def call_first(net: nn.Module, example: Tensor) -> Exception | None:
    """Calls a network once, as the first call may go another way than all others; returns its failure, if it fails.

    What its modules hold stays as it was. What they share with others does not, such as the settings of a model of
    ``transformers``, in which its first call with labels notes what these are.
    """
    with parameters_kept(net):
        try:
            evaluated(net, example)
        except Exception as error:
            return error
    return None


def failure_of(net: nn.Module, example: Tensor, known: Exception | None) -> TraceError | None:
    """Returns the error of a network that fails on inputs: in evaluation, as is known, or in training; None if it does not."""
    if known is not None:
        return failed(net, example.shape, known)
    try:
        with parameters_kept(net), contents_kept(net), modes_kept(net), torch.no_grad():
            drawn(lambda: net.train()(example.clone()), net)
    except Exception as error:
        return failed(net, example.shape, error, training=True)
    return None


def check_training(net: nn.Module, traced: nn.Module, inputs: Sequence[Any]) -> None:
    """Refuses a graph that computes or learns something else in training than its network.

    Networks that draw numbers of their own, so that two runs from one seed differ, and those that take no such batch in
    training are not compared.

    Args:
        net: the network.
        traced: its graph; the parameters are the same objects.
        inputs: what both are called with.

    Raises:
        TraceError: it does; the message names the first parameter.
    """
    named = {n: p for n, p in net.named_parameters() if p.requires_grad}
    held = list(named.values())
    with modes_kept(net, traced):
        try:
            wanted, again = _run(net, inputs, held), _run(net, inputs, held)
        except Exception:  # the network itself takes no such batch in training
            return
        if not _alike(wanted[0], again[0]):
            return
        try:
            got = _run(traced, inputs, held)
        except Exception as error:
            raise TraceError(
                f"network {type(net).__name__}: runs in training mode, its graph does not ({error})"
            ) from error
        if not _alike(wanted[0], got[0]):  # it may draw what it does not use
            with _DrawnAlike():  # type: ignore[no-untyped-call]
                wanted, got = (_run(one, inputs, held) for one in (net, traced))
    if not _alike(wanted[0], got[0]):
        raise TraceError(
            f"network {type(net).__name__}: computes something else in training mode once traced, or in evaluation after it; "
            "move what depends on self.training into a module of its own, and hold what evaluation reads of it in a buffer"
        )
    largest = max((_largest(g) for g in wanted[1] if g is not None), default=0.0)
    for name, one, other in zip(named, *(found[1] for found in (wanted, got)), strict=True):
        if not _same_gradient(one, other, largest):
            raise TraceError(
                f"network {type(net).__name__}: trains otherwise once traced: the gradient of {name} is {_size(one)} in the "
                f"network and {_size(other)} in its graph; put what sets gradients aside (no_grad, a backward of your own, "
                "hooks on tensors) into an autograd.Function or a module of its own"
            )


class _DrawnAlike(TorchDispatchMode):
    """Lets every operation that draws numbers start from one seed, whatever was drawn before it."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Returns what an operation gives."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            seed_everywhere(_SEED)
        return func(*args, **(kwargs or {}))


def _run(net: nn.Module, inputs: Sequence[Any], held: Sequence[Tensor]) -> Run:
    """Runs a network in training mode, its random numbers from one seed."""
    net.train()
    with _kept(net), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        seed_everywhere(_SEED)
        found = net(*_own(inputs))
        outputs = [part for part in tensors(found) if part.is_floating_point() or part.is_complex()]
        source = torch.Generator().manual_seed(_SEED)
        loss: Any = 0.0
        for part in outputs:
            real = torch.view_as_real(part) if part.is_complex() else part
            weights = torch.randn(real.shape, generator=source, dtype=torch.float64)
            loss = loss + (real * weights.to(real)).sum()
        gradients: Sequence[Tensor | None] = [None] * len(held)
        if isinstance(loss, Tensor) and loss.requires_grad:
            with contents_kept(net):  # what runs again in backward moves statistics twice
                gradients = torch.autograd.grad(loss, held, allow_unused=True) if held else ()
            gradients = [g.to_dense() if g is not None and g.is_sparse else g for g in gradients]
        outputs = [part.detach() for part in outputs]
        with torch.no_grad():  # once more, and then in evaluation: what it remembers
            again = tensors(net(*_own(inputs))) + tensors(net.eval()(*_own(inputs)))
    return outputs + [part for part in again if part.is_floating_point()], list(gradients)


@contextmanager
def _kept(net: nn.Module) -> Iterator[None]:
    """Gives a network back what it holds, numbers of parameters among it that its forward pass sets.

    Nothing looks on meanwhile, as torch leaves its fast path where something does.
    """
    held = [(p, p.data, p.detach().clone()) for p in net.parameters() if not is_lazy(p)]
    with contents_kept(net):
        try:
            yield
        finally:
            for parameter, data, kept in held:
                if parameter.data_ptr() != data.data_ptr() or not torch.equal(parameter, kept):
                    parameter.data = data.copy_(kept)


def _own(inputs: Sequence[Any]) -> list[Any]:
    """Returns copies of inputs."""
    return [part.clone() if isinstance(part, Tensor) else part for part in inputs]


def _alike(one: list[Tensor], other: list[Tensor]) -> bool:
    return bool(same_outputs(one, other, tolerance=_TOLERANCE, equal_nan=True))


def _same_gradient(one: Tensor | None, other: Tensor | None, largest: float) -> bool:
    """Whether two gradients are the same; none at all is a gradient of 0."""
    if one is None or other is None:
        left = other if one is None else one
        return left is None or _largest(left) <= _FLOOR * largest
    if torch.equal(one, other):
        return True
    if not torch.equal(one.isfinite(), other.isfinite()):
        return False
    return _largest(one - other) <= _TOLERANCE * _largest(one) + _FLOOR * largest


def _largest(gradient: Tensor) -> float:
    """Returns the largest finite number."""
    sizes = gradient.abs() if gradient.is_complex() else gradient
    if not sizes.numel():
        return 0.0
    least, most = map(float, sizes.aminmax())  # one pass, no copy
    if math.isfinite(most) and math.isfinite(least):
        return max(-least, most)
    return _largest(sizes[sizes.isfinite()])


def _size(gradient: Tensor | None) -> str:
    return "none" if gradient is None else f"up to {_largest(gradient):.2g}"

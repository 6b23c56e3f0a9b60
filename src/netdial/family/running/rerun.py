"""Networks that run parts of themselves again in backward (activation checkpointing).

``torch.utils.checkpoint`` drops the activations of a part and computes them again when gradients are wanted. By then a run of a
family is over: the template's own tensors are back in the network, and the noise has gone on. Here such a run is kept: it is
one operation of autograd, and each part that runs again in its backward finds the member's tensors and draws the noise that it
drew the first time. Gradients are those of the network without checkpointing, for both of torch's ways.

Whether a network does this is seen in its first backward, so that all others cost nothing. A network that runs again by other
means than ``torch.utils.checkpoint`` meets tensors that refuse to be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, cast

import torch
import torch.utils.checkpoint as torch_checkpoint
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netdial.core.errors import TraceError
from netdial.family.running.mode import MemberMode

_REENTRANT, _OTHER = "CheckpointFunction", "_checkpoint_without_reentrant_generator"


class Kept(NamedTuple):
    """What a run leaves for its backward.

    Attributes:
        out: outputs, with their graph.
        over: context for what follows the run: whoever uses the network's parameters there is refused.
        mode: what interpreted the network.
    """

    out: Tensor
    over: Callable[[], AbstractContextManager[None]]
    mode: MemberMode


Run = Callable[[Tensor, Sequence[Tensor]], Kept]


def run_kept(run: Run, x: Tensor, leaves: Sequence[Tensor], tell: Callable[[bool], None]) -> Tensor:
    """Returns the outputs of a run whose backward can run parts of the network again.

    Args:
        run: runs the network, from inputs and leaves.
        x: inputs.
        leaves: means and variances; gradients go to them.
        tell: told in backward whether anything ran again.
    """
    return cast(Tensor, _Kept.apply(run, tell, x, *leaves))  # type: ignore[no-untyped-call]


class _Kept(torch.autograd.Function):
    """A run as one operation: leaves of its own inside, whose gradients are handed on."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, tell: Callable[[bool], None], x: Tensor, *leaves: Tensor
    ) -> Tensor:
        wanted = [x.is_floating_point(), *ctx.needs_input_grad[3:]]
        inside = [
            tensor.detach().requires_grad_(needed)
            for tensor, needed in zip((x, *leaves), wanted, strict=True)
        ]
        with torch.enable_grad():
            # a part that runs again in torch's reentrant way is trained only if its inputs have gradients; a copy, because
            # what has a gradient of its own cannot be changed in place
            ctx.kept = run(inside[0].clone(), inside[1:])
        ctx.inside, ctx.tell = inside, tell
        out: Tensor = ctx.kept.out
        return out.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if ctx.kept is None:
            raise RuntimeError("a run of this network can be differentiated once only")
        kept, ctx.kept = ctx.kept, None
        if kept.out.requires_grad:
            with kept.over():
                torch.autograd.backward(kept.out, grad)
            ctx.tell(kept.mode.ran_again)
        grads = [tensor.grad for tensor in ctx.inside]
        return None, None, grads[0] if ctx.needs_input_grad[2] else None, *grads[1:]


class Absent(torch.Tensor):
    """Stands where a parameter stood during a run, and refuses to be used."""

    leaf_name: str

    @classmethod
    def instead_of(cls, name: str, tensor: Tensor) -> Absent:
        """Returns what stands for a parameter."""
        made = torch.Tensor._make_subclass(cls, tensor.detach())
        made.leaf_name = name
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        met = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Absent)]
        if getattr(func, "__name__", "") == "__get__":
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        raise TraceError(
            f"the network uses parameter {met[0].leaf_name!r} in backward, by other means than torch.utils.checkpoint; turn "
            "activation checkpointing off"
        )


@contextmanager
def following(
    mode: MemberMode, inside: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """Lets a mode know, for a while, of each part of a network that ``torch.utils.checkpoint`` will run again.

    Both ways of torch end in a function of that module which gets the part to run; the part is put into another function that
    goes back to the noise of its first run.

    Args:
        mode: what interprets the network.
        inside: context that a part runs in when it runs again.
    """
    before: dict[str, Any] = {
        name: getattr(torch_checkpoint, name, None) for name in (_REENTRANT, _OTHER)
    }

    class Reentrant:
        @staticmethod
        def apply(part: Any, *rest: Any) -> Any:
            return before[_REENTRANT].apply(mode.repeatable(part, ran=False, inside=inside), *rest)

    def other(part: Any, *rest: Any, **named: Any) -> Any:
        return before[_OTHER](mode.repeatable(part, ran=True, inside=inside), *rest, **named)

    try:
        for name, followed in ((_REENTRANT, Reentrant), (_OTHER, other)):
            if before[name] is not None:
                setattr(torch_checkpoint, name, followed)
        yield
    finally:
        for name, original in before.items():
            if original is not None:
                setattr(torch_checkpoint, name, original)

"""Products with the exact Hessian of the loss, for many vectors at once (Pearlmutter 1994).

Each batch of examples is differentiated once; a product then costs about as much as two more gradients of that batch.

Shapes: M vectors, P parameters in the order of the network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from netdial.core.errors import TraceError
from netdial.core.layout import Params
from netdial.core.noise import generator
from netdial.curvature.model import Model

NUMBERS = 1 << 26
"""Numbers that the vectors of one call, and what they make of the examples, may take up."""
_MOST = 256
_ASYMMETRY = 1e-4


def products(model: Model) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yields, for each batch of examples, the map from vectors ``[M, P]`` to their products with its Hessian ``[M, P]``.

    Raises:
        TraceError: an operation of the network has no second derivative that ``torch.func`` can follow, or a wrong one.
    """
    layout = model.layout
    for number, (x, y) in enumerate(model.batches()):

        def loss(params: Params, x: Tensor = x, y: Tensor = y) -> Tensor:
            return model.losses(model.outputs(params, x), y).sum()

        with _followed(model):
            _, pull = vjp(grad(loss), model.params)[:2]

        def multiply(vectors: Tensor, pull: Callable[..., tuple[Params]] = pull) -> Tensor:
            with _followed(model):
                return vmap(lambda v: layout.join(pull(layout.split(v))[0]))(vectors)

        if number == 0:
            _check_symmetry(model, multiply)
        yield multiply


def vectors_at_once(model: Model) -> int:
    """Returns how many vectors to multiply in one call: each takes about what one gradient of a batch keeps in memory."""
    x, _ = next(model.batches())
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        model.net(x.clone())
    return max(1, min(_MOST, NUMBERS // (kept + model.layout.size)))


def _check_symmetry(model: Model, multiply: Callable[[Tensor], Tensor]) -> None:
    """Refuses second derivatives that depend on the order of differentiation: some kernels have wrong ones."""
    source = generator("curvature-symmetry")
    pair = torch.randn(2, model.layout.size, generator=source, dtype=torch.float64)
    pair = pair.to(model.zeros())
    found = multiply(pair)
    gap = (pair[0] @ found[1] - pair[1] @ found[0]).abs()
    if gap > _ASYMMETRY * (pair.norm(dim=1) * found.flip(0).norm(dim=1)).sum():
        raise _untraceable(
            model, "their matrix is not symmetric: torch differentiates a layer wrongly"
        )


@contextlib.contextmanager
def _followed(model: Model) -> Iterator[None]:
    """Turns what stops a second derivative into one error."""
    try:
        yield
    except RuntimeError as error:
        raise _untraceable(model, str(error).splitlines()[0]) from error


def _untraceable(model: Model, reason: str) -> TraceError:
    return TraceError(
        f"{type(model.net).__name__}: the Hessian needs second derivatives through torch.func ({reason}); "
        "use how='ggn', which needs first derivatives alone"
    )

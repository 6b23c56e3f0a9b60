"""Operations of an exported graph (``aten``), said again as the torch functions and methods that the rules know.

Most have the same name and the same arguments in the same order, so the rules' own tables decide which function or method
stands for them. The few that are called otherwise are in a table here. What neither knows stays as it is; the rules then
refuse it by its name.

Sizes: an exported graph has a symbol for the size of the batch alone. All others are numbers, whether the code computed them
or had them written down. Where a view leaves one way only to compute its size from the tensor that it reads, it is said so.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from netdial.channels.rules import FUNCTIONS, METHODS
from netdial.channels.rules.reshaping import blocks
from netdial.channels.trace.answers.example import size_on_example
from netdial.channels.trace.answers.ways import checked, what_holds
from netdial.channels.trace.aten.arguments import REDUCTIONS, as_named

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""Of an operation's first input and of its result, on the example; empty if they are no tensors."""
Builder = Callable[..., Any]
"""``(graph, shapes, *args, **kwargs)`` -> the node that stands for an operation of ``aten`` with these arguments."""

_END = 2**63 - 1
"""What ``aten`` writes for an open end."""
_PARTS = ("fft", "linalg", "special")
"""Parts of torch whose functions ``aten`` names with the part before: ``fft_rfft`` is ``torch.fft.rfft``."""
_NAMES = {"cross_entropy_loss": "cross_entropy", "nll_loss_nd": "nll_loss"}
"""Names in ``aten`` of functions that torch calls otherwise, with the same names of their arguments."""
_ASIDE = ("pin_memory", "layout")
"""Arguments that say nothing of numbers."""


def shape_of(node: Any) -> tuple[Any, ...]:
    """Returns the shape of what an exported node gives, on the example; None stands for sizes that are not known."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(map(size_on_example, value.shape)) if isinstance(value, torch.Tensor) else ()


def restate(
    graph: fx.Graph,
    op: torch._ops.OpOverload,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    shapes: Shapes,
) -> Any:
    """Adds an operation to a graph and returns its node, or whatever stands for its result.

    Args:
        graph: the graph that is made.
        op: the operation.
        args: its arguments, nodes of ``graph`` among them.
        kwargs: those given by name.
        shapes: of its first input and of its result.
    """
    name = op.overloadpacket.__name__
    kwargs = {key: value for key, value in kwargs.items() if key not in _ASIDE}
    if name in _OTHERS:
        return _OTHERS[name](graph, shapes, *args, **kwargs)
    name = _NAMES.get(name, name)
    found = [getattr(place, name) for place in (torch, F) if hasattr(place, name)]
    part, _, short = name.partition("_")
    if part in _PARTS and hasattr(getattr(torch, part), short):
        found.append(getattr(getattr(torch, part), short))
    known = [function for function in found if function in FUNCTIONS]
    plain = getattr(F, name.removesuffix("_"), None)
    if (
        not (known or name in METHODS)
        and name.endswith("_")
        and plain is not None
        and plain in FUNCTIONS
    ):
        return graph.call_function(plain, args, {**kwargs, "inplace": True})
    if name in METHODS and not known:
        return graph.call_method(name, args, kwargs)
    target: Callable[..., Any] = (known or found or [op])[0]
    args, kwargs = as_named(op, target, args, kwargs)
    return graph.call_function(target, args, kwargs)


def _looked_up(
    graph: fx.Graph, shapes: Shapes, weight: fx.Node, ids: Any, padding: int = -1, *rest: Any
) -> fx.Node:
    """Rows of a table, given behind their numbers; -1 stands for no padding."""
    return graph.call_function(F.embedding, (ids, weight, None if padding < 0 else padding))


def _view(graph: fx.Graph, shapes: Shapes, x: fx.Node, sizes: Sequence[Any]) -> fx.Node:
    """Returns a view; sizes of dimensions that pass or are merged are computed from the input.

    That changes nothing as long as the input has the size it has: the numbers are the same.
    """
    before, after = shapes
    made = list(sizes)
    for old, new in blocks(before, after):
        wide = [dim for dim in new if after[dim] > 1]
        if len(wide) == 1 and type(made[wide[0]]) is int and made[wide[0]] != -1:
            parts = [graph.call_method("size", (x, dim)) for dim in old if before[dim] > 1]
            made[wide[0]] = reduce(lambda a, b: graph.call_function(operator.mul, (a, b)), parts)
    return graph.call_method("reshape", (x, *made))


def _expand(
    graph: fx.Graph, shapes: Shapes, x: fx.Node, sizes: Sequence[Any], **kwargs: Any
) -> fx.Node:
    """Returns an expansion; dimensions that stay as they are follow their input."""
    before, lead = shapes[0], len(sizes) - len(shapes[0])
    stay = [dim >= lead and size == before[dim - lead] for dim, size in enumerate(sizes)]
    made = [-1 if same else size for same, size in zip(stay, sizes, strict=True)]
    return graph.call_method("expand", (x, *made))


def _slice(
    graph: fx.Graph,
    shapes: Shapes,
    x: fx.Node,
    dim: int = 0,
    start: Any = None,
    end: Any = None,
    step: int = 1,
) -> fx.Node:
    if start in (None, 0) and end in (None, _END) and step == 1:
        return x
    piece = slice(start, None if end == _END else end, None if step == 1 else step)
    return _pick(graph, shapes, x, dim, piece)


def _pick(graph: fx.Graph, shapes: Shapes, x: fx.Node, dim: int, place: Any) -> fx.Node:
    """Returns ``x[:, …, place]`` with the place at a dimension."""
    lead = (slice(None),) * (dim % len(shapes[0]))
    return graph.call_function(operator.getitem, (x, (*lead, place)))


def _index(graph: fx.Graph, shapes: Shapes, x: fx.Node, places: Sequence[Any]) -> fx.Node:
    """Returns ``x[i, :, j]`` with tensors as places, None standing for a whole dimension."""
    asked = tuple(slice(None) if place is None else place for place in places)
    return graph.call_function(operator.getitem, (x, asked))


def _resized(mode: str) -> Builder:
    """Returns what makes ``F.interpolate`` of an upsampling."""

    def made(graph: fx.Graph, shapes: Shapes, x: fx.Node, size: Any, *rest: Any) -> fx.Node:
        corners, scale = rest if len(rest) > 1 else (None, *rest)
        given = {"size": size, "scale_factor": scale, "mode": mode, "align_corners": corners}
        return graph.call_function(F.interpolate, (x,), given)

    return made


def _dropout_of_channels(
    graph: fx.Graph, shapes: Shapes, x: fx.Node, p: float, train: bool
) -> fx.Node:
    kind = {3: F.dropout1d, 4: F.dropout2d, 5: F.dropout3d}.get(
        len(shapes[0]), torch.feature_dropout
    )
    return graph.call_function(kind, (x, p, train))


def _norm(function: Callable[..., Any]) -> Builder:
    """Returns what makes a normalisation over channels, whose last argument says which kernel to take."""

    def made(
        graph: fx.Graph,
        shapes: Shapes,
        x: fx.Node,
        of: Any,
        w: Any = None,
        b: Any = None,
        eps: float = 1e-5,
        *rest: Any,
    ) -> fx.Node:
        return graph.call_function(function, (x, of, w, b, eps))

    return made


def _norm_by_channel(function: Callable[..., Any]) -> Builder:
    """Returns what makes a normalisation of every channel, whose statistics stand before its weights."""

    def made(
        graph: fx.Graph,
        shapes: Shapes,
        x: fx.Node,
        w: Any,
        b: Any,
        mean: Any,
        var: Any,
        training: Any,
        momentum: float,
        eps: float,
        *rest: Any,
    ) -> fx.Node:
        return graph.call_function(function, (x, mean, var, w, b, training, momentum, eps))

    return made


def _attention(
    graph: fx.Graph,
    shapes: Shapes,
    query: fx.Node,
    key: fx.Node,
    value: fx.Node,
    mask: Any = None,
    dropout: float = 0.0,
    causal: bool = False,
    **kwargs: Any,
) -> fx.Node:
    """Returns attention with all of its arguments, so that calls in training and in evaluation differ in one."""
    given = (query, key, value, mask, dropout, causal)
    return graph.call_function(F.scaled_dot_product_attention, given, kwargs)


def _unpooled(
    graph: fx.Graph, shapes: Shapes, x: fx.Node, places: fx.Node, size: Sequence[Any], *rest: Any
) -> fx.Node:
    """Returns what puts maxima back at their places; ``aten`` has forgotten the kernel, of which the size alone is needed."""
    sides, function = len(size), {2: F.max_unpool2d, 3: F.max_unpool3d}[len(size)]
    pairs = zip(shapes[0][-sides:], shapes[1][-sides:], strict=True)
    steps = [max(after // before, 1) for before, after in pairs]
    return graph.call_function(
        function, (x, places, steps), {"stride": steps, "output_size": list(size)}
    )


def _loss(function: Callable[..., Any]) -> Builder:
    """Returns what makes a loss, whose reduction is a number in ``aten``."""

    def made(
        graph: fx.Graph, shapes: Shapes, x: Any, y: Any, reduction: int = 1, *rest: Any
    ) -> fx.Node:
        given: dict[str, Any] = {"reduction": REDUCTIONS[reduction]}
        given |= dict(
            zip(("beta" if function is F.smooth_l1_loss else "delta",), rest, strict=False)
        )
        return graph.call_function(function, (x, y), given)

    return made


def _to(graph: fx.Graph, shapes: Shapes, x: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """Returns a conversion; the method takes the order in memory by name alone."""
    if args and isinstance(args[-1], torch.memory_format):
        args, kwargs = args[:-1], {**kwargs, "memory_format": args[-1]}
    return graph.call_method("to", (x, *args), kwargs)


def _checked(graph: fx.Graph, shapes: Shapes, condition: Any, message: str) -> Any:
    """Returns what checks a condition whenever the graph runs; one that always holds needs no check."""
    if not isinstance(condition, fx.Node):
        return condition
    return graph.call_function(checked, (condition, what_holds(condition, message)))


def _same(graph: fx.Graph, shapes: Shapes, x: Any, *args: Any, **kwargs: Any) -> Any:
    return x


def _as(function: Callable[..., Any]) -> Builder:
    """Returns what makes a call of a function with the same arguments."""
    return lambda graph, shapes, *args, **kwargs: graph.call_function(function, args, kwargs)


def _spectrum(
    graph: fx.Graph, shapes: Shapes, x: fx.Node, size: int, *rest: Any, **kwargs: Any
) -> fx.Node:
    """Returns a Fourier transform of windows; where windows are centred, an operation before has padded for it."""
    names = ("hop_length", "win_length", "window", "normalized", "onesided", "return_complex")
    given = dict(zip(names, rest, strict=False)) | kwargs | {"center": False}
    return graph.call_function(torch.stft, (x, size), given)


def _of_parts(name: str) -> Builder:
    """Returns what makes a call of a function that takes tensors one by one, of which ``aten`` has a list."""
    return lambda graph, shapes, parts: graph.call_function(getattr(torch, name), tuple(parts))


_OTHERS: dict[str, Builder] = {
    "embedding": _looked_up,
    "view": _view,
    "reshape": _view,
    "expand": _expand,
    "broadcast_to": _expand,
    "slice": _slice,
    "select": _pick,
    "index": _index,
    "sym_size": lambda graph, shapes, x, dim: graph.call_method("size", (x, dim)),
    "rsub": lambda graph, shapes, x, y: graph.call_function(operator.sub, (y, x)),
    "mT": lambda graph, shapes, x: graph.call_function(torch.transpose, (x, -2, -1)),
    "numpy_T": lambda graph, shapes, x: graph.call_function(getattr, (x, "T")),
    # the method of tensors; the function of that name takes patches of pictures
    "unfold": lambda graph, shapes, x, *window: graph.call_method("unfold", (x, *window)),
    "floor_divide": _as(operator.floordiv),
    "remainder": _as(operator.mod),
    "split_with_sizes": _as(torch.split),
    "layer_norm": _norm(F.layer_norm),
    "group_norm": _norm(F.group_norm),
    "batch_norm": _norm_by_channel(F.batch_norm),
    "instance_norm": _norm_by_channel(F.instance_norm),
    "to": _to,
    "mse_loss": _loss(F.mse_loss),
    "l1_loss": _loss(F.l1_loss),
    "smooth_l1_loss": _loss(F.smooth_l1_loss),
    "huber_loss": _loss(F.huber_loss),
    "linalg_vector_norm": _as(torch.norm),
    **{name: _of_parts(name) for name in ("broadcast_tensors", "block_diag", "cartesian_prod")},
    "stft": _spectrum,
    "tensordot": lambda graph, shapes, x, y, one, other: graph.call_function(
        torch.tensordot, (x, y, (one, other))
    ),
    "feature_dropout": _dropout_of_channels,
    "scaled_dot_product_attention": _attention,
    "im2col": _as(F.unfold),
    "col2im": _as(F.fold),
    "max_unpool2d": _unpooled,
    "max_unpool3d": _unpooled,
    "adaptive_max_pool1d": _as(F.adaptive_max_pool1d_with_indices),
    "adaptive_max_pool2d": _as(F.adaptive_max_pool2d_with_indices),
    "adaptive_max_pool3d": _as(F.adaptive_max_pool3d_with_indices),
    "_assert_scalar": _checked,
    # torch's functions give as many parts as they are asked for, those of aten all three
    "unique_consecutive": lambda graph, shapes, x, inverse=False, counts=False, dim=None: (
        graph.call_function(torch.unique_consecutive, (x, True, True, dim))
    ),
    "_unique2": lambda graph, shapes, x, ordered=True, *rest: graph.call_function(
        torch.unique, (x, ordered, True, True)
    ),
    "unique_dim": lambda graph, shapes, x, dim, ordered=True, *rest: graph.call_function(
        torch.unique, (x, ordered, True, True, dim)
    ),
    "lift_fresh_copy": _same,
    "detach_": _same,
    "_assert_tensor_metadata": _same,
    "upsample_linear1d": _resized("linear"),
    "upsample_bilinear2d": _resized("bilinear"),
    "upsample_bicubic2d": _resized("bicubic"),
    "upsample_trilinear3d": _resized("trilinear"),
    **{f"upsample_nearest{n}d": _resized("nearest") for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": _resized("nearest-exact") for n in (1, 2, 3)},
}

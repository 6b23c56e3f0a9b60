"""Operations without a rule that treat every channel alike: found by running them, in both modes.

What a module of the user's own, a function of autograd or any other operation does is tried on the numbers of the example: if
the operation on some of the channels gives just these channels of its result, channels pass through it. It is run in evaluation
and in training mode, from one seed. Dimensions where that is not so are positions: what lies along them stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from netdial.channels.labels import FIXED, Labels, Value
from netdial.channels.nodes import module_of, place
from netdial.channels.rules.table import Scene
from netdial.core.noise import seed_everywhere
from netdial.core.outputs import contents_kept, modes_kept, same_outputs

_SEED = 1705


def passes(scene: Scene, node: fx.Node, args: Any, kwargs: dict[str, Any]) -> Value | None:
    """Returns the labels of a result of an operation without a rule; None if that cannot be found out.

    Args:
        scene: the graph under study.
        node: the operation, which makes one tensor.
        args: what is known of its arguments.
        kwargs: of those by name.
    """
    result, given = scene.results[node], [*args, *kwargs.values()]
    values = [part for part in given if isinstance(part, Value)]
    free = [v for v in values if any(scene.atoms.is_free(axis) for axis in v.labels)]
    if not isinstance(result, Tensor):
        return None
    if not free:
        return scene.result(node)
    if any(isinstance(part, tuple | list | dict) for part in given) or any(
        len(v.labels) != result.ndim for v in free
    ):
        return None
    axes: list[Labels] = []
    for dim in range(result.ndim):
        axis = _passing(scene, node, values, free, dim)
        if axis is None:
            if module_of(scene.traced, node) is None and _any_free(scene, free, dim):
                return None
            for value in free:
                scene.fix(value.labels[dim], f"{place(node)} sees these channels as positions")
            axis = np.full(result.shape[dim], FIXED)
        axes.append(axis)
    return Value(tuple(axes))


def _any_free(scene: Scene, values: list[Value], dim: int) -> bool:
    return any(scene.atoms.is_free(value.labels[dim]) for value in values)


def _passing(
    scene: Scene, node: fx.Node, values: list[Value], free: list[Value], dim: int
) -> Labels | None:
    """Returns the labels along a dimension of the result if each channel goes through by itself; None if not."""
    size = scene.results[node].shape[dim]
    back = dim - scene.results[node].ndim
    along = [v for v in values if -back <= len(v.labels) and len(v.labels[back]) == size]
    if not _any_free(scene, free, dim):
        return np.full(size, FIXED)
    if size < 2 or any(
        len(v.labels[dim]) != size for v in free if scene.atoms.is_free(v.labels[dim])
    ):
        return None
    if not _alike(scene, node, back, size):
        return None
    for other in along[1:]:
        scene.join(along[0].labels[back], other.labels[back])
    found: Labels = along[0].labels[back]
    return found


def _alike(scene: Scene, node: fx.Node, back: int, size: int) -> bool:
    """Returns whether some channels of the result are the result of some channels, for two choices and in both modes."""
    for chosen in (range(0, size, 2), range(size // 2, size)):
        at = torch.tensor(list(chosen))
        for training in (False, True):
            whole, again, part = (
                _run(scene, node, pick, training=training)
                for pick in (None, None, (back, size, at))
            )
            if whole is None or part is None or again is None:
                return False
            wanted = whole.index_select(back, at.to(whole.device))
            drawn = training and not torch.equal(whole, again)
            if wanted.shape != part.shape:
                return False
            if not drawn and not same_outputs(wanted, part, tolerance=1e-5, equal_nan=True):
                return False
    return True


def _run(
    scene: Scene, node: fx.Node, pick: tuple[int, int, Tensor] | None, *, training: bool
) -> Tensor | None:
    """Returns what an operation gives on the example, or on some indices of a dimension of it; None if it fails."""

    def given(source: fx.Node) -> Any:
        found = scene.results[source]
        if not isinstance(found, Tensor):
            return found
        if pick and -pick[0] <= found.ndim and found.shape[pick[0]] == pick[1]:
            found = found.index_select(pick[0], pick[2].to(found.device))
        return found.clone()

    args, kwargs = fx.node.map_arg((node.args, node.kwargs), given)
    module = module_of(scene.traced, node)
    parts = _modules(module)
    try:
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=[]),
            contents_kept(*parts),
            modes_kept(*parts),
        ):
            seed_everywhere(_SEED)
            if module is not None:
                found = module.train(training)(*args, **kwargs)
            elif node.op == "call_method":
                found = getattr(args[0], str(node.target))(*args[1:], **kwargs)
            else:
                assert callable(node.target)
                found = node.target(*args, **kwargs)
    except Exception:  # whatever it raises on other sizes
        return None
    return found if isinstance(found, Tensor) else None


def _modules(module: nn.Module | None) -> list[nn.Module]:
    return [] if module is None else [module]


__all__ = ["passes"]

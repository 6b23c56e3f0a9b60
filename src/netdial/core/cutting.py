"""Cutting an ordinary module by a plan, in place: parameters, gradients, buffers, and what layers say about their sizes.

A parameter gets smaller numbers, ``parameter.data = smaller``, and stays the object that it was, so optimizers, hooks and
schedulers that hold it go on. Everything is checked, and every smaller tensor made, before the first change: a cut that is
refused leaves the module as it was.

``prepare`` gives the changes as a list, so that others can put theirs behind the same check (``shrink.surgery`` adds optimizer
states, ``family.cutting`` maps). Leaves are named as in ``named_parameters`` and ``named_buffers``, a tied one by its first
name; a normalisation layer without leaves by its attribute, ``norm.normalized_shape``.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from netdial.core.attributes import attributes_after, bare_leaf
from netdial.core.errors import ConfigError, NetdialError, ShapeError, unknown
from netdial.core.plan import Plan, Positions

Change = Callable[[], None]
_NOTE = "_netdial_cut"
"""Attribute of a module that says what was cut of it."""
_UNREAD = "buffers that the graph lacks"
_REWRITTEN = (WeightNorm, SpectralNorm, BasePruningMethod)


def cut_module(plan: Plan, module: nn.Module) -> None:
    """Cuts a module in place.

    Raises:
        ConfigError, ShapeError: see ``prepare``; the module is as it was.
    """
    commit(prepare(plan, module))


def note_cut(plan: Plan, module: nn.Module) -> None:
    """Notes in a module what was cut of it since it was built; plain values, so that it is pickled as any other."""
    before = cut_since_built(module)
    whole = plan if before is None else before.then(plan)
    _notes(module)[_NOTE] = Plan(whole.cuts).to_json()


def noted_cut(module: nn.Module) -> Plan | None:
    """Returns what was cut of a module that is still of its class; None if nothing was noted, and of a graph (``torch.fx``)."""
    return None if isinstance(module, fx.GraphModule) else cut_since_built(module)


def cut_since_built(module: nn.Module) -> Plan | None:
    """Returns what was cut of a module, or of the one that a graph was made from, since it was built; None if nothing was."""
    found = _notes(module).get(_NOTE)
    return None if found is None else Plan.from_json(found)


def carry_cut(module: nn.Module, traced: fx.GraphModule) -> None:
    """Notes in the graph of a module what was cut of that."""
    if (found := _notes(module).get(_NOTE)) is not None:
        traced.meta[_NOTE] = found


def note_unread(module: nn.Module, traced: fx.GraphModule) -> None:
    """Notes in the graph of a module the buffers of its state that the graph lacks, as code may make numbers of them."""
    traced.meta[_UNREAD] = {
        f"{path}.{name}".lstrip("."): buffer
        for path, part in module.named_modules()
        for name, buffer in part.named_buffers(recurse=False)
        if name not in part._non_persistent_buffers_set
    }
    for name, _ in traced.named_buffers(remove_duplicate=False):
        traced.meta[_UNREAD].pop(name, None)


def unread(traced: fx.GraphModule) -> Mapping[str, Tensor]:
    """Returns the buffers by name that a module has and its graph lacks."""
    found: Mapping[str, Tensor] = traced.meta.get(_UNREAD, {})
    return found


def _notes(module: nn.Module) -> dict[str, Any]:
    """Returns where notes are kept: copies of a graph (``torch.fx``) take no attributes along."""
    return module.meta if isinstance(module, fx.GraphModule) else module.__dict__


def commit(changes: Iterable[Change]) -> None:
    """Makes changes that were prepared, in their order."""
    for change in changes:
        change()


def prepare(plan: Plan, module: nn.Module) -> list[Change]:
    """Returns the changes that cut a module, having changed nothing.

    Args:
        plan: what survives.
        module: any module. Its leaves are cut, and the attributes of the layers of ``torch.nn`` that own them; other classes
            are taken to have none.

    Raises:
        ConfigError: a leaf is unknown, is the second name of a tied one, is computed from others (parametrised, weight norm,
            ``torch.nn.utils.prune``), is part of ``nn.MultiheadAttention``, has a sparse gradient, or cannot be cut there.
        ShapeError: the plan does not fit a leaf, or leaves of a layer would not fit each other.
    """
    tensors = leaves(module)
    shapes = leaf_shapes(module)
    for leaf in plan.cuts:
        if leaf not in shapes:
            raise _no_leaf(leaf, module, shapes)
        _check_positions(plan, leaf, shapes[leaf])
    changes = list(_attributes(plan, module.named_modules(), tensors, shapes))
    changes += [_smaller(plan, leaf, tensors[leaf]) for leaf in plan.cuts if leaf in tensors]
    changes += [
        part.flatten_parameters for part in module.modules() if isinstance(part, nn.RNNBase)
    ]
    return changes


def attributes_alone(plan: Plan, module: nn.Module) -> list[Change]:
    """Returns the changes of what the layers of a module say about their sizes, where its leaves are those of one that is cut.

    Layers that cannot follow stay as they are: a class of one's own may hold leaves of other shapes than its base has.
    """
    tensors, shapes = leaves(module), leaf_shapes(module)
    changes: list[Change] = []
    for named in module.named_modules():
        with suppress(NetdialError):
            changes += _attributes(plan, [named], tensors, shapes)
    return changes


def leaves(module: nn.Module) -> dict[str, Tensor]:
    """Returns parameters and buffers by name, each once, by its first name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def leaf_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Returns the shape of everything that a plan can name, as ``Plan.remove`` wants it.

    Raises:
        ConfigError: a leaf of a lazy layer has no shape yet.

    >>> leaf_shapes(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3, elementwise_affine=False)))
    {'0.weight': (3, 2), '0.bias': (3,), '1.normalized_shape': (3,)}
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, leaf in leaves(module).items():
        if is_lazy(leaf):
            raise ConfigError(
                f"leaf {name} has no shape yet; run the network on one batch before it is cut"
            )
        found[name] = tuple(leaf.shape)
    for path, part in module.named_modules():
        bare = bare_leaf(part)
        if bare:
            found[_join(path, bare[0])] = bare[1]
    return found


def smaller(plan: Plan, leaf: str, tensor: Tensor) -> Tensor:
    """Returns what survives of a leaf (or of anything of its shape), detached, in the memory format of the whole."""
    cut = plan.cut(leaf, tensor.detach())
    for ndim, order in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        own = tensor.ndim == ndim and tensor.is_contiguous(memory_format=order)
        if own and not tensor.is_contiguous():
            return cut.contiguous(memory_format=order)
    return cut


def _smaller(plan: Plan, leaf: str, tensor: Tensor) -> Change:
    """Returns the change of one parameter or buffer, with its gradient."""
    gradient = tensor.grad if tensor.is_leaf else None
    if gradient is not None and gradient.layout != torch.strided:
        raise ConfigError(
            f"leaf {leaf}: its gradient is sparse and cannot be cut; clear it (zero_grad), and use dense gradients"
        )
    cut = smaller(plan, leaf, tensor)
    cut_gradient = None if gradient is None else smaller(plan, leaf, gradient)

    def change() -> None:
        if gradient is not None:
            tensor.grad = None
        _forget_accumulator(tensor)
        tensor.data = cut
        if gradient is not None:
            tensor.grad = cut_gradient

    return change


def _forget_accumulator(tensor: Tensor) -> None:
    """Makes autograd forget the shape that a parameter had.

    The node that accumulates a gradient remembers it, and lives as long as any graph of an earlier step does. Assigning numbers
    of another type drops the node; assigning numbers of another shape alone does not.
    """
    other = torch.float32 if tensor.dtype == torch.float16 else torch.float16
    tensor.data = torch.empty(0, dtype=other, device=tensor.device)


def _attributes(
    plan: Plan,
    parts: Iterable[tuple[str, nn.Module]],
    tensors: dict[str, Tensor],
    shapes: dict[str, tuple[int, ...]],
) -> Iterator[Change]:
    first = {id(tensor): leaf for leaf, tensor in tensors.items()}
    for path, part in parts:
        held = itertools.chain(part._parameters.items(), part._buffers.items())
        own = {name: first[id(tensor)] for name, tensor in held if tensor is not None}
        bare = bare_leaf(part)
        if bare:
            own = {bare[0]: _join(path, bare[0])}
        if isinstance(part, nn.MultiheadAttention):
            _refuse_attention(plan, path)
        if not any(leaf in plan.cuts for leaf in own.values()):
            continue
        _check_layer(path, part)
        cuts = {
            name: (shapes[leaf], _survivors(plan, leaf, shapes[leaf])) for name, leaf in own.items()
        }
        try:
            found = attributes_after(part, cuts)
        except NetdialError as error:
            raise type(error)(f"plan: {_join(path, str(error))}") from None
        yield from (_setter(part, name, value) for name, value in found.items())


def _setter(part: nn.Module, name: str, value: object) -> Change:
    return lambda: setattr(part, name, value)


def _survivors(plan: Plan, leaf: str, shape: tuple[int, ...]) -> tuple[Positions, ...]:
    dims = plan.cuts.get(leaf, {})
    return tuple(dims[dim] if dim in dims else tuple(range(n)) for dim, n in enumerate(shape))


def _check_positions(plan: Plan, leaf: str, shape: tuple[int, ...]) -> None:
    for dim, kept in plan.cuts[leaf].items():
        if not 0 <= dim < len(shape):
            raise ShapeError(f"plan: leaf {leaf} of shape {list(shape)} has no dimension {dim}")
        if not kept:
            raise ConfigError(f"plan: nothing would survive of leaf {leaf}; keep at least one")
        if list(kept) != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= shape[dim]:
            raise ShapeError(
                f"plan: leaf {leaf}, dimension {dim}: survivors {kept[0]}…{kept[-1]} have to be ascending "
                f"positions of 0…{shape[dim] - 1}"
            )


def _refuse_attention(plan: Plan, path: str) -> None:
    inside = [leaf for leaf in plan.cuts if leaf.startswith(_join(path, ""))]
    if inside:
        raise ConfigError(
            f"plan: leaf {inside[0]} lies in a nn.MultiheadAttention, which fixes the sizes of its heads; "
            "replace it by separate projections first"
        )


def _check_layer(path: str, part: nn.Module) -> None:
    hooks = [hook for hook in part._forward_pre_hooks.values() if isinstance(hook, _REWRITTEN)]
    if hooks or parametrize.is_parametrized(part):
        what = type(hooks[0]).__name__ if hooks else "torch.nn.utils.parametrize"
        raise ConfigError(
            f"plan: {path or 'the module'} computes its {type(part).__name__} leaves from others ({what}); "
            "make them ordinary parameters first (remove_parametrizations, remove_weight_norm, prune.remove)"
        )


def _no_leaf(leaf: str, module: nn.Module, shapes: Iterable[str]) -> ConfigError:
    path = leaf.split(".parametrizations.")[0] if ".parametrizations." in leaf else ""
    owner = dict(module.named_modules()).get(path or leaf.rpartition(".")[0])
    if owner is not None and parametrize.is_parametrized(owner):
        return ConfigError(
            f"plan: leaf {leaf} is computed from others (torch.nn.utils.parametrize); "
            "make it an ordinary parameter first (remove_parametrizations)"
        )
    tensors = leaves(module)
    first = {id(tensor): name for name, tensor in tensors.items()}
    aliases = dict(module.named_parameters(remove_duplicate=False))
    aliases |= dict(module.named_buffers(remove_duplicate=False))  # type: ignore[arg-type]
    if leaf in aliases:
        return ConfigError(
            f"plan: leaf {leaf} is another name of {first[id(aliases[leaf])]}; cut that one, and both are cut"
        )
    return unknown("leaf", leaf, difflib.get_close_matches(leaf, list(shapes), n=5, cutoff=0))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

"""Networks as people bring them: copies of any, and what netdial cannot take, said in one line with the cure.

Some networks hold tensors that were computed: activations kept as attributes, or weights that a hook makes of other
parameters before each run (``torch.nn.utils.weight_norm``, ``torch.nn.utils.prune``). ``copy.deepcopy`` refuses those.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import remove_spectral_norm, remove_weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._pytree import tree_leaves

from netdial.core.errors import ConfigError, warn
from netdial.core.outputs import modes_kept

_CURES = {
    BasePruningMethod: "torch.nn.utils.prune.remove(layer, {name!r})",
    WeightNorm: "torch.nn.utils.remove_weight_norm(layer, {name!r})",
    SpectralNorm: "torch.nn.utils.remove_spectral_norm(layer, {name!r})",
}
_STEPS = 15
"""Power iterations by which torch's newer spectral norm starts."""
_WRAPPERS = {
    "DataParallel": "give the network inside, net.module",
    "DistributedDataParallel": "give the network inside, net.module",
    "OptimizedModule": "give the network as it was before torch.compile, net._orig_mod",
}


def copy_network(net: nn.Module) -> nn.Module:
    """Returns a deep copy of a network; tensors that it computed come along as plain values.

    Raises:
        ConfigError: it holds something that cannot be copied.
    """
    memo = {id(tensor): tensor.detach().clone() for tensor in _computed(net)}
    try:
        copied = copy.deepcopy(net, memo)
        _turn_hooks(copied, memo)
        _spread_buffers(copied)
        return copied
    except Exception as error:
        raise ConfigError(
            f"network {type(net).__name__}: cannot be copied ({type(error).__name__}: {error}); remove what it holds beside "
            "layers and tensors, or give its class a __deepcopy__"
        ) from error


def _spread_buffers(copied: nn.Module) -> None:
    """Gives buffers of a copy whose numbers lie in memory once for several places (``expand``) memory for each, in place."""
    made: dict[int, Tensor] = {}
    for module in copied.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.layout == torch.strided and _overlaps(buffer):
                module._buffers[name] = made.setdefault(id(buffer), buffer.contiguous())


def _overlaps(tensor: Tensor) -> bool:
    """Returns whether a tensor has several places for one number, so that it cannot be written to."""
    return any(n > 1 and step == 0 for n, step in zip(tensor.shape, tensor.stride(), strict=True))


def _turn_hooks(copied: nn.Module, memo: dict[int, Any]) -> None:
    """Lets hooks of a copy that were made in functions of the network write to the copy, in place.

    ``copy.deepcopy`` takes functions as they are, so that ``lambda layer, args, made: self.seen.append(made)`` would write to
    the network.
    """
    for module in copied.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key, hook in hooks.items():
                if isinstance(hook, FunctionType) and hook.__closure__:
                    hooks[key] = _turned(hook, memo)


def _turned(hook: FunctionType, memo: dict[int, Any]) -> FunctionType:
    """Returns a function that holds copies of what it held, where there are some."""
    cells = []
    for cell in hook.__closure__ or ():
        try:
            cells.append(CellType(memo.get(id(cell.cell_contents), cell.cell_contents)))
        except ValueError:  # it is empty
            cells.append(cell)
    made = FunctionType(
        hook.__code__, hook.__globals__, hook.__name__, hook.__defaults__, tuple(cells)
    )
    made.__kwdefaults__ = hook.__kwdefaults__
    return made


def check_exchangeable(net: nn.Module) -> None:
    """Refuses networks that cannot be run with other tensors in place of their own.

    Raises:
        ConfigError: it is no module; or the network, or a part of it, is wrapped for several devices, compiled or scripted.
    """
    if not isinstance(net, nn.Module):
        raise ConfigError(
            f"network: got a {type(net).__name__}; give a torch.nn.Module, for example nd.build('mlp:50', input_shape=(13,), "
            "n_outputs=3)"
        )
    for name, layer in _named(net):
        cure = _WRAPPERS.get(type(layer).__name__)
        if isinstance(layer, torch.jit.ScriptModule):
            cure = "give the network as it was before torch.jit"
        if cure:
            raise ConfigError(f"network {name}: its parameters cannot be exchanged; {cure}")


def check_vary(net: nn.Module, leaves: Collection[str]) -> None:
    """Refuses leaves whose values a parametrisation takes as signs, where a prior or noise moves them.

    Householder's map of ``torch.nn.utils.parametrizations.orthogonal`` rounds the diagonal of its parameter to whole numbers,
    ±1 at the start, without a gradient: whatever pulls it or adds noise makes the whole weight 0.

    Raises:
        ConfigError: there is one among the leaves of these names.
    """
    for path, layer in net.named_modules():
        for name, maps in getattr(layer, "parametrizations", {}).items():
            signs = any(str(getattr(m, "orthogonal_map", "")).endswith("householder") for m in maps)
            leaf = f"{path}.parametrizations.{name}.original".lstrip(".")
            if signs and leaf in leaves:
                raise ConfigError(
                    f"layer {path!r}: its {name} is orthogonal by Householder's map, which takes the diagonal of its "
                    "parameter as signs, so that a prior makes the weight 0; give orthogonal(layer, "
                    f"orthogonal_map='matrix_exp'), or train it alike for all complexity values: shared=[{leaf!r}]"
                )


def check_initialised(net: nn.Module) -> None:
    """Refuses lazy layers that have not met an input yet.

    Raises:
        ConfigError: there is one; the message says what to do.
    """
    for name, layer in _named(net):
        held = (*layer._parameters.values(), *layer._buffers.values())
        if any(tensor is not None and is_lazy(tensor) for tensor in held):
            raise ConfigError(
                f"network {name}: has no shape yet; run the network once on a few examples, net(x[:2]), before"
            )


def check_plain_weights(net: nn.Module, *, masks: bool = True, instead: str = "") -> None:
    """Refuses layers whose weights are computed before each run: rows, columns and numbers of those cannot be cut.

    A number of what they are computed from is no number of theirs: an orthogonal weight has no zeros where its parameters have
    some, and a weight norm divides a row without any by 0.

    Args:
        net: any module.
        masks: whether masks of ``torch.nn.utils.prune`` are refused, too; zeros stay zeros there.
        instead: what else can be done, in words.

    Raises:
        ConfigError: there is such a layer; the message says which call of torch makes its weights plain.
    """
    found = [(path, name, _cure(hook, name)) for path, name, hook in _computing(net)
             if masks or not isinstance(hook, BasePruningMethod)]  # fmt: skip
    for path, layer in net.named_modules():
        if is_parametrized(layer):
            call = "torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})"
            found += [(path, name, call.format(name=name)) for name in layer.parametrizations]
    for path, name, cure in found:
        raise ConfigError(
            f"layer {path!r}: its {name} is computed from other parameters at each run; make it plain first: {cure}{instead}"
        )


def _cure(hook: object, name: str) -> str:
    """Returns the call that makes plain what a hook computes."""
    return next(text for kind, text in _CURES.items() if isinstance(hook, kind)).format(name=name)


def with_plain_weights(net: nn.Module) -> nn.Module:
    """Returns a copy of a network in which no weight is computed from other parameters; it gives the same outputs.

    Weight norm, spectral norm and other parametrisations are written into the weights, with a warning: rows and columns of what
    is computed cannot be cut. Masks of ``torch.nn.utils.prune`` are refused, for what they hide could come back.

    Raises:
        ConfigError: a layer is pruned by masks, or the network cannot be copied.
    """
    copied = copy_network(net)
    names = make_plain(copied)
    if names:
        warn(
            f"{type(net).__name__}: weights that a norm or another parametrisation computes ({', '.join(names)}) are plain in "
            "what comes back; what trains them further trains them without it"
        )
    check_plain_weights(copied)
    return copied


def make_plain(net: nn.Module) -> list[str]:
    """Writes weights that a norm or another parametrisation computes into the network, in place; returns their names."""
    names = []
    for path, layer in net.named_modules():
        if is_parametrized(layer):
            with modes_kept(layer):
                layer.eval()  # in training a spectral norm takes a step
                # torch gives a layer a class of its own for this, copies share it, and the removal changes the class
                layer.__class__ = type(
                    type(layer).__name__, type(layer).__bases__, dict(vars(type(layer)))
                )
                for name in list(layer.parametrizations):
                    remove_parametrizations(layer, name, leave_parametrized=True)
                    names.append(f"{path}.{name}".lstrip("."))
    for path, name, hook in list(_computing(net)):
        if not isinstance(hook, BasePruningMethod):
            layer = net.get_submodule(path)
            if isinstance(hook, SpectralNorm):
                _settle(layer, hook)
                remove_spectral_norm(layer, name)
                _forget(layer, hook)
            else:
                remove_weight_norm(layer, name)
            names.append(f"{path}.{name}".lstrip("."))
    return names


@torch.no_grad()
def _settle(layer: nn.Module, hook: SpectralNorm) -> None:
    """Lets a spectral norm that has met no batch find the norm, in place; what it divides by until then is drawn."""
    found = [getattr(layer, f"{hook.name}_{end}") for end in "uv"]
    kept = [part.clone() for part in found]
    was = now = hook.compute_weight(layer, do_power_iteration=False).norm()
    for _ in range(_STEPS):
        now = hook.compute_weight(layer, do_power_iteration=True).norm()
    if now / 2 < was < 2 * now:
        for part, before in zip(found, kept, strict=True):
            part.copy_(before)


def _forget(layer: nn.Module, hook: SpectralNorm) -> None:
    """Takes away what asks for the parameters of a spectral norm when a state is loaded, which torch leaves at the layer."""
    hooks: Any = layer._load_state_dict_pre_hooks
    for key, wrapped in list(hooks.items()):
        if getattr(getattr(wrapped, "hook", wrapped), "fn", None) is hook:
            del hooks[key]


@torch.no_grad()
def refresh(net: nn.Module) -> nn.Module:
    """Computes the weights that hooks make before each run, in place, so that they can be read before the first one."""
    for path, _, hook in _computing(net):
        hook(net.get_submodule(path), ())
    return net


def _named(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields each layer with its class and place, in words."""
    for path, layer in net.named_modules():
        yield f"{type(layer).__name__} {path!r}" if path else type(layer).__name__, layer


def _computing(
    net: nn.Module,
) -> Iterator[tuple[str, str, BasePruningMethod | WeightNorm | SpectralNorm]]:
    """Yields (layer, tensor, hook) of each tensor that is computed from parameters before a run."""
    for path, layer in net.named_modules():
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, BasePruningMethod):
                yield path, hook._tensor_name, hook
            elif isinstance(hook, WeightNorm | SpectralNorm):
                yield path, hook.name, hook


def _computed(net: nn.Module) -> Iterator[Tensor]:
    """Yields the tensors that a network holds and that are results of a computation."""
    for layer in net.modules():
        held = {k: v for k, v in vars(layer).items() if k not in ("_parameters", "_modules")}
        for value in tree_leaves(held):
            if isinstance(value, Tensor) and not value.is_leaf:
                yield value

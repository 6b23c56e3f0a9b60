"""Leaves of a network: which vary with λ, which are trained alike at every λ, and which are frozen.

A leaf is a parameter. It is frozen if the network says so (``requires_grad=False``) or a pattern of ``freeze`` names it, and
then it never moves: no map, no posterior, no divergence, no weight decay. A normalisation layer whose parameters are frozen is
held in evaluation mode, too: its running statistics are used and not updated, as they are part of what it computes.

A pattern is a name with wildcards (``"backbone.*"``, ``"*.bias"``), the name of a layer (``"backbone"``: all in it), or the
class name of a layer (``"LayerNorm"``: all in it). A leaf with several names (tied weights) is meant by any of them.
"""

from __future__ import annotations

import fnmatch
import glob
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from netdial.core.errors import ConfigError, unknown
from netdial.core.layout import carrying, owners
from netdial.nets.foreign import check_vary
from netdial.objective import OBJECTIVES

if TYPE_CHECKING:
    from netdial.family.family import Family

IN_SINGLE = "give net.float(), which precision='bf16-mixed' trains fast; what comes back can be made half again"
"""What to do with parameters of too few digits to be trained."""
_TRAINED = (torch.float32, torch.float64)


class Leaves(NamedTuple):
    """The leaves of a network by what becomes of them.

    Attributes:
        varying: leaves that are a function of λ.
        alike: all other leaves, the same for every λ, in the order of the network.
        frozen: names of those of ``alike`` that are not trained.
    """

    varying: dict[str, Tensor]
    alike: dict[str, Tensor]
    frozen: tuple[str, ...]


def divide(net: nn.Module, *, freeze: Sequence[str], shared: Sequence[str]) -> Leaves:
    """Returns the leaves of a network by what becomes of them.

    Args:
        net: the network.
        freeze: patterns of leaves that are not trained, beside those with ``requires_grad=False``.
        shared: patterns of leaves that are trained, and the same for every λ.

    Raises:
        ConfigError: nothing is left that could vary with λ, a pattern names nothing, or a leaf cannot be trained as it is
            (on another device, of another number type, the signs of an orthogonal weight).
    """
    leaves: dict[str, Tensor] = dict(net.named_parameters())
    still = matching(net, "freeze", freeze) | {n for n, p in leaves.items() if not p.requires_grad}
    alike = matching(net, "shared", shared) | still
    varying = {name: leaf for name, leaf in leaves.items() if name not in alike}
    if not varying:
        raise ConfigError(f"{type(net).__name__} {_why_nothing_varies(leaves, still, shared)}")
    check_vary(net, varying)
    _check_devices({**leaves, **dict(net.named_buffers())})
    _check_types({name: leaf for name, leaf in leaves.items() if name not in still})
    return Leaves(
        varying,
        {name: leaf for name, leaf in leaves.items() if name in alike},
        tuple(name for name in leaves if name in still),
    )


def matching(net: nn.Module, option: str, patterns: Sequence[str]) -> set[str]:
    """Returns the names of the parameters that patterns mean, a tied one by its first name.

    Args:
        net: the network.
        option: what the patterns were given as, for messages.
        patterns: see above.

    Raises:
        ConfigError: a pattern names nothing in this network.
    """
    words = _words(net)
    found: set[str] = set()
    for pattern in patterns:
        meant = {
            name
            for name, (names, layers) in words.items()
            if pattern in layers or any(fnmatch.fnmatchcase(alias, pattern) for alias in names)
        }
        if not meant and not _is_layer(net, pattern):
            known = {word for names, layers in words.values() for word in (*names, *layers)}
            raise unknown(f"{option} pattern", pattern, known)
        found |= meant
    return found


def exactly(names: Iterable[str]) -> tuple[str, ...]:
    """Returns patterns that mean these names and no others."""
    return tuple(glob.escape(name) for name in names)


def held_layers(net: nn.Module, frozen: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Returns the paths of the normalisation layers that are frozen with their statistics.

    Those whose parameters are all frozen. One without parameters is meant by a pattern itself, or goes with the smallest
    layer around it that has parameters.

    Args:
        net: the network.
        frozen: names of the frozen parameters.
        patterns: what was given as ``freeze``.
    """
    layers = dict(net.named_modules())
    trained = {id(p) for name, p in net.named_parameters() if name not in set(frozen)}
    found = []
    for path, layer in layers.items():
        if isinstance(layer, _NormBase) and layer.track_running_stats:
            leaves = list(_surroundings(layers, path).parameters())
            still = bool(leaves) and not any(id(leaf) in trained for leaf in leaves)
            bare = not any(True for _ in layer.parameters())
            if still or (bare and any(_means(pattern, path, layer) for pattern in patterns)):
                found.append(path)
    return tuple(found)


def frozen_norms(net: nn.Module) -> list[nn.Module]:
    """Returns the normalisation layers whose parameters a network says are frozen: training holds them in evaluation mode."""
    frozen = [name for name, leaf in net.named_parameters() if not leaf.requires_grad]
    return [net.get_submodule(path) for path in held_layers(net, frozen, ())] if frozen else []


def _surroundings(layers: dict[str, nn.Module], path: str) -> nn.Module:
    """Returns the layer itself, or the smallest one around it that has parameters."""
    while path and not any(True for _ in layers[path].parameters()):
        path = path.rpartition(".")[0]
    return layers[path]


def _words(net: nn.Module) -> dict[str, tuple[set[str], set[str]]]:
    """Returns for each parameter all its names, and the paths and class names of the layers around it."""
    found: dict[int, tuple[str, set[str], set[str]]] = {}
    for path, layer in net.named_modules(remove_duplicate=False):
        for key, leaf in layer.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{path}.{key}" if path else key
            _, names, layers = found.setdefault(id(leaf), (name, set(), set()))
            names.add(name)
            layers.update(_around(net, path))
    return {name: (names, layers) for name, names, layers in found.values()}


def _around(net: nn.Module, path: str) -> Iterator[str]:
    """Yields paths and class names of a layer and of all layers around it."""
    yield type(net).__name__
    parts = path.split(".") if path else []
    for end in range(1, len(parts) + 1):
        around = ".".join(parts[:end])
        yield around
        yield type(net.get_submodule(around)).__name__


def _is_layer(net: nn.Module, pattern: str) -> bool:
    """Returns whether a pattern means a layer, one without parameters included."""
    return any(_means(pattern, path, layer) for path, layer in net.named_modules())


def _means(pattern: str, path: str, layer: nn.Module) -> bool:
    return pattern == type(layer).__name__ or fnmatch.fnmatchcase(path, pattern)


def _why_nothing_varies(leaves: dict[str, Tensor], still: set[str], shared: Sequence[str]) -> str:
    if not leaves:
        return "has no parameters to make a family of"
    if len(still) == len(leaves):
        return (
            f"has no parameters that may change: all {len(leaves)} are frozen; set requires_grad_(True) on those "
            "that are to be trained, or give fewer patterns to freeze"
        )
    return f"has no parameters to make a family of once {', '.join(shared)} are shared" + (
        f" and {len(still)} frozen" if still else ""
    )


def _check_devices(tensors: dict[str, Tensor]) -> None:
    where = {str(tensor.device): name for name, tensor in tensors.items()}
    if "meta" in where:
        raise ConfigError(
            f"parameter {where['meta']!r} has no values (device meta); load the network's weights first"
        )
    if len(where) > 1:
        places = ", ".join(f"{name!r} on {device}" for device, name in sorted(where.items()))
        raise ConfigError(
            f"the network lies on several devices ({places}); move it to one, net.to(device)"
        )


def _check_types(trained: dict[str, Tensor]) -> None:
    for name, leaf in trained.items():
        if leaf.dtype not in _TRAINED:
            raise ConfigError(
                f"parameter {name!r} is {leaf.dtype}; expected a floating-point type of 32 or 64 bits: "
                + (IN_SINGLE if leaf.is_floating_point() else "freeze it")
            )
    types = {leaf.dtype: name for name, leaf in reversed(trained.items())}
    if len(types) > 1:
        both = ", ".join(f"{name!r} is {kind}" for kind, name in types.items())
        raise ConfigError(
            f"trained parameters are of several number types ({both}); make them one, net.float() or net.double(), "
            "or freeze those of the other type"
        )


def effective_by_layer(family: Family, lam: float) -> dict[str, float]:
    """Returns layer -> effective parameters of the member at λ; nothing for points."""
    fields = family.fields_at([lam])
    if fields.log_std is None:
        return {}
    fitted = OBJECTIVES[family.objective].fitted_prior
    prior = fields.fitted_prior() if fitted else family.prior_at([lam]).to(fields.mean)
    shares = family.layout.split(fields.effective_shares(prior)[0].detach())
    return {
        layer: sum(float(shares[name].sum()) for name in names if name in shares)
        for layer, names in owners(family.net).items()
    }


def shares_by_layer(family: Family, lams: Sequence[float]) -> dict[str, list[float]]:
    """Returns layer -> for each λ the share of its parameters that counts; layers without numbers are left out.

    Under a posterior these are the effective ones, else the fewest that carry 99 % of the layer's squared norm.
    """
    held, found = owners(family.net), defaultdict(list)
    sizes = dict(family.net.named_parameters())
    for lam in lams:
        counted = effective_by_layer(family, lam)
        leaves = {} if counted else dict(family.export(lam).named_parameters())
        for layer, names in held.items():
            count = sum(sizes[name].numel() for name in names)
            if not count:
                continue
            kept = counted.get(layer)
            if kept is None:
                kept = carrying(torch.cat([leaves[name].detach().flatten() for name in names]))
            found[layer].append(kept / count)
    return dict(found)

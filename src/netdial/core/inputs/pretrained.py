"""A cut model of the transformers library in a folder that ``from_pretrained`` opens, with equal outputs.

A configuration says sizes for all layers at once, so that layers which were cut unlike each other do not fit it. They are
filled up with zeros to the smallest sizes that it can say: units and heads of zeros send nothing to anybody. Where a size is
that of before, zeros stand where the numbers were, as parts of a leaf (queries, keys and values) may lie one behind another.
What is written is made again from the configuration and compared with the model first; nothing is written if outputs differ.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from netdial.core.cutting import cut_since_built
from netdial.core.errors import ConfigError, first_line, warn
from netdial.core.inputs.modules import scored
from netdial.core.inputs.outputs import structured
from netdial.core.inputs.packing import Packing
from netdial.core.outputs import evaluating, same_outputs

_NO_SIZES = ("_id", "_ids", "layers", "vocab_size", "_embeddings", "_version", "num_labels")
"""How names of whole numbers end that no cut changes."""
_WIDTHS = ("n_inner", "intermediate_size")
"""Names of widths that are made of others while they are None."""
_TOLERANCE = 1e-4
_LENGTH = 6

Shapes = dict[str, tuple[int, ...]]


def fitting(net: Any, kind: type[Any], packing: Packing | None) -> Any:
    """Returns a model of a class from a configuration, with the numbers of a cut one.

    Args:
        net: the cut model; it has a ``config``.
        kind: its class.
        packing: its inputs, if they are known.

    Raises:
        ConfigError: no configuration says its sizes, or what would be written gives other outputs.
    """
    cut = _Cut(net, kind, packing)
    own = sum(map(math.prod, cut.needed.values()))
    config, size = cut.smallest(copy.deepcopy(net.config))
    counts = [getattr(config, name, None) for name in ("num_attention_heads", "hidden_size")]
    is_one = all(type(count) is int and count > 0 for count in counts)  # stages have lists of them
    if size > own and is_one and getattr(config, "head_dim", None) is None:
        apart = copy.deepcopy(
            net.config
        )  # some classes read a size of heads that their configuration leaves out
        apart.head_dim = apart.hidden_size // apart.num_attention_heads
        other = cut.smallest(apart)
        config, size = other if other[1] < size else (config, size)
    if size > own:
        warn(
            f"save_pretrained: {type(config).__name__} says one size for layers of which some are smaller, so they are filled "
            f"up with zeros: {size} numbers are written for {own}; nd.save keeps the small network"
        )
    found = cut.made(config)
    generation = getattr(net, "generation_config", None)
    if generation is not None:
        found.generation_config = copy.deepcopy(generation)
    return found.train(net.training)


class _Cut:
    """A cut model, and what it gives for made-up inputs."""

    def __init__(self, net: Any, kind: type[Any], packing: Packing | None) -> None:
        self.net, self.kind = net, kind
        self.held = {name: leaf.detach() for name, leaf in net.state_dict().items()}
        self.needed = {name: tuple(leaf.shape) for name, leaf in self.held.items()}
        plan = cut_since_built(net)
        self._kept = {} if plan is None else plan.cuts
        self._built = _shapes(net.config, kind) if self._kept else {}
        self._args, self._kwargs = _inputs(net, packing)
        self._due = self._outputs(net)

    def smallest(self, config: Any) -> tuple[Any, int]:
        """Returns the configuration, changed in place to the smallest sizes with equal outputs, and its size."""
        size = _size(config, self.kind, self.needed)
        if size is None:
            raise ConfigError(self._refusal(_unlike(config, self.kind, self.needed)))
        if why := self._differs(config):
            raise ConfigError(self._refusal(why))
        dims = {dim for shape in self.needed.values() for dim in shape}
        for holder, key in list(_numbers(config)):
            before = holder[key] if isinstance(key, int) else getattr(holder, key)
            tried = {dim for dim in dims if before is None or dim < before}
            if "heads" in str(key):
                tried |= set(range(1, before))
            for value in sorted(tried):
                _set(holder, key, value)
                smaller = _size(config, self.kind, self.needed)
                if smaller is not None and smaller < size and not self._differs(config):
                    size = smaller
                    break
            else:
                _set(holder, key, before)
        return config, size

    def made(self, config: Any) -> Any:
        """Returns the model of a configuration with the numbers of the cut one, and zeros where it has none."""
        found = self.kind(copy.deepcopy(config)).to(next(self.net.parameters()).dtype)
        state = found.state_dict()
        found.load_state_dict({n: self._filled(n, leaf.shape) for n, leaf in state.items()})
        return found

    def _filled(self, name: str, shape: torch.Size) -> Tensor:
        """Returns a leaf with zeros where it was cut, or along a dimension that the configuration makes smaller, behind it."""
        leaf: Tensor = self.held[name]
        kept, built = self._kept.get(name, {}), self._built.get(name, ())
        places = []
        for dim, size in enumerate(leaf.shape):
            own = kept.get(dim, ()) if built[dim : dim + 1] == (shape[dim],) else ()
            places.append(torch.tensor(own) if len(own) == size else torch.arange(size))
        if not places:
            return leaf
        out = leaf.new_zeros(shape)
        out[torch.meshgrid(*places, indexing="ij")] = leaf
        return out

    def _outputs(self, net: Any) -> Tensor:
        with evaluating(net):
            return scored(structured(net(*self._args, **self._kwargs)))

    def _differs(self, config: Any) -> str:
        """Returns how outputs of a model of a configuration differ, in words; empty if they do not."""
        try:
            got = self._outputs(self.made(config))
        except Exception as error:  # of whatever kind a class raises whose sizes do not go together
            return first_line(error)
        same = same_outputs(self._due, got, tolerance=_TOLERANCE, equal_nan=True)
        return "" if same else f"outputs would differ by {same.difference:.1e} of the largest"

    def _refusal(self, why: str) -> str:
        return (
            f"save_pretrained: a {type(self.net.config).__name__} cannot say how this {self.kind.__name__} was cut ({why}), so "
            "nothing was written; keep the file of nd.save, and open it with nd.load_model"
        )


def _numbers(config: Any) -> Iterator[tuple[Any, Any]]:
    """Yields where the whole numbers of a configuration, and of those inside, stand: (holder, name or place)."""
    for name, value in list(vars(config).items()):
        if name.startswith("_") or isinstance(value, bool):
            continue
        known = isinstance(value, int) and value > 1 and not name.endswith(_NO_SIZES)
        if known or (value is None and name in _WIDTHS):
            yield config, name
        elif isinstance(value, list) and all(type(one) is int for one in value):
            yield from ((value, place) for place in range(len(value)))
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _numbers(value)


def _set(holder: Any, key: Any, value: int | None) -> None:
    if isinstance(key, int):
        holder[key] = value
    else:
        setattr(holder, key, value)


def _shapes(config: Any, kind: type[Any]) -> Shapes:
    with torch.device("meta"):
        fresh: nn.Module = kind(copy.deepcopy(config))
    return {name: tuple(leaf.shape) for name, leaf in fresh.state_dict().items()}


def _size(config: Any, kind: type[Any], needed: Shapes) -> int | None:
    """Returns the numbers of a fresh model; None if a leaf is smaller than needed, or the configuration makes none."""
    try:
        made = _shapes(config, kind)
    except Exception:  # sizes that do not go together, of whatever kind the class raises
        return None
    if made.keys() != needed.keys():
        return None
    for name, shape in made.items():
        if not _holds(shape, needed[name]):
            return None
    return sum(map(math.prod, made.values()))


def _holds(shape: tuple[int, ...], needed: tuple[int, ...]) -> bool:
    """Returns whether a leaf of some shape has room for another."""
    return len(shape) == len(needed) and all(a >= b for a, b in zip(shape, needed, strict=True))


def _unlike(config: Any, kind: type[Any], needed: Shapes) -> str:
    """Returns the first leaf that does not fit, in words."""
    made = _shapes(config, kind)
    for name, shape in needed.items():
        if not _holds(made.get(name, ()), shape):
            return f"{name} is {list(shape)}, the configuration makes {list(made.get(name, ()))}"
    return f"it makes {next(iter(made.keys() - needed.keys()), 'others')} besides"


def _inputs(net: Any, packing: Packing | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns made-up inputs of a model, by name.

    Raises:
        ConfigError: what it takes is not known.
    """
    source = torch.Generator().manual_seed(1705)
    config, like = net.config, next(net.parameters())

    def words(*shape: int) -> Tensor:
        most = int(getattr(config, "vocab_size", 2) or 2)
        return torch.randint(0, most, shape, generator=source).to(like.device)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source).to(like)

    if packing is not None:
        parts = []
        for name, shape, dtype in zip(packing.names, packing.shapes, packing.dtypes, strict=True):
            kind: torch.dtype = getattr(torch, dtype)
            if kind.is_floating_point:
                parts.append(numbers(2, *shape))
            elif name.endswith("input_ids") or not name:
                parts.append(words(2, *shape))
            else:  # masks, and kinds of words
                parts.append(torch.ones(2, *shape, dtype=kind, device=like.device))
        return packing.call(parts)
    name = getattr(net, "main_input_name", "")
    side = getattr(config, "image_size", None)
    if name == "input_ids":
        return (), {name: words(2, _LENGTH)}
    if name == "pixel_values":
        height, width = side if isinstance(side, list | tuple) else (side or 64, side or 64)
        return (), {name: numbers(2, getattr(config, "num_channels", 3), height, width)}
    raise ConfigError(
        f"save_pretrained: what a {type(net).__name__} takes is not known ({name or 'no main_input_name'}), so what would be "
        "written could not be compared with it; keep the file of nd.save"
    )

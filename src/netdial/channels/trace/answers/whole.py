"""Which modules are recorded as single operations: layers of torch and netdial whose leaves are their own."""

from __future__ import annotations

from torch import nn

from netdial.channels.layers.attention import Attention
from netdial.channels.layers.frozen import Frozen
from netdial.channels.layers.gated import Gated
from netdial.channels.layers.keeping import Keeping
from netdial.channels.layers.mode import ByMode
from netdial.channels.layers.packed import PackedLayer
from netdial.channels.layers.pick import Pick
from netdial.channels.layers.shift import Shift
from netdial.channels.layers.switch import Switch
from netdial.core.inputs import PartedInputs, ScoredOutput

_FUNCTIONS = ("torch.nn.modules.loss", "torch.nn.modules.distance")
"""Where torch has modules that do nothing but call a function with the settings that they hold."""


_WEIGHTED = (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd)


def is_layer(module: nn.Module) -> bool:
    """Returns whether torch or netdial defines a module as a single operation."""
    own = Attention | ByMode | Gated | Keeping | PackedLayer | PartedInputs | Pick | ScoredOutput
    if isinstance(module, own | Frozen | Shift | Switch):
        return True
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    home = type(module).__module__
    if home in _FUNCTIONS and not isinstance(module, nn.CTCLoss):
        return False
    if _is_hooked(module):
        return False
    return home.startswith("torch.nn.modules")


def _is_hooked(module: nn.Module) -> bool:
    """Returns whether a hook makes the weight of a layer."""
    return isinstance(module, _WEIGHTED) and "weight" not in module._parameters


def made_by_hook(net: nn.Module, leaf: str) -> bool:
    """Returns whether a tensor is a weight that a hook makes anew before each call."""
    owner, _, key = leaf.rpartition(".")
    return key == "weight" and _is_hooked(net.get_submodule(owner))

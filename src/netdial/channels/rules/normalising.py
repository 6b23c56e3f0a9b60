"""Normalisation: by channel each goes by itself; over channels none can go without changing the others."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from netdial.channels.labels import Labels, SizeNumber, Value
from netdial.channels.layers.frozen import FROZEN
from netdial.channels.nodes import place
from netdial.channels.rules.table import Scene, on
from netdial.core.errors import TraceError

_NDIMS: dict[type[nn.Module], tuple[int, ...]] = {
    nn.BatchNorm1d: (2, 3),
    nn.BatchNorm2d: (4,),
    nn.BatchNorm3d: (5,),
    nn.InstanceNorm1d: (3,),
    nn.InstanceNorm2d: (4,),
    nn.InstanceNorm3d: (5,),
    nn.SyncBatchNorm: (2, 3, 4, 5),
}
_NDIMS |= {frozen: _NDIMS[plain] for plain, frozen in FROZEN.items() if plain in _NDIMS}


@on(modules=_NDIMS)
def by_channel(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Batch and instance normalisation: every channel by itself."""
    module: Any = scene.traced.get_submodule(str(node.target))
    scene.expect(x, node, _NDIMS[type(module)])
    scene.keep(node, x.labels[2:])
    held = (module.weight, module.bias, module.running_mean, module.running_var)
    for tensor in (part for part in held if part is not None):
        scene.join(x.labels[1], scene.leaf(tensor)[0])
    for axis in scene.bare(module):
        scene.join(x.labels[1], axis)
    return x


@on(modules=[nn.LayerNorm, nn.RMSNorm])
def over_channels(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Layer normalisation: all channels together, so that none can go without changing the others."""
    module: Any = scene.traced.get_submodule(str(node.target))
    count = len(module.normalized_shape)
    for axis in x.labels[-count:]:
        scene.mix(axis, node)
    for tensor in (module.weight, getattr(module, "bias", None)):
        if tensor is not None:
            for axis, labels in zip(x.labels[-count:], scene.leaf(tensor), strict=True):
                scene.join(axis, labels)
    for axis, labels in zip(x.labels[-count:], scene.bare(module), strict=False):
        scene.join(axis, labels)
    return x


def _in_groups(scene: Scene, node: fx.Node, labels: Labels, groups: int) -> None:
    """Ties the channels of each group together, or, where there is one or channels inside of them are to go, the groups."""
    by_group = labels.reshape(groups, -1)
    if groups > 1 and scene.heads == "whole":
        scene.join(by_group, by_group[:, :1])
        return
    scene.mix(labels, node)
    scene.join(by_group, by_group[:1])


@on(modules=[nn.GroupNorm])
def group_norm(scene: Scene, node: fx.Node, x: Value) -> Value:
    """Group normalisation: whole groups can go; of channels inside of them every group has to keep as many."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, nn.GroupNorm)
    if module.num_groups < module.num_channels:
        _in_groups(scene, node, x.labels[1], module.num_groups)
    scene.keep(node, x.labels[2:])
    for axis in scene.bare(module):
        scene.join(x.labels[1], axis)
    if module.affine:
        for tensor in (module.weight, module.bias):
            scene.join(x.labels[1], scene.leaf(tensor)[0])
    return x


@on(functions=[F.layer_norm, F.rms_norm])
def over_channels_by_function(
    scene: Scene, node: fx.Node, x: Value, shape: Any, *held: Any, **named: Any
) -> Value:
    """Layer normalisation as a function; the shape that it is given follows."""
    count = len(shape)
    axes = x.labels[-count:]
    for number, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        scene.mix(axis, node)
        if isinstance(node.args[1], Sequence):
            scene.demand(
                ("args", 1, number),
                axis,
                size,
                f"{place(node)}: writes the shape {list(map(len, axes))} in the code",
            )
    for tensor in (*held, *named.values()):
        for axis, labels in zip(
            axes, tensor.labels if isinstance(tensor, Value) else (), strict=False
        ):
            scene.join(axis, labels)
    return x


@on(modules=[nn.LocalResponseNorm], functions=[F.local_response_norm])
def among_neighbours(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Value:
    """Normalisation over neighbouring channels: they would be other ones, so all stay."""
    scene.fix(x.labels[1], f"{place(node)} normalises over neighbouring channels")
    return x


@on(functions=[F.group_norm])
def group_norm_by_function(
    scene: Scene, node: fx.Node, x: Value, groups: Any, *held: Any, **named: Any
) -> Value:
    """Group normalisation as a function."""
    count = groups.value if isinstance(groups, SizeNumber) else groups
    if not isinstance(count, int):
        raise TraceError(f"{place(node)}: computes its number of groups; write it in the code")
    each = len(x.labels[1]) // count
    if each > 1:
        _in_groups(scene, node, x.labels[1], count)
    if each == 1 or (count > 1 and scene.heads == "whole"):

        def left(graph: fx.Graph) -> fx.Node:
            shape = graph.call_function(getattr, (node.args[0], "shape"))
            size = graph.call_function(operator.getitem, (shape, 1))
            return graph.call_function(operator.floordiv, (size, each))

        scene.demand(("args", 1), x.labels[1], groups, "", left)
    scene.keep(node, x.labels[2:])
    for tensor in (*held, *named.values()):
        if isinstance(tensor, Value):
            scene.join(x.labels[1], tensor.labels[0])
    return x


@on(functions=[F.batch_norm, F.instance_norm])
def by_channel_by_function(
    scene: Scene, node: fx.Node, x: Value, *held: Any, **named: Any
) -> Value:
    """Batch and instance normalisation as functions: every channel by itself."""
    scene.keep(node, x.labels[2:])
    for tensor in (*held, *named.values()):
        if isinstance(tensor, Value):
            scene.join(x.labels[1], tensor.labels[0])
    return x


@on(
    functions=[
        *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
        *(F.alpha_dropout, F.feature_alpha_dropout),
    ]
)
def dropped(
    scene: Scene, node: fx.Node, x: Value, p: Any = 0.5, training: Any = True, **kwargs: Any
) -> Value:
    """Dropout that is the same in both modes: none, or one that evaluation has as well, where nothing can be compared then."""
    if training and p:
        raise TraceError(
            f"{place(node)}: draws in evaluation as well, so that a cut network cannot be compared with the whole; give it "
            "training=self.training, and draw by net.train() where that is wanted"
        )
    return x

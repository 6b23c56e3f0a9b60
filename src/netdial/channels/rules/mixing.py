"""Products of two tensors, attention, losses.

A product of two computed tensors sums over channels: one can go without a trace only if it is 0 on either side.
"""

from __future__ import annotations

import operator
import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from netdial.channels.labels import FIXED, Labels, Value
from netdial.channels.layers.attention import Attention
from netdial.channels.nodes import module_of, place
from netdial.channels.rules.elementwise import elementwise, scene_fix_all
from netdial.channels.rules.layers import is_parameter, parameter
from netdial.channels.rules.table import Inner, Scene, on
from netdial.core.errors import TraceError


@on(
    functions=[torch.matmul, torch.bmm, torch.mm, operator.matmul, torch.sparse.mm, torch.spmm],
    methods=["matmul", "bmm", "mm", "__matmul__"],
)
def product(scene: Scene, node: fx.Node, x: Value, y: Value) -> Value:
    """Matrix product: the inner dimensions are the same channels."""
    rows = x.labels if len(x.labels) > 1 else (np.full(1, FIXED), *x.labels)
    columns = y.labels if len(y.labels) > 1 else (*y.labels, np.full(1, FIXED))
    scene.join(rows[-1], columns[-2])
    below = -2 if len(y.labels) > 1 else -1
    one, other = node.args[:2]
    scene.reads(node, one, x, -1, other=(other, below))
    scene.reads(node, other, y, below, other=(one, -1))
    out = list(scene.result(node).labels)
    if len(y.labels) > 1:
        out[-1] = columns[-1]
    if len(x.labels) > 1:
        out[-2 if len(y.labels) > 1 else -1] = rows[-2]
    lead = len(out) - (len(x.labels) > 1) - (len(y.labels) > 1)
    for back in range(1, lead + 1):
        axes = [part[-2 - back] for part in (rows, columns) if len(part) >= 2 + back]
        whole = max(axes, key=len)
        for axis in axes:
            if len(axis) == len(whole):
                scene.join(whole, axis)
            else:
                scene.fix(axis)
        out[lead - back] = whole
    return Value(tuple(out))


@on(functions=[torch.tensordot])
def tensordot(
    scene: Scene, node: fx.Node, x: Value, y: Value, dims: Any = 2, **kwargs: Any
) -> Value:
    """Sums over pairs of dimensions: those of a pair are the same channels."""
    if isinstance(dims, int):
        dims = range(-dims, 0), range(dims)
    one, other = ([d % len(v.labels) for d in gone] for v, gone in zip((x, y), dims, strict=True))
    for left, right in zip(one, other, strict=True):
        scene.join(x.labels[left], y.labels[right])
        scene.reads(node, node.args[0], x, left, other=(node.args[1], right))
        scene.reads(node, node.args[1], y, right, other=(node.args[0], left))
    rest = [axis for d, axis in enumerate(x.labels) if d not in one]
    return Value((*rest, *(axis for d, axis in enumerate(y.labels) if d not in other)))


@on(functions=[torch.inner], methods=["inner"])
def inner(scene: Scene, node: fx.Node, x: Value, y: Value) -> Value:
    """Sums of products over the last dimension of both, of all rows with all."""
    found: Value = tensordot(scene, node, x, y, ([-1], [-1]))
    return found


@on(functions=[torch.linalg.vecdot])
def dots(scene: Scene, node: fx.Node, x: Value, y: Value, **kwargs: Any) -> Value:
    """Sums of products over one dimension, of each row with its own."""
    met, dim = elementwise(scene, node, x, y), kwargs.get("dim", -1)
    for number, (one, other) in enumerate(((x, y), (y, x))):
        scene.reads(node, node.args[number], one, dim, other=(node.args[1 - number], dim))
        scene.join(one.labels[dim], other.labels[dim])
    axes = list(met.labels)
    del axes[dim]
    return Value(tuple(axes))


@on(functions=[torch.cdist])
def distances(scene: Scene, node: fx.Node, x: Value, y: Value, *args: Any, **kwargs: Any) -> Value:
    """Distances of all rows from all others: all channels of the last dimension together."""
    scene.join(x.labels[-1], y.labels[-1])
    for number, one in enumerate((x, y)):
        scene.sums(node, node.args[number], one, -1)
    found = list(scene.result(node).labels)
    found[-2:] = x.labels[-2], y.labels[-2]
    return Value(tuple(found))


@on(functions=[torch.addmm])
def addmm(
    scene: Scene, node: fx.Node, bias: Value, x: Value, weight: Value, **kwargs: Any
) -> Value:
    """A bias and a product with a weight ``[in, out]``."""
    _, first, second = node.args[:3]
    scene.join(x.labels[-1], weight.labels[0])
    scene.reads(node, first, x, -1, other=(second, 0))
    scene.reads(node, second, weight, 0, other=(first, -1))
    made = weight.labels[1]
    if is_parameter(second):
        made = scene.makes(parameter(scene, node, second), 1)
    if len(bias.labels[-1]) == len(made):
        scene.join(bias.labels[-1], made)
    else:
        scene.fix(bias.labels[-1])
    return Value((*x.labels[:-1], made))


@on(functions=[torch.einsum])
def einsum(scene: Scene, node: fx.Node, equation: Any, *operands: Any) -> Value:
    """Einstein sum: a letter is the same channels everywhere."""
    parts = operands[0] if len(operands) == 1 and isinstance(operands[0], Sequence) else operands
    text = _spelled(str(equation).replace(" ", ""), [len(part.labels) for part in parts])
    if text is None:
        raise TraceError(
            f"{place(node)}: einsum {str(equation)!r} needs all letters and '->' to be followed"
        )
    before, after = text.split("->")
    sources = node.args[1:] if len(parts) == len(operands) else tuple(node.args[1])  # type: ignore[arg-type]
    words = before.split(",")
    seen: dict[str, Labels] = {}
    for number, (letters, value) in enumerate(zip(words, parts, strict=True)):
        for dim, letter in enumerate(letters):
            scene.join(seen.setdefault(letter, value.labels[dim]), value.labels[dim])
            if letter not in after:
                other = next(
                    (
                        (sources[i], word.index(letter))
                        for i, word in enumerate(words)
                        if i != number and letter in word
                    ),
                    None,
                )
                scene.reads(node, sources[number], value, dim, other=other)
    return Value(tuple(seen[letter] for letter in after))


def _spelled(text: str, ndims: Sequence[int]) -> str | None:
    """Returns an equation with letters of its own in place of dots and with what is left out; None if that is not plain.

    >>> _spelled("...i,oi->...o", [3, 2])
    'ABi,oi->ABo'
    >>> _spelled("bi,oi", [2, 2])
    'bi,oi->bo'
    """
    before, arrow, after = text.partition("->")
    words = before.split(",")
    if len(words) != len(ndims):
        return None
    missing = [n - len(word.replace("...", "")) for word, n in zip(words, ndims, strict=True)]
    dots = {count for word, count in zip(words, missing, strict=True) if "..." in word}
    if len(dots) > 1:
        return None
    unused = "".join(letter for letter in string.ascii_uppercase if letter not in text)
    letters = unused[: max(dots, default=0)]
    if not arrow:
        seen = "".join(words).replace("...", "")
        after = ("..." if dots else "") + "".join(
            sorted(x for x in set(seen) if seen.count(x) == 1)
        )
    return ",".join(words).replace("...", letters) + "->" + after.replace("...", letters)


@on(functions=[F.scaled_dot_product_attention])
def dot_product_attention(
    scene: Scene, node: fx.Node, query: Value, key: Value, value: Value, *args: Any, **kwargs: Any
) -> Value:
    """Attention as a function: features of query and key go together, and set the scale unless it is given."""
    scene.join(query.labels[-1], key.labels[-1])
    if node.kwargs.get("scale") is None:
        scene.mix(query.labels[-1], node)
    first, second = node.args[:2]
    scene.reads(node, first, query, -1, other=(second, -1))
    scene.reads(node, second, key, -1, other=(first, -1))
    scene.join(key.labels[-2], value.labels[-2])
    scene.mix(key.labels[-2], node)
    for other in (key, value):
        for a, b in zip(query.labels[:-2], other.labels[:-2], strict=True):
            if len(a) != len(b):  # fewer heads of keys and values than of queries
                b = np.repeat(b, len(a) // len(b))
            scene.join(a, b)
    mask = kwargs.pop("attn_mask", args[0] if args else None)
    if isinstance(mask, Value):
        _meet_mask(scene, node, mask, (*query.labels[:-1], key.labels[-2]))
    for part in (*args[1:], *kwargs.values()):
        scene_fix_all(scene, part, f"{place(node)} is masked by it")
    return Value((*query.labels[:-1], value.labels[-1]))


def _meet_mask(scene: Scene, node: fx.Node, mask: Value, weights: tuple[Labels, ...]) -> None:
    """Joins a mask with the attention weights that it is added to: a mask for each head goes with its head."""
    for back in range(1, len(mask.labels) + 1):
        axis = mask.labels[-back]
        if len(axis) == len(weights[-back]):
            scene.join(axis, weights[-back])
        else:
            scene.fix(axis, f"{place(node)} is masked by it")


@on(
    functions=[
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        F.huber_loss,
        F.binary_cross_entropy,
        F.kl_div,
        F.binary_cross_entropy_with_logits,
        *(F.gaussian_nll_loss, F.poisson_nll_loss, F.soft_margin_loss, F.hinge_embedding_loss),
        *(F.margin_ranking_loss, F.triplet_margin_loss, F.cosine_embedding_loss),
        *(torch.triplet_margin_loss, torch.cosine_embedding_loss),
    ]
)
def loss(scene: Scene, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
    """A loss inside a network: all numbers together."""
    given = [part for part in (*args, *kwargs.values()) if isinstance(part, Value)]
    most = max(len(value.labels) for value in given)
    for value in given:
        if len(value.labels) < most:  # what is said of whole vectors, as whether they are alike
            scene_fix_all(scene, value, f"{place(node)} goes by these numbers")
    met = elementwise(scene, node, *(v for v in given if len(v.labels) == most))
    if scene.shape(node) == met.shape:
        return met
    for axis in met.labels:
        scene.mix(axis, node)
    return scene.result(node)


@on(modules=[nn.CTCLoss], functions=[F.ctc_loss, F.cross_entropy, F.nll_loss])
def letters(scene: Scene, node: fx.Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """A loss over letters or classes, which it goes to by their numbers: all stay."""
    classes = min(1, len(x.labels) - 1) if node.target in (F.cross_entropy, F.nll_loss) else -1
    scene.fix(x.labels[classes], f"{place(node)} counts these channels as classes")
    scene_fix_all(scene, (*args, *kwargs.values()), f"{place(node)} goes by these numbers")
    for axis in x.labels:
        scene.mix(axis, node)
    return scene.result(node)


@on(functions=[F.cosine_similarity, F.pairwise_distance])
def cosine(scene: Scene, node: fx.Node, x: Value, y: Value, *args: Any, **kwargs: Any) -> Value:
    """Cosines and distances: all channels of the dimension together."""
    met, dim = elementwise(scene, node, x, y), kwargs.get("dim", args[0] if args else 1)
    if node.target is F.pairwise_distance:  # adds a small number to each channel
        dim = -1
        scene.mix(met.labels[dim], node)
    elif x.shape == y.shape:
        for number, one in enumerate((x, y)):
            scene.sums(node, node.args[number], one, dim)
    else:
        scene.mix(met.labels[dim], node)
    kept = len(scene.shape(node)) == len(met.labels)
    last = [np.full(1, FIXED)] if kept else []
    gone = dim % len(met.labels)
    return Value((*met.labels[:gone], *last, *met.labels[gone + 1 :]))


@on(modules=[Attention])
def attention(
    scene: Scene, node: fx.Node, query: Value, key: Value, value: Value, *args: Any, **kwargs: Any
) -> Any:
    """Attention: whole heads can go; what it reads and what it makes are the stream's channels."""
    module = scene.traced.get_submodule(str(node.target))
    assert isinstance(module, Attention)
    weights = module.projections
    labels = [scene.leaf(weight) for weight in weights]
    rows, read = np.concatenate([label[0] for label in labels]), [label[1] for label in labels]
    for position, (name, part) in enumerate({"query": query, "key": key, "value": value}.items()):
        scene.join(part.labels[-1], read[position % len(read)])
        scene.keep(node, part.labels[:-1])
        source = node.args[position] if position < len(node.args) else node.kwargs[name]
        scene.reads(node, source, part, -1)
    for part in (*args, *kwargs.values()):
        scene_fix_all(scene, part, f"{place(node)} is masked by it")
    heads = rows.reshape(3, -1, module.head_dim)
    scene.join(heads, heads[:1, :, :1])
    if module.in_proj_bias is not None:
        scene.join(rows, scene.leaf(module.in_proj_bias)[0])
    scene.makers += [(scene.name(weight), 0) for weight in weights]
    scene.join(heads[0].reshape(-1), scene.leaf(module.out_proj.weight)[1])
    places = np.arange(len(rows)).reshape(heads.shape)[2]
    inside = {scene.name(weights[-1]): places % len(weights[-1])}
    if module.in_proj_bias is not None:
        inside[scene.name(module.in_proj_bias)] = places
    scene.inner.append(Inner(heads[2, :, 0], inside))
    made = scene.makes(module.out_proj.weight, 0)
    if module.out_proj.bias is not None:
        scene.join(made, scene.leaf(module.out_proj.bias)[0])
    _, weights = scene.results[node]
    seen = None if weights is None else Value(tuple(np.full(n, FIXED) for n in weights.shape))
    return Value((*query.labels[:-1], made)), seen


@on(modules=[nn.Bilinear], functions=[F.bilinear])
def bilinear(scene: Scene, node: fx.Node, x: Value, y: Value, *held: Any) -> Value:
    """A product of two inputs: reads the last dimension of each, makes a new one."""
    module: Any = module_of(scene.traced, node)
    own = [parameter(scene, node, part) for part in node.args[2:] if part is not None]
    weight, bias = (module.weight, module.bias) if module else (own[0], (*own, None)[1])
    _, *read = scene.leaf(weight)
    for number, (value, columns) in enumerate(zip((x, y), read, strict=True)):
        scene.join(value.labels[-1], columns)
        scene.reads(node, node.args[number], value, -1)
    made = scene.makes(weight, 0)
    if bias is not None:
        scene.join(made, scene.leaf(bias)[0])
    return Value((*x.labels[:-1], made))

"""Ways that code takes by its numbers (``if labels.ge(0).any():``), followed as the example goes, and checked ever after.

``torch.export`` runs code on tensors without numbers. Where code goes by some, it is run once more with those of the example
beside them. A graph has that one way; what was asked is in it as a *check*, so inputs that would go another way are an error.
So are checks of the code's own: sizes that depend on numbers, such as how many places a mask picks.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import fx
from torch._functorch import config as settings
from torch._subclasses import fake_utils
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.symbolic_shapes import ShapeEnv, free_unbacked_symbols
from torch.fx.node import has_side_effect
from torch.utils._sympy.symbol import SymT, symbol_is_type

from netdial.channels.nodes import user_line
from netdial.channels.trace.answers.questions import SHOWN, Place
from netdial.core.errors import TraceError, TraceWarning, warn

_NOTED = "_log_real_tensor_propagation"
"""Method of torch that is called where code goes by numbers of the example."""
_COMPARED = "_check_fake_real_tensors"
"""Function of torch that compares offsets in memory, and so makes a size that depends on numbers that of the example."""
ASKS_NUMBERS = "data-dependent"
"""What errors say where code goes by numbers."""
_ASKED = ("real_tensor_prop_unbacked_vals", "unbacked_var_to_val")
_GIVEN = ("backed_var_to_val", "var_to_val")
"""Attributes of torch that say what sizes which depend on numbers, and all others, are on the example."""
_CHECK = torch.ops.aten._assert_scalar.default
_ONE_WAY = "goes one way of several"


def asks_numbers(error: Exception) -> bool:
    """Whether an export failed because code goes by numbers."""
    known = hasattr(ShapeEnv, _NOTED) and hasattr(fake_utils, _COMPARED)
    return known and ASKS_NUMBERS in str(error)


@contextmanager
def by_example(asked: set[Place]) -> Iterator[None]:
    """Lets code that is exported go by the numbers of the example.

    Args:
        asked: gets the files and lines where it takes one way of several; where it checks its inputs there is but one.
    """

    def note(env: Any, *_: Any) -> None:
        at = user_line()
        if at is not None and not env._is_python_assert():
            asked.add(at)

    log = logging.getLogger(symbolic_shapes.__name__)
    was = log.disabled
    log.disabled = True
    try:
        with (
            settings.patch(fake_tensor_propagate_real_tensors=True),
            patch.object(ShapeEnv, _NOTED, note),
            patch.object(fake_utils, _COMPARED, lambda *_, **__: None),
        ):
            yield
    finally:
        log.disabled = was


def size_on_example(size: int | torch.SymInt) -> int | None:
    """Returns a size in an exported graph as it is on the example; None if it depends on numbers that were not looked at."""
    if not isinstance(size, torch.SymInt):
        return size
    found: int | None = size.node.hint
    if found is None:
        env = size.node.shape_env
        number = size.node.expr.xreplace({**_first(env, _ASKED), **_first(env, _GIVEN)})
        found = int(number) if number.is_number else None
    return found


def _first(env: ShapeEnv, names: Sequence[str]) -> dict[Any, Any]:
    """Returns the first attribute that there is: torch has called them otherwise."""
    return next((getattr(env, name) for name in names if hasattr(env, name)), {})


def settle_checks(program: ExportedProgram, asked: Collection[Place]) -> None:
    """Refuses a graph whose checks later inputs or weights would fail in any case, and removes those that nobody asked for.

    The graph of one size of the batch is such a one, and that of code which goes by numbers that layers make or that are drawn.

    Args:
        program: what was exported.
        asked: files and lines where it takes one way of several.
    """
    for symbol, sizes in program.range_constraints.items():
        is_batch = not symbol_is_type(symbol, SymT.UNBACKED_INT)
        if is_batch and (sizes.lower > 2 or sizes.upper < 2**31):
            raise TraceError(
                f"the code asks for the size of the batch, and its answer holds for {sizes.lower} to {sizes.upper} inputs"
            )
    graph, specs = program.graph, program.graph_signature.input_specs
    for node in [node for node in graph.nodes if _is_implied(node)]:
        graph.erase_node(node)
    weights = {spec.arg.name for spec in specs if spec.kind is InputKind.PARAMETER}
    if asked and any(_changes(node, weights) for node in graph.nodes if node.target is _CHECK):
        lines = ", ".join(f"{Path(file).name}:{line}" for file, line in sorted(asked))
        raise TraceError(
            f"the code goes by numbers that its layers make or that are drawn ({lines}), and they change as it is trained"
        )


def _is_implied(node: fx.Node) -> bool:
    """Whether a node of an exported program is a bound of a size that nobody asked for.

    Torch takes such bounds from others, as that there are two inputs or more: what was asked is checked by itself.
    """
    bound = node.args[0] if node.target is _CHECK else None
    if not isinstance(bound, fx.Node) or bound.target not in (operator.ge, operator.le):
        return False
    size, least = (getattr(part, "meta", {}).get("val") for part in bound.args)
    if not isinstance(size, torch.SymInt) or least is not None or not size.node.expr.is_Symbol:
        return False
    asked = size.node.shape_env.deferred_runtime_asserts.get(size.node.expr, ())
    return not any(one.expr.free_symbols == {size.node.expr} for one in asked)


def _changes(part: Any, weights: Collection[str]) -> bool:
    """Whether numbers in an exported program depend on layers, on weights of these names, or on chance."""
    if not isinstance(part, fx.Node):
        return (
            any(_changes(one, weights) for one in part) if isinstance(part, list | tuple) else False
        )
    if part.op == "placeholder":
        return part.name in weights
    if part.target is torch.ops.aten.sym_size.int:
        return _resized(part.args[0], weights)
    tags = getattr(part.target, "tags", ())
    if part.target is torch.ops.netdial.layer.default or torch.Tag.nondeterministic_seeded in tags:
        return True
    return any(_changes(one, weights) for one in part.all_input_nodes)


def _resized(part: Any, weights: Collection[str]) -> bool:
    """Whether sizes in an exported program depend on such numbers."""
    if not isinstance(part, fx.Node):
        return (
            any(_resized(one, weights) for one in part) if isinstance(part, list | tuple) else False
        )
    value = part.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return _changes(part, weights)
    if not free_unbacked_symbols(value):
        return False
    if part.target is torch.ops.aten.index.Tensor:  # by masks, or by places
        return _changes(part.args[1], weights) or _resized(list(part.args), weights)
    if part.meta.get("unbacked_bindings"):
        return _changes(list(part.args), weights)
    return any(_resized(one, weights) for one in part.all_input_nodes)


class OtherWay(ValueError):
    """Inputs for which code goes another way than the graph that was taken of it."""


@has_side_effect
def checked(holds: Any, said: str) -> bool:
    """Returns True: an operation of traced graphs.

    Raises:
        OtherWay: something that code asked of its numbers does not hold.
    """
    if not holds:
        raise OtherWay(said)
    return True


def what_holds(condition: fx.Node, message: str) -> str:
    """Returns what to say of inputs that fail a check."""
    sources, line = [condition], None
    while sources and not line:
        source = sources.pop(0)
        line, sources = source.stack_trace, [*sources, *source.all_input_nodes]
    file, _, number = (line or "").removeprefix('File "').partition('", line ')
    at = f" at {Path(file).name}:{number}" if line else ""
    asked = message.removeprefix("Runtime assertion failed for expression ").partition(" on node")[
        0
    ]
    return (
        f"inputs: the code goes by numbers{at}, and this graph holds where {asked} alone, as it was for the inputs that it was "
        "taken on; give such inputs, or use the network itself"
    )


def goes_one_way(traced: fx.GraphModule) -> tuple[Place, ...]:
    """Returns where a graph goes one way of several by its numbers; its network may do something else for other inputs."""
    found: tuple[Place, ...] = traced.meta.get(_ONE_WAY, ())
    return found


def tell_ways(traced: fx.GraphModule, kind: str, asked: Collection[Place]) -> None:
    """Notes the places where a network of a class was followed one way, and warns of them."""
    if not asked:
        return
    traced.meta[_ONE_WAY] = tuple(sorted(asked))
    lines = [f"{Path(file).name}:{line}" for file, line in sorted(asked)]
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    warn(
        f"network {kind}: goes one way or another by its numbers ({', '.join(lines[:SHOWN])}{more}); what is made of it is a "
        "graph that goes as the inputs did which it was taken on, and refuses those that go another way; leave out of the "
        "example what the network can do without, as labels are, if it asks about that",
        TraceWarning,
    )

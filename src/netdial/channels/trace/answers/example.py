"""Code that goes by numbers of its inputs, followed as the example goes while it is exported.

``torch.export`` runs code on tensors without numbers. Where code goes by some, it is run once more with those of the example
beside them: ways that it takes, and sizes that depend on numbers, such as how many places a mask picks. Torch puts what was
asked into the graph (``ways.py``).
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import fx, nn
from torch._functorch import config as settings
from torch._subclasses import fake_utils
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.symbolic_shapes import ShapeEnv, free_unbacked_symbols

from netdial.channels.nodes import user_line
from netdial.channels.trace.answers.questions import Place
from netdial.core.errors import TraceError
from netdial.core.inputs import PartedInputs

_NOTED = "_log_real_tensor_propagation"
"""Method of torch that is called where code goes by numbers of the example."""
_COMPARED = ("_check_fake_real_tensors", "_check_alias_info")
"""Functions of torch that compare places in memory: one makes sizes that depend on numbers those of the example, one refuses
what may or may not be a copy (``x.to(dtype)``).
"""
ASKS_NUMBERS = "data-dependent"
"""What errors say where code goes by numbers."""
_ASKED = ("real_tensor_prop_unbacked_vals", "unbacked_var_to_val")
_GIVEN = ("backed_var_to_val", "var_to_val")
"""Attributes of torch that say what sizes which depend on numbers, and all others, are on the example."""
_CHECK = torch.ops.aten._assert_scalar.default


def asks_numbers(error: Exception) -> bool:
    """Whether an export failed because code goes by numbers."""
    known = hasattr(ShapeEnv, _NOTED) and all(hasattr(fake_utils, one) for one in _COMPARED)
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

    unchecked: dict[str, Any] = dict.fromkeys(_COMPARED, lambda *_, **__: None)
    log = logging.getLogger(symbolic_shapes.__name__)
    was = log.disabled
    log.disabled = True
    try:
        with (
            settings.patch(fake_tensor_propagate_real_tensors=True),
            patch.object(ShapeEnv, _NOTED, note),
            patch.multiple(fake_utils, **unchecked),
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


def settle_checks(
    program: ExportedProgram, asked: Collection[Place], layers: Sequence[nn.Module]
) -> None:
    """Refuses a graph whose checks later inputs or weights would fail in any case, and removes those that nobody asked for.

    The graph of code that goes by numbers which change is such a one.

    Args:
        program: what was exported.
        asked: files and lines where it takes one way of several.
        layers: those that its operations stand for, by number.
    """
    graph, specs = program.graph, program.graph_signature.input_specs
    for node in [node for node in graph.nodes if _is_implied(node)]:
        graph.erase_node(node)
    ours = {number for number, layer in enumerate(layers) if isinstance(layer, PartedInputs)}
    changing = {spec.arg.name for spec in specs if spec.kind is InputKind.PARAMETER}
    given = {spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT}
    changing |= {node.name for node in graph.nodes if node.name in given and _is_measured(node)}
    sources = _Sources(changing, ours)
    if asked and any(sources.change(node) for node in graph.nodes if node.target is _CHECK):
        lines = ", ".join(f"{Path(file).name}:{line}" for file, line in sorted(asked))
        raise TraceError(
            f"the code goes by numbers that its layers make, that are drawn or that are measured ({lines}), and they "
            "change; graphs go by whole numbers of the inputs alone"
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


def _is_measured(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


class _Sources:
    """What numbers in an exported program depend on.

    Args:
        changing: names of parameters and of inputs that are no whole numbers.
        ours: numbers of layers that take inputs apart.
    """

    def __init__(self, changing: Collection[str], ours: Collection[int]) -> None:
        self._changing, self._ours = changing, ours
        self._known: dict[tuple[str, fx.Node], bool] = {}

    def change(self, part: Any) -> bool:
        """Whether numbers depend on layers, on weights, on what was measured, or on chance."""
        return self._found(part, "numbers", self._changes)

    def resize(self, part: Any) -> bool:
        """Whether sizes depend on such numbers."""
        return self._found(part, "sizes", self._resizes)

    def _found(self, part: Any, what: str, look: Callable[[fx.Node], bool]) -> bool:
        if isinstance(part, list | tuple):
            return any(self._found(one, what, look) for one in part)
        if not isinstance(part, fx.Node):
            return False
        if (what, part) not in self._known:
            self._known[what, part] = look(part)
        return self._known[what, part]

    def _changes(self, node: fx.Node) -> bool:
        if node.op == "placeholder":
            return node.name in self._changing
        if node.target is torch.ops.aten.sym_size.int:
            return self.resize(node.args[0])
        if node.target is torch.ops.netdial.layer.default:
            return True
        source: Any = node.args[0] if node.target is operator.getitem else None
        if getattr(source, "target", None) is torch.ops.netdial.layer.default:
            return source.args[1] not in self._ours or _is_measured(node)
        by_chance = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        return by_chance or self.change(node.all_input_nodes)

    def _resizes(self, node: fx.Node) -> bool:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            return self.change(node)
        if not free_unbacked_symbols(value):
            return False
        if node.target is torch.ops.aten.index.Tensor:  # by masks, or by places
            return self.change(node.args[1]) or self.resize(node.args)
        if node.meta.get("unbacked_bindings"):
            return self.change(node.args)
        return self.resize(node.all_input_nodes)

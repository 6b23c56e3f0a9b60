"""Whether the code of a network's class computes what its graph does once layers are smaller, and numbers it keeps that follow.

Code that reads sizes of layers or asks for shapes may compute something else or go another way when they are smaller; sizes
written in it are those of before; layers whose results nobody uses were not cut. Sizes that modules keep as numbers of their
own (``self.split_size = width``) can be set to what is left of what they count. Which one does is found out: where the code
fails, those that it reads there are tried, and what is kept gives the outputs of the graph, in both modes.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations, islice, product
from types import CodeType
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from netdial.channels.nodes import OWN
from netdial.channels.trace.answers.chance import standing_still
from netdial.channels.trace.answers.ways import goes_one_way
from netdial.channels.trace.trace import stands_still
from netdial.channels.trace.training import check_training
from netdial.channels.trial import Batches
from netdial.core.cutting import leaf_shapes
from netdial.core.errors import TraceError, first_line
from netdial.core.outputs import evaluated, same_outputs

Shapes = Mapping[str, tuple[int, ...]]
Numbers = dict[tuple[nn.Module, str], Any]
"""(module, attribute) -> its value."""

_TOLERANCE = 1e-5
"""Difference of a class's outputs from its graph's, relative to the largest: operations taken apart round otherwise."""
_MOST_RUNS = 200
"""Runs of a class while sizes that it keeps are looked for."""


@dataclass
class _Fault:
    """How the code of a class does not do what its graph does.

    Attributes:
        why: in words.
        reads: modules that failing code had at hand, and the names that it reads, from the innermost call outwards.
        line: file and line that fails, and its module; None if outputs differ.
        calls: how many modules were called before it failed.
    """

    why: str
    reads: list[tuple[nn.Module, tuple[str, ...]]]
    line: tuple[Any, ...] | None = None
    calls: int = 0

    def is_before(self, other: _Fault) -> bool:
        """Returns whether code came further in the other case."""
        further = other.line is None or other.calls >= self.calls
        return self.line is not None and self.line != other.line and further


def other_code(
    net: nn.Module, traced: fx.GraphModule, before: Shapes, examples: Iterable[Tensor]
) -> str:
    """Returns how a network's own code, now that it is cut, differs from its graph, in words; empty if it does not.

    Args:
        net: the network, of its class. Numbers that its modules keep are changed if it equals the graph with others; if it
            does not, they are as they were.
        traced: its graph, of the same leaves.
        before: the shapes of leaves before they were cut.
        examples: inputs, of which the first that the graph takes are tried.
    """
    if goes_one_way(traced):
        return "its code goes by numbers, one way or another"
    for example in examples:
        with contextlib.suppress(Exception):  # the graph may take no such inputs: they are made up
            batches = Batches(traced, example)
            break
    else:
        return ""
    search = _Search(net, before, lambda: _fault(net, batches))
    why = search.run()
    if why:
        return why
    try:
        with standing_still(net, stands_still(traced)):
            check_training(traced, net, (batches.inputs[0],))
    except Exception as error:
        search.undo()
        trains = isinstance(error, TraceError)
        return "it would train otherwise" if trains else f"it fails: {first_line(error)}"
    return ""


def _fault(net: nn.Module, batches: Batches) -> _Fault | None:
    """Returns how a network's code fails or differs in evaluation mode; None if it gives what is wanted."""
    calls: list[None] = []
    counting = register_module_forward_pre_hook(lambda *_: calls.append(None))
    try:
        for given, wanted in zip(batches.inputs, batches.wanted, strict=True):
            found = same_outputs(
                wanted, evaluated(net, given), tolerance=_TOLERANCE, equal_nan=True
            )
            if not found:
                return _Fault(f"outputs differ by {found.difference:.1e} of the largest", [])
    except Exception as error:  # whatever code raises on sizes that are wrong
        frames = [
            (frame, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if not frame.f_code.co_filename.startswith(OWN)
        ]
        reads = [
            (value, _names(frame.f_code))
            for frame, _ in reversed(frames)
            for value in frame.f_locals.values()
            if isinstance(value, nn.Module)
        ]
        line = tuple(
            (frame.f_code.co_filename, at, id(frame.f_locals.get("self")))
            for frame, at in frames[-1:]
        )
        return _Fault(f"it fails: {first_line(error)}", reads, line, len(calls))
    finally:
        counting.remove()
    return None


def _names(code: CodeType) -> tuple[str, ...]:
    """Returns the names that code reads, with those of expressions and functions inside of it."""
    inside = [part for part in code.co_consts if isinstance(part, CodeType)]
    return (*code.co_names, *(name for part in inside for name in _names(part)))


class _Search:
    """Looks for the numbers that modules have to keep."""

    def __init__(self, net: nn.Module, before: Shapes, check: Callable[[], _Fault | None]) -> None:
        self._net, self._before, self._check = net, before, check
        self._left = _MOST_RUNS
        self._was: list[tuple[nn.Module, str, Any]] = []

    @cached_property
    def _open(self) -> dict[tuple[nn.Module, str], list[Any]]:
        """What numbers of modules of one's own may be now, the likeliest first."""
        after = leaf_shapes(self._net)
        return {
            (part, name): values
            for path, part in self._net.named_modules()
            if not type(part).__module__.startswith("torch.nn")
            for name, values in _others(part, _cut_sizes(path, self._before, after)).items()
        }

    def run(self) -> str:
        """Returns how code differs whatever was tried, in words, with all numbers as they were; empty if it does not."""
        first = fault = self._check()
        while fault is not None:
            held, through = len(self._was), list[tuple[Numbers, _Fault]]()
            for numbers in self._tries(fault):
                self._set(numbers)
                self._left -= 1
                found = self._check()
                if found is None or (fault.is_before(found) and found.line is not None):
                    fault = found
                    break
                self.undo(held)
                if fault.is_before(found):
                    through.append((numbers, found))
            else:
                if not through:
                    self.undo()
                    return "" if first is None else first.why
                numbers, fault = through[0]
                self._set(numbers)  # nothing fails, and another may set right what comes of it
        return ""

    def undo(self, held: int = 0) -> None:
        """Puts numbers back, those that were set first excepted."""
        while len(self._was) > held:
            part, name, value = self._was.pop()
            setattr(part, name, value)

    def _set(self, numbers: Numbers) -> None:
        for (part, name), value in numbers.items():
            self._was.append((part, name, getattr(part, name)))
            setattr(part, name, value)

    def _tries(self, fault: _Fault) -> Iterator[Numbers]:
        """Yields numbers to try: one that the failing code reads, then two."""
        keys = dict.fromkeys(
            (part, name)
            for part, names in fault.reads
            for name in names
            if (part, name) in self._open
        )
        ways = [self._ways(*key) for key in (self._open if fault.line is None else keys)]
        pairs = (product(*two) for two in combinations(ways if keys else [], 2))
        for numbers in [*chain(*ways), *({**one, **two} for pair in pairs for one, two in pair)]:
            others = {key: value for key, value in numbers.items() if getattr(*key) != value}
            if others and self._left > 0:
                yield others

    def _ways(self, part: nn.Module, name: str) -> list[Numbers]:
        """Returns what one number may be: as it may be in all modules of a class, then in one alone."""
        alike = {
            key: values[0]
            for key, values in self._open.items()
            if type(key[0]) is type(part) and key[1] == name
        }
        alone: list[Numbers] = [{(part, name): value} for value in self._open[part, name]]
        return [alike, *(one for one in alone if one != alike)]


def _cut_sizes(path: str, before: Shapes, after: Shapes) -> list[tuple[int, int]]:
    """Returns sizes of dimensions, before and after: of leaves of a module, then of its parts; those that were cut first."""
    prefix = f"{path}." if path else ""
    names = [name for name in after if name.startswith(prefix) and name in before]
    sizes = [
        pair
        for name in sorted(names, key=lambda name: name.count("."))
        for pair in zip(before[name], after[name], strict=False)
    ]
    return sorted(dict.fromkeys(sizes), key=lambda pair: pair[0] == pair[1])


def _others(part: nn.Module, sizes: list[tuple[int, int]]) -> dict[str, list[Any]]:
    """Returns what numbers of a module may be now: sizes that are smaller, then numbers of parts that are fewer (heads).

    Of several numbers each is what is left of its size, those first whose sum is what is left of theirs.
    """
    found: dict[str, list[Any]] = {}
    for name, value in vars(part).items():
        if name.startswith("_"):
            continue
        if type(value) is int and value > 1:
            same = [after for before, after in sizes if before == value != after]
            parts = [
                value * after // before
                for before, after in sizes
                if before != value and before % value == 0 and value * after % before == 0
            ]
            found[name] = list(dict.fromkeys([*same, *parts, value]))
        elif type(value) in (list, tuple) and value and all(type(one) is int for one in value):
            now = dict(reversed(sizes))
            other = [now.get(one, one) for one in value]
            found[name] = [type(value)(one) for one in [*_split(value, sizes), other, value]]
    return {name: values for name, values in found.items() if values[0] != getattr(part, name)}


def _split(parts: Sequence[int], sizes: list[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
    """Yields what parts of a size may be now that it is smaller."""
    wholes = {after for before, after in sizes if before == sum(parts) != after}
    each = [[after for before, after in [*sizes, (part, part)] if before == part] for part in parts]
    for split in islice(product(*each), _MOST_RUNS if wholes else 0):
        if sum(split) in wholes:
            yield split

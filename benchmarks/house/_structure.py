"""The structure of the source as its imports and lines show it: parts, floors, circles, sizes, repeated code."""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

_RUN = 6
_TOO_COMMON = 8


@dataclass(frozen=True)
class House:
    """A package, read from its files.

    Attributes:
        source: its folder.
    """

    source: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """Module name -> file."""
        found = {}
        for path in sorted(self.source.rglob("*.py")):
            inner = path.relative_to(self.source.parent).with_suffix("").parts
            found[".".join(inner[:-1] if inner[-1] == "__init__" else inner)] = path
        return found

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Module name -> syntax tree."""
        return {n: ast.parse(path.read_text(encoding="utf-8")) for n, path in self.files.items()}

    @cached_property
    def needs(self) -> dict[str, set[str]]:
        """Module name -> modules of the package that it imports, at once or inside functions; types alone do not count."""
        return {
            name: {m for m in _imports(tree, self.files) if m not in (name, self.source.name)}
            for name, tree in self.trees.items()
        }

    @cached_property
    def circles(self) -> list[list[str]]:
        """Sets of modules that import each other, each sorted."""
        return _circles(self.needs)

    @cached_property
    def parts(self) -> dict[str, set[str]]:
        """Part (first folder, or a file at the top; some folders have two) -> parts that it imports."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, needs in self.needs.items():
            if name != self.source.name:
                here = self.part(name)
                found[here] |= {self.part(other) for other in needs} - {here}
        return dict(found)

    def part(self, name: str) -> str:
        """Returns the part that a module belongs to."""
        inner = name.split(".")[1:]
        two = (inner[0] == "pruning" and len(inner) > 1) or inner[:2] == ["compression", "pipeline"]
        return ".".join(inner[: 2 if two else 1])

    @cached_property
    def floors(self) -> int:
        """Length of the longest chain of parts in which each imports the next; circles of parts count as one."""
        height: dict[str, int] = {}

        def rise(part: str, above: frozenset[str]) -> int:
            if part not in height:
                below = self.parts.get(part, set()) - above
                height[part] = 1 + max((rise(b, above | {part}) for b in below), default=0)
            return height[part]

        return max(rise(part, frozenset()) for part in self.parts)

    @cached_property
    def upward(self) -> list[tuple[str, str]]:
        """Arrows between parts that lie in a circle of parts."""
        rings = _circles(self.parts)
        return [
            (a, b)
            for a, needs in self.parts.items()
            for b in sorted(needs)
            if any(a in ring and b in ring for ring in rings)
        ]

    @cached_property
    def folders(self) -> Counter[str]:
        """Folder -> files in it, without ``__init__.py``."""
        return Counter(
            str(path.parent.relative_to(self.source))
            for path in self.files.values()
            if path.name != "__init__.py"
        )

    @cached_property
    def lines(self) -> Counter[str]:
        """Module name -> lines of its file."""
        return Counter(
            {
                n: len(path.read_text(encoding="utf-8").splitlines())
                for n, path in self.files.items()
            }
        )

    @cached_property
    def same_names(self) -> dict[str, list[str]]:
        """Name of a public class that several modules define -> those modules."""
        found: dict[str, list[str]] = defaultdict(list)
        for name, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(name)
        return {name: places for name, places in found.items() if len(places) > 1}

    @cached_property
    def repeats(self) -> Counter[tuple[str, str]]:
        """Pairs of modules that share six lines of one shape (names, strings and numbers aside) -> shared runs.

        Imports, comments and docstrings are passed over; a run that stands in more than eight places is an idiom.
        """
        places: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name, path in self.files.items():
            shapes = list(_shapes(path.read_text(encoding="utf-8")))
            for at in range(len(shapes) - _RUN + 1):
                run = tuple(shapes[at : at + _RUN])
                if sum(len(line) > 12 for line in run) >= _RUN - 1:
                    places[run].append(name)
        found: Counter[tuple[str, str]] = Counter()
        for where in places.values():
            if 1 < len(where) <= _TOO_COMMON:
                found.update({(a, b) for a, b in combinations(sorted(where), 2)})
        return found


def _imports(tree: ast.Module, files: Mapping[str, Path]) -> Iterator[str]:
    for node in _without_types(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in files or node.module in files:
                    yield inner if inner in files else node.module


def _without_types(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from _without_types(child)


def _circles(needs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Returns the strongly connected sets of more than one node."""
    reach = {node: _reached(node, needs) for node in needs}
    rings = {
        tuple(sorted({node} | {other for other in reach[node] if node in reach.get(other, ())}))
        for node in needs
    }
    return sorted(list(ring) for ring in rings if len(ring) > 1)


def _reached(node: str, needs: Mapping[str, Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(needs.get(node, ()))
    while waiting:
        other = waiting.pop()
        if other not in seen:
            seen.add(other)
            waiting.extend(needs.get(other, ()))
    return seen


def _shapes(text: str) -> Iterator[str]:
    """Yields each line of code with names, strings and numbers replaced; imports and docstrings are left out."""
    lines: dict[int, list[str]] = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            lines[token.start[0]].append(token.string if keyword.iskeyword(token.string) else "n")
        elif token.type in (tokenize.STRING, tokenize.NUMBER):
            lines[token.start[0]].append("v")
        elif token.type == tokenize.OP:
            lines[token.start[0]].append(token.string)
    for words in lines.values():
        line = " ".join(words)
        if words[0] not in ("import", "from") and line.strip("v ()[]{},:"):
            yield line

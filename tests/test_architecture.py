"""Imports point one way, nothing heavy loads by accident, and every public name is documented.

The table below is the architecture: a part may import the parts named, and no others. A part that is not in it fails.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import netdial as nd

SOURCE = Path(nd.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "data": {"core"},
    "nets": {"core"},
    "task": {"core", "data"},
    "objective": {"core"},
    "family": {"core", "nets", "task", "objective"},
    "measure": {"core", "task", "data", "family", "objective"},
    "train": {"core", "task", "data", "family", "objective", "curvature", "measure"},
    "models": {
        "core",
        "compression",
        "task",
        "data",
        "nets",
        "family",
        "measure",
        "channels",
        "shrinking",
        "pruning.channels",
        "structure",
    },
    "compression": {"core"},
    "channels": {"core", "measure"},
    "shrinking": {
        "core",
        "task",
        "data",
        "nets",
        "family",
        "objective",
        "train",
        "measure",
        "channels",
    },
    "curvature": {"core", "task", "data", "nets", "objective"},
    "pruning": set(),  # what both of the following share
    "pruning.weights": {
        "channels",
        "pruning",
        "core",
        "task",
        "data",
        "nets",
        "family",
        "objective",
        "curvature",
        "measure",
        "train",
    },
    "pruning.channels": {
        "pruning",
        "core",
        "task",
        "data",
        "nets",
        "family",
        "objective",
        "train",
        "measure",
        "channels",
        "shrinking",
        "pruning.weights",
    },
    "compression.pipeline": {
        "core",
        "task",
        "data",
        "nets",
        "family",
        "objective",
        "curvature",
        "measure",
        "train",
        "channels",
        "shrinking",
        "pruning.weights",
        "pruning.channels",
        "compression",
    },
    "evidence": {"core", "task", "data", "nets", "family", "objective", "curvature", "measure"},
    "choice": {
        "core",
        "task",
        "data",
        "family",
        "objective",
        "measure",
        "train",
        "models",
        "pruning.weights",
        "evidence",
    },
    "folds": {"core", "task", "data", "family", "measure", "train", "choice"},
    "structure": {
        "core",
        "task",
        "data",
        "nets",
        "family",
        "objective",
        "measure",
        "train",
        "evidence",
    },
    "sklearn": {"core", "task", "data", "nets", "family", "train", "measure", "folds"},
    "runs": {"core"},
    "report": {"core", "runs"},
    "serve": {"core", "task", "data", "family", "models"},
    "jobs": {
        "core",
        "task",
        "data",
        "nets",
        "family",
        "train",
        "measure",
        "models",
        "channels",
        "pruning.weights",
        "pruning.channels",
        "compression",
        "compression.pipeline",
        "shrinking",
        "structure",
        "evidence",
        "choice",
        "objective",
        "runs",
        "report",
    },
    "contest": {
        "core",
        "task",
        "data",
        "nets",
        "train",
        "measure",
        "pruning.channels",
        "shrinking",
        "structure",
        "runs",
        "jobs",
    },
    "sweeps": {
        "core",
        "task",
        "data",
        "family",
        "train",
        "measure",
        "models",
        "pruning.channels",
        "compression.pipeline",
        "runs",
        "jobs",
        "report",
    },
    "papers": {
        "core",
        "task",
        "data",
        "nets",
        "family",
        "train",
        "objective",
        "measure",
        "models",
        "pruning.weights",
        "runs",
        "report",
        "jobs",
        "sweeps",
    },
    "cli": {
        "core",
        "task",
        "objective",
        "data",
        "nets",
        "family",
        "train",
        "measure",
        "models",
        "channels",
        "pruning.weights",
        "pruning.channels",
        "compression",
        "compression.pipeline",
        "shrinking",
        "evidence",
        "choice",
        "papers",
        "runs",
        "report",
        "jobs",
        "contest",
        "sweeps",
        "serve",
    },
    "__main__": {"cli"},
}
LATE = {
    ("measure", "report"),
    ("measure", "runs"),
    ("family", "report"),
    ("pruning.weights", "report"),
    ("choice", "report"),
    ("shrinking", "report"),
    ("pruning.channels", "report"),
    ("compression.pipeline", "report"),
    ("structure", "report"),
    ("folds", "report"),
    ("contest", "report"),
}
"""Imports that only a function makes, when it is called: ``plot``, ``plot_layers`` and ``_repr_html_``."""
NO_TORCH = [
    "netdial",
    "netdial.core.records",
    "netdial.runs.run",
    "netdial.runs.listing",
    "netdial.runs.curves",
    "netdial.report.page",
]


def part_of(path: Path) -> str:
    """Returns the part that a file belongs to: its first folder, or its own name; some folders have two parts."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    split = (parts[0] == "pruning" and len(parts) > 2) or parts[:2] == ("compression", "pipeline")
    return ".".join(parts[:2]) if split else parts[0]


def name_of(path: Path) -> str:
    """Returns a file's module name."""
    inner = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(["netdial", *(inner[:-1] if inner[-1] == "__init__" else inner)])


MODULES = {name_of(path): path for path in FILES}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """Returns what a file says."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, late: bool) -> Iterator[str]:
    """Yields our modules that a file imports: as it loads, or (late) inside functions. Types alone do not count."""
    tree = tree_of(path)
    early = set(_early(tree))
    nodes = [node for node in ast.walk(tree) if node not in early] if late else early
    for node in nodes:
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "netdial":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in MODULES else str(node.module) for name in inner]
        else:
            continue
        yield from (name for name in found if name != "netdial")


def _early(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _early(child)


def _for_types(path: Path) -> set[str]:
    tree = tree_of(path)
    guarded = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)
    ]
    return {str(i.module) for n in guarded for i in ast.walk(n) if isinstance(i, ast.ImportFrom)}


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in FILES if part_of(p) != "__init__"], ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    assert part in ALLOWED, (
        f"{part} is new: place it in the table of this test and in docs/design.md"
    )
    for target in imports(path, late=False):
        other = part_of(MODULES[target])
        assert other in ALLOWED[part] | {part}, f"{name_of(path)} imports {target}"
    for target in set(imports(path, late=True)) - _for_types(path):
        other = part_of(MODULES[target])
        assert other in ALLOWED[part] | {part} or (part, other) in LATE, (
            f"{name_of(path)} imports {target}"
        )


def test_the_table_has_no_cycle_and_no_ghosts() -> None:
    order: list[str] = []
    while len(order) < len(ALLOWED):
        ready = [part for part in ALLOWED if part not in order and ALLOWED[part] <= set(order)]
        assert ready, f"cycle among {set(ALLOWED) - set(order)}"
        order += ready
    assert set(ALLOWED) == {part_of(path) for path in FILES} - {"__init__"}


@pytest.mark.slow
def test_modules_import_each_other_without_a_cycle() -> None:
    waiting = {name: _needs(path) - {name} for name, path in MODULES.items()}
    while ready := [name for name, needs in waiting.items() if not needs]:
        for name in ready:
            del waiting[name]
        for needs in waiting.values():
            needs.difference_update(ready)
    assert not waiting, f"in or behind a cycle: {sorted(waiting)}"


def _needs(path: Path) -> set[str]:
    """Returns all modules that a file imports, now or inside functions; imports for types alone are left out."""
    return {*imports(path, late=False), *imports(path, late=True)} - _for_types(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_says_what_it_is_for(name: str) -> None:
    text = ast.get_docstring(tree_of(MODULES[name]))
    assert text
    assert (
        text.splitlines()[0].rstrip().endswith((".", "?", ";", ",", ":"))
        or len(text.splitlines()) > 1
    )


@pytest.mark.parametrize("name", nd.__all__)
def test_every_public_name_is_documented_and_stays_what_it_is(name: str) -> None:
    first = getattr(nd, name)
    again = getattr(nd, name)
    assert first is again, f"nd.{name} changed when it was asked for twice"
    assert not isinstance(first, ModuleType), (
        f"nd.{name} is a module; a public name is hidden by it"
    )
    assert (inspect.getdoc(first) or "").strip()


def test_public_names_are_listed_once_and_alike() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    typed = [
        a.name
        for node in guarded
        for i in ast.walk(node)
        if isinstance(i, ast.ImportFrom)
        for a in i.names
    ]
    assert sorted(typed) == sorted(nd.__all__) == sorted(nd._HOME)
    assert len(set(nd.__all__)) == len(nd.__all__)
    assert set(nd.__all__) <= set(dir(nd)), "tab completion offers every public name"
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        nd.fitt  # noqa: B018


def test_lists_of_public_names_are_true() -> None:
    for name in MODULES:
        if MODULES[name].name == "__init__.py" and name != "netdial":
            module = __import__(name, fromlist=["_"])
            for public in getattr(module, "__all__", []):
                assert hasattr(module, public), f"{name}.__all__ names {public}"


def test_reading_runs_and_writing_reports_needs_no_torch() -> None:
    heavy = {"torch": None, "lightning_fabric": None, "torchmetrics": None}
    code = f"import sys; sys.modules.update({heavy}); import {', '.join(NO_TORCH)}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_nothing_imports_torchvision() -> None:
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "torchvision" for name in names), path


def test_no_function_hides_a_module() -> None:
    """``import package.name`` must give the module, so a package has no other thing of that name."""
    hidden = []
    for package in [path.parent for path in FILES if path.name == "__init__.py"]:
        name = ".".join(("netdial", *package.relative_to(SOURCE).parts))
        module = importlib.import_module(name)
        for found in pkgutil.iter_modules([str(package)]):
            if not isinstance(getattr(module, found.name, module), ModuleType):
                hidden.append(f"{name}.{found.name}")
    assert not hidden


def test_public_classes_have_names_of_their_own() -> None:
    places: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_folders_hold_at_most_twelve_modules() -> None:
    held = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in held.items() if count > 12} == {}

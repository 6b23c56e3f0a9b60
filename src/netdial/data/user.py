"""A user's own function ``package.module:function`` as the source of a network and its data.

The function takes no arguments and returns ``(module, train, valid, test)``. A part may be in any of
the forms of ``netdial.data.memory``; a ``DataLoader`` is read once, whole, into memory, and a warning says what of it is not
used. Data are taken as they are: scaling them is the function's business.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from netdial.core import errors
from netdial.core.errors import ConfigError, DataError, NetdialError
from netdial.data.assemble import assemble
from netdial.data.dataset import DENSE, PARTS, Dataset, Kind, Splits
from netdial.data.memory import Named, as_dataset, is_loader


def load_user(
    spec: str, *, kind: Kind | None = None, seed: int = 0, start: int | None = None
) -> tuple[nn.Module, Splits]:
    """Returns the module and the task that the function named by ``spec`` gives.

    Args:
        spec: ``"package.module:function"``, imported with the current folder on the path, as
            ``python -m`` does.
        kind: ``"classification"`` or ``"regression"``; default: regression if the targets are
            floats. Targets at many places of an example may be of either.
        seed: seeds torch's global generator while the function runs and its data are read; the
            generator is put back afterwards.
        start: seed of the module's initial weights, for which the function is called again where it differs from ``seed``.
            The module is a copy, so one that the function gives to every caller stays as it is.

    Raises:
        ConfigError: if there is no such module or function, or it needs arguments.
        DataError: if the function raises (the message says what and in which line), or returns
            something else.
    """
    with _current_folder_on_path(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        function = _find(spec)  # a first import may draw numbers, a second does not: seed anew
        torch.default_generator.manual_seed(seed)
        code = getattr(
            inspect.unwrap(function), "__code__", None
        )  # a function written in C has none
        file = code.co_filename if code is not None else ""
        with _report(spec, file):
            result = function()
        if (
            not isinstance(result, tuple | list)
            or len(result) != 4
            or not isinstance(result[0], nn.Module)
        ):
            raise DataError(
                f"{spec} returned {_describe(result)}; it must return (module, train, valid, test)"
                " with a torch module first"
            )
        with _report(spec, file):
            given = dict(zip(PARTS, result[1:], strict=True))
            parts = {
                name: _part(value, f"{spec}, {name}", seed, _type_of(result[0]))
                for name, value in given.items()
            }
            if start is not None and start != seed:
                torch.default_generator.manual_seed(start)
                result = function()
            net = copy.deepcopy(result[0])
    _tell_unused(given[PARTS[0]], f"{spec}, {PARTS[0]}")
    return net, _task(spec, parts, kind, seed, _type_of(net))


def _type_of(net: nn.Module) -> torch.dtype:
    """Returns the number type of a network's inputs: double precision if all of its numbers are."""
    floats = {p.dtype for p in net.parameters() if p.is_floating_point()}
    return torch.float64 if floats == {torch.float64} else torch.float32


def _task(
    spec: str, parts: dict[str, Dataset], kind: Kind | None, seed: int, like: torch.dtype
) -> Splits:
    """Returns the checked task of three parts."""
    floats = parts["train"].y.is_floating_point()
    kind = kind or ("regression" if floats else "classification")
    parts = {
        name: _with_targets(part, kind, f"{spec}, {name}", like) for name, part in parts.items()
    }
    classes: tuple[str, ...] = ()
    if kind == "classification":
        highest = max(int(part.y.max()) if len(part) else 0 for part in parts.values())
        classes = tuple(str(label) for label in range(highest + 1))
    source = {
        "origin": spec,
        "files": [],
        "rows": "each part numbers its own rows, in the order in which the function gave them",
        "split": {"seed": seed, "valid": "given", "test": "given", "stratified": False},
        "encoding": "as given by the function",
        "notes": [],
    }
    splits = {name: torch.arange(len(part)) for name, part in parts.items()}
    y = parts["train"].y
    name = DENSE[kind] if y.ndim > (2 if kind == "regression" else 1) else kind
    return assemble(spec, name, parts=parts, splits=splits, source=source, classes=classes)


@contextlib.contextmanager
def _current_folder_on_path() -> Iterator[None]:
    """Puts the current folder first on ``sys.path`` for a while."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


@contextlib.contextmanager
def _report(spec: str, file: str) -> Iterator[None]:
    """Turns an exception of the user's code into a DataError with its type, message and line."""
    try:
        yield
    except Exception as raised:
        error: BaseException = raised
        if isinstance(raised, NetdialError):
            if raised.__cause__ is None or isinstance(raised.__cause__, NetdialError):
                raise
            error = raised.__cause__  # of the user's code, met while a part was read
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == file] or frames[1:] or frames
        place = f"{own[-1].filename}, line {own[-1].lineno}"
        if isinstance(error, SyntaxError):
            place = f"{error.filename}, line {error.lineno}"
        raise DataError(f"{spec} raised {type(error).__name__}: {error} ({place})") from error


def _find(spec: str) -> Callable[[], Any]:
    """Returns the function named by ``spec``, which needs no arguments."""
    module_name, _, name = spec.partition(":")
    if not module_name or not name.isidentifier():
        raise ConfigError(
            f"data {spec!r}: expected package.module:function, for example train:make"
        )
    importlib.invalidate_caches()
    with _report(spec, ""):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise ConfigError(
                f"data {spec!r}: no module {error.name!r} in {os.getcwd()} or among the installed"
                " packages; run netdial from the folder that holds it"
            ) from None
    functions = [
        key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
    ]
    function = getattr(module, name, None)
    if not callable(function):
        raise errors.unknown(f"function in {module_name}", name, functions)
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ConfigError(
            f"data {spec!r}: the function is called without arguments, but {error}"
        ) from None
    found: Callable[[], Any] = function
    return found


def _part(value: Any, where: str, seed: int, like: torch.dtype) -> Dataset:
    """Returns one part in whatever form it was given, inputs in a number type; targets are still as given."""
    found = as_dataset(value, part=where, seed=seed)
    if found.x.is_floating_point() or (found.shift is None and found.x.dtype != torch.int64):
        found = replace(found, x=found.x.to(like))
    return found.to("cpu")


def _tell_unused(value: Any, where: str) -> None:
    """Warns of batches of a training part's ``DataLoader``, which is read once."""
    size = None
    if is_loader(value):
        size = (value.data if isinstance(value, Named) else value).batch_size
    if size is not None and size > 1:
        errors.warn(
            f"{where}: a DataLoader is read once, and training shuffles what it gave: its batch_size={size} is not used, "
            f"give it to the training (--batch-size {size})"
        )


def _with_targets(part: Dataset, kind: Kind, where: str, like: torch.dtype) -> Dataset:
    """Returns the part with targets as the kind needs them: int64 [N], or numbers of a type [N, T]."""
    y = part.y
    if kind == "regression":
        y = y.to(like)
        y = y[:, None] if y.ndim == 1 else y
    else:
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.is_floating_point() and not bool((y == y.round()).all()):
            raise DataError(
                f"{where}: class labels must be whole numbers from 0; got {y.dtype} with fractions"
                " or NaN"
            )
        y = y.to(torch.int64)
    return replace(part, y=y)


def _describe(value: Any) -> str:
    """Returns the type of a value, with its length and the types inside for a tuple or list."""
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(type(item).__name__ for item in value)})"
    return type(value).__name__

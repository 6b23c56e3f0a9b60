"""Errors written for the person who reads them.

Every message says where it happened, what was given, what is allowed and how to mend it. The command line prints the
message of a ``NetdialError`` as one line and exits with 2; anything else is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import math
import os
import sys
import traceback
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationInfo

_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
"""Folder of the package."""


_SHOWN = 10**20
"""Whole numbers up to here are written out."""


class NetdialError(Exception):
    """Base class of all errors that are caused by what the caller gave."""


class ConfigError(NetdialError, ValueError):
    """An option, name or combination of options is not allowed."""


class BusyError(ConfigError):
    """Another process works there at this moment."""


class DataError(NetdialError, ValueError):
    """The data given cannot be used."""


class ShapeError(NetdialError, ValueError):
    """A tensor has a shape that does not fit."""


class TraceError(NetdialError, ValueError):
    """A network does something that netdial cannot follow."""


class CheckpointError(NetdialError, ValueError):
    """A saved file is damaged, missing or belongs to something else."""


class WriteError(CheckpointError, OSError):
    """The disk refused a file: it is full, read-only, or not ours to write to.

    Also an ``OSError``, with its ``errno`` and ``strerror``.
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NonFiniteError(NetdialError, ArithmeticError):
    """Training met a number that is not finite."""


class MissingExtra(NetdialError, ImportError):
    """An optional dependency is not installed."""


class MemberWarning(UserWarning):
    """A network that was chosen, exported or compressed does no better than a constant."""


class TraceWarning(UserWarning):
    """What is made of a network leaves out something that its code does."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns the caller of netdial: the warning has the place of the nearest line that is not ours."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)


def first_line(error: BaseException) -> str:
    r"""Returns the first line of an error's message, or the name of its class where there is none.

    >>> first_line(ValueError("bad shape\nat line 3")), first_line(KeyError())
    ('bad shape', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def in_words(error: BaseException) -> str:
    """Returns the kind of an error, the first line of its message, and the line of the user's code that it came from."""
    return f"{type(error).__name__}: {first_line(error)} {line_of(error)}".rstrip()


def failed(
    net: object, shape: Iterable[int], error: BaseException, *, training: bool = False
) -> TraceError:
    """Returns the error of a network that fails on inputs of a shape, in evaluation or in training."""
    where, cure = "", "check that it takes data of this shape"
    if training:
        where, cure = " in training", "net.train()(x) shows the whole error"
    return TraceError(
        f"network {type(net).__name__}: fails{where} on inputs of shape {list(shape)} ({in_words(error)}); {cure}"
    )


def line_of(error: BaseException, own: tuple[str, ...] = ()) -> str:
    """Returns the innermost line that an error came from, of code that lies in none of some folders; empty if there is none.

    Args:
        error: the error.
        own: beginnings of the paths of code that is not meant; by default that of torch and netdial.
    """
    if not own:
        torch = getattr(sys.modules.get("torch"), "__file__", None)
        own = (_OURS, os.path.join(os.path.dirname(torch), "")) if torch else (_OURS,)
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(own)
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f"at {os.path.basename(last.filename)}:{last.lineno} in {last.name} ({last.line})"


_ALIASES: dict[str, tuple[str, ...]] = {
    "clipnorm": ("clip",),
    "device": ("accelerator",),
    "dtype": ("precision",),
    "early_stopping": ("patience",),
    "gradient_clip_val": ("clip",),
    "iterations": ("epochs",),
    "lambda": ("lam",),
    "learning_rate": ("lr",),
    "max_grad_norm": ("clip",),
    "n_iter": ("epochs",),
    "num_workers": ("devices",),
    "random_state": ("seed",),
    "steps": ("epochs",),
    "weight_decay": ("lam2", "lam"),
}
"""What settings are called in other libraries -> what they are called here, the closest first."""


def by_meaning(name: str, options: Collection[str]) -> str | None:
    """Returns the option that is meant by the name of a setting in other libraries.

    >>> by_meaning("weight-decay", ["lam", "lam2"]), by_meaning("weight_decay", ["lam"]), by_meaning("lr", ["lr"])
    ('lam2', 'lam', None)
    """
    names = _ALIASES.get(name.lower().replace("-", "_"), ())
    return next((known for known in names if known in options), None)


def nearest(name: str, options: Iterable[str]) -> str | None:
    """Returns the option that a name probably means: by its meaning elsewhere, or by its letters.

    >>> nearest("learning_rate", ["lr", "epochs"]), nearest("Epoch", ["lr", "epochs"]), nearest("x", ["lr"])
    ('lr', 'epochs', None)
    """
    small = {option.lower(): option for option in options}
    if known := by_meaning(name, small):
        return small[known]
    close = difflib.get_close_matches(name.lower(), small, n=1, cutoff=0.5)
    return small[close[0]] if close else None


def unknown(kind: str, name: object, options: Iterable[str]) -> ConfigError:
    """Returns the error for a name that is not registered, with the nearest one that is.

    >>> str(unknown("map", "liner", ["linear", "table"]))
    "unknown map 'liner'; did you mean 'linear'? (allowed: linear, table)"
    """
    allowed = sorted(options)
    close = nearest(str(name), allowed)
    hint = f"; did you mean {close!r}?" if close else ""
    return ConfigError(f"unknown {kind} {name!r}{hint} (allowed: {', '.join(allowed)})")


def some_of(names: Iterable[object], most: int = 12) -> str:
    """Returns names for a message, the first of them where there are many.

    >>> some_of("abc"), some_of("abcdef", most=2)
    ('a, b, c', 'a, b and 4 more')
    """
    given = [str(name) for name in names]
    if len(given) <= most + 1:
        return ", ".join(given)
    return f"{', '.join(given[:most])} and {len(given) - most} more"


@contextmanager
def settings_in_words(what: str, given: Iterable[str], allowed: Collection[str]) -> Iterator[None]:
    """Says what is wrong with settings that a pydantic model is made of: an unknown name, or the first value that does not fit.

    Args:
        what: what a setting is called.
        given: names of the settings given.
        allowed: names of all settings.

    Raises:
        ConfigError: an unknown setting (the nearest name is offered), or a value that is not allowed.
    """
    from pydantic import ValidationError

    for name in given:
        if name not in allowed:
            raise unknown(what, name, allowed)
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            raise cause from None
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].lower().removeprefix("value error, ")
        for bound in first.get("ctx", {}).values():  # pydantic writes 1e-30 out in full
            if isinstance(bound, float) and said.rpartition(" ")[2].startswith("0.0000"):
                said = f"{said.rpartition(' ')[0]} {bound:g}"
        raise ConfigError(f"{given_words(place, first['input'])}: {said}") from None


def refuse_truth(cls: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """Returns the value of a field, as a validator of pydantic; true and false are no 1 and 0 of a field that takes numbers.

    Raises:
        ValueError: a number is wanted, and true or false is given, or stands in the list that is given.
    """
    types = _types_in(cls.model_fields[str(info.field_name)].annotation)
    if types & {int, float} and not types & {bool, Any} and _holds_truth(value):
        raise ValueError(
            "give a number; true and false (in a file of settings also yes, no, on, off) are none"
        )
    return value


def _types_in(annotation: Any) -> set[Any]:
    """Returns the types that an annotation names, those inside others included."""
    inner = get_args(annotation)
    return {annotation}.union(*map(_types_in, inner)) if inner else {annotation}


def _holds_truth(value: Any) -> bool:
    """Returns whether a value, or one of a list, is true or false."""
    return isinstance(value, bool) or (
        isinstance(value, list | tuple) and any(map(_holds_truth, value))
    )


def given_words(name: str, value: object, most: int = 120) -> str:
    """Returns an argument and its value, cut short where it is long.

    >>> given_words("epochs", "two"), given_words("epochs", 10**5000)
    ("epochs='two'", 'epochs is a whole number of 5001 digits, too large')
    """
    if isinstance(value, int) and abs(value) > _SHOWN:
        digits = int(value.bit_length() * math.log10(2)) + 1
        return f"{name} is a whole number of {digits} digits, too large"
    said = f"{name}={value!r}"
    return said if len(said) <= most else f"{said[:most]}…"


def missing_extra(what: str, extra: str) -> MissingExtra:
    """Returns the error for a feature whose optional dependency is absent."""
    return MissingExtra(f"{what} needs: pip install 'netdial[{extra}]'")
